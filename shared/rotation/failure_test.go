package rotation_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/postern-ai/postern/shared/audit"
	"github.com/postern-ai/postern/shared/rotation"
	"github.com/postern-ai/postern/shared/secrets"
)

func TestAStepThatFailsIsTriedAgainEverMoreSeldom(t *testing.T) {
	play(t, kindOf(shownOnce), func(t *testing.T, w *world) {
		w.due()
		begin := time.Now()
		var pauses []time.Duration
		last := begin
		for time.Since(begin) < 8*time.Hour {
			before := w.status(t.Context()).Failures
			_, _ = w.run(t.Context(), failing("create"))
			if w.status(t.Context()).Failures > before {
				pauses = append(pauses, time.Since(last).Round(time.Minute))
				last = time.Now()
			}
			time.Sleep(time.Minute)
		}
		minutes := []time.Duration{0, 1, 2, 4, 8, 16, 32, 64, 128}
		for i, pause := range pauses {
			want(t, "pause", pause, minutes[i]*time.Minute)
		}
		want(t, "failures", len(pauses), len(minutes))
		told := w.latest(t, audit.RotationFailedType)
		want(t, "step", told.Step, audit.StepCreate)
		want(t, "class", told.Class, audit.FailureThrottled)
		want(t, "failures told", len(w.of(audit.RotationFailedType)), len(minutes))
		// In between nothing is tried, and the run says what it waits for.
		result := w.tick(t)
		want(t, "outcome", result.Outcome, rotation.Pending)
		if !strings.Contains(result.Detail, "create: throttled") || !result.Next.Equal(told.Retry) {
			t.Errorf("got %+v", result)
		}
		// After a success the pauses begin anew.
		time.Sleep(time.Until(told.Retry))
		w.until(t, rotation.Grace)
		want(t, "failures", w.status(t.Context()).Failures, 0)
	})
}

func TestACycleOrdersFiveKeysAndEndsEachThatIsRejected(t *testing.T) {
	play(t, kindOf(shownOnce), func(t *testing.T, w *world) {
		w.due()
		w.tune = refusing
		for range 24 * 12 {
			_, _ = w.run(t.Context(), nil)
			if n := len(w.usable()); n > 2 {
				t.Fatalf("%d keys work", n)
			}
			time.Sleep(tick)
		}
		ofFirst := 0
		for _, k := range w.keys {
			if strings.Contains(k.name, "-openai-1-") {
				ofFirst++
			}
		}
		want(t, "keys of the first cycle", ofFirst, 5)
		want(t, "the key in use works", w.byID("key-1").works(), true)
	})
}

func TestAnIssuerThatAsksToWaitIsLeftAlone(t *testing.T) {
	play(t, kindOf(shownOnce), func(t *testing.T, w *world) {
		w.due()
		for asked, wait := range map[time.Duration]time.Duration{0: time.Minute, 40 * time.Minute: 40 * time.Minute, 48 * time.Hour: 6 * time.Hour} {
			if err := w.job().Resume(t.Context(), request()); err != nil {
				t.Fatal(err)
			}
			w.retryAfter = asked
			_, _ = w.run(t.Context(), failing("create"))
			told := w.latest(t, audit.RotationFailedType)
			want(t, "pause", time.Until(told.Retry), wait)
			want(t, "class", told.Class, audit.FailureThrottled)
		}
	})
}

func TestARotationThatGoesOnFailingStopsUntilSomebodyResumesIt(t *testing.T) {
	each(t, func(t *testing.T, k kind) {
		scene(t, k, func(t *testing.T, w *world) {
			w.due()
			old := w.key().secret
			begin := time.Now()
			for !w.status(t.Context()).Orphaned && time.Since(begin) < 3*24*time.Hour {
				_, _ = w.run(t.Context(), failing("create"))
				time.Sleep(tick)
			}
			if took := time.Since(begin); took < 8*time.Hour || took > 24*time.Hour {
				t.Errorf("it has stopped after %v", took)
			}
			told := w.latest(t, audit.OrphanedType)
			want(t, "failures", told.Failures, 10)
			want(t, "step", told.Step, audit.StepCreate)
			if last := w.latest(t, audit.RotationFailedType); !last.Retry.IsZero() {
				t.Errorf("it is said to be tried again at %v", last.Retry)
			}
			// Nothing more is done, every run says so, and the key goes on working.
			before, calls := w.writes, 0
			time.Sleep(30 * 24 * time.Hour)
			report, err := w.run(t.Context(), func(call string) fault {
				if !strings.HasPrefix(call, "ledger") {
					calls++
				}
				return none
			})
			if failed, ok := errors.AsType[*rotation.FailedError](err); !ok || len(failed.Errs) != 1 || !strings.Contains(err.Error(), "mend the cause, then resume it") {
				t.Errorf("got %v", err)
			}
			want(t, "outcome", report.Results[0].Outcome, rotation.Failed)
			want(t, "effects", w.writes, before)
			want(t, "calls", calls, 0)
			want(t, "times told", len(w.of(audit.OrphanedType)), 1)
			if k.traits.Overlap != rotation.InPlace {
				want(t, "secret in use", w.key().secret, old)
			}
			if err := w.job().Resume(t.Context(), request()); err != nil {
				t.Fatal(err)
			}
			w.settled(t)
			want(t, "promotions", w.promotions, 1)
			want(t, "it has stopped", w.status(t.Context()).Orphaned, false)
		})
	})
}

func TestManyFailuresInAShortTimeAreOneTrouble(t *testing.T) {
	play(t, kindOf(shownOnce), func(t *testing.T, w *world) {
		w.due()
		step := rotation.Native{Credential: credential, Cycle: "0f5c1d5e-0c1e-4a0a-9d8e-2f1f6f0f7a11", Until: rotation.Verifying}
		for range 15 {
			f := &function{world: w, fault: failing("create")}
			if _, err := f.job().Advance(t.Context(), step); err == nil {
				t.Fatal("the issuer has failed, and the step says nothing")
			}
			time.Sleep(30 * time.Second)
		}
		want(t, "it has stopped", w.status(t.Context()).Orphaned, false)
	})
}

func TestFailuresAtRestAreForgottenWhenTheyEnd(t *testing.T) {
	play(t, kindOf(shownOnce), func(t *testing.T, w *world) {
		w.tick(t)
		_, err := w.run(t.Context(), failing("inspect"))
		if err == nil {
			t.Fatal("the store has failed, and the run says nothing")
		}
		want(t, "failures", w.status(t.Context()).Failures, 1)
		result := w.tick(t)
		want(t, "outcome while it waits", result.Outcome, rotation.Pending)
		time.Sleep(tick)
		want(t, "outcome", w.tick(t).Outcome, rotation.NotDue)
		want(t, "failures", w.status(t.Context()).Failures, 0)
	})
}

func TestWhileTheBusRefusesNothingBeginsOrEnds(t *testing.T) {
	for name, begin := range map[string]func(*testing.T, *world){
		"before the old key ends": func(t *testing.T, w *world) {
			w.due()
			_, _ = w.run(t.Context(), failing("publish"))
			want(t, "phase", w.status(t.Context()).Phase, rotation.Grace)
		},
		"before a key is made": func(t *testing.T, w *world) {
			w.tick(t)
			_, _ = w.run(t.Context(), failing("inspect", "publish"))
			w.due()
		},
	} {
		t.Run(name, func(t *testing.T) {
			play(t, kindOf(shownOnce), func(t *testing.T, w *world) {
				begin(t, w)
				before, phase := w.writes, w.status(t.Context()).Phase
				for range 3 * 24 {
					report, err := w.run(t.Context(), failing("publish"))
					if err == nil || !strings.Contains(err.Error(), "the bus has not accepted its audit events, which are kept") {
						t.Fatalf("got %v", err)
					}
					want(t, "outcome", report.Results[0].Outcome, rotation.Failed)
					time.Sleep(time.Hour)
				}
				want(t, "effects", w.writes, before)
				want(t, "phase", w.status(t.Context()).Phase, phase)
				if oldest := w.status(t.Context()).Oldest; time.Since(oldest) < 3*24*time.Hour {
					t.Errorf("the oldest event waits since %v", oldest)
				}
				want(t, "events", len(w.events), 0)
				w.settled(t)
				want(t, "promotions", w.promotions, 1)
				if got := w.types(); !strings.HasSuffix(got, "rotated revoked revoked") {
					t.Errorf("events: %s", got)
				}
			})
		})
	}
}

func TestAnEventWhoseAcceptanceWasNotHeardIsSentAgainWithTheSameID(t *testing.T) {
	play(t, kindOf(shownOnce), func(t *testing.T, w *world) {
		w.due()
		_, _ = w.run(t.Context(), func(call string) fault {
			if call == "publish" {
				return losesReply
			}
			return none
		})
		w.settled(t)
		if len(w.events) == len(w.distinct()) {
			t.Error("no event was sent twice")
		}
	})
}

func TestManyKeysThatNobodyKnowsAreEndedAFewAtATime(t *testing.T) {
	play(t, kindOf(shownOnce), func(t *testing.T, w *world) {
		w.begin(t)
		w.settled(t)
		prefix := w.key().name[:len("postern-12345678-")]
		for range 100 {
			w.newKey(prefix + "lost")
		}
		other := w.newKey("postern-87654321-chat")
		for range 7 {
			w.tick(t)
		}
		want(t, "keys that work", len(w.usable()), 2)
		want(t, "another deployment's key is ended", other.revoked, false)
		want(t, "orphans told", len(w.of(audit.OrphanFoundType)), 100)
	})
}

// denying is a store that does not let the rotation stage anything.
type denying struct {
	secrets.Store
	cause error
}

func (d denying) Stage(_ context.Context, ref secrets.Ref, _ secrets.Candidate) (secrets.Version, error) {
	return secrets.Version{}, &secrets.Error{Ref: ref, Op: "stage", Reason: "refused", Err: d.cause}
}

func TestWhatAStoreRefusesIsToldForWhatItIs(t *testing.T) {
	for class, cause := range map[audit.FailureClass]error{
		audit.FailureDenied: secrets.ErrDenied, audit.FailureThrottled: secrets.ErrThrottled, audit.FailureUnavailable: errors.New("no connection"),
	} {
		t.Run(string(class), func(t *testing.T) {
			play(t, kindOf(shownOnce), func(t *testing.T, w *world) {
				w.tune = func(job *rotation.Job) { job.Store = denying{job.Store, cause} }
				w.due()
				w.fails(t, "refused")
				want(t, "class", w.latest(t, audit.RotationFailedType).Class, class)
			})
		})
	}
}

func TestAFailureIsNotedInALedgerThatTakesOneWriteASecond(t *testing.T) {
	each(t, func(t *testing.T, k kind) {
		scene(t, k, func(t *testing.T, w *world) {
			w.due()
			w.paced = true
			_, _ = w.run(t.Context(), failing("create"))
			want(t, "failures", w.status(t.Context()).Failures, 1)
			w.settled(t)
			want(t, "failures told", len(w.of(audit.RotationFailedType)), 1)
		})
	})
}
