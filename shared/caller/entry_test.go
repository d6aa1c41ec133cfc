package caller_test

import (
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/postern-ai/postern/shared/caller"
	"github.com/postern-ai/postern/shared/config"
)

// left returns the names of the headers that Guard leaves.
func left(t *testing.T, d *config.Document, o caller.Options, header http.Header) []string {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
	r.Header = header
	var names []string
	caller.Guard(d, o, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		names = slices.Sorted(maps.Keys(r.Header))
	})).ServeHTTP(httptest.NewRecorder(), r)
	return names
}

// header makes a header of names as a server would, without making one spelling of two.
func header(names ...string) http.Header {
	h := http.Header{}
	for _, name := range names {
		h.Add(name, "somebody")
	}
	return h
}

func TestHeadersThatNobodyVouchesForAreDeleted(t *testing.T) {
	t.Parallel()
	for _, name := range []string{
		"X-MS-CLIENT-PRINCIPAL", "X-MS-CLIENT-PRINCIPAL-ID", "X-MS-CLIENT-PRINCIPAL-NAME", "X-MS-TOKEN-AAD-ACCESS-TOKEN",
		"x_ms_client_principal_id", "X-Ms_Client-Principal-Id", "X-MS-CLIENT-PRINCIPAL-ID ", "X-ARR-ClientCert", "X-ARR-SSL",
		"X-Amzn-Mtls-Clientcert", "X-Amzn-Mtls-Clientcert-Leaf", "X-Amzn-Mtls-Clientcert-Subject", "X-Amzn-Oidc-Identity", "X-Amzn-Oidc-Data",
		"X-Amzn-Trace-Id", "X-Amz-Security-Token", "CloudFront-Viewer-Cert-Subject", "X-Goog-IAP-JWT-Assertion", "X-Goog-Authenticated-User-Email",
		"X-Serverless-Authorization", "X-Client-Cert", "X-Client-Certificate", "Client-Cert", "Client-Cert-Chain", "SSL-Client-Verify", "X-SSL-Client-S-DN",
		"X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Client-Cert", "X-Forwarded-User", "Forwarded", "X-Real-IP", "Via", "X-Original-URL",
		"X-Original-Host", "X-Rewrite-URL", "X-HTTP-Method-Override", "Proxy-Authorization", "Remote-User", "X-Auth-Request-User", "CF-Access-JWT-Assertion",
	} {
		for _, cloud := range []config.Cloud{"", config.AWS, config.GCP, config.Azure} {
			if got := left(t, &config.Document{Callers: accepting()}, caller.Options{Cloud: cloud}, header(name)); len(got) > 0 {
				t.Errorf("on %q, %q is left", cloud, got)
			}
		}
	}
	harmless := []string{
		"Accept", "Authorization", "Content-Length", "Content-Type", "Openai-Organization", "Traceparent", "User-Agent",
		"X-Cloud-Trace-Context", "X-Request-Id", "X-Stainless-Lang",
	}
	if diff := cmp.Diff(harmless, left(t, &config.Document{Callers: accepting()}, caller.Options{Cloud: config.AWS}, header(harmless...))); diff != "" {
		t.Errorf("what says nothing of the caller's identity is left (-want +got):\n%s", diff)
	}
}

func TestHeadersOfThePlatformAreLeftWhereTheDocumentTrustsIt(t *testing.T) {
	t.Parallel()
	all := []string{
		"X-MS-CLIENT-PRINCIPAL-ID", "X-MS-CLIENT-PRINCIPAL-NAME", "X_MS_CLIENT_PRINCIPAL_ID", "X-MS-CLIENT-PRINCIPAL", "X-Serverless-Authorization", "X_Serverless_Authorization",
	}
	for _, test := range []struct {
		cloud config.Cloud
		want  []string
	}{
		{config.AWS, nil},
		{config.GCP, []string{"X-Serverless-Authorization"}},
		{config.Azure, []string{"X-Ms-Client-Principal-Id", "X-Ms-Client-Principal-Name"}},
	} {
		if diff := cmp.Diff(test.want, left(t, &config.Document{PlatformCallers: true}, caller.Options{Cloud: test.cloud}, header(all...))); diff != "" {
			t.Errorf("on %s (-want +got):\n%s", test.cloud, diff)
		}
	}
}
