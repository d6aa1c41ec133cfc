package sigv4_test

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/postern-ai/postern/localdev/fake/awscreds"
	"github.com/postern-ai/postern/shared/identity"
	"github.com/postern-ai/postern/shared/identity/sigv4"
)

// files writes shared files and returns an environment that names them.
func files(t *testing.T, config, credentials string) map[string]string {
	t.Helper()
	home := t.TempDir()
	for name, text := range map[string]string{"config": config, "credentials": credentials} {
		if err := os.MkdirAll(filepath.Join(home, ".aws"), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(home, ".aws", name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return map[string]string{"HOME": home}
}

// signedBy signs a request as the identity of an environment.
func signedBy(t *testing.T, env map[string]string, client *http.Client) (identity.Principal, error) {
	t.Helper()
	ctx, report := identity.WithReport(t.Context())
	request := httptest.NewRequestWithContext(ctx, http.MethodPost, "https://host/p", strings.NewReader("body"))
	err := authorizer(t, sigv4.IdentityOptions{Getenv: environment(env), HTTP: client}).Authorize(request)
	return report.Principal(), err
}

func TestAProfileIsReadAsTheSharedFilesAreWritten(t *testing.T) {
	t.Parallel()
	const keys = "aws_access_key_id = AKIA1 # the first\naws_secret_access_key=s\n"
	for _, c := range []struct {
		name, config, credentials, profile string
		want, source                       string
		err                                string
	}{
		{"keys of the default profile", "", "[default]\n" + keys, "", "AKIA1", "shared config", ""},
		{"keys of a named one", "", "[default]\naws_access_key_id = AKIA2\naws_secret_access_key = s\n\n[ops]\n" + keys, "ops", "AKIA1", "shared config", ""},
		{"keys in the configuration file", "[profile ops]\n; old\n" + keys, "", "ops", "AKIA1", "shared config", ""},
		{"the credentials file counts more", "[default]\naws_access_key_id = AKIA2\naws_secret_access_key = s\n", "[default]\n" + keys, "", "AKIA1", "shared config", ""},
		{"what is set in belongs to another member", "[default]\ns3 =\n  aws_access_key_id = AKIA2\n" + keys, "", "", "AKIA1", "shared config", ""},
		{"a process that knows the keys", `[default]
credential_process = printf '{"Version":1,"AccessKeyId":"AKIA3","SecretAccessKey":"s"}'
`, "", "", "AKIA3", "credential process", ""},
		{"a profile that is not there", "", "[default]\n" + keys, "canary", "", "", "check AWS_PROFILE"},
		{"a section of the other file's form", "[ops]\n" + keys, "", "ops", "", "", "check AWS_PROFILE"},
		{"half of a key", "", "[default]\naws_access_key_id = canary\n", "", "", "", "set both or neither"},
		{"a role", "[default]\nrole_arn = canary\nsource_profile = canary\n", "[default]\n" + keys, "", "", "", "with role_arn is not for a function"},
		{"people who sign in", "[default]\nsso_session = canary\n", "", "", "", "", "with sso_session is not for a function"},
		{"nothing about credentials", "[default]\nregion = eu-west-1\n", "", "", "", "", "no AWS credentials found"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			env := files(t, c.config, c.credentials)
			env["AWS_PROFILE"] = c.profile
			got, err := signedBy(t, env, offline())
			if c.err != "" {
				wantPublic(t, err, c.err)
				return
			}
			if want := (identity.Principal{Name: "access key " + c.want, Source: c.source}); err != nil || got != want {
				t.Errorf("noted %+v and error %v, want %+v", got, err, want)
			}
		})
	}
}

func TestTheEnvironmentsWebIdentityAssumesItsRole(t *testing.T) {
	t.Parallel()
	token, err := tokens(t, "gateway").Token(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(token.Value.Reveal()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: wire{federation()}}
	env := map[string]string{"AWS_REGION": "eu-central-1", "AWS_WEB_IDENTITY_TOKEN_FILE": file, "AWS_ROLE_ARN": federated, "AWS_ROLE_SESSION_NAME": "one"}
	got, err := signedBy(t, env, client)
	if want := (identity.Principal{Name: "arn:aws:sts::123456789012:assumed-role/federated/one", Source: "web identity"}); err != nil || got != want {
		t.Errorf("noted %+v and error %v, want %+v", got, err, want)
	}
	for name, value := range map[string]string{"AWS_ROLE_ARN": "", "AWS_WEB_IDENTITY_TOKEN_FILE": file + ".canary"} {
		broken := map[string]string{"AWS_REGION": "eu-central-1", "AWS_WEB_IDENTITY_TOKEN_FILE": file, "AWS_ROLE_ARN": federated}
		broken[name] = value
		_, err := signedBy(t, broken, client)
		wantPublic(t, err, "AWS_WEB_IDENTITY_TOKEN_FILE with AWS_ROLE_ARN")
	}
}

func TestAContainersTokenGoesOnlyWhereCredentialsAreHad(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte("letmein"), 0o600); err != nil {
		t.Fatal(err)
	}
	for address, want := range map[string]bool{
		"http://127.0.0.1:1/v1/credentials": true, "http://localhost:1/v1/credentials": true, "http://[::1]:1/v1/credentials": true,
		"http://169.254.170.23/v1/credentials": true, "http://[fd00:ec2::23]/v1/credentials": true, "https://example.com/v1/credentials": true,
		"/v1/credentials":                  true, // of ECS
		"http://example.com/canary":        false,
		"http://169.254.169.254/canary":    false,
		"http://127.0.0.1.example/canary":  false,
		"http://canary@example.com/canary": false,
		"http:///canary":                   false,
	} {
		variable := "AWS_CONTAINER_CREDENTIALS_FULL_URI"
		if address[0] == '/' {
			variable = "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"
		}
		asked := ""
		issuer := awscreds.New(awscreds.Options{AuthorizationToken: "letmein"})
		client := &http.Client{Transport: wire{http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/v1/credentials" {
				w.WriteHeader(http.StatusForbidden) // the question for a name
				return
			}
			asked = r.URL.Host
			issuer.ServeHTTP(w, r)
		})}}
		got, err := signedBy(t, map[string]string{variable: address, "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": file}, client)
		if !want {
			wantPublic(t, err, "check AWS_PROFILE, AWS_CONTAINER_CREDENTIALS_FULL_URI")
		} else if err != nil || got.Source != "container credentials" || address[0] == '/' && asked != "169.254.170.2" {
			t.Errorf("%s: noted %+v and error %v, asked %s", address, got, err, asked)
		}
		if !want && asked != "" {
			t.Errorf("%s was asked", address)
		}
	}
}
