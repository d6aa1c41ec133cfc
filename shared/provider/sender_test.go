package provider_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/postern-ai/postern/shared/provider"
)

// credentials is an authorizer that numbers the credentials that it gives out
// and gives out another one only after a rejection.
type credentials struct {
	mu       sync.Mutex
	number   int
	rejected []string
	err      error
}

func (c *credentials) Authorize(r *http.Request) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return c.err
	}
	r.Header.Set("Authorization", fmt.Sprintf("Bearer token-%d", c.number))
	return nil
}

func (c *credentials) Rejected(r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.rejected = append(c.rejected, r.Header.Get("Authorization"))
	c.number++
}

// roundTripper is an http.RoundTripper made of a function.
type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func newRequest(t *testing.T, ctx context.Context, url, body string) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader([]byte(body)))
	if err != nil {
		t.Fatal(err)
	}
	return req
}

func TestSenderReplacesARejectedCredentialOnce(t *testing.T) {
	t.Parallel()
	expired := func(r *http.Response) bool { return r.Header.Get("X-Expired") != "" }
	for _, c := range []struct {
		name     string
		answers  []int // statuses, one per attempt; a negative one says that the credential has expired
		rejected func(*http.Response) bool
		status   int
		sent     []string
		dropped  []string
	}{
		{"an accepted credential is used once", []int{200}, nil, 200, []string{"Bearer token-0"}, nil},
		{"a rejected one is replaced", []int{401, 200}, nil, 200, []string{"Bearer token-0", "Bearer token-1"}, []string{"Bearer token-0"}},
		{"the second rejection stands", []int{401, 401, 200}, nil, 401, []string{"Bearer token-0", "Bearer token-1"}, []string{"Bearer token-0"}},
		{"a refusal of another kind stands", []int{403, 200}, nil, 403, []string{"Bearer token-0"}, nil},
		{"a failure stands", []int{503, 200}, nil, 503, []string{"Bearer token-0"}, nil},
		{"the upstream's own sign of an expired credential counts", []int{-403, 200}, expired, 200, []string{"Bearer token-0", "Bearer token-1"}, []string{"Bearer token-0"}},
		{"with an own sign a bare 401 stands", []int{401, 200}, expired, 401, []string{"Bearer token-0"}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var sent, bodies []string
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				body, err := io.ReadAll(r.Body)
				if err != nil {
					t.Error(err)
				}
				bodies = append(bodies, string(body))
				sent = append(sent, r.Header.Get("Authorization"))
				if _, ok := r.Header["X-Idempotency-Key"]; ok {
					t.Error("the sign for the transport went out")
				}
				status := c.answers[len(sent)-1]
				if status < 0 {
					w.Header().Set("X-Expired", "yes")
				}
				w.WriteHeader(max(status, -status))
			}))
			defer server.Close()
			auth := &credentials{}
			sender := &provider.Sender{HTTP: server.Client().Transport, Auth: auth, Rejected: c.rejected}
			req := newRequest(t, t.Context(), server.URL, "the body")
			resp, err := sender.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			if resp.StatusCode != c.status {
				t.Errorf("status %d, want %d", resp.StatusCode, c.status)
			}
			if d := cmp.Diff(c.sent, sent); d != "" {
				t.Error(d)
			}
			if d := cmp.Diff(c.dropped, auth.rejected); d != "" {
				t.Error(d)
			}
			if slices.ContainsFunc(bodies, func(b string) bool { return b != "the body" }) {
				t.Errorf("sent bodies %q", bodies)
			}
			if len(req.Header) != 0 {
				t.Errorf("the caller's request was changed: %v", req.Header)
			}
		})
	}
}

func TestSenderFollowsNoRedirect(t *testing.T) {
	t.Parallel()
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		t.Error("the credential went to another host")
	}))
	defer elsewhere.Close()
	server := httptest.NewServer(http.RedirectHandler(elsewhere.URL, http.StatusTemporaryRedirect))
	defer server.Close()
	resp, err := (&provider.Sender{HTTP: server.Client().Transport, Auth: &credentials{}}).Do(newRequest(t, t.Context(), server.URL, "a"))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusTemporaryRedirect {
		t.Errorf("status %d", resp.StatusCode)
	}
}

func TestSenderErrors(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	t.Run("without a credential nothing is sent", func(t *testing.T) {
		t.Parallel()
		s := &provider.Sender{Auth: &credentials{err: broken}, HTTP: roundTripper(func(*http.Request) (*http.Response, error) {
			t.Error("a request without a credential was sent")
			return nil, broken
		})}
		if _, err := s.Do(newRequest(t, t.Context(), "http://example.com", "a")); !errors.Is(err, broken) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("what the transport says is not retried", func(t *testing.T) {
		t.Parallel()
		n := 0
		s := &provider.Sender{Auth: &credentials{}, HTTP: roundTripper(func(*http.Request) (*http.Response, error) { n++; return nil, broken })}
		if _, err := s.Do(newRequest(t, t.Context(), "http://example.com", "a")); !errors.Is(err, broken) || n != 1 {
			t.Errorf("got %v after %d attempts", err, n)
		}
	})
	t.Run("a credential that cannot be replaced", func(t *testing.T) {
		t.Parallel()
		auth := &credentials{}
		body := &closed{Reader: strings.NewReader("no")}
		s := &provider.Sender{Auth: auth, HTTP: roundTripper(func(*http.Request) (*http.Response, error) {
			auth.err = broken
			return &http.Response{StatusCode: http.StatusUnauthorized, Body: body}, nil
		})}
		if _, err := s.Do(newRequest(t, t.Context(), "http://example.com", "a")); !errors.Is(err, broken) {
			t.Errorf("got %v", err)
		}
		if !body.closed {
			t.Error("the answer to the first attempt was not closed")
		}
	})
	t.Run("a body that cannot be read again", func(t *testing.T) {
		t.Parallel()
		req := newRequest(t, t.Context(), "http://example.com", "a")
		req.GetBody = func() (io.ReadCloser, error) { return nil, broken }
		if _, err := (&provider.Sender{Auth: &credentials{}}).Do(req); !errors.Is(err, broken) {
			t.Errorf("got %v", err)
		}
	})
}

// closed remembers that it was closed.
type closed struct {
	io.Reader
	closed bool
}

func (c *closed) Close() error { c.closed = true; return nil }

// A function that was frozen wakes up with connections that are long dead.
func TestSenderSurvivesDeadConnections(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
	}))
	defer server.Close()
	transport := &http.Transport{MaxIdleConnsPerHost: 100}
	defer transport.CloseIdleConnections()
	sender := &provider.Sender{HTTP: transport, Auth: &credentials{}}
	for range 50 {
		resp, err := sender.Do(newRequest(t, t.Context(), server.URL, "a"))
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
		server.CloseClientConnections()
	}
}
