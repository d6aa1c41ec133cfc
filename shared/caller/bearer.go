package caller

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/postern-ai/postern/shared/config"
)

// Bearer authenticates callers by the bearer tokens of configured issuers: JWTs signed with an asymmetric key that the issuer
// publishes, checked as RFC 8725 and RFC 9068 demand. The api_key of an OpenAI SDK may carry such a token.
type Bearer struct {
	issuers map[string]*issuer
	known   verified
}

type issuer struct {
	config.Caller
	shape shape
	keys  *keySet
}

// NewBearer returns an authenticator for the tokens of these issuers. It fetches nothing yet; transport may be nil.
func NewBearer(callers []config.Caller, transport http.RoundTripper) *Bearer {
	client := keyClient(transport)
	b := &Bearer{issuers: make(map[string]*issuer, len(callers))}
	for _, c := range callers {
		b.issuers[c.Issuer] = &issuer{Caller: c, shape: shapeOf(c.Issuer), keys: &keySet{issuer: c.Issuer, uri: c.JWKSURI, client: client}}
	}
	return b
}

// Authenticate judges the request's bearer token. What is no JWT, comes from no configured issuer, or has had its signature
// removed by the platform is left to other authenticators.
func (b *Bearer) Authenticate(r *http.Request) (*Principal, error) {
	text, failure := bearer(r, headerAuthorization)
	if failure != nil {
		return nil, failure
	}
	key := sha256.Sum256([]byte(text))
	now := wallClock()
	if principal, ok := b.known.get(key, now); ok {
		return principal, nil
	}
	principal, failure := b.verify(r.Context(), text)
	if failure != nil {
		return nil, failure
	}
	b.known.put(key, principal, now)
	return principal, nil
}

// verify checks everything that costs nothing first, so that a token that cannot be right costs neither a fetch nor a
// signature check.
func (b *Bearer) verify(ctx context.Context, text string) (*Principal, *Error) {
	t, failure := parse(text)
	if failure != nil {
		return nil, failure
	}
	from, ok := b.issuers[t.claims.Issuer]
	if !ok {
		return nil, &Error{Code: WrongIssuer, Public: "the token's issuer is not one that this gateway accepts", notMine: true}
	}
	if t.signature == removedSignature {
		e := malformed("the platform has removed the token's signature")
		e.notMine = true
		return nil, e
	}
	if !slices.Contains(from.Algorithms, t.header.Algorithm) {
		return nil, &Error{Code: BadSignature, Public: "the token is signed with an algorithm that is not accepted for its issuer"}
	}
	if failure := from.kindRefused(t); failure != nil {
		return nil, failure
	}
	if !slices.ContainsFunc(from.shape.audiences(&t.claims), func(a string) bool { return slices.Contains(from.Audiences, a) }) {
		return nil, &Error{
			Code:   WrongAudience,
			Public: fmt.Sprintf("the token is meant for another service; ask its issuer for one with the audience %q", from.Audiences[0]),
		}
	}
	if failure := t.claims.current(wallClock()); failure != nil {
		return nil, failure
	}
	if failure := from.signed(ctx, t); failure != nil {
		return nil, failure
	}
	p := &Principal{
		Method: OIDC, Issuer: t.claims.Issuer, Subject: t.claims.Subject, Name: from.Name + "/" + t.claims.Subject,
		Groups: from.shape.groups(&t.claims), Expires: t.claims.expires(),
	}
	t.describe(p, from.Claims)
	return p, nil
}

// mostTries bounds the signature checks for a token that names no key.
const mostTries = 8

// signed checks the token's signature against the issuer's keys.
func (i *issuer) signed(ctx context.Context, t *token) *Error {
	keys, err := i.keys.find(ctx, &t.jws)
	switch {
	case errors.Is(err, errUnknownKey):
		return &Error{Code: BadSignature, Public: "the token is signed with a key that its issuer does not publish", Err: err}
	case err != nil:
		return &Error{Code: Unavailable, Public: "the keys of the token's issuer cannot be fetched right now; try again shortly", Err: err}
	}
	for _, k := range keys[:min(len(keys), mostTries)] {
		if k.verifies(&t.jws) {
			return nil
		}
	}
	return &Error{Code: BadSignature, Public: "the token's signature is not valid"}
}
