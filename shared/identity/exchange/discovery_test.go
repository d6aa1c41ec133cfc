package exchange_test

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/postern-ai/postern/localdev/fake/fault"
	"github.com/postern-ai/postern/localdev/fake/oauth"
	"github.com/postern-ai/postern/shared/identity"
	"github.com/postern-ai/postern/shared/identity/exchange"
)

// discovering returns a source that finds its endpoint, and the wire that it uses.
func discovering(t testing.TB, handler http.Handler, change func(*exchange.Server)) (*exchange.ClientCredentials, *wire) {
	t.Helper()
	to := &wire{handler: handler}
	server := exchange.Server{Issuer: issuer, HTTP: to.client()}
	if change != nil {
		change(&server)
	}
	return must[*exchange.ClientCredentials](t)(exchange.NewClientCredentials(exchange.Options{
		Server: server, ClientID: "poster", Auth: exchange.SecretPost{Secret: stored(secret)},
	})), to
}

// lines are the first lines of requests.
func lines(requests []string) []string {
	var first []string
	for _, text := range requests {
		line, _, _ := strings.Cut(text, "\n")
		first = append(first, line)
	}
	return first
}

func TestADescriptionIsHeldToItsIssuer(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		member string
		value  any
		allow  []string
		want   string // "" when it is accepted
	}{
		{name: "as it should be"},
		{name: "another issuer", member: "issuer", value: "https://canary.example", want: "names another issuer"},
		{name: "an issuer with a slash more", member: "issuer", value: issuer + "/", want: "by a slash at the end"},
		{name: "an issuer in capitals", member: "issuer", value: "https://AS.example/realms/models", want: "names another issuer"},
		{name: "no issuer", member: "issuer", want: "names another issuer"},
		{name: "an issuer that is no text", member: "issuer", value: 1, want: "not the JSON of one"},
		{name: "no endpoint", member: "token_endpoint", want: "token endpoint is refused: this is not a URL"},
		{name: "an endpoint beneath the issuer's host", member: "token_endpoint", value: "https://tokens.as.example/token"},
		{name: "an endpoint on another port", member: "token_endpoint", value: "https://as.example:8443/token"},
		{name: "an endpoint elsewhere", member: "token_endpoint", value: "https://canary.example/token", want: "another host than the issuer"},
		{name: "an endpoint beside the issuer's host", member: "token_endpoint", value: "https://tokens.example/token", want: "another host than the issuer"},
		{name: "an endpoint on a host that ends alike", member: "token_endpoint", value: "https://canaryas.example/token", want: "another host than the issuer"},
		{name: "an endpoint on a host that was allowed", member: "token_endpoint", value: "https://Tokens.Other.example/token", allow: []string{"tokens.other.example"}},
		{name: "an endpoint by http", member: "token_endpoint", value: "http://as.example/token", want: "must be https"},
		{name: "an endpoint by http on this machine", member: "token_endpoint", value: "http://127.0.0.1/token", allow: []string{"127.0.0.1"}, want: "the issuer is https"},
		{name: "an endpoint with a password", member: "token_endpoint", value: "https://canary:canary@as.example/token", want: "user name"},
		{name: "an endpoint with a fragment", member: "token_endpoint", value: "https://as.example/token#canary", want: "fragment"},
		{name: "an alias elsewhere", member: "mtls_endpoint_aliases", value: map[string]string{"token_endpoint": "https://canary.example/token"}, want: "client certificates is refused"},
		{name: "an alias that is not used", member: "mtls_endpoint_aliases", value: map[string]string{"token_endpoint": "https://mtls.as.example/token"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			server := authority(newPlatform().trust())
			if test.member != "" {
				server.Describe(test.member, test.value)
			}
			// Whatever the endpoint's host, the stand-in answers.
			source, _ := discovering(t, server, func(s *exchange.Server) { s.EndpointHosts = test.allow })
			_, err := source.Token(t.Context())
			if test.want != "" {
				failure(t, err, test.want)
				if server.Tokens.Calls() != 0 {
					t.Error("the secret was sent all the same")
				}
				return
			}
			// An endpoint with another path than the stand-in's ends in a 404, which is an answer.
			if err != nil && !strings.Contains(err.Error(), "404") {
				t.Error(err)
			}
		})
	}
}

func TestBothKindsOfDescriptionAreFound(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, issuer string
		hide         func(*oauth.Server) []string
		want         []string
	}{
		{
			"OpenID Connect appends", issuer, func(*oauth.Server) []string { return nil },
			[]string{"GET https://as.example/realms/models/.well-known/openid-configuration", "POST https://as.example/realms/models/token"},
		},
		{
			"RFC 8414 puts its name first", issuer, func(s *oauth.Server) []string { return []string{s.OpenIDPath()} },
			[]string{
				"GET https://as.example/realms/models/.well-known/openid-configuration", "GET https://as.example/.well-known/oauth-authorization-server/realms/models",
				"POST https://as.example/realms/models/token",
			},
		},
		{
			"an issuer that ends in a slash", "https://as.example/", func(s *oauth.Server) []string { return []string{s.OpenIDPath()} },
			[]string{"GET https://as.example/.well-known/openid-configuration", "GET https://as.example/.well-known/oauth-authorization-server", "POST https://as.example/token"},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			server := authority(newPlatform().trust(), func(o *oauth.Options) { o.URL = test.issuer })
			server.Describe("token_endpoint", strings.TrimSuffix(test.issuer, "/")+"/token")
			for _, path := range test.hide(server) {
				server.Hide(path)
			}
			source, to := discovering(t, server, func(s *exchange.Server) { s.Issuer = test.issuer })
			if _, err := source.Token(t.Context()); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, lines(to.requests())); diff != "" {
				t.Error(diff)
			}
		})
	}
	server := authority(newPlatform().trust())
	server.Hide(server.OpenIDPath())
	server.Hide(server.OAuthPath())
	source, _ := discovering(t, server, nil)
	_, err := source.Token(t.Context())
	failure(t, err, "has no description")
}

func TestADescriptionIsUsedForAnHourAndForADayWhereThereIsNoOther(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := authority(newPlatform().trust())
		source, _ := discovering(t, server, nil)
		token := func(want int) {
			t.Helper()
			if _, err := source.Token(t.Context()); err != nil || server.Descriptions.Calls() != want {
				t.Fatalf("%v after %d calls, want %d", err, server.Descriptions.Calls(), want)
			}
		}
		token(1)
		time.Sleep(time.Hour - time.Second)
		token(1)
		time.Sleep(time.Second)
		token(2)
		// The server hangs: the old description is used, and enough time is left for the token.
		server.Descriptions.Set(fault.Fault{Delay: time.Minute})
		time.Sleep(2 * time.Hour)
		began := time.Now()
		token(3)
		if took := time.Since(began); took != time.Second {
			t.Errorf("it took %v", took)
		}
		server.Descriptions.Set(fault.Fault{Status: 503})
		time.Sleep(21 * time.Hour)
		token(4)
		time.Sleep(time.Hour)
		_, err := source.Token(t.Context())
		if problem := failure(t, err, "status 503 where its description should be"); !problem.Retryable {
			t.Error("it may help to try again")
		}
		// A description that has turned bad is believed over the old one.
		server.Descriptions.Clear()
		token(6)
		time.Sleep(time.Hour)
		server.Describe("issuer", "https://other.example")
		_, err = source.Token(t.Context())
		failure(t, err, "names another issuer")
	})
}

func TestAnEndpointThatMovesIsFoundAgain(t *testing.T) {
	t.Parallel()
	server := authority(newPlatform().trust())
	server.Describe("token_endpoint", issuer+"/old")
	source, to := discovering(t, server, nil)
	_, err := source.Token(t.Context())
	failure(t, err, "status 404; check its address")
	server.Describe("token_endpoint", nil)
	server.Describe("token_endpoint", endpoint)
	if _, err := source.Token(t.Context()); err != nil {
		t.Fatalf("%v after %v", err, lines(to.requests()))
	}
}

func TestManyFetchesAtOnceAreSafe(t *testing.T) {
	t.Parallel()
	server := authority(newPlatform().trust())
	source, _ := discovering(t, server, nil)
	var wait sync.WaitGroup
	for range 20 {
		wait.Go(func() {
			if _, err := source.Token(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	wait.Wait()
	// Behind a cache, a thousand of them make one fetch, with one look at the description.
	server = authority(newPlatform().trust())
	source, _ = discovering(t, server, nil)
	cache := identity.NewCache(source, identity.CacheOptions{})
	for range 1000 {
		wait.Go(func() {
			if _, err := cache.Token(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	wait.Wait()
	if server.Tokens.Calls() != 1 || server.Descriptions.Calls() != 1 {
		t.Errorf("%d token calls, %d descriptions", server.Tokens.Calls(), server.Descriptions.Calls())
	}
}

// TestAnErrorNamesTheMethodsThatTheServerKnows repeats only names that are known here.
func TestAnErrorNamesTheMethodsThatTheServerKnows(t *testing.T) {
	t.Parallel()
	server := authority(newPlatform().trust())
	server.Describe("token_endpoint_auth_methods_supported", []string{"canary", "private_key_jwt", "client_secret_basic"})
	to := &wire{handler: server}
	source := must[*exchange.ClientCredentials](t)(exchange.NewClientCredentials(exchange.Options{
		Server: exchange.Server{Issuer: issuer, HTTP: to.client()}, ClientID: "gate:way", Auth: exchange.SecretPost{Secret: stored(secret)},
	}))
	_, err := source.Token(t.Context())
	failure(t, err, "registered for client_secret_post; the server's own description does not list client_secret_post but client_secret_basic, private_key_jwt")
}

// FuzzDescription has a server describe itself in any way. Whatever it says, the secret goes to a host that the rule allows, by https.
func FuzzDescription(f *testing.F) {
	for _, seed := range []string{
		`{"issuer":"` + issuer + `","token_endpoint":"` + endpoint + `"}`,
		`{"issuer":"` + issuer + `","token_endpoint":"https://a.as.example/","mtls_endpoint_aliases":{"token_endpoint":"https://b.as.example"},"token_endpoint_auth_methods_supported":["none"]}`,
		`{"issuer":"` + issuer + `","token_endpoint":"https://as.example@evil.example/"}`,
		`{"issuer":"` + issuer + `","token_endpoint":"https://as.example\\@evil.example/"}`,
		`{"issuer":"` + issuer + `","token_endpoint":"https://evil.example/.as.example"}`,
		`{"issuer":"` + issuer + `","token_endpoint":"//as.example"}`,
		`{"issuer":"` + issuer + `","issuer":"` + issuer + `","token_endpoint":"` + endpoint + `"}`,
		`{}`, `null`, `[]`, `{"issuer":null}`, "",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, document []byte) {
		posted := 0
		source, _ := discovering(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodGet {
				_, _ = w.Write(document)
				return
			}
			posted++
			host := strings.ToLower(r.URL.Hostname())
			if r.URL.Scheme != "https" || host != "as.example" && !strings.HasSuffix(host, ".as.example") || r.URL.User != nil {
				t.Errorf("the secret went to %s", r.URL)
			}
			read := map[string]any{}
			if json.Unmarshal(document, &read) != nil || read["issuer"] != issuer {
				t.Errorf("the secret was sent for the issuer %q", read["issuer"])
			}
			_, _ = w.Write([]byte(`{"access_token":"t","token_type":"Bearer"}`))
		}), nil)
		_, err := source.Token(t.Context())
		if (err == nil) != (posted == 1) {
			t.Errorf("%v after %d requests", err, posted)
		}
		if err != nil && slices.ContainsFunc([]string{"Post \"", "canary"}, func(s string) bool { return strings.Contains(err.Error(), s) }) {
			t.Errorf("the error holds %v", err)
		}
	})
}
