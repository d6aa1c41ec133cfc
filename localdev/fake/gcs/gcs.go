// Package gcs is a stand-in for the objects of Google Cloud Storage, JSON API v1 (https://cloud.google.com/storage/docs/json_api/v1). It keeps what
// compare-and-swap rests on: generations that never come back, conditions on them, and that who overwrites an object deletes it.
//
// The package must not know how the gateway reads and writes.
package gcs

import (
	"errors"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/postern-ai/postern/localdev/fake/faultplan"
)

const (
	apiPrefix    = "/storage/v1/b/"
	uploadPrefix = "/upload/storage/v1/b/"
	maxBody      = 4 << 20
	maxName      = 1024
)

// Options describes the buckets and who may do what.
type Options struct {
	// Member names who holds an access token. It reports false for a token that is not valid.
	Member  func(token string) (string, bool)
	Buckets []string
	// Allow decides whether a member may do something. Nil means that all may do everything.
	Allow func(access Access) bool
	// DaysSinceCustomTime is the lifecycle rule of all buckets: what Sweep deletes. Zero means the day of the custom time itself.
	DaysSinceCustomTime int
}

// Access is one thing that somebody wants to do.
type Access struct {
	Member string
	// Permission is for example storage.objects.get.
	Permission string
	Bucket     string
}

// Server holds buckets. It is safe for concurrent use.
type Server struct {
	// Faults makes methods misbehave: get, insert and delete.
	Faults faultplan.Plan

	options    Options
	mu         sync.Mutex
	buckets    map[string]map[string]*object
	generation int64
}

// New returns a Server with empty buckets.
func New(options Options) *Server {
	s := &Server{options: options, buckets: map[string]map[string]*object{}}
	for _, name := range options.Buckets {
		s.buckets[name] = map[string]*object{}
	}
	return s
}

// Sweep deletes what the lifecycle rule covers.
func (s *Server) Sweep() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, objects := range s.buckets {
		for name, o := range objects {
			if !o.customTime.IsZero() && time.Now().After(o.customTime.AddDate(0, 0, s.options.DaysSinceCustomTime)) {
				delete(objects, name)
			}
		}
	}
}

// call is one request that has been understood. The server's lock is held while it is served.
type call struct {
	server  *Server
	request *http.Request
	query   url.Values
	body    []byte
	member  string
	bucket  string
	object  string
	media   bool
}

// method is one method of the API.
type method struct {
	name  string
	query []string
	serve func(*call, http.ResponseWriter) error
}

var conditions = []string{"ifGenerationMatch", "ifGenerationNotMatch", "ifMetagenerationMatch", "ifMetagenerationNotMatch"}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := &call{server: s, request: r, query: r.URL.Query()}
	m, ok := c.route()
	s.Faults.Serve(func(w http.ResponseWriter, r *http.Request) {
		if err := s.answer(w, c, m, ok); err != nil {
			c.writeError(w, err)
		}
	}, m.name)(w, r)
}

var (
	objectPath = regexp.MustCompile(`^([^/]+)/o/([^/]+)$`)
	insertPath = regexp.MustCompile(`^([^/]+)/o$`)
)

// route finds the method for a path and verb. An object's name is one segment, in which slashes are escaped.
func (c *call) route() (method, bool) {
	path := c.request.URL.EscapedPath()
	if rest, ok := strings.CutPrefix(path, uploadPrefix); ok {
		m := insertPath.FindStringSubmatch(rest)
		if m == nil || c.request.Method != http.MethodPost {
			return method{}, false
		}
		c.bucket = m[1]
		return method{"insert", append([]string{"uploadType", "name"}, conditions...), (*call).insert}, true
	}
	rest, ok := strings.CutPrefix(path, apiPrefix)
	if !ok {
		return method{}, false
	}
	m := objectPath.FindStringSubmatch(rest)
	if m == nil {
		return method{}, false
	}
	name, err := url.PathUnescape(m[2])
	if err != nil {
		return method{}, false
	}
	c.bucket, c.object, c.media = m[1], name, c.query.Get("alt") == "media" && c.request.Method == http.MethodGet
	switch c.request.Method {
	case http.MethodGet:
		return method{"get", append([]string{"generation", "projection"}, conditions...), (*call).get}, true
	case http.MethodDelete:
		return method{"delete", append([]string{"generation"}, conditions...), (*call).remove}, true
	}
	return method{}, false
}

func (s *Server) answer(w http.ResponseWriter, c *call, m method, found bool) error {
	if !found {
		return &problem{http.StatusNotFound, "notFound", "Not Found"}
	}
	token, ok := strings.CutPrefix(c.request.Header.Get("Authorization"), "Bearer ")
	if ok && s.options.Member != nil {
		c.member, ok = s.options.Member(token)
	}
	if !ok || c.member == "" {
		w.Header().Set("Www-Authenticate", `Bearer realm="https://accounts.google.com/"`)
		return &problem{http.StatusUnauthorized, "authError", "Invalid Credentials"}
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, c.request.Body, maxBody))
	if err != nil {
		return &problem{http.StatusRequestEntityTooLarge, "uploadTooLarge", "The request is too large for this stand-in."}
	}
	c.body = body
	for name, values := range c.query {
		known := append([]string{"alt", "fields", "prettyPrint", "quotaUser", "userProject"}, m.query...)
		if !slices.Contains(known, name) || len(values) != 1 {
			return bad("unknown or repeated parameter: " + name)
		}
	}
	if alt := c.query.Get("alt"); alt != "" && alt != "json" && !c.media {
		return bad("Invalid value for alt: " + alt)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return m.serve(c, w)
}

func (c *call) may(permission string) bool {
	allow := c.server.options.Allow
	return allow == nil || allow(Access{Member: c.member, Permission: permission, Bucket: c.bucket})
}

// need refuses who lacks a permission.
func (c *call) need(permission string) error {
	if c.may(permission) {
		return nil
	}
	return &problem{http.StatusForbidden, "forbidden", c.member + " does not have " + permission +
		" access to the Google Cloud Storage object. Permission '" + permission + "' denied on resource (or it may not exist)."}
}

// objects returns those of the bucket.
func (c *call) objects() (map[string]*object, error) {
	found, ok := c.server.buckets[c.bucket]
	if !ok {
		return nil, &problem{http.StatusNotFound, "notFound", "The specified bucket does not exist."}
	}
	return found, nil
}

// met checks the conditions of a request. The generation 0 stands for an object that is not there.
func (c *call) met(o *object) error {
	var generation, metageneration int64
	if o != nil {
		generation, metageneration = o.generation, 1
	}
	for _, name := range conditions {
		if !c.query.Has(name) {
			continue
		}
		wanted, err := strconv.ParseInt(c.query.Get(name), 10, 64)
		if err != nil || wanted < 0 {
			return bad("Invalid value for " + name)
		}
		have := generation
		if strings.HasPrefix(name, "ifMeta") {
			have = metageneration
		}
		if (have == wanted) == strings.Contains(name, "Not") {
			return &problem{http.StatusPreconditionFailed, "conditionNotMet", "At least one of the pre-conditions you specified did not hold."}
		}
	}
	return nil
}

// problem is an error of the service (https://cloud.google.com/storage/docs/json_api/v1/status-codes).
type problem struct {
	status  int
	reason  string
	message string
}

func (p *problem) Error() string { return p.reason + ": " + p.message }

func bad(message string) error { return &problem{http.StatusBadRequest, "invalid", message} }

func (c *call) writeError(w http.ResponseWriter, err error) {
	told, ok := errors.AsType[*problem](err)
	if !ok {
		told = &problem{http.StatusInternalServerError, "backendError", "Backend Error"}
	}
	if c.media {
		// Whoever asks for content gets a line of text instead of an error of the API.
		w.Header().Set("Content-Type", "text/html; charset=UTF-8")
		w.WriteHeader(told.status)
		_, _ = io.WriteString(w, told.message)
		return
	}
	type one struct {
		Message string `json:"message"`
		Domain  string `json:"domain"`
		Reason  string `json:"reason"`
	}
	type all struct {
		Code    int    `json:"code"`
		Message string `json:"message"`
		Errors  []one  `json:"errors"`
	}
	body, _ := json.Marshal(map[string]all{"error": {told.status, told.message, []one{{told.message, "global", told.reason}}}})
	w.Header().Set("Content-Type", "application/json; charset=UTF-8")
	w.WriteHeader(told.status)
	_, _ = w.Write(body)
}
