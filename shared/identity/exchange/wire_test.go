package exchange_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/postern-ai/postern/localdev/fake/oauth"
	"github.com/postern-ai/postern/localdev/fake/oidc"
	"github.com/postern-ai/postern/shared/identity"
	"github.com/postern-ai/postern/shared/identity/exchange"
	"github.com/postern-ai/postern/shared/secrets"
)

const (
	issuer    = "https://as.example/realms/models"
	endpoint  = issuer + "/token"
	llmTarget = "https://llm.example/v1"
	// secret has the characters that form-encoding is for, and the word that no error may hold.
	secret = "canary:+%/ü&="
	role   = "arn:aws:iam::123456789012:role/gateway"
)

// wire is a transport that hands requests to a handler as a server would receive them, and writes them down.
type wire struct {
	handler http.Handler

	mu   sync.Mutex
	seen []string
}

func (w *wire) RoundTrip(request *http.Request) (response *http.Response, err error) {
	defer func() {
		if recover() != nil {
			err = fmt.Errorf("canary: %w", syscall.ECONNRESET)
		}
	}()
	inbound := request.Clone(request.Context())
	text := request.Method + " " + request.URL.String() + "\n"
	for _, name := range []string{"Accept", "Anthropic-Beta", "Authorization", "Content-Type", "Cookie"} {
		if values := request.Header.Values(name); len(values) > 0 {
			text += name + ": " + strings.Join(values, " | ") + "\n"
		}
	}
	if request.Body != nil {
		body, _ := io.ReadAll(request.Body)
		text += string(body)
		inbound.Body = io.NopCloser(strings.NewReader(string(body)))
	}
	w.mu.Lock()
	w.seen = append(w.seen, text)
	w.mu.Unlock()
	recorder := httptest.NewRecorder()
	w.handler.ServeHTTP(recorder, inbound)
	if err := request.Context().Err(); err != nil {
		return nil, err
	}
	return recorder.Result(), nil
}

func (w *wire) requests() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]string(nil), w.seen...)
}

func (w *wire) client() *http.Client { return &http.Client{Transport: w} }

func stored(text string) exchange.Secret {
	return func(context.Context) (secrets.Value, error) { return secrets.NewValue(text), nil }
}

// platform is an issuer that signs what a cloud's identity service would sign.
type platform struct{ *oidc.Issuer }

func newPlatform() platform { return platform{oidc.New("https://platform.example")} }

func (p platform) trust() oauth.Issuer {
	return oauth.Issuer{URL: p.URL(), Keys: oauth.KeysFrom(&wire{handler: p.Issuer}, p.URL()+oidc.KeysPath)}
}

// signs returns tokens of the platform, a new one at each call.
func (p platform) signs(token oidc.Token) exchange.Secret {
	if token.Subject == "" {
		token.Subject = role
	}
	return func(context.Context) (secrets.Value, error) {
		token.Claims = map[string]any{"jti": rand.Text()}
		text, err := p.Mint(token)
		return secrets.NewValue(text), err
	}
}

var keys = sync.OnceValue(func() map[string]crypto.Signer {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	ecKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	return map[string]crypto.Signer{"rsa": rsaKey, "ec": ecKey}
})

func pkcs8(t testing.TB, key any) string {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

func jwkOf(t testing.TB, key jose.JSONWebKey) string {
	t.Helper()
	text, err := key.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// authority is an authorization server with a client for each method.
func authority(trusted oauth.Issuer, change ...func(*oauth.Options)) *oauth.Server {
	both, scopes, targets := []string{oauth.ClientCredentials, oauth.TokenExchange}, []string{"llm:invoke", "llm:read"}, []string{llmTarget, "llm"}
	options := oauth.Options{
		URL: issuer, Subjects: []oauth.Issuer{trusted},
		Clients: []oauth.Client{
			{ID: "gate:way", Method: oauth.SecretBasic, Secret: secret, Grants: both, Scopes: scopes, Targets: targets},
			{ID: "poster", Method: oauth.SecretPost, Secret: secret, Grants: both, Scopes: scopes, Targets: targets},
			{ID: "signer", Method: oauth.PrivateKeyJWT, Grants: both, Scopes: scopes, Targets: targets, Keys: jose.JSONWebKeySet{Keys: []jose.JSONWebKey{
				{Key: keys()["rsa"].Public(), KeyID: "rsa-1"}, {Key: keys()["ec"].Public(), KeyID: "ec-1", Algorithm: "ES256"},
			}}},
			{ID: "keyless", Method: oauth.PrivateKeyJWT, Federated: &oauth.Federated{Issuer: trusted, Subject: role, Audience: "api://exchange"}, Grants: both, Scopes: scopes},
			{ID: "public", Method: oauth.Public, Grants: both, Scopes: scopes, Targets: targets},
			{Method: oauth.Public, Grants: []string{oauth.TokenExchange}, Scopes: scopes},
		},
	}
	for _, f := range change {
		f(&options)
	}
	return oauth.New(options)
}

// failure makes sure that an error is made for logs and holds no secret.
func failure(t *testing.T, err error, want string) *identity.Error {
	t.Helper()
	problem, isProblem := errors.AsType[*identity.Error](err)
	if !isProblem || !strings.Contains(err.Error(), want) {
		t.Fatalf("got %v, want %q", err, want)
	}
	harmless(t, err.Error())
	return problem
}

func harmless(t *testing.T, text string) {
	t.Helper()
	if strings.Contains(text, "canary") || strings.Contains(text, "eyJ") || strings.Contains(text, `Post "`) || strings.Contains(text, `Get "`) {
		t.Errorf("it holds what was sent or received: %s", text)
	}
}

func must[T any](t testing.TB) func(T, error) T {
	t.Helper()
	return func(value T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
}

// slow answers after a while, unless the client goes away.
func slow(delay time.Duration, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		timer := time.NewTimer(delay)
		defer timer.Stop()
		select {
		case <-timer.C:
			next.ServeHTTP(w, r)
		case <-r.Context().Done():
		}
	})
}
