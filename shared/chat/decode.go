package chat

import (
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Limits bounds what [Decode] accepts. A zero field means the default.
type Limits struct {
	Depth    int // nesting of arrays and objects; 64
	Messages int // entries of messages; 2048
}

// Defaults of [Limits].
const (
	DefaultDepth    = 64
	DefaultMessages = 2048
)

// Decode reads and validates a request. Everything that does not depend on the
// upstream is checked here, so that a provider can rely on it: types, ranges,
// required members, the order of tool calls and their results. The error is
// always a *[Error] with status 400 that names the member at fault and quotes
// nothing of the body.
//
// The result does not alias body.
func Decode(body []byte, limits Limits) (*Request, error) {
	if limits.Depth == 0 {
		limits.Depth = DefaultDepth
	}
	if limits.Messages == 0 {
		limits.Messages = DefaultMessages
	}
	if err := precheck(body, limits.Depth); err != nil {
		return nil, err
	}
	var req Request
	if err := json.Unmarshal(body, &req); err != nil {
		return nil, decodeError(err)
	}
	if err := req.validate(limits); err != nil {
		return nil, err
	}
	return &req, nil
}

// precheck finds what would be costly or misleading to leave to the decoder.
func precheck(body []byte, depth int) error {
	if len(strings.TrimSpace(string(body[:min(len(body), 64)]))) == 0 && len(body) <= 64 {
		return Invalid("", "", "The request has no body. Send a JSON object with at least model and messages.")
	}
	if !utf8.Valid(body) {
		return Invalid("", "", "The request body is not valid UTF-8. Encode the JSON as UTF-8.")
	}
	if nesting(body, depth) > depth {
		return Invalid("", "", "The request body is nested deeper than %d levels. Flatten it, or ask the operator to raise limits.max_depth.", depth)
	}
	return nil
}

// nesting returns how deep arrays and objects nest in data, counting no
// further than just past limit. It reads brackets outside of strings only, so
// the answer for a text that is not JSON means nothing, but is bounded too.
func nesting(data []byte, limit int) int {
	deepest, open, quoted := 0, 0, false
	for i := 0; i < len(data); i++ {
		switch c := data[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			open++
			if deepest = max(deepest, open); deepest > limit {
				return deepest
			}
		case c == '}' || c == ']':
			open--
		}
	}
	return deepest
}

// decodeError says what the decoder found, in words that fit the API and
// without the offending value.
func decodeError(err error) *Error {
	if syntactic, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
		if errors.Is(err, jsontext.ErrDuplicateName) {
			param := Path(syntactic.JSONPointer)
			return Invalid(param, CodeInvalidValue, "Duplicate member: '%s' stands twice in the same object. Remove one of the two.", param).With(err)
		}
		return Invalid("", "", "The request body is not valid JSON: the fault is at byte %d. Send one JSON object with Content-Type application/json.", syntactic.ByteOffset)
	}
	if semantic, ok := errors.AsType[*json.SemanticError](err); ok {
		return typeError(semantic)
	}
	return Invalid("", "", "The request body could not be read as a chat completion request.").With(err)
}

func typeError(e *json.SemanticError) *Error {
	param := Path(e.JSONPointer)
	if own := ownReason(e.Err); own != "" {
		return Invalid(param, CodeInvalidType, "Invalid type for '%s': %s.", param, own)
	}
	want := typeName(e.GoType)
	if param == "" {
		return Invalid("", CodeInvalidType, "The request body must be a JSON object, but it is %s.", kindName(e.JSONKind))
	}
	if e.JSONKind == jsontext.KindNumber && strings.Contains(want, "integer") {
		return Invalid(param, CodeInvalidType, "Invalid type for '%s': expected %s, but got another number.", param, want)
	}
	return Invalid(param, CodeInvalidType, "Invalid type for '%s': expected %s, but got %s.", param, want, kindName(e.JSONKind))
}

// ownReason returns the text of an error that this package's own decoding made.
func ownReason(err error) string {
	for _, own := range []error{errContent, errStop, errToolChoice, errPartText, errPart} {
		if errors.Is(err, own) {
			return own.Error()
		}
	}
	return ""
}

// typeName names a Go type in the words of the API reference.
func typeName(t reflect.Type) string {
	if t == nil {
		return "another type"
	}
	switch t.Kind() {
	case reflect.Pointer:
		return typeName(t.Elem())
	case reflect.String:
		return "a string"
	case reflect.Bool:
		return "a boolean"
	case reflect.Int64:
		return "an integer"
	case reflect.Float64:
		return "a number"
	case reflect.Slice:
		return "an array"
	}
	return "an object"
}

func kindName(k jsontext.Kind) string {
	switch k {
	case jsontext.KindNull:
		return "null"
	case jsontext.KindFalse, jsontext.KindTrue:
		return "a boolean"
	case jsontext.KindString:
		return "a string"
	case jsontext.KindNumber:
		return "a number"
	case jsontext.KindBeginObject:
		return "an object"
	case jsontext.KindBeginArray:
		return "an array"
	}
	return "something else"
}

// Path writes a JSON pointer as the API writes the param of an error:
// messages[0].content instead of /messages/0/content. A name of more than 64
// bytes is cut, since it is the caller's text.
func Path(p jsontext.Pointer) string {
	var b strings.Builder
	for token := range p.Tokens() {
		if _, err := strconv.ParseUint(token, 10, 32); err == nil && b.Len() > 0 {
			fmt.Fprintf(&b, "[%s]", token)
			continue
		}
		if b.Len() > 0 {
			b.WriteByte('.')
		}
		b.WriteString(Clip(token, 64))
	}
	return b.String()
}

// Clip returns at most n bytes of a caller's text, cut between characters, for
// quoting it in a message.
func Clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + "..."
}

// TooLarge returns the 413 for a body of more than limit bytes.
func TooLarge(limit int64) *Error {
	return &Error{
		Status: http.StatusRequestEntityTooLarge, Type: TypeInvalidRequest, Code: "request_too_large",
		Message: fmt.Sprintf("The request body is larger than %d bytes. Send less, or ask the operator to raise limits.max_body_bytes.", limit),
	}
}
