// Package check explains a document without touching anything that it describes: who may call, which models there are, how a
// function on each cloud proves itself to each of them step by step, and what has to be allowed and trusted for that.
//
// It says what the functions do, as plain text for whoever writes the document and sets up the clouds. What a cloud's function
// cannot do is taken from config itself. The package opens no connection, looks for no credential and reads no secret.
package check

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/postern-ai/postern/shared/config"
)

// Explain returns the explanation of a document. Its error is the *config.Problems of a document that does not load.
func Explain(data []byte) (string, error) {
	d, err := config.Load(data)
	if err != nil {
		return "", err
	}
	refusals := refusals(data)
	p := &page{}
	p.callers(d)
	p.policy(d)
	p.mfa(d)
	for i := range d.Upstreams {
		p.upstream(&d.Upstreams[i], func(cloud config.Cloud) []string { return refusals[cloud][i] })
	}
	p.rotation(d)
	p.settings(d)
	p.warnings(d)
	return p.String(), nil
}

func clouds() []config.Cloud { return []config.Cloud{config.AWS, config.GCP, config.Azure} }

// functionOn names a cloud's function.
func functionOn(c config.Cloud) string {
	return map[config.Cloud]string{config.AWS: "on AWS", config.GCP: "on Google Cloud", config.Azure: "on Azure"}[c]
}

// refusals are what each cloud's functions say against an upstream when they start.
func refusals(data []byte) map[config.Cloud]map[int][]string {
	all := map[config.Cloud]map[int][]string{}
	for _, cloud := range clouds() {
		all[cloud] = map[int][]string{}
		_, err := loadOn(cloud, data)
		problems, ok := errors.AsType[*config.Problems](err)
		if !ok {
			continue
		}
		for _, problem := range problems.List {
			var i int
			if _, err := fmt.Sscanf(problem.Path, "upstreams[%d]", &i); err == nil {
				_, field, _ := strings.Cut(problem.Path, ".")
				all[cloud][i] = append(all[cloud][i], field+": "+problem.Message+"; "+problem.Remedy)
			}
		}
	}
	return all
}

// page is text that is being written, in lines of at most a certain width.
type page struct{ strings.Builder }

const width = 110

// line writes a text, broken into lines that hang under the text of the first one.
func (p *page) line(lead, text string) {
	room := width - len(lead)
	line := lead
	used := 0
	for word := range strings.FieldsSeq(text) {
		if used > 0 && used+1+len(word) > room {
			p.WriteString(line + "\n")
			line, used = strings.Repeat(" ", len(lead)), 0
		}
		if used > 0 {
			line += " "
			used++
		}
		line += word
		used += len(word)
	}
	p.WriteString(strings.TrimRight(line, " ") + "\n")
}

// callers says who is let in.
func (p *page) callers(d *config.Document) {
	p.WriteString("Who may call\n")
	for _, c := range d.Callers {
		kind := ""
		if c.CertificateBound {
			kind = ", bound to their client certificate"
		}
		switch c.DPoP {
		case config.DPoPRequired:
			kind += ", each time with a proof of the key that it is bound to (DPoP) for " + d.PublicURL
		case config.DPoPOptional:
			kind += ", with a proof for " + d.PublicURL + " if it is bound to a key (DPoP)"
		}
		p.line("  - ", fmt.Sprintf("bearers of a token of %s (%s) for the audience %s, signed with %s%s", c.Issuer, c.Name, list(c.Audiences, "or"), list(c.Algorithms, "or"), kind))
	}
	if t := d.APITokens; t != nil {
		p.line("  - ", fmt.Sprintf("bearers of an API token (issuer %s) of the list in the secret %s, known again by the key in %s; the function has to be allowed to read both",
			config.APITokenIssuer, t.CredentialRef, t.KeyRef))
	}
	p.fronts(d)
	if !d.PlatformCallers {
		return
	}
	p.line("  - ", "callers whom the platform's IAM has admitted:")
	p.line("    on AWS: ", "with a function URL of authorization type AWS_IAM, whoever may lambda:InvokeFunctionUrl on it")
	p.line("    on Google Cloud: ", "whoever has roles/run.invoker on the service; the function cannot see whether that check is on, so allUsers must not have it")
	p.line("    on Azure: ", "whom App Service authentication has let in; the function cannot see whether it is on and required")
}

// fronts says what the document promises to stand in front of the functions.
func (p *page) fronts(d *config.Document) {
	where := map[string]string{
		config.FrontALB:        "on AWS, behind an Application Load Balancer that is the function's only way in and has mutual TLS in verify mode on each listener",
		config.FrontAPIGateway: "on AWS, behind an HTTP API with mutual TLS at its custom domain and no default endpoint",
		config.FrontAppService: "on Azure, with client certificates required by the app (clientCertMode Required)",
	}
	fronts := d.Fronts.Certificates()
	for _, name := range slices.Sorted(maps.Keys(fronts)) {
		front, checked := fronts[name], ""
		if front.ClientCA != "" {
			authorities, _ := config.ParseAuthorities(front.ClientCA)
			var names []string
			for _, authority := range authorities {
				names = append(names, authority.Subject.String())
			}
			checked = ", made by " + list(names, "or")
		}
		text := "client certificates" + checked + " name callers (issuer " + config.CertificateIssuer + name + "), "
		if !front.Admit {
			text = "client certificates" + checked + " confirm the tokens that are bound to one, "
		}
		p.line("  - ", text+where[name])
	}
	if iap := d.Fronts.IAP; iap != nil {
		p.line("  - ", "on Google Cloud, whom Identity-Aware Proxy has let in (issuer "+config.IAPIssuer+") to "+list(iap.Audiences, "or"))
	}
}

// policy says who may use which model, and which models nobody may use.
func (p *page) policy(d *config.Document) {
	p.WriteString("\nWho may use what\n")
	names := config.NewRouter(d).Models()
	if len(d.Policy) == 0 {
		p.line("  ", "Every caller may use every model, because the document has no policy and no issuer of callers.")
		return
	}
	for _, r := range d.Policy {
		text := "every caller may use "
		if who := describeMatch(r.Match); len(who) > 0 {
			text = "callers with " + strings.Join(who, ", and ") + " may use "
		}
		text += list(r.Models, "and")
		covered := slices.DeleteFunc(slices.Clone(names), func(name string) bool { return !allows(r, name) })
		if !slices.Equal(covered, r.Models) && len(covered) > 0 {
			text += " (now " + list(covered, "and") + ")"
		}
		for _, bound := range describeGrant(r) {
			text += "; " + bound
		}
		p.line("  - "+r.Name+": ", text)
	}
	if len(d.Policy) > 1 {
		p.line("  - ", "the first rule that matches decides")
	}
	p.line("  - ", "what no rule allows is denied")
	orphans := slices.DeleteFunc(slices.Clone(names), func(name string) bool {
		return slices.ContainsFunc(d.Policy, func(r config.Rule) bool { return allows(r, name) })
	})
	if len(orphans) > 0 {
		p.line("  - ", "no rule lets anybody use "+list(orphans, "or"))
	}
}

// describeMatch says whom a rule is for, in phrases.
func describeMatch(m config.Match) []string {
	var who []string
	add := func(what string, values ...string) {
		if text := list(values, "or"); text != "" {
			who = append(who, what+" "+text)
		}
	}
	add("the subject", m.Subjects...)
	add("the group", m.Groups...)
	add("the role", m.Roles...)
	add("the scope", m.Scopes...)
	for _, name := range slices.Sorted(maps.Keys(m.Claims)) {
		add("the claim "+name, m.Claims[name]...)
	}
	add("the client", m.Clients...)
	add("the tenant", m.Tenants...)
	add("the kind", m.Kind)
	add("the method", m.Methods...)
	add("the issuer", m.Issuer)
	return who
}

// describeGrant says within which bounds.
func describeGrant(r config.Rule) []string {
	var bounds []string
	add := func(on bool, text string) {
		if on {
			bounds = append(bounds, text)
		}
	}
	add(len(r.Upstreams) > 0, "only of the upstream "+list(r.Upstreams, "or"))
	add(len(r.UpstreamModels) > 0, "only where they are called "+list(r.UpstreamModels, "or")+" at their upstream")
	routes := make([]string, len(r.Routes))
	for i, route := range r.Routes {
		routes[i] = string(route)
	}
	add(len(routes) > 0, "only by "+list(routes, "and"))
	add(r.Tools.Limited && len(r.Tools.Names) == 0, "without tools")
	add(len(r.Tools.Names) > 0, "with the tools "+list(r.Tools.Names, "and")+" alone")
	add(r.MaxTokens > 0, fmt.Sprintf("with answers of at most %d tokens", r.MaxTokens))
	if text := describeLimits(r.Limits); text != "" {
		add(true, "at most "+text+" for each caller by this rule")
	}
	add(r.MFA == config.MFAAlways, "with a second factor")
	add(r.MFA == config.MFAUsers, "with a second factor, except programs")
	if r.LogPayloads != nil {
		add(*r.LogPayloads, "prompts and answers ARE logged")
		add(!*r.LogPayloads, "prompts and answers are not logged")
	}
	return bounds
}

// describeLimits says what one caller may use.
func describeLimits(l config.CallerLimits) string {
	var limits []string
	for _, one := range []struct {
		n    int64
		what string
	}{{l.RequestsPerMinute, "requests a minute"}, {l.TokensPerMinute, "tokens a minute"}, {l.ConcurrentStreams, "streams at a time"}} {
		if one.n > 0 {
			limits = append(limits, fmt.Sprintf("%d %s", one.n, one.what))
		}
	}
	return list(limits, "and")
}

// mfa says where a second factor is needed, and what shows it.
func (p *page) mfa(d *config.Document) {
	if !d.RequiresMFA() {
		return
	}
	p.WriteString("\nWho needs a second factor\n")
	for _, u := range d.Upstreams {
		if u.MFARequired {
			text := "whoever uses the upstream " + u.Name
			if slices.ContainsFunc(d.Policy, func(r config.Rule) bool { return r.MFA == config.MFAUsers }) {
				text += ", except programs that a rule with mfa: users names"
			}
			p.line("  - ", text)
		}
	}
	for _, r := range d.Policy {
		switch r.MFA {
		case config.MFAAlways:
			p.line("  - ", "whomever the rule "+r.Name+" lets in")
		case config.MFAUsers:
			p.line("  - ", "whomever the rule "+r.Name+" lets in, except those whose token shows that they are programs")
		}
	}
	if len(d.Callers) > 0 {
		var ways []string
		for _, way := range []struct{ claim, values string }{
			{"acr", list(d.MFA.ACRValues, "or")}, {"amr", list(d.MFA.AMR, "or")}, {"acrs", d.MFA.EntraAuthContext},
		} {
			if way.values != "" {
				ways = append(ways, "the claim "+way.claim+" with "+way.values)
			}
		}
		text := "a token shows it by " + list(ways, "or")
		if d.MFA.MaxAge > 0 {
			text += ", and by auth_time that it is at most " + length(d.MFA.MaxAge) + " old"
		}
		p.line("  - ", text+"; otherwise the answer is 401 with the challenge of RFC 9470, or with Entra's")
	}
	if d.PlatformCallers {
		p.line("  - ", "an identity that AWS IAM has admitted cannot show it to the function: IAM itself has to ask, by a role whose trust policy has the condition aws:MultiFactorAuthPresent and which alone may lambda:InvokeFunctionUrl, and "+
			config.MFAVariable+"=true says that it is so (the Terraform module sets both)")
		p.line("  - ", "the identities of Cloud Run and of App Service cannot show it at all")
	}
}

func allows(r config.Rule, model string) bool {
	return slices.ContainsFunc(r.Models, func(pattern string) bool { return config.Matches(pattern, model) })
}

// settings are what holds for all requests.
func (p *page) settings(d *config.Document) {
	p.WriteString("\nFor every request\n")
	bodies := "prompts and answers are never logged"
	if d.Logging.LogPayloads {
		bodies = "prompts and answers ARE logged"
	}
	if slices.ContainsFunc(d.Policy, func(r config.Rule) bool { return r.LogPayloads != nil && *r.LogPayloads != d.Logging.LogPayloads }) {
		bodies = strings.Replace(bodies, "never", "not", 1) + ", unless a rule says otherwise"
	}
	statistics := "without usage and durations"
	if d.Logging.LogStatistics {
		statistics = "with usage and durations"
	}
	p.line("  - ", "one log line, "+statistics+"; "+bodies)
	p.line("  - ", fmt.Sprintf("a body of at most %d bytes, nested at most %d deep, with at most %d messages", d.Limits.MaxBodyBytes, d.Limits.MaxDepth, d.Limits.MaxMessages))
	if d.Audit.Denied {
		p.line("  - ", fmt.Sprintf("an event for each caller that is turned away or asked for a second factor, at most %d a minute by each instance", d.Audit.DeniedPerMinute))
	}
	if text := describeLimits(d.Limits.PerCaller); text != "" {
		by := "by each instance for itself"
		if d.Cache.Redis != nil {
			by = "for all instances together"
		}
		p.line("  - ", "at most "+text+" for each caller, counted "+by)
	}
	p.line("  - ", "at most "+length(d.Limits.RequestTimeout)+" for the whole answer, "+length(d.Limits.FirstByteTimeout)+" until it begins")
	falls := func(u config.Upstream) bool {
		return slices.ContainsFunc(u.Models, func(m config.Model) bool { return len(m.Fallbacks) > 0 })
	}
	if slices.ContainsFunc(d.Upstreams, falls) {
		p.line("  - ", "if a model fails before anything of its answer has been sent, its fallbacks are asked in their order, those that the policy lets the caller use for that request; "+
			"their own fallbacks are not. While some are left, an answer has to begin (if it is not streamed: be complete) within half of the time that is left")
	}
	stored := func(u config.Upstream) bool { return u.CredentialRef != "" || u.ClientCertificateRef != "" }
	if d.APITokens != nil || slices.ContainsFunc(d.Upstreams, stored) {
		p.line("  - ", "a secret that was read from a store is used for "+length(d.Cache.SecretTTL)+" before the store is asked again, and read again at once when an upstream rejects it")
	}
	if r := d.Cache.Redis; r != nil {
		where := cmp.Or(r.URL, "the server that the deployment makes (POSTERN_REDIS_URL)")
		text := "tokens are shared between instances, encrypted under the key at " + r.KeyRef.String() + ", in " + where
		switch {
		case r.AuthType == config.Native:
			text += ", where the function's own identity logs in"
		case r.CredentialRef != "":
			text += ", whose password is at " + r.CredentialRef.String()
		}
		p.line("  - ", text)
	}
}

func (p *page) warnings(d *config.Document) {
	if len(d.Warnings) == 0 {
		return
	}
	p.WriteString("\nWorth knowing\n")
	for _, w := range d.Warnings {
		p.line("  - ", w.String())
	}
}

// list writes names as a phrase: "a", "a and b", "a, b and c".
func list(names []string, last string) string {
	switch n := len(names); n {
	case 0:
		return ""
	case 1:
		return names[0]
	default:
		return strings.Join(names[:n-1], ", ") + " " + last + " " + names[n-1]
	}
}

// length writes a length of time as documents do: 5m, not 5m0s.
func length(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}
