// Package vertex speaks Google Vertex AI's generateContent and
// streamGenerateContent, API v1, for Gemini models and for endpoints that serve
// tuned ones.
//
// The translation is a pure [provider.Dialect]; the one thing that may have to
// be asked for at run time is the project, see [Options]. The package must not
// know which credential is put on its requests, who the caller is, or on which
// cloud the process runs. Its sources are the Discovery document of
// aiplatform v1 and Google's reference of the Gemini API in Vertex AI.
package vertex

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"sync/atomic"

	"github.com/postern-ai/postern/shared/chat"
	"github.com/postern-ai/postern/shared/config"
	"github.com/postern-ai/postern/shared/provider"
)

// name is what people call the upstream.
const name = "Google Vertex AI"

// Options holds what the document does not say.
type Options struct {
	// Project finds the id or number of the project that requests are billed to,
	// where the document names none. It is called within a request and honours
	// its context; an answer is kept for good, a failure is not. It must be safe
	// for concurrent use. Nil means that the document has to name the project.
	Project func(context.Context) (string, error)
}

// New returns the Model of an upstream that names its project. It is a
// [provider.Builder].
func New(upstream *config.Upstream, doer provider.Doer) (provider.Model, error) {
	return NewWith(upstream, doer, Options{})
}

// NewWith returns the Model of an upstream. The error names the upstream and
// the field of it that cannot be used.
func NewWith(upstream *config.Upstream, doer provider.Doer, o Options) (provider.Model, error) {
	model, err := build(upstream, doer, o)
	if err != nil {
		return nil, fmt.Errorf("upstream %q: %w", upstream.Name, err)
	}
	return model, nil
}

func build(upstream *config.Upstream, doer provider.Doer, o Options) (provider.Model, error) {
	root, err := address(upstream)
	if err != nil {
		return nil, err
	}
	if upstream.ProjectID != "" {
		return client(root, upstream.ProjectID, doer)
	}
	if o.Project == nil {
		return nil, errors.New("project_id is missing, and outside of Google Cloud nothing else tells it: set it to the id of the project to bill")
	}
	return &searching{root: root, doer: doer, find: o.Project, turn: make(chan struct{}, 1)}, nil
}

func client(root location, project string, doer provider.Doer) (*provider.Client, error) {
	if !isProject(project) {
		return nil, fmt.Errorf("project_id %q is not the id or number of a Google Cloud project", chat.Clip(project, 80))
	}
	return &provider.Client{Upstream: name, Dialect: newDialect(root.of(project)), Doer: doer}, nil
}

// searching is the Model of an upstream whose project is not known before the
// first request.
type searching struct {
	root location
	doer provider.Doer
	find func(context.Context) (string, error)

	found atomic.Pointer[provider.Client]
	turn  chan struct{} // holds one value while somebody looks
}

// Chat implements [provider.Model].
func (s *searching) Chat(ctx context.Context, req *chat.Request) (*chat.Response, error) {
	c, err := s.client(ctx)
	if err != nil {
		return nil, err
	}
	return c.Chat(ctx, req)
}

// Stream implements [provider.Model].
func (s *searching) Stream(ctx context.Context, req *chat.Request) (iter.Seq2[*chat.Chunk, error], error) {
	c, err := s.client(ctx)
	if err != nil {
		return nil, err
	}
	return c.Stream(ctx, req)
}

// client looks for the project, one request at a time, so that a cold start
// under load asks once. Whoever waits gives up with its own context.
func (s *searching) client(ctx context.Context) (*provider.Client, error) {
	if c := s.found.Load(); c != nil {
		return c, nil
	}
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		return nil, provider.Unreached(name, ctx.Err())
	}
	if c := s.found.Load(); c != nil {
		return c, nil
	}
	project, err := s.find(ctx)
	if err != nil {
		return nil, unknownProject(ctx, err)
	}
	c, err := client(s.root, project, s.doer)
	if err != nil {
		return nil, unknownProject(ctx, err)
	}
	s.found.Store(c)
	return c, nil
}

func unknownProject(ctx context.Context, err error) *chat.Error {
	if ctx.Err() != nil {
		return provider.Unreached(name, ctx.Err()).With(err)
	}
	return &chat.Error{
		Status: http.StatusBadGateway, Type: chat.TypeServer, Code: chat.CodeUpstreamAuth,
		Message: "The gateway could not find out its own Google Cloud project. This is for the gateway's operator to mend, by setting project_id; the caller's token is fine.",
		Err:     err,
	}
}
