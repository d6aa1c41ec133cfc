// Package apikeys is a stand-in for Google's API Keys API, version 2 (https://cloud.google.com/api-keys/docs/reference/rest/v2/projects.locations.keys):
// keys with an id of the caller's choice, made by operations that take a while, whose text can be read again, and which are deleted softly.
//
// [Server.Models] is the list of models of the Gemini API, for those who have a key. A new key may take a while to be known there, as it does.
//
// The package must not know how the gateway rotates keys.
package apikeys

import (
	"crypto/rand"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/postern-ai/postern/localdev/fake/faultplan"
	"github.com/postern-ai/postern/localdev/fake/googleapi"
	"github.com/postern-ai/postern/localdev/fake/strictjson"
)

const (
	// gemini is the API that [Server.Models] is of.
	gemini   = "generativelanguage.googleapis.com"
	maxPage  = 300
	maxLabel = 63
)

// Options describes one project and who may do what.
type Options struct {
	// Member names who holds an access token for Google Cloud, such as serviceAccount:EMAIL. It reports false for a token that is not valid.
	Member func(token string) (string, bool)
	// Project and Number are the project's.
	Project, Number string
	// Slow is how often an operation is asked after until it is done.
	Slow int
	// Late is how many times a new key is not accepted where it is used, because it is not known there yet.
	Late int
	// Allow decides whether a member has a permission, such as apikeys.keys.create. Nil means yes.
	Allow func(member, permission string) bool
}

// Server holds the keys of one project. It is safe for concurrent use.
type Server struct {
	// Faults makes operations misbehave, by the names create, list, get, getKeyString, delete, operation and models.
	Faults faultplan.Plan

	options    Options
	mu         sync.Mutex
	keys       []*Key
	operations map[string]*operation
}

// Key is an API key.
type Key struct {
	// ID is the last part of its resource name.
	ID, DisplayName, Text string
	Restrictions          Restrictions
	Created, Deleted      time.Time
	late                  int
}

// Restrictions are what a key may be used for. Empty ones allow everything.
type Restrictions struct {
	Targets []Target `json:"apiTargets,omitempty"`
	Server  *Origins `json:"serverKeyRestrictions,omitempty"`
}

// Target is an API that a key may be used for.
type Target struct {
	Service string   `json:"service"`
	Methods []string `json:"methods,omitempty"`
}

// Origins is from where a key may be used.
type Origins struct {
	AllowedIPs []string `json:"allowedIps"`
}

type operation struct {
	left     int
	response any
}

// New returns a Server without keys.
func New(options Options) *Server {
	return &Server{options: options, operations: map[string]*operation{}}
}

// Keys returns the keys that have not been deleted, the oldest first.
func (s *Server) Keys() []Key {
	s.mu.Lock()
	defer s.mu.Unlock()
	var keys []Key
	for _, k := range s.keys {
		if k.Deleted.IsZero() {
			keys = append(keys, *k)
		}
	}
	return keys
}

// Add makes a key as a person does. Without an id it gets one.
func (s *Server) Add(key Key) Key {
	s.mu.Lock()
	defer s.mu.Unlock()
	return *s.add(key)
}

func (s *Server) add(key Key) *Key {
	if key.ID == "" {
		key.ID = "k" + strings.ToLower(rand.Text())
	}
	key.Text, key.Created, key.late = "AIza"+rand.Text()+rand.Text()[:9], time.Now().UTC(), s.options.Late
	s.keys = append(s.keys, &key)
	return &key
}

var (
	keysPath      = regexp.MustCompile(`^/v2/projects/([^/]+)/locations/global/keys(?:/([^/]+))?(/keyString)?$`)
	operationPath = regexp.MustCompile(`^/v2/(operations/[^/]+)$`)
	idForm        = regexp.MustCompile(`^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$`)
)

// call is one request that has been understood.
type call struct{ name, permission, project, id string }

func route(r *http.Request) call {
	if parts := operationPath.FindStringSubmatch(r.URL.Path); parts != nil && r.Method == http.MethodGet {
		return call{name: "operation", id: parts[1]}
	}
	parts := keysPath.FindStringSubmatch(r.URL.Path)
	if parts == nil {
		return call{}
	}
	c := call{project: parts[1], id: parts[2]}
	switch has, text := c.id != "", parts[3] != ""; {
	case r.Method == http.MethodPost && !has && !text:
		c.name, c.permission = "create", "apikeys.keys.create"
	case r.Method == http.MethodGet && !has && !text:
		c.name, c.permission = "list", "apikeys.keys.list"
	case r.Method == http.MethodGet && has && !text:
		c.name, c.permission = "get", "apikeys.keys.get"
	case r.Method == http.MethodGet && has && text:
		c.name, c.permission = "getKeyString", "apikeys.keys.getKeyString"
	case r.Method == http.MethodDelete && has && !text:
		c.name, c.permission = "delete", "apikeys.keys.delete"
	}
	return c
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := route(r)
	s.Faults.Serve(func(w http.ResponseWriter, r *http.Request) {
		out, err := s.serve(r, c)
		googleapi.Answer(w, out, err)
	}, c.name)(w, r)
}

func (s *Server) serve(r *http.Request, c call) (any, error) {
	member, err := googleapi.Member(r, s.options.Member)
	switch {
	case err != nil:
		return nil, err
	case c.name == "":
		return nil, googleapi.Refused(http.StatusNotFound, "NOT_FOUND", "Method not found.")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.name == "operation" {
		return s.operation(c.id)
	}
	// Of a project that does not exist nobody learns more than of one that may not be touched.
	if c.project != s.options.Project && c.project != s.options.Number || s.options.Allow != nil && !s.options.Allow(member, c.permission) {
		return nil, googleapi.Refused(http.StatusForbidden, "PERMISSION_DENIED", "Permission denied on resource (or it may not exist).")
	}
	switch c.name {
	case "create":
		return s.create(r)
	case "list":
		return s.list(r)
	}
	at := slices.IndexFunc(s.keys, func(k *Key) bool { return k.ID == c.id })
	switch {
	case at < 0:
		return nil, googleapi.Refused(http.StatusNotFound, "NOT_FOUND", "Requested entity was not found.")
	case c.name == "get":
		return s.show(s.keys[at]), nil
	case !s.keys[at].Deleted.IsZero():
		return nil, googleapi.Refused(http.StatusBadRequest, "FAILED_PRECONDITION", "The key has been deleted.")
	case c.name == "getKeyString":
		return map[string]string{"keyString": s.keys[at].Text}, nil
	}
	s.keys[at].Deleted = time.Now().UTC()
	return s.begin(s.show(s.keys[at])), nil
}

// shown is a key as the API shows it, without its text.
type shown struct {
	AtType       string        `json:"@type,omitempty"`
	Name         string        `json:"name"`
	UID          string        `json:"uid"`
	DisplayName  string        `json:"displayName,omitempty"`
	CreateTime   time.Time     `json:"createTime"`
	UpdateTime   time.Time     `json:"updateTime"`
	DeleteTime   time.Time     `json:"deleteTime,omitzero"`
	Restrictions *Restrictions `json:"restrictions,omitempty"`
	ETag         string        `json:"etag"`
}

func (s *Server) show(k *Key) shown {
	out := shown{
		Name: "projects/" + s.options.Number + "/locations/global/keys/" + k.ID, UID: k.ID, DisplayName: k.DisplayName,
		CreateTime: k.Created, UpdateTime: k.Created, DeleteTime: k.Deleted, ETag: `W/"` + k.ID + `"`,
	}
	if k.Restrictions.Targets != nil || k.Restrictions.Server != nil {
		out.Restrictions = &k.Restrictions
	}
	return out
}

// begin starts an operation whose effect has come already.
func (s *Server) begin(response shown) any {
	response.AtType = "type.googleapis.com/google.api.apikeys.v2.Key"
	name := "operations/akmf.p7-" + s.options.Number + "-" + strings.ToLower(rand.Text())
	s.operations[name] = &operation{left: s.options.Slow, response: response}
	return s.progress(name)
}

func (s *Server) progress(name string) any {
	o := s.operations[name]
	if o.left > 0 {
		return map[string]any{"name": name}
	}
	return map[string]any{"name": name, "done": true, "response": o.response}
}

func (s *Server) operation(name string) (any, error) {
	o := s.operations[name]
	if o == nil {
		return nil, googleapi.Refused(http.StatusNotFound, "NOT_FOUND", "Requested entity was not found.")
	}
	o.left--
	return s.progress(name), nil
}

func (s *Server) create(r *http.Request) (any, error) {
	var in struct {
		DisplayName         string            `json:"displayName"`
		Restrictions        Restrictions      `json:"restrictions"`
		Annotations         map[string]string `json:"annotations"`
		ServiceAccountEmail string            `json:"serviceAccountEmail"`
	}
	if err := strictjson.Read(r, &in); err != nil {
		return nil, googleapi.Invalid(err.Error())
	}
	id := r.URL.Query().Get("keyId")
	switch {
	case id != "" && !idForm.MatchString(id):
		return nil, googleapi.Invalid("The key id does not match [a-z]([a-z0-9-]{0,61}[a-z0-9])?.")
	case len(in.DisplayName) > maxLabel:
		return nil, googleapi.Invalid("The display name is too long.")
	case slices.ContainsFunc(in.Restrictions.Targets, func(t Target) bool { return !strings.HasSuffix(t.Service, ".googleapis.com") }):
		return nil, googleapi.Invalid("A target is not the name of a service.")
	// The id of a key that was deleted stays taken until it is purged.
	case slices.ContainsFunc(s.keys, func(k *Key) bool { return k.ID == id }):
		return nil, googleapi.Refused(http.StatusConflict, "ALREADY_EXISTS", "Requested entity already exists.")
	}
	return s.begin(s.show(s.add(Key{ID: id, DisplayName: in.DisplayName, Restrictions: in.Restrictions}))), nil
}

func (s *Server) list(r *http.Request) (any, error) {
	query := r.URL.Query()
	size, from := 50, 0
	for name, into := range map[string]*int{"pageSize": &size, "pageToken": &from} {
		if text := query.Get(name); text != "" {
			n, err := strconv.Atoi(text)
			if err != nil || n < 0 {
				return nil, googleapi.Invalid("Invalid value at '" + name + "'.")
			}
			*into = n
		}
	}
	var live []*Key
	for _, k := range s.keys {
		if k.Deleted.IsZero() || query.Get("showDeleted") == "true" {
			live = append(live, k)
		}
	}
	var out struct {
		Keys []shown `json:"keys,omitempty"`
		Next string  `json:"nextPageToken,omitempty"`
	}
	to := min(from+min(size, maxPage), len(live))
	for _, k := range live[min(from, len(live)):to] {
		out.Keys = append(out.Keys, s.show(k))
	}
	if to < len(live) {
		out.Next = strconv.Itoa(to)
	}
	return out, nil
}

// Models is the Gemini API's list of models, GET /v1beta/models, for those who send a key as X-Goog-Api-Key.
func (s *Server) Models() http.Handler {
	return s.Faults.Serve(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet || r.URL.Path != "/v1beta/models" {
			googleapi.Answer(w, nil, googleapi.Refused(http.StatusNotFound, "NOT_FOUND", "Method not found."))
			return
		}
		out, err := s.models(r.Header.Get("X-Goog-Api-Key"))
		googleapi.Answer(w, out, err)
	}, "models")
}

func (s *Server) models(text string) (any, error) {
	if text == "" {
		return nil, googleapi.Refused(http.StatusForbidden, "PERMISSION_DENIED", "Method doesn't allow unregistered callers.")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	at := slices.IndexFunc(s.keys, func(k *Key) bool { return k.Text == text && k.Deleted.IsZero() })
	if at >= 0 && s.keys[at].late > 0 {
		s.keys[at].late--
		at = -1
	}
	if at < 0 {
		return nil, googleapi.Because(http.StatusBadRequest, "INVALID_ARGUMENT", "API_KEY_INVALID")
	}
	targets := s.keys[at].Restrictions.Targets
	if len(targets) > 0 && !slices.ContainsFunc(targets, func(t Target) bool { return t.Service == gemini }) {
		return nil, googleapi.Because(http.StatusForbidden, "PERMISSION_DENIED", "API_KEY_SERVICE_BLOCKED")
	}
	return map[string]any{"models": []any{map[string]string{"name": "models/gemini-2.5-flash"}}, "nextPageToken": "x"}, nil
}
