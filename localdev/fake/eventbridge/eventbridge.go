// Package eventbridge is a stand-in for the buses of Amazon EventBridge, API version 2015-10-07
// (https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_PutEvents.html). It keeps what publishers get wrong: a call that succeeds may
// have failed for some of its entries, and one to a bus that does not exist succeeds too, and its events are gone.
//
// The package must not know how the gateway publishes.
package eventbridge

import (
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/postern-ai/postern/localdev/fake/awsauth"
	"github.com/postern-ai/postern/localdev/fake/faultplan"
	"github.com/postern-ai/postern/shared/audit"
)

const (
	target      = "AWSEvents.PutEvents"
	contentType = "application/x-amz-json-1.1"
	// maxBody holds entries whose every byte is escaped, and what is around them.
	maxBody    = 2 << 20
	maxEntries = 10
)

// Options describes the account, its buses and who may do what.
type Options struct {
	// Keys finds the credentials of the callers.
	Keys awsauth.Lookup
	// Region is the region that requests have to be signed for. Empty means eu-central-1.
	Region string
	// Account owns the buses. Empty means 123456789012.
	Account string
	// Buses are the names of the buses besides default, which every account has.
	Buses []string
	// Allow decides whether a key may do something. Nil means that all may do everything.
	Allow func(access Access) bool
}

// Access is one thing that somebody wants to do.
type Access struct {
	Key awsauth.Key
	// Action is events:PutEvents.
	Action string
	// Resource is the ARN of the bus, whether or not it exists.
	Resource string
}

// Entry is what a bus has accepted.
type Entry struct {
	// Bus is the name of the bus.
	Bus        string
	Source     string
	DetailType string
	Detail     jsontext.Value
	Resources  []string
	// Time is that of the entry, or else of the call.
	Time time.Time
}

// Server holds the buses of one account in one region. It is safe for concurrent use.
type Server struct {
	// Faults makes PutEvents misbehave.
	Faults faultplan.Plan

	options Options
	mu      sync.Mutex
	entries []Entry
	lost    int
	refuse  *Refusal
}

// New returns a Server with empty buses.
func New(options Options) *Server {
	if options.Region == "" {
		options.Region = "eu-central-1"
	}
	if options.Account == "" {
		options.Account = "123456789012"
	}
	options.Buses = append(slices.Clone(options.Buses), "default")
	return &Server{options: options}
}

// Entries returns what the buses have accepted, as often as they have.
func (s *Server) Entries() []Entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.entries)
}

// Events returns the entries whose detail is an audit event.
func (s *Server) Events() []audit.Event {
	var events []audit.Event
	for _, entry := range s.Entries() {
		var event audit.Event
		if json.Unmarshal(entry.Detail, &event) == nil {
			events = append(events, event)
		}
	}
	return events
}

// Lost returns how many entries were accepted for buses that do not exist.
func (s *Server) Lost() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lost
}

// Refusal makes entries of calls fail that succeed as a whole.
type Refusal struct {
	// Code is for example ThrottlingException, InternalFailure or NotAuthorizedForSourceException.
	Code string
	// Every makes the first of so many entries fail, and the one after as many more. Zero means all entries.
	Every int
	// Calls is how many calls are affected. Zero means all of them.
	Calls int
}

// Refuse makes entries fail. Nil ends that.
func (s *Server) Refuse(refusal *Refusal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refuse = nil
	if refusal != nil {
		planned := *refusal
		s.refuse = &planned
	}
}

// ServeHTTP answers one request in the AWS JSON 1.1 protocol.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_, operation, _ := strings.Cut(r.Header.Get("X-Amz-Target"), ".")
	s.Faults.Serve(s.serve, operation)(w, r)
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		write(w, http.StatusRequestEntityTooLarge, &problem{Type: "RequestEntityTooLargeException"})
		return
	}
	// The signature comes first: who is not known learns nothing about what there is.
	key, err := awsauth.Verifier{Keys: s.options.Keys, Service: "events", Region: s.options.Region}.Verify(r, body)
	if err != nil {
		refuse(w, err)
		return
	}
	var in request
	switch {
	case r.Method != http.MethodPost || r.URL.Path != "/" || r.Header.Get("X-Amz-Target") != target:
		err = &problem{Type: "UnknownOperationException"}
	case r.Header.Get("Content-Type") != contentType:
		err = &problem{Type: "SerializationException", Message: "the content type has to be " + contentType}
	case json.Unmarshal(body, &in) != nil:
		err = &problem{Type: "SerializationException", Message: "the body is not a JSON object with members of the right types"}
	default:
		err = in.check()
	}
	if err == nil {
		err = s.allow(key, in.Entries)
	}
	if told, ok := errors.AsType[*problem](err); ok {
		write(w, http.StatusBadRequest, told)
		return
	}
	write(w, http.StatusOK, s.put(in.Entries))
}

// allow checks the right to each bus, of those that do not exist too.
func (s *Server) allow(key awsauth.Key, entries []entry) error {
	for _, e := range entries {
		access := Access{Key: key, Action: "events:PutEvents", Resource: s.arnPrefix() + s.bus(e)}
		if s.options.Allow != nil && !s.options.Allow(access) {
			return &problem{Type: "AccessDeniedException", Message: "User: " + key.ARN + " is not authorized to perform: " + access.Action +
				" on resource: " + access.Resource + " because no identity-based policy allows the " + access.Action + " action"}
		}
	}
	return nil
}

func (s *Server) arnPrefix() string {
	return "arn:aws:events:" + s.options.Region + ":" + s.options.Account + ":event-bus/"
}

// bus returns the name of the bus that an entry is for.
func (s *Server) bus(e entry) string {
	if e.EventBusName == "" {
		return "default"
	}
	return strings.TrimPrefix(e.EventBusName, s.arnPrefix())
}

func (s *Server) put(entries []entry) reply {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := reply{Entries: make([]result, len(entries))}
	for i, e := range entries {
		failed := e.check()
		if r := s.refuse; failed == nil && r != nil && (r.Every == 0 || i%r.Every == 0) {
			failed = &problem{Type: r.Code, Message: "Refused."}
		}
		if failed != nil {
			out.FailedEntryCount++
			out.Entries[i] = result{ErrorCode: failed.Type, ErrorMessage: failed.Message}
			continue
		}
		out.Entries[i] = result{EventID: eventID()}
		name := s.bus(e)
		if !slices.Contains(s.options.Buses, name) {
			s.lost++
			continue
		}
		s.entries = append(s.entries, Entry{Bus: name, Source: e.Source, DetailType: e.DetailType, Detail: jsontext.Value(e.Detail), Resources: e.Resources, Time: e.at()})
	}
	if s.refuse != nil && s.refuse.Calls > 0 {
		if s.refuse.Calls--; s.refuse.Calls == 0 {
			s.refuse = nil
		}
	}
	return out
}

// refuse answers that a signature is not good.
func refuse(w http.ResponseWriter, err error) {
	refusal, ok := errors.AsType[*awsauth.Error](err)
	if !ok {
		write(w, http.StatusInternalServerError, &problem{Type: "InternalFailure"})
		return
	}
	write(w, http.StatusBadRequest, &problem{Type: refusal.JSONCode(), Message: refusal.Message})
}

func write(w http.ResponseWriter, status int, body any) {
	encoded, err := json.Marshal(body, json.Deterministic(true))
	if err != nil {
		status, encoded = http.StatusInternalServerError, []byte(`{"__type":"InternalFailure"}`)
	}
	w.Header().Set("Content-Type", contentType)
	w.WriteHeader(status)
	_, _ = w.Write(encoded)
}
