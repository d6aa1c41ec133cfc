// Package chat is the wire of the OpenAI chat completions API and, at the same
// time, the one representation of a conversation that the gateway works with.
//
// Every front format decodes into [Request] and every provider answers with
// [Response] or [Chunk], so a new front format or a new provider is written
// once, against this package alone. The types are the OpenAI objects with two
// additions: members that this package does not know are kept beside the known
// ones (the Unknown fields) and written out again, so that an upstream which
// speaks the same wire receives what the caller sent; and a response or chunk
// that needs no change carries the upstream's own bytes (the Wire fields).
//
// The package must not know any provider, credential, transport or
// configuration. It imports nothing from the rest of the product.
package chat

import "github.com/go-json-experiment/json/jsontext"

// Roles of a message, as the OpenAI API reference lists them for chat
// completions.
const (
	RoleSystem    = "system"
	RoleDeveloper = "developer"
	RoleUser      = "user"
	RoleAssistant = "assistant"
	RoleTool      = "tool"
	RoleFunction  = "function"
)

// Finish reasons, the complete enumeration of the OpenAI API reference. A
// provider maps what its upstream says to one of these and to nothing else.
const (
	FinishStop          = "stop"
	FinishLength        = "length"
	FinishToolCalls     = "tool_calls"
	FinishContentFilter = "content_filter"
	FinishFunctionCall  = "function_call"
)

// IsFinishReason reports whether s belongs to OpenAI's enumeration.
func IsFinishReason(s string) bool {
	switch s {
	case FinishStop, FinishLength, FinishToolCalls, FinishContentFilter, FinishFunctionCall:
		return true
	}
	return false
}

// Types of a content part.
const (
	PartText       = "text"
	PartImage      = "image_url"
	PartInputAudio = "input_audio"
	PartFile       = "file"
	PartRefusal    = "refusal"
)

// Request is a chat completion request: what the caller sent, decoded and
// validated by [Decode], or what another front format was translated to.
//
// A nil pointer, an empty string or an empty value means that the caller left
// the member out or sent null, which the API treats alike.
//
// Providers read a Request and never change it: the same value may be sent to
// a second upstream after the first has failed.
type Request struct {
	// Model is left out where it is empty, which [Decode] never leaves it: there
	// are upstreams that have it in the address.
	Model    string    `json:"model,omitzero"`
	Messages []Message `json:"messages"`

	Stream        bool           `json:"stream,omitzero"`
	StreamOptions *StreamOptions `json:"stream_options,omitzero"`

	MaxTokens           *int64   `json:"max_tokens,omitzero"`
	MaxCompletionTokens *int64   `json:"max_completion_tokens,omitzero"`
	Temperature         *float64 `json:"temperature,omitzero"`
	TopP                *float64 `json:"top_p,omitzero"`
	FrequencyPenalty    *float64 `json:"frequency_penalty,omitzero"`
	PresencePenalty     *float64 `json:"presence_penalty,omitzero"`
	Stop                Stop     `json:"stop,omitzero"`
	Seed                *int64   `json:"seed,omitzero"`
	N                   *int64   `json:"n,omitzero"`
	Logprobs            *bool    `json:"logprobs,omitzero"`
	TopLogprobs         *int64   `json:"top_logprobs,omitzero"`

	LogitBias map[string]float64 `json:"logit_bias,omitzero"`

	Tools             []Tool      `json:"tools,omitzero"`
	ToolChoice        *ToolChoice `json:"tool_choice,omitzero"`
	ParallelToolCalls *bool       `json:"parallel_tool_calls,omitzero"`

	ResponseFormat  *ResponseFormat `json:"response_format,omitzero"`
	ReasoningEffort string          `json:"reasoning_effort,omitzero"`
	Verbosity       string          `json:"verbosity,omitzero"`

	User                 string            `json:"user,omitzero"`
	SafetyIdentifier     string            `json:"safety_identifier,omitzero"`
	Metadata             map[string]string `json:"metadata,omitzero"`
	Store                *bool             `json:"store,omitzero"`
	ServiceTier          string            `json:"service_tier,omitzero"`
	PromptCacheKey       string            `json:"prompt_cache_key,omitzero"`
	PromptCacheRetention string            `json:"prompt_cache_retention,omitzero"`

	Modalities         []string       `json:"modalities,omitzero"`
	Audio              jsontext.Value `json:"audio,omitzero"`
	Prediction         jsontext.Value `json:"prediction,omitzero"`
	WebSearchOptions   jsontext.Value `json:"web_search_options,omitzero"`
	Moderation         jsontext.Value `json:"moderation,omitzero"`
	PromptCacheOptions jsontext.Value `json:"prompt_cache_options,omitzero"`

	// Functions and FunctionCall are the forerunners of Tools and ToolChoice.
	// The API still documents them as deprecated.
	Functions    jsontext.Value `json:"functions,omitzero"`
	FunctionCall jsontext.Value `json:"function_call,omitzero"`

	// Unknown holds the members that this package does not know, as sent.
	Unknown jsontext.Value `json:",embed"`
}

// OutputLimit returns the most tokens that the answer may have, under
// whichever of its two names the caller gave it, or nil where the upstream's
// default applies. [Decode] refuses a request that gives both.
func (r *Request) OutputLimit() *int64 {
	if r.MaxCompletionTokens != nil {
		return r.MaxCompletionTokens
	}
	return r.MaxTokens
}

// WantsUsage reports whether the caller asked for the usage chunk at the end
// of a stream.
func (r *Request) WantsUsage() bool {
	return r.StreamOptions != nil && r.StreamOptions.IncludeUsage
}

// StreamOptions says what a stream carries besides the answer.
type StreamOptions struct {
	IncludeUsage       bool           `json:"include_usage,omitzero"`
	IncludeObfuscation *bool          `json:"include_obfuscation,omitzero"`
	Unknown            jsontext.Value `json:",embed"`
}

// Message is one turn of the conversation.
type Message struct {
	Role       string     `json:"role"`
	Content    Content    `json:"content,omitzero"`
	Name       string     `json:"name,omitzero"`
	Refusal    string     `json:"refusal,omitzero"`
	ToolCalls  []ToolCall `json:"tool_calls,omitzero"`
	ToolCallID string     `json:"tool_call_id,omitzero"`

	Audio        jsontext.Value `json:"audio,omitzero"`
	FunctionCall jsontext.Value `json:"function_call,omitzero"`

	// Annotations and ReasoningContent are members of an answer that clients
	// echo in their next request. They tell a model nothing that it may rely
	// on, so a provider that translates leaves them out.
	Annotations      jsontext.Value `json:"annotations,omitzero"`
	ReasoningContent string         `json:"reasoning_content,omitzero"`

	Unknown jsontext.Value `json:",embed"`
}

// Part is one piece of a message's content. Type tells which of the other
// fields is set; [Decode] has checked that it is.
type Part struct {
	Type       string         `json:"type"`
	Text       string         `json:"text,omitzero"`
	Refusal    string         `json:"refusal,omitzero"`
	ImageURL   *ImageURL      `json:"image_url,omitzero"`
	InputAudio jsontext.Value `json:"input_audio,omitzero"`
	File       jsontext.Value `json:"file,omitzero"`

	Unknown jsontext.Value `json:",embed"`
}

// ImageURL names an image: a data URL that holds it, or an address.
type ImageURL struct {
	URL     string         `json:"url"`
	Detail  string         `json:"detail,omitzero"`
	Unknown jsontext.Value `json:",embed"`
}

// Tool is something that the model may call.
type Tool struct {
	Type     string         `json:"type"`
	Function *Function      `json:"function,omitzero"`
	Custom   jsontext.Value `json:"custom,omitzero"`
	Unknown  jsontext.Value `json:",embed"`
}

// Function declares a function tool. Parameters is a JSON Schema, or empty for
// a function without parameters.
type Function struct {
	Name        string         `json:"name"`
	Description string         `json:"description,omitzero"`
	Parameters  jsontext.Value `json:"parameters,omitzero"`
	Strict      *bool          `json:"strict,omitzero"`
	Unknown     jsontext.Value `json:",embed"`
}

// ToolCall is the model's wish to call a tool. Type is "function" (or empty,
// which means the same) or "custom".
type ToolCall struct {
	// Index tells the calls of a stream apart. It is nil outside of chunks.
	Index    *int64         `json:"index,omitzero"`
	ID       string         `json:"id,omitzero"`
	Type     string         `json:"type,omitzero"`
	Function *FunctionCall  `json:"function,omitzero"`
	Custom   jsontext.Value `json:"custom,omitzero"`
	// ExtraContent travels with a call and comes back with it in the next
	// request: {"google":{"thought_signature":"..."}}, the shape of Google's own
	// OpenAI-compatible endpoint.
	ExtraContent jsontext.Value `json:"extra_content,omitzero"`
	Unknown      jsontext.Value `json:",embed"`
}

// FunctionCall names a function and its arguments, a JSON text as the model
// wrote it and therefore not certain to be valid JSON.
type FunctionCall struct {
	Name      string         `json:"name,omitzero"`
	Arguments string         `json:"arguments"`
	Unknown   jsontext.Value `json:",embed"`
}

// ResponseFormat asks for text, for JSON, or for JSON of a schema.
type ResponseFormat struct {
	Type       string         `json:"type"`
	JSONSchema *JSONSchema    `json:"json_schema,omitzero"`
	Unknown    jsontext.Value `json:",embed"`
}

// JSONSchema is the schema that a structured answer must satisfy.
type JSONSchema struct {
	Name        string         `json:"name"`
	Description string         `json:"description,omitzero"`
	Schema      jsontext.Value `json:"schema,omitzero"`
	Strict      *bool          `json:"strict,omitzero"`
	Unknown     jsontext.Value `json:",embed"`
}
