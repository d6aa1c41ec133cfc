package anthropic

import (
	"errors"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/postern-ai/postern/shared/chat"
)

// calls adds the calls that the model made to what it said. What it thought
// comes first, and what it thought before a later call stands before that one.
func calls(said []block, made []chat.ToolCall, at place) ([]block, error) {
	blocks := said
	for i := range made {
		c := &made[i]
		at.call = i + 1
		thoughts, err := thoughtsOf(c.ExtraContent, at)
		if err != nil {
			return nil, err
		}
		if i == 0 && len(thoughts) > 0 {
			blocks = append(thoughts, said...)
		} else {
			blocks = append(blocks, thoughts...)
		}
		b, err := call(c, at)
		if err != nil {
			return nil, err
		}
		blocks = append(blocks, b)
	}
	return blocks, nil
}

func call(c *chat.ToolCall, at place) (block, error) {
	if c.Function == nil || c.Type != "" && c.Type != "function" {
		return block{}, chat.UnsupportedValue(at.member("type"), name, "it knows tools of type 'function' only.")
	}
	if !isToolID(c.ID) {
		return block{}, wrongID(at.member("id"))
	}
	if len(c.Function.Name) > 128 || !isToolID(c.Function.Name) {
		return block{}, chat.UnsupportedValue(at.member("function.name"), name, "a name has 1 to 128 letters, digits, underscores and dashes.")
	}
	input := jsontext.Value(strings.TrimSpace(c.Function.Arguments))
	if len(input) == 0 {
		input = jsontext.Value("{}")
	}
	if input.Kind() != jsontext.KindBeginObject || !input.IsValid() {
		at := at.member("function.arguments")
		return block{}, chat.Invalid(at, chat.CodeInvalidValue, "Invalid '%s': %s takes a JSON object only. If the model wrote this, leave the call and its answer out, or mend it.", at, name)
	}
	b := block{Type: blockToolUse, ID: c.ID, Name: c.Function.Name, Input: input, CacheControl: cacheOf(c.Function.Unknown)}
	return b, mark(&b, cacheOf(c.Unknown), at)
}

// isToolID holds the pattern that the API's errors state for tool_use.id.
func isToolID(s string) bool {
	for _, c := range []byte(s) {
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '-') {
			return false
		}
	}
	return s != ""
}

func wrongID(at string) error {
	return chat.UnsupportedValue(at, name, "an id has letters, digits, underscores and dashes without other signs. Change it in the call and in the tool message that answers it.")
}

// extraContent carries what the model thought before a call. It has to come back
// word for word with the call's result: models that think reject a turn that
// has lost part of it, and think worse without. (Claude documentation,
// "Preserving thinking blocks".) The blocks stand under Anthropic's own name,
// beside what other providers keep there.
type extraContent struct {
	Anthropic struct {
		Thoughts []thought `json:"thinking_blocks"`
	} `json:"anthropic"`
}

// thought is a block of reasoning, or what stands for one that is not shown.
type thought struct {
	Type      string  `json:"type"`
	Thinking  *string `json:"thinking,omitzero"`
	Signature string  `json:"signature,omitzero"`
	Data      string  `json:"data,omitzero"`
}

func thoughtsOf(v jsontext.Value, where place) ([]block, error) {
	if !isSet(v) {
		return nil, nil
	}
	var extra extraContent
	if err := json.Unmarshal(v, &extra); err != nil {
		at := where.member("extra_content")
		return nil, chat.Invalid(at, chat.CodeInvalidType, `Invalid type for '%s': expected {"anthropic":{"thinking_blocks":[...]}} as the answer had it.`, at)
	}
	var blocks []block
	for _, t := range extra.Anthropic.Thoughts {
		b := block{Type: t.Type, Thinking: t.Thinking, Signature: t.Signature, Data: t.Data}
		isWhole := t.Type == blockThinking && t.Thinking != nil && t.Data == "" ||
			t.Type == blockRedacted && t.Thinking == nil && t.Signature == "" && t.Data != ""
		if !isWhole {
			at := where.member("extra_content")
			return nil, chat.Invalid(at, chat.CodeInvalidValue, "Invalid '%s': this is no block of thinking. Send it back as the answer had it.", at)
		}
		blocks = append(blocks, b)
	}
	return blocks, nil
}

// maxThoughts bounds what is kept of an answer's thoughts to go with its calls,
// in bytes. No model thinks as much.
const maxThoughts = 8 << 20

var errThoughts = errors.New("the thoughts of the answer are longer than any model's")

// thoughts gathers the blocks of thinking that have not gone out with a call.
type thoughts struct {
	blocks []thought
	size   int
}

func (t *thoughts) add(b thought) error {
	if b.Thinking != nil {
		t.size += len(*b.Thinking)
	}
	if t.size += len(b.Signature) + len(b.Data); t.size > maxThoughts {
		return errThoughts
	}
	t.blocks = append(t.blocks, b)
	return nil
}

// take returns the extra_content of the next call, nil if nothing was thought.
func (t *thoughts) take() jsontext.Value {
	if len(t.blocks) == 0 {
		return nil
	}
	var extra extraContent
	extra.Anthropic.Thoughts, t.blocks = t.blocks, nil
	v, err := json.Marshal(&extra)
	if err != nil {
		return nil // strings that came out of JSON go back into it
	}
	return v
}
