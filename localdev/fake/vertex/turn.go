package vertex

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"slices"
)

// calls returns the function calls of a content.
func (c *content) calls() []*functionCall {
	var calls []*functionCall
	for i := range c.Parts {
		if call := c.Parts[i].FunctionCall; call != nil {
			calls = append(calls, call)
		}
	}
	return calls
}

func (c *content) responses() []*functionResponse {
	var responses []*functionResponse
	for i := range c.Parts {
		if response := c.Parts[i].FunctionResponse; response != nil {
			responses = append(responses, response)
		}
	}
	return responses
}

// checkTurns holds the order of a conversation: calls follow the user, all
// their results follow at once, and the last word is not the model's.
func (r *request) checkTurns(kind) *failure {
	var open []*functionCall
	for i := range r.Contents {
		c := &r.Contents[i]
		responses := c.responses()
		switch {
		case len(responses) > 0 && len(responses) < len(c.Parts):
			// Models before Gemini 3.6 take it. The message is as misleading there.
			return invalid("Requests ending with a model turn are not supported.")
		case len(responses) != len(open) && len(open) > 0, len(responses) > 0 && len(open) == 0 && i == 0:
			return invalid("Please ensure that the number of function response parts is equal to the number of function call parts of the function call turn.")
		case len(responses) > 0 && len(open) == 0:
			return invalid("Please ensure that function response turn comes immediately after a function call turn.")
		}
		if err := match(open, responses); err != nil {
			return err
		}
		open = c.calls()
		if len(open) > 0 && (i == 0 || r.Contents[i-1].Role != "user") {
			return invalid("Please ensure that function call turn comes immediately after a user turn or after a function response turn.")
		}
	}
	if r.Contents[len(r.Contents)-1].Role != "user" {
		return invalid("Please ensure that the last turn is of the role user or a function response.")
	}
	return nil
}

// match finds the call that each result answers, by its id where the call has
// one and else by its place.
func match(calls []*functionCall, responses []*functionResponse) *failure {
	for i, response := range responses {
		call := calls[i]
		if call.ID != "" || response.ID != "" {
			n := slices.IndexFunc(calls, func(c *functionCall) bool { return c.ID == response.ID })
			if n < 0 {
				return invalid("Please ensure that the id of function response `%s` is that of a function call of the turn before.", response.Name)
			}
			call = calls[n]
		}
		if call.Name != response.Name {
			return invalid("Please ensure that the name of function response `%s` is that of the function call that it answers.", response.Name)
		}
	}
	return nil
}

// Signatures that stand in for one, as Google documents them.
const (
	bypass      = "skip_thought_signature_validator"
	otherBypass = "context_engineering_is_the_way_to_go"
)

// checkSignatures holds the rule of Gemini 3: in the current turn, which begins
// with what the user said last, the first call of each answer must carry the
// signature that it came with. Where a signature stands, it must be a real one.
func (r *request) checkSignatures(k kind) *failure {
	current := true
	for i, c := range slices.Backward(r.Contents) {
		if c.Role == "user" {
			current = current && len(c.responses()) > 0
			continue
		}
		first := true
		for j := range c.Parts {
			p := &c.Parts[j]
			if s := p.ThoughtSignature; s != "" && s != bypass && s != otherBypass && !isSignature(s) {
				return invalid("Corrupted thought signature.")
			}
			if p.FunctionCall == nil {
				continue
			}
			if k.three() && current && first && p.ThoughtSignature == "" {
				return invalid("Unable to submit request because function call `%s` in the %d. content block is missing a `thought_signature`. Learn more: https://docs.cloud.google.com/vertex-ai/generative-ai/docs/thought-signatures", p.FunctionCall.Name, i+1)
			}
			first = false
		}
	}
	return nil
}

// signature makes a thought signature. It tells nothing and nobody else could
// have made it, or at least nobody would.
func signature(seed []byte, n int) string {
	nonce := sha256.Sum256(fmt.Appendf(nil, "%x %d", seed, n))
	return base64.StdEncoding.EncodeToString(append(nonce[:12:12], seal(nonce[:12])...))
}

func isSignature(s string) bool {
	data, err := base64.StdEncoding.DecodeString(s)
	return err == nil && len(data) > 12 && hmac.Equal(data[12:], seal(data[:12]))
}

func seal(nonce []byte) []byte {
	h := hmac.New(sha256.New, []byte("a thought"))
	h.Write(nonce)
	return h.Sum(nil)[:20]
}
