package config

import (
	"fmt"
	"slices"
	"strings"
)

// Cell is a combination of provider and auth type that the product supports. A combination without a cell makes no sense and
// is refused with a list of those that do.
type Cell struct {
	Provider Provider
	AuthType AuthType
	// How says in a phrase how the gateway proves itself.
	How string
	// Clouds are the ones whose functions can do it in this version. When there is none, loading refuses the combination as
	// not available yet, rather than accepting what would not work.
	Clouds []Cloud
}

// Matrix returns the whole of what the product supports, provider by provider. Validation, error texts, the README's table
// and the tests all come from it.
func Matrix() []Cell {
	everywhere := []Cloud{AWS, GCP, Azure}
	return []Cell{
		{OpenAI, Native, "the platform's own token, exchanged for an OpenAI access token", nil},
		{OpenAI, APIKey, "a stored key", everywhere},
		{OpenAI, OAuth2, "a token from an OAuth 2.0 token endpoint", nil},
		{OpenAI, OIDC, "a token from an OpenID Connect issuer", nil},

		{AzureOpenAI, Native, "the function's managed identity", []Cloud{Azure}},
		{AzureOpenAI, APIKey, "a stored key", everywhere},
		{AzureOpenAI, OAuth2, "a token from an OAuth 2.0 token endpoint", nil},
		{AzureOpenAI, OIDC, "a token from an OpenID Connect issuer", nil},
		{AzureOpenAI, AzureAD, "an Entra token for the function's managed identity", []Cloud{Azure}},

		{Anthropic, Native, "the platform's own token, exchanged for an Anthropic access token", nil},
		{Anthropic, APIKey, "a stored key", nil},
		{Anthropic, OAuth2, "a token from an OAuth 2.0 token endpoint", nil},
		{Anthropic, OIDC, "a token from an OpenID Connect issuer", nil},

		{Bedrock, Native, "the function's role, by SigV4", []Cloud{AWS}},
		{Bedrock, AWSSigV4, "the AWS credential chain, by SigV4", []Cloud{AWS}},

		{Vertex, Native, "the function's service account", []Cloud{GCP}},
		{Vertex, OAuth2, "a Google access token by workload identity federation", nil},
		{Vertex, OIDC, "a Google access token for an OpenID Connect identity", nil},

		{CustomOpenAI, APIKey, "a stored key", everywhere},
		{CustomOpenAI, OAuth2, "a token from an OAuth 2.0 token endpoint", nil},
		{CustomOpenAI, OIDC, "a token from an OpenID Connect issuer", nil},
		{CustomOpenAI, AWSSigV4, "the AWS credential chain, by SigV4", nil},
		{CustomOpenAI, AzureAD, "an Entra token", nil},
	}
}

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

// authTypesOf lists a provider's auth types; when available is set, only those that this version can do.
func authTypesOf(p Provider, available bool) []AuthType {
	var types []AuthType
	for _, cell := range Matrix() {
		if cell.Provider == p && (!available || len(cell.Clouds) > 0) {
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
	case len(cell.Clouds) == 0:
		return "planned"
	case slices.Equal(cell.Clouds, []Cloud{AWS, GCP, Azure}):
		return "yes"
	default:
		return "on " + list(cell.Clouds, "and")
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
