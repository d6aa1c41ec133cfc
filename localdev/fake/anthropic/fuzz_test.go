package anthropic_test

import (
	"context"
	"iter"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/postern-ai/postern/localdev/fake/anthropic"
	"github.com/postern-ai/postern/localdev/fake/brain"
)

// silent answers with nothing, at once, whatever the prompt asks for.
type silent struct{}

func (silent) Answer(context.Context, brain.Prompt) iter.Seq2[brain.Piece, error] {
	return func(yield func(brain.Piece, error) bool) {
		yield(brain.Piece{End: &brain.End{Finish: brain.Stop}}, nil)
	}
}

// FuzzRequest holds that every body is answered or refused as the API does it.
func FuzzRequest(f *testing.F) {
	for _, body := range []string{
		`{"model":"claude-sonnet-4-6","max_tokens":9,"messages":[{"role":"user","content":"hi"}]}`,
		`{"model":"claude-opus-5-5","max_tokens":9,"stream":true,"system":[{"type":"text","text":"a"}],"messages":[{"role":"user","content":[{"type":"image","source":{"type":"base64","media_type":"image/png","data":"` + pixel + `"}}]}]}`,
		`{"model":"claude-haiku-4-5-20251001","max_tokens":2000,"thinking":{"type":"enabled","budget_tokens":1024},"tools":[{"name":"a","input_schema":{"type":"object"}}],"tool_choice":{"type":"auto"},"messages":[{"role":"user","content":"hi"},{"role":"assistant","content":[{"type":"tool_use","id":"t1","name":"a","input":{}}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"t1","content":[{"type":"text","text":"x"}]}]}]}`,
		`{"model":"claude-sonnet-4-6","max_tokens":9,"output_config":{"effort":"low","format":{"type":"json_schema","schema":{"type":"object","additionalProperties":false}}},"messages":[{"role":"user","content":"hi"}],"cache_control":{"type":"ephemeral"}}`,
	} {
		f.Add(body)
	}
	s := anthropic.New(anthropic.Options{Brain: silent{}, Authorize: func(string) (string, bool) { return "tester", true }})
	f.Fuzz(func(t *testing.T, body string) {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/v1/messages", strings.NewReader(body))
		r.Header.Set("X-Api-Key", key)
		r.Header.Set("Anthropic-Version", anthropic.Version)
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		if w.Code != http.StatusOK && w.Code != http.StatusBadRequest && w.Code != http.StatusNotFound {
			t.Fatalf("status %d: %s", w.Code, w.Body)
		}
		if w.Code != http.StatusOK && !strings.Contains(w.Body.String(), `"type":"error"`) {
			t.Fatalf("got %s", w.Body)
		}
	})
}
