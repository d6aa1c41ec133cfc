package caller

import (
	"context"
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
	// certificates are those of the clients, for tokens that are bound to one.
	certificates *certificates
	// dpop checks proofs for tokens that are bound to a key. Nil means that no issuer's are.
	dpop *dpop
}

// issuer is who signs tokens, and what is demanded of them.
type issuer struct {
	config.Caller
	shape shape
	keys  *keySet
}

func newIssuer(c config.Caller, client *http.Client) *issuer {
	return &issuer{Caller: c, shape: shapeOf(c.Issuer), keys: &keySet{issuer: c.Issuer, uri: c.JWKSURI, client: client}}
}

// NewBearer returns an authenticator for the tokens of these issuers. It fetches nothing yet; transport may be nil.
func NewBearer(callers []config.Caller, transport http.RoundTripper) *Bearer {
	client := keyClient(transport)
	b := &Bearer{issuers: make(map[string]*issuer, len(callers))}
	for _, c := range callers {
		b.issuers[c.Issuer] = newIssuer(c, client)
	}
	return b
}

// Authenticate judges the request's bearer token. What is no JWT, comes from no configured issuer, or has had its signature
// removed by the platform is left to other authenticators.
func (b *Bearer) Authenticate(r *http.Request) (*Principal, error) {
	schemes := []string{schemeBearer}
	if b.dpop != nil {
		schemes = append(schemes, schemeDPoP)
	}
	c, failure := presented(r, headerAuthorization, schemes...)
	if failure != nil {
		return nil, failure
	}
	p, failure := b.known.recall(r.Context(), c.text, b.verify)
	if failure == nil {
		failure = b.possessed(r, c, p)
	}
	if failure != nil {
		return nil, failure
	}
	return p.principal, nil
}

// verify finds out what a token proves.
func (b *Bearer) verify(ctx context.Context, text string) (*proven, *Error) {
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
	bound, failure := t.claims.confirmation()
	if failure != nil {
		return nil, failure
	}
	if failure := from.judge(ctx, t); failure != nil {
		return nil, failure
	}
	return &proven{principal: from.principal(t), issuer: from, bound: bound}, nil
}

// judge checks a token of the issuer: first everything that costs nothing, so that one which cannot be right costs neither a
// fetch nor a signature check.
func (i *issuer) judge(ctx context.Context, t *token) *Error {
	if !slices.Contains(i.Algorithms, t.header.Algorithm) {
		return &Error{Code: BadSignature, Public: "the token is signed with an algorithm that is not accepted for its issuer"}
	}
	if failure := i.kindRefused(t); failure != nil {
		return failure
	}
	if !slices.ContainsFunc(i.shape.audiences(&t.claims), func(a string) bool { return slices.Contains(i.Audiences, a) }) {
		return &Error{
			Code:   WrongAudience,
			Public: fmt.Sprintf("the token is meant for another service; ask its issuer for one with the audience %q", i.Audiences[0]),
		}
	}
	if failure := t.claims.current(wallClock()); failure != nil {
		return failure
	}
	return i.signed(ctx, t)
}

// principal is whom a token of the issuer is for, once it has been judged.
func (i *issuer) principal(t *token) *Principal {
	p := &Principal{
		Method: OIDC, Issuer: t.claims.Issuer, Subject: t.claims.Subject, Name: i.Name + "/" + t.claims.Subject,
		Groups: i.shape.groups(&t.claims), Expires: t.claims.expires(),
	}
	t.describe(p, i.Claims)
	return p
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
