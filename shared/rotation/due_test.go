package rotation_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/postern-ai/postern/shared/audit"
	"github.com/postern-ai/postern/shared/rotation"
)

func TestAFreshKeyIsNotRenewedByTheFirstRun(t *testing.T) {
	each(t, func(t *testing.T, k kind) {
		scene(t, k, func(t *testing.T, w *world) {
			result := w.tick(t)
			want(t, "outcome", result.Outcome, rotation.NotDue)
			want(t, "effects", w.writes, 0)
			if left := time.Until(result.Next); left > every || left < every-every/10 {
				t.Errorf("the next one is due in %v", left)
			}
			// However often it runs, nothing happens before.
			time.Sleep(time.Until(result.Next) - 2*time.Minute)
			want(t, "outcome", w.tick(t).Outcome, rotation.NotDue)
			want(t, "effects", w.writes, 0)
		})
	})
}

func TestAnOldKeyIsRenewedByTheFirstRun(t *testing.T) {
	play(t, kindOf(shownOnce), func(t *testing.T, w *world) {
		w.due()
		want(t, "outcome", w.tick(t).Outcome, rotation.Rotated)
		want(t, "reason", w.latest(t, audit.TokenRotatedType).Reason, audit.ReasonScheduled)
	})
}

// TestASecretWithoutAKeyGetsItsFirstOne begins with a secret that was made and nothing put into it.
func TestASecretWithoutAKeyGetsItsFirstOne(t *testing.T) {
	t.Parallel()
	for _, name := range []string{shownOnce, unnamed, readable} {
		t.Run(name, func(t *testing.T) {
			scene(t, kindOf(name), func(t *testing.T, w *world) {
				w.versions, w.current = nil, ""
				if outcome := w.tick(t).Outcome; outcome != rotation.Rotated && outcome != rotation.Pending {
					t.Errorf("the first run is %s", outcome)
				}
				w.settled(t)
				current := w.version(w.current)
				if current == nil || !w.bySecret(current.text).works() {
					t.Fatal("there is no key that works")
				}
				want(t, "the phase", w.status(t.Context()).Phase, rotation.Idle)
				if e := w.latest(t, audit.TokenRotatedType); e.Reason == "" {
					t.Errorf("the event says %+v", e)
				}
			})
		})
	}
}

func TestAScheduleWhoseTicksComeEarlyLosesNone(t *testing.T) {
	play(t, kindOf(shownOnce), func(t *testing.T, w *world) {
		next := w.tick(t).Next
		time.Sleep(time.Until(next) - 61*time.Second)
		want(t, "61 s before", w.tick(t).Outcome, rotation.NotDue)
		time.Sleep(2 * time.Second)
		want(t, "59 s before", w.tick(t).Outcome, rotation.Rotated)
	})
}

func TestWhenAKeyIsDueIsSpreadAndStable(t *testing.T) {
	t.Parallel()
	seen := map[time.Duration]bool{}
	for i := range 20 {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			scene(t, kindOf(shownOnce), func(t *testing.T, w *world) {
				first := w.tick(t).Next
				time.Sleep(every / 3)
				want(t, "when it is due", w.tick(t).Next, first)
				early := every - first.Sub(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC))
				if early < 0 || early >= every/10 {
					t.Errorf("it is due %v early", early)
				}
				seen[early] = true
			})
		})
	}
	if len(seen) < 15 {
		t.Errorf("20 keys are due at %d times", len(seen))
	}
}

func TestAKeyThatEndsByItselfIsRenewedBefore(t *testing.T) {
	play(t, kindOf(shownOnce), func(t *testing.T, w *world) {
		w.begin(t)
		w.settled(t)
		expires := w.status(t.Context()).Current.Expires
		if expires.IsZero() {
			t.Fatal("the key does not end by itself")
		}
		// From now on keys are renewed once in a while only, which is after the end.
		w.tune = func(job *rotation.Job) { job.Credentials[0].Every = 10 * every }
		next := w.tick(t).Next
		if left := expires.Sub(next); left < every/4 || left > every {
			t.Errorf("it is due %v before its end", left)
		}
		time.Sleep(time.Until(next))
		want(t, "outcome", w.tick(t).Outcome, rotation.Rotated)
		want(t, "reason", w.latest(t, audit.TokenRotatedType).Reason, audit.ReasonPreExpiry)
	})
}

func TestAKeyThatHasEndedByItselfIsRenewedAtOnce(t *testing.T) {
	play(t, kindOf(shownOnce), func(t *testing.T, w *world) {
		w.begin(t)
		w.settled(t)
		w.tune = func(job *rotation.Job) { job.Credentials[0].Every = 100 * every }
		time.Sleep(5 * every)
		w.key().rejected = true // it has ended
		want(t, "outcome", w.tick(t).Outcome, rotation.Rotated)
		want(t, "key in use", w.key().id, "key-3")
	})
}

func TestAnEmptySecretGetsItsFirstKey(t *testing.T) {
	for _, name := range []string{shownOnce, unnamed, chosen, readable} {
		t.Run(name, func(t *testing.T) {
			play(t, kindOf(name), func(t *testing.T, w *world) {
				w.keys, w.versions, w.current = nil, nil, ""
				want(t, "outcome", w.tick(t).Outcome, rotation.Rotated)
				want(t, "phase", w.status(t.Context()).Phase, rotation.Idle)
				want(t, "it works", w.key().works(), true)
				want(t, "events", w.types(), "rotated")
				told := w.latest(t, audit.TokenRotatedType)
				want(t, "key before", told.Old, audit.Key{})
				want(t, "new key", told.New.ID, w.key().id)
				want(t, "outcome", w.tick(t).Outcome, rotation.NotDue)
			})
		})
	}
}

func TestTheFirstKeyOfAFieldIsAddedToTheSecret(t *testing.T) {
	play(t, kindOf("one field of a secret, known to the service after a while"), func(t *testing.T, w *world) {
		w.begin(t)
		if got := w.version(w.current).text; !strings.Contains(got, `"other":"kept-`) || !strings.Contains(got, `"key":"`+w.key().secret+`"`) {
			t.Errorf("the secret is %s", got)
		}
	})
}

func TestAKeyThatIsNotTheRotationsIsNeverEnded(t *testing.T) {
	play(t, kindOf(shownOnce), func(t *testing.T, w *world) {
		w.tune = func(job *rotation.Job) { job.Credentials[0].InitialKey = "" }
		w.begin(t)
		w.settled(t)
		want(t, "the key works", w.byID("key-1").works(), true)
		want(t, "events", w.types(), "rotated operator_due")
		if task := w.latest(t, audit.OperatorDueType).Task; !strings.Contains(task, "revoke the key that was in use before") {
			t.Errorf("the task is %q", task)
		}
		if w.version("v0") != nil {
			t.Error("its version is still there")
		}
		// The next one is the rotation's own.
		w.due()
		w.until(t, rotation.Grace)
		w.settled(t)
		want(t, "the second key is ended", w.byID("key-2").revoked, true)
		want(t, "events", w.types(), "rotated operator_due rotated revoked revoked")
	})
}

func TestAnIssuerThatKnowsTheKeyTellsTheOperatorWhichItIs(t *testing.T) {
	play(t, kindOf(unnamed), func(t *testing.T, w *world) {
		w.tune = func(job *rotation.Job) { job.Credentials[0].InitialKey = "" }
		w.begin(t)
		w.settled(t)
		want(t, "the key works", w.byID("key-1").works(), true)
		if task := w.latest(t, audit.OperatorDueType).Task; !strings.Contains(task, "key-1") {
			t.Errorf("the task is %q", task)
		}
	})
}

func TestTheInitialKeyIsHandedOver(t *testing.T) {
	play(t, kindOf(shownOnce), func(t *testing.T, w *world) {
		w.begin(t)
		w.settled(t)
		want(t, "the key is ended", w.byID("key-1").revoked, true)
		want(t, "events", w.types(), "rotated revoked revoked")
		want(t, "how", w.latest(t, audit.KeyRevokedType).How, audit.EndingDeleted)
	})
}

func TestAStoredKeyThatIsNoSlotIsRefused(t *testing.T) {
	play(t, kindOf(twoSlots), func(t *testing.T, w *world) {
		w.versions[0].text = "no key of this account"
		w.tune = func(job *rotation.Job) { job.Credentials[0].InitialKey = "" }
		w.broken = nil
		f := &function{world: w, unchecked: true}
		_, err := f.job().Run(t.Context())
		if err == nil || !strings.Contains(err.Error(), "none of the owner's two: store one of them") {
			t.Errorf("got %v", err)
		}
		want(t, "effects", w.writes, 0)
	})
}

func TestAYearOfRotationsLeavesOneKeyAndOneChain(t *testing.T) {
	for _, name := range []string{shownOnce, twoSlots, inPlace} {
		t.Run(name, func(t *testing.T) {
			play(t, kindOf(name), func(t *testing.T, w *world) {
				start := time.Now()
				// Every third event is delivered twice.
				for time.Since(start) < 365*24*time.Hour {
					published := len(w.events)
					w.tick(t)
					if len(w.events) > published && len(w.events)%3 == 0 {
						w.events = append(w.events, w.events[published:]...)
					}
					time.Sleep(12 * time.Hour)
				}
				if w.promotions < 12 || w.promotions > 14 {
					t.Errorf("there were %d rotations", w.promotions)
				}
				if name == shownOnce && len(w.usable()) > 2 {
					t.Errorf("%d keys work", len(w.usable()))
				}
				want(t, "rotations told", len(w.of(audit.TokenRotatedType)), w.promotions)
				want(t, "last cycle", w.latest(t, audit.TokenRotatedType).Cycle.No, w.promotions)
			})
		})
	}
}
