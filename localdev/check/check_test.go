package check_test

import (
	"fmt"
	"path/filepath"
	"testing"

	"golang.org/x/tools/txtar"

	"github.com/postern-ai/postern/localdev/check"
	"github.com/postern-ai/postern/localdev/golden"
	"github.com/postern-ai/postern/shared/config"
)

// TestExplainGoldens: each golden file is a document and its explanation, or its problems.
func TestExplainGoldens(t *testing.T) {
	t.Parallel()
	golden.Run(t, "", func(_ *testing.T, given golden.Files) golden.Files {
		text, err := check.Explain([]byte(given["given-document.yaml"]))
		if err != nil {
			return golden.Files{"problems": fmt.Sprintln(err)}
		}
		return golden.Files{"explanation": text}
	})
}

// documents are what the golden files start from.
func documents(t testing.TB) [][]byte {
	t.Helper()
	paths, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no golden files: %v", err)
	}
	var all [][]byte
	for _, path := range paths {
		archive, err := txtar.ParseFile(path)
		if err != nil || len(archive.Files) == 0 {
			t.Fatalf("%s: not an archive, %v", path, err)
		}
		all = append(all, archive.Files[0].Data)
	}
	return all
}

// TestEveryCellIsExplained: each combination of the matrix is in a golden file.
func TestEveryCellIsExplained(t *testing.T) {
	t.Parallel()
	cells := map[string]config.Cell{}
	for _, cell := range config.Matrix() {
		cells[fmt.Sprint(cell.Provider, cell.AuthType)] = cell
	}
	for _, document := range documents(t) {
		d, err := config.Load(document)
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
	for _, document := range documents(f) {
		f.Add(string(document))
	}
	f.Fuzz(func(t *testing.T, document string) {
		text, err := check.Explain([]byte(document))
		if (err == nil) == (text == "") {
			t.Fatalf("text %q, error %v", text, err)
		}
	})
}
