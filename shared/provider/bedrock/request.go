package bedrock

import (
	"fmt"
	"maps"
	"math"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/bedrockruntime"
	"github.com/aws/aws-sdk-go-v2/service/bedrockruntime/document"
	"github.com/aws/aws-sdk-go-v2/service/bedrockruntime/types"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/postern-ai/postern/shared/chat"
)

// carries lists the members of a request that Converse has a place for. For
// the others (seed, n, penalties, logprobs and more) it has none.
func carries() chat.Carries {
	return chat.Carries{
		"max_tokens": true, "max_completion_tokens": true, "temperature": true, "top_p": true, "stop": true,
		"tools": true, "tool_choice": true, "parallel_tool_calls": true,
		"response_format": true, "reasoning_effort": true, "service_tier": true,
		"user": true, "safety_identifier": true, "metadata": true,
	}
}

// translate returns the request for Converse. The error is a *[chat.Error]
// with status 400 that names what the service cannot carry.
func (m *model) translate(req *chat.Request) (*bedrockruntime.ConverseInput, error) {
	if err := req.Check(m.carries, name); err != nil {
		return nil, err
	}
	talk, err := converse(req.Messages)
	if err != nil {
		return nil, err
	}
	in := &bedrockruntime.ConverseInput{ModelId: aws.String(req.Model), Messages: talk.messages, System: talk.system}
	if in.InferenceConfig, err = inference(req); err != nil {
		return nil, err
	}
	if in.OutputConfig, err = output(req); err != nil {
		return nil, err
	}
	if in.ServiceTier, err = tier(req.ServiceTier); err != nil {
		return nil, err
	}
	if in.RequestMetadata, err = labels(req); err != nil {
		return nil, err
	}
	if err := offer(in, req, talk); err != nil {
		return nil, err
	}
	return in, nil
}

// verbatim is JSON that is sent as it is. The SDK's own documents are decoded
// and encoded again, which would lose the order of members in a schema, and
// models read those in their order.
type verbatim struct {
	document.Interface // never used; it makes this a document for the SDK
	json               []byte
}

func (v verbatim) MarshalSmithyDocument() ([]byte, error) { return v.json, nil }

func inference(req *chat.Request) (*types.InferenceConfiguration, error) {
	limit := req.OutputLimit()
	if limit == nil && req.Temperature == nil && req.TopP == nil && req.Stop.IsZero() {
		return nil, nil
	}
	c := &types.InferenceConfiguration{StopSequences: req.Stop.Sequences}
	if limit != nil {
		if *limit > math.MaxInt32 {
			at := "max_tokens"
			if req.MaxCompletionTokens != nil {
				at = "max_completion_tokens"
			}
			return nil, chat.Invalid(at, chat.CodeInvalidValue, "Invalid '%s': %s takes at most %d.", at, name, math.MaxInt32)
		}
		c.MaxTokens = aws.Int32(int32(*limit))
	}
	temperature, topP := req.Temperature, req.TopP
	if isAnthropic(req.Model) {
		temperature, topP = req.Sampling()
	}
	if temperature != nil {
		if *temperature > 1 {
			return nil, chat.UnsupportedValue("temperature", name, "it takes values from 0 to 1.")
		}
		c.Temperature = aws.Float32(float32(*temperature))
	}
	if topP != nil {
		c.TopP = aws.Float32(float32(*topP))
	}
	return c, nil
}

// output sets the form of the answer and how much the model thinks about it.
func output(req *chat.Request) (*types.OutputConfig, error) {
	var c types.OutputConfig
	if effort := req.ReasoningEffort; effort != "" {
		if !slices.Contains([]string{"low", "medium", "high", "xhigh", "max"}, effort) {
			return nil, chat.UnsupportedValue("reasoning_effort", name, "it knows 'low', 'medium', 'high', 'xhigh' and 'max'.")
		}
		c.Effort = &effort
	}
	var err error
	if c.TextFormat, err = format(req.ResponseFormat); err != nil {
		return nil, err
	}
	if c.Effort == nil && c.TextFormat == nil {
		return nil, nil
	}
	return &c, nil
}

func format(f *chat.ResponseFormat) (*types.OutputFormat, error) {
	if f == nil || f.Type == "text" {
		return nil, nil
	}
	if f.Type != "json_schema" || f.JSONSchema == nil {
		return nil, chat.UnsupportedValue("response_format", name, "it produces JSON of a schema only. Use 'json_schema' and give the schema.")
	}
	schema := f.JSONSchema.Schema
	if !isSet(schema) {
		const at = "response_format.json_schema.schema"
		return nil, chat.Invalid(at, chat.CodeMissingParameter, "Missing required parameter: '%s'. %s needs the schema.", at, name)
	}
	if schema.Kind() != jsontext.KindBeginObject {
		const at = "response_format.json_schema.schema"
		return nil, chat.Invalid(at, chat.CodeInvalidType, "Invalid type for '%s': expected an object, a JSON Schema.", at)
	}
	definition := types.JsonSchemaDefinition{Schema: aws.String(string(schema)), Name: notEmpty(f.JSONSchema.Name), Description: notEmpty(f.JSONSchema.Description)}
	return &types.OutputFormat{
		Type:      types.OutputFormatTypeJsonSchema,
		Structure: &types.OutputFormatStructureMemberJsonSchema{Value: definition},
	}, nil
}

func tier(wanted string) (*types.ServiceTier, error) {
	switch wanted {
	case "", "auto":
		return nil, nil
	case "default", "flex", "priority", "reserved":
		return &types.ServiceTier{Type: types.ServiceTierType(wanted)}, nil
	}
	return nil, chat.UnsupportedValue("service_tier", name, "it knows 'default', 'flex', 'priority' and 'reserved'.")
}

// Bounds of requestMetadata in the service's model.
const (
	maxLabels = 16
	maxLabel  = 256
)

// labels returns the caller's metadata, which the service writes to its
// invocation log, where one can look for it.
func labels(req *chat.Request) (map[string]string, error) {
	all := make(map[string]string, len(req.Metadata)+2)
	for _, key := range slices.Sorted(maps.Keys(req.Metadata)) {
		value := req.Metadata[key]
		if key == "" || !isLabel(key) || !isLabel(value) {
			return nil, wrongLabel("metadata." + chat.Clip(key, 64))
		}
		all[key] = value
	}
	for _, named := range [][2]string{{"user", req.User}, {"safety_identifier", req.SafetyIdentifier}} {
		key, value := named[0], named[1]
		if value == "" {
			continue
		}
		if !isLabel(value) {
			return nil, wrongLabel(key)
		}
		if same, ok := all[key]; ok && same != value {
			return nil, chat.Invalid(key, chat.CodeInvalidValue, "Invalid '%s': 'metadata.%s' says something else, and %s has one place for both. Leave one of the two out.", key, key, name)
		}
		all[key] = value
	}
	if len(all) > maxLabels {
		return nil, chat.Invalid("metadata", chat.CodeInvalidValue, "Invalid 'metadata': %s takes %d entries, in which 'user' and 'safety_identifier' count.", name, maxLabels)
	}
	if len(all) == 0 {
		return nil, nil
	}
	return all, nil
}

func wrongLabel(at string) error {
	return chat.UnsupportedValue(at, name, fmt.Sprintf("names and values have at most %d letters, digits, spaces and : _ @ $ # = / + , - . without other signs.", maxLabel))
}

// isLabel reports whether s matches [a-zA-Z0-9\s:_@$#=/+,-.]{0,256}.
func isLabel(s string) bool {
	return len(s) <= maxLabel && consists(s, " \t\n\r\f:_@$#=/+,-.")
}

// consists reports whether s has only ASCII letters, digits, and the others.
func consists(s, others string) bool {
	for i := range len(s) {
		c := s[i]
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' {
			continue
		}
		if !slices.Contains([]byte(others), c) {
			return false
		}
	}
	return true
}

// isSet reports whether a member says anything: neither absent nor null.
func isSet(v jsontext.Value) bool { return len(v) > 0 && v.Kind() != jsontext.KindNull }

func notEmpty(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
