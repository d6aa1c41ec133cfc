// Package oauth is a stand-in for an OAuth 2.0 authorization server without users: client credentials (RFC 6749 section 4.4) and token
// exchange (RFC 8693) for registered clients that authenticate by a secret, a signed assertion (RFC 7523), a foreign issuer's token or a
// TLS certificate (RFC 8705), with resource indicators (RFC 8707) and both kinds of discovery documents (OpenID Connect Discovery 1.0,
// RFC 8414). It also knows which of its tokens are valid for what, for the stand-ins of the services that they are for.
//
// It refuses what those documents tell a server to refuse, and ignores what they tell it to ignore. It must not know anything about the
// gateway, and serves tests and local runs only.
package oauth

import (
	"cmp"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/postern-ai/postern/localdev/fake/fault"
)

// The paths below an issuer's own.
const (
	TokenPath = "/token"
	KeysPath  = "/keys"
)

// The methods of authentication, as they are registered with RFC 7591.
const (
	SecretBasic    = "client_secret_basic"
	SecretPost     = "client_secret_post"
	PrivateKeyJWT  = "private_key_jwt"
	TLS            = "tls_client_auth"
	SelfSignedTLS  = "self_signed_tls_client_auth"
	Public         = "none"
	methodNotFound = ""
)

// The grant types that the server knows.
const (
	ClientCredentials = "client_credentials"
	TokenExchange     = "urn:ietf:params:oauth:grant-type:token-exchange"
)

// Client is a registered client.
type Client struct {
	ID string
	// Method is the one way in which it may authenticate.
	Method string
	// Secret is for the two secret methods.
	Secret string
	// Keys are the client's public keys, for PrivateKeyJWT.
	Keys jose.JSONWebKeySet
	// Federated, when set, makes PrivateKeyJWT accept a foreign issuer's token in place of one that the client has signed.
	Federated *Federated
	// SubjectDN is the certificate's subject for TLS, as Go prints it.
	SubjectDN string
	// Certificate is the registered one, for SelfSignedTLS.
	Certificate *x509.Certificate
	// Grants are the grant types that it may use.
	Grants []string
	// Scopes are what it may ask for, and what it gets when it does not ask.
	Scopes []string
	// Targets are the audiences and resources that it may name.
	Targets []string
	// Registration, when set, lets the client manage itself (RFC 7592).
	Registration *Registration
}

// Federated is a foreign subject that stands for a client.
type Federated struct {
	Issuer
	Subject, Audience string
}

// Options describes a server.
type Options struct {
	// URL is the server's issuer identifier, below which it must be served. It may have a path.
	URL     string
	Clients []Client
	// Subjects are the issuers whose tokens may be exchanged. A token's audience must be the server's URL.
	Subjects []Issuer
	// ClientCAs are what certificates are checked against, for TLS.
	ClientCAs *x509.CertPool
	// MutualTLS is the base of the endpoints for clients with certificates. Empty means that they are the same.
	MutualTLS string
	// Lifetime is how long tokens are valid. Zero means an hour.
	Lifetime time.Duration
	// JWT makes access tokens JSON Web Tokens (RFC 9068), signed by the key at KeysPath. Otherwise they are random.
	JWT bool
}

// Server is one authorization server. It is an http.Handler and may be used from several goroutines.
type Server struct {
	// Tokens and Descriptions make the token endpoint and the discovery documents misbehave, and count their requests.
	Tokens, Descriptions fault.Injector

	options Options
	base    *url.URL

	mu       sync.Mutex
	describe map[string]any // replaces members of the discovery documents
	hidden   map[string]bool
	issued   map[string]Grant
	used     map[string]time.Time // ids of assertions, until they may be forgotten
	signing  *ecdsa.PrivateKey
}

// Grant is what a token was issued for.
type Grant struct {
	Client, Subject, Audience, Resource string
	Scopes                              []string
	Expires                             time.Time
}

// New returns a server that has issued nothing yet. A URL that is none is a mistake in the test, and panics.
func New(options Options) *Server {
	base, err := url.Parse(options.URL)
	if err != nil || base.Host == "" {
		panic("oauth: the server's URL is not one")
	}
	options.Lifetime = cmp.Or(options.Lifetime, time.Hour)
	return &Server{
		options: options, base: base, describe: map[string]any{}, hidden: map[string]bool{},
		issued: map[string]Grant{}, used: map[string]time.Time{},
	}
}

// TokenURL returns where tokens are asked for.
func (s *Server) TokenURL() string { return s.options.URL + TokenPath }

// ServeHTTP serves the token endpoint, the key set and the discovery documents.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := strings.TrimSuffix(s.base.Path, "/")
	switch r.URL.Path {
	case path + TokenPath:
		if !s.Tokens.Handle(w, r) {
			s.token(w, r)
		}
	case s.OpenIDPath(), s.OAuthPath():
		if s.Descriptions.Handle(w, r) {
			return
		}
		if s.isHidden(r.URL.Path) {
			http.NotFound(w, r)
			return
		}
		s.get(w, r, s.description())
	case path + KeysPath:
		s.get(w, r, s.Keys())
	default:
		if id, ok := strings.CutPrefix(r.URL.Path, path+RegistrationPath); ok {
			s.registration(w, r, id)
			return
		}
		http.NotFound(w, r)
	}
}

// OpenIDPath and OAuthPath are where the two discovery documents are.
func (s *Server) OpenIDPath() string {
	return strings.TrimSuffix(s.base.Path, "/") + "/.well-known/openid-configuration"
}

// OAuthPath is where RFC 8414 puts its document.
func (s *Server) OAuthPath() string {
	return "/.well-known/oauth-authorization-server" + strings.TrimSuffix(s.base.Path, "/")
}

// Hide takes a discovery document away.
func (s *Server) Hide(path string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hidden[path] = true
}

func (s *Server) isHidden(path string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.hidden[path]
}

// Describe replaces a member of the discovery documents, or removes it when the value is nil.
func (s *Server) Describe(name string, value any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.describe[name] = value
}

func (s *Server) description() map[string]any {
	methods := map[string]bool{}
	for _, client := range s.options.Clients {
		methods[client.Method] = true
	}
	document := map[string]any{
		"issuer": s.options.URL, "token_endpoint": s.TokenURL(), "jwks_uri": s.options.URL + KeysPath,
		"authorization_endpoint": s.options.URL + "/authorize", "response_types_supported": []string{"code"},
		"subject_types_supported": []string{"public"}, "id_token_signing_alg_values_supported": []string{"RS256"},
		"grant_types_supported":                            []string{ClientCredentials, TokenExchange},
		"token_endpoint_auth_methods_supported":            slices.Sorted(maps.Keys(methods)),
		"token_endpoint_auth_signing_alg_values_supported": []string{"RS256", "PS256", "ES256"},
	}
	if s.options.MutualTLS != "" {
		document["mtls_endpoint_aliases"] = map[string]string{"token_endpoint": s.options.MutualTLS + TokenPath}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, value := range s.describe {
		if value == nil {
			delete(document, name)
			continue
		}
		document[name] = value
	}
	return document
}

func (s *Server) get(w http.ResponseWriter, r *http.Request, document any) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "only GET is allowed", http.StatusMethodNotAllowed)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(document)
}

// Keys is the key set that verifies tokens which are JSON Web Tokens.
func (s *Server) Keys() jose.JSONWebKeySet {
	s.mu.Lock()
	defer s.mu.Unlock()
	return jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: s.key().Public(), KeyID: "oauth-1", Algorithm: string(jose.ES256), Use: "sig"}}}
}

// key makes the signing key when it is first needed. The caller holds the lock.
func (s *Server) key() *ecdsa.PrivateKey {
	if s.signing == nil {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			panic(err)
		}
		s.signing = key
	}
	return s.signing
}

// Need is what a service wants of a token.
type Need struct {
	// Target is the service's own name: the audience or resource that the token must be for. Empty means that any will do.
	Target string
	// Scopes must all have been granted.
	Scopes []string
}

// Valid reports whether a token was issued here, has not expired, and is for what is needed.
func (s *Server) Valid(token string, need Need) bool {
	grant, found := s.Grant(token)
	if !found || !time.Now().Before(grant.Expires) {
		return false
	}
	if need.Target != "" && grant.Audience != need.Target && grant.Resource != need.Target {
		return false
	}
	return !slices.ContainsFunc(need.Scopes, func(scope string) bool { return !slices.Contains(grant.Scopes, scope) })
}

// Grant returns what a token was issued for, expired or not.
func (s *Server) Grant(token string) (Grant, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	grant, found := s.issued[token]
	return grant, found
}

// Revoke makes a token invalid.
func (s *Server) Revoke(token string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.issued, token)
}

// SetSecret changes a client's secret.
func (s *Server) SetSecret(client, secret string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.options.Clients = slices.Clone(s.options.Clients)
	for i := range s.options.Clients {
		if s.options.Clients[i].ID == client {
			s.options.Clients[i].Secret = secret
		}
	}
}
