package anthropic

import (
	"github.com/go-json-experiment/json/jsontext"

	"github.com/postern-ai/postern/shared/chat"
)

// noParameters is the schema of a function without parameters, which the API
// cannot do without.
const noParameters = `{"type":"object","properties":{}}`

// offer sets the tools that the model may call.
func (out *request) offer(req *chat.Request) error {
	if len(req.Tools) == 0 {
		return nil
	}
	out.Tools = make([]tool, len(req.Tools))
	known := make(map[string]bool, len(req.Tools))
	for i := range req.Tools {
		where := place{tool: i + 1}
		t, err := declare(&req.Tools[i], where)
		if err != nil {
			return err
		}
		if known[t.Name] {
			at := where.member("function.name")
			return chat.Invalid(at, chat.CodeInvalidValue, "Invalid '%s': another tool has this name. Give each its own.", at)
		}
		known[t.Name], out.Tools[i] = true, t
	}
	return out.choose(req)
}

func declare(t *chat.Tool, where place) (tool, error) {
	f := t.Function
	if f == nil || t.Type != "function" {
		return tool{}, chat.UnsupportedValue(where.member("type"), name, "it knows tools of type 'function' only.")
	}
	declared := tool{
		Name: f.Name, Description: f.Description, InputSchema: f.ObjectSchema(),
		Strict: f.Strict != nil && *f.Strict, CacheControl: cacheOf(t.Unknown),
	}
	if declared.InputSchema == nil {
		declared.InputSchema = jsontext.Value(noParameters)
	}
	own := cacheOf(f.Unknown)
	switch {
	case own == nil:
	case declared.CacheControl != nil:
		at := where.member(cacheControl)
		return tool{}, chat.Invalid(at, chat.CodeInvalidValue, "Invalid '%s': the function has one too. Keep one of the two.", at)
	default:
		declared.CacheControl = own
	}
	return declared, nil
}

// choose sets whether the model may or must call, and how many tools at once.
func (out *request) choose(req *chat.Request) error {
	choice := toolChoice{
		Type:                   "auto",
		DisableParallelToolUse: req.ParallelToolCalls != nil && !*req.ParallelToolCalls,
	}
	if c := req.ToolChoice; c != nil {
		switch c.Mode {
		case chat.ToolChoiceAuto:
		case chat.ToolChoiceNone:
			choice = toolChoice{Type: "none"} // how many is no question then
		case chat.ToolChoiceRequired:
			choice.Type = "any"
		case chat.ToolChoiceFunction:
			choice.Type, choice.Name = "tool", c.Name
		case chat.ToolChoiceAllowed:
			return chat.UnsupportedValue("tool_choice", name, "it takes no list of allowed tools. Send only the tools that may be called.")
		default:
			return chat.UnsupportedValue("tool_choice", name, "it knows 'auto', 'required', 'none' and a function's name.")
		}
	}
	if choice != (toolChoice{Type: "auto"}) {
		out.ToolChoice = new(choice)
	}
	return nil
}
