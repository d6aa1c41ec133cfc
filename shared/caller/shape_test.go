package caller_test

import (
	"fmt"
	"net/http"
	"net/url"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/postern-ai/postern/localdev/fake/oidc"
	"github.com/postern-ai/postern/shared/caller"
	"github.com/postern-ai/postern/shared/config"
)

// vendor is an issuer under a URL as the vendor's are, and how the document describes it.
type vendor struct {
	issuer *oidc.Issuer
	bearer *caller.Bearer
}

func newVendor(t *testing.T, c config.Caller) vendor {
	t.Helper()
	issuer := oidc.New(c.Issuer)
	u, err := url.Parse(issuer.URL())
	if err != nil {
		t.Fatal(err)
	}
	if issuer.URL() != c.Issuer { // with a slash at the end, as Entra's version 1 and Auth0 have it
		issuer.Break(oidc.DiscoveryPath, oidc.Fault{Body: fmt.Appendf(nil, `{"issuer":%q,"jwks_uri":%q}`, c.Issuer, issuer.URL()+oidc.KeysPath)})
	}
	c.Name, c.Algorithms = "idp", []string{"RS256"}
	return vendor{issuer, caller.NewBearer([]config.Caller{c}, direct{http.StripPrefix(u.Path, issuer)})}
}

// token makes a token of exactly these claims, with a time in which it is valid.
func (v vendor) token(t *testing.T, header, claims map[string]any) string {
	t.Helper()
	all := map[string]any{"iat": nil}
	for name, value := range claims {
		all[name] = value
	}
	return mint(t, v.issuer, oidc.Token{Algorithm: "RS256", Claims: all, Header: header})
}

const (
	entraTenant = "72f988bf-86f1-41af-91ab-2d7cd011db47"
	entraApp    = "6e74172b-be56-4843-9ff4-e66a39bb12e3"
	entraV2     = "https://login.microsoftonline.com/" + entraTenant + "/v2.0"
	entraV1     = "https://sts.windows.net/" + entraTenant + "/"
	cognitoPool = "https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_Ab1Cd2Ef3"
	oktaServer  = "https://example.okta.com/oauth2/default"
	keycloak    = "https://sso.example.com/realms/staff"
)

// with returns claims with some others, and without those that are nil.
func with(claims map[string]any, change ...any) map[string]any {
	all := map[string]any{}
	for name, value := range claims {
		all[name] = value
	}
	for i := 0; i < len(change); i += 2 {
		all[change[i].(string)] = change[i+1]
	}
	return all
}

func TestTokensOfTheIssuersThatThereAre(t *testing.T) {
	t.Parallel()
	const bear = "dangling-subject"
	entraUser := map[string]any{
		"iss": entraV2, "aud": entraApp, "sub": bear, "oid": "690222be-ff1a-4d56-abd1-7e4f7d38e474", "tid": entraTenant, "ver": "2.0",
		"azp": "11111111-aaaa-bbbb-cccc-222222222222", "azpacr": "0", "scp": "Models.Use", "groups": []string{"g1", "g2"}, "uti": "x", "rh": "0.x.",
	}
	entraWorkload := map[string]any{
		"iss": entraV1, "aud": "api://" + entraApp, "sub": bear, "oid": bear, "tid": entraTenant, "ver": "1.0", "appid": "11111111-aaaa-bbbb-cccc-222222222222",
		"appidacr": "2", "idp": entraV1, "roles": []string{"Models.Use"},
	}
	google := map[string]any{
		"iss": "https://accounts.google.com", "aud": "https://llm.example.com", "azp": "1084", "sub": bear, "email": "app@p.iam.gserviceaccount.com", "email_verified": true,
	}
	cognito := map[string]any{
		"iss": cognitoPool, "sub": bear, "client_id": "7f1k", "token_use": "access", "scope": "llm/use", "username": "alice", "cognito:groups": []string{"staff"}, "version": 2, "jti": "x",
	}
	okta := map[string]any{
		"iss": oktaServer, "aud": "api://default", "sub": bear, "cid": "0oa1", "uid": "00u1", "scp": []string{"openid", "llm"}, "ver": 1, "jti": "AT.x", "groups": []string{"Everyone"},
	}
	keycloakUser := map[string]any{
		"iss": keycloak, "aud": []string{"postern", "account"}, "sub": bear, "typ": "Bearer", "azp": "web", "sid": "x", "acr": "1", "nonce": "of older versions",
		"realm_access": map[string]any{"roles": []string{"user"}}, "scope": "email profile", "preferred_username": "alice",
	}
	tests := []struct {
		name     string
		issuer   string
		audience string
		id, only bool // id_tokens and token_type
		header   map[string]any
		claims   map[string]any
		want     caller.Principal
		code     caller.Code
	}{
		{
			name: "Entra, version 2, a person", issuer: entraV2, audience: entraApp, claims: entraUser,
			want: caller.Principal{Kind: caller.User, Tenant: entraTenant, Client: "11111111-aaaa-bbbb-cccc-222222222222", Groups: []string{"g1", "g2"}, Scopes: []string{"Models.Use"}},
		},
		{
			name: "Entra, version 1, a managed identity", issuer: entraV1, audience: "api://" + entraApp, claims: entraWorkload,
			want: caller.Principal{Kind: caller.Workload, Tenant: entraTenant, Client: "11111111-aaaa-bbbb-cccc-222222222222", Roles: []string{"Models.Use"}},
		},
		{name: "Entra's ID token", issuer: entraV2, audience: entraApp, claims: with(entraUser, "azp", nil, "azpacr", nil, "scp", nil, "nonce", "x"), code: caller.WrongKind},
		{name: "Entra's ID token of a sign-in without a nonce", issuer: entraV2, audience: entraApp, claims: with(entraUser, "azp", nil, "azpacr", nil, "scp", nil), code: caller.WrongKind},
		{name: "a token of another tenant", issuer: entraV2, audience: entraApp, claims: with(entraUser, "iss", "https://login.microsoftonline.com/9188040d-6c67-4c5b-b112-36a304b66dad/v2.0"), code: caller.WrongIssuer},
		{name: "a token of the other version", issuer: entraV2, audience: entraApp, claims: with(entraUser, "iss", entraV1), code: caller.WrongIssuer},
		{name: "Entra's version 1 without its slash", issuer: entraV1, audience: entraApp, claims: with(entraWorkload, "iss", "https://sts.windows.net/"+entraTenant), code: caller.WrongIssuer},
		{name: "a token for Microsoft Graph", issuer: entraV1, audience: "api://" + entraApp, claims: with(entraWorkload, "aud", "00000003-0000-0000-c000-000000000000"), code: caller.WrongAudience},
		{
			name: "a service account of Google", issuer: "https://accounts.google.com", audience: "https://llm.example.com", claims: google,
			want: caller.Principal{Kind: caller.Workload, Client: "1084"},
		},
		{
			name: "a person at Google, whose tokens are ID tokens", issuer: "https://accounts.google.com", audience: "https://llm.example.com",
			claims: with(google, "email", "alice@example.com", "hd", "example.com", "at_hash", "x"), want: caller.Principal{Kind: caller.User, Client: "1084", Tenant: "example.com"},
		},
		{name: "Google without its scheme", issuer: "https://accounts.google.com", audience: "https://llm.example.com", claims: with(google, "iss", "accounts.google.com"), code: caller.WrongIssuer},
		{
			name: "Cognito's access token, which has no aud", issuer: cognitoPool, audience: "7f1k", claims: with(cognito, "aud", nil),
			want: caller.Principal{Client: "7f1k", Groups: []string{"staff"}, Scopes: []string{"llm/use"}},
		},
		{
			name: "Cognito's access token for a resource", issuer: cognitoPool, audience: "https://llm.example.com", claims: with(cognito, "aud", "https://llm.example.com"),
			want: caller.Principal{Client: "7f1k", Groups: []string{"staff"}, Scopes: []string{"llm/use"}},
		},
		{name: "Cognito's access token of another client", issuer: cognitoPool, audience: "7f1k", claims: with(cognito, "aud", nil, "client_id", "other"), code: caller.WrongAudience},
		{name: "Cognito's access token for another resource", issuer: cognitoPool, audience: "7f1k", claims: with(cognito, "aud", "https://other.example.com"), code: caller.WrongAudience},
		{name: "Cognito's ID token", issuer: cognitoPool, audience: "7f1k", claims: with(cognito, "aud", "7f1k", "token_use", "id"), code: caller.WrongKind},
		{
			name: "Cognito's ID token where the document accepts those", issuer: cognitoPool, audience: "7f1k", id: true, claims: with(cognito, "aud", "7f1k", "token_use", "id"),
			want: caller.Principal{Client: "7f1k", Groups: []string{"staff"}, Scopes: []string{"llm/use"}},
		},
		{name: "another issuer's token is not excused from aud by a client_id", issuer: oktaServer, audience: "7f1k", claims: with(okta, "aud", nil, "client_id", "7f1k", "token_use", "access"), code: caller.WrongAudience},
		{
			name: "Okta, a person", issuer: oktaServer, audience: "api://default", claims: okta,
			want: caller.Principal{Client: "0oa1", Groups: []string{"Everyone"}, Scopes: []string{"openid", "llm"}},
		},
		{name: "Okta's ID token", issuer: oktaServer, audience: "0oa1", claims: with(okta, "aud", "0oa1", "at_hash", "x", "scp", nil), code: caller.WrongKind},
		{
			name: "Okta's ID token where the document accepts those", issuer: oktaServer, audience: "0oa1", id: true, claims: with(okta, "aud", "0oa1", "at_hash", "x", "scp", nil),
			want: caller.Principal{Client: "0oa1", Groups: []string{"Everyone"}},
		},
		{
			name: "Keycloak, a person", issuer: keycloak, audience: "postern", claims: keycloakUser,
			want: caller.Principal{Client: "web", Scopes: []string{"email", "profile"}, ACR: "1"},
		},
		{name: "Keycloak's ID token", issuer: keycloak, audience: "web", claims: with(keycloakUser, "typ", "ID", "aud", "web"), code: caller.WrongKind},
		{name: "Keycloak's refresh token", issuer: keycloak, audience: keycloak, claims: with(keycloakUser, "typ", "Refresh", "aud", keycloak), code: caller.WrongKind},
		{name: "Keycloak's access token without a mapper for the audience", issuer: keycloak, audience: "postern", claims: with(keycloakUser, "aud", "account"), code: caller.WrongAudience},
		{
			name: "an issuer that promises RFC 9068", issuer: issuerURL, audience: audience, only: true, header: map[string]any{"typ": "at+jwt"},
			claims: map[string]any{"iss": issuerURL, "aud": audience, "sub": bear, "client_id": bear}, want: caller.Principal{Kind: caller.Workload, Client: bear},
		},
		{
			name: "a token that does not say so, of that issuer", issuer: issuerURL, audience: audience, only: true,
			claims: map[string]any{"iss": issuerURL, "aud": audience, "sub": bear, "client_id": bear}, code: caller.WrongKind,
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c := config.Caller{Issuer: test.issuer, Audiences: []string{test.audience}, IDTokens: test.id}
			if test.only {
				c.TokenType = config.TokenTypeAccess
			}
			v := newVendor(t, c)
			r := request(t, "Authorization", "Bearer "+v.token(t, test.header, test.claims))
			got, err := v.bearer.Authenticate(r)
			if test.code != "" {
				refused(t, r, err, test.code)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			test.want.Method, test.want.Issuer, test.want.Subject, test.want.Name = caller.OIDC, test.issuer, bear, "idp/"+bear
			if diff := cmp.Diff(&test.want, got, cmpopts.IgnoreFields(caller.Principal{}, "Expires"), cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
