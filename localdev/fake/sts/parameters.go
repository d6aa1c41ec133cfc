package sts

import (
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/postern-ai/postern/localdev/fake/awsquery"
)

// The constraints of the service's model. Patterns are those of the whole text.
var (
	arnType         = awsquery.Constraint{Required: true, Min: 20, Max: 2048, Pattern: regexp.MustCompile(`^[\x{9}\x{A}\x{D}\x{20}-\x{7E}\x{85}\x{A0}-\x{D7FF}\x{E000}-\x{FFFD}]+$`)}
	sessionNameType = awsquery.Constraint{Required: true, Min: 2, Max: 64, Pattern: regexp.MustCompile(`^[\w+=,.@-]*$`)}
	externalIDType  = awsquery.Constraint{Min: 2, Max: 1224, Pattern: regexp.MustCompile(`^[\w+=,.@:/-]*$`)}
	sourceType      = awsquery.Constraint{Min: 2, Max: 64, Pattern: regexp.MustCompile(`^[\w+=,.@-]*$`)}
	tokenType       = awsquery.Constraint{Required: true, Min: 4, Max: 20000}
	audienceType    = awsquery.Constraint{Required: true, Min: 1, Max: 1000}
	tagKeyType      = awsquery.Constraint{Required: true, Min: 1, Max: 128, Pattern: regexp.MustCompile(`^[\p{L}\p{Z}\p{N}_.:/=+\-@]+$`)}
	tagValueType    = awsquery.Constraint{Min: 0, Max: 256, Pattern: regexp.MustCompile(`^[\p{L}\p{Z}\p{N}_.:/=+\-@]*$`)}
	algorithmType   = awsquery.Constraint{Required: true, Min: 5, Max: 5}
)

// tags returns session tags. Keys are unique whatever their case, and aws: is reserved
// (https://docs.aws.amazon.com/IAM/latest/UserGuide/id_session-tags.html).
func tags(p awsquery.Parameters) (map[string]string, error) {
	count, err := p.Count("Tags")
	if err != nil {
		return nil, err
	}
	if count > 50 {
		return nil, awsquery.Invalid("1 validation error detected: Value at 'tags' failed to satisfy constraint: Member must have length less than or equal to 50")
	}
	tags, seen := map[string]string{}, map[string]bool{}
	for number := range count {
		prefix := fmt.Sprintf("Tags.member.%d.", number+1)
		key, err := p.Text(prefix+"Key", tagKeyType)
		if err != nil {
			return nil, err
		}
		value, err := p.Text(prefix+"Value", tagValueType)
		if err != nil {
			return nil, err
		}
		switch folded := strings.ToLower(key); {
		case !p.Has(prefix + "Value"):
			return nil, awsquery.Invalid("1 validation error detected: Value at '%sValue' failed to satisfy constraint: Member must not be null", prefix)
		case seen[folded]:
			return nil, awsquery.Refused(http.StatusBadRequest, "InvalidParameterValue", "Duplicate tag keys found. Please note that Tag keys are case insensitive.")
		case strings.HasPrefix(folded, "aws:"):
			return nil, awsquery.Refused(http.StatusBadRequest, "InvalidParameterValue", "The tag key prefix aws: is reserved.")
		default:
			seen[folded] = true
		}
		tags[key] = value
	}
	return tags, nil
}

// seconds returns a duration, or the one to use when none is given.
func seconds(p awsquery.Parameters, shortest, longest, otherwise time.Duration) (time.Duration, error) {
	number, err := p.Number("DurationSeconds", int(shortest.Seconds()), int(longest.Seconds()), int(otherwise.Seconds()))
	return time.Duration(number) * time.Second, err
}
