package identity

import (
	"context"
	"strings"
	"time"

	"github.com/postern-ai/postern/shared/secrets"
)

// CacheOptions says when a [Cache] fetches. The zero value is the default policy.
type CacheOptions struct {
	Refresh
	// OnReplace, when set, is told of each token that took the place of a different one, as described at [KeeperOptions].
	OnReplace func(ctx context.Context, replacement Replacement[Token])
}

// Cache keeps the token of one [TokenSource] fresh, as described at [Keeper]. It is safe for concurrent use.
type Cache struct {
	keeper *Keeper[Token]
}

// NewCache returns a Cache over the source. It fetches when first asked.
func NewCache(source TokenSource, options CacheOptions) *Cache {
	return &Cache{keeper: NewKeeper(KeeperOptions[Token]{
		Refresh:   options.Refresh,
		Fetch:     func(ctx context.Context) (Token, error) { return fetchToken(ctx, source) },
		Expires:   func(token Token) time.Time { return token.Expires },
		Same:      func(a, b Token) bool { return a.Value.Equal(b.Value) },
		OnReplace: options.OnReplace,
	})}
}

// Token returns a token that is valid now. When ctx ends first, the error wraps ctx's; any other error is the source's.
func (c *Cache) Token(ctx context.Context) (Token, error) { return c.keeper.Get(ctx) }

// Refresh fetches a new token although the one that is held may be good for a while yet, as described at [Keeper.Refresh].
func (c *Cache) Refresh(ctx context.Context, reason Reason) (Token, error) {
	return c.keeper.Refresh(ctx, reason)
}

// Rejected drops the cached token if it has this value.
func (c *Cache) Rejected(value secrets.Value) {
	c.keeper.Reject(func(token Token) bool { return token.Value.Equal(value) })
}

// fetchToken checks a token once and not at each request.
func fetchToken(ctx context.Context, source TokenSource) (Token, error) {
	token, err := source.Token(ctx)
	if err == nil {
		err = token.Check()
	}
	if err != nil {
		return Token{}, err
	}
	return token, nil
}

// Check returns an *[Error] when the token could not be put into a header. A [Cache] checks each token that it fetches; others do so
// before they hand a token on.
func (t Token) Check() error {
	if !printable(t.Value.Reveal()) {
		return &Error{Public: "the issuer's answer holds no token that fits into a header", Retryable: true}
	}
	if t.Type != "" && !strings.EqualFold(t.Type, bearerScheme) {
		return &Error{Public: "the issuer's answer holds a token of a type other than Bearer"}
	}
	return nil
}

// printable reports whether a text is one or more visible ASCII characters, as header values that carry credentials are.
func printable(text string) bool {
	return text != "" && !strings.ContainsFunc(text, func(c rune) bool { return c <= ' ' || c > '~' })
}
