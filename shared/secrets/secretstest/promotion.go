package secretstest

import (
	"errors"
	"sync"
	"testing"

	"github.com/postern-ai/postern/shared/secrets"
)

// promote promotes a version that can be, and checks what it is told.
func (w *world) promote(t *testing.T, name string, promotion secrets.Promotion) secrets.Version {
	t.Helper()
	got, err := w.Store.Promote(t.Context(), w.Ref(name), promotion)
	if err != nil {
		t.Fatalf("promote: %v", err)
	}
	inventory, err := w.Another.Inspect(t.Context(), w.Ref(name))
	if err != nil || got.ID != inventory.Current.ID || got.ID == "" || got.Cycle != inventory.Current.Cycle {
		t.Errorf("promoted %+v, and the inventory is %+v, error %v", got, inventory, err)
	}
	return got
}

func testPromoted(t *testing.T, w *world) {
	r := w.staged(t)
	third := w.promote(t, r.name, secrets.Promotion{To: r.staged, From: r.current})
	got := w.see(t, r.name, texts(3, 2, 0))
	if got.Current.Cycle != cycle(3) || got.Previous.ID != r.current {
		t.Errorf("the inventory is %+v", got)
	}
	// The next cycle finds nothing in its way.
	staged, err := w.Store.Stage(t.Context(), w.Ref(r.name), candidate(4))
	if err != nil {
		t.Fatal(err)
	}
	w.see(t, r.name, texts(3, 2, 4))
	w.promote(t, r.name, secrets.Promotion{To: staged.ID, From: third.ID})
	if got = w.see(t, r.name, texts(4, 3, 0)); got.Current.Cycle != cycle(4) || got.Previous.Cycle != cycle(3) {
		t.Errorf("the inventory is %+v", got)
	}
}

func testPromotedTwice(t *testing.T, w *world) {
	r := w.staged(t)
	first := w.promote(t, r.name, secrets.Promotion{To: r.staged, From: r.current})
	for _, from := range []string{r.current, first.ID} {
		if again := w.promote(t, r.name, secrets.Promotion{To: r.staged, From: from}); again.ID != first.ID {
			t.Errorf("the second time it is version %q, and was %q", again.ID, first.ID)
		}
		w.see(t, r.name, texts(3, 2, 0))
	}
}

func testWrongBelief(t *testing.T, w *world) {
	r := w.staged(t)
	for _, from := range []string{"", r.previous, unknown(r.current)} {
		for _, to := range []string{r.staged, r.previous} {
			_, err := w.Store.Promote(t.Context(), w.Ref(r.name), secrets.Promotion{To: to, From: from})
			wantOp(t, err, "promote")
			if !errors.Is(err, secrets.ErrConflict) {
				t.Errorf("from %q to %q: got %v", from, to, err)
			}
		}
	}
	w.see(t, r.name, texts(2, 1, 3))
	// Somebody has put another key there in the meantime.
	w.Put(Put{Name: r.name, Text: text("5")})
	_, err := w.Store.Promote(t.Context(), w.Ref(r.name), secrets.Promotion{To: r.staged, From: r.current})
	wantOp(t, err, "promote")
	wantError(t, err, "", secrets.ErrConflict)
	if value, err := w.Reader.Read(t.Context(), w.Ref(r.name)); err != nil || value.Reveal() != text("5") {
		t.Errorf("a reader gets %q and error %v", value.Reveal(), err)
	}
}

func testPromotable(t *testing.T, w *world) {
	r := w.staged(t)
	for _, to := range []string{"", "latest", unknown(r.staged), unknown(r.current)} {
		_, err := w.Store.Promote(t.Context(), w.Ref(r.name), secrets.Promotion{To: to, From: r.current})
		wantOp(t, err, "promote")
		if !errors.Is(err, secrets.ErrConflict) {
			t.Errorf("to %q: got %v", to, err)
		}
	}
	w.see(t, r.name, texts(2, 1, 3))
}

func testBack(t *testing.T, w *world) {
	r := w.staged(t)
	third := w.promote(t, r.name, secrets.Promotion{To: r.staged, From: r.current})
	back := w.promote(t, r.name, secrets.Promotion{To: r.current, From: third.ID})
	got := w.see(t, r.name, texts(2, 3, 0))
	if got.Previous.Cycle != cycle(3) {
		t.Errorf("the inventory is %+v", got)
	}
	w.promote(t, r.name, secrets.Promotion{To: got.Previous.ID, From: back.ID})
	got = w.see(t, r.name, texts(3, 2, 0))
	// With a version staged the way back is the same.
	if _, err := w.Store.Stage(t.Context(), w.Ref(r.name), candidate(4)); err != nil {
		t.Fatal(err)
	}
	w.promote(t, r.name, secrets.Promotion{To: got.Previous.ID, From: got.Current.ID})
	w.see(t, r.name, texts(2, 3, 4))
}

func testCycles(t *testing.T, w *world) {
	// More than one page of a list of versions.
	const cycles = 30
	name := w.fresh()
	w.Put(Put{Name: name, Text: text("1")})
	current, err := w.Store.Inspect(t.Context(), w.Ref(name))
	if err != nil {
		t.Fatal(err)
	}
	from := current.Current.ID
	for n := 2; n <= cycles; n++ {
		staged, err := w.Store.Stage(t.Context(), w.Ref(name), candidate(n))
		if err != nil {
			t.Fatalf("cycle %d: %v", n, err)
		}
		promoted, err := w.Store.Promote(t.Context(), w.Ref(name), secrets.Promotion{To: staged.ID, From: from})
		if err != nil {
			t.Fatalf("cycle %d: %v", n, err)
		}
		if n < cycles {
			if err := w.Store.Drop(t.Context(), w.Ref(name), from); err != nil {
				t.Fatalf("cycle %d: %v", n, err)
			}
		}
		from = promoted.ID
	}
	w.see(t, name, texts(cycles, cycles-1, 0))
}

// testSwap has another rotation promote a version before each of the requests that a promotion consists of.
func testSwap(t *testing.T, w *world) {
	if !w.Swaps {
		t.Skip("this service cannot compare and swap, so there has to be one rotation at a time")
	}
	forth := w.staged(t)
	w.line.plan(trouble{})
	w.promote(t, forth.name, secrets.Promotion{To: forth.staged, From: forth.current})
	for at := range w.line.requests() {
		r := w.staged(t)
		var other error
		w.line.plan(trouble{at: at + 1, meanwhile: func() {
			_, other = w.Another.Promote(t.Context(), w.Ref(r.name), secrets.Promotion{To: r.previous, From: r.current})
		}})
		_, err := w.Store.Promote(t.Context(), w.Ref(r.name), secrets.Promotion{To: r.staged, From: r.current})
		w.line.plan(trouble{})
		w.oneWon(t, r, err, other)
		// The same one, promoted by both, is promoted once.
		r = w.staged(t)
		promotion := secrets.Promotion{To: r.staged, From: r.current}
		w.line.plan(trouble{at: at + 1, meanwhile: func() { _, other = w.Another.Promote(t.Context(), w.Ref(r.name), promotion) }})
		if _, err = w.Store.Promote(t.Context(), w.Ref(r.name), promotion); err != nil || other != nil {
			t.Errorf("both promote the same before request %d: errors %v and %v", at+1, err, other)
		}
		w.line.plan(trouble{})
		w.see(t, r.name, texts(3, 2, 0))
	}
	for range 5 {
		r := w.staged(t)
		var one, other error
		var group sync.WaitGroup
		group.Go(func() {
			_, one = w.Store.Promote(t.Context(), w.Ref(r.name), secrets.Promotion{To: r.staged, From: r.current})
		})
		group.Go(func() {
			_, other = w.Another.Promote(t.Context(), w.Ref(r.name), secrets.Promotion{To: r.previous, From: r.current})
		})
		group.Wait()
		w.oneWon(t, r, one, other)
	}
}

// oneWon checks that either the first has promoted the staged version or the other the previous one.
func (w *world) oneWon(t *testing.T, r rotation, first, other error) {
	t.Helper()
	switch {
	case first == nil && errors.Is(other, secrets.ErrConflict):
		w.see(t, r.name, texts(3, 2, 0))
	case other == nil && errors.Is(first, secrets.ErrConflict):
		w.see(t, r.name, texts(1, 2, 3))
	default:
		t.Errorf("two that promote get the errors %v and %v", first, other)
	}
}
