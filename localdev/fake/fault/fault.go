// Package fault makes a stand-in misbehave on demand, and counts what it was asked.
//
// The package must not know which service it breaks.
package fault

import (
	"bytes"
	"io"
	"net/http"
	"sync"
	"time"
)

// Fault is one way to misbehave. The zero value does nothing.
type Fault struct {
	// Delay passes before anything else happens. A request whose client goes away in the meantime is not answered.
	Delay time.Duration
	// Status, when set, is answered in place of the real reply, with Body and Header.
	Status int
	Body   string
	Header http.Header
	// Hangup breaks the connection without an answer.
	Hangup bool
	// Times is how many requests are affected. Zero means all of them until the fault is cleared.
	Times int
}

// Injector holds the fault of one endpoint and counts its requests. The zero value is ready to use, from many goroutines.
type Injector struct {
	mu    sync.Mutex
	calls int
	fault *Fault
	left  int
}

// Set makes the following requests misbehave.
func (i *Injector) Set(fault Fault) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.fault, i.left = &fault, fault.Times
}

// Clear ends the misbehaviour.
func (i *Injector) Clear() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.fault = nil
}

// Calls returns how many requests have arrived, refused and broken ones included.
func (i *Injector) Calls() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.calls
}

// Handle counts the request and applies the fault. It reports whether the request has been dealt with.
func (i *Injector) Handle(w http.ResponseWriter, r *http.Request) bool {
	fault, ok := i.next()
	if !ok {
		return false
	}
	if fault.Delay > 0 {
		// The server notices that a client has gone only once it has read all of the body.
		// A request that comes without a server has no body at all if it is empty.
		if r.Body != nil {
			body, err := io.ReadAll(r.Body)
			if err != nil {
				return true
			}
			r.Body = io.NopCloser(bytes.NewReader(body))
		}
		timer := time.NewTimer(fault.Delay)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-r.Context().Done():
			return true
		}
	}
	if fault.Hangup {
		// The server closes the connection on this panic and prints nothing (net/http, ErrAbortHandler).
		panic(http.ErrAbortHandler)
	}
	if fault.Status == 0 {
		return false
	}
	for name, values := range fault.Header {
		w.Header()[http.CanonicalHeaderKey(name)] = values
	}
	w.WriteHeader(fault.Status)
	_, _ = io.WriteString(w, fault.Body)
	return true
}

func (i *Injector) next() (Fault, bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.calls++
	if i.fault == nil {
		return Fault{}, false
	}
	fault := *i.fault
	if fault.Times > 0 {
		i.left--
		if i.left <= 0 {
			i.fault = nil
		}
	}
	return fault, true
}
