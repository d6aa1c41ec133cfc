package anthropic_test

import (
	"fmt"
	"strings"
	"testing"
)

func TestWhatTheAPIRefuses(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	const (
		hi    = `"max_tokens":2000,"messages":[{"role":"user","content":"hi"}]`
		tools = `"tools":[{"name":"a","input_schema":{"type":"object"}}]`
		use   = `{"role":"user","content":"hi"},{"role":"assistant","content":[{"type":"tool_use","id":"t1","name":"a","input":{}}]}`
	)
	said := func(messages string) string { return `"max_tokens":2000,"messages":[` + messages + `]` }
	block := func(b string) string { return said(`{"role":"user","content":[` + b + `]}`) }
	image := func(source string) string { return block(`{"type":"image","source":` + source + `}`) }
	for _, row := range []struct{ name, model, members, says string }{
		{"an unknown model", "claude-9", hi, "model: claude-9"},
		{"an unknown member", "", hi + `,"top_x":1`, "top_x: Extra inputs are not permitted"},
		{"an unknown member of a block", "", block(`{"type":"text","text":"a","x":1}`), "messages.0.content.0.x: Extra inputs are not permitted"},
		{"a member of another type of block", "", block(`{"type":"text","text":"a","data":"x"}`), "messages.0.content.0.text.data: Extra inputs are not permitted"},
		{"another type", "", `"max_tokens":"x","messages":[]`, "max_tokens: Input should be a valid integer"},
		{"a member that comes twice", "", hi + `,"max_tokens":1`, "The request body is not valid JSON"},
		{"no max_tokens", "", `"messages":[{"role":"user","content":"hi"}]`, "max_tokens: Field required"},
		{"too many max_tokens", "", `"max_tokens":64001,"messages":[{"role":"user","content":"hi"}]`, "max_tokens: 64001 > 64000, which is the maximum allowed number of output tokens for claude-sonnet-4-6"},
		{"no messages", "", `"max_tokens":1`, "messages: Field required"},
		{"an empty list of messages", "", `"max_tokens":1,"messages":[]`, "messages: at least one message is required"},
		{"a first message of the assistant", "", said(`{"role":"assistant","content":"hi"},{"role":"user","content":"hi"}`), `messages: first message must use the "user" role`},
		{"a system message", "", said(`{"role":"system","content":"hi"}`), "messages: Unexpected role \"system\". The Messages API accepts a top-level `system` parameter, not \"system\" as an input message role."},
		{"another role", "", said(`{"role":"tool","content":"hi"}`), "messages.0.role: Input should be 'user' or 'assistant'"},
		{"an empty content", "", said(`{"role":"user","content":[]}`), "messages.0: all messages must have non-empty content except for the optional final assistant message"},
		{"an empty text", "", said(`{"role":"user","content":""}`), "messages: text content blocks must be non-empty"},
		{"a text of space", "", block(`{"type":"text","text":" \n"}`), "messages: text content blocks must contain non-whitespace text"},
		{"an empty system prompt", "", hi + `,"system":""`, "system: text content blocks must be non-empty"},
		{"a mark on an empty text", "", block(`{"type":"text","text":"","cache_control":{"type":"ephemeral"}}`), "messages.0.content.0.text: cache_control cannot be set for empty text blocks"},
		{"a mark of another kind", "", hi + `,"cache_control":{"type":"forever"}`, "cache_control.type: Input should be 'ephemeral'"},
		{"five marks", "", block(strings.Repeat(`{"type":"text","text":"a","cache_control":{"type":"ephemeral"}},`, 4)+`{"type":"text","text":"a"}`) + `,"cache_control":{"type":"ephemeral"}`, "A maximum of 4 blocks with cache_control may be provided. Found 5."},
		{"an unknown block", "", block(`{"type":"video"}`), "messages.0.content.0: Input tag 'video' found using 'type' does not match any of the expected tags"},
		{"an image of the assistant", "", said(`{"role":"user","content":"hi"},{"role":"assistant","content":[{"type":"image","source":{"type":"url","url":"https://a"}}]}`), "messages.1.content.0: image blocks can only be in `user` messages"},
		{"an image of another type", "", image(`{"type":"base64","media_type":"image/bmp","data":"AAAA"}`), "messages.0.content.0.image.source.base64.media_type: Input should be 'image/jpeg', 'image/png', 'image/gif' or 'image/webp'"},
		{"an image that is of another type", "", image(`{"type":"base64","media_type":"image/gif","data":"` + pixel + `"}`), "messages.0.content.0.image.source.base64.data: Image does not match the provided media type image/gif"},
		{"an image that is none", "", image(`{"type":"base64","media_type":"image/png","data":"AAAA"}`), "Could not process image"},
		{"an image that is not base64", "", image(`{"type":"base64","media_type":"image/png","data":"????"}`), "messages.0.content.0.image.source.base64.data: Invalid base64 data"},
		{"an image over http", "", image(`{"type":"url","url":"http://example.com/a.png"}`), "messages.0.content.0.image.source.url.url: Only HTTPS URLs are supported."},
		{"a call without its result", "", said(use + `,{"role":"user","content":"and?"}`), "messages.1: `tool_use` ids were found without `tool_result` blocks immediately after: t1. Each `tool_use` block must have a corresponding `tool_result` block in the next message."},
		{"a call at the end", "", said(use), "messages.1: `tool_use` ids were found without `tool_result` blocks immediately after: t1. Each `tool_use` block must have a corresponding `tool_result` block in the next message."},
		{"a result behind a text", "", said(use + `,{"role":"user","content":[{"type":"text","text":"a"},{"type":"tool_result","tool_use_id":"t1"}]}`), "messages.1: `tool_use` ids were found without `tool_result` blocks immediately after: t1. Each `tool_use` block must have a corresponding `tool_result` block in the next message."},
		{"a result of no call", "", said(use + `,{"role":"user","content":[{"type":"tool_result","tool_use_id":"t1"},{"type":"tool_result","tool_use_id":"t2"}]}`), "messages.2.content.1: unexpected `tool_use_id` found in `tool_result` blocks: t2. Each `tool_result` block must have a corresponding `tool_use` block in the previous message."},
		{"an id that comes twice", "", said(use + `,{"role":"user","content":[{"type":"tool_result","tool_use_id":"t1"}]},` + strings.TrimPrefix(use, `{"role":"user","content":"hi"},`)), "messages.3.content.0: `tool_use` ids must be unique"},
		{"an id with a dot", "", said(`{"role":"user","content":"hi"},{"role":"assistant","content":[{"type":"tool_use","id":"t.1","name":"a","input":{}}]}`), "messages.1.content.0.tool_use.id: String should match pattern '^[a-zA-Z0-9_-]+$'"},
		{"an input that is no object", "", said(`{"role":"user","content":"hi"},{"role":"assistant","content":[{"type":"tool_use","id":"t1","name":"a","input":[]}]}`), "messages.1.content.0.tool_use.input: Input should be a valid dictionary"},
		{"a thought that was changed", "", said(`{"role":"user","content":"hi"},{"role":"assistant","content":[{"type":"thinking","thinking":"x","signature":"eA=="}]},{"role":"user","content":"hi"}`), "messages.1.content.0: Invalid `signature` in `thinking` block"},
		{"an answer begun, on a model that does not go on", "", said(`{"role":"user","content":"hi"},{"role":"assistant","content":"well"}`), "This model does not support assistant message prefill. The conversation must end with a user message."},
		{"an answer begun with space behind it", "claude-opus-4-5", said(`{"role":"user","content":"hi"},{"role":"assistant","content":"well "}`), "messages: final assistant content cannot end with trailing whitespace"},
		{"a tool's name", "", hi + `,"tools":[{"name":"a b","input_schema":{"type":"object"}}]`, "tools.0.custom.name: String should match pattern '^[a-zA-Z0-9_-]{1,128}$'"},
		{"two tools of a name", "", hi + `,"tools":[{"name":"a","input_schema":{"type":"object"}},{"name":"a","input_schema":{"type":"object"}}]`, "tools: Tool names must be unique."},
		{"a tool without a schema", "", hi + `,"tools":[{"name":"a"}]`, "tools.0.custom.input_schema: Field required"},
		{"a schema without a type", "", hi + `,"tools":[{"name":"a","input_schema":{}}]`, "tools.0.custom.input_schema.type: Field required"},
		{"a schema of a list", "", hi + `,"tools":[{"name":"a","input_schema":{"type":"array"}}]`, "tools.0.custom.input_schema.type: Input should be 'object'"},
		{"a choice without tools", "", hi + `,"tool_choice":{"type":"auto"}`, "tool_choice: may only be specified while providing tools"},
		{"a choice of an unknown tool", "", hi + `,` + tools + `,"tool_choice":{"type":"tool","name":"b"}`, "Tool 'b' not found in provided tools"},
		{"none, one at a time", "", hi + `,` + tools + `,"tool_choice":{"type":"none","disable_parallel_tool_use":true}`, "tool_choice.none.disable_parallel_tool_use: Extra inputs are not permitted"},
		{"a forced call of a model that cannot be forced", "claude-opus-5-5", hi + `,` + tools + `,"tool_choice":{"type":"any"}`, `tool_choice: forced tool use is not supported for this model. Use tool_choice.type "auto" or "none".`},
		{"a forced call with a budget to think", "", hi + `,` + tools + `,"tool_choice":{"type":"any"},"thinking":{"type":"enabled","budget_tokens":1024}`, "Thinking may not be enabled when tool_choice forces tool use."},
		{"a high temperature", "", hi + `,"temperature":1.5`, "temperature: range: 0..1"},
		{"a temperature of a newer model", "claude-opus-4-8", hi + `,"temperature":0.5`, "`temperature` is deprecated for this model."},
		{"a top_p of a newer model", "claude-opus-4-8", hi + `,"top_p":0.5`, "`top_p` is deprecated for this model."},
		{"temperature and top_p", "", hi + `,"temperature":0.5,"top_p":0.5`, "`temperature` and `top_p` cannot both be specified for this model. Please use only one."},
		{"a stop sequence of space", "", hi + `,"stop_sequences":["\n"]`, "stop_sequences: each stop sequence must contain non-whitespace"},
		{"another tier", "", hi + `,"service_tier":"flex"`, "service_tier: Input should be 'auto' or 'standard_only'"},
		{"a small budget", "", hi + `,"thinking":{"type":"enabled","budget_tokens":10}`, "thinking.enabled.budget_tokens: Input should be greater than or equal to 1024"},
		{"adaptive thinking of an older model", "claude-opus-4-5", hi + `,"thinking":{"type":"adaptive"}`, "adaptive thinking is not supported on this model"},
		{"thinking that cannot be turned off", "claude-opus-5-5", hi + `,"thinking":{"type":"disabled"}`, `"thinking.type.disabled" is not supported for this model. Use "thinking.type.adaptive" and "output_config.effort" to control thinking behavior.`},
		{"another effort", "", hi + `,"output_config":{"effort":"minimal"}`, "output_config.effort: Input should be 'low', 'medium', 'high', 'xhigh' or 'max'"},
		{"an effort of a model without", "claude-haiku-4-5-20251001", hi + `,"output_config":{"effort":"low"}`, "This model does not support the effort parameter."},
		{"an effort that a model has not", "", hi + `,"output_config":{"effort":"xhigh"}`, "This model does not support effort level 'xhigh'. Supported levels: low, medium, high, max."},
		{"no thinking and much effort", "claude-haiku-5-5", hi + `,"thinking":{"type":"disabled"},"output_config":{"effort":"max"}`, "Thinking cannot be turned off at effort level 'max' on this model."},
		{"an open schema", "", hi + `,"output_config":{"format":{"type":"json_schema","schema":{"type":"object"}}}`, "output_config.format.schema: For 'object' type, 'additionalProperties' must be explicitly set to false"},
		{"a schema of an old model", "claude-3-haiku-20240307", hi + `,"output_config":{"format":{"type":"json_schema","schema":{"type":"string"}}}`, "output_config.format: structured outputs are not supported on this model"},
		{"what is not played", "", hi + `,"tools":[{"type":"web_search_20250305","name":"web_search"}]`, "This stand-in does not play tools of type web_search_20250305."},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			model := row.model
			if model == "" {
				model = "claude-sonnet-4-6"
			}
			want := 400
			if row.model == "claude-9" {
				want = 404
			}
			status, says := s.post(t, fmt.Sprintf(`{"model":%q,%s}`, model, row.members), map[string]string{"X-Api-Key": key})
			if status != want || says != row.says {
				t.Errorf("got %d %q\nwant %d %q", status, says, want, row.says)
			}
		})
	}
}

// Manual thinking wants its blocks back with the results of tools; adaptive
// thinking goes on without.
func TestThoughtsComeBackWithResults(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	const turn = `"model":"claude-sonnet-4-6","max_tokens":2000,"messages":[{"role":"user","content":"hi"},{"role":"assistant","content":[{"type":"tool_use","id":"t1","name":"a","input":{}}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"t1"}]}]`
	for thinking, want := range map[string]int{`{"type":"enabled","budget_tokens":1024}`: 400, `{"type":"adaptive"}`: 200} {
		status, says := s.post(t, `{`+turn+`,"thinking":`+thinking+`}`, map[string]string{"X-Api-Key": key})
		if status != want || (want == 400) != strings.HasPrefix(says, "messages.1.content.0.type: Expected `thinking` or `redacted_thinking`, but found `tool_use`.") {
			t.Errorf("%s: got %d %q", thinking, status, says)
		}
	}
}

// Messages of the same role that follow each other are one for the API.
func TestConsecutiveRolesAreMerged(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	const turns = `{"role":"user","content":"a"},{"role":"user","content":"b"},{"role":"assistant","content":"c"},{"role":"assistant","content":[{"type":"tool_use","id":"t1","name":"a","input":{}}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"t1","content":"x"}]},{"role":"user","content":"d"}`
	if status, says := s.post(t, `{"model":"claude-sonnet-4-6","max_tokens":2000,"messages":[`+turns+`]}`, map[string]string{"X-Api-Key": key}); status != 200 {
		t.Errorf("got %d %q", status, says)
	}
}
