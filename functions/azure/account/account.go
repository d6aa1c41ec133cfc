// Package account is what the functions on Azure find in their own subscription
// besides models: the bus for their events.
//
// It must not know what the events say.
package account

import (
	"fmt"

	"github.com/postern-ai/postern/shared/audit"
	"github.com/postern-ai/postern/shared/audit/eventgrid"
	"github.com/postern-ai/postern/shared/identity"
	"github.com/postern-ai/postern/shared/identity/entra"
)

// Events puts events on the topic of Event Grid that the environment names,
// after they are in the log.
func Events(getenv func(string) string, log audit.Publisher) (audit.Publisher, error) {
	name := getenv("POSTERN_EVENT_BUS")
	if name == "" {
		return log, nil
	}
	own := identity.NewCache(entra.New(entra.Options{ClientID: getenv("AZURE_CLIENT_ID"), Scope: eventgrid.Scope}), identity.CacheOptions{})
	topic, err := eventgrid.New(eventgrid.Options{Topic: name, Authorizer: identity.Bearer(own)})
	if err != nil {
		return nil, fmt.Errorf("POSTERN_EVENT_BUS: %w", err)
	}
	return audit.All(log, topic), nil
}
