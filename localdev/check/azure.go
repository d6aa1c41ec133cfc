package check

import (
	"cmp"
	"strings"

	"github.com/postern-ai/postern/shared/config"
)

const (
	entraUSGov = "api://AzureADTokenExchangeUSGov"
	entraChina = "api://AzureADTokenExchangeChina"
)

// azureCloud is what the Azure clouds have of their own.
type azureCloud struct{ authority, scope, exchange string }

func azureOf(u *config.Upstream) azureCloud {
	switch u.AzureCloud {
	case config.AzureUSGovernment:
		return azureCloud{"https://login.microsoftonline.us", "https://cognitiveservices.azure.us/.default", entraUSGov}
	case config.AzureChina:
		return azureCloud{"https://login.chinacloudapi.cn", "https://cognitiveservices.azure.cn/.default", entraChina}
	}
	return azureCloud{"https://login.microsoftonline.com", "https://cognitiveservices.azure.com/.default", entraAudience}
}

// entra explains an Entra token.
func (w *writer) entra() {
	u := w.u
	azure := azureOf(u)
	scope := azure.scope
	if len(u.Scopes) > 0 {
		scope = u.Scopes[0]
	}
	app := "the app registration of the secret"
	if u.AzureClientID != "" {
		app = "the app registration " + u.AzureClientID
	}
	endpoint := azure.authority + "/" + cmp.Or(u.AzureTenantID, "TENANT") + "/oauth2/v2.0/token"
	switch {
	case u.CredentialRef != "":
		if !w.read(u.CredentialRef, "credential_ref", u.Holds()) {
			return
		}
		w.step("%s gives a token of %s for the scope %s.", endpoint, app, scope)
	case u.AzureFederatedTokenFile != "":
		w.step("The file %s holds the assertion of workload identity. It is read for each token.", u.AzureFederatedTokenFile)
		w.step("%s takes it in place of a secret and gives a token of %s for the scope %s.", endpoint, app, scope)
		w.need("%s: a federated credential for the issuer, subject and audience of that assertion", app)
	case u.AzureTenantID != "" && u.AzureClientID != "":
		t := w.platform("", azure.exchange)
		w.step("%s takes it in place of a secret and gives a token of %s for the scope %s.", endpoint, app, scope)
		w.need("%s: a federated credential with issuer = %s, subject = %s and audience = %s", app, t.issuer, t.subject, t.audience)
	case w.cloud != config.Azure:
		w.impossible = "a function here has no managed identity; give azure_tenant_id and azure_client_id, or credential_ref"
		return
	case u.AzureClientID != "":
		app = "the user-assigned managed identity " + u.AzureClientID
		w.step("The platform (IDENTITY_ENDPOINT) gives a token of %s for the scope %s.", app, scope)
		w.need("the function app: %s, assigned to it", app)
	default:
		app = "the function's system-assigned managed identity"
		w.step("The platform (IDENTITY_ENDPOINT) gives a token of %s for the scope %s.", app, scope)
		w.need("the function app: a system-assigned managed identity, switched on")
	}
	w.step("The token is sent in the header Authorization.")
	if u.Provider == config.AzureOpenAI {
		w.need("%s: the role Cognitive Services OpenAI User on the resource %s, which takes tokens only at a custom subdomain", app, resource(u))
		return
	}
	w.need("%s: the application permission (app role) that the server's application %s demands, if any", app, strings.TrimSuffix(scope, "/.default"))
}

func resource(u *config.Upstream) string { return cmp.Or(u.AzureInstance, "behind "+u.BaseURL) }
