package main

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/postern-ai/postern/shared/audit"
)

// happening is the struct of one event.
type happening interface {
	audit.Data
	Event(at time.Time) (audit.Event, error)
}

// sample is one event of the samples.
type sample struct {
	name string
	what happening
	// after is when it happens, counted from the first.
	after time.Duration
	// linked says that it is in the chain of its credential.
	linked bool
}

var (
	start   = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	gateway = audit.Origin{Cloud: "aws", Account: "123456789012", Region: "eu-central-1", Name: "postern-gateway", Version: "v1.4.0", Commit: "4c0ab5a8e1d2"}
	rotator = audit.Origin{Cloud: "aws", Account: "123456789012", Region: "eu-central-1", Name: "postern-rotate", Version: "v1.4.0", Commit: "4c0ab5a8e1d2"}
	person  = audit.Actor{Name: "corp/jane", Issuer: "https://login.example.com", Subject: "jane@example.com", ACR: "phr"}
	caller  = audit.Actor{Name: "corp/reports", Issuer: "https://login.example.com", Subject: "reports"}
)

// of returns what the events about a stored key begin with.
func of(cycle int, reason audit.Reason) audit.Credential {
	return audit.Credential{
		Function: rotator, Name: "openai", Upstream: "openai", Provider: "openai", Issuer: "openai", AuthType: "api_key", CredentialRef: "openai-key",
		Cycle:  audit.Cycle{ID: audit.ID("sample cycle", fmt.Sprint(cycle)), Number: cycle, Attempt: 1},
		Reason: reason,
	}
}

// asked returns the same for a cycle that somebody asked for.
func asked(cycle int, reason audit.Reason) audit.Credential {
	c := of(cycle, reason)
	c.Actor = person
	return c
}

// trail is what happens in the samples: a key is rotated, its successor is rotated because it has leaked, and then the rotation gives up.
func trail(marks audit.Fingerprints) []sample {
	const day = 24 * time.Hour
	key := func(number int) audit.Key {
		return audit.Key{
			ID: fmt.Sprintf("key_%d", number), Name: fmt.Sprintf("postern-rotate-openai-%d-k3x9", number), Version: fmt.Sprintf("0000000%d", number),
			Fingerprint: marks.Of(fmt.Sprintf("sample key %d", number)), Created: start.Add(time.Duration(number-2) * 30 * day),
		}
	}
	retiring := key(1)
	retiring.Retire = start.Add(day)
	fresh := key(2)
	fresh.Expires = start.Add(62 * day)
	leaked, next := key(2), key(3)
	leaked.Retire = start.Add(2 * day)
	short := func(k audit.Key) audit.Key { return audit.Key{Version: k.Version, Fingerprint: k.Fingerprint} }
	return []sample{
		{"AI_PROVIDER_TOKEN_ROTATED.token", audit.TokenRotated{
			Function: gateway, Upstream: "azure", Provider: "azure-openai", AuthType: "azure_ad",
			Principal: audit.Principal{Name: "11111111-2222-4333-8444-555555555555", Source: "federated assertion"}, Reason: audit.ReasonPreExpiry,
			Old: audit.Token{Fingerprint: marks.Of("sample token 1"), Expires: start.Add(5 * time.Minute)},
			New: audit.Token{Fingerprint: marks.Of("sample token 2"), Expires: start.Add(time.Hour)},
		}, 0, false},
		{"AI_PROVIDER_TOKEN_ROTATED.key", audit.KeyRotated{
			Credential: of(2, audit.ReasonScheduled), Old: retiring, New: fresh, Verify: audit.Verification{Attempts: 3, Duration: 1840},
			Overlap: 86400, PolicyHash: strings.Repeat("5a", 32),
		}, time.Minute, true},
		{"AI_KEY_FALLBACK_USED", audit.KeyFallbackUsed{
			Function: gateway, Upstream: "openai", Provider: "openai", CredentialRef: "openai-key", Rejected: short(fresh), Used: short(retiring),
		}, 2 * time.Minute, false},
		{"AI_PROVIDER_TOKEN_REVOKED", audit.KeyRevoked{Credential: of(2, audit.ReasonScheduled), Key: retiring, How: audit.EndingDeleted}, day, true},
		{"AI_PROVIDER_TOKEN_ROTATION_FAILED", audit.RotationFailed{
			Credential: asked(3, audit.ReasonCompromise), Step: audit.StepVerify, Class: audit.FailureKeyRejected, Attempt: 1, Retry: start.Add(2*day + 5*time.Minute),
		}, 2 * day, true},
		{"AI_PROVIDER_TOKEN_ORPHAN_FOUND", audit.OrphanFound{
			Credential: asked(3, audit.ReasonCompromise), Key: audit.Key{ID: next.ID, Name: next.Name, Created: next.Created}, Action: audit.OrphanDeleted,
		}, 2*day + 5*time.Minute, true},
		{"AI_PROVIDER_TOKEN_ORPHANED", audit.Orphaned{
			Credential: asked(3, audit.ReasonCompromise), Failures: 5, Since: start.Add(2 * day), Step: audit.StepVerify, Class: audit.FailureKeyRejected,
			Remedy: "find out why the issuer's new keys are rejected, then start the rotation again",
		}, 2*day + time.Hour, true},
		{"AI_PROVIDER_TOKEN_OPERATOR_DUE", audit.OperatorDue{
			Credential: asked(3, audit.ReasonCompromise), Task: "make a key at the issuer and store it as the next version", Due: start.Add(3 * day),
		}, 2*day + 2*time.Hour, true},
		{"AI_CALLER_DENIED", audit.CallerDenied{
			Function: gateway, RequestID: "req_5RJ7PZ4QDTKXW2N6", Caller: caller, Model: "gpt-5", Upstream: "openai", Reason: "model_not_allowed", Status: 403,
		}, 3 * day, false},
		{"AI_STEP_UP_REQUIRED", audit.StepUpRequired{
			Function: gateway, RequestID: "req_7XQ2MHE4B6VJKD3A", Caller: caller, Model: "gpt-5", Upstream: "openai",
			ACRValues: []string{"phr", "mfa"}, MaxAge: 300,
		}, 3*day + time.Minute, false},
		{"AI_POLICY_CHANGED", audit.PolicyChanged{
			Function: gateway, Old: audit.Document{Hash: strings.Repeat("5a", 32), Since: start.Add(-day)},
			New: audit.Document{Hash: strings.Repeat("c3", 32), Since: start.Add(3 * day)},
		}, 3*day + time.Hour, false},
	}
}

// samples returns a file for each event, and one with all of them as a trail.
func samples() ([]file, error) {
	marks, err := audit.NewFingerprints([]byte("sample"))
	if err != nil {
		return nil, err
	}
	var files []file
	var head audit.Head
	var lines bytes.Buffer
	for _, s := range trail(marks) {
		event, err := s.what.Event(start.Add(s.after))
		if err == nil && s.linked {
			event, head, err = audit.Link(event, head)
		}
		if err != nil {
			return nil, err
		}
		line, err := event.MarshalJSON()
		if err != nil {
			return nil, err
		}
		lines.Write(append(slices.Clone(line), '\n'))
		indented := jsontext.Value(line)
		if err := indented.Indent(jsontext.WithIndent("  ")); err != nil {
			return nil, err
		}
		files = append(files, file{"sample/" + s.name + ".json", append(indented, '\n')})
	}
	return append(files, file{"sample/trail.jsonl", lines.Bytes()}), nil
}
