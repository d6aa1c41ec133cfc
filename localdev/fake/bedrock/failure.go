package bedrock

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/postern-ai/postern/localdev/fake/brain"
)

// failure is an error answer.
type failure struct {
	status  int
	name    string // of the exception
	message string
}

func invalid(format string, args ...any) *failure {
	return &failure{http.StatusBadRequest, "ValidationException", fmt.Sprintf(format, args...)}
}

// constraint is how the service words what its model forbids.
func constraint(at, text string) *failure {
	return invalid("1 validation error detected: Value at '%s' failed to satisfy constraint: %s", at, text)
}

// unplayed is for what the service has and the stand-in has not.
func unplayed(what string) *failure {
	return invalid("This stand-in does not play %s.", what)
}

func (f *failure) write(w http.ResponseWriter) {
	if f.name == "" {
		// What stands before the service speaks no JSON.
		w.Header().Set("Content-Type", "text/html")
		w.WriteHeader(f.status)
		_, _ = fmt.Fprintf(w, "<html><head><title>%d %s</title></head></html>\n", f.status, http.StatusText(f.status))
		return
	}
	w.Header().Set("Content-Type", "application/json")
	// The service adds an address that old clients understand.
	w.Header().Set("X-Amzn-Errortype", f.name+":http://internal.amazon.com/coral/com.amazon.bedrock/")
	w.WriteHeader(f.status)
	_, _ = w.Write(f.body())
}

func (f *failure) body() []byte {
	body, _ := json.Marshal(map[string]string{"message": f.message})
	return body
}

// asked returns the failure that a prompt asked for. A message that begins with
// the name of an exception and a colon chooses that one, since several share a
// status.
func asked(w http.ResponseWriter, f *brain.Fault) *failure {
	if f.RetryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(f.RetryAfter.Seconds())))
	}
	name, message, ok := strings.Cut(f.Message, ": ")
	if status, known := statuses()[name]; ok && known {
		return &failure{status, name, message}
	}
	switch f.Status {
	case http.StatusUnauthorized:
		// AWS answers 403 for a credential that it does not know.
		return &failure{http.StatusForbidden, "UnrecognizedClientException", f.Message}
	case http.StatusForbidden:
		return &failure{f.Status, "AccessDeniedException", f.Message}
	case http.StatusNotFound:
		return &failure{f.Status, "ResourceNotFoundException", f.Message}
	case http.StatusRequestTimeout:
		return &failure{f.Status, "ModelTimeoutException", f.Message}
	case http.StatusRequestEntityTooLarge:
		return &failure{f.Status, "RequestEntityTooLargeException", f.Message}
	case http.StatusFailedDependency:
		return &failure{f.Status, "ModelErrorException", f.Message}
	case http.StatusTooManyRequests:
		return &failure{f.Status, "ThrottlingException", f.Message}
	case http.StatusInternalServerError:
		return &failure{f.Status, "InternalServerException", f.Message}
	case http.StatusServiceUnavailable:
		return &failure{f.Status, "ServiceUnavailableException", f.Message}
	case http.StatusBadRequest:
		return &failure{f.Status, "ValidationException", f.Message}
	}
	return &failure{status: f.Status}
}

func statuses() map[string]int {
	return map[string]int{
		"AccessDeniedException": 403, "ExpiredTokenException": 403, "FTUFormNotFilled": 404, "IncompleteSignatureException": 400,
		"InternalFailure": 500, "InternalServerException": 500, "InvalidClientTokenId": 403, "InvalidSignatureException": 403,
		"ModelErrorException": 424, "ModelNotReadyException": 429, "ModelStreamErrorException": 424, "ModelTimeoutException": 408,
		"ResourceNotFoundException": 404, "ServiceQuotaExceededException": 400, "ServiceUnavailable": 503,
		"ServiceUnavailableException": 503, "ThrottlingException": 429, "UnrecognizedClientException": 403, "ValidationException": 400,
	}
}
