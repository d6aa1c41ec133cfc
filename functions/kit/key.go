package kit

import (
	"cmp"
	"context"
	"net/http"
	"strings"

	"github.com/postern-ai/postern/shared/config"
	"github.com/postern-ai/postern/shared/identity"
	"github.com/postern-ai/postern/shared/secrets"
)

// key returns the authorizer for a stored key.
func (w *wiring) key(u *config.Upstream) (identity.Authorizer, error) {
	s, err := w.secret(u.CredentialRef)
	if err != nil {
		return nil, err
	}
	k := key{secret: s, query: u.QueryName, principal: identity.Principal{Name: s.ref.String(), Source: "stored key"}}
	switch {
	case u.QueryName != "":
	case u.Provider == config.AzureOpenAI:
		k.header = "Api-Key"
	case u.Provider == config.Anthropic:
		k.header = "X-Api-Key"
	case u.HeaderName == "" && u.HeaderPrefix == "":
		k.header, k.prefix = "Authorization", "Bearer "
	default:
		k.header, k.prefix = http.CanonicalHeaderKey(cmp.Or(u.HeaderName, "Authorization")), u.HeaderPrefix
	}
	return k, nil
}

// key puts a stored key on requests: into a header or, for the servers that
// take it nowhere else, into the query.
type key struct {
	secret                secret
	header, prefix, query string
	principal             identity.Principal
}

var _ identity.Authorizer = key{}

func (k key) Authorize(request *http.Request) error {
	value, err := k.secret.read(request.Context())
	if err != nil {
		return unreadable(request.Context(), err)
	}
	held := func(context.Context) (secrets.Value, error) { return value, nil }
	if k.query == "" {
		return identity.Header(identity.HeaderOptions{Name: k.header, Prefix: k.prefix, Key: held, Principal: k.principal}).Authorize(request)
	}
	return identity.Query(identity.QueryOptions{Name: k.query, Key: held, Principal: k.principal}).Authorize(request)
}

// Rejected has the key read again, if it is still the one that was rejected.
func (k key) Rejected(request *http.Request) {
	value := request.URL.Query().Get(k.query)
	if k.query == "" {
		value = strings.TrimPrefix(request.Header.Get(k.header), k.prefix)
	}
	k.secret.rejected(secrets.NewValue(value))
}
