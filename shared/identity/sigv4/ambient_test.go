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
		{"a section that is set in as a whole", "", "[default]\n  aws_access_key_id = AKIA1\n\taws_secret_access_key = s\n", "", "AKIA1", "shared config", ""},
		{"a member that is set in behind one with a value", "[default]\nregion = eu-west-1\n  aws_access_key_id = AKIA1\n  aws_secret_access_key = s\n", "", "", "AKIA1", "shared config", ""},
		{"values in quotes", "", "[default]\naws_access_key_id = \"AKIA1\"\naws_secret_access_key = 's'\n", "", "AKIA1", "shared config", ""},
		{"colons", "", "[default]\naws_access_key_id: AKIA1\naws_secret_access_key: a=b\n", "", "AKIA1", "shared config", ""},
		{"half of a key over a whole one", "[default]\n" + keys, "[default]\naws_access_key_id = canary\n", "", "", "", "set both or neither"},
		{"the other half over a whole one", "[default]\n" + keys, "[default]\naws_secret_access_key = canary\n", "", "", "", "set both or neither"},
		{"a quote at one end alone", "", "[default]\naws_access_key_id = \"AKIA1\naws_secret_access_key = s\n", "", "\"AKIA1", "shared config", ""},
		{"a section behind another whose last member has no value", "", "[other]\ns3 =\n[default]\n  aws_access_key_id = AKIA1\n  aws_secret_access_key = s\n", "", "AKIA1", "shared config", ""},
		{"two sections of one name", "", "[default]\naws_access_key_id = AKIA1\nregion =\n[default]\n  aws_secret_access_key = s\n", "", "AKIA1", "shared config", ""},
		{"a process whose parts are in quotes", "[default]\ncredential_process = \"printf\" '%s' \"{\\\"Version\\\":1,\\\"AccessKeyId\\\":\\\"AKIA3\\\",\\\"SecretAccessKey\\\":\\\"s\\\"}\"\n",
			"", "", "AKIA3", "credential process", ""},
		{"a process that knows the keys", `[default]
credential_process = printf '{"Version":1,"AccessKeyId":"AKIA3","SecretAccessKey":"s"}'
`, "", "", "AKIA3", "credential process", ""},
		{"a profile that is not there", "", "[default]\n" + keys, "canary", "", "", "no profile of the name in AWS_PROFILE"},
		{"a section of the other file's form", "[ops]\n" + keys, "", "ops", "", "", "no profile of the name in AWS_PROFILE"},
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

// TestATokenGoesWithTheKeysOfItsOwnFile: another file's would belong to other keys.
func TestATokenGoesWithTheKeysOfItsOwnFile(t *testing.T) {
	t.Parallel()
	const keys, token = "aws_access_key_id = AKIA1\naws_secret_access_key = s\n", "aws_session_token = t\n"
	for _, c := range []struct{ config, credentials, want string }{
		{"[default]\n" + keys + token, "", "t"},
		{"[default]\n" + keys + token, "[default]\n" + keys, ""},
		{"[default]\n" + keys, "[default]\n" + keys + token, "t"},
	} {
		request, err := sign(t, authorizer(t, sigv4.IdentityOptions{Getenv: environment(files(t, c.config, c.credentials))}))
		if got := request.Header.Get("X-Amz-Security-Token"); err != nil || got != c.want {
			t.Errorf("signed with the token %q and error %v, want %q", got, err, c.want)
		}
	}
}

// TestSharedFilesThatNobodyNamesMayBeUnreadable: the home folder of an image is often that of another user.
func TestSharedFilesThatNobodyNamesMayBeUnreadable(t *testing.T) {
	t.Parallel()
	file, home := filepath.Join(t.TempDir(), "file"), t.TempDir()
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(home, ".aws", "config"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		env map[string]string
		err string
	}{
		"a home that is no folder":      {map[string]string{"HOME": file}, ""},
		"a folder in place of the file": {map[string]string{"HOME": home}, ""},
		"a file that is named":          {map[string]string{"AWS_CONFIG_FILE": home}, "AWS_CONFIG_FILE"},
		"the other one":                 {map[string]string{"AWS_SHARED_CREDENTIALS_FILE": home}, "AWS_SHARED_CREDENTIALS_FILE"},
		"a profile that is named":       {map[string]string{"HOME": file, "AWS_DEFAULT_PROFILE": "canary"}, "or remove the variable: not a directory"},
	} {
		c.env["AWS_CONTAINER_CREDENTIALS_FULL_URI"] = "http://127.0.0.1:1/v1/credentials"
		issuer := awscreds.New(awscreds.Options{})
		got, err := signedBy(t, c.env, &http.Client{Transport: wire{credentialsOnly(issuer)}})
		switch {
		case c.err != "":
			wantPublic(t, err, c.err)
		case err != nil || got.Source != "container credentials":
			t.Errorf("%s: noted %+v and error %v", name, got, err)
		}
	}
}

func TestAProfileThatIsRefusedIsNotTakenForAnotherSource(t *testing.T) {
	t.Parallel()
	for config, want := range map[string]string{
		"":                               "container credentials",
		"[default]\nrole_arn = canary\n": "shared config",
		"[default]\ncredential_process = exit 1\n":      "shared config, credential process",
		"[default]\naws_access_key_id = canary\n":       "shared config",
		"[default]\ncredential_process = printf '{}'\n": "shared config, credential process",
	} {
		env := files(t, config, "")
		env["AWS_CONTAINER_CREDENTIALS_FULL_URI"] = "http://127.0.0.1:1/v1/credentials"
		ctx, trail := identity.WithTrail(t.Context())
		who := sigv4.NewIdentity(sigv4.IdentityOptions{Getenv: environment(env), HTTP: offline()})
		if _, _, err := who.Who(ctx, "eu-central-1"); err == nil {
			t.Errorf("%q: there are credentials", config)
		}
		all := trail.Attempts()
		if last := all[len(all)-1]; last.Source != want || last.Outcome != identity.Failed {
			t.Errorf("%q: the last attempt is %+v", config, last)
		}
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
	empty := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(empty, []byte("\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, value, want string }{
		{"AWS_ROLE_ARN", "", "AWS_ROLE_ARN"},
		{"AWS_ROLE_SESSION_NAME", "a b", "AWS_ROLE_SESSION_NAME"},
		{"AWS_REGION", "", "set AWS_REGION"},
		{"AWS_WEB_IDENTITY_TOKEN_FILE", file + ".canary", "the file in AWS_WEB_IDENTITY_TOKEN_FILE cannot be read"},
		{"AWS_WEB_IDENTITY_TOKEN_FILE", empty, "the file in AWS_WEB_IDENTITY_TOKEN_FILE is empty"},
	} {
		broken := map[string]string{"AWS_REGION": "eu-central-1", "AWS_WEB_IDENTITY_TOKEN_FILE": file, "AWS_ROLE_ARN": federated}
		broken[c.name] = c.value
		_, err := signedBy(t, broken, client)
		wantPublic(t, err, c.want)
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
		"ftp://127.0.0.1/canary":           false,
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
			wantPublic(t, err, variable)
		} else if err != nil || got.Source != "container credentials" || address[0] == '/' && asked != "169.254.170.2" {
			t.Errorf("%s: noted %+v and error %v, asked %s", address, got, err, asked)
		}
		if !want && asked != "" {
			t.Errorf("%s was asked", address)
		}
	}
}

func TestAContainersTokenThatCannotBeSentIsNamed(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "token")
	if err := os.WriteFile(file, []byte("canary\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, value, want string }{
		{"AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", filepath.Join(dir, "canary"), "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE cannot be read: no such file"},
		{"AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", file, "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE holds a line break"},
		{"AWS_CONTAINER_AUTHORIZATION_TOKEN", "canary\r\nX: 1", "AWS_CONTAINER_AUTHORIZATION_TOKEN holds a line break"},
	} {
		_, err := signedBy(t, map[string]string{"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://127.0.0.1:1/v1/credentials", c.name: c.value}, silent(t))
		wantPublic(t, err, c.want)
	}
}
