package config

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// MFA says what shows that a caller has authenticated with a second factor, where an upstream or a rule requires one. One of the first
// three is enough, and MaxAge has to be kept besides.
type MFA struct {
	// ACRValues are levels of authentication (the acr claim), the preferred one first. They are what a caller is asked for (RFC 9470).
	ACRValues []string `json:"acr_values,omitzero"`
	// AMR are methods of authentication (the amr claim, RFC 8176). "mfa" is also shown by methods of two different kinds. It is the default
	// when none of the three is given.
	AMR []string `json:"amr,omitzero"`
	// EntraAuthContext is an authentication context of Entra's Conditional Access (the acrs claim), such as c1.
	EntraAuthContext string `json:"entra_auth_context,omitzero"`
	// MaxAge is how long ago the caller may have authenticated (the auth_time claim). Zero means ever.
	MaxAge time.Duration `json:"max_age,omitzero"`

	// IAM says that AWS IAM admits nobody without a second factor, by a condition that the deployment vouches for. It is no part of the
	// document.
	IAM bool `json:"-"`
}

// IsZero reports whether nothing shows a second factor.
func (m MFA) IsZero() bool {
	return len(m.ACRValues) == 0 && len(m.AMR) == 0 && m.EntraAuthContext == "" && m.MaxAge == 0 && !m.IAM
}

// MFAVariable is the environment variable by which a deployment vouches for the condition aws:MultiFactorAuthPresent.
const MFAVariable = "POSTERN_IAM_MFA"

// The bounds of how long ago a caller may have authenticated.
const (
	leastAge = time.Second
	mostAge  = 30 * 24 * time.Hour
)

func (l *loader) mfa(o object) MFA {
	var m MFA
	section, ok := o.field("mfa")
	if !ok {
		return m
	}
	s, ok := section.object()
	if !ok {
		return m
	}
	if p, ok := s.field("acr_values"); ok {
		m.ACRValues = p.strings(isACR)
	}
	if p, ok := s.field("amr"); ok {
		m.AMR = p.strings(isACR)
	}
	if p, ok := s.field("entra_auth_context"); ok {
		if c, ok := p.string(); ok {
			if number, isContext := strings.CutPrefix(c, "c"); !isContext || !made(number, 1, 2, digits) || number[0] == '0' {
				p.wrong("this is not an authentication context", "give its id, from c1 to c99")
			}
			m.EntraAuthContext = c
		}
	}
	if p, ok := s.field("max_age"); ok {
		if d, ok := p.duration(leastAge, mostAge); ok {
			if d%time.Second != 0 {
				p.wrong("callers are told the age in whole seconds", "round it")
			}
			m.MaxAge = d
		}
	}
	s.finish(nil)
	return m
}

// isACR keeps what stands in a challenge within its quotes, and within one word.
func isACR(p place, s string) bool {
	if len(s) > 256 || !isPublicModel(s) || strings.ContainsAny(s, `"\,`) {
		p.wrong("this cannot be a value of the claim", "use printable characters without spaces, commas, quotes and backslashes")
		return false
	}
	return true
}

func (l *loader) publicURL(o object) string {
	p, ok := o.field("public_url")
	if !ok {
		return ""
	}
	u, ok := p.url()
	if ok && strings.Trim(u.Path, "/") != "" {
		p.wrong("the address has a path", "give it without "+u.Path)
	}
	return strings.TrimRight(p.text, "/")
}

// RequiresMFA reports whether a second factor is asked of anybody.
func (d *Document) RequiresMFA() bool {
	return slices.ContainsFunc(d.Upstreams, func(u Upstream) bool { return u.MFARequired }) ||
		slices.ContainsFunc(d.Policy, func(r Rule) bool { return r.MFA == MFAUsers || r.MFA == MFAAlways })
}

// mfaEffect reports what contradicts itself or has no effect, and fills in what shows a second factor by default.
func (l *loader) mfaEffect(o object, d *Document) {
	if len(l.problems) > 0 {
		return
	}
	section, given := o.field("mfa")
	switch {
	case given && !d.RequiresMFA():
		section.wrong("it has no effect, because nothing requires a second factor", "set mfa_required on an upstream, or mfa on a rule")
		return
	case given && len(d.Callers) == 0:
		section.wrong("it has no effect, because the document accepts no tokens that could show it", "describe the issuer under callers, or remove it")
		return
	case len(d.Callers) > 0 && d.RequiresMFA() && len(d.MFA.ACRValues) == 0 && len(d.MFA.AMR) == 0 && d.MFA.EntraAuthContext == "":
		d.MFA.AMR = []string{"mfa"}
	}
	var rules []place
	if policy, ok := o.field("policy"); ok {
		rules = policy.list()
	}
	for i, rule := range d.Policy {
		r, _ := rules[i].object()
		p, _ := r.field("mfa")
		for _, u := range d.Upstreams {
			if rule.MFA == MFANever && u.MFARequired && rule.reaches(&u) {
				p.wrong(fmt.Sprintf("the upstream %q has mfa_required", u.Name), "use mfa: users to except the programs that the rule names, or restrict the rule by upstreams")
			}
		}
		if rule.MFA == MFAUsers && !rule.Match.names() {
			p.wrong("every program that the issuers know would be excepted from the second factor", "name them by subjects, clients, groups, roles, scopes or claims, or use mfa: always")
		}
	}
}

// reaches reports whether the rule may allow something of an upstream.
func (r Rule) reaches(u *Upstream) bool {
	if len(r.Upstreams) > 0 && !slices.ContainsFunc(r.Upstreams, func(pattern string) bool { return Matches(pattern, u.Name) }) {
		return false
	}
	return len(u.Models) == 0 || slices.ContainsFunc(u.Models, func(m Model) bool {
		return slices.ContainsFunc(r.Models, func(pattern string) bool { return Matches(pattern, m.Name) })
	})
}

// names reports whether the rule is for callers that it names, rather than for everybody of an issuer.
func (m Match) names() bool {
	return len(m.Subjects)+len(m.Clients)+len(m.Groups)+len(m.Roles)+len(m.Scopes)+len(m.Claims) > 0
}

// settleMFA takes the deployment's word for what only the platform can enforce, and refuses what nobody could ever show. The IAM identity
// of a function URL does not say whether there was a second factor, nor do the platform's identities on Google Cloud and Azure.
func (d *Document) settleMFA(cloud Cloud, getenv func(string) string) []Problem {
	said := getenv(MFAVariable)
	switch {
	case said != "" && said != "true" && said != "false":
		return []Problem{notABool(MFAVariable, said)}
	case said == "true" && cloud != AWS:
		return []Problem{{Path: MFAVariable, Value: said, Message: "only AWS IAM can ask for a second factor", Remedy: "unset it"}}
	}
	d.MFA.IAM = said == "true"
	if !d.RequiresMFA() || d.PlatformCallers && d.MFA.IAM {
		return nil
	}
	// Roles of AWS are not among those that are known to be programs: people have them too.
	exempt := slices.ContainsFunc(d.Policy, func(r Rule) bool { return r.MFA == MFAUsers }) &&
		(d.APITokens != nil || d.Fronts.admit() || d.PlatformCallers && cloud == GCP)
	what := Problem{Path: d.mfaPath(), Message: "the identity that the platform's IAM admits does not say whether there was a second factor", Remedy: "serve callers by tokens that show it, described under callers and mfa"}
	if d.PlatformCallers && cloud == AWS {
		what.Remedy = "let IAM ask for it, by a role that takes aws:MultiFactorAuthPresent to assume and alone may call, and say so with " + MFAVariable + "=true, as the Terraform module does"
	}
	switch {
	case len(d.Callers) == 0 && !exempt:
		if !d.PlatformCallers {
			what.Message = "no credential that the document accepts shows a second factor"
		}
		what.Message += ", so nobody could ever be let in"
		return []Problem{what}
	case d.PlatformCallers:
		what.Message += "; such callers are refused where it is required"
		d.Warnings = append(d.Warnings, what)
	}
	return nil
}

// mfaPath is the first place that requires a second factor.
func (d *Document) mfaPath() string {
	for i, u := range d.Upstreams {
		if u.MFARequired {
			return fmt.Sprintf("upstreams[%d].mfa_required", i)
		}
	}
	for i, r := range d.Policy {
		if r.MFA == MFAUsers || r.MFA == MFAAlways {
			return fmt.Sprintf("policy[%d].mfa", i)
		}
	}
	return "mfa"
}
