package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/postern-ai/postern/shared/release"
)

// stamp is what a package says of itself: of which release it is, and of which
// commit.
type stamp struct{ version, commit string }

// stampFile is the file of the source that holds it. Google's buildpack compiles
// with flags of its own, so only a file reaches all packages.
const stampFile = "shared/release/stamp.go"

// dirty is behind what git says where the source is not that of the commit.
const dirty = "-dirty"

// What a stamp may be. A version becomes part of a User-Agent, and so is a token
// of RFC 9110 section 5.6.2; a commit is of SHA-1 or SHA-256.
var (
	versionForm = regexp.MustCompile(`^[0-9A-Za-z][0-9A-Za-z.+_-]{0,79}$`)
	commitForm  = regexp.MustCompile(`^([0-9a-f]{40}|[0-9a-f]{64})(` + dirty + `)?$`)
)

func (s stamp) check() error {
	switch {
	case !versionForm.MatchString(s.version):
		return fmt.Errorf("the version %.100q cannot be stamped: it has to begin with a letter or a digit, "+
			"and to be at most 80 of them and of . + _ -; give another one with -version", s.version)
	case s.commit != "" && !commitForm.MatchString(s.commit):
		return fmt.Errorf("the commit %.100q cannot be stamped: it has to be the whole hash, 40 or 64 of 0-9a-f, "+
			"with %s behind it if the source is another; give it with -commit", s.commit, dirty)
	}
	return nil
}

func (s stamp) String() string {
	if s.commit == "" {
		return s.version + ", of no known commit"
	}
	return s.version + ", commit " + s.commit
}

// source is the file that says so.
func (s stamp) source() []byte {
	return fmt.Appendf(nil, "package release\n\nconst (\n\tversion = %q\n\tcommit  = %q\n)\n", s.version, s.commit)
}

// overlay has the go command, run in the product's source, read that file in
// the place of the source's own. It writes into a folder and returns the value
// of -overlay.
func (s stamp) overlay(dir string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	file, list := filepath.Join(dir, "stamp.go"), filepath.Join(dir, "overlay.json")
	// The key is relative, as the go command and this process may know the
	// source's folder by different names; what is not found is not replaced.
	text, err := json.Marshal(map[string]map[string]string{"Replace": {filepath.FromSlash(stampFile): file}})
	if err != nil {
		return "", err
	}
	return list, errors.Join(os.WriteFile(file, s.source(), 0o644), os.WriteFile(list, text, 0o644))
}

// complete adds what was not given, from git where it knows the source. Source
// without history is a development version of no known commit.
func (s stamp) complete(ctx context.Context, root string) (stamp, error) {
	switch {
	case s.version == "" && s.commit != "":
		return stamp{}, errors.New("-commit is given without -version, and a version is of one commit: give both")
	case s.commit == "":
		known, ok := described(ctx, root)
		if !ok {
			known = stamp{version: release.Version}
		}
		if s.version == "" {
			s.version = known.version
		}
		s.commit = known.commit
	}
	return s, s.check()
}

// described is what git says of the source. It is not ok where there is no git,
// no repository or no commit.
func described(ctx context.Context, root string) (s stamp, ok bool) {
	head, err := git(ctx, root, "rev-parse", "--verify", "HEAD")
	if err != nil {
		return stamp{}, false
	}
	// The length of an abbreviation would be that of the clone's own history, and
	// not every tag names a version.
	name, err := git(ctx, root, "describe", "--tags", "--always", "--abbrev=12", "--match=v[0-9]*", "--match=[0-9]*")
	if err != nil {
		return stamp{}, false
	}
	// New files count too, which the --dirty of describe leaves out, but only where
	// packages are made of them: an operator's own document is none of their business.
	changes, err := git(ctx, root, "status", "--porcelain", "--untracked-files=normal", "--",
		"go.mod", "go.sum", "LICENSE", "functions", "shared", "localdev/pack")
	if err != nil {
		return stamp{}, false
	}
	s = stamp{version: name, commit: head}
	if changes != "" {
		s.version, s.commit = s.version+dirty, s.commit+dirty
	}
	return s, true
}

// git asks git about the repository whose top is this folder: source that lies
// in another one, such as an unpacked archive, is not of that one's commits.
func git(ctx context.Context, root string, arguments ...string) (string, error) {
	top, err := filepath.Abs(root)
	if err != nil {
		return "", err
	}
	// Git refuses a checkout that belongs to another user, as those of CI may,
	// lest its configuration run something. Whoever packages a source runs it.
	c := exec.CommandContext(ctx, "git", append([]string{"-c", "safe.directory=*"}, arguments...)...)
	c.Dir = top
	// Nothing of the user's: neither his configuration nor a GIT_DIR.
	c.Env = []string{
		"PATH=" + os.Getenv("PATH"), "GIT_CONFIG_NOSYSTEM=1", "GIT_OPTIONAL_LOCKS=0", "GIT_CEILING_DIRECTORIES=" + filepath.Dir(top),
	}
	out, err := c.Output()
	return string(bytes.TrimSpace(out)), err
}

// label is the comment of an archive.
func (s stamp) label() string { return strings.TrimSpace("postern " + s.version + " " + s.commit) }
