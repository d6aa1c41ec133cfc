package rotate

import (
	"bytes"
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/postern-ai/postern/events"
)

// TestTheFunctionTakesWhatStartsIt has every sample of a request understood: the
// function goes on to its ledger, where nothing is allowed here.
func TestTheFunctionTakesWhatStartsIt(t *testing.T) {
	t.Parallel()
	var asked atomic.Int32
	google := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Metadata-Flavor", "Google")
		if strings.HasPrefix(r.URL.Path, "/computeMetadata/") {
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write([]byte(`{"access_token":"token","expires_in":3599,"token_type":"Bearer"}`))
			return
		}
		asked.Add(1)
		w.WriteHeader(http.StatusForbidden)
		_, _ = w.Write([]byte(`{"error":{"code":403,"message":"no","status":"PERMISSION_DENIED"}}`))
	}))
	defer google.Close()
	env := map[string]string{
		"POSTERN_CONFIG": `{platform_callers: true, upstreams: [{provider: openai, auth_type: api_key, credential_ref: openai}],` +
			` rotation: {keys: [{upstream: openai, admin_ref: openai-admin, project_id: proj_1}]}}`,
		"POSTERN_LEDGER": "gs://ledger", "GOOGLE_CLOUD_PROJECT": "my-project", "GCE_METADATA_HOST": strings.TrimPrefix(google.URL, "http://"),
		"CLOUDSDK_API_ENDPOINT_OVERRIDES_SECRETMANAGER": google.URL, "CLOUDSDK_API_ENDPOINT_OVERRIDES_STORAGE": google.URL,
	}
	f := &function{getenv: func(name string) string { return env[name] }, log: slog.New(slog.DiscardHandler)}
	names, err := fs.Glob(events.Files(), "gcp/*.json")
	if err != nil || len(names) == 0 {
		t.Fatalf("%d samples: %v", len(names), err)
	}
	for _, name := range names {
		body, err := fs.ReadFile(events.Files(), name)
		if err != nil {
			t.Fatal(err)
		}
		before := asked.Load()
		w := httptest.NewRecorder()
		f.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", bytes.NewReader(body)))
		if w.Code == http.StatusBadRequest || asked.Load() == before {
			t.Errorf("%s: the function has not gone on to its ledger: %d %s", name, w.Code, w.Body)
		}
	}
}
