package awssecrets

import (
	"context"
	"errors"
	"strings"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/smithy-go/logging"
	"github.com/postern-ai/postern/shared/secrets"
)

// service is Secrets Manager, as this function reaches it.
type service struct {
	options Options
	// client is built when it is first needed, since many functions never read a secret.
	client func() *secretsmanager.Client
}

func (o Options) service() (*service, error) {
	if o.Credentials == nil {
		return nil, errors.New("secrets of AWS Secrets Manager need credentials")
	}
	if o.Region == "" {
		return nil, errors.New("secrets of AWS Secrets Manager need a region: set AWS_REGION")
	}
	if o.Endpoint != "" {
		if _, err := secrets.Endpoint(o.Endpoint); err != nil {
			return nil, err
		}
	}
	return &service{options: o, client: sync.OnceValue(o.client)}, nil
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

// target is a secret that something is asked about.
type target struct {
	ref    secrets.Ref // as the caller wrote it
	name   string      // as this service knows it
	region string
}

func (s *service) target(ref, own secrets.Ref) target {
	of := target{ref: ref, name: own.Name, region: s.options.Region}
	if part := strings.Split(own.Name, ":"); part[0] == "arn" {
		of.region = part[3]
	}
	return of
}

// request is one request to the service.
type request[In, Out any] struct {
	of target
	// action is the permission that it takes.
	action string
	in     In
	do     func(*secretsmanager.Client, context.Context, *In, ...func(*secretsmanager.Options)) (*Out, error)
}

// send makes a request, and once more when AWS did not accept the credentials, which may have been revoked since they were cached.
// The error is a *[secrets.Error].
func send[In, Out any](ctx context.Context, s *service, r request[In, Out]) (*Out, error) {
	ctx, cancel := secrets.WithTimeout(ctx, s.options.Timeout)
	defer cancel()
	inRegion := func(o *secretsmanager.Options) { o.Region = r.of.region }
	in, again := r.in, r.in
	out, err := r.do(s.client(), ctx, &in, inRegion)
	if cached, ok := s.options.Credentials.(interface{ Invalidate() }); ok && notAccepted(err) {
		cached.Invalidate()
		out, err = r.do(s.client(), ctx, &again, inRegion)
	}
	if err != nil {
		return nil, explain(r.of, r.action, err)
	}
	return out, nil
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
