// Package awssecrets reads secrets from AWS Secrets Manager, by a [Reader], and replaces them, by a [Store].
//
// The version in use is the one with the staging label AWSCURRENT, and the one before it has AWSPREVIOUS. One call brings the value together
// with the id of its version, so the two always belong together.
//
// The package must not know what a secret is for, nor where the credentials that it signs with come from.
package awssecrets

import (
	"context"
	"net/http"
	"time"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/postern-ai/postern/shared/secrets"
)

// The staging labels of the service.
const (
	labelCurrent  = "AWSCURRENT"
	labelPrevious = "AWSPREVIOUS"
	labelPending  = "AWSPENDING"
)

const (
	// minVersionID is the length of the shortest version id. What is shorter is a staging label
	// (https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_GetSecretValue.html).
	minVersionID = 32
	maxVersionID = 64
)

// Options says how to reach Secrets Manager.
type Options struct {
	// Region is where the secrets are that are not referred to by an ARN, which names its region itself.
	Region string
	// Credentials sign the requests. When it also has a method Invalidate() it is told that AWS did not accept what it gave, and the
	// request is made once more.
	Credentials aws.CredentialsProvider
	// Endpoint replaces the region's own endpoint. It is where AWS_ENDPOINT_URL_SECRETS_MANAGER belongs.
	Endpoint string
	// Transport sends the requests. Nil means [http.DefaultTransport].
	Transport http.RoundTripper
	// Timeout bounds one request. Zero means 3 s.
	Timeout time.Duration
}

// Reader reads from Secrets Manager. It is a [secrets.Reader] and a [secrets.Source], and safe for concurrent use.
type Reader struct{ service *service }

// New returns a Reader. It makes no network call.
func New(options Options) (*Reader, error) {
	service, err := options.service()
	if err != nil {
		return nil, err
	}
	return &Reader{service}, nil
}

// Read returns the text of the version in use, or of the one that ref pins.
func (r *Reader) Read(ctx context.Context, ref secrets.Ref) (secrets.Value, error) {
	secret, err := r.Current(ctx, ref)
	return secret.Value, err
}

// Current returns the version with the label AWSCURRENT, or the one that ref pins by its id or by another label.
func (r *Reader) Current(ctx context.Context, ref secrets.Ref) (secrets.Secret, error) {
	return r.get(ctx, ref, ref.Version)
}

// Previous returns the version with the label AWSPREVIOUS.
func (r *Reader) Previous(ctx context.Context, ref secrets.Ref) (secrets.Secret, error) {
	if ref.Version != "" {
		return secrets.Secret{}, secrets.NoPrevious(ref)
	}
	return r.get(ctx, ref, labelPrevious)
}

func (r *Reader) get(ctx context.Context, ref secrets.Ref, version string) (secrets.Secret, error) {
	own, err := ref.In(secrets.StoreAWS)
	if err != nil {
		return secrets.Secret{}, err
	}
	in := secretsmanager.GetSecretValueInput{SecretId: aws.String(own.Name)}
	switch {
	case len(version) >= minVersionID && len(version) <= maxVersionID:
		in.VersionId = aws.String(version)
	case version != "":
		in.VersionStage = aws.String(version)
	}
	out, err := send(ctx, r.service, request[secretsmanager.GetSecretValueInput, secretsmanager.GetSecretValueOutput]{
		of: r.service.target(ref, own), action: actionRead, in: in, do: (*secretsmanager.Client).GetSecretValue,
	})
	if err != nil {
		return secrets.Secret{}, err
	}
	return decode(ref, out)
}

func decode(ref secrets.Ref, out *secretsmanager.GetSecretValueOutput) (secrets.Secret, error) {
	text := aws.ToString(out.SecretString)
	if out.SecretString == nil {
		// Whoever stores a file by the command line tool gets a binary secret, whatever is in the file.
		text = string(out.SecretBinary)
		if !utf8.ValidString(text) {
			return secrets.Secret{}, &secrets.Error{Ref: ref, Reason: "it is binary; store it as text", Err: secrets.ErrUnusable}
		}
	}
	version := aws.ToString(out.VersionId)
	if version == "" {
		return secrets.Secret{}, &secrets.Error{Ref: ref, Reason: "the store's reply names no version"}
	}
	value, err := ref.Select(text)
	if err != nil {
		return secrets.Secret{}, err
	}
	return secrets.Secret{Value: value, Version: version, Created: aws.ToTime(out.CreatedDate)}, nil
}
