package bedrock

import (
	"errors"
	"io"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/bedrockruntime/types"
	"github.com/aws/smithy-go"

	"github.com/postern-ai/postern/shared/chat"
	"github.com/postern-ai/postern/shared/provider"
)

// stream turns the events of one streamed answer into chunks.
type stream struct {
	events frames
	chunk  chat.Chunk // what all chunks have alike

	// said is the last chunk of the choice, whose room the next one takes.
	said    chat.Chunk
	choices [1]chat.ChunkChoice

	// The events of one answer: messageStart; for every block perhaps a start,
	// deltas and a stop; messageStop; metadata.
	started, stopped, counted bool

	// tools are the tool calls so far, in the order that OpenAI numbers them by.
	// The service numbers all blocks of an answer, and texts among them.
	tools []openTool
}

type openTool struct {
	block int32
	spoke bool // any arguments have come
}

// read hands out the chunks until the stream ends, breaks, or nobody wants
// more.
func (s *stream) read(first smithy.Deserializable, yield func(*chat.Chunk, error) bool) {
	event, err := first, error(nil)
	for ; err == nil; event, err = s.events.event() {
		chunk, err := s.next(event)
		if err != nil {
			yield(nil, provider.Interrupted(name, err))
			return
		}
		if chunk != nil && !yield(chunk, nil) {
			return
		}
	}
	if s.counted {
		return // whatever comes after the last event, the answer is complete
	}
	if s.stopped && err == io.EOF {
		return // without usage, but complete
	}
	yield(nil, ended(err))
}

// ended returns why a stream is over before the answer is complete.
func ended(err error) *chat.Error {
	if err == io.EOF {
		return provider.Interrupted(name, provider.ErrIncomplete)
	}
	if reported, ok := errors.AsType[smithy.APIError](err); ok {
		return refusal(reported, 0)
	}
	return provider.Interrupted(name, err)
}

var errOrder = errors.New("the events of the stream are in no order that makes sense")

// next returns the chunk that an event gives, or nil.
func (s *stream) next(event smithy.Deserializable) (*chat.Chunk, error) {
	start, isStart := event.(*types.MessageStartEvent)
	if isStart == s.started {
		return nil, errOrder
	}
	if isStart {
		s.started = true
		return s.begin(start)
	}
	switch e := event.(type) {
	case *types.ContentBlockStartEvent:
		return s.open(e)
	case *types.ContentBlockDeltaEvent:
		return s.add(e)
	case *types.ContentBlockStopEvent:
		return s.close(e)
	case *types.MessageStopEvent:
		s.stopped = true
		reason, err := finish(e.StopReason, len(s.tools))
		if err != nil {
			return nil, err
		}
		return s.say(chat.Delta{}, &reason), nil
	case *types.ConverseStreamMetadataEvent:
		if !s.stopped {
			return nil, errOrder
		}
		s.counted = true
		return s.count(e), nil
	}
	return nil, nil
}

func (s *stream) begin(e *types.MessageStartEvent) (*chat.Chunk, error) {
	if e.Role != types.ConversationRoleAssistant {
		return nil, errOrder
	}
	return s.say(chat.Delta{Role: chat.RoleAssistant, Content: new(string)}, nil), nil
}

// say returns a chunk of the one choice.
func (s *stream) say(delta chat.Delta, finish *string) *chat.Chunk {
	s.choices[0] = chat.ChunkChoice{Delta: delta, FinishReason: finish}
	s.said = s.chunk
	s.said.Choices = s.choices[:]
	return &s.said
}

// call returns a chunk with a part of a tool call.
func (s *stream) call(index int, call chat.ToolCall) *chat.Chunk {
	call.Index = aws.Int64(int64(index))
	return s.say(chat.Delta{ToolCalls: []chat.ToolCall{call}}, nil)
}

func (s *stream) open(e *types.ContentBlockStartEvent) (*chat.Chunk, error) {
	if e.Start == nil {
		return nil, nil
	}
	start, ok := e.Start.(*types.ContentBlockStartMemberToolUse)
	if !ok {
		return nil, errContent
	}
	id, function := aws.ToString(start.Value.ToolUseId), aws.ToString(start.Value.Name)
	if e.ContentBlockIndex == nil || id == "" || function == "" {
		return nil, errCall
	}
	s.tools = append(s.tools, openTool{block: *e.ContentBlockIndex})
	return s.call(len(s.tools)-1, chat.ToolCall{ID: id, Type: "function", Function: &chat.FunctionCall{Name: function}}), nil
}

// tool returns the index of the call that a block holds, or -1.
func (s *stream) tool(block *int32) int {
	if block == nil {
		return -1
	}
	for i := len(s.tools) - 1; i >= 0; i-- {
		if s.tools[i].block == *block {
			return i
		}
	}
	return -1
}

func (s *stream) add(e *types.ContentBlockDeltaEvent) (*chat.Chunk, error) {
	if s.stopped {
		return nil, errOrder
	}
	switch d := e.Delta.(type) {
	case *types.ContentBlockDeltaMemberText:
		return s.say(chat.Delta{Content: &d.Value}, nil), nil
	case *types.ContentBlockDeltaMemberToolUse:
		i, arguments := s.tool(e.ContentBlockIndex), aws.ToString(d.Value.Input)
		if i < 0 {
			return nil, errOrder
		}
		if arguments == "" {
			return nil, nil
		}
		s.tools[i].spoke = true
		return s.call(i, chat.ToolCall{Function: &chat.FunctionCall{Arguments: arguments}}), nil
	case *types.ContentBlockDeltaMemberReasoningContent:
		if text, ok := d.Value.(*types.ReasoningContentBlockDeltaMemberText); ok {
			return s.say(chat.Delta{ReasoningContent: &text.Value}, nil), nil
		}
		return nil, nil
	case *types.ContentBlockDeltaMemberCitation:
		return nil, nil
	}
	return nil, errContent
}

// close completes a call without arguments: clients parse what they have put
// together, and nothing is no JSON.
func (s *stream) close(e *types.ContentBlockStopEvent) (*chat.Chunk, error) {
	i := s.tool(e.ContentBlockIndex)
	if i < 0 || s.tools[i].spoke {
		return nil, nil
	}
	s.tools[i].spoke = true
	return s.call(i, chat.ToolCall{Function: &chat.FunctionCall{Arguments: "{}"}}), nil
}

// count returns the chunk with the usage.
func (s *stream) count(e *types.ConverseStreamMetadataEvent) *chat.Chunk {
	total := usage(e.Usage)
	if total == nil {
		return nil
	}
	chunk := s.chunk
	chunk.Choices, chunk.Usage = []chat.ChunkChoice{}, total
	if e.ServiceTier != nil {
		chunk.ServiceTier = string(e.ServiceTier.Type)
	}
	return &chunk
}
