package rotation_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-ai/postern/shared/audit"
	"github.com/postern-ai/postern/shared/ledger"
	"github.com/postern-ai/postern/shared/ledger/ledgertest"
	"github.com/postern-ai/postern/shared/rotation"
	"github.com/postern-ai/postern/shared/secrets"
)

// city is several worlds under one job, each the world of one credential.
type city struct {
	worlds []*world
	ledger ledgertest.Memory
	events atomic.Int64
	// tune changes the job of every function that begins.
	tune func(*rotation.Job)
}

func newCity(n int) *city {
	c := &city{}
	for range n {
		c.worlds = append(c.worlds, newWorld(kindOf(shownOnce)))
	}
	return c
}

func name(i int) string { return fmt.Sprintf("key-%d", i) }

// job is the rotation of all credentials.
func (c *city) job() *rotation.Job {
	job := c.worlds[0].job()
	job.Ledger, job.Audit, job.Credentials = &ledger.Book{Store: &c.ledger}, c, nil
	stores := streets{}
	for i, w := range c.worlds {
		own := w.job()
		one := own.Credentials[0]
		one.Name, one.Ref = name(i), secrets.Ref{Name: name(i)}
		stores[one.Ref.Name] = own.Store
		job.Credentials = append(job.Credentials, one)
	}
	job.Store = stores
	if c.tune != nil {
		c.tune(job)
	}
	return job
}

func (c *city) Publish(_ context.Context, events ...audit.Event) error {
	c.events.Add(int64(len(events)))
	return nil
}

// streets are the stores of several worlds, by the names of their secrets.
type streets map[string]secrets.Store

func (s streets) Inspect(ctx context.Context, ref secrets.Ref) (secrets.Inventory, error) {
	return s[ref.Name].Inspect(ctx, ref)
}

func (s streets) Value(ctx context.Context, ref secrets.Ref, id string) (secrets.Value, error) {
	return s[ref.Name].Value(ctx, ref, id)
}

func (s streets) Stage(ctx context.Context, ref secrets.Ref, candidate secrets.Candidate) (secrets.Version, error) {
	return s[ref.Name].Stage(ctx, ref, candidate)
}

func (s streets) Promote(ctx context.Context, ref secrets.Ref, promotion secrets.Promotion) (secrets.Version, error) {
	return s[ref.Name].Promote(ctx, ref, promotion)
}

func (s streets) Drop(ctx context.Context, ref secrets.Ref, id string) error {
	return s[ref.Name].Drop(ctx, ref, id)
}

// bad is an issuer in whose Create something goes wrong.
type bad struct {
	rotation.Issuer
	create func(ctx context.Context) error
}

func (b bad) Create(ctx context.Context, _ rotation.Order) (rotation.Issued, error) {
	return rotation.Issued{}, b.create(ctx)
}

func TestOneCredentialsTroubleIsNobodyElses(t *testing.T) {
	t.Parallel()
	for trouble, create := range map[string]func(context.Context) error{
		"it fails": func(context.Context) error {
			return &rotation.Error{Op: "create", Reason: "the account is closed", Err: rotation.ErrRefused}
		},
		"it panics": func(context.Context) error { panic(canary) },
		"it hangs": func(ctx context.Context) error {
			<-ctx.Done()
			return &rotation.Error{Op: "create", Reason: "no reply", Err: errors.Join(rotation.ErrUnanswered, ctx.Err())}
		},
	} {
		t.Run(trouble, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				c := newCity(9)
				c.tune = func(job *rotation.Job) {
					job.Credentials[4].Issuer = bad{job.Credentials[4].Issuer, create}
				}
				time.Sleep(every)
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
				defer cancel()
				begin := time.Now()
				report, err := c.job().Run(ctx)
				if failed, ok := errors.AsType[*rotation.FailedError](err); !ok || len(failed.Errs) != 1 || !strings.Contains(err.Error(), `rotation of "key-4"`) {
					t.Errorf("got %v", err)
				}
				if strings.Contains(err.Error(), canary) || strings.Contains(c.worlds[0].log.String(), canary) {
					t.Error("what the issuer has panicked with is told")
				}
				for i, result := range report.Results {
					outcome := rotation.Rotated
					if i == 4 {
						outcome = rotation.Failed
					}
					want(t, fmt.Sprint("outcome of ", i), result.Outcome, outcome)
					want(t, "credential", result.Credential, name(i))
				}
				want(t, "the report", report.String(), "rotated 8, not due 0, pending 0, failed 1")
				if took := time.Since(begin); took > 2*time.Minute {
					t.Errorf("the run took %v", took)
				}
				// The failure counts, and has pauses, like any other.
				statuses, err := c.job().Status(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				want(t, "failures", statuses[4].Failures, 1)
				want(t, "failed step", statuses[4].Step, audit.StepCreate)
				if statuses[4].Retry.IsZero() {
					t.Error("it is not said when it is tried again")
				}
			})
		})
	}
}

func TestACredentialWhoseIssuerGoesOnPanickingStops(t *testing.T) {
	play(t, kindOf(shownOnce), func(t *testing.T, w *world) {
		w.due()
		w.tune = func(job *rotation.Job) {
			job.Credentials[0].Issuer = bad{job.Credentials[0].Issuer, func(context.Context) error { panic("broken") }}
		}
		for range 12 {
			_, _ = w.run(t.Context(), nil)
			time.Sleep(6 * time.Hour)
		}
		want(t, "it has stopped", w.status(t.Context()).Orphaned, true)
		want(t, "class", w.latest(t, audit.RotationFailedType).Class, audit.FailureInternal)
		want(t, "key in use", w.key().id, "key-1")
	})
}

func TestSoManyAreWorkedOnAtATime(t *testing.T) {
	t.Parallel()
	for parallel, most := range map[int]int64{0: 4, 1: 1, 3: 3} {
		t.Run(fmt.Sprint(parallel), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				c := newCity(7)
				var now, highest atomic.Int64
				c.tune = func(job *rotation.Job) {
					job.Parallel = parallel
					for i := range job.Credentials {
						job.Credentials[i].Issuer = bad{job.Credentials[i].Issuer, func(context.Context) error {
							n := now.Add(1)
							defer now.Add(-1)
							for {
								if high := highest.Load(); n <= high || highest.CompareAndSwap(high, n) {
									break
								}
							}
							time.Sleep(time.Second)
							return &rotation.Error{Op: "create", Reason: "busy", Err: rotation.ErrUnavailable}
						}}
					}
				}
				time.Sleep(every)
				if report, _ := c.job().Run(t.Context()); report.Count(rotation.Failed) != 7 {
					t.Errorf("got %s", report)
				}
				want(t, "at a time", highest.Load(), most)
			})
		})
	}
}

func TestNoStepIsBegunForWhichThereIsNoTime(t *testing.T) {
	play(t, kindOf(shownOnce), func(t *testing.T, w *world) {
		w.due()
		for _, left := range []time.Duration{9 * time.Second, 0, -time.Second} {
			ctx, cancel := context.WithTimeout(t.Context(), left)
			report, err := w.job().Run(ctx)
			cancel()
			if err != nil {
				t.Errorf("with %v left: %v", left, err)
			}
			want(t, "outcome", report.Results[0].Outcome, rotation.Pending)
			want(t, "detail", report.Results[0].Detail, "the time of this run is over")
		}
		want(t, "effects", w.writes, 0)
		want(t, "phase", w.status(t.Context()).Phase, rotation.Idle)
	})
}

func TestARunWhoseTimeEndsInTheMiddleGoesOnInTheNext(t *testing.T) {
	play(t, kindOf(shownOnce), func(t *testing.T, w *world) {
		w.due()
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		f := &function{world: w, fault: func(call string) fault {
			if call == "create" {
				time.Sleep(22 * time.Second)
			}
			return none
		}}
		report, err := f.job().Run(ctx)
		if err != nil {
			t.Fatal(err)
		}
		want(t, "phase", report.Results[0].Phase, rotation.Verifying)
		want(t, "detail", report.Results[0].Detail, "the time of this run is over")
		want(t, "outcome", w.tick(t).Outcome, rotation.Rotated)
	})
}

func TestTwoRunsAtOnceAreOneRotation(t *testing.T) {
	play(t, kindOf(shownOnce), func(t *testing.T, w *world) {
		w.due()
		var outcomes sync.Map
		var group sync.WaitGroup
		for i := range 2 {
			group.Go(func() {
				time.Sleep(time.Duration(i) * time.Second)
				report, err := w.run(t.Context(), func(string) fault { time.Sleep(time.Second); return none })
				if err != nil {
					t.Error(err)
				}
				outcomes.Store(i, report.Results[0])
			})
		}
		group.Wait()
		first, _ := outcomes.Load(0)
		second, _ := outcomes.Load(1)
		want(t, "the first", first.(rotation.Result).Outcome, rotation.Rotated)
		want(t, "the second", second.(rotation.Result).Outcome, rotation.Pending)
		want(t, "its detail", second.(rotation.Result).Detail, "another run is at work")
		want(t, "promotions", w.promotions, 1)
	})
}

func TestAPanicInTheVeryFirstRunIsAFailureLikeOthers(t *testing.T) {
	play(t, kindOf(unnamed), func(t *testing.T, w *world) {
		w.tune = func(job *rotation.Job) { job.Store = panicking{job.Store} }
		w.fails(t, "internal error")
		want(t, "failures", w.status(t.Context()).Failures, 1)
	})
}

// panicking is a store in which something is broken.
type panicking struct{ secrets.Store }

func (panicking) Inspect(context.Context, secrets.Ref) (secrets.Inventory, error) { panic(canary) }
