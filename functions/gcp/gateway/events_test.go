package gateway

import (
	"bytes"
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/postern-ai/postern/functions/gcp/account"
	"github.com/postern-ai/postern/localdev/fake/metadata"
	"github.com/postern-ai/postern/localdev/fake/pubsub"
	"github.com/postern-ai/postern/shared/audit"
)

// TestEventsAreInTheLogAndOnTheTopic puts them there as the function's service
// account.
func TestEventsAreInTheLogAndOnTheTopic(t *testing.T) {
	t.Parallel()
	own := metadata.New(metadata.Options{ProjectID: "some-project"})
	platform := httptest.NewServer(own)
	defer platform.Close()
	const topic = "projects/some-project/topics/audit"
	service := pubsub.New(pubsub.Options{Topics: []string{topic}, Member: func(token string) (string, bool) { return "the account", own.Valid(token) }})
	server := httptest.NewServer(service)
	defer server.Close()
	env := map[string]string{"GCE_METADATA_HOST": strings.TrimPrefix(platform.URL, "http://"), "CLOUDSDK_API_ENDPOINT_OVERRIDES_PUBSUB": server.URL}
	event := audit.Event{ID: "1", Source: "/postern/gcp/-/-/gateway", Type: "AI_TEST", Time: time.Unix(1, 0), Data: []byte("{}")}
	for taken, name := range []string{"", topic} {
		env["POSTERN_EVENT_BUS"] = name
		var log bytes.Buffer
		publisher, err := account.Events(func(name string) string { return env[name] }, audit.NewLines(&log))
		if err != nil {
			t.Fatal(err)
		}
		if err := publisher.Publish(t.Context(), event); err != nil {
			t.Errorf("%q: %v", name, err)
		}
		if strings.Count(log.String(), "AI_TEST") != 1 || len(service.Events()) != taken {
			t.Errorf("%q: the topic has taken %d events, and the log is %s", name, len(service.Events()), log.String())
		}
	}
}

func TestATopicThatIsNoneIsRefusedAtTheStart(t *testing.T) {
	t.Parallel()
	env := map[string]string{"POSTERN_EVENT_BUS": "audit"}
	_, err := handler(func(name string) string { return env[name] }, slog.New(slog.DiscardHandler))
	if err == nil || !strings.Contains(err.Error(), "POSTERN_EVENT_BUS: a topic of Pub/Sub is its full name") {
		t.Errorf("got %v", err)
	}
}
