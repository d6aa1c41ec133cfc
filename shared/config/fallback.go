package config

import (
	"fmt"
	"slices"
)

// mostFallbacks bounds how many models one request may be sent to, besides the one that it asks for.
const mostFallbacks = 5

// fallbacks reads what is asked when a model fails. Whether there are such models is known only when all have been read.
func (o object) fallbacks(m *Model) {
	p, ok := o.field("fallbacks")
	if !ok {
		return
	}
	m.Fallbacks = p.strings(func(p place, s string) bool {
		if s == m.Name {
			p.wrong("a model is no fallback for itself", "name another model, or remove it")
			return false
		}
		return anyText(p, s)
	})
	if n := len(m.Fallbacks); n > mostFallbacks {
		p.wrong(fmt.Sprintf("there are %d fallbacks, and at most %d are asked", n, mostFallbacks), "keep those that matter")
	}
}

// fallbackEffect reports fallbacks that no request could ever be sent to. The document has been read without a problem.
func (l *loader) fallbackEffect(o object, d *Document) {
	router := NewRouter(d)
	section, _ := o.field("upstreams")
	for i, item := range section.list() {
		upstream, _ := item.object()
		models, ok := upstream.field("models")
		if !ok {
			continue
		}
		for j, item := range models.list() {
			m := d.Upstreams[i].Models[j]
			if len(m.Fallbacks) == 0 {
				continue
			}
			entry, _ := item.object()
			list, _ := entry.field("fallbacks")
			d.fallbackEffect(list.list(), m, router)
		}
	}
}

func (d *Document) fallbackEffect(places []place, m Model, router *Router) {
	type target struct{ upstream, model string }
	own, _ := router.Route(m.Name)
	seen := map[target]string{{own.Upstream.Name, own.Model}: m.Name}
	for i, name := range m.Fallbacks {
		route, ok := router.Route(name)
		if !ok {
			others := slices.DeleteFunc(slices.Clone(router.Models()), func(other string) bool { return other == m.Name })
			remedy := "name one of the models under upstreams"
			if near, ok := nearest(name, others); ok {
				remedy = fmt.Sprintf("did you mean %s?", near)
			}
			places[i].wrong("no model of this document has such a name", remedy)
			continue
		}
		to := target{route.Upstream.Name, route.Model}
		if first, twice := seen[to]; twice {
			places[i].wrong(fmt.Sprintf("it is the same model of the same upstream as %q, which has failed by then", first), "name another model, or remove it")
			continue
		}
		seen[to] = name
		if len(d.Policy) > 0 && !slices.ContainsFunc(d.Policy, func(r Rule) bool { return r.allows(route) }) {
			places[i].wrong("no rule lets anybody use it, and a fallback is only for callers who may use it themselves", "allow it in a rule of the policy, or remove it")
		}
	}
}

// allows reports whether the rule lets those whom it is for chat with a model.
func (r Rule) allows(to Route) bool {
	return r.allowsModel(to) && (len(r.Routes) == 0 || slices.Contains(r.Routes, EndpointChat))
}

// allowsModel reports whether the rule lets those whom it is for use a model for something.
func (r Rule) allowsModel(to Route) bool {
	return matchesAny(r.Models, to.Name) &&
		(len(r.Upstreams) == 0 || matchesAny(r.Upstreams, to.Upstream.Name)) &&
		(len(r.UpstreamModels) == 0 || matchesAny(r.UpstreamModels, to.Model))
}
