// Package azureopenai stands in for an Azure OpenAI resource: both of its
// addresses, its two kinds of credential, its deployments, its errors, and the
// notes that its content filter leaves in answers.
//
// The wire of chat completions is OpenAI's, and so is the stand-in's reading of
// it. The package knows nothing of the gateway.
package azureopenai

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/postern-ai/postern/localdev/fake/brain"
	"github.com/postern-ai/postern/localdev/fake/openai"
)

// Server is one resource. Its fields are not changed while it serves.
type Server struct {
	Brain brain.Brain

	// Authorize checks an Entra token, its audience included, and says whom it
	// stands for.
	Authorize func(token string) (principal string, ok bool)

	// Allowed says whether a principal has the role that inference needs. Nil
	// means that everyone has.
	Allowed func(principal string) bool

	// Key is the account key. Empty means that keys are switched off.
	Key string

	// KeyWorks, if set, says whether an account key is good. Then Key is not
	// looked at.
	KeyWorks func(key string) bool

	// Deployments are the names of the deployments.
	Deployments []string

	// Called, if set, is told of every chat request that was let in, before
	// it is answered. It is called from many goroutines.
	Called func(Call)
}

// Call is a chat request that was let in.
type Call struct {
	Principal  string // "key" for the account key
	Deployment string
	APIVersion string // empty for /openai/v1/
	Stream     bool
	Body       []byte
}

// versions are the api-versions that the dated address has for chat
// completions, from Azure's API reference.
func versions() []string {
	return []string{
		"2023-05-15", "2023-12-01-preview", "2024-02-01", "2024-05-01-preview", "2024-06-01", "2024-07-01-preview",
		"2024-08-01-preview", "2024-09-01-preview", "2024-10-01-preview", "2024-10-21", "2024-12-01-preview",
		"2025-01-01-preview", "2025-02-01-preview", "2025-03-01-preview", "2025-04-01-preview",
	}
}

// ServeHTTP implements [http.Handler].
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Apim-Request-Id", rand.Text())
	w.Header().Set("X-Request-Id", rand.Text())
	w.Header().Set("X-Ms-Region", "Local")
	principal, refusal := s.authorize(r)
	if refusal != nil {
		refusal.write(w)
		return
	}
	version := r.URL.Query().Get("api-version")
	if r.URL.Path == "/openai/v1/chat/completions" && r.Method == http.MethodPost {
		if r.URL.Query().Has("api-version") {
			(&Fault{Status: 400, Code: "BadRequest", Message: "API version not supported"}).write(w)
			return
		}
		s.chat(w, r, Call{Principal: principal})
		return
	}
	if r.URL.Path == "/openai/v1/models" && r.Method == http.MethodGet {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"object":"list","data":[{"id":"gpt-4o-mini","object":"model","created":1721260800,"owned_by":"openai"}]}`)
		return
	}
	deployment, dated := strings.CutPrefix(r.URL.Path, "/openai/deployments/")
	deployment, dated2 := strings.CutSuffix(deployment, "/chat/completions")
	if !dated || !dated2 || r.Method != http.MethodPost || !slices.Contains(versions(), version) {
		(&Fault{Status: 404, Code: "404", Message: "Resource not found"}).write(w)
		return
	}
	s.chat(w, r, Call{Principal: principal, Deployment: deployment, APIVersion: version})
}

// authorize checks the one credential of a request.
func (s *Server) authorize(r *http.Request) (string, *Fault) {
	bearer, key := r.Header.Get("Authorization"), r.Header.Get("Api-Key")
	switch {
	case bearer != "" && key != "":
		return "", &Fault{Status: 400, Code: "BadRequest", Message: "Both an access token and an api-key were sent. Send one of them."}
	case key != "":
		if s.Key == "" && s.KeyWorks == nil {
			return "", &Fault{Status: 403, Code: "AuthenticationTypeDisabled", Message: "Key based authentication is disabled for this resource."}
		}
		if s.KeyWorks == nil && key != s.Key || s.KeyWorks != nil && !s.KeyWorks(key) {
			return "", &Fault{Status: 401, Code: "401", Message: "Access denied due to invalid subscription key or wrong API endpoint. Make sure to provide a valid key for an active subscription and use a correct regional API endpoint for your resource."}
		}
		return "key", nil
	}
	token, ok := strings.CutPrefix(bearer, "Bearer ")
	principal := ""
	if ok && s.Authorize != nil {
		principal, ok = s.Authorize(token)
	}
	if !ok || s.Authorize == nil {
		return "", &Fault{Status: 401, Code: "401", Message: "Unauthorized. Access token is missing, invalid, audience is incorrect (https://cognitiveservices.azure.com), or have expired."}
	}
	if s.Allowed != nil && !s.Allowed(principal) {
		return "", &Fault{Status: 401, Code: "PermissionDenied", Message: fmt.Sprintf("The principal `%s` lacks the required data action `Microsoft.CognitiveServices/accounts/OpenAI/deployments/chat/completions/action` to perform `POST %s` operation.", principal, r.URL.Path)}
	}
	return principal, nil
}

func (s *Server) chat(w http.ResponseWriter, r *http.Request, call Call) {
	body, refusal := openai.ReadBody(w, r)
	if refusal != nil {
		wrap(refusal).write(w)
		return
	}
	rules := openai.Rules{Model: call.Deployment}
	if call.APIVersion != "" && call.APIVersion < "2024-09-01" {
		rules.Without = []string{"stream_options", "parallel_tool_calls", "max_completion_tokens"}
	}
	req, refusal := openai.Parse(body, rules)
	if refusal != nil {
		wrap(refusal).write(w)
		return
	}
	if !slices.Contains(s.Deployments, req.Model) {
		NewFault(404, "").write(w)
		return
	}
	call.Deployment, call.Stream, call.Body = req.Model, req.Stream, body
	if s.Called != nil {
		s.Called(call)
	}
	w.Header().Set("Azureml-Model-Session", "local-1")
	(&openai.Completion{Brain: s.Brain, Request: req, Fault: asked, Filter: true}).ServeHTTP(w, r)
}

// Fault is an error as Azure writes it.
type Fault struct {
	Status       int
	Code, Type   string
	Param        string
	Message      string
	Inner        any
	RetryAfterMS int64
}

func wrap(e *openai.Error) *Fault {
	return &Fault{Status: e.Status, Code: e.Code, Type: e.Type, Param: e.Param, Message: e.Message}
}

func (f *Fault) write(w http.ResponseWriter) {
	if f.RetryAfterMS > 0 {
		w.Header().Set("Retry-After-Ms", strconv.FormatInt(f.RetryAfterMS, 10))
		w.Header().Set("Retry-After", strconv.FormatInt((f.RetryAfterMS+999)/1000, 10))
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(f.Status)
	_, _ = w.Write(f.Body())
}

// Body returns the error's JSON.
func (f *Fault) Body() []byte {
	e := map[string]any{"message": f.Message, "code": f.Code}
	if f.Type != "" || f.Param != "" || f.Inner != nil {
		e["type"], e["param"] = orNull(f.Type), orNull(f.Param)
	}
	if f.Code == "" {
		e["code"] = nil
	}
	if f.Inner != nil {
		e["status"], e["innererror"] = f.Status, f.Inner
	}
	body, err := json.Marshal(map[string]any{"error": e})
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	return body
}

func orNull(s string) any {
	if s == "" {
		return nil
	}
	return s
}

// NewFault returns the error that Azure sends with a status. An empty message
// means Azure's own.
func NewFault(status int, message string) *Fault {
	f := &Fault{Status: status, Code: strconv.Itoa(status), Message: message}
	switch status {
	case http.StatusBadRequest:
		f.Code, f.Type = "", "invalid_request_error"
	case http.StatusForbidden:
		f.Code = "PermissionDenied"
	case http.StatusNotFound:
		f.Code = "DeploymentNotFound"
		if message == "" {
			f.Message = "The API deployment for this resource does not exist. If you created the deployment within the last 5 minutes, please wait a moment and try again."
		}
	case http.StatusInternalServerError:
		f.Code, f.Type = "InternalServerError", "server_error"
	case http.StatusServiceUnavailable:
		f.Code = "ServiceUnavailable"
	}
	return f
}

// asked writes an error that the prompt asked for.
func asked(w http.ResponseWriter, wish *brain.Fault) {
	if wish.Message == brain.BlockedPrompt {
		(&Fault{
			Status: 400, Code: "content_filter", Param: "prompt",
			Message: "The response was filtered due to the prompt triggering Azure OpenAI's content management policy. Please modify your prompt and retry.",
			Inner: map[string]any{
				"code": "ResponsibleAIPolicyViolation",
				"content_filter_result": map[string]any{
					"hate":      map[string]any{"filtered": false, "severity": "safe"},
					"jailbreak": map[string]any{"filtered": true, "detected": true},
					"self_harm": map[string]any{"filtered": false, "severity": "safe"},
					"sexual":    map[string]any{"filtered": false, "severity": "safe"},
					"violence":  map[string]any{"filtered": false, "severity": "safe"},
				},
			},
		}).write(w)
		return
	}
	f := NewFault(wish.Status, wish.Message)
	f.RetryAfterMS = wish.RetryAfter.Milliseconds()
	f.write(w)
}
