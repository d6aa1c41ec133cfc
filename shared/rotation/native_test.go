package rotation_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/postern-ai/postern/shared/audit"
	"github.com/postern-ai/postern/shared/rotation"
)

// token is the nth cycle of a store that drives rotations itself.
func token(n int) string { return fmt.Sprintf("7c1f0a52-3b44-4e5c-8d1a-%012d", n) }

// advance takes a step of such a rotation, in a new function.
func (w *world) advance(ctx context.Context, n int, until rotation.Phase, faults func(string) fault) error {
	f := &function{world: w, fault: faults}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	_, err := f.job().Advance(ctx, rotation.Native{Credential: credential, Cycle: token(n), Until: until})
	return err
}

func (w *world) steps(t *testing.T, n int, phases ...rotation.Phase) {
	t.Helper()
	for _, phase := range phases {
		if err := w.advance(t.Context(), n, phase, nil); err != nil {
			t.Fatalf("until %s: %v\n%s", phase, err, w.last())
		}
	}
}

// rejectedCycle is a cycle whose key its service never takes.
func (w *world) rejectedCycle(t *testing.T) {
	t.Helper()
	w.steps(t, 1, rotation.Verifying)
	w.byID(w.status(t.Context()).Pending.ID).rejected = true
	if err := w.advance(t.Context(), 1, rotation.Promoting, nil); !errors.Is(err, rotation.ErrUnderWay) || !strings.Contains(err.Error(), "not accepted yet") {
		t.Fatalf("a key that may be new: %v", err)
	}
	time.Sleep(40 * time.Minute)
	if err := w.advance(t.Context(), 1, rotation.Promoting, nil); !errors.Is(err, rotation.ErrRejected) {
		t.Fatalf("got %v", err)
	}
}

func TestTheStepsOfAStoreGoAsFarAsTheySay(t *testing.T) {
	each(t, func(t *testing.T, k kind) {
		if k.slow > 0 {
			t.Skip("a key that is not known yet is another test's")
		}
		scene(t, k, func(t *testing.T, w *world) {
			old := w.key().secret
			for _, step := range []rotation.Phase{rotation.Verifying, rotation.Promoting} {
				w.steps(t, 1, step)
				want(t, "phase", w.status(t.Context()).Phase, step)
				want(t, "promotions", w.promotions, 0)
				before := w.writes
				w.steps(t, 1, rotation.Verifying, step) // the same again
				want(t, "effects", w.writes, before)
			}
			want(t, "staged cycle", w.version(w.staged).cycle, token(1))
			w.steps(t, 1, rotation.Grace)
			want(t, "promotions", w.promotions, 1)
			if w.key().secret == old && k.traits.Overlap != rotation.InPlace {
				t.Error("the key is the old one")
			}
			time.Sleep(grace)
			w.settled(t)
			before := w.writes
			w.steps(t, 1, rotation.Verifying, rotation.Promoting, rotation.Grace) // and when all is over
			want(t, "effects", w.writes, before)
			want(t, "cycle of the events", w.latest(t, audit.TokenRotatedType).Cycle.ID, token(1))
			for _, wrong := range w.atRest() {
				t.Error(wrong)
			}
		})
	})
}

func TestAScheduledRunGoesOnWithAStoresCycle(t *testing.T) {
	play(t, kindOf(shownOnce), func(t *testing.T, w *world) {
		w.steps(t, 1, rotation.Verifying)
		w.tick(t)
		want(t, "phase", w.status(t.Context()).Phase, rotation.Grace)
		w.steps(t, 1, rotation.Promoting, rotation.Grace)
		want(t, "promotions", w.promotions, 1)
	})
}

func TestAStoresCycleWaitsForTheOneBefore(t *testing.T) {
	play(t, kindOf(shownOnce), func(t *testing.T, w *world) {
		w.steps(t, 1, rotation.Verifying)
		err := w.advance(t.Context(), 2, rotation.Verifying, nil)
		if !errors.Is(err, rotation.ErrUnderWay) || !strings.Contains(err.Error(), "is verifying and has to end first") {
			t.Errorf("while it is verifying: %v", err)
		}
		w.steps(t, 1, rotation.Promoting, rotation.Grace)
		err = w.advance(t.Context(), 2, rotation.Verifying, nil)
		if !errors.Is(err, rotation.ErrUnderWay) || !strings.Contains(err.Error(), "is grace and has to end first") {
			t.Errorf("in the grace: %v", err)
		}
		want(t, "failures", w.status(t.Context()).Failures, 0)
		time.Sleep(grace)
		w.settled(t)
		w.steps(t, 2, rotation.Verifying, rotation.Promoting, rotation.Grace)
		want(t, "promotions", w.promotions, 2)
	})
}

func TestARejectedKeyEndsTheStoresCycle(t *testing.T) {
	for _, name := range []string{shownOnce, unnamed, chosen} {
		t.Run(name, func(t *testing.T) {
			play(t, kindOf(name), func(t *testing.T, w *world) {
				w.rejectedCycle(t)
				want(t, "phase", w.status(t.Context()).Phase, rotation.Idle)
				want(t, "staged", w.staged, "")
				want(t, "keys that work", len(w.usable()), 1)
				want(t, "the key in use works", w.key().works(), true)
				if err := w.advance(t.Context(), 1, rotation.Promoting, nil); !errors.Is(err, rotation.ErrUnderWay) || !strings.Contains(err.Error(), "has come to nothing: begin another one") {
					t.Errorf("the next step: %v", err)
				}
				// The store begins another one.
				w.steps(t, 2, rotation.Verifying, rotation.Promoting, rotation.Grace)
				want(t, "promotions", w.promotions, 1)
			})
		})
	}
}

func TestAStoresCycleThatHasComeToNothingIsNotBegunAgainByTheSchedule(t *testing.T) {
	play(t, kindOf(shownOnce), func(t *testing.T, w *world) {
		w.rejectedCycle(t)
		time.Sleep(tick)
		want(t, "outcome", w.tick(t).Outcome, rotation.NotDue)
	})
}

func TestAStoresCycleDoesNotBeginInAPause(t *testing.T) {
	play(t, kindOf(shownOnce), func(t *testing.T, w *world) {
		if err := w.job().Pause(t.Context(), request()); err != nil {
			t.Fatal(err)
		}
		if err := w.advance(t.Context(), 1, rotation.Verifying, nil); !errors.Is(err, rotation.ErrUnderWay) || !strings.Contains(err.Error(), "paused") {
			t.Errorf("got %v", err)
		}
		want(t, "effects", w.writes, 0)
	})
}

func TestAStepThatCannotBeTakenMakesNothing(t *testing.T) {
	play(t, kindOf(shownOnce), func(t *testing.T, w *world) {
		for _, test := range []struct {
			step rotation.Native
			says string
		}{
			{rotation.Native{Cycle: token(1)}, `and not ""`},
			{rotation.Native{Cycle: token(1), Until: rotation.Idle}, `and not "idle"`},
			{rotation.Native{Cycle: token(1), Until: "later"}, `and not "later"`},
			{rotation.Native{Cycle: strings.ToUpper(token(1)), Until: rotation.Verifying}, "a UUID in lower case"},
			{rotation.Native{Until: rotation.Verifying}, "a UUID in lower case"},
		} {
			test.step.Credential = credential
			if _, err := w.job().Advance(t.Context(), test.step); err == nil || !strings.Contains(err.Error(), test.says) {
				t.Errorf("%+v: got %v, want one that says %q", test.step, err, test.says)
			}
		}
		want(t, "effects", w.writes, 0)
	})
}

func TestAStoresCycleDoesNotWaitForPeople(t *testing.T) {
	play(t, assisted(), func(t *testing.T, w *world) {
		if err := w.advance(t.Context(), 1, rotation.Verifying, nil); !errors.Is(err, rotation.ErrNotPossible) || !strings.Contains(err.Error(), "turn that off") {
			t.Errorf("got %v", err)
		}
	})
}

func TestAVersionThatTheStoreBeginsWithGetsItsValue(t *testing.T) {
	play(t, kindOf(shownOnce), func(t *testing.T, w *world) {
		w.pend("").cycle = token(1)
		w.steps(t, 1, rotation.Verifying)
		want(t, "versions", len(w.versions), 2)
		w.steps(t, 1, rotation.Promoting, rotation.Grace)
		want(t, "key in use", w.key().id, "key-2")
	})
}

// TestEveryFaultInTheStepsOfAStore has a store drive rotations until one has been carried out, with faults in all of its calls.
func TestEveryFaultInTheStepsOfAStore(t *testing.T) {
	each(t, func(t *testing.T, k kind) {
		s := schedule{
			kind:   k,
			before: func(context.Context, *world) {},
			through: func(ctx context.Context, w *world, faults func(string) fault) error {
				if err := w.driven(ctx, faults); err != nil {
					return err
				}
				_, err := w.rest(ctx, faults)
				return err
			},
		}
		s.singles(t, sample)
		s.pairs(t, max(1, random()/5))
	})
}

// driven takes the steps in their order, each as often as it takes. A cycle that has come to nothing is followed by the next.
func (w *world) driven(ctx context.Context, faults func(string) fault) error {
	steps := []rotation.Phase{rotation.Verifying, rotation.Promoting, rotation.Grace}
	cycle, step := 1, 0
	var err error
	for range 200 {
		if err = w.advance(ctx, cycle, steps[step], faults); err == nil {
			if step++; step == len(steps) {
				return nil
			}
			continue
		}
		if strings.Contains(err.Error(), "come to nothing") {
			cycle, step = cycle+1, 0
		}
		time.Sleep(tick)
	}
	return fmt.Errorf("the steps do not end: %w", err)
}
