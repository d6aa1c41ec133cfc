package anthropic

import (
	"errors"
	"fmt"
	"iter"
	"net/http"
	"strings"
	"unicode/utf8"

	"github.com/postern-ai/postern/localdev/fake/brain"
)

// eventWriter writes the events of one answer in their order: message_start;
// for every block a start, deltas and a stop; message_delta; message_stop.
type eventWriter struct {
	*answering
	w      http.ResponseWriter
	index  int  // of the block
	open   bool // a text block is
	pinged bool
}

// stream answers piece by piece.
func (a *answering) stream(w http.ResponseWriter, r *http.Request, pieces iter.Seq2[brain.Piece, error]) *failure {
	var out *eventWriter
	begin := func() {
		if out == nil {
			out = &eventWriter{answering: a, w: w}
			out.begin()
		}
	}
	for piece, err := range pieces {
		switch {
		case err != nil && isBlocked(err):
			begin()
			out.end(brain.End{Finish: brain.Filter, Usage: brain.Usage{Prompt: 1}}, declined)
			return nil
		case err != nil && out == nil:
			if f, done := a.failEarly(w, r, err); done {
				return f
			}
			begin()
			out.fail(r, err)
			return nil
		case err != nil:
			out.fail(r, err)
			return nil
		}
		begin()
		switch {
		case piece.Call != nil:
			out.call(piece.Call)
		case piece.End != nil:
			out.end(*piece.End, nil)
			return nil
		default:
			out.text(piece.Text)
		}
	}
	return nil
}

func (o *eventWriter) event(kind string, e object) {
	e["type"] = kind
	o.raw(fmt.Sprintf("event: %s\ndata: %s\n\n", kind, encode(e)))
}

func (o *eventWriter) raw(text string) {
	_, _ = o.w.Write([]byte(text))
	_ = http.NewResponseController(o.w).Flush()
}

// begin sends what comes before the first word, which tells the tokens of the
// prompt as far as they are known, and what the model thinks.
func (o *eventWriter) begin() {
	o.w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
	o.w.Header().Set("Cache-Control", "no-cache")
	message := o.frame()
	message["usage"] = o.billed(brain.Usage{Prompt: 1, Completion: 1})
	o.event("message_start", object{"message": message})
	text, signed, ok := o.thoughts()
	if !ok {
		return
	}
	o.start(object{"type": "thinking", "thinking": "", "signature": ""})
	for _, part := range fragments(text) {
		o.delta(object{"type": "thinking_delta", "thinking": part})
	}
	o.delta(object{"type": "signature_delta", "signature": signed})
	o.stop()
}

func (o *eventWriter) start(block object) {
	o.event("content_block_start", object{"index": o.index, "content_block": block})
	o.open = true
	if !o.pinged {
		o.pinged = true
		o.event("ping", object{})
	}
}

func (o *eventWriter) delta(d object) {
	o.event("content_block_delta", object{"index": o.index, "delta": d})
}

// stop closes the block that is open, if one is.
func (o *eventWriter) stop() {
	if o.open {
		o.event("content_block_stop", object{"index": o.index})
		o.open = false
		o.index++
	}
}

func (o *eventWriter) text(s string) {
	if !o.open {
		o.start(object{"type": "text", "text": "", "citations": nil})
	}
	o.delta(object{"type": "text_delta", "text": s})
}

func (o *eventWriter) call(c *brain.Call) {
	o.stop()
	o.start(object{"type": "tool_use", "id": callID(c.ID), "name": c.Name, "input": object{}, "caller": object{"type": "direct"}})
	o.delta(object{"type": "input_json_delta", "partial_json": ""})
	if strings.TrimSpace(c.Arguments) != "{}" {
		for _, part := range fragments(c.Arguments) {
			o.delta(object{"type": "input_json_delta", "partial_json": part})
		}
	}
	o.stop()
}

// fragments cuts a text as models do, anywhere between characters.
func fragments(text string) []string {
	var parts []string
	for len(text) > 0 {
		n := min(9, len(text))
		for n < len(text) && !utf8.RuneStart(text[n]) {
			n++
		}
		parts, text = append(parts, text[:n]), text[n:]
	}
	return parts
}

func (o *eventWriter) end(end brain.End, explanation any) {
	o.stop()
	o.event("message_delta", object{
		"delta": object{"stop_reason": stopReason(end.Finish), "stop_sequence": nil, "stop_details": explained(end.Finish, explanation), "container": nil},
		"usage": o.counted(end.Usage),
	})
	o.event("message_stop", object{})
}

// failEarly does what a prompt asked for where nothing was sent yet, and reports
// whether that was all.
func (a *answering) failEarly(w http.ResponseWriter, r *http.Request, err error) (*failure, bool) {
	if r.Context().Err() != nil {
		brain.Reset(w) // nobody is there
	}
	fault, ok := errors.AsType[*brain.Fault](err)
	if !ok {
		return ofStatus(http.StatusInternalServerError, "Internal server error"), true
	}
	switch fault.Kind {
	case brain.FaultStatus, brain.FaultReset, brain.FaultHang:
		return misbehave(w, r, nil, fault), true
	}
	return nil, false
}

// fail does what a prompt asked for within the stream.
func (o *eventWriter) fail(r *http.Request, err error) {
	if r.Context().Err() != nil {
		brain.Reset(o.w) // nobody is there
	}
	fault, ok := errors.AsType[*brain.Fault](err)
	if !ok {
		fault = &brain.Fault{Kind: brain.FaultInStream, Status: http.StatusInternalServerError, Message: "Internal server error"}
	}
	switch fault.Kind {
	case brain.FaultHang:
		<-r.Context().Done()
		brain.Reset(o.w)
	case brain.FaultTruncate: // the end, and no message_stop
	case brain.FaultGarbage:
		o.raw("event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\"\n\n")
	case brain.FaultBreak, brain.FaultReset:
		o.raw("event: content_block_delta\ndata: {\"type\":")
		brain.Reset(o.w)
	default:
		o.event("error", ofStatus(fault.Status, fault.Message).body(o.requestID))
	}
}
