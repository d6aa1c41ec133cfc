package identity

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"syscall"

	"github.com/postern-ai/postern/shared/secrets"
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

// harmless names a cause by its kind, never by its own text, unless that text is known to be made for logs. What is not recognised is
// not named.
func harmless(err error) string {
	if err == nil {
		return ""
	}
	if inner, ok := errors.AsType[*Error](err); ok {
		return inner.Error()
	}
	if stored, ok := errors.AsType[*secrets.Error](err); ok {
		return stored.Error()
	}
	if _, ok := errors.AsType[*net.DNSError](err); ok {
		return "host name not found"
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return "certificate not trusted"
	}
	if number, ok := errors.AsType[syscall.Errno](err); ok {
		return number.Error()
	}
	timed, ok := errors.AsType[net.Error](err)
	switch {
	case errors.Is(err, context.Canceled):
		return "cancelled"
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded), ok && timed.Timeout():
		return "timed out"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "connection closed"
	}
	return ""
}
