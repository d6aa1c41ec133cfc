package check_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"

	"github.com/postern-ai/postern/localdev/check"
	"github.com/postern-ai/postern/shared/config"
)

var update = flag.Bool("update", false, "rewrite the expected parts of the golden files")

// golden is one case: a document and its explanation. The file's name is the sentence that it proves.
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

func TestExplainGoldens(t *testing.T) {
	t.Parallel()
	for _, g := range goldens(t) {
		t.Run(g.name(), func(t *testing.T) {
			t.Parallel()
			text, err := check.Explain(g.archive.Files[0].Data)
			got := txtar.File{Name: "explanation", Data: []byte(text)}
			if err != nil {
				got = txtar.File{Name: "problems", Data: []byte(fmt.Sprintln(err))}
			}
			if *update {
				g.archive.Files = append(g.archive.Files[:1], got)
				if err := os.WriteFile(g.path, txtar.Format(g.archive), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if len(g.archive.Files) != 2 {
				t.Fatal("the golden file has no expectation; run the test with -update")
			}
			if diff := cmp.Diff(g.archive.Files[1].Name+"\n"+string(g.archive.Files[1].Data), got.Name+"\n"+string(got.Data)); diff != "" {
				t.Errorf("run the test with -update if this is right:\n%s", diff)
			}
		})
	}
}

// TestEveryCellIsExplained: each combination of the matrix is in a golden file.
func TestEveryCellIsExplained(t *testing.T) {
	t.Parallel()
	cells := map[string]config.Cell{}
	for _, cell := range config.Matrix() {
		cells[fmt.Sprint(cell.Provider, cell.AuthType)] = cell
	}
	for _, g := range goldens(t) {
		d, err := config.Load(g.archive.Files[0].Data)
		if err != nil {
			continue
		}
		for _, u := range d.Upstreams {
			delete(cells, fmt.Sprint(u.Provider, u.AuthType))
		}
	}
	for _, cell := range cells {
		t.Errorf("no golden file explains %s with %s", cell.Provider, cell.AuthType)
	}
}

// FuzzExplain: whatever a document says, it is explained or refused, in lines that fit.
func FuzzExplain(f *testing.F) {
	for _, g := range goldens(f) {
		f.Add(string(g.archive.Files[0].Data))
	}
	f.Fuzz(func(t *testing.T, document string) {
		text, err := check.Explain([]byte(document))
		if (err == nil) == (text == "") {
			t.Fatalf("text %q, error %v", text, err)
		}
	})
}
