// Package anthropicadmin stands in for the part of Anthropic's Admin API that manages API keys
// (https://platform.claude.com/docs/en/api/admin/api_keys). It lists keys, stops them and archives them, and makes none: only people do, in the
// Console. Keys that work can list models.
//
// The package must not know how the gateway rotates keys.
package anthropicadmin

import (
	"crypto/rand"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/postern-ai/postern/localdev/fake/keyring"
	"github.com/postern-ai/postern/localdev/fake/strictjson"
)

// version is the version of the API, which every request has to name.
const version = "2023-06-01"

// The states of a key.
const (
	Active   = "active"
	Inactive = "inactive"
	Archived = "archived"
	expired  = "expired"
)

// Options says who may manage keys.
type Options struct {
	// Admin reports whether an X-Api-Key is an admin key.
	Admin func(key string) bool
}

// Server has the keys of one organization. It is safe for concurrent use.
type Server struct {
	// Keys are all keys that were ever made. Their owner is their workspace, empty for the default one.
	Keys keyring.Ring

	options Options
	routes  *http.ServeMux

	mu       sync.Mutex
	archived map[string]bool
}

// New returns a Server without keys.
func New(options Options) *Server {
	s := &Server{options: options, routes: http.NewServeMux(), archived: map[string]bool{}}
	s.routes.HandleFunc("GET /v1/models", s.models)
	s.routes.HandleFunc("GET /v1/organizations/api_keys", s.administered(s.list))
	s.routes.HandleFunc("GET /v1/organizations/api_keys/{key}", s.administered(s.get))
	s.routes.HandleFunc("POST /v1/organizations/api_keys/{key}", s.administered(s.update))
	s.routes.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { refuse(w, http.StatusNotFound, "Not Found") })
	return s
}

// Add makes a key in a workspace, as people do.
func (s *Server) Add(key keyring.Key) keyring.Key {
	key.ID, key.Secret = "apikey_", "sk-ant-api03-"
	return s.Keys.Add(key)
}

// Living returns the keys that are not archived.
func (s *Server) Living() []keyring.Key {
	return slices.DeleteFunc(s.Keys.List(), func(k keyring.Key) bool { return s.status(k) == Archived })
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Anthropic-Version") != version {
		refuse(w, http.StatusBadRequest, "anthropic-version: header is required")
		return
	}
	s.routes.ServeHTTP(w, r)
}

func refuse(w http.ResponseWriter, status int, message string) {
	kind := map[int]string{
		http.StatusBadRequest: "invalid_request_error", http.StatusUnauthorized: "authentication_error", http.StatusForbidden: "permission_error",
		http.StatusNotFound: "not_found_error",
	}[status]
	strictjson.Write(w, status, map[string]any{"type": "error", "error": map[string]any{"type": kind, "message": message}, "request_id": "req_" + rand.Text()})
}

func (s *Server) administered(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if !s.options.Admin(r.Header.Get("X-Api-Key")) {
			refuse(w, http.StatusUnauthorized, "invalid x-api-key")
			return
		}
		next(w, r)
	}
}

func (s *Server) status(k keyring.Key) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.archived[k.ID]:
		return Archived
	case !k.Expires.IsZero() && !time.Now().Before(k.Expires):
		return expired
	case k.Disabled:
		return Inactive
	}
	return Active
}

type actor struct {
	ID   string `json:"id"`
	Type string `json:"type"`
}

type shown struct {
	ID             string     `json:"id"`
	CreatedAt      time.Time  `json:"created_at"`
	CreatedBy      actor      `json:"created_by"`
	ExpiresAt      *time.Time `json:"expires_at"`
	Name           string     `json:"name"`
	PartialKeyHint string     `json:"partial_key_hint"`
	Principal      *actor     `json:"principal"`
	Status         string     `json:"status"`
	Type           string     `json:"type"`
	WorkspaceID    *string    `json:"workspace_id"`
}

func (s *Server) show(k keyring.Key) shown {
	out := shown{
		ID: k.ID, CreatedAt: k.Created, CreatedBy: actor{"user_local", "user"}, Name: k.Name, Type: "api_key", Status: s.status(k),
		PartialKeyHint: k.Redacted(keyring.Cut{Head: 16, Tail: 4, Gap: "..."}),
	}
	if !k.Expires.IsZero() {
		out.ExpiresAt = &k.Expires
	}
	if k.Owner != "" {
		out.WorkspaceID = &k.Owner
	}
	return out
}

func (s *Server) models(w http.ResponseWriter, r *http.Request) {
	if _, ok := s.Keys.Use(r.Header.Get("X-Api-Key")); !ok {
		refuse(w, http.StatusUnauthorized, "invalid x-api-key")
		return
	}
	strictjson.Write(w, http.StatusOK, map[string]any{"data": []any{
		map[string]any{"type": "model", "id": "claude-local", "display_name": "Claude", "created_at": "2025-01-01T00:00:00Z"},
	}, "has_more": false, "first_id": "claude-local", "last_id": "claude-local"})
}

func (s *Server) list(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	limit := 20
	if query.Has("limit") {
		var err error
		if limit, err = strconv.Atoi(query.Get("limit")); err != nil || limit < 1 || limit > 1000 {
			refuse(w, http.StatusBadRequest, "limit: must be between 1 and 1000")
			return
		}
	}
	all := []shown{}
	for _, k := range s.Keys.List() {
		status := query.Get("status")
		if out := s.show(k); (status == "" || status == out.Status) && (!query.Has("workspace_id") || query.Get("workspace_id") == k.Owner) {
			all = append(all, out)
		}
	}
	if after := query.Get("after_id"); after != "" {
		at := slices.IndexFunc(all, func(k shown) bool { return k.ID == after })
		if at < 0 {
			refuse(w, http.StatusBadRequest, "after_id: not found")
			return
		}
		all = all[at+1:]
	}
	page := all[:min(limit, len(all))]
	out := map[string]any{"data": page, "has_more": len(all) > limit, "first_id": nil, "last_id": nil}
	if n := len(page); n > 0 {
		out["first_id"], out["last_id"] = page[0].ID, page[n-1].ID
	}
	strictjson.Write(w, http.StatusOK, out)
}

func (s *Server) get(w http.ResponseWriter, r *http.Request) {
	key, ok := s.Keys.Get(r.PathValue("key"))
	if !ok {
		refuse(w, http.StatusNotFound, "API key not found")
		return
	}
	strictjson.Write(w, http.StatusOK, s.show(key))
}

func (s *Server) update(w http.ResponseWriter, r *http.Request) {
	var in struct {
		Name   *string `json:"name"`
		Status *string `json:"status"`
	}
	if err := strictjson.Read(r, &in); err != nil {
		refuse(w, http.StatusBadRequest, err.Error())
		return
	}
	key, ok := s.Keys.Get(r.PathValue("key"))
	switch {
	case !ok:
		refuse(w, http.StatusNotFound, "API key not found")
		return
	case s.status(key) == Archived:
		refuse(w, http.StatusBadRequest, "archived API keys cannot be updated")
		return
	case s.status(key) == expired && in.Status != nil && *in.Status != Archived:
		refuse(w, http.StatusBadRequest, "expired API keys can only be archived")
		return
	case in.Status != nil && *in.Status != Active && *in.Status != Inactive && *in.Status != Archived:
		refuse(w, http.StatusBadRequest, "status: must be active, inactive or archived")
		return
	}
	key, _ = s.Keys.Change(key.ID, func(k *keyring.Key) {
		if in.Name != nil {
			k.Name = *in.Name
		}
		if in.Status != nil {
			k.Disabled = *in.Status != Active
		}
	})
	if in.Status != nil && *in.Status == Archived {
		s.mu.Lock()
		s.archived[key.ID] = true
		s.mu.Unlock()
	}
	strictjson.Write(w, http.StatusOK, s.show(key))
}
