package rotation

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/postern-ai/postern/shared/audit"
	"github.com/postern-ai/postern/shared/ledger"
	"github.com/postern-ai/postern/shared/secrets"
)

// settle takes note of a key that somebody else has made current: the one that was there before the first rotation, or one put in the place of
// ours. It reports whether the phase has changed.
func (p *pass) settle(ctx context.Context, inventory secrets.Inventory) (bool, error) {
	r := p.r
	if inventory.Current.ID == r.Current.Version {
		return false, nil
	}
	if inventory.Current.ID == "" {
		return false, because(audit.StepReconcile, fmt.Errorf("the secret has no current version any more, and had one: %w", secrets.ErrNotFound))
	}
	found, err := p.read(ctx, inventory.Current.ID)
	if err != nil {
		return false, because(audit.StepReconcile, err)
	}
	if r.Current.Version != "" && p.mark(found.key) == r.Current.Fingerprint {
		// The same key has been stored again.
		r.Current.Version = inventory.Current.ID
		return false, p.save(ctx)
	}
	adopted, err := p.adopt(ctx, inventory.Current, found)
	if err != nil {
		return false, err
	}
	displaced := r.Current
	r.Current, r.Promoted = adopted, time.Time{}
	if displaced.Version == "" {
		return false, p.save(ctx)
	}
	return p.drifted(ctx, displaced)
}

// adopt is a key that was not made here.
func (p *pass) adopt(ctx context.Context, version secrets.Version, found stored) (held, error) {
	adopted := held{Version: version.ID, Created: whole(version.Created), Fingerprint: p.mark(found.key)}
	if p.r.Current.Version == "" && p.r.Cycle.Number == 0 {
		adopted.KeyID = p.c.InitialKey
	}
	if identifier, ok := p.c.Issuer.(Identifier); ok {
		id, err := identifier.Identify(ctx, found.key)
		if err != nil && !errors.Is(err, ErrRefused) {
			return held{}, because(audit.StepReconcile, err)
		}
		if err == nil {
			adopted.KeyID = id
		}
	}
	if p.c.Issuer.Traits().Overlap == TwoSlots {
		if adopted.KeyID == "" {
			return held{}, because(audit.StepReconcile, fmt.Errorf("the stored key is none of the owner's two: store one of them: %w", ErrRefused))
		}
		adopted.Ours = true
	}
	adopted.Ours = adopted.Ours || p.c.InitialKey != "" && p.c.InitialKey == adopted.KeyID
	return adopted, nil
}

// drifted makes the replacement of our key by somebody else a cycle of its own, at whose end our key is revoked.
func (p *pass) drifted(ctx context.Context, displaced held) (bool, error) {
	r := p.r
	now := wall()
	// What an operator was asked for in an emergency may be done in this way too.
	emergency := r.Phase != Idle && r.Cycle.Emergency
	r.Cycle = cycle{Number: r.Cycle.Number + 1, ID: uuid(), Reason: audit.ReasonDrift, Started: now, Verified: now, Emergency: emergency}
	r.Previous, r.Promoted, r.RevokeAfter = displaced, now, now.Add(p.c.Grace)
	if emergency {
		r.RevokeAfter = now
	}
	if err := p.tellRotated(); err != nil {
		return false, err
	}
	p.job.log(ctx, slog.LevelWarn, "somebody else has replaced the key", p.c)
	return true, p.enter(ctx, Grace)
}

// mostReaped is how many orphans one pass ends: each of them is told, and what is told has to fit into the record.
const mostReaped = 16

// reap ends keys that were made here and that nobody knows: what a run has left that died, or whose order was answered after it had been
// given up. Only keys whose name says that this record made them, or, where keys have no names, keys of the times in which such an order was
// under way, are touched.
func (p *pass) reap(ctx context.Context) error {
	traits := p.c.Issuer.Traits()
	if traits.Overlap != Parallel || traits.Recovery == Assisted || !traits.Named && (len(p.r.Suspects) == 0 || p.skewed() != 0) {
		return nil
	}
	if p.r.Cycle.Attempt == 0 && p.r.Cycle.Number == 0 {
		return nil // nothing has ever been ordered
	}
	keys, err := p.find(ctx)
	if err != nil {
		return err
	}
	keys = slices.DeleteFunc(keys, func(key Key) bool { return !p.orphan(key) })
	if len(keys) > 0 {
		// If no other run had begun anything when the list had been read, none of its keys is another run's.
		if err := p.unchanged(ctx); err != nil {
			return err
		}
	}
	for _, key := range keys[:min(len(keys), mostReaped)] {
		if err := p.end(ctx, key); err != nil {
			return err
		}
	}
	if len(keys) <= mostReaped && p.r.Suspects != nil && p.r.Phase == Idle && time.Since(p.r.Suspects[len(p.r.Suspects)-1].To) > apart {
		p.r.Suspects = nil
		return p.save(ctx)
	}
	return nil
}

// unchanged makes sure that no other run has changed the record since this one has.
func (p *pass) unchanged(ctx context.Context) error {
	found, err := p.job.Ledger.Load(ctx, recordKey(p.c.Name))
	if p.saved.Revision == "" && errors.Is(err, ledger.ErrNotFound) {
		return nil
	}
	if err == nil && found.Revision != p.saved.Revision {
		err = fmt.Errorf("another run has gone on: %w", ledger.ErrConflict)
	}
	if err != nil {
		return &ledgerError{err}
	}
	return nil
}

func (p *pass) find(ctx context.Context) ([]Key, error) {
	prefix := p.prefix()
	if !p.c.Issuer.Traits().Named {
		prefix = ""
	}
	keys, err := p.c.Issuer.Find(ctx, prefix)
	if err != nil {
		return nil, because(audit.StepReconcile, err)
	}
	return keys, nil
}

// spare notes the key that somebody else has made current while ours is made: by its age alone it may look like one of ours.
func (p *pass) spare(ctx context.Context, version string, found stored) error {
	p.spared = ""
	identifier, ok := p.c.Issuer.(Identifier)
	if !ok || version == "" || version == p.r.Current.Version {
		return nil
	}
	id, err := identifier.Identify(ctx, found.key)
	if err != nil && !errors.Is(err, ErrRefused) {
		return because(audit.StepReconcile, err)
	}
	p.spared = id
	return nil
}

// orphan reports whether a key was made here and is in no use.
func (p *pass) orphan(key Key) bool {
	for _, known := range []string{p.r.Current.KeyID, p.r.Previous.KeyID, p.r.Pending.KeyID, p.spared} {
		if known != "" && known == key.ID {
			return false
		}
	}
	if slices.Contains(p.ended, key.ID) {
		return false
	}
	if p.c.Issuer.Traits().Named {
		return strings.HasPrefix(key.Name, p.prefix())
	}
	for _, suspect := range p.r.Suspects {
		if !key.Created.IsZero() && !key.Created.Before(suspect.From.Add(-apart)) && !key.Created.After(suspect.To.Add(apart)) {
			return true
		}
	}
	return false
}

// end ends an orphan and tells of it.
func (p *pass) end(ctx context.Context, key Key) error {
	if err := p.c.Issuer.Revoke(ctx, key); err != nil {
		return because(audit.StepReconcile, err)
	}
	p.ended = append(p.ended, key.ID)
	if err := p.tellOrphan(key); err != nil {
		return err
	}
	p.job.log(ctx, slog.LevelWarn, "a key that was made here and that nobody knows has been revoked", p.c, slog.String("key", key.ID))
	return p.save(ctx)
}

// suspect notes that a key may have been made since the order went out, and that nobody may know it.
func (p *pass) suspect() {
	if p.c.Issuer.Traits().Named {
		return
	}
	// An order that was sent may still arrive, from a function that is frozen with it in its hands.
	suspect := window{p.r.Cycle.Ordered, wall().Add(longestRun)}
	if last := len(p.r.Suspects) - 1; last >= 0 && p.r.Suspects[last].From.Equal(suspect.From) {
		p.r.Suspects[last] = suspect
		return
	}
	p.r.Suspects = append(p.r.Suspects, suspect)
	if most := 2 * mostAttempts; len(p.r.Suspects) > most {
		p.r.Suspects = p.r.Suspects[len(p.r.Suspects)-most:]
	}
}
