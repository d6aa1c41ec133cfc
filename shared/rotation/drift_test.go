package rotation_test

import (
	"strings"
	"testing"
	"time"

	"github.com/postern-ai/postern/shared/audit"
	"github.com/postern-ai/postern/shared/rotation"
)

func TestAKeyThatSomebodyElseMakesCurrentIsTakenNoteOf(t *testing.T) {
	for _, name := range []string{shownOnce, unnamed, chosen} {
		t.Run(name, func(t *testing.T) {
			play(t, kindOf(name), func(t *testing.T, w *world) {
				w.begin(t)
				w.settled(t)
				ours := w.key()
				theirs := w.strange()
				w.people(theirs.secret)
				result := w.tick(t)
				want(t, "phase", result.Phase, rotation.Grace)
				told := w.latest(t, audit.TokenRotatedType)
				want(t, "reason", told.Reason, audit.ReasonDrift)
				want(t, "old key", told.Old.ID, ours.id)
				want(t, "cycle", told.Cycle.No, 2)
				want(t, "our key works on", ours.works(), true)
				time.Sleep(grace)
				w.until(t, rotation.Idle)
				want(t, "our key works on", ours.works(), false)
				want(t, "theirs is current", w.key(), theirs)
				// It is renewed in its turn, and left to people.
				w.due()
				w.until(t, rotation.Grace)
				time.Sleep(grace)
				w.until(t, rotation.Idle)
				want(t, "theirs works", theirs.works(), true)
				if task := w.latest(t, audit.OperatorDueType).Task; !strings.Contains(task, "revoke the key") {
					t.Errorf("the task is %q", task)
				}
			})
		})
	}
}

func TestTheInitialKeysIDIsNoOtherKeys(t *testing.T) {
	play(t, kindOf(shownOnce), func(t *testing.T, w *world) {
		w.begin(t)
		w.settled(t)
		w.people(w.strange().secret)
		w.tick(t)
		want(t, "id of a stranger's key", w.status(t.Context()).Current.ID, "")
	})
}

func TestTheSameKeyStoredAgainIsNoRotation(t *testing.T) {
	play(t, kindOf(shownOnce), func(t *testing.T, w *world) {
		w.begin(t)
		w.settled(t)
		told := len(w.events)
		next := w.tick(t).Next
		v := w.people(w.key().secret)
		result := w.tick(t)
		want(t, "outcome", result.Outcome, rotation.NotDue)
		want(t, "when the next is due", result.Next, next)
		want(t, "events", len(w.events), told)
		want(t, "version", w.status(t.Context()).Current.Version, v.id)
	})
}

func TestTheSameKeyStoredAgainInTheGraceChangesNothing(t *testing.T) {
	play(t, kindOf(shownOnce), func(t *testing.T, w *world) {
		w.begin(t)
		v := w.people(w.key().secret)
		w.previous = "v0"
		time.Sleep(grace)
		w.settled(t)
		want(t, "current version", w.current, v.id)
		want(t, "the old key is ended", w.byID("key-1").revoked, true)
		want(t, "rotations told", len(w.of(audit.TokenRotatedType)), 1)
	})
}

func TestTheSameKeyStoredAgainWhileTheNextIsMadeIsNoStrangers(t *testing.T) {
	slow := kindOf(shownOnce)
	slow.slow = 12 * time.Minute
	play(t, slow, func(t *testing.T, w *world) {
		w.due()
		w.until(t, rotation.Verifying)
		v := w.people(w.key().secret)
		w.settled(t)
		want(t, "key in use", w.key().id, "key-2")
		want(t, "version of the old key", w.latest(t, audit.TokenRotatedType).Old.Version, v.id)
		want(t, "events", w.types(), "rotated revoked revoked")
	})
}

func TestAStrangersKeyIsReplacedByTheOneThatIsBeingMadeAndTold(t *testing.T) {
	slow := kindOf(shownOnce)
	slow.slow = 12 * time.Minute
	play(t, slow, func(t *testing.T, w *world) {
		w.due()
		w.until(t, rotation.Verifying)
		theirs := w.strange()
		v := w.people(theirs.secret)
		w.until(t, rotation.Grace)
		want(t, "key in use", w.key().id, "key-2")
		if task := w.latest(t, audit.OperatorDueType).Task; !strings.Contains(task, "somebody else has stored") {
			t.Errorf("the task is %q", task)
		}
		// The way back does not lead to what is none of the rotation's.
		w.back(t)
		w.tick(t)
		want(t, "key in use", w.key().id, "key-1")
		w.settled(t)
		want(t, "key in use", w.key().id, "key-1")
		want(t, "their key works", theirs.works(), true)
		want(t, "our new key works", w.byID("key-2").works(), false)
		want(t, "their version is there", w.version(v.id) != nil, false)
		want(t, "tasks", len(w.of(audit.OperatorDueType)), 1)
	})
}

func TestAStagedKeyThatSomebodyHasMadeCurrentIsTheRotations(t *testing.T) {
	slow := kindOf(shownOnce)
	slow.slow = 12 * time.Minute
	play(t, slow, func(t *testing.T, w *world) {
		w.due()
		w.until(t, rotation.Verifying)
		w.rush = true // callers may be without a key: whoever does this wants it so
		w.current, w.previous, w.staged = w.staged, w.current, ""
		w.promotions++
		w.settled(t)
		want(t, "key in use", w.key().id, "key-2")
		want(t, "the old key works", w.byID("key-1").works(), false)
		want(t, "events", w.types(), "rotated revoked revoked")
	})
}

func TestTheOldKeyMadeCurrentByHandIsKept(t *testing.T) {
	for _, phase := range []rotation.Phase{rotation.Grace, rotation.Soaking} {
		t.Run(string(phase), func(t *testing.T) {
			play(t, kindOf(shownOnce), func(t *testing.T, w *world) {
				w.begin(t)
				if phase == rotation.Soaking {
					time.Sleep(grace)
					w.until(t, rotation.Soaking)
				}
				// Back by the store's own means, while the key is disabled perhaps.
				w.rush = true
				w.current, w.previous = w.previous, w.current
				time.Sleep(grace)
				result := w.tick(t)
				want(t, "phase", result.Phase, rotation.Grace)
				want(t, "the old key works", w.byID("key-1").works(), true)
				told := w.latest(t, audit.TokenRotatedType)
				want(t, "reason", told.Reason, audit.ReasonDrift)
				want(t, "new key", told.New.ID, "key-1")
				time.Sleep(grace)
				w.settled(t)
				want(t, "key in use", w.key().id, "key-1")
				want(t, "keys that work", len(w.usable()), 1)
			})
		})
	}
}

func TestAnOldKeyMadeCurrentWhileItWasBeingEndedIsAKeyLikeOthersAfterwards(t *testing.T) {
	play(t, kindOf(twoSlots), func(t *testing.T, w *world) {
		w.begin(t)
		time.Sleep(grace)
		_, _ = w.run(t.Context(), failing("revoke"))
		w.current, w.previous = w.previous, w.current
		time.Sleep(tick)
		w.tick(t)
		want(t, "reason", w.latest(t, audit.TokenRotatedType).Reason, audit.ReasonDrift)
		w.settled(t)
		if err := w.job().Force(t.Context(), request()); err != nil {
			t.Fatal(err)
		}
		w.tick(t)
		w.back(t)
	})
}

func TestWhatFrozenFunctionsLeaveInTheStoreGoesAtRest(t *testing.T) {
	play(t, kindOf(shownOnce), func(t *testing.T, w *world) {
		w.begin(t)
		w.settled(t)
		for range 2 {
			w.due()
			w.until(t, rotation.Grace)
			w.settled(t)
		}
		first := w.versions[1].cycle // three rotations ago
		w.pend("late").cycle = first
		w.versions = append(w.versions, &version{id: w.nextID(), cycle: first, text: "late"})
		w.previous = w.versions[len(w.versions)-1].id
		w.tick(t)
		want(t, "staged", w.staged, "")
		want(t, "previous", w.previous, "")
		// What is somebody else's stays.
		w.versions = append(w.versions, &version{id: w.nextID(), text: "theirs"})
		w.previous = w.versions[len(w.versions)-1].id
		staged := w.pend("theirs")
		w.tick(t)
		want(t, "staged", w.staged, staged.id)
		if w.previous == "" {
			t.Error("somebody else's previous version has gone")
		}
	})
}

func TestAKeyWhoseVersionHasLostItsPlaceIsReplacedByAnother(t *testing.T) {
	slow := kindOf(shownOnce)
	slow.slow = 12 * time.Minute
	play(t, slow, func(t *testing.T, w *world) {
		w.due()
		w.until(t, rotation.Verifying)
		w.staged = "" // the version is there, and nowhere
		w.settled(t)
		want(t, "key in use", w.key().id, "key-3")
		want(t, "keys that work", len(w.usable()), 1)
		want(t, "failures", len(w.of(audit.RotationFailedType)), 4)
	})
}

func TestAPersonsKeyIsNotTakenForALostOneByItsAge(t *testing.T) {
	play(t, kindOf(unnamed), func(t *testing.T, w *world) {
		w.due()
		_, _ = w.run(t.Context(), func(call string) fault {
			if call == "create" {
				return losesReply
			}
			return none
		})
		w.rush = true
		w.byID("key-1").revoked = true // there is room for two
		theirs := w.strange()
		w.people(theirs.secret)
		time.Sleep(tick)
		_, _ = w.run(t.Context(), nil)
		want(t, "the lost key works", w.byID("key-2").works(), false)
		want(t, "their key works", theirs.works(), true)
	})
}

func TestAStrangersKeyThatIsMadeCurrentAgainIsNotDropped(t *testing.T) {
	slow := kindOf(unnamed)
	slow.slow, slow.traits.MaxLive = 12*time.Minute, 0
	play(t, slow, func(t *testing.T, w *world) {
		w.strict = true
		w.due()
		w.until(t, rotation.Verifying)
		theirs := w.strange()
		v := w.people(theirs.secret)
		w.until(t, rotation.Grace)
		w.current, w.previous = v.id, w.current
		time.Sleep(grace)
		w.until(t, rotation.Soaking)
		time.Sleep(grace)
		w.tick(t)
		want(t, "phase", w.status(t.Context()).Phase, rotation.Grace)
		want(t, "reason", w.latest(t, audit.TokenRotatedType).Reason, audit.ReasonDrift)
		want(t, "key in use", w.key(), theirs)
	})
}

func TestAnUnknownKeyInTheGraceKeepsTheOldOne(t *testing.T) {
	play(t, kindOf(shownOnce), func(t *testing.T, w *world) {
		w.begin(t)
		ours := w.current
		w.people(w.strange().secret)
		time.Sleep(grace)
		w.fails(t, "roll back, or make the rotation's version current again")
		want(t, "class", w.latest(t, audit.RotationFailedType).Class, audit.FailureConflict)
		want(t, "the old key works", w.byID("key-1").works(), true)
		// Somebody does the one.
		w.current, w.previous = ours, "v0"
		time.Sleep(tick)
		w.settled(t)
		want(t, "the old key works", w.byID("key-1").works(), false)
		want(t, "key in use", w.key().id, "key-2")
	})
}

func TestAnIssuerThatKnowsTheKeyLetsTheGraceEnd(t *testing.T) {
	play(t, kindOf(unnamed), func(t *testing.T, w *world) {
		w.begin(t)
		theirs := w.strange()
		w.people(theirs.secret)
		time.Sleep(grace)
		w.until(t, rotation.Soaking)
		w.settled(t)
		want(t, "key in use", w.key(), theirs)
		want(t, "the old key works", w.byID("key-1").works(), false)
		want(t, "our key works", w.byID("key-2").works(), false)
	})
}

func TestAnEmergencyDoesNotWaitForAnUnknownKeyToBeExplained(t *testing.T) {
	play(t, kindOf(shownOnce), func(t *testing.T, w *world) {
		w.begin(t)
		theirs := w.strange()
		w.people(theirs.secret)
		w.alarm(t, request())
		w.settled(t)
		want(t, "keys that work", len(w.usable()), 2)
		want(t, "theirs works", theirs.works(), true)
		want(t, "key in use", w.key().id, "key-4")
	})
}

func TestSomebodyElsesStagedVersionIsLeftAlone(t *testing.T) {
	play(t, kindOf(shownOnce), func(t *testing.T, w *world) {
		w.tick(t)
		v := w.pend("somebody's own")
		w.due()
		before := w.writes
		w.fails(t, "a version that somebody else has staged is in the way: promote it or remove it")
		want(t, "effects", w.writes, before)
		want(t, "it is still staged", w.staged, v.id)
		told := w.latest(t, audit.RotationFailedType)
		want(t, "step", told.Step, audit.StepStage)
		want(t, "class", told.Class, audit.FailureConflict)
		// It is promoted, which is a key that somebody else has made current.
		v.text = w.strange().secret
		w.current, w.previous, w.staged = v.id, w.current, ""
		time.Sleep(tick)
		w.tick(t)
		want(t, "phase", w.status(t.Context()).Phase, rotation.Grace)
		want(t, "reason", w.latest(t, audit.TokenRotatedType).Reason, audit.ReasonDrift)
	})
}

func TestAStagedVersionInTheWayDoesNotMatterUntilAKeyIsDue(t *testing.T) {
	play(t, kindOf(shownOnce), func(t *testing.T, w *world) {
		w.pend("somebody's own")
		want(t, "outcome", w.tick(t).Outcome, rotation.NotDue)
	})
}

func TestASecretThatHasLostItsCurrentVersionIsAFailure(t *testing.T) {
	play(t, kindOf(shownOnce), func(t *testing.T, w *world) {
		w.tick(t)
		w.current = ""
		w.fails(t, "the secret has no current version any more")
		want(t, "class", w.latest(t, audit.RotationFailedType).Class, audit.FailureNotFound)
	})
}
