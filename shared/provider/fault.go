package provider

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/postern-ai/postern/shared/chat"
	"github.com/postern-ai/postern/shared/identity"
)

// ErrIncomplete is what a [Decoder] returns from End when the upstream closed
// the stream before the answer was complete.
var ErrIncomplete = chat.ErrIncomplete

// StatusError is the private cause of an error that an upstream's status
// made. Its text is safe for logs: it holds no word of what the upstream said.
type StatusError struct {
	Upstream string // the name for people
	Status   int    // as the upstream sent it
	Code     string // the upstream's own name for the error, if it is from a fixed list
}

// Error returns the upstream, its status and its code.
func (e *StatusError) Error() string {
	if e.Code == "" {
		return fmt.Sprintf("%s answered %d", e.Upstream, e.Status)
	}
	return fmt.Sprintf("%s answered %d (%s)", e.Upstream, e.Status, e.Code)
}

// Fault returns the error for an upstream's status, for upstreams whose
// statuses mean what HTTP says. Upstream is its name for people. Message is
// what the upstream said; it is shown to the caller for those statuses only
// where the caller is at fault, since for the others it is about the
// gateway's own account.
func Fault(status int, upstream, message string) *chat.Error {
	e := &chat.Error{Status: status, Err: &StatusError{Upstream: upstream, Status: status}}
	switch {
	case status == http.StatusUnauthorized || status == http.StatusForbidden:
		e.Status, e.Type, e.Code = http.StatusBadGateway, chat.TypeServer, chat.CodeUpstreamAuth
		e.Message = upstream + " did not accept the gateway's own credential. This is for the gateway's operator to mend; the caller's token is fine."
	case status == http.StatusPaymentRequired:
		e.Status, e.Type, e.Code = http.StatusBadGateway, chat.TypeServer, chat.CodeUpstreamError
		e.Message = upstream + " does not serve the gateway's account: it has no credit left, has reached a limit of its own, or is closed. This is for the gateway's operator to mend."
	case status == http.StatusNotFound:
		e.Type, e.Code = chat.TypeInvalidRequest, chat.CodeModelNotFound
		e.Param = "model"
		e.Message = upstream + " has no such model, or the gateway's account has no access to it."
	case status == http.StatusRequestTimeout || status == http.StatusGatewayTimeout:
		e.Status, e.Type, e.Code = http.StatusGatewayTimeout, chat.TypeServer, chat.CodeUpstreamTimeout
		e.Message = upstream + " did not answer in time. Try again."
	case status == http.StatusTooManyRequests:
		e.Type, e.Code = chat.TypeRateLimit, chat.CodeRateLimitExceeded
		e.Message = upstream + " is limiting the rate of requests. Try again later."
	case status == http.StatusServiceUnavailable:
		e.Type, e.Code = chat.TypeServer, chat.CodeUpstreamUnavailable
		e.Message = upstream + " is not available at the moment. Try again later."
	case status >= 400 && status < 500:
		e.Type = chat.TypeInvalidRequest
		e.Message = upstream + " refused the request."
		if message = strings.TrimSpace(message); message != "" {
			e.Message = upstream + " refused the request: " + chat.Clip(message, 1000)
		}
	default:
		e.Status, e.Type, e.Code = http.StatusBadGateway, chat.TypeServer, chat.CodeUpstreamError
		e.Message = upstream + " failed to answer. Try again."
	}
	return e
}

// Unreadable returns the error for an answer of the upstream that makes no
// sense.
func Unreadable(upstream string, err error) *chat.Error {
	return &chat.Error{
		Status: http.StatusBadGateway, Type: chat.TypeServer, Code: chat.CodeUpstreamInvalid,
		Message: upstream + " sent an answer that the gateway cannot read. Try again.", Err: err,
	}
}

// Interrupted returns the error for a stream that broke off.
func Interrupted(upstream string, err error) *chat.Error {
	if errors.Is(err, context.DeadlineExceeded) {
		return timedOut(upstream, err)
	}
	if errors.Is(err, context.Canceled) {
		return cancelled(err)
	}
	return &chat.Error{
		Status: http.StatusBadGateway, Type: chat.TypeServer, Code: chat.CodeStreamInterrupted,
		Message: "The answer from " + upstream + " broke off before the answer was complete. Try again.", Err: err,
	}
}

// Unreached returns the error for a request that did not get an answer: no
// credential, no connection, or no time left. A *[chat.Error] in err's chain
// comes back as it is.
func Unreached(upstream string, err error) *chat.Error {
	if known, ok := errors.AsType[*chat.Error](err); ok {
		return known
	}
	if missing, ok := errors.AsType[*identity.Error](err); ok {
		e := &chat.Error{
			Status: http.StatusBadGateway, Type: chat.TypeServer, Code: chat.CodeUpstreamAuth,
			Message: "The gateway could not get a credential for " + upstream + ". This is for the gateway's operator to mend; the caller's token is fine.",
			Err:     err,
		}
		if missing.Retryable {
			e.Status = http.StatusServiceUnavailable
			e.Message = "The gateway could not get a credential for " + upstream + " at the moment. Try again later."
		}
		return e
	}
	if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() || errors.Is(err, context.DeadlineExceeded) {
		return timedOut(upstream, err)
	}
	if errors.Is(err, context.Canceled) {
		return cancelled(err)
	}
	return &chat.Error{
		Status: http.StatusBadGateway, Type: chat.TypeServer, Code: chat.CodeUpstreamUnavailable,
		Message: "The gateway could not reach " + upstream + ", or the connection broke before an answer came. Try again.", Err: err,
	}
}

func timedOut(upstream string, err error) *chat.Error {
	return &chat.Error{
		Status: http.StatusGatewayTimeout, Type: chat.TypeServer, Code: chat.CodeUpstreamTimeout,
		Message: upstream + " did not answer in time. Try again, or ask for a shorter answer.", Err: err,
	}
}

// cancelled returns the error that nobody is left to read; 499 is what the logs
// of proxies call it.
func cancelled(err error) *chat.Error {
	return &chat.Error{Status: 499, Type: chat.TypeServer, Code: "client_closed_request", Message: "The caller went away.", Err: err}
}

// RetryAfter reads how long an upstream asks to wait: retry-after-ms, as Azure
// sends it, before Retry-After in seconds or as a date (RFC 9110, section
// 10.2.3). Zero, negative and unreadable values mean that it did not say. More
// than a day is a day: nobody waits that long within a program.
func RetryAfter(h http.Header, now time.Time) time.Duration {
	return min(max(0, retryAfter(h, now)), 24*time.Hour)
}

func retryAfter(h http.Header, now time.Time) time.Duration {
	if ms, err := strconv.ParseInt(h.Get("retry-after-ms"), 10, 32); err == nil && ms > 0 {
		return time.Duration(ms) * time.Millisecond
	}
	v := h.Get("Retry-After")
	if s, err := strconv.ParseInt(v, 10, 32); err == nil {
		return time.Duration(s) * time.Second
	}
	if at, err := http.ParseTime(v); err == nil {
		return at.Sub(now)
	}
	return 0
}
