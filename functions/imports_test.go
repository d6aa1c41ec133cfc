// Package functions_test holds the functions' binaries to their import rules.
package functions_test

import (
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/postern-ai/postern/localdev/imports"
)

// runtimes are the modules that only one cloud's functions may link, and stores
// the service packages that only one cloud's functions may: its secret store,
// its ledger, its bus and its keys.
var (
	clouds   = []string{"aws", "gcp", "azure"}
	runtimes = map[string][]string{
		"aws": {"github.com/aws/aws-lambda-go"},
		"gcp": {"github.com/GoogleCloudPlatform/functions-framework-go", "github.com/cloudevents/sdk-go"},
	}
	stores = map[string][]string{
		"aws":   {"shared/secrets/awssecrets", "shared/ledger/dynamodb", "shared/audit/eventbridge", "shared/audit/awskms"},
		"gcp":   {"shared/secrets/gcpsecrets", "shared/ledger/gcs", "shared/audit/pubsub", "shared/audit/cloudkms"},
		"azure": {"shared/secrets/keyvault", "shared/ledger/blob", "shared/audit/eventgrid", "shared/audit/keyvaultkeys"},
	}
)

// gateway matches everything that becomes part of a gateway function.
func gateway(p string) bool {
	return slices.ContainsFunc(clouds, func(cloud string) bool { return imports.In("functions/" + cloud + "/gateway")(p) })
}

// sdk is where the packages of the AWS SDK are.
const sdk = "github.com/aws/aws-sdk-go-v2/"

func TestImports(t *testing.T) {
	t.Parallel()
	packages := list(t, "./...")
	everything := imports.In("functions")
	rules := []imports.Rule{
		{
			Name: "nothing links gRPC",
			Of:   everything, Linked: true, What: imports.In("google.golang.org/grpc", "google.golang.org/genproto"),
			Why: "it adds megabytes and milliseconds to every cold start; Google's services are called over net/http",
		},
		{
			Name: "nothing links the clients by which people sign in to AWS",
			Of:   everything, Linked: true, What: imports.In(sdk+"config", sdk+"service/sso", sdk+"service/ssooidc", sdk+"service/signin", sdk+"service/sts"),
			Why: "setting them up is a tenth of each cold start and of each binary; shared/identity/sigv4 finds a function's credentials",
		},
		{
			Name: "no function knows of the local run",
			Of:   everything, Linked: true, What: imports.In("localdev"),
			Why: "what is deployed is what is tested, without a hook for it",
		},
		{
			Name: "no function links the testing packages",
			Of:   everything, Linked: true,
			What: imports.In("testing", "net/http/httptest", "github.com/google/go-cmp", "golang.org/x/tools"),
			Why:  "they register flags and add weight",
		},
		{
			Name: "no function links a conformance suite",
			Of:   everything, Linked: true,
			What: func(p string) bool { return strings.HasPrefix(p, "shared/") && strings.HasSuffix(p, "test") },
			Why:  "suites are for _test.go files",
		},
		{
			Name: "another vendor's client of our own interface is a witness for tests",
			Of:   everything, Linked: true,
			What: imports.In("github.com/openai/openai-go", "google.golang.org/genai", "github.com/anthropics/anthropic-sdk-go"),
			Why:  "the wire is ours to speak; the client would be weight",
		},
		{
			Name: "a gateway cannot write secrets",
			Of:   gateway, Linked: true, What: imports.In("shared/rotation"),
			Why: "it has an identity that may only read them; rotation is another function with another identity",
		},
		{
			Name: "a gateway cannot sign the trail",
			Of:   gateway, Linked: true, What: imports.In("shared/audit/awskms", "shared/audit/cloudkms", "shared/audit/keyvaultkeys"),
			Why: "what it tells has no place in a chain; only the rotation may use the key",
		},
		{
			Name: "the kit belongs to no cloud",
			Of:   imports.In("functions/kit"), Linked: true,
			What: imports.In(slices.Concat(others(runtimes, ""), others(stores, ""))...),
			Why:  "the main that may use a runtime, store or bus imports it itself",
		},
	}
	for _, cloud := range clouds {
		foreign := others(stores, cloud)
		for _, other := range clouds {
			if other != cloud {
				foreign = append(foreign, "functions/"+other)
			}
		}
		rules = append(rules,
			imports.Rule{
				Name: cloud + " functions link their own runtime alone",
				Of:   imports.In("functions/" + cloud), Linked: true, What: imports.In(others(runtimes, cloud)...),
				Why: "it cannot run there, so it would be dead weight",
			},
			imports.Rule{
				Name: cloud + " functions use their own cloud's stores and buses alone",
				Of:   imports.In("functions/" + cloud), Linked: true, What: imports.In(foreign...),
				Why: "secrets, ledgers and events stay in the cloud that the function runs in",
			})
	}
	for _, rule := range rules {
		t.Run(rule.Name, func(t *testing.T) {
			t.Parallel()
			for _, line := range rule.Broken(packages) {
				t.Error(line)
			}
		})
	}
}

// TestEveryGatewayCallsEveryModel: calling Azure OpenAI from Lambda, or Vertex AI
// from Azure Functions, keyless, needs no other build.
func TestEveryGatewayCallsEveryModel(t *testing.T) {
	t.Parallel()
	services := slices.DeleteFunc(list(t, "../shared/provider/...", "../shared/identity/..."), func(p imports.Package) bool {
		return strings.HasSuffix(p.Path, "test")
	})
	for _, cloud := range clouds {
		t.Run(cloud, func(t *testing.T) {
			t.Parallel()
			name := path.Join("functions", cloud, "gateway")
			for _, p := range list(t, "./"+cloud+"/...") {
				if p.Path != name {
					continue
				}
				for _, service := range services {
					if !slices.Contains(p.Deps, service.Path) {
						t.Errorf("%s does not link %s", p.Path, service.Path)
					}
				}
				return
			}
			t.Errorf("there is no %s", name)
		})
	}
}

// others returns what belongs to all clouds but one.
func others(byCloud map[string][]string, but string) []string {
	var all []string
	for _, cloud := range clouds {
		if cloud != but {
			all = append(all, byCloud[cloud]...)
		}
	}
	return all
}

func list(t *testing.T, patterns ...string) []imports.Package {
	t.Helper()
	packages, err := imports.List(".", patterns...)
	if err != nil {
		t.Fatal(err)
	}
	if len(packages) == 0 {
		t.Fatalf("%v match no packages", patterns)
	}
	return packages
}
