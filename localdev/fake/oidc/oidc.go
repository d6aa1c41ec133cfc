// Package oidc is a stand-in for an OpenID Connect issuer: discovery, a key set and tokens, as OpenID Connect Discovery 1.0,
// RFC 7517 and RFC 7519 describe them, with key rotation and faults on demand. Tokens are signed by go-jose, which is not what
// the gateway verifies them with.
//
// It must not know anything about the gateway, and serves tests and local runs only.
package oidc

import (
	"cmp"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// The paths that an issuer serves.
const (
	DiscoveryPath = "/.well-known/openid-configuration"
	KeysPath      = "/keys"
)

// Issuer is one issuer. It is an http.Handler and may be used from several goroutines.
type Issuer struct {
	url string

	mu      sync.Mutex
	keys    []key
	made    int
	fetches map[string]int
	faults  map[string]Fault
}

// key is one signing key. The newest one of an algorithm signs.
type key struct {
	id        string
	algorithm jose.SignatureAlgorithm
	private   crypto.Signer
}

// New returns an issuer that is known by that URL, under which it must be served. It has no keys until it signs or Rotate is
// called, since making an RSA key takes a while.
func New(url string) *Issuer {
	return &Issuer{url: strings.TrimSuffix(url, "/"), fetches: map[string]int{}, faults: map[string]Fault{}}
}

// URL returns what stands in the iss claim of its tokens.
func (i *Issuer) URL() string { return i.url }

// Fault is what an issuer does instead of answering properly. Its zero value is no fault.
type Fault struct {
	// Status, when set, is answered with Body.
	Status int
	// Body, when set, replaces the body.
	Body []byte
	// Header is added to the answer.
	Header http.Header
	// Wait, when set, is called before the answer; it can delay or block it.
	Wait func(*http.Request)
	// Hangup closes the connection instead of answering.
	Hangup bool
}

// Break makes a path answer with a fault from now on; the zero Fault mends it.
func (i *Issuer) Break(path string, fault Fault) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.faults[path] = fault
}

// Fetches returns how often a path has been asked for, faults included.
func (i *Issuer) Fetches(path string) int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.fetches[path]
}

// ServeHTTP serves discovery and the key set.
func (i *Issuer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	i.mu.Lock()
	i.fetches[r.URL.Path]++
	fault := i.faults[r.URL.Path]
	i.mu.Unlock()
	if fault.Wait != nil {
		fault.Wait(r)
	}
	if fault.Hangup {
		panic(http.ErrAbortHandler)
	}
	maps.Copy(w.Header(), fault.Header)
	switch {
	case fault.Status != 0 || fault.Body != nil:
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(cmp.Or(fault.Status, http.StatusOK))
		w.Write(fault.Body)
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "only GET is allowed", http.StatusMethodNotAllowed)
	case r.URL.Path == DiscoveryPath:
		i.reply(w, i.discovery())
	case r.URL.Path == KeysPath:
		w.Header().Set("Cache-Control", "public, max-age=300")
		i.reply(w, i.keySet())
	default:
		http.NotFound(w, r)
	}
}

func (i *Issuer) reply(w http.ResponseWriter, v any) {
	text, err := json.Marshal(v)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Write(text)
}

// discovery has what OpenID Connect Discovery 1.0 section 3 requires of a provider.
func (i *Issuer) discovery() map[string]any {
	return map[string]any{
		"issuer":                                i.url,
		"authorization_endpoint":                i.url + "/authorize",
		"token_endpoint":                        i.url + "/token",
		"jwks_uri":                              i.url + KeysPath,
		"response_types_supported":              []string{"code"},
		"subject_types_supported":               []string{"public"},
		"id_token_signing_alg_values_supported": []string{"RS256", "PS256", "ES256", "ES384", "ES512", "EdDSA"},
	}
}

// keySet returns the public keys, the newest first.
func (i *Issuer) keySet() jose.JSONWebKeySet {
	i.mu.Lock()
	defer i.mu.Unlock()
	set := jose.JSONWebKeySet{Keys: []jose.JSONWebKey{}}
	for _, k := range slices.Backward(i.keys) {
		set.Keys = append(set.Keys, jose.JSONWebKey{Key: k.private.Public(), KeyID: k.id, Algorithm: string(k.algorithm), Use: "sig"})
	}
	return set
}

// Rotate makes a new key for an algorithm. Older keys stay published until Retire.
func (i *Issuer) Rotate(algorithm string) error {
	private, err := generate(algorithm)
	if err != nil {
		return err
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.made++
	i.keys = append(i.keys, key{
		id: fmt.Sprintf("key-%d-%s", i.made, strings.ToLower(algorithm)), algorithm: jose.SignatureAlgorithm(algorithm), private: private,
	})
	return nil
}

// Retire stops publishing all keys but the newest of each algorithm.
func (i *Issuer) Retire() {
	i.mu.Lock()
	defer i.mu.Unlock()
	newest := map[jose.SignatureAlgorithm]string{}
	for _, k := range i.keys {
		newest[k.algorithm] = k.id
	}
	i.keys = slices.DeleteFunc(i.keys, func(k key) bool { return newest[k.algorithm] != k.id })
}

func generate(algorithm string) (crypto.Signer, error) {
	switch algorithm {
	case "RS256", "RS384", "RS512", "PS256", "PS384", "PS512":
		return rsa.GenerateKey(rand.Reader, 2048)
	case "ES256":
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "ES384":
		return ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case "ES512":
		return ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	case "EdDSA":
		_, private, err := ed25519.GenerateKey(rand.Reader)
		return private, err
	}
	return nil, fmt.Errorf("algorithm %q is not one that an issuer publishes keys for", algorithm)
}

// Token describes a token. The zero value is a valid token of this issuer for nobody and nothing.
type Token struct {
	Subject  string
	Audience []string
	Groups   []string
	// Lifetime is from now; zero means an hour, and a negative one makes an expired token.
	Lifetime time.Duration
	// MFA says that the user has just used more than one factor (RFC 8176).
	MFA bool
	// Algorithm defaults to ES256, which is quick to make a key for.
	Algorithm string
	// Claims are added last, and remove a claim when nil.
	Claims map[string]any
	// Header is added last to the JOSE header.
	Header map[string]any
}

// Mint returns a signed token.
func (i *Issuer) Mint(t Token) (string, error) {
	if t.Algorithm == "" {
		t.Algorithm = "ES256"
	}
	if t.Lifetime == 0 {
		t.Lifetime = time.Hour
	}
	now := time.Now()
	claims := map[string]any{"iss": i.url, "sub": t.Subject, "aud": t.Audience, "iat": now.Unix(), "exp": now.Add(t.Lifetime).Unix()}
	if len(t.Groups) > 0 {
		claims["groups"] = t.Groups
	}
	if t.MFA {
		claims["amr"], claims["acr"], claims["auth_time"] = []string{"pwd", "otp", "mfa"}, "mfa", now.Unix()
	}
	for name, value := range t.Claims {
		if value == nil {
			delete(claims, name)
			continue
		}
		claims[name] = value
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		return "", err
	}
	return i.Sign(t, payload)
}

// Sign returns a token with any payload, also one that is no claims set. Of t only Algorithm and Header are used.
func (i *Issuer) Sign(t Token, payload []byte) (string, error) {
	k, err := i.signingKey(t.Algorithm)
	if err != nil {
		return "", err
	}
	options := &jose.SignerOptions{}
	options.WithType("JWT").WithHeader("kid", k.id)
	for name, value := range t.Header {
		options.WithHeader(jose.HeaderKey(name), value)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: k.algorithm, Key: k.private}, options)
	if err != nil {
		return "", err
	}
	signed, err := signer.Sign(payload)
	if err != nil {
		return "", err
	}
	return signed.CompactSerialize()
}

func (i *Issuer) signingKey(algorithm string) (key, error) {
	for range 2 {
		i.mu.Lock()
		for _, k := range slices.Backward(i.keys) {
			if string(k.algorithm) == algorithm {
				i.mu.Unlock()
				return k, nil
			}
		}
		i.mu.Unlock()
		if err := i.Rotate(algorithm); err != nil {
			return key{}, err
		}
	}
	return key{}, fmt.Errorf("no key for %q", algorithm)
}
