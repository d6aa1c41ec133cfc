package explain_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/postern-ai/postern/localdev/explain"
	"github.com/postern-ai/postern/localdev/fake/oidc"
)

const document = `
callers:
- {name: idp, issuer: https://idp.example.com, audience: postern}
platform_callers: true
mfa: {acr_values: [phr], max_age: 5m}
upstreams:
- {provider: bedrock, models: [{name: sonnet, model: eu.anthropic.claude, fallbacks: [nova]}, nova]}
policy:
- {name: leads, match: {groups: [leads, "lead-*"]}, models: ["*"]}
- {name: research, match: {claims: {department: [research]}, roles: [analyst]}, models: [sonnet], tools: [search], max_tokens: 100, mfa: always, log_payloads: true, limits: {requests_per_minute: 60}}
- {name: apps, match: {methods: [aws_iam], subjects: ["arn:aws:sts::123456789012:assumed-role/app/*"]}, models: [nova]}
`

type direct struct{ http.Handler }

func (d direct) RoundTrip(r *http.Request) (*http.Response, error) {
	rec := httptest.NewRecorder()
	d.ServeHTTP(rec, r)
	return rec.Result(), nil
}

func TestExplain(t *testing.T) {
	t.Parallel()
	issuer := oidc.New("https://idp.example.com")
	at := time.Now().Truncate(time.Second)
	analyst := map[string]any{"department": "research", "roles": []string{"analyst"}, "azp": "notebook"}
	with := func(more map[string]any) map[string]any {
		claims := map[string]any{}
		for _, m := range []map[string]any{analyst, more} {
			for name, value := range m {
				claims[name] = value
			}
		}
		return claims
	}
	tests := []struct {
		name  string
		token *oidc.Token
		q     explain.Question
		want  string
	}{
		{
			"the rule that decides, and why those before it do not", &oidc.Token{Claims: with(map[string]any{"acr": "phr", "auth_time": at.Unix()})}, explain.Question{Model: "sonnet"}, `
caller    idp/alice, a person of the issuer https://idp.example.com, authenticated by oidc
          subject: alice
          client: notebook
          roles: analyst
          acr: phr
          authenticated at: ` + at.UTC().Format(time.RFC3339) + `
          claim department: research
target    chat for the model sonnet: upstream bedrock, where it is called eu.anthropic.claude
rule      leads does not match: match.groups has to match "lead-*" or "leads", and there is none
rule      research matches, and decides
decision  allowed by research
          answers of at most 100 tokens
          tools: search, no others
          at most 60 requests a minute
          prompts and answers are logged
fallback  nova: upstream bedrock, where it is called nova
rule      leads does not match: match.groups has to match "lead-*" or "leads", and there is none
rule      research does not match: models has to match "sonnet", and it is "nova"
rule      apps does not match: match.subjects has to match "arn:aws:sts::123456789012:assumed-role/app/*", and it is "alice"
decision  403: no rule of the gateway's policy lets this caller use the model "nova" of upstream "bedrock"
`,
		},
		{
			"a second factor that is missing", &oidc.Token{Claims: analyst}, explain.Question{Model: "sonnet"}, `
caller    idp/alice, a person or a program (its credential does not say) of the issuer https://idp.example.com, authenticated by oidc
          subject: alice
          client: notebook
          roles: analyst
          claim department: research
target    chat for the model sonnet: upstream bedrock, where it is called eu.anthropic.claude
rule      leads does not match: match.groups has to match "lead-*" or "leads", and there is none
rule      research matches, and decides
decision  401, step-up: the caller's token does not show a second factor
          asked for: acr phr
          asked for: an authentication at most 5m0s ago
`,
		},
		{
			"a fallback that the caller may use too", &oidc.Token{Groups: []string{"leads"}}, explain.Question{Model: "sonnet"}, `
caller    idp/alice, a person or a program (its credential does not say) of the issuer https://idp.example.com, authenticated by oidc
          subject: alice
          groups: leads
target    chat for the model sonnet: upstream bedrock, where it is called eu.anthropic.claude
rule      leads matches, and decides
decision  allowed by leads
fallback  nova: upstream bedrock, where it is called nova
rule      leads matches, and decides
decision  allowed by leads
`,
		},
		{
			"a part of the API that has no fallbacks", &oidc.Token{Groups: []string{"leads"}}, explain.Question{Model: "sonnet", Route: "models"}, `
caller    idp/alice, a person or a program (its credential does not say) of the issuer https://idp.example.com, authenticated by oidc
          subject: alice
          groups: leads
target    models for the model sonnet: upstream bedrock, where it is called eu.anthropic.claude
rule      leads matches, and decides
decision  allowed by leads
`,
		},
		{
			"a denial says what each rule missed", &oidc.Token{Groups: []string{"staff", "interns"}}, explain.Question{Model: "nova"}, `
caller    idp/alice, a person or a program (its credential does not say) of the issuer https://idp.example.com, authenticated by oidc
          subject: alice
          groups: staff, interns
target    chat for the model nova: upstream bedrock, where it is called nova
rule      leads does not match: match.groups has to match "lead-*" or "leads", and it is "staff" or "interns"
rule      research does not match: models has to match "sonnet", and it is "nova"
rule      apps does not match: match.subjects has to match "arn:aws:sts::123456789012:assumed-role/app/*", and it is "alice"
decision  403: no rule of the gateway's policy lets this caller use the model "nova" of upstream "bedrock"
`,
		},
		{
			"a token that is not accepted", &oidc.Token{Lifetime: -time.Hour}, explain.Question{Model: "nova"}, `
caller    not authenticated (expired): the token has expired; get a new one from its issuer
decision  401, before any rule is asked
`,
		},
		{
			"a model that is not there", &oidc.Token{}, explain.Question{Model: "gpt"}, `
caller    idp/alice, a person or a program (its credential does not say) of the issuer https://idp.example.com, authenticated by oidc
          subject: alice
target    no upstream serves the model "gpt"
decision  404, before any rule is asked
`,
		},
		{
			"an identity of AWS", nil, explain.Question{ARN: "arn:aws:sts::123456789012:assumed-role/app/session", Model: "nova"}, `
caller    arn:aws:sts::123456789012:assumed-role/app/session, a person or a program (its credential does not say) of the issuer aws:iam, authenticated by aws_iam
          subject: arn:aws:sts::123456789012:assumed-role/app/session
          tenant: 123456789012
target    chat for the model nova: upstream bedrock, where it is called nova
rule      leads does not match: match.groups has to match "lead-*" or "leads", and there is none
rule      research does not match: models has to match "sonnet", and it is "nova"
rule      apps matches, and decides
decision  allowed by apps
`,
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if test.token != nil {
				test.token.Subject, test.token.Audience = "alice", []string{"postern"}
				text, err := issuer.Mint(*test.token)
				if err != nil {
					t.Fatal(err)
				}
				test.q.Token = text
			}
			test.q.Transport = direct{issuer}
			got, err := explain.Explain(t.Context(), []byte(document), test.q)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(strings.TrimPrefix(test.want, "\n"), got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestQuestionsThatLackSomething(t *testing.T) {
	t.Parallel()
	const single = "provider: bedrock\naws_region: eu-west-1\n"
	for _, test := range []struct {
		name, document string
		q              explain.Question
		fails, says    string
	}{
		{"no model", document, explain.Question{Token: "x"}, "-model", ""},
		{"nobody", document, explain.Question{Model: "nova"}, "-token", ""},
		{"two callers", document, explain.Question{Model: "nova", Token: "x", ARN: "arn:aws:iam::1:user/x"}, "-token", ""},
		{"a document that does not load", "provider: x", explain.Question{Model: "nova", Token: "x"}, "no such provider", ""},
		{"a document without identities of AWS", strings.Replace(document, "platform_callers: true", "", 1), explain.Question{Model: "nova", ARN: "arn:aws:iam::1:user/x"}, "aws_iam", ""},
		{"a part of the API that there is not", document, explain.Question{Model: "nova", Token: "x", Route: "chats"}, "chat or models", ""},
		{"an identity that is none of AWS", document, explain.Question{Model: "nova", ARN: "user/x"}, "ARN of an identity", ""},
		{"a document without rules", single, explain.Question{Model: "nova", ARN: "arn:aws:iam::123456789012:user/x"}, "", "allowed: the document has no rules"},
		{"one that requires a second factor of AWS", single + "mfa_required: true\n", explain.Question{Model: "nova", ARN: "arn:aws:iam::123456789012:user/x"}, "", "401, step-up"},
		{"one where IAM asks for it", single + "mfa_required: true\n", explain.Question{Model: "nova", ARN: "arn:aws:iam::123456789012:user/x", IAMMFA: true}, "", "allowed"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			text, err := explain.Explain(t.Context(), []byte(test.document), test.q)
			if (err != nil) != (test.fails != "") || err != nil && !strings.Contains(err.Error(), test.fails) || !strings.Contains(text, test.says) {
				t.Errorf("%q, %v", text, err)
			}
		})
	}
}
