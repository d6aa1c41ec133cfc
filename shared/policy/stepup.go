package policy

import (
	"slices"
	"strings"
	"time"

	"github.com/postern-ai/postern/shared/caller"
	"github.com/postern-ai/postern/shared/config"
)

// StepUp is what a caller has to show before it may use what a rule allows it. It is shared and must not be changed.
type StepUp struct {
	// ACRValues are levels of authentication, the preferred one first; any of them is enough.
	ACRValues []string
	// MaxAge is how long ago the caller may have authenticated; zero means ever.
	MaxAge time.Duration
	// EntraContext is the authentication context that a token of Entra needs. It is set for Entra's callers only, who cannot ask for the others.
	EntraContext string
	// Stale says that the caller has shown a second factor, too long ago.
	Stale bool

	reason string
}

// asks reports whether a second factor is required of the caller. Where both the rule and the upstream say something, the stricter one
// holds, except that a rule may excuse the programs that it names.
func (p *Policy) asks(who *caller.Principal, what Target, g *Grant) bool {
	switch {
	case g.mfa == config.MFAAlways:
		return true
	case g.mfa == config.MFAUsers:
		return who.Kind != caller.Workload
	}
	return p.required[what.Upstream]
}

// missing returns what the caller still has to show, or nil.
func (p *Policy) missing(who *caller.Principal, now time.Time) *StepUp {
	if who.Method != caller.OIDC {
		// No other credential says how its owner was authenticated. For the platform's identities only the platform can ask.
		if who.Method == caller.AWSIAM && p.mfa.IAM {
			return nil
		}
		return p.step("this kind of credential does not show a second factor; use a token of an issuer that does", StepUp{})
	}
	entra := ofEntra(who) && p.mfa.EntraAuthContext != ""
	step := StepUp{ACRValues: p.mfa.ACRValues, MaxAge: p.mfa.MaxAge}
	if entra {
		step.EntraContext = p.mfa.EntraAuthContext
	}
	switch shown, old := p.shown(who), p.stale(who, now); {
	case shown && !old:
		return nil
	case shown:
		step.Stale = true
		return p.step("the caller's authentication is too long ago", step)
	}
	return p.step("the caller's token does not show a second factor", step)
}

func (p *Policy) step(reason string, s StepUp) *StepUp {
	s.reason = reason
	return &s
}

// shown reports whether the caller's token shows a second factor, however old.
func (p *Policy) shown(who *caller.Principal) bool {
	switch {
	case who.ACR != "" && slices.Contains(p.mfa.ACRValues, who.ACR):
		return true
	case p.mfa.EntraAuthContext != "" && ofEntra(who) && slices.Contains(who.Contexts, p.mfa.EntraAuthContext):
		return true // what acrs means at other issuers nobody knows
	}
	for _, method := range p.mfa.AMR {
		if slices.Contains(who.AMR, method) || method == "mfa" && twoKinds(who.AMR) {
			return true
		}
	}
	return false
}

// stale reports whether the authentication is too old, or does not say how old it is.
func (p *Policy) stale(who *caller.Principal, now time.Time) bool {
	if p.mfa.MaxAge == 0 {
		return false
	}
	return who.AuthTime.IsZero() || now.Sub(who.AuthTime) > p.mfa.MaxAge
}

// twoKinds reports whether the methods of an authentication (RFC 8176 section 2) are of more than one kind: something that the caller knows,
// has or is.
func twoKinds(methods []string) bool {
	var knows, has, is bool
	for _, method := range methods {
		switch method {
		case "pwd", "pin", "kba":
			knows = true
		case "otp", "hwk", "swk", "sc", "sms", "tel", "pop":
			has = true
		case "face", "fpt", "iris", "retina", "vbm":
			is = true
		}
	}
	return knows && has || knows && is || has && is
}

// ofEntra reports whether a token is one of Entra's, whose issuers have their tenant in their address.
func ofEntra(who *caller.Principal) bool {
	return who.Tenant != "" && strings.Contains(who.Issuer+"/", "/"+who.Tenant+"/")
}
