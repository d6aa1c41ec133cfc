package contract

import (
	"fmt"
	"slices"
	"strings"
)

// named is a description that can be asked for what it names: AWS models and
// Discovery documents.
type named interface {
	operations() []string
	// value checks a value against a type, or returns an error where there is no
	// such type.
	value(at spot, name string, v any) error
}

// Operations returns the names of the operations, in order: CreateRole in the
// models of AWS, pubsub.projects.topics.create in Discovery documents. OpenAI's
// description has none.
func (d *Description) Operations() []string {
	n, ok := d.service.(named)
	if !ok {
		return nil
	}
	return n.operations()
}

// Value checks one JSON value, for instance one that is to be sent by somebody
// else's client. The type is a shape of a model of AWS, such as roleNameType, or
// of a Discovery document a schema, such as Topic, or a property of one, such as
// Topic.messageRetentionDuration; of a property that is a list it is that of the
// elements. An error means that the description has no such type.
func (d *Description) Value(name string, data []byte) ([]Problem, error) {
	n, ok := d.service.(named)
	if !ok {
		return nil, fmt.Errorf("the description has no types to ask for by name, such as %s", name)
	}
	at := spot{&findings{operation: name, departures: d.variant.Departures}, "value"}
	v, ok := decodeAt(at, data)
	if !ok {
		return at.problems(), nil
	}
	if err := n.value(at, name, v); err != nil {
		return nil, err
	}
	return at.problems(), nil
}

func (m *awsModel) operations() []string { return sortedKeys(m.Operations) }

func (m *awsModel) value(at spot, name string, v any) error {
	if m.Shapes[name] == nil {
		return fmt.Errorf("the model has no shape %s", name)
	}
	awsCall{awsModel: m}.value(at, awsRef{Shape: name}, v)
	return nil
}

func (d *discovery) operations() []string {
	var names []string
	for _, method := range d.methods {
		names = append(names, method.ID)
	}
	slices.Sort(names)
	return names
}

func (d *discovery) value(at spot, name string, v any) error {
	of, property, isProperty := strings.Cut(name, ".")
	s := d.Schemas[of]
	if s != nil && isProperty {
		s = s.Properties[property]
	}
	if s == nil {
		return fmt.Errorf("the description has no type %s", name)
	}
	if s.Items != nil {
		s = s.Items
	}
	d.check(protoJSON{at, true}, s, v)
	return nil
}
