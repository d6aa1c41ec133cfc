package main

import (
	"fmt"
	"reflect"

	"github.com/postern-ai/postern/shared/audit"
)

// eventType is a type of event and the forms that its data has.
type eventType struct {
	name  audit.Type
	forms []audit.Data
}

// types are all of them, in the order in which they are documented.
var types = []eventType{
	{audit.TokenRotatedType, []audit.Data{audit.TokenRotated{}, audit.KeyRotated{}}},
	{audit.RotationFailedType, []audit.Data{audit.RotationFailed{}}},
	{audit.KeyRevokedType, []audit.Data{audit.KeyRevoked{}}},
	{audit.OrphanFoundType, []audit.Data{audit.OrphanFound{}}},
	{audit.OrphanedType, []audit.Data{audit.Orphaned{}}},
	{audit.OperatorDueType, []audit.Data{audit.OperatorDue{}}},
	{audit.KeyFallbackUsedType, []audit.Data{audit.KeyFallbackUsed{}}},
	{audit.CallerDeniedType, []audit.Data{audit.CallerDenied{}}},
	{audit.StepUpRequiredType, []audit.Data{audit.StepUpRequired{}}},
	{audit.PolicyChangedType, []audit.Data{audit.PolicyChanged{}}},
}

// version is the version of the format of all types so far.
const version = 1

func schemaName(t eventType) string { return fmt.Sprintf("schema/%s.%d.json", t.name, version) }

// kind returns what the member kind of a form says, or nothing when it has none.
func kind(form reflect.Type) audit.Kind {
	if f, ok := form.FieldByName("Kind"); ok && f.Type == reflect.TypeFor[audit.Kind]() {
		if _, key := form.FieldByName("Credential"); key {
			return audit.KindKey
		}
		return audit.KindToken
	}
	return ""
}
