package rotation_test

import (
	"cmp"
	"context"
	"flag"
	"iter"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-ai/postern/localdev/raced"
	"github.com/postern-ai/postern/shared/rotation"
)

// at breaks one call, counted from 0.
func at(n int, f fault) func(string) fault {
	count := -1
	return func(string) fault {
		if count++; count == n {
			return f
		}
		return none
	}
}

// counting breaks nothing and counts.
func counting(n *int) func(string) fault {
	return func(string) fault { *n++; return none }
}

func TestACycleWithoutFaultsComesToRest(t *testing.T) {
	t.Parallel()
	for _, k := range kinds() {
		t.Run(k.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(k)
				w.due()
				calls := 0
				runs, err := w.rest(t.Context(), counting(&calls))
				if err != nil {
					t.Fatal(err, w.last())
				}
				for _, wrong := range w.atRest() {
					t.Error(wrong)
				}
				t.Logf("%d runs, %d calls", runs, calls)
				// At rest nothing is written.
				before := w.writes
				if _, err := w.run(t.Context(), nil); err != nil || w.writes != before {
					t.Errorf("at rest: %v, %d writes", err, w.writes-before)
				}
				if report, _ := w.run(t.Context(), nil); report.Results[0].Outcome != rotation.NotDue {
					t.Errorf("at rest: %+v", report)
				}
				if t.Failed() {
					t.Log(w.last())
				}
			})
		})
	}
}

// A failed test prints the seed of what it has tried.
var (
	seed  = flag.Uint64("rotation.seed", 0, "the seed of one schedule to replay")
	tries = flag.Int("rotation.tries", 20, "how many random schedules are tried for each kind of key; a tenth of it under the race detector")
	all   = flag.Bool("rotation.all", false, "break every call in every way in all scenarios, and not only in a plain cycle")
)

// random is how many random schedules are tried. The race detector makes one fifteen times as slow.
func random() int {
	if raced.Enabled {
		return max(1, *tries/10)
	}
	return *tries
}

// schedule is one way in which things go wrong.
type schedule struct {
	kind    kind
	faults  func() func(string) fault
	forgets bool
	// lag is how long the store shows what was there before its last change.
	lag time.Duration
	// before brings the world to where the faults begin. Nil lets the first key be due.
	before func(ctx context.Context, w *world)
	// through takes the world from there to rest. Nil is to run at every tick.
	through func(ctx context.Context, w *world, faults func(string) fault) error
	// wrong is what is wrong at rest. Nil is what is wrong after one cycle.
	wrong func(w *world) []string
}

// try takes a world through a schedule and returns what is wrong at its end.
func (s schedule) try(t *testing.T) (wrong []string, log string) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(s.kind)
		w.forgets, w.lag = s.forgets, s.lag
		before, through, end := s.before, s.through, s.wrong
		if before == nil {
			before = func(context.Context, *world) { w.due() }
		}
		if through == nil {
			through = func(ctx context.Context, w *world, faults func(string) fault) error {
				_, err := w.rest(ctx, faults)
				return err
			}
		}
		if end == nil {
			end = (*world).atRest
		}
		before(t.Context(), w)
		if err := through(t.Context(), w, s.faults()); err != nil {
			wrong = append(wrong, err.Error())
		}
		wrong = append(wrong, end(w)...)
		log = w.last()
	})
	return wrong, log
}

// calls is how many calls it takes without faults.
func (s schedule) calls(t *testing.T) int {
	t.Helper()
	calls := 0
	s.faults = func() func(string) fault { return counting(&calls) }
	if wrong, log := s.try(t); len(wrong) > 0 {
		t.Fatal(wrong, log)
	}
	return calls
}

// Which of the schedules of one fault are tried: with primes, all ways and all calls have their turn.
const (
	sample      = 5  // of a scenario
	racedSample = 47 // under the race detector
)

// behind has the store be behind in every second schedule.
func behind[N int | uint64](n N) time.Duration { return time.Duration(n%2) * 3 * time.Minute }

// singles breaks each call once in each way, or some of them.
func (s schedule) singles(t *testing.T, every int) {
	t.Helper()
	switch {
	case *all:
		every = 1
	case raced.Enabled:
		every = racedSample
	}
	schedules, count := 0, len(s.kind.name) // each kind begins elsewhere
	for n := range s.calls(t) {
		for f := failsBefore; f <= freezes; f++ {
			if count++; count%every != 0 {
				continue
			}
			schedules++
			s.lag = behind(schedules)
			s.faults = func() func(string) fault { return at(n, f) }
			if wrong, log := s.try(t); len(wrong) > 0 {
				t.Fatalf("call %d %s: %v\n%s", n, f, wrong, log)
			}
		}
	}
	t.Logf("%d schedules of one fault", schedules)
}

// pairs breaks two calls, the second near the first more often than far from it.
func (s schedule) pairs(t *testing.T, tries int) {
	t.Helper()
	calls := s.calls(t)
	for i := range seeds(tries) {
		r := rand.New(rand.NewPCG(i, 0))
		first, f := r.IntN(calls), failsBefore+fault(r.IntN(int(freezes)))
		second, g := first+1+r.IntN(1+r.IntN(calls)), failsBefore+fault(r.IntN(int(freezes)))
		s.lag = behind(i)
		s.faults = func() func(string) fault { return both(at(first, f), at(second, g)) }
		if wrong, log := s.try(t); len(wrong) > 0 {
			t.Fatalf("-rotation.seed=%d: call %d %s, call %d %s: %v\n%s", i, first, f, second, g, wrong, log)
		}
	}
	t.Logf("%d schedules of two faults", tries)
}

// each runs a test for every kind of key, beside one another.
func each(t *testing.T, test func(t *testing.T, k kind)) {
	t.Parallel()
	for _, k := range kinds() {
		t.Run(k.name, func(t *testing.T) {
			t.Parallel()
			test(t, k)
		})
	}
}

// TestEveryFaultAtEveryCall breaks each call of a cycle once in each way.
func TestEveryFaultAtEveryCall(t *testing.T) {
	each(t, func(t *testing.T, k kind) { schedule{kind: k}.singles(t, 1) })
}

// TestPairsOfFaults breaks two calls of a cycle.
func TestPairsOfFaults(t *testing.T) {
	each(t, func(t *testing.T, k kind) { schedule{kind: k}.pairs(t, 2*random()) })
}

// both is two faults, of which the first wins.
func both(one, other func(string) fault) func(string) fault {
	return func(call string) fault {
		return cmp.Or(one(call), other(call))
	}
}

// seeds are the first n seeds, or the one to replay.
func seeds(n int) iter.Seq[uint64] {
	return func(yield func(uint64) bool) {
		if *seed != 0 {
			yield(*seed)
			return
		}
		for i := range uint64(n) {
			if !yield(i + 1) {
				return
			}
		}
	}
}

// TestSeveralRunners has two to four functions work on the same credential at once, each at its own pace, with faults.
func TestSeveralRunners(t *testing.T) {
	each(t, func(t *testing.T, k kind) {
		tries := random()
		for i := range seeds(tries) {
			var wrong []string
			log := ""
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(k)
				w.due()
				w.crowd(t.Context(), i, 12)
				if _, err := w.rest(t.Context(), nil); err != nil {
					wrong = append(wrong, err.Error())
				}
				wrong = append(wrong, w.atRest()...)
				log = w.last()
			})
			if len(wrong) > 0 {
				t.Fatalf("-rotation.seed=%d: %v\n%s", i, wrong, log)
			}
		}
		t.Logf("%d schedules of several runners", tries)
	})
}

// late reports whether a call does harm when it arrives after its cycle: where the next key takes the place of another one, and where a key is
// stopped that has been current again meanwhile. Issuers take no conditions. That is theirs to mend; what is left is that a lease is longer
// than a request.
func (w *world) late(call string) bool {
	return call == "disable" || w.kind.traits.Overlap != rotation.Parallel && (call == "create" || call == "revoke")
}

// crowd has several functions run so many times each.
func (w *world) crowd(ctx context.Context, seed uint64, runs int) {
	w.strict = true // a function that was frozen may want to drop what is current by now, and is refused
	r := rand.New(rand.NewPCG(seed, 1))
	var group sync.WaitGroup
	for range 2 + r.IntN(3) {
		own := rand.New(rand.NewPCG(r.Uint64(), 2))
		group.Go(func() {
			for range runs {
				_, _ = w.run(ctx, func(call string) fault {
					time.Sleep(time.Duration(own.IntN(2000)) * time.Millisecond)
					if own.IntN(25) != 0 {
						return none
					}
					f := failsBefore + fault(own.IntN(int(freezes)))
					if f == freezes && w.late(call) {
						return none
					}
					return f
				})
				time.Sleep(time.Duration(own.IntN(600)) * time.Second)
			}
		})
	}
	group.Wait()
}

// TestWithoutTheIntentThereAreOrphans is a test of the tests above: a rotation that does not write down what it is about to make must not
// pass them.
func TestWithoutTheIntentThereAreOrphans(t *testing.T) {
	t.Parallel()
	k := kinds()[0]
	for n := range (schedule{kind: k}).calls(t) {
		wrong, _ := schedule{kind: k, forgets: true, faults: func() func(string) fault { return at(n, diesAfter) }}.try(t)
		if slices.ContainsFunc(wrong, func(line string) bool { return strings.Contains(line, "keys are usable") }) {
			return
		}
	}
	t.Error("no key was left behind at any call")
}
