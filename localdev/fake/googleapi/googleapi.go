// Package googleapi is what the stand-ins of Google's REST APIs have in common: who calls, and how replies and errors are written
// (https://google.aip.dev/193).
//
// The package must not know which API it is for.
package googleapi

import (
	"errors"
	"net/http"
	"strings"

	"github.com/postern-ai/postern/localdev/fake/strictjson"
)

// Problem is an error of Google's APIs.
type Problem struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
	Status  string `json:"status"`
	Details []any  `json:"details,omitempty"`
}

// Error returns the status and the message.
func (p *Problem) Error() string { return p.Status + ": " + p.Message }

// Refused returns a Problem.
func Refused(code int, status, message string) error {
	return &Problem{Code: code, Status: status, Message: message}
}

// Invalid is the refusal of a request that is not what the API describes.
func Invalid(message string) error {
	return Refused(http.StatusBadRequest, "INVALID_ARGUMENT", message)
}

// Because is a refusal with a reason for programs (google.rpc.ErrorInfo).
func Because(code int, status, reason string) error {
	return &Problem{Code: code, Status: status, Message: "The request is refused.", Details: []any{map[string]any{
		"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": reason, "domain": "googleapis.com",
	}}}
}

// Violated is the refusal of what an organization policy forbids (google.rpc.PreconditionFailure).
func Violated(constraint, subject string) error {
	return &Problem{Code: http.StatusBadRequest, Status: "FAILED_PRECONDITION", Message: "Constraint " + constraint + " violated.", Details: []any{map[string]any{
		"@type":      "type.googleapis.com/google.rpc.PreconditionFailure",
		"violations": []map[string]string{{"type": constraint, "subject": subject, "description": "Constraint violated."}},
	}}}
}

// Member names who calls.
func Member(r *http.Request, known func(token string) (string, bool)) (string, error) {
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if ok {
		if member, ok := known(token); ok {
			return member, nil
		}
	}
	return "", Refused(http.StatusUnauthorized, "UNAUTHENTICATED", "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other valid authentication credential.")
}

// Answer writes a reply, or an error.
func Answer(w http.ResponseWriter, reply any, err error) {
	if err == nil {
		strictjson.Write(w, http.StatusOK, reply)
		return
	}
	problem, ok := errors.AsType[*Problem](err)
	if !ok {
		problem = &Problem{Code: http.StatusInternalServerError, Status: "INTERNAL", Message: "Internal error encountered."}
	}
	strictjson.Write(w, problem.Code, map[string]*Problem{"error": problem})
}
