package contract

import (
	"encoding/json"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// FuzzSSESplitter holds that the events of a stream do not depend on how its
// bytes arrive.
func FuzzSSESplitter(f *testing.F) {
	f.Add("data: {}\n\ndata: [DONE]\n\n", 3)
	f.Add("event: a\r\ndata: b\r\rdata:c\r\n\n: comment\nid: 1\n\n", 1)
	f.Add("data\n\n\n\nnonsense\n\n", 5)
	f.Fuzz(func(t *testing.T, stream string, size int) {
		whole := record(func(emit func(Event)) splitter { return &sseSplitter{emit: emit} }, []string{stream})
		pieces := record(func(emit func(Event)) splitter { return &sseSplitter{emit: emit} }, cut(stream, size))
		if diff := cmp.Diff(whole, pieces); diff != "" {
			t.Errorf("in one piece - and in many +:\n%s", diff)
		}
	})
}

// FuzzFrameSplitter holds the same of AWS event stream messages.
func FuzzFrameSplitter(f *testing.F) {
	f.Add("\x00\x00\x00\x10\x00\x00\x00\x00\x05\xc2\x48\xeb\x7d\x98\xc8\xff", 3)
	f.Add("\x00\x00\x00\x20short", 1)
	f.Add("data: x\n\n", 2)
	f.Fuzz(func(t *testing.T, stream string, size int) {
		whole := record(func(emit func(Event)) splitter { return &frameSplitter{emit: emit} }, []string{stream})
		pieces := record(func(emit func(Event)) splitter { return &frameSplitter{emit: emit} }, cut(stream, size))
		if diff := cmp.Diff(whole, pieces); diff != "" {
			t.Errorf("in one piece - and in many +:\n%s", diff)
		}
	})
}

// record writes the pieces and notes the events and errors that come of them.
func record(make func(func(Event)) splitter, pieces []string) []string {
	var log []string
	s := make(func(e Event) { log = append(log, fmt.Sprintf("%q %q", e.Type, e.Data)) })
	note := func(err error) {
		if err != nil {
			log = append(log, err.Error())
		}
	}
	for _, piece := range pieces {
		note(s.write([]byte(piece)))
	}
	note(s.end())
	return log
}

func cut(s string, size int) []string {
	size = max(1, size)
	var pieces []string
	for len(s) > size {
		pieces, s = append(pieces, s[:size]), s[size:]
	}
	return append(pieces, s)
}

// FuzzDecode holds that what decodes is what encoding/json reads, too: the
// strict reader may refuse more, but must not see other values.
func FuzzDecode(f *testing.F) {
	f.Add(`{"a":[1,2.50,-3e4,null,true,"\u00e9"],"b":{}}`)
	f.Add(`{"a":1,"a":2}`)
	f.Add(`[1e999999999]`)
	f.Fuzz(func(t *testing.T, text string) {
		got, err := decode([]byte(text))
		if err != nil {
			return
		}
		decoder := json.NewDecoder(strings.NewReader(text))
		decoder.UseNumber()
		var want any
		if err := decoder.Decode(&want); err != nil {
			t.Fatalf("decoded what encoding/json refuses: %v", err)
		}
		if diff := cmp.Diff(want, plain(got)); diff != "" {
			t.Error(diff)
		}
	})
}

func plain(v any) any {
	switch v := v.(type) {
	case number:
		_, _ = v.rational() // must not run away
		return json.Number(v)
	case []any:
		list := []any{}
		for _, item := range v {
			list = append(list, plain(item))
		}
		return list
	case map[string]any:
		object := map[string]any{}
		for name, item := range v {
			object[name] = plain(item)
		}
		return object
	default:
		return v
	}
}

// TestPatternsThatAreNotChecked names every pattern that Go's syntax has no
// equivalent for, so that a new one does not go by unnoticed.
func TestPatternsThatAreNotChecked(t *testing.T) {
	t.Parallel()
	dir, ok := Dir()
	if !ok {
		t.Skipf("the vendors' API descriptions are not at %s, so nothing was checked against them", dir)
	}
	unchecked := map[string]bool{}
	files, err := filepath.Glob(filepath.Join(dir, "aws", "*.json.gz"))
	if err != nil || len(files) < 5 {
		t.Fatalf("found only the models %q, %v", files, err)
	}
	for _, file := range files {
		var model struct {
			Shapes map[string]struct {
				Pattern string `json:"pattern"`
			} `json:"shapes"`
		}
		if err := load(&model, file); err != nil {
			t.Fatal(err)
		}
		for _, shape := range model.Shapes {
			var p javaPattern
			if err := p.UnmarshalText([]byte(shape.Pattern)); err != nil || p.Regexp == nil {
				unchecked[shape.Pattern] = true
			}
		}
	}
	want := []string{`[\u0020-\uD7FF\uE000-\uFFFD\uD800\uDC00-\uDBFF\uDFFF\r\n\t]*`, `^(?!\s*$).+`, `^[a-z0-9]([a-z0-9]|-(?!-)){1,61}[a-z0-9]$`}
	if diff := cmp.Diff(want, slices.Sorted(maps.Keys(unchecked))); diff != "" {
		t.Error(diff)
	}
}

// TestEverySchemaIsUnderstood parses all of OpenAI's description, of which a call
// parses only what it needs. The exceptions misspell a keyword, and belong to
// fine-tuning, grading and transcription.
func TestEverySchemaIsUnderstood(t *testing.T) {
	t.Parallel()
	dir, ok := Dir()
	if !ok {
		t.Skipf("the vendors' API descriptions are not at %s, so nothing was checked against them", dir)
	}
	d, err := OpenAI(dir)
	if err != nil {
		t.Fatal(err)
	}
	document, ok := d.service.(*openAPI)
	if !ok || len(document.Components.Schemas) < 1000 {
		t.Fatalf("found only %d schemas", len(document.Components.Schemas))
	}
	var misspelt []string
	for name := range document.Components.Schemas {
		if _, err := document.resolve("#/components/schemas/" + name); err != nil {
			misspelt = append(misspelt, name)
		}
	}
	slices.Sort(misspelt)
	want := []string{
		"CreateFineTuningJobRequest", "CreateTranscriptionResponseJson", "FineTuneDPOHyperparameters", "FineTuneReinforcementHyperparameters",
		"FineTuneSupervisedHyperparameters", "FineTuningJob", "GraderScoreModel",
	}
	if diff := cmp.Diff(want, misspelt); diff != "" {
		t.Error(diff)
	}
}

func TestDir(t *testing.T) {
	elsewhere := t.TempDir()
	t.Setenv("CONTRACTS", elsewhere)
	if dir, ok := Dir(); dir != elsewhere || !ok {
		t.Errorf("got %q, %v; $CONTRACTS must win", dir, ok)
	}
	t.Setenv("CONTRACTS", filepath.Join(elsewhere, "missing"))
	if dir, ok := Dir(); ok {
		t.Errorf("got %q for a folder that is not there", dir)
	}
	t.Setenv("CONTRACTS", "")
	if dir, _ := Dir(); !strings.HasSuffix(dir, filepath.Join("shared", "contracts")) {
		t.Errorf("got %q, want the folder beside the module", dir)
	}
	if _, err := OpenAI(elsewhere); err == nil {
		t.Error("a description that is not there was loaded")
	}
}
