package anthropic

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"

	"github.com/postern-ai/postern/localdev/fake/brain"
)

// failure is an error answer.
type failure struct {
	status  int
	kind    string
	message string
}

func invalid(format string, args ...any) *failure {
	return &failure{http.StatusBadRequest, "invalid_request_error", fmt.Sprintf(format, args...)}
}

func unauthenticated(message string) *failure {
	return &failure{http.StatusUnauthorized, "authentication_error", message}
}

// unplayed is for what the API has and the stand-in has not.
func unplayed(what string) *failure { return invalid("This stand-in does not play %s.", what) }

func (f *failure) write(w http.ResponseWriter) {
	reply(w, f.status, f.body(w.Header().Get("Request-Id")))
}

// body returns the error as the API writes it, in an answer as in a stream.
func (f *failure) body(requestID string) map[string]any {
	return map[string]any{
		"type": "error", "error": map[string]any{"type": f.kind, "message": f.message}, "request_id": requestID,
	}
}

func reply(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(encode(v))
}

func encode(v any) []byte {
	out, err := json.Marshal(v)
	if err != nil {
		panic(err) // the types of this package can all be written
	}
	return out
}

// asked returns the failure that a prompt asked for.
func asked(w http.ResponseWriter, f *brain.Fault) *failure {
	if f.RetryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(f.RetryAfter.Seconds())))
	}
	return ofStatus(f.Status, f.Message)
}

// ofStatus returns the error that the API gives with a status.
func ofStatus(status int, message string) *failure {
	kind := map[int]string{
		http.StatusUnauthorized: "authentication_error", http.StatusPaymentRequired: "billing_error",
		http.StatusForbidden: "permission_error", http.StatusNotFound: "not_found_error",
		http.StatusConflict: "conflict_error", http.StatusRequestEntityTooLarge: "request_too_large",
		http.StatusTooManyRequests: "rate_limit_error", http.StatusGatewayTimeout: "timeout_error",
		529: "overloaded_error",
	}[status]
	switch {
	case kind != "":
	case status >= 500:
		kind = "api_error"
	default:
		kind = "invalid_request_error"
	}
	return &failure{status, kind, message}
}
