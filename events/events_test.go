package events_test

import (
	"bytes"
	"flag"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/postern-ai/postern/events"
	"github.com/postern-ai/postern/localdev/imports"
	"github.com/postern-ai/postern/shared/audit"
)

var update = flag.Bool("update", false, "add what is new in the schemas to what they have promised")

// read returns the files that match a pattern, by their name without folder and ending.
func read(t *testing.T, pattern string) map[string][]byte {
	t.Helper()
	names, err := fs.Glob(events.Files(), pattern)
	if err != nil || len(names) == 0 {
		t.Fatalf("%s: %d files, error %v", pattern, len(names), err)
	}
	found := map[string][]byte{}
	for _, name := range names {
		text, err := fs.ReadFile(events.Files(), name)
		if err != nil {
			t.Fatal(err)
		}
		found[strings.TrimSuffix(path.Base(name), path.Ext(name))] = text
	}
	return found
}

// compiled returns the schemas by their ids.
func compiled(t *testing.T) map[string]*jsonschema.Schema {
	t.Helper()
	compiler := jsonschema.NewCompiler()
	compiler.DefaultDraft(jsonschema.Draft2020)
	compiler.AssertFormat()
	schemas := map[string]*jsonschema.Schema{}
	for name, text := range read(t, "schema/*.json") {
		document, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		id, _ := document.(map[string]any)["$id"].(string)
		if err := compiler.AddResource(id, document); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if schemas[id], err = compiler.Compile(id); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	return schemas
}

func decode(t *testing.T, text []byte) audit.Event {
	t.Helper()
	var e audit.Event
	if err := json.Unmarshal(text, &e); err != nil {
		t.Fatal(err)
	}
	return e
}

func validate(t *testing.T, schema *jsonschema.Schema, data []byte) error {
	t.Helper()
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	return schema.Validate(value)
}

func TestEverySampleIsOfTheSchemaThatItNames(t *testing.T) {
	t.Parallel()
	schemas := compiled(t)
	used := map[string]bool{}
	for name, text := range read(t, "sample/*.json") {
		e := decode(t, text)
		if !strings.HasPrefix(name, string(e.Type)) || e.Schema != audit.SchemaOf(e.Type) || schemas[e.Schema] == nil {
			t.Fatalf("%s is of type %s and names the schema %q", name, e.Type, e.Schema)
		}
		if err := validate(t, schemas[e.Schema], e.Data); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		used[e.Schema] = true
	}
	for id := range schemas {
		if !used[id] {
			t.Errorf("%s has no sample", id)
		}
	}
}

// TestASchemaRefusesWhatIsNot shows that the test above can fail.
func TestASchemaRefusesWhatIsNot(t *testing.T) {
	t.Parallel()
	schemas := compiled(t)
	samples := read(t, "sample/*.json")
	for _, test := range []struct{ name, sample, from, to string }{
		{"another version", "AI_CALLER_DENIED", `"event_version": 1`, `"event_version": 2`},
		{"a text for a number", "AI_CALLER_DENIED", `"status": 403`, `"status": "403"`},
		{"a key's event that says token", "AI_PROVIDER_TOKEN_ROTATED.key", `"kind": "key"`, `"kind": "token"`},
		{"a token's event that says key", "AI_PROVIDER_TOKEN_ROTATED.token", `"kind": "token"`, `"kind": "key"`},
		{"a step that is none", "AI_PROVIDER_TOKEN_ROTATION_FAILED", `"step": "verify"`, `"step": "try"`},
		{"no credential", "AI_PROVIDER_TOKEN_REVOKED", `"credential": `, `"credentials": `},
		{"a key for a fingerprint", "AI_PROVIDER_TOKEN_REVOKED", `"fingerprint": "`, `"fingerprint": "sk-`},
		{"a time that is none", "AI_PROVIDER_TOKEN_OPERATOR_DUE", `"due_at": "2026`, `"due_at": "year`},
		{"a hash that is none", "AI_POLICY_CHANGED", `"hash": "`, `"hash": "x`},
	} {
		e := decode(t, samples[test.sample])
		changed := bytes.Replace(e.Data, []byte(test.from), []byte(test.to), 1)
		if bytes.Equal(changed, e.Data) {
			t.Fatalf("%s: the sample %s has no %s", test.name, test.sample, test.from)
		}
		if validate(t, schemas[e.Schema], changed) == nil {
			t.Errorf("%s: the schema takes it", test.name)
		}
	}
}

func TestTheSampleTrailIsIntactAndHasAllSamples(t *testing.T) {
	t.Parallel()
	samples := map[string]bool{}
	for _, text := range read(t, "sample/*.json") {
		samples[decode(t, text).ID] = true
	}
	var trail []audit.Event
	for line := range bytes.Lines(read(t, "sample/*.jsonl")["trail"]) {
		e := decode(t, line)
		trail = append(trail, e)
		delete(samples, e.ID)
	}
	if len(samples) != 0 {
		t.Errorf("these samples are not in the trail: %v", samples)
	}
	report := audit.Verifier{}.Verify(func(yield func(audit.Recorded) bool) {
		for i, e := range trail {
			if !yield(audit.Recorded{Line: i + 1, Event: e}) {
				return
			}
		}
	})
	if len(report.Findings) != 0 || report.Linked == 0 {
		t.Errorf("got %+v", report)
	}
}

func TestTheAsyncAPIDocumentHasAMessageForEveryType(t *testing.T) {
	t.Parallel()
	var document struct {
		Channels   map[string]struct{ Messages map[string]any }
		Operations map[string]struct{ Messages []map[string]string }
		Components struct {
			Messages map[string]struct {
				Payload struct {
					AllOf []struct {
						Properties struct {
							Data map[string]string
						}
					} `json:"allOf"`
				}
			}
		}
	}
	if err := json.Unmarshal(read(t, "asyncapi.json")["asyncapi"], &document, json.MatchCaseInsensitiveNames(true)); err != nil {
		t.Fatal(err)
	}
	var types []string
	for name := range read(t, "schema/*.json") {
		kind, _, _ := strings.Cut(name, ".")
		types = append(types, kind)
		payload := document.Components.Messages[kind].Payload
		if len(payload.AllOf) != 2 || payload.AllOf[1].Properties.Data["$ref"] != "./schema/"+name+".json" {
			t.Errorf("%s: the data of its message is %v", kind, payload)
		}
		if reference := map[string]string{"$ref": "#/channels/audit/messages/" + kind}; !slices.ContainsFunc(document.Operations["report"].Messages,
			func(m map[string]string) bool { return maps.Equal(m, reference) }) {
			t.Errorf("%s is reported by no operation", kind)
		}
	}
	slices.Sort(types)
	if d := cmp.Diff(types, slices.Sorted(maps.Keys(document.Channels["audit"].Messages))); d != "" {
		t.Errorf("the messages of the channel are not those that have a schema (-schemas +channel):\n%s", d)
	}
}

// TestNothingThatWasPromisedIsTakenBack holds the schemas against every member, type and value that a version has ever had. A line of promised.txt is
// never removed: what has to go takes a new version of its format.
func TestNothingThatWasPromisedIsTakenBack(t *testing.T) {
	t.Parallel()
	const promised = "testdata/promised.txt"
	text, err := os.ReadFile(promised)
	if err != nil && !*update {
		t.Fatal(err)
	}
	old := strings.Split(strings.TrimSpace(string(text)), "\n")
	now := promises(t)
	for _, line := range old {
		if line != "" && !slices.Contains(now, line) {
			t.Errorf("this is no longer so: %s", line)
		}
	}
	if *update {
		all := slices.Compact(slices.Sorted(slices.Values(slices.DeleteFunc(append(old, now...), func(line string) bool { return line == "" }))))
		if err := os.WriteFile(promised, []byte(strings.Join(all, "\n")+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	for _, line := range now {
		if !slices.Contains(old, line) {
			t.Errorf("this is new, and has to be promised (go test ./events -update): %s", line)
		}
	}
}

// promises returns what readers of events may count on, a line each.
func promises(t *testing.T) []string {
	t.Helper()
	var lines []string
	for name, text := range read(t, "schema/*.json") {
		var root map[string]any
		if err := json.Unmarshal(text, &root); err != nil {
			t.Fatal(err)
		}
		promise{name, root, &lines}.of("", root)
	}
	slices.Sort(lines)
	return lines
}

type promise struct {
	schema string
	root   map[string]any
	lines  *[]string
}

func (p promise) add(at, what string) { *p.lines = append(*p.lines, p.schema+" "+at+" "+what) }

// of adds what a part of the schema promises of what is at a path.
func (p promise) of(at string, n map[string]any) {
	if reference, ok := n["$ref"].(string); ok {
		p.of(at, p.root["$defs"].(map[string]any)[strings.TrimPrefix(reference, "#/$defs/")].(map[string]any))
		return
	}
	for _, keyword := range []string{"type", "format", "pattern", "const"} {
		if value, there := n[keyword]; there {
			p.add(at, fmt.Sprint(keyword, " ", value))
		}
	}
	for _, value := range list(n["enum"]) {
		p.add(at, fmt.Sprint("value ", value))
	}
	for _, value := range list(n["required"]) {
		p.add(fmt.Sprint(at, ".", value), "always there")
	}
	for _, form := range list(n["oneOf"]) {
		reference := form.(map[string]any)["$ref"].(string)
		p.of(path.Base(reference), form.(map[string]any))
	}
	if items, ok := n["items"].(map[string]any); ok {
		p.of(at+"[]", items)
	}
	properties, _ := n["properties"].(map[string]any)
	for name, property := range properties {
		p.of(at+"."+name, property.(map[string]any))
	}
}

func list(v any) []any {
	l, _ := v.([]any)
	return l
}

func TestImports(t *testing.T) {
	t.Parallel()
	packages, err := imports.List(".", "./...")
	if err != nil {
		t.Fatal(err)
	}
	for _, rule := range []imports.Rule{
		{
			Of: imports.In("events"), Linked: true, What: imports.In("functions", "localdev", "shared").Except(imports.Exactly("shared/audit")),
			Why: "what readers start from knows the events, and not who makes them",
		},
		{
			Of: imports.In("events"), Linked: true, What: imports.In("github.com/santhosh-tekuri/jsonschema", "testing"),
			Why: "the judge of the schemas is for tests",
		},
	} {
		for _, line := range rule.Broken(packages) {
			t.Error(line)
		}
	}
}
