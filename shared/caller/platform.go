package caller

import (
	"errors"
	"net/http"
	"strings"
)

// removedSignature is what Cloud Run puts in the place of the signature of a token that it has verified itself, so that the
// container cannot pass the token on.
const removedSignature = "SIGNATURE_REMOVED_BY_GOOGLE"

// Lambda returns an authenticator for functions behind a URL or API with IAM authorization. identity gives the ARN that Lambda
// itself verified and put into the event that the request was made of; it must never look at the request's headers.
func Lambda(identity func(*http.Request) (arn string, ok bool)) Authenticator {
	return lambda{identity}
}

type lambda struct {
	identity func(*http.Request) (string, bool)
}

func (l lambda) Authenticate(r *http.Request) (*Principal, error) {
	arn, ok := l.identity(r)
	if !ok || !strings.HasPrefix(arn, "arn:") || len(arn) > maxSubjectBytes {
		return nil, &Error{
			Code:    Missing,
			Public:  "the request is not signed by an AWS identity; sign it with SigV4 for the service lambda",
			Err:     errors.New("the event holds no IAM identity; is the function URL's authorization type AWS_IAM?"),
			notMine: true,
		}
	}
	return &Principal{Method: AWSIAM, Issuer: AWSIssuer, Subject: arn, Name: arn, Tenant: account(arn)}, nil
}

// account returns the account of an identity's ARN.
func account(arn string) string {
	parts := strings.SplitN(arn, ":", 6)
	if len(parts) != 6 {
		return ""
	}
	return parts[4]
}

// CloudRunInvoker returns an authenticator for services whose invoker check is on, which the deployment has to vouch for: the
// container cannot see whether it is. It reads the claims of the Google token that Cloud Run verified. Cloud Run looks at
// X-Serverless-Authorization alone when that is present, so Authorization then says nothing about the caller.
func CloudRunInvoker() Authenticator { return invoker{} }

type invoker struct{}

func (invoker) Authenticate(r *http.Request) (*Principal, error) {
	name := headerAuthorization
	if len(r.Header[headerServerless]) > 0 {
		name = headerServerless
	}
	text, failure := bearer(r, name)
	if failure != nil {
		return nil, failure
	}
	if !strings.HasSuffix(text, "."+removedSignature) {
		e := malformed("the token still has a signature; is the invoker check of the service on?")
		e.notMine = true
		return nil, e
	}
	t, failure := parse(text)
	if failure != nil {
		return nil, failure
	}
	// Google has two spellings.
	if !google(t.claims.Issuer) {
		return nil, &Error{Code: WrongIssuer, Public: "the token is not one of Google's"}
	}
	if failure := t.claims.current(wallClock()); failure != nil {
		return nil, failure
	}
	subject := t.claims.Subject
	// IAM names Google identities by their address, so policies do too.
	if address := t.claims.address(); address != "" {
		subject = address
	}
	p := &Principal{
		Method: CloudRun, Issuer: "https://accounts.google.com", Subject: subject, Name: subject, Expires: t.claims.expires(),
	}
	t.describe(p, nil)
	return p, nil
}

// AppServiceAuthentication returns an authenticator for functions whose App Service authentication ("EasyAuth") is on and
// refuses anonymous requests, which the deployment has to vouch for. It reads the headers that the feature sets; where the
// feature is off anybody could send them.
func AppServiceAuthentication() Authenticator { return easyAuth{} }

type easyAuth struct{}

func (easyAuth) Authenticate(r *http.Request) (*Principal, error) {
	id, ok := only(r, headerPrincipalID)
	name, ok2 := only(r, headerPrincipalName)
	switch {
	case !ok || !ok2:
		return nil, &Error{Code: Malformed, Public: "the platform's identity headers are given more than once, or are too long"}
	case id == "":
		e := missing()
		e.Err = errors.New("there is no X-MS-CLIENT-PRINCIPAL-ID header; is App Service authentication on?")
		return nil, e
	case name == "":
		name = id
	}
	return &Principal{Method: EasyAuth, Issuer: EasyAuthIssuer, Subject: id, Name: name}, nil
}

// only returns a header that may be given once at most.
func only(r *http.Request, name string) (string, bool) {
	values := r.Header[name]
	if len(values) == 0 {
		return "", true
	}
	return values[0], len(values) == 1 && len(values[0]) <= maxSubjectBytes
}
