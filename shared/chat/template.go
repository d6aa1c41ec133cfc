package chat

import (
	"bytes"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// template recognises events that differ from an earlier one in their texts
// alone. It is the bytes between those texts: where they are the same, and a
// valid JSON string stands in each gap, the event means what the earlier one
// meant, with the new texts.
type template struct {
	chunk   *Chunk
	fixed   [][]byte // one more than gaps
	gaps    []gap
	raw     [][]byte
	unknown [2][]byte // what stands around the obfuscation in chunk.Unknown
	text    []byte
	learned int // how often one was made,
	filled  int // and how often that paid
}

// gap is a place in a chunk where texts differ.
type gap string

const (
	gapContent     gap = "/choices/0/delta/content"
	gapReasoning   gap = "/choices/0/delta/reasoning_content"
	gapArguments   gap = "/choices/0/delta/tool_calls/0/function/arguments"
	gapObfuscation gap = "/obfuscation"
)

// learn makes the template from an event, unless making them has not paid off:
// there are streams in which every event is different.
func (t *template) learn(c *Chunk, data []byte) {
	if t.learned > 8 && t.filled < 4*t.learned {
		return
	}
	t.learned++
	t.chunk, t.fixed, t.gaps = nil, t.fixed[:0], t.gaps[:0]
	kept, from := bytes.Clone(data), 0
	for at, where := range texts(kept) {
		if where == gapObfuscation && !t.surround(c.Unknown) {
			return
		}
		t.fixed = append(t.fixed, kept[from:at[0]])
		t.gaps = append(t.gaps, where)
		from = at[1]
	}
	if len(t.gaps) == 0 {
		return
	}
	t.fixed = append(t.fixed, kept[from:])
	t.raw = make([][]byte, len(t.gaps))
	t.chunk = c
}

// forget makes the template fit nothing.
func (t *template) forget() { t.chunk = nil }

// surround finds the obfuscation among the unknown members.
func (t *template) surround(unknown jsontext.Value) bool {
	for at, where := range texts(unknown) {
		if where == gapObfuscation {
			t.unknown = [2][]byte{bytes.Clone(unknown[:at[0]]), bytes.Clone(unknown[at[1]:])}
			return true
		}
	}
	return false
}

// texts yields where in data the texts stand that may differ, each from its
// opening quote to behind the closing one.
func texts(data []byte) func(func([2]int, gap) bool) {
	return func(yield func([2]int, gap) bool) {
		dec := jsontext.NewDecoder(bytes.NewReader(data))
		for {
			kind, length := dec.StackIndex(dec.StackDepth())
			name := kind == jsontext.KindBeginObject && length%2 == 0
			if dec.PeekKind() != jsontext.KindString || name {
				if _, err := dec.ReadToken(); err != nil {
					return
				}
				continue
			}
			raw, err := dec.ReadValue()
			if err != nil {
				return
			}
			switch where := gap(dec.StackPointer()); where {
			case gapContent, gapReasoning, gapArguments, gapObfuscation:
				end := int(dec.InputOffset())
				if !yield([2]int{end - len(raw), end}, where) {
					return
				}
			}
		}
	}
}

// fill returns the chunk of an event that fits the template, or nil.
func (t *template) fill(data []byte) *Chunk {
	if t.chunk == nil {
		return nil
	}
	rest := data
	for i := range t.gaps {
		if !bytes.HasPrefix(rest, t.fixed[i]) {
			return nil
		}
		rest = rest[len(t.fixed[i]):]
		end := stringEnd(rest)
		if end < 0 {
			return nil
		}
		t.raw[i], rest = rest[:end], rest[end:]
	}
	if !bytes.Equal(rest, t.fixed[len(t.gaps)]) {
		return nil
	}
	for i, where := range t.gaps {
		if !t.set(where, t.raw[i]) {
			return nil
		}
	}
	t.filled++
	t.chunk.Wire = data
	return t.chunk
}

// set puts a text where it belongs in the chunk.
func (t *template) set(where gap, raw []byte) (ok bool) {
	if t.text, ok = unquote(t.text[:0], raw); !ok {
		return false
	}
	delta := &t.chunk.Choices[0].Delta
	switch where {
	case gapContent:
		s := string(t.text)
		delta.Content = &s
	case gapReasoning:
		s := string(t.text)
		delta.ReasoningContent = &s
	case gapArguments:
		delta.ToolCalls[0].Function.Arguments = string(t.text)
	case gapObfuscation:
		u := append(t.chunk.Unknown[:0], t.unknown[0]...)
		t.chunk.Unknown = append(append(u, raw...), t.unknown[1]...)
	}
	return true
}

// unquote appends the text of a JSON string, and reports false if it is not a
// valid one.
func unquote(dst, raw []byte) ([]byte, bool) {
	inner := raw[1 : len(raw)-1]
	for _, c := range inner {
		if c < ' ' || c == '\\' || c >= utf8.RuneSelf {
			dst, err := jsontext.AppendUnquote(dst, raw)
			return dst, err == nil
		}
	}
	return append(dst, inner...), true
}

// stringEnd returns where the JSON string that data begins with ends, or -1.
func stringEnd(data []byte) int {
	if len(data) == 0 || data[0] != '"' {
		return -1
	}
	for i := 1; ; {
		n := bytes.IndexByte(data[i:], '"')
		if n < 0 {
			return -1
		}
		end, escapes := i+n, 0
		for end-escapes > i && data[end-escapes-1] == '\\' {
			escapes++
		}
		if escapes%2 == 0 {
			return end + 1
		}
		i = end + 1
	}
}
