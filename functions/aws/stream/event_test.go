package stream

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-lambda-go/lambda/messages"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// TestEvents holds every sample event against the request that it must become or the error that it must end in. The
// name of a file is the rule that it shows.
func TestEvents(t *testing.T) {
	t.Parallel()
	for kind, outcome := range map[string]func([]byte) string{"requests": describeRequest, "refused": describeRefusal} {
		files, err := filepath.Glob(filepath.Join("testdata", kind, "*.txtar"))
		if err != nil || len(files) == 0 {
			t.Fatalf("no golden files for %s: %v", kind, err)
		}
		for _, file := range files {
			t.Run(kind+"/"+strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
				t.Parallel()
				golden(t, file, outcome)
			})
		}
	}
}

func golden(t *testing.T, file string, outcome func([]byte) string) {
	t.Helper()
	archive, err := txtar.ParseFile(file)
	if err != nil || len(archive.Files) != 2 {
		t.Fatalf("%s: want an event and its outcome: %v", file, err)
	}
	got := outcome(archive.Files[0].Data)
	if *update {
		archive.Files[1].Data = []byte(got)
		if err := os.WriteFile(file, txtar.Format(archive), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(string(archive.Files[1].Data), got); diff != "" {
		t.Errorf("outcome (-want +got):\n%s", diff)
	}
}

func requestOf(event []byte) (*http.Request, error) {
	e, err := decode(event)
	if err != nil {
		return nil, err
	}
	return e.request(context.Background())
}

func describeRequest(event []byte) string {
	r, err := requestOf(event)
	if err != nil {
		return "error: " + err.Error() + "\n"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s %s\n", r.Method, r.RequestURI, r.Proto)
	fmt.Fprintf(&b, "host %s, remote %s, path %q, query %q\n", r.Host, r.RemoteAddr, r.URL.Path, r.URL.RawQuery)
	if c, ok := IAMCaller(r.Context()); ok {
		fmt.Fprintf(&b, "caller %+v\n", c)
	}
	if text, ok := ClientCertificate(r.Context()); ok {
		fmt.Fprintf(&b, "certificate %q\n", text)
	}
	if Balanced(r.Context()) {
		fmt.Fprintln(&b, "through a load balancer")
	}
	for _, name := range slices.Sorted(func(yield func(string) bool) {
		for name := range r.Header {
			if !yield(name) {
				return
			}
		}
	}) {
		fmt.Fprintf(&b, "%s: %q\n", name, r.Header[name])
	}
	body, err := io.ReadAll(r.Body)
	fmt.Fprintf(&b, "body of %d: %q, %v\n", r.ContentLength, body, err)
	return b.String()
}

func describeRefusal(event []byte) string {
	r, err := requestOf(event)
	if err == nil {
		return fmt.Sprintf("accepted: %s %s\n", r.Method, r.RequestURI)
	}
	refusal, ok := errors.AsType[messages.InvokeResponse_Error](err)
	if !ok {
		return fmt.Sprintf("untyped error: %v\n", err)
	}
	return refusal.Type + ": " + refusal.Message + "\n"
}

func FuzzEvent(f *testing.F) {
	files, _ := filepath.Glob("testdata/*/*.txtar")
	for _, file := range files {
		archive, err := txtar.ParseFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(archive.Files[0].Data)
	}
	f.Fuzz(func(t *testing.T, event []byte) {
		r, err := requestOf(event)
		if err != nil {
			if _, ok := errors.AsType[messages.InvokeResponse_Error](err); !ok {
				t.Fatalf("the error %v has no type for Lambda", err)
			}
			return
		}
		if _, verified := IAMCaller(r.Context()); verified && !bytes.Contains(event, []byte(`"authorizer"`)) && !bytes.ContainsRune(event, '\\') {
			t.Fatal("a caller was verified without an authorizer")
		}
		// What a handler sees is what the same bytes would have become on a server's wire.
		u, err := url.ParseRequestURI(r.RequestURI)
		if err != nil {
			t.Fatalf("request URI %q does not parse: %v", r.RequestURI, err)
		}
		if u.Path != r.URL.Path || u.EscapedPath() != r.URL.EscapedPath() {
			t.Fatalf("path %q (%q) reads back as %q (%q)", r.URL.Path, r.URL.EscapedPath(), u.Path, u.EscapedPath())
		}
		body, err := io.ReadAll(r.Body)
		if err != nil || int64(len(body)) != r.ContentLength {
			t.Fatalf("body has %d bytes, ContentLength is %d, error %v", len(body), r.ContentLength, err)
		}
		for name := range r.Header {
			if connectionHeader(name) {
				t.Fatalf("connection header %q came through", name)
			}
		}
	})
}
