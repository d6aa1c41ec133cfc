package config

import (
	"fmt"
	"maps"
	"slices"
)

// shadowed reports rules that never decide, because a rule before them matches whatever they match. Tools or bounds of such a rule look
// like a restriction, and are none.
func (l *loader) shadowed(o object, d *Document) {
	section, ok := o.field("policy")
	if !ok {
		return
	}
	rules, items := d.Policy, section.list()
	for later := range rules {
		first := slices.IndexFunc(rules[:later], func(r Rule) bool { return r.covers(&rules[later]) })
		if first >= 0 {
			items[later].wrong(fmt.Sprintf("the rule never decides, because the rule %q before it matches whatever it matches", rules[first].Name),
				"put the narrower rule first, or remove one of the two")
		}
	}
}

// covers reports whether the rule certainly matches every caller and target that another one matches.
func (r *Rule) covers(other *Rule) bool {
	m, o := &r.Match, &other.Match
	return (m.Issuer == "" || o.Issuer != "" && Matches(m.Issuer, o.Issuer)) &&
		(m.Kind == "" || m.Kind == o.Kind) &&
		coverWords(m.Methods, o.Methods) && coverWords(r.Routes, other.Routes) &&
		coverPatterns(m.Tenants, o.Tenants) && coverPatterns(m.Subjects, o.Subjects) && coverPatterns(m.Clients, o.Clients) &&
		coverPatterns(m.Groups, o.Groups) && coverPatterns(m.Roles, o.Roles) && coverPatterns(m.Scopes, o.Scopes) &&
		coverPatterns(r.Models, other.Models) && coverPatterns(r.Upstreams, other.Upstreams) && coverPatterns(r.UpstreamModels, other.UpstreamModels) &&
		!slices.ContainsFunc(slices.Collect(maps.Keys(m.Claims)), func(name string) bool { return !coverPatterns(m.Claims[name], o.Claims[name]) })
}

// coverWords reports whether each of others is among words. No words are all of them.
func coverWords[T comparable](words, others []T) bool {
	return len(words) == 0 || len(others) > 0 && !slices.ContainsFunc(others, func(word T) bool { return !slices.Contains(words, word) })
}

// coverPatterns reports whether each of others is matched by one of patterns, and so is all that it matches: what a * of theirs stands for, a *
// of the one that matches it stands for too. No patterns match everything.
func coverPatterns(patterns, others []string) bool {
	return len(patterns) == 0 || len(others) > 0 && !slices.ContainsFunc(others, func(other string) bool {
		return !slices.ContainsFunc(patterns, func(pattern string) bool { return Matches(pattern, other) })
	})
}
