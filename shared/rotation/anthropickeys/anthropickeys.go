// Package anthropickeys stops and archives Anthropic API keys by the Admin API (https://platform.claude.com/docs/en/api/admin/api_keys), and
// verifies new ones. That API makes no keys: a person does, in the Console, and stages the key in the secret store. All the rest is done here.
// Where there is no admin key either, the person also archives the old one.
//
// The package must not know where keys are stored, nor when they are rotated.
package anthropickeys

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"net/url"
	"regexp"
	"time"

	"github.com/postern-ai/postern/shared/rotation"
	"github.com/postern-ai/postern/shared/secrets"
)

const (
	globalHost = "https://api.anthropic.com"
	// version is that of the API, which every request names.
	version = "2023-06-01"
	// propagation is how long Anthropic's servers may take to learn that a key was stopped.
	propagation = time.Minute
)

// The states of a key.
const (
	active   = "active"
	inactive = "inactive"
	archived = "archived"
	expired  = "expired"
)

// idForm is that of the ids that go into paths and queries.
var idForm = regexp.MustCompile(`^[A-Za-z0-9_-]{1,128}$`)

// Options says whose keys these are.
type Options struct {
	// Admin puts an admin key on a request, as X-Api-Key. It may be nil. Then only a person can find and end keys.
	Admin secrets.Authorizer
	// WorkspaceID is the workspace of the keys, wrkspc_... . Empty means all of the organization's.
	WorkspaceID string
	// Endpoint replaces Anthropic's own address.
	Endpoint string
	// Transport sends the requests. Nil means [http.DefaultTransport].
	Transport http.RoundTripper
	// Timeout bounds one request. Zero means 10 s.
	Timeout time.Duration
}

// Issuer knows the API keys of an organization. It is safe for concurrent use.
type Issuer struct {
	options Options
	base    string
	admin   rotation.Remote
	proof   rotation.Remote
}

// New returns an issuer. It makes no network call.
func New(options Options) (*Issuer, error) {
	if options.WorkspaceID != "" && !idForm.MatchString(options.WorkspaceID) {
		return nil, errors.New("workspace_id has to be the id of an Anthropic workspace, such as wrkspc_abc")
	}
	base, err := rotation.Endpoint(cmp.Or(options.Endpoint, globalHost))
	if err != nil {
		return nil, err
	}
	proof := rotation.Remote{Service: "Anthropic", HTTP: secrets.Bounded(options.Transport), Timeout: options.Timeout}
	admin := proof
	admin.Admin = options.Admin
	return &Issuer{options: options, base: base + "/v1", admin: admin, proof: proof}, nil
}

// Traits returns what Anthropic's keys are like. Their names are for people.
func (i *Issuer) Traits() rotation.Traits {
	return rotation.Traits{Overlap: rotation.Parallel, Recovery: rotation.Assisted, Propagation: propagation}
}

// byHand is the error for what only a person can do.
func byHand(op, task string) error {
	return &rotation.Error{Op: op, Reason: task, Err: rotation.ErrRefused}
}

// Create says what a person has to do.
func (i *Issuer) Create(context.Context, rotation.Order) (rotation.Issued, error) {
	return rotation.Issued{}, byHand("create", "Anthropic's API makes no keys; make one in the Anthropic Console and stage it in the secret store")
}

// needs is what the admin credential has to be.
const needs = "to be an admin key of the organization"

// key is a key as the API shows it.
type key struct {
	ID             string    `json:"id"`
	Name           string    `json:"name"`
	PartialKeyHint string    `json:"partial_key_hint"`
	Status         string    `json:"status"`
	CreatedAt      time.Time `json:"created_at"`
	ExpiresAt      time.Time `json:"expires_at"`
}

func (k key) hint() rotation.Hint { return rotation.Hint{ID: k.ID, Text: k.PartialKeyHint} }

func header() http.Header { return http.Header{"Anthropic-Version": {version}} }

// list reads the keys that are not archived.
func (i *Issuer) list(ctx context.Context, op string) ([]key, error) {
	if i.options.Admin == nil {
		return nil, byHand(op, "without an admin key nothing is known of the organization's keys; look in the Anthropic Console, or set admin_ref")
	}
	query := url.Values{"limit": {"100"}}
	if i.options.WorkspaceID != "" {
		query.Set("workspace_id", i.options.WorkspaceID)
	}
	all, err := rotation.List[key](ctx, &i.admin, rotation.Listing{
		Purpose: rotation.Purpose{Op: op, Needs: needs}, URL: i.base + "/organizations/api_keys", Header: header(), Query: query, After: "after_id",
	})
	var living []key
	for _, k := range all {
		if k.Status != archived {
			living = append(living, k)
		}
	}
	return living, err
}

// Find returns all keys of the workspace, as their names tell nothing.
func (i *Issuer) Find(ctx context.Context, _ string) ([]rotation.Key, error) {
	all, err := i.list(ctx, "find")
	if err != nil {
		return nil, err
	}
	var keys []rotation.Key
	for _, k := range all {
		keys = append(keys, rotation.Key{ID: k.ID, Name: k.Name, Created: k.CreatedAt, Expires: k.ExpiresAt, Disabled: k.Status != active})
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

// Disable makes a key inactive.
func (i *Issuer) Disable(ctx context.Context, key rotation.Key) error {
	return i.end(ctx, "disable", change{key, inactive})
}

// Revoke archives a key.
func (i *Issuer) Revoke(ctx context.Context, key rotation.Key) error {
	return i.end(ctx, "revoke", change{key, archived})
}

// Enable makes a key active.
func (i *Issuer) Enable(ctx context.Context, key rotation.Key) error {
	reply, err := i.set(ctx, "enable", change{key, active})
	if err != nil {
		return err
	}
	return confirm(reply, active)
}

// change is the state that a key is to have.
type change struct {
	key    rotation.Key
	status string
}

// end gives a key a state in which it does not work. One that is archived has no other state any more.
func (i *Issuer) end(ctx context.Context, op string, to change) error {
	reply, err := i.set(ctx, op, to)
	if err != nil || reply.Gone() {
		return err
	}
	if reply.Status != http.StatusBadRequest {
		return confirm(reply, to.status)
	}
	found, err := i.admin.Call(ctx, rotation.Call{Purpose: rotation.Purpose{Op: op, Needs: needs}, Method: http.MethodGet, URL: i.one(to.key), Header: header()})
	if err != nil {
		return err
	}
	if found.Gone() || confirm(found, archived) == nil || confirm(found, expired) == nil {
		return nil
	}
	return reply.Unexpected()
}

func (i *Issuer) one(key rotation.Key) string { return i.base + "/organizations/api_keys/" + key.ID }

func (i *Issuer) set(ctx context.Context, op string, to change) (rotation.Reply, error) {
	if i.options.Admin == nil {
		return rotation.Reply{}, byHand(op, "without an admin key only a person can; make the key "+to.status+" in the Anthropic Console, or set admin_ref")
	}
	if !idForm.MatchString(to.key.ID) {
		return rotation.Reply{}, byHand(op, "the key's id is none of Anthropic's")
	}
	return i.admin.Call(ctx, rotation.Call{
		Purpose: rotation.Purpose{Op: op, Needs: needs}, Method: http.MethodPost, URL: i.one(to.key), Header: header(), Body: map[string]string{"status": to.status},
	})
}

// confirm expects a reply that shows a key in a state.
func confirm(reply rotation.Reply, status string) error {
	var out key
	if err := reply.Decode(&out); err != nil {
		return err
	}
	if out.Status != status {
		return reply.Malformed()
	}
	return nil
}

// Verify lists the models with the key.
func (i *Issuer) Verify(ctx context.Context, value secrets.Value) error {
	return i.proof.Prove(ctx, rotation.Proof{URL: i.base + "/models?limit=1", Name: "X-Api-Key", Header: header(), Member: "data"}, value)
}
