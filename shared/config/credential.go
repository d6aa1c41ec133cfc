package config

import (
	"fmt"
	"slices"
	"strings"
)

// credential reads how the gateway proves itself to the upstream.
func (l *loader) credential(o object, u *Upstream) {
	works := l.authType(o, u)
	reference, hasReference := o.field("credential_ref")
	scopes, hasScopes := o.field("scopes")
	policy, hasPolicy := o.field("refresh_policy")
	endpoint, hasEndpoint := o.field("token_endpoint")
	issuer, hasIssuer := o.field("issuer")
	if !works {
		return // what is wrong with these fields depends on an auth type that has already been refused
	}
	if hasEndpoint {
		endpoint.wrong(fmt.Sprintf("the field has no effect with auth_type %s", u.AuthType), "it belongs to oauth2; remove it")
	}
	if hasIssuer {
		issuer.wrong(fmt.Sprintf("the field has no effect with auth_type %s", u.AuthType), "it belongs to oidc; remove it")
	}
	if hasReference {
		l.credentialRef(reference, u)
	} else if u.AuthType == APIKey {
		o.missing("credential_ref", "the place of the key is missing", referenceRemedy)
	}
	if hasScopes {
		l.scopes(scopes, u)
	}
	if hasPolicy {
		l.refreshPolicy(policy, u)
	} else if u.AuthType != APIKey {
		u.RefreshPolicy = PreExpiry
	}
	if p, ok := o.field("azure_client_id"); ok && u.Provider == AzureOpenAI && u.AuthType == APIKey {
		p.wrong("the field has no effect with auth_type api_key", "it names a managed identity; remove it or use auth_type: azure_ad")
	}
}

// authType reads the auth type and reports whether this version can do it with the provider.
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
	supported := authTypesOf(u.Provider, false)
	if !stated {
		if !slices.Contains(supported, Native) {
			at.wrong(fmt.Sprintf("the auth type is missing, and %s has no native one", u.Provider),
				"set auth_type: "+list(authTypesOf(u.Provider, true), "or"))
			return false
		}
		u.AuthType = Native
	}
	cell, ok := cellOf(u.Provider, u.AuthType)
	if !ok {
		at.wrong(fmt.Sprintf("provider %s does not support auth type %s", u.Provider, u.AuthType),
			"it supports "+list(supported, "and"))
		return false
	}
	if len(cell.Clouds) > 0 {
		return true
	}
	l.notYet(o, at, u)
	return false
}

// notYet refuses a combination that makes sense and that this version cannot do.
func (l *loader) notYet(o object, at place, u *Upstream) {
	available := authTypesOf(u.Provider, true)
	if len(available) == 0 {
		p, _ := o.field("provider")
		var usable []Provider
		for _, provider := range Providers() {
			if len(authTypesOf(provider, true)) > 0 {
				usable = append(usable, provider)
			}
		}
		p.wrong("this provider is not available in this version", "remove it; available are "+list(usable, "and"))
		return
	}
	what := fmt.Sprintf("auth type %s", u.AuthType)
	if at.kind == kindInvalid {
		what += ", the default,"
	}
	at.wrong(fmt.Sprintf("%s is not available for provider %s in this version", what, u.Provider),
		"set auth_type: "+list(available, "or"))
}

func (l *loader) credentialRef(p place, u *Upstream) {
	p.hidden = true
	switch u.AuthType {
	case APIKey:
		u.CredentialRef, _ = p.reference()
	case Native:
		types := slices.DeleteFunc(authTypesOf(u.Provider, true), func(a AuthType) bool { return a != APIKey })
		remedy := "remove it"
		if len(types) > 0 {
			remedy += ", or set auth_type: api_key to use a stored key"
		}
		p.wrong("native identity uses no stored credential", remedy)
	case AWSSigV4:
		p.wrong("a role to assume (credential_ref with aws_sigv4) is not available in this version",
			"remove it to sign with the function's own role")
	case AzureAD:
		p.wrong("an app registration (credential_ref with azure_ad) is not available in this version",
			"remove it to use the function's managed identity")
	default:
		p.wrong(fmt.Sprintf("credential_ref with auth_type %s is not available in this version", u.AuthType), "remove it")
	}
}

// scopes reads the scopes of an Entra token. A managed identity is asked for one resource at a time, as its .default scope.
func (l *loader) scopes(p place, u *Upstream) {
	if u.AuthType != AzureAD {
		remedy := "remove it"
		if _, ok := cellOf(u.Provider, AzureAD); ok {
			remedy = "set auth_type: azure_ad or remove it"
		}
		p.wrong(fmt.Sprintf("the field has no effect with auth_type %s", u.AuthType), remedy)
		return
	}
	u.Scopes = p.strings(func(p place, s string) bool {
		resource, ok := strings.CutSuffix(s, "/.default")
		if !ok || len(s) > 512 || !isPublicModel(s) || !strings.HasPrefix(resource, "https://") && !strings.HasPrefix(resource, "api://") {
			p.wrong("a managed identity has no such scope", "give the resource with /.default at its end, such as https://cognitiveservices.azure.com/.default")
			return false
		}
		return true
	})
	if len(u.Scopes) > 1 {
		p.wrong("a managed identity's token has one scope", "keep one")
	}
}

func (l *loader) refreshPolicy(p place, u *Upstream) {
	s, ok := p.string()
	if !ok {
		return
	}
	if u.AuthType == APIKey {
		p.wrong("the field has no effect with auth_type api_key", "a stored key has no lifetime; remove it")
		return
	}
	switch RefreshPolicy(s) {
	case PreExpiry, Lazy:
		u.RefreshPolicy = RefreshPolicy(s)
	case Proactive:
		p.wrong("this refresh policy is not available in this version", "use pre-expiry or lazy")
	default:
		p.wrong("there is no such refresh policy", "use pre-expiry or lazy")
	}
}
