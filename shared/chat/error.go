package chat

import (
	"fmt"
	"net/http"
	"time"

	"github.com/go-json-experiment/json"
)

// Types of an error, as the OpenAI API uses them.
const (
	TypeInvalidRequest = "invalid_request_error"
	TypeAuthentication = "authentication_error"
	TypePermission     = "permission_error"
	TypeRateLimit      = "rate_limit_error"
	TypeServer         = "server_error"
)

// Codes of an error that more than one place produces. The first group is
// OpenAI's own; the second is about the way from the gateway to the upstream,
// where OpenAI has no code.
const (
	CodeInvalidAPIKey         = "invalid_api_key"
	CodeModelNotFound         = "model_not_found"
	CodeUnsupportedParameter  = "unsupported_parameter"
	CodeUnsupportedValue      = "unsupported_value"
	CodeInvalidValue          = "invalid_value"
	CodeInvalidType           = "invalid_type"
	CodeMissingParameter      = "missing_required_parameter"
	CodeContextLengthExceeded = "context_length_exceeded"
	CodeContentFilter         = "content_filter"
	CodeRateLimitExceeded     = "rate_limit_exceeded"
	CodeInsufficientQuota     = "insufficient_quota"

	CodeUpstreamAuth        = "upstream_auth_failed"
	CodeUpstreamUnavailable = "upstream_unavailable"
	CodeUpstreamTimeout     = "upstream_timeout"
	CodeUpstreamError       = "upstream_error"
	CodeUpstreamInvalid     = "upstream_invalid_response"
	CodeStreamInterrupted   = "upstream_stream_interrupted"
)

// Error is what a caller is told when a request fails: the status and the
// members of OpenAI's error envelope. Err is the private cause, for the log
// only; it is never sent.
type Error struct {
	Status  int    // HTTP status
	Type    string // one of the Type constants
	Code    string // stable, for programs; empty is written as null
	Param   string // the request member at fault; empty is written as null
	Message string // for people: what is wrong and what to do

	// RetryAfter is how long the caller should wait before it tries again, or
	// zero if nobody knows.
	RetryAfter time.Duration

	Err error
}

// Error returns the public text followed by the private cause. It is for logs.
func (e *Error) Error() string {
	if e.Err == nil {
		return e.Message
	}
	return fmt.Sprintf("%s: %v", e.Message, e.Err)
}

// Unwrap returns the private cause.
func (e *Error) Unwrap() error { return e.Err }

// With returns a copy of the error that has err as its private cause.
func (e *Error) With(err error) *Error {
	c := *e
	c.Err = err
	return &c
}

type envelope struct {
	Error envelopeBody `json:"error"`
}

type envelopeBody struct {
	Message string  `json:"message"`
	Type    string  `json:"type"`
	Param   *string `json:"param"`
	Code    *string `json:"code"`
}

// Body returns the error in OpenAI's envelope, {"error":{...}}.
func (e *Error) Body() []byte {
	b := envelopeBody{Message: e.Message, Type: e.Type}
	if e.Param != "" {
		b.Param = &e.Param
	}
	if e.Code != "" {
		b.Code = &e.Code
	}
	out, err := json.Marshal(envelope{b})
	if err != nil {
		// Only invalid UTF-8 in a quoted upstream text can get here.
		return []byte(`{"error":{"message":"the error could not be encoded","type":"server_error","param":null,"code":null}}`)
	}
	return out
}

// Invalid returns a 400 that names the request member at fault. The message
// says what is wrong with it and what to do.
func Invalid(param, code, format string, args ...any) *Error {
	return &Error{
		Status: http.StatusBadRequest, Type: TypeInvalidRequest,
		Param: param, Code: code, Message: fmt.Sprintf(format, args...),
	}
}

// Unsupported returns the 400 for a request member that the chosen upstream
// cannot carry. The upstream is named for people, as in "Amazon Bedrock".
func Unsupported(param, upstream string) *Error {
	return Invalid(param, CodeUnsupportedParameter,
		"Unsupported parameter: '%s' cannot be carried to %s. Leave it out, or choose a model of another upstream.", param, upstream)
}

// UnsupportedValue returns the 400 for a member that the chosen upstream
// carries, but not with this value. Why ends the sentence "... is not
// supported by <upstream>: ".
func UnsupportedValue(param, upstream, why string) *Error {
	return Invalid(param, CodeUnsupportedValue, "Unsupported value: '%s' is not supported by %s: %s", param, upstream, why)
}
