package contract

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// findings collects what is wrong with one message.
type findings struct {
	operation  string
	departures map[string]Departure
	list       []finding
}

// A finding is a problem plus what is needed to compare alternatives.
type finding struct {
	Problem
	kind    kind
	allowed []string // values that would have been accepted, for wrongValue
}

type kind int

const (
	wrong      kind = iota
	wrongType       // the value is of another JSON type
	wrongValue      // the value is outside a closed set
	unknown         // the property is not listed
)

// A spot is a place in a message, and where findings about it go.
type spot struct {
	*findings
	path string
}

// member returns the spot of a property.
func (s spot) member(name string) spot {
	if name == "" || strings.ContainsAny(name, ".[]") {
		return spot{s.findings, s.path + "[" + strconv.Quote(name) + "]"}
	}
	return spot{s.findings, s.path + "." + name}
}

// index returns the spot of an array element.
func (s spot) index(i int) spot {
	return spot{s.findings, s.path + "[" + strconv.Itoa(i) + "]"}
}

// fork returns the same spot with findings of its own, to try an alternative.
func (s spot) fork() spot {
	return spot{&findings{operation: s.operation, departures: s.departures}, s.path}
}

func (s spot) report(format string, args ...any) {
	s.add(finding{Problem: Problem{Text: fmt.Sprintf(format, args...)}})
}

func (s spot) reportType(want string, got any) {
	s.add(finding{kind: wrongType, Problem: Problem{Text: "must be " + want + ", is " + typeOf(got)}})
}

// reportValue reports a value outside a closed set. The value itself is shown
// only if it is short, as names are and prompts are not.
func (s spot) reportValue(allowed []string, got any) {
	text := "must be " + oneOf(allowed)
	if shown := scalar(got); shown != "" && len(shown) <= 40 {
		text += ", is " + shown
	}
	s.add(finding{kind: wrongValue, allowed: allowed, Problem: Problem{Text: text}})
}

func (s spot) reportUnknown() {
	if s.departs(Extra) {
		return
	}
	s.add(finding{kind: unknown, Problem: Problem{Text: "is not in the vendor's description", Unknown: true}})
}

// maxFindings bounds what one hopeless message can report.
const maxFindings = 100

func (s spot) add(f finding) {
	if len(s.list) >= maxFindings {
		return
	}
	f.Operation = s.operation
	f.Path = s.path
	s.list = append(s.list, f)
}

// departs reports whether the variant in use departs from the description here
// in the given way.
func (s spot) departs(d Departure) bool {
	return len(s.departures) != 0 && s.departures[elide(s.path)]&d != 0
}

// elide leaves the indexes out of a path: a[3].b is a[].b.
func elide(path string) string {
	var b strings.Builder
	inside := false
	for _, r := range path {
		switch {
		case r == '[':
			inside = true
			b.WriteRune(r)
		case r == ']':
			inside = false
			b.WriteRune(r)
		case !inside || r < '0' || r > '9':
			b.WriteRune(r)
		}
	}
	return b.String()
}

// problems returns what was found, by place.
func (f *findings) problems() []Problem {
	slices.SortStableFunc(f.list, func(a, b finding) int { return cmp.Compare(a.Path, b.Path) })
	var out []Problem
	for _, found := range f.list {
		if !slices.Contains(out, found.Problem) {
			out = append(out, found.Problem)
		}
	}
	return out
}

// count returns the number of findings that are errors and the number of
// properties that are merely unknown.
func (f *findings) count() (hard, soft int) {
	for _, found := range f.list {
		if found.kind == unknown {
			soft++
		} else {
			hard++
		}
	}
	return hard, soft
}

// oneOf words a closed set.
func oneOf(values []string) string {
	values = slices.Compact(slices.Sorted(slices.Values(values)))
	if len(values) == 1 {
		return values[0]
	}
	return "one of " + strings.Join(values, ", ")
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
