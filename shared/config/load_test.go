package config_test

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"golang.org/x/tools/txtar"

	"github.com/postern-ai/postern/shared/config"
)

var update = flag.Bool("update", false, "rewrite the expected parts of the golden files")

// golden is one case: a document and what loading makes of it. The file's name is the sentence that it proves.
type golden struct {
	path    string
	archive *txtar.Archive
}

func goldens(t testing.TB) []golden {
	t.Helper()
	paths, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no golden files: %v", err)
	}
	var all []golden
	for _, path := range paths {
		archive, err := txtar.ParseFile(path)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, golden{path, archive})
	}
	return all
}

func (g golden) name() string {
	return strings.ReplaceAll(strings.TrimSuffix(filepath.Base(g.path), ".txtar"), "_", " ")
}

func (g golden) document() []byte { return g.archive.Files[0].Data }

// TestLoadGoldens loads every document under testdata and compares the problems, or the document with its defaults.
func TestLoadGoldens(t *testing.T) {
	t.Parallel()
	for _, g := range goldens(t) {
		t.Run(g.name(), func(t *testing.T) {
			t.Parallel()
			d, err := config.Load(g.document())
			got := []txtar.File{{Name: "problems", Data: []byte(fmt.Sprintln(err))}}
			if err == nil {
				text, err := config.Marshal(d)
				if err != nil {
					t.Fatal(err)
				}
				got = []txtar.File{{Name: "loaded.json", Data: append(text, '\n')}}
				var warnings strings.Builder
				for _, w := range d.Warnings {
					fmt.Fprintln(&warnings, w)
				}
				if warnings.Len() > 0 {
					got = append(got, txtar.File{Name: "warnings", Data: []byte(warnings.String())})
				}
			}
			if *update {
				g.archive.Files = append(g.archive.Files[:1], got...)
				if err := os.WriteFile(g.path, txtar.Format(g.archive), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if len(g.archive.Files) < 2 {
				t.Fatalf("%s has %d parts, want the document and what loading makes of it", g.path, len(g.archive.Files))
			}
			if diff := cmp.Diff(g.archive.Files[1:], got, cmp.Transformer("text", func(b []byte) string { return string(b) })); diff != "" {
				t.Errorf("%s (-want +got):\n%s", g.path, diff)
			}
		})
	}
}

// TestLoadedDocumentsLoadAgain proves that a document with its defaults spelled out means the same.
func TestLoadedDocumentsLoadAgain(t *testing.T) {
	t.Parallel()
	for _, g := range goldens(t) {
		d, err := config.Load(g.document())
		if err != nil {
			continue
		}
		assertLoadsAgain(t, d)
	}
}

func assertLoadsAgain(t *testing.T, d *config.Document) {
	t.Helper()
	text, err := config.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	again, err := config.Load(text)
	if err != nil {
		t.Fatalf("the loaded document does not load again: %v\n%s", err, text)
	}
	// Warnings are no part of the document, and point at other lines.
	if diff := cmp.Diff(d, again, cmpopts.IgnoreFields(config.Document{}, "Warnings")); diff != "" {
		t.Fatalf("the loaded document loads as another (-first +second):\n%s", diff)
	}
}

// TestMatrixCells loads one document per provider and auth type and expects what the table says, so that switching a cell on
// is a change of the table and of the code that reads its fields, and nothing is on by accident.
func TestMatrixCells(t *testing.T) {
	t.Parallel()
	for _, provider := range config.Providers() {
		for _, auth := range config.AuthTypes() {
			t.Run(fmt.Sprintf("%s with %s", provider, auth), func(t *testing.T) {
				t.Parallel()
				_, err := config.Load(cellDocument(provider, auth))
				cell := slices.IndexFunc(config.Matrix(), func(c config.Cell) bool { return c.Provider == provider && c.AuthType == auth })
				switch {
				case cell < 0:
					wantOneProblem(t, err, "does not support auth type "+string(auth))
					for _, c := range config.Matrix() {
						if c.Provider == provider && !strings.Contains(err.Error(), string(c.AuthType)) {
							t.Errorf("the error does not offer %s: %v", c.AuthType, err)
						}
					}
				case err != nil:
					t.Errorf("a cell of the table is refused: %v", err)
				}
			})
		}
	}
}

// pool is the name of a provider of a workload identity pool.
const pool = "//iam.googleapis.com/projects/123456789/locations/global/workloadIdentityPools/clouds/providers/platform"

// cellDocument is a document that is complete for its cell, with every field that the cell needs.
func cellDocument(p config.Provider, a config.AuthType) []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "platform_callers: true\nupstreams:\n- provider: %s\n  auth_type: %s\n", p, a)
	switch p {
	case config.AzureOpenAI:
		b.WriteString("  azure_instance: my-resource\n")
	case config.CustomOpenAI:
		b.WriteString("  base_url: https://llm.example.com/v1\n")
	}
	switch a {
	case config.APIKey:
		b.WriteString("  credential_ref: env://KEY\n")
	case config.OAuth2:
		b.WriteString("  credential_ref: client\n  token_endpoint: https://idp.example.com/token\n")
	case config.OIDC:
		b.WriteString("  credential_ref: client\n  issuer: https://idp.example.com\n")
	case config.AzureAD:
		if p == config.CustomOpenAI {
			b.WriteString("  scopes: [api://llm/.default]\n")
		}
	case config.Native:
		switch p {
		case config.OpenAI:
			b.WriteString("  identity_provider_id: idp_1\n  service_account_id: sa_1\n")
		case config.Anthropic:
			b.WriteString("  federation_rule_id: fdrl_1\n  organization_id: aabdecea-fc38-40ca-9edd-263878b290fe\n  service_account_id: svac_1\n")
		}
	}
	if p == config.Vertex && (a == config.OAuth2 || a == config.OIDC) {
		b.WriteString("  gcp_workload_identity_provider: " + pool + "\n")
	}
	return []byte(b.String())
}

func wantOneProblem(t *testing.T, err error, message string) {
	t.Helper()
	var problems *config.Problems
	if !errors.As(err, &problems) {
		t.Fatalf("got %v, want problems", err)
	}
	if len(problems.List) != 1 || !strings.Contains(problems.List[0].Message, message) {
		t.Fatalf("got %v, want one problem with %q", err, message)
	}
	if p := problems.List[0]; p.Path == "" || p.Remedy == "" || p.Line == 0 {
		t.Errorf("the problem lacks its place or its remedy: %#v", p)
	}
}

func TestMatrixIsConsistent(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, c := range config.Matrix() {
		key := string(c.Provider) + " " + string(c.AuthType)
		if seen[key] || c.How == "" || !slices.Contains(config.Providers(), c.Provider) || !slices.Contains(config.AuthTypes(), c.AuthType) {
			t.Errorf("cell %+v is repeated, has no explanation, or is of an unknown provider or auth type", c)
		}
		seen[key] = true
	}
	table := config.MatrixMarkdown()
	if rows := strings.Count(table, "\n"); rows != len(config.Providers())+2 {
		t.Errorf("the README table has %d rows:\n%s", rows, table)
	}
	if !strings.Contains(table, "| bedrock | yes (outside aws: aws_roles) | - | - | - | yes (outside aws: aws_roles, or credential_ref) | - |") {
		t.Errorf("the README table does not say where bedrock works:\n%s", table)
	}
}

// TestNoProblemShowsASecret puts a key wherever somebody might, and looks for it in the error.
func TestNoProblemShowsASecret(t *testing.T) {
	t.Parallel()
	const canary = "sk-canary-4f6c3a"
	places := []string{
		"credential_ref: " + canary,
		"credential_ref: env://KEY#" + canary + "!",
		"credential_ref: env://" + canary + "!",
		"credential_ref: file://" + canary,
		"credential_ref: [" + canary + "]",
		"credential_ref: {key: " + canary + "}",
		"credential_ref: https://user:" + canary + "@example.com/",
		"api_key: " + canary,
		"header_value: Bearer " + canary,
		"aws_secret_access_key: " + canary,
		"base_url: https://user:" + canary + "@example.com/v1",
		"base_url: https://example.com/v1?key=" + canary,
		"base_url: [https://example.com/" + canary,
		"auth:\n    header_value: " + canary,
		"credential_ref: \"" + canary,
		"credential_ref: &" + canary + " x",
	}
	for _, place := range places {
		t.Run(place, func(t *testing.T) {
			t.Parallel()
			_, err := config.Load([]byte("platform_callers: true\nupstreams:\n- provider: openai\n  auth_type: api_key\n  " + place + "\n"))
			if err == nil {
				t.Fatal("the document is accepted")
			}
			if strings.Contains(err.Error(), canary) {
				t.Errorf("the error shows the secret: %v", err)
			}
		})
	}
}

// FuzzLoad proves that no input panics, that every error has its remedies, and that what loads means the same when it is
// written out and loaded again.
func FuzzLoad(f *testing.F) {
	for _, g := range goldens(f) {
		f.Add(g.document())
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		d, err := config.Load(data)
		if err == nil {
			if len(d.Upstreams) == 0 || !d.NamesCallers() && !d.PlatformCallers || d.NamesCallers() && len(d.Policy) == 0 {
				t.Fatalf("a document without upstreams, callers or policy is accepted: %+v", d)
			}
			assertLoadsAgain(t, d)
			config.NewRouter(d).Route("a/b")
			return
		}
		var problems *config.Problems
		if !errors.As(err, &problems) || len(problems.List) == 0 {
			t.Fatalf("the error is not a list of problems: %v", err)
		}
		for _, p := range problems.List {
			if p.Message == "" || p.Remedy == "" {
				t.Errorf("a problem lacks its message or its remedy: %+v", p)
			}
			if strings.ContainsAny(p.String(), "\n\r") {
				t.Errorf("a problem breaks its line: %q", p.String())
			}
		}
	})
}

func BenchmarkLoad(b *testing.B) {
	for _, g := range goldens(b) {
		if !strings.Contains(g.name(), "every provider") {
			continue
		}
		b.Run(g.name(), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := config.Load(g.document()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
