package ledger

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
)

// Authorizer puts this function's own credential for a store on a request. The authorizers of the identity packages are such.
type Authorizer interface {
	// Authorize sets headers of the request and honours its context.
	Authorize(request *http.Request) error
	// Rejected is told that the store did not accept the credential on the request.
	Rejected(request *http.Request)
}

// Remote sends the requests of a [Store] that is a service over HTTP. It is safe for concurrent use.
type Remote struct {
	// HTTP sends the requests. It follows no redirect and bounds what it reads of a reply.
	HTTP *http.Client
	// Authorizer puts the function's own credential on each request.
	Authorizer Authorizer
	// Rejects reports whether a reply says that the credential was not accepted. Nil means a status of 401.
	Rejects func(reply Reply) bool
}

// Reply is the whole answer of a store, whatever its status.
type Reply struct {
	Status int
	Header http.Header
	Body   []byte
}

// Send sends a request about the record with a key. When the store rejects the credential, which may have been revoked since it was
// cached, the request is authorized and sent once more: a rejected request had no effect. The error is an *[Error].
func (r *Remote) Send(request *http.Request, key string) (Reply, error) {
	reply, err := r.once(request, key)
	if err != nil || !r.rejected(reply) {
		return reply, err
	}
	r.Authorizer.Rejected(request)
	again := request.Clone(request.Context())
	if request.GetBody != nil {
		if again.Body, err = request.GetBody(); err != nil {
			return Reply{}, &Error{Key: key, Reason: "its request cannot be sent again", Err: err}
		}
	}
	return r.once(again, key)
}

func (r *Remote) rejected(reply Reply) bool {
	if r.Rejects == nil {
		return reply.Status == http.StatusUnauthorized
	}
	return r.Rejects(reply)
}

func (r *Remote) once(request *http.Request, key string) (Reply, error) {
	if err := r.Authorizer.Authorize(request); err != nil {
		if kind := kindOf(err); kind != "" {
			return Reply{}, &Error{Key: key, Reason: "no credential for the store was obtained: " + kind, Err: err}
		}
		return Reply{}, &Error{Key: key, Reason: "this function has no credential of its own for the store", Err: err}
	}
	response, err := r.HTTP.Do(request)
	if err != nil {
		return Reply{}, unreachable(key, err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return Reply{}, unreachable(key, err)
	}
	return Reply{Status: response.StatusCode, Header: response.Header, Body: body}, nil
}

// unreachable is the error for a request that brought no reply. It names the kind of the cause and never its text, in which URLs appear.
func unreachable(key string, err error) error {
	reason := "the store cannot be reached"
	if kind := kindOf(err); kind != "" {
		reason += ": " + kind
	}
	effect := ErrUnanswered
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "dial" {
		effect = ErrUnavailable
	}
	return &Error{Key: key, Reason: reason, Err: errors.Join(effect, err)}
}

func kindOf(err error) string {
	timed, isNet := errors.AsType[net.Error](err)
	switch {
	case errors.Is(err, context.Canceled):
		return "cancelled"
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded), isNet && timed.Timeout():
		return "timed out"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "connection closed"
	}
	if _, ok := errors.AsType[*net.DNSError](err); ok {
		return "host name not found"
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return "certificate not trusted"
	}
	return ""
}

// Malformed is the error for a reply of success that is not what the service's API describes. It may come from something in between, so it
// does not tell whether a write was done; the record can.
func Malformed(key string) error {
	return &Error{Key: key, Reason: "the store's reply is not what its API describes", Err: ErrUnanswered}
}

// Unexpected is the error for a status that a store has no better words for. A failed service may have done what it was asked.
func (r Reply) Unexpected(key string) error {
	switch {
	case r.Status == http.StatusTooManyRequests:
		return &Error{Key: key, Reason: "the store is throttling (429)", Err: ErrUnavailable}
	case r.Status >= http.StatusInternalServerError, r.Status == http.StatusRequestTimeout:
		return &Error{Key: key, Reason: fmt.Sprintf("the store has failed (%d)", r.Status), Err: ErrUnanswered}
	}
	return &Error{Key: key, Reason: fmt.Sprintf("the store answers with status %d", r.Status)}
}
