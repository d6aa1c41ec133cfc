package keyvaultkeys_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"flag"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-ai/postern/localdev/fake/fault"
	fake "github.com/postern-ai/postern/localdev/fake/keyvault"
	"github.com/postern-ai/postern/shared/audit"
	"github.com/postern-ai/postern/shared/audit/audittest"
	"github.com/postern-ai/postern/shared/audit/keyvaultkeys"
	"github.com/postern-ai/postern/shared/identity"
	"github.com/postern-ai/postern/shared/identity/entra"
	"github.com/postern-ai/postern/shared/ledger/ledgertest"
)

const (
	version = "9885aa558e8d448789683188f8c194b0"
	id      = "https://my-vault.vault.azure.net/keys/audit/" + version

	read = "Microsoft.KeyVault/vaults/keys/read"
	use  = "Microsoft.KeyVault/vaults/keys/sign/action"
)

var live = flag.String("live", "", "identifier of a real key, which signs as whom the environment's Azure credentials stand for")

// world is a stand-in, and who signs by it.
type world struct {
	audittest.Credentials
	server *fake.Server
	denied map[string]bool
}

func newWorld() *world {
	w := &world{denied: map[string]bool{}}
	w.server = fake.New(fake.Options{
		Caller: func(token string) (string, bool) { return "appid=" + audittest.Canary, w.Good(token) },
		Allow:  func(access fake.Access) bool { return !w.denied[access.Action] && access.Secret == "audit" },
	})
	return w
}

func (w *world) signer(t *testing.T, key string) audit.Signer {
	t.Helper()
	sign, err := keyvaultkeys.New(keyvaultkeys.Options{Key: key, Authorizer: w, Transport: ledgertest.Transport(http.HandlerFunc(func(out http.ResponseWriter, request *http.Request) {
		request.TLS = &tls.ConnectionState{}
		w.server.ServeHTTP(out, request)
	}))})
	if err != nil {
		t.Fatal(err)
	}
	return sign
}

func (w *world) breaks(operation string) func(audittest.Broken) {
	return func(b audittest.Broken) {
		w.server.Faults.Before(operation).Set(fault.Fault{Status: b.Status, Header: b.Header, Body: b.Body, Hangup: b.Hangup, Times: b.Times})
	}
}

func TestConformance(t *testing.T) {
	t.Parallel()
	for name, hsm := range map[string]bool{"keys in software": false, "keys in hardware": true} {
		t.Run(name, func(t *testing.T) {
			audittest.RunSigner(t, func(t *testing.T) audittest.Key {
				w := newWorld()
				return audittest.Key{
					Sign: w.signer(t, id), ID: id,
					Put: func(private crypto.Signer, disabled bool) {
						w.server.PutKey(fake.Key{Name: "audit", Version: version, Private: private, Disabled: disabled, HSM: hsm})
					},
					Service: &audittest.Service{
						Break:       w.breaks(""),
						Throttled:   audittest.Broken{Status: 429, Body: `{"error":{"code":"Throttled","message":"` + audittest.Canary + `"}}`},
						Deny:        func() { w.denied[read] = true },
						Permission:  "keys/read (the role Key Vault Crypto User)",
						Credentials: &w.Credentials,
						Calls:       w.server.Faults.Before("").Calls,
					},
					BreakSign:      w.breaks("Sign"),
					DenySign:       func() { w.denied[use] = true },
					SignPermission: "keys/sign (the role Key Vault Crypto User)",
				}
			})
		})
	}
}

// TestLive signs by a real key: go test ./shared/audit/keyvaultkeys -live IDENTIFIER.
func TestLive(t *testing.T) {
	if *live == "" {
		t.Skip("-live names no key")
	}
	own := identity.Bearer(identity.NewCache(entra.New(entra.Options{Scope: "https://vault.azure.net/.default"}), identity.CacheOptions{}))
	sign, err := keyvaultkeys.New(keyvaultkeys.Options{Key: *live, Authorizer: own})
	if err != nil {
		t.Fatal(err)
	}
	// A signature that its public part does not verify is an error.
	if _, err := sign(t.Context(), make([]byte, 32)); err != nil {
		t.Error(err)
	}
}

const kind = "the key is of another kind than is needed; make one of the type EC with the curve P-256, or RSA, with the permitted operation sign"

func TestKeysThatCannotSign(t *testing.T) {
	t.Parallel()
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rs, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	for want, key := range map[string]fake.Key{
		kind: {Private: ec, Operations: []string{"verify"}},
		"the key is disabled, has expired or is not valid yet (KeyExpired)":     {Private: ec, Expires: time.Now().Add(-time.Hour)},
		"the key is disabled, has expired or is not valid yet (KeyNotYetValid)": {Private: ec, NotBefore: time.Now().Add(time.Hour)},
		"the key is an RSA key of 1024 bits, and 2048 are the least":            {Private: rs},
	} {
		w := newWorld()
		key.Name, key.Version = "Audit", version
		w.server.PutKey(key)
		if _, err := w.signer(t, id)(t.Context(), make([]byte, 32)); err == nil || err.Error() != want {
			t.Errorf("got  %v\nwant %s", err, want)
		}
	}
}

func TestErrorsSayWhatToDo(t *testing.T) {
	t.Parallel()
	refusal := func(code, inner string) string {
		return `{"error":{"code":"` + code + `","message":"` + audittest.Canary + `","innererror":{"code":"` + inner + `"}}}`
	}
	const malformed = "the key's service's reply is not what its API describes"
	for _, test := range []struct {
		name   string
		status int
		body   string
		want   string
		calls  int
	}{
		{"no such key", 404, refusal("KeyNotFound", ""), "Key Vault has no key of the configured name and version", 2},
		{"a firewall", 403, refusal("Forbidden", "ForbiddenByFirewall"), "the vault's network rules do not let this function in", 2},
		{"another algorithm", 400, refusal("BadParameter", ""), kind, 2},
		{"an outage", 503, refusal("Unavailable", ""), "the key's service has failed (503)", 5},
		{"another key", 200, `{"kid":"` + id + `0","value":"AA"}`, malformed, 5},
		{"a signature that is none", 200, `{"kid":"` + id + `","value":"+"}`, malformed, 5},
		{"another signature", 200, `{"kid":"` + id + `","value":"AA"}`, "the signature is not by the public key that the service has shown", 8},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld()
				private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
				if err != nil {
					t.Fatal(err)
				}
				w.server.PutKey(fake.Key{Name: "audit", Version: version, Private: private})
				w.server.Faults.Before("Sign").Set(fault.Fault{Status: test.status, Body: test.body})
				_, err = w.signer(t, id)(t.Context(), make([]byte, 32))
				if err == nil || err.Error() != test.want {
					t.Errorf("got  %v\nwant %s", err, test.want)
				}
				if calls := w.server.Faults.Before("").Calls(); calls != test.calls {
					t.Errorf("%d calls, want %d", calls, test.calls)
				}
			})
		})
	}
}

func TestPublicPartsThatAreNone(t *testing.T) {
	t.Parallel()
	for name, part := range map[string]string{
		"no point":         `"kty":"EC","crv":"P-256","x":"AQ","y":"AQ"`,
		"a long number":    `"kty":"EC","crv":"P-256","x":"` + strings.Repeat("A", 60) + `","y":"AQ"`,
		"no number":        `"kty":"RSA","n":"+","e":"AQAB"`,
		"a long exponent":  `"kty":"RSA","n":"AQ","e":"AQABAQABAQAB"`,
		"a symmetric key":  `"kty":"oct"`,
		"another's curve":  `"kty":"EC","crv":"P-256K","x":"AQ","y":"AQ"`,
		"a longer modulus": `"kty":"RSA","n":"` + strings.Repeat("A", 700) + `","e":"AQAB"`,
	} {
		w := newWorld()
		w.server.Faults.Before("GetKey").Set(fault.Fault{Status: 200, Body: `{"key":{"kid":"` + id + `","key_ops":["sign"],` + part + `}}`})
		if _, err := w.signer(t, id)(t.Context(), make([]byte, 32)); err == nil || err.Error() != kind {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func FuzzReplies(f *testing.F) {
	f.Add(200, `{"key":{"kid":"`+id+`","kty":"RSA","key_ops":["sign"],"n":"`+strings.Repeat("_", 342)+`","e":"AQAB"},"kid":"`+id+`","value":"AA"}`)
	f.Add(200, `{"key":{"kid":"`+id+`","kty":"EC","crv":"P-256","key_ops":["sign"],"x":"AQ","y":"AQ"}}`)
	audittest.FuzzSigner(f, func(transport http.RoundTripper) (audit.Signer, error) {
		return keyvaultkeys.New(keyvaultkeys.Options{Key: id, Authorizer: &audittest.Credentials{}, Transport: transport})
	})
}

func TestOptionsAreChecked(t *testing.T) {
	t.Parallel()
	for name, options := range map[string]keyvaultkeys.Options{
		"no authorizer":      {Key: id},
		"no version":         {Key: strings.TrimSuffix(id, "/"+version), Authorizer: &audittest.Credentials{}},
		"not by TLS":         {Key: "http" + strings.TrimPrefix(id, "https"), Authorizer: &audittest.Credentials{}},
		"a query":            {Key: id + "?a=b", Authorizer: &audittest.Credentials{}},
		"something before":   {Key: "https://a.vault.azure.net/b/keys/audit/" + version, Authorizer: &audittest.Credentials{}},
		"a name and no more": {Key: "audit", Authorizer: &audittest.Credentials{}},
	} {
		if _, err := keyvaultkeys.New(options); err == nil || options.Authorizer != nil && !strings.Contains(err.Error(), "https://VAULT.vault.azure.net/keys/NAME/VERSION") {
			t.Errorf("%s: got %v", name, err)
		}
	}
}
