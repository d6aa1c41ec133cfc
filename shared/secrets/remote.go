package secrets

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/go-json-experiment/json"
)

const (
	// maxReply is the largest reply of a store that is read, in bytes: a secret of 64 KiB of which every byte is escaped as \u0000, and
	// what is around it.
	maxReply = 512 << 10
	// defaultTimeout bounds one read from a store, with all requests that it takes.
	defaultTimeout = 3 * time.Second
	// attempts is how often a throttled request is sent at most. With the pauses between them, more than two seconds pass: Secret Manager
	// takes two changes of a secret each second (https://cloud.google.com/secret-manager/quotas).
	attempts     = 4
	firstPause   = 100 * time.Millisecond
	longestPause = 10 * time.Second
)

// errLarge is the cause when a reply is larger than maxReply.
var errLarge = errors.New("the reply is too large")

// Authorizer puts this function's own credential for a store on a request. The authorizers of the identity packages are such.
type Authorizer interface {
	// Authorize sets headers of the request and honours its context.
	Authorize(request *http.Request) error
	// Rejected is told that the store did not accept the credential on the request.
	Rejected(request *http.Request)
}

// Bounded returns a client that never follows a redirect, which could carry a credential elsewhere, and that reads at most 512 KiB of
// any reply. Nil means [http.DefaultTransport]. It has no deadline of its own.
func Bounded(transport http.RoundTripper) *http.Client {
	if transport == nil {
		transport = http.DefaultTransport
	}
	return &http.Client{
		Transport:     bounded{transport},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

type bounded struct{ next http.RoundTripper }

func (b bounded) RoundTrip(request *http.Request) (*http.Response, error) {
	response, err := b.next.RoundTrip(request)
	if err != nil {
		return nil, err
	}
	response.Body = &boundedBody{ReadCloser: response.Body, left: maxReply}
	return response, nil
}

type boundedBody struct {
	io.ReadCloser
	left int
}

func (b *boundedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p[:min(len(p), b.left+1)])
	b.left -= n
	if b.left < 0 {
		return 0, errLarge
	}
	return n, err
}

// WithTimeout bounds one read from a store. A timeout of zero means 3 s.
func WithTimeout(ctx context.Context, timeout time.Duration) (context.Context, context.CancelFunc) {
	if timeout <= 0 {
		timeout = defaultTimeout
	}
	return context.WithTimeout(ctx, timeout)
}

// Endpoint reads the address of a store, such as https://host or http://127.0.0.1:9104. What is sent there are credentials, so anything but
// TLS is for this machine only.
func Endpoint(address string) (*url.URL, error) {
	parsed, err := url.Parse(address)
	switch {
	case err != nil || parsed.Host == "" || parsed.User != nil || parsed.RawQuery != "" || parsed.Fragment != "" || strings.Trim(parsed.Path, "/") != "":
		return nil, errors.New("the address of a store has to be a URL of scheme and host, such as https://host")
	case parsed.Scheme == "https":
	case parsed.Scheme == "http" && isLoopback(parsed.Hostname()):
	default:
		return nil, errors.New("the address of a store has to begin with https://")
	}
	return &url.URL{Scheme: parsed.Scheme, Host: parsed.Host}, nil
}

func isLoopback(host string) bool {
	address, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && address.IsLoopback()
}

// Remote talks to a store that is a JSON API behind bearer tokens. It is safe for concurrent use.
type Remote struct {
	// HTTP sends the requests. It is one that [Bounded] has made.
	HTTP *http.Client
	// Authorizer puts the function's own credential on each request.
	Authorizer Authorizer
}

// Call is one request that a store's API describes.
type Call struct {
	// Method is GET when it is empty.
	Method string
	URL    string
	// Body is sent as JSON. Nil means that nothing is.
	Body any
}

// Request returns the request about a secret. The error is an *[Error].
func (c Call) Request(ctx context.Context, ref Ref) (*http.Request, error) {
	var body []byte
	if c.Body != nil {
		var err error
		if body, err = json.Marshal(c.Body); err != nil {
			// The cause is left out: it may quote the content.
			return nil, &Error{Ref: ref, Reason: "no request can be made of it"}
		}
	}
	request, err := http.NewRequestWithContext(ctx, c.Method, c.URL, bytes.NewReader(body))
	if err != nil {
		return nil, &Error{Ref: ref, Reason: "no URL can be made of it", Err: err}
	}
	if c.Body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	return request, nil
}

// Reply is the whole answer of a store, whatever its status.
type Reply struct {
	Status int
	Header http.Header
	Body   []byte
}

// Send sends a request about a secret, which must be one that can be sent twice. When the store rejects the credential, which may have
// been revoked since it was cached, the request is authorized and sent once more. The error is an *[Error].
func (r *Remote) Send(request *http.Request, ref Ref) (Reply, error) {
	reply, err := r.once(request, ref)
	if err != nil || reply.Status != http.StatusUnauthorized {
		return reply, err
	}
	again := request.Clone(request.Context())
	if request.GetBody != nil {
		if again.Body, err = request.GetBody(); err != nil {
			return Reply{}, Unreachable(ref, err)
		}
	}
	r.Authorizer.Rejected(request)
	return r.once(again, ref)
}

// SendPatiently sends a request as Send does, for at most the timeout, and again after a pause while the store is throttling: a request that
// was throttled had no effect. A timeout of zero means 3 s.
func (r *Remote) SendPatiently(request *http.Request, ref Ref, timeout time.Duration) (Reply, error) {
	for attempt := 1; ; attempt++ {
		reply, err := r.within(timeout, request, ref)
		if err != nil || reply.Status != http.StatusTooManyRequests || attempt == attempts || !pause(request.Context(), attempt, reply) {
			return reply, err
		}
	}
}

func (r *Remote) within(timeout time.Duration, request *http.Request, ref Ref) (Reply, error) {
	ctx, cancel := WithTimeout(request.Context(), timeout)
	defer cancel()
	bounded := request.Clone(ctx)
	if request.GetBody != nil {
		body, err := request.GetBody()
		if err != nil {
			return Reply{}, Unreachable(ref, err)
		}
		bounded.Body = body
	}
	return r.Send(bounded, ref)
}

// pause waits before the next attempt, longer each time, and as long as the store asks for. It reports false when there is no time for it.
func pause(ctx context.Context, attempt int, reply Reply) bool {
	wait := firstPause << (2 * (attempt - 1))
	// Writers that met once would meet again and again if all waited equally long.
	wait += rand.N(wait / 2)
	if seconds, err := strconv.Atoi(reply.Header.Get("Retry-After")); err == nil {
		wait = max(wait, time.Duration(min(seconds, math.MaxInt32))*time.Second)
	}
	if end, ok := ctx.Deadline(); wait > longestPause || ok && time.Until(end) <= wait {
		return false
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func (r *Remote) once(request *http.Request, ref Ref) (Reply, error) {
	if err := r.Authorizer.Authorize(request); err != nil {
		if ended := request.Context().Err(); ended != nil {
			return Reply{}, Unreachable(ref, err)
		}
		return Reply{}, &Error{Ref: ref, Reason: "this function has no credential of its own for the store", Err: err}
	}
	response, err := r.HTTP.Do(request)
	if err != nil {
		return Reply{}, Unreachable(ref, err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return Reply{}, Unreachable(ref, err)
	}
	return Reply{Status: response.StatusCode, Header: response.Header, Body: body}, nil
}

// Decode reads the reply as one JSON value into target. The error is an *[Error] that quotes nothing of the reply.
func (r Reply) Decode(target any, ref Ref) error {
	if err := json.Unmarshal(r.Body, target); err != nil {
		return &Error{Ref: ref, Reason: "the store's reply is not what its API describes"}
	}
	return nil
}

// Unexpected is the error for a status that a store's reader has no better words for.
func (r Reply) Unexpected(ref Ref) error {
	switch {
	case r.Status == http.StatusTooManyRequests:
		return &Error{Ref: ref, Reason: "the store is throttling (429)", Err: ErrThrottled}
	case r.Status >= http.StatusInternalServerError:
		return &Error{Ref: ref, Reason: fmt.Sprintf("the store has failed (%d)", r.Status)}
	}
	return &Error{Ref: ref, Reason: fmt.Sprintf("the store answers with status %d", r.Status)}
}

// Unreachable is the error for a request that brought no reply. It names the kind of the cause and never its text, since URLs and replies
// appear in such texts.
func Unreachable(ref Ref, err error) error {
	if errors.Is(err, errLarge) {
		return &Error{Ref: ref, Reason: "the store's reply is too large", Err: err}
	}
	reason := "the store cannot be reached"
	if kind := Kind(err); kind != "" {
		reason += ": " + kind
	}
	return &Error{Ref: ref, Reason: reason, Err: err}
}

// Kind names the kind of the cause when a request through a client that [Bounded] has made brought no reply. It is empty if the cause is of no
// known kind, and never quotes it.
func Kind(err error) string {
	timed, isNet := errors.AsType[net.Error](err)
	switch {
	case errors.Is(err, errLarge):
		return "reply too large"
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
	if number, ok := errors.AsType[syscall.Errno](err); ok {
		return number.Error()
	}
	return ""
}
