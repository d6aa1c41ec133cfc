package main

import (
	"bytes"
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/postern-ai/postern/functions/aws/account"
	"github.com/postern-ai/postern/localdev/fake/awscreds"
	"github.com/postern-ai/postern/localdev/fake/eventbridge"
	"github.com/postern-ai/postern/shared/audit"
)

// TestEventsAreInTheLogAndOnTheBus puts them there as the function's role.
func TestEventsAreInTheLogAndOnTheBus(t *testing.T) {
	t.Parallel()
	creds := awscreds.New(awscreds.Options{})
	role := creds.Issue()
	// The region is that of the bus's ARN, and not the function's.
	service := eventbridge.New(eventbridge.Options{Keys: creds.Lookup, Region: "us-east-1", Buses: []string{"audit"}})
	server := httptest.NewServer(service)
	defer server.Close()
	env := map[string]string{
		"AWS_REGION": "eu-west-1", "AWS_ENDPOINT_URL_EVENTBRIDGE": server.URL,
		"AWS_ACCESS_KEY_ID": role.AccessKeyID, "AWS_SECRET_ACCESS_KEY": role.SecretAccessKey, "AWS_SESSION_TOKEN": role.SessionToken,
	}
	event := audit.Event{ID: "1", Source: "/postern/aws/-/-/gateway", Type: "AI_TEST", Time: time.Unix(1, 0), Data: []byte("{}")}
	for taken, bus := range []string{"", "arn:aws:events:us-east-1:123456789012:event-bus/audit"} {
		env["POSTERN_EVENT_BUS"] = bus
		var log bytes.Buffer
		publisher, err := account.Events(func(name string) string { return env[name] }, audit.NewLines(&log))
		if err != nil {
			t.Fatal(err)
		}
		if err := publisher.Publish(t.Context(), event); err != nil {
			t.Errorf("%q: %v", bus, err)
		}
		if strings.Count(log.String(), "AI_TEST") != 1 || len(service.Events()) != taken {
			t.Errorf("%q: the bus has taken %d events, and the log is %s", bus, len(service.Events()), log.String())
		}
	}
}

func TestABusThatIsNoneIsRefusedAtTheStart(t *testing.T) {
	t.Parallel()
	env := map[string]string{"AWS_REGION": "eu-west-1", "POSTERN_EVENT_BUS": "https://topic.example.com"}
	_, err := handler(func(name string) string { return env[name] }, slog.New(slog.DiscardHandler))
	if err == nil || !strings.Contains(err.Error(), "POSTERN_EVENT_BUS: an event bus of EventBridge is the name or the ARN") {
		t.Errorf("got %v", err)
	}
}
