package gateway

import (
	"context"
	"io"
	"iter"
	"log/slog"
	"net/http/httptest"
	"testing"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/postern-ai/postern/shared/chat"
	"github.com/postern-ai/postern/shared/config"
	"github.com/postern-ai/postern/shared/policy"
	"github.com/postern-ai/postern/shared/provider"
)

// FuzzNoRequestWidensItsRule proves that nothing that a caller writes into a request gets it more than its rule grants: another model, a longer
// answer, another tool, or a parameter of which nobody knows what it means.
func FuzzNoRequestWidensItsRule(f *testing.F) {
	for _, more := range []string{
		"", `,"max_tokens":100`, `,"max_tokens":101`, `,"n":128`, `,"n":3,"max_completion_tokens":33`, `,"max_tokens":null,"max_completion_tokens":9`,
		`,"tools":[{"type":"function","function":{"name":"search"}}]`, `,"tools":[{"type":"custom","custom":{"name":"shell"}}]`, `,"tools":[{"type":"web_search"}]`,
		`,"functions":[{"name":"db_x"},{"name":"rm"}]`, `,"web_search_options":{}`, `,"n_predict":1e9`, `,"stream":true,"n":0`, `,"max_tokens":-1`,
	} {
		f.Add(ask("small", more))
		f.Add(ask("llama", more))
	}
	f.Add(ask("opus", ""))
	f.Add(`{"model":"small","model":"opus","messages":[{"role":"user","content":"x"}]}`)
	d, err := config.Load([]byte(guarded))
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, body string) {
		var asked []*chat.Request
		note := func(r *chat.Request) { asked = append(asked, r) }
		model := func(names ...string) provider.Model {
			return recorder{note: note, names: names, t: t}
		}
		g, err := New(Options{
			Document: d, Models: map[string]provider.Model{"main": model("small"), "own": model("llama"), "premium": model()},
			Callers: roster(people()), Policy: policy.Compile(d), Log: slog.New(slog.NewJSONHandler(io.Discard, nil)),
		})
		if err != nil {
			t.Fatal(err)
		}
		g.ServeHTTP(httptest.NewRecorder(), post(t.Context(), "bounded", body))
		for _, r := range asked {
			choices := int64(1)
			if r.N != nil {
				choices = max(*r.N, 1)
			}
			if limit := r.OutputLimit(); limit == nil || *limit < 1 || *limit > 100/choices {
				t.Errorf("an answer without its bound: %s", body)
			}
			for i := range r.Tools {
				name, ok := toolName(&r.Tools[i])
				if !ok || name != "search" && !config.Matches("db_*", name) {
					t.Errorf("the tool %q: %s", name, body)
				}
			}
			if len(r.Strangers()) > 0 || len(r.WebSearchOptions) > 0 && r.WebSearchOptions.Kind() != jsontext.KindNull {
				t.Errorf("what the rule does not allow: %s", body)
			}
		}
	})
}

// recorder is a model that may be asked for some names only.
type recorder struct {
	note  func(*chat.Request)
	names []string
	t     *testing.T
}

func (r recorder) check(req *chat.Request) {
	for _, name := range r.names {
		if req.Model == name {
			r.note(req)
			return
		}
	}
	r.t.Errorf("the model %q was asked for", req.Model)
}

func (r recorder) Stream(_ context.Context, req *chat.Request) (iter.Seq2[*chat.Chunk, error], error) {
	r.check(req)
	return chunks(nil, delta("x"), usage()), nil
}

func (r recorder) Chat(_ context.Context, req *chat.Request) (*chat.Response, error) {
	r.check(req)
	return answer("ok"), nil
}
