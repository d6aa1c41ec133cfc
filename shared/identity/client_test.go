package identity_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/postern-ai/postern/shared/identity"
)

func TestTheLocalClientReadsSoMuchAndGoesNowhereElse(t *testing.T) {
	t.Parallel()
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
	client := identity.LocalClient()
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

// TestTheLocalClientUsesNoProxy asks for an address that is not on this machine, for which net/http would use the proxy.
func TestTheLocalClientUsesNoProxy(t *testing.T) {
	proxied := false
	proxy := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { proxied = true }))
	defer proxy.Close()
	t.Setenv("HTTP_PROXY", proxy.URL)
	t.Setenv("http_proxy", proxy.URL)
	// RFC 6761 keeps this name from ever existing.
	if response, err := identity.LocalClient().Get("http://metadata.invalid/"); err == nil {
		_ = response.Body.Close()
	}
	if proxied {
		t.Error("the request went through the proxy")
	}
}
