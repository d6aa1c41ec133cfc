package config

import (
	"fmt"
	"slices"
	"strings"
)

// Issuer is who makes and revokes the keys of a credential under rotation.
type Issuer string

// The issuers.
const (
	IssuerOpenAI            Issuer = "openai"
	IssuerOpenAIAdmin       Issuer = "openai-admin"
	IssuerAzureOpenAI       Issuer = "azure-openai"
	IssuerEntra             Issuer = "entra"
	IssuerAWSIAM            Issuer = "aws-iam"
	IssuerBedrockAPIKey     Issuer = "bedrock-api-key"
	IssuerGCPServiceAccount Issuer = "gcp-service-account"
	IssuerGCPAPIKey         Issuer = "gcp-api-key"
	IssuerOpenRouter        Issuer = "openrouter"
	IssuerAnthropic         Issuer = "anthropic"
	IssuerOAuthClient       Issuer = "oauth-client"
	IssuerWebhook           Issuer = "webhook"
)

// Making is an issuer that the product has: for which upstreams, and what a document has to say of it.
type Making struct {
	Issuer Issuer
	// How says in a phrase how keys come about.
	How string
	// Where lists the upstreams whose stored credential it makes. The first issuer of a cell is its default.
	Where []span
	// Needs are the options without which it makes nothing, and Takes those that it takes besides.
	Needs, Takes []string
	// Alone says that the credential may be one that no upstream uses directly.
	Alone bool
}

// access are the options that say how functions of other clouds prove themselves to the issuer's.
var (
	accessAWS    = []string{"aws_roles", "aws_region"}
	accessAzure  = []string{"azure_tenant_id", "azure_client_id", "azure_cloud"}
	accessGoogle = []string{"gcp_workload_identity_provider", "gcp_service_account"}
)

// Issuers returns every issuer that the product has. Validation, error texts, the README's table and the tests come from it.
func Issuers() []Making {
	return []Making{
		{Issuer: IssuerOpenAI, How: "keys of a project's service accounts, by the admin API",
			Where: []span{of(OpenAI).with(APIKey)}, Needs: []string{"admin_ref", "project_id"}, Takes: []string{"service_account_id", "key_scopes"}},
		{Issuer: IssuerOpenAIAdmin, How: "an OpenAI admin key, which makes its own successor", Alone: true},
		{Issuer: IssuerAzureOpenAI, How: "the two keys of the account, in turn",
			Where: []span{of(AzureOpenAI).with(APIKey)}, Needs: []string{"subscription_id", "resource_group", "account_name"}, Takes: accessAzure},
		{Issuer: IssuerEntra, How: "client secrets of an app registration",
			Where: []span{of(AzureOpenAI, CustomOpenAI).with(AzureAD)}, Needs: []string{"application_object_id"}, Takes: accessAzure},
		{Issuer: IssuerAWSIAM, How: "access keys of an IAM user",
			Where: []span{of(Bedrock, CustomOpenAI).with(AWSSigV4)}, Needs: []string{"user_name"}, Takes: accessAWS},
		{Issuer: IssuerGCPServiceAccount, How: "keys of a service account, of which Google gets the public half alone",
			Where: []span{of(Vertex)}, Needs: []string{"service_account_email"}, Takes: accessGoogle},
		{Issuer: IssuerAnthropic, How: "keys that an operator makes and stages; the old one is ended by the admin API",
			Where: []span{of(Anthropic).with(APIKey)}, Takes: []string{"admin_ref", "workspace_id"}},
		{Issuer: IssuerOAuthClient, How: "the secret of an OAuth client, at its registration endpoint (RFC 7592)",
			Where: []span{of().with(OAuth2, OIDC)}},
		{Issuer: IssuerOpenRouter, How: "OpenRouter keys, by the management API",
			Where: []span{of(CustomOpenAI).with(APIKey)}, Needs: []string{"admin_ref"}, Takes: []string{"workspace_id", "spend_limit"}},
		{Issuer: IssuerBedrockAPIKey, How: "Bedrock API keys of an IAM user",
			Where: []span{of(CustomOpenAI).with(APIKey)}, Needs: []string{"user_name", "aws_region"}, Takes: []string{"aws_roles"}},
		{Issuer: IssuerGCPAPIKey, How: "API keys of a Google Cloud project",
			Where: []span{of(CustomOpenAI).with(APIKey)}, Needs: []string{"project_id", "api_target"}, Takes: accessGoogle},
		{Issuer: IssuerWebhook, How: "whatever a service of your own makes, which answers signed requests",
			Where: []span{of()}, Needs: []string{"admin_ref", "webhook_url"},
			Takes: []string{"overlap", "recovery", "disables", "expires", "named", "last_used", "max_live"}, Alone: true},
	}
}

// makes reports whether the issuer makes the stored credential of an upstream.
func (m Making) makes(u *Upstream) bool {
	return slices.ContainsFunc(m.Where, func(s span) bool { return s.has(u.Provider, u.AuthType) })
}

// makersOf lists the issuers of an upstream's stored credential, the default first.
func makersOf(u *Upstream) []Issuer {
	var makers []Issuer
	for _, m := range Issuers() {
		if m.makes(u) {
			makers = append(makers, m.Issuer)
		}
	}
	return makers
}

func makingOf(issuer Issuer) (Making, bool) {
	for _, m := range Issuers() {
		if m.Issuer == issuer {
			return m, true
		}
	}
	return Making{}, false
}

// manual are the vendors that have no API for making keys, by the names that documents would have for them.
var manual = map[string]string{
	"groq": "Groq", "cohere": "Cohere", "mistral": "Mistral", "together": "Together AI", "fireworks": "Fireworks AI", "deepseek": "DeepSeek",
	"xai": "xAI", "perplexity": "Perplexity", "gemini": "the Gemini API",
}

// IssuersMarkdown returns the issuers as a table for the README.
func IssuersMarkdown() string {
	var b strings.Builder
	b.WriteString("| issuer | what is rotated | needs | takes |\n| --- | --- | --- | --- |\n")
	for _, m := range Issuers() {
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", m.Issuer, m.How, words(m.Needs), words(m.Takes))
	}
	return b.String()
}

func words(names []string) string {
	if len(names) == 0 {
		return "-"
	}
	return strings.Join(names, ", ")
}
