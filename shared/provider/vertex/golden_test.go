package vertex_test

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"

	"github.com/postern-ai/postern/localdev/contract"
	"github.com/postern-ai/postern/shared/chat"
	"github.com/postern-ai/postern/shared/provider"
	"github.com/postern-ai/postern/shared/provider/vertex"
)

var update = flag.Bool("update", false, "write what the golden files should hold")

// dialect returns the pure part of the provider.
func dialect(t testing.TB) provider.Dialect {
	t.Helper()
	model, err := vertex.New(entry(""), nil)
	if err != nil {
		t.Fatal(err)
	}
	return model.(*provider.Client).Dialect
}

// golden runs a function on every archive of a folder. It returns the files
// that the archive should hold besides those that it is made from.
func golden(t *testing.T, folder string, run func(*testing.T, archive) archive) {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join("testdata", folder, "*.txtar"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("no golden files in %s: %v", folder, err)
	}
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) {
			t.Parallel()
			checkGolden(t, path, run)
		})
	}
}

// archive holds the files of a txtar archive by name.
type archive map[string]string

func checkGolden(t *testing.T, path string, run func(*testing.T, archive) archive) {
	file, err := txtar.ParseFile(path)
	if err != nil {
		t.Fatal(err)
	}
	files := archive{}
	for _, f := range file.Files {
		files[f.Name] = string(f.Data)
	}
	got := run(t, files)
	if *update {
		kept := file.Files[:0]
		for _, f := range file.Files {
			if strings.HasPrefix(f.Name, "given-") {
				kept = append(kept, f)
			}
		}
		for _, name := range []string{"url", "upstream.json", "response.json", "chunks", "error.json"} {
			if text, ok := got[name]; ok {
				kept = append(kept, txtar.File{Name: name, Data: []byte(text)})
			}
		}
		file.Files = kept
		writeFile(t, path, txtar.Format(file))
		return
	}
	want := archive{}
	for name, text := range files {
		if !strings.HasPrefix(name, "given-") {
			want[name] = text
		}
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

// tidy writes JSON so that it can be read and compared.
func tidy(t *testing.T, v []byte) string {
	t.Helper()
	value := jsontext.Value(bytes.Clone(v))
	if err := value.Format(jsontext.WithIndent("  "), jsontext.CanonicalizeRawInts(false), jsontext.CanonicalizeRawFloats(false)); err != nil {
		t.Fatalf("%v in %s", err, v)
	}
	return string(value) + "\n"
}

func encode(t *testing.T, v any) []byte {
	t.Helper()
	out, err := json.Marshal(v, json.Deterministic(true))
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// errorFile describes an error as the caller sees it, with its status.
func errorFile(t *testing.T, err error) string {
	t.Helper()
	e, ok := errors.AsType[*chat.Error](err)
	if !ok {
		return err.Error() + "\n"
	}
	text := fmt.Sprintf("%d\n%s", e.Status, tidy(t, e.Body()))
	if e.RetryAfter > 0 {
		text += fmt.Sprintf("retry after %v\n", e.RetryAfter)
	}
	if cause, ok := errors.AsType[*provider.StatusError](err); ok {
		text += fmt.Sprintf("log: %v\n", cause)
	}
	return text
}

func decode(t *testing.T, body string) *chat.Request {
	t.Helper()
	req, err := chat.Decode([]byte(body), chat.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	return req
}

func TestRequestsAreTranslated(t *testing.T) {
	t.Parallel()
	d := dialect(t)
	description := google(t)
	golden(t, "request", func(t *testing.T, given archive) archive {
		req := decode(t, given["given-request.json"])
		before := string(encode(t, req))
		call, err := d.Encode(req)
		if err != nil {
			return archive{"error.json": errorFile(t, err)}
		}
		if d := cmp.Diff(before, string(encode(t, req))); d != "" {
			t.Errorf("the request was changed: %s", d)
		}
		fits(t, description, call)
		return archive{"url": call.URL + "\n", "upstream.json": tidy(t, call.Body)}
	})
}

// google returns Google's own description of the API, or nil where it is not.
func google(t testing.TB) *contract.Description {
	t.Helper()
	dir, ok := contract.Dir()
	if !ok {
		t.Log("the vendors' descriptions are not there: requests are not checked against them")
		return nil
	}
	description, err := contract.Google(dir, "aiplatform-v1")
	if err != nil {
		t.Fatal(err)
	}
	return description
}

// fits holds a call against Google's description.
func fits(t testing.TB, description *contract.Description, call *provider.Call) {
	t.Helper()
	if description == nil {
		return
	}
	r, err := http.NewRequest(http.MethodPost, call.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	_, problems := description.Request(contract.Request{
		Method: r.Method, Path: r.URL.EscapedPath(), Query: r.URL.Query(),
		Header: http.Header{"Content-Type": {"application/json"}}, Body: call.Body,
	})
	for _, p := range problems {
		t.Error(p)
	}
}

// openAI opens an exchange of OpenAI's own description, or one that finds
// nothing wrong where there is none.
func openAI(t *testing.T, request string) *contract.Exchange {
	t.Helper()
	dir, ok := contract.Dir()
	if !ok {
		t.Log("the vendors' descriptions are not there: answers are not checked against them")
		return &contract.Exchange{}
	}
	description, err := contract.OpenAI(dir)
	if err != nil {
		t.Fatal(err)
	}
	exchange, problems := description.Request(contract.Request{
		Method: http.MethodPost, Path: "/v1/chat/completions",
		Header: http.Header{"Content-Type": {"application/json"}}, Body: []byte(request),
	})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	return exchange
}

// known reports problems other than members that go beyond OpenAI's
// description, as extra_content and reasoning_content do.
func known(t *testing.T, problems []contract.Problem) {
	t.Helper()
	for _, p := range problems {
		if !p.Unknown {
			t.Error(p)
		}
	}
}

func TestAnswersAreTranslated(t *testing.T) {
	t.Parallel()
	d := dialect(t)
	exchange := openAI(t, `{"model":"m","messages":[{"role":"user","content":"a"}]}`)
	golden(t, "answer", func(t *testing.T, given archive) archive {
		resp, err := d.Decode(&chat.Request{Model: "gemini-3-pro-preview"}, []byte(given["given-answer.json"]))
		if err != nil {
			return archive{"error.json": errorFile(t, err)}
		}
		resp.Object = chat.ObjectCompletion
		body := encode(t, resp)
		reply := contract.Response{Status: http.StatusOK, Header: http.Header{"Content-Type": {"application/json"}}, Body: body}
		known(t, exchange.Response(reply))
		return archive{"response.json": tidy(t, body)}
	})
}

func TestStreamsAreTranslated(t *testing.T) {
	t.Parallel()
	d := dialect(t)
	exchange := openAI(t, `{"model":"m","stream":true,"messages":[{"role":"user","content":"a"}]}`)
	golden(t, "stream", func(t *testing.T, given archive) archive {
		// The service ends lines with CR and LF, which a golden file cannot keep.
		events := strings.ReplaceAll(given["given-events"], "\n", "\r\n")
		chunks, err := readStream(d, events)
		got := archive{"chunks": ""}
		for _, chunk := range chunks {
			chunk.Object = chat.ObjectChunk
			body := encode(t, chunk)
			known(t, exchange.Event(contract.Event{Data: body}))
			got["chunks"] += string(body) + "\n"
		}
		if err != nil {
			got["error.json"] = errorFile(t, err)
		}
		return got
	})
}

func TestFaultsAreTranslated(t *testing.T) {
	t.Parallel()
	d := dialect(t)
	golden(t, "fault", func(t *testing.T, given archive) archive {
		var status int
		if _, err := fmt.Sscan(given["given-status"], &status); err != nil {
			t.Fatal(err)
		}
		return archive{"error.json": errorFile(t, d.Fault(status, http.Header{}, []byte(given["given-body"])))}
	})
}

// readStream returns the chunks of a stream and how it ended.
func readStream(d provider.Dialect, events string) (chunks []*chat.Chunk, err error) {
	reader, decoder := newReader(events), d.Decoder(&chat.Request{})
	for {
		event, err := reader.Next()
		if err == io.EOF {
			rest, err := decoder.End()
			return append(chunks, rest...), err
		}
		if err != nil {
			return chunks, err
		}
		more, err := decoder.Event(event)
		chunks = append(chunks, more...)
		if err != nil {
			return chunks, err
		}
	}
}
