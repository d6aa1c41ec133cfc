package contract

import (
	"bytes"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
)

// Google returns a Discovery document by its file's name without the endings:
// aiplatform-v1, secretmanager-v1.
func Google(dir, api string) (*Description, error) {
	var document discovery
	if err := load(&document, filepath.Join(dir, "google", api+".json.gz")); err != nil {
		return nil, err
	}
	document.methods = document.collect(document.Resources)
	return &Description{service: &document, variant: Variant{Base: "/" + strings.Trim(document.ServicePath, "/")}}, nil
}

type discovery struct {
	ServicePath string                      `json:"servicePath"`
	Parameters  map[string]googleSchema     `json:"parameters"`
	Schemas     map[string]*googleSchema    `json:"schemas"`
	Resources   map[string]discoverResource `json:"resources"`

	methods []*googleMethod
}

type discoverResource struct {
	Methods   map[string]*googleMethod    `json:"methods"`
	Resources map[string]discoverResource `json:"resources"`
}

type googleMethod struct {
	ID         string                  `json:"id"`
	HTTPMethod string                  `json:"httpMethod"`
	Path       string                  `json:"path"`
	FlatPath   string                  `json:"flatPath"`
	Parameters map[string]googleSchema `json:"parameters"`
	RequestRef struct {
		Ref string `json:"$ref"`
	} `json:"request"`
	ResponseRef struct {
		Ref string `json:"$ref"`
	} `json:"response"`

	document *discovery
}

func (d *discovery) collect(resources map[string]discoverResource) []*googleMethod {
	var methods []*googleMethod
	for _, name := range sortedKeys(resources) {
		resource := resources[name]
		for _, verb := range sortedKeys(resource.Methods) {
			method := resource.Methods[verb]
			method.document = d
			if method.FlatPath == "" {
				method.FlatPath = method.Path
			}
			methods = append(methods, method)
		}
		methods = append(methods, d.collect(resource.Resources)...)
	}
	return methods
}

func (d *discovery) find(in Request, v Variant) (operation, error) {
	path, ok := strings.CutPrefix(in.Path, strings.TrimSuffix(v.Base, "/")+"/")
	if !ok {
		return nil, fmt.Errorf("has a path outside %s", v.Base)
	}
	var best *googleMethod
	literals := -1
	var others []string
	for _, method := range d.methods {
		n, ok := matchTemplate(method.FlatPath, path)
		switch {
		case !ok:
		case method.HTTPMethod != in.Method:
			others = append(others, method.HTTPMethod)
		case n > literals:
			best, literals = method, n
		}
	}
	switch {
	case best != nil:
		return best, nil
	case len(others) > 0:
		return nil, fmt.Errorf("has method %s, must be %s", in.Method, oneOf(others))
	}
	return nil, errors.New("has a path that the description does not list")
}

func (m *googleMethod) String() string { return m.ID }

// rawBody is the type of messages whose body is another API's: a model vendor's
// own JSON.
const rawBody = "GoogleApiHttpBody"

// isRaw reports whether a request's body is not the message that the method
// names but the raw body in it.
func (d *discovery) isRaw(name string) bool {
	if name == rawBody {
		return true
	}
	for _, property := range d.Schemas[name].Properties {
		if property.Ref == rawBody {
			return true
		}
	}
	return false
}

// streams reports whether the method answers with a series of messages. The
// description does not say so; Google names all such methods alike.
func (m *googleMethod) streams() bool {
	return strings.HasPrefix(m.ID[strings.LastIndexByte(m.ID, '.')+1:], "stream")
}

func (m *googleMethod) request(at spot, in Request) {
	m.query(at.member("query"), in)
	if m.RequestRef.Ref == "" {
		if len(bytes.TrimSpace(in.Body)) != 0 {
			at.report("has a body where the description has none")
		}
		return
	}
	if m.document.isRaw(m.RequestRef.Ref) || len(in.Body) == 0 && m.document.allOptional(m.RequestRef.Ref) {
		return
	}
	if !isJSON(in.Header) {
		at.member("header").member("Content-Type").reportValue([]string{"application/json"}, in.Header.Get("Content-Type"))
	}
	if v, ok := decodeAt(at, in.Body); ok {
		m.document.check(protoJSON{spot: at, sent: true}, &googleSchema{Ref: m.RequestRef.Ref}, v)
	}
}

func isJSON(header http.Header) bool {
	media, _, err := mime.ParseMediaType(header.Get("Content-Type"))
	return err == nil && media == "application/json"
}

// allOptional reports whether a message may be left out of a request altogether.
func (d *discovery) allOptional(name string) bool {
	for _, property := range d.Schemas[name].Properties {
		if property.required() {
			return false
		}
	}
	return true
}

func (m *googleMethod) query(at spot, in Request) {
	for _, name := range sortedKeys(m.Parameters) {
		if p := m.Parameters[name]; p.Location == "query" && p.Required && !in.Query.Has(name) {
			at.member(name).report("is required")
		}
	}
	for _, name := range sortedKeys(in.Query) {
		parameter, ok := m.Parameters[name]
		if !ok || parameter.Location != "query" {
			parameter, ok = m.document.Parameters[name]
		}
		switch {
		case name == "$alt":
			parameter = m.document.Parameters["alt"]
		case !ok:
			at.member(name).reportUnknown()
			continue
		}
		// Every streaming method takes alt=sse, which the enumeration omits.
		sse := strings.HasSuffix(name, "alt") && m.streams() && in.Query.Get(name) == "sse"
		if !sse {
			m.document.check(protoJSON{spot: at.member(name), sent: true}, &parameter, parameter.fromText(in.Query.Get(name)))
		}
	}
}

func (m *googleMethod) response(at spot, in Response) {
	if in.Status >= 400 {
		if v, ok := decodeAt(at, in.Body); ok {
			list, isList := v.([]any)
			if isList && m.streams() && len(list) == 1 {
				v = list[0] // a stream without alt=sse is an array, and so is its error
			}
			googleError(at, v, in.Status)
		}
		return
	}
	if in.Status >= 300 {
		at.report("has status %d, which the description does not list", in.Status)
		return
	}
	if m.ResponseRef.Ref == rawBody || m.ResponseRef.Ref == "" {
		return
	}
	if !isJSON(in.Header) {
		at.member("header").member("Content-Type").reportValue([]string{"application/json"}, in.Header.Get("Content-Type"))
	}
	v, ok := decodeAt(at, in.Body)
	if !ok {
		return
	}
	if !m.streams() {
		m.document.check(protoJSON{spot: at}, &googleSchema{Ref: m.ResponseRef.Ref}, v)
		return
	}
	list, ok := v.([]any)
	if !ok {
		at.reportType("array, as a stream without alt=sse is", v)
		return
	}
	for i, item := range list {
		m.message(at.index(i), item)
	}
}

// event checks one SSE event of a stream: Google names no events and ends
// without a marker.
func (m *googleMethod) event(at spot, in Event) {
	if !m.streams() {
		at.report("is sent where the description has no stream")
		return
	}
	if in.Type != "" {
		at.report("has the SSE event name %q, Google's have none", in.Type)
	}
	if m.ResponseRef.Ref == rawBody {
		return
	}
	if v, ok := decodeAt(at, in.Data); ok {
		m.message(at, v)
	}
}

// message checks one message of a stream, or the error in place of one.
func (m *googleMethod) message(at spot, v any) {
	if object, ok := v.(map[string]any); ok && object["error"] != nil {
		googleError(at, v, 0)
		return
	}
	m.document.check(protoJSON{spot: at}, &googleSchema{Ref: m.ResponseRef.Ref}, v)
}

// statuses are the canonical codes of google.rpc.Code and the HTTP statuses that
// they are mapped to.
var statuses = map[string]int{
	"CANCELLED": 499, "UNKNOWN": 500, "INVALID_ARGUMENT": 400, "DEADLINE_EXCEEDED": 504, "NOT_FOUND": 404,
	"ALREADY_EXISTS": 409, "PERMISSION_DENIED": 403, "UNAUTHENTICATED": 401, "RESOURCE_EXHAUSTED": 429,
	"FAILED_PRECONDITION": 400, "ABORTED": 409, "OUT_OF_RANGE": 400, "UNIMPLEMENTED": 501, "INTERNAL": 500,
	"UNAVAILABLE": 503, "DATA_LOSS": 500,
}

// googleError checks an error, which Discovery documents do not describe: it is
// google.rpc.Status with the HTTP status for a code, as AIP-193 has it. A zero
// status is not compared.
func googleError(at spot, v any, status int) {
	envelope, _ := v.(map[string]any)
	body, ok := envelope["error"].(map[string]any)
	if !ok {
		at.report("must be an object with an error object")
		return
	}
	at = at.member("error")
	for _, name := range sortedKeys(body) {
		if !slices.Contains([]string{"code", "message", "status", "details", "errors"}, name) {
			at.member(name).reportUnknown()
		}
	}
	if _, ok := body["message"].(string); !ok {
		at.member("message").reportType("string", body["message"])
	}
	code, ok := body["code"].(number)
	if !ok {
		at.member("code").reportType("integer", body["code"])
	} else if status != 0 && string(code) != fmt.Sprint(status) {
		at.member("code").report("must be the HTTP status %d, is %s", status, code)
	}
	name, _ := body["status"].(string)
	if want, ok := statuses[name]; !ok {
		at.member("status").reportValue(sortedKeys(statuses), body["status"])
	} else if string(code) != fmt.Sprint(want) {
		at.member("code").report("must be %d for %s, is %s", want, name, code)
	}
	details, _ := body["details"].([]any)
	for i, item := range details {
		detail, _ := item.(map[string]any)
		if _, ok := detail["@type"].(string); !ok {
			at.member("details").index(i).member("@type").report("is required")
		}
	}
}
