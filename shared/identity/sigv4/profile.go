package sigv4

import (
	"cmp"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/credentials/processcreds"
	"github.com/postern-ai/postern/shared/identity"
)

// profile is one profile of the shared files: what it holds, by lower-case names.
//
// See "Configuration and credential file settings in the AWS CLI" for the files. Of what a profile can say, a function has use for keys and
// for a process that knows some.
type profile map[string]string

// processTimeout bounds a credential process.
const processTimeout = 2500 * time.Millisecond

// elsewhere are the ways to credentials by which people sign in, or which the document has fields for.
var elsewhere = []string{
	"role_arn", "source_profile", "credential_source", "web_identity_token_file", "sso_session", "sso_start_url", "login_session",
}

// profile reads the shared files. Nobody needs to have any.
func (a *ambient) profile() (profile, error) {
	name := cmp.Or(a.getenv("AWS_PROFILE"), a.getenv("AWS_DEFAULT_PROFILE"))
	held, found := profile{}, false
	// What the second file says counts more.
	for _, file := range []struct{ variable, usual, prefix string }{
		{"AWS_CONFIG_FILE", "config", "profile "}, {"AWS_SHARED_CREDENTIALS_FILE", "credentials", ""},
	} {
		path := a.getenv(file.variable)
		if home := a.getenv("HOME"); path == "" && home != "" {
			path = filepath.Join(home, ".aws", file.usual)
		}
		if path == "" {
			continue
		}
		text, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		found = held.read(string(text), cmp.Or(name, "default"), file.prefix) || found
	}
	if name != "" && !found {
		return nil, errors.New("the shared files have no profile of that name")
	}
	return held, nil
}

// read adds what the sections of a name hold, and reports whether there is one. All but the default's have a prefix in one of the two files.
func (p profile) read(text, name, prefix string) (found bool) {
	within := false
	for line := range strings.Lines(text) {
		trimmed := strings.TrimSpace(line)
		switch {
		case trimmed == "" || strings.ContainsRune("#;", rune(trimmed[0])):
		case trimmed[0] == '[':
			title, _, _ := strings.Cut(trimmed[1:], "]")
			title = strings.Join(strings.Fields(title), " ")
			within = title == prefix+name || title == name && name == "default"
			found = found || within
		case within && trimmed[0] == line[0]: // a line that is set in belongs to the member before it
			for _, comment := range []string{" #", " ;", "\t#", "\t;"} {
				trimmed, _, _ = strings.Cut(trimmed, comment)
			}
			if key, value, ok := strings.Cut(trimmed, "="); ok {
				p[strings.ToLower(strings.TrimSpace(key))] = strings.TrimSpace(value)
			}
		}
	}
	return found
}

// provider returns what the profile gets credentials from, or nil if it says nothing of that.
func (p profile) provider() (aws.CredentialsProvider, error) {
	for _, way := range elsewhere {
		if p[way] != "" {
			return nil, &identity.Error{Public: "a profile of the AWS shared files with " + way + " is not for a function, which takes keys or a " +
				"credential_process from there; what roles it assumes is for the document to say"}
		}
	}
	id, secret := p["aws_access_key_id"], p["aws_secret_access_key"]
	switch {
	case (id == "") != (secret == ""):
		return nil, &identity.Error{Public: "a profile of the AWS shared files has one of aws_access_key_id and aws_secret_access_key; set both or neither"}
	case id != "":
		return credentials.StaticCredentialsProvider{Value: aws.Credentials{
			AccessKeyID: id, SecretAccessKey: secret, SessionToken: p["aws_session_token"], Source: "SharedConfigCredentials",
		}}, nil
	case p["credential_process"] != "":
		return processcreds.NewProvider(p["credential_process"], func(o *processcreds.Options) { o.Timeout = processTimeout }), nil
	}
	return nil, nil
}
