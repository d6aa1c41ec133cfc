package kit

import (
	"cmp"
	"errors"
	"fmt"
	"strings"

	"github.com/go-json-experiment/json"

	"github.com/postern-ai/postern/shared/config"
	"github.com/postern-ai/postern/shared/identity"
	"github.com/postern-ai/postern/shared/identity/entra"
	"github.com/postern-ai/postern/shared/secrets"
)

// azureCloud is what the Azure clouds have of their own.
type azureCloud struct {
	authority, scope, audience string
}

func cloudOf(u *config.Upstream) azureCloud {
	switch u.AzureCloud {
	case config.AzureUSGovernment:
		return azureCloud{entra.USGovernmentAuthority, "https://cognitiveservices.azure.us/.default", entra.TokenExchange + "USGov"}
	case config.AzureChina:
		return azureCloud{entra.ChinaAuthority, "https://cognitiveservices.azure.cn/.default", entra.TokenExchange + "China"}
	}
	return azureCloud{entra.PublicAuthority, entra.CognitiveServices, entra.TokenExchange}
}

// entra gets Entra tokens: for the function's managed identity, for an app
// registration that the platform's token stands in for, or for one with a
// stored secret or certificate.
func (w *wiring) entra(u *config.Upstream) (identity.Authorizer, error) {
	cloud := cloudOf(u)
	scope := cloud.scope
	if len(u.Scopes) > 0 {
		scope = u.Scopes[0]
	}
	switch {
	case u.CredentialRef != "":
		return w.stored(u, func(_ secret, value secrets.Value) (identity.Authorizer, error) {
			app, err := parseApp(u, value)
			if err != nil {
				return nil, err
			}
			return w.app(u, app, scope)
		})
	case u.AzureTenantID != "" && u.AzureClientID != "":
		return w.app(u, app{tenant: u.AzureTenantID, client: u.AzureClientID}, scope)
	}
	source := entra.New(entra.Options{ClientID: u.AzureClientID, Scope: scope})
	return w.bearer(u, tokens{key: "managed identity " + u.AzureClientID + " " + scope, platform: true}, source), nil
}

// app is an app registration. Without a secret and without a certificate it is
// one that trusts the platform's token.
type app struct {
	tenant, client      string
	secret, certificate secrets.Value
}

func (w *wiring) app(u *config.Upstream, a app, scope string) (identity.Authorizer, error) {
	options := entra.AppOptions{
		Tenant: a.tenant, ClientID: a.client, Scope: scope,
		Authority: strings.TrimRight(cmp.Or(w.Getenv("AZURE_AUTHORITY_HOST"), cloudOf(u).authority), "/"),
	}
	kept := tokens{key: fmt.Sprintf("entra %s %s %s %s %s", options.Authority, a.tenant, a.client, scope, u.AzureFederatedTokenFile)}
	switch {
	case !a.secret.IsZero():
		options.Secret, kept = constant(a.secret), ofSecret(kept.key, a.secret)
	case !a.certificate.IsZero():
		options.Certificate, kept = constant(a.certificate), ofSecret(kept.key, a.certificate)
	case u.AzureFederatedTokenFile != "":
		options.AssertionFile = u.AzureFederatedTokenFile
	default:
		var err error
		if options.Assertion, _, err = w.subject(proof{usual: cloudOf(u).audience}); err != nil {
			return nil, err
		}
	}
	source, err := entra.NewApp(options)
	if err != nil {
		return nil, err
	}
	return w.bearer(u, kept, source), nil
}

// parseApp reads what is stored for an app registration: JSON with all of it,
// or the secret or certificate alone when the document has the rest.
func parseApp(u *config.Upstream, value secrets.Value) (app, error) {
	text := strings.TrimSpace(value.Reveal())
	a := app{tenant: u.AzureTenantID, client: u.AzureClientID}
	switch {
	case strings.HasPrefix(text, "{"):
		var parsed struct {
			TenantID     string `json:"tenant_id"`
			ClientID     string `json:"client_id"`
			ClientSecret string `json:"client_secret"`
			Certificate  string `json:"certificate"`
		}
		if err := json.Unmarshal([]byte(text), &parsed); err != nil {
			return app{}, errors.New("it is not the JSON of an app registration")
		}
		if a.tenant != "" && parsed.TenantID != "" && a.tenant != parsed.TenantID || a.client != "" && parsed.ClientID != "" && a.client != parsed.ClientID {
			return app{}, errors.New("it is another app registration's than the document's")
		}
		a.tenant, a.client = cmp.Or(a.tenant, parsed.TenantID), cmp.Or(a.client, parsed.ClientID)
		if parsed.ClientSecret != "" {
			a.secret = secrets.NewValue(parsed.ClientSecret)
		}
		if parsed.Certificate != "" {
			a.certificate = secrets.NewValue(parsed.Certificate)
		}
	case strings.HasPrefix(text, "-----BEGIN"), isPKCS12(text):
		a.certificate = secrets.NewValue(text)
	default:
		a.secret = value
	}
	if a.tenant == "" || a.client == "" || a.secret.IsZero() == a.certificate.IsZero() {
		return app{}, errors.New("an app registration needs a tenant, a client id, and either a secret or a certificate")
	}
	return a, nil
}

// isPKCS12 reports whether a text is a certificate as Key Vault gives it out.
// No client secret is nearly as long.
func isPKCS12(text string) bool { return len(text) > 512 && strings.HasPrefix(text, "MII") }
