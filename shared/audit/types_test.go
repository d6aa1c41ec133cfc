package audit_test

import (
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/postern-ai/postern/shared/audit"
)

// credential is what the events about a stored key begin with in these tests.
func credential() audit.Credential {
	return audit.Credential{
		Function: audit.Origin{Cloud: "aws", Account: "123456789012", Region: "eu-central-1", Name: "postern-rotate", Version: "v1.4.0", Commit: "4c0ab5a"},
		Name:     "openai", Upstream: "openai", Provider: "openai", Issuer: "openai", AuthType: "api_key", CredentialRef: "openai-key",
		Cycle:  audit.Cycle{ID: "0190a1b2-0000-4000-8000-000000000001", Number: 12, Attempt: 1},
		Reason: audit.ReasonManual,
		Actor:  audit.Actor{Name: "corp/jane", Issuer: "https://login.example.com", Subject: "jane", ACR: "phr"},
	}
}

func key(version string) audit.Key {
	return audit.Key{
		ID: "key_" + version, Name: "postern-rotate-openai-" + version, Version: version, Fingerprint: "0123456789abcd" + version + version,
		Created: at, Expires: at.Add(60 * 24 * time.Hour), Retire: at.Add(24 * time.Hour),
	}
}

// happening is the struct of one event.
type happening interface {
	audit.Data
	Event(at time.Time) (audit.Event, error)
}

// happenings are one of each type.
func happenings(t *testing.T) []happening {
	t.Helper()
	gateway := audit.Origin{Cloud: "gcp", Account: "my-project", Region: "europe-west1", Name: "postern"}
	caller := audit.Actor{Name: "corp/jane", Issuer: "https://login.example.com", Subject: "jane"}
	return []happening{
		rotated(t),
		audit.KeyRotated{
			Credential: credential(), Old: key("1"), New: key("2"), Verify: audit.Verification{Attempts: 3, Duration: 1500}, Overlap: 86400,
			PolicyHash: strings.Repeat("ab", 32),
		},
		audit.RotationFailed{Credential: credential(), Step: audit.StepCreate, Class: audit.FailureDenied, Attempt: 2, Retry: at.Add(time.Hour)},
		audit.KeyRevoked{Credential: credential(), Key: key("1"), How: audit.EndingDeleted},
		audit.OrphanFound{Credential: credential(), Key: key("3"), Action: audit.OrphanLeft},
		audit.Orphaned{
			Credential: credential(), Failures: 5, Since: at, Step: audit.StepVerify, Class: audit.FailureKeyRejected, Remedy: "Check the project.",
		},
		audit.OperatorDue{Credential: credential(), Task: "Make a key and store it.", Due: at.Add(time.Hour)},
		audit.KeyFallbackUsed{
			Function: gateway, Upstream: "openai", Provider: "openai", CredentialRef: "openai-key",
			Rejected: audit.Key{Version: "2", Fingerprint: "0123456789abcd22"}, Used: audit.Key{Version: "1", Fingerprint: "0123456789abcd11"},
		},
		audit.CallerDenied{Function: gateway, RequestID: "r1", Caller: caller, Model: "gpt-5", Upstream: "openai", Reason: "model_not_allowed", Status: 403},
		audit.StepUpRequired{
			Function: gateway, RequestID: "r2", Caller: caller, Model: "gpt-5", Upstream: "openai", ACRValues: []string{"phr", "mfa"}, MaxAge: 300,
		},
		audit.PolicyChanged{
			Function: gateway, Old: audit.Document{Hash: strings.Repeat("ab", 32), Since: at}, New: audit.Document{Hash: strings.Repeat("cd", 32), Since: at},
		},
	}
}

func made(t *testing.T, what happening) audit.Event {
	t.Helper()
	e, err := what.Event(at)
	if err != nil {
		t.Fatalf("%s: %v", what.EventType(), err)
	}
	return e
}

func TestEveryTypeIsAnEventWithAnIDOfItsOwn(t *testing.T) {
	t.Parallel()
	seen := map[string]string{}
	for _, what := range happenings(t) {
		e := made(t, what)
		if e.Type != what.EventType() || e.Subject == "" || e.Schema != audit.SchemaOf(e.Type) {
			t.Errorf("%s: got type %q, subject %q, schema %q", what.EventType(), e.Type, e.Subject, e.Schema)
		}
		if other, taken := seen[e.ID]; taken {
			t.Errorf("%s and %s have the same id", e.Data, other)
		}
		seen[e.ID] = string(e.Data)
		later, err := what.Event(at.Add(time.Minute))
		// Requests have their own: their callers may have chosen the ID of the request.
		request := e.Type == audit.CallerDeniedType || e.Type == audit.StepUpRequiredType
		if err != nil || (later.ID == e.ID) == request {
			t.Errorf("%s: told a minute later it is %s, and was %s, error %v", e.Type, later.ID, e.ID, err)
		}
		var head struct {
			Version  int        `json:"event_version"`
			Kind     audit.Kind `json:"kind"`
			Function audit.Origin
		}
		if err := json.Unmarshal(e.Data, &head); err != nil || head.Version != 1 {
			t.Errorf("%s: event_version is %d, error %v", e.Type, head.Version, err)
		}
		if wantKey := strings.Contains(string(e.Data), `"credential":`); wantKey != (head.Kind == audit.KindKey) {
			t.Errorf("%s: kind is %q", e.Type, head.Kind)
		}
	}
}

func TestWhatDiffersIsAnotherEvent(t *testing.T) {
	t.Parallel()
	failed := audit.RotationFailed{Credential: credential(), Step: audit.StepCreate, Class: audit.FailureDenied, Attempt: 1}
	revoked := audit.KeyRevoked{Credential: credential(), Key: key("1"), How: audit.EndingDeactivated}
	found := audit.OrphanFound{Credential: credential(), Key: key("1"), Action: audit.OrphanLeft}
	due := audit.OperatorDue{Credential: credential(), Task: "Store a key.", Due: at}
	turned := audit.KeyRotated{Credential: credential(), New: key("1")}
	stopped := audit.Orphaned{Credential: credential(), Failures: 5}
	used := audit.KeyFallbackUsed{Upstream: "a", Rejected: audit.Key{Version: "2"}, Used: audit.Key{Version: "1"}}
	denied := audit.CallerDenied{RequestID: "1"}
	changed := audit.PolicyChanged{Old: audit.Document{Hash: "a", Since: at}, New: audit.Document{Hash: "b"}}
	for name, pair := range map[string][2]happening{
		"another failure":      {failed, func() happening { f := failed; f.Attempt = 2; return f }()},
		"another step":         {failed, func() happening { f := failed; f.Step = audit.StepStage; return f }()},
		"another attempt":      {failed, func() happening { f := failed; f.Cycle.Attempt = 2; return f }()},
		"another stop":         {stopped, func() happening { s := stopped; s.Since = at; return s }()},
		"another cycle":        {turned, func() happening { k := turned; k.Cycle.ID = "2"; return k }()},
		"another credential":   {turned, func() happening { k := turned; k.Name = "2"; return k }()},
		"deleted at last":      {revoked, func() happening { r := revoked; r.How = audit.EndingDeleted; return r }()},
		"another key":          {revoked, func() happening { r := revoked; r.Key.ID = "2"; return r }()},
		"the orphan is gone":   {found, func() happening { o := found; o.Action = audit.OrphanDeleted; return o }()},
		"a reminder":           {due, func() happening { d := due; d.Due = at.Add(time.Hour); return d }()},
		"another request":      {denied, func() happening { d := denied; d.RequestID = "2"; return d }()},
		"another fallback":     {used, func() happening { u := used; u.Rejected.Version = "3"; return u }()},
		"the document is back": {changed, func() happening { c := changed; c.Old.Since = at.Add(time.Minute); return c }()},
	} {
		if made(t, pair[0]).ID == made(t, pair[1]).ID {
			t.Errorf("%s has the same id", name)
		}
	}
}

func TestFailuresOutsideOfACycleAreToldApartByTheirTime(t *testing.T) {
	t.Parallel()
	failed := audit.RotationFailed{Credential: credential(), Step: audit.StepReconcile, Class: audit.FailureDenied, Attempt: 1}
	failed.Cycle = audit.Cycle{}
	later, err := failed.Event(at.Add(time.Hour))
	if err != nil || later.ID == made(t, failed).ID || strings.Contains(string(later.Data), `"cycle"`) {
		t.Errorf("got %s, error %v", later.Data, err)
	}
}

func TestAKeyThatIsPutWhereAFingerprintBelongsIsNoEvent(t *testing.T) {
	t.Parallel()
	const canary = "sk-canary-0123456789"
	slip := audit.Key{ID: "key_1", Fingerprint: canary}
	for _, what := range []happening{
		audit.KeyRotated{Credential: credential(), New: slip},
		audit.KeyRotated{Credential: credential(), Old: slip},
		audit.KeyRevoked{Credential: credential(), Key: slip},
		audit.OrphanFound{Credential: credential(), Key: slip},
		audit.KeyFallbackUsed{Upstream: "a", Used: slip},
		audit.KeyFallbackUsed{Upstream: "a", Rejected: slip},
	} {
		e, err := what.Event(at)
		if err == nil || strings.Contains(err.Error(), canary) || e.Data != nil {
			t.Errorf("%T: got %+v, error %v", what, e, err)
		}
	}
}

func TestEventsOfAKeyNeedItsName(t *testing.T) {
	t.Parallel()
	nameless := credential()
	nameless.Name = ""
	_, err := audit.KeyRevoked{Credential: nameless}.Event(at)
	if err == nil || !strings.Contains(err.Error(), "credential is missing") {
		t.Errorf("got %v", err)
	}
}

func TestNoCallerHidesItsRefusalByWhatItAsksFor(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"too long":              strings.Repeat("x", 2*audit.MaxEvent),
		"not UTF-8":             "gpt\xff-5",
		"control characters":    "gpt\x00\n-5",
		"a character cut in 2":  strings.Repeat("x", 255) + "ü",
		"nothing that is valid": "\xff\xfe",
	} {
		actor := audit.Actor{Name: text, Issuer: text, Subject: text, ACR: text}
		for _, what := range []happening{
			audit.CallerDenied{RequestID: "1", Caller: actor, Model: text, Reason: "model_not_allowed", Status: 403},
			audit.StepUpRequired{RequestID: "1", Caller: actor, Model: text},
		} {
			e, err := what.Event(at)
			if err != nil || len(e.Data) > 2000 {
				t.Errorf("%s: %s has %d bytes of data, error %v", name, what.EventType(), len(e.Data), err)
			}
		}
	}
}
