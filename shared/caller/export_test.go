package caller

import (
	"context"
	"errors"
	"net/http"

	"github.com/postern-ai/postern/shared/secrets"
)

// Forgetful is the same authenticator without its memory of tokens, to measure verification alone.
func Forgetful(b *Bearer) Authenticator { return forgetful{b} }

type forgetful struct{ *Bearer }

func (f forgetful) Authenticate(r *http.Request) (*Principal, error) {
	text, failure := bearer(r, "Authorization")
	if failure != nil {
		return nil, failure
	}
	proven, failure := f.verify(r.Context(), text)
	if failure != nil {
		return nil, failure
	}
	return proven.principal, nil
}

// Fixed reads the same secret each time.
func Fixed(value secrets.Value) Secret {
	return func(context.Context) (secrets.Value, error) { return value, nil }
}

// Signature returns the check of the signature of the request's token, ready to be done.
func Signature(b *Bearer, r *http.Request) (func() bool, error) {
	if _, err := b.Authenticate(r); err != nil {
		return nil, err
	}
	text, failure := bearer(r, headerAuthorization)
	if failure != nil {
		return nil, failure
	}
	t, failure := parse(text)
	if failure != nil {
		return nil, failure
	}
	keys, err := b.issuers[t.claims.Issuer].keys.find(r.Context(), &t.jws)
	if err != nil || len(keys) != 1 {
		return nil, errors.Join(err, errUnknownKey)
	}
	return func() bool { return keys[0].verifies(&t.jws) }, nil
}
