package contract

import (
	"slices"
	"strings"
)

// An attempt is what came of checking a value against one alternative.
type attempt struct {
	at    spot
	known *names
}

// alternatives checks a value against a list of schemas of which one must fit.
// Where none does, only the nearest one's complaints are reported: the reader
// meant one of them.
func (c checker) alternatives(at spot, list []*schema, v any, known *names) {
	if len(list) == 0 {
		return
	}
	var attempts, passed []attempt
	for _, alternative := range list {
		tried := attempt{at.fork(), &names{listed: map[string]bool{}}}
		c.apply(tried.at, alternative, v, tried.known)
		attempts = append(attempts, tried)
		if hard, _ := tried.at.count(); hard == 0 {
			passed = append(passed, tried)
		}
	}
	if len(passed) == 0 {
		c.reportNone(at, attempts, v)
		known.open = true // the complaint is made; do not add a second one per property
		return
	}
	best := slices.MinFunc(passed, func(a, b attempt) int { return a.unlisted(v) - b.unlisted(v) })
	at.list = append(at.list, best.at.list...)
	for _, fitting := range passed {
		known.open = known.open || fitting.known.open || freeForm(fitting, v)
		for name := range fitting.known.listed {
			known.listed[name] = true
		}
	}
}

// freeForm reports whether an alternative takes an object without listing what
// may be in it.
func freeForm(a attempt, v any) bool {
	_, isObject := v.(map[string]any)
	return isObject && len(a.known.listed) == 0
}

// unlisted counts the properties that an alternative does not know, here and
// deeper.
func (a attempt) unlisted(v any) int {
	_, n := a.at.count()
	object, ok := v.(map[string]any)
	if !ok || a.known.open || len(a.known.listed) == 0 {
		return n
	}
	for name := range object {
		if !a.known.listed[name] {
			n++
		}
	}
	return n
}

// reportNone reports that no alternative fits.
func (c checker) reportNone(at spot, attempts []attempt, v any) {
	var types []string
	var allowed [][]string
	var deciding string
	for _, a := range attempts {
		if i := slices.IndexFunc(a.at.list, func(f finding) bool { return f.kind == wrongType && f.Path == at.path }); i >= 0 {
			want, _, _ := strings.Cut(strings.TrimPrefix(a.at.list[i].Text, "must be "), ", is ")
			types = append(types, want)
			continue
		}
		for _, f := range a.at.list {
			isTag := f.kind == wrongValue && (f.Path == at.path || parent(f.Path) == at.path)
			if isTag && (deciding == "" || deciding == f.Path) {
				allowed = append(allowed, f.allowed)
				deciding = f.Path
				break
			}
		}
	}
	switch {
	case len(types) == len(attempts):
		at.reportType(strings.Join(slices.Compact(slices.Sorted(slices.Values(types))), " or "), v)
		return
	case deciding != "" && len(types)+len(allowed) == len(attempts):
		// Every alternative that has the right type is ruled out by the same kind
		// of tag: name the tags.
		spot{at.findings, deciding}.reportValue(slices.Concat(allowed...), lookup(v, strings.TrimPrefix(deciding, at.path)))
		return
	}
	best := slices.MinFunc(attempts, func(a, b attempt) int { return a.distance() - b.distance() })
	at.list = append(at.list, best.at.list...)
}

// distance says how far a value is from an alternative. A wrong type means
// another alternative altogether, and so, a little less, does a wrong tag.
func (a attempt) distance() int {
	d := 0
	for _, f := range a.at.list {
		switch {
		case f.kind == unknown:
			d++
		case f.kind == wrongType && f.Path == a.at.path:
			d += 100_000
		case f.kind == wrongValue && parent(f.Path) == a.at.path:
			d += 1000
		default:
			d += 10
		}
	}
	return d
}

func parent(path string) string {
	return path[:max(strings.LastIndexAny(path, ".["), 0)]
}

// lookup returns the property that a one-step relative path names, or the value
// itself for an empty path.
func lookup(v any, relative string) any {
	object, ok := v.(map[string]any)
	if !ok || relative == "" {
		return v
	}
	return object[strings.TrimPrefix(relative, ".")]
}
