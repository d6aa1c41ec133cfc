package main

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/postern-ai/postern/shared/audit"
)

const draft = "https://json-schema.org/draft/2020-12/schema"

// node is a JSON Schema, with as much of the language as events need.
type node struct {
	Schema      string           `json:"$schema,omitzero"`
	ID          string           `json:"$id,omitzero"`
	Ref         string           `json:"$ref,omitzero"`
	Title       string           `json:"title,omitzero"`
	Description string           `json:"description,omitzero"`
	Type        string           `json:"type,omitzero"`
	Const       any              `json:"const,omitzero"`
	Enum        []string         `json:"enum,omitzero"`
	Format      string           `json:"format,omitzero"`
	Pattern     string           `json:"pattern,omitzero"`
	Minimum     *int             `json:"minimum,omitzero"`
	Items       *node            `json:"items,omitzero"`
	Required    []string         `json:"required,omitzero"`
	Properties  members          `json:"properties,omitzero"`
	OneOf       []*node          `json:"oneOf,omitzero"`
	AllOf       []*node          `json:"allOf,omitzero"`
	Defs        map[string]*node `json:"$defs,omitzero"`
}

// members are named schemas in their order.
type members []member

type member struct {
	name  string
	value *node
}

// MarshalJSONTo writes the members as one object.
func (m members) MarshalJSONTo(to *jsontext.Encoder) error {
	err := to.WriteToken(jsontext.BeginObject)
	for _, one := range m {
		err = errors.Join(err, to.WriteToken(jsontext.String(one.name)), json.MarshalEncode(to, one.value))
	}
	return errors.Join(err, to.WriteToken(jsontext.EndObject))
}

// schemas builds the schema of one type.
type schemas struct {
	*comments
	defs map[string]*node
}

// schema returns the schema of the data of a type.
func (c *comments) schema(t eventType) (*node, error) {
	s := &schemas{c, map[string]*node{}}
	root := &node{}
	for _, form := range t.forms {
		of := reflect.TypeOf(form)
		n, err := s.object(of)
		if err != nil {
			return nil, err
		}
		if len(t.forms) == 1 {
			root = n
			continue
		}
		s.defs[of.Name()] = n
		root.OneOf = append(root.OneOf, &node{Ref: "#/$defs/" + of.Name()})
	}
	root.Schema, root.ID, root.Title = draft, audit.SchemaOf(t.name), fmt.Sprintf("%s, version %d", t.name, version)
	root.Defs = s.defs
	return root, nil
}

// object returns the schema of a struct.
func (s *schemas) object(of reflect.Type) (*node, error) {
	n := &node{Type: "object", Description: describe(of.Name(), s.types[of.Name()], nil)}
	if n.Description == "" {
		return nil, fmt.Errorf("%s has no comment", of.Name())
	}
	for f := range of.Fields() {
		if f.Anonymous {
			inner, err := s.object(f.Type)
			if err != nil {
				return nil, err
			}
			n.Properties, n.Required = append(n.Properties, inner.Properties...), append(n.Required, inner.Required...)
			continue
		}
		name := memberName(f)
		value, err := s.value(f.Type)
		if err != nil {
			return nil, fmt.Errorf("%s.%s: %w", of.Name(), f.Name, err)
		}
		if value.Description, err = s.field(of, f); err != nil {
			return nil, err
		}
		value.Description += s.meanings(f.Type)
		s.constrain(name, value)
		n.Properties = append(n.Properties, member{name, value})
		if !strings.Contains(f.Tag.Get("json"), ",omitzero") {
			n.Required = append(n.Required, name)
		}
	}
	if k := kind(of); k != "" {
		for _, m := range n.Properties {
			if m.name == "kind" {
				*m.value = node{Const: k, Description: strings.TrimSuffix(m.value.Description, s.meanings(reflect.TypeOf(k)))}
			}
		}
	}
	return n, nil
}

// meanings says what the values of a type mean, where the source does.
func (s *schemas) meanings(of reflect.Type) string {
	var said []string
	for _, v := range s.values[of.Name()] {
		if v.meaning != "" {
			said = append(said, fmt.Sprintf("%s (%s)", v.text, v.meaning))
		}
	}
	if said == nil {
		return ""
	}
	return " Values: " + strings.Join(said, ", ") + "."
}

// constrain adds what every member of a name has to be.
func (s *schemas) constrain(name string, n *node) {
	switch name {
	case "event_version":
		n.Type, n.Minimum, n.Const = "", nil, version
	case "fingerprint":
		n.Pattern = "^([0-9a-f]{16})?$"
	case "hash", "prev_hash", "policy_hash":
		n.Pattern = "^[0-9a-f]{64}$"
	}
}

// value returns the schema of a field's type.
func (s *schemas) value(of reflect.Type) (*node, error) {
	switch {
	case of == reflect.TypeFor[time.Time]():
		return &node{Type: "string", Format: "date-time"}, nil
	case of.Kind() == reflect.Struct:
		if _, there := s.defs[of.Name()]; !there {
			s.defs[of.Name()] = nil // a type that holds itself would not end otherwise
			n, err := s.object(of)
			if err != nil {
				return nil, err
			}
			s.defs[of.Name()] = n
		}
		return &node{Ref: "#/$defs/" + of.Name()}, nil
	case of.Kind() == reflect.String:
		n := &node{Type: "string"}
		for _, v := range s.values[of.Name()] {
			n.Enum = append(n.Enum, v.text)
		}
		if of.Name() != "string" && n.Enum == nil {
			return nil, fmt.Errorf("%s has no constants", of.Name())
		}
		return n, nil
	case of.Kind() == reflect.Int || of.Kind() == reflect.Int64:
		return &node{Type: "integer", Minimum: new(int)}, nil
	case of.Kind() == reflect.Slice:
		items, err := s.value(of.Elem())
		return &node{Type: "array", Items: items}, err
	}
	return nil, fmt.Errorf("no schema for %s", of)
}

// pretty encodes a value the same way every time, for people to read.
func pretty(v any) ([]byte, error) {
	text, err := json.Marshal(v, json.Deterministic(true), jsontext.WithIndent("  "))
	return append(bytes.TrimSpace(text), '\n'), err
}
