package gcpsecrets

import (
	"context"
	"errors"

	"github.com/postern-ai/postern/shared/secrets"
)

// rounds is how often a change is tried that somebody else's change of the same secret gets in the way of.
const rounds = 4

// Store replaces secrets in Secret Manager. It is a [secrets.Store], and safe for concurrent use.
//
// Which version is current and which is previous is said by the aliases of these names, and what each version was staged for by annotations
// whose names begin with postern-. Both are parts of the secret, which changes under its etag: of two that promote at the same time one
// wins, and it needs no lease. Staging does: a version is added without a condition, so that of several who stage the same candidate at the
// same time each may take the others' additions for what a cut off call has left, and all of them may fail.
//
// A secret without aliases, of which readers get the newest version, is given them before a version is added. A version that somebody else
// has added since is a staged one, unless the secret has no aliases: then it is the current one. Who manages the
// secret by other means, such as Terraform, has to leave these aliases and annotations alone.
//
// Stage needs secretmanager.versions.add, and secretmanager.versions.access and secretmanager.versions.destroy where an earlier call was
// cut off; Promote needs secretmanager.secrets.update as Stage does; Drop needs that and secretmanager.versions.destroy; Value needs
// secretmanager.versions.access. All but Value need secretmanager.secrets.get, secretmanager.versions.list and secretmanager.versions.get.
// roles/secretmanager.admin has them all and more; a role of one's own with these, on the secret, is enough.
type Store struct{ reader *Reader }

// NewStore returns a Store. It makes no network call. The timeout of the options bounds each request.
func NewStore(options Options) (*Store, error) {
	reader, err := New(options)
	if err != nil {
		return nil, err
	}
	return &Store{reader}, nil
}

// session is what one call of a Store works with.
func (s *Store) session(ref secrets.Ref) (*session, error) {
	if _, err := ref.Whole(secrets.StoreGCP); err != nil {
		return nil, err
	}
	return s.reader.session(ref)
}

// Inspect implements [secrets.Store]. It reads no value.
func (s *Store) Inspect(ctx context.Context, ref secrets.Ref) (secrets.Inventory, error) {
	one, err := s.session(ref)
	if err != nil {
		return secrets.Inventory{}, secrets.Failed("inspect", err)
	}
	h, err := one.history(ctx)
	if err != nil {
		return secrets.Inventory{}, secrets.Failed("inspect", err)
	}
	return h.inventory(), nil
}

// Value implements [secrets.Store].
func (s *Store) Value(ctx context.Context, ref secrets.Ref, id string) (secrets.Value, error) {
	one, err := s.session(ref)
	if err != nil {
		return secrets.Value{}, err
	}
	if _, ok := parseNumber(id); !ok {
		return secrets.Value{}, &secrets.Error{Ref: ref, Reason: "a version of Google Secret Manager is a number", Err: secrets.ErrNotFound}
	}
	return one.value(ctx, id)
}

// Stage implements [secrets.Store].
//
// Adding a version has no condition and cannot be repeated safely, so the secret says beforehand which cycle is about to add one, and after
// which number: whoever finds that note, and no note of the outcome, looks for the value among the versions with higher numbers.
func (s *Store) Stage(ctx context.Context, ref secrets.Ref, candidate secrets.Candidate) (secrets.Version, error) {
	one, err := s.session(ref)
	if err == nil {
		err = candidate.Check(ref)
	}
	if err != nil {
		return secrets.Version{}, secrets.Failed("stage", err)
	}
	work := &staging{session: one, candidate: candidate}
	version, err := one.settle(ctx, work.round)
	return version, secrets.Failed("stage", err)
}

// Promote implements [secrets.Store].
func (s *Store) Promote(ctx context.Context, ref secrets.Ref, promotion secrets.Promotion) (secrets.Version, error) {
	one, err := s.session(ref)
	if err != nil {
		return secrets.Version{}, secrets.Failed("promote", err)
	}
	version, err := one.settle(ctx, func(ctx context.Context, h *history) (secrets.Version, error) { return one.promote(ctx, h, promotion) })
	return version, secrets.Failed("promote", err)
}

// Drop implements [secrets.Store]. The version is destroyed, at once or when the secret's own delay for that has passed.
func (s *Store) Drop(ctx context.Context, ref secrets.Ref, id string) error {
	one, err := s.session(ref)
	if err != nil {
		return secrets.Failed("drop", err)
	}
	number, ok := parseNumber(id)
	if !ok {
		return nil // no version was ever called that
	}
	// The secret forgets the version first, under its etag: who wants to promote it at the same time either comes first, and is seen, or too late.
	_, err = one.settle(ctx, func(ctx context.Context, h *history) (secrets.Version, error) {
		return secrets.Version{}, one.forget(ctx, h, number)
	})
	if err != nil {
		return secrets.Failed("drop", err)
	}
	return secrets.Failed("drop", one.destroy(ctx, number))
}

// settle reads the secret and acts on it, and does so again if it has changed in between.
func (s *session) settle(ctx context.Context, act func(context.Context, *history) (secrets.Version, error)) (secrets.Version, error) {
	for range rounds {
		h, err := s.history(ctx)
		if err != nil {
			return secrets.Version{}, err
		}
		version, err := act(ctx, h)
		if !errors.Is(err, errStale) {
			return version, err
		}
	}
	return secrets.Version{}, s.conflict("somebody else keeps changing it")
}

func (s *session) conflict(reason string) error {
	return &secrets.Error{Ref: s.ref, Reason: reason, Err: secrets.ErrConflict}
}
