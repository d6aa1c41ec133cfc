package stage

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/postern-ai/postern/localdev/fake/oidc"
)

// finding is what the doctor says of an upstream.
type finding struct {
	Upstream, Provider, Identity, Remedy string
	Credential                           bool
	Attempts                             []struct{ Source, Outcome, Why string }
}

func (f finding) check(t *testing.T) {
	t.Helper()
	if !f.Credential || f.Identity == "" || f.Remedy != "" || len(f.Attempts) == 0 {
		t.Errorf("got %+v", f)
	}
}

func TestADirectInvocationOfTheFunctionOnAWSReports(t *testing.T) {
	t.Parallel()
	reply, failure, err := shared.Invoke(t.Context(), []byte(`{"postern":"doctor"}`))
	if err != nil || failure != "" {
		t.Fatalf("%s %s: %v", failure, reply, err)
	}
	var report struct {
		Cloud     string
		Upstreams []finding
	}
	if err := json.Unmarshal(reply, &report); err != nil || report.Cloud != AWS || len(report.Upstreams) < 3 {
		t.Fatalf("got %s: %v", reply, err)
	}
	for _, f := range report.Upstreams {
		f.check(t)
	}
	var sources []string
	for _, a := range report.Upstreams[0].Attempts {
		sources = append(sources, a.Source+" "+a.Outcome)
	}
	if got, want := strings.Join(sources, ", "), "environment skipped, web identity skipped, shared config skipped, container credentials found"; got != want {
		t.Errorf("tried %s, want %s", got, want)
	}
	for _, canary := range []string{"eyJ", "ya29.", "SecretAccessKey", "SessionToken"} {
		if strings.Contains(string(reply), canary) {
			t.Errorf("the report holds %s", canary)
		}
	}
	if reply, failure, _ := shared.Invoke(t.Context(), []byte(`{"postern":"surgeon"}`)); failure == "" {
		t.Errorf("an unknown name was answered: %s", reply)
	}
}

// TestNoCallerReachesTheDoctor tries what callers can send: any path, any
// header, any body, with a token and without.
func TestNoCallerReachesTheDoctor(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, cloud string) {
		for _, path := range []string{"/", "/doctor", "/gateway", "/api/doctor", "/admin/functions/doctor", "/2015-03-31/functions/function/invocations", "/v1/chat/completions", "/?postern=doctor"} {
			for _, authorization := range []string{"", "Bearer " + token(t, oidc.Token{})} {
				for _, body := range []string{`{"postern":"doctor"}`, `{"Data":{"postern":"doctor"},"Metadata":{}}`, ""} {
					r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, shared.Gateways[cloud]+path, strings.NewReader(body))
					if err != nil {
						t.Fatal(err)
					}
					r.Header.Set("Content-Type", "application/json")
					r.Header.Set("Postern", "doctor")
					r.Header.Set("X-Functions-Key", "doctor")
					if authorization != "" {
						r.Header.Set("Authorization", authorization)
					}
					answer, err := http.DefaultClient.Do(r)
					if err != nil {
						t.Fatal(err)
					}
					text, err := io.ReadAll(answer.Body)
					_ = answer.Body.Close()
					if err != nil || strings.Contains(string(text), "attempts") || strings.Contains(string(text), "auth_type") || answer.StatusCode == http.StatusOK {
						t.Errorf("%s %s: status %d, %s, %v", path, body, answer.StatusCode, text, err)
					}
				}
			}
		}
	})
}

// TestTheSwitchWritesTheReportIntoTheLog looks for the report of each function
// in what it has logged since its first request.
func TestTheSwitchWritesTheReportIntoTheLog(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, cloud string) {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, shared.Gateways[cloud]+"/", nil)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = answer.Body.Close()
		own := map[string]string{AWS: "bedrock", GCP: "vertex", Azure: "azure-openai"}[cloud]
		found := func(f finding) bool {
			return f.Provider == own && len(f.Attempts) > 0 && strings.Contains(f.Attempts[len(f.Attempts)-1].Source, map[string]string{AWS: "container credentials", GCP: "metadata server", Azure: "managed identity"}[cloud])
		}
		// Another test's request may have been the first, and its report may
		// still be under way.
		for range 600 {
			for line := range strings.Lines(output.String()) {
				_, text, _ := strings.Cut(line, "{")
				var logged struct{ Finding finding }
				if json.Unmarshal([]byte("{"+text), &logged) == nil && found(logged.Finding) {
					logged.Finding.check(t)
					return
				}
			}
			time.Sleep(50 * time.Millisecond)
		}
		t.Fatal("no report in the log")
	})
}
