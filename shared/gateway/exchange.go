package gateway

import (
	"bytes"
	"context"
	"errors"
	"io"
	"mime"
	"net/http"
	"os"
	"runtime/debug"
	"strconv"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/postern-ai/postern/shared/caller"
	"github.com/postern-ai/postern/shared/chat"
	"github.com/postern-ai/postern/shared/config"
	"github.com/postern-ai/postern/shared/identity"
	"github.com/postern-ai/postern/shared/policy"
	"github.com/postern-ai/postern/shared/quota"
)

// exchange is one request on its way through the gateway and what the log
// line will say of it. It belongs to one goroutine.
type exchange struct {
	g       *Gateway
	w       http.ResponseWriter
	r       *http.Request
	ctx     context.Context
	cancel  context.CancelFunc
	id      string
	start   time.Time
	read    bool // the body has been read
	wrote   bool // the status line is out
	status  int
	failure *chat.Error

	principal *caller.Principal
	attempt             // the one under way, or the one that the answer is of
	outcomes  []outcome // of all attempts, once one of several has failed
	challenge string    // of an answer 401
	step      *policy.StepUp
	use       quota.Use // what is to be settled in the end
	requested string    // the model's public name
	streamed  bool
	usage     *chat.Usage
	first     time.Duration // until the first chunk
	out       *outlet       // of a stream
	payload   payload
}

// attempt is a model that a request is sent to.
type attempt struct {
	route  config.Route
	grant  *policy.Grant // of the rule that decided, if one has
	signed *identity.Report
}

func begin(g *Gateway, w http.ResponseWriter, r *http.Request) *exchange {
	x := &exchange{g: g, w: w, r: r, id: requestID(r), start: time.Now()}
	limit, cause := x.start.Add(g.limits.RequestTimeout), errRequestTimeout
	if platform, ok := r.Context().Deadline(); ok && platform.Add(-reserve).Before(limit) {
		limit, cause = platform.Add(-reserve), errPlatformTimeout
	}
	ctx, signed := identity.WithReport(r.Context())
	x.signed = signed
	x.ctx, x.cancel = context.WithDeadlineCause(ctx, limit, cause)
	w.Header().Set("X-Request-Id", x.id)
	return x
}

// end writes the log line, after a panic too. It keeps a panic to itself:
// on two of the three platforms one would take other requests with it.
func (x *exchange) end() {
	defer x.cancel()
	if p := recover(); p != nil {
		x.panicked(p, debug.Stack())
	}
	x.settle()
	x.report()
	x.log()
}

func (x *exchange) panicked(p any, stack []byte) {
	x.fail(&chat.Error{
		Status: http.StatusInternalServerError, Type: chat.TypeServer, Code: "internal_error",
		Message: "The gateway failed to handle the request. Tell its operator the request id " + x.id + ".",
		Err:     &panicError{value: p, stack: stack},
	})
}

// only calls next if the method is the one that the path has.
func (x *exchange) only(method string, next func() *chat.Error) {
	if x.r.Method != method {
		x.w.Header().Set("Allow", method)
		x.fail(wrongMethod(method))
		return
	}
	if err := next(); err != nil {
		x.fail(err)
	}
}

// fail answers with an error: with its status as long as that can be chosen,
// within the stream when one has begun. [DONE] is then left away, which tells a
// client that reads no errors that the answer is not complete.
func (x *exchange) fail(err *chat.Error) {
	x.failure = err
	x.status = err.Status
	if x.wrote || x.out != nil && x.out.fail(err.Body()) {
		return
	}
	x.wrote = true
	if !x.read {
		bodyBy(x.w, time.Now().Add(bodyGrace))
	}
	if err.Status == http.StatusUnauthorized {
		x.challenged()
	}
	writeError(x.w, err)
}

// bodyBy bounds the time in which the rest of the request may arrive. A
// platform that hands requests over whole knows no such bound.
func bodyBy(w http.ResponseWriter, t time.Time) {
	_ = http.NewResponseController(w).SetReadDeadline(t)
}

func writeError(w http.ResponseWriter, err *chat.Error) {
	h := w.Header()
	if err.RetryAfter > 0 {
		// Whole seconds for everyone, rounded up so that nobody comes too early,
		// and milliseconds for the OpenAI clients, which prefer them.
		h.Set("Retry-After", strconv.FormatInt(int64((err.RetryAfter+time.Second-1)/time.Second), 10))
		h.Set("Retry-After-Ms", strconv.FormatInt(err.RetryAfter.Milliseconds(), 10))
	}
	send(w, err.Status, err.Body())
}

func send(w http.ResponseWriter, status int, body []byte) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body)
}

// reply answers a request that needs no body with a JSON object.
func (x *exchange) reply(v any) *chat.Error {
	body, err := json.Marshal(v)
	if err != nil {
		return unencodable(err)
	}
	x.status, x.wrote = http.StatusOK, true
	bodyBy(x.w, time.Now().Add(bodyGrace))
	send(x.w, http.StatusOK, body)
	return nil
}

func unencodable(err error) *chat.Error {
	return &chat.Error{
		Status: http.StatusBadGateway, Type: chat.TypeServer, Code: chat.CodeUpstreamInvalid,
		Message: "The upstream's answer could not be written as JSON. Try again.", Err: err,
	}
}

// authenticate finds out who calls. It looks at headers only, so that nothing
// of a body is read for somebody unknown.
func (x *exchange) authenticate() *chat.Error {
	principal, err := x.g.callers.Authenticate(x.r)
	if err != nil {
		if known, ok := errors.AsType[*caller.Error](err); ok {
			x.challenge = known.Challenge() + x.metadataHint()
		}
		return denied(err)
	}
	x.principal = principal
	return nil
}

// body reads the request body within its limit.
func (x *exchange) body() ([]byte, *chat.Error) {
	if kind, _, err := mime.ParseMediaType(x.r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		return nil, &chat.Error{
			Status: http.StatusUnsupportedMediaType, Type: chat.TypeInvalidRequest, Code: "unsupported_content_type",
			Message: "The request body must be JSON. Send it with Content-Type: application/json.",
		}
	}
	if coding := x.r.Header.Get("Content-Encoding"); coding != "" && coding != "identity" {
		return nil, &chat.Error{
			Status: http.StatusUnsupportedMediaType, Type: chat.TypeInvalidRequest, Code: "unsupported_content_encoding",
			Message: "The request body must not be compressed. Send it without Content-Encoding.",
		}
	}
	limit := x.g.limits.MaxBodyBytes
	if x.r.ContentLength > limit {
		return nil, chat.TooLarge(limit)
	}
	deadline, _ := x.ctx.Deadline()
	bodyBy(x.w, deadline)
	var buf bytes.Buffer
	// A length is a claim: believe it for the size of the first allocation only.
	buf.Grow(int(min(max(x.r.ContentLength, 0), 1<<20)) + bytes.MinRead)
	n, err := buf.ReadFrom(io.LimitReader(x.r.Body, limit+1))
	if err != nil {
		return nil, unread(err)
	}
	if n > limit {
		return nil, chat.TooLarge(limit)
	}
	// The server now watches the connection for a caller that leaves, and would
	// take the end of the time for that.
	bodyBy(x.w, time.Time{})
	x.read = true
	return buf.Bytes(), nil
}

func unread(err error) *chat.Error {
	if tooLarge, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return chat.TooLarge(tooLarge.Limit).With(err)
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return &chat.Error{
			Status: http.StatusRequestTimeout, Type: chat.TypeInvalidRequest, Code: "request_timeout",
			Message: "The request body did not arrive in time. Send it again.", Err: err,
		}
	}
	return &chat.Error{
		Status: http.StatusBadRequest, Type: chat.TypeInvalidRequest,
		Message: "The request body ended before it was complete. Send it again.", Err: err,
	}
}

// requestID returns the id that the platform gave the request, so that its log
// and ours can be joined, or a new one.
func requestID(r *http.Request) string {
	if id := r.Header.Get("X-Request-Id"); isID(id) {
		return id
	}
	return newRequestID()
}

// isID keeps what a caller sends from becoming a way to write into the log.
func isID(s string) bool {
	if s == "" || len(s) > 128 {
		return false
	}
	for _, c := range []byte(s) {
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_' || c == '.') {
			return false
		}
	}
	return true
}
