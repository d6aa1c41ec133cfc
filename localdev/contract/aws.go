package contract

import (
	"bytes"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// AWS returns the model of one AWS service, by the file's name without its
// endings: bedrock-runtime, secretsmanager, sts. REST-JSON, AWS JSON and Query
// requests are checked, and the replies of the first two; Query's XML replies
// are not.
func AWS(dir, service string) (*Description, error) {
	var model awsModel
	if err := load(&model, filepath.Join(dir, "aws", service+".json.gz")); err != nil {
		return nil, err
	}
	switch model.Metadata.Protocol {
	case "rest-json", "json", "query":
	default:
		return nil, fmt.Errorf("aws service %s speaks %s, which is not supported", service, model.Metadata.Protocol)
	}
	return &Description{service: &model, variant: Variant{Departures: map[string]Departure{
		// Bedrock pads streamed events with a member that no model lists, so that
		// their size does not give the text away.
		"event.p": Extra,
	}}}, nil
}

type awsModel struct {
	Metadata struct {
		Protocol     string `json:"protocol"`
		JSONVersion  string `json:"jsonVersion"`
		TargetPrefix string `json:"targetPrefix"`
		APIVersion   string `json:"apiVersion"`
	} `json:"metadata"`
	Operations map[string]awsOperation `json:"operations"`
	Shapes     map[string]*awsShape    `json:"shapes"`
}

type awsOperation struct {
	Name string `json:"name"`
	HTTP struct {
		Method       string `json:"method"`
		RequestURI   string `json:"requestUri"`
		ResponseCode int    `json:"responseCode"`
	} `json:"http"`
	Input  awsRef   `json:"input"`
	Output awsRef   `json:"output"`
	Errors []awsRef `json:"errors"`
}

type awsRef struct {
	Shape           string `json:"shape"`
	Location        string `json:"location"`
	LocationName    string `json:"locationName"`
	Flattened       bool   `json:"flattened"`
	TimestampFormat string `json:"timestampFormat"`
}

func (r awsRef) wireName(name string) string {
	if r.LocationName != "" {
		return r.LocationName
	}
	return name
}

// awsCall is one operation of a model.
type awsCall struct {
	*awsModel
	awsOperation
}

func (c awsCall) String() string { return c.Name }

func (m *awsModel) find(in Request, _ Variant) (operation, error) {
	switch m.Metadata.Protocol {
	case "json":
		target := in.Header.Get("X-Amz-Target")
		name, ok := strings.CutPrefix(target, m.Metadata.TargetPrefix+".")
		if op, found := m.Operations[name]; ok && found && in.Method == http.MethodPost {
			return awsCall{m, op}, nil
		}
		return nil, fmt.Errorf("must be a POST whose X-Amz-Target names an operation of %s, is %s with %q", m.Metadata.TargetPrefix, in.Method, target)
	case "query":
		form, err := queryForm(in)
		if err != nil {
			return nil, err
		}
		if op, found := m.Operations[form.Get("Action")]; found {
			return awsCall{m, op}, nil
		}
		return nil, fmt.Errorf("names Action %q, which the service does not have", form.Get("Action"))
	}
	for _, name := range sortedKeys(m.Operations) {
		op := m.Operations[name]
		template, _, _ := strings.Cut(op.HTTP.RequestURI, "?")
		if _, ok := matchTemplate(template, in.Path); ok && op.HTTP.Method == in.Method {
			return awsCall{m, op}, nil
		}
	}
	return nil, fmt.Errorf("has a method and path that the service does not list")
}

func (c awsCall) request(at spot, in Request) {
	switch c.Metadata.Protocol {
	case "json":
		c.contentType(at, in.Header, "application/x-amz-json-"+c.Metadata.JSONVersion)
		c.jsonBody(at, c.Shapes[c.Input.Shape], in.Body)
	case "query":
		c.queryRequest(at, in)
	default:
		c.restRequest(at, in)
	}
}

func (c awsCall) restRequest(at spot, in Request) {
	shape, ok := c.Shapes[c.Input.Shape]
	if !ok {
		return
	}
	labels := c.labels(at, in.Path)
	var queryKnown []string
	for _, name := range sortedKeys(shape.Members) {
		member := shape.Members[name]
		wire := member.wireName(name)
		switch member.Location {
		case "uri":
			c.text(at.member("path").member(wire), member, labels[wire])
		case "querystring":
			queryKnown = append(queryKnown, wire)
			c.optionalText(at.member("query").member(wire), shape.requires(name), textOf{member, in.Query[wire]})
		case "header":
			c.optionalText(at.member("header").member(wire), shape.requires(name), textOf{member, in.Header.Values(wire)})
		}
	}
	for _, name := range sortedKeys(in.Query) {
		if !slices.Contains(queryKnown, name) {
			at.member("query").member(name).reportUnknown()
		}
	}
	c.payload(at, shape, message{in.Header, in.Body})
}

// labels returns the path's labels, unescaped.
func (c awsCall) labels(at spot, path string) url.Values {
	labels := url.Values{}
	template, _, _ := strings.Cut(c.HTTP.RequestURI, "?")
	have := strings.Split(path, "/")
	for i, segment := range strings.Split(template, "/") {
		name, isLabel := strings.CutPrefix(segment, "{")
		if !isLabel {
			continue
		}
		value, err := url.PathUnescape(have[i])
		if err != nil {
			at.member("path").report("is not percent-encoded: %v", err)
		}
		labels[strings.TrimSuffix(name, "}")] = []string{value}
	}
	return labels
}

// A textOf is a member whose value travels outside the body, and the values
// that came for it.
type textOf struct {
	ref    awsRef
	values []string
}

func (c awsCall) optionalText(at spot, required bool, in textOf) {
	switch {
	case len(in.values) > 0:
		c.text(at, in.ref, in.values)
	case required:
		at.report("is required")
	}
}

// text checks a value that travels as text: a label, a header, a parameter.
func (c awsCall) text(at spot, ref awsRef, values []string) {
	shape := c.Shapes[ref.Shape]
	if shape.Type == "list" {
		list := make([]any, len(values))
		for i, value := range values {
			list[i] = c.Shapes[shape.Member.Shape].fromText(value)
		}
		c.value(at, ref, list)
		return
	}
	if shape.Type == "timestamp" && ref.TimestampFormat == "" && shape.TimestampFormat == "" {
		ref.TimestampFormat = map[string]string{"header": "rfc822", "querystring": "iso8601"}[ref.Location]
	}
	c.value(at, ref, shape.fromText(values[0]))
}

// A message is the header and the body of one HTTP message.
type message struct {
	header http.Header
	body   []byte
}

// payload checks a body: the member that is the payload, or all the members
// that travel nowhere else.
func (c awsCall) payload(at spot, shape *awsShape, m message) {
	if shape.Payload != "" {
		target := c.Shapes[shape.Members[shape.Payload].Shape]
		switch {
		case target.EventStream:
			at.report("is whole where the description has an event stream")
		case target.Type == "blob":
			c.value(at, shape.Members[shape.Payload], m.body)
		default:
			c.restBody(at, target, m)
		}
		return
	}
	body := shape.inBody()
	if len(body.Members) == 0 {
		if len(bytes.TrimSpace(m.body)) != 0 && string(bytes.TrimSpace(m.body)) != "{}" {
			at.report("has a body where the description has none")
		}
		return
	}
	c.restBody(at, body, m)
}

func (c awsCall) restBody(at spot, shape *awsShape, m message) {
	if len(m.body) > 0 {
		c.contentType(at, m.header, "application/json")
	}
	c.jsonBody(at, shape, m.body)
}

func (c awsCall) jsonBody(at spot, shape *awsShape, data []byte) {
	if shape == nil {
		return
	}
	if len(data) == 0 && len(shape.Required) == 0 {
		return
	}
	if v, ok := decodeAt(at, data); ok {
		c.structure(at, shape, v)
	}
}

func (c awsCall) contentType(at spot, header http.Header, want string) {
	media, _, _ := mime.ParseMediaType(header.Get("Content-Type"))
	if media != want {
		at.member("header").member("Content-Type").reportValue([]string{want}, header.Get("Content-Type"))
	}
}

func (c awsCall) response(at spot, in Response) {
	if c.Metadata.Protocol == "query" {
		return
	}
	success := c.HTTP.ResponseCode
	if success == 0 {
		success = http.StatusOK
	}
	if in.Status >= 300 {
		c.errorResponse(at, in)
		return
	}
	if in.Status != success {
		at.report("has status %d, the description's is %d", in.Status, success)
	}
	shape, ok := c.Shapes[c.Output.Shape]
	if !ok {
		return
	}
	if c.Metadata.Protocol == "json" {
		c.contentType(at, in.Header, "application/x-amz-json-"+c.Metadata.JSONVersion)
		c.jsonBody(at, shape, in.Body)
		return
	}
	for _, name := range sortedKeys(shape.Members) {
		if member := shape.Members[name]; member.Location == "header" {
			wire := member.wireName(name)
			c.optionalText(at.member("header").member(wire), shape.requires(name), textOf{member, in.Header.Values(wire)})
		}
	}
	c.payload(at, shape, message{in.Header, in.Body})
}

// event checks one message of an event stream. Type is the member of the
// stream's union that the message's headers name.
func (c awsCall) event(at spot, in Event) {
	output, ok := c.Shapes[c.Output.Shape]
	if !ok || output.Payload == "" || !c.Shapes[output.Members[output.Payload].Shape].EventStream {
		at.report("is sent where the description has no stream")
		return
	}
	stream := c.Shapes[output.Members[output.Payload].Shape]
	member, ok := stream.Members[in.Type]
	if !ok {
		at.report("has type %s, must be %s", strconv.Quote(in.Type), oneOf(sortedKeys(stream.Members)))
		return
	}
	c.jsonBody(at, c.Shapes[member.Shape], in.Data)
}
