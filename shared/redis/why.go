package redis

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
)

// Remedy says what an operator can do about the refusal, as the end of a sentence. It is empty when that is not known, and for NOPERM, because
// which commands are needed is known to whoever sends them.
func (r *Refusal) Remedy() string {
	switch r.Code {
	case "WRONGPASS":
		return "; check the user and its password, or whether the identity of the function may connect"
	case "NOAUTH":
		return "; it wants a password"
	case "OOM":
		return "; its memory is full"
	case "READONLY":
		return "; it is a replica, so use the address of the primary"
	}
	return ""
}

// Unreached says of which kind an error is that is no refusal, as the end of a sentence. It does not quote the error, and is empty for a kind
// that it does not know.
func Unreached(err error) string {
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return ": its certificate is not trusted"
	}
	if _, ok := errors.AsType[*net.DNSError](err); ok {
		return ": its host name is not found"
	}
	if number, ok := errors.AsType[syscall.Errno](err); ok {
		return ": " + number.Error()
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return ": it does not answer in time"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return ": it ends the connection"
	case errors.Is(err, ErrProtocol):
		return ": it does not speak the protocol of Redis"
	}
	return ""
}
