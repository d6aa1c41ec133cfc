package bedrock

import (
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/bedrockruntime/types"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/postern-ai/postern/shared/chat"
)

// conversation turns messages into those of Converse, which knows two roles
// that take turns, instructions apart from them, and the results of tools as
// something that the user says.
type conversation struct {
	system   []types.SystemContentBlock
	messages []types.Message
	images   int // in the last message

	// called are the names of the tools that have been called, each once.
	called []string
}

func converse(messages []chat.Message) (*conversation, error) {
	c := &conversation{messages: make([]types.Message, 0, len(messages))}
	for i := range messages {
		if err := c.message(&messages[i], fmt.Sprintf("messages[%d]", i)); err != nil {
			return nil, err
		}
	}
	if len(c.messages) == 0 || c.messages[0].Role != types.ConversationRoleUser {
		return nil, chat.Invalid("messages", chat.CodeInvalidValue, "Invalid 'messages': a conversation with %s starts with a user message. Put one before the first assistant message.", name)
	}
	return c, nil
}

func (c *conversation) message(m *chat.Message, at string) error {
	if m.Role == chat.RoleTool {
		return c.result(m, at) // whose name only repeats that of the call
	}
	if m.Name != "" && m.Role != chat.RoleFunction {
		return chat.Unsupported(at+".name", name)
	}
	switch m.Role {
	case chat.RoleSystem, chat.RoleDeveloper:
		return c.instruct(m, at)
	case chat.RoleUser:
		return c.ask(m, at)
	case chat.RoleAssistant:
		return c.answer(m, at)
	}
	return chat.UnsupportedValue(at+".role", name, "functions are called with 'tools', and their results are messages of role 'tool'.")
}

// add appends blocks to the last message if that is of the same role.
func (c *conversation) add(role types.ConversationRole, blocks ...types.ContentBlock) {
	if len(blocks) == 0 {
		return
	}
	if last := len(c.messages) - 1; last >= 0 && c.messages[last].Role == role {
		c.messages[last].Content = append(c.messages[last].Content, blocks...)
		return
	}
	c.messages = append(c.messages, types.Message{Role: role, Content: blocks})
	c.images = 0
}

// isBlank reports whether the service would refuse a text: it takes none that
// is empty or nothing but space, neither alone nor beside others.
func isBlank(s string) bool { return strings.TrimSpace(s) == "" }

func (c *conversation) instruct(m *chat.Message, at string) error {
	for j, p := range m.Content.All() {
		if p.Type != chat.PartText {
			return unsupportedPart(p, at, j)
		}
		if !isBlank(p.Text) {
			c.system = append(c.system, &types.SystemContentBlockMemberText{Value: p.Text})
		}
	}
	return nil
}

func (c *conversation) ask(m *chat.Message, at string) error {
	var blocks []types.ContentBlock
	images := 0
	for j, p := range m.Content.All() {
		switch {
		case p.Type == chat.PartText && isBlank(p.Text):
		case p.Type == chat.PartText:
			blocks = append(blocks, &types.ContentBlockMemberText{Value: p.Text})
		case p.Type == chat.PartImage && p.ImageURL != nil:
			block, err := image(p.ImageURL, fmt.Sprintf("%s.content[%d].image_url", at, j))
			if err != nil {
				return err
			}
			blocks = append(blocks, &types.ContentBlockMemberImage{Value: block})
			images++
		default:
			return unsupportedPart(p, at, j)
		}
	}
	if len(blocks) == 0 {
		return chat.Invalid(at+".content", chat.CodeInvalidValue, "Invalid '%s.content': %s refuses an empty message. Say something, or leave the message out.", at, name)
	}
	c.add(types.ConversationRoleUser, blocks...)
	if c.images += images; c.images > maxImages {
		return chat.Invalid(at+".content", chat.CodeInvalidValue, "Invalid '%s.content': %s takes at most %d images in what the user says at once.", at, name, maxImages)
	}
	return nil
}

// answer reads what the model said before. A message that says and calls
// nothing adds nothing to the conversation and would be refused, so it is left
// out.
func (c *conversation) answer(m *chat.Message, at string) error {
	if isSet(m.Audio) {
		return chat.Unsupported(at+".audio", name)
	}
	if isSet(m.FunctionCall) {
		return chat.Unsupported(at+".function_call", name)
	}
	blocks := make([]types.ContentBlock, 0, 1+len(m.ToolCalls))
	say := func(text string) {
		if !isBlank(text) {
			blocks = append(blocks, &types.ContentBlockMemberText{Value: text})
		}
	}
	for j, p := range m.Content.All() {
		switch p.Type {
		case chat.PartText:
			say(p.Text)
		case chat.PartRefusal:
			say(p.Refusal)
		default:
			return unsupportedPart(p, at, j)
		}
	}
	say(m.Refusal)
	for j := range m.ToolCalls {
		block, err := c.call(&m.ToolCalls[j], fmt.Sprintf("%s.tool_calls[%d]", at, j))
		if err != nil {
			return err
		}
		blocks = append(blocks, block)
	}
	c.add(types.ConversationRoleAssistant, blocks...)
	return nil
}

func (c *conversation) call(call *chat.ToolCall, at string) (types.ContentBlock, error) {
	if call.Function == nil || call.Type != "" && call.Type != "function" {
		return nil, chat.UnsupportedValue(at+".type", name, "it knows tools of type 'function' only.")
	}
	if !isToolID(call.ID) {
		return nil, chat.UnsupportedValue(at+".id", name, "an id has 1 to 64 letters, digits and _ . : - without other signs. Change it here and in the tool message that answers it.")
	}
	if !isToolName(call.Function.Name) {
		return nil, chat.UnsupportedValue(at+".function.name", name, "a name has 1 to 64 letters, digits, underscores and dashes.")
	}
	input := jsontext.Value(strings.TrimSpace(call.Function.Arguments))
	if len(input) == 0 {
		input = jsontext.Value("{}")
	}
	if input.Kind() != jsontext.KindBeginObject || !input.IsValid() {
		return nil, chat.Invalid(at+".function.arguments", chat.CodeInvalidValue, "Invalid '%s.function.arguments': %s takes a JSON object only. If the model wrote this, leave the call and its answer out, or mend it.", at, name)
	}
	c.note(call.Function.Name)
	return &types.ContentBlockMemberToolUse{Value: types.ToolUseBlock{
		ToolUseId: &call.ID, Name: &call.Function.Name, Input: verbatim{json: input},
	}}, nil
}

// note remembers that a tool has been called.
func (c *conversation) note(tool string) {
	if !slices.Contains(c.called, tool) {
		c.called = append(c.called, tool)
	}
}

// result reads what a tool answered. An empty answer is one, and the service
// takes it.
func (c *conversation) result(m *chat.Message, at string) error {
	block := types.ToolResultBlock{ToolUseId: aws.String(m.ToolCallID), Content: []types.ToolResultContentBlock{}}
	images := 0
	for j, p := range m.Content.All() {
		switch {
		case p.Type == chat.PartText:
			block.Content = append(block.Content, &types.ToolResultContentBlockMemberText{Value: p.Text})
		case p.Type == chat.PartImage && p.ImageURL != nil:
			shown, err := image(p.ImageURL, fmt.Sprintf("%s.content[%d].image_url", at, j))
			if err != nil {
				return err
			}
			block.Content = append(block.Content, &types.ToolResultContentBlockMemberImage{Value: shown})
			images++
		default:
			return unsupportedPart(p, at, j)
		}
	}
	if !isToolID(m.ToolCallID) {
		return chat.UnsupportedValue(at+".tool_call_id", name, "an id has 1 to 64 letters, digits and _ . : - without other signs.")
	}
	c.add(types.ConversationRoleUser, &types.ContentBlockMemberToolResult{Value: block})
	if c.images += images; c.images > maxImages {
		return chat.Invalid(at+".content", chat.CodeInvalidValue, "Invalid '%s.content': %s takes at most %d images at once.", at, name, maxImages)
	}
	return nil
}

func unsupportedPart(p chat.Part, at string, j int) error {
	at = fmt.Sprintf("%s.content[%d]", at, j)
	switch p.Type {
	case chat.PartImage, chat.PartInputAudio, chat.PartFile:
		return chat.Unsupported(at+"."+p.Type, name)
	case chat.PartRefusal, chat.PartText:
		return chat.UnsupportedValue(at+".type", name, "this role takes no part of type '"+p.Type+"'.")
	}
	return chat.UnsupportedValue(at+".type", name, "it takes parts of type 'text' and, from users and tools, 'image_url'.")
}

func isToolID(s string) bool {
	return len(s) >= 1 && len(s) <= 64 && consists(s, "_.:-")
}

func isToolName(s string) bool {
	return len(s) >= 1 && len(s) <= 64 && consists(s, "_-")
}
