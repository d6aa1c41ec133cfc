package main

import (
	"bytes"
	"debug/buildinfo"
	"debug/elf"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/postern-ai/postern/shared/release"
)

// checkStamp has a program say what it is. Without the variables of its platform
// it does not start, and says so.
func checkStamp(t *testing.T, program string) {
	t.Helper()
	if !runs(t, program) {
		text := read(t, program)
		if !bytes.Contains(text, []byte(version)) || !bytes.Contains(text, []byte(commit)) {
			t.Errorf("%s does not hold its stamp", program)
		}
		return
	}
	c := exec.CommandContext(t.Context(), program)
	c.Env = []string{"LC_ALL=C"} // none at all would be those of the test
	said, err := c.Output()
	if err == nil {
		t.Errorf("%s has started without its platform", program)
	}
	checkSaid(t, string(said))
}

// checkSaid looks for the stamp in a log.
func checkSaid(t *testing.T, log string) {
	t.Helper()
	if !strings.Contains(log, `"version":"`+version+`","commit":"`+commit+`"`) {
		t.Errorf("the log is without the stamp: %s", log)
	}
}

// runs reports whether this machine can execute a program.
func runs(t *testing.T, program string) bool {
	t.Helper()
	info, err := buildinfo.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	return runtime.GOOS == "linux" && slices.Contains(info.Settings, debug.BuildSetting{Key: "GOARCH", Value: runtime.GOARCH})
}

// checkServed has a function serve a request, which is when it says what it is:
// into its log, and not to the caller.
func checkServed(t *testing.T, program string) {
	t.Helper()
	if !runs(t, program) {
		checkStamp(t, program)
		return
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(l.Addr().String())
	_ = l.Close()
	var log bytes.Buffer
	c := exec.CommandContext(t.Context(), program)
	c.Env, c.Stdout = []string{"PORT=" + port, "GOOGLE_CLOUD_PROJECT=my-project"}, &log
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	var answer *http.Response
	for range 400 {
		if answer, err = http.Post("http://127.0.0.1:"+port, "application/json", strings.NewReader("{}")); err == nil {
			break
		}
		time.Sleep(25 * time.Millisecond)
	}
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(answer.Body)
	_ = answer.Body.Close()
	if err != nil || strings.Contains(fmt.Sprint(string(text), answer.Header), version) {
		t.Errorf("the caller got %s with %v: %v", text, answer.Header, err)
	}
	_ = c.Process.Kill()
	_ = c.Wait()
	checkSaid(t, log.String())
}

// checkUnchanged makes sure that an archive has the source as it is, but for the
// stamp: what Cloud Build makes of it is what local runs and tests use.
func checkUnchanged(t *testing.T, function source, dir string) {
	t.Helper()
	stamped := false
	err := fs.WalkDir(os.DirFS(dir), ".", func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case name == "vendor" || name == "functions.local": // of modules, and of the builder
			return fs.SkipDir
		case entry.IsDir():
			return nil
		}
		top, _, below := strings.Cut(name, "/")
		var want []byte
		switch {
		case name == stampFile:
			stamped, want = true, stamp{version, commit}.source()
		case name == "framework.go":
			want = function.framework()
		case below && (top == "shared" || top == "functions") || slices.Contains([]string{"go.mod", "go.sum", "LICENSE"}, name):
			want = read(t, root, name)
		case !below:
			want = read(t, root, function.path(), name)
		default:
			t.Errorf("%s is from a folder whose changes nobody looks for", name)
			return nil
		}
		if !bytes.Equal(read(t, dir, name), want) {
			t.Errorf("%s was changed on its way", name)
		}
		return nil
	})
	if err != nil || !stamped {
		t.Errorf("stamped: %v, %v", stamped, err)
	}
}

func TestTheStampTakesThePlaceOfAFileOfItsForm(t *testing.T) {
	t.Parallel()
	if got, want := string(stamp{version: release.Version, commit: release.Commit}.source()), string(read(t, root, stampFile)); got != want {
		t.Errorf("what is not packaged has\n%s\nand a stamp would be\n%s", want, got)
	}
}

// TestAnotherStampIsAllThatChanges compares programs of one source that differ in
// their last digits, so that nothing in them has another place.
func TestAnotherStampIsAllThatChanges(t *testing.T) {
	t.Parallel()
	stamps := []stamp{{version, commit}, {strings.Replace(version, "2-dirty", "3-dirty", 1), strings.Replace(commit, "d-dirty", "e-dirty", 1)}}
	var programs [][]byte
	for _, s := range stamps {
		p := program{path: "functions/aws/rotate", goarch: "arm64", tags: "lambda.norpc"}
		text, _, err := p.build(t.Context(), input{root, s}, t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		file, err := elf.NewFile(bytes.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		for _, section := range file.Sections {
			if section.Type == elf.SHT_NOTE { // a hash of it all
				clear(text[section.Offset:][:section.Size])
			}
		}
		programs = append(programs, text)
	}
	if bytes.Equal(programs[0], programs[1]) {
		t.Error("the stamp is in neither program")
	}
	first := bytes.ReplaceAll(programs[0], []byte(stamps[0].version), []byte(stamps[1].version))
	first = bytes.ReplaceAll(first, []byte(stamps[0].commit), []byte(stamps[1].commit))
	if !bytes.Equal(first, programs[1]) {
		t.Error("the programs differ in more than their stamps")
	}
}

func TestAStampThatCannotBeIsRefused(t *testing.T) {
	t.Parallel()
	hash := strings.Repeat("4c0ab5a8", 5)
	for _, test := range []struct {
		name    string
		given   stamp
		refused string // empty if it is not
	}{
		{"a release", stamp{"v1.4.0", hash}, ""},
		{"a changed release", stamp{"1.4.0+fips-dirty", hash + dirty}, ""},
		{"a commit of SHA-256", stamp{"v1", strings.Repeat("4c0ab5a8", 8)}, ""},
		{"a long version", stamp{strings.Repeat("v", 80), hash}, ""},
		{"a longer version", stamp{strings.Repeat("v", 81), hash}, "to be at most 80 of them"},
		{"a version of two words", stamp{"v1 beta", hash}, `the version "v1 beta" cannot be stamped`},
		{"a version that would end a string", stamp{`v1"`, hash}, `the version "v1\"" cannot be stamped`},
		{"a version of two lines", stamp{"v1\nv2", hash}, `the version "v1\nv2" cannot be stamped`},
		{"a version with a path", stamp{"release/v1", hash}, "with -version"},
		{"a version in other letters", stamp{"v1ä", hash}, "cannot be stamped"},
		{"a version that begins as a flag does", stamp{"-v1", hash}, "cannot be stamped"},
		{"a short hash", stamp{"v1", "4c0ab5a"}, "the whole hash"},
		{"a hash in capitals", stamp{"v1", strings.ToUpper(hash)}, "with -commit"},
		{"a commit that is a branch", stamp{"v1", "main"}, `the commit "main" cannot be stamped`},
		{"a commit without a version", stamp{"", hash}, "-commit is given without -version"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got, err := test.given.complete(t.Context(), t.TempDir())
			switch {
			case test.refused == "" && (err != nil || got != test.given):
				t.Errorf("got %v and %v", got, err)
			case test.refused != "" && (err == nil || !strings.Contains(err.Error(), test.refused)):
				t.Errorf("got %v, want it refused with %q", err, test.refused)
			}
		})
	}
}

// checkout is a folder in which git is run.
type checkout struct{ dir string }

func (c checkout) git(t *testing.T, arguments ...string) string {
	t.Helper()
	command := exec.CommandContext(t.Context(), "git", arguments...)
	command.Dir = c.dir
	command.Env = []string{
		"PATH=" + os.Getenv("PATH"), "GIT_CONFIG_NOSYSTEM=1",
		"GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example.com", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@example.com",
	}
	text, err := command.CombinedOutput()
	if err != nil {
		t.Fatalf("git %v: %v\n%s", arguments, err, text)
	}
	return strings.TrimSpace(string(text))
}

func (c checkout) write(t *testing.T, name, text string) {
	t.Helper()
	at := filepath.Join(c.dir, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(at, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// commit makes the file that a source has here, and a commit of it.
func (c checkout) commit(t *testing.T) {
	t.Helper()
	c.git(t, "init", "--quiet")
	c.write(t, "shared/a.go", "package a")
	c.git(t, "add", ".")
	c.git(t, "commit", "--quiet", "--message", "a")
}

func TestWhatGitKnowsIsStamped(t *testing.T) {
	if _, err := exec.LookPath("git"); err != nil && os.Getenv("POSTERN_E2E") == "required" {
		t.Fatal("git is required and not installed")
	} else if err != nil {
		t.Skip("git is not installed")
	}
	// What a hook's environment names is no part of the source.
	other := checkout{t.TempDir()}
	other.commit(t)
	t.Setenv("GIT_DIR", filepath.Join(other.dir, ".git"))
	unknown := stamp{version: release.Version}
	for _, test := range []struct {
		name  string
		given string // the version
		make  func(*testing.T, checkout)
		// want is what is stamped. HASH stands for the commit, and SHORT for its
		// first twelve digits.
		want stamp
	}{
		{"source without a repository", "", func(*testing.T, checkout) {}, unknown},
		{"source without a repository, and a version", "v2", func(*testing.T, checkout) {}, stamp{version: "v2"}},
		{"a repository without a commit", "", func(t *testing.T, c checkout) { c.git(t, "init", "--quiet") }, unknown},
		{"a commit without a tag", "", func(t *testing.T, c checkout) { c.commit(t) }, stamp{"SHORT", "HASH"}},
		{"a version of the user's", "v2", func(t *testing.T, c checkout) { c.commit(t) }, stamp{"v2", "HASH"}},
		{"a tag", "", func(t *testing.T, c checkout) { c.commit(t); c.git(t, "tag", "v1.4.0") }, stamp{"v1.4.0", "HASH"}},
		{"a tag that is no version", "", func(t *testing.T, c checkout) { c.commit(t); c.git(t, "tag", "nightly/x") }, stamp{"SHORT", "HASH"}},
		{"a commit after a tag", "", func(t *testing.T, c checkout) {
			c.commit(t)
			c.git(t, "tag", "v1.4.0")
			c.git(t, "commit", "--quiet", "--allow-empty", "--message", "b")
		}, stamp{"v1.4.0-1-gSHORT", "HASH"}},
		{"a changed file", "", func(t *testing.T, c checkout) {
			c.commit(t)
			c.git(t, "tag", "v1.4.0")
			c.write(t, "shared/a.go", "another")
		}, stamp{"v1.4.0-dirty", "HASH-dirty"}},
		{"a new file", "v2", func(t *testing.T, c checkout) { c.commit(t); c.write(t, "shared/b/b.go", "package b") }, stamp{"v2", "HASH-dirty"}},
		{"an operator's own document", "", func(t *testing.T, c checkout) {
			c.commit(t)
			c.write(t, "infra/postern.yaml", "upstreams: []")
		}, stamp{"SHORT", "HASH"}},
		{"an archive that was unpacked inside another repository", "", func(t *testing.T, c checkout) {
			checkout{filepath.Dir(c.dir)}.commit(t)
		}, unknown},
		{"a checkout of another user", "", func(t *testing.T, c checkout) {
			c.commit(t)
			if err := os.Chown(c.dir, os.Getuid()+1, -1); err != nil {
				t.Skipf("only root gives files away: %v", err)
			}
			if err := os.Chown(filepath.Join(c.dir, ".git"), os.Getuid()+1, -1); err != nil {
				t.Fatal(err)
			}
			refused := exec.CommandContext(t.Context(), "git", "rev-parse", "HEAD")
			refused.Dir, refused.Env = c.dir, []string{"PATH=" + os.Getenv("PATH"), "GIT_CONFIG_NOSYSTEM=1"}
			if refused.Run() == nil {
				t.Skip("this git does not mind")
			}
		}, stamp{"SHORT", "HASH"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := checkout{filepath.Join(t.TempDir(), "source")}
			if err := os.Mkdir(c.dir, 0o755); err != nil {
				t.Fatal(err)
			}
			test.make(t, c)
			want := test.want
			if strings.Contains(want.commit, "HASH") {
				hash := c.git(t, "-c", "safe.directory=*", "rev-parse", "HEAD")
				filled := strings.NewReplacer("HASH", hash, "SHORT", hash[:12])
				want = stamp{filled.Replace(want.version), filled.Replace(want.commit)}
			}
			if got, err := (stamp{version: test.given}).complete(t.Context(), c.dir); err != nil || got != want {
				t.Errorf("got %v and %v, want %v", got, err, want)
			}
		})
	}
}
