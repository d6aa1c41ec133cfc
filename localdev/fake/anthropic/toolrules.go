package anthropic

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

func matches(pattern, s string) bool { return regexp.MustCompile(pattern).MatchString(s) }

const (
	idPattern   = `^[a-zA-Z0-9_-]+$`
	namePattern = `^[a-zA-Z0-9_-]{1,128}$`
)

func (b *block) checkUse(at string) *failure {
	switch {
	case b.ID == nil:
		return invalid("%s.id: Field required", at)
	case !matches(idPattern, *b.ID):
		return invalid("%s.id: String should match pattern '%s'", at, idPattern)
	case b.Name == nil:
		return invalid("%s.name: Field required", at)
	case !matches(namePattern, *b.Name):
		return invalid("%s.name: String should match pattern '%s'", at, namePattern)
	case b.Input == nil:
		return invalid("%s.input: Field required", at)
	case b.Input.Kind() != jsontext.KindBeginObject:
		return invalid("%s.input: Input should be a valid dictionary", at)
	}
	return nil
}

func (b *block) checkResult(at string) *failure {
	switch {
	case b.ToolUseID == nil:
		return invalid("%s.tool_use_id: Field required", at)
	case !matches(idPattern, *b.ToolUseID):
		return invalid("%s.tool_use_id: String should match pattern '%s'", at, idPattern)
	case b.Content == nil:
		return nil
	}
	for i := range *b.Content {
		c, at := &(*b.Content)[i], fmt.Sprintf("%s.content.%d", at, i)
		if c.Type == "tool_result" {
			return invalid("%s: Input tag 'tool_result' found using 'type' does not match any of the expected tags", at)
		}
		if f := c.check("user", at); f != nil {
			return f
		}
	}
	return nil
}

// checkToolTurns holds every call against the results in the message after it.
func (req *request) checkToolTurns(Model) *failure {
	var open []string
	used := map[string]bool{}
	for i, m := range req.Messages {
		spoken := false
		for j, b := range m.Content {
			if b.Type != "tool_result" {
				spoken = true
				continue
			}
			k := slices.Index(open, *b.ToolUseID)
			switch {
			case spoken && k >= 0:
				// A result behind something else does not count.
				return withoutResults(i-1, open)
			case k < 0:
				return invalid("messages.%d.content.%d: unexpected `tool_use_id` found in `tool_result` blocks: %s. Each `tool_result` block must have a corresponding `tool_use` block in the previous message.", i, j, *b.ToolUseID)
			}
			open = slices.Delete(open, k, k+1)
		}
		if len(open) > 0 {
			return withoutResults(i-1, open)
		}
		for j, b := range m.Content {
			if b.Type != "tool_use" {
				continue
			}
			if used[*b.ID] {
				return invalid("messages.%d.content.%d: `tool_use` ids must be unique", i, j)
			}
			used[*b.ID] = true
			open = append(open, *b.ID)
		}
	}
	if len(open) > 0 {
		return withoutResults(len(req.Messages)-1, open)
	}
	return nil
}

func withoutResults(i int, ids []string) *failure {
	return invalid("messages.%d: `tool_use` ids were found without `tool_result` blocks immediately after: %s. Each `tool_use` block must have a corresponding `tool_result` block in the next message.", i, strings.Join(ids, ", "))
}

func (req *request) checkTools(Model) *failure {
	names := map[string]bool{}
	for i, t := range req.Tools {
		at := fmt.Sprintf("tools.%d.custom", i)
		if t.Type != nil && *t.Type != "custom" {
			return unplayed("tools of type " + *t.Type)
		}
		if t.AllowedCallers != nil || t.DeferLoading != nil || t.EagerInputStreaming != nil || t.InputExamples != nil {
			return unplayed("callers, deferred loading, eager streaming and examples of tools")
		}
		if !matches(namePattern, t.Name) {
			return invalid("%s.name: String should match pattern '%s'", at, namePattern)
		}
		if f := checkSchema(t.InputSchema, at+".input_schema"); f != nil {
			return f
		}
		if names[t.Name] {
			return invalid("tools: Tool names must be unique.")
		}
		names[t.Name] = true
	}
	return nil
}

func checkSchema(schema jsontext.Value, at string) *failure {
	if schema == nil {
		return invalid("%s: Field required", at)
	}
	if schema.Kind() != jsontext.KindBeginObject {
		return invalid("%s: Input should be a valid dictionary", at)
	}
	var top struct {
		Type jsontext.Value `json:"type"`
	}
	if json.Unmarshal(schema, &top) != nil || top.Type == nil {
		return invalid("%s.type: Field required", at)
	}
	if string(top.Type) != `"object"` {
		return invalid("%s.type: Input should be 'object'", at)
	}
	return nil
}

func (req *request) checkChoice(m Model) *failure {
	c := req.ToolChoice
	if c == nil {
		return nil
	}
	forced := c.Type == "any" || c.Type == "tool"
	switch {
	case !forced && c.Type != "auto" && c.Type != "none":
		return invalid("tool_choice: Input tag '%s' found using 'type' does not match any of the expected tags: 'auto', 'any', 'tool', 'none'", c.Type)
	case len(req.Tools) == 0:
		return invalid("tool_choice: may only be specified while providing tools")
	case c.Type == "none" && c.DisableParallelToolUse != nil:
		return invalid("tool_choice.none.disable_parallel_tool_use: Extra inputs are not permitted")
	case c.Type == "tool" && c.Name == nil:
		return invalid("tool_choice.tool.name: Field required")
	case c.Type != "tool" && c.Name != nil:
		return invalid("tool_choice.%s.name: Extra inputs are not permitted", c.Type)
	case c.Type == "tool" && !slices.ContainsFunc(req.Tools, func(t tool) bool { return t.Name == *c.Name }):
		return invalid("Tool '%s' not found in provided tools", *c.Name)
	case forced && !m.Forces:
		return invalid("tool_choice: forced tool use is not supported for this model. Use tool_choice.type \"auto\" or \"none\".")
	case forced && req.Thinking != nil && req.Thinking.Type == "enabled":
		return invalid("Thinking may not be enabled when tool_choice forces tool use.")
	}
	return nil
}
