package redisquota_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"

	"github.com/postern-ai/postern/shared/quota"
	"github.com/postern-ai/postern/shared/quota/quotatest"
	"github.com/postern-ai/postern/shared/quota/redisquota"
	"github.com/postern-ai/postern/shared/redis"
)

// patient is longer than anything takes on a busy machine.
const patient = time.Minute

func store(t *testing.T, m *miniredis.Miniredis, faults *[]string) *redisquota.Store {
	t.Helper()
	server, err := redis.New(redis.Options{URL: "redis://" + m.Addr(), Timeout: patient})
	if err != nil {
		t.Fatal(err)
	}
	return redisquota.New(redisquota.Options{Server: server, Deployment: []string{"gateway"}, Patience: patient, OnFault: func(_ context.Context, f redisquota.Fault) {
		if faults != nil {
			*faults = append(*faults, f.Err.Error())
		}
	}})
}

func TestConformance(t *testing.T) {
	t.Parallel()
	for _, test := range quotatest.Tests() {
		t.Run(test.Name, func(t *testing.T) {
			t.Parallel()
			m := miniredis.RunT(t)
			now := time.Now()
			m.SetTime(now)
			var faults []string
			test.Run(t, store(t, m, &faults), func(d time.Duration) {
				now = now.Add(d)
				m.SetTime(now)
				m.FastForward(d)
			})
			if len(faults) > 0 {
				t.Error(faults)
			}
		})
	}
}

// TestInstancesCountTogether: with many instances and callers at once, each caller gets exactly its limit.
func TestInstancesCountTogether(t *testing.T) {
	t.Parallel()
	m := miniredis.RunT(t)
	var instances []*redisquota.Store
	for range 5 {
		instances = append(instances, store(t, m, nil))
	}
	var granted [3]atomic.Int64
	var all sync.WaitGroup
	for i := range 90 {
		all.Go(func() {
			use := quota.Use{Owner: fmt.Sprint(i % 3), ID: fmt.Sprint(i), Windows: []quota.Window{{Key: "r", Limit: 7, Amount: 1}}}
			_, ok, err := instances[i%5].Take(t.Context(), use)
			if err != nil {
				t.Error(err)
			}
			if ok {
				granted[i%3].Add(1)
			}
		})
	}
	all.Wait()
	for i := range granted {
		if n := granted[i].Load(); n != 7 {
			t.Errorf("caller %d was let in %d times, of exactly 7", i, n)
		}
	}
}

func TestLeasesEndByThemselves(t *testing.T) {
	t.Parallel()
	m := miniredis.RunT(t)
	now := time.Now()
	m.SetTime(now)
	s := store(t, m, nil)
	take := func(id string, want bool) {
		t.Helper()
		use := quota.Use{Owner: "o", ID: id, Leases: []quota.Lease{{Key: "s", Limit: 1, For: time.Minute}}}
		if _, ok, err := s.Take(t.Context(), use); ok != want || err != nil {
			t.Errorf("%s: %v, %v", id, ok, err)
		}
	}
	take("an instance that died", true)
	take("another", false)
	m.SetTime(now.Add(61 * time.Second))
	m.FastForward(61 * time.Second)
	take("another", true)
}

// TestWithoutTheServerEachInstanceCounts: the limit holds in an instance, nobody is turned away for the server's sake, and once it is back
// all count together again.
func TestWithoutTheServerEachInstanceCounts(t *testing.T) {
	t.Parallel()
	m := miniredis.RunT(t)
	var faults []string
	s := store(t, m, &faults)
	use := func(id string) quota.Use {
		return quota.Use{
			Owner: "o", ID: id, Windows: []quota.Window{{Key: "r", Limit: 2, Amount: 1}}, Leases: []quota.Lease{{Key: "s", Limit: 1, For: time.Minute}},
		}
	}
	take := func(id string, want bool) {
		t.Helper()
		if _, ok, err := s.Take(t.Context(), use(id)); ok != want || err != nil {
			t.Errorf("%s: %v, %v", id, ok, err)
		}
	}
	give := func(id string) {
		t.Helper()
		u := use(id)
		u.Windows = nil
		if err := s.Give(t.Context(), u); err != nil {
			t.Error(err)
		}
	}
	take("before", true)
	m.Close()
	take("a", true)
	take("b", false) // its lease is taken
	give("a")
	take("b", true)
	give("b")
	take("c", false) // its window is full
	give("before")   // nobody hears it
	if len(faults) == 0 || !strings.Contains(faults[0], "cannot be reached: connection refused") {
		t.Errorf("the faults are %q", faults)
	}
	if len(faults) > 1 {
		t.Errorf("the server is asked again and again: %q", faults)
	}
}

// TestAStreamThatEndsWhileTheServerIsAwayDoesNotCountForLong: its caller has it back as soon as the server answers, and not when the lease ends.
func TestAStreamThatEndsWhileTheServerIsAwayDoesNotCountForLong(t *testing.T) {
	t.Parallel()
	m := miniredis.RunT(t)
	var faults []string
	s, other := store(t, m, &faults), store(t, m, nil)
	use := func(id string) quota.Use {
		return quota.Use{Owner: "o", ID: id, Leases: []quota.Lease{{Key: "s", Limit: 100, For: time.Hour}}}
	}
	for i := range 70 {
		if _, ok, err := s.Take(t.Context(), use(fmt.Sprint(i))); !ok || err != nil {
			t.Fatal(i, ok, err)
		}
	}
	m.SetError("LOADING")
	for i := range 70 { // the first one finds out, and the others leave the server alone
		if err := s.Give(t.Context(), use(fmt.Sprint(i))); err != nil {
			t.Error(err)
		}
	}
	for i := range 70 { // of which the server knows nothing
		id := fmt.Sprint("own ", i)
		if _, ok, err := s.Take(t.Context(), use(id)); !ok || err != nil {
			t.Fatal(id, ok, err)
		}
		if err := s.Give(t.Context(), use(id)); err != nil {
			t.Error(err)
		}
	}
	m.SetError("")
	redisquota.Rested(s)
	if _, ok, err := s.Take(t.Context(), use("next")); !ok || err != nil {
		t.Errorf("the next one: got %v, error %v", ok, err)
	}
	// What is remembered is bounded, and the six that ended first are forgotten.
	states, ok, err := other.Take(t.Context(), use("last"))
	if !ok || err != nil || states.Leases[0].Used != 6+2 {
		t.Errorf("got %+v, %v, error %v", states, ok, err)
	}
	if len(faults) != 1 {
		t.Errorf("got the faults %q", faults)
	}
}

func TestWhatTheServerSaysIsNotInTheLog(t *testing.T) {
	t.Parallel()
	m := miniredis.RunT(t)
	m.RequireAuth("hunter2")
	var faults []string
	s := store(t, m, &faults)
	if _, ok, err := s.Take(t.Context(), quota.Use{Owner: "o", ID: "a", Windows: []quota.Window{{Key: "r", Limit: 1, Amount: 1}}}); !ok || err != nil {
		t.Errorf("%v, %v", ok, err)
	}
	if len(faults) != 1 || !strings.HasSuffix(faults[0], "answered NOAUTH; it wants a password") {
		t.Errorf("the faults are %q", faults)
	}
}

func TestNothingOnTheServerNamesACaller(t *testing.T) {
	t.Parallel()
	m := miniredis.RunT(t)
	s := store(t, m, nil)
	use := quota.Use{Owner: "owner-canary", ID: "id", Windows: []quota.Window{{Key: "rule-canary", Limit: 5, Amount: 1}}, Leases: []quota.Lease{{Key: "lease-canary", Limit: 5, For: time.Minute}}}
	if _, ok, err := s.Take(t.Context(), use); !ok || err != nil {
		t.Fatal(ok, err)
	}
	keys := m.Keys()
	if len(keys) != 3 || strings.Contains(m.Dump(), "canary") {
		t.Errorf("the server has %s", m.Dump())
	}
	for _, key := range keys {
		if m.TTL(key) <= 0 {
			t.Errorf("%s has no end", key)
		}
	}
}
