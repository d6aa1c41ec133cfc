package vertex

import (
	"encoding/base64"
	"errors"
	"mime"
	"net/http"
	"reflect"
	"strconv"
	"strings"
	"unicode"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// The request, member for member as the Discovery document has it. Members
// that are not played are read as they are.

type request struct {
	Contents          []content         `json:"contents"`
	SystemInstruction *content          `json:"systemInstruction"`
	Tools             []toolSet         `json:"tools"`
	ToolConfig        *toolConfig       `json:"toolConfig"`
	GenerationConfig  generationConfig  `json:"generationConfig"`
	SafetySettings    []safetySetting   `json:"safetySettings"`
	Labels            map[string]string `json:"labels"`

	CachedContent     jsontext.Value `json:"cachedContent"`
	ContinuationToken jsontext.Value `json:"continuationToken"`
	ModelArmorConfig  jsontext.Value `json:"modelArmorConfig"`
	OutputConfig      jsontext.Value `json:"outputConfig"`
}

type content struct {
	Role  string `json:"role"`
	Parts []part `json:"parts"`
}

type part struct {
	Text             *string           `json:"text"`
	InlineData       *blob             `json:"inlineData"`
	FileData         *fileData         `json:"fileData"`
	FunctionCall     *functionCall     `json:"functionCall"`
	FunctionResponse *functionResponse `json:"functionResponse"`
	Thought          bool              `json:"thought"`
	ThoughtSignature string            `json:"thoughtSignature"`
	MediaResolution  *mediaResolution  `json:"mediaResolution"`

	ExecutableCode      jsontext.Value `json:"executableCode"`
	CodeExecutionResult jsontext.Value `json:"codeExecutionResult"`
	VideoMetadata       jsontext.Value `json:"videoMetadata"`
}

type blob struct {
	MimeType    string     `json:"mimeType"`
	Data        protoBytes `json:"data"`
	DisplayName string     `json:"displayName"`
}

// protoBytes is bytes as JSON has them for protocol buffers: base64 of either
// alphabet, padded or not.
type protoBytes []byte

// UnmarshalJSONFrom reads a string of base64.
func (b *protoBytes) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	var text string
	if err := json.UnmarshalDecode(dec, &text); err != nil {
		return err
	}
	text = strings.NewReplacer("-", "+", "_", "/").Replace(strings.TrimRight(text, "="))
	data, err := base64.RawStdEncoding.DecodeString(text)
	*b = data
	return err
}

type fileData struct {
	MimeType    string `json:"mimeType"`
	FileURI     string `json:"fileUri"`
	DisplayName string `json:"displayName"`
}

type mediaResolution struct {
	Level string `json:"level"`
}

type functionCall struct {
	ID   string                    `json:"id"`
	Name string                    `json:"name"`
	Args map[string]jsontext.Value `json:"args"`
}

type functionResponse struct {
	ID         string                    `json:"id"`
	Name       string                    `json:"name"`
	Response   map[string]jsontext.Value `json:"response"`
	Parts      jsontext.Value            `json:"parts"`
	Scheduling jsontext.Value            `json:"scheduling"`
}

type toolSet struct {
	FunctionDeclarations []functionDeclaration `json:"functionDeclarations"`

	CodeExecution         jsontext.Value `json:"codeExecution"`
	ComputerUse           jsontext.Value `json:"computerUse"`
	EnterpriseWebSearch   jsontext.Value `json:"enterpriseWebSearch"`
	GoogleMaps            jsontext.Value `json:"googleMaps"`
	GoogleSearch          jsontext.Value `json:"googleSearch"`
	GoogleSearchRetrieval jsontext.Value `json:"googleSearchRetrieval"`
	Retrieval             jsontext.Value `json:"retrieval"`
	URLContext            jsontext.Value `json:"urlContext"`
}

type functionDeclaration struct {
	Name                 string         `json:"name"`
	Description          string         `json:"description"`
	Parameters           jsontext.Value `json:"parameters"`
	ParametersJSONSchema jsontext.Value `json:"parametersJsonSchema"`
	Response             jsontext.Value `json:"response"`
	ResponseJSONSchema   jsontext.Value `json:"responseJsonSchema"`
}

type toolConfig struct {
	FunctionCallingConfig *functionCallingConfig `json:"functionCallingConfig"`
	RetrievalConfig       jsontext.Value         `json:"retrievalConfig"`
}

type functionCallingConfig struct {
	Mode                        string   `json:"mode"`
	AllowedFunctionNames        []string `json:"allowedFunctionNames"`
	StreamFunctionCallArguments bool     `json:"streamFunctionCallArguments"`
}

type generationConfig struct {
	Temperature        *float64        `json:"temperature"`
	TopP               *float64        `json:"topP"`
	TopK               *float64        `json:"topK"`
	CandidateCount     *int32          `json:"candidateCount"`
	MaxOutputTokens    *int32          `json:"maxOutputTokens"`
	StopSequences      []string        `json:"stopSequences"`
	PresencePenalty    *float64        `json:"presencePenalty"`
	FrequencyPenalty   *float64        `json:"frequencyPenalty"`
	Seed               *int32          `json:"seed"`
	ResponseLogprobs   bool            `json:"responseLogprobs"`
	Logprobs           *int32          `json:"logprobs"`
	ResponseMIMEType   string          `json:"responseMimeType"`
	ResponseSchema     jsontext.Value  `json:"responseSchema"`
	ResponseJSONSchema jsontext.Value  `json:"responseJsonSchema"`
	ResponseModalities []string        `json:"responseModalities"`
	MediaResolution    string          `json:"mediaResolution"`
	ThinkingConfig     *thinkingConfig `json:"thinkingConfig"`

	AudioTimestamp           jsontext.Value `json:"audioTimestamp"`
	AudioTranscriptionConfig jsontext.Value `json:"audioTranscriptionConfig"`
	EnableAffectiveDialog    jsontext.Value `json:"enableAffectiveDialog"`
	ImageConfig              jsontext.Value `json:"imageConfig"`
	ResponseFormat           jsontext.Value `json:"responseFormat"`
	RoutingConfig            jsontext.Value `json:"routingConfig"`
	SpeechConfig             jsontext.Value `json:"speechConfig"`
	TranslationConfig        jsontext.Value `json:"translationConfig"`
}

type thinkingConfig struct {
	IncludeThoughts bool   `json:"includeThoughts"`
	ThinkingBudget  *int32 `json:"thinkingBudget"`
	ThinkingLevel   string `json:"thinkingLevel"`
}

type safetySetting struct {
	Category  string `json:"category"`
	Threshold string `json:"threshold"`
	Method    string `json:"method"`
}

// decode reads a request as strictly as Google's JSON front end does.
func decode(r *http.Request, body []byte) (*request, *failure) {
	if media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || media != "application/json" {
		return nil, invalid("Invalid content type: expected application/json.")
	}
	var req request
	err := json.Unmarshal(body, &req, json.RejectUnknownMembers(true))
	if err == nil {
		return &req, nil
	}
	semantic, ok := errors.AsType[*json.SemanticError](err)
	if !ok {
		return nil, invalid("Invalid JSON payload received. Unexpected token.")
	}
	field := fieldOf(semantic.JSONPointer)
	if errors.Is(err, json.ErrUnknownName) {
		at := ""
		if parent := fieldOf(semantic.JSONPointer.Parent()); parent != "" {
			at = " at '" + parent + "'"
		}
		return nil, violation(field, "Invalid JSON payload received. Unknown name \""+semantic.JSONPointer.LastToken()+"\""+at+": Cannot find field.")
	}
	if semantic.GoType == reflect.TypeFor[protoBytes]() {
		return nil, violation(field, "Invalid value at '"+field+"' (TYPE_BYTES), Base64 decoding failed.")
	}
	return nil, violation(field, "Invalid value at '"+field+"' ("+protoType(semantic.GoType)+").")
}

func violation(field, description string) *failure {
	f := invalid("%s", description)
	f.details = []any{badRequest{details + "BadRequest", []fieldViolation{{field, description}}}}
	return f
}

// fieldOf writes a JSON pointer as the front end does: by the names that fields
// have in the protocol buffer.
func fieldOf(p jsontext.Pointer) string {
	var b strings.Builder
	for token := range p.Tokens() {
		if _, err := strconv.Atoi(token); err == nil && b.Len() > 0 {
			b.WriteString("[" + token + "]")
			continue
		}
		if b.Len() > 0 {
			b.WriteByte('.')
		}
		for _, r := range token {
			if unicode.IsUpper(r) {
				b.WriteByte('_')
				r = unicode.ToLower(r)
			}
			b.WriteRune(r)
		}
	}
	return b.String()
}

func protoType(t reflect.Type) string {
	for t != nil && t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t == nil {
		return "TYPE_MESSAGE"
	}
	switch t.Kind() {
	case reflect.String:
		return "TYPE_STRING"
	case reflect.Bool:
		return "TYPE_BOOL"
	case reflect.Int32:
		return "TYPE_INT32"
	case reflect.Float64:
		return "TYPE_FLOAT"
	}
	return "TYPE_MESSAGE"
}
