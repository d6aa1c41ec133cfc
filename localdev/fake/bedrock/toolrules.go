package bedrock

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

func (u *toolUse) check(role, at string) *failure {
	switch {
	case role != "assistant":
		return invalid("The toolUse block at %s is in a user message. It is allowed in assistant messages only.", at)
	case !toolID.MatchString(u.ToolUseID):
		return constraint(at+".toolUse.toolUseId", "Member must satisfy regular expression pattern: [a-zA-Z0-9_.:-]+")
	case !toolName.MatchString(u.Name):
		return constraint(at+".toolUse.name", "Member must satisfy regular expression pattern: [a-zA-Z0-9_-]+")
	case !isObject(u.Input):
		return invalid("The format of the value at %s.toolUse.input is invalid. Provide a json object for the field and try again.", at)
	}
	return nil
}

func (r *toolResult) check(model Model, role, at string) *failure {
	switch {
	case role != "user":
		return invalid("The toolResult block at %s is in an assistant message. It is allowed in user messages only.", at)
	case !toolID.MatchString(r.ToolUseID):
		return constraint(at+".toolResult.toolUseId", "Member must satisfy regular expression pattern: [a-zA-Z0-9_.:-]+")
	case r.Content == nil:
		return constraint(at+".toolResult.content", "Member must not be null")
	case r.Status != "" && r.Status != "success" && r.Status != "error":
		return constraint(at+".toolResult.status", "Member must satisfy enum value set: [success, error]")
	}
	for j, part := range r.Content {
		at := fmt.Sprintf("%s.toolResult.content.%d", at, j)
		if part.Document != nil || part.Video != nil || part.SearchResult != nil {
			return unplayed("this kind of tool result")
		}
		set := 0
		for _, is := range []bool{part.Text != nil, part.JSON != nil, part.Image != nil} {
			if is {
				set++
			}
		}
		if set != 1 {
			return invalid("The ToolResultContentBlock object at %s must set one and only one of its members.", at)
		}
		if part.JSON != nil && !isObject(part.JSON) {
			return invalid("The format of the value at %s.json is invalid. Provide a json object for the field and try again.", at)
		}
		if part.Image != nil {
			if f := part.Image.check(model, at); f != nil {
				return f
			}
		}
	}
	return nil
}

// checkToolTurns holds every call against the results of the turn after it.
func (req *request) checkToolTurns(Model) *failure {
	var open []string
	used := map[string]bool{}
	blocks := false
	for i, m := range req.Messages {
		answered := 0
		for _, b := range m.Content {
			if b.ToolResult == nil {
				continue
			}
			blocks = true
			k := slices.Index(open, b.ToolResult.ToolUseID)
			if k < 0 {
				return invalid("The number of toolResult blocks at messages.%d.content exceeds the number of toolUse blocks of previous turn.", i)
			}
			open = slices.Delete(open, k, k+1)
			answered++
		}
		if len(open) > 0 {
			return invalid("Expected toolResult blocks at messages.%d.content for the following Ids: %s", i, strings.Join(open, ", "))
		}
		for _, b := range m.Content {
			if b.ToolUse == nil {
				continue
			}
			blocks = true
			if used[b.ToolUse.ToolUseID] {
				return invalid("The model returned the following errors: messages.%d: `tool_use` ids must be unique", i)
			}
			used[b.ToolUse.ToolUseID] = true
			open = append(open, b.ToolUse.ToolUseID)
		}
	}
	if len(open) > 0 {
		return invalid("Expected toolResult blocks at messages.%d.content for the following Ids: %s", len(req.Messages), strings.Join(open, ", "))
	}
	if blocks && req.ToolConfig == nil {
		return invalid("The toolConfig field must be defined when using toolUse and toolResult content blocks.")
	}
	return nil
}

func (req *request) checkTools(Model) *failure {
	c := req.ToolConfig
	if c == nil {
		return nil
	}
	if len(c.Tools) == 0 {
		return constraint("toolConfig.tools", "Member must have length greater than or equal to 1")
	}
	names := map[string]bool{}
	for i, t := range c.Tools {
		at := fmt.Sprintf("toolConfig.tools.%d", i)
		if t.ToolSpec == nil || t.SystemTool != nil || t.CachePoint != nil {
			return unplayed("tools other than toolSpec")
		}
		if f := t.ToolSpec.check(at + ".toolSpec"); f != nil {
			return f
		}
		if names[t.ToolSpec.Name] {
			return invalid("The tool name at %s.toolSpec.name is already used by another tool. Tool names must be unique.", at)
		}
		names[t.ToolSpec.Name] = true
	}
	if choice := c.ToolChoice; choice != nil {
		set := 0
		for _, is := range []bool{choice.Auto != nil, choice.Any != nil, choice.Tool != nil} {
			if is {
				set++
			}
		}
		if set != 1 {
			return invalid("The ToolChoice object at toolConfig.toolChoice must set one and only one of its members.")
		}
		if choice.Tool != nil && !names[choice.Tool.Name] {
			return invalid("The tool name at toolConfig.toolChoice.tool.name is not one of the tools at toolConfig.tools.")
		}
	}
	return nil
}

func (t *toolSpec) check(at string) *failure {
	if !toolName.MatchString(t.Name) {
		return constraint(at+".name", "Member must satisfy regular expression pattern: [a-zA-Z0-9_-]+")
	}
	if t.Description != nil && *t.Description == "" {
		return constraint(at+".description", "Member must have length greater than or equal to 1")
	}
	var schema struct {
		Type string `json:"type"`
	}
	if !isObject(t.InputSchema.JSON) || json.Unmarshal(t.InputSchema.JSON, &schema) != nil || schema.Type != "object" {
		return invalid("The value at %s.inputSchema.json.type must be one of the following: object.", at)
	}
	return nil
}

// checkAdditional holds a model's own parameters against what Converse makes of
// the rest of the request.
func (req *request) checkAdditional(model Model) *failure {
	a := req.AdditionalModelRequestFields
	if a == nil {
		return nil
	}
	var unknown map[string]jsontext.Value
	if a.Unknown != nil {
		_ = json.Unmarshal(a.Unknown, &unknown)
	}
	if a.ToolChoice != nil && !model.anthropic() {
		unknown = map[string]jsontext.Value{"tool_choice": nil}
	}
	if keys := slices.Sorted(maps.Keys(unknown)); len(keys) > 0 {
		return invalid("The model returned the following errors: Malformed input request: #: extraneous key [%s] is not permitted, please reformat your input and try again.", keys[0])
	}
	if a.ToolChoice == nil {
		return nil
	}
	if req.ToolConfig == nil {
		return invalid("The model returned the following errors: tool_choice: may only be specified while providing tools")
	}
	native := req.ToolConfig.ToolChoice
	if native == nil {
		if !slices.Contains([]string{"auto", "any", "tool", "none"}, a.ToolChoice.Type) {
			return invalid("The model returned the following errors: tool_choice.type: Field required")
		}
		return nil
	}
	if a.ToolChoice.Type != "" {
		member := "auto"
		switch {
		case native.Any != nil:
			member = "any"
		case native.Tool != nil:
			member = "tool"
		}
		return invalid("The additional field tool_choice/type conflicts with the existing field toolConfig.toolChoice.%s. Remove tool_choice/type and try again.", member)
	}
	return nil
}
