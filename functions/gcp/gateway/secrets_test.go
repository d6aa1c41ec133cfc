package gateway

import (
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/postern-ai/postern/localdev/fake/gcpsecretmanager"
	"github.com/postern-ai/postern/localdev/fake/metadata"
	"github.com/postern-ai/postern/shared/secrets"
)

// TestAPlainNameIsInSecretManager reads it as the function's service account,
// in the project that the metadata server or the environment says.
func TestAPlainNameIsInSecretManager(t *testing.T) {
	t.Parallel()
	account := metadata.New(metadata.Options{ProjectID: "some-project"})
	platform := httptest.NewServer(account)
	defer platform.Close()
	service := gcpsecretmanager.New(gcpsecretmanager.Options{
		ProjectID: "some-project", Member: func(token string) (string, bool) { return "the account", account.Valid(token) },
	})
	service.Seed(gcpsecretmanager.Secret{Name: "openai", Text: "the-stored-key"})
	server := httptest.NewServer(service)
	defer server.Close()
	for _, c := range []struct{ name, project, host, want string }{
		{"the metadata server says the project", "", strings.TrimPrefix(platform.URL, "http://"), ""},
		{"the environment says the project", "some-project", strings.TrimPrefix(platform.URL, "http://"), ""},
		{"nobody says the project", "", "127.0.0.1:1", "set GOOGLE_CLOUD_PROJECT"},
	} {
		t.Run(c.name, func(t *testing.T) {
			env := map[string]string{
				"GCE_METADATA_HOST": c.host, "GOOGLE_CLOUD_PROJECT": c.project, "CLOUDSDK_API_ENDPOINT_OVERRIDES_SECRETMANAGER": server.URL,
			}
			value, err := newStore(func(name string) string { return env[name] }).Read(t.Context(), secrets.Ref{Name: "openai"})
			if c.want != "" {
				if err == nil || !strings.Contains(err.Error(), c.want) {
					t.Errorf("got %v, want %q", err, c.want)
				}
				return
			}
			if err != nil || value.Reveal() != "the-stored-key" {
				t.Errorf("got %v", err)
			}
		})
	}
}
