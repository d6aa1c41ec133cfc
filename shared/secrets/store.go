package secrets

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

var (
	// ErrConflict is wrapped by the error of a [Store] when the secret is not as the caller last saw it: another version is in use, or the
	// cycle has staged another value. Whoever gets it inspects the secret again and decides anew. Nothing has been changed.
	ErrConflict = errors.New("the secret has changed")
	// ErrOccupied is wrapped by the error of Stage when a version of another cycle, or of a stranger, is staged. It has to be promoted or
	// dropped first. Nothing has been changed.
	ErrOccupied = errors.New("another version is staged")
)

// Version is one version of a stored secret, without its value.
type Version struct {
	// ID is the store's own id of the version. It is opaque, and what [Store] takes wherever it takes a version. Empty means that there is
	// no such version.
	ID string
	// Cycle is what the version was staged for. It is empty, or a text of the store's own, for a version that somebody else made.
	Cycle string
	// Created is when the store took the version in, by the store's clock. It is zero where the store does not tell.
	Created time.Time
}

// Inventory is which versions of a secret there are.
type Inventory struct {
	// Current is the version that readers get, Previous the one that they fall back to.
	Current, Previous Version
	// Staged is the version that no reader gets yet.
	Staged Version
}

// Candidate is a value that is to become the current version.
type Candidate struct {
	// Cycle is a UUID in lower case. A store takes one value for it at most.
	Cycle string
	// Value is the whole content of the secret.
	Value Value
}

// Promotion makes one version current in place of another.
type Promotion struct {
	// To is the id of the staged version, or of the previous one to go back to it.
	To string
	// From is the id of the version that the caller believes to be current. It is empty when there is none.
	From string
}

// Store replaces secrets. Only a rotation has one; everything else has a [Reader].
//
// A reference names a whole secret: one with a version or a field is refused. Implementations are safe for concurrent use, honour ctx, and
// return errors that are an *[Error]. Each method may be called again after an error, also when its effect is not known: it finds out what
// became of the first call, and its effect comes once. None takes the place of a lease: stores that cannot compare and swap rely on there
// being one writer at a time.
type Store interface {
	// Inspect returns which versions there are. It reads no value where the store can do without. Without the secret it is [ErrNotFound].
	Inspect(ctx context.Context, ref Ref) (Inventory, error)
	// Value returns the whole content of one version. Without the version it is [ErrNotFound].
	Value(ctx context.Context, ref Ref, id string) (Value, error)
	// Stage keeps a value as a version that no reader gets. The secret itself has to be there: it is made, with its permissions, by whoever
	// deploys. Staged again, it returns the version that it has. It is [ErrConflict] when the cycle has staged another value, and
	// [ErrOccupied] when another cycle's version is staged.
	Stage(ctx context.Context, ref Ref, candidate Candidate) (Version, error)
	// Promote makes a version the current one if the current one is still the expected one, which then becomes the previous one. Promoted
	// again, it returns the current version, whose id need not be that of the staged one. Otherwise it is [ErrConflict].
	Promote(ctx context.Context, ref Ref, promotion Promotion) (Version, error)
	// Drop makes a version that is not current unusable: a staged one that will not be promoted, or a previous one whose credential has been
	// revoked. One that is gone is no error. The current one is [ErrConflict].
	Drop(ctx context.Context, ref Ref, id string) error
}

// Whole returns the reference as the [Store] of a kind of store has to understand it: like [Ref.In], and it names a whole secret. The error
// is an *[Error].
func (r Ref) Whole(store string) (Ref, error) {
	refuse := func(reason string) (Ref, error) { return Ref{}, &Error{Ref: r, Reason: reason} }
	if r.Store != StoreOwn && r.Store != store {
		return refuse("this store is for " + store + "://")
	}
	own, err := r.In(store)
	switch {
	case err != nil:
		return Ref{}, err
	case own.Version != "":
		return refuse("a secret is replaced as a whole; leave out its version")
	case own.Field != "":
		return refuse("a secret is replaced as a whole; leave out its #field")
	}
	return own, nil
}

// Check returns what is wrong with the candidate for a secret, which every [Store] refuses before it asks anything. It is an *[Error].
func (c Candidate) Check(ref Ref) error {
	switch {
	case !isCycle(c.Cycle):
		return &Error{Ref: ref, Reason: "the cycle of a new version has to be a UUID in lower case"}
	case c.Value.IsZero():
		return &Error{Ref: ref, Reason: "the new version is empty"}
	case len(c.Value.Reveal()) > maxSecret:
		return &Error{Ref: ref, Reason: fmt.Sprintf("the new version is larger than %d bytes", maxSecret)}
	}
	return nil
}

func isCycle(text string) bool {
	parts := strings.Split(text, "-")
	if len(parts) != 5 {
		return false
	}
	for i, length := range []int{8, 4, 4, 4, 12} {
		if len(parts[i]) != length || !(digits+"abcdef").spells(parts[i], length) {
			return false
		}
	}
	return true
}

// Failed returns the error of a [Store] as one about an operation, such as "stage". What is not about a secret stays as it is.
func Failed(op string, err error) error {
	told, ok := errors.AsType[*Error](err)
	if !ok {
		return err
	}
	about := *told
	about.Op = op
	return &about
}
