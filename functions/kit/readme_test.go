package kit

import (
	"os"
	"strings"
	"testing"

	"github.com/postern-ai/postern/shared/config"
)

// TestTheReadmeShowsTheMatrix keeps the README's table of providers and auth
// types the one that the product has.
func TestTheReadmeShowsTheMatrix(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "<!-- matrix: generated from shared/config, checked by a test -->\n")
	table, _, ok := strings.Cut(rest, "<!-- /matrix -->")
	if want := config.MatrixMarkdown(); !ok || table != want {
		t.Errorf("the README's table is not the product's; it should be\n%s", want)
	}
}

// TestTheReadmesDocumentLoads keeps the README's example one that works.
func TestTheReadmesDocumentLoads(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "```yaml\n")
	document, _, ok := strings.Cut(rest, "```")
	if !ok {
		t.Fatal("the README has no document")
	}
	if _, err := config.Load([]byte(document)); err != nil {
		t.Error(err)
	}
}
