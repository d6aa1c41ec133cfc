package main

import (
	"fmt"
	"reflect"
	"strings"

	"github.com/postern-ai/postern/shared/audit"
)

// object is JSON that the generator writes as it is, its members in alphabetical order.
type object map[string]any

// asyncapi returns the AsyncAPI document. Its messages are whole events, whose data is that of the schemas.
func asyncapi(c *comments) object {
	messages, all := object{}, object{}
	var references []object
	for _, t := range types {
		name := string(t.name)
		messages[name] = message(c, t)
		all[name] = object{"$ref": "#/components/messages/" + name}
		references = append(references, object{"$ref": "#/channels/audit/messages/" + name})
	}
	return object{
		"asyncapi": "3.0.0",
		"info": object{
			"title":   "Postern audit events",
			"version": fmt.Sprintf("%d.0.0", version),
			"description": "What happened to credentials and policies. Every event is a CloudEvent 1.0 in JSON, structured mode, delivered at least once: " +
				"the same id of the same source is the same event.",
		},
		"defaultContentType": "application/cloudevents+json",
		"channels": object{"audit": object{
			"address":     nil,
			"title":       "The event bus",
			"description": "The bus of the deployment: an EventBridge bus (the event is the detail), a Pub/Sub topic (the event is the data), or an Event Grid topic (the event is one of the batch).",
			"messages":    all,
		}},
		"operations": object{"report": object{
			"action": "send", "channel": object{"$ref": "#/channels/audit"}, "messages": references,
			"summary": "Gateways and rotators report what happened.",
		}},
		"components": object{"messages": messages, "schemas": object{"envelope": envelope()}},
	}
}

// message returns the message of a type.
func message(c *comments, t eventType) object {
	var summaries []string
	for _, form := range t.forms {
		name := reflect.TypeOf(form).Name()
		summary, _, _ := strings.Cut(describe(name, c.types[name], nil), ". ")
		summaries = append(summaries, strings.TrimSuffix(summary, ".")+".")
	}
	return object{
		"name": t.name, "title": t.name, "summary": strings.Join(summaries, " "), "contentType": "application/cloudevents+json",
		"payload": object{
			"allOf": []object{{"$ref": "#/components/schemas/envelope"}, {"properties": object{
				"type": object{"const": t.name}, "dataschema": object{"const": audit.SchemaOf(t.name)}, "data": object{"$ref": "./" + schemaName(t)},
			}}},
		},
	}
}

// envelope returns the schema of what all events have in common.
func envelope() *node {
	text := func(description string) *node { return &node{Type: "string", Description: description} }
	return &node{
		Type: "object", Description: "A CloudEvent 1.0. It has at most 65536 bytes.",
		Required: []string{"specversion", "id", "source", "type", "time", "data"},
		Properties: members{
			{"specversion", &node{Const: "1.0"}},
			{"id", text("The same however often the event is delivered, and different for every other event of the same source.")},
			{"source", text("The function, as /postern/CLOUD/ACCOUNT/REGION/NAME, with - for what is not known.")},
			{"type", text("What happened.")},
			{"subject", text("The credential or the upstream that it is about, by its name in the gateway's document; document for the document itself.")},
			{"time", &node{Type: "string", Format: "date-time", Description: "When it happened."}},
			{"datacontenttype", &node{Const: "application/json"}},
			{"dataschema", text("The name ($id) of the schema of data.")},
			{"data", &node{Type: "object", Description: "What the type says."}},
		},
	}
}
