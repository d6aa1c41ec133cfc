// Package policy decides which caller may use which model. A loaded document's rules are compiled once; a decision only
// compares. What no rule allows is denied.
//
// It must not know how a caller was authenticated, beyond the principal's fields, nor anything about the request except the
// model that it asks for.
package policy

import (
	"fmt"
	"strings"

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
	// platform allows the platform's callers everything: the document has no rules, and no other callers whom they could be
	// for.
	platform bool

	models, issuers, subjects, groups vocabulary
	numbers                           int
}

// Target is what a caller wants to use.
type Target struct {
	// Model is the public model name.
	Model string
	// Upstream is the name of the upstream that would serve it.
	Upstream string
}

// Decision is the answer for one caller and one target.
type Decision struct {
	Allowed bool
	// Rule is the name of the rule that allowed it, or "" when the document has no rules or nothing allowed it.
	Rule string
	// Reason says why not. It may be shown to the caller. It is empty when the target is allowed.
	Reason string
}

// rule is a compiled config.Rule: the numbers of its patterns. A part that the rule does not have has none.
type rule struct {
	name                              string
	models, issuers, subjects, groups []int
}

// Compile prepares the rules of a document that has been loaded.
func Compile(d *config.Document) *Policy {
	p := &Policy{platform: d.PlatformCallers && !d.NamesCallers() && len(d.Policy) == 0}
	for _, r := range d.Policy {
		var issuer []string
		if r.Match.Issuer != "" {
			issuer = []string{r.Match.Issuer}
		}
		p.rules = append(p.rules, rule{
			name: r.Name, models: p.number(&p.models, r.Models), issuers: p.number(&p.issuers, issuer),
			subjects: p.number(&p.subjects, r.Match.Subjects), groups: p.number(&p.groups, r.Match.Groups),
		})
	}
	return p
}

// number returns the numbers of patterns, new ones for those that the vocabulary does not have.
func (p *Policy) number(v *vocabulary, patterns []string) []int {
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

// Decide returns whether the caller may use the target. The first rule that allows it is named. A caller that was not
// authenticated, a nil principal, may use nothing.
func (p *Policy) Decide(who *caller.Principal, what Target) Decision {
	switch {
	case who == nil:
		return Decision{Reason: "the caller is not authenticated"}
	case p.platform && who.Method.Platform():
		return Decision{Allowed: true}
	}
	var few [16]uint64
	hold := facts(few[:])
	if p.numbers > 64*len(few) {
		hold = make(facts, p.numbers/64+1)
	}
	p.models.note(hold, what.Model)
	p.issuers.note(hold, who.Issuer)
	p.subjects.note(hold, who.Subject)
	for _, group := range who.Groups {
		p.groups.note(hold, group)
	}
	for i := range p.rules {
		r := &p.rules[i]
		if hold.any(r.models) && hold.meets(r.issuers) && hold.meets(r.subjects) && hold.meets(r.groups) {
			return Decision{Allowed: true, Rule: r.name}
		}
	}
	return Decision{Reason: fmt.Sprintf("no rule of the gateway's policy lets this caller use the model %q of upstream %q", what.Model, what.Upstream)}
}

// Allowed returns those of the routed models that the caller may use, in the same order.
func (p *Policy) Allowed(who *caller.Principal, targets []Target) []Target {
	var allowed []Target
	for _, target := range targets {
		if p.Decide(who, target).Allowed {
			allowed = append(allowed, target)
		}
	}
	return allowed
}

// vocabulary is every distinct pattern that the rules have for one part.
type vocabulary struct {
	numbers  map[string]int // of all patterns
	patterns []string       // those with a *
}

func (v *vocabulary) add(pattern string, number int) {
	if v.numbers == nil {
		v.numbers = map[string]int{}
	}
	v.numbers[pattern] = number
	if strings.Contains(pattern, "*") {
		v.patterns = append(v.patterns, pattern)
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
	for _, pattern := range v.patterns {
		if config.Matches(pattern, s) {
			hold.set(v.numbers[pattern])
		}
	}
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

// meets is any for a part that a rule may lack.
func (f facts) meets(numbers []int) bool { return len(numbers) == 0 || f.any(numbers) }
