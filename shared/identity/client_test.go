package identity_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-ai/postern/shared/identity"
)

func TestClientsReadSoMuchAndGoNowhereElse(t *testing.T) {
	t.Parallel()
	for name, client := range map[string]*http.Client{"local": identity.LocalClient(), "issuer": identity.IssuerClient()} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			readsSoMuchAndGoesNowhereElse(t, client)
		})
	}
}

func readsSoMuchAndGoesNowhereElse(t *testing.T, client *http.Client) {
	t.Helper()
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the client followed a redirect") }))
	defer elsewhere.Close()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/redirect":
			http.Redirect(w, r, elsewhere.URL, http.StatusTemporaryRedirect)
		case "/long":
			_, _ = io.WriteString(w, strings.Repeat("x", 64<<10+1))
		default:
			_, _ = io.WriteString(w, strings.Repeat("x", 64<<10))
		}
	}))
	defer server.Close()
	read := func(path string) (int, error) {
		t.Helper()
		response, err := client.Get(server.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = response.Body.Close() }()
		_, err = io.ReadAll(response.Body)
		return response.StatusCode, err
	}
	if _, err := read("/"); err != nil {
		t.Errorf("64 KiB: %v", err)
	}
	if _, err := read("/long"); err == nil {
		t.Error("more than 64 KiB were read")
	}
	if status, _ := read("/redirect"); status != http.StatusTemporaryRedirect {
		t.Errorf("redirect: status %d", status)
	}
}

// TestAProxySeesNothing asks for addresses that are not on this machine, for which net/http would use the proxy. RFC 6761 keeps such
// names from ever existing.
func TestAProxySeesNothing(t *testing.T) {
	var seen []string
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen = append(seen, r.Method+" "+r.URL.Host)
		w.WriteHeader(http.StatusForbidden)
	}))
	defer proxy.Close()
	for _, name := range []string{"HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy"} {
		t.Setenv(name, proxy.URL)
	}
	t.Setenv("NO_PROXY", "")
	t.Setenv("no_proxy", "")
	for _, client := range []*http.Client{identity.LocalClient(), identity.IssuerClient()} {
		for _, address := range []string{"http://metadata.invalid/secret", "https://issuer.invalid/secret"} {
			if response, err := client.Get(address); err == nil {
				_ = response.Body.Close()
			}
		}
	}
	// The client for issuers may ask for a tunnel to the address with TLS. It does so when nothing in this process has looked for a proxy
	// before, since net/http looks for it once.
	for _, line := range seen {
		if line != "CONNECT issuer.invalid:443" {
			t.Errorf("the proxy saw %s", line)
		}
	}
}

func TestLoopbackIsThisMachineAndNothingElse(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]bool{
		"http://127.0.0.1:9100": true, "https://localhost": true, "http://[::1]:1/x": true, "http://127.9.9.9": true,
		"http://169.254.169.254": false, "http://localhost.evil.example": false, "http://10.0.0.1": false, "http://127.0.0.1.evil.example": false, "http://0.0.0.0": false,
	} {
		parsed, err := url.Parse(address)
		if err != nil || identity.IsLoopback(parsed) != want {
			t.Errorf("%s: got %v and error %v", address, !want, err)
		}
	}
}

func TestOnlyAClockThatIsOffIsMentioned(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		for off, want := range map[time.Duration]string{
			0: "", 4 * time.Minute: "", -4 * time.Minute: "",
			10 * time.Minute: "this machine's clock is 10 minutes behind the service's", -10 * time.Minute: "this machine's clock is 10 minutes ahead of the service's",
		} {
			date := time.Now().Add(off).UTC().Format(http.TimeFormat)
			if got := identity.DescribeSkew(http.Header{"Date": {date}}); got != want {
				t.Errorf("%v: got %q", off, got)
			}
		}
		if got := identity.DescribeSkew(http.Header{"Date": {"canary"}}); got != "" {
			t.Errorf("got %q", got)
		}
	})
}
