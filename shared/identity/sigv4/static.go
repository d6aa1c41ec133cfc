package sigv4

import (
	"context"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/postern-ai/postern/shared/identity"
	"github.com/postern-ai/postern/shared/secrets"
)

const (
	staticSource = "static keys"
	// reread is how often stored keys are read again, so that a rotation reaches a function that nobody restarts. What is read is for the
	// reader of the store to keep.
	reread = 5 * time.Minute
)

// StaticKeys are stored access keys. They belong together: a session token fits only the key that it was issued with.
type StaticKeys struct {
	AccessKeyID     secrets.Value
	SecretAccessKey secrets.Value
	// SessionToken is empty for the keys of a user.
	SessionToken secrets.Value
}

// StaticOptions says where keys are stored.
type StaticOptions struct {
	// Keys reads them, all of them at once and from one place, and keeps what is costly to read.
	Keys func(ctx context.Context) (StaticKeys, error)
	// OnRejected, when set, is told of keys that were not accepted, for the reader of the store to read them again.
	OnRejected func(rejected StaticKeys)
}

// Static is a provider of stored access keys. Nothing of the environment is ever mixed with them.
type Static struct{ options StaticOptions }

// NewStatic returns a Static that has read nothing yet.
func NewStatic(options StaticOptions) *Static { return &Static{options} }

// Retrieve reads the keys.
func (s *Static) Retrieve(ctx context.Context) (aws.Credentials, error) {
	held, err := s.retrieve(ctx)
	return held.Credentials, err
}

func (s *Static) retrieve(ctx context.Context) (keys, error) {
	stored, err := s.options.Keys(ctx)
	if err != nil {
		return keys{}, &identity.Error{Public: "the stored AWS keys cannot be read", Err: err, Retryable: true}
	}
	if stored.AccessKeyID.IsZero() || stored.SecretAccessKey.IsZero() {
		return keys{}, &identity.Error{Public: "the stored AWS keys are incomplete: an access key id and a secret access key are needed, both from the store. " +
			"Keys from the environment never stand in for a missing one"}
	}
	held := keys{source: staticSource}
	held.AccessKeyID, held.SecretAccessKey, held.SessionToken = stored.AccessKeyID.Reveal(), stored.SecretAccessKey.Reveal(), stored.SessionToken.Reveal()
	held.CanExpire, held.Expires, held.Source = true, time.Now().Round(0).Add(reread), staticSource
	return held, nil
}

func (s *Static) rejected(held keys) {
	if s.options.OnRejected == nil {
		return
	}
	s.options.OnRejected(StaticKeys{
		AccessKeyID: secrets.NewValue(held.AccessKeyID), SecretAccessKey: secrets.NewValue(held.SecretAccessKey), SessionToken: secrets.NewValue(held.SessionToken),
	})
}

// ParseStaticKeys reads keys that are stored as one JSON object, so that a rotation replaces all of them in one step. It knows the names of
// AWS's APIs (AccessKeyId, SecretAccessKey, SessionToken) and those of the shared files (aws_access_key_id and so on), and lets other
// fields be. Its errors do not quote the text.
func ParseStaticKeys(text secrets.Value) (StaticKeys, error) {
	const form = `{"AccessKeyId": "...", "SecretAccessKey": "..."}, with "SessionToken" for temporary keys`
	var fields map[string]jsontext.Value
	if err := json.Unmarshal([]byte(text.Reveal()), &fields); err != nil {
		return StaticKeys{}, &identity.Error{Public: "the stored AWS keys are not one JSON object; store " + form}
	}
	var keys StaticKeys
	for _, part := range []struct {
		names []string
		into  *secrets.Value
	}{
		{[]string{"AccessKeyId", "aws_access_key_id"}, &keys.AccessKeyID},
		{[]string{"SecretAccessKey", "aws_secret_access_key"}, &keys.SecretAccessKey},
		{[]string{"SessionToken", "aws_session_token"}, &keys.SessionToken},
	} {
		for _, name := range part.names {
			raw, ok := fields[name]
			if !ok || raw.Kind() == 'n' {
				continue
			}
			var value string
			if err := json.Unmarshal(raw, &value); err != nil {
				return StaticKeys{}, &identity.Error{Public: "in the stored AWS keys, " + name + " is not a text; store " + form}
			}
			if !part.into.IsZero() {
				return StaticKeys{}, &identity.Error{Public: "the stored AWS keys hold " + part.names[0] + " under two names; keep one"}
			}
			*part.into = secrets.NewValue(value)
		}
	}
	if keys.AccessKeyID.IsZero() || keys.SecretAccessKey.IsZero() {
		return StaticKeys{}, &identity.Error{Public: "the stored AWS keys are incomplete; store " + form}
	}
	return keys, nil
}
