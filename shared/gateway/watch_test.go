package gateway

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/postern-ai/postern/shared/audit"
	"github.com/postern-ai/postern/shared/config"
	"github.com/postern-ai/postern/shared/policy"
	"github.com/postern-ai/postern/shared/provider"
)

// watched returns the guarded gateway with events of refusals.
func watched(t *testing.T, publisher audit.Publisher, most int, log *bytes.Buffer) *Gateway {
	t.Helper()
	d, err := config.Load([]byte(guarded + fmt.Sprintf("audit: {denied: true, denied_per_minute: %d}\n", most)))
	if err != nil {
		t.Fatal(err)
	}
	g, err := New(Options{
		Document: d, Models: map[string]provider.Model{"main": script{}, "premium": script{}, "own": script{}},
		Callers: roster(people()), Policy: policy.Compile(d), Log: slog.New(slog.NewJSONHandler(log, nil)),
		Audit: publisher, Function: audit.Origin{Cloud: "aws", Name: "gateway"},
	})
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func TestRefusalsAreEvents(t *testing.T) {
	t.Parallel()
	var events, log bytes.Buffer
	g := watched(t, audit.NewLines(&events), 100, &log)
	for _, c := range []struct{ who, model, want string }{
		{"", "small", `AI_CALLER_DENIED {"reason":"invalid_api_key","status":401}`},
		{"nobody", "small", `AI_CALLER_DENIED {"caller":{"issuer":"https://idp.example.com","subject":"x"},"model":"small","upstream":"main","reason":"model_not_allowed","status":403}`},
		{"staff", "opus", `AI_STEP_UP_REQUIRED {"caller":{"issuer":"https://idp.example.com","subject":"x"},"model":"opus","upstream":"premium","acr_values":["phr","mfa"],"max_age":300}`},
		{"staff", "gpt", ""}, // a mistake, not a refusal
	} {
		events.Reset()
		r := post(t.Context(), c.who, ask(c.model, ""))
		r.Header.Set("X-Request-Id", "r-1")
		g.ServeHTTP(httptest.NewRecorder(), r)
		if c.want == "" {
			if events.Len() > 0 {
				t.Errorf("%s for %s: %s", c.who, c.model, events.String())
			}
			continue
		}
		var event audit.Event
		if err := event.UnmarshalJSON(bytes.TrimSpace(events.Bytes())); err != nil {
			t.Fatalf("%v: %s", err, events.String())
		}
		data := strings.Replace(string(event.Data), `"event_version":1,"function":{"cloud":"aws","name":"gateway"},"request_id":"r-1",`, "", 1)
		if diff := cmp.Diff(c.want, string(event.Type)+" "+data); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
}

// TestAFloodOfRefusalsIsNoFloodOfEvents: nobody can make the gateway publish without end.
func TestAFloodOfRefusalsIsNoFloodOfEvents(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var events, log bytes.Buffer
		g := watched(t, audit.NewLines(&events), 3, &log)
		flood := func() int {
			events.Reset()
			for range 10 {
				g.ServeHTTP(httptest.NewRecorder(), post(t.Context(), "nobody", ask("small", "")))
			}
			return strings.Count(events.String(), `"type":"AI_CALLER_DENIED"`)
		}
		if n := flood(); n != 3 {
			t.Errorf("%d events", n)
		}
		time.Sleep(time.Minute)
		if n := flood(); n != 3 {
			t.Errorf("%d events in the next minute", n)
		}
		if !strings.Contains(log.String(), `"refusals":7`) {
			t.Error("nobody says that there were more")
		}
	})
}

type away struct{}

func (away) Publish(ctx context.Context, _ ...audit.Event) error {
	<-ctx.Done()
	return errors.New("the bus is away")
}

func TestARefusalNeitherWaitsLongForItsEventNorFails(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		g := watched(t, away{}, 3, &log)
		start, rec := time.Now(), httptest.NewRecorder()
		g.ServeHTTP(rec, post(t.Context(), "nobody", ask("small", "")))
		if rec.Code != 403 || time.Since(start) > time.Second {
			t.Errorf("status %d after %s", rec.Code, time.Since(start))
		}
		if !strings.Contains(log.String(), "a refusal could not be reported") {
			t.Errorf("the log says %s", log.String())
		}
	})
}
