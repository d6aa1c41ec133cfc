package bedrock_test

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws/protocol/eventstream"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"

	"github.com/postern-ai/postern/localdev/contract"
	"github.com/postern-ai/postern/shared/chat"
	"github.com/postern-ai/postern/shared/provider"
	"github.com/postern-ai/postern/shared/provider/bedrock"
)

var update = flag.Bool("update", false, "write what the golden files should hold")

// doer answers requests without a network.
type doer func(*http.Request) (*http.Response, error)

func (d doer) Do(r *http.Request) (*http.Response, error) { return d(r) }

// reply is an answer of status 200 with that body.
func reply(contentType string, body []byte) *http.Response {
	return &http.Response{
		StatusCode: http.StatusOK, Body: io.NopCloser(bytes.NewReader(body)), ContentLength: int64(len(body)),
		Header: http.Header{"Content-Type": {contentType}, "X-Amzn-Requestid": {"00000000-0000-4000-8000-000000000001"}},
	}
}

const (
	jsonType   = "application/json"
	streamType = "application/vnd.amazon.eventstream"
	whole      = `{"output":{"message":{"role":"assistant","content":[{"text":"ok"}]}},"stopReason":"end_turn","usage":{"inputTokens":1,"outputTokens":1,"totalTokens":2},"metrics":{"latencyMs":1}}`
)

func newModel(t testing.TB, d provider.Doer) provider.Model {
	t.Helper()
	model, err := bedrock.New(upstream("https://bedrock.example"), d)
	if err != nil {
		t.Fatal(err)
	}
	return model
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
			if *update {
				for _, name := range []string{"path", "upstream.json", "response.json", "chunks", "error.json"} {
					if text, ok := got[name]; ok {
						kept = append(kept, txtar.File{Name: name, Data: []byte(text)})
					}
				}
				archive.Files = kept
				if err := os.WriteFile(path, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if d := cmp.Diff(want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

func decodeRequest(t *testing.T, given files) *chat.Request {
	t.Helper()
	text, ok := given["given-request.json"]
	if !ok {
		text = `{"model":"m","messages":[{"role":"user","content":"hi"}]}`
	}
	req, err := chat.Decode([]byte(text), chat.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	req.Model = haiku
	if model := strings.TrimSpace(given["given-model"]); model != "" {
		req.Model = model
	}
	return req
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
		t.Fatalf("got error %v, want a *chat.Error", err)
	}
	text := fmt.Sprintf("%d\n", e.Status)
	if e.RetryAfter > 0 {
		text += fmt.Sprintf("retry after %s\n", e.RetryAfter)
	}
	if e.Err != nil {
		text += fmt.Sprintf("cause: %v\n", e.Err)
	}
	return text + tidy(t, e.Body())
}

func TestRequests(t *testing.T) {
	t.Parallel()
	model := describe(t, func(dir string) (*contract.Description, error) { return contract.AWS(dir, "bedrock-runtime") })
	golden(t, "request", func(t *testing.T, given files) files {
		got := files{}
		m := newModel(t, doer(func(r *http.Request) (*http.Response, error) {
			body, err := io.ReadAll(r.Body)
			if err != nil {
				t.Fatal(err)
			}
			got["path"], got["upstream.json"] = r.URL.EscapedPath()+"\n", tidy(t, body)
			if model != nil {
				_, problems := model.Request(contract.Request{Method: r.Method, Path: r.URL.EscapedPath(), Query: r.URL.Query(), Header: r.Header, Body: body})
				for _, p := range problems {
					if p.Path != youngerThanTheModel {
						t.Error(p)
					}
				}
			}
			return reply(jsonType, []byte(whole)), nil
		}))
		req := decodeRequest(t, given)
		before := encode(t, req)
		if _, err := m.Chat(t.Context(), req); err != nil {
			return files{"error.json": errorFile(t, err)}
		}
		if d := cmp.Diff(string(before), string(encode(t, req))); d != "" {
			t.Errorf("the request was changed: %s", d)
		}
		return got
	})
}

// describe loads a vendor's description, or returns nil where there is none.
func describe(t *testing.T, load func(string) (*contract.Description, error)) *contract.Description {
	t.Helper()
	dir, ok := contract.Dir()
	if !ok {
		t.Log("the vendors' descriptions are not here; nothing is held against them")
		return nil
	}
	d, err := load(dir)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// completions opens an exchange whose answers OpenAI's own description judges.
func completions(t *testing.T) *contract.Exchange {
	t.Helper()
	d := describe(t, contract.OpenAI)
	if d == nil {
		return nil
	}
	x, problems := d.Request(contract.Request{
		Method: http.MethodPost, Path: "/v1/chat/completions", Header: http.Header{"Content-Type": {jsonType}},
		Body: []byte(`{"model":"m","messages":[{"role":"user","content":"hi"}]}`),
	})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	return x
}

// ours are the members that servers of this wire have besides OpenAI's.
func judge(t *testing.T, problems []contract.Problem) {
	t.Helper()
	for _, p := range problems {
		if !p.Unknown {
			t.Error(p)
		}
	}
}

func TestAnswers(t *testing.T) {
	t.Parallel()
	x := completions(t)
	golden(t, "answer", func(t *testing.T, given files) files {
		resp, err := newModel(t, doer(func(*http.Request) (*http.Response, error) {
			return reply(jsonType, []byte(given["given-answer.json"])), nil
		})).Chat(t.Context(), decodeRequest(t, given))
		if err != nil {
			return files{"error.json": errorFile(t, err)}
		}
		if resp.Created <= 0 {
			t.Errorf("created is %d", resp.Created)
		}
		resp.Created = 1
		body := encode(t, resp)
		if x != nil {
			judge(t, x.Response(contract.Response{Status: 200, Header: http.Header{"Content-Type": {jsonType}}, Body: body}))
		}
		return files{"response.json": tidy(t, body)}
	})
}

// eventStream encodes lines of an event's type and its JSON. A type with an
// exclamation mark is an exception; "error" is one that has no type, "raw"
// bytes, and "cut" leaves off the end of the frame before it.
func eventStream(t *testing.T, lines string) []byte {
	t.Helper()
	var out, last []byte
	for line := range strings.Lines(lines) {
		kind, payload, _ := strings.Cut(strings.TrimSpace(line), " ")
		name, isException := strings.CutPrefix(kind, "!")
		switch {
		case kind == "":
			continue
		case kind == "cut":
			out = out[:len(out)-len(last)/2]
			continue
		case kind == "flip":
			out[len(out)-len(last)/2] ^= 1
			continue
		case kind == "error":
			m := eventstream.Message{}
			code, text, _ := strings.Cut(payload, " ")
			m.Headers.Set(":message-type", eventstream.StringValue("error"))
			m.Headers.Set(":error-code", eventstream.StringValue(code))
			m.Headers.Set(":error-message", eventstream.StringValue(text))
			last = encoded(m)
		case isException:
			last = frame("exception", name, payload)
		default:
			last = frame("event", name, payload)
		}
		out = append(out, last...)
	}
	return out
}

func TestStreams(t *testing.T) {
	t.Parallel()
	x := completions(t)
	golden(t, "stream", func(t *testing.T, given files) files {
		req := decodeRequest(t, given)
		req.Stream = true
		chunks, err := newModel(t, doer(func(*http.Request) (*http.Response, error) {
			return reply(streamType, eventStream(t, given["given-events"])), nil
		})).Stream(t.Context(), req)
		if err != nil {
			return files{"error.json": errorFile(t, err)}
		}
		got := files{}
		for chunk, err := range chunks {
			if err != nil {
				got["error.json"] = errorFile(t, err)
				continue
			}
			if got["error.json"] != "" {
				t.Error("a chunk comes after the error")
			}
			if chunk.Created <= 0 {
				t.Errorf("created is %d", chunk.Created)
			}
			chunk.Created = 1
			body := encode(t, chunk)
			if x != nil {
				judge(t, x.Event(contract.Event{Data: body}))
			}
			got["chunks"] += string(body) + "\n"
		}
		return got
	})
}

func TestFaults(t *testing.T) {
	t.Parallel()
	golden(t, "fault", func(t *testing.T, given files) files {
		status, err := strconv.Atoi(strings.TrimSpace(given["given-status"]))
		if err != nil {
			t.Fatal(err)
		}
		m := newModel(t, doer(func(*http.Request) (*http.Response, error) {
			resp := reply(jsonType, []byte(given["given-body"]))
			resp.StatusCode = status
			for line := range strings.Lines(given["given-header"]) {
				name, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
				resp.Header.Set(name, value)
			}
			return resp, nil
		}))
		_, err = m.Chat(t.Context(), decodeRequest(t, given))
		whole := errorFile(t, err)
		_, err = m.Stream(t.Context(), decodeRequest(t, given))
		if d := cmp.Diff(whole, errorFile(t, err)); d != "" {
			t.Errorf("a stream is refused otherwise: %s", d)
		}
		return files{"error.json": whole}
	})
}
