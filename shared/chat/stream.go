package chat

import (
	"bytes"
	"slices"
)

// Bounds on what a stream may begin: OpenAI allows 128 choices, and no model
// makes a thousand calls at once.
const (
	maxStreamChoices = 128
	maxStreamCalls   = 1024
)

// StreamDecoder reads the events of one streamed answer in this wire, as
// OpenAI sends them and as other servers nearly do, and hands out chunks that
// keep what [Chunk] promises: every choice begins with a role and ends with one
// finish reason of OpenAI's, tool calls count up from 0 and begin with id and
// name, every chunk has the frame (id, created, model) of the first, and usage
// comes once, at the end, apart from any choice.
//
// An event that keeps this already is handed out with Wire set to its own
// bytes. Most events of a stream differ from the one before in a text alone;
// these are recognised by their fixed bytes and not parsed again.
//
// The zero value is ready. It is not safe for concurrent use.
type StreamDecoder struct {
	// HoldFinish keeps each finish reason back until the stream ends, for an
	// upstream that may still change it to content_filter after it was sent.
	HoldFinish bool

	out      []*Chunk
	template template
	choices  []choiceState
	framed   bool
	frame    frame
	usage    *Chunk
	done     bool
}

// frame is what all chunks of an answer have in common.
type frame struct {
	id      string
	created int64
	model   string
}

// choiceState is how far one of the answers has come.
type choiceState struct {
	index    int64
	finished bool
	held     *Chunk // its finish chunk, with HoldFinish
	calls    []callState
}

// callState is a tool call as the upstream tells it apart from others.
type callState struct {
	index int64
	id    string
}

// Event reads the data of one event. The chunks, of which there may be none,
// are valid until the next call, and so must data be. A *[Reported] error is
// what the upstream itself reported; any other means that the event cannot be
// understood.
func (d *StreamDecoder) Event(data []byte) ([]*Chunk, error) {
	d.out = d.out[:0]
	if d.done {
		return nil, nil
	}
	if c := d.template.fill(data); c != nil {
		d.out = append(d.out, c)
		return d.out, nil
	}
	switch text := bytes.TrimSpace(data); {
	case len(text) == 0:
		return nil, nil
	case string(text) == "[DONE]":
		return d.finish()
	}
	c := new(Chunk)
	clean, err := decodeLoosely(data, c)
	if err != nil {
		return nil, err
	}
	if reported, ok := reportedIn(c.Unknown); ok {
		return nil, reported
	}
	if len(c.Choices) == 0 && c.Object == objectError {
		return nil, DecodeReported(data)
	}
	// A line break, which JSON may have between its members, would end the
	// event when it is sent.
	if clean && !bytes.ContainsAny(data, "\r\n") {
		c.Wire = data
	}
	steady := d.steady(c)
	if err := d.take(c); err != nil {
		return nil, err
	}
	if steady && len(d.out) == 1 && c.Wire != nil {
		d.template.learn(c, data)
	}
	return d.out, nil
}

// Done reports whether the upstream has sent [DONE].
func (d *StreamDecoder) Done() bool { return d.done }

// End is called when the upstream has closed the stream. It returns the chunks
// that are still due, or [ErrIncomplete].
func (d *StreamDecoder) End() ([]*Chunk, error) {
	d.out = d.out[:0]
	if d.done {
		return nil, nil
	}
	unfinished := func(s choiceState) bool { return !s.finished }
	if len(d.choices) == 0 || slices.ContainsFunc(d.choices, unfinished) {
		return nil, ErrIncomplete
	}
	return d.finish()
}

// finish hands out what was kept back.
func (d *StreamDecoder) finish() ([]*Chunk, error) {
	if len(d.choices) == 0 {
		return nil, ErrIncomplete
	}
	d.done = true
	for i := range d.choices {
		s := &d.choices[i]
		switch {
		case s.held != nil:
			d.out = append(d.out, s.held)
		case !s.finished:
			reason, _ := finishReason("", len(s.calls) > 0)
			c := &Chunk{Choices: []ChunkChoice{{Index: s.index, FinishReason: &reason}}}
			d.emit(c)
		}
	}
	if d.usage != nil {
		d.emit(d.usage)
	}
	return d.out, nil
}

// emit gives a chunk the frame of the answer and hands it out.
func (d *StreamDecoder) emit(c *Chunk) {
	d.fit(c)
	d.out = append(d.out, c)
}

func (d *StreamDecoder) fit(c *Chunk) {
	if !d.framed {
		d.framed, d.frame = true, frame{c.ID, c.Created, c.Model}
	}
	if f := (frame{c.ID, c.Created, c.Model}); f != d.frame || f.id == "" || f.created == 0 || f.model == "" {
		c.ID, c.Created, c.Model, c.Wire = d.frame.id, d.frame.created, d.frame.model, nil
	}
	if c.Object != ObjectChunk {
		c.Object, c.Wire = ObjectChunk, nil
	}
}

// take puts a chunk in order and hands out what of it is due now.
func (d *StreamDecoder) take(c *Chunk) error {
	if c.Usage != nil {
		d.keepUsage(c)
		if len(c.Choices) == 0 {
			return nil
		}
		c.Usage, c.Wire = nil, nil
	}
	if len(c.Choices) == 0 {
		// Some servers send chunks that say nothing, for instance to keep a
		// connection alive. Moderation results do say something.
		if slices.Contains(members(c.Unknown), "moderation") {
			c.Choices = []ChunkChoice{}
			d.emit(c)
		}
		return nil
	}
	due := c.Choices[:0]
	for _, choice := range c.Choices {
		keep, err := d.choice(c, &choice)
		if err != nil {
			return err
		}
		if keep {
			due = append(due, choice)
		} else {
			c.Wire = nil
		}
	}
	if c.Choices = due; len(due) > 0 {
		d.emit(c)
		d.hold(c)
	}
	return nil
}

// keepUsage remembers the latest count. Its own bytes are kept if it came as
// the API says, in a chunk without choices.
func (d *StreamDecoder) keepUsage(c *Chunk) {
	kept := *c
	kept.Choices = []ChunkChoice{}
	if !c.Usage.mend() || c.Choices == nil {
		kept.Wire = nil
	}
	if len(c.Choices) > 0 {
		kept.Wire, kept.Unknown = nil, nil
	}
	kept.Wire = kept.Wire.Clone()
	d.usage = &kept
}

// choice puts a choice in order and reports whether anything of it is left.
func (d *StreamDecoder) choice(c *Chunk, choice *ChunkChoice) (keep bool, err error) {
	reason, err := choice.finish(c)
	if err != nil {
		return false, err
	}
	i := slices.IndexFunc(d.choices, func(s choiceState) bool { return s.index == choice.Index })
	if i >= 0 && d.choices[i].finished {
		d.choices[i].revise(reason)
		return false, nil
	}
	if i >= 0 && choice.Delta.Role != "" {
		// Ollama and others repeat it, and clients that add texts up would make
		// "assistantassistant" of it.
		choice.Delta.Role, c.Wire = "", nil
	}
	if choice.lacksDelta(c.Wire) {
		c.Wire = nil
	}
	if choice.isEmpty() {
		return false, nil
	}
	if i < 0 {
		if choice.Index < 0 || len(d.choices) == maxStreamChoices {
			return false, errTooMany
		}
		i = len(d.choices)
		d.choices = append(d.choices, choiceState{index: choice.Index})
		if choice.Delta.Role == "" {
			choice.Delta.Role, c.Wire = RoleAssistant, nil
		}
	}
	s := &d.choices[i]
	for j := range choice.Delta.ToolCalls {
		if err := s.call(c, &choice.Delta.ToolCalls[j]); err != nil {
			return false, err
		}
	}
	if choice.FinishReason == nil {
		return true, nil
	}
	if !IsFinishReason(reason) {
		if reason, err = finishReason(reason, len(s.calls) > 0); err != nil {
			return false, err
		}
		choice.FinishReason, c.Wire = &reason, nil
	}
	s.finished = true
	d.template.forget()
	return true, nil
}

// finish returns the finish reason. An empty one is none.
func (c *ChunkChoice) finish(chunk *Chunk) (string, error) {
	if c.FinishReason == nil {
		return "", nil
	}
	reason := *c.FinishReason
	if reason == "" {
		c.FinishReason, chunk.Wire = nil, nil
	}
	return reason, nil
}

// isEmpty reports whether the choice says nothing. What Azure notes about the
// content filter beside an empty delta does not count: clients of the OpenAI
// API do not expect chunks of it.
func (c *ChunkChoice) isEmpty() bool {
	d := &c.Delta
	return c.FinishReason == nil && !isSet(c.Logprobs) && d.Role == "" && d.Content == nil && d.Refusal == nil &&
		d.ReasoningContent == nil && len(d.ToolCalls) == 0 && len(members(d.Unknown)) == 0
}

// lacksDelta reports whether a choice has no delta in the bytes that it came in,
// not even an empty one. Clients look into it unasked.
func (c *ChunkChoice) lacksDelta(wire []byte) bool {
	empty := *c
	empty.FinishReason, empty.Logprobs = nil, nil
	return empty.isEmpty() && !bytes.Contains(wire, []byte(`"delta":{`)) && !bytes.Contains(wire, []byte(`"delta": {`))
}

// revise takes a finish reason that comes after the choice was finished. Only
// the content filter may come late.
func (s *choiceState) revise(reason string) {
	if s.held == nil || reason != FinishContentFilter {
		return
	}
	s.held.Choices[0].FinishReason, s.held.Wire = &reason, nil
}

// call puts a tool call in order: its index, and what it begins with.
func (s *choiceState) call(c *Chunk, call *ToolCall) error {
	named := call.Function != nil && call.Function.Name != "" || call.Custom != nil
	at := s.find(call, named)
	if at < 0 {
		if len(s.calls) == maxStreamCalls {
			return errTooMany
		}
		at = len(s.calls)
		if !call.begin() {
			c.Wire = nil
		}
		state := callState{index: int64(at), id: call.ID}
		if call.Index != nil {
			state.index = *call.Index
		}
		s.calls = append(s.calls, state)
	} else if call.ID != "" || call.Type != "" || named && call.Function != nil {
		// Some servers repeat these on every delta, and clients that add texts
		// up would add up these too.
		call.ID, call.Type, c.Wire = "", "", nil
		if call.Function != nil {
			call.Function.Name = ""
		}
	}
	if index := int64(at); call.Index == nil || *call.Index != index {
		call.Index, c.Wire = &index, nil
	}
	return nil
}

// find returns which of the calls a delta belongs to, or -1 if it begins a new
// one. Some servers give no index, and some give parallel calls the same one.
func (s *choiceState) find(call *ToolCall, named bool) int {
	for i, known := range slices.Backward(s.calls) {
		switch {
		case call.ID != "" && call.ID == known.id:
			return i
		case call.ID != "" && named:
			continue // another id and a name: another call, whatever its index
		case call.Index == nil || *call.Index == known.index:
			if call.Index == nil && named {
				return -1
			}
			return i
		}
	}
	return -1
}

// hold keeps back a finish chunk that was just handed out. What comes with the
// finish reason goes out without it.
func (d *StreamDecoder) hold(c *Chunk) {
	if !d.HoldFinish {
		return
	}
	for i := range c.Choices {
		choice := &c.Choices[i]
		if choice.FinishReason == nil {
			continue
		}
		s := &d.choices[slices.IndexFunc(d.choices, func(s choiceState) bool { return s.index == choice.Index })]
		kept := *c
		if len(c.Choices) == 1 {
			kept.Wire = kept.Wire.Clone()
		} else {
			kept.Wire = nil
		}
		kept.Choices = []ChunkChoice{*choice}
		s.held = &kept
		choice.FinishReason, c.Wire = nil, nil
		if choice.isEmpty() {
			continue
		}
		kept.Choices[0].Delta, kept.Choices[0].Logprobs, kept.Wire = Delta{}, nil, nil
	}
	if !slices.ContainsFunc(c.Choices, func(c ChunkChoice) bool { return !c.isEmpty() }) {
		d.out = d.out[:len(d.out)-1]
	}
}

// steady reports whether a chunk is one of those that a stream mainly consists
// of: one choice that has begun, and nothing but text in it.
func (d *StreamDecoder) steady(c *Chunk) bool {
	if c.Wire == nil || c.Usage != nil || len(c.Choices) != 1 {
		return false
	}
	choice := &c.Choices[0]
	begun := slices.ContainsFunc(d.choices, func(s choiceState) bool { return s.index == choice.Index && !s.finished })
	if !begun || choice.FinishReason != nil || isSet(choice.Logprobs) {
		return false
	}
	calls := choice.Delta.ToolCalls
	return len(calls) == 0 || len(calls) == 1 && calls[0].ID == "" && calls[0].Function != nil && calls[0].Function.Name == ""
}
