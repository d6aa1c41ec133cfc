package rotation

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/postern-ai/postern/shared/audit"
	"github.com/postern-ai/postern/shared/secrets"
)

const (
	// longestSoak is how long a disabled key is left to be enabled again, at most.
	longestSoak = time.Hour
	// settling is how long a store may go on showing the version before a promotion. Secrets Manager and Secret Manager are eventually
	// consistent (https://docs.aws.amazon.com/secretsmanager/latest/userguide/troubleshoot.html,
	// https://cloud.google.com/secret-manager/docs/reference/consistency).
	settling = time.Hour
)

// retire ends the old key when its time has come, unless somebody still needs it.
func (p *pass) retire(ctx context.Context) (bool, error) {
	r := p.r
	if r.Previous.Version == "" && r.Previous.KeyID == "" {
		return p.close(ctx, "", "")
	}
	if wall().Before(r.RevokeAfter) {
		p.wait("the old key stays valid for whoever still has it", r.RevokeAfter)
		return false, nil
	}
	if p.c.Issuer.Traits().Overlap == InPlace {
		return p.close(ctx, audit.EndingSuperseded, "")
	}
	if safe, err := p.safe(ctx); !safe || err != nil {
		return r.Phase == RollingBack, err
	}
	if used, err := p.used(ctx); used || err != nil {
		return false, err
	}
	if !r.Previous.Ours && !(r.Cycle.Emergency && r.Previous.KeyID != "") {
		return p.handOver(ctx)
	}
	if disabler, ok := p.c.Issuer.(Disabler); ok && !r.Cycle.Emergency {
		// On the way back it has to be enabled, also when this run dies.
		if err := p.intend(ctx, &r.Previous.Disabled); err != nil {
			return false, err
		}
		err := disabler.Disable(ctx, r.Previous.key())
		if p.beyond(err) {
			return p.handOver(ctx)
		}
		if err != nil {
			return false, because(audit.StepRevoke, err)
		}
		r.RevokeAfter = wall().Add(min(p.c.Grace, longestSoak))
		if err := p.tellRevoked(r.Previous, audit.EndingDeactivated); err != nil {
			return false, err
		}
		return true, p.enter(ctx, Soaking)
	}
	return p.revoke(ctx)
}

// beyond reports whether ending a key is for an operator to do, as making it is.
func (p *pass) beyond(err error) bool {
	return errors.Is(err, ErrRefused) && p.c.Issuer.Traits().Recovery == Assisted
}

// handOver leaves it to an operator to end the old key.
func (p *pass) handOver(ctx context.Context) (bool, error) {
	task := "revoke the key that was in use before, and that was not made here, at its provider"
	if id := p.r.Previous.KeyID; id != "" {
		task = fmt.Sprintf("revoke the key %s, which was not made here, at its provider", id)
	}
	return p.close(ctx, "", task)
}

// intend writes down what is about to be done to the old key, so that whoever comes after a crash reckons with it.
func (p *pass) intend(ctx context.Context, what *bool) error {
	if !*what {
		*what = true
		if err := p.save(ctx); err != nil {
			return err
		}
	}
	return p.holds()
}

// soak ends a disabled key when nobody has missed it.
func (p *pass) soak(ctx context.Context) (bool, error) {
	if wall().Before(p.r.RevokeAfter) {
		p.wait("the old key has been disabled, and can still be enabled", p.r.RevokeAfter)
		return false, nil
	}
	if safe, err := p.safe(ctx); !safe || err != nil {
		return p.r.Phase == RollingBack, err
	}
	return p.revoke(ctx)
}

// revoke ends the old key for good.
func (p *pass) revoke(ctx context.Context) (bool, error) {
	r := p.r
	if r.Previous.KeyID == "" || r.Previous.KeyID == r.Current.KeyID {
		return false, because(audit.StepRevoke, errors.New("it is not known which key is the old one"))
	}
	// From here on there is no way back.
	if err := p.intend(ctx, &r.Previous.Ending); err != nil {
		return false, err
	}
	err := p.c.Issuer.Revoke(ctx, p.r.Previous.key())
	if p.beyond(err) {
		return p.handOver(ctx)
	}
	if err != nil {
		return false, because(audit.StepRevoke, err)
	}
	p.ended = append(p.ended, r.Previous.KeyID)
	how := audit.EndingDeleted
	if p.c.Issuer.Traits().Overlap == TwoSlots {
		how = audit.EndingRegenerated
	}
	return p.close(ctx, how, "")
}

// close ends the old version and the cycle. It tells how the old key has ended, or what an operator has to do for it to.
func (p *pass) close(ctx context.Context, how audit.Ending, task string) (bool, error) {
	r := p.r
	for _, version := range []string{r.Previous.Version, r.Displaced} {
		if version == "" {
			continue
		}
		err := p.job.Store.Drop(ctx, p.ref(), version)
		if errors.Is(err, secrets.ErrConflict) && version == r.Displaced {
			err = nil // somebody has made it current again, which is looked at next
		}
		if err != nil {
			return false, because(audit.StepClose, err)
		}
	}
	if task != "" {
		if err := p.tellOperator(task, wall().Add(reminder)); err != nil {
			return false, err
		}
	}
	if how != "" {
		if err := p.tellRevoked(r.Previous, how); err != nil {
			return false, err
		}
	}
	r.Previous, r.Displaced, r.RevokeAfter, r.Failures = held{}, "", time.Time{}, failures{}
	return true, p.enter(ctx, Idle)
}

// safe reports whether the old key may be ended: the new one is what gateways get, it works, and the clocks agree.
func (p *pass) safe(ctx context.Context) (bool, error) {
	r := p.r
	if !p.punctual(ctx) {
		return false, nil
	}
	inventory, err := p.inspect(ctx, audit.StepRevoke)
	if err != nil {
		return false, err
	}
	found, err := p.read(ctx, inventory.Current.ID)
	if err != nil {
		return false, because(audit.StepRevoke, err)
	}
	if inventory.Current.ID != r.Current.Version {
		if moved, err := p.moved(ctx, inventory.Current, found); moved || err != nil {
			return false, err
		}
	}
	if _, err := p.prove(ctx, found.key); err != nil {
		return p.unproven(ctx, inventory.Current.ID, err)
	}
	r.Failures.Rejected = 0
	// The service that has just answered may be the first to tell what time it is.
	return p.punctual(ctx), nil
}

// punctual reports whether the clocks agree as far as is known, and waits if they do not.
func (p *pass) punctual(ctx context.Context) bool {
	skew := p.skewed()
	if skew == 0 {
		return true
	}
	p.wait(fmt.Sprintf("this function's clock is %v from the servers', so nothing is ended", skew.Round(time.Second)), time.Time{})
	p.job.log(ctx, slog.LevelWarn, "the clocks do not agree, so no key is ended", p.c, slog.Duration("ahead", skew))
	return false
}

// skewed returns how far the clocks are apart, if that is too far.
func (p *pass) skewed() time.Duration {
	if p.job.Skew == nil {
		return 0
	}
	if skew := p.job.Skew(); skew > apart || skew < -apart {
		return skew
	}
	return 0
}

// behind reports whether a store that shows a version as the current one may be behind the promotion that took its place.
func (p *pass) behind(version secrets.Version) bool {
	return version.ID != "" && version.ID == p.r.Previous.Version && wall().Before(p.r.Promoted.Add(settling))
}

// moved finds out what it means that the store's current version is not the one that the rotation has made current. It reports whether the
// old key has to be kept.
func (p *pass) moved(ctx context.Context, version secrets.Version, found stored) (bool, error) {
	r := p.r
	switch mark := p.mark(found.key); {
	case p.behind(version):
		// To take this for somebody's way back would have the old key stay, also in an emergency, and the new one end.
		p.wait("the store still shows the version of the old key, so that is kept; it is looked at again", time.Time{})
		return true, nil
	case mark == r.Current.Fingerprint:
		r.Current.Version = version.ID
		return false, p.save(ctx)
	case mark == r.Previous.Fingerprint, version.ID == r.Previous.Version:
		// Somebody has gone back to the old key by hand.
		if err := p.enable(ctx, &r.Previous); err != nil {
			return true, err
		}
		r.Cycle = cycle{Number: r.Cycle.Number + 1, ID: uuid(), Reason: audit.ReasonDrift, Started: wall(), Verified: wall()}
		if err := p.swap(version); err != nil {
			return true, err
		}
		p.wait("somebody has made the old key current again, so it is kept", r.RevokeAfter)
		return true, p.enter(ctx, Grace)
	}
	if identifier, ok := p.c.Issuer.(Identifier); ok {
		id, err := identifier.Identify(ctx, found.key)
		if err == nil && id != "" && id != r.Previous.KeyID {
			return false, nil // the cycle is ended first, and then this is looked at
		}
	}
	if p.urgent() {
		return false, nil // others may know the old one, whoever has stored it anew
	}
	return true, because(audit.StepRevoke, fmt.Errorf("somebody else has replaced the key, perhaps by the old one, so that is kept: "+
		"roll back, or make the rotation's version current again: %w", secrets.ErrConflict))
}

// used reports whether the old key is still in use and is kept for that reason.
func (p *pass) used(ctx context.Context) (bool, error) {
	r := p.r
	latest := r.Promoted.Add(max(p.c.Grace, p.c.MaxGrace))
	if !p.c.Issuer.Traits().LastUsed || r.Cycle.Emergency || r.Previous.KeyID == "" || !wall().Before(latest) {
		return false, nil
	}
	prefix := ""
	if p.c.Issuer.Traits().Named && r.Previous.Name != "" {
		prefix = r.Previous.Name
	}
	keys, err := p.c.Issuer.Find(ctx, prefix)
	if err != nil {
		return false, because(audit.StepRevoke, err)
	}
	for _, key := range keys {
		// Until half of the grace has passed gateways are expected to have it.
		if key.ID != r.Previous.KeyID || !key.LastUsed.After(r.Promoted.Add(p.c.Grace/2)) {
			continue
		}
		until := whole(key.LastUsed.Add(p.c.Grace))
		if until.After(latest) {
			until = latest
		}
		if !wall().Before(until) {
			return false, nil
		}
		r.RevokeAfter = until
		p.wait("the old key is still in use, and is kept a while longer", until)
		p.job.log(ctx, slog.LevelWarn, "the old key is still in use", p.c, slog.Time("last_used", key.LastUsed), slog.Time("kept_until", until))
		return true, p.save(ctx)
	}
	return false, nil
}
