package main

import (
	"net/http/httptest"
	"testing"

	"github.com/postern-ai/postern/localdev/fake/awscreds"
	"github.com/postern-ai/postern/localdev/fake/secretsmanager"
	"github.com/postern-ai/postern/shared/secrets"
)

// TestAPlainNameIsInSecretsManager reads it as the function's role.
func TestAPlainNameIsInSecretsManager(t *testing.T) {
	t.Parallel()
	creds := awscreds.New(awscreds.Options{})
	role := creds.Issue()
	service := secretsmanager.New(secretsmanager.Options{Keys: creds.Lookup, Region: "eu-west-1"})
	service.Seed(secretsmanager.Secret{Name: "openai", Text: "the-stored-key"})
	server := httptest.NewServer(service)
	defer server.Close()
	env := map[string]string{
		"AWS_REGION": "eu-west-1", "AWS_ENDPOINT_URL_SECRETS_MANAGER": server.URL,
		"AWS_ACCESS_KEY_ID": role.AccessKeyID, "AWS_SECRET_ACCESS_KEY": role.SecretAccessKey, "AWS_SESSION_TOKEN": role.SessionToken,
	}
	store, err := store(func(name string) string { return env[name] })
	if err != nil {
		t.Fatal(err)
	}
	value, err := store.Read(t.Context(), secrets.Ref{Name: "openai"})
	if err != nil || value.Reveal() != "the-stored-key" {
		t.Errorf("got %v", err)
	}
	// What the platform rotates meanwhile is fetched anew when it is rejected.
	next := creds.Issue()
	creds.Revoke(role.AccessKeyID)
	env["AWS_ACCESS_KEY_ID"], env["AWS_SECRET_ACCESS_KEY"], env["AWS_SESSION_TOKEN"] = next.AccessKeyID, next.SecretAccessKey, next.SessionToken
	if _, err := store.Read(t.Context(), secrets.Ref{Name: "openai"}); err != nil {
		t.Errorf("with new credentials: %v", err)
	}
}
