package bedrock

import (
	"errors"
	"mime"
	"net/http"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/postern-ai/postern/localdev/fake/brain"
)

// The request, member for member as the service's model has it. Members that
// are not played are read as they are.

type request struct {
	Messages        []message        `json:"messages"`
	System          []systemBlock    `json:"system"`
	InferenceConfig *inferenceConfig `json:"inferenceConfig"`
	ToolConfig      *toolConfig      `json:"toolConfig"`
	OutputConfig    *outputConfig    `json:"outputConfig"`
	ServiceTier     *serviceTier     `json:"serviceTier"`

	RequestMetadata              map[string]string `json:"requestMetadata"`
	AdditionalModelRequestFields *additional       `json:"additionalModelRequestFields"`

	GuardrailConfig                   jsontext.Value `json:"guardrailConfig"`
	PromptVariables                   jsontext.Value `json:"promptVariables"`
	PerformanceConfig                 jsontext.Value `json:"performanceConfig"`
	AdditionalModelResponseFieldPaths jsontext.Value `json:"additionalModelResponseFieldPaths"`
}

type message struct {
	Role    string  `json:"role"`
	Content []block `json:"content"`
}

type block struct {
	Text       *string     `json:"text"`
	Image      *image      `json:"image"`
	ToolUse    *toolUse    `json:"toolUse"`
	ToolResult *toolResult `json:"toolResult"`

	Document         jsontext.Value `json:"document"`
	Video            jsontext.Value `json:"video"`
	Audio            jsontext.Value `json:"audio"`
	GuardContent     jsontext.Value `json:"guardContent"`
	CachePoint       jsontext.Value `json:"cachePoint"`
	ReasoningContent jsontext.Value `json:"reasoningContent"`
	CitationsContent jsontext.Value `json:"citationsContent"`
	SearchResult     jsontext.Value `json:"searchResult"`
}

type image struct {
	Format string `json:"format"`
	Source struct {
		Bytes      []byte         `json:"bytes"`
		S3Location jsontext.Value `json:"s3Location"`
	} `json:"source"`
}

type toolUse struct {
	ToolUseID string         `json:"toolUseId"`
	Name      string         `json:"name"`
	Input     jsontext.Value `json:"input"`
}

type toolResult struct {
	ToolUseID string        `json:"toolUseId"`
	Content   []resultBlock `json:"content"`
	Status    string        `json:"status"`
}

type resultBlock struct {
	Text  *string        `json:"text"`
	JSON  jsontext.Value `json:"json"`
	Image *image         `json:"image"`

	Document     jsontext.Value `json:"document"`
	Video        jsontext.Value `json:"video"`
	SearchResult jsontext.Value `json:"searchResult"`
}

type systemBlock struct {
	Text *string `json:"text"`

	GuardContent jsontext.Value `json:"guardContent"`
	CachePoint   jsontext.Value `json:"cachePoint"`
}

type inferenceConfig struct {
	MaxTokens     *int32   `json:"maxTokens"`
	Temperature   *float32 `json:"temperature"`
	TopP          *float32 `json:"topP"`
	StopSequences []string `json:"stopSequences"`
}

type toolConfig struct {
	Tools      []tool      `json:"tools"`
	ToolChoice *toolChoice `json:"toolChoice"`
}

type tool struct {
	ToolSpec *toolSpec `json:"toolSpec"`

	SystemTool jsontext.Value `json:"systemTool"`
	CachePoint jsontext.Value `json:"cachePoint"`
}

type toolSpec struct {
	Name        string  `json:"name"`
	Description *string `json:"description"`
	InputSchema struct {
		JSON jsontext.Value `json:"json"`
	} `json:"inputSchema"`
	Strict *bool `json:"strict"`
}

type toolChoice struct {
	Auto *struct{} `json:"auto"`
	Any  *struct{} `json:"any"`
	Tool *struct {
		Name string `json:"name"`
	} `json:"tool"`
}

type outputConfig struct {
	Effort     *string `json:"effort"`
	TextFormat *struct {
		Type      string `json:"type"`
		Structure struct {
			JSONSchema *struct {
				Schema      string `json:"schema"`
				Name        string `json:"name"`
				Description string `json:"description"`
			} `json:"jsonSchema"`
		} `json:"structure"`
	} `json:"textFormat"`
}

type serviceTier struct {
	Type string `json:"type"`
}

// additional is what is played of a model's own parameters: Anthropic's
// tool_choice.
type additional struct {
	ToolChoice *struct {
		Type     string `json:"type"`
		Name     string `json:"name"`
		Parallel *bool  `json:"disable_parallel_tool_use"`
	} `json:"tool_choice"`
	Unknown jsontext.Value `json:",embed"`
}

// read decodes a request. Members that the model does not have are refused,
// which is stricter than most AWS services are.
func read(r *http.Request, body []byte) (*request, *failure) {
	if media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || media != "application/json" {
		return nil, &failure{http.StatusUnsupportedMediaType, "UnsupportedMediaTypeException", "The content type is not application/json."}
	}
	var req request
	err := json.Unmarshal(body, &req, json.RejectUnknownMembers(true))
	if err == nil {
		return &req, nil
	}
	semantic, ok := errors.AsType[*json.SemanticError](err)
	if !ok {
		return nil, &failure{http.StatusBadRequest, "SerializationException", "The request body is not valid JSON."}
	}
	at := strings.ReplaceAll(strings.TrimPrefix(string(semantic.JSONPointer), "/"), "/", ".")
	if errors.Is(err, json.ErrUnknownName) {
		return nil, invalid("Malformed input request: extraneous key [%s] is not permitted, please reformat your input and try again.", at)
	}
	return nil, &failure{http.StatusBadRequest, "SerializationException", "The value at " + at + " has another type than the one that is expected."}
}

// prompt is the conversation as the brain understands it.
func (req *request) prompt(model string) brain.Prompt {
	p := brain.Prompt{Model: model}
	for _, b := range req.System {
		p.System = append(p.System, *b.Text)
	}
	for _, m := range req.Messages {
		p.Turns = append(p.Turns, m.turns()...)
	}
	if c := req.ToolConfig; c != nil {
		for _, t := range c.Tools {
			p.Tools = append(p.Tools, brain.Tool{Name: t.ToolSpec.Name, Schema: t.ToolSpec.InputSchema.JSON})
		}
		p.ToolChoice = "auto"
		switch choice := c.ToolChoice; {
		case choice == nil:
		case choice.Any != nil:
			p.ToolChoice = "required"
		case choice.Tool != nil:
			p.ToolChoice, p.ToolName = "tool", choice.Tool.Name
		}
	}
	if a := req.AdditionalModelRequestFields; a != nil && a.ToolChoice != nil {
		p.OneCall = a.ToolChoice.Parallel != nil && *a.ToolChoice.Parallel
		if a.ToolChoice.Type == "none" {
			p.ToolChoice = "none"
		}
	}
	if c := req.InferenceConfig; c != nil {
		if c.MaxTokens != nil {
			p.MaxTokens = int(*c.MaxTokens)
		}
		p.Stop = c.StopSequences
	}
	p.JSON = req.OutputConfig != nil && req.OutputConfig.TextFormat != nil
	return p
}

// turns splits a message: results of tools come in the same message as what the
// user says next.
func (m *message) turns() []brain.Turn {
	said := brain.Turn{Role: m.Role}
	results := brain.Turn{Role: "tool"}
	for _, b := range m.Content {
		switch {
		case b.Text != nil:
			said.Text += *b.Text
		case b.Image != nil:
			said.Images = append(said.Images, b.Image.seen())
		case b.ToolUse != nil:
			said.Calls = append(said.Calls, brain.Call{ID: b.ToolUse.ToolUseID, Name: b.ToolUse.Name, Arguments: string(b.ToolUse.Input)})
		case b.ToolResult != nil:
			result := brain.Result{ID: b.ToolResult.ToolUseID}
			for _, part := range b.ToolResult.Content {
				switch {
				case part.Text != nil:
					result.Text += *part.Text
				case part.JSON != nil:
					result.Text += string(part.JSON)
				case part.Image != nil:
					results.Images = append(results.Images, part.Image.seen())
				}
			}
			results.Results = append(results.Results, result)
		}
	}
	var turns []brain.Turn
	if results.Results != nil {
		turns = append(turns, results)
	}
	if said.Text != "" || said.Images != nil || said.Calls != nil {
		turns = append(turns, said)
	}
	return turns
}

func (i *image) seen() brain.Image {
	return brain.Image{MediaType: "image/" + i.Format, Bytes: len(i.Source.Bytes)}
}
