package provider_test

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/postern-ai/postern/shared/chat"
	"github.com/postern-ai/postern/shared/provider"
	"github.com/postern-ai/postern/shared/sse"
)

func TestWireBody(t *testing.T) {
	t.Parallel()
	const extended = `{"model":"m","messages":[{"role":"user","content":"a"},{"role":"assistant","content":null,"tool_calls":[{"id":"1","type":"function","function":{"name":"f","arguments":"{}"},"extra_content":{"google":{"thought_signature":"s"}}}],"reasoning_content":"because"},{"role":"tool","content":"b","tool_call_id":"1"}]}`
	for _, c := range []struct {
		name, request string
		wire          provider.Wire
		asIs          bool
		want          string
	}{
		{
			"a request goes out as it came", `{"model":"m","messages":[{"role":"user","content":"a"}],"seed":1,"top_k":3}`, provider.Wire{}, false,
			`{"model":"m","messages":[{"role":"user","content":"a"}],"seed":1,"top_k":3}`,
		},
		{
			"a stream asks for usage", `{"model":"m","messages":[{"role":"user","content":"a"}],"stream":true}`, provider.Wire{}, false,
			`{"model":"m","messages":[{"role":"user","content":"a"}],"stream":true,"stream_options":{"include_usage":true}}`,
		},
		{
			"and keeps its other options", `{"model":"m","messages":[{"role":"user","content":"a"}],"stream":true,"stream_options":{"include_usage":false,"include_obfuscation":false,"x":1}}`, provider.Wire{}, false,
			`{"model":"m","messages":[{"role":"user","content":"a"}],"stream":true,"stream_options":{"include_usage":true,"include_obfuscation":false,"x":1}}`,
		},
		{
			"but not where the upstream has no such option", `{"model":"m","messages":[{"role":"user","content":"a"}],"stream":true}`, provider.Wire{}, true,
			`{"model":"m","messages":[{"role":"user","content":"a"}],"stream":true}`,
		},
		{
			"what only other upstreams understand is left out", extended, provider.Wire{}, false,
			`{"model":"m","messages":[{"role":"user","content":"a"},{"role":"assistant","tool_calls":[{"id":"1","type":"function","function":{"name":"f","arguments":"{}"}}]},{"role":"tool","content":"b","tool_call_id":"1"}]}`,
		},
		{
			"and kept where it is understood", extended, provider.Wire{Extensions: true}, false,
			`{"model":"m","messages":[{"role":"user","content":"a"},{"role":"assistant","tool_calls":[{"id":"1","type":"function","function":{"name":"f","arguments":"{}"},"extra_content":{"google":{"thought_signature":"s"}}}],"reasoning_content":"because"},{"role":"tool","content":"b","tool_call_id":"1"}]}`,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			req, err := chat.Decode([]byte(c.request), chat.Limits{})
			if err != nil {
				t.Fatal(err)
			}
			render := c.wire.Body
			if c.asIs {
				render = c.wire.BodyAsIs
			}
			for range 2 { // the second time shows whether the first changed the request
				got, err := render(req)
				if err != nil {
					t.Fatal(err)
				}
				if d := cmp.Diff(c.want, string(got)); d != "" {
					t.Error(d)
				}
			}
		})
	}
	t.Run("what cannot be encoded is the caller's fault", func(t *testing.T) {
		t.Parallel()
		_, err := provider.Wire{Upstream: "Cloud"}.Body(&chat.Request{Model: "\xff"})
		if e, ok := errors.AsType[*chat.Error](err); !ok || e.Status != 400 || e.Message != "The request cannot be encoded for Cloud." {
			t.Errorf("got %v", err)
		}
	})
}

func TestWireFault(t *testing.T) {
	t.Parallel()
	refused := func(status int, code, param, message string) chat.Error {
		if message == "" {
			return chat.Error{Status: status, Type: "invalid_request_error", Code: code, Param: param, Message: "Cloud refused the request."}
		}
		return chat.Error{Status: status, Type: "invalid_request_error", Code: code, Param: param, Message: "Cloud refused the request: " + message}
	}
	auth := *provider.Fault(401, "Cloud", "")
	for _, c := range []struct {
		name   string
		status int
		body   string
		want   chat.Error
	}{
		{"a refused parameter", 400, `{"error":{"message":"m","type":"invalid_request_error","param":"messages[0].content","code":"invalid_type"}}`, refused(400, "invalid_type", "messages[0].content", "m")},
		{"a prompt that is too long", 400, `{"error":{"message":"m","type":"invalid_request_error","param":"messages","code":"context_length_exceeded"}}`, refused(400, "context_length_exceeded", "messages", "m")},
		{"a prompt that is too long for vLLM", 400, `{"object":"error","message":"This model's maximum context length is 10 tokens.","type":"BadRequestError","param":null,"code":400}`, refused(400, "context_length_exceeded", "", "This model's maximum context length is 10 tokens.")},
		{"a prompt that is too long for llama.cpp", 400, `{"error":{"code":400,"message":"m","type":"exceed_context_size_error"}}`, refused(400, "context_length_exceeded", "", "m")},
		{"a filtered prompt", 400, `{"error":{"message":"m","type":null,"param":"prompt","code":"content_filter","status":400}}`, refused(400, "content_filter", "prompt", "m")},
		{"FastAPI's words", 422, `{"detail":[{"loc":["body","messages",0,"role"],"msg":"m"}]}`, refused(422, "", "messages[0].role", "m")},
		{"a text", 400, `{"error":"m"}`, refused(400, "", "", "m")},
		{"a page", 400, `<html>m</html>`, refused(400, "", "", "")},
		{"nothing", 400, ``, refused(400, "", "", "")},
		{"a code and a parameter that cannot be any", 400, `{"error":{"message":"m","param":"a b","code":"<c>"}}`, refused(400, "", "", "m")},
		{"a wrong key that is a 400", 400, `{"error":{"message":"m","type":"invalid_request_error","code":"invalid_api_key"}}`, auth},
		{"a wrong key", 401, `{"error":{"message":"Incorrect API key provided: sk-1***2","type":"invalid_request_error","code":"invalid_api_key"}}`, auth},
		{"a permission that is missing", 403, `{"error":{"message":"m","code":"unsupported_country_region_territory"}}`, auth},
		{"no quota", 429, `{"error":{"message":"m","type":"insufficient_quota","param":null,"code":"insufficient_quota"}}`, chat.Error{Status: 429, Type: "insufficient_quota", Code: "insufficient_quota", Message: "Cloud reports that the gateway's account has no quota left. This is for the gateway's operator to mend."}},
		{"a rate limit", 429, `{"error":{"message":"m","type":"requests","param":null,"code":"rate_limit_exceeded"}}`, *provider.Fault(429, "Cloud", "")},
		{"a failure", 500, `{"error":{"message":"m","type":"server_error"}}`, *provider.Fault(500, "Cloud", "")},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got := provider.Wire{Upstream: "Cloud"}.Fault(c.status, nil, []byte(c.body))
			if d := cmp.Diff(&c.want, got, cmpopts.IgnoreFields(chat.Error{}, "Err")); d != "" {
				t.Error(d)
			}
		})
	}
}

// An error where an answer was expected has no status of its own.
func TestWireFailuresWithoutAStatus(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, event, data string
		status            int
		code              string
	}{
		{"a failure", "", `{"error":{"message":"m","type":"server_error","code":"boom"}}`, 502, "upstream_error"},
		{"a text", "", `{"error":"m"}`, 502, "upstream_error"},
		{"an event that is called an error", "error", `{"message":"m"}`, 502, "upstream_error"},
		{"a status as the code", "", `{"error":{"message":"m","code":503}}`, 503, "upstream_unavailable"},
		{"a rate limit", "", `{"error":{"message":"m","type":"requests","code":"rate_limit_exceeded"}}`, 429, "rate_limit_exceeded"},
		{"a rate limit by its type", "", `{"error":{"message":"m","type":"rate_limit_error"}}`, 429, "rate_limit_exceeded"},
		{"no quota", "", `{"error":{"message":"m","code":"insufficient_quota"}}`, 429, "insufficient_quota"},
		{"a wrong key", "", `{"error":{"message":"m","code":"invalid_api_key"}}`, 502, "upstream_auth_failed"},
		{"a refused parameter", "", `{"error":{"message":"m","type":"invalid_request_error","code":"invalid_value"}}`, 400, "invalid_value"},
		{"a filtered prompt", "", `{"error":{"message":"m","code":"content_filter"}}`, 400, "content_filter"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := provider.Wire{Upstream: "Cloud"}
			_, err := w.Decoder(nil).Event(sse.Event{Name: c.event, Data: []byte(c.data)})
			if e, ok := errors.AsType[*chat.Error](err); !ok || e.Status != c.status || e.Code != c.code {
				t.Errorf("in a stream: %v", err)
			}
			if c.event != "" {
				return
			}
			_, err = w.Decode(nil, []byte(c.data))
			if e, ok := errors.AsType[*chat.Error](err); !ok || e.Status != c.status || e.Code != c.code {
				t.Errorf("as an answer: %v", err)
			}
		})
	}
}
