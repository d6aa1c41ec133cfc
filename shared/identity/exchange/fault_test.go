package exchange_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-ai/postern/localdev/fake/fault"
	"github.com/postern-ai/postern/localdev/fake/oauth"
	"github.com/postern-ai/postern/localdev/fake/oidc"
	"github.com/postern-ai/postern/shared/identity"
	"github.com/postern-ai/postern/shared/identity/exchange"
	"github.com/postern-ai/postern/shared/secrets"
)

// TestWhatEachFaultOfATokenEndpointSays is the fault table of a plain client. What the endpoint sends is full of canaries.
func TestWhatEachFaultOfATokenEndpointSays(t *testing.T) {
	t.Parallel()
	refusal := func(status int, code string) fault.Fault {
		return fault.Fault{Status: status, Body: `{"error":"` + code + `","error_description":"canary ` + secret + `","error_uri":"https://canary.example"}`}
	}
	tests := []struct {
		name      string
		fault     fault.Fault
		want      string // all of the error
		retryable bool
	}{
		{"it hangs", fault.Fault{Delay: time.Minute}, "the token endpoint at as.example does not answer: timed out", true},
		{"it hangs up", fault.Fault{Hangup: true}, "the token endpoint at as.example cannot be reached: connection reset by peer", true},
		{"too many requests", refusal(429, "canary"), "the token endpoint at as.example answered with status 429", true},
		{"a failure of its own", refusal(500, "invalid_client"), "the token endpoint at as.example answered with status 500", true},
		{"a gateway's page", fault.Fault{Status: 502, Body: "<html>canary</html>"}, "the token endpoint at as.example answered with status 502", true},
		{"it is overloaded", fault.Fault{Status: 503}, "the token endpoint at as.example answered with status 503", true},
		{"it waits no longer", fault.Fault{Status: 408}, "the token endpoint at as.example answered with status 408", true},
		{"the secret is wrong", refusal(401, "invalid_client"), "the token endpoint at as.example refused with status 401, invalid_client: check the client id and the stored secret, and that the client is registered for client_secret_post", false},
		{"the client was shut", refusal(400, "invalid_grant"), "the token endpoint at as.example refused with status 400, invalid_grant: the grant is not accepted; check that the client is active at the server", false},
		{"the client may not", refusal(400, "unauthorized_client"), "the token endpoint at as.example refused with status 400, unauthorized_client: the client may not use the grant type client_credentials; allow it at the server", false},
		{"the grant is not known", refusal(400, "unsupported_grant_type"), "the token endpoint at as.example refused with status 400, unsupported_grant_type: the server does not know the grant type client_credentials; check that this is its token endpoint", false},
		{"the scope is wrong", refusal(400, "invalid_scope"), `the token endpoint at as.example refused with status 400, invalid_scope: check the scopes "llm:read", and that the client may have them`, false},
		{"the audience is wrong", refusal(400, "invalid_target"), `the token endpoint at as.example refused with status 400, invalid_target: check the audience "llm" and the resource ""`, false},
		{"the request is wrong", refusal(400, "invalid_request"), "the token endpoint at as.example refused with status 400, invalid_request: the server wants other parameters; it may need an audience, a resource or a scope", false},
		{"a rule is against it", refusal(403, "access_denied"), "the token endpoint at as.example refused with status 403, access_denied: the server's rules do not allow it", false},
		{"it has a problem for now", refusal(400, "temporarily_unavailable"), "the token endpoint at as.example refused with status 400, temporarily_unavailable: the server has a problem of its own", true},
		{"a code that is not known is not repeated", refusal(400, "canary"), "the token endpoint at as.example answered with status 400", false},
		{"a code in an object", fault.Fault{Status: 400, Body: `{"error":{"code":"invalid_scope","message":"canary"}}`}, `the token endpoint at as.example refused with status 400, invalid_scope: check the scopes "llm:read", and that the client may have them`, false},
		{"a refusal that is no JSON", fault.Fault{Status: 400, Body: "canary"}, "the token endpoint at as.example answered with status 400", false},
		{"a refusal whose error is a number", fault.Fault{Status: 400, Body: `{"error":7}`}, "the token endpoint at as.example answered with status 400", false},
		{"a refusal that says it twice", fault.Fault{Status: 400, Body: `{"error":"canary","error":"invalid_scope"}`}, "the token endpoint at as.example answered with status 400", false},
		{"nothing is there", fault.Fault{Status: 404, Body: "canary"}, "the token endpoint at as.example answered with status 404; check its address", false},
		{"it sends the request elsewhere", fault.Fault{Status: 307, Header: http.Header{"Location": {"https://canary.example"}}}, "the token endpoint at as.example answered with status 307, which sends the request elsewhere; it was not sent there. Set the address that it points to, if that is right", false},
		{"it answers with nothing", fault.Fault{Status: 204}, "the token endpoint at as.example answered with status 204 in place of 200; check that it is one", false},
		{"an answer that is no JSON", fault.Fault{Status: 200, Body: "canary"}, "the token endpoint at as.example gave an answer that is not the JSON of a token", true},
		{"an answer that ends too soon", fault.Fault{Status: 200, Body: `{"access_token":"canary"`}, "the token endpoint at as.example gave an answer that is not the JSON of a token", true},
		{"an answer with a name twice", fault.Fault{Status: 200, Body: `{"access_token":"canary","access_token":"canary2"}`}, "the token endpoint at as.example gave an answer that is not the JSON of a token", true},
		{"an answer with more after it", fault.Fault{Status: 200, Body: `{"access_token":"canary"}{}`}, "the token endpoint at as.example gave an answer that is not the JSON of a token", true},
		{"an answer that is no object", fault.Fault{Status: 200, Body: `["canary"]`}, "the token endpoint at as.example gave an answer that is not the JSON of a token", true},
		{"an answer that is nothing", fault.Fault{Status: 200, Body: `null`}, "the token endpoint at as.example gave an answer without an access token, or with one that fits into no header", true},
		{"an answer without a token", fault.Fault{Status: 200, Body: `{"id_token":"canary","token_type":"Bearer"}`}, "the token endpoint at as.example gave an answer without an access token, or with one that fits into no header", true},
		{"a token with a line break", fault.Fault{Status: 200, Body: `{"access_token":"canary\r\nX-A: b","token_type":"Bearer"}`}, "the token endpoint at as.example gave an answer without an access token, or with one that fits into no header", true},
		{"a token that wants a proof", fault.Fault{Status: 200, Body: `{"access_token":"canary","token_type":"DPoP"}`}, "the token endpoint at as.example gave out a token of a type other than Bearer; have the client registered for bearer tokens, without DPoP or MAC", false},
		{"a token of another scheme", fault.Fault{Status: 200, Body: `{"access_token":"canary","token_type":"mac"}`}, "the token endpoint at as.example gave out a token of a type other than Bearer; have the client registered for bearer tokens, without DPoP or MAC", false},
		{"a token that is none", fault.Fault{Status: 200, Body: `{"access_token":"canary","token_type":"N_A"}`}, "the token endpoint at as.example gave out a token of a type other than Bearer; have the client registered for bearer tokens, without DPoP or MAC", false},
		{"a token that has expired", fault.Fault{Status: 200, Body: `{"access_token":"canary","token_type":"Bearer","expires_in":0}`}, "the token endpoint at as.example gave out a token that has already expired", true},
		{"a token that has long expired", fault.Fault{Status: 200, Body: `{"access_token":"canary","token_type":"Bearer","expires_in":-3600}`}, "the token endpoint at as.example gave out a token that has already expired", true},
		{"a lifetime that is none", fault.Fault{Status: 200, Body: `{"access_token":"canary","token_type":"Bearer","expires_in":"canary"}`}, "the token endpoint at as.example gave an answer whose expires_in is not a number of seconds", true},
		{"a lifetime that is no number", fault.Fault{Status: 200, Body: `{"access_token":"canary","token_type":"Bearer","expires_in":"NaN"}`}, "the token endpoint at as.example gave an answer whose expires_in is not a number of seconds", true},
		{"an endless lifetime", fault.Fault{Status: 200, Body: `{"access_token":"canary","token_type":"Bearer","expires_in":"Inf"}`}, "the token endpoint at as.example gave an answer whose expires_in is not a number of seconds", true},
		{"a lifetime in an object", fault.Fault{Status: 200, Body: `{"access_token":"canary","token_type":"Bearer","expires_in":{"canary":1}}`}, "the token endpoint at as.example gave an answer whose expires_in is not a number of seconds", true},
		{"an answer of great length", fault.Fault{Status: 200, Body: `{"access_token":"canary","x":"` + strings.Repeat("a", 64<<10) + `"}`}, "the token endpoint at as.example answered with more than 65536 bytes; check that it is one", false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				server := authority(newPlatform().trust())
				server.Tokens.Set(test.fault)
				source := must[*exchange.ClientCredentials](t)(exchange.NewClientCredentials(exchange.Options{
					Server:   exchange.Server{TokenEndpoint: endpoint, HTTP: (&wire{handler: server}).client()},
					ClientID: "poster", Auth: exchange.SecretPost{Secret: stored(secret)}, Scopes: []string{"llm:read"}, Audience: "llm",
				}))
				began := time.Now()
				_, err := source.Token(t.Context())
				if took := time.Since(began); took >= 3*time.Second {
					t.Errorf("it took %v", took)
				}
				problem := failure(t, err, "")
				if err.Error() != test.want || problem.Retryable != test.retryable {
					t.Errorf("got  %v\nwant %s\nretryable %v", err, test.want, problem.Retryable)
				}
				if calls := server.Tokens.Calls(); calls != 1 {
					t.Errorf("%d attempts, want 1", calls)
				}
			})
		})
	}
}

func TestAnswersThatAreAlmostRightAreGoodEnough(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, body string
		lives      time.Duration
	}{
		{"as it should be", `{"access_token":"t","token_type":"Bearer","expires_in":3600}`, time.Hour},
		{"the type in other letters", `{"access_token":"t","token_type":"bearer","expires_in":3600}`, time.Hour},
		{"members that are not known", `{"access_token":"t","token_type":"Bearer","expires_in":60,"scope":"a","Access_Token":"x","nested":{"a":[1]}}`, time.Minute},
		{"a lifetime in quotes", `{"access_token":"t","token_type":"Bearer","expires_in":"3599"}`, 3599 * time.Second},
		{"a lifetime with a fraction", `{"access_token":"t","token_type":"Bearer","expires_in":59.5}`, 59500 * time.Millisecond},
		{"no lifetime: five minutes", `{"access_token":"t","token_type":"Bearer"}`, 5 * time.Minute},
		{"no lifetime, in other words", `{"access_token":"t","token_type":"Bearer","expires_in":null}`, 5 * time.Minute},
		{"a lifetime of a year: a day", `{"access_token":"t","token_type":"Bearer","expires_in":31536000}`, 24 * time.Hour},
		{"a lifetime beyond all numbers: a day", `{"access_token":"t","token_type":"Bearer","expires_in":1e300}`, 24 * time.Hour},
		{"no type", `{"access_token":"t","expires_in":60}`, time.Minute},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				source := answering(t, test.body)
				began := time.Now()
				token, err := source.Token(t.Context())
				if err != nil || token.Value.Reveal() != "t" || token.Expires.Sub(began) != test.lives {
					t.Errorf("%v, lives %v", err, token.Expires.Sub(began))
				}
			})
		})
	}
}

// answering returns a source whose endpoint always gives the same answer.
func answering(t testing.TB, body string) *exchange.ClientCredentials {
	t.Helper()
	handler := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(body)) })
	return must[*exchange.ClientCredentials](t)(exchange.NewClientCredentials(exchange.Options{
		Server: exchange.Server{TokenEndpoint: endpoint, HTTP: (&wire{handler: handler}).client()}, ClientID: "poster", Auth: exchange.SecretPost{Secret: stored(secret)},
	}))
}

func TestAnExchangedTokenHasTheTypeThatWasAskedFor(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, requested, issued string
		ok                      bool
	}{
		{"an access token", "", exchange.TypeAccessToken, true},
		{"an access token that is a JWT", "", exchange.TypeJWT, true},
		{"a JWT that is an access token", exchange.TypeJWT, exchange.TypeAccessToken, true},
		{"nothing is said", "", "", true},
		{"an id token that was asked for", exchange.TypeIDToken, exchange.TypeIDToken, true},
		{"an id token that was not", "", exchange.TypeIDToken, false},
		{"an access token for an id token", exchange.TypeIDToken, exchange.TypeAccessToken, false},
		{"a refresh token", "", "urn:ietf:params:oauth:token-type:refresh_token", false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			handler := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				_, _ = fmt.Fprintf(w, `{"access_token":"canary","token_type":"Bearer","issued_token_type":%q}`, test.issued)
			})
			source := must[*exchange.TokenExchange](t)(exchange.NewTokenExchange(exchange.TokenExchangeOptions{
				Options: exchange.Options{Server: exchange.Server{TokenEndpoint: endpoint, HTTP: (&wire{handler: handler}).client()}},
				Subject: stored("opaque"), SubjectName: "role", SubjectType: exchange.TypeAccessToken, RequestedType: test.requested,
			}))
			token, err := source.Token(t.Context())
			if test.ok {
				if err != nil || token.Principal.Name != "role" {
					t.Errorf("%v, %+v", err, token.Principal)
				}
				return
			}
			failure(t, err, "another type")
		})
	}
}

// TestARefusedSubjectIsDescribed lets an operator compare what the platform says with what the server was told.
func TestARefusedSubjectIsDescribed(t *testing.T) {
	t.Parallel()
	cloud := newPlatform()
	described := `It was issued by "https://platform.example" for "` + role + `" to the audience "wrong other" and lives 1h0m0s`
	tests := []struct {
		name   string
		server http.Handler
		want   string
	}{
		{"as an invalid request, as RFC 8693 has it", authority(cloud.trust()), "invalid_request: the server wants other parameters, or does not accept the subject token. " + described},
		{"as an invalid grant, as others have it", refusing(400, `{"error":"invalid_grant"}`), "invalid_grant: the subject token is not accepted; check that the server trusts its issuer for this client. " + described},
		{"for want of a client", refusing(401, `{"error":"invalid_client"}`), "invalid_client: the server wants a client that authenticates"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			source := must[*exchange.TokenExchange](t)(exchange.NewTokenExchange(exchange.TokenExchangeOptions{
				Options: exchange.Options{Server: exchange.Server{TokenEndpoint: endpoint, HTTP: (&wire{handler: test.server}).client()}},
				Subject: cloud.signs(oidc.Token{Audience: []string{"wrong", "other"}}), SubjectName: "role",
			}))
			_, err := source.Token(t.Context())
			failure(t, err, test.want)
		})
	}
}

func refusing(status int, body string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	})
}

func TestSecretsThatCannotBeHadOrSentAreNamed(t *testing.T) {
	t.Parallel()
	failing := func(err error) exchange.Secret {
		return func(context.Context) (secrets.Value, error) { return secrets.Value{}, err }
	}
	gone := fmt.Errorf("canary: %w", &secrets.Error{Ref: secrets.Ref{Store: "env", Name: "X"}, Reason: "not set", Err: secrets.ErrNotFound})
	down := &identity.Error{Public: "the managed identity endpoint does not answer", Retryable: true}
	absent := &identity.Error{Public: "no Azure identity"}
	client := func(auth exchange.ClientAuth) func(exchange.Server) (identity.TokenSource, error) {
		return func(server exchange.Server) (identity.TokenSource, error) {
			if _, certificate := auth.(exchange.Certificate); certificate {
				server.HTTP = nil
			}
			return exchange.NewClientCredentials(exchange.Options{Server: server, ClientID: "c", Auth: auth})
		}
	}
	tests := []struct {
		name      string
		make      func(exchange.Server) (identity.TokenSource, error)
		want      string
		retryable bool
	}{
		{"a secret that is not there", client(exchange.SecretBasic{Secret: failing(gone)}), "the client secret cannot be had: read secret", false},
		{"a store that does not answer", client(exchange.SecretPost{Secret: failing(errors.New("canary"))}), "the client secret cannot be had", true},
		{"an empty secret", client(exchange.SecretPost{Secret: stored("")}), "empty", false},
		{"a secret with a line break after it", client(exchange.SecretBasic{Secret: stored("canary\n")}), "line breaks or spaces", false},
		{"a key that is not there", client(exchange.PrivateKeyJWT{Key: failing(gone)}), "the client's private key cannot be had", false},
		{"a certificate that is not there", client(exchange.Certificate{PEM: failing(gone)}), "the client certificate cannot be had", false},
		{"a platform that does not answer", client(exchange.PlatformJWT{Token: failing(down), Name: "role"}), "which stands for the client, cannot be had: the managed identity endpoint does not answer", true},
		{"a platform without an identity", client(exchange.PlatformJWT{Token: failing(absent), Name: "role"}), "no Azure identity", false},
		{"a platform's token of great length", client(exchange.PlatformJWT{Token: stored(strings.Repeat("a", 16<<10+1)), Name: "role"}), "longer than 16384 bytes", false},
		{"a platform's token that is none", client(exchange.PlatformJWT{Token: stored("canary canary"), Name: "role"}), "characters that no token has", false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			to := &wire{handler: http.NotFoundHandler()}
			server := exchange.Server{TokenEndpoint: endpoint, HTTP: to.client()}
			source := must[identity.TokenSource](t)(test.make(server))
			_, err := source.Token(t.Context())
			if problem := failure(t, err, test.want); problem.Retryable != test.retryable {
				t.Errorf("retryable is %v", problem.Retryable)
			}
			if len(to.requests()) != 0 {
				t.Errorf("sent %q", to.requests())
			}
		})
	}
}

func TestAServerThatWantsToBeLeftAloneIs(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		status int
		after  func(now time.Time) http.Header
		rest   time.Duration
	}{
		{"for some seconds", 429, func(time.Time) http.Header { return http.Header{"Retry-After": {"90"}} }, 90 * time.Second},
		{"until a time by its own clock", 503, func(now time.Time) http.Header {
			off := now.Add(10 * time.Hour).UTC()
			return http.Header{"Date": {off.Format(http.TimeFormat)}, "Retry-After": {off.Add(time.Minute).Format(http.TimeFormat)}}
		}, time.Minute},
		{"for no more than five minutes", 429, func(time.Time) http.Header { return http.Header{"Retry-After": {"4000000000"}} }, 5 * time.Minute},
		{"not for a time without a clock", 429, func(now time.Time) http.Header {
			return http.Header{"Retry-After": {now.Add(time.Hour).UTC().Format(http.TimeFormat)}}
		}, 0},
		{"not for less than nothing", 429, func(time.Time) http.Header { return http.Header{"Retry-After": {"-5"}} }, 0},
		{"not for another failure", 500, func(time.Time) http.Header { return http.Header{"Retry-After": {"90"}} }, 0},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				server := authority(newPlatform().trust())
				server.Tokens.Set(fault.Fault{Status: test.status, Header: test.after(time.Now()), Times: 1})
				source, _ := discovering(t, server, nil)
				_, err := source.Token(t.Context())
				failure(t, err, "answered with status")
				if test.rest > 0 {
					time.Sleep(test.rest - time.Second)
					_, err = source.Token(t.Context())
					if problem := failure(t, err, "left alone for 1s more"); !problem.Retryable || server.Tokens.Calls() != 1 {
						t.Errorf("retryable %v after %d calls", problem.Retryable, server.Tokens.Calls())
					}
					time.Sleep(time.Second)
				}
				if _, err := source.Token(t.Context()); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// TestNothingIsSentElsewhere goes through sockets: a redirect of any kind is not followed, by no client, and cookies are not kept.
func TestNothingIsSentElsewhere(t *testing.T) {
	t.Parallel()
	for _, status := range []int{301, 302, 303, 307, 308} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			t.Parallel()
			elsewhere := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				t.Errorf("%s %s was sent elsewhere", r.Method, r.URL)
			}))
			defer elsewhere.Close()
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if len(r.Cookies()) > 0 {
					t.Errorf("it came with %v", r.Cookies())
				}
				http.SetCookie(w, &http.Cookie{Name: "canary", Value: "1"})
				http.Redirect(w, r, elsewhere.URL, status)
			}))
			defer server.Close()
			jar := must[*cookiejar.Jar](t)(cookiejar.New(nil))
			at := must[*url.URL](t)(url.Parse(server.URL))
			jar.SetCookies(at, []*http.Cookie{{Name: "session", Value: "canary"}})
			follows := &http.Client{Jar: jar}
			for _, target := range []exchange.Server{
				{TokenEndpoint: server.URL}, {Issuer: server.URL}, {TokenEndpoint: server.URL, HTTP: follows}, {Issuer: server.URL, HTTP: follows},
			} {
				source := must[*exchange.ClientCredentials](t)(exchange.NewClientCredentials(exchange.Options{
					Server: target, ClientID: "poster", Auth: exchange.SecretPost{Secret: stored(secret)},
				}))
				for range 2 {
					_, err := source.Token(t.Context())
					failure(t, err, fmt.Sprintf("answered with status %d", status))
				}
			}
		})
	}
}

func TestAnEndpointThatIsNotThereIsAnErrorAtOnce(t *testing.T) {
	t.Parallel()
	closed := httptest.NewServer(nil)
	closed.Close()
	source := must[*exchange.ClientCredentials](t)(exchange.NewClientCredentials(exchange.Options{
		Server: exchange.Server{TokenEndpoint: closed.URL}, ClientID: "poster", Auth: exchange.SecretPost{Secret: stored(secret)},
	}))
	_, err := source.Token(t.Context())
	if problem := failure(t, err, "cannot be reached: connection refused"); !problem.Retryable {
		t.Error("it may help to try again")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := source.Token(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("a caller that has gone gets %v", err)
	}
}

func TestAnAnswerThatDoesNotEndIsCutOff(t *testing.T) {
	t.Parallel()
	endless := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			if _, err := w.Write(make([]byte, 32<<10)); err != nil {
				return
			}
		}
	}))
	defer endless.Close()
	for _, server := range []exchange.Server{{TokenEndpoint: endless.URL}, {Issuer: endless.URL}} {
		source := must[*exchange.ClientCredentials](t)(exchange.NewClientCredentials(exchange.Options{
			Server: server, ClientID: "poster", Auth: exchange.SecretPost{Secret: stored(secret)},
		}))
		_, err := source.Token(t.Context())
		failure(t, err, "more than 65536 bytes")
	}
}

// TestASecretThatWasRotatedIsNoticed covers a rotation between two fetches.
func TestASecretThatWasRotatedIsNoticed(t *testing.T) {
	t.Parallel()
	server := authority(newPlatform().trust())
	current := secret
	source := must[*exchange.ClientCredentials](t)(exchange.NewClientCredentials(exchange.Options{
		Server: exchange.Server{TokenEndpoint: endpoint, HTTP: (&wire{handler: server}).client()}, ClientID: "poster",
		Auth: exchange.SecretPost{Secret: func(context.Context) (secrets.Value, error) { return secrets.NewValue(current), nil }},
	}))
	server.SetSecret("poster", "new")
	_, err := source.Token(t.Context())
	failure(t, err, "invalid_client")
	current = "new"
	if token, err := source.Token(t.Context()); err != nil || !server.Valid(token.Value.Reveal(), oauth.Need{}) {
		t.Error(err)
	}
}

// FuzzAnswer has an endpoint answer with any status and body. What comes of it is a token that fits into a header and expires within a
// day, or an error that repeats nothing but codes from the list.
func FuzzAnswer(f *testing.F) {
	for _, seed := range []string{
		`{"access_token":"t","token_type":"Bearer","expires_in":3600}`, `{"access_token":"t","expires_in":"1e3"}`, `{"access_token":"t","expires_in":-0.1}`,
		`{"access_token":"t","expires_in":1e400}`, `{"access_token":"\u0000"}`, `{"access_token":"t","token_type":"DPoP"}`,
		`{"error":"invalid_client","error_description":"x"}`, `{"error":{"code":"invalid_scope"}}`, `{"error":{"type":"a","code":null}}`, `{"error":"%!s"}`, "\xff", "",
	} {
		f.Add(200, []byte(seed))
		f.Add(400, []byte(seed))
	}
	known := []string{"invalid_client", "invalid_grant", "unauthorized_client", "unsupported_grant_type", "invalid_scope", "invalid_target", "invalid_request", "access_denied", "temporarily_unavailable", "server_error"}
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		status = 200 + (status%400+400)%400
		handler := refusing(status, string(body))
		source := must[*exchange.ClientCredentials](t)(exchange.NewClientCredentials(exchange.Options{
			Server: exchange.Server{TokenEndpoint: endpoint, HTTP: (&wire{handler: handler}).client()}, ClientID: "poster", Auth: exchange.SecretPost{Secret: stored(secret)},
		}))
		before := time.Now().Round(0)
		token, err := source.Token(t.Context())
		if err == nil {
			text := token.Value.Reveal()
			if status != 200 || text == "" || strings.ContainsFunc(text, func(c rune) bool { return c <= ' ' || c > '~' }) {
				t.Errorf("status %d gives the token %q", status, text)
			}
			if lives := token.Expires.Sub(before); lives <= 0 || lives > 24*time.Hour+time.Second {
				t.Errorf("it lives %v", lives)
			}
			return
		}
		text := failure(t, err, "the token endpoint at as.example").Public
		if _, after, refused := strings.Cut(text, fmt.Sprintf("refused with status %d, ", status)); refused {
			code, _, _ := strings.Cut(after, ":")
			found := false
			for _, name := range known {
				found = found || name == code
			}
			if !found {
				t.Errorf("the code %q is repeated", code)
			}
		}
	})
}
