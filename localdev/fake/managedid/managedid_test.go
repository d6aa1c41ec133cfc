package managedid_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/go-jose/go-jose/v4"
	"github.com/postern-ai/postern/localdev/fake/fault"
	"github.com/postern-ai/postern/localdev/fake/jwtauth"
	"github.com/postern-ai/postern/localdev/fake/managedid"
)

var (
	system = managedid.Identity{ClientID: "aaaaaaaa-0000-4000-8000-000000000001", ObjectID: "bbbbbbbb-0000-4000-8000-000000000001"}
	user   = managedid.Identity{ClientID: "aaaaaaaa-0000-4000-8000-000000000002", ObjectID: "bbbbbbbb-0000-4000-8000-000000000002", ResourceID: "/subscriptions/s/resourceGroups/g/providers/Microsoft.ManagedIdentity/userAssignedIdentities/u"}
)

const resource = "https://cognitiveservices.azure.com"

func options() managedid.Options {
	return managedid.Options{Secret: "header-secret", System: system, User: []managedid.Identity{user}}
}

// TestTheOfficialClientGetsTokens sets environment variables, as this client reads nothing else, so it does not run in parallel.
func TestTheOfficialClientGetsTokens(t *testing.T) {
	server := managedid.New(options())
	listening := httptest.NewServer(server)
	defer listening.Close()
	t.Setenv("IDENTITY_ENDPOINT", listening.URL+"/msi/token")
	t.Setenv("IDENTITY_HEADER", "header-secret")

	tests := []struct {
		name string
		id   azidentity.ManagedIDKind
		want bool
	}{
		{"the system-assigned identity", nil, true},
		{"a client id", azidentity.ClientID(user.ClientID), true},
		{"an object id", azidentity.ObjectID(user.ObjectID), true},
		{"a resource id", azidentity.ResourceID(user.ResourceID), true},
		{"an unknown client id", azidentity.ClientID("cccccccc-0000-4000-8000-000000000003"), false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			credential, err := azidentity.NewManagedIdentityCredential(&azidentity.ManagedIdentityCredentialOptions{
				ID: test.id, ClientOptions: azcore.ClientOptions{Retry: policy.RetryOptions{MaxRetries: -1}},
			})
			if err != nil {
				t.Fatal(err)
			}
			token, err := credential.GetToken(t.Context(), policy.TokenRequestOptions{Scopes: []string{resource + "/.default"}})
			if !test.want {
				if err == nil {
					t.Error("got a token")
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if !server.Valid(token.Token, resource) || server.Valid(token.Token, "https://vault.azure.net") {
				t.Error("the token is not valid for what it was issued for, or for more than that")
			}
			if left := time.Until(token.ExpiresOn); left < 23*time.Hour || left > 24*time.Hour {
				t.Errorf("valid for %v", left)
			}
		})
	}
}

func request(change func(*http.Request, url.Values)) *http.Request {
	query := url.Values{"api-version": {"2019-08-01"}, "resource": {resource}}
	r := httptest.NewRequest(http.MethodGet, "/msi/token", nil)
	r.Header.Set("X-IDENTITY-HEADER", "header-secret")
	if change != nil {
		change(r, query)
	}
	r.URL.RawQuery = query.Encode()
	return r
}

func answer(server *managedid.Server, r *http.Request) (int, string) {
	recorder := httptest.NewRecorder()
	server.ServeHTTP(recorder, r)
	return recorder.Code, recorder.Body.String()
}

func TestTheEndpointRefusesWhatTheRealOneRefuses(t *testing.T) {
	t.Parallel()
	server := managedid.New(options())
	tests := []struct {
		name   string
		change func(*http.Request, url.Values)
		want   int
	}{
		{"a complete request", nil, 200},
		{"no secret", func(r *http.Request, _ url.Values) { r.Header.Del("X-IDENTITY-HEADER") }, 401},
		{"another secret", func(r *http.Request, _ url.Values) { r.Header.Set("X-IDENTITY-HEADER", "x") }, 401},
		{"another method", func(r *http.Request, _ url.Values) { r.Method = http.MethodPost }, 405},
		{"no api-version", func(_ *http.Request, q url.Values) { q.Del("api-version") }, 400},
		{"the api-version of another service", func(_ *http.Request, q url.Values) { q.Set("api-version", "2018-02-01") }, 400},
		{"no resource", func(_ *http.Request, q url.Values) { q.Del("resource") }, 400},
		{"a scope in place of a resource", func(_ *http.Request, q url.Values) { q.Set("resource", resource+"/.default") }, 400},
		{"something that is no resource", func(_ *http.Request, q url.Values) { q.Set("resource", "x") }, 400},
		{"two selectors", func(_ *http.Request, q url.Values) {
			q.Set("client_id", user.ClientID)
			q.Set("object_id", user.ObjectID)
		}, 400},
		{"an empty selector", func(_ *http.Request, q url.Values) { q.Set("client_id", "") }, 400},
		{"an object id under its other name", func(_ *http.Request, q url.Values) { q.Set("principal_id", user.ObjectID) }, 200},
	}
	for _, test := range tests {
		status, body := answer(server, request(test.change))
		if status != test.want || (status != 200 && strings.Contains(body, "access_token")) {
			t.Errorf("%s: got %d %s, want %d", test.name, status, body, test.want)
		}
	}
	withoutSystem := managedid.New(managedid.Options{Secret: "header-secret", User: []managedid.Identity{user}})
	if status, body := answer(withoutSystem, request(nil)); status != 400 || !strings.Contains(body, "No system-assigned") {
		t.Errorf("got %d %s", status, body)
	}
}

func TestATokenIsGivenOutAgainDuringTheFirstHalfOfItsLife(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := managedid.New(options())
		fetch := func() string {
			_, body := answer(server, request(nil))
			_, rest, _ := strings.Cut(body, `"access_token":"`)
			token, _, _ := strings.Cut(rest, `"`)
			return token
		}
		first := fetch()
		time.Sleep(11 * time.Hour)
		if fetch() != first {
			t.Error("a young token was replaced")
		}
		time.Sleep(time.Hour)
		second := fetch()
		if second == first || !server.Valid(first, resource) {
			t.Error("an old token was not replaced, or ended early")
		}
		time.Sleep(12 * time.Hour)
		if server.Valid(first, resource) || !server.Valid(second, resource) {
			t.Error("the first token is still valid, or the second is not")
		}
		server.Revoke(second)
		if server.Valid(second, resource) || fetch() == second {
			t.Error("a revoked token lives on")
		}
		server.SetLifetime(-time.Minute)
		if server.Valid(fetch(), resource) {
			t.Error("a token with a negative lifetime is valid")
		}
	})
}

func TestFaultsAreCounted(t *testing.T) {
	t.Parallel()
	server := managedid.New(options())
	server.Faults.Set(fault.Fault{Status: 500, Times: 1})
	if status, _ := answer(server, request(nil)); status != 500 {
		t.Errorf("got %d", status)
	}
	if status, _ := answer(server, request(nil)); status != 200 || server.Faults.Calls() != 2 {
		t.Errorf("got %d", status)
	}
}

func TestTokensVerifyForTheirResource(t *testing.T) {
	t.Parallel()
	server := managedid.New(options())
	recorder := httptest.NewRecorder()
	server.ServeHTTP(recorder, request(func(_ *http.Request, query url.Values) { query.Set("resource", "api://other-cloud") }))
	var answer struct {
		AccessToken string `json:"access_token"`
	}
	if err := json.Unmarshal(recorder.Body.Bytes(), &answer); err != nil {
		t.Fatal(err)
	}
	claims, err := jwtauth.Verify(answer.AccessToken, func(issuer string) (jose.JSONWebKeySet, bool) {
		return server.KeySet(), issuer == managedid.Issuer
	}, jose.RS256)
	if err != nil || claims.Audience[0] != "api://other-cloud" || claims.Subject != system.ObjectID || claims.Text("tid") != managedid.Tenant {
		t.Errorf("got %+v and error %v", claims, err)
	}
}

func TestAResourceMayTakeTokensOfTheNewerVersion(t *testing.T) {
	t.Parallel()
	o := options()
	o.V2 = map[string]string{managedid.TokenExchange: managedid.TokenExchangeID}
	server := managedid.New(o)
	recorder := httptest.NewRecorder()
	server.ServeHTTP(recorder, request(func(_ *http.Request, query url.Values) { query.Set("resource", managedid.TokenExchange) }))
	var answer struct {
		AccessToken string `json:"access_token"`
	}
	if err := json.Unmarshal(recorder.Body.Bytes(), &answer); err != nil {
		t.Fatal(err)
	}
	claims, err := jwtauth.Verify(answer.AccessToken, func(issuer string) (jose.JSONWebKeySet, bool) {
		return server.KeySet(), issuer == managedid.IssuerV2
	}, jose.RS256)
	if err != nil || claims.Audience[0] != managedid.TokenExchangeID || claims.Subject != system.ObjectID || claims.Text("azp") != system.ClientID || claims.Text("appid") != "" {
		t.Errorf("got %+v and error %v", claims, err)
	}
}
