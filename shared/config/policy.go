package config

import (
	"fmt"
	"slices"
	"strings"
)

// Matches reports whether a pattern of the policy matches a text: a * stands for any characters, also none, except '/';
// everything else for itself.
func Matches(pattern, s string) bool {
	star, resume := -1, 0
	p, i := 0, 0
	for i < len(s) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, resume = p, i
			p++
		case p < len(pattern) && pattern[p] == s[i]:
			p++
			i++
		// Only the last * can help: one before it lies in an earlier segment, or was already satisfied as early as possible.
		case star >= 0 && s[resume] != '/':
			resume++
			p, i = star+1, resume
		default:
			return false
		}
	}
	return strings.Trim(pattern[p:], "*") == ""
}

func (l *loader) policy(o object) []Rule {
	section, ok := o.field("policy")
	if !ok {
		return nil
	}
	var rules []Rule
	names := map[string]int{}
	for i, item := range section.list() {
		o, ok := item.object()
		if !ok {
			continue
		}
		r := l.rule(o, fmt.Sprintf("rule-%d", i+1))
		if first, twice := names[r.Name]; twice {
			o.wrong(fmt.Sprintf("policy[%d] has the same name, %q", first, r.Name), "give each rule a name of its own")
		}
		names[r.Name] = i
		rules = append(rules, r)
	}
	return rules
}

func (l *loader) rule(o object, name string) Rule {
	r := Rule{Name: name}
	if p, ok := o.field("name"); ok {
		if s, ok := p.string(); ok && anyText(p, s) {
			r.Name = s
		}
	}
	if p, ok := o.field("match"); ok {
		if m, ok := p.object(); ok {
			r.Match = l.match(m)
		}
	}
	if p, ok := o.field("models"); ok {
		r.Models = p.strings(isPattern)
	} else {
		o.missing("models", "the rule allows nothing, because it names no models",
			`name the models, or write models: ["*"] for all whose names have no slash`)
	}
	o.finish(func(name string) (string, bool) {
		switch name {
		case "issuer", "subjects", "groups", "subject", "group":
			return "put it under match", true
		case "mfa", "mfa_required", "routes", "tools", "max_tokens":
			return "not available in this version; remove it", true
		}
		return "", false
	})
	return r
}

func (l *loader) match(o object) Match {
	var m Match
	if p, ok := o.field("issuer"); ok {
		if s, ok := p.string(); ok && isPattern(p, s) {
			m.Issuer = s
		}
	}
	if p, ok := o.field("subjects"); ok {
		m.Subjects = p.strings(isPattern)
	}
	if p, ok := o.field("groups"); ok {
		m.Groups = p.strings(isPattern)
	}
	o.finish(func(name string) (string, bool) {
		switch name {
		case "tenant", "tenants", "roles", "scopes", "claims", "method", "acr", "amr":
			return "not available in this version; match by issuer, subjects or groups", true
		}
		return "", false
	})
	return m
}

func isPattern(p place, s string) bool {
	if strings.Contains(s, "**") {
		p.wrong("a ** means nothing here: a * never stands for a '/'", "write one pattern for each number of segments")
		return false
	}
	return anyText(p, s)
}

// policyEffect reports rules that can never allow anything, and callers that no rule could ever allow.
func (l *loader) policyEffect(o object, d *Document) {
	section, ok := o.field("policy")
	if d.NamesCallers() && (!ok || section.kind == kindList && len(section.items) == 0) {
		o.missing("policy", "no caller could use any model, because what no rule allows is denied",
			"add a rule, such as {models: [\"*\"]} to let every authenticated caller use every model")
	}
	if !ok || section.kind != kindList || len(l.problems) > 0 {
		return // a rule may look as if it had no effect only because what it is about could not be read
	}
	for i, rule := range d.Policy {
		item := section.list()[i]
		rulePlace, _ := item.object()
		if match, ok := rulePlace.field("match"); ok && rule.Match.Issuer != "" && !d.PlatformCallers {
			if !slices.ContainsFunc(d.issuers(), func(issuer string) bool { return Matches(rule.Match.Issuer, issuer) }) {
				m, _ := match.object()
				issuer, _ := m.field("issuer")
				issuer.wrong("no caller has this issuer", "give one of the issuers under callers, to the letter")
			}
		}
		models, _ := rulePlace.field("models")
		for j, pattern := range rule.Models {
			if !d.couldServe(pattern) {
				models.list()[j].wrong("no model of this document has such a name", "check the models under upstreams; a * does not stand for a '/'")
			}
		}
	}
}

// couldServe reports whether a pattern can match a public model name of the document. Where an upstream serves models that
// it does not list, the answer is yes.
func (d *Document) couldServe(pattern string) bool {
	for _, u := range d.Upstreams {
		if len(u.Models) == 0 {
			return true
		}
		if slices.ContainsFunc(u.Models, func(m Model) bool { return Matches(pattern, m.Name) }) {
			return true
		}
	}
	return false
}
