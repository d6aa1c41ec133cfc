package exchange_test

import (
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"

	"github.com/postern-ai/postern/localdev/fake/oauth"
	"github.com/postern-ai/postern/localdev/fake/oidc"
	"github.com/postern-ai/postern/shared/identity"
	"github.com/postern-ai/postern/shared/identity/exchange"
)

// TestTheRequestOfEachMethod pins what goes over the wire, byte by byte but for what is signed, which stands as SIGNED and is looked into
// elsewhere. The stand-in verifies it at the same time.
func TestTheRequestOfEachMethod(t *testing.T) {
	t.Parallel()
	cloud := newPlatform()
	const head = "POST " + endpoint + "\nAccept: application/json\n"
	const form = "Content-Type: application/x-www-form-urlencoded\n"
	const assertion = "client_assertion=SIGNED&client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer&"
	tests := []struct {
		name    string
		options exchange.Options
		want    string
		need    oauth.Need
	}{
		{
			name: "client_secret_basic encodes both parts before it joins them",
			options: exchange.Options{
				ClientID: "gate:way", Auth: exchange.SecretBasic{Secret: stored(secret)},
				Scopes: []string{"llm:invoke", "llm:read"}, Audience: "llm", Resource: llmTarget,
			},
			want: head + "Authorization: Basic Z2F0ZSUzQXdheTpjYW5hcnklM0ElMkIlMjUlMkYlQzMlQkMlMjYlM0Q=\n" + form +
				"audience=llm&grant_type=client_credentials&resource=https%3A%2F%2Fllm.example%2Fv1&scope=llm%3Ainvoke+llm%3Aread",
			need: oauth.Need{Target: llmTarget, Scopes: []string{"llm:invoke", "llm:read"}},
		},
		{
			name:    "client_secret_post sends both in the body and nothing in a header",
			options: exchange.Options{ClientID: "poster", Auth: exchange.SecretPost{Secret: stored(secret)}, Scopes: []string{"llm:read"}},
			want:    head + form + "client_id=poster&client_secret=canary%3A%2B%25%2F%C3%BC%26%3D&grant_type=client_credentials&scope=llm%3Aread",
			need:    oauth.Need{Scopes: []string{"llm:read"}},
		},
		{
			name:    "private_key_jwt signs with an RSA key",
			options: exchange.Options{ClientID: "signer", Auth: exchange.PrivateKeyJWT{Key: stored(pkcs8(t, keys()["rsa"])), KeyID: "rsa-1"}},
			want:    head + form + assertion + "client_id=signer&grant_type=client_credentials",
		},
		{
			name: "private_key_jwt signs with padding of the newer kind",
			options: exchange.Options{ClientID: "signer", Auth: exchange.PrivateKeyJWT{
				Key: stored(pkcs8(t, keys()["rsa"])), KeyID: "rsa-1", Algorithm: "PS256", Audience: issuer,
			}},
			want: head + form + assertion + "client_id=signer&grant_type=client_credentials",
		},
		{
			name: "private_key_jwt signs with a JWK, which brings its own key id",
			options: exchange.Options{ClientID: "signer", Auth: exchange.PrivateKeyJWT{
				Key: stored(jwkOf(t, jose.JSONWebKey{Key: keys()["ec"], KeyID: "ec-1", Algorithm: "ES256"})),
			}},
			want: head + form + assertion + "client_id=signer&grant_type=client_credentials",
		},
		{
			name: "a token that the platform has signed stands for the client",
			options: exchange.Options{ClientID: "keyless", Scopes: []string{"llm:invoke"}, Auth: exchange.PlatformJWT{
				Token: cloud.signs(oidc.Token{Audience: []string{"api://exchange"}}), Name: "function's role",
			}},
			want: head + form + assertion + "client_id=keyless&grant_type=client_credentials&scope=llm%3Ainvoke",
			need: oauth.Need{Scopes: []string{"llm:invoke"}},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			server := authority(cloud.trust())
			to := &wire{handler: server}
			test.options.Server = exchange.Server{TokenEndpoint: endpoint, HTTP: to.client()}
			source := must[*exchange.ClientCredentials](t)(exchange.NewClientCredentials(test.options))
			token, err := source.Token(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if !server.Valid(token.Value.Reveal(), test.need) {
				t.Error("the token is not valid for what was asked for")
			}
			if want := (identity.Principal{Name: test.options.ClientID, Source: "OAuth 2.0 client"}); token.Principal != want {
				t.Errorf("principal %+v", token.Principal)
			}
			if diff := cmp.Diff([]string{test.want}, signedAway(to.requests())); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// signedAway puts a word in place of each signed text.
func signedAway(requests []string) []string {
	for i, text := range requests {
		for _, name := range []string{"client_assertion=", "subject_token=", `"subject_token":"`, `"assertion":"`} {
			at := strings.Index(text, name+"eyJ")
			if at < 0 {
				continue
			}
			rest := text[at+len(name):]
			end := strings.IndexAny(rest, `&"`)
			if end < 0 {
				end = len(rest)
			}
			text = text[:at+len(name)] + "SIGNED" + rest[end:]
		}
		requests[i] = text
	}
	return requests
}

func TestTheRequestOfATokenExchange(t *testing.T) {
	t.Parallel()
	cloud := newPlatform()
	const head = "POST " + endpoint + "\nAccept: application/json\n"
	const form = "Content-Type: application/x-www-form-urlencoded\n"
	const grant = "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Atoken-exchange&"
	const subject = "subject_token=SIGNED&subject_token_type=urn%3Aietf%3Aparams%3Aoauth%3Atoken-type%3Ajwt"
	tests := []struct {
		name    string
		options exchange.TokenExchangeOptions
		want    string
		need    oauth.Need
	}{
		{name: "without a client", want: head + form + grant + subject},
		{
			name:    "with a client that has no secret",
			options: exchange.TokenExchangeOptions{Options: exchange.Options{ClientID: "public", Auth: exchange.NoSecret{}}},
			want:    head + form + "client_id=public&" + grant + subject,
		},
		{
			name: "with a client, for a service, with parameters that only this server knows",
			options: exchange.TokenExchangeOptions{
				Options: exchange.Options{
					ClientID: "gate:way", Auth: exchange.SecretBasic{Secret: stored(secret)}, Scopes: []string{"llm:read"}, Audience: "llm", Resource: llmTarget,
				},
				SubjectType: exchange.TypeIDToken, RequestedType: exchange.TypeAccessToken, Extra: map[string]string{"policy": "p 1"},
			},
			want: head + "Authorization: Basic Z2F0ZSUzQXdheTpjYW5hcnklM0ElMkIlMjUlMkYlQzMlQkMlMjYlM0Q=\n" + form +
				"audience=llm&" + grant + "policy=p+1&requested_token_type=urn%3Aietf%3Aparams%3Aoauth%3Atoken-type%3Aaccess_token&" +
				"resource=https%3A%2F%2Fllm.example%2Fv1&scope=llm%3Aread&subject_token=SIGNED&subject_token_type=urn%3Aietf%3Aparams%3Aoauth%3Atoken-type%3Aid_token",
			need: oauth.Need{Target: "llm", Scopes: []string{"llm:read"}},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			server := authority(cloud.trust())
			to := &wire{handler: server}
			test.options.Server = exchange.Server{TokenEndpoint: endpoint, HTTP: to.client()}
			test.options.Subject, test.options.SubjectName = cloud.signs(oidc.Token{Audience: []string{issuer}}), "function's role"
			source := must[*exchange.TokenExchange](t)(exchange.NewTokenExchange(test.options))
			token, err := source.Token(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			granted, _ := server.Grant(token.Value.Reveal())
			if !server.Valid(token.Value.Reveal(), test.need) || granted.Subject != role {
				t.Errorf("the token is for %+v", granted)
			}
			if token.Principal != (identity.Principal{Name: role, Source: "token exchange"}) {
				t.Errorf("principal %+v", token.Principal)
			}
			if diff := cmp.Diff([]string{test.want}, signedAway(to.requests())); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestATokenLivesFromBeforeTheRequestOn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := authority(newPlatform().trust())
		began := time.Now()
		source := must[*exchange.ClientCredentials](t)(exchange.NewClientCredentials(exchange.Options{
			Server:   exchange.Server{TokenEndpoint: endpoint, HTTP: (&wire{handler: slow(time.Second, server)}).client()},
			ClientID: "poster", Auth: exchange.SecretPost{Secret: stored(secret)},
		}))
		token, err := source.Token(t.Context())
		if err != nil || !token.Expires.Equal(began.Add(time.Hour)) || token.Type != "Bearer" {
			t.Errorf("%v, %v after it was asked for", err, token.Expires.Sub(began))
		}
	})
}

// TestTheKeyOfASourceTellsApartWhatGivesDifferentTokens covers the confusion of a shared cache that leaves the scope, or half of the
// credential, out of its key.
func TestTheKeyOfASourceTellsApartWhatGivesDifferentTokens(t *testing.T) {
	t.Parallel()
	base := func(change func(*exchange.TokenExchangeOptions)) exchange.TokenExchangeOptions {
		options := exchange.TokenExchangeOptions{
			Options: exchange.Options{
				Server: exchange.Server{TokenEndpoint: endpoint}, ClientID: "c", Auth: exchange.SecretBasic{Secret: stored(secret)},
				Scopes: []string{"a", "b"}, Audience: "x", Resource: "https://y.example",
			},
			Subject: stored(secret), SubjectName: "role",
		}
		if change != nil {
			change(&options)
		}
		return options
	}
	changes := []func(*exchange.TokenExchangeOptions){
		nil,
		func(o *exchange.TokenExchangeOptions) { o.TokenEndpoint = endpoint + "2" },
		func(o *exchange.TokenExchangeOptions) { o.TokenEndpoint, o.Issuer = "", endpoint },
		func(o *exchange.TokenExchangeOptions) { o.ClientID = "d" },
		func(o *exchange.TokenExchangeOptions) { o.Auth = exchange.SecretPost{Secret: stored(secret)} },
		func(o *exchange.TokenExchangeOptions) { o.Auth = exchange.NoSecret{} },
		func(o *exchange.TokenExchangeOptions) { o.Auth = exchange.Certificate{PEM: stored(secret)} },
		func(o *exchange.TokenExchangeOptions) { o.Auth = exchange.PrivateKeyJWT{Key: stored(secret)} },
		func(o *exchange.TokenExchangeOptions) {
			o.Auth = exchange.PrivateKeyJWT{Key: stored(secret), KeyID: "1"}
		},
		func(o *exchange.TokenExchangeOptions) {
			o.Auth = exchange.PrivateKeyJWT{Key: stored(secret), Audience: "1"}
		},
		func(o *exchange.TokenExchangeOptions) {
			o.Auth = exchange.PlatformJWT{Token: stored(secret), Name: "1"}
		},
		func(o *exchange.TokenExchangeOptions) {
			o.Auth = exchange.PlatformJWT{Token: stored(secret), Name: "2"}
		},
		func(o *exchange.TokenExchangeOptions) { o.Scopes = nil },
		func(o *exchange.TokenExchangeOptions) { o.Scopes = []string{"a"} },
		func(o *exchange.TokenExchangeOptions) { o.Audience = "" },
		func(o *exchange.TokenExchangeOptions) { o.Audience, o.Resource = "https://y.example", "x:" },
		func(o *exchange.TokenExchangeOptions) { o.SubjectName = "other" },
		func(o *exchange.TokenExchangeOptions) { o.SubjectType = exchange.TypeIDToken },
		func(o *exchange.TokenExchangeOptions) { o.RequestedType = exchange.TypeJWT },
		func(o *exchange.TokenExchangeOptions) { o.Extra = map[string]string{"p": "1"} },
		func(o *exchange.TokenExchangeOptions) { o.Extra = map[string]string{"p": "2"} },
	}
	seen := map[string]int{}
	for i, change := range changes {
		options := base(change)
		key := must[*exchange.TokenExchange](t)(exchange.NewTokenExchange(options)).Key()
		harmlessKey(t, key)
		if other, known := seen[key]; known {
			t.Errorf("%d and %d have the key %s", i, other, key)
		}
		seen[key] = i
	}
	first := must[*exchange.TokenExchange](t)(exchange.NewTokenExchange(base(nil))).Key()
	again := must[*exchange.TokenExchange](t)(exchange.NewTokenExchange(base(func(o *exchange.TokenExchangeOptions) { o.Scopes = []string{"b", "a", "b"} }))).Key()
	if first != again {
		t.Errorf("the order of scopes makes a difference:\n%s\n%s", first, again)
	}
	client := must[*exchange.ClientCredentials](t)(exchange.NewClientCredentials(base(nil).Options)).Key()
	if _, known := seen[client]; known {
		t.Error("a client and an exchange have the same key")
	}
	harmlessKey(t, client)
}

func harmlessKey(t *testing.T, key string) {
	t.Helper()
	if strings.Contains(key, "canary") || strings.Contains(key, url.QueryEscape(secret)) {
		t.Errorf("a secret is in the key %s", key)
	}
}

func TestOptionsThatCannotWorkAreRefusedAtOnce(t *testing.T) {
	t.Parallel()
	good := func() exchange.TokenExchangeOptions {
		return exchange.TokenExchangeOptions{
			Options: exchange.Options{Server: exchange.Server{TokenEndpoint: endpoint}, ClientID: "c", Auth: exchange.SecretBasic{Secret: stored(secret)}},
			Subject: stored(secret), SubjectName: "role",
		}
	}
	type options = exchange.TokenExchangeOptions
	tests := []struct {
		name   string
		change func(*options)
		want   string // "" when it is fine
	}{
		{"as it should be", func(*options) {}, ""},
		{"http on this machine", func(o *options) { o.TokenEndpoint = "http://127.0.0.1:9108/token" }, ""},
		{"http on this machine, by IPv6", func(o *options) { o.TokenEndpoint = "http://[::1]:9108/token" }, ""},
		{"http on this machine, by name", func(o *options) { o.TokenEndpoint = "http://localhost:9108/token" }, ""},
		{"an endpoint with a query", func(o *options) { o.TokenEndpoint = "https://as.example/token?tenant=1" }, ""},
		{"http elsewhere", func(o *options) { o.TokenEndpoint = "http://as.example/token" }, "must be https"},
		{"http on what looks like this machine", func(o *options) { o.TokenEndpoint = "http://localhost.as.example/token" }, "must be https"},
		{"the machine that serves metadata", func(o *options) { o.TokenEndpoint = "http://169.254.169.254/token" }, "must be https"},
		{"another scheme", func(o *options) { o.TokenEndpoint = "file:///token" }, "not a URL"},
		{"a password in the URL", func(o *options) { o.TokenEndpoint = "https://a:canary@as.example/token" }, "user name or password"},
		{"a fragment", func(o *options) { o.TokenEndpoint = "https://as.example/token#" }, "fragment"},
		{"no URL", func(o *options) { o.TokenEndpoint = "as.example" }, "not a URL"},
		{"a host that is none", func(o *options) { o.TokenEndpoint = "https://as.example%20x/token" }, "not a URL"},
		{"neither endpoint nor issuer", func(o *options) { o.TokenEndpoint = "" }, "either the token endpoint or the issuer"},
		{"both", func(o *options) { o.Issuer = issuer }, "either the token endpoint or the issuer"},
		{"an issuer with a query", func(o *options) { o.TokenEndpoint, o.Issuer = "", issuer+"?x=1" }, "query"},
		{"an issuer by http", func(o *options) { o.TokenEndpoint, o.Issuer = "", "http://as.example" }, "must be https"},
		{"an allowed host with a path", func(o *options) { o.TokenEndpoint, o.Issuer, o.EndpointHosts = "", issuer, []string{"x.example/y"} }, "name of a host"},
		{"scopes in one text", func(o *options) { o.Scopes = []string{"a b"} }, "each scope"},
		{"an empty scope", func(o *options) { o.Scopes = []string{""} }, "each scope"},
		{"a resource that is no URL", func(o *options) { o.Resource = "llm" }, "absolute URL"},
		{"a resource with a fragment", func(o *options) { o.Resource = "https://x.example/#y" }, "fragment"},
		{"a client without a way to authenticate", func(o *options) { o.Auth = nil }, "no way to authenticate"},
		{"a way to authenticate without a client", func(o *options) { o.ClientID = "" }, "client id is missing"},
		{"no secret", func(o *options) { o.Auth = exchange.SecretBasic{} }, "secret is missing"},
		{"no secret for the body", func(o *options) { o.Auth = exchange.SecretPost{} }, "secret is missing"},
		{"no key", func(o *options) { o.Auth = exchange.PrivateKeyJWT{} }, "private key is missing"},
		{"an algorithm with a shared secret", func(o *options) { o.Auth = exchange.PrivateKeyJWT{Key: stored(secret), Algorithm: "HS256"} }, "RS256"},
		{"no platform's token", func(o *options) { o.Auth = exchange.PlatformJWT{Name: "role"} }, "token is missing"},
		{"a platform's token without a name", func(o *options) { o.Auth = exchange.PlatformJWT{Token: stored(secret)} }, "name"},
		{"no certificate", func(o *options) { o.Auth = exchange.Certificate{} }, "certificate is missing"},
		{"a certificate beside a client of one's own", func(o *options) {
			o.Auth, o.HTTP = exchange.Certificate{PEM: stored(secret)}, (&wire{}).client()
		}, "one or the other"},
		{"no subject", func(o *options) { o.Subject = nil }, "token to exchange is missing"},
		{"a subject without a name", func(o *options) { o.SubjectName = "" }, "name"},
		{"a subject of another type", func(o *options) { o.SubjectType = "saml" }, "subject token type"},
		{"a request for another type", func(o *options) { o.RequestedType = "saml" }, "requested token type"},
		{"an extra parameter that has its own setting", func(o *options) { o.Extra = map[string]string{"client_secret": "canary"} }, "setting of its own"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			options := good()
			test.change(&options)
			_, err := exchange.NewTokenExchange(options)
			if test.want == "" && err == nil {
				return
			}
			if test.want == "" || err == nil || !strings.Contains(err.Error(), test.want) {
				t.Fatalf("got %v, want %q", err, test.want)
			}
			harmless(t, err.Error())
		})
	}
	for _, auth := range []exchange.ClientAuth{nil, exchange.NoSecret{}} {
		options := good().Options
		options.Auth = auth
		if _, err := exchange.NewClientCredentials(options); err == nil {
			t.Errorf("client credentials with %T are accepted", auth)
		}
	}
}
