package stream

import (
	"cmp"
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
)

// balancedEvent is what an Application Load Balancer sends to a Lambda target:
// https://docs.aws.amazon.com/elasticloadbalancing/latest/application/lambda-functions.html
type balancedEvent struct {
	Method  string            `json:"httpMethod"`
	Path    string            `json:"path"`
	Query   map[string]string `json:"queryStringParameters"`
	Headers map[string]string `json:"headers"`
	Body    string            `json:"body"`
	Base64  bool              `json:"isBase64Encoded"`
	// MultiValueHeaders takes the place of Headers if the target group has that attribute.
	MultiValueHeaders map[string][]string `json:"multiValueHeaders"`
}

// maxBalanced is the largest reply in bytes that a load balancer takes from a function.
const maxBalanced = 1 << 20

// decodeBalanced makes of a load balancer's event the one that the same request would be at the other front doors.
func decodeBalanced(payload []byte) (event, error) {
	var b balancedEvent
	if err := json.Unmarshal(payload, &b); err != nil {
		return event{}, refuse(payload, err)
	}
	if b.MultiValueHeaders != nil {
		return event{}, malformed("it is a load balancer's with multi-value headers: set lambda.multi_value_headers.enabled of the target group to false")
	}
	e := event{RawPath: b.Path, Headers: b.Headers, Body: b.Body, Base64: b.Base64}
	// The names and values are as the client has encoded them.
	var query []string
	for _, name := range slices.Sorted(maps.Keys(b.Query)) {
		query = append(query, name+"="+b.Query[name])
	}
	e.RawQueryString = strings.Join(query, "&")
	for name, value := range b.Headers {
		switch strings.ToLower(name) {
		case "host":
			e.RequestContext.DomainName = value
		case "x-forwarded-for": // the load balancer's own entry is the last one
			e.RequestContext.HTTP = &requestLine{SourceIP: strings.TrimSpace(value[strings.LastIndex(value, ",")+1:])}
		}
	}
	e.RequestContext.HTTP = cmp.Or(e.RequestContext.HTTP, &requestLine{})
	e.RequestContext.HTTP.Method = b.Method
	e.RequestContext.Stage = "$default"
	e.fromBalancer = true
	if _, err := url.ParseQuery(e.RawQueryString); err != nil {
		return event{}, malformed("queryStringParameters are not encoded")
	}
	return e, nil
}

// balanced reports whether the event came through a load balancer. No request can bring that about: what a client sends stays
// within strings of the event.
func (e event) balanced() bool { return e.fromBalancer }
