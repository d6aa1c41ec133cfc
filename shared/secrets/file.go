package secrets

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// isMountedKey reports whether this can be a key of a Kubernetes secret (https://kubernetes.io/docs/concepts/configuration/secret/).
func isMountedKey(name string) bool { return (alnum + "-._").spells(name, 253) }

// generation is the link by which Kubernetes exchanges all files of a mounted secret at once.
const generation = "..data"

// Files is the Reader of file:// references.
//
// When ref names a directory, its field is the name of a file in it: that is how Kubernetes mounts a secret, and Docker and Cloud Run do
// the same. Elsewhere the field is a member of the JSON object in the file.
type Files struct{}

// Read returns the content of the file that ref names, without one line break at its end. It reads regular files of at most 64 KiB.
func (f Files) Read(ctx context.Context, ref Ref) (Value, error) {
	secret, err := f.Current(ctx, ref)
	return secret.Value, err
}

// Current returns the same as Read. The version is the generation of a directory that Kubernetes has mounted, and empty for all else.
func (Files) Current(_ context.Context, ref Ref) (Secret, error) {
	info, err := os.Stat(ref.Name)
	if err != nil {
		return Secret{}, fileError(ref, err)
	}
	if info.IsDir() {
		return mounted(ref)
	}
	text, err := readFile(ref.Name)
	if err != nil {
		return Secret{}, fileError(ref, err)
	}
	return unversioned(ref.Select(text))
}

// Previous always returns an error that wraps [ErrNotFound]: what a file held before is gone.
func (Files) Previous(_ context.Context, ref Ref) (Secret, error) {
	return Secret{}, NoPrevious(ref)
}

func mounted(ref Ref) (Secret, error) {
	if ref.Field == "" {
		return Secret{}, &Error{Ref: ref, Reason: "it is a directory; add the name of one file in it as #name", Err: ErrUnusable}
	}
	if !isMountedKey(ref.Field) || strings.HasPrefix(ref.Field, "..") || ref.Field == "." {
		return Secret{}, &Error{Ref: ref, Reason: "what follows the # is not the name of a file in this directory", Err: ErrUnusable}
	}
	whole := ref
	whole.Field = ""
	// The old generation is removed once the new one is in place, which may be while its file is being read. The second try then finds
	// the new one.
	for try := 0; ; try++ {
		version, err := os.Readlink(filepath.Join(ref.Name, generation))
		if err != nil || filepath.Base(version) != version {
			version = ""
		}
		text, err := readFile(filepath.Join(ref.Name, version, ref.Field))
		if errors.Is(err, os.ErrNotExist) && version != "" && try == 0 {
			continue
		}
		if err != nil {
			return Secret{}, fileError(ref, err)
		}
		value, err := whole.Select(text)
		if e, ok := errors.AsType[*Error](err); ok {
			return Secret{}, &Error{Ref: ref, Reason: e.Reason, Err: e.Err}
		}
		return Secret{Value: value, Version: version}, nil
	}
}

// errNotRegular is for what cannot be read to its end without regard to ctx, as pipes and devices cannot.
var errNotRegular = errors.New("not a regular file")

func readFile(name string) (string, error) {
	// Stat comes first: opening a pipe would wait for its other end.
	info, err := os.Stat(name)
	if err != nil {
		return "", err
	}
	if !info.Mode().IsRegular() {
		return "", errNotRegular
	}
	file, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer func() { _ = file.Close() }()
	content, err := io.ReadAll(io.LimitReader(file, maxSecret+1))
	if err != nil {
		return "", err
	}
	// Editors and shells end a file with a line break that was never part of the secret.
	return strings.TrimSuffix(strings.TrimSuffix(string(content), "\n"), "\r"), nil
}

func fileError(ref Ref, err error) error {
	switch {
	case errors.Is(err, os.ErrNotExist):
		return &Error{Ref: ref, Reason: "no such file", Err: ErrNotFound}
	case errors.Is(err, errNotRegular):
		return &Error{Ref: ref, Reason: errNotRegular.Error(), Err: ErrUnusable}
	}
	return &Error{Ref: ref, Reason: "the file cannot be read", Err: err}
}
