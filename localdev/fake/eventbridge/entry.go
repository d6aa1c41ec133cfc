package eventbridge

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"math"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

const (
	// maxBytes is the limit on the entries of a call. Some regions take more by now; what keeps to this fits everywhere. It is reached by 256 KiB.
	maxBytes      = 256 << 10
	timeBytes     = 14
	maxDetailType = 128
)

// busForm is from the service's own description.
var busForm = regexp.MustCompile(`^(arn:aws[\w-]*:events:[a-z]+-[a-z]+-[\w-]+:[0-9]{12}:event-bus/)?[.\-_A-Za-z0-9]+$`)

type request struct {
	Entries    []entry `json:"Entries"`
	EndpointID string  `json:"EndpointId"`
}

// entry is an entry as it is sent.
type entry struct {
	Time         jsontext.Value `json:"Time"`
	Source       string         `json:"Source"`
	Resources    []string       `json:"Resources"`
	DetailType   string         `json:"DetailType"`
	Detail       string         `json:"Detail"`
	EventBusName string         `json:"EventBusName"`
	TraceHeader  string         `json:"TraceHeader"`
}

type reply struct {
	FailedEntryCount int      `json:"FailedEntryCount"`
	Entries          []result `json:"Entries"`
}

type result struct {
	EventID      string `json:"EventId,omitempty"`
	ErrorCode    string `json:"ErrorCode,omitempty"`
	ErrorMessage string `json:"ErrorMessage,omitempty"`
}

// problem is an error as the service reports it, of a call or of an entry.
type problem struct {
	Type    string `json:"__type"`
	Message string `json:"message,omitempty"`
}

func (p *problem) Error() string { return p.Type + ": " + p.Message }

func invalid(format string, values ...any) error {
	return &problem{Type: "ValidationException", Message: fmt.Sprintf(format, values...)}
}

// check returns why the whole call fails.
func (r request) check() error {
	if len(r.Entries) == 0 || len(r.Entries) > maxEntries {
		return invalid("1 validation error detected: Value at 'entries' failed to satisfy constraint: Member must have length between 1 and %d", maxEntries)
	}
	if r.EndpointID != "" {
		return invalid("global endpoints are not part of this stand-in")
	}
	size, complete := 0, false
	for i, e := range r.Entries {
		if _, err := e.seconds(); err != nil {
			return &problem{Type: "SerializationException", Message: "Time has to be a number of seconds"}
		}
		if e.EventBusName != "" && (!busForm.MatchString(e.EventBusName) || len(e.EventBusName) > 1600) {
			return invalid("1 validation error detected: Value at 'entries.%d.member.eventBusName' failed to satisfy constraint: Member must satisfy regular expression pattern", i+1)
		}
		size += e.size()
		complete = complete || e.Source != "" && e.DetailType != "" && e.Detail != ""
	}
	switch {
	case size >= maxBytes:
		return invalid("Total size of the entries in the request is over the limit.")
	case !complete:
		return invalid("Parameter(s) Source, DetailType and Detail are required in at least one entry.")
	}
	return nil
}

// size is as the service counts it (https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-putevents.html#eb-putevent-size).
func (e entry) size() int {
	size := len(e.Source) + len(e.DetailType) + len(e.Detail)
	if e.Time != nil {
		size += timeBytes
	}
	for _, resource := range e.Resources {
		size += len(resource)
	}
	return size
}

// check returns why the entry fails by itself.
func (e entry) check() *problem {
	for _, parameter := range []struct{ name, value string }{{"Source", e.Source}, {"DetailType", e.DetailType}, {"Detail", e.Detail}} {
		if parameter.value == "" {
			return &problem{Type: "InvalidArgument", Message: "Parameter " + parameter.name + " is not valid. Reason: " + parameter.name + " is a required argument."}
		}
	}
	switch {
	case utf8.RuneCountInString(e.DetailType) > maxDetailType:
		return &problem{Type: "InvalidArgument", Message: "Parameter DetailType is not valid. Reason: DetailType is too long."}
	case strings.HasPrefix(e.Source, "aws."):
		return &problem{Type: "NotAuthorizedForSourceException", Message: "Not authorized for the source."}
	case jsontext.Value(e.Detail).Kind() != '{' || !jsontext.Value(e.Detail).IsValid():
		return &problem{Type: "MalformedDetail", Message: "Detail is malformed."}
	}
	return nil
}

func (e entry) seconds() (float64, error) {
	var seconds float64
	if e.Time == nil {
		return 0, nil
	}
	return seconds, json.Unmarshal(e.Time, &seconds)
}

func (e entry) at() time.Time {
	seconds, err := e.seconds()
	if e.Time == nil || err != nil {
		return time.Now().UTC()
	}
	return time.UnixMilli(int64(math.Round(seconds * 1000))).UTC()
}

// eventID returns a new id of the form that the service gives out.
func eventID() string {
	var id [16]byte
	_, _ = rand.Read(id[:])
	text := hex.EncodeToString(id[:])
	return strings.Join([]string{text[:8], text[8:12], text[12:16], text[16:20], text[20:]}, "-")
}
