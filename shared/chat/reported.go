package chat

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// Reported is what an upstream of this wire said went wrong, in an error answer
// or in the middle of a stream. It is as the upstream wrote it, so it may hold
// anything: whoever shows it to a caller decides what of it. As an error it
// shows none of it.
type Reported struct {
	Status  int // 0 if it names none
	Type    string
	Code    string
	Param   string
	Message string
}

// Error says that there is an error, and nothing of what the upstream wrote.
func (r *Reported) Error() string { return "the upstream reported an error" }

// objectError is the object member of an error that stands in no envelope.
const objectError = "error"

// DecodeReported reads the body of an error answer. Besides OpenAI's envelope
// it knows the other shapes that servers of this wire use: a text in place of
// the object, the members without an envelope, FastAPI's detail, and an
// envelope in an array. What it does not recognise is a zero Reported.
func DecodeReported(body []byte) *Reported {
	if first, ok := firstElement(body); ok {
		body = first
	}
	var e struct {
		Error  jsontext.Value `json:"error"`
		Detail jsontext.Value `json:"detail"`
		reportedMembers
	}
	if _, err := decodeAnswer(body, &e); err != nil {
		return &Reported{}
	}
	r, ok := readReported(e.Error)
	switch {
	case ok:
	case len(e.Detail) > 0:
		r = readDetail(e.Detail)
	default:
		r = e.reported()
	}
	if r.Message == "" {
		r.Message = e.text()
	}
	// Mistral's message is what FastAPI has as the body.
	var within struct {
		Detail jsontext.Value `json:"detail"`
	}
	if e.Message.Kind() == jsontext.KindBeginObject {
		if _, err := decodeAnswer(e.Message, &within); err == nil && len(within.Detail) > 0 {
			inner := readDetail(within.Detail)
			r.Message, r.Param = inner.Message, inner.Param
		}
	}
	return r
}

// reportedMembers are the members of an error object. Code and Status may be
// texts or numbers.
type reportedMembers struct {
	Message    jsontext.Value `json:"message"`
	Type       jsontext.Value `json:"type"`
	Param      jsontext.Value `json:"param"`
	Code       jsontext.Value `json:"code"`
	Status     jsontext.Value `json:"status"`
	StatusCode jsontext.Value `json:"statusCode"`
}

func (m *reportedMembers) text() string { return plainText(m.Message) }

func (m *reportedMembers) reported() *Reported {
	r := &Reported{Type: plainText(m.Type), Code: plainText(m.Code), Param: plainText(m.Param), Message: m.text()}
	for _, v := range []jsontext.Value{m.Status, m.StatusCode, m.Code} {
		if n, err := strconv.Atoi(strings.Trim(string(v), `"`)); err == nil && n >= 400 && n <= 599 {
			r.Status = n
			break
		}
	}
	return r
}

// reportedIn finds an error among the unknown members of an answer.
func reportedIn(unknown jsontext.Value) (*Reported, bool) {
	if !bytes.Contains(unknown, []byte(`"error"`)) {
		return nil, false
	}
	var e struct {
		Error jsontext.Value `json:"error"`
	}
	if _, err := decodeAnswer(unknown, &e); err != nil {
		return nil, false
	}
	return readReported(e.Error)
}

func readReported(v jsontext.Value) (*Reported, bool) {
	switch v.Kind() {
	case jsontext.KindString:
		return &Reported{Message: plainText(v)}, true
	case jsontext.KindBeginObject:
		var m reportedMembers
		if _, err := decodeAnswer(v, &m); err != nil {
			return nil, false
		}
		return m.reported(), true
	}
	return nil, false
}

// readDetail reads FastAPI's detail: a text, or a list of what is wrong where.
func readDetail(v jsontext.Value) *Reported {
	var list []struct {
		Loc []jsontext.Value `json:"loc"`
		Msg string           `json:"msg"`
	}
	if v.Kind() != jsontext.KindBeginArray {
		return &Reported{Message: plainText(v)}
	}
	if _, err := decodeAnswer(v, &list); err != nil || len(list) == 0 {
		return &Reported{}
	}
	r := &Reported{Message: list[0].Msg}
	for i, v := range list[0].Loc {
		switch {
		case v.Kind() == jsontext.KindNumber:
			r.Param += fmt.Sprintf("[%s]", v)
		case i == 0 && plainText(v) == "body":
		case r.Param == "":
			r.Param = plainText(v)
		default:
			r.Param += "." + plainText(v)
		}
	}
	return r
}

func firstElement(body []byte) ([]byte, bool) {
	if !bytes.HasPrefix(bytes.TrimSpace(body), []byte("[")) {
		return nil, false
	}
	var list []jsontext.Value
	if _, err := decodeAnswer(body, &list); err != nil || len(list) == 0 {
		return nil, false
	}
	return list[0], true
}

// plainText returns a JSON text's value, and nothing for other kinds.
func plainText(v jsontext.Value) string {
	if v.Kind() != jsontext.KindString {
		return ""
	}
	var s string
	if _, err := decodeAnswer(v, &s); err != nil {
		return ""
	}
	return s
}
