package contract

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// A schema is the part of JSON Schema that OpenAI's description uses. An
// assertion that is not here makes the schema unusable rather than laxer: see
// parseSchema.
type schema struct {
	Ref           string            `json:"$ref"`
	RecursiveRef  string            `json:"$recursiveRef"`
	Type          stringList        `json:"type"`
	Nullable      bool              `json:"nullable"`
	Enum          []jsontext.Value  `json:"enum"`
	Const         jsontext.Value    `json:"const"`
	AllOf         []*schema         `json:"allOf"`
	AnyOf         []*schema         `json:"anyOf"`
	OneOf         []*schema         `json:"oneOf"`
	Not           *schema           `json:"not"`
	Properties    schemas           `json:"properties"`
	Required      []string          `json:"required"`
	Additional    *additionalSchema `json:"additionalProperties"`
	PropertyNames *schema           `json:"propertyNames"`
	MinProperties *int              `json:"minProperties"`
	MaxProperties *int              `json:"maxProperties"`
	Items         *schema           `json:"items"`
	MinItems      *int              `json:"minItems"`
	MaxItems      *int              `json:"maxItems"`
	MinLength     *int              `json:"minLength"`
	MaxLength     *int              `json:"maxLength"`
	Pattern       *regexp.Regexp    `json:"pattern"`
	Format        string            `json:"format"`
	Minimum       *float64          `json:"minimum"`
	Maximum       *float64          `json:"maximum"`
	ExclusiveMin  *float64          `json:"exclusiveMinimum"`
	ExclusiveMax  *float64          `json:"exclusiveMaximum"`
	Rest          jsontext.Value    `json:",embed"`

	closed []string // enum and const as JSON text
}

type schemas map[string]*schema

// additionalSchema is additionalProperties: a boolean or a schema.
type additionalSchema struct {
	Forbidden bool
	Schema    *schema
}

func (a *additionalSchema) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	switch dec.PeekKind() {
	case 't', 'f':
		token, err := dec.ReadToken()
		a.Forbidden = err == nil && !token.Bool()
		return err
	default:
		a.Schema = new(schema)
		return json.UnmarshalDecode(dec, a.Schema)
	}
}

// stringList is a keyword that is either one string or a list of them.
type stringList []string

func (l *stringList) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	if dec.PeekKind() == '[' {
		return json.UnmarshalDecode(dec, (*[]string)(l))
	}
	var one string
	err := json.UnmarshalDecode(dec, &one)
	*l = stringList{one}
	return err
}

// annotations are the keywords that assert nothing. A discriminator is one: the
// alternatives that it tells apart carry the tag as a closed set of their own.
var annotations = []string{
	"title", "description", "default", "example", "examples", "deprecated", "readOnly", "writeOnly",
	"discriminator", "$recursiveAnchor",
}

// UnmarshalJSONFrom reads a schema and refuses keywords that might assert
// something that this package does not check.
func (s *schema) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	type plain schema
	if err := json.UnmarshalDecode(dec, (*plain)(s)); err != nil {
		return err
	}
	if len(s.Rest) > 0 {
		var rest map[string]jsontext.Value
		if err := json.Unmarshal(s.Rest, &rest); err != nil {
			return err
		}
		for keyword := range rest {
			if !slices.Contains(annotations, keyword) && !strings.HasPrefix(keyword, "x-") {
				return fmt.Errorf("schema keyword %q is not supported", keyword)
			}
		}
	}
	values := s.Enum
	if len(s.Const) > 0 {
		values = append(values, s.Const)
	}
	for _, value := range values {
		v, err := decode(value)
		if err != nil {
			return err
		}
		s.closed = append(s.closed, scalar(v))
	}
	return nil
}

// A checker applies schemas that may refer to one another by name.
type checker struct {
	resolve func(ref string) (*schema, error)
	root    *schema // what $recursiveRef means
}

// names is the set of properties that the schemas in force at one spot list.
type names struct {
	listed map[string]bool
	open   bool // some schema allows properties by any name
}

// value checks a value against a schema, and what it calls its properties.
func (c checker) value(at spot, s *schema, v any) {
	known := &names{listed: map[string]bool{}}
	c.apply(at, s, v, known)
	object, ok := v.(map[string]any)
	if !ok || known.open || len(known.listed) == 0 {
		return
	}
	for _, name := range sortedKeys(object) {
		if !known.listed[name] {
			at.member(name).reportUnknown()
		}
	}
}

// apply checks a value against a schema and everything that the schema composes
// at the same spot, and notes the property names that they list.
func (c checker) apply(at spot, s *schema, v any, known *names) {
	if v == nil && (s.Nullable || at.departs(Null)) {
		known.open = true
		return
	}
	if s.Ref != "" {
		target, err := c.resolve(s.Ref)
		if err != nil {
			at.report("cannot be checked: %v", err)
			return
		}
		checker{c.resolve, target}.apply(at, target, v, known)
	}
	if s.RecursiveRef != "" && c.root != nil {
		c.apply(at, c.root, v, known)
	}
	for _, part := range s.AllOf {
		c.apply(at, part, v, known)
	}
	// OpenAI's oneOf lists overlap (a string also fits an enum of strings), so
	// exactly-one would refuse documented requests: at least one is what counts.
	c.alternatives(at, s.AnyOf, v, known)
	c.alternatives(at, s.OneOf, v, known)
	if s.Not != nil {
		tried := at.fork()
		c.value(tried, s.Not, v)
		if hard, _ := tried.count(); hard == 0 {
			at.report("is of a form that the description rules out")
		}
	}
	c.assertions(at, s, v, known)
}

func (c checker) assertions(at spot, s *schema, v any, known *names) {
	if len(s.Type) > 0 && !slices.ContainsFunc(s.Type, func(want string) bool { return fits(want, v) }) {
		at.reportType(strings.Join(s.Type, " or "), v)
		return
	}
	if len(s.closed) > 0 && !slices.Contains(s.closed, scalar(v)) && (v != "" || !at.departs(Blank)) {
		at.reportValue(s.closed, v)
	}
	switch v := v.(type) {
	case string:
		stringAssertions(at, s, v)
	case number:
		numberAssertions(at, s, v)
	case []any:
		count(at, "items", len(v), s.MinItems, s.MaxItems)
		if s.Items != nil {
			for i, item := range v {
				c.value(at.index(i), s.Items, item)
			}
		}
	case map[string]any:
		c.objectAssertions(at, s, v, known)
	}
}

func fits(want string, v any) bool {
	if want == "integer" {
		n, ok := v.(number)
		return ok && n.integer()
	}
	return want == typeOf(v)
}

func (c checker) objectAssertions(at spot, s *schema, object map[string]any, known *names) {
	for _, name := range s.Required {
		if _, ok := object[name]; !ok && !at.member(name).departs(Optional) {
			at.member(name).report("is required")
		}
	}
	count(at, "properties", len(object), s.MinProperties, s.MaxProperties)
	for _, name := range sortedKeys(s.Properties) {
		known.listed[name] = true
		if v, ok := object[name]; ok {
			c.value(at.member(name), s.Properties[name], v)
		}
	}
	if s.PropertyNames != nil {
		for _, name := range sortedKeys(object) {
			c.value(at.member(name), s.PropertyNames, name)
		}
	}
	if s.Additional == nil {
		return
	}
	for _, name := range sortedKeys(object) {
		_, listed := s.Properties[name]
		switch {
		case listed:
		case s.Additional.Schema != nil:
			c.value(at.member(name), s.Additional.Schema, object[name])
		case s.Additional.Forbidden && !at.member(name).departs(Extra):
			at.member(name).report("is not allowed here")
		}
	}
	known.open = true
}

func stringAssertions(at spot, s *schema, v string) {
	count(at, "characters", utf8.RuneCountInString(v), s.MinLength, s.MaxLength)
	if s.Pattern != nil && !s.Pattern.MatchString(v) {
		at.report("must match %s", s.Pattern)
	}
	layout := map[string]string{"date": time.DateOnly, "date-time": time.RFC3339Nano}[s.Format]
	if layout != "" {
		if _, err := time.Parse(layout, v); err != nil {
			at.report("must be a %s as RFC 3339 writes it", s.Format)
		}
	}
}

func numberAssertions(at spot, s *schema, v number) {
	r, ok := v.rational()
	if !ok {
		at.report("is a number out of any range")
		return
	}
	n, _ := r.Float64()
	switch {
	case s.Minimum != nil && n < *s.Minimum:
		at.report("must be at least %v", *s.Minimum)
	case s.Maximum != nil && n > *s.Maximum:
		at.report("must be at most %v", *s.Maximum)
	case s.ExclusiveMin != nil && n <= *s.ExclusiveMin:
		at.report("must be more than %v", *s.ExclusiveMin)
	case s.ExclusiveMax != nil && n >= *s.ExclusiveMax:
		at.report("must be less than %v", *s.ExclusiveMax)
	}
}

// count reports a length outside its limits. A nil limit is none.
func count(at spot, what string, n int, limits ...*int) {
	if least := limits[0]; least != nil && n < *least {
		at.report("must have at least %d %s, has %d", *least, what, n)
	}
	if most := limits[1]; most != nil && n > *most {
		at.report("must have at most %d %s, has %d", *most, what, n)
	}
}
