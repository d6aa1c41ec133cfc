// Package quotatest is what every quota.Store has to pass.
package quotatest

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/postern-ai/postern/shared/quota"
)

// Test is one of them. It has a store for itself.
type Test struct {
	Name string
	// Run runs the test. pass lets time pass, for the test and for the store alike.
	Run func(t *testing.T, store quota.Store, pass func(time.Duration))
}

// Tests returns them all.
func Tests() []Test {
	return []Test{
		{"a window has room until it is full, and again when it is over", func(t *testing.T, store quota.Store, pass func(time.Duration)) {
			check := checker{t, store}
			check.take(windows(1, 3), true, 1)
			check.take(windows(1, 3), true, 2)
			pass(30 * time.Second)
			check.take(windows(1, 3), true, 3)
			check.take(windows(1, 3), false, 3)
			pass(29 * time.Second)
			check.take(windows(1, 3), false, 3)
			pass(2 * time.Second)
			check.take(windows(1, 3), true, 1)
		}},
		{"nothing is counted when one window has no room", func(t *testing.T, store quota.Store, _ func(time.Duration)) {
			check := checker{t, store}
			check.take(windows(5, 10, 5), true, 5, 5)
			check.take(windows(5, 10, 5), false, 5, 5)
			check.take(windows(5, 10), true, 10)
		}},
		{"more than the whole limit finds an empty window", func(t *testing.T, store quota.Store, _ func(time.Duration)) {
			check := checker{t, store}
			check.take(windows(50, 10), true, 50)
			check.take(windows(1, 10), false, 50)
		}},
		{"owners do not share windows", func(t *testing.T, store quota.Store, _ func(time.Duration)) {
			check := checker{t, store}
			check.take(windows(1, 1), true, 1)
			other := windows(1, 1)
			other.Owner = "another"
			check.take(other, true, 1)
			check.take(windows(1, 1), false, 1)
		}},
		{"what was really used is counted", func(t *testing.T, store quota.Store, pass func(time.Duration)) {
			check := checker{t, store}
			check.take(windows(5, 10), true, 5)
			check.give(windows(-4, 10))
			check.take(windows(8, 10), true, 9)
			check.give(windows(3, 10))
			check.take(windows(1, 10), false, 12)
			check.give(windows(-100, 10))
			check.take(windows(1, 10), true, 1)
			pass(2 * quota.Minute)
			check.give(windows(7, 10)) // it was over
			check.take(windows(1, 10), true, 1)
		}},
		{"leases are counted until they are given back", func(t *testing.T, store quota.Store, pass func(time.Duration)) {
			check := checker{t, store}
			check.takeLease(lease("a"), true, 1)
			check.takeLease(lease("b"), true, 2)
			pass(2 * quota.Minute)
			check.takeLease(lease("c"), false, 2)
			check.give(lease("a"))
			check.takeLease(lease("c"), true, 2)
			check.give(lease("b"))
			check.give(lease("c"))
			check.takeLease(lease("d"), true, 1)
		}},
		{"whoever comes at the same time never gets more than the limit", together},
	}
}

func together(t *testing.T, store quota.Store, _ func(time.Duration)) {
	var granted atomic.Int64
	var all sync.WaitGroup
	for i := range 40 {
		all.Go(func() {
			use := windows(1, 25)
			use.ID, use.Leases = fmt.Sprint(i), []quota.Lease{{Key: "together", Limit: 20, For: quota.Minute}}
			if _, ok, err := store.Take(t.Context(), use); err != nil {
				t.Error(err)
			} else if ok {
				granted.Add(1)
			}
		})
	}
	all.Wait()
	if n := granted.Load(); n != 20 {
		t.Errorf("%d were let in, of at most 20", n)
	}
}

func windows(amount int64, limits ...int64) quota.Use {
	use := quota.Use{Owner: "window"}
	for i, limit := range limits {
		use.Windows = append(use.Windows, quota.Window{Key: fmt.Sprint(i), Limit: limit, Amount: amount})
	}
	return use
}

func lease(id string) quota.Use {
	return quota.Use{Owner: "lease", ID: id, Leases: []quota.Lease{{Key: "s", Limit: 2, For: time.Hour}}}
}

// checker makes the calls of a test.
type checker struct {
	t     *testing.T
	store quota.Store
}

func (c checker) take(use quota.Use, want bool, used ...int64) {
	c.t.Helper()
	states, ok, err := c.store.Take(c.t.Context(), use)
	if err != nil || ok != want {
		c.t.Fatalf("took: %v, %v; want %v", ok, err, want)
	}
	var got []int64
	for _, state := range states.Windows {
		got = append(got, state.Used)
		if state.Reset <= 0 || state.Reset > quota.Minute {
			c.t.Errorf("the window ends in %s", state.Reset)
		}
	}
	if diff := cmp.Diff(used, got); diff != "" {
		c.t.Errorf("used (-want +got):\n%s", diff)
	}
}

func (c checker) takeLease(use quota.Use, want bool, held int64) {
	c.t.Helper()
	states, ok, err := c.store.Take(c.t.Context(), use)
	if err != nil || ok != want || len(states.Leases) != 1 || states.Leases[0].Used != held {
		c.t.Fatalf("got %+v, %v, %v; want %d and %v", states, ok, err, held, want)
	}
}

func (c checker) give(use quota.Use) {
	c.t.Helper()
	if err := c.store.Give(c.t.Context(), use); err != nil {
		c.t.Fatal(err)
	}
}
