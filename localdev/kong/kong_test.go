package kong_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"

	"github.com/postern-ai/postern/localdev/kong"
	"github.com/postern-ai/postern/shared/config"
)

var update = flag.Bool("update", false, "rewrite the expected parts of the golden files")

// golden is one case: a Kong configuration, and the document and report that come of it. The file's name is the sentence that
// it proves.
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

func TestImportGoldens(t *testing.T) {
	t.Parallel()
	for _, g := range goldens(t) {
		t.Run(g.name(), func(t *testing.T) {
			t.Parallel()
			var got []txtar.File
			r, err := kong.Import(g.archive.Files[0].Data)
			if err != nil {
				got = []txtar.File{{Name: "error", Data: []byte(fmt.Sprintln(err))}}
			} else {
				got = []txtar.File{{Name: "postern.yaml", Data: r.Document}, {Name: "report", Data: []byte(r.Report())}}
			}
			if *update {
				g.archive.Files = append(g.archive.Files[:1], got...)
				if err := os.WriteFile(g.path, txtar.Format(g.archive), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(texts(g.archive.Files[1:]), texts(got)); diff != "" {
				t.Errorf("run the test with -update if this is right:\n%s", diff)
			}
		})
	}
}

func texts(files []txtar.File) map[string]string {
	all := map[string]string{}
	for _, f := range files {
		all[f.Name] = string(f.Data)
	}
	return all
}

// TestDocumentsLoad: a document is of use as it comes out, but for what its notes ask for. The exceptions lack something that
// the Kong file lacks too.
func TestDocumentsLoad(t *testing.T) {
	t.Parallel()
	exceptions := []string{
		"what is filled in elsewhere is left to be written",
		"an address that is not encrypted is refused by the document",
	}
	for _, g := range goldens(t) {
		r, err := kong.Import(g.archive.Files[0].Data)
		if err != nil {
			continue
		}
		if fails := r.Problems != nil; fails != slices.Contains(exceptions, g.name()) {
			t.Errorf("%s: problems: %v", g.name(), r.Problems)
		}
		if r.Problems == nil {
			if d, err := config.Load(r.Document); err != nil || len(d.Upstreams) != r.Upstreams {
				t.Errorf("%s: loaded %+v, %v", g.name(), d, err)
			}
		}
	}
}

// TestNoSecretIsCopied looks for what stands in the secret fields of every golden file, and in the unknown ones, in what the
// import says.
func TestNoSecretIsCopied(t *testing.T) {
	t.Parallel()
	secret := []string{"header_value", "param_value", "azure_client_secret", "gcp_service_account_json", "aws_access_key_id",
		"aws_secret_access_key", "aws_session_token", "client_secret", "password", "unknown_field"}
	checked := 0
	for _, g := range goldens(t) {
		r, err := kong.Import(g.archive.Files[0].Data)
		if err != nil {
			continue
		}
		said := string(r.Document) + r.Report()
		var documents any
		decoder := yaml.NewDecoder(strings.NewReader(string(g.archive.Files[0].Data)))
		for decoder.Decode(&documents) == nil {
			walk(documents, "", func(name, text string) {
				if !slices.Contains(secret, name) || strings.Contains(text, "{vault://") || strings.Contains(text, "${") {
					return
				}
				checked++
				for part := range strings.FieldsSeq(text) {
					if len(part) > 6 && strings.Contains(said, part) {
						t.Errorf("%s: the value of %s comes out", g.name(), name)
					}
				}
			})
		}
	}
	if checked < 10 {
		t.Errorf("only %d secrets were looked for", checked)
	}
}

func walk(v any, name string, visit func(name, text string)) {
	switch v := v.(type) {
	case map[string]any:
		for key, value := range v {
			walk(value, key, visit)
		}
	case []any:
		for _, item := range v {
			walk(item, name, visit)
		}
	case string:
		visit(name, v)
	}
}

// FuzzImport: whatever a file holds, a canary in a secret's place never comes out, and what comes out is one document whose
// comments stay comments.
func FuzzImport(f *testing.F) {
	for _, g := range goldens(f) {
		f.Add(string(g.archive.Files[0].Data))
	}
	f.Add("config:\n  auth:\n    header_value: canary-0123456789\n  model:\n    provider: openai\n    name: \"x # y: [\\n\"\n")
	f.Fuzz(func(t *testing.T, text string) {
		r, err := kong.Import([]byte(text))
		if err != nil {
			return
		}
		var document map[string]any
		if err := yaml.Unmarshal(r.Document, &document); err != nil {
			t.Fatalf("the document is no YAML: %v\n%s", err, r.Document)
		}
		for key := range document {
			if !slices.Contains([]string{"callers", "policy", "upstreams", "logging", "limits"}, key) {
				t.Errorf("the document has a section %q", key)
			}
		}
		upstreams, _ := document["upstreams"].([]any)
		if len(upstreams) != r.Upstreams {
			t.Errorf("%d upstreams in the document, want %d", len(upstreams), r.Upstreams)
		}
	})
}
