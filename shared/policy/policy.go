// Package policy decides which caller may use what, and whether it has to show a second factor first. A loaded document's rules are
// compiled once; a decision only compares. The first rule that matches decides, and what none matches is denied.
//
// It must not know how a caller was authenticated, beyond the principal's fields, nor anything about the request except the
// model that it asks for and where that leads: what a rule says about the rest of a request is handed on as a [Grant].
package policy

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/postern-ai/postern/shared/caller"
	"github.com/postern-ai/postern/shared/config"
)

// Policy is a document's compiled rules. It is read-only and may be shared between goroutines. Its zero value denies
// everything.
//
// Rules repeat each other's words, so each distinct pattern has a number, and is compared once per decision; what is left for
// a rule is to look up its numbers.
type Policy struct {
	rules []rule
	// platform, when set, is for the platform's callers: the document has no rules, and no other callers whom they could be for.
	platform *Grant
	// required are the upstreams with mfa_required.
	required map[string]bool
	mfa      config.MFA

	words   []vocabulary // by part
	claims  []string     // the claim of each part from firstClaim on
	numbers int
}

// Target is what a caller wants to use: a model where it has been resolved to. It is decided on anew for each upstream that a request is
// sent to.
type Target struct {
	// Route is the part of the API.
	Route config.Endpoint
	// Model is the public model name.
	Model string
	// Upstream is the name of the upstream that would serve it.
	Upstream string
	// UpstreamModel is what it is called there.
	UpstreamModel string
}

// Decision is the answer for one caller and one target.
type Decision struct {
	// Allowed says that the target may be used, as the Grant says.
	Allowed bool
	// StepUp, when set, says that the target may be used once the caller has shown a second factor. Then it is not Allowed yet.
	StepUp *StepUp
	// Grant is what the rule that decided says about the request. It is nil when no rule matched.
	Grant *Grant
	// Reason says why not. It may be shown to the caller. It is empty when the target is allowed.
	Reason string
}

// Rule is the name of the rule that decided, or "" when the document has no rules or none matched.
func (d Decision) Rule() string {
	if d.Grant == nil {
		return ""
	}
	return d.Grant.Rule
}

// Grant is what a rule says about the requests that it allows. It is shared and must not be changed.
type Grant struct {
	// Rule is the rule's name.
	Rule string
	// MaxTokens is the longest answer; zero means any.
	MaxTokens int64
	// Tools are those that a request may bring along.
	Tools config.Tools
	// LogPayloads says whether bodies are logged.
	LogPayloads bool
	// Limits bound what one caller uses by this rule.
	Limits config.CallerLimits

	mfa config.MFAMode
}

// rule is a compiled config.Rule: conditions that must all be met.
type rule struct {
	conditions []condition
	grant      *Grant
}

// condition is met if one of the numbers is among the facts.
type condition struct {
	part    part
	numbers []int
}

// part is what a condition is about.
type part int

// The parts, in the order in which an explanation looks at them. The claims that rules ask about follow, each a part of its own.
const (
	partModel part = iota
	partGroup
	partSubject
	partRole
	partScope
	partClient
	partTenant
	partIssuer
	partUpstream
	partUpstreamModel
	partRoute
	partMethod
	partKind
	firstClaim
)

// Compile prepares the rules of a document that has been loaded.
func Compile(d *config.Document) *Policy {
	p := &Policy{mfa: d.MFA, required: map[string]bool{}, words: make([]vocabulary, firstClaim)}
	if d.PlatformCallers && !d.NamesCallers() && len(d.Policy) == 0 {
		p.platform = &Grant{LogPayloads: d.Logging.LogPayloads}
	}
	for _, u := range d.Upstreams {
		if u.MFARequired {
			p.required[u.Name] = true
		}
	}
	for i := range d.Policy {
		p.rules = append(p.rules, p.compile(&d.Policy[i], d.Logging.LogPayloads))
	}
	p.arrange()
	return p
}

// arrange puts the conditions of each rule in the order in which they are looked at: first those whose patterns the fewest rules share, since
// they are met most rarely.
func (p *Policy) arrange() {
	uses := make([]int, p.numbers)
	for _, r := range p.rules {
		for _, c := range r.conditions {
			for _, n := range c.numbers {
				uses[n]++
			}
		}
	}
	common := func(c condition) int {
		most := 0
		for _, n := range c.numbers {
			most += uses[n]
		}
		return most
	}
	for _, r := range p.rules {
		slices.SortStableFunc(r.conditions, func(a, b condition) int {
			return cmp.Or(cmp.Compare(common(a), common(b)), cmp.Compare(a.part, b.part))
		})
	}
}

func (p *Policy) compile(r *config.Rule, logPayloads bool) rule {
	c := rule{grant: &Grant{Rule: r.Name, MaxTokens: r.MaxTokens, Tools: r.Tools, LogPayloads: logPayloads, Limits: r.Limits, mfa: r.MFA}}
	if r.LogPayloads != nil {
		c.grant.LogPayloads = *r.LogPayloads
	}
	// A rule without models allows nothing, so this condition is always there.
	c.conditions = append(c.conditions, condition{partModel, p.number(partModel, r.Models)})
	for at, patterns := range map[part][]string{
		partGroup: r.Match.Groups, partSubject: r.Match.Subjects, partRole: r.Match.Roles, partScope: r.Match.Scopes, partClient: r.Match.Clients,
		partTenant: r.Match.Tenants, partIssuer: one(r.Match.Issuer), partMethod: r.Match.Methods, partKind: one(r.Match.Kind),
		partUpstream: r.Upstreams, partUpstreamModel: r.UpstreamModels, partRoute: words(r.Routes),
	} {
		if len(patterns) > 0 {
			c.conditions = append(c.conditions, condition{at, p.number(at, patterns)})
		}
	}
	for claim, patterns := range r.Match.Claims {
		at := p.claim(claim)
		c.conditions = append(c.conditions, condition{at, p.number(at, patterns)})
	}
	return c
}

// one is a list of a text, if there is one.
func one(s string) []string {
	if s == "" {
		return nil
	}
	return []string{s}
}

func words[T ~string](list []T) []string {
	var all []string
	for _, s := range list {
		all = append(all, string(s))
	}
	return all
}

// claim returns the part of a claim.
func (p *Policy) claim(name string) part {
	i := slices.Index(p.claims, name)
	if i < 0 {
		i = len(p.claims)
		p.claims, p.words = append(p.claims, name), append(p.words, vocabulary{})
	}
	return firstClaim + part(i)
}

// number returns the numbers of patterns, new ones for those that the part does not have yet.
func (p *Policy) number(at part, patterns []string) []int {
	v := &p.words[at]
	var numbers []int
	for _, pattern := range patterns {
		n, ok := v.numbers[pattern]
		if !ok {
			n = p.numbers
			p.numbers++
			v.add(pattern, n)
		}
		numbers = append(numbers, n)
	}
	return numbers
}

// Decide returns whether the caller may use the target now. A caller that was not authenticated, a nil principal, may use nothing.
func (p *Policy) Decide(who *caller.Principal, what Target) Decision {
	if who == nil {
		return Decision{Reason: "the caller is not authenticated"}
	}
	if p.platform != nil && who.Method.Platform() {
		return p.granted(who, what, p.platform)
	}
	var few [16]uint64
	hold := facts(few[:])
	if p.numbers > 64*len(few) {
		hold = make(facts, p.numbers/64+1)
	}
	p.note(hold, who, what)
	for i := range p.rules {
		if p.rules[i].matches(hold) {
			return p.granted(who, what, p.rules[i].grant)
		}
	}
	return Decision{Reason: fmt.Sprintf("no rule of the gateway's policy lets this caller use the model %q of upstream %q", what.Model, what.Upstream)}
}

// granted is the decision of a rule that matches: yes, if the caller has shown the second factor that the rule and the upstream require.
func (p *Policy) granted(who *caller.Principal, what Target, g *Grant) Decision {
	if what.Route != config.EndpointModels && p.asks(who, what, g) {
		if step := p.missing(who, time.Now()); step != nil {
			return Decision{Grant: g, StepUp: step, Reason: step.reason}
		}
	}
	return Decision{Allowed: true, Grant: g}
}

func (r *rule) matches(hold facts) bool {
	for i := range r.conditions {
		if !hold.any(r.conditions[i].numbers) {
			return false
		}
	}
	return true
}

// note finds the patterns that match the caller and the target.
func (p *Policy) note(hold facts, who *caller.Principal, what Target) {
	for at := range p.words {
		v := &p.words[at]
		if v.numbers == nil {
			continue // no rule asks
		}
		one, many := p.values(part(at), who, what)
		v.note(hold, one)
		for _, value := range many {
			v.note(hold, value)
		}
	}
}

// values returns what a part is compared with: one text, several, or none.
func (p *Policy) values(at part, who *caller.Principal, what Target) (one string, many []string) {
	switch at {
	case partModel:
		return what.Model, nil
	case partUpstream:
		return what.Upstream, nil
	case partUpstreamModel:
		return what.UpstreamModel, nil
	case partRoute:
		return string(what.Route), nil
	case partMethod:
		return string(who.Method), nil
	case partKind:
		return who.Kind.String(), nil
	case partIssuer:
		return who.Issuer, nil
	case partTenant:
		return who.Tenant, nil
	case partSubject:
		return who.Subject, nil
	case partClient:
		return who.Client, nil
	case partGroup:
		return "", who.Groups
	case partRole:
		return "", who.Roles
	case partScope:
		return "", who.Scopes
	}
	return "", who.Claims[p.claims[at-firstClaim]]
}

// vocabulary is every distinct pattern that the rules have for one part.
type vocabulary struct {
	numbers map[string]int // of all patterns
	// globs are the patterns with a *, by what stands before the first one, and lengths how long that is, each once. So a text is compared
	// with those alone that begin as it does, however many there are.
	globs   map[string][]string
	lengths []int
}

func (v *vocabulary) add(pattern string, number int) {
	if v.numbers == nil {
		v.numbers = map[string]int{}
	}
	v.numbers[pattern] = number
	before, _, ok := strings.Cut(pattern, "*")
	if !ok {
		return
	}
	if v.globs == nil {
		v.globs = map[string][]string{}
	}
	v.globs[before] = append(v.globs[before], pattern)
	if !slices.Contains(v.lengths, len(before)) {
		v.lengths = append(v.lengths, len(before))
	}
}

// note adds the patterns that match a text to the facts. The empty text matches nothing: a caller without a subject is not one
// with any subject.
func (v *vocabulary) note(hold facts, s string) {
	if s == "" {
		return
	}
	// A text with a * in it may be found here too. It would match the pattern that it spells anyway.
	if n, ok := v.numbers[s]; ok {
		hold.set(n)
	}
	for _, length := range v.lengths {
		if length > len(s) {
			continue
		}
		for _, pattern := range v.globs[s[:length]] {
			if config.Matches(pattern, s) {
				hold.set(v.numbers[pattern])
			}
		}
	}
}

// with returns the patterns of some numbers, as the document has them.
func (v *vocabulary) with(numbers []int) []string {
	return slices.Sorted(func(yield func(string) bool) {
		for pattern, n := range v.numbers {
			if slices.Contains(numbers, n) && !yield(pattern) {
				return
			}
		}
	})
}

// facts is a set of numbers: the patterns that match.
type facts []uint64

func (f facts) set(n int) { f[n/64] |= 1 << (n % 64) }

// any reports whether one of the numbers is in the set.
func (f facts) any(numbers []int) bool {
	for _, n := range numbers {
		if f[n/64]&(1<<(n%64)) != 0 {
			return true
		}
	}
	return false
}
