package anthropic

import (
	"errors"
	"fmt"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/postern-ai/postern/shared/chat"
	"github.com/postern-ai/postern/shared/provider"
	"github.com/postern-ai/postern/shared/sse"
)

// event is any event of a stream, as far as it is used here.
type event struct {
	Type      string    `json:"type"`
	Message   *response `json:"message"`       // message_start
	Block     *piece    `json:"content_block"` // content_block_start
	Index     int64     `json:"index"`         // content_block_*
	Delta     delta     `json:"delta"`         // content_block_delta, message_delta
	Usage     *usage    `json:"usage"`         // message_delta
	Error     *reported `json:"error"`         // error, as the next
	RequestID string    `json:"request_id"`
}

type delta struct {
	Type        string  `json:"type"`
	Text        string  `json:"text"`
	Thinking    string  `json:"thinking"`
	Signature   string  `json:"signature"`
	PartialJSON string  `json:"partial_json"`
	StopReason  string  `json:"stop_reason"`
	StopDetail  *detail `json:"stop_details"`
}

// stream reads the events of one answer: message_start; for every block a
// start, deltas and a stop, one block after the other; message_delta;
// message_stop.
type stream struct {
	out     []*chat.Chunk
	made    []*emitted // memory for chunks, as many as an event ever gave
	frame   chat.Chunk // what all chunks have alike
	usage   usage
	open    *openBlock
	calls   int
	pending thoughts
	keep    bool // thoughts may be needed for a call
	reason  string

	begun, stopped bool
}

// openBlock is the block that the stream is in.
type openBlock struct {
	piece
	index  int64
	spoke  bool   // some of a call's arguments have come
	thinks []byte // what was thought, if it is kept
}

// Decoder implements [provider.Dialect].
func (d *dialect) Decoder(req *chat.Request) provider.Decoder {
	return &stream{keep: len(req.Tools) > 0}
}

var errOrder = errors.New("the events of the stream are in no order that makes sense")

// Event implements [provider.Decoder]. Events of an unknown type are passed
// over, as Anthropic's versioning policy asks for.
func (s *stream) Event(e sse.Event) ([]*chat.Chunk, error) {
	s.out = s.out[:0]
	if s.stopped || e.Name == "ping" {
		return nil, nil
	}
	var v event
	// The gateway's own encoder would find an invalid text; a repeated name does
	// no harm here, and looking for one costs as much as decoding.
	if err := json.Unmarshal(e.Data, &v, jsontext.AllowDuplicateNames(true)); err != nil {
		return nil, fmt.Errorf("decode an event: %w", err)
	}
	err := s.take(&v)
	return s.out, err
}

func (s *stream) take(v *event) error {
	switch v.Type {
	case "error":
		if v.Error == nil {
			v.Error = new(reported)
		}
		return v.Error.fault(0, v.RequestID)
	case "message_start":
		return s.begin(v.Message)
	case "content_block_start", "content_block_delta", "content_block_stop", "message_delta", "message_stop":
	default:
		return nil
	}
	if !s.begun {
		return errOrder
	}
	switch v.Type {
	case "content_block_start":
		return s.start(v)
	case "content_block_delta":
		if s.open == nil || s.open.index != v.Index {
			return errOrder
		}
		return s.add(&v.Delta)
	case "content_block_stop":
		if s.open == nil || s.open.index != v.Index {
			return errOrder
		}
		return s.close()
	case "message_delta":
		return s.end(v)
	}
	if s.reason == "" {
		return errOrder
	}
	s.stopped = true
	if total := s.usage.chat(); total != nil {
		last := s.frame
		last.Choices, last.Usage = []chat.ChunkChoice{}, total
		s.out = append(s.out, &last)
	}
	return nil
}

func (s *stream) begin(m *response) error {
	if s.begun || m == nil {
		return errOrder
	}
	s.begun = true
	s.frame = chat.Chunk{ID: m.ID, Model: m.Model, ServiceTier: tierOf(m.Usage.ServiceTier)}
	s.usage = m.Usage
	s.emit().Delta = chat.Delta{Role: chat.RoleAssistant, Content: new("")}
	return nil
}

func (s *stream) start(v *event) error {
	if s.open != nil || s.reason != "" || v.Block == nil {
		return errOrder
	}
	s.open = &openBlock{piece: *v.Block, index: v.Index}
	switch b := s.open; b.Type {
	case blockText:
		s.text(b.Text)
	case blockThinking:
		s.think(b.Thinking)
	case blockRedacted:
	case blockToolUse:
		if b.ID == "" || b.Name == "" {
			return errCall
		}
		call := chat.ToolCall{ID: b.ID, Type: "function", Function: &chat.FunctionCall{Name: b.Name}, ExtraContent: s.pending.take()}
		s.calls++
		s.call(call)
	default:
		return errBlock
	}
	return nil
}

// add passes on a delta of the open block. One of an unknown type belongs to
// something beside the answer, as citations do.
func (s *stream) add(d *delta) error {
	b := s.open
	switch {
	case d.Type == "text_delta" && b.Type == blockText:
		s.text(d.Text)
	case d.Type == "thinking_delta" && b.Type == blockThinking:
		if s.think(d.Thinking); len(b.thinks) > maxThoughts {
			return errThoughts
		}
	case d.Type == "signature_delta" && b.Type == blockThinking:
		b.Signature += d.Signature
		if len(b.Signature) > maxThoughts {
			return errThoughts
		}
	case d.Type == "input_json_delta" && b.Type == blockToolUse:
		if d.PartialJSON != "" {
			b.spoke = true
			s.call(chat.ToolCall{Function: &chat.FunctionCall{Arguments: d.PartialJSON}})
		}
	case d.Type == "text_delta", d.Type == "thinking_delta", d.Type == "input_json_delta":
		return errOrder
	}
	return nil
}

func (s *stream) text(t string) {
	if t != "" {
		s.emit().Delta.Content = &t
	}
}

func (s *stream) think(t string) {
	if t == "" {
		return
	}
	s.emit().Delta.ReasoningContent = &t
	if s.keep {
		s.open.thinks = append(s.open.thinks, t...)
	}
}

// call adds a chunk with a part of the last call.
func (s *stream) call(c chat.ToolCall) {
	c.Index = new(int64(s.calls - 1))
	s.emit().Delta.ToolCalls = []chat.ToolCall{c}
}

// close ends the open block. A call whose arguments came with its start, or that
// has none, is completed: clients parse what they have put together, and
// nothing is no JSON.
func (s *stream) close() error {
	b := s.open
	s.open = nil
	switch {
	case b.Type == blockToolUse && !b.spoke:
		arguments, err := b.arguments()
		if err != nil {
			return err
		}
		s.call(chat.ToolCall{Function: &chat.FunctionCall{Arguments: arguments}})
	case b.Type == blockThinking && s.keep:
		return s.pending.add(thought{Type: b.Type, Thinking: new(string(b.thinks)), Signature: b.Signature})
	case b.Type == blockRedacted && s.keep:
		return s.pending.add(thought{Type: b.Type, Data: b.Data})
	}
	return nil
}

// end takes what is known at the end of an answer. The event may come more than
// once, with the reason in one of them.
func (s *stream) end(v *event) error {
	if v.Usage != nil {
		s.usage.update(v.Usage)
	}
	if v.Delta.StopReason == "" || s.reason != "" {
		return nil
	}
	finish, err := finishOf(v.Delta.StopReason, s.calls)
	if err != nil {
		return err
	}
	s.reason = v.Delta.StopReason
	if d := v.Delta.StopDetail; d != nil && d.Explanation != "" {
		s.emit().Delta.Refusal = &d.Explanation
	}
	s.emit().FinishReason = &finish
	return nil
}

// Done implements [provider.Decoder].
func (s *stream) Done() bool { return s.stopped }

// End implements [provider.Decoder].
func (s *stream) End() ([]*chat.Chunk, error) {
	if !s.stopped {
		return nil, provider.ErrIncomplete
	}
	return nil, nil
}

// emitted is a chunk and its only choice.
type emitted struct {
	chunk  chat.Chunk
	choice [1]chat.ChunkChoice
}

// emit adds a chunk and returns its only choice.
func (s *stream) emit() *chat.ChunkChoice {
	for len(s.made) <= len(s.out) {
		s.made = append(s.made, &emitted{})
	}
	c := s.made[len(s.out)]
	*c = emitted{chunk: s.frame}
	c.chunk.Choices = c.choice[:]
	s.out = append(s.out, &c.chunk)
	return &c.choice[0]
}
