// Package faultplan breaks the calls of a stand-in one operation at a time, before they take effect or after: a reply that is lost once the
// effect has happened is the fault that retries get wrong.
//
// The package must not know which service it breaks.
package faultplan

import (
	"net/http"
	"net/http/httptest"
	"sync"

	"github.com/postern-ai/postern/localdev/fake/fault"
)

// Plan holds the faults of one stand-in. The zero value breaks nothing. It is safe for concurrent use.
type Plan struct {
	mu     sync.Mutex
	before map[string]*fault.Injector
	after  map[string]*fault.Injector
}

// Before returns what breaks the calls of an operation before they take effect, and counts them. The empty name means every operation.
func (p *Plan) Before(operation string) *fault.Injector { return p.find(&p.before, operation) }

// After returns what breaks the calls of an operation when they have taken effect. The empty name means every operation.
func (p *Plan) After(operation string) *fault.Injector { return p.find(&p.after, operation) }

func (p *Plan) find(faults *map[string]*fault.Injector, operation string) *fault.Injector {
	p.mu.Lock()
	defer p.mu.Unlock()
	if *faults == nil {
		*faults = map[string]*fault.Injector{}
	}
	if (*faults)[operation] == nil {
		(*faults)[operation] = &fault.Injector{}
	}
	return (*faults)[operation]
}

// Serve serves one call of a named operation as next does, with the faults that are planned for it.
func (p *Plan) Serve(next http.HandlerFunc, operation string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if p.Before("").Handle(w, r) || operation != "" && p.Before(operation).Handle(w, r) {
			return
		}
		reply := httptest.NewRecorder()
		next(reply, r)
		if p.After("").Handle(w, r) || operation != "" && p.After(operation).Handle(w, r) {
			return
		}
		for name, values := range reply.Header() {
			w.Header()[name] = values
		}
		w.WriteHeader(reply.Code)
		_, _ = w.Write(reply.Body.Bytes())
	}
}
