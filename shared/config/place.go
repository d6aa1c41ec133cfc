package config

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// loader collects problems while the document is read, so that one wrong value does not hide the next.
type loader struct {
	problems []Problem
	warnings []Problem
	shared   bool // instances share their tokens
	table    []option
	// certificates says that a front passes clients' certificates on, and addressed that the document says its address.
	certificates, addressed bool
}

// err returns the problems in the document's order, or nil.
func (l *loader) err() error {
	if len(l.problems) == 0 {
		return nil
	}
	slices.SortStableFunc(l.problems, func(a, b Problem) int { return cmp.Compare(a.Line, b.Line) })
	return &Problems{List: l.problems}
}

// place is one value of the document and the way to it.
type place struct {
	loader *loader
	path   string
	node
	// hidden keeps the value out of every problem, because a secret could have been written there.
	hidden bool
}

// wrong reports a problem with the value, and shows the value if it is short and not hidden.
func (p place) wrong(message, remedy string) {
	value := ""
	if !p.hidden && p.kind >= kindText && p.kind <= kindFlag {
		value = p.text
		if runes := []rune(value); len(runes) > 80 {
			value = string(runes[:80]) + "..."
		}
	}
	p.loader.problems = append(p.loader.problems, Problem{
		Path: p.path, Value: value, Message: message, Remedy: remedy, Line: p.line,
	})
}

// missing reports a field that the mapping at this place lacks.
func (p place) missing(name, message, remedy string) {
	p.loader.problems = append(p.loader.problems, Problem{
		Path: join(p.path, name), Message: message, Remedy: remedy, Line: p.line,
	})
}

// is reports a value of another kind than wanted. A value that has been reported already is not reported again.
func (p place) is(want kind, what string) bool {
	switch p.kind {
	case want:
		return true
	case kindInvalid:
	case kindNull:
		p.wrong("the field has no value", "give it "+what+" or remove the line")
	case kindInteger, kindFloat, kindFlag:
		if want == kindText {
			p.wrong("this is not text", "put it in quotes")
			return false
		}
		p.wrong("the value is of the wrong kind", "give it "+what)
	case kindText:
		remedy := "give it " + what
		if plain := looksLike(p.text); plain != kindText && plain == want {
			remedy += " without quotes"
		}
		p.wrong("the value is of the wrong kind", remedy)
	default:
		p.wrong("the value is of the wrong kind", "give it "+what)
	}
	return false
}

// looksLike returns the kind that a text would be without its quotes.
func looksLike(s string) kind {
	if s == "true" || s == "false" {
		return kindFlag
	}
	if _, err := strconv.ParseInt(s, 10, 64); err == nil {
		return kindInteger
	}
	return kindText
}

// string returns the text at this place, which must not be empty.
func (p place) string() (string, bool) {
	if !p.is(kindText, "a text") {
		return "", false
	}
	if p.text == "" {
		p.wrong("the text is empty", "give it a value or remove the line")
		return "", false
	}
	return p.text, true
}

func (p place) flag() (bool, bool) {
	if !p.is(kindFlag, "true or false") {
		return false, false
	}
	return p.text == "true", true
}

// number returns a whole number from a range.
func (p place) number(least, most int64) (int64, bool) {
	if !p.is(kindInteger, "a whole number") {
		return 0, false
	}
	n, err := strconv.ParseInt(p.text, 10, 64)
	// Others who read the document, such as Terraform, take 0100 for 64.
	if err != nil || n < least || n > most || strconv.FormatInt(n, 10) != p.text {
		p.wrong("the number is out of range", fmt.Sprintf("choose a plain decimal number from %d to %d", least, most))
		return 0, false
	}
	return n, true
}

// duration returns a length of time from a range.
func (p place) duration(least, most time.Duration) (time.Duration, bool) {
	if p.kind == kindInteger || p.kind == kindFloat {
		p.wrong("a length of time needs a unit", "write for example "+p.text+"s or 5m")
		return 0, false
	}
	s, ok := p.string()
	if !ok {
		return 0, false
	}
	d, err := time.ParseDuration(s)
	if err != nil {
		remedy := "write for example 90s, 5m or 1h30m"
		if days, ok := strings.CutSuffix(s, "d"); ok && looksLike(days) == kindInteger {
			remedy = "write days in hours, for example 24h"
		}
		p.wrong("this is not a length of time", remedy)
		return 0, false
	}
	if d < least || d > most {
		p.wrong("the length of time is out of range", fmt.Sprintf("choose one from %s to %s", least, most))
		return 0, false
	}
	return d, true
}

// list returns the items at this place.
func (p place) list() []place {
	if !p.is(kindList, "a list") {
		return nil
	}
	items := make([]place, len(p.items))
	for i, item := range p.items {
		items[i] = place{loader: p.loader, path: fmt.Sprintf("%s[%d]", p.path, i), node: item, hidden: p.hidden}
	}
	return items
}

// strings returns the texts at this place, without repetitions; check reports what it does not like about one and says so.
func (p place) strings(check func(place, string) bool) []string {
	var texts []string
	items := p.list()
	for _, item := range items {
		s, ok := item.string()
		if !ok || !check(item, s) {
			continue
		}
		if slices.Contains(texts, s) {
			item.wrong("this is in the list twice", "remove one of the two")
			continue
		}
		texts = append(texts, s)
	}
	if p.kind == kindList && len(items) == 0 {
		p.wrong("the list is empty", "name at least one or remove the field")
	}
	return texts
}

// anyText is the check that accepts every printable text.
func anyText(p place, s string) bool {
	if len(s) > 1024 || strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		p.wrong("the text is too long or has control characters", "correct it")
		return false
	}
	return true
}

// object is a mapping of the document whose fields are asked for by name. What has not been asked for when it is finished
// is unknown, so no separate list of fields can fall behind the code.
type object struct {
	place
	asked *[]string
}

// object returns the mapping at this place.
func (p place) object() (object, bool) {
	if !p.is(kindMapping, "a mapping of fields") {
		return object{}, false
	}
	return object{place: p, asked: new([]string)}, true
}

// field returns the field of that name, if the document has it.
func (o object) field(name string) (place, bool) {
	*o.asked = append(*o.asked, name)
	for _, f := range o.fields {
		if f.key == name {
			value := place{loader: o.loader, path: join(o.path, name), node: f.value, hidden: o.hidden}
			if value.line == 0 || f.value.kind == kindMapping || f.value.kind == kindList {
				value.line = f.line
			}
			return value, true
		}
	}
	return place{}, false
}

// has reports whether the document has the field, and makes it a known one.
func (o object) has(name string) bool {
	_, ok := o.field(name)
	return ok
}

// finish reports the fields that were not asked for. hint may know a field by a name that other products give it; the value
// of an unknown field is never shown, since it could be a key.
func (o object) finish(hint func(name string) (remedy string, ok bool)) {
	for _, f := range o.fields {
		if slices.Contains(*o.asked, f.key) {
			continue
		}
		remedy := "remove it"
		if near, ok := nearest(f.key, *o.asked); ok {
			remedy = fmt.Sprintf("did you mean %s?", near)
		}
		if hint != nil {
			if known, ok := hint(f.key); ok {
				remedy = known
			}
		}
		o.loader.problems = append(o.loader.problems, Problem{
			Path: join(o.path, f.key), Message: "unknown field", Remedy: remedy, Line: f.line,
		})
	}
}

// nearest returns the name that is a slip of the keyboard away from s.
func nearest(s string, names []string) (string, bool) {
	if len(s) > 64 {
		return "", false
	}
	best, found := len(s)/3+1, ""
	for _, name := range names {
		if d := distance(strings.ToLower(s), name); d < best || (d == best && found == "") {
			best, found = d, name
		}
	}
	return found, found != ""
}

// distance is the number of single-byte edits between two texts (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
