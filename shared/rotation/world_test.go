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
	// tune, when set, changes the job of every function that begins.
	tune func(*rotation.Job)
	// haunted is for how long the issuer's list still has a key that was revoked.
	haunted time.Duration
	// retryAfter is for how long the issuer asks to be left alone when it throttles.
	retryAfter time.Duration

	mu       sync.Mutex
	keys     []*made
	versions []*version
	current  string
	previous string
	staged   string
	suffix   string // what the ids of versions end with
	strict   bool   // that the store refuses to drop what is current is nothing wrong
	// lag is how long the store shows what was there before its last change, and before is what that was.
	lag     time.Duration
	changed time.Time
	before  shown
	ledger  ledgertest.Memory
	// paced has the ledger take one write of a record in each second, as Cloud Storage does, and wrote is when it took the last.
	paced   bool
	wrote   map[string]time.Time
	texts   [][]byte // all that the ledger has ever held
	events  []audit.Event
	signing *ecdsa.PrivateKey
	log     bytes.Buffer
	count   int

	promotions int
	promoted   time.Time
	emergency  bool
	// rush says that people have made a key current that need not work (yet).
	rush   bool
	writes int // effects at the issuer and in the store
	broken []string
}

// made is a key at the issuer.
type made struct {
	id, name, secret  string
	created, lastUsed time.Time
	expires           time.Time
	disabled, revoked bool
	// end is when it was revoked.
	end time.Time
	// rejected says that the service has turned against it.
	rejected bool
	// ready is when the service begins to accept it.
	ready time.Time
	// foreign says that it is none of the rotation's.
	foreign bool
}

// shown is which versions a store shows.
type shown struct{ current, previous, staged string }

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
	// keeps says that the issuer refuses to end keys, which people do then.
	keeps bool
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

// nextID returns the id of the next version.
func (w *world) nextID() string { return fmt.Sprintf("v%d%s", len(w.versions), w.suffix) }

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
	return k != nil && !k.revoked && !k.disabled && !k.rejected && !time.Now().Before(k.ready)
}

// check holds the world to what must be so at every instant: what readers get works. The caller holds the lock.
func (w *world) check() {
	if w.emergency || w.rush || w.kind.traits.Overlap == rotation.InPlace || w.current == "" {
		return
	}
	v := w.version(w.current)
	if v == nil {
		w.violate("the current version has been dropped")
	} else if k := w.bySecret(v.text); !k.works() && (k == nil || !k.rejected) {
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
	// unchecked says that the world holds something from the start that it must not.
	unchecked bool
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
		if !f.unchecked {
			f.check()
		}
		f.dead = f.dead || planned == diesAfter
		return errLost, false
	}
	err = effect()
	if !f.unchecked {
		f.check()
	}
	return err, true
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
	var book ledger.Ledger = &ledger.Book{Store: rows{f}}
	if f.forgets {
		book = forgetful{book}
	}
	job := &rotation.Job{
		Ledger: book, Store: vault{f}, Audit: bus{f}, Sign: f.signer(), Fingerprints: marks, Deployment: "test",
		Log: slog.New(slog.NewJSONHandler(&lockedLog{w: f.world}, nil)),
		Credentials: []rotation.Credential{{
			Name: credential, Ref: ref, Issuer: f.issuer(), Verifier: issuer{f}, Every: every, Grace: grace, MaxGrace: 4 * grace, InitialKey: "key-1",
			About: audit.Credential{Issuer: "test", Function: audit.Origin{Cloud: "aws", Name: "rotate"}},
		}},
	}
	if f.tune != nil {
		f.tune(job)
	}
	return job
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
		time.Sleep(max(tick, time.Until(status.RevokeAfter), time.Until(status.Retry)))
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

// trail returns what is wrong with the events of one cycle.
func (w *world) trail() []string {
	wrong := w.told()
	types := map[audit.Type]int{}
	for _, e := range w.distinct() {
		types[e.Type]++
	}
	if types[audit.TokenRotatedType] != 1 {
		wrong = append(wrong, fmt.Sprintf("%d rotations were told", types[audit.TokenRotatedType]))
	}
	if types[audit.KeyRevokedType] == 0 {
		wrong = append(wrong, "no end of a key was told")
	}
	return wrong
}

// distinct are the events without those that were sent again.
func (w *world) distinct() []audit.Event {
	var events []audit.Event
	seen := map[string]bool{}
	for _, e := range w.events {
		if !seen[e.ID] {
			events = append(events, e)
		}
		seen[e.ID] = true
	}
	return events
}

// told returns what is wrong with what the world has been told: events that contradict one another or are not a chain, and secrets.
func (w *world) told() []string {
	wrong := w.unsigned()
	seen := map[string]string{}
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
		if strings.Contains(string(text), canary) {
			wrong = append(wrong, "a secret is in an event")
		}
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
