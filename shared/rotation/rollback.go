package rotation

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/postern-ai/postern/shared/audit"
	"github.com/postern-ai/postern/shared/secrets"
)

// mostRejections is how often the service rejects the key in use, and never takes it, until the old one takes its place again.
const mostRejections = 4

// back is the cycle in which the previous key becomes current again. What it stages is of its one attempt.
func (c *cycle) back(actor string) cycle {
	now := wall()
	return cycle{Number: c.Number + 1, ID: uuid(), Reason: audit.ReasonRollback, Actor: actor, Started: now, Verified: now, Attempt: 1}
}

// rollBack makes the previous key current again.
func (p *pass) rollBack(ctx context.Context) (bool, error) {
	r := p.r
	inventory, err := p.inspect(ctx, audit.StepPromote)
	if err != nil {
		return false, err
	}
	if p.behind(inventory.Current) {
		// To believe it would leave the new key current, and in the end revoke the old one.
		p.wait("the store still shows the version from before, so nobody knows whether it is current again; it is looked at again", time.Time{})
		return false, nil
	}
	found, err := p.read(ctx, r.Previous.Version)
	switch {
	case errors.Is(err, secrets.ErrNotFound), errors.Is(err, secrets.ErrUnusable):
		return false, p.noWayBack(ctx, because(audit.StepPromote, err))
	case err != nil:
		return false, because(audit.StepPromote, err)
	}
	if err := p.enable(ctx, &r.Previous); err != nil {
		if errors.Is(err, ErrRefused) {
			return false, p.noWayBack(ctx, err)
		}
		return false, err
	}
	r.Cycle.Tries, err = p.prove(ctx, found.key)
	switch {
	case errors.Is(err, ErrRejected) && wall().After(r.Cycle.Started.Add(patience+p.c.Issuer.Traits().Propagation)):
		return false, p.noWayBack(ctx, because(audit.StepVerify, err))
	case err != nil:
		return false, because(audit.StepVerify, err)
	}
	version, err := p.restore(ctx, inventory, found)
	switch {
	case errors.Is(err, secrets.ErrConflict), errors.Is(err, secrets.ErrOccupied):
		return false, p.noWayBack(ctx, err)
	case err != nil:
		return false, err
	}
	if err := p.swap(version); err != nil {
		return false, err
	}
	p.rotated = true
	return true, p.enter(ctx, Grace)
}

// restore makes the version of the previous key current again, if an earlier run has not done so.
func (p *pass) restore(ctx context.Context, inventory secrets.Inventory, old stored) (secrets.Version, error) {
	r := p.r
	if inventory.Current.ID != r.Current.Version && inventory.Current.ID != "" {
		now, err := p.read(ctx, inventory.Current.ID)
		unreadable := errors.Is(err, secrets.ErrNotFound) || errors.Is(err, secrets.ErrUnusable)
		mark := p.mark(now.key)
		switch {
		case err != nil && !unreadable:
			return secrets.Version{}, because(audit.StepPromote, err)
		case mark == r.Previous.Fingerprint && !unreadable:
			return inventory.Current, nil
		case mark != r.Current.Fingerprint:
			if err := p.overrules(ctx, inventory.Current.ID); err != nil {
				return secrets.Version{}, err
			}
		}
	}
	to := r.Previous.Version
	if inventory.Previous.ID != to {
		// Stores go back to the version before the current one alone. Where somebody else's has come in between, the key is stored anew.
		staged, err := p.job.Store.Stage(ctx, p.ref(), secrets.Candidate{Cycle: r.stage(r.Cycle.Attempt), Value: old.whole})
		if err != nil {
			return secrets.Version{}, because(audit.StepStage, err)
		}
		to = staged.ID
	}
	if err := p.holds(); err != nil {
		return secrets.Version{}, err
	}
	version, err := p.job.Store.Promote(ctx, p.ref(), secrets.Promotion{To: to, From: cmp.Or(r.From, inventory.Current.ID)})
	if err != nil {
		return secrets.Version{}, because(audit.StepPromote, err)
	}
	return version, nil
}

// overrules tells an operator of a key of somebody else's that the old one takes the place of.
func (p *pass) overrules(ctx context.Context, version string) error {
	if p.r.Displaced == version {
		return nil
	}
	p.r.Displaced = version
	if err := p.tellOperator("look at the key that somebody else has stored: the key before takes its place now, so revoke it at its provider if nothing "+
		"else uses it", wall().Add(reminder)); err != nil {
		return err
	}
	return p.save(ctx)
}

// swap notes that the previous key is current again, and the current one the previous.
func (p *pass) swap(version secrets.Version) error {
	r := p.r
	now := wall()
	r.Current, r.Previous = r.Previous, r.Current
	r.Current.Ending = false
	r.Current.Version, r.Promoted, r.RevokeAfter, r.From, r.Failures = version.ID, now, now.Add(p.c.Grace), "", failures{}
	return p.tellRotated()
}

// enable starts a key again that has been stopped to see whether anybody misses it.
func (p *pass) enable(ctx context.Context, key *held) error {
	if !key.Disabled {
		return nil
	}
	disabler, ok := p.c.Issuer.(Disabler)
	if !ok {
		return because(audit.StepPromote, fmt.Errorf("the old key has been disabled, and its issuer cannot enable it: %w", ErrRefused))
	}
	if err := disabler.Enable(ctx, key.key()); err != nil {
		return because(audit.StepPromote, err)
	}
	key.Disabled = false
	return p.save(ctx)
}

// noWayBack gives a way back up that leads nowhere. What is current stays so.
func (p *pass) noWayBack(ctx context.Context, cause error) error {
	p.r.From, p.r.Displaced = "", ""
	return errors.Join(cause, p.enter(ctx, Grace))
}

// unproven is what follows when the key in use does not prove itself at the end of the grace. It reports whether the old one may end all the
// same. If the service goes on rejecting the one and takes the other, the other becomes current again: gateways have been living on it.
// A key that was replaced because others may know it does not.
func (p *pass) unproven(ctx context.Context, current string, cause error) (bool, error) {
	r := p.r
	failed := because(audit.StepVerify, fmt.Errorf("the key in use does not prove itself, so the old one is kept: %w", cause))
	if !errors.Is(cause, ErrRejected) {
		return false, failed
	}
	r.Failures.Rejected++
	// In an emergency that has come up since the promotion, it is the key in use that others may know. There is no time to lose then.
	urgent := r.Forced.emergency()
	if !urgent && (r.Cycle.Emergency || r.Failures.Rejected < mostRejections) {
		return false, failed
	}
	if r.Previous.Ending {
		if urgent {
			return true, nil
		}
		return false, failed // it may be gone by now
	}
	old, err := p.read(ctx, r.Previous.Version)
	if err != nil || r.Previous.Version == "" || p.mark(old.key) != r.Previous.Fingerprint {
		return false, failed
	}
	if !r.Previous.Disabled {
		_, err := p.prove(ctx, old.key)
		if errors.Is(err, ErrRejected) && urgent {
			return true, nil // it is of no use to anybody
		}
		if err != nil {
			return false, failed
		}
	}
	p.job.log(ctx, slog.LevelWarn, "the key in use is rejected, so the old one becomes current again", p.c)
	r.Cycle, r.From = r.Cycle.back(""), current
	return false, p.enter(ctx, RollingBack)
}
