// Package ocsf turns audit events into those of the Open Cybersecurity Schema Framework (https://schema.ocsf.io), for systems that take nothing else.
//
// What happens to credentials and documents is Entity Management (3004), who gets in or not is Authentication (3002); both are as in the schema's [Version].
// What the schema has no place for is in unmapped, as it was. The package does nothing but translate.
package ocsf

import (
	"fmt"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/postern-ai/postern/shared/audit"
)

// Version is the version of the schema that the events are of, which each one names.
const Version = "1.7.0"

// Map returns the event in the form of OCSF. It is the same for the same event. An event of a type, or of a version of its format, that it does not know is
// an error.
func Map(event audit.Event) (jsontext.Value, error) {
	if err := event.Validate(); err != nil {
		return nil, err
	}
	mapped, err := translate(event)
	if err != nil {
		return nil, fmt.Errorf("audit event %s of type %q: %w", event.ID, event.Type, err)
	}
	return json.Marshal(mapped)
}

// translate reads the data of the event as that of its type.
func translate(event audit.Event) (*record, error) {
	var head struct {
		Version int        `json:"event_version"`
		Kind    audit.Kind `json:"kind"`
	}
	if err := json.Unmarshal(event.Data, &head); err != nil {
		return nil, fmt.Errorf("data: %w", err)
	}
	if head.Version != 1 {
		return nil, fmt.Errorf("data has event_version %d, and 1 is known", head.Version)
	}
	switch event.Type {
	case audit.TokenRotatedType:
		if head.Kind == audit.KindKey {
			return as(event, keyRotated)
		}
		return as(event, tokenRotated)
	case audit.RotationFailedType:
		return as(event, rotationFailed)
	case audit.KeyRevokedType:
		return as(event, keyRevoked)
	case audit.OrphanFoundType:
		return as(event, orphanFound)
	case audit.OrphanedType:
		return as(event, orphaned)
	case audit.OperatorDueType:
		return as(event, operatorDue)
	case audit.KeyFallbackUsedType:
		return as(event, keyFallbackUsed)
	case audit.CallerDeniedType:
		return as(event, callerDenied)
	case audit.StepUpRequiredType:
		return as(event, stepUpRequired)
	case audit.PolicyChangedType:
		return as(event, policyChanged)
	}
	return nil, fmt.Errorf("there is no mapping for it")
}

// as decodes the data of the event, has it translated, and adds what all events have.
func as[D audit.Data](event audit.Event, translate func(D) *record) (*record, error) {
	var data D
	if err := json.Unmarshal(event.Data, &data); err != nil {
		return nil, fmt.Errorf("data: %w", err)
	}
	r := translate(data)
	r.CategoryUID, r.CategoryName = 3, "Identity & Access Management"
	r.ClassName = classes[r.ClassUID]
	r.TypeUID = r.ClassUID*100 + int(r.ActivityID)
	if r.ActivityName == "" {
		r.ActivityName = activities[r.ClassUID][r.ActivityID]
	}
	r.TypeName = r.ClassName + ": " + r.ActivityName
	if r.ActivityID == other {
		r.TypeName = r.ClassName + ": Other"
	}
	r.Severity, r.Status = severities[r.SeverityID], statuses[r.StatusID]
	r.Time = event.Time.UnixMilli()
	r.Metadata.Version, r.Metadata.UID, r.Metadata.OriginalUID = Version, event.ID, event.ID
	r.Metadata.EventCode, r.Metadata.Source, r.Metadata.Profiles = string(event.Type), event.Source, []string{"cloud"}
	r.Unmapped = event.Data
	return r, nil
}

// of begins a record with what the function says of itself.
func of(function audit.Origin, class int, activity activity) *record {
	r := &record{ClassUID: class, ActivityID: activity}
	r.Metadata.Product = product{Name: "Postern", Vendor: "Postern", Version: function.Version}
	r.Cloud = cloud{Provider: providers[function.Cloud], Region: function.Region}
	if r.Cloud.Provider == "" {
		r.Cloud.Provider = function.Cloud
	}
	if function.Account != "" {
		r.Cloud.Account = account{UID: function.Account}
	}
	r.Actor.App = function.Name
	return r
}

// about begins a record about a stored key.
func about(c audit.Credential, activity activity) *record {
	r := of(c.Function, entityManagement, activity)
	r.SeverityID, r.StatusID = informational, success
	r.Comment = "reason: " + string(c.Reason)
	r.Metadata.Correlation, r.Metadata.Sequence = c.Cycle.ID, c.Chain.Seq
	if c.Actor != (audit.Actor{}) {
		r.Actor.User, r.Actor.IDP = who(c.Actor), vouches(c.Actor)
	}
	r.Entity = credential(c.CredentialRef, audit.Key{})
	return r
}

// credential is a key as an entity.
func credential(reference string, k audit.Key) entity {
	return entity{TypeID: other, Type: "AI Provider Credential", Name: reference, UID: k.ID, Version: k.Version}
}

func keyRotated(e audit.KeyRotated) *record {
	r := about(e.Credential, update)
	r.Message = fmt.Sprintf("The key of %s was replaced.", e.Name)
	r.Entity, r.Result = credential(e.CredentialRef, e.Old), credential(e.CredentialRef, e.New)
	if e.Old == (audit.Key{}) {
		r.Message = fmt.Sprintf("The first key of %s was made.", e.Name)
		r.ActivityID, r.Entity, r.Result = create, r.Result, entity{}
	}
	if e.Reason == audit.ReasonCompromise {
		r.SeverityID = high
	}
	return r
}

func tokenRotated(e audit.TokenRotated) *record {
	r := of(e.Function, entityManagement, update)
	r.SeverityID, r.StatusID = informational, success
	r.Message = fmt.Sprintf("The token for %s was replaced.", e.Upstream)
	r.Comment = "reason: " + string(e.Reason)
	r.Entity = entity{TypeID: other, Type: "AI Provider Token", Name: e.Upstream, UID: e.Old.Fingerprint}
	r.Result = entity{TypeID: other, Type: "AI Provider Token", Name: e.Upstream, UID: e.New.Fingerprint}
	r.Actor.User = user{Name: e.Principal.Name, TypeID: systemUser, Type: "System"}
	return r
}

func rotationFailed(e audit.RotationFailed) *record {
	r := about(e.Credential, update)
	r.SeverityID, r.StatusID = medium, failure
	r.StatusCode, r.Detail = string(e.Class), string(e.Step)
	r.Message = fmt.Sprintf("The rotation of %s failed at the step %s: %s.", e.Name, e.Step, e.Class)
	return r
}

func keyRevoked(e audit.KeyRevoked) *record {
	r := about(e.Credential, remove)
	if e.How == audit.EndingDeactivated {
		r.ActivityID = deactivate
	}
	r.Entity = credential(e.CredentialRef, e.Key)
	r.Detail = string(e.How)
	r.Message = fmt.Sprintf("A key of %s is no longer valid: %s.", e.Name, e.How)
	return r
}

func orphanFound(e audit.OrphanFound) *record {
	r := about(e.Credential, remove)
	r.SeverityID = low
	r.Message = fmt.Sprintf("A key of %s that nobody used was deleted.", e.Name)
	if e.Action != audit.OrphanDeleted {
		r.ActivityID, r.ActivityName, r.SeverityID = other, "Orphan found", high
		r.Message = fmt.Sprintf("There is a key of %s that nobody uses.", e.Name)
	}
	r.Entity = credential(e.CredentialRef, e.Key)
	r.Detail = string(e.Action)
	return r
}

func orphaned(e audit.Orphaned) *record {
	r := about(e.Credential, other)
	r.ActivityName, r.SeverityID, r.StatusID = "Rotation stopped", high, failure
	r.StatusCode, r.Detail = string(e.Class), string(e.Step)
	r.Message = fmt.Sprintf("The rotation of %s has stopped after %d failures: %s.", e.Name, e.Failures, e.Remedy)
	return r
}

func operatorDue(e audit.OperatorDue) *record {
	r := about(e.Credential, other)
	r.ActivityName, r.SeverityID, r.StatusID = "Operator due", medium, other
	r.Message = fmt.Sprintf("The rotation of %s waits for an operator: %s.", e.Name, e.Task)
	return r
}

func keyFallbackUsed(e audit.KeyFallbackUsed) *record {
	r := of(e.Function, authentication, logon)
	r.SeverityID, r.StatusID = medium, success
	r.Message = fmt.Sprintf("%s rejected the current key and took the previous one.", e.Upstream)
	r.User = user{Name: e.Function.Name, TypeID: systemUser, Type: "System", Credential: e.Used.ID}
	r.Service = service{Name: e.Upstream}
	r.Remote = true
	return r
}

func callerDenied(e audit.CallerDenied) *record {
	r := admission(e.Function, e.Caller, e.RequestID)
	r.SeverityID = low
	r.StatusCode, r.Detail = fmt.Sprint(e.Status), e.Reason
	r.Message = "A caller was turned away: " + e.Reason + "."
	return r
}

func stepUpRequired(e audit.StepUpRequired) *record {
	r := admission(e.Function, e.Caller, e.RequestID)
	r.SeverityID = informational
	r.StatusCode, r.Detail = "401", "insufficient_user_authentication"
	r.Message = "A caller has to authenticate at another level or anew."
	return r
}

// admission begins a record about a caller who did not get in.
func admission(function audit.Origin, caller audit.Actor, request string) *record {
	r := of(function, authentication, logon)
	r.StatusID, r.Remote = failure, true
	r.User, r.Actor.IDP = who(caller), vouches(caller)
	r.Service = service{Name: function.Name}
	r.Metadata.Correlation = request
	return r
}

func policyChanged(e audit.PolicyChanged) *record {
	document := func(d audit.Document) entity {
		const name = "document"
		return entity{TypeID: policyEntity, Type: "Policy", Name: name, UID: d.Hash, Policy: policy{Name: name, UID: d.Hash}}
	}
	r := of(e.Function, entityManagement, update)
	r.SeverityID, r.StatusID = low, success
	r.Message = "The function follows another document."
	r.Metadata.Sequence = e.Chain.Seq
	r.Entity, r.Result = document(e.Old), document(e.New)
	if e.Old == (audit.Document{}) {
		r.ActivityID, r.Entity, r.Result = create, r.Result, entity{}
	}
	return r
}

// who is an actor as a user. The schema wants one even when nobody knows who it was.
func who(a audit.Actor) user {
	if a.Name == "" && a.Subject == "" {
		return user{Name: "unknown", Type: "Unknown"}
	}
	return user{Name: a.Name, UID: a.Subject, Domain: a.Issuer, TypeID: other, Type: "Caller"}
}

// vouches is who vouches for the actor, as an identity provider.
func vouches(a audit.Actor) idp { return idp{UID: a.Issuer, Issuer: a.Issuer} }
