package kit

import (
	"net/http"
	"testing"

	"github.com/postern-ai/postern/localdev/fake/secretsmanager"
	"github.com/postern-ai/postern/shared/config"
	"github.com/postern-ai/postern/shared/identity"
)

// BenchmarkAuthorize puts credentials on requests that have been fetched
// already.
func BenchmarkAuthorize(b *testing.B) {
	w := newWorld(b)
	w.secrets.Seed(secretsmanager.Secret{Name: "key", Text: "the-stored-key"})
	w.secrets.Seed(secretsmanager.Secret{Name: "client", Text: `{"client_id": "basic", "client_secret": "` + clientPass + `"}`})
	for _, c := range []struct{ name, document string }{
		{"a stored key", "provider: openai\nauth_type: api_key\ncredential_ref: key\n"},
		{"a token of a stored client", "provider: openai\nauth_type: oauth2\ntoken_endpoint: '{oauth}/token'\ncredential_ref: client\n"},
		{"a token of the platform's own", "provider: openai\nidentity_provider_id: idp_aws\nservice_account_id: svac_gateway\ntoken_endpoint: '{openai}/oauth/token'\n"},
		{"a signature", "provider: bedrock\n"},
	} {
		b.Run(c.name, func(b *testing.B) {
			wiring, d, err := w.wiring(b, config.AWS, c.document, nil)
			if err != nil {
				b.Fatal(err)
			}
			auth, err := wiring.authorizer(&d.Upstreams[0])
			if err != nil {
				b.Fatal(err)
			}
			ctx, _ := identity.WithReport(b.Context())
			r := request(ctx, b)
			if err := auth.Authorize(r); err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				r.Header = http.Header{}
				if err := auth.Authorize(r); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
