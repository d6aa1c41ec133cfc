package gateway

import (
	"net/http"
	"slices"
	"time"

	"github.com/postern-ai/postern/shared/chat"
	"github.com/postern-ai/postern/shared/config"
	"github.com/postern-ai/postern/shared/identity"
	"github.com/postern-ai/postern/shared/policy"
	"github.com/postern-ai/postern/shared/quota"
)

// headerFallback names the model that answers, by its public name, when it is
// another than the one that was asked for.
const headerFallback = "X-Fallback-Model"

// withFallbacks sends the request to the model that it asks for and, as long as
// each fails before its answer has begun, to that model's fallbacks. If all of
// them fail, the caller hears of the one that it asked for.
func (x *exchange) withFallbacks(req, upstream *chat.Request, body []byte) *chat.Error {
	asked, began := x.attempt, time.Now()
	fallbacks := asked.route.Fallbacks
	first := x.try(x.ctx, upstream, body, x.share(req, fallbacks))
	if first == nil || !upstreamFailed(first) || !x.undecided() {
		return first
	}
	x.note(first, false, began)
	counted, wait := []*policy.Grant{x.grant}, first.RetryAfter
	for i, route := range fallbacks {
		failure := x.fallBack(req, route, body, fallbacks[i+1:], &counted)
		if failure == nil || failure.Status == statusGone || x.out.begun() {
			return failure
		}
		if !x.undecided() {
			break // no time is left
		}
		wait = sooner(wait, failure.RetryAfter)
	}
	x.resume(asked)
	x.payload.request(x.grant.LogPayloads, body)
	e := *first
	e.RetryAfter = wait
	return &e
}

// fallBack sends the request to one of the fallbacks, if the caller may use that
// model for it. Left are those that come after.
func (x *exchange) fallBack(req *chat.Request, route config.Route, body []byte, left []config.Route, counted *[]*policy.Grant) *chat.Error {
	began := time.Now()
	ctx, signed := identity.WithReport(x.ctx)
	upstream, d, failure := x.permit(req, route)
	x.resume(attempt{route: route, grant: d.Grant, signed: signed})
	if failure == nil {
		failure = x.recount(upstream, len(body), counted)
	}
	if failure != nil {
		x.note(failure, true, began)
		return failure
	}
	x.out.again(route.Name)
	failure = x.try(ctx, upstream, body, x.share(req, left))
	x.note(failure, false, began)
	return failure
}

// resume goes on with an attempt. Nothing of the one before remains.
func (x *exchange) resume(a attempt) {
	x.attempt, x.usage, x.first, x.payload = a, nil, 0, payload{}
}

// fellBack reports whether the attempt is at another model than the caller's.
func (x *exchange) fellBack() bool { return x.route.Name != x.requested }

// upstreamFailed tells a failure of the upstream from one of the request, which
// would be wrong elsewhere too: a prompt that is too long for the model or that
// its filter refuses is the caller's to change. Whatever an upstream answers, its
// provider has made one of these statuses of what is not the request's fault.
func upstreamFailed(e *chat.Error) bool {
	switch e.Status {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	case http.StatusNotFound, http.StatusPaymentRequired: // the model, the account
		return true
	}
	return false
}

// undecided reports whether another model can still answer: nothing of an answer
// has been sent, and somebody waits for it.
func (x *exchange) undecided() bool {
	return x.ctx.Err() == nil && !x.out.begun() && !x.out.lost()
}

// share is how long the caller may have nothing of an answer while there are
// fallbacks left that it may use: half of the time that is left. Otherwise an
// upstream that hangs would leave them none. Zero means that there are none.
func (x *exchange) share(req *chat.Request, left []config.Route) time.Duration {
	usable := func(route config.Route) bool {
		_, _, err := x.permit(req, route)
		return err == nil
	}
	deadline, ok := x.ctx.Deadline()
	if !ok || !slices.ContainsFunc(left, usable) {
		return 0
	}
	return max(time.Until(deadline)/2, 1)
}

// sooner is the wait after which the first of two models may answer again. If
// nobody knows that of the model that was asked for, it may be at once.
func sooner(asked, other time.Duration) time.Duration {
	if other == 0 {
		return asked
	}
	return min(asked, other)
}

// recount has the request counted for the attempt's rule in place of what is
// counted now. Each set of limits counts it once as a request, whatever becomes
// of it; tokens and streams are counted where the answer comes from.
func (x *exchange) recount(req *chat.Request, size int, counted *[]*policy.Grant) *chat.Error {
	again := slices.Contains(*counted, x.grant)
	use := x.needs(req, size)
	use.Windows = slices.DeleteFunc(use.Windows, func(w quota.Window) bool {
		return w.Key == countRequests || again && kindOf(w.Key) == countRequests
	})
	held := slices.DeleteFunc(slices.Clone(x.use.Windows), func(w quota.Window) bool { return kindOf(w.Key) == countRequests })
	if slices.Equal(use.Windows, held) && slices.Equal(use.Leases, x.use.Leases) {
		return nil
	}
	x.settle()
	x.use = quota.Use{}
	if _, err := x.take(use); err != nil {
		return err
	}
	*counted = append(*counted, x.grant)
	return nil
}

// outcome is what the log line says of an attempt.
type outcome struct {
	Model         string `json:"model"` // the public name
	Upstream      string `json:"upstream"`
	UpstreamModel string `json:"upstream_model"`
	// Skipped says that nothing was sent, because of what the status stands for.
	Skipped bool   `json:"skipped,omitempty"`
	Status  int    `json:"status"`
	Code    string `json:"error_code,omitempty"`
	Cause   string `json:"error_cause,omitempty"`
	// Took is nil for what was not sent, and without statistics.
	Took *float64 `json:"duration_ms,omitempty"`
}

// note keeps for the log how the attempt ended.
func (x *exchange) note(failure *chat.Error, skipped bool, began time.Time) {
	o := outcome{Model: x.route.Name, Upstream: x.route.Upstream.Name, UpstreamModel: x.route.Model, Skipped: skipped, Status: http.StatusOK}
	if failure != nil {
		o.Status, o.Code, o.Cause = failure.Status, failure.Code, cause(failure.Err)
	}
	if x.g.logging.LogStatistics && !skipped {
		took := milliseconds(time.Since(began))
		o.Took = &took
	}
	x.outcomes = append(x.outcomes, o)
}
