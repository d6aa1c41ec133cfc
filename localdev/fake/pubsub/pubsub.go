// Package pubsub is a stand-in for the topics of Google Cloud Pub/Sub, API version v1 over REST
// (https://cloud.google.com/pubsub/docs/reference/rest/v1/projects.topics/publish). It publishes only; nobody subscribes.
//
// The package must not know how the gateway publishes.
package pubsub

import (
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/postern-ai/postern/localdev/fake/faultplan"
	"github.com/postern-ai/postern/shared/audit"
)

// The limits are from https://cloud.google.com/pubsub/quotas#resource_limits.
const (
	maxBody        = 10_000_000
	maxMessages    = 1000
	maxAttributes  = 100
	maxKey         = 256
	maxValue       = 1024
	maxOrderingKey = 1024
)

// Options describes the topics and who may do what.
type Options struct {
	// Member names who holds an access token. It reports false for a token that is not valid.
	Member func(token string) (string, bool)
	// Topics are full names, projects/PROJECT/topics/TOPIC.
	Topics []string
	// Allow decides whether a member may do something. Nil means that all may do everything.
	Allow func(access Access) bool
}

// Access is one thing that somebody wants to do.
type Access struct {
	Member string
	// Permission is pubsub.topics.publish.
	Permission string
	// Topic is the full name of the topic, whether or not it exists.
	Topic string
}

// Message is what a topic has accepted.
type Message struct {
	Topic       string
	ID          string
	Data        []byte
	Attributes  map[string]string
	OrderingKey string
}

// Server holds topics. It is safe for concurrent use.
type Server struct {
	// Faults makes publish misbehave.
	Faults faultplan.Plan

	options  Options
	mu       sync.Mutex
	messages []Message
}

// New returns a Server with empty topics.
func New(options Options) *Server { return &Server{options: options} }

// Messages returns what the topics have accepted, as often as they have.
func (s *Server) Messages() []Message {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.messages)
}

// Events returns the messages that are audit events, in either of the two modes of CloudEvents.
func (s *Server) Events() []audit.Event {
	var events []audit.Event
	for _, message := range s.Messages() {
		if event, ok := message.event(); ok {
			events = append(events, event)
		}
	}
	return events
}

// event reads a CloudEvent as https://github.com/googleapis/google-cloudevents/blob/main/docs/spec/pubsub.md has it.
func (m Message) event() (audit.Event, bool) {
	var event audit.Event
	kind := m.Attributes["content-type"]
	if strings.HasPrefix(kind, "application/cloudevents") {
		return event, json.Unmarshal(m.Data, &event) == nil
	}
	members := map[string]any{"data": jsontext.Value(m.Data)}
	if kind != "" {
		members["datacontenttype"] = kind
	}
	for name, value := range m.Attributes {
		if attribute, ok := strings.CutPrefix(name, "ce-"); ok {
			members[attribute] = value
		}
	}
	encoded, err := json.Marshal(members)
	if err != nil || json.Unmarshal(encoded, &event) != nil {
		return event, false
	}
	event.Data = m.Data
	return event, true
}

var publishPath = regexp.MustCompile(`^/v1/(projects/[^/]+/topics/[^/:]+):publish$`)

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name := ""
	m := publishPath.FindStringSubmatch(r.URL.Path)
	if m != nil && r.Method == http.MethodPost {
		name = "publish"
	}
	s.Faults.Serve(func(w http.ResponseWriter, r *http.Request) {
		if name == "" {
			writeError(w, &problem{http.StatusNotFound, "NOT_FOUND", "The requested URL was not found on this server."})
			return
		}
		ids, err := s.publish(w, r, m[1])
		if err != nil {
			writeError(w, err)
			return
		}
		write(w, http.StatusOK, map[string][]string{"messageIds": ids})
	}, name)(w, r)
}
