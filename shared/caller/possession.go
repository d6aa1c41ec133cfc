package caller

import (
	"crypto/subtle"
	"net/http"

	"github.com/go-json-experiment/json"

	"github.com/postern-ai/postern/shared/config"
)

// confirmation is what a token is bound to (RFC 7800): whoever uses it has to show more than the token.
type confirmation struct {
	// certificate is the thumbprint of the client's certificate (RFC 8705 section 3.1).
	certificate string
	// key is the thumbprint of a key (RFC 9449 section 6.1).
	key string
}

// confirmation reads the cnf claim. What a token is bound to and nobody here can check is never passed over: whoever stole the
// token would like that.
func (c *claims) confirmation() (confirmation, *Error) {
	var bound confirmation
	if c.Confirmation == nil {
		return bound, nil
	}
	for name, value := range c.Confirmation {
		into := map[string]*string{"x5t#S256": &bound.certificate, "jkt": &bound.key}[name]
		if into == nil || json.Unmarshal(value, into) != nil || len(*into) != thumbprintBytes {
			return bound, unproven("the token is bound (cnf) to something that this gateway cannot check")
		}
	}
	if bound == (confirmation{}) {
		return bound, malformed("the cnf claim is empty")
	}
	return bound, nil
}

// thumbprintBytes is the length of a SHA-256 in base64url.
const thumbprintBytes = 43

// possessed checks that the request shows what its token is bound to.
func (b *Bearer) possessed(r *http.Request, c credential, p *proven) *Error {
	if failure := b.showsCertificate(r, p); failure != nil {
		return failure
	}
	key, byKey := p.bound.key, c.scheme == schemeDPoP
	switch {
	case key == "" && p.issuer.DPoP == config.DPoPRequired:
		return unprovenKey("the token is not bound to a key (DPoP), which this gateway demands of its issuer's tokens")
	case key == "" && byKey:
		return unproven("the token is not bound to a key; send it in the scheme Bearer")
	case key == "":
		return nil
	case p.issuer.DPoP == "" || b.dpop == nil:
		return unproven("the token is bound to a key (DPoP), which this gateway has not been told to check for its issuer")
	case !byKey:
		return unprovenKey("the token is bound to a key; send it in the scheme DPoP, with a proof in the header DPoP")
	}
	return b.dpop.check(r, c.text, key)
}

func (b *Bearer) showsCertificate(r *http.Request, p *proven) *Error {
	if p.issuer.CertificateBound && p.bound.certificate == "" {
		return unproven("the token is not bound to a client certificate, which this gateway demands of its issuer's tokens")
	}
	if p.bound.certificate == "" {
		return nil
	}
	shown, failure := b.certificates.of(r)
	if failure != nil {
		return failure
	}
	if shown == nil || subtle.ConstantTimeCompare([]byte(shown.thumbprint()), []byte(p.bound.certificate)) == 0 {
		return unproven("the token is bound to a client certificate that did not come with the request")
	}
	return nil
}

func unproven(public string) *Error { return &Error{Code: Unproven, Public: public} }
