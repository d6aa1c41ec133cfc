package googleid

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/postern-ai/postern/shared/identity"
	"github.com/postern-ai/postern/shared/secrets"
)

const (
	// fileVariable names the variable of Google's own libraries. inlineVariable is the one in which users of another gateway keep a service
	// account's key itself.
	fileVariable   = "GOOGLE_APPLICATION_CREDENTIALS"
	inlineVariable = "GCP_SERVICE_ACCOUNT"
)

// AmbientOptions says where the identity of the process is looked for.
type AmbientOptions struct {
	// FileOptions are for the files that are found. Their Read is not used.
	FileOptions
	// Metadata is asked when there is no file. Nil means one with the same scopes.
	Metadata *Metadata
	// Getenv reads the environment. Nil means the process's own.
	Getenv func(name string) string
}

// Ambient gets tokens for the identity of the process, wherever it is configured: in the file that GOOGLE_APPLICATION_CREDENTIALS names, or
// in a service account's key in GCP_SERVICE_ACCOUNT, or in the file that gcloud auth application-default login has written, or from the
// metadata server. The first that is there is the one: when it does not work that is an error, and the others are not asked. In a function
// (where K_SERVICE is set) gcloud's file is not looked for.
//
// It is an [identity.TokenSource], and safe for concurrent use.
type Ambient struct {
	options AmbientOptions
	// file is one of any type, and inline the key in the environment, which is of no other.
	file, inline *File
}

var _ identity.TokenSource = (*Ambient)(nil)

// NewAmbient returns a source that has looked for nothing yet, or says which option is wrong.
func NewAmbient(options AmbientOptions) (*Ambient, error) {
	if options.Getenv == nil {
		options.Getenv = os.Getenv
	}
	if options.Metadata == nil {
		options.Metadata = New(Options{Scopes: options.Scopes, Getenv: options.Getenv})
	}
	a := &Ambient{options: options}
	var err error
	options.Read = a.read
	if a.file, err = NewFile(options.FileOptions); err != nil {
		return nil, err
	}
	options.Types = []string{ServiceAccountFile}
	options.Read = func(context.Context) (secrets.Value, error) {
		return secrets.NewValue(options.Getenv(inlineVariable)), nil
	}
	if a.inline, err = NewFile(options.FileOptions); err != nil {
		return nil, err
	}
	return a, nil
}

// Token gets an access token for the identity that is there.
func (a *Ambient) Token(ctx context.Context) (identity.Token, error) {
	place, err := a.find()
	switch {
	case err != nil:
		return identity.Token{}, err
	case place == "":
		return a.options.Metadata.Token(ctx)
	}
	file := a.file
	if place == inlineVariable {
		file = a.inline
	}
	token, err := file.Token(ctx)
	token.Principal.Source += " in " + place
	return token, err
}

// Place says where the identity was found: a variable's name, gcloud's file, or the metadata server.
func (a *Ambient) Place() string {
	place, err := a.find()
	if err != nil || place == "" {
		return source
	}
	return place
}

const gcloudFile = "gcloud's file"

// find returns the name of the place that holds a file, or nothing.
func (a *Ambient) find() (string, error) {
	named, inline := a.options.Getenv(fileVariable) != "", a.options.Getenv(inlineVariable) != ""
	switch {
	case named && inline:
		return "", &identity.Error{Public: fileVariable + " and " + inlineVariable + " are both set, and name two identities; keep one"}
	case named:
		return fileVariable, nil
	case inline:
		return inlineVariable, nil
	case a.options.Getenv("K_SERVICE") != "":
		return "", nil
	}
	if _, err := os.Stat(a.wellKnown()); err == nil {
		return gcloudFile, nil
	}
	return "", nil
}

// wellKnown is where gcloud writes its file. Without a home there is none.
func (a *Ambient) wellKnown() string {
	folder := a.options.Getenv("CLOUDSDK_CONFIG")
	if home := a.options.Getenv("HOME"); folder == "" && home != "" {
		folder = filepath.Join(home, ".config", "gcloud")
	}
	if folder == "" {
		return ""
	}
	return filepath.Join(folder, "application_default_credentials.json")
}

func (a *Ambient) read(context.Context) (secrets.Value, error) {
	place, err := a.find()
	switch {
	case err != nil:
		return secrets.Value{}, err
	case place == fileVariable:
		return readFile(a.options.Getenv(fileVariable), fileVariable)
	}
	return readFile(a.wellKnown(), gcloudFile)
}

func readFile(name, place string) (secrets.Value, error) {
	file, err := os.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return secrets.Value{}, &identity.Error{Public: place + " names a file that is not there", Err: err}
	}
	if err != nil {
		return secrets.Value{}, &identity.Error{Public: place + " names a file that cannot be opened", Err: err}
	}
	defer func() { _ = file.Close() }()
	text, err := io.ReadAll(io.LimitReader(file, maxFile+1))
	if err != nil {
		return secrets.Value{}, &identity.Error{Public: fmt.Sprintf("%s names a file that cannot be read", place), Err: err}
	}
	return secrets.NewValue(string(text)), nil
}
