// Package entra is a stand-in for the token service of Microsoft Entra ID: instance discovery, OpenID Connect metadata, keys, and the token
// endpoint for app registrations that show who they are by a secret, a certificate or a federated credential
// (https://learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow,
// https://learn.microsoft.com/entra/identity-platform/certificate-credentials,
// https://learn.microsoft.com/entra/workload-id/workload-identity-federation). It also knows which tokens are valid for which resource, for
// the stand-ins of Azure's services.
//
// Its answers name the host that it was asked under, so it is served over TLS: clients accept nothing else.
//
// The package must not know how the gateway asks.
package entra

import (
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/postern-ai/postern/localdev/fake/fault"
	"github.com/postern-ai/postern/localdev/fake/jwtauth"
)

const maxBody = 256 << 10

// Options describes the directory.
type Options struct {
	// Tenant is its id.
	Tenant string
	// Apps are the app registrations.
	Apps []App
	// Resources are the services that tokens can be had for, as App ID URIs. Empty means any.
	Resources []string
	// Issuers finds the keys of the issuers that federated credentials name. Nil means that there are none.
	Issuers jwtauth.KeySets
	// Lifetime is how long new tokens are valid. Zero means an hour.
	Lifetime time.Duration
	// Signer signs tokens, with RS256. Nil means one with a key of its own.
	Signer *jwtauth.Signer
}

// App is an app registration, and how it may show who it is.
type App struct {
	ClientID string
	ObjectID string
	// Secrets are its client secrets, each with its expiry. The zero time is that of one that does not expire.
	Secrets map[string]time.Time
	// Secret, when set, finds more of them, such as those that were added while the server runs.
	Secret func(given string) (expires time.Time, ok bool)
	// Certificates are those whose keys may sign assertions.
	Certificates []*x509.Certificate
	// SubjectName and Roots let certificates in by name: any with this common name that the roots have issued, when the assertion carries
	// its chain.
	SubjectName string
	Roots       *x509.CertPool
	// Federated are its federated identity credentials.
	Federated []Federated
}

// Federated is one federated identity credential. All three are compared as they are.
type Federated struct{ Issuer, Subject, Audience string }

// Server answers for one directory. It is safe for concurrent use.
type Server struct {
	// Discovery makes instance discovery and metadata misbehave, and counts their requests. Tokens is for the token endpoint.
	Discovery fault.Injector
	Tokens    fault.Injector

	options Options
	mux     *http.ServeMux

	mu     sync.Mutex
	issued map[string]grant
}

type grant struct {
	resource string
	expires  time.Time
}

// New returns a Server that has not issued anything yet.
func New(options Options) *Server {
	if options.Lifetime == 0 {
		options.Lifetime = time.Hour
	}
	if options.Signer == nil {
		options.Signer = jwtauth.NewSigner("RS256")
	}
	if options.Issuers == nil {
		options.Issuers = func(string) (jose.JSONWebKeySet, bool) { return jose.JSONWebKeySet{}, false }
	}
	s := &Server{options: options, mux: http.NewServeMux(), issued: map[string]grant{}}
	s.mux.HandleFunc("GET /common/discovery/instance", s.instance)
	s.mux.HandleFunc("GET /{tenant}/v2.0/.well-known/openid-configuration", s.inTenant(&s.Discovery, s.metadata))
	s.mux.HandleFunc("GET /{tenant}/discovery/v2.0/keys", s.inTenant(&s.Discovery, func(w http.ResponseWriter, r *http.Request) { s.options.Signer.ServeHTTP(w, r) }))
	s.mux.HandleFunc("POST /{tenant}/oauth2/v2.0/token", s.inTenant(&s.Tokens, s.token))
	return s
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	s.mux.ServeHTTP(w, r)
}

func (s *Server) inTenant(faults *fault.Injector, next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		switch {
		case faults.Handle(w, r):
		case !strings.EqualFold(r.PathValue("tenant"), s.options.Tenant):
			refuse(w, &refusal{http.StatusBadRequest, "invalid_tenant", 90002, fmt.Sprintf("Tenant '%s' not found.", r.PathValue("tenant"))})
		default:
			next(w, r)
		}
	}
}

// instance is instance discovery: which hosts are this cloud's.
func (s *Server) instance(w http.ResponseWriter, r *http.Request) {
	if s.Discovery.Handle(w, r) {
		return
	}
	if r.URL.Query().Get("api-version") != "1.1" || r.URL.Query().Get("authorization_endpoint") == "" {
		refuse(w, &refusal{http.StatusBadRequest, "invalid_request", 900144, "The request must have api-version and authorization_endpoint."})
		return
	}
	answer(w, http.StatusOK, map[string]any{
		"tenant_discovery_endpoint": s.base(r) + "/v2.0/.well-known/openid-configuration", "api-version": "1.1",
		"metadata": []any{map[string]any{"preferred_network": r.Host, "preferred_cache": r.Host, "aliases": []string{r.Host}}},
	})
}

func (s *Server) base(r *http.Request) string { return "https://" + r.Host + "/" + s.options.Tenant }

func (s *Server) metadata(w http.ResponseWriter, r *http.Request) {
	base := s.base(r)
	answer(w, http.StatusOK, map[string]any{
		"issuer": base + "/v2.0", "token_endpoint": base + "/oauth2/v2.0/token", "authorization_endpoint": base + "/oauth2/v2.0/authorize",
		"jwks_uri": base + "/discovery/v2.0/keys", "response_types_supported": []string{"code"}, "subject_types_supported": []string{"pairwise"},
		"id_token_signing_alg_values_supported": []string{"RS256"},
		"token_endpoint_auth_methods_supported": []string{"client_secret_post", "private_key_jwt", "client_secret_basic"},
	})
}

// refusal is an error of the token service.
type refusal struct {
	status  int
	code    string
	number  int
	message string
}

// Error returns the message under its number.
func (r *refusal) Error() string { return fmt.Sprintf("AADSTS%d: %s", r.number, r.message) }

const traceID = "00000000-0000-4000-8000-000000000000"

func refuse(w http.ResponseWriter, r *refusal) {
	now := time.Now().UTC().Format("2006-01-02 15:04:05Z")
	answer(w, r.status, map[string]any{
		"error": r.code, "error_description": fmt.Sprintf("%v Trace ID: %s Correlation ID: %s Timestamp: %s", r, traceID, traceID, now), "error_codes": []int{r.number},
		"timestamp": now, "trace_id": traceID, "correlation_id": traceID, "error_uri": fmt.Sprintf("https://login.microsoftonline.com/error?code=%d", r.number),
	})
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}

// issue makes a token of version 1.0, as the inference services of Azure take them.
func (s *Server) issue(app App, resource string) (string, time.Duration, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	expires := now.Add(s.options.Lifetime).Truncate(time.Second)
	token, err := s.options.Signer.Sign(map[string]any{
		"aud": resource, "iss": "https://sts.windows.net/" + s.options.Tenant + "/", "tid": s.options.Tenant, "ver": "1.0", "idtyp": "app",
		"appid": app.ClientID, "appidacr": "2", "oid": app.ObjectID, "sub": app.ObjectID,
		"iat": now.Unix(), "nbf": now.Unix(), "exp": expires.Unix(), "uti": rand.Text(),
	})
	if err != nil {
		return "", 0, err
	}
	s.issued[token] = grant{resource: resource, expires: expires}
	return token, s.options.Lifetime, nil
}

// Valid reports whether a token was issued here for the resource and has not expired. A slash at the end of the resource does not count.
func (s *Server) Valid(token, resource string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	grant, ok := s.issued[token]
	return ok && strings.TrimSuffix(grant.resource, "/") == strings.TrimSuffix(resource, "/") && time.Now().Before(grant.expires)
}

// Revoke makes a token invalid.
func (s *Server) Revoke(token string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.issued, token)
}

// SetLifetime changes how long new tokens are valid. A negative one makes them expired from the start.
func (s *Server) SetLifetime(lifetime time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.options.Lifetime = lifetime
}

// SetSecrets replaces the client secrets of an app.
func (s *Server) SetSecrets(clientID string, secrets map[string]time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.options.Apps {
		if s.options.Apps[i].ClientID == clientID {
			s.options.Apps[i].Secrets = secrets
		}
	}
}

func (s *Server) app(clientID string) (App, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := slices.IndexFunc(s.options.Apps, func(a App) bool { return strings.EqualFold(a.ClientID, clientID) })
	if at < 0 {
		return App{}, false
	}
	return s.options.Apps[at], true
}
