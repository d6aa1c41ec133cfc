package kit

import (
	"context"
	"log/slog"
	"slices"

	"github.com/postern-ai/postern/shared/config"
	"github.com/postern-ai/postern/shared/quota"
	"github.com/postern-ai/postern/shared/quota/redisquota"
)

// quota counts what callers use: with a Redis server for all instances
// together, otherwise each for itself. It connects to nothing yet.
func (w *wiring) quota(d *config.Document) quota.Store {
	var none config.CallerLimits
	limits := d.Limits.PerCaller != none || slices.ContainsFunc(d.Policy, func(r config.Rule) bool { return r.Limits != none })
	if w.uses == nil || !limits {
		return new(quota.Memory)
	}
	return w.uses
}

// newUses connects to nothing yet.
func (w *wiring) newUses() *redisquota.Store {
	return redisquota.New(redisquota.Options{Server: w.server, Deployment: w.self(), OnFault: func(ctx context.Context, f redisquota.Fault) {
		w.Log.WarnContext(ctx, "each instance counts for itself what callers use", slog.String("error", f.Err.Error()), slog.Time("until", f.Until))
	}})
}
