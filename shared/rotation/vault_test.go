package rotation_test

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/postern-ai/postern/shared/audit"
	"github.com/postern-ai/postern/shared/ledger"
	"github.com/postern-ai/postern/shared/secrets"
)

// vault is the secret store as a function reaches it.
type vault struct{ *function }

func (v vault) do(ctx context.Context, ref secrets.Ref, op string, effect func() error) error {
	err, _ := v.call(ctx, op, effect)
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*secrets.Error](err); ok {
		return err
	}
	return &secrets.Error{Ref: ref, Op: op, Reason: err.Error(), Err: err}
}

func fail(ref secrets.Ref, op, reason string, err error) error {
	return &secrets.Error{Ref: ref, Op: op, Reason: reason, Err: err}
}

// shown is which versions there are.
func (w *world) shown() shown { return shown{w.current, w.previous, w.staged} }

// changing keeps what a store that is behind goes on showing.
func (w *world) changing() { w.before, w.changed = w.shown(), time.Now() }

func (v vault) Inspect(ctx context.Context, ref secrets.Ref) (secrets.Inventory, error) {
	var inventory secrets.Inventory
	err := v.do(ctx, ref, "inspect", func() error {
		show := func(id string) secrets.Version {
			if found := v.version(id); found != nil {
				return secrets.Version{ID: found.id, Cycle: found.cycle, Created: found.created}
			}
			return secrets.Version{}
		}
		now := v.shown()
		if time.Since(v.changed) < v.lag {
			now = v.before
		}
		inventory = secrets.Inventory{Current: show(now.current), Previous: show(now.previous), Staged: show(now.staged)}
		return nil
	})
	return inventory, err
}

func (v vault) Value(ctx context.Context, ref secrets.Ref, id string) (secrets.Value, error) {
	var value secrets.Value
	err := v.do(ctx, ref, "value", func() error {
		found := v.version(id)
		if found == nil || found.text == "" || time.Since(found.created) < v.lag {
			return fail(ref, "value", "there is no such version", secrets.ErrNotFound)
		}
		value = secrets.NewValue(found.text)
		return nil
	})
	return value, err
}

func (v vault) Stage(ctx context.Context, ref secrets.Ref, candidate secrets.Candidate) (secrets.Version, error) {
	var version_ secrets.Version
	err := v.do(ctx, ref, "stage", func() error {
		for _, known := range v.versions {
			if known.cycle != candidate.Cycle {
				continue
			}
			if known.text == "" {
				v.writes++
				known.text = candidate.Value.Reveal() // the store's own rotation begins with a version without a value
			}
			if known.text != candidate.Value.Reveal() || known.dropped {
				return fail(ref, "stage", "the cycle has staged another value", secrets.ErrConflict)
			}
			version_ = secrets.Version{ID: known.id, Cycle: known.cycle, Created: known.created}
			return nil
		}
		if v.version(v.staged) != nil {
			return fail(ref, "stage", "another version is staged", secrets.ErrOccupied)
		}
		v.writes++
		v.changing()
		made := &version{id: v.nextID(), cycle: candidate.Cycle, text: candidate.Value.Reveal(), created: time.Now()}
		v.versions = append(v.versions, made)
		v.staged = made.id
		version_ = secrets.Version{ID: made.id, Cycle: made.cycle, Created: made.created}
		return nil
	})
	return version_, err
}

func (v vault) Promote(ctx context.Context, ref secrets.Ref, promotion secrets.Promotion) (secrets.Version, error) {
	var version_ secrets.Version
	err := v.do(ctx, ref, "promote", func() error {
		to, now := v.version(promotion.To), v.version(v.current)
		if v.kind.copies && now != nil && now.from != "" && now.from == promotion.To {
			to = now // it was promoted before
		}
		switch {
		case to == nil:
			return fail(ref, "promote", "there is no such version", secrets.ErrConflict)
		case v.current == to.id:
		case to.id != v.staged && to.id != v.previous:
			return fail(ref, "promote", "it is neither staged nor the version before", secrets.ErrConflict)
		case v.current != promotion.From:
			return fail(ref, "promote", "another version is current", secrets.ErrConflict)
		default:
			v.writes++
			v.promotions++
			v.promoted = time.Now()
			v.changing()
			if v.staged == to.id {
				v.staged, to.dropped = "", v.kind.copies
			}
			if v.kind.copies {
				to = &version{id: v.nextID(), cycle: to.cycle, from: to.id, text: to.text, created: time.Now()}
				v.versions = append(v.versions, to)
			}
			v.current, v.previous = to.id, v.current
		}
		version_ = secrets.Version{ID: to.id, Cycle: to.cycle, Created: to.created}
		return nil
	})
	return version_, err
}

func (v vault) Drop(ctx context.Context, ref secrets.Ref, id string) error {
	return v.do(ctx, ref, "drop", func() error {
		found := v.version(id)
		switch {
		case found == nil:
			return nil
		case v.current == id:
			if !v.strict {
				v.violate("the current version was to be dropped")
			}
			return fail(ref, "drop", "it is current", secrets.ErrConflict)
		}
		v.writes++
		found.dropped = true
		if v.staged == id {
			v.staged = ""
		}
		if v.previous == id {
			v.previous = ""
		}
		return nil
	})
}

// rows is the ledger's store as a function reaches it.
type rows struct{ *function }

func (r rows) do(ctx context.Context, key, op string, effect func() error) error {
	err, certain := r.call(ctx, "ledger "+op, effect)
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*ledger.Error](err); ok {
		return err
	}
	cause := ledger.ErrUnanswered
	if certain {
		cause = ledger.ErrUnavailable
	}
	return &ledger.Error{Key: key, Reason: err.Error(), Err: cause}
}

func (r rows) Read(ctx context.Context, key string) (entry ledger.Entry, err error) {
	err = r.do(ctx, key, "read", func() (err error) { entry, err = r.ledger.Read(ctx, key); return err })
	return entry, err
}

func (r rows) Write(ctx context.Context, key string, entry ledger.Entry) (revision string, err error) {
	err = r.do(ctx, key, "write", func() (err error) {
		if r.paced && time.Since(r.wrote[key]) < time.Second {
			return &ledger.Error{Key: key, Reason: "429", Err: ledger.ErrUnavailable}
		}
		if r.wrote == nil {
			r.wrote = map[string]time.Time{}
		}
		r.wrote[key] = time.Now()
		r.texts = append(r.texts, slices.Clone(entry.Data))
		revision, err = r.ledger.Write(ctx, key, entry)
		return err
	})
	return revision, err
}

func (r rows) Remove(ctx context.Context, key string, entry ledger.Entry) error {
	return r.do(ctx, key, "remove", func() error { return r.ledger.Remove(ctx, key, entry) })
}

// forgetful is a ledger that never learns that a key is about to be made.
type forgetful struct{ ledger.Ledger }

func (f forgetful) Save(ctx context.Context, key string, record ledger.Record) (ledger.Record, error) {
	if bytes.Contains(record.Data, []byte(`"phase":"creating"`)) {
		return record, nil
	}
	return f.Ledger.Save(ctx, key, record)
}

// bus is the event bus as a function reaches it.
type bus struct{ *function }

func (b bus) Publish(ctx context.Context, events ...audit.Event) error {
	err, _ := b.call(ctx, "publish", func() error {
		b.events = append(b.events, events...)
		return nil
	})
	return err
}
