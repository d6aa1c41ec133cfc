package anthropic

import (
	"bytes"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/postern-ai/postern/shared/chat"
)

// generate sets how the answer is made. Newer models take no temperature but
// their own, and no top_p; that is the API's to say, since it may change.
func (out *request) generate(req *chat.Request) error {
	m := modelOf(req.Model)
	out.MaxTokens = m.maxTokens()
	if limit := req.OutputLimit(); limit != nil {
		out.MaxTokens = *limit
	}
	if req.Temperature != nil && *req.Temperature > 1 {
		return chat.UnsupportedValue("temperature", name, "it takes values from 0 to 1.")
	}
	out.Temperature, out.TopP = req.Sampling()
	for _, s := range req.Stop.Sequences {
		if strings.TrimSpace(s) == "" {
			return chat.UnsupportedValue("stop", name, "a stop sequence needs more than space.")
		}
	}
	out.StopSequences = req.Stop.Sequences
	for _, set := range []func(*chat.Request) error{out.think(m), out.shape, out.serve, out.identify} {
		if err := set(req); err != nil {
			return err
		}
	}
	return nil
}

// think sets how hard the model tries. The levels have the same names as
// OpenAI's, and a level of effort is what Anthropic recommends in place of a
// budget of tokens, for which there is no documented translation.
func (out *request) think(m model) func(*chat.Request) error {
	return func(req *chat.Request) error {
		const at = "reasoning_effort"
		effort := req.ReasoningEffort
		if effort == "" {
			return nil
		}
		levels := m.efforts()
		switch {
		case effort == "none":
			rest, ok := m.restful()
			if !ok {
				return chat.UnsupportedValue(at, name, "this model cannot be kept from thinking, or is not known. Ask for 'low', or leave it out.")
			}
			out.Thinking = rest
		case levels == nil:
			return chat.UnsupportedValue(at, name, "this model takes no level of effort, or is not known to take one. Leave it out.")
		case !slices.Contains(levels, effort):
			return chat.UnsupportedValue(at, name, "this model knows "+list(levels)+".")
		default:
			out.OutputConfig.Effort = effort
			if m.adapts() {
				out.Thinking = &thinking{"adaptive"}
			}
		}
		return nil
	}
}

func list(names []string) string {
	return "'" + strings.Join(names[:len(names)-1], "', '") + "' and '" + names[len(names)-1] + "'"
}

// shape sets what the answer must look like. The API holds every answer to its
// schema, strict or not, and has no use for the schema's name.
func (out *request) shape(req *chat.Request) error {
	f := req.ResponseFormat
	if f == nil || f.Type == "text" {
		return nil
	}
	const at = "response_format.json_schema.schema"
	switch {
	case f.Type != "json_schema" || f.JSONSchema == nil:
		return chat.UnsupportedValue("response_format", name, "it writes JSON of a schema only. Use 'json_schema' and give the schema.")
	case !isSet(f.JSONSchema.Schema):
		return chat.Invalid(at, chat.CodeMissingParameter, "Missing required parameter: '%s'. %s needs the schema.", at, name)
	case f.JSONSchema.Schema.Kind() != jsontext.KindBeginObject:
		return chat.Invalid(at, chat.CodeInvalidType, "Invalid type for '%s': expected an object, a JSON Schema.", at)
	}
	schema, err := described(f.JSONSchema)
	if err != nil {
		return err
	}
	out.OutputConfig.Format = &format{Type: "json_schema", Schema: schema}
	return nil
}

// described returns a schema with the description that stands beside it, for
// which the API has no member.
func described(s *chat.JSONSchema) (jsontext.Value, error) {
	if s.Description == "" {
		return s.Schema, nil
	}
	const at = "response_format.json_schema.description"
	var own struct {
		Description jsontext.Value `json:"description"`
	}
	quoted, err := jsontext.AppendQuote([]byte(`{"description":`), s.Description)
	if err != nil || json.Unmarshal(s.Schema, &own) != nil || own.Description != nil {
		return nil, chat.UnsupportedValue(at, name, "the schema has a description of its own. Keep one of the two.")
	}
	members := bytes.TrimSpace(bytes.TrimSpace(s.Schema)[1:])
	if members[0] != '}' {
		quoted = append(quoted, ',')
	}
	return append(quoted, members...), nil
}

// serve sets the tier. The default of both APIs is "auto" and OpenAI's "default"
// is the standard capacity alone; that one tier or another must be used cannot
// be said.
func (out *request) serve(req *chat.Request) error {
	switch req.ServiceTier {
	case "", "auto":
	case "default":
		out.ServiceTier = "standard_only"
	default:
		return chat.UnsupportedValue("service_tier", name, "it knows 'auto' and 'default'.")
	}
	return nil
}

// tierOf returns OpenAI's name for the tier that served a request.
func tierOf(served string) string {
	switch served {
	case "standard":
		return "default"
	case "priority":
		return "priority"
	}
	return ""
}

// identify says who the request is for.
func (out *request) identify(req *chat.Request) error {
	id := req.SafetyIdentifier
	if id == "" {
		id = req.User
	}
	if req.User != "" && req.User != id {
		return chat.Invalid("user", chat.CodeInvalidValue, "Invalid 'user': 'safety_identifier' says something else, and %s has one place for both. Leave one of the two out.", name)
	}
	if id != "" {
		out.Metadata = &metadata{id}
	}
	return nil
}
