package kit

import (
	"errors"
	"strings"

	"github.com/postern-ai/postern/shared/config"
	"github.com/postern-ai/postern/shared/identity"
	"github.com/postern-ai/postern/shared/identity/googleid"
)

// google gets Google access tokens: for the function's service account, for
// what is stored, or in exchange for another identity's token.
func (w *wiring) google(u *config.Upstream) (identity.Authorizer, error) {
	if u.CredentialRef != "" || w.Cloud != config.GCP {
		return nil, errors.New("this is not linked into this function")
	}
	return w.bearer(u, "metadata "+strings.Join(u.Scopes, " "), w.metadata(u.Scopes)), nil
}

// metadata is Google's metadata server. It is asked directly, never through a
// proxy.
func (k Kit) metadata(scopes []string) *googleid.Metadata {
	return googleid.New(googleid.Options{Getenv: k.Getenv, Scopes: scopes})
}
