package audit

import (
	"errors"
	"fmt"
	"strconv"
	"time"
)

// The types of the events about stored keys. Those of [KeyRotated] have TokenRotatedType.
const (
	RotationFailedType Type = "AI_PROVIDER_TOKEN_ROTATION_FAILED"
	KeyRevokedType     Type = "AI_PROVIDER_TOKEN_REVOKED"
	OrphanFoundType    Type = "AI_PROVIDER_TOKEN_ORPHAN_FOUND"
	OrphanedType       Type = "AI_PROVIDER_TOKEN_ORPHANED"
	OperatorDueType    Type = "AI_PROVIDER_TOKEN_OPERATOR_DUE"
)

// Credential is what all events about a stored key begin with: which key, by whom it is rotated, in which cycle and why.
type Credential struct {
	// Version is the version of this format, 1. It grows when a field changes its meaning.
	Version int `json:"event_version"`
	// Kind is always key.
	Kind Kind `json:"kind"`
	// Function is the function that rotates the key.
	Function Origin `json:"function"`
	// Name is what the gateway's document calls the key: the name of its upstream, or its own.
	Name string `json:"credential"`
	// Upstream and Provider are those of the gateway's document. Both are empty for a key that no upstream uses directly.
	Upstream string `json:"upstream,omitzero"`
	Provider string `json:"provider,omitzero"`
	// Issuer is who makes and revokes the key, by its name in the gateway's document.
	Issuer string `json:"issuer"`
	// AuthType is the upstream's in the gateway's document.
	AuthType string `json:"auth_type,omitzero"`
	// CredentialRef is where the key is stored.
	CredentialRef string `json:"credential_ref"`
	// Cycle is the rotation that the event belongs to. It is left out when there is none.
	Cycle Cycle `json:"cycle,omitzero"`
	// Reason is why the rotation took place.
	Reason Reason `json:"reason"`
	// Actor is who asked for it, where somebody did.
	Actor Actor `json:"actor,omitzero"`
	// Chain is the event's place among those of its credential. See [Link].
	Chain Place `json:"chain,omitzero"`
}

// Cycle is one rotation of a key, from the intent to the end of the old key.
type Cycle struct {
	// ID is the same in all events of the cycle, and different for every other cycle.
	ID string `json:"id"`
	// Number counts the cycles of a key, from 1.
	Number int `json:"no"`
	// Attempt counts the keys that were made in the cycle, from 1.
	Attempt int `json:"attempt,omitzero"`
}

// Actor is a person or a program, as the one who vouches for it names it.
type Actor struct {
	// Name is what the log calls it.
	Name string `json:"name,omitzero"`
	// Issuer vouches for Subject: the iss claim of a token, or the platform.
	Issuer string `json:"issuer,omitzero"`
	// Subject is its name there.
	Subject string `json:"subject,omitzero"`
	// ACR is how it has proven itself: the acr claim of its token.
	ACR string `json:"acr,omitzero"`
}

// Key is a stored key in an event.
type Key struct {
	// ID is what the issuer calls it. It is no secret.
	ID string `json:"key_id,omitzero"`
	// Name is what the rotation calls it at the issuer.
	Name string `json:"name,omitzero"`
	// Version is the store's version that holds it.
	Version string `json:"version,omitzero"`
	// Fingerprint is the first 64 bits of its HMAC-SHA-256 under a key of the deployment, in hexadecimal. See [Fingerprints].
	Fingerprint string `json:"fingerprint,omitzero"`
	// Created is when the issuer made it.
	Created time.Time `json:"created_at,omitzero"`
	// Expires is when the issuer ends it by itself.
	Expires time.Time `json:"expires_at,omitzero"`
	// Retire is when the rotation ends it.
	Retire time.Time `json:"retire_at,omitzero"`
}

// event puts data about the credential into an event, whose ID follows from what tells it apart from the others of its type.
func (c *Credential) event(at time.Time, data Data, apart ...string) (Event, error) {
	if err := c.check(); err != nil {
		return Event{}, fmt.Errorf("audit event %s: %w", data.EventType(), err)
	}
	parts := append([]string{string(data.EventType()), c.Name, c.Cycle.ID}, apart...)
	return New(Envelope{
		ID: ID(parts...), Source: c.Function.Source(), Subject: c.Name, Schema: SchemaOf(data.EventType()), Time: at,
	}, data)
}

func (c *Credential) check() error {
	switch {
	case c.Name == "":
		return errors.New("credential is missing: name the key as the document does")
	case c.Chain != Place{}:
		return errors.New("chain is set: Link does that")
	}
	return nil
}

// begin sets what is the same in all events about stored keys.
func (c *Credential) begin() { c.Version, c.Kind = formatVersion, KindKey }

// clean brings the key into the form that events have. A fingerprint that is none is an error, since it may be the key itself.
func (k *Key) clean(field string) error {
	if k.Fingerprint != "" && !isFingerprint(k.Fingerprint) {
		return fmt.Errorf("%s.fingerprint is not one that Fingerprints makes", field)
	}
	k.Created, k.Expires, k.Retire = seconds(k.Created), seconds(k.Expires), seconds(k.Retire)
	return nil
}

// KeyRotated tells that a new stored key took the place of another one. The old one is still valid until it is revoked.
type KeyRotated struct {
	Credential
	// Old is the key that gateways used until now. It is left out for the first key.
	Old Key `json:"old,omitzero"`
	// New is the key that gateways use from now on.
	New Key `json:"new"`
	// Verify is how the new key was tried before.
	Verify Verification `json:"verify"`
	// Overlap is for how many seconds both keys are to be valid.
	Overlap int64 `json:"overlap_seconds"`
	// PolicyHash is the SHA-256 of the document that the rotation followed, in hexadecimal.
	PolicyHash string `json:"policy_hash,omitzero"`
}

// Verification is how a new key was tried.
type Verification struct {
	// Attempts is how many calls were made with it.
	Attempts int `json:"attempts"`
	// Duration is how many milliseconds they took, the pauses between them included.
	Duration int64 `json:"duration_ms"`
}

// EventType returns TokenRotatedType.
func (KeyRotated) EventType() Type { return TokenRotatedType }

// Event returns the event of the rotation. There is one for each cycle.
func (r KeyRotated) Event(at time.Time) (Event, error) {
	r.begin()
	if err := errors.Join(r.Old.clean("old"), r.New.clean("new")); err != nil {
		return Event{}, fmt.Errorf("audit event %s: %w", r.EventType(), err)
	}
	return r.event(at, r, string(KindKey))
}

// Step is a step of a rotation. It is part of the format of events.
type Step string

// The steps of a rotation, in their order.
const (
	StepReconcile Step = "reconcile" // find out what earlier runs have left
	StepCreate    Step = "create"    // have the issuer make a key
	StepStage     Step = "stage"     // store it where gateways do not look
	StepVerify    Step = "verify"    // try it
	StepPromote   Step = "promote"   // have the gateways use it
	StepPublish   Step = "publish"   // bring the events to the bus
	StepRevoke    Step = "revoke"    // end the old key
	StepClose     Step = "close"     // end the old version in the store
)

// FailureClass says why a step failed. It is part of the format of events, and never a text of an upstream.
type FailureClass string

// The classes of failures.
const (
	FailureDenied      FailureClass = "denied"       // the issuer or the store does not let the rotation do this
	FailureNotFound    FailureClass = "not_found"    // what the step is about does not exist
	FailureLimit       FailureClass = "limit"        // the issuer allows no further key
	FailureThrottled   FailureClass = "throttled"    // too many calls
	FailureUnavailable FailureClass = "unavailable"  // the issuer or the store is out of order, or out of reach
	FailureTimeout     FailureClass = "timeout"      // no answer in time
	FailureLostReply   FailureClass = "lost_reply"   // the call may have taken effect or not
	FailureKeyRejected FailureClass = "key_rejected" // the new key did not work in time
	FailureConflict    FailureClass = "conflict"     // somebody else changed the same thing
	FailureInvalid     FailureClass = "invalid"      // an answer, a stored value or the configuration is not as it has to be
	FailureInternal    FailureClass = "internal"     // a fault of the rotation itself
)

// RotationFailed tells that a step of a rotation failed. The key in use is as valid as before.
type RotationFailed struct {
	Credential
	// Step is the one that failed.
	Step Step `json:"step"`
	// Class is why.
	Class FailureClass `json:"error_class"`
	// Attempt counts the failures of the cycle, from 1.
	Attempt int `json:"failure_no"`
	// Retry is when the rotation tries again. It is left out when it does not.
	Retry time.Time `json:"retry_at,omitzero"`
}

// EventType returns RotationFailedType.
func (RotationFailed) EventType() Type { return RotationFailedType }

// Event returns the event of the failure. A failure outside of any cycle is told apart from others by its time alone.
func (r RotationFailed) Event(at time.Time) (Event, error) {
	r.begin()
	r.Retry = seconds(r.Retry)
	apart := []string{string(r.Step), strconv.Itoa(r.Cycle.Attempt), strconv.Itoa(r.Attempt)}
	if r.Cycle.ID == "" {
		apart = append(apart, strconv.FormatInt(at.UnixNano(), 10))
	}
	return r.event(at, r, apart...)
}

// Ending is how a key ended. It is part of the format of events.
type Ending string

// The endings of a key.
const (
	EndingDeleted     Ending = "deleted"     // the issuer no longer knows it
	EndingDeactivated Ending = "deactivated" // the issuer knows it, and takes it no more
	EndingRegenerated Ending = "regenerated" // the issuer put another key in its place
	EndingSuperseded  Ending = "superseded"  // it ended by itself when the new one was made
)

// KeyRevoked tells that a key is no longer valid.
type KeyRevoked struct {
	Credential
	// Key is the one that is no longer valid.
	Key Key `json:"key"`
	// How is how it ended.
	How Ending `json:"how"`
}

// EventType returns KeyRevokedType.
func (KeyRevoked) EventType() Type { return KeyRevokedType }

// Event returns the event of the end. A key that is first deactivated and then deleted has two.
func (r KeyRevoked) Event(at time.Time) (Event, error) {
	r.begin()
	if err := r.Key.clean("key"); err != nil {
		return Event{}, fmt.Errorf("audit event %s: %w", r.EventType(), err)
	}
	return r.event(at, r, r.Key.ID, r.Key.Version, string(r.How))
}

// OrphanAction is what became of an orphan. It is part of the format of events.
type OrphanAction string

// What becomes of an orphan.
const (
	OrphanDeleted OrphanAction = "deleted" // the rotation had made it, and ended it
	OrphanLeft    OrphanAction = "left"    // it is there still, and somebody has to look at it
)

// OrphanFound tells that the issuer has a key of the rotation that is in no use.
type OrphanFound struct {
	Credential
	// Key is the orphan.
	Key Key `json:"key"`
	// Action is what became of it.
	Action OrphanAction `json:"action"`
}

// EventType returns OrphanFoundType.
func (OrphanFound) EventType() Type { return OrphanFoundType }

// Event returns the event of the orphan.
func (o OrphanFound) Event(at time.Time) (Event, error) {
	o.begin()
	if err := o.Key.clean("key"); err != nil {
		return Event{}, fmt.Errorf("audit event %s: %w", o.EventType(), err)
	}
	return o.event(at, o, o.Key.ID, o.Key.Name, string(o.Action))
}

// Orphaned tells that the rotation of a key has stopped after too many failures: somebody has to act. The key in use serves on.
type Orphaned struct {
	Credential
	// Failures is how often the cycle has failed.
	Failures int `json:"failures"`
	// Since is when it failed first.
	Since time.Time `json:"since"`
	// Step and Class are those of the last failure.
	Step  Step         `json:"step"`
	Class FailureClass `json:"error_class"`
	// Remedy is what to do about it, a sentence.
	Remedy string `json:"remedy"`
}

// EventType returns OrphanedType.
func (Orphaned) EventType() Type { return OrphanedType }

// Event returns the event of the stop.
func (o Orphaned) Event(at time.Time) (Event, error) {
	o.begin()
	o.Since = seconds(o.Since)
	return o.event(at, o, strconv.Itoa(o.Failures), o.Since.Format(time.RFC3339))
}

// OperatorDue tells that a rotation waits for somebody to do what no program can.
type OperatorDue struct {
	Credential
	// Task is what to do, a sentence.
	Task string `json:"task"`
	// Due is when it has to be done.
	Due time.Time `json:"due_at"`
}

// EventType returns OperatorDueType.
func (OperatorDue) EventType() Type { return OperatorDueType }

// Event returns the event of the wait. It is a new one when the task or the time has changed.
func (o OperatorDue) Event(at time.Time) (Event, error) {
	o.begin()
	o.Due = seconds(o.Due)
	return o.event(at, o, o.Task, o.Due.Format(time.RFC3339))
}
