package vertex

import "github.com/go-json-experiment/json/jsontext"

// The request of generateContent, as far as it is used here. Names are those of
// the Discovery document, schema GenerateContentRequest. A member that a model
// could take for set is left out when empty.

type request struct {
	Contents          []content         `json:"contents"`
	SystemInstruction *content          `json:"systemInstruction,omitzero"`
	Tools             []toolSet         `json:"tools,omitzero"`
	ToolConfig        *toolConfig       `json:"toolConfig,omitzero"`
	GenerationConfig  generationConfig  `json:"generationConfig,omitzero"`
	Labels            map[string]string `json:"labels,omitzero"`
}

// Roles of a content.
const (
	roleUser  = "user"
	roleModel = "model"
)

type content struct {
	Role  string `json:"role,omitzero"`
	Parts []part `json:"parts"`
}

// part holds exactly one of the kinds of data, and what may stand beside it.
type part struct {
	Text             string            `json:"text,omitzero"`
	InlineData       *blob             `json:"inlineData,omitzero"`
	FileData         *file             `json:"fileData,omitzero"`
	FunctionCall     *functionCall     `json:"functionCall,omitzero"`
	FunctionResponse *functionResponse `json:"functionResponse,omitzero"`
	ThoughtSignature string            `json:"thoughtSignature,omitzero"`
	MediaResolution  *mediaResolution  `json:"mediaResolution,omitzero"`
}

type blob struct {
	MimeType string `json:"mimeType"`
	Data     string `json:"data"` // base64
}

type file struct {
	MimeType string `json:"mimeType"`
	FileURI  string `json:"fileUri"`
}

type mediaResolution struct {
	Level string `json:"level"`
}

type functionCall struct {
	ID   string         `json:"id,omitzero"`
	Name string         `json:"name"`
	Args jsontext.Value `json:"args,omitzero"`
}

type functionResponse struct {
	ID       string         `json:"id,omitzero"`
	Name     string         `json:"name"`
	Response jsontext.Value `json:"response"`
}

type toolSet struct {
	FunctionDeclarations []functionDeclaration `json:"functionDeclarations"`
}

type functionDeclaration struct {
	Name                 string         `json:"name"`
	Description          string         `json:"description,omitzero"`
	ParametersJSONSchema jsontext.Value `json:"parametersJsonSchema,omitzero"`
}

type toolConfig struct {
	FunctionCallingConfig functionCallingConfig `json:"functionCallingConfig"`
}

type functionCallingConfig struct {
	Mode                 string   `json:"mode"`
	AllowedFunctionNames []string `json:"allowedFunctionNames,omitzero"`
}

type generationConfig struct {
	Temperature        *float64        `json:"temperature,omitzero"`
	TopP               *float64        `json:"topP,omitzero"`
	CandidateCount     *int64          `json:"candidateCount,omitzero"`
	MaxOutputTokens    *int64          `json:"maxOutputTokens,omitzero"`
	StopSequences      []string        `json:"stopSequences,omitzero"`
	PresencePenalty    *float64        `json:"presencePenalty,omitzero"`
	FrequencyPenalty   *float64        `json:"frequencyPenalty,omitzero"`
	Seed               *int64          `json:"seed,omitzero"`
	ResponseLogprobs   bool            `json:"responseLogprobs,omitzero"`
	Logprobs           *int64          `json:"logprobs,omitzero"`
	ResponseMIMEType   string          `json:"responseMimeType,omitzero"`
	ResponseJSONSchema jsontext.Value  `json:"responseJsonSchema,omitzero"`
	ThinkingConfig     *thinkingConfig `json:"thinkingConfig,omitzero"`
}

// thinkingConfig holds a budget or a level, never both.
type thinkingConfig struct {
	ThinkingBudget *int64 `json:"thinkingBudget,omitzero"`
	ThinkingLevel  string `json:"thinkingLevel,omitzero"`
}
