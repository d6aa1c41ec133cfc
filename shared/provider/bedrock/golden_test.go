package bedrock_test

import (
	"bytes"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws/protocol/eventstream"
	"github.com/google/go-cmp/cmp"

	"github.com/postern-ai/postern/localdev/contract"
	"github.com/postern-ai/postern/localdev/golden"
	"github.com/postern-ai/postern/shared/chat"
	"github.com/postern-ai/postern/shared/provider"
	"github.com/postern-ai/postern/shared/provider/bedrock"
)

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

func decodeRequest(t *testing.T, given golden.Files) *chat.Request {
	t.Helper()
	text, ok := given["given-request.json"]
	if !ok {
		text = `{"model":"m","messages":[{"role":"user","content":"hi"}]}`
	}
	req := golden.Request(t, text)
	req.Model = haiku
	if model := strings.TrimSpace(given["given-model"]); model != "" {
		req.Model = model
	}
	return req
}

func TestRequests(t *testing.T) {
	t.Parallel()
	model := golden.Description(t, func(dir string) (*contract.Description, error) { return contract.AWS(dir, "bedrock-runtime") })
	golden.Run(t, "request", func(t *testing.T, given golden.Files) golden.Files {
		got := golden.Files{}
		m := newModel(t, doer(func(r *http.Request) (*http.Response, error) {
			body, err := io.ReadAll(r.Body)
			if err != nil {
				t.Fatal(err)
			}
			got["path"], got["upstream.json"] = r.URL.EscapedPath()+"\n", golden.Tidy(t, body)
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
		before := golden.JSON(t, req)
		if _, err := m.Chat(t.Context(), req); err != nil {
			return golden.Files{"error.json": golden.Error(t, err)}
		}
		if d := cmp.Diff(string(before), string(golden.JSON(t, req))); d != "" {
			t.Errorf("the request was changed: %s", d)
		}
		return got
	})
}

func TestAnswers(t *testing.T) {
	t.Parallel()
	judge := golden.Completions(t, false)
	golden.Run(t, "answer", func(t *testing.T, given golden.Files) golden.Files {
		resp, err := newModel(t, doer(func(*http.Request) (*http.Response, error) {
			return reply(jsonType, []byte(given["given-answer.json"])), nil
		})).Chat(t.Context(), decodeRequest(t, given))
		if err != nil {
			return golden.Files{"error.json": golden.Error(t, err)}
		}
		if resp.Created <= 0 {
			t.Errorf("created is %d", resp.Created)
		}
		resp.Created = 1
		body := golden.JSON(t, resp)
		judge.Answer(t, body)
		return golden.Files{"response.json": golden.Tidy(t, body)}
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
	judge := golden.Completions(t, true)
	golden.Run(t, "stream", func(t *testing.T, given golden.Files) golden.Files {
		req := decodeRequest(t, given)
		req.Stream = true
		chunks, err := newModel(t, doer(func(*http.Request) (*http.Response, error) {
			return reply(streamType, eventStream(t, given["given-events"])), nil
		})).Stream(t.Context(), req)
		if err != nil {
			return golden.Files{"error.json": golden.Error(t, err)}
		}
		got := golden.Files{}
		for chunk, err := range chunks {
			if err != nil {
				got["error.json"] = golden.Error(t, err)
				continue
			}
			if got["error.json"] != "" {
				t.Error("a chunk comes after the error")
			}
			if chunk.Created <= 0 {
				t.Errorf("created is %d", chunk.Created)
			}
			chunk.Created = 1
			body := golden.JSON(t, chunk)
			judge.Chunk(t, body)
			got["chunks"] += string(body) + "\n"
		}
		return got
	})
}

func TestFaults(t *testing.T) {
	t.Parallel()
	golden.Run(t, "fault", func(t *testing.T, given golden.Files) golden.Files {
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
		whole := golden.Error(t, err)
		_, err = m.Stream(t.Context(), decodeRequest(t, given))
		if d := cmp.Diff(whole, golden.Error(t, err)); d != "" {
			t.Errorf("a stream is refused otherwise: %s", d)
		}
		return golden.Files{"error.json": whole}
	})
}
