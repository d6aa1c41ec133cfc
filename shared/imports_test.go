// Package shared_test holds shared/ to its import rules.
package shared_test

import (
	"maps"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/postern-ai/postern/localdev/imports"
)

// leaves are the packages that everything else stands on.
// Redis is one because two services that do not know each other keep things on
// the same server: tokens and the limits of callers.
var leaves = []string{"chat", "sse", "config", "secrets", "ledger", "audit", "redis", "release"}

// concepts are the other packages directly in shared/, and what of shared/ they
// may import. A new one gets a row here.
var concepts = map[string][]string{
	"identity": {"secrets", "config"},
	"provider": {"chat", "sse", "identity", "config"},
	"caller":   {"config", "secrets"},
	"policy":   {"caller", "config"},
	"quota":    {},
	// The gateway's log line says who signed the upstream call, which identity
	// reports.
	"gateway":  {"caller", "policy", "provider", "config", "chat", "sse", "audit", "identity", "quota"},
	"pipeline": {"gateway", "audit", "ledger", "config", "chat"},
	"rotation": {"secrets", "ledger", "audit", "config"},
}

// suite matches conformance suites, such as shared/provider/providertest: the
// tests that every implementation of a concept runs.
func suite(p string) bool { return strings.HasPrefix(p, "shared/") && strings.HasSuffix(p, "test") }

// service matches shared/<concept>/<service>, the suites left out.
func service(p string) bool {
	return strings.HasPrefix(p, "shared/") && strings.Count(p, "/") == 2 && !suite(p)
}

func TestImports(t *testing.T) {
	t.Parallel()
	packages := list(t)
	everything := imports.In("shared")
	rules := []imports.Rule{
		{
			Name: "shared code knows neither the functions nor the local run",
			Of:   everything, What: imports.In("functions", "localdev"),
			Why: "functions wire shared code, and only _test.go files may import localdev",
		},
		{
			Name: "leaves stand alone",
			Of:   imports.Exactly(qualified(leaves)...), What: everything,
			Why: "everything imports the leaves, so a leaf that imports back ties the tree in a knot",
		},
		{
			Name: "shared code runs under any cloud's runtime",
			Of:   everything, Linked: true,
			What: imports.In("github.com/aws/aws-lambda-go", "github.com/GoogleCloudPlatform/functions-framework-go"),
			Why:  "a runtime belongs to the function that runs under it",
		},
		{
			Name: "nothing links gRPC",
			Of:   everything, Linked: true, What: imports.In("google.golang.org/grpc"),
			Why: "it adds megabytes and milliseconds to every cold start; Google's services are called over net/http",
		},
		{
			Name: "only config reads YAML",
			Of:   everything.Except(imports.Exactly("shared/config")), What: imports.In("github.com/goccy/go-yaml"),
			Why: "there is one document, and everything after config sees what it compiled to",
		},
		{
			Name: "no product code links test code",
			Of:   everything.Except(suite), Linked: true,
			What: suite, Why: "conformance suites are for _test.go files",
		},
		{
			Name: "a conformance suite knows no service",
			Of:   suite, What: service, Why: "services run the suite, not the other way round",
		},
		{
			Name: "no product code links the testing packages",
			Of:   everything.Except(suite), Linked: true,
			What: imports.In("testing", "net/http/httptest", "github.com/google/go-cmp", "golang.org/x/tools"),
			Why:  "they register flags and add weight",
		},
		{
			Name: "another vendor's client of our own interface is a witness for tests",
			Of:   everything, Linked: true, What: imports.In("github.com/openai/openai-go", "google.golang.org/genai", "github.com/anthropics/anthropic-sdk-go"),
			Why: "the wire is ours to speak; the client would be weight",
		},
	}
	for _, name := range slices.Sorted(maps.Keys(concepts)) {
		rules = append(rules, imports.Rule{
			Name: name + " imports only what is beneath it",
			Of:   imports.Exactly("shared/" + name), What: everything.Except(imports.Exactly(qualified(concepts[name])...)),
			Why: "it may import " + strings.Join(concepts[name], ", ") + " and nothing else of shared",
		})
	}
	for _, p := range packages {
		if !service(p.Path) {
			continue
		}
		parent := path.Dir(p.Path)
		rules = append(rules, imports.Rule{
			Name: p.Path + " imports its parent and the leaves",
			Of:   imports.Exactly(p.Path), What: everything.Except(imports.Exactly(append(qualified(leaves), parent)...)),
			Why: "services are siblings that do not know one another, and nothing above them; what two of them need goes into " + parent,
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

// TestLocaldevImports holds the stand-ins apart from the code that they test.
func TestLocaldevImports(t *testing.T) {
	t.Parallel()
	packages, err := imports.List(".", "../localdev/...")
	if err != nil {
		t.Fatal(err)
	}
	explaining := imports.Exactly("localdev", "localdev/explain")
	measured := imports.Exactly("localdev/bench/plain")
	beneath := imports.Exactly(qualified(append([]string{"caller", "policy"}, leaves...))...)
	for _, rule := range []imports.Rule{{
		Of: imports.In("localdev").Except(explaining).Except(measured), Linked: true,
		What: imports.In("shared", "functions").Except(imports.Exactly(qualified(leaves)...)),
		Why:  "what runs locally is the deployed binary, against stand-ins that share no code with it but the leaves",
	}, {
		Of: explaining, Linked: true, What: imports.In("shared", "functions").Except(beneath),
		Why: "explain shows the decision of the policy itself, and nothing else of the deployed code",
	}, {
		Of: measured, Linked: true, What: imports.In("localdev").Except(measured),
		Why: "it is measured as the gateway, and what a stand-in keeps in memory would be counted with it",
	}} {
		for _, line := range rule.Broken(packages) {
			t.Error(line)
		}
	}
}

// TestTree holds the shape of the tree itself.
func TestTree(t *testing.T) {
	t.Parallel()
	vague := []string{"util", "utils", "common", "helpers", "types", "models", "base", "misc"}
	for _, p := range list(t) {
		parts := strings.Split(p.Path, "/")
		if len(parts) > 3 {
			t.Errorf("%s is too deep: shared/<concept>/<service> is the deepest", p.Path)
		}
		for _, part := range parts {
			if slices.Contains(vague, part) {
				t.Errorf("%s: %q names no thing; a package is named for what it offers", p.Path, part)
			}
		}
		if len(parts) < 2 {
			continue
		}
		if _, known := concepts[parts[1]]; !known && !slices.Contains(leaves, parts[1]) {
			t.Errorf("%s has no row that says what it may import", p.Path)
		}
	}
}

func list(t *testing.T) []imports.Package {
	t.Helper()
	packages, err := imports.List(".", "./...")
	if err != nil {
		t.Fatal(err)
	}
	packages = slices.DeleteFunc(packages, func(p imports.Package) bool { return p.Path == "shared" })
	if len(packages) < 5 {
		t.Fatalf("found only %d packages", len(packages))
	}
	return packages
}

func qualified(names []string) []string {
	var paths []string
	for _, name := range names {
		paths = append(paths, "shared/"+name)
	}
	return paths
}
