package chat

import (
	"strconv"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// AppendJSON appends the chunk's fields as one JSON object to dst. What a
// stream mainly consists of, a text that is added to one choice, is written
// without reflection, to the same bytes.
func (c *Chunk) AppendJSON(dst []byte) ([]byte, error) {
	name, text := c.addition()
	if name == "" {
		all, err := json.Marshal(c)
		return append(dst, all...), err
	}
	w := appender{buf: dst}
	w.quote(`{"id":`, c.ID)
	w.quote(`,"object":`, c.Object)
	w.number(`,"created":`, c.Created)
	w.quote(`,"model":`, c.Model)
	w.number(`,"choices":[{"index":`, c.Choices[0].Index)
	w.quote(`,"delta":{"`+name+`":`, text)
	return append(w.buf, `},"finish_reason":null}]}`...), w.err
}

// addition returns the text that is all that the chunk adds, and the name of
// its member. The name is empty if there is more, or something else.
func (c *Chunk) addition() (name, text string) {
	if len(c.Choices) != 1 || c.Usage != nil || c.ServiceTier != "" || c.SystemFingerprint != "" || c.Unknown != nil {
		return "", ""
	}
	choice := &c.Choices[0]
	d := &choice.Delta
	if choice.FinishReason != nil || choice.Logprobs != nil || choice.Unknown != nil ||
		d.Role != "" || d.Refusal != nil || d.ToolCalls != nil || d.Unknown != nil {
		return "", ""
	}
	switch {
	case d.Content != nil && d.ReasoningContent == nil:
		return "content", *d.Content
	case d.ReasoningContent != nil && d.Content == nil:
		return "reasoning_content", *d.ReasoningContent
	}
	return "", ""
}

// appender writes JSON and keeps the first error.
type appender struct {
	buf []byte
	err error
}

// quote writes what stands before a string, and the string. Its only error is
// a text that is not UTF-8.
func (a *appender) quote(before string, text string) {
	var err error
	a.buf, err = jsontext.AppendQuote(append(a.buf, before...), text)
	if a.err == nil {
		a.err = err
	}
}

func (a *appender) number(before string, n int64) {
	a.buf = strconv.AppendInt(append(a.buf, before...), n, 10)
}
