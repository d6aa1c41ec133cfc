package chat

import (
	"errors"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/google/go-cmp/cmp"
)

func TestErrorBody(t *testing.T) {
	t.Parallel()
	secret := errors.New("private cause")
	for _, c := range []struct {
		name string
		err  *Error
		want string
	}{
		{
			"all members", Invalid("messages[0]", CodeInvalidValue, "Bad %q.", "<x>").With(secret),
			`{"error":{"message":"Bad \"<x>\".","type":"invalid_request_error","param":"messages[0]","code":"invalid_value"}}`,
		},
		{
			"empty members are null", &Error{Status: 500, Type: TypeServer, Message: "m", Err: secret},
			`{"error":{"message":"m","type":"server_error","param":null,"code":null}}`,
		},
		{
			"a body that is too large", TooLarge(10),
			`{"error":{"message":"The request body is larger than 10 bytes. Send less, or ask the operator to raise limits.max_body_bytes.","type":"invalid_request_error","param":null,"code":"request_too_large"}}`,
		},
		{
			"a value that is not carried", UnsupportedValue("service_tier", "Some Cloud", "it has one tier."),
			`{"error":{"message":"Unsupported value: 'service_tier' is not supported by Some Cloud: it has one tier.","type":"invalid_request_error","param":"service_tier","code":"unsupported_value"}}`,
		},
		{
			"text that cannot be encoded", &Error{Message: "\xff", Type: TypeServer},
			`{"error":{"message":"the error could not be encoded","type":"server_error","param":null,"code":null}}`,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if d := cmp.Diff(c.want, string(c.err.Body())); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestErrorKeepsItsCauseForTheLog(t *testing.T) {
	t.Parallel()
	cause := errors.New("private cause")
	plain := Invalid("a", "b", "Public text.")
	e := plain.With(cause)
	if plain.Err != nil {
		t.Error("With changed its receiver")
	}
	if got := e.Error(); got != "Public text.: private cause" {
		t.Errorf("the log would say %q", got)
	}
	if got := plain.Error(); got != "Public text." {
		t.Errorf("the log would say %q", got)
	}
	if !errors.Is(e, cause) {
		t.Error("the cause is not in the chain")
	}
}

func TestContent(t *testing.T) {
	t.Parallel()
	image := Part{Type: PartImage, ImageURL: &ImageURL{URL: "u"}}
	text := func(s string) Part { return Part{Type: PartText, Text: s} }
	for _, c := range []struct {
		name    string
		content Content
		zero    bool
		plain   bool
		joined  string
		all     bool // nothing but text
		parts   []Part
		wire    string
	}{
		{"none", Content{}, true, false, "", true, nil, "null"},
		{"a text", Text("a"), false, true, "a", true, []Part{text("a")}, `"a"`},
		{"an empty text", Text(""), false, true, "", true, []Part{text("")}, `""`},
		{"one part", Parts(text("a")), false, false, "a", true, []Part{text("a")}, `[{"type":"text","text":"a"}]`},
		{"two parts", Parts(text("a"), text("")), false, false, "a", true, []Part{text("a"), text("")}, `[{"type":"text","text":"a"},{"type":"text","text":""}]`},
		{"an image", Parts(text("a"), image), false, false, "", false, []Part{text("a"), image}, `[{"type":"text","text":"a"},{"type":"image_url","image_url":{"url":"u"}}]`},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if got := c.content.IsZero(); got != c.zero {
				t.Errorf("zero is %t", got)
			}
			if _, got := c.content.Plain(); got != c.plain {
				t.Errorf("plain is %t", got)
			}
			if joined, all := c.content.JoinText(); joined != c.joined || all != c.all {
				t.Errorf("joined is %q, %t", joined, all)
			}
			var parts []Part
			for i, p := range c.content.All() {
				if i != len(parts) {
					t.Errorf("index %d of part %d", i, len(parts))
				}
				parts = append(parts, p)
			}
			if d := cmp.Diff(c.parts, parts); d != "" {
				t.Error(d)
			}
			for range c.content.All() {
				break // a consumer may stop
			}
			wire, err := json.Marshal(c.content)
			if err != nil || string(wire) != c.wire {
				t.Errorf("written as %s, %v", wire, err)
			}
		})
	}
}

func TestRequestsMadeInGo(t *testing.T) {
	t.Parallel()
	limit, other := int64(1), int64(2)
	for _, c := range []struct {
		name string
		req  Request
		want string
	}{
		{
			"stops, a limit and a tool choice",
			Request{Model: "m", Messages: []Message{{Role: RoleUser, Content: Text("a")}}, Stop: StopAt("x"), MaxTokens: &limit, ToolChoice: &ToolChoice{Mode: ToolChoiceRequired}},
			`{"model":"m","messages":[{"role":"user","content":"a"}],"max_tokens":1,"stop":["x"],"tool_choice":"required"}`,
		},
		{
			"a named function",
			Request{Model: "m", Messages: []Message{{Role: RoleUser, Content: Text("a")}}, ToolChoice: &ToolChoice{Mode: ToolChoiceFunction, Name: "f"}},
			`{"model":"m","messages":[{"role":"user","content":"a"}],"tool_choice":{"type":"function","function":{"name":"f"}}}`,
		},
		{
			"no model, for an address that names it",
			Request{Messages: []Message{{Role: RoleAssistant, ToolCalls: []ToolCall{{ID: "1", Type: "function", Function: &FunctionCall{Name: "f"}}}}}},
			`{"messages":[{"role":"assistant","tool_calls":[{"id":"1","type":"function","function":{"name":"f","arguments":""}}]}]}`,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got, err := json.Marshal(&c.req)
			if err != nil || string(got) != c.want {
				t.Errorf("written as %s, %v", got, err)
			}
		})
	}
	for _, c := range []struct {
		req  Request
		want *int64
	}{{Request{}, nil}, {Request{MaxTokens: &limit}, &limit}, {Request{MaxCompletionTokens: &other}, &other}} {
		if got := c.req.OutputLimit(); got != c.want {
			t.Errorf("the output limit of %+v is %v", c.req, got)
		}
	}
	if (&Request{StreamOptions: &StreamOptions{}}).WantsUsage() || !(&Request{StreamOptions: &StreamOptions{IncludeUsage: true}}).WantsUsage() || (&Request{}).WantsUsage() {
		t.Error("WantsUsage")
	}
}

func TestResponseOnTheWire(t *testing.T) {
	t.Parallel()
	text, reason := "a", FinishStop
	for _, c := range []struct {
		name  string
		value any
		want  string
	}{
		{
			"what the API requires is written as null",
			Response{ID: "c", Object: ObjectCompletion, Created: 5, Model: "m", Choices: []Choice{{Message: Answer{Role: RoleAssistant}, FinishReason: reason}}},
			`{"id":"c","object":"chat.completion","created":5,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":null,"refusal":null},"logprobs":null,"finish_reason":"stop"}]}`,
		},
		{
			"no choices are an empty list",
			Chunk{ID: "c", Object: ObjectChunk, Created: 5, Model: "m", Usage: &Usage{PromptTokens: 1, CompletionTokens: 2, TotalTokens: 3, PromptTokensDetails: &PromptDetails{}}},
			`{"id":"c","object":"chat.completion.chunk","created":5,"model":"m","choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3,"prompt_tokens_details":{"cached_tokens":0}}}`,
		},
		{
			"a chunk that goes on has no finish reason",
			Chunk{ID: "c", Object: ObjectChunk, Created: 5, Model: "m", Choices: []ChunkChoice{{Delta: Delta{Content: &text}}}},
			`{"id":"c","object":"chat.completion.chunk","created":5,"model":"m","choices":[{"index":0,"delta":{"content":"a"},"finish_reason":null}]}`,
		},
		{
			"a chunk that ends has an empty delta",
			Chunk{ID: "c", Object: ObjectChunk, Created: 5, Model: "m", Choices: []ChunkChoice{{FinishReason: &reason}}},
			`{"id":"c","object":"chat.completion.chunk","created":5,"model":"m","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}`,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got, err := json.Marshal(c.value)
			if err != nil || string(got) != c.want {
				t.Errorf("written as %s, %v", got, err)
			}
		})
	}
}

func TestClipCutsBetweenCharacters(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		in   string
		n    int
		want string
	}{
		{"abc", 3, "abc"}, {"abcd", 3, "abc..."}, {"aüb", 2, "a..."}, {"aüb", 3, "aü..."}, {"üü", 1, "..."}, {"\x80\x80\x80", 2, "..."},
	} {
		if got := Clip(c.in, c.n); got != c.want {
			t.Errorf("Clip(%q, %d) is %q, want %q", c.in, c.n, got, c.want)
		}
	}
	if !strings.HasPrefix(string(Path("/a/0/b~1c/~0")), "a[0].b/c.~") {
		t.Errorf("got %q", Path("/a/0/b~1c/~0"))
	}
}
