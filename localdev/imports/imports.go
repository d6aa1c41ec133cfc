// Package imports holds the product's packages to rules about what they may
// import. It is for tests. It must not know any rule itself: those stand in
// shared/imports_test.go and functions/imports_test.go, beside the code that
// they are about.
package imports

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strings"
)

// Module is the path that the product's own packages begin with.
const Module = "github.com/postern-ai/postern/"

// A Package is what one package imports, its tests left out. Paths of the
// product's own packages are relative to the module: shared/chat.
type Package struct {
	Path    string
	Imports []string // directly
	Deps    []string // directly or not: what a binary of the package links
}

// List returns the packages that patterns such as ./shared/... match in a folder
// of the module.
func List(dir string, patterns ...string) ([]Package, error) {
	command := exec.Command("go", append([]string{"list", "-json=ImportPath,Imports,Deps"}, patterns...)...)
	command.Dir = dir
	out, err := command.Output()
	if err != nil {
		if exit, ok := errors.AsType[*exec.ExitError](err); ok {
			return nil, fmt.Errorf("go list: %w: %s", err, exit.Stderr)
		}
		return nil, fmt.Errorf("go list: %w", err)
	}
	var packages []Package
	for decoder := json.NewDecoder(strings.NewReader(string(out))); ; {
		var listed struct {
			ImportPath    string
			Imports, Deps []string
		}
		switch err := decoder.Decode(&listed); {
		case errors.Is(err, io.EOF):
			return packages, nil
		case err != nil:
			return nil, fmt.Errorf("go list: %w", err)
		}
		packages = append(packages, Package{
			Path: strings.TrimPrefix(listed.ImportPath, Module), Imports: relative(listed.Imports), Deps: relative(listed.Deps),
		})
	}
}

func relative(paths []string) []string {
	for i, path := range paths {
		paths[i] = strings.TrimPrefix(path, Module)
	}
	return paths
}

// A Rule says what some packages must not import. Its fields read as a
// sentence: packages Of these must not import (or, where Linked is set, link)
// What, because of Why.
type Rule struct {
	Name   string
	Of     Match
	Linked bool
	What   Match
	Why    string
}

// Broken returns a line for every package that breaks the rule.
func (r Rule) Broken(packages []Package) []string {
	var lines []string
	for _, p := range packages {
		if !r.Of(p.Path) {
			continue
		}
		verb, imported := "imports", p.Imports
		if r.Linked {
			verb, imported = "links", p.Deps
		}
		for _, path := range imported {
			if r.What(path) {
				lines = append(lines, fmt.Sprintf("%s %s %s: %s", p.Path, verb, path, r.Why))
			}
		}
	}
	return lines
}

// A Match tells packages apart by their paths.
type Match func(path string) bool

// In matches the given packages and everything beneath them.
func In(roots ...string) Match {
	return func(path string) bool {
		return slices.ContainsFunc(roots, func(root string) bool {
			return path == root || strings.HasPrefix(path, root+"/")
		})
	}
}

// Exactly matches the given packages and nothing beneath them.
func Exactly(paths ...string) Match {
	return func(path string) bool { return slices.Contains(paths, path) }
}

// Except matches what the first matches and the other does not.
func (m Match) Except(other Match) Match {
	return func(path string) bool { return m(path) && !other(path) }
}
