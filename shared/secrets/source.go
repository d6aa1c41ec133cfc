package secrets

import (
	"context"
	"errors"
	"time"
)

// ErrUnusable is wrapped by the error of a Reader when the store is there and says that the secret must not be used, or when what it
// holds cannot be used: it is disabled, expired, about to be deleted, or not what the reference says.
//
// An error that wraps neither this nor [ErrNotFound] says nothing about the secret: the store could not be asked.
var ErrUnusable = errors.New("secret must not be used")

// Secret is one version of a stored secret.
type Secret struct {
	Value Value
	// Version is the store's own id of this version, never a label or an alias that can move. It is empty where the store has no versions.
	Version string
	// Created is when the store took this version in. It is zero where the store does not tell.
	Created time.Time
	// Expires is when this version must no longer be used. It is zero for a version without such a time.
	Expires time.Time
}

// Source reads secrets together with their versions. Implementations are safe for concurrent use, honour ctx, ask the store at each
// call, and return errors that are an *[Error] or wrap one.
type Source interface {
	// Current returns the version that is in use, or the one that the reference pins. The value and the version always belong together.
	Current(ctx context.Context, ref Ref) (Secret, error)
	// Previous returns the version that was in use before the current one, for the time in which both are valid. When there is none,
	// or the reference pins a version, the error wraps [ErrNotFound].
	Previous(ctx context.Context, ref Ref) (Secret, error)
}

// Current reads the secret from the store that ref names.
func (s Stores) Current(ctx context.Context, ref Ref) (Secret, error) {
	if source, ok := s[ref.Store].(Source); ok {
		return source.Current(ctx, ref)
	}
	return unversioned(s.Read(ctx, ref))
}

// Previous reads the version before the current one from the store that ref names. A store without versions has none.
func (s Stores) Previous(ctx context.Context, ref Ref) (Secret, error) {
	if source, ok := s[ref.Store].(Source); ok {
		return source.Previous(ctx, ref)
	}
	return Secret{}, NoPrevious(ref)
}

// Current returns the variable that ref names. It has no version.
func (e Environment) Current(ctx context.Context, ref Ref) (Secret, error) {
	return unversioned(e.Read(ctx, ref))
}

// Previous always returns an error that wraps [ErrNotFound].
func (e Environment) Previous(_ context.Context, ref Ref) (Secret, error) {
	return Secret{}, NoPrevious(ref)
}

func unversioned(value Value, err error) (Secret, error) {
	if err != nil {
		return Secret{}, err
	}
	return Secret{Value: value}, nil
}

// NoPrevious is the error of a [Source] that has no version before the current one.
func NoPrevious(ref Ref) error {
	return &Error{Ref: ref, Reason: "there is no previous version", Err: ErrNotFound}
}
