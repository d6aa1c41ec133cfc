package rotation_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/postern-ai/postern/shared/audit"
	"github.com/postern-ai/postern/shared/rotation"
)

// alarm asks for an emergency. From then on callers may be without a key for a while.
func (w *world) alarm(t *testing.T, request rotation.Request) {
	t.Helper()
	if err := w.job().Emergency(t.Context(), request); err != nil {
		t.Fatal(err)
	}
	w.emergency = true
}

func TestAnEmergencyReplacesAndEndsTheKeyInOneRun(t *testing.T) {
	each(t, func(t *testing.T, k kind) {
		if k.slow > 0 {
			t.Skip("a key that is not known yet takes more than one run")
		}
		scene(t, k, func(t *testing.T, w *world) {
			w.tick(t)
			old := w.key().secret
			w.alarm(t, request())
			want(t, "outcome", w.tick(t).Outcome, rotation.Rotated)
			want(t, "phase", w.status(t.Context()).Phase, rotation.Idle)
			if w.key().secret == old || w.bySecret(old).works() {
				t.Error("the old key still works")
			}
			told := w.latest(t, audit.TokenRotatedType)
			want(t, "reason", told.Reason, audit.ReasonCompromise)
			want(t, "overlap", told.Overlap, 0)
			want(t, "actor", told.Actor.Name, request().Actor)
		})
	})
}

func TestAnEmergencyInTheGraceEndsBothKeys(t *testing.T) {
	play(t, kindOf(shownOnce), func(t *testing.T, w *world) {
		w.begin(t)
		w.alarm(t, request())
		w.tick(t)
		want(t, "phase", w.status(t.Context()).Phase, rotation.Idle)
		want(t, "promotions", w.promotions, 2)
		want(t, "key in use", w.key().id, "key-3")
		want(t, "keys that work", len(w.usable()), 1)
		want(t, "outcome", w.tick(t).Outcome, rotation.NotDue)
	})
}

func TestAnEmergencyWhileAKeyIsDisabledEndsIt(t *testing.T) {
	play(t, kindOf(shownOnce), func(t *testing.T, w *world) {
		w.begin(t)
		time.Sleep(grace)
		w.until(t, rotation.Soaking)
		w.alarm(t, request())
		w.tick(t)
		want(t, "the first key is ended", w.byID("key-1").revoked, true)
		want(t, "key in use", w.key().id, "key-3")
	})
}

func TestAnEmergencyDoesNotThrowAwayTheKeyThatIsBeingMade(t *testing.T) {
	slow := kindOf(shownOnce)
	slow.slow = 12 * time.Minute
	for _, phase := range []rotation.Phase{rotation.Creating, rotation.Verifying} {
		t.Run(string(phase), func(t *testing.T) {
			play(t, slow, func(t *testing.T, w *world) {
				w.due()
				faults := map[rotation.Phase]string{rotation.Creating: "create", rotation.Verifying: "verify"}
				_, _ = w.run(t.Context(), failing(faults[phase]))
				want(t, "phase", w.status(t.Context()).Phase, phase)
				w.alarm(t, request())
				w.alarm(t, request()) // and once more, which is the same wish
				w.settled(t)
				want(t, "key in use", w.key().id, "key-2")
				want(t, "promotions", w.promotions, 1)
				want(t, "reason", w.latest(t, audit.TokenRotatedType).Reason, audit.ReasonCompromise)
				want(t, "overlap", w.latest(t, audit.TokenRotatedType).Overlap, 0)
			})
		})
	}
}

func TestAnEmergencyMayDisableTheKeyFirst(t *testing.T) {
	play(t, kindOf(shownOnce), func(t *testing.T, w *world) {
		w.tick(t)
		asked := request()
		asked.DisableFirst = true
		w.alarm(t, asked)
		_, _ = w.run(t.Context(), failing("create"))
		want(t, "the key is disabled", w.byID("key-1").disabled, true)
		want(t, "how it ended", w.latest(t, audit.KeyRevokedType).How, audit.EndingDeactivated)
		w.settled(t)
		want(t, "keys that work", len(w.usable()), 1)
		want(t, "the key is ended", w.byID("key-1").revoked, true)
	})
}

func TestAKeyIsDisabledFirstAlsoWhenTheNextOneIsStagedAlready(t *testing.T) {
	slow := kindOf(shownOnce)
	slow.slow = 12 * time.Minute
	play(t, slow, func(t *testing.T, w *world) {
		w.due()
		w.until(t, rotation.Verifying)
		asked := request()
		asked.DisableFirst = true
		w.alarm(t, asked)
		w.tick(t)
		want(t, "phase", w.status(t.Context()).Phase, rotation.Verifying)
		want(t, "the key is disabled", w.byID("key-1").disabled, true)
		w.settled(t)
	})
}

func TestAKeyIsNotDisabledFirstWhereThatCannotBeDone(t *testing.T) {
	play(t, kindOf(twoSlots), func(t *testing.T, w *world) {
		asked := request()
		asked.DisableFirst = true
		err := w.job().Emergency(t.Context(), asked)
		if !errors.Is(err, rotation.ErrNotPossible) || !strings.Contains(err.Error(), "ask for the emergency alone") {
			t.Errorf("got %v", err)
		}
		want(t, "requested", w.status(t.Context()).Requested, "")
	})
}

func TestARefusalToDisableDoesNotHoldTheNextKeyUp(t *testing.T) {
	keeping := kindOf(shownOnce)
	keeping.keeps = true
	play(t, keeping, func(t *testing.T, w *world) {
		w.tick(t)
		asked := request()
		asked.DisableFirst = true
		w.alarm(t, asked)
		w.fails(t, "people end these keys")
		time.Sleep(tick)
		_, _ = w.run(t.Context(), nil)
		want(t, "key in use", w.key().id, "key-2")
	})
}

func TestAnEmergencyEndsAPause(t *testing.T) {
	play(t, kindOf(shownOnce), func(t *testing.T, w *world) {
		w.begin(t)
		if err := w.job().Pause(t.Context(), request()); err != nil {
			t.Fatal(err)
		}
		w.alarm(t, request())
		w.tick(t)
		want(t, "key in use", w.key().id, "key-3")
		want(t, "paused", w.status(t.Context()).Paused, false)
	})
}

func TestAnEmergencyDoesNotWaitForTheBus(t *testing.T) {
	for name, before := range map[string]func(*testing.T, *world){
		"at rest":      func(t *testing.T, w *world) { w.tick(t) },
		"in the grace": func(t *testing.T, w *world) { w.begin(t) },
		"with events that wait": func(t *testing.T, w *world) {
			w.tick(t)
			_, _ = w.run(t.Context(), failing("inspect", "publish"))
			if w.status(t.Context()).Unpublished == 0 {
				t.Fatal("nothing waits")
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			play(t, kindOf(shownOnce), func(t *testing.T, w *world) {
				before(t, w)
				w.alarm(t, request())
				_, err := w.run(t.Context(), failing("publish"))
				if err == nil || !strings.Contains(err.Error(), "the bus has not accepted") {
					t.Errorf("got %v", err)
				}
				want(t, "phase", w.status(t.Context()).Phase, rotation.Idle)
				want(t, "keys that work", len(w.usable()), 1)
				want(t, "the first key is ended", w.byID("key-1").revoked, true)
				if w.status(t.Context()).Oldest.IsZero() {
					t.Error("nothing is in the outbox")
				}
				w.tick(t)
				want(t, "unpublished", w.status(t.Context()).Unpublished, 0)
				want(t, "reason", w.latest(t, audit.TokenRotatedType).Reason, audit.ReasonCompromise)
			})
		})
	}
}

func TestAnEmergencyIsTriedOftenAndItsOutboxHasAnEnd(t *testing.T) {
	play(t, kindOf(shownOnce), func(t *testing.T, w *world) {
		w.tick(t)
		w.alarm(t, request())
		begin := time.Now()
		for w.status(t.Context()).Failures < 30 && time.Since(begin) < 12*time.Hour {
			_, _ = w.run(t.Context(), failing("create", "publish"))
			time.Sleep(tick)
		}
		if took := time.Since(begin); took > 4*time.Hour {
			t.Errorf("30 attempts took %v", took)
		}
		want(t, "it has stopped", w.status(t.Context()).Orphaned, false)
		if n := w.status(t.Context()).Unpublished; n > 20 {
			t.Errorf("%d events wait", n)
		}
		w.settled(t)
		want(t, "keys that work", len(w.usable()), 1)
	})
}

func TestInAnEmergencyARejectedKeyDoesNotHoldTheNextOneUp(t *testing.T) {
	for name, old := range map[string]bool{"and the old one works": false, "and so is the old one": true} {
		t.Run(name, func(t *testing.T) {
			play(t, kindOf(shownOnce), func(t *testing.T, w *world) {
				w.begin(t)
				w.key().rejected = true // its service has found it on a public page
				w.byID("key-1").rejected = old
				w.alarm(t, request())
				w.settled(t)
				want(t, "key in use", w.key().id, "key-3")
				want(t, "keys that work", len(w.usable()), 1)
			})
		})
	}
}

func TestAnEmergencyTakesThePlaceOfARollback(t *testing.T) {
	play(t, kindOf(shownOnce), func(t *testing.T, w *world) {
		w.begin(t)
		if err := w.job().Rollback(t.Context(), request()); err != nil {
			t.Fatal(err)
		}
		w.alarm(t, request())
		w.settled(t)
		want(t, "key in use", w.key().id, "key-3")
		want(t, "promotions", w.promotions, 2)
		want(t, "keys that work", len(w.usable()), 1)
		if err := w.job().Rollback(t.Context(), request()); !errors.Is(err, rotation.ErrNotPossible) {
			t.Errorf("got %v", err)
		}
	})
}

func TestAnEmergencyAndAWayBackTakeUpARotationThatHasStopped(t *testing.T) {
	for name, test := range map[string]struct {
		ask  func(t *testing.T, w *world)
		want string
	}{
		"an emergency": {func(t *testing.T, w *world) { w.alarm(t, request()) }, "key-3"},
		"a way back":   {func(t *testing.T, w *world) { w.back(t) }, "key-1"},
	} {
		t.Run(name, func(t *testing.T) {
			play(t, kindOf(shownOnce), func(t *testing.T, w *world) {
				w.begin(t)
				for range 30 {
					_, _ = w.run(t.Context(), failing("disable"))
					time.Sleep(time.Hour)
				}
				want(t, "it has stopped", w.status(t.Context()).Orphaned, true)
				test.ask(t, w)
				w.settled(t)
				want(t, "it has stopped", w.status(t.Context()).Orphaned, false)
				want(t, "key in use", w.key().id, test.want)
				want(t, "keys that work", len(w.usable()), 1)
			})
		})
	}
}
