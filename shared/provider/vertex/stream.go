package vertex

import (
	"bytes"
	"errors"
	"net/http"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/postern-ai/postern/shared/chat"
	"github.com/postern-ai/postern/shared/provider"
	"github.com/postern-ai/postern/shared/sse"
)

// maxCandidates bounds the indexes of candidates that a stream may use. The API
// gives at most eight.
const maxCandidates = 128

// stream reads the events of one answer, each a response of its own that adds
// to the ones before it.
type stream struct {
	out     []*chat.Chunk
	made    []*emitted // memory for chunks, as many as an event ever gave
	frame   chat.Chunk // what all chunks have alike, fixed by the first event
	begun   bool
	choices []choiceState
	blocked bool
	usage   jsontext.Value // the last metadata that counted something

	event response // memory for the event at hand
}

// choiceState is what is known of a candidate so far.
type choiceState struct {
	begun  bool
	calls  int
	reason string // why it ended; Google may say so long before the last event
}

// Decoder implements [provider.Dialect].
func (d *dialect) Decoder(*chat.Request) provider.Decoder { return &stream{} }

// Event implements [provider.Decoder].
func (s *stream) Event(e sse.Event) ([]*chat.Chunk, error) {
	s.out = s.out[:0]
	// An error may come in the array that a stream without alt=sse is.
	if bytes.HasPrefix(bytes.TrimLeft(e.Data, " \t"), []byte("[")) {
		var list []response
		if err := json.Unmarshal(e.Data, &list); err != nil {
			return nil, unreadable(err)
		}
		for i := range list {
			if err := s.add(&list[i]); err != nil {
				return s.out, err
			}
		}
		return s.out, nil
	}
	s.event.reset()
	// A repeated name does no harm here, and looking for one takes time.
	if err := json.Unmarshal(e.Data, &s.event, jsontext.AllowDuplicateNames(true)); err != nil {
		return nil, unreadable(err)
	}
	err := s.add(&s.event)
	return s.out, err
}

func (s *stream) add(r *response) error {
	if r.Error != nil {
		code := r.Error.Code
		if code < 400 || code > 599 {
			code = http.StatusInternalServerError
		}
		return r.Error.fault(code)
	}
	if !s.begun {
		s.begun = true
		s.frame.ID, s.frame.Model, s.frame.Created = r.frame()
	}
	if counts(r.UsageMetadata) {
		s.usage = append(s.usage[:0], r.UsageMetadata...) // totals so far, never additions
	}
	if r.PromptFeedback != nil && r.PromptFeedback.BlockReason != "" {
		s.blocked = true
	}
	for i := range r.Candidates {
		if err := s.candidate(&r.Candidates[i]); err != nil {
			return err
		}
	}
	return nil
}

func (s *stream) candidate(c *candidate) error {
	if c.Index < 0 || c.Index >= maxCandidates {
		return errors.New("a candidate has an impossible index")
	}
	for int64(len(s.choices)) <= c.Index {
		s.choices = append(s.choices, choiceState{})
	}
	state := &s.choices[c.Index]
	if !state.begun {
		state.begun = true
		s.emit(c.Index).Delta = chat.Delta{Role: chat.RoleAssistant, Content: new("")}
	}
	if c.FinishReason != "" {
		state.reason = c.FinishReason
	}
	marks := c.LogprobsResult.chat()
	for i := range c.Content.Parts {
		p := &c.Content.Parts[i]
		switch {
		case p.foreign():
			return foreignPart()
		case p.FunctionCall != nil:
			if err := s.call(p, c.Index); err != nil {
				return err
			}
		case p.Text == "":
		case p.Thought:
			s.emit(c.Index).Delta.ReasoningContent = new(p.Text)
		default:
			choice := s.emit(c.Index)
			choice.Delta.Content = new(p.Text)
			choice.Logprobs, marks = marks, nil
		}
	}
	if marks != nil {
		choice := s.emit(c.Index)
		choice.Delta.Content, choice.Logprobs = new(""), marks
	}
	return nil
}

// call gives the chunk that opens a tool call and the one with its arguments,
// which come whole.
func (s *stream) call(p *piece, candidate int64) error {
	state := &s.choices[candidate]
	call, err := p.call(s.frame.ID, candidate, state.calls)
	if err != nil {
		return err
	}
	call.Index = new(int64(state.calls))
	state.calls++
	arguments := chat.ToolCall{Index: call.Index, Function: &chat.FunctionCall{Arguments: call.Function.Arguments}}
	call.Function.Arguments = ""
	s.emit(candidate).Delta.ToolCalls = []chat.ToolCall{call}
	s.emit(candidate).Delta.ToolCalls = []chat.ToolCall{arguments}
	return nil
}

// Done implements [provider.Decoder]. Google ends an answer by ending the stream.
func (s *stream) Done() bool { return false }

// End implements [provider.Decoder]. Only now is it certain that no candidate
// says more: Gemini 3 sends a function call in one event and that it has
// stopped in a later one.
func (s *stream) End() ([]*chat.Chunk, error) {
	s.out = s.out[:0]
	if len(s.choices) == 0 {
		if !s.blocked {
			return nil, provider.ErrIncomplete
		}
		s.emit(0).Delta = chat.Delta{Role: chat.RoleAssistant, Content: new("")}
		s.emit(0).FinishReason = new(chat.FinishContentFilter)
	}
	for i := range s.choices {
		state := &s.choices[i]
		if !state.begun {
			continue
		}
		if state.reason == "" && s.blocked {
			state.reason = "SAFETY"
		}
		if state.reason == "" {
			return nil, provider.ErrIncomplete
		}
		finish, err := finishOf(state.reason, state.calls > 0)
		if err != nil {
			return nil, err
		}
		s.emit(int64(i)).FinishReason = &finish
	}
	usage, err := countOf(s.usage)
	if err != nil {
		return nil, err
	}
	if usage != nil {
		last := s.frame
		last.Choices, last.Usage = []chat.ChunkChoice{}, usage
		s.out = append(s.out, &last)
	}
	return s.out, nil
}

// emitted is a chunk and its only choice.
type emitted struct {
	chunk  chat.Chunk
	choice [1]chat.ChunkChoice
}

// emit adds a chunk for a candidate and returns its only choice.
func (s *stream) emit(index int64) *chat.ChunkChoice {
	for len(s.made) <= len(s.out) {
		s.made = append(s.made, &emitted{})
	}
	c := s.made[len(s.out)]
	c.choice[0] = chat.ChunkChoice{Index: index}
	c.chunk = s.frame
	c.chunk.Choices = c.choice[:]
	s.out = append(s.out, &c.chunk)
	return &c.choice[0]
}
