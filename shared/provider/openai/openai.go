// Package openai speaks to OpenAI's own API and to every server that speaks the
// same wire: vLLM, llama.cpp, Ollama, other gateways.
//
// The wire is the one that the gateway itself speaks, so a request goes out
// with all that the caller said, known or not, and an answer that needs no
// change comes back in its own bytes. The package must not know which
// credential is put on the request.
package openai

import (
	"fmt"
	"net/url"
	"strings"

	"github.com/postern-ai/postern/shared/chat"
	"github.com/postern-ai/postern/shared/config"
	"github.com/postern-ai/postern/shared/provider"
)

const (
	name    = "OpenAI"
	address = "https://api.openai.com/v1"
)

// New returns the model of OpenAI, or of the compatible server at the
// upstream's BaseURL, to which /chat/completions is added. It has the form of
// a [provider.Builder].
func New(upstream *config.Upstream, doer provider.Doer) (provider.Model, error) {
	base := address
	if upstream.BaseURL != "" {
		base = strings.TrimRight(upstream.BaseURL, "/")
	}
	if u, err := url.Parse(base); err != nil || u.Host == "" || u.RawQuery != "" {
		return nil, fmt.Errorf("upstream %q: base_url is not the address of a server", upstream.Name)
	}
	address := base + "/chat/completions"
	client := func(d *dialect) *provider.Client {
		return &provider.Client{Upstream: d.Upstream, Doer: doer, Dialect: d}
	}
	if upstream.Provider != config.CustomOpenAI {
		return client(&dialect{Wire: provider.Wire{Upstream: name}, url: address}), nil
	}
	wire := provider.Wire{Upstream: "Upstream " + upstream.Name, Extensions: true}
	return &provider.UsageIfKnown{
		Client: client(&dialect{Wire: wire, url: address}),
		Plain:  client(&dialect{Wire: wire, url: address, asIs: true}),
	}, nil
}

type dialect struct {
	provider.Wire
	url  string
	asIs bool // usage of a stream is asked for only where the caller does
}

// Encode implements [provider.Dialect].
func (d *dialect) Encode(req *chat.Request) (*provider.Call, error) {
	render := d.Body
	if d.asIs {
		render = d.BodyAsIs
	}
	body, err := render(req)
	if err != nil {
		return nil, err
	}
	return &provider.Call{URL: d.url, Body: body}, nil
}
