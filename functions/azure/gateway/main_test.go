package main

import (
	"bytes"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/postern-ai/postern/localdev/fake/azureopenai"
	"github.com/postern-ai/postern/localdev/fake/brain"
	"github.com/postern-ai/postern/localdev/fake/managedid"
)

// TestWithoutADocument is the function as it comes: no document, the managed
// identity of the app, and App Service authentication in front.
func TestWithoutADocument(t *testing.T) {
	const client = "22222222-3333-4444-8555-666666666666"
	identities := managedid.New(managedid.Options{Secret: "s", System: managedid.Identity{ClientID: client, ObjectID: client}})
	platform := httptest.NewServer(identities)
	defer platform.Close()
	models := httptest.NewServer(&azureopenai.Server{
		Brain: brain.Echo{}, Deployments: []string{"gpt-4o-mini"},
		Authorize: func(token string) (string, bool) {
			return client, identities.Valid(token, "https://cognitiveservices.azure.com")
		},
	})
	defer models.Close()
	// azidentity reads the process's own environment.
	t.Setenv("IDENTITY_ENDPOINT", platform.URL+"/msi/token")
	t.Setenv("IDENTITY_HEADER", "s")
	t.Setenv("AZURE_OPENAI_ENDPOINT", models.URL)
	t.Setenv("POSTERN_PLATFORM_IAM", "true")
	var log bytes.Buffer
	gateway, err := handler(os.Getenv, slog.New(slog.NewJSONHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(gateway)
	defer server.Close()
	for _, c := range []struct{ name, principal, want string }{
		{"a caller whom App Service has admitted is answered", "alice@example.com", `"content":"good morning"`},
		{"a caller whom nobody has admitted is refused", "", `"code":"invalid_api_key"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL+"/v1/chat/completions",
				strings.NewReader(`{"model":"gpt-4o-mini","messages":[{"role":"user","content":"#say(good morning)"}]}`))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Content-Type", "application/json")
			if c.principal != "" {
				req.Header.Set("X-MS-CLIENT-PRINCIPAL-ID", "1234")
				req.Header.Set("X-MS-CLIENT-PRINCIPAL-NAME", c.principal)
			}
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			if text, _ := io.ReadAll(resp.Body); !strings.Contains(string(text), c.want) {
				t.Errorf("got %s", text)
			}
		})
	}
	if !strings.Contains(log.String(), `"caller":"alice@example.com"`) || !strings.Contains(log.String(), client) {
		t.Errorf("the log does not say who called and who signed: %s", log.String())
	}
}

func TestWithoutAResourceTheFunctionDoesNotStart(t *testing.T) {
	t.Parallel()
	env := map[string]string{"POSTERN_PLATFORM_IAM": "true"}
	_, err := handler(func(name string) string { return env[name] }, slog.New(slog.DiscardHandler))
	if err == nil || !strings.Contains(err.Error(), "AZURE_OPENAI_ENDPOINT") {
		t.Errorf("got %v", err)
	}
}

// TestHeadersCountOnlyWhereAuthenticationIsOn is for an app whose document admits
// App Service's callers, and whose authentication somebody has switched off.
func TestHeadersCountOnlyWhereAuthenticationIsOn(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]int{"": http.StatusNotFound, "True": http.StatusNotFound, "False": http.StatusUnauthorized} {
		env := map[string]string{
			"POSTERN_PLATFORM_IAM": "true", "AZURE_OPENAI_ENDPOINT": "https://x.openai.azure.com", "POSTERN_MODELS": "gpt-4o-mini", "WEBSITE_AUTH_ENABLED": value,
		}
		gateway, err := handler(func(name string) string { return env[name] }, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/v1/models/none", nil)
		r.Header.Set("X-MS-CLIENT-PRINCIPAL-ID", "1234")
		w := httptest.NewRecorder()
		gateway.ServeHTTP(w, r)
		if w.Code != want {
			t.Errorf("with WEBSITE_AUTH_ENABLED=%q the status is %d, want %d: %s", value, w.Code, want, w.Body)
		}
	}
}
