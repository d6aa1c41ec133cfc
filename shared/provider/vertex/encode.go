package vertex

import (
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/postern-ai/postern/shared/chat"
	"github.com/postern-ai/postern/shared/provider"
)

// dialect is the wire format of generateContent for one project and location.
type dialect struct {
	root    string // address of the project and location, with a slash at the end
	carries chat.Carries
}

func newDialect(root string) *dialect {
	return &dialect{root: root, carries: chat.Carries{
		"max_tokens": true, "max_completion_tokens": true,
		"temperature": true, "top_p": true, "frequency_penalty": true, "presence_penalty": true,
		"stop": true, "seed": true, "n": true, "logprobs": true, "top_logprobs": true,
		"tools": true, "tool_choice": true,
		"response_format": true, "reasoning_effort": true,
		"user": true, "metadata": true,
	}}
}

// Encode implements [provider.Dialect].
func (d *dialect) Encode(req *chat.Request) (*provider.Call, error) {
	if err := req.Check(d.carries, name); err != nil {
		return nil, err
	}
	url, err := d.url(req)
	if err != nil {
		return nil, err
	}
	g := generationOf(req.Model)
	out := request{}
	if err := out.converse(req, g); err != nil {
		return nil, err
	}
	if err := out.generate(req, g); err != nil {
		return nil, err
	}
	if err := out.offer(req); err != nil {
		return nil, err
	}
	if err := out.label(req); err != nil {
		return nil, err
	}
	// Every value within has been read from valid JSON already, so looking for
	// duplicate names once more would find nothing. The same request gives the
	// same bytes.
	body, err := json.Marshal(&out, jsontext.AllowDuplicateNames(true), json.Deterministic(true))
	if err != nil {
		return nil, chat.Invalid("", chat.CodeInvalidValue, "The request cannot be written as JSON for %s.", name).With(err)
	}
	return &provider.Call{URL: url, Body: body}, nil
}

// asSet returns p unless it is what happens anyway.
func asSet[T comparable](p *T, anyway T) *T {
	if p == nil || *p == anyway {
		return nil
	}
	return p
}
