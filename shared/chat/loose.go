package chat

import (
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// decodeLoosely reads an answer or a chunk as [decodeAnswer] does. Where a
// member has another type than OpenAI's, as some servers are known to have it,
// that is put right first:
//
//   - created with a fraction, or as a text (SambaNova);
//   - content as a list of texts and thoughts (Mistral, once a model reasons);
//   - the arguments of a call as an object (Text Generation Inference).
func decodeLoosely[T any](data []byte, into *T) (clean bool, err error) {
	clean, err = decodeAnswer(data, into)
	if err == nil {
		return clean, nil
	}
	mended, ok := tighten(data)
	if !ok {
		return false, err
	}
	var fresh T
	if _, again := decodeAnswer(mended, &fresh); again != nil {
		return false, err
	}
	*into = fresh
	return false, nil
}

// loose is an answer or a chunk, with the members whose type differs as they
// came.
type loose struct {
	Created jsontext.Value `json:"created,omitzero"`
	Choices []looseChoice  `json:"choices,omitzero"`
	Rest    jsontext.Value `json:",embed"`
}

type looseChoice struct {
	Message *looseMessage  `json:"message,omitzero"`
	Delta   *looseMessage  `json:"delta,omitzero"`
	Rest    jsontext.Value `json:",embed"`
}

type looseMessage struct {
	Content          jsontext.Value `json:"content,omitzero"`
	ReasoningContent string         `json:"reasoning_content,omitzero"`
	ToolCalls        []looseCall    `json:"tool_calls,omitzero"`
	Rest             jsontext.Value `json:",embed"`
}

type looseCall struct {
	Function *looseFunction `json:"function,omitzero"`
	Rest     jsontext.Value `json:",embed"`
}

type looseFunction struct {
	Arguments jsontext.Value `json:"arguments,omitzero"`
	Rest      jsontext.Value `json:",embed"`
}

// tighten rewrites an answer with OpenAI's types. It reports false for one that
// holds something of which nobody knows what it would be there.
func tighten(data []byte) ([]byte, bool) {
	var l loose
	if _, err := decodeAnswer(data, &l); err != nil {
		return nil, false
	}
	l.Created = wholeSeconds(l.Created)
	for i := range l.Choices {
		for _, m := range []*looseMessage{l.Choices[i].Message, l.Choices[i].Delta} {
			if m != nil && !m.tighten() {
				return nil, false
			}
		}
	}
	mended, err := json.Marshal(&l)
	return mended, err == nil
}

// wholeSeconds returns a time without its fraction, and nothing for what is not
// a time: clients only show it.
func wholeSeconds(v jsontext.Value) jsontext.Value {
	if v.Kind() != jsontext.KindNumber {
		return nil
	}
	seconds, err := strconv.ParseFloat(string(v), 64)
	if err != nil || seconds < 0 || seconds > 1<<40 {
		return nil
	}
	return strconv.AppendInt(nil, int64(seconds), 10)
}

func (m *looseMessage) tighten() bool {
	if m.Content.Kind() == jsontext.KindBeginArray {
		said, thought, ok := textAndThoughts(m.Content)
		if !ok {
			return false
		}
		m.Content = nil
		if said != "" {
			m.Content = quoted(said)
		}
		m.ReasoningContent += thought
	}
	for i := range m.ToolCalls {
		f := m.ToolCalls[i].Function
		if f == nil || f.Arguments.Kind() != jsontext.KindBeginObject {
			continue
		}
		if f.Arguments.Compact() != nil {
			return false
		}
		f.Arguments = quoted(string(f.Arguments))
	}
	return true
}

// textAndThoughts reads a list of parts, where a thought may be a list itself.
func textAndThoughts(v jsontext.Value) (said, thought string, ok bool) {
	var parts []struct {
		Type     string         `json:"type"`
		Text     string         `json:"text"`
		Thinking jsontext.Value `json:"thinking"`
	}
	if _, err := decodeAnswer(v, &parts); err != nil {
		return "", "", false
	}
	var texts, thoughts strings.Builder
	for i := range parts {
		switch p := &parts[i]; {
		case p.Type == "text" || p.Type == "output_text":
			texts.WriteString(p.Text)
		case p.Type == "thinking" && p.Thinking.Kind() == jsontext.KindBeginArray:
			inner, _, ok := textAndThoughts(p.Thinking)
			if !ok {
				return "", "", false
			}
			thoughts.WriteString(inner)
		case p.Type == "thinking":
			thoughts.WriteString(plainText(p.Thinking))
		default:
			return "", "", false
		}
	}
	return texts.String(), thoughts.String(), true
}

// quoted returns a text as JSON. One that came out of JSON always goes back.
func quoted(s string) jsontext.Value {
	v, err := jsontext.AppendQuote(nil, s)
	if err != nil {
		return nil
	}
	return v
}
