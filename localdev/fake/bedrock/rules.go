package bedrock

import (
	"bytes"
	"fmt"
	stdimage "image"
	_ "image/gif"  // to read the size of images
	_ "image/jpeg" // to read the size of images
	_ "image/png"  // to read the size of images
	"regexp"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// Bounds of the API reference.
const (
	maxImages    = 20
	maxImageSize = 3_932_160 // 3.75 MB
	maxImageSide = 8000
	maxStops     = 2500
	maxMetadata  = 16
)

// Patterns of the service's model.
var (
	toolID   = regexp.MustCompile(`^[a-zA-Z0-9_.:-]{1,64}$`)
	toolName = regexp.MustCompile(`^[a-zA-Z0-9_-]{1,64}$`)
	label    = regexp.MustCompile(`^[a-zA-Z0-9\s:_@$#=/+,-.]{0,256}$`)
)

// check holds a request against the rules of Converse.
func (req *request) check(m Model) *failure {
	for _, other := range []jsontext.Value{req.GuardrailConfig, req.PromptVariables, req.PerformanceConfig, req.AdditionalModelResponseFieldPaths} {
		if other != nil {
			return unplayed("guardrailConfig, promptVariables, performanceConfig and additionalModelResponseFieldPaths")
		}
	}
	for _, rule := range []func(Model) *failure{
		req.checkSystem, req.checkMessages, req.checkToolTurns, req.checkTools, req.checkAdditional,
		req.checkInference, req.checkOutput, req.checkMetadata,
	} {
		if f := rule(m); f != nil {
			return f
		}
	}
	return nil
}

func blank(s string) bool { return strings.TrimSpace(s) == "" }

func (req *request) checkSystem(Model) *failure {
	for i, b := range req.System {
		if b.GuardContent != nil || b.CachePoint != nil {
			return unplayed("guardContent and cachePoint")
		}
		if b.Text == nil || blank(*b.Text) {
			return invalid("The text field in the SystemContentBlock object at system.%d is blank. Add text to the text field, and try again.", i)
		}
	}
	return nil
}

func (req *request) checkMessages(model Model) *failure {
	if len(req.Messages) == 0 || req.Messages[0].Role == "assistant" {
		return invalid("A conversation must start with a user message. Try again with a conversation that starts with a user message.")
	}
	for i, m := range req.Messages {
		if m.Role != "user" && m.Role != "assistant" {
			return constraint(fmt.Sprintf("messages.%d.member.role", i+1), "Member must satisfy enum value set: [user, assistant]")
		}
		if i > 0 && m.Role == req.Messages[i-1].Role {
			return invalid("A conversation must alternate between user and assistant roles. Make sure the conversation alternates between user and assistant roles and try again.")
		}
		if len(m.Content) == 0 {
			return invalid("The content field in the Message object at messages.%d is empty. Add a ContentBlock object to the content field and try again.", i)
		}
		images := 0
		for j, b := range m.Content {
			at := fmt.Sprintf("messages.%d.content.%d", i, j)
			if f := b.check(model, m.Role, at); f != nil {
				return f
			}
			images += b.images()
		}
		if images > maxImages {
			return invalid("The number of images at messages.%d.content is more than %d. Remove images and try again.", i, maxImages)
		}
	}
	return nil
}

func (b *block) images() int {
	n := 0
	if b.Image != nil {
		n++
	}
	if b.ToolResult != nil {
		for _, part := range b.ToolResult.Content {
			if part.Image != nil {
				n++
			}
		}
	}
	return n
}

func (b *block) check(model Model, role, at string) *failure {
	for _, other := range []jsontext.Value{b.Document, b.Video, b.Audio, b.GuardContent, b.CachePoint, b.ReasoningContent, b.CitationsContent, b.SearchResult} {
		if other != nil {
			return unplayed("this kind of content block")
		}
	}
	set := 0
	for _, is := range []bool{b.Text != nil, b.Image != nil, b.ToolUse != nil, b.ToolResult != nil} {
		if is {
			set++
		}
	}
	if set != 1 {
		return invalid("The ContentBlock object at %s must set one and only one of its members.", at)
	}
	switch {
	case b.Text != nil && blank(*b.Text):
		return invalid("The text field in the ContentBlock object at %s is blank. Add text to the text field, and try again.", at)
	case b.Image != nil && role != "user":
		return invalid("The image at %s is in a message of the assistant. Images are allowed in user messages only.", at)
	case b.Image != nil:
		return b.Image.check(model, at)
	case b.ToolUse != nil:
		return b.ToolUse.check(role, at)
	case b.ToolResult != nil:
		return b.ToolResult.check(model, role, at)
	}
	return nil
}

func (i *image) check(model Model, at string) *failure {
	if model.TextOnly {
		return invalid("This model doesn't support the image content block that you provided. Update the content block and try again.")
	}
	if i.Source.S3Location != nil {
		return unplayed("images in S3")
	}
	if !slices.Contains([]string{"png", "jpeg", "gif", "webp"}, i.Format) {
		return constraint(at+".image.format", "Member must satisfy enum value set: [png, jpeg, gif, webp]")
	}
	if len(i.Source.Bytes) == 0 || len(i.Source.Bytes) > maxImageSize {
		return invalid("The image at %s has a size that is not supported: it must have between 1 and %d bytes.", at, maxImageSize)
	}
	if i.Format == "webp" {
		if len(i.Source.Bytes) < 12 || string(i.Source.Bytes[:4]) != "RIFF" || string(i.Source.Bytes[8:12]) != "WEBP" {
			return invalid("The model returned the following errors: Could not process image")
		}
		return nil
	}
	config, format, err := stdimage.DecodeConfig(bytes.NewReader(i.Source.Bytes))
	if err != nil || format != i.Format {
		return invalid("The model returned the following errors: Could not process image")
	}
	if config.Width > maxImageSide || config.Height > maxImageSide {
		return invalid("The image at %s is larger than %d pixels on a side.", at, maxImageSide)
	}
	return nil
}

func isObject(v jsontext.Value) bool { return v.Kind() == jsontext.KindBeginObject }

func (req *request) checkInference(model Model) *failure {
	c := req.InferenceConfig
	if c == nil {
		return nil
	}
	if c.MaxTokens != nil && *c.MaxTokens < 1 {
		return constraint("inferenceConfig.maxTokens", "Member must have value greater than or equal to 1")
	}
	if f := fraction("inferenceConfig.temperature", c.Temperature); f != nil {
		return f
	}
	if f := fraction("inferenceConfig.topP", c.TopP); f != nil {
		return f
	}
	if model.OneSampler && c.Temperature != nil && c.TopP != nil {
		return invalid("The model returned the following errors: `temperature` and `top_p` cannot both be specified for this model. Please use only one.")
	}
	if len(c.StopSequences) > maxStops {
		return constraint("inferenceConfig.stopSequences", fmt.Sprintf("Member must have length less than or equal to %d", maxStops))
	}
	if slices.Contains(c.StopSequences, "") {
		return constraint("inferenceConfig.stopSequences", "Member must have length greater than or equal to 1")
	}
	return nil
}

func fraction(at string, v *float32) *failure {
	switch {
	case v != nil && *v < 0:
		return constraint(at, "Member must have value greater than or equal to 0")
	case v != nil && *v > 1:
		return constraint(at, "Member must have value less than or equal to 1")
	}
	return nil
}

func (req *request) checkOutput(Model) *failure {
	if t := req.ServiceTier; t != nil && !slices.Contains([]string{"priority", "default", "flex", "reserved"}, t.Type) {
		return constraint("serviceTier.type", "Member must satisfy enum value set: [priority, default, flex, reserved]")
	}
	c := req.OutputConfig
	if c == nil {
		return nil
	}
	if c.Effort != nil && !slices.Contains([]string{"low", "medium", "high", "xhigh", "max"}, *c.Effort) {
		return constraint("outputConfig.effort", "Member must satisfy enum value set: [low, medium, high, xhigh, max]")
	}
	if f := c.TextFormat; f != nil {
		if f.Type != "json_schema" || f.Structure.JSONSchema == nil {
			return constraint("outputConfig.textFormat.type", "Member must satisfy enum value set: [json_schema]")
		}
		if schema := jsontext.Value(f.Structure.JSONSchema.Schema); !schema.IsValid() || !isObject(schema) {
			return invalid("The value at outputConfig.textFormat.structure.jsonSchema.schema is not a JSON schema.")
		}
	}
	return nil
}

func (req *request) checkMetadata(Model) *failure {
	if req.RequestMetadata == nil {
		return nil
	}
	if n := len(req.RequestMetadata); n < 1 || n > maxMetadata {
		return constraint("requestMetadata", fmt.Sprintf("Map must have between 1 and %d entries", maxMetadata))
	}
	for key, value := range req.RequestMetadata {
		if key == "" || !label.MatchString(key) || !label.MatchString(value) {
			return constraint("requestMetadata", `Map keys and values must satisfy regular expression pattern: [a-zA-Z0-9\s:_@$#=/+,-.]{0,256}`)
		}
	}
	return nil
}
