package caller_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"net/textproto"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/postern-ai/postern/localdev/apitoken"
	"github.com/postern-ai/postern/localdev/fake/oidc"
	"github.com/postern-ai/postern/shared/caller"
	"github.com/postern-ai/postern/shared/config"
)

// FuzzEntry proves that no header of a request names a caller, on any cloud and through any front, except one of the credentials
// that somebody who may has made, whole and unchanged and where it belongs; and that no refusal repeats a credential.
func FuzzEntry(f *testing.F) {
	issuer, proxy := oidc.New(issuerURL), oidc.New(config.IAPIssuer)
	list := newRegister()
	apiToken := list.make(f, apitoken.Request{Name: "ci", Life: time.Hour})
	valid := mint(f, issuer, oidc.Token{Lifetime: 24 * time.Hour})
	h := newHolder(f, "ES256")
	bound := boundTo(f, issuer, h)
	assertion := mint(f, proxy, oidc.Token{Audience: []string{"/projects/1"}, Lifetime: 24 * time.Hour})
	removed := valid[:strings.LastIndex(valid, ".")+1] + "SIGNATURE_REMOVED_BY_GOOGLE"
	credentials := []string{apiToken, valid, bound, assertion}

	callers := accepting()
	callers[0].DPoP = config.DPoPOptional
	document := &config.Document{
		Callers: callers, APITokens: &config.APITokens{}, PlatformCallers: true, PublicURL: gatewayURL,
		Fronts: config.Fronts{
			ALB: &config.CertificateFront{Admit: true}, APIGateway: &config.CertificateFront{Admit: true},
			AppService: &config.CertificateFront{Admit: true, ClientCA: authorityPEM}, IAP: &config.IAP{Audiences: []string{"/projects/1"}},
		},
	}
	keys := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Host == "www.gstatic.com" {
			r.URL.Path = oidc.KeysPath
			proxy.ServeHTTP(w, r)
			return
		}
		issuer.ServeHTTP(w, r)
	})
	clouds := []config.Cloud{config.AWS, config.GCP, config.Azure}
	platforms := map[config.Cloud]caller.Authenticator{
		config.AWS: caller.Lambda(func(*http.Request) (string, bool) { return "", false }), config.GCP: caller.CloudRunInvoker(), config.Azure: caller.AppServiceAuthentication(),
	}
	entries := map[config.Cloud]http.Handler{}
	var principal *caller.Principal
	var failure error
	for _, cloud := range clouds {
		o := caller.Options{
			Cloud: cloud, APITokens: list.read, APITokenKey: list.readKey, Platform: platforms[cloud], Transport: direct{keys},
			Balanced: func(r *http.Request) bool { return r.URL.RawQuery == "balanced" },
		}
		by := caller.New(document, o)
		entries[cloud] = caller.Guard(document, o, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { principal, failure = by.Authenticate(r) }))
	}
	// Every process of a fuzz test has credentials of its own, so inputs name them.
	for _, seed := range []string{
		"", "Authorization: Bearer {token}", "Authorization: bearer {api}", "Authorization: DPoP {bound}\nDPoP: {proof}",
		"Authorization: Bearer {bound}", "Authorization: DPoP {token}\nDPoP: {proof}", "X-Goog-IAP-JWT-Assertion: {assertion}", "Authorization: Bearer {removed}",
		"X-Serverless-Authorization: Bearer {removed}", "X-MS-CLIENT-PRINCIPAL-ID: 1\nX-MS-CLIENT-PRINCIPAL-NAME: boss", "X_MS_CLIENT_PRINCIPAL_ID: 1",
		"X-ARR-ClientCert: AAAA", "X-Amzn-Mtls-Clientcert-Leaf: -----BEGIN%20CERTIFICATE-----%0AAAAA%0A-----END%20CERTIFICATE-----", "Authorization: Bearer bnVsbA.bnVsbA.",
		"Authorization: Bearer {token}\nAuthorization: Bearer {api}", "Authorization: Bearer {token}x", "Authorization: Bearer {api}a", "Authorization: Basic YTpi", "DPoP: x",
	} {
		for cloud := range clouds {
			f.Add(cloud, cloud == 0, seed)
		}
	}
	named := map[string]string{"{token}": valid, "{api}": apiToken, "{bound}": bound, "{assertion}": assertion, "{removed}": removed}
	f.Fuzz(func(t *testing.T, cloud int, balanced bool, lines string) {
		at := clouds[(cloud%3+3)%3]
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/v1/chat/completions", nil)
		if balanced {
			r.URL.RawQuery = "balanced"
		}
		for name, credential := range named {
			lines = strings.ReplaceAll(lines, name, credential)
		}
		if before, after, ok := strings.Cut(lines, "{proof}"); ok {
			lines = before + h.prove(t, bound) + after
		}
		for line := range strings.SplitSeq(lines, "\n") {
			if name, value, ok := strings.Cut(line, ":"); ok {
				r.Header.Add(name, textproto.TrimString(value))
			}
		}
		authorization, serverless, id := r.Header.Get("Authorization"), r.Header.Get("X-Serverless-Authorization"), r.Header.Get("X-Ms-Client-Principal-Id")
		asserted := r.Header.Get("X-Goog-Iap-Jwt-Assertion")
		principal, failure = nil, nil
		entries[at].ServeHTTP(httptest.NewRecorder(), r)
		if (principal == nil) == (failure == nil) {
			t.Fatalf("got %+v and %v", principal, failure)
		}
		if failure != nil {
			if lines == "Authorization: Bearer "+valid || lines == "Authorization: Bearer "+apiToken {
				t.Fatalf("what names a caller is refused: %v", failure)
			}
			if _, ok := errors.AsType[*caller.Error](failure); !ok {
				t.Fatalf("the error %v has no code", failure)
			}
			for _, credential := range credentials {
				if strings.Contains(failure.Error(), credential) {
					t.Fatalf("the error holds a credential: %v", failure)
				}
			}
			return
		}
		_, token, _ := strings.Cut(authorization, " ")
		token = strings.Trim(token, " ")
		switch {
		case principal.Method == caller.OIDC && slices.Contains([]string{valid, bound}, token):
		case principal.Method == caller.APIToken && token == apiToken:
		case principal.Method == caller.IAP && at == config.GCP && asserted == assertion:
		case principal.Method == caller.CloudRun && at == config.GCP && strings.HasSuffix(authorization+serverless, ".SIGNATURE_REMOVED_BY_GOOGLE"):
		case principal.Method == caller.EasyAuth && at == config.Azure && principal.Subject == id:
		default:
			t.Fatalf("on %s the headers %q name %+v", at, lines, principal)
		}
	})
}

// authorityPEM is an authority whose key nobody has.
const authorityPEM = `-----BEGIN CERTIFICATE-----
MIIBgTCCASegAwIBAgIUbriwS86jIALG55IvXAkjnAKsgEMwCgYIKoZIzj0EAwIw
FjEUMBIGA1UEAwwLUGFydG5lcnMgQ0EwHhcNMjYxMTI3MjAwMzI0WhcNMzYxMTI0
MjAwMzI0WjAWMRQwEgYDVQQDDAtQYXJ0bmVycyBDQTBZMBMGByqGSM49AgEGCCqG
SM49AwEHA0IABHl1uqdUIunmQscxa05LJidwb1fFzCWyDkGi40PI1m3isVdUn7Hd
2tylchUPtyAURem/yCjF0LznY4FwE8Ekke2jUzBRMB0GA1UdDgQWBBRvsRD3j0QT
pWPOtA+GxuQLsWNSUDAfBgNVHSMEGDAWgBRvsRD3j0QTpWPOtA+GxuQLsWNSUDAP
BgNVHRMBAf8EBTADAQH/MAoGCCqGSM49BAMCA0gAMEUCIE4YIwzOI/ui1OrSEncL
QEdcF9/Axjg9aA68Vhsvd3zAAiEAv1ho2jZL1a3Ho9fFBiZpEkTt4JMyEfQ8CGBE
t9IDmcA=
-----END CERTIFICATE-----`
