package rotation

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/postern-ai/postern/shared/audit"
	"github.com/postern-ai/postern/shared/secrets"
)

// create has the issuer make the key that the record says is wanted, and stages it. Between the two nothing happens: a key whose secret is
// shown once is lost if the function dies there.
func (p *pass) create(ctx context.Context) (bool, error) {
	inventory, err := p.inspect(ctx, audit.StepReconcile)
	if err != nil {
		return false, err
	}
	if staged := inventory.Staged; staged.ID != "" {
		switch {
		case staged.Cycle == p.r.Cycle.Stage:
			done, err := p.resume(ctx, inventory)
			if err != nil || done {
				return done, err
			}
		default:
			if err := p.unstage(ctx, staged); err != nil {
				return false, err
			}
		}
	}
	old, err := p.read(ctx, inventory.Current.ID)
	if err != nil {
		return false, because(audit.StepReconcile, err)
	}
	if err := p.spare(ctx, inventory.Current.ID, old); err != nil {
		return false, err
	}
	if !p.fresh && !p.r.Cycle.Unsent {
		settled, err := p.reconcile(ctx, old)
		if err != nil || settled {
			return settled && p.r.Phase == Verifying, err
		}
	}
	if p.r.Cycle.Unsent {
		// A key that nobody knows may be what there is no room for another one.
		if err := p.reap(ctx); err != nil {
			return false, err
		}
		// From here on there may be a key.
		p.r.Cycle.Unsent, p.r.Cycle.Ordered = false, wall()
		if err := p.save(ctx); err != nil {
			return false, err
		}
	}
	p.fresh = false
	return p.make(ctx, old)
}

// disableFirst stops the key that others know before there is another one, if that was asked for.
func (p *pass) disableFirst(ctx context.Context) error {
	disabler, ok := p.c.Issuer.(Disabler)
	if !p.r.Cycle.DisableFirst || !ok || p.r.Current.KeyID == "" || p.r.Current.Disabled {
		return nil
	}
	if err := disabler.Disable(ctx, p.r.Current.key()); err != nil {
		// The next key does not wait for what is not possible.
		p.r.Cycle.DisableFirst = !errors.Is(err, ErrRefused)
		return because(audit.StepRevoke, err)
	}
	p.r.Current.Disabled = true
	if err := p.tellRevoked(p.r.Current, audit.EndingDeactivated); err != nil {
		return err
	}
	return p.save(ctx)
}

func (p *pass) orderOf(old stored) Order {
	c := p.r.Cycle
	order := Order{
		Credential: p.c.Name, Cycle: c.ID, Number: c.Number, Name: c.Name, Current: p.r.Current.KeyID, Content: old.key,
	}
	if p.c.Issuer.Traits().Expiry {
		// The end comes long after the next rotation: it is for the case that there is none any more.
		order.Expires = c.Ordered.Add(p.c.Every + max(2*p.c.Grace, p.c.Every/2))
	}
	return order
}

// make makes a key, of which there is certainly none yet.
func (p *pass) make(ctx context.Context, old stored) (bool, error) {
	order := p.orderOf(old)
	if p.c.Issuer.Traits().Recovery == Chosen {
		return p.makeChosen(ctx, order, old)
	}
	if err := p.holds(); err != nil {
		return false, err
	}
	issued, err := p.c.Issuer.Create(ctx, order)
	if err != nil {
		// Where nothing has come of it, the next run need not look for a key.
		p.r.Cycle.Unsent = errors.Is(err, ErrUnavailable) || errors.Is(err, ErrRefused)
		return false, because(audit.StepCreate, err)
	}
	return true, p.stage(ctx, issued, old)
}

// makeChosen stages a secret of our own before the issuer hears of it.
func (p *pass) makeChosen(ctx context.Context, order Order, old stored) (bool, error) {
	chooser, ok := p.c.Issuer.(Chooser)
	if !ok {
		return false, because(audit.StepCreate, errors.New("its issuer wants a chosen secret and chooses none"))
	}
	key, err := chooser.Choose(order)
	if err != nil {
		return false, because(audit.StepCreate, err)
	}
	whole, err := p.with(old, key)
	if err != nil {
		return false, because(audit.StepStage, err)
	}
	version, err := p.job.Store.Stage(ctx, p.ref(), secrets.Candidate{Cycle: p.r.Cycle.Stage, Value: whole})
	if err != nil {
		return false, because(audit.StepStage, err)
	}
	return true, p.orderChosen(ctx, version, key)
}

// orderChosen has the issuer take a staged secret of our own, unless it has it already.
func (p *pass) orderChosen(ctx context.Context, version secrets.Version, key secrets.Value) error {
	id := ""
	if identifier, ok := p.c.Issuer.(Identifier); ok {
		var err error
		if id, err = identifier.Identify(ctx, key); err != nil {
			return because(audit.StepReconcile, err)
		}
	}
	made := Key{ID: id}
	if id == "" {
		if err := p.holds(); err != nil {
			return err
		}
		order := p.orderOf(stored{})
		order.Chosen = key
		issued, err := p.c.Issuer.Create(ctx, order)
		if err != nil {
			return because(audit.StepCreate, err)
		}
		made = issued.Key
	}
	return p.pend(ctx, made, version, key)
}

// stage keeps a new key where no gateway looks.
func (p *pass) stage(ctx context.Context, issued Issued, old stored) error {
	whole, err := p.with(old, issued.Value)
	if err != nil {
		return p.unstaged(ctx, issued.Key, err)
	}
	version, err := p.job.Store.Stage(ctx, p.ref(), secrets.Candidate{Cycle: p.r.Cycle.Stage, Value: whole})
	if err != nil {
		return p.unstaged(ctx, issued.Key, err)
	}
	return p.pend(ctx, issued.Key, version, issued.Value)
}

// pend writes down which key is staged.
func (p *pass) pend(ctx context.Context, key Key, version secrets.Version, value secrets.Value) error {
	p.r.Pending = held{
		KeyID: key.ID, Name: p.r.Cycle.Name, Version: version.ID, Fingerprint: p.mark(value), Created: whole(key.Created), Expires: whole(key.Expires), Ours: key.ID != "",
	}
	p.r.Cycle.Verifying, p.r.Cycle.Tries, p.r.Cycle.Took = wall(), 0, 0
	return p.enter(ctx, Verifying)
}

// whole is a time in whole seconds.
func whole(t time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	return t.UTC().Truncate(time.Second)
}

// unstaged revokes a key whose secret could not be kept. If the store has it after all, or may have, the next run finds out.
func (p *pass) unstaged(ctx context.Context, key Key, cause error) error {
	failed := because(audit.StepStage, cause)
	if p.c.Issuer.Traits().Overlap != Parallel {
		return failed
	}
	// The run's time may be what has ended.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stepTime)
	defer cancel()
	inventory, err := p.job.Store.Inspect(ctx, p.ref())
	if err != nil || inventory.Staged.Cycle == p.r.Cycle.Stage {
		return failed
	}
	return errors.Join(failed, p.giveUp(ctx, key))
}

// giveUp orders anew and revokes keys that will not be used. That they will not is written down first, so that no other run, which may have
// taken over meanwhile, has begun to use them. A key that is left then is an orphan.
func (p *pass) giveUp(ctx context.Context, keys ...Key) error {
	if err := p.again(ctx); err != nil {
		return err
	}
	for _, key := range keys {
		if err := p.end(ctx, key); err != nil {
			return err
		}
	}
	return nil
}

// again orders anew: another key under another name.
func (p *pass) again(ctx context.Context) error {
	p.suspect()
	p.r.Pending = held{}
	if p.r.Cycle.Attempt >= mostAttempts {
		return p.abort(ctx)
	}
	p.order()
	return p.enter(ctx, Creating)
}

// abort ends a cycle that has come to nothing. The next one is begun when it is due, which is soon, as what somebody has asked for still is.
func (p *pass) abort(ctx context.Context) error {
	p.r.Pending, p.r.From, p.r.Cycle.Aborted = held{}, "", true
	if c := p.r.Cycle; c.Asked && p.r.Forced.Reason == "" {
		p.r.Forced = forced{Reason: c.Reason, Actor: c.Actor, DisableFirst: c.DisableFirst}
	}
	return p.enter(ctx, Idle)
}

// resume goes on with what an earlier run has staged. It reports whether there was a value.
func (p *pass) resume(ctx context.Context, inventory secrets.Inventory) (bool, error) {
	found, err := p.read(ctx, inventory.Staged.ID)
	if errors.Is(err, secrets.ErrNotFound) {
		return false, nil // the version is there without a value, which the store's own rotation begins with
	}
	if err != nil {
		return false, because(audit.StepReconcile, err)
	}
	if p.c.Issuer.Traits().Recovery == Chosen {
		p.suspect() // it may be sent twice
		return true, p.orderChosen(ctx, inventory.Staged, found.key)
	}
	key, err := p.keyOf(ctx, found.key)
	if errors.Is(err, errUnlisted) && wall().After(p.r.Cycle.Ordered.Add(patience)) {
		p.r.Pending = held{Version: inventory.Staged.ID}
		return false, p.reject(ctx, err)
	}
	if err != nil {
		return false, err
	}
	return true, p.pend(ctx, key, inventory.Staged, found.key)
}

// errUnlisted says that a staged key is unknown to its issuer.
var errUnlisted = fmt.Errorf("the issuer does not list the key that is staged (yet): %w", ErrUnavailable)

// keyOf finds out which key a staged secret is.
func (p *pass) keyOf(ctx context.Context, value secrets.Value) (Key, error) {
	traits := p.c.Issuer.Traits()
	if traits.Overlap == InPlace {
		return Key{ID: p.r.Cycle.Stage, Name: p.r.Cycle.Name}, nil
	}
	id := ""
	if identifier, ok := p.c.Issuer.(Identifier); ok {
		var err error
		if id, err = identifier.Identify(ctx, value); err != nil {
			return Key{}, because(audit.StepReconcile, err)
		}
	}
	keys, err := p.find(ctx)
	if err != nil {
		return Key{}, err
	}
	for _, key := range keys {
		if id != "" && key.ID == id || id == "" && traits.Named && key.Name == p.r.Cycle.Name {
			return key, nil
		}
	}
	// A list may be behind. The key's own test tells whether it is there.
	if id != "" {
		return Key{ID: id, Name: p.r.Cycle.Name}, nil
	}
	return Key{}, because(audit.StepReconcile, errUnlisted)
}

// reconcile finds out what an order has come to that an earlier run has sent, or not. It reports whether the step is over: with a key that is
// staged now, or because it has to wait.
func (p *pass) reconcile(ctx context.Context, old stored) (bool, error) {
	switch traits := p.c.Issuer.Traits(); {
	case traits.Overlap == TwoSlots, traits.Recovery == Chosen:
		// A slot that is not in use may be given another value as often as one likes. What was chosen is staged before it is sent.
		return false, nil
	case traits.Overlap == InPlace:
		return p.recover(ctx, Key{ID: p.r.Cycle.Stage}, old)
	}
	keys, err := p.find(ctx)
	if err != nil {
		return false, err
	}
	var made []Key
	p.suspect()
	for _, key := range keys {
		if p.c.Issuer.Traits().Named && key.Name == p.r.Cycle.Name || !p.c.Issuer.Traits().Named && p.orphan(key) {
			made = append(made, key)
		}
	}
	if len(made) == 0 {
		return p.absent(ctx)
	}
	if _, ok := p.c.Issuer.(Recoverer); ok {
		return p.recover(ctx, made[0], old)
	}
	return false, p.reorder(ctx, made...)
}

// absent waits until a key would be listed if there were one, and then orders anew. Should it turn up later, it is an orphan.
func (p *pass) absent(ctx context.Context) (bool, error) {
	if at := p.r.Cycle.Ordered.Add(time.Minute + p.c.Issuer.Traits().Propagation); wall().Before(at) {
		p.wait("it is not known whether a key was made; the issuer's list is looked at again", at)
		return true, nil
	}
	return false, p.reorder(ctx)
}

// reorder gives an attempt up and writes the next one down.
func (p *pass) reorder(ctx context.Context, keys ...Key) error {
	if err := p.giveUp(ctx, keys...); err != nil {
		return err
	}
	if p.r.Phase != Creating {
		return because(audit.StepCreate, fmt.Errorf("%d keys have been ordered, and none has come of it: %w", mostAttempts, ErrUnanswered))
	}
	return nil
}

// recover stages a key whose making was interrupted. In place, the issuer's key may be the old one still.
func (p *pass) recover(ctx context.Context, key Key, old stored) (bool, error) {
	recoverer, ok := p.c.Issuer.(Recoverer)
	if !ok {
		return false, because(audit.StepReconcile, errors.New("its issuer says that keys can be read again and does not read them"))
	}
	value, err := recoverer.Recover(ctx, key, p.orderOf(old))
	if err != nil {
		return false, because(audit.StepReconcile, err)
	}
	if !old.key.IsZero() && value.Equal(old.key) {
		return false, nil
	}
	return true, p.stage(ctx, Issued{Key: key, Value: value}, old)
}
