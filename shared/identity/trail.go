package identity

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/postern-ai/postern/shared/secrets"
)

// Outcome is how an attempt to get a credential ended.
type Outcome string

// The outcomes. Skipped is a source that was not asked: because nothing is configured for it, or because what it needs could not be had.
const (
	Found   Outcome = "found"
	Skipped Outcome = "skipped"
	Failed  Outcome = "failed"
)

// Attempt is one step on the way to a credential. Nothing in it is secret.
type Attempt struct {
	// Source is what was asked, or would have been.
	Source  string
	Outcome Outcome
	// Why says why there is nothing from this source.
	Why string
	// Principal is who was found, and Expires until when. Either may be unknown.
	Principal Principal
	Expires   time.Time
	// Version is that of a stored secret, where its store has versions.
	Version string

	// cause tells a failure from those that it leads to.
	cause error
}

// maxAttempts bounds a [Trail]. The longest chains have about a dozen steps.
const maxAttempts = 64

type trailKey struct{}

// Trail collects the attempts to get a credential, in their order, for those who ask why there is none. It is safe for concurrent use.
type Trail struct {
	mu       sync.Mutex
	attempts []Attempt
}

// WithTrail returns a context under which sources write down what they try, and the Trail that they write it to. A credential that a
// [Cache] or [Keeper] holds already is not tried for.
func WithTrail(ctx context.Context) (context.Context, *Trail) {
	trail := new(Trail)
	return context.WithValue(ctx, trailKey{}, trail), trail
}

// WithoutTrail is for what is done on the way and is no step of its own.
func WithoutTrail(ctx context.Context) context.Context {
	return context.WithValue(ctx, trailKey{}, (*Trail)(nil))
}

// Attempts returns what has been tried so far.
func (t *Trail) Attempts() []Attempt {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.attempts)
}

// Trailed reports whether anybody wants to know what is tried under a context.
func Trailed(ctx context.Context) bool { return trailOf(ctx) != nil }

func trailOf(ctx context.Context) *Trail {
	trail, _ := ctx.Value(trailKey{}).(*Trail)
	return trail
}

// Tried writes down an attempt and, when err is not nil, that it came to nothing. An attempt that failed only because the one before it
// did is one that was skipped. Without a Trail in the context it does nothing.
func Tried(ctx context.Context, attempt Attempt, err error) {
	trail := trailOf(ctx)
	if trail == nil {
		return
	}
	trail.mu.Lock()
	defer trail.mu.Unlock()
	if len(trail.attempts) == maxAttempts {
		return
	}
	switch {
	case err != nil && trail.follows(err):
		attempt.Outcome, attempt.Why, attempt.cause = Skipped, "what it needs could not be had", distinct(err)
	case err != nil:
		attempt.Outcome, attempt.Why, attempt.cause = Failed, Why(err), distinct(err)
	case attempt.Outcome == "":
		attempt.Outcome = Found
	}
	trail.attempts = append(trail.attempts, attempt)
}

// follows reports whether an error is that of an earlier attempt.
func (t *Trail) follows(err error) bool {
	return slices.ContainsFunc(t.attempts, func(a Attempt) bool { return a.cause != nil && errors.Is(err, a.cause) })
}

// distinct returns that part of an error which no other failure has. A sentinel such as context.Canceled is in the errors of many.
func distinct(err error) error {
	if known, ok := errors.AsType[*Error](err); ok {
		return known
	}
	if stored, ok := errors.AsType[*secrets.Error](err); ok {
		return stored
	}
	return nil
}

// TriedToken is [Tried] for the results of a [TokenSource], to be deferred by its Token method.
func TriedToken(ctx context.Context, source string, token *Token, err *error) {
	Tried(ctx, Attempt{Source: source, Principal: token.Principal, Expires: token.Expires}, *err)
}

// Why returns of an error what may be shown: the text of an [*Error] or of a store's error, or else the kind of the error where that is known to be harmless.
func Why(err error) string {
	if known, ok := errors.AsType[*Error](err); ok {
		return known.Error()
	}
	if stored, ok := errors.AsType[*secrets.Error](err); ok {
		return stored.Error()
	}
	if kind := harmless(err); kind != "" {
		return "the credential cannot be fetched: " + kind
	}
	return "the credential cannot be fetched"
}
