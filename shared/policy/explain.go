package policy

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/postern-ai/postern/shared/caller"
)

// Finding is what one rule says about a caller and a target.
type Finding struct {
	Rule    string
	Matches bool
	// Because says why it does not match: the first condition that is not met.
	Because string
}

// Explain returns the decision, and what each rule up to the one that decided says. It never decides otherwise than [Policy.Decide].
func (p *Policy) Explain(who *caller.Principal, what Target) (Decision, []Finding) {
	decision := p.Decide(who, what)
	if who == nil || p.platform != nil && who.Method.Platform() {
		return decision, nil
	}
	hold := make(facts, p.numbers/64+1)
	p.note(hold, who, what)
	var findings []Finding
	for i := range p.rules {
		r := &p.rules[i]
		if r.matches(hold) {
			return decision, append(findings, Finding{Rule: r.grant.Rule, Matches: true})
		}
		findings = append(findings, Finding{Rule: r.grant.Rule, Because: p.because(r, hold, who, what)})
	}
	return decision, findings
}

// because describes the first condition of a rule that is not met.
func (p *Policy) because(r *rule, hold facts, who *caller.Principal, what Target) string {
	inOrder := slices.SortedFunc(slices.Values(r.conditions), func(a, b condition) int { return cmp.Compare(a.part, b.part) })
	for _, c := range inOrder {
		if hold.any(c.numbers) {
			continue
		}
		one, many := p.values(c.part, who, what)
		if one != "" {
			many = []string{one}
		}
		has := "there is none"
		if len(many) > 0 {
			has = "it is " + quoted(many)
		}
		return fmt.Sprintf("%s has to match %s, and %s", p.partName(c.part), quoted(p.words[c.part].with(c.numbers)), has)
	}
	return ""
}

// partName is a part as documents have it.
func (p *Policy) partName(at part) string {
	switch at {
	case partModel:
		return "models"
	case partUpstream:
		return "upstreams"
	case partUpstreamModel:
		return "upstream_models"
	case partRoute:
		return "routes"
	case partMethod:
		return "match.methods"
	case partKind:
		return "match.kind"
	case partIssuer:
		return "match.issuer"
	case partTenant:
		return "match.tenants"
	case partSubject:
		return "match.subjects"
	case partClient:
		return "match.clients"
	case partGroup:
		return "match.groups"
	case partRole:
		return "match.roles"
	case partScope:
		return "match.scopes"
	}
	return "match.claims." + p.claims[at-firstClaim]
}

// mostShown keeps an explanation readable for callers with hundreds of groups.
const mostShown = 20

func quoted(list []string) string {
	var b strings.Builder
	for i, s := range list {
		switch {
		case i == mostShown:
			fmt.Fprintf(&b, " and %d more", len(list)-mostShown)
			return b.String()
		case i > 0:
			b.WriteString(" or ")
		}
		fmt.Fprintf(&b, "%q", s)
	}
	return b.String()
}
