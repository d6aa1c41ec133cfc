package pubsub

import (
	"errors"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"
)

// message is a message as it is sent.
type message struct {
	Data        []byte            `json:"data"`
	Attributes  map[string]string `json:"attributes"`
	OrderingKey string            `json:"orderingKey"`
	MessageID   string            `json:"messageId"`
	PublishTime string            `json:"publishTime"`
}

// publish accepts all of the messages or none, and returns their ids.
func (s *Server) publish(w http.ResponseWriter, r *http.Request, topic string) ([]string, error) {
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	member := ""
	if ok && s.options.Member != nil {
		member, ok = s.options.Member(token)
	}
	if !ok || member == "" {
		w.Header().Set("Www-Authenticate", `Bearer realm="https://accounts.google.com/"`)
		return nil, &problem{http.StatusUnauthorized, "UNAUTHENTICATED", "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other valid authentication credential."}
	}
	for name := range r.URL.Query() {
		// https://cloud.google.com/apis/docs/system-parameters
		if !slices.Contains([]string{"$alt", "alt", "fields", "prettyPrint", "$prettyPrint", "quotaUser"}, name) {
			return nil, invalid(`Invalid JSON payload received. Unknown name "` + name + `": Cannot bind query parameter.`)
		}
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		return nil, invalid("Request payload size exceeds the limit: " + strconv.Itoa(maxBody) + " bytes.")
	}
	if s.options.Allow != nil && !s.options.Allow(Access{Member: member, Permission: "pubsub.topics.publish", Topic: topic}) {
		return nil, &problem{http.StatusForbidden, "PERMISSION_DENIED", "User not authorized to perform this action."}
	}
	if !slices.Contains(s.options.Topics, topic) {
		return nil, &problem{http.StatusNotFound, "NOT_FOUND", "Resource not found (resource=" + topic[strings.LastIndexByte(topic, '/')+1:] + ")."}
	}
	var in struct {
		Messages []message `json:"messages"`
	}
	if err := json.Unmarshal(body, &in, json.RejectUnknownMembers(true)); err != nil {
		return nil, invalid("Invalid JSON payload received. It is not an object with members that are known and of the right types.")
	}
	if err := check(in.Messages); err != nil {
		return nil, err
	}
	return s.accept(topic, in.Messages), nil
}

func (s *Server) accept(topic string, messages []message) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	ids := make([]string, len(messages))
	for i, m := range messages {
		// Nothing is known of ids but that no two of a topic are the same.
		ids[i] = strconv.FormatInt(int64(1_000_000_007*(len(s.messages)+1)), 10)
		s.messages = append(s.messages, Message{Topic: topic, ID: ids[i], Data: m.Data, Attributes: m.Attributes, OrderingKey: m.OrderingKey})
	}
	return ids
}

// check holds the messages to what the service's description says of them, and to its limits.
func check(messages []message) error {
	switch {
	case len(messages) == 0:
		return invalid("The value for message_count is too small. You passed 0 in the request, but the minimum value is 1.")
	case len(messages) > maxMessages:
		return invalid("The value for message_count is too large. You passed " + strconv.Itoa(len(messages)) + " in the request, but the maximum value is " + strconv.Itoa(maxMessages) + ".")
	}
	for _, m := range messages {
		switch {
		case len(m.Data) == 0 && len(m.Attributes) == 0:
			return invalid("Some messages in the PublishRequest are empty. Each message must contain either non-empty data, or at least one attribute.")
		case m.MessageID != "" || m.PublishTime != "":
			return invalid("The fields message_id and publish_time must not be set by a publisher.")
		case m.OrderingKey != messages[0].OrderingKey:
			return invalid("In each PublishRequest, all messages must have no ordering key or they must all have the same ordering key.")
		case len(m.OrderingKey) > maxOrderingKey:
			return invalid("The ordering key is too long.")
		case len(m.Attributes) > maxAttributes:
			return invalid("A message has too many attributes.")
		}
		for name, value := range m.Attributes {
			switch {
			case name == "" || len(name) > maxKey || strings.HasPrefix(name, "goog"):
				return invalid("The attribute \"" + name + "\" in the request has a key that is empty, too long or reserved.")
			case len(value) > maxValue:
				return invalid("The attribute \"" + name + "\" in the request has a value that is too long. The length is " + strconv.Itoa(len(value)) +
					" characters, but the maximum allowed is " + strconv.Itoa(maxValue) + ".")
			}
		}
	}
	return nil
}

// problem is an error of Google's APIs (https://google.aip.dev/193).
type problem struct {
	code    int
	status  string
	message string
}

func (p *problem) Error() string { return p.status + ": " + p.message }

func invalid(message string) error {
	return &problem{http.StatusBadRequest, "INVALID_ARGUMENT", message}
}

func writeError(w http.ResponseWriter, err error) {
	told, ok := errors.AsType[*problem](err)
	if !ok {
		told = &problem{http.StatusInternalServerError, "INTERNAL", "Internal error encountered."}
	}
	type body struct {
		Code    int    `json:"code"`
		Message string `json:"message"`
		Status  string `json:"status"`
	}
	write(w, told.code, map[string]body{"error": {told.code, told.message, told.status}})
}

func write(w http.ResponseWriter, status int, body any) {
	encoded, _ := json.Marshal(body)
	w.Header().Set("Content-Type", "application/json; charset=UTF-8")
	w.WriteHeader(status)
	_, _ = w.Write(encoded)
}
