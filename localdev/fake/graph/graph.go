// Package graph is a stand-in for Microsoft Graph, version 1.0, as far as the client secrets of one app registration go
// (https://learn.microsoft.com/graph/api/application-addpassword).
//
// The stand-in of Entra's token endpoint finds the secrets by [Server.Secret]. A new one may take a while to be known there, as it does.
//
// The package must not know how the gateway rotates secrets.
package graph

import (
	"crypto/rand"
	"encoding/hex"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/postern-ai/postern/localdev/fake/faultplan"
	"github.com/postern-ai/postern/localdev/fake/keyring"
	"github.com/postern-ai/postern/localdev/fake/strictjson"
)

// Resource is the audience of the tokens that it takes, in the public cloud.
const Resource = "https://graph.microsoft.com"

// lifetime is how long a secret is good that was ordered without an end.
const lifetime = 2 * 365 * 24 * time.Hour

// Options describes one app registration and who may change it.
type Options struct {
	// Caller names who holds an access token for [Resource]. It reports false for a token that is not valid.
	Caller func(token string) (string, bool)
	// ObjectID and AppID are the app registration's.
	ObjectID, AppID string
	// Owner decides whether a caller may change it, as Application.ReadWrite.OwnedBy does. Nil means yes.
	Owner func(caller string) bool
	// Late is how many times a new secret is not accepted where it is used, because it is not known there yet.
	Late int
}

// Server holds one app registration. It is safe for concurrent use.
type Server struct {
	// Faults makes operations misbehave, by the names addPassword, removePassword and get.
	Faults faultplan.Plan
	// Secrets are the client secrets. Their ids are key ids.
	Secrets keyring.Ring

	options Options
	routes  *http.ServeMux
	mu      sync.Mutex
	late    map[string]int
}

// New returns a Server, whose app registration has no secrets.
func New(options Options) *Server {
	s := &Server{options: options, routes: http.NewServeMux(), late: map[string]int{}}
	for pattern, o := range map[string]operation{
		"GET /v1.0/applications/{id}":                 {"get", s.get},
		"POST /v1.0/applications/{id}/addPassword":    {"addPassword", s.add},
		"POST /v1.0/applications/{id}/removePassword": {"removePassword", s.remove},
	} {
		s.routes.HandleFunc(pattern, s.Faults.Serve(s.authorized(o.serve), o.name))
	}
	s.routes.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		refuse(w, http.StatusBadRequest, "BadRequest", "Resource not found for the segment.")
	})
	return s
}

type operation struct {
	name  string
	serve http.HandlerFunc
}

// Add makes a secret as a person does.
func (s *Server) Add(name string, expires time.Time) keyring.Key {
	if expires.IsZero() {
		expires = time.Now().Add(lifetime)
	}
	key := s.Secrets.Add(keyring.Key{ID: uuid() + "/", Name: name, Secret: rand.Text()[:3] + "8Q~", Expires: expires.UTC()})
	s.mu.Lock()
	s.late[key.Secret] = s.options.Late
	s.mu.Unlock()
	return key
}

func uuid() string {
	var b [16]byte
	_, _ = rand.Read(b[:])
	text := hex.EncodeToString(b[:])
	return strings.Join([]string{text[:8], text[8:12], text[12:16], text[16:20], text[20:]}, "-")
}

// Secret finds a secret where it is used. One that is not known there yet is not found.
func (s *Server) Secret(given string) (expires time.Time, ok bool) {
	for _, key := range s.Secrets.List() {
		if key.Secret != given {
			continue
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.late[given] > 0 {
			s.late[given]--
			return time.Time{}, false
		}
		return key.Expires, true
	}
	return time.Time{}, false
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.routes.ServeHTTP(w, r) }

func refuse(w http.ResponseWriter, status int, code, message string) {
	strictjson.Write(w, status, map[string]any{"error": map[string]any{"code": code, "message": message, "innerError": map[string]string{"request-id": uuid()}}})
}

func (s *Server) authorized(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		caller := ""
		if ok {
			caller, ok = s.options.Caller(token)
		}
		switch {
		case !ok:
			refuse(w, http.StatusUnauthorized, "InvalidAuthenticationToken", "Access token is empty, invalid or for another audience.")
		case s.options.Owner != nil && !s.options.Owner(caller):
			refuse(w, http.StatusForbidden, "Authorization_RequestDenied", "Insufficient privileges to complete the operation.")
		case r.PathValue("id") != s.options.ObjectID:
			refuse(w, http.StatusNotFound, "Request_ResourceNotFound", "Resource '"+r.PathValue("id")+"' does not exist or one of its queried reference-property objects are not present.")
		default:
			next(w, r)
		}
	}
}

// password is a secret as the API shows it. The text is there in the reply to addPassword alone.
type password struct {
	CustomKeyIdentifier *string   `json:"customKeyIdentifier"`
	DisplayName         *string   `json:"displayName"`
	EndDateTime         time.Time `json:"endDateTime"`
	Hint                string    `json:"hint"`
	KeyID               string    `json:"keyId"`
	SecretText          *string   `json:"secretText"`
	StartDateTime       time.Time `json:"startDateTime"`
}

// keyID is the id without what makes it unique in the ring.
func keyID(key keyring.Key) string { id, _, _ := strings.Cut(key.ID, "/"); return id }

func show(key keyring.Key) password {
	out := password{EndDateTime: key.Expires, Hint: key.Secret[:3], KeyID: keyID(key), StartDateTime: key.Created}
	if key.Name != "" {
		out.DisplayName = &key.Name
	}
	return out
}

func (s *Server) get(w http.ResponseWriter, r *http.Request) {
	all := map[string]any{"id": s.options.ObjectID, "appId": s.options.AppID, "displayName": "Postern"}
	passwords := []password{}
	for _, key := range s.Secrets.List() {
		passwords = append(passwords, show(key))
	}
	all["passwordCredentials"] = passwords
	out := map[string]any{"@odata.context": Resource + "/v1.0/$metadata#applications/$entity"}
	for name, value := range all {
		if selected := r.URL.Query().Get("$select"); selected == "" || strings.Contains(","+selected+",", ","+name+",") {
			out[name] = value
		}
	}
	strictjson.Write(w, http.StatusOK, out)
}

func (s *Server) add(w http.ResponseWriter, r *http.Request) {
	var in struct {
		Password struct {
			DisplayName   string     `json:"displayName"`
			EndDateTime   *time.Time `json:"endDateTime"`
			StartDateTime *time.Time `json:"startDateTime"`
		} `json:"passwordCredential"`
	}
	if err := strictjson.Read(r, &in); err != nil {
		refuse(w, http.StatusBadRequest, "BadRequest", err.Error())
		return
	}
	var expires time.Time
	if in.Password.EndDateTime != nil {
		expires = *in.Password.EndDateTime
		if !expires.After(time.Now()) {
			refuse(w, http.StatusBadRequest, "Request_BadRequest", "The end of a credential has to be in the future.")
			return
		}
	}
	key := s.Add(in.Password.DisplayName, expires)
	out := show(key)
	out.SecretText = &key.Secret
	strictjson.Write(w, http.StatusOK, out)
}

func (s *Server) remove(w http.ResponseWriter, r *http.Request) {
	var in struct {
		KeyID string `json:"keyId"`
	}
	if err := strictjson.Read(r, &in); err != nil {
		refuse(w, http.StatusBadRequest, "BadRequest", err.Error())
		return
	}
	if s.Secrets.Remove(func(key keyring.Key) bool { return keyID(key) == in.KeyID }) == 0 {
		refuse(w, http.StatusBadRequest, "Request_BadRequest", "No password credential found with keyId '"+in.KeyID+"'.")
		return
	}
	w.WriteHeader(http.StatusNoContent)
}
