package front

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// unpack writes the files of an archive, but for the last one, which it returns.
func unpack(t *testing.T, a *txtar.Archive) (root string, last *txtar.File) {
	t.Helper()
	root = t.TempDir()
	for _, f := range a.Files[:len(a.Files)-1] {
		path := filepath.Join(root, filepath.FromSlash(f.Name))
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, f.Data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return root, &a.Files[len(a.Files)-1]
}

// TestRefusedApps holds each broken app folder against the error that it ends in. The name of a file says what is wrong.
func TestRefusedApps(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/refused_apps/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no golden files: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			t.Parallel()
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			root, want := unpack(t, archive)
			got := "accepted\n"
			if _, err := readApp(root, nil); err != nil {
				got = strings.ReplaceAll(err.Error(), root, "APP") + "\n"
			}
			if *update {
				want.Data = []byte(got)
				if err := os.WriteFile(file, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if diff := cmp.Diff(string(want.Data), got); diff != "" {
				t.Errorf("error (-want +got):\n%s", diff)
			}
		})
	}
}

func TestAnAppIsReadAsTheHostReadsIt(t *testing.T) {
	t.Parallel()
	root, _ := unpack(t, txtar.Parse([]byte(`
-- host.json --
{"version": "2.0", "functionTimeout": "1.02:03:04", "logging": {"logLevel": {"default": "Information"}},
 "customHandler": {"description": {"defaultExecutablePath": "bin/handler", "workingDirectory": "work", "arguments": ["-a=%A%", "%UNKNOWN%"]},
  "enableProxyingHttpRequest": true, "port": 8123, "initializationTimeout": "00:01:00"}}
-- plain/function.json --
{"bindings": [{"type": "httpTrigger", "direction": "in", "name": "req"}, {"type": "http", "direction": "out", "name": "$return"}]}
-- queued/function.json --
{"bindings": [{"type": "HttpTrigger", "direction": "in", "name": "req", "route": "/v1/{id}"}, {"type": "http", "direction": "out", "name": "res"},
 {"type": "queue", "direction": "out", "name": "q"}]}
-- timed/function.json --
{"bindings": [{"type": "timerTrigger", "direction": "in", "name": "timer", "schedule": "0 0 3 * * *"}], "retry": {"strategy": "fixedDelay", "maxRetryCount": 4}}
-- switchedOff/function.json --
{"disabled": true, "bindings": [{"type": "timerTrigger", "direction": "in", "name": "timer"}]}
-- assets/logo.txt --
-- end --
`)))
	a, err := readApp(root, map[string]string{"A": "1"})
	if err != nil {
		t.Fatal(err)
	}
	if a.executable != filepath.Join(root, "bin/handler") || a.directory != filepath.Join(root, "work") || a.port != 8123 || !a.proxying {
		t.Errorf("app %+v", a)
	}
	if diff := cmp.Diff([]string{"-a=1", "%UNKNOWN%"}, a.arguments); diff != "" {
		t.Errorf("arguments (-want +got):\n%s", diff)
	}
	if a.timeout != 26*time.Hour+3*time.Minute+4*time.Second || a.initTimeout != time.Minute {
		t.Errorf("timeouts %s and %s", a.timeout, a.initTimeout)
	}
	type summary struct {
		Name, Trigger, Level string
		Route                string
		Simple               bool
	}
	var got []summary
	for _, f := range a.functions {
		var route []string
		for _, s := range f.route {
			route = append(route, s.text)
		}
		got = append(got, summary{f.name, f.trigger.Name, f.trigger.AuthLevel, strings.Join(route, "/"), f.simpleHTTP()})
	}
	want := []summary{
		{"plain", "req", "function", "api/plain", true},
		{"queued", "req", "function", "api/v1/id", false},
		{"timed", "timer", "function", "", false},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("functions (-want +got):\n%s", diff)
	}
}

func TestRoutes(t *testing.T) {
	t.Parallel()
	tests := []struct {
		template, path string
		want           map[string]string // nil if the route does not match
	}{
		{"", "/", map[string]string{}},
		{"", "/a", nil},
		{"a/b", "/A/b", map[string]string{}},
		{"a/b", "/a/b/", map[string]string{}},
		{"a/b", "/a", nil},
		{"a/{id}", "/a/1 2", map[string]string{"id": "1 2"}},
		{"a/{id}", "/a", nil},
		{"a/{id?}", "/a", map[string]string{}},
		{"a/{id?}", "/a/1", map[string]string{"id": "1"}},
		{"a/{id?}", "/a/1/2", nil},
		{"{*path}", "/", map[string]string{}},
		{"{*path}", "/v1/chat/completions", map[string]string{"path": "v1/chat/completions"}},
		{"a/{*path}", "/b/c", nil},
	}
	for _, tt := range tests {
		r, err := parseRoute(tt.template)
		if err != nil {
			t.Errorf("%q: %v", tt.template, err)
			continue
		}
		got, ok := r.match(tt.path)
		if !ok {
			got = nil
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%q on %q (-want +got):\n%s", tt.template, tt.path, diff)
		}
	}
}

func TestTheMostSpecificRouteServes(t *testing.T) {
	t.Parallel()
	a := &app{}
	for _, template := range []string{"{*rest}", "a/{*rest}", "a/{id?}", "a/{id}", "a/b"} {
		r, err := parseRoute(template)
		if err != nil {
			t.Fatal(err)
		}
		a.functions = append(a.functions, &function{name: template, trigger: binding{Type: "httpTrigger"}, route: r})
	}
	for path, want := range map[string]string{"/a/b": "a/b", "/a/c": "a/{id}", "/a": "a/{id?}", "/a/c/d": "a/{*rest}", "/z": "{*rest}"} {
		if f, _, ok := a.find("GET", path); !ok || f.name != want {
			t.Errorf("%s is served by %v, want %s", path, f, want)
		}
	}
}

func FuzzRoute(f *testing.F) {
	f.Add("a/{id?}", "/a/b")
	f.Add("{*path}", "//")
	f.Add("", "/")
	f.Fuzz(func(t *testing.T, template, path string) {
		r, err := parseRoute(template)
		if err != nil {
			return
		}
		params, ok := r.match(path)
		if len(params) > len(r) {
			t.Fatalf("%q on %q has %v", template, path, params)
		}
		if ok && len(r) == 0 && strings.Trim(path, "/") != "" {
			t.Fatalf("the empty route matches %q", path)
		}
	})
}
