package secretstest

import (
	"context"
	"testing"

	"github.com/postern-ai/postern/shared/secrets"
)

// call is one call of a store.
type call func(ctx context.Context, store secrets.Store) error

// step is a call that succeeds.
type step struct {
	name string
	// op is what the error says was not done, should it fail.
	op string
	// prepare makes a secret and returns its name and the call.
	prepare func(*testing.T, *world) (string, call)
	// early says that the preparation takes no store.
	early bool
	// after is what there is when the call has had its effect.
	after state
}

// steps are all the calls that succeed.
func steps() []step {
	return []step{
		{name: "inspect", op: "inspect", prepare: inspecting, early: true, after: texts(2, 1, 0)},
		{name: "value", op: "read", prepare: reading, early: true, after: texts(2, 1, 0)},
		{name: "stage", op: "stage", prepare: staging, early: true, after: texts(2, 1, 3)},
		{name: "promote", op: "promote", prepare: promoting, after: texts(3, 2, 0)},
		{name: "promote back", op: "promote", prepare: promotingBack, early: true, after: texts(1, 2, 0)},
		{name: "drop the staged version", op: "drop", prepare: droppingStaged, after: texts(2, 1, 0)},
		{name: "drop the previous version", op: "drop", prepare: droppingPrevious, early: true, after: texts(2, 0, 0)},
	}
}

func inspecting(_ *testing.T, w *world) (string, call) {
	r := w.rotated()
	return r.name, func(ctx context.Context, s secrets.Store) error { _, err := s.Inspect(ctx, w.Ref(r.name)); return err }
}

func reading(_ *testing.T, w *world) (string, call) {
	r := w.rotated()
	return r.name, func(ctx context.Context, s secrets.Store) error {
		_, err := s.Value(ctx, w.Ref(r.name), r.previous)
		return err
	}
}

func staging(_ *testing.T, w *world) (string, call) {
	r := w.rotated()
	return r.name, func(ctx context.Context, s secrets.Store) error {
		_, err := s.Stage(ctx, w.Ref(r.name), candidate(3))
		return err
	}
}

func promoting(t *testing.T, w *world) (string, call) {
	r := w.staged(t)
	return r.name, func(ctx context.Context, s secrets.Store) error {
		_, err := s.Promote(ctx, w.Ref(r.name), secrets.Promotion{To: r.staged, From: r.current})
		return err
	}
}

func promotingBack(_ *testing.T, w *world) (string, call) {
	r := w.rotated()
	return r.name, func(ctx context.Context, s secrets.Store) error {
		_, err := s.Promote(ctx, w.Ref(r.name), secrets.Promotion{To: r.previous, From: r.current})
		return err
	}
}

func droppingStaged(t *testing.T, w *world) (string, call) {
	r := w.staged(t)
	return r.name, func(ctx context.Context, s secrets.Store) error { return s.Drop(ctx, w.Ref(r.name), r.staged) }
}

func droppingPrevious(_ *testing.T, w *world) (string, call) {
	r := w.rotated()
	return r.name, func(ctx context.Context, s secrets.Store) error { return s.Drop(ctx, w.Ref(r.name), r.previous) }
}
