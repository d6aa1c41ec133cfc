package kit

import (
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"unicode"

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

// TestTheReadmeHasEveryField keeps the README naming every field that a document may have.
func TestTheReadmeHasEveryField(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	words := map[string]bool{}
	for _, word := range strings.FieldsFunc(string(text), func(r rune) bool { return r != '_' && !unicode.IsLetter(r) && !unicode.IsDigit(r) }) {
		words[word] = true
	}
	names := map[string]bool{}
	fields(reflect.TypeFor[config.Document](), names)
	if len(names) < 100 {
		t.Errorf("a document has %d fields", len(names))
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if !words[name] {
			t.Errorf("the README does not name the field %s", name)
		}
	}
}

// fields collects the names that a type and what is within it have in JSON.
func fields(of reflect.Type, names map[string]bool) {
	switch of.Kind() {
	case reflect.Pointer, reflect.Slice:
		fields(of.Elem(), names)
	case reflect.Struct:
		for field := range of.Fields() {
			if name, _, _ := strings.Cut(field.Tag.Get("json"), ","); name != "" && name != "-" {
				names[name] = true
				fields(field.Type, names)
			}
		}
	}
}
