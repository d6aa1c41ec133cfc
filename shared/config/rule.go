package config

import (
	"slices"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Rule lets the callers that it matches use what it names. In every list one value is enough, and in every value a * stands for any
// characters except '/', unless the field says otherwise.
type Rule struct {
	// Name is for logs and explanations. It is unique and defaults to "rule-<position>", counted from 1.
	Name string `json:"name"`
	// Match says whom the rule is for. All of its parts that are set must match; one without any part matches every
	// caller that has been authenticated.
	Match Match `json:"match,omitzero"`
	// Models are public model names.
	Models []string `json:"models"`
	// Upstreams are names of upstreams. Empty means every one that serves the models.
	Upstreams []string `json:"upstreams,omitzero"`
	// UpstreamModels are what the models are called at their upstream. Empty means whatever they are called there.
	UpstreamModels []string `json:"upstream_models,omitzero"`
	// Routes are the parts of the API, without patterns. Empty means all of them.
	Routes []Endpoint `json:"routes,omitzero"`
	// Tools are the tools that a request may bring along.
	Tools Tools `json:"tools,omitzero"`
	// MaxTokens is the longest answer. Zero means that the rule has no bound.
	MaxTokens int64 `json:"max_tokens,omitzero"`
	// MFA says who needs a second factor. Empty leaves it to the upstream's mfa_required.
	MFA MFAMode `json:"mfa,omitzero"`
	// LogPayloads says whether the bodies of requests and answers are logged. When nil it is as Logging says.
	LogPayloads *bool `json:"log_payloads,omitzero"`
	// Limits bound what one caller uses by this rule, besides those of the document.
	Limits CallerLimits `json:"limits,omitzero"`
}

// Match says whom a rule is for.
type Match struct {
	// Issuer is compared with the issuer that vouches for the caller.
	Issuer string `json:"issuer,omitzero"`
	// Methods are ways of being authenticated, without patterns.
	Methods []string `json:"methods,omitzero"`
	// Kind is "user" or "workload".
	Kind string `json:"kind,omitzero"`
	// Tenants are Entra's tenants, domains of Google Workspace, AWS accounts.
	Tenants []string `json:"tenants,omitzero"`
	// Subjects matches when one of them matches the caller's subject.
	Subjects []string `json:"subjects,omitzero"`
	// Clients matches when one of them matches the application that got the caller's token.
	Clients []string `json:"clients,omitzero"`
	// Groups, Roles and Scopes match when one of them matches one of the caller's.
	Groups []string `json:"groups,omitzero"`
	Roles  []string `json:"roles,omitzero"`
	Scopes []string `json:"scopes,omitzero"`
	// Claims are further claims of the caller's token. Each of them must match, with one of its values. A name that begins with a slash is a
	// JSON pointer into the claims.
	Claims map[string][]string `json:"claims,omitzero"`
}

// Endpoint is a part of the API.
type Endpoint string

// The endpoints: chat completions, and the list of the models that a caller may use.
const (
	EndpointChat   Endpoint = "chat"
	EndpointModels Endpoint = "models"
)

// Endpoints returns all of them.
func Endpoints() []Endpoint { return []Endpoint{EndpointChat, EndpointModels} }

// MFAMode says whose authentication must have had a second factor.
type MFAMode string

// The modes. MFAUsers asks everybody but those who are known to be programs, which have no second factor to show.
const (
	MFANever  MFAMode = "never"
	MFAUsers  MFAMode = "users"
	MFAAlways MFAMode = "always"
)

// Tools are the tools that a request may bring along: any if it is not Limited, otherwise those whose names one of Names matches, and
// none when there are no Names. In the document it is false or a list.
type Tools struct {
	Limited bool
	Names   []string
}

// MarshalJSON writes what the document says.
func (t Tools) MarshalJSON() ([]byte, error) {
	if len(t.Names) == 0 {
		return jsontext.Value("false"), nil
	}
	return json.Marshal(t.Names)
}

// Allow reports whether a tool of that name may be brought along.
func (t Tools) Allow(name string) bool {
	return !t.Limited || slices.ContainsFunc(t.Names, func(pattern string) bool { return Matches(pattern, name) })
}

// methods are the ways of being authenticated, as package caller names them.
func methods() []string {
	return []string{"oidc", "api_token", "mtls", "iap", "aws_iam", "cloud_run_iam", "azure_easy_auth"}
}
