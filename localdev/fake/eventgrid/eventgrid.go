// Package eventgrid is a stand-in for a custom topic of Azure Event Grid, API version 2018-01-01, whose input schema is CloudEvents 1.0
// (https://learn.microsoft.com/azure/event-grid/post-to-custom-topic). Callers come with access tokens; keys and signatures are not taken, as by a
// topic without local authentication. It publishes only; nobody subscribes.
//
// The package must not know how the gateway publishes.
package eventgrid

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/postern-ai/postern/localdev/fake/faultplan"
	"github.com/postern-ai/postern/shared/audit"
)

const (
	// Resource is the audience of the tokens that a topic takes.
	Resource = "https://eventgrid.azure.net"

	apiVersion = "2018-01-01"
	// maxBody is the 1 MB of a request, and of an event.
	maxBody = 1_000_000
)

// Options describes the topic and who may publish.
type Options struct {
	// Caller names who holds an access token for [Resource]. It reports false for a token that is not valid.
	Caller func(token string) (string, bool)
	// Host is the topic's host. Requests to others find no topic. Empty means any.
	Host string
	// EventGridSchema makes it a topic that takes events of Event Grid's own schema, which is the default in Azure.
	EventGridSchema bool
	// Allow decides whether a caller may do something. Nil means that all may do everything.
	Allow func(access Access) bool
}

// Access is one thing that somebody wants to do.
type Access struct {
	Caller string
	// Action is the data action Microsoft.EventGrid/events/send/action.
	Action string
}

// Server is the topic. It is safe for concurrent use.
type Server struct {
	// Faults makes PublishCloudEvents misbehave.
	Faults faultplan.Plan

	options Options
	mu      sync.Mutex
	events  []audit.Event
	others  int
}

// New returns a topic without events.
func New(options Options) *Server { return &Server{options: options} }

// Events returns the audit events that the topic has accepted, as often as it has.
func (s *Server) Events() []audit.Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.events)
}

// Others returns how many events it has accepted that are no audit events.
func (s *Server) Others() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.others
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name := ""
	if r.URL.Path == "/api/events" && r.Method == http.MethodPost {
		name = "PublishCloudEvents"
	}
	s.Faults.Serve(func(w http.ResponseWriter, r *http.Request) {
		err := error(&problem{http.StatusNotFound, "NotFound", "The requested resource was not found."})
		if name != "" && (s.options.Host == "" || s.options.Host == r.Host) {
			err = s.publish(w, r)
		}
		if err != nil {
			writeError(w, err)
			return
		}
		w.WriteHeader(http.StatusOK)
	}, name)(w, r)
}

// publish accepts all of the events or none.
func (s *Server) publish(w http.ResponseWriter, r *http.Request) error {
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	caller := ""
	if ok && s.options.Caller != nil {
		caller, ok = s.options.Caller(token)
	}
	if !ok || caller == "" {
		return &problem{http.StatusUnauthorized, "Unauthorized", "The request did not contain a valid access token for this topic."}
	}
	if query := r.URL.Query(); query.Get("api-version") != apiVersion || len(query) != 1 {
		return bad("The api-version has to be " + apiVersion + ", and there is no other parameter.")
	}
	if s.options.Allow != nil && !s.options.Allow(Access{Caller: caller, Action: "Microsoft.EventGrid/events/send/action"}) {
		return &problem{http.StatusForbidden, "Forbidden", "The principal associated with the access token does not have permission to send to this topic."}
	}
	kind, parameters, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if charset := parameters["charset"]; err != nil || charset != "" && !strings.EqualFold(charset, "utf-8") || s.options.EventGridSchema ||
		kind != "application/cloudevents-batch+json" && kind != "application/cloudevents+json" {
		return bad("The content type does not belong to the topic's input schema.")
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		return &problem{http.StatusRequestEntityTooLarge, "PayloadTooLarge", "The maximum size of a request is 1 MB."}
	}
	batch := []jsontext.Value{body}
	if kind == "application/cloudevents-batch+json" && json.Unmarshal(body, &batch) != nil {
		return bad("The body is not an array of CloudEvents.")
	}
	if len(batch) == 0 {
		return bad("The batch is empty.")
	}
	for i, event := range batch {
		if err := check(event); err != nil {
			return bad(fmt.Sprintf("Event %d: %v.", i, err))
		}
	}
	s.accept(batch)
	return nil
}

func (s *Server) accept(batch []jsontext.Value) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, one := range batch {
		var event audit.Event
		if json.Unmarshal(one, &event) != nil {
			s.others++
			continue
		}
		s.events = append(s.events, event)
	}
}

// attributeForm is what the names of attributes have to be
// (https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md#attribute-naming-convention).
var attributeForm = regexp.MustCompile(`^[a-z0-9]+$`)

// check holds an event to the JSON format of CloudEvents 1.0 (https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md).
func check(event jsontext.Value) error {
	var members map[string]jsontext.Value
	if json.Unmarshal(event, &members) != nil || members == nil {
		return errors.New("it is not a JSON object")
	}
	texts := map[string]string{}
	for name, value := range members {
		switch {
		case name == "data":
			continue
		case name == "data_base64":
			if members["data"] != nil {
				return errors.New("it has data twice")
			}
		case !attributeForm.MatchString(name):
			return fmt.Errorf("%q is no name of an attribute", name)
		}
		if kind := value.Kind(); kind == '{' || kind == '[' {
			return fmt.Errorf("%s is not a simple value", name)
		}
		var text string
		if json.Unmarshal(value, &text) == nil {
			texts[name] = text
		}
	}
	for _, name := range []string{"id", "source", "type", "specversion"} {
		if texts[name] == "" {
			return fmt.Errorf("%s is missing", name)
		}
	}
	if texts["specversion"] != "1.0" {
		return errors.New("specversion is not 1.0")
	}
	if _, err := url.Parse(texts["source"]); err != nil {
		return errors.New("source is not a URI reference")
	}
	if _, err := time.Parse(time.RFC3339, texts["time"]); err != nil && members["time"] != nil {
		return errors.New("time is not a time")
	}
	if _, err := base64.StdEncoding.DecodeString(texts["data_base64"]); err != nil {
		return errors.New("data_base64 is not in Base64")
	}
	return nil
}

// problem is an error of the service (https://learn.microsoft.com/azure/event-grid/post-to-custom-topic#response).
type problem struct {
	status  int
	code    string
	message string
}

func (p *problem) Error() string { return p.code + ": " + p.message }

func bad(message string) error { return &problem{http.StatusBadRequest, "BadRequest", message} }

func writeError(w http.ResponseWriter, err error) {
	told, ok := errors.AsType[*problem](err)
	if !ok {
		told = &problem{http.StatusInternalServerError, "InternalServerError", "The service has failed."}
	}
	type detail struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	}
	type body struct {
		detail  `json:",inline"`
		Details []detail `json:"details"`
	}
	encoded, _ := json.Marshal(map[string]body{"error": {detail{told.code, told.message}, []detail{{strconv.Itoa(told.status), told.message}}}})
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(told.status)
	_, _ = w.Write(encoded)
}
