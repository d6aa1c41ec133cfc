package eventgrid_test

import (
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/postern-ai/postern/shared/audit"
	"github.com/postern-ai/postern/shared/audit/audittest"
	"github.com/postern-ai/postern/shared/audit/eventgrid"
)

func event(text string) audit.Event {
	return audit.Event{
		ID: "1", Source: "/postern/azure/-/-/gateway", Type: "AI_TEST", Time: time.Date(2026, 3, 4, 5, 6, 7, 89_000_000, time.UTC),
		Data: jsontext.Value(`{"text":"` + text + `"}`),
	}
}

func publish(t *testing.T, options eventgrid.Options, events ...audit.Event) error {
	t.Helper()
	publisher, err := eventgrid.New(options)
	if err != nil {
		t.Fatal(err)
	}
	return publisher.Publish(t.Context(), events...)
}

// failed is how the service answers that it did not do something.
func failed(status int, code string) audittest.Broken {
	return audittest.Broken{Status: status, Body: `{"error":{"code":"` + code + `","message":"` + audittest.Canary + `","details":[{"code":"` + code + `","message":"` + audittest.Canary + `"}]}}`}
}

// sent keeps a request, and answers as the service does.
type sent struct {
	request *http.Request
	body    string
}

func (s *sent) RoundTrip(request *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(request.Body)
	s.request, s.body = request, string(body)
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: http.NoBody}, err
}

func TestEventsTravelAsTheyAre(t *testing.T) {
	t.Parallel()
	var got sent
	for _, address := range []string{topic, topic + "/"} {
		if err := publish(t, eventgrid.Options{Topic: address, Authorizer: &audittest.Credentials{}, Transport: &got}, event("a"), event("b")); err != nil {
			t.Fatal(err)
		}
		const want = `[{"specversion":"1.0","id":"1","source":"/postern/azure/-/-/gateway","type":"AI_TEST","time":"2026-03-04T05:06:07.089Z","datacontenttype":"application/json","data":{"text":"a"}},` +
			`{"specversion":"1.0","id":"1","source":"/postern/azure/-/-/gateway","type":"AI_TEST","time":"2026-03-04T05:06:07.089Z","datacontenttype":"application/json","data":{"text":"b"}}]`
		if got.body != want || got.request.URL.String() != topic+"?api-version=2018-01-01" || got.request.Method != http.MethodPost ||
			got.request.Header.Get("Content-Type") != "application/cloudevents-batch+json; charset=utf-8" {
			t.Errorf("%s %s with %v:\n%s", got.request.Method, got.request.URL, got.request.Header, got.body)
		}
	}
}

func TestRequestsKeepToTheLimit(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		// 16 of them are 1,000,001 bytes with the brackets.
		one, err := event("").MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		e := event(strings.Repeat("x", 62_499-len(one)))
		if err := publish(t, w.options(), slices.Repeat([]audit.Event{e}, 16)...); err != nil {
			t.Fatal(err)
		}
		if got, calls := len(w.server.Events()), w.server.Faults.Before("").Calls(); got != 16 || calls != 2 {
			t.Errorf("%d events in %d calls", got, calls)
		}
		// One byte less in one of them, and all fit.
		last := event(strings.Repeat("x", 62_498-len(one)))
		if err := publish(t, w.options(), append(slices.Repeat([]audit.Event{e}, 15), last)...); err != nil {
			t.Fatal(err)
		}
		if calls := w.server.Faults.Before("").Calls(); calls != 3 {
			t.Errorf("%d calls", calls)
		}
	})
}

func TestErrorsSayWhatToDo(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		broken audittest.Broken
		want   string
		calls  int
	}{
		{"no right", failed(403, "Forbidden"), "this function's identity may not publish to the topic; it needs the role EventGrid Data Sender on it, and the topic's firewall has to let the function in", 1},
		{"a token that is not accepted", failed(401, "Unauthorized"), "Azure does not accept this function's access token; its identity needs the role EventGrid Data Sender on the topic", 2},
		{"no topic", failed(404, "NotFound"), "Event Grid has no topic at the configured endpoint", 1},
		{"another schema", failed(400, "BadRequest"), "Event Grid does not take the event as it is; the topic's input schema has to be CloudEventSchemaV1_0", 1},
		{"too large", failed(413, "PayloadTooLarge"), "the event is larger than Event Grid takes", 1},
		{"a quota", failed(429, "TooManyRequests"), "the bus is throttling (429)", 4},
		{"an outage", failed(503, "ServiceUnavailable"), "the bus has failed (503)", 4},
		{"a wait that was too long", failed(408, "RequestTimeout"), "the bus has failed (408)", 4},
		{"a proxy's page", audittest.Broken{Status: 404, Body: "<html>" + audittest.Canary}, "the bus answers with status 404", 1},
		{"a proxy's login", audittest.Broken{Status: 200, Body: "\n<html>" + audittest.Canary}, "the bus's reply is not what its API describes", 4},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld()
				w.breakDown(test.broken)
				err := publish(t, w.options(), event("a"))
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

func TestAnEndpointOfAnotherTopicIsAnError(t *testing.T) {
	t.Parallel()
	w := newWorld()
	options := w.options()
	options.Topic = "https://other.westeurope-1.eventgrid.azure.net/api/events"
	if err := publish(t, options, event("a")); err == nil || !strings.Contains(err.Error(), "Event Grid has no topic at the configured endpoint") {
		t.Errorf("got %v", err)
	}
}

func TestOptionsAreChecked(t *testing.T) {
	t.Parallel()
	const form = "a topic of Event Grid is its endpoint, https://NAME.REGION-1.eventgrid.azure.net/api/events"
	for address, want := range map[string]string{
		topic: "",
		"https://audit.usgovvirginia-1.eventgrid.azure.us/api/events/": "",
		"http://127.0.0.1:9110/api/events":                             "",
		"":                                                             form,
		"audit":                                                        form,
		"https://audit.westeurope-1.eventgrid.azure.net":              form,
		"https://audit.westeurope-1.eventgrid.azure.net/x/api/events": form,
		"https://n.westeurope-1.eventgrid.azure.net/topics/a:publish": form,
		topic + "?api-version=2018-01-01":                             form,
		"http://audit.westeurope-1.eventgrid.azure.net/api/events":    form,
	} {
		_, err := eventgrid.New(eventgrid.Options{Topic: address, Authorizer: &audittest.Credentials{}})
		if want == "" && err != nil || want != "" && (err == nil || err.Error() != want) {
			t.Errorf("%s: got %v", address, err)
		}
	}
	if _, err := eventgrid.New(eventgrid.Options{Topic: topic}); err == nil || !strings.Contains(err.Error(), "authorizer") {
		t.Errorf("got %v", err)
	}
}

func FuzzReply(f *testing.F) {
	f.Add(200, ``)
	f.Add(200, `<html>`)
	f.Add(403, `{"error":{"code":"Forbidden"}}`)
	f.Fuzz(func(t *testing.T, status int, body string) {
		publisher, err := eventgrid.New(eventgrid.Options{Topic: topic, Authorizer: &audittest.Credentials{}})
		if err != nil {
			t.Fatal(err)
		}
		refusals := publisher.Bus.Read(audit.Reply{Status: status, Body: []byte(body)}, 2)
		switch reason := refusals[1].Reason; {
		case len(refusals) != 2, reason == "" && status != 200:
			t.Errorf("accepted: %d %q", status, body)
		case len(body) > 12 && strings.Contains(reason, body):
			t.Errorf("got %v", refusals)
		}
	})
}
