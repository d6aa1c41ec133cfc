package caller

import "net/http"

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
