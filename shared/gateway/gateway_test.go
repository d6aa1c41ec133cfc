package gateway

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/postern-ai/postern/shared/caller"
	"github.com/postern-ai/postern/shared/chat"
	"github.com/postern-ai/postern/shared/config"
	"github.com/postern-ai/postern/shared/identity"
	"github.com/postern-ai/postern/shared/policy"
	"github.com/postern-ai/postern/shared/provider"
)

const document = `
callers:
  - name: people
    issuer: https://idp.example.com
    audience: postern
upstreams:
  - name: main
    provider: bedrock
    aws_region: eu-west-1
    models: [small, {name: large, model: vendor.large-v1}]
policy:
  - match: {subjects: [alice]}
    models: ["*"]
  - match: {subjects: [bob]}
    models: [small]
limits:
  max_body_bytes: 4096
  max_depth: 8
  max_messages: 3
  request_timeout: 60s
  first_byte_timeout: 20s
`

// callers admits whoever is named in the Authorization header.
type callers struct{}

func (callers) Authenticate(r *http.Request) (*caller.Principal, error) {
	switch who := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "); who {
	case "":
		return nil, &caller.Error{Code: caller.Missing, Public: "no credential was given"}
	case "old":
		return nil, &caller.Error{Code: caller.Expired, Public: "the token has expired"}
	case "unlucky":
		return nil, &caller.Error{Code: caller.Unavailable, Public: "the issuer's keys cannot be fetched"}
	default:
		return &caller.Principal{Method: caller.OIDC, Issuer: "https://idp.example.com", Subject: who, Name: "people/" + who}, nil
	}
}

// script is a model that does what the test says.
type script struct {
	chat   func(context.Context, *chat.Request) (*chat.Response, error)
	stream func(context.Context, *chat.Request) (iter.Seq2[*chat.Chunk, error], error)
}

func (s script) Chat(ctx context.Context, r *chat.Request) (*chat.Response, error) {
	identity.Note(ctx, identity.Principal{Name: "arn:aws:iam::1:role/gateway", Source: "environment"})
	return s.chat(ctx, r)
}

func (s script) Stream(ctx context.Context, r *chat.Request) (iter.Seq2[*chat.Chunk, error], error) {
	return s.stream(ctx, r)
}

func newGateway(t *testing.T, model provider.Model, log io.Writer, change ...string) *Gateway {
	t.Helper()
	text := document + strings.Join(change, "\n")
	d, err := config.Load([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	rules := policy.Compile(d)
	g, err := New(Options{
		Document: d, Models: map[string]provider.Model{"main": model}, Callers: callers{}, Policy: rules,
		Log: slog.New(slog.NewJSONHandler(log, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func post(ctx context.Context, who, body string) *http.Request {
	r := httptest.NewRequestWithContext(ctx, http.MethodPost, "/v1/chat/completions", strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	if who != "" {
		r.Header.Set("Authorization", "Bearer "+who)
	}
	return r
}

func text(s string) *string { return &s }

func answer(s string) *chat.Response {
	return &chat.Response{
		ID: "chatcmpl-1", Object: chat.ObjectCompletion, Created: 1, Model: "vendor.large-v1",
		Choices: []chat.Choice{{Message: chat.Answer{Role: "assistant", Content: text(s)}, FinishReason: "stop"}},
		Usage:   &chat.Usage{PromptTokens: 3, CompletionTokens: 4, TotalTokens: 7},
	}
}

func delta(s string) *chat.Chunk {
	return &chat.Chunk{ID: "c", Object: chat.ObjectChunk, Choices: []chat.ChunkChoice{{Delta: chat.Delta{Content: text(s)}}}}
}

func usage() *chat.Chunk {
	return &chat.Chunk{ID: "c", Object: chat.ObjectChunk, Choices: []chat.ChunkChoice{}, Usage: &chat.Usage{PromptTokens: 1, CompletionTokens: 2, TotalTokens: 3}}
}

// chunks is a stream of the given chunks and, if err is set, that error.
func chunks(err error, list ...*chat.Chunk) iter.Seq2[*chat.Chunk, error] {
	return func(yield func(*chat.Chunk, error) bool) {
		for _, c := range list {
			if !yield(c, nil) {
				return
			}
		}
		if err != nil {
			yield(nil, err)
		}
	}
}

const canary = "CANARY-9f31"

const hello = `{"model":"large","messages":[{"role":"user","content":"hello ` + canary + `"}]}`

func TestRefusals(t *testing.T) {
	t.Parallel()
	refusing := script{chat: func(context.Context, *chat.Request) (*chat.Response, error) {
		t.Error("a refused request reached the model")
		return answer(""), nil
	}}
	deep := strings.Repeat(`[`, 9) + strings.Repeat(`]`, 9)
	for _, c := range []struct {
		name   string
		change func(*http.Request)
		who    string
		body   string
		status int
		code   string
		param  string
		says   string
	}{
		{name: "a caller without a token", who: "", body: hello, status: 401, code: "invalid_api_key", says: "No credential was given."},
		{name: "a caller with an expired token", who: "old", body: hello, status: 401, code: "invalid_api_key", says: "The token has expired."},
		{name: "a caller whose issuer is away", who: "unlucky", body: hello, status: 503, code: "caller_keys_unavailable", says: "keys"},
		{name: "an empty body", who: "alice", body: "", status: 400, says: "no body"},
		{name: "a body that is not JSON", who: "alice", body: "hello", status: 400, says: "not valid JSON"},
		{name: "a body that is cut off", who: "alice", body: hello[:40], status: 400, says: "not valid JSON"},
		{name: "a body that is not an object", who: "alice", body: "[1]", status: 400, code: "invalid_type", says: "must be a JSON object"},
		{name: "a body that is too large", who: "alice", body: hello + strings.Repeat(" ", 4096), status: 413, code: "request_too_large", says: "4096"},
		{name: "a body that is too large and does not say so", who: "alice", body: hello + strings.Repeat(" ", 4096),
			change: func(r *http.Request) { r.ContentLength = -1 }, status: 413, code: "request_too_large", says: "4096"},
		{name: "a body that is too deep", who: "alice", body: `{"model":"large","messages":` + deep + `}`, status: 400, says: "8 levels"},
		{name: "a body that is not UTF-8", who: "alice", body: "{\"model\":\"\xff\"}", status: 400, says: "UTF-8"},
		{name: "a member that stands twice", who: "alice", body: `{"model":"large","model":"small","messages":[]}`, status: 400, code: "invalid_value", param: "model", says: "twice"},
		{name: "too many messages", who: "alice", body: `{"model":"large","messages":[` + strings.Repeat(`{"role":"user","content":"x"},`, 3) + `{"role":"user","content":"x"}]}`,
			status: 400, code: "invalid_value", param: "messages", says: "at most 3"},
		{name: "a member of the wrong type", who: "alice", body: `{"model":"large","messages":[{"role":"user","content":7}]}`,
			status: 400, code: "invalid_type", param: "messages[0].content", says: "expected a string or an array"},
		{name: "a temperature of the wrong type", who: "alice", body: `{"model":"large","messages":[{"role":"user","content":"x"}],"temperature":"hot"}`,
			status: 400, code: "invalid_type", param: "temperature", says: "expected a number, but got a string"},
		{name: "no model", who: "alice", body: `{"messages":[{"role":"user","content":"x"}]}`, status: 400, code: "missing_required_parameter", param: "model"},
		{name: "an unknown model", who: "alice", body: `{"model":"gpt-9","messages":[{"role":"user","content":"x"}]}`, status: 404, code: "model_not_found", param: "model", says: "`gpt-9`"},
		{name: "a model that the caller may not use", who: "bob", body: hello, status: 403, code: "model_not_allowed", param: "model", says: "not allowed"},
		{name: "a caller whom no rule names", who: "mallory", body: hello, status: 403, code: "model_not_allowed", param: "model"},
		{name: "no content type", who: "alice", body: hello, change: func(r *http.Request) { r.Header.Del("Content-Type") }, status: 415, code: "unsupported_content_type"},
		{name: "another content type", who: "alice", body: hello, change: func(r *http.Request) { r.Header.Set("Content-Type", "text/plain") }, status: 415, code: "unsupported_content_type"},
		{name: "a compressed body", who: "alice", body: hello, change: func(r *http.Request) { r.Header.Set("Content-Encoding", "gzip") }, status: 415, code: "unsupported_content_encoding"},
		{name: "the wrong method", who: "alice", change: func(r *http.Request) { r.Method = http.MethodGet }, status: 405, code: "method_not_allowed", says: "POST"},
		{name: "an unknown path", who: "alice", change: func(r *http.Request) { r.URL.Path = "/v2/chat" }, status: 404, code: "unknown_url", says: "/v2/chat"},
		{name: "a path with a slash too many", who: "alice", change: func(r *http.Request) { r.URL.Path = "/v1//chat/completions" }, status: 404, code: "unknown_url"},
		{name: "a path in capitals", who: "alice", change: func(r *http.Request) { r.URL.Path = "/V1/chat/completions" }, status: 404, code: "unknown_url"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var log bytes.Buffer
			g := newGateway(t, refusing, &log)
			r := post(t.Context(), c.who, c.body)
			if c.change != nil {
				c.change(r)
			}
			rec := httptest.NewRecorder()
			g.ServeHTTP(rec, r)
			if rec.Code != c.status {
				t.Errorf("status is %d, want %d", rec.Code, c.status)
			}
			e := envelopeOf(t, rec.Body.Bytes())
			if e.Code != c.code || e.Param != c.param || !strings.Contains(e.Message, c.says) {
				t.Errorf("got code %q, param %q, message %q; want %q, %q and %q in it", e.Code, e.Param, e.Message, c.code, c.param, c.says)
			}
			if rec.Header().Get("X-Request-Id") == "" {
				t.Error("the answer has no request id")
			}
			checkCanary(t, rec.Body.String(), log.String())
		})
	}
}

type envelopeFields struct{ Message, Type, Param, Code string }

func envelopeOf(t *testing.T, body []byte) envelopeFields {
	t.Helper()
	var e struct {
		Error struct {
			Message string
			Type    string
			Param   *string
			Code    *string
		}
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&e); err != nil {
		t.Fatalf("not an error envelope: %v in %s", err, body)
	}
	out := envelopeFields{Message: e.Error.Message, Type: e.Error.Type}
	if out.Message == "" || out.Type == "" {
		t.Errorf("the envelope lacks a message or a type: %s", body)
	}
	if e.Error.Param != nil {
		out.Param = *e.Error.Param
	}
	if e.Error.Code != nil {
		out.Code = *e.Error.Code
	}
	return out
}

func checkCanary(t *testing.T, texts ...string) {
	t.Helper()
	for _, s := range texts {
		if strings.Contains(s, canary) {
			t.Errorf("the prompt came out: %s", s)
		}
	}
}

func TestAnswer(t *testing.T) {
	t.Parallel()
	var got *chat.Request
	var log bytes.Buffer
	g := newGateway(t, script{chat: func(_ context.Context, r *chat.Request) (*chat.Response, error) {
		got = r
		return answer("hi " + canary), nil
	}}, &log)
	rec := httptest.NewRecorder()
	g.ServeHTTP(rec, post(t.Context(), "alice", hello))
	if rec.Code != 200 || !strings.Contains(rec.Body.String(), `"content":"hi `+canary+`"`) {
		t.Fatalf("got %d %s", rec.Code, rec.Body)
	}
	if got.Model != "vendor.large-v1" {
		t.Errorf("the model was asked for as %q", got.Model)
	}
	line := map[string]any{}
	if err := json.Unmarshal(log.Bytes(), &line); err != nil {
		t.Fatalf("not one JSON line: %v: %s", err, log.String())
	}
	for _, name := range []string{"time", "duration_ms", "first_token_ms", "request_id"} {
		if line[name] == nil {
			t.Errorf("the log line has no %s", name)
		}
		delete(line, name)
	}
	want := map[string]any{
		"level": "INFO", "msg": "request", "method": "POST", "path": "/v1/chat/completions", "status": 200.0,
		"caller": "people/alice", "caller_method": "oidc", "model_requested": "large", "stream": false,
		"upstream": "main", "provider": "bedrock", "model": "vendor.large-v1",
		"identity": "arn:aws:iam::1:role/gateway", "identity_source": "environment",
		"usage": map[string]any{"prompt_tokens": 3.0, "completion_tokens": 4.0, "total_tokens": 7.0},
	}
	if d := cmp.Diff(want, line); d != "" {
		t.Error(d)
	}
	checkCanary(t, log.String())
}

func TestLogging(t *testing.T) {
	t.Parallel()
	model := script{chat: func(context.Context, *chat.Request) (*chat.Response, error) { return answer("hi"), nil }}
	t.Run("payloads are logged when the operator asks for them", func(t *testing.T) {
		t.Parallel()
		var log bytes.Buffer
		g := newGateway(t, model, &log, "logging: {log_payloads: true}")
		g.ServeHTTP(httptest.NewRecorder(), post(t.Context(), "alice", hello))
		if !strings.Contains(log.String(), canary) || !strings.Contains(log.String(), `\"content\":\"hi\"`) {
			t.Errorf("a payload is missing: %s", log.String())
		}
	})
	t.Run("statistics are left out when the operator does not want them", func(t *testing.T) {
		t.Parallel()
		var log bytes.Buffer
		g := newGateway(t, model, &log, "logging: {log_statistics: false}")
		g.ServeHTTP(httptest.NewRecorder(), post(t.Context(), "alice", hello))
		if strings.Contains(log.String(), "usage") || strings.Contains(log.String(), "duration_ms") {
			t.Errorf("there are statistics: %s", log.String())
		}
	})
	t.Run("a request id that could break the log is not taken over", func(t *testing.T) {
		t.Parallel()
		r := post(t.Context(), "alice", hello)
		r.Header.Set("X-Request-Id", "a b\n")
		rec := httptest.NewRecorder()
		newGateway(t, model, io.Discard).ServeHTTP(rec, r)
		if id := rec.Header().Get("X-Request-Id"); !strings.HasPrefix(id, "req_") {
			t.Errorf("request id is %q", id)
		}
	})
}

func TestFailures(t *testing.T) {
	t.Parallel()
	secret := errors.New("the upstream said " + canary)
	for _, c := range []struct {
		name   string
		err    error
		status int
		code   string
		header http.Header
		cause  string
	}{
		{"an upstream's refusal keeps its status", provider.Fault(429, "Amazon Bedrock", ""), 429, "rate_limit_exceeded", nil, "Amazon Bedrock answered 429"},
		{"the wait that an upstream asks for is passed on",
			&chat.Error{Status: 429, Type: "rate_limit_error", Code: "rate_limit_exceeded", Message: "slow down", RetryAfter: 1500 * time.Millisecond},
			429, "rate_limit_exceeded", http.Header{"Retry-After": {"2"}, "Retry-After-Ms": {"1500"}}, ""},
		{"a rejected credential is not the caller's fault", provider.Fault(401, "Amazon Bedrock", canary), 502, "upstream_auth_failed", nil, "Amazon Bedrock answered 401"},
		{"a missing credential is not the caller's fault", provider.Unreached("Amazon Bedrock", &identity.Error{Public: "no role", Err: secret}), 502, "upstream_auth_failed", nil, "no role"},
		{"a connection that breaks", provider.Unreached("Amazon Bedrock", secret), 502, "upstream_unavailable", nil, "*errors.errorString"},
		{"an upstream that is too slow", provider.Unreached("Amazon Bedrock", context.DeadlineExceeded), 504, "upstream_timeout", nil, "context deadline exceeded"},
		{"an error without a public text", secret, 500, "internal_error", nil, "*errors.errorString"},
	} {
		for _, stream := range []bool{false, true} {
			t.Run(c.name, func(t *testing.T) {
				t.Parallel()
				var log bytes.Buffer
				g := newGateway(t, script{
					chat: func(context.Context, *chat.Request) (*chat.Response, error) { return nil, c.err },
					stream: func(context.Context, *chat.Request) (iter.Seq2[*chat.Chunk, error], error) {
						return nil, c.err
					},
				}, &log)
				body := hello
				if stream {
					body = strings.Replace(hello, "{", `{"stream":true,`, 1)
				}
				rec := httptest.NewRecorder()
				g.ServeHTTP(rec, post(t.Context(), "alice", body))
				if e := envelopeOf(t, rec.Body.Bytes()); rec.Code != c.status || e.Code != c.code {
					t.Errorf("got %d and %q, want %d and %q", rec.Code, e.Code, c.status, c.code)
				}
				for name, want := range c.header {
					if d := cmp.Diff(want, rec.Header()[name]); d != "" {
						t.Error(name, d)
					}
				}
				if c.cause != "" && !strings.Contains(log.String(), `"error_cause":"`+c.cause+`"`) {
					t.Errorf("the log does not give the cause %q: %s", c.cause, log.String())
				}
				checkCanary(t, rec.Body.String(), log.String())
			})
		}
	}
}

// events splits what was streamed.
func events(body string) []string {
	var out []string
	for line := range strings.Lines(body) {
		if data, ok := strings.CutPrefix(strings.TrimSpace(line), "data: "); ok {
			out = append(out, data)
		} else if strings.HasPrefix(line, ":") {
			out = append(out, strings.TrimSpace(line))
		}
	}
	return out
}

func streamed(seq iter.Seq2[*chat.Chunk, error]) script {
	return script{stream: func(context.Context, *chat.Request) (iter.Seq2[*chat.Chunk, error], error) { return seq, nil }}
}

const helloStream = `{"model":"large","stream":true,"messages":[{"role":"user","content":"hello ` + canary + `"}]}`

func TestStream(t *testing.T) {
	t.Parallel()
	const a = `{"id":"c","object":"chat.completion.chunk","created":0,"model":"","choices":[{"index":0,"delta":{"content":"a"},"finish_reason":null}]}`
	const u = `{"id":"c","object":"chat.completion.chunk","created":0,"model":"","choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}}`
	wired := delta("a")
	wired.Wire = []byte(`{"as":"it came"}`)
	broken := provider.Interrupted("Amazon Bedrock", errors.New(canary))
	asked := strings.Replace(helloStream, `"stream":true`, `"stream":true,"stream_options":{"include_usage":true}`, 1)
	for _, c := range []struct {
		name, body string
		seq        iter.Seq2[*chat.Chunk, error]
		status     int
		want       []string
	}{
		{"ends with DONE", helloStream, chunks(nil, delta("a")), 200, []string{a, "[DONE]"}},
		{"shows the usage when asked", asked, chunks(nil, delta("a"), usage()), 200, []string{a, u, "[DONE]"}},
		{"keeps the usage to itself when not asked", helloStream, chunks(nil, delta("a"), usage()), 200, []string{a, "[DONE]"}},
		{"passes on a chunk as it came", helloStream, chunks(nil, wired), 200, []string{`{"as":"it came"}`, "[DONE]"}},
		{"ends a broken answer with an error and without DONE", helloStream, chunks(broken, delta("a")), 200, []string{a, string(broken.Body())}},
		{"answers with a status as long as nothing was sent", helloStream, chunks(broken), 502, nil},
		{"survives a panic in mid stream", helloStream, func(yield func(*chat.Chunk, error) bool) {
			yield(delta("a"), nil)
			panic(canary)
		}, 200, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var log bytes.Buffer
			rec := httptest.NewRecorder()
			newGateway(t, streamed(c.seq), &log).ServeHTTP(rec, post(t.Context(), "alice", c.body))
			if rec.Code != c.status {
				t.Errorf("status is %d, want %d", rec.Code, c.status)
			}
			got := events(rec.Body.String())
			if c.want != nil {
				if d := cmp.Diff(c.want, got); d != "" {
					t.Error(d)
				}
			} else if strings.Contains(rec.Body.String(), "[DONE]") || !strings.Contains(rec.Body.String(), `"error"`) {
				t.Errorf("a failed stream looks complete: %s", rec.Body)
			}
			if c.status == 200 && rec.Header().Get("Content-Type") != "text/event-stream" {
				t.Errorf("content type is %q", rec.Header().Get("Content-Type"))
			}
			checkCanary(t, rec.Body.String(), log.String())
		})
	}
}

func TestPanicBeforeAnAnswer(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	g := newGateway(t, script{chat: func(context.Context, *chat.Request) (*chat.Response, error) { panic(canary) }}, &log)
	rec := httptest.NewRecorder()
	g.ServeHTTP(rec, post(t.Context(), "alice", hello))
	if e := envelopeOf(t, rec.Body.Bytes()); rec.Code != 500 || e.Code != "internal_error" {
		t.Errorf("got %d %s", rec.Code, rec.Body)
	}
	if !strings.Contains(log.String(), "gateway_test.go") {
		t.Errorf("the log has no stack: %s", log.String())
	}
	checkCanary(t, rec.Body.String(), log.String())
}

// slow yields a chunk after each pause, or the context's error if that is over
// first.
func slow(pauses ...time.Duration) script {
	return script{stream: func(ctx context.Context, _ *chat.Request) (iter.Seq2[*chat.Chunk, error], error) {
		return func(yield func(*chat.Chunk, error) bool) {
			for _, pause := range pauses {
				select {
				case <-ctx.Done():
					yield(nil, provider.Interrupted("Amazon Bedrock", ctx.Err()))
					return
				case <-time.After(pause):
				}
				if !yield(delta("a"), nil) {
					return
				}
			}
		}, nil
	}}
}

// reluctant accepts a stream only after a pause, and then answers at once, or
// refuses it.
func reluctant(pause time.Duration, refusal error) script {
	return script{stream: func(ctx context.Context, _ *chat.Request) (iter.Seq2[*chat.Chunk, error], error) {
		select {
		case <-ctx.Done():
			return nil, provider.Unreached("Amazon Bedrock", ctx.Err())
		case <-time.After(pause):
		}
		return chunks(nil, delta("a")), refusal
	}}
}

func TestTime(t *testing.T) {
	t.Parallel()
	const a = `{"id":"c","object":"chat.completion.chunk","created":0,"model":"","choices":[{"index":0,"delta":{"content":"a"},"finish_reason":null}]}`
	for _, c := range []struct {
		name     string
		deadline time.Duration // of the platform; 0 is none
		model    script
		status   int
		code     string
		want     []string
		took     time.Duration
	}{
		{"a silent stream is kept alive by comments", 0, slow(1*time.Second, 35*time.Second), 200, "",
			[]string{a, ": keep-alive", ": keep-alive", a, "[DONE]"}, 36 * time.Second},
		{"a first chunk that takes long is announced by a comment", 0, slow(16 * time.Second), 200, "",
			[]string{": keep-alive", a, "[DONE]"}, 16 * time.Second},
		{"an upstream that accepts late keeps its status for a while", 0, reluctant(19*time.Second, provider.Fault(429, "Amazon Bedrock", "")), 429, "rate_limit_exceeded",
			nil, 19 * time.Second},
		{"a stream that does not begin is given up", 0, slow(30 * time.Second), 200, "upstream_timeout",
			nil, 20 * time.Second},
		{"a stream that takes longer than a request may is ended", 0, slow(1*time.Second, time.Hour), 200, "upstream_timeout",
			nil, 60 * time.Second},
		{"a platform that runs out of time is preceded by a second", 10 * time.Second, slow(1*time.Second, time.Hour), 200, "upstream_timeout",
			nil, 9 * time.Second},
		{"a platform that runs out of time before the first chunk", 10 * time.Second, slow(time.Hour), 504, "upstream_timeout",
			nil, 9 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				ctx := t.Context()
				if c.deadline > 0 {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, c.deadline)
					defer cancel()
				}
				start := time.Now()
				rec := httptest.NewRecorder()
				newGateway(t, c.model, io.Discard).ServeHTTP(rec, post(ctx, "alice", helloStream))
				if took := time.Since(start); took != c.took {
					t.Errorf("took %v, want %v", took, c.took)
				}
				if rec.Code != c.status {
					t.Errorf("status is %d, want %d: %s", rec.Code, c.status, rec.Body)
				}
				if c.want != nil {
					if d := cmp.Diff(c.want, events(rec.Body.String())); d != "" {
						t.Error(d)
					}
					return
				}
				body := rec.Body.String()
				if i := strings.LastIndex(body, "{\"error\""); i < 0 || envelopeOf(t, []byte(strings.TrimSpace(body[i:]))).Code != c.code {
					t.Errorf("no error of code %s at the end of %s", c.code, body)
				}
			})
		})
	}
}

func TestALongWaitForTheUpstreamIsKeptAlive(t *testing.T) {
	t.Parallel()
	const a = `{"id":"c","object":"chat.completion.chunk","created":0,"model":"","choices":[{"index":0,"delta":{"content":"a"},"finish_reason":null}]}`
	late := provider.Fault(503, "Amazon Bedrock", "")
	for _, c := range []struct {
		name    string
		refusal error
		want    []string
	}{
		{"until it answers", nil, []string{": keep-alive", ": keep-alive", a, "[DONE]"}},
		{"and a refusal that comes after that is an event", late, []string{": keep-alive", ": keep-alive", string(late.Body())}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				g := newGateway(t, reluctant(statusWait+keepAlive+time.Second, c.refusal), io.Discard)
				g.limits.RequestTimeout, g.limits.FirstByteTimeout = 5*time.Minute, 5*time.Minute
				route, _ := g.router.Route("large")
				route.Upstream.Timeout = 5 * time.Minute
				rec := httptest.NewRecorder()
				g.ServeHTTP(rec, post(t.Context(), "alice", helloStream))
				if d := cmp.Diff(c.want, events(rec.Body.String())); d != "" {
					t.Error(d)
				}
			})
		})
	}
}

func TestTheLogSaysWhichLimitEndedAnAnswer(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name     string
		platform time.Duration // 0 is none
		upstream time.Duration
		want     string
	}{
		{"the request's", 0, time.Hour, "limits.request_timeout"},
		{"the upstream's", 0, time.Second, "the upstream's timeout"},
		{"the platform's", 10 * time.Second, time.Hour, "the time that the platform gives"},
	} {
		for _, body := range []string{hello, helloStream} {
			t.Run(c.name, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					ctx := t.Context()
					if c.platform > 0 {
						var cancel context.CancelFunc
						ctx, cancel = context.WithTimeout(ctx, c.platform)
						defer cancel()
					}
					model := slow(time.Millisecond, 2*time.Hour)
					model.chat = func(ctx context.Context, _ *chat.Request) (*chat.Response, error) {
						<-ctx.Done()
						return nil, provider.Unreached("Amazon Bedrock", ctx.Err())
					}
					var log bytes.Buffer
					g := newGateway(t, model, &log)
					route, _ := g.router.Route("large")
					route.Upstream.Timeout = c.upstream
					g.ServeHTTP(httptest.NewRecorder(), post(ctx, "alice", body))
					if !strings.Contains(log.String(), `"error_cause":"the answer was not complete within `+c.want) {
						t.Errorf("the log is %s", log.String())
					}
				})
			})
		}
	}
}

// TestBodiesThatNeverCome has callers that announce a body and do not send it.
func TestBodiesThatNeverCome(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, who, path, want string }{
		{"a stranger is refused all the same", "old", "/v1/chat/completions", "401 Unauthorized"},
		{"an unknown path is refused all the same", "alice", "/v1/nothing", "404 Not Found"},
		{"a caller is told", "alice", "/v1/chat/completions", "408 Request Timeout"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			g := newGateway(t, script{}, io.Discard)
			g.limits.RequestTimeout = 50 * time.Millisecond
			server := httptest.NewServer(g)
			defer server.Close()
			conn, err := net.Dial("tcp", server.Listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{", c.path, c.who)
			// The connection ends too: nothing after this can be a request.
			all, err := io.ReadAll(conn)
			if err != nil || !strings.HasPrefix(string(all), "HTTP/1.1 "+c.want) {
				t.Errorf("got %q, %v", all, err)
			}
		})
	}
}

// leaver is a caller that goes away after some bytes.
type leaver struct {
	*httptest.ResponseRecorder
	left int
}

func (l *leaver) Write(p []byte) (int, error) {
	if l.left--; l.left < 0 {
		return 0, errors.New("broken pipe")
	}
	return l.ResponseRecorder.Write(p)
}

func TestACallerThatLeavesStopsTheStream(t *testing.T) {
	t.Parallel()
	asked, released := 0, false
	g := newGateway(t, streamed(func(yield func(*chat.Chunk, error) bool) {
		defer func() { released = true }()
		for yield(delta("a"), nil) {
			asked++
		}
	}), io.Discard)
	g.ServeHTTP(&leaver{httptest.NewRecorder(), 3}, post(t.Context(), "alice", helloStream))
	if asked != 3 || !released {
		t.Errorf("the upstream was asked for %d more chunks and released: %v", asked, released)
	}
}

func TestModels(t *testing.T) {
	t.Parallel()
	g := newGateway(t, script{}, io.Discard)
	for _, c := range []struct {
		name, who, path string
		status          int
		want            string
	}{
		{"a caller sees what it may use", "alice", "/v1/models", 200,
			`{"object":"list","data":[{"id":"small","object":"model","created":0,"owned_by":"main"},{"id":"large","object":"model","created":0,"owned_by":"main"}]}`},
		{"a caller does not see what it may not use", "bob", "/v1/models", 200,
			`{"object":"list","data":[{"id":"small","object":"model","created":0,"owned_by":"main"}]}`},
		{"a caller who may use nothing sees an empty list", "mallory", "/v1/models", 200, `{"object":"list","data":[]}`},
		{"one model", "bob", "/v1/models/small", 200, `{"id":"small","object":"model","created":0,"owned_by":"main"}`},
		{"one model that is not for the caller is not there", "bob", "/v1/models/large", 404, ""},
		{"one model that is not there", "bob", "/v1/models/none", 404, ""},
		{"a name that is not UTF-8 is not there either", "bob", "/v1/models/%ff", 404, ""},
		{"a stranger sees nothing", "", "/v1/models", 401, ""},
		{"health needs no caller", "", "/healthz", 200, `{"status":"ok"}`},
		{"health at the root, where the Azure Functions host asks", "", "/", 200, `{"status":"ok"}`},
		{"health under the name that Cloud Run lets through", "", "/health", 200, `{"status":"ok"}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, c.path, nil)
			if c.who != "" {
				r.Header.Set("Authorization", "Bearer "+c.who)
			}
			rec := httptest.NewRecorder()
			g.ServeHTTP(rec, r)
			if rec.Code != c.status {
				t.Errorf("status is %d, want %d", rec.Code, c.status)
			}
			if c.want != "" && rec.Body.String() != c.want {
				t.Errorf("got  %s\nwant %s", rec.Body, c.want)
			}
			if c.status == 404 {
				if e := envelopeOf(t, rec.Body.Bytes()); e.Code != "model_not_found" {
					t.Errorf("code is %q: %s", e.Code, rec.Body)
				}
			} else if c.status >= 400 {
				envelopeOf(t, rec.Body.Bytes())
			}
		})
	}
}

// reads is a body that gives one piece per read.
type reads struct{ pieces []string }

func (r *reads) Read(p []byte) (int, error) {
	if len(r.pieces) == 0 {
		return 0, io.EOF
	}
	n := copy(p, r.pieces[0])
	r.pieces = r.pieces[1:]
	return n, nil
}

func (r *reads) Close() error { return nil }

func (r *reads) RoundTrip(*http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: 200, Body: r}, nil
}

// nobody puts no credential on a request.
type nobody struct{}

func (nobody) Authorize(*http.Request) error { return nil }
func (nobody) Rejected(*http.Request)        {}

// writes keeps each write apart.
type writes struct {
	*httptest.ResponseRecorder
	each []string
}

func (w *writes) Write(p []byte) (int, error) {
	w.each = append(w.each, strings.Join(events(string(p)), " "))
	return w.ResponseRecorder.Write(p)
}

func TestWhatArrivesTogetherIsSentTogether(t *testing.T) {
	t.Parallel()
	body := &reads{pieces: []string{"ab", "c", "d"}}
	model := script{stream: func(ctx context.Context, _ *chat.Request) (iter.Seq2[*chat.Chunk, error], error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://upstream.example.com", nil)
		if err != nil {
			return nil, err
		}
		resp, err := (&provider.Sender{HTTP: body, Auth: nobody{}}).Do(req)
		if err != nil {
			return nil, err
		}
		return func(yield func(*chat.Chunk, error) bool) {
			p := make([]byte, 8)
			for {
				n, err := resp.Body.Read(p)
				for _, c := range p[:n] {
					if !yield(&chat.Chunk{Wire: []byte{'"', c, '"'}}, nil) {
						return
					}
				}
				if err != nil {
					return
				}
			}
		}, nil
	}}
	w := &writes{ResponseRecorder: httptest.NewRecorder()}
	newGateway(t, model, io.Discard).ServeHTTP(w, post(t.Context(), "alice", helloStream))
	if d := cmp.Diff([]string{`"a" "b"`, `"c"`, `"d"`, "[DONE]"}, w.each); d != "" {
		t.Error(d)
	}
}
