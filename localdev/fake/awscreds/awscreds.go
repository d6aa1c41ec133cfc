// Package awscreds is a stand-in for the endpoint that gives a container the credentials of its role
// (https://docs.aws.amazon.com/sdkref/latest/guide/feature-container-credentials.html), and for the issuer behind it: it also knows which
// keys are valid, for the stand-ins that verify signatures.
//
// The package must not know how the gateway reads the endpoint.
package awscreds

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/json"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/postern-ai/postern/localdev/fake/awsauth"
	"github.com/postern-ai/postern/localdev/fake/fault"
)

// Options describes the role.
type Options struct {
	// AuthorizationToken is what a request must carry in its Authorization header. Empty means that none is needed.
	AuthorizationToken string
	// Lifetime is how long new credentials are valid. Zero means an hour.
	Lifetime time.Duration
	// Account and Role name the role. Empty means 123456789012 and postern-gateway.
	Account string
	Role    string
}

// Server gives out credentials. It is safe for concurrent use.
type Server struct {
	// Faults makes the endpoint misbehave.
	Faults fault.Injector

	options Options
	mu      sync.Mutex
	current awsauth.Key
	issued  map[string]awsauth.Key
}

// New returns a Server that has not issued anything yet.
func New(options Options) *Server {
	if options.Lifetime == 0 {
		options.Lifetime = time.Hour
	}
	if options.Account == "" {
		options.Account = "123456789012"
	}
	if options.Role == "" {
		options.Role = "postern-gateway"
	}
	return &Server{options: options, issued: map[string]awsauth.Key{}}
}

// ServeHTTP answers with the current credentials. Credentials past half of their lifetime are replaced first; the old ones stay valid
// until they expire.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if s.Faults.Handle(w, r) {
		return
	}
	if r.Method != http.MethodGet {
		refuse(w, http.StatusMethodNotAllowed, "MethodNotAllowed")
		return
	}
	if subtle.ConstantTimeCompare([]byte(r.Header.Get("Authorization")), []byte(s.options.AuthorizationToken)) != 1 {
		refuse(w, http.StatusUnauthorized, "InvalidAuthorizationToken")
		return
	}
	key := s.fresh()
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]string{
		"AccessKeyId": key.AccessKeyID, "SecretAccessKey": key.SecretAccessKey, "Token": key.SessionToken,
		"Expiration": key.Expires.UTC().Format(time.RFC3339), "AccountId": key.Account,
		"RoleArn": "arn:aws:iam::" + key.Account + ":role/" + s.options.Role,
	})
}

func refuse(w http.ResponseWriter, status int, code string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]string{"code": code, "message": "the request for credentials was refused"})
}

func (s *Server) fresh() awsauth.Key {
	s.mu.Lock()
	defer s.mu.Unlock()
	if time.Until(s.current.Expires) <= s.options.Lifetime/2 {
		s.current = s.issue()
	}
	return s.current
}

// Issue makes new credentials, as the platform does for a function that gets them in its environment.
func (s *Server) Issue() awsauth.Key {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.issue()
}

// Rotate replaces the current credentials. The old ones stay valid until they expire.
func (s *Server) Rotate() awsauth.Key {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.current = s.issue()
	return s.current
}

// Revoke makes issued credentials unknown from now on. If they are the current ones, the next request gets new ones.
func (s *Server) Revoke(accessKeyID string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.issued, accessKeyID)
	if s.current.AccessKeyID == accessKeyID {
		s.current = awsauth.Key{}
	}
}

// SetLifetime changes how long new credentials are valid. A negative one makes them expired from the start.
func (s *Server) SetLifetime(lifetime time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.options.Lifetime = lifetime
	s.current = awsauth.Key{}
}

// Lookup finds issued credentials. It is an awsauth.Lookup.
func (s *Server) Lookup(accessKeyID string) (awsauth.Key, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	key, ok := s.issued[accessKeyID]
	return key, ok
}

func (s *Server) issue() awsauth.Key {
	key := awsauth.Key{
		AccessKeyID:     "ASIA" + rand.Text()[:16],
		SecretAccessKey: rand.Text() + rand.Text()[:14],
		// Real session tokens are long, and hold characters that a signature has to treat with care.
		SessionToken: "IQoJb3JpZ2luX2VjE" + strings.Repeat(rand.Text()+"/+", 12) + "==",
		// The endpoint states whole seconds.
		Expires: time.Now().Add(s.options.Lifetime).Truncate(time.Second),
		UserID:  "AROA" + rand.Text()[:17] + ":local",
		ARN:     "arn:aws:sts::" + s.options.Account + ":assumed-role/" + s.options.Role + "/local",
		Account: s.options.Account,
	}
	s.issued[key.AccessKeyID] = key
	return key
}
