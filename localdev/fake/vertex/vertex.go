// Package vertex is a stand-in for Google Vertex AI's generateContent and
// streamGenerateContent, for Gemini models and tuned endpoints, in v1 and
// v1beta1. It refuses what the service refuses, in the service's words where
// those are known, and answers with what a [brain.Brain] says.
//
// Its sources are the Discovery document of aiplatform v1, Google's reference
// of the Gemini API in Vertex AI, its pages on thinking, thought signatures and
// error code 429, and errors that users of the service have published. What is
// documented but not played, such as Google's own tools, is answered with 501.
//
// The package must not know how the gateway calls the service.
package vertex

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/postern-ai/postern/localdev/fake/brain"
)

// Options says what a Server knows.
type Options struct {
	// Brain answers the prompts.
	Brain brain.Brain
	// Authorize tells whose an access token is, and whether it is valid.
	Authorize func(token string) (principal string, ok bool)
	// Projects are the projects that every principal may bill. Others do not
	// exist, as far as anybody is told.
	Projects []string
	// Models are the ids of Google's models. Nil means [Models].
	Models []string
	// Called, when set, is told of every request that was let in, before it is
	// answered. It is called from many goroutines.
	Called func(Call)
	// Endpoints are the ids of endpoints with tuned models, in every project.
	Endpoints []string
}

// Models returns the models that a Server has unless it is told others: one of
// each kind that the API treats differently.
func Models() []string {
	return []string{
		"gemini-3.1-pro-preview", "gemini-3-flash-preview",
		"gemini-2.5-pro", "gemini-2.5-flash", "gemini-2.5-flash-lite", "gemini-2.0-flash-001",
	}
}

// Call is a request that was let in, whether or not it was well formed.
type Call struct {
	Principal string // who the access token belongs to
	Project   string
	Location  string
	Model     string // the model's id, or endpoints/ and the endpoint's
	Stream    bool
}

// maxCalls bounds how many calls are remembered.
const maxCalls = 1000

// Server is the stand-in. It is safe for concurrent use.
type Server struct {
	o     Options
	mu    sync.Mutex
	calls []Call
}

// New returns a Server.
func New(o Options) *Server {
	if o.Models == nil {
		o.Models = Models()
	}
	return &Server{o: o}
}

// Calls returns the last calls, oldest first, a thousand at most.
func (s *Server) Calls() []Call {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.calls)
}

func (s *Server) note(c Call) {
	if s.o.Called != nil {
		s.o.Called(c)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.calls) == maxCalls {
		s.calls = slices.Delete(s.calls, 0, 1)
	}
	s.calls = append(s.calls, c)
}

// target is what a path means.
type target struct {
	Call
	publisher string // empty for an endpoint
	method    string
	sse       bool
}

// resource returns the name of the model as errors write it.
func (t target) resource() string {
	parent := fmt.Sprintf("projects/%s/locations/%s/", t.Project, t.Location)
	if t.publisher == "" {
		return parent + t.Model
	}
	return parent + "publishers/" + t.publisher + "/models/" + t.Model
}

func parsePath(path string) (target, bool) {
	form := regexp.MustCompile(`^/(?:v1|v1beta1)/projects/([^/:]+(?::[^/:]+)?)/locations/([a-z0-9-]+)/(?:publishers/([^/:]+)/models/([^/:]+)|(endpoints/[^/:]+)):([A-Za-z]+)$`)
	m := form.FindStringSubmatch(path)
	if m == nil {
		return target{}, false
	}
	return target{publisher: m[3], method: m[6], Call: Call{
		Project: m[1], Location: m[2], Model: m[4] + m[5], Stream: m[6] == "streamGenerateContent",
	}}, true
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	t, ok := parsePath(r.URL.Path)
	if !ok || r.Method != http.MethodPost {
		page(w, http.StatusNotFound)
		return
	}
	if err := s.serve(w, r, t); err != nil {
		err.write(w, t.Stream && !t.sse)
	}
}

// maxBody bounds a request, in bytes.
const maxBody = 32 << 20

// serve answers one request. The order of the checks is that of the service:
// who asks, what is asked, whether they may, whether it exists.
func (s *Server) serve(w http.ResponseWriter, r *http.Request, t target) *failure {
	if t.method != "generateContent" && !t.Stream {
		return unplayed("the method " + t.method)
	}
	sse, err := queryOf(r.URL.Query(), t.Stream)
	if err != nil {
		return err
	}
	t.sse = sse
	if t.Principal, err = s.principal(r); err != nil {
		return err
	}
	s.note(t.Call)
	body, readErr := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if readErr != nil {
		return invalid("Request payload size exceeds the limit: %d bytes.", maxBody)
	}
	req, err := decode(r, body)
	if err != nil {
		return err
	}
	if err := s.find(t); err != nil {
		return err
	}
	m := kindOf(t.Model)
	if err := req.check(m); err != nil {
		return err
	}
	a := &answering{t: t, model: m, req: req, prompt: req.prompt(t.Model)}
	a.identify(body)
	if t.Stream {
		return a.stream(w, r, s.o.Brain)
	}
	return a.whole(w, r, s.o.Brain)
}

func (s *Server) principal(r *http.Request) (string, *failure) {
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok || token == "" {
		return "", unauthenticated("CREDENTIALS_MISSING", "Request is missing required authentication credential.")
	}
	principal, ok := s.o.Authorize(token)
	if !ok {
		return "", unauthenticated("ACCESS_TOKEN_EXPIRED", "Request had invalid authentication credentials.")
	}
	return principal, nil
}

// find looks for the project and the model.
func (s *Server) find(t target) *failure {
	if !slices.Contains(s.o.Projects, t.Project) {
		return forbidden(t.resource())
	}
	if id, ok := strings.CutPrefix(t.Model, "endpoints/"); ok {
		if slices.Contains(s.o.Endpoints, id) {
			return nil
		}
		return &failure{status: http.StatusNotFound, message: fmt.Sprintf("Endpoint `%s` is not found.", t.resource())}
	}
	if t.publisher == "google" && slices.Contains(s.o.Models, t.Model) {
		return nil
	}
	return &failure{status: http.StatusNotFound, message: fmt.Sprintf("Publisher Model `%s` was not found or your project does not have access to it. Please ensure you are using a valid model version. For more information, see: https://cloud.google.com/vertex-ai/generative-ai/docs/learn/model-versions", t.resource())}
}

// queryOf reads the query, which may hold system parameters only.
func queryOf(q url.Values, stream bool) (sse bool, err *failure) {
	for parameter := range q {
		switch parameter {
		case "alt", "$alt", "prettyPrint", "fields", "quotaUser", "uploadType", "upload_protocol":
		default:
			return false, invalid("Invalid JSON payload received. Unknown name %q: Cannot bind query parameter. Field '%s' could not be found in request message.", parameter, parameter)
		}
	}
	switch alt := q.Get("alt") + q.Get("$alt"); alt {
	case "", "json":
		return false, nil
	case "sse":
		if stream {
			return true, nil
		}
		return false, invalid("The alt value sse is for streaming methods only.")
	default:
		return false, invalid("Invalid value at 'alt': %q.", alt)
	}
}

// kind is what the API makes of a model's name.
type kind struct {
	major, minor int
	pro, lite    bool
}

// kindOf reads gemini-2.5-flash-lite and the like. What a tuned endpoint serves
// its name does not tell; here it serves a Gemini 2.5.
func kindOf(model string) kind {
	m := regexp.MustCompile(`^gemini-(\d)(?:\.(\d))?-(pro|flash)(-lite)?`).FindStringSubmatch(model)
	if m == nil {
		return kind{major: 2, minor: 5}
	}
	k := kind{major: int(m[1][0] - '0'), pro: m[3] == "pro", lite: m[4] != ""}
	if m[2] != "" {
		k.minor = int(m[2][0] - '0')
	}
	return k
}

func (k kind) three() bool  { return k.major >= 3 }
func (k kind) thinks() bool { return k.major >= 3 || k.major == 2 && k.minor >= 5 }
