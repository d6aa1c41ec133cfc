package config_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/postern-ai/postern/shared/config"
)

// TestAFunctionStartsOnlyWhereASecondFactorCanBeEnforced: what only the platform could ask for is refused where it does not.
func TestAFunctionStartsOnlyWhereASecondFactorCanBeEnforced(t *testing.T) {
	t.Parallel()
	const (
		single    = "provider: custom-openai\nbase_url: https://llm.example.com/v1\nauth_type: api_key\ncredential_ref: env://K\nmfa_required: true\n"
		callers   = "callers: [{issuer: https://idp.example.com, audience: x}]\n"
		tokens    = "upstreams: [{provider: custom-openai, base_url: https://llm.example.com/v1, auth_type: api_key, credential_ref: env://K, mfa_required: true}]\n"
		apiTokens = "api_tokens: {credential_ref: env://LIST, key_ref: env://KEY}\n"
		rules     = "policy: [{match: {clients: [x]}, models: [\"*\"], mfa: users}]\n"
	)
	for _, test := range []struct {
		name, document, said     string
		cloud                    config.Cloud
		iam                      bool
		problem, warning, remedy string
	}{
		{name: "AWS with its IAM's word", document: single, cloud: config.AWS, said: "true", iam: true},
		{name: "AWS without it", document: single, cloud: config.AWS, problem: "upstreams[0].mfa_required: the identity", remedy: "POSTERN_IAM_MFA=true"},
		{name: "AWS that says no", document: single, cloud: config.AWS, said: "false", problem: "nobody could ever be let in"},
		{name: "a word that is none", document: single, cloud: config.AWS, said: "yes", problem: `POSTERN_IAM_MFA ("yes"): this is neither`},
		{name: "another cloud with AWS's word", document: single, cloud: config.GCP, said: "true", problem: "only AWS IAM"},
		{name: "Google Cloud", document: single, cloud: config.GCP, problem: "nobody could ever be let in", remedy: "described under callers and mfa"},
		{name: "Azure", document: single, cloud: config.Azure, problem: "nobody could ever be let in"},
		{name: "tokens show it anywhere", document: callers + tokens + rules, cloud: config.GCP},
		{name: "identities of the platform beside tokens are refused by request", document: callers + "platform_callers: true\n" + tokens + rules, cloud: config.AWS, warning: "such callers are refused where it is required"},
		{name: "and are not with IAM's word", document: callers + "platform_callers: true\n" + tokens + rules, cloud: config.AWS, said: "true", iam: true},
		{name: "service accounts may be excepted", document: "platform_callers: true\n" + tokens + rules, cloud: config.GCP, warning: "such callers are refused"},
		{name: "roles of AWS may not, since people have them too", document: "platform_callers: true\n" + tokens + rules, cloud: config.AWS, problem: "nobody could ever be let in"},
		{name: "API tokens show none", document: apiTokens + tokens + strings.Replace(rules, "mfa: users", "mfa: always", 1), cloud: config.AWS, problem: "no credential that the document accepts shows a second factor"},
		{name: "and may be excepted, being programs", document: apiTokens + tokens + rules, cloud: config.AWS},
		{name: "a document that requires none needs no word", document: strings.Replace(single, "mfa_required: true", "", 1), cloud: config.AWS},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			d, err := config.FromEnvironment(test.cloud, variables("POSTERN_CONFIG", test.document, "POSTERN_PLATFORM_IAM", "true", "POSTERN_IAM_MFA", test.said), nil)
			if (err != nil) != (test.problem != "") || err != nil && (!strings.Contains(err.Error(), test.problem) || !strings.Contains(err.Error(), test.remedy)) {
				t.Fatalf("got %v, want %q and %q", err, test.problem, test.remedy)
			}
			if err != nil {
				return
			}
			if d.MFA.IAM != test.iam {
				t.Errorf("IAM asks: %v", d.MFA.IAM)
			}
			if text := fmt.Sprint(d.Warnings); !strings.Contains(text, test.warning) || test.warning == "" && len(d.Warnings) > 0 {
				t.Errorf("warnings %s", text)
			}
		})
	}
}
