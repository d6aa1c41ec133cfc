package contract

import (
	"cmp"
	"encoding/base64"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// An awsShape is one type of a service model.
type awsShape struct {
	Type            string            `json:"type"`
	Required        []string          `json:"required"`
	Members         map[string]awsRef `json:"members"`
	Member          awsRef            `json:"member"`
	Key             awsRef            `json:"key"`
	Value           awsRef            `json:"value"`
	Min             *float64          `json:"min"`
	Max             *float64          `json:"max"`
	Pattern         javaPattern       `json:"pattern"`
	Enum            []string          `json:"enum"`
	Union           bool              `json:"union"`
	Document        bool              `json:"document"`
	EventStream     bool              `json:"eventstream"`
	Flattened       bool              `json:"flattened"`
	Payload         string            `json:"payload"`
	TimestampFormat string            `json:"timestampFormat"`
	Error           struct {
		Code   string `json:"code"`
		Status int    `json:"httpStatusCode"`
	} `json:"error"`
}

func (s *awsShape) requires(member string) bool { return slices.Contains(s.Required, member) }

// inBody returns the structure of the members that travel in the body.
func (s *awsShape) inBody() *awsShape {
	body := &awsShape{Type: "structure", Members: map[string]awsRef{}}
	for name, member := range s.Members {
		if member.Location != "" {
			continue
		}
		body.Members[name] = member
		if s.requires(name) {
			body.Required = append(body.Required, name)
		}
	}
	slices.Sort(body.Required)
	return body
}

// fromText turns a value that travelled as text into the JSON value that it
// stands for.
func (s *awsShape) fromText(text string) any {
	switch s.Type {
	case "boolean", "integer", "long", "float", "double":
		return literal(text)
	default:
		return text
	}
}

// A javaPattern is a model's pattern, or none where Go's syntax has no
// equivalent: lookaheads. Services match the whole value.
type javaPattern struct{ *regexp.Regexp }

func (p *javaPattern) UnmarshalText(text []byte) error {
	pattern := javaCodePoint.ReplaceAllString(string(text), `\x{$1}`)
	pattern = strings.ReplaceAll(pattern, `\p{Print}`, `[[:print:]]`)
	p.Regexp, _ = regexp.Compile(`^(?:` + pattern + `)$`)
	return nil
}

var javaCodePoint = regexp.MustCompile(`\\u([0-9A-Fa-f]{4})`)

// value checks a value against the shape that a member refers to.
func (c awsCall) value(at spot, ref awsRef, v any) {
	shape, ok := c.Shapes[ref.Shape]
	if !ok {
		at.report("cannot be checked: the model has no shape %s", ref.Shape)
		return
	}
	switch shape.Type {
	case "structure":
		c.structure(at, shape, v)
	case "list":
		list, ok := v.([]any)
		if !ok {
			at.reportType("array", v)
			return
		}
		shape.limits(at, "items", float64(len(list)))
		for i, item := range list {
			c.value(at.index(i), shape.Member, item)
		}
	case "map":
		object, ok := v.(map[string]any)
		if !ok {
			at.reportType("object", v)
			return
		}
		shape.limits(at, "entries", float64(len(object)))
		for _, key := range sortedKeys(object) {
			c.value(at.member(key), shape.Key, key)
			c.value(at.member(key), shape.Value, object[key])
		}
	case "timestamp":
		timestamp(at, cmp.Or(ref.TimestampFormat, shape.TimestampFormat), v)
	default:
		shape.scalar(at, v)
	}
}

// structure checks an object, or a union: an object with exactly one member.
func (c awsCall) structure(at spot, shape *awsShape, v any) {
	if shape.Document {
		return
	}
	object, ok := v.(map[string]any)
	if !ok {
		at.reportType("object", v)
		return
	}
	known := map[string]string{}
	for name, member := range shape.Members {
		known[member.wireName(name)] = name
	}
	present := 0
	for _, wire := range sortedKeys(object) {
		name, ok := known[wire]
		switch {
		case !ok:
			at.member(wire).reportUnknown()
		case object[wire] == nil: // null is absence
		default:
			present++
			c.value(at.member(wire), shape.Members[name], object[wire])
		}
	}
	for _, name := range shape.Required {
		wire := shape.Members[name].wireName(name)
		if object[wire] == nil && !at.member(wire).departs(Optional) {
			at.member(wire).report("is required")
		}
	}
	if shape.Union && present != 1 {
		at.report("must have exactly one of %s, has %d", strings.Join(sortedKeys(known), ", "), present)
	}
}

// scalar checks a string, number, boolean or blob.
func (s *awsShape) scalar(at spot, v any) {
	switch s.Type {
	case "string", "character":
		text, ok := v.(string)
		switch {
		case !ok:
			at.reportType("string", v)
			return
		case len(s.Enum) > 0 && !slices.Contains(s.Enum, text):
			at.reportValue(s.Enum, v)
		case s.Pattern.Regexp != nil && !s.Pattern.MatchString(text):
			at.report("must match %s", s.Pattern)
		}
		s.limits(at, "characters", float64(utf8.RuneCountInString(text)))
	case "boolean":
		if _, ok := v.(bool); !ok {
			at.reportType("boolean", v)
		}
	case "integer", "long", "float", "double":
		s.number(at, v)
	case "blob":
		data, ok := v.([]byte) // a whole body
		if text, isText := v.(string); isText {
			var err error
			if data, err = base64.StdEncoding.DecodeString(text); err != nil {
				at.report("must be base64 with padding")
				return
			}
			ok = true
		}
		if !ok {
			at.reportType("base64 string", v)
			return
		}
		s.limits(at, "bytes", float64(len(data)))
	}
}

func (s *awsShape) number(at spot, v any) {
	whole := s.Type == "integer" || s.Type == "long"
	n, ok := v.(number)
	switch {
	case !ok && !whole && slices.Contains([]any{"NaN", "Infinity", "-Infinity"}, v):
		return
	case !ok:
		at.reportType(s.Type, v)
		return
	case whole && !n.integer():
		at.report("must be a whole number")
	}
	r, ok := n.rational()
	if !ok {
		at.report("is a number out of any range")
		return
	}
	value, _ := r.Float64()
	if s.Min != nil && value < *s.Min {
		at.report("must be at least %v", *s.Min)
	}
	if s.Max != nil && value > *s.Max {
		at.report("must be at most %v", *s.Max)
	}
}

// limits checks a length.
func (s *awsShape) limits(at spot, what string, n float64) {
	if s.Min != nil && n < *s.Min {
		at.report("must have at least %v %s, has %v", *s.Min, what, n)
	}
	if s.Max != nil && n > *s.Max {
		at.report("must have at most %v %s, has %v", *s.Max, what, n)
	}
}

// timestamp checks a point in time: seconds since 1970 unless the model says
// otherwise.
func timestamp(at spot, format string, v any) {
	text, isText := v.(string)
	switch format {
	case "iso8601":
		if _, err := time.Parse(time.RFC3339Nano, text); err != nil || !isText {
			at.report("must be a time as RFC 3339 writes it")
		}
	case "rfc822":
		if _, err := http.ParseTime(text); err != nil || !isText {
			at.report("must be a time as HTTP headers write it")
		}
	default:
		if _, ok := v.(number); !ok {
			at.reportType("number of seconds since 1970", v)
		}
	}
}
