package anthropic

import "github.com/go-json-experiment/json/jsontext"

// The request of POST /v1/messages, as far as it is used here. A member that a
// model could take for set is left out when empty.

type request struct {
	Model         string         `json:"model"`
	MaxTokens     int64          `json:"max_tokens"`
	System        []block        `json:"system,omitzero"`
	Messages      []message      `json:"messages"`
	Stream        bool           `json:"stream,omitzero"`
	Temperature   *float64       `json:"temperature,omitzero"`
	TopP          *float64       `json:"top_p,omitzero"`
	StopSequences []string       `json:"stop_sequences,omitzero"`
	Tools         []tool         `json:"tools,omitzero"`
	ToolChoice    *toolChoice    `json:"tool_choice,omitzero"`
	Thinking      *thinking      `json:"thinking,omitzero"`
	OutputConfig  outputConfig   `json:"output_config,omitzero"`
	Metadata      *metadata      `json:"metadata,omitzero"`
	ServiceTier   string         `json:"service_tier,omitzero"`
	CacheControl  jsontext.Value `json:"cache_control,omitzero"`
}

// Roles of a message.
const (
	roleUser      = "user"
	roleAssistant = "assistant"
)

type message struct {
	Role    string  `json:"role"`
	Content []block `json:"content"`
}

// Types of a block.
const (
	blockText       = "text"
	blockImage      = "image"
	blockToolUse    = "tool_use"
	blockToolResult = "tool_result"
	blockThinking   = "thinking"
	blockRedacted   = "redacted_thinking"
)

// block is a piece of content. Type tells which of the other members are set.
type block struct {
	Type string `json:"type"`

	Text   string  `json:"text,omitzero"`
	Source *source `json:"source,omitzero"` // of an image

	ID    string         `json:"id,omitzero"` // of a tool_use, as the two that follow
	Name  string         `json:"name,omitzero"`
	Input jsontext.Value `json:"input,omitzero"`

	ToolUseID string  `json:"tool_use_id,omitzero"` // of a tool_result, as the next
	Content   []block `json:"content,omitzero"`

	Thinking  *string `json:"thinking,omitzero"` // may be empty, and the signature is not
	Signature string  `json:"signature,omitzero"`
	Data      string  `json:"data,omitzero"` // of a redacted_thinking

	CacheControl jsontext.Value `json:"cache_control,omitzero"`
}

// source is an image itself, or where it is.
type source struct {
	Type      string `json:"type"`
	MediaType string `json:"media_type,omitzero"`
	Data      string `json:"data,omitzero"` // base64
	URL       string `json:"url,omitzero"`
}

type tool struct {
	Name         string         `json:"name"`
	Description  string         `json:"description,omitzero"`
	InputSchema  jsontext.Value `json:"input_schema"`
	Strict       bool           `json:"strict,omitzero"`
	CacheControl jsontext.Value `json:"cache_control,omitzero"`
}

type toolChoice struct {
	Type                   string `json:"type"`
	Name                   string `json:"name,omitzero"`
	DisableParallelToolUse bool   `json:"disable_parallel_tool_use,omitzero"`
}

type thinking struct {
	Type string `json:"type"`
}

type outputConfig struct {
	Effort string  `json:"effort,omitzero"`
	Format *format `json:"format,omitzero"`
}

type format struct {
	Type   string         `json:"type"`
	Schema jsontext.Value `json:"schema"`
}

type metadata struct {
	UserID string `json:"user_id"`
}
