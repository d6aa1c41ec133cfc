// Package gcpiam is a stand-in for Google's Identity and Access Management API, version 1, as far as the keys of one service account go
// (https://cloud.google.com/iam/docs/reference/rest/v1/projects.serviceAccounts.keys).
//
// The stand-in of Google's token endpoint finds the keys by [Server.KeySet]. A new one may take a while to be known there, as it does. The id of
// a key is the SHA-1 of its certificate, as it is of the certificates that Google publishes of service accounts.
//
// The package must not know how the gateway rotates keys.
package gcpiam

import (
	"crypto/rsa"
	"crypto/sha1"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/postern-ai/postern/localdev/fake/faultplan"
	"github.com/postern-ai/postern/localdev/fake/googleapi"
	"github.com/postern-ai/postern/localdev/fake/strictjson"
)

// maxKeys is how many keys of its own a service account may have.
const maxKeys = 10

// Options describes one service account and who may do what.
type Options struct {
	// Member names who holds an access token for Google Cloud, such as serviceAccount:EMAIL. It reports false for a token that is not valid.
	Member func(token string) (string, bool)
	// Project and Email are the service account's.
	Project, Email string
	// NoUpload is the organization policy constraints/iam.disableServiceAccountKeyUpload.
	NoUpload bool
	// Late is how many times a new key is not accepted where it is used, because it is not known there yet.
	Late int
	// Allow decides whether a member has a permission, such as iam.serviceAccountKeys.create. Nil means yes.
	Allow func(member, permission string) bool
}

// Server holds the keys of one service account. It is safe for concurrent use.
type Server struct {
	// Faults makes operations misbehave, by the names upload, list, delete, disable and enable.
	Faults faultplan.Plan

	options Options
	mu      sync.Mutex
	keys    []*key
}

type key struct {
	id          string
	certificate *x509.Certificate
	disabled    bool
	late        int
}

// New returns a Server, whose service account has only the keys that Google manages.
func New(options Options) *Server { return &Server{options: options} }

// Keys returns the ids of the keys that are not Google's own, the oldest first.
func (s *Server) Keys() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var ids []string
	for _, k := range s.keys {
		ids = append(ids, k.id)
	}
	return ids
}

// KeySet returns the keys that are accepted where they are used.
func (s *Server) KeySet() jose.JSONWebKeySet {
	s.mu.Lock()
	defer s.mu.Unlock()
	var set jose.JSONWebKeySet
	now := time.Now()
	for _, k := range s.keys {
		switch {
		case k.late > 0:
			k.late--
		case !k.disabled && !now.Before(k.certificate.NotBefore) && now.Before(k.certificate.NotAfter):
			set.Keys = append(set.Keys, jose.JSONWebKey{Key: k.certificate.PublicKey, KeyID: k.id, Algorithm: "RS256", Use: "sig"})
		}
	}
	return set
}

var path = regexp.MustCompile(`^/v1/projects/([^/]+)/serviceAccounts/([^/:]+)/keys(?:/([^/:]+))?(:[a-z]+)?$`)

// call is one request that has been understood.
type call struct {
	project, account, id string
	name, permission     string
}

// route understands a request.
func route(r *http.Request) (call, bool) {
	parts := path.FindStringSubmatch(r.URL.Path)
	if parts == nil {
		return call{}, false
	}
	c := call{project: parts[1], account: parts[2], id: parts[3]}
	switch has := c.id != ""; {
	case r.Method == http.MethodPost && !has && parts[4] == ":upload":
		c.name, c.permission = "upload", "create"
	case r.Method == http.MethodGet && !has && parts[4] == "":
		c.name, c.permission = "list", "list"
	case r.Method == http.MethodDelete && has && parts[4] == "":
		c.name, c.permission = "delete", "delete"
	case r.Method == http.MethodPost && has && parts[4] == ":disable":
		c.name, c.permission = "disable", "disable"
	case r.Method == http.MethodPost && has && parts[4] == ":enable":
		c.name, c.permission = "enable", "enable"
	}
	return c, c.name != ""
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c, ok := route(r)
	s.Faults.Serve(func(w http.ResponseWriter, r *http.Request) {
		out, err := s.serve(r, c, ok)
		googleapi.Answer(w, out, err)
	}, c.name)(w, r)
}

func (s *Server) serve(r *http.Request, c call, ok bool) (any, error) {
	member, err := googleapi.Member(r, s.options.Member)
	switch {
	case err != nil:
		return nil, err
	case !ok:
		return nil, googleapi.Refused(http.StatusNotFound, "NOT_FOUND", "Method not found.")
	// Of an account that does not exist nobody learns more than of one that may not be touched.
	case c.account != s.options.Email || c.project != s.options.Project && c.project != "-",
		s.options.Allow != nil && !s.options.Allow(member, "iam.serviceAccountKeys."+c.permission):
		return nil, googleapi.Refused(http.StatusForbidden, "PERMISSION_DENIED", "Permission 'iam.serviceAccountKeys."+c.permission+"' denied on resource (or it may not exist).")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch c.name {
	case "upload":
		return s.upload(r)
	case "list":
		return s.list(r)
	}
	at := slices.IndexFunc(s.keys, func(k *key) bool { return k.id == c.id })
	if at < 0 {
		return nil, googleapi.Refused(http.StatusNotFound, "NOT_FOUND", "Service account key "+c.id+" does not exist.")
	}
	switch c.name {
	case "delete":
		s.keys = slices.Delete(s.keys, at, at+1)
		return struct{}{}, nil
	default:
		if err := strictjson.Read(r, &struct{}{}); err != nil {
			return nil, googleapi.Invalid(err.Error())
		}
		s.keys[at].disabled = c.name == "disable"
		return struct{}{}, nil
	}
}

func (s *Server) upload(r *http.Request) (any, error) {
	var in struct {
		PublicKeyData []byte `json:"publicKeyData"`
	}
	if err := strictjson.Read(r, &in); err != nil {
		return nil, googleapi.Invalid(err.Error())
	}
	block, rest := pem.Decode(in.PublicKeyData)
	if block == nil || block.Type != "CERTIFICATE" || len(strings.TrimSpace(string(rest))) > 0 {
		return nil, googleapi.Invalid("Invalid public key data: it is not one X.509 certificate.")
	}
	certificate, err := x509.ParseCertificate(block.Bytes)
	if err != nil || certificate.Version != 3 {
		return nil, googleapi.Invalid("Invalid public key data: it is not an X.509 v3 certificate.")
	}
	public, ok := certificate.PublicKey.(*rsa.PublicKey)
	sum := sha1.Sum(block.Bytes)
	id := hex.EncodeToString(sum[:])
	switch {
	case !ok || public.N.BitLen() < 2048:
		return nil, googleapi.Invalid("Invalid public key data: it is not an RSA key of at least 2048 bits.")
	case !time.Now().Before(certificate.NotAfter):
		return nil, googleapi.Invalid("Invalid public key data: it has expired.")
	case s.options.NoUpload:
		return nil, googleapi.Violated("constraints/iam.disableServiceAccountKeyUpload", s.resource())
	case slices.ContainsFunc(s.keys, func(k *key) bool { return k.id == id }):
		return nil, googleapi.Refused(http.StatusConflict, "ALREADY_EXISTS", "The key exists already.")
	case len(s.keys) >= maxKeys:
		return nil, googleapi.Refused(http.StatusBadRequest, "FAILED_PRECONDITION", "Precondition check failed.")
	}
	made := &key{id: id, certificate: certificate, late: s.options.Late}
	s.keys = append(s.keys, made)
	return s.show(made), nil
}

func (s *Server) resource() string {
	return "projects/" + s.options.Project + "/serviceAccounts/" + s.options.Email
}

// shown is a key as the API shows it.
type shown struct {
	Name      string    `json:"name"`
	Algorithm string    `json:"keyAlgorithm"`
	Origin    string    `json:"keyOrigin"`
	Type      string    `json:"keyType"`
	After     time.Time `json:"validAfterTime"`
	Before    time.Time `json:"validBeforeTime"`
	Disabled  bool      `json:"disabled,omitzero"`
}

func (s *Server) show(k *key) shown {
	return shown{
		Name: s.resource() + "/keys/" + k.id, Algorithm: "KEY_ALG_RSA_2048", Origin: "USER_PROVIDED", Type: "USER_MANAGED",
		After: k.certificate.NotBefore.UTC(), Before: k.certificate.NotAfter.UTC(), Disabled: k.disabled,
	}
}

// list returns Google's own key too, unless the request asks for others alone.
func (s *Server) list(r *http.Request) (any, error) {
	types := r.URL.Query()["keyTypes"]
	for _, t := range types {
		if t != "USER_MANAGED" && t != "SYSTEM_MANAGED" {
			return nil, googleapi.Invalid("Invalid value at 'key_types'.")
		}
	}
	wants := func(t string) bool { return len(types) == 0 || slices.Contains(types, t) }
	var out struct {
		Keys []shown `json:"keys,omitempty"`
	}
	if now := time.Now().UTC().Truncate(time.Second); wants("SYSTEM_MANAGED") {
		out.Keys = append(out.Keys, shown{
			Name: s.resource() + "/keys/0123456789abcdef0123456789abcdef01234567", Algorithm: "KEY_ALG_RSA_2048", Origin: "GOOGLE_PROVIDED", Type: "SYSTEM_MANAGED",
			After: now.Add(-24 * time.Hour), Before: now.Add(14 * 24 * time.Hour),
		})
	}
	for _, k := range s.keys {
		if wants("USER_MANAGED") {
			out.Keys = append(out.Keys, s.show(k))
		}
	}
	return out, nil
}
