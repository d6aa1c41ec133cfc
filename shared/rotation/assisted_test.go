package rotation_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/postern-ai/postern/shared/audit"
	"github.com/postern-ai/postern/shared/rotation"
)

// assisted are keys that people make.
func assisted() kind {
	return kind{name: "keys that people make", traits: rotation.Traits{Overlap: rotation.Parallel, Recovery: rotation.Assisted, Named: true}}
}

func TestAnOperatorIsAskedForAKeyAndRemindedOnceADay(t *testing.T) {
	play(t, assisted(), func(t *testing.T, w *world) {
		w.due()
		result := w.tick(t)
		want(t, "outcome", result.Outcome, rotation.Pending)
		want(t, "phase", result.Phase, rotation.Waiting)
		for range 24 * 3 {
			w.tick(t)
			time.Sleep(time.Hour)
		}
		due := w.of(audit.OperatorDueType)
		want(t, "reminders in three days", len(due), 3)
		for i, e := range due {
			if task := factsOf(e).Task; !strings.Contains(task, "make a new key at the provider and stage it") {
				t.Errorf("the task is %q", task)
			}
			if i > 0 && e.Time.Sub(due[i-1].Time) < 24*time.Hour {
				t.Errorf("reminded at %v and %v", due[i-1].Time, e.Time)
			}
		}
		want(t, "events", w.types(), "operator_due operator_due operator_due")
	})
}

func TestAKeyThatAnOperatorHasStagedIsUsed(t *testing.T) {
	play(t, assisted(), func(t *testing.T, w *world) {
		w.due()
		w.tick(t)
		made := w.strange()
		w.pend(made.secret)
		want(t, "outcome", w.tick(t).Outcome, rotation.Rotated)
		want(t, "key in use", w.key(), made)
		time.Sleep(grace)
		w.settled(t)
		want(t, "the old key is ended", w.byID("key-1").revoked, true)
		want(t, "events", w.types(), "operator_due rotated revoked revoked")
		want(t, "outcome", w.tick(t).Outcome, rotation.NotDue)
	})
}

func TestAKeyThatIsStagedBeforeItIsDueIsUsedWhenItIs(t *testing.T) {
	play(t, assisted(), func(t *testing.T, w *world) {
		made := w.strange()
		w.pend(made.secret)
		w.tick(t)
		want(t, "key in use", w.key().id, "key-1")
		w.due()
		want(t, "outcome", w.tick(t).Outcome, rotation.Rotated)
		want(t, "key in use", w.key(), made)
	})
}

func TestTheKeyInUseStagedAgainIsNoNewOne(t *testing.T) {
	play(t, assisted(), func(t *testing.T, w *world) {
		w.due()
		w.pend(w.key().secret)
		result := w.tick(t)
		want(t, "phase", result.Phase, rotation.Waiting)
		if task := w.latest(t, audit.OperatorDueType).Task; !strings.Contains(task, "the staged key is the one in use: stage a new one") || result.Detail != task {
			t.Errorf("the task is %q, and the detail %q", task, result.Detail)
		}
	})
}

func TestAStagedKeyThatIsRejectedIsAskedForAgain(t *testing.T) {
	play(t, assisted(), func(t *testing.T, w *world) {
		w.due()
		w.tick(t)
		bad := w.strange()
		bad.rejected = true
		v := w.pend(bad.secret)
		w.tick(t)
		want(t, "phase", w.status(t.Context()).Phase, rotation.Verifying) // it may be new
		time.Sleep(31 * time.Minute)
		w.fails(t, "the key is not accepted")
		want(t, "phase", w.status(t.Context()).Phase, rotation.Waiting)
		want(t, "class", w.latest(t, audit.RotationFailedType).Class, audit.FailureKeyRejected)
		want(t, "its version is there", w.version(v.id) != nil, false)
		want(t, "a person's key is ended", bad.revoked, false)
		time.Sleep(tick)
		w.tick(t)
		want(t, "times asked", len(w.of(audit.OperatorDueType)), 2)
		good := w.strange()
		w.pend(good.secret).cycle = "5e9a2c34-1111-4222-8333-444455556667"
		w.tick(t)
		want(t, "key in use", w.key(), good)
		want(t, "phase", w.status(t.Context()).Phase, rotation.Grace)
	})
}

func TestAKeyThatTheProviderDoesNotEndIsLeftToTheOperator(t *testing.T) {
	keeping := assisted()
	keeping.keeps = true
	play(t, keeping, func(t *testing.T, w *world) {
		w.due()
		w.pend(w.strange().secret)
		w.until(t, rotation.Grace)
		time.Sleep(grace)
		w.settled(t)
		want(t, "the old key works", w.byID("key-1").works(), true)
		if task := w.latest(t, audit.OperatorDueType).Task; !strings.Contains(task, "revoke the key key-1") {
			t.Errorf("the task is %q", task)
		}
		want(t, "its version is there", w.version("v0") != nil, false)
		want(t, "tasks", len(w.of(audit.OperatorDueType)), 1)
		want(t, "failures", len(w.of(audit.RotationFailedType)), 0)
	})
}

func TestTheTaskIsToldOnceThoughTheStoreDoesNotLetTheVersionGo(t *testing.T) {
	keeping := assisted()
	keeping.keeps = true
	play(t, keeping, func(t *testing.T, w *world) {
		w.due()
		w.pend(w.strange().secret)
		w.until(t, rotation.Grace)
		time.Sleep(grace)
		for range 3 {
			if _, err := w.run(t.Context(), failing("drop")); err == nil {
				t.Fatal("the store has refused, and the run says nothing")
			}
			time.Sleep(time.Hour)
		}
		w.settled(t)
		want(t, "tasks", len(w.of(audit.OperatorDueType)), 1)
	})
}

// Not everybody stages: some replace the key as they always have.
func TestAKeyThatAnOperatorStoresAsCurrentIsUnderstood(t *testing.T) {
	play(t, assisted(), func(t *testing.T, w *world) {
		w.due()
		w.tick(t)
		made := w.strange()
		w.people(made.secret)
		w.tick(t)
		want(t, "phase", w.status(t.Context()).Phase, rotation.Grace)
		want(t, "reason", w.latest(t, audit.TokenRotatedType).Reason, audit.ReasonDrift)
		time.Sleep(grace)
		w.promotions++
		w.settled(t)
		want(t, "key in use", w.key(), made)
		want(t, "the old key is ended", w.byID("key-1").revoked, true)
		want(t, "times asked", len(w.of(audit.OperatorDueType)), 1)
	})
}

func TestTheFirstKeyOfAnEmptySecretMayBeStagedOrStored(t *testing.T) {
	for name, store := range map[string]func(*world, string) *version{"staged": (*world).pend, "stored": (*world).people} {
		t.Run(name, func(t *testing.T) {
			play(t, assisted(), func(t *testing.T, w *world) {
				w.keys, w.versions, w.current = nil, nil, ""
				w.tick(t)
				want(t, "phase", w.status(t.Context()).Phase, rotation.Waiting)
				store(w, w.strange().secret)
				w.tick(t)
				want(t, "phase", w.status(t.Context()).Phase, rotation.Idle)
				want(t, "outcome", w.tick(t).Outcome, rotation.NotDue)
				want(t, "it works", w.key().works(), true)
			})
		})
	}
}

func TestInAnEmergencyAKeyMayBeDisabledWhileTheOperatorMakesTheNext(t *testing.T) {
	for name, store := range map[string]func(*world, string) *version{"staged": (*world).pend, "stored": (*world).people} {
		t.Run(name, func(t *testing.T) {
			play(t, assisted(), func(t *testing.T, w *world) {
				w.tick(t)
				asked := request()
				asked.DisableFirst = true
				w.alarm(t, asked)
				w.tick(t)
				want(t, "phase", w.status(t.Context()).Phase, rotation.Waiting)
				want(t, "the key is disabled", w.byID("key-1").disabled, true)
				made := w.strange()
				store(w, made.secret)
				w.tick(t)
				w.tick(t)
				want(t, "key in use", w.key(), made)
				want(t, "the old key is ended", w.byID("key-1").revoked, true)
			})
		})
	}
}

func TestEveryFaultWhileAnOperatorHelps(t *testing.T) {
	t.Parallel()
	for name, keeps := range map[string]bool{"the provider ends keys": false, "people end keys": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			k := assisted()
			k.keeps = keeps
			s := schedule{
				kind: k,
				before: func(_ context.Context, w *world) {
					w.due()
					w.pend(w.strange().secret)
				},
				wrong: func(w *world) []string {
					return slices.DeleteFunc(w.atRest(), func(wrong string) bool {
						return keeps && (wrong == "2 keys are usable" || wrong == "the old key still works" || wrong == "no end of a key was told")
					})
				},
			}
			s.singles(t, sample)
			s.pairs(t, max(1, random()/5))
		})
	}
}
