// Package arm is a stand-in for Azure Resource Manager, as far as the two keys of Cognitive Services accounts go, of which Azure OpenAI resources
// are some (https://learn.microsoft.com/rest/api/aiservices/accountmanagement/accounts).
//
// The package must not know how the gateway rotates keys.
package arm

import (
	"crypto/rand"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/postern-ai/postern/localdev/fake/faultplan"
	"github.com/postern-ai/postern/localdev/fake/strictjson"
)

// Resource is the audience of the tokens that it takes, in the public cloud. Tokens for https://management.core.windows.net/ are taken too.
const Resource = "https://management.azure.com"

// versions are the API versions of accounts.
var versions = []string{"2023-05-01", "2024-10-01", "2025-06-01"}

// Options describes one account and who may do what.
type Options struct {
	// Caller names who holds an access token for [Resource]. It reports false for a token that is not valid.
	Caller func(token string) (string, bool)
	// ID is the account's resource id: /subscriptions/S/resourceGroups/G/providers/Microsoft.CognitiveServices/accounts/A.
	ID string
	// DisableLocalAuth says that the account takes no keys.
	DisableLocalAuth bool
	// Late is how many times a new key is not accepted where it is used, because it is not known there yet.
	Late int
	// Allow decides whether a caller may do an action, such as Microsoft.CognitiveServices/accounts/listKeys/action. Nil means yes.
	Allow func(caller, action string) bool
}

// Server holds one account. It is safe for concurrent use.
type Server struct {
	// Faults makes operations misbehave, by the names listKeys and regenerateKey.
	Faults faultplan.Plan

	options Options
	mu      sync.Mutex
	keys    [2]string
	late    [2]int
}

// New returns a Server, whose account has two keys.
func New(options Options) *Server { return &Server{options: options, keys: [2]string{draw(), draw()}} }

func draw() string { return rand.Text() + rand.Text() + rand.Text() }

// Keys returns the values of key1 and key2.
func (s *Server) Keys() [2]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.keys
}

// Works reports whether a key is accepted where it is used.
func (s *Server) Works(key string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := slices.Index(s.keys[:], key)
	if at < 0 || s.options.DisableLocalAuth {
		return false
	}
	if s.late[at] > 0 {
		s.late[at]--
		return false
	}
	return true
}

var operationPath = regexp.MustCompile(`^(/subscriptions/[^/]+/resourceGroups/[^/]+/providers/Microsoft\.CognitiveServices/accounts/[^/]+)/(listKeys|regenerateKey)$`)

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	parts := operationPath.FindStringSubmatch(r.URL.Path)
	if parts == nil {
		parts = make([]string, 3)
	}
	s.Faults.Serve(func(w http.ResponseWriter, r *http.Request) {
		s.serve(w, r, operation{account: parts[1], name: parts[2]})
	}, parts[2])(w, r)
}

type operation struct{ account, name string }

func refuse(w http.ResponseWriter, status int, code, message string) {
	strictjson.Write(w, status, map[string]any{"error": map[string]string{"code": code, "message": message}})
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request, o operation) {
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	caller := ""
	if ok {
		caller, ok = s.options.Caller(token)
	}
	action := "Microsoft.CognitiveServices/accounts/" + o.name + "/action"
	switch query := r.URL.Query(); {
	case !ok:
		w.Header().Set("WWW-Authenticate", `Bearer authorization_uri="https://login.windows.net/", error="invalid_token"`)
		refuse(w, http.StatusUnauthorized, "InvalidAuthenticationToken", "The access token is invalid.")
	case !query.Has("api-version"):
		refuse(w, http.StatusBadRequest, "MissingApiVersionParameter", "The api-version query parameter (?api-version=) is required for all requests.")
	case !slices.Contains(versions, query.Get("api-version")):
		refuse(w, http.StatusBadRequest, "NoRegisteredProviderFound", "No registered resource provider found for this API version.")
	case o.name == "" || r.Method != http.MethodPost:
		refuse(w, http.StatusNotFound, "NotFound", "There is no such operation.")
	case s.options.Allow != nil && !s.options.Allow(caller, action):
		refuse(w, http.StatusForbidden, "AuthorizationFailed", "The client '"+caller+"' does not have authorization to perform action '"+action+
			"' over scope '"+o.account+"' or the scope is invalid. If access was recently granted, please refresh your credentials.")
	case o.account != s.options.ID:
		refuse(w, http.StatusNotFound, "ResourceNotFound", "The Resource '"+o.account+"' was not found.")
	case s.options.DisableLocalAuth:
		refuse(w, http.StatusBadRequest, "BadRequest", "Failed to list key. disableLocalAuth is set to be true")
	case o.name == "regenerateKey":
		s.regenerate(w, r)
	default:
		s.answer(w)
	}
}

func (s *Server) regenerate(w http.ResponseWriter, r *http.Request) {
	var in struct {
		KeyName string `json:"keyName"`
	}
	if err := strictjson.Read(r, &in); err != nil {
		refuse(w, http.StatusBadRequest, "InvalidRequestContent", err.Error())
		return
	}
	slot := slices.Index([]string{"Key1", "Key2"}, in.KeyName)
	if slot < 0 {
		refuse(w, http.StatusBadRequest, "InvalidKeyName", "The key name has to be Key1 or Key2.")
		return
	}
	s.mu.Lock()
	s.keys[slot], s.late[slot] = draw(), s.options.Late
	s.mu.Unlock()
	s.answer(w)
}

func (s *Server) answer(w http.ResponseWriter) {
	keys := s.Keys()
	strictjson.Write(w, http.StatusOK, map[string]string{"key1": keys[0], "key2": keys[1]})
}
