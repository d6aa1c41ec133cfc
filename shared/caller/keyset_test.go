package caller_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/postern-ai/postern/localdev/fake/oidc"
	"github.com/postern-ai/postern/shared/caller"
	"github.com/postern-ai/postern/shared/config"
)

// gate is an issuer and the authenticator that accepts it.
type gate struct {
	t      *testing.T
	issuer *oidc.Issuer
	bearer *caller.Bearer
}

func newGate(t *testing.T) gate {
	issuer := oidc.New(issuerURL)
	return gate{t, issuer, caller.NewBearer(accepting(), direct{issuer})}
}

// code authenticates a token and returns "" or why it was refused.
func (g gate) code(token string) caller.Code {
	g.t.Helper()
	principal, err := g.bearer.Authenticate(request(g.t, "Authorization", "Bearer "+token))
	if (principal == nil) == (err == nil) {
		g.t.Fatalf("got %+v and %v", principal, err)
	}
	return caller.CodeOf(err)
}

func (g gate) want(what, token string, code caller.Code) {
	g.t.Helper()
	if got := g.code(token); got != code {
		g.t.Errorf("%s: got %q, want %q", what, got, code)
	}
}

// strange is a token like the issuer's, with a key id that nobody has. Each number makes another token.
func (g gate) strange(n int) string {
	return mint(g.t, g.issuer, oidc.Token{Header: map[string]any{"kid": fmt.Sprintf("unknown-%d", n)}})
}

func (g gate) fetches() int { return g.issuer.Fetches(oidc.KeysPath) }

func down(status int) oidc.Fault {
	return oidc.Fault{Status: status, Body: []byte("<html>down</html>")}
}

func TestUnknownKeyIDsFetchAtMostOnceIn30Seconds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newGate(t)
		g.want("a valid token", mint(t, g.issuer, oidc.Token{}), "")
		start := time.Now()
		for n := range 1000 {
			g.want("an unknown key", g.strange(n), caller.BadSignature)
			time.Sleep(600 * time.Millisecond)
		}
		if most := int(time.Since(start)/(30*time.Second)) + 1; g.fetches() > most {
			t.Errorf("%d fetches in %s, want at most %d", g.fetches(), time.Since(start), most)
		}
		if g.fetches() < 10 {
			t.Errorf("%d fetches, so a new key would never be found", g.fetches())
		}
		if n := g.issuer.Fetches(oidc.DiscoveryPath); n != 1 {
			t.Errorf("%d discoveries, want 1", n)
		}
	})
}

func TestNewKeysAreFoundAndOldOnesForgotten(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newGate(t)
		old := mint(t, g.issuer, oidc.Token{Lifetime: 12 * time.Hour})
		g.want("the first key", old, "")
		if err := g.issuer.Rotate("ES256"); err != nil {
			t.Fatal(err)
		}
		young := mint(t, g.issuer, oidc.Token{Lifetime: 12 * time.Hour})
		g.want("a new key right after the keys were fetched", young, caller.BadSignature)
		time.Sleep(30 * time.Second)
		g.want("a new key 30 s later", young, "")
		g.issuer.Retire()
		g.want("a retired key while it is remembered", old, "")
		time.Sleep(15*time.Minute + time.Second)
		// The keys are old enough to be fetched again by whoever comes, here by the caller with the other key.
		g.want("the new key", young, "")
		g.want("a retired key after its token was forgotten and the keys were fetched", old, caller.BadSignature)
	})
}

func TestAnOutageIsBridgedWithTheLastKeysForADay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newGate(t)
		g.want("before the outage", mint(t, g.issuer, oidc.Token{}), "")
		g.issuer.Break(oidc.KeysPath, down(503))
		g.issuer.Break(oidc.DiscoveryPath, down(503))
		for hour := range 23 {
			time.Sleep(time.Hour)
			g.want(fmt.Sprintf("after %d hours of outage", hour+1), mint(t, g.issuer, oidc.Token{}), "")
		}
		g.want("an unknown key, which the issuer might have published since", g.strange(0), caller.Unavailable)
		time.Sleep(2 * time.Hour)
		g.want("after 25 hours", mint(t, g.issuer, oidc.Token{}), caller.Unavailable)
		g.issuer.Break(oidc.KeysPath, oidc.Fault{})
		g.issuer.Break(oidc.DiscoveryPath, oidc.Fault{})
		time.Sleep(30 * time.Second)
		g.want("after the outage", mint(t, g.issuer, oidc.Token{}), "")
	})
}

func TestAnIssuerThatIsDownFromTheStartIsAskedLessAndLess(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newGate(t)
		g.issuer.Break(oidc.DiscoveryPath, down(500))
		token := mint(t, g.issuer, oidc.Token{})
		for range 600 {
			g.want("without keys", token, caller.Unavailable)
			time.Sleep(time.Second)
		}
		if n := g.issuer.Fetches(oidc.DiscoveryPath); n < 20 || n > 26 {
			t.Errorf("%d attempts in 10 minutes, want 1, 2, 4, 8, 16 and then every 30 s", n)
		}
		g.issuer.Break(oidc.DiscoveryPath, oidc.Fault{})
		time.Sleep(30 * time.Second)
		g.want("when it is up", token, "")
	})
}

func TestAShortOutageAtTheStartIsOverInASecond(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newGate(t)
		token := mint(t, g.issuer, oidc.Token{})
		g.issuer.Break(oidc.KeysPath, oidc.Fault{Hangup: true})
		g.want("when the connection breaks", token, caller.Unavailable)
		g.issuer.Break(oidc.KeysPath, oidc.Fault{})
		g.want("at once", token, caller.Unavailable)
		time.Sleep(time.Second)
		g.want("a second later", token, "")
	})
}

// slow answers after a while, or when the request is given up.
func slow(wait time.Duration) oidc.Fault {
	return oidc.Fault{Wait: func(r *http.Request) {
		select {
		case <-time.After(wait):
		case <-r.Context().Done():
		}
	}}
}

func TestAThousandFirstRequestsFetchOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newGate(t)
		token := mint(t, g.issuer, oidc.Token{})
		g.issuer.Break(oidc.KeysPath, slow(time.Second))
		var wait sync.WaitGroup
		for range 1000 {
			wait.Go(func() { g.want("one of many", token, "") })
		}
		wait.Wait()
		if g.fetches() != 1 || g.issuer.Fetches(oidc.DiscoveryPath) != 1 {
			t.Errorf("%d discoveries and %d fetches, want one of each", g.issuer.Fetches(oidc.DiscoveryPath), g.fetches())
		}
	})
}

func TestTheFirstCallerMayGoAwayWithoutHarmToOthers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newGate(t)
		token := mint(t, g.issuer, oidc.Token{})
		g.issuer.Break(oidc.KeysPath, slow(2*time.Second))
		ctx, cancel := context.WithCancel(t.Context())
		first := request(t, "Authorization", "Bearer "+token).WithContext(ctx)
		var wait sync.WaitGroup
		wait.Go(func() { g.bearer.Authenticate(first) })
		synctest.Wait()
		wait.Go(func() { g.want("the second caller", token, "") })
		synctest.Wait()
		cancel()
		wait.Wait()
		if g.fetches() != 1 {
			t.Errorf("%d fetches, want 1", g.fetches())
		}
	})
}

func TestAWaitingCallerMayGoAway(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newGate(t)
		token := mint(t, g.issuer, oidc.Token{})
		g.issuer.Break(oidc.KeysPath, slow(3*time.Second))
		start := time.Now()
		var wait sync.WaitGroup
		wait.Go(func() { g.want("the first caller", token, "") })
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := g.bearer.Authenticate(request(t, "Authorization", "Bearer "+token).WithContext(ctx))
		if took := time.Since(start); !errors.Is(err, context.DeadlineExceeded) || caller.CodeOf(err) != caller.Unavailable || took != time.Second {
			t.Errorf("after %s: %v", took, err)
		}
		wait.Wait()
	})
}

func TestAnIssuerThatHangsIsGivenUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newGate(t)
		token := mint(t, g.issuer, oidc.Token{Lifetime: 12 * time.Hour})
		g.issuer.Break(oidc.DiscoveryPath, slow(time.Hour))
		start := time.Now()
		g.want("without keys", token, caller.Unavailable)
		if took := time.Since(start); took != 5*time.Second {
			t.Errorf("it took %s, want the deadline of 5 s", took)
		}
		g.issuer.Break(oidc.DiscoveryPath, oidc.Fault{})
		time.Sleep(time.Second)
		g.want("when it is up", token, "")

		time.Sleep(time.Hour)
		g.issuer.Break(oidc.KeysPath, slow(time.Hour))
		start = time.Now()
		var wait sync.WaitGroup
		wait.Go(func() {
			g.want("the one that refreshes", token, "")
			if took := time.Since(start); took != 2*time.Second {
				t.Errorf("it took %s, want the deadline of 2 s", took)
			}
		})
		synctest.Wait()
		g.want("another, with the keys there are", mint(t, g.issuer, oidc.Token{}), "")
		if took := time.Since(start); took != 0 {
			t.Errorf("it waited %s for somebody else's refresh", took)
		}
		wait.Wait()
	})
}

func TestRememberedTokensEndWithTheirTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newGate(t)
		token := mint(t, g.issuer, oidc.Token{Lifetime: 2 * time.Minute})
		g.want("at once", token, "")
		time.Sleep(2*time.Minute + 59*time.Second)
		g.want("within the leeway", token, "")
		time.Sleep(time.Second)
		g.want("after it", token, caller.Expired)
	})
}

// TestOnlyTheIssuersOwnDocumentsAreBelieved has each way in which discovery or the keys can be wrong.
func TestOnlyTheIssuersOwnDocumentsAreBelieved(t *testing.T) {
	t.Parallel()
	discovery := func(issuer, keys string) oidc.Fault {
		return oidc.Fault{Body: fmt.Appendf(nil, `{"issuer":%q,"jwks_uri":%q}`, issuer, keys)}
	}
	redirect := oidc.Fault{Status: 302, Header: http.Header{"Location": {issuerURL + "/elsewhere"}}}
	tests := []struct {
		name  string
		path  string
		fault oidc.Fault
	}{
		{"discovery names another issuer", oidc.DiscoveryPath, discovery("https://evil.example.com", issuerURL+oidc.KeysPath)},
		{"discovery names the issuer with a slash", oidc.DiscoveryPath, discovery(issuerURL+"/", issuerURL+oidc.KeysPath)},
		{"discovery names no keys", oidc.DiscoveryPath, discovery(issuerURL, "")},
		{"discovery names keys in clear", oidc.DiscoveryPath, discovery(issuerURL, "http://idp.example.com/keys")},
		{"discovery names keys on this machine in clear", oidc.DiscoveryPath, discovery(issuerURL, "http://127.0.0.1/keys")},
		{"discovery names keys in a file", oidc.DiscoveryPath, discovery(issuerURL, "file:///etc/keys")},
		{"discovery names keys with a password", oidc.DiscoveryPath, discovery(issuerURL, "https://a:b@idp.example.com/keys")},
		{"discovery is no JSON", oidc.DiscoveryPath, oidc.Fault{Body: []byte("<html>")}},
		{"discovery names the issuer twice", oidc.DiscoveryPath, oidc.Fault{Body: []byte(`{"issuer":"` + issuerURL + `","issuer":"x","jwks_uri":"` + issuerURL + oidc.KeysPath + `"}`)}},
		{"discovery redirects", oidc.DiscoveryPath, redirect},
		{"the keys redirect", oidc.KeysPath, redirect},
		{"the keys are not there", oidc.KeysPath, down(404)},
		{"the keys are cut off", oidc.KeysPath, oidc.Fault{Body: []byte(`{"keys":[{"kty":"EC"`)}},
		{"there are no keys", oidc.KeysPath, oidc.Fault{Body: []byte(`{"keys":[]}`)}},
		{"there is no list of keys", oidc.KeysPath, oidc.Fault{Body: []byte(`{}`)}},
		{"no key can be used", oidc.KeysPath, oidc.Fault{Body: []byte(`{"keys":[{"kty":"oct","k":"c2VjcmV0"},{"kty":"EC","crv":"P-256","x":"AA","y":"AA"},{"kty":"RSA","n":"AQAB","e":"AQAB"},{"kty":"OKP","crv":"X25519","x":"AA"}]}`)}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			g := newGate(t)
			token := mint(t, g.issuer, oidc.Token{})
			g.issuer.Break(test.path, test.fault)
			r := request(t, "Authorization", "Bearer "+token)
			principal, err := g.bearer.Authenticate(r)
			if principal != nil {
				t.Errorf("the principal is %+v", principal)
			}
			refused(t, r, err, caller.Unavailable)
			if g.issuer.Fetches("/elsewhere") > 0 {
				t.Error("a redirect was followed")
			}
		})
	}
}

// TestKeySetsBeyondAllMeasureAreRefused puts the right key into sets that are too large.
func TestKeySetsBeyondAllMeasureAreRefused(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, before string
		want         caller.Code
	}{
		{"a set of 199 other keys", strings.Repeat("{},", 199), ""},
		{"a set of 200 other keys", strings.Repeat("{},", 200), caller.Unavailable},
		{"a set of 500 KiB", strings.Repeat(" ", 500<<10), ""},
		{"a set of 512 KiB and the key", strings.Repeat(" ", 512<<10), caller.Unavailable},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			g := newGate(t)
			token := mint(t, g.issuer, oidc.Token{})
			key, err := json.Marshal(publicKey(t, g.issuer, "ES256"))
			if err != nil {
				t.Fatal(err)
			}
			g.issuer.Break(oidc.KeysPath, oidc.Fault{Body: []byte(`{"keys":[` + test.before + string(key) + `]}`)})
			g.want(test.name, token, test.want)
		})
	}
}

// TestAKeyIsUsedForItsOwnAlgorithmOnly has one RSA key that its issuer publishes for RS256, and as a key for something else.
func TestAKeyIsUsedForItsOwnAlgorithmOnly(t *testing.T) {
	t.Parallel()
	issuer := oidc.New(issuerURL)
	token := mint(t, issuer, oidc.Token{Algorithm: "PS256"})
	for _, test := range []struct {
		name   string
		change func(*jose.JSONWebKey)
		want   caller.Code
	}{
		{"for the token's algorithm", func(*jose.JSONWebKey) {}, ""},
		{"for any algorithm", func(k *jose.JSONWebKey) { k.Algorithm = "" }, ""},
		{"for any use", func(k *jose.JSONWebKey) { k.Use = "" }, ""},
		{"for another algorithm", func(k *jose.JSONWebKey) { k.Algorithm = "RS256" }, caller.BadSignature},
		{"for encryption", func(k *jose.JSONWebKey) { k.Use = "enc" }, caller.BadSignature},
		{"without an id", func(k *jose.JSONWebKey) { k.KeyID = "" }, caller.BadSignature},
	} {
		t.Run(test.name, func(t *testing.T) {
			key := publicKey(t, issuer, "PS256")
			test.change(&key)
			keys, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{key, publicKey(t, issuer, "ES256")}})
			if err != nil {
				t.Fatal(err)
			}
			served := oidc.New(issuerURL)
			served.Break(oidc.KeysPath, oidc.Fault{Body: keys})
			bearer := caller.NewBearer(accepting("RS256", "PS256"), direct{served})
			gate{t, served, bearer}.want(test.name, token, test.want)
		})
	}
}

// TestKeysAreFetchedOverARealNetwork runs the transport that production uses, against an issuer on this machine.
func TestKeysAreFetchedOverARealNetwork(t *testing.T) {
	t.Parallel()
	server := httptest.NewUnstartedServer(nil)
	issuer := oidc.New("http://" + server.Listener.Addr().String())
	server.Config.Handler = issuer
	server.Start()
	t.Cleanup(server.Close)
	callers := []config.Caller{{Name: "local", Issuer: issuer.URL(), Audiences: []string{audience}, Algorithms: []string{"ES256"}}}
	for _, uri := range []string{"", issuer.URL() + oidc.KeysPath} {
		callers[0].JWKSURI = uri
		bearer := caller.NewBearer(callers, nil)
		if _, err := bearer.Authenticate(request(t, "Authorization", "Bearer "+mint(t, issuer, oidc.Token{}))); err != nil {
			t.Errorf("with the keys at %q: %v", uri, err)
		}
	}
	if n := issuer.Fetches(oidc.DiscoveryPath); n != 1 {
		t.Errorf("%d discoveries, want one, since the second configuration says where the keys are", n)
	}
}

// TestTokensWithoutAKeyIDTryTheIssuersKeys is for issuers with a single key that leave its id out.
func TestTokensWithoutAKeyIDTryTheIssuersKeys(t *testing.T) {
	t.Parallel()
	g := newGate(t)
	first := mint(t, g.issuer, oidc.Token{Header: map[string]any{"kid": ""}})
	if err := g.issuer.Rotate("ES256"); err != nil {
		t.Fatal(err)
	}
	g.want("by the older of two keys", first, "")
	g.want("by the newer", mint(t, g.issuer, oidc.Token{Header: map[string]any{"kid": ""}}), "")
}
