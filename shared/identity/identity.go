// Package identity puts a credential on an upstream request and keeps that credential fresh.
//
// A [TokenSource] fetches, a [Cache] decides when, an [Authorizer] writes the result on a request. The service packages below this one
// (sigv4, googleid, entra) are the platforms' own identities.
//
// The package must not know any provider's wire format, what a model is, or who the caller of the gateway is. It runs no work in the
// background: a function is frozen between requests, so a fetch happens inside the request that needs it.
package identity

import (
	"context"
	"net/http"
	"time"

	"github.com/postern-ai/postern/shared/secrets"
)

// Principal says who signed a request. It is not secret: it goes into the log line of each request.
type Principal struct {
	// Name is the identity as its platform writes it: a role ARN, a service account's e-mail address, a client id.
	Name string
	// Source says how it was found, for example "environment", "metadata server" or "managed identity".
	Source string
}

// Token is a bearer token as its issuer gave it out.
type Token struct {
	// Value is the token itself.
	Value secrets.Value
	// Type is the scheme in the Authorization header. Empty means Bearer.
	Type string
	// Expires is the moment from which the issuer no longer accepts the token. The zero time means that it does not expire.
	Expires time.Time
	// Principal is whom the token stands for.
	Principal Principal
}

// TokenSource fetches tokens.
//
// Token asks the issuer anew at each call and keeps nothing: caching, sharing and backing off belong to [Cache]. It honours ctx, and
// also ends by itself in under 3 s. It is safe for concurrent use. Its errors are an [*Error] or wrap one. The expiry that it returns is
// counted from before the request to the issuer, so that time lost on the way never makes a token look fresher than it is.
type TokenSource interface {
	Token(ctx context.Context) (Token, error)
}

// TokenFunc is a function as a [TokenSource]. What is said there holds for it.
type TokenFunc func(ctx context.Context) (Token, error)

// Token calls the function.
func (f TokenFunc) Token(ctx context.Context) (Token, error) { return f(ctx) }

// Authorizer puts a credential on an upstream request. Implementations are safe for concurrent use.
type Authorizer interface {
	// Authorize adds the credential to the request, replacing one that is already there. It notes the principal in the [Report] of the
	// request's context. It may fetch, within the deadline of the request's context. Its errors are an [*Error] or wrap one, except when
	// the request's context ended first: then they wrap that context's error.
	Authorize(request *http.Request) error
	// Rejected says that the upstream did not accept the credential on the request. The cached credential is dropped if and only if it
	// is that one, so that a slow answer to an old credential cannot discard a newer one. The next Authorize fetches anew.
	Rejected(request *http.Request)
}
