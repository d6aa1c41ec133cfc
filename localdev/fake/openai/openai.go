// Package openai stands in for OpenAI's chat completions API, and for servers
// that are compatible with it. It refuses what the API refuses, in the API's
// words, and answers with a [brain.Brain].
//
// It is written from OpenAI's API reference and knows nothing of the gateway's
// own reading of that wire, so that the two cannot share a misunderstanding.
package openai

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
)

// maxBody is far above what any test or person sends.
const maxBody = 32 << 20

// Server is the API under /v1. Its fields are not changed while it serves.
type Server struct {
	Brain brain.Brain

	// Authorize checks a bearer token and says whom it stands for.
	Authorize func(token string) (principal string, ok bool)

	// Models are the ids that exist. Empty means every id, as with a server
	// that someone runs for one model of his own.
	Models []string

	// Lenient passes over members that the API does not have, as most
	// compatible servers do. The API itself refuses them.
	Lenient bool

	// Called, if set, is told of every chat request that was let in, before
	// it is answered. It is called from many goroutines.
	Called func(Call)
}

// Call is a chat request that was let in.
type Call struct {
	Principal string
	Model     string
	Stream    bool
	Body      []byte
}

// ServeHTTP implements [http.Handler].
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Request-Id", "req_"+rand.Text())
	w.Header().Set("Openai-Version", "2020-10-01")
	principal, refusal := s.authorize(r)
	if refusal != nil {
		refusal.write(w)
		return
	}
	path, isAPI := strings.CutPrefix(r.URL.Path, "/v1/")
	switch {
	case isAPI && path == "chat/completions":
		if r.Method != http.MethodPost {
			notAllowed(r).write(w)
			return
		}
		s.chat(w, r, principal)
	case isAPI && (path == "models" || strings.HasPrefix(path, "models/")):
		if r.Method != http.MethodGet {
			notAllowed(r).write(w)
			return
		}
		s.models(w, strings.TrimPrefix(strings.TrimPrefix(path, "models"), "/"))
	default:
		(&Error{Status: 404, Type: invalid, Message: fmt.Sprintf("Invalid URL (%s %s)", r.Method, r.URL.Path)}).write(w)
	}
}

func (s *Server) authorize(r *http.Request) (string, *Error) {
	header := r.Header.Get("Authorization")
	if header == "" {
		return "", &Error{Status: 401, Type: invalid, Message: "You didn't provide an API key. You need to provide your API key in an Authorization header using Bearer auth (i.e. Authorization: Bearer YOUR_KEY)."}
	}
	token, ok := strings.CutPrefix(header, "Bearer ")
	if ok {
		var principal string
		if principal, ok = s.Authorize(token); ok {
			return principal, nil
		}
	}
	shown := token
	if len(shown) > 12 {
		// The API does show the ends of a wrong key, which is why its error
		// texts must not be passed on.
		shown = shown[:8] + strings.Repeat("*", len(shown)-12) + shown[len(shown)-4:]
	}
	return "", &Error{Status: 401, Type: invalid, Code: "invalid_api_key", Message: "Incorrect API key provided: " + shown + ". You can find your API key at https://platform.openai.com/account/api-keys."}
}

func (s *Server) chat(w http.ResponseWriter, r *http.Request, principal string) {
	body, refusal := ReadBody(w, r)
	if refusal != nil {
		refusal.write(w)
		return
	}
	req, refusal := Parse(body, Rules{Lenient: s.Lenient})
	if refusal == nil && !s.knows(req.Model) {
		refusal = noModel(req.Model)
	}
	if refusal != nil {
		refusal.write(w)
		return
	}
	if s.Called != nil {
		s.Called(Call{Principal: principal, Model: req.Model, Stream: req.Stream, Body: body})
	}
	(&Completion{Brain: s.Brain, Request: req, Fault: fault}).ServeHTTP(w, r)
}

// ReadBody reads a JSON body of a reasonable size.
func ReadBody(w http.ResponseWriter, r *http.Request) ([]byte, *Error) {
	if kind, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";"); strings.TrimSpace(kind) != "application/json" {
		return nil, &Error{Status: 400, Type: invalid, Code: "unsupported_content_type", Message: fmt.Sprintf("Unsupported content type: '%s'. This API method only accepts 'application/json' requests, but you specified the header 'Content-Type: %s'. Please try again with a supported content type.", kind, kind)}
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		return nil, &Error{Status: 400, Type: invalid, Message: "We could not read the body of your request."}
	}
	return body, nil
}

func (s *Server) knows(model string) bool {
	return len(s.Models) == 0 || slices.Contains(s.Models, model)
}

func noModel(model string) *Error {
	return &Error{Status: 404, Type: invalid, Code: "model_not_found", Message: fmt.Sprintf("The model `%s` does not exist or you do not have access to it.", model)}
}

// model is an entry of the list of models.
type model struct {
	ID      string `json:"id"`
	Object  string `json:"object"`
	Created int64  `json:"created"`
	OwnedBy string `json:"owned_by"`
}

// models answers with the list of models, or with the one of that id.
func (s *Server) models(w http.ResponseWriter, id string) {
	entry := func(id string) model { return model{ID: id, Object: "model", Created: 1735689600, OwnedBy: "system"} }
	if id != "" {
		if !slices.Contains(s.Models, id) {
			noModel(id).write(w)
			return
		}
		reply(w, http.StatusOK, entry(id))
		return
	}
	list := struct {
		Object string  `json:"object"`
		Data   []model `json:"data"`
	}{Object: "list", Data: []model{}}
	for _, id := range s.Models {
		list.Data = append(list.Data, entry(id))
	}
	if len(s.Models) == 0 {
		list.Data = append(list.Data, entry("the-only-model"))
	}
	reply(w, http.StatusOK, list)
}

func reply(w http.ResponseWriter, status int, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(body)
}

const invalid = "invalid_request_error"

// Error is an error in the API's envelope. An empty Param or Code is null.
type Error struct {
	Status              int
	Type, Code, Param   string
	Message             string
	RetryAfterInSeconds int
}

func (e *Error) write(w http.ResponseWriter) {
	if e.RetryAfterInSeconds > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(e.RetryAfterInSeconds))
	}
	reply(w, e.Status, e)
}

// MarshalJSON writes the envelope.
func (e *Error) MarshalJSON() ([]byte, error) {
	orNull := func(s string) *string {
		if s == "" {
			return nil
		}
		return &s
	}
	return json.Marshal(map[string]any{"error": map[string]any{
		"message": e.Message, "type": e.Type, "param": orNull(e.Param), "code": orNull(e.Code),
	}})
}

func notAllowed(r *http.Request) *Error {
	return &Error{Status: 405, Type: invalid, Code: "method_not_supported", Message: fmt.Sprintf("Not allowed to %s on %s.", r.Method, r.URL.Path)}
}

// NewError returns the error that the API sends with a status.
func NewError(status int, message string) *Error {
	e := &Error{Status: status, Message: message, Type: invalid}
	switch {
	case status == http.StatusUnauthorized:
		e.Code = "invalid_api_key"
	case status == http.StatusNotFound:
		e.Code = "model_not_found"
	case status == http.StatusTooManyRequests:
		e.Type, e.Code = "requests", "rate_limit_exceeded"
	case status >= 500:
		e.Type = "server_error"
	}
	return e
}

// fault writes an error that the prompt asked for.
func fault(w http.ResponseWriter, f *brain.Fault) {
	e := NewError(f.Status, f.Message)
	if f.Message == brain.BlockedPrompt {
		e.Code, e.Message = "content_policy_violation", "Your request was rejected as a result of our safety system."
	}
	e.RetryAfterInSeconds = int(f.RetryAfter.Seconds())
	e.write(w)
}
