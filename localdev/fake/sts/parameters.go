package sts

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/postern-ai/postern/localdev/fake/awsauth"
)

// refusal is an error of the service.
type refusal struct {
	status  int
	code    string
	message string
}

// Error returns the code and the message.
func (r *refusal) Error() string { return r.code + ": " + r.message }

func refuse(w http.ResponseWriter, err error) {
	if known, ok := errors.AsType[*refusal](err); ok {
		awsauth.WriteQueryError(w, awsauth.QueryError{Status: known.status, Code: known.code, Message: known.message})
		return
	}
	awsauth.WriteQueryError(w, awsauth.QueryError{Status: http.StatusInternalServerError, Code: "InternalFailure", Message: "internal error"})
}

func invalid(format string, values ...any) error {
	return &refusal{http.StatusBadRequest, "ValidationError", fmt.Sprintf(format, values...)}
}

// parameters are those of one request.
type parameters struct{ url.Values }

var index = regexp.MustCompile(`\.member\.([1-9][0-9]*)`)

// only refuses parameters that are not in the list, and those that are there twice. A # stands for a number.
func (p parameters) only(known []string) error {
	for name, values := range p.Values {
		general := index.ReplaceAllString(name, ".member.#")
		// An empty list is its bare name.
		empty := values[0] == "" && slices.ContainsFunc(known, func(k string) bool { return strings.HasPrefix(k, name+".member.") })
		if name != "Action" && name != "Version" && !empty && !slices.Contains(known, general) {
			return &refusal{http.StatusBadRequest, "MalformedQueryString", "The operation has no parameter " + name}
		}
		if len(values) != 1 {
			return &refusal{http.StatusBadRequest, "MalformedQueryString", "The parameter " + name + " is given twice"}
		}
	}
	return nil
}

// constraint is what the service's model says of a text.
type constraint struct {
	required bool
	min, max int
	pattern  *regexp.Regexp
}

// The constraints of the service's model. Patterns are those of the whole text.
var (
	arnType         = constraint{true, 20, 2048, regexp.MustCompile(`^[\x{9}\x{A}\x{D}\x{20}-\x{7E}\x{85}\x{A0}-\x{D7FF}\x{E000}-\x{FFFD}]+$`)}
	sessionNameType = constraint{true, 2, 64, regexp.MustCompile(`^[\w+=,.@-]*$`)}
	externalIDType  = constraint{false, 2, 1224, regexp.MustCompile(`^[\w+=,.@:/-]*$`)}
	sourceType      = constraint{false, 2, 64, regexp.MustCompile(`^[\w+=,.@-]*$`)}
	tokenType       = constraint{true, 4, 20000, nil}
	audienceType    = constraint{true, 1, 1000, nil}
	tagKeyType      = constraint{true, 1, 128, regexp.MustCompile(`^[\p{L}\p{Z}\p{N}_.:/=+\-@]+$`)}
	tagValueType    = constraint{false, 0, 256, regexp.MustCompile(`^[\p{L}\p{Z}\p{N}_.:/=+\-@]*$`)}
	algorithmType   = constraint{true, 5, 5, nil}
)

func (p parameters) text(name string, c constraint) (string, error) {
	if !p.Has(name) {
		if c.required {
			return "", invalid("1 validation error detected: Value at '%s' failed to satisfy constraint: Member must not be null", name)
		}
		return "", nil
	}
	value := p.Get(name)
	length := utf8.RuneCountInString(value)
	switch {
	case length < c.min:
		return "", invalid("1 validation error detected: Value at '%s' failed to satisfy constraint: Member must have length greater than or equal to %d", name, c.min)
	case length > c.max:
		return "", invalid("1 validation error detected: Value at '%s' failed to satisfy constraint: Member must have length less than or equal to %d", name, c.max)
	case c.pattern != nil && !c.pattern.MatchString(value):
		return "", invalid("1 validation error detected: Value at '%s' failed to satisfy constraint: Member must satisfy regular expression pattern: %s", name, c.pattern)
	}
	return value, nil
}

// seconds returns a duration, or the one to use when none is given.
func (p parameters) seconds(name string, shortest, longest, otherwise time.Duration) (time.Duration, error) {
	if !p.Has(name) {
		return otherwise, nil
	}
	number, err := strconv.Atoi(p.Get(name))
	if err != nil {
		return 0, &refusal{http.StatusBadRequest, "MalformedInput", name + " is not a number"}
	}
	value := time.Duration(number) * time.Second
	if value < shortest || value > longest {
		return 0, invalid("1 validation error detected: Value '%d' at '%s' failed to satisfy constraint: Member must have value between %d and %d",
			number, name, int(shortest.Seconds()), int(longest.Seconds()))
	}
	return value, nil
}

// count returns how many members a list has. Its numbers must begin with 1 and have no gap.
func (p parameters) count(list string) (int, error) {
	numbers := map[int]bool{}
	for name := range p.Values {
		rest, ok := strings.CutPrefix(name, list+".member.")
		if !ok {
			continue
		}
		digits, _, _ := strings.Cut(rest, ".")
		number, err := strconv.Atoi(digits)
		if err != nil {
			return 0, &refusal{http.StatusBadRequest, "MalformedQueryString", "A list has a member without a number"}
		}
		numbers[number] = true
	}
	for number := range len(numbers) {
		if !numbers[number+1] {
			return 0, &refusal{http.StatusBadRequest, "MalformedQueryString", "The members of " + list + " are not numbered from 1"}
		}
	}
	return len(numbers), nil
}

func (p parameters) list(name string, c constraint, longest int) ([]string, error) {
	count, err := p.count(name)
	if err != nil {
		return nil, err
	}
	if count > longest {
		return nil, invalid("1 validation error detected: Value at '%s' failed to satisfy constraint: Member must have length less than or equal to %d", name, longest)
	}
	var members []string
	for number := range count {
		member, err := p.text(fmt.Sprintf("%s.member.%d", name, number+1), c)
		if err != nil {
			return nil, err
		}
		members = append(members, member)
	}
	return members, nil
}

// tags returns session tags. Keys are unique whatever their case, and aws: is reserved
// (https://docs.aws.amazon.com/IAM/latest/UserGuide/id_session-tags.html).
func (p parameters) tags() (map[string]string, error) {
	count, err := p.count("Tags")
	if err != nil {
		return nil, err
	}
	if count > 50 {
		return nil, invalid("1 validation error detected: Value at 'tags' failed to satisfy constraint: Member must have length less than or equal to 50")
	}
	tags, seen := map[string]string{}, map[string]bool{}
	for number := range count {
		prefix := fmt.Sprintf("Tags.member.%d.", number+1)
		key, err := p.text(prefix+"Key", tagKeyType)
		if err != nil {
			return nil, err
		}
		value, err := p.text(prefix+"Value", tagValueType)
		if err != nil {
			return nil, err
		}
		switch folded := strings.ToLower(key); {
		case !p.Has(prefix + "Value"):
			return nil, invalid("1 validation error detected: Value at '%sValue' failed to satisfy constraint: Member must not be null", prefix)
		case seen[folded]:
			return nil, &refusal{http.StatusBadRequest, "InvalidParameterValue", "Duplicate tag keys found. Please note that Tag keys are case insensitive."}
		case strings.HasPrefix(folded, "aws:"):
			return nil, &refusal{http.StatusBadRequest, "InvalidParameterValue", "The tag key prefix aws: is reserved."}
		default:
			seen[folded] = true
		}
		tags[key] = value
	}
	return tags, nil
}
