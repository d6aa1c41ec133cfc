package stage

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/postern-ai/postern/localdev/fake/keyvault"
	"github.com/postern-ai/postern/shared/secrets"
	"github.com/postern-ai/postern/shared/secrets/awssecrets"
	"github.com/postern-ai/postern/shared/secrets/gcpsecrets"
	vaults "github.com/postern-ai/postern/shared/secrets/keyvault"
)

// hands are somebody's who uses the stores of a stage.
type hands struct {
	*Stage
	who *account
	// metadata and identity are the names of the services that have the tokens.
	metadata, identity string
}

// operator is whoever has set everything up.
func (s *Stage) operator() hands {
	return hands{s, s.services.accounts.operator, operatorMetadata, operatorIdentity}
}

// bearer authorizes with a token that a platform's service has given out.
type bearer string

func (b bearer) Authorize(r *http.Request) error {
	r.Header.Set("Authorization", "Bearer "+string(b))
	return nil
}

func (bearer) Rejected(*http.Request) {}

// fetch asks a platform's service for a token.
func fetch(t *testing.T, address, header, value string) bearer {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set(header, value)
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	var out struct {
		Token string `json:"access_token"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&out); err != nil || out.Token == "" {
		t.Fatalf("no token: %s, %v", resp.Status, err)
	}
	return bearer(out.Token)
}

// key are the credentials on AWS.
func (h hands) key() aws.CredentialsProvider {
	key := h.who.creds.Issue()
	return credentials.NewStaticCredentialsProvider(key.AccessKeyID, key.SecretAccessKey, key.SessionToken)
}

// secretsManager is the vendor's own client.
func (h hands) secretsManager() *secretsmanager.Client {
	return secretsmanager.New(secretsmanager.Options{
		Region: Region, BaseEndpoint: aws.String(h.services.url(secretsManager)), Credentials: h.key(), RetryMaxAttempts: 1,
	})
}

func (h hands) googleToken(t *testing.T) bearer {
	t.Helper()
	return fetch(t, h.services.url(h.metadata)+"/computeMetadata/v1/instance/service-accounts/default/token", "Metadata-Flavor", "Google")
}

func (h hands) azureToken(t *testing.T, resource string) bearer {
	t.Helper()
	return fetch(t, h.services.url(h.identity)+"/msi/token?api-version=2019-08-01&resource="+resource, "X-Identity-Header", identityHeader)
}

// trusting accepts the certificate of the stand-ins that have one.
func (s *Stage) trusting(t *testing.T) http.RoundTripper {
	t.Helper()
	pem, err := os.ReadFile(s.services.federation.roots)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	return &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}}
}

// store is the store of a cloud.
func (h hands) store(t *testing.T, cloud string) secrets.Store {
	t.Helper()
	var store secrets.Store
	var err error
	switch cloud {
	case AWS:
		store, err = awssecrets.NewStore(awssecrets.Options{Region: Region, Credentials: h.key(), Endpoint: h.services.url(secretsManager)})
	case GCP:
		store, err = gcpsecrets.NewStore(gcpsecrets.Options{Project: Project, Authorizer: h.googleToken(t), Endpoint: h.services.url(secretManager)})
	case Azure:
		store, err = vaults.NewStore(vaults.Options{Vault: h.services.url(keyVault), Authorizer: h.azureToken(t, keyvault.Resource), Transport: h.trusting(t)})
	}
	if err != nil {
		t.Fatal(err)
	}
	return store
}

// disable makes the current version of a secret unusable, in the way that the
// cloud has for that.
func (h hands) disable(t *testing.T, cloud, name, version string) {
	t.Helper()
	send := func(method, address, body string, auth bearer, transport http.RoundTripper) {
		r, err := http.NewRequestWithContext(t.Context(), method, address, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/json")
		_ = auth.Authorize(r)
		resp, err := transport.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			t.Fatalf("disable %s on %s: %s", name, cloud, resp.Status)
		}
	}
	switch cloud {
	case AWS:
		if _, err := h.secretsManager().DeleteSecret(t.Context(), &secretsmanager.DeleteSecretInput{SecretId: &name}); err != nil {
			t.Fatal(err)
		}
	case GCP:
		send(http.MethodPost, h.services.url(secretManager)+"/v1/projects/"+Project+"/secrets/"+name+"/versions/"+version+":disable", "{}", h.googleToken(t), http.DefaultTransport)
	case Azure:
		send(http.MethodPatch, h.services.url(keyVault)+"/secrets/"+name+"/"+version+"?api-version=2025-07-01", `{"attributes":{"enabled":false}}`, h.azureToken(t, keyvault.Resource), h.trusting(t))
	}
}
