package anthropic

import (
	"strings"

	"github.com/postern-ai/postern/shared/chat"
)

// converse sets the system prompt and the messages. The API knows two roles
// that take turns, instructions apart from them, and the results of tools as
// something that the user says.
func (out *request) converse(req *chat.Request) error {
	out.Messages = make([]message, 0, len(req.Messages))
	for i := range req.Messages {
		if err := out.message(&req.Messages[i], place{message: i + 1}); err != nil {
			return err
		}
	}
	if len(out.Messages) == 0 {
		return chat.Invalid("messages", chat.CodeInvalidValue, "Invalid 'messages': %s needs at least one message of the user or the assistant that says something.", name)
	}
	return nil
}

func (out *request) message(m *chat.Message, at place) error {
	// Of a tool message the name only repeats that of the call.
	if m.Name != "" && m.Role != chat.RoleTool {
		return chat.Unsupported(at.member("name"), name)
	}
	var blocks []block
	var err error
	switch m.Role {
	case chat.RoleSystem, chat.RoleDeveloper:
		if blocks, err = instruct(m, at); err == nil {
			err = mark(last(blocks), cacheOf(m.Unknown), at)
		}
		out.System = append(out.System, blocks...)
		return err
	case chat.RoleUser:
		blocks, err = ask(m, at)
	case chat.RoleAssistant:
		blocks, err = answer(m, at)
	case chat.RoleTool:
		blocks, err = result(m, at)
	default:
		return chat.UnsupportedValue(at.member("role"), name, "functions are called with 'tools', and their results are messages of role 'tool'.")
	}
	if err != nil {
		return err
	}
	if err := mark(last(blocks), cacheOf(m.Unknown), at); err != nil {
		return err
	}
	role := roleUser
	if m.Role == chat.RoleAssistant {
		role = roleAssistant
	}
	out.add(role, blocks)
	return nil
}

// add appends blocks to the last message if that is of the same role. What the
// API would make of two such messages is the same; but only as one is it certain
// that all results of tools stand in the message behind their calls.
func (out *request) add(role string, blocks []block) {
	if len(blocks) == 0 {
		return
	}
	if last := len(out.Messages) - 1; last >= 0 && out.Messages[last].Role == role {
		out.Messages[last].Content = append(out.Messages[last].Content, blocks...)
		return
	}
	out.Messages = append(out.Messages, message{Role: role, Content: blocks})
}

// text returns a text as a block, and false for one that the API refuses: one
// that is empty or nothing but space.
func text(p *chat.Part, said string, at place) (block, bool, error) {
	cache := cacheOf(p.Unknown)
	if strings.TrimSpace(said) == "" {
		return block{}, false, mark(nil, cache, at)
	}
	return block{Type: blockText, Text: said, CacheControl: cache}, true, nil
}

func instruct(m *chat.Message, at place) ([]block, error) {
	var blocks []block
	for j, p := range m.Content.All() {
		at.part = j + 1
		if p.Type != chat.PartText {
			return nil, unsupportedPart(&p, at)
		}
		b, ok, err := text(&p, p.Text, at)
		if err != nil {
			return nil, err
		}
		if ok {
			blocks = append(blocks, b)
		}
	}
	return blocks, nil
}

func ask(m *chat.Message, at place) ([]block, error) {
	blocks, err := show(m, at)
	if err == nil && len(blocks) == 0 {
		at := at.member("content")
		err = chat.Invalid(at, chat.CodeInvalidValue, "Invalid '%s': %s refuses an empty message. Say something, or leave the message out.", at, name)
	}
	return blocks, err
}

// show reads texts and images.
func show(m *chat.Message, at place) ([]block, error) {
	var blocks []block
	for j, p := range m.Content.All() {
		at.part = j + 1
		switch {
		case p.Type == chat.PartText:
			b, ok, err := text(&p, p.Text, at)
			if err != nil {
				return nil, err
			}
			if ok {
				blocks = append(blocks, b)
			}
		case p.Type == chat.PartImage && p.ImageURL != nil:
			b, err := image(p.ImageURL, at)
			if err != nil {
				return nil, err
			}
			if err := mark(&b, cacheOf(p.Unknown), at); err != nil {
				return nil, err
			}
			blocks = append(blocks, b)
		default:
			return nil, unsupportedPart(&p, at)
		}
	}
	return blocks, nil
}

// answer reads what the model said before. A message that says and calls
// nothing adds nothing to the conversation and would be refused, so it is left
// out.
func answer(m *chat.Message, at place) ([]block, error) {
	if isSet(m.Audio) {
		return nil, chat.Unsupported(at.member("audio"), name)
	}
	if isSet(m.FunctionCall) {
		return nil, chat.Unsupported(at.member("function_call"), name)
	}
	said := make([]block, 0, 1+len(m.ToolCalls))
	for j, p := range m.Content.All() {
		words := p.Text
		at.part = j + 1
		switch p.Type {
		case chat.PartText:
		case chat.PartRefusal:
			words = p.Refusal
		default:
			return nil, unsupportedPart(&p, at)
		}
		b, ok, err := text(&p, words, at)
		if err != nil {
			return nil, err
		}
		if ok {
			said = append(said, b)
		}
	}
	if strings.TrimSpace(m.Refusal) != "" {
		said = append(said, block{Type: blockText, Text: m.Refusal})
	}
	at.part = 0
	return calls(said, m.ToolCalls, at)
}

// result reads what a tool answered. An empty answer is one.
func result(m *chat.Message, at place) ([]block, error) {
	if !isToolID(m.ToolCallID) {
		return nil, wrongID(at.member("tool_call_id"))
	}
	content, err := show(m, at)
	if err != nil {
		return nil, err
	}
	return []block{{Type: blockToolResult, ToolUseID: m.ToolCallID, Content: content}}, nil
}

func unsupportedPart(p *chat.Part, at place) error {
	switch p.Type {
	case chat.PartImage, chat.PartInputAudio, chat.PartFile:
		return chat.Unsupported(at.member(p.Type), name)
	case chat.PartRefusal, chat.PartText:
		return chat.UnsupportedValue(at.member("type"), name, "this role takes no part of type '"+p.Type+"'.")
	}
	return chat.UnsupportedValue(at.member("type"), name, "it takes parts of type 'text' and, from users and tools, 'image_url'.")
}
