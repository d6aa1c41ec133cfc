// Package entra gets tokens of Microsoft Entra ID, by way of azidentity: for the managed identity that a function runs as on Azure
// ([ManagedIdentity]), and for an app registration that shows who it is by a secret, a certificate or a token of another cloud ([App]).
//
// What that library does in a function is guarded here: it waits for 96 s where there is no managed identity, it keeps tokens in caches
// that a rejected token cannot be dropped from, it has no deadline, and its errors hold URLs and bodies.
//
// The package must not know which service the tokens are for, nor when they are fetched anew.
package entra

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/postern-ai/postern/shared/identity"
	"github.com/postern-ai/postern/shared/secrets"
)

const (
	// CognitiveServices is the scope that covers Azure OpenAI and the other inference endpoints of the public cloud.
	CognitiveServices = "https://cognitiveservices.azure.com/.default"
	// Redis is the scope that covers Azure Managed Redis.
	Redis  = "https://redis.azure.com/.default"
	source = "managed identity"
	// totalTimeout bounds a request for a token, to which azidentity itself sets no limit.
	totalTimeout = 2500 * time.Millisecond
	// anew makes azidentity ask the platform. It keeps the tokens of managed identities in a cache that all credentials of a process share
	// and looks into it at each call, except when claims are asked for; to the platform it does not send them (managedidentity.AcquireToken
	// of the MSAL library). Keeping tokens is our cache's part, which knows when one was rejected.
	anew = "{}"
)

// Options says which identity and which token are wanted. The zero value is the system-assigned identity for Azure OpenAI.
type Options struct {
	// ClientID selects a user-assigned identity. Empty means the system-assigned one. It is never taken from AZURE_CLIENT_ID.
	ClientID string
	// Scope is what the token is for, ending in /.default. Empty means CognitiveServices.
	Scope string
	// AllowInstanceMetadata lets a virtual machine's metadata service be asked where the settings of a function are missing. It is not
	// there in a function, and asking it is slow.
	AllowInstanceMetadata bool
	// HTTP sends the requests. Nil means an identity.LocalClient.
	HTTP *http.Client
}

// ManagedIdentity asks the platform for tokens. It is an [identity.TokenSource], and safe for concurrent use.
type ManagedIdentity struct {
	options Options

	mu         sync.Mutex
	credential azcore.TokenCredential
}

var _ identity.TokenSource = (*ManagedIdentity)(nil)

// New returns a source that has asked for nothing yet.
func New(options Options) *ManagedIdentity {
	options.Scope = cmp.Or(options.Scope, CognitiveServices)
	if options.HTTP == nil {
		options.HTTP = identity.LocalClient()
	}
	return &ManagedIdentity{options: options}
}

// Token gets an access token for the managed identity.
func (m *ManagedIdentity) Token(ctx context.Context) (result identity.Token, err error) {
	defer func() { identity.TriedToken(ctx, source, &result, &err) }()
	if err := m.present(); err != nil {
		return identity.Token{}, err
	}
	credential, err := m.load()
	if err != nil {
		return identity.Token{}, &identity.Error{Public: "the managed identity's settings cannot be used", Err: err}
	}
	ctx, cancel := context.WithTimeout(ctx, totalTimeout)
	defer cancel()
	ctx, seen := observe(ctx)
	got, err := credential.GetToken(ctx, policy.TokenRequestOptions{Scopes: []string{m.options.Scope}, Claims: anew})
	if err != nil {
		return identity.Token{}, m.explain(ctx, err, seen)
	}
	value := secrets.NewValue(got.Token)
	return identity.Token{Value: value, Expires: got.ExpiresOn.Round(0), Principal: m.principal(value)}, nil
}

// present refuses at once where azidentity would take the missing settings for those of a virtual machine and ask its metadata service,
// seven times.
func (m *ManagedIdentity) present() error {
	endpoint, header := os.Getenv("IDENTITY_ENDPOINT") != "", os.Getenv("IDENTITY_HEADER") != ""
	switch {
	case endpoint && header, m.options.AllowInstanceMetadata:
		return nil
	case endpoint:
		return &identity.Error{Public: "IDENTITY_ENDPOINT is set without IDENTITY_HEADER; the platform sets both when the function has a managed identity"}
	case header:
		return &identity.Error{Public: "IDENTITY_HEADER is set without IDENTITY_ENDPOINT; the platform sets both when the function has a managed identity"}
	}
	return &identity.Error{Public: "no Azure identity: IDENTITY_ENDPOINT and IDENTITY_HEADER are not set. The platform sets them when the function runs on Azure and has a " +
		"managed identity; assign one to the function app"}
}

func (m *ManagedIdentity) load() (azcore.TokenCredential, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.credential != nil {
		return m.credential, nil
	}
	settings := azidentity.ManagedIdentityCredentialOptions{ClientOptions: azcore.ClientOptions{
		Transport: transporter{m.options.HTTP},
		// Trying again is for the next request.
		Retry:     policy.RetryOptions{MaxRetries: -1},
		Telemetry: policy.TelemetryOptions{Disabled: true},
	}}
	if m.options.ClientID != "" {
		settings.ID = azidentity.ClientID(m.options.ClientID)
	}
	credential, err := azidentity.NewManagedIdentityCredential(&settings)
	if err != nil {
		return nil, err
	}
	m.credential = credential
	return credential, nil
}

// principal names the identity: as it was selected, or else as its own token names it.
func (m *ManagedIdentity) principal(token secrets.Value) identity.Principal {
	if m.options.ClientID != "" {
		return identity.Principal{Name: m.options.ClientID, Source: source}
	}
	var claims struct {
		AppID    string `json:"appid"`
		AZP      string `json:"azp"`
		ObjectID string `json:"oid"`
	}
	// A token that cannot be looked into is as good as another.
	_ = identity.UnverifiedClaims(token, &claims)
	for _, name := range []string{claims.AppID, claims.AZP, claims.ObjectID} {
		if isID(name) {
			return identity.Principal{Name: name, Source: source}
		}
	}
	return identity.Principal{Name: "system-assigned identity", Source: source}
}

// isID keeps anything but an id out of the log.
func isID(text string) bool {
	return text != "" && len(text) <= 64 && !strings.ContainsFunc(text, func(c rune) bool {
		return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-'
	})
}

// explain says what failed in words of our own: azidentity's hold the URL and the body of the answer.
func (m *ManagedIdentity) explain(ctx context.Context, err error, seen *observation) error {
	if ended := ctx.Err(); ended != nil {
		return &identity.Error{Public: "the managed identity endpoint does not answer", Err: errors.Join(ended, err), Retryable: true}
	}
	status, cause := seen.result()
	switch {
	case cause != nil:
		return &identity.Error{Public: "the managed identity endpoint cannot be reached", Err: cause, Retryable: true}
	case status == http.StatusBadRequest && m.options.ClientID != "":
		return &identity.Error{Public: fmt.Sprintf("the managed identity endpoint answered with status 400; check that the identity with client id %q is assigned to the "+
			"function app, and the scope %q", m.options.ClientID, m.options.Scope), Err: err}
	case status == http.StatusBadRequest:
		return &identity.Error{Public: fmt.Sprintf("the managed identity endpoint answered with status 400; check that the function app has a system-assigned identity, or set the "+
			"client id of a user-assigned one, and check the scope %q", m.options.Scope), Err: err}
	case status != http.StatusOK && status != 0:
		return &identity.Error{
			Public: fmt.Sprintf("the managed identity endpoint answered with status %d", status), Err: err,
			Retryable: status == http.StatusTooManyRequests || status >= http.StatusInternalServerError,
		}
	}
	return &identity.Error{Public: "the managed identity endpoint's answer is not an access token with an expiry", Err: err, Retryable: true}
}
