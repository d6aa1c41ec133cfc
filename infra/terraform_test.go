package infra_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"testing"

	"github.com/go-json-experiment/json"
)

// initialized returns the folder of a module that Terraform can run in.
func initialized(t *testing.T, module string) string {
	t.Helper()
	work := os.Getenv("TERRAFORM_WORK")
	if work == "" {
		t.Skip("`make tf-test` runs this test, with Terraform set up")
	}
	return filepath.Join(work, module)
}

// resource is one that Terraform has made.
type resource struct {
	Address string         `json:"address"`
	Type    string         `json:"type"`
	Values  map[string]any `json:"values"`
}

func (r resource) text(name string) string {
	s, _ := r.Values[name].(string)
	return s
}

// message is a line of what `terraform test` says.
type message struct {
	Level      string `json:"@level"`
	Text       string `json:"@message"`
	Run        string `json:"@testrun"`
	Diagnostic struct {
		Detail string `json:"detail"`
	} `json:"diagnostic"`
	State struct {
		Root struct {
			Resources []resource `json:"resources"`
		} `json:"root_module"`
	} `json:"test_state"`
	Plan struct {
		Changes []struct {
			Address string `json:"address"`
			Type    string `json:"type"`
			Mode    string `json:"mode"`
			Change  struct {
				Actions []string       `json:"actions"`
				After   map[string]any `json:"after"`
			} `json:"change"`
		} `json:"resource_changes"`
	} `json:"test_plan"`
}

// terraformTest runs a module's tests and returns what Terraform says, and an error if they do not pass.
func terraformTest(t *testing.T, module string, args ...string) ([]message, error) {
	t.Helper()
	c := exec.CommandContext(t.Context(), "terraform", append([]string{"test", "-json"}, args...)...)
	c.Dir = module
	out, err := c.Output()
	var all []message
	for line := range bytes.Lines(out) {
		var m message
		if err := json.Unmarshal(line, &m); err != nil {
			t.Fatal(err)
		}
		all = append(all, m)
	}
	return all, err
}

// addTests writes files of tests into a folder of their own: Terraform reads all that are in one, also those of which another test has
// written only half.
func addTests(t *testing.T, module, folder string, files map[string]string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Join(module, folder), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(module, folder, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// passed is terraformTest for tests that have to pass.
func passed(t *testing.T, module string, args ...string) []message {
	t.Helper()
	messages, err := terraformTest(t, module, args...)
	for _, m := range messages {
		if m.Level == "error" {
			t.Errorf("%s: %s %s", m.Run, m.Text, m.Diagnostic.Detail)
		}
	}
	if err != nil {
		t.Fatalf("terraform test: %v", err)
	}
	return messages
}

// applied runs a module's tests of a file, and returns what each run has made. With mocked providers these are the permissions as a
// cloud would get them.
func applied(t *testing.T, module, file string) map[string][]resource {
	t.Helper()
	runs := map[string][]resource{}
	for _, m := range passed(t, initialized(t, module), "-verbose", "-filter="+file) {
		if len(m.State.Root.Resources) > 0 {
			runs[m.Run] = m.State.Root.Resources
		}
	}
	if len(runs) == 0 {
		t.Fatalf("no run of %s/%s has applied anything", module, file)
	}
	return runs
}

var (
	testRun    = regexp.MustCompile(`(?ms)^run "(\w+)" \{\n(.*?)^\}\n`)
	testAssert = regexp.MustCompile(`(?ms)^  assert \{\n.*?^  \}\n`)
)

// planned returns the values that runs of a module's tests would make, by the type of the resource and the path of the attribute, without
// indexes. In a plan what a mocked provider makes up is not known yet, so that these are the values that the module itself gives.
func planned(t *testing.T, module string, runs ...string) map[string]map[any]bool {
	t.Helper()
	dir := initialized(t, module)
	files, err := filepath.Glob(filepath.Join(module, "tests", "*.tftest.hcl"))
	if err != nil {
		t.Fatal(err)
	}
	plans := map[string]string{}
	for _, file := range files {
		plans[filepath.Base(file)] = testRun.ReplaceAllStringFunc(read(t, file), func(run string) string {
			parts := testRun.FindStringSubmatch(run)
			if !slices.Contains(runs, parts[1]) {
				return ""
			}
			return "run \"" + parts[1] + "\" {\n  command = plan\n" + testAssert.ReplaceAllString(parts[2], "") + "}\n"
		})
	}
	addTests(t, dir, "planned", plans)
	values := map[string]map[any]bool{}
	plansMade := 0
	for _, m := range passed(t, dir, "-verbose", "-test-directory=planned") {
		if len(m.Plan.Changes) > 0 {
			plansMade++
		}
		for _, c := range m.Plan.Changes {
			if c.Mode == "managed" {
				// Of some nothing is known yet but that they are made.
				collect(values, c.Type, "made")
				collect(values, c.Type, c.Change.After)
			}
		}
	}
	if plansMade != len(runs) {
		t.Fatalf("%d plans were made of %s, not those of %v", plansMade, module, runs)
	}
	return values
}

// collect adds the scalars at and below a path.
func collect(values map[string]map[any]bool, path string, v any) {
	switch v := v.(type) {
	case nil:
	case map[string]any:
		for name, below := range v {
			collect(values, path+"."+name, below)
		}
	case []any:
		for _, element := range v {
			collect(values, path, element)
		}
	default:
		if values[path] == nil {
			values[path] = map[any]bool{}
		}
		values[path][v] = true
	}
}
