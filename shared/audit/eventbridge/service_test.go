package eventbridge_test

import (
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/go-cmp/cmp"

	fake "github.com/postern-ai/postern/localdev/fake/eventbridge"
	"github.com/postern-ai/postern/localdev/fake/fault"
	"github.com/postern-ai/postern/shared/audit"
	"github.com/postern-ai/postern/shared/audit/audittest"
	"github.com/postern-ai/postern/shared/audit/eventbridge"
)

func event(id string) audit.Event {
	return audit.Event{
		ID: id, Source: audit.Origin{Cloud: "aws", Account: "123456789012", Region: region, Name: "postern gateway"}.Source(), Type: "AI_TEST", Subject: "openai",
		Time: time.Date(2026, 3, 4, 5, 6, 7, 89_000_000, time.UTC), Data: jsontext.Value(`{"text":"` + audittest.Canary + `"}`),
	}
}

func (w *world) publisher(t *testing.T) *audit.Remote {
	t.Helper()
	publisher, err := eventbridge.New(w.options(t))
	if err != nil {
		t.Fatal(err)
	}
	return publisher
}

func TestAnEventIsAnEntry(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"/postern/aws/123456789012/eu-central-1/postern-gateway": "ai.postern.postern-gateway",
		"/postern/aws/-/-/a%20b.c":                               "ai.postern.a-20b-c",
		"urn:x":                                                  "ai.postern.urn-x",
		"/":                                                      "ai.postern.-",
		"/" + strings.Repeat("x", 500):                           "ai.postern." + strings.Repeat("x", 128),
	} {
		w := newWorld()
		e := event("1")
		e.Source = name
		if err := w.publisher(t).Publish(t.Context(), e); err != nil {
			t.Fatal(err)
		}
		encoded, err := e.MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		entry := fake.Entry{Bus: "audit", Source: want, DetailType: "AI_TEST", Detail: encoded, Time: e.Time}
		if diff := cmp.Diff([]fake.Entry{entry}, w.server.Entries()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestOnlyEntriesThatFailedAreSentAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.server.Refuse(&fake.Refusal{Code: "InternalFailure", Every: 3, Calls: 2})
		var events []audit.Event
		for _, id := range strings.Split("0123456789ab", "") {
			events = append(events, event(id))
		}
		if err := w.publisher(t).Publish(t.Context(), events...); err != nil {
			t.Fatal(err)
		}
		got := ""
		for _, e := range w.server.Events() {
			got += e.ID
		}
		// Of the first ten 0, 3, 6 and 9 fail, and of these 0 and 9 once more.
		if got != "124578"+"36"+"09"+"ab" || w.server.Faults.Before("").Calls() != 4 {
			t.Errorf("accepted %s", got)
		}
	})
}

func TestAnEntryThatIsRefusedForGoodIsAnErrorAndTheOthersArrive(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.server.Refuse(&fake.Refusal{Code: "NotAuthorizedForSourceException", Every: 2})
		err := w.publisher(t).Publish(t.Context(), event("1"), event("2"), event("3"))
		const want = "publish audit events: 2 of 3 not accepted: the bus's policy does not let in sources that begin with ai.postern, or this type of event (NotAuthorizedForSourceException)"
		if err == nil || err.Error() != want || w.server.Faults.Before("").Calls() != 1 {
			t.Errorf("got %v", err)
		}
		if got := w.server.Events(); len(got) != 1 || got[0].ID != "2" {
			t.Errorf("accepted %v", got)
		}
	})
}

func TestCallsKeepToTheLimits(t *testing.T) {
	t.Parallel()
	w := newWorld()
	large := event("1")
	large.Data = jsontext.Value(`{"text":"` + strings.Repeat(`\"`, 30<<10) + `"}`)
	events := []audit.Event{large, large, large, large, large, large, large, large, large}
	if err := w.publisher(t).Publish(t.Context(), events...); err != nil {
		t.Fatal(err)
	}
	if got, calls := len(w.server.Events()), w.server.Faults.Before("").Calls(); got != 9 || calls != 3 {
		t.Errorf("%d events in %d calls", got, calls)
	}
	wrong := event("1")
	wrong.Type = audit.Type(strings.Repeat("T", 129))
	if err := w.publisher(t).Publish(t.Context(), event("2"), wrong); err == nil || !strings.Contains(err.Error(), "type is longer than the 128 characters") {
		t.Errorf("got %v", err)
	}
	if got := len(w.server.Events()); got != 9 {
		t.Errorf("%d events", got)
	}
}

func TestErrorsSayWhatToDo(t *testing.T) {
	t.Parallel()
	refusal := func(status int, code string) fault.Fault {
		return fault.Fault{Status: status, Body: `{"__type":"com.amazonaws.events#` + code + `","message":"` + audittest.Canary + `"}`}
	}
	entry := func(code string) fault.Fault {
		return fault.Fault{Status: 200, Body: `{"FailedEntryCount":1,"Entries":[{"ErrorCode":"` + code + `","ErrorMessage":"` + audittest.Canary + `"}]}`}
	}
	const denied = "this function's role may not publish on the bus; it needs events:PutEvents on it, and the bus's own policy has to allow it if the bus is in another account"
	for _, test := range []struct {
		name  string
		fault fault.Fault
		want  string
		calls int
	}{
		{"no right", refusal(400, "AccessDeniedException"), denied, 1},
		{"no right for an entry", entry("AccessDeniedException"), denied, 1},
		{"a type that is not let in", entry("NotAuthorizedForDetailTypeException"), "the bus's policy does not let in sources that begin with ai.postern, or this type of event (NotAuthorizedForDetailTypeException)", 1},
		{"no such account", entry("InvalidAccountIdException"), "EventBridge has no bus of the configured name or ARN (InvalidAccountIdException)", 1},
		{"something wrong with an entry", entry("MalformedDetail"), "EventBridge does not take the event as it is (MalformedDetail)", 1},
		{"no trail", entry("RedactionFailure"), "EventBridge could not write the call to CloudTrail (RedactionFailure); see the bus's KMS key and its policy", 1},
		{"an entry refused by a code that is none", entry("a b<" + audittest.Canary), "EventBridge refuses the event for a reason that is not known here", 1},
		{"a throttled entry", entry("ThrottlingException"), "the bus is throttling (ThrottlingException)", 4},
		{"expired credentials", refusal(400, "ExpiredTokenException"), "AWS does not accept this function's credentials (ExpiredTokenException)", 2},
		{"an internal error", refusal(500, "InternalException"), "the bus has failed (InternalException)", 4},
		{"another internal error", refusal(502, ""), "the bus has failed (502)", 4},
		{"a code that is none", refusal(400, "a b<"+audittest.Canary), "the bus answers with status 400", 1},
		{"too few entries", fault.Fault{Status: 200, Body: `{"FailedEntryCount":0,"Entries":[]}`}, "the bus's reply is not what its API describes", 4},
		{"an entry that is neither", fault.Fault{Status: 200, Body: `{"FailedEntryCount":0,"Entries":[{}]}`}, "the bus's reply is not what its API describes", 4},
		{"failures without an entry", fault.Fault{Status: 200, Body: `{"FailedEntryCount":1,"Entries":[{"EventId":"1"}]}`}, "the bus's reply is not what its API describes", 4},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld()
				w.server.Faults.Before("PutEvents").Set(test.fault)
				err := w.publisher(t).Publish(t.Context(), event("1"))
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

// hosts records where requests go, and sends none.
type hosts struct{ seen []string }

func (h *hosts) RoundTrip(request *http.Request) (*http.Response, error) {
	h.seen = append(h.seen, request.URL.String())
	return &http.Response{StatusCode: http.StatusTeapot, Header: http.Header{}, Body: http.NoBody}, nil
}

func TestTheEndpointFollowsFromTheRegion(t *testing.T) {
	t.Parallel()
	transport := &hosts{}
	for _, bus := range []string{"audit", "arn:aws-us-gov:events:us-gov-west-1:123456789012:event-bus/a", "arn:aws-cn:events:cn-north-1:123456789012:event-bus/a", "arn:aws-eusc:events:eusc-de-east-1:123456789012:event-bus/a"} {
		publisher, err := eventbridge.New(eventbridge.Options{Bus: bus, Region: eventbridge.Region(bus, region), Authorizer: &audittest.Credentials{}, Transport: transport})
		if err != nil {
			t.Fatal(err)
		}
		if err := publisher.Publish(t.Context(), event("1")); err == nil {
			t.Error("there is a network")
		}
	}
	const want = "https://events.eu-central-1.amazonaws.com/ https://events.us-gov-west-1.amazonaws.com/ " +
		"https://events.cn-north-1.amazonaws.com.cn/ https://events.eusc-de-east-1.amazonaws.eu/"
	if got := strings.Join(transport.seen, " "); got != want {
		t.Errorf("got %s", got)
	}
}

func TestOptionsAreChecked(t *testing.T) {
	t.Parallel()
	good := eventbridge.Options{Bus: "audit", Region: region, Authorizer: &audittest.Credentials{}}
	for _, test := range []struct {
		name   string
		change func(*eventbridge.Options)
		want   string
	}{
		{"no authorizer", func(o *eventbridge.Options) { o.Authorizer = nil }, "authorizer"},
		{"no bus", func(o *eventbridge.Options) { o.Bus = "" }, "the name or the ARN"},
		{"a bus that is a path", func(o *eventbridge.Options) { o.Bus = "a/b" }, "the name or the ARN"},
		{"an ARN of something else", func(o *eventbridge.Options) { o.Bus = "arn:aws:events:eu-central-1:123456789012:rule/audit" }, "the name or the ARN"},
		{"no region", func(o *eventbridge.Options) { o.Region = "" }, "AWS_REGION"},
		{"a region that is a host", func(o *eventbridge.Options) { o.Region = "x.example.com/" }, "AWS_REGION"},
		{"another region than the bus's", func(o *eventbridge.Options) { o.Bus = "arn:aws:events:us-east-1:123456789012:event-bus/audit" }, "signed for eu-central-1"},
		{"an endpoint without TLS", func(o *eventbridge.Options) { o.Endpoint = "http://example.com" }, "https://"},
	} {
		options := good
		test.change(&options)
		if _, err := eventbridge.New(options); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v", test.name, err)
		}
	}
	if _, err := eventbridge.New(good); err != nil {
		t.Error(err)
	}
}

func FuzzReply(f *testing.F) {
	f.Add(200, `{"FailedEntryCount":0,"Entries":[{"EventId":"1"}]}`)
	f.Add(200, `{"FailedEntryCount":1,"Entries":[{"ErrorCode":"MalformedDetail","ErrorMessage":"x"}]}`)
	f.Add(200, `{}`)
	f.Add(400, `{"__type":"AccessDeniedException","message":"x"}`)
	f.Fuzz(func(t *testing.T, status int, body string) {
		if status < 100 || status > 999 {
			return
		}
		publisher, err := eventbridge.New(eventbridge.Options{Bus: "audit", Region: region, Authorizer: &audittest.Credentials{}})
		if err != nil {
			t.Fatal(err)
		}
		var out struct {
			Entries []struct {
				EventID string `json:"EventId"`
			}
		}
		for _, refusal := range publisher.Bus.Read(audit.Reply{Status: status, Header: http.Header{}, Body: []byte(body)}, 1) {
			switch {
			case refusal.Reason == "" && (status != 200 || json.Unmarshal([]byte(body), &out) != nil || len(out.Entries) != 1 || out.Entries[0].EventID == ""):
				t.Errorf("accepted: %d %q", status, body)
			case len(body) > 12 && strings.Contains(refusal.Reason, body):
				t.Errorf("got %v", refusal)
			}
		}
	})
}
