package oauth_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/golang-jwt/jwt/v5"

	"github.com/postern-ai/postern/localdev/fake/fault"
	"github.com/postern-ai/postern/localdev/fake/oauth"
	"github.com/postern-ai/postern/localdev/fake/oidc"
)

const base = "https://as.example/realms/models"

const assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

// inside hands requests to a handler in this process.
type inside struct{ handler http.Handler }

func (i inside) RoundTrip(r *http.Request) (*http.Response, error) {
	recorder := httptest.NewRecorder()
	i.handler.ServeHTTP(recorder, r)
	return recorder.Result(), nil
}

func key(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// setting is a server with a client of each kind, and a foreign issuer that it trusts.
type setting struct {
	server  *oauth.Server
	private *ecdsa.PrivateKey
	foreign *oidc.Issuer
}

func newSetting(t *testing.T, options oauth.Options) setting {
	t.Helper()
	s := setting{private: key(t), foreign: oidc.New("https://platform.example")}
	trusted := oauth.Issuer{URL: s.foreign.URL(), Keys: oauth.KeysFrom(inside{s.foreign}, s.foreign.URL()+oidc.KeysPath)}
	own := jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: s.private.Public(), KeyID: "k1", Algorithm: "ES256"}}}
	both, scopes := []string{oauth.ClientCredentials, oauth.TokenExchange}, []string{"llm:invoke", "llm:read"}
	targets := []string{"https://llm.example/v1", "llm"}
	options.URL, options.Subjects = base, []oauth.Issuer{trusted}
	options.Clients = []oauth.Client{
		{ID: "basic", Method: oauth.SecretBasic, Secret: "s:%+ü", Grants: both, Scopes: scopes, Targets: targets},
		{ID: "post", Method: oauth.SecretPost, Secret: "secret", Grants: []string{oauth.ClientCredentials}, Scopes: scopes},
		{ID: "signs", Method: oauth.PrivateKeyJWT, Keys: own, Grants: both, Scopes: scopes},
		{ID: "fed", Method: oauth.PrivateKeyJWT, Federated: &oauth.Federated{Issuer: trusted, Subject: "function", Audience: "exchange"}, Grants: both},
		{ID: "public", Method: oauth.Public, Grants: both},
		{ID: "cert", Method: oauth.TLS, SubjectDN: "CN=x", Grants: both},
		{Method: oauth.Public, Grants: both},
	}
	s.server = oauth.New(options)
	return s
}

func (s setting) send(t *testing.T, form url.Values, change func(*http.Request)) (int, map[string]any) {
	t.Helper()
	request := httptest.NewRequestWithContext(t.Context(), http.MethodPost, s.server.TokenURL(), strings.NewReader(form.Encode()))
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if change != nil {
		change(request)
	}
	recorder := httptest.NewRecorder()
	s.server.ServeHTTP(recorder, request)
	answer := map[string]any{}
	_ = json.Unmarshal(recorder.Body.Bytes(), &answer)
	return recorder.Code, answer
}

func basicAuth(id, secret string) func(*http.Request) {
	return func(r *http.Request) { r.SetBasicAuth(url.QueryEscape(id), url.QueryEscape(secret)) }
}

// assertion is one by another library than the server's.
func (s setting) assertion(t *testing.T, change func(claims jwt.MapClaims, token *jwt.Token)) string {
	t.Helper()
	claims := jwt.MapClaims{"iss": "signs", "sub": "signs", "aud": base, "jti": rand.Text(), "iat": time.Now().Unix(), "exp": time.Now().Add(time.Minute).Unix()}
	token := jwt.NewWithClaims(jwt.SigningMethodES256, claims)
	token.Header["kid"] = "k1"
	if change != nil {
		change(claims, token)
	}
	text, err := token.SignedString(s.private)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func (s setting) subject(t *testing.T, token oidc.Token) string {
	t.Helper()
	if token.Subject == "" {
		token.Subject = "function"
	}
	text, err := s.foreign.Mint(token)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func form(pairs ...string) url.Values {
	values := url.Values{}
	for pair := range slices.Chunk(pairs, 2) {
		values.Add(pair[0], pair[1])
	}
	return values
}

const cc = "client_credentials"

func TestClientsAuthenticateAsTheyAreRegisteredAndNotOtherwise(t *testing.T) {
	t.Parallel()
	s := newSetting(t, oauth.Options{})
	signed := func(change func(jwt.MapClaims, *jwt.Token)) url.Values {
		return form("grant_type", cc, "client_assertion_type", assertionType, "client_assertion", s.assertion(t, change))
	}
	claim := func(name string, value any) func(jwt.MapClaims, *jwt.Token) {
		return func(claims jwt.MapClaims, _ *jwt.Token) { claims[name] = value }
	}
	federated := func(token oidc.Token) url.Values {
		return form("grant_type", cc, "client_id", "fed", "client_assertion_type", assertionType, "client_assertion", s.subject(t, token))
	}
	tests := []struct {
		name   string
		form   url.Values
		change func(*http.Request)
		status int
		code   any
	}{
		{"basic, with characters that have to be encoded", form("grant_type", cc), basicAuth("basic", "s:%+ü"), 200, nil},
		{"basic without encoding", form("grant_type", cc), func(r *http.Request) { r.SetBasicAuth("basic", "s:%+ü") }, 401, "invalid_client"},
		{"basic with another secret", form("grant_type", cc), basicAuth("basic", "s"), 401, "invalid_client"},
		{"basic in the body", form("grant_type", cc, "client_id", "basic", "client_secret", "s:%+ü"), nil, 401, "invalid_client"},
		{"both at once", form("grant_type", cc, "client_id", "basic", "client_secret", "s:%+ü"), basicAuth("basic", "s:%+ü"), 400, "invalid_request"},
		{"two client ids", form("grant_type", cc, "client_id", "post"), basicAuth("basic", "s:%+ü"), 400, "invalid_request"},
		{"another scheme", form("grant_type", cc), func(r *http.Request) { r.Header.Set("Authorization", "Bearer x") }, 401, "invalid_client"},
		{"post", form("grant_type", cc, "client_id", "post", "client_secret", "secret"), nil, 200, nil},
		{"post in the header", form("grant_type", cc), basicAuth("post", "secret"), 401, "invalid_client"},
		{"an unknown client", form("grant_type", cc, "client_id", "x", "client_secret", "secret"), nil, 401, "invalid_client"},
		{"no client", form("grant_type", cc), nil, 401, "invalid_client"},
		{"a public client with credentials", form("grant_type", cc, "client_id", "public"), nil, 400, "unauthorized_client"},
		{"no certificate", form("grant_type", cc, "client_id", "cert"), nil, 401, "invalid_client"},
		{"an assertion for the issuer", signed(nil), nil, 200, nil},
		{"an assertion for the token endpoint", signed(claim("aud", base+"/token")), nil, 200, nil},
		{"an assertion beside its client id", func() url.Values { f := signed(nil); f.Set("client_id", "signs"); return f }(), nil, 200, nil},
		{"an assertion beside another client id", func() url.Values { f := signed(nil); f.Set("client_id", "post"); return f }(), nil, 401, "invalid_client"},
		{"an assertion of another type", form("grant_type", cc, "client_assertion_type", "saml", "client_assertion", "x"), nil, 400, "invalid_request"},
		{"for another audience", signed(claim("aud", "https://elsewhere.example")), nil, 401, "invalid_client"},
		{"for two audiences", signed(claim("aud", []string{base, "https://elsewhere.example"})), nil, 401, "invalid_client"},
		{"issued by another", signed(claim("iss", "post")), nil, 401, "invalid_client"},
		{"without an id", signed(claim("jti", nil)), nil, 401, "invalid_client"},
		{"without an end", signed(claim("exp", nil)), nil, 401, "invalid_client"},
		{"expired", signed(claim("exp", time.Now().Add(-time.Minute).Unix())), nil, 401, "invalid_client"},
		{"too long", signed(claim("exp", time.Now().Add(time.Hour).Unix())), nil, 401, "invalid_client"},
		{"from the future", signed(claim("iat", time.Now().Add(time.Hour).Unix())), nil, 401, "invalid_client"},
		{"not valid yet", signed(claim("nbf", time.Now().Add(time.Hour).Unix())), nil, 401, "invalid_client"},
		{"with another key id", signed(func(_ jwt.MapClaims, token *jwt.Token) { token.Header["kid"] = "k2" }), nil, 401, "invalid_client"},
		{"a foreign token", federated(oidc.Token{Audience: []string{"exchange"}}), nil, 200, nil},
		{"a foreign token for another audience", federated(oidc.Token{Audience: []string{base}}), nil, 401, "invalid_client"},
		{"a foreign token of another subject", federated(oidc.Token{Subject: "x", Audience: []string{"exchange"}}), nil, 401, "invalid_client"},
		{"a foreign token that has expired", federated(oidc.Token{Audience: []string{"exchange"}, Lifetime: -time.Minute}), nil, 401, "invalid_client"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			status, answer := s.send(t, test.form, test.change)
			if status != test.status || answer["error"] != test.code {
				t.Fatalf("%d %v", status, answer)
			}
			if token, _ := answer["access_token"].(string); s.server.Valid(token, oauth.Need{}) != (status == 200) {
				t.Errorf("valid: %v", answer)
			}
		})
	}
}

func TestAnAssertionIsAcceptedOnce(t *testing.T) {
	t.Parallel()
	s := newSetting(t, oauth.Options{})
	f := form("grant_type", cc, "client_assertion_type", assertionType, "client_assertion", s.assertion(t, nil))
	if status, answer := s.send(t, f, nil); status != 200 {
		t.Fatalf("%d %v", status, answer)
	}
	if status, answer := s.send(t, f, nil); status != 401 || answer["error_description"] != "it has been used before" {
		t.Errorf("%d %v", status, answer)
	}
}

func TestRequestsThatAreNoneAreRefused(t *testing.T) {
	t.Parallel()
	s := newSetting(t, oauth.Options{})
	tests := []struct {
		name   string
		form   url.Values
		change func(*http.Request)
		status int
		code   any
	}{
		{"another method", form("grant_type", cc), func(r *http.Request) { r.Method = http.MethodGet }, 405, nil},
		{"JSON", form("grant_type", cc), func(r *http.Request) { r.Header.Set("Content-Type", "application/json") }, 400, "invalid_request"},
		{"a character set is no harm", form("grant_type", cc), func(r *http.Request) {
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded; charset=UTF-8")
		}, 200, nil},
		{"parameters in the URL", form("grant_type", cc), func(r *http.Request) { r.URL.RawQuery = "scope=x" }, 400, "invalid_request"},
		{"a repeated parameter", form("grant_type", cc, "scope", "llm:read", "scope", "llm:invoke"), nil, 400, "invalid_request"},
		{"a repeated audience is no harm", form("grant_type", cc, "audience", "llm", "audience", "https://llm.example/v1"), nil, 200, nil},
		{"an empty parameter counts as left out", form("grant_type", cc, "scope", ""), nil, 200, nil},
		{"an unknown parameter is ignored", form("grant_type", cc, "colour", "red"), nil, 200, nil},
		{"no grant type", form("scope", "llm:read"), nil, 400, "invalid_request"},
		{"an unknown grant type", form("grant_type", "password"), nil, 400, "unsupported_grant_type"},
		{"an unknown scope", form("grant_type", cc, "scope", "llm:read admin"), nil, 400, "invalid_scope"},
		{"two spaces between scopes", form("grant_type", cc, "scope", "llm:read  llm:invoke"), nil, 400, "invalid_scope"},
		{"an unknown audience", form("grant_type", cc, "audience", "x"), nil, 400, "invalid_target"},
		{"an unknown resource", form("grant_type", cc, "resource", "https://x.example"), nil, 400, "invalid_target"},
		{"a resource that is no URL", form("grant_type", cc, "resource", "llm"), nil, 400, "invalid_target"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			status, answer := s.send(t, test.form, func(r *http.Request) {
				basicAuth("basic", "s:%+ü")(r)
				if test.change != nil {
					test.change(r)
				}
			})
			if status != test.status || answer["error"] != test.code {
				t.Errorf("%d %v", status, answer)
			}
		})
	}
}

func TestTokensAreExchanged(t *testing.T) {
	t.Parallel()
	const grant, ofJWT = oauth.TokenExchange, "urn:ietf:params:oauth:token-type:jwt"
	tests := []struct {
		name   string
		token  oidc.Token
		more   []string
		status int
		code   any
	}{
		{"a foreign token for this server", oidc.Token{Audience: []string{base}}, nil, 200, nil},
		{"without a client", oidc.Token{Audience: []string{base}}, []string{"client_id", ""}, 200, nil},
		{"for another server", oidc.Token{Audience: []string{"x"}}, nil, 400, "invalid_request"},
		{"expired", oidc.Token{Audience: []string{base}, Lifetime: -time.Minute}, nil, 400, "invalid_request"},
		{"of an unknown issuer", oidc.Token{Audience: []string{base}, Claims: map[string]any{"iss": "https://x.example"}}, nil, 400, "invalid_request"},
		{"of an unknown type", oidc.Token{Audience: []string{base}}, []string{"subject_token_type", "urn:x"}, 400, "invalid_request"},
		{"without a type", oidc.Token{Audience: []string{base}}, []string{"subject_token_type", ""}, 400, "invalid_request"},
		{"with an actor", oidc.Token{Audience: []string{base}}, []string{"actor_token", "x"}, 400, "invalid_request"},
		{"for an unknown type", oidc.Token{Audience: []string{base}}, []string{"requested_token_type", "urn:x"}, 400, "invalid_request"},
		{"for a JWT from a server that has none", oidc.Token{Audience: []string{base}}, []string{"requested_token_type", ofJWT}, 400, "invalid_request"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := newSetting(t, oauth.Options{})
			f := form("grant_type", grant, "client_id", "public", "subject_token", s.subject(t, test.token), "subject_token_type", ofJWT)
			for pair := range slices.Chunk(test.more, 2) {
				f.Set(pair[0], pair[1])
			}
			status, answer := s.send(t, f, nil)
			if status != test.status || answer["error"] != test.code {
				t.Fatalf("%d %v", status, answer)
			}
			token, _ := answer["access_token"].(string)
			granted, _ := s.server.Grant(token)
			if status == 200 && (granted.Subject != "function" || answer["issued_token_type"] != "urn:ietf:params:oauth:token-type:access_token") {
				t.Errorf("%+v %v", granted, answer)
			}
		})
	}
}

func TestATokenIsValidForWhatItWasAskedForUntilItEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSetting(t, oauth.Options{JWT: true, Lifetime: time.Minute})
		status, answer := s.send(t, form("grant_type", cc, "scope", "llm:read", "resource", "https://llm.example/v1"), basicAuth("basic", "s:%+ü"))
		token, _ := answer["access_token"].(string)
		if status != 200 || answer["expires_in"] != 60.0 || answer["token_type"] != "Bearer" || answer["scope"] != "llm:read" {
			t.Fatalf("%d %v", status, answer)
		}
		for _, test := range []struct {
			need oauth.Need
			want bool
		}{
			{oauth.Need{}, true},
			{oauth.Need{Target: "https://llm.example/v1", Scopes: []string{"llm:read"}}, true},
			{oauth.Need{Target: "llm"}, false},
			{oauth.Need{Scopes: []string{"llm:read", "llm:invoke"}}, false},
		} {
			if got := s.server.Valid(token, test.need); got != test.want {
				t.Errorf("%+v: %v", test.need, got)
			}
		}
		// Another library verifies it with the published key.
		claims := jwt.MapClaims{}
		if _, err := jwt.ParseWithClaims(token, claims, func(*jwt.Token) (any, error) { return s.server.Keys().Keys[0].Key, nil },
			jwt.WithIssuer(base), jwt.WithAudience("https://llm.example/v1"), jwt.WithExpirationRequired()); err != nil || claims["client_id"] != "basic" {
			t.Errorf("%v, %v", claims, err)
		}
		time.Sleep(time.Minute)
		if s.server.Valid(token, oauth.Need{}) {
			t.Error("it outlives itself")
		}
		s.server.Revoke(token)
		if _, found := s.server.Grant(token); found {
			t.Error("a revoked token is known")
		}
		s.server.SetSecret("basic", "new")
		if status, _ := s.send(t, form("grant_type", cc), basicAuth("basic", "new")); status != 200 {
			t.Errorf("the new secret gives %d", status)
		}
	})
}

func TestTheServerDescribesItself(t *testing.T) {
	t.Parallel()
	s := newSetting(t, oauth.Options{MutualTLS: "https://mtls.as.example"})
	get := func(path string) (int, map[string]any) {
		recorder := httptest.NewRecorder()
		s.server.ServeHTTP(recorder, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil))
		document := map[string]any{}
		_ = json.Unmarshal(recorder.Body.Bytes(), &document)
		return recorder.Code, document
	}
	for _, path := range []string{"/realms/models/.well-known/openid-configuration", "/.well-known/oauth-authorization-server/realms/models"} {
		status, document := get(path)
		aliases, _ := document["mtls_endpoint_aliases"].(map[string]any)
		if status != 200 || document["issuer"] != base || document["token_endpoint"] != base+"/token" || aliases["token_endpoint"] != "https://mtls.as.example/token" {
			t.Errorf("%s: %d %v", path, status, document)
		}
	}
	s.server.Describe("issuer", "https://other.example")
	s.server.Describe("jwks_uri", nil)
	if _, document := get(s.server.OpenIDPath()); document["issuer"] != "https://other.example" || document["jwks_uri"] != nil {
		t.Errorf("%v", document)
	}
	s.server.Hide(s.server.OpenIDPath())
	if status, _ := get(s.server.OpenIDPath()); status != 404 {
		t.Errorf("a hidden document gives %d", status)
	}
	s.server.Descriptions.Set(fault.Fault{Status: 500})
	if status, _ := get(s.server.OAuthPath()); status != 500 || s.server.Descriptions.Calls() != 5 {
		t.Errorf("a fault gives %d after %d calls", status, s.server.Descriptions.Calls())
	}
	s.server.Tokens.Set(fault.Fault{Status: 503})
	if status, _ := s.send(t, form("grant_type", cc), nil); status != 503 {
		t.Errorf("a fault gives %d", status)
	}
}
