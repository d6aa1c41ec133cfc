package pubsub_test

import (
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/google/go-cmp/cmp"

	"github.com/postern-ai/postern/localdev/contract/contracttest"
	"github.com/postern-ai/postern/localdev/fake/fault"
	"github.com/postern-ai/postern/localdev/fake/pubsub"
	"github.com/postern-ai/postern/shared/audit"
)

const topic = "projects/p/topics/t"

var described = contracttest.Google("pubsub-v1")

func open(allow func(pubsub.Access) bool) *pubsub.Server {
	return pubsub.New(pubsub.Options{Topics: []string{topic}, Allow: allow, Member: func(token string) (string, bool) { return "user:" + token, token == "good" }})
}

// ask makes a request and returns its outcome: the status of an error, or how many ids came back. The reply is held against the description.
func ask(t *testing.T, server http.Handler, request *http.Request) string {
	t.Helper()
	if request.Header.Get("Authorization") == "" {
		request.Header.Set("Authorization", "Bearer good")
	}
	request.Header.Set("Content-Type", "application/json")
	recorder := httptest.NewRecorder()
	described.Replies(t, server).ServeHTTP(recorder, request)
	var out struct {
		MessageIDs []string `json:"messageIds"`
		Error      struct {
			Code   int    `json:"code"`
			Status string `json:"status"`
		} `json:"error"`
	}
	if err := json.Unmarshal(recorder.Body.Bytes(), &out); err != nil {
		t.Fatalf("%v in %s", err, recorder.Body)
	}
	if out.Error.Status != "" {
		if out.Error.Code != recorder.Code {
			t.Errorf("status %d, code %d", recorder.Code, out.Error.Code)
		}
		return out.Error.Status
	}
	return strconv.Itoa(len(out.MessageIDs))
}

func publish(t *testing.T, server http.Handler, body string) string {
	t.Helper()
	return ask(t, server, httptest.NewRequest(http.MethodPost, "/v1/"+topic+":publish", strings.NewReader(body)))
}

func TestWhatIsAcceptedIsThere(t *testing.T) {
	t.Parallel()
	server := open(nil)
	if got := publish(t, server, `{"messages":[{"data":"eA==","attributes":{"a":"b"},"orderingKey":"k"},{"attributes":{"c":"d"},"orderingKey":"k"}]}`); got != "2" {
		t.Errorf("got %s", got)
	}
	if got := publish(t, server, `{"messages":[{"data":"eQ=="}]}`); got != "1" {
		t.Errorf("got %s", got)
	}
	want := []pubsub.Message{
		{Topic: topic, ID: "1000000007", Data: []byte("x"), Attributes: map[string]string{"a": "b"}, OrderingKey: "k"},
		{Topic: topic, ID: "2000000014", Attributes: map[string]string{"c": "d"}, OrderingKey: "k"},
		{Topic: topic, ID: "3000000021", Data: []byte("y")},
	}
	if diff := cmp.Diff(want, server.Messages()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestEventsAreThoseOfCloudEvents(t *testing.T) {
	t.Parallel()
	server := open(nil)
	for _, attributes := range []string{
		`"content-type":"application/json","ce-specversion":"1.0","ce-id":"1","ce-source":"/s","ce-type":"T","ce-time":"2026-03-04T05:06:07Z","ce-subject":"s"`,
		`"ce-datacontenttype":"application/json","ce-specversion":"1.0","ce-id":"2","ce-source":"/s","ce-type":"T","ce-time":"2026-03-04T05:06:07Z"`,
		`"ce-specversion":"0.3","ce-id":"3","ce-source":"/s","ce-type":"T","ce-time":"2026-03-04T05:06:07Z"`,
		`"ce-specversion":"1.0","ce-id":"4","ce-source":"/s","ce-type":"T","ce-time":"yesterday"`,
		`"id":"5"`,
	} {
		if got := publish(t, server, `{"messages":[{"data":"eyJhIjogMX0=","attributes":{`+attributes+`}}]}`); got != "1" {
			t.Fatalf("got %s", got)
		}
	}
	structured := `{"messages":[{"data":"eyJzcGVjdmVyc2lvbiI6IjEuMCIsImlkIjoiNiIsInNvdXJjZSI6Ii9zIiwidHlwZSI6IlQiLCJ0aW1lIjoiMjAyNi0wMy0wNFQwNTowNjowN1oiLCJkYXRhIjp7ImEiOiAxfX0=",` +
		`"attributes":{"content-type":"application/cloudevents+json; charset=utf-8"}}]}`
	if got := publish(t, server, structured); got != "1" {
		t.Fatalf("got %s", got)
	}
	event := func(id, subject string) audit.Event {
		return audit.Event{ID: id, Source: "/s", Type: "T", Subject: subject, Time: time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC), Data: []byte(`{"a": 1}`)}
	}
	if diff := cmp.Diff([]audit.Event{event("1", "s"), event("2", ""), event("6", "")}, server.Events()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestWhatTheServiceRefusesIsRefused(t *testing.T) {
	t.Parallel()
	server := open(nil)
	request := func(change func(*http.Request)) string {
		r := httptest.NewRequest(http.MethodPost, "/v1/"+topic+":publish", strings.NewReader(`{"messages":[{"data":"eA=="}]}`))
		change(r)
		return ask(t, server, r)
	}
	attributes := strings.TrimSuffix(strings.Repeat(`"%":"",`, 101), ",")
	for i := range 101 {
		attributes = strings.Replace(attributes, "%", "a"+strconv.Itoa(i), 1)
	}
	for _, test := range []struct{ name, want, got string }{
		{"a token that is not valid", "UNAUTHENTICATED", request(func(r *http.Request) { r.Header.Set("Authorization", "Bearer bad") })},
		{"another scheme", "UNAUTHENTICATED", request(func(r *http.Request) { r.Header.Set("Authorization", "Basic good") })},
		{"no such topic", "NOT_FOUND", request(func(r *http.Request) { r.URL.Path = "/v1/projects/p/topics/other:publish" })},
		{"another method", "NOT_FOUND", request(func(r *http.Request) { r.URL.Path = "/v1/projects/p/topics/t:pull" })},
		{"another verb", "NOT_FOUND", request(func(r *http.Request) { r.Method = http.MethodPut })},
		{"an unknown parameter", "INVALID_ARGUMENT", request(func(r *http.Request) { r.URL.RawQuery = "key=x" })},
		{"no messages", "INVALID_ARGUMENT", publish(t, server, `{"messages":[]}`)},
		{"an empty message", "INVALID_ARGUMENT", publish(t, server, `{"messages":[{"orderingKey":"k"}]}`)},
		{"too many messages", "INVALID_ARGUMENT", publish(t, server, `{"messages":[`+strings.Repeat(`{"data":"eA=="},`, 1000)+`{"data":"eA=="}]}`)},
		{"different ordering keys", "INVALID_ARGUMENT", publish(t, server, `{"messages":[{"data":"eA==","orderingKey":"a"},{"data":"eA=="}]}`)},
		{"a long ordering key", "INVALID_ARGUMENT", publish(t, server, `{"messages":[{"data":"eA==","orderingKey":"`+strings.Repeat("x", 1025)+`"}]}`)},
		{"data that is no base64", "INVALID_ARGUMENT", publish(t, server, `{"messages":[{"data":"x"}]}`)},
		{"an unknown member", "INVALID_ARGUMENT", publish(t, server, `{"messages":[{"data":"eA==","ordering_key":"a"}]}`)},
		{"an id of its own", "INVALID_ARGUMENT", publish(t, server, `{"messages":[{"data":"eA==","messageId":"1"}]}`)},
		{"a time of its own", "INVALID_ARGUMENT", publish(t, server, `{"messages":[{"data":"eA==","publishTime":"2026-03-04T05:06:07Z"}]}`)},
		{"an attribute that is too long", "INVALID_ARGUMENT", publish(t, server, `{"messages":[{"attributes":{"a":"`+strings.Repeat("x", 1025)+`"}}]}`)},
		{"a name that is too long", "INVALID_ARGUMENT", publish(t, server, `{"messages":[{"attributes":{"`+strings.Repeat("x", 257)+`":""}}]}`)},
		{"a name of Google's", "INVALID_ARGUMENT", publish(t, server, `{"messages":[{"attributes":{"googx":""}}]}`)},
		{"too many attributes", "INVALID_ARGUMENT", publish(t, server, `{"messages":[{"attributes":{`+attributes+`}}]}`)},
		{"too large a request", "INVALID_ARGUMENT", publish(t, server, `{"messages":[{"data":"`+strings.Repeat("eHh4", 2_500_000)+`"}]}`)},
	} {
		if test.got != test.want {
			t.Errorf("%s: got %s", test.name, test.got)
		}
	}
	if got := server.Messages(); len(got) != 0 {
		t.Errorf("%d messages", len(got))
	}
}

func TestRightsAreNeeded(t *testing.T) {
	t.Parallel()
	var asked []pubsub.Access
	server := open(func(access pubsub.Access) bool {
		asked = append(asked, access)
		return false
	})
	if got := publish(t, server, `{"messages":[{"data":"eA=="}]}`); got != "PERMISSION_DENIED" {
		t.Errorf("got %s", got)
	}
	if want := []pubsub.Access{{Member: "user:good", Permission: "pubsub.topics.publish", Topic: topic}}; !cmp.Equal(want, asked) {
		t.Errorf("asked for %+v", asked)
	}
}

func TestAReplyThatIsLostComesAfterItsEffect(t *testing.T) {
	t.Parallel()
	server := open(nil)
	server.Faults.After("publish").Set(fault.Fault{Status: 503, Body: `{"error":{"code":503,"status":"UNAVAILABLE","message":""}}`, Times: 1})
	server.Faults.Before("").Set(fault.Fault{Status: 429, Body: `{"error":{"code":429,"status":"RESOURCE_EXHAUSTED","message":""}}`, Times: 1})
	for _, want := range []string{"RESOURCE_EXHAUSTED", "UNAVAILABLE", "1"} {
		if got := publish(t, server, `{"messages":[{"data":"eA=="}]}`); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	if got := len(server.Messages()); got != 2 {
		t.Errorf("%d messages", got)
	}
}
