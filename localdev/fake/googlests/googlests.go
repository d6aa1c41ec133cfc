// Package googlests is a stand-in for the services that issue Google's tokens: the Security Token Service (sts.googleapis.com), the IAM
// Credentials API (iamcredentials.googleapis.com) and the OAuth 2.0 token endpoint (oauth2.googleapis.com), as
// https://cloud.google.com/iam/docs/reference/sts/rest, https://cloud.google.com/iam/docs/reference/credentials/rest and
// https://developers.google.com/identity/protocols/oauth2/service-account describe them. One handler has the paths of all three.
//
// Tokens of other clouds are verified as Google verifies them: AWS's by the signature of a request for the caller's identity, others by
// their issuer's keys. The stand-in also knows which access tokens are valid and for whom, for the stand-ins of Google's services.
//
// The package must not know how the gateway asks.
package googlests

import (
	"crypto/rand"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/postern-ai/postern/localdev/fake/awsauth"
	"github.com/postern-ai/postern/localdev/fake/fault"
	"github.com/postern-ai/postern/localdev/fake/jwtauth"
)

const (
	// Issuer is the iss claim of identity tokens.
	Issuer = "https://accounts.google.com"
	// CloudPlatform is the scope that covers all of Google Cloud, the IAM Credentials API included.
	CloudPlatform = "https://www.googleapis.com/auth/cloud-platform"

	maxBody = 256 << 10
)

// Options describes what the services know.
type Options struct {
	// Providers are the workload identity pool providers, by their full resource names
	// (//iam.googleapis.com/projects/N/locations/global/workloadIdentityPools/POOL/providers/PROVIDER).
	Providers map[string]Provider
	// Keys finds the credentials of AWS. Nil means that there are none.
	Keys awsauth.Lookup
	// Issuers finds the keys of other identity providers. Nil means that there are none.
	Issuers jwtauth.KeySets
	// Accounts are the service accounts.
	Accounts []Account
	// Users are people, with the refresh tokens that they have given to a client.
	Users []User
	// Callers finds whom an access token stands for that was issued elsewhere, such as by a metadata server. Nil means that there is none.
	Callers func(token string) (email string, ok bool)
	// Lifetime is how long new access tokens are valid. Zero means an hour.
	Lifetime time.Duration
	// Signer signs identity tokens, with RS256. Nil means one with a key of its own.
	Signer *jwtauth.Signer
}

// Provider is one workload identity pool provider. Exactly one of AWS and Issuer is set.
type Provider struct {
	// AWS is the account whose identities are accepted.
	AWS string
	// Issuer is the issuer whose tokens are accepted, for the audiences. No audience means the provider's own name.
	Issuer    string
	Audiences []string
	// Condition is the attribute condition on google.subject. Nil means that every subject is accepted.
	Condition func(subject string) bool
}

// Account is a service account.
type Account struct {
	Email    string
	UniqueID string
	// Creators may create tokens for the account: serviceAccount:EMAIL, user:EMAIL or principal://iam.googleapis.com/... of a workload
	// identity pool.
	Creators []string
	// Keys are the public keys of the account's service account keys.
	Keys jose.JSONWebKeySet
	// KeySet, when set, finds more of them, such as those that were added while the server runs.
	KeySet func() jose.JSONWebKeySet
	// LongLived says that the organisation allows tokens of up to 12 hours.
	LongLived bool
}

// User is a person.
type User struct {
	Email                                string
	ClientID, ClientSecret, RefreshToken string
}

// Grant is what an access token was issued for.
type Grant struct {
	// Member is whom the token stands for, as in a policy: serviceAccount:EMAIL, user:EMAIL or principal://...
	Member  string
	Scopes  []string
	Expires time.Time
}

// Server answers for all three services. It is safe for concurrent use.
type Server struct {
	// STS, Credentials and OAuth make the respective service misbehave, and count its requests.
	STS         fault.Injector
	Credentials fault.Injector
	OAuth       fault.Injector

	options Options
	mux     *http.ServeMux

	mu     sync.Mutex
	issued map[string]Grant
}

// New returns a Server that has not issued anything yet.
func New(options Options) *Server {
	if options.Lifetime == 0 {
		options.Lifetime = time.Hour
	}
	if options.Signer == nil {
		options.Signer = jwtauth.NewSigner("RS256")
	}
	if options.Keys == nil {
		options.Keys = func(string) (awsauth.Key, bool) { return awsauth.Key{}, false }
	}
	if options.Issuers == nil {
		options.Issuers = func(string) (jose.JSONWebKeySet, bool) { return jose.JSONWebKeySet{}, false }
	}
	s := &Server{options: options, mux: http.NewServeMux(), issued: map[string]Grant{}}
	s.mux.HandleFunc("POST /v1/token", s.faulty(&s.STS, s.exchange))
	s.mux.HandleFunc("POST /token", s.faulty(&s.OAuth, s.oauth))
	s.mux.HandleFunc("POST /v1/projects/{project}/serviceAccounts/{method}", s.faulty(&s.Credentials, s.credentials))
	return s
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	s.mux.ServeHTTP(w, r)
}

func (s *Server) faulty(faults *fault.Injector, next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if !faults.Handle(w, r) {
			next(w, r)
		}
	}
}

// KeySet returns the keys that verify the identity tokens.
func (s *Server) KeySet() jose.JSONWebKeySet { return s.options.Signer.KeySet() }

// Grant returns what an access token was issued for, as long as it is valid. Tokens that a service account has signed itself are access
// tokens too.
func (s *Server) Grant(token string) (Grant, bool) {
	s.mu.Lock()
	grant, ok := s.issued[token]
	s.mu.Unlock()
	if !ok {
		grant, ok = s.selfSigned(token)
	}
	if !ok && s.options.Callers != nil {
		var email string
		if email, ok = s.options.Callers(token); ok {
			grant = Grant{Member: "serviceAccount:" + email, Scopes: []string{CloudPlatform}, Expires: time.Now().Add(time.Minute)}
		}
	}
	return grant, ok && time.Now().Before(grant.Expires)
}

// Valid reports whether an access token may be used for all of Google Cloud now.
func (s *Server) Valid(token string) bool {
	grant, ok := s.Grant(token)
	return ok && slices.Contains(grant.Scopes, CloudPlatform)
}

// Revoke makes an access token invalid.
func (s *Server) Revoke(token string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.issued, token)
}

// SetLifetime changes how long new access tokens are valid. A negative one makes them expired from the start.
func (s *Server) SetLifetime(lifetime time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.options.Lifetime = lifetime
}

// issue makes an access token. It is long, as tokens of federated identities are.
func (s *Server) issue(member string, scopes []string, lifetime time.Duration) (string, Grant) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if lifetime == 0 {
		lifetime = s.options.Lifetime
	}
	token := "ya29.d." + strings.Repeat(rand.Text(), 40)
	s.issued[token] = Grant{Member: member, Scopes: slices.Clone(scopes), Expires: time.Now().Add(lifetime).Truncate(time.Second)}
	return token, s.issued[token]
}

func (s *Server) account(email string) (Account, bool) {
	at := slices.IndexFunc(s.options.Accounts, func(a Account) bool { return a.Email == email || a.UniqueID == email && email != "" })
	if at < 0 {
		return Account{}, false
	}
	return s.options.Accounts[at], true
}

// isScope keeps out what Google has no scope for, above all several scopes in one.
func isScope(scope string) bool {
	return scope == "openid" || strings.HasPrefix(scope, "https://www.googleapis.com/auth/") && !strings.ContainsAny(scope, " ,")
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json; charset=UTF-8")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}

// refuse answers with an error of OAuth 2.0 (RFC 6749 section 5.2).
func refuse(w http.ResponseWriter, code, description string) {
	answer(w, http.StatusBadRequest, map[string]string{"error": code, "error_description": description})
}
