// Package awssecrets reads secrets from AWS Secrets Manager.
//
// The version in use is the one with the staging label AWSCURRENT, and the one before it has AWSPREVIOUS. One call brings the value together
// with the id of its version, so the two always belong together.
//
// The package must not know what a secret is for, nor where the credentials that it signs with come from.
package awssecrets

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/smithy-go/logging"
	"github.com/postern-ai/postern/shared/secrets"
)

const (
	labelPrevious = "AWSPREVIOUS"
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
	// Timeout bounds one read. Zero means 3 s.
	Timeout time.Duration
}

// Reader reads from Secrets Manager. It is a [secrets.Reader] and a [secrets.Source], and safe for concurrent use.
type Reader struct {
	options Options
	// client is built when it is first needed, since many functions never read a secret.
	client func() *secretsmanager.Client
}

// New returns a Reader. It makes no network call.
func New(options Options) (*Reader, error) {
	if options.Credentials == nil {
		return nil, errors.New("secrets of AWS Secrets Manager need credentials")
	}
	if options.Region == "" {
		return nil, errors.New("secrets of AWS Secrets Manager need a region: set AWS_REGION")
	}
	if options.Endpoint != "" {
		if _, err := secrets.Endpoint(options.Endpoint); err != nil {
			return nil, err
		}
	}
	return &Reader{options: options, client: sync.OnceValue(options.client)}, nil
}

func (o Options) client() *secretsmanager.Client {
	options := secretsmanager.Options{
		Region:      o.Region,
		Credentials: marked{o.Credentials},
		HTTPClient:  secrets.Bounded(o.Transport),
		// Whoever waits for the secret decides whether to ask again.
		Retryer:          aws.NopRetryer{},
		RetryMaxAttempts: 1,
		Logger:           logging.Nop{},
	}
	if o.Endpoint != "" {
		options.BaseEndpoint = aws.String(o.Endpoint)
	}
	return secretsmanager.New(options)
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
	region := r.options.Region
	if part := strings.Split(own.Name, ":"); part[0] == "arn" {
		region = part[3]
	}
	in := &secretsmanager.GetSecretValueInput{SecretId: aws.String(own.Name)}
	switch {
	case len(version) >= minVersionID && len(version) <= maxVersionID:
		in.VersionId = aws.String(version)
	case version != "":
		in.VersionStage = aws.String(version)
	}
	ctx, cancel := secrets.WithTimeout(ctx, r.options.Timeout)
	defer cancel()
	out, err := r.send(ctx, in, region)
	if err != nil {
		return secrets.Secret{}, explain(ref, region, err)
	}
	return decode(ref, out)
}

// send asks once more when AWS did not accept the credentials, which may have been revoked since they were cached.
func (r *Reader) send(ctx context.Context, in *secretsmanager.GetSecretValueInput, region string) (*secretsmanager.GetSecretValueOutput, error) {
	again := *in
	inRegion := func(o *secretsmanager.Options) { o.Region = region }
	out, err := r.client().GetSecretValue(ctx, in, inRegion)
	cached, ok := r.options.Credentials.(interface{ Invalidate() })
	if !ok || !notAccepted(err) {
		return out, err
	}
	cached.Invalidate()
	return r.client().GetSecretValue(ctx, &again, inRegion)
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

// marked makes the errors of a credentials provider recognisable behind what the SDK makes of them.
type marked struct{ provider aws.CredentialsProvider }

type credentialsError struct{ err error }

func (e *credentialsError) Error() string { return e.err.Error() }
func (e *credentialsError) Unwrap() error { return e.err }

// Retrieve implements [aws.CredentialsProvider].
func (m marked) Retrieve(ctx context.Context) (aws.Credentials, error) {
	credentials, err := m.provider.Retrieve(ctx)
	if err != nil {
		return aws.Credentials{}, &credentialsError{err}
	}
	return credentials, nil
}
