package anthropic

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/go-json-experiment/json"

	"github.com/postern-ai/postern/shared/chat"
	"github.com/postern-ai/postern/shared/provider"
)

// reported is what the API says went wrong. (Anthropic API reference, "Errors".)
type reported struct {
	Type    string `json:"type"`
	Message string `json:"message"`
}

// envelope is the body of an error, and an error event.
type envelope struct {
	Error     reported `json:"error"`
	RequestID string   `json:"request_id"`
}

// statusOverloaded is what Anthropic answers when it has no capacity.
const statusOverloaded = 529

// Fault implements [provider.Dialect].
func (d *dialect) Fault(status int, header http.Header, body []byte) *chat.Error {
	var e envelope
	if json.Unmarshal(body, &e) != nil {
		e = envelope{}
	}
	id := header.Get("Request-Id")
	if id == "" {
		id = e.RequestID
	}
	return e.Error.fault(status, id)
}

// statusOf returns the status of a type of error, or 0 for one that is not known.
func statusOf(kind string) int {
	switch kind {
	case "invalid_request_error":
		return http.StatusBadRequest
	case "authentication_error":
		return http.StatusUnauthorized
	case "billing_error":
		return http.StatusPaymentRequired
	case "permission_error":
		return http.StatusForbidden
	case "not_found_error":
		return http.StatusNotFound
	case "conflict_error":
		return http.StatusConflict
	case "request_too_large":
		return http.StatusRequestEntityTooLarge
	case "rate_limit_error":
		return http.StatusTooManyRequests
	case "timeout_error":
		return http.StatusGatewayTimeout
	case "overloaded_error":
		return statusOverloaded
	case "api_error":
		return http.StatusInternalServerError
	}
	return 0
}

// fault returns the error for what was reported with a status, or with 0 where
// an answer had begun. Id is that of the request, which Anthropic's support asks
// for.
func (r *reported) fault(status int, id string) *chat.Error {
	known := statusOf(r.Type)
	if status == 0 {
		if status = known; status == 0 {
			status = http.StatusInternalServerError
		}
	}
	e := r.shown(status)
	cause := &provider.StatusError{Upstream: name, Status: status}
	if known != 0 {
		cause.Code = r.Type
	}
	e.Err = cause
	if isRequestID(id) {
		e.Err = fmt.Errorf("%w, request %s", cause, id)
	}
	return e
}

func (r *reported) shown(status int) *chat.Error {
	switch {
	case status == statusOverloaded || r.Type == "overloaded_error":
		return provider.Fault(http.StatusServiceUnavailable, name, "")
	case status == http.StatusPaymentRequired || r.Type == "billing_error" || status == http.StatusBadRequest && isBilling(r.Message):
		return provider.Fault(http.StatusPaymentRequired, name, "")
	}
	e := provider.Fault(status, name, r.Message)
	if status == http.StatusBadRequest && isTooLong(r.Message) {
		e.Code, e.Param = chat.CodeContextLengthExceeded, "messages"
	}
	return e
}

// isBilling knows what is said of an account as if it were said of a request;
// there is no type for it.
func isBilling(message string) bool {
	for _, words := range []string{"credit balance is too low", "API usage limits", "organization has been disabled"} {
		if strings.Contains(message, words) {
			return true
		}
	}
	return false
}

// isTooLong knows "prompt is too long: 209353 tokens > 199999 maximum" and
// "input length and `max_tokens` exceed context limit: 178959 + 64000 > 200000".
// There is no type for it.
func isTooLong(message string) bool {
	return strings.Contains(message, "prompt is too long") || strings.Contains(message, "exceed context limit")
}

// isRequestID reports whether an id may stand in a log.
func isRequestID(s string) bool {
	if len(s) > 64 {
		return false
	}
	for _, c := range []byte(s) {
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '-') {
			return false
		}
	}
	return s != ""
}
