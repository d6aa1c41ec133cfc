// Package keyvault is a stand-in for the secrets of one Azure Key Vault (https://learn.microsoft.com/rest/api/keyvault/secrets/), and for its keys as
// far as signatures go. It keeps what makes this store different: the newest version is the one that is read, nothing is written under a condition, a deleted name is
// taken until it is purged, and a caller without a token is told where to get one.
//
// The package must not know how the gateway reads, or how it rotates.
package keyvault

import (
	"errors"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/postern-ai/postern/localdev/fake/faultplan"
)

const (
	// Resource is the audience of the tokens that a vault takes, in the public cloud.
	Resource = "https://vault.azure.net"

	maxBody = 256 << 10
)

// versions are the API versions that the service knows.
var versions = []string{"2016-10-01", "7.0", "7.1", "7.2", "7.3", "7.4", "7.5", "7.6", "2025-07-01", "2026-04-01"}

// Options describes the vault and who may do what.
type Options struct {
	// Caller names who holds an access token for [Resource]. It reports false for a token that is not valid.
	Caller func(token string) (string, bool)
	// Tenant is the directory of the vault. Empty means 00000000-0000-4000-8000-00000000000a.
	Tenant string
	// Allow decides whether a caller may do something. Nil means that all may do everything.
	Allow func(access Access) bool
}

// Access is one thing that somebody wants to do.
type Access struct {
	Caller string
	// Action is a data action, such as Microsoft.KeyVault/vaults/secrets/getSecret/action.
	Action string
	// Secret is the name of the secret, or of the key.
	Secret string
}

// Server holds the secrets of one vault. It is safe for concurrent use.
type Server struct {
	// Faults makes operations misbehave, by names such as GetSecret, SetSecret, GetSecretVersions and Sign.
	Faults faultplan.Plan

	options Options
	mu      sync.Mutex
	secrets map[string]*secret // by lower-case name
	deleted map[string]*secret
	keys    map[string]Key // by lower-case name and version
}

// New returns a Server without secrets.
func New(options Options) *Server {
	if options.Tenant == "" {
		options.Tenant = "00000000-0000-4000-8000-00000000000a"
	}
	return &Server{options: options, secrets: map[string]*secret{}, deleted: map[string]*secret{}, keys: map[string]Key{}}
}

// call is one request that has been understood. The server's lock is held while it is served.
type call struct {
	server  *Server
	request *http.Request
	body    []byte
	secret  string
	version string
	now     time.Time
}

// operation is one operation of the API.
type operation struct {
	name   string
	action string
	serve  func(*call) (any, error)
}

var (
	secretPath  = regexp.MustCompile(`^/secrets/([^/]+)/?$`)
	versionPath = regexp.MustCompile(`^/secrets/([^/]+)/([^/]+)/?$`)
	deletedPath = regexp.MustCompile(`^/deletedsecrets/([^/]+)(/recover)?/?$`)

	nameForm = regexp.MustCompile(`^[0-9a-zA-Z-]{1,127}$`)
)

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := &call{server: s, request: r, now: time.Now()}
	o, ok := c.route()
	s.Faults.Serve(func(w http.ResponseWriter, _ *http.Request) { s.serve(w, c, o, ok) }, o.name)(w, r)
}

func (s *Server) serve(w http.ResponseWriter, c *call, o operation, found bool) {
	reply, err := s.answer(w, c, o, found)
	if err != nil {
		writeError(w, err)
		return
	}
	if reply == nil {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	encoded, err := json.Marshal(reply)
	if err != nil {
		writeError(w, err)
		return
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	_, _ = w.Write(encoded)
}

func (s *Server) answer(w http.ResponseWriter, c *call, o operation, found bool) (any, error) {
	if c.request.TLS == nil {
		return nil, &problem{Status: http.StatusForbidden, Code: "Forbidden", Message: "TLS is required."}
	}
	// The token comes first, before the API version and before the body: clients begin with an empty request to learn where tokens
	// are had.
	caller, err := s.caller(w, c.request)
	if err != nil {
		return nil, err
	}
	if version := c.request.URL.Query().Get("api-version"); !slices.Contains(versions, version) {
		return nil, bad("api-version has to be one of " + strings.Join(versions, ", "))
	}
	if !found {
		return nil, &problem{Status: http.StatusNotFound, Code: "NotFound", Message: "The requested resource was not found."}
	}
	if !nameForm.MatchString(c.secret) {
		return nil, bad("The request URI contains an invalid name: " + c.secret)
	}
	if c.body, err = io.ReadAll(http.MaxBytesReader(w, c.request.Body, maxBody)); err != nil {
		return nil, bad("The request is too large.")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.options.Allow != nil && !s.options.Allow(Access{Caller: caller, Action: o.action, Secret: c.secret}) {
		return nil, &problem{Status: http.StatusForbidden, Code: "Forbidden", Inner: "ForbiddenByRbac",
			Message: "Caller is not authorized to perform action on resource.\r\nCaller: " + caller + "\r\nAction: '" + o.action + "'"}
	}
	return o.serve(c)
}

func (s *Server) caller(w http.ResponseWriter, r *http.Request) (string, error) {
	challenge := `Bearer authorization="https://login.microsoftonline.com/` + s.options.Tenant + `", resource="` + Resource + `"`
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok || token == "" {
		w.Header().Set("Www-Authenticate", challenge)
		return "", &problem{Status: http.StatusUnauthorized, Code: "Unauthorized", Message: "AKV10000: Request is missing a Bearer or PoP token."}
	}
	if s.options.Caller != nil {
		if caller, ok := s.options.Caller(token); ok {
			return caller, nil
		}
	}
	w.Header().Set("Www-Authenticate", challenge)
	return "", &problem{Status: http.StatusUnauthorized, Code: "Unauthorized", Message: "AKV10022: Invalid audience, issuer or lifetime of the token."}
}

// route finds the operation for a path and verb. A path may end in a slash: the vendor's clients ask so for the newest version.
func (c *call) route() (operation, bool) {
	path := c.request.URL.Path
	type key struct{ form, verb string }
	var k key
	switch {
	case secretPath.MatchString(path):
		c.secret, k = secretPath.FindStringSubmatch(path)[1], key{"secret", c.request.Method}
	case strings.HasPrefix(path, "/secrets/") && versionPath.MatchString(path):
		m := versionPath.FindStringSubmatch(path)
		c.secret, c.version, k = m[1], m[2], key{"version", c.request.Method}
		if c.version == "versions" {
			k.form = "versions"
		}
	case deletedPath.MatchString(path):
		m := deletedPath.FindStringSubmatch(path)
		c.secret, k = m[1], key{"deleted" + m[2], c.request.Method}
	case keyPath.MatchString(path):
		m := keyPath.FindStringSubmatch(path)
		c.secret, c.version, k = m[1], m[2], key{"key" + m[3], c.request.Method}
	default:
		return operation{}, false
	}
	const actions = "Microsoft.KeyVault/vaults/secrets/"
	found, ok := map[key]operation{
		{"secret", "PUT"}:           {"SetSecret", actions + "setSecret/action", (*call).set},
		{"secret", "GET"}:           {"GetSecret", actions + "getSecret/action", (*call).get},
		{"secret", "DELETE"}:        {"DeleteSecret", actions + "delete", (*call).remove},
		{"version", "GET"}:          {"GetSecret", actions + "getSecret/action", (*call).get},
		{"version", "PATCH"}:        {"UpdateSecret", actions + "update/action", (*call).update},
		{"versions", "GET"}:         {"GetSecretVersions", actions + "readMetadata/action", (*call).list},
		{"deleted", "GET"}:          {"GetDeletedSecret", actions + "readMetadata/action", (*call).getDeleted},
		{"deleted", "DELETE"}:       {"PurgeDeletedSecret", actions + "purge/action", (*call).purge},
		{"deleted/recover", "POST"}: {"RecoverDeletedSecret", actions + "recover/action", (*call).recover},
		{"key", "GET"}:              {"GetKey", "Microsoft.KeyVault/vaults/keys/read", (*call).getKey},
		{"key/sign", "POST"}:        {"Sign", "Microsoft.KeyVault/vaults/keys/sign/action", (*call).sign},
	}[k]
	return found, ok
}

// read decodes a body.
func (c *call) read(into any) error {
	if err := json.Unmarshal(c.body, into, json.RejectUnknownMembers(true)); err != nil {
		return bad("The body is not an object with members that are known and of the right types.")
	}
	return nil
}

// problem is an error of the service (https://learn.microsoft.com/azure/key-vault/general/authentication-requests-and-responses).
type problem struct {
	Status  int
	Code    string
	Message string
	Inner   string
}

func (p *problem) Error() string { return p.Code + ": " + p.Message }

func bad(message string) error {
	return &problem{Status: http.StatusBadRequest, Code: "BadParameter", Message: message}
}

func writeError(w http.ResponseWriter, err error) {
	told, ok := errors.AsType[*problem](err)
	if !ok {
		told = &problem{Status: http.StatusInternalServerError, Code: "InternalServerError", Message: "internal error"}
	}
	type inner struct {
		Code string `json:"code"`
	}
	type body struct {
		Code    string `json:"code"`
		Message string `json:"message"`
		Inner   inner  `json:"innererror,omitzero"`
	}
	encoded, _ := json.Marshal(map[string]body{"error": {told.Code, told.Message, inner{told.Inner}}})
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(told.Status)
	_, _ = w.Write(encoded)
}
