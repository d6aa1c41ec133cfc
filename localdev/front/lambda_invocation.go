package front

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync/atomic"
	"time"
)

// invocation is one event on its way through an instance. The instance answers it, once; whoever made it consumes the
// answer and then calls finish.
type invocation struct {
	id, trace string
	payload   []byte

	instance *instance
	deadline time.Time
	timer    *time.Timer
	// released is guarded by the mutex of the front.
	released bool

	answered atomic.Bool
	answers  chan answer
	consumed chan verdict
}

// answer is what the function, or the platform in its place, says to an event: a failure, or else a body.
type answer struct {
	failure     *functionError
	contentType string
	body        io.Reader
	// trailer is known when body has been read to its end.
	trailer func() http.Header
}

// verdict is how the reading of a body went.
type verdict int

const (
	taken verdict = iota
	tooLarge
	truncated
)

func newInvocation(payload []byte) *invocation {
	return &invocation{
		id: newID(), payload: payload,
		trace:   fmt.Sprintf("Root=1-%08x-%s;Parent=%s;Sampled=0", time.Now().Unix(), randomHex(12), randomHex(8)),
		answers: make(chan answer, 1), consumed: make(chan verdict, 1),
	}
}

func (inv *invocation) isAnswered() bool { return inv.answered.Load() }

// answer hands the answer to the consumer; it is false if there has been one before.
func (inv *invocation) answer(a answer) bool {
	if !inv.answered.CompareAndSwap(false, true) {
		return false
	}
	inv.answers <- a
	return true
}

func (inv *invocation) fail(e *functionError) { inv.answer(answer{failure: e}) }

// finish lets the function go on. A process whose reply was not taken is about to end, so it gets no new work unless it
// asks for some after all.
func (inv *invocation) finish(v verdict) {
	if v == taken {
		inv.instance.front.release(inv)
	} else {
		inv.instance.front.doom(inv)
	}
	inv.consumed <- v
}

// collect waits for the answer as the Invoke API does, and says whether the function failed.
func (inv *invocation) collect() (response []byte, failed bool) {
	a := <-inv.answers
	if a.failure == nil {
		response, a.failure = inv.read(a)
	} else {
		inv.finish(taken)
	}
	if a.failure != nil {
		return a.failure.document, true
	}
	return response, false
}

// read takes a reply in one piece, or tells why there is none.
func (inv *invocation) read(a answer) ([]byte, *functionError) {
	body, err := io.ReadAll(io.LimitReader(a.body, maxReply+1))
	switch {
	case err != nil:
		inv.finish(truncated)
		return nil, inv.broken()
	case len(body) > maxReply:
		inv.finish(tooLarge)
		return nil, newFunctionError("Function.ResponseSizeTooLarge",
			fmt.Sprintf("Response payload size exceeded maximum allowed payload size (%d bytes).", maxReply))
	}
	failure := trailingError(a.trailer())
	inv.finish(taken)
	return body, failure
}

// broken tells why a reply broke off. The process has died in nearly every case; if so, it is known at once.
func (inv *invocation) broken() *functionError {
	select {
	case <-inv.instance.dead:
		return inv.instance.startFailure()
	case <-time.After(time.Second):
		return newFunctionError("Runtime.TruncatedResponse", "the function broke off its response")
	}
}

// functionError is a failed invocation in the form that the Invoke API returns and runtimes post.
type functionError struct {
	Type    string `json:"errorType"`
	Message string `json:"errorMessage"`
	// document is the whole of it, with what a runtime added.
	document []byte
}

func newFunctionError(kind, message string) *functionError {
	e := &functionError{Type: kind, Message: message}
	e.document, _ = json.Marshal(e) // two strings always encode
	return e
}

// readFunctionError reads what a runtime posts. The header overrides the type in the body.
func readFunctionError(r *http.Request) *functionError {
	kind := r.Header.Get("Lambda-Runtime-Function-Error-Type")
	body, err := io.ReadAll(io.LimitReader(r.Body, maxReply))
	if err != nil {
		return newFunctionError(cmp.Or(kind, "Unhandled"), "the function broke off its error: "+err.Error())
	}
	return parseFunctionError(kind, body)
}

func parseFunctionError(kind string, document []byte) *functionError {
	e := &functionError{document: document}
	if err := json.Unmarshal(document, e); err != nil {
		return newFunctionError(cmp.Or(kind, "Unhandled"), "the function reported an error that is not JSON")
	}
	e.Type = cmp.Or(kind, e.Type, "Unhandled")
	return e
}

// trailingError reads the error of a function that failed after it had begun its reply.
func trailingError(trailer http.Header) *functionError {
	kind := trailer.Get("Lambda-Runtime-Function-Error-Type")
	if kind == "" {
		return nil
	}
	document, err := base64.StdEncoding.DecodeString(trailer.Get("Lambda-Runtime-Function-Error-Body"))
	if err != nil {
		return newFunctionError(kind, "the error body in the trailers is not base64")
	}
	return parseFunctionError(kind, document)
}

// errPrelude is a streamed reply that does not begin as the platform requires.
var errPrelude = errors.New("the streamed reply does not begin with a JSON prelude and eight NUL bytes")
