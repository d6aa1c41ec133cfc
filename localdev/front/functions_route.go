package front

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// route is a route template of the kind that function.json has: literals, {name}, {name?} and {*name}.
type route []segment

type segment struct {
	kind segmentKind
	// text is the literal or the name of the parameter.
	text string
}

// segmentKind orders segments by how specific they are.
type segmentKind int

const (
	literal segmentKind = iota
	parameter
	optional
	catchAll
)

func parseRoute(template string) (route, error) {
	if template == "" {
		return route{}, nil
	}
	parts := strings.Split(template, "/")
	if first := strings.ToLower(parts[0]); first == "admin" || first == "runtime" {
		return nil, fmt.Errorf("route %q: /%s belongs to the host", template, first)
	}
	var r route
	for i, part := range parts {
		s, err := parseSegment(part)
		if err != nil {
			return nil, fmt.Errorf("route %q: %w", template, err)
		}
		if i < len(parts)-1 && (s.kind == catchAll || s.kind == optional) {
			return nil, fmt.Errorf("route %q: {%s} must come last", template, s.text)
		}
		r = append(r, s)
	}
	return r, nil
}

func parseSegment(part string) (segment, error) {
	if !strings.ContainsAny(part, "{}") {
		if part == "" {
			return segment{}, fmt.Errorf("there is an empty segment")
		}
		return segment{literal, part}, nil
	}
	name, opened := strings.CutPrefix(part, "{")
	name, closed := strings.CutSuffix(name, "}")
	if !opened || !closed || strings.ContainsAny(name, "{}:=") {
		return segment{}, fmt.Errorf("segment %q is not emulated: use {name}, {name?} or {*name}", part)
	}
	s := segment{parameter, name}
	if rest, ok := strings.CutPrefix(name, "*"); ok {
		s = segment{catchAll, rest}
	} else if rest, ok := strings.CutSuffix(name, "?"); ok {
		s = segment{optional, rest}
	}
	if s.text == "" {
		return segment{}, fmt.Errorf("segment %q has no name", part)
	}
	return s, nil
}

// match returns the parameters of a decoded path that the route fits.
func (r route) match(path string) (map[string]string, bool) {
	path = strings.Trim(path, "/")
	var parts []string
	if path != "" {
		parts = strings.Split(path, "/")
	}
	params := map[string]string{}
	for i, s := range r {
		switch {
		case s.kind == catchAll:
			if i < len(parts) {
				params[s.text] = strings.Join(parts[i:], "/")
			}
			return params, true
		case i >= len(parts):
			return params, s.kind == optional
		case s.kind == literal && !strings.EqualFold(s.text, parts[i]):
			return nil, false
		case s.kind != literal:
			params[s.text] = parts[i]
		}
	}
	return params, len(parts) == len(r)
}

// compareRoutes sorts the more specific route first.
func compareRoutes(a, b route) int {
	return slices.CompareFunc(a, b, func(s, t segment) int { return cmp.Compare(s.kind, t.kind) })
}

// find returns the function that serves a request, with the parameters of its route. A method that no function has is
// answered like a path that no function has.
func (a *app) find(method, path string) (*function, map[string]string, bool) {
	var found *function
	var params map[string]string
	for _, f := range a.functions {
		if !f.isHTTP() || !f.allows(method) || found != nil && compareRoutes(f.route, found.route) >= 0 {
			continue
		}
		if p, ok := f.route.match(path); ok {
			found, params = f, p
		}
	}
	return found, params, found != nil
}

// allows reports whether function.json lists the method; without a list all are allowed.
func (f *function) allows(method string) bool {
	return len(f.trigger.Methods) == 0 || slices.ContainsFunc(f.trigger.Methods, func(m string) bool { return strings.EqualFold(m, method) })
}
