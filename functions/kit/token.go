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
	"github.com/postern-ai/postern/shared/identity/redistokens"
	"github.com/postern-ai/postern/shared/secrets"
)

// tokens says on what the tokens of a source depend, and who else may have
// them.
type tokens struct {
	// key names everything on which they depend, and holds no secret.
	key string
	// platform says that they come from the function's own platform, which
	// keeps them itself. They are shared with nobody.
	platform bool
	// once says that they depend on a secret, with whose next version comes
	// another source. They are not kept for other upstreams.
	once bool
}

// ofSecret are tokens that depend on a secret besides.
func ofSecret(key string, value secrets.Value) tokens {
	return tokens{key: key + " " + fingerprint(value), once: true}
}

// bearer puts a source's tokens on requests.
func (w *wiring) bearer(u *config.Upstream, t tokens, s identity.TokenSource) identity.Authorizer {
	if u.Provider == config.Anthropic {
		return exchange.AnthropicBearer(w.cache(u, t, s))
	}
	return identity.Bearer(w.cache(u, t, s))
}

// cache keeps a source's tokens. Upstreams whose tokens depend on the same share
// them, and with a shared cache all instances do.
func (w *wiring) cache(u *config.Upstream, t tokens, s identity.TokenSource) *identity.Cache {
	make := func() *identity.Cache {
		options := identity.CacheOptions{Refresh: refreshOf(u), OnReplace: w.onReplaceToken(u)}
		if w.redis != nil && !t.platform {
			// What another instance has fetched is for that one to report.
			made := w.redis.Source(s, redistokens.SourceOptions{
				Identity: append(w.sharers(u), t.key), Window: options.Window, OnReplace: options.OnReplace,
				Proactive: u.RefreshPolicy == config.Proactive && w.ahead == nil,
			})
			if w.ahead != nil {
				w.ahead.add(made)
			}
			s, options.OnReplace = made, nil
		}
		return identity.NewCache(s, options)
	}
	if t.once {
		return make()
	}
	return shared(w, w.tokens, fmt.Sprintf("%s %s %s", t.key, refreshKey(u), auditKey(u)), make)
}

// self is what sets this function apart from others that use the same server:
// their tokens may stand for somebody else.
func (w *wiring) self() []string {
	names := []string{
		"AWS_LAMBDA_FUNCTION_NAME", "AWS_REGION", "K_SERVICE", "GOOGLE_CLOUD_PROJECT", "WEBSITE_SITE_NAME", "WEBSITE_OWNER_NAME", "AZURE_CLIENT_ID",
	}
	self := []string{string(w.Cloud)}
	for _, name := range names {
		self = append(self, w.Getenv(name))
	}
	return self
}

// sharers are those who may have an upstream's tokens: all functions of a
// deployment, unless the tokens stand for one of them.
func (w *wiring) sharers(u *config.Upstream) []string {
	if deployment := w.Getenv("POSTERN_DEPLOYMENT"); u.StandsForClient() && deployment != "" {
		return []string{string(w.Cloud), "deployment", deployment}
	}
	return w.self()
}

// newRedis connects to nothing yet.
func (w *wiring) newRedis(r *config.Redis) (*redistokens.Cache, error) {
	options := redistokens.Options{Server: w.server, OnFault: func(ctx context.Context, f redistokens.Fault) {
		w.Log.WarnContext(ctx, "the shared token cache cannot be used; tokens are fetched from their issuers",
			slog.String("step", string(f.Step)), slog.String("error", f.Err.Error()), slog.Time("until", f.Until))
	}}
	key, err := w.secret(r.KeyRef)
	if err != nil {
		return nil, fmt.Errorf("key_ref: %w", err)
	}
	options.Key = key.read
	return redistokens.New(options)
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

// fingerprint tells tokens apart and tells nothing of them.
func fingerprint(v secrets.Value) string {
	sum := sha256.Sum256([]byte(v.Reveal()))
	return hex.EncodeToString(sum[:8])
}
