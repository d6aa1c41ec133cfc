package config

import (
	"fmt"
	"maps"
	"strings"
)

// Route is where a request for a public model name goes.
type Route struct {
	// Name is the public name.
	Name string
	// Upstream is the upstream that serves the model.
	Upstream *Upstream
	// Model is the model's name at the upstream.
	Model string
	// Fallbacks are where else it may go, in order, if the upstream fails. They have none of their own.
	Fallbacks []Route
}

// Router finds the upstream for a public model name. It is read-only and may be shared between goroutines.
type Router struct {
	listed map[string]Route
	names  []string
	open   map[string]*Upstream // by name: the upstreams that serve models they do not list
	only   *Upstream            // the document's only upstream, if it is open
}

// NewRouter indexes a loaded document, which must not change afterwards.
func NewRouter(d *Document) *Router {
	r := &Router{listed: map[string]Route{}, open: map[string]*Upstream{}}
	for i := range d.Upstreams {
		u := &d.Upstreams[i]
		if len(u.Models) == 0 {
			r.open[u.Name] = u
		}
		for _, m := range u.Models {
			r.listed[m.Name] = Route{Name: m.Name, Upstream: u, Model: m.Model}
			r.names = append(r.names, m.Name)
		}
	}
	if len(d.Upstreams) == 1 && len(r.open) == 1 {
		r.only = &d.Upstreams[0]
	}
	r.fallBack(d)
	return r
}

// fallBack resolves the fallbacks of the listed models.
func (r *Router) fallBack(d *Document) {
	with := map[string]Route{}
	for _, u := range d.Upstreams {
		for _, m := range u.Models {
			if len(m.Fallbacks) == 0 {
				continue
			}
			route := r.listed[m.Name]
			for _, name := range m.Fallbacks {
				if to, ok := r.Route(name); ok {
					route.Fallbacks = append(route.Fallbacks, to)
				}
			}
			with[m.Name] = route
		}
	}
	// Only now, so that no fallback has any of its own.
	maps.Copy(r.listed, with)
}

// Route returns where requests for a public model name go. A name that an upstream could not have in its URL is not found,
// whoever sends it.
func (r *Router) Route(model string) (Route, bool) {
	if route, ok := r.listed[model]; ok {
		return route, true
	}
	if name, rest, ok := strings.Cut(model, "/"); ok {
		if u, ok := r.open[name]; ok && ValidModel(u.Provider, rest) {
			return Route{Name: model, Upstream: u, Model: rest}, true
		}
	}
	if r.only != nil && ValidModel(r.only.Provider, model) {
		return Route{Name: model, Upstream: r.only, Model: model}, true
	}
	return Route{}, false
}

// Models returns the public names that the document lists, in its order. Upstreams that serve every model add none.
func (r *Router) Models() []string { return r.names }

// conflicts reports upstreams that share a name and public model names that would lead to two places.
func (l *loader) conflicts(o object, d *Document) {
	section, _ := o.field("upstreams")
	if section.kind != kindList || len(d.Upstreams) != len(section.items) {
		return
	}
	items := section.list()
	names, models := map[string]int{}, map[string]int{}
	for i, u := range d.Upstreams {
		if first, twice := names[u.Name]; twice && u.Name != "" {
			items[i].wrong(fmt.Sprintf("upstreams[%d] has the same name, %q", first, u.Name), "give each a name of its own")
		} else {
			names[u.Name] = i
		}
	}
	for i, u := range d.Upstreams {
		for _, m := range u.Models {
			first, twice := models[m.Name]
			if twice && first == i {
				items[i].wrong(fmt.Sprintf("it has two models of the same public name, %q", m.Name), "remove one of the two, or give it another name, as {name, model}")
				continue
			}
			if twice {
				items[i].wrong(fmt.Sprintf("upstreams[%d] has a model of the same public name, %q", first, m.Name),
					"give one of them another name, as {name, model}")
				continue
			}
			models[m.Name] = i
			prefix, _, ok := strings.Cut(m.Name, "/")
			if at, taken := names[prefix]; ok && taken && at != i && len(d.Upstreams[at].Models) == 0 {
				items[i].wrong(fmt.Sprintf("upstreams[%d] already serves every model under %q, also %q", at, prefix+"/", m.Name),
					"give the model another public name, or list the models of that upstream")
			}
		}
	}
}
