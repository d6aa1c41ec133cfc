package rotation_test

import (
	"testing"
	"time"

	"github.com/postern-ai/postern/shared/audit"
	"github.com/postern-ai/postern/shared/rotation"
)

func TestAStoreThatStillShowsTheOldVersionDoesNotUndoAnEmergency(t *testing.T) {
	for _, name := range []string{shownOnce, unnamed, chosen} {
		t.Run(name, func(t *testing.T) {
			play(t, kindOf(name), func(t *testing.T, w *world) {
				w.tick(t)
				time.Sleep(time.Hour)
				old := w.key()
				w.alarm(t, request())
				// The pass that makes the new key current is the one that looks next.
				report, err := w.run(t.Context(), func(call string) fault {
					if call == "promote" {
						w.mu.Lock()
						defer w.mu.Unlock()
						w.lag = 10 * time.Minute
					}
					return none
				})
				if err != nil {
					t.Fatal(err)
				}
				want(t, "outcome", report.Results[0].Outcome, rotation.Rotated)
				want(t, "phase", w.status(t.Context()).Phase, rotation.Grace)
				time.Sleep(15 * time.Minute)
				w.tick(t)
				want(t, "phase", w.status(t.Context()).Phase, rotation.Idle)
				want(t, "the old key works", old.works(), false)
				want(t, "the new key works", w.key().works(), true)
				want(t, "rotations told", len(w.of(audit.TokenRotatedType)), 1)
			})
		})
	}
}

func TestAStagedVersionThatTheStoreDoesNotShowYetIsNotGivenUp(t *testing.T) {
	for _, name := range []string{shownOnce, unnamed, chosen, twoSlots} {
		t.Run(name, func(t *testing.T) {
			play(t, kindOf(name), func(t *testing.T, w *world) {
				usable := len(w.usable())
				w.due()
				w.lag = time.Minute
				result := w.tick(t)
				want(t, "phase", result.Phase, rotation.Verifying)
				want(t, "outcome", result.Outcome, rotation.Pending)
				w.settled(t)
				want(t, "keys that work", len(w.usable()), usable)
				want(t, "orphans told", len(w.of(audit.OrphanFoundType)), 0)
				want(t, "failures told", len(w.of(audit.RotationFailedType)), 0)
			})
		})
	}
}

func TestAListThatStillHasTheKeyThatWasJustRevokedIsNoOrphan(t *testing.T) {
	play(t, kindOf(shownOnce), func(t *testing.T, w *world) {
		w.begin(t)
		w.settled(t)
		w.haunted = tick - time.Second
		w.begin(t) // from here on both keys have been made here
		w.settled(t)
		want(t, "keys that work", len(w.usable()), 1)
		want(t, "orphans told", len(w.of(audit.OrphanFoundType)), 0)
	})
}

func TestAWayBackIsNotTakenForGoneInAStoreThatStillShowsTheOldVersion(t *testing.T) {
	for _, name := range []string{shownOnce, unnamed, chosen, twoSlots} {
		t.Run(name, func(t *testing.T) {
			play(t, kindOf(name), func(t *testing.T, w *world) {
				old := w.key()
				w.due()
				w.lag = 3 * time.Minute
				w.until(t, rotation.Grace)
				w.back(t)
				want(t, "outcome", w.tick(t).Outcome, rotation.Pending)
				want(t, "phase", w.status(t.Context()).Phase, rotation.RollingBack)
				w.settled(t)
				want(t, "key in use", w.key(), old)
				want(t, "the old key works", old.works(), true)
				want(t, "rotations told", len(w.of(audit.TokenRotatedType)), 2)
			})
		})
	}
}
