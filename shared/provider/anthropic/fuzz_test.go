package anthropic_test

import (
	"bytes"
	"context"
	stdjson "encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"golang.org/x/tools/txtar"

	"github.com/postern-ai/postern/shared/chat"
	"github.com/postern-ai/postern/shared/provider"
)

// seed feeds a fuzz test what the golden files were made from.
func seed(f *testing.F, folder, name string) {
	f.Helper()
	paths, err := filepath.Glob(filepath.Join("testdata", folder, "*.txtar"))
	if err != nil || len(paths) == 0 {
		f.Fatalf("no golden files in %s: %v", folder, err)
	}
	for _, path := range paths {
		file, err := txtar.ParseFile(path)
		if err != nil {
			f.Fatal(err)
		}
		for _, member := range file.Files {
			if member.Name == name {
				f.Add(string(member.Data))
			}
		}
	}
}

// FuzzEncode holds that every request that decodes is refused as the caller's
// fault, or becomes one that the API can read: of its members alone, with turns
// that alternate, results behind their calls and no text that is empty.
func FuzzEncode(f *testing.F) {
	seed(f, "request", "given-request.json")
	d, standIn := dialect(f), service()
	f.Fuzz(func(t *testing.T, body string) {
		req, err := chat.Decode([]byte(body), chat.Limits{})
		if err != nil {
			return
		}
		call, err := d.Encode(req)
		if err != nil {
			if e, ok := errors.AsType[*chat.Error](err); !ok || e.Status != 400 || e.Message == "" {
				t.Fatalf("got error %v", err)
			}
			return
		}
		if !jsontext.Value(call.Body).IsValid() {
			t.Fatalf("not JSON: %s", call.Body)
		}
		said := refusal(t, standIn, call)
		for _, structural := range []string{
			"Extra inputs", "not valid JSON", "text content blocks", "without `tool_result`", "unexpected `tool_use_id`",
			"non-empty content", "max_tokens: Field", "does not match any of the expected tags",
		} {
			// What a caller says in the members that are passed on is their own.
			if strings.Contains(said, structural) && !strings.Contains(said, "cache_control") {
				t.Fatalf("the API would say %q to %s", said, call.Body)
			}
		}
		alternates(t, call.Body)
	})
}

// refusal returns what the stand-in says against a request, as if it had the
// model.
func refusal(t *testing.T, standIn http.Handler, call *provider.Call) string {
	t.Helper()
	var object map[string]jsontext.Value
	if err := json.Unmarshal(call.Body, &object); err != nil {
		t.Fatal(err)
	}
	object["model"] = jsontext.Value(`"claude-sonnet-4-6"`)
	body, err := json.Marshal(object)
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/v1/messages", bytes.NewReader(body))
	r.Header = call.Header.Clone()
	r.Header.Set("X-Api-Key", key)
	// A prompt may ask the stand-in to hang, or to break the connection.
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	w := httptest.NewRecorder()
	func() {
		defer func() { _ = recover() }()
		standIn.ServeHTTP(w, r.WithContext(ctx))
	}()
	var e struct{ Error struct{ Message string } }
	if w.Code != http.StatusBadRequest || stdjson.Unmarshal(w.Body.Bytes(), &e) != nil {
		return ""
	}
	return e.Error.Message
}

func alternates(t *testing.T, body []byte) {
	t.Helper()
	var request struct {
		Messages []struct {
			Role    string
			Content []struct{ Type string }
		}
	}
	if err := stdjson.Unmarshal(body, &request); err != nil {
		t.Fatal(err)
	}
	last := ""
	for i, m := range request.Messages {
		if m.Role == last || len(m.Content) == 0 {
			t.Fatalf("message %d: %s", i, body)
		}
		last = m.Role
		behind := false
		for _, b := range m.Content {
			if b.Type == "tool_result" && behind {
				t.Fatalf("message %d: a result stands behind something else: %s", i, body)
			}
			behind = behind || b.Type != "tool_result"
		}
	}
}

// FuzzDecode holds that a whole answer is an orderly one or an error.
func FuzzDecode(f *testing.F) {
	seed(f, "answer", "given-answer.json")
	d := dialect(f)
	f.Fuzz(func(t *testing.T, body string) {
		resp, err := d.Decode(&chat.Request{}, []byte(body))
		if err != nil {
			return
		}
		c := resp.Choices[0]
		if len(resp.Choices) != 1 || !chat.IsFinishReason(c.FinishReason) || c.Message.Content == nil && len(c.Message.ToolCalls) == 0 {
			t.Fatalf("choices %+v", resp.Choices)
		}
		for _, call := range c.Message.ToolCalls {
			if call.ID == "" || call.Function.Name == "" || jsontext.Value(call.Function.Arguments).Kind() != '{' {
				t.Fatalf("call %+v", call)
			}
		}
		if _, err := json.Marshal(resp); err != nil {
			t.Fatal(err)
		}
	})
}

// FuzzEvents holds that a stream is orderly: a role first, calls that begin
// with an id and are numbered, one finish reason at the end, and usage last.
func FuzzEvents(f *testing.F) {
	seed(f, "stream", "given-events")
	d := dialect(f)
	req := &chat.Request{Tools: []chat.Tool{{}}}
	f.Fuzz(func(t *testing.T, events string) {
		chunks, err := readStream(d, req, events)
		begun, finished, counted, calls := false, false, false, int64(0)
		for i, chunk := range chunks {
			if _, err := json.Marshal(chunk); err != nil {
				t.Fatal(err)
			}
			if counted {
				t.Fatalf("chunk %d comes behind the usage", i)
			}
			if chunk.Usage != nil {
				counted = true
				if len(chunk.Choices) != 0 || !finished {
					t.Fatalf("usage in chunk %d of %d", i, len(chunks))
				}
				continue
			}
			c := chunk.Choices[0]
			if begun == (c.Delta.Role != "") || finished {
				t.Fatalf("chunk %d: %+v", i, c)
			}
			begun = true
			for _, call := range c.Delta.ToolCalls {
				if call.ID != "" {
					calls++
				}
				if *call.Index != calls-1 {
					t.Fatalf("chunk %d: call %d of %d", i, *call.Index, calls)
				}
			}
			if c.FinishReason != nil {
				finished = true
				if !chat.IsFinishReason(*c.FinishReason) {
					t.Fatalf("chunk %d: finish reason %q", i, *c.FinishReason)
				}
			}
		}
		if err == nil && !finished {
			t.Fatal("a stream without an end is taken for complete")
		}
	})
}

// FuzzFault holds that no body of an error is shown to a caller where it is
// about the gateway's own account, and that none breaks the error.
func FuzzFault(f *testing.F) {
	seed(f, "fault", "given-body")
	d := dialect(f)
	f.Fuzz(func(t *testing.T, body string) {
		for _, status := range []int{400, 401, 402, 403, 404, 429, 500, 503, 529} {
			e := d.Fault(status, http.Header{}, []byte(body))
			if e.Status < 400 || e.Status > 599 || e.Type == "" || e.Message == "" || !jsontext.Value(e.Body()).IsValid() {
				t.Fatalf("status %d: %+v", status, e)
			}
			if status != 400 && e.Message != shown(status) && !strings.HasPrefix(e.Message, "Anthropic does not serve the gateway's account") && e.Message != shown(503) {
				t.Fatalf("status %d says %q", status, e.Message)
			}
		}
	})
}

// shown is what a caller is told of a status, whatever the body says.
func shown(status int) string { return provider.Fault(status, "Anthropic", "").Message }
