package rotation_test

import (
	"strings"
	"testing"
	"time"

	"github.com/postern-ai/postern/shared/audit"
	"github.com/postern-ai/postern/shared/rotation"
)

func TestAKeyThatIsStillInUseIsKeptAWhileLonger(t *testing.T) {
	play(t, kindOf(shownOnce), func(t *testing.T, w *world) {
		w.begin(t)
		promoted := time.Now()
		// Somebody holds on to the old key, and uses it every few minutes.
		for time.Since(promoted) < 4*grace-tick {
			w.byID("key-1").lastUsed = time.Now()
			time.Sleep(tick)
			w.tick(t)
			want(t, "the old key works", w.byID("key-1").works(), true)
		}
		if end := w.status(t.Context()).RevokeAfter; end.After(promoted.Add(4 * grace)) {
			t.Errorf("it is kept until %v", end)
		}
		w.byID("key-1").lastUsed = time.Now()
		time.Sleep(2 * tick)
		w.tick(t)
		want(t, "the old key works after the longest grace", w.byID("key-1").works(), false)
		w.settled(t)
	})
}

func TestAKeyThatIsNoLongerInUseEndsAGraceAfterItsLastUse(t *testing.T) {
	play(t, kindOf(shownOnce), func(t *testing.T, w *world) {
		w.begin(t)
		time.Sleep(grace - tick)
		w.byID("key-1").lastUsed = time.Now()
		last := time.Now()
		time.Sleep(tick)
		result := w.tick(t)
		want(t, "kept for", time.Until(result.Next), time.Until(last.Add(grace)))
		if !strings.Contains(result.Detail, "still in use") {
			t.Errorf("the detail is %q", result.Detail)
		}
		time.Sleep(time.Until(result.Next))
		w.tick(t)
		want(t, "the old key works", w.byID("key-1").works(), false)
		w.settled(t)
	})
}

func TestUseInTheFirstHalfOfTheGraceIsExpected(t *testing.T) {
	play(t, kindOf(shownOnce), func(t *testing.T, w *world) {
		w.begin(t)
		w.byID("key-1").lastUsed = time.Now().Add(grace / 2)
		time.Sleep(grace)
		w.tick(t)
		want(t, "the old key works", w.byID("key-1").works(), false)
		w.settled(t)
	})
}

func TestNothingEndsWhileTheClocksDiffer(t *testing.T) {
	for _, skew := range []time.Duration{-time.Hour, -121 * time.Second, 121 * time.Second, time.Hour} {
		t.Run(skew.String(), func(t *testing.T) {
			play(t, kindOf(shownOnce), func(t *testing.T, w *world) {
				now := skew
				w.tune = func(job *rotation.Job) { job.Skew = func() time.Duration { return now } }
				w.begin(t) // a key may be made all the same
				time.Sleep(grace)
				for range 100 {
					result := w.tick(t)
					want(t, "phase", result.Phase, rotation.Grace)
					if !strings.Contains(result.Detail, "clock is "+skew.String()) {
						t.Fatalf("the detail is %q", result.Detail)
					}
					time.Sleep(time.Hour)
				}
				want(t, "the old key works", w.byID("key-1").works(), true)
				now = 2 * time.Minute
				w.settled(t)
				want(t, "the old key works", w.byID("key-1").works(), false)
				want(t, "failures", len(w.of(audit.RotationFailedType)), 0)
			})
		})
	}
}

func TestNothingEndsWhenTheServiceIsTheFirstToTellThatTheClocksDiffer(t *testing.T) {
	play(t, kindOf(shownOnce), func(t *testing.T, w *world) {
		w.begin(t)
		time.Sleep(grace)
		// A new instance knows nothing of the time until it has asked somebody.
		asked := false
		w.tune = func(job *rotation.Job) {
			job.Skew = func() time.Duration {
				if asked {
					return time.Hour
				}
				return 0
			}
		}
		if _, err := w.run(t.Context(), func(call string) fault { asked = asked || call == "verify"; return none }); err != nil {
			t.Fatal(err)
		}
		want(t, "phase", w.status(t.Context()).Phase, rotation.Grace)
		want(t, "the old key works", w.byID("key-1").works(), true)
	})
}

func TestKeysThatOnlyTheirAgeTellsApartAreNotEndedWhileTheClocksDiffer(t *testing.T) {
	play(t, kindOf(unnamed), func(t *testing.T, w *world) {
		var skew time.Duration
		w.tune = func(job *rotation.Job) { job.Skew = func() time.Duration { return skew } }
		w.rejectedCycle(t)
		time.Sleep(2 * time.Minute)
		lost := w.newKey("") // in the time of an order that has come to nothing
		skew = time.Hour
		w.tick(t)
		want(t, "the key is ended", lost.revoked, false)
		skew = 0
		w.tick(t)
		want(t, "the key is ended", lost.revoked, true)
		want(t, "the key in use works", w.key().works(), true)
	})
}

func TestTheOldKeyIsKeptWhileTheNewOneDoesNotProveItself(t *testing.T) {
	play(t, kindOf(shownOnce), func(t *testing.T, w *world) {
		w.begin(t)
		w.tune = func(job *rotation.Job) { job.Credentials[0].Verifier = silent{} }
		time.Sleep(grace)
		w.fails(t, "the key in use does not prove itself, so the old one is kept")
		told := w.latest(t, audit.RotationFailedType)
		want(t, "step", told.Step, audit.StepVerify)
		want(t, "class", told.Class, audit.FailureLostReply)
		want(t, "the old key works", w.byID("key-1").works(), true)
		w.tune = nil
		time.Sleep(tick)
		w.settled(t)
		want(t, "the old key works", w.byID("key-1").works(), false)
	})
}

func TestAKeyIsDisabledForAWhileBeforeItEnds(t *testing.T) {
	play(t, kindOf(shownOnce), func(t *testing.T, w *world) {
		w.begin(t)
		time.Sleep(grace)
		result := w.tick(t)
		want(t, "phase", result.Phase, rotation.Soaking)
		want(t, "how", w.latest(t, audit.KeyRevokedType).How, audit.EndingDeactivated)
		want(t, "for how long", time.Until(result.Next), grace)
		want(t, "the key is ended", w.byID("key-1").revoked, false)
		time.Sleep(grace)
		w.tick(t)
		want(t, "how", w.latest(t, audit.KeyRevokedType).How, audit.EndingDeleted)
		want(t, "the key is ended", w.byID("key-1").revoked, true)
		want(t, "phase", w.status(t.Context()).Phase, rotation.Idle)
		w.settled(t)
	})
}
