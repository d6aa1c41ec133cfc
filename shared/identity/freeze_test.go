package identity_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-ai/postern/shared/identity"
	"github.com/postern-ai/postern/shared/secrets"
)

func TestARequestDoesNotWaitForAFetchFromBeforeAFreeze(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cache := identity.NewCache(sleeper(), identity.CacheOptions{})
		var wait sync.WaitGroup
		wait.Go(func() { wantToken(t, cache, "after") })
		synctest.Wait()
		time.Sleep(5 * time.Minute)
		start := time.Now()
		wantToken(t, cache, "after")
		if took := time.Since(start); took != 0 {
			t.Errorf("waited %v", took)
		}
		wait.Wait()
	})
}

// sleeper is a source whose first fetch the machine sleeps through, so that no context ends it, and whose later ones succeed.
func sleeper() identity.TokenSource {
	calls := 0
	return sourceFunc(func(context.Context) (identity.Token, error) {
		calls++
		if calls == 1 {
			time.Sleep(10 * time.Minute)
			return identity.Token{}, errIssuer
		}
		return identity.Token{Value: secrets.NewValue("after"), Expires: time.Now().Add(time.Hour)}, nil
	})
}

func TestARequestThatWasFrozenInItsFetchFetchesAgain(t *testing.T) {
	bubble(t, func(t *testing.T) {
		wantToken(t, identity.NewCache(sleeper(), identity.CacheOptions{}), "after")
	})
}

func TestAFailureFromBeforeAFreezeIsNotSharedAfterIt(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cache := identity.NewCache(sleeper(), identity.CacheOptions{})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := cache.Token(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		time.Sleep(10*time.Minute - time.Second)
		synctest.Wait()
		wantToken(t, cache, "after")
	})
}

func TestAFetchFromBeforeAFreezeDoesNotReplaceALaterToken(t *testing.T) {
	bubble(t, func(t *testing.T) {
		calls := 0
		cache := identity.NewCache(sourceFunc(func(context.Context) (identity.Token, error) {
			calls++
			if calls == 1 {
				expires := time.Now().Add(time.Hour)
				time.Sleep(10 * time.Minute)
				return identity.Token{Value: secrets.NewValue("before"), Expires: expires}, nil
			}
			return identity.Token{Value: secrets.NewValue("after"), Expires: time.Now().Add(time.Hour)}, nil
		}), identity.CacheOptions{})
		var wait sync.WaitGroup
		wait.Go(func() { wantToken(t, cache, "before") })
		synctest.Wait()
		time.Sleep(5 * time.Minute)
		wantToken(t, cache, "after")
		wait.Wait()
		wantToken(t, cache, "after")
	})
}
