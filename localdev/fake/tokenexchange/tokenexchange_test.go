package tokenexchange_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-ai/postern/localdev/fake/fault"
	"github.com/postern-ai/postern/localdev/fake/oauth"
	"github.com/postern-ai/postern/localdev/fake/oidc"
	"github.com/postern-ai/postern/localdev/fake/tokenexchange"
)

// inside hands requests to a handler in this process.
type inside struct{ handler http.Handler }

func (i inside) RoundTrip(r *http.Request) (*http.Response, error) {
	recorder := httptest.NewRecorder()
	i.handler.ServeHTTP(recorder, r)
	return recorder.Result(), nil
}

const subject = "arn:aws:iam::123456789012:role/gateway"

func platform() (*oidc.Issuer, oauth.Issuer) {
	issuer := oidc.New("https://issuer.example")
	return issuer, oauth.Issuer{URL: issuer.URL(), Keys: oauth.KeysFrom(inside{issuer}, issuer.URL()+oidc.KeysPath)}
}

func mint(t *testing.T, issuer *oidc.Issuer, token oidc.Token) string {
	t.Helper()
	if token.Subject == "" {
		token.Subject = subject
	}
	text, err := issuer.Mint(token)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func post(t *testing.T, handler http.Handler, path, kind string, body any) (int, map[string]any) {
	t.Helper()
	text, isText := body.(string)
	if !isText {
		encoded, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		text = string(encoded)
	}
	request := httptest.NewRequestWithContext(t.Context(), http.MethodPost, path, strings.NewReader(text))
	request.Header.Set("Content-Type", kind)
	recorder := httptest.NewRecorder()
	handler.ServeHTTP(recorder, request)
	answer := map[string]any{}
	if err := json.Unmarshal(recorder.Body.Bytes(), &answer); err != nil {
		t.Fatalf("%d %s: %v", recorder.Code, recorder.Body, err)
	}
	return recorder.Code, answer
}

func TestOpenAIRefusesWhatItsReferenceSaysItRefuses(t *testing.T) {
	t.Parallel()
	issuer, trusted := platform()
	stranger, _ := platform()
	audience := []string{"https://api.openai.com/v1"}
	good := func(change func(map[string]any)) map[string]any {
		body := map[string]any{
			"grant_type":           "urn:ietf:params:oauth:grant-type:token-exchange",
			"subject_token_type":   "urn:ietf:params:oauth:token-type:jwt",
			"subject_token":        mint(t, issuer, oidc.Token{Audience: audience}),
			"identity_provider_id": "idp_1", "service_account_id": "sa_1",
		}
		change(body)
		return body
	}
	as := func(token oidc.Token) func(map[string]any) {
		return func(body map[string]any) { body["subject_token"] = mint(t, issuer, token) }
	}
	tests := []struct {
		name   string
		body   any
		kind   string
		status int
		code   any
	}{
		{"a JWT for the provider is exchanged", good(func(map[string]any) {}), "", 200, nil},
		{"so is an id token", good(func(b map[string]any) { b["subject_token_type"] = "urn:ietf:params:oauth:token-type:id_token" }), "", 200, nil},
		{"a form", "grant_type=x", "application/x-www-form-urlencoded", 400, "invalid_request"},
		{"a field that it does not know", good(func(b map[string]any) { b["assertion"] = "x" }), "", 400, "invalid_request"},
		{"another grant", good(func(b map[string]any) { b["grant_type"] = "client_credentials" }), "", 400, "unsupported_grant_type"},
		{"no account", good(func(b map[string]any) { delete(b, "service_account_id") }), "", 400, "invalid_request"},
		{"another token type", good(func(b map[string]any) { b["subject_token_type"] = "urn:ietf:params:oauth:token-type:saml2" }), "", 400, "invalid_request"},
		{"an unknown provider", good(func(b map[string]any) { b["identity_provider_id"] = "idp_2" }), "", 400, "invalid_grant"},
		{"another account", good(func(b map[string]any) { b["service_account_id"] = "sa_2" }), "", 403, "invalid_grant"},
		{"another subject", good(as(oidc.Token{Subject: "arn:other", Audience: audience})), "", 403, "invalid_grant"},
		{"another audience", good(as(oidc.Token{Audience: []string{"https://elsewhere"}})), "", 401, "invalid_subject_token"},
		{"no audience", good(as(oidc.Token{Claims: map[string]any{"aud": nil}})), "", 401, "invalid_subject_token"},
		{"an expired token", good(as(oidc.Token{Audience: audience, Lifetime: -time.Minute})), "", 401, "invalid_subject_token"},
		{"a token from the future", good(as(oidc.Token{Audience: audience, Claims: map[string]any{"iat": time.Now().Add(time.Hour).Unix()}})), "", 401, "invalid_subject_token"},
		{"a token without a date", good(as(oidc.Token{Audience: audience, Claims: map[string]any{"iat": nil}})), "", 401, "invalid_subject_token"},
		{"another issuer", good(as(oidc.Token{Audience: audience, Claims: map[string]any{"iss": issuer.URL() + "/"}})), "", 401, "invalid_subject_token"},
		{"a foreign key", good(func(b map[string]any) { b["subject_token"] = mint(t, stranger, oidc.Token{Audience: audience}) }), "", 401, "invalid_subject_token"},
		{"no token", good(func(b map[string]any) { b["subject_token"] = "AKIAIOSFODNN7EXAMPLE" }), "", 401, "invalid_subject_token"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			server := tokenexchange.NewOpenAI(tokenexchange.Provider{
				ID: "idp_1", Issuer: trusted, Audience: audience[0],
				Mappings: []tokenexchange.Mapping{{Subject: subject, ServiceAccountID: "sa_1"}},
			})
			kind := test.kind
			if kind == "" {
				kind = "application/json"
			}
			status, answer := post(t, server, tokenexchange.OpenAIPath, kind, test.body)
			if status != test.status || answer["error"] != test.code {
				t.Fatalf("%d %v", status, answer)
			}
			token, _ := answer["access_token"].(string)
			if server.Valid(token) != (status == 200) {
				t.Errorf("valid: %v", server.Valid(token))
			}
		})
	}
}

func TestOpenAIsTokenNeverOutlivesTheSubjects(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		issuer, trusted := platform()
		server := tokenexchange.NewOpenAI(tokenexchange.Provider{
			ID: "idp_1", Issuer: trusted, Audience: "a", Mappings: []tokenexchange.Mapping{{Subject: subject, ServiceAccountID: "sa_1"}},
		})
		_, answer := post(t, server, tokenexchange.OpenAIPath, "application/json", map[string]any{
			"grant_type": "urn:ietf:params:oauth:grant-type:token-exchange", "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
			"subject_token":        mint(t, issuer, oidc.Token{Audience: []string{"a"}, Lifetime: 5 * time.Minute}),
			"identity_provider_id": "idp_1", "service_account_id": "sa_1",
		})
		token, _ := answer["access_token"].(string)
		if answer["expires_in"] != 300.0 || !server.Valid(token) {
			t.Fatalf("%v", answer)
		}
		if account, _ := server.Account(token); account.ServiceAccountID != "sa_1" {
			t.Errorf("%+v", account)
		}
		time.Sleep(5 * time.Minute)
		if server.Valid(token) {
			t.Error("it outlives the subject's")
		}
	})
}

func TestAnthropicRefusesWhatItsReferenceSaysItRefuses(t *testing.T) {
	t.Parallel()
	issuer, trusted := platform()
	audience := []string{"https://api.anthropic.com"}
	rule := tokenexchange.Rule{
		ID: "fdrl_1", Issuer: trusted, SubjectPrefix: "arn:aws:iam::123456789012:*", Audience: audience[0],
		OrganizationID: "00000000-0000-4000-8000-000000000001", ServiceAccountID: "svac_1", Workspaces: []string{"wrkspc_1"},
	}
	with := func(name string, value any) func(map[string]any) { return func(b map[string]any) { b[name] = value } }
	as := func(token oidc.Token) func(map[string]any) {
		return func(b map[string]any) { b["assertion"] = mint(t, issuer, token) }
	}
	tests := []struct {
		name   string
		change func(map[string]any)
		rule   func(*tokenexchange.Rule)
		status int
		kind   string
		why    string
	}{
		{name: "a token that satisfies the rule is exchanged", status: 200},
		{name: "for a workspace too", change: with("workspace_id", "wrkspc_1"), status: 200},
		{name: "a malformed rule", change: with("federation_rule_id", "rule"), status: 400, kind: "invalid_request_error"},
		{name: "a malformed workspace", change: with("workspace_id", "mine"), status: 400, kind: "invalid_request_error"},
		{name: "no organization", change: with("organization_id", ""), status: 400, kind: "invalid_request_error"},
		{name: "a field that it does not know", change: with("federation_rule", "x"), status: 400, kind: "invalid_request_error"},
		{name: "an assertion over 16 KiB", change: with("assertion", strings.Repeat("a", 16<<10+1)), status: 400, kind: "invalid_request_error"},
		{name: "an unknown rule", change: with("federation_rule_id", "fdrl_2"), status: 401, why: "rule_unknown"},
		{name: "another organization", change: with("organization_id", "other"), status: 401, why: "organization"},
		{name: "another account", change: with("service_account_id", "svac_2"), status: 401, why: "service_account"},
		{name: "another workspace", change: with("workspace_id", "wrkspc_2"), status: 401, why: "workspace"},
		{name: "no workspace where there are two", rule: func(r *tokenexchange.Rule) { r.Workspaces = []string{"wrkspc_1", "wrkspc_2"} }, status: 401, why: "workspace_id_required"},
		{name: "a token that lives for a day", change: as(oidc.Token{Audience: audience, Lifetime: 24 * time.Hour}), status: 401, why: "lifetime_too_long"},
		{name: "unless the issuer may", change: as(oidc.Token{Audience: audience, Lifetime: 24 * time.Hour}), rule: func(r *tokenexchange.Rule) { r.MaxLifetime = 25 * time.Hour }, status: 200},
		{name: "another subject", change: as(oidc.Token{Subject: "arn:aws:iam::999999999999:role/x", Audience: audience}), status: 401, why: "match_subject_prefix"},
		{name: "another audience", change: as(oidc.Token{Audience: []string{"x"}}), status: 401, why: "match_audience"},
		{name: "an expired token", change: as(oidc.Token{Audience: audience, Lifetime: -time.Minute}), status: 401, why: "it has expired"},
		{name: "a token without a key id", change: as(oidc.Token{Audience: audience, Header: map[string]any{"kid": ""}}), status: 401, why: "the header has no kid"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			rule := rule
			if test.rule != nil {
				test.rule(&rule)
			}
			server := tokenexchange.NewAnthropic(rule)
			body := map[string]any{
				"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion": mint(t, issuer, oidc.Token{Audience: audience}),
				"federation_rule_id": "fdrl_1", "organization_id": rule.OrganizationID, "service_account_id": "svac_1",
			}
			if test.change != nil {
				test.change(body)
			}
			status, answer := post(t, server, tokenexchange.AnthropicPath, "application/json", body)
			problem, _ := answer["error"].(map[string]any)
			kind := test.kind
			if status == 401 {
				kind = "authentication_error"
				if problem["message"] != "Authentication failed" {
					t.Errorf("a denial says why: %v", answer)
				}
			}
			if status != test.status || kind != "" && problem["type"] != kind || server.Why() != test.why {
				t.Fatalf("%d %v, because of %q", status, answer, server.Why())
			}
			if token, _ := answer["access_token"].(string); server.Valid(token) != (status == 200) || status == 200 && !strings.HasPrefix(token, "sk-ant-oat01-") {
				t.Errorf("token %q", token)
			}
		})
	}
}

func TestAnthropicAcceptsATokenWithAnIDOnceAndBoundsItsOwnByIt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		issuer, trusted := platform()
		server := tokenexchange.NewAnthropic(tokenexchange.Rule{ID: "fdrl_1", Issuer: trusted, SubjectPrefix: subject, OrganizationID: "o", ServiceAccountID: "svac_1"})
		exchange := func(assertion string) (int, map[string]any) {
			return post(t, server, tokenexchange.AnthropicPath, "application/json", map[string]any{
				"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion": assertion,
				"federation_rule_id": "fdrl_1", "organization_id": "o", "service_account_id": "svac_1",
			})
		}
		assertion := mint(t, issuer, oidc.Token{Audience: []string{"a"}, Lifetime: 5 * time.Minute, Claims: map[string]any{"jti": "1"}})
		status, answer := exchange(assertion)
		if status != 200 || answer["expires_in"] != 600.0 {
			t.Fatalf("%d %v", status, answer)
		}
		if status, _ := exchange(assertion); status != 401 || server.Why() != "jti_reused" {
			t.Errorf("%d, because of %q", status, server.Why())
		}
		token, _ := answer["access_token"].(string)
		server.Revoke(token)
		if server.Valid(token) {
			t.Error("a revoked token is valid")
		}
	})
}

func TestFaultsComeFirst(t *testing.T) {
	t.Parallel()
	openAI, anthropic := tokenexchange.NewOpenAI(), tokenexchange.NewAnthropic()
	openAI.Faults.Set(fault.Fault{Status: 503, Body: "{}"})
	anthropic.Faults.Set(fault.Fault{Status: 529, Body: "{}"})
	if status, _ := post(t, openAI, "/", "", ""); status != 503 {
		t.Error(status)
	}
	if status, _ := post(t, anthropic, "/", "", ""); status != 529 {
		t.Error(status)
	}
}
