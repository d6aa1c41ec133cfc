package kit

import (
	"cmp"
	"context"
	"fmt"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/postern-ai/postern/shared/config"
	"github.com/postern-ai/postern/shared/identity"
	"github.com/postern-ai/postern/shared/identity/sigv4"
	"github.com/postern-ai/postern/shared/secrets"
)

// sigv4 signs for AWS: as the function's role or another cloud's identity, by
// way of the roles that the document names, or with what is stored.
func (w *wiring) sigv4(u *config.Upstream) (identity.Authorizer, error) {
	service := "bedrock"
	if u.Provider == config.CustomOpenAI {
		service = cmp.Or(u.AWSService, "execute-api")
	}
	// at returns who is at the end of some roles.
	sign := func(at func(...sigv4.Role) (*sigv4.Identity, error), roles []sigv4.Role) (identity.Authorizer, error) {
		options := sigv4.Options{Service: service, Region: u.AWSRegion}
		last := len(u.AWSRoles) - 1
		each := last >= 0 && u.AWSRoles[last].PerCaller
		before := roles
		if each {
			before = roles[:len(roles)-1]
		}
		who, err := at(before...)
		if err != nil {
			return nil, err
		}
		if each {
			return sigv4.NewPerCaller(sigv4.PerCallerOptions{Options: options, Roles: w.rolesFrom(u, who), Role: roles[len(roles)-1]})
		}
		options.Identity = who
		return sigv4.New(options)
	}
	chain := func(roles ...sigv4.Role) (*sigv4.Identity, error) { return w.chain(u, roles) }
	roles := rolesOf(u)
	if u.CredentialRef == "" {
		return sign(chain, roles)
	}
	return w.stored(u, func(s secret, value secrets.Value) (identity.Authorizer, error) {
		if role, ok, err := parseRole(value); ok {
			if err != nil {
				return nil, err
			}
			return sign(chain, append([]sigv4.Role{role}, roles...))
		}
		keys, err := sigv4.ParseStaticKeys(value)
		if err != nil {
			return nil, err
		}
		from := sigv4.NewIdentity(sigv4.IdentityOptions{
			Credentials: sigv4.NewStatic(sigv4.StaticOptions{
				Keys:       func(context.Context) (sigv4.StaticKeys, error) { return keys, nil },
				OnRejected: func(sigv4.StaticKeys) { s.rejected(value) },
			}),
			Getenv: w.Getenv, Refresh: refreshOf(u),
		})
		return sign(func(roles ...sigv4.Role) (*sigv4.Identity, error) {
			if len(roles) == 0 {
				return from, nil
			}
			assumed, err := sigv4.NewRoles(w.rolesFrom(u, from))
			if err != nil {
				return nil, err
			}
			return assumed.Assume(roles...)
		}, roles)
	})
}

func rolesOf(u *config.Upstream) []sigv4.Role {
	roles := make([]sigv4.Role, len(u.AWSRoles))
	for i, r := range u.AWSRoles {
		roles[i] = sigv4.Role{
			ARN: r.RoleARN, ExternalID: r.ExternalID, SessionName: r.SessionName, SourceIdentity: r.SourceIdentity,
			Tags: r.SessionTags, TransitiveTags: r.TransitiveTags, Duration: r.Duration,
		}
	}
	return roles
}

// chain returns the identity at the end of the roles. On AWS the function's
// own role assumes the first; elsewhere the platform's token does.
func (w *wiring) chain(u *config.Upstream, roles []sigv4.Role) (*sigv4.Identity, error) {
	if w.Cloud == config.AWS {
		return w.assume(u, w.role(u), roles)
	}
	if len(roles) == 0 {
		return nil, fmt.Errorf("a function on %s has no AWS credentials of its own", w.Cloud)
	}
	first := roles[0]
	if first.ExternalID != "" || first.SourceIdentity != "" || len(first.Tags) > 0 {
		return nil, fmt.Errorf("a function on %s assumes the role %s with its platform's token, which carries no external id, source identity or session tags; "+
			"give them to a role further on in the chain", w.Cloud, first.ARN)
	}
	token, _, err := w.subject(proof{audience: u.AWSWebIdentityAudience, usual: awsAudience})
	if err != nil {
		return nil, err
	}
	web, err := sigv4.NewWebIdentity(sigv4.WebIdentityOptions{
		STSOptions: w.sts(u), RoleARN: first.ARN, SessionName: first.SessionName, Duration: first.Duration, Token: token,
	})
	if err != nil {
		return nil, err
	}
	key := fmt.Sprintf("%s %s %v %s %s", first.ARN, first.SessionName, first.Duration, u.AWSWebIdentityAudience, identityKey(u))
	from := shared(w, w.identities, key, func() *sigv4.Identity {
		return sigv4.NewIdentity(sigv4.IdentityOptions{Credentials: web, Getenv: w.Getenv, Refresh: refreshOf(u), OnReplace: w.onReplacePrincipal(u)})
	})
	return w.assume(u, from, roles[1:])
}

// assume returns the identity at the end of the roles, the first of which
// another identity assumes. Sessions are kept for all upstreams.
func (w *wiring) assume(u *config.Upstream, from *sigv4.Identity, roles []sigv4.Role) (*sigv4.Identity, error) {
	if len(roles) == 0 {
		return from, nil
	}
	var err error
	assumed := shared(w, w.roles, fmt.Sprintf("%p %s", from, identityKey(u)), func() *sigv4.Roles {
		var made *sigv4.Roles
		made, err = sigv4.NewRoles(w.rolesFrom(u, from))
		return made
	})
	if err != nil {
		return nil, err
	}
	return assumed.Assume(roles...)
}

// rolesFrom says how an identity assumes the roles of an upstream.
func (w *wiring) rolesFrom(u *config.Upstream, from *sigv4.Identity) sigv4.RolesOptions {
	return sigv4.RolesOptions{STSOptions: w.sts(u), From: from, Refresh: refreshOf(u), OnReplace: w.onReplacePrincipal(u)}
}

// sts asks in the function's own region, and outside AWS in the upstream's.
func (w *wiring) sts(u *config.Upstream) sigv4.STSOptions {
	return sigv4.STSOptions{
		Region:   cmp.Or(w.Getenv("AWS_REGION"), w.Getenv("AWS_DEFAULT_REGION"), u.AWSRegion),
		Endpoint: u.AWSSTSEndpoint, Getenv: w.Getenv,
	}
}

// role is the AWS role of the function: its credentials are fetched once for
// all upstreams that are refreshed alike.
func (w *wiring) role(u *config.Upstream) *sigv4.Identity {
	return shared(w, w.identities, identityKey(u), func() *sigv4.Identity {
		return sigv4.NewIdentity(sigv4.IdentityOptions{Getenv: w.Getenv, Refresh: refreshOf(u), OnReplace: w.onReplacePrincipal(u)})
	})
}

// identityKey is what of an upstream keeps an AWS identity from being another
// upstream's too.
func identityKey(u *config.Upstream) string {
	return fmt.Sprintf("%s %s %s %s", u.AWSSTSEndpoint, u.AWSRegion, refreshKey(u), auditKey(u))
}

// parseRole reads a secret that names a role: its ARN alone, or JSON with it.
func parseRole(value secrets.Value) (sigv4.Role, bool, error) {
	text := strings.TrimSpace(value.Reveal())
	if strings.HasPrefix(text, "arn:") {
		return sigv4.Role{ARN: text}, true, nil
	}
	var members map[string]jsontext.Value
	if json.Unmarshal([]byte(text), &members) != nil || members["role_arn"] == nil {
		return sigv4.Role{}, false, nil
	}
	var r struct {
		RoleARN        string            `json:"role_arn"`
		ExternalID     string            `json:"external_id"`
		SessionName    string            `json:"session_name"`
		SourceIdentity string            `json:"source_identity"`
		SessionTags    map[string]string `json:"session_tags"`
		TransitiveTags []string          `json:"transitive_tags"`
	}
	err := json.Unmarshal([]byte(text), &r, json.RejectUnknownMembers(true))
	return sigv4.Role{
		ARN: r.RoleARN, ExternalID: r.ExternalID, SessionName: r.SessionName, SourceIdentity: r.SourceIdentity,
		Tags: r.SessionTags, TransitiveTags: r.TransitiveTags,
	}, true, err
}
