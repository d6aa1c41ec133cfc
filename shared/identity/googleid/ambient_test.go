package googleid_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/postern-ai/postern/localdev/fake/awscreds"
	"github.com/postern-ai/postern/localdev/fake/fault"
	"github.com/postern-ai/postern/localdev/fake/metadata"
	"github.com/postern-ai/postern/shared/identity"
	"github.com/postern-ai/postern/shared/identity/googleid"
)

// place is a machine with files of each kind, and a metadata server.
type place struct {
	home     string
	metadata *metadata.Server
}

func newPlace(t *testing.T) place {
	t.Helper()
	p := place{home: t.TempDir(), metadata: metadata.New(metadata.Options{})}
	if err := os.MkdirAll(filepath.Join(p.home, ".config", "gcloud"), 0o700); err != nil {
		t.Fatal(err)
	}
	p.write(t, filepath.Join(".config", "gcloud", "application_default_credentials.json"), authorizedUser(nil))
	p.write(t, "key.json", serviceAccount(nil))
	return p
}

func (p place) write(t *testing.T, name string, content fields) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(p.home, name), []byte(encode(t, content).Reveal()), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (p place) ambient(t *testing.T, env map[string]string) *googleid.Ambient {
	t.Helper()
	getenv := func(name string) string { return env[name] }
	got, err := googleid.NewAmbient(googleid.AmbientOptions{
		FileOptions: googleid.FileOptions{Services: at(google(awscreds.New(awscreds.Options{})))}, Getenv: getenv,
		Metadata: googleid.New(googleid.Options{Getenv: getenv, HTTP: &http.Client{Transport: wire{p.metadata}}}),
	})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestTheFirstIdentityThatIsConfiguredIsTheOne(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	inline, err := json.Marshal(serviceAccount(nil))
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name  string
		env   map[string]string
		want  identity.Principal
		place string
	}{
		{"a file that a variable names", map[string]string{"HOME": p.home, "GOOGLE_APPLICATION_CREDENTIALS": filepath.Join(p.home, "key.json")},
			identity.Principal{Name: keyed, Source: "service account key in GOOGLE_APPLICATION_CREDENTIALS"}, "GOOGLE_APPLICATION_CREDENTIALS"},
		{"a key in a variable", map[string]string{"HOME": p.home, "GCP_SERVICE_ACCOUNT": string(inline), "K_SERVICE": "gateway"},
			identity.Principal{Name: keyed, Source: "service account key in GCP_SERVICE_ACCOUNT"}, "GCP_SERVICE_ACCOUNT"},
		{"gcloud's file", map[string]string{"HOME": p.home}, identity.Principal{Name: "a person", Source: "user credentials in gcloud's file"}, "gcloud's file"},
		{"gcloud's file in another folder", map[string]string{"CLOUDSDK_CONFIG": filepath.Join(p.home, ".config", "gcloud")}, identity.Principal{Name: "a person", Source: "user credentials in gcloud's file"}, "gcloud's file"},
		{"the metadata server in a function", map[string]string{"HOME": p.home, "K_SERVICE": "gateway"}, identity.Principal{Name: email, Source: "metadata server"}, "metadata server"},
		{"the metadata server without any file", map[string]string{"HOME": filepath.Join(p.home, "nobody")}, identity.Principal{Name: email, Source: "metadata server"}, "metadata server"},
		{"the metadata server without a home", nil, identity.Principal{Name: email, Source: "metadata server"}, "metadata server"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			source := p.ambient(t, test.env)
			token, err := source.Token(t.Context())
			if err != nil || token.Principal != test.want || source.Place() != test.place {
				t.Errorf("got %+v from %s: %v", token.Principal, source.Place(), err)
			}
		})
	}
}

func TestAConfiguredIdentityThatDoesNotWorkIsAnErrorAndNoOtherIsTried(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	p.write(t, "broken.json", fields{"type": "canary"})
	p.write(t, "person.json", authorizedUser(nil))
	p.metadata.Tokens.Set(fault.Fault{Status: 500})
	for want, env := range map[string]map[string]string{
		"both set, and name two identities":                   {"GOOGLE_APPLICATION_CREDENTIALS": "x", "GCP_SERVICE_ACCOUNT": "x"},
		"GOOGLE_APPLICATION_CREDENTIALS names a file that is": {"GOOGLE_APPLICATION_CREDENTIALS": filepath.Join(p.home, "absent.json")},
		"cannot be read": {"GOOGLE_APPLICATION_CREDENTIALS": p.home},
		"type must be":   {"GOOGLE_APPLICATION_CREDENTIALS": filepath.Join(p.home, "broken.json")},
		"type authorized_user is not accepted here; it must be service_account": {"GCP_SERVICE_ACCOUNT": encode(t, authorizedUser(nil)).Reveal()},
		"it is not one JSON object with a type":                                 {"GCP_SERVICE_ACCOUNT": "canary"},
	} {
		source := p.ambient(t, env)
		_, err := source.Token(t.Context())
		if _, ok := errors.AsType[*identity.Error](err); !ok || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "canary") {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	if got := p.metadata.Tokens.Calls(); got != 0 {
		t.Errorf("the metadata server was asked %d times", got)
	}
	if _, err := googleid.NewAmbient(googleid.AmbientOptions{FileOptions: googleid.FileOptions{Scopes: []string{"x"}}}); err == nil {
		t.Error("a scope that is none is accepted")
	}
}
