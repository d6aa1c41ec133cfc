package awsquery

import (
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Invalid is the refusal of a value that its constraints do not allow.
func Invalid(format string, values ...any) error {
	return Refused(http.StatusBadRequest, "ValidationError", fmt.Sprintf(format, values...))
}

// Parameters are those of one request.
type Parameters struct{ url.Values }

var index = regexp.MustCompile(`\.member\.([1-9][0-9]*)`)

// Only refuses parameters that are not in the list, and those that are there twice. A # stands for a number.
func (p Parameters) Only(known []string) error {
	for name, values := range p.Values {
		general := index.ReplaceAllString(name, ".member.#")
		// An empty list is its bare name.
		empty := values[0] == "" && slices.ContainsFunc(known, func(k string) bool { return strings.HasPrefix(k, name+".member.") })
		if name != "Action" && name != "Version" && !empty && !slices.Contains(known, general) {
			return Refused(http.StatusBadRequest, "MalformedQueryString", "The operation has no parameter "+name)
		}
		if len(values) != 1 {
			return Refused(http.StatusBadRequest, "MalformedQueryString", "The parameter "+name+" is given twice")
		}
	}
	return nil
}

// Constraint is what the service's model says of a text.
type Constraint struct {
	Required bool
	// Min and Max bound its length.
	Min, Max int
	// Pattern is that of the whole text. Nil means any.
	Pattern *regexp.Regexp
}

// Text returns a parameter that is a text, empty if it is not there and need not be.
func (p Parameters) Text(name string, c Constraint) (string, error) {
	if !p.Has(name) {
		if c.Required {
			return "", Invalid("1 validation error detected: Value at '%s' failed to satisfy constraint: Member must not be null", name)
		}
		return "", nil
	}
	value := p.Get(name)
	length := utf8.RuneCountInString(value)
	switch {
	case length < c.Min:
		return "", Invalid("1 validation error detected: Value at '%s' failed to satisfy constraint: Member must have length greater than or equal to %d", name, c.Min)
	case length > c.Max:
		return "", Invalid("1 validation error detected: Value at '%s' failed to satisfy constraint: Member must have length less than or equal to %d", name, c.Max)
	case c.Pattern != nil && !c.Pattern.MatchString(value):
		return "", Invalid("1 validation error detected: Value at '%s' failed to satisfy constraint: Member must satisfy regular expression pattern: %s", name, c.Pattern)
	}
	return value, nil
}

// Number returns a parameter that is a number between two bounds, or the one to use when it is not there.
func (p Parameters) Number(name string, least, most, otherwise int) (int, error) {
	if !p.Has(name) {
		return otherwise, nil
	}
	number, err := strconv.Atoi(p.Get(name))
	if err != nil {
		return 0, Refused(http.StatusBadRequest, "MalformedInput", name+" is not a number")
	}
	if number < least || number > most {
		return 0, Invalid("1 validation error detected: Value '%d' at '%s' failed to satisfy constraint: Member must have value between %d and %d",
			number, name, least, most)
	}
	return number, nil
}

// Count returns how many members a list has. Its numbers must begin with 1 and have no gap.
func (p Parameters) Count(list string) (int, error) {
	numbers := map[int]bool{}
	for name := range p.Values {
		rest, ok := strings.CutPrefix(name, list+".member.")
		if !ok {
			continue
		}
		digits, _, _ := strings.Cut(rest, ".")
		number, err := strconv.Atoi(digits)
		if err != nil {
			return 0, Refused(http.StatusBadRequest, "MalformedQueryString", "A list has a member without a number")
		}
		numbers[number] = true
	}
	for number := range len(numbers) {
		if !numbers[number+1] {
			return 0, Refused(http.StatusBadRequest, "MalformedQueryString", "The members of "+list+" are not numbered from 1")
		}
	}
	return len(numbers), nil
}

// List returns the members of a list of texts.
func (p Parameters) List(name string, c Constraint, longest int) ([]string, error) {
	count, err := p.Count(name)
	if err != nil {
		return nil, err
	}
	if count > longest {
		return nil, Invalid("1 validation error detected: Value at '%s' failed to satisfy constraint: Member must have length less than or equal to %d", name, longest)
	}
	var members []string
	for number := range count {
		member, err := p.Text(fmt.Sprintf("%s.member.%d", name, number+1), c)
		if err != nil {
			return nil, err
		}
		members = append(members, member)
	}
	return members, nil
}
