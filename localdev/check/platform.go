package check

import (
	"cmp"
	"strings"

	"github.com/postern-ai/postern/shared/config"
)

// The audiences that other parties' guides have the platform's token made for, as the functions have them.
const (
	awsAudience       = "sts.amazonaws.com"
	openAIAudience    = "https://api.openai.com/v1"
	anthropicAudience = "https://api.anthropic.com"
	entraAudience     = "api://AzureADTokenExchange"
)

// token is the platform's own token, which vouches for the function to another party, and what that party has to be told.
type token struct {
	audience        string
	issuer, subject string
}

// platform explains how the function comes by its platform's token. A managed identity gets tokens for registered applications
// alone, so on Azure the usual audience of a party is replaced.
func (w *writer) platform(audience, usual string) token {
	t := token{audience: cmp.Or(audience, usual)}
	switch w.cloud {
	case config.AWS:
		w.step("The function's role asks STS in its region for a signed token about itself (GetWebIdentityToken) for the audience %s.", t.audience)
		w.need("the AWS account: outbound identity federation, switched on once (iam:EnableOutboundWebIdentityFederation), which also gives the issuer's URL")
		w.need("the function's role: sts:GetWebIdentityToken, best limited by the condition sts:IdentityTokenAudience to %s", t.audience)
		t.issuer, t.subject = "the issuer's URL of the AWS account", "the ARN of the function's role"
	case config.GCP:
		w.step("The metadata server gives an identity token of the function's service account for the audience %s.", t.audience)
		w.need("the function: a service account of its own")
		t.issuer, t.subject = "https://accounts.google.com", "the unique id (a number) of the service account"
	default:
		t.audience = strings.TrimSuffix(cmp.Or(audience, entraAudience), "/.default")
		w.step("The function's managed identity gets a token for the application %s (the identity of AZURE_CLIENT_ID where that is set).", t.audience)
		if t.audience != entraAudience {
			w.need("the Entra tenant: an app registration with the application id URI %s, for which the managed identity gets tokens", t.audience)
		}
		w.need("the function: a managed identity")
		t.issuer, t.subject = "the iss of that token, of the function's tenant (https://sts.windows.net/TENANT/ or https://login.microsoftonline.com/TENANT/v2.0, as the application has it)", "the object id of the managed identity"
		t.audience = "the aud of that token (" + t.audience + " or that application's id)"
	}
	return t
}

// vendor exchanges the platform's token at OpenAI or Anthropic.
func (w *writer) vendor() {
	u := w.u
	if u.Provider == config.OpenAI {
		t := w.platform(u.TokenAudience, openAIAudience)
		w.step("%s exchanges it for an access token of the service account %s, by the workload identity provider %s.",
			cmp.Or(u.TokenEndpoint, "https://auth.openai.com/oauth/token"), u.ServiceAccountID, u.IdentityProviderID)
		w.need("OpenAI: the workload identity provider %s with issuer = %s and audience = %s, and a mapping to %s for subject = %s",
			u.IdentityProviderID, t.issuer, t.audience, u.ServiceAccountID, t.subject)
		w.step("The access token is sent in the header Authorization.")
		return
	}
	t := w.platform(u.TokenAudience, anthropicAudience)
	w.step("%s exchanges it for an access token of the service account %s, by the federation rule %s.",
		cmp.Or(u.TokenEndpoint, "https://api.anthropic.com/v1/oauth/token"), u.ServiceAccountID, u.FederationRuleID)
	where := ""
	if u.WorkspaceID != "" {
		where = " in the workspace " + u.WorkspaceID
	}
	w.need("Anthropic: in the organization %s the federation rule %s for %s%s with issuer = %s, audience = %s and subject = %s",
		u.OrganizationID, u.FederationRuleID, u.ServiceAccountID, where, t.issuer, t.audience, t.subject)
	w.step("The access token is sent in the header Authorization.")
}

// client gets a token for an OAuth 2.0 client, and reports whether a function on this cloud can.
func (w *writer) client() bool {
	u := w.u
	server := u.TokenEndpoint
	if u.Issuer != "" {
		w.step("%s/.well-known/openid-configuration says where tokens are asked for.", u.Issuer)
		server = "the token endpoint of " + u.Issuer
	}
	if !w.authenticate(server) {
		return false
	}
	if u.Grant == config.GrantTokenExchange {
		t := w.platform(u.TokenAudience, "")
		w.step("%s exchanges it for an access token (RFC 8693)%s.", server, w.wanted())
		w.need("%s: trust in tokens with issuer = %s, audience = %s and subject = %s", server, t.issuer, t.audience, t.subject)
		return true
	}
	w.step("%s gives an access token for the client itself (client credentials)%s.", server, w.wanted())
	return true
}

// authenticate says how the client shows that it is the one.
func (w *writer) authenticate(server string) bool {
	u := w.u
	id := cmp.Or(u.ClientID, "whose id is in the secret")
	switch u.ClientAuth {
	case config.SecretBasic, config.SecretPost:
		if !w.read(u.CredentialRef, "credential_ref", u.Holds()) {
			return false
		}
		w.need("%s: the client %s, which authenticates with %s", server, id, u.ClientAuth)
	case config.PrivateKeyJWT:
		if !w.read(u.CredentialRef, "credential_ref", u.Holds()) {
			return false
		}
		w.step("The client %s signs a short-lived assertion with that key.", id)
		w.need("%s: the client %s with the public key that belongs to it, and private_key_jwt", server, id)
	case config.TLSClientAuth:
		if !w.read(u.ClientCertificateRef, "client_certificate_ref", "the client's certificate, its chain and its private key in PEM") {
			return false
		}
		w.need("%s: the client %s with that certificate, and tls_client_auth", server, id)
	case config.PlatformJWT:
		t := w.platform(u.TokenAudience, "")
		w.need("%s: the client %s, for which a token with issuer = %s, audience = %s and subject = %s is accepted in place of a secret (RFC 7523)",
			server, id, t.issuer, t.audience, t.subject)
	}
	return true
}

// wanted says what the token is asked for.
func (w *writer) wanted() string {
	u := w.u
	text := ""
	if len(u.Scopes) > 0 && u.Provider != config.Vertex {
		text += ", for the scopes " + list(u.Scopes, "and")
	}
	if u.Audience != "" {
		text += ", for the audience " + u.Audience
	}
	if u.Resource != "" {
		text += ", for the resource " + u.Resource
	}
	return text
}
