package vertex

import (
	"cmp"
	"errors"
	"net/http"

	"github.com/postern-ai/postern/localdev/fake/brain"
)

// streaming writes the responses of a stream as they come: events with CR and
// LF, or the elements of an array without alt=sse.
type streaming struct {
	*answering
	w     http.ResponseWriter
	sent  int
	usage brain.Usage // so far, as far as a brain's pieces tell
}

// stream answers piece by piece. There is no marker at the end.
func (a *answering) stream(w http.ResponseWriter, r *http.Request, b brain.Brain) *failure {
	s := &streaming{answering: a, w: w, usage: brain.Usage{Prompt: 1}}
	for p, err := range b.Answer(r.Context(), a.prompt) {
		if err != nil {
			return s.fail(r, err)
		}
		s.piece(p)
	}
	if !a.t.sse {
		flush(w, []byte("\n]\n"))
	}
	return nil
}

func (s *streaming) piece(p brain.Piece) {
	switch {
	case p.End != nil:
		s.end(p.End)
	case p.Call != nil:
		s.usage.Completion++
		s.send(s.each(candidate{Content: &said{Role: "model", Parts: []piece{s.call(p.Call)}}}, s.soFar()))
	default:
		s.usage.Completion++
		part, logprobs := s.text(p.Text)
		s.send(s.each(candidate{Content: &said{Role: "model", Parts: []piece{part}}, LogprobsResult: logprobs}, s.soFar()))
	}
}

// end sends why the answer ended, by itself, as Gemini 3 does after a call. An
// answer in words is signed in this last, empty part.
func (s *streaming) end(end *brain.End) {
	if thoughts := s.thoughts(end.Usage.Reasoning); thoughts != nil {
		s.send(s.each(candidate{Content: &said{Role: "model", Parts: thoughts}}, s.soFar()))
	}
	c := s.ending(end.Finish)
	last := piece{Text: new("")}
	if s.model.three() && s.calls == 0 {
		last.ThoughtSignature = signature(s.seed, 0)
	}
	if end.Finish != brain.Filter {
		c.Content = &said{Role: "model", Parts: []piece{last}}
	}
	s.send(s.each(c, s.counted(end.Usage)))
}

// soFar returns the counts up to here. The service sends the kind of traffic
// alone with the first event.
func (s *streaming) soFar() usage {
	if s.sent == 0 {
		return usage{TrafficType: "ON_DEMAND"}
	}
	u := s.counted(s.usage)
	u.PromptTokensDetails, u.CandidatesTokensDetails = nil, nil
	return u
}

func (s *streaming) send(v any) {
	if s.t.sse {
		s.raw("data: " + string(event(v)) + "\r\n\r\n")
		return
	}
	opening := ",\n"
	if s.sent == 0 {
		opening = "["
	}
	s.raw(opening + string(pretty(v)))
}

func (s *streaming) raw(text string) {
	if s.sent == 0 {
		kind := contentJSON
		if s.t.sse {
			kind = "text/event-stream"
		}
		s.w.Header().Set("Content-Type", kind)
	}
	s.sent++
	flush(s.w, []byte(text))
}

// fail ends a stream as its brain demands, with a status as long as nothing has
// been sent.
func (s *streaming) fail(r *http.Request, err error) *failure {
	f, ok := errors.AsType[*brain.Fault](err)
	if !ok {
		f = &brain.Fault{Status: http.StatusInternalServerError, Message: "Internal error encountered.", Kind: brain.FaultInStream}
	}
	if isBlocked(f) {
		s.send(s.blocked())
		return nil
	}
	switch f.Kind {
	case brain.FaultReset, brain.FaultBreak:
		brain.Reset(s.w)
	case brain.FaultHang:
		<-r.Context().Done()
	case brain.FaultTruncate:
	case brain.FaultGarbage:
		s.raw("data: {\"candidates\": [{\"content\": <unreadable>\r\n\r\n")
	default:
		e := asked(&brain.Fault{Status: cmp.Or(f.Status, 500), Message: f.Message, RetryAfter: f.RetryAfter})
		if s.sent == 0 {
			return e
		}
		s.send(errorBody{rpcStatus{Code: e.status, Message: e.message, Status: canonical(e.status), Details: e.details}})
	}
	return nil
}
