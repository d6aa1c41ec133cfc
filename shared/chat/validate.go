package chat

import (
	"fmt"
	"slices"
)

// Bounds of the OpenAI API reference.
const (
	maxStop        = 4
	maxTools       = 128
	maxN           = 128
	maxTopLogprobs = 20
	maxModelName   = 256
	maxToolName    = 64
)

func (r *Request) validate(limits Limits) error {
	if r.Model == "" {
		return Invalid("model", CodeMissingParameter, "Missing required parameter: 'model'. Name one of the models that GET /v1/models lists.")
	}
	if len(r.Model) > maxModelName {
		return Invalid("model", CodeInvalidValue, "Invalid 'model': the name is longer than %d bytes.", maxModelName)
	}
	if len(r.Messages) == 0 {
		return Invalid("messages", CodeMissingParameter, "Missing required parameter: 'messages'. Send at least one message.")
	}
	if len(r.Messages) > limits.Messages {
		return Invalid("messages", CodeInvalidValue, "Invalid 'messages': there are %d, and at most %d are allowed.", len(r.Messages), limits.Messages)
	}
	for i := range r.Messages {
		if err := r.Messages[i].validate(i); err != nil {
			return err
		}
	}
	if err := validateToolOrder(r.Messages); err != nil {
		return err
	}
	if err := r.validateSampling(); err != nil {
		return err
	}
	return r.validateTools()
}

func (m *Message) validate(i int) error {
	at := func(member string) string { return fmt.Sprintf("messages[%d].%s", i, member) }
	switch m.Role {
	case RoleSystem, RoleDeveloper, RoleUser, RoleTool, RoleFunction:
		if m.Content.IsZero() && m.Role != RoleFunction {
			return Invalid(at("content"), CodeMissingParameter, "Missing required parameter: '%s'. A %s message needs content.", at("content"), m.Role)
		}
		if len(m.ToolCalls) > 0 {
			return Invalid(at("tool_calls"), CodeInvalidValue, "Invalid '%s': only an assistant message may hold tool calls.", at("tool_calls"))
		}
	case RoleAssistant:
		if m.Content.IsZero() && len(m.ToolCalls) == 0 && m.FunctionCall == nil && m.Refusal == "" && m.Audio == nil {
			return Invalid(at("content"), CodeMissingParameter, "Missing required parameter: '%s'. An assistant message needs content or tool_calls.", at("content"))
		}
	case "":
		return Invalid(at("role"), CodeMissingParameter, "Missing required parameter: '%s'.", at("role"))
	default:
		return Invalid(at("role"), CodeInvalidValue, "Invalid value for '%s': supported values are 'system', 'developer', 'user', 'assistant', 'tool' and 'function'.", at("role"))
	}
	if m.Role == RoleTool && m.ToolCallID == "" {
		return Invalid(at("tool_call_id"), CodeMissingParameter, "Missing required parameter: '%s'. A tool message names the call that it answers.", at("tool_call_id"))
	}
	if m.Role == RoleFunction && m.Name == "" {
		return Invalid(at("name"), CodeMissingParameter, "Missing required parameter: '%s'. A function message names its function.", at("name"))
	}
	if err := m.Content.validate(func() string { return at("content") }); err != nil {
		return err
	}
	return validateCalls(m.ToolCalls, func() string { return at("tool_calls") })
}

// validate is told where the content is by a function, as are the calls: most
// messages are valid, and a conversation may have thousands.
func (c Content) validate(at func() string) error {
	if c.form == formParts && len(c.parts) == 0 {
		return Invalid(at(), CodeInvalidValue, "Invalid '%s': the array is empty. Send at least one content part.", at())
	}
	for i := range c.parts {
		p := &c.parts[i]
		missing := func(member string) error {
			at := fmt.Sprintf("%s[%d].%s", at(), i, member)
			return Invalid(at, CodeMissingParameter, "Missing required parameter: '%s'.", at)
		}
		switch {
		case p.Type == "":
			return missing("type")
		case p.Type == PartImage && (p.ImageURL == nil || p.ImageURL.URL == ""):
			return missing("image_url.url")
		case p.Type == PartInputAudio && p.InputAudio == nil:
			return missing("input_audio")
		case p.Type == PartFile && p.File == nil:
			return missing("file")
		}
	}
	return nil
}

func validateCalls(calls []ToolCall, at func() string) error {
	for i := range calls {
		c := &calls[i]
		missing := func(member string) error {
			at := fmt.Sprintf("%s[%d].%s", at(), i, member)
			return Invalid(at, CodeMissingParameter, "Missing required parameter: '%s'.", at)
		}
		if c.ID == "" {
			return missing("id")
		}
		switch c.Type {
		case "", "function":
			if c.Function == nil || c.Function.Name == "" {
				return missing("function.name")
			}
		case "custom":
			if c.Custom == nil {
				return missing("custom")
			}
		default:
			at := fmt.Sprintf("%s[%d].type", at(), i)
			return Invalid(at, CodeInvalidValue, "Invalid value for '%s': supported values are 'function' and 'custom'.", at)
		}
	}
	return nil
}

// validateToolOrder holds the rule that the API states in its errors: every
// tool message answers a call of the assistant message before it, and every
// call is answered before the conversation goes on.
func validateToolOrder(messages []Message) error {
	var open []string
	unanswered := func(i int) error {
		at := fmt.Sprintf("messages[%d]", i)
		return Invalid(at, CodeInvalidValue, "Invalid '%s': the tool calls of the assistant message before it must each be answered by a tool message first; %d are not.", at, len(open))
	}
	for i := range messages {
		m := &messages[i]
		if m.Role != RoleTool {
			if len(open) > 0 {
				return unanswered(i)
			}
			for j := range m.ToolCalls {
				open = append(open, m.ToolCalls[j].ID)
			}
			continue
		}
		k := slices.Index(open, m.ToolCallID)
		if k < 0 {
			at := fmt.Sprintf("messages[%d].tool_call_id", i)
			return Invalid(at, CodeInvalidValue, "Invalid '%s': a tool message must answer an open tool call of the assistant message before it.", at)
		}
		open = slices.Delete(open, k, k+1)
	}
	if len(open) > 0 {
		return unanswered(len(messages) - 1)
	}
	return nil
}

func (r *Request) validateSampling() error {
	for _, f := range []struct {
		name     string
		value    *float64
		min, max float64
	}{
		{"temperature", r.Temperature, 0, 2},
		{"top_p", r.TopP, 0, 1},
		{"frequency_penalty", r.FrequencyPenalty, -2, 2},
		{"presence_penalty", r.PresencePenalty, -2, 2},
	} {
		if f.value != nil && (*f.value < f.min || *f.value > f.max) {
			return Invalid(f.name, CodeInvalidValue, "Invalid '%s': the value must be between %g and %g.", f.name, f.min, f.max)
		}
	}
	const unbounded = 1 << 40
	for _, n := range []struct {
		name     string
		value    *int64
		min, max int64
	}{
		{"max_tokens", r.MaxTokens, 1, unbounded},
		{"max_completion_tokens", r.MaxCompletionTokens, 1, unbounded},
		{"n", r.N, 1, maxN},
		{"top_logprobs", r.TopLogprobs, 0, maxTopLogprobs},
	} {
		if n.value == nil || (*n.value >= n.min && *n.value <= n.max) {
			continue
		}
		if n.max == unbounded {
			return Invalid(n.name, CodeInvalidValue, "Invalid '%s': the value must be at least %d.", n.name, n.min)
		}
		return Invalid(n.name, CodeInvalidValue, "Invalid '%s': the value must be between %d and %d.", n.name, n.min, n.max)
	}
	if r.MaxTokens != nil && r.MaxCompletionTokens != nil {
		return Invalid("max_tokens", CodeInvalidValue, "Invalid 'max_tokens': it says the same as 'max_completion_tokens'. Send only one of them.")
	}
	if r.TopLogprobs != nil && (r.Logprobs == nil || !*r.Logprobs) {
		return Invalid("top_logprobs", CodeInvalidValue, "Invalid 'top_logprobs': it needs 'logprobs' to be true.")
	}
	if r.StreamOptions != nil && !r.Stream {
		return Invalid("stream_options", CodeInvalidValue, "Invalid 'stream_options': it is only allowed when 'stream' is true.")
	}
	for name, bias := range r.LogitBias {
		if bias < -100 || bias > 100 {
			return Invalid("logit_bias", CodeInvalidValue, "Invalid 'logit_bias.%s': the value must be between -100 and 100.", Clip(name, maxToolName))
		}
	}
	return r.validateStop()
}

func (r *Request) validateStop() error {
	if r.Stop.IsZero() {
		return nil
	}
	if n := len(r.Stop.Sequences); n == 0 || n > maxStop {
		return Invalid("stop", CodeInvalidValue, "Invalid 'stop': send between 1 and %d sequences.", maxStop)
	}
	if slices.Contains(r.Stop.Sequences, "") {
		return Invalid("stop", CodeInvalidValue, "Invalid 'stop': a stop sequence must not be empty.")
	}
	return nil
}

func (r *Request) validateTools() error {
	if len(r.Tools) > maxTools {
		return Invalid("tools", CodeInvalidValue, "Invalid 'tools': there are %d, and at most %d are allowed.", len(r.Tools), maxTools)
	}
	for i := range r.Tools {
		if err := r.Tools[i].validate(fmt.Sprintf("tools[%d]", i)); err != nil {
			return err
		}
	}
	if len(r.Tools) == 0 {
		if r.ToolChoice != nil && r.ToolChoice.Mode != ToolChoiceNone {
			return Invalid("tool_choice", CodeInvalidValue, "Invalid 'tool_choice': it is only allowed when 'tools' are given.")
		}
		if r.ParallelToolCalls != nil {
			return Invalid("parallel_tool_calls", CodeInvalidValue, "Invalid 'parallel_tool_calls': it is only allowed when 'tools' are given.")
		}
	}
	if err := r.validateToolChoice(); err != nil {
		return err
	}
	return r.validateFormat()
}

func (t *Tool) validate(at string) error {
	switch t.Type {
	case "function":
		if t.Function == nil || t.Function.Name == "" {
			return Invalid(at+".function.name", CodeMissingParameter, "Missing required parameter: '%s.function.name'.", at)
		}
		if !isToolName(t.Function.Name) {
			return Invalid(at+".function.name", CodeInvalidValue, "Invalid '%s.function.name': use 1 to %d letters, digits, underscores and dashes.", at, maxToolName)
		}
		if p := t.Function.Parameters; isSet(p) && p.Kind() != '{' {
			return Invalid(at+".function.parameters", CodeInvalidType, "Invalid type for '%s.function.parameters': expected an object, a JSON Schema.", at)
		}
	case "custom":
		if t.Custom == nil {
			return Invalid(at+".custom", CodeMissingParameter, "Missing required parameter: '%s.custom'.", at)
		}
	case "":
		return Invalid(at+".type", CodeMissingParameter, "Missing required parameter: '%s.type'.", at)
	default:
		return Invalid(at+".type", CodeInvalidValue, "Invalid value for '%s.type': supported values are 'function' and 'custom'.", at)
	}
	return nil
}

func isToolName(s string) bool {
	if len(s) > maxToolName {
		return false
	}
	for _, c := range []byte(s) {
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '-') {
			return false
		}
	}
	return true
}

func (r *Request) validateToolChoice() error {
	c := r.ToolChoice
	if c == nil {
		return nil
	}
	switch c.Mode {
	case ToolChoiceNone, ToolChoiceAuto, ToolChoiceRequired:
		if c.Raw == nil {
			return nil
		}
	case ToolChoiceAllowed, ToolChoiceCustom:
		if c.Raw != nil {
			return nil
		}
	case ToolChoiceFunction:
		named := func(t Tool) bool { return t.Function != nil && t.Function.Name == c.Name }
		if c.Name == "" || !slices.ContainsFunc(r.Tools, named) {
			return Invalid("tool_choice.function.name", CodeInvalidValue, "Invalid 'tool_choice.function.name': it must name one of the functions in 'tools'.")
		}
		return nil
	}
	return Invalid("tool_choice", CodeInvalidValue, `Invalid value for 'tool_choice': supported values are 'none', 'auto', 'required' and {"type":"function","function":{"name":...}}.`)
}

func (r *Request) validateFormat() error {
	f := r.ResponseFormat
	if f == nil {
		return nil
	}
	switch f.Type {
	case "text", "json_object":
		return nil
	case "json_schema":
		if f.JSONSchema == nil || f.JSONSchema.Name == "" {
			return Invalid("response_format.json_schema.name", CodeMissingParameter, "Missing required parameter: 'response_format.json_schema.name'.")
		}
		return nil
	}
	return Invalid("response_format.type", CodeInvalidValue, "Invalid value for 'response_format.type': supported values are 'text', 'json_object' and 'json_schema'.")
}
