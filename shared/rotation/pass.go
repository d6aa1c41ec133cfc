package rotation

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/postern-ai/postern/shared/audit"
	"github.com/postern-ai/postern/shared/ledger"
)

const (
	// mostSteps bounds one pass. A whole cycle takes fewer.
	mostSteps = 32
	// stepTime is what one step may need. With less time left none is begun: a step that ends in its middle is for the next run to find out
	// about.
	stepTime = 10 * time.Second
	// longestStep is how long one step may take. An issuer that hangs must not use up the time of the run.
	longestStep = 2 * time.Minute
	// mostFailures in a row, over at least longestTrouble, stop the rotation of a credential until somebody has looked at it. With the pauses
	// between them it takes about as long to get to either; where there are none, as in the steps of a store, many failures may be one trouble.
	mostFailures   = 10
	longestTrouble = 8 * time.Hour
	firstPause     = time.Minute
	longestPause   = 6 * time.Hour
	// urgentPause is the longest in an emergency.
	urgentPause = 5 * time.Minute
	// apart is how far this function's clock may be from the servers' before nothing is ended any more.
	apart = 2 * time.Minute
)

// pass is one run's work on one credential. It holds the credential's lease.
type pass struct {
	job   *Job
	c     *Credential
	lease *ledger.Lease
	asked request

	r     *record
	saved ledger.Record
	// fresh says that this very pass has written down the intent to order a key, so that none can have been made yet.
	fresh bool
	// spared is the id of a key that is in use though the record does not know it.
	spared string
	// ended are the ids of the keys that this pass has ended. An issuer's list may go on showing them for a while.
	ended   []string
	rotated bool
	detail  string
	next    time.Time
}

// stepError is why a step was not done.
type stepError struct {
	step  audit.Step
	class audit.FailureClass
	err   error
}

func (e *stepError) Error() string { return string(e.step) + ": " + e.err.Error() }
func (e *stepError) Unwrap() error { return e.err }

// because makes a step's error. Its class follows from the cause.
func because(step audit.Step, err error) error {
	return &stepError{step, classOf(err), err}
}

// run takes steps until one has to wait.
func (p *pass) run(ctx context.Context) error {
	var err error
	if p.r, p.saved, err = p.job.load(ctx, p.c); err != nil {
		return err
	}
	if err := p.preempt(ctx); err != nil {
		return err
	}
	// What has happened is told before more happens. An emergency does not wait for the bus.
	if err := p.publish(ctx); err != nil && !p.urgent() {
		return err
	}
	if p.stopped() {
		return p.publish(ctx)
	}
	if err := p.admit(); err != nil {
		return err
	}
	for range mostSteps {
		if p.reached() {
			break
		}
		if enough, err := p.time(ctx); !enough {
			p.wait(timeOver, time.Time{})
			if err != nil {
				return err
			}
			break
		}
		more, err := p.guarded(ctx)
		if err != nil {
			return p.fail(ctx, err)
		}
		if !more {
			break
		}
	}
	return p.publish(ctx)
}

// stopped reports whether nothing is to be done now, and why.
func (p *pass) stopped() bool {
	now := wall()
	switch {
	case p.r.Orphaned:
		p.wait("its rotation has stopped after too many failures; mend the cause, then resume it", time.Time{})
	case p.r.Paused:
		p.wait("its rotation is paused; resume it to go on", time.Time{})
	case p.asked.cycle == "" && now.Before(p.r.Failures.Retry):
		p.wait("the last step failed ("+string(p.r.Failures.Step)+": "+string(p.r.Failures.Class)+") and is tried again", p.r.Failures.Retry)
	default:
		return false
	}
	return true
}

// admit refuses a cycle that is asked for when it cannot be begun or gone on with.
func (p *pass) admit() error {
	switch c := p.r.Cycle; {
	case p.asked.cycle == "":
		return nil
	case c.ID == p.asked.cycle && c.Aborted:
		return fmt.Errorf("the cycle %s has come to nothing: begin another one: %w", c.ID, ErrUnderWay)
	case c.ID != p.asked.cycle && p.r.Phase != Idle:
		return fmt.Errorf("the cycle %s is %s and has to end first: %w", c.ID, p.r.Phase, ErrUnderWay)
	}
	return nil
}

// preempt has an emergency cut short what is under way. A key that is being made may be made: it is not the one that others know.
func (p *pass) preempt(ctx context.Context) error {
	r := p.r
	if !r.Forced.emergency() || r.Paused || r.Orphaned {
		return nil
	}
	switch r.Phase {
	case Grace, Soaking, RollingBack:
		if r.Cycle.Emergency {
			return nil
		}
		// The key that others may know is the one in use. It is replaced when there is no older one left.
		r.RevokeAfter, r.Cycle.Emergency = wall(), true
		if r.Phase == RollingBack {
			r.Phase, r.From = Grace, ""
		}
	case Creating, Waiting, Verifying, Promoting:
		r.Cycle.Emergency, r.Cycle.Asked, r.Cycle.Reason, r.Cycle.Actor = true, true, r.Forced.Reason, r.Forced.Actor
		r.Cycle.DisableFirst = r.Cycle.DisableFirst || r.Forced.DisableFirst
		r.Forced = forced{}
	default:
		return nil
	}
	r.Failures = failures{}
	return p.save(ctx)
}

// urgent reports whether an emergency is under way, or has been asked for.
func (p *pass) urgent() bool {
	return p.r.Forced.emergency() || p.r.Cycle.Emergency && p.r.Phase != Idle
}

const timeOver = "the time of this run is over"

// enough reports whether there is time for one more step.
func enough(ctx context.Context) bool {
	end, ok := ctx.Deadline()
	return ctx.Err() == nil && (!ok || time.Until(end) >= stepTime)
}

// time reports whether there is enough of it for one more step, and keeps the lease.
func (p *pass) time(ctx context.Context) (bool, error) {
	if !enough(ctx) {
		return false, nil
	}
	if err := p.lease.Keep(ctx); err != nil {
		return false, err
	}
	return p.lease.Remaining() > stepTime, nil
}

// holds makes sure, right before something that cannot be undone, that the lease is still there: a function may have been frozen since the step
// began.
func (p *pass) holds() error {
	if p.lease.Remaining() <= 0 {
		return &ledgerError{fmt.Errorf("the lease has ended: %w", ledger.ErrLost)}
	}
	return nil
}

// reached reports whether the pass was to go no further than here.
func (p *pass) reached() bool {
	return p.asked.until != "" && p.r.Cycle.ID == p.asked.cycle && !p.r.Cycle.Aborted && rank(p.r.Phase) >= rank(p.asked.until)
}

// rank is the place of a phase within a cycle. One that is idle again comes last.
func rank(phase Phase) int {
	for i, known := range []Phase{Creating, Waiting, Verifying, Promoting, Grace, Soaking, RollingBack, Idle} {
		if known == phase {
			return i
		}
	}
	return -1
}

// guarded does the next thing, within its time. A fault in an issuer is a failure like others, so that it is not tried for ever.
func (p *pass) guarded(ctx context.Context) (more bool, err error) {
	bounded, cancel := context.WithTimeout(ctx, longestStep)
	defer cancel()
	defer func() {
		if caught := recover(); caught != nil {
			more, err = false, p.panicked(ctx, caught)
		}
	}()
	return p.step(bounded)
}

// panicked is the failure of a step that has panicked. What the step had noted and not written down is forgotten.
func (p *pass) panicked(ctx context.Context, caught any) error {
	p.job.log(ctx, slog.LevelError, "a step of a rotation has panicked", p.c, slog.String("panic", fmt.Sprintf("%T", caught)))
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), tidying)
	defer cancel()
	if err := p.unchanged(ctx); err != nil {
		return err
	}
	var err error
	if p.r, p.saved, err = p.job.load(ctx, p.c); err != nil {
		return err
	}
	return &stepError{stepOf(p.r.Phase), audit.FailureInternal, errors.New("internal error")}
}

// stepOf is the step that a phase is about.
func stepOf(phase Phase) audit.Step {
	switch phase {
	case Creating:
		return audit.StepCreate
	case Verifying:
		return audit.StepVerify
	case Promoting, RollingBack:
		return audit.StepPromote
	case Grace, Soaking:
		return audit.StepRevoke
	}
	return audit.StepReconcile
}

// step does the next thing. It reports whether there may be more to do at once.
func (p *pass) step(ctx context.Context) (more bool, err error) {
	switch p.r.Phase {
	case Creating, Waiting, Verifying:
		if err := p.disableFirst(ctx); err != nil {
			return false, err
		}
	}
	switch p.r.Phase {
	case Idle:
		return p.idle(ctx)
	case Creating:
		return p.create(ctx)
	case Waiting:
		return p.await(ctx)
	case Verifying:
		return p.verify(ctx)
	case Promoting:
		return p.promote(ctx)
	case Grace:
		return p.retire(ctx)
	case Soaking:
		return p.soak(ctx)
	case RollingBack:
		return p.rollBack(ctx)
	}
	return false, because(audit.StepReconcile, fmt.Errorf("the ledger says that it is in the phase %q, which this version does not know", p.r.Phase))
}

// wait notes why nothing more is done in this pass.
func (p *pass) wait(detail string, next time.Time) { p.detail, p.next = detail, next }

// ledgerError is an error of the ledger. Nothing can be written down about it.
type ledgerError struct{ err error }

func (e *ledgerError) Error() string { return e.err.Error() }
func (e *ledgerError) Unwrap() error { return e.err }

// save writes the record down.
func (p *pass) save(ctx context.Context) error {
	saved, err := p.job.save(ctx, p.c, p.r, p.saved)
	if err != nil {
		return &ledgerError{err}
	}
	p.saved = saved
	return nil
}

// enter writes down that the cycle has come to a phase.
func (p *pass) enter(ctx context.Context, phase Phase) error {
	was := p.r.Phase
	p.r.Phase = phase
	if err := p.save(ctx); err != nil {
		return err
	}
	p.job.log(ctx, slog.LevelInfo, "a rotation has gone on", p.c, slog.String("from", string(was)), slog.String("to", string(phase)),
		slog.Int64("cycle", p.r.Cycle.Number))
	return nil
}

// fail writes down that a step has failed, and when it is tried again.
func (p *pass) fail(ctx context.Context, cause error) error {
	failed, ok := errors.AsType[*stepError](cause)
	if !ok {
		return cause
	}
	// The run's time may be what has ended the step.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), tidying)
	defer cancel()
	f := &p.r.Failures
	now := wall()
	if f.Count++; f.Count == 1 {
		f.Since = now
	}
	pause := min(longestPause, firstPause<<min(f.Count-1, 20))
	if p.urgent() {
		pause = min(pause, urgentPause)
	}
	if told, ok := errors.AsType[*Error](cause); ok {
		pause = min(longestPause, max(pause, told.RetryAfter))
	}
	f.Retry, f.Step, f.Class = now.Add(pause), failed.step, failed.class
	p.r.Cycle.Failed++
	if f.Count >= mostFailures && now.Sub(f.Since) >= longestTrouble {
		p.r.Orphaned, f.Retry = true, time.Time{}
	}
	err := p.tellFailure()
	if err == nil {
		err = p.save(ctx)
	}
	// Only what has been written down is told: of two runs that fail at the same step one may be the one that has.
	if err == nil {
		err = p.publish(ctx)
	}
	if err != nil {
		return errors.Join(cause, err)
	}
	return cause
}

// result is what became of the credential.
func (p *pass) result(ctx context.Context, err error) Result {
	result := Result{Credential: p.c.Name, Detail: p.detail, Next: p.next}
	if p.r != nil {
		result.Phase = p.r.Phase
	}
	switch {
	case errors.Is(err, ledger.ErrConflict) || errors.Is(err, ledger.ErrLost):
		result.Outcome, result.Detail = Pending, "another run has gone on with it"
	case err != nil:
		result.Outcome, result.Err = Failed, fmt.Errorf("rotation of %q: %w", p.c.Name, err)
	case p.r.Orphaned:
		result.Outcome, result.Err = Failed, fmt.Errorf("rotation of %q: %s", p.c.Name, p.detail)
	case p.rotated:
		result.Outcome = Rotated
	case p.r.Phase == Idle && p.detail == "":
		result.Outcome = NotDue
	default:
		result.Outcome, result.Detail = Pending, cmp.Or(p.detail, "it goes on in the next run")
	}
	level := slog.LevelInfo
	if result.Outcome == Failed {
		level = slog.LevelError
	}
	attributes := []slog.Attr{slog.String("outcome", string(result.Outcome)), slog.String("phase", string(result.Phase))}
	if result.Detail != "" {
		attributes = append(attributes, slog.String("detail", result.Detail))
	}
	if result.Err != nil {
		attributes = append(attributes, slog.String("error", result.Err.Error()))
	}
	p.job.log(ctx, level, "rotation", p.c, attributes...)
	return result
}
