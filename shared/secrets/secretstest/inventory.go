package secretstest

import (
	"errors"
	"testing"
	"time"

	"github.com/postern-ai/postern/shared/secrets"
)

func testInventory(t *testing.T, w *world) {
	start := time.Now().Add(-time.Minute)
	name := w.fresh()
	first := w.Put(Put{Name: name, Text: text("1")})
	if got := w.see(t, name, texts(1, 0, 0)); got.Current.ID != first {
		t.Errorf("the current version is %q, want %q", got.Current.ID, first)
	}
	second := w.Put(Put{Name: name, Text: text("2")})
	if got := w.see(t, name, texts(2, 1, 0)); got.Current.ID != second || got.Previous.ID != first {
		t.Errorf("the versions are %q and %q, want %q and %q", got.Current.ID, got.Previous.ID, second, first)
	}
	staged, err := w.Store.Stage(t.Context(), w.Ref(name), candidate(3))
	if err != nil || staged.Cycle != cycle(3) {
		t.Fatalf("staged %+v, error %v", staged, err)
	}
	got := w.see(t, name, texts(2, 1, 3))
	if got.Staged.ID != staged.ID || got.Staged.Cycle != cycle(3) || got.Current.ID != second || got.Previous.ID != first {
		t.Errorf("the inventory is %+v, want %q staged", got, staged.ID)
	}
	for _, version := range []secrets.Version{staged, got.Staged, got.Current, got.Previous} {
		if at := version.Created; !at.IsZero() && (at.Before(start) || at.After(time.Now().Add(time.Minute))) {
			t.Errorf("%q was created at %v", version.ID, at)
		}
	}
}

func testEmpty(t *testing.T, w *world) {
	if w.Make == nil {
		t.Skip("this service has no secrets without versions")
	}
	w.Make("key")
	if got := w.see(t, "key", state{}); got != (secrets.Inventory{}) {
		t.Errorf("the inventory is %+v", got)
	}
	version, err := w.Store.Stage(t.Context(), w.Ref("key"), candidate(1))
	if err != nil {
		t.Fatal(err)
	}
	if w.FirstIsCurrent {
		w.see(t, "key", texts(1, 0, 0))
	} else {
		w.see(t, "key", texts(0, 0, 1))
	}
	for range 2 {
		if _, err := w.Store.Promote(t.Context(), w.Ref("key"), secrets.Promotion{To: version.ID}); err != nil {
			t.Error(err)
		}
		w.see(t, "key", texts(1, 0, 0))
	}
}

func testNoSecret(t *testing.T, w *world) {
	id := w.Put(Put{Name: "other", Text: text("1")})
	for op, err := range w.each(t.Context(), w.Ref("nothing"), id) {
		if op == "drop" && err == nil {
			continue // what is gone is dropped
		}
		wantOp(t, err, op)
		if !errors.Is(err, secrets.ErrNotFound) {
			t.Errorf("%s: got %v", op, err)
		}
	}
	if _, err := w.Reader.Read(t.Context(), w.Ref("nothing")); !errors.Is(err, secrets.ErrNotFound) {
		t.Errorf("the secret was made: a reader gets error %v", err)
	}
}

func testNoVersion(t *testing.T, w *world) {
	r := w.rotated()
	for _, id := range []string{"", "1x", "latest", "AWSCURRENT", unknown(r.current)} {
		_, err := w.Store.Value(t.Context(), w.Ref(r.name), id)
		wantOp(t, err, "read")
		if !errors.Is(err, secrets.ErrNotFound) {
			t.Errorf("%q: got %v", id, err)
		}
	}
}

func testDeletedSecret(t *testing.T, w *world) {
	id := w.Put(Put{Name: "key", Text: text("1")})
	w.Delete("key")
	for op, err := range w.each(t.Context(), w.Ref("key"), id) {
		if op == "drop" && err == nil {
			continue
		}
		wantOp(t, err, op)
		if !is(err, secrets.ErrNotFound, secrets.ErrUnusable) {
			t.Errorf("%s: got %v", op, err)
		}
	}
	if _, err := w.Reader.Read(t.Context(), w.Ref("key")); !is(err, secrets.ErrNotFound, secrets.ErrUnusable) {
		t.Errorf("a reader gets error %v", err)
	}
}

func testReplaceWithdrawn(t *testing.T, w *world) {
	if w.Withdraw == nil {
		t.Skip("this service has no such thing")
	}
	ref := w.Ref("key")
	w.Put(Put{Name: "key", Text: text("1")})
	w.Withdraw("key")
	staged, err := w.Store.Stage(t.Context(), ref, candidate(2))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Reader.Read(t.Context(), ref); !errors.Is(err, secrets.ErrUnusable) {
		t.Errorf("with a staged version a reader gets error %v", err)
	}
	inventory, err := w.Store.Inspect(t.Context(), ref)
	if err != nil || inventory.Staged.ID != staged.ID {
		t.Fatalf("the inventory is %+v, error %v", inventory, err)
	}
	if _, err := w.Store.Promote(t.Context(), ref, secrets.Promotion{To: staged.ID, From: inventory.Current.ID}); err != nil {
		t.Fatal(err)
	}
	if got, err := w.Reader.Read(t.Context(), ref); err != nil || got.Reveal() != text("2") {
		t.Errorf("a reader gets %q and error %v", got.Reveal(), err)
	}
}

func testParts(t *testing.T, w *world) {
	r := w.rotated()
	version, field := w.Ref(r.name), w.Ref(r.name)
	version.Version, field.Field = r.current, "openai"
	w.line.plan(trouble{})
	for _, test := range []struct {
		ref  secrets.Ref
		says string
	}{
		{version, "leave out its version"},
		{field, "leave out its #field"},
		{secrets.Ref{Store: secrets.StoreEnv, Name: "KEY"}, "this store is for"},
		{secrets.Ref{Name: "not a name!"}, ""},
	} {
		for op, err := range w.each(t.Context(), test.ref, r.previous) {
			wantOp(t, err, op)
			wantError(t, err, test.says, nil)
		}
	}
	if n := w.line.requests(); n != 0 {
		t.Errorf("the service was asked %d times", n)
	}
	w.see(t, r.name, texts(2, 1, 0))
}
