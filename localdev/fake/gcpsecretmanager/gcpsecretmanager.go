// Package gcpsecretmanager is a stand-in for Google Secret Manager, API version v1 over REST
// (https://cloud.google.com/secret-manager/docs/reference/rest). It keeps what a rotation rests on: numbered versions with states, aliases
// and annotations that change under an etag, payloads with a checksum, and destruction that can be delayed.
//
// The package must not know how the gateway reads, or how it rotates.
package gcpsecretmanager

import (
	"errors"
	"io"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/postern-ai/postern/localdev/fake/faultplan"
)

const (
	prefix = "/v1/"
	// maxBody holds a payload of 64 KiB in base64 and what is around it.
	maxBody = 256 << 10
)

// Options describes the project and who may do what.
type Options struct {
	// Member names who holds an access token. It reports false for a token that is not valid.
	Member func(token string) (string, bool)
	// ProjectID and ProjectNumber name the project. Empty means local-project and 123456789.
	ProjectID, ProjectNumber string
	// Location makes this a regional endpoint, which knows the secrets of one location only. Empty means the global endpoint.
	Location string
	// Quota says that a secret and its versions can be changed only so often, which the service enforces softly.
	Quota bool
	// Allow decides whether a member may do something. Nil means that all may do everything.
	Allow func(access Access) bool
}

// Access is one thing that somebody wants to do.
type Access struct {
	Member string
	// Permission is for example secretmanager.versions.access.
	Permission string
	// Resource is the name of a secret, with the project's number.
	Resource string
}

// Server holds the secrets of one project. It is safe for concurrent use.
type Server struct {
	// Faults makes methods misbehave, by names such as access, list, addVersion and patch.
	Faults faultplan.Plan

	options Options
	mu      sync.Mutex
	secrets map[string]*secret // by id
	etags   int
}

// New returns a Server without secrets.
func New(options Options) *Server {
	if options.ProjectID == "" {
		options.ProjectID = "local-project"
	}
	if options.ProjectNumber == "" {
		options.ProjectNumber = "123456789"
	}
	return &Server{options: options, secrets: map[string]*secret{}}
}

// paths are the forms of the names of this API, with the verb that may follow.
var (
	collectionPath = regexp.MustCompile(`^projects/([^/:]+)(?:/locations/([^/:]+))?/secrets$`)
	secretPath     = regexp.MustCompile(`^projects/([^/:]+)(?:/locations/([^/:]+))?/secrets/([^/:]+)(?::([a-zA-Z]+))?$`)
	versionsPath   = regexp.MustCompile(`^projects/([^/:]+)(?:/locations/([^/:]+))?/secrets/([^/:]+)/versions$`)
	versionPath    = regexp.MustCompile(`^projects/([^/:]+)(?:/locations/([^/:]+))?/secrets/([^/:]+)/versions/([^/:]+)(?::([a-zA-Z]+))?$`)
)

// call is one request that has been understood. The server's lock is held while it is served.
type call struct {
	server   *Server
	request  *http.Request
	body     []byte
	member   string
	project  string
	location string
	secret   string
	version  string
	// enums says that the client wants enum values as numbers.
	enums bool
	now   time.Time
}

// method is one method of the API.
type method struct {
	name       string
	permission string
	query      []string
	serve      func(*call) (any, error)
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := &call{server: s, request: r, now: time.Now()}
	m, ok := c.route()
	s.Faults.Serve(func(w http.ResponseWriter, r *http.Request) { s.serve(w, c, m, ok) }, m.name)(w, r)
}

func (s *Server) serve(w http.ResponseWriter, c *call, m method, found bool) {
	reply, err := s.answer(w, c, m, found)
	if err != nil {
		writeError(w, err)
		return
	}
	encoded, err := json.Marshal(reply)
	if err != nil {
		writeError(w, err)
		return
	}
	w.Header().Set("Content-Type", "application/json; charset=UTF-8")
	_, _ = w.Write(encoded)
}

func (s *Server) answer(w http.ResponseWriter, c *call, m method, found bool) (any, error) {
	if !found {
		return nil, &problem{Status: "NOT_FOUND", Message: "The requested URL was not found on this server."}
	}
	token, ok := strings.CutPrefix(c.request.Header.Get("Authorization"), "Bearer ")
	if c.member, ok = s.member(token, ok); !ok {
		w.Header().Set("Www-Authenticate", `Bearer realm="https://accounts.google.com/"`)
		return nil, &problem{Status: "UNAUTHENTICATED", Message: "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other valid authentication credential."}
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, c.request.Body, maxBody))
	if err != nil {
		return nil, invalid("Request payload size exceeds the limit.")
	}
	c.body = body
	if err := c.checkQuery(m.query); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := c.allowed(m.permission); err != nil {
		return nil, err
	}
	return m.serve(c)
}

func (s *Server) member(token string, found bool) (string, bool) {
	if !found || s.options.Member == nil {
		return "", false
	}
	return s.options.Member(token)
}

// route finds the method for a path and verb.
func (c *call) route() (method, bool) {
	path, ok := strings.CutPrefix(c.request.URL.Path, prefix)
	if !ok {
		return method{}, false
	}
	type key struct{ form, verb, custom string }
	var k key
	switch {
	case collectionPath.MatchString(path):
		m := collectionPath.FindStringSubmatch(path)
		c.project, c.location, k = m[1], m[2], key{"secrets", c.request.Method, ""}
	case versionsPath.MatchString(path):
		m := versionsPath.FindStringSubmatch(path)
		c.project, c.location, c.secret, k = m[1], m[2], m[3], key{"versions", c.request.Method, ""}
	case versionPath.MatchString(path):
		m := versionPath.FindStringSubmatch(path)
		c.project, c.location, c.secret, c.version, k = m[1], m[2], m[3], m[4], key{"version", c.request.Method, m[5]}
	case secretPath.MatchString(path):
		m := secretPath.FindStringSubmatch(path)
		c.project, c.location, c.secret, k = m[1], m[2], m[3], key{"secret", c.request.Method, m[4]}
	default:
		return method{}, false
	}
	found, ok := map[key]method{
		{"secrets", "POST", ""}:          {"create", "secretmanager.secrets.create", []string{"secretId"}, (*call).create},
		{"secret", "GET", ""}:            {"get", "secretmanager.secrets.get", nil, (*call).get},
		{"secret", "PATCH", ""}:          {"patch", "secretmanager.secrets.update", []string{"updateMask"}, (*call).patch},
		{"secret", "DELETE", ""}:         {"delete", "secretmanager.secrets.delete", []string{"etag"}, (*call).remove},
		{"secret", "POST", "addVersion"}: {"addVersion", "secretmanager.versions.add", nil, (*call).addVersion},
		{"versions", "GET", ""}:          {"list", "secretmanager.versions.list", []string{"filter", "pageSize", "pageToken"}, (*call).list},
		{"version", "GET", ""}:           {"getVersion", "secretmanager.versions.get", nil, (*call).getVersion},
		{"version", "GET", "access"}:     {"access", "secretmanager.versions.access", nil, (*call).access},
		{"version", "POST", "enable"}:    {"enable", "secretmanager.versions.enable", nil, (*call).enable},
		{"version", "POST", "disable"}:   {"disable", "secretmanager.versions.disable", nil, (*call).disable},
		{"version", "POST", "destroy"}:   {"destroy", "secretmanager.versions.destroy", nil, (*call).destroy},
	}[k]
	return found, ok
}

// checkQuery knows the parameters that all methods have (https://cloud.google.com/apis/docs/system-parameters) and refuses unknown ones.
func (c *call) checkQuery(own []string) error {
	for name, values := range c.request.URL.Query() {
		switch name {
		case "$alt", "alt":
			format, rest, _ := strings.Cut(values[0], ";")
			if format != "json" || rest != "" && rest != "enum-encoding=int" {
				return invalid("Invalid value for " + name)
			}
			c.enums = c.enums || rest != ""
			continue
		case "$prettyPrint", "prettyPrint", "quotaUser":
			continue
		}
		if !contains(own, name) || len(values) != 1 {
			return invalid(`Invalid JSON payload received. Unknown name "` + name + `": Cannot bind query parameter.`)
		}
	}
	return nil
}

func contains(list []string, name string) bool {
	for _, one := range list {
		if one == name {
			return true
		}
	}
	return false
}

// allowed checks the project and the permission. It is the same error whether a project is missing or closed.
func (c *call) allowed(permission string) error {
	options := c.server.options
	denied := &problem{Status: "PERMISSION_DENIED", Message: "Permission '" + permission + "' denied for resource '" + c.parent() + "' (or it may not exist)."}
	if c.project != options.ProjectID && c.project != options.ProjectNumber {
		return denied
	}
	if c.location != options.Location {
		return invalid("The resource belongs to another endpoint: global secrets to the global one, secrets of a location to its own.")
	}
	if options.Allow != nil && !options.Allow(Access{Member: c.member, Permission: permission, Resource: c.parent()}) {
		return denied
	}
	return nil
}

// parent is the name of the secret, or of its project, as the service writes it: with the project's number.
func (c *call) parent() string {
	name := "projects/" + c.server.options.ProjectNumber
	if c.location != "" {
		name += "/locations/" + c.location
	}
	if c.secret != "" {
		name += "/secrets/" + c.secret
	}
	return name
}

// read decodes a body. An empty one is the empty message.
func (c *call) read(into any) error {
	if len(c.body) == 0 {
		return nil
	}
	if err := json.Unmarshal(c.body, into, json.RejectUnknownMembers(true)); err != nil {
		return invalid("Invalid JSON payload received. A name is unknown or a value has another type.")
	}
	return nil
}

// problem is an error of the service (https://cloud.google.com/apis/design/errors).
type problem struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
	Status  string `json:"status"`
}

func (p *problem) Error() string { return p.Status + ": " + p.Message }

func invalid(message string) error { return &problem{Status: "INVALID_ARGUMENT", Message: message} }

func precondition(message string) error {
	return &problem{Status: "FAILED_PRECONDITION", Message: message}
}

func exhausted() error {
	return &problem{Status: "RESOURCE_EXHAUSTED", Message: "Quota exceeded for changes of this resource."}
}

func writeError(w http.ResponseWriter, err error) {
	told, ok := errors.AsType[*problem](err)
	if !ok {
		told = &problem{Status: "INTERNAL", Message: "Internal error encountered."}
	}
	told.Code = map[string]int{
		"INVALID_ARGUMENT": 400, "FAILED_PRECONDITION": 400, "UNAUTHENTICATED": 401, "PERMISSION_DENIED": 403, "NOT_FOUND": 404,
		"ALREADY_EXISTS": 409, "RESOURCE_EXHAUSTED": 429, "INTERNAL": 500,
	}[told.Status]
	body, _ := json.Marshal(map[string]*problem{"error": told})
	w.Header().Set("Content-Type", "application/json; charset=UTF-8")
	w.WriteHeader(told.Code)
	_, _ = w.Write(body)
}
