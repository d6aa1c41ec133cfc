package main

import (
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/postern-ai/postern/localdev/fake/keyvault"
	"github.com/postern-ai/postern/localdev/fake/managedid"
	"github.com/postern-ai/postern/shared/secrets"
)

// TestMain makes the stand-in that is served over TLS trusted, before anything
// has asked for the system's roots.
func TestMain(m *testing.M) {
	server := httptest.NewTLSServer(http.NotFoundHandler())
	server.Close()
	dir, err := os.MkdirTemp("", "gateway")
	if err == nil {
		file := filepath.Join(dir, "roots.pem")
		err = os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600)
		_ = os.Setenv("SSL_CERT_FILE", file)
	}
	if err != nil {
		panic(err)
	}
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// TestAPlainNameIsInTheKeyVault reads it as the function's managed identity.
func TestAPlainNameIsInTheKeyVault(t *testing.T) {
	const id = "22222222-3333-4444-8555-666666666666"
	identities := managedid.New(managedid.Options{Secret: "s", System: managedid.Identity{ClientID: id, ObjectID: id}})
	platform := httptest.NewServer(identities)
	defer platform.Close()
	service := keyvault.New(keyvault.Options{Caller: func(token string) (string, bool) { return id, identities.Valid(token, "https://vault.azure.net") }})
	service.Seed(keyvault.Secret{Name: "openai", Text: "the-stored-key"})
	server := httptest.NewTLSServer(service)
	defer server.Close()
	// azidentity reads the process's own environment.
	t.Setenv("IDENTITY_ENDPOINT", platform.URL+"/msi/token")
	t.Setenv("IDENTITY_HEADER", "s")
	t.Setenv("POSTERN_KEY_VAULT_URL", server.URL)
	store, err := store(os.Getenv)
	if err != nil {
		t.Fatal(err)
	}
	value, err := store.Read(t.Context(), secrets.Ref{Name: "openai"})
	if err != nil || value.Reveal() != "the-stored-key" {
		t.Errorf("got %v", err)
	}
}
