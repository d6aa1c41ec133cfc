package rotation

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/postern-ai/postern/shared/audit"
	"github.com/postern-ai/postern/shared/secrets"
)

const (
	// patience is how long a new key may be unknown to its service, besides what its issuer declares.
	patience = 30 * time.Minute
	// stillProven is how long a proof lasts.
	stillProven = 10 * time.Minute
	// appearing is how long a store may not show a version that it has taken in.
	appearing = 5 * time.Minute
	// mostConflicts is how often a promotion is tried that the store refuses.
	mostConflicts = 3
	// reminder is how often an operator is told again.
	reminder = 24 * time.Hour
)

// await looks whether an operator has staged a key.
func (p *pass) await(ctx context.Context) (bool, error) {
	inventory, err := p.inspect(ctx, audit.StepReconcile)
	if err != nil {
		return false, err
	}
	first := p.r.Current.Version == "" && inventory.Current.ID != ""
	if moved, err := p.settle(ctx, inventory); err != nil || moved {
		return moved, err
	}
	if first {
		// What was waited for is there, as the current version.
		return true, p.enter(ctx, Idle)
	}
	staged := inventory.Staged
	if staged.ID == "" {
		return false, p.remind(ctx, "make a new key at the provider and stage it in the secret store", wall().Add(p.c.Grace))
	}
	found, err := p.read(ctx, staged.ID)
	if err != nil {
		return false, because(audit.StepReconcile, err)
	}
	if mark := p.mark(found.key); mark == p.r.Current.Fingerprint {
		return false, p.remind(ctx, "the staged key is the one in use: stage a new one", wall().Add(p.c.Grace))
	}
	key := Key{}
	if identifier, ok := p.c.Issuer.(Identifier); ok {
		id, err := identifier.Identify(ctx, found.key)
		if err != nil && !errors.Is(err, ErrRefused) {
			return false, because(audit.StepReconcile, err)
		}
		key.ID = id
	}
	p.r.Cycle.Attempt++
	return true, p.pend(ctx, key, staged, found.key)
}

// remind tells an operator what to do, once a day.
func (p *pass) remind(ctx context.Context, task string, due time.Time) error {
	p.wait(task, time.Time{})
	if wall().Before(p.r.Reminded.Add(reminder)) {
		return nil
	}
	p.r.Reminded = wall()
	if err := p.tellOperator(task, due); err != nil {
		return err
	}
	return p.save(ctx)
}

// verify has the pending key prove itself.
func (p *pass) verify(ctx context.Context) (bool, error) {
	inventory, err := p.inspect(ctx, audit.StepVerify)
	if err != nil {
		return false, err
	}
	if p.current(inventory) {
		p.r.Cycle.Verified = wall()
		return true, p.enter(ctx, Promoting)
	}
	if p.displaced(inventory) {
		return false, p.reject(ctx, fmt.Errorf("the staged version has lost its place in the store: %w", secrets.ErrConflict))
	}
	found, err := p.read(ctx, p.r.Pending.Version)
	if err != nil {
		if errors.Is(err, secrets.ErrNotFound) && wall().Before(p.r.Cycle.Verifying.Add(appearing)) {
			p.wait("the store does not show the staged version yet", time.Time{})
			return false, nil
		}
		if errors.Is(err, secrets.ErrNotFound) || errors.Is(err, secrets.ErrUnusable) {
			return false, p.reject(ctx, err)
		}
		return false, because(audit.StepVerify, err)
	}
	if p.mark(found.key) != p.r.Pending.Fingerprint {
		return false, p.reject(ctx, fmt.Errorf("somebody has staged another key meanwhile: %w", secrets.ErrConflict))
	}
	c := &p.r.Cycle
	begun := time.Now()
	tries, err := p.prove(ctx, found.key)
	c.Tries += tries
	c.Took += time.Since(begun).Milliseconds()
	switch {
	case errors.Is(err, ErrRejected) && wall().Before(c.Verifying.Add(patience+p.c.Issuer.Traits().Propagation)):
		// New keys are not known everywhere at once.
		p.wait("the new key is not accepted yet", time.Time{})
		return false, p.save(ctx)
	case errors.Is(err, ErrRejected):
		return false, p.reject(ctx, err)
	case err != nil:
		return false, because(audit.StepVerify, err)
	}
	if err := p.replaces(ctx, inventory.Current); err != nil {
		return false, err
	}
	c.Verified = wall()
	return true, p.enter(ctx, Promoting)
}

// replaces notes which version the pending one takes the place of. Usually it is that which the rotation has left there.
func (p *pass) replaces(ctx context.Context, current secrets.Version) error {
	r := p.r
	known := current.ID == r.Current.Version || current.ID == r.From || r.staged(current.Cycle)
	if current.ID == r.Pending.Version || current.Cycle == r.Cycle.Stage && current.Cycle != "" {
		// Somebody has promoted the pending one by hand.
		r.From = r.Current.Version
		return nil
	}
	if known || current.ID == "" {
		r.From = current.ID
		return nil
	}
	strange, err := p.strange(ctx, current.ID)
	if err != nil {
		return because(audit.StepVerify, err)
	}
	r.From = current.ID
	if !strange {
		r.Current.Version = current.ID // the same key has been stored again
		return nil
	}
	return p.tellOperator("look at the key that somebody else has stored while the next one was made: the next one takes its place now, so revoke it at its "+
		"provider if nothing else uses it", wall().Add(reminder))
}

// strange reports whether a version holds none of the keys that the rotation knows.
func (p *pass) strange(ctx context.Context, version string) (bool, error) {
	found, err := p.read(ctx, version)
	if errors.Is(err, secrets.ErrNotFound) || errors.Is(err, secrets.ErrUnusable) {
		return true, nil
	}
	mark := p.mark(found.key)
	return mark != p.r.Current.Fingerprint && mark != p.r.Previous.Fingerprint, err
}

// current reports whether an earlier run has made the pending key current and could not write it down. Then it is neither tried nor given up.
func (p *pass) current(inventory secrets.Inventory) bool {
	if p.r.Cycle.Verified.IsZero() || inventory.Current.ID == p.r.From {
		return false
	}
	return inventory.Current.ID == p.r.Pending.Version || inventory.Current.Cycle != "" && inventory.Current.Cycle == p.r.Cycle.Stage
}

// displaced reports whether the pending version cannot be promoted any more: it is in no place from which a store promotes, and the store has said
// so more often than an inventory that is behind would explain.
func (p *pass) displaced(inventory secrets.Inventory) bool {
	f, version := p.r.Failures, p.r.Pending.Version
	return f.Count >= mostConflicts && f.Step == audit.StepPromote && f.Class == audit.FailureConflict &&
		version != inventory.Staged.ID && version != inventory.Current.ID && version != inventory.Previous.ID
}

// prove uses a key as often in a row as proves it.
func (p *pass) prove(ctx context.Context, key secrets.Value) (tries int, err error) {
	for range max(1, p.c.Successes, p.c.Issuer.Traits().Successes) {
		tries++
		if err = p.c.Verifier.Verify(ctx, key); err != nil {
			return tries, err
		}
	}
	return tries, nil
}

// reject gives a pending key up, and orders another.
func (p *pass) reject(ctx context.Context, cause error) error {
	failed := because(audit.StepVerify, cause)
	traits := p.c.Issuer.Traits()
	if traits.Overlap == InPlace {
		return failed // it is the only key that there is
	}
	pending := p.r.Pending
	spent := traits.Overlap == Parallel && traits.Recovery != Assisted && pending.KeyID != ""
	drop := func() error { return p.job.Store.Drop(ctx, p.ref(), pending.Version) }
	switch {
	case traits.Recovery == Assisted:
		p.r.Pending, p.r.Reminded = held{}, time.Time{}
		if err := p.enter(ctx, Waiting); err != nil {
			return errors.Join(failed, err)
		}
		return errors.Join(failed, drop())
	case p.r.Cycle.Fixed:
		// The store's own rotation takes one value for its cycle. It has to begin another one.
		p.suspect()
		if err := p.abort(ctx); err != nil {
			return errors.Join(failed, err)
		}
		if spent {
			failed = errors.Join(failed, p.end(ctx, pending.key()))
		}
		return errors.Join(failed, drop())
	case spent:
		// The staged version goes when the next one is staged.
		return errors.Join(failed, p.giveUp(ctx, pending.key()))
	}
	return errors.Join(failed, p.giveUp(ctx))
}

// promote makes the proven key current.
func (p *pass) promote(ctx context.Context) (bool, error) {
	r := p.r
	if wall().After(r.Cycle.Verified.Add(stillProven)) {
		return true, p.enter(ctx, Verifying)
	}
	if err := p.holds(); err != nil {
		return false, err
	}
	version, err := p.job.Store.Promote(ctx, p.ref(), secrets.Promotion{To: r.Pending.Version, From: r.From})
	if errors.Is(err, secrets.ErrConflict) {
		// Somebody else has changed the secret. What is current now is looked at anew, and so is the key.
		return false, errors.Join(because(audit.StepPromote, err), p.enter(ctx, Verifying))
	}
	if err != nil {
		return false, because(audit.StepPromote, err)
	}
	now := wall()
	r.Previous, r.Current, r.Pending = r.Current, r.Pending, held{}
	if r.From != r.Previous.Version {
		// Somebody else's was current in between. Ours is still the one to revoke.
		r.Displaced = r.From
	}
	r.Current.Version, r.Promoted, r.From = version.ID, now, ""
	r.RevokeAfter = now.Add(p.overlap())
	r.Failures = failures{}
	if err := p.tellRotated(); err != nil {
		return false, err
	}
	if err := p.enter(ctx, Grace); err != nil {
		return false, err
	}
	p.rotated = true
	// What has happened is told before the old key ends. An emergency does not wait for it.
	if err := p.publish(ctx); err != nil && !p.urgent() {
		return false, err
	}
	return true, nil
}

// overlap is for how long both keys are to be valid.
func (p *pass) overlap() time.Duration {
	if p.r.Cycle.Emergency || p.c.Issuer.Traits().Overlap == InPlace {
		return 0
	}
	return p.c.Grace
}
