package brain

import (
	"encoding/json"
	"slices"
	"strings"
	"unicode"
)

// schema is as much of JSON Schema as is needed to make up a value. Type may
// be a name or a list of names, and Google writes the names in capitals.
type schema struct {
	Type       any               `json:"type"`
	Properties map[string]schema `json:"properties"`
	Required   []string          `json:"required"`
	Items      *schema           `json:"items"`
	MinItems   json.Number       `json:"minItems"`
	Enum       []any             `json:"enum"`
	Const      any               `json:"const"`
	Default    any               `json:"default"`
	Format     string            `json:"format"`
	Minimum    *float64          `json:"minimum"`
	AnyOf      []schema          `json:"anyOf"`
	OneOf      []schema          `json:"oneOf"`
	Ref        string            `json:"$ref"`
	Defs       map[string]schema `json:"$defs"`
}

// arguments makes up the arguments of a call: the required properties of the
// tool's schema, or all where it requires none.
func arguments(t Tool, said string) string {
	var root schema
	if len(t.Schema) > 0 {
		if err := json.Unmarshal(t.Schema, &root); err != nil {
			return "{}"
		}
	}
	m := maker{root: root, names: properNouns(said)}
	out, err := json.Marshal(m.object(root, 0))
	if err != nil {
		return "{}"
	}
	return string(out)
}

// maker makes up values. Texts are the names that the prompt mentions, in
// their order, so that a question about Paris asks the tool about Paris.
type maker struct {
	root  schema
	names []string
	used  int
	made  int
}

// Bounds on a made-up value: schemas can refer to themselves.
const (
	maxSchemaDepth = 8
	maxValues      = 1000
)

func (m *maker) object(s schema, depth int) map[string]any {
	names := slices.Clone(s.Required)
	if len(names) == 0 {
		for name := range s.Properties {
			names = append(names, name)
		}
		slices.Sort(names)
	}
	object := make(map[string]any, len(names))
	for _, name := range names {
		object[name] = m.value(s.Properties[name], name, depth+1)
	}
	return object
}

func (m *maker) value(s schema, name string, depth int) any {
	if m.made++; depth > maxSchemaDepth || m.made > maxValues {
		return nil
	}
	if rest, ok := strings.CutPrefix(s.Ref, "#/$defs/"); ok {
		return m.value(m.root.Defs[rest], name, depth+1)
	}
	for _, choices := range [][]schema{s.AnyOf, s.OneOf} {
		for _, choice := range choices {
			if choice.kind() != "null" {
				return m.value(choice, name, depth+1)
			}
		}
	}
	switch {
	case s.Const != nil:
		return s.Const
	case len(s.Enum) > 0:
		return s.Enum[0]
	case s.Default != nil:
		return s.Default
	}
	switch s.kind() {
	case "object":
		return m.object(s, depth)
	case "array":
		return m.array(s, name, depth)
	case "integer", "number":
		if s.Minimum != nil {
			return *s.Minimum
		}
		return 1
	case "boolean":
		return true
	case "null":
		return nil
	}
	return m.text(s, name)
}

func (m *maker) array(s schema, name string, depth int) []any {
	n, _ := s.MinItems.Int64()
	items := make([]any, 0, 1)
	for range min(max(n, 1), 16) {
		element := schema{}
		if s.Items != nil {
			element = *s.Items
		}
		items = append(items, m.value(element, name, depth+1))
	}
	return items
}

func (m *maker) text(s schema, name string) string {
	switch s.Format {
	case "date":
		return "2026-01-15"
	case "date-time":
		return "2026-01-15T12:00:00Z"
	case "time":
		return "12:00:00Z"
	case "email":
		return "someone@example.com"
	case "uri":
		return "https://example.com/"
	}
	if m.used < len(m.names) {
		m.used++
		return m.names[m.used-1]
	}
	return "some " + strings.ReplaceAll(name, "_", " ")
}

// kind returns the type's name in lower case, the first that is not null
// where there are several, and object where only properties say so.
func (s schema) kind() string {
	switch t := s.Type.(type) {
	case string:
		return strings.ToLower(t)
	case []any:
		for _, name := range t {
			if name, ok := name.(string); ok && strings.ToLower(name) != "null" {
				return strings.ToLower(name)
			}
		}
		return "null"
	}
	if s.Properties != nil {
		return "object"
	}
	return "string"
}

// properNouns returns the capitalised words of a text that do not begin a
// sentence.
func properNouns(said string) []string {
	var nouns []string
	begins := true
	for _, word := range strings.Fields(said) {
		bare := strings.TrimFunc(word, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) })
		if r := []rune(bare); !begins && len(r) > 1 && unicode.IsUpper(r[0]) {
			nouns = append(nouns, bare)
		}
		begins = strings.ContainsAny(word[len(word)-1:], ".!?:")
	}
	return nouns
}
