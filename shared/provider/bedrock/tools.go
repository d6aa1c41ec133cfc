package bedrock

import (
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/bedrockruntime"
	"github.com/aws/aws-sdk-go-v2/service/bedrockruntime/types"

	"github.com/postern-ai/postern/shared/chat"
)

// noParameters is the schema of a function without parameters.
const noParameters = `{"type":"object","properties":{}}`

// What Anthropic's own API has a place for and Converse has not, in the form of
// additionalModelRequestFields, which Converse merges into the request that it
// makes for the model. Saying there what toolChoice says too is refused, so the
// type stands here only where toolChoice is left out.
const (
	callNothing   = `{"tool_choice":{"type":"none"}}`
	callOne       = `{"tool_choice":{"type":"auto","disable_parallel_tool_use":true}}`
	callOneForced = `{"tool_choice":{"disable_parallel_tool_use":true}}`
)

// isAnthropic reports whether a model id, inference profile or ARN names a model
// of Anthropic. One that does not say whose model it is counts as another's.
func isAnthropic(model string) bool {
	return strings.HasPrefix(model, "anthropic.") || strings.Contains(model, ".anthropic.") || strings.Contains(model, "/anthropic.")
}

// offer sets the tools that the model may call.
//
// Converse differs from OpenAI in three ways: it refuses calls and results in
// the conversation unless tools are declared; it cannot say that none may be
// called; and it cannot say that they may be called only one by one. Models of
// Anthropic are told the last two in their own words. For others, declaring no
// tools keeps them from being called; the rest is refused.
func offer(in *bedrockruntime.ConverseInput, req *chat.Request, talk *conversation) error {
	tools, err := declare(req.Tools)
	if err != nil {
		return err
	}
	choice, err := choose(req.ToolChoice)
	if err != nil {
		return err
	}
	called, own := len(talk.called) > 0, isAnthropic(req.Model)
	none := len(tools) == 0 || req.ToolChoice != nil && req.ToolChoice.Mode == chat.ToolChoiceNone
	single := req.ParallelToolCalls != nil && !*req.ParallelToolCalls
	fields := ""
	switch {
	case none && !called:
		return nil
	case none && own:
		fields = callNothing
		if len(tools) == 0 {
			tools = undeclared(talk.called)
		}
	case len(tools) == 0:
		return chat.Invalid("tools", chat.CodeMissingParameter, "Missing required parameter: 'tools'. %s needs the tools of a conversation in which some have been called. Send them again.", name)
	case none:
		return chat.UnsupportedValue("tool_choice", name, "this model cannot be kept from calling tools in a conversation in which some have been called. Use 'auto'.")
	case single && !own:
		return chat.UnsupportedValue("parallel_tool_calls", name, "this model cannot be held to one tool call at a time. Leave it out.")
	case single && choice == nil:
		fields = callOne
	case single:
		fields = callOneForced
	}
	in.ToolConfig = &types.ToolConfiguration{Tools: tools, ToolChoice: choice}
	if fields != "" {
		in.AdditionalModelRequestFields = verbatim{json: []byte(fields)}
	}
	return nil
}

func declare(offered []chat.Tool) ([]types.Tool, error) {
	tools := make([]types.Tool, 0, len(offered))
	known := make(map[string]bool, len(offered))
	for i := range offered {
		f, at := offered[i].Function, fmt.Sprintf("tools[%d]", i)
		if f == nil || offered[i].Type != "function" {
			return nil, chat.UnsupportedValue(at+".type", name, "it knows tools of type 'function' only.")
		}
		if known[f.Name] {
			return nil, chat.Invalid(at+".function.name", chat.CodeInvalidValue, "Invalid '%s.function.name': another tool has this name. Give each its own.", at)
		}
		known[f.Name] = true
		spec := types.ToolSpecification{
			Name: &f.Name, Description: notEmpty(f.Description),
			InputSchema: &types.ToolInputSchemaMemberJson{Value: verbatim{json: inputSchema(f)}},
		}
		if f.Strict != nil && *f.Strict {
			spec.Strict = f.Strict
		}
		tools = append(tools, &types.ToolMemberToolSpec{Value: spec})
	}
	return tools, nil
}

// inputSchema returns the schema of a function's parameters, which the service
// cannot do without.
func inputSchema(f *chat.Function) []byte {
	if schema := f.ObjectSchema(); schema != nil {
		return schema
	}
	return []byte(noParameters)
}

// undeclared declares tools of which nothing is known but that they have been
// called, for a model that is told to call none.
func undeclared(names []string) []types.Tool {
	tools := make([]types.Tool, len(names))
	for i := range names {
		tools[i] = &types.ToolMemberToolSpec{Value: types.ToolSpecification{
			Name: &names[i], InputSchema: &types.ToolInputSchemaMemberJson{Value: verbatim{json: []byte(noParameters)}},
		}}
	}
	return tools
}

// choose returns nil where the choice is the model's, which is the default.
func choose(c *chat.ToolChoice) (types.ToolChoice, error) {
	if c == nil {
		return nil, nil
	}
	switch c.Mode {
	case chat.ToolChoiceAuto, chat.ToolChoiceNone:
		return nil, nil
	case chat.ToolChoiceRequired:
		return &types.ToolChoiceMemberAny{}, nil
	case chat.ToolChoiceFunction:
		return &types.ToolChoiceMemberTool{Value: types.SpecificToolChoice{Name: aws.String(c.Name)}}, nil
	case chat.ToolChoiceAllowed:
		return nil, chat.UnsupportedValue("tool_choice", name, "it takes no list of allowed tools. Send only the tools that may be called.")
	}
	return nil, chat.UnsupportedValue("tool_choice", name, "it knows 'auto', 'required', 'none' and a function's name.")
}
