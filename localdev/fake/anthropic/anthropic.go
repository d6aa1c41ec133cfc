// Package anthropic is a stand-in for Anthropic's Messages API, version
// 2023-06-01. It refuses what the API refuses, in the API's words where those
// are known, and answers with what a [brain.Brain] says.
//
// Its sources are Anthropic's API reference, the types of its Go SDK, its pages
// on thinking, effort, tool use, prompt caching and what is new in each model,
// and errors that users of the API have published. What is documented but not
// played, such as tools that run at Anthropic, is refused.
//
// The package must not know how the gateway calls the API.
package anthropic

import (
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/postern-ai/postern/localdev/fake/brain"
)

// Options says what a Server knows.
type Options struct {
	// Brain answers the prompts.
	Brain brain.Brain
	// Authorize tells whose an API key or an access token is, and whether it is
	// valid.
	Authorize func(token string) (principal string, ok bool)
	// Models are the models that there are. Empty means [DefaultModels].
	Models []Model
	// Called, when set, is told of every call of the Messages API that was let in,
	// whether or not it was well formed. It is called from many goroutines.
	Called func(Call)
}

// Call is a call by somebody who may.
type Call struct {
	Principal string
	// Scheme is how the credential came: "x-api-key" or "Bearer".
	Scheme string
	Model  string // as it was asked for
	Stream bool
	Body   []byte
}

// Version is the version of the API that the stand-in knows.
const Version = "2023-06-01"

// OAuthBeta is the value that the anthropic-beta header must have with an access
// token. (Anthropic's Go SDK, config.OAuthAPIBetaHeader.)
const OAuthBeta = "oauth-2025-04-20"

// maxBody is the largest request, in bytes.
const maxBody = 32 << 20

// Server is the stand-in. It is safe for concurrent use.
type Server struct {
	o Options
}

// New returns a Server.
func New(o Options) *Server {
	if len(o.Models) == 0 {
		o.Models = DefaultModels()
	}
	return &Server{o: o}
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	// The same request has the same ids, so that answers can be compared.
	sum := sha256.Sum256(append([]byte(r.Method+r.URL.Path), body...))
	w.Header().Set("Request-Id", fmt.Sprintf("req_%x", sum[:12]))
	w.Header().Set("Anthropic-Organization-Id", "00000000-0000-4000-8000-000000000001")
	if err != nil {
		(&failure{http.StatusRequestEntityTooLarge, "request_too_large", "Request exceeds the maximum size"}).write(w)
		return
	}
	if f := s.serve(w, r, body); f != nil {
		f.write(w)
	}
}

// serve answers one request. The order of the checks is that of the API: what is
// asked for, who asks, in which version.
func (s *Server) serve(w http.ResponseWriter, r *http.Request, body []byte) *failure {
	model, isModels := strings.CutPrefix(r.URL.Path, "/v1/models")
	method := http.MethodPost
	switch {
	case isModels && (model == "" || model[0] == '/'):
		method = http.MethodGet
	case r.URL.Path != "/v1/messages":
		return &failure{http.StatusNotFound, "not_found_error", "Not found"}
	}
	if r.Method != method {
		return &failure{http.StatusMethodNotAllowed, "invalid_request_error", "Method Not Allowed"}
	}
	call := Call{Body: body}
	var f *failure
	if call.Principal, call.Scheme, f = s.principal(r); f != nil {
		return f
	}
	switch v := r.Header.Get("Anthropic-Version"); v {
	case Version:
	case "":
		return invalid("anthropic-version: header is required")
	default:
		return invalid("anthropic-version: %q is not a valid version", v)
	}
	if isModels {
		return s.models(w, strings.TrimPrefix(model, "/"))
	}
	return s.messages(w, r, call)
}

// principal tells who asks.
func (s *Server) principal(r *http.Request) (principal, scheme string, f *failure) {
	if key := r.Header.Get("X-Api-Key"); key != "" {
		if principal, ok := s.o.Authorize(key); ok {
			return principal, "x-api-key", nil
		}
		return "", "", unauthenticated("invalid x-api-key")
	}
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok {
		return "", "", unauthenticated("x-api-key header is required")
	}
	if !slices.Contains(betas(r.Header), OAuthBeta) {
		return "", "", unauthenticated("OAuth authentication is currently not supported.")
	}
	if principal, ok := s.o.Authorize(token); ok {
		return principal, "Bearer", nil
	}
	return "", "", unauthenticated("Invalid bearer token")
}

func betas(h http.Header) []string {
	var names []string
	for _, line := range h.Values("Anthropic-Beta") {
		for name := range strings.SplitSeq(line, ",") {
			names = append(names, strings.TrimSpace(name))
		}
	}
	return names
}

// messages answers a call of the Messages API.
func (s *Server) messages(w http.ResponseWriter, r *http.Request, call Call) *failure {
	req, f := read(call.Body)
	if f == nil {
		call.Model, call.Stream = req.Model, req.Stream
	}
	if s.o.Called != nil {
		s.o.Called(call)
	}
	if f != nil {
		return f
	}
	model, ok := s.find(req.Model)
	if !ok {
		return &failure{http.StatusNotFound, "not_found_error", "model: " + req.Model}
	}
	if f := req.check(model); f != nil {
		return f
	}
	sum := sha256.Sum256(call.Body)
	a := &answering{request: req, model: model, id: fmt.Sprintf("msg_%x", sum[:12]), requestID: w.Header().Get("Request-Id")}
	pieces := s.o.Brain.Answer(r.Context(), req.prompt())
	if req.Stream {
		return a.stream(w, r, pieces)
	}
	return a.whole(w, r, pieces)
}

func (s *Server) find(id string) (Model, bool) {
	i := slices.IndexFunc(s.o.Models, func(m Model) bool { return m.ID == id })
	if i < 0 {
		return Model{}, false
	}
	return s.o.Models[i], true
}

// models lists the models, or tells of one.
func (s *Server) models(w http.ResponseWriter, id string) *failure {
	type info struct {
		Type        string `json:"type"`
		ID          string `json:"id"`
		DisplayName string `json:"display_name"`
		CreatedAt   string `json:"created_at"`
	}
	about := func(m Model) info { return info{"model", m.ID, m.ID, "2026-01-15T12:00:00Z"} }
	if id != "" {
		m, ok := s.find(id)
		if !ok {
			return &failure{http.StatusNotFound, "not_found_error", "model: " + id}
		}
		reply(w, http.StatusOK, about(m))
		return nil
	}
	all := make([]info, len(s.o.Models))
	for i, m := range s.o.Models {
		all[i] = about(m)
	}
	reply(w, http.StatusOK, map[string]any{
		"data": all, "has_more": false, "first_id": all[0].ID, "last_id": all[len(all)-1].ID,
	})
	return nil
}
