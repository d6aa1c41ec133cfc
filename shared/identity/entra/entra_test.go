package entra_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-ai/postern/localdev/fake/fault"
	"github.com/postern-ai/postern/localdev/fake/managedid"
	"github.com/postern-ai/postern/shared/identity"
	"github.com/postern-ai/postern/shared/identity/entra"
)

const (
	resource = "https://cognitiveservices.azure.com"
	secret   = "canary-identity-header"
)

var (
	system = managedid.Identity{ClientID: "aaaaaaaa-0000-4000-8000-000000000001", ObjectID: "bbbbbbbb-0000-4000-8000-000000000001"}
	user   = managedid.Identity{ClientID: "aaaaaaaa-0000-4000-8000-000000000002", ObjectID: "bbbbbbbb-0000-4000-8000-000000000002"}
)

// wire is a transport that hands requests to a handler as a server would receive them.
type wire struct{ handler http.Handler }

func (w wire) RoundTrip(request *http.Request) (response *http.Response, err error) {
	defer func() {
		switch caught := recover(); caught {
		case nil:
		case http.ErrAbortHandler:
			err = syscall.ECONNRESET
		default:
			panic(caught)
		}
	}()
	recorder := httptest.NewRecorder()
	received := request.Clone(request.Context())
	if received.Host == "" {
		received.Host = received.URL.Host
	}
	w.handler.ServeHTTP(recorder, received)
	if err := request.Context().Err(); err != nil {
		return nil, err
	}
	response = recorder.Result()
	response.Request = request
	return response, nil
}

func client(handler http.Handler) *http.Client {
	return &http.Client{Transport: wire{handler}, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// app gives the test the settings of a function app with these identities. The library reads them from the process, so such a test does
// not run in parallel.
func app(t *testing.T, lifetime time.Duration) *managedid.Server {
	t.Helper()
	clean(t)
	t.Setenv("IDENTITY_ENDPOINT", "http://127.0.0.1:1/msi/token")
	t.Setenv("IDENTITY_HEADER", secret)
	return managedid.New(managedid.Options{Secret: secret, System: system, User: []managedid.Identity{user}, Lifetime: lifetime})
}

func clean(t *testing.T) {
	t.Helper()
	for _, setting := range os.Environ() {
		name, _, _ := strings.Cut(setting, "=")
		if strings.HasPrefix(name, "IDENTITY_") || strings.HasPrefix(name, "MSI_") || strings.HasPrefix(name, "AZURE_") || name == "IMDS_ENDPOINT" {
			t.Setenv(name, "")
			_ = os.Unsetenv(name)
		}
	}
}

func wantFailure(t *testing.T, err error, want string) *identity.Error {
	t.Helper()
	failure, ok := errors.AsType[*identity.Error](err)
	if !ok || !strings.Contains(err.Error(), want) {
		t.Fatalf("got %v, want %q", err, want)
	}
	if strings.Contains(err.Error(), "canary") || strings.Contains(err.Error(), "127.0.0.1") {
		t.Errorf("the error holds what the library's does: %v", err)
	}
	return failure
}

func TestATokenIsForTheSelectedIdentityAndScope(t *testing.T) {
	tests := []struct {
		name     string
		options  entra.Options
		resource string
		want     string
	}{
		{"the system-assigned identity, named by its own token", entra.Options{}, resource, system.ClientID},
		{"a user-assigned identity", entra.Options{ClientID: user.ClientID}, resource, user.ClientID},
		{"another scope", entra.Options{Scope: "https://ai.azure.com/.default"}, "https://ai.azure.com", system.ClientID},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			server := app(t, 0)
			// What selects an identity for other credentials of the library selects none here.
			t.Setenv("AZURE_CLIENT_ID", "canary-client")
			listening := httptest.NewServer(server)
			defer listening.Close()
			t.Setenv("IDENTITY_ENDPOINT", listening.URL+"/msi/token")
			token, err := entra.New(test.options).Token(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if !server.Valid(token.Value.Reveal(), test.resource) {
				t.Error("the token is not valid for the resource")
			}
			if token.Principal != (identity.Principal{Name: test.want, Source: "managed identity"}) {
				t.Errorf("principal %+v", token.Principal)
			}
			if left := time.Until(token.Expires); left < 23*time.Hour || left > 24*time.Hour {
				t.Errorf("valid for %v", left)
			}
		})
	}
}

func TestEachFetchAsksThePlatformAndSendsNoClaims(t *testing.T) {
	server := app(t, 0)
	var queries []string
	from := entra.New(entra.Options{HTTP: client(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		queries = append(queries, r.URL.RawQuery)
		server.ServeHTTP(w, r)
	}))})
	for range 3 {
		if _, err := from.Token(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	// A second source must not find the first one's tokens either.
	if _, err := entra.New(entra.Options{HTTP: client(server)}).Token(t.Context()); err != nil || server.Faults.Calls() != 4 {
		t.Errorf("%d requests for 4 tokens: %v", server.Faults.Calls(), err)
	}
	for _, query := range queries {
		if query != "api-version=2019-08-01&resource=https%3A%2F%2Fcognitiveservices.azure.com" {
			t.Errorf("asked with %s", query)
		}
	}
}

func TestARejectedTokenDoesNotComeBack(t *testing.T) {
	server := app(t, 0)
	authorizer := identity.Bearer(identity.NewCache(entra.New(entra.Options{HTTP: client(server)}), identity.CacheOptions{}))
	request := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "https://upstream", nil)
	authorize := func() string {
		t.Helper()
		if err := authorizer.Authorize(request); err != nil {
			t.Fatal(err)
		}
		return strings.TrimPrefix(request.Header.Get("Authorization"), "Bearer ")
	}
	rejected := authorize()
	if authorize() != rejected || server.Faults.Calls() != 1 {
		t.Error("the cache did not keep the token")
	}
	server.Revoke(rejected)
	authorizer.Rejected(request)
	if renewed := authorize(); renewed == rejected || !server.Valid(renewed, resource) {
		t.Error("the rejected token came back")
	}
	if server.Faults.Calls() != 2 {
		t.Errorf("%d requests, want 2", server.Faults.Calls())
	}
}

func TestAThousandColdRequestsMakeOneFetch(t *testing.T) {
	server := app(t, 0)
	synctest.Test(t, func(t *testing.T) {
		server.Faults.Set(fault.Fault{Delay: time.Second})
		cache := identity.NewCache(entra.New(entra.Options{HTTP: client(server)}), identity.CacheOptions{})
		var wait sync.WaitGroup
		for range 1000 {
			wait.Go(func() {
				if _, err := cache.Token(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		wait.Wait()
		if got := server.Faults.Calls(); got != 1 {
			t.Errorf("%d requests, want 1", got)
		}
	})
}

func TestATokenThatDiedInTheFreezerIsReplaced(t *testing.T) {
	server := app(t, time.Hour)
	synctest.Test(t, func(t *testing.T) {
		cache := identity.NewCache(entra.New(entra.Options{HTTP: client(server)}), identity.CacheOptions{})
		for range 5 {
			token, err := cache.Token(t.Context())
			if err != nil || !server.Valid(token.Value.Reveal(), resource) {
				t.Fatalf("got error %v or a token that is not valid", err)
			}
			time.Sleep(26 * time.Hour)
		}
	})
}

func TestAMissingIdentityIsRefusedAtOnceWithoutTouchingTheNetwork(t *testing.T) {
	tests := []struct {
		name string
		env  map[string]string
		want string
	}{
		{"nothing is set", nil, "IDENTITY_ENDPOINT and IDENTITY_HEADER are not set"},
		{"the header is missing", map[string]string{"IDENTITY_ENDPOINT": "http://127.0.0.1:1/"}, "without IDENTITY_HEADER"},
		{"the endpoint is missing", map[string]string{"IDENTITY_HEADER": secret}, "without IDENTITY_ENDPOINT"},
		{"settings of another service", map[string]string{"MSI_ENDPOINT": "http://127.0.0.1:1/", "MSI_SECRET": secret}, "are not set"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			clean(t)
			for name, value := range test.env {
				t.Setenv(name, value)
			}
			asked := http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("a request was sent") })
			_, err := entra.New(entra.Options{HTTP: client(asked)}).Token(t.Context())
			if failure := wantFailure(t, err, test.want); failure.Retryable {
				t.Error("a missing identity is called retryable")
			}
		})
	}
}

func TestInstanceMetadataIsAskedOnlyWhenAllowedAndNotForLong(t *testing.T) {
	clean(t)
	synctest.Test(t, func(t *testing.T) {
		var hosts []string
		slow := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			hosts = append(hosts, r.URL.Host)
			<-r.Context().Done()
		})
		start := time.Now()
		_, err := entra.New(entra.Options{AllowInstanceMetadata: true, HTTP: client(slow)}).Token(t.Context())
		if took := time.Since(start); took >= 3*time.Second {
			t.Errorf("took %v", took)
		}
		wantFailure(t, err, "does not answer")
		if len(hosts) != 1 || hosts[0] != "169.254.169.254" {
			t.Errorf("asked %v", hosts)
		}
	})
}

func TestAFailingEndpointIsAClearErrorInTime(t *testing.T) {
	body := `{"statusCode":0,"message":"canary"}`
	tests := []struct {
		name      string
		options   entra.Options
		fault     fault.Fault
		want      string
		retryable bool
	}{
		{name: "it does not answer", fault: fault.Fault{Delay: time.Hour}, want: "does not answer: timed out", retryable: true},
		{name: "it hangs up", fault: fault.Fault{Hangup: true}, want: "cannot be reached: connection reset", retryable: true},
		{name: "the identity is not assigned", options: entra.Options{ClientID: "cccccccc-0000-4000-8000-000000000003"}, want: `client id "cccccccc-0000-4000-8000-000000000003" is assigned`},
		{name: "it refuses the request", fault: fault.Fault{Status: 400, Body: body}, want: "system-assigned identity, or set the client id"},
		{name: "it refuses the secret", fault: fault.Fault{Status: 401, Body: body}, want: "status 401"},
		{name: "it is overloaded", fault: fault.Fault{Status: 429, Body: body, Header: http.Header{"Retry-After": {"60"}}}, want: "status 429", retryable: true},
		{name: "it is broken", fault: fault.Fault{Status: 503, Body: body}, want: "status 503", retryable: true},
		{name: "it redirects", fault: fault.Fault{Status: 302, Body: body, Header: http.Header{"Location": {"http://evil.example/"}}}, want: "status 302"},
		{name: "its answer is not JSON", fault: fault.Fault{Status: 200, Body: "<canary>"}, want: "not an access token", retryable: true},
		{name: "its answer holds no token", fault: fault.Fault{Status: 200, Body: `{"expires_on":"4000000000","x":"canary"}`}, want: "token", retryable: true},
		{name: "its answer holds no expiry", fault: fault.Fault{Status: 200, Body: `{"access_token":"canary"}`}, want: "not an access token", retryable: true},
		{name: "its token has expired", fault: fault.Fault{Status: 200, Body: `{"access_token":"canary","expires_on":"1","token_type":"Bearer"}`}, want: "expired", retryable: true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			server := app(t, 0)
			synctest.Test(t, func(t *testing.T) {
				server.Faults.Set(test.fault)
				test.options.HTTP = client(server)
				cache := identity.NewCache(entra.New(test.options), identity.CacheOptions{})
				start := time.Now()
				_, err := cache.Token(t.Context())
				if took := time.Since(start); took >= 3*time.Second {
					t.Errorf("took %v", took)
				}
				if failure := wantFailure(t, err, test.want); failure.Retryable != test.retryable {
					t.Errorf("retryable is %v", failure.Retryable)
				}
				if got := server.Faults.Calls(); got != 1 {
					t.Errorf("%d attempts, want 1", got)
				}
			})
		})
	}
}

func TestAnAnswerThatDoesNotEndIsCutOff(t *testing.T) {
	app(t, 0)
	endless := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			if _, err := w.Write(make([]byte, 32<<10)); err != nil {
				return
			}
		}
	}))
	defer endless.Close()
	t.Setenv("IDENTITY_ENDPOINT", endless.URL+"/msi/token")
	_, err := entra.New(entra.Options{}).Token(t.Context())
	if failure := wantFailure(t, err, "managed identity endpoint"); errors.Is(failure, context.DeadlineExceeded) {
		t.Error("it was read until the deadline")
	}
}

func BenchmarkAuthorize(b *testing.B) {
	b.Setenv("IDENTITY_ENDPOINT", "http://127.0.0.1:1/msi/token")
	b.Setenv("IDENTITY_HEADER", secret)
	server := managedid.New(managedid.Options{Secret: secret, System: system})
	authorizer := identity.Bearer(identity.NewCache(entra.New(entra.Options{HTTP: client(server)}), identity.CacheOptions{}))
	ctx, _ := identity.WithReport(b.Context())
	request := httptest.NewRequestWithContext(ctx, http.MethodPost, "https://upstream", nil)
	b.ReportAllocs()
	for b.Loop() {
		if err := authorizer.Authorize(request); err != nil {
			b.Fatal(err)
		}
	}
}
