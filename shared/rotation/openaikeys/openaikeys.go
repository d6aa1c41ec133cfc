// Package openaikeys makes and revokes OpenAI's keys by its administration API
// (https://developers.openai.com/api/reference/administration/overview): the keys of a project's service accounts, by [Issuer], and the admin keys
// of an organization, by [Admin].
//
// The package must not know where keys are stored, nor when they are rotated.
package openaikeys

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/postern-ai/postern/shared/rotation"
	"github.com/postern-ai/postern/shared/secrets"
)

const (
	globalHost = "https://api.openai.com"
	// propagation is how long OpenAI's servers may take to learn of a key's end. OpenAI says no more than that there are caches.
	propagation = 5 * time.Minute
	// maxLife is the longest life of a key that has an end (OpenAPI description, expires_in_seconds).
	maxLife = 31536000 * time.Second
)

// idForm is that of the ids that go into paths.
var idForm = regexp.MustCompile(`^[A-Za-z0-9_-]{1,128}$`)

// API says how OpenAI is reached.
type API struct {
	// Admin puts an admin key on a request, as Authorization: Bearer.
	Admin secrets.Authorizer
	// Endpoint replaces OpenAI's own address.
	Endpoint string
	// Transport sends the requests. Nil means [http.DefaultTransport].
	Transport http.RoundTripper
	// Timeout bounds one request. Zero means 10 s.
	Timeout time.Duration
}

// remotes returns the address of the API, how it is asked with the admin key, and how with another one.
func (a API) remotes() (base string, admin, proof rotation.Remote, err error) {
	if a.Admin == nil {
		return "", admin, proof, errors.New("rotating OpenAI keys needs an admin key; set admin_ref")
	}
	base, err = rotation.Endpoint(cmp.Or(a.Endpoint, globalHost))
	proof = rotation.Remote{Service: "OpenAI", HTTP: secrets.Bounded(a.Transport), Timeout: a.Timeout}
	admin = proof
	admin.Admin = a.Admin
	return base + "/v1", admin, proof, err
}

// Options says whose keys these are.
type Options struct {
	API
	// ProjectID is the project of the keys.
	ProjectID string
	// ServiceAccountID is the service account that all keys belong to. Empty means that each key gets one of its own, which goes with it.
	ServiceAccountID string
	// Scopes are what the keys may do. They need a ServiceAccountID, and one of them that lets a key list models. None means everything.
	Scopes []string
	// Prefix is what the names of all service accounts begin with that this issuer has made, empty for postern-. Others are never deleted.
	Prefix string
}

// Issuer makes the keys of a project's service accounts. It is safe for concurrent use.
type Issuer struct {
	options Options
	base    string
	project string
	admin   rotation.Remote
	proof   rotation.Remote
}

// New returns an issuer. It makes no network call.
func New(options Options) (*Issuer, error) {
	base, admin, proof, err := options.remotes()
	switch {
	case err != nil:
		return nil, err
	case !idForm.MatchString(options.ProjectID):
		return nil, errors.New("project_id has to be the id of an OpenAI project, such as proj_abc")
	case options.ServiceAccountID != "" && !idForm.MatchString(options.ServiceAccountID):
		return nil, errors.New("service_account_id has to be the id of a service account of the project")
	case options.ServiceAccountID == "" && len(options.Scopes) > 0:
		return nil, errors.New("scopes need a service_account_id: the key that OpenAI makes with a service account cannot be limited")
	}
	options.Prefix = cmp.Or(options.Prefix, "postern-")
	return &Issuer{options: options, base: base, project: base + "/organization/projects/" + options.ProjectID, admin: admin, proof: proof}, nil
}

// Traits returns what OpenAI's keys are like. Where its API does not know of an end yet, keys are made without one.
func (i *Issuer) Traits() rotation.Traits {
	return rotation.Traits{Overlap: rotation.Parallel, Recovery: rotation.Listed, Named: true, LastUsed: true, Expiry: true, Propagation: propagation}
}

// needs is what the admin credential has to be.
const needs = "to be an admin key that may write the project's API keys and service accounts"

// made is a key as it is shown once.
type made struct {
	ID        string `json:"id"`
	Value     string `json:"value"`
	CreatedAt int64  `json:"created_at"`
	ExpiresAt int64  `json:"expires_at"`
}

func (m made) issued(name string) rotation.Issued {
	return rotation.Issued{Key: rotation.Key{ID: m.ID, Name: name, Created: at(m.CreatedAt), Expires: at(m.ExpiresAt)}, Value: secrets.NewValue(m.Value)}
}

// at is a time as the API writes it.
func at(seconds int64) time.Time {
	if seconds == 0 {
		return time.Time{}
	}
	return time.Unix(seconds, 0).UTC()
}

// life returns how many seconds there are until a key has to end, rounded up. None means that it has no end.
func life(expires time.Time) int64 {
	if expires.IsZero() {
		return 0
	}
	return int64(min(max(time.Until(expires), time.Second)+time.Second-1, maxLife) / time.Second)
}

// Create makes a key, and its service account if none is configured.
func (i *Issuer) Create(ctx context.Context, order rotation.Order) (rotation.Issued, error) {
	seconds := life(order.Expires)
	reply, err := i.post(ctx, order.Name, seconds)
	if err == nil && reply.Status == http.StatusBadRequest && seconds > 0 {
		// The API may not know of an end, and what it has refused it has not made.
		reply, err = i.post(ctx, order.Name, 0)
	}
	switch {
	case err != nil:
		return rotation.Issued{}, err
	case reply.Gone():
		return rotation.Issued{}, reply.Refused("OpenAI has no such project or service account; check project_id and service_account_id")
	case reply.Status == http.StatusBadRequest && reply.IsObject():
		return rotation.Issued{}, reply.Refused("OpenAI does not take the order (400); the project may have been archived, or a scope may not exist")
	}
	var out struct {
		made
		APIKey *made `json:"api_key"`
	}
	if err := reply.Decode(&out); err != nil {
		return rotation.Issued{}, err
	}
	key := out.made
	if i.options.ServiceAccountID == "" && out.APIKey != nil {
		key = *out.APIKey
	}
	if key.ID == "" || key.Value == "" {
		return rotation.Issued{}, reply.Malformed()
	}
	return key.issued(order.Name), nil
}

// post asks for a key that ends after so many seconds, or never.
func (i *Issuer) post(ctx context.Context, name string, seconds int64) (rotation.Reply, error) {
	target := i.project + "/service_accounts"
	if i.options.ServiceAccountID != "" {
		target += "/" + i.options.ServiceAccountID + "/api_keys"
	}
	return i.admin.Call(ctx, rotation.Call{
		Purpose: rotation.Purpose{Op: "create", Needs: needs}, Method: http.MethodPost, URL: target,
		Body: struct {
			Name             string   `json:"name"`
			Scopes           []string `json:"scopes,omitzero"`
			ExpiresInSeconds int64    `json:"expires_in_seconds,omitzero"`
		}{name, i.options.Scopes, seconds},
	})
}

// key is a key as the API lists it.
type key struct {
	ID            string `json:"id"`
	Name          string `json:"name"`
	RedactedValue string `json:"redacted_value"`
	CreatedAt     int64  `json:"created_at"`
	LastUsedAt    int64  `json:"last_used_at"`
	ExpiresAt     int64  `json:"expires_at"`
	Owner         struct {
		ServiceAccount struct {
			ID   string `json:"id"`
			Name string `json:"name"`
		} `json:"service_account"`
	} `json:"owner"`
}

func (k key) key(name string) rotation.Key {
	return rotation.Key{ID: k.ID, Name: name, Created: at(k.CreatedAt), LastUsed: at(k.LastUsedAt), Expires: at(k.ExpiresAt)}
}

func (k key) hint() rotation.Hint { return rotation.Hint{ID: k.ID, Text: k.RedactedValue} }

// name is what a key was ordered under. A key that was made with its service account has the name there.
func (i *Issuer) name(k key) string {
	if i.options.ServiceAccountID == "" && k.Owner.ServiceAccount.ID != "" {
		return k.Owner.ServiceAccount.Name
	}
	return k.Name
}

// list reads all keys that may be the credential's.
func (i *Issuer) list(ctx context.Context, op string) ([]key, error) {
	all, err := rotation.List[key](ctx, &i.admin, rotation.Listing{
		Purpose: rotation.Purpose{Op: op, Needs: needs}, URL: i.project + "/api_keys", After: "after",
		// Without the filter, keys whose owner has left the project need not be listed.
		Query: url.Values{"limit": {"100"}, "owner_project_access": {"any"}},
	})
	if err != nil || i.options.ServiceAccountID == "" {
		return all, err
	}
	var own []key
	for _, k := range all {
		if k.Owner.ServiceAccount.ID == i.options.ServiceAccountID {
			own = append(own, k)
		}
	}
	return own, nil
}

// Find returns the keys of the service account, or of the whole project if none is configured, whose names begin with the prefix.
func (i *Issuer) Find(ctx context.Context, prefix string) ([]rotation.Key, error) {
	all, err := i.list(ctx, "find")
	if err != nil {
		return nil, err
	}
	var keys []rotation.Key
	for _, k := range all {
		if name := i.name(k); strings.HasPrefix(name, prefix) {
			keys = append(keys, k.key(name))
		}
	}
	return keys, nil
}

// Identify returns the id of the key that is shown with the beginning and the end of a stored key.
func (i *Issuer) Identify(ctx context.Context, value secrets.Value) (string, error) {
	all, err := i.list(ctx, "identify")
	if err != nil {
		return "", err
	}
	return rotation.IdentifyByHint(value, all, key.hint)
}

// Revoke deletes a key, and the service account that was made with it. The account goes first: should the key's own deletion fail, the key
// still tells next time whose it is; and an older API does not delete the key of an account that is there.
func (i *Issuer) Revoke(ctx context.Context, key rotation.Key) error {
	if !idForm.MatchString(key.ID) {
		return foreign()
	}
	if i.options.ServiceAccountID == "" {
		if gone, err := i.revokeAccount(ctx, key); gone || err != nil {
			return err
		}
	}
	reply, err := i.call(ctx, http.MethodDelete, "/api_keys/"+key.ID)
	switch {
	case err != nil:
		return err
	case reply.Status == http.StatusBadRequest && reply.IsObject():
		return reply.Refused("OpenAI does not delete this key of a service account; delete it in the console, and leave service_account_id out, so that each key gets an account of its own")
	}
	return reply.Ended()
}

func foreign() error {
	return &rotation.Error{Op: "revoke", Reason: "the key's id is none of OpenAI's", Err: rotation.ErrRefused}
}

// revokeAccount deletes the service account that a key was made with. Gone says that the key itself is not there any more.
func (i *Issuer) revokeAccount(ctx context.Context, k rotation.Key) (gone bool, err error) {
	reply, err := i.call(ctx, http.MethodGet, "/api_keys/"+k.ID)
	if err != nil || reply.Gone() {
		return err == nil, err
	}
	var found key
	if err := reply.Decode(&found); err != nil {
		return false, err
	}
	if found.ID != k.ID {
		return false, reply.Malformed()
	}
	account := found.Owner.ServiceAccount
	if account.ID == "" || !strings.HasPrefix(account.Name, i.options.Prefix) {
		return false, nil
	}
	reply, err = i.call(ctx, http.MethodDelete, "/service_accounts/"+url.PathEscape(account.ID))
	if err != nil {
		return false, err
	}
	return false, reply.Ended()
}

func (i *Issuer) call(ctx context.Context, method, path string) (rotation.Reply, error) {
	return i.admin.Call(ctx, rotation.Call{Purpose: rotation.Purpose{Op: "revoke", Needs: needs}, Method: method, URL: i.project + path})
}

// Verify lists the models with the key.
func (i *Issuer) Verify(ctx context.Context, value secrets.Value) error {
	return i.proof.Prove(ctx, rotation.Proof{URL: i.base + "/models", Name: "Authorization", Prefix: "Bearer ", Member: "data"}, value)
}
