// Package openrouterkeys makes and revokes OpenRouter API keys by its management API (https://openrouter.ai/docs/api/api-reference/api-keys).
// Keys can be given a limit of spending and an end of their own, which hold even when nothing rotates any more.
//
// The package must not know where keys are stored, nor when they are rotated.
package openrouterkeys

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/postern-ai/postern/shared/rotation"
	"github.com/postern-ai/postern/shared/secrets"
)

// globalHost is where OpenRouter is.
const globalHost = "https://openrouter.ai"

// Options says whose keys these are.
type Options struct {
	// Admin puts a management key on a request, as Authorization: Bearer.
	Admin secrets.Authorizer
	// WorkspaceID is the workspace of the keys. Empty means the default one.
	WorkspaceID string
	// Limit is how much a key may spend, in USD. Zero means that there is no limit.
	Limit float64
	// LimitReset is when the spending is forgotten: daily, weekly or monthly. Empty means never.
	LimitReset string
	// Endpoint replaces OpenRouter's own address.
	Endpoint string
	// Transport sends the requests. Nil means [http.DefaultTransport].
	Transport http.RoundTripper
	// Timeout bounds one request. Zero means 10 s.
	Timeout time.Duration
}

// Issuer makes OpenRouter keys. It is safe for concurrent use.
type Issuer struct {
	options Options
	base    string
	admin   rotation.Remote
	proof   rotation.Remote
}

// New returns an issuer. It makes no network call.
func New(options Options) (*Issuer, error) {
	switch {
	case options.Admin == nil:
		return nil, errors.New("rotating OpenRouter keys needs a management key; set admin_ref")
	case options.Limit < 0:
		return nil, errors.New("spend_limit must not be negative")
	case options.LimitReset != "" && options.LimitReset != "daily" && options.LimitReset != "weekly" && options.LimitReset != "monthly":
		return nil, errors.New("limit_reset must be daily, weekly or monthly")
	}
	base, err := rotation.Endpoint(cmp.Or(options.Endpoint, globalHost))
	if err != nil {
		return nil, err
	}
	proof := rotation.Remote{Service: "OpenRouter", HTTP: secrets.Bounded(options.Transport), Timeout: options.Timeout}
	admin := proof
	admin.Admin = options.Admin
	return &Issuer{options: options, base: base + "/api/v1", admin: admin, proof: proof}, nil
}

// Traits returns what OpenRouter's keys are like.
func (i *Issuer) Traits() rotation.Traits {
	return rotation.Traits{Overlap: rotation.Parallel, Recovery: rotation.Listed, Named: true, Expiry: true}
}

// needs is what the admin credential has to be.
const needs = "to be a management key"

// key is a key as the API shows it.
type key struct {
	Hash      string    `json:"hash"`
	Name      string    `json:"name"`
	Label     string    `json:"label"`
	Disabled  bool      `json:"disabled"`
	CreatedAt time.Time `json:"created_at"`
	ExpiresAt time.Time `json:"expires_at"`
}

func (k key) key() rotation.Key {
	return rotation.Key{ID: k.Hash, Name: k.Name, Created: k.CreatedAt, Expires: k.ExpiresAt, Disabled: k.Disabled}
}

func (k key) hint() rotation.Hint { return rotation.Hint{ID: k.Hash, Text: k.Label} }

// Create makes a key.
func (i *Issuer) Create(ctx context.Context, order rotation.Order) (rotation.Issued, error) {
	reply, err := i.admin.Call(ctx, rotation.Call{
		Purpose: rotation.Purpose{Op: "create", Needs: needs}, Method: http.MethodPost, URL: i.base + "/keys",
		Body: struct {
			Name        string    `json:"name"`
			WorkspaceID string    `json:"workspace_id,omitzero"`
			Limit       float64   `json:"limit,omitzero"`
			LimitReset  string    `json:"limit_reset,omitzero"`
			ExpiresAt   time.Time `json:"expires_at,omitzero"`
		}{order.Name, i.options.WorkspaceID, i.options.Limit, i.options.LimitReset, order.Expires.UTC()},
	})
	switch {
	case err != nil:
		return rotation.Issued{}, err
	case reply.Status == http.StatusBadRequest && reply.IsObject():
		return rotation.Issued{}, reply.Refused("OpenRouter does not take the order (400); check workspace_id and spend_limit")
	}
	var out struct {
		Data key    `json:"data"`
		Key  string `json:"key"`
	}
	if err := reply.Decode(&out); err != nil {
		return rotation.Issued{}, err
	}
	if out.Key == "" || out.Data.Hash == "" {
		return rotation.Issued{}, reply.Malformed()
	}
	return rotation.Issued{Key: out.Data.key(), Value: secrets.NewValue(out.Key)}, nil
}

// list reads all keys of the workspace.
func (i *Issuer) list(ctx context.Context, op string) ([]key, error) {
	var all []key
	err := rotation.Pages(op, func(cursor string) (string, error) {
		query := url.Values{"include_disabled": {"true"}}
		if cursor != "" {
			query.Set("offset", cursor)
		}
		if i.options.WorkspaceID != "" {
			query.Set("workspace_id", i.options.WorkspaceID)
		}
		reply, err := i.admin.Call(ctx, rotation.Call{
			Purpose: rotation.Purpose{Op: op, Needs: needs}, Method: http.MethodGet, URL: i.base + "/keys?" + query.Encode(),
		})
		if err != nil {
			return "", err
		}
		var out struct {
			Data []key `json:"data"`
		}
		if err := reply.Decode(&out); err != nil {
			return "", err
		}
		if out.Data == nil {
			return "", reply.Malformed()
		}
		// How many keys a page has is not told, so the list ends with an empty one.
		if len(out.Data) == 0 {
			return "", nil
		}
		all = append(all, out.Data...)
		return strconv.Itoa(len(all)), nil
	})
	return all, err
}

// Find returns the keys of the workspace whose names begin with the prefix.
func (i *Issuer) Find(ctx context.Context, prefix string) ([]rotation.Key, error) {
	all, err := i.list(ctx, "find")
	if err != nil {
		return nil, err
	}
	var keys []rotation.Key
	seen := map[string]bool{}
	for _, k := range all {
		// A key that is made while the list is read moves the ones after it to the next page.
		if strings.HasPrefix(k.Name, prefix) && !seen[k.Hash] {
			seen[k.Hash] = true
			keys = append(keys, k.key())
		}
	}
	return keys, nil
}

// Identify returns the id of the key whose label shows the beginning and the end of a stored key.
func (i *Issuer) Identify(ctx context.Context, value secrets.Value) (string, error) {
	all, err := i.list(ctx, "identify")
	if err != nil {
		return "", err
	}
	return rotation.IdentifyByHint(value, all, key.hint)
}

// one returns the address of a key.
func (i *Issuer) one(key rotation.Key) string { return i.base + "/keys/" + url.PathEscape(key.ID) }

// Revoke deletes a key.
func (i *Issuer) Revoke(ctx context.Context, key rotation.Key) error {
	reply, err := i.admin.Call(ctx, rotation.Call{Purpose: rotation.Purpose{Op: "revoke", Needs: needs}, Method: http.MethodDelete, URL: i.one(key)})
	if err != nil {
		return err
	}
	return reply.Ended()
}

// Disable stops a key.
func (i *Issuer) Disable(ctx context.Context, key rotation.Key) error {
	reply, err := i.set(ctx, rotation.Purpose{Op: "disable", Needs: needs}, change{key: key, disabled: true})
	if err != nil {
		return err
	}
	return reply.Ended()
}

// Enable starts a key.
func (i *Issuer) Enable(ctx context.Context, key rotation.Key) error {
	reply, err := i.set(ctx, rotation.Purpose{Op: "enable", Needs: needs}, change{key: key})
	if err != nil {
		return err
	}
	return reply.Decode(&struct{}{})
}

type change struct {
	key      rotation.Key
	disabled bool
}

func (i *Issuer) set(ctx context.Context, purpose rotation.Purpose, to change) (rotation.Reply, error) {
	return i.admin.Call(ctx, rotation.Call{Purpose: purpose, Method: http.MethodPatch, URL: i.one(to.key), Body: map[string]bool{"disabled": to.disabled}})
}

// Verify asks OpenRouter about the key, with the key itself.
func (i *Issuer) Verify(ctx context.Context, value secrets.Value) error {
	return i.proof.Prove(ctx, rotation.Proof{URL: i.base + "/key", Name: "Authorization", Prefix: "Bearer ", Member: "data"}, value)
}
