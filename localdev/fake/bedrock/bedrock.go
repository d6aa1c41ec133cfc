// Package bedrock is a stand-in for Amazon Bedrock's Converse and
// ConverseStream. It verifies signatures, refuses what the service refuses, in
// the service's words where those are known, and answers with what a
// [brain.Brain] says.
//
// Its sources are the API reference and the service model of Amazon Bedrock
// Runtime, the pages of its user guide on the Converse API and on error codes,
// and errors that users of the service have published. What is documented but
// not played, such as guardrails, is refused.
//
// The package must not know how the gateway calls the service.
package bedrock

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/postern-ai/postern/localdev/fake/awsauth"
	"github.com/postern-ai/postern/localdev/fake/brain"
)

// Options says what a Server knows.
type Options struct {
	// Brain answers the prompts.
	Brain brain.Brain
	// Keys finds the credentials that may sign. All of them may use all models.
	Keys awsauth.Lookup
	// Region is the region that requests must be signed for.
	Region string
	// Models are the models that there are. Empty means [DefaultModels].
	Models []Model
	// Signed, when set, is told of every call whose signature is right. It is
	// called from many goroutines.
	Signed func(Call)
}

// Call is a call that was signed by somebody who may.
type Call struct {
	Operation string // "Converse" or "ConverseStream"
	Model     string // as it was named in the path
	Key       awsauth.Key
	// Metadata is what the service's invocation log would have of the request.
	Metadata map[string]string
}

// Model is one model and what is special about it.
type Model struct {
	// ID is the id of a foundation model, or the ARN of something that stands for
	// a model. Inference profiles of a foundation model exist by themselves.
	ID string
	// ProfileOnly means that the model's own id cannot be invoked on demand.
	ProfileOnly bool
	// Legacy means that the provider has retired the model for accounts that have
	// not used it lately.
	Legacy bool
	// TextOnly means that the model takes no images.
	TextOnly bool
	// OneSampler means that the model takes a temperature or a topP, not both.
	OneSampler bool
}

// DefaultModels returns a few models of each kind.
func DefaultModels() []Model {
	return []Model{
		{ID: "anthropic.claude-3-haiku-20240307-v1:0"},
		{ID: "anthropic.claude-sonnet-4-5-20250929-v1:0", ProfileOnly: true, OneSampler: true},
		{ID: "anthropic.claude-opus-4-6-v1", ProfileOnly: true, OneSampler: true},
		{ID: "anthropic.claude-v2:1", Legacy: true},
		{ID: "amazon.nova-lite-v1:0"},
		{ID: "amazon.nova-pro-v1:0"},
		{ID: "meta.llama3-3-70b-instruct-v1:0", ProfileOnly: true, TextOnly: true},
		{ID: "openai.gpt-oss-120b-1:0", TextOnly: true},
	}
}

// maxBody is the largest request, in bytes.
const maxBody = 25 << 20

// Server is the stand-in. It is safe for concurrent use.
type Server struct {
	options  Options
	verifier awsauth.Verifier
	requests atomic.Int64
}

// New returns a Server.
func New(o Options) *Server {
	if len(o.Models) == 0 {
		o.Models = DefaultModels()
	}
	return &Server{options: o, verifier: awsauth.Verifier{Keys: o.Keys, Service: "bedrock", Region: o.Region}}
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Amzn-Requestid", fmt.Sprintf("00000000-0000-4000-8000-%012d", s.requests.Add(1)))
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		(&failure{http.StatusRequestEntityTooLarge, "RequestEntityTooLargeException", "The request is too large."}).write(w)
		return
	}
	id, operation, ok := route(r)
	if !ok {
		(&failure{http.StatusNotFound, "UnknownOperationException", "The requested operation is not recognized by the service."}).write(w)
		return
	}
	key, err := s.verifier.Verify(r, body)
	if err != nil {
		awsauth.WriteJSON(w, err)
		return
	}
	if s.options.Signed != nil {
		var logged struct {
			Metadata map[string]string `json:"requestMetadata"`
		}
		_ = json.Unmarshal(body, &logged) // what is wrong with it is said below
		s.options.Signed(Call{Operation: operation, Model: id, Key: key, Metadata: logged.Metadata})
	}
	model, refusal := s.resolve(id)
	if refusal != nil {
		refusal.write(w)
		return
	}
	req, refusal := read(r, body)
	if refusal == nil {
		refusal = req.check(model)
	}
	if refusal != nil {
		refusal.write(w)
		return
	}
	pieces := s.options.Brain.Answer(r.Context(), req.prompt(id))
	if operation == "Converse" {
		converse(w, r, pieces)
		return
	}
	converseStream(w, r, pieces)
}

// route reads /model/{modelId}/{operation}, where the slashes of an ARN are
// escaped.
func route(r *http.Request) (model, operation string, ok bool) {
	parts := strings.Split(r.URL.EscapedPath(), "/")
	if r.Method != http.MethodPost || len(parts) != 4 || parts[0] != "" || parts[1] != "model" || parts[2] == "" {
		return "", "", false
	}
	model, err := url.PathUnescape(parts[2])
	if err != nil {
		return "", "", false
	}
	switch parts[3] {
	case "converse":
		return model, "Converse", true
	case "converse-stream":
		return model, "ConverseStream", true
	}
	return "", "", false
}

// resolve finds the model that an id, a profile or an ARN stands for.
func (s *Server) resolve(id string) (Model, *failure) {
	if model, ok := s.find(id); ok {
		return model, model.usable(false)
	}
	if rest, ok := strings.CutPrefix(id, "arn:aws:bedrock:"+s.options.Region+":"); ok {
		account, resource, _ := strings.Cut(rest, ":")
		kind, name, _ := strings.Cut(resource, "/")
		if kind == "foundation-model" && account == "" {
			if model, ok := s.find(name); ok {
				return model, model.usable(false)
			}
		}
		if kind == "inference-profile" && len(account) == 12 {
			if model, ok := s.profile(name); ok {
				return model, model.usable(true)
			}
		}
		return Model{}, &failure{http.StatusNotFound, "ResourceNotFoundException", "Could not resolve the foundation model from the provided model identifier."}
	}
	if model, ok := s.profile(id); ok {
		return model, model.usable(true)
	}
	return Model{}, invalid("The provided model identifier is invalid.")
}

func (s *Server) find(id string) (Model, bool) {
	i := slices.IndexFunc(s.options.Models, func(m Model) bool { return m.ID == id })
	if i < 0 {
		return Model{}, false
	}
	return s.options.Models[i], true
}

// profile finds the model of a cross-region inference profile that can be used
// from this region.
func (s *Server) profile(id string) (Model, bool) {
	geography, base, _ := strings.Cut(id, ".")
	here, _, _ := strings.Cut(s.options.Region, "-")
	if here == "ap" {
		here = "apac"
	}
	if geography != here && geography != "global" {
		return Model{}, false
	}
	return s.find(base)
}

func (m Model) usable(profile bool) *failure {
	switch {
	case m.Legacy:
		return &failure{http.StatusNotFound, "ResourceNotFoundException", "Access denied. This Model is marked by provider as Legacy and you have not been actively using the model in the last 30 days. Please upgrade to an active model on Amazon Bedrock"}
	case m.ProfileOnly && !profile:
		return invalid("Invocation of model ID %s with on-demand throughput isn’t supported. Retry your request with the ID or ARN of an inference profile that contains this model.", m.ID)
	}
	return nil
}

func (m Model) anthropic() bool { return strings.HasPrefix(m.ID, "anthropic.") }
