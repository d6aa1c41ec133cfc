package main

import (
	"bytes"
	"log/slog"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/postern-ai/postern/functions/azure/account"
	"github.com/postern-ai/postern/localdev/fake/eventgrid"
	"github.com/postern-ai/postern/localdev/fake/managedid"
	"github.com/postern-ai/postern/shared/audit"
)

// TestEventsAreInTheLogAndOnTheTopic puts them there as the function's managed
// identity.
func TestEventsAreInTheLogAndOnTheTopic(t *testing.T) {
	const id = "22222222-3333-4444-8555-666666666666"
	identities := managedid.New(managedid.Options{Secret: "s", System: managedid.Identity{ClientID: id, ObjectID: id}})
	platform := httptest.NewServer(identities)
	defer platform.Close()
	service := eventgrid.New(eventgrid.Options{Caller: func(token string) (string, bool) { return id, identities.Valid(token, eventgrid.Resource) }})
	server := httptest.NewServer(service)
	defer server.Close()
	// azidentity reads the process's own environment.
	t.Setenv("IDENTITY_ENDPOINT", platform.URL+"/msi/token")
	t.Setenv("IDENTITY_HEADER", "s")
	event := audit.Event{ID: "1", Source: "/postern/azure/-/-/gateway", Type: "AI_TEST", Time: time.Unix(1, 0), Data: []byte("{}")}
	for taken, topic := range []string{"", server.URL + "/api/events"} {
		t.Setenv("POSTERN_EVENT_BUS", topic)
		var log bytes.Buffer
		publisher, err := account.Events(os.Getenv, audit.NewLines(&log))
		if err != nil {
			t.Fatal(err)
		}
		if err := publisher.Publish(t.Context(), event); err != nil {
			t.Errorf("%q: %v", topic, err)
		}
		if strings.Count(log.String(), "AI_TEST") != 1 || len(service.Events()) != taken {
			t.Errorf("%q: the topic has taken %d events, and the log is %s", topic, len(service.Events()), log.String())
		}
	}
}

func TestATopicThatIsNoneIsRefusedAtTheStart(t *testing.T) {
	t.Parallel()
	env := map[string]string{"POSTERN_EVENT_BUS": "audit"}
	_, err := handler(func(name string) string { return env[name] }, slog.New(slog.DiscardHandler))
	if err == nil || !strings.Contains(err.Error(), "POSTERN_EVENT_BUS: a topic of Event Grid is its endpoint") {
		t.Errorf("got %v", err)
	}
}
