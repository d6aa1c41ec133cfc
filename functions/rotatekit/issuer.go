package rotatekit

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/postern-ai/postern/functions/kit"
	"github.com/postern-ai/postern/shared/config"
	"github.com/postern-ai/postern/shared/rotation"
	"github.com/postern-ai/postern/shared/rotation/anthropickeys"
	"github.com/postern-ai/postern/shared/rotation/azurekeys"
	"github.com/postern-ai/postern/shared/rotation/entrakeys"
	"github.com/postern-ai/postern/shared/rotation/iamkeys"
	"github.com/postern-ai/postern/shared/rotation/openaikeys"
	"github.com/postern-ai/postern/shared/rotation/openrouterkeys"
	"github.com/postern-ai/postern/shared/secrets"
)

// making is who makes a key and who finds out whether it works.
type making struct {
	issuer   rotation.Issuer
	verifier rotation.Verifier
}

// proving is an issuer that tries its keys itself, at the service that they are
// for.
type proving interface {
	rotation.Issuer
	rotation.Verifier
}

func by(issuer proving, err error) (making, error) {
	if err != nil {
		return making{}, err
	}
	return making{issuer, issuer}, nil
}

// issuer returns who makes a key. Loading the document has made sure that it has
// what it needs.
func (r *Rotator) issuer(k *config.RotatedKey, u *config.Upstream) (making, error) {
	switch k.Issuer {
	case config.IssuerOpenAI, config.IssuerOpenAIAdmin:
		return r.openAI(k, u)
	case config.IssuerAnthropic:
		return r.anthropic(k, u)
	case config.IssuerOpenRouter:
		return r.openRouter(k, u)
	case config.IssuerAzureOpenAI:
		return r.azureOpenAI(k, u)
	case config.IssuerEntra:
		return r.entra(k, u)
	case config.IssuerAWSIAM, config.IssuerBedrockAPIKey:
		return r.iam(k, u)
	case config.IssuerGCPServiceAccount, config.IssuerGCPAPIKey:
		return r.google(k, u)
	case config.IssuerOAuthClient:
		return r.oauthClient(u)
	case config.IssuerWebhook:
		return r.webhook(k, u)
	}
	return making{}, fmt.Errorf("the issuer %s is not linked into this function", k.Issuer)
}

// bearer is how most vendors take their admin keys.
func bearer() kit.Header { return kit.Header{Name: "Authorization", Prefix: "Bearer "} }

// origin is the address of an upstream's service without the path of its API,
// where the document or the vendor's own variable gives another than the
// vendor's.
func (r *Rotator) origin(u *config.Upstream, variable, path string) string {
	base := r.kit.Getenv(variable)
	if u != nil {
		base = cmp.Or(u.BaseURL, base)
	}
	return strings.TrimSuffix(strings.TrimRight(base, "/"), path)
}

func (r *Rotator) openAI(k *config.RotatedKey, u *config.Upstream) (making, error) {
	// An admin key makes its own successor.
	admin, err := r.access.Stored(cmp.Or(k.AdminRef, k.CredentialRef), bearer())
	if err != nil {
		return making{}, err
	}
	api := openaikeys.API{Admin: admin, Endpoint: r.origin(u, "OPENAI_BASE_URL", "/v1"), Transport: r.clock}
	if k.Issuer == config.IssuerOpenAIAdmin {
		return by(openaikeys.NewAdmin(api))
	}
	return by(openaikeys.New(openaikeys.Options{API: api, ProjectID: k.ProjectID, ServiceAccountID: k.ServiceAccountID, Scopes: k.KeyScopes}))
}

func (r *Rotator) anthropic(k *config.RotatedKey, u *config.Upstream) (making, error) {
	options := anthropickeys.Options{WorkspaceID: k.WorkspaceID, Endpoint: r.origin(u, "ANTHROPIC_BASE_URL", "/v1"), Transport: r.clock}
	if k.AdminRef != "" {
		admin, err := r.access.Stored(k.AdminRef, kit.Header{Name: "X-Api-Key"})
		if err != nil {
			return making{}, err
		}
		options.Admin = admin
	}
	return by(anthropickeys.New(options))
}

func (r *Rotator) openRouter(k *config.RotatedKey, u *config.Upstream) (making, error) {
	admin, err := r.access.Stored(k.AdminRef, bearer())
	if err != nil {
		return making{}, err
	}
	return by(openrouterkeys.New(openrouterkeys.Options{
		Admin: admin, WorkspaceID: k.WorkspaceID, Limit: float64(k.SpendLimit), Endpoint: r.origin(u, "", "/api/v1"), Transport: r.clock,
	}))
}

// azure is a cloud's own API for the rotation's identity, or for the app
// registration that trusts it.
func (r *Rotator) azure(k *config.RotatedKey, scope string) (secrets.Authorizer, error) {
	return r.access.Authorizer(&config.Upstream{
		Name: k.Name, Provider: config.AzureOpenAI, AuthType: config.Native, Scopes: []string{scope},
		AzureTenantID: k.AzureTenantID, AzureClientID: k.AzureClientID, AzureCloud: k.AzureCloud,
	})
}

func (r *Rotator) azureOpenAI(k *config.RotatedKey, u *config.Upstream) (making, error) {
	endpoint, scope := azurekeys.Public, azurekeys.PublicScope
	switch k.AzureCloud {
	case config.AzureUSGovernment:
		endpoint, scope = azurekeys.USGovernment, azurekeys.USGovernmentScope
	case config.AzureChina:
		endpoint, scope = azurekeys.China, azurekeys.ChinaScope
	}
	manager, err := r.azure(k, scope)
	if err != nil {
		return making{}, err
	}
	return by(azurekeys.New(azurekeys.Options{
		SubscriptionID: k.SubscriptionID, ResourceGroup: k.ResourceGroup, Account: k.AccountName,
		Resource:   cmp.Or(u.BaseURL, "https://"+u.AzureInstance+".openai.azure.com"),
		Authorizer: manager, Endpoint: cmp.Or(r.kit.Getenv("AZURE_RESOURCE_MANAGER_ENDPOINT"), endpoint), Transport: r.clock,
	}))
}

func (r *Rotator) entra(k *config.RotatedKey, u *config.Upstream) (making, error) {
	endpoint, scope := entrakeys.Public, entrakeys.PublicScope
	switch k.AzureCloud {
	case config.AzureUSGovernment:
		endpoint, scope = entrakeys.USGovernment, entrakeys.USGovernmentScope
	case config.AzureChina:
		endpoint, scope = entrakeys.China, entrakeys.ChinaScope
	}
	graph, err := r.azure(k, scope)
	if err != nil {
		return making{}, err
	}
	options := entrakeys.Options{
		ObjectID: k.ApplicationObjectID, TenantID: u.AzureTenantID, ClientID: u.AzureClientID, Authorizer: graph,
		Endpoint:  cmp.Or(r.kit.Getenv("MICROSOFT_GRAPH_ENDPOINT"), endpoint),
		Authority: cmp.Or(r.kit.Getenv("AZURE_AUTHORITY_HOST"), kit.AzureAuthority(u)), Transport: r.clock,
	}
	if len(u.Scopes) > 0 {
		options.Scope = u.Scopes[0]
	}
	return by(entrakeys.New(options))
}

func (r *Rotator) iam(k *config.RotatedKey, u *config.Upstream) (making, error) {
	credentials, err := r.access.AWS(&config.Upstream{
		Name: k.Name, Provider: config.Bedrock, AuthType: config.Native, AWSRegion: k.AWSRegion, AWSRoles: k.AWSRoles,
	})
	if err != nil {
		return making{}, err
	}
	region := cmp.Or(k.AWSRegion, u.AWSRegion, r.kit.Getenv("AWS_REGION"), r.kit.Getenv("AWS_DEFAULT_REGION"))
	options := iamkeys.Options{
		User: k.UserName, Region: region, Credentials: credentials, Endpoint: r.kit.Getenv("AWS_ENDPOINT_URL_IAM"), Transport: r.clock,
	}
	if k.Issuer == config.IssuerBedrockAPIKey {
		options.VerifyEndpoint = r.kit.Getenv("AWS_ENDPOINT_URL_BEDROCK")
		return by(iamkeys.NewBedrockKeys(options))
	}
	options.VerifyEndpoint = r.kit.Getenv("AWS_ENDPOINT_URL_STS")
	return by(iamkeys.NewAccessKeys(options))
}
