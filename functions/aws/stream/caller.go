package stream

import (
	"context"

	"github.com/aws/aws-lambda-go/lambdacontext"
)

// Caller is the IAM principal whose signature AWS verified before it invoked the function.
type Caller struct {
	// AccountID is the twelve digits of the principal's account.
	AccountID string
	// UserARN names the principal: a user, or the session of an assumed role.
	UserARN string
	// CallerID and UserID are the principal's unique IDs, which outlive a change of its name.
	CallerID, UserID string
}

// IAMCaller returns the principal that the front door verified, with authorization type AWS_IAM. It is false behind a
// front door that verifies nobody. The source is requestContext.authorizer.iam of the event, which no request header can
// influence; whoever may invoke the function directly could write it, so grant lambda:InvokeFunction only under the
// condition lambda:InvokedViaFunctionUrl.
func IAMCaller(ctx context.Context) (Caller, bool) {
	c, ok := ctx.Value(callerKey{}).(Caller)
	return c, ok
}

// RequestID returns the ID that Lambda gave to the invocation and writes in its own log lines.
func RequestID(ctx context.Context) (string, bool) {
	lc, ok := lambdacontext.FromContext(ctx)
	if !ok {
		return "", false
	}
	return lc.AwsRequestID, lc.AwsRequestID != ""
}

// ClientCertificate returns the certificate, in PEM, whose client an API Gateway custom domain with mutual TLS has verified.
// Like the identity, it is of the event, which no request header can influence.
func ClientCertificate(ctx context.Context) (pem string, ok bool) {
	pem, ok = ctx.Value(certificateKey{}).(string)
	return pem, ok
}

// Balanced reports whether the request came through an Application Load Balancer.
func Balanced(ctx context.Context) bool {
	balanced, _ := ctx.Value(balancedKey{}).(bool)
	return balanced
}

type (
	callerKey      struct{}
	certificateKey struct{}
	balancedKey    struct{}
)

func (e event) withCaller(ctx context.Context) context.Context {
	if e.balanced() {
		return context.WithValue(ctx, balancedKey{}, true)
	}
	if text := e.RequestContext.Authentication.ClientCert.PEM; text != "" && !e.functionURL() {
		ctx = context.WithValue(ctx, certificateKey{}, text)
	}
	iam := e.RequestContext.Authorizer.IAM
	if iam == nil || iam.AccountID == "" || iam.UserARN == "" {
		return ctx
	}
	return context.WithValue(ctx, callerKey{}, Caller{
		AccountID: iam.AccountID, UserARN: iam.UserARN, CallerID: iam.CallerID, UserID: iam.UserID,
	})
}
