package gcpkeys

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/postern-ai/postern/shared/rotation"
	"github.com/postern-ai/postern/shared/secrets"
)

const (
	iam      = "https://iam.googleapis.com"
	tokenURL = "https://oauth2.googleapis.com/token"
	// cloudPlatform is the scope of the tokens that keys are tried with.
	cloudPlatform = "https://www.googleapis.com/auth/cloud-platform"
	// maxAccountKeys is how many keys a service account may have (https://cloud.google.com/iam/quotas).
	maxAccountKeys = 10
)

// AccountOptions says whose keys they are, and how they are asked for.
type AccountOptions struct {
	// Email is the service account.
	Email string
	// Authorizer puts an access token for Google Cloud on requests. Whom it stands for needs iam.serviceAccountKeys.create, list, disable, enable
	// and delete on the service account (roles/iam.serviceAccountKeyAdmin).
	Authorizer secrets.Authorizer
	// Endpoint replaces that of the IAM API, and TokenEndpoint that of the token endpoint.
	Endpoint, TokenEndpoint string
	// Transport sends the requests. Nil means [http.DefaultTransport].
	Transport http.RoundTripper
	// Timeout bounds one request. Zero means what [rotation.Remote] has.
	Timeout time.Duration
}

var emailForm = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{0,62}@([a-z0-9][a-z0-9.:-]{0,62})\.gserviceaccount\.com$`)

// AccountKeys is a [rotation.Issuer] of the keys of a service account. Each key is made here, and Google gets a certificate of its public half. It
// is safe for concurrent use.
type AccountKeys struct {
	email, keys, tokenURL string
	remote, tokens        rotation.Remote
	generate              generator
}

// NewAccountKeys returns an AccountKeys. It makes no network call.
func NewAccountKeys(options AccountOptions) (*AccountKeys, error) {
	parts := emailForm.FindStringSubmatch(options.Email)
	switch {
	case parts == nil:
		return nil, errors.New("rotating the keys of a service account needs service_account_email, such as postern@my-project.iam.gserviceaccount.com")
	case options.Authorizer == nil:
		return nil, errors.New("rotating the keys of a service account needs an identity of the function's own")
	}
	// The accounts that Google itself makes do not say in which project they are.
	project, ok := strings.CutSuffix(parts[1], ".iam")
	if !ok {
		project = "-"
	}
	base, err := rotation.Endpoint(cmp.Or(options.Endpoint, iam))
	if err != nil {
		return nil, err
	}
	token, err := rotation.Endpoint(cmp.Or(options.TokenEndpoint, tokenURL))
	if err != nil {
		return nil, err
	}
	client := secrets.Bounded(options.Transport)
	return &AccountKeys{
		email: options.Email, tokenURL: token, generate: generateRSA,
		keys:   base + "/v1/projects/" + url.PathEscape(project) + "/serviceAccounts/" + url.PathEscape(options.Email) + "/keys",
		remote: rotation.Remote{Service: "Google IAM", HTTP: client, Admin: options.Authorizer, Timeout: options.Timeout},
		tokens: rotation.Remote{Service: "Google", HTTP: client, Timeout: options.Timeout},
	}, nil
}

// Traits implements [rotation.Issuer]. Tokens outlive the key that they were had with.
func (k *AccountKeys) Traits() rotation.Traits {
	return rotation.Traits{
		Overlap: rotation.Parallel, Recovery: rotation.Chosen, Lasting: true, Expiry: true,
		MaxLive: maxAccountKeys, Successes: 3, Propagation: 5 * time.Minute,
	}
}

// accountKey is a key as the API describes it.
type accountKey struct {
	Name     string    `json:"name"`
	Type     string    `json:"keyType"`
	After    time.Time `json:"validAfterTime"`
	Before   time.Time `json:"validBeforeTime"`
	Disabled bool      `json:"disabled"`
}

// forever is the year of the end of keys that have none.
const forever = 9999

func (a accountKey) key() rotation.Key {
	key := rotation.Key{ID: last(a.Name), Created: a.After, Expires: a.Before, Disabled: a.Disabled}
	if a.Before.Year() >= forever {
		key.Expires = time.Time{}
	}
	return key
}

// operation is an operation of the API on one key, or on all of them.
type operation struct {
	op, method, path string
	// permission is the last part of the permission that it needs.
	permission string
	body       any
}

func (k *AccountKeys) call(ctx context.Context, o operation) (rotation.Reply, error) {
	reply, err := k.remote.Call(ctx, rotation.Call{
		Purpose: rotation.Purpose{Op: o.op, Needs: "iam.serviceAccountKeys." + o.permission + " on the service account (roles/iam.serviceAccountKeyAdmin)"},
		Method:  o.method, URL: k.keys + o.path, Body: o.body,
	})
	if err != nil || reply.Status == http.StatusOK {
		return reply, err
	}
	out := refusalOf(reply)
	if err := common(reply, out); err != nil {
		return reply, err
	}
	switch {
	case reply.Status == http.StatusNotFound && out.Status == "NOT_FOUND":
		return reply, reply.Refused("Google has no such key or service account; check service_account_email")
	case reply.Status == http.StatusBadRequest && out.Status == "FAILED_PRECONDITION" && o.op == "create":
		return reply, reply.Refused("Google takes no more keys of the service account; it has ten already, or an organization policy does not allow them" + keyless)
	}
	return reply, reply.Unexpected()
}

// gone reports whether a key that was asked for is not there.
func gone(reply rotation.Reply) bool {
	return reply.Status == http.StatusNotFound && refusalOf(reply).Status == "NOT_FOUND"
}

// Create implements [rotation.Issuer]. It uploads the certificate of the chosen key. Done again, it finds that Google has it.
func (k *AccountKeys) Create(ctx context.Context, order rotation.Order) (rotation.Issued, error) {
	certificate, ok := certificateOf(order.Chosen)
	if !ok {
		return rotation.Issued{}, &rotation.Error{Op: "create", Reason: "no key has been chosen", Err: rotation.ErrRefused}
	}
	reply, err := k.call(ctx, operation{op: "create", method: http.MethodPost, path: ":upload", permission: "create", body: struct {
		PublicKeyData []byte `json:"publicKeyData"`
	}{certificate.pem}})
	if reply.Status == http.StatusConflict && refusalOf(reply).Status == "ALREADY_EXISTS" {
		// Nobody else has this certificate, so it is an earlier upload whose reply was lost.
		return rotation.Issued{Key: rotation.Key{ID: certificate.id, Expires: certificate.ends}}, nil
	}
	if err != nil {
		return rotation.Issued{}, err
	}
	var made accountKey
	if err := reply.Decode(&made); err != nil {
		return rotation.Issued{}, err
	}
	if last(made.Name) == "" {
		return rotation.Issued{}, reply.Malformed()
	}
	return rotation.Issued{Key: made.key()}, nil
}

// Find implements [rotation.Issuer]. The keys have no names, so it returns all but Google's own.
func (k *AccountKeys) Find(ctx context.Context, _ string) ([]rotation.Key, error) {
	return k.list(ctx, "find")
}

func (k *AccountKeys) list(ctx context.Context, op string) ([]rotation.Key, error) {
	reply, err := k.call(ctx, operation{op: op, method: http.MethodGet, permission: "list"})
	if err != nil {
		return nil, err
	}
	var out struct {
		Keys []accountKey `json:"keys"`
	}
	if err := reply.Decode(&out); err != nil {
		return nil, err
	}
	// Every service account has a key that Google manages. A list without one is not that of this API.
	if !slices.ContainsFunc(out.Keys, func(a accountKey) bool { return a.Type == "SYSTEM_MANAGED" }) {
		return nil, reply.Malformed()
	}
	var keys []rotation.Key
	for _, listed := range out.Keys {
		if listed.Type != "SYSTEM_MANAGED" {
			keys = append(keys, listed.key())
		}
	}
	return keys, nil
}

// Revoke implements [rotation.Issuer].
func (k *AccountKeys) Revoke(ctx context.Context, key rotation.Key) error {
	return k.change(ctx, key, operation{op: "revoke", method: http.MethodDelete, permission: "delete"})
}

// Disable implements [rotation.Disabler].
func (k *AccountKeys) Disable(ctx context.Context, key rotation.Key) error {
	return k.change(ctx, key, operation{op: "disable", method: http.MethodPost, path: ":disable", permission: "disable", body: struct{}{}})
}

// Enable implements [rotation.Disabler].
func (k *AccountKeys) Enable(ctx context.Context, key rotation.Key) error {
	return k.change(ctx, key, operation{op: "enable", method: http.MethodPost, path: ":enable", permission: "enable", body: struct{}{}})
}

// change does an operation on one key. One that is gone can only not be started.
func (k *AccountKeys) change(ctx context.Context, key rotation.Key, o operation) error {
	o.path = "/" + url.PathEscape(key.ID) + o.path
	reply, err := k.call(ctx, o)
	if gone(reply) && o.op != "enable" {
		return nil
	}
	return err
}

// Identify implements [rotation.Identifier].
func (k *AccountKeys) Identify(ctx context.Context, value secrets.Value) (string, error) {
	members, _ := rotation.ParseContent(value)
	id := members.Text("private_key_id")
	if id == "" || members.Text("client_email") != k.email {
		return "", nil
	}
	keys, err := k.list(ctx, "identify")
	if err != nil || !slices.ContainsFunc(keys, func(key rotation.Key) bool { return key.ID == id }) {
		return "", err
	}
	return id, nil
}

// Verify implements [rotation.Verifier]. It gets an access token.
func (k *AccountKeys) Verify(ctx context.Context, value secrets.Value) error {
	failed := func(reason string, cause error) error {
		return &rotation.Error{Op: "verify", Reason: reason, Err: cause}
	}
	members, _ := rotation.ParseContent(value)
	if members.Text("client_email") != k.email {
		return failed("the secret is not a key of the service account (service_account_email)", rotation.ErrRefused)
	}
	assertion, err := assert(members)
	if err != nil {
		return failed("the secret is not a service account's key: "+err.Error(), rotation.ErrRefused)
	}
	return k.tokens.Grant(ctx, rotation.Grant{
		URL: k.tokenURL, Form: url.Values{"grant_type": {"urn:ietf:params:oauth:grant-type:jwt-bearer"}, "assertion": {assertion}},
		Judge: func(reply rotation.Reply) error {
			var out struct {
				Error string `json:"error"`
			}
			if json.Unmarshal(reply.Body, &out) == nil && out.Error == "invalid_grant" {
				return reply.Rejected("Google does not accept the key (invalid_grant)")
			}
			return nil
		},
	})
}
