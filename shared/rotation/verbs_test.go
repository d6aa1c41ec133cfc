package rotation_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/postern-ai/postern/shared/audit"
	"github.com/postern-ai/postern/shared/ledger"
	"github.com/postern-ai/postern/shared/rotation"
)

func TestTheStatusTellsWhereARotationStands(t *testing.T) {
	play(t, kindOf(shownOnce), func(t *testing.T, w *world) {
		w.tick(t)
		status := w.status(t.Context())
		want(t, "phase", status.Phase, rotation.Idle)
		want(t, "current key", status.Current.ID, "key-1")
		want(t, "version", status.Current.Version, "v0")
		w.begin(t)
		status = w.status(t.Context())
		want(t, "cycle", status.Cycle, 1)
		want(t, "reason", status.Reason, audit.ReasonScheduled)
		want(t, "current key", status.Current.ID, "key-2")
		want(t, "previous key", status.Previous.ID, "key-1")
		want(t, "end of the old key", status.RevokeAfter, status.Promoted.Add(grace))
		want(t, "unpublished", status.Unpublished, 0)
		if !status.Current.Expires.After(time.Now().Add(every)) {
			t.Errorf("the key expires at %v", status.Current.Expires)
		}
	})
}

func TestAForcedRotationBeginsInTheNextRun(t *testing.T) {
	play(t, kindOf(shownOnce), func(t *testing.T, w *world) {
		w.tick(t)
		if err := w.job().Force(t.Context(), request()); err != nil {
			t.Fatal(err)
		}
		want(t, "requested", w.status(t.Context()).Requested, audit.ReasonManual)
		want(t, "outcome", w.tick(t).Outcome, rotation.Rotated)
		told := w.latest(t, audit.TokenRotatedType)
		want(t, "reason", told.Reason, audit.ReasonManual)
		want(t, "actor", told.Actor.Name, request().Actor)
		w.settled(t)
		want(t, "actor of the end", w.latest(t, audit.KeyRevokedType).Actor.Name, request().Actor)
		want(t, "outcome", w.tick(t).Outcome, rotation.NotDue)
	})
}

func TestOnlyOneRotationIsUnderWay(t *testing.T) {
	play(t, kindOf(shownOnce), func(t *testing.T, w *world) {
		w.begin(t)
		err := w.job().Force(t.Context(), request())
		if !errors.Is(err, rotation.ErrUnderWay) || !strings.Contains(err.Error(), "grace") {
			t.Errorf("got %v", err)
		}
	})
}

func TestARotationIsForcedForAReason(t *testing.T) {
	play(t, kindOf(shownOnce), func(t *testing.T, w *world) {
		asked := request()
		asked.Reason = audit.ReasonPreExpiry
		if err := w.job().Force(t.Context(), asked); err != nil {
			t.Fatal(err)
		}
		w.tick(t)
		want(t, "reason", w.latest(t, audit.TokenRotatedType).Reason, audit.ReasonPreExpiry)
		for _, reason := range []audit.Reason{audit.ReasonCompromise, audit.ReasonRollback, "whim"} {
			asked.Reason = reason
			if err := w.job().Force(t.Context(), asked); !errors.Is(err, rotation.ErrNotPossible) {
				t.Errorf("%s: got %v", reason, err)
			}
		}
	})
}

func TestANoticeThatComesAgainDoesNotHurryAFailure(t *testing.T) {
	play(t, kindOf(shownOnce), func(t *testing.T, w *world) {
		w.tick(t)
		v := w.pend("a stranger's")
		notice := request()
		notice.Reason, notice.Actor = audit.ReasonScheduled, ""
		// The version that somebody else has staged is in the way.
		for range 12 * 60 {
			if err := w.job().Force(t.Context(), notice); err != nil && !errors.Is(err, rotation.ErrNotPossible) {
				t.Fatal(err)
			}
			_, _ = w.run(t.Context(), nil)
			time.Sleep(time.Minute)
		}
		if told := len(w.of(audit.RotationFailedType)); told > 12 {
			t.Errorf("%d failures were told in 12 hours", told)
		}
		want(t, "it has stopped", w.status(t.Context()).Orphaned, true)
		v.dropped = true
		if err := w.job().Resume(t.Context(), request()); err != nil {
			t.Fatal(err)
		}
		want(t, "outcome", w.tick(t).Outcome, rotation.Rotated)
	})
}

func TestANoticeDoesNotTakeThePlaceOfAnOperatorsWish(t *testing.T) {
	play(t, kindOf(shownOnce), func(t *testing.T, w *world) {
		w.tick(t)
		notice := request()
		notice.Reason, notice.Actor = audit.ReasonScheduled, ""
		if err := errors.Join(w.job().Force(t.Context(), request()), w.job().Force(t.Context(), notice)); err != nil {
			t.Fatal(err)
		}
		w.tick(t)
		told := w.latest(t, audit.TokenRotatedType)
		want(t, "reason", told.Reason, audit.ReasonManual)
		want(t, "actor", told.Actor.Name, request().Actor)
	})
}

func TestNothingIsForcedThatWouldNotBegin(t *testing.T) {
	play(t, kindOf(shownOnce), func(t *testing.T, w *world) {
		if err := w.job().Pause(t.Context(), request()); err != nil {
			t.Fatal(err)
		}
		if err := w.job().Force(t.Context(), request()); !errors.Is(err, rotation.ErrNotPossible) || !strings.Contains(err.Error(), "resume it first") {
			t.Errorf("while it is paused: %v", err)
		}
		if err := errors.Join(w.job().Resume(t.Context(), request()), w.job().Emergency(t.Context(), request())); err != nil {
			t.Fatal(err)
		}
		if err := w.job().Force(t.Context(), request()); !errors.Is(err, rotation.ErrUnderWay) {
			t.Errorf("before an emergency: %v", err)
		}
	})
}

func TestWhatSomebodyHasAskedForIsNotForgottenWhenItComesToNothing(t *testing.T) {
	play(t, kindOf(shownOnce), func(t *testing.T, w *world) {
		w.tick(t)
		w.tune = refusing // every new key is rejected
		if err := w.job().Emergency(t.Context(), request()); err != nil {
			t.Fatal(err)
		}
		for range 20 * 24 {
			_, _ = w.run(t.Context(), nil)
			time.Sleep(tick)
			if w.count > 6 {
				break
			}
		}
		if w.count <= 6 {
			t.Fatalf("%d keys were made", w.count)
		}
		w.tune = nil
		w.emergency = true
		w.settled(t)
		want(t, "reason", w.latest(t, audit.TokenRotatedType).Reason, audit.ReasonCompromise)
		want(t, "actor", w.latest(t, audit.TokenRotatedType).Actor.Name, request().Actor)
		want(t, "keys that work", len(w.usable()), 1)
	})
}

func TestAPauseHoldsEverythingButEvents(t *testing.T) {
	play(t, kindOf(shownOnce), func(t *testing.T, w *world) {
		w.tick(t)
		if err := w.job().Pause(t.Context(), request()); err != nil {
			t.Fatal(err)
		}
		w.due()
		before := w.writes
		result := w.tick(t)
		want(t, "outcome", result.Outcome, rotation.Pending)
		want(t, "effects", w.writes, before)
		if !strings.Contains(result.Detail, "paused") || !w.status(t.Context()).Paused {
			t.Errorf("got %+v, status %+v", result, w.status(t.Context()))
		}
		if err := w.job().Resume(t.Context(), request()); err != nil {
			t.Fatal(err)
		}
		want(t, "outcome", w.tick(t).Outcome, rotation.Rotated)

		// In the grace the old key does not end.
		if err := w.job().Pause(t.Context(), request()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * grace)
		w.tick(t)
		want(t, "the old key works", w.byID("key-1").works(), true)
		if err := w.job().Resume(t.Context(), request()); err != nil {
			t.Fatal(err)
		}
		w.settled(t)
		want(t, "the old key works", w.byID("key-1").works(), false)
	})
}

func TestEventsArePublishedDuringAPause(t *testing.T) {
	play(t, kindOf(shownOnce), func(t *testing.T, w *world) {
		w.due()
		if _, err := w.run(t.Context(), failing("publish")); err == nil {
			t.Fatal("the bus has refused, and the run says nothing")
		}
		if err := w.job().Pause(t.Context(), request()); err != nil {
			t.Fatal(err)
		}
		if w.status(t.Context()).Unpublished == 0 {
			t.Fatal("nothing is in the outbox")
		}
		w.tick(t)
		want(t, "unpublished", w.status(t.Context()).Unpublished, 0)
	})
}

func TestVerbsAreAboutKnownCredentials(t *testing.T) {
	play(t, kindOf(shownOnce), func(t *testing.T, w *world) {
		other := rotation.Request{Credential: "nobody's"}
		job := w.job()
		for name, err := range map[string]error{
			"force": job.Force(t.Context(), other), "emergency": job.Emergency(t.Context(), other), "pause": job.Pause(t.Context(), other),
			"resume": job.Resume(t.Context(), other), "rollback": job.Rollback(t.Context(), other),
		} {
			if !errors.Is(err, rotation.ErrUnknown) || !strings.Contains(err.Error(), `"nobody's"`) {
				t.Errorf("%s: got %v", name, err)
			}
		}
		if _, err := job.RunOne(t.Context(), "nobody's"); !errors.Is(err, rotation.ErrUnknown) {
			t.Errorf("run: got %v", err)
		}
		if _, err := job.Advance(t.Context(), rotation.Native{Credential: "nobody's"}); !errors.Is(err, rotation.ErrUnknown) {
			t.Errorf("advance: got %v", err)
		}
		if report, err := job.RunOne(t.Context(), credential); err != nil || report.Count(rotation.NotDue) != 1 {
			t.Errorf("run of the known one: %v, error %v", report, err)
		}
	})
}

func TestAnActorIsATextOfSomeLength(t *testing.T) {
	play(t, kindOf(shownOnce), func(t *testing.T, w *world) {
		for _, actor := range []string{strings.Repeat("a", 513), "\xff"} {
			err := w.job().Pause(t.Context(), rotation.Request{Credential: credential, Actor: actor})
			if err == nil || !strings.Contains(err.Error(), "the actor has to be") {
				t.Errorf("%.5q: got %v", actor, err)
			}
		}
		want(t, "paused", w.status(t.Context()).Paused, false)
	})
}

func TestAVerbSurvivesARunThatChangesTheRecord(t *testing.T) {
	play(t, kindOf(shownOnce), func(t *testing.T, w *world) {
		w.tick(t)
		changed := 0
		f := &function{world: w}
		f.fault = func(call string) fault {
			if call == "ledger write" && changed < 2 {
				changed++
				if err := w.job().Pause(t.Context(), request()); err != nil {
					t.Error(err)
				}
			}
			return none
		}
		if err := f.job().Resume(t.Context(), request()); err != nil {
			t.Fatal(err)
		}
		want(t, "paused", w.status(t.Context()).Paused, false)
		want(t, "conflicts", changed, 2)
	})
}

func TestAVerbIsNotTriedForEver(t *testing.T) {
	play(t, kindOf(shownOnce), func(t *testing.T, w *world) {
		w.tick(t)
		f := &function{world: w}
		f.fault = func(call string) fault {
			if call == "ledger write" {
				if err := w.job().Pause(t.Context(), request()); err != nil {
					t.Error(err)
				}
			}
			return none
		}
		if err := f.job().Resume(t.Context(), request()); !errors.Is(err, ledger.ErrConflict) {
			t.Errorf("got %v", err)
		}
	})
}
