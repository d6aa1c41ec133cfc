package identity

import (
	"context"
	"errors"
	"net"
	"os"
	"syscall"
)

// Error is why there is no credential.
//
// Its text is safe for logs and replies: it consists of Public and of those few kinds of causes that cannot quote what an issuer sent.
// The answers of token endpoints, their URLs and everything else that a client library puts into an error stay in Err, which is there for
// errors.Is and errors.As and is never to be printed.
type Error struct {
	// Public names what is missing or wrong and what to do about it.
	Public string
	// Err is the cause. It may be nil.
	Err error
	// Retryable reports whether the same fetch may succeed a little later with nothing changed.
	Retryable bool
}

// Error returns Public, followed by the kind of the cause where it is one that is known to be harmless.
func (e *Error) Error() string {
	if kind := harmless(e.Err); kind != "" {
		return e.Public + ": " + kind
	}
	return e.Public
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// harmless names a cause by its kind, never by its text. Only what is recognised is named.
func harmless(err error) string {
	var (
		inner *Error
		dns   *net.DNSError
		errno syscall.Errno
		timed net.Error
	)
	switch {
	case err == nil:
		return ""
	case errors.As(err, &inner):
		return inner.Error()
	case errors.Is(err, context.Canceled):
		return "cancelled"
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return "timed out"
	case errors.As(err, &dns):
		return "host name not found"
	case errors.As(err, &errno):
		return errno.Error()
	case errors.As(err, &timed) && timed.Timeout():
		return "timed out"
	}
	return ""
}
