package rotate

import (
	"bytes"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/postern-ai/postern/events"
)

// waiting is the function where nothing is allowed. What it asks of its project
// is told to asked.
func waiting(t *testing.T, asked func(*http.Request)) *function {
	t.Helper()
	google := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Metadata-Flavor", "Google")
		if strings.HasPrefix(r.URL.Path, "/computeMetadata/") {
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write([]byte(`{"access_token":"token","expires_in":3599,"token_type":"Bearer"}`))
			return
		}
		asked(r)
		w.WriteHeader(http.StatusForbidden)
		_, _ = w.Write([]byte(`{"error":{"code":403,"message":"no","status":"PERMISSION_DENIED"}}`))
	}))
	t.Cleanup(google.Close)
	env := map[string]string{
		"POSTERN_CONFIG": `{platform_callers: true, upstreams: [{provider: openai, auth_type: api_key, credential_ref: openai}],` +
			` rotation: {keys: [{upstream: openai, admin_ref: openai-admin, project_id: proj_1}]}}`,
		"POSTERN_LEDGER": "gs://ledger", "GOOGLE_CLOUD_PROJECT": "my-project", "GCE_METADATA_HOST": strings.TrimPrefix(google.URL, "http://"),
		"CLOUDSDK_API_ENDPOINT_OVERRIDES_SECRETMANAGER": google.URL, "CLOUDSDK_API_ENDPOINT_OVERRIDES_STORAGE": google.URL,
	}
	return &function{getenv: func(name string) string { return env[name] }, log: slog.New(slog.DiscardHandler)}
}

// TestANoticeIsTheSameWhenItComesAgain looks at under which name the ledger
// remembers a notice, which is by its time or, without one, by its message.
func TestANoticeIsTheSameWhenItComesAgain(t *testing.T) {
	t.Parallel()
	var remembered string
	f := waiting(t, func(r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		remembered = string(regexp.MustCompile(`"name":"[^"]*"`).Find(body))
	})
	name := func(timestamp, message string) string {
		t.Helper()
		remembered = ""
		body := `{"message": {"attributes": {"eventType": "SECRET_ROTATE", "secretId": "projects/1/secrets/openai"` + timestamp + `}, "messageId": "` + message + `"}, "subscription": "s"}`
		f.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", strings.NewReader(body)))
		if remembered == "" {
			t.Fatal("the ledger was not asked")
		}
		return remembered
	}
	const first, second = `, "timestamp": "2026-11-01T03:00:00Z"`, `, "timestamp": "2026-12-01T03:00:00Z"`
	for _, test := range []struct {
		name string
		same bool
		a, b string
	}{
		{"one notice in two messages", true, name(first, "1"), name(first, "2")},
		{"two notices", false, name(first, "1"), name(second, "1")},
		{"a message that comes twice and does not say when", true, name("", "1"), name("", "1")},
		{"two messages that do not say when", false, name("", "1"), name("", "2")},
	} {
		if (test.a == test.b) != test.same {
			t.Errorf("%s: %s and %s", test.name, test.a, test.b)
		}
	}
}

// TestTheFunctionTakesWhatStartsIt has every sample of a request understood: the
// function goes on to its ledger, where nothing is allowed here.
func TestTheFunctionTakesWhatStartsIt(t *testing.T) {
	t.Parallel()
	var asked atomic.Int32
	f := waiting(t, func(*http.Request) { asked.Add(1) })
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
