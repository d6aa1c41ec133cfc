package oidc_test

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/golang-jwt/jwt/v5"

	"github.com/postern-ai/postern/localdev/fake/oidc"
)

func start(t *testing.T) *oidc.Issuer {
	t.Helper()
	server := httptest.NewUnstartedServer(nil)
	issuer := oidc.New("http://" + server.Listener.Addr().String())
	server.Config.Handler = issuer
	server.Start()
	t.Cleanup(server.Close)
	return issuer
}

// get reads one of the issuer's documents.
func get(t *testing.T, url string, into any) {
	t.Helper()
	response, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("GET %s: %s, %v", url, response.Status, err)
	}
	if err := json.Unmarshal(body, into); err != nil {
		t.Fatal(err)
	}
}

// verify checks a token as a stranger would: from the issuer's URL alone, with a library that the stand-in does not use.
func verify(t *testing.T, issuer, token string) (jwt.MapClaims, error) {
	t.Helper()
	var discovery struct {
		Issuer  string `json:"issuer"`
		JWKSURI string `json:"jwks_uri"`
	}
	get(t, issuer+oidc.DiscoveryPath, &discovery)
	if discovery.Issuer != issuer {
		t.Fatalf("discovery names the issuer %q, want %q", discovery.Issuer, issuer)
	}
	var keys jose.JSONWebKeySet
	get(t, discovery.JWKSURI, &keys)
	claims := jwt.MapClaims{}
	_, err := jwt.ParseWithClaims(token, claims, func(token *jwt.Token) (any, error) {
		id, _ := token.Header["kid"].(string)
		for _, key := range keys.Key(id) {
			if key.Algorithm == token.Method.Alg() && key.Use == "sig" {
				return key.Key, nil
			}
		}
		return nil, errors.New("the key is not published")
	}, jwt.WithIssuer(issuer), jwt.WithAudience("gateway"), jwt.WithExpirationRequired(), jwt.WithIssuedAt())
	return claims, err
}

func TestAnotherLibraryAcceptsTheTokens(t *testing.T) {
	t.Parallel()
	issuer := start(t)
	for _, algorithm := range []string{"RS256", "PS256", "ES256", "ES384", "ES512", "EdDSA"} {
		t.Run(algorithm, func(t *testing.T) {
			token, err := issuer.Mint(oidc.Token{Subject: "alice", Audience: []string{"gateway"}, Groups: []string{"staff"}, Algorithm: algorithm, MFA: true})
			if err != nil {
				t.Fatal(err)
			}
			claims, err := verify(t, issuer.URL(), token)
			if err != nil {
				t.Fatal(err)
			}
			groups, _ := claims["groups"].([]any)
			methods, _ := claims["amr"].([]any)
			if claims["sub"] != "alice" || len(groups) != 1 || len(methods) != 3 {
				t.Errorf("the claims are %v", claims)
			}
		})
	}
}

func TestClaimsCanBeAddedAndRemoved(t *testing.T) {
	t.Parallel()
	issuer := start(t)
	token, err := issuer.Mint(oidc.Token{Subject: "alice", Audience: []string{"gateway"}, Claims: map[string]any{"sub": nil, "tenant": "t1"}})
	if err != nil {
		t.Fatal(err)
	}
	claims, err := verify(t, issuer.URL(), token)
	if _, has := claims["sub"]; err != nil || has || claims["tenant"] != "t1" {
		t.Errorf("the claims are %v, %v", claims, err)
	}
	expired, err := issuer.Mint(oidc.Token{Audience: []string{"gateway"}, Lifetime: -time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := verify(t, issuer.URL(), expired); !errors.Is(err, jwt.ErrTokenExpired) {
		t.Errorf("a token with a negative lifetime gives %v", err)
	}
}

func TestRotatedKeysArePublishedUntilTheyRetire(t *testing.T) {
	t.Parallel()
	issuer := start(t)
	old, err := issuer.Mint(oidc.Token{Subject: "alice", Audience: []string{"gateway"}})
	if err != nil {
		t.Fatal(err)
	}
	accepted := func(token string) bool {
		_, err := verify(t, issuer.URL(), token)
		return err == nil
	}
	if err := issuer.Rotate("ES256"); err != nil {
		t.Fatal(err)
	}
	young, err := issuer.Mint(oidc.Token{Subject: "alice", Audience: []string{"gateway"}})
	if err != nil {
		t.Fatal(err)
	}
	if !accepted(old) || !accepted(young) {
		t.Error("a key is not published")
	}
	issuer.Retire()
	if accepted(old) || !accepted(young) {
		t.Error("retiring does not take exactly the old key away")
	}
	if issuer.Fetches(oidc.KeysPath) != 4 {
		t.Errorf("%d fetches are counted, want 4", issuer.Fetches(oidc.KeysPath))
	}
}

func TestTheIssuerRefusesAndBreaks(t *testing.T) {
	t.Parallel()
	issuer := start(t)
	status := func(method, path string) int {
		request, err := http.NewRequestWithContext(t.Context(), method, issuer.URL()+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			return 0
		}
		defer response.Body.Close()
		return response.StatusCode
	}
	issuer.Break("/broken", oidc.Fault{Status: http.StatusBadGateway})
	issuer.Break("/gone", oidc.Fault{Hangup: true})
	for _, test := range []struct {
		method, path string
		want         int
	}{
		{"GET", oidc.DiscoveryPath, 200}, {"POST", oidc.KeysPath, 405}, {"GET", "/other", 404}, {"GET", "/broken", 502}, {"GET", "/gone", 0},
	} {
		if got := status(test.method, test.path); got != test.want {
			t.Errorf("%s %s answers %d, want %d", test.method, test.path, got, test.want)
		}
	}
}
