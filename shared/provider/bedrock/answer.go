package bedrock

import (
	"errors"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/bedrockruntime"
	"github.com/aws/aws-sdk-go-v2/service/bedrockruntime/types"

	"github.com/postern-ai/postern/shared/chat"
	"github.com/postern-ai/postern/shared/provider"
)

// decode reads a whole answer. The error is a *[chat.Error].
func decode(out *bedrockruntime.ConverseOutput) (*chat.Response, error) {
	message, ok := out.Output.(*types.ConverseOutputMemberMessage)
	if !ok {
		return nil, provider.Unreadable(name, errAnswer)
	}
	said, err := gather(message.Value.Content)
	if err != nil {
		return nil, provider.Unreadable(name, err)
	}
	reason, err := finish(out.StopReason, len(said.calls))
	if err != nil {
		return nil, provider.Unreadable(name, err)
	}
	answer := &chat.Response{
		Object: chat.ObjectCompletion,
		Choices: []chat.Choice{{
			Message: chat.Answer{
				Role: chat.RoleAssistant, Content: said.content(),
				ReasoningContent: said.reasoning.String(), ToolCalls: said.calls,
			},
			FinishReason: reason,
		}},
		Usage: usage(out.Usage),
	}
	if out.ServiceTier != nil {
		answer.ServiceTier = string(out.ServiceTier.Type)
	}
	return answer, nil
}

// said is what the content blocks of an answer say.
type said struct {
	text, reasoning strings.Builder
	texts           int
	calls           []chat.ToolCall
}

// content returns the text, and nil for an answer that only calls tools, as
// the OpenAI API has it.
func (s *said) content() *string {
	if s.texts == 0 && len(s.calls) > 0 {
		return nil
	}
	return aws.String(s.text.String())
}

// gather reads the blocks of an answer. For a block of a kind that it does not
// know, the SDK's decoder returns the block before it a second time, or nil if
// it is the first; both are recognised, so that no part of an answer is lost or
// doubled.
func gather(blocks []types.ContentBlock) (*said, error) {
	s := new(said)
	var last types.ContentBlock
	for _, block := range blocks {
		if block == nil || block == last {
			return nil, errContent
		}
		last = block
		switch b := block.(type) {
		case *types.ContentBlockMemberText:
			s.text.WriteString(b.Value)
			s.texts++
		case *types.ContentBlockMemberReasoningContent:
			if err := s.reason(b.Value); err != nil {
				return nil, err
			}
		case *types.ContentBlockMemberCitationsContent:
			if err := s.cite(b.Value.Content); err != nil {
				return nil, err
			}
		case *types.ContentBlockMemberToolUse:
			if err := s.call(&b.Value); err != nil {
				return nil, err
			}
		default:
			return nil, errContent
		}
	}
	return s, nil
}

// reason adds reasoning that can be read. Encrypted reasoning has no place on
// OpenAI's wire.
func (s *said) reason(block types.ReasoningContentBlock) error {
	switch r := block.(type) {
	case *types.ReasoningContentBlockMemberReasoningText:
		s.reasoning.WriteString(aws.ToString(r.Value.Text))
	case *types.ReasoningContentBlockMemberRedactedContent:
	default:
		return errContent
	}
	return nil
}

// cite adds a text that has citations beside it.
func (s *said) cite(parts []types.CitationGeneratedContent) error {
	var last types.CitationGeneratedContent
	for _, part := range parts {
		text, ok := part.(*types.CitationGeneratedContentMemberText)
		if !ok || part == last {
			return errContent
		}
		last = part
		s.text.WriteString(text.Value)
		s.texts++
	}
	return nil
}

var errCall = errors.New("a tool call of the answer is incomplete")

func (s *said) call(t *types.ToolUseBlock) error {
	if !isFunction(t.Type) {
		return errContent // a tool that runs at the service, which nobody asked for
	}
	if aws.ToString(t.ToolUseId) == "" || aws.ToString(t.Name) == "" {
		return errCall
	}
	arguments := []byte("{}")
	if t.Input != nil {
		var err error
		if arguments, err = t.Input.MarshalSmithyDocument(); err != nil {
			return errCall
		}
	}
	s.calls = append(s.calls, chat.ToolCall{
		ID: *t.ToolUseId, Type: "function",
		Function: &chat.FunctionCall{Name: *t.Name, Arguments: string(arguments)},
	})
	return nil
}

// isFunction reports whether a call is of one of the caller's tools, which
// mostly goes without saying. The name for it has been seen, although the
// service's model knows only that of tools that run at the service.
func isFunction(kind types.ToolUseType) bool { return kind == "" || kind == "tool_use" }

// finish maps a stop reason. Some models end their turn where others stop for
// the tool calls that they made, so the calls decide.
func finish(reason types.StopReason, calls int) (string, error) {
	switch reason {
	case types.StopReasonEndTurn, types.StopReasonStopSequence, types.StopReasonToolUse:
		if calls > 0 {
			return chat.FinishToolCalls, nil
		}
		return chat.FinishStop, nil
	case types.StopReasonMaxTokens, types.StopReasonModelContextWindowExceeded:
		return chat.FinishLength, nil
	case types.StopReasonGuardrailIntervened, types.StopReasonContentFiltered:
		return chat.FinishContentFilter, nil
	case types.StopReasonMalformedModelOutput, types.StopReasonMalformedToolUse:
		return "", fmt.Errorf("the model's output ended as %s", reason)
	}
	return "", errors.New("the answer ended for a reason that the gateway does not know")
}

// usage counts as OpenAI does, where the tokens of a cached prompt are part of
// the prompt. The service counts them apart.
func usage(u *types.TokenUsage) *chat.Usage {
	if u == nil {
		return nil
	}
	read, written := count(u.CacheReadInputTokens), count(u.CacheWriteInputTokens)
	total := chat.Usage{
		PromptTokens:     count(u.InputTokens) + read + written,
		CompletionTokens: count(u.OutputTokens),
	}
	total.TotalTokens = total.PromptTokens + total.CompletionTokens
	if u.CacheReadInputTokens != nil || u.CacheWriteInputTokens != nil {
		total.PromptTokensDetails = &chat.PromptDetails{CachedTokens: read, CacheWriteTokens: written}
	}
	return &total
}

func count(n *int32) int64 { return int64(max(0, aws.ToInt32(n))) }
