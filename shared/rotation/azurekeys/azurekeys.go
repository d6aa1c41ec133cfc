// Package azurekeys renews the two keys of an Azure OpenAI resource or another Azure AI Services account through Azure Resource Manager
// (https://learn.microsoft.com/azure/ai-services/rotate-keys).
//
// An account always has two keys, key1 and key2. Making a key is giving one of them a new value, which ends its old value at once, so both
// belong to the rotation alone. Nothing is ever made twice on its own: each time would end another value.
//
// The package must not know where keys are stored, nor whose tokens it is given.
package azurekeys

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/postern-ai/postern/shared/rotation"
	"github.com/postern-ai/postern/shared/secrets"
)

// Where Azure Resource Manager is, and the scopes of its tokens, in the clouds of Azure.
const (
	Public       = "https://management.azure.com"
	USGovernment = "https://management.usgovcloudapi.net"
	China        = "https://management.chinacloudapi.cn"

	PublicScope       = Public + "/.default"
	USGovernmentScope = USGovernment + "/.default"
	ChinaScope        = China + "/.default"
)

const (
	apiVersion = "2025-06-01"
	// keyless is what to do instead where keys are switched off.
	keyless = "the account takes no keys (disableLocalAuth), so there is none to rotate; remove credential_ref and let the managed identity sign (auth_type: native)"
)

// Options says whose keys they are, and how they are asked for.
type Options struct {
	// SubscriptionID, ResourceGroup and Account name the account.
	SubscriptionID, ResourceGroup, Account string
	// Resource is the address at which the account serves models, such as https://my-resource.openai.azure.com. Keys are tried there.
	Resource string
	// Authorizer puts a token for Azure Resource Manager on requests. Whom it stands for needs
	// Microsoft.CognitiveServices/accounts/listKeys/action and Microsoft.CognitiveServices/accounts/regenerateKey/action on the account.
	Authorizer secrets.Authorizer
	// Endpoint is where Azure Resource Manager is. Empty means [Public].
	Endpoint string
	// Transport sends the requests. Nil means [http.DefaultTransport].
	Transport http.RoundTripper
	// Timeout bounds one request. Zero means what [rotation.Remote] has.
	Timeout time.Duration
}

var (
	subscriptionForm = regexp.MustCompile(`^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`)
	groupForm        = regexp.MustCompile(`^[-\w.()]{0,89}[-\w()]$`)
	accountForm      = regexp.MustCompile(`^[a-zA-Z0-9][\w.-]{1,63}$`)
)

// Issuer renews the keys of one account. It is safe for concurrent use.
type Issuer struct {
	account, resource string
	manager, proof    rotation.Remote
}

// New returns an issuer. It makes no network call.
func New(options Options) (*Issuer, error) {
	switch {
	case !subscriptionForm.MatchString(options.SubscriptionID):
		return nil, errors.New("rotating the keys of an Azure account needs subscription_id, which is a UUID")
	case !groupForm.MatchString(options.ResourceGroup):
		return nil, errors.New("rotating the keys of an Azure account needs resource_group, the name of its resource group")
	case !accountForm.MatchString(options.Account):
		return nil, errors.New("rotating the keys of an Azure account needs account_name, the name of the Azure OpenAI resource")
	case options.Authorizer == nil:
		return nil, errors.New("rotating the keys of an Azure account needs an identity of the function's own")
	}
	manager, err := rotation.Endpoint(cmp.Or(options.Endpoint, Public))
	if err != nil {
		return nil, err
	}
	resource, err := rotation.Endpoint(options.Resource)
	if err != nil {
		return nil, err
	}
	client := secrets.Bounded(options.Transport)
	return &Issuer{
		account: manager + "/subscriptions/" + options.SubscriptionID + "/resourceGroups/" + options.ResourceGroup +
			"/providers/Microsoft.CognitiveServices/accounts/" + options.Account,
		resource: resource,
		manager:  rotation.Remote{Service: "Azure Resource Manager", HTTP: client, Admin: options.Authorizer, Timeout: options.Timeout},
		proof:    rotation.Remote{Service: "Azure OpenAI", HTTP: client, Timeout: options.Timeout},
	}, nil
}

// Traits implements [rotation.Issuer].
func (i *Issuer) Traits() rotation.Traits {
	return rotation.Traits{Overlap: rotation.TwoSlots, Recovery: rotation.Readable, MaxLive: 2, Successes: 3, Propagation: 5 * time.Minute}
}

// pair is the reply to both operations. It is secret.
type pair struct {
	Key1 string `json:"key1"`
	Key2 string `json:"key2"`
}

// The ids of the keys, and their names in requests.
const (
	key1 = "key1"
	key2 = "key2"
)

var keyNames = map[string]string{key1: "Key1", key2: "Key2"}

func (p pair) of(id string) secrets.Value {
	if id == key1 {
		return secrets.NewValue(p.Key1)
	}
	return secrets.NewValue(p.Key2)
}

// which returns the id of the key with a value, or the empty text.
func (p pair) which(value secrets.Value) string {
	for _, id := range []string{key1, key2} {
		if p.of(id).Equal(value) {
			return id
		}
	}
	return ""
}

func (i *Issuer) list(ctx context.Context, op string) (pair, error) {
	return i.call(ctx, op, "listKeys", nil)
}

// regenerate gives one key a new value.
func (i *Issuer) regenerate(ctx context.Context, op, id string) (pair, error) {
	name, ok := keyNames[id]
	if !ok {
		return pair{}, &rotation.Error{Op: op, Reason: "an Azure account has the keys key1 and key2 and no other", Err: rotation.ErrRefused}
	}
	return i.call(ctx, op, "regenerateKey", struct {
		KeyName string `json:"keyName"`
	}{name})
}

func (i *Issuer) call(ctx context.Context, op, operation string, body any) (pair, error) {
	reply, err := i.manager.Call(ctx, rotation.Call{
		Purpose: rotation.Purpose{Op: op, Needs: "Microsoft.CognitiveServices/accounts/" + operation + "/action on the account"},
		Method:  http.MethodPost, URL: i.account + "/" + operation + "?api-version=" + apiVersion, Body: body,
	})
	if err != nil {
		return pair{}, err
	}
	if reply.Status != http.StatusOK {
		return pair{}, explain(reply)
	}
	var keys pair
	if err := reply.Decode(&keys); err != nil {
		return pair{}, err
	}
	if keys.Key1 == "" || keys.Key2 == "" || keys.Key1 == keys.Key2 {
		return pair{}, reply.Malformed()
	}
	return keys, nil
}

// refusal is how Azure's services report errors.
type refusal struct {
	Error struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	} `json:"error"`
}

// explain says in our own words why Azure Resource Manager refused. What it wrote is not shown, because it names resources and callers.
func explain(reply rotation.Reply) error {
	var out refusal
	_ = json.Unmarshal(reply.Body, &out)
	switch code := out.Error.Code; {
	// This error has no code of its own, but its text has the name of the property.
	case reply.Status == http.StatusBadRequest && strings.Contains(out.Error.Message, "disableLocalAuth"):
		return reply.Refused(keyless)
	case slices.Contains([]string{"ResourceNotFound", "ResourceGroupNotFound", "SubscriptionNotFound", "InvalidSubscriptionId"}, code):
		return reply.Refused("Azure has no such account; check subscription_id, resource_group and account_name")
	case reply.Status == http.StatusConflict && code != "":
		return reply.Throttled("the account is being changed by somebody else (409)")
	}
	return reply.Unexpected()
}

// Create implements [rotation.Issuer]. It gives the key that is not in use a new value.
func (i *Issuer) Create(ctx context.Context, order rotation.Order) (rotation.Issued, error) {
	id, err := i.spare(ctx, order)
	if err != nil {
		return rotation.Issued{}, err
	}
	keys, err := i.regenerate(ctx, "create", id)
	if err != nil {
		return rotation.Issued{}, err
	}
	return rotation.Issued{Key: rotation.Key{ID: id}, Value: keys.of(id)}, nil
}

// spare returns the id of the key that is not in use.
func (i *Issuer) spare(ctx context.Context, order rotation.Order) (string, error) {
	current := order.Current
	if current == "" && !order.Content.IsZero() {
		keys, err := i.list(ctx, "create")
		if err != nil {
			return "", err
		}
		if current = keys.which(order.Content); current == "" {
			return "", &rotation.Error{Op: "create", Reason: "the stored key is neither of the account's; check account_name, or store one of the account's keys", Err: rotation.ErrRefused}
		}
	}
	switch current {
	case key1:
		return key2, nil
	case key2, "":
		return key1, nil
	}
	return "", &rotation.Error{Op: "create", Reason: "the key in use is neither key1 nor key2", Err: rotation.ErrRefused}
}

// Find implements [rotation.Issuer]. There are always two keys, and they have no names.
func (i *Issuer) Find(ctx context.Context, _ string) ([]rotation.Key, error) {
	if _, err := i.list(ctx, "find"); err != nil {
		return nil, err
	}
	return []rotation.Key{{ID: key1}, {ID: key2}}, nil
}

// Revoke implements [rotation.Issuer]. It gives the key a new value, which nobody gets to know.
func (i *Issuer) Revoke(ctx context.Context, key rotation.Key) error {
	_, err := i.regenerate(ctx, "revoke", key.ID)
	return err
}

// Recover implements [rotation.Recoverer].
func (i *Issuer) Recover(ctx context.Context, key rotation.Key, _ rotation.Order) (secrets.Value, error) {
	if keyNames[key.ID] == "" {
		return secrets.Value{}, &rotation.Error{Op: "recover", Reason: "an Azure account has the keys key1 and key2 and no other", Err: rotation.ErrRefused}
	}
	keys, err := i.list(ctx, "recover")
	if err != nil {
		return secrets.Value{}, err
	}
	return keys.of(key.ID), nil
}

// Identify implements [rotation.Identifier].
func (i *Issuer) Identify(ctx context.Context, value secrets.Value) (string, error) {
	keys, err := i.list(ctx, "identify")
	if err != nil {
		return "", err
	}
	return keys.which(value), nil
}

// Verify implements [rotation.Verifier]. It lists models.
func (i *Issuer) Verify(ctx context.Context, value secrets.Value) error {
	return i.proof.Prove(ctx, rotation.Proof{URL: i.resource + "/openai/v1/models", Name: "Api-Key", Member: "data", Judge: judge}, value)
}

// judge finds the refusals that have nothing to do with the key: that of an account that takes none, and that of its firewall.
func judge(reply rotation.Reply) (judged bool, err error) {
	var out refusal
	if reply.Status != http.StatusForbidden || json.Unmarshal(reply.Body, &out) != nil || out.Error.Code == "" {
		return false, nil
	}
	if out.Error.Code == "AuthenticationTypeDisabled" {
		return true, reply.Refused(keyless)
	}
	return true, reply.Refused("Azure OpenAI does not let this function in (403); allow its network in the account's firewall")
}
