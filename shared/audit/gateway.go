package audit

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// The types of the events of gateways, and of the change of a document.
const (
	KeyFallbackUsedType Type = "AI_KEY_FALLBACK_USED"
	CallerDeniedType    Type = "AI_CALLER_DENIED"
	StepUpRequiredType  Type = "AI_STEP_UP_REQUIRED"
	PolicyChangedType   Type = "AI_POLICY_CHANGED"
)

// KeyFallbackUsed tells that an upstream rejected the current key and took the previous one.
type KeyFallbackUsed struct {
	// Version is the version of this format, 1. It grows when a field changes its meaning.
	Version int `json:"event_version"`
	// Function is the gateway.
	Function Origin `json:"function"`
	// Upstream, Provider and CredentialRef are those of the gateway's document.
	Upstream      string `json:"upstream"`
	Provider      string `json:"provider"`
	CredentialRef string `json:"credential_ref"`
	// Rejected is the current key, which the upstream did not take.
	Rejected Key `json:"rejected"`
	// Used is the previous key, which it took.
	Used Key `json:"used"`
}

// EventType returns KeyFallbackUsedType.
func (KeyFallbackUsed) EventType() Type { return KeyFallbackUsedType }

// Event returns the event of the fallback. Its subject is the upstream. Whatever happens to the same keys within one hour of the clock, in
// all instances, is one event.
func (k KeyFallbackUsed) Event(at time.Time) (Event, error) {
	k.Version = formatVersion
	for _, key := range []struct {
		field string
		key   *Key
	}{{"rejected", &k.Rejected}, {"used", &k.Used}} {
		if err := key.key.clean(key.field); err != nil {
			return Event{}, fmt.Errorf("audit event %s: %w", k.EventType(), err)
		}
	}
	return New(Envelope{
		ID: ID(string(KeyFallbackUsedType), k.Function.Source(), k.Upstream, k.Rejected.Version, k.Rejected.Fingerprint, k.Used.Version,
			k.Used.Fingerprint, at.UTC().Truncate(time.Hour).Format(time.RFC3339)),
		Source: k.Function.Source(), Subject: k.Upstream, Schema: SchemaOf(KeyFallbackUsedType), Time: at,
	}, k)
}

// CallerDenied tells that the gateway turned a caller away.
type CallerDenied struct {
	// Version is the version of this format, 1. It grows when a field changes its meaning.
	Version int `json:"event_version"`
	// Function is the gateway.
	Function Origin `json:"function"`
	// RequestID is that of the answer and of the log line.
	RequestID string `json:"request_id"`
	// Caller is who was turned away, as far as it is known. What a credential that was not accepted says about itself is not.
	Caller Actor `json:"caller,omitzero"`
	// Model is what the caller asked for.
	Model string `json:"model,omitzero"`
	// Upstream is where the model would have been, by its name in the gateway's document.
	Upstream string `json:"upstream,omitzero"`
	// Reason is the code of the refusal, for instance model_not_allowed.
	Reason string `json:"reason"`
	// Status is the HTTP status of the answer.
	Status int `json:"status"`
}

// EventType returns CallerDeniedType.
func (CallerDenied) EventType() Type { return CallerDeniedType }

// Event returns the event of the refusal, one for each request. Its subject is the upstream. What the caller had a say in is shortened and
// freed of control characters: nobody hides a refusal by what he asks for.
func (c CallerDenied) Event(at time.Time) (Event, error) {
	c.Version = formatVersion
	c.Caller, c.Model = c.Caller.tamed(), tame(c.Model)
	return New(Envelope{
		ID:     requestEvent(CallerDeniedType, c.Function, c.RequestID, at),
		Source: c.Function.Source(), Subject: c.Upstream, Schema: SchemaOf(CallerDeniedType), Time: at,
	}, c)
}

// StepUpRequired tells that the gateway asked a caller to prove himself better, or anew.
type StepUpRequired struct {
	// Version is the version of this format, 1. It grows when a field changes its meaning.
	Version int `json:"event_version"`
	// Function is the gateway.
	Function Origin `json:"function"`
	// RequestID is that of the answer and of the log line.
	RequestID string `json:"request_id"`
	// Caller is who was asked.
	Caller Actor `json:"caller"`
	// Model is what the caller asked for.
	Model string `json:"model,omitzero"`
	// Upstream is where the model is, by its name in the gateway's document.
	Upstream string `json:"upstream,omitzero"`
	// ACRValues are the levels of authentication of which one would do, the preferred one first.
	ACRValues []string `json:"acr_values,omitzero"`
	// MaxAge is how many seconds ago the caller may have proven himself. It is left out when any time does.
	MaxAge int64 `json:"max_age,omitzero"`
}

// EventType returns StepUpRequiredType.
func (StepUpRequired) EventType() Type { return StepUpRequiredType }

// Event returns the event of the challenge, one for each request. Its subject is the upstream. It is safe from its caller as that of
// CallerDenied is.
func (s StepUpRequired) Event(at time.Time) (Event, error) {
	s.Version = formatVersion
	s.Caller, s.Model = s.Caller.tamed(), tame(s.Model)
	if s.ACRValues = slices.Clone(s.ACRValues); len(s.ACRValues) == 0 {
		s.ACRValues = nil
	}
	return New(Envelope{
		ID:     requestEvent(StepUpRequiredType, s.Function, s.RequestID, at),
		Source: s.Function.Source(), Subject: s.Upstream, Schema: SchemaOf(StepUpRequiredType), Time: at,
	}, s)
}

// PolicyChanged tells that a function follows another document than before.
type PolicyChanged struct {
	// Version is the version of this format, 1. It grows when a field changes its meaning.
	Version int `json:"event_version"`
	// Function is the function that noticed.
	Function Origin `json:"function"`
	// Old is the document until now. It is left out for the first one.
	Old Document `json:"old,omitzero"`
	// New is the document from now on.
	New Document `json:"new"`
	// Chain is the event's place among those of its subject. See [Link].
	Chain Place `json:"chain,omitzero"`
}

// Document is a gateway's document in an event.
type Document struct {
	// Hash is its SHA-256, in hexadecimal.
	Hash string `json:"hash"`
	// Since is when it was first seen in use.
	Since time.Time `json:"since,omitzero"`
}

// EventType returns PolicyChangedType.
func (PolicyChanged) EventType() Type { return PolicyChangedType }

// Event returns the event of the change. Its subject is document.
func (p PolicyChanged) Event(at time.Time) (Event, error) {
	p.Version = formatVersion
	p.Old.Since, p.New.Since = seconds(p.Old.Since), seconds(p.New.Since)
	return New(Envelope{
		// With its time, so that the way back to a document and forth again is two changes.
		ID:     ID(string(PolicyChangedType), p.Function.Source(), p.Old.Hash, p.Old.Since.Format(time.RFC3339), p.New.Hash),
		Source: p.Function.Source(), Subject: "document", Schema: SchemaOf(PolicyChangedType), Time: at,
	}, p)
}

// requestEvent returns the ID of an event about a request. The time is in it because callers may choose the request's own ID, and one that
// came twice would hide the second refusal.
func requestEvent(t Type, function Origin, request string, at time.Time) string {
	return ID(string(t), function.Source(), request, strconv.FormatInt(at.UnixNano(), 10))
}

// maxForeign is how many bytes of a text that a caller had a say in an event keeps.
const maxForeign = 256

// tamed returns the actor with texts that are fit for an event.
func (a Actor) tamed() Actor {
	return Actor{tame(a.Name), tame(a.Issuer), tame(a.Subject), tame(a.ACR)}
}

// tame returns the text without what no event may have, and not longer than maxForeign.
func tame(text string) string {
	if len(text) > maxForeign {
		text = text[:maxForeign]
	}
	// A character that was cut in two goes with the invalid ones.
	return strings.Map(func(r rune) rune {
		if r == utf8.RuneError || control(r) {
			return -1
		}
		return r
	}, text)
}
