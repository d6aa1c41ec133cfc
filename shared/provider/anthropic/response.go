package anthropic

import (
	"errors"
	"fmt"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/postern-ai/postern/shared/chat"
)

// The response, as far as it is used here. Anthropic adds members at any time,
// so unknown ones are passed over.

type response struct {
	Type       string    `json:"type"`
	ID         string    `json:"id"`
	Model      string    `json:"model"`
	Content    []piece   `json:"content"`
	StopReason string    `json:"stop_reason"`
	StopDetail *detail   `json:"stop_details"`
	Usage      usage     `json:"usage"`
	Error      *reported `json:"error"` // in place of all the rest
}

// piece is a block of an answer.
type piece struct {
	Type      string         `json:"type"`
	Text      string         `json:"text"`
	ID        string         `json:"id"`
	Name      string         `json:"name"`
	Input     jsontext.Value `json:"input"`
	Thinking  string         `json:"thinking"`
	Signature string         `json:"signature"`
	Data      string         `json:"data"`
}

// detail says more about a refusal.
type detail struct {
	Explanation string `json:"explanation"`
}

// usage counts tokens. In a stream the counts are totals so far, and any of
// them may be missing from any event.
type usage struct {
	InputTokens              *int64         `json:"input_tokens"`
	OutputTokens             *int64         `json:"output_tokens"`
	CacheCreationInputTokens *int64         `json:"cache_creation_input_tokens"`
	CacheReadInputTokens     *int64         `json:"cache_read_input_tokens"`
	OutputTokensDetails      *outputDetails `json:"output_tokens_details"`
	ServiceTier              string         `json:"service_tier"`
}

type outputDetails struct {
	ThinkingTokens int64 `json:"thinking_tokens"`
}

// update takes over what a later event says.
func (u *usage) update(later *usage) {
	set(&u.InputTokens, later.InputTokens)
	set(&u.OutputTokens, later.OutputTokens)
	set(&u.CacheCreationInputTokens, later.CacheCreationInputTokens)
	set(&u.CacheReadInputTokens, later.CacheReadInputTokens)
	set(&u.OutputTokensDetails, later.OutputTokensDetails)
}

func set[T any](to **T, from *T) {
	if from != nil {
		*to = from
	}
}

// chat returns the counts in OpenAI's terms, where the tokens of a cached prompt
// are part of the prompt. Anthropic counts them apart.
func (u *usage) chat() *chat.Usage {
	if u.InputTokens == nil && u.OutputTokens == nil {
		return nil
	}
	read, written := count(u.CacheReadInputTokens), count(u.CacheCreationInputTokens)
	total := chat.Usage{
		PromptTokens:     count(u.InputTokens) + read + written,
		CompletionTokens: count(u.OutputTokens),
	}
	total.TotalTokens = total.PromptTokens + total.CompletionTokens
	if u.CacheReadInputTokens != nil || u.CacheCreationInputTokens != nil {
		total.PromptTokensDetails = &chat.PromptDetails{CachedTokens: read, CacheWriteTokens: written}
	}
	if u.OutputTokensDetails != nil {
		reasoning := min(count(&u.OutputTokensDetails.ThinkingTokens), total.CompletionTokens)
		total.CompletionTokensDetails = &chat.CompletionDetails{ReasoningTokens: reasoning}
	}
	return &total
}

func count(n *int64) int64 {
	if n == nil {
		return 0
	}
	return max(0, *n)
}

// Decode implements [provider.Dialect].
func (d *dialect) Decode(_ *chat.Request, body []byte) (*chat.Response, error) {
	var r response
	if err := json.Unmarshal(body, &r); err != nil {
		return nil, fmt.Errorf("decode the answer: %w", err)
	}
	if r.Type == "error" && r.Error != nil {
		return nil, r.Error.fault(0, "")
	}
	if r.Type != "message" {
		return nil, errors.New("the answer is not a message")
	}
	answer := chat.Answer{Role: chat.RoleAssistant}
	if err := r.gather(&answer); err != nil {
		return nil, err
	}
	finish, err := finishOf(r.StopReason, len(answer.ToolCalls))
	if err != nil {
		return nil, err
	}
	if r.StopDetail != nil && r.StopDetail.Explanation != "" {
		answer.Refusal = &r.StopDetail.Explanation
	}
	return &chat.Response{
		ID: r.ID, Model: r.Model, Usage: r.Usage.chat(), ServiceTier: tierOf(r.Usage.ServiceTier),
		Choices: []chat.Choice{{Message: answer, FinishReason: finish}},
	}, nil
}

// gather reads the blocks of an answer.
func (r *response) gather(answer *chat.Answer) error {
	var said, reasoning strings.Builder
	var pending thoughts
	texts := 0
	for i := range r.Content {
		p := &r.Content[i]
		switch p.Type {
		case blockText:
			said.WriteString(p.Text)
			texts++
		case blockThinking:
			reasoning.WriteString(p.Thinking)
			if err := pending.add(thought{Type: p.Type, Thinking: &p.Thinking, Signature: p.Signature}); err != nil {
				return err
			}
		case blockRedacted:
			if err := pending.add(thought{Type: p.Type, Data: p.Data}); err != nil {
				return err
			}
		case blockToolUse:
			call, err := p.call()
			if err != nil {
				return err
			}
			call.ExtraContent = pending.take()
			answer.ToolCalls = append(answer.ToolCalls, call)
		default:
			return errBlock
		}
	}
	answer.ReasoningContent = reasoning.String()
	if texts > 0 || len(answer.ToolCalls) == 0 {
		answer.Content = new(said.String())
	}
	return nil
}

var (
	errBlock = errors.New("a block of the answer is of a kind that nobody asked for")
	errCall  = errors.New("a tool call of the answer is incomplete")
)

// call returns a tool_use as a tool call without an index.
func (p *piece) call() (chat.ToolCall, error) {
	if p.ID == "" || p.Name == "" {
		return chat.ToolCall{}, errCall
	}
	arguments, err := p.arguments()
	if err != nil {
		return chat.ToolCall{}, err
	}
	return chat.ToolCall{ID: p.ID, Type: "function", Function: &chat.FunctionCall{Name: p.Name, Arguments: arguments}}, nil
}

func (p *piece) arguments() (string, error) {
	if !isSet(p.Input) {
		return "{}", nil
	}
	if p.Input.Kind() != jsontext.KindBeginObject {
		return "", errCall
	}
	if err := p.Input.Compact(jsontext.AllowDuplicateNames(true)); err != nil {
		return "", errCall
	}
	return string(p.Input), nil
}

// finishOf maps a stop reason. An answer that calls tools ends for that reason
// whatever it says, unless it was cut short. A reason that this table does not
// know is an error: to call such an answer complete could be a lie.
//
// pause_turn says that a long turn is not over and goes on when the
// conversation is sent back, which is what clients of OpenAI's API make of
// "length". Only tools that run at Anthropic pause, and none are ever offered.
func finishOf(reason string, calls int) (string, error) {
	switch reason {
	case "end_turn", "stop_sequence", "tool_use":
		if calls > 0 {
			return chat.FinishToolCalls, nil
		}
		return chat.FinishStop, nil
	case "max_tokens", "model_context_window_exceeded", "pause_turn":
		return chat.FinishLength, nil
	case "refusal":
		return chat.FinishContentFilter, nil
	case "":
		return "", errors.New("the answer does not say why it ended")
	}
	return "", errors.New("the answer ended for a reason that the gateway does not know")
}
