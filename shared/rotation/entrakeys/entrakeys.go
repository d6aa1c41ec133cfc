// Package entrakeys adds and removes the client secrets of an app registration in Microsoft Entra ID through Microsoft Graph
// (https://learn.microsoft.com/graph/api/application-addpassword).
//
// A new secret takes from seconds to minutes until all of Entra's servers know it, and until then some accept it and others do not. A federated
// credential needs no rotation at all, and is to be preferred where the platform has an identity of its own.
//
// The package must not know where secrets are stored, nor whose tokens it is given.
package entrakeys

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

// Where Microsoft Graph is, and the scopes of its tokens, in the clouds of Azure.
const (
	Public       = "https://graph.microsoft.com"
	USGovernment = "https://graph.microsoft.us"
	China        = "https://microsoftgraph.chinacloudapi.cn"

	PublicScope       = Public + "/.default"
	USGovernmentScope = USGovernment + "/.default"
	ChinaScope        = China + "/.default"
)

const (
	publicAuthority = "https://login.microsoftonline.com"
	// aiServices is the scope of tokens for Azure OpenAI, which secrets are tried with.
	aiServices = "https://cognitiveservices.azure.com/.default"
	needs      = "the app role Application.ReadWrite.OwnedBy, and to be an owner of the app registration"
)

// Options says whose secrets they are, and how they are asked for.
type Options struct {
	// ObjectID is the object id of the app registration. It is not the client id.
	ObjectID string
	// TenantID and ClientID are those of the app registration. They may be left out where the stored secret is JSON that has them.
	TenantID, ClientID string
	// Scope is what a secret is tried with. Empty means that of Azure OpenAI.
	Scope string
	// Authorizer puts a token for Microsoft Graph on requests. Whom it stands for needs Application.ReadWrite.OwnedBy, and to be an owner of the
	// app registration.
	Authorizer secrets.Authorizer
	// Endpoint is where Microsoft Graph is. Empty means [Public].
	Endpoint string
	// Authority is where tokens are had. Empty means https://login.microsoftonline.com.
	Authority string
	// Transport sends the requests. Nil means [http.DefaultTransport].
	Transport http.RoundTripper
	// Timeout bounds one request. Zero means what [rotation.Remote] has.
	Timeout time.Duration
}

var (
	idForm     = regexp.MustCompile(`^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`)
	tenantForm = regexp.MustCompile(`^[0-9a-zA-Z][0-9a-zA-Z.-]{0,252}$`)
)

// Issuer makes the client secrets of one app registration. It is safe for concurrent use.
type Issuer struct {
	app               app
	application       string
	authority, scope  string
	directory, tokens rotation.Remote
}

// app is an app registration as tokens are asked for it. Its secret is secret.
type app struct{ tenant, client, secret string }

// New returns an issuer. It makes no network call.
func New(options Options) (*Issuer, error) {
	switch {
	case !idForm.MatchString(options.ObjectID):
		return nil, errors.New("rotating a client secret needs application_object_id, the object id of the app registration (not its client id)")
	case options.TenantID != "" && !tenantForm.MatchString(options.TenantID):
		return nil, errors.New("azure_tenant_id has to be the id or a domain of the tenant")
	case options.Authorizer == nil:
		return nil, errors.New("rotating a client secret needs an identity of the function's own")
	}
	graph, err := rotation.Endpoint(cmp.Or(options.Endpoint, Public))
	if err != nil {
		return nil, err
	}
	authority, err := rotation.Endpoint(cmp.Or(options.Authority, publicAuthority))
	if err != nil {
		return nil, err
	}
	client := secrets.Bounded(options.Transport)
	return &Issuer{
		app: app{tenant: options.TenantID, client: options.ClientID}, application: graph + "/v1.0/applications/" + options.ObjectID,
		authority: authority, scope: cmp.Or(options.Scope, aiServices),
		directory: rotation.Remote{Service: "Microsoft Graph", HTTP: client, Admin: options.Authorizer, Timeout: options.Timeout},
		tokens:    rotation.Remote{Service: "Microsoft Entra", HTTP: client, Timeout: options.Timeout},
	}, nil
}

// Traits implements [rotation.Issuer]. Tokens outlive the secret that they were had with.
func (i *Issuer) Traits() rotation.Traits {
	return rotation.Traits{
		Overlap: rotation.Parallel, Recovery: rotation.Listed, Named: true, Lasting: true, Expiry: true,
		Successes: 3, Propagation: 10 * time.Minute,
	}
}

// password is a client secret as Graph describes it. Its text is there when it is new.
type password struct {
	ID     string    `json:"keyId"`
	Name   string    `json:"displayName"`
	Hint   string    `json:"hint"`
	Begins time.Time `json:"startDateTime"`
	Ends   time.Time `json:"endDateTime"`
	Text   string    `json:"secretText"`
}

func (p password) key() rotation.Key {
	return rotation.Key{ID: p.ID, Name: p.Name, Created: p.Begins, Expires: p.Ends}
}

// Create implements [rotation.Issuer].
func (i *Issuer) Create(ctx context.Context, order rotation.Order) (rotation.Issued, error) {
	type wanted struct {
		Name string    `json:"displayName"`
		Ends time.Time `json:"endDateTime,omitzero"`
	}
	reply, err := i.directory.Call(ctx, rotation.Call{
		Purpose: rotation.Purpose{Op: "create", Needs: needs}, Method: http.MethodPost, URL: i.application + "/addPassword",
		Body: struct {
			Password wanted `json:"passwordCredential"`
		}{wanted{order.Name, order.Expires.UTC()}},
	})
	if err != nil {
		return rotation.Issued{}, err
	}
	if reply.Status != http.StatusOK {
		return rotation.Issued{}, explain(reply)
	}
	var made password
	if err := reply.Decode(&made); err != nil {
		return rotation.Issued{}, err
	}
	if made.ID == "" || made.Text == "" {
		return rotation.Issued{}, reply.Malformed()
	}
	value, err := i.content(order.Content, made.Text)
	if err != nil {
		return rotation.Issued{}, reply.Malformed()
	}
	return rotation.Issued{Key: made.key(), Value: value}, nil
}

// content returns what is to be stored: what is stored now, with another secret in it.
func (i *Issuer) content(stored secrets.Value, secret string) (secrets.Value, error) {
	members, ok := rotation.ParseContent(stored)
	switch {
	case ok:
		delete(members, "certificate") // An app shows who it is in one way.
		return members.With(map[string]string{"client_secret": secret})
	case stored.IsZero() && i.app.tenant != "" && i.app.client != "":
		return members.With(map[string]string{"tenant_id": i.app.tenant, "client_id": i.app.client, "client_secret": secret})
	}
	return secrets.NewValue(secret), nil
}

// parse reads what is stored.
func (i *Issuer) parse(stored secrets.Value) app {
	members, ok := rotation.ParseContent(stored)
	if !ok {
		return app{i.app.tenant, i.app.client, strings.TrimSpace(stored.Reveal())}
	}
	return app{cmp.Or(members.Text("tenant_id"), i.app.tenant), cmp.Or(members.Text("client_id"), i.app.client), members.Text("client_secret")}
}

// application is the app registration as Graph describes it.
type application struct {
	ClientID  string      `json:"appId"`
	Passwords *[]password `json:"passwordCredentials"`
}

func (i *Issuer) get(ctx context.Context, op string) (application, error) {
	reply, err := i.directory.Call(ctx, rotation.Call{
		Purpose: rotation.Purpose{Op: op, Needs: needs}, Method: http.MethodGet, URL: i.application + "?$select=appId,passwordCredentials",
	})
	if err != nil {
		return application{}, err
	}
	if reply.Status != http.StatusOK {
		return application{}, explain(reply)
	}
	var found application
	if err := reply.Decode(&found); err != nil {
		return application{}, err
	}
	if found.Passwords == nil || slices.ContainsFunc(*found.Passwords, func(p password) bool { return p.ID == "" }) {
		return application{}, reply.Malformed()
	}
	return found, nil
}

// Find implements [rotation.Issuer].
func (i *Issuer) Find(ctx context.Context, prefix string) ([]rotation.Key, error) {
	found, err := i.get(ctx, "find")
	if err != nil {
		return nil, err
	}
	var keys []rotation.Key
	for _, p := range *found.Passwords {
		if strings.HasPrefix(p.Name, prefix) {
			keys = append(keys, p.key())
		}
	}
	return keys, nil
}

// Revoke implements [rotation.Issuer].
func (i *Issuer) Revoke(ctx context.Context, key rotation.Key) error {
	reply, err := i.directory.Call(ctx, rotation.Call{
		Purpose: rotation.Purpose{Op: "revoke", Needs: needs}, Method: http.MethodPost, URL: i.application + "/removePassword",
		Body: struct {
			ID string `json:"keyId"`
		}{key.ID},
	})
	switch {
	case err != nil:
		return err
	case reply.Status == http.StatusNoContent || reply.Status == http.StatusOK:
		return nil
	case reply.Status != http.StatusBadRequest:
		return explain(reply)
	}
	// A secret that is gone is refused like a bad request. The list tells which it was.
	found, err := i.get(ctx, "revoke")
	if err != nil {
		return err
	}
	if slices.ContainsFunc(*found.Passwords, func(p password) bool { return p.ID == key.ID }) {
		return explain(reply)
	}
	return nil
}

// Identify implements [rotation.Identifier]. Of a secret, Graph tells the first three characters.
func (i *Issuer) Identify(ctx context.Context, value secrets.Value) (string, error) {
	stored := i.parse(value)
	found, err := i.get(ctx, "identify")
	if err != nil || stored.client != "" && !strings.EqualFold(stored.client, found.ClientID) {
		return "", err
	}
	id := ""
	for _, p := range *found.Passwords {
		if len(p.Hint) < 3 || len(stored.secret) < 2*len(p.Hint) || !strings.HasPrefix(stored.secret, p.Hint) {
			continue
		}
		if id != "" {
			return "", &rotation.Error{Op: "identify", Reason: "more than one client secret begins like the stored one", Err: rotation.ErrRefused}
		}
		id = p.ID
	}
	return id, nil
}

// explain says in our own words why Graph refused. What it wrote is not shown, because it names apps and callers.
func explain(reply rotation.Reply) error {
	var out struct {
		Error struct {
			Code string `json:"code"`
		} `json:"error"`
	}
	_ = json.Unmarshal(reply.Body, &out)
	switch code := out.Error.Code; {
	case code == "Request_ResourceNotFound":
		return reply.Refused("Entra has no such app registration; application_object_id has to be its object id, not its client id")
	case strings.HasSuffix(code, "AsPerAppPolicy"):
		return reply.Refused("a policy of the tenant does not allow such client secrets (" + policy(code) + "); use a federated credential instead")
	case code == "Directory_ConcurrencyViolation" || reply.Status == http.StatusConflict && code != "":
		return reply.Throttled("the app registration is being changed by somebody else")
	}
	return reply.Unexpected()
}

// policy names what an app management policy forbids (https://learn.microsoft.com/graph/api/resources/applicationauthenticationmethodpolicy).
func policy(code string) string {
	if strings.Contains(code, "Lifetime") {
		return "their life is too long"
	}
	return "there may be none"
}

// Verify implements [rotation.Verifier]. It gets a token.
func (i *Issuer) Verify(ctx context.Context, value secrets.Value) error {
	stored := i.parse(value)
	if !tenantForm.MatchString(stored.tenant) || stored.client == "" || stored.secret == "" {
		return &rotation.Error{Op: "verify", Err: rotation.ErrRefused, Reason: "the tenant, the client id or the client secret is missing; " +
			"store {tenant_id, client_id, client_secret}, or set azure_tenant_id and azure_client_id"}
	}
	return i.tokens.Grant(ctx, rotation.Grant{
		URL: i.authority + "/" + stored.tenant + "/oauth2/v2.0/token", Judge: judge,
		Form: url.Values{"grant_type": {"client_credentials"}, "client_id": {stored.client}, "client_secret": {stored.secret}, "scope": {i.scope}},
	})
}

// judge tells a secret that is not accepted from an app registration that there is not
// (https://learn.microsoft.com/entra/identity-platform/reference-error-codes).
func judge(reply rotation.Reply) error {
	var out struct {
		Codes []int `json:"error_codes"`
	}
	_ = json.Unmarshal(reply.Body, &out)
	for _, code := range out.Codes {
		switch code {
		case 7000215:
			return reply.Rejected("Entra does not accept the client secret (AADSTS7000215)")
		case 7000222:
			return reply.Rejected("the client secret has expired (AADSTS7000222)")
		case 700016, 90002:
			return reply.Refused("Entra has no such app registration in the tenant; check azure_tenant_id and azure_client_id")
		}
	}
	return nil
}
