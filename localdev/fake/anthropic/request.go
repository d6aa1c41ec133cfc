package anthropic

import (
	"errors"
	"reflect"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// The request, member for member as the API reference has it. Members that are
// not played are read as they are.

type request struct {
	Model         string        `json:"model"`
	MaxTokens     *int64        `json:"max_tokens"`
	Messages      []message     `json:"messages"`
	System        *content      `json:"system"`
	Stream        bool          `json:"stream"`
	Temperature   *float64      `json:"temperature"`
	TopP          *float64      `json:"top_p"`
	TopK          *int64        `json:"top_k"`
	StopSequences []string      `json:"stop_sequences"`
	Tools         []tool        `json:"tools"`
	ToolChoice    *toolChoice   `json:"tool_choice"`
	Thinking      *thinking     `json:"thinking"`
	OutputConfig  *outputConfig `json:"output_config"`
	Metadata      *metadata     `json:"metadata"`
	ServiceTier   string        `json:"service_tier"`
	CacheControl  *cacheControl `json:"cache_control"`

	Container    jsontext.Value `json:"container"`
	Diagnostics  jsontext.Value `json:"diagnostics"`
	InferenceGeo jsontext.Value `json:"inference_geo"`
	Speed        jsontext.Value `json:"speed"`
}

type message struct {
	Role    string  `json:"role"`
	Content content `json:"content"`
}

// content is a text or a list of blocks. A text stands for a list with it alone.
type content []block

// UnmarshalJSONFrom reads either form.
func (c *content) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	if dec.PeekKind() != jsontext.KindString {
		return json.UnmarshalDecode(dec, (*[]block)(c))
	}
	b := block{Type: "text", Text: new(string)}
	*c = content{b}
	return json.UnmarshalDecode(dec, b.Text)
}

// block holds the members of all types of blocks. Those of another type than its
// own are refused.
type block struct {
	Type string `json:"type"`

	Text *string `json:"text"`

	Source *source `json:"source"`

	ID    *string        `json:"id"`
	Name  *string        `json:"name"`
	Input jsontext.Value `json:"input"`

	ToolUseID *string  `json:"tool_use_id"`
	Content   *content `json:"content"`
	IsError   *bool    `json:"is_error"`

	Thinking  *string `json:"thinking"`
	Signature *string `json:"signature"`
	Data      *string `json:"data"`

	CacheControl *cacheControl `json:"cache_control"`

	Caller          jsontext.Value `json:"caller"`
	Citations       jsontext.Value `json:"citations"`
	Transformations jsontext.Value `json:"transformations"`
	ToolsetName     jsontext.Value `json:"toolset_name"`
}

type source struct {
	Type      string  `json:"type"`
	MediaType *string `json:"media_type"`
	Data      *string `json:"data"`
	URL       *string `json:"url"`

	FileID jsontext.Value `json:"file_id"`
}

type cacheControl struct {
	Type string `json:"type"`
	TTL  string `json:"ttl"`
}

type tool struct {
	Type         *string        `json:"type"`
	Name         string         `json:"name"`
	Description  *string        `json:"description"`
	InputSchema  jsontext.Value `json:"input_schema"`
	Strict       *bool          `json:"strict"`
	CacheControl *cacheControl  `json:"cache_control"`

	AllowedCallers      jsontext.Value `json:"allowed_callers"`
	DeferLoading        jsontext.Value `json:"defer_loading"`
	EagerInputStreaming jsontext.Value `json:"eager_input_streaming"`
	InputExamples       jsontext.Value `json:"input_examples"`
}

type toolChoice struct {
	Type                   string  `json:"type"`
	Name                   *string `json:"name"`
	DisableParallelToolUse *bool   `json:"disable_parallel_tool_use"`
}

type thinking struct {
	Type         string `json:"type"`
	BudgetTokens *int64 `json:"budget_tokens"`
	Display      string `json:"display"`
}

type outputConfig struct {
	Effort string  `json:"effort"`
	Format *format `json:"format"`
}

type format struct {
	Type   string         `json:"type"`
	Schema jsontext.Value `json:"schema"`
}

type metadata struct {
	UserID *string `json:"user_id"`
}

// read decodes a request.
func read(body []byte) (*request, *failure) {
	req := new(request)
	err := json.Unmarshal(body, req, json.RejectUnknownMembers(true))
	if err == nil {
		return req, nil
	}
	semantic, ok := errors.AsType[*json.SemanticError](err)
	if !ok {
		return nil, invalid("The request body is not valid JSON")
	}
	at := place(semantic.JSONPointer)
	switch {
	case errors.Is(semantic.Err, json.ErrUnknownName):
		return nil, invalid("%s: Extra inputs are not permitted", at)
	case at == "":
		return nil, invalid("Input should be a valid dictionary")
	}
	return nil, invalid("%s: Input should be a valid %s", at, typeName(semantic.GoType))
}

// place writes where something is as the API does: messages.0.content.
func place(p jsontext.Pointer) string {
	var names []string
	for name := range p.Tokens() {
		names = append(names, name)
	}
	return strings.Join(names, ".")
}

func typeName(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Pointer:
		return typeName(t.Elem())
	case reflect.String:
		return "string"
	case reflect.Bool:
		return "boolean"
	case reflect.Int64:
		return "integer"
	case reflect.Float64:
		return "number"
	case reflect.Slice:
		return "list"
	}
	return "dictionary"
}
