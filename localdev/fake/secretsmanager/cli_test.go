package secretsmanager_test

import (
	"context"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/google/go-cmp/cmp"
	"github.com/postern-ai/postern/localdev/fake/awsauth"
	"github.com/postern-ai/postern/localdev/fake/secretsmanager"
)

// terminal is the AWS command line tool, with the credentials of a stand-in's account.
type terminal struct{ program, endpoint string }

// run returns what the tool prints, or the end of what it complains about.
func (c terminal) run(t *testing.T, arguments ...string) (map[string]any, string) {
	t.Helper()
	command := exec.CommandContext(t.Context(), c.program, append([]string{"secretsmanager"}, arguments...)...)
	command.Env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "PYENV_ROOT=" + os.Getenv("PYENV_ROOT"), "AWS_EC2_METADATA_DISABLED=true", "AWS_MAX_ATTEMPTS=1",
		"AWS_ENDPOINT_URL=" + c.endpoint, "AWS_REGION=eu-central-1", "AWS_DEFAULT_REGION=eu-central-1", "AWS_DEFAULT_OUTPUT=json", "AWS_PAGER=",
		"AWS_ACCESS_KEY_ID=" + key.AccessKeyID, "AWS_SECRET_ACCESS_KEY=" + key.SecretAccessKey, "AWS_SESSION_TOKEN=" + key.SessionToken,
	}
	var complaint strings.Builder
	command.Stderr = &complaint
	output, err := command.Output()
	if err != nil {
		return nil, strings.TrimSpace(complaint.String())
	}
	var out map[string]any
	if err := json.Unmarshal(output, &out); err != nil {
		t.Fatalf("%q prints %q: %v", arguments, output, err)
	}
	return out, ""
}

// TestTheCommandLineToolRotates runs where the tool is installed. The official client, which the other tests use, always is.
func TestTheCommandLineToolRotates(t *testing.T) {
	t.Parallel()
	program, err := exec.LookPath("aws")
	if err != nil {
		t.Skip("the AWS command line tool is not installed")
	}
	var a account
	server := secretsmanager.New(secretsmanager.Options{
		Keys:   func(id string) (awsauth.Key, bool) { return key, id == key.AccessKeyID },
		Rotate: func(ctx context.Context, event secretsmanager.Event) error { return a.finish(ctx, event) },
	})
	listener := httptest.NewServer(checked(t, server))
	t.Cleanup(listener.Close)
	a = clientOf(server, listener.URL)
	a.create(t)
	c := terminal{program, listener.URL}
	want := func(stages map[string][]string) {
		t.Helper()
		if diff := cmp.Diff(stages, a.labels(t)); diff != "" {
			t.Error(diff)
		}
	}
	out, complaint := c.run(t, "rotate-secret", "--secret-id", "team/key", "--client-request-token", two, "--rotation-lambda-arn", function,
		"--rotation-rules", `{"ScheduleExpression":"rate(10 days)","Duration":"3h"}`)
	if complaint != "" || out["VersionId"] != two {
		t.Fatalf("rotate-secret prints %v and complains %q", out, complaint)
	}
	server.Wait()
	want(map[string][]string{one: {"AWSPREVIOUS"}, two: {"AWSCURRENT", "AWSPENDING"}})
	out, complaint = c.run(t, "describe-secret", "--secret-id", "team/key")
	if stages, _ := out["VersionIdsToStages"].(map[string]any); complaint != "" || out["RotationEnabled"] != true || out["LastRotatedDate"] == nil || len(stages) != 2 {
		t.Errorf("describe-secret prints %v and complains %q", out, complaint)
	}
	put := []string{"put-secret-value", "--secret-id", "team/key", "--client-request-token", three, "--version-stages", "AWSPENDING", "--secret-string"}
	for range 2 {
		if out, complaint = c.run(t, append(put, "value 3")...); complaint != "" || out["VersionId"] != three {
			t.Errorf("put-secret-value prints %v and complains %q", out, complaint)
		}
	}
	if _, complaint = c.run(t, append(put, "another value")...); !strings.Contains(complaint, "(ResourceExistsException)") {
		t.Errorf("put-secret-value complains %q", complaint)
	}
	if _, complaint = c.run(t, "rotate-secret", "--secret-id", "team/key"); !strings.Contains(complaint, "A previous rotation isn't complete") {
		t.Errorf("rotate-secret complains %q", complaint)
	}
	move := []string{"update-secret-version-stage", "--secret-id", "team/key", "--version-stage", "AWSCURRENT", "--move-to-version-id", three, "--remove-from-version-id"}
	if _, complaint = c.run(t, append(move, one)...); !strings.Contains(complaint, "(InvalidParameterException)") {
		t.Errorf("update-secret-version-stage complains %q", complaint)
	}
	if _, complaint = c.run(t, append(move, two)...); complaint != "" {
		t.Errorf("update-secret-version-stage complains %q", complaint)
	}
	want(map[string][]string{two: {"AWSPREVIOUS"}, three: {"AWSCURRENT", "AWSPENDING"}})
	if out, complaint = c.run(t, "get-secret-value", "--secret-id", "team/key"); complaint != "" || out["SecretString"] != "value 3" || out["VersionId"] != three {
		t.Errorf("get-secret-value prints %v and complains %q", out, complaint)
	}
	if _, complaint = c.run(t, "cancel-rotate-secret", "--secret-id", "team/key"); complaint != "" {
		t.Errorf("cancel-rotate-secret complains %q", complaint)
	}
	if out, complaint = c.run(t, "describe-secret", "--secret-id", "team/key"); complaint != "" || out["RotationEnabled"] != false {
		t.Errorf("describe-secret prints %v and complains %q", out, complaint)
	}
}
