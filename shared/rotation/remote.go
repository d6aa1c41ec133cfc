package rotation

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/postern-ai/postern/shared/secrets"
)

const (
	// defaultTimeout bounds one request to an issuer.
	defaultTimeout = 10 * time.Second
	// maxRetryAfter is the longest wait that is believed.
	maxRetryAfter = 24 * time.Hour
)

// Remote sends the requests of an [Issuer] that is a service over HTTP, and says what became of them. It is safe for concurrent use.
type Remote struct {
	// Service is the service's name in the texts of errors, such as "OpenAI".
	Service string
	// HTTP sends the requests. It is one that [secrets.Bounded] has made, so it follows no redirect and bounds what it reads.
	HTTP *http.Client
	// Admin puts the credential of the admin API on each request. It is nil for requests that carry the key itself, to verify it.
	Admin secrets.Authorizer
	// Rejects reports whether a reply says that the admin credential was not accepted. Nil means a status of 401.
	Rejects func(Reply) bool
	// Timeout bounds one request. Zero means 10 s.
	Timeout time.Duration
}

// Purpose is what a request is for. It goes into the texts of errors.
type Purpose struct {
	// Op is what is not done if it fails, as in [Error].
	Op string
	// Needs is the right that the admin credential needs for it, in the service's own words.
	Needs string
}

// Call is a request in JSON.
type Call struct {
	Purpose
	Method, URL string
	// Header is sent along.
	Header http.Header
	// Body is what is encoded. Nil means that there is none.
	Body any
}

// Reply is the whole answer of a service, whatever its status.
type Reply struct {
	Status int
	Header http.Header
	Body   []byte

	service string
	purpose Purpose
	admin   bool
}

// Call sends a request in JSON, as Send does.
func (r *Remote) Call(ctx context.Context, call Call) (Reply, error) {
	var body io.Reader
	if call.Body != nil {
		encoded, err := json.Marshal(call.Body)
		if err != nil {
			return Reply{}, unsent(call.Op, err)
		}
		body = bytes.NewReader(encoded)
	}
	request, err := http.NewRequestWithContext(ctx, call.Method, call.URL, body)
	if err != nil {
		return Reply{}, unsent(call.Op, err)
	}
	maps.Copy(request.Header, call.Header)
	request.Header.Set("Accept", "application/json")
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	return r.Send(request, call.Purpose)
}

// unsent is the error for a request that cannot even be made.
func unsent(op string, err error) error {
	return &Error{Op: op, Reason: "no request can be made of it", Err: errors.Join(ErrRefused, err)}
}

// Send sends a request. When the service rejects the admin credential, which may have been replaced since it was cached, the request is
// authorized and sent once more: a rejected request had no effect. The error is an *[Error].
func (r *Remote) Send(request *http.Request, purpose Purpose) (Reply, error) {
	reply, err := r.once(request, purpose)
	if err != nil || r.Admin == nil || !r.rejected(reply) {
		return reply, err
	}
	r.Admin.Rejected(request)
	again := request.Clone(request.Context())
	if request.GetBody != nil {
		if again.Body, err = request.GetBody(); err != nil {
			return Reply{}, unsent(purpose.Op, err)
		}
	}
	return r.once(again, purpose)
}

func (r *Remote) rejected(reply Reply) bool {
	if r.Rejects == nil {
		return reply.Status == http.StatusUnauthorized
	}
	return r.Rejects(reply)
}

func (r *Remote) once(request *http.Request, purpose Purpose) (Reply, error) {
	if err := request.Context().Err(); err != nil {
		return Reply{}, &Error{Op: purpose.Op, Reason: "it was given up: " + secrets.Kind(err), Err: errors.Join(ErrUnavailable, err)}
	}
	if r.Admin != nil {
		if err := r.Admin.Authorize(request); err != nil {
			return Reply{}, &Error{Op: purpose.Op, Reason: "the admin credential for " + r.Service + " cannot be obtained", Err: errors.Join(ErrUnavailable, err)}
		}
	}
	timeout := r.Timeout
	if timeout <= 0 {
		timeout = defaultTimeout
	}
	ctx, cancel := context.WithTimeout(request.Context(), timeout)
	defer cancel()
	response, err := r.HTTP.Do(request.WithContext(ctx))
	if err != nil {
		return Reply{}, r.unanswered(purpose.Op, err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return Reply{}, r.unanswered(purpose.Op, err)
	}
	return Reply{
		Status: response.StatusCode, Header: response.Header, Body: body,
		service: r.Service, purpose: purpose, admin: r.Admin != nil,
	}, nil
}

// unanswered is the error for a request that brought no whole reply. It names the kind of the cause and never its text, in which URLs appear.
func (r *Remote) unanswered(op string, err error) error {
	reason := r.Service + " does not answer"
	if kind := secrets.Kind(err); kind != "" {
		reason += ": " + kind
	}
	effect := ErrUnanswered
	_, untrusted := errors.AsType[*tls.CertificateVerificationError](err)
	if dial, ok := errors.AsType[*net.OpError](err); untrusted || ok && dial.Op == "dial" {
		effect = ErrUnavailable
	}
	return &Error{Op: op, Reason: reason, Err: errors.Join(effect, err)}
}

// Decode reads a reply of success as one JSON object into a target. Any other status is the error of [Reply.Unexpected].
func (r Reply) Decode(target any) error {
	if r.Status < 200 || r.Status > 299 {
		return r.Unexpected()
	}
	if !r.IsObject() || json.Unmarshal(r.Body, target) != nil {
		return r.Malformed()
	}
	return nil
}

// IsObject reports whether the body is one JSON object, as the replies of these APIs are, and not the page of something in between.
func (r Reply) IsObject() bool {
	return jsontext.Value(r.Body).Kind() == '{' && jsontext.Value(r.Body).IsValid()
}

// Malformed is the error for a reply of success that is not what the service's API describes. It may come from something in between, so it
// does not tell whether anything was done.
func (r Reply) Malformed() error {
	return &Error{Op: r.purpose.Op, Reason: "the reply is not what the API of " + r.service + " describes", Err: ErrUnanswered}
}

// Refused is the error for what the service will not do, with a reason of the issuer's own.
func (r Reply) Refused(reason string) error {
	return &Error{Op: r.purpose.Op, Reason: reason, Err: ErrRefused}
}

// Limited is the error for a key more than the owner may have, with a reason of the issuer's own.
func (r Reply) Limited(reason string) error {
	return &Error{Op: r.purpose.Op, Reason: reason, Err: ErrLimit}
}

// Rejected is the error for a key that is not accepted, with a reason of the issuer's own.
func (r Reply) Rejected(reason string) error {
	return &Error{Op: r.purpose.Op, Reason: reason, Err: ErrRejected}
}

// Throttled is the error for what the service will do when it is asked later, with a reason of the issuer's own.
func (r Reply) Throttled(reason string) error {
	return &Error{Op: r.purpose.Op, Reason: reason, RetryAfter: r.retryAfter(), Err: ErrThrottled}
}

// Unexpected is the error for a status that the issuer has no better words for. What the service wrote is not shown.
func (r Reply) Unexpected() error {
	failed := &Error{Op: r.purpose.Op, RetryAfter: r.retryAfter(), Err: ErrRefused}
	switch {
	case r.Status >= 200 && r.Status <= 299:
		return r.Malformed()
	case r.Status == http.StatusTooManyRequests:
		failed.Reason, failed.Err = r.service+" is throttling (429)", ErrThrottled
	case r.Status >= http.StatusInternalServerError, r.Status == http.StatusRequestTimeout:
		// A failed service may have done what it was asked.
		failed.Reason, failed.Err = fmt.Sprintf("%s has failed (%d)", r.service, r.Status), ErrUnanswered
	case r.Status == http.StatusUnauthorized && r.admin:
		failed.Reason = r.service + " does not accept the admin credential (401)"
	case r.Status == http.StatusForbidden && r.admin:
		failed.Reason = r.service + " does not let the admin credential do that (403)"
		if r.purpose.Needs != "" {
			failed.Reason += "; it needs " + r.purpose.Needs
		}
	default:
		failed.Reason = fmt.Sprintf("%s answers with status %d", r.service, r.Status)
	}
	return failed
}

// Verified is what a reply to a request with the key itself says of the key: nil if it works, [ErrRejected] if it is not accepted. The issuer
// has to look at the content of a success, which can be a page of something in between.
func (r Reply) Verified() error {
	switch {
	case r.Status == http.StatusUnauthorized, r.Status == http.StatusForbidden:
		return &Error{Op: r.purpose.Op, Reason: fmt.Sprintf("%s does not accept the key (%d)", r.service, r.Status), Err: ErrRejected}
	case r.Status < 200 || r.Status > 299:
		return r.Unexpected()
	case !r.IsObject():
		return r.Malformed()
	}
	return nil
}

// Ended is what a reply says of the end of a key: nil if it has ended, or was gone before. The page of something in between does not tell.
func (r Reply) Ended() error {
	if r.Status >= 200 && r.Status <= 299 || r.Gone() {
		return nil
	}
	return r.Unexpected()
}

// Gone reports whether the service says that what was asked for is not there.
func (r Reply) Gone() bool { return r.Status == http.StatusNotFound && r.IsObject() }

// retryAfter is how long the service asks to wait (RFC 9110, section 10.2.3).
func (r Reply) retryAfter() time.Duration {
	text := r.Header.Get("Retry-After")
	wait := time.Duration(0)
	if seconds, err := strconv.ParseUint(text, 10, 31); err == nil {
		wait = time.Duration(seconds) * time.Second
	} else if at, err := http.ParseTime(text); err == nil {
		wait = time.Until(at)
	}
	return min(max(wait, 0), maxRetryAfter)
}
