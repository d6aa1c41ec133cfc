package chat

import (
	"bytes"
	"slices"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// ObjectSchema returns the schema of the function's parameters, or nil if it
// has none. That they are an object goes without saying on this wire, and many
// clients leave it out; other APIs insist on it, so here the schema says it. The
// value may alias Parameters.
func (f *Function) ObjectSchema() jsontext.Value {
	if !isSet(f.Parameters) {
		return nil
	}
	var s struct {
		Type jsontext.Value `json:"type"`
	}
	if err := json.Unmarshal(f.Parameters, &s); err != nil || s.Type != nil {
		return f.Parameters
	}
	rest := bytes.TrimLeft(bytes.TrimSpace(f.Parameters)[1:], " \t\r\n")
	if rest[0] == '}' {
		return nil
	}
	return slices.Concat(jsontext.Value(`{"type":"object",`), rest)
}
