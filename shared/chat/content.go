package chat

import (
	"errors"
	"iter"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Content is what a message says: a plain text, or a list of parts. The zero
// value is no content at all, which an assistant message with tool calls has.
// Which of the two forms the caller chose is kept, since some servers that
// speak this wire accept only one of them for some roles.
type Content struct {
	form  contentForm
	text  string
	parts []Part
}

type contentForm uint8

const (
	formNone contentForm = iota
	formText
	formParts
)

// Text returns content that is a plain text.
func Text(s string) Content { return Content{form: formText, text: s} }

// Parts returns content that is a list of parts.
func Parts(p ...Part) Content { return Content{form: formParts, parts: p} }

// IsZero reports whether the message has no content.
func (c Content) IsZero() bool { return c.form == formNone }

// Plain returns the text and true if the content is a plain text.
func (c Content) Plain() (string, bool) { return c.text, c.form == formText }

// All yields the parts in their order, a plain text as the one part that it
// stands for.
func (c Content) All() iter.Seq2[int, Part] {
	return func(yield func(int, Part) bool) {
		if c.form == formText {
			yield(0, Part{Type: PartText, Text: c.text})
			return
		}
		for i, p := range c.parts {
			if !yield(i, p) {
				return
			}
		}
	}
}

// JoinText returns all text of the content, and false if it holds anything
// besides text.
func (c Content) JoinText() (string, bool) {
	if c.form != formParts {
		return c.text, true
	}
	if len(c.parts) == 1 && c.parts[0].Type == PartText {
		return c.parts[0].Text, true
	}
	var b strings.Builder
	for _, p := range c.parts {
		if p.Type != PartText {
			return "", false
		}
		b.WriteString(p.Text)
	}
	return b.String(), true
}

// errContent is what a value that is neither text nor parts decodes to.
var errContent = errors.New("expected a string or an array of content parts")

// UnmarshalJSONFrom reads a string, an array of parts, or null.
func (c *Content) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	switch dec.PeekKind() {
	case jsontext.KindNull:
		*c = Content{}
		return dec.SkipValue()
	case jsontext.KindString:
		*c = Content{form: formText}
		return json.UnmarshalDecode(dec, &c.text)
	case jsontext.KindBeginArray:
		*c = Content{form: formParts}
		return json.UnmarshalDecode(dec, &c.parts)
	}
	return errContent
}

// MarshalJSONTo writes the form that was read.
func (c Content) MarshalJSONTo(enc *jsontext.Encoder) error {
	switch c.form {
	case formText:
		return enc.WriteToken(jsontext.String(c.text))
	case formParts:
		return json.MarshalEncode(enc, c.parts)
	}
	return enc.WriteToken(jsontext.Null)
}

// plainPart is Part without its methods, for the encoder's default.
type plainPart Part

// textPart is plainPart, but writes an empty text, which plainPart leaves out
// together with the empty members of the other types.
type textPart struct {
	Type       string         `json:"type"`
	Text       string         `json:"text"`
	Refusal    string         `json:"refusal,omitzero"`
	ImageURL   *ImageURL      `json:"image_url,omitzero"`
	InputAudio jsontext.Value `json:"input_audio,omitzero"`
	File       jsontext.Value `json:"file,omitzero"`
	Unknown    jsontext.Value `json:",embed"`
}

// wirePart tells an empty text from a missing one.
type wirePart struct {
	Type       string         `json:"type"`
	Text       *string        `json:"text"`
	Refusal    string         `json:"refusal"`
	ImageURL   *ImageURL      `json:"image_url"`
	InputAudio jsontext.Value `json:"input_audio"`
	File       jsontext.Value `json:"file"`
	Unknown    jsontext.Value `json:",embed"`
}

var (
	errPart     = errors.New("expected an object with a type")
	errPartText = errors.New("a part of type text needs the member text, a string")
)

// UnmarshalJSONFrom reads one part.
func (p *Part) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	if dec.PeekKind() != jsontext.KindBeginObject {
		return errPart
	}
	var w wirePart
	if err := json.UnmarshalDecode(dec, &w); err != nil {
		return err
	}
	if w.Type == PartText && w.Text == nil {
		return errPartText
	}
	*p = Part{
		Type: w.Type, Refusal: w.Refusal, ImageURL: w.ImageURL,
		InputAudio: w.InputAudio, File: w.File, Unknown: w.Unknown,
	}
	if w.Text != nil {
		p.Text = *w.Text
	}
	return nil
}

// MarshalJSONTo writes the part with the member that its type requires, even
// where that is empty.
func (p Part) MarshalJSONTo(enc *jsontext.Encoder) error {
	if p.Type == PartText {
		return json.MarshalEncode(enc, (*textPart)(&p))
	}
	return json.MarshalEncode(enc, (*plainPart)(&p))
}

// Stop lists the sequences at which the model stops. The API takes one string
// or a list; which of the two the caller chose is kept.
type Stop struct {
	Sequences []string
	single    bool
}

// StopAt returns a list of stop sequences.
func StopAt(sequences ...string) Stop { return Stop{Sequences: sequences} }

// IsZero reports whether the caller gave no stop sequence.
func (s Stop) IsZero() bool { return s.Sequences == nil }

var errStop = errors.New("expected a string or an array of strings")

// UnmarshalJSONFrom reads a string, an array of strings, or null.
func (s *Stop) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	switch dec.PeekKind() {
	case jsontext.KindNull:
		*s = Stop{}
		return dec.SkipValue()
	case jsontext.KindString:
		*s = Stop{Sequences: make([]string, 1), single: true}
		return json.UnmarshalDecode(dec, &s.Sequences[0])
	case jsontext.KindBeginArray:
		*s = Stop{}
		return json.UnmarshalDecode(dec, &s.Sequences)
	}
	return errStop
}

// MarshalJSONTo writes the form that was read.
func (s Stop) MarshalJSONTo(enc *jsontext.Encoder) error {
	if s.single && len(s.Sequences) == 1 {
		return enc.WriteToken(jsontext.String(s.Sequences[0]))
	}
	return json.MarshalEncode(enc, s.Sequences)
}

// Modes of a [ToolChoice].
const (
	ToolChoiceNone     = "none"
	ToolChoiceAuto     = "auto"
	ToolChoiceRequired = "required"
	ToolChoiceFunction = "function"
	ToolChoiceAllowed  = "allowed_tools"
	ToolChoiceCustom   = "custom"
)

// ToolChoice says whether the model may, must, or must not call a tool. Name
// is the function that it must call where Mode is "function". Raw is the
// caller's own object for the modes that are objects, and Unknown the members
// of it that are in none of them.
type ToolChoice struct {
	Mode    string
	Name    string
	Raw     jsontext.Value
	Unknown jsontext.Value
}

type namedChoice struct {
	Type     string `json:"type"`
	Function struct {
		Name string `json:"name"`
	} `json:"function,omitzero"`
	AllowedTools jsontext.Value `json:"allowed_tools,omitzero"`
	Custom       jsontext.Value `json:"custom,omitzero"`
	Unknown      jsontext.Value `json:",embed"`
}

var errToolChoice = errors.New(`expected "none", "auto", "required" or an object with a type`)

// UnmarshalJSONFrom reads a mode or an object that names a tool.
func (c *ToolChoice) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	switch dec.PeekKind() {
	case jsontext.KindString:
		*c = ToolChoice{}
		return json.UnmarshalDecode(dec, &c.Mode)
	case jsontext.KindBeginObject:
		raw, err := dec.ReadValue()
		if err != nil {
			return err
		}
		var n namedChoice
		if err := json.Unmarshal(raw, &n); err != nil {
			return errToolChoice // its own path would begin within this value
		}
		*c = ToolChoice{Mode: n.Type, Name: n.Function.Name, Raw: raw.Clone(), Unknown: n.Unknown}
		return nil
	}
	return errToolChoice
}

// MarshalJSONTo writes the mode, or the object that was read.
func (c ToolChoice) MarshalJSONTo(enc *jsontext.Encoder) error {
	if c.Raw != nil {
		return enc.WriteValue(c.Raw)
	}
	if c.Name == "" {
		return enc.WriteToken(jsontext.String(c.Mode))
	}
	n := namedChoice{Type: ToolChoiceFunction}
	n.Function.Name = c.Name
	return json.MarshalEncode(enc, &n)
}
