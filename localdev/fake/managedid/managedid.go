// Package managedid is a stand-in for the token endpoint that App Service and Functions give an app with a managed identity
// (https://learn.microsoft.com/azure/app-service/overview-managed-identity#rest-endpoint-reference). It also knows which tokens are
// valid for which resource, for the stand-ins of Azure's services.
//
// The package must not know how the gateway asks.
package managedid

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/postern-ai/postern/localdev/fake/fault"
	"github.com/postern-ai/postern/localdev/fake/jwtauth"
)

const (
	apiVersion = "2019-08-01"
	// Tenant is the directory in which the stand-in's identities live.
	Tenant = "11111111-2222-4333-8444-555555555555"
	// Issuer is the iss claim of tokens for resources that take tokens of version 1.0, as those of managed identities are by default.
	Issuer = "https://sts.windows.net/" + Tenant + "/"
	// IssuerV2 is the one for resources that take tokens of version 2.0.
	IssuerV2 = "https://login.microsoftonline.com/" + Tenant + "/v2.0"
	// TokenExchange is the resource that an app registration which trusts the identity expects, and TokenExchangeID the id of its
	// application, which is the audience of such tokens.
	TokenExchange   = "api://AzureADTokenExchange"
	TokenExchangeID = "fb60f99c-7a34-4190-8149-302f77469936"
)

// Identity is one managed identity.
type Identity struct {
	ClientID   string
	ObjectID   string
	ResourceID string
}

// Options describes the app.
type Options struct {
	// Secret is the value of IDENTITY_HEADER. It must not be empty.
	Secret string
	// System is the system-assigned identity. Its zero value means that there is none.
	System Identity
	// User lists the user-assigned identities.
	User []Identity
	// V2 lists resources that take tokens of version 2.0, as TokenExchange does, with the ids of their applications. In these tokens the
	// audience is that id and not the resource (https://learn.microsoft.com/entra/identity-platform/access-token-claims-reference).
	V2 map[string]string
	// Lifetime is how long new tokens are valid. Zero means 24 hours, as on the platform.
	Lifetime time.Duration
	// Signer signs tokens, with RS256. Nil means one with a key of its own.
	Signer *jwtauth.Signer
}

// Server gives out tokens. It is safe for concurrent use.
type Server struct {
	// Faults makes the endpoint misbehave.
	Faults fault.Injector

	options Options
	mu      sync.Mutex
	current map[string]string // identity and resource to the token that is given out for them
	issued  map[string]grant
}

type grant struct {
	resource string
	identity Identity
	expires  time.Time
}

// New returns a Server that has not issued anything yet.
func New(options Options) *Server {
	if options.Lifetime == 0 {
		options.Lifetime = 24 * time.Hour
	}
	if options.Signer == nil {
		options.Signer = jwtauth.NewSigner("RS256")
	}
	return &Server{options: options, current: map[string]string{}, issued: map[string]grant{}}
}

// KeySet returns the keys that verify the tokens.
func (s *Server) KeySet() jose.JSONWebKeySet { return s.options.Signer.KeySet() }

// ServeHTTP answers a request for a token. The path is any.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if s.Faults.Handle(w, r) {
		return
	}
	query := r.URL.Query()
	resource := query.Get("resource")
	switch {
	case s.options.Secret == "" || subtle.ConstantTimeCompare([]byte(r.Header.Get("X-Identity-Header")), []byte(s.options.Secret)) != 1:
		refuse(w, http.StatusUnauthorized, "The X-IDENTITY-HEADER is missing or wrong.")
	case r.Method != http.MethodGet:
		refuse(w, http.StatusMethodNotAllowed, "Only GET is allowed.")
	case query.Get("api-version") != apiVersion:
		refuse(w, http.StatusBadRequest, "The api-version is missing or not supported.")
	case resource == "":
		refuse(w, http.StatusBadRequest, "The resource parameter is missing.")
	case !isResource(resource):
		refuse(w, http.StatusBadRequest, "AADSTS500011: The resource principal was not found in the tenant.")
	default:
		identity, message := s.find(query)
		if message != "" {
			refuse(w, http.StatusBadRequest, message)
			return
		}
		s.answer(w, identity, resource)
	}
}

// isResource refuses what Entra ID would not know as a resource, above all a v2 scope.
func isResource(resource string) bool {
	parsed, err := url.Parse(resource)
	return err == nil && (parsed.Scheme == "https" || parsed.Scheme == "api") && !strings.HasSuffix(resource, "/.default")
}

func refuse(w http.ResponseWriter, status int, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{"statusCode": status, "message": message, "correlationId": "00000000-0000-4000-8000-000000000000"})
}

// find returns the identity that the request selects, or why there is none.
func (s *Server) find(query url.Values) (Identity, string) {
	selectors := map[string]func(Identity) string{
		"client_id":    func(i Identity) string { return i.ClientID },
		"object_id":    func(i Identity) string { return i.ObjectID },
		"principal_id": func(i Identity) string { return i.ObjectID },
		"mi_res_id":    func(i Identity) string { return i.ResourceID },
	}
	var selector string
	for name := range selectors {
		if !query.Has(name) {
			continue
		}
		if selector != "" {
			return Identity{}, "Only one of client_id, object_id, principal_id and mi_res_id may be given."
		}
		selector = name
	}
	if selector == "" {
		if s.options.System == (Identity{}) {
			return Identity{}, "No system-assigned managed identity found for this app."
		}
		return s.options.System, ""
	}
	wanted := query.Get(selector)
	at := slices.IndexFunc(s.options.User, func(i Identity) bool { return strings.EqualFold(selectors[selector](i), wanted) })
	if at < 0 || wanted == "" {
		return Identity{}, "No User Assigned or Delegated Managed Identity found for specified ClientId/ResourceId/PrincipalId."
	}
	return s.options.User[at], ""
}

func (s *Server) answer(w http.ResponseWriter, identity Identity, resource string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := identity.ClientID + " " + resource
	token := s.current[key]
	// The platform keeps tokens too: it gives out the same one again during the first half of its life.
	if time.Until(s.issued[token].expires) <= s.options.Lifetime/2 {
		token = s.issue(identity, resource)
		s.current[key] = token
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]string{
		"access_token": token, "token_type": "Bearer", "resource": resource, "client_id": identity.ClientID,
		"expires_on": strconv.FormatInt(s.issued[token].expires.Unix(), 10),
		"not_before": strconv.FormatInt(s.issued[token].expires.Add(-s.options.Lifetime).Unix(), 10),
	})
}

func (s *Server) issue(identity Identity, resource string) string {
	now := time.Now()
	expires := now.Add(s.options.Lifetime).Truncate(time.Second)
	claims := map[string]any{
		"aud": resource, "iss": Issuer, "tid": Tenant, "ver": "1.0", "idtyp": "app", "appid": identity.ClientID,
		"oid": identity.ObjectID, "sub": identity.ObjectID, "xms_mirid": identity.ResourceID,
		"iat": now.Unix(), "nbf": now.Unix(), "exp": expires.Unix(), "uti": rand.Text(),
	}
	if application, ok := s.options.V2[resource]; ok {
		delete(claims, "appid")
		claims["aud"], claims["iss"], claims["ver"], claims["azp"] = application, IssuerV2, "2.0", identity.ClientID
	}
	token, err := s.options.Signer.Sign(claims)
	if err != nil {
		panic(err) // The claims are ours and the key is made for them.
	}
	s.issued[token] = grant{resource: resource, identity: identity, expires: expires}
	return token
}

// Valid reports whether a token was issued here for the resource and has not expired. A slash at the end of the resource does not count.
func (s *Server) Valid(token, resource string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	grant, ok := s.issued[token]
	return ok && strings.TrimSuffix(grant.resource, "/") == strings.TrimSuffix(resource, "/") && time.Now().Before(grant.expires)
}

// Revoke makes a token invalid. The next request gets another.
func (s *Server) Revoke(token string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.issued, token)
}

// SetLifetime changes how long new tokens are valid, and forgets which were to be given out again.
func (s *Server) SetLifetime(lifetime time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.options.Lifetime = lifetime
	clear(s.current)
}
