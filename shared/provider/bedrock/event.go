package bedrock

import (
	"errors"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/bedrockruntime/types"
	"github.com/aws/smithy-go"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// decode returns what a frame says: an event of the SDK's types, nil for an
// event of a type that this version does not know, or the error that the
// service reports within the stream.
//
// Events of an unknown type are skipped, since the service adds some that do
// not carry any of the answer. A known event with content of an unknown kind
// is an error.
func (k *frameKind) decode(payload []byte) (smithy.Deserializable, error) {
	switch string(k.message) {
	case "exception":
		return nil, exception(string(k.exception), payload)
	case "error":
		return nil, &smithy.GenericAPIError{Code: string(k.code), Message: string(k.text)}
	case "event":
	default:
		return nil, errFrame
	}
	switch string(k.event) {
	case "contentBlockDelta":
		return read(payload, (*wireDelta).event)
	case "contentBlockStart":
		return read(payload, (*wireStart).event)
	case "contentBlockStop":
		return read(payload, (*wireStop).event)
	case "messageStart":
		return read(payload, (*wireMessage).event)
	case "messageStop":
		return read(payload, (*wireEnd).event)
	case "metadata":
		return read(payload, (*wireMetadata).event)
	}
	return nil, nil
}

var (
	errEvent   = errors.New("an event of the stream cannot be read")
	errContent = errors.New("the answer holds content of a kind that the gateway does not know")
)

// read decodes a payload into W, and that into an event. What the JSON decoder
// has to say is not passed on, for it quotes the answer.
func read[W any, E smithy.Deserializable](payload []byte, event func(*W) (E, error)) (smithy.Deserializable, error) {
	var w W
	if err := json.Unmarshal(payload, &w); err != nil {
		return nil, errEvent
	}
	e, err := event(&w)
	if err != nil {
		return nil, err
	}
	return e, nil
}

// exception reads an error that the service reports within the stream. Its
// type begins with a small letter there and with a capital everywhere else.
func exception(kind string, payload []byte) error {
	var w struct {
		Message string `json:"message,case:ignore"`
	}
	_ = json.Unmarshal(payload, &w) // the type alone says enough
	if kind == "" {
		return errFrame
	}
	return &smithy.GenericAPIError{Code: strings.ToUpper(kind[:1]) + kind[1:], Message: w.Message}
}

type wireMessage struct {
	Role types.ConversationRole `json:"role"`
}

func (w *wireMessage) event() (*types.MessageStartEvent, error) {
	return &types.MessageStartEvent{Role: w.Role}, nil
}

type wireStart struct {
	Index *int32 `json:"contentBlockIndex"`
	Start struct {
		ToolUse *struct {
			ID   string            `json:"toolUseId"`
			Name string            `json:"name"`
			Type types.ToolUseType `json:"type"`
		} `json:"toolUse"`
		Reasoning jsontext.Value `json:"reasoningContent"`
		Unknown   jsontext.Value `json:",embed"`
	} `json:"start"`
}

func (w *wireStart) event() (*types.ContentBlockStartEvent, error) {
	t := w.Start.ToolUse
	if t == nil && w.Start.Unknown == nil {
		// Texts and reasoning begin like this, if they begin at all. Encrypted
		// reasoning may come with it, and has no place on OpenAI's wire.
		return &types.ContentBlockStartEvent{ContentBlockIndex: w.Index}, nil
	}
	if t == nil || !isFunction(t.Type) {
		return nil, errContent // nothing else was asked for
	}
	return &types.ContentBlockStartEvent{
		ContentBlockIndex: w.Index,
		Start:             &types.ContentBlockStartMemberToolUse{Value: types.ToolUseBlockStart{ToolUseId: &t.ID, Name: &t.Name}},
	}, nil
}

type wireDelta struct {
	Index *int32 `json:"contentBlockIndex"`
	Delta struct {
		Text    *string `json:"text"`
		ToolUse *struct {
			Input string `json:"input"`
		} `json:"toolUse"`
		Reasoning *struct {
			Text      *string        `json:"text"`
			Signature jsontext.Value `json:"signature"`
			Redacted  jsontext.Value `json:"redactedContent"`
		} `json:"reasoningContent"`
		Citation jsontext.Value `json:"citation"`
	} `json:"delta"`
}

func (w *wireDelta) event() (*types.ContentBlockDeltaEvent, error) {
	e, d := &types.ContentBlockDeltaEvent{ContentBlockIndex: w.Index}, &w.Delta
	switch {
	case d.Text != nil:
		e.Delta = &types.ContentBlockDeltaMemberText{Value: *d.Text}
	case d.ToolUse != nil:
		e.Delta = &types.ContentBlockDeltaMemberToolUse{Value: types.ToolUseBlockDelta{Input: &d.ToolUse.Input}}
	case d.Reasoning != nil && d.Reasoning.Text != nil:
		e.Delta = &types.ContentBlockDeltaMemberReasoningContent{Value: &types.ReasoningContentBlockDeltaMemberText{Value: *d.Reasoning.Text}}
	case d.Reasoning != nil && (d.Reasoning.Signature != nil || d.Reasoning.Redacted != nil):
		// Neither is text, and OpenAI's wire has no place for them.
		e.Delta = &types.ContentBlockDeltaMemberReasoningContent{Value: &types.ReasoningContentBlockDeltaMemberSignature{}}
	case d.Citation != nil:
		// It says where a text is from; the text itself comes as text.
		e.Delta = &types.ContentBlockDeltaMemberCitation{}
	default:
		return nil, errContent
	}
	return e, nil
}

type wireStop struct {
	Index *int32 `json:"contentBlockIndex"`
}

func (w *wireStop) event() (*types.ContentBlockStopEvent, error) {
	return &types.ContentBlockStopEvent{ContentBlockIndex: w.Index}, nil
}

type wireEnd struct {
	StopReason types.StopReason `json:"stopReason"`
}

func (w *wireEnd) event() (*types.MessageStopEvent, error) {
	return &types.MessageStopEvent{StopReason: w.StopReason}, nil
}

type wireMetadata struct {
	Usage *struct {
		Input      *int32 `json:"inputTokens"`
		Output     *int32 `json:"outputTokens"`
		CacheRead  *int32 `json:"cacheReadInputTokens"`
		CacheWrite *int32 `json:"cacheWriteInputTokens"`
	} `json:"usage"`
	Tier *struct {
		Type types.ServiceTierType `json:"type"`
	} `json:"serviceTier"`
}

func (w *wireMetadata) event() (*types.ConverseStreamMetadataEvent, error) {
	e := &types.ConverseStreamMetadataEvent{}
	if u := w.Usage; u != nil {
		e.Usage = &types.TokenUsage{
			InputTokens: u.Input, OutputTokens: u.Output,
			CacheReadInputTokens: u.CacheRead, CacheWriteInputTokens: u.CacheWrite,
		}
	}
	if w.Tier != nil {
		e.ServiceTier = &types.ServiceTier{Type: w.Tier.Type}
	}
	return e, nil
}
