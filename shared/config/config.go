// Package config is the one document that describes a gateway: who may call it, which upstreams it has and how it proves
// itself to them, and which caller may use which model. It reads that document strictly, from YAML or JSON: an unknown
// field, a contradiction, a field without effect or something that this version cannot do is an error, and all errors are
// reported at once, each with its place and its remedy.
//
// It must not know how anything is done: it opens no connection, reads no secret, finds no credential and imports nothing
// else of this module. What a loaded Document says has been checked; the packages that act on it need not check it again.
package config

import (
	"slices"
	"time"
)

// Document is a checked configuration with every default filled in. It is read-only after loading and may then be shared
// between goroutines.
type Document struct {
	// Callers are the token issuers whose bearer tokens are accepted. Empty means that no bearer token is accepted.
	Callers []Caller `json:"callers,omitzero"`
	// PlatformCallers says that the platform's own IAM stands in front of the function and that the callers which it
	// admitted are accepted: the IAM identity of a Lambda function URL, the invoker check of Cloud Run, the
	// authentication feature of App Service. On Google Cloud and Azure this is a promise by the deployment, because a
	// function cannot see whether the check is on.
	PlatformCallers bool `json:"platform_callers,omitzero"`
	// Upstreams are the model services, in the document's order. There is always at least one.
	Upstreams []Upstream `json:"upstreams"`
	// Policy says which caller may use which model. What no rule allows is denied; only when Callers and Policy are both
	// empty may the callers that the platform admitted use every model of the document.
	Policy []Rule `json:"policy,omitzero"`
	// Logging says what a request's log line holds.
	Logging Logging `json:"logging"`
	// Limits bound what one request may cost.
	Limits Limits `json:"limits"`
}

// Caller is one issuer of bearer tokens and what is demanded of its tokens.
type Caller struct {
	// Name is for logs and errors. It defaults to the host of the issuer and is unique.
	Name string `json:"name"`
	// Issuer is compared with a token's iss claim byte by byte. It is an https URL (http on loopback only).
	Issuer string `json:"issuer"`
	// Audiences is never empty: a token's aud claim must hold one of them.
	Audiences []string `json:"audiences"`
	// Algorithms are the JWS algorithms allowed, all of them asymmetric. The default is RS256 and ES256.
	Algorithms []string `json:"algorithms"`
	// JWKSURI is where the issuer's keys are. When empty it is found by discovery.
	JWKSURI string `json:"jwks_uri,omitzero"`
}

// Upstream is one model service and the way in which the gateway proves itself to it.
type Upstream struct {
	// Name is unique in the document and matches [a-z0-9-]+. It defaults to the provider.
	Name string `json:"name"`
	// Provider is the wire format that the service speaks.
	Provider Provider `json:"provider"`
	// AuthType is the kind of credential. It defaults to Native where the provider has that.
	AuthType AuthType `json:"auth_type"`
	// CredentialRef says where a stored credential is. It is set exactly when AuthType is APIKey.
	CredentialRef Reference `json:"credential_ref,omitzero"`
	// Models are the models served, by public name. Empty means that the upstream serves "<name>/<model>" for every
	// model, and "<model>" too if it is the document's only upstream.
	Models []Model `json:"models,omitzero"`
	// RefreshPolicy says when a short-lived credential is replaced. It is empty for credentials that have no lifetime.
	RefreshPolicy RefreshPolicy `json:"refresh_policy,omitzero"`
	// Scopes replace the default scope of the token that is asked for. At most one, and only with AzureAD, for now.
	Scopes []string `json:"scopes,omitzero"`
	// Timeout bounds one call, including the whole of a streamed answer. It is never longer than Limits.RequestTimeout.
	Timeout time.Duration `json:"timeout"`

	// BaseURL replaces the service's own address, for any provider. It has no trailing slash, query or user, and is https
	// (http on loopback only). For vertex it also carries the document's api_endpoint. It is always set for custom-openai.
	BaseURL string `json:"base_url,omitzero"`
	// AWSRegion is for bedrock. Empty means that the SDK's own chain says it.
	AWSRegion string `json:"aws_region,omitzero"`
	// ProjectID is for vertex. Empty means that the metadata server says it.
	ProjectID string `json:"project_id,omitzero"`
	// LocationID is for vertex and defaults to "global".
	LocationID string `json:"location_id,omitzero"`
	// AzureInstance is for azure-openai: the resource's name, the first label of <instance>.openai.azure.com. Exactly one
	// of it and BaseURL is set.
	AzureInstance string `json:"azure_instance,omitzero"`
	// AzureDeploymentID is for azure-openai: the one deployment that the upstream stands for. Loading has already put it
	// into Models; it is kept to say what the document said.
	AzureDeploymentID string `json:"azure_deployment_id,omitzero"`
	// AzureAPIVersion is for azure-openai: when set, the dated deployments path is used with it, otherwise /openai/v1/.
	AzureAPIVersion string `json:"azure_api_version,omitzero"`
	// AzureClientID is for azure-openai: the client id of a user-assigned managed identity.
	AzureClientID string `json:"azure_client_id,omitzero"`
}

// Model is a model under its two names.
type Model struct {
	// Name is what callers ask for.
	Name string `json:"name"`
	// Model is the id, inference profile, ARN or deployment at the upstream.
	Model string `json:"model"`
}

// Rule allows the callers that it matches to use the models that it names.
type Rule struct {
	// Name is for logs and explanations. It is unique and defaults to "rule-<position>", counted from 1.
	Name string `json:"name"`
	// Match says whom the rule is for. All of its parts that are set must match; one without any part matches every
	// caller that has been authenticated.
	Match Match `json:"match,omitzero"`
	// Models are public model names. A * stands for any characters except '/'.
	Models []string `json:"models"`
}

// Match says whom a rule is for. In every value a * stands for any characters except '/'.
type Match struct {
	// Issuer is compared with the issuer that vouches for the caller.
	Issuer string `json:"issuer,omitzero"`
	// Subjects matches when one of them matches the caller's subject.
	Subjects []string `json:"subjects,omitzero"`
	// Groups matches when one of them matches one of the caller's groups.
	Groups []string `json:"groups,omitzero"`
}

// Logging says what a request's log line holds.
type Logging struct {
	// LogStatistics adds token usage and durations. It defaults to true.
	LogStatistics bool `json:"log_statistics"`
	// LogPayloads adds the bodies of request and answer. It defaults to false.
	LogPayloads bool `json:"log_payloads"`
}

// Limits bound what one request may cost.
type Limits struct {
	// MaxBodyBytes bounds a request body, in bytes. It defaults to 6 MiB, which is what Lambda accepts.
	MaxBodyBytes int64 `json:"max_body_bytes"`
	// MaxDepth bounds how deeply a request body's JSON is nested. It defaults to 64.
	MaxDepth int `json:"max_depth"`
	// MaxMessages bounds the messages of one request. It defaults to 2048.
	MaxMessages int `json:"max_messages"`
	// RequestTimeout bounds a whole request, including the whole of a streamed answer. It defaults to 5 minutes.
	RequestTimeout time.Duration `json:"request_timeout"`
	// FirstByteTimeout bounds the wait for an upstream's first byte. It defaults to RequestTimeout.
	FirstByteTimeout time.Duration `json:"first_byte_timeout"`
}

// Cloud is a platform that runs the functions.
type Cloud string

// The clouds that have functions.
const (
	AWS   Cloud = "aws"
	GCP   Cloud = "gcp"
	Azure Cloud = "azure"
)

// Provider is a wire format and the services that speak it.
type Provider string

// The providers of the matrix.
const (
	OpenAI       Provider = "openai"
	AzureOpenAI  Provider = "azure-openai"
	Anthropic    Provider = "anthropic"
	Bedrock      Provider = "bedrock"
	Vertex       Provider = "vertex"
	CustomOpenAI Provider = "custom-openai"
)

// AuthType is a kind of upstream credential.
type AuthType string

// The auth types of the matrix. Native is the identity of the platform that the function runs on.
const (
	Native   AuthType = "native"
	APIKey   AuthType = "api_key"
	OAuth2   AuthType = "oauth2"
	OIDC     AuthType = "oidc"
	AWSSigV4 AuthType = "aws_sigv4"
	AzureAD  AuthType = "azure_ad"
)

// RefreshPolicy says when a credential that expires is replaced.
type RefreshPolicy string

// The refresh policies. PreExpiry, the default, replaces a credential in a request that comes within a window before its
// end; Lazy only when it has ended or was refused; Proactive ahead of any request, by the scheduled function.
const (
	PreExpiry RefreshPolicy = "pre-expiry"
	Lazy      RefreshPolicy = "lazy"
	Proactive RefreshPolicy = "proactive"
)

// Upstream returns the upstream of that name.
func (d *Document) Upstream(name string) (*Upstream, bool) {
	i := slices.IndexFunc(d.Upstreams, func(u Upstream) bool { return u.Name == name })
	if i < 0 {
		return nil, false
	}
	return &d.Upstreams[i], true
}
