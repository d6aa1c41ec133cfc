package contract

import (
	"bytes"
	"fmt"
	"maps"
	"mime"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// OpenAI returns OpenAI's API description. Paths begin with /v1 as they do at
// api.openai.com; see With, AzureV1 and AzureDeployments for other services.
func OpenAI(dir string) (*Description, error) {
	var document openAPI
	if err := load(&document, filepath.Join(dir, "openai", "openapi.json.gz")); err != nil {
		return nil, err
	}
	return &Description{service: &document, variant: Variant{Base: "/v1"}}, nil
}

// openAPI is an OpenAPI document. Its parts are parsed when they are first
// needed: all of it is ten times what chat completions refer to.
type openAPI struct {
	Paths      map[string]map[string]jsontext.Value `json:"paths"`
	Components struct {
		Schemas   map[string]jsontext.Value `json:"schemas"`
		Responses map[string]jsontext.Value `json:"responses"`
	} `json:"components"`

	mu     sync.Mutex
	parsed map[string]*schema
}

type apiOperation struct {
	Parameters []struct {
		Name     string  `json:"name"`
		In       string  `json:"in"`
		Required bool    `json:"required"`
		Schema   *schema `json:"schema"`
	} `json:"parameters"`
	RequestBody *struct {
		Content apiContent `json:"content"`
	} `json:"requestBody"`
	Responses map[string]*apiResponse `json:"responses"`
}

type apiContent map[string]struct {
	Schema *schema `json:"schema"`
}

type apiResponse struct {
	Ref     string `json:"$ref"`
	Headers map[string]struct {
		Schema *schema `json:"schema"`
	} `json:"headers"`
	Content apiContent `json:"content"`
}

// errorSchema is what OpenAI answers with any status from 400 on, though the
// description says so for 429 alone.
const errorSchema = "#/components/schemas/ErrorResponse"

func (o *openAPI) resolve(ref string) (*schema, error) {
	name, ok := strings.CutPrefix(ref, "#/components/schemas/")
	raw, found := o.Components.Schemas[name]
	if !ok || !found {
		return nil, fmt.Errorf("the description has no %s", ref)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if s, ok := o.parsed[name]; ok {
		return s, nil
	}
	s := new(schema)
	if err := json.Unmarshal(raw, s); err != nil {
		return nil, fmt.Errorf("read schema %s: %w", name, err)
	}
	if o.parsed == nil {
		o.parsed = map[string]*schema{}
	}
	o.parsed[name] = s
	return s, nil
}

func (o *openAPI) find(in Request, v Variant) (operation, error) {
	var path string
	literals := -1
	for template := range o.Paths {
		if strings.Contains(template, "?") {
			continue // the same paths again, for a beta
		}
		full := strings.TrimSuffix(v.Base, "/") + template
		if n, ok := matchTemplate(full, in.Path); ok && n > literals {
			path, literals = template, n
		}
	}
	if path == "" {
		return nil, fmt.Errorf("has a path that the description does not list under %s", v.Base)
	}
	raw, ok := o.Paths[path][strings.ToLower(in.Method)]
	if !ok {
		methods := strings.ToUpper(strings.Join(sortedKeys(o.Paths[path]), ", "))
		return nil, fmt.Errorf("has method %s; %s takes %s", in.Method, path, methods)
	}
	op := &openAPIOperation{document: o, name: in.Method + " " + path, extraQuery: v.Query}
	if err := json.Unmarshal(raw, &op.apiOperation); err != nil {
		return nil, fmt.Errorf("cannot be checked: read %s: %w", op.name, err)
	}
	return op, nil
}

// matchTemplate reports whether an escaped path fits a template whose segments
// may hold a label in braces, and how many segments have literal text.
func matchTemplate(template, path string) (literals int, ok bool) {
	want, have := strings.Split(template, "/"), strings.Split(path, "/")
	if len(want) != len(have) {
		return 0, false
	}
	for i := range want {
		prefix, rest, isLabel := strings.Cut(want[i], "{")
		_, suffix, _ := strings.Cut(rest, "}")
		label, okPrefix := strings.CutPrefix(have[i], prefix)
		label, okSuffix := strings.CutSuffix(label, suffix)
		switch {
		case !isLabel && want[i] == have[i]:
			literals++
		case !isLabel, !okPrefix, !okSuffix, label == "":
			return 0, false
		case prefix+suffix != "":
			literals++
		}
	}
	return literals, true
}

type openAPIOperation struct {
	apiOperation
	document   *openAPI
	name       string
	extraQuery []string
}

func (op *openAPIOperation) String() string { return op.name }

func (op *openAPIOperation) check(at spot, s *schema, v any) {
	checker{resolve: op.document.resolve}.value(at, s, v)
}

func (op *openAPIOperation) request(at spot, in Request) {
	op.query(at.member("query"), in.Query)
	if op.RequestBody == nil {
		if len(bytes.TrimSpace(in.Body)) != 0 {
			at.report("has a body where the description has none")
		}
		return
	}
	media, s, ok := pick(op.RequestBody.Content, in.Header)
	switch {
	case !ok:
		at.member("header").member("Content-Type").reportValue(sortedKeys(op.RequestBody.Content), media)
	case media == "application/json":
		if v, ok := decodeAt(at, in.Body); ok {
			op.check(at, s, v)
		}
	}
}

func (op *openAPIOperation) query(at spot, query url.Values) {
	known := slices.Clone(op.extraQuery)
	for _, p := range op.Parameters {
		if p.In != "query" {
			continue
		}
		known = append(known, p.Name, p.Name+"[]")
		values, ok := query[p.Name]
		switch {
		case !ok && p.Required && !query.Has(p.Name+"[]"):
			at.member(p.Name).report("is required")
		case ok && p.Schema != nil && slices.Contains(p.Schema.Type, "integer"), ok && p.Schema != nil && slices.Contains(p.Schema.Type, "boolean"):
			op.check(at.member(p.Name), p.Schema, literal(values[0]))
		case ok && p.Schema != nil && slices.Contains(p.Schema.Type, "string"):
			op.check(at.member(p.Name), p.Schema, values[0])
		}
	}
	for _, name := range sortedKeys(query) {
		if !slices.Contains(known, name) {
			at.member(name).reportUnknown()
		}
	}
}

// literal reads a number or boolean from text; anything else stays a string.
func literal(text string) any {
	if v, err := decode([]byte(text)); err == nil {
		return v
	}
	return text
}

func (op *openAPIOperation) response(at spot, in Response) {
	described, ok := op.Responses[strconv.Itoa(in.Status)]
	if ok && described.Ref != "" {
		resolved := new(apiResponse)
		name := strings.TrimPrefix(described.Ref, "#/components/responses/")
		if err := json.Unmarshal(op.document.Components.Responses[name], resolved); err != nil {
			at.report("cannot be checked: read %s: %v", described.Ref, err)
			return
		}
		described = resolved
	}
	if !ok && in.Status >= 400 {
		described = &apiResponse{Content: apiContent{"application/json": {Schema: &schema{Ref: errorSchema}}}}
	} else if !ok {
		at.report("has status %d, which the description does not list", in.Status)
		return
	}
	for _, name := range slices.Sorted(maps.Keys(described.Headers)) {
		if value := in.Header.Get(name); value != "" && described.Headers[name].Schema != nil {
			op.check(at.member("header").member(name), described.Headers[name].Schema, literal(value))
		}
	}
	if len(described.Content) == 0 {
		return
	}
	media, s, ok := pick(described.Content, in.Header)
	switch {
	case !ok:
		at.member("header").member("Content-Type").reportValue(sortedKeys(described.Content), media)
	case media == "application/json":
		if v, ok := decodeAt(at, in.Body); ok {
			op.check(at, s, v)
		}
	}
}

// event checks one SSE event. A stream of chat completions ends with [DONE];
// an error in mid stream is the error envelope in place of a chunk.
func (op *openAPIOperation) event(at spot, in Event) {
	success, ok := op.Responses["200"]
	if !ok || success.Content["text/event-stream"].Schema == nil {
		at.report("is sent where the description has no stream")
		return
	}
	if string(in.Data) == "[DONE]" {
		return
	}
	v, ok := decodeAt(at, in.Data)
	if !ok {
		return
	}
	object, _ := v.(map[string]any)
	tag, typed := object["type"].(string)
	if _, isError := object["error"]; isError && !typed {
		op.check(at, &schema{Ref: errorSchema}, v)
		return
	}
	if in.Type != "" && in.Type != tag {
		at.report("has the SSE event name %q, and its data's type is %q", in.Type, tag)
	}
	op.check(at, success.Content["text/event-stream"].Schema, v)
}

// pick returns the media type of a message and the schema that is due for it.
func pick(content apiContent, header http.Header) (media string, s *schema, ok bool) {
	media, _, err := mime.ParseMediaType(header.Get("Content-Type"))
	if err != nil {
		return header.Get("Content-Type"), nil, false
	}
	described, ok := content[media]
	if ok && described.Schema == nil {
		described.Schema = new(schema)
	}
	return media, described.Schema, ok
}
