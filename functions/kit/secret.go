package kit

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/postern-ai/postern/shared/config"
	"github.com/postern-ai/postern/shared/identity"
	"github.com/postern-ai/postern/shared/secrets"
)

// vault reads what is stored. What costs a call is kept for a while; the
// environment and mounted files are read each time, since they cost nothing
// and a file may change under a running function.
type vault struct {
	stores secrets.Stores
	cache  *secrets.Cache
	// onFallback is told of an upstream that has rejected the current version of
	// a secret and gets the previous one. Nil means that nobody is.
	onFallback func(ctx context.Context, ref secrets.Ref, used secrets.Cached)

	mu   sync.Mutex
	told map[string]time.Time // by the versions that it was told of
}

// overlap is for how long an old version may stand in for the current one: as
// long as the document's rotations may keep it alive.
func overlap(d *config.Document) time.Duration {
	longest := 24 * time.Hour
	for _, k := range d.Rotation.Keys {
		longest = max(longest, k.Grace, k.MaxGrace)
	}
	return longest
}

// fallbackPause is how long nothing is said of a fallback that goes on.
const (
	fallbackPause = time.Hour
	mostTold      = 256
)

// fellBack tells once an hour that the previous version of a secret is used.
func (v *vault) fellBack(ctx context.Context, ref secrets.Ref, used secrets.Cached) {
	if v.onFallback == nil {
		return
	}
	key, now := ref.String()+" "+used.Rejected.Version+" "+used.Version, time.Now().Round(0)
	v.mu.Lock()
	last, ok := v.told[key]
	silent := ok && now.Sub(last) < fallbackPause
	if !silent {
		if len(v.told) >= mostTold {
			clear(v.told)
		}
		v.told[key] = now
	}
	v.mu.Unlock()
	if !silent {
		v.onFallback(ctx, ref, used)
	}
}

func newVault(k Kit, d *config.Document) *vault {
	audited := func(ref secrets.Ref) bool {
		return slices.ContainsFunc(d.Upstreams, func(u config.Upstream) bool {
			stored, err := secrets.ParseRef(u.CredentialRef.String())
			return err == nil && u.AuditOnRotate && stored == ref
		})
	}
	return &vault{stores: k.Secrets, told: map[string]time.Time{}, cache: secrets.NewCache(k.Secrets, secrets.CacheOptions{
		TTL: d.Cache.SecretTTL, Grace: overlap(d),
		OnStale: func(ctx context.Context, s secrets.Stale) {
			k.Log.WarnContext(ctx, "the secret store cannot be asked; the value that it last gave stays in use",
				slog.String("secret", s.Ref.String()), slog.String("version", s.Version),
				slog.Time("read", s.Read), slog.Time("until", s.Until), slog.String("error", s.Err.Error()))
		},
		OnReplace: func(ctx context.Context, r secrets.Replacement) {
			if audited(r.Ref) {
				// The event of it is whoever rotated the secret's to send.
				k.Log.InfoContext(ctx, "a stored credential has a new version", slog.String("secret", r.Ref.String()),
					slog.String("old", r.Old.Version), slog.String("new", r.New.Version))
			}
		},
	})}
}

// secret is one secret of the vault.
type secret struct {
	vault *vault
	ref   secrets.Ref
}

// secret finds the store that a reference names. A reference to a store that
// this function does not have is an error at start, not at the first request.
func (w *wiring) secret(reference config.Reference) (secret, error) {
	ref, err := secrets.ParseRef(reference.String())
	if err != nil {
		return secret{}, fmt.Errorf("the credential reference cannot be used: %w", err)
	}
	if _, ok := w.Secrets[ref.Store]; !ok {
		return secret{}, fmt.Errorf("a function on %s has no store for the credential reference %q: secrets stay in the cloud that uses them; "+
			"store it in this cloud's own store and give its name", w.Cloud, ref)
	}
	return secret{vault: w.vault, ref: ref}, nil
}

func (s secret) kept() bool {
	return s.ref.Store != secrets.StoreEnv && s.ref.Store != secrets.StoreFile
}

func (s secret) read(ctx context.Context) (secrets.Value, error) {
	if !s.kept() {
		return s.vault.stores.Read(ctx, s.ref)
	}
	cached, err := s.vault.cache.Get(ctx, s.ref)
	if err == nil && cached.Fallback {
		s.vault.fellBack(ctx, s.ref, cached)
	}
	return cached.Value, err
}

// rejected makes the next read ask the store again.
func (s secret) rejected(value secrets.Value) {
	if s.kept() {
		s.vault.cache.Rejected(s.ref, value)
	}
}

// stored authorizes with a credential that is made of what is stored, and made
// anew when that changes.
type stored struct {
	secret secret
	build  func(secrets.Value) (identity.Authorizer, error)
	holds  string

	mu    sync.Mutex
	value secrets.Value
	auth  identity.Authorizer
}

var _ identity.Authorizer = (*stored)(nil)

// stored returns the authorizer for the credential of an upstream.
func (w *wiring) stored(u *config.Upstream, build func(secret, secrets.Value) (identity.Authorizer, error)) (identity.Authorizer, error) {
	return w.storedIn(u.CredentialRef, u.Holds(), build)
}

// storedIn returns the authorizer for what is stored at a reference.
func (w *wiring) storedIn(ref config.Reference, holds string, build func(secret, secrets.Value) (identity.Authorizer, error)) (identity.Authorizer, error) {
	s, err := w.secret(ref)
	if err != nil {
		return nil, err
	}
	return &stored{secret: s, holds: holds, build: func(v secrets.Value) (identity.Authorizer, error) { return build(s, v) }}, nil
}

// Authorize reads what is stored and puts a credential made of it on the
// request. When its issuer does not accept it, it may have been replaced since
// it was read, so it is read once more.
func (s *stored) Authorize(request *http.Request) error {
	auth, value, err := s.current(request.Context())
	if err != nil {
		return err
	}
	failure := auth.Authorize(request)
	if refusal, ok := errors.AsType[*identity.Error](failure); !ok || refusal.Retryable || request.Context().Err() != nil {
		return failure
	}
	s.secret.rejected(value)
	newer, next, err := s.current(request.Context())
	if err != nil || next.Equal(value) {
		return failure
	}
	return newer.Authorize(request)
}

// Rejected drops the credential on the request. What it was made of may have
// been replaced too, which Authorize finds out.
func (s *stored) Rejected(request *http.Request) {
	s.mu.Lock()
	auth := s.auth
	s.mu.Unlock()
	if auth != nil {
		auth.Rejected(request)
	}
}

func (s *stored) current(ctx context.Context) (identity.Authorizer, secrets.Value, error) {
	value, err := s.secret.read(ctx)
	if err != nil {
		return nil, secrets.Value{}, unreadable(ctx, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.auth != nil && s.value.Equal(value) {
		return s.auth, value, nil
	}
	auth, err := s.build(value)
	if err != nil {
		return nil, secrets.Value{}, &identity.Error{Public: fmt.Sprintf("the secret %q cannot be used; store %s", s.secret.ref, s.holds), Err: err}
	}
	s.auth, s.value = auth, value
	return auth, value, nil
}

func unreadable(ctx context.Context, err error) error {
	if ended := ctx.Err(); ended != nil && errors.Is(err, ended) {
		return err
	}
	gone := errors.Is(err, secrets.ErrNotFound) || errors.Is(err, secrets.ErrUnusable)
	return &identity.Error{Public: "the stored credential for this upstream cannot be read", Err: err, Retryable: !gone}
}
