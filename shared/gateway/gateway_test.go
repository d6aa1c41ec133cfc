package gateway

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"iter"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
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
		"caller": "people/alice", "caller_id": owner(&caller.Principal{Method: caller.OIDC, Issuer: "https://idp.example.com", Subject: "alice"}), "caller_method": "oidc", "model_requested": "large", "stream": false,
		"upstream": "main", "provider": "bedrock", "model": "vendor.large-v1", "rule": "rule-1",
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
