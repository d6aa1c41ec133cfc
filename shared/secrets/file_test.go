package secrets_test

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/postern-ai/postern/shared/secrets"
)

// mount lays out a secret as Kubernetes does: each generation in a directory of its own, a link to the one that counts, and a link per key.
type mount struct {
	t   *testing.T
	dir string
}

func newMount(t *testing.T) mount {
	t.Helper()
	return mount{t: t, dir: t.TempDir()}
}

func (m mount) publish(generation, text string) {
	m.t.Helper()
	old, _ := os.Readlink(filepath.Join(m.dir, "..data"))
	dir := filepath.Join(m.dir, generation)
	for _, err := range []error{
		os.Mkdir(dir, 0o700),
		os.WriteFile(filepath.Join(dir, "api-key"), []byte(text), 0o600),
		os.Symlink(generation, filepath.Join(m.dir, "..data_tmp")),
		os.Rename(filepath.Join(m.dir, "..data_tmp"), filepath.Join(m.dir, "..data")),
	} {
		if err != nil {
			m.t.Fatal(err)
		}
	}
	if old == "" {
		if err := os.Symlink(filepath.Join("..data", "api-key"), filepath.Join(m.dir, "api-key")); err != nil {
			m.t.Fatal(err)
		}
	} else if err := os.RemoveAll(filepath.Join(m.dir, old)); err != nil {
		m.t.Fatal(err)
	}
}

func (m mount) ref(rest string) secrets.Ref {
	m.t.Helper()
	ref, err := secrets.ParseRef("file://" + m.dir + rest)
	if err != nil {
		m.t.Fatal(err)
	}
	return ref
}

func TestAMountedDirectoryIsReadByKey(t *testing.T) {
	t.Parallel()
	m := newMount(t)
	m.publish("..2026_11_21_10_00_00.1", canary+"\n")
	if err := os.WriteFile(filepath.Join(m.dir, "..2026_11_21_10_00_00.1", "huge"), []byte(strings.Repeat("x", 64<<10+1)), 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct{ name, rest, want, wantError string }{
		{name: "a key", rest: "#api-key", want: canary},
		{name: "a key behind a slash", rest: "/#api-key", want: canary},
		{name: "the file itself", rest: "/api-key", want: canary},
		{name: "no key", rest: "", wantError: "it is a directory; add the name of one file in it as #name"},
		{name: "a missing key", rest: "#other", wantError: "no such file"},
		{name: "a path as a key", rest: "#a/b", wantError: "not the name of a file in this directory"},
		{name: "the mechanism as a key", rest: "#..data", wantError: "not the name of a file in this directory"},
		{name: "the directory as a key", rest: "#.", wantError: "not the name of a file in this directory"},
		{name: "a key that is too large", rest: "#huge", wantError: "larger than"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			checkRead(t, secrets.Files{}, m.ref(test.rest).String(), test.want, test.wantError)
		})
	}
}

func TestAMountedDirectoryHasVersions(t *testing.T) {
	t.Parallel()
	m := newMount(t)
	for _, generation := range []string{"..2026_1", "..2026_2"} {
		m.publish(generation, "value of "+generation)
		got, err := secrets.Files{}.Current(t.Context(), m.ref("#api-key"))
		if err != nil || got.Version != generation || got.Value.Reveal() != "value of "+generation {
			t.Errorf("got version %q and error %v", got.Version, err)
		}
	}
	if _, err := (secrets.Files{}).Previous(t.Context(), m.ref("#api-key")); !errors.Is(err, secrets.ErrNotFound) {
		t.Errorf("got %v", err)
	}
}

func TestAReadDuringAnExchangeFindsOneOfTheTwo(t *testing.T) {
	t.Parallel()
	m := newMount(t)
	m.publish("..g0", "value of ..g0")
	var readers sync.WaitGroup
	done := make(chan struct{})
	for range 2 {
		readers.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				got, err := secrets.Files{}.Current(t.Context(), m.ref("#api-key"))
				// Two exchanges within one read are more than Kubernetes makes in a minute.
				if err != nil && !errors.Is(err, secrets.ErrNotFound) {
					t.Error(err)
				}
				if err == nil && got.Value.Reveal() != "value of "+got.Version {
					t.Errorf("version %s comes with %q", got.Version, got.Value.Reveal())
				}
			}
		})
	}
	for i := range 100 {
		m.publish("..g"+strconv.Itoa(i+1), "value of ..g"+strconv.Itoa(i+1))
	}
	close(done)
	readers.Wait()
}

func TestStoresAreSources(t *testing.T) {
	t.Parallel()
	m := newMount(t)
	m.publish("..1", canary)
	inner := &fakeStore{versions: []string{"1", "2"}}
	stores := secrets.Stores{
		secrets.StoreEnv: environment(map[string]string{"A": canary}), secrets.StoreFile: secrets.Files{},
		secrets.StoreAWS: inner, secrets.StoreGCP: secrets.NewCache(inner, secrets.CacheOptions{}),
	}
	tests := []struct {
		ref, version, value string
		previous            bool
	}{
		{"env://A", "", canary, false},
		{"file://" + m.dir + "#api-key", "..1", canary, false},
		{"aws-sm://openai", "2", "value of 2", true},
		{"gcp-sm://openai", "", "value of 2", false},
	}
	for _, test := range tests {
		ref, err := secrets.ParseRef(test.ref)
		if err != nil {
			t.Fatal(err)
		}
		got, err := stores.Current(t.Context(), ref)
		if err != nil || got.Version != test.version || got.Value.Reveal() != test.value {
			t.Errorf("%s: got version %q and error %v", ref, got.Version, err)
		}
		if _, err := stores.Previous(t.Context(), ref); test.previous != (err == nil) || !test.previous && !errors.Is(err, secrets.ErrNotFound) {
			t.Errorf("%s: previous gives %v", ref, err)
		}
	}
	if _, err := stores.Current(t.Context(), secrets.Ref{Store: secrets.StoreKeyVault, Name: "x"}); err == nil || !strings.Contains(err.Error(), "has no azure-kv:// store") {
		t.Errorf("got %v", err)
	}
}

func TestAReferenceIsForOneStore(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, ref, store, want, wantError string }{
		{name: "a plain name", ref: "openai", store: secrets.StoreAWS, want: "aws-sm://openai"},
		{name: "a plain resource name", ref: "projects/p/secrets/s/versions/3", store: secrets.StoreGCP, want: "gcp-sm://projects/p/secrets/s?version=3"},
		{name: "its own store", ref: "azure-kv://v-1/n", store: secrets.StoreKeyVault, want: "azure-kv://v-1/n"},
		{name: "another store", ref: "aws-sm://n", store: secrets.StoreKeyVault, wantError: "this reader is for azure-kv://"},
		{name: "a plain name that cannot be one there", ref: "arn:aws:secretsmanager:eu-west-1:123456789012:secret:n", store: secrets.StoreGCP, wantError: "Google Secret Manager has a name"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			ref, err := secrets.ParseRef(test.ref)
			if err != nil {
				t.Fatal(err)
			}
			got, err := ref.In(test.store)
			if test.wantError == "" {
				if err != nil || got.String() != test.want {
					t.Errorf("got %s and error %v", got, err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), test.wantError) {
				t.Errorf("got %v", err)
			}
		})
	}
}
