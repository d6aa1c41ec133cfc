package bedrock

import (
	"bytes"
	"encoding/json"
	"errors"
	"iter"
	"net/http"
	"strings"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/aws/protocol/eventstream"

	"github.com/postern-ai/postern/localdev/fake/brain"
)

// Events are maps, since every one has a member that the model does not list.
type event map[string]any

// eventWriter writes the events of one answer in their order: messageStart;
// for a text deltas and a stop, for a call a start, deltas and a stop;
// messageStop; metadata.
type eventWriter struct {
	w     http.ResponseWriter
	block int
	open  bool // a text block is
	sent  int
}

// converseStream answers piece by piece.
func converseStream(w http.ResponseWriter, r *http.Request, pieces iter.Seq2[brain.Piece, error]) {
	var out *eventWriter
	begin := func() {
		if out == nil {
			w.Header().Set("Content-Type", "application/vnd.amazon.eventstream")
			out = &eventWriter{w: w}
			out.event("messageStart", event{"role": "assistant"})
		}
	}
	for piece, err := range pieces {
		switch {
		case err != nil && isBlocked(err):
			begin()
			out.text(blocked)
			out.end("guardrail_intervened", brain.Usage{})
			return
		case err != nil:
			fail(w, r, out, err)
			return
		}
		begin()
		switch {
		case piece.Call != nil:
			out.call(piece.Call)
		case piece.End != nil:
			out.end(stopReason(piece.End.Finish), piece.End.Usage)
			return
		default:
			out.text(piece.Text)
		}
	}
}

func (o *eventWriter) event(kind string, e event) {
	// The service pads events, so that their size does not give the text away.
	const padding = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
	o.sent++
	e["p"] = padding[:1+o.sent*7%len(padding)]
	o.write(frame(":event-type", kind, e))
}

func (o *eventWriter) write(p []byte) {
	_, _ = o.w.Write(p)
	_ = http.NewResponseController(o.w).Flush()
}

func (o *eventWriter) text(s string) {
	o.open = true
	o.event("contentBlockDelta", event{"contentBlockIndex": o.block, "delta": event{"text": s}})
}

// stop closes the text that is open, if one is.
func (o *eventWriter) stop() {
	if o.open {
		o.event("contentBlockStop", event{"contentBlockIndex": o.block})
		o.open = false
		o.block++
	}
}

func (o *eventWriter) call(c *brain.Call) {
	o.stop()
	o.event("contentBlockStart", event{"contentBlockIndex": o.block, "start": event{"toolUse": event{"toolUseId": c.ID, "name": c.Name}}})
	for _, part := range fragments(c.Arguments) {
		o.event("contentBlockDelta", event{"contentBlockIndex": o.block, "delta": event{"toolUse": event{"input": part}}})
	}
	o.open = true
	o.stop()
}

// fragments cuts arguments as models do: first nothing, then pieces that end
// anywhere. A call without arguments has nothing after the nothing.
func fragments(arguments string) []string {
	parts := []string{""}
	if strings.TrimSpace(arguments) == "{}" {
		return parts
	}
	for len(arguments) > 0 {
		n := min(9, len(arguments))
		for n < len(arguments) && !utf8.RuneStart(arguments[n]) {
			n++
		}
		parts, arguments = append(parts, arguments[:n]), arguments[n:]
	}
	return parts
}

func (o *eventWriter) end(reason string, usage brain.Usage) {
	o.stop()
	o.event("messageStop", event{"stopReason": reason})
	o.event("metadata", event{"usage": counted(usage), "metrics": answerMetrics{1}})
}

// fail does what a prompt asked for, before the stream has begun or within it.
func fail(w http.ResponseWriter, r *http.Request, out *eventWriter, err error) {
	if r.Context().Err() != nil {
		brain.Reset(w) // nobody is there
	}
	fault, ok := errors.AsType[*brain.Fault](err)
	if !ok {
		fault = &brain.Fault{Kind: brain.FaultInStream, Status: http.StatusFailedDependency, Message: "The model failed."}
	}
	if out == nil {
		switch fault.Kind {
		case brain.FaultStatus, brain.FaultReset, brain.FaultHang:
			misbehave(w, r, nil, fault)
			return
		}
		w.Header().Set("Content-Type", "application/vnd.amazon.eventstream")
		out = &eventWriter{w: w}
	}
	next := frame(":event-type", "contentBlockDelta", event{"contentBlockIndex": out.block, "delta": event{"text": "lost"}})
	switch fault.Kind {
	case brain.FaultHang:
		<-r.Context().Done()
		brain.Reset(w)
	case brain.FaultTruncate: // the end, and no messageStop
	case brain.FaultGarbage:
		next[len(next)-1] ^= 0xff // a checksum
		out.write(next)
	case brain.FaultBreak, brain.FaultReset:
		out.write(next[:len(next)/2])
		brain.Reset(w)
	default:
		out.write(frame(":exception-type", exceptionOf(fault.Status), event{"message": fault.Message}))
	}
}

// exceptionOf returns the name of an error within a stream.
func exceptionOf(status int) string {
	switch status {
	case http.StatusBadRequest:
		return "validationException"
	case http.StatusFailedDependency:
		return "modelStreamErrorException"
	case http.StatusTooManyRequests:
		return "throttlingException"
	case http.StatusServiceUnavailable:
		return "serviceUnavailableException"
	}
	return "internalServerException"
}

// frame encodes one message of the event stream.
func frame(header, kind string, e event) []byte {
	payload, err := json.Marshal(e)
	if err != nil {
		panic(err) // the events of this package can all be written
	}
	m := eventstream.Message{Payload: payload}
	m.Headers.Set(header, eventstream.StringValue(kind))
	m.Headers.Set(":content-type", eventstream.StringValue("application/json"))
	m.Headers.Set(":message-type", eventstream.StringValue(strings.TrimSuffix(header[1:], "-type")))
	var out bytes.Buffer
	if err := eventstream.NewEncoder().Encode(&out, m); err != nil {
		panic(err) // as above
	}
	return out.Bytes()
}
