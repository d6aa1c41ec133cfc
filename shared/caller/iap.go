package caller

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/postern-ai/postern/shared/config"
)

// NewIAP returns an authenticator for the assertions of Identity-Aware Proxy, which are signed, so that it does not matter what
// else can send the header. It fetches nothing yet; transport may be nil.
func NewIAP(c *config.IAP, transport http.RoundTripper) Authenticator {
	return &iap{issuer: newIAPIssuer(c, keyClient(transport))}
}

func newIAPIssuer(c *config.IAP, client *http.Client) *issuer {
	keys := c.JWKSURI
	if keys == "" {
		keys = "https://www.gstatic.com/iap/verify/public_key-jwk"
	}
	return newIssuer(config.Caller{
		Name: "iap", Issuer: config.IAPIssuer, Audiences: c.Audiences, Algorithms: []string{"ES256"}, JWKSURI: keys, IDTokens: true,
	}, client)
}

type iap struct {
	issuer *issuer
	known  verified
}

// Authenticate judges the assertion. That of another proxy is refused, since nobody else would judge it.
func (i *iap) Authenticate(r *http.Request) (*Principal, error) {
	values := r.Header[headerIAP]
	switch {
	case len(values) == 0:
		e := missing()
		e.Err = errors.New("there is no assertion of Identity-Aware Proxy; is it on?")
		return nil, e
	case len(values) > 1 || len(values[0]) > maxTokenBytes:
		return nil, malformed("the assertion is given more than once, or is too long")
	}
	proven, failure := i.known.recall(r.Context(), values[0], i.verify)
	if failure != nil {
		return nil, failure
	}
	return proven.principal, nil
}

func (i *iap) verify(ctx context.Context, text string) (*proven, *Error) {
	t, failure := parse(text)
	switch {
	case failure != nil:
		failure.notMine = false
		return nil, failure
	case t.claims.Issuer != i.issuer.Issuer:
		return nil, &Error{Code: WrongIssuer, Public: "the assertion is not one of Identity-Aware Proxy"}
	}
	if failure := i.issuer.judge(ctx, t); failure != nil {
		return nil, failure
	}
	p := i.issuer.principal(t)
	p.Method = IAP
	// IAM names Google identities by their address, so policies do too. That of another identity provider may be anybody's.
	if email, _ := t.claims.Email.(string); email != "" && strings.HasPrefix(t.claims.Subject, "accounts.google.com:") {
		p.Subject, p.Name, p.Kind = email, i.issuer.Name+"/"+email, User
		if strings.HasSuffix(email, ".gserviceaccount.com") {
			p.Kind = Workload
		}
		p.Tenant = t.claims.details.Domain.text()
	}
	return &proven{principal: p}, nil
}
