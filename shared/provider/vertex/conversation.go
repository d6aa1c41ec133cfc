package vertex

import (
	"fmt"

	"github.com/postern-ai/postern/shared/chat"
)

// conversation turns messages into contents. Gemini knows two roles that take
// turns; results of functions are the user's.
type conversation struct {
	generation generation
	system     []part
	contents   []content
	// open are the calls that still lack a result. The parts of the results are
	// laid out when the calls are read, so that they stand in the order of the
	// calls however the messages are ordered: models that know no call ids match
	// them by it.
	open []openCall
}

type openCall struct {
	id   string
	part int // within the last content
}

// converse sets the contents and the system instruction.
func (out *request) converse(req *chat.Request, g generation) error {
	c := conversation{generation: g, contents: make([]content, 0, len(req.Messages))}
	for i := range req.Messages {
		if err := c.message(&req.Messages[i], i); err != nil {
			return err
		}
	}
	if len(c.open) > 0 {
		return c.unanswered(len(req.Messages) - 1)
	}
	if len(c.contents) == 0 {
		return chat.Invalid("messages", chat.CodeInvalidValue, "Invalid 'messages': %s needs at least one message of the user or the assistant that says something.", name)
	}
	if g.levels() {
		signOff(c.contents)
	}
	out.Contents = c.contents
	if len(c.system) > 0 {
		out.SystemInstruction = &content{Parts: c.system}
	}
	return nil
}

func (c *conversation) message(m *chat.Message, i int) error {
	if m.Role != chat.RoleTool && len(c.open) > 0 {
		return c.unanswered(i)
	}
	if m.Name != "" && m.Role != chat.RoleTool && m.Role != chat.RoleFunction {
		return chat.Unsupported(fmt.Sprintf("messages[%d].name", i), name)
	}
	switch m.Role {
	case chat.RoleSystem, chat.RoleDeveloper:
		return c.instruct(m, i)
	case chat.RoleUser:
		return c.ask(m, i)
	case chat.RoleAssistant:
		return c.answer(m, i)
	case chat.RoleTool:
		return c.result(m, i)
	}
	return chat.UnsupportedValue(fmt.Sprintf("messages[%d].role", i), name, "functions are called with 'tools', and their results are messages of role 'tool'.")
}

// add appends parts to the last content if that is of the same role. Results of
// functions stay among themselves: beside anything else newer models take them
// for a turn of the model, and refuse a conversation that ends with one.
func (c *conversation) add(role string, parts ...part) {
	if len(parts) == 0 {
		return
	}
	if last := len(c.contents) - 1; last >= 0 && c.contents[last].Role == role && !hasResults(c.contents[last].Parts) {
		c.contents[last].Parts = append(c.contents[last].Parts, parts...)
		return
	}
	c.contents = append(c.contents, content{Role: role, Parts: parts})
}

func (c *conversation) instruct(m *chat.Message, i int) error {
	for j, p := range m.Content.All() {
		if p.Type != chat.PartText {
			return unsupportedPart(p, i, j)
		}
		if p.Text != "" {
			c.system = append(c.system, part{Text: p.Text})
		}
	}
	return nil
}

func (c *conversation) ask(m *chat.Message, i int) error {
	if text, ok := m.Content.Plain(); ok && text != "" {
		c.add(roleUser, part{Text: text})
		return nil
	}
	var parts []part
	for j, p := range m.Content.All() {
		switch {
		case p.Type == chat.PartText && p.Text == "":
		case p.Type == chat.PartText:
			parts = append(parts, part{Text: p.Text})
		case p.Type == chat.PartImage:
			image, err := c.image(p.ImageURL, fmt.Sprintf("messages[%d].content[%d].image_url", i, j))
			if err != nil {
				return err
			}
			parts = append(parts, image)
		default:
			return unsupportedPart(p, i, j)
		}
	}
	if len(parts) == 0 {
		at := fmt.Sprintf("messages[%d].content", i)
		return chat.Invalid(at, chat.CodeInvalidValue, "Invalid '%s': %s refuses an empty message. Say something, or leave the message out.", at, name)
	}
	c.add(roleUser, parts...)
	return nil
}

// answer reads what the model said before. An assistant message that says and
// calls nothing adds nothing to the conversation, and an empty content would be
// refused, so it is left out.
func (c *conversation) answer(m *chat.Message, i int) error {
	if isSet(m.Audio) {
		return chat.Unsupported(fmt.Sprintf("messages[%d].audio", i), name)
	}
	if isSet(m.FunctionCall) {
		return chat.Unsupported(fmt.Sprintf("messages[%d].function_call", i), name)
	}
	parts := make([]part, 0, 1+len(m.ToolCalls))
	for j, p := range m.Content.All() {
		text := p.Text
		switch p.Type {
		case chat.PartText:
		case chat.PartRefusal:
			text = p.Refusal
		default:
			return unsupportedPart(p, i, j)
		}
		if text != "" {
			parts = append(parts, part{Text: text})
		}
	}
	if m.Refusal != "" {
		parts = append(parts, part{Text: m.Refusal})
	}
	for j := range m.ToolCalls {
		call, err := c.call(&m.ToolCalls[j], fmt.Sprintf("messages[%d].tool_calls[%d]", i, j))
		if err != nil {
			return err
		}
		parts = append(parts, call)
	}
	c.add(roleModel, parts...)
	c.expect(m.ToolCalls)
	return nil
}

func (c *conversation) unanswered(i int) error {
	at := fmt.Sprintf("messages[%d]", i)
	return chat.Invalid(at, chat.CodeInvalidValue, "Invalid '%s': every tool call of the assistant message before it needs a tool message that answers it.", at)
}

func unsupportedPart(p chat.Part, i, j int) error {
	at := fmt.Sprintf("messages[%d].content[%d]", i, j)
	switch p.Type {
	case chat.PartImage, chat.PartInputAudio, chat.PartFile:
		return chat.Unsupported(at+"."+p.Type, name)
	case chat.PartRefusal, chat.PartText:
		return chat.UnsupportedValue(at+".type", name, "this role takes no part of type '"+p.Type+"'.")
	}
	return chat.UnsupportedValue(at+".type", name, "it takes parts of type 'text' and, from the user, 'image_url'.")
}
