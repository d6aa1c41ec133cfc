package kit

import (
	"context"
	"fmt"
	"log/slog"
	"slices"

	"github.com/postern-ai/postern/shared/config"
	"github.com/postern-ai/postern/shared/quota"
	"github.com/postern-ai/postern/shared/quota/redisquota"
	"github.com/postern-ai/postern/shared/redis"
)

// quota counts what callers use: with a Redis server for all instances
// together, otherwise each for itself. It connects to nothing yet.
func (w *wiring) quota(d *config.Document) (quota.Store, error) {
	var none config.CallerLimits
	limits := d.Limits.PerCaller != none || slices.ContainsFunc(d.Policy, func(r config.Rule) bool { return r.Limits != none })
	r := d.Cache.Redis
	if r == nil || !limits {
		return new(quota.Memory), nil
	}
	options := redis.Options{URL: r.URL, Username: r.Username}
	if r.CredentialRef != "" {
		password, err := w.secret(r.CredentialRef)
		if err != nil {
			return nil, fmt.Errorf("credential_ref: %w", err)
		}
		options.Password = func(ctx context.Context) (string, error) {
			value, err := password.read(ctx)
			return value.Reveal(), err
		}
	}
	server, err := redis.New(options)
	if err != nil {
		return nil, err
	}
	return redisquota.New(redisquota.Options{Server: server, Deployment: w.self(), OnFault: func(ctx context.Context, f redisquota.Fault) {
		w.Log.WarnContext(ctx, "each instance counts for itself what callers use", slog.String("error", f.Err.Error()), slog.Time("until", f.Until))
	}}), nil
}
