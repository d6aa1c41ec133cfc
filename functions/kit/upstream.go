package kit

import (
	"context"
	"fmt"

	"github.com/postern-ai/postern/shared/config"
	"github.com/postern-ai/postern/shared/identity"
	"github.com/postern-ai/postern/shared/identity/entra"
	"github.com/postern-ai/postern/shared/identity/googleid"
	"github.com/postern-ai/postern/shared/identity/sigv4"
	"github.com/postern-ai/postern/shared/provider"
	"github.com/postern-ai/postern/shared/provider/azureopenai"
	"github.com/postern-ai/postern/shared/provider/bedrock"
	"github.com/postern-ai/postern/shared/provider/openai"
	"github.com/postern-ai/postern/shared/provider/vertex"
	"github.com/postern-ai/postern/shared/secrets"
)

// wiring is what upstreams share while they are put together.
type wiring struct {
	Kit
	// aws is the role of the function: its credentials are fetched once for all
	// upstreams that are refreshed alike.
	aws map[config.RefreshPolicy]*sigv4.Identity
}

// model puts a model and a credential behind an upstream. Loading the document
// has made sure that provider and auth type go together; which wire and which
// credential that means is the two switches below.
func (k wiring) model(u *config.Upstream) (provider.Model, error) {
	auth, err := k.authorizer(u)
	if err != nil {
		return nil, err
	}
	sender := &provider.Sender{HTTP: k.HTTP, Auth: auth}
	switch u.Provider {
	case config.Bedrock:
		sender.Rejected = bedrock.Rejected
		return bedrock.New(u, sender)
	case config.Vertex:
		return vertex.NewWith(u, sender, vertex.Options{Project: k.metadata().ProjectID})
	case config.AzureOpenAI:
		return azureopenai.New(u, sender)
	case config.OpenAI, config.CustomOpenAI:
		return openai.New(u, sender)
	}
	return nil, fmt.Errorf("provider %s is not linked into this function", u.Provider)
}

func (k wiring) authorizer(u *config.Upstream) (identity.Authorizer, error) {
	if u.AuthType == config.APIKey {
		return k.key(u)
	}
	refresh := refreshOf(u.RefreshPolicy)
	switch u.Provider {
	case config.Bedrock:
		return sigv4.New(sigv4.Options{Service: "bedrock", Region: u.AWSRegion, Identity: k.role(u.RefreshPolicy)})
	case config.Vertex:
		return identity.Bearer(identity.NewCache(k.metadata(), identity.CacheOptions{Refresh: refresh})), nil
	case config.AzureOpenAI:
		options := entra.Options{ClientID: u.AzureClientID}
		if len(u.Scopes) > 0 {
			options.Scope = u.Scopes[0]
		}
		source := entra.New(options)
		return identity.Bearer(identity.NewCache(source, identity.CacheOptions{Refresh: refresh})), nil
	}
	return nil, fmt.Errorf("auth_type %s is not linked into this function", u.AuthType)
}

// key returns the authorizer for a stored key. The key is read for each
// request: the environment and mounted files cost nothing to read, and a file
// may change under a running function.
func (k wiring) key(u *config.Upstream) (identity.Authorizer, error) {
	ref, err := secrets.ParseRef(u.CredentialRef.String())
	if err != nil {
		return nil, fmt.Errorf("credential_ref: %w", err)
	}
	header, prefix := "Authorization", "Bearer "
	if u.Provider == config.AzureOpenAI {
		header, prefix = "Api-Key", ""
	}
	return identity.Header(identity.HeaderOptions{
		Name: header, Prefix: prefix,
		Principal: identity.Principal{Name: u.CredentialRef.String(), Source: "stored key"},
		Key: func(ctx context.Context) (secrets.Value, error) {
			return k.Secrets.Read(ctx, ref)
		},
	}), nil
}

// metadata is Google's metadata server. It is asked directly, never through a
// proxy.
func (k Kit) metadata() *googleid.Metadata {
	return googleid.New(googleid.Options{Getenv: k.Getenv})
}

// role is the AWS role of the function.
func (k wiring) role(policy config.RefreshPolicy) *sigv4.Identity {
	role := k.aws[policy]
	if role == nil {
		role = sigv4.NewIdentity(sigv4.IdentityOptions{Getenv: k.Getenv, Refresh: refreshOf(policy)})
		k.aws[policy] = role
	}
	return role
}

func refreshOf(policy config.RefreshPolicy) identity.Refresh {
	if policy == config.Lazy {
		return identity.Refresh{Policy: identity.Lazy}
	}
	return identity.Refresh{}
}
