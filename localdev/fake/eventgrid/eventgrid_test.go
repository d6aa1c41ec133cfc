package eventgrid_test

import (
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/google/go-cmp/cmp"

	"github.com/postern-ai/postern/localdev/fake/eventgrid"
	"github.com/postern-ai/postern/localdev/fake/fault"
	"github.com/postern-ai/postern/shared/audit"
)

const event = `{"specversion":"1.0","id":"1","source":"/s","type":"T","time":"2026-03-04T05:06:07Z","data":{}}`

func open(change func(*eventgrid.Options)) *eventgrid.Server {
	options := eventgrid.Options{Caller: func(token string) (string, bool) { return "appid=" + token, token == "good" }}
	if change != nil {
		change(&options)
	}
	return eventgrid.New(options)
}

// post makes a request and returns its outcome: the status, and the code of an error.
func post(t *testing.T, server http.Handler, body string, change func(*http.Request)) string {
	t.Helper()
	request := httptest.NewRequest(http.MethodPost, "https://topic.example/api/events?api-version=2018-01-01", strings.NewReader(body))
	request.Header.Set("Content-Type", "application/cloudevents-batch+json; charset=utf-8")
	request.Header.Set("Authorization", "Bearer good")
	if change != nil {
		change(request)
	}
	recorder := httptest.NewRecorder()
	server.ServeHTTP(recorder, request)
	if recorder.Body.Len() == 0 {
		return strconv.Itoa(recorder.Code)
	}
	var out struct {
		Error struct {
			Code    string `json:"code"`
			Details []struct {
				Code string `json:"code"`
			} `json:"details"`
		} `json:"error"`
	}
	if err := json.Unmarshal(recorder.Body.Bytes(), &out); err != nil || len(out.Error.Details) != 1 || out.Error.Details[0].Code != strconv.Itoa(recorder.Code) {
		t.Fatalf("%d %s: %v", recorder.Code, recorder.Body, err)
	}
	return strconv.Itoa(recorder.Code) + " " + out.Error.Code
}

func TestWhatIsAcceptedIsThere(t *testing.T) {
	t.Parallel()
	server := open(nil)
	other := `{"specversion":"1.0","id":"2","source":"/s","type":"T","mine":true,"data_base64":"eA=="}`
	if got := post(t, server, "["+event+","+other+","+event+"]", nil); got != "200" {
		t.Errorf("got %s", got)
	}
	if got := post(t, server, event, func(r *http.Request) { r.Header.Set("Content-Type", "application/cloudevents+json") }); got != "200" {
		t.Errorf("one by itself: got %s", got)
	}
	want := audit.Event{ID: "1", Source: "/s", Type: "T", Time: time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC), Data: []byte("{}")}
	if diff := cmp.Diff([]audit.Event{want, want, want}, server.Events()); diff != "" || server.Others() != 1 {
		t.Errorf("%d others (-want +got):\n%s", server.Others(), diff)
	}
}

func TestWhatTheServiceRefusesIsRefused(t *testing.T) {
	t.Parallel()
	with := func(members string) string {
		return `[{"specversion":"1.0","id":"1","source":"/s","type":"T",` + members + `}]`
	}
	header := func(name, value string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set(name, value) }
	}
	for _, test := range []struct {
		name, want, body string
		change           func(*http.Request)
	}{
		{"no token", "401 Unauthorized", "[" + event + "]", func(r *http.Request) { r.Header.Del("Authorization") }},
		{"a token that is not valid", "401 Unauthorized", "[" + event + "]", header("Authorization", "Bearer bad")},
		{"a key", "401 Unauthorized", "[" + event + "]", func(r *http.Request) { r.Header.Del("Authorization"); r.Header.Set("Aeg-Sas-Key", "good") }},
		{"another path", "404 NotFound", "[" + event + "]", func(r *http.Request) { r.URL.Path = "/api/events/x" }},
		{"another verb", "404 NotFound", "[" + event + "]", func(r *http.Request) { r.Method = http.MethodPut }},
		{"no API version", "400 BadRequest", "[" + event + "]", func(r *http.Request) { r.URL.RawQuery = "" }},
		{"another API version", "400 BadRequest", "[" + event + "]", func(r *http.Request) { r.URL.RawQuery = "api-version=2024-06-01" }},
		{"another content type", "400 BadRequest", "[" + event + "]", header("Content-Type", "application/json")},
		{"another character set", "400 BadRequest", "[" + event + "]", header("Content-Type", "application/cloudevents-batch+json; charset=latin1")},
		{"an event that is no batch", "400 BadRequest", event, nil},
		{"a batch that is one event", "400 BadRequest", "[" + event + "]", header("Content-Type", "application/cloudevents+json")},
		{"an empty batch", "400 BadRequest", "[]", nil},
		{"one that is wrong", "400 BadRequest", "[" + event + ",1]", nil},
		{"too much", "413 PayloadTooLarge", with(`"data":"` + strings.Repeat("x", 1_000_000) + `"`), nil},
		{"another version of the format", "400 BadRequest", strings.Replace("["+event+"]", "1.0", "0.3", 1), nil},
		{"no type", "400 BadRequest", `[{"specversion":"1.0","id":"1","source":"/s"}]`, nil},
		{"an id that is no text", "400 BadRequest", `[{"specversion":"1.0","id":1,"source":"/s","type":"T"}]`, nil},
		{"a source that is no URI", "400 BadRequest", `[{"specversion":"1.0","id":"1","source":"%zz","type":"T"}]`, nil},
		{"a time that is none", "400 BadRequest", with(`"time":"yesterday"`), nil},
		{"data twice", "400 BadRequest", with(`"data":1,"data_base64":"eA=="`), nil},
		{"data that is not in Base64", "400 BadRequest", with(`"data_base64":"x"`), nil},
		{"an attribute with a capital", "400 BadRequest", with(`"Mine":"x"`), nil},
		{"an attribute that is an object", "400 BadRequest", with(`"mine":{}`), nil},
	} {
		server := open(nil)
		if got := post(t, server, test.body, test.change); got != test.want {
			t.Errorf("%s: got %s", test.name, got)
		}
		if got := len(server.Events()) + server.Others(); got != 0 {
			t.Errorf("%s: %d events", test.name, got)
		}
	}
}

func TestTopicsDiffer(t *testing.T) {
	t.Parallel()
	var asked []eventgrid.Access
	for name, test := range map[string]struct {
		change func(*eventgrid.Options)
		want   string
	}{
		"its own host":   {func(o *eventgrid.Options) { o.Host = "topic.example" }, "200"},
		"another host":   {func(o *eventgrid.Options) { o.Host = "other.example" }, "404 NotFound"},
		"another schema": {func(o *eventgrid.Options) { o.EventGridSchema = true }, "400 BadRequest"},
		"no right": {func(o *eventgrid.Options) {
			o.Allow = func(access eventgrid.Access) bool { asked = append(asked, access); return false }
		}, "403 Forbidden"},
	} {
		if got := post(t, open(test.change), "["+event+"]", nil); got != test.want {
			t.Errorf("%s: got %s", name, got)
		}
	}
	if want := []eventgrid.Access{{Caller: "appid=good", Action: "Microsoft.EventGrid/events/send/action"}}; !cmp.Equal(want, asked) {
		t.Errorf("asked for %+v", asked)
	}
}

func TestAReplyThatIsLostComesAfterItsEffect(t *testing.T) {
	t.Parallel()
	server := open(nil)
	server.Faults.After("PublishCloudEvents").Set(fault.Fault{Status: 503, Times: 1})
	server.Faults.Before("").Set(fault.Fault{Status: 429, Times: 1})
	for _, want := range []string{"429", "503", "200"} {
		if got := post(t, server, "["+event+"]", nil); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	if got := len(server.Events()); got != 2 {
		t.Errorf("%d events", got)
	}
}
