package vertex

import (
	"bytes"
	"fmt"
	"net/http"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/postern-ai/postern/localdev/fake/brain"
)

// failure is an error answer, google.rpc.Status in its HTTP form (AIP-193).
type failure struct {
	status  int
	message string
	details []any
}

type (
	errorBody struct {
		Error rpcStatus `json:"error"`
	}
	rpcStatus struct {
		Code    int    `json:"code"`
		Message string `json:"message"`
		Status  string `json:"status"`
		Details []any  `json:"details,omitzero"`
	}
	errorInfo struct {
		Type     string            `json:"@type"`
		Reason   string            `json:"reason"`
		Domain   string            `json:"domain"`
		Metadata map[string]string `json:"metadata"`
	}
	retryInfo struct {
		Type       string `json:"@type"`
		RetryDelay string `json:"retryDelay"`
	}
	badRequest struct {
		Type            string           `json:"@type"`
		FieldViolations []fieldViolation `json:"fieldViolations"`
	}
	fieldViolation struct {
		Field       string `json:"field,omitzero"`
		Description string `json:"description"`
	}
)

const details = "type.googleapis.com/google.rpc."

func invalid(format string, args ...any) *failure {
	return &failure{status: http.StatusBadRequest, message: fmt.Sprintf(format, args...)}
}

// unplayed is for what the service has and the stand-in has not.
func unplayed(what string) *failure {
	return &failure{status: http.StatusNotImplemented, message: "This stand-in does not play " + what + "."}
}

func unauthenticated(reason, message string) *failure {
	return &failure{
		status:  http.StatusUnauthorized,
		message: message + " Expected OAuth 2 access token, login cookie or other valid authentication credential. See https://developers.google.com/identity/sign-in/web/devconsole-project.",
		details: []any{errorInfo{details + "ErrorInfo", reason, "googleapis.com", map[string]string{"service": "aiplatform.googleapis.com"}}},
	}
}

func forbidden(resource string) *failure {
	const permission = "aiplatform.endpoints.predict"
	return &failure{
		status:  http.StatusForbidden,
		message: fmt.Sprintf("Permission '%s' denied on resource '//aiplatform.googleapis.com/%s' (or it may not exist).", permission, resource),
		details: []any{errorInfo{details + "ErrorInfo", "IAM_PERMISSION_DENIED", "aiplatform.googleapis.com", map[string]string{"permission": permission, "resource": resource}}},
	}
}

// asked returns the failure that a prompt asked for.
func asked(f *brain.Fault) *failure {
	e := &failure{status: f.Status, message: f.Message}
	if f.RetryAfter > 0 {
		e.details = []any{retryInfo{details + "RetryInfo", fmt.Sprintf("%gs", f.RetryAfter.Seconds())}}
	}
	return e
}

// canonical returns the name of google.rpc.Code that stands for a status, or
// nothing for statuses that only the front end before the service gives.
func canonical(status int) string {
	return map[int]string{
		400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND",
		409: "ABORTED", 429: "RESOURCE_EXHAUSTED", 499: "CANCELLED", 500: "INTERNAL",
		501: "UNIMPLEMENTED", 503: "UNAVAILABLE", 504: "DEADLINE_EXCEEDED",
	}[status]
}

// body returns the error, in an array as streams are without alt=sse.
func (f *failure) body(array bool) []byte {
	envelope := errorBody{rpcStatus{Code: f.status, Message: f.message, Status: canonical(f.status), Details: f.details}}
	var v any = envelope
	if array {
		v = []errorBody{envelope}
	}
	return pretty(v)
}

func (f *failure) write(w http.ResponseWriter, array bool) {
	if canonical(f.status) == "" {
		page(w, f.status)
		return
	}
	if f.status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", `Bearer realm="https://accounts.google.com/", error="invalid_token"`)
	}
	w.Header().Set("Content-Type", contentJSON)
	w.WriteHeader(f.status)
	_, _ = w.Write(f.body(array))
}

const contentJSON = "application/json; charset=UTF-8"

// page is what Google's front end says, which knows nothing of JSON.
func page(w http.ResponseWriter, status int) {
	w.Header().Set("Content-Type", "text/html; charset=UTF-8")
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, "<!DOCTYPE html>\n<html lang=en>\n<title>Error %d (%s)!!1</title>\n", status, http.StatusText(status))
}

// pretty writes JSON as the service does, with a break at every member.
func pretty(v any) []byte {
	out, err := json.Marshal(v, jsontext.WithIndent("  "), json.Deterministic(true))
	if err != nil {
		panic(err) // the types of this package can all be written
	}
	return append(out, '\n')
}

// event writes JSON as one line of a stream.
func event(v any) []byte {
	out, err := json.Marshal(v, json.Deterministic(true))
	if err != nil {
		panic(err) // the types of this package can all be written
	}
	return bytes.TrimSpace(out)
}

// timestamp is when a stand-in's answers are made, always alike.
func timestamp() string {
	return time.Date(2026, time.January, 15, 12, 0, 0, 0, time.UTC).Format(time.RFC3339Nano)
}
