package rotation

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/postern-ai/postern/shared/audit"
	"github.com/postern-ai/postern/shared/ledger"
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
			Paused: r.Paused, Orphaned: r.Orphaned, Unpublished: len(r.Outbox),
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

// Force has a rotation begin in the next run, due or not. It is [ErrUnderWay] while one is.
func (j *Job) Force(ctx context.Context, request Request) error {
	return j.change(ctx, request, func(r *record) error {
		if r.Phase != Idle {
			return fmt.Errorf("it is %s: %w", r.Phase, ErrUnderWay)
		}
		r.Forced = forced{Reason: cmp.Or(request.Reason, audit.ReasonManual), Actor: request.Actor}
		return nil
	})
}

// Emergency has the current key replaced in the next run and the old ones ended at once, because somebody else may know them. It takes the
// place of a grace that is running, and of a pause.
func (j *Job) Emergency(ctx context.Context, request Request) error {
	return j.change(ctx, request, func(r *record) error {
		r.Forced = forced{Reason: audit.ReasonCompromise, Actor: request.Actor, DisableFirst: request.DisableFirst}
		r.Paused, r.Orphaned, r.Failures = false, false, failures{}
		return nil
	})
}

// Pause has nothing begun and nothing ended until it is resumed. Events that wait are still published.
func (j *Job) Pause(ctx context.Context, request Request) error {
	return j.change(ctx, request, func(r *record) error {
		r.Paused = true
		return nil
	})
}

// Resume ends a pause, or has a rotation that has stopped after too many failures go on.
func (j *Job) Resume(ctx context.Context, request Request) error {
	return j.change(ctx, request, func(r *record) error {
		r.Paused, r.Orphaned, r.Failures = false, false, failures{}
		return nil
	})
}

// Rollback has the previous key become current again in the next run. The new one is revoked after the grace. It is [ErrNotPossible] when the
// previous one has ended.
func (j *Job) Rollback(ctx context.Context, request Request) error {
	return j.change(ctx, request, func(r *record) error {
		switch {
		case r.Phase != Grace && r.Phase != Soaking:
			return fmt.Errorf("it is %s, and there is a key to go back to only while the old one is still valid: %w", r.Phase, ErrNotPossible)
		case r.Previous.Version == "":
			return fmt.Errorf("there was no key before this one: %w", ErrNotPossible)
		case r.Cycle.Emergency:
			return fmt.Errorf("the old key was replaced because others may know it: %w", ErrNotPossible)
		}
		r.Cycle = cycle{Number: r.Cycle.Number + 1, ID: uuid(), Reason: audit.ReasonRollback, Actor: request.Actor, Started: wall(), Verified: wall()}
		r.Phase, r.Failures = RollingBack, failures{}
		return nil
	})
}

// changes is how often a verb is tried again because a run has changed the record meanwhile.
const changes = 5

// change changes the record of a credential. A run that is at work finds out when it writes, and leaves the rest to the next one.
func (j *Job) change(ctx context.Context, request Request, do func(*record) error) error {
	c, err := j.find(request.Credential)
	if err != nil {
		return err
	}
	for attempt := 1; ; attempt++ {
		r, saved, err := j.load(ctx, c)
		if err == nil {
			err = do(r)
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

// Advance takes a cycle as far as the step says. The cycle is begun if it is not known, due or not. What comes after its last step is up to
// later runs, as with every cycle. That it has not come so far yet is an error, and the step is taken again.
func (j *Job) Advance(ctx context.Context, step Native) (Result, error) {
	c, err := j.find(step.Credential)
	if err != nil {
		return Result{}, err
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
