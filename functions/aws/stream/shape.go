package stream

import (
	"errors"

	"github.com/aws/aws-lambda-go/lambda/messages"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// refuse names an event that is no HTTP request of payload format 2.0. The error never quotes the event.
func refuse(payload []byte, cause error) error {
	p := newProbe(payload)
	for _, s := range shapes() {
		if s.is(p) {
			return messages.InvokeResponse_Error{
				Type:    "UnsupportedEvent",
				Message: "this function serves HTTP requests from a function URL or an HTTP API, but " + s.name + " arrived: " + s.remedy,
			}
		}
	}
	if semantic, ok := errors.AsType[*json.SemanticError](cause); ok {
		return malformed("field " + string(semantic.JSONPointer) + " has the wrong type")
	}
	return malformed("it is not JSON in UTF-8 with unique names")
}

func malformed(what string) error {
	return messages.InvokeResponse_Error{
		Type:    "MalformedEvent",
		Message: "the event is not a request of payload format 2.0: " + what,
	}
}

// probe holds the parts of an event by which senders differ.
type probe struct {
	top, context, record map[string]jsontext.Value
}

func newProbe(payload []byte) probe {
	object := func(v jsontext.Value) map[string]jsontext.Value {
		var m map[string]jsontext.Value
		if json.Unmarshal(v, &m, jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true)) != nil {
			return nil
		}
		return m
	}
	p := probe{top: object(payload)}
	p.context = object(p.top["requestContext"])
	var records []jsontext.Value
	if json.Unmarshal(p.top["Records"], &records) == nil && len(records) > 0 {
		p.record = object(records[0])
	}
	return p
}

func (p probe) has(names ...string) bool {
	for _, name := range names {
		if _, ok := p.top[name]; !ok {
			return false
		}
	}
	return true
}

func (p probe) inContext(name string) bool {
	v, ok := p.context[name]
	return ok && v.Kind() != 'n'
}

func text(v jsontext.Value) string {
	var s string
	if json.Unmarshal(v, &s) != nil {
		return ""
	}
	return s
}

// shape is one kind of event that the function may be given by a wrong wiring.
type shape struct {
	name, remedy string
	is           func(probe) bool
}

// shapes lists what can be told apart by the vendor's sample events, most telling first.
func shapes() []shape {
	const useHTTP = "call it through a function URL, or an HTTP API with payload format 2.0"
	return []shape{
		{"a Secrets Manager rotation step", "set the secret's rotation to the rotation function",
			func(p probe) bool { return p.has("Step", "SecretId", "ClientRequestToken") }},
		{"a request to a Lambda authorizer of API Gateway", "set it as the integration of the route, not as its authorizer",
			func(p probe) bool { return p.has("type", "routeArn") || p.has("type", "methodArn") }},
		{"an API Gateway WebSocket message", useHTTP,
			func(p probe) bool { return p.inContext("connectionId") && p.inContext("eventType") }},
		{"an HTTP API request of payload format 1.0", "set the payload format version of the integration to 2.0",
			func(p probe) bool { return text(p.top["version"]) == "1.0" && p.has("httpMethod") }},
		{"an API Gateway REST API request", useHTTP,
			func(p probe) bool { return p.has("httpMethod") && p.context != nil }},
		{"a VPC Lattice request", useHTTP,
			func(p probe) bool { return p.inContext("serviceNetworkArn") || p.has("raw_path") }},
		{"an asynchronous invocation record", "remove the function from the destinations of the other function",
			func(p probe) bool { return p.inContext("condition") && p.has("requestPayload") }},
		{"an Amazon SNS notification", "remove the subscription of the function",
			func(p probe) bool { return text(p.record["EventSource"]) == "aws:sns" }},
		source("aws:sqs", "an Amazon SQS batch"),
		source("aws:kinesis", "a Kinesis batch"),
		source("aws:dynamodb", "a DynamoDB stream batch"),
		{"an Amazon S3 notification", "remove the function from the notifications of the bucket",
			func(p probe) bool { return text(p.record["eventSource"]) == "aws:s3" }},
		{"a Kafka or MQ batch", "remove the event source mapping of the function",
			func(p probe) bool { return p.has("eventSource") }},
		{"a CloudWatch Logs batch", "remove the subscription filter of the log group",
			func(p probe) bool { return p.has("awslogs") }},
		{"an EventBridge event", "remove the function from the targets of the rule",
			func(p probe) bool { return p.has("detail-type", "source", "detail") }},
		{"a Cognito trigger", "remove the function from the triggers of the user pool",
			func(p probe) bool { return p.has("triggerSource") }},
		{"a CloudFormation custom resource request", "use another service token for the custom resource",
			func(p probe) bool { return p.has("RequestType", "ResponseURL") }},
		{"an event of unknown shape", useHTTP,
			func(p probe) bool { return p.top == nil || !(text(p.top["version"]) == "2.0" && p.inContext("http")) }},
	}
}

func source(name, what string) shape {
	return shape{what, "remove the event source mapping of the function", func(p probe) bool {
		return text(p.record["eventSource"]) == name
	}}
}
