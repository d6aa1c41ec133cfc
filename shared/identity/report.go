package identity

import (
	"context"
	"sync"
)

type reportKey struct{}

// Report collects who signed the upstream requests that were made for one caller's request. It is safe for concurrent use.
type Report struct {
	mu        sync.Mutex
	principal Principal
}

// WithReport returns a context under which authorizers note whom they signed for, and the Report that they note it in.
func WithReport(ctx context.Context) (context.Context, *Report) {
	report := new(Report)
	return context.WithValue(ctx, reportKey{}, report), report
}

// Principal returns who signed last, or the zero Principal when nobody did.
func (r *Report) Principal() Principal {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.principal
}

// Reporting reports whether anybody wants to know who signs under a context.
func Reporting(ctx context.Context) bool { return reportOf(ctx) != nil }

func reportOf(ctx context.Context) *Report {
	report, _ := ctx.Value(reportKey{}).(*Report)
	return report
}

// withoutReport is for what is done on the way to a credential: a request that is signed there is not the upstream request.
func withoutReport(ctx context.Context) context.Context {
	if !Reporting(ctx) {
		return ctx
	}
	return context.WithValue(ctx, reportKey{}, (*Report)(nil))
}

// Note writes down who signed. Without a Report in the context it does nothing.
func Note(ctx context.Context, principal Principal) {
	report := reportOf(ctx)
	if report == nil {
		return
	}
	report.mu.Lock()
	defer report.mu.Unlock()
	report.principal = principal
}

// Refine replaces a noted principal by the same one under a better name, for an authorizer that learns the name only after it has
// signed. When another principal has been noted since, that one stands.
func Refine(ctx context.Context, noted, better Principal) {
	report := reportOf(ctx)
	if report == nil {
		return
	}
	report.mu.Lock()
	defer report.mu.Unlock()
	if report.principal == noted {
		report.principal = better
	}
}
