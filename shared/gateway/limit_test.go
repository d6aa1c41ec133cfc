package gateway

import (
	"context"
	"io"
	"iter"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/postern-ai/postern/shared/caller"
	"github.com/postern-ai/postern/shared/chat"
	"github.com/postern-ai/postern/shared/config"
	"github.com/postern-ai/postern/shared/policy"
	"github.com/postern-ai/postern/shared/provider"
)

// limited returns the gateway of the other tests with these limits for each caller, and for alice's rule.
func limited(t *testing.T, model provider.Model, all, alice config.CallerLimits) *Gateway {
	t.Helper()
	d, err := config.Load([]byte(document))
	if err != nil {
		t.Fatal(err)
	}
	d.Limits.PerCaller, d.Policy[0].Limits = all, alice
	g, err := New(Options{
		Document: d, Models: map[string]provider.Model{"main": model}, Callers: callers{}, Policy: policy.Compile(d),
		Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// ratelimit are the headers of an answer that are about limits.
func ratelimit(h http.Header) map[string]string {
	found := map[string]string{}
	for name := range h {
		if rest, ok := strings.CutPrefix(name, "X-Ratelimit-"); ok || strings.HasPrefix(name, "Retry-After") {
			found[strings.ToLower(map[bool]string{true: rest, false: name}[ok])] = h.Get(name)
		}
	}
	return found
}

func call(t *testing.T, g *Gateway, who, body string) *httptest.ResponseRecorder {
	t.Helper()
	rec := httptest.NewRecorder()
	g.ServeHTTP(rec, post(t.Context(), who, body))
	return rec
}

func wantHeaders(t *testing.T, rec *httptest.ResponseRecorder, status int, want map[string]string) {
	t.Helper()
	if rec.Code != status {
		t.Fatalf("status %d, want %d: %s", rec.Code, status, rec.Body)
	}
	if diff := cmp.Diff(want, ratelimit(rec.Header())); diff != "" {
		t.Errorf("headers (-want +got):\n%s", diff)
	}
}

func TestRequestsPerMinute(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := limited(t, script{chat: func(context.Context, *chat.Request) (*chat.Response, error) { return answer("ok"), nil }},
			config.CallerLimits{RequestsPerMinute: 5}, config.CallerLimits{RequestsPerMinute: 2})
		small := ask("small", "")
		wantHeaders(t, call(t, g, "alice", small), 200, map[string]string{"limit-requests": "2", "remaining-requests": "1", "reset-requests": "1m0s"})
		time.Sleep(20 * time.Second)
		wantHeaders(t, call(t, g, "alice", small), 200, map[string]string{"limit-requests": "2", "remaining-requests": "0", "reset-requests": "40s"})
		time.Sleep(500 * time.Millisecond)
		refused := call(t, g, "alice", small)
		wantHeaders(t, refused, 429, map[string]string{
			"limit-requests": "2", "remaining-requests": "0", "reset-requests": "39.5s", "retry-after": "40", "retry-after-ms": "39500",
		})
		if e := envelopeOf(t, refused.Body.Bytes()); e.Type != "rate_limit_error" || e.Code != "rate_limit_exceeded" {
			t.Errorf("got %+v", e)
		}
		// Somebody else, whose rule has no limit, has the document's for himself.
		wantHeaders(t, call(t, g, "bob", small), 200, map[string]string{"limit-requests": "5", "remaining-requests": "4", "reset-requests": "1m0s"})
		time.Sleep(40 * time.Second)
		wantHeaders(t, call(t, g, "alice", small), 200, map[string]string{"limit-requests": "2", "remaining-requests": "1", "reset-requests": "1m0s"})
	})
}

func TestTokensPerMinuteCountWhatWasReallyUsed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		fails := false
		g := limited(t, script{chat: func(context.Context, *chat.Request) (*chat.Response, error) {
			if fails {
				return nil, &chat.Error{Status: 502, Type: chat.TypeServer, Code: chat.CodeUpstreamError, Message: "no"}
			}
			return answer("ok"), nil // 7 tokens
		}}, config.CallerLimits{TokensPerMinute: 100}, config.CallerLimits{})
		body := ask("small", `,"max_tokens":20`)
		reserved := int64(len(body)/4) + 1 + 20
		left := func(n int64) map[string]string {
			return map[string]string{"limit-tokens": "100", "remaining-tokens": string(slog.Int64Value(n).String()), "reset-tokens": "1m0s"}
		}
		two := ask("small", `,"max_tokens":20,"n":2`)
		wantHeaders(t, call(t, g, "bob", two), 200, left(100-int64(len(two)/4)-1-40))
		wantHeaders(t, call(t, g, "alice", body), 200, left(100-reserved))
		wantHeaders(t, call(t, g, "alice", body), 200, left(100-7-reserved))
		fails = true
		wantHeaders(t, call(t, g, "alice", body), 502, left(100-2*7-reserved))
		fails = false
		wantHeaders(t, call(t, g, "alice", body), 200, left(100-2*7-reserved))
		// Three answers of 7 tokens leave 79, which an answer of 80 does not fit into.
		refused := call(t, g, "alice", ask("small", `,"max_tokens":80`))
		wantHeaders(t, refused, 429, map[string]string{"limit-tokens": "100", "remaining-tokens": "79", "reset-tokens": "1m0s", "retry-after": "60", "retry-after-ms": "60000"})
		// One that asks for more than everything finds an empty window.
		time.Sleep(time.Minute)
		if rec := call(t, g, "alice", ask("small", `,"max_tokens":100000`)); rec.Code != 200 {
			t.Errorf("status %d: %s", rec.Code, rec.Body)
		}
	})
}

func TestConcurrentStreams(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		wait := make(chan struct{})
		g := limited(t, script{
			chat: func(context.Context, *chat.Request) (*chat.Response, error) { return answer("ok"), nil },
			stream: func(context.Context, *chat.Request) (iter.Seq2[*chat.Chunk, error], error) {
				<-wait
				return chunks(nil, delta("x"), usage()), nil
			},
		}, config.CallerLimits{ConcurrentStreams: 2}, config.CallerLimits{})
		streamed := ask("small", `,"stream":true`)
		for range 2 {
			go func() { g.ServeHTTP(httptest.NewRecorder(), post(t.Context(), "alice", streamed)) }()
		}
		synctest.Wait()
		wantHeaders(t, call(t, g, "alice", streamed), 429, map[string]string{"retry-after": "1", "retry-after-ms": "1000"})
		if rec := call(t, g, "alice", ask("small", "")); rec.Code != 200 {
			t.Errorf("an answer at once: status %d", rec.Code)
		}
		close(wait)
		synctest.Wait()
		if rec := call(t, g, "alice", streamed); rec.Code != 200 || !strings.Contains(rec.Body.String(), "[DONE]") {
			t.Errorf("after the others have ended: %d %s", rec.Code, rec.Body)
		}
	})
}

func TestCallersOfAnotherTenantOrIssuerAreOthers(t *testing.T) {
	t.Parallel()
	seen := map[string]caller.Principal{}
	for _, method := range []caller.Method{caller.OIDC, caller.AWSIAM} {
		for _, issuer := range []string{"", "a", "ab"} {
			for _, tenant := range []string{"", "b", "bc"} {
				for _, subject := range []string{"", "c", "bc", "abc"} {
					p := caller.Principal{Method: method, Issuer: issuer, Tenant: tenant, Subject: subject}
					if other, twice := seen[owner(&p)]; twice {
						t.Errorf("%+v and %+v are counted as one", p, other)
					}
					seen[owner(&p)] = p
				}
			}
		}
	}
}

func TestNobodyBecomesAnotherCallerByAnotherNameOfASession(t *testing.T) {
	t.Parallel()
	same := func(one, two string) bool {
		of := func(arn string) string {
			return owner(&caller.Principal{Method: caller.AWSIAM, Issuer: caller.AWSIssuer, Tenant: "123456789012", Subject: arn})
		}
		return of(one) == of(two)
	}
	const sts = "arn:aws:sts::123456789012:assumed-role/"
	for _, c := range []struct {
		one, two string
		want     bool
	}{
		{sts + "app/one", sts + "app/two", true},
		{sts + "app/one", sts + "other/one", false},
		{sts + "AWSReservedSSO_Admin_0a1b/alice", sts + "AWSReservedSSO_Admin_0a1b/bob", false},
		{"arn:aws:iam::123456789012:user/a", "arn:aws:iam::123456789012:user/b", false},
	} {
		if got := same(c.one, c.two); got != c.want {
			t.Errorf("%s and %s are the same caller: %v", c.one, c.two, got)
		}
	}
}

func TestAGatewayWithoutLimitsSaysNothingAboutThem(t *testing.T) {
	t.Parallel()
	g := newGateway(t, script{chat: func(context.Context, *chat.Request) (*chat.Response, error) { return answer("ok"), nil }}, io.Discard)
	wantHeaders(t, call(t, g, "alice", ask("small", "")), 200, map[string]string{})
}
