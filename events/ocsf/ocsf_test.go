package ocsf_test

import (
	"bytes"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"golang.org/x/tools/txtar"

	"github.com/postern-ai/postern/events"
	"github.com/postern-ai/postern/events/ocsf"
	"github.com/postern-ai/postern/localdev/golden"
	"github.com/postern-ai/postern/shared/audit"
)

const given = "given-event.json"

func decode(t testing.TB, text []byte) audit.Event {
	t.Helper()
	var e audit.Event
	if err := json.Unmarshal(text, &e); err != nil {
		t.Fatal(err)
	}
	return e
}

func TestMap(t *testing.T) {
	rules := rulesOf(t)
	golden.Run(t, "map", func(t *testing.T, files golden.Files) golden.Files {
		mapped, err := ocsf.Map(decode(t, []byte(files[given])))
		if err != nil {
			return golden.Files{"error": err.Error() + "\n"}
		}
		var record map[string]any
		if err := json.Unmarshal(mapped, &record); err != nil {
			t.Fatal(err)
		}
		for _, problem := range rules.judge(record) {
			t.Error(problem)
		}
		return golden.Files{"ocsf.json": golden.Tidy(t, mapped)}
	})
}

// TestEverySampleIsMapped shows that no type was forgotten, here or among the golden files.
func TestEverySampleIsMapped(t *testing.T) {
	t.Parallel()
	rules := rulesOf(t)
	covered := goldenTypes(t)
	samples, err := fs.Glob(events.Files(), "sample/*.json")
	if err != nil || len(samples) == 0 {
		t.Fatalf("%d samples, error %v", len(samples), err)
	}
	for _, name := range samples {
		text, err := fs.ReadFile(events.Files(), name)
		if err != nil {
			t.Fatal(err)
		}
		e := decode(t, text)
		mapped, err := ocsf.Map(e)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		var record map[string]any
		if err := json.Unmarshal(mapped, &record); err != nil {
			t.Fatal(err)
		}
		for _, problem := range rules.judge(record) {
			t.Errorf("%s: %s", name, problem)
		}
		if !covered[kind(t, e)] {
			t.Errorf("%s: no golden file maps a %s", name, kind(t, e))
		}
	}
}

// kind tells the forms of a type apart.
func kind(t testing.TB, e audit.Event) string {
	t.Helper()
	var data struct {
		Kind audit.Kind `json:"kind"`
	}
	if err := json.Unmarshal(e.Data, &data); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%s of the kind %q", e.Type, data.Kind)
}

func goldenTypes(t *testing.T) map[string]bool {
	t.Helper()
	paths, err := filepath.Glob("testdata/map/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	types := map[string]bool{}
	for _, path := range paths {
		archive, err := txtar.ParseFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range archive.Files {
			if f.Name == given {
				types[kind(t, decode(t, f.Data))] = true
			}
		}
	}
	return types
}

// TestTheJudgeFindsFault shows that the rules of the schema can fail.
func TestTheJudgeFindsFault(t *testing.T) {
	t.Parallel()
	rules := rulesOf(t)
	text, err := fs.ReadFile(events.Files(), "sample/AI_CALLER_DENIED.json")
	if err != nil {
		t.Fatal(err)
	}
	mapped, err := ocsf.Map(decode(t, text))
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(map[string]any){
		"an attribute of no class":      func(r map[string]any) { r["credential"] = "x" },
		"an attribute of another class": func(r map[string]any) { r["entity"] = map[string]any{"name": "x"} },
		"no user":                       func(r map[string]any) { delete(r, "user") },
		"no service":                    func(r map[string]any) { delete(r, "service") },
		"a severity that is none":       func(r map[string]any) { r["severity_id"] = 7.0 },
		"another caption":               func(r map[string]any) { r["status"] = "Success" },
		"a text for a number":           func(r map[string]any) { r["time"] = "now" },
		"another type":                  func(r map[string]any) { r["type_uid"] = 300401.0 },
		"no version":                    func(r map[string]any) { delete(r["metadata"].(map[string]any), "version") },
		"a number for a text":           func(r map[string]any) { r["metadata"].(map[string]any)["uid"] = 1.0 },
		"another class":                 func(r map[string]any) { r["class_uid"] = 3001.0 },
		"another type of user":          func(r map[string]any) { r["user"].(map[string]any)["type_id"] = 98.0 },
		"a list of something else":      func(r map[string]any) { r["metadata"].(map[string]any)["profiles"] = []any{1.0} },
	} {
		var record map[string]any
		if err := json.Unmarshal(mapped, &record); err != nil {
			t.Fatal(err)
		}
		change(record)
		if len(rules.judge(record)) == 0 {
			t.Errorf("%s: nothing was found", name)
		}
	}
}

// rule is what the schema says of a class or an object.
type rule struct {
	Required   []string
	OneOf      []string `json:"one_of"`
	Attributes map[string]string
	Values     map[string]map[string]string
}

// rules are those of the classes and objects in use, a part of the schema's version 1.7.0.
type rules map[string]rule

func rulesOf(t *testing.T) rules {
	t.Helper()
	text, err := os.ReadFile("testdata/schema.json")
	if err != nil {
		t.Fatal(err)
	}
	var r rules
	if err := json.Unmarshal(text, &r, json.MatchCaseInsensitiveNames(true)); err != nil {
		t.Fatal(err)
	}
	return r
}

// judge returns where an event departs from the schema.
func (r rules) judge(record map[string]any) []string {
	class, known := r[fmt.Sprint(record["class_uid"])]
	if !known {
		return []string{fmt.Sprintf("class_uid is %v", record["class_uid"])}
	}
	base := r["base"]
	whole := rule{
		Required: slices.Concat(base.Required, class.Required), OneOf: class.OneOf,
		Attributes: maps.Clone(base.Attributes), Values: maps.Clone(base.Values),
	}
	maps.Copy(whole.Attributes, class.Attributes)
	maps.Copy(whole.Values, class.Values)
	problems := r.object("", whole, record)
	number := func(name string) int { f, _ := record[name].(float64); return int(f) }
	if number("type_uid") != number("class_uid")*100+number("activity_id") {
		problems = append(problems, fmt.Sprintf("type_uid is %v", record["type_uid"]))
	}
	if metadata, _ := record["metadata"].(map[string]any); metadata["version"] != ocsf.Version {
		problems = append(problems, fmt.Sprintf("metadata.version is %v", metadata["version"]))
	}
	return problems
}

func (r rules) object(at string, rule rule, object map[string]any) []string {
	var problems []string
	for _, name := range rule.Required {
		if _, there := object[name]; !there {
			problems = append(problems, at+name+" is missing")
		}
	}
	if rule.OneOf != nil && !slices.ContainsFunc(rule.OneOf, func(name string) bool { return object[name] != nil }) {
		problems = append(problems, at+"one of "+strings.Join(rule.OneOf, ", ")+" is missing")
	}
	for name, value := range object {
		problems = append(problems, r.attribute(at+name, rule.Attributes[name], value)...)
		values := rule.Values[name]
		if values == nil {
			continue
		}
		caption, known := values[fmt.Sprint(value)]
		sibling := strings.TrimSuffix(name, "_id")
		if name == "activity_id" {
			sibling = "activity_name"
		}
		if own := object[sibling]; !known || caption != "" && caption != "Other" && own != nil && own != caption {
			problems = append(problems, fmt.Sprintf("%s is %v with the caption %v", at+name, value, own))
		}
	}
	return problems
}

func (r rules) attribute(at, want string, value any) []string {
	ok := false
	switch want {
	case "any":
		ok = true
	case "string":
		_, ok = value.(string)
	case "boolean":
		_, ok = value.(bool)
	case "integer":
		var f float64
		f, ok = value.(float64)
		ok = ok && f == float64(int64(f))
	case "strings":
		var list []any
		list, ok = value.([]any)
		ok = ok && !slices.ContainsFunc(list, func(v any) bool { _, text := v.(string); return !text })
	case "":
		return []string{at + " is no attribute"}
	default:
		object, isObject := value.(map[string]any)
		if isObject {
			return r.object(at+".", r[want], object)
		}
	}
	if !ok {
		return []string{fmt.Sprintf("%s is %v and not %s", at, value, want)}
	}
	return nil
}

func TestWhatIsNotMapped(t *testing.T) {
	t.Parallel()
	text, err := fs.ReadFile(events.Files(), "sample/AI_PROVIDER_TOKEN_REVOKED.json")
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		change func(*audit.Event)
		want   string
	}{
		"another type": {func(e *audit.Event) { e.Type = "AI_SOMETHING" }, "there is no mapping for it"},
		"another version": {func(e *audit.Event) {
			e.Data = bytes.Replace(e.Data, []byte(`"event_version": 1`), []byte(`"event_version": 2`), 1)
		}, "event_version 2"},
		"another form": {func(e *audit.Event) { e.Data = jsontext.Value(`{"event_version":1,"credential":7}`) }, "data:"},
		"not an event": {func(e *audit.Event) { e.ID = "" }, "id is missing"},
	} {
		e := decode(t, text)
		test.change(&e)
		if got, err := ocsf.Map(e); err == nil || got != nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %s, error %v", name, got, err)
		}
	}
}

// FuzzMap: whatever stands in an event, it is mapped to the same each time, and keeps its data.
func FuzzMap(f *testing.F) {
	names, err := fs.Glob(events.Files(), "sample/*.json")
	if err != nil {
		f.Fatal(err)
	}
	var samples []audit.Event
	for _, name := range names {
		text, err := fs.ReadFile(events.Files(), name)
		if err != nil {
			f.Fatal(err)
		}
		samples = append(samples, decode(f, text))
		f.Add(len(samples)-1, 0, "")
	}
	f.Add(1, 20, `null`)
	f.Fuzz(func(t *testing.T, sample, offset int, patch string) {
		if sample < 0 || sample >= len(samples) {
			return
		}
		e := samples[sample]
		e.Data = bytes.Clone(e.Data)
		if offset >= 0 && offset < len(e.Data) {
			copy(e.Data[offset:], patch)
		}
		first, err := ocsf.Map(e)
		if err != nil {
			return
		}
		second, err := ocsf.Map(e)
		var record struct {
			Unmapped jsontext.Value `json:"unmapped"`
		}
		if err != nil || !bytes.Equal(first, second) || json.Unmarshal(first, &record) != nil {
			t.Fatalf("got %s and then %s, error %v", first, second, err)
		}
		want := jsontext.Value(bytes.Clone(e.Data))
		if want.Compact() != nil || !bytes.Equal(want, record.Unmapped) {
			t.Errorf("%s became %s", want, record.Unmapped)
		}
	})
}
