// Package gcpkeys makes and revokes keys in Google Cloud: those of a service account, of which Google only ever gets the public half, and the API
// keys of a project.
//
// The package must not know where keys are stored, nor whose tokens it is given.
package gcpkeys

import (
	"net/http"
	"strings"

	"github.com/go-json-experiment/json"

	"github.com/postern-ai/postern/shared/rotation"
)

// refusal is an error of Google's APIs (https://google.aip.dev/193).
type refusal struct {
	Code    int      `json:"code"`
	Status  string   `json:"status"`
	Details []detail `json:"details"`
}

type detail struct {
	// Reason is that of an ErrorInfo.
	Reason string `json:"reason"`
	// Violations are those of a PreconditionFailure.
	Violations []struct {
		Type string `json:"type"`
	} `json:"violations"`
}

// refusalOf reads the error in a reply. A reply that is none, such as a proxy's page, has no status. The Gemini API's OpenAI-compatible paths put
// the error into a list.
func refusalOf(reply rotation.Reply) refusal {
	type wrapped struct {
		Error refusal `json:"error"`
	}
	var one wrapped
	var list []wrapped
	if json.Unmarshal(reply.Body, &one) == nil {
		return one.Error
	}
	if json.Unmarshal(reply.Body, &list) == nil && len(list) == 1 {
		return list[0].Error
	}
	return refusal{}
}

// has reports whether the error has a reason.
func (r refusal) has(reasons ...string) bool {
	for _, d := range r.Details {
		for _, reason := range reasons {
			if d.Reason == reason {
				return true
			}
		}
	}
	return false
}

// policy returns the organization policy that was violated, without what its name begins with. It is empty if it was none.
func (r refusal) policy() string {
	for _, d := range r.Details {
		for _, violation := range d.Violations {
			if name, ok := strings.CutPrefix(violation.Type, "constraints/"); ok && isConstraint(name) {
				return name
			}
		}
	}
	return ""
}

// isConstraint reports whether a text can be the name of a policy, which is shown.
func isConstraint(name string) bool {
	return len(name) <= 128 && !strings.ContainsFunc(name, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && r != '.'
	})
}

// keyless is what to do instead where keys are forbidden.
const keyless = "; use the platform's identity instead (auth_type: native), outside Google Cloud with gcp_workload_identity_provider"

// common explains the refusals that both kinds of keys have. It returns nil for others.
func common(reply rotation.Reply, out refusal) error {
	switch policy := out.policy(); {
	case policy != "":
		return reply.Refused("an organization policy does not allow such keys (" + policy + ")" + keyless)
	case out.has("SERVICE_DISABLED"):
		return reply.Refused("the API is not enabled in the project; enable it")
	case reply.Status == http.StatusConflict && out.Status == "ABORTED":
		return reply.Throttled("it is being changed by somebody else (409)")
	}
	return nil
}

// last returns the last part of a resource name.
func last(name string) string { return name[strings.LastIndexByte(name, '/')+1:] }
