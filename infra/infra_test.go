// Package infra_test holds the modules of the three clouds to each other, and
// the documents of their tests to the loader that the functions use.
package infra_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/postern-ai/postern/events"
	"github.com/postern-ai/postern/shared/config"
)

var clouds = []config.Cloud{config.AWS, config.GCP, config.Azure}

func read(t *testing.T, parts ...string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(parts...))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// block is one block of a Terraform file that begins with a keyword and a name.
var block = regexp.MustCompile(`(?ms)^(variable|output) "([a-z_]+)" \{\n(.*?)^\}`)

// blocks returns the blocks of a file by name.
func blocks(text string) map[string]string {
	found := map[string]string{}
	for _, m := range block.FindAllStringSubmatch(text, -1) {
		found[m[2]] = m[3]
	}
	return found
}

func TestModulesHaveTheSameVariables(t *testing.T) {
	t.Parallel()
	want := blocks(read(t, "aws", "variables.tf"))
	if len(want) < 9 {
		t.Fatalf("%d variables were found", len(want))
	}
	// What one cloud alone asks for.
	delete(want, "platform")
	for _, cloud := range clouds[1:] {
		got := blocks(read(t, string(cloud), "variables.tf"))
		if !strings.Contains(got["platform"], "What only this cloud asks for") {
			t.Errorf("%s has no variable platform", cloud)
		}
		delete(got, "platform")
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("variables of aws and %s (-aws +%s):\n%s", cloud, cloud, diff)
		}
	}
}

func TestModulesAndExamplesHaveTheSameOutputs(t *testing.T) {
	t.Parallel()
	describe := regexp.MustCompile(`description += (".*")`)
	outputs := func(text string) map[string]string {
		all := blocks(text)
		for name, body := range all {
			all[name] = describe.FindString(body)
		}
		return all
	}
	want := outputs(read(t, "aws", "outputs.tf"))
	for _, name := range []string{"gateway_url", "gateway_identity", "invoke_command"} {
		if want[name] == "" {
			t.Errorf("there is no output %s with a description", name)
		}
	}
	for _, cloud := range clouds {
		if diff := cmp.Diff(want, outputs(read(t, string(cloud), "outputs.tf"))); diff != "" {
			t.Errorf("outputs of aws and %s (-aws +%s):\n%s", cloud, cloud, diff)
		}
		example := read(t, "example", string(cloud), "main.tf")
		for name := range want {
			if !strings.Contains(example, "value = module.postern."+name+"\n") {
				t.Errorf("the example for %s does not pass on %s", cloud, name)
			}
		}
	}
}

func TestModulesHaveTheSameFilesAndReadTheDocumentAlike(t *testing.T) {
	t.Parallel()
	files := func(cloud config.Cloud) []string {
		names, err := filepath.Glob(filepath.Join(string(cloud), "*.*"))
		if err != nil {
			t.Fatal(err)
		}
		for i, name := range names {
			names[i] = filepath.Base(name)
		}
		return slices.DeleteFunc(names, func(name string) bool { return strings.HasPrefix(name, ".") })
	}
	for _, cloud := range clouds {
		if diff := cmp.Diff(files(config.AWS), files(cloud)); diff != "" {
			t.Errorf("files of aws and %s (-aws +%s):\n%s", cloud, cloud, diff)
		}
		for _, same := range []string{"document.tf", "signs.tf"} {
			if read(t, string(cloud), same) != read(t, "aws", same) {
				t.Errorf("%s/%s is not that of aws", cloud, same)
			}
		}
	}
}

// The modules' tests would show nothing with documents that no function takes.
func TestTheDocumentsOfTestsAndExamplesLoad(t *testing.T) {
	t.Parallel()
	for _, cloud := range clouds {
		names, err := filepath.Glob(filepath.Join(string(cloud), "tests", "testdata", "*.yaml"))
		if err != nil || len(names) < 4 {
			t.Fatalf("%d documents: %v", len(names), err)
		}
		for _, name := range append(names, filepath.Join("example", string(cloud), "postern.yaml")) {
			// What the modules and the platforms put into the environment.
			environment := map[string]string{
				"POSTERN_CONFIG": read(t, name), "POSTERN_PLATFORM_IAM": "true", "AWS_REGION": "eu-west-1", "GOOGLE_CLOUD_PROJECT": "my-project",
			}
			if cloud == config.AWS {
				environment[config.MFAVariable] = "true"
			}
			if _, err := config.FromEnvironment(cloud, func(name string) string { return environment[name] }, os.ReadFile); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

// An alarm that waits for a word that no function says would never come.
func TestAlarmsListenForWhatTheRotationSays(t *testing.T) {
	t.Parallel()
	signs := read(t, "aws", "signs.tf")
	types := regexp.MustCompile(`type = "([A-Z_]+)"`).FindAllStringSubmatch(signs, -1)
	if len(types) < 3 {
		t.Fatalf("%d types were found", len(types))
	}
	for _, m := range types {
		if _, err := fs.Stat(events.Files(), "sample/"+m[1]+".json"); err != nil {
			t.Errorf("there is no event %s: %v", m[1], err)
		}
	}
	outbox := regexp.MustCompile(`outbox += "(.*)"`).FindStringSubmatch(signs)
	if outbox == nil || !strings.Contains(read(t, "..", "shared", "rotation", "tell.go"), outbox[1]) {
		t.Errorf("a rotation does not say %v", outbox)
	}
}

func TestEveryVariableAndOutputIsInTheReadme(t *testing.T) {
	t.Parallel()
	for _, cloud := range clouds {
		text := read(t, string(cloud), "README.md")
		for _, file := range []string{"variables.tf", "outputs.tf"} {
			for name := range blocks(read(t, string(cloud), file)) {
				if !strings.Contains(text, "| `"+name+"` |") {
					t.Errorf("%s/README.md does not explain %s", cloud, name)
				}
			}
		}
	}
}
