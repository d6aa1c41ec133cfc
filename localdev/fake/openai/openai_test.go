package openai_test

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	client "github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
	"github.com/openai/openai-go/v3/shared"

	"github.com/postern-ai/postern/localdev/contract"
	"github.com/postern-ai/postern/localdev/fake/brain"
	"github.com/postern-ai/postern/localdev/fake/openai"
)

const key = "sk-0123456789abcdefghij"

// description is OpenAI's own, read once; nil where there is none.
var description = sync.OnceValues(func() (*contract.Description, error) {
	dir, ok := contract.Dir()
	if !ok {
		return nil, nil
	}
	return contract.OpenAI(dir)
})

// serve starts the stand-in with OpenAI's own description on watch.
func serve(t *testing.T, s *openai.Server) string {
	t.Helper()
	s.Brain = brain.Echo{}
	s.Authorize = func(token string) (string, bool) { return "someone", token == key }
	var service http.Handler = s
	d, err := description()
	if err != nil {
		t.Fatal(err)
	}
	if d != nil {
		service = contract.Check(d, s, func(problems ...contract.Problem) {
			for _, p := range problems {
				if !p.OfRequest() {
					t.Error(p)
				}
			}
		})
	} else {
		t.Log("without OpenAI's API description, the replies are not checked against it")
	}
	server := httptest.NewServer(service)
	t.Cleanup(server.Close)
	return server.URL + "/v1"
}

func official(base string) client.Client {
	return client.NewClient(option.WithBaseURL(base), option.WithAPIKey(key), option.WithMaxRetries(0))
}

func ask(model, text string) client.ChatCompletionNewParams {
	return client.ChatCompletionNewParams{Model: model, Messages: []client.ChatCompletionMessageParamUnion{client.UserMessage(text)}}
}

func TestOfficialClient(t *testing.T) {
	t.Parallel()
	var calls []openai.Call
	c := official(serve(t, &openai.Server{Models: []string{"gpt-4.1", "gpt-5"}, Called: func(c openai.Call) { calls = append(calls, c) }}))
	got, err := c.Chat.Completions.New(t.Context(), ask("gpt-4.1", "hello there"))
	if err != nil {
		t.Fatal(err)
	}
	if text := got.Choices[0].Message.Content; text != "You said in 2 words: hello there" {
		t.Errorf("the answer is %q", text)
	}
	if len(calls) != 1 || calls[0].Principal != "someone" || calls[0].Model != "gpt-4.1" || calls[0].Stream {
		t.Errorf("recorded %+v", calls)
	}
	models, err := c.Models.List(t.Context())
	if err != nil || len(models.Data) != 2 || models.Data[1].ID != "gpt-5" {
		t.Errorf("got models %+v and %v", models, err)
	}
	if _, err := c.Models.Get(t.Context(), "gpt-5"); err != nil {
		t.Error(err)
	}
}

func TestOfficialClientStreamsTools(t *testing.T) {
	t.Parallel()
	c := official(serve(t, &openai.Server{}))
	params := ask("any", "get_weather and get_time in Paris")
	params.StreamOptions = client.ChatCompletionStreamOptionsParam{IncludeUsage: client.Bool(true)}
	for _, name := range []string{"get_weather", "get_time"} {
		params.Tools = append(params.Tools, client.ChatCompletionFunctionTool(shared.FunctionDefinitionParam{
			Name:       name,
			Parameters: shared.FunctionParameters{"type": "object", "properties": map[string]any{"place": map[string]any{"type": "string"}}},
		}))
	}
	var sum client.ChatCompletionAccumulator
	stream := c.Chat.Completions.NewStreaming(t.Context(), params)
	for stream.Next() {
		if !sum.AddChunk(stream.Current()) {
			t.Fatalf("the client cannot add up %s", stream.Current().RawJSON())
		}
	}
	if err := stream.Err(); err != nil {
		t.Fatal(err)
	}
	message := sum.Choices[0].Message
	if len(message.ToolCalls) != 2 || message.ToolCalls[0].Function.Arguments != `{"place":"Paris"}` || sum.Usage.TotalTokens == 0 {
		t.Fatalf("the stream adds up to %+v", sum.ChatCompletion)
	}
	params.Messages = append(params.Messages, message.ToParam())
	for _, call := range message.ToolCalls {
		params.Messages = append(params.Messages, client.ToolMessage("it is "+call.Function.Name, call.ID))
	}
	params.StreamOptions = client.ChatCompletionStreamOptionsParam{}
	got, err := c.Chat.Completions.New(t.Context(), params)
	if err != nil {
		t.Fatal(err)
	}
	if text := got.Choices[0].Message.Content; !strings.Contains(text, "The tool get_time returned: it is get_time") {
		t.Errorf("the answer is %q", text)
	}
}

func TestOfficialClientSeesErrors(t *testing.T) {
	t.Parallel()
	base := serve(t, &openai.Server{Models: []string{"gpt-4.1"}})
	for _, c := range []struct {
		name        string
		key, model  string
		text        string
		status      int
		typ, code   string
		messageHas  string
		retryHeader string
	}{
		{"a wrong key", "sk-wrong-0123456789", "gpt-4.1", "a", 401, "invalid_request_error", "invalid_api_key", "sk-wrong*******6789", ""},
		{"an unknown model", key, "gpt-9", "a", 404, "invalid_request_error", "model_not_found", "`gpt-9` does not exist", ""},
		{"a rate limit", key, "gpt-4.1", "#fail(429,3)", 429, "requests", "rate_limit_exceeded", "429", "3"},
		{"a server error", key, "gpt-4.1", "#fail(500)", 500, "server_error", "", "500", ""},
		{"a blocked prompt", key, "gpt-4.1", "#blocked()", 400, "invalid_request_error", "content_policy_violation", "safety", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			official := client.NewClient(option.WithBaseURL(base), option.WithAPIKey(c.key), option.WithMaxRetries(0))
			_, err := official.Chat.Completions.New(t.Context(), ask(c.model, c.text))
			e, ok := errors.AsType[*client.Error](err)
			if !ok {
				t.Fatalf("got %v", err)
			}
			if e.StatusCode != c.status || e.Type != c.typ || e.Code != c.code || !strings.Contains(e.Message, c.messageHas) {
				t.Errorf("got %d %q %q %q", e.StatusCode, e.Type, e.Code, e.Message)
			}
			if got := e.Response.Header.Get("Retry-After"); got != c.retryHeader {
				t.Errorf("Retry-After is %q, want %q", got, c.retryHeader)
			}
		})
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	base := serve(t, &openai.Server{})
	user := `{"role":"user","content":"a"}`
	messages := `"messages":[` + user + `]`
	calls := `{"role":"assistant","tool_calls":[{"id":"c1","type":"function","function":{"name":"f","arguments":"{}"}}]}`
	for _, c := range []struct{ name, body, code, param string }{
		{"what is not JSON", `{`, "", ""},
		{"a body that is no object", `[]`, "", ""},
		{"a request without a model", `{` + messages + `}`, "", ""},
		{"a request without messages", `{"model":"m"}`, "missing_required_parameter", "messages"},
		{"an empty list of messages", `{"model":"m","messages":[]}`, "empty_array", "messages"},
		{"an unknown parameter", `{"model":"m","top_k":1,` + messages + `}`, "unknown_parameter", "top_k"},
		{"a wrong type", `{"model":"m","temperature":"hot",` + messages + `}`, "invalid_type", "temperature"},
		{"a temperature out of range", `{"model":"m","temperature":3,` + messages + `}`, "decimal_above_max_value", "temperature"},
		{"both spellings of the token limit", `{"model":"m","max_tokens":1,"max_completion_tokens":1,` + messages + `}`, "invalid_parameter_combination", "max_tokens"},
		{"stream options without a stream", `{"model":"m","stream_options":{},` + messages + `}`, "", "stream_options"},
		{"five stop sequences", `{"model":"m","stop":["a","b","c","d","e"],` + messages + `}`, "array_above_max_length", "stop"},
		{"a tool choice without tools", `{"model":"m","tool_choice":"auto",` + messages + `}`, "", "tool_choice"},
		{"JSON mode without the word", `{"model":"m","response_format":{"type":"json_object"},` + messages + `}`, "", "messages"},
		{"max_tokens for a reasoning model", `{"model":"o3","max_tokens":1,` + messages + `}`, "unsupported_parameter", "max_tokens"},
		{"an unknown role", `{"model":"m","messages":[{"role":"boss","content":"a"}]}`, "invalid_value", "messages[0].role"},
		{"an unknown member of a message", `{"model":"m","messages":[{"role":"user","content":"a","mood":"good"}]}`, "unknown_parameter", "messages[0].mood"},
		{"a user message without content", `{"model":"m","messages":[{"role":"user"}]}`, "invalid_type", "messages[0].content"},
		{"a tool result that answers nothing", `{"model":"m","messages":[` + user + `,{"role":"tool","tool_call_id":"c1","content":"a"}]}`, "", "messages[1].role"},
		{"a tool call that is not answered", `{"model":"m","messages":[` + user + `,` + calls + `,` + user + `]}`, "", "messages"},
		{"a tool call that is not answered at the end", `{"model":"m","messages":[` + user + `,` + calls + `]}`, "", "messages"},
		{"an image that is no image", `{"model":"m","messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:image/png;base64,%%"}}]}]}`, "invalid_base64", "messages[0].content[0].image_url"},
		{"an image of another format", `{"model":"m","messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:image/bmp;base64,YQ=="}}]}]}`, "invalid_image_format", "messages[0].content[0].image_url"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			status, body := post(t, base+"/chat/completions", "application/json", c.body)
			var e struct {
				Error struct{ Code, Param, Type string }
			}
			if err := json.Unmarshal(body, &e); err != nil {
				t.Fatal(err)
			}
			got := []any{status, e.Error.Type, e.Error.Code, e.Error.Param}
			if d := cmp.Diff([]any{400, "invalid_request_error", c.code, c.param}, got); d != "" {
				t.Errorf("%s\n%s", d, body)
			}
		})
	}
	for _, c := range []struct {
		name, path, kind string
		status           int
	}{
		{"an unknown address", "/chat", "application/json", 404},
		{"a method that does not fit", "/models", "application/json", 405},
		{"another content type", "/chat/completions", "text/plain", 400},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if status, body := post(t, base+c.path, c.kind, `{}`); status != c.status {
				t.Errorf("got %d, want %d: %s", status, c.status, body)
			}
		})
	}
}

func post(t *testing.T, url, kind, body string) (int, []byte) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", kind)
	req.Header.Set("Authorization", "Bearer "+key)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	out, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, out
}

// A fault must look on the wire as it is called.
func TestFaults(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(&openai.Server{Brain: brain.Echo{}, Authorize: func(string) (string, bool) { return "", true }})
	t.Cleanup(server.Close)
	for _, c := range []struct {
		directive string
		stream    bool
		read      bool // whether the body can be read to its end
		has, no   string
	}{
		{"#reset()", false, false, "", ""},
		{"#break()", false, false, "", ""},
		{"#break()", true, false, `"content":"b"`, "[DONE]"},
		{"#truncate()", false, true, `{"id"`, `"system_fingerprint"`},
		{"#truncate()", true, true, `"content":"b"`, "[DONE]"},
		{"#garbage()", false, true, "<html>", "choices"},
		{"#garbage()", true, true, `garbage`, "[DONE]"},
		{"#error()", true, true, `{"error":{`, "[DONE]"},
	} {
		t.Run(c.directive, func(t *testing.T) {
			t.Parallel()
			body, err := json.Marshal(map[string]any{
				"model": "m", "stream": c.stream,
				"messages": []any{map[string]any{"role": "user", "content": "#say(a b c d) " + c.directive}},
			})
			if err != nil {
				t.Fatal(err)
			}
			got, err := readBroken(t, server.URL, string(body))
			if (err == nil) != c.read {
				t.Errorf("reading ended with %v", err)
			}
			got = strings.ReplaceAll(got, `" b"`, `"b"`)
			if !strings.Contains(got, c.has) || c.no != "" && strings.Contains(got, c.no) {
				t.Errorf("the body is %s", got)
			}
		})
	}
}

func readBroken(t *testing.T, base, body string) (string, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, base+"/v1/chat/completions", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer x")
	resp, err := (&http.Client{Timeout: 20 * time.Second}).Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	out, err := io.ReadAll(resp.Body)
	return string(out), err
}
