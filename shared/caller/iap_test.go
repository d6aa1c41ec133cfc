package caller_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/postern-ai/postern/localdev/fake/oidc"
	"github.com/postern-ai/postern/shared/caller"
	"github.com/postern-ai/postern/shared/config"
)

// recording notes which address is asked for.
type recording struct {
	http.Handler
	asked *string
}

func (h recording) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	*h.asked = r.URL.String()
	h.Handler.ServeHTTP(w, r)
}

func TestAssertionsOfIdentityAwareProxy(t *testing.T) {
	t.Parallel()
	const (
		iap     = "https://cloud.google.com/iap"
		backend = "/projects/123456789/global/backendServices/42"
		keys    = "https://www.gstatic.com/iap/verify/public_key-jwk"
	)
	proxy := oidc.New(iap)
	google := oidc.New("https://accounts.google.com")
	assertion := func(change ...any) string {
		claims := with(map[string]any{"sub": "accounts.google.com:117", "email": "alice@example.com", "hd": "example.com"}, change...)
		return mint(t, proxy, oidc.Token{Audience: []string{backend}, Claims: claims, Lifetime: 10 * time.Minute})
	}
	valid := assertion()
	other := oidc.New(iap)
	document := func(jwks string) *config.Document {
		return &config.Document{Fronts: config.Fronts{IAP: &config.IAP{Audiences: []string{backend}, JWKSURI: jwks}}}
	}
	alice := caller.Principal{Subject: "alice@example.com", Name: "iap/alice@example.com", Kind: caller.User, Tenant: "example.com"}
	tests := []struct {
		name    string
		cloud   config.Cloud
		headers []string
		want    caller.Principal
		code    caller.Code
	}{
		{name: "a person", headers: []string{"X-Goog-IAP-JWT-Assertion", valid}, want: alice},
		{
			name: "a service account", headers: []string{"X-Goog-IAP-JWT-Assertion", assertion("email", "app@p.iam.gserviceaccount.com", "hd", nil)},
			want: caller.Principal{Subject: "app@p.iam.gserviceaccount.com", Name: "iap/app@p.iam.gserviceaccount.com", Kind: caller.Workload},
		},
		{
			name: "a person of another identity provider, by no address", headers: []string{"X-Goog-IAP-JWT-Assertion", assertion("sub", "securetoken.google.com/p:117")},
			want: caller.Principal{Subject: "securetoken.google.com/p:117", Name: "iap/securetoken.google.com/p:117"},
		},
		{name: "the headers that are not signed count for nothing", headers: []string{"X-Goog-Authenticated-User-Email", "accounts.google.com:boss@example.com", "X-Goog-IAP-JWT-Assertion", valid}, want: alice},
		{name: "no assertion", code: caller.Missing},
		{name: "the headers that are not signed alone", headers: []string{"X-Goog-Authenticated-User-Email", "accounts.google.com:boss@example.com"}, code: caller.Missing},
		{name: "on another cloud", cloud: config.AWS, headers: []string{"X-Goog-IAP-JWT-Assertion", valid}, code: caller.NotConfigured},
		{name: "two assertions", headers: []string{"X-Goog-IAP-JWT-Assertion", valid, "X-Goog-Iap-Jwt-Assertion", valid}, code: caller.Malformed},
		{name: "the assertion of another service", headers: []string{"X-Goog-IAP-JWT-Assertion", assertion("aud", backend+"0")}, code: caller.WrongAudience},
		{name: "one that is over", headers: []string{"X-Goog-IAP-JWT-Assertion", assertion("exp", time.Now().Add(-2*time.Minute).Unix())}, code: caller.Expired},
		{name: "one by a stranger's key", headers: []string{"X-Goog-IAP-JWT-Assertion", mint(t, other, oidc.Token{Audience: []string{backend}})}, code: caller.BadSignature},
		{name: "one without a signature", headers: []string{"X-Goog-IAP-JWT-Assertion", valid[:strings.LastIndex(valid, ".")+1]}, code: caller.BadSignature},
		{name: "an ID token of Google", headers: []string{"X-Goog-IAP-JWT-Assertion", mint(t, google, oidc.Token{Audience: []string{backend}})}, code: caller.WrongIssuer},
		{name: "what is no token", headers: []string{"X-Goog-IAP-JWT-Assertion", "alice"}, code: caller.Malformed},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			d := door{cloud: config.GCP, headers: test.headers}
			if test.cloud != "" {
				d.cloud = test.cloud
			}
			got, err := d.enter(t, document(iap+oidc.KeysPath), http.StripPrefix("/iap", proxy))
			if test.code != "" {
				refused(t, request(t, test.headers...), err, test.code)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			test.want.Method, test.want.Issuer = caller.IAP, iap
			if diff := cmp.Diff(&test.want, got, cmpopts.IgnoreFields(caller.Principal{}, "Expires")); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	asked := ""
	_, err := door{cloud: config.GCP, headers: []string{"X-Goog-IAP-JWT-Assertion", valid}}.enter(t, document(""), recording{proxy, &asked})
	if asked != keys {
		t.Errorf("the keys are asked for at %q, want %q (%v)", asked, keys, err)
	}
}
