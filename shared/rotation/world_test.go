package rotation_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/postern-ai/postern/shared/audit"
	"github.com/postern-ai/postern/shared/ledger"
	"github.com/postern-ai/postern/shared/ledger/ledgertest"
	"github.com/postern-ai/postern/shared/rotation"
	"github.com/postern-ai/postern/shared/secrets"
)

const (
	// canary is part of every secret. It must never turn up anywhere but at the issuer and in the store.
	canary = "canary-5e2f"
	every  = 30 * 24 * time.Hour
	grace  = time.Hour
	tick   = 5 * time.Minute
	// patient is how long everything may take until there is rest.
	patient = 5 * 24 * time.Hour
)

// world is everything outside the functions that rotate: an issuer, a secret store, a ledger and a bus. It outlives them, and holds them to
// what must be so at every instant.
type world struct {
	kind kind
	// forgets has every function's ledger lose intents.
	forgets bool

	mu       sync.Mutex
	keys     []*made
	versions []*version
	current  string
	previous string
	staged   string
	ledger   ledgertest.Memory
	texts    [][]byte // all that the ledger has ever held
	events   []audit.Event
	signing  *ecdsa.PrivateKey
	log      bytes.Buffer
	count    int

	promotions int
	promoted   time.Time
	emergency  bool
	writes     int // effects at the issuer and in the store
	broken     []string
}

// made is a key at the issuer.
type made struct {
	id, name, secret  string
	created, lastUsed time.Time
	disabled, revoked bool
	// ready is when the service begins to accept it.
	ready time.Time
	// foreign says that it is none of the rotation's.
	foreign bool
}

type version struct {
	id, cycle, text string
	// from is the version that it is a copy of.
	from    string
	created time.Time
	dropped bool
}

// kind is one set of traits.
type kind struct {
	name   string
	traits rotation.Traits
	// field has the key be one field of a JSON object.
	field bool
	// disables says that keys can be stopped.
	disables bool
	// copies says that the store promotes by a copy, as one without labels does.
	copies bool
	// signs says that the events are signed.
	signs bool
	// slow is how long the service does not know a new key.
	slow time.Duration
}

func kinds() []kind {
	return []kind{
		{name: "named keys that are shown once", disables: true, traits: rotation.Traits{
			Overlap: rotation.Parallel, Recovery: rotation.Listed, Named: true, LastUsed: true, Expiry: true, Propagation: time.Minute,
		}},
		{name: "one field of a secret, known to the service after a while", field: true, slow: 7 * time.Minute, traits: rotation.Traits{
			Overlap: rotation.Parallel, Recovery: rotation.Listed, Named: true, Successes: 3,
		}},
		{name: "two keys without names", disables: true, traits: rotation.Traits{
			Overlap: rotation.Parallel, Recovery: rotation.Listed, MaxLive: 2, LastUsed: true,
		}},
		{name: "named keys that can be read again, in a store that copies", copies: true, traits: rotation.Traits{Overlap: rotation.Parallel, Recovery: rotation.Readable, Named: true}},
		{name: "two slots", signs: true, traits: rotation.Traits{Overlap: rotation.TwoSlots, Recovery: rotation.Readable}},
		{name: "a key that is replaced in place", traits: rotation.Traits{Overlap: rotation.InPlace, Recovery: rotation.Readable}},
		{name: "keys that are chosen here", signs: true, traits: rotation.Traits{Overlap: rotation.Parallel, Recovery: rotation.Chosen, MaxLive: 10}},
	}
}

func newWorld(k kind) *world {
	w := &world{kind: k}
	first := w.newKey("")
	first.foreign = true
	first.ready = time.Time{}
	if k.traits.Overlap == rotation.TwoSlots {
		first.id = "key1"
		second := w.newKey("")
		second.id = "key2"
	}
	w.versions = []*version{{id: "v0", text: w.store(first), created: time.Now()}}
	w.current = "v0"
	return w
}

func (w *world) newKey(name string) *made {
	w.count++
	k := &made{
		id: fmt.Sprintf("key-%d", w.count), name: name, secret: fmt.Sprintf("secret-%d-%s", w.count, canary), created: time.Now(),
		ready: time.Now().Add(w.kind.slow),
	}
	w.keys = append(w.keys, k)
	return k
}

// store is what the secret holds when a key is current.
func (w *world) store(k *made) string {
	if w.kind.field {
		return `{"other":"kept-` + canary + `","key":"` + k.secret + `"}`
	}
	return k.secret
}

func (w *world) version(id string) *version {
	for _, v := range w.versions {
		if v.id == id && !v.dropped {
			return v
		}
	}
	return nil
}

// bySecret finds the key that a stored content is.
func (w *world) bySecret(text string) *made {
	for _, k := range w.keys {
		if strings.Contains(text, k.secret) {
			return k
		}
	}
	return nil
}

func (w *world) byID(id string) *made {
	for _, k := range w.keys {
		if k.id == id {
			return k
		}
	}
	return nil
}

func (k *made) works() bool {
	return k != nil && !k.revoked && !k.disabled && !time.Now().Before(k.ready)
}

// check holds the world to what must be so at every instant: what readers get works. The caller holds the lock.
func (w *world) check() {
	if w.emergency || w.kind.traits.Overlap == rotation.InPlace || w.current == "" {
		return
	}
	v := w.version(w.current)
	if v == nil {
		w.violate("the current version has been dropped")
	} else if !w.bySecret(v.text).works() {
		w.violate("the current key does not work")
	}
}

func (w *world) violate(format string, values ...any) {
	w.broken = append(w.broken, time.Now().Format(time.TimeOnly)+" "+fmt.Sprintf(format, values...))
}

// usable returns the keys that work, but for strangers' and those of a slot.
func (w *world) usable() []*made {
	var usable []*made
	for _, k := range w.keys {
		if !k.revoked && !k.disabled {
			usable = append(usable, k)
		}
	}
	return usable
}

// function is one running function: a process that can die. What happens to each of its calls is for its fault function to say.
type function struct {
	*world
	fault func(call string) fault
	dead  bool
	// forgets has the ledger lose each intent.
	forgets bool
}

// fault is what happens to one call.
type fault int

const (
	none fault = iota
	failsBefore
	losesReply
	timesOut
	throttled
	failsAfter5xx
	diesBefore
	diesAfter
	freezes
)

func (f fault) String() string {
	return [...]string{"none", "fails before its effect", "loses its reply", "times out", "is throttled", "answers 5xx", "dies before", "dies after", "freezes"}[f]
}

var (
	errDead = errors.New("this process is dead")
	errLost = errors.New("connection reset")
)

// call does one call from a function, with the fault that is planned for it. The effect runs with the world locked. Its own error is final;
// the fault's is either certain or in doubt.
func (f *function) call(ctx context.Context, name string, effect func() error) (err error, certain bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.dead {
		return errDead, false
	}
	planned := none
	if f.fault != nil {
		f.mu.Unlock()
		planned = f.fault(name)
		f.mu.Lock()
	}
	switch planned {
	case failsBefore:
		return errLost, false
	case throttled:
		return errors.New("429"), true
	case failsAfter5xx:
		return errors.New("503"), false
	case timesOut:
		f.mu.Unlock()
		time.Sleep(10 * time.Second)
		f.mu.Lock()
		return context.DeadlineExceeded, false
	case diesBefore:
		f.dead = true
		return errDead, false
	case freezes:
		f.mu.Unlock()
		time.Sleep(13 * time.Minute)
		f.mu.Lock()
	case losesReply, diesAfter:
		_ = effect()
		f.check()
		f.dead = f.dead || planned == diesAfter
		return errLost, false
	}
	err = effect()
	f.check()
	return err, true
}

// issuer is the issuer as a function reaches it.
type issuer struct{ *function }

func (i issuer) do(ctx context.Context, op string, effect func() error) error {
	err, certain := i.call(ctx, op, effect)
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*rotation.Error](err); ok {
		return err
	}
	cause := rotation.ErrUnanswered
	if certain {
		cause = rotation.ErrUnavailable
	}
	return &rotation.Error{Op: op, Reason: err.Error(), Err: cause}
}

func (i issuer) Traits() rotation.Traits { return i.kind.traits }

func refuse(op, reason string) error {
	return &rotation.Error{Op: op, Reason: reason, Err: rotation.ErrRefused}
}

func (i issuer) Create(ctx context.Context, order rotation.Order) (rotation.Issued, error) {
	var issued rotation.Issued
	err := i.do(ctx, "create", func() error {
		i.writes++
		switch {
		case i.kind.traits.Overlap == rotation.TwoSlots:
			k := i.byID("key1")
			if order.Current == "key1" {
				k = i.byID("key2")
			}
			i.renew(k)
			issued = rotation.Issued{Key: rotation.Key{ID: k.id}, Value: secrets.NewValue(k.secret)}
		case i.kind.traits.Overlap == rotation.InPlace:
			k := i.keys[0]
			i.renew(k)
			issued = rotation.Issued{Key: rotation.Key{ID: order.Name}, Value: secrets.NewValue(k.secret)}
		case i.kind.traits.MaxLive > 0 && i.live() >= i.kind.traits.MaxLive:
			return refuse("create", "the owner has as many keys as it may")
		default:
			name := order.Name
			if !i.kind.traits.Named {
				name = ""
			}
			k := i.newKey(name)
			issued.Key = rotation.Key{ID: k.id, Name: k.name, Created: k.created, Expires: order.Expires}
			if i.kind.traits.Recovery == rotation.Chosen {
				k.secret = order.Chosen.Reveal()
			} else {
				issued.Value = secrets.NewValue(k.secret)
			}
		}
		return nil
	})
	return issued, err
}

// renew gives a key another secret.
func (i issuer) renew(k *made) {
	i.count++
	k.secret = fmt.Sprintf("secret-%d-%s", i.count, canary)
}

func (i issuer) live() int {
	n := 0
	for _, k := range i.keys {
		if !k.revoked {
			n++
		}
	}
	return n
}

func (i issuer) Find(ctx context.Context, prefix string) ([]rotation.Key, error) {
	var found []rotation.Key
	err := i.do(ctx, "find", func() error {
		for _, k := range i.keys {
			if !k.revoked && strings.HasPrefix(k.name, prefix) {
				found = append(found, rotation.Key{ID: k.id, Name: k.name, Created: k.created, LastUsed: k.lastUsed, Disabled: k.disabled})
			}
		}
		return nil
	})
	return found, err
}

func (i issuer) Revoke(ctx context.Context, key rotation.Key) error {
	return i.do(ctx, "revoke", func() error {
		k := i.byID(key.ID)
		if k == nil || k.revoked {
			return nil
		}
		i.writes++
		i.ended(k)
		if i.kind.traits.Overlap == rotation.TwoSlots {
			i.renew(k)
			return nil
		}
		k.revoked = true
		return nil
	})
}

// ended holds the end of a key to the grace.
func (w *world) ended(k *made) {
	if v := w.version(w.current); v != nil && w.bySecret(v.text) == k && !w.emergency {
		w.violate("the current key has been ended")
	}
	was := w.version(w.previous) != nil && w.bySecret(w.version(w.previous).text) == k
	if was && !w.emergency && time.Since(w.promoted) < grace-time.Second {
		w.violate("the old key has been ended %v after the new one became current", time.Since(w.promoted))
	}
}

func (i issuer) Verify(ctx context.Context, value secrets.Value) error {
	return i.do(ctx, "verify", func() error {
		for _, k := range i.keys {
			if k.secret == value.Reveal() && k.works() {
				return nil
			}
		}
		return &rotation.Error{Op: "verify", Reason: "the key is not accepted", Err: rotation.ErrRejected}
	})
}

// The optional parts of an issuer, put together by kind.
type (
	disabling   struct{ issuer }
	identifying struct{ issuer }
	recovering  struct{ issuer }
	choosing    struct{ issuer }
)

func (d disabling) Disable(ctx context.Context, key rotation.Key) error {
	return d.do(ctx, "disable", func() error {
		if k := d.byID(key.ID); k != nil && !k.disabled {
			d.writes++
			d.ended(k)
			k.disabled = true
		}
		return nil
	})
}

func (d disabling) Enable(ctx context.Context, key rotation.Key) error {
	return d.do(ctx, "enable", func() error {
		if k := d.byID(key.ID); k != nil {
			d.writes++
			k.disabled = false
		}
		return nil
	})
}

func (i identifying) Identify(ctx context.Context, value secrets.Value) (string, error) {
	id := ""
	err := i.do(ctx, "identify", func() error {
		for _, k := range i.keys {
			if k.secret == value.Reveal() && !k.revoked {
				id = k.id
			}
		}
		return nil
	})
	return id, err
}

func (r recovering) Recover(ctx context.Context, key rotation.Key, _ rotation.Order) (secrets.Value, error) {
	var value secrets.Value
	err := r.do(ctx, "recover", func() error {
		k := r.byID(key.ID)
		if r.kind.traits.Overlap == rotation.InPlace {
			k = r.keys[0]
		}
		if k == nil || k.revoked {
			return refuse("recover", "there is no such key")
		}
		value = secrets.NewValue(k.secret)
		return nil
	})
	return value, err
}

func (c choosing) Choose(rotation.Order) (secrets.Value, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.count++
	return secrets.NewValue(fmt.Sprintf("secret-%d-%s", c.count, canary)), nil
}

// issuer returns what the kind's issuer can do and nothing else.
func (f *function) issuer() rotation.Issuer {
	i := issuer{f}
	switch traits := f.kind.traits; {
	case traits.Overlap == rotation.TwoSlots:
		return struct {
			issuer
			recovering_
			identifying_
		}{i, recovering_{recovering{i}}, identifying_{identifying{i}}}
	case traits.Recovery == rotation.Readable:
		return struct {
			issuer
			recovering_
		}{i, recovering_{recovering{i}}}
	case traits.Recovery == rotation.Chosen:
		return struct {
			issuer
			choosing_
			identifying_
		}{i, choosing_{choosing{i}}, identifying_{identifying{i}}}
	case !traits.Named:
		return struct {
			issuer
			disabling_
			identifying_
		}{i, disabling_{disabling{i}}, identifying_{identifying{i}}}
	case f.kind.disables:
		return struct {
			issuer
			disabling_
		}{i, disabling_{disabling{i}}}
	}
	return i
}

// These show one method each, so that several can be put together.
type (
	recovering_  struct{ rotation.Recoverer }
	identifying_ struct{ rotation.Identifier }
	choosing_    struct{ rotation.Chooser }
	disabling_   struct{ rotation.Disabler }
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

func (v vault) Inspect(ctx context.Context, ref secrets.Ref) (secrets.Inventory, error) {
	var inventory secrets.Inventory
	err := v.do(ctx, ref, "inspect", func() error {
		show := func(id string) secrets.Version {
			if found := v.version(id); found != nil {
				return secrets.Version{ID: found.id, Cycle: found.cycle, Created: found.created}
			}
			return secrets.Version{}
		}
		inventory = secrets.Inventory{Current: show(v.current), Previous: show(v.previous), Staged: show(v.staged)}
		return nil
	})
	return inventory, err
}

func (v vault) Value(ctx context.Context, ref secrets.Ref, id string) (secrets.Value, error) {
	var value secrets.Value
	err := v.do(ctx, ref, "value", func() error {
		found := v.version(id)
		if found == nil {
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
		made := &version{id: fmt.Sprintf("v%d", len(v.versions)), cycle: candidate.Cycle, text: candidate.Value.Reveal(), created: time.Now()}
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
		to := v.version(promotion.To)
		if now := v.version(v.current); v.kind.copies && now != nil && now.from == promotion.To {
			to = now // it was promoted before
		} else if v.kind.copies && to != nil && v.current == promotion.From {
			copied := &version{id: fmt.Sprintf("v%d", len(v.versions)), cycle: to.cycle, from: to.id, text: to.text, created: time.Now()}
			v.versions = append(v.versions, copied)
			to.dropped, to, promotion.To = promotion.To == v.staged, copied, copied.id
			v.staged = ""
		}
		switch {
		case to == nil:
			return fail(ref, "promote", "there is no such version", secrets.ErrNotFound)
		case v.current == to.id:
		case v.current != promotion.From:
			return fail(ref, "promote", "another version is current", secrets.ErrConflict)
		default:
			v.writes++
			v.promotions++
			v.promoted = time.Now()
			v.current, v.previous = promotion.To, v.current
			if v.staged == promotion.To {
				v.staged = ""
			}
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

const credential = "openai"

// job is the rotation as a function has it.
func (f *function) job() *rotation.Job {
	marks, err := audit.NewFingerprints([]byte("test"))
	if err != nil {
		panic(err)
	}
	ref := secrets.Ref{Name: "openai-key"}
	if f.kind.field {
		ref.Field = "key"
	}
	made := f.issuer()
	var book ledger.Ledger = &ledger.Book{Store: rows{f}}
	if f.forgets {
		book = forgetful{book}
	}
	return &rotation.Job{
		Ledger: book, Store: vault{f}, Audit: bus{f}, Sign: f.signer(), Fingerprints: marks, Deployment: "test",
		Log: slog.New(slog.NewJSONHandler(&lockedLog{w: f.world}, nil)),
		Credentials: []rotation.Credential{{
			Name: credential, Ref: ref, Issuer: made, Verifier: issuer{f}, Every: every, Grace: grace, MaxGrace: 4 * grace, InitialKey: "key-1",
			About: audit.Credential{Issuer: "test", Function: audit.Origin{Cloud: "aws", Name: "rotate"}},
		}},
	}
}

type lockedLog struct{ w *world }

func (l *lockedLog) Write(line []byte) (int, error) {
	l.w.mu.Lock()
	defer l.w.mu.Unlock()
	return l.w.log.Write(line)
}

// run runs the rotation once in a new function.
func (w *world) run(ctx context.Context, faults func(string) fault) (rotation.Report, error) {
	f := &function{world: w, fault: faults, forgets: w.forgets}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	return f.job().Run(ctx)
}

// status is where the rotation stands.
func (w *world) status(ctx context.Context) rotation.Status {
	all, err := (&function{world: w}).job().Status(ctx)
	if err != nil {
		return rotation.Status{Phase: rotation.Phase(err.Error())}
	}
	return all[0]
}

// rest runs the rotation at every tick until there is nothing left to do, and returns how many runs that took.
func (w *world) rest(ctx context.Context, faults func(string) fault) (int, error) {
	begin := time.Now()
	for runs := 1; time.Since(begin) < patient; runs++ {
		report, err := w.run(ctx, faults)
		status := w.status(ctx)
		w.mu.Lock()
		if err != nil && strings.Contains(err.Error(), canary) {
			w.violate("a secret is in an error")
		}
		w.mu.Unlock()
		if err == nil && report.Results[0].Outcome == rotation.NotDue && status.Unpublished == 0 && w.promotions > 0 {
			return runs, nil
		}
		// Ticks that would only find that it is not time yet are left out.
		time.Sleep(max(tick, time.Until(status.RevokeAfter)))
	}
	return 0, fmt.Errorf("no rest after %v: %+v", patient, w.status(ctx))
}

// atRest returns what is wrong when the rotation has come to rest after one cycle.
func (w *world) atRest() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	wrong := slices.Clone(w.broken)
	add := func(format string, values ...any) { wrong = append(wrong, fmt.Sprintf(format, values...)) }
	if w.promotions != 1 {
		add("there were %d promotions", w.promotions)
	}
	current := w.version(w.current)
	if current == nil || !w.bySecret(current.text).works() {
		add("the current key does not work")
	} else if w.kind.field && !strings.Contains(current.text, "kept-") {
		add("the rest of the secret is lost")
	}
	if w.version(w.staged) != nil || w.version(w.previous) != nil {
		add("a version is left: staged %q, previous %q", w.staged, w.previous)
	}
	if w.kind.traits.Overlap == rotation.Parallel {
		if usable := w.usable(); len(usable) != 1 {
			add("%d keys are usable", len(usable))
		}
	}
	if old := w.versions[0]; w.kind.traits.Overlap != rotation.InPlace && w.bySecret(old.text) != nil && w.bySecret(old.text).works() {
		add("the old key still works")
	}
	return append(wrong, w.trail()...)
}

// trail returns what is wrong with the events.
func (w *world) trail() []string {
	wrong := w.unsigned()
	seen := map[string]string{}
	types := map[audit.Type]int{}
	for _, e := range w.events {
		text, err := json.Marshal(e)
		if err != nil {
			wrong = append(wrong, err.Error())
		}
		if was, again := seen[e.ID]; again {
			if was != string(text) {
				wrong = append(wrong, fmt.Sprintf("the event %s of type %s says two things", e.ID, e.Type))
			}
			continue
		}
		seen[e.ID] = string(text)
		types[e.Type]++
		if strings.Contains(string(text), canary) {
			wrong = append(wrong, "a secret is in an event")
		}
	}
	if types[audit.TokenRotatedType] != 1 {
		wrong = append(wrong, fmt.Sprintf("%d rotations were told", types[audit.TokenRotatedType]))
	}
	if types[audit.KeyRevokedType] == 0 {
		wrong = append(wrong, "no end of a key was told")
	}
	for _, text := range w.texts {
		if bytes.Contains(text, []byte(canary)) {
			wrong = append(wrong, "a secret is in the ledger")
		}
	}
	if bytes.Contains(w.log.Bytes(), []byte(canary)) {
		wrong = append(wrong, "a secret is in the log")
	}
	return wrong
}

// due lets the time pass until the first key has to be renewed.
func (w *world) due() { time.Sleep(every) }

// last is the end of the log.
func (w *world) last() string {
	lines := strings.Split(w.log.String(), "\n")
	lines = slices.DeleteFunc(lines, func(line string) bool {
		return strings.Contains(line, `"outcome":"pending"`) || strings.Contains(line, "has stopped")
	})
	return strings.Join(lines[max(0, len(lines)-30):], "\n")
}
