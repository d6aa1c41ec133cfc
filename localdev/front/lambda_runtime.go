package front

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"syscall"
)

// maxReply is the largest reply in bytes that Lambda takes from a function in one piece.
const maxReply = 6<<20 + 100

// runtimeAPI serves the Runtime and Extensions APIs to the process of this instance:
// https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html and runtimes-extensions-api.html. The statuses and error
// types of refusals are those of AWS's own runtime interface emulator.
func (i *instance) runtimeAPI() http.Handler {
	mux := http.NewServeMux()
	const runtime = "/2018-06-01/runtime/"
	mux.HandleFunc("GET "+runtime+"invocation/next", i.next)
	mux.HandleFunc("POST "+runtime+"invocation/{id}/response", i.response)
	mux.HandleFunc("POST "+runtime+"invocation/{id}/error", i.invocationError)
	mux.HandleFunc("POST "+runtime+"init/error", i.initError)
	mux.HandleFunc("POST /2020-01-01/extension/register", i.register)
	mux.HandleFunc("GET /2020-01-01/extension/event/next", i.extensionNext)
	return mux
}

// next waits for an event. As long as there is none the process stands still.
func (i *instance) next(w http.ResponseWriter, r *http.Request) {
	if !i.mayWait() {
		refuse(w, http.StatusForbidden, "InvalidStateTransition", "the current invocation has not been answered")
		return
	}
	i.idle()
	inv := i.await(r)
	if inv == nil {
		return
	}
	i.begin(inv)
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Lambda-Runtime-Aws-Request-Id", inv.id)
	h.Set("Lambda-Runtime-Deadline-Ms", strconv.FormatInt(inv.deadline.UnixMilli(), 10))
	h.Set("Lambda-Runtime-Invoked-Function-Arn", i.front.arn())
	h.Set("Lambda-Runtime-Trace-Id", inv.trace)
	_, _ = w.Write(inv.payload)
}

// await returns the next invocation, or nil if the process does not wait for it any more.
func (i *instance) await(r *http.Request) *invocation {
	select {
	case inv := <-i.work:
		return inv
	default:
	}
	i.freeze()
	select {
	case inv := <-i.work:
		return inv
	case <-r.Context().Done():
		return nil
	}
}

func (i *instance) mayWait() bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return !i.waiting && (i.current == nil || i.current.isAnswered())
}

// answering returns the invocation that the process may answer now, or writes the refusal.
func (i *instance) answering(w http.ResponseWriter, r *http.Request) (*invocation, bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	switch {
	case i.current == nil || i.current.isAnswered():
		refuse(w, http.StatusForbidden, "InvalidStateTransition", "there is no invocation to answer")
	case i.current.id != r.PathValue("id"):
		refuse(w, http.StatusBadRequest, "InvalidRequestID", "Invalid request ID")
	default:
		return i.current, true
	}
	return nil, false
}

func (i *instance) response(w http.ResponseWriter, r *http.Request) {
	inv, ok := i.answering(w, r)
	if !ok {
		return
	}
	// A runtime may announce that it streams. Go's never does.
	if mode := r.Header.Get("Lambda-Runtime-Function-Response-Mode"); mode != "" && mode != "streaming" {
		inv.fail(newFunctionError("Runtime.InvalidResponseModeHeader", "Invalid function response mode"))
		refuse(w, http.StatusBadRequest, "InvalidFunctionResponseMode", "Invalid function response mode")
		return
	}
	if !inv.answer(answer{contentType: r.Header.Get("Content-Type"), body: r.Body, trailer: func() http.Header { return r.Trailer }}) {
		return // it timed out meanwhile, and the process is being killed
	}
	switch <-inv.consumed {
	case taken:
		accept(w)
	case tooLarge:
		refuse(w, http.StatusRequestEntityTooLarge, "RequestEntityTooLarge", fmt.Sprintf("Exceeded maximum allowed payload size (%d bytes).", maxReply))
	case truncated:
		refuse(w, http.StatusBadRequest, "TruncatedHTTPRequest", "HTTP request detected as truncated")
	}
}

func (i *instance) invocationError(w http.ResponseWriter, r *http.Request) {
	inv, ok := i.answering(w, r)
	if !ok {
		return
	}
	inv.fail(readFunctionError(r))
	accept(w)
}

// initError is how a runtime tells that it will not get ready. Lambda then ends the environment.
func (i *instance) initError(w http.ResponseWriter, r *http.Request) {
	e := readFunctionError(r)
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.ready {
		refuse(w, http.StatusForbidden, "InvalidStateTransition", "the initialization is over")
		return
	}
	i.reason = e
	accept(w)
	_ = http.NewResponseController(w).Flush()
	i.process.signal(syscall.SIGKILL)
}

// extension is an internal extension: part of the function's own process, registered so that Lambda sends SIGTERM.
type extension struct {
	waiting bool
}

func (i *instance) register(w http.ResponseWriter, r *http.Request) {
	name := r.Header.Get("Lambda-Extension-Name")
	var body struct{ Events []string }
	err := json.NewDecoder(io.LimitReader(r.Body, 64<<10)).Decode(&body)
	i.mu.Lock()
	defer i.mu.Unlock()
	switch {
	case name == "":
		refuse(w, http.StatusForbidden, "Extension.InvalidExtensionName", "Empty extension name")
	case err != nil:
		refuse(w, http.StatusForbidden, "InvalidRequestFormat", err.Error())
	case len(body.Events) > 0:
		// SHUTDOWN is not for internal extensions; INVOKE is possible, and this front does not emulate it.
		refuse(w, http.StatusForbidden, "Extension.InvalidEventType", fmt.Sprintf("%v: not for an internal extension", body.Events))
	case i.ready:
		refuse(w, http.StatusForbidden, "Extension.RegistrationClosed", "Extension registration closed already")
	default:
		id := newID()
		i.extensions[id] = &extension{}
		w.Header().Set("Lambda-Extension-Identifier", id)
		reply(w, http.StatusOK, map[string]string{
			"functionName": i.front.o.Name, "functionVersion": "$LATEST", "handler": "bootstrap",
		})
	}
}

// extensionNext never returns: no event is registered for. That an extension waits here is what lets Lambda freeze it.
func (i *instance) extensionNext(w http.ResponseWriter, r *http.Request) {
	i.mu.Lock()
	e, ok := i.extensions[r.Header.Get("Lambda-Extension-Identifier")]
	if ok {
		e.waiting = true
	}
	i.mu.Unlock()
	if !ok {
		refuse(w, http.StatusForbidden, "Extension.UnknownExtensionIdentifier", "Unknown extension identifier")
		return
	}
	i.freeze()
	<-r.Context().Done()
}

func accept(w http.ResponseWriter) {
	reply(w, http.StatusAccepted, map[string]string{"status": "OK"})
}

func refuse(w http.ResponseWriter, status int, kind, message string) {
	reply(w, status, map[string]string{"errorMessage": message, "errorType": kind})
}

func reply(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}
