// Package openaiadmin stands in for the part of OpenAI's administration API that makes API keys
// (https://developers.openai.com/api/reference/administration/overview): project keys, service accounts and admin keys. Keys that it has made can
// list models. It is written from OpenAI's API description, and knows two generations of the API, which differ in what becomes of the
// keys of service accounts.
//
// The package must not know how the gateway rotates keys.
package openaiadmin

import (
	"crypto/rand"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/postern-ai/postern/localdev/fake/keyring"
	"github.com/postern-ai/postern/localdev/fake/strictjson"
)

// Options says who may do what, and how old the API is.
type Options struct {
	// Admin reports whether a bearer token is an admin key, beside those in AdminKeys.
	Admin func(token string) bool
	// Project is the id of the only project, empty for proj_local.
	Project string
	// Older is the API in which a key of a service account cannot be deleted, and has no end of its own.
	Older bool
	// Archived says that the project takes no keys any more.
	Archived bool
}

// Account is a service account.
type Account struct {
	ID, Name string
	Created  time.Time
}

// Server is one organization with one project. It is safe for concurrent use.
type Server struct {
	// Keys are the project's keys, and AdminKeys those of the organization.
	Keys, AdminKeys keyring.Ring

	options Options
	routes  *http.ServeMux

	mu       sync.Mutex
	accounts []Account
}

// New returns a Server without keys.
func New(options Options) *Server {
	if options.Project == "" {
		options.Project = "proj_local"
	}
	s := &Server{options: options, routes: http.NewServeMux()}
	s.routes.HandleFunc("GET /v1/models", s.models)
	const project = "/v1/organization/projects/{project}"
	for pattern, serve := range map[string]http.HandlerFunc{
		"GET " + project + "/api_keys":                             s.listKeys,
		"GET " + project + "/api_keys/{key}":                       s.getKey,
		"DELETE " + project + "/api_keys/{key}":                    s.deleteKey,
		"POST " + project + "/service_accounts":                    s.createAccount,
		"DELETE " + project + "/service_accounts/{account}":        s.deleteAccount,
		"POST " + project + "/service_accounts/{account}/api_keys": s.createAccountKey,
	} {
		s.routes.HandleFunc(pattern, s.administered(func(w http.ResponseWriter, r *http.Request) {
			if r.PathValue("project") != options.Project {
				refuse(w, problem{status: http.StatusNotFound, code: "not_found", message: "Project not found."})
				return
			}
			serve(w, r)
		}))
	}
	s.routes.HandleFunc("GET /v1/organization/admin_api_keys", s.administered(s.listAdminKeys))
	s.routes.HandleFunc("POST /v1/organization/admin_api_keys", s.administered(s.createAdminKey))
	s.routes.HandleFunc("GET /v1/organization/admin_api_keys/{key}", s.administered(s.getAdminKey))
	s.routes.HandleFunc("DELETE /v1/organization/admin_api_keys/{key}", s.administered(s.deleteAdminKey))
	s.routes.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		refuse(w, problem{status: http.StatusNotFound, message: "Invalid URL"})
	})
	return s
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.routes.ServeHTTP(w, r) }

// AddKey makes a project key of a user, as people do.
func (s *Server) AddKey(name string) keyring.Key {
	return s.Keys.Add(keyring.Key{ID: "key_", Name: name, Secret: "sk-proj-", Owner: "user_local"})
}

// AddAccount makes a service account without keys.
func (s *Server) AddAccount(name string) Account {
	s.mu.Lock()
	defer s.mu.Unlock()
	account := Account{ID: "svc_acct_" + rand.Text(), Name: name, Created: time.Now().UTC()}
	s.accounts = append(s.accounts, account)
	return account
}

// AddAdminKey makes an admin key, as people do.
func (s *Server) AddAdminKey(name string) keyring.Key {
	return s.AdminKeys.Add(keyring.Key{ID: "key_", Name: name, Secret: "sk-admin-"})
}

// Accounts returns the service accounts.
func (s *Server) Accounts() []Account {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.accounts)
}

func (s *Server) account(id string) (Account, bool) {
	accounts := s.Accounts()
	at := slices.IndexFunc(accounts, func(a Account) bool { return a.ID == id })
	if at < 0 {
		return Account{}, false
	}
	return accounts[at], true
}

type problem struct {
	status               int
	message, param, code string
}

func refuse(w http.ResponseWriter, p problem) {
	null := func(text string) any {
		if text == "" {
			return nil
		}
		return text
	}
	strictjson.Write(w, p.status, map[string]any{"error": map[string]any{
		"message": p.message, "type": "invalid_request_error", "param": null(p.param), "code": null(p.code),
	}})
}

func bearer(r *http.Request) string {
	token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	return token
}

func (s *Server) administered(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		token := bearer(r)
		_, admin := s.AdminKeys.Use(token)
		if admin || s.options.Admin != nil && s.options.Admin(token) {
			next(w, r)
			return
		}
		if _, ok := s.Keys.Use(token); ok {
			refuse(w, problem{status: http.StatusForbidden, message: "You have insufficient permissions for this operation."})
			return
		}
		refuse(w, problem{status: http.StatusUnauthorized, code: "invalid_api_key", message: "Incorrect API key provided: " + token})
	}
}

func (s *Server) models(w http.ResponseWriter, r *http.Request) {
	key, ok := s.Keys.Use(bearer(r))
	switch {
	case !ok:
		refuse(w, problem{status: http.StatusUnauthorized, code: "invalid_api_key", message: "Incorrect API key provided: " + bearer(r)})
	case len(key.Scopes) > 0 && !slices.Contains(key.Scopes, "api.model.read"):
		refuse(w, problem{status: http.StatusForbidden, message: "You have insufficient permissions for this operation. Missing scopes: api.model.read."})
	default:
		strictjson.Write(w, http.StatusOK, map[string]any{"object": "list", "data": []any{
			map[string]any{"id": "gpt-local", "object": "model", "created": 1700000000, "owned_by": "system"},
		}})
	}
}

// page is one page of a list.
type page[T any] struct {
	Object  string  `json:"object"`
	Data    []T     `json:"data"`
	FirstID *string `json:"first_id"`
	LastID  *string `json:"last_id"`
	HasMore bool    `json:"has_more"`
}

// paged answers with the page of a list that a request asks for.
func paged[T any](w http.ResponseWriter, r *http.Request, all []T, id func(T) string) {
	limit, query := 20, r.URL.Query()
	if query.Has("limit") {
		var err error
		if limit, err = strconv.Atoi(query.Get("limit")); err != nil || limit < 1 || limit > 100 {
			refuse(w, problem{status: http.StatusBadRequest, param: "limit", message: "limit must be between 1 and 100"})
			return
		}
	}
	if after := query.Get("after"); after != "" {
		at := slices.IndexFunc(all, func(v T) bool { return id(v) == after })
		if at < 0 {
			refuse(w, problem{status: http.StatusBadRequest, param: "after", message: "after is no id of this list"})
			return
		}
		all = all[at+1:]
	}
	out := page[T]{Object: "list", Data: append([]T{}, all[:min(limit, len(all))]...), HasMore: len(all) > limit}
	if n := len(out.Data); n > 0 {
		first, last := id(out.Data[0]), id(out.Data[n-1])
		out.FirstID, out.LastID = &first, &last
	}
	strictjson.Write(w, http.StatusOK, out)
}

// seconds is a time as the API writes it, or nothing.
func seconds(at time.Time) *int64 {
	if at.IsZero() {
		return nil
	}
	unix := at.Unix()
	return &unix
}

// life is how long a key is to live.
type life struct {
	ExpiresInSeconds *int64 `json:"expires_in_seconds"`
}

func (l life) end() (time.Time, *problem) {
	if l.ExpiresInSeconds == nil {
		return time.Time{}, nil
	}
	if *l.ExpiresInSeconds < 1 || *l.ExpiresInSeconds > 31536000 {
		return time.Time{}, &problem{status: http.StatusBadRequest, param: "expires_in_seconds", message: "expires_in_seconds must be between 1 and 31536000"}
	}
	return time.Now().UTC().Add(time.Duration(*l.ExpiresInSeconds) * time.Second).Truncate(time.Second), nil
}
