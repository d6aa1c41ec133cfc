package vertex

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/postern-ai/postern/shared/chat"
)

// The response, as far as it is used here. Google adds members at any time, so
// unknown ones are passed over.

// response is a whole answer or one event of a stream. What every event repeats
// is kept as it came, since only one of many is looked at.
type response struct {
	Candidates     []candidate    `json:"candidates"`
	PromptFeedback *feedback      `json:"promptFeedback"`
	UsageMetadata  jsontext.Value `json:"usageMetadata"`
	ModelVersion   jsontext.Value `json:"modelVersion"`
	ResponseID     jsontext.Value `json:"responseId"`
	CreateTime     jsontext.Value `json:"createTime"`
	Error          *status        `json:"error"` // within a stream only
}

// reset empties the response and keeps its memory.
func (r *response) reset() {
	*r = response{
		Candidates: r.Candidates[:0], UsageMetadata: r.UsageMetadata[:0],
		ModelVersion: r.ModelVersion[:0], ResponseID: r.ResponseID[:0], CreateTime: r.CreateTime[:0],
	}
}

// frame returns what is said about the answer as a whole. What cannot be read
// counts as missing.
func (r *response) frame() (id, model string, created int64) {
	return text(r.ResponseID), text(r.ModelVersion), unix(text(r.CreateTime))
}

func text(v jsontext.Value) string {
	if v.Kind() != jsontext.KindString {
		return ""
	}
	s, err := jsontext.AppendUnquote(nil, v)
	if err != nil {
		return ""
	}
	return string(s)
}

type feedback struct {
	BlockReason string `json:"blockReason"`
}

type candidate struct {
	Index          int64     `json:"index"`
	Content        said      `json:"content"`
	FinishReason   string    `json:"finishReason"`
	LogprobsResult *logprobs `json:"logprobsResult"`
}

type said struct {
	Role  jsontext.Value `json:"role"` // named because an unknown member costs more
	Parts []piece        `json:"parts"`
}

// piece is a part of an answer.
type piece struct {
	Text             string       `json:"text"`
	Thought          bool         `json:"thought"`
	FunctionCall     *calledPiece `json:"functionCall"`
	ThoughtSignature string       `json:"thoughtSignature"`

	// What chat completions have no place for.
	InlineData          *struct{} `json:"inlineData"`
	FileData            *struct{} `json:"fileData"`
	ExecutableCode      *struct{} `json:"executableCode"`
	CodeExecutionResult *struct{} `json:"codeExecutionResult"`
}

type calledPiece struct {
	ID           string         `json:"id"`
	Name         string         `json:"name"`
	Args         jsontext.Value `json:"args"`
	WillContinue bool           `json:"willContinue"`
}

type usage struct {
	PromptTokenCount        int64 `json:"promptTokenCount"`
	CandidatesTokenCount    int64 `json:"candidatesTokenCount"`
	ThoughtsTokenCount      int64 `json:"thoughtsTokenCount"`
	CachedContentTokenCount int64 `json:"cachedContentTokenCount"`
	ToolUsePromptTokenCount int64 `json:"toolUsePromptTokenCount"`
}

// countOf reads usage metadata, or returns nil if nothing was counted yet: most
// events of a stream tell the kind of traffic alone. Google's prompt includes
// what came from a cache and excludes what its own tools read, and its
// candidates exclude thoughts.
func countOf(metadata jsontext.Value) (*chat.Usage, error) {
	if !counts(metadata) {
		return nil, nil
	}
	var u usage
	if err := json.Unmarshal(metadata, &u); err != nil {
		return nil, unreadable(err)
	}
	prompt := u.PromptTokenCount + u.ToolUsePromptTokenCount
	completion := u.CandidatesTokenCount + u.ThoughtsTokenCount
	return &chat.Usage{
		PromptTokens: prompt, CompletionTokens: completion, TotalTokens: prompt + completion,
		PromptTokensDetails:     &chat.PromptDetails{CachedTokens: u.CachedContentTokenCount},
		CompletionTokensDetails: &chat.CompletionDetails{ReasoningTokens: u.ThoughtsTokenCount},
	}, nil
}

// counts reports whether usage metadata has a count in it.
func counts(metadata jsontext.Value) bool { return bytes.Contains(metadata, []byte(`TokenCount"`)) }

// Decode implements [provider.Dialect].
func (d *dialect) Decode(_ *chat.Request, body []byte) (*chat.Response, error) {
	var r response
	if err := json.Unmarshal(body, &r); err != nil {
		return nil, unreadable(err)
	}
	usage, err := countOf(r.UsageMetadata)
	if err != nil {
		return nil, err
	}
	out := &chat.Response{Usage: usage}
	out.ID, out.Model, out.Created = r.frame()
	if len(r.Candidates) == 0 {
		if r.PromptFeedback == nil || r.PromptFeedback.BlockReason == "" {
			return nil, errors.New("the answer has no candidates and no reason for that")
		}
		out.Choices = []chat.Choice{{
			Message:      chat.Answer{Role: chat.RoleAssistant, Content: new("")},
			FinishReason: chat.FinishContentFilter,
		}}
		return out, nil
	}
	out.Choices = make([]chat.Choice, 0, len(r.Candidates))
	for i := range r.Candidates {
		choice, err := r.Candidates[i].choice(out.ID)
		if err != nil {
			return nil, err
		}
		out.Choices = append(out.Choices, choice)
	}
	return out, nil
}

func (c *candidate) choice(responseID string) (chat.Choice, error) {
	var content, reasoning strings.Builder
	message := chat.Answer{Role: chat.RoleAssistant}
	for i := range c.Content.Parts {
		p := &c.Content.Parts[i]
		switch {
		case p.foreign():
			return chat.Choice{}, foreignPart()
		case p.FunctionCall != nil:
			call, err := p.call(responseID, c.Index, len(message.ToolCalls))
			if err != nil {
				return chat.Choice{}, err
			}
			message.ToolCalls = append(message.ToolCalls, call)
		case p.Thought:
			reasoning.WriteString(p.Text)
		default:
			content.WriteString(p.Text)
		}
	}
	finish, err := finishOf(c.FinishReason, len(message.ToolCalls) > 0)
	if err != nil {
		return chat.Choice{}, err
	}
	message.ReasoningContent = reasoning.String()
	if content.Len() > 0 || len(message.ToolCalls) == 0 {
		message.Content = new(content.String())
	}
	return chat.Choice{Index: c.Index, Message: message, Logprobs: c.LogprobsResult.chat(), FinishReason: finish}, nil
}

// call returns a function call as a tool call without an index.
func (p *piece) call(responseID string, candidate int64, n int) (chat.ToolCall, error) {
	f := p.FunctionCall
	if f.WillContinue {
		return chat.ToolCall{}, errors.New("a function call comes in pieces, which nobody asked for")
	}
	if f.Name == "" {
		return chat.ToolCall{}, errors.New("a function call has no name")
	}
	args := f.Args
	switch {
	case !isSet(args):
		args = jsontext.Value("{}")
	case args.Kind() != jsontext.KindBeginObject:
		return chat.ToolCall{}, errors.New("the arguments of a function call are not an object")
	default:
		// An answer that is not streamed comes with line breaks and indentation.
		if err := args.Compact(jsontext.AllowDuplicateNames(true)); err != nil {
			return chat.ToolCall{}, unreadable(err)
		}
	}
	id := f.ID
	if id == "" {
		id = callID(responseID, candidate, n)
	}
	return chat.ToolCall{
		ID: id, Type: "function",
		Function:     &chat.FunctionCall{Name: f.Name, Arguments: string(args)},
		ExtraContent: extraOf(p.ThoughtSignature),
	}, nil
}

// unreadable says where an answer departs from what it should be, for the log.
// The decoder's own words may quote the answer.
func unreadable(err error) error {
	if e, ok := errors.AsType[*json.SemanticError](err); ok {
		return fmt.Errorf("the answer has another type than expected at byte %d", e.ByteOffset)
	}
	if e, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
		return fmt.Errorf("the answer is not JSON at byte %d", e.ByteOffset)
	}
	return errors.New("the answer is not JSON")
}

// foreign reports whether a part holds what chat completions cannot carry.
func (p *piece) foreign() bool {
	return p.InlineData != nil || p.FileData != nil || p.ExecutableCode != nil || p.CodeExecutionResult != nil
}

// unix reads a timestamp as seconds since 1970. One that cannot be read counts
// as missing.
func unix(timestamp string) int64 {
	if timestamp == "" {
		return 0
	}
	t, err := time.Parse(time.RFC3339Nano, timestamp)
	if err != nil {
		return 0
	}
	return max(0, t.Unix())
}
