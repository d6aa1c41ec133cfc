package eventbridge

import (
	"net/http"

	"github.com/go-json-experiment/json"
	"github.com/postern-ai/postern/shared/audit"
)

// Read implements [audit.Bus]. A call that succeeds may have failed for some of its entries, which the reply tells by their positions.
func (b *bus) Read(reply audit.Reply, entries int) []audit.Refusal {
	if reply.Status != http.StatusOK {
		return explain(reply, reply.AWSCode()).OfEach(entries)
	}
	var out struct {
		FailedEntryCount int
		Entries          []struct {
			EventID   string `json:"EventId"`
			ErrorCode string
		}
	}
	if json.Unmarshal(reply.Body, &out) != nil || len(out.Entries) != entries {
		return reply.Malformed().OfEach(entries)
	}
	refusals := make([]audit.Refusal, entries)
	failed := 0
	for i, entry := range out.Entries {
		switch {
		case entry.ErrorCode != "":
			failed++
			refusals[i] = explain(reply, entry.ErrorCode)
		case entry.EventID == "":
			return reply.Malformed().OfEach(entries)
		}
	}
	if failed != out.FailedEntryCount {
		return reply.Malformed().OfEach(entries)
	}
	return refusals
}

// explain says in our own words why a call or an entry was refused. What the service wrote is not shown, because it repeats names and callers.
func explain(reply audit.Reply, code string) audit.Refusal {
	switch code {
	case "ThrottlingException", "ThrottledException", "RequestLimitExceeded", "TooManyRequestsException":
		return reply.Busy(code)
	case "InternalFailure", "InternalException", "ServiceUnavailable", "ServiceUnavailableException":
		return reply.Failed(code)
	case "AccessDeniedException":
		return audit.Refusal{Reason: "this function's role may not publish on the bus; it needs events:PutEvents on it, and the bus's own policy has to allow it if the bus is in another account"}
	case "NotAuthorizedForSourceException", "NotAuthorizedForDetailTypeException":
		return audit.Refusal{Reason: "the bus's policy does not let in sources that begin with " + Source + ", or this type of event (" + code + ")"}
	case "InvalidAccountIdException", "ResourceNotFoundException":
		return audit.Refusal{Reason: "EventBridge has no bus of the configured name or ARN (" + code + ")"}
	case "ValidationException", "InvalidArgument", "MalformedDetail", "SerializationException":
		return audit.Refusal{Reason: "EventBridge does not take the event as it is (" + code + ")"}
	case "RedactionFailure":
		return audit.Refusal{Reason: "EventBridge could not write the call to CloudTrail (" + code + "); see the bus's KMS key and its policy"}
	}
	switch {
	case audit.IsOfSignature(code):
		return audit.Refusal{Reason: "AWS does not accept this function's credentials (" + code + ")"}
	case reply.Status == http.StatusOK:
		return audit.Refusal{Reason: "EventBridge refuses the event for a reason that is not known here"}
	}
	return reply.Refusal()
}
