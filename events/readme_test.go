package events_test

import (
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"

	"github.com/postern-ai/postern/events"
)

func readme(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestThePatternsOfTheReadmeMatchTheirSamples runs the rules of the README that are JSON on the samples, as EventBridge has them.
func TestThePatternsOfTheReadmeMatchTheirSamples(t *testing.T) {
	t.Parallel()
	blocks := regexp.MustCompile("(?s)```json\n(.*?)```").FindAllStringSubmatch(readme(t), -1)
	if len(blocks) < 4 {
		t.Fatalf("found %d patterns", len(blocks))
	}
	samples := read(t, "sample/*.json")
	for _, block := range blocks {
		var pattern map[string]any
		if err := json.Unmarshal([]byte(block[1]), &pattern); err != nil {
			t.Fatalf("%v: %s", err, block[1])
		}
		matched := 0
		for _, sample := range samples {
			var detail map[string]any
			if err := json.Unmarshal(sample, &detail); err != nil {
				t.Fatal(err)
			}
			if matches(pattern, map[string]any{"source": "ai.postern.gateway", "detail-type": detail["type"], "detail": detail}) {
				matched++
			}
		}
		types, _ := pattern["detail-type"].([]any)
		if matched != len(types) || matched == 0 {
			t.Errorf("%d samples match %s", matched, block[1])
		}
	}
}

// matches is what EventBridge does with the parts of its pattern language that the README uses.
func matches(pattern, event any) bool {
	switch pattern := pattern.(type) {
	case map[string]any:
		object, ok := event.(map[string]any)
		for name, inner := range pattern {
			ok = ok && matches(inner, object[name])
		}
		return ok
	case []any:
		return slices.ContainsFunc(pattern, func(p any) bool {
			if prefix, ok := p.(map[string]any); ok {
				text, isText := event.(string)
				return isText && strings.HasPrefix(text, prefix["prefix"].(string))
			}
			return p == event
		})
	}
	return false
}

// TestTheReadmeNamesWhatExists holds its types, its links and the paths in its queries against what is there.
func TestTheReadmeNamesWhatExists(t *testing.T) {
	t.Parallel()
	text := readme(t)
	promised, err := os.ReadFile("testdata/promised.txt")
	if err != nil {
		t.Fatal(err)
	}
	for name := range read(t, "schema/*.json") {
		if kind, _, _ := strings.Cut(name, "."); !strings.Contains(text, "| `"+kind+"`") {
			t.Errorf("%s is not in the table", kind)
		}
	}
	for _, link := range regexp.MustCompile(`\]\(((?:schema|sample)/[^)]*|[a-z]+\.json)\)`).FindAllStringSubmatch(text, -1) {
		if _, err := fs.Stat(events.Files(), link[1]); err != nil {
			t.Errorf("the link %s: %v", link[1], err)
		}
	}
	for _, name := range regexp.MustCompile(`\bAI_[A-Z_]+`).FindAllString(text, -1) {
		if _, err := fs.Stat(events.Files(), fmt.Sprintf("schema/%s.1.json", name)); err != nil {
			t.Errorf("there is no type %s", name)
		}
	}
	paths := regexp.MustCompile(`\b[dD]ata((?:\.[a-z_]+)+)`).FindAllStringSubmatch(text, -1)
	if len(paths) < 10 {
		t.Fatalf("found %d paths", len(paths))
	}
	for _, found := range paths {
		if !regexp.MustCompile(`(?m)^\S+ \S*` + regexp.QuoteMeta(found[1]) + ` (type|const) `).Match(promised) {
			t.Errorf("no event has %s", found[0])
		}
	}
}

// TestTheReadmeListsWhatStartsTheFunctions keeps its table and the files together.
func TestTheReadmeListsWhatStartsTheFunctions(t *testing.T) {
	t.Parallel()
	text := readme(t)
	for _, cloud := range []string{"aws", "gcp", "azure"} {
		names, err := fs.Glob(events.Files(), cloud+"/*.json")
		if err != nil || len(names) < 5 {
			t.Fatalf("%d samples for %s: %v", len(names), cloud, err)
		}
		for _, name := range names {
			if !strings.Contains(text, "("+name+")") {
				t.Errorf("%s is not in README.md", name)
			}
			data, err := fs.ReadFile(events.Files(), name)
			if err != nil {
				t.Fatal(err)
			}
			var object map[string]any
			if err := json.Unmarshal(data, &object); err != nil || len(object) == 0 {
				t.Errorf("%s is not a JSON object: %v", name, err)
			}
		}
	}
}
