package exchange_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/postern-ai/postern/localdev/fake/fault"
	"github.com/postern-ai/postern/localdev/fake/oidc"
	"github.com/postern-ai/postern/localdev/fake/tokenexchange"
	"github.com/postern-ai/postern/shared/identity"
	"github.com/postern-ai/postern/shared/identity/exchange"
	"github.com/postern-ai/postern/shared/secrets"
)

const organization = "00000000-0000-4000-8000-000000000001"

func openAI(t testing.TB, cloud platform, token oidc.Token) (*exchange.OpenAI, *tokenexchange.OpenAI, *wire) {
	t.Helper()
	server := tokenexchange.NewOpenAI(tokenexchange.Provider{
		ID: "idp_1", Issuer: cloud.trust(), Audience: exchange.OpenAIAudience,
		Mappings: []tokenexchange.Mapping{{Subject: role, ServiceAccountID: "sa_1"}},
	})
	to := &wire{handler: server}
	if token.Audience == nil {
		token.Audience = []string{exchange.OpenAIAudience}
	}
	return must[*exchange.OpenAI](t)(exchange.NewOpenAI(exchange.OpenAIOptions{
		Subject: cloud.signs(token), SubjectName: "role", IdentityProviderID: "idp_1", ServiceAccountID: "sa_1", Vendor: exchange.Vendor{HTTP: to.client()},
	})), server, to
}

func anthropic(t testing.TB, cloud platform, token oidc.Token, change func(*exchange.AnthropicOptions)) (*exchange.Anthropic, *tokenexchange.Anthropic, *wire) {
	t.Helper()
	server := tokenexchange.NewAnthropic(tokenexchange.Rule{
		ID: "fdrl_1", Issuer: cloud.trust(), SubjectPrefix: role, Audience: "https://api.anthropic.com", OrganizationID: organization, ServiceAccountID: "svac_1",
		Workspaces: []string{"wrkspc_1", "default"},
	})
	to := &wire{handler: server}
	if token.Audience == nil {
		token.Audience = []string{"https://api.anthropic.com"}
	}
	options := exchange.AnthropicOptions{
		Subject: cloud.signs(token), SubjectName: "role", FederationRuleID: "fdrl_1", OrganizationID: organization, ServiceAccountID: "svac_1", WorkspaceID: "wrkspc_1",
		Vendor: exchange.Vendor{HTTP: to.client()},
	}
	if change != nil {
		change(&options)
	}
	return must[*exchange.Anthropic](t)(exchange.NewAnthropic(options)), server, to
}

func TestThePlatformsTokenIsExchangedAtOpenAI(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		source, server, to := openAI(t, newPlatform(), oidc.Token{Lifetime: 20 * time.Minute})
		began := time.Now()
		token, err := source.Token(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if account, valid := server.Account(token.Value.Reveal()); !valid || account.ServiceAccountID != "sa_1" {
			t.Errorf("the token is for %+v", account)
		}
		if token.Principal != (identity.Principal{Name: "sa_1", Source: "OpenAI token exchange"}) || token.Type != "Bearer" {
			t.Errorf("got %+v", token)
		}
		// OpenAI's token does not outlive the platform's.
		if lives := token.Expires.Sub(began); lives != 20*time.Minute {
			t.Errorf("it lives %v", lives)
		}
		want := "POST https://auth.openai.com/oauth/token\nAccept: application/json\nContent-Type: application/json\n" +
			`{"grant_type":"urn:ietf:params:oauth:grant-type:token-exchange","subject_token":"SIGNED",` +
			`"subject_token_type":"urn:ietf:params:oauth:token-type:jwt","identity_provider_id":"idp_1","service_account_id":"sa_1"}`
		if diff := cmp.Diff([]string{want}, signedAway(to.requests())); diff != "" {
			t.Error(diff)
		}
	})
}

func TestThePlatformsTokenIsExchangedAtAnthropic(t *testing.T) {
	t.Parallel()
	const head = "POST https://api.anthropic.com/v1/oauth/token\nAccept: application/json\n" +
		"Anthropic-Beta: oauth-2025-04-20,oidc-federation-2026-04-01\nContent-Type: application/json\n"
	tests := []struct{ name, workspace, want string }{
		{
			"for a workspace", "wrkspc_1", head + `{"grant_type":"urn:ietf:params:oauth:grant-type:jwt-bearer","assertion":"SIGNED","federation_rule_id":"fdrl_1",` +
				`"organization_id":"` + organization + `","service_account_id":"svac_1","workspace_id":"wrkspc_1"}`,
		},
		{
			"for the one that stands for all", "default", head + `{"grant_type":"urn:ietf:params:oauth:grant-type:jwt-bearer","assertion":"SIGNED","federation_rule_id":"fdrl_1",` +
				`"organization_id":"` + organization + `","service_account_id":"svac_1","workspace_id":"default"}`,
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			source, server, to := anthropic(t, newPlatform(), oidc.Token{}, func(o *exchange.AnthropicOptions) { o.WorkspaceID = test.workspace })
			token, err := source.Token(t.Context())
			if err != nil {
				t.Fatalf("%v, because of %s", err, server.Why())
			}
			if account, valid := server.Account(token.Value.Reveal()); !valid || account.ServiceAccountID != "svac_1" {
				t.Errorf("the token is for %+v", account)
			}
			if token.Principal != (identity.Principal{Name: "svac_1", Source: "Anthropic token exchange"}) {
				t.Errorf("principal %+v", token.Principal)
			}
			if diff := cmp.Diff([]string{test.want}, signedAway(to.requests())); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestEachExchangeBringsATokenOfItsOwn: Anthropic accepts a token with an id once, so one that was kept would fail at the next renewal.
func TestEachExchangeBringsATokenOfItsOwn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		source, server, _ := anthropic(t, newPlatform(), oidc.Token{Lifetime: 5 * time.Minute}, nil)
		cache := identity.NewCache(source, identity.CacheOptions{})
		for range 60 {
			token, err := cache.Token(t.Context())
			if err != nil || !server.Valid(token.Value.Reveal()) {
				t.Fatalf("%v, because of %s", err, server.Why())
			}
			time.Sleep(time.Minute)
		}
		if calls := server.Faults.Calls(); calls < 6 || calls > 10 {
			t.Errorf("%d exchanges in an hour, for tokens that live ten minutes", calls)
		}
		kept, err := newPlatform().signs(oidc.Token{})(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		source, _, _ = anthropic(t, newPlatform(), oidc.Token{}, func(o *exchange.AnthropicOptions) {
			o.Subject = func(context.Context) (secrets.Value, error) { return kept, nil }
		})
		_, err = source.Token(t.Context())
		failure(t, err, "authentication_error")
	})
}

func TestARejectedTokenIsExchangedAnew(t *testing.T) {
	t.Parallel()
	source, server, _ := openAI(t, newPlatform(), oidc.Token{})
	authorizer := identity.Bearer(identity.NewCache(source, identity.CacheOptions{}))
	authorize := func() string {
		request := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "https://api.openai.com/v1/chat/completions", nil)
		if err := authorizer.Authorize(request); err != nil {
			t.Fatal(err)
		}
		token := strings.TrimPrefix(request.Header.Get("Authorization"), "Bearer ")
		if !server.Valid(token) {
			t.Error("the token is not valid")
		}
		server.Revoke(token)
		authorizer.Rejected(request)
		return token
	}
	if first, second := authorize(), authorize(); first == second {
		t.Error("the rejected token came back")
	}
}

func TestWhatEachFaultOfAVendorSays(t *testing.T) {
	t.Parallel()
	const day = "It was issued by \"https://platform.example\" for \"" + role + "\" to the audience \"https://api.anthropic.com\" and lives 24h0m0s, and an issuer's tokens may live 1h0m0s unless its maximum is raised"
	const apiError = `{"type":"error","error":{"type":%q,"message":"canary"},"request_id":"req_canary"}`
	tests := []struct {
		name      string
		vendor    string
		token     oidc.Token
		fault     fault.Fault
		want      string
		retryable bool
	}{
		{name: "OpenAI hangs", vendor: "openai", fault: fault.Fault{Delay: time.Hour}, want: "auth.openai.com does not answer: timed out", retryable: true},
		{name: "OpenAI is overloaded", vendor: "openai", fault: fault.Fault{Status: 503}, want: "auth.openai.com answered with status 503", retryable: true},
		{name: "OpenAI wants fewer requests", vendor: "openai", fault: fault.Fault{Status: 429}, want: "status 429", retryable: true},
		{name: "OpenAI redirects", vendor: "openai", fault: fault.Fault{Status: 302, Header: http.Header{"Location": {"https://canary.example"}}}, want: "sends the request elsewhere"},
		{name: "OpenAI's answer is cut off", vendor: "openai", fault: fault.Fault{Status: 200, Body: `{"access_token":"canary`}, want: "not the JSON of a token", retryable: true},
		{name: "OpenAI's token wants a proof", vendor: "openai", fault: fault.Fault{Status: 200, Body: `{"access_token":"canary","token_type":"DPoP","expires_in":60}`}, want: "other than Bearer"},
		{name: "the token is for another audience", vendor: "openai", token: oidc.Token{Audience: []string{"elsewhere"}}, want: `status 401, invalid_subject_token: the platform's token is not accepted; compare it with issuer, audience and keys of the provider idp_1. It was issued by "https://platform.example" for "` + role + `" to the audience "elsewhere" and lives 1h0m0s`},
		{name: "the token has expired", vendor: "openai", token: oidc.Token{Lifetime: -time.Minute}, want: "invalid_subject_token"},
		{name: "the subject is not mapped", vendor: "openai", token: oidc.Token{Subject: "other"}, want: `status 403, invalid_grant: check that the provider idp_1 is enabled and maps this token to the service account sa_1. It was issued by "https://platform.example" for "other"`},
		{name: "OpenAI's error is an object", vendor: "openai", fault: fault.Fault{Status: 400, Body: `{"error":{"message":"canary","type":"canary","code":"invalid_request"}}`}, want: "invalid_request: check the ids of the provider"},
		{name: "OpenAI's code is not known", vendor: "openai", fault: fault.Fault{Status: 403, Body: `{"error":"canary"}`}, want: "the token endpoint at auth.openai.com answered with status 403"},
		{name: "Anthropic hangs up", vendor: "anthropic", fault: fault.Fault{Hangup: true}, want: "api.anthropic.com cannot be reached: connection reset", retryable: true},
		{name: "Anthropic is overloaded", vendor: "anthropic", fault: fault.Fault{Status: 529, Body: fmt.Sprintf(apiError, "overloaded_error")}, want: "status 529", retryable: true},
		{name: "the token lives for a day", vendor: "anthropic", token: oidc.Token{Lifetime: 24 * time.Hour}, want: "status 401, authentication_error: the platform's token is not accepted under the rule fdrl_1. Anthropic does not say why; the authentication history in the Claude Console does. " + day},
		{name: "the token is of another subject", vendor: "anthropic", token: oidc.Token{Subject: "other"}, want: `for "other" to the audience "https://api.anthropic.com" and lives 1h0m0s`},
		{name: "an id is malformed", vendor: "anthropic", fault: fault.Fault{Status: 400, Body: fmt.Sprintf(apiError, "invalid_request_error")}, want: "invalid_request_error: check the ids of the federation rule"},
		{name: "something is not permitted", vendor: "anthropic", fault: fault.Fault{Status: 403, Body: fmt.Sprintf(apiError, "permission_error")}, want: "permission_error: check the organization's id"},
		{name: "Anthropic speaks as RFC 6749 does", vendor: "anthropic", fault: fault.Fault{Status: 400, Body: `{"error":"invalid_grant","error_description":"canary"}`}, want: "invalid_grant: check the federation rule fdrl_1"},
		{name: "Anthropic's error is not known", vendor: "anthropic", fault: fault.Fault{Status: 400, Body: fmt.Sprintf(apiError, "canary")}, want: "the token endpoint at api.anthropic.com answered with status 400"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var source identity.TokenSource
				var faults *fault.Injector
				if test.vendor == "openai" {
					made, server, _ := openAI(t, newPlatform(), test.token)
					source, faults = made, &server.Faults
				} else {
					made, server, _ := anthropic(t, newPlatform(), test.token, nil)
					source, faults = made, &server.Faults
				}
				if test.fault.Status != 0 || test.fault.Hangup || test.fault.Delay != 0 {
					faults.Set(test.fault)
				}
				began := time.Now()
				_, err := source.Token(t.Context())
				if problem := failure(t, err, test.want); problem.Retryable != test.retryable {
					t.Errorf("retryable is %v", problem.Retryable)
				}
				if took := time.Since(began); took >= 3*time.Second || faults.Calls() != 1 {
					t.Errorf("%d attempts in %v", faults.Calls(), took)
				}
			})
		})
	}
}

func TestWithoutAWorkspaceTheErrorSaysThatOneMayBeNeeded(t *testing.T) {
	t.Parallel()
	source, server, _ := anthropic(t, newPlatform(), oidc.Token{}, func(o *exchange.AnthropicOptions) { o.WorkspaceID = "" })
	_, err := source.Token(t.Context())
	failure(t, err, "A rule for more than one workspace needs the workspace's id")
	if server.Why() != "workspace_id_required" {
		t.Errorf("it was refused because of %s", server.Why())
	}
}

func TestOnlyAJSONWebTokenIsSentToAVendor(t *testing.T) {
	t.Parallel()
	for _, subject := range []string{"canary", "canary.canary.canary", ""} {
		to := &wire{handler: http.NotFoundHandler()}
		source := must[*exchange.OpenAI](t)(exchange.NewOpenAI(exchange.OpenAIOptions{
			Subject: stored(subject), SubjectName: "role", IdentityProviderID: "i", ServiceAccountID: "s", Vendor: exchange.Vendor{HTTP: to.client()},
		}))
		_, err := source.Token(t.Context())
		failure(t, err, "the platform's token is")
		if len(to.requests()) != 0 {
			t.Errorf("sent %q", to.requests())
		}
	}
}

func TestIDsThatAreNoneAreRefusedAtOnce(t *testing.T) {
	t.Parallel()
	type options = exchange.AnthropicOptions
	tests := []struct {
		name   string
		change func(*options)
		want   string
	}{
		{"no token", func(o *options) { o.Subject = nil }, "platform's token"},
		{"a token without a name", func(o *options) { o.SubjectName = "" }, "platform's token"},
		{"a rule's name for its id", func(o *options) { o.FederationRuleID = "my-rule" }, "fdrl_"},
		{"no organization", func(o *options) { o.OrganizationID = "" }, "UUID"},
		{"an account's name for its id", func(o *options) { o.ServiceAccountID = "my-account" }, "svac_"},
		{"a workspace's name for its id", func(o *options) { o.WorkspaceID = "my workspace" }, "wrkspc_"},
		{"another address by http", func(o *options) { o.TokenEndpoint = "http://api.example/v1/oauth/token" }, "must be https"},
	}
	for _, test := range tests {
		o := options{Subject: stored("x"), SubjectName: "role", FederationRuleID: "fdrl_1", OrganizationID: "o", ServiceAccountID: "svac_1"}
		test.change(&o)
		if _, err := exchange.NewAnthropic(o); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v", test.name, err)
		}
	}
	for _, o := range []exchange.OpenAIOptions{
		{SubjectName: "role", IdentityProviderID: "i", ServiceAccountID: "s"},
		{Subject: stored("x"), IdentityProviderID: "i", ServiceAccountID: "s"},
		{Subject: stored("x"), SubjectName: "role", ServiceAccountID: "s"},
		{Subject: stored("x"), SubjectName: "role", IdentityProviderID: "i"},
		{Subject: stored("x"), SubjectName: "role", IdentityProviderID: "i", ServiceAccountID: "s", Vendor: exchange.Vendor{TokenEndpoint: "x"}},
	} {
		if _, err := exchange.NewOpenAI(o); err == nil {
			t.Errorf("%+v is accepted", o)
		}
	}
}

func TestTheKeysOfTheVendorsTellTheirAccountsApart(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	add := func(key string) {
		t.Helper()
		if seen[key] || strings.Contains(key, "canary") {
			t.Errorf("%s", key)
		}
		seen[key] = true
	}
	for _, change := range []func(*exchange.AnthropicOptions){
		func(*exchange.AnthropicOptions) {},
		func(o *exchange.AnthropicOptions) { o.SubjectName = "other" },
		func(o *exchange.AnthropicOptions) { o.FederationRuleID = "fdrl_2" },
		func(o *exchange.AnthropicOptions) { o.OrganizationID = "o" },
		func(o *exchange.AnthropicOptions) { o.ServiceAccountID = "svac_2" },
		func(o *exchange.AnthropicOptions) { o.WorkspaceID = "" },
		func(o *exchange.AnthropicOptions) { o.TokenEndpoint = "https://eu.example/v1/oauth/token" },
	} {
		source, _, _ := anthropic(t, newPlatform(), oidc.Token{}, change)
		add(source.Key())
	}
	for _, o := range []exchange.OpenAIOptions{
		{SubjectName: "role", IdentityProviderID: "i", ServiceAccountID: "s"},
		{SubjectName: "other", IdentityProviderID: "i", ServiceAccountID: "s"},
		{SubjectName: "role", IdentityProviderID: "i2", ServiceAccountID: "s"},
		{SubjectName: "role", IdentityProviderID: "i", ServiceAccountID: "s2"},
		{SubjectName: "role", IdentityProviderID: "i", ServiceAccountID: "s", Vendor: exchange.Vendor{TokenEndpoint: "https://eu.example/oauth/token"}},
	} {
		o.Subject = stored("canary")
		add(must[*exchange.OpenAI](t)(exchange.NewOpenAI(o)).Key())
	}
}

func TestAnthropicsTokenIsPutOnARequestAsItsClientsDo(t *testing.T) {
	t.Parallel()
	source, server, _ := anthropic(t, newPlatform(), oidc.Token{}, nil)
	authorizer := exchange.AnthropicBearer(identity.NewCache(source, identity.CacheOptions{}))
	tests := []struct {
		name       string
		have, want []string
	}{
		{"without betas", nil, []string{"oauth-2025-04-20"}},
		{"beside another beta", []string{"x-2026-01-01"}, []string{"x-2026-01-01", "oauth-2025-04-20"}},
		{"not twice", []string{"x-2026-01-01, oauth-2025-04-20"}, []string{"x-2026-01-01, oauth-2025-04-20"}},
	}
	for _, test := range tests {
		ctx, report := identity.WithReport(t.Context())
		request := httptest.NewRequestWithContext(ctx, http.MethodPost, "https://api.anthropic.com/v1/messages", nil)
		request.Header.Set("X-Api-Key", "stale")
		request.Header["Anthropic-Beta"] = test.have
		if err := authorizer.Authorize(request); err != nil {
			t.Fatal(err)
		}
		if !server.Valid(strings.TrimPrefix(request.Header.Get("Authorization"), "Bearer ")) || request.Header.Get("X-Api-Key") != "" {
			t.Errorf("%s: %v", test.name, request.Header)
		}
		if diff := cmp.Diff(test.want, request.Header.Values("Anthropic-Beta")); diff != "" || report.Principal().Name != "svac_1" {
			t.Errorf("%s: %s signed by %+v", test.name, diff, report.Principal())
		}
	}
	source, server, _ = anthropic(t, newPlatform(), oidc.Token{}, nil)
	server.Faults.Set(fault.Fault{Status: 500})
	request := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "https://api.anthropic.com/v1/messages", nil)
	if err := exchange.AnthropicBearer(identity.NewCache(source, identity.CacheOptions{})).Authorize(request); err == nil || request.Header.Get("Anthropic-Beta") != "" {
		t.Errorf("%v, %v", err, request.Header)
	}
}

// TestASourceCanSignForAnother: what one source fetches is the subject of the next, anew each time.
func TestASourceCanSignForAnother(t *testing.T) {
	t.Parallel()
	first := authority(newPlatform().trust())
	client := must[*exchange.ClientCredentials](t)(exchange.NewClientCredentials(exchange.Options{
		Server: exchange.Server{TokenEndpoint: endpoint, HTTP: (&wire{handler: first}).client()}, ClientID: "poster", Auth: exchange.SecretPost{Secret: stored(secret)},
	}))
	get := exchange.FromSource(client)
	one, err1 := get(t.Context())
	two, err2 := get(t.Context())
	if err1 != nil || err2 != nil || one.IsZero() || one.Equal(two) {
		t.Errorf("%v, %v", err1, err2)
	}
	first.Tokens.Set(fault.Fault{Status: 500})
	if _, err := get(t.Context()); err == nil {
		t.Error("a failure is lost")
	}
}
