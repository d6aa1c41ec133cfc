package kit

import (
	"cmp"
	"context"
	"log/slog"
	"strings"
	"time"

	"github.com/postern-ai/postern/shared/audit"
	"github.com/postern-ai/postern/shared/config"
	"github.com/postern-ai/postern/shared/identity"
	"github.com/postern-ai/postern/shared/release"
	"github.com/postern-ai/postern/shared/secrets"
)

// onReplaceToken reports tokens that take the place of others, if the upstream
// asks for that.
func (w *wiring) onReplaceToken(u *config.Upstream) func(context.Context, identity.Replacement[identity.Token]) {
	if !u.AuditOnRotate || w.Audit == nil {
		return nil
	}
	marks := w.fingerprints()
	return func(ctx context.Context, r identity.Replacement[identity.Token]) {
		w.replaced(ctx, u, audit.TokenRotated{
			Principal: audit.Principal{Name: r.New.Principal.Name, Source: r.New.Principal.Source},
			Reason:    audit.Reason(r.Reason),
			Old:       audit.Token{Fingerprint: marks.Of(r.Old.Value.Reveal()), Expires: r.Old.Expires},
			New:       audit.Token{Fingerprint: marks.Of(r.New.Value.Reveal()), Expires: r.New.Expires},
		})
	}
}

// onReplacePrincipal is the same for AWS credentials, whose names hold the ids
// of their keys.
func (w *wiring) onReplacePrincipal(u *config.Upstream) func(context.Context, identity.Replacement[identity.Principal]) {
	if !u.AuditOnRotate || w.Audit == nil {
		return nil
	}
	marks := w.fingerprints()
	return func(ctx context.Context, r identity.Replacement[identity.Principal]) {
		w.replaced(ctx, u, audit.TokenRotated{
			Principal: audit.Principal{Name: r.New.Name, Source: r.New.Source},
			Reason:    audit.Reason(r.Reason),
			Old:       audit.Token{Fingerprint: marks.Of(r.Old.Name)},
			New:       audit.Token{Fingerprint: marks.Of(r.New.Name)},
		})
	}
}

// replaced reports a credential that took the place of another one.
func (w *wiring) replaced(ctx context.Context, u *config.Upstream, what audit.TokenRotated) {
	what.Function = w.origin()
	what.Upstream, what.Provider, what.AuthType = u.Name, string(u.Provider), string(u.AuthType)
	what.CredentialRef = u.CredentialRef.String()
	event, err := what.Event(time.Now())
	w.report(ctx, u, event, err)
}

// onFallback reports that an upstream has rejected the current version of its
// stored key: either the key is not known there yet, or it has been revoked too
// early.
func (w *wiring) onFallback(d *config.Document) func(context.Context, secrets.Ref, secrets.Cached) {
	upstreams := map[secrets.Ref]*config.Upstream{}
	for i := range d.Upstreams {
		u := &d.Upstreams[i]
		if ref, err := secrets.ParseRef(u.CredentialRef.String()); err == nil && u.CredentialRef != "" {
			upstreams[ref] = u
		}
	}
	marks := w.fingerprints()
	return func(ctx context.Context, ref secrets.Ref, used secrets.Cached) {
		w.Log.WarnContext(ctx, "the current version of a stored key was rejected, and the previous one is used", slog.String("metric", "upstream_auth_fallback"),
			slog.String("secret", ref.String()), slog.String("rejected", used.Rejected.Version), slog.String("used", used.Version))
		u, ok := upstreams[ref]
		if !ok || w.Audit == nil {
			return
		}
		key := func(s secrets.Secret) audit.Key {
			return audit.Key{Version: s.Version, Fingerprint: marks.Of(s.Value.Reveal()), Created: s.Created, Expires: s.Expires}
		}
		event, err := audit.KeyFallbackUsed{
			Function: w.origin(), Upstream: u.Name, Provider: string(u.Provider), CredentialRef: u.CredentialRef.String(),
			Rejected: key(used.Rejected), Used: key(used.Secret),
		}.Event(time.Now())
		w.report(ctx, u, event, err)
	}
}

// report publishes an event within the request. That no bus takes it is for the
// log to say, and never fails the caller.
func (w *wiring) report(ctx context.Context, u *config.Upstream, event audit.Event, err error) {
	failed := func(ctx context.Context, err error) {
		w.Log.ErrorContext(ctx, "what became of a credential could not be reported", slog.String("upstream", u.Name), slog.String("error", err.Error()))
	}
	if err != nil {
		failed(ctx, err)
		return
	}
	audit.Inline{Publisher: w.Audit, OnFailure: func(ctx context.Context, f audit.Failure) { failed(ctx, f.Err) }}.Publish(identity.WithoutTrail(ctx), event)
}

// origin is the function by the names that its platform gives it, and what it
// was built from.
func (w *wiring) origin() audit.Origin {
	return audit.Origin{
		Cloud:   string(w.Cloud),
		Account: w.Getenv("GOOGLE_CLOUD_PROJECT"),
		Region:  cmp.Or(w.Getenv("AWS_REGION"), w.Getenv("REGION_NAME")),
		Name:    cmp.Or(w.Getenv("AWS_LAMBDA_FUNCTION_NAME"), w.Getenv("K_SERVICE"), w.Getenv("WEBSITE_SITE_NAME"), "gateway"),
		Version: release.Version,
		Commit:  release.Commit,
	}
}

// fingerprints are those of this deployment: its name is the key, which keeps
// those of two deployments apart.
func (w *wiring) fingerprints() audit.Fingerprints {
	of := strings.Join(w.self(), " ")
	if deployment := w.Getenv("POSTERN_DEPLOYMENT"); deployment != "" {
		of = "deployment " + deployment // whose functions know the same credentials
	}
	marks, err := audit.NewFingerprints([]byte("postern " + of))
	if err != nil {
		// Only a key that is empty is refused.
		w.Log.Error("credentials cannot be told apart in events", slog.String("error", err.Error()))
	}
	return marks
}
