package sigv4

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials/endpointcreds"
	"github.com/aws/aws-sdk-go-v2/credentials/processcreds"
	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/logging"
	"github.com/postern-ai/postern/shared/identity"
)

const (
	environmentSource = "environment"
	lambdaSource      = "lambda environment"
)

// ambient finds the platform's own credentials.
type ambient struct {
	getenv func(string) string
	http   *http.Client
	region string

	mu    sync.Mutex
	chain aws.CredentialsProvider
}

// Retrieve looks into the environment, where Lambda puts credentials, before it starts up the SDK's chain: loading that takes 5 to 15 ms,
// which would be the largest part of a cold start.
func (a *ambient) Retrieve(ctx context.Context) (aws.Credentials, error) {
	id, secret := a.getenv("AWS_ACCESS_KEY_ID"), a.getenv("AWS_SECRET_ACCESS_KEY")
	switch {
	case id != "" && secret != "":
		source := environmentSource
		if a.getenv("AWS_LAMBDA_FUNCTION_NAME") != "" {
			source = lambdaSource
		}
		// All three are from one place; a token from elsewhere would belong to another key.
		return aws.Credentials{AccessKeyID: id, SecretAccessKey: secret, SessionToken: a.getenv("AWS_SESSION_TOKEN"), Source: source}, nil
	case id != "":
		return aws.Credentials{}, &identity.Error{Public: "AWS_ACCESS_KEY_ID is set without AWS_SECRET_ACCESS_KEY; set both or neither"}
	case secret != "":
		return aws.Credentials{}, &identity.Error{Public: "AWS_SECRET_ACCESS_KEY is set without AWS_ACCESS_KEY_ID; set both or neither"}
	}
	chain, err := a.load(ctx)
	if err != nil {
		return aws.Credentials{}, err
	}
	if cache, ok := chain.(*aws.CredentialsCache); ok {
		// Keeping credentials is our caller's part, who knows when they were rejected.
		cache.Invalidate()
	}
	return chain.Retrieve(ctx)
}

func (a *ambient) load(ctx context.Context) (aws.CredentialsProvider, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.chain != nil {
		return a.chain, nil
	}
	// A function never has the metadata service of a virtual machine, and where there is none, asking it takes seconds.
	instance := imds.ClientDisabled
	if strings.EqualFold(a.getenv("AWS_EC2_METADATA_DISABLED"), "false") {
		instance = imds.ClientEnabled
	}
	options := []func(*config.LoadOptions) error{
		config.WithRegion(a.region),
		config.WithRetryer(func() aws.Retryer { return aws.NopRetryer{} }),
		// What the SDK has to say is in the errors; its log lines would not have our form.
		config.WithLogger(logging.Nop{}),
		config.WithDefaultsMode(aws.DefaultsModeLegacy),
		config.WithEC2IMDSClientEnableState(instance),
		// The SDK would bring the expiry forward by 5 minutes, which makes short-lived credentials look dead on arrival.
		config.WithCredentialsCacheOptions(func(o *aws.CredentialsCacheOptions) { o.ExpiryWindow = 0 }),
		config.WithEndpointCredentialOptions(func(o *endpointcreds.Options) { o.HTTPClient = a.http }),
		config.WithProcessCredentialOptions(func(o *processcreds.Options) { o.Timeout = 2500 * time.Millisecond }),
	}
	if os.Getenv("AWS_CA_BUNDLE") == "" {
		// With a bundle of its own the SDK must make the client itself: it refuses to load with one into which it cannot put the bundle.
		options = append(options, config.WithHTTPClient(a.http))
	}
	loaded, err := config.LoadDefaultConfig(ctx, options...)
	if err != nil {
		return nil, &identity.Error{Public: "the AWS settings in the environment or in the shared files cannot be used; check AWS_PROFILE, " +
			"AWS_CONTAINER_CREDENTIALS_FULL_URI, and AWS_WEB_IDENTITY_TOKEN_FILE with AWS_ROLE_ARN", Err: err}
	}
	a.chain = loaded.Credentials
	return a.chain, nil
}

// explain says which source failed and how, in words that hold nothing of what the source answered.
func explain(err error) error {
	if known, ok := errors.AsType[*identity.Error](err); ok {
		return known
	}
	operation, ok := errors.AsType[*smithy.OperationError](err)
	if ok && operation.Service() == "ec2imds" {
		return &identity.Error{Public: "no AWS credentials found. Looked for AWS_ACCESS_KEY_ID with AWS_SECRET_ACCESS_KEY, AWS_WEB_IDENTITY_TOKEN_FILE with " +
			"AWS_ROLE_ARN, a profile in the shared files, AWS_CONTAINER_CREDENTIALS_RELATIVE_URI and AWS_CONTAINER_CREDENTIALS_FULL_URI. Give the function a " +
			"role. The metadata service of a virtual machine is asked only when AWS_EC2_METADATA_DISABLED=false", Err: err}
	}
	text := "the AWS credentials cannot be fetched"
	if ok {
		text += fmt.Sprintf(" (%s %s)", operation.Service(), operation.Operation())
	}
	status, hasStatus := errors.AsType[interface {
		error
		HTTPStatusCode() int
	}](err)
	if hasStatus && status.HTTPStatusCode() != 0 {
		text += fmt.Sprintf(", status %d", status.HTTPStatusCode())
	}
	refusal, ok := errors.AsType[smithy.APIError](err)
	if ok && isCode(refusal.ErrorCode()) {
		text += ", " + refusal.ErrorCode()
	}
	// A refusal stays one; anything else may pass.
	refused := hasStatus && status.HTTPStatusCode() >= 400 && status.HTTPStatusCode() < 500 && status.HTTPStatusCode() != http.StatusTooManyRequests
	return &identity.Error{Public: text, Err: err, Retryable: !refused}
}

// isCode reports whether a text is a mere name, such as AccessDenied, and not a message.
func isCode(text string) bool {
	return text != "" && len(text) <= 64 && !strings.ContainsFunc(text, func(c rune) bool {
		return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9')
	})
}

// sourceName says in our words which provider of the SDK found the credentials.
func sourceName(source string) string {
	switch source {
	case environmentSource, lambdaSource:
		return source
	}
	for _, known := range []struct{ prefix, name string }{
		{"CredentialsEndpointProvider", "container credentials"},
		{"WebIdentityCredentials", "web identity"},
		{"SharedConfigCredentials", "shared config"},
		{"AssumeRoleProvider", "assumed role"},
		{"SSOProvider", "single sign-on"},
		{"LoginProvider", "login session"},
		{"ProcessProvider", "credential process"},
		{"EC2RoleProvider", "instance metadata"},
		{"EnvConfigCredentials", environmentSource},
		{"StaticCredentials", "static keys"},
	} {
		if strings.HasPrefix(source, known.prefix) {
			return known.name
		}
	}
	return "custom credentials"
}
