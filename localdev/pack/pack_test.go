package main

import (
	"archive/zip"
	"bytes"
	"debug/buildinfo"
	"encoding/json"
	"go/parser"
	"go/token"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/postern-ai/postern/localdev/raced"
)

const (
	root = "../.."
	// The stamp of all packages here.
	version = "v1.4.0-3-g4c0ab5a8e1d2-dirty"
	commit  = "4c0ab5a8e1d2f3a4b5c6d7e8f90123456789abcd-dirty"
)

// packed makes packages and returns their folder.
func packed(t *testing.T, packages ...pack) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "out")
	if err := run(t.Context(), options{input: input{root, stamp{version, commit}}, out: out, packages: packages}, io.Discard); err != nil {
		t.Fatal(err)
	}
	return out
}

func read(t *testing.T, parts ...string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(parts...))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// unpack writes an archive into a folder, and returns the names and modes of
// its files.
func unpack(t *testing.T, archive []byte, dir string) map[string]string {
	t.Helper()
	r, err := zip.NewReader(bytes.NewReader(archive), int64(len(archive)))
	if err != nil {
		t.Fatal(err)
	}
	if want := "postern " + version + " " + commit; r.Comment != want {
		t.Errorf("the archive's comment is %q, want %q", r.Comment, want)
	}
	modes := map[string]string{}
	for _, f := range r.File {
		modes[f.Name] = f.Mode().String()
		at := filepath.Join(dir, filepath.FromSlash(f.Name))
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			t.Fatal(err)
		}
		from, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(from)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(at, data, f.Mode()); err != nil {
			t.Fatal(err)
		}
	}
	return modes
}

func TestTheSameSourceMakesTheSameBytes(t *testing.T) {
	if raced.Enabled {
		t.Skip("packing is ten times as slow with the race detector, and make test runs it without")
	}
	t.Parallel()
	command := filepath.Join(t.TempDir(), "pack")
	if out, err := exec.Command("go", "build", "-o", command, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	pack := func(environment ...string) string {
		out := filepath.Join(t.TempDir(), "out")
		c := exec.CommandContext(t.Context(), command, "-root", root, "-out", out, "-version", version, "-commit", commit)
		c.Env = append(os.Environ(), environment...)
		text, err := c.CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		if want := "# " + version + ", commit " + commit + "\n" + string(read(t, out, "SHA256SUMS")); string(text) != want {
			t.Errorf("it printed %s, want %s", text, want)
		}
		return out
	}
	first := pack()
	// What differs from machine to machine.
	second := pack("TZ=Pacific/Auckland", "TMPDIR="+t.TempDir(), "GOFLAGS=-ldflags=-X=main.leak=1", "GOAMD64=v3", "CGO_ENABLED=1",
		"USER=another", "LOGNAME=another", "LC_ALL=C.UTF-8", "VERSION=leak", "COMMIT=leak", "SOURCE_DATE_EPOCH=1")
	for _, name := range list(t, first) {
		if !bytes.Equal(read(t, first, name), read(t, second, name)) {
			t.Errorf("%s is another one the second time", name)
		}
	}
	want := []string{
		"SHA256SUMS",
		"gateway-aws-amd64.cdx.json", "gateway-aws-amd64.zip", "gateway-aws-arm64.cdx.json", "gateway-aws-arm64.zip",
		"gateway-azure-amd64.cdx.json", "gateway-azure-amd64.zip", "gateway-gcp.cdx.json", "gateway-gcp.zip",
		"rotate-aws-amd64.cdx.json", "rotate-aws-amd64.zip", "rotate-aws-arm64.cdx.json", "rotate-aws-arm64.zip",
		"rotate-azure-amd64.cdx.json", "rotate-azure-amd64.zip", "rotate-gcp.cdx.json", "rotate-gcp.zip",
	}
	if diff := cmp.Diff(want, list(t, second)); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	t.Run("each program is for its platform and holds no path of this machine", func(t *testing.T) {
		programs := map[string]string{
			"gateway-aws-arm64": "bootstrap", "gateway-aws-amd64": "bootstrap", "gateway-azure-amd64": "handler",
			"rotate-aws-arm64": "bootstrap", "rotate-aws-amd64": "bootstrap", "rotate-azure-amd64": "handler",
		}
		for name, program := range programs {
			dir := t.TempDir()
			modes := unpack(t, read(t, second, name+".zip"), dir)
			if modes[program] != "-rwxr-xr-x" {
				t.Errorf("%s: %s has mode %s and could not be started", name, program, modes[program])
			}
			info, err := buildinfo.ReadFile(filepath.Join(dir, program))
			if err != nil {
				t.Fatal(err)
			}
			settings := map[string]string{}
			for _, s := range info.Settings {
				settings[s.Key] = s.Value
			}
			if arch := name[strings.LastIndex(name, "-")+1:]; settings["GOOS"] != "linux" || settings["GOARCH"] != arch || settings["CGO_ENABLED"] != "0" {
				t.Errorf("%s was built with %v", name, settings)
			}
			here, err := filepath.Abs(root)
			if err != nil {
				t.Fatal(err)
			}
			if bytes.Contains(read(t, dir, program), []byte(here)) {
				t.Errorf("%s names the folder that it was built in", name)
			}
			checkStamp(t, filepath.Join(dir, program))
		}
	})
	t.Run("a custom handler has the folder that the Functions host reads", func(t *testing.T) {
		for function, folders := range map[string][]string{"gateway": {"gateway"}, "rotate": {"nearexpiry", "operate", "rotate"}} {
			want := map[string]string{"handler": "-rwxr-xr-x", "host.json": "-rw-r--r--"}
			for _, folder := range folders {
				want[folder+"/function.json"] = "-rw-r--r--"
			}
			if diff := cmp.Diff(want, unpack(t, read(t, second, function+"-azure-amd64.zip"), t.TempDir())); diff != "" {
				t.Errorf("files of %s (-want +got):\n%s", function, diff)
			}
		}
	})
	t.Run("each bill of materials names what is in its package", func(t *testing.T) {
		for _, function := range []string{"gateway", "rotate"} {
			for _, cloud := range []string{"-aws-arm64", "-azure-amd64", "-gcp"} {
				checkBill(t, function+cloud, second)
			}
		}
	})
	t.Run("the sums are those of the files", func(t *testing.T) {
		for line := range strings.Lines(string(read(t, second, "SHA256SUMS"))) {
			sum, name, _ := strings.Cut(strings.TrimSpace(line), "  ")
			if digest(read(t, second, name)) != sum {
				t.Errorf("%s has another sum", name)
			}
		}
	})
}

func list(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func checkBill(t *testing.T, name, dir string) {
	t.Helper()
	var b bill
	if err := json.Unmarshal(read(t, dir, name+".cdx.json"), &b); err != nil {
		t.Fatal(err)
	}
	about := b.Metadata.Component
	if about.Hashes[0].Content != digest(read(t, dir, name+".zip")) {
		t.Errorf("%s: the bill is for another package", name)
	}
	if about.Version != version || !slices.Equal(about.Properties, []property{{"git:commit", commit}}) {
		t.Errorf("%s: the bill is for version %s and has %v", name, about.Version, about.Properties)
	}
	_, of, _ := strings.Cut(name, "-")
	needed := map[string]string{
		"aws-arm64":   "github.com/aws/aws-lambda-go",
		"gcp":         "github.com/GoogleCloudPlatform/functions-framework-go",
		"azure-amd64": "github.com/Azure/azure-sdk-for-go/sdk/azidentity",
	}[of]
	if !slices.ContainsFunc(b.Components, func(c component) bool {
		return c.Name == needed && c.Version != "" && c.URL == "pkg:golang/"+needed+"@"+c.Version && strings.HasPrefix(c.Properties[0].Value, "h1:")
	}) {
		t.Errorf("%s: %s is not in the bill", name, needed)
	}
	if slices.ContainsFunc(b.Components, func(c component) bool { return c.Name == "github.com/google/go-cmp" }) {
		t.Errorf("%s: a module of the tests is in the bill", name)
	}
}

// The functions buildpack's rules for Go: cmd/go/functions_framework in
// github.com/GoogleCloudPlatform/buildpacks.
func TestCloudBuildMakesAFunctionOfTheSource(t *testing.T) {
	t.Parallel()
	for name, target := range map[string]string{"gateway": "Gateway", "rotate": "Rotate"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			build(t, source(name), target)
		})
	}
}

// build does with an archive what the buildpack does.
func build(t *testing.T, function source, target string) {
	out := packed(t, pack{"function", function.files})
	dir := filepath.Join(t.TempDir(), "serverless_function_source_code")
	unpack(t, read(t, out, "function.zip"), dir)

	names, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil || len(names) == 0 {
		t.Fatalf("there is no Go file at the root: %v", err)
	}
	for _, name := range names {
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		if f.Name.Name != string(function) {
			t.Errorf("%s is of package %s: the root has to hold one package, and one that can be imported", name, f.Name.Name)
		}
		for _, i := range f.Imports {
			if i.Path.Value == `"github.com/GoogleCloudPlatform/functions-framework-go/functions"` {
				t.Errorf("%s imports the registry, and then the function would have to register itself", name)
			}
		}
	}
	if info, err := os.Stat(filepath.Join(dir, "go.mod")); err != nil || info.Mode().Perm()&0o200 == 0 {
		t.Errorf("go.mod has to be there and writable: %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "vendor/github.com/GoogleCloudPlatform/functions-framework-go/funcframework")); err != nil {
		t.Errorf("the functions framework has to be vendored: %v", err)
	}
	// By its version the framework's way of being started is chosen.
	if version := strings.TrimSpace(string(offline(t, dir, "list", "-m", "-f", "{{.Version}}", "github.com/GoogleCloudPlatform/functions-framework-go"))); !regexp.MustCompile(`^v1\.[1-9]`).MatchString(version) {
		t.Errorf("the functions framework is of version %q, and has to be v1.1.0 or newer", version)
	}
	module := strings.TrimSpace(string(offline(t, dir, "list", "-m")))
	if first, _, _ := strings.Cut(module, "/"); !strings.Contains(first, ".") {
		t.Errorf("the module path %s needs a dot in its first element", module)
	}
	app := filepath.Join(dir, "functions.local", "app")
	if err := os.MkdirAll(app, 0o755); err != nil {
		t.Fatal(err)
	}
	// The generated main tells functions apart by their type.
	main := `package main

import (
	"context"
	"log"
	"net/http"
	"os"

	"github.com/GoogleCloudPlatform/functions-framework-go/funcframework"
	cloudevents "github.com/cloudevents/sdk-go/v2"
	function "` + module + `"
)

func register(f any) error {
	switch f := f.(type) {
	case func(http.ResponseWriter, *http.Request):
		return funcframework.RegisterHTTPFunctionContext(context.Background(), "/", f)
	case func(context.Context, cloudevents.Event) error:
		return funcframework.RegisterCloudEventFunctionContext(context.Background(), "/", f)
	}
	return funcframework.RegisterEventFunctionContext(context.Background(), "/", f)
}

func main() {
	if err := register(function.` + target + `); err != nil {
		log.Fatal(err)
	}
	if err := funcframework.Start(os.Getenv("PORT")); err != nil {
		log.Fatal(err)
	}
}
`
	if err := os.WriteFile(filepath.Join(app, "main.go"), []byte(main), 0o644); err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(t.TempDir(), "main")
	offline(t, dir, "build", "-trimpath", "-o", program, app)
	checkServed(t, program)
	checkUnchanged(t, function, dir)
}

// offline runs the go command as the builder would whose network is down.
func offline(t *testing.T, dir string, arguments ...string) []byte {
	t.Helper()
	c := exec.Command("go", arguments...)
	c.Dir = dir
	c.Env = append(os.Environ(), "GOPROXY=off", "GOFLAGS=-mod=vendor", "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64", "GOWORK=off",
		// An empty cache of modules: nothing but the archive can be read.
		"GOMODCACHE="+t.TempDir())
	out, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("go %v: %v\n%s", arguments, err, out)
	}
	return out
}

func TestCompressDoesNotDependOnTheOrderOfFiles(t *testing.T) {
	t.Parallel()
	a, b := file{name: "a", data: []byte("1")}, file{name: "b/c", data: []byte("2"), executable: true}
	first, err := compress([]file{a, b}, "c")
	if err != nil {
		t.Fatal(err)
	}
	second, err := compress([]file{b, a}, "c")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(first, second) {
		t.Error("another order of files makes another archive")
	}
	b.executable = false
	if third, err := compress([]file{a, b}, "c"); err != nil || bytes.Equal(first, third) {
		t.Errorf("the executable bit is not kept: %v", err)
	}
}

func TestAProgramThatDoesNotBuildIsAnErrorThatSaysWhy(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "go.mod"), []byte("module example.com/m\n\ngo 1.26\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	err := run(t.Context(), options{input: input{root: dir}, out: filepath.Join(dir, "out"), packages: packages()[:1]}, io.Discard)
	if err == nil || !strings.Contains(err.Error(), "gateway-aws-arm64: go build") || !strings.Contains(err.Error(), "functions/aws/gateway") {
		t.Errorf("got %v", err)
	}
}
