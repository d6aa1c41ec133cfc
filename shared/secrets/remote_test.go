package secrets_test

import (
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
	"testing/synctest"
	"time"

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

// throttle answers 429 so many times, and then 200. It remembers what it was sent.
type throttle struct {
	times      int
	retryAfter string
	bodies     []string
}

func (s *throttle) RoundTrip(request *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(request.Body)
	s.bodies = append(s.bodies, string(body))
	status := http.StatusOK
	if s.times > 0 {
		s.times--
		status = http.StatusTooManyRequests
	}
	header := http.Header{}
	if s.retryAfter != "" {
		header.Set("Retry-After", s.retryAfter)
	}
	return &http.Response{StatusCode: status, Header: header, Body: io.NopCloser(strings.NewReader(""))}, err
}

func TestAThrottledRequestIsSentAgainAfterAPause(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name        string
		service     throttle
		deadline    time.Duration
		least, most time.Duration
		status      int
		requests    int
	}{
		{name: "not at all", most: 0, status: 200, requests: 1},
		{name: "once", service: throttle{times: 1}, least: 100 * time.Millisecond, most: 150 * time.Millisecond, status: 200, requests: 2},
		{name: "thrice", service: throttle{times: 3}, least: 2100 * time.Millisecond, most: 3150 * time.Millisecond, status: 200, requests: 4},
		{name: "without an end", service: throttle{times: 99}, least: 2100 * time.Millisecond, most: 3150 * time.Millisecond, status: 429, requests: 4},
		{name: "for so many seconds", service: throttle{times: 1, retryAfter: "7"}, least: 7 * time.Second, most: 7 * time.Second, status: 200, requests: 2},
		{name: "for a whole minute", service: throttle{times: 1, retryAfter: "60"}, status: 429, requests: 1},
		{name: "for longer than there is time", service: throttle{times: 1, retryAfter: "7"}, deadline: 5 * time.Second, status: 429, requests: 1},
		{name: "until some date", service: throttle{times: 1, retryAfter: "Fri, 27 Nov 2026 20:00:00 GMT"}, least: 100 * time.Millisecond, most: 150 * time.Millisecond, status: 200, requests: 2},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				ctx := t.Context()
				if test.deadline != 0 {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, test.deadline)
					defer cancel()
				}
				remote := secrets.Remote{HTTP: secrets.Bounded(&test.service), Authorizer: &tokens{}}
				request, err := secrets.Call{Method: http.MethodPut, URL: "https://example.com", Body: map[string]string{"a": "b"}}.Request(ctx, secrets.Ref{Name: "key"})
				if err != nil {
					t.Fatal(err)
				}
				start := time.Now()
				reply, err := remote.SendPatiently(request, secrets.Ref{Name: "key"}, 0)
				if took := time.Since(start); err != nil || reply.Status != test.status || took < test.least || took > test.most {
					t.Errorf("got %d and error %v after %v", reply.Status, err, took)
				}
				if want := slices.Repeat([]string{`{"a":"b"}`}, test.requests); !slices.Equal(test.service.bodies, want) {
					t.Errorf("the service was sent %q", test.service.bodies)
				}
			})
		})
	}
}

func TestACallerThatGoesIsNotKeptWaiting(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		remote := secrets.Remote{HTTP: secrets.Bounded(&throttle{times: 99, retryAfter: "5"}), Authorizer: &tokens{}}
		request, err := secrets.Call{URL: "https://example.com"}.Request(ctx, secrets.Ref{Name: "key"})
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		if reply, err := remote.SendPatiently(request, secrets.Ref{Name: "key"}, 0); err != nil || reply.Status != http.StatusTooManyRequests || time.Since(start) != time.Second {
			t.Errorf("got %d and error %v after %v", reply.Status, err, time.Since(start))
		}
	})
}

func TestACallThatCannotBeMadeIsAnError(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		call secrets.Call
		want string
	}{
		{"a URL that is none", secrets.Call{URL: "://"}, `read secret "key": no URL can be made of it`},
		{"a value that cannot be told", secrets.Call{URL: "https://example.com", Body: secrets.NewValue("canary")}, `read secret "key": no request can be made of it`},
	} {
		if _, err := test.call.Request(t.Context(), secrets.Ref{Name: "key"}); err == nil || err.Error() != test.want {
			t.Errorf("%s: got %v", test.name, err)
		}
	}
}
