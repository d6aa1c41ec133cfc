package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"slices"
	"strings"
)

// module is a Go module that is part of a package.
type module struct {
	path, version string
	sum           string // as in go.sum; empty for the standard library
}

// standardLibrary is the module that a Go release such as go1.26.8 adds.
func standardLibrary(release string) module {
	release, _, _ = strings.Cut(release, " ")
	return module{path: "std", version: strings.TrimPrefix(release, "go")}
}

// subject is what a bill of materials is about.
type subject struct {
	name, sum string
	stamp     stamp
}

// The parts of a CycloneDX document that are used here
// (https://cyclonedx.org/docs/1.6/json/).
type bill struct {
	Format       string       `json:"bomFormat"`
	Spec         string       `json:"specVersion"`
	Version      int          `json:"version"`
	Metadata     metadata     `json:"metadata"`
	Components   []component  `json:"components"`
	Dependencies []dependency `json:"dependencies"`
}

type metadata struct {
	Component component `json:"component"`
}

type component struct {
	Type       string     `json:"type"`
	Ref        string     `json:"bom-ref"`
	Name       string     `json:"name"`
	Version    string     `json:"version,omitempty"`
	Hashes     []hash     `json:"hashes,omitempty"`
	URL        string     `json:"purl,omitempty"`
	Properties []property `json:"properties,omitempty"`
}

type hash struct {
	Algorithm string `json:"alg"`
	Content   string `json:"content"`
}

type property struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

type dependency struct {
	Ref string   `json:"ref"`
	On  []string `json:"dependsOn"`
}

// billOfMaterials returns a CycloneDX document without a time or a serial
// number, which would be others each time.
func billOfMaterials(s subject, modules []module) ([]byte, error) {
	b := bill{
		Format: "CycloneDX", Spec: "1.6", Version: 1,
		Metadata: metadata{component{Type: "application", Ref: s.name, Name: s.name, Version: s.stamp.version, Hashes: []hash{{"SHA-256", s.sum}}}},
	}
	if s.stamp.commit != "" {
		b.Metadata.Component.Properties = []property{{"git:commit", s.stamp.commit}}
	}
	b.Components = []component{}
	uses := dependency{Ref: s.name, On: []string{}}
	for _, m := range slices.SortedFunc(slices.Values(modules), func(a, b module) int { return cmp.Compare(a.path, b.path) }) {
		url := "pkg:golang/" + m.path + "@" + m.version
		c := component{Type: "library", Ref: url, Name: m.path, Version: m.version, URL: url}
		if m.sum != "" {
			c.Properties = []property{{"go:sum", m.sum}}
		}
		b.Components = append(b.Components, c)
		uses.On = append(uses.On, url)
	}
	b.Dependencies = []dependency{uses}
	var text bytes.Buffer
	e := json.NewEncoder(&text)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	err := e.Encode(b)
	return text.Bytes(), err
}
