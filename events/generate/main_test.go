package main

import (
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const source = "../../shared/audit"

func TestWhatIsPublishedIsWhatTheTypesSay(t *testing.T) {
	t.Parallel()
	files, err := generate(source)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range files {
		names = append(names, f.name)
		text, err := os.ReadFile(filepath.Join("..", f.name))
		if err != nil {
			t.Fatalf("%v: run go generate ./events", err)
		}
		if d := cmp.Diff(string(text), string(f.text)); d != "" {
			t.Errorf("%s is not what the types say: run go generate ./events (-file +types):\n%s", f.name, d)
		}
	}
	for _, folder := range folders {
		paths, err := filepath.Glob(filepath.Join("..", folder, "*"))
		if err != nil || len(paths) == 0 {
			t.Fatalf("%s: %d files, error %v", folder, len(paths), err)
		}
		for _, path := range paths {
			if name := folder + "/" + filepath.Base(path); !slices.Contains(names, name) {
				t.Errorf("%s is of no type: run go generate ./events", name)
			}
		}
	}
}

func TestGeneratingTwiceIsTheSame(t *testing.T) {
	t.Parallel()
	first, err := generate(source)
	if err != nil {
		t.Fatal(err)
	}
	for range 5 {
		again, err := generate(source)
		if err != nil || !reflect.DeepEqual(first, again) {
			t.Fatalf("another run wrote something else, error %v", err)
		}
	}
}

func TestWhatIsNoLongerGeneratedIsRemoved(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	dir, code := filepath.Join(root, "events"), filepath.Join(root, "shared", "audit")
	absolute, err := filepath.Abs(source)
	if err != nil {
		t.Fatal(err)
	}
	old := filepath.Join(dir, "schema", "OLD.1.json")
	for _, err := range []error{
		os.MkdirAll(filepath.Dir(code), 0o755), os.Symlink(absolute, code),
		os.MkdirAll(filepath.Dir(old), 0o755), os.WriteFile(old, []byte("{}"), 0o644),
		run(dir), run(dir),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Stat(old); !os.IsNotExist(err) {
		t.Errorf("%s is still there: %v", old, err)
	}
	if text, err := os.ReadFile(filepath.Join(dir, "asyncapi.json")); err != nil || !strings.Contains(string(text), `"asyncapi": "3.0.0"`) {
		t.Errorf("got %s, error %v", text, err)
	}
}

func TestDescriptionsAreForReadersWhoKnowNoGo(t *testing.T) {
	t.Parallel()
	members := map[string]string{"KeyID": "key_id", "Name": "name"}
	for _, test := range []struct{ name, comment, want string }{
		{"KeyID", "KeyID is what the issuer calls it.", "What the issuer calls it."},
		{"KeyID", "KeyID names the key. See [Link].", "Names the key."},
		{"KeyID", "KeyID and Name are the key's.", "Key_id and name are the key's."},
		{"Values", "Values are what [Fingerprints] makes.", "What Fingerprints makes."},
		{"Other", "", ""},
	} {
		if got := describe(test.name, test.comment, members); got != test.want {
			t.Errorf("%s: got %q and not %q", test.comment, got, test.want)
		}
	}
}

func TestATypeThatNobodyExplainsIsAnError(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if _, err := read(dir); err == nil {
		t.Error("a folder without source was read")
	}
	if err := os.WriteFile(filepath.Join(dir, "a.go"), []byte("package a\n\n// Document is one.\ntype Document struct {\n\tHash string\n}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	c, err := read(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.schema(types[0]); err == nil || !strings.Contains(err.Error(), "TokenRotated has no comment") {
		t.Errorf("got %v", err)
	}
}
