package identity_test

import (
	"encoding/base64"
	"strings"
	"testing"

	"github.com/postern-ai/postern/shared/identity"
	"github.com/postern-ai/postern/shared/secrets"
)

func TestClaimsAreReadWithoutQuotingTheToken(t *testing.T) {
	t.Parallel()
	encode := base64.RawURLEncoding.EncodeToString
	tests := []struct {
		name, token, wantError string
		want                   int64
	}{
		{name: "a token", token: "h." + encode([]byte(`{"exp":7,"other":{"x":[]}}`)) + ".s", want: 7},
		{name: "no token", token: "canary", wantError: "not a JSON Web Token"},
		{name: "an encrypted token", token: "canary.b.c.d.e", wantError: "not a JSON Web Token"},
		{name: "a payload that is not base64url", token: "h.canary!.s", wantError: "not base64url"},
		{name: "a payload that is not JSON", token: "h." + encode([]byte("canary")) + ".s", wantError: "not the expected JSON"},
		{name: "a claim of another type", token: "h." + encode([]byte(`{"exp":"canary"}`)) + ".s", wantError: "not the expected JSON"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var claims struct {
				Expires int64 `json:"exp"`
			}
			err := identity.UnverifiedClaims(secrets.NewValue(test.token), &claims)
			if test.wantError == "" {
				if err != nil || claims.Expires != test.want {
					t.Errorf("got %d and error %v", claims.Expires, err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), test.wantError) || strings.Contains(err.Error(), "canary") {
				t.Errorf("got %v, want %q", err, test.wantError)
			}
		})
	}
}

func FuzzUnverifiedClaims(f *testing.F) {
	f.Add("h." + base64.RawURLEncoding.EncodeToString([]byte(`{"exp":7}`)) + ".s")
	f.Add("..")
	f.Fuzz(func(t *testing.T, token string) {
		var claims struct {
			Expires int64 `json:"exp"`
		}
		err := identity.UnverifiedClaims(secrets.NewValue(token), &claims)
		if len(token) > 20 && err != nil && strings.Contains(err.Error(), token) {
			t.Errorf("the error quotes the token: %v", err)
		}
	})
}

func TestATokenIsDescribedByWhatATrustPolicyNeeds(t *testing.T) {
	t.Parallel()
	for claims, want := range map[string]string{
		`{"iss":"https://i","sub":"s","aud":"a","email":"canary"}`:       `issuer "https://i", subject "s", audience "a"`,
		`{"iss":"https://i","sub":"s","aud":["a"]}`:                      `issuer "https://i", subject "s", audience "a"`,
		`{"iss":"https://i","sub":"s","aud":["a","b"]}`:                  `issuer "https://i", subject "s", audience "a,b"`,
		`{"iss":"https://i","sub":"s"}`:                                  "",
		`{"iss":"https://i","sub":"s\ncanary","aud":"a"}`:                "",
		`{"iss":"https://i","sub":1,"aud":"a"}`:                          "",
		`{"iss":"` + strings.Repeat("i", 600) + `","sub":"s","aud":"a"}`: "",
	} {
		token := "e30." + base64.RawURLEncoding.EncodeToString([]byte(claims)) + ".c2ln"
		if got := identity.DescribeJWT(secrets.NewValue(token)); got != want {
			t.Errorf("%s: got %s, want %s", claims, got, want)
		}
	}
	if got := identity.DescribeJWT(secrets.NewValue("canary")); got != "" {
		t.Errorf("got %q", got)
	}
}
