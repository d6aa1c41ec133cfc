package rotationtest

import (
	"context"
	"strconv"
	"testing"
	"time"

	"github.com/postern-ai/postern/shared/audit"
	"github.com/postern-ai/postern/shared/ledger"
	"github.com/postern-ai/postern/shared/ledger/ledgertest"
	"github.com/postern-ai/postern/shared/rotation"
	"github.com/postern-ai/postern/shared/secrets"
)

const (
	every = 30 * 24 * time.Hour
	grace = time.Hour
	tick  = 5 * time.Minute
	// patience is how long a cycle may take, whatever happens to it.
	patience = 3 * 24 * time.Hour
	// mostBroken is how many requests of a cycle are broken, one in each cycle.
	mostBroken = 25
)

// rotator is the rotation of the world's key, with a store and a ledger that do not fail.
type rotator struct {
	*World
	store  *vault
	ledger ledgertest.Memory
}

// rotator returns the rotation of a key that is in use.
func (w *World) rotator(t *testing.T) *rotator {
	t.Helper()
	w.orderable(t)
	value := w.Content
	if w.overlap() == rotation.Parallel {
		first := w.create(t, 1)
		value, w.Current = first.Value, first.Key.ID
	}
	r := &rotator{World: w, store: &vault{}}
	r.store.add("", value)
	r.store.current = "1"
	return r
}

// run runs the rotation once.
func (r *rotator) run(t *testing.T) rotation.Result {
	t.Helper()
	marks, err := audit.NewFingerprints([]byte("test"))
	if err != nil {
		t.Fatal(err)
	}
	job := rotation.Job{
		Ledger: &ledger.Book{Store: &r.ledger}, Store: r.store, Audit: bus{}, Fingerprints: marks, Deployment: "test",
		Credentials: []rotation.Credential{{
			Name: "chat", Ref: secrets.Ref{Name: "chat"}, Issuer: r.Issuer, Verifier: r.Issuer.(rotation.Verifier), Every: every, Grace: grace, MaxGrace: grace, InitialKey: r.Current,
			About: audit.Credential{Issuer: "test", Function: audit.Origin{Cloud: "aws", Name: "rotate"}},
		}},
	}
	report, err := job.Run(t.Context())
	if err != nil && len(report.Results) != 1 {
		t.Fatal(err)
	}
	return report.Results[0]
}

// cycle waits until the key is due, and then until nothing is left to do.
func (r *rotator) cycle(t *testing.T) {
	t.Helper()
	before := r.store.current
	time.Sleep(every)
	for begin := time.Now(); ; time.Sleep(tick) {
		result := r.run(t)
		if result.Outcome == rotation.NotDue && r.store.current != before {
			break
		}
		if time.Since(begin) > 2*patience {
			t.Fatalf("no rest: %+v", result)
		}
	}
}

// wantRest expects that the current key works and is the only one.
func (r *rotator) wantRest(t *testing.T) {
	t.Helper()
	inventory, _ := r.store.Inspect(t.Context(), secrets.Ref{})
	if inventory.Staged.ID != "" || inventory.Previous.ID != "" {
		t.Errorf("a version is left: %+v", inventory)
	}
	r.wantWorking(t, r.store.versions[r.store.current].value)
	if keys := r.Keys(); r.overlap() == rotation.Parallel && len(keys) != 1 {
		t.Errorf("%d keys are left", len(keys))
	}
}

func testCycles(t *testing.T, w *World) {
	r := w.rotator(t)
	for range 3 {
		r.cycle(t)
		r.wantRest(t)
	}
}

// testInterrupted has the reply to one request be lost in each cycle, to another one each time.
func testInterrupted(t *testing.T, w *World) {
	if w.overlap() == rotation.InPlace {
		t.Skip("what is lost ends the key")
	}
	r := w.rotator(t)
	r.cycle(t)
	before := w.line.Calls()
	r.cycle(t)
	for n := range min(w.line.Calls()-before, mostBroken) {
		w.during(fault{hangup: true, after: true, only: n + 1}, func() { r.cycle(t) })
		if r.wantRest(t); t.Failed() {
			t.Fatalf("after the reply to request %d was lost", n+1)
		}
	}
}

// bus takes all events.
type bus struct{}

func (bus) Publish(context.Context, ...audit.Event) error { return nil }

// vault is a secret store in memory, for one rotation.
type vault struct {
	versions                  map[string]*version
	current, previous, staged string
}

type version struct {
	secrets.Version
	value secrets.Value
}

func (v *vault) add(cycle string, value secrets.Value) secrets.Version {
	if v.versions == nil {
		v.versions = map[string]*version{}
	}
	made := &version{secrets.Version{ID: strconv.Itoa(len(v.versions) + 1), Cycle: cycle, Created: time.Now()}, value}
	v.versions[made.ID] = made
	return made.Version
}

func failed(ref secrets.Ref, cause error) error {
	return &secrets.Error{Ref: ref, Reason: "the test's store", Err: cause}
}

// Inspect implements [secrets.Store].
func (v *vault) Inspect(context.Context, secrets.Ref) (secrets.Inventory, error) {
	show := func(id string) secrets.Version {
		if id == "" {
			return secrets.Version{}
		}
		return v.versions[id].Version
	}
	return secrets.Inventory{Current: show(v.current), Previous: show(v.previous), Staged: show(v.staged)}, nil
}

// Value implements [secrets.Store].
func (v *vault) Value(_ context.Context, ref secrets.Ref, id string) (secrets.Value, error) {
	if v.versions[id] == nil {
		return secrets.Value{}, failed(ref, secrets.ErrNotFound)
	}
	return v.versions[id].value, nil
}

// Stage implements [secrets.Store].
func (v *vault) Stage(_ context.Context, ref secrets.Ref, candidate secrets.Candidate) (secrets.Version, error) {
	if v.staged != "" {
		return secrets.Version{}, failed(ref, secrets.ErrOccupied)
	}
	made := v.add(candidate.Cycle, candidate.Value)
	v.staged = made.ID
	return made, nil
}

// Promote implements [secrets.Store].
func (v *vault) Promote(_ context.Context, ref secrets.Ref, promotion secrets.Promotion) (secrets.Version, error) {
	switch {
	case v.versions[promotion.To] == nil:
		return secrets.Version{}, failed(ref, secrets.ErrNotFound)
	case v.current != promotion.From:
		return secrets.Version{}, failed(ref, secrets.ErrConflict)
	}
	v.current, v.previous = promotion.To, v.current
	if v.staged == promotion.To {
		v.staged = ""
	}
	return v.versions[v.current].Version, nil
}

// Drop implements [secrets.Store].
func (v *vault) Drop(_ context.Context, ref secrets.Ref, id string) error {
	switch id {
	case v.current:
		return failed(ref, secrets.ErrConflict)
	case v.previous:
		v.previous = ""
	case v.staged:
		v.staged = ""
	}
	return nil
}
