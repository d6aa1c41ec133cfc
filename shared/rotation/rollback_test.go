package rotation_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/postern-ai/postern/shared/audit"
	"github.com/postern-ai/postern/shared/rotation"
	"github.com/postern-ai/postern/shared/secrets"
)

func (w *world) back(t *testing.T) {
	t.Helper()
	if err := w.job().Rollback(t.Context(), request()); err != nil {
		t.Fatal(err)
	}
}

func TestTheOldKeyBecomesCurrentAgain(t *testing.T) {
	each(t, func(t *testing.T, k kind) {
		if k.traits.Overlap == rotation.InPlace {
			t.Skip("there is none")
		}
		scene(t, k, func(t *testing.T, w *world) {
			old := w.key().secret
			w.begin(t)
			next := w.key().secret
			w.back(t)
			want(t, "outcome", w.tick(t).Outcome, rotation.Rotated)
			want(t, "secret in use", w.key().secret, old)
			if w.bySecret(next) == nil {
				t.Fatal("the new key has ended at once")
			}
			told := w.latest(t, audit.TokenRotatedType)
			want(t, "reason", told.Reason, audit.ReasonRollback)
			want(t, "actor", told.Actor.Name, request().Actor)
			want(t, "overlap", told.Overlap, int64(grace/time.Second))
			want(t, "rotations told", len(w.of(audit.TokenRotatedType)), 2)
			time.Sleep(grace)
			w.settled(t)
			want(t, "secret in use", w.key().secret, old)
			if gone := w.bySecret(next); gone.works() {
				t.Error("the new key still works")
			}
		})
	})
}

func TestADisabledKeyIsEnabledOnTheWayBack(t *testing.T) {
	play(t, kindOf(shownOnce), func(t *testing.T, w *world) {
		w.begin(t)
		time.Sleep(grace)
		w.until(t, rotation.Soaking)
		want(t, "the old key is disabled", w.byID("key-1").disabled, true)
		w.back(t)
		w.tick(t)
		want(t, "key in use", w.key().id, "key-1")
		want(t, "it works", w.key().works(), true)
		w.settled(t)
		want(t, "the new key is ended", w.byID("key-2").revoked, true)
	})
}

func TestAKeyThatWasDisabledByAFunctionThatDiedIsEnabledOnTheWayBack(t *testing.T) {
	play(t, kindOf(shownOnce), func(t *testing.T, w *world) {
		w.begin(t)
		time.Sleep(grace)
		_, _ = w.run(t.Context(), func(call string) fault {
			if call == "disable" {
				return diesAfter
			}
			return none
		})
		want(t, "phase", w.status(t.Context()).Phase, rotation.Grace)
		want(t, "the old key is disabled", w.byID("key-1").disabled, true)
		time.Sleep(15 * time.Minute) // its lease
		w.back(t)
		w.tick(t)
		want(t, "key in use", w.key().id, "key-1")
		want(t, "it works", w.key().works(), true)
	})
}

func TestThereIsNoWayBackToAKeyThatHasEnded(t *testing.T) {
	for name, test := range map[string]struct {
		kind  string
		until func(t *testing.T, w *world)
		says  string
	}{
		"at rest":                     {shownOnce, func(t *testing.T, w *world) { w.tick(t) }, "it is idle"},
		"after the grace":             {shownOnce, func(t *testing.T, w *world) { w.begin(t); w.settled(t) }, "it is idle"},
		"when it ended with the next": {inPlace, func(t *testing.T, w *world) { w.due(); w.until(t, rotation.Idle) }, "it is idle"},
		"before there is a new one": {shownOnce, func(t *testing.T, w *world) {
			w.due()
			_, _ = w.run(t.Context(), failing("create"))
		}, "it is creating"},
		"after an emergency": {shownOnce, func(t *testing.T, w *world) {
			w.alarm(t, request())
			_, _ = w.run(t.Context(), failing("revoke"))
			want(t, "phase", w.status(t.Context()).Phase, rotation.Grace)
		}, "others may know it"},
		"while it is being ended": {twoSlots, func(t *testing.T, w *world) {
			w.begin(t)
			time.Sleep(grace)
			_, _ = w.run(t.Context(), failing("revoke"))
		}, "is being ended"},
		"when an emergency has been asked for": {shownOnce, func(t *testing.T, w *world) { w.begin(t); w.alarm(t, request()) }, "others may know it"},
	} {
		t.Run(name, func(t *testing.T) {
			play(t, kindOf(test.kind), func(t *testing.T, w *world) {
				test.until(t, w)
				if err := w.job().Rollback(t.Context(), request()); !errors.Is(err, rotation.ErrNotPossible) || !strings.Contains(err.Error(), test.says) {
					t.Errorf("got %v, want one that says %q", err, test.says)
				}
			})
		})
	}
}

func TestARollbackEndsAPause(t *testing.T) {
	play(t, kindOf(shownOnce), func(t *testing.T, w *world) {
		w.begin(t)
		if err := w.job().Pause(t.Context(), request()); err != nil {
			t.Fatal(err)
		}
		w.back(t)
		w.tick(t)
		want(t, "key in use", w.key().id, "key-1")
	})
}

func TestAWayBackThatLeadsNowhereIsGivenUp(t *testing.T) {
	for name, test := range map[string]struct {
		spoil func(w *world)
		says  string
	}{
		"the old key does not work any more": {func(w *world) { w.byID("key-1").revoked = true }, "not accepted"},
		"its version is gone":                {func(w *world) { w.version(w.previous).dropped = true }, "no such version"},
	} {
		t.Run(name, func(t *testing.T) {
			play(t, kindOf(shownOnce), func(t *testing.T, w *world) {
				w.begin(t)
				test.spoil(w)
				w.back(t)
				w.fails(t, test.says)
				w.settled(t)
				want(t, "key in use", w.key().id, "key-2")
				want(t, "promotions", w.promotions, 1)
				want(t, "keys that work", len(w.usable()), 1)
			})
		})
	}
}

func TestARollbackTakesThePlaceOfAStrangersKey(t *testing.T) {
	play(t, kindOf(shownOnce), func(t *testing.T, w *world) {
		w.begin(t)
		strangers := w.people(w.strange().secret)
		w.back(t)
		w.tick(t)
		want(t, "key in use", w.key().id, "key-1")
		if task := w.latest(t, audit.OperatorDueType).Task; !strings.Contains(task, "somebody else has stored") {
			t.Errorf("the task is %q", task)
		}
		w.settled(t)
		want(t, "the rotation's key is ended", w.byID("key-2").revoked, true)
		want(t, "the stranger's key is ended", w.byID("key-3").revoked, false)
		want(t, "the stranger's version is there", w.version(strangers.id) != nil, false)
	})
}

// The service turns against the new key while gateways live on the old one.
func TestAKeyThatIsRejectedGivesItsPlaceBack(t *testing.T) {
	for _, name := range []string{shownOnce, unnamed, twoSlots, chosen, readable} {
		t.Run(name, func(t *testing.T) {
			play(t, kindOf(name), func(t *testing.T, w *world) {
				old := w.key().secret
				w.begin(t)
				next := w.key()
				next.rejected = true
				time.Sleep(grace)
				for range 3 {
					w.fails(t, "the key in use does not prove itself, so the old one is kept")
					want(t, "secret in use", w.key().secret, next.secret)
					time.Sleep(6 * time.Minute)
				}
				want(t, "outcome", w.tick(t).Outcome, rotation.Rotated)
				want(t, "secret in use", w.key().secret, old)
				want(t, "reason", w.latest(t, audit.TokenRotatedType).Reason, audit.ReasonRollback)
				want(t, "actor", w.latest(t, audit.TokenRotatedType).Actor.Name, "")
				w.settled(t)
				want(t, "secret in use", w.key().secret, old)
				// The next rotation is as far away as after every other.
				if next := w.tick(t).Next; time.Until(next) < every/2 {
					t.Errorf("the next one is due at %v", next)
				}
			})
		})
	}
}

func TestAKeyKeepsItsPlaceUnlessTheOldOneIsBetter(t *testing.T) {
	for name, spoil := range map[string]func(*world){
		"both are rejected": func(w *world) { w.key().rejected, w.byID("key-1").rejected = true, true },
		"the service does not answer": func(w *world) {
			w.tune = func(job *rotation.Job) { job.Credentials[0].Verifier = silent{} }
		},
	} {
		t.Run(name, func(t *testing.T) {
			play(t, kindOf(shownOnce), func(t *testing.T, w *world) {
				w.begin(t)
				spoil(w)
				time.Sleep(grace)
				for range 30 {
					w.fails(t, "")
					time.Sleep(7 * time.Hour)
				}
				want(t, "it has stopped", w.status(t.Context()).Orphaned, true)
				want(t, "key in use", w.key().id, "key-2")
				want(t, "the old key is ended", w.byID("key-1").revoked || w.byID("key-1").disabled, false)
			})
		})
	}
}

func TestTroubleElsewhereDoesNotKeepARejectedKeyInItsPlace(t *testing.T) {
	play(t, kindOf(shownOnce), func(t *testing.T, w *world) {
		w.begin(t)
		w.key().rejected = true
		time.Sleep(grace)
		for i := range 7 {
			trouble := failing("value")
			if i%2 == 0 {
				trouble = nil
			}
			_, _ = w.run(t.Context(), trouble)
			time.Sleep(2 * time.Hour)
		}
		want(t, "key in use", w.key().id, "key-1")
	})
}

func TestARejectionIsForgottenWhenTheKeyWorksAgain(t *testing.T) {
	play(t, kindOf(shownOnce), func(t *testing.T, w *world) {
		w.begin(t)
		time.Sleep(grace)
		for range 5 {
			w.key().rejected = true
			w.fails(t, "does not prove itself")
			time.Sleep(6 * time.Hour)
			w.key().rejected = false
			_, _ = w.run(t.Context(), failing("disable"))
			time.Sleep(6 * time.Hour)
		}
		want(t, "key in use", w.key().id, "key-2")
	})
}

func TestThereIsNoWayBackToAKeyThatOthersMayKnow(t *testing.T) {
	play(t, kindOf(shownOnce), func(t *testing.T, w *world) {
		w.alarm(t, request())
		_, _ = w.run(t.Context(), func(call string) fault {
			if call == "inspect" && w.promotions > 0 {
				return throttled
			}
			return none
		})
		want(t, "phase", w.status(t.Context()).Phase, rotation.Grace)
		w.key().rejected = true
		for range 30 {
			time.Sleep(time.Hour)
			w.fails(t, "")
		}
		want(t, "it has stopped", w.status(t.Context()).Orphaned, true)
		want(t, "key in use", w.key().id, "key-2")
	})
}

func TestAWayBackThatHasBeenGoneIsNotGoneAgain(t *testing.T) {
	play(t, kindOf(shownOnce), func(t *testing.T, w *world) {
		w.begin(t)
		w.back(t)
		_, _ = w.run(t.Context(), func(call string) fault {
			if call == "promote" {
				return losesReply
			}
			return none
		})
		time.Sleep(tick)
		values := 0
		_, _ = w.run(t.Context(), func(call string) fault {
			if call == "value" {
				if values++; values == 2 { // that of the current version
					return throttled
				}
			}
			return none
		})
		time.Sleep(tick)
		w.settled(t)
		want(t, "key in use", w.key().id, "key-1")
		want(t, "promotions", w.promotions, 2)
		want(t, "versions", len(w.versions), 2)
	})
}

func TestThereIsNoWayBackToAKeyThatMayBeGone(t *testing.T) {
	play(t, kindOf(twoSlots), func(t *testing.T, w *world) {
		w.begin(t)
		next := w.key()
		time.Sleep(grace)
		_, _ = w.run(t.Context(), failing("revoke"))
		next.rejected = true
		for range 6 {
			time.Sleep(2 * time.Hour)
			w.fails(t, "does not prove itself")
		}
		want(t, "key in use", w.key(), next)
	})
}

// silent does not find out whether a key works.
type silent struct{}

func (silent) Verify(context.Context, secrets.Value) error {
	return &rotation.Error{Op: "verify", Reason: "no reply", Err: rotation.ErrUnanswered}
}

// ways are the ways back, by what leads there.
func ways() map[string]func(ctx context.Context, w *world) {
	grace := func(ctx context.Context, w *world) {
		w.due()
		for range 100 {
			if _, _ = w.run(ctx, nil); w.status(ctx).Phase == rotation.Grace {
				break
			}
			time.Sleep(tick)
		}
	}
	return map[string]func(context.Context, *world){
		"an operator goes back": func(ctx context.Context, w *world) {
			grace(ctx, w)
			if err := w.job().Rollback(ctx, request()); err != nil {
				w.violate("%v", err)
			}
		},
		"the new key is rejected": func(ctx context.Context, w *world) {
			grace(ctx, w)
			w.key().rejected = true
		},
	}
}

// wentBack is what is wrong at rest after a way back.
func wentBack(w *world) []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	wrong := append(slices.Clone(w.broken), w.told()...)
	add := func(format string, values ...any) { wrong = append(wrong, fmt.Sprintf(format, values...)) }
	first := w.versions[0]
	if current := w.version(w.current); current == nil || current.text != first.text || !w.bySecret(current.text).works() {
		add("the old key is not current, or does not work")
	}
	if w.promotions != 2 {
		add("there were %d promotions", w.promotions)
	}
	if w.version(w.staged) != nil || w.version(w.previous) != nil {
		add("a version is left: staged %q, previous %q", w.staged, w.previous)
	}
	if w.kind.traits.Overlap == rotation.Parallel && len(w.usable()) != 1 {
		add("%d keys are usable", len(w.usable()))
	}
	if n := len(w.of(audit.TokenRotatedType)); n != 2 {
		add("%d rotations were told", n)
	}
	return wrong
}

func TestEveryFaultOnTheWayBack(t *testing.T) {
	each(t, func(t *testing.T, k kind) {
		if k.traits.Overlap == rotation.InPlace {
			t.Skip("there is none")
		}
		for name, before := range ways() {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				s := schedule{kind: k, before: before, wrong: wentBack}
				s.singles(t, sample)
				s.pairs(t, max(1, random()/5))
			})
		}
	})
}

func TestEveryFaultInAnEmergency(t *testing.T) {
	each(t, func(t *testing.T, k kind) {
		alarm := func(ctx context.Context, w *world) {
			if err := w.job().Emergency(ctx, request()); err != nil {
				w.violate("%v", err)
			}
			w.emergency = true
		}
		for name, s := range map[string]schedule{
			"at rest": {kind: k, before: func(ctx context.Context, w *world) {
				_, _ = w.run(ctx, nil)
				alarm(ctx, w)
			}},
			"in the grace": {
				kind: k,
				before: func(ctx context.Context, w *world) {
					w.due()
					for range 100 {
						if _, _ = w.run(ctx, nil); w.promotions > 0 {
							break
						}
						time.Sleep(tick)
					}
					alarm(ctx, w)
				},
				through: func(ctx context.Context, w *world, faults func(string) fault) error {
					w.mu.Lock()
					w.promotions = 0
					w.mu.Unlock()
					_, err := w.rest(ctx, faults)
					return err
				},
				wrong: func(w *world) []string {
					// There were two rotations, of which the second is the emergency's.
					return slices.DeleteFunc(w.atRest(), func(wrong string) bool { return wrong == "2 rotations were told" })
				},
			},
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				s.singles(t, sample)
				s.pairs(t, max(1, random()/5))
			})
		}
	})
}
