package secrets_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/postern-ai/postern/shared/secrets"
)

func environment(values map[string]string) secrets.Reader {
	return secrets.Environment{Lookup: func(name string) (string, bool) { v, ok := values[name]; return v, ok }}
}

func TestSecretsAreReadFromTheEnvironment(t *testing.T) {
	t.Parallel()
	reader := environment(map[string]string{
		"PLAIN": canary, "EMPTY": "", "JSON": `{"key":"` + canary + `","n":1,"empty":"","unknown":{"deep":[1]}}`,
		"TWICE": `{"key":"` + canary + `","key":"b"}`, "BROKEN": `{"key":"` + canary, "LIST": `["` + canary + `"]`, "TWO": `{"key":"a"} {"key":"` + canary + `"}`,
		"HUGE": strings.Repeat("x", 64<<10+1),
	})
	tests := []struct{ name, ref, want, wantError string }{
		{name: "a whole value", ref: "env://PLAIN", want: canary},
		{name: "a field", ref: "env://JSON#key", want: canary},
		{name: "a missing variable", ref: "env://MISSING", wantError: "not set"},
		{name: "an empty variable", ref: "env://EMPTY", wantError: "not set"},
		{name: "a missing field", ref: "env://JSON#other", wantError: "no such field"},
		{name: "a field that is a number", ref: "env://JSON#n", wantError: "not a JSON string"},
		{name: "an empty field", ref: "env://JSON#empty", wantError: "the field is empty"},
		{name: "a field of plain text", ref: "env://PLAIN#key", wantError: "not one JSON object"},
		{name: "a field of broken JSON", ref: "env://BROKEN#key", wantError: "not one JSON object"},
		{name: "a field of a list", ref: "env://LIST#key", wantError: "not one JSON object"},
		{name: "a field that is there twice", ref: "env://TWICE#key", wantError: "not one JSON object"},
		{name: "a second document behind the first", ref: "env://TWO#key", wantError: "not one JSON object"},
		{name: "too large", ref: "env://HUGE", wantError: "larger than"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			checkRead(t, reader, test.ref, test.want, test.wantError)
		})
	}
}

func checkRead(t *testing.T, reader secrets.Reader, text, want, wantError string) {
	t.Helper()
	ref, err := secrets.ParseRef(text)
	if err != nil {
		t.Fatal(err)
	}
	got, err := reader.Read(t.Context(), ref)
	if wantError == "" {
		if err != nil || got.Reveal() != want {
			t.Errorf("got %q and error %v", got.Reveal(), err)
		}
		return
	}
	var readError *secrets.Error
	if !errors.As(err, &readError) || !strings.Contains(err.Error(), wantError) || !strings.Contains(err.Error(), ref.String()) {
		t.Fatalf("got error %v, want one that names %s and says %q", err, ref, wantError)
	}
	for cause := err; cause != nil; cause = errors.Unwrap(cause) {
		if strings.Contains(cause.Error(), canary) {
			t.Errorf("the error quotes the secret: %v", cause)
		}
	}
}

func TestSecretsAreReadFromFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name, content string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("plain", canary)
	write("line", canary+"\n")
	write("windows", canary+"\r\n")
	write("two", canary+"\n\n")
	write("json", `{"key":"`+canary+`"}`+"\n")
	write("empty", "\n")
	write("huge", strings.Repeat("x", 64<<10+2))
	if err := syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("plain", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	tests := []struct{ name, file, want, wantError string }{
		{name: "a file without a line break", file: "plain", want: canary},
		{name: "a file that ends in a line break", file: "line", want: canary},
		{name: "a file that ends in a Windows line break", file: "windows", want: canary},
		{name: "only one line break is taken off", file: "two", want: canary + "\n"},
		{name: "a field of a JSON file", file: "json#key", want: canary},
		{name: "a link, as mounted secrets are", file: "link", want: canary},
		{name: "a missing file", file: "missing", wantError: "no such file"},
		{name: "an empty file", file: "empty", wantError: "it is empty"},
		{name: "a file that is too large", file: "huge", wantError: "larger than"},
		{name: "a directory", file: "", wantError: "it is a directory; add the name of one file in it as #name"},
		{name: "a pipe, which would wait for a writer", file: "pipe", wantError: "not a regular file"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			checkRead(t, secrets.Files{}, strings.TrimSuffix("file://"+dir+"/"+test.file, "/"), test.want, test.wantError)
		})
	}
}

func TestAMissingStoreIsNamed(t *testing.T) {
	t.Parallel()
	stores := secrets.Stores{secrets.StoreEnv: environment(map[string]string{"A": "value"}), secrets.StoreFile: secrets.Files{}}
	checkRead(t, stores, "env://A", "value", "")
	checkRead(t, stores, "aws-sm://a", "", "has no aws-sm:// store; use one of: env://, file://")
	checkRead(t, stores, "{vault://gcp/a}", "", "has no gcp-sm:// store")
	checkRead(t, stores, "a", "", "this cloud's own secret store, which this function does not have")
	checkRead(t, secrets.Stores{}, "env://A", "", "use one of: none")
}

func FuzzSelect(f *testing.F) {
	f.Add(`{"a":"b"}`, "a")
	f.Add(`{"a":{"b":[1,null]},"c":"\ud83d\ude00"}`, "c")
	f.Add(`{"a":"b","a":"c"}`, "a")
	f.Add(`plain`, "")
	f.Fuzz(func(t *testing.T, text, field string) {
		got, err := secrets.Ref{Name: "n", Field: field}.Select(text)
		if err != nil {
			var told *secrets.Error
			if !errors.As(err, &told) || !errors.Is(err, secrets.ErrUnusable) && !errors.Is(err, secrets.ErrNotFound) {
				t.Errorf("got %v", err)
			}
			return
		}
		var want string
		if field == "" {
			want = text
		} else {
			var fields map[string]any
			if err := json.Unmarshal([]byte(text), &fields); err != nil {
				t.Fatalf("accepted what is not JSON: %v", err)
			}
			want, _ = fields[field].(string)
		}
		if got.Reveal() != want || want == "" {
			t.Errorf("got %q, want %q", got.Reveal(), want)
		}
	})
}

func BenchmarkReveal(b *testing.B) {
	value := secrets.NewValue(canary)
	for b.Loop() {
		_ = value.Reveal()
	}
}
