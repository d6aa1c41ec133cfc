package chat

import (
	"bytes"
	"crypto/rand"
	"errors"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// ErrIncomplete is what [StreamDecoder.End] returns when an upstream closed the
// stream before the answer was complete.
var ErrIncomplete = errors.New("the upstream closed the stream before the answer was complete")

var (
	errNoChoice = errors.New("the answer has no choice")
	errTooMany  = errors.New("the answer has more choices or tool calls than any request can ask for")
)

// DecodeResponse reads the whole answer of an upstream that speaks this wire,
// or nearly does. What such servers are known to leave out or to spell in their
// own way is put right. Where nothing had to be, Wire is the body itself, which
// must then not be changed any more. ID, Created and Model stay empty if the
// upstream gave none.
//
// A body that is an error object instead of an answer is a *[Reported] error;
// any other error means that it cannot be understood.
func DecodeResponse(body []byte) (*Response, error) {
	var r Response
	clean, err := decodeLoosely(body, &r)
	if err != nil {
		return nil, err
	}
	if len(r.Choices) == 0 {
		if reported, ok := reportedIn(r.Unknown); ok {
			return nil, reported
		}
		if r.Object == objectError {
			return nil, DecodeReported(body)
		}
		return nil, errNoChoice
	}
	if r.ID == "" || r.Created == 0 || r.Model == "" {
		clean = false
	}
	if r.Object != ObjectCompletion {
		r.Object, clean = ObjectCompletion, false
	}
	for i := range r.Choices {
		ok, err := r.Choices[i].mend()
		if err != nil {
			return nil, err
		}
		clean = clean && ok
	}
	clean = r.Usage.mend() && clean
	if clean {
		r.Wire = body
	}
	return &r, nil
}

// decodeAnswer reads JSON as an upstream wrote it. It is as strict as with a
// caller's, but for broken UTF-8, which some servers produce where a token ends
// within a character: that is replaced. It reports whether the text is fit to
// be passed on.
func decodeAnswer[T any](data []byte, into *T) (clean bool, err error) {
	if err = json.Unmarshal(data, into); err == nil {
		return true, nil
	}
	mended, formatErr := jsontext.AppendFormat(nil, data, jsontext.AllowInvalidUTF8(true))
	if formatErr != nil || bytes.Equal(mended, data) {
		return false, err
	}
	var fresh T
	if err := json.Unmarshal(mended, &fresh); err != nil {
		return false, err
	}
	*into = fresh
	return false, nil
}

// mend completes a choice and reports whether it was complete.
func (c *Choice) mend() (clean bool, err error) {
	clean = true
	if c.Message.Role != RoleAssistant {
		c.Message.Role, clean = RoleAssistant, false
	}
	for i := range c.Message.ToolCalls {
		if !c.Message.ToolCalls[i].begin() {
			clean = false
		}
	}
	if IsFinishReason(c.FinishReason) {
		return clean, nil
	}
	c.FinishReason, err = finishReason(c.FinishReason, len(c.Message.ToolCalls) > 0)
	return false, err
}

// begin completes the members that a call begins with and reports whether they
// were complete.
func (t *ToolCall) begin() bool {
	clean := true
	if t.ID == "" {
		t.ID, clean = "call_"+rand.Text(), false
	}
	if t.Type == "" {
		t.Type, clean = "function", false
		if t.Function == nil && t.Custom != nil {
			t.Type = "custom"
		}
	}
	return clean
}

// finishReason maps what servers of this wire say instead of OpenAI's own
// words. A reason that means that there is no whole answer is [ErrIncomplete].
func finishReason(said string, called bool) (string, error) {
	switch reason := strings.ToLower(said); reason {
	case FinishStop, FinishLength, FinishToolCalls, FinishContentFilter, FinishFunctionCall:
		return reason, nil
	case "max_tokens", "max_output_tokens", "model_length":
		return FinishLength, nil
	case "safety", "recitation", "prohibited_content", "blocklist", "refusal", "content_filtered":
		return FinishContentFilter, nil
	case "error", "abort", "aborted", "cancelled", "canceled", "timeout", "network_error", "insufficient_system_resource":
		return "", ErrIncomplete
	}
	if called {
		return FinishToolCalls, nil
	}
	return FinishStop, nil
}

// mend fills in a missing sum.
func (u *Usage) mend() bool {
	if u == nil || u.TotalTokens != 0 || u.PromptTokens+u.CompletionTokens == 0 {
		return true
	}
	u.TotalTokens = u.PromptTokens + u.CompletionTokens
	return false
}
