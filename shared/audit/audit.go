// Package audit says what happened to credentials and policies, to whoever keeps watch over them: events in one envelope, and the publishers
// that bring them to a bus.
//
// An [Event] is the envelope, CloudEvents 1.0 in JSON, which every bus takes. What is in it is the struct of its type, for example
// [TokenRotated]. An event never holds a secret: credentials appear as fingerprints (see [Fingerprints]).
//
// The package must not know what it reports on: no provider, no store and no bus. It imports nothing from the rest of the gateway.
package audit

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

const (
	// MaxEvent is the longest event, in bytes of its JSON: what every transport of CloudEvents has to take
	// (https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md#size-limits).
	MaxEvent    = 64 << 10
	specVersion = "1.0"
	contentType = "application/json"
)

// Publisher brings events to where they are kept.
//
// Publish returns nil once every event has been accepted, that is, once it will not be lost. On an error some of them may have been; then
// all are published again, since the same ID twice is harmless: whoever reads the events drops those that he has seen. Invalid events
// are refused before any of the others is sent. Without events nothing is done. The order is kept as far as the bus keeps one.
//
// Implementations honour ctx, are safe for concurrent use and do not hold on to what they are given. Their errors may be logged.
type Publisher interface {
	Publish(ctx context.Context, events ...Event) error
}

// Type says what happened, and thereby what the data of an event is.
type Type string

// Event is one thing that happened. Its JSON is that of a CloudEvent, structured mode. Encoding an event that is not valid is an error, as is
// decoding one.
type Event struct {
	// ID is the same however often the event is published, and different for every other event of the same Source. See [ID].
	ID string
	// Source is where it happened, a URI reference such as that of an [Origin].
	Source string
	Type   Type
	// Subject is the credential or the policy that it is about, by its name in the gateway's document.
	Subject string
	// Time is when it happened.
	Time time.Time
	// Schema names the JSON schema of Data, a URI such as [SchemaOf] returns. It may be empty.
	Schema string
	// Data is a JSON object. A publisher hands it on as it is.
	Data jsontext.Value
}

// Data is what an event of one type tells.
type Data interface {
	// EventType is the type of the events that carry this data.
	EventType() Type
}

// Envelope is what an event says besides its data. The fields are those of [Event].
type Envelope struct {
	ID, Source, Subject, Schema string
	Time                        time.Time
}

// New puts data into an envelope. The result is valid.
func New(envelope Envelope, data Data) (Event, error) {
	encoded, err := json.Marshal(data)
	if err != nil {
		return Event{}, fmt.Errorf("audit event %s: %w", data.EventType(), err)
	}
	event := Event{
		ID: envelope.ID, Source: envelope.Source, Type: data.EventType(), Subject: envelope.Subject,
		// Whoever reads events compares times as text.
		Time:   envelope.Time.UTC().Truncate(time.Millisecond),
		Schema: envelope.Schema,
		Data:   encoded,
	}
	return event, event.Validate()
}

// ID returns an identifier for what the parts say: the same for the same parts, whoever reports it and however often, and another one for
// all others. It has the form of a UUID (RFC 9562, version 8).
func ID(parts ...string) string {
	hash := sha256.New()
	for _, part := range parts {
		// With its length, so that no two lists run into the same text.
		hash.Write(binary.BigEndian.AppendUint64(nil, uint64(len(part))))
		hash.Write([]byte(part))
	}
	id := hash.Sum(nil)[:16]
	id[6] = id[6]&0x0f | 0x80
	id[8] = id[8]&0x3f | 0x80
	text := hex.EncodeToString(id)
	return strings.Join([]string{text[:8], text[8:12], text[12:16], text[16:20], text[20:]}, "-")
}

// SchemaOf returns the name of the JSON schema of the data of a type, in the version of its format that this package writes.
func SchemaOf(t Type) string { return fmt.Sprintf("urn:postern:event:%s:%d", t, formatVersion) }

// Validate returns an error that names the first attribute which is not as CloudEvents has it, or the length of the whole.
func (e Event) Validate() error {
	if _, err := e.encode(); err != nil {
		return err
	}
	return nil
}

func (e Event) check() error {
	if e.Source == "" {
		return errors.New("source is missing")
	}
	if _, err := url.Parse(e.Source); err != nil {
		return errors.New("source is not a URI reference")
	}
	if schema, err := url.Parse(e.Schema); err != nil || e.Schema != "" && schema.Scheme == "" {
		return errors.New("dataschema is not a URI")
	}
	for _, attribute := range []struct {
		name, value string
		optional    bool
	}{{"id", e.ID, false}, {"source", e.Source, false}, {"type", string(e.Type), false}, {"subject", e.Subject, true}, {"dataschema", e.Schema, true}} {
		switch {
		case attribute.value == "" && !attribute.optional:
			return fmt.Errorf("%s is missing", attribute.name)
		case !utf8.ValidString(attribute.value) || strings.ContainsFunc(attribute.value, control):
			return fmt.Errorf("%s has characters that no attribute may have", attribute.name)
		}
	}
	switch {
	case e.Time.IsZero():
		return errors.New("time is missing")
	case e.Data.Kind() != '{' || !e.Data.IsValid():
		return errors.New("data is not a JSON object")
	}
	return nil
}

// control reports what CloudEvents excludes from texts.
func control(r rune) bool {
	return r < 0x20 || r >= 0x7f && r <= 0x9f || r >= 0xfdd0 && r <= 0xfdef || r&0xfffe == 0xfffe
}

// wire is the JSON of an event.
type wire struct {
	SpecVersion     string         `json:"specversion"`
	ID              string         `json:"id"`
	Source          string         `json:"source"`
	Type            Type           `json:"type"`
	Subject         string         `json:"subject,omitzero"`
	Time            time.Time      `json:"time"`
	DataContentType string         `json:"datacontenttype,omitzero"`
	DataSchema      string         `json:"dataschema,omitzero"`
	Data            jsontext.Value `json:"data"`
}

func (e Event) encode() ([]byte, error) {
	if err := e.check(); err != nil {
		return nil, fmt.Errorf("audit event %q: %w", e.Type, err)
	}
	encoded, err := json.Marshal(wire{specVersion, e.ID, e.Source, e.Type, e.Subject, e.Time.UTC(), contentType, e.Schema, e.Data})
	if err != nil {
		return nil, fmt.Errorf("audit event %q: %w", e.Type, err)
	}
	if len(encoded) > MaxEvent {
		return nil, fmt.Errorf("audit event %q: it has %d bytes, and no bus has to take more than %d", e.Type, len(encoded), MaxEvent)
	}
	return encoded, nil
}

// MarshalJSON returns the event as a CloudEvent on one line.
func (e Event) MarshalJSON() ([]byte, error) { return e.encode() }

// UnmarshalJSON reads a CloudEvent, whatever its type. Attributes that Event does not have are an error: reading and writing an event
// must not lose a part of it.
func (e *Event) UnmarshalJSON(text []byte) error {
	var w wire
	if err := json.Unmarshal(text, &w, json.RejectUnknownMembers(true)); err != nil {
		return fmt.Errorf("audit event: %w", err)
	}
	if w.SpecVersion != specVersion {
		return fmt.Errorf("audit event %q: specversion is not %s", w.Type, specVersion)
	}
	if w.DataContentType != "" && w.DataContentType != contentType {
		return fmt.Errorf("audit event %q: datacontenttype is not %s", w.Type, contentType)
	}
	read := Event{ID: w.ID, Source: w.Source, Type: w.Type, Subject: w.Subject, Time: w.Time.UTC(), Schema: w.DataSchema, Data: w.Data}
	if err := read.Validate(); err != nil {
		return err
	}
	*e = read
	return nil
}
