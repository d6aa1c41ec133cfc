// Package metadata is a stand-in for the metadata server of Google Cloud, as Cloud Run has it
// (https://cloud.google.com/compute/docs/metadata/querying-metadata, https://cloud.google.com/run/docs/container-contract#metadata-server).
// It also knows which access tokens are valid, for the stand-ins of Google's services.
//
// The package must not know how the gateway asks.
package metadata

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/postern-ai/postern/localdev/fake/fault"
	"github.com/postern-ai/postern/localdev/fake/jwtauth"
)

const (
	prefix       = "/computeMetadata/v1/"
	flavorHeader = "Metadata-Flavor"
	flavor       = "Google"
	// cloudPlatform is the scope of a token for which none was asked.
	cloudPlatform = "https://www.googleapis.com/auth/cloud-platform"
	// reuse is how much life a token must have left to be given out again.
	reuse = 4 * time.Minute
)

// Options describes the instance.
type Options struct {
	// Email is the service account. Empty means gateway@local-project.iam.gserviceaccount.com. NoServiceAccount means that there is none.
	Email            string
	NoServiceAccount bool
	// UniqueID is the service account's number. Empty means 104000000000000000001.
	UniqueID string
	// ProjectID, ProjectNumber and Region are where the instance runs. Empty means local-project, 123456789 and europe-west4.
	ProjectID     string
	ProjectNumber string
	Region        string
	// Lifetime is how long new access tokens are valid. Zero means an hour.
	Lifetime time.Duration
	// Signer signs identity tokens, with RS256. Nil means one with a key of its own.
	Signer *jwtauth.Signer
}

// Server answers metadata requests. It is safe for concurrent use.
type Server struct {
	// Tokens, Emails and Identities make the respective paths misbehave, and count their requests.
	Tokens     fault.Injector
	Emails     fault.Injector
	Identities fault.Injector

	options Options
	mux     *http.ServeMux

	mu      sync.Mutex
	current map[string]string    // scopes to the token that is given out for them
	issued  map[string]time.Time // token to its expiry
}

// New returns a Server that has not issued anything yet.
func New(options Options) *Server {
	for field, value := range map[*string]string{
		&options.Email: "gateway@local-project.iam.gserviceaccount.com", &options.ProjectID: "local-project",
		&options.ProjectNumber: "123456789", &options.Region: "europe-west4", &options.UniqueID: "104000000000000000001",
	} {
		if *field == "" {
			*field = value
		}
	}
	if options.Lifetime == 0 {
		options.Lifetime = time.Hour
	}
	if options.Signer == nil {
		options.Signer = jwtauth.NewSigner("RS256")
	}
	s := &Server{options: options, current: map[string]string{}, issued: map[string]time.Time{}, mux: http.NewServeMux()}
	s.routes()
	return s
}

func (s *Server) routes() {
	const account = prefix + "instance/service-accounts/{account}/"
	text := func(value string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { plain(w, value) }
	}
	s.mux.HandleFunc("GET /{$}", text("computeMetadata/\n"))
	s.mux.HandleFunc("GET "+prefix+"{$}", text("instance/\nproject/\n"))
	s.mux.HandleFunc("GET "+prefix+"instance", text("region\nservice-accounts/\nzone\n"))
	s.mux.HandleFunc("GET "+prefix+"instance/{$}", text("region\nservice-accounts/\nzone\n"))
	s.mux.HandleFunc("GET "+prefix+"project/project-id", text(s.options.ProjectID))
	s.mux.HandleFunc("GET "+prefix+"project/numeric-project-id", text(s.options.ProjectNumber))
	s.mux.HandleFunc("GET "+prefix+"instance/region", text("projects/"+s.options.ProjectNumber+"/regions/"+s.options.Region))
	s.mux.HandleFunc("GET "+prefix+"instance/zone", text("projects/"+s.options.ProjectNumber+"/zones/"+s.options.Region+"-1"))
	s.mux.HandleFunc("GET "+prefix+"universe/universe-domain", text("googleapis.com"))
	s.mux.HandleFunc("GET "+account+"{$}", s.ofAccount(nil, s.account))
	s.mux.HandleFunc("GET "+account+"email", s.ofAccount(&s.Emails, func(w http.ResponseWriter, _ *http.Request) { plain(w, s.options.Email) }))
	s.mux.HandleFunc("GET "+account+"scopes", s.ofAccount(nil, func(w http.ResponseWriter, _ *http.Request) { plain(w, cloudPlatform+"\n") }))
	s.mux.HandleFunc("GET "+account+"token", s.ofAccount(&s.Tokens, s.token))
	s.mux.HandleFunc("GET "+account+"identity", s.ofAccount(&s.Identities, s.identity))
}

// ServeHTTP refuses requests that did not mean to talk to a metadata server, and marks each reply as coming from one.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set(flavorHeader, flavor)
	w.Header().Set("Server", "Metadata Server for Serverless")
	if r.Header.Get(flavorHeader) != flavor && strings.HasPrefix(r.URL.Path, prefix) {
		http.Error(w, "Missing Metadata-Flavor:Google header.", http.StatusForbidden)
		return
	}
	if r.Header.Get("X-Forwarded-For") != "" {
		http.Error(w, "Request with the X-Forwarded-For header is not allowed.", http.StatusForbidden)
		return
	}
	s.mux.ServeHTTP(w, r)
}

// ofAccount lets requests for this instance's service account through, and those of faults only so far.
func (s *Server) ofAccount(faults *fault.Injector, next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if faults != nil && faults.Handle(w, r) {
			return
		}
		name := r.PathValue("account")
		if s.options.NoServiceAccount || (name != "default" && name != s.options.Email) {
			http.Error(w, "The requested service account was not found.", http.StatusNotFound)
			return
		}
		next(w, r)
	}
}

func plain(w http.ResponseWriter, value string) {
	w.Header().Set("Content-Type", "application/text")
	_, _ = io.WriteString(w, value)
}

func (s *Server) account(w http.ResponseWriter, r *http.Request) {
	if r.URL.Query().Get("recursive") != "true" {
		plain(w, "aliases\nemail\nidentity\nscopes\ntoken\n")
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{"aliases": []string{"default"}, "email": s.options.Email, "scopes": []string{cloudPlatform}})
}

func (s *Server) token(w http.ResponseWriter, r *http.Request) {
	scopes := r.URL.Query().Get("scopes")
	if scopes == "" {
		scopes = cloudPlatform
	}
	for scope := range strings.SplitSeq(scopes, ",") {
		if !strings.HasPrefix(scope, "https://www.googleapis.com/auth/") {
			http.Error(w, fmt.Sprintf("Invalid scope %q", scope), http.StatusBadRequest)
			return
		}
	}
	token, left := s.issue(scopes)
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{"access_token": token, "expires_in": int(left / time.Second), "token_type": "Bearer"})
}

func (s *Server) issue(scopes string) (string, time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	token := s.current[scopes]
	if left := time.Until(s.issued[token]); left > min(reuse, s.options.Lifetime/2) && s.options.Lifetime > 0 {
		return token, left
	}
	token = "ya29.c." + rand.Text() + rand.Text() + rand.Text()
	s.current[scopes], s.issued[token] = token, time.Now().Add(s.options.Lifetime)
	return token, s.options.Lifetime
}

// Valid reports whether an access token was issued here and has not expired.
func (s *Server) Valid(token string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return time.Now().Before(s.issued[token])
}

// Revoke makes an access token invalid. The next request gets another.
func (s *Server) Revoke(token string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.issued, token)
}

// SetLifetime changes how long new access tokens are valid, and forgets which were to be given out again.
func (s *Server) SetLifetime(lifetime time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.options.Lifetime = lifetime
	clear(s.current)
}
