// Package pubsub publishes audit events on a topic of Google Cloud Pub/Sub, over its REST API
// (https://cloud.google.com/pubsub/docs/reference/rest/v1/projects.topics/publish).
//
// A message is a CloudEvent in binary mode (https://github.com/googleapis/google-cloudevents/blob/main/docs/spec/pubsub.md): the data is the event's
// own, and everything else is in attributes, which is what the filters of subscriptions see: attributes.ce-type = "...".
//
// The package must not know what an event says, nor where its access tokens come from.
package pubsub

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"sync"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/postern-ai/postern/shared/audit"
	"github.com/postern-ai/postern/shared/secrets"
)

// The limits are from https://cloud.google.com/pubsub/quotas#resource_limits.
const (
	maxMessages = 1000
	// maxBytes leaves room under the 10 MB of a request.
	maxBytes = 9 << 20
	maxValue = 1024
)

// Options says how to reach the topic.
type Options struct {
	// Topic is the full name of the topic, projects/PROJECT/topics/TOPIC.
	Topic string
	// Ordered has subscriptions with message ordering receive the events of one subject in the order in which they were published. The service
	// keeps the order of what comes in in one region, so it belongs together with a regional Endpoint.
	Ordered bool
	// Authorizer puts an access token for the scope https://www.googleapis.com/auth/cloud-platform on each request. Its identity needs
	// pubsub.topics.publish on the topic.
	Authorizer audit.Authorizer
	// Endpoint replaces https://pubsub.googleapis.com. It is where CLOUDSDK_API_ENDPOINT_OVERRIDES_PUBSUB belongs.
	Endpoint string
	// Transport sends the requests. Nil means [http.DefaultTransport].
	Transport http.RoundTripper
	// Timeout bounds one request. Zero means 3 s.
	Timeout time.Duration
}

// topicForm is from https://cloud.google.com/pubsub/docs/pubsub-basics#resource_names, but for the lengths. Projects may begin with a domain. It is
// compiled when there is a topic: a cold start without one would pay for it too.
var topicForm = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^projects/(?:[a-z0-9.-]+:)?([a-z][a-z0-9-]*[a-z0-9])/topics/([A-Za-z][A-Za-z0-9\-_.~+%]*)$`)
})

func isTopic(name string) bool {
	m := topicForm().FindStringSubmatch(name)
	return m != nil && len(m[1]) >= 6 && len(m[1]) <= 30 && len(m[2]) >= 3 && len(m[2]) <= 255
}

// New returns a publisher. It makes no network call.
func New(options Options) (*audit.Remote, error) {
	switch {
	case options.Authorizer == nil:
		return nil, errors.New("a topic of Pub/Sub needs an authorizer")
	case !isTopic(options.Topic):
		return nil, errors.New("a topic of Pub/Sub is its full name, projects/PROJECT/topics/TOPIC")
	}
	endpoint := options.Endpoint
	if endpoint == "" {
		endpoint = "https://pubsub.googleapis.com"
	}
	address, err := secrets.Endpoint(endpoint)
	if err != nil {
		return nil, err
	}
	address.Path = "/v1/" + options.Topic + ":publish"
	return &audit.Remote{
		Bus: &topic{url: address.String(), ordered: options.Ordered}, HTTP: secrets.Bounded(options.Transport), Kind: secrets.Kind,
		Authorizer: options.Authorizer, MaxEntries: maxMessages, MaxBytes: maxBytes, Timeout: options.Timeout,
	}, nil
}

type topic struct {
	url     string
	ordered bool
}

// Pack implements [audit.Bus].
func (t *topic) Pack(event audit.Event, _ jsontext.Value) (audit.Entry, error) {
	attributes := map[string]string{
		"content-type": "application/json", "ce-specversion": "1.0", "ce-time": event.Time.UTC().Format(time.RFC3339Nano),
	}
	for _, attribute := range []struct{ name, value string }{
		{"id", event.ID}, {"source", event.Source}, {"type", string(event.Type)}, {"subject", event.Subject}, {"dataschema", event.Schema},
	} {
		switch {
		case attribute.value == "":
		case len(attribute.value) > maxValue:
			return audit.Entry{}, fmt.Errorf("%s is longer than the %d bytes that Pub/Sub takes of an attribute", attribute.name, maxValue)
		default:
			attributes["ce-"+attribute.name] = attribute.value
		}
	}
	order := ""
	if t.ordered {
		order = event.Subject
	}
	packed, err := json.Marshal(struct {
		Data        []byte            `json:"data"`
		Attributes  map[string]string `json:"attributes"`
		OrderingKey string            `json:"orderingKey,omitzero"`
	}{event.Data, attributes, order}, json.Deterministic(true))
	return audit.Entry{JSON: packed, Bytes: len(packed) + 1, Order: order}, err
}

// Request implements [audit.Bus].
func (t *topic) Request(ctx context.Context, entries []jsontext.Value) (*http.Request, error) {
	body, err := json.Marshal(map[string][]jsontext.Value{"messages": entries})
	if err != nil {
		return nil, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, t.url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "application/json; charset=utf-8")
	return request, nil
}

// Read implements [audit.Bus]. A request is accepted as a whole or not at all.
func (t *topic) Read(reply audit.Reply, entries int) []audit.Refusal {
	if reply.Status != http.StatusOK {
		return explain(reply).OfEach(entries)
	}
	var out struct {
		MessageIDs []string `json:"messageIds"`
	}
	if json.Unmarshal(reply.Body, &out) != nil || len(out.MessageIDs) != entries {
		return reply.Malformed().OfEach(entries)
	}
	return make([]audit.Refusal, entries)
}

// explain says in our own words why the service refused. What it wrote is not shown, because it repeats names and callers.
func explain(reply audit.Reply) audit.Refusal {
	status, reasons := reply.GoogleStatus()
	switch {
	case reply.Status == http.StatusUnauthorized:
		return audit.Refusal{Reason: "Google does not accept this function's access token"}
	case status == "RESOURCE_EXHAUSTED":
		return reply.Busy("RESOURCE_EXHAUSTED")
	case status == "ABORTED", status == "CANCELLED":
		return reply.Failed(status)
	case status == "PERMISSION_DENIED" && reasons == "SERVICE_DISABLED":
		return audit.Refusal{Reason: "the Pub/Sub API is not enabled in the project; enable pubsub.googleapis.com there"}
	case status == "PERMISSION_DENIED":
		return audit.Refusal{Reason: "this function's service account may not publish to the topic, if there is one of the configured name; it needs pubsub.topics.publish (roles/pubsub.publisher) on it"}
	case status == "NOT_FOUND":
		return audit.Refusal{Reason: "Pub/Sub has no topic of the configured name"}
	case status == "INVALID_ARGUMENT":
		return audit.Refusal{Reason: "Pub/Sub does not take the event as it is; the topic must have no schema"}
	case status == "FAILED_PRECONDITION":
		return audit.Refusal{Reason: "the topic cannot take events; see its KMS key and the message storage policy"}
	}
	return reply.Refusal()
}
