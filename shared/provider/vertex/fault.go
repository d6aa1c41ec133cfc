package vertex

import (
	"bytes"
	"net/http"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/postern-ai/postern/shared/chat"
	"github.com/postern-ai/postern/shared/provider"
)

// status is google.rpc.Status as Google's HTTP APIs write it (AIP-193).
type status struct {
	Code    int      `json:"code"`
	Message string   `json:"message"`
	Status  string   `json:"status"`
	Details []detail `json:"details"`
}

// detail is one of several types; the members of those that matter do not clash.
type detail struct {
	Reason     string `json:"reason"`     // google.rpc.ErrorInfo
	RetryDelay string `json:"retryDelay"` // google.rpc.RetryInfo
}

// readStatus reads an error body: an object, or an array around it, which is
// how streaming methods begin. What it cannot read is an empty status.
func readStatus(body []byte) status {
	type envelope struct {
		Error status `json:"error"`
	}
	if bytes.HasPrefix(bytes.TrimLeft(body, " \t\r\n"), []byte("[")) {
		var list []envelope
		if json.Unmarshal(body, &list) != nil || len(list) == 0 {
			return status{}
		}
		return list[0].Error
	}
	var one envelope
	if json.Unmarshal(body, &one) != nil {
		return status{}
	}
	return one.Error
}

// Fault implements [provider.Dialect].
func (d *dialect) Fault(code int, _ http.Header, body []byte) *chat.Error {
	s := readStatus(body)
	return s.fault(code)
}

// statusClosed is what Google answers when a request was cancelled.
const statusClosed = 499

// fault returns the error for an HTTP status, which within a stream is the code
// of the status itself.
func (s *status) fault(code int) *chat.Error {
	sent := code
	if code == statusClosed {
		code = http.StatusServiceUnavailable
	}
	e := provider.Fault(code, name, s.Message)
	e.RetryAfter = s.retryDelay()
	switch {
	case s.Status == "FAILED_PRECONDITION":
		// Billing, organization policies and the like: nothing about the request.
		e.Status, e.Type, e.Code, e.Param = http.StatusBadGateway, chat.TypeServer, chat.CodeUpstreamError, ""
		e.Message = name + " does not serve the gateway's project as it is set up. This is for the gateway's operator to mend."
	case code == http.StatusBadRequest && isTooLong(s.Message):
		e.Code, e.Param = chat.CodeContextLengthExceeded, "messages"
	case code == http.StatusTooManyRequests:
		if message, ok := limited(s.Message); ok {
			e.Message = message
		}
	}
	e.Err = s.cause(sent)
	return e
}

// cause says for the log what is certain to quote nothing of the request: the
// names of the error, such as PERMISSION_DENIED IAM_PERMISSION_DENIED.
func (s *status) cause(code int) error {
	label := constant(s.Status)
	for _, d := range s.Details {
		if reason := constant(d.Reason); reason != "" {
			label += " " + reason
		}
	}
	return &provider.StatusError{Upstream: name, Status: code, Code: strings.TrimSpace(label)}
}

// constant returns s if it has the form of an enum's value or an error's
// reason, or nothing.
func constant(s string) string {
	if len(s) > 64 || !consists(s, func(c byte) bool { return isLarge(c) || isDigit(c) || c == '_' }) {
		return ""
	}
	return s
}

// retryDelay returns how long Google asks to wait, or zero.
func (s *status) retryDelay() time.Duration {
	for _, d := range s.Details {
		if delay, err := time.ParseDuration(d.RetryDelay); err == nil && delay > 0 {
			return delay
		}
	}
	return 0
}

// isTooLong knows "The input token count (1200293) exceeds the maximum number
// of tokens allowed (1048576)." and "... because the input token count is 131335
// but model only supports up to 131072." There is no code for it.
func isTooLong(message string) bool {
	return strings.Contains(message, "token count") &&
		(strings.Contains(message, "exceeds the maximum number of tokens") || strings.Contains(message, "only supports up to"))
}

// limited tells apart what Google calls "too many", since the remedies differ;
// other than by its words it does not. (Vertex AI documentation, "Error code
// 429".) The third kind is a lack of shared capacity, where to wait is all.
func limited(message string) (string, bool) {
	switch {
	case strings.Contains(message, "Provisioned Throughput"):
		return name + " has no more of the provisioned throughput that the gateway's project bought. Try again later.", true
	case strings.Contains(message, "Quota exceeded"):
		return "The gateway's project is over its quota at " + name + ". Try again later; a higher quota is for the gateway's operator to ask for.", true
	}
	return "", false
}
