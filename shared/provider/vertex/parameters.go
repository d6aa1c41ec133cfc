package vertex

import (
	"bytes"
	"math"
	"slices"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/postern-ai/postern/shared/chat"
)

// generate sets how the answer is made.
func (out *request) generate(req *chat.Request, g generation) error {
	c := &out.GenerationConfig
	*c = generationConfig{
		Temperature: req.Temperature, TopP: req.TopP,
		PresencePenalty: asSet(req.PresencePenalty, 0), FrequencyPenalty: asSet(req.FrequencyPenalty, 0),
		CandidateCount: asSet(req.N, 1), MaxOutputTokens: req.OutputLimit(), Seed: req.Seed,
		StopSequences:    req.Stop.Sequences,
		ResponseLogprobs: req.Logprobs != nil && *req.Logprobs, Logprobs: asSet(req.TopLogprobs, 0),
	}
	if c.Seed != nil && (*c.Seed < math.MinInt32 || *c.Seed > math.MaxInt32) {
		return chat.Invalid("seed", chat.CodeInvalidValue, "Invalid 'seed': %s takes values from %d to %d.", name, math.MinInt32, math.MaxInt32)
	}
	if c.MaxOutputTokens != nil && *c.MaxOutputTokens > math.MaxInt32 {
		at := "max_completion_tokens"
		if req.MaxCompletionTokens == nil {
			at = "max_tokens"
		}
		return chat.Invalid(at, chat.CodeInvalidValue, "Invalid '%s': %s takes at most %d.", at, name, math.MaxInt32)
	}
	if err := c.format(req.ResponseFormat); err != nil {
		return err
	}
	return c.think(req.ReasoningEffort, g)
}

// format sets what the answer must look like. Text is what it is anyway.
func (c *generationConfig) format(f *chat.ResponseFormat) error {
	if f == nil || f.Type == "text" {
		return nil
	}
	c.ResponseMIMEType = "application/json"
	if f.Type != "json_schema" || f.JSONSchema == nil || !isSet(f.JSONSchema.Schema) {
		return nil
	}
	const at = "response_format.json_schema."
	if f.JSONSchema.Schema.Kind() != jsontext.KindBeginObject {
		return chat.Invalid(at+"schema", chat.CodeInvalidType, "Invalid type for '%sschema': expected an object, a JSON Schema.", at)
	}
	c.ResponseJSONSchema = f.JSONSchema.Schema
	if f.JSONSchema.Description == "" {
		return nil
	}
	// The API has no member for it beside the schema.
	described, ok := describe(f.JSONSchema.Schema, f.JSONSchema.Description)
	if !ok {
		return chat.UnsupportedValue(at+"description", name, "the schema has a description of its own. Keep one of the two.")
	}
	c.ResponseJSONSchema = described
	return nil
}

// describe returns a schema with a description, and false if it has one.
func describe(schema jsontext.Value, description string) (jsontext.Value, bool) {
	dec := jsontext.NewDecoder(bytes.NewReader(schema))
	if _, err := dec.ReadToken(); err != nil {
		return nil, false
	}
	first := true
	for ; dec.PeekKind() == jsontext.KindString; first = false {
		member, err := dec.ReadToken()
		if err != nil || member.String() == "description" {
			return nil, false
		}
		if err := dec.SkipValue(); err != nil {
			return nil, false
		}
	}
	out, err := jsontext.AppendQuote([]byte(`{"description":`), description)
	if err != nil {
		return nil, false
	}
	if !first {
		out = append(out, ',')
	}
	return append(out, bytes.TrimSpace(schema)[1:]...), true
}

// think sets how long the model may think. Budgets are those of Google's own
// OpenAI-compatible endpoint.
func (c *generationConfig) think(effort string, g generation) error {
	const at = "reasoning_effort"
	if effort == "" {
		return nil
	}
	levels := map[string]string{"minimal": "MINIMAL", "low": "LOW", "medium": "MEDIUM", "high": "HIGH"}
	budgets := map[string]int64{"none": 0, "minimal": 1024, "low": 1024, "medium": 8192, "high": 24576}
	budget, hasBudget := budgets[effort]
	switch {
	case !g.levels() && !g.budgets():
		return chat.UnsupportedValue(at, name, "a model of this name is not known to think. Leave it out, or name a model of Gemini 2.5 or later.")
	case !hasBudget:
		return chat.UnsupportedValue(at, name, "it knows 'minimal', 'low', 'medium' and 'high'.")
	case effort == "none" && (g.levels() || g.pro):
		return chat.UnsupportedValue(at, name, "this model always thinks. Ask for 'low', or leave it out.")
	case g.levels():
		c.ThinkingConfig = &thinkingConfig{ThinkingLevel: levels[effort]}
	default:
		c.ThinkingConfig = &thinkingConfig{ThinkingBudget: &budget}
	}
	return nil
}

// Modes of function calling. Validated leaves the choice to the model as auto
// does, and holds it to the declared parameters.
const (
	modeAuto      = "AUTO"
	modeAny       = "ANY"
	modeNone      = "NONE"
	modeValidated = "VALIDATED"
)

// offer sets the functions that the model may call.
func (out *request) offer(req *chat.Request) error {
	if len(req.Tools) == 0 {
		return nil
	}
	config, only, err := choose(req)
	if err != nil {
		return err
	}
	declarations := make([]functionDeclaration, 0, len(req.Tools))
	strict := false
	for i := range req.Tools {
		f := req.Tools[i].Function
		if f == nil || req.Tools[i].Type != "function" {
			return chat.UnsupportedValue(place("tools", i)+".type", name, "it knows tools of type 'function' only.")
		}
		if !startsName(f.Name) {
			return chat.UnsupportedValue(place("tools", i)+".function.name", name, "a name begins with a letter or an underscore. Rename the function.")
		}
		if only != nil && !slices.Contains(only, f.Name) {
			continue
		}
		strict = strict || f.Strict != nil && *f.Strict
		declarations = append(declarations, functionDeclaration{
			Name: f.Name, Description: f.Description, ParametersJSONSchema: f.ObjectSchema(),
		})
	}
	if strict && config.Mode == modeAuto {
		config.Mode = modeValidated
	}
	if config.Mode != modeAuto {
		out.ToolConfig = &toolConfig{config}
	}
	out.Tools = []toolSet{{declarations}}
	return nil
}

func startsName(s string) bool {
	return s != "" && (isSmall(s[0]) || isLarge(s[0]) || s[0] == '_')
}

// isSet reports whether a member says anything: neither absent nor null.
func isSet(v jsontext.Value) bool { return len(v) > 0 && v.Kind() != jsontext.KindNull }

// allowed is the tool_choice of a subset of the tools.
type allowed struct {
	Tools struct {
		Mode  string `json:"mode"`
		Tools []struct {
			Type     string `json:"type"`
			Function struct {
				Name string `json:"name"`
			} `json:"function"`
		} `json:"tools"`
	} `json:"allowed_tools"`
}

// choose returns the mode, and the names of the only functions to declare if
// not all of them are. A subset that the model may but need not call is
// declared alone, since the API takes names with the mode ANY only.
func choose(req *chat.Request) (config functionCallingConfig, only []string, err error) {
	config.Mode = modeAuto
	if req.ToolChoice == nil {
		return config, nil, nil
	}
	switch req.ToolChoice.Mode {
	case chat.ToolChoiceNone:
		config.Mode = modeNone
	case chat.ToolChoiceRequired:
		config.Mode = modeAny
	case chat.ToolChoiceFunction:
		config.Mode, config.AllowedFunctionNames = modeAny, []string{req.ToolChoice.Name}
	case chat.ToolChoiceAllowed:
		mode, names, err := subset(req)
		if err != nil {
			return config, nil, err
		}
		if mode == chat.ToolChoiceRequired {
			config.Mode, config.AllowedFunctionNames = modeAny, names
			return config, nil, nil
		}
		return config, names, nil
	case chat.ToolChoiceAuto:
	default:
		return config, nil, chat.UnsupportedValue("tool_choice", name, "it calls functions only.")
	}
	return config, nil, nil
}

func subset(req *chat.Request) (string, []string, error) {
	wrong := chat.Invalid("tool_choice.allowed_tools", chat.CodeInvalidValue, `Invalid 'tool_choice.allowed_tools': expected {"mode":"auto" or "required","tools":[{"type":"function","function":{"name":...}}]} with functions of 'tools'.`)
	var a allowed
	if err := json.Unmarshal(req.ToolChoice.Raw, &a); err != nil {
		return "", nil, wrong
	}
	mode := a.Tools.Mode
	if mode != chat.ToolChoiceAuto && mode != chat.ToolChoiceRequired || len(a.Tools.Tools) == 0 {
		return "", nil, wrong
	}
	var names []string
	for _, t := range a.Tools.Tools {
		declared := func(tool chat.Tool) bool { return tool.Function != nil && tool.Function.Name == t.Function.Name }
		if t.Type != "function" || !slices.ContainsFunc(req.Tools, declared) {
			return "", nil, wrong
		}
		names = append(names, t.Function.Name)
	}
	return mode, names, nil
}
