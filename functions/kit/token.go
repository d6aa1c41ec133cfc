package kit

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/postern-ai/postern/shared/config"
	"github.com/postern-ai/postern/shared/identity"
	"github.com/postern-ai/postern/shared/identity/exchange"
	"github.com/postern-ai/postern/shared/secrets"
)

// bearer puts a source's tokens on requests.
func (w *wiring) bearer(u *config.Upstream, key string, s identity.TokenSource) identity.Authorizer {
	if u.Provider == config.Anthropic {
		return exchange.AnthropicBearer(w.cache(u, key, s))
	}
	return identity.Bearer(w.cache(u, key, s))
}

// cache keeps a source's tokens. Upstreams whose tokens depend on the same share
// them; the key says on what. Without one, as for a source that is replaced
// when its secret is, they are not shared.
func (w *wiring) cache(u *config.Upstream, key string, s identity.TokenSource) *identity.Cache {
	options := identity.CacheOptions{Refresh: refreshOf(u), OnReplace: w.onReplaceToken(u)}
	if key == "" {
		return identity.NewCache(s, options)
	}
	key = fmt.Sprintf("%s %s %s", key, refreshKey(u), auditKey(u))
	return shared(w, w.tokens, key, func() *identity.Cache { return identity.NewCache(s, options) })
}

// shared returns what is kept under a key, or makes it.
func shared[T any](w *wiring, kept map[string]T, key string, make func() T) T {
	w.mu.Lock()
	defer w.mu.Unlock()
	if one, ok := kept[key]; ok {
		return one
	}
	one := make()
	kept[key] = one
	return one
}

// defaultWindow is how long before its end a credential is replaced when the
// document does not say.
const defaultWindow = 5 * time.Minute

// refreshOf returns when an upstream's credential is replaced. Each instance of
// a function has a window of its own, so that instances which began together do
// not replace theirs together.
func refreshOf(u *config.Upstream) identity.Refresh {
	if u.RefreshPolicy == config.Lazy {
		return identity.Refresh{Policy: identity.Lazy}
	}
	refresh := identity.Refresh{Window: u.RefreshWindow}
	if u.RefreshJitter > 0 {
		refresh.Window = max(u.RefreshWindow, 0) + rand.N(u.RefreshJitter)
		if u.RefreshWindow == 0 {
			refresh.Window += defaultWindow
		}
	}
	return refresh
}

func refreshKey(u *config.Upstream) string {
	return fmt.Sprintf("%s %v %v", u.RefreshPolicy, u.RefreshWindow, u.RefreshJitter)
}

// auditKey keeps a credential whose replacements are reported apart from one
// whose are not.
func auditKey(u *config.Upstream) string {
	if u.AuditOnRotate {
		return u.Name
	}
	return ""
}

// The log line of a credential that took the place of another.
const (
	rotated      = "a credential was replaced"
	rotatedEvent = "AI_PROVIDER_TOKEN_ROTATED"
)

func (w *wiring) onReplaceToken(u *config.Upstream) func(context.Context, identity.Replacement[identity.Token]) {
	if !u.AuditOnRotate {
		return nil
	}
	return func(ctx context.Context, r identity.Replacement[identity.Token]) {
		w.Log.InfoContext(ctx, rotated, slog.String("event", rotatedEvent), slog.String("upstream", u.Name), slog.String("provider", string(u.Provider)),
			slog.String("principal", r.New.Principal.Name), slog.String("reason", string(r.Reason)),
			slog.String("old", fingerprint(r.Old.Value)), slog.String("new", fingerprint(r.New.Value)))
	}
}

func (w *wiring) onReplacePrincipal(u *config.Upstream) func(context.Context, identity.Replacement[identity.Principal]) {
	if !u.AuditOnRotate {
		return nil
	}
	return func(ctx context.Context, r identity.Replacement[identity.Principal]) {
		w.Log.InfoContext(ctx, rotated, slog.String("event", rotatedEvent), slog.String("upstream", u.Name), slog.String("provider", string(u.Provider)),
			slog.String("reason", string(r.Reason)), slog.String("old", r.Old.Name), slog.String("new", r.New.Name))
	}
}

// fingerprint tells tokens apart and tells nothing of them.
func fingerprint(v secrets.Value) string {
	sum := sha256.Sum256([]byte(v.Reveal()))
	return hex.EncodeToString(sum[:8])
}
