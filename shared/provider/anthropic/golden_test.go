package anthropic_test

import (
	"bytes"
	stdjson "encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	sdk "github.com/anthropics/anthropic-sdk-go"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"

	"github.com/postern-ai/postern/localdev/contract"
	"github.com/postern-ai/postern/shared/chat"
	"github.com/postern-ai/postern/shared/provider"
	"github.com/postern-ai/postern/shared/provider/anthropic"
	"github.com/postern-ai/postern/shared/sse"
)

var update = flag.Bool("update", false, "write what the golden files should hold")

// dialect returns the pure part of the provider.
func dialect(t testing.TB) provider.Dialect {
	t.Helper()
	model, err := anthropic.New(entry(""), nil)
	if err != nil {
		t.Fatal(err)
	}
	return model.(*provider.Client).Dialect
}

// files are those of a txtar archive by name. A name that begins with given-
// is what a case starts from; the others are what comes of it.
type files map[string]string

// golden runs a function on every archive of a folder.
func golden(t *testing.T, folder string, run func(*testing.T, files) files) {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join("testdata", folder, "*.txtar"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("no golden files in %s: %v", folder, err)
	}
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) {
			t.Parallel()
			checkGolden(t, path, run)
		})
	}
}

func checkGolden(t *testing.T, path string, run func(*testing.T, files) files) {
	archive, err := txtar.ParseFile(path)
	if err != nil {
		t.Fatal(err)
	}
	given, want := files{}, files{}
	var kept []txtar.File
	for _, f := range archive.Files {
		if strings.HasPrefix(f.Name, "given-") {
			given[f.Name] = string(f.Data)
			kept = append(kept, f)
			continue
		}
		want[f.Name] = string(f.Data)
	}
	got := run(t, given)
	if !*update {
		if d := cmp.Diff(want, got); d != "" {
			t.Error(d)
		}
		return
	}
	for _, name := range []string{"upstream.json", "response.json", "chunks", "error.json"} {
		if text, ok := got[name]; ok {
			kept = append(kept, txtar.File{Name: name, Data: []byte(text)})
		}
	}
	archive.Files = kept
	if err := os.WriteFile(path, txtar.Format(archive), 0o644); err != nil {
		t.Fatal(err)
	}
}

// tidy writes JSON so that it can be read, and keeps the order of its members.
func tidy(t *testing.T, v []byte) string {
	t.Helper()
	value := jsontext.Value(bytes.Clone(v))
	if err := value.Format(jsontext.WithIndent("  "), jsontext.CanonicalizeRawInts(false), jsontext.CanonicalizeRawFloats(false)); err != nil {
		t.Fatalf("%v in %s", err, v)
	}
	return string(value) + "\n"
}

func encode(t *testing.T, v any) []byte {
	t.Helper()
	out, err := json.Marshal(v, json.Deterministic(true))
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// errorFile describes an error as the caller sees it, and its private cause.
func errorFile(t *testing.T, err error) string {
	t.Helper()
	e, ok := errors.AsType[*chat.Error](err)
	if !ok {
		return "unreadable: " + err.Error() + "\n"
	}
	text := fmt.Sprintf("%d\n", e.Status)
	if e.Err != nil {
		text += fmt.Sprintf("cause: %v\n", e.Err)
	}
	return text + tidy(t, e.Body())
}

func decodeRequest(t *testing.T, body string) *chat.Request {
	t.Helper()
	req, err := chat.Decode([]byte(body), chat.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	return req
}

func TestRequestsAreTranslated(t *testing.T) {
	t.Parallel()
	d := dialect(t)
	golden(t, "request", func(t *testing.T, given files) files {
		req := decodeRequest(t, given["given-request.json"])
		before := string(encode(t, req))
		call, err := d.Encode(req)
		if err != nil {
			return files{"error.json": errorFile(t, err)}
		}
		if d := cmp.Diff(before, string(encode(t, req))); d != "" {
			t.Errorf("the request was changed: %s", d)
		}
		if call.URL != "https://api.anthropic.com/v1/messages" || !cmp.Equal(call.Header, http.Header{"Anthropic-Version": {"2023-06-01"}}) {
			t.Errorf("sent to %s with %v", call.URL, call.Header)
		}
		known(t, call.Body)
		if _, isRefused := given["given-refusal"]; !isRefused {
			taken(t, call)
		}
		return files{"upstream.json": tidy(t, call.Body)}
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

// openAI opens an exchange of OpenAI's own description, or one that finds
// nothing wrong where there is none.
func openAI(t *testing.T, request string) *contract.Exchange {
	t.Helper()
	dir, ok := contract.Dir()
	if !ok {
		t.Log("the vendors' descriptions are not there: answers are not checked against them")
		return &contract.Exchange{}
	}
	description, err := contract.OpenAI(dir)
	if err != nil {
		t.Fatal(err)
	}
	exchange, problems := description.Request(contract.Request{
		Method: http.MethodPost, Path: "/v1/chat/completions",
		Header: http.Header{"Content-Type": {"application/json"}}, Body: []byte(request),
	})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	return exchange
}

// fits reports problems other than members that go beyond OpenAI's
// description, as extra_content and reasoning_content do.
func fits(t *testing.T, problems []contract.Problem) {
	t.Helper()
	for _, p := range problems {
		if !p.Unknown {
			t.Error(p)
		}
	}
}

func TestAnswersAreTranslated(t *testing.T) {
	t.Parallel()
	d := dialect(t)
	exchange := openAI(t, `{"model":"m","messages":[{"role":"user","content":"a"}]}`)
	golden(t, "answer", func(t *testing.T, given files) files {
		resp, err := d.Decode(&chat.Request{}, []byte(given["given-answer.json"]))
		if err != nil {
			return files{"error.json": errorFile(t, err)}
		}
		resp.Object, resp.Created = chat.ObjectCompletion, 1768478400
		body := encode(t, resp)
		fits(t, exchange.Response(contract.Response{Status: http.StatusOK, Header: http.Header{"Content-Type": {"application/json"}}, Body: body}))
		return files{"response.json": tidy(t, body)}
	})
}

func TestStreamsAreTranslated(t *testing.T) {
	t.Parallel()
	d := dialect(t)
	exchange := openAI(t, `{"model":"m","stream":true,"messages":[{"role":"user","content":"a"}]}`)
	golden(t, "stream", func(t *testing.T, given files) files {
		body, ok := given["given-request.json"]
		if !ok {
			body = `{"model":"m","stream":true,"messages":[{"role":"user","content":"a"}],"tools":[{"type":"function","function":{"name":"f"}}]}`
		}
		chunks, err := readStream(d, decodeRequest(t, body), given["given-events"])
		got := files{"chunks": ""}
		for _, chunk := range chunks {
			chunk.Object, chunk.Created = chat.ObjectChunk, 1768478400
			body := encode(t, chunk)
			fits(t, exchange.Event(contract.Event{Data: body}))
			got["chunks"] += string(body) + "\n"
		}
		if err != nil {
			got["error.json"] = errorFile(t, err)
			return got
		}
		if _, differs := given["given-difference"]; !differs {
			agrees(t, given["given-events"], chunks)
		}
		return got
	})
}

// readStream returns the chunks of a stream and how it ended.
func readStream(d provider.Dialect, req *chat.Request, events string) (chunks []*chat.Chunk, err error) {
	reader, decoder := sse.NewReader(strings.NewReader(events), 0), d.Decoder(req)
	for {
		event, err := reader.Next()
		if err == io.EOF {
			rest, err := decoder.End()
			return append(chunks, rest...), err
		}
		if err != nil {
			return chunks, err
		}
		more, err := decoder.Event(event)
		chunks = append(chunks, more...)
		if err != nil {
			return chunks, err
		}
	}
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
			want.Calls = append(want.Calls, b.ID+" "+b.Name+" "+tidy(t, b.Input))
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
		got.Calls[i] = call[:start] + tidy(t, []byte(call[start:]))
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
	golden(t, "fault", func(t *testing.T, given files) files {
		var status int
		if _, err := fmt.Sscan(given["given-status"], &status); err != nil {
			t.Fatal(err)
		}
		header := http.Header{}
		if id := strings.TrimSpace(given["given-request-id"]); id != "" {
			header.Set("Request-Id", id)
		}
		return files{"error.json": errorFile(t, d.Fault(status, header, []byte(given["given-body"])))}
	})
}
