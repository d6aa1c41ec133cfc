package config

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// option is a field of an upstream that has an effect only for some providers and auth types.
type option struct {
	name string
	// where lists for which. A field that is used elsewhere too has more than one span.
	where []span
	read  func(place, *Upstream)
}

// span is each of its providers with each of its auth types. None of either means all.
type span struct {
	providers []Provider
	auths     []AuthType
}

func of(providers ...Provider) span        { return span{providers: providers} }
func (s span) with(auths ...AuthType) span { return span{s.providers, auths} }
func (s span) has(p Provider, a AuthType) bool {
	return (len(s.providers) == 0 || slices.Contains(s.providers, p)) && (len(s.auths) == 0 || slices.Contains(s.auths, a))
}

// options is which field belongs where. The names are those that users of other gateways know.
func options() []option {
	return slices.Concat(endpointOptions(), keyOptions(), awsOptions(), azureOptions(), googleOptions(), oauthOptions(), vendorOptions())
}

func endpointOptions() []option {
	bedrock, azure, vertex := []span{of(Bedrock), of(CustomOpenAI).with(AWSSigV4)}, []span{of(AzureOpenAI)}, []span{of(Vertex)}
	return []option{
		{"aws_region", bedrock, text(isRegion, "a region such as eu-central-1", func(u *Upstream) *string { return &u.AWSRegion })},
		{"project_id", vertex, text(isProject, "a project id such as my-project-123", func(u *Upstream) *string { return &u.ProjectID })},
		{"location_id", vertex, text(isLocation, "a location such as global or europe-west4", func(u *Upstream) *string { return &u.LocationID })},
		{"azure_instance", azure, text(isAzureInstance, "the resource's name, the first part of NAME.openai.azure.com", func(u *Upstream) *string { return &u.AzureInstance })},
		{"azure_deployment_id", azure, text(func(s string) bool { return ValidModel(AzureOpenAI, s) }, "the name of a deployment", func(u *Upstream) *string { return &u.AzureDeploymentID })},
		{"azure_api_version", azure, text(isAzureAPIVersion, "a version such as 2024-10-21, or leave it out to use /openai/v1/", func(u *Upstream) *string { return &u.AzureAPIVersion })},
	}
}

func keyOptions() []option {
	custom := []span{of(CustomOpenAI).with(APIKey)}
	return []option{
		{"header_name", custom, text(isHeader, "the name of a header such as X-Api-Key", func(u *Upstream) *string { return &u.HeaderName })},
		{"header_prefix", custom, func(p place, u *Upstream) {
			if s, ok := p.string(); ok {
				if len(s) > 64 || !isPublicModel(strings.TrimSuffix(s, " ")) {
					p.wrong("this cannot stand before a key in a header", `give a scheme such as "Bearer "`)
				}
				if onlyOf(s[len(s)-1:], letters+digits) {
					s += " " // YAML drops the space of a scheme that is not in quotes
				}
				u.HeaderPrefix = s
			}
		}},
		{"query_name", custom, text(func(s string) bool { return made(s, 1, 64, letters+digits+"_.-") }, "the name of a query parameter", func(u *Upstream) *string { return &u.QueryName })},
	}
}

func awsOptions() []option {
	aws, custom := []span{of(Bedrock, CustomOpenAI).with(Native, AWSSigV4)}, []span{of(CustomOpenAI).with(AWSSigV4)}
	return []option{
		{"aws_roles", aws, readRoles},
		{"aws_sts_endpoint", aws, address(func(u *Upstream) *string { return &u.AWSSTSEndpoint })},
		{"aws_service", custom, text(func(s string) bool { return made(s, 1, 64, small+digits+"-") && s[0] != '-' }, "a service as signatures name it, such as execute-api", func(u *Upstream) *string { return &u.AWSService })},
		{"aws_web_identity_audience", aws, text(isAudience, "the audience that the identity provider in AWS expects", func(u *Upstream) *string { return &u.AWSWebIdentityAudience })},
	}
}

func azureOptions() []option {
	azure, app := []span{of(AzureOpenAI, CustomOpenAI).with(Native, AzureAD)}, []span{of(AzureOpenAI, CustomOpenAI).with(Native, AzureAD)}
	return []option{
		{"azure_client_id", azure, text(isGUID, "the client id (a GUID) of a user-assigned managed identity or of an app registration", func(u *Upstream) *string { return &u.AzureClientID })},
		{"azure_tenant_id", app, text(isTenant, "the tenant's id (a GUID) or one of its domains", func(u *Upstream) *string { return &u.AzureTenantID })},
		{"azure_federated_token_file", app, text(isPath, "an absolute path", func(u *Upstream) *string { return &u.AzureFederatedTokenFile })},
		{"azure_cloud", app, text(func(s string) bool { return slices.Contains([]string{AzurePublic, AzureUSGovernment, AzureChina}, s) }, "public, usgovernment or china", func(u *Upstream) *string { return &u.AzureCloud })},
	}
}

func googleOptions() []option {
	vertex := []span{of(Vertex)}
	return []option{
		{"gcp_workload_identity_provider", vertex, text(isWorkloadIdentityProvider,
			"//iam.googleapis.com/projects/NUMBER/locations/global/workloadIdentityPools/POOL/providers/PROVIDER",
			func(u *Upstream) *string { return &u.GCPWorkloadIdentityProvider })},
		{"gcp_service_account", vertex, text(isServiceAccount, "the e-mail address of a service account", func(u *Upstream) *string { return &u.GCPServiceAccount })},
		{"gcp_delegates", vertex, func(p place, u *Upstream) {
			u.GCPDelegates = p.strings(func(p place, s string) bool {
				if !isServiceAccount(s) {
					p.wrong("the value does not have the right form", "give the e-mail address of a service account")
					return false
				}
				return true
			})
		}},
	}
}

func oauthOptions() []option {
	oauth := []span{of().with(OAuth2, OIDC)}
	return []option{
		{"token_endpoint", []span{of().with(OAuth2), of(OpenAI, Anthropic).with(Native)}, address(func(u *Upstream) *string { return &u.TokenEndpoint })},
		{"issuer", []span{of().with(OIDC)}, address(func(u *Upstream) *string { return &u.Issuer })},
		{"token_endpoint_hosts", []span{of().with(OIDC)}, func(p place, u *Upstream) {
			u.TokenEndpointHosts = p.strings(func(p place, s string) bool {
				if !made(s, 1, 253, letters+digits+".-") {
					p.wrong("this is not a host", "give a host without scheme, port and path")
					return false
				}
				return true
			})
		}},
		{"grant", oauth, choice(func(u *Upstream, s string) { u.Grant = Grant(s) }, GrantClientCredentials, GrantTokenExchange)},
		{"client_id", oauth, text(isParameter, "the client's id as the server knows it", func(u *Upstream) *string { return &u.ClientID })},
		{"client_auth", oauth, choice(func(u *Upstream, s string) { u.ClientAuth = ClientAuth(s) }, SecretBasic, SecretPost, PrivateKeyJWT, PlatformJWT, TLSClientAuth)},
		{"client_key_id", oauth, text(isParameter, "the id of the client's registered key", func(u *Upstream) *string { return &u.ClientKeyID })},
		{"client_key_algorithm", oauth, text(func(s string) bool { return slices.Contains([]string{"RS256", "PS256", "ES256"}, s) }, "RS256, PS256 or ES256", func(u *Upstream) *string { return &u.ClientKeyAlgorithm })},
		{"client_certificate_ref", oauth, func(p place, u *Upstream) { u.ClientCertificateRef, _ = p.reference() }},
		{"audience", oauth, text(isAudience, "the name of the service that the token is for", func(u *Upstream) *string { return &u.Audience })},
		{"resource", oauth, address(func(u *Upstream) *string { return &u.Resource })},
	}
}

func vendorOptions() []option {
	id := func(prefixes ...string) func(string) bool {
		return func(s string) bool {
			return made(s, 1, 128, letters+digits+"_-") && (len(prefixes) == 0 || slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(s, p) }))
		}
	}
	openAI, anthropic, both := []span{of(OpenAI).with(Native)}, []span{of(Anthropic).with(Native)}, []span{of(OpenAI, Anthropic).with(Native)}
	return []option{
		{"token_audience", []span{of(OpenAI, Anthropic).with(Native), of(Vertex), of().with(OAuth2, OIDC)}, text(isAudience, "the audience that the other party expects in the platform's token", func(u *Upstream) *string { return &u.TokenAudience })},
		{"identity_provider_id", openAI, text(id(), "the id of the workload identity provider at OpenAI", func(u *Upstream) *string { return &u.IdentityProviderID })},
		{"service_account_id", both, func(p place, u *Upstream) {
			valid, wants := id(), "the id of the service account at OpenAI"
			if u.Provider == Anthropic {
				valid, wants = id("svac_"), "the id of the service account at Anthropic, which begins with svac_"
			}
			text(valid, wants, func(u *Upstream) *string { return &u.ServiceAccountID })(p, u)
		}},
		{"federation_rule_id", anthropic, text(id("fdrl_"), "the id of the federation rule, which begins with fdrl_", func(u *Upstream) *string { return &u.FederationRuleID })},
		{"organization_id", anthropic, text(isGUID, "the organization's id, a UUID", func(u *Upstream) *string { return &u.OrganizationID })},
		{"workspace_id", anthropic, text(id("wrkspc_", "default"), "the workspace's id, which begins with wrkspc_, or default", func(u *Upstream) *string { return &u.WorkspaceID })},
	}
}

// text reads a text of a certain form.
func text[T any](valid func(string) bool, wants string, target func(*T) *string) func(place, *T) {
	return func(p place, u *T) {
		if s, ok := p.string(); ok {
			if !valid(s) {
				p.wrong("the value does not have the right form", "give "+wants)
			}
			*target(u) = s
		}
	}
}

// address reads an https URL.
func address[T any](target func(*T) *string) func(place, *T) {
	return func(p place, u *T) {
		if _, ok := p.url(); ok {
			*target(u) = p.text
		}
	}
}

// choice reads one of several words.
func choice[T any, W ~string](set func(*T, string), words ...W) func(place, *T) {
	return func(p place, u *T) {
		s, ok := p.string()
		if !ok {
			return
		}
		if !slices.Contains(words, W(s)) {
			p.wrong("there is no such value", "use "+list(words, "or"))
			return
		}
		set(u, s)
	}
}

// options reads the fields that belong to some providers and auth types, and refuses them elsewhere. Without a usable auth
// type nothing can be said about fields that depend on it.
func (l *loader) options(o object, u *Upstream, usable bool) {
	if l.table == nil {
		l.table = options()
	}
	for _, option := range l.table {
		p, ok := o.field(option.name)
		byAuth := slices.ContainsFunc(option.where, func(s span) bool { return len(s.auths) > 0 })
		if !ok || u.Provider == "" || byAuth && !usable {
			continue
		}
		auths := option.auths(u.Provider)
		switch {
		case len(auths) == 0:
			l.elsewhere(p, u.Provider, option)
		case usable && !slices.Contains(auths, u.AuthType):
			p.wrong(fmt.Sprintf("the field has no effect with auth_type %s", u.AuthType),
				"it belongs to auth_type "+list(auths, "or")+"; remove it")
		default:
			option.read(p, u)
		}
	}
}

// auths lists the auth types with which the option has an effect for a provider.
func (o option) auths(p Provider) []AuthType {
	return slices.DeleteFunc(authTypesOf(p), func(a AuthType) bool {
		return !slices.ContainsFunc(o.where, func(s span) bool { return s.has(p, a) })
	})
}

// elsewhere reports a field that would have no effect for this provider.
func (l *loader) elsewhere(p place, has Provider, o option) {
	belongs := slices.DeleteFunc(Providers(), func(p Provider) bool { return len(o.auths(p)) == 0 })
	p.wrong(fmt.Sprintf("the field has no effect for provider %s", has), fmt.Sprintf("it belongs to %s; remove it", list(belongs, "and")))
}

// The bounds of STS: https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html.
const (
	mostRoles     = 10
	mostTags      = 50
	leastSession  = 15 * time.Minute
	mostSession   = 12 * time.Hour
	mostChained   = time.Hour
	tagCharacters = letters + digits + " _.:/=+-@"
)

func readRoles(p place, u *Upstream) {
	u.AWSRoles = p.roles()
	for i, r := range u.AWSRoles {
		at := func(name string) place {
			o, _ := p.list()[i].object()
			value, _ := o.field(name)
			return value
		}
		switch {
		case u.AWSRoles[len(u.AWSRoles)-1].PerCaller && r.SourceIdentity != "":
			at("source_identity").wrong("the source identity is the caller, because the last role has per_caller", "keep one of the two")
		case r.PerCaller && i < len(u.AWSRoles)-1:
			at("per_caller").wrong("further roles would be assumed for each caller too", "give it to the last role")
		}
		for _, tag := range []string{"postern_caller", "postern_caller_id"} {
			if _, taken := r.SessionTags[tag]; taken && r.PerCaller {
				at("session_tags").wrong(fmt.Sprintf("the tag %s says who called, because the role has per_caller", tag), "remove it")
			}
		}
	}
}

func (p place) roles() []AWSRole {
	items := p.list()
	if p.kind == kindList && (len(items) == 0 || len(items) > mostRoles) {
		p.wrong("the number of roles is out of range", fmt.Sprintf("name 1 to %d roles, in the order in which they are assumed", mostRoles))
	}
	var roles []AWSRole
	for i, item := range items {
		if role, ok := readRole(item, i > 0); ok {
			roles = append(roles, role)
		}
	}
	return roles
}

// readRole reads a role. One that a role assumes can live for an hour only.
func readRole(item place, chained bool) (AWSRole, bool) {
	var r AWSRole
	if item.kind == kindText {
		item.node = node{kind: kindMapping, line: item.line, fields: []field{{key: "role_arn", line: item.line, value: item.node}}}
	}
	o, ok := item.object()
	if !ok {
		return r, false
	}
	if p, ok := o.field("role_arn"); !ok {
		o.missing("role_arn", "the role is missing", "give its ARN, such as arn:aws:iam::123456789012:role/gateway")
	} else if r.RoleARN, ok = p.string(); ok && !isRoleARN(r.RoleARN) {
		p.wrong("this is not the ARN of a role", "give it as arn:aws:iam::123456789012:role/gateway")
	}
	for _, f := range []struct {
		name   string
		least  int
		most   int
		extra  string
		target *string
	}{
		{"external_id", 2, 1224, "_+=,.@:/-", &r.ExternalID},
		{"session_name", 2, 64, "_+=,.@-", &r.SessionName},
		{"source_identity", 2, 64, "_+=,.@-", &r.SourceIdentity},
	} {
		if p, ok := o.field(f.name); ok {
			if s, ok := p.string(); ok && !made(s, f.least, f.most, letters+digits+f.extra) {
				p.wrong("the value does not have the right form", fmt.Sprintf("use %d to %d letters, digits and %s", f.least, f.most, f.extra))
			} else if ok {
				*f.target = s
			}
		}
	}
	readTags(o, &r)
	if p, ok := o.field("per_caller"); ok {
		r.PerCaller, _ = p.flag()
	}
	if p, ok := o.field("duration"); ok {
		most := mostSession
		if chained {
			most = mostChained
		}
		r.Duration, _ = p.duration(leastSession, most)
	}
	o.finish(nil)
	return r, true
}

func readTags(o object, r *AWSRole) {
	if p, ok := o.field("session_tags"); ok && p.is(kindMapping, "a mapping of tags") {
		r.SessionTags = map[string]string{}
		if len(p.fields) > mostTags || len(p.fields) == 0 {
			p.wrong("the number of tags is out of range", fmt.Sprintf("give 1 to %d tags, or remove the field", mostTags))
		}
		for _, f := range p.fields {
			value := place{loader: p.loader, path: join(p.path, f.key), node: f.value}
			s, ok := value.string()
			if !ok {
				continue
			}
			if !made(f.key, 1, 128, tagCharacters) || !made(s, 1, 256, tagCharacters) {
				value.wrong("this is not a session tag", "use letters, digits, spaces and _.:/=+-@, at most 128 in the key and 256 in the value")
				continue
			}
			r.SessionTags[f.key] = s
		}
	}
	if p, ok := o.field("transitive_tags"); ok {
		r.TransitiveTags = p.strings(func(p place, s string) bool {
			if _, ok := r.SessionTags[s]; !ok {
				p.wrong("there is no session tag of this name", "give it under session_tags, or remove it")
				return false
			}
			return true
		})
	}
}
