package googleid_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-ai/postern/localdev/fake/fault"
	"github.com/postern-ai/postern/localdev/fake/metadata"
	"github.com/postern-ai/postern/shared/identity"
	"github.com/postern-ai/postern/shared/identity/googleid"
)

const email = "gateway@local-project.iam.gserviceaccount.com"

// wire is a transport that hands requests to a handler as a server would receive them.
type wire struct{ handler http.Handler }

func (w wire) RoundTrip(request *http.Request) (response *http.Response, err error) {
	defer func() {
		if recover() != nil {
			err = errors.New("canary: connection reset")
		}
	}()
	recorder := httptest.NewRecorder()
	w.handler.ServeHTTP(recorder, request.Clone(request.Context()))
	if err := request.Context().Err(); err != nil {
		return nil, err
	}
	return recorder.Result(), nil
}

func source(handler http.Handler) *googleid.Metadata {
	return googleid.New(googleid.Options{
		Getenv: func(string) string { return "" },
		HTTP: &http.Client{Transport: wire{handler}, CheckRedirect: func(*http.Request, []*http.Request) error {
			return http.ErrUseLastResponse
		}},
	})
}

func bubble(t *testing.T, run func(*testing.T)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, run)
}

func TestATokenIsValidAndNamesItsServiceAccount(t *testing.T) {
	bubble(t, func(t *testing.T) {
		server := metadata.New(metadata.Options{})
		from := source(server)
		token, err := from.Token(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if !server.Valid(token.Value.Reveal()) || token.Type != "Bearer" || !token.Expires.Equal(time.Now().Add(time.Hour)) {
			t.Errorf("got %+v", token)
		}
		if token.Principal != (identity.Principal{Name: email, Source: "metadata server"}) {
			t.Errorf("principal %+v", token.Principal)
		}
		if _, err := from.Token(t.Context()); err != nil || server.Emails.Calls() != 1 || server.Tokens.Calls() != 2 {
			t.Errorf("%d questions for the name and %d for tokens: %v", server.Emails.Calls(), server.Tokens.Calls(), err)
		}
	})
}

// TestTheClientOfTheSourceReachesTheServer goes through sockets and the variable that names the server.
func TestTheClientOfTheSourceReachesTheServer(t *testing.T) {
	server := metadata.New(metadata.Options{})
	listening := httptest.NewServer(server)
	defer listening.Close()
	t.Setenv("GCE_METADATA_HOST", strings.TrimPrefix(listening.URL, "http://"))
	from := googleid.New(googleid.Options{Scopes: []string{"https://www.googleapis.com/auth/pubsub", googleid.CloudPlatform}})
	token, err := from.Token(t.Context())
	if err != nil || !server.Valid(token.Value.Reveal()) || token.Principal.Name != email {
		t.Errorf("got %+v and error %v", token, err)
	}
	if project, err := from.ProjectID(t.Context()); err != nil || project != "local-project" {
		t.Errorf("got project %q and error %v", project, err)
	}
	if region, err := from.Region(t.Context()); err != nil || region != "europe-west4" {
		t.Errorf("got region %q and error %v", region, err)
	}
}

func TestThroughTheCacheATokenIsRenewedAndARejectedOneReplaced(t *testing.T) {
	bubble(t, func(t *testing.T) {
		server := metadata.New(metadata.Options{})
		authorizer := identity.Bearer(identity.NewCache(source(server), identity.CacheOptions{}))
		authorize := func() *http.Request {
			t.Helper()
			request := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "https://upstream", nil)
			if err := authorizer.Authorize(request); err != nil {
				t.Error(err)
			}
			if !server.Valid(strings.TrimPrefix(request.Header.Get("Authorization"), "Bearer ")) {
				t.Error("the token is not valid")
			}
			return request
		}
		var wait sync.WaitGroup
		for range 1000 {
			wait.Go(func() { authorize() })
		}
		wait.Wait()
		if got := server.Tokens.Calls(); got != 1 {
			t.Errorf("%d calls for 1,000 cold requests", got)
		}
		first := authorize()
		server.Revoke(strings.TrimPrefix(first.Header.Get("Authorization"), "Bearer "))
		authorizer.Rejected(first)
		authorize()
		// Over two hours with a request each 10 s: the server gives the same token out again until 4 minutes before its end, so each
		// token takes a few questions, and no request ever carries a dead one.
		before := server.Tokens.Calls()
		for range 720 {
			time.Sleep(10 * time.Second)
			authorize()
		}
		if asked := server.Tokens.Calls() - before; asked < 2 || asked > 12 {
			t.Errorf("%d questions in two hours", asked)
		}
	})
}

func TestWithoutItsNameATokenIsStillGood(t *testing.T) {
	for name, broken := range map[string]fault.Fault{
		"the name is refused":     {Status: 404},
		"the name does not come":  {Delay: time.Hour},
		"the name is not a name":  {Status: 200, Body: "canary\n\n@", Header: http.Header{"Metadata-Flavor": {"Google"}}},
		"the name is far too big": {Status: 200, Body: strings.Repeat("x@", 1<<20)},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				server := metadata.New(metadata.Options{})
				server.Emails.Set(broken)
				from := source(server)
				start := time.Now()
				token, err := from.Token(t.Context())
				if err != nil || token.Principal.Name != "default service account" {
					t.Errorf("got %+v and error %v", token.Principal, err)
				}
				if took := time.Since(start); took > 100*time.Millisecond {
					t.Errorf("waited %v for a name", took)
				}
				server.Emails.Clear()
				if token, err := from.Token(t.Context()); err != nil || token.Principal.Name != email {
					t.Errorf("later: got %+v and error %v", token.Principal, err)
				}
				time.Sleep(3 * time.Second)
			})
		})
	}
}

func TestAFailingServerIsAClearErrorInTime(t *testing.T) {
	tests := []struct {
		name      string
		options   metadata.Options
		fault     fault.Fault
		want      string
		retryable bool
		calls     int
	}{
		{name: "it does not answer", fault: fault.Fault{Delay: time.Hour}, want: "does not answer", retryable: true, calls: 3},
		{name: "it hangs up", fault: fault.Fault{Hangup: true}, want: "does not answer", retryable: true, calls: 3},
		{name: "it is broken", fault: fault.Fault{Status: 503, Body: "canary"}, want: "status 503", retryable: true, calls: 3},
		{name: "it is overloaded", fault: fault.Fault{Status: 429, Body: "canary"}, want: "status 429", retryable: true, calls: 3},
		{name: "it refuses", fault: fault.Fault{Status: 403, Body: "canary"}, want: "status 403", calls: 1},
		{name: "it redirects", fault: fault.Fault{Status: 302, Header: http.Header{"Location": {"http://evil.example/canary"}}}, want: "status 302", calls: 1},
		{name: "there is no service account", options: metadata.Options{NoServiceAccount: true}, want: "no service account is attached", calls: 1},
		{name: "its answer is not JSON", fault: fault.Fault{Status: 200, Body: "<canary>"}, want: "not an access token", retryable: true, calls: 1},
		{name: "its answer holds no token", fault: fault.Fault{Status: 200, Body: `{"expires_in":3600,"x":"canary"}`}, want: "not an access token", retryable: true, calls: 1},
		{name: "its answer holds no expiry", fault: fault.Fault{Status: 200, Body: `{"access_token":"canary"}`}, want: "not an access token", retryable: true, calls: 1},
		{name: "its answer does not end", fault: fault.Fault{Status: 200, Body: strings.Repeat("canary", 1<<20)}, want: "larger than", calls: 1},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				server := metadata.New(test.options)
				server.Tokens.Set(test.fault)
				start := time.Now()
				_, err := source(server).Token(t.Context())
				if took := time.Since(start); took >= 3*time.Second {
					t.Errorf("took %v", took)
				}
				wantFailure(t, err, test.want, test.retryable)
				if got := server.Tokens.Calls(); got != test.calls {
					t.Errorf("%d attempts, want %d", got, test.calls)
				}
				time.Sleep(3 * time.Second)
			})
		})
	}
}

func wantFailure(t *testing.T, err error, want string, retryable bool) {
	t.Helper()
	failure, ok := errors.AsType[*identity.Error](err)
	if !ok || !strings.Contains(err.Error(), want) || failure.Retryable != retryable {
		t.Errorf("got %v, want %q and retryable %v", err, want, retryable)
	}
	if err != nil && strings.Contains(err.Error(), "canary") {
		t.Errorf("the error quotes the answer: %v", err)
	}
}

func TestSomeoneElseAtTheSameAddressIsNotAsked(t *testing.T) {
	bubble(t, func(t *testing.T) {
		calls := 0
		aws := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.HasSuffix(r.URL.Path, "/token") {
				calls++
			}
			_, _ = w.Write([]byte(`{"access_token":"canary","expires_in":3600,"token_type":"Bearer"}`))
		})
		_, err := source(aws).Token(t.Context())
		wantFailure(t, err, "not Google's metadata server", false)
		if calls != 1 {
			t.Errorf("%d attempts, want 1", calls)
		}
	})
}

func TestAShortFailureIsTriedAgain(t *testing.T) {
	bubble(t, func(t *testing.T) {
		server := metadata.New(metadata.Options{})
		server.Tokens.Set(fault.Fault{Status: 503, Times: 2})
		if _, err := source(server).Token(t.Context()); err != nil || server.Tokens.Calls() != 3 {
			t.Errorf("got %v after %d calls", err, server.Tokens.Calls())
		}
	})
}

func TestTheExpiryIsCountedFromBeforeTheRequest(t *testing.T) {
	bubble(t, func(t *testing.T) {
		server := metadata.New(metadata.Options{})
		server.Tokens.Set(fault.Fault{Delay: 700 * time.Millisecond})
		expires := time.Now().Add(time.Hour)
		if token, err := source(server).Token(t.Context()); err != nil || !token.Expires.Equal(expires) {
			t.Errorf("expires %v, want %v: %v", token.Expires, expires, err)
		}
	})
}

func TestAnExpiredTokenIsNotUsed(t *testing.T) {
	bubble(t, func(t *testing.T) {
		server := metadata.New(metadata.Options{Lifetime: -time.Minute})
		_, err := identity.NewCache(source(server), identity.CacheOptions{}).Token(t.Context())
		wantFailure(t, err, "already expired", true)
	})
}

func TestTheCallersDeadlineIsKept(t *testing.T) {
	bubble(t, func(t *testing.T) {
		server := metadata.New(metadata.Options{})
		server.Tokens.Set(fault.Fault{Delay: time.Hour})
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		start := time.Now()
		if _, err := source(server).Token(ctx); err == nil || time.Since(start) != 300*time.Millisecond {
			t.Errorf("got %v after %v", err, time.Since(start))
		}
	})
}

func TestAHostThatIsMoreThanAHostIsRefused(t *testing.T) {
	t.Parallel()
	for _, host := range []string{"http://127.0.0.1", "127.0.0.1/x", "user@host", "a b", "host?x"} {
		from := googleid.New(googleid.Options{Getenv: func(string) string { return host }, HTTP: &http.Client{Transport: wire{http.NotFoundHandler()}}})
		_, err := from.Token(t.Context())
		wantFailure(t, err, "GCE_METADATA_HOST must be", false)
	}
}

func TestIdentityTokensAreForTheirAudience(t *testing.T) {
	t.Parallel()
	server := metadata.New(metadata.Options{})
	from := source(server)
	token, err := from.IDToken(t.Context(), "https://upstream.example/?a&b")
	if err != nil {
		t.Fatal(err)
	}
	var claims struct {
		Audience string `json:"aud"`
	}
	if err := identity.UnverifiedClaims(token.Value, &claims); err != nil || claims.Audience != "https://upstream.example/?a&b" {
		t.Errorf("audience %q: %v", claims.Audience, err)
	}
	if left := time.Until(token.Expires); left < 59*time.Minute || left > time.Hour || token.Principal.Name != email {
		t.Errorf("valid for %v as %+v", left, token.Principal)
	}
	server.Identities.Set(fault.Fault{Status: 200, Body: "canary", Header: http.Header{"Metadata-Flavor": {"Google"}}})
	_, err = from.IDToken(t.Context(), "a")
	wantFailure(t, err, "not an identity token", true)
}

func BenchmarkAuthorize(b *testing.B) {
	authorizer := identity.Bearer(identity.NewCache(source(metadata.New(metadata.Options{})), identity.CacheOptions{}))
	ctx, _ := identity.WithReport(b.Context())
	request := httptest.NewRequestWithContext(ctx, http.MethodPost, "https://upstream", nil)
	b.ReportAllocs()
	for b.Loop() {
		if err := authorizer.Authorize(request); err != nil {
			b.Fatal(err)
		}
	}
}
