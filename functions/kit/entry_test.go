package kit

import (
	"context"
	"encoding/hex"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/postern-ai/postern/localdev/apitoken"
	"github.com/postern-ai/postern/shared/config"
	"github.com/postern-ai/postern/shared/secrets"
)

const tokenDocument = `{"api_tokens":{"credential_ref":"REF","key_ref":"env://TOKEN_KEY"},"policy":[{"models":["*"]}],
	"upstreams":[{"provider":"openai","auth_type":"api_key","credential_ref":"env://KEY","models":["gpt-x"]}]}`

func tokenKit(ref string, key secrets.Value) Kit {
	env := map[string]string{"POSTERN_CONFIG": strings.Replace(tokenDocument, "REF", ref, 1), "TOKEN_KEY": key.Reveal(), "KEY": "sk-x"}
	lookup := func(name string) (string, bool) { value, ok := env[name]; return value, ok }
	return Kit{
		Cloud: config.AWS, Getenv: func(name string) string { return env[name] }, Log: slog.New(slog.DiscardHandler),
		Secrets: secrets.Stores{secrets.StoreEnv: secrets.Environment{Lookup: lookup}, secrets.StoreFile: secrets.Files{}},
	}
}

// TestAPITokensAreThoseOfTheStoredList edits the list under a running gateway.
func TestAPITokensAreThoseOfTheStoredList(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "tokens.json")
	key := secrets.NewValue(hex.EncodeToString([]byte(strings.Repeat("k", secrets.KeyBytes))))
	var list []config.APIToken
	create := func(name string) string {
		t.Helper()
		token, longer, err := apitoken.Create(list, key, apitoken.Request{Name: name, Life: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		list = longer
		if err := apitoken.Save(path, list); err != nil {
			t.Fatal(err)
		}
		return token.Reveal()
	}
	first := create("first")
	gateway, err := tokenKit("file://"+path, key).Gateway()
	if err != nil {
		t.Fatal(err)
	}
	check := func(what, token string, want int) {
		t.Helper()
		r := httptest.NewRequestWithContext(context.WithoutCancel(t.Context()), http.MethodGet, "/v1/models", nil)
		r.Header.Set("Authorization", "Bearer "+token)
		w := httptest.NewRecorder()
		gateway.ServeHTTP(w, r)
		if w.Code != want {
			t.Errorf("%s: status %d, want %d: %s", what, w.Code, want, w.Body)
		}
	}
	check("a token of the list", first, http.StatusOK)
	second := create("second")
	check("a token that was added", second, http.StatusOK)
	if list, _ = apitoken.Revoke(list, "first"); len(list) != 1 {
		t.Fatalf("%d tokens are left", len(list))
	}
	if err := apitoken.Save(path, list); err != nil {
		t.Fatal(err)
	}
	check("a token that was revoked", first, http.StatusUnauthorized)
	check("the other one", second, http.StatusOK)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	check("a token while there is no list", second, http.StatusServiceUnavailable)
}

func TestAListInAnotherCloudsStoreIsAnErrorAtStart(t *testing.T) {
	t.Parallel()
	_, err := tokenKit("gcp-sm://tokens", secrets.NewValue("x")).Gateway()
	if err == nil || !strings.Contains(err.Error(), "api_tokens.credential_ref: a function on aws has no store") {
		t.Errorf("got %v", err)
	}
}
