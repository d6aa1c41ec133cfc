// Package infra_test holds the modules of the three clouds to each other, and
// the documents of their tests to the loader that the functions use.
package infra_test

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/google/go-cmp/cmp"

	"github.com/postern-ai/postern/events"
	"github.com/postern-ai/postern/localdev/check"
	"github.com/postern-ai/postern/localdev/fake/bedrock"
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
		described := outputs(example)
		for name, description := range want {
			if described[name] != description {
				t.Errorf("the example for %s has %q for %s, whose module has %q", cloud, described[name], name, description)
			}
			if !strings.Contains(example, "value       = module.postern."+name+"\n") {
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

// documents are those of a cloud's tests and of its example.
func documents(t *testing.T, cloud config.Cloud) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(string(cloud), "tests", "testdata", "*.yaml"))
	if err != nil || len(names) < 4 {
		t.Fatalf("%d documents: %v", len(names), err)
	}
	return append(names, filepath.Join("example", string(cloud), "postern.yaml"))
}

// The modules' tests would show nothing with documents that no function takes, nor with records that are not those of their documents.
func TestTheDocumentsOfTestsAndExamplesHaveTheirRecords(t *testing.T) {
	t.Parallel()
	for _, cloud := range clouds {
		for _, name := range documents(t, cloud) {
			switch filepath.Base(name) {
			case "unchecked.yaml", "changed.yaml": // which have none, and another one's
				continue
			}
			record := check.NewRecord([]byte(read(t, name)))
			text, err := record.Text()
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(text), read(t, name+check.RecordSuffix)); diff != "" {
				t.Errorf("the record of %s is out of date: go run ./localdev check -record infra/%s (-want +got):\n%s", name, name, diff)
			}
			wrong := map[config.Cloud][]string{config.AWS: record.AWS, config.GCP: record.GCP, config.Azure: record.Azure}[cloud]
			if loads := filepath.Base(name) != "rejected.yaml"; loads != (len(wrong) == 0) {
				t.Errorf("%s: %v", name, wrong)
			}
		}
	}
}

// What the federation modules read are documents of gateways in other clouds.
func TestTheDocumentsOfGatewaysInOtherCloudsLoadThere(t *testing.T) {
	t.Parallel()
	for _, cloud := range clouds {
		names, err := filepath.Glob(filepath.Join(string(cloud), "federation", "tests", "testdata", "*.yaml"))
		if err != nil || len(names) == 0 {
			t.Fatalf("%d documents: %v", len(names), err)
		}
		for _, name := range names {
			record := check.NewRecord([]byte(read(t, name)))
			for there, wrong := range map[config.Cloud][]string{config.AWS: record.AWS, config.GCP: record.GCP, config.Azure: record.Azure} {
				if there != cloud && len(wrong) > 0 {
					t.Errorf("%s on %s: %v", name, there, wrong)
				}
			}
		}
	}
}

// A plan says of a document that no function would load what the function would say.
func TestAPlanRefusesADocumentInTheLoadersWords(t *testing.T) {
	t.Parallel()
	for _, cloud := range clouds {
		t.Run(string(cloud), func(t *testing.T) {
			t.Parallel()
			module := initialized(t, string(cloud))
			mocks, _, _ := strings.Cut(read(t, string(cloud), "tests", "gateway.tftest.hcl"), "\nrun ")
			test := mocks + `
run "plan" {
  command = plan
  variables {
    config_file = "tests/testdata/rejected.yaml"
  }
}
`
			addTests(t, module, "words", map[string]string{"words.tftest.hcl": test})
			messages, err := terraformTest(t, module, "-test-directory=words")
			if err == nil {
				t.Fatal("the plan has succeeded")
			}
			said := ""
			for _, m := range messages {
				said += m.Diagnostic.Detail
			}
			_, err = config.Load([]byte(read(t, string(cloud), "tests", "testdata", "rejected.yaml")))
			problems, ok := errors.AsType[*config.Problems](err)
			if !ok || len(problems.List) < 3 {
				t.Fatalf("the document loads, or is not wrong enough: %v", err)
			}
			for _, p := range problems.List {
				if !strings.Contains(said, p.String()) {
					t.Errorf("the plan does not say %q; it says:\n%s", p, said)
				}
			}
		})
	}
}

// In a project that is new nothing can be made before the interface is on by which it is.
func TestWhatIsMadeOnGoogleCloudWaitsForItsInterfaces(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("gcp/*.tf")
	if err != nil {
		t.Fatal(err)
	}
	bodies := map[string]string{} // by address, and of locals by local.NAME
	block := regexp.MustCompile(`(?ms)^(resource|module) "(\w+)"(?: "(\w+)")? \{\n(.*?)^\}`)
	local := regexp.MustCompile(`(?m)^  (\w+) += (.*(?:\n {4,}.*|\n  [\]})].*)*)`)
	locals := regexp.MustCompile(`(?ms)^locals \{\n(.*?)^\}`)
	for _, file := range files {
		text := read(t, file)
		for _, m := range block.FindAllStringSubmatch(text, -1) {
			address := m[2] + "." + m[3]
			if m[1] == "module" {
				address = "module." + m[2]
			}
			bodies[address] = m[4]
		}
		for _, m := range locals.FindAllStringSubmatch(text, -1) {
			for _, l := range local.FindAllStringSubmatch(m[1], -1) {
				bodies["local."+l[1]] = l[2]
			}
		}
	}
	reference := regexp.MustCompile(`\b(local\.\w+|module\.\w+|google_\w+\.\w+)`)
	const on = "google_project_service.this"
	var waits func(address string, seen map[string]bool) bool
	waits = func(address string, seen map[string]bool) bool {
		if address == on {
			return true
		}
		seen[address] = true
		return slices.ContainsFunc(reference.FindAllString(bodies[address], -1), func(to string) bool { return !seen[to] && waits(to, seen) })
	}
	found := 0
	for address := range bodies {
		if strings.HasPrefix(address, "google_") {
			found++
			if !waits(address, map[string]bool{}) {
				t.Errorf("%s does not wait for %s", address, on)
			}
		}
	}
	if found < 30 {
		t.Fatalf("%d resources were found", found)
	}
}

// A trust store that a listener uses is not deleted, so one of one's own takes its place in the listener first.
func TestATrustStoreGoesAfterItsListenerHasAnother(t *testing.T) {
	t.Parallel()
	store := regexp.MustCompile(`(?ms)^resource "aws_lb_trust_store" "gateway" \{\n(.*?)^\}`).FindString(read(t, "aws", "front.tf"))
	if !strings.Contains(store, "create_before_destroy = true") {
		t.Error("it would go while the listener still uses it")
	}
}

// A user that has gone is none that could leave its group.
func TestAUserOfRedisLeavesItsGroupBeforeItGoes(t *testing.T) {
	t.Parallel()
	user := regexp.MustCompile(`(?ms)^resource "aws_elasticache_user" "redis" \{\n(.*?)^\}`).FindString(read(t, "aws", "redis.tf"))
	if !strings.Contains(user, "create_before_destroy = true") {
		t.Error("it would go while it is in the group")
	}
}

// Bedrock refuses some models by their own ids.
func TestTheExampleOnAWSNamesModelsAsBedrockTakesThem(t *testing.T) {
	t.Parallel()
	document, err := config.Load([]byte(read(t, "example", "aws", "postern.yaml")))
	if err != nil {
		t.Fatal(err)
	}
	named := 0
	for _, u := range document.Upstreams {
		for _, m := range u.Models {
			named++
			for _, known := range bedrock.DefaultModels() {
				if known.ID == m.Model && known.ProfileOnly {
					t.Errorf("%s is called by way of an inference profile alone", m.Model)
				}
			}
		}
	}
	if named == 0 {
		t.Error("it names none")
	}
}

// Azure puts rules of its own into the group that the example makes.
func TestTheExampleOnAzureCanBeDestroyed(t *testing.T) {
	t.Parallel()
	features := regexp.MustCompile(`resource_group \{\s+prevent_deletion_if_contains_resources = false\s+\}`)
	if !features.MatchString(read(t, "example", "azure", "main.tf")) {
		t.Error("the resource group stays, since more is in it than was made")
	}
}

// The provider registers nothing by itself, and in a subscription that is new nothing of a kind can be made before that.
func TestWhatIsMadeOnAzureHasItsResourceProvider(t *testing.T) {
	t.Parallel()
	namespaces := map[string]string{
		"function_app": "Microsoft.Web", "service_plan": "Microsoft.Web", "storage": "Microsoft.Storage", "user_assigned_identity": "Microsoft.ManagedIdentity",
		"federated_identity": "Microsoft.ManagedIdentity", "eventgrid": "Microsoft.EventGrid", "log_analytics": "Microsoft.OperationalInsights",
		"application_insights": "microsoft.insights", "monitor": "microsoft.insights", "managed_redis": "Microsoft.Cache",
		"private_endpoint": "Microsoft.Network", "cognitive": "Microsoft.CognitiveServices", "key_vault": "Microsoft.KeyVault",
		// Those are there in each subscription.
		"role": "", "resource_group": "", "client_config": "",
	}
	kinds := slices.Collect(maps.Keys(namespaces))
	var files []string
	for _, pattern := range []string{"azure/*.tf", "azure/*/*.tf", "example/azure/*.tf"} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, found...)
	}
	// The subnet of an app is delegated to it.
	needed := []string{"Microsoft.App"}
	for _, file := range files {
		for _, m := range regexp.MustCompile(`(?m)^(?:resource|data) "azurerm_(\w+)"`).FindAllStringSubmatch(read(t, file), -1) {
			kind := slices.IndexFunc(kinds, func(kind string) bool { return strings.HasPrefix(m[1], kind) })
			if kind < 0 {
				t.Errorf("%s: whose is azurerm_%s?", file, m[1])
				continue
			}
			needed = append(needed, namespaces[kinds[kind]])
		}
	}
	slices.Sort(needed)
	needed = slices.DeleteFunc(slices.Compact(needed), func(namespace string) bool { return namespace == "" })
	list := regexp.MustCompile(`(?s)resource_providers_to_register = \[(.*?)\]`)
	for _, file := range []string{"example/azure/main.tf", "azure/README.md"} {
		var listed []string
		if m := list.FindStringSubmatch(read(t, file)); m != nil {
			for _, name := range regexp.MustCompile(`"([^"]+)"`).FindAllStringSubmatch(m[1], -1) {
				listed = append(listed, name[1])
			}
		}
		slices.Sort(listed)
		if diff := cmp.Diff(needed, listed); diff != "" {
			t.Errorf("%s (-needed +registered):\n%s", file, diff)
		}
	}
}

// What refuses to be destroyed while rotations may be under way has to be asked before all is made anew.
func TestAnotherNameIsTheEndOfADeployment(t *testing.T) {
	t.Parallel()
	for _, cloud := range clouds {
		t.Run(string(cloud), func(t *testing.T) {
			t.Parallel()
			module := initialized(t, string(cloud))
			head, _, _ := strings.Cut(read(t, string(cloud), "tests", "rotation.tftest.hcl"), "\nrun ")
			test := head + `
run "made" {}
run "renamed" {
  command = plan
  variables {
    name = "other"
  }
}
`
			addTests(t, module, "renamed", map[string]string{"renamed.tftest.hcl": test})
			var actions []string
			for _, m := range passed(t, module, "-verbose", "-test-directory=renamed") {
				for _, c := range m.Plan.Changes {
					if c.Address == "terraform_data.rotation[0]" {
						actions = c.Change.Actions
					}
				}
			}
			if diff := cmp.Diff([]string{"delete", "create"}, actions); diff != "" {
				t.Errorf("terraform_data.rotation (-want +got):\n%s", diff)
			}
		})
	}
}

// What the rotation's code asks for is what the modules grant, and nothing else.
func TestTheRotationIsGrantedWhatItsCodeNeeds(t *testing.T) {
	t.Parallel()
	// named are the texts in files that a pattern finds, in order and each once.
	named := func(pattern, prefix string, files ...string) []string {
		var all []string
		for _, file := range files {
			for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(read(t, file), -1) {
				all = append(all, prefix+m[1])
			}
		}
		slices.Sort(all)
		return slices.Compact(all)
	}
	const aws, gcp = "aws/rotation_permissions.tf", "gcp/rotation_permissions.tf"
	for name, c := range map[string]struct{ needs, granted []string }{
		"Secrets Manager": {
			named(`"(secretsmanager:\w+)"`, "", "../shared/secrets/awssecrets/explain.go"),
			named(`"(secretsmanager:\w+)"`, "", aws),
		},
		"IAM users": {
			named(`operation\{name: "(\w+)"`, "iam:", "../shared/rotation/iamkeys/accesskeys.go", "../shared/rotation/iamkeys/bedrockkeys.go"),
			named(`"(iam:\w+)"`, "", aws),
		},
		"Secret Manager": {
			named(`"(secretmanager\.\w+\.\w+)"`, "", "../shared/secrets/gcpsecrets/change.go", "../shared/secrets/gcpsecrets/gcpsecrets.go"),
			named(`"(secretmanager\.\w+\.\w+)"`, "", gcp),
		},
		"service accounts": {
			named(`permission: "(\w+)"`, "iam.serviceAccountKeys.", "../shared/rotation/gcpkeys/accountkeys.go"),
			named(`"(iam\.serviceAccountKeys\.\w+)"`, "", gcp),
		},
		"API keys": {
			named(`permission: "(\w+)"`, "apikeys.keys.", "../shared/rotation/gcpkeys/apikeys.go"),
			named(`"(apikeys\.keys\.\w+)"`, "", gcp),
		},
		"Azure accounts": {
			[]string{"Microsoft.CognitiveServices/accounts/listKeys/action", "Microsoft.CognitiveServices/accounts/regenerateKey/action"},
			named(`"(Microsoft\.CognitiveServices/[^"]+/action)"`, "", "azure/rotation_permissions.tf"),
		},
	} {
		if len(c.needs) < 2 {
			t.Errorf("%s: %d needs were found", name, len(c.needs))
		}
		if diff := cmp.Diff(c.needs, c.granted); diff != "" {
			t.Errorf("%s (-needed +granted):\n%s", name, diff)
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

// A run of the rotation on Azure goes by the name of its function.
func TestAlarmsCountFunctionsThatThereAre(t *testing.T) {
	t.Parallel()
	names := 0
	for _, m := range regexp.MustCompile(`OperationName (?:=~|in~) \(?((?:'\w+'(?:, )?)+)`).FindAllStringSubmatch(read(t, "azure", "alarms.tf"), -1) {
		for _, name := range regexp.MustCompile(`\w+`).FindAllString(m[1], -1) {
			names++
			if !strings.Contains(read(t, "..", "functions", "azure", "rotate", name, "function.json"), "Trigger") {
				t.Errorf("the rotation has no function %s", name)
			}
		}
	}
	if names != 3 {
		t.Errorf("%d names were found", names)
	}
}

// The host passes on what its host.json lets it, and leaves some out under load: the function's own lines, requests and events, which are
// what alarms count.
func TestTheHostOfFunctionsPassesOnWhatAlarmsCount(t *testing.T) {
	t.Parallel()
	for _, app := range []string{"gateway", "rotate"} {
		var host struct {
			Logging struct {
				LogLevel            map[string]string `json:"logLevel"`
				ApplicationInsights struct {
					SamplingSettings struct {
						IsEnabled *bool `json:"isEnabled"`
					} `json:"samplingSettings"`
				} `json:"applicationInsights"`
			} `json:"logging"`
		}
		if err := json.Unmarshal([]byte(read(t, "..", "functions", "azure", app, "host.json")), &host); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(map[string]string{"default": "Information"}, host.Logging.LogLevel); diff != "" {
			t.Errorf("levels of %s (-want +got):\n%s", app, diff)
		}
		if sampled := host.Logging.ApplicationInsights.SamplingSettings.IsEnabled; sampled == nil || *sampled {
			t.Errorf("the host of %s leaves out what it likes", app)
		}
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
