package identity_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/postern-ai/postern/shared/identity"
	"github.com/postern-ai/postern/shared/secrets"
)

// issuer is a source whose tokens are numbered: t1, t2 and so on.
type issuer struct {
	mu       sync.Mutex
	calls    int
	lifetime time.Duration
	takes    time.Duration
	fail     error
	same     bool // always the token t1
	panics   bool
}

var errIssuer = &identity.Error{Public: "the issuer is down", Retryable: true}

func (i *issuer) Token(ctx context.Context) (identity.Token, error) {
	i.mu.Lock()
	i.calls++
	name := fmt.Sprintf("t%d", i.calls)
	takes, lifetime, fail := i.takes, i.lifetime, i.fail
	if i.same {
		name = "t1"
	}
	panics := i.panics
	i.mu.Unlock()
	if panics {
		panic("boom")
	}
	expires := time.Now().Add(lifetime)
	if lifetime == 0 {
		expires = time.Time{}
	}
	select {
	case <-time.After(takes):
	case <-ctx.Done():
		return identity.Token{}, &identity.Error{Public: "the issuer did not answer", Err: ctx.Err(), Retryable: true}
	}
	if fail != nil {
		return identity.Token{}, fail
	}
	return identity.Token{Value: secrets.NewValue(name), Expires: expires}, nil
}

func (i *issuer) set(change func(*issuer)) {
	i.mu.Lock()
	defer i.mu.Unlock()
	change(i)
}

func (i *issuer) wantCalls(t *testing.T, want int) {
	t.Helper()
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.calls != want {
		t.Errorf("the issuer was asked %d times, want %d", i.calls, want)
	}
}

func wantToken(t *testing.T, cache *identity.Cache, want string) {
	t.Helper()
	token, err := cache.Token(t.Context())
	if err != nil || token.Value.Reveal() != want {
		t.Errorf("got token %q and error %v, want %s", token.Value.Reveal(), err, want)
	}
}

func wantFailure(t *testing.T, cache *identity.Cache, want error) {
	t.Helper()
	if token, err := cache.Token(t.Context()); !errors.Is(err, want) {
		t.Errorf("got token %q and error %v, want %v", token.Value.Reveal(), err, want)
	}
}

// bubble runs a test on a clock of its own.
func bubble(t *testing.T, run func(*testing.T)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, run)
}

func TestAThousandColdRequestsMakeOneFetch(t *testing.T) {
	bubble(t, func(t *testing.T) {
		source := &issuer{lifetime: time.Hour, takes: time.Second}
		cache := identity.NewCache(source, identity.CacheOptions{})
		var wait sync.WaitGroup
		for range 1000 {
			wait.Go(func() { wantToken(t, cache, "t1") })
		}
		wait.Wait()
		source.wantCalls(t, 1)
	})
}

func TestAThousandRequestsWithARejectedTokenMakeOneFetch(t *testing.T) {
	bubble(t, func(t *testing.T) {
		source := &issuer{lifetime: time.Hour, takes: time.Second}
		cache := identity.NewCache(source, identity.CacheOptions{})
		wantToken(t, cache, "t1")
		var wait sync.WaitGroup
		for range 1000 {
			wait.Go(func() {
				cache.Rejected(secrets.NewValue("t1"))
				wantToken(t, cache, "t2")
			})
		}
		wait.Wait()
		source.wantCalls(t, 2)
	})
}

func TestTheFirstCallersCancelledContextDoesNotEndTheFetch(t *testing.T) {
	bubble(t, func(t *testing.T) {
		source := &issuer{lifetime: time.Hour, takes: time.Second}
		cache := identity.NewCache(source, identity.CacheOptions{})
		first, cancel := context.WithCancel(t.Context())
		var wait sync.WaitGroup
		wait.Go(func() {
			if _, err := cache.Token(first); !errors.Is(err, context.Canceled) {
				t.Errorf("the first caller got %v, want its own cancellation", err)
			}
		})
		synctest.Wait()
		wait.Go(func() { wantToken(t, cache, "t1") })
		synctest.Wait()
		cancel()
		wait.Wait()
		source.wantCalls(t, 1)
	})
}

func TestACallerWhoseContextHasEndedBeginsNoFetch(t *testing.T) {
	bubble(t, func(t *testing.T) {
		source := &issuer{lifetime: time.Hour}
		cache := identity.NewCache(source, identity.CacheOptions{})
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := cache.Token(ended)
		if _, isIdentity := errors.AsType[*identity.Error](err); !errors.Is(err, context.Canceled) || isIdentity {
			t.Errorf("got %v, want the cancellation and not a failure of the identity", err)
		}
		source.wantCalls(t, 0)
	})
}

func TestAFetchEndsByItsOwnDeadline(t *testing.T) {
	bubble(t, func(t *testing.T) {
		source := &issuer{lifetime: time.Hour, takes: time.Hour}
		cache := identity.NewCache(source, identity.CacheOptions{})
		start := time.Now()
		wantFailure(t, cache, context.DeadlineExceeded)
		if took := time.Since(start); took >= 3*time.Second {
			t.Errorf("the caller waited %v, want less than 3 s", took)
		}
	})
}

func TestShortlyBeforeExpiryOneRequestRefreshesAndTheOthersGoOn(t *testing.T) {
	bubble(t, func(t *testing.T) {
		source := &issuer{lifetime: time.Hour}
		cache := identity.NewCache(source, identity.CacheOptions{})
		wantToken(t, cache, "t1")
		time.Sleep(54 * time.Minute)
		wantToken(t, cache, "t1")
		source.wantCalls(t, 1)

		time.Sleep(2 * time.Minute)
		source.set(func(i *issuer) { i.takes = 2 * time.Second })
		var mu sync.Mutex
		got := map[string]int{}
		var wait sync.WaitGroup
		for range 100 {
			wait.Go(func() {
				start := time.Now()
				token, err := cache.Token(t.Context())
				mu.Lock()
				defer mu.Unlock()
				got[fmt.Sprintf("%s after %v, %v", token.Value.Reveal(), time.Since(start), err)]++
			})
		}
		wait.Wait()
		if diff := cmp.Diff(map[string]int{"t1 after 0s, <nil>": 99, "t2 after 2s, <nil>": 1}, got); diff != "" {
			t.Error(diff)
		}
		wantToken(t, cache, "t2")
		source.wantCalls(t, 2)
	})
}

func TestAFailedEarlyRefreshKeepsTheTokenAndPauses(t *testing.T) {
	bubble(t, func(t *testing.T) {
		source := &issuer{lifetime: time.Hour}
		cache := identity.NewCache(source, identity.CacheOptions{})
		wantToken(t, cache, "t1")
		time.Sleep(56 * time.Minute)
		source.set(func(i *issuer) { i.fail = errIssuer })
		for range 100 {
			wantToken(t, cache, "t1")
		}
		source.wantCalls(t, 2)
		time.Sleep(31 * time.Second)
		wantToken(t, cache, "t1")
		wantToken(t, cache, "t1")
		source.wantCalls(t, 3)
		time.Sleep(31 * time.Second)
		source.set(func(i *issuer) { i.fail = nil })
		wantToken(t, cache, "t4")
	})
}

func TestAFailedEarlyRefreshDoesNotDelayTheOneThatIsRequired(t *testing.T) {
	bubble(t, func(t *testing.T) {
		source := &issuer{lifetime: time.Hour}
		cache := identity.NewCache(source, identity.CacheOptions{})
		wantToken(t, cache, "t1")
		time.Sleep(time.Hour - 15*time.Second)
		source.set(func(i *issuer) { i.fail = errIssuer })
		wantToken(t, cache, "t1")
		time.Sleep(10 * time.Second)
		source.set(func(i *issuer) { i.fail = nil })
		wantToken(t, cache, "t3")
	})
}

func TestAnEarlyRefreshThatOutlastsTheTokenIsAFailure(t *testing.T) {
	bubble(t, func(t *testing.T) {
		source := &issuer{lifetime: 4 * time.Second}
		cache := identity.NewCache(source, identity.CacheOptions{})
		wantToken(t, cache, "t1")
		time.Sleep(2500 * time.Millisecond)
		source.set(func(i *issuer) { i.takes = time.Hour })
		wantFailure(t, cache, context.DeadlineExceeded)
	})
}

func TestATokenThatExpiredWhileTheFunctionWasFrozenIsNotUsed(t *testing.T) {
	bubble(t, func(t *testing.T) {
		source := &issuer{lifetime: time.Hour}
		cache := identity.NewCache(source, identity.CacheOptions{})
		wantToken(t, cache, "t1")
		time.Sleep(3 * time.Hour)
		wantToken(t, cache, "t2")
		time.Sleep(3 * time.Hour)
		source.set(func(i *issuer) { i.fail = errIssuer })
		wantFailure(t, cache, errIssuer)
	})
}

func TestATokenIsNotPutOnARequestInItsLastSeconds(t *testing.T) {
	bubble(t, func(t *testing.T) {
		source := &issuer{lifetime: time.Hour}
		cache := identity.NewCache(source, identity.CacheOptions{Refresh: identity.Refresh{Policy: identity.Lazy}})
		wantToken(t, cache, "t1")
		time.Sleep(time.Hour - 11*time.Second)
		wantToken(t, cache, "t1")
		time.Sleep(time.Second)
		wantToken(t, cache, "t2")
	})
}

func TestAFailureIsSharedUntilTheNextTryIsDue(t *testing.T) {
	bubble(t, func(t *testing.T) {
		source := &issuer{lifetime: time.Hour, fail: errIssuer}
		cache := identity.NewCache(source, identity.CacheOptions{})
		calls := 0
		for _, pause := range []time.Duration{1, 2, 4, 8, 16, 30, 30} {
			for range 100 {
				wantFailure(t, cache, errIssuer)
			}
			calls++
			source.wantCalls(t, calls)
			time.Sleep(pause*time.Second - time.Millisecond)
			wantFailure(t, cache, errIssuer)
			source.wantCalls(t, calls)
			time.Sleep(time.Millisecond)
		}
		source.set(func(i *issuer) { i.fail = nil })
		wantToken(t, cache, "t8")
		// A success ends the series: the next failure pauses for a second again.
		source.set(func(i *issuer) { i.fail = errIssuer })
		time.Sleep(2 * time.Hour)
		wantFailure(t, cache, errIssuer)
		time.Sleep(time.Second)
		source.set(func(i *issuer) { i.fail = nil })
		wantToken(t, cache, "t10")
	})
}

func TestAShortLivedTokenIsNotFetchedForEachRequest(t *testing.T) {
	for _, window := range []time.Duration{0, time.Hour} {
		t.Run(fmt.Sprintf("with a window of %v", window), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				source := &issuer{lifetime: time.Minute}
				cache := identity.NewCache(source, identity.CacheOptions{Refresh: identity.Refresh{Window: window}})
				for range 250 {
					if _, err := cache.Token(t.Context()); err != nil {
						t.Fatal(err)
					}
					time.Sleep(100 * time.Millisecond)
				}
				// 25 s of requests, and a window of at most half a minute: one refresh at the very most.
				if source.calls > 2 {
					t.Errorf("%d fetches in 25 s for tokens of 60 s", source.calls)
				}
			})
		})
	}
}

func TestATokenWithoutExpiryStays(t *testing.T) {
	bubble(t, func(t *testing.T) {
		source := &issuer{}
		cache := identity.NewCache(source, identity.CacheOptions{})
		wantToken(t, cache, "t1")
		time.Sleep(1000 * time.Hour)
		wantToken(t, cache, "t1")
		cache.Rejected(secrets.NewValue("t1"))
		wantToken(t, cache, "t2")
	})
}

func TestOnlyTheRejectedTokenIsDropped(t *testing.T) {
	bubble(t, func(t *testing.T) {
		source := &issuer{lifetime: time.Hour}
		cache := identity.NewCache(source, identity.CacheOptions{})
		cache.Rejected(secrets.NewValue("t1"))
		wantToken(t, cache, "t1")
		cache.Rejected(secrets.NewValue("t0"))
		wantToken(t, cache, "t1")
		cache.Rejected(secrets.NewValue("t1"))
		wantToken(t, cache, "t2")
		cache.Rejected(secrets.NewValue("t1"))
		wantToken(t, cache, "t2")
		source.wantCalls(t, 2)
	})
}

func TestAnUpstreamThatRejectsEverythingDoesNotHammerTheIssuer(t *testing.T) {
	for _, same := range []bool{false, true} {
		t.Run(fmt.Sprintf("the issuer repeats itself: %v", same), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				source := &issuer{lifetime: time.Hour, same: same}
				cache := identity.NewCache(source, identity.CacheOptions{})
				for range 600 {
					token, err := cache.Token(t.Context())
					if err != nil {
						t.Fatal(err)
					}
					cache.Rejected(token.Value)
					time.Sleep(100 * time.Millisecond)
				}
				source.wantCalls(t, 4)
				time.Sleep(time.Minute)
				token, err := cache.Token(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				cache.Rejected(token.Value)
				if _, err := cache.Token(t.Context()); err != nil {
					t.Fatal(err)
				}
				if source.calls <= 4 {
					t.Error("a minute later a rejected token is still not fetched anew")
				}
			})
		})
	}
}

func TestAnExpiredTokenFromTheIssuerIsAnErrorAndNotALoop(t *testing.T) {
	bubble(t, func(t *testing.T) {
		source := &issuer{lifetime: -time.Minute}
		cache := identity.NewCache(source, identity.CacheOptions{})
		for range 10 {
			_, err := cache.Token(t.Context())
			if _, ok := errors.AsType[*identity.Error](err); !ok {
				t.Errorf("got %v", err)
			}
		}
		source.wantCalls(t, 1)
	})
}

func TestAPanicInASourceIsAnError(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cache := identity.NewCache(&issuer{panics: true}, identity.CacheOptions{})
		_, err := cache.Token(t.Context())
		if failure, ok := errors.AsType[*identity.Error](err); !ok || failure.Retryable {
			t.Errorf("got %v", err)
		}
	})
}

func TestTokensThatDoNotFitIntoAHeaderAreRefused(t *testing.T) {
	bubble(t, func(t *testing.T) {
		tokens := map[string]identity.Token{
			"an empty token":            {},
			"a token with a line break": {Value: secrets.NewValue("a\r\nX-Evil: 1")},
			"a token with a space":      {Value: secrets.NewValue("a b")},
			"a token beyond ASCII":      {Value: secrets.NewValue("ä")},
			"a token of another type":   {Value: secrets.NewValue("a"), Type: "mac"},
		}
		for name, token := range tokens {
			cache := identity.NewCache(sourceFunc(func(context.Context) (identity.Token, error) { return token, nil }), identity.CacheOptions{})
			if _, err := cache.Token(t.Context()); err == nil {
				t.Errorf("%s was accepted", name)
			}
		}
	})
}

type sourceFunc func(context.Context) (identity.Token, error)

func (f sourceFunc) Token(ctx context.Context) (identity.Token, error) { return f(ctx) }

func TestReplacementsAreReportedWithTheirReason(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var got []string
		source := &issuer{lifetime: time.Hour}
		cache := identity.NewCache(source, identity.CacheOptions{OnReplace: func(_ context.Context, r identity.Replacement[identity.Token]) {
			got = append(got, r.Old.Value.Reveal()+">"+r.New.Value.Reveal()+" "+string(r.Reason))
			panic("a listener that breaks harms nobody")
		}})
		wantToken(t, cache, "t1")
		time.Sleep(57 * time.Minute)
		wantToken(t, cache, "t2")
		time.Sleep(2 * time.Hour)
		wantToken(t, cache, "t3")
		cache.Rejected(secrets.NewValue("t3"))
		wantToken(t, cache, "t4")
		source.set(func(i *issuer) { i.same = true })
		cache.Rejected(secrets.NewValue("t4"))
		wantToken(t, cache, "t1")
		cache.Rejected(secrets.NewValue("t1"))
		wantToken(t, cache, "t1")
		want := []string{"t1>t2 pre_expiry", "t2>t3 expired", "t3>t4 rejected", "t4>t1 rejected"}
		if !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
	})
}

func TestErrorsThatAreNotMadeForLogsBecomeSo(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cause := errors.New("response body: canary-secret")
		cache := identity.NewCache(sourceFunc(func(context.Context) (identity.Token, error) { return identity.Token{}, cause }), identity.CacheOptions{})
		_, err := cache.Token(t.Context())
		if !errors.Is(err, cause) || err.Error() != "the credential cannot be fetched" {
			t.Errorf("got %v", err)
		}
	})
}

func TestARefreshThatIsAskedForFetchesOnceAndKeepsTheOldTokenWhenItFails(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var replaced []string
		from := &issuer{lifetime: time.Hour, takes: 100 * time.Millisecond}
		cache := identity.NewCache(from, identity.CacheOptions{OnReplace: func(_ context.Context, r identity.Replacement[identity.Token]) {
			replaced = append(replaced, r.Old.Value.Reveal()+" "+r.New.Value.Reveal()+" "+string(r.Reason))
		}})
		if _, err := cache.Token(t.Context()); err != nil {
			t.Fatal(err)
		}
		var wait sync.WaitGroup
		for range 10 {
			wait.Go(func() {
				if token, err := cache.Refresh(t.Context(), identity.ReasonScheduled); err != nil || token.Value.Reveal() != "t2" {
					t.Errorf("got %v", err)
				}
			})
		}
		wait.Wait()
		from.set(func(i *issuer) { i.fail = errIssuer })
		if _, err := cache.Refresh(t.Context(), identity.ReasonManual); !errors.Is(err, errIssuer) {
			t.Errorf("got %v", err)
		}
		if token, err := cache.Token(t.Context()); err != nil || token.Value.Reveal() != "t2" {
			t.Errorf("got %v, want the old token", err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := cache.Refresh(ctx, identity.ReasonManual); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		synctest.Wait()
		if want := "[t1 t2 scheduled]"; fmt.Sprint(replaced) != want {
			t.Errorf("replaced %v, want %s", replaced, want)
		}
	})
}

func TestRefreshesAreSpreadOverAsMuchOfTheWindowAsIsSaid(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name           string
		jitter         float64
		earliest, last time.Duration // before the end of the token, of which 10 s are never used
	}{
		{"a fifth unless said", 0, 20 * time.Minute, 16 * time.Minute},
		{"none", -1, 20 * time.Minute, 20 * time.Minute},
		{"the whole window", 2, 20 * time.Minute, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var spread []time.Duration
				for range 50 {
					from := &issuer{lifetime: time.Hour}
					cache := identity.NewCache(from, identity.CacheOptions{Refresh: identity.Refresh{Window: 20 * time.Minute, Jitter: test.jitter}})
					began := time.Now()
					for from.calls < 2 {
						if _, err := cache.Token(t.Context()); err != nil {
							t.Fatal(err)
						}
						time.Sleep(5 * time.Second)
					}
					spread = append(spread, time.Hour-10*time.Second-time.Since(began)+5*time.Second)
				}
				if first, last := slices.Max(spread), slices.Min(spread); first > test.earliest || last < test.last-5*time.Second || first-last > test.earliest-test.last+5*time.Second {
					t.Errorf("refreshed between %v and %v before the end", first, last)
				}
				if first, last := slices.Max(spread), slices.Min(spread); test.jitter >= 0 && first-last < (test.earliest-test.last)/4 {
					t.Errorf("all refreshes are between %v and %v before the end", first, last)
				}
			})
		})
	}
}

func TestASourceLearnsWhyItIsAsked(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var got []identity.Reason
		source := &issuer{lifetime: time.Hour}
		cache := identity.NewCache(sourceFunc(func(ctx context.Context) (identity.Token, error) {
			got = append(got, identity.ReasonOf(ctx))
			return source.Token(ctx)
		}), identity.CacheOptions{})
		wantToken(t, cache, "t1")
		cache.Rejected(secrets.NewValue("t1"))
		wantToken(t, cache, "t2")
		time.Sleep(59 * time.Minute)
		wantToken(t, cache, "t3")
		if _, err := cache.Refresh(t.Context(), identity.ReasonManual); err != nil {
			t.Error(err)
		}
		time.Sleep(2 * time.Hour)
		wantToken(t, cache, "t5")
		want := []identity.Reason{identity.ReasonExpired, identity.ReasonRejected, identity.ReasonPreExpiry, identity.ReasonManual, identity.ReasonExpired}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
		if reason := identity.ReasonOf(t.Context()); reason != "" {
			t.Errorf("a context of nobody has reason %q", reason)
		}
	})
}
