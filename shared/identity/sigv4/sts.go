package sigv4

import (
	"cmp"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/postern-ai/postern/shared/identity"
)

const (
	// stsTries is how often a request to STS is sent when it does not answer or says that it is not able to.
	stsTries = 2
	stsPause = 100 * time.Millisecond
	// stsTimeout bounds one fetch from STS, all tries together.
	stsTimeout = 2500 * time.Millisecond
	// maxTokens is far above the longest session token or identity token, in bytes.
	maxTokens = 64 << 10
)

// STSOptions says where the Security Token Service is asked. The zero value is the one of the function's own region.
type STSOptions struct {
	// Region is where STS is asked. The global endpoint is never used: it is one region's, far away from the others, and has no tokens for
	// services outside AWS. Empty means AWS_REGION, or else AWS_DEFAULT_REGION.
	Region string
	// Endpoint replaces the region's own, for a private endpoint such as https://vpce-1-2.sts.eu-central-1.vpce.amazonaws.com. Empty means
	// the endpoint in the SDK's own variables (AWS_ENDPOINT_URL_STS, AWS_ENDPOINT_URL), or else the region's.
	Endpoint string
	// HTTP sends the requests. Nil means an identity.IssuerClient.
	HTTP *http.Client
	// Getenv reads the environment. Nil means the process's own.
	Getenv func(name string) string
}

// tokenService is STS as it can be asked.
type tokenService struct {
	region, endpoint string
	http             *http.Client
}

func (o STSOptions) resolve() (*tokenService, error) {
	if o.Getenv == nil {
		o.Getenv = os.Getenv
	}
	if o.HTTP == nil {
		o.HTTP = identity.IssuerClient()
	}
	region := cmp.Or(o.Region, o.Getenv("AWS_REGION"), o.Getenv("AWS_DEFAULT_REGION"))
	if err := checkRegion(region); err != nil {
		return nil, err
	}
	endpoint := o.Endpoint
	if endpoint == "" {
		endpoint = stsEndpoint(o.Getenv, region)
	}
	parsed, err := url.Parse(endpoint)
	switch {
	case err != nil || parsed.Host == "" || parsed.User != nil || parsed.RawQuery != "" || parsed.Fragment != "" || parsed.Path != "" && parsed.Path != "/":
		return nil, errors.New("the STS endpoint must be an https URL of a host and nothing else: https://sts.eu-central-1.amazonaws.com")
	case !mayReceiveSignature(endpoint):
		return nil, errors.New("the STS endpoint must begin with https:// (http:// is allowed for this machine itself)")
	}
	return &tokenService{region: region, endpoint: parsed.Scheme + "://" + parsed.Host + "/", http: o.HTTP}, nil
}

// stsError is a refusal of STS, or its silence.
type stsError struct {
	status int    // 0 when there was no answer
	code   string // empty when there is none that can be shown
	skew   string // what is wrong with the clock
	cause  error
}

// Error names the code.
func (e *stsError) Error() string { return "sts: " + cmp.Or(e.code, "no code") }

// Unwrap returns the cause.
func (e *stsError) Unwrap() error { return e.cause }

func (e *stsError) retryable() bool {
	return e.status == 0 || e.status == http.StatusTooManyRequests || e.status >= http.StatusInternalServerError || e.code == "Throttling" || e.code == "IDPCommunicationError"
}

// refusedCaller reports whether STS did not accept the credentials that the request was signed with.
func refusedCaller(err error) bool {
	refused, ok := errors.AsType[*stsError](err)
	if !ok {
		return false
	}
	switch refused.code {
	case "ExpiredToken", "ExpiredTokenException", "InvalidClientTokenId", "UnrecognizedClientException":
		return true
	}
	return false
}

// call sends one request in the query protocol and returns the body of the answer. Without keys it is not signed. Errors are *stsError.
func (s *tokenService) call(ctx context.Context, form url.Values, signer *keys) ([]byte, error) {
	form.Set("Version", "2011-06-15")
	began := time.Now()
	for try := 1; ; try++ {
		reply, err := s.once(ctx, form.Encode(), signer)
		failure, ok := errors.AsType[*stsError](err)
		if !ok || !failure.retryable() || try == stsTries || time.Since(began) > time.Second || !pause(ctx, stsPause) {
			return reply, err
		}
	}
}

func pause(ctx context.Context, length time.Duration) bool {
	timer := time.NewTimer(length)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func (s *tokenService) once(ctx context.Context, form string, signer *keys) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, s.endpoint, strings.NewReader(form))
	if err != nil {
		return nil, &stsError{cause: err}
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if signer != nil {
		if err := s.sign(request, *signer); err != nil {
			return nil, err
		}
	}
	response, err := s.http.Do(request)
	if err != nil {
		return nil, &stsError{cause: err}
	}
	defer func() { _ = response.Body.Close() }()
	reply, err := io.ReadAll(io.LimitReader(response.Body, maxTokens+1))
	switch {
	case err != nil:
		return nil, &stsError{cause: err}
	case len(reply) > maxTokens:
		return nil, &stsError{status: response.StatusCode, code: "AnswerTooLarge"}
	case response.StatusCode != http.StatusOK:
		return nil, refusalOf(response, reply)
	}
	return reply, nil
}

func (s *tokenService) sign(request *http.Request, signer keys) error {
	hash, err := payloadHash(request)
	if err == nil {
		err = v4.NewSigner().SignHTTP(request.Context(), signer.Credentials, request, hash, "sts", s.region, time.Now())
	}
	if err != nil {
		return &stsError{cause: err}
	}
	return nil
}

// refusalOf reads the code of an error, never its message, and whether the clocks differ.
func refusalOf(response *http.Response, reply []byte) *stsError {
	return &stsError{status: response.StatusCode, code: parseCode(reply), skew: identity.DescribeSkew(response.Header)}
}

func parseCode(reply []byte) string {
	var parsed struct {
		XMLName xml.Name `xml:"ErrorResponse"`
		Code    string   `xml:"Error>Code"`
	}
	if xml.Unmarshal(reply, &parsed) != nil || !isCode(parsed.Code) {
		return ""
	}
	return parsed.Code
}

// explainSTS puts a failure into words. What is done, such as "assume role R", and the remedies by code come from the caller.
func explainSTS(err error, doing string, remedies map[string]string) error {
	failure, ok := errors.AsType[*stsError](err)
	if !ok {
		return err
	}
	if failure.status == 0 {
		return &identity.Error{Public: "cannot " + doing + ": AWS STS does not answer", Err: failure.cause, Retryable: true}
	}
	text := fmt.Sprintf("cannot %s: AWS STS answered with status %d", doing, failure.status)
	if failure.code != "" {
		text += ", " + failure.code
	}
	if remedy := remedies[failure.code]; remedy != "" {
		text += "; " + remedy
	}
	if failure.skew != "" {
		text += "; " + failure.skew
	}
	return &identity.Error{Public: text, Err: failure, Retryable: failure.retryable()}
}

// issued is what AssumeRole and AssumeRoleWithWebIdentity answer with.
type issued struct {
	AccessKeyID     string `xml:"Credentials>AccessKeyId"`
	SecretAccessKey string `xml:"Credentials>SecretAccessKey"`
	SessionToken    string `xml:"Credentials>SessionToken"`
	Expiration      string `xml:"Credentials>Expiration"`
	ARN             string `xml:"AssumedRoleUser>Arn"`
}

// parseIssued returns the credentials in a reply. All parts must be there: a session that does not say when it ends would be kept for good.
func parseIssued(reply []byte, source string) (keys, error) {
	var parsed struct {
		XMLName     xml.Name
		Role        issued `xml:"AssumeRoleResult"`
		WebIdentity issued `xml:"AssumeRoleWithWebIdentityResult"`
	}
	err := xml.Unmarshal(reply, &parsed)
	got := parsed.Role
	if parsed.XMLName.Local == "AssumeRoleWithWebIdentityResponse" {
		got = parsed.WebIdentity
	}
	expires, badTime := time.Parse(time.RFC3339, got.Expiration)
	if err != nil || badTime != nil || got.AccessKeyID == "" || got.SecretAccessKey == "" || got.SessionToken == "" {
		return keys{}, &identity.Error{Public: "the answer of AWS STS holds no credentials with an expiry", Err: err, Retryable: true}
	}
	held := keys{source: source, arn: asARN(got.ARN)}
	held.AccessKeyID, held.SecretAccessKey, held.SessionToken = got.AccessKeyID, got.SecretAccessKey, got.SessionToken
	held.CanExpire, held.Expires, held.Source = true, expires, source
	return held, nil
}
