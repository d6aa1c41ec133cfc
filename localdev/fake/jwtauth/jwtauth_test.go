package jwtauth_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"maps"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/golang-jwt/jwt/v5"
	"github.com/postern-ai/postern/localdev/fake/jwtauth"
)

const issuer = "https://issuer.example"

func claims(change map[string]any) map[string]any {
	all := map[string]any{"iss": issuer, "sub": "s", "aud": "a", "iat": time.Now().Unix(), "exp": time.Now().Add(time.Hour).Unix()}
	maps.Copy(all, change)
	for name, value := range all {
		if value == nil {
			delete(all, name)
		}
	}
	return all
}

func sign(t *testing.T, signer *jwtauth.Signer, change map[string]any) string {
	t.Helper()
	token, err := signer.Sign(claims(change))
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func TestAnotherLibraryAcceptsTheTokens(t *testing.T) {
	t.Parallel()
	for _, algorithm := range []string{"RS256", "ES256", "ES384"} {
		signer := jwtauth.NewSigner(algorithm)
		recorder := httptest.NewRecorder()
		signer.ServeHTTP(recorder, nil)
		var set jose.JSONWebKeySet
		if err := json.Unmarshal(recorder.Body.Bytes(), &set); err != nil {
			t.Fatal(err)
		}
		_, err := jwt.Parse(sign(t, signer, nil), func(token *jwt.Token) (any, error) {
			id, _ := token.Header["kid"].(string)
			return set.Key(id)[0].Key, nil
		}, jwt.WithValidMethods([]string{algorithm}), jwt.WithIssuer(issuer), jwt.WithAudience("a"), jwt.WithExpirationRequired())
		if err != nil {
			t.Errorf("%s: %v", algorithm, err)
		}
	}
}

func TestOnlyTokensOfKnownIssuersWithTheirOwnKeysAreAccepted(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ours, other, strange := jwtauth.NewSigner("ES256"), jwtauth.NewSigner("ES256"), jwtauth.NewSigner("ES384")
		keys := jwtauth.Issuers(map[string]*jwtauth.Signer{issuer: ours, "https://other.example": other})
		good := sign(t, ours, nil)
		head, rest, _ := strings.Cut(good, ".")
		_, signature, _ := strings.Cut(rest, ".")
		forged, _ := json.Marshal(claims(map[string]any{"sub": "someone else"}))
		none := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none"}`)) + "." + base64.RawURLEncoding.EncodeToString(forged) + "."
		tests := []struct {
			name, token string
			want        error
		}{
			{"a good token", good, nil},
			{"one for several audiences", sign(t, ours, map[string]any{"aud": []string{"a", "b"}}), nil},
			{"one of another issuer that is known too", sign(t, other, map[string]any{"iss": "https://other.example"}), nil},
			{"one that names another issuer than the key's", sign(t, other, nil), jwtauth.ErrUnknownKey},
			{"one of an unknown issuer", sign(t, ours, map[string]any{"iss": "https://evil.example"}), jwtauth.ErrUnknownIssuer},
			{"one with another algorithm", sign(t, strange, nil), jwtauth.ErrAlgorithm},
			{"one without a signature", none, jwtauth.ErrAlgorithm},
			{"one with other claims than were signed", head + "." + base64.RawURLEncoding.EncodeToString(forged) + "." + signature, jwtauth.ErrSignature},
			{"one that has expired", sign(t, ours, map[string]any{"exp": time.Now().Unix()}), jwtauth.ErrExpired},
			{"one from the future", sign(t, ours, map[string]any{"iat": time.Now().Add(time.Hour).Unix()}), jwtauth.ErrNotYet},
			{"one that begins later", sign(t, ours, map[string]any{"nbf": time.Now().Add(time.Hour).Unix()}), jwtauth.ErrNotYet},
			{"one without an expiry", sign(t, ours, map[string]any{"exp": nil}), jwtauth.ErrMalformed},
			{"one without a subject", sign(t, ours, map[string]any{"sub": nil}), jwtauth.ErrMalformed},
			{"one for nobody in particular", sign(t, ours, map[string]any{"aud": nil}), nil},
			{"one for a number", sign(t, ours, map[string]any{"aud": 1}), jwtauth.ErrMalformed},
			{"one without an issuer", sign(t, ours, map[string]any{"iss": nil}), jwtauth.ErrMalformed},
			{"something else", "x.y.z", jwtauth.ErrMalformed},
		}
		for _, test := range tests {
			got, err := jwtauth.Verify(test.token, keys, jose.ES256)
			if !errors.Is(err, test.want) {
				t.Errorf("%s: got %v, want %v", test.name, err, test.want)
			}
			if test.want == nil && (got.Subject != "s" || got.Text("sub") != "s") {
				t.Errorf("%s: got %+v", test.name, got)
			}
		}
	})
}

func FuzzVerify(f *testing.F) {
	signer := jwtauth.NewSigner("ES256")
	keys := jwtauth.Issuers(map[string]*jwtauth.Signer{issuer: signer})
	good, err := signer.Sign(claims(nil))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good[:len(good)-3] + "abc")
	f.Add("e30.e30.e30")
	f.Fuzz(func(t *testing.T, token string) {
		// Several texts stand for the same signature, but only one for what was signed.
		signed := good[:strings.LastIndex(good, ".")+1]
		if _, err := jwtauth.Verify(token, keys, jose.ES256); err == nil && !strings.HasPrefix(token, signed) {
			t.Errorf("accepted %q", token)
		}
	})
}
