package vertex_test

import (
	"errors"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"golang.org/x/tools/txtar"

	"github.com/postern-ai/postern/shared/chat"
)

// seed feeds a fuzz test what the golden files were made from.
func seed(f *testing.F, folder, name string) {
	f.Helper()
	paths, err := filepath.Glob(filepath.Join("testdata", folder, "*.txtar"))
	if err != nil || len(paths) == 0 {
		f.Fatalf("no golden files in %s: %v", folder, err)
	}
	for _, path := range paths {
		file, err := txtar.ParseFile(path)
		if err != nil {
			f.Fatal(err)
		}
		for _, member := range file.Files {
			if member.Name == name {
				f.Add(string(member.Data))
			}
		}
	}
}

// FuzzEncode holds that every request that decodes is refused as the caller's
// fault, or becomes one that Google's own description allows.
func FuzzEncode(f *testing.F) {
	seed(f, "request", "given-request.json")
	d := dialect(f)
	description := google(f)
	f.Fuzz(func(t *testing.T, body string) {
		req, err := chat.Decode([]byte(body), chat.Limits{})
		if err != nil {
			return
		}
		call, err := d.Encode(req)
		if err != nil {
			if e, ok := errors.AsType[*chat.Error](err); !ok || e.Status != 400 && e.Code != chat.CodeModelNotFound || e.Message == "" {
				t.Fatalf("got error %v", err)
			}
			return
		}
		if !jsontext.Value(call.Body).IsValid() {
			t.Fatalf("not JSON: %s", call.Body)
		}
		if !strings.HasPrefix(call.URL, "https://aiplatform.googleapis.com/v1/projects/local-project/locations/global/") {
			t.Fatalf("sent to %s", call.URL)
		}
		fits(t, description, call)
	})
}

// FuzzDecode holds that a whole answer is an orderly one or an error.
func FuzzDecode(f *testing.F) {
	seed(f, "answer", "given-answer.json")
	d := dialect(f)
	f.Fuzz(func(t *testing.T, body string) {
		resp, err := d.Decode(&chat.Request{}, []byte(body))
		if err != nil {
			return
		}
		if len(resp.Choices) == 0 {
			t.Fatal("no choices")
		}
		for _, c := range resp.Choices {
			if !chat.IsFinishReason(c.FinishReason) || c.Message.Content == nil && len(c.Message.ToolCalls) == 0 {
				t.Fatalf("choice %+v", c)
			}
			for _, call := range c.Message.ToolCalls {
				if call.ID == "" || jsontext.Value(call.Function.Arguments).Kind() != '{' {
					t.Fatalf("call %+v", call)
				}
			}
		}
		if _, err := json.Marshal(resp); err != nil {
			t.Fatal(err)
		}
	})
}

// FuzzEvents holds that a stream is orderly: a role first, calls that begin
// with an id and are numbered, one finish reason at the end of each choice, and
// usage last.
func FuzzEvents(f *testing.F) {
	seed(f, "stream", "given-events")
	d := dialect(f)
	f.Fuzz(func(t *testing.T, events string) {
		chunks, err := readStream(d, events)
		begun, calls, finished := map[int64]bool{}, map[int64]int64{}, map[int64]bool{}
		for i, chunk := range chunks {
			if _, err := json.Marshal(chunk); err != nil {
				t.Fatal(err)
			}
			if chunk.Usage != nil {
				if i != len(chunks)-1 || len(chunk.Choices) != 0 {
					t.Fatalf("usage in chunk %d of %d", i, len(chunks))
				}
				continue
			}
			c := chunk.Choices[0]
			if begun[c.Index] == (c.Delta.Role != "") || finished[c.Index] {
				t.Fatalf("chunk %d: %+v", i, c)
			}
			begun[c.Index] = true
			for _, call := range c.Delta.ToolCalls {
				if call.ID != "" {
					calls[c.Index]++
				}
				if *call.Index != calls[c.Index]-1 {
					t.Fatalf("chunk %d: call %d of %d", i, *call.Index, calls[c.Index])
				}
			}
			if c.FinishReason != nil {
				finished[c.Index] = chat.IsFinishReason(*c.FinishReason)
			}
		}
		if err == nil && (len(begun) == 0 || len(begun) != len(finished)) {
			t.Fatalf("%d choices, %d of them finished", len(begun), len(finished))
		}
		if errors.Is(err, io.EOF) {
			t.Fatal("the end came out as an error")
		}
	})
}

// FuzzFault holds that no error body makes the caller guilty of what the
// gateway did, or repeats a page.
func FuzzFault(f *testing.F) {
	seed(f, "fault", "given-body")
	d := dialect(f)
	f.Fuzz(func(t *testing.T, body string) {
		for _, status := range []int{400, 401, 403, 404, 429, 499, 500, 503} {
			e := d.Fault(status, http.Header{}, []byte(body))
			if e.Status < 400 || e.Type == "" || e.Message == "" || e.RetryAfter < 0 {
				t.Fatalf("%d: %+v", status, e)
			}
			if (status == 401 || status == 403) && e.Status != 502 {
				t.Fatalf("%d: %+v", status, e)
			}
			if !jsontext.Value(e.Body()).IsValid() {
				t.Fatalf("%d: %s", status, e.Body())
			}
		}
	})
}
