package main

import (
	"context"
	stdjson "encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/postern-ai/postern/functions/rotatekit"
	"github.com/postern-ai/postern/shared/rotation"
	"github.com/postern-ai/postern/shared/secrets"
	"github.com/postern-ai/postern/shared/secrets/awssecrets"
)

// function answers events.
type function struct {
	rotator *rotatekit.Rotator
	store   *awssecrets.Store
	log     *slog.Logger
}

// step is one step of a rotation that Secrets Manager drives
// (https://docs.aws.amazon.com/secretsmanager/latest/userguide/rotating-secrets-lambda-function-overview.html).
type step struct {
	Step     string `json:"Step"`
	SecretID string `json:"SecretId"`
	Token    string `json:"ClientRequestToken"`
}

// invoke does what an event asks for: a command of the schedule or of an
// operator, or a step of Secrets Manager. An event that is neither is an error,
// so that whoever sent it asynchronously keeps it.
func (f function) invoke(ctx context.Context, payload stdjson.RawMessage) (any, error) {
	var members map[string]jsontext.Value
	if json.Unmarshal(payload, &members) != nil {
		return nil, fmt.Errorf("%w: the event is not a JSON object", rotatekit.ErrCommand)
	}
	if _, ok := members["Step"]; ok {
		var s step
		if err := json.Unmarshal(payload, &s); err != nil || s.SecretID == "" || s.Token == "" {
			return nil, fmt.Errorf("%w: the rotation step lacks SecretId or ClientRequestToken", rotatekit.ErrCommand)
		}
		return nil, f.advance(ctx, s)
	}
	if _, ok := members["detail-type"]; ok {
		return nil, fmt.Errorf(`%w: an event of EventBridge arrived; give its target the constant input {"postern":"rotate"}`, rotatekit.ErrCommand)
	}
	command, err := rotatekit.ParseCommand(payload)
	if err != nil {
		return nil, err
	}
	return f.rotator.Do(ctx, command)
}

// advance takes a step. Whatever was done before is not done again.
func (f function) advance(ctx context.Context, s step) error {
	ref, name, err := f.find(s.SecretID)
	if err != nil {
		return err
	}
	done, err := f.store.Rotating(ctx, ref, s.Token)
	if err != nil || done {
		return err
	}
	until := rotation.Idle
	switch strings.ReplaceAll(strings.ToLower(s.Step), "_", "") {
	case "createsecret":
		until = rotation.Verifying
	case "setsecret":
		// Issuers know a key from when they have made it.
		return nil
	case "testsecret":
		if empty, err := f.empty(ctx, ref, s.Token); empty || err != nil {
			return err
		}
		until = rotation.Promoting
	case "finishsecret":
		until = rotation.Grace
	default:
		return fmt.Errorf("%w: Secrets Manager has the steps createSecret, setSecret, testSecret and finishSecret, and this is none of them", rotatekit.ErrCommand)
	}
	return f.rotator.Advance(ctx, rotation.Native{Credential: name, Cycle: s.Token, Until: until})
}

// empty reports whether the version to be tested has no value. Secrets Manager
// tests a rotation that it does not begin yet with such a version
// (RotateImmediately=false).
func (f function) empty(ctx context.Context, ref secrets.Ref, version string) (bool, error) {
	_, err := f.store.Value(ctx, ref, version)
	if errors.Is(err, secrets.ErrNotFound) {
		f.log.InfoContext(ctx, "the rotation is turned on, and nothing is rotated yet", slog.String("secret", ref.String()))
		return true, nil
	}
	return false, err
}

// find finds the key that is stored in a secret, by the secret's name or ARN.
// Only secrets that the document names are touched.
func (f function) find(id string) (secrets.Ref, string, error) {
	for ref, name := range f.rotator.Credentials() {
		if means(ref.Name, id) {
			ref.Field = ""
			return ref, name, nil
		}
	}
	return secrets.Ref{}, "", fmt.Errorf("%w: no key under rotation in the document is stored in the secret that Secrets Manager wants rotated", rotatekit.ErrCommand)
}

// means reports whether a reference is to a secret, whose id is its ARN. An ARN
// in a reference may lack the end that AWS gives it, and a name that ends like
// one is not cut: it would be that of another secret.
func means(reference, id string) bool {
	if reference == id {
		return true
	}
	if strings.HasPrefix(reference, "arn:") {
		end, ok := strings.CutPrefix(id, reference)
		return ok && len(end) == len(arnEnd) && end[0] == arnEnd[0]
	}
	return reference == nameOf(id)
}

// arnEnd is what the end of an ARN looks like: a hyphen and six characters.
const arnEnd = "-abcdef"

// nameOf is a secret's name. In an ARN it has an end of AWS's own.
func nameOf(id string) string {
	parts := strings.SplitN(id, ":", 7)
	if len(parts) != 7 || parts[0] != "arn" {
		return id
	}
	name := parts[6]
	if cut := len(name) - len(arnEnd); cut > 0 && name[cut] == '-' {
		return name[:cut]
	}
	return name
}
