package pubsub_test

import (
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/postern-ai/postern/localdev/fake/fault"
	fake "github.com/postern-ai/postern/localdev/fake/pubsub"
	"github.com/postern-ai/postern/shared/audit"
	"github.com/postern-ai/postern/shared/audit/audittest"
	"github.com/postern-ai/postern/shared/audit/pubsub"
	"github.com/postern-ai/postern/shared/ledger/ledgertest"
)

func event(id, subject string) audit.Event {
	return audit.Event{
		ID: id, Source: "/postern/gcp/p/r/gateway", Type: "AI_TEST", Subject: subject, Schema: "urn:postern:event:AI_TEST:1",
		Time: time.Date(2026, 3, 4, 5, 6, 7, 89_000_000, time.UTC), Data: jsontext.Value(`{"text": "` + audittest.Canary + `"}`),
	}
}

func (w *world) publish(t *testing.T, change func(*pubsub.Options), events ...audit.Event) error {
	t.Helper()
	options := w.options(t)
	if change != nil {
		change(&options)
	}
	publisher, err := pubsub.New(options)
	if err != nil {
		t.Fatal(err)
	}
	return publisher.Publish(t.Context(), events...)
}

// failed is how Google's APIs answer that they did not do something.
func failed(code int, status, reason string) audittest.Broken {
	return audittest.Broken{Status: code, Body: `{"error":{"code":` + strconv.Itoa(code) + `,"status":"` + status + `","message":"` + audittest.Canary +
		`","details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"` + reason + `","domain":"` + audittest.Canary + `"}]}}`}
}

func TestAnEventIsAMessage(t *testing.T) {
	t.Parallel()
	w := newWorld()
	bare := event("2", "")
	bare.Schema = ""
	if err := w.publish(t, nil, event("1", "openai"), bare); err != nil {
		t.Fatal(err)
	}
	attributes := func(id string) map[string]string {
		return map[string]string{
			"content-type": "application/json", "ce-specversion": "1.0", "ce-id": id, "ce-source": "/postern/gcp/p/r/gateway", "ce-type": "AI_TEST",
			"ce-time": "2026-03-04T05:06:07.089Z",
		}
	}
	first := attributes("1")
	first["ce-subject"], first["ce-dataschema"] = "openai", "urn:postern:event:AI_TEST:1"
	want := []fake.Message{{Topic: topic, Data: bare.Data, Attributes: first}, {Topic: topic, Data: bare.Data, Attributes: attributes("2")}}
	if diff := cmp.Diff(want, w.server.Messages(), cmpopts.IgnoreFields(fake.Message{}, "ID")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestOnlyEventsOfOneSubjectAreInOrder(t *testing.T) {
	t.Parallel()
	w := newWorld()
	events := []audit.Event{event("1", "a"), event("2", "a"), event("3", "b"), event("4", ""), event("5", "a")}
	if err := w.publish(t, func(o *pubsub.Options) { o.Ordered = true }, events...); err != nil {
		t.Fatal(err)
	}
	got := ""
	for _, m := range w.server.Messages() {
		got += m.Attributes["ce-id"] + m.OrderingKey
	}
	if calls := w.server.Faults.Before("").Calls(); got != "1a2a3b45a" || calls != 4 {
		t.Errorf("got %s in %d calls", got, calls)
	}
}

func TestWhatCouldGetAheadIsNotSent(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		b := failed(503, "UNAVAILABLE", "")
		b.Times = 4
		w.breakDown(b)
		err := w.publish(t, func(o *pubsub.Options) { o.Ordered = true }, event("1", "a"), event("2", "b"), event("3", "a"))
		if err == nil || !strings.Contains(err.Error(), "3 of 3 not accepted: the bus has failed (503)") || len(w.server.Messages()) != 0 {
			t.Errorf("got %v, and %d messages", err, len(w.server.Messages()))
		}
	})
}

func TestRequestsKeepToTheLimits(t *testing.T) {
	t.Parallel()
	large := event("1", "")
	large.Data = jsontext.Value(`{"text":"` + strings.Repeat("x", 60<<10) + `"}`)
	for _, test := range []struct {
		event audit.Event
		n     int
	}{{event("1", ""), 1001}, {large, 120}} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld()
			// Megabytes are not held against the description: that takes long, and tells nothing that the other tests do not.
			unchecked := func(o *pubsub.Options) { o.Transport = ledgertest.Transport(w.server) }
			if err := w.publish(t, unchecked, slices.Repeat([]audit.Event{test.event}, test.n)...); err != nil {
				t.Fatal(err)
			}
			if got, calls := len(w.server.Messages()), w.server.Faults.Before("").Calls(); got != test.n || calls != 2 {
				t.Errorf("%d messages in %d calls", got, calls)
			}
		})
	}
}

func TestWhatDoesNotFitIntoAnAttributeIsNamed(t *testing.T) {
	t.Parallel()
	w := newWorld()
	for name, change := range map[string]func(*audit.Event, string){
		"id":         func(e *audit.Event, s string) { e.ID = s },
		"source":     func(e *audit.Event, s string) { e.Source = s },
		"type":       func(e *audit.Event, s string) { e.Type = audit.Type(s) },
		"subject":    func(e *audit.Event, s string) { e.Subject = s },
		"dataschema": func(e *audit.Event, s string) { e.Schema = "urn:" + s[4:] },
	} {
		long := event("1", "")
		change(&long, strings.Repeat("x", 1025))
		if err := w.publish(t, nil, event("2", ""), long); err == nil || !strings.Contains(err.Error(), name+" is longer than the 1024 bytes") {
			t.Errorf("%s: got %v", name, err)
		}
		if got := len(w.server.Messages()); got != 0 {
			t.Errorf("%s: %d messages", name, got)
		}
		change(&long, strings.Repeat("x", 1024))
		if err := newWorld().publish(t, func(o *pubsub.Options) { o.Ordered = true }, long); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestErrorsSayWhatToDo(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		broken audittest.Broken
		want   string
		calls  int
	}{
		{"no right", failed(403, "PERMISSION_DENIED", "IAM_PERMISSION_DENIED"), "this function's service account may not publish to the topic, if there is one of the configured name; it needs pubsub.topics.publish (roles/pubsub.publisher) on it", 1},
		{"no API", failed(403, "PERMISSION_DENIED", "SERVICE_DISABLED"), "the Pub/Sub API is not enabled in the project; enable pubsub.googleapis.com there", 1},
		{"no topic", failed(404, "NOT_FOUND", ""), "Pub/Sub has no topic of the configured name", 1},
		{"a schema", failed(400, "INVALID_ARGUMENT", ""), "Pub/Sub does not take the event as it is; the topic must have no schema", 1},
		{"a key that is gone", failed(400, "FAILED_PRECONDITION", ""), "the topic cannot take events; see its KMS key and the message storage policy", 1},
		{"a token that is not accepted", failed(401, "UNAUTHENTICATED", ""), "Google does not accept this function's access token", 2},
		{"a quota", failed(429, "RESOURCE_EXHAUSTED", "RATE_LIMIT_EXCEEDED"), "the bus is throttling (RESOURCE_EXHAUSTED)", 4},
		{"an abort", failed(409, "ABORTED", ""), "the bus has failed (ABORTED)", 4},
		{"an outage", failed(503, "UNAVAILABLE", ""), "the bus has failed (503)", 4},
		{"a proxy's page", audittest.Broken{Status: 404, Body: "<html>" + audittest.Canary}, "the bus answers with status 404", 1},
		{"too few ids", audittest.Broken{Status: 200, Body: `{"messageIds":[]}`}, "the bus's reply is not what its API describes", 4},
		{"no ids", audittest.Broken{Status: 200, Body: `{}`}, "the bus's reply is not what its API describes", 4},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld()
				w.breakDown(test.broken)
				err := w.publish(t, nil, event("1", ""))
				if want := `publish audit events: 1 of 1 not accepted: ` + test.want; err == nil || err.Error() != want {
					t.Errorf("got  %v\nwant %s", err, want)
				}
				if calls := w.server.Faults.Before("").Calls(); calls != test.calls {
					t.Errorf("%d calls, want %d", calls, test.calls)
				}
			})
		})
	}
}

func TestAnOutageOfTheNetworkIsNamed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.server.Faults.Before("").Set(fault.Fault{Delay: time.Hour})
		start := time.Now()
		err := w.publish(t, nil, event("1", ""))
		if took := time.Since(start); err == nil || !strings.Contains(err.Error(), "the bus cannot be reached: timed out") || took < 12*time.Second || took > 15*time.Second {
			t.Errorf("got %v after %v", err, took)
		}
	})
}

func TestOptionsAreChecked(t *testing.T) {
	t.Parallel()
	good := pubsub.Options{Topic: topic, Authorizer: &audittest.Credentials{}}
	for _, test := range []struct {
		name   string
		change func(*pubsub.Options)
		want   string
	}{
		{"no authorizer", func(o *pubsub.Options) { o.Authorizer = nil }, "authorizer"},
		{"no topic", func(o *pubsub.Options) { o.Topic = "" }, "projects/PROJECT/topics/TOPIC"},
		{"a topic without a project", func(o *pubsub.Options) { o.Topic = "audit" }, "projects/PROJECT/topics/TOPIC"},
		{"a topic that is a path", func(o *pubsub.Options) { o.Topic = topic + "/../x" }, "projects/PROJECT/topics/TOPIC"},
		{"a subscription", func(o *pubsub.Options) { o.Topic = "projects/some-project/subscriptions/audit" }, "projects/PROJECT/topics/TOPIC"},
		{"an endpoint without TLS", func(o *pubsub.Options) { o.Endpoint = "http://example.com" }, "https://"},
	} {
		options := good
		test.change(&options)
		if _, err := pubsub.New(options); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v", test.name, err)
		}
	}
	good.Topic, good.Endpoint = "projects/example.com:some-project/topics/a.b~c%+", "https://europe-west4-pubsub.googleapis.com/"
	if _, err := pubsub.New(good); err != nil {
		t.Error(err)
	}
}

func FuzzReply(f *testing.F) {
	f.Add(200, `{"messageIds":["1"]}`)
	f.Add(200, `{}`)
	f.Add(403, `{"error":{"code":403,"status":"PERMISSION_DENIED","details":[{"reason":"SERVICE_DISABLED"}]}}`)
	f.Fuzz(func(t *testing.T, status int, body string) {
		publisher, err := pubsub.New(pubsub.Options{Topic: topic, Authorizer: &audittest.Credentials{}})
		if err != nil {
			t.Fatal(err)
		}
		refusals := publisher.Bus.Read(audit.Reply{Status: status, Body: []byte(body)}, 1)
		switch reason := refusals[0].Reason; {
		case len(refusals) != 1, reason == "" && (status != 200 || !strings.Contains(body, "[")):
			t.Errorf("accepted: %d %q", status, body)
		case len(body) > 12 && strings.Contains(reason, body):
			t.Errorf("got %v", refusals)
		}
	})
}
