package caller_test

import (
	"errors"
	"net/http"
	"testing"

	"github.com/postern-ai/postern/localdev/fake/oidc"
	"github.com/postern-ai/postern/shared/caller"
	"github.com/postern-ai/postern/shared/config"
)

// TestChallengesSayWhatWasMissing pins the header of an answer 401 for each kind of refusal.
func TestChallengesSayWhatWasMissing(t *testing.T) {
	t.Parallel()
	const algorithms = `algs="RS256 RS384 RS512 PS256 PS384 PS512 ES256 ES384 ES512 EdDSA"`
	issuer := oidc.New(issuerURL)
	h := newHolder(t, "ES256")
	bound := boundTo(t, issuer, h)
	by := demanding(issuer, config.DPoPOptional)
	for _, test := range []struct {
		name    string
		headers []string
		want    string
	}{
		{"nothing was there", nil, `Bearer realm="postern"`},
		{"something in another scheme was", []string{"Authorization", "Basic YTpi"}, `Bearer realm="postern"`},
		{"what was there is no token", []string{"Authorization", "Bearer sk-abc"}, `Bearer realm="postern", error="invalid_token"`},
		{"a token of somebody else's issuer", []string{"Authorization", "Bearer " + mint(t, issuer, oidc.Token{Claims: map[string]any{"iss": "https://other.example.com"}})}, `Bearer realm="postern", error="invalid_token"`},
		{"a token that does not count", []string{"Authorization", "Bearer " + mint(t, issuer, oidc.Token{Lifetime: -3600e9})}, `Bearer realm="postern", error="invalid_token"`},
		{"a token that lacks its proof", []string{"Authorization", "Bearer " + bound}, `DPoP realm="postern", error="invalid_token", ` + algorithms},
		{"a proof that does not count", []string{"Authorization", "DPoP " + bound, "DPoP", "x"}, `DPoP realm="postern", error="invalid_dpop_proof", ` + algorithms},
	} {
		_, err := by.Authenticate(request(t, test.headers...))
		known, ok := errors.AsType[*caller.Error](err)
		if !ok || known.Challenge() != test.want || known.Status() != http.StatusUnauthorized {
			t.Errorf("%s: %v is challenged with %s, want %s", test.name, err, known.Challenge(), test.want)
		}
	}
}
