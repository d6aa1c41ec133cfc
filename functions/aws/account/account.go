// Package account is what the functions on AWS find in their own account
// besides models: the bus for their events.
//
// It must not know what the events say.
package account

import (
	"cmp"
	"fmt"

	"github.com/postern-ai/postern/shared/audit"
	"github.com/postern-ai/postern/shared/audit/eventbridge"
	"github.com/postern-ai/postern/shared/identity/sigv4"
)

// Events puts events on the bus of EventBridge that the environment names, after
// they are in the log.
func Events(getenv func(string) string, log audit.Publisher) (audit.Publisher, error) {
	name := getenv("POSTERN_EVENT_BUS")
	if name == "" {
		return log, nil
	}
	region := eventbridge.Region(name, cmp.Or(getenv("AWS_REGION"), getenv("AWS_DEFAULT_REGION")))
	// The role has an identity of its own here: a request that reports the
	// replacement of a credential cannot wait for that same credential.
	role := sigv4.NewIdentity(sigv4.IdentityOptions{Getenv: getenv})
	signer, err := sigv4.New(sigv4.Options{Service: "events", Region: region, Identity: role})
	if err != nil {
		return nil, fmt.Errorf("POSTERN_EVENT_BUS: %w", err)
	}
	bus, err := eventbridge.New(eventbridge.Options{
		Bus: name, Region: region, Authorizer: signer, Endpoint: getenv("AWS_ENDPOINT_URL_EVENTBRIDGE"),
	})
	if err != nil {
		return nil, fmt.Errorf("POSTERN_EVENT_BUS: %w", err)
	}
	return audit.All(log, bus), nil
}
