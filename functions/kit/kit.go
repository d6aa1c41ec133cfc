// Package kit is the part of a function's wiring that is the same on every
// cloud: it turns the document into a gateway, with a model and a credential
// behind each upstream. A function's main fills in a [Kit] and adds what is its
// platform's alone.
//
// It links every provider and every identity, and no cloud's runtime, store or
// bus: those are imported by the main that may use them.
package kit

import (
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/postern-ai/postern/shared/audit"
	"github.com/postern-ai/postern/shared/caller"
	"github.com/postern-ai/postern/shared/config"
	"github.com/postern-ai/postern/shared/gateway"
	"github.com/postern-ai/postern/shared/policy"
	"github.com/postern-ai/postern/shared/provider"
	"github.com/postern-ai/postern/shared/secrets"
)

// Kit is what a function brings along.
type Kit struct {
	Cloud  config.Cloud
	Getenv func(string) string
	Log    *slog.Logger

	// Platform authenticates the callers whom the platform's own IAM has
	// admitted. It is asked only if the document trusts that IAM.
	Platform caller.Authenticator

	// Certificate and Balanced are those of [caller.Options]. Nil where the
	// platform puts no certificate beside a request, or has no load balancer.
	Certificate func(*http.Request) (pem string, ok bool)
	Balanced    func(*http.Request) bool

	// Secrets reads stored credentials. The store of the function's own cloud is
	// there under two names: its own and that of plain names.
	Secrets secrets.Stores

	// Audit takes the events of upstreams with audit_on_rotate, and of refusals
	// if the document wants them. Nil means that there are none.
	Audit audit.Publisher

	// HTTP carries the requests to upstreams, or nil for [NewTransport]. Those
	// for credentials go by the identities' own clients.
	HTTP http.RoundTripper
}

// Gateway returns the gateway for the document that the environment names. It
// does everything that can fail for a reason that the operator can mend, and
// nothing that takes time: no credential is looked for and no connection made
// before the first request needs them.
func (k Kit) Gateway() (http.Handler, error) {
	if k.HTTP == nil {
		k.HTTP = NewTransport()
	}
	document, err := config.FromEnvironment(k.Cloud, k.Getenv, os.ReadFile)
	if err != nil {
		return nil, err
	}
	for _, warning := range document.Warnings {
		k.Log.Warn("the configuration is valid, but", slog.String("path", warning.Path), slog.Int("line", warning.Line),
			slog.String("problem", warning.Message), slog.String("remedy", warning.Remedy))
	}
	w, err := newWiring(k, document)
	if err != nil {
		return nil, err
	}
	models := make(map[string]provider.Model, len(document.Upstreams))
	for i := range document.Upstreams {
		u := &document.Upstreams[i]
		if models[u.Name], err = w.model(u); err != nil {
			return nil, fmt.Errorf("upstream %q: %w", u.Name, err)
		}
	}
	entry, err := w.entry(document)
	if err != nil {
		return nil, err
	}
	g, err := gateway.New(gateway.Options{
		Document: document, Models: models, Policy: policy.Compile(document), Log: k.Log, Callers: caller.New(document, entry),
		Audit: k.Audit, Function: w.origin(), Quota: w.quota(document),
	})
	if err != nil {
		return nil, err
	}
	h, err := k.examined(caller.Guard(document, entry, g))
	if err != nil {
		return nil, err
	}
	Started(k.Log)
	return h, nil
}

// NewTransport returns the transport of a function. Its bounds are for
// connections alone; how long an answer may take is the document's to say.
func NewTransport() *http.Transport {
	return &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         (&net.Dialer{Timeout: 5 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		TLSHandshakeTimeout: 5 * time.Second,
		ForceAttemptHTTP2:   true,
		// A connection that died while the function was frozen must be noticed
		// before a request waits on it for good.
		HTTP2:               &http.HTTP2Config{SendPingTimeout: 10 * time.Second, PingTimeout: 3 * time.Second},
		MaxIdleConns:        256,
		MaxIdleConnsPerHost: 128,
		IdleConnTimeout:     90 * time.Second,
		// Compressed streams arrive late, and answers are small.
		DisableCompression:     true,
		MaxResponseHeaderBytes: 256 << 10,
		ReadBufferSize:         4 << 10,
		WriteBufferSize:        4 << 10,
	}
}
