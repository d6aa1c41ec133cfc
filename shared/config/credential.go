package config

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// credential reads how the gateway proves itself to the upstream.
func (l *loader) credential(o object, u *Upstream) {
	usable := l.authType(o, u)
	l.options(o, u, usable)
	reference, hasReference := o.field("credential_ref")
	scopes, hasScopes := o.field("scopes")
	lifetime := l.lifetime(o)
	if !usable {
		return // what is wrong with these fields depends on an auth type that has already been refused
	}
	if hasReference {
		l.credentialRef(reference, u)
	}
	if hasScopes {
		l.scopes(scopes, u)
	}
	lifetime(u)
	l.sources(o, u)
}

// authType reads the auth type and reports whether it goes together with the provider.
func (l *loader) authType(o object, u *Upstream) bool {
	at := place{loader: l, path: join(o.path, "auth_type"), node: node{line: o.line}}
	stated := false
	if p, ok := o.field("auth_type"); ok {
		s, ok := p.string()
		if !ok {
			return false
		}
		at, stated = p, true
		u.AuthType = AuthType(s)
		if !slices.Contains(AuthTypes(), u.AuthType) {
			remedy := "use one of " + list(AuthTypes(), "or")
			if near, ok := nearest(s, texts(AuthTypes())); ok {
				remedy = fmt.Sprintf("did you mean %s?", near)
			}
			p.wrong("there is no such auth type", remedy)
			return false
		}
	}
	if u.Provider == "" {
		return false
	}
	supported := authTypesOf(u.Provider)
	if !stated {
		if !slices.Contains(supported, Native) {
			at.wrong(fmt.Sprintf("the auth type is missing, and %s has no native one", u.Provider), "set auth_type: "+list(supported, "or"))
			return false
		}
		u.AuthType = Native
	}
	if !slices.Contains(supported, u.AuthType) {
		at.wrong(fmt.Sprintf("provider %s does not support auth type %s", u.Provider, u.AuthType), "it supports "+list(supported, "and"))
		return false
	}
	return true
}

func (l *loader) credentialRef(p place, u *Upstream) {
	p.hidden = true
	if u.AuthType == Native && u.Provider != Vertex {
		stored := slices.DeleteFunc(authTypesOf(u.Provider), func(a AuthType) bool { return a == Native })
		p.wrong("native identity uses no stored credential", "remove it, or set auth_type: "+list(stored, "or")+" to use a stored one")
		return
	}
	u.CredentialRef, _ = p.reference()
}

// scopes reads the scopes of the token that is asked for. Entra gives out tokens for one resource at a time, as its .default
// scope.
func (l *loader) scopes(p place, u *Upstream) {
	entra := u.AuthType == AzureAD || u.AuthType == Native && u.Provider == AzureOpenAI
	if u.AuthType == APIKey || u.AuthType == AWSSigV4 || u.AuthType == Native && u.Provider != AzureOpenAI && u.Provider != Vertex {
		p.wrong(fmt.Sprintf("the field has no effect with auth_type %s", u.AuthType), "remove it")
		return
	}
	u.Scopes = p.strings(func(p place, s string) bool {
		switch {
		case entra && !isEntraScope(s):
			p.wrong("an application has no such scope", "give the resource with /.default at its end, such as https://cognitiveservices.azure.com/.default")
			return false
		case len(s) > 512 || !isPublicModel(s) || strings.ContainsAny(s, `"\`):
			p.wrong("this is not a scope", "give one scope per item, without spaces, quotes and backslashes")
			return false
		}
		return true
	})
	if entra && len(u.Scopes) > 1 {
		p.wrong("an application's token has one scope", "keep one")
	}
}

func isEntraScope(s string) bool {
	resource, ok := strings.CutSuffix(s, "/.default")
	return ok && len(s) <= 512 && isPublicModel(s) &&
		(strings.HasPrefix(resource, "https://") || strings.HasPrefix(resource, "api://") || isGUID(resource))
}

// lifetime asks for the fields about credentials that expire, and returns what reads them once the auth type is known to be
// right.
func (l *loader) lifetime(o object) func(*Upstream) {
	policy, hasPolicy := o.field("refresh_policy")
	window, hasWindow := o.field("refresh_window")
	jitter, hasJitter := o.field("refresh_jitter")
	return func(u *Upstream) {
		if u.AuthType == APIKey {
			for _, p := range []place{policy, window, jitter} {
				if p.loader != nil {
					p.wrong("the field has no effect with auth_type api_key", "a stored key has no lifetime; remove it")
				}
			}
			return
		}
		u.RefreshPolicy = PreExpiry
		if s, ok := "", false; hasPolicy {
			if s, ok = policy.string(); ok {
				u.RefreshPolicy = l.refreshPolicy(policy, s)
			}
		}
		for _, f := range []struct {
			place  place
			given  bool
			target *time.Duration
		}{{window, hasWindow, &u.RefreshWindow}, {jitter, hasJitter, &u.RefreshJitter}} {
			switch {
			case !f.given:
			case u.RefreshPolicy == Lazy:
				f.place.wrong("the field has no effect with refresh_policy lazy", "remove it, or use pre-expiry")
			default:
				*f.target, _ = f.place.duration(time.Second, time.Hour)
			}
		}
		if u.RefreshJitter > max(u.RefreshWindow, 5*time.Minute) {
			jitter.wrong("it is longer than the window that it is a part of", "lower it or raise refresh_window")
		}
	}
}

func (l *loader) refreshPolicy(p place, s string) RefreshPolicy {
	switch policy := RefreshPolicy(s); {
	case policy == PreExpiry, policy == Lazy, policy == Proactive && l.shared:
		return policy
	case policy == Proactive:
		p.wrong("instances have no place to share tokens, so nothing could be refreshed ahead of a request", "describe cache.redis, or use pre-expiry or lazy")
	default:
		p.wrong("there is no such refresh policy", "use pre-expiry, lazy or proactive")
	}
	return PreExpiry
}

// StandsForClient reports whether the upstream's tokens stand for a client whose credential is stored, whichever function asks for them. All
// others stand for the function itself.
func (u *Upstream) StandsForClient() bool {
	switch u.AuthType {
	case AzureAD:
		return u.CredentialRef != ""
	case OAuth2, OIDC:
		stored := u.ClientAuth == SecretBasic || u.ClientAuth == SecretPost || u.ClientAuth == PrivateKeyJWT || u.ClientAuth == TLSClientAuth
		return stored && u.Grant == GrantClientCredentials
	}
	return false
}

// ahead refuses to have tokens refreshed by a function that cannot get them.
func (l *loader) ahead(o object, u *Upstream) {
	if p, ok := o.field("refresh_policy"); ok && u.RefreshPolicy == Proactive && !u.StandsForClient() {
		p.wrong("its credentials stand for the gateway's own identity, which the scheduled function that would refresh them does not have",
			"use pre-expiry, or a client with a stored credential")
	}
}

// sources makes sure that there is exactly one place that the credential comes from.
func (l *loader) sources(o object, u *Upstream) {
	switch u.AuthType {
	case APIKey:
		l.needsReference(o, u)
		if p, ok := o.field("query_name"); ok {
			if u.HeaderName != "" || u.HeaderPrefix != "" {
				p.wrong("query_name and header_name contradict each other", "keep the header; addresses end up in logs")
			}
			l.warn(p, "the key is sent in the address, and addresses end up in the logs of servers and proxies", "use header_name if the server takes a header")
		}
	case AWSSigV4:
		l.webIdentity(o, u)
	case AzureAD:
		l.entra(o, u)
	case OAuth2, OIDC:
		if u.Provider == Vertex {
			l.google(o, u)
			return
		}
		l.oauth(o, u)
	case Native:
		switch u.Provider {
		case Bedrock:
			l.webIdentity(o, u)
		case AzureOpenAI:
			l.entra(o, u)
		case Vertex:
			l.google(o, u)
		case OpenAI:
			l.needs(o, "identity_provider_id", "service_account_id")
		case Anthropic:
			l.needs(o, "federation_rule_id", "organization_id", "service_account_id")
		}
	}
}

func (l *loader) needsReference(o object, u *Upstream) {
	if !o.has("credential_ref") {
		what := "credential"
		if u.AuthType == APIKey {
			what = "key"
		}
		o.missing("credential_ref", "the place of the "+what+" is missing", referenceRemedy)
	}
}

// needs reports the fields without which the upstream's own identity means nothing.
func (l *loader) needs(o object, names ...string) {
	for _, name := range names {
		if !o.has(name) {
			o.missing(name, "it is missing, and without it the platform's token cannot be exchanged", "give it, or set auth_type: api_key and credential_ref")
		}
	}
}

func (l *loader) webIdentity(o object, u *Upstream) {
	if p, ok := o.field("aws_web_identity_audience"); ok && len(u.AWSRoles) == 0 && u.CredentialRef == "" {
		p.wrong("the field has no effect without a role", "name the role in aws_roles")
	}
	if _, ok := o.field("aws_sts_endpoint"); ok && len(u.AWSRoles) == 0 && u.CredentialRef == "" {
		p, _ := o.field("aws_sts_endpoint")
		p.wrong("the field has no effect without a role", "name the role in aws_roles")
	}
}

func (l *loader) entra(o object, u *Upstream) {
	if p, ok := o.field("azure_instance"); ok && u.AzureCloud != "" && u.AzureCloud != AzurePublic {
		p.wrong("azure_instance means NAME.openai.azure.com, which is in the public cloud", "give base_url, such as https://NAME.openai.azure.us")
	}
	file, hasFile := o.field("azure_federated_token_file")
	if hasFile && u.CredentialRef != "" {
		file.wrong("azure_federated_token_file and credential_ref contradict each other", "keep one of the two")
	}
	if hasFile && (u.AzureTenantID == "" || u.AzureClientID == "") {
		file.wrong("an assertion is of no use without the app registration that it is for", "give azure_tenant_id and azure_client_id")
	} else if p, ok := o.field("azure_tenant_id"); ok && u.AzureClientID == "" && u.CredentialRef == "" {
		p.wrong("the app registration in this tenant is missing", "give azure_client_id, or credential_ref")
	}
	if u.Provider == CustomOpenAI && len(u.Scopes) == 0 && !o.has("scopes") {
		o.missing("scopes", "the scope of the Entra token is missing", "give the server's own, such as api://CLIENT-ID/.default")
	}
}

// google makes sure of one source for Vertex AI: a stored credential, a pool that is shown the platform's identity or an
// issuer's token, or the service account of the function.
func (l *loader) google(o object, u *Upstream) {
	pool, hasPool := o.field("gcp_workload_identity_provider")
	if p, ok := o.field("gcp_delegates"); ok && !o.has("gcp_service_account") {
		p.wrong("the field has no effect without gcp_service_account", "name the service account to act as, or remove it")
	}
	client := o.has("issuer") || o.has("token_endpoint")
	audience, hasAudience := o.field("token_audience")
	switch {
	case client:
		if !hasPool {
			o.missing("gcp_workload_identity_provider", "Google takes the token of another issuer by way of a workload identity pool only, and its name is missing",
				"give the full name of the pool's provider")
		}
		l.oauth(o, u)
		return
	case hasPool && u.CredentialRef != "":
		pool.wrong("gcp_workload_identity_provider and credential_ref contradict each other", "keep one of the two; an external_account credential names its pool itself")
	case hasAudience && !hasPool:
		audience.wrong("the field has no effect without gcp_workload_identity_provider", "remove it")
	}
	for _, name := range clientFields() {
		if p, ok := o.field(name); ok {
			p.wrong("the field has no effect without the server that the client is registered at", "give token_endpoint (oauth2) or issuer (oidc), or remove it")
		}
	}
}

// clientFields are those that say something of an OAuth 2.0 client.
func clientFields() []string {
	return []string{"client_id", "client_auth", "client_key_id", "client_key_algorithm", "client_certificate_ref", "grant", "audience", "resource", "token_endpoint_hosts"}
}

// oauth makes sure that a client is complete and has one way to show that it is the one.
func (l *loader) oauth(o object, u *Upstream) {
	switch {
	case u.AuthType == OAuth2 && !o.has("token_endpoint"):
		o.missing("token_endpoint", "the token endpoint is missing", "give the URL where the server gives out tokens, or set auth_type: oidc and issuer")
	case u.AuthType == OIDC && !o.has("issuer"):
		o.missing("issuer", "the issuer is missing", "give the URL of the OpenID Connect issuer, to the letter, or set auth_type: oauth2 and token_endpoint")
	}
	if u.Grant == "" {
		u.Grant = GrantClientCredentials
	}
	if u.ClientAuth == "" && !(u.Grant == GrantTokenExchange && u.CredentialRef == "" && u.ClientID == "") {
		u.ClientAuth = SecretBasic
	}
	reference, hasReference := o.field("credential_ref")
	reference.hidden = true
	certificate, hasCertificate := o.field("client_certificate_ref")
	switch u.ClientAuth {
	case SecretBasic, SecretPost, PrivateKeyJWT:
		l.needsReference(o, u)
	case PlatformJWT, TLSClientAuth:
		if hasReference {
			reference.wrong(fmt.Sprintf("client_auth %s uses no stored secret", u.ClientAuth), "remove it")
		}
	}
	switch {
	case u.ClientAuth == TLSClientAuth && !hasCertificate:
		o.missing("client_certificate_ref", "the place of the client certificate is missing", referenceRemedy)
	case u.ClientAuth != TLSClientAuth && hasCertificate:
		certificate.wrong("the field has no effect without client_auth: tls_client_auth", "remove it, or set that")
	}
	if u.ClientID == "" && slices.Contains([]ClientAuth{PrivateKeyJWT, PlatformJWT, TLSClientAuth}, u.ClientAuth) && !o.has("client_id") {
		o.missing("client_id", "the client's id is missing", "give the id under which the client is registered at the server")
	}
	for _, name := range []string{"client_key_id", "client_key_algorithm"} {
		if p, ok := o.field(name); ok && u.ClientAuth != PrivateKeyJWT {
			p.wrong("the field has no effect without client_auth: private_key_jwt", "remove it, or set that")
		}
	}
	platform := u.ClientAuth == PlatformJWT || u.Grant == GrantTokenExchange
	if p, ok := o.field("token_audience"); ok && !platform {
		p.wrong("the field has no effect, because the platform's token is not used", "remove it, or set client_auth: platform_jwt or grant: token_exchange")
	} else if !ok && platform {
		o.missing("token_audience", "the audience of the platform's token is missing", "give the one that the server expects, often its issuer or token endpoint")
	}
}

// warn notes something that works and that the document's author should know about.
func (l *loader) warn(p place, message, remedy string) {
	l.warnings = append(l.warnings, Problem{Path: p.path, Message: message, Remedy: remedy, Line: p.line})
}
