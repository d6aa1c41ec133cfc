// Package golden runs tests that are files: a txtar archive per case, whose
// name is the sentence that the case proves, and whose files are what it starts
// from and what comes of it.
//
// It knows the wire of chat completions, since that is what most cases end in,
// and no provider.
package golden

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"

	"github.com/postern-ai/postern/localdev/contract"
	"github.com/postern-ai/postern/shared/chat"
)

var update = flag.Bool("update", false, "write what the golden files should hold")

// given marks the files that a case starts from.
const given = "given-"

// Files are those of an archive by name. A name that begins with given- is
// what a case starts from; the others are what comes of it.
type Files map[string]string

// Run runs a function on every archive of testdata/folder and compares what
// comes of it with what the archive says. With the flag -update it writes that
// into the archive instead.
func Run(t *testing.T, folder string, run func(t *testing.T, given Files) Files) {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join("testdata", folder, "*.txtar"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("no golden files in %s: %v", folder, err)
	}
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) {
			t.Parallel()
			check(t, path, run)
		})
	}
}

func check(t *testing.T, path string, run func(*testing.T, Files) Files) {
	archive, err := txtar.ParseFile(path)
	if err != nil {
		t.Fatal(err)
	}
	from, want := Files{}, Files{}
	var kept []txtar.File
	for _, f := range archive.Files {
		if strings.HasPrefix(f.Name, given) {
			from[f.Name] = string(f.Data)
			kept = append(kept, f)
			continue
		}
		want[f.Name] = string(f.Data)
	}
	got := run(t, from)
	if !*update {
		if d := cmp.Diff(want, got); d != "" {
			t.Error(d)
		}
		return
	}
	for _, name := range slices.Sorted(maps.Keys(got)) {
		kept = append(kept, txtar.File{Name: name, Data: []byte(got[name])})
	}
	archive.Files = kept
	if err := os.WriteFile(path, txtar.Format(archive), 0o644); err != nil {
		t.Fatal(err)
	}
}

// Tidy writes JSON so that it can be read, and keeps the order of its members.
func Tidy(t testing.TB, v []byte) string {
	t.Helper()
	value := jsontext.Value(bytes.Clone(v))
	if err := value.Format(jsontext.WithIndent("  "), jsontext.CanonicalizeRawInts(false), jsontext.CanonicalizeRawFloats(false)); err != nil {
		t.Fatalf("%v in %s", err, v)
	}
	return string(value) + "\n"
}

// JSON encodes a value the same way every time.
func JSON(t testing.TB, v any) []byte {
	t.Helper()
	out, err := json.Marshal(v, json.Deterministic(true))
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// Error describes an error as the caller sees it, and its private cause.
func Error(t testing.TB, err error) string {
	t.Helper()
	e, ok := errors.AsType[*chat.Error](err)
	if !ok {
		return "unreadable: " + err.Error() + "\n"
	}
	text := fmt.Sprintf("%d\n", e.Status)
	if e.RetryAfter > 0 {
		text += fmt.Sprintf("retry after %s\n", e.RetryAfter)
	}
	if e.Err != nil {
		text += fmt.Sprintf("cause: %v\n", e.Err)
	}
	return text + Tidy(t, e.Body())
}

// Request decodes a chat request that must be one.
func Request(t testing.TB, body string) *chat.Request {
	t.Helper()
	req, err := chat.Decode([]byte(body), chat.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	return req
}

// Description loads a vendor's own description of its API, or returns nil
// where there is none.
func Description(t testing.TB, load func(dir string) (*contract.Description, error)) *contract.Description {
	t.Helper()
	dir, ok := contract.Dir()
	if !ok {
		t.Log("the vendors' descriptions are not here: nothing is held against them")
		return nil
	}
	d, err := load(dir)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// Judge holds answers against OpenAI's own description of the API. Where that
// is not at hand, it finds nothing wrong.
type Judge struct {
	exchange *contract.Exchange
}

// Completions returns the judge of answers, or of streamed ones.
func Completions(t testing.TB, streamed bool) Judge {
	t.Helper()
	d := Description(t, contract.OpenAI)
	if d == nil {
		return Judge{}
	}
	x, problems := d.Request(contract.Request{
		Method: http.MethodPost, Path: "/v1/chat/completions", Header: jsonHeader(),
		Body: fmt.Appendf(nil, `{"model":"m","stream":%v,"messages":[{"role":"user","content":"a"}]}`, streamed),
	})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	return Judge{exchange: x}
}

func jsonHeader() http.Header { return http.Header{"Content-Type": {"application/json"}} }

// Answer reports where a whole answer departs from the description.
func (j Judge) Answer(t testing.TB, body []byte) {
	t.Helper()
	if j.exchange != nil {
		report(t, j.exchange.Response(contract.Response{Status: http.StatusOK, Header: jsonHeader(), Body: body}))
	}
}

// Chunk reports where a chunk departs from the description.
func (j Judge) Chunk(t testing.TB, body []byte) {
	t.Helper()
	if j.exchange != nil {
		report(t, j.exchange.Event(contract.Event{Data: body}))
	}
}

// report passes over members that go beyond OpenAI's description without
// contradicting it, as extra_content and reasoning_content do.
func report(t testing.TB, problems []contract.Problem) {
	t.Helper()
	for _, p := range problems {
		if !p.Unknown {
			t.Error(p)
		}
	}
}
