package kit

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/postern-ai/postern/localdev/fake/secretsmanager"
	"github.com/postern-ai/postern/shared/config"
	"github.com/postern-ai/postern/shared/identity"
	"github.com/postern-ai/postern/shared/release"
	"github.com/postern-ai/postern/shared/secrets"
)

// examine has the doctor look at a document of one upstream, and makes sure
// that nothing secret is in what it says.
func (w *world) examine(t *testing.T, cloud config.Cloud, document string, operator map[string]string) Finding {
	t.Helper()
	wiring, d, err := w.wiring(t, cloud, document, operator)
	if err != nil {
		t.Fatal(err)
	}
	diagnosis := wiring.diagnose(t.Context(), d)
	text, err := json.Marshal(diagnosis)
	if err != nil {
		t.Fatal(err)
	}
	canaries := []string{clientPass, appSecret, "wJalrXUtnFEMI", "PRIVATE KEY", "eyJ", "Bearer ", "ya29."}
	for _, name := range []string{"AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "CANARY"} {
		if value := wiring.Getenv(name); value != "" {
			canaries = append(canaries, value)
		}
	}
	for _, canary := range canaries {
		if strings.Contains(string(text), canary) {
			t.Errorf("the report holds %q: %s", canary, text)
		}
	}
	if diagnosis.Cloud != cloud || diagnosis.Version != release.Version || diagnosis.Commit != release.Commit || len(diagnosis.Upstreams) != 1 {
		t.Fatalf("got %s", text)
	}
	return diagnosis.Upstreams[0]
}

// steps writes attempts as lines that can be compared.
func steps(f Finding) []string {
	var lines []string
	for _, a := range f.Attempts {
		line := fmt.Sprintf("%s: %s", a.Source, a.Outcome)
		if a.Why != "" {
			line += ", " + a.Why
		}
		if a.Identity != "" {
			line += ", " + a.Identity
		}
		lines = append(lines, line)
	}
	return lines
}

// TestTheDoctorFindsTheCredentialOfEveryCell examines the same rows as the
// matrix.
func TestTheDoctorFindsTheCredentialOfEveryCell(t *testing.T) {
	w := newWorld(t)
	for _, c := range slices.Concat(keyCells(), awsCells(), azureCells(), googleCells(), oauthCells(), vendorCells()) {
		for _, cloud := range on(config.AWS, config.GCP, config.Azure) {
			if len(c.clouds) > 0 && !slices.Contains(c.clouds, cloud) {
				continue
			}
			t.Run(fmt.Sprintf("%s %s on %s: %s", c.provider, c.auth, cloud, c.name), func(t *testing.T) {
				if cloud == config.Azure {
					w.onAzure(t)
				}
				key, both := w.pems(t)
				operator := map[string]string{"STORED": strings.NewReplacer("{key}", key, "{certificate}", both).Replace(w.fill(cloud, c.stored))}
				f := w.examine(t, cloud, fmt.Sprintf("provider: %s\nauth_type: %s\n%s", c.provider, c.auth, c.fields), operator)
				if !f.Credential || f.Remedy != "" || f.Identity == "" || f.Source == "" || f.Provider != c.provider || f.AuthType != c.auth {
					t.Errorf("got %+v", f)
				}
				if len(f.Attempts) == 0 || f.Attempts[len(f.Attempts)-1].Outcome != identity.Found {
					t.Errorf("no attempt found %s: %q", f.Identity, steps(f))
				}
				if slices.ContainsFunc(f.Attempts, func(a Attempt) bool { return a.Outcome == identity.Failed }) {
					t.Errorf("an attempt failed: %q", steps(f))
				}
				if c.signer != nil && f.Identity != c.signer(cloud).Name {
					t.Errorf("found %s, want %s", f.Identity, c.signer(cloud).Name)
				}
				if c.auth != config.APIKey && f.Expires == nil && !strings.Contains(f.Source, "static keys") && !strings.Contains(f.Source, "lambda environment") {
					t.Errorf("no expiry: %+v", f)
				}
			})
		}
	}
}

// noAWS takes the role's credentials away from a function.
var noAWS = map[string]string{"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "AWS_SESSION_TOKEN": ""}

func TestTheDoctorListsWhatWasTriedInOrder(t *testing.T) {
	for _, setting := range os.Environ() {
		if name, _, _ := strings.Cut(setting, "="); strings.HasPrefix(name, "AWS_") || strings.HasPrefix(name, "IDENTITY_") {
			t.Setenv(name, "")
			_ = os.Unsetenv(name)
		}
	}
	home := t.TempDir()
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", filepath.Join(home, "credentials"))
	t.Setenv("AWS_CONFIG_FILE", filepath.Join(home, "config"))
	w := newWorld(t)
	const needs = ": skipped, what it needs could not be had"
	const sts = "AWS identity token (sts:GetWebIdentityToken)"
	nothing := []string{
		"environment: skipped, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are not set",
		"web identity: skipped, AWS_WEB_IDENTITY_TOKEN_FILE is not set",
		"shared config: skipped, no usable credentials in a profile",
		"container credentials: skipped, AWS_CONTAINER_CREDENTIALS_RELATIVE_URI and AWS_CONTAINER_CREDENTIALS_FULL_URI are not set",
		"instance metadata: skipped, a function has none; it is asked only when AWS_EC2_METADATA_DISABLED=false",
		"AWS credentials: failed, no AWS credentials found.",
	}
	for _, c := range []struct {
		name     string
		cloud    config.Cloud
		document string
		operator map[string]string
		// want are the beginnings of the lines.
		want   []string
		remedy string
	}{
		{
			"a function without a role", config.AWS, "provider: bedrock\naws_region: eu-west-1\n", noAWS, nothing, "Give the function a role",
		},
		{
			"half of a key in the environment", config.AWS, "provider: bedrock\naws_region: eu-west-1\n", map[string]string{"AWS_SECRET_ACCESS_KEY": ""},
			[]string{"environment: failed, AWS_ACCESS_KEY_ID is set without AWS_SECRET_ACCESS_KEY"}, "set both or neither",
		},
		{
			"a chain whose first hop finds no role", config.AWS, "provider: bedrock\naws_region: eu-west-1\naws_roles: [{role_arn: '{hub}'}, {role_arn: '{spoke}'}]\n", noAWS,
			append(slices.Clone(nothing), "assume role "+hubRole+needs, "assume role "+spokeRole+needs), "Give the function a role",
		},
		{
			"a chain whose second hop is refused", config.AWS, "provider: bedrock\naws_region: eu-west-1\naws_roles: [{role_arn: '{hub}'}, {role_arn: '{spoke}', external_id: 'wrong:1'}]\n", nil,
			[]string{
				"environment: found, arn:aws:sts::123456789012:assumed-role/postern-gateway/",
				"assume role " + hubRole + ": found, arn:aws:sts::123456789012:assumed-role/hub/",
				"assume role " + spokeRole + ": failed, cannot assume role " + spokeRole,
			},
			"the trust policy must name this external id",
		},
		{
			"a role without a metadata server's token", config.GCP, "provider: bedrock\naws_region: eu-west-1\naws_roles: [{role_arn: '{hub}'}]\n", map[string]string{"GCE_METADATA_HOST": "127.0.0.1:1"},
			[]string{"metadata server (identity token): failed, no Google identity", "assume role " + hubRole + " with web identity" + needs}, "does not answer",
		},
		{
			"a platform token that the other party does not take", config.AWS,
			"provider: openai\nauth_type: native\nidentity_provider_id: idp_aws\nservice_account_id: svac_gateway\ntoken_audience: wrong\ntoken_endpoint: '{openai}/oauth/token'\n", nil,
			[]string{"environment: found", sts + ": found, " + gatewayRole, "OpenAI token exchange: failed"}, "the platform's token is not accepted",
		},
		{
			"a function app without an identity", config.Azure, "provider: azure-openai\nazure_instance: res\nauth_type: azure_ad\n", nil,
			[]string{"managed identity: failed, no Azure identity: IDENTITY_ENDPOINT and IDENTITY_HEADER are not set"}, "assign one to the function app",
		},
		{
			"a key that is not stored", config.GCP, "provider: openai\nauth_type: api_key\ncredential_ref: env://MISSING\n", nil,
			[]string{`stored key: failed, read secret "env://MISSING": the environment variable is not set, env://MISSING`}, "the environment variable is not set",
		},
		{
			"a stored key that is none", config.GCP, "provider: openai\nauth_type: api_key\ncredential_ref: env://CANARY\n", map[string]string{"CANARY": "two\nlines of canary"},
			[]string{"stored key: found, env://CANARY"}, "store the key alone",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := w.examine(t, c.cloud, c.document, c.operator)
			if f.Credential || f.Identity != "" || f.Expires != nil || !strings.Contains(f.Remedy, c.remedy) {
				t.Errorf("got %+v, want the remedy %q", f, c.remedy)
			}
			got := steps(f)
			for i, line := range got {
				if i < len(c.want) && strings.HasPrefix(line, c.want[i]) {
					got[i] = c.want[i]
				}
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("attempts (-want +got):\n%s", diff)
			}
		})
	}
}

func TestTheDoctorSaysWhichVersionIsStored(t *testing.T) {
	w := newWorld(t)
	w.secrets.Seed(secretsmanager.Secret{Name: "llm/key", Text: "sk-a-key"})
	f := w.examine(t, config.AWS, "provider: openai\nauth_type: api_key\ncredential_ref: llm/key\n", map[string]string{"CANARY": "sk-a-key"})
	if len(f.Attempts) != 1 || f.Attempts[0].Version == "" || f.Attempts[0].Identity == "" {
		t.Errorf("got %+v", f)
	}
}

// TestTheDoctorsSwitchWritesIntoTheLogAlone has the first request write the
// report, once, and the caller see nothing of it.
func TestTheDoctorsSwitchWritesIntoTheLogAlone(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	env := map[string]string{
		"POSTERN_DOCTOR": "log", "CANARY": "a-key-that-nobody-sees",
		"POSTERN_CONFIG": "callers: [{name: a, issuer: 'http://127.0.0.1:1', audience: a}]\npolicy: [{name: p, models: ['*']}]\n" +
			"upstreams:\n- {name: good, provider: openai, auth_type: api_key, credential_ref: env://CANARY, models: [m]}\n" +
			"- {name: bad, provider: openai, auth_type: api_key, credential_ref: env://MISSING, models: [n]}\n",
	}
	getenv := func(name string) string { return env[name] }
	h, err := Kit{Cloud: config.GCP, Getenv: getenv, Log: slog.New(slog.NewJSONHandler(&log, nil)), Secrets: secrets.Stores{
		secrets.StoreEnv: secrets.Environment{Lookup: func(name string) (string, bool) { return env[name], env[name] != "" }},
	}}.Gateway()
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		answer := httptest.NewRecorder()
		h.ServeHTTP(answer, httptest.NewRequest(http.MethodPost, "/doctor", strings.NewReader(`{"postern":"doctor"}`)))
		if body, _ := io.ReadAll(answer.Body); strings.Contains(string(body), "attempts") || strings.Contains(string(body), "CANARY") || strings.Contains(string(body), release.Version) {
			t.Errorf("a caller got %s", body)
		}
	}
	stamp := `","version":"` + release.Version + `","commit":"` + release.Commit + `"}`
	for text, times := range map[string]int{
		`"msg":"the function has started` + stamp: 1, `"msg":"doctor` + stamp: 1,
		`"msg":"doctor"`: 4, `"callers":{"issuer":"http://127.0.0.1:1","remedy":"discovery of http://127.0.0.1:1: `: 1, `"upstream":"good"`: 1, `"upstream":"bad"`: 1, `"credential":true`: 1, `"credential":false`: 1, env["CANARY"]: 0,
	} {
		if got := strings.Count(log.String(), text); got != times {
			t.Errorf("%s is in the log %d times, want %d: %s", text, got, times, log.String())
		}
	}
}

func TestAnUnknownSwitchOfTheDoctorIsRefusedAtStart(t *testing.T) {
	t.Parallel()
	_, err := Kit{Getenv: func(string) string { return "http" }}.examined(http.NotFoundHandler())
	if err == nil || !strings.Contains(err.Error(), "POSTERN_DOCTOR") || !strings.Contains(err.Error(), "use log") {
		t.Errorf("got %v", err)
	}
}
