// Package eventgrid publishes audit events on a custom topic of Azure Event Grid
// (https://learn.microsoft.com/azure/event-grid/post-to-custom-topic). The topic's input schema is CloudEventSchemaV1_0: events travel as they are.
//
// The package must not know what an event says, nor where its access tokens come from.
package eventgrid

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/postern-ai/postern/shared/audit"
	"github.com/postern-ai/postern/shared/secrets"
)

// Scope is what access tokens have to be for.
const Scope = "https://eventgrid.azure.net/.default"

const (
	apiVersion  = "2018-01-01"
	contentType = "application/cloudevents-batch+json; charset=utf-8"
	eventsPath  = "/api/events"
	role        = "EventGrid Data Sender"
	// maxBytes is the 1 MB of a request. Each event counts with a comma, which the last one does not have, and there are two brackets.
	maxBytes = 1_000_000 - 1
)

// Options says how to reach the topic.
type Options struct {
	// Topic is the topic's endpoint, such as https://NAME.REGION-1.eventgrid.azure.net/api/events.
	Topic string
	// Authorizer puts an access token for [Scope] on each request. Its identity needs the role EventGrid Data Sender on the topic.
	Authorizer audit.Authorizer
	// Transport sends the requests. Nil means [http.DefaultTransport].
	Transport http.RoundTripper
	// Timeout bounds one request. Zero means 3 s.
	Timeout time.Duration
}

// New returns a publisher. It makes no network call.
func New(options Options) (*audit.Remote, error) {
	if options.Authorizer == nil {
		return nil, errors.New("a topic of Event Grid needs an authorizer")
	}
	const form = "a topic of Event Grid is its endpoint, https://NAME.REGION-1.eventgrid.azure.net" + eventsPath
	base, ok := strings.CutSuffix(strings.TrimSuffix(options.Topic, "/"), eventsPath)
	if !ok {
		return nil, errors.New(form)
	}
	address, err := secrets.Endpoint(base)
	if err != nil {
		return nil, errors.New(form)
	}
	address.Path, address.RawQuery = eventsPath, url.Values{"api-version": {apiVersion}}.Encode()
	return &audit.Remote{
		Bus: topic{address.String()}, HTTP: secrets.Bounded(options.Transport), Kind: secrets.Kind,
		Authorizer: options.Authorizer, MaxBytes: maxBytes, Timeout: options.Timeout,
	}, nil
}

type topic struct{ url string }

// Pack implements [audit.Bus].
func (topic) Pack(_ audit.Event, encoded jsontext.Value) (audit.Entry, error) {
	return audit.Entry{JSON: encoded, Bytes: len(encoded) + 1}, nil
}

// Request implements [audit.Bus].
func (t topic) Request(ctx context.Context, entries []jsontext.Value) (*http.Request, error) {
	body, err := json.Marshal(entries)
	if err != nil {
		return nil, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, t.url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", contentType)
	return request, nil
}

// Read implements [audit.Bus]. A request is accepted as a whole or not at all.
func (topic) Read(reply audit.Reply, entries int) []audit.Refusal {
	switch {
	case reply.Status != http.StatusOK:
		return explain(reply).OfEach(entries)
	case bytes.HasPrefix(bytes.TrimSpace(reply.Body), []byte("<")):
		// The service has nothing to say in that case; what has is something in between.
		return reply.Malformed().OfEach(entries)
	}
	return make([]audit.Refusal, entries)
}

// explain says in our own words why the service refused. What it wrote is not shown, because it repeats names and callers.
func explain(reply audit.Reply) audit.Refusal {
	var out struct {
		Error struct {
			Code string `json:"code"`
		} `json:"error"`
	}
	fromService := json.Unmarshal(reply.Body, &out) == nil && out.Error.Code != ""
	switch {
	case reply.Status == http.StatusUnauthorized:
		return audit.Refusal{Reason: "Azure does not accept this function's access token; its identity needs the role " + role + " on the topic"}
	case !fromService:
	case reply.Status == http.StatusForbidden:
		return audit.Refusal{Reason: "this function's identity may not publish to the topic; it needs the role " + role + " on it, and the topic's firewall has to let the function in"}
	case reply.Status == http.StatusNotFound:
		return audit.Refusal{Reason: "Event Grid has no topic at the configured endpoint"}
	case reply.Status == http.StatusBadRequest:
		return audit.Refusal{Reason: "Event Grid does not take the event as it is; the topic's input schema has to be CloudEventSchemaV1_0"}
	case reply.Status == http.StatusRequestEntityTooLarge:
		return audit.Refusal{Reason: "the event is larger than Event Grid takes"}
	}
	return reply.Refusal()
}
