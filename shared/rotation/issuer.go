package rotation

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/postern-ai/postern/shared/secrets"
)

// Overlap says how an issuer's old key and its next one live beside each other.
type Overlap string

// The ways to overlap.
const (
	// Parallel keys are independent: any number up to [Traits.MaxLive] is valid at a time.
	Parallel Overlap = "parallel"
	// TwoSlots means that the owner always has two keys. Creating one is giving one slot a new value, which ends the old value of that
	// slot at once. The slots belong to the rotation alone.
	TwoSlots Overlap = "two_slots"
	// InPlace means that the next key ends the old one at once. Readers that still have the old one read again when it is rejected.
	InPlace Overlap = "in_place"
)

// Recovery says what becomes of a key whose making was interrupted.
type Recovery string

// The ways to recover, from the best to the worst.
const (
	// Chosen means that the secret is made here, by [Chooser], and kept before the issuer hears of it.
	Chosen Recovery = "chosen"
	// Readable means that the issuer tells the secret again, to [Recoverer].
	Readable Recovery = "readable"
	// Listed means that the secret is shown once, and that the key can be found and revoked without it.
	Listed Recovery = "listed"
	// Assisted means that no program can make the key: an operator does, and stages it.
	Assisted Recovery = "assisted"
)

// Traits are what an issuer declares of its keys. They decide which steps a rotation takes.
type Traits struct {
	Overlap  Overlap
	Recovery Recovery
	// Named says that keys carry the name that they were ordered under. Keys that carry none are told apart by their ids and their age.
	Named bool
	// Lasting says that what was derived from a key, such as a token, may outlive its revocation.
	Lasting bool
	// LastUsed says that keys tell when they were last used.
	LastUsed bool
	// Expiry says that keys take an end of their own, which is the safety net for a rotation that has stopped.
	Expiry bool
	// MaxLive is how many keys the owner may have at a time. Zero means that there is no limit to reckon with.
	MaxLive int
	// Successes is how many verifications in a row prove a key, for issuers whose servers learn of it one by one. Zero means one.
	Successes int
	// Propagation is how long it takes at most until all of the issuer's servers know of a change. It is part of the grace.
	Propagation time.Duration
}

// Key is a key as its issuer lists it, without its secret.
type Key struct {
	// ID is the issuer's own id of the key. It is no secret.
	ID string
	// Name is what the key was ordered under, or whatever somebody else called it.
	Name string
	// Created, LastUsed and Expires are the issuer's. They are zero where it does not tell.
	Created, LastUsed, Expires time.Time
	// Disabled says that the key is there and does not work.
	Disabled bool
}

// Order is what a key is made for. Ordering again with the same cycle and name must not be needed for anything to be found again.
type Order struct {
	// Credential is the credential's name.
	Credential string
	// Cycle is the id of the cycle, a UUID in lower case, and Number its number, which only grows.
	Cycle  string
	Number int64
	// Name is the name of the key, of lower-case letters, digits and hyphens, at most 63 bytes. It is never used twice.
	Name string
	// Expires is the end that the key gets, if its issuer gives keys one.
	Expires time.Time
	// Current is the id of the key in use, empty if that is not known. It must survive.
	Current string
	// Content is the whole content of the secret in use, empty if there is none. Issuers whose content holds more than the key carry over the
	// rest.
	Content secrets.Value
	// Chosen is what [Chooser] has made for this cycle.
	Chosen secrets.Value
}

// Issued is a key that has just been made.
type Issued struct {
	Key Key
	// Value is what the secret store has to hold for the key to be used. It is empty when the value is the chosen one.
	Value secrets.Value
}

// Issuer makes and revokes the keys of one credential. Each method is one attempt, without retries of its own; implementations are safe for
// concurrent use and honour ctx. Errors are an *[Error], whose texts hold nothing of what the issuer wrote.
type Issuer interface {
	// Traits returns the same at each call.
	Traits() Traits
	// Create makes a key. An error that wraps [ErrUnanswered] means that there may be one. The key may not work everywhere at once.
	// An issuer of [Assisted] keys returns [ErrRefused].
	Create(ctx context.Context, order Order) (Issued, error)
	// Find returns the keys that may belong to the credential, disabled ones too: those whose name begins with the prefix, or all that the
	// owner has, if keys have no names or the prefix is empty.
	Find(ctx context.Context, prefix string) ([]Key, error)
	// Revoke ends a key for good. One that is gone is no error.
	Revoke(ctx context.Context, key Key) error
}

// Verifier finds out whether a key works, by using it as the gateway does.
type Verifier interface {
	// Verify returns nil if a key whose stored content is the value works. It is [ErrRejected] if the service does not accept it (yet), and
	// any other error if that could not be found out.
	Verify(ctx context.Context, value secrets.Value) error
}

// Chooser is an Issuer of [Chosen] keys.
type Chooser interface {
	// Choose makes a secret. Nobody but the caller hears of it.
	Choose(order Order) (secrets.Value, error)
}

// Recoverer is an Issuer of [Readable] keys.
type Recoverer interface {
	// Recover returns what the secret store has to hold for a key that Find has returned. It changes nothing, or nothing that is in use.
	Recover(ctx context.Context, key Key, order Order) (secrets.Value, error)
}

// Disabler is an Issuer whose keys can be stopped without being ended, and started again.
type Disabler interface {
	// Disable stops a key. One that is gone or stopped already is no error.
	Disable(ctx context.Context, key Key) error
	// Enable starts a key that was stopped.
	Enable(ctx context.Context, key Key) error
}

// Identifier is an Issuer that can tell which key a stored content is.
type Identifier interface {
	// Identify returns the id of the key, or the empty text if it is none of the owner's.
	Identify(ctx context.Context, value secrets.Value) (string, error)
}

var (
	// ErrRejected is wrapped when the service does not accept a key: it is wrong, has been revoked, or is not known everywhere yet.
	ErrRejected = errors.New("the key is not accepted")
	// ErrUnanswered is wrapped when a request that may have arrived brought no reply, or one that the service has failed: the effect is not
	// known.
	ErrUnanswered = errors.New("no reply")
	// ErrUnavailable is wrapped when a request was certainly not carried out, and may be later: the service throttles, or no connection was
	// made.
	ErrUnavailable = errors.New("not available")
	// ErrRefused is wrapped when the issuer will not do it however often it is asked: a right is missing, a limit has been reached, or it is
	// not possible at all. The error's reason says what to do.
	ErrRefused = errors.New("refused")
	// ErrThrottled is the [ErrUnavailable] of a service that throttles.
	ErrThrottled = fmt.Errorf("throttled: %w", ErrUnavailable)
	// ErrLimit is the [ErrRefused] of an issuer whose owner has as many keys as it may have.
	ErrLimit = fmt.Errorf("no further key: %w", ErrRefused)
)

// Error is why an issuer did not do something. Its text is ours, so it is safe for logs and events.
type Error struct {
	// Op is what was not done: create, find, revoke, verify, disable, enable, recover, identify.
	Op string
	// Reason says why, and what to do about it if something can be done.
	Reason string
	// RetryAfter is how long the service asks to wait. Zero means that it does not say.
	RetryAfter time.Duration
	// Err is the cause, which wraps one of the sentinels. It is not part of the text.
	Err error
}

// Error returns what was not done, and why.
func (e *Error) Error() string { return e.Op + " key: " + e.Reason }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }
