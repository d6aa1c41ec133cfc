package kit

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/postern-ai/postern/shared/config"
	"github.com/postern-ai/postern/shared/identity"
	"github.com/postern-ai/postern/shared/identity/entra"
	"github.com/postern-ai/postern/shared/identity/exchange"
	"github.com/postern-ai/postern/shared/identity/sigv4"
)

// The audiences that other parties' guides have the platform's token made for.
const (
	awsAudience       = "sts.amazonaws.com"
	anthropicAudience = "https://api.anthropic.com"
	// entraAudience is the one that Entra has for tokens that are shown in
	// exchange. A managed identity gets tokens for registered applications
	// alone, and this one is there in every tenant, so it is also what a
	// function on Azure shows to everybody else.
	entraAudience = entra.TokenExchange
)

// proof is the platform's own token, by which it vouches for the function to
// another party.
type proof struct {
	// audience is what the party expects; empty means usual, or what stands in
	// for that on Azure.
	audience, usual string
	// duration is how long it has to be valid, where that can be chosen. Zero
	// leaves it to the platform.
	duration time.Duration
}

// subject returns a source of such tokens, and whose they are.
func (w *wiring) subject(p proof) (source identity.TokenSource, name string, err error) {
	switch w.Cloud {
	case config.AWS:
		source, err = sigv4.NewOutbound(sigv4.OutboundOptions{
			STSOptions: sigv4.STSOptions{Getenv: w.Getenv}, From: w.role(&config.Upstream{}),
			Audience: cmp.Or(p.audience, p.usual), Duration: p.duration,
		})
		return source, "AWS role", err
	case config.GCP:
		metadata, audience := w.metadata(nil), cmp.Or(p.audience, p.usual)
		return identity.TokenFunc(func(ctx context.Context) (identity.Token, error) { return metadata.IDToken(ctx, audience) }), "service account", nil
	case config.Azure:
		resource := strings.TrimSuffix(cmp.Or(p.audience, entraAudience), "/.default")
		return entra.New(entra.Options{ClientID: w.Getenv("AZURE_CLIENT_ID"), Scope: resource + "/.default"}), "managed identity", nil
	}
	return nil, "", fmt.Errorf("a function on %s has no token of its own", w.Cloud)
}

// secretSubject is the same for the packages that take it as a secret.
func (w *wiring) secretSubject(p proof) (token exchange.Secret, name string, err error) {
	source, name, err := w.subject(p)
	if err != nil {
		return nil, "", err
	}
	return exchange.FromSource(source), name, nil
}
