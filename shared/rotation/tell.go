package rotation

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/postern-ai/postern/shared/audit"
	"github.com/postern-ai/postern/shared/ledger"
	"github.com/postern-ai/postern/shared/secrets"
)

// mostUnpublished is with how many events in the outbox further failures are not told.
const mostUnpublished = 16

// about is what all events about the credential begin with.
func (p *pass) about() audit.Credential {
	about := p.c.About
	c := p.r.Cycle
	about.Name, about.CredentialRef = p.c.Name, p.c.Ref.String()
	about.Cycle = audit.Cycle{ID: c.ID, Number: int(c.Number), Attempt: c.Attempt}
	about.Reason = c.Reason
	if about.Reason == "" {
		about.Reason = audit.ReasonScheduled
	}
	if c.Actor != "" {
		about.Actor = audit.Actor{Name: c.Actor}
	}
	return about
}

// event is a kind of event about a stored key.
type event interface {
	Event(at time.Time) (audit.Event, error)
}

// tell puts an event into the outbox, as the next of the credential's chain. It is saved with what it tells.
func (p *pass) tell(what event) error {
	made, err := what.Event(wall())
	if err != nil {
		return err
	}
	linked, head, err := audit.Link(made, p.r.Chain)
	if err != nil {
		return err
	}
	p.r.Chain = head
	p.r.Outbox = append(p.r.Outbox, linked)
	return nil
}

func (p *pass) tellRotated() error {
	r := p.r
	old := r.Previous.event()
	if r.Previous.Version != "" {
		old.Retire = r.RevokeAfter
	}
	return p.tell(audit.KeyRotated{
		Credential: p.about(), Old: old, New: r.Current.event(),
		Verify:  audit.Verification{Attempts: r.Cycle.Tries, Duration: r.Cycle.Took},
		Overlap: int64(r.RevokeAfter.Sub(r.Promoted) / time.Second), PolicyHash: p.job.PolicyHash,
	})
}

func (p *pass) tellFailure() error {
	f := p.r.Failures
	failed := audit.RotationFailed{Credential: p.about(), Step: f.Step, Class: f.Class, Attempt: p.r.Cycle.Failed, Retry: f.Retry}
	// An emergency goes on without the bus. What it has done is told when the bus is back, and not how often it has failed until then.
	if len(p.r.Outbox) < mostUnpublished {
		if err := p.tell(failed); err != nil {
			return err
		}
	}
	if !p.r.Orphaned {
		return nil
	}
	return p.tell(audit.Orphaned{
		Credential: p.about(), Failures: p.r.Cycle.Failed, Since: f.Since, Step: f.Step, Class: f.Class,
		Remedy: "Look at the function's log for the cause, mend it, and resume the rotation. The key in use goes on working until then.",
	})
}

func (p *pass) tellRevoked(old held, how audit.Ending) error {
	return p.tell(audit.KeyRevoked{Credential: p.about(), Key: old.event(), How: how})
}

func (p *pass) tellOrphan(key Key) error {
	return p.tell(audit.OrphanFound{
		Credential: p.about(), Key: audit.Key{ID: key.ID, Name: key.Name, Created: key.Created, Expires: key.Expires}, Action: audit.OrphanDeleted,
	})
}

func (p *pass) tellOperator(task string, due time.Time) error {
	return p.tell(audit.OperatorDue{Credential: p.about(), Task: task, Due: due})
}

// publish has the bus accept what is in the outbox. What it has accepted may be sent once more by a later run, with the same ids.
func (p *pass) publish(ctx context.Context) error {
	if len(p.r.Outbox) == 0 {
		return nil
	}
	if err := p.sign(ctx); err != nil {
		return err
	}
	if err := p.job.Audit.Publish(ctx, p.r.Outbox...); err != nil {
		return fmt.Errorf("%s: the bus has not accepted its audit events, which are kept: %w", audit.StepPublish, err)
	}
	p.r.Outbox = nil
	return p.save(ctx)
}

// sign signs what is in the outbox and was not signed yet, and writes it down: no two signatures are the same, and an event that is published again
// has to be.
func (p *pass) sign(ctx context.Context) error {
	signed, changed, err := audit.SignAll(ctx, p.r.Outbox, p.job.Sign)
	if err != nil {
		return fmt.Errorf("%s: its audit events cannot be signed, and are kept: %w", audit.StepPublish, err)
	}
	if !changed {
		return nil
	}
	unsigned := p.r.Outbox
	p.r.Outbox = signed
	if err := p.save(ctx); err != nil {
		p.r.Outbox = unsigned // an emergency goes on, and what is not written down must not be published
		return err
	}
	return nil
}

// classOf says in one word why a step has failed.
func classOf(err error) audit.FailureClass {
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return audit.FailureTimeout
	case errors.Is(err, secrets.ErrConflict), errors.Is(err, secrets.ErrOccupied), errors.Is(err, ledger.ErrConflict):
		return audit.FailureConflict
	case errors.Is(err, secrets.ErrNotFound):
		return audit.FailureNotFound
	case errors.Is(err, secrets.ErrUnusable):
		return audit.FailureInvalid
	case errors.Is(err, ErrRejected):
		return audit.FailureKeyRejected
	case errors.Is(err, ErrUnanswered):
		return audit.FailureLostReply
	case errors.Is(err, ErrLimit):
		return audit.FailureLimit
	case errors.Is(err, ErrRefused), errors.Is(err, secrets.ErrDenied):
		return audit.FailureDenied
	case errors.Is(err, ErrThrottled), errors.Is(err, secrets.ErrThrottled):
		return audit.FailureThrottled
	case errors.Is(err, ErrUnavailable):
		return audit.FailureUnavailable
	}
	if _, ok := errors.AsType[*secrets.Error](err); ok {
		return audit.FailureUnavailable
	}
	return audit.FailureInternal
}
