package gateway

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/postern-ai/postern/functions/kit"
	"github.com/postern-ai/postern/localdev/fake/brain"
	"github.com/postern-ai/postern/localdev/fake/metadata"
	"github.com/postern-ai/postern/localdev/fake/vertex"
	"github.com/postern-ai/postern/shared/config"
)

// admitted is a token as Cloud Run hands it to the container once it has
// checked the signature.
func admitted(email string) string {
	part := func(v any) string {
		text, _ := json.Marshal(v)
		return base64.RawURLEncoding.EncodeToString(text)
	}
	now := time.Now().Unix()
	return part(map[string]any{"alg": "RS256", "typ": "JWT", "kid": "1"}) + "." + part(map[string]any{
		"iss": "https://accounts.google.com", "aud": "https://gateway-abc.a.run.app", "sub": "1234567890",
		"email": email, "email_verified": true, "iat": now, "exp": now + 3600,
	}) + ".SIGNATURE_REMOVED_BY_GOOGLE"
}

// TestWithoutADocument is the function as it comes: no document, the service
// account of the metadata server, which also says the project, and the invoker
// check in front.
func TestWithoutADocument(t *testing.T) {
	t.Parallel()
	account := metadata.New(metadata.Options{ProjectID: "some-project"})
	platform := httptest.NewServer(account)
	defer platform.Close()
	models := httptest.NewServer(vertex.New(vertex.Options{
		Brain: brain.Echo{}, Projects: []string{"some-project"},
		Authorize: func(token string) (string, bool) { return "the account", account.Valid(token) },
	}))
	defer models.Close()
	env := map[string]string{
		"GCE_METADATA_HOST": strings.TrimPrefix(platform.URL, "http://"), "GOOGLE_VERTEX_BASE_URL": models.URL,
		"POSTERN_PLATFORM_IAM": "true", "POSTERN_MODELS": "gemini-2.5-flash",
	}
	var log bytes.Buffer
	gateway, err := handler(func(name string) string { return env[name] }, slog.New(traced{kit.NewLog(config.GCP, "", &log).Handler()}))
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(withTrace(gateway, "some-project"))
	defer server.Close()
	for _, c := range []struct{ name, token, want string }{
		{"a caller whom the invoker check has admitted is answered", admitted("alice@example.com"), `"content":"good morning"`},
		{"a caller with a token that nobody has checked is refused", strings.Replace(admitted("alice@example.com"), "SIGNATURE_REMOVED_BY_GOOGLE", "c2lnbmF0dXJl", 1), `"code":"invalid_api_key"`},
		{"a caller without a token is refused", "", `"code":"invalid_api_key"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL+"/v1/chat/completions",
				strings.NewReader(`{"model":"gemini-2.5-flash","messages":[{"role":"user","content":"#say(good morning)"}]}`))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Content-Type", "application/json")
			req.Header.Set("X-Cloud-Trace-Context", "0123456789abcdef0123456789abcdef/1;o=1")
			if c.token != "" {
				req.Header.Set("Authorization", "Bearer "+c.token)
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
	for _, want := range []string{
		`"caller":"alice@example.com"`, `"identity_source":"metadata server"`, `"severity":"WARNING"`,
		`"logging.googleapis.com/trace":"projects/some-project/traces/0123456789abcdef0123456789abcdef"`,
	} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log has no %s: %s", want, log.String())
		}
	}
}

func TestWithoutAFrontTheFunctionDoesNotStart(t *testing.T) {
	t.Parallel()
	_, err := handler(func(string) string { return "" }, slog.New(slog.DiscardHandler))
	if err == nil || !strings.Contains(err.Error(), "POSTERN_PLATFORM_IAM") {
		t.Errorf("got %v", err)
	}
}
