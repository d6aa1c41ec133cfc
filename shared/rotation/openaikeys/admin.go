package openaikeys

import (
	"context"
	"net/http"
	"net/url"
	"strings"

	"github.com/postern-ai/postern/shared/rotation"
	"github.com/postern-ai/postern/shared/secrets"
)

// Admin makes the admin keys of an organization. An admin key can make every other, so this issuer is stricter: a new one has to prove that it
// is one, and the one that the issuer itself works with is never deleted. It is safe for concurrent use.
type Admin struct {
	keys  string
	admin rotation.Remote
	proof rotation.Remote
	own   secrets.Authorizer
}

// NewAdmin returns an issuer of admin keys. It makes no network call. The API's admin key is the one that is rotated, or another.
func NewAdmin(api API) (*Admin, error) {
	base, admin, proof, err := api.remotes()
	if err != nil {
		return nil, err
	}
	return &Admin{keys: base + "/organization/admin_api_keys", admin: admin, proof: proof, own: api.Admin}, nil
}

// Traits returns what OpenAI's admin keys are like.
func (a *Admin) Traits() rotation.Traits {
	return rotation.Traits{Overlap: rotation.Parallel, Recovery: rotation.Listed, Named: true, LastUsed: true, Expiry: true, Propagation: propagation}
}

// adminNeeds is what the admin credential has to be.
const adminNeeds = "to be an admin key that may write admin API keys"

// Create makes an admin key.
func (a *Admin) Create(ctx context.Context, order rotation.Order) (rotation.Issued, error) {
	reply, err := a.admin.Call(ctx, rotation.Call{
		Purpose: rotation.Purpose{Op: "create", Needs: adminNeeds}, Method: http.MethodPost, URL: a.keys,
		Body: struct {
			Name             string `json:"name"`
			ExpiresInSeconds int64  `json:"expires_in_seconds,omitzero"`
		}{order.Name, life(order.Expires)},
	})
	if err != nil {
		return rotation.Issued{}, err
	}
	var out made
	if err := reply.Decode(&out); err != nil {
		return rotation.Issued{}, err
	}
	if out.ID == "" || out.Value == "" {
		return rotation.Issued{}, reply.Malformed()
	}
	return out.issued(order.Name), nil
}

func (a *Admin) list(ctx context.Context, op string) ([]key, error) {
	return rotation.List[key](ctx, &a.admin, rotation.Listing{
		Purpose: rotation.Purpose{Op: op, Needs: adminNeeds}, URL: a.keys, After: "after", Query: url.Values{"limit": {"100"}},
	})
}

// Find returns the organization's admin keys whose names begin with the prefix.
func (a *Admin) Find(ctx context.Context, prefix string) ([]rotation.Key, error) {
	all, err := a.list(ctx, "find")
	if err != nil {
		return nil, err
	}
	var keys []rotation.Key
	for _, k := range all {
		if strings.HasPrefix(k.Name, prefix) {
			keys = append(keys, k.key(k.Name))
		}
	}
	return keys, nil
}

// Identify returns the id of the admin key that is shown with the beginning and the end of a stored key.
func (a *Admin) Identify(ctx context.Context, value secrets.Value) (string, error) {
	all, err := a.list(ctx, "identify")
	if err != nil {
		return "", err
	}
	return rotation.IdentifyByHint(value, all, key.hint)
}

// Revoke deletes an admin key, unless it is the one that the request itself is made with.
func (a *Admin) Revoke(ctx context.Context, k rotation.Key) error {
	if !idForm.MatchString(k.ID) {
		return foreign()
	}
	purpose := rotation.Purpose{Op: "revoke", Needs: adminNeeds}
	target := a.keys + "/" + k.ID
	reply, err := a.admin.Call(ctx, rotation.Call{Purpose: purpose, Method: http.MethodGet, URL: target})
	if err != nil {
		return err
	}
	if reply.Gone() {
		return nil
	}
	var found key
	if err := reply.Decode(&found); err != nil {
		return err
	}
	if found.ID != k.ID {
		return reply.Malformed()
	}
	own, err := a.inUse(ctx, found)
	if err != nil {
		return err
	}
	if own {
		return &rotation.Error{
			Op: "revoke", Reason: "this function still works with that very key, or one that looks like it; it is revoked when the next one has been read", Err: rotation.ErrUnavailable,
		}
	}
	reply, err = a.admin.Call(ctx, rotation.Call{Purpose: purpose, Method: http.MethodDelete, URL: target})
	if err != nil {
		return err
	}
	return reply.Ended()
}

// inUse reports whether a key may be the one that this issuer works with. A credential that is still the old one is read again first: it
// may have been cached since before the next one was promoted.
func (a *Admin) inUse(ctx context.Context, found key) (bool, error) {
	hint := found.hint()
	for again := range 2 {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, a.keys, nil)
		if err != nil {
			return false, foreign()
		}
		if err := a.own.Authorize(request); err != nil {
			return false, &rotation.Error{Op: "revoke", Reason: "the admin credential for OpenAI cannot be obtained", Err: rotation.ErrUnavailable}
		}
		own, bearer := strings.CutPrefix(request.Header.Get("Authorization"), "Bearer ")
		// What cannot be compared could be the one in use.
		if bearer && hint.Shows() && !hint.Matches(secrets.NewValue(own)) {
			return false, nil
		}
		if again == 0 {
			a.own.Rejected(request)
		}
	}
	return true, nil
}

// Verify lists admin keys with the key.
func (a *Admin) Verify(ctx context.Context, value secrets.Value) error {
	return a.proof.Prove(ctx, rotation.Proof{URL: a.keys + "?limit=1", Name: "Authorization", Prefix: "Bearer ", Member: "data"}, value)
}
