package policy_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/postern-ai/postern/shared/caller"
	"github.com/postern-ai/postern/shared/config"
	"github.com/postern-ai/postern/shared/policy"
)

// world is a random document, caller and target, made of few words so that they meet often.
type world struct {
	*rand.Rand
}

func (w world) word() string {
	return []string{"a", "b", "ab", "a/b", "*", "a*", "https://a/b"}[w.IntN(7)]
}

func (w world) pattern() string {
	return []string{"a", "b", "ab", "a/b", "*", "a*", "*b", "*/*", "a*b", "https://*/b"}[w.IntN(10)]
}

// some is a list of up to three, and none more often than not.
func (w world) some(one func() string) []string {
	var list []string
	if w.IntN(3) > 0 {
		return nil
	}
	for range 1 + w.IntN(3) {
		if s := one(); !slices.Contains(list, s) {
			list = append(list, s)
		}
	}
	return list
}

func (w world) maybe(values ...string) string {
	if w.IntN(3) > 0 {
		return ""
	}
	return values[w.IntN(len(values))]
}

func (w world) rule(name string) config.Rule {
	r := config.Rule{
		Name: name, Models: append(w.some(w.pattern), w.pattern()), Upstreams: w.some(w.pattern), UpstreamModels: w.some(w.pattern),
		MFA: config.MFAMode(w.maybe("never", "users", "always")), MaxTokens: int64(w.IntN(3)),
		Match: config.Match{
			Issuer: w.maybe("a", "https://*/b", "*"), Kind: w.maybe("user", "workload"), Tenants: w.some(w.pattern), Subjects: w.some(w.pattern),
			Clients: w.some(w.pattern), Groups: w.some(w.pattern), Roles: w.some(w.pattern), Scopes: w.some(w.pattern),
		},
	}
	if method := w.maybe("oidc", "aws_iam"); method != "" {
		r.Match.Methods = []string{method}
	}
	if route := w.maybe("chat", "models"); route != "" {
		r.Routes = []config.Endpoint{config.Endpoint(route)}
	}
	if patterns := w.some(w.pattern); patterns != nil {
		r.Match.Claims = map[string][]string{w.word(): patterns}
	}
	return r
}

func (w world) document() *config.Document {
	d := &config.Document{Upstreams: []config.Upstream{{Name: "a", MFARequired: w.IntN(2) == 0}, {Name: "b"}}, MFA: config.MFA{AMR: []string{"mfa"}}}
	if w.IntN(2) == 0 {
		d.MFA.MaxAge = time.Minute
	}
	for i := range 1 + w.IntN(5) {
		d.Policy = append(d.Policy, w.rule(fmt.Sprint(i)))
	}
	return d
}

func (w world) caller() *caller.Principal {
	who := &caller.Principal{
		Method: []caller.Method{caller.OIDC, caller.AWSIAM}[w.IntN(2)], Issuer: w.maybe("a", "https://a/b", "*"), Subject: w.word(), Tenant: w.maybe("a", "b"),
		Client: w.maybe("a", "b"), Kind: []caller.Kind{caller.Unknown, caller.User, caller.Workload}[w.IntN(3)],
		Groups: w.some(w.word), Roles: w.some(w.word), Scopes: w.some(w.word), AMR: w.some(func() string { return []string{"mfa", "pwd", "otp"}[w.IntN(3)] }),
	}
	if values := w.some(w.word); values != nil {
		who.Claims = map[string][]string{w.word(): values}
	}
	if w.IntN(2) == 0 {
		who.AuthTime = time.Now().Add(-time.Duration(w.IntN(2)) * time.Hour)
	}
	return who
}

func (w world) target() policy.Target {
	return policy.Target{Route: config.Endpoints()[w.IntN(2)], Model: w.word(), Upstream: []string{"a", "b"}[w.IntN(2)], UpstreamModel: w.word()}
}

// matches is what the words of a document mean, without any of the compiler's means.
func matches(patterns []string, texts ...string) bool {
	for _, pattern := range patterns {
		expression := regexp.MustCompile("^(?s)" + strings.ReplaceAll(regexp.QuoteMeta(pattern), `\*`, "[^/]*") + "$")
		for _, text := range texts {
			if text != "" && expression.MatchString(text) {
				return true
			}
		}
	}
	return false
}

func ruleMatches(r config.Rule, who *caller.Principal, what policy.Target) bool {
	ifAny := func(patterns []string, texts ...string) bool {
		return len(patterns) == 0 || matches(patterns, texts...)
	}
	ifSet := func(pattern, text string) bool { return pattern == "" || matches([]string{pattern}, text) }
	for claim, patterns := range r.Match.Claims {
		if !matches(patterns, who.Claims[claim]...) {
			return false
		}
	}
	return matches(r.Models, what.Model) && ifAny(r.Upstreams, what.Upstream) && ifAny(r.UpstreamModels, what.UpstreamModel) &&
		(len(r.Routes) == 0 || slices.Contains(r.Routes, what.Route)) &&
		ifSet(r.Match.Issuer, who.Issuer) && ifSet(r.Match.Kind, who.Kind.String()) && ifAny(r.Match.Methods, string(who.Method)) &&
		ifAny(r.Match.Tenants, who.Tenant) && ifAny(r.Match.Subjects, who.Subject) && ifAny(r.Match.Clients, who.Client) &&
		ifAny(r.Match.Groups, who.Groups...) && ifAny(r.Match.Roles, who.Roles...) && ifAny(r.Match.Scopes, who.Scopes...)
}

// steps is what the document says about second factors.
func steps(d *config.Document, r config.Rule, who *caller.Principal, what policy.Target) bool {
	required := what.Upstream == "a" && d.Upstreams[0].MFARequired
	switch {
	case what.Route == config.EndpointModels:
		return false
	case r.MFA == config.MFAUsers:
		required = who.Kind != caller.Workload
	case r.MFA == config.MFAAlways:
		required = true
	}
	shown := who.Method == caller.OIDC && (slices.Contains(who.AMR, "mfa") || slices.Contains(who.AMR, "pwd") && slices.Contains(who.AMR, "otp"))
	fresh := d.MFA.MaxAge == 0 || !who.AuthTime.IsZero() && time.Since(who.AuthTime) < d.MFA.MaxAge
	return required && !(shown && fresh)
}

// FuzzCompile proves, for any document, caller and target, that the compiled policy decides exactly what the document's words say, that its
// explanation agrees, and that nothing widens a decision: no caller gets in by saying less, by saying what no rule asks about, or through a
// rule that has become narrower.
func FuzzCompile(f *testing.F) {
	for seed := range uint64(500) {
		f.Add(seed, seed*7919)
	}
	f.Fuzz(func(t *testing.T, a, b uint64) {
		w := world{rand.New(rand.NewPCG(a, b))}
		d, who, what := w.document(), w.caller(), w.target()
		p := policy.Compile(d)
		got, findings := p.Explain(who, what)
		if diff := cmp.Diff(p.Decide(who, what), got, cmp.AllowUnexported(policy.StepUp{}, policy.Grant{})); diff != "" {
			t.Fatalf("the explanation decides otherwise:\n%s", diff)
		}
		i := slices.IndexFunc(d.Policy, func(r config.Rule) bool { return ruleMatches(r, who, what) })
		if i < 0 {
			if got.Allowed || got.StepUp != nil || got.Grant != nil || got.Reason == "" {
				t.Fatalf("nothing matches, and the decision is %+v", got)
			}
			if len(findings) != len(d.Policy) || slices.ContainsFunc(findings, func(f policy.Finding) bool { return f.Matches || f.Because == "" }) {
				t.Fatalf("nothing matches, and the findings are %+v", findings)
			}
		} else {
			if got.Rule() != d.Policy[i].Name || got.Grant.MaxTokens != d.Policy[i].MaxTokens {
				t.Fatalf("rule %d matches first, and the decision is %+v", i, got)
			}
			if step := steps(d, d.Policy[i], who, what); (got.StepUp != nil) != step || got.Allowed == step {
				t.Fatalf("a step-up is due: %v; the decision is %+v", step, got)
			}
			if len(findings) != i+1 || !findings[i].Matches {
				t.Fatalf("rule %d decides, and the findings are %+v", i, findings)
			}
		}
		notWidened(t, w, d, who, what)
	})
}

func notWidened(t *testing.T, w world, d *config.Document, who *caller.Principal, what policy.Target) {
	t.Helper()
	p := policy.Compile(d)
	before := p.Decide(who, what)
	// What no rule asks about changes nothing.
	more := *who
	more.Claims = maps.Clone(who.Claims)
	if more.Claims == nil {
		more.Claims = map[string][]string{}
	}
	more.Claims["nobody asks"] = []string{"*"}
	more.Contexts, more.Name = []string{"c1"}, "*"
	if after := p.Decide(&more, what); after.Allowed != before.Allowed || after.Rule() != before.Rule() {
		t.Fatalf("what no rule asks about turns %+v into %+v", before, after)
	}
	if p.Decide(nil, what).Allowed {
		t.Fatal("nobody is allowed")
	}
	// A caller that says less gets into nothing that it was not let into: no rule matches that did not.
	less := *who
	switch w.IntN(7) {
	case 0:
		less.Groups = nil
	case 1:
		less.Roles = nil
	case 2:
		less.Scopes = nil
	case 3:
		less.Claims = nil
	case 4:
		less.Tenant, less.Client = "", ""
	case 5:
		less.AMR, less.ACR = nil, ""
	case 6:
		less.AuthTime = time.Time{}
	}
	if after := p.Decide(&less, what); before.Grant == nil && after.Grant != nil || before.StepUp != nil && after.Allowed && after.Rule() == before.Rule() {
		t.Fatalf("less turns %+v into %+v", before, after)
	}
	// A rule with one more condition lets nobody in whom it did not.
	narrower := *d
	narrower.Policy = slices.Clone(d.Policy)
	r := &narrower.Policy[w.IntN(len(d.Policy))]
	r.Match.Groups = append([]string{"only these"}, r.Match.Groups[:0:0]...)
	if after := policy.Compile(&narrower).Decide(who, what); before.Grant == nil && after.Grant != nil {
		t.Fatalf("a narrower rule turns %+v into %+v", before, after)
	}
}

func TestAUserIsAskedAnewWhenTheTimeIsOver(t *testing.T) {
	t.Parallel()
	d := &config.Document{
		Upstreams: []config.Upstream{{Name: "u", MFARequired: true}}, Policy: []config.Rule{{Name: "r", Models: []string{"m"}}},
		MFA: config.MFA{ACRValues: []string{"phr"}, MaxAge: time.Minute},
	}
	p := policy.Compile(d)
	who := &caller.Principal{Method: caller.OIDC, Issuer: "i", Subject: "s", ACR: "phr", AuthTime: time.Now().Add(-time.Minute - time.Second)}
	what := policy.Target{Route: config.EndpointChat, Model: "m", Upstream: "u"}
	got := p.Decide(who, what)
	if got.Allowed || got.StepUp == nil || !got.StepUp.Stale || got.StepUp.MaxAge != time.Minute {
		t.Errorf("got %+v", got)
	}
	who.AuthTime = time.Now().Add(-time.Second)
	if got := p.Decide(who, what); !got.Allowed {
		t.Errorf("got %+v", got)
	}
}
