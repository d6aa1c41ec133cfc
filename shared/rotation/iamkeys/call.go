package iamkeys

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/xml"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/postern-ai/postern/shared/rotation"
)

const (
	iamVersion = "2010-05-08"
	stsVersion = "2011-06-15"
)

// scope is what a signature is good for.
type scope struct{ service, region string }

// authorizer signs requests with the function's own credentials.
type authorizer struct {
	credentials aws.CredentialsProvider
	scope       scope
	signer      *v4.Signer
}

// Authorize implements [secrets.Authorizer].
func (a *authorizer) Authorize(request *http.Request) error {
	credentials, err := a.credentials.Retrieve(request.Context())
	if err != nil {
		return err
	}
	return sign(a.signer, request, credentials, a.scope)
}

// Rejected implements [secrets.Authorizer].
func (a *authorizer) Rejected(*http.Request) {
	if cached, ok := a.credentials.(interface{ Invalidate() }); ok {
		cached.Invalidate()
	}
}

// sign puts a signature on a request, whose body can be read again.
func sign(signer *v4.Signer, request *http.Request, credentials aws.Credentials, s scope) error {
	body, err := request.GetBody()
	if err != nil {
		return err
	}
	hash := sha256.New()
	if _, err := io.Copy(hash, body); err != nil {
		return err
	}
	for _, name := range []string{"Authorization", "X-Amz-Date", "X-Amz-Security-Token"} {
		request.Header.Del(name) // of an earlier signature
	}
	return signer.SignHTTP(request.Context(), credentials, request, hex.EncodeToString(hash.Sum(nil)), s.service, s.region, time.Now())
}

// query makes a request in the Query protocol.
func query(ctx context.Context, endpoint string, form url.Values) (*http.Request, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint+"/", strings.NewReader(form.Encode()))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return request, nil
}

// operation is an operation of IAM, and what it is needed for.
type operation struct {
	name string
	op   string
	// gone is whether the key may be gone.
	gone bool
}

// call does an operation and reads its result into a target. A key that is gone, where that may be, leaves the target as it is.
func (u *user) call(ctx context.Context, o operation, parameters map[string]string, target any) error {
	form := url.Values{"Action": {o.name}, "Version": {iamVersion}}
	for name, value := range parameters {
		if value != "" {
			form.Set(name, value)
		}
	}
	request, err := query(ctx, u.iam, form)
	if err != nil {
		return &rotation.Error{Op: o.op, Reason: "no request can be made of it", Err: rotation.ErrRefused}
	}
	reply, err := u.remote.Send(request, rotation.Purpose{Op: o.op, Needs: "iam:" + o.name + " on the user"})
	if err != nil {
		return err
	}
	if reply.Status != http.StatusOK {
		return o.explain(reply)
	}
	var root struct{ XMLName xml.Name }
	if xml.Unmarshal(reply.Body, &root) != nil || root.XMLName.Local != o.name+"Response" || target != nil && xml.Unmarshal(reply.Body, target) != nil {
		return reply.Malformed()
	}
	return nil
}

var codeForm = regexp.MustCompile(`^[A-Za-z.]{1,64}$`)

// code returns the name of the error that a reply in the Query protocol reports. A reply that is no error of this protocol, such as a proxy's
// page, has none.
func code(reply rotation.Reply) string {
	var parsed struct {
		XMLName xml.Name `xml:"ErrorResponse"`
		Code    string   `xml:"Error>Code"`
	}
	if xml.Unmarshal(reply.Body, &parsed) != nil || !codeForm.MatchString(parsed.Code) {
		return ""
	}
	return parsed.Code
}

// notAccepted returns the name of an error that says that AWS refused the signature rather than what was asked for
// (https://docs.aws.amazon.com/IAM/latest/APIReference/CommonErrors.html).
func notAccepted(reply rotation.Reply) string {
	if reply.Status < 400 || reply.Status > 499 {
		return ""
	}
	switch name := code(reply); name {
	case "ExpiredToken", "ExpiredTokenException", "InvalidClientTokenId", "UnrecognizedClientException", "SignatureDoesNotMatch", "IncompleteSignature",
		"MissingAuthenticationToken", "RequestExpired", "AuthFailure":
		return name
	}
	return ""
}

// throttled reports whether a service of the Query protocol has not done what it was asked, and may do it later.
func throttled(name string) bool {
	switch name {
	case "Throttling", "ThrottlingException", "ThrottledException", "RequestThrottled", "RequestLimitExceeded", "TooManyRequestsException",
		"EntityTemporarilyUnmodifiable", "ConcurrentModification":
		return true
	}
	return false
}

// explain says in our own words why IAM refused. What it wrote is not shown, because it names accounts and callers.
func (o operation) explain(reply rotation.Reply) error {
	if name := notAccepted(reply); name != "" {
		return reply.Refused("AWS does not accept this function's credentials (" + name + ")")
	}
	switch name := code(reply); {
	case throttled(name):
		return reply.Throttled("AWS IAM is throttling (" + name + ")")
	case name == "NoSuchEntity" && o.gone:
		return nil
	case name == "NoSuchEntity":
		return reply.Refused("IAM has no user of the configured name (user_name), or the key is gone")
	case name == "LimitExceeded":
		return reply.Limited("the user has two keys already, which is all that IAM allows; delete the one that is not in use")
	case name == "NotSupportedService":
		return reply.Refused("IAM has no API keys for Amazon Bedrock in this partition")
	case name == "AccessDenied" || name == "AccessDeniedException":
		return reply.Refused("this function's role may not do that; it needs iam:" + o.name + " on the user")
	}
	return reply.Unexpected()
}
