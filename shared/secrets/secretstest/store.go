package secretstest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/postern-ai/postern/shared/secrets"
)

// World is one empty store, two rotations that replace secrets in it, and a reader of it.
type World struct {
	// Store is what is tested. Its requests go over the [Line] that [OpenWorld] was given, and no others do.
	Store secrets.Store
	// Another is the store of a rotation that runs elsewhere.
	Another secrets.Store
	// Reader is what everybody else has.
	Reader Reader
	// Ref refers to a secret by its name, which consists of lower-case letters, digits and hyphens.
	Ref func(name string) secrets.Ref
	// Put makes the text the secret's current version, as an operator does, and returns the version's id. The secret is made if it is not there.
	Put func(Put) string
	// Pend makes the text the secret's staged version, as somebody does who is no rotation of ours. The secret has a current version.
	Pend func(Put)
	// Make makes a secret without a version. Nil when there is no such thing.
	Make func(name string)
	// Delete deletes a secret.
	Delete func(name string)
	// Withdraw makes the current version of a secret unusable without deleting it, in the store's own way. Nil when there is none.
	Withdraw func(name string)

	// FirstIsCurrent says that the service makes the first version of a secret current, whatever it is asked.
	FirstIsCurrent bool
	// StagesOnce says that many may stage the same candidate at the same time, without a lease.
	StagesOnce bool
	// Swaps says that Promote compares and swaps: of two at the same time exactly one wins, without a lease.
	Swaps bool

	// Permissions are what the store needs, as its errors name them. Each is needed by at least one of its methods.
	Permissions []string
	// Deny takes these permissions away from the store, and gives it all others. Nil with a service where that cannot be done.
	Deny func(permissions ...string)
	// Expire makes the service reject the store's credential, once. The next credential is good again. Nil where that cannot be done.
	Expire func()
	// LoseIdentity makes the store's own credential unobtainable, with the given error. Nil where that cannot be done.
	LoseIdentity func(error)
	// Throttled is how the service answers when it is asked too often.
	Throttled Reply
}

// OpenWorld returns an empty store, whose requests go over the line and are each given up after the timeout.
type OpenWorld func(t *testing.T, line *Line, timeout time.Duration) World

// world is what a test has.
type world struct {
	World
	line *Line
	used atomic.Int64
}

// TestStore tests one store, by the rules of [secrets.Store].
func TestStore(t *testing.T, open OpenWorld) {
	t.Helper()
	for _, test := range []struct {
		name    string
		test    func(*testing.T, *world)
		timeout time.Duration
	}{
		{"the inventory is what readers get", testInventory, patient},
		{"a secret without a version has an empty inventory", testEmpty, patient},
		{"a secret that is not there is not found", testNoSecret, patient},
		{"a version that is not there is not found", testNoVersion, patient},
		{"a deleted secret takes nothing", testDeletedSecret, patient},
		{"a withdrawn current version can be replaced", testReplaceWithdrawn, patient},
		{"a reference to a part of a secret is refused", testParts, patient},

		{"a staged version is seen by no reader", testStaged, patient},
		{"staged twice it is one version", testStagedTwice, patient},
		{"a cycle takes one value", testOneValue, patient},
		{"another cycle has to wait", testOccupied, patient},
		{"a stranger's version has to go first", testStranger, patient},
		{"what cannot be a version is refused", testCandidates, patient},

		{"a promoted version is current, and the one before it is previous", testPromoted, patient},
		{"promoted twice it is promoted once", testPromotedTwice, patient},
		{"a promotion in a wrong belief changes nothing", testWrongBelief, patient},
		{"only a staged or the previous version is promoted", testPromotable, patient},
		{"the previous version is promoted back, and forth", testBack, patient},
		{"a dropped version is gone", testDropped, patient},
		{"what is gone is dropped without an error", testDropGone, patient},
		{"the current version is not dropped", testDropCurrent, patient},
		{"many cycles leave two versions to see", testCycles, patient},

		{"whatever reply is lost, the same call again has one effect", testLost, patient},
		{"replies lost one after the other do no harm", testLostInTurn, patient},
		{"a throttle is called one", testThrottled, patient},
		{"a store that hangs is given up", testHangingStore, impatient},
		{"the caller's context is honoured", testStoreContext, patient},
		{"a redirect is not followed", testStoreRedirect, patient},
		{"a missing right is named", testPermissions, patient},
		{"a rejected credential is replaced once", testStoreExpired, patient},
		{"a missing identity says so", testStoreNoIdentity, patient},
		{"of two that promote one wins", testSwap, patient},
		{"many may use it at once", testManyAtOnce, patient},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w := &world{line: &Line{}}
			w.World = open(t, w.line, test.timeout)
			test.test(t, w)
		})
	}
}

// fresh returns a name that no secret has.
func (w *world) fresh() string { return fmt.Sprintf("key-%d", w.used.Add(1)) }

// cycle returns the id of a cycle.
func cycle(n int) string { return fmt.Sprintf("8b6d04a1-5b9e-4c5d-a1f0-%012x", n) }

func candidate(n int) secrets.Candidate {
	return secrets.Candidate{Cycle: cycle(n), Value: secrets.NewValue(text(fmt.Sprint(n)))}
}

// unknown returns an id as this store writes them that no version has.
func unknown(id string) string {
	if len(id) < 2 {
		return "999"
	}
	other := "1"
	if strings.HasSuffix(id, other) {
		other = "7"
	}
	return id[:len(id)-1] + other
}

// rotation is a secret and the ids of its versions.
type rotation struct{ name, previous, current, staged string }

// rotated returns a secret that has a previous and a current version, with the texts 1 and 2.
func (w *world) rotated() rotation {
	r := rotation{name: w.fresh()}
	r.previous = w.Put(Put{Name: r.name, Text: text("1")})
	r.current = w.Put(Put{Name: r.name, Text: text("2")})
	return r
}

// staged returns one that has a staged version besides, with the text 3.
func (w *world) staged(t *testing.T) rotation {
	t.Helper()
	r := w.rotated()
	version, err := w.Another.Stage(t.Context(), w.Ref(r.name), candidate(3))
	if err != nil {
		t.Fatalf("stage: %v", err)
	}
	r.staged = version.ID
	return r
}

// state is the texts of a secret's versions. Empty means that there is no such version.
type state struct{ current, previous, staged string }

// texts returns the state that the numbers of three texts stand for. Zero means that there is no such version.
func texts(current, previous, staged int) state {
	number := func(n int) string {
		if n == 0 {
			return ""
		}
		return text(fmt.Sprint(n))
	}
	return state{number(current), number(previous), number(staged)}
}

// see checks which versions a secret has, that readers get the current and the previous one, and returns the inventory.
func (w *world) see(t *testing.T, name string, want state) secrets.Inventory {
	t.Helper()
	ref := w.Ref(name)
	inventory, err := w.Another.Inspect(t.Context(), ref)
	if err != nil {
		t.Fatalf("inspect: %v", err)
	}
	var got state
	for _, each := range []struct {
		version secrets.Version
		text    *string
	}{{inventory.Current, &got.current}, {inventory.Previous, &got.previous}, {inventory.Staged, &got.staged}} {
		if each.version.ID == "" {
			continue
		}
		value, err := w.Another.Value(t.Context(), ref, each.version.ID)
		if err != nil {
			t.Errorf("the value of %q: %v", each.version.ID, err)
		}
		*each.text = value.Reveal()
	}
	if got != want {
		t.Errorf("the versions are %q, want %q", got, want)
	}
	w.seen(t, inventory.Current, want.current)(w.Reader.Current(t.Context(), ref))
	w.seen(t, inventory.Previous, want.previous)(w.Reader.Previous(t.Context(), ref))
	return inventory
}

// seen checks what a reader gets.
func (w *world) seen(t *testing.T, version secrets.Version, text string) func(secrets.Secret, error) {
	t.Helper()
	return func(got secrets.Secret, err error) {
		t.Helper()
		if text == "" {
			if !errors.Is(err, secrets.ErrNotFound) {
				t.Errorf("a reader gets %q and error %v, want none", got.Value.Reveal(), err)
			}
			return
		}
		if err != nil || got.Value.Reveal() != text || got.Version != version.ID {
			t.Errorf("a reader gets version %q, text %q and error %v, want version %q, text %q", got.Version, got.Value.Reveal(), err, version.ID, text)
		}
	}
}

// wantOp checks that an error is about an operation, and one of a store.
func wantOp(t *testing.T, err error, op string) {
	t.Helper()
	wantError(t, err, op+" secret ", nil)
	if told, ok := errors.AsType[*secrets.Error](err); ok && cmp.Or(told.Op, "read") != op {
		t.Errorf("%v is about %q, want %q", err, told.Op, op)
	}
}

// wantNothing checks that an error says nothing about the secret.
func wantNothing(t *testing.T, err error) {
	t.Helper()
	for _, says := range []error{secrets.ErrNotFound, secrets.ErrUnusable, secrets.ErrConflict, secrets.ErrOccupied} {
		if errors.Is(err, says) {
			t.Errorf("%v says that %v, which nobody can know", err, says)
		}
	}
	if strings.Contains(err.Error(), Canary) {
		t.Errorf("the error gives away too much: %v", err)
	}
}

// each calls every method for one secret, with ids of versions that may not be there, and returns their errors by what was not done.
func (w *world) each(ctx context.Context, ref secrets.Ref, id string) map[string]error {
	_, inspected := w.Store.Inspect(ctx, ref)
	_, read := w.Store.Value(ctx, ref, id)
	_, staged := w.Store.Stage(ctx, ref, candidate(3))
	_, promoted := w.Store.Promote(ctx, ref, secrets.Promotion{To: id, From: unknown(id)})
	return map[string]error{"inspect": inspected, "read": read, "stage": staged, "promote": promoted, "drop": w.Store.Drop(ctx, ref, id)}
}

// is reports whether an error is one of several.
func is(err error, of ...error) bool {
	return slices.ContainsFunc(of, func(one error) bool { return errors.Is(err, one) })
}
