package kit

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestTheSystemsBundleIsReadOnceUnlessTheOperatorNamesAnother(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	none, empty, first, second := filepath.Join(dir, "none"), file("empty", ""), file("first", "pem"), file("second", "pem")
	for _, c := range []struct {
		name  string
		env   map[string]string
		files []string
		want  map[string]string
	}{
		{"the first that is there", nil, []string{none, empty, dir, first, second}, map[string]string{"SSL_CERT_FILE": first, "SSL_CERT_DIR": os.DevNull}},
		{"a system without a bundle", nil, []string{none, dir}, nil},
		{"an operator's file", map[string]string{"SSL_CERT_FILE": "/own.pem"}, []string{first}, map[string]string{"SSL_CERT_FILE": "/own.pem"}},
		{"an operator's folders", map[string]string{"SSL_CERT_DIR": "/own"}, []string{first}, map[string]string{"SSL_CERT_DIR": "/own"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			env := maps.Clone(c.env)
			if env == nil {
				env = map[string]string{}
			}
			trustBundle(func(name string) string { return env[name] }, func(name, value string) error { env[name] = value; return nil }, c.files)
			if !maps.Equal(env, c.want) {
				t.Errorf("the environment is %v, want %v", env, c.want)
			}
		})
	}
}

// TestTheBundlesAreThoseOfGo holds the list against the source of crypto/x509:
// another order would be another trust.
func TestTheBundlesAreThoseOfGo(t *testing.T) {
	t.Parallel()
	root, err := exec.CommandContext(t.Context(), "go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}
	source, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(root)), "src", "crypto", "x509", "root_linux.go"))
	if err != nil {
		t.Fatal(err)
	}
	_, list, _ := strings.Cut(string(source), "var certFiles = []string{")
	list, _, _ = strings.Cut(list, "\n}")
	var theirs []string
	for line := range strings.Lines(list) {
		if _, rest, ok := strings.Cut(line, `"`); ok {
			path, _, _ := strings.Cut(rest, `"`)
			theirs = append(theirs, path)
		}
	}
	if got, want := strings.Join(bundles(), " "), strings.Join(theirs, " "); got != want {
		t.Errorf("the bundles are %s, and Go's are %s", got, want)
	}
}
