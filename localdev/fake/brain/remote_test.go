package brain_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/postern-ai/postern/localdev/fake/brain"
	"github.com/postern-ai/postern/localdev/fake/openai"
)

// A remote model must do all that a prompt can say. The one asked here is the
// Echo, behind a server of the wire, so the answers must be the same.
func TestRemoteAnswersAsTheModelItAsks(t *testing.T) {
	t.Parallel()
	asked := make(chan openai.Call, 100)
	server := httptest.NewServer(withoutKey(&openai.Server{
		Brain: brain.Echo{}, Models: []string{"first", "second"},
		Authorize: func(string) (string, bool) { return "", true },
		Called:    func(c openai.Call) { asked <- c },
	}))
	t.Cleanup(server.Close)
	tool := brain.Tool{Name: "clock", Schema: []byte(`{"type":"object","properties":{"zone":{"type":"string"}}}`)}
	other := brain.Tool{Name: "calendar", Schema: []byte(`{"type":"object"}`)}
	said := func(text string) []brain.Turn { return []brain.Turn{{Role: "user", Text: text}} }
	for name, p := range map[string]brain.Prompt{
		"a text":                  {Turns: said("hello there"), System: []string{"be", "kind"}},
		"a limit":                 {Turns: said("hello there"), MaxTokens: 3},
		"a stop":                  {Turns: said("hello there"), Stop: []string{"in"}},
		"a JSON object":           {Turns: said("hello json"), JSON: true},
		"a filter":                {Turns: said("#say(a b c d) #filter()")},
		"cached and reasoning":    {Turns: said("#say(a b) #cached(1) #reason(3)")},
		"a tool":                  {Turns: said("clock in Paris"), Tools: []brain.Tool{tool, other}},
		"two tools":               {Turns: said("clock and calendar"), Tools: []brain.Tool{tool, other}},
		"two tools one at a time": {Turns: said("clock and calendar"), Tools: []brain.Tool{tool, other}, OneCall: true},
		"no tool":                 {Turns: said("clock"), Tools: []brain.Tool{tool}, ToolChoice: "none"},
		"a required tool":         {Turns: said("hi"), Tools: []brain.Tool{tool}, ToolChoice: "required"},
		"a named tool":            {Turns: said("hi"), Tools: []brain.Tool{tool, other}, ToolChoice: "tool", ToolName: "calendar"},
		"results": {Tools: []brain.Tool{tool}, Turns: []brain.Turn{
			{Role: "user", Text: "clock"},
			{Role: "assistant", Text: "I look", Calls: []brain.Call{{ID: "c1", Name: "clock", Arguments: "{}"}, {ID: "c2", Name: "clock", Arguments: "{}"}}},
			{Role: "tool", Results: []brain.Result{{ID: "c1", Text: "noon"}, {ID: "c2", Text: "night"}}},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			want, err := brain.Collect(brain.Echo{}.Answer(t.Context(), p))
			if err != nil {
				t.Fatal(err)
			}
			got, err := brain.Collect(brain.Remote(server.URL+"/v1/#second").Answer(t.Context(), p))
			if err != nil {
				t.Fatal(err)
			}
			if len(p.Turns) == 3 {
				// The wire has a message per result, and the count of turns
				// shows in the ids alone.
				want.Calls, got.Calls = nil, nil
			}
			if d := cmp.Diff(want, got); d != "" {
				t.Error(d)
			}
			if c := <-asked; c.Model != "second" {
				t.Errorf("asked model %q", c.Model)
			}
		})
	}
}

// withoutKey lets in requests without a key, as a server of one's own does.
func withoutKey(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Header.Set("Authorization", "Bearer none")
		next.ServeHTTP(w, r)
	})
}

func TestRemoteAsksTheFirstModelByDefault(t *testing.T) {
	t.Parallel()
	var model string
	server := httptest.NewServer(withoutKey(&openai.Server{
		Brain: brain.Echo{}, Models: []string{"first", "second"},
		Authorize: func(string) (string, bool) { return "", true },
		Called:    func(c openai.Call) { model = c.Model },
	}))
	t.Cleanup(server.Close)
	p := brain.Prompt{Model: "gemini", Turns: []brain.Turn{{Role: "user", Text: "hi", Images: []brain.Image{{MediaType: "image/png", Bytes: 70}}}}}
	got, err := brain.Collect(brain.Remote(server.URL+"/v1").Answer(t.Context(), p))
	if err != nil {
		t.Fatal(err)
	}
	if model != "first" || !strings.Contains(got.Text, "image/png of 70 bytes") {
		t.Errorf("model %q answered %q", model, got.Text)
	}
}

func TestRemoteFailures(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		text    string
		message string
	}{
		"an error status":          {"#fail(503)", "503 Service Unavailable"},
		"a broken stream":          {"#say(a b c d) #break()", "unexpected EOF"},
		"garbage":                  {"#say(a b c d) #garbage()", "read a chunk"},
		"an error in the stream":   {"#say(a b c d) #error()", "the stream reports"},
		"a stream without its end": {"#say(a b c d) #truncate()", "ended too early"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewServer(withoutKey(&openai.Server{Brain: brain.Echo{}, Authorize: func(string) (string, bool) { return "", true }}))
			t.Cleanup(server.Close)
			_, err := brain.Collect(brain.Remote(server.URL+"/v1").Answer(t.Context(), brain.Prompt{Turns: []brain.Turn{{Role: "user", Text: c.text}}}))
			fault, ok := errors.AsType[*brain.Fault](err)
			if !ok || fault.Status != http.StatusBadGateway || !strings.Contains(fault.Message, c.message) && !strings.Contains(fault.Message, "reset") {
				t.Errorf("got %v: %+v", err, fault)
			}
		})
	}
}
