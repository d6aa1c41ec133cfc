package sigv4

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials/ec2rolecreds"
	"github.com/aws/aws-sdk-go-v2/credentials/endpointcreds"
	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/logging"
	"github.com/postern-ai/postern/shared/identity"
	"github.com/postern-ai/postern/shared/secrets"
)

const (
	environmentSource = "environment"
	lambdaSource      = "lambda environment"
)

// ambient finds the platform's own credentials. It tries the sources in the order of the SDK's chain and takes the first that is configured.
//
// The SDK's own chain (its config package) is not linked: for profiles of people who sign in, which a function never has, it brings the
// clients of four services, whose setting up was a tenth of each cold start and a tenth of each binary.
type ambient struct {
	getenv func(string) string
	http   *http.Client
}

// Retrieve implements the SDK's interface.
func (a *ambient) Retrieve(ctx context.Context) (aws.Credentials, error) {
	found, err := a.retrieve(ctx)
	return found.Credentials, err
}

func (a *ambient) retrieve(ctx context.Context) (keys, error) {
	id, secret := a.getenv("AWS_ACCESS_KEY_ID"), a.getenv("AWS_SECRET_ACCESS_KEY")
	switch {
	case id != "" && secret != "":
		source := environmentSource
		if a.getenv("AWS_LAMBDA_FUNCTION_NAME") != "" {
			source = lambdaSource
		}
		// All three are from one place; a token from elsewhere would belong to another key.
		return keys{source: source, Credentials: aws.Credentials{
			AccessKeyID: id, SecretAccessKey: secret, SessionToken: a.getenv("AWS_SESSION_TOKEN"), Source: source,
		}}, nil
	case id != "":
		return keys{}, &identity.Error{Public: "AWS_ACCESS_KEY_ID is set without AWS_SECRET_ACCESS_KEY; set both or neither"}
	case secret != "":
		return keys{}, &identity.Error{Public: "AWS_SECRET_ACCESS_KEY is set without AWS_ACCESS_KEY_ID; set both or neither"}
	}
	if file := a.getenv("AWS_WEB_IDENTITY_TOKEN_FILE"); file != "" {
		web, err := a.webIdentity(file)
		if err != nil {
			return keys{}, unusable(err)
		}
		return web.retrieve(ctx)
	}
	provider, err := a.configured()
	if err != nil {
		return keys{}, unusable(err)
	}
	found, err := provider.Retrieve(ctx)
	return keys{Credentials: found, source: sourceName(found.Source)}, err
}

// unusable is that a source is configured and cannot be used.
func unusable(err error) error {
	if known, ok := errors.AsType[*identity.Error](err); ok {
		return known
	}
	return &identity.Error{Public: "the AWS settings in the environment or in the shared files cannot be used; check AWS_PROFILE, " +
		"AWS_CONTAINER_CREDENTIALS_FULL_URI, and AWS_WEB_IDENTITY_TOKEN_FILE with AWS_ROLE_ARN", Err: err}
}

// webIdentity is the role that the environment names, assumed with the token in a file, which is read anew each time.
func (a *ambient) webIdentity(file string) (*WebIdentity, error) {
	return NewWebIdentity(WebIdentityOptions{
		STSOptions: STSOptions{HTTP: a.http, Getenv: a.getenv},
		RoleARN:    a.getenv("AWS_ROLE_ARN"), SessionName: a.getenv("AWS_ROLE_SESSION_NAME"),
		Token: identity.TokenFunc(func(context.Context) (identity.Token, error) {
			token, err := os.ReadFile(file)
			if err != nil {
				return identity.Token{}, unusable(err)
			}
			return identity.Token{Value: secrets.NewValue(strings.TrimSpace(string(token)))}, nil
		}),
	})
}

// configured returns the first source besides the environment that has settings.
func (a *ambient) configured() (aws.CredentialsProvider, error) {
	profile, err := a.profile()
	if err != nil {
		return nil, err
	}
	if provider, err := profile.provider(); provider != nil || err != nil {
		return provider, err
	}
	if path := a.getenv("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"); path != "" {
		return a.container("http://" + ecsHost + path)
	}
	if address := a.getenv("AWS_CONTAINER_CREDENTIALS_FULL_URI"); address != "" {
		return a.container(address)
	}
	return a.instance()
}

// Where containers on ECS and EKS find their credentials.
const ecsHost, eksHost, eksHost6 = "169.254.170.2", "169.254.170.23", "fd00:ec2::23"

// container asks the endpoint of a container for credentials.
func (a *ambient) container(address string) (aws.CredentialsProvider, error) {
	parsed, err := url.Parse(address)
	if err != nil {
		return nil, err
	}
	switch host := parsed.Hostname(); {
	case host == "":
		return nil, errors.New("the address of the container's credentials names no host")
	case parsed.Scheme != "https" && !identity.IsLoopback(parsed) && host != ecsHost && host != eksHost && host != eksHost6:
		// What stands there would get the token, and could answer with credentials of its own.
		return nil, errors.New("the container's credentials come from this machine, from ECS, from EKS, or by https")
	}
	return endpointcreds.New(address, func(o *endpointcreds.Options) {
		o.HTTPClient, o.Retryer = a.http, aws.NopRetryer{}
		o.AuthorizationToken = a.getenv("AWS_CONTAINER_AUTHORIZATION_TOKEN")
		if file := a.getenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"); file != "" {
			o.AuthorizationTokenProvider = endpointcreds.TokenProviderFunc(func() (string, error) {
				token, err := os.ReadFile(file)
				return string(token), err
			})
		}
	}), nil
}

// instance asks the metadata service of a virtual machine. A function never has one, and where there is none, asking it takes seconds.
func (a *ambient) instance() (aws.CredentialsProvider, error) {
	o := imds.Options{
		HTTPClient: a.http, Retryer: aws.NopRetryer{}, Logger: logging.Nop{},
		Endpoint: a.getenv("AWS_EC2_METADATA_SERVICE_ENDPOINT"), ClientEnableState: imds.ClientDisabled,
	}
	if strings.EqualFold(a.getenv("AWS_EC2_METADATA_DISABLED"), "false") {
		o.ClientEnableState = imds.ClientEnabled
	}
	if strings.EqualFold(a.getenv("AWS_EC2_METADATA_V1_DISABLED"), "true") {
		o.EnableFallback = aws.FalseTernary
	}
	if err := o.EndpointMode.SetFromString(a.getenv("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE")); err != nil {
		return nil, err
	}
	return ec2rolecreds.New(func(r *ec2rolecreds.Options) { r.Client = imds.New(o) }), nil
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
		{"SharedConfigCredentials", "shared config"},
		{"AssumeRoleProvider", "assumed role"},
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
