package secrets_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/postern-ai/postern/shared/identity"
	"github.com/postern-ai/postern/shared/secrets"
)

// This package cannot know the identity packages, and is made for what they offer.
var _ secrets.Authorizer = identity.Authorizer(nil)

func TestCredentialsAreSentOverTLSOnly(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, address, want, wantError string }{
		{name: "TLS", address: "https://my-vault.vault.azure.net", want: "https://my-vault.vault.azure.net"},
		{name: "a slash at the end", address: "https://my-vault.vault.azure.net/", want: "https://my-vault.vault.azure.net"},
		{name: "this machine by its address", address: "http://127.0.0.1:9104", want: "http://127.0.0.1:9104"},
		{name: "this machine by its IPv6 address", address: "http://[::1]:9104", want: "http://[::1]:9104"},
		{name: "this machine by its name", address: "http://localhost:9104", want: "http://localhost:9104"},
		{name: "another machine without TLS", address: "http://example.com", wantError: "has to begin with https://"},
		{name: "a name that only looks like this machine", address: "http://127.0.0.1.example.com", wantError: "has to begin with https://"},
		{name: "another scheme", address: "ftp://127.0.0.1", wantError: "has to begin with https://"},
		{name: "no scheme", address: "example.com", wantError: "scheme and host"},
		{name: "a user", address: "https://user@example.com", wantError: "scheme and host"},
		{name: "a path", address: "https://example.com/secrets", wantError: "scheme and host"},
		{name: "a query", address: "https://example.com/?a=b", wantError: "scheme and host"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got, err := secrets.Endpoint(test.address)
			switch {
			case test.wantError != "":
				if err == nil || !strings.Contains(err.Error(), test.wantError) {
					t.Errorf("got %v and error %v", got, err)
				}
			case err != nil || got.String() != test.want:
				t.Errorf("got %v and error %v", got, err)
			}
		})
	}
}

// tokens is an authorizer that counts.
type tokens struct {
	mu       sync.Mutex
	issued   int
	rejected []string
}

func (a *tokens) Authorize(request *http.Request) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.issued++
	request.Header.Set("Authorization", fmt.Sprint(a.issued))
	return nil
}

func (a *tokens) Rejected(request *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.rejected = append(a.rejected, request.Header.Get("Authorization"))
}

func TestARejectedRequestIsSentOnceMoreWithItsBody(t *testing.T) {
	t.Parallel()
	for _, good := range []string{"1", "2", "3"} {
		var seen []string
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			seen = append(seen, r.Header.Get("Authorization")+" "+string(body))
			if r.Header.Get("Authorization") != good {
				w.WriteHeader(http.StatusUnauthorized)
			}
		}))
		authorizer := &tokens{}
		remote := secrets.Remote{HTTP: secrets.Bounded(nil), Authorizer: authorizer}
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPut, server.URL, strings.NewReader("body"))
		if err != nil {
			t.Fatal(err)
		}
		reply, err := remote.Send(request, cached)
		server.Close()
		want := map[string][]string{"1": {"1 body"}, "2": {"1 body", "2 body"}, "3": {"1 body", "2 body"}}[good]
		wantStatus := map[string]int{"1": 200, "2": 200, "3": 401}[good]
		if err != nil || reply.Status != wantStatus {
			t.Errorf("got status %d and error %v, want %d", reply.Status, err, wantStatus)
		}
		if diff := cmp.Diff(want, seen); diff != "" {
			t.Error(diff)
		}
		if good != "1" && (len(authorizer.rejected) != 1 || authorizer.rejected[0] != "1") {
			t.Errorf("told of %q", authorizer.rejected)
		}
	}
}

func TestALargeReplyIsNotReadToItsEnd(t *testing.T) {
	t.Parallel()
	for size, want := range map[int]bool{512 << 10: true, 512<<10 + 1: false, 8 << 20: false} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.Copy(w, io.LimitReader(zeros{}, int64(size)))
		}))
		remote := secrets.Remote{HTTP: secrets.Bounded(nil), Authorizer: &tokens{}}
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		reply, err := remote.Send(request, cached)
		server.Close()
		var told *secrets.Error
		switch {
		case want && (err != nil || len(reply.Body) != size):
			t.Errorf("%d bytes: got %d and error %v", size, len(reply.Body), err)
		case !want && (!errors.As(err, &told) || !strings.HasSuffix(err.Error(), "the store's reply is too large")):
			t.Errorf("%d bytes: got error %v", size, err)
		}
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }
