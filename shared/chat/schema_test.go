package chat_test

import (
	"testing"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/postern-ai/postern/shared/chat"
)

func TestASchemaSaysThatParametersAreAnObject(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, given, want string }{
		{"none", ``, ``},
		{"null is none", `null`, ``},
		{"an empty one is none", " { } ", ``},
		{"one without a type", `{ "properties":{"b":{},"a":{}}}`, `{"type":"object","properties":{"b":{},"a":{}}}`},
		{"one with a type is left alone", `{"properties":{}, "type":"object"}`, `{"properties":{}, "type":"object"}`},
		{"a wrong type is for the service to refuse", `{"type":"array"}`, `{"type":"array"}`},
		{"a type further in is another's", `{"items":{"type":"string"}}`, `{"type":"object","items":{"type":"string"}}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := chat.Function{Name: "f"}
			if c.given != "" {
				f.Parameters = jsontext.Value(c.given)
			}
			if got := f.ObjectSchema(); string(got) != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
			if string(f.Parameters) != c.given {
				t.Errorf("the parameters were changed to %s", f.Parameters)
			}
		})
	}
}
