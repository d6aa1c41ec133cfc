// Package openrouter stands in for OpenRouter's management of API keys (https://openrouter.ai/docs/api/api-reference/api-keys). It is written
// from the vendor's reference, and refuses what that says it refuses.
//
// The package must not know how the gateway rotates keys.
package openrouter

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/postern-ai/postern/localdev/fake/keyring"
	"github.com/postern-ai/postern/localdev/fake/strictjson"
)

const (
	// page is how many keys a list has at most.
	page = 100
	// workspace is the id of the only workspace, which is the default one.
	workspace = "0df9e665-d932-5740-b2c7-b52af166bc11"
)

// Options says who may manage keys.
type Options struct {
	// Manager reports whether a bearer token is a management key.
	Manager func(token string) bool
}

// Server has the keys of one workspace. It is safe for concurrent use.
type Server struct {
	// Keys are what has been made and not been deleted.
	Keys keyring.Ring

	options Options
	routes  *http.ServeMux
}

// New returns a Server without keys.
func New(options Options) *Server {
	s := &Server{options: options, routes: http.NewServeMux()}
	s.routes.HandleFunc("GET /api/v1/key", s.current)
	s.routes.HandleFunc("GET /api/v1/keys", s.managed(s.list))
	s.routes.HandleFunc("POST /api/v1/keys", s.managed(s.create))
	s.routes.HandleFunc("PATCH /api/v1/keys/{hash}", s.managed(s.update))
	s.routes.HandleFunc("DELETE /api/v1/keys/{hash}", s.managed(s.remove))
	s.routes.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { refuse(w, http.StatusNotFound, "Not Found") })
	return s
}

// Add makes a key as a person does.
func (s *Server) Add(name string) keyring.Key {
	return s.Keys.Add(keyring.Key{Name: name, Secret: "sk-or-v1-"})
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.routes.ServeHTTP(w, r) }

func refuse(w http.ResponseWriter, status int, message string) {
	strictjson.Write(w, status, map[string]any{"error": map[string]any{"code": status, "message": message}})
}

func bearer(r *http.Request) string {
	token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	return token
}

func (s *Server) managed(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		token := bearer(r)
		switch {
		case s.options.Manager(token):
			next(w, r)
		default:
			if _, ok := s.Keys.Use(token); ok {
				refuse(w, http.StatusForbidden, "Only management keys can perform this operation")
				return
			}
			refuse(w, http.StatusUnauthorized, "Invalid management key")
		}
	}
}

// shown is a key as the API shows it. Usage and limits are left at what they are at first.
type shown struct {
	Hash               string     `json:"hash"`
	Name               string     `json:"name"`
	Label              string     `json:"label"`
	Disabled           bool       `json:"disabled"`
	Limit              *float64   `json:"limit"`
	LimitRemaining     *float64   `json:"limit_remaining"`
	LimitReset         *string    `json:"limit_reset"`
	IncludeBYOKInLimit bool       `json:"include_byok_in_limit"`
	Usage              float64    `json:"usage"`
	CreatedAt          time.Time  `json:"created_at"`
	UpdatedAt          *time.Time `json:"updated_at"`
	ExpiresAt          *time.Time `json:"expires_at"`
}

func show(k keyring.Key) shown {
	out := shown{Hash: k.ID, Name: k.Name, Label: k.Redacted(keyring.Cut{Head: 12, Tail: 3, Gap: "..."}), Disabled: k.Disabled, CreatedAt: k.Created}
	if !k.Expires.IsZero() {
		out.ExpiresAt = &k.Expires
	}
	return out
}

func (s *Server) create(w http.ResponseWriter, r *http.Request) {
	var in struct {
		Name               string     `json:"name"`
		Limit              *float64   `json:"limit"`
		LimitReset         *string    `json:"limit_reset"`
		IncludeBYOKInLimit bool       `json:"include_byok_in_limit"`
		ExpiresAt          *time.Time `json:"expires_at"`
		WorkspaceID        *string    `json:"workspace_id"`
		CreatorUserID      *string    `json:"creator_user_id"`
	}
	if err := strictjson.Read(r, &in); err != nil {
		refuse(w, http.StatusBadRequest, err.Error())
		return
	}
	switch {
	case in.Name == "":
		refuse(w, http.StatusBadRequest, "name is required")
		return
	case in.WorkspaceID != nil && *in.WorkspaceID != workspace:
		refuse(w, http.StatusBadRequest, "there is no such workspace")
		return
	case in.Limit != nil && *in.Limit < 0:
		refuse(w, http.StatusBadRequest, "limit must not be negative")
		return
	case in.LimitReset != nil && *in.LimitReset != "daily" && *in.LimitReset != "weekly" && *in.LimitReset != "monthly":
		refuse(w, http.StatusBadRequest, "limit_reset must be daily, weekly or monthly")
		return
	case in.ExpiresAt != nil && (in.ExpiresAt.Location() != time.UTC || !in.ExpiresAt.After(time.Now())):
		refuse(w, http.StatusBadRequest, "expires_at must be in UTC and in the future")
		return
	}
	key := keyring.Key{Name: in.Name, Secret: "sk-or-v1-"}
	if in.ExpiresAt != nil {
		key.Expires = *in.ExpiresAt
	}
	key = s.Keys.Add(key)
	out := show(key)
	out.Limit, out.LimitRemaining, out.LimitReset, out.IncludeBYOKInLimit = in.Limit, in.Limit, in.LimitReset, in.IncludeBYOKInLimit
	strictjson.Write(w, http.StatusCreated, map[string]any{"data": out, "key": key.Secret})
}

func (s *Server) list(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	offset, err := strconv.Atoi(query.Get("offset"))
	if query.Has("offset") && (err != nil || offset < 0) {
		refuse(w, http.StatusBadRequest, "offset must be a number")
		return
	}
	out := []shown{}
	if id := query.Get("workspace_id"); query.Has("workspace_id") && id != workspace {
		strictjson.Write(w, http.StatusOK, map[string]any{"data": out})
		return
	}
	for _, key := range s.Keys.List() {
		if key.Disabled && query.Get("include_disabled") != "true" {
			continue
		}
		if offset--; offset < 0 && len(out) < page {
			out = append(out, show(key))
		}
	}
	strictjson.Write(w, http.StatusOK, map[string]any{"data": out})
}

func (s *Server) update(w http.ResponseWriter, r *http.Request) {
	var in struct {
		Name     *string `json:"name"`
		Disabled *bool   `json:"disabled"`
	}
	if err := strictjson.Read(r, &in); err != nil {
		refuse(w, http.StatusBadRequest, err.Error())
		return
	}
	key, ok := s.Keys.Change(r.PathValue("hash"), func(k *keyring.Key) {
		if in.Name != nil {
			k.Name = *in.Name
		}
		if in.Disabled != nil {
			k.Disabled = *in.Disabled
		}
	})
	if !ok {
		refuse(w, http.StatusNotFound, "API key not found")
		return
	}
	strictjson.Write(w, http.StatusOK, map[string]any{"data": show(key)})
}

func (s *Server) remove(w http.ResponseWriter, r *http.Request) {
	if s.Keys.Remove(func(k keyring.Key) bool { return k.ID == r.PathValue("hash") }) == 0 {
		refuse(w, http.StatusNotFound, "API key not found")
		return
	}
	strictjson.Write(w, http.StatusOK, map[string]any{"deleted": true})
}

func (s *Server) current(w http.ResponseWriter, r *http.Request) {
	key, ok := s.Keys.Use(bearer(r))
	if !ok {
		refuse(w, http.StatusUnauthorized, "User not found.")
		return
	}
	strictjson.Write(w, http.StatusOK, map[string]any{"data": map[string]any{
		"label": show(key).Label, "limit": nil, "limit_remaining": nil, "usage": 0, "is_free_tier": false, "is_management_key": false,
	}})
}
