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
	"github.com/aws/aws-sdk-go-v2/credentials/processcreds"
	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/logging"
	"github.com/postern-ai/postern/shared/identity"
	"github.com/postern-ai/postern/shared/secrets"
)

const (
	environmentSource = "environment"
	lambdaSource      = "lambda environment"
	sharedSource      = "shared config"
	processSource     = "credential process"
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
		return a.webIdentity(ctx, file)
	}
	held, err := a.profile()
	if err != nil {
		return keys{source: sharedSource}, err
	}
	provider, err := held.provider()
	if err != nil {
		return keys{source: sharedSource}, err
	}
	if provider == nil {
		if provider, err = a.surrounding(); err != nil {
			return keys{}, err
		}
	}
	found, err := provider.Retrieve(ctx)
	if err != nil && found.Source == "" {
		return keys{}, err
	}
	return keys{Credentials: found, source: sourceName(found.Source)}, err
}

// webIdentity assumes the role that the environment names with the token in a file, which is read anew each time.
func (a *ambient) webIdentity(ctx context.Context, file string) (keys, error) {
	web, err := NewWebIdentity(WebIdentityOptions{
		STSOptions: STSOptions{HTTP: a.http, Getenv: a.getenv},
		RoleARN:    a.getenv("AWS_ROLE_ARN"), SessionName: a.getenv("AWS_ROLE_SESSION_NAME"),
		Token: identity.TokenFunc(func(context.Context) (identity.Token, error) {
			text, err := os.ReadFile(file)
			if err != nil {
				return identity.Token{}, &identity.Error{Public: "the file in AWS_WEB_IDENTITY_TOKEN_FILE cannot be read", Err: err}
			}
			token := strings.TrimSpace(string(text))
			if token == "" {
				return identity.Token{}, &identity.Error{Public: "the file in AWS_WEB_IDENTITY_TOKEN_FILE is empty", Retryable: true}
			}
			return identity.Token{Value: secrets.NewValue(token)}, nil
		}),
	})
	if err != nil {
		return keys{}, &identity.Error{Public: "AWS_WEB_IDENTITY_TOKEN_FILE is set, and of what goes with it (AWS_ROLE_ARN, AWS_ROLE_SESSION_NAME, AWS_REGION) " +
			"something is missing or wrong: " + err.Error(), Err: err}
	}
	return web.retrieve(ctx)
}

// surrounding returns what a container or a virtual machine gives the programs in it.
func (a *ambient) surrounding() (aws.CredentialsProvider, error) {
	const relative, full = "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI"
	if path := a.getenv(relative); path != "" {
		return a.container(relative, "http://"+ecsHost+path)
	}
	if address := a.getenv(full); address != "" {
		return a.container(full, address)
	}
	return a.instance()
}

// Where containers on ECS and EKS find their credentials.
const ecsHost, eksHost, eksHost6 = "169.254.170.2", "169.254.170.23", "fd00:ec2::23"

// container asks the endpoint of a container for credentials. The variable is where its address is from.
func (a *ambient) container(variable, address string) (aws.CredentialsProvider, error) {
	parsed, err := url.Parse(address)
	if err != nil || parsed.Hostname() == "" || parsed.Scheme != "https" && !givesCredentials(parsed) {
		// What stands there would get the token, and could answer with credentials of its own.
		return nil, &identity.Error{Public: variable + " has to lead to an https address, or to an http one of this machine itself, of ECS (" + ecsHost +
			") or of EKS (" + eksHost + ", [" + eksHost6 + "])", Err: err}
	}
	token, err := a.containerToken()
	if err != nil {
		return nil, err
	}
	return endpointcreds.New(address, func(o *endpointcreds.Options) {
		o.HTTPClient, o.Retryer, o.AuthorizationToken = a.http, aws.NopRetryer{}, token
	}), nil
}

// givesCredentials reports whether an address without TLS is one of those that AWS gives its containers.
func givesCredentials(address *url.URL) bool {
	host := address.Hostname()
	return address.Scheme == "http" && (identity.IsLoopback(address) || host == ecsHost || host == eksHost || host == eksHost6)
}

// containerToken is what the endpoint of a container may want to see. A file counts more, and is read anew each time, since EKS replaces it.
func (a *ambient) containerToken() (string, error) {
	variable := "AWS_CONTAINER_AUTHORIZATION_TOKEN"
	token := a.getenv(variable)
	if file := a.getenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"); file != "" {
		variable = "the file in AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"
		text, err := os.ReadFile(file)
		if err != nil {
			return "", &identity.Error{Public: variable + " cannot be read", Err: err}
		}
		token = string(text)
	}
	if strings.ContainsAny(token, "\r\n") {
		return "", &identity.Error{Public: variable + " holds a line break, which cannot be in a header; remove it"}
	}
	return token, nil
}

// instance asks the metadata service of a virtual machine. A function never has one, and where there is none, asking it takes seconds.
func (a *ambient) instance() (aws.CredentialsProvider, error) {
	if !strings.EqualFold(a.getenv("AWS_EC2_METADATA_DISABLED"), "false") {
		return nil, &identity.Error{Public: "no AWS credentials found. Looked for AWS_ACCESS_KEY_ID with AWS_SECRET_ACCESS_KEY, AWS_WEB_IDENTITY_TOKEN_FILE with " +
			"AWS_ROLE_ARN, a profile in the shared files, AWS_CONTAINER_CREDENTIALS_RELATIVE_URI and AWS_CONTAINER_CREDENTIALS_FULL_URI. Give the function a " +
			"role. The metadata service of a virtual machine is asked only when AWS_EC2_METADATA_DISABLED=false"}
	}
	o := imds.Options{
		HTTPClient: a.http, Retryer: aws.NopRetryer{}, Logger: logging.Nop{},
		Endpoint: a.getenv("AWS_EC2_METADATA_SERVICE_ENDPOINT"), ClientEnableState: imds.ClientEnabled,
	}
	if strings.EqualFold(a.getenv("AWS_EC2_METADATA_V1_DISABLED"), "true") {
		o.EnableFallback = aws.FalseTernary
	}
	if err := o.EndpointMode.SetFromString(a.getenv("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE")); err != nil {
		return nil, &identity.Error{Public: "AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE has to be IPv4 or IPv6", Err: err}
	}
	return ec2rolecreds.New(func(r *ec2rolecreds.Options) { r.Client = imds.New(o) }), nil
}

// explain says which source failed and how, in words that hold nothing of what the source answered.
func explain(err error) error {
	if known, ok := errors.AsType[*identity.Error](err); ok {
		return known
	}
	if _, ok := errors.AsType[*processcreds.ProviderError](err); ok {
		return &identity.Error{Public: fmt.Sprintf("the credential_process of the AWS shared files gave no credentials within %v; run it by hand to see what it says", processTimeout),
			Err: err, Retryable: true}
	}
	text := "the AWS credentials cannot be fetched"
	if operation, ok := errors.AsType[*smithy.OperationError](err); ok {
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
		{sharedProvider, sharedSource},
		{"AssumeRoleProvider", "assumed role"},
		{"ProcessProvider", processSource},
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
