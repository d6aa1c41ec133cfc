package bedrock

import (
	"errors"
	"net/http"
	"strings"
	"time"

	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/postern-ai/postern/shared/chat"
	"github.com/postern-ai/postern/shared/provider"
)

// wakeUp is how long a caller should wait for a model that is not loaded. The
// service does not say; imported models take tens of seconds.
const wakeUp = 30 * time.Second

// Rejected reports whether an answer means that the service did not accept the
// credential, as opposed to: knows it, but does not allow the call. It is for
// [provider.Sender], since AWS answers both with status 403, and malformed
// signatures with 400. The names are from "Common Errors" in the API reference
// of Amazon Bedrock and from what signature verification answers.
func Rejected(resp *http.Response) bool {
	switch resp.StatusCode {
	case http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden:
		return isCredential(errorType(resp.Header))
	}
	return false
}

// errorType reads the name of an error, which may have a namespace before it
// and an address behind it.
func errorType(h http.Header) string {
	code, _, _ := strings.Cut(h.Get("X-Amzn-Errortype"), ":")
	return code[strings.LastIndexByte(code, '#')+1:]
}

func isCredential(code string) bool {
	switch code {
	case "ExpiredToken", "ExpiredTokenException", "RequestExpired",
		"UnrecognizedClientException", "InvalidClientTokenId", "InvalidAccessKeyId", "InvalidTokenException",
		"InvalidSignatureException", "SignatureDoesNotMatch", "IncompleteSignature", "IncompleteSignatureException",
		"MissingAuthenticationToken", "MissingAuthenticationTokenException":
		return true
	}
	return false
}

// fault turns an error of the SDK's client into what the caller is told.
//
// The texts of the SDK's errors are not kept: its decoders quote the answer.
func fault(err error) *chat.Error {
	if known, ok := errors.AsType[*chat.Error](err); ok {
		return known
	}
	if unsent, ok := errors.AsType[*smithyhttp.RequestSendError](err); ok {
		return provider.Unreached(name, unsent.Err)
	}
	if stopped, ok := errors.AsType[*smithy.CanceledError](err); ok {
		return provider.Unreached(name, stopped.Err)
	}
	if broken, ok := errors.AsType[*readError](err); ok {
		return provider.Interrupted(name, broken.err)
	}
	answered, ok := errors.AsType[*awshttp.ResponseError](err)
	switch {
	case !ok || answered.HTTPStatusCode() == 0:
		return provider.Unreached(name, err)
	case answered.HTTPStatusCode() == http.StatusOK:
		return provider.Unreadable(name, errAnswer)
	}
	reported, ok := errors.AsType[smithy.APIError](err)
	if !ok {
		// The body is not what the service sends, so perhaps something in between
		// answered.
		reported = &smithy.GenericAPIError{Code: errorType(answered.Response.Header)}
	}
	e := refusal(reported, answered.HTTPStatusCode())
	if wait := provider.RetryAfter(answered.Response.Header, time.Now()); wait > 0 {
		e.RetryAfter = wait
	}
	return e
}

var errAnswer = errors.New("the answer is not one of the Converse API")

// refusal returns what the caller is told of an error that the service
// reported. Status is that of the answer, or 0 for an error within a stream.
func refusal(err smithy.APIError, status int) *chat.Error {
	code, message := err.ErrorCode(), err.ErrorMessage()
	known := modelled(code)
	if status == 0 {
		if status = known; status == 0 {
			status = http.StatusInternalServerError
		}
	}
	e := shown(code, status, message)
	cause := &provider.StatusError{Upstream: name, Status: status}
	if known != 0 {
		cause.Code = code
	}
	e.Err = cause
	return e
}

// modelled returns the status of an error, or 0 for a name that is not known.
// See "Troubleshooting Amazon Bedrock API Error Codes" in its user guide.
func modelled(code string) int {
	switch code {
	case "ValidationException", "ServiceQuotaExceededException", "NotAuthorized":
		return http.StatusBadRequest
	case "AccessDeniedException", "MPAgreementBeingCreated":
		return http.StatusForbidden
	case "ResourceNotFoundException", "FTUFormNotFilled":
		return http.StatusNotFound
	case "ModelTimeoutException":
		return http.StatusRequestTimeout
	case "ModelErrorException", "ModelStreamErrorException":
		return http.StatusFailedDependency
	case "ThrottlingException", "ModelNotReadyException":
		return http.StatusTooManyRequests
	case "InternalServerException", "InternalFailure":
		return http.StatusInternalServerError
	case "ServiceUnavailableException", "ServiceUnavailable":
		return http.StatusServiceUnavailable
	}
	if isCredential(code) {
		return http.StatusForbidden
	}
	return 0
}

func shown(code string, status int, message string) *chat.Error {
	switch code {
	case "ValidationException":
		return invalid(message)
	case "AccessDeniedException", "NotAuthorized", "MPAgreementBeingCreated":
		return notAllowed()
	case "ServiceQuotaExceededException":
		return &chat.Error{
			Status: http.StatusTooManyRequests, Type: chat.CodeInsufficientQuota, Code: chat.CodeInsufficientQuota,
			Message: "The request exceeds a quota of the gateway's account at " + name + ". Send a smaller request, or ask the gateway's operator to raise the quota.",
		}
	case "ModelNotReadyException":
		return &chat.Error{
			Status: http.StatusServiceUnavailable, Type: chat.TypeServer, Code: chat.CodeUpstreamUnavailable, RetryAfter: wakeUp,
			Message: name + " is still loading the model. Try again later.",
		}
	case "ModelErrorException", "ModelStreamErrorException":
		return provider.Fault(http.StatusInternalServerError, name, "")
	}
	if isCredential(code) {
		return provider.Fault(http.StatusForbidden, name, "")
	}
	return provider.Fault(status, name, message)
}

func notAllowed() *chat.Error {
	return &chat.Error{
		Status: http.StatusBadGateway, Type: chat.TypeServer, Code: chat.CodeUpstreamAuth,
		Message: name + " does not allow the gateway's own identity to use this model. This is for the gateway's operator to mend; the caller's token is fine.",
	}
}

// invalid returns what the caller is told of a request that the service finds
// wrong. Two of the reasons have codes of their own at OpenAI, and one is none
// of the request: an account that AWS has not opened for the service, or for
// this model. Only their texts tell them from others.
func invalid(message string) *chat.Error {
	e := provider.Fault(http.StatusBadRequest, name, message)
	lower := strings.ToLower(message)
	for _, long := range []string{
		"input is too long", "prompt is too long", "too many total text bytes", "too many input tokens", "input tokens exceed",
		"exceed context limit", "maximum context length", "exceeds the context window", "context window limit",
	} {
		if strings.Contains(lower, long) {
			e.Code, e.Param = chat.CodeContextLengthExceeded, "messages"
			return e
		}
	}
	switch {
	case strings.Contains(lower, "model identifier is invalid"):
		return provider.Fault(http.StatusNotFound, name, "")
	case strings.Contains(lower, "operation not allowed"):
		return notAllowed()
	}
	return e
}
