package config

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
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
	o.patterns("upstreams", &r.Upstreams)
	o.patterns("upstream_models", &r.UpstreamModels)
	l.grants(o, &r)
	o.finish(func(name string) (string, bool) {
		switch name {
		case "issuer", "method", "methods", "kind", "tenants", "subjects", "clients", "groups", "roles", "scopes", "claims", "tenant", "subject", "client", "group", "role", "scope":
			return "put it under match", true
		case "mfa_required":
			return "use mfa: always, or mfa: users", true
		}
		return "", false
	})
	return r
}

// patterns reads a list that may be left out.
func (o object) patterns(name string, into *[]string) {
	if p, ok := o.field(name); ok {
		*into = p.strings(isPattern)
	}
}

// mostOutput is more tokens than any model's answer has.
const mostOutput = 10_000_000

// grants reads what a rule says about how its models may be used.
func (l *loader) grants(o object, r *Rule) {
	if p, ok := o.field("routes"); ok {
		for _, s := range p.strings(oneOf(texts(Endpoints()), "this is no part of the API")) {
			r.Routes = append(r.Routes, Endpoint(s))
		}
	}
	if p, ok := o.field("tools"); ok {
		switch on, isFlag := false, p.kind == kindFlag; {
		case !isFlag:
			r.Tools = Tools{Limited: true, Names: p.strings(isPattern)}
		default:
			if on, _ = p.flag(); on {
				p.wrong("any tool may be used without it", "remove it, or name the tools, or set it to false")
			}
			r.Tools = Tools{Limited: true}
		}
	}
	if p, ok := o.field("max_tokens"); ok {
		r.MaxTokens, _ = p.number(1, mostOutput)
	}
	if p, ok := o.field("mfa"); ok {
		if s, ok := p.string(); ok && oneOf([]string{string(MFANever), string(MFAUsers), string(MFAAlways)}, "there is no such mode")(p, s) {
			r.MFA = MFAMode(s)
		}
	}
	if p, ok := o.field("log_payloads"); ok {
		if on, ok := p.flag(); ok {
			r.LogPayloads = &on
		}
	}
	if p, ok := o.field("limits"); ok {
		r.Limits = p.callerLimits()
	}
}

// oneOf is the check that accepts some words.
func oneOf(words []string, message string) func(place, string) bool {
	return func(p place, s string) bool {
		if slices.Contains(words, s) {
			return true
		}
		p.wrong(message, "use "+list(words, "or"))
		return false
	}
}

func (l *loader) match(o object) Match {
	var m Match
	if p, ok := o.field("issuer"); ok {
		if s, ok := p.string(); ok && isPattern(p, s) {
			m.Issuer = s
		}
	}
	if p, ok := o.field("methods"); ok {
		m.Methods = p.strings(oneOf(methods(), "callers are not authenticated in such a way"))
	}
	if p, ok := o.field("kind"); ok {
		if s, ok := p.string(); ok && oneOf([]string{"user", "workload"}, "there is no such kind of caller")(p, s) {
			m.Kind = s
		}
	}
	o.patterns("tenants", &m.Tenants)
	o.patterns("subjects", &m.Subjects)
	o.patterns("clients", &m.Clients)
	o.patterns("groups", &m.Groups)
	o.patterns("roles", &m.Roles)
	o.patterns("scopes", &m.Scopes)
	if p, ok := o.field("claims"); ok {
		m.Claims = l.claims(p)
	}
	o.finish(func(name string) (string, bool) {
		switch name {
		case "tenant", "subject", "client", "group", "role", "scope", "method", "claim":
			return "use " + name + "s, which is a list", true
		case "acr", "amr", "acrs", "auth_time", "max_age":
			return "what shows a second factor stands under mfa; the rule says mfa: always", true
		}
		return "", false
	})
	return m
}

// mostClaims bounds the claims that a document asks about, since every caller's are kept.
const mostClaims = 32

func (l *loader) claims(p place) map[string][]string {
	o, ok := p.object()
	if !ok {
		return nil
	}
	if len(o.fields) == 0 {
		p.wrong("it names no claim", "name at least one or remove the field")
		return nil
	}
	claims := map[string][]string{}
	for _, f := range o.fields {
		value, _ := o.field(f.key)
		switch pointer := jsontext.Pointer(f.key); {
		case f.key == "" || !anyText(value, f.key):
			value.wrong("this cannot be the name of a claim", "give a name, or the way to a claim within others, such as /realm_access/roles")
		case strings.HasPrefix(f.key, "/") && !pointer.IsValid():
			value.wrong("a name that begins with a slash is a JSON pointer, and this is none", "write ~1 for a slash within a name and ~0 for a ~")
		default:
			claims[f.key] = value.strings(isPattern)
		}
	}
	return claims
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
	empty := ok && section.kind == kindList && len(section.items) == 0
	if empty && !d.NamesCallers() {
		section.wrong("the list is empty, and without any rule the callers whom the platform admits may use every model",
			"add a rule, or remove the field to let them")
	}
	if d.NamesCallers() && (!ok || empty) {
		o.missing("policy", "no caller could use any model, because what no rule allows is denied",
			"add a rule, such as {models: [\"*\"]} to let every authenticated caller use every model")
	}
	if !ok || section.kind != kindList || len(l.problems) > 0 {
		return // a rule may look as if it had no effect only because what it is about could not be read
	}
	names := d.claimNames()
	if len(names) > mostClaims {
		section.wrong(fmt.Sprintf("the rules ask about %d claims, the most that are kept of a caller are %d", len(names), mostClaims), "match by fewer claims")
	}
	for i := range d.Callers {
		d.Callers[i].Claims = names
	}
	for i, item := range section.list() {
		rule, _ := item.object()
		d.matchEffect(rule, d.Policy[i])
		d.grantEffect(rule, d.Policy[i])
	}
}

// claimNames returns the claims that the rules ask about.
func (d *Document) claimNames() []string {
	var names []string
	for _, r := range d.Policy {
		names = append(names, slices.Collect(maps.Keys(r.Match.Claims))...)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// matchEffect reports what no caller of the document could be.
func (d *Document) matchEffect(o object, rule Rule) {
	p, ok := o.field("match")
	if !ok {
		return
	}
	match, _ := p.object()
	issuer, _ := match.field("issuer")
	knows := func(issuer string) bool { return Matches(rule.Match.Issuer, issuer) }
	if rule.Match.Issuer != "" && !d.PlatformCallers && !slices.ContainsFunc(d.issuers(), knows) {
		issuer.wrong("no caller has this issuer", "give one of the issuers under callers, to the letter")
	}
	methods, _ := match.field("methods")
	for i, method := range rule.Match.Methods {
		if !d.authenticates(method) {
			methods.list()[i].wrong("no caller of this document is authenticated in this way", "remove it, or describe such callers by callers, api_tokens, fronts or platform_callers")
		}
	}
}

// authenticates reports whether there may be callers that are authenticated in a way.
func (d *Document) authenticates(method string) bool {
	switch method {
	case "oidc":
		return len(d.Callers) > 0
	case "api_token":
		return d.APITokens != nil
	case "mtls":
		return slices.ContainsFunc(d.issuers(), func(issuer string) bool { return strings.HasPrefix(issuer, CertificateIssuer) })
	case "iap":
		return d.Fronts.IAP != nil
	}
	return d.PlatformCallers
}

// grantEffect reports what the document does not have.
func (d *Document) grantEffect(o object, rule Rule) {
	before := len(o.loader.problems)
	models, _ := o.field("models")
	for j, pattern := range rule.Models {
		if !d.couldServe(pattern) {
			models.list()[j].wrong("no model of this document has such a name", "check the models under upstreams; a * does not stand for a '/'")
		}
	}
	upstreams, _ := o.field("upstreams")
	for j, pattern := range rule.Upstreams {
		if !slices.ContainsFunc(d.Upstreams, func(u Upstream) bool { return Matches(pattern, u.Name) }) {
			upstreams.list()[j].wrong("no upstream of this document has such a name", "check the names under upstreams")
		}
	}
	upstreamModels, _ := o.field("upstream_models")
	for j, pattern := range rule.UpstreamModels {
		if !slices.ContainsFunc(d.Upstreams, func(u Upstream) bool {
			return len(u.Models) == 0 || slices.ContainsFunc(u.Models, func(m Model) bool { return Matches(pattern, m.Model) })
		}) {
			upstreamModels.list()[j].wrong("no model of this document is called so at its upstream", "check the models under upstreams; a * does not stand for a '/'")
		}
	}
	if len(o.loader.problems) == before && !slices.ContainsFunc(d.Upstreams, rule.allowsOf) {
		o.wrong("none of its models is of one of its upstreams, or is called there as upstream_models say", "name models and upstreams that belong together")
	}
}

// allowsOf reports whether the rule may allow a model of an upstream. Where an upstream serves models that it does not list, the answer is yes.
func (r Rule) allowsOf(u Upstream) bool {
	if len(u.Models) == 0 {
		return len(r.Upstreams) == 0 || matchesAny(r.Upstreams, u.Name)
	}
	return slices.ContainsFunc(u.Models, func(m Model) bool { return r.allowsModel(Route{Name: m.Name, Upstream: &u, Model: m.Model}) })
}

func matchesAny(patterns []string, s string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool { return Matches(pattern, s) })
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
