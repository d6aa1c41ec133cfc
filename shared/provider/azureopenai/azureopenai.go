// Package azureopenai speaks to Azure OpenAI: the wire of OpenAI at other
// addresses, with a content filter that leaves its notes in the answers.
//
// There are two addresses. /openai/v1/ takes the deployment as the model of the
// body and has no version. The dated one has the deployment in the path and an
// api-version that decides which parameters exist. The package must not know
// which credential is put on the request.
package azureopenai

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/postern-ai/postern/shared/chat"
	"github.com/postern-ai/postern/shared/config"
	"github.com/postern-ai/postern/shared/provider"
)

const name = "Azure OpenAI"

// tokensVersion is the first api-version that has stream_options,
// parallel_tool_calls and max_completion_tokens, as Azure's lifecycle page for
// API versions says (2024-09-01-preview). Versions are dates and compare as
// text.
const tokensVersion = "2024-09-01"

// New returns the model of an Azure OpenAI resource. It has the form of a
// [provider.Builder].
func New(upstream *config.Upstream, doer provider.Doer) (provider.Model, error) {
	base := strings.TrimRight(upstream.BaseURL, "/")
	if base == "" {
		base = "https://" + upstream.AzureInstance + ".openai.azure.com"
	}
	if u, err := url.Parse(base); err != nil || u.Host == "" || u.RawQuery != "" || upstream.BaseURL == "" && upstream.AzureInstance == "" {
		return nil, fmt.Errorf("upstream %q: neither azure_instance nor base_url names a resource", upstream.Name)
	}
	return &provider.Client{
		Upstream: name, Doer: doer,
		Dialect: &dialect{
			// The asynchronous filter may still withdraw an answer whose finish
			// reason has been sent.
			Wire: provider.Wire{Upstream: name, HoldFinish: true},
			base: base, version: upstream.AzureAPIVersion,
		},
	}, nil
}

type dialect struct {
	provider.Wire
	base    string
	version string // empty for /openai/v1/
}

// Encode implements [provider.Dialect].
func (d *dialect) Encode(req *chat.Request) (*provider.Call, error) {
	if d.version == "" {
		body, err := d.Body(req)
		if err != nil {
			return nil, err
		}
		return &provider.Call{URL: d.base + "/openai/v1/chat/completions", Body: body}, nil
	}
	address := d.base + "/openai/deployments/" + url.PathEscape(req.Model) + "/chat/completions?api-version=" + url.QueryEscape(d.version)
	out := *req
	out.Model = ""
	render := d.Body
	if d.version < tokensVersion {
		if err := withoutTokens(&out); err != nil {
			return nil, err
		}
		render = d.BodyAsIs
	}
	body, err := render(&out)
	if err != nil {
		return nil, err
	}
	return &provider.Call{URL: address, Body: body}, nil
}

// withoutTokens turns a request into one for versions before [tokensVersion].
// What they cannot do is refused; what they do anyway is left out. They do not
// count the tokens of a stream.
func withoutTokens(req *chat.Request) error {
	if o := req.StreamOptions; o != nil && (o.IncludeUsage || o.IncludeObfuscation != nil && *o.IncludeObfuscation || o.Unknown != nil) {
		return chat.Unsupported("stream_options", name+" of this api-version")
	}
	if req.ParallelToolCalls != nil && !*req.ParallelToolCalls {
		return chat.Unsupported("parallel_tool_calls", name+" of this api-version")
	}
	req.StreamOptions, req.ParallelToolCalls = nil, nil
	req.MaxTokens, req.MaxCompletionTokens = req.OutputLimit(), nil
	return nil
}

// Fault implements [provider.Dialect].
func (d *dialect) Fault(status int, header http.Header, body []byte) *chat.Error {
	if status == http.StatusNotFound && chat.DecodeReported(body).Code != "DeploymentNotFound" {
		// Not the deployment but the address is unknown.
		e := provider.Fault(http.StatusBadGateway, name, "")
		e.Message = name + " knows no such address. This is for the gateway's operator to mend: check azure_instance, base_url and azure_api_version."
		return e
	}
	return d.Wire.Fault(status, header, body)
}
