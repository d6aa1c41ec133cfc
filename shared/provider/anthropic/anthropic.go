// Package anthropic speaks Anthropic's Messages API, version 2023-06-01, to
// Anthropic itself and to whoever serves the same API at another address.
//
// It is a pure [provider.Dialect]. The package must not know which credential
// is put on its requests: an API key, or a token, which Anthropic takes only
// together with a beta header that is the token's business. Its sources are
// Anthropic's API reference and the types of its Go SDK.
package anthropic

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/postern-ai/postern/shared/chat"
	"github.com/postern-ai/postern/shared/config"
	"github.com/postern-ai/postern/shared/provider"
)

const (
	name    = "Anthropic" // what people call the upstream
	address = "https://api.anthropic.com"
	version = "2023-06-01"
)

// New returns the Model of an upstream. It is a [provider.Builder].
//
// BaseURL, if set, stands in the place of https://api.anthropic.com, as with
// Anthropic's own clients: it may have a path, and /v1/messages is added to it.
// The error says what in it cannot be used.
func New(upstream *config.Upstream, doer provider.Doer) (provider.Model, error) {
	base := address
	if upstream.BaseURL != "" {
		base = strings.TrimRight(upstream.BaseURL, "/")
	}
	if u, err := url.Parse(base); err != nil || u.Host == "" || u.RawQuery != "" {
		return nil, fmt.Errorf("upstream %q: base_url is not the address of a server", upstream.Name)
	}
	if strings.HasSuffix(base, "/v1") || strings.HasSuffix(base, "/v1/messages") {
		return nil, fmt.Errorf("upstream %q: base_url ends in the path of the API, which is added to it: leave it off", upstream.Name)
	}
	return &provider.Client{Upstream: name, Dialect: newDialect(base), Doer: doer}, nil
}

// dialect is the wire format of the Messages API at one address.
type dialect struct {
	url     string
	header  http.Header
	carries chat.Carries
}

func newDialect(base string) *dialect {
	return &dialect{
		url:    base + "/v1/messages",
		header: http.Header{"Anthropic-Version": {version}},
		carries: chat.Carries{
			"max_tokens": true, "max_completion_tokens": true, "temperature": true, "top_p": true, "stop": true,
			"tools": true, "tool_choice": true, "parallel_tool_calls": true,
			"response_format": true, "reasoning_effort": true, "service_tier": true,
			"user": true, "safety_identifier": true,
			cacheControl: true,
		},
	}
}

// Encode implements [provider.Dialect].
func (d *dialect) Encode(req *chat.Request) (*provider.Call, error) {
	if err := req.Check(d.carries, name); err != nil {
		return nil, err
	}
	out := request{Model: req.Model, Stream: req.Stream, CacheControl: cacheOf(req.Unknown)}
	if err := out.converse(req); err != nil {
		return nil, err
	}
	if err := out.generate(req); err != nil {
		return nil, err
	}
	if err := out.offer(req); err != nil {
		return nil, err
	}
	// Every value within has been read from valid JSON already, so looking for
	// duplicate names once more would find nothing.
	body, err := json.Marshal(&out, jsontext.AllowDuplicateNames(true))
	if err != nil {
		return nil, chat.Invalid("", chat.CodeInvalidValue, "The request cannot be written as JSON for %s.", name).With(err)
	}
	return &provider.Call{URL: d.url, Header: d.header, Body: body}, nil
}

// isSet reports whether a member says anything: neither absent nor null.
func isSet(v jsontext.Value) bool { return len(v) > 0 && v.Kind() != jsontext.KindNull }
