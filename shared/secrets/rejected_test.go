package secrets_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-ai/postern/shared/secrets"
)

func TestARejectedValueIsReadAgainOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := &fakeStore{versions: []string{"1"}}
		cache := secrets.NewCache(store, secrets.CacheOptions{})
		see(t, cache)
		store.set(func(s *fakeStore) { s.versions = []string{"1", "2"} })
		store.calls()
		cache.Rejected(cached, secrets.NewValue("value of 1"))
		want(t, "after the rejection", see(t, cache), "2")
		want(t, "asked", store.calls(), "current")
		// Requests that were on their way with the old value come back later.
		cache.Rejected(cached, secrets.NewValue("value of 1"))
		cache.Rejected(cached, secrets.NewValue("something else"))
		cache.Rejected(secrets.Ref{Name: "other"}, secrets.NewValue("value of 1"))
		want(t, "after late rejections", see(t, cache), "2")
		want(t, "asked", store.calls(), "")
	})
}

func TestThePreviousVersionStandsInForARejectedOne(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := &fakeStore{versions: []string{"1", "2"}}
		cache := secrets.NewCache(store, secrets.CacheOptions{})
		want(t, "at first", see(t, cache), "2")
		cache.Rejected(cached, secrets.NewValue("value of 2"))
		want(t, "after the rejection", see(t, cache), "1 fallback")
		want(t, "asked", store.calls(), "current current previous")
		want(t, "again", see(t, cache), "1 fallback")
		cache.Rejected(cached, secrets.NewValue("value of 1"))
		want(t, "when both are rejected", see(t, cache), "2")
		want(t, "asked", store.calls(), "")
		time.Sleep(30 * time.Second)
		cache.Rejected(cached, secrets.NewValue("value of 2"))
		want(t, "half a minute later", see(t, cache), "1 fallback")
		want(t, "asked", store.calls(), "current")
		time.Sleep(30 * time.Second)
		want(t, "when the rejection is forgotten", see(t, cache), "2")
		store.set(func(s *fakeStore) { s.versions = []string{"1", "2", "3"} })
		time.Sleep(5 * time.Minute)
		want(t, "after the next rotation", see(t, cache), "3")
		cache.Rejected(cached, secrets.NewValue("value of 3"))
		want(t, "whose version is rejected", see(t, cache), "2 fallback")
	})
}

func TestThePreviousVersionDoesNotStandIn(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		store *fakeStore
		want  string
	}{
		{"when there is none", &fakeStore{versions: []string{"2"}}, "2"},
		{"when it is the same", &fakeStore{versions: []string{"2", "2"}}, "2"},
		{"after the grace", &fakeStore{versions: []string{"1", "2"}, created: time.Now().Add(-25 * 365 * 24 * time.Hour)}, "2"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			cache := secrets.NewCache(test.store, secrets.CacheOptions{})
			see(t, cache)
			cache.Rejected(cached, secrets.NewValue("value of 2"))
			want(t, "after the rejection", see(t, cache), test.want)
			want(t, "asked", test.store.calls(), "current current previous")
		})
	}
}

func TestTheStoreDecidesWhatThePreviousVersionIs(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name          string
		before, after []string
		want          string
	}{
		{"when two rotations have passed", []string{"1", "2"}, []string{"1", "2", "3", "4"}, "3 fallback"},
		{"when it has been taken away", []string{"1"}, []string{"4"}, "4"},
	}
	for _, test := range tests {
		synctest.Test(t, func(t *testing.T) {
			store := &fakeStore{versions: test.before}
			cache := secrets.NewCache(store, secrets.CacheOptions{})
			old := see(t, cache)
			cache.Rejected(cached, secrets.NewValue("value of "+old))
			see(t, cache)
			store.set(func(s *fakeStore) { s.versions = test.after })
			time.Sleep(5 * time.Minute)
			want(t, test.name, see(t, cache), "4")
			cache.Rejected(cached, secrets.NewValue("value of 4"))
			want(t, test.name, see(t, cache), test.want)
		})
	}
}

func TestTheNextVersionMayBeRejectedAtOnce(t *testing.T) {
	t.Parallel()
	store := &fakeStore{versions: []string{"1"}}
	cache := secrets.NewCache(store, secrets.CacheOptions{})
	see(t, cache)
	for _, next := range []string{"2", "3", "4"} {
		store.set(func(s *fakeStore) { s.versions = append(s.versions, next) })
		cache.Rejected(cached, secrets.NewValue("value of "+see(t, cache)))
		want(t, "after the rejection", see(t, cache), next)
	}
}

func TestASecretThatComesBackBeginsAnew(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := &fakeStore{versions: []string{"1", "2"}}
		cache := secrets.NewCache(store, secrets.CacheOptions{})
		see(t, cache)
		cache.Rejected(cached, secrets.NewValue("value of 2"))
		want(t, "at first", see(t, cache), "1 fallback")
		store.set(func(s *fakeStore) { s.err = secrets.NoPrevious(cached) })
		time.Sleep(5 * time.Minute)
		see(t, cache)
		store.set(func(s *fakeStore) { s.err, s.versions = nil, []string{"3", "4"} })
		time.Sleep(time.Minute)
		want(t, "when it is back", see(t, cache), "4")
		cache.Rejected(cached, secrets.NewValue("value of 4"))
		want(t, "when its version is rejected", see(t, cache), "3 fallback")
	})
}

func TestALateReadDoesNotReplaceALaterOne(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := &lateStore{}
		cache := secrets.NewCache(store, secrets.CacheOptions{})
		var group sync.WaitGroup
		group.Go(func() { want(t, "the request that was frozen", see(t, cache), "2") })
		time.Sleep(time.Minute)
		want(t, "a request after the thaw", see(t, cache), "2")
		group.Wait()
		want(t, "after both reads", see(t, cache), "2")
	})
}

// lateStore answers its first read after all others, as it was at that time.
type lateStore struct {
	mu    sync.Mutex
	calls int
}

func (s *lateStore) Current(context.Context, secrets.Ref) (secrets.Secret, error) {
	s.mu.Lock()
	s.calls++
	call := s.calls
	s.mu.Unlock()
	if call == 1 {
		time.Sleep(2 * time.Minute)
	}
	return secrets.Secret{Value: secrets.NewValue(fmt.Sprintf("value of %d", call)), Version: fmt.Sprint(call)}, nil
}

func (s *lateStore) Previous(_ context.Context, ref secrets.Ref) (secrets.Secret, error) {
	return secrets.Secret{}, secrets.NoPrevious(ref)
}

func TestRejectionsDoNotFloodTheStore(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := &fakeStore{versions: []string{"1"}}
		cache := secrets.NewCache(store, secrets.CacheOptions{TTL: time.Hour})
		see(t, cache)
		store.calls()
		for range 600 {
			cache.Rejected(cached, secrets.NewValue("value of 1"))
			want(t, "rejected", see(t, cache), "1")
			time.Sleep(time.Second)
		}
		// At 0, 5, 15, 35, 75, 135, ... 555 s, and once to look for a previous version.
		if got := strings.Count(store.calls(), "current"); got != 13 {
			t.Errorf("the store was asked %d times in ten minutes, want 13", got)
		}
	})
}

func TestARejectionInAnOutageLeavesWhatThereIs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := &fakeStore{versions: []string{"1"}}
		cache := secrets.NewCache(store, secrets.CacheOptions{})
		see(t, cache)
		store.set(func(s *fakeStore) { s.versions = []string{"1", "2"} })
		time.Sleep(5 * time.Minute)
		want(t, "after the rotation", see(t, cache), "2")
		store.set(func(s *fakeStore) { s.err = outage })
		cache.Rejected(cached, secrets.NewValue("value of 2"))
		want(t, "with the version before known", see(t, cache), "1 fallback")
		cache.Rejected(cached, secrets.NewValue("value of 1"))
		want(t, "with both rejected", see(t, cache), "2")
	})
}
