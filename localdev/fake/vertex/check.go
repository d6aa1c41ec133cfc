package vertex

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

const learn = " Learn more: https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/gemini"

// check refuses what the service refuses once it has read a request.
func (r *request) check(k kind) *failure {
	if len(r.Contents) == 0 {
		return invalid("Unable to submit request because at least one contents field is required.%s", learn)
	}
	for _, check := range []func(kind) *failure{
		r.checkUnplayed, r.checkContents, r.checkTurns, r.checkSignatures, r.checkSystem, r.checkTools, r.checkGeneration, r.checkSafety,
	} {
		if err := check(k); err != nil {
			return err
		}
	}
	return r.checkLabels()
}

func (r *request) checkUnplayed(kind) *failure {
	g := &r.GenerationConfig
	for _, field := range []struct {
		name  string
		value jsontext.Value
	}{
		{"cachedContent", r.CachedContent}, {"continuationToken", r.ContinuationToken},
		{"modelArmorConfig", r.ModelArmorConfig}, {"outputConfig", r.OutputConfig},
		{"audioTimestamp", g.AudioTimestamp}, {"audioTranscriptionConfig", g.AudioTranscriptionConfig},
		{"enableAffectiveDialog", g.EnableAffectiveDialog}, {"imageConfig", g.ImageConfig},
		{"responseFormat", g.ResponseFormat}, {"routingConfig", g.RoutingConfig},
		{"speechConfig", g.SpeechConfig}, {"translationConfig", g.TranslationConfig},
	} {
		if field.value != nil {
			return unplayed(field.name)
		}
	}
	if len(g.ResponseModalities) > 0 && !slices.Equal(g.ResponseModalities, []string{"TEXT"}) {
		return unplayed("answers other than text")
	}
	return nil
}

func (r *request) checkContents(k kind) *failure {
	for i := range r.Contents {
		c := &r.Contents[i]
		if c.Role == "" {
			c.Role = "user" // the documented default
		}
		if c.Role != "user" && c.Role != "model" {
			return invalid("Please use a valid role: user, model.")
		}
		if len(c.Parts) == 0 {
			return invalid("Unable to submit request because it must include at least one parts field, which describes the prompt input.%s", learn)
		}
		for j := range c.Parts {
			if err := c.Parts[j].check(k, c.Role, fmt.Sprintf("contents[%d].parts[%d]", i, j)); err != nil {
				return err
			}
		}
	}
	return nil
}

// kinds counts the members of a part of which there must be exactly one.
func (p *part) kinds() int {
	n := 0
	for _, set := range []bool{
		p.Text != nil, p.InlineData != nil, p.FileData != nil, p.FunctionCall != nil, p.FunctionResponse != nil,
		p.ExecutableCode != nil, p.CodeExecutionResult != nil,
	} {
		if set {
			n++
		}
	}
	return n
}

func (p *part) check(k kind, role, at string) *failure {
	switch {
	case p.kinds() > 1:
		return invalid("Invalid value at '%s' (oneof), oneof field 'data' is already set.", at)
	case p.ExecutableCode != nil || p.CodeExecutionResult != nil || p.VideoMetadata != nil:
		return unplayed("code execution and videos")
	case p.kinds() == 0 && p.ThoughtSignature == "", p.Text != nil && *p.Text == "" && p.ThoughtSignature == "":
		return invalid("Unable to submit request because it must have a text parameter. Add a text parameter and try again.%s", learn)
	case p.FunctionCall != nil && role != "model":
		return invalid("Please ensure that function call turns are of the role model.")
	case p.FunctionResponse != nil && role != "user":
		return invalid("Please ensure that function response turns are of the role user.")
	case (p.InlineData != nil || p.FileData != nil) && role != "user":
		return invalid("Please ensure that media is sent in turns of the role user.")
	case p.MediaResolution != nil && !k.three():
		return invalid("Unable to submit request because media_resolution of a part is not supported by this model.%s", learn)
	case p.MediaResolution != nil && p.InlineData == nil && p.FileData == nil:
		return invalid("Unable to submit request because media_resolution is set on a part without media.%s", learn)
	case p.MediaResolution != nil && !slices.Contains([]string{"MEDIA_RESOLUTION_LOW", "MEDIA_RESOLUTION_MEDIUM", "MEDIA_RESOLUTION_HIGH", "MEDIA_RESOLUTION_ULTRA_HIGH"}, p.MediaResolution.Level):
		return invalid("Invalid value at '%s.media_resolution.level' (TYPE_ENUM), %q", at, p.MediaResolution.Level)
	}
	if err := p.checkFunction(k, at); err != nil {
		return err
	}
	return p.checkMedia()
}

// checkFunction holds the rules of calls and their results. The ids came to
// this API with Gemini 3; for models before it they are unknown fields.
func (p *part) checkFunction(k kind, at string) *failure {
	if c := p.FunctionCall; c != nil {
		switch {
		case c.Name == "":
			return invalid("Unable to submit request because a function call has no name.%s", learn)
		case c.ID != "" && !k.three():
			return violation(at+".function_call", "Invalid JSON payload received. Unknown name \"id\" at '"+at+".function_call': Cannot find field.")
		}
	}
	if f := p.FunctionResponse; f != nil {
		switch {
		case f.Name == "":
			return invalid("Unable to submit request because a function response has no name.%s", learn)
		case f.Response == nil:
			return invalid("Unable to submit request because function response `%s` has no response.%s", f.Name, learn)
		case f.ID != "" && !k.three():
			return violation(at+".function_response", "Invalid JSON payload received. Unknown name \"id\" at '"+at+".function_response': Cannot find field.")
		case f.Parts != nil || f.Scheduling != nil:
			return unplayed("function responses with media or scheduling")
		}
	}
	return nil
}

func (p *part) checkMedia() *failure {
	media := ""
	switch {
	case p.InlineData != nil:
		media = p.InlineData.MimeType
		if len(p.InlineData.Data) == 0 {
			return invalid("Unable to submit request because it has an empty inlineData parameter. Add a value to the parameter and try again.%s", learn)
		}
	case p.FileData != nil:
		media = p.FileData.MimeType
		uri := p.FileData.FileURI
		if !strings.HasPrefix(uri, "gs://") && !strings.HasPrefix(uri, "https://") && !strings.HasPrefix(uri, "http://") {
			return invalid("Unable to submit request because the fileUri is not a Cloud Storage URI or an HTTP URL.%s", learn)
		}
	default:
		return nil
	}
	if media == "" {
		return invalid("Unable to submit request because it has an empty mimeType parameter. Add a value to the parameter and try again.%s", learn)
	}
	if !slices.Contains([]string{"image/png", "image/jpeg", "image/webp", "image/heic", "image/heif"}, media) {
		return invalid("Unable to submit request because it has a mimeType parameter with value %s, which is not supported. Update the mimeType and try again.%s", media, learn)
	}
	return nil
}

func (r *request) checkSystem(kind) *failure {
	if r.SystemInstruction == nil {
		return nil
	}
	if len(r.SystemInstruction.Parts) == 0 {
		return invalid("Unable to submit request because systemInstruction must include at least one parts field.%s", learn)
	}
	for i := range r.SystemInstruction.Parts {
		p := &r.SystemInstruction.Parts[i]
		if p.Text == nil || *p.Text == "" || p.kinds() != 1 {
			return invalid("Unable to submit request because systemInstruction must have a text parameter. Add a text parameter and try again.%s", learn)
		}
	}
	return nil
}

func (r *request) checkSafety(kind) *failure {
	seen := map[string]bool{}
	for _, s := range r.SafetySettings {
		if !strings.HasPrefix(s.Category, "HARM_CATEGORY_") || seen[s.Category] {
			return invalid("Unable to submit request because a safety setting has an unknown category or one that is set twice.%s", learn)
		}
		seen[s.Category] = true
		if !slices.Contains([]string{"BLOCK_LOW_AND_ABOVE", "BLOCK_MEDIUM_AND_ABOVE", "BLOCK_ONLY_HIGH", "BLOCK_NONE", "OFF"}, s.Threshold) {
			return invalid("Invalid value at 'safety_settings' (TYPE_ENUM), %q", s.Threshold)
		}
	}
	return nil
}

func (r *request) checkLabels() *failure {
	key := regexp.MustCompile(`^[a-z][a-z0-9_-]{0,62}$`)
	value := regexp.MustCompile(`^[a-z0-9_-]{0,63}$`)
	if len(r.Labels) > 64 {
		return invalid("Unable to submit request because it has more than 64 labels.")
	}
	for k, v := range r.Labels {
		if !key.MatchString(k) || !value.MatchString(v) {
			return invalid("Invalid label: keys start with a letter, and keys and values hold up to 63 lowercase letters, digits, underscores and dashes.")
		}
	}
	return nil
}

func (r *request) checkTools(kind) *failure {
	name := regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.:-]{0,127}$`)
	declared := map[string]bool{}
	for _, set := range r.Tools {
		for _, v := range []jsontext.Value{set.CodeExecution, set.ComputerUse, set.EnterpriseWebSearch, set.GoogleMaps, set.GoogleSearch, set.GoogleSearchRetrieval, set.Retrieval, set.URLContext} {
			if v != nil {
				return unplayed("Google's own tools")
			}
		}
		for _, f := range set.FunctionDeclarations {
			switch {
			case !name.MatchString(f.Name):
				return invalid("Invalid function name. Must start with a letter or an underscore. Must be alphanumeric (a-z, A-Z, 0-9), underscores (_), dots (.), colons (:), or dashes (-), with a maximum length of 128.")
			case declared[f.Name]:
				return invalid("Duplicate function declaration found: %s", f.Name)
			case f.Parameters != nil && f.ParametersJSONSchema != nil, f.Response != nil && f.ResponseJSONSchema != nil:
				return invalid("Unable to submit request because function declaration `%s` sets both a schema and a JSON schema.%s", f.Name, learn)
			}
			declared[f.Name] = true
			if err := f.checkSchema(); err != nil {
				return err
			}
		}
	}
	if len(declared) > 512 {
		return invalid("Unable to submit request because it has %d function declarations but the supported range is from 1 (inclusive) to 513 (exclusive).%s", len(declared), learn)
	}
	return r.checkCalling(declared)
}

func (f *functionDeclaration) checkSchema() *failure {
	schema := f.ParametersJSONSchema
	if schema == nil {
		schema = f.Parameters
	}
	if schema == nil {
		return nil
	}
	var object struct {
		Type any `json:"type"`
	}
	if err := json.Unmarshal(schema, &object); err != nil || !strings.EqualFold(fmt.Sprint(object.Type), "object") {
		return invalid("Unable to submit request because `%s` functionDeclaration `parameters` schema should be of type OBJECT.%s", f.Name, learn)
	}
	return nil
}

func (r *request) checkCalling(declared map[string]bool) *failure {
	if r.ToolConfig == nil {
		return nil
	}
	if r.ToolConfig.RetrievalConfig != nil {
		return unplayed("retrieval")
	}
	c := r.ToolConfig.FunctionCallingConfig
	if c == nil {
		return nil
	}
	switch {
	case !slices.Contains([]string{"", "MODE_UNSPECIFIED", "AUTO", "ANY", "NONE", "VALIDATED"}, c.Mode):
		return invalid("Invalid value at 'tool_config.function_calling_config.mode' (TYPE_ENUM), %q", c.Mode)
	case c.StreamFunctionCallArguments:
		return unplayed("function calls in pieces")
	case len(declared) == 0 && c.Mode == "ANY":
		return invalid("Function calling config is set without function_declarations.")
	case len(c.AllowedFunctionNames) > 0 && c.Mode != "ANY":
		return invalid("Allowed function names should only be set when the function calling mode is ANY.")
	}
	for _, name := range c.AllowedFunctionNames {
		if !declared[name] {
			return invalid("Unable to submit request because allowed function name `%s` is not declared.%s", name, learn)
		}
	}
	return nil
}

func (r *request) checkGeneration(k kind) *failure {
	g := &r.GenerationConfig
	for _, n := range []struct {
		name       string
		value      *float64
		least      float64
		most       float64
		isExcluded bool // the least value itself
	}{
		{"temperature", g.Temperature, 0, 2, false},
		{"topP", g.TopP, 0, 1, false},
		{"topK", g.TopK, 0, 64, true},
		{"presencePenalty", g.PresencePenalty, -2, 2, false},
		{"frequencyPenalty", g.FrequencyPenalty, -2, 2, false},
	} {
		if n.value != nil && (*n.value < n.least || *n.value > n.most || n.isExcluded && *n.value == n.least) {
			return outOfRange(n.name, fmt.Sprintf("%g", *n.value), fmt.Sprintf("%g (inclusive) to %g (inclusive)", n.least, n.most))
		}
	}
	for _, n := range []struct {
		name  string
		value *int32
		limit int32 // the first that is too large
	}{
		{"candidateCount", g.CandidateCount, 9},
		{"maxOutputTokens", g.MaxOutputTokens, 65537},
		{"logprobs", g.Logprobs, 21},
	} {
		if n.value != nil && (*n.value < 1 || *n.value >= n.limit) {
			return outOfRange(n.name, fmt.Sprint(*n.value), fmt.Sprintf("1 (inclusive) to %d (exclusive)", n.limit))
		}
	}
	if len(g.StopSequences) > 5 {
		return outOfRange("stopSequences", fmt.Sprint(len(g.StopSequences)), "1 (inclusive) to 6 (exclusive)")
	}
	if slices.Contains(g.StopSequences, "") {
		return invalid("Unable to submit request because it has an empty stop sequence.%s", learn)
	}
	if g.Logprobs != nil && !g.ResponseLogprobs {
		return invalid("Unable to submit request because logprobs requires responseLogprobs to be true.%s", learn)
	}
	if err := g.checkFormat(); err != nil {
		return err
	}
	return g.checkThinking(k)
}

func outOfRange(name, value, supported string) *failure {
	return invalid("Unable to submit request because it has a %s value of %s but the supported range is from %s. Update the value and try again.", name, value, supported)
}

func (g *generationConfig) checkFormat() *failure {
	if !slices.Contains([]string{"", "text/plain", "application/json", "text/x.enum"}, g.ResponseMIMEType) {
		return invalid("Unable to submit request because it has a responseMimeType value of %s, which is not supported.%s", g.ResponseMIMEType, learn)
	}
	if g.ResponseSchema != nil && g.ResponseJSONSchema != nil {
		return invalid("Unable to submit request because responseSchema and responseJsonSchema are both set.%s", learn)
	}
	if g.ResponseJSONSchema != nil && g.ResponseMIMEType != "application/json" {
		return invalid("Unable to submit request because responseJsonSchema requires a responseMimeType of application/json.%s", learn)
	}
	if g.ResponseSchema != nil && g.ResponseMIMEType != "application/json" && g.ResponseMIMEType != "text/x.enum" {
		return invalid("Unable to submit request because responseSchema requires a responseMimeType of application/json or text/x.enum.%s", learn)
	}
	return nil
}

func (g *generationConfig) checkThinking(k kind) *failure {
	t := g.ThinkingConfig
	switch {
	case t == nil:
		return nil
	case !k.thinks():
		return invalid("Unable to submit request because thinking is not supported by this model.%s", learn)
	case t.ThinkingBudget != nil && t.ThinkingLevel != "":
		return invalid("Unable to submit request because thinking_budget and thinking_level are both set.%s", learn)
	case t.ThinkingLevel != "" && !slices.Contains([]string{"MINIMAL", "LOW", "MEDIUM", "HIGH"}, t.ThinkingLevel):
		return invalid("Invalid value at 'generation_config.thinking_config.thinking_level' (TYPE_ENUM), %q", t.ThinkingLevel)
	case t.ThinkingLevel != "" && (!k.three() || k.pro && t.ThinkingLevel == "MINIMAL"):
		return invalid("Unable to submit request because thinking level %s is not supported by this model.%s", t.ThinkingLevel, learn)
	case t.ThinkingBudget == nil || *t.ThinkingBudget == -1:
		return nil
	}
	least, most := int32(0), int32(24576)
	if k.pro {
		least, most = 128, 32768
	}
	b := *t.ThinkingBudget
	if b < least || b > most || k.lite && b > 0 && b < 512 {
		return invalid("Unable to submit request because thinking_budget is out of range; supported values are integers from %d to %d.%s", least, most, learn)
	}
	return nil
}
