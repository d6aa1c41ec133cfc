package exchange_test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"
	josejwt "github.com/go-jose/go-jose/v4/jwt"
	"github.com/golang-jwt/jwt/v5"
	"github.com/google/go-cmp/cmp"

	"github.com/postern-ai/postern/localdev/fake/fault"
	"github.com/postern-ai/postern/shared/identity/exchange"
)

// shownAssertion has a source show its assertion.
func shownAssertion(t testing.TB, server exchange.Server, auth exchange.PrivateKeyJWT) (string, error) {
	t.Helper()
	var got string
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = r.ParseForm()
		got = r.PostForm.Get("client_assertion")
		_, _ = w.Write([]byte(`{"access_token":"t","token_type":"Bearer","expires_in":60}`))
	})
	server.HTTP = (&wire{handler: handler}).client()
	source := must[*exchange.ClientCredentials](t)(exchange.NewClientCredentials(exchange.Options{Server: server, ClientID: "signer", Auth: auth}))
	_, err := source.Token(t.Context())
	return got, err
}

// TestTwoOtherLibrariesVerifyTheAssertion has golang-jwt and go-jose judge what is signed here by hand.
func TestTwoOtherLibrariesVerifyTheAssertion(t *testing.T) {
	t.Parallel()
	rsaKey, ecKey := keys()["rsa"].(*rsa.PrivateKey), keys()["ec"].(*ecdsa.PrivateKey)
	sec1, err := x509.MarshalECPrivateKey(ecKey)
	if err != nil {
		t.Fatal(err)
	}
	pkcs1 := string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(rsaKey)}))
	tests := []struct {
		name          string
		auth          exchange.PrivateKeyJWT
		public        any
		algorithm, id string
		audience      string
	}{
		{"an RSA key signs RS256 unless told otherwise", exchange.PrivateKeyJWT{Key: stored(pkcs8(t, rsaKey)), KeyID: "1"}, rsaKey.Public(), "RS256", "1", endpoint},
		{"or PS256", exchange.PrivateKeyJWT{Key: stored(pkcs8(t, rsaKey)), KeyID: "1", Algorithm: "PS256"}, rsaKey.Public(), "PS256", "1", endpoint},
		{"an older form of RSA key", exchange.PrivateKeyJWT{Key: stored(pkcs1)}, rsaKey.Public(), "RS256", "", endpoint},
		{"an ECDSA key signs ES256", exchange.PrivateKeyJWT{Key: stored(pkcs8(t, ecKey))}, ecKey.Public(), "ES256", "", endpoint},
		{"an older form of ECDSA key", exchange.PrivateKeyJWT{Key: stored(string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: sec1})))}, ecKey.Public(), "ES256", "", endpoint},
		{"a JWK says which algorithm", exchange.PrivateKeyJWT{Key: stored(jwkOf(t, jose.JSONWebKey{Key: rsaKey, KeyID: "2", Algorithm: "PS256"}))}, rsaKey.Public(), "PS256", "2", endpoint},
		{"settings go before a JWK's", exchange.PrivateKeyJWT{Key: stored(jwkOf(t, jose.JSONWebKey{Key: rsaKey, KeyID: "2", Algorithm: "PS256"})), KeyID: "3", Algorithm: "RS256"}, rsaKey.Public(), "RS256", "3", endpoint},
		{"an EC JWK", exchange.PrivateKeyJWT{Key: stored(jwkOf(t, jose.JSONWebKey{Key: ecKey}))}, ecKey.Public(), "ES256", "", endpoint},
		{"another audience", exchange.PrivateKeyJWT{Key: stored(pkcs8(t, ecKey)), Audience: "https://tenant.example"}, ecKey.Public(), "ES256", "", "https://tenant.example"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			text, err := shownAssertion(t, exchange.Server{TokenEndpoint: endpoint}, test.auth)
			if err != nil {
				t.Fatal(err)
			}
			claims := jwt.MapClaims{}
			parsed, err := jwt.ParseWithClaims(text, claims, func(*jwt.Token) (any, error) { return test.public, nil },
				jwt.WithValidMethods([]string{test.algorithm}), jwt.WithAudience(test.audience), jwt.WithIssuer("signer"), jwt.WithSubject("signer"),
				jwt.WithExpirationRequired(), jwt.WithIssuedAt(), jwt.WithStrictDecoding())
			if err != nil {
				t.Fatalf("golang-jwt: %v", err)
			}
			head := map[string]any{"alg": test.algorithm, "typ": "JWT"}
			if test.id != "" {
				head["kid"] = test.id
			}
			if diff := cmp.Diff(head, parsed.Header); diff != "" {
				t.Error(diff)
			}
			signed, err := josejwt.ParseSigned(text, []jose.SignatureAlgorithm{jose.SignatureAlgorithm(test.algorithm)})
			if err != nil {
				t.Fatalf("go-jose: %v", err)
			}
			var standard josejwt.Claims
			if err := signed.Claims(test.public, &standard); err != nil {
				t.Fatalf("go-jose: %v", err)
			}
			if life := standard.Expiry.Time().Sub(standard.IssuedAt.Time()); life != 2*time.Minute || len(standard.Audience) != 1 || len(standard.ID) < 20 {
				t.Errorf("lives %v, for %v, id %q", life, standard.Audience, standard.ID)
			}
		})
	}
}

func TestTheAudienceOfAnAssertionIsTheIssuerWhereThatIsKnown(t *testing.T) {
	t.Parallel()
	server := authority(newPlatform().trust())
	to := &wire{handler: server}
	source := must[*exchange.ClientCredentials](t)(exchange.NewClientCredentials(exchange.Options{
		Server: exchange.Server{Issuer: issuer, HTTP: to.client()}, ClientID: "signer",
		Auth: exchange.PrivateKeyJWT{Key: stored(pkcs8(t, keys()["ec"])), KeyID: "ec-1"},
	}))
	if _, err := source.Token(t.Context()); err != nil {
		t.Fatal(err)
	}
	requests := to.requests()
	_, body, _ := strings.Cut(requests[len(requests)-1], "urlencoded\n")
	form, err := url.ParseQuery(body)
	if err != nil {
		t.Fatal(err)
	}
	var claims jwt.RegisteredClaims
	if _, _, err := jwt.NewParser().ParseUnverified(form.Get("client_assertion"), &claims); err != nil || len(claims.Audience) != 1 || claims.Audience[0] != issuer {
		t.Errorf("the audience is %q: %v", claims.Audience, err)
	}
}

func TestEachAssertionIsAnotherOne(t *testing.T) {
	t.Parallel()
	server := authority(newPlatform().trust())
	source := must[*exchange.ClientCredentials](t)(exchange.NewClientCredentials(exchange.Options{
		Server: exchange.Server{TokenEndpoint: endpoint, HTTP: (&wire{handler: server}).client()}, ClientID: "signer",
		Auth: exchange.PrivateKeyJWT{Key: stored(pkcs8(t, keys()["ec"])), KeyID: "ec-1"},
	}))
	// The stand-in accepts none twice.
	for range 3 {
		if _, err := source.Token(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

func TestKeysThatCannotSignSayWhy(t *testing.T) {
	t.Parallel()
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	_, edwards, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	public, err := x509.MarshalPKIXPublicKey(keys()["rsa"].Public())
	if err != nil {
		t.Fatal(err)
	}
	block := func(kind string, der []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}
	ec, rsaJWK := map[string]any{}, map[string]any{}
	if err := errors.Join(json.Unmarshal([]byte(jwkOf(t, jose.JSONWebKey{Key: keys()["ec"]})), &ec),
		json.Unmarshal([]byte(jwkOf(t, jose.JSONWebKey{Key: keys()["rsa"]})), &rsaJWK)); err != nil {
		t.Fatal(err)
	}
	without := func(key map[string]any, name string, value any) string {
		changed := map[string]any{}
		for k, v := range key {
			changed[k] = v
		}
		changed[name] = value
		text, err := json.Marshal(changed)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	tests := []struct{ name, key, algorithm, want string }{
		{"nothing", "", "", "not a private key in PEM"},
		{"something else", "canary", "", "not a private key in PEM"},
		{"a key in PEM that is none", block("PRIVATE KEY", []byte("canary")), "", "not a private key in PEM"},
		{"an older key in PEM that is none", block("RSA PRIVATE KEY", []byte("canary")), "", "not a private key in PEM"},
		{"an older ECDSA key in PEM that is none", block("EC PRIVATE KEY", []byte("canary")), "", "not a private key in PEM"},
		{"PEM of another kind", block("DH PARAMETERS", []byte("canary")), "", "not a private key in PEM"},
		{"an encrypted key", block("ENCRYPTED PRIVATE KEY", []byte("canary")), "", "encrypted"},
		{"a public key", block("PUBLIC KEY", public), "", "public key or a certificate"},
		{"a key of another kind", pkcs8(t, edwards), "", "neither an RSA nor an ECDSA"},
		{"a short RSA key", pkcs8(t, small), "", "less than 2048"},
		{"another curve", pkcs8(t, p384), "", "P-256"},
		{"an RSA key for ES256", pkcs8(t, keys()["rsa"]), "ES256", "RS256 or PS256"},
		{"an ECDSA key for RS256", pkcs8(t, keys()["ec"]), "RS256", "signs ES256"},
		{"a set of keys", `{"keys":[{"kty":"RSA","d":"canary"}]}`, "", "not a set"},
		{"JSON that ends too soon", `{"kty":"RSA","d":"canary"`, "", "JSON of one JWK"},
		{"JSON with a name twice", `{"kty":"RSA","kty":"EC","d":"canary"}`, "", "JSON of one JWK"},
		{"a public JWK", `{"kty":"RSA","n":"canary"}`, "", "private part"},
		{"a JWK of another kind", `{"kty":"oct","d":"canary"}`, "", "another kind"},
		{"a JWK on another curve", `{"kty":"EC","crv":"P-384","d":"canary"}`, "", "another kind"},
		{"an EC JWK with a foreign point", without(ec, "x", ec["y"]), "", "belong together"},
		{"an EC JWK whose d is too long", without(ec, "d", "AAAA"+ec["d"].(string)), "", "belong together"},
		{"an EC JWK whose d is no base64", without(ec, "d", "+"), "", "belong together"},
		{"an RSA JWK without primes", without(rsaJWK, "p", ""), "", "belong together"},
		{"an RSA JWK with a foreign modulus", without(rsaJWK, "n", rsaJWK["d"]), "", "belong together"},
		{"an RSA JWK with a huge exponent", without(rsaJWK, "e", rsaJWK["d"]), "", "belong together"},
		{"a JWK that says another algorithm", without(ec, "alg", "HS256"), "", "signs ES256"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			_, err := shownAssertion(t, exchange.Server{TokenEndpoint: endpoint}, exchange.PrivateKeyJWT{Key: stored(test.key), Algorithm: test.algorithm})
			if problem := failure(t, err, test.want); problem.Retryable {
				t.Error("trying again would not help")
			}
		})
	}
}

// TestAClockThatIsWrongIsNamed covers a machine whose clock is ten minutes off: its assertions are refused, and the error says why.
func TestAClockThatIsWrongIsNamed(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		off    time.Duration // of the server's clock
		client string
		want   string
	}{
		{"ten minutes behind", 10 * time.Minute, "signer", "This machine's clock is 10m0s behind the server's"},
		{"ten minutes ahead", -10 * time.Minute, "signer", "This machine's clock is 10m0s ahead of the server's"},
		{"seconds do not matter", 10 * time.Second, "signer", ""},
		{"nor does a clock where nothing is signed", 10 * time.Minute, "poster", ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				server := authority(newPlatform().trust())
				server.Tokens.Set(fault.Fault{
					Status: 401, Body: `{"error":"invalid_client","error_description":"canary"}`,
					Header: http.Header{"Date": {time.Now().Add(test.off).UTC().Format(http.TimeFormat)}},
				})
				auth := exchange.ClientAuth(exchange.PrivateKeyJWT{Key: stored(pkcs8(t, keys()["ec"]))})
				if test.client == "poster" {
					auth = exchange.SecretPost{Secret: stored(secret)}
				}
				source := must[*exchange.ClientCredentials](t)(exchange.NewClientCredentials(exchange.Options{
					Server: exchange.Server{TokenEndpoint: endpoint, HTTP: (&wire{handler: server}).client()}, ClientID: test.client, Auth: auth,
				}))
				_, err := source.Token(t.Context())
				failure(t, err, "invalid_client")
				if strings.Contains(err.Error(), "clock") != (test.want != "") || !strings.Contains(err.Error(), test.want) {
					t.Errorf("got %v", err)
				}
			})
		})
	}
}

// FuzzKey stores anything as a key. It signs, or an error says what it is without quoting it.
func FuzzKey(f *testing.F) {
	for _, seed := range []string{
		pkcs8(f, keys()["ec"]), jwkOf(f, jose.JSONWebKey{Key: keys()["ec"]}), jwkOf(f, jose.JSONWebKey{Key: keys()["ec"], Algorithm: "canary"}),
		`{"kty":"RSA","n":"AQ","e":"AQAB","d":"AQ","p":"AQ","q":"AQ"}`, `{"kty":"RSA","n":"","e":"","d":"A","p":"","q":""}`,
		`{"kty":"EC","crv":"P-256","x":"","y":"","d":"AA"}`, "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----", "{", "",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, key string) {
		assertion, err := shownAssertion(t, exchange.Server{TokenEndpoint: endpoint}, exchange.PrivateKeyJWT{Key: stored(key)})
		if err == nil {
			if _, err := josejwt.ParseSigned(assertion, []jose.SignatureAlgorithm{jose.RS256, jose.PS256, jose.ES256}); err != nil {
				t.Error(err)
			}
			return
		}
		if text := failure(t, err, "the client's private key cannot").Error(); len(key) > 40 && strings.Contains(text, key[:40]) {
			t.Errorf("the error holds the key: %s", text)
		}
	})
}
