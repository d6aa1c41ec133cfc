package contract

import (
	"encoding/base64"
	"math/big"
	"regexp"
	"slices"
	"strings"
	"time"
)

// A googleSchema is a type of a Discovery document, in the terms of protobuf's
// JSON mapping.
type googleSchema struct {
	Ref         string                   `json:"$ref"`
	Type        string                   `json:"type"`
	Format      string                   `json:"format"`
	Enum        []string                 `json:"enum"`
	Pattern     string                   `json:"pattern"`
	Description string                   `json:"description"`
	ReadOnly    bool                     `json:"readOnly"`
	Properties  map[string]*googleSchema `json:"properties"`
	Additional  *googleSchema            `json:"additionalProperties"`
	Items       *googleSchema            `json:"items"`

	// Of parameters only.
	Location string `json:"location"`
	Required bool   `json:"required"`
}

// required reports whether a property must be sent. Discovery has no keyword for
// it; the annotation of the API's source becomes the first word of the
// description.
func (s *googleSchema) required() bool { return strings.HasPrefix(s.Description, "Required. ") }

func (s *googleSchema) fromText(text string) any {
	if s.Type == "integer" || s.Type == "boolean" || s.Type == "number" {
		return literal(text)
	}
	return text
}

// protoJSON is a spot in a message, and whether a client sent it. Parsers take
// more forms than servers write.
type protoJSON struct {
	spot
	sent bool
}

func (p protoJSON) in(at spot) protoJSON { return protoJSON{at, p.sent} }

func (d *discovery) check(at protoJSON, s *googleSchema, v any) {
	if s.Ref != "" {
		target, ok := d.Schemas[s.Ref]
		if !ok {
			at.report("cannot be checked: the description has no schema %s", s.Ref)
			return
		}
		s = target
	}
	if s.Type == "any" {
		return
	}
	if v == nil {
		if !at.sent {
			at.report("is null, which Google leaves out")
		}
		return
	}
	switch s.Type {
	case "object":
		d.object(at, s, v)
	case "array":
		list, ok := v.([]any)
		if !ok {
			at.reportType("array", v)
			return
		}
		for i, item := range list {
			d.check(at.in(at.index(i)), s.Items, item)
		}
	case "string":
		at.text(s, v)
	case "boolean":
		if _, ok := v.(bool); !ok {
			at.reportType("boolean", v)
		}
	case "integer", "number":
		at.number(s, v)
	}
}

func (d *discovery) object(at protoJSON, s *googleSchema, v any) {
	object, ok := v.(map[string]any)
	if !ok {
		at.reportType("object", v)
		return
	}
	for _, name := range sortedKeys(object) {
		property, listed := s.Properties[name]
		place := at.in(at.member(name))
		switch {
		case listed && at.sent && property.ReadOnly:
			place.report("is output only")
		case listed:
			d.check(place, property, object[name])
		case s.Additional != nil:
			d.check(place, s.Additional, object[name])
		case len(s.Properties) == 0: // a message without fields of its own, such as Struct
		case !place.departs(Extra):
			place.report("is no field of the message; unknown fields are refused")
		}
	}
	if !at.sent {
		return
	}
	for _, name := range sortedKeys(s.Properties) {
		if s.Properties[name].required() && object[name] == nil && !at.member(name).departs(Optional) {
			at.member(name).report("is required")
		}
	}
}

var (
	duration = regexp.MustCompile(`^-?[0-9]+(\.[0-9]{1,9})?s$`)
	integers = map[string][2]string{
		"int32":  {"-2147483648", "2147483647"},
		"uint32": {"0", "4294967295"},
		"int64":  {"-9223372036854775808", "9223372036854775807"},
		"uint64": {"0", "18446744073709551615"},
	}
)

// text checks what is written as a JSON string, which includes 64-bit integers.
func (at protoJSON) text(s *googleSchema, v any) {
	if n, ok := v.(number); ok && at.sent && integers[s.Format] != [2]string{} {
		at.bounds(s.Format, n)
		return
	}
	text, ok := v.(string)
	if !ok {
		at.reportType("string", v)
		return
	}
	if len(s.Enum) > 0 && !slices.Contains(s.Enum, text) {
		at.reportValue(s.Enum, v)
		return
	}
	switch s.Format {
	case "int64", "uint64", "int32", "uint32":
		at.bounds(s.Format, quoted(text))
	case "byte":
		// Parsers take either alphabet, with or without padding.
		plain := strings.NewReplacer("-", "+", "_", "/").Replace(strings.TrimRight(text, "="))
		if _, err := base64.RawStdEncoding.DecodeString(plain); err != nil {
			at.report("must be base64")
		}
	case "google-datetime", "date-time":
		if _, err := time.Parse(time.RFC3339Nano, text); err != nil {
			at.report("must be a time as RFC 3339 writes it")
		}
	case "google-duration":
		if !duration.MatchString(text) {
			at.report("must be a duration in seconds, such as 3.5s")
		}
	}
}

func (at protoJSON) number(s *googleSchema, v any) {
	text, isText := v.(string)
	n, ok := v.(number)
	switch {
	case s.Type == "number" && slices.Contains([]string{"NaN", "Infinity", "-Infinity"}, text):
		return
	case isText && at.sent: // parsers take numbers in quotes
		n = quoted(text)
	case !ok:
		at.reportType(s.Type, v)
		return
	}
	if s.Type == "integer" {
		at.bounds(s.Format, n)
	} else if _, ok := n.rational(); !ok {
		at.report("must be a number")
	}
}

// quoted returns the number that a string holds, or one that is no number.
func quoted(text string) number {
	n, _ := literal(text).(number)
	return n
}

func (at protoJSON) bounds(format string, n number) {
	r, ok := n.rational()
	if !ok || !r.IsInt() {
		at.report("must be a whole number")
		return
	}
	limits, ok := integers[format]
	if !ok {
		return
	}
	least, _ := new(big.Rat).SetString(limits[0])
	most, _ := new(big.Rat).SetString(limits[1])
	if r.Cmp(least) < 0 || r.Cmp(most) > 0 {
		at.report("must fit %s", format)
	}
}
