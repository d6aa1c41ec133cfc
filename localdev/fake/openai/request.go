package openai

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/postern-ai/postern/localdev/fake/brain"
)

// Request is a chat completion request that passed the API's own checks.
type Request struct {
	Model               string          `json:"model"`
	Messages            []message       `json:"messages"`
	Stream              bool            `json:"stream"`
	StreamOptions       *streamOptions  `json:"stream_options"`
	MaxTokens           *int            `json:"max_tokens"`
	MaxCompletionTokens *int            `json:"max_completion_tokens"`
	Stop                json.RawMessage `json:"stop"`
	N                   *int            `json:"n"`
	Logprobs            bool            `json:"logprobs"`
	TopLogprobs         *int            `json:"top_logprobs"`
	Temperature         *float64        `json:"temperature"`
	TopP                *float64        `json:"top_p"`
	Tools               []tool          `json:"tools"`
	ToolChoice          json.RawMessage `json:"tool_choice"`
	ParallelToolCalls   *bool           `json:"parallel_tool_calls"`
	ResponseFormat      *responseFormat `json:"response_format"`
	ServiceTier         string          `json:"service_tier"`

	members map[string]json.RawMessage
}

type (
	streamOptions struct {
		IncludeUsage       bool  `json:"include_usage"`
		IncludeObfuscation *bool `json:"include_obfuscation"`
	}
	message struct {
		Role       string          `json:"role"`
		Content    json.RawMessage `json:"content"`
		Name       string          `json:"name"`
		Refusal    string          `json:"refusal"`
		ToolCalls  []toolCall      `json:"tool_calls"`
		ToolCallID string          `json:"tool_call_id"`
	}
	toolCall struct {
		Index    *int         `json:"index,omitempty"`
		ID       string       `json:"id,omitempty"`
		Type     string       `json:"type,omitempty"`
		Function functionCall `json:"function"`
	}
	functionCall struct {
		Name      string `json:"name,omitempty"`
		Arguments string `json:"arguments"`
	}
	tool struct {
		Type     string `json:"type"`
		Function struct {
			Name       string          `json:"name"`
			Parameters json.RawMessage `json:"parameters"`
		} `json:"function"`
	}
	responseFormat struct {
		Type       string          `json:"type"`
		JSONSchema json.RawMessage `json:"json_schema"`
	}
	part struct {
		Type     string `json:"type"`
		Text     string `json:"text"`
		Refusal  string `json:"refusal"`
		ImageURL struct {
			URL string `json:"url"`
		} `json:"image_url"`
	}
)

// parameters are the members that the API reference lists for the request,
// with the JSON types that each may have besides null.
func parameters() map[string]string {
	return map[string]string{
		"model": "string", "messages": "array", "stream": "boolean", "stream_options": "object",
		"max_tokens": "number", "max_completion_tokens": "number", "stop": "string or array", "n": "number",
		"logprobs": "boolean", "top_logprobs": "number", "temperature": "number", "top_p": "number",
		"frequency_penalty": "number", "presence_penalty": "number", "logit_bias": "object", "seed": "number",
		"tools": "array", "tool_choice": "string or object", "parallel_tool_calls": "boolean",
		"functions": "array", "function_call": "string or object", "response_format": "object",
		"reasoning_effort": "string", "verbosity": "string", "user": "string", "safety_identifier": "string",
		"metadata": "object", "store": "boolean", "service_tier": "string", "prompt_cache_key": "string",
		"prompt_cache_retention": "string", "prompt_cache_options": "object", "modalities": "array", "audio": "object",
		"prediction": "object", "web_search_options": "object", "moderation": "object",
	}
}

// memberNames are what a message of each role may hold.
func memberNames(role string) []string {
	switch role {
	case "system", "developer", "user":
		return []string{"role", "content", "name"}
	case "assistant":
		// parsed is not documented. The stream helper of OpenAI's own client for
		// JavaScript leaves it in the messages that it sends back.
		return []string{"role", "content", "name", "refusal", "audio", "tool_calls", "function_call", "annotations", "parsed"}
	case "tool":
		return []string{"role", "content", "tool_call_id"}
	case "function":
		return []string{"role", "content", "name"}
	}
	return nil
}

func wrong(param, code, format string, args ...any) *Error {
	return &Error{Status: 400, Type: invalid, Code: code, Param: param, Message: fmt.Sprintf(format, args...)}
}

// Rules are where services that share this wire differ in what they take.
type Rules struct {
	// Lenient passes over members that are not in the API reference.
	Lenient bool
	// Model is the model where the address names it. The body need not.
	Model string
	// Without lists parameters that this version of the service lacks.
	Without []string
}

// Parse reads a request and checks it as the API does.
func Parse(body []byte, rules Rules) (*Request, *Error) {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(body, &members); err != nil || members == nil {
		return nil, wrong("", "", "We could not parse the JSON body of your request. (HINT: This likely means you aren't using your HTTP library correctly. The OpenAI API expects a JSON payload, but what was sent was not valid JSON.)")
	}
	known := parameters()
	for _, name := range slices.Sorted(maps.Keys(members)) {
		types, ok := known[name]
		if slices.Contains(rules.Without, name) {
			return nil, wrong("", "", "Unrecognized request argument supplied: %s", name)
		}
		if !ok && !rules.Lenient {
			return nil, wrong(name, "unknown_parameter", "Unknown parameter: '%s'.", name)
		}
		if is := jsonType(members[name]); ok && is != "null" && !strings.Contains(types, is) {
			return nil, wrong(name, "invalid_type", "Invalid type for '%s': expected %s, but got %s instead.", name, types, is)
		}
	}
	r := &Request{members: members}
	if err := json.Unmarshal(body, r); err != nil {
		return nil, wrong("", "invalid_type", "Invalid type in the request: %v.", err)
	}
	if rules.Model != "" {
		r.Model = rules.Model
	}
	for _, check := range []func() *Error{
		r.checkPresence, r.checkSampling, r.checkTools, r.checkFormat,
		func() *Error { return r.checkMessages(rules.Lenient) }, r.checkModel,
	} {
		if refusal := check(); refusal != nil {
			return nil, refusal
		}
	}
	return r, nil
}

func jsonType(v json.RawMessage) string {
	switch bytes.TrimSpace(v)[0] {
	case '{':
		return "object"
	case '[':
		return "array"
	case '"':
		return "string"
	case 't', 'f':
		return "boolean"
	case 'n':
		return "null"
	}
	return "number"
}

func (r *Request) has(name string) bool {
	v, ok := r.members[name]
	return ok && jsonType(v) != "null"
}

func (r *Request) checkPresence() *Error {
	if r.Model == "" {
		return wrong("", "", "you must provide a model parameter")
	}
	if !r.has("messages") {
		return wrong("messages", "missing_required_parameter", "Missing required parameter: 'messages'.")
	}
	if len(r.Messages) == 0 {
		return wrong("messages", "empty_array", "Invalid 'messages': empty array. Expected an array with minimum length 1, but got an empty array instead.")
	}
	if r.has("stream_options") && !r.Stream {
		return wrong("stream_options", "", "The 'stream_options' parameter is only allowed when 'stream' is enabled.")
	}
	return nil
}

func (r *Request) checkSampling() *Error {
	between := func(name string, v *float64, low, high float64) *Error {
		switch {
		case v == nil || *v >= low && *v <= high:
			return nil
		case *v < low:
			return wrong(name, "decimal_below_min_value", "Invalid '%s': decimal below minimum value. Expected a value >= %g, but got %g instead.", name, low, *v)
		}
		return wrong(name, "decimal_above_max_value", "Invalid '%s': decimal above maximum value. Expected a value <= %g, but got %g instead.", name, high, *v)
	}
	if e := between("temperature", r.Temperature, 0, 2); e != nil {
		return e
	}
	if e := between("top_p", r.TopP, 0, 1); e != nil {
		return e
	}
	for name, v := range map[string]*int{"max_tokens": r.MaxTokens, "max_completion_tokens": r.MaxCompletionTokens, "n": r.N} {
		if v != nil && *v < 1 {
			return wrong(name, "integer_below_min_value", "Invalid '%s': integer below minimum value. Expected a value >= 1, but got %d instead.", name, *v)
		}
	}
	if r.MaxTokens != nil && r.MaxCompletionTokens != nil {
		return wrong("max_tokens", "invalid_parameter_combination", "Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported.")
	}
	if r.TopLogprobs != nil && !r.Logprobs {
		return wrong("top_logprobs", "", "The 'top_logprobs' parameter is only allowed when 'logprobs' is enabled.")
	}
	if n := len(r.stops()); n > 4 {
		return wrong("stop", "array_above_max_length", "Invalid 'stop': array too long. Expected an array with maximum length 4, but got an array with length %d instead.", n)
	}
	return nil
}

func (r *Request) stops() []string {
	var one string
	var several []string
	if len(r.Stop) == 0 || json.Unmarshal(r.Stop, &several) == nil {
		return several
	}
	_ = json.Unmarshal(r.Stop, &one)
	return []string{one}
}

func (r *Request) checkTools() *Error {
	if len(r.Tools) == 0 {
		for _, name := range []string{"tool_choice", "parallel_tool_calls"} {
			if r.has(name) {
				return wrong(name, "", "Invalid value for '%s': '%s' is only allowed when 'tools' are specified.", name, name)
			}
		}
		return nil
	}
	for i, t := range r.Tools {
		if t.Type != "function" && t.Type != "custom" {
			return wrong(fmt.Sprintf("tools[%d].type", i), "invalid_value", "Invalid value: '%s'. Supported values are: 'function' and 'custom'.", t.Type)
		}
		if t.Type == "function" && t.Function.Name == "" {
			return wrong(fmt.Sprintf("tools[%d].function.name", i), "missing_required_parameter", "Missing required parameter: 'tools[%d].function.name'.", i)
		}
	}
	mode, name := r.choice()
	switch mode {
	case "auto", "none", "required":
		return nil
	case "tool":
		if slices.ContainsFunc(r.Tools, func(t tool) bool { return t.Function.Name == name }) {
			return nil
		}
		return wrong("tool_choice", "", "Tool choice 'function' not found in 'tools' parameter.")
	}
	return wrong("tool_choice", "invalid_value", "Invalid value for 'tool_choice'. Supported values are: 'none', 'auto', and 'required'.")
}

// choice returns the tool choice in the words of a prompt.
func (r *Request) choice() (mode, name string) {
	if !r.has("tool_choice") {
		return "auto", ""
	}
	if json.Unmarshal(r.ToolChoice, &mode) == nil {
		return mode, ""
	}
	var named struct {
		Type     string `json:"type"`
		Function struct {
			Name string `json:"name"`
		} `json:"function"`
	}
	if json.Unmarshal(r.ToolChoice, &named) != nil {
		return "", ""
	}
	if named.Type == "allowed_tools" {
		return "auto", ""
	}
	return "tool", named.Function.Name
}

func (r *Request) checkFormat() *Error {
	if r.ResponseFormat == nil {
		return nil
	}
	switch r.ResponseFormat.Type {
	case "text":
	case "json_object":
		if !bytes.Contains(bytes.ToLower(r.members["messages"]), []byte("json")) {
			return wrong("messages", "", "'messages' must contain the word 'json' in some form, to use 'response_format' of type 'json_object'.")
		}
	case "json_schema":
		var s struct {
			Name   string `json:"name"`
			Strict bool   `json:"strict"`
			Schema struct {
				Additional *bool `json:"additionalProperties"`
			} `json:"schema"`
		}
		_ = json.Unmarshal(r.ResponseFormat.JSONSchema, &s)
		if s.Name == "" {
			return wrong("response_format.json_schema", "missing_required_parameter", "Missing required parameter: 'response_format.json_schema.name'.")
		}
		if s.Strict && (s.Schema.Additional == nil || *s.Schema.Additional) {
			return wrong("response_format", "", "Invalid schema for response_format '%s': In context=(), 'additionalProperties' is required to be supplied and to be false.", s.Name)
		}
	default:
		return wrong("response_format.type", "invalid_value", "Invalid value: '%s'. Supported values are: 'json_object', 'json_schema', and 'text'.", r.ResponseFormat.Type)
	}
	return nil
}

// checkModel holds what reasoning models refuse.
func (r *Request) checkModel() *Error {
	if !isReasoning(r.Model) {
		return nil
	}
	if r.MaxTokens != nil {
		return wrong("max_tokens", "unsupported_parameter", "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.")
	}
	if r.Temperature != nil && *r.Temperature != 1 {
		return wrong("temperature", "unsupported_value", "Unsupported value: 'temperature' does not support %g with this model. Only the default (1) value is supported.", *r.Temperature)
	}
	return nil
}

func isReasoning(model string) bool {
	return strings.HasPrefix(model, "o1") || strings.HasPrefix(model, "o3") || strings.HasPrefix(model, "o4") || strings.HasPrefix(model, "gpt-5")
}

func (r *Request) checkMessages(lenient bool) *Error {
	var raw []map[string]json.RawMessage
	if err := json.Unmarshal(r.members["messages"], &raw); err != nil {
		return wrong("messages", "invalid_type", "Invalid type for 'messages[0]': expected an object.")
	}
	open := map[string]bool{}
	for i, m := range r.Messages {
		at := fmt.Sprintf("messages[%d]", i)
		allowed := memberNames(m.Role)
		if allowed == nil {
			return wrong(at+".role", "invalid_value", "Invalid value: '%s'. Supported values are: 'system', 'assistant', 'user', 'function', 'tool', and 'developer'.", m.Role)
		}
		for _, name := range slices.Sorted(maps.Keys(raw[i])) {
			if !lenient && !slices.Contains(allowed, name) {
				return wrong(at+"."+name, "unknown_parameter", "Unknown parameter: '%s.%s'.", at, name)
			}
		}
		if refusal := checkTurn(m, at, open); refusal != nil {
			return refusal
		}
	}
	if len(open) > 0 {
		return unanswered(open)
	}
	return nil
}

func unanswered(open map[string]bool) *Error {
	return wrong("messages", "", "An assistant message with 'tool_calls' must be followed by tool messages responding to each 'tool_call_id'. The following tool_call_ids did not have response messages: %s",
		strings.Join(slices.Sorted(maps.Keys(open)), ", "))
}

// checkTurn checks one message. Open are the tool calls that wait for an
// answer.
func checkTurn(m message, at string, open map[string]bool) *Error {
	if m.Role == "tool" {
		if !open[m.ToolCallID] {
			return wrong(at+".role", "", "Invalid parameter: messages with role 'tool' must be a response to a preceeding message with 'tool_calls'.")
		}
		delete(open, m.ToolCallID)
	} else if len(open) > 0 {
		return unanswered(open)
	}
	for j, c := range m.ToolCalls {
		switch {
		case c.ID == "":
			return wrong(fmt.Sprintf("%s.tool_calls[%d].id", at, j), "missing_required_parameter", "Missing required parameter: '%s.tool_calls[%d].id'.", at, j)
		case c.Type != "function" && c.Type != "custom":
			return wrong(fmt.Sprintf("%s.tool_calls[%d].type", at, j), "missing_required_parameter", "Missing required parameter: '%s.tool_calls[%d].type'.", at, j)
		case len(c.ID) > 40:
			return wrong(fmt.Sprintf("%s.tool_calls[%d].id", at, j), "string_above_max_length", "Invalid '%s.tool_calls[%d].id': string too long. Expected a string with maximum length 40, but got a string with length %d instead.", at, j, len(c.ID))
		}
		open[c.ID] = true
	}
	if len(m.Content) == 0 || jsonType(m.Content) == "null" {
		if m.Role == "assistant" && len(m.ToolCalls) > 0 || m.Refusal != "" || m.Role == "function" {
			return nil
		}
		return wrong(at+".content", "invalid_type", "Invalid value for 'content': expected a string, got null.")
	}
	_, _, refusal := m.read(at)
	return refusal
}

// read returns what a message says.
func (m message) read(at string) (text string, images []brain.Image, refusal *Error) {
	if len(m.Content) == 0 || json.Unmarshal(m.Content, &text) == nil {
		return text, nil, nil
	}
	var parts []part
	if err := json.Unmarshal(m.Content, &parts); err != nil {
		return "", nil, wrong(at+".content", "invalid_type", "Invalid type for '%s.content': expected one of a string or array of objects.", at)
	}
	var texts []string
	for i, p := range parts {
		switch p.Type {
		case "text":
			texts = append(texts, p.Text)
		case "refusal":
			texts = append(texts, p.Refusal)
		case "image_url":
			image, refusal := readImage(p.ImageURL.URL, fmt.Sprintf("%s.content[%d].image_url", at, i))
			if refusal != nil {
				return "", nil, refusal
			}
			images = append(images, image)
		case "input_audio", "file":
		default:
			return "", nil, wrong(fmt.Sprintf("%s.content[%d].type", at, i), "invalid_value", "Invalid value: '%s'. Supported values are: 'text', 'image_url', 'input_audio', 'refusal', 'audio', and 'file'.", p.Type)
		}
	}
	return strings.Join(texts, "\n"), images, nil
}

func readImage(url, at string) (brain.Image, *Error) {
	rest, ok := strings.CutPrefix(url, "data:")
	if !ok {
		if strings.HasPrefix(url, "https://") || strings.HasPrefix(url, "http://") {
			return brain.Image{MediaType: "image/unknown"}, nil
		}
		return brain.Image{}, wrong(at, "invalid_image_url", "Invalid image_url. Expected a URL or a base64-encoded data URL.")
	}
	kind, data, _ := strings.Cut(rest, ";base64,")
	raw, err := base64.StdEncoding.DecodeString(data)
	if err != nil || len(raw) == 0 {
		return brain.Image{}, wrong(at, "invalid_base64", "Invalid base64 image_url.")
	}
	if !slices.Contains([]string{"image/png", "image/jpeg", "image/gif", "image/webp"}, kind) {
		return brain.Image{}, wrong(at, "invalid_image_format", "You uploaded an unsupported image. Please make sure your image has of one the following formats: ['png', 'jpeg', 'gif', 'webp'].")
	}
	return brain.Image{MediaType: kind, Bytes: len(raw)}, nil
}

// Prompt returns the conversation.
func (r *Request) Prompt() brain.Prompt {
	p := brain.Prompt{Model: r.Model, Stop: r.stops(), OneCall: r.ParallelToolCalls != nil && !*r.ParallelToolCalls}
	for i, m := range r.Messages {
		text, images, _ := m.read(fmt.Sprintf("messages[%d]", i))
		switch m.Role {
		case "system", "developer":
			p.System = append(p.System, text)
		case "tool":
			p.Turns = append(p.Turns, brain.Turn{Role: "tool", Results: []brain.Result{{ID: m.ToolCallID, Text: text}}})
		case "function":
			p.Turns = append(p.Turns, brain.Turn{Role: "tool", Results: []brain.Result{{ID: m.Name, Text: text}}})
		default:
			turn := brain.Turn{Role: m.Role, Text: text, Images: images}
			for _, c := range m.ToolCalls {
				turn.Calls = append(turn.Calls, brain.Call{ID: c.ID, Name: c.Function.Name, Arguments: c.Function.Arguments})
			}
			p.Turns = append(p.Turns, turn)
		}
	}
	for _, t := range r.Tools {
		p.Tools = append(p.Tools, brain.Tool{Name: t.Function.Name, Schema: t.Function.Parameters})
	}
	p.ToolChoice, p.ToolName = r.choice()
	for _, limit := range []*int{r.MaxTokens, r.MaxCompletionTokens} {
		if limit != nil {
			p.MaxTokens = *limit
		}
	}
	p.JSON = r.ResponseFormat != nil && r.ResponseFormat.Type != "text"
	return p
}
