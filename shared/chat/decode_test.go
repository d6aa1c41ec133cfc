package chat

import (
	"bytes"
	stdjson "encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
)

var update = flag.Bool("update", false, "write what the code does into the golden files")

func archive(t testing.TB, name string) *txtar.Archive {
	t.Helper()
	a, err := txtar.ParseFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	if len(a.Files) == 0 {
		t.Fatalf("%s has no cases", name)
	}
	return a
}

// value returns a JSON text as it compares: what says nothing (null, an empty
// text, false) is the same as what is not there, and numbers are numbers.
func value(t testing.TB, text []byte) any {
	t.Helper()
	var v any
	if err := stdjson.Unmarshal(text, &v); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return strip(v)
}

func strip(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for name, member := range v {
			if member == nil || member == "" || member == false {
				delete(v, name)
				continue
			}
			v[name] = strip(member)
		}
	case []any:
		for i := range v {
			v[i] = strip(v[i])
		}
	}
	return v
}

func TestDecodeKeepsEverything(t *testing.T) {
	t.Parallel()
	for _, f := range archive(t, "requests.txtar").Files {
		t.Run(f.Name, func(t *testing.T) {
			t.Parallel()
			body := bytes.Clone(f.Data)
			req, err := Decode(body, Limits{})
			if err != nil {
				t.Fatal(err)
			}
			clear(body) // what was decoded must not depend on it any more
			again, err := json.Marshal(req)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(value(t, f.Data), value(t, again)); d != "" {
				t.Error(d)
			}
		})
	}
}

// TestDecodeRefuses goes through testdata/refusals.txtar, where each request is
// followed by a file "error" with what the caller is told.
func TestDecodeRefuses(t *testing.T) {
	t.Parallel()
	a := archive(t, "refusals.txtar")
	out := &txtar.Archive{Comment: a.Comment}
	for i := 0; i < len(a.Files); i++ {
		f, want := a.Files[i], ""
		if i+1 < len(a.Files) && a.Files[i+1].Name == "error" {
			i++
			want = string(a.Files[i].Data)
		}
		_, err := Decode(f.Data, Limits{})
		e, ok := errors.AsType[*Error](err)
		if !ok {
			t.Errorf("%s: got %v", f.Name, err)
			continue
		}
		got := fmt.Sprintf("%d %s param=%s code=%s\n%s\n", e.Status, e.Type, e.Param, e.Code, e.Message)
		out.Files = append(out.Files, f, txtar.File{Name: "error", Data: []byte(got)})
		if d := cmp.Diff(want, got); d != "" && !*update {
			t.Errorf("%s: %s", f.Name, d)
		}
	}
	if *update {
		if err := os.WriteFile("testdata/refusals.txtar", txtar.Format(out), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func TestDecodeLimits(t *testing.T) {
	t.Parallel()
	messages := func(n int) string {
		return `{"model":"m","messages":[` + strings.TrimSuffix(strings.Repeat(`{"role":"user","content":"a"},`, n), ",") + `]}`
	}
	nested := func(n int) string {
		return `{"model":"m","messages":[{"role":"user","content":"a"}],"x":` + strings.Repeat("[", n-1) + strings.Repeat("]", n-1) + `}`
	}
	for _, c := range []struct {
		name, body string
		limits     Limits
		param      string
		message    string // empty: accepted
	}{
		{"as many messages as are allowed", messages(2048), Limits{}, "", ""},
		{"one message more", messages(2049), Limits{}, "messages", "Invalid 'messages': there are 2049, and at most 2048 are allowed."},
		{"fewer messages if the operator says so", messages(3), Limits{Messages: 2}, "messages", "Invalid 'messages': there are 3, and at most 2 are allowed."},
		{"as deep as is allowed", nested(64), Limits{}, "", ""},
		{"one level deeper", nested(65), Limits{}, "", "The request body is nested deeper than 64 levels. Flatten it, or ask the operator to raise limits.max_depth."},
		{"deeper if the operator says so", nested(100), Limits{Depth: 100}, "", ""},
		{"very much deeper", nested(1_000_000), Limits{}, "", "The request body is nested deeper than 64 levels. Flatten it, or ask the operator to raise limits.max_depth."},
		{"brackets in a text do not nest", `{"model":"m","messages":[{"role":"user","content":"` + strings.Repeat(`[{\"`, 100) + `"}]}`, Limits{}, "", ""},
		{"text that is not UTF-8", "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"\xff\"}]}", Limits{}, "", "The request body is not valid UTF-8. Encode the JSON as UTF-8."},
		{"half of a character in escapes", `{"model":"m","messages":[{"role":"user","content":"\ud83d"}]}`, Limits{}, "", "The request body is not valid JSON: the fault is at byte 51. Send one JSON object with Content-Type application/json."},
		{"a model's name of the greatest length", `{"model":"` + strings.Repeat("m", 256) + `","messages":[{"role":"user","content":"a"}]}`, Limits{}, "", ""},
		{"a longer one", `{"model":"` + strings.Repeat("m", 257) + `","messages":[{"role":"user","content":"a"}]}`, Limits{}, "model", "Invalid 'model': the name is longer than 256 bytes."},
		{"too many tools", `{"model":"m","messages":[{"role":"user","content":"a"}],"tools":[` + strings.TrimSuffix(strings.Repeat(`{"type":"function","function":{"name":"f"}},`, 129), ",") + `]}`, Limits{}, "tools", "Invalid 'tools': there are 129, and at most 128 are allowed."},
		{"a long name in an error is cut", `{"model":"m","messages":[{"role":"user","content":"a"}],"x":{"` + strings.Repeat("ü", 100) + `":1,"` + strings.Repeat("ü", 100) + `":1}}`, Limits{}, "x." + strings.Repeat("ü", 32) + "...", "Duplicate member: 'x." + strings.Repeat("ü", 32) + "...' stands twice in the same object. Remove one of the two."},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			_, err := Decode([]byte(c.body), c.limits)
			if c.message == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			e, ok := errors.AsType[*Error](err)
			if !ok {
				t.Fatalf("got %v", err)
			}
			if d := cmp.Diff([]any{400, c.param, c.message}, []any{e.Status, e.Param, e.Message}); d != "" {
				t.Error(d)
			}
		})
	}
}

// FuzzDecode: whatever comes is either refused with a 400, or means the same
// when it is written out again.
func FuzzDecode(f *testing.F) {
	for _, name := range []string{"requests.txtar", "refusals.txtar"} {
		for _, file := range archive(f, name).Files {
			f.Add(file.Data)
		}
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		req, err := Decode(body, Limits{})
		if err != nil {
			e, ok := errors.AsType[*Error](err)
			if !ok || e.Status != 400 || e.Type != TypeInvalidRequest || e.Message == "" {
				t.Fatalf("got %#v", err)
			}
			if _, err := json.Marshal(e.Message); err != nil {
				t.Fatalf("the message cannot be sent: %v", err)
			}
			return
		}
		again, err := json.Marshal(req, json.Deterministic(true))
		if err != nil {
			t.Fatalf("decoded but not encoded: %v", err)
		}
		if d := cmp.Diff(value(t, body), value(t, again)); d != "" {
			t.Fatalf("the request changed: %s", d)
		}
		second, err := Decode(again, Limits{})
		if err != nil {
			t.Fatalf("refused what it wrote itself: %v", err)
		}
		twice, err := json.Marshal(second, json.Deterministic(true))
		if err != nil || !bytes.Equal(again, twice) {
			t.Fatalf("written a second time it is %s, %v; before %s", twice, err, again)
		}
		_ = req.Check(Carries{}, "anything")
	})
}
