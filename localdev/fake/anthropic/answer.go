package anthropic

import (
	"encoding/json"
	"errors"
	"iter"
	"net/http"
	"strconv"
	"strings"

	"github.com/postern-ai/postern/localdev/fake/brain"
)

// object is JSON whose members are not worth a type.
type object = map[string]any

// answering is one request while it is answered.
type answering struct {
	*request
	model     Model
	id        string
	requestID string
}

// frame is a message without what it says.
func (a *answering) frame() object {
	return object{
		"id": a.id, "type": "message", "role": "assistant", "model": a.model.ID, "content": []any{},
		"stop_reason": nil, "stop_sequence": nil, "stop_details": nil, "container": nil, "diagnostics": nil,
	}
}

// counted tells the tokens of a prompt that were cached, or that are put into
// the cache, apart from the others, as the API does.
func (a *answering) counted(u brain.Usage) object {
	written := 0
	if u.Cached == 0 && len(a.marks()) > 0 {
		written = u.Prompt / 2
	}
	return object{
		"input_tokens": u.Prompt - u.Cached - written, "output_tokens": u.Completion,
		"cache_read_input_tokens": u.Cached, "cache_creation_input_tokens": written,
		"output_tokens_details": object{"thinking_tokens": u.Reasoning}, "server_tool_use": nil,
	}
}

// billed is the usage of a whole message, which says more than that of its end.
func (a *answering) billed(u brain.Usage) object {
	usage := a.counted(u)
	usage["cache_creation"] = object{"ephemeral_5m_input_tokens": usage["cache_creation_input_tokens"], "ephemeral_1h_input_tokens": 0}
	usage["service_tier"], usage["inference_geo"], usage["speed"] = "standard", "not_available", "standard"
	return usage
}

func stopReason(f brain.Finish) string {
	switch f {
	case brain.Length:
		return "max_tokens"
	case brain.Tools:
		return "tool_use"
	case brain.Filter:
		return "refusal"
	}
	return "end_turn"
}

// explained are the details of an end; only a refusal has some.
func explained(f brain.Finish, explanation any) any {
	if f != brain.Filter {
		return nil
	}
	return object{"type": "refusal", "category": nil, "explanation": explanation}
}

// declined is what a classifier says of a prompt that is not answered.
const declined = "This request was declined by the model's safeguards."

// isBlocked reports whether a fault is that of a prompt which is not to be
// answered. The API has no error for that.
func isBlocked(err error) bool {
	f, ok := errors.AsType[*brain.Fault](err)
	return ok && f.Kind == brain.FaultStatus && f.Message == brain.BlockedPrompt
}

// thoughts returns what the model thinks before it answers, if it does.
func (a *answering) thoughts() (text, signed string, thinks bool) {
	if !a.thinks(a.model) {
		return "", "", false
	}
	if a.shows(a.model) {
		text = "Let me think about this."
	}
	return text, signature(a.model.ID, text), true
}

func callID(id string) string { return "toolu_" + strings.TrimPrefix(id, "call_") }

// whole answers at once.
func (a *answering) whole(w http.ResponseWriter, r *http.Request, pieces iter.Seq2[brain.Piece, error]) *failure {
	answer, err := brain.Collect(pieces)
	if r.Context().Err() != nil {
		brain.Reset(w) // nobody is there
	}
	body := a.frame()
	if isBlocked(err) {
		body["stop_reason"], body["stop_details"] = "refusal", explained(brain.Filter, declined)
		body["usage"] = a.billed(brain.Usage{Prompt: 1})
		reply(w, http.StatusOK, body)
		return nil
	}
	body["content"], body["stop_reason"] = a.contentOf(answer), stopReason(answer.End.Finish)
	body["stop_details"], body["usage"] = explained(answer.End.Finish, nil), a.billed(answer.End.Usage)
	if err == nil {
		reply(w, http.StatusOK, body)
		return nil
	}
	fault, ok := errors.AsType[*brain.Fault](err)
	if !ok {
		return ofStatus(http.StatusInternalServerError, "Internal server error")
	}
	return misbehave(w, r, encode(body), fault)
}

func (a *answering) contentOf(answer brain.Answer) []any {
	blocks := []any{}
	if text, signed, ok := a.thoughts(); ok {
		blocks = append(blocks, object{"type": "thinking", "thinking": text, "signature": signed})
	}
	if answer.Text != "" {
		blocks = append(blocks, object{"type": "text", "text": answer.Text, "citations": nil})
	}
	for _, c := range answer.Calls {
		blocks = append(blocks, object{
			"type": "tool_use", "id": callID(c.ID), "name": c.Name, "input": json.RawMessage(c.Arguments), "caller": object{"type": "direct"},
		})
	}
	return blocks
}

// misbehave does what a prompt asked for in place of sending the answer.
func misbehave(w http.ResponseWriter, r *http.Request, body []byte, fault *brain.Fault) *failure {
	switch fault.Kind {
	case brain.FaultReset:
		brain.Reset(w)
	case brain.FaultHang:
		<-r.Context().Done()
		brain.Reset(w)
	case brain.FaultBreak:
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		_, _ = w.Write(body[:len(body)/2])
		_ = http.NewResponseController(w).Flush()
		brain.Reset(w)
	case brain.FaultTruncate:
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(body[:len(body)/2])
	case brain.FaultGarbage:
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte("<html>This is no JSON.</html>"))
	default:
		return asked(w, fault)
	}
	return nil
}
