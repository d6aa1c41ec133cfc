package secretstest

import (
	"errors"
	"strings"
	"testing"

	"github.com/postern-ai/postern/shared/secrets"
)

func testStaged(t *testing.T, w *world) {
	// Whether a secret has been rotated before must not make a difference.
	single := w.fresh()
	w.Put(Put{Name: single, Text: text("1")})
	w.see(t, single, texts(1, 0, 0))
	version, err := w.Store.Stage(t.Context(), w.Ref(single), candidate(2))
	if err != nil {
		t.Fatal(err)
	}
	w.see(t, single, texts(1, 0, 2))
	r := w.staged(t)
	w.see(t, r.name, texts(2, 1, 3))
	if value, err := w.Store.Value(t.Context(), w.Ref(single), version.ID); err != nil || value.Reveal() != text("2") {
		t.Errorf("the staged value is %q, error %v", value.Reveal(), err)
	}
	odd := secrets.Candidate{Cycle: cycle(1), Value: secrets.NewValue(strings.Repeat("\"\\ä€😀\x7f<", 1500))}
	long := w.rotated()
	if version, err = w.Store.Stage(t.Context(), w.Ref(long.name), odd); err != nil {
		t.Fatal(err)
	}
	if value, err := w.Store.Value(t.Context(), w.Ref(long.name), version.ID); err != nil || !value.Equal(odd.Value) {
		t.Errorf("a long text comes back with %d bytes and error %v", len(value.Reveal()), err)
	}
}

func testStagedTwice(t *testing.T, w *world) {
	r := w.staged(t)
	for range 3 {
		again, err := w.Store.Stage(t.Context(), w.Ref(r.name), candidate(3))
		if err != nil || again.ID != r.staged || again.Cycle != cycle(3) {
			t.Errorf("got %+v and error %v, want version %q", again, err, r.staged)
		}
	}
	w.see(t, r.name, texts(2, 1, 3))
	if err := w.Store.Drop(t.Context(), w.Ref(r.name), r.staged); err != nil {
		t.Error(err)
	}
	w.see(t, r.name, texts(2, 1, 0))
}

func testOneValue(t *testing.T, w *world) {
	r := w.staged(t)
	other := secrets.Candidate{Cycle: cycle(3), Value: secrets.NewValue(text("4"))}
	_, err := w.Store.Stage(t.Context(), w.Ref(r.name), other)
	wantOp(t, err, "stage")
	wantError(t, err, "", secrets.ErrConflict)
	w.see(t, r.name, texts(2, 1, 3))
}

func testOccupied(t *testing.T, w *world) {
	r := w.staged(t)
	_, err := w.Store.Stage(t.Context(), w.Ref(r.name), candidate(4))
	wantOp(t, err, "stage")
	wantError(t, err, "", secrets.ErrOccupied)
	w.see(t, r.name, texts(2, 1, 3))
	if err := w.Store.Drop(t.Context(), w.Ref(r.name), r.staged); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Store.Stage(t.Context(), w.Ref(r.name), candidate(4)); err != nil {
		t.Error(err)
	}
	w.see(t, r.name, texts(2, 1, 4))
}

func testStranger(t *testing.T, w *world) {
	for _, end := range []struct {
		name string
		end  func(rotation) error
		left state
	}{
		{"promoted", func(r rotation) error {
			_, err := w.Store.Promote(t.Context(), w.Ref(r.name), secrets.Promotion{To: r.staged, From: r.current})
			return err
		}, texts(4, 2, 3)},
		{"dropped", func(r rotation) error { return w.Store.Drop(t.Context(), w.Ref(r.name), r.staged) }, texts(2, 1, 3)},
	} {
		r := w.rotated()
		w.Pend(Put{Name: r.name, Text: text("4")})
		inventory := w.see(t, r.name, texts(2, 1, 4))
		r.staged = inventory.Staged.ID
		if inventory.Staged.Cycle == cycle(3) {
			t.Errorf("a stranger's version is of cycle %q", inventory.Staged.Cycle)
		}
		_, err := w.Store.Stage(t.Context(), w.Ref(r.name), candidate(3))
		wantOp(t, err, "stage")
		wantError(t, err, "", secrets.ErrOccupied)
		w.see(t, r.name, texts(2, 1, 4))
		if err := end.end(r); err != nil {
			t.Errorf("%s: %v", end.name, err)
		}
		if _, err := w.Store.Stage(t.Context(), w.Ref(r.name), candidate(3)); err != nil {
			t.Errorf("%s: %v", end.name, err)
		}
		w.see(t, r.name, end.left)
	}
}

func testCandidates(t *testing.T, w *world) {
	r := w.rotated()
	w.line.plan(trouble{})
	for _, bad := range []secrets.Candidate{
		{Cycle: cycle(3)},
		{Value: secrets.NewValue(text("3"))},
		{Cycle: "3", Value: secrets.NewValue(text("3"))},
		{Cycle: strings.ToUpper(cycle(3)), Value: secrets.NewValue(text("3"))},
		{Cycle: cycle(3), Value: secrets.NewValue(strings.Repeat(Canary, 65536/len(Canary)+1))},
	} {
		_, err := w.Store.Stage(t.Context(), w.Ref(r.name), bad)
		wantOp(t, err, "stage")
		if is(err, secrets.ErrConflict, secrets.ErrOccupied, secrets.ErrNotFound) {
			t.Errorf("got %v", err)
		}
	}
	if n := w.line.requests(); n != 0 {
		t.Errorf("the service was asked %d times", n)
	}
	w.see(t, r.name, texts(2, 1, 0))
}

func testDropped(t *testing.T, w *world) {
	for _, test := range []struct {
		which string
		id    func(rotation) string
		left  state
	}{
		{"the staged version", func(r rotation) string { return r.staged }, texts(2, 1, 0)},
		{"the previous version", func(r rotation) string { return r.previous }, texts(2, 0, 3)},
	} {
		r := w.staged(t)
		id := test.id(r)
		if err := w.Store.Drop(t.Context(), w.Ref(r.name), id); err != nil {
			t.Errorf("%s: %v", test.which, err)
		}
		w.see(t, r.name, test.left)
		_, err := w.Store.Value(t.Context(), w.Ref(r.name), id)
		wantOp(t, err, "read")
		if !is(err, secrets.ErrNotFound, secrets.ErrUnusable) {
			t.Errorf("%s can be read, error %v", test.which, err)
		}
		_, err = w.Store.Promote(t.Context(), w.Ref(r.name), secrets.Promotion{To: id, From: r.current})
		wantOp(t, err, "promote")
		if !errors.Is(err, secrets.ErrConflict) {
			t.Errorf("%s is promoted, error %v", test.which, err)
		}
		w.see(t, r.name, test.left)
	}
}

func testDropGone(t *testing.T, w *world) {
	r := w.staged(t)
	for _, id := range []string{r.staged, r.staged, r.previous, r.previous, unknown(r.staged), unknown(r.previous)} {
		if err := w.Store.Drop(t.Context(), w.Ref(r.name), id); err != nil {
			t.Errorf("%q: %v", id, err)
		}
	}
	w.see(t, r.name, texts(2, 0, 0))
}

func testDropCurrent(t *testing.T, w *world) {
	r := w.staged(t)
	wantCurrent := func(when, id string) {
		t.Helper()
		err := w.Store.Drop(t.Context(), w.Ref(r.name), id)
		wantOp(t, err, "drop")
		if !errors.Is(err, secrets.ErrConflict) {
			t.Errorf("%s the current version is dropped, error %v", when, err)
		}
	}
	wantCurrent("at first", r.current)
	promoted, err := w.Store.Promote(t.Context(), w.Ref(r.name), secrets.Promotion{To: r.staged, From: r.current})
	if err != nil {
		t.Fatal(err)
	}
	wantCurrent("when promoted", promoted.ID)
	w.see(t, r.name, texts(3, 2, 0))
}
