// Package account is what the functions on Google Cloud find in their own project
// besides models: the bus for their events.
//
// It must not know what the events say.
package account

import (
	"fmt"

	"github.com/postern-ai/postern/shared/audit"
	"github.com/postern-ai/postern/shared/audit/pubsub"
	"github.com/postern-ai/postern/shared/identity"
	"github.com/postern-ai/postern/shared/identity/googleid"
)

// Events puts events on the topic of Pub/Sub that the environment names, after
// they are in the log.
func Events(getenv func(string) string, log audit.Publisher) (audit.Publisher, error) {
	name := getenv("POSTERN_EVENT_BUS")
	if name == "" {
		return log, nil
	}
	// The account has a cache of its own here: a request that reports the
	// replacement of a token cannot wait for that same token.
	account := identity.NewCache(googleid.New(googleid.Options{Getenv: getenv}), identity.CacheOptions{})
	topic, err := pubsub.New(pubsub.Options{
		Topic: name, Authorizer: identity.Bearer(account), Endpoint: getenv("CLOUDSDK_API_ENDPOINT_OVERRIDES_PUBSUB"),
	})
	if err != nil {
		return nil, fmt.Errorf("POSTERN_EVENT_BUS: %w", err)
	}
	return audit.All(log, topic), nil
}
