package rotatekit

import (
	"cmp"
	"context"
	"errors"

	"github.com/postern-ai/postern/functions/kit"
	"github.com/postern-ai/postern/shared/config"
	"github.com/postern-ai/postern/shared/identity"
	"github.com/postern-ai/postern/shared/rotation"
	"github.com/postern-ai/postern/shared/rotation/gcpkeys"
	"github.com/postern-ai/postern/shared/rotation/oauthclients"
	"github.com/postern-ai/postern/shared/rotation/webhook"
	"github.com/postern-ai/postern/shared/secrets"
)

func (r *Rotator) google(k *config.RotatedKey, u *config.Upstream) (making, error) {
	own, err := r.access.Authorizer(&config.Upstream{
		Name: k.Name, Provider: config.Vertex, AuthType: config.Native,
		GCPWorkloadIdentityProvider: k.GCPWorkloadIdentityProvider, GCPServiceAccount: k.GCPServiceAccount,
	})
	if err != nil {
		return making{}, err
	}
	if k.Issuer == config.IssuerGCPServiceAccount {
		return by(gcpkeys.NewAccountKeys(gcpkeys.AccountOptions{
			Email: k.ServiceAccountEmail, Authorizer: own, Transport: r.clock,
			Endpoint: r.kit.Getenv("CLOUDSDK_API_ENDPOINT_OVERRIDES_IAM"), TokenEndpoint: r.kit.Getenv("CLOUDSDK_AUTH_TOKEN_HOST"),
		}))
	}
	return by(gcpkeys.NewAPIKeys(gcpkeys.APIKeyOptions{
		ProjectID: k.ProjectID, Target: k.APITarget, Authorizer: own, Transport: r.clock, Proof: models(u),
		Endpoint: r.kit.Getenv("CLOUDSDK_API_ENDPOINT_OVERRIDES_APIKEYS"),
	}))
}

// models is the request that every OpenAI-compatible server answers to whoever
// has a key, sent as the gateway sends a key.
func models(u *config.Upstream) rotation.Proof {
	proof := rotation.Proof{URL: u.BaseURL + "/models", Name: "Authorization", Prefix: "Bearer ", Member: "data"}
	if u.HeaderName != "" || u.HeaderPrefix != "" {
		proof.Name, proof.Prefix = cmp.Or(u.HeaderName, "Authorization"), u.HeaderPrefix
	}
	return proof
}

func (r *Rotator) oauthClient(u *config.Upstream) (making, error) {
	content, _, err := r.access.Secret(u.CredentialRef)
	if err != nil {
		return making{}, err
	}
	issuer, err := oauthclients.New(oauthclients.Options{
		// Where there is only an issuer, its token endpoint is found by those who
		// get tokens, which is how a secret is verified.
		TokenEndpoint: cmp.Or(u.TokenEndpoint, u.Issuer), Post: u.ClientAuth == config.SecretPost,
		Scopes: u.Scopes, Audience: u.Audience, Resource: u.Resource, Content: content, Transport: r.clock,
	})
	return making{issuer, tokens{r.access, u}}, err
}

// tokens verifies a credential by getting a token with it, as the gateway does.
type tokens struct {
	access   *kit.Access
	upstream *config.Upstream
}

// Verify implements [rotation.Verifier].
func (t tokens) Verify(ctx context.Context, value secrets.Value) error {
	err := t.access.Prove(ctx, t.upstream, value)
	if err == nil {
		return nil
	}
	cause := rotation.ErrUnanswered
	if known, ok := errors.AsType[*identity.Error](err); ok && !known.Retryable {
		cause = rotation.ErrRejected
	}
	return &rotation.Error{Op: "verify", Reason: identity.Why(err), Err: errors.Join(cause, err)}
}

func (r *Rotator) webhook(k *config.RotatedKey, u *config.Upstream) (making, error) {
	read, rejected, err := r.access.Secret(k.AdminRef)
	if err != nil {
		return making{}, err
	}
	issuer, err := webhook.New(webhook.Options{
		URL: k.WebhookURL, Secret: read, OnRejected: rejected, Disables: k.Disables, Transport: r.clock,
		Traits: rotation.Traits{
			Overlap: rotation.Overlap(cmp.Or(k.Overlap, string(rotation.Parallel))), Recovery: rotation.Recovery(cmp.Or(k.Recovery, string(rotation.Listed))),
			Named: k.Named, LastUsed: k.LastUsed, Expiry: k.Expires, MaxLive: k.MaxLive,
		},
	})
	if err != nil {
		return making{}, err
	}
	verifier, ok := issuer.(rotation.Verifier)
	if !ok {
		return making{}, errors.New("the webhook verifies no keys")
	}
	// A key that is used by an upstream proves itself there.
	if u != nil && u.AuthType == config.APIKey && u.QueryName == "" && u.Provider == config.CustomOpenAI {
		verifier = probe{rotation.Remote{Service: "the upstream", HTTP: secrets.Bounded(r.clock)}, models(u)}
	} else if u != nil && u.StandsForClient() {
		verifier = tokens{r.access, u}
	}
	return making{issuer, verifier}, nil
}

// probe verifies a key by a request to its upstream.
type probe struct {
	remote rotation.Remote
	proof  rotation.Proof
}

// Verify implements [rotation.Verifier].
func (p probe) Verify(ctx context.Context, value secrets.Value) error {
	return p.remote.Prove(ctx, p.proof, value)
}
