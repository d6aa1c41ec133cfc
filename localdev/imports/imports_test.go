package imports_test

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/postern-ai/postern/localdev/imports"
)

func TestList(t *testing.T) {
	t.Parallel()
	packages, err := imports.List(".", "./...")
	if err != nil {
		t.Fatal(err)
	}
	if len(packages) != 1 || packages[0].Path != "localdev/imports" {
		t.Fatalf("got %+v, want this package alone", packages)
	}
	if p := packages[0]; !slices.Contains(p.Imports, "os/exec") || slices.Contains(p.Imports, "testing") || !slices.Contains(p.Deps, "syscall") {
		t.Errorf("got %+v, want what the package imports and links, without its tests", p)
	}
	if _, err := imports.List(".", "./nothing"); err == nil {
		t.Error("a package that is not there was listed")
	}
}

func TestRule(t *testing.T) {
	t.Parallel()
	packages := []imports.Package{
		{Path: "shared/a", Imports: []string{"fmt", "shared/b"}, Deps: []string{"example.com/c/d", "fmt", "shared/b"}},
		{Path: "shared/b", Imports: []string{"example.com/c/d"}, Deps: []string{"example.com/c/d"}},
		{Path: "sharedness", Imports: []string{"example.com/c"}},
	}
	cases := []struct {
		name string
		rule imports.Rule
		want []string
	}{
		{
			"only direct imports count unless the rule is about links",
			imports.Rule{Of: imports.In("shared"), What: imports.In("example.com/c"), Why: "no c"},
			[]string{"shared/b imports example.com/c/d: no c"},
		},
		{
			"links are direct and indirect",
			imports.Rule{Of: imports.In("shared"), Linked: true, What: imports.In("example.com/c"), Why: "no c"},
			[]string{"shared/a links example.com/c/d: no c", "shared/b links example.com/c/d: no c"},
		},
		{
			"an exact match leaves out what is beneath",
			imports.Rule{Of: imports.In("shared"), What: imports.Exactly("example.com/c"), Why: "no c"},
			nil,
		},
		{
			"an exception is no breach",
			imports.Rule{Of: imports.In("shared").Except(imports.Exactly("shared/b")), What: imports.In("shared"), Why: "no b"},
			[]string{"shared/a imports shared/b: no b"},
		},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(c.want, c.rule.Broken(packages)); diff != "" {
				t.Error(diff)
			}
		})
	}
}
