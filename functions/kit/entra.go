package kit

import (
	"cmp"
	"errors"
	"strings"

	"github.com/go-json-experiment/json"

	"github.com/postern-ai/postern/shared/config"
	"github.com/postern-ai/postern/shared/identity"
	"github.com/postern-ai/postern/shared/identity/entra"
	"github.com/postern-ai/postern/shared/identity/exchange"
	"github.com/postern-ai/postern/shared/secrets"
)

// azureCloud is what the Azure clouds have of their own.
type azureCloud struct {
	authority, scope, audience string
}

func cloudOf(u *config.Upstream) azureCloud {
	switch u.AzureCloud {
	case config.AzureUSGovernment:
		return azureCloud{"https://login.microsoftonline.us", "https://cognitiveservices.azure.us/.default", "api://AzureADTokenExchangeUSGov"}
	case config.AzureChina:
		return azureCloud{"https://login.chinacloudapi.cn", "https://cognitiveservices.azure.cn/.default", "api://AzureADTokenExchangeChina"}
	}
	return azureCloud{"https://login.microsoftonline.com", entra.CognitiveServices, entraAudience}
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
	return w.bearer(u, "managed identity "+u.AzureClientID+" "+scope, source), nil
}

// app is an app registration. Without a secret and without a certificate it is
// one that trusts the platform's token.
type app struct {
	tenant, client      string
	secret, certificate secrets.Value
}

func (w *wiring) app(u *config.Upstream, a app, scope string) (identity.Authorizer, error) {
	authority := cmp.Or(w.Getenv("AZURE_AUTHORITY_HOST"), cloudOf(u).authority)
	var auth exchange.ClientAuth
	switch {
	case !a.secret.IsZero():
		auth = exchange.SecretPost{Secret: constant(a.secret)}
	case !a.certificate.IsZero():
		return nil, errors.New("certificates are not linked into this function")
	case u.AzureFederatedTokenFile != "":
		file := secret{vault: w.vault, ref: secrets.Ref{Store: secrets.StoreFile, Name: u.AzureFederatedTokenFile}}
		auth = exchange.PlatformJWT{Token: file.read, Name: u.AzureFederatedTokenFile}
	default:
		token, name, err := w.secretSubject(proof{usual: cloudOf(u).audience})
		if err != nil {
			return nil, err
		}
		auth = exchange.PlatformJWT{Token: token, Name: name}
	}
	source, err := exchange.NewClientCredentials(exchange.Options{
		Server:   exchange.Server{TokenEndpoint: strings.TrimRight(authority, "/") + "/" + a.tenant + "/oauth2/v2.0/token"},
		ClientID: a.client, Auth: auth, Scopes: []string{scope},
	})
	if err != nil {
		return nil, err
	}
	key := source.Key()
	if u.CredentialRef != "" {
		key = ""
	}
	return w.bearer(u, key, source), nil
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
	case strings.HasPrefix(text, "-----BEGIN"):
		a.certificate = secrets.NewValue(text)
	default:
		a.secret = value
	}
	if a.tenant == "" || a.client == "" || a.secret.IsZero() == a.certificate.IsZero() {
		return app{}, errors.New("an app registration needs a tenant, a client id, and either a secret or a certificate")
	}
	return a, nil
}
