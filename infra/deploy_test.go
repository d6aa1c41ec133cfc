package infra_test

import (
	"fmt"
	"go/version"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// stand is a service that has one answer to each request, the last of them for good, and keeps what it was asked.
type stand struct {
	*httptest.Server
	mu      sync.Mutex
	answers []string // a status and a body
	asked   []string // method, path and body
	tokens  map[string]bool
}

func newStand(t *testing.T, answers ...string) *stand {
	t.Helper()
	s := &stand{answers: answers, tokens: map[string]bool{}}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.asked = append(s.asked, strings.TrimSpace(r.Method+" "+r.URL.RequestURI()+" "+string(body)))
		s.tokens[r.Header.Get("Authorization")] = true
		var status int
		answer := s.answers[0]
		if len(s.answers) > 1 {
			s.answers = s.answers[1:]
		}
		if _, err := fmt.Sscan(answer, &status); err != nil {
			t.Error(err)
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, strings.TrimSpace(answer[3:]))
	}))
	t.Cleanup(s.Close)
	return s
}

// script runs one of the modules' programs as Terraform does, and returns what it prints.
func script(t *testing.T, path string, environment ...string) (string, error) {
	t.Helper()
	bin := t.TempDir()
	for program, arguments := range map[string]string{
		"az": "account get-access-token --query accessToken --output tsv", "gcloud": "auth application-default print-access-token",
	} {
		text := fmt.Sprintf("#!/bin/sh\n[ \"$*\" = '%s' ] && echo token-1\n", arguments)
		if err := os.WriteFile(filepath.Join(bin, program), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	c := exec.CommandContext(t.Context(), "sh", path)
	c.Env = append(os.Environ(), "GOOGLE_OAUTH_ACCESS_TOKEN=", "PAUSE=0", "PATH="+bin+":"+os.Getenv("PATH"))
	c.Env = append(c.Env, environment...)
	out, err := c.CombinedOutput()
	if strings.Contains(string(out), "token-1") {
		t.Errorf("%s prints the token", path)
	}
	return string(out), err
}

// exchange is what a program asks of a cloud that answers so, and what it says of that.
type exchange struct {
	answers []string
	asked   []string
	says    string
	fails   bool
}

// holds runs a program against stands, with the environment that it has at the address of one.
func holds(t *testing.T, path string, exchanges map[string]exchange, environment func(url string) []string) {
	t.Helper()
	for name, x := range exchanges {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStand(t, x.answers...)
			out, err := script(t, path, environment(s.URL)...)
			if (err != nil) != x.fails || !strings.Contains(out, x.says) {
				t.Errorf("%v: %s", err, out)
			}
			if diff := cmp.Diff(x.asked, s.asked); diff != "" {
				t.Errorf("asked (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(map[string]bool{"Bearer token-1": true}, s.tokens); diff != "" {
				t.Errorf("as whom (-want +got):\n%s", diff)
			}
		})
	}
}

func TestTheImageOfAFunctionIsBuiltBeforeItIsRun(t *testing.T) {
	t.Parallel()
	const (
		began   = `200 {"buildOperation": {"name": "operations/build/p/abc==", "metadata": {"build": {"id": "7", "projectId": "p", "name": "projects/1/locations/europe-west1/builds/7"}}}}`
		goes    = `200 {"name": "operations/build/p/abc==", "metadata": {"build": {"status": "WORKING"}}}`
		done    = `200 {"name": "operations/build/p/abc==", "metadata": {"build": {"status": "SUCCESS"}}, "done": true, "response": {}}`
		failed  = "200 {\n\"name\": \"operations/build/p/abc==\", \"metadata\": {\"build\": {\"logUrl\": \"https://logs.example/7\"}},\n\"done\": true,\n\"error\": {\n\"code\": 3,\n\"message\": \"Build failed\"\n}\n}"
		refused = `403 {"error": {"message": "not yet"}}`
		submit  = `POST /submit {"imageUri":"i"}`
		// Nothing is known outside of "global" by a name without a region, and a build may be in another one than the service.
		ask = "GET /builds/europe-west1/operations/7"
	)
	holds(t, "gcp/image/build.sh", map[string]exchange{
		"a build is waited for":                      {answers: []string{began, goes, `503 busy`, done}, asked: []string{submit, ask, ask, ask}},
		"what is refused is asked for again":         {answers: []string{refused, began, done}, asked: []string{submit, submit, ask}, says: "not yet"},
		"a build that fails once is made again":      {answers: []string{began, failed, began, done}, asked: []string{submit, ask, submit, ask}, says: "Build failed https://logs.example/7"},
		"a build that nobody allows is given up":     {answers: []string{refused}, asked: []string{submit, submit, submit}, says: "The build is refused (403)", fails: true},
		"a build that nobody may look at is not one": {answers: []string{began, refused}, asked: []string{submit, ask, submit, submit}, says: "Nothing is told of the build (403)", fails: true},
	}, func(url string) []string {
		return []string{"SUBMIT=" + url + "/submit", "BUILDS=" + url + "/builds", `BUILD={"imageUri":"i"}`}
	})
}

// A builder has a Go release of its own, which may be older than the source allows, and gets no other for source with a vendor folder.
func TestAnImageIsBuiltWithAGoReleaseThatTheSourceAllows(t *testing.T) {
	t.Parallel()
	given := regexp.MustCompile(`GOOGLE_GO_VERSION += "([0-9]+\.[0-9]+\.[0-9]+)"`).FindStringSubmatch(read(t, "gcp", "gateway.tf"))
	least := regexp.MustCompile(`(?m)^go (\S+)$`).FindStringSubmatch(read(t, "..", "go.mod"))
	if given == nil || least == nil {
		t.Fatalf("the builder is told %v, and the source needs %v", given, least)
	}
	builder, source := "go"+given[1], "go"+least[1]
	if version.Compare(builder, source) < 0 || version.Lang(builder) != version.Lang(source) {
		t.Errorf("%s builds source for %s", builder, source)
	}
}

func TestAnAlarmIsMadeOnceItsMetricIsKnown(t *testing.T) {
	t.Parallel()
	const (
		known   = `200 {"type": "user/a"}`
		unknown = `404 {"error": {"message": "no such metric"}}`
	)
	never := slices.Repeat([]string{"GET /descriptors/user/a"}, 60)
	holds(t, "gcp/metrics/await.sh", map[string]exchange{
		"what is not known is asked for again": {answers: []string{unknown, `503 busy`, known}, asked: []string{"GET /descriptors/user/a", "GET /descriptors/user/a", "GET /descriptors/user/a", "GET /descriptors/user/b"}},
		"what is never known is an error":      {answers: []string{unknown}, asked: never, says: "does not know user/a yet (404), so apply again", fails: true},
	}, func(url string) []string {
		return []string{"DESCRIPTORS=" + url + "/descriptors", "TYPES=user/a user/b"}
	})
	alarms := regexp.MustCompile(`(?s)resource "google_monitoring_alert_policy" "this" \{.*?depends_on += \[([^]]*)\]`).FindStringSubmatch(read(t, "gcp", "alarms.tf"))
	if alarms == nil || !strings.Contains(alarms[1], "module.metrics") {
		t.Errorf("alarms wait for %v", alarms)
	}
}

// A workspace that has just been made is not found at once, and its tables cannot be changed yet. An app takes some minutes.
func TestWhatAsksAWorkspaceOnAzureIsMadeAfterTheApp(t *testing.T) {
	t.Parallel()
	for resource, file := range map[string]string{
		`"azurerm_monitor_scheduled_query_rules_alert_v2" "this"`: "alarms.tf", `"azurerm_log_analytics_workspace_table" "gateway"`: "gateway.tf",
	} {
		_, after, _ := strings.Cut(read(t, "azure", file), "resource "+resource)
		block, _, _ := strings.Cut(after, "\n}\n")
		if !regexp.MustCompile(`depends_on += \[azurerm_function_app_flex_consumption\.gateway\]`).MatchString(block) {
			t.Errorf("%s waits for nothing", resource)
		}
	}
}

func TestAnImageIsBuiltWithTheProvidersOwnTokenWhereThereIsOne(t *testing.T) {
	t.Parallel()
	s := newStand(t, `200 {"buildOperation": {"metadata": {"build": {"name": "projects/1/locations/r/builds/7"}}, "done": true}}`)
	out, err := script(t, "gcp/image/build.sh", "SUBMIT="+s.URL, "BUILDS="+s.URL, "BUILD={}", "GOOGLE_OAUTH_ACCESS_TOKEN=token-2")
	if err != nil || strings.Contains(out, "token-2") || !s.tokens["Bearer token-2"] || len(s.tokens) != 1 {
		t.Errorf("%v: %s, as %v", err, out, s.tokens)
	}
}

// A data source's values are in the state, and a token of whoever applies is all that they may do.
func TestNoTokenIsInAState(t *testing.T) {
	t.Parallel()
	err := filepath.WalkDir(".", func(path string, entry os.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".tf" {
			return err
		}
		text, err := os.ReadFile(path)
		for _, kind := range []string{"google_client_config", "google_service_account_access_token", "google_service_account_id_token", "aws_eks_cluster_auth", "aws_ecr_authorization_token"} {
			if strings.Contains(string(text), "data \""+kind+"\"") {
				t.Errorf("%s has a data source %s", path, kind)
			}
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

func TestThePackageOfAnAppIsPublished(t *testing.T) {
	t.Parallel()
	const (
		taken   = `202 "dep-123"`
		goes    = `202 {"id": "dep-123", "status": 1, "complete": false}`
		done    = `200 {"id": "dep-123", "status": 4, "complete": true}`
		failed  = `200 {"id": "dep-123", "status": 3, "status_text": "no host.json", "complete": true}`
		barred  = `200 {"id": "dep-123", "status": 3, "status_text": "InaccessibleStorageException: BlobUploadFailedException: 403", "complete": true}`
		forming = `400 {"error": "BlobUploadFailedException: 403"}`
		publish = "POST /api/publish?RemoteBuild=false&Deployer=terraform zip"
		ask     = "GET /api/deployments/dep-123"
	)
	file := filepath.Join(t.TempDir(), "package.zip")
	if err := os.WriteFile(file, []byte("zip"), 0o644); err != nil {
		t.Fatal(err)
	}
	holds(t, "azure/package/publish.sh", map[string]exchange{
		"a deployment is waited for":                            {answers: []string{taken, `404 not yet`, goes, `502 busy`, done}, asked: []string{publish, ask, ask, ask, ask}},
		"an app that is new is waited for":                      {answers: []string{`404 no such host`, forming, taken, done}, asked: []string{publish, publish, publish, ask}},
		"a package that is no app fails in the end":             {answers: []string{taken, failed}, asked: append([]string{publish, ask}, slices.Repeat([]string{publish, "GET /api/deployments/latest"}, 9)...), says: "no host.json", fails: true},
		"what the app may not keep yet is published again":      {answers: []string{taken, barred, taken, done}, asked: []string{publish, ask, publish, ask}},
		"a deployment without an id is the latest":              {answers: []string{`200 {"message": "fine"}`, done}, asked: []string{publish, "GET /api/deployments/latest"}},
		"a deployment that nobody may look at has not happened": {answers: []string{taken, `403 no`}, asked: []string{publish, ask}, says: "Nothing is told of the deployment (403): no", fails: true},
	}, func(url string) []string { return []string{"HOST=" + url, "PACKAGE=" + file, "FUNCTION="} })
	holds(t, "azure/package/publish.sh", map[string]exchange{
		"a function that Event Grid is to find is waited for": {answers: []string{taken, done, `404 not yet`, `200 {}`}, asked: []string{publish, ask, "GET /app/functions/f", "GET /app/functions/f"}},
	}, func(url string) []string {
		return []string{"HOST=" + url, "PACKAGE=" + file, "FUNCTION=" + url + "/app/functions/f"}
	})
	if !strings.Contains(read(t, "azure", "rotation.tf"), `function = "nearexpiry"`) {
		t.Error("Event Grid is told of a function that Azure may not know yet")
	}
}

// The provider's own way of publishing asks what Flex Consumption does not have, with a password.
func TestNoAppIsPublishedByItsProvider(t *testing.T) {
	t.Parallel()
	for _, file := range []string{"gateway.tf", "rotation.tf"} {
		text := read(t, "azure", file)
		if strings.Contains(text, "zip_deploy_file") || !strings.Contains(text, "./package\"") {
			t.Errorf("azure/%s leaves its package to the provider", file)
		}
	}
}
