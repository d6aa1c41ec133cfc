package gateway

import (
	"context"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/postern-ai/postern/shared/audit"
)

// watch makes events of refusals, up to a number in a minute: whoever is refused
// can be so as often as he likes, and each event is paid for.
type watch struct {
	publisher audit.Publisher
	function  audit.Origin
	log       *slog.Logger
	most      int

	mu     sync.Mutex
	minute time.Time
	sent   int
	kept   int // how many have been kept back
}

func newWatch(o Options) *watch {
	if o.Audit == nil || !o.Document.Audit.Denied {
		return nil
	}
	return &watch{publisher: o.Audit, function: o.Function, log: o.Log, most: o.Document.Audit.DeniedPerMinute}
}

// may counts an event. It says whether it is still one of those that are sent,
// and how many of the minute before were not.
func (w *watch) may(now time.Time) (ok bool, kept int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if minute := now.Round(0).Truncate(time.Minute); !minute.Equal(w.minute) {
		kept = w.kept
		w.minute, w.sent, w.kept = minute, 0, 0
	}
	if w.sent >= w.most {
		w.kept++
		return false, kept
	}
	w.sent++
	return true, kept
}

// report makes an event of the request if it was refused because of who sent it.
// It is published before the handler returns, and never longer than that may
// take.
func (x *exchange) report() {
	w, e := x.g.watch, x.failure
	if w == nil || e == nil || e.Status != http.StatusUnauthorized && e.Status != http.StatusForbidden {
		return
	}
	now := time.Now()
	ok, kept := w.may(now)
	if kept > 0 {
		w.log.Warn("refusals were no events, because there were too many in a minute", slog.Int("refusals", kept))
	}
	if !ok {
		return
	}
	event, err := x.refusal(now)
	failed := func(ctx context.Context, err error) {
		w.log.ErrorContext(ctx, "a refusal could not be reported", slog.String("request_id", x.id), slog.String("error", err.Error()))
	}
	if err != nil {
		failed(x.ctx, err)
		return
	}
	audit.Inline{Publisher: w.publisher, OnFailure: func(ctx context.Context, f audit.Failure) { failed(ctx, f.Err) }}.Publish(x.ctx, event)
}

func (x *exchange) refusal(at time.Time) (audit.Event, error) {
	var who audit.Actor
	if p := x.principal; p != nil {
		who = audit.Actor{Name: p.Name, Issuer: p.Issuer, Subject: p.Subject, ACR: p.ACR}
	}
	upstream := ""
	if x.route.Upstream != nil {
		upstream = x.route.Upstream.Name
	}
	if x.step != nil {
		return audit.StepUpRequired{
			Function: x.g.watch.function, RequestID: x.id, Caller: who, Model: x.requested, Upstream: upstream,
			ACRValues: x.step.ACRValues, MaxAge: int64(x.step.MaxAge.Seconds()),
		}.Event(at)
	}
	return audit.CallerDenied{
		Function: x.g.watch.function, RequestID: x.id, Caller: who, Model: x.requested, Upstream: upstream,
		Reason: x.failure.Code, Status: x.failure.Status,
	}.Event(at)
}
