package gateway

import (
	"context"
	"errors"
	"iter"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/postern-ai/postern/shared/chat"
	"github.com/postern-ai/postern/shared/provider"
	"github.com/postern-ai/postern/shared/sse"
)

// chat serves POST /v1/chat/completions.
func (x *exchange) chat() *chat.Error {
	if err := x.authenticate(); err != nil {
		return err
	}
	body, failure := x.body()
	if failure != nil {
		return failure
	}
	limits := x.g.limits
	req, err := chat.Decode(body, chat.Limits{Depth: limits.MaxDepth, Messages: limits.MaxMessages})
	if err != nil {
		return asError(err)
	}
	x.requested, x.streamed = req.Model, req.Stream
	upstream, failure := x.admit(req)
	if failure != nil {
		return failure
	}
	if err := x.reserve(upstream, len(body)); err != nil {
		return err
	}
	if req.Stream {
		x.out = newOutlet(x.w, x.g.keepAlive)
		defer x.out.close()
	}
	if len(x.route.Fallbacks) > 0 {
		return x.withFallbacks(req, upstream, body)
	}
	return x.try(x.ctx, upstream, body, 0)
}

// try sends the request to the upstream of the attempt, and passes the answer
// on. Share, if it is not zero, is how long the caller may have nothing of it.
func (x *exchange) try(ctx context.Context, req *chat.Request, body []byte, share time.Duration) *chat.Error {
	x.payload.request(x.grant.LogPayloads, body)
	model := x.g.models[x.route.Upstream.Name]
	limit, why := x.route.Upstream.Timeout, errUpstreamTimeout
	if share > 0 && share < limit && !req.Stream {
		limit, why = share, errShare
	}
	ctx, cancel := context.WithTimeoutCause(attribute(ctx, x.principal, x.route.Upstream, req), limit, why)
	defer cancel()
	if req.Stream {
		return x.stream(ctx, model, req, share)
	}
	return x.answer(ctx, model, req)
}

func noModel(name string) *chat.Error {
	return &chat.Error{
		Status: http.StatusNotFound, Type: chat.TypeInvalidRequest, Code: chat.CodeModelNotFound, Param: "model",
		Message: "The model `" + chat.Clip(strings.ToValidUTF8(name, "\uFFFD"), 128) + "` does not exist here. GET /v1/models lists the models of this gateway.",
	}
}

// answer gets the whole answer and passes it on.
func (x *exchange) answer(ctx context.Context, model provider.Model, req *chat.Request) *chat.Error {
	resp, err := model.Chat(ctx, req)
	if err != nil {
		return late(ctx, err)
	}
	x.usage = resp.Usage
	x.first = time.Since(x.start)
	body := []byte(resp.Wire)
	if body == nil {
		if body, err = json.Marshal(resp); err != nil {
			return unencodable(err)
		}
	}
	x.payload.response(body)
	x.status, x.wrote = http.StatusOK, true
	if x.fellBack() {
		x.w.Header().Set(headerFallback, x.route.Name)
	}
	send(x.w, http.StatusOK, body)
	return nil
}

// Why the gateway itself gives an answer up: the operator has a limit to look
// at, and the upstream may be well.
const (
	errFirstByte       overdue = "nothing came within limits.first_byte_timeout"
	errUpstreamTimeout overdue = "the answer was not complete within the upstream's timeout"
	errRequestTimeout  overdue = "the answer was not complete within limits.request_timeout"
	errPlatformTimeout overdue = "the answer was not complete within the time that the platform gives a request"
	errShare           overdue = "nothing came within half of the time that was left, and the other half is for the fallbacks"
)

// overdue is the cause of a context that is out of time. net/http hands it out
// in the place of context.DeadlineExceeded, so it has to pass for one: whoever
// calls an upstream knows no other sign of a wait that took too long.
type overdue string

func (e overdue) Error() string { return string(e) }

// Is reports what the error passes for.
func (overdue) Is(target error) bool { return target == context.DeadlineExceeded }

// stream passes an answer on chunk by chunk.
func (x *exchange) stream(ctx context.Context, model provider.Model, req *chat.Request, share time.Duration) *chat.Error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	patience := x.patience(cancel, share)
	defer patience.Stop()
	chunks, err := model.Stream(provider.BeforeWait(ctx, x.out.flush), req)
	if err != nil {
		return late(ctx, err)
	}
	x.out.accepted()
	return x.pump(ctx, chunks, req.WantsUsage(), patience)
}

// patience gives an answer up that does not begin.
func (x *exchange) patience(cancel context.CancelCauseFunc, share time.Duration) *time.Timer {
	if limit := x.g.limits.FirstByteTimeout; share == 0 || share >= limit {
		return time.AfterFunc(limit, func() { cancel(errFirstByte) })
	}
	return time.AfterFunc(share, func() { cancel(errShare) })
}

// pump moves chunks to the caller until the answer is complete.
func (x *exchange) pump(ctx context.Context, chunks iter.Seq2[*chat.Chunk, error], wantsUsage bool, patience *time.Timer) *chat.Error {
	var buf []byte
	for chunk, err := range chunks {
		if err != nil {
			return late(ctx, err)
		}
		if chunk.Usage != nil {
			x.usage = chunk.Usage
			if !wantsUsage && len(chunk.Choices) == 0 {
				continue
			}
		}
		if x.first == 0 {
			patience.Stop()
			x.first = time.Since(x.start)
		}
		data := []byte(chunk.Wire)
		if data == nil {
			if buf, err = chunk.AppendJSON(buf[:0]); err != nil {
				return unencodable(err)
			}
			data = buf
		}
		x.payload.response(data)
		if err := x.out.send(data); err != nil {
			return gone(err)
		}
	}
	if err := x.out.finish([]byte("[DONE]")); err != nil {
		return gone(err)
	}
	x.status, x.wrote = http.StatusOK, true
	return nil
}

// gone is for the log: the caller has left and reads no more.
func gone(err error) *chat.Error {
	return &chat.Error{Status: statusGone, Type: chat.TypeServer, Code: "client_closed_request", Message: "The caller went away.", Err: err}
}

// statusGone is what proxies log for a caller that left before the answer.
const statusGone = 499

// late tells a wait that the gateway itself ended from a caller that left and
// from an upstream that gave up.
func late(ctx context.Context, err error) *chat.Error {
	e := asError(err)
	switch cause := context.Cause(ctx); cause {
	case errFirstByte, errShare:
		return &chat.Error{
			Status: http.StatusGatewayTimeout, Type: chat.TypeServer, Code: chat.CodeUpstreamTimeout,
			Message: "The upstream did not begin to answer in time. Try again.", Err: cause,
		}
	case errUpstreamTimeout, errRequestTimeout, errPlatformTimeout:
		if e.Code == chat.CodeUpstreamTimeout {
			return e.With(cause)
		}
	}
	return e
}

// asError returns the public error in err. One that has none is our own fault.
func asError(err error) *chat.Error {
	if known, ok := errors.AsType[*chat.Error](err); ok {
		return known
	}
	return &chat.Error{
		Status: http.StatusInternalServerError, Type: chat.TypeServer, Code: "internal_error",
		Message: "The gateway failed to handle the request. Try again.", Err: err,
	}
}

// outlet writes events to the caller and, where none has come for a while, a
// comment, so that no front on the way takes the connection for dead. The
// comment is written by a timer, hence the lock.
//
// Events that the upstream sent together leave together: they are gathered
// until the provider is about to wait for more. A provider that does not say
// when it waits has every event sent at once.
type outlet struct {
	w       http.ResponseWriter
	silence time.Duration
	settles time.Time // when the first comment is due that settles the status

	mu       sync.Mutex
	events   *sse.Writer // nil until the first event or comment
	timer    *time.Timer
	fallback string // the name of the model, if it is another than the caller asked for
	told     bool   // the provider says when it waits
	began    bool   // an event of the answer is on its way
	failed   error  // of the last flush
	closed   bool
}

func newOutlet(w http.ResponseWriter, silence time.Duration) *outlet {
	o := &outlet{w: w, silence: silence, settles: time.Now().Add(statusWait)}
	o.mu.Lock() // the timer may be faster than its being set
	defer o.mu.Unlock()
	o.timer = time.AfterFunc(statusWait, o.comment)
	return o
}

// accepted has a comment sent if nothing else is for a while: the status is
// that of an answer.
func (o *outlet) accepted() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.timer.Reset(o.silence)
}

// again makes the outlet ready for the answer of a fallback. Like those below,
// it may be called where there is no outlet, because nothing is streamed.
func (o *outlet) again(model string) {
	if o == nil {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.fallback, o.told = model, false
	if o.events == nil {
		o.timer.Reset(time.Until(o.settles))
	}
}

// begun reports whether something of an answer has been sent, or will be.
func (o *outlet) begun() bool {
	if o == nil {
		return false
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.began
}

// lost reports whether the caller is known to read no more.
func (o *outlet) lost() bool {
	if o == nil {
		return false
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.failed != nil
}

func (o *outlet) comment() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return
	}
	o.open()
	o.events.Comment("keep-alive")
	if o.failed = o.events.Flush(); o.failed == nil {
		o.timer.Reset(o.silence)
	}
}

// flush is called by the provider before it waits.
func (o *outlet) flush() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.told = true
	if o.events != nil && !o.closed && o.failed == nil {
		o.failed = o.events.Flush()
	}
}

func (o *outlet) send(data []byte) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.failed != nil {
		return o.failed
	}
	// A comment may have sent the header on its way already.
	if o.events == nil && o.fallback != "" {
		o.w.Header().Set(headerFallback, o.fallback)
	}
	o.open()
	o.began = true
	o.timer.Reset(o.silence)
	if o.failed = o.events.Data(data); o.failed == nil && !o.told {
		o.failed = o.events.Flush()
	}
	return o.failed
}

// finish sends the last event and everything before it.
func (o *outlet) finish(data []byte) error {
	if err := o.send(data); err != nil {
		return err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.events.Flush()
}

// open is called with the lock held.
func (o *outlet) open() {
	if o.events == nil {
		o.events = sse.NewWriter(o.w)
	}
}

// fail ends the stream with an error event, if it has begun, and reports
// whether it had. It closes the outlet, so that the answer is the same after.
func (o *outlet) fail(body []byte) bool {
	o.close()
	if o.events == nil {
		return false
	}
	_ = o.events.Data(body)
	_ = o.events.Flush()
	return true
}

// close makes sure that the timer writes nothing more. The handler must not
// return before that.
func (o *outlet) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = true
	o.timer.Stop()
}
