// Package gateway is the OpenAI-compatible front of Postern: an http.Handler
// that takes a request from a caller to a model and back, in one straight line.
//
// It must not know which cloud it runs on, how an upstream's wire looks, how a
// credential is come by, or how the configuration is written. Those are handed
// to it, ready made, in [Options].
package gateway

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/postern-ai/postern/shared/audit"
	"github.com/postern-ai/postern/shared/caller"
	"github.com/postern-ai/postern/shared/chat"
	"github.com/postern-ai/postern/shared/config"
	"github.com/postern-ai/postern/shared/policy"
	"github.com/postern-ai/postern/shared/provider"
	"github.com/postern-ai/postern/shared/quota"
)

// Options is what a gateway is made of. All fields are required, except where
// they say otherwise.
type Options struct {
	Document *config.Document
	Models   map[string]provider.Model // by the name of the upstream
	Callers  caller.Authenticator
	Policy   *policy.Policy
	Log      *slog.Logger
	// Quota counts what callers use. Nil means that each instance counts for
	// itself.
	Quota quota.Store
	// Audit takes the events of refusals, if the document wants any. Nil means
	// that there are none.
	Audit audit.Publisher
	// Function is where they happen.
	Function audit.Origin
}

// Gateway is the handler. It is safe for concurrent use.
type Gateway struct {
	router  *config.Router
	models  map[string]provider.Model
	callers caller.Authenticator
	policy  *policy.Policy
	log     *slog.Logger
	logging config.Logging
	limits  config.Limits
	meta    *metadata // nil if no tokens are accepted
	address string    // the document's public_url
	quota   quota.Store
	watch   *watch // nil if refusals are no events

	// keepAlive is how long a stream may be silent before a comment is sent.
	keepAlive time.Duration
}

// keepAlive stays under the idle limits of the fronts: 230 s on Azure, 30 s on
// an edge-optimised API Gateway, 60 s on many proxies in between.
const keepAlive = 15 * time.Second

// statusWait is how long a stream that the upstream has not accepted yet may be
// silent. The first comment settles the status, which until then can still be
// that of a refusal, so it comes as late as a front that takes a minute allows.
const statusWait = 45 * time.Second

// bodyGrace is how long the server may wait for the rest of a request that has
// been answered already, as for somebody unknown or because nobody wants a body:
// the answer waits with it.
const bodyGrace = time.Second

// reserve is what is kept of a platform's deadline to end an answer properly.
// A platform that runs out of time just cuts the connection.
const reserve = time.Second

// New returns the gateway for a document. It makes no connection.
func New(o Options) (*Gateway, error) {
	for _, u := range o.Document.Upstreams {
		if o.Models[u.Name] == nil {
			return nil, fmt.Errorf("upstream %q has no model behind it", u.Name)
		}
	}
	if o.Quota == nil {
		o.Quota = new(quota.Memory)
	}
	return &Gateway{
		quota: o.Quota, watch: newWatch(o),
		router: config.NewRouter(o.Document), models: o.Models,
		callers: o.Callers, policy: o.Policy,
		log: o.Log, logging: o.Document.Logging, limits: o.Document.Limits,
		meta: newMetadata(o.Document), address: o.Document.PublicURL,
		keepAlive: keepAlive,
	}, nil
}

// Paths that the gateway serves.
const (
	pathChat   = "/v1/chat/completions"
	pathModels = "/v1/models"
	// RFC 9728 section 3.
	pathResource = "/.well-known/oauth-protected-resource"
	pathHealth   = "/healthz"
	// The front end of Cloud Run keeps paths that end in z for itself.
	pathHealthRun = "/health"
	// The Azure Functions host asks for it to learn that a handler is up.
	pathRoot = "/"
)

// ServeHTTP implements http.Handler.
func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == pathHealth || r.URL.Path == pathHealthRun || r.URL.Path == pathRoot {
		health(w, r)
		return
	}
	x := begin(g, w, r)
	defer x.end()
	switch {
	case r.URL.Path == pathChat:
		x.only(http.MethodPost, x.chat)
	case r.URL.Path == pathModels:
		x.only(http.MethodGet, x.listModels)
	case strings.HasPrefix(r.URL.Path, pathModels+"/"):
		x.only(http.MethodGet, x.oneModel)
	case r.URL.Path == pathResource && g.meta != nil:
		x.only(http.MethodGet, x.resource)
	default:
		x.fail(unknownPath(r))
	}
}

// health answers that the process is up. It says nothing about upstreams: a
// platform that restarts functions on a failed check must not do so because a
// model is away.
func health(w http.ResponseWriter, r *http.Request) {
	bodyBy(w, time.Now().Add(bodyGrace))
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		writeError(w, wrongMethod(http.MethodGet))
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write([]byte(`{"status":"ok"}`))
}

func unknownPath(r *http.Request) *chat.Error {
	return &chat.Error{
		Status: http.StatusNotFound, Type: chat.TypeInvalidRequest, Code: "unknown_url",
		Message: fmt.Sprintf("Unknown request URL: %s %s. The gateway serves POST %s, GET %s and GET %s; check the base URL of your client, which ends in /v1.",
			chat.Clip(r.Method, 16), chat.Clip(r.URL.EscapedPath(), 128), pathChat, pathModels, pathHealth),
	}
}

func wrongMethod(allowed string) *chat.Error {
	return &chat.Error{
		Status: http.StatusMethodNotAllowed, Type: chat.TypeInvalidRequest, Code: "method_not_allowed",
		Message: fmt.Sprintf("This method is not allowed here. Use %s.", allowed),
	}
}

// denied returns the public error for a caller that was not authenticated.
func denied(err error) *chat.Error {
	e := &chat.Error{
		Status: http.StatusUnauthorized, Type: chat.TypeInvalidRequest, Code: chat.CodeInvalidAPIKey,
		Message: "The caller could not be authenticated.", Err: err,
	}
	known, ok := errors.AsType[*caller.Error](err)
	if !ok {
		return e
	}
	e.Message = sentence(known.Public)
	if known.Code == caller.Unavailable {
		e.Status, e.Type, e.Code = http.StatusServiceUnavailable, chat.TypeServer, "caller_keys_unavailable"
		e.RetryAfter = time.Second
	}
	return e
}

// sentence makes a sentence of an error text.
func sentence(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:] + "."
}
