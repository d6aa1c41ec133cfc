package config

import (
	"fmt"
	"strings"
)

// Cell is a combination of provider and auth type that the product supports. A combination without a cell makes no sense and
// is refused with a list of those that do.
type Cell struct {
	Provider Provider
	AuthType AuthType
	// How says in a phrase how the gateway proves itself.
	How string
	// Clouds are the ones whose functions can do it without more than the cell's own fields.
	Clouds []Cloud
	// Elsewhere names what a document has to say besides, for functions on other clouds to prove themselves without a platform
	// identity of this kind. It is empty when Clouds are all.
	Elsewhere string
}

// Matrix returns the whole of what the product supports, provider by provider. Validation, error texts, the README's table
// and the tests all come from it.
func Matrix() []Cell {
	everywhere := []Cloud{AWS, GCP, Azure}
	on := func(cloud Cloud) []Cloud { return []Cloud{cloud} }
	return []Cell{
		{OpenAI, Native, "the platform's own token, exchanged for an OpenAI access token", everywhere, ""},
		{OpenAI, APIKey, "a stored key", everywhere, ""},
		{OpenAI, OAuth2, "a token from an OAuth 2.0 token endpoint", everywhere, ""},
		{OpenAI, OIDC, "a token from an OpenID Connect issuer", everywhere, ""},

		{AzureOpenAI, Native, "the function's managed identity", on(Azure), elsewhereAzure},
		{AzureOpenAI, APIKey, "a stored key", everywhere, ""},
		{AzureOpenAI, OAuth2, "a token from an OAuth 2.0 token endpoint", everywhere, ""},
		{AzureOpenAI, OIDC, "a token from an OpenID Connect issuer", everywhere, ""},
		{AzureOpenAI, AzureAD, "an Entra token", on(Azure), elsewhereAzure + ", or credential_ref"},

		{Anthropic, Native, "the platform's own token, exchanged for an Anthropic access token", everywhere, ""},
		{Anthropic, APIKey, "a stored key", everywhere, ""},
		{Anthropic, OAuth2, "a token from an OAuth 2.0 token endpoint", everywhere, ""},
		{Anthropic, OIDC, "a token from an OpenID Connect issuer", everywhere, ""},

		{Bedrock, Native, "the function's role, by SigV4", on(AWS), elsewhereAWS},
		{Bedrock, AWSSigV4, "the AWS credential chain, by SigV4", on(AWS), elsewhereAWS + ", or credential_ref"},

		{Vertex, Native, "the function's service account", on(GCP), elsewhereGoogle},
		{Vertex, OAuth2, "a Google access token by workload identity federation", on(GCP), elsewhereGoogle},
		{Vertex, OIDC, "a Google access token for an OpenID Connect identity", on(GCP), elsewhereGoogle},

		{CustomOpenAI, APIKey, "a stored key", everywhere, ""},
		{CustomOpenAI, OAuth2, "a token from an OAuth 2.0 token endpoint", everywhere, ""},
		{CustomOpenAI, OIDC, "a token from an OpenID Connect issuer", everywhere, ""},
		{CustomOpenAI, AWSSigV4, "the AWS credential chain, by SigV4", on(AWS), elsewhereAWS + ", or credential_ref"},
		{CustomOpenAI, AzureAD, "an Entra token", on(Azure), elsewhereAzure + ", or credential_ref"},
	}
}

// What lets a function without a cloud's own identity in by its own platform's identity.
const (
	elsewhereAWS    = "aws_roles"
	elsewhereAzure  = "azure_tenant_id and azure_client_id"
	elsewhereGoogle = "gcp_workload_identity_provider, or credential_ref"
)

// Providers returns every provider of the matrix, in its order.
func Providers() []Provider {
	return []Provider{OpenAI, AzureOpenAI, Anthropic, Bedrock, Vertex, CustomOpenAI}
}

// AuthTypes returns every auth type of the matrix, in its order.
func AuthTypes() []AuthType {
	return []AuthType{Native, APIKey, OAuth2, OIDC, AWSSigV4, AzureAD}
}

// cellOf returns the cell for a provider and an auth type, if they go together.
func cellOf(p Provider, a AuthType) (Cell, bool) {
	for _, cell := range Matrix() {
		if cell.Provider == p && cell.AuthType == a {
			return cell, true
		}
	}
	return Cell{}, false
}

// authTypesOf lists a provider's auth types.
func authTypesOf(p Provider) []AuthType {
	var types []AuthType
	for _, cell := range Matrix() {
		if cell.Provider == p {
			types = append(types, cell.AuthType)
		}
	}
	return types
}

// MatrixMarkdown returns the matrix as a table for the README: one row per provider, one column per auth type.
func MatrixMarkdown() string {
	var b strings.Builder
	b.WriteString("| provider |")
	for _, a := range AuthTypes() {
		fmt.Fprintf(&b, " %s |", a)
	}
	b.WriteString("\n| --- |" + strings.Repeat(" --- |", len(AuthTypes())) + "\n")
	for _, p := range Providers() {
		fmt.Fprintf(&b, "| %s |", p)
		for _, a := range AuthTypes() {
			fmt.Fprintf(&b, " %s |", cellText(p, a))
		}
		b.WriteString("\n")
	}
	return b.String()
}

func cellText(p Provider, a AuthType) string {
	cell, ok := cellOf(p, a)
	switch {
	case !ok:
		return "-"
	case cell.Elsewhere == "":
		return "yes"
	default:
		return "yes (outside " + list(cell.Clouds, "and") + ": " + cell.Elsewhere + ")"
	}
}

// list writes names as a phrase: "a", "a and b", "a, b and c".
func list[T ~string](names []T, last string) string {
	var b strings.Builder
	for i, name := range names {
		switch {
		case i == 0:
		case i == len(names)-1:
			b.WriteString(" " + last + " ")
		default:
			b.WriteString(", ")
		}
		b.WriteString(string(name))
	}
	return b.String()
}
