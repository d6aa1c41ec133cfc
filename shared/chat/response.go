package chat

import "github.com/go-json-experiment/json/jsontext"

// Values of the object member.
const (
	ObjectCompletion = "chat.completion"
	ObjectChunk      = "chat.completion.chunk"
)

// Response is a whole answer.
//
// ID and Created may be left empty by a provider whose upstream has no such
// thing; whoever calls the provider's dialect fills them in.
type Response struct {
	ID                string         `json:"id"`
	Object            string         `json:"object"`
	Created           int64          `json:"created"` // seconds since 1970
	Model             string         `json:"model"`
	Choices           []Choice       `json:"choices"`
	Usage             *Usage         `json:"usage,omitzero"`
	ServiceTier       string         `json:"service_tier,omitzero"`
	SystemFingerprint string         `json:"system_fingerprint,omitzero"`
	Unknown           jsontext.Value `json:",embed"`

	// Wire is the exact JSON to answer with instead of encoding the fields: the
	// upstream's own bytes where nothing in them had to change. Whoever changes
	// a field clears it.
	Wire jsontext.Value `json:"-"`
}

// Choice is one of the answers.
type Choice struct {
	Index        int64          `json:"index"`
	Message      Answer         `json:"message"`
	Logprobs     jsontext.Value `json:"logprobs"`
	FinishReason string         `json:"finish_reason"`
	Unknown      jsontext.Value `json:",embed"`
}

// Answer is the message that the model produced. Content and Refusal are
// written as null when they are nil, as the API requires.
//
// ReasoningContent is not OpenAI's: it is the member under which most servers
// of this wire return the reasoning text that a model was asked to show.
type Answer struct {
	Role             string         `json:"role"`
	Content          *string        `json:"content"`
	Refusal          *string        `json:"refusal"`
	ReasoningContent string         `json:"reasoning_content,omitzero"`
	ToolCalls        []ToolCall     `json:"tool_calls,omitzero"`
	Unknown          jsontext.Value `json:",embed"`
}

// Chunk is one event of a streamed answer. A stream is: chunks whose deltas
// build up the answer, the first with a role; for every choice one chunk with
// a finish reason; and, last, at most one chunk with Usage and no choices.
type Chunk struct {
	ID                string         `json:"id"`
	Object            string         `json:"object"`
	Created           int64          `json:"created"` // seconds since 1970
	Model             string         `json:"model"`
	Choices           []ChunkChoice  `json:"choices"`
	Usage             *Usage         `json:"usage,omitzero"`
	ServiceTier       string         `json:"service_tier,omitzero"`
	SystemFingerprint string         `json:"system_fingerprint,omitzero"`
	Unknown           jsontext.Value `json:",embed"`

	// Wire is the exact JSON to send instead of encoding the fields, as in
	// [Response]. It is valid until the next chunk is asked for.
	Wire jsontext.Value `json:"-"`
}

// ChunkChoice is what a chunk adds to one of the answers. FinishReason is nil,
// written as null, until the answer is complete.
type ChunkChoice struct {
	Index        int64          `json:"index"`
	Delta        Delta          `json:"delta"`
	Logprobs     jsontext.Value `json:"logprobs,omitzero"`
	FinishReason *string        `json:"finish_reason"`
	Unknown      jsontext.Value `json:",embed"`
}

// Delta is an addition to an answer.
type Delta struct {
	Role             string         `json:"role,omitzero"`
	Content          *string        `json:"content,omitzero"`
	Refusal          *string        `json:"refusal,omitzero"`
	ReasoningContent *string        `json:"reasoning_content,omitzero"`
	ToolCalls        []ToolCall     `json:"tool_calls,omitzero"`
	Unknown          jsontext.Value `json:",embed"`
}

// Usage counts tokens. TotalTokens is the sum of the other two; the details
// are parts of them and never come on top.
type Usage struct {
	PromptTokens            int64              `json:"prompt_tokens"`
	CompletionTokens        int64              `json:"completion_tokens"`
	TotalTokens             int64              `json:"total_tokens"`
	PromptTokensDetails     *PromptDetails     `json:"prompt_tokens_details,omitzero"`
	CompletionTokensDetails *CompletionDetails `json:"completion_tokens_details,omitzero"`
	Unknown                 jsontext.Value     `json:",embed"`
}

// PromptDetails says what the prompt's tokens were. CacheWriteTokens is not
// OpenAI's: it counts what the upstream put into its prompt cache, which some
// upstreams bill apart.
type PromptDetails struct {
	CachedTokens     int64          `json:"cached_tokens"`
	AudioTokens      int64          `json:"audio_tokens,omitzero"`
	CacheWriteTokens int64          `json:"cache_write_tokens,omitzero"`
	Unknown          jsontext.Value `json:",embed"`
}

// CompletionDetails says what the answer's tokens were.
type CompletionDetails struct {
	ReasoningTokens          int64          `json:"reasoning_tokens"`
	AudioTokens              int64          `json:"audio_tokens,omitzero"`
	AcceptedPredictionTokens int64          `json:"accepted_prediction_tokens,omitzero"`
	RejectedPredictionTokens int64          `json:"rejected_prediction_tokens,omitzero"`
	Unknown                  jsontext.Value `json:",embed"`
}
