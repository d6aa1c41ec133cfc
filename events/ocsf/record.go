package ocsf

import "github.com/go-json-experiment/json/jsontext"

// record is an event of the two classes, with the attributes that are used here.
type record struct {
	ActivityID   activity       `json:"activity_id"`
	ActivityName string         `json:"activity_name"`
	CategoryUID  int            `json:"category_uid"`
	CategoryName string         `json:"category_name"`
	ClassUID     int            `json:"class_uid"`
	ClassName    string         `json:"class_name"`
	TypeUID      int            `json:"type_uid"`
	TypeName     string         `json:"type_name"`
	Time         int64          `json:"time"` // milliseconds since 1970
	SeverityID   severity       `json:"severity_id"`
	Severity     string         `json:"severity"`
	StatusID     status         `json:"status_id"`
	Status       string         `json:"status"`
	StatusCode   string         `json:"status_code,omitzero"`
	Detail       string         `json:"status_detail,omitzero"`
	Message      string         `json:"message"`
	Metadata     metadata       `json:"metadata"`
	Cloud        cloud          `json:"cloud"`
	Actor        actor          `json:"actor"`
	Entity       entity         `json:"entity,omitzero"`
	Result       entity         `json:"entity_result,omitzero"`
	Comment      string         `json:"comment,omitzero"`
	User         user           `json:"user,omitzero"`
	Service      service        `json:"service,omitzero"`
	Remote       bool           `json:"is_remote,omitzero"`
	Unmapped     jsontext.Value `json:"unmapped"`
}

type metadata struct {
	Version     string   `json:"version"`
	Product     product  `json:"product"`
	Profiles    []string `json:"profiles"`
	UID         string   `json:"uid"`
	OriginalUID string   `json:"original_event_uid"`
	EventCode   string   `json:"event_code"`
	Source      string   `json:"source"`
	Correlation string   `json:"correlation_uid,omitzero"`
	Sequence    int64    `json:"sequence,omitzero"`
}

type product struct {
	Name    string `json:"name"`
	Vendor  string `json:"vendor_name"`
	Version string `json:"version,omitzero"`
}

type cloud struct {
	Provider string  `json:"provider"`
	Region   string  `json:"region,omitzero"`
	Account  account `json:"account,omitzero"`
}

type account struct {
	UID string `json:"uid"`
}

type actor struct {
	App  string `json:"app_name"`
	User user   `json:"user,omitzero"`
	IDP  idp    `json:"idp,omitzero"`
}

type user struct {
	Name       string `json:"name,omitzero"`
	UID        string `json:"uid,omitzero"`
	TypeID     int    `json:"type_id"`
	Type       string `json:"type"`
	Domain     string `json:"domain,omitzero"`
	Credential string `json:"credential_uid,omitzero"`
}

type idp struct {
	UID    string `json:"uid"`
	Issuer string `json:"issuer"`
}

type service struct {
	Name string `json:"name"`
}

type entity struct {
	TypeID  int    `json:"type_id"`
	Type    string `json:"type"`
	Name    string `json:"name"`
	UID     string `json:"uid,omitzero"`
	Version string `json:"version,omitzero"`
	Policy  policy `json:"policy,omitzero"`
}

type policy struct {
	Name string `json:"name"`
	UID  string `json:"uid"`
}

// The classes.
const (
	authentication   = 3002
	entityManagement = 3004
)

// other is the value of every enumeration for what it has no value for.
const other = 99

type activity int

// The activities of the classes.
const (
	logon      activity = 1
	create     activity = 1
	update     activity = 3
	remove     activity = 4
	deactivate activity = 11
)

type severity int

const (
	informational severity = 1
	low           severity = 2
	medium        severity = 3
	high          severity = 4
)

type status int

const (
	success status = 1
	failure status = 2
)

const (
	systemUser   = 3 // of the types of users
	policyEntity = 5 // of the types of managed entities
)

// What the enumerations call their values.
var (
	classes    = map[int]string{authentication: "Authentication", entityManagement: "Entity Management"}
	activities = map[int]map[activity]string{
		authentication:   {logon: "Logon"},
		entityManagement: {create: "Create", update: "Update", remove: "Delete", deactivate: "Deactivate"},
	}
	severities = map[severity]string{informational: "Informational", low: "Low", medium: "Medium", high: "High"}
	statuses   = map[status]string{success: "Success", failure: "Failure", other: "Other"}
	providers  = map[string]string{"aws": "AWS", "gcp": "GCP", "azure": "Azure"}
)
