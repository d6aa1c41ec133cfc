package kit

import (
	"os"
	"strings"
	"testing"

	"github.com/postern-ai/postern/shared/config"
)

// TestTheReadmeShowsTheTables keeps the README's tables of providers and auth
// types, and of those who make keys, the ones that the product has.
func TestTheReadmeShowsTheTables(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"matrix": config.MatrixMarkdown(), "issuers": config.IssuersMarkdown()} {
		_, rest, _ := strings.Cut(string(text), "<!-- "+name+": generated from shared/config, checked by a test -->\n")
		table, _, ok := strings.Cut(rest, "<!-- /"+name+" -->")
		if !ok || table != want {
			t.Errorf("the README's table is not the product's; it should be\n%s", want)
		}
	}
}

// TestTheReadmesDocumentsLoad keeps the README's examples ones that work.
func TestTheReadmesDocumentsLoad(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	documents := strings.Split(string(text), "```yaml\n")[1:]
	if len(documents) < 3 {
		t.Errorf("the README has %d documents", len(documents))
	}
	for _, rest := range documents {
		document, _, _ := strings.Cut(rest, "```")
		if _, err := config.Load([]byte(document)); err != nil {
			t.Errorf("%v\n%s", err, document)
		}
	}
}
