package sigv4

import (
	"cmp"
	"errors"
	"io/fs"
	"maps"
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

// Members of a profile.
const (
	keyID      = "aws_access_key_id"
	keySecret  = "aws_secret_access_key"
	keyToken   = "aws_session_token"
	keyProcess = "credential_process"
)

// sharedProvider is what the SDK calls the keys of a profile.
const sharedProvider = "SharedConfigCredentials"

// processTimeout bounds a credential process.
const processTimeout = 2500 * time.Millisecond

// elsewhere are the ways to credentials by which people sign in, or which the document has fields for.
var elsewhere = []string{
	"role_arn", "source_profile", "credential_source", "web_identity_token_file", "sso_session", "sso_start_url", "login_session",
}

// profile reads the shared files. Nobody needs to have any, and those that nobody names may be another user's.
func (a *ambient) profile() (profile, error) {
	name := cmp.Or(a.getenv("AWS_PROFILE"), a.getenv("AWS_DEFAULT_PROFILE"))
	held, found, unread := profile{}, false, error(nil)
	// What the second file says counts more.
	for _, file := range []struct{ variable, usual, prefix string }{
		{"AWS_CONFIG_FILE", "config", "profile "}, {"AWS_SHARED_CREDENTIALS_FILE", "credentials", ""},
	} {
		path := a.getenv(file.variable)
		named := path != ""
		if home := a.getenv("HOME"); !named && home != "" {
			path = filepath.Join(home, ".aws", file.usual)
		}
		if path == "" {
			continue
		}
		text, err := os.ReadFile(path)
		switch {
		case err == nil:
			found = held.read(string(text), cmp.Or(name, "default"), file.prefix) || found
		case named && !errors.Is(err, fs.ErrNotExist):
			return nil, &identity.Error{Public: "the file in " + file.variable + " cannot be read", Err: err}
		default:
			unread = err
		}
	}
	if name != "" && !found {
		variable := "AWS_PROFILE"
		if a.getenv(variable) == "" {
			variable = "AWS_DEFAULT_PROFILE"
		}
		return nil, &identity.Error{Public: "the AWS shared files have no profile of the name in " + variable + ": [profile NAME] in the configuration file, or [NAME] in " +
			"the credentials file. Add it, or remove the variable", Err: unread}
	}
	return held, nil
}

// read adds what the sections of a name hold, and reports whether there is one. All but the default's have a prefix in one of the two files.
func (p profile) read(text, name, prefix string) (found bool) {
	held, within, last := profile{}, false, ""
	for line := range strings.Lines(text) {
		trimmed := strings.TrimSpace(line)
		switch {
		case trimmed == "" || strings.ContainsRune("#;", rune(trimmed[0])):
		case trimmed[0] == '[':
			title, _, _ := strings.Cut(trimmed[1:], "]")
			title = strings.Join(strings.Fields(title), " ")
			within, last = title == prefix+name || title == name && name == "default", ""
			found = found || within
		// A line that is set in belongs to the member before it, if that has no value of its own. Otherwise it is as any other.
		case within && (trimmed[0] == line[0] || last == "" || held[last] != ""):
			if key, value, ok := member(trimmed); ok {
				held[key], last = value, key
			}
		}
	}
	if held[keyID] != "" || held[keySecret] != "" {
		// All three are from one file; those of another would belong to another key.
		delete(p, keyID)
		delete(p, keySecret)
		delete(p, keyToken)
	}
	maps.Copy(p, held)
	return found
}

// member splits a line at its first separator. Quotes around a value are not of it, but those of a command are the shell's.
func member(line string) (key, value string, ok bool) {
	for _, comment := range []string{" #", " ;", "\t#", "\t;"} {
		line, _, _ = strings.Cut(line, comment)
	}
	at := strings.IndexAny(line, "=:")
	if at < 0 {
		return "", "", false
	}
	key, value = strings.ToLower(strings.TrimSpace(line[:at])), strings.TrimSpace(line[at+1:])
	if n := len(value); n > 1 && (value[0] == '"' || value[0] == '\'') && value[n-1] == value[0] && key != keyProcess {
		value = value[1 : n-1]
	}
	return key, value, true
}

// provider returns what the profile gets credentials from, or nil if it says nothing of that.
func (p profile) provider() (aws.CredentialsProvider, error) {
	for _, way := range elsewhere {
		if p[way] != "" {
			return nil, &identity.Error{Public: "a profile of the AWS shared files with " + way + " is not for a function, which takes keys or a " +
				"credential_process from there; what roles it assumes is for the document to say"}
		}
	}
	id, secret := p[keyID], p[keySecret]
	switch {
	case (id == "") != (secret == ""):
		return nil, &identity.Error{Public: "a profile of the AWS shared files has one of aws_access_key_id and aws_secret_access_key; set both or neither"}
	case id != "":
		return credentials.StaticCredentialsProvider{Value: aws.Credentials{
			AccessKeyID: id, SecretAccessKey: secret, SessionToken: p[keyToken], Source: sharedProvider,
		}}, nil
	case p[keyProcess] != "":
		return processcreds.NewProvider(p[keyProcess], func(o *processcreds.Options) { o.Timeout = processTimeout }), nil
	}
	return nil, nil
}
