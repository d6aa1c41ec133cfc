package exchange_test

import (
	"context"
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/openai/openai-go/v3/auth"

	"github.com/postern-ai/postern/localdev/fake/oidc"
	"github.com/postern-ai/postern/shared/identity/exchange"
)

// cloudToken gives OpenAI's own client a token of the platform.
type cloudToken struct{ get exchange.Secret }

func (cloudToken) TokenType() auth.SubjectTokenType { return auth.SubjectTokenTypeJWT }

func (c cloudToken) GetToken(ctx context.Context, _ auth.HTTPDoer) (string, error) {
	value, err := c.get(ctx)
	return value.Reveal(), err
}

// TestOpenAIsOwnClientAsksInTheSameWords compares with a witness: the vendor's client, at the same stand-in.
func TestOpenAIsOwnClientAsksInTheSameWords(t *testing.T) {
	t.Parallel()
	cloud := newPlatform()
	ours, server, to := openAI(t, cloud, oidc.Token{})
	if _, err := ours.Token(t.Context()); err != nil {
		t.Fatal(err)
	}
	theirs, err := auth.NewWorkloadIdentityAuth(auth.WorkloadIdentity{
		IdentityProviderID: "idp_1", ServiceAccountID: "sa_1",
		Provider: cloudToken{cloud.signs(oidc.Token{Audience: []string{auth.DefaultAudience}})},
	})
	if err != nil {
		t.Fatal(err)
	}
	asked := &wire{handler: server}
	token, err := theirs.GetToken(t.Context(), &http.Client{Transport: withAccept{asked}})
	if err != nil || !server.Valid(token) {
		t.Fatalf("their token: %v", err)
	}
	if diff := cmp.Diff(signedAway(asked.requests()), signedAway(to.requests())); diff != "" {
		t.Error(diff)
	}
}

// withAccept adds the one header that ours has and theirs has not.
type withAccept struct{ next http.RoundTripper }

func (w withAccept) RoundTrip(r *http.Request) (*http.Response, error) {
	r.Header.Set("Accept", "application/json")
	return w.next.RoundTrip(r)
}
