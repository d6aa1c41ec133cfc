package policy_test

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/postern-ai/postern/localdev/fake/oidc"
	"github.com/postern-ai/postern/shared/caller"
	"github.com/postern-ai/postern/shared/config"
	"github.com/postern-ai/postern/shared/policy"
)

const document = `
callers:
- {issuer: https://idp.example.com, audience: gateway}
- {issuer: https://login.example.com/t1/v2.0, audience: gateway}
platform_callers: true
upstreams:
- name: eu
  provider: bedrock
  models: [nova, {name: claude-haiku, model: a}, {name: claude-opus, model: b}]
- {name: gemini, provider: vertex}
policy:
- name: staff
  match: {issuer: https://idp.example.com, groups: [staff]}
  models: [nova, claude-haiku]
- name: leads
  match: {issuer: https://idp.example.com, subjects: [alice, "lead-*"], groups: [staff, leads]}
  models: [claude-*, "gemini/*"]
- name: tenants
  match: {issuer: "https://login.example.com/*/v2.0"}
  models: [nova]
- name: roles
  match: {issuer: aws:iam, subjects: ["arn:aws:sts::123456789012:assumed-role/app/*"]}
  models: ["*", "*/*"]
`

func compile(t testing.TB, text string) *policy.Policy {
	t.Helper()
	d, err := config.Load([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return policy.Compile(d)
}

func user(subject string, groups ...string) *caller.Principal {
	return &caller.Principal{Method: caller.OIDC, Issuer: "https://idp.example.com", Subject: subject, Groups: groups}
}

func TestDecide(t *testing.T) {
	t.Parallel()
	role := func(arn string) *caller.Principal {
		return &caller.Principal{Method: caller.AWSIAM, Issuer: caller.AWSIssuer, Subject: arn}
	}
	tests := []struct {
		name  string
		who   *caller.Principal
		model string
		rule  string // "" for denied
	}{
		{"a member of the group may use the group's models", user("bob", "other", "staff"), "nova", "staff"},
		{"and no others", user("bob", "staff"), "claude-opus", ""},
		{"a caller without groups is in no group", user("bob"), "nova", ""},
		{"a group of another name is another group", user("bob", "Staff", "staff2", ""), "nova", ""},
		{"every part of a rule must match", user("alice", "other"), "claude-opus", ""},
		{"one of several subjects and groups is enough", user("alice", "leads"), "claude-opus", "leads"},
		{"a pattern matches a subject", user("lead-carol", "staff"), "claude-opus", "leads"},
		{"a pattern does not cross a slash", user("lead-carol/x", "staff"), "claude-opus", ""},
		{"the first rule that allows is the one that is named", user("alice", "staff"), "claude-haiku", "staff"},
		{"models below an upstream's name", user("alice", "staff"), "gemini/gemini-2.5-pro", "leads"},
		{"a model of a deeper name is another", user("alice", "staff"), "gemini/a/b", ""},
		{"a subject of another issuer is another caller", &caller.Principal{Method: caller.OIDC, Issuer: "https://evil.example.com", Subject: "alice", Groups: []string{"staff"}}, "nova", ""},
		{"a pattern matches an issuer", &caller.Principal{Method: caller.OIDC, Issuer: "https://login.example.com/t1/v2.0", Subject: "x"}, "nova", "tenants"},
		{"an issuer's pattern does not cross a slash", &caller.Principal{Method: caller.OIDC, Issuer: "https://login.example.com/t1/t2/v2.0", Subject: "x"}, "nova", ""},
		{"a session of a role", role("arn:aws:sts::123456789012:assumed-role/app/session"), "gemini/x", "roles"},
		{"a session of another role", role("arn:aws:sts::123456789012:assumed-role/application/session"), "gemini/x", ""},
		{"a platform's caller is bound by the rules when there are some", role("arn:aws:iam::123456789012:user/x"), "nova", ""},
		{"nobody may use nothing", nil, "nova", ""},
		{"a principal without an issuer has none", &caller.Principal{Method: caller.OIDC, Subject: "alice", Groups: []string{"staff"}}, "nova", ""},
		{"no model is not every model", role("arn:aws:sts::123456789012:assumed-role/app/session"), "", ""},
	}
	p := compile(t, document)
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			d := p.Decide(test.who, policy.Target{Model: test.model, Upstream: "eu"})
			if d.Rule() != test.rule || d.Allowed != (test.rule != "") {
				t.Errorf("got %+v, want rule %q", d, test.rule)
			}
			if d.Allowed != (d.Reason == "") {
				t.Errorf("the reason of %+v should be there exactly for a denial", d)
			}
		})
	}
}

func TestWithoutRulesOnlyThePlatformsCallersAreAllowed(t *testing.T) {
	t.Parallel()
	admitted := &caller.Principal{Method: caller.CloudRun, Issuer: "https://accounts.google.com", Subject: "x"}
	callers := []config.Caller{{Issuer: "https://idp.example.com"}}
	tests := []struct {
		name     string
		document config.Document
		who      *caller.Principal
		want     bool
	}{
		{"the platform's callers may use everything", config.Document{PlatformCallers: true}, admitted, true},
		{"others may not", config.Document{PlatformCallers: true}, user("alice"), false},
		{"nobody is nobody there too", config.Document{PlatformCallers: true}, nil, false},
		{"not if the document does not accept the platform's callers", config.Document{}, admitted, false},
		{"not if the document has callers that need rules", config.Document{PlatformCallers: true, Callers: callers}, admitted, false},
		{"not if the document has rules", config.Document{PlatformCallers: true, Policy: []config.Rule{{Name: "r", Models: []string{"other"}}}}, admitted, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if d := policy.Compile(&test.document).Decide(test.who, policy.Target{Model: "m", Upstream: "u"}); d.Allowed != test.want {
				t.Errorf("got %+v", d)
			}
		})
	}
	if new(policy.Policy).Decide(admitted, policy.Target{Model: "m"}).Allowed {
		t.Error("the zero policy allows something")
	}
}

// TestManyRulesAreDecidedLikeFew has more distinct patterns than fit into the space that a decision has without allocating.
func TestManyRulesAreDecidedLikeFew(t *testing.T) {
	t.Parallel()
	var d config.Document
	for i := range 2000 {
		d.Policy = append(d.Policy, config.Rule{
			Name: fmt.Sprint(i), Models: []string{fmt.Sprintf("m-%d", i), fmt.Sprintf("n-%d-*", i)},
			Match: config.Match{Groups: []string{fmt.Sprintf("g-%d", i)}},
		})
	}
	p := policy.Compile(&d)
	for i := range 2000 {
		for _, model := range []string{fmt.Sprintf("m-%d", i), fmt.Sprintf("n-%d-x", i)} {
			who := user("alice", "other", fmt.Sprintf("g-%d", i))
			if got := p.Decide(who, policy.Target{Model: model, Upstream: "u"}); got.Rule() != fmt.Sprint(i) {
				t.Fatalf("%s for %v: %+v", model, who.Groups, got)
			}
			who.Groups[1] = fmt.Sprintf("g-%d", i+1)
			if got := p.Decide(who, policy.Target{Model: model, Upstream: "u"}); got.Allowed {
				t.Fatalf("%s for %v: %+v", model, who.Groups, got)
			}
		}
	}
}

// FuzzDecide proves, for any rule and any caller, that a decision is exactly what the rule's words say, and that taking a
// group or a model pattern away never allows more.
func FuzzDecide(f *testing.F) {
	f.Add("https://*", "a,b*", "g", "m*", "https://idp", "bx", "g,h", "model")
	f.Add("", "", "", "*", "i", "s", "", "m")
	f.Add("", "*", "*", "*/*", "", "", "", "a/b")
	f.Fuzz(func(t *testing.T, issuer, subjects, groups, models, hasIssuer, hasSubject, hasGroups, model string) {
		if len(issuer+subjects+groups+models+hasIssuer+hasSubject+hasGroups+model) > 200 {
			return // longer ones prove nothing new, and the time goes with the product of the lengths
		}
		split := func(s string) []string {
			if s == "" {
				return nil
			}
			return strings.Split(s, ",")
		}
		r := config.Rule{Name: "r", Match: config.Match{Issuer: issuer, Subjects: split(subjects), Groups: split(groups)}, Models: split(models)}
		who := &caller.Principal{Method: caller.OIDC, Issuer: hasIssuer, Subject: hasSubject, Groups: split(hasGroups)}
		decide := func(r config.Rule, who *caller.Principal) bool {
			d := policy.Compile(&config.Document{Policy: []config.Rule{r}})
			return d.Decide(who, policy.Target{Model: model, Upstream: "u"}).Allowed
		}
		some := func(patterns []string, texts ...string) bool {
			for _, pattern := range patterns {
				for _, text := range texts {
					if text != "" && config.Matches(pattern, text) {
						return true
					}
				}
			}
			return false
		}
		want := some(r.Models, model) &&
			(issuer == "" || some([]string{issuer}, hasIssuer)) &&
			(len(r.Match.Subjects) == 0 || some(r.Match.Subjects, hasSubject)) &&
			(len(r.Match.Groups) == 0 || some(r.Match.Groups, who.Groups...))
		got := decide(r, who)
		if got != want {
			t.Fatalf("rule %+v for %+v and %q: allowed %v", r, who, model, got)
		}
		if got {
			return
		}
		fewer := *who
		fewer.Groups = nil
		narrower := r
		narrower.Models = nil
		if decide(r, &fewer) || decide(narrower, who) {
			t.Fatalf("less allows more: rule %+v for %+v and %q", r, who, model)
		}
	})
}

func BenchmarkDecide(b *testing.B) {
	who := user("alice", "g1", "g2", "g3", "g4", "staff")
	b.Run("few rules", func(b *testing.B) {
		p := compile(b, document)
		b.ReportAllocs()
		for b.Loop() {
			if !p.Decide(who, policy.Target{Model: "claude-opus", Upstream: "eu"}).Allowed {
				b.Fatal("denied")
			}
		}
	})
	// A thousand rules of nothing but patterns, each another.
	b.Run("1000 rules of patterns", func(b *testing.B) {
		rules := make([]config.Rule, 1000)
		for i := range rules {
			rules[i] = config.Rule{Name: fmt.Sprint(i), Models: []string{"claude-*"}, Match: config.Match{
				Issuer: "https://idp.*", Groups: []string{fmt.Sprintf("team-%d-*", i)}, Subjects: []string{fmt.Sprintf("user-%d-*", i), "ali*"},
			}}
		}
		rules[999].Match.Groups = []string{"sta*"}
		p := policy.Compile(&config.Document{Policy: rules})
		b.ReportAllocs()
		for b.Loop() {
			if !p.Decide(who, policy.Target{Model: "claude-opus", Upstream: "eu"}).Allowed {
				b.Fatal("denied")
			}
		}
	})
	// The worst case: a thousand rules that all have the model, of which the last is the one.
	b.Run("1000 rules", func(b *testing.B) {
		rules := make([]config.Rule, 1000)
		random := rand.New(rand.NewPCG(1, 2))
		for i := range rules {
			rules[i] = config.Rule{
				Name: fmt.Sprint(i), Models: []string{"claude-*", "nova"},
				Match: config.Match{Issuer: "https://idp.example.com", Groups: []string{fmt.Sprintf("group-%d", random.IntN(1e6)), "team-*"}},
			}
		}
		rules[999].Match.Groups = []string{"staff"}
		p := policy.Compile(&config.Document{Policy: rules})
		b.ReportAllocs()
		for b.Loop() {
			if !p.Decide(who, policy.Target{Model: "claude-opus", Upstream: "eu"}).Allowed {
				b.Fatal("denied")
			}
		}
	})
}

// TestADecisionAllocatesLittle holds the promise of the request path: what is remembered of a token and the decision on it.
func TestADecisionAllocatesLittle(t *testing.T) {
	issuer := oidc.New("https://idp.example.com")
	r := remembered(t, issuer)
	p := compile(t, document)
	callers := caller.NewBearer([]config.Caller{{Name: "idp", Issuer: issuer.URL(), Audiences: []string{"gateway"}, Algorithms: []string{"ES256"}}}, direct{issuer})
	decide := func() {
		who, err := callers.Authenticate(r)
		if err != nil || !p.Decide(who, policy.Target{Model: "claude-opus", Upstream: "eu"}).Allowed {
			t.Fatal("denied", err)
		}
	}
	decide()
	if n := testing.AllocsPerRun(100, decide); n > 10 {
		t.Errorf("a decision allocates %v times", n)
	}
}

// remembered is a request with a token as issuers make them, of somebody who is in many groups.
func remembered(t testing.TB, issuer *oidc.Issuer) *http.Request {
	t.Helper()
	groups := []string{"staff"}
	for i := range 30 {
		groups = append(groups, fmt.Sprintf("a-group-of-some-length-%d", i))
	}
	text, err := issuer.Mint(oidc.Token{
		Algorithm: "ES256", Subject: "alice", Audience: []string{"gateway"}, Groups: groups,
		Claims: map[string]any{"acr": "phr", "amr": []string{"pwd", "otp"}, "auth_time": time.Now().Unix(), "scope": "llm:read llm:invoke"},
	})
	if err != nil {
		t.Fatal(err)
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "/v1/chat/completions", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+text)
	return r
}

type direct struct{ http.Handler }

func (d direct) RoundTrip(r *http.Request) (*http.Response, error) {
	rec := httptest.NewRecorder()
	d.ServeHTTP(rec, r)
	return rec.Result(), nil
}

// BenchmarkAuthenticateAndDecide is what a request costs before it is sent on: a token that is known, its claims, and the policy with a second
// factor.
func BenchmarkAuthenticateAndDecide(b *testing.B) {
	issuer := oidc.New("https://idp.example.com")
	r := remembered(b, issuer)
	d, err := config.Load([]byte(strings.Replace(document, "  provider: bedrock", "  provider: bedrock\n  mfa_required: true", 1) + "mfa: {acr_values: [phr], max_age: 24h}\n"))
	if err != nil {
		b.Fatal(err)
	}
	p := policy.Compile(d)
	callers := caller.NewBearer([]config.Caller{{Name: "idp", Issuer: issuer.URL(), Audiences: []string{"gateway"}, Algorithms: []string{"ES256"}}}, direct{issuer})
	b.ReportAllocs()
	for b.Loop() {
		who, err := callers.Authenticate(r)
		if err != nil {
			b.Fatal(err)
		}
		if d := p.Decide(who, policy.Target{Route: config.EndpointChat, Model: "claude-opus", Upstream: "eu"}); !d.Allowed {
			b.Fatal(d.Reason)
		}
	}
}
