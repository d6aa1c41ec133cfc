package vertex_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/postern-ai/postern/localdev/golden"
	"github.com/postern-ai/postern/shared/chat"
)

// refusal is a 400 that names what cannot be carried.
type refusal struct{ Param, Code, Message string }

func TestWhatCannotBeCarriedIsRefusedByName(t *testing.T) {
	t.Parallel()
	d := dialect(t)
	const hi = `"messages":[{"role":"user","content":"Hi."}]`
	image := func(u string) string {
		return `"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"` + u + `"}}]}]`
	}
	call := func(function, rest string) string {
		return `"messages":[{"role":"user","content":"a"},{"role":"assistant","tool_calls":[{"id":"1","function":` + function + rest + `}]},{"role":"tool","tool_call_id":"1","content":"b"}]`
	}
	tool := func(name string) string {
		return `"tools":[{"type":"function","function":{"name":"` + name + `"}}]`
	}
	const (
		unsupported = chat.CodeUnsupportedParameter
		value       = chat.CodeUnsupportedValue
		invalid     = chat.CodeInvalidValue
	)
	for _, c := range []struct {
		name, model, request string
		want                 refusal
	}{
		{"a participant's name", "", `"messages":[{"role":"user","name":"ann","content":"Hi."}]`, refusal{"messages[0].name", unsupported,
			"Unsupported parameter: 'messages[0].name' cannot be carried to Google Vertex AI. Leave it out, or choose a model of another upstream."}},
		{"a result of the old kind", "", `"messages":[{"role":"function","name":"f","content":"x"}]`, refusal{"messages[0].role", value, "tools"}},
		{"a call of the old kind", "", `"messages":[{"role":"assistant","function_call":{"name":"f","arguments":"{}"}}]`, refusal{"messages[0].function_call", unsupported, ""}},
		{"an assistant's audio", "", `"messages":[{"role":"assistant","audio":{"id":"a"}}]`, refusal{"messages[0].audio", unsupported, ""}},
		{"only instructions", "", `"messages":[{"role":"system","content":"Be brief."}]`, refusal{"messages", invalid, "at least one message"}},
		{"an empty message", "", `"messages":[{"role":"user","content":""}]`, refusal{"messages[0].content", invalid, "empty message"}},
		{"a message of empty parts", "", `"messages":[{"role":"user","content":[{"type":"text","text":""}]}]`, refusal{"messages[0].content", invalid, "empty message"}},
		{"an image in an instruction", "", `"messages":[{"role":"system","content":[{"type":"image_url","image_url":{"url":"gs://b/a.png"}}]}]`, refusal{"messages[0].content[0].image_url", unsupported, ""}},
		{"audio from the user", "", `"messages":[{"role":"user","content":[{"type":"input_audio","input_audio":{"data":"","format":"wav"}}]}]`, refusal{"messages[0].content[0].input_audio", unsupported, ""}},
		{"a file from the user", "", `"messages":[{"role":"user","content":[{"type":"file","file":{"file_id":"x"}}]}]`, refusal{"messages[0].content[0].file", unsupported, ""}},
		{"a part of an unknown type", "", `"messages":[{"role":"user","content":[{"type":"smell"}]}]`, refusal{"messages[0].content[0].type", value, "text"}},
		{"a refusal of the user's", "", `"messages":[{"role":"user","content":[{"type":"refusal","refusal":"no"}]}]`, refusal{"messages[0].content[0].type", value, "refusal"}},
		{"an image in a result", "", `"messages":[{"role":"user","content":"a"},{"role":"assistant","tool_calls":[{"id":"1","function":{"name":"f","arguments":"{}"}}]},{"role":"tool","tool_call_id":"1","content":[{"type":"text","text":"a"},{"type":"image_url","image_url":{"url":"gs://b/a.png"}}]}]`, refusal{"messages[2].content[1].image_url", unsupported, ""}},
		{"a custom call", "", `"messages":[{"role":"user","content":"a"},{"role":"assistant","tool_calls":[{"id":"1","type":"custom","custom":{"name":"f","input":"x"}}]},{"role":"tool","tool_call_id":"1","content":"b"}]`, refusal{"messages[1].tool_calls[0].type", value, "function"}},
		{"arguments that are not JSON", "", call(`{"name":"f","arguments":"{"}`, ""), refusal{"messages[1].tool_calls[0].function.arguments", invalid, "JSON object"}},
		{"arguments that are no object", "", call(`{"name":"f","arguments":"[]"}`, ""), refusal{"messages[1].tool_calls[0].function.arguments", invalid, "JSON object"}},
		{"a signature that is no text", "", call(`{"name":"f","arguments":"{}"}`, `,"extra_content":{"google":{"thought_signature":1}}`), refusal{"messages[1].tool_calls[0].extra_content", chat.CodeInvalidType, "thought_signature"}},
		{"a signature that is not base64", "", call(`{"name":"f","arguments":"{}"}`, `,"extra_content":{"google":{"thought_signature":"?"}}`), refusal{"messages[1].tool_calls[0].extra_content", invalid, "base64"}},
		{"an image without its type", "", image("data:;base64,AAAA"), refusal{"messages[0].content[0].image_url.url", invalid, "data:image/png;base64"}},
		{"a data URL of another kind", "", image("data:text/html;base64,AAAA"), refusal{"messages[0].content[0].image_url.url", invalid, ""}},
		{"a data URL that is not base64", "", image("data:image/svg+xml,<svg/>"), refusal{"messages[0].content[0].image_url.url", invalid, ""}},
		{"an image of broken base64", "", image("data:image/png;base64,AAA" + "*"), refusal{"messages[0].content[0].image_url.url", invalid, ""}},
		{"an image of nothing", "", image("data:image/png;base64,"), refusal{"messages[0].content[0].image_url.url", invalid, ""}},
		{"an address in clear", "", image("http://example.com/a.png"), refusal{"messages[0].content[0].image_url.url", value, "data URL"}},
		{"an address with a password", "", image("https://a:b@example.com/a.png"), refusal{"messages[0].content[0].image_url.url", invalid, ""}},
		{"a file of this machine", "", image("file:///etc/passwd"), refusal{"messages[0].content[0].image_url.url", value, ""}},
		{"an address that does not tell the kind of image", "", image("https://example.com/a?b=.png"), refusal{"messages[0].content[0].image_url.url", value, "data URL"}},
		{"an unknown detail", "gemini-3-pro-preview", `"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"gs://b/a.png","detail":"fine"}}]}]`, refusal{"messages[0].content[0].image_url.detail", invalid, "auto"}},
		{"a detail before Gemini 3", "gemini-2.5-pro", `"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"gs://b/a.png","detail":"low"}}]}]`, refusal{"messages[0].content[0].image_url.detail", value, "Gemini 3"}},
		{"an unknown member of an image", "", `"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"gs://b/a.png","crop":1}}]}]`, refusal{"messages[0].content[0].image_url.crop", unsupported, ""}},
		{"a seed that is too large", "", hi + `,"seed":2147483648`, refusal{"seed", invalid, "2147483647"}},
		{"a limit that is too large", "", hi + `,"max_tokens":2147483648`, refusal{"max_tokens", invalid, "2147483647"}},
		{"the newer limit that is too large", "", hi + `,"max_completion_tokens":2147483648`, refusal{"max_completion_tokens", invalid, "2147483647"}},
		{"a schema that is no object", "", hi + `,"response_format":{"type":"json_schema","json_schema":{"name":"a","schema":[]}}`, refusal{"response_format.json_schema.schema", chat.CodeInvalidType, "object"}},
		{"a schema that is described twice", "", hi + `,"response_format":{"type":"json_schema","json_schema":{"name":"a","description":"b","schema":{"type":"object","description":"c"}}}`, refusal{"response_format.json_schema.description", value, "one of the two"}},
		{"effort of a model that does not think", "gemini-2.0-flash-001", hi + `,"reasoning_effort":"low"`, refusal{"reasoning_effort", value, "Gemini 2.5"}},
		{"effort of a model whose revision is 003", "gemini-1.5-pro-003", hi + `,"reasoning_effort":"low"`, refusal{"reasoning_effort", value, "Gemini 2.5"}},
		{"effort of an endpoint", "endpoints/1", hi + `,"reasoning_effort":"low"`, refusal{"reasoning_effort", value, ""}},
		{"an effort that Google does not know", "gemini-3-pro-preview", hi + `,"reasoning_effort":"xhigh"`, refusal{"reasoning_effort", value, "'high'"}},
		{"no effort where it cannot be", "gemini-3-flash-preview", hi + `,"reasoning_effort":"none"`, refusal{"reasoning_effort", value, "'low'"}},
		{"no effort of Gemini 2.5 Pro", "gemini-2.5-pro", hi + `,"reasoning_effort":"none"`, refusal{"reasoning_effort", value, "'low'"}},
		{"a custom tool", "", hi + `,"tools":[{"type":"custom","custom":{"name":"f"}}]`, refusal{"tools[0].type", value, "function"}},
		{"a function that begins with a digit", "", hi + `,` + tool("1st"), refusal{"tools[0].function.name", value, "letter"}},
		{"a choice of a custom tool", "", hi + `,` + tool("f") + `,"tool_choice":{"type":"custom","custom":{"name":"f"}}`, refusal{"tool_choice", value, ""}},
		{"a choice of an unknown function", "", hi + `,` + tool("f") + `,"tool_choice":{"type":"allowed_tools","allowed_tools":{"mode":"auto","tools":[{"type":"function","function":{"name":"g"}}]}}`, refusal{"tool_choice.allowed_tools", invalid, ""}},
		{"a choice of no function", "", hi + `,` + tool("f") + `,"tool_choice":{"type":"allowed_tools","allowed_tools":{"mode":"auto","tools":[]}}`, refusal{"tool_choice.allowed_tools", invalid, ""}},
		{"one call at a time", "", hi + `,` + tool("f") + `,"parallel_tool_calls":false`, refusal{"parallel_tool_calls", unsupported, ""}},
		{"a user that is no label", "", hi + `,"user":"ann@example.com"`, refusal{"user", value,
			"Unsupported value: 'user' is not supported by Google Vertex AI: it becomes a label of the request, which is made of at most 63 lower-case letters, digits, dashes and underscores. Leave it out, or shorten it to that."}},
		{"a user that is too long for a label", "", hi + `,"user":"` + strings.Repeat("a", 64) + `"`, refusal{"user", value, ""}},
		{"a user that is in the metadata too", "", hi + `,"user":"ann","metadata":{"user":"bob"}`, refusal{"user", value, "metadata.user"}},
		{"a key that is no label", "", hi + `,"metadata":{"Team":"a"}`, refusal{"metadata", value, "keys"}},
		{"a value that is no label", "", hi + `,"metadata":{"team":"A"}`, refusal{"metadata.team", value, "label"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			model := c.model
			if model == "" {
				model = "gemini-2.5-flash"
			}
			_, err := d.Encode(golden.Request(t, `{"model":"`+model+`",`+c.request+`}`))
			e, ok := errors.AsType[*chat.Error](err)
			if !ok || e.Status != 400 || e.Type != chat.TypeInvalidRequest {
				t.Fatalf("got %v, want a 400", err)
			}
			got := refusal{e.Param, e.Code, e.Message}
			if c.want.Message == "" || strings.Contains(got.Message, c.want.Message) {
				c.want.Message = got.Message
			}
			if d := cmp.Diff(c.want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

// The gateway's other formats make requests without going through the decoder
// of this wire, so the order of tools is held here too.
func TestResultsWithoutTheirCallsAreRefused(t *testing.T) {
	t.Parallel()
	calls := []chat.ToolCall{{ID: "1", Function: &chat.FunctionCall{Name: "f"}}}
	user := chat.Message{Role: chat.RoleUser, Content: chat.Text("a")}
	for _, c := range []struct {
		name     string
		messages []chat.Message
		param    string
	}{
		{"a result of no call", []chat.Message{user, {Role: chat.RoleTool, ToolCallID: "1", Content: chat.Text("b")}}, "messages[1].tool_call_id"},
		{"a call without a result", []chat.Message{user, {Role: chat.RoleAssistant, ToolCalls: calls}}, "messages[1]"},
		{"a call that is passed over", []chat.Message{user, {Role: chat.RoleAssistant, ToolCalls: calls}, user}, "messages[2]"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			_, err := dialect(t).Encode(&chat.Request{Model: "gemini-2.5-pro", Messages: c.messages})
			if e, ok := errors.AsType[*chat.Error](err); !ok || e.Status != 400 || e.Param != c.param {
				t.Errorf("got %v, want a 400 of %s", err, c.param)
			}
		})
	}
}
