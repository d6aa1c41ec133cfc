package identity_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/postern-ai/postern/shared/identity"
	"github.com/postern-ai/postern/shared/secrets"
)

func TestBearerPutsTheTokenOnTheRequestAndNotesThePrincipal(t *testing.T) {
	t.Parallel()
	calls := 0
	source := sourceFunc(func(context.Context) (identity.Token, error) {
		calls++
		return identity.Token{
			Value: secrets.NewValue(fmt.Sprintf("token%d", calls)), Type: "bearer", Expires: time.Now().Add(time.Hour),
			Principal: identity.Principal{Name: "me@example", Source: "metadata server"},
		}, nil
	})
	authorizer := identity.Bearer(identity.NewCache(source, identity.CacheOptions{}))
	ctx, report := identity.WithReport(t.Context())
	request := httptest.NewRequestWithContext(ctx, http.MethodPost, "https://upstream", nil)
	request.Header.Set("Authorization", "Bearer the-callers-own")

	authorize := func(want string) {
		t.Helper()
		if err := authorizer.Authorize(request); err != nil {
			t.Fatal(err)
		}
		if got := request.Header.Values("Authorization"); len(got) != 1 || got[0] != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	authorize("Bearer token1")
	if got := report.Principal(); got != (identity.Principal{Name: "me@example", Source: "metadata server"}) {
		t.Errorf("noted %+v", got)
	}
	request.Header.Set("Authorization", "Bearer token0")
	authorizer.Rejected(request)
	authorize("Bearer token1")
	authorizer.Rejected(request)
	authorize("Bearer token2")
	request.Header.Del("Authorization")
	authorizer.Rejected(request)
	authorize("Bearer token2")
}

func TestBearerLeavesTheRequestAloneWhenThereIsNoToken(t *testing.T) {
	t.Parallel()
	source := sourceFunc(func(context.Context) (identity.Token, error) { return identity.Token{}, errIssuer })
	ctx, report := identity.WithReport(t.Context())
	request := httptest.NewRequestWithContext(ctx, http.MethodPost, "https://upstream", nil)
	if err := identity.Bearer(identity.NewCache(source, identity.CacheOptions{})).Authorize(request); !errors.Is(err, errIssuer) {
		t.Errorf("got %v", err)
	}
	if len(request.Header) != 0 || report.Principal() != (identity.Principal{}) {
		t.Errorf("the request has headers %v and the report %+v", request.Header, report.Principal())
	}
}

func TestHeaderPutsTheStoredKeyOnTheRequest(t *testing.T) {
	t.Parallel()
	const canary = "canary-key"
	stored := &secrets.Error{Ref: secrets.Ref{Store: "env", Name: "OPENAI_API_KEY"}, Reason: "the environment variable is not set"}
	tests := []struct {
		name, prefix, key string
		err               error
		want, wantError   string
	}{
		{name: "a key with a prefix", prefix: "Bearer ", key: canary, want: "Bearer " + canary},
		{name: "a key alone", key: canary, want: canary},
		{name: "an empty key", wantError: "empty or holds characters"},
		{name: "a key with a line break", key: canary + "\n", wantError: "empty or holds characters"},
		{name: "a key that cannot be read", err: stored, wantError: `cannot be read: read secret "env://OPENAI_API_KEY"`},
		{name: "a store whose error quotes the key", err: errors.New(canary), wantError: "cannot be read"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			principal := identity.Principal{Name: "env://OPENAI_API_KEY", Source: "stored key"}
			authorizer := identity.Header(identity.HeaderOptions{Name: "X-Api-Key", Prefix: test.prefix, Principal: principal,
				Key: func(context.Context) (secrets.Value, error) { return secrets.NewValue(test.key), test.err }})
			ctx, report := identity.WithReport(t.Context())
			request := httptest.NewRequestWithContext(ctx, http.MethodPost, "https://upstream", nil)
			err := authorizer.Authorize(request)
			authorizer.Rejected(request)
			if test.wantError == "" {
				if got := request.Header.Get("X-Api-Key"); err != nil || got != test.want || report.Principal() != principal {
					t.Errorf("got %q, report %+v and error %v", got, report.Principal(), err)
				}
				return
			}
			if _, ok := errors.AsType[*identity.Error](err); !ok || !strings.Contains(err.Error(), test.wantError) || strings.Contains(err.Error(), canary) {
				t.Errorf("got %v, want %q and not the key", err, test.wantError)
			}
			if len(request.Header) != 0 {
				t.Errorf("the request has headers %v", request.Header)
			}
		})
	}
}

func TestARejectedStoredKeyIsPassedOnToTheReaderOfTheStore(t *testing.T) {
	t.Parallel()
	var rejected []string
	key := func(context.Context) (secrets.Value, error) { return secrets.NewValue("k+1&"), nil }
	told := func(key secrets.Value) { rejected = append(rejected, key.Reveal()) }
	for _, authorizer := range []identity.Authorizer{
		identity.Header(identity.HeaderOptions{Name: "Authorization", Prefix: "Bearer ", Key: key, OnRejected: told}),
		identity.Query(identity.QueryOptions{Name: "key", Key: key, OnRejected: told}),
		identity.Query(identity.QueryOptions{Name: "key", Key: key}),
	} {
		request := httptest.NewRequest(http.MethodPost, "https://upstream/?a=1", nil)
		authorizer.Rejected(request)
		if err := authorizer.Authorize(request); err != nil {
			t.Fatal(err)
		}
		authorizer.Rejected(request)
	}
	if fmt.Sprint(rejected) != "[k+1& k+1&]" {
		t.Errorf("told of %q", rejected)
	}
}

func TestQueryPutsTheStoredKeyIntoTheURLOfThisRequestAlone(t *testing.T) {
	t.Parallel()
	principal := identity.Principal{Name: "env://KEY", Source: "stored key"}
	keys := []string{"k+1&", "k2", ""}
	authorizer := identity.Query(identity.QueryOptions{Name: "key", Principal: principal, Key: func(context.Context) (secrets.Value, error) {
		key := keys[0]
		keys = keys[1:]
		return secrets.NewValue(key), nil
	}})
	ctx, report := identity.WithReport(t.Context())
	request := httptest.NewRequestWithContext(ctx, http.MethodPost, "https://upstream/path?a=1", nil)
	shared := request.URL
	for _, want := range []string{"a=1&key=k%2B1%26", "a=1&key=k2"} {
		if err := authorizer.Authorize(request); err != nil || request.URL.RawQuery != want || report.Principal() != principal {
			t.Errorf("got %s, report %+v and error %v", request.URL, report.Principal(), err)
		}
	}
	if shared.RawQuery != "a=1" {
		t.Errorf("the URL that others share became %s", shared)
	}
	if _, ok := errors.AsType[*identity.Error](authorizer.Authorize(request)); !ok {
		t.Error("an empty key was accepted")
	}
}

func TestWhatIsSignedOnTheWayToACredentialIsNotReported(t *testing.T) {
	t.Parallel()
	source := identity.TokenFunc(func(ctx context.Context) (identity.Token, error) {
		if identity.Reporting(ctx) {
			t.Error("the fetch has a report")
		}
		identity.Note(ctx, identity.Principal{Name: "on the way"})
		identity.Refine(ctx, identity.Principal{}, identity.Principal{Name: "on the way"})
		return identity.Token{Value: secrets.NewValue("t"), Principal: identity.Principal{Name: "in the end"}}, nil
	})
	ctx, report := identity.WithReport(t.Context())
	request := httptest.NewRequestWithContext(ctx, http.MethodPost, "https://upstream", nil)
	if err := identity.Bearer(identity.NewCache(source, identity.CacheOptions{})).Authorize(request); err != nil || report.Principal().Name != "in the end" {
		t.Errorf("reported %+v: %v", report.Principal(), err)
	}
}

func TestAReportKeepsTheLastSignerAndABetterNameForIt(t *testing.T) {
	t.Parallel()
	ctx, report := identity.WithReport(t.Context())
	key, arn, other := identity.Principal{Name: "access key"}, identity.Principal{Name: "arn"}, identity.Principal{Name: "other"}
	identity.Note(ctx, key)
	identity.Refine(ctx, key, arn)
	if report.Principal() != arn {
		t.Errorf("got %+v", report.Principal())
	}
	identity.Note(ctx, key)
	identity.Note(ctx, other)
	identity.Refine(ctx, key, arn)
	if report.Principal() != other {
		t.Errorf("got %+v", report.Principal())
	}
	identity.Note(context.Background(), key)
	identity.Refine(context.Background(), key, arn)
}

func TestAnErrorShowsOnlyWhatIsKnownToBeHarmless(t *testing.T) {
	t.Parallel()
	const canary = "canary-body"
	tests := []struct {
		name  string
		cause error
		want  string
	}{
		{"no cause", nil, "public"},
		{"an answer of a token endpoint", errors.New(canary), "public"},
		{"a URL error with a refused connection", &url.Error{Op: "Get", URL: "http://" + canary, Err: &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}}, "public: connection refused"},
		{"an unknown host", &net.DNSError{Name: canary}, "public: host name not found"},
		{"a deadline", fmt.Errorf("%s: %w", canary, context.DeadlineExceeded), "public: timed out"},
		{"a cancellation", fmt.Errorf("%s: %w", canary, context.Canceled), "public: cancelled"},
		{"a connection that ended", fmt.Errorf("%s: %w", canary, io.ErrUnexpectedEOF), "public: connection closed"},
		{"an untrusted certificate", &tls.CertificateVerificationError{Err: errors.New(canary)}, "public: certificate not trusted"},
		{"another identity error", fmt.Errorf("%s: %w", canary, &identity.Error{Public: "inner", Err: errors.New(canary)}), "public: inner"},
		{"a secret that cannot be read", &secrets.Error{Ref: secrets.Ref{Name: "n"}, Reason: "it is empty", Err: errors.New(canary)}, `public: read secret "n": it is empty`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			err := &identity.Error{Public: "public", Err: test.cause}
			if got := err.Error(); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
			if !errors.Is(err, test.cause) && test.cause != nil {
				t.Error("the cause is lost")
			}
		})
	}
}

func TestATokenCannotPrintItself(t *testing.T) {
	t.Parallel()
	token := identity.Token{Value: secrets.NewValue("canary-token")}
	var text bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d"} {
		fmt.Fprintf(&text, verb, token)
		fmt.Fprintf(&text, verb, &token)
	}
	if strings.Contains(text.String(), "canary") || strings.Contains(text.String(), fmt.Sprintf("%x", "canary")) {
		t.Errorf("printed %s", &text)
	}
}

func benchmarkAuthorizer() (identity.Authorizer, *http.Request) {
	source := sourceFunc(func(context.Context) (identity.Token, error) {
		return identity.Token{Value: secrets.NewValue(strings.Repeat("x", 1500)), Expires: time.Now().Add(time.Hour)}, nil
	})
	ctx, _ := identity.WithReport(context.Background())
	return identity.Bearer(identity.NewCache(source, identity.CacheOptions{})), httptest.NewRequestWithContext(ctx, http.MethodPost, "https://upstream", nil)
}

func TestACachedTokenCostsFewAllocations(t *testing.T) {
	authorizer, request := benchmarkAuthorizer()
	if allocations := testing.AllocsPerRun(100, func() { _ = authorizer.Authorize(request) }); allocations > 5 {
		t.Errorf("%v allocations per request, want at most 5", allocations)
	}
}

func BenchmarkAuthorizeBearer(b *testing.B) {
	authorizer, request := benchmarkAuthorizer()
	b.ReportAllocs()
	for b.Loop() {
		if err := authorizer.Authorize(request); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAuthorizeBearerInParallel(b *testing.B) {
	authorizer, request := benchmarkAuthorizer()
	b.ReportAllocs()
	b.RunParallel(func(p *testing.PB) {
		own := request.Clone(request.Context())
		for p.Next() {
			if err := authorizer.Authorize(own); err != nil {
				b.Error(err)
			}
		}
	})
}
