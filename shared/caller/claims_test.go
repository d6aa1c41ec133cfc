package caller_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/postern-ai/postern/localdev/fake/oidc"
	"github.com/postern-ai/postern/shared/caller"
)

func TestClaimsDescribeTheCaller(t *testing.T) {
	t.Parallel()
	issuer := oidc.New(issuerURL)
	callers := accepting()
	callers[0].Claims = []string{"department", "email", "/email", "/realm_access/roles", "/a~1b/c", "https://example.com/roles", "level", "nested"}
	bearer := caller.NewBearer(callers, direct{issuer})
	const tenant = "11111111-2222-4333-8444-555555555555"
	at := time.Now().Add(-time.Minute).Truncate(time.Second)
	tests := []struct {
		name   string
		claims map[string]any
		want   caller.Principal
	}{
		{"a token that says nothing is one of nobody in particular", nil, caller.Principal{}},
		{
			"a person at Entra", map[string]any{"tid": tenant, "oid": "o", "azp": "app", "scp": "Models.Use Models.List", "roles": []string{"Analyst"}, "acrs": []string{"c1", "c2"}},
			caller.Principal{Kind: caller.User, Tenant: tenant, Client: "app", Roles: []string{"Analyst"}, Scopes: []string{"Models.Use", "Models.List"}, Contexts: []string{"c1", "c2"}},
		},
		{
			"a program at Entra", map[string]any{"tid": tenant, "oid": "alice", "appid": "app", "roles": []string{"Reader"}},
			caller.Principal{Kind: caller.Workload, Tenant: tenant, Client: "app", Roles: []string{"Reader"}},
		},
		{"a program at Entra that is said to be one", map[string]any{"idtyp": "app"}, caller.Principal{Kind: caller.Workload}},
		{"a person at Entra that is said to be one", map[string]any{"idtyp": "user", "oid": "alice", "tid": tenant}, caller.Principal{Kind: caller.User, Tenant: tenant}},
		{"a person at Entra with consent is no program, whatever its ids", map[string]any{"scp": "Use", "oid": "alice", "tid": tenant}, caller.Principal{Kind: caller.User, Tenant: tenant, Scopes: []string{"Use"}}},
		{
			"a client by itself", map[string]any{"client_id": "alice", "scope": "llm:read llm:invoke"},
			caller.Principal{Kind: caller.Workload, Client: "alice", Scopes: []string{"llm:read", "llm:invoke"}},
		},
		{"a client of Auth0", map[string]any{"gty": "client-credentials", "azp": "x"}, caller.Principal{Kind: caller.Workload, Client: "x"}},
		{"a client of Okta, with its scopes as a list", map[string]any{"cid": "alice", "scp": []string{"a", "b"}}, caller.Principal{Kind: caller.Workload, Client: "alice", Scopes: []string{"a", "b"}}},
		{
			"a person who has authenticated is none of its client's", map[string]any{"client_id": "alice", "acr": "phr", "amr": []string{"pwd", "otp"}, "auth_time": at.Unix()},
			caller.Principal{Kind: caller.User, Client: "alice", ACR: "phr", AMR: []string{"pwd", "otp"}, AuthTime: at},
		},
		{"a time of authentication that has not come says nothing", map[string]any{"auth_time": time.Now().Add(time.Hour).Unix()}, caller.Principal{}},
		{
			"claims of another shape are as good as not there",
			map[string]any{"tid": 1, "roles": map[string]any{"a": 1}, "scp": 2, "acr": []int{1}, "amr": []int{1}, "acrs": true, "auth_time": "now", "azp": nil, "idtyp": []string{"app"}, "department": map[string]any{}},
			caller.Principal{},
		},
		{
			"the claims that rules ask about, and no others",
			map[string]any{
				"department": "research", "other": "x", "realm_access": map[string]any{"roles": []string{"admin", "user"}, "x": 1},
				"a/b": map[string]any{"c": "deep"}, "https://example.com/roles": []any{"a", 1, true, nil, []string{"b"}}, "level": 3, "nested": map[string]any{"x": "y"},
			},
			caller.Principal{Claims: map[string][]string{
				"department": {"research"}, "/realm_access/roles": {"admin", "user"}, "/a~1b/c": {"deep"}, "https://example.com/roles": {"a", "1", "true"}, "level": {"3"},
			}},
		},
		{"an address that nobody has verified is none", map[string]any{"email": "root@example.com", "email_verified": false}, caller.Principal{}},
		{"nor is one of which that is not said", map[string]any{"email": "root@example.com"}, caller.Principal{}},
		{"an address that is verified", map[string]any{"email": "root@example.com", "email_verified": true}, caller.Principal{Claims: map[string][]string{"email": {"root@example.com"}, "/email": {"root@example.com"}}}},
		{"a value that is too long is left out", map[string]any{"department": strings.Repeat("x", 1025), "acr": strings.Repeat("x", 1025)}, caller.Principal{}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got, err := bearer.Authenticate(request(t, "Authorization", "Bearer "+mint(t, issuer, oidc.Token{Claims: test.claims})))
			if err != nil {
				t.Fatal(err)
			}
			test.want.Method, test.want.Issuer, test.want.Subject, test.want.Name = caller.OIDC, issuerURL, "alice", "idp/alice"
			if diff := cmp.Diff(&test.want, got, cmpopts.IgnoreFields(caller.Principal{}, "Expires"), cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
