package anthropic_test

import (
	"bytes"
	stdjson "encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	sdk "github.com/anthropics/anthropic-sdk-go"
	"github.com/google/go-cmp/cmp"

	"github.com/postern-ai/postern/localdev/golden"
	"github.com/postern-ai/postern/shared/chat"
	"github.com/postern-ai/postern/shared/provider"
	"github.com/postern-ai/postern/shared/provider/anthropic"
	"github.com/postern-ai/postern/shared/provider/providertest"
	"github.com/postern-ai/postern/shared/sse"
)

// dialect returns the pure part of the provider.
func dialect(t testing.TB) provider.Dialect {
	t.Helper()
	model, err := anthropic.New(entry(""), nil)
	if err != nil {
		t.Fatal(err)
	}
	return model.(*provider.Client).Dialect
}

func TestRequestsAreTranslated(t *testing.T) {
	t.Parallel()
	d := dialect(t)
	golden.Run(t, "request", func(t *testing.T, given golden.Files) golden.Files {
		req := golden.Request(t, given["given-request.json"])
		before := string(golden.JSON(t, req))
		call, err := d.Encode(req)
		if err != nil {
			return golden.Files{"error.json": golden.Error(t, err)}
		}
		if d := cmp.Diff(before, string(golden.JSON(t, req))); d != "" {
			t.Errorf("the request was changed: %s", d)
		}
		if call.URL != "https://api.anthropic.com/v1/messages" || !cmp.Equal(call.Header, http.Header{"Anthropic-Version": {"2023-06-01"}}) {
			t.Errorf("sent to %s with %v", call.URL, call.Header)
		}
		known(t, call.Body)
		if _, isRefused := given["given-refusal"]; !isRefused {
			taken(t, call)
		}
		return golden.Files{"upstream.json": golden.Tidy(t, call.Body)}
	})
}

// known makes sure that Anthropic's own types have every member of a request:
// they drop what they do not know.
func known(t *testing.T, body []byte) {
	t.Helper()
	var params sdk.MessageNewParams
	if err := stdjson.Unmarshal(body, &params); err != nil {
		t.Fatal(err)
	}
	again, err := stdjson.Marshal(params)
	if err != nil {
		t.Fatal(err)
	}
	want, got := members(t, body), members(t, again)
	delete(want, "stream") // which the client adds to what it sends
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("Anthropic's own types make something else of the request: %s", d)
	}
}

func members(t *testing.T, body []byte) map[string]any {
	t.Helper()
	var object map[string]any
	if err := stdjson.Unmarshal(body, &object); err != nil {
		t.Fatal(err)
	}
	return object
}

// taken makes sure that the stand-in takes a request.
func taken(t *testing.T, call *provider.Call) {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/v1/messages", bytes.NewReader(call.Body))
	r.Header = call.Header.Clone()
	r.Header.Set("X-Api-Key", key)
	w := httptest.NewRecorder()
	service().ServeHTTP(w, r)
	if w.Code != http.StatusOK {
		t.Errorf("the stand-in answers %d: %s", w.Code, w.Body)
	}
}

func TestAnswersAreTranslated(t *testing.T) {
	t.Parallel()
	d := dialect(t)
	judge := golden.Completions(t, false)
	golden.Run(t, "answer", func(t *testing.T, given golden.Files) golden.Files {
		resp, err := d.Decode(&chat.Request{}, []byte(given["given-answer.json"]))
		if err != nil {
			return golden.Files{"error.json": golden.Error(t, err)}
		}
		resp.Object, resp.Created = chat.ObjectCompletion, 1768478400
		body := golden.JSON(t, resp)
		judge.Answer(t, body)
		return golden.Files{"response.json": golden.Tidy(t, body)}
	})
}

func TestStreamsAreTranslated(t *testing.T) {
	t.Parallel()
	d := dialect(t)
	judge := golden.Completions(t, true)
	golden.Run(t, "stream", func(t *testing.T, given golden.Files) golden.Files {
		body, ok := given["given-request.json"]
		if !ok {
			body = `{"model":"m","stream":true,"messages":[{"role":"user","content":"a"}],"tools":[{"type":"function","function":{"name":"f"}}]}`
		}
		chunks, err := readStream(d, golden.Request(t, body), given["given-events"])
		got := golden.Files{"chunks": ""}
		for _, chunk := range chunks {
			chunk.Object, chunk.Created = chat.ObjectChunk, 1768478400
			body := golden.JSON(t, chunk)
			judge.Chunk(t, body)
			got["chunks"] += string(body) + "\n"
		}
		if err != nil {
			got["error.json"] = golden.Error(t, err)
			return got
		}
		if _, differs := given["given-difference"]; !differs {
			agrees(t, given["given-events"], chunks)
		}
		return got
	})
}

// readStream returns the chunks of a stream and how it ended.
func readStream(d provider.Dialect, req *chat.Request, events string) ([]*chat.Chunk, error) {
	return providertest.Chunks(sse.NewReader(strings.NewReader(events), 0), d.Decoder(req))
}

// agrees holds what the chunks add up to against what Anthropic's own client
// makes of the same events.
func agrees(t *testing.T, events string, chunks []*chat.Chunk) {
	t.Helper()
	var m sdk.Message
	reader := sse.NewReader(strings.NewReader(events), 0)
	for {
		e, err := reader.Next()
		if err == io.EOF {
			break
		}
		var v sdk.MessageStreamEventUnion
		if err != nil || stdjson.Unmarshal(e.Data, &v) != nil {
			t.Fatalf("%v in %s", err, e.Data)
		}
		if !strings.HasPrefix(v.Type, "message_") && !strings.HasPrefix(v.Type, "content_block_") {
			continue
		}
		if err := m.Accumulate(v); err != nil {
			t.Fatal(err)
		}
		if v.Type == "message_stop" {
			break
		}
	}
	type sum struct {
		Text, Thoughts    string
		Calls             []string
		Prompt, Completed int64
	}
	want := sum{Prompt: m.Usage.InputTokens + m.Usage.CacheReadInputTokens + m.Usage.CacheCreationInputTokens, Completed: m.Usage.OutputTokens}
	for _, b := range m.Content {
		want.Text += b.Text
		want.Thoughts += b.Thinking
		if b.Type == "tool_use" {
			want.Calls = append(want.Calls, b.ID+" "+b.Name+" "+golden.Tidy(t, b.Input))
		}
	}
	got := addUp(chunks, func(s *sum, c *chat.Chunk) {
		if c.Usage != nil {
			s.Prompt, s.Completed = c.Usage.PromptTokens, c.Usage.CompletionTokens
			return
		}
		delta := c.Choices[0].Delta
		s.Text += deref(delta.Content)
		s.Thoughts += deref(delta.ReasoningContent)
		for _, call := range delta.ToolCalls {
			if call.ID != "" {
				s.Calls = append(s.Calls, call.ID+" "+call.Function.Name+" ")
			}
			s.Calls[*call.Index] += call.Function.Arguments
		}
	})
	for i, call := range got.Calls {
		start := strings.Index(call, "{")
		got.Calls[i] = call[:start] + golden.Tidy(t, []byte(call[start:]))
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("Anthropic's own client makes something else of the events: %s", d)
	}
}

func addUp[T any](chunks []*chat.Chunk, add func(*T, *chat.Chunk)) T {
	var total T
	for c := range slices.Values(chunks) {
		add(&total, c)
	}
	return total
}

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

func TestFaultsAreTranslated(t *testing.T) {
	t.Parallel()
	d := dialect(t)
	golden.Run(t, "fault", func(t *testing.T, given golden.Files) golden.Files {
		var status int
		if _, err := fmt.Sscan(given["given-status"], &status); err != nil {
			t.Fatal(err)
		}
		header := http.Header{}
		if id := strings.TrimSpace(given["given-request-id"]); id != "" {
			header.Set("Request-Id", id)
		}
		return golden.Files{"error.json": golden.Error(t, d.Fault(status, header, []byte(given["given-body"])))}
	})
}
