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
	// Callers are the token issuers whose bearer tokens are accepted. Empty means that no token of an issuer is accepted.
	Callers []Caller `json:"callers,omitzero"`
	// APITokens, when set, accepts API tokens.
	APITokens *APITokens `json:"api_tokens,omitzero"`
	// Fronts are what stands in front of the functions and says something about callers.
	Fronts Fronts `json:"fronts,omitzero"`
	// PlatformCallers says that the platform's own IAM stands in front of the function and that the callers which it
	// admitted are accepted: the IAM identity of a Lambda function URL, the invoker check of Cloud Run, the
	// authentication feature of App Service. On Google Cloud and Azure this is a promise by the deployment, because a
	// function cannot see whether the check is on.
	PlatformCallers bool `json:"platform_callers,omitzero"`
	// Upstreams are the model services, in the document's order. There is always at least one.
	Upstreams []Upstream `json:"upstreams"`
	// Policy says which caller may use what. The first rule that matches decides, and what none matches is denied; only when the
	// platform alone admits callers and Policy is empty may the callers that the platform admitted use every model of the document.
	Policy []Rule `json:"policy,omitzero"`
	// MFA says what shows that a caller has authenticated with a second factor.
	MFA MFA `json:"mfa,omitzero"`
	// PublicURL is the gateway's address as its callers know it, without a path. Empty means that the request says it.
	PublicURL string `json:"public_url,omitzero"`
	// Logging says what a request's log line holds.
	Logging Logging `json:"logging"`
	// Audit says what is an event for those who keep watch, besides what upstreams say.
	Audit Audit `json:"audit,omitzero"`
	// Cache says how long what is fetched is kept, and where instances share it.
	Cache Cache `json:"cache"`
	// Limits bound what one request may cost.
	Limits Limits `json:"limits"`
	// Rotation says which stored keys are renewed, and how.
	Rotation Rotation `json:"rotation,omitzero"`
	// Warnings are what loading has seen that works and that its author should know about. They are no part of the document.
	Warnings []Problem `json:"-"`
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
	// TokenType, when it is TokenTypeAccess, accepts access tokens by RFC 9068 alone (typ at+jwt). Empty accepts those too that
	// do not say what they are.
	TokenType string `json:"token_type,omitzero"`
	// IDTokens accepts ID tokens as well, which are otherwise refused where they can be told from access tokens.
	IDTokens bool `json:"id_tokens,omitzero"`
	// CertificateBound demands that tokens are bound to the client's certificate (RFC 8705), which a front passes on. Tokens that
	// are bound are always held to it.
	CertificateBound bool `json:"certificate_bound,omitzero"`
	// DPoP says what becomes of tokens that are bound to a key (RFC 9449). DPoPOptional checks their proofs, DPoPRequired takes no
	// other tokens. Empty refuses them, since nobody would check. Proofs are for the document's PublicURL, which is then set.
	DPoP string `json:"dpop,omitzero"`
	// Claims are the claims that the rules of the policy ask about. Loading has collected them; they are no part of the document.
	Claims []string `json:"-"`
}

// What an issuer's DPoP may be.
const (
	DPoPOptional = "optional"
	DPoPRequired = "required"
)

// TokenTypeAccess is the typ of access tokens by RFC 9068.
const TokenTypeAccess = "at+jwt"

// Upstream is one model service and the way in which the gateway proves itself to it.
type Upstream struct {
	// Name is unique in the document and matches [a-z0-9-]+. It defaults to the provider.
	Name string `json:"name"`
	// Provider is the wire format that the service speaks.
	Provider Provider `json:"provider"`
	// AuthType is the kind of credential. It defaults to Native where the provider has that.
	AuthType AuthType `json:"auth_type"`
	// CredentialRef says where a stored credential is. What the secret holds depends on AuthType, see [Upstream.Holds]. It is
	// always set with APIKey, never with Native except for vertex.
	CredentialRef Reference `json:"credential_ref,omitzero"`
	// Models are the models served, by public name. Empty means that the upstream serves "<name>/<model>" for every
	// model, and "<model>" too if it is the document's only upstream.
	Models []Model `json:"models,omitzero"`
	// RefreshPolicy says when a short-lived credential is replaced. It is empty for credentials that have no lifetime.
	RefreshPolicy RefreshPolicy `json:"refresh_policy,omitzero"`
	// RefreshWindow is how long before its end a credential is replaced under PreExpiry. Zero means 5 minutes.
	RefreshWindow time.Duration `json:"refresh_window,omitzero"`
	// RefreshJitter is up to how much earlier than that instances do so, so that they do not do it all at once. Zero leaves
	// it to the gateway.
	RefreshJitter time.Duration `json:"refresh_jitter,omitzero"`
	// MFARequired says that nobody may use the upstream without a second factor, except programs that a rule with MFAUsers names.
	MFARequired bool `json:"mfa_required,omitzero"`
	// AuditOnRotate says that a credential which took the place of another one is an audit event.
	AuditOnRotate bool `json:"audit_on_rotate,omitzero"`
	// Attribution says how the upstream is told who calls. Empty means ByHash, and for custom-openai ByNothing.
	Attribution Attribution `json:"attribution,omitzero"`
	// Scopes replace the default scopes of the token that is asked for.
	Scopes []string `json:"scopes,omitzero"`
	// Timeout bounds one call, including the whole of a streamed answer. It is never longer than Limits.RequestTimeout.
	Timeout time.Duration `json:"timeout"`

	// BaseURL replaces the service's own address, for any provider. It has no trailing slash, query or user, and is https
	// (http on loopback only). For vertex it also carries the document's api_endpoint. It is always set for custom-openai.
	BaseURL string `json:"base_url,omitzero"`

	// HeaderName is the header that carries an api key to a custom-openai server. Empty means Authorization.
	HeaderName string `json:"header_name,omitzero"`
	// HeaderPrefix stands before the key in that header, with its space. Empty with an empty HeaderName means "Bearer ".
	HeaderPrefix string `json:"header_prefix,omitzero"`
	// QueryName is the query parameter that carries an api key to a custom-openai server, in place of a header.
	QueryName string `json:"query_name,omitzero"`

	// AWSRegion is for signatures: bedrock and custom-openai. Empty means that the SDK's own chain says it.
	AWSRegion string `json:"aws_region,omitzero"`
	// AWSRoles are assumed one after the other, each with the credentials of the one before. Outside AWS the first is assumed
	// with the platform's own token, unless CredentialRef holds access keys.
	AWSRoles []AWSRole `json:"aws_roles,omitzero"`
	// AWSSTSEndpoint replaces the address of the region's STS.
	AWSSTSEndpoint string `json:"aws_sts_endpoint,omitzero"`
	// AWSService is the service in the signature for a custom-openai server. Empty means execute-api.
	AWSService string `json:"aws_service,omitzero"`
	// AWSWebIdentityAudience is the audience of the platform's token that AWS is shown by functions outside AWS. Empty means
	// sts.amazonaws.com, or on Azure api://AzureADTokenExchange.
	AWSWebIdentityAudience string `json:"aws_web_identity_audience,omitzero"`

	// ProjectID is for vertex. Empty means that the metadata server says it.
	ProjectID string `json:"project_id,omitzero"`
	// LocationID is for vertex and defaults to "global".
	LocationID string `json:"location_id,omitzero"`
	// GCPWorkloadIdentityProvider is the audience of a workload identity pool's provider:
	// //iam.googleapis.com/projects/NUMBER/locations/global/workloadIdentityPools/POOL/providers/PROVIDER. Functions outside
	// Google Cloud show it their platform's identity, or the token of an issuer; a native one on Google Cloud needs no pool.
	GCPWorkloadIdentityProvider string `json:"gcp_workload_identity_provider,omitzero"`
	// GCPServiceAccount is the e-mail address of a service account to act as.
	GCPServiceAccount string `json:"gcp_service_account,omitzero"`
	// GCPDelegates are the service accounts in between, when the identity may act as GCPServiceAccount only by way of them.
	GCPDelegates []string `json:"gcp_delegates,omitzero"`

	// AzureInstance is for azure-openai: the resource's name, the first label of <instance>.openai.azure.com. Exactly one
	// of it and BaseURL is set.
	AzureInstance string `json:"azure_instance,omitzero"`
	// AzureDeploymentID is for azure-openai: the one deployment that the upstream stands for. Loading has already put it
	// into Models; it is kept to say what the document said.
	AzureDeploymentID string `json:"azure_deployment_id,omitzero"`
	// AzureAPIVersion is for azure-openai: when set, the dated deployments path is used with it, otherwise /openai/v1/.
	AzureAPIVersion string `json:"azure_api_version,omitzero"`
	// AzureClientID is a client id: without AzureTenantID that of a user-assigned managed identity, with it that of an app
	// registration.
	AzureClientID string `json:"azure_client_id,omitzero"`
	// AzureTenantID is the tenant of an app registration. Without a CredentialRef the platform's own token is the federated
	// assertion that stands in for its secret.
	AzureTenantID string `json:"azure_tenant_id,omitzero"`
	// AzureFederatedTokenFile is the file with the app registration's federated assertion, as workload identity mounts it.
	AzureFederatedTokenFile string `json:"azure_federated_token_file,omitzero"`
	// AzureCloud is the Azure that the tenant and the resource are in: public (also when empty), usgovernment or china.
	AzureCloud string `json:"azure_cloud,omitzero"`

	// TokenEndpoint is where tokens are asked for with OAuth2. With the native identity of openai and anthropic it replaces
	// the vendor's own.
	TokenEndpoint string `json:"token_endpoint,omitzero"`
	// Issuer is the OpenID Connect issuer with OIDC; where tokens are asked for is discovered.
	Issuer string `json:"issuer,omitzero"`
	// TokenEndpointHosts are further hosts where that issuer's token endpoint may be.
	TokenEndpointHosts []string `json:"token_endpoint_hosts,omitzero"`
	// Grant is how tokens are asked for with OAuth2 and OIDC.
	Grant Grant `json:"grant,omitzero"`
	// ClientID is the client's id at that server. Empty means that the secret at CredentialRef holds it, or that a token
	// exchange has no client.
	ClientID string `json:"client_id,omitzero"`
	// ClientAuth is how the client shows that it is the one. It is empty for a token exchange without a client.
	ClientAuth ClientAuth `json:"client_auth,omitzero"`
	// ClientKeyID says which of the client's registered keys signs with PrivateKeyJWT.
	ClientKeyID string `json:"client_key_id,omitzero"`
	// ClientKeyAlgorithm is the algorithm of that signature. Empty means what the key allows.
	ClientKeyAlgorithm string `json:"client_key_algorithm,omitzero"`
	// ClientCertificateRef says where the certificate, its chain and its private key are, in one PEM text, with TLSClientAuth.
	ClientCertificateRef Reference `json:"client_certificate_ref,omitzero"`
	// Audience names the service that the token is for, where the server has such a parameter.
	Audience string `json:"audience,omitzero"`
	// Resource is the URL of the service that the token is for (RFC 8707).
	Resource string `json:"resource,omitzero"`

	// TokenAudience is the audience of the platform's own token that is shown to another party. Empty means what that party's
	// guides recommend.
	TokenAudience string `json:"token_audience,omitzero"`
	// IdentityProviderID is the workload identity provider at OpenAI.
	IdentityProviderID string `json:"identity_provider_id,omitzero"`
	// ServiceAccountID is the service account to act as at OpenAI or Anthropic.
	ServiceAccountID string `json:"service_account_id,omitzero"`
	// FederationRuleID, OrganizationID and WorkspaceID are Anthropic's.
	FederationRuleID string `json:"federation_rule_id,omitzero"`
	OrganizationID   string `json:"organization_id,omitzero"`
	WorkspaceID      string `json:"workspace_id,omitzero"`
}

// AWSRole is one role of a chain, and what STS is told when it is assumed
// (https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html).
type AWSRole struct {
	// RoleARN is the role.
	RoleARN string `json:"role_arn"`
	// ExternalID is what the role's trust policy asks for when the role is another party's.
	ExternalID string `json:"external_id,omitzero"`
	// SessionName names the session in CloudTrail. Empty leaves it to the gateway.
	SessionName string `json:"session_name,omitzero"`
	// SessionTags are the session's tags.
	SessionTags map[string]string `json:"session_tags,omitzero"`
	// TransitiveTags are the keys of those tags that the roles further on in the chain get too.
	TransitiveTags []string `json:"transitive_tags,omitzero"`
	// SourceIdentity stays with the session through the whole chain.
	SourceIdentity string `json:"source_identity,omitzero"`
	// PerCaller has the role assumed for each caller, who is then the source identity and in the session's tags. Only the last role has it.
	PerCaller bool `json:"per_caller,omitzero"`
	// Duration is how long the session lives: 15 minutes to 12 hours, but at most an hour for a role that a role assumes. Zero
	// means an hour.
	Duration time.Duration `json:"duration,omitzero"`
}

// Model is a model under its two names.
type Model struct {
	// Name is what callers ask for.
	Name string `json:"name"`
	// Model is the id, inference profile, ARN or deployment at the upstream.
	Model string `json:"model"`
	// Fallbacks are the public names of the models that are asked, in this order, when this one fails before its answer has begun.
	// Their own fallbacks are not.
	Fallbacks []string `json:"fallbacks,omitzero"`
}

// Logging says what a request's log line holds.
type Logging struct {
	// LogStatistics adds token usage and durations. It defaults to true.
	LogStatistics bool `json:"log_statistics"`
	// LogPayloads adds the bodies of request and answer. It defaults to false.
	LogPayloads bool `json:"log_payloads"`
}

// Audit says what is an event.
type Audit struct {
	// Denied makes events of callers that are turned away or asked for a second factor.
	Denied bool `json:"denied,omitzero"`
	// DeniedPerMinute bounds those of one instance, since anybody can be turned away as often as he likes. It defaults to 60.
	DeniedPerMinute int `json:"denied_per_minute,omitzero"`
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
	// PerCaller bounds what one caller uses, whichever rules let it.
	PerCaller CallerLimits `json:"per_caller,omitzero"`
}

// CallerLimits bound what one caller uses. Zero means that there is no bound.
type CallerLimits struct {
	// RequestsPerMinute and TokensPerMinute count in windows of a minute that begin with a caller's first request. Tokens are those of
	// prompts and answers together.
	RequestsPerMinute int64 `json:"requests_per_minute,omitzero"`
	TokensPerMinute   int64 `json:"tokens_per_minute,omitzero"`
	// ConcurrentStreams are streamed answers that are under way.
	ConcurrentStreams int64 `json:"concurrent_streams,omitzero"`
}

// Cache says how long what is fetched is kept.
type Cache struct {
	// SecretTTL is how long a stored secret is used before its store is asked again. It defaults to 5 minutes.
	SecretTTL time.Duration `json:"secret_ttl"`
	// Redis, when set, is where instances share their tokens and count together.
	Redis *Redis `json:"redis,omitzero"`
}

// Redis is a server in which instances share tokens, encrypted, and count what callers use.
type Redis struct {
	// AuthType is Native where the function's own identity logs in: to ElastiCache and Memorystore with IAM, to Azure Managed Redis with
	// Entra ID. Empty means a user with a stored password.
	AuthType AuthType `json:"auth_type,omitzero"`
	// URL is rediss://host:port/db, or redis:// on loopback. It holds no user and no password.
	URL string `json:"url,omitzero"`
	// Username is the user of the server's access control list. Empty means the default one; with Native, on AWS the user of ElastiCache,
	// and elsewhere nothing.
	Username string `json:"username,omitzero"`
	// CredentialRef says where that user's password is. It may be empty for a server on loopback, and is with Native.
	CredentialRef Reference `json:"credential_ref,omitzero"`
	// AWSCacheName is what ElastiCache calls the server, with Native on AWS: the name of a serverless cache, or the id of a replication
	// group. It defaults to that in URL.
	AWSCacheName string `json:"aws_cache_name,omitzero"`
	// Authorities are whom to trust for the server's certificate, in PEM, from the environment. Empty means the system's.
	Authorities string `json:"-"`
	// KeyRef says where the key is that tokens are encrypted under: 32 bytes in base64 or hexadecimal.
	KeyRef Reference `json:"key_ref"`
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

// Grant is a way to ask an OAuth 2.0 server for a token.
type Grant string

// The grants. GrantClientCredentials is the default.
const (
	GrantClientCredentials Grant = "client_credentials"
	GrantTokenExchange     Grant = "token_exchange"
)

// ClientAuth is a way in which a client shows an OAuth 2.0 server that it is the one.
type ClientAuth string

// The ways of client authentication. SecretBasic is the default.
const (
	SecretBasic   ClientAuth = "client_secret_basic"
	SecretPost    ClientAuth = "client_secret_post"
	PrivateKeyJWT ClientAuth = "private_key_jwt"
	PlatformJWT   ClientAuth = "platform_jwt"
	TLSClientAuth ClientAuth = "tls_client_auth"
)

// The Azure clouds.
const (
	AzurePublic       = "public"
	AzureUSGovernment = "usgovernment"
	AzureChina        = "china"
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

// NamesCallers reports whether the document itself says who is let in, and does not leave that to the platform alone.
func (d *Document) NamesCallers() bool {
	return len(d.Callers) > 0 || d.APITokens != nil || d.Fronts.admit()
}

// Holds says in a phrase what the secret at an upstream's CredentialRef has to hold.
func (u *Upstream) Holds() string {
	switch u.AuthType {
	case APIKey:
		return "the key"
	case AWSSigV4:
		return "a role's ARN, or JSON with role_arn, or JSON with aws_access_key_id and aws_secret_access_key"
	case AzureAD:
		return "JSON with tenant_id, client_id and client_secret or certificate; with azure_tenant_id and azure_client_id in the document the secret or certificate alone"
	}
	switch {
	case u.Provider == Vertex && u.Issuer == "" && u.TokenEndpoint == "":
		return "Google credentials in JSON: service_account, external_account, authorized_user or impersonated_service_account"
	case u.ClientAuth == PrivateKeyJWT:
		return "the client's private key, as PEM or JWK"
	case u.ClientID == "":
		return "JSON with client_id and client_secret"
	}
	return "the client's secret, or JSON with client_id and client_secret"
}
