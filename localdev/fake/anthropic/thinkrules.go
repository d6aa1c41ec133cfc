package anthropic

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// signature signs what was thought. What is not shown is signed just as well.
func signature(model, thought string) string {
	sum := sha256.Sum256([]byte("thought\x00" + model + "\x00" + thought))
	return base64.StdEncoding.EncodeToString([]byte(model + "\x00" + string(sum[:])))
}

func (b *block) checkThinking(at string) *failure {
	switch {
	case b.Thinking == nil:
		return invalid("%s.thinking: Field required", at)
	case b.Signature == nil:
		return invalid("%s.signature: Field required", at)
	}
	signed, err := base64.StdEncoding.DecodeString(*b.Signature)
	model, _, ok := strings.Cut(string(signed), "\x00")
	if err != nil || !ok || signature(model, *b.Thinking) != *b.Signature {
		return invalid("%s: Invalid `signature` in `thinking` block", strings.TrimSuffix(at, ".thinking"))
	}
	return nil
}

func (req *request) checkThinking(m Model) *failure {
	t := req.Thinking
	if t == nil {
		return nil
	}
	switch {
	case !slices.Contains([]string{"enabled", "disabled", "adaptive", "between_tools"}, t.Type):
		return invalid("thinking: Input tag '%s' found using 'type' does not match any of the expected tags", t.Type)
	case t.BudgetTokens != nil && t.Type != "enabled":
		return invalid("thinking.%s.budget_tokens: Extra inputs are not permitted", t.Type)
	case t.Display != "" && t.Type != "enabled" && t.Type != "adaptive":
		return invalid("thinking.%s.display: Extra inputs are not permitted", t.Type)
	case t.Display != "" && t.Display != "summarized" && t.Display != "omitted":
		return invalid("thinking.%s.display: Input should be 'summarized' or 'omitted'", t.Type)
	case !slices.Contains(m.Thinking, t.Type) && t.Type == "adaptive":
		return invalid("adaptive thinking is not supported on this model")
	case !slices.Contains(m.Thinking, t.Type):
		return invalid("\"thinking.type.%s\" is not supported for this model. Use \"thinking.type.adaptive\" and \"output_config.effort\" to control thinking behavior.", t.Type)
	case t.Type != "enabled":
		return nil
	case t.BudgetTokens == nil:
		return invalid("thinking.enabled.budget_tokens: Field required")
	case *t.BudgetTokens < 1024:
		return invalid("thinking.enabled.budget_tokens: Input should be greater than or equal to 1024")
	case *t.BudgetTokens >= *req.MaxTokens:
		return invalid("`max_tokens` must be greater than `thinking.budget_tokens`. Please consult our documentation at https://docs.claude.com/en/docs/build-with-claude/extended-thinking#max-tokens-and-context-window-size")
	}
	return nil
}

// checkThoughts holds the rule of manual thinking: a turn in which tools were
// called begins with what was thought, until the model has had the results.
func (req *request) checkThoughts(Model) *failure {
	if req.Thinking == nil || req.Thinking.Type != "enabled" {
		return nil
	}
	for i, m := range slices.Backward(req.Messages) {
		if m.Role == "user" {
			if !slices.ContainsFunc(m.Content, func(b block) bool { return b.Type == "tool_result" }) {
				return nil
			}
			continue
		}
		if len(m.Content) == 0 {
			continue // the answer that the model is to begin
		}
		if first := m.Content[0].Type; first != "thinking" && first != "redacted_thinking" {
			return invalid("messages.%d.content.0.type: Expected `thinking` or `redacted_thinking`, but found `%s`. When `thinking` is enabled, a final `assistant` message must start with a thinking block (preceeding the lastmost set of `tool_use` and `tool_result` blocks). We recommend you include thinking blocks from previous turns. To avoid this requirement, disable `thinking`.", i, first)
		}
	}
	return nil
}

func (req *request) checkOutput(m Model) *failure {
	c := req.OutputConfig
	if c == nil {
		return nil
	}
	all := []string{"low", "medium", "high", "xhigh", "max"}
	off := req.Thinking != nil && (req.Thinking.Type == "disabled" || req.Thinking.Type == "between_tools")
	switch {
	case c.Effort == "":
	case !slices.Contains(all, c.Effort):
		return invalid("output_config.effort: Input should be 'low', 'medium', 'high', 'xhigh' or 'max'")
	case len(m.Efforts) == 0:
		return invalid("This model does not support the effort parameter.")
	case !slices.Contains(m.Efforts, c.Effort):
		return invalid("This model does not support effort level '%s'. Supported levels: %s.", c.Effort, strings.Join(m.Efforts, ", "))
	case m.Thinks && off && (c.Effort == "xhigh" || c.Effort == "max"):
		return invalid("Thinking cannot be turned off at effort level '%s' on this model.", c.Effort)
	}
	if c.Format == nil {
		return nil
	}
	switch {
	case c.Format.Type != "json_schema":
		return invalid("output_config.format.type: Input should be 'json_schema'")
	case c.Format.Schema == nil:
		return invalid("output_config.format.schema: Field required")
	case c.Format.Schema.Kind() != jsontext.KindBeginObject:
		return invalid("output_config.format.schema: Input should be a valid dictionary")
	case !m.Structured:
		return invalid("output_config.format: structured outputs are not supported on this model")
	}
	var schema any
	if err := json.Unmarshal(c.Format.Schema, &schema); err != nil || !closed(schema) {
		return invalid("output_config.format.schema: For 'object' type, 'additionalProperties' must be explicitly set to false")
	}
	return nil
}

// closed reports whether all objects that a schema describes are closed.
func closed(schema any) bool {
	switch v := schema.(type) {
	case map[string]any:
		if v["type"] == "object" && v["additionalProperties"] != false {
			return false
		}
		for _, member := range v {
			if !closed(member) {
				return false
			}
		}
	case []any:
		for _, element := range v {
			if !closed(element) {
				return false
			}
		}
	}
	return true
}
