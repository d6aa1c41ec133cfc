package rotation

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/postern-ai/postern/shared/audit"
	"github.com/postern-ai/postern/shared/ledger"
	"github.com/postern-ai/postern/shared/secrets"
)

var (
	// ErrUnderWay is wrapped when a rotation is under way that has to end first, or has to be begun anew.
	ErrUnderWay = errors.New("a rotation is under way")
	// ErrNotPossible is wrapped when there is nothing that the verb could be about.
	ErrNotPossible = errors.New("not possible now")
)

// Status is where the rotation of a credential stands. It holds nothing secret.
type Status struct {
	Credential string       `json:"credential"`
	Phase      Phase        `json:"phase"`
	Cycle      int64        `json:"cycle"`
	Reason     audit.Reason `json:"reason,omitzero"`
	// Current, Previous and Pending are the keys by their ids at the issuer.
	Current  StatusKey `json:"current,omitzero"`
	Previous StatusKey `json:"previous,omitzero"`
	Pending  StatusKey `json:"pending,omitzero"`
	// Promoted is when the current key became current, and RevokeAfter when the previous one ends.
	Promoted    time.Time `json:"promoted_at,omitzero"`
	RevokeAfter time.Time `json:"revoke_after,omitzero"`
	// Requested is what an operator has asked for and no run has begun yet.
	Requested audit.Reason `json:"requested,omitzero"`
	// Failures counts those since the last success. Retry is when the step is tried again.
	Failures int                `json:"failures,omitzero"`
	Step     audit.Step         `json:"failed_step,omitzero"`
	Class    audit.FailureClass `json:"error_class,omitzero"`
	Retry    time.Time          `json:"retry_at,omitzero"`
	Paused   bool               `json:"paused,omitzero"`
	// Orphaned says that the rotation has stopped until somebody resumes it.
	Orphaned bool `json:"orphaned,omitzero"`
	// Unpublished is how many events the bus has not accepted yet, and Oldest since when.
	Unpublished int       `json:"unpublished,omitzero"`
	Oldest      time.Time `json:"unpublished_since,omitzero"`
}

// StatusKey is a key in a Status.
type StatusKey struct {
	ID      string    `json:"key_id,omitzero"`
	Version string    `json:"version,omitzero"`
	Created time.Time `json:"created_at,omitzero"`
	Expires time.Time `json:"expires_at,omitzero"`
}

// Status returns where the rotation of every credential stands. It reads the ledger alone.
func (j *Job) Status(ctx context.Context) ([]Status, error) {
	all := make([]Status, len(j.Credentials))
	for i := range j.Credentials {
		c := &j.Credentials[i]
		r, _, err := j.load(ctx, c)
		if err != nil {
			return nil, err
		}
		key := func(h held) StatusKey { return StatusKey{h.KeyID, h.Version, h.Created, h.Expires} }
		all[i] = Status{
			Credential: c.Name, Phase: r.Phase, Cycle: r.Cycle.Number, Reason: r.Cycle.Reason,
			Current: key(r.Current), Previous: key(r.Previous), Pending: key(r.Pending), Promoted: r.Promoted, RevokeAfter: r.RevokeAfter,
			Failures: r.Failures.Count, Step: r.Failures.Step, Class: r.Failures.Class, Retry: r.Failures.Retry,
			Requested: r.Forced.Reason, Paused: r.Paused, Orphaned: r.Orphaned, Unpublished: len(r.Outbox),
		}
		if len(r.Outbox) > 0 {
			all[i].Oldest = r.Outbox[0].Time
		}
	}
	return all, nil
}

// Request is an operator's wish about one credential.
type Request struct {
	Credential string
	// Actor is who asks, as the platform names it. It is part of the events.
	Actor string
	// Reason is why a rotation is forced. Empty means that somebody asked for it.
	Reason audit.Reason
	// DisableFirst has an emergency stop the current key before there is another one: no request succeeds until there is.
	DisableFirst bool
}

// Force has a rotation begin in the next run, due or not. It is [ErrUnderWay] while one is, and [ErrNotPossible] while it is paused or has
// stopped. Who asks for a reason of the key's own, as a store does by notices, does not know whether a step has just failed: that is tried again
// in its time, and a wish that is there already stays. Otherwise a notice that comes again and again would have a failure never count.
func (j *Job) Force(ctx context.Context, request Request) error {
	return j.change(ctx, request, func(_ *Credential, r *record) error {
		switch {
		case !slices.Contains(reasons(), request.Reason):
			return fmt.Errorf("the reason of a rotation that is forced is one of %q: %w", reasons()[1:], ErrNotPossible)
		case r.Paused, r.Orphaned:
			return fmt.Errorf("it is paused, or has stopped after too many failures, so nothing would begin: resume it first: %w", ErrNotPossible)
		case r.Phase != Idle:
			return fmt.Errorf("it is %s: %w", r.Phase, ErrUnderWay)
		case r.Forced.emergency():
			return fmt.Errorf("an emergency rotation is about to begin: %w", ErrUnderWay)
		}
		wish := forced{Reason: cmp.Or(request.Reason, audit.ReasonManual), Actor: request.Actor}
		switch {
		case wish.Reason == audit.ReasonManual:
			r.Forced, r.Failures = wish, failures{}
		case r.Forced.Reason == "":
			r.Forced = wish
		}
		return nil
	})
}

// reasons are those for which a rotation may be forced.
func reasons() []audit.Reason {
	return []audit.Reason{"", audit.ReasonManual, audit.ReasonScheduled, audit.ReasonPreExpiry, audit.ReasonExpired, audit.ReasonRejected}
}

// Emergency has the current key replaced in the next run and the old ones ended at once, because somebody else may know them. It takes the
// place of a grace that is running, and of a pause. It is [ErrNotPossible] to disable a key first whose issuer cannot.
func (j *Job) Emergency(ctx context.Context, request Request) error {
	return j.change(ctx, request, func(c *Credential, r *record) error {
		if _, ok := c.Issuer.(Disabler); request.DisableFirst && !ok {
			return fmt.Errorf("its keys cannot be disabled without being ended; ask for the emergency alone: %w", ErrNotPossible)
		}
		r.Forced = forced{Reason: audit.ReasonCompromise, Actor: request.Actor, DisableFirst: request.DisableFirst}
		r.Paused, r.Orphaned, r.Failures = false, false, failures{}
		return nil
	})
}

// Pause has nothing begun and nothing ended until it is resumed. Events that wait are still published.
func (j *Job) Pause(ctx context.Context, request Request) error {
	return j.change(ctx, request, func(_ *Credential, r *record) error {
		r.Paused = true
		return nil
	})
}

// Resume ends a pause, or has a rotation that has stopped after too many failures go on.
func (j *Job) Resume(ctx context.Context, request Request) error {
	return j.change(ctx, request, func(_ *Credential, r *record) error {
		r.Paused, r.Orphaned, r.Failures = false, false, failures{}
		return nil
	})
}

// Rollback has the previous key become current again in the next run. The new one is revoked after the grace. It is [ErrNotPossible] when the
// previous one has ended, or was replaced because others may know it. A pause ends with it.
func (j *Job) Rollback(ctx context.Context, request Request) error {
	return j.change(ctx, request, func(c *Credential, r *record) error {
		switch {
		case r.Phase != Grace && r.Phase != Soaking:
			return fmt.Errorf("it is %s, and there is a key to go back to only while the old one is still valid: %w", r.Phase, ErrNotPossible)
		case r.Previous.Version == "":
			return fmt.Errorf("there was no key before this one: %w", ErrNotPossible)
		case c.Issuer.Traits().Overlap == InPlace:
			return fmt.Errorf("the old key ended when the new one was made: %w", ErrNotPossible)
		case r.Cycle.Emergency, r.Forced.emergency():
			return fmt.Errorf("the old key was replaced because others may know it: %w", ErrNotPossible)
		case r.Previous.Ending:
			return fmt.Errorf("the old key is being ended: %w", ErrNotPossible)
		}
		r.Cycle = r.Cycle.back(request.Actor)
		r.Phase, r.From, r.Paused, r.Orphaned, r.Failures = RollingBack, "", false, false, failures{}
		return nil
	})
}

const (
	// changes is how often a verb is tried again because a run has changed the record meanwhile.
	changes = 5
	// mostActor is the longest name of an actor, in bytes: that of a principal in most systems.
	mostActor = 512
)

// change changes the record of a credential. A run that is at work finds out when it writes, and leaves the rest to the next one.
func (j *Job) change(ctx context.Context, request Request, do func(*Credential, *record) error) error {
	c, err := j.find(request.Credential)
	if err != nil {
		return err
	}
	if len(request.Actor) > mostActor || !utf8.ValidString(request.Actor) {
		return fmt.Errorf("rotation of %q: the actor has to be a text of at most %d bytes in UTF-8", c.Name, mostActor)
	}
	for attempt := 1; ; attempt++ {
		r, saved, err := j.load(ctx, c)
		if err == nil {
			err = do(c, r)
		}
		if err == nil {
			_, err = j.save(ctx, c, r, saved)
		}
		if err == nil {
			return nil
		}
		if !errors.Is(err, ledger.ErrConflict) || attempt == changes {
			return fmt.Errorf("rotation of %q: %w", c.Name, err)
		}
	}
}

// Native is one step of a rotation that the store itself drives.
type Native struct {
	Credential string
	// Cycle is the store's id of the rotation, a UUID in lower case.
	Cycle string
	// Until is how far the step goes: Verifying when a key is staged, Promoting when it has proven itself, Grace when it is current.
	Until Phase
}

// check refuses a step that could not be taken, before anything is made for it.
func (n Native) check(c *Credential) error {
	switch n.Until {
	case Verifying, Promoting, Grace:
	default:
		return fmt.Errorf("a step goes as far as %s, %s or %s, and not %q", Verifying, Promoting, Grace, n.Until)
	}
	if c.Issuer.Traits().Recovery == Assisted {
		return fmt.Errorf("its keys are made by an operator, whom the store's own rotation does not wait for: turn that off: %w", ErrNotPossible)
	}
	return (secrets.Candidate{Cycle: n.Cycle, Value: secrets.NewValue("-")}).Check(c.Ref)
}

// Advance takes a cycle as far as the step says. The cycle is begun if it is not known, due or not. What comes after its last step is up to
// later runs, as with every cycle. That it has not come so far yet is an error, and the step is taken again.
func (j *Job) Advance(ctx context.Context, step Native) (Result, error) {
	if err := j.Check(); err != nil {
		return Result{}, err
	}
	c, err := j.find(step.Credential)
	if err != nil {
		return Result{}, err
	}
	if err := step.check(c); err != nil {
		return Result{}, fmt.Errorf("rotation of %q: %w", c.Name, err)
	}
	result := j.one(ctx, c, request{cycle: step.Cycle, until: step.Until})
	if result.Err != nil {
		return result, result.Err
	}
	r, _, err := j.load(ctx, c)
	if err != nil {
		return result, err
	}
	if r.Cycle.ID == step.Cycle && !r.Cycle.Aborted && rank(r.Phase) >= rank(step.Until) {
		return result, nil
	}
	return result, fmt.Errorf("rotation of %q: the cycle %s is not %s yet: %s: %w", c.Name, step.Cycle, step.Until, result.Detail, ErrUnderWay)
}
