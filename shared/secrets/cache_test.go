package secrets_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/postern-ai/postern/shared/secrets"
)

var cached = secrets.Ref{Store: secrets.StoreAWS, Name: "openai"}

// fakeStore is a Source that says what a test tells it to, and records what it was asked.
type fakeStore struct {
	mu       sync.Mutex
	versions []string // the last one is the current one
	expires  time.Time
	created  time.Time
	err      error
	panics   bool
	delay    time.Duration
	asked    []string
}

func (s *fakeStore) Read(ctx context.Context, ref secrets.Ref) (secrets.Value, error) {
	secret, err := s.Current(ctx, ref)
	return secret.Value, err
}

func (s *fakeStore) Current(ctx context.Context, ref secrets.Ref) (secrets.Secret, error) {
	return s.at(ctx, "current", 1)
}

func (s *fakeStore) Previous(ctx context.Context, ref secrets.Ref) (secrets.Secret, error) {
	return s.at(ctx, "previous", 2)
}

func (s *fakeStore) at(ctx context.Context, what string, fromEnd int) (secrets.Secret, error) {
	s.mu.Lock()
	s.asked = append(s.asked, what)
	delay := s.delay
	s.mu.Unlock()
	select {
	case <-time.After(delay):
	case <-ctx.Done():
		return secrets.Secret{}, secrets.Unreachable(cached, ctx.Err())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.panics:
		panic(canary)
	case s.err != nil:
		return secrets.Secret{}, s.err
	case len(s.versions) < fromEnd:
		return secrets.Secret{}, secrets.NoPrevious(cached)
	}
	version := s.versions[len(s.versions)-fromEnd]
	return secrets.Secret{Value: secrets.NewValue("value of " + version), Version: version, Expires: s.expires, Created: s.created}, nil
}

func (s *fakeStore) set(change func(*fakeStore)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(s)
}

// calls returns what was asked since the last time, as text.
func (s *fakeStore) calls() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	asked := strings.Join(s.asked, " ")
	s.asked = nil
	return asked
}

// outage is what a Source returns when its store cannot be asked.
var outage = &secrets.Error{Ref: cached, Reason: "the store has failed (503)"}

// see is what a Get gave, as text.
func see(t *testing.T, cache *secrets.Cache) string {
	t.Helper()
	got, err := cache.Get(t.Context(), cached)
	if err != nil {
		return "error: " + err.Error()
	}
	text := got.Version
	if got.Value.Reveal() != "value of "+got.Version {
		t.Errorf("version %s comes with %q", got.Version, got.Value.Reveal())
	}
	if got.Fallback {
		text += " fallback"
	}
	if got.Stale {
		text += " stale"
	}
	return text
}

func want(t *testing.T, what, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %q, want %q", what, got, want)
	}
}

func TestASecretIsReadAgainAfterItsTTL(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := &fakeStore{versions: []string{"1"}}
		var replaced []string
		cache := secrets.NewCache(store, secrets.CacheOptions{OnReplace: func(_ context.Context, r secrets.Replacement) {
			replaced = append(replaced, fmt.Sprintf("%s: %s by %s", r.Ref, r.Old.Version, r.New.Version))
		}})
		want(t, "at first", see(t, cache), "1")
		store.set(func(s *fakeStore) { s.versions = []string{"1", "2"} })
		time.Sleep(4*time.Minute + 29*time.Second)
		want(t, "before the TTL", see(t, cache), "1")
		want(t, "asked", store.calls(), "current")
		time.Sleep(31 * time.Second)
		want(t, "after the TTL", see(t, cache), "2")
		want(t, "asked", store.calls(), "current")
		if diff := cmp.Diff([]string{"aws-sm://openai: 1 by 2"}, replaced); diff != "" {
			t.Error(diff)
		}
	})
}

func TestInstancesDoNotAskTogether(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		times := map[time.Duration]bool{}
		for range 20 {
			store := &fakeStore{versions: []string{"1"}}
			cache := secrets.NewCache(store, secrets.CacheOptions{})
			start := time.Now()
			for see(t, cache); store.calls() != "" || time.Since(start) < 4*time.Minute; see(t, cache) {
				time.Sleep(time.Second)
			}
			for see(t, cache); store.calls() == ""; see(t, cache) {
				time.Sleep(time.Second)
			}
			after := time.Since(start)
			if after < 4*time.Minute+29*time.Second || after > 5*time.Minute+2*time.Second {
				t.Errorf("read again after %v", after)
			}
			times[after] = true
		}
		if len(times) < 2 {
			t.Error("all caches read again at the same moment")
		}
	})
}

func TestAnOutageServesTheLastGoodValueForABoundedTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := &fakeStore{versions: []string{"1"}}
		var reports []secrets.Stale
		cache := secrets.NewCache(store, secrets.CacheOptions{OnStale: func(_ context.Context, s secrets.Stale) { reports = append(reports, s) }})
		start := time.Now().Round(0)
		want(t, "at first", see(t, cache), "1")
		store.set(func(s *fakeStore) { s.err = outage })
		time.Sleep(5 * time.Minute)
		want(t, "in the outage", see(t, cache), "1 stale")
		want(t, "asked", store.calls(), "current current")
		want(t, "again", see(t, cache), "1 stale")
		want(t, "asked in the pause", store.calls(), "")
		if len(reports) != 1 || !errors.Is(reports[0].Err, outage) || reports[0].Version != "1" || !reports[0].Read.Equal(start) ||
			!reports[0].Until.Equal(start.Add(65*time.Minute)) || reports[0].Ref != cached {
			t.Errorf("got reports %+v", reports)
		}
		time.Sleep(55 * time.Minute)
		want(t, "an hour later", see(t, cache), "1 stale")
		time.Sleep(5 * time.Minute)
		want(t, "after the bound", see(t, cache), "error: "+outage.Error())
		store.set(func(s *fakeStore) { s.err = nil })
		time.Sleep(30 * time.Second)
		want(t, "after the outage", see(t, cache), "1")
	})
}

func TestAnOutageIsNotMadeWorse(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := &fakeStore{err: outage}
		cache := secrets.NewCache(store, secrets.CacheOptions{})
		calls := 0
		for range 600 {
			if got := see(t, cache); !strings.HasPrefix(got, "error: read secret") {
				t.Errorf("got %q", got)
			}
			if store.calls() != "" {
				calls++
			}
			time.Sleep(100 * time.Millisecond)
		}
		// At 0, 1, 3, 7, 15, 31 and then each 30 s.
		if calls != 6 {
			t.Errorf("the store was asked %d times in a minute, want 6", calls)
		}
	})
}

func TestWhatTheStoreSaysOfTheSecretIsBelievedAtOnce(t *testing.T) {
	t.Parallel()
	for _, sentinel := range []error{secrets.ErrNotFound, secrets.ErrUnusable} {
		synctest.Test(t, func(t *testing.T) {
			store := &fakeStore{versions: []string{"1"}}
			stale := 0
			cache := secrets.NewCache(store, secrets.CacheOptions{OnStale: func(context.Context, secrets.Stale) { stale++ }})
			see(t, cache)
			store.set(func(s *fakeStore) { s.err = &secrets.Error{Ref: cached, Reason: "gone", Err: sentinel} })
			time.Sleep(5 * time.Minute)
			for range 3 {
				_, err := cache.Get(t.Context(), cached)
				if !errors.Is(err, sentinel) {
					t.Errorf("got %v", err)
				}
			}
			want(t, "asked", store.calls(), "current current")
			// What was there before must not come back with the next outage.
			store.set(func(s *fakeStore) { s.err = outage })
			time.Sleep(time.Minute)
			want(t, "in an outage", see(t, cache), "error: "+outage.Error())
			if stale != 0 {
				t.Error("reported as stale")
			}
		})
	}
}

func TestOneReadServesAllRequests(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := &fakeStore{versions: []string{"1"}, delay: time.Second}
		cache := secrets.NewCache(store, secrets.CacheOptions{})
		first, cancel := context.WithCancel(t.Context())
		var group sync.WaitGroup
		group.Go(func() {
			if _, err := cache.Get(first, cached); !errors.Is(err, context.Canceled) {
				t.Errorf("the first request got %v", err)
			}
		})
		synctest.Wait()
		for range 1000 {
			group.Go(func() { want(t, "a waiting request", see(t, cache), "1") })
		}
		synctest.Wait()
		cancel()
		group.Wait()
		want(t, "asked", store.calls(), "current")
	})
}

func TestOnlyOneRequestWaitsForARefresh(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := &fakeStore{versions: []string{"1"}}
		cache := secrets.NewCache(store, secrets.CacheOptions{})
		see(t, cache)
		store.set(func(s *fakeStore) { s.versions, s.delay = []string{"1", "2"}, time.Second })
		time.Sleep(5 * time.Minute)
		var group sync.WaitGroup
		group.Go(func() { want(t, "the refreshing request", see(t, cache), "2") })
		synctest.Wait()
		start := time.Now()
		want(t, "another request", see(t, cache), "1")
		if time.Since(start) != 0 {
			t.Error("the other request has waited")
		}
		group.Wait()
		want(t, "asked", store.calls(), "current current")
	})
}

func TestAStoreThatHangsIsGivenUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := &fakeStore{versions: []string{"1"}, delay: time.Hour}
		cache := secrets.NewCache(store, secrets.CacheOptions{})
		start := time.Now()
		want(t, "a hanging store", see(t, cache), `error: read secret "aws-sm://openai": the store cannot be reached: timed out`)
		if waited := time.Since(start); waited != 3*time.Second {
			t.Errorf("waited %v", waited)
		}
	})
}

func TestAPanicInASourceIsAnError(t *testing.T) {
	t.Parallel()
	cache := secrets.NewCache(&fakeStore{panics: true}, secrets.CacheOptions{})
	got := see(t, cache)
	want(t, "a panic", got, `error: read secret "aws-sm://openai": internal error while the secret was read`)
}

func TestAnErrorThatIsNotMadeForLogsBecomesOne(t *testing.T) {
	t.Parallel()
	cause := errors.New(canary)
	cache := secrets.NewCache(&fakeStore{err: cause}, secrets.CacheOptions{})
	_, err := cache.Get(t.Context(), cached)
	if !errors.Is(err, cause) || strings.Contains(err.Error(), canary) {
		t.Errorf("got %v", err)
	}
}

func TestAListenerThatPanicsHarmsNobody(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := &fakeStore{versions: []string{"1"}}
		cache := secrets.NewCache(store, secrets.CacheOptions{OnReplace: func(context.Context, secrets.Replacement) { panic("oh") }})
		see(t, cache)
		store.set(func(s *fakeStore) { s.versions = []string{"2"} })
		time.Sleep(5 * time.Minute)
		want(t, "after the panic", see(t, cache), "2")
	})
}

func TestAnExpiredSecretIsNotUsed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := &fakeStore{versions: []string{"1"}, expires: time.Now().Add(time.Minute)}
		cache := secrets.NewCache(store, secrets.CacheOptions{})
		want(t, "before", see(t, cache), "1")
		time.Sleep(time.Minute)
		want(t, "after", see(t, cache), `error: read secret "aws-sm://openai": it has expired`)
		store.set(func(s *fakeStore) { s.err = outage })
		time.Sleep(time.Minute)
		want(t, "in an outage", see(t, cache), "error: "+outage.Error())
	})
}

func TestTheNumberOfEntriesIsBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		source := &fakeStore{versions: []string{"1"}}
		cache := secrets.NewCache(source, secrets.CacheOptions{MaxEntries: 2})
		get := func(name string) {
			if _, err := cache.Get(t.Context(), secrets.Ref{Name: name}); err != nil {
				t.Error(err)
			}
			time.Sleep(time.Second)
		}
		for _, name := range []string{"a", "b", "a", "c", "a"} {
			get(name)
		}
		want(t, "asked", source.calls(), "current current current")
		get("b")
		want(t, "asked for the one that had to go", source.calls(), "current")
	})
}

func TestAThawedInstanceReadsAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := &fakeStore{versions: []string{"1"}}
		cache := secrets.NewCache(store, secrets.CacheOptions{})
		see(t, cache)
		store.set(func(s *fakeStore) { s.versions = []string{"2"} })
		time.Sleep(24 * time.Hour)
		want(t, "after a day", see(t, cache), "2")
		want(t, "asked", store.calls(), "current current")
	})
}

func TestAReadThatWasFrozenIsRepeated(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := &frozenStore{}
		cache := secrets.NewCache(store, secrets.CacheOptions{})
		want(t, "after the thaw", see(t, cache), "1")
	})
}

// frozenStore takes far longer than its context allows at first, as it does when the machine stands still.
type frozenStore struct{ thawed bool }

func (s *frozenStore) Current(ctx context.Context, ref secrets.Ref) (secrets.Secret, error) {
	if !s.thawed {
		s.thawed = true
		time.Sleep(time.Hour)
		return secrets.Secret{}, secrets.Unreachable(ref, ctx.Err())
	}
	return secrets.Secret{Value: secrets.NewValue("value of 1"), Version: "1"}, nil
}

func (s *frozenStore) Previous(_ context.Context, ref secrets.Ref) (secrets.Secret, error) {
	return secrets.Secret{}, secrets.NoPrevious(ref)
}

func TestACacheIsAReader(t *testing.T) {
	t.Parallel()
	var reader secrets.Reader = secrets.NewCache(&fakeStore{versions: []string{"1"}}, secrets.CacheOptions{})
	value, err := reader.Read(t.Context(), cached)
	if err != nil || value.Reveal() != "value of 1" {
		t.Errorf("got %v", err)
	}
}

func TestARequestThatHasEndedStartsNoRead(t *testing.T) {
	t.Parallel()
	store := &fakeStore{versions: []string{"1"}}
	cache := secrets.NewCache(store, secrets.CacheOptions{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := cache.Get(ctx, cached); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	want(t, "asked", store.calls(), "")
}

func BenchmarkCached(b *testing.B) {
	cache := secrets.NewCache(&fakeStore{versions: []string{"1"}}, secrets.CacheOptions{})
	b.ReportAllocs()
	for b.Loop() {
		if _, err := cache.Get(b.Context(), cached); err != nil {
			b.Fatal(err)
		}
	}
}
