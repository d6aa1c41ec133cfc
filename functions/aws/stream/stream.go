// Package stream turns an ordinary http.Handler into a handler for the Lambda runtime, so that what the gateway writes
// reaches the client write by write.
//
// It takes the HTTP events of payload format 2.0: Function URLs, answered as a response stream or buffered, and API
// Gateway HTTP APIs, which are always buffered; and those of Application Load Balancers, which are buffered too.
// Everything else is refused with a function error that names what arrived, so that an asynchronous sender keeps the
// event for its retries and dead-letter queue.
//
// The package knows Lambda and net/http. It must not know what the handler does: no models, no configuration, no
// callers beyond the identity that AWS itself verified (IAMCaller, ClientCertificate). Response trailers and informational (1xx)
// responses do not exist on Lambda and are left out of the reply.
package stream

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"runtime/debug"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-lambda-go/lambda/messages"
)

// Mode says how a Function URL expects its replies. It must equal the invoke mode of the deployed Function URL: an
// event does not tell which one the URL has.
type Mode int

const (
	// Streaming is the invoke mode RESPONSE_STREAM: every write is sent at once.
	Streaming Mode = iota
	// Buffered is the invoke mode BUFFERED: the reply is sent as one JSON document when the handler has returned.
	Buffered
)

// ParseMode reads a mode by the name that Lambda gives to invoke modes. The empty name means Streaming.
func ParseMode(name string) (Mode, error) {
	switch name {
	case "", "RESPONSE_STREAM":
		return Streaming, nil
	case "BUFFERED":
		return Buffered, nil
	}
	return 0, fmt.Errorf("invoke mode %q is unknown: use RESPONSE_STREAM or BUFFERED, whichever the function URL has", name)
}

// DefaultMaxResponseBytes is the size in bytes of the largest buffered reply that Lambda accepts. Lambda counts the
// JSON document, not the body in it: https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
const DefaultMaxResponseBytes = 6 << 20

// Options are the settings of Handler. The zero value serves a Function URL in Streaming mode.
type Options struct {
	// Mode is the invoke mode of the Function URL. Other events are buffered whatever it says.
	Mode Mode
	// MaxResponseBytes limits the JSON document of a buffered reply; 0 means DefaultMaxResponseBytes, and a load
	// balancer takes 1 MiB at most. A larger reply is replaced by an error of status 502, because Lambda's own answer to
	// it would end the process.
	MaxResponseBytes int
	// Log receives the stack of a panic and the type of the panic value, never the value, which may hold what a
	// caller sent. Nil means slog.Default at the time of the panic.
	Log *slog.Logger
	// Direct answers direct invocations with the payload {"postern":"NAME"} and nothing else in it. No request that comes
	// through a front door can have that form: its event has at least a version and a request context, and what the
	// caller sends stays within strings in it. Nil means that there are none.
	Direct func(ctx context.Context, name string) (any, error)
}

// Handler returns a function for lambda.Start that serves every HTTP event with h. It does nothing else until the
// first event arrives, and it may be called concurrently.
//
// The request's context is the invocation's: it carries the function's deadline and ends when the reply has been
// taken, never because a client went away, which Lambda does not tell. A panic of h becomes a reply of status 500 in
// the OpenAI error shape as long as nothing has been sent; after that it breaks the stream, as http.ErrAbortHandler
// does at any time. In all these cases the process lives on.
func Handler(h http.Handler, o Options) func(ctx context.Context, event json.RawMessage) (any, error) {
	f := function{handler: h, mode: o.Mode, limit: o.MaxResponseBytes, log: o.Log, direct: o.Direct}
	if f.limit == 0 {
		f.limit = DefaultMaxResponseBytes
	}
	return f.invoke
}

type function struct {
	handler http.Handler
	mode    Mode
	limit   int
	log     *slog.Logger
	direct  func(ctx context.Context, name string) (any, error)
}

func (f function) invoke(ctx context.Context, payload json.RawMessage) (any, error) {
	e, err := decode(payload)
	if err != nil {
		if name, ok := directName(payload); ok && f.direct != nil {
			return f.direct(ctx, name)
		}
		return nil, err
	}
	r, err := e.request(ctx)
	if err != nil {
		return nil, err
	}
	if e.functionURL() && f.mode == Streaming {
		return f.stream(r)
	}
	if e.balanced() {
		f.limit = min(f.limit, maxBalanced)
	}
	return f.buffer(r, e.remedy())
}

// stream runs the handler beside the runtime's reading of the reply, and returns as soon as the head is known.
func (f function) stream(r *http.Request) (any, error) {
	body, pipe := io.Pipe()
	reply := &events.LambdaFunctionURLStreamingResponse{Body: body}
	begun := make(chan error, 1)
	w := &writer{method: r.Method, body: pipe, begin: func(h head) {
		reply.StatusCode, reply.Headers, reply.Cookies = h.status, h.headers, h.cookies
		begun <- nil
	}}
	go func() {
		// What remains true if the handler leaves by runtime.Goexit, which no recover sees.
		outcome := exited
		defer func() {
			if !w.begun {
				begun <- outcome.error()
			}
			// The runtime puts the error in the trailers of its reply, and Lambda breaks the client's stream.
			_ = pipe.CloseWithError(outcome.error())
		}()
		outcome = f.serve(w, r)
		if outcome == panicked && !w.begun {
			w.fail(internalError())
			outcome = replied
		}
	}()
	if err := <-begun; err != nil {
		return nil, err
	}
	return reply, nil
}

// serve runs the handler to its end, whichever that is.
func (f function) serve(w *writer, r *http.Request) (outcome outcome) {
	defer func() {
		switch v := recover(); v {
		case nil:
		case http.ErrAbortHandler:
			outcome = aborted
		default:
			outcome = panicked
			f.report(r.Context(), v)
		}
	}()
	f.handler.ServeHTTP(w, r)
	w.commit(nil)
	return replied
}

func (f function) report(ctx context.Context, value any) {
	log := f.log
	if log == nil {
		log = slog.Default()
	}
	id, _ := RequestID(ctx)
	log.ErrorContext(ctx, "the handler panicked",
		"request_id", id, "panic_type", fmt.Sprintf("%T", value), "stack", string(debug.Stack()))
}

// outcome is how a handler ended.
type outcome int

const (
	replied outcome = iota
	panicked
	aborted
	exited
)

// error is the function error that breaks the reply; nil if the handler ended well.
func (o outcome) error() error {
	switch o {
	case panicked:
		return messages.InvokeResponse_Error{Type: "HandlerPanicked", Message: "the handler panicked: its stack is in the log"}
	case aborted:
		return messages.InvokeResponse_Error{Type: "HandlerAborted", Message: "the handler gave up the reply"}
	case exited:
		return messages.InvokeResponse_Error{Type: "HandlerExited", Message: "the handler ended its goroutine without returning"}
	}
	return nil
}
