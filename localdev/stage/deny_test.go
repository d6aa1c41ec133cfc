package stage

import (
	"bufio"
	"crypto/hmac"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/postern-ai/postern/localdev/apitoken"
	"github.com/postern-ai/postern/localdev/fake/authority"
	"github.com/postern-ai/postern/localdev/fake/oidc"
	"github.com/postern-ai/postern/localdev/fake/proof"
	"github.com/postern-ai/postern/shared/config"
	"github.com/postern-ai/postern/shared/secrets"
)

// guarded is a stage whose gateways let in callers of every kind, each with
// what its cloud has in front.
type guarded struct {
	*Stage
	output lines

	proxy        *oidc.Issuer // Identity-Aware Proxy
	partners     *authority.Authority
	apiToken     string
	expiredToken string
}

// publicAddress is what callers call the gateways, so that proofs can be made
// for it.
const publicAddress = "https://llm.example.com"

func newGuarded(t *testing.T) *guarded {
	t.Helper()
	g := &guarded{proxy: oidc.New(config.IAPIssuer), partners: newAuthority(t)}
	keys := httptest.NewServer(g.proxy)
	t.Cleanup(keys.Close)
	key := secrets.NewValue(strings.Repeat("5a", secrets.KeyBytes))
	var list []config.APIToken
	create := func(name string) string {
		token, longer, err := apitoken.Create(list, key, apitoken.Request{Name: name, Groups: []string{"tools"}, Life: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		list = longer
		return token.Reveal()
	}
	g.apiToken, g.expiredToken = create("nightly"), create("forgotten")
	list[1].Created, list[1].Expires = list[1].Created.Add(-48*time.Hour), list[1].Expires.Add(-48*time.Hour)
	tokens, err := config.FormatAPITokens(list)
	if err != nil {
		t.Fatal(err)
	}
	authorities, err := json.Marshal(g.partners.PEM())
	if err != nil {
		t.Fatal(err)
	}
	head := fmt.Sprintf(`public_url: %s
api_tokens: {credential_ref: "env://TEST_API_TOKENS", key_ref: "env://TEST_API_TOKEN_KEY"}
fronts:
  alb: {admit: true}
  api_gateway: {admit: true}
  app_service: {admit: true, client_ca: %s}
  iap: {audience: %s, jwks_uri: %q}
`, publicAddress, authorities, backend, keys.URL+oidc.KeysPath)
	g.Stage, err = Start(t.Context(), Options{
		Output: &g.output, Bin: bin,
		Env: map[string]string{"TEST_API_TOKENS": string(tokens), "TEST_API_TOKEN_KEY": key.Reveal()},
		Document: func(cloud, document string) string {
			return head + strings.Replace(document, "audience: "+audience, "audience: "+audience+"\n    dpop: optional", 1)
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.Close)
	return g
}

const backend = "/projects/123456789/global/backendServices/42"

func newAuthority(t *testing.T) *authority.Authority {
	t.Helper()
	a, err := authority.New("Partners CA")
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func clientOf(t *testing.T, a *authority.Authority) *x509.Certificate {
	t.Helper()
	c, err := a.Client(nil)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// holder has the key that a token is bound to.
type holder struct{ *proof.Holder }

func newHolder(t *testing.T) holder {
	t.Helper()
	h, err := proof.New("ES256")
	if err != nil {
		t.Fatal(err)
	}
	return holder{h}
}

func (h holder) confirmation(t *testing.T) map[string]any {
	t.Helper()
	text, err := h.Thumbprint()
	if err != nil {
		t.Fatal(err)
	}
	return map[string]any{"cnf": map[string]any{"jkt": text}}
}

func (h holder) prove(t *testing.T, method, address, token string) string {
	t.Helper()
	text, err := h.Prove(proof.Proof{Method: method, Address: address, Token: token})
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// probe is one request, as it goes over the wire.
type probe struct {
	name    string
	target  string   // "/v1/models" unless said
	host    string   // the gateway's unless said
	headers []string // whole lines
	want    outcome
	on      map[string]outcome // where a cloud's front has its own way
	// seen says that it is an instance's memory that refuses it, so that on AWS
	// each of the instances has to have had it once.
	seen bool
}

// instances is more than Lambda has under the load of this test.
const instances = 32

// outcome is what a caller sees: a challenge only with status 401.
type outcome struct {
	status    int
	code      string
	challenge string
}

func (o outcome) String() string { return fmt.Sprintf("%d %q %s", o.status, o.code, o.challenge) }

// send writes the request as it is and reads the answer.
func (p probe) send(t *testing.T, address string) (outcome, string) {
	t.Helper()
	address = strings.TrimPrefix(address, "http://")
	c, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(30 * time.Second))
	target, host := p.target, p.host
	if target == "" {
		target = "/v1/models"
	}
	if host == "" {
		host = address
	}
	go func() { // a server that refuses early may read no further
		_, _ = fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n", target, host)
		for _, line := range p.headers {
			_, _ = fmt.Fprintf(c, "%s\r\n", line)
		}
		_, _ = io.WriteString(c, "\r\n")
	}()
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	var e struct {
		Error struct{ Code string }
	}
	_ = json.Unmarshal(body, &e)
	if to := resp.Header.Get("Location"); strings.HasPrefix(to, "//") || strings.Contains(to, ":") {
		t.Errorf("%s: the answer leads to %s", p.name, to)
	}
	return outcome{resp.StatusCode, e.Error.Code, resp.Header.Get("WWW-Authenticate")}, string(body)
}

const listed = `"object":"list"`

// TestTheGuardedGateways has two probers: one that has to get in by every way
// that is declared, and one that must not by any other. Without the former the
// latter could be content with gateways that nobody can use.
func TestTheGuardedGateways(t *testing.T) {
	t.Parallel()
	g := newGuarded(t)
	t.Run("every way in is open", g.open)
	t.Run("every other is shut", g.shut)
}

func (g *guarded) open(t *testing.T) {
	h := newHolder(t)
	bound, err := g.Token(oidc.Token{Claims: h.confirmation(t)})
	if err != nil {
		t.Fatal(err)
	}
	plain, err := g.Token(oidc.Token{})
	if err != nil {
		t.Fatal(err)
	}
	assertion, err := g.proxy.Mint(oidc.Token{Subject: "accounts.google.com:1", Audience: []string{backend}})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range []struct {
		probe
		clouds []string
	}{
		{probe{name: "a token", headers: []string{"Authorization: Bearer " + plain}}, Clouds()},
		{probe{name: "a token, whatever the headers say besides", headers: []string{
			"Authorization: Bearer " + plain, "X-MS-CLIENT-PRINCIPAL-ID: 1", "X-Forwarded-Host: evil.example.com", "X-Original-URL: /healthz",
		}}, Clouds()},
		{probe{name: "a token, to any host", host: "evil.example.com", headers: []string{"Authorization: Bearer " + plain}}, Clouds()},
		{probe{name: "an API token", headers: []string{"Authorization: Bearer " + g.apiToken}}, Clouds()},
		{probe{name: "an assertion of Identity-Aware Proxy", headers: []string{"X-Goog-IAP-JWT-Assertion: " + assertion}}, []string{GCP}},
		{probe{name: "a client certificate at App Service", headers: []string{"X-ARR-ClientCert: " + authority.Base64(clientOf(t, g.partners))}}, []string{Azure}},
	} {
		for _, cloud := range p.clouds {
			if got, body := p.send(t, g.Gateways[cloud]); got.status != http.StatusOK || !strings.Contains(body, listed) {
				t.Errorf("%s on %s: %v: %s", p.name, cloud, got, body)
			}
		}
	}
	for _, cloud := range Clouds() {
		p := probe{headers: []string{"Authorization: DPoP " + bound, "DPoP: " + h.prove(t, "GET", publicAddress+"/v1/models", bound)}}
		if got, body := p.send(t, g.Gateways[cloud]); got.status != http.StatusOK || !strings.Contains(body, listed) {
			t.Errorf("a token with its proof on %s: %v: %s", cloud, got, body)
		}
	}
}

// shut is the negative prober: each row is refused by each gateway, with the
// status, the code and the challenge that are written down here.
func (g *guarded) shut(t *testing.T) {
	for _, p := range g.probes(t) {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			for _, cloud := range Clouds() {
				want, own := p.on[cloud]
				if !own {
					want = p.want
				}
				got, body := p.send(t, g.Gateways[cloud])
				for tries := 1; p.seen && cloud == AWS && got.status == http.StatusOK && tries < instances; tries++ {
					got, body = p.send(t, g.Gateways[cloud])
				}
				if got != want {
					t.Errorf("on %s\n got %v\nwant %v", cloud, got, want)
				}
				if got.status < 300 || strings.Contains(body, listed) {
					t.Errorf("on %s it is not refused: %s", cloud, body)
				}
				for _, line := range p.headers {
					_, value, _ := strings.Cut(line, ": ")
					if _, credential, _ := strings.Cut(value, " "); len(credential) > 40 && (strings.Contains(body, credential) || strings.Contains(g.output.String(), credential)) {
						t.Errorf("on %s the credential came out in the answer or in a log", cloud)
					}
				}
			}
		})
	}
}

// forge makes a token of any header and claims, signed by sign.
func forge(t *testing.T, header, claims map[string]any, sign func(string) []byte) string {
	t.Helper()
	part := func(v any) string {
		text, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return base64.RawURLEncoding.EncodeToString(text)
	}
	signed := part(header) + "." + part(claims)
	if sign == nil {
		return signed + "."
	}
	return signed + "." + base64.RawURLEncoding.EncodeToString(sign(signed))
}

// publishedKey returns a key that the stage's issuer publishes, and its id.
func (g *guarded) publishedKey(t *testing.T) (*rsa.PublicKey, string) {
	t.Helper()
	if _, err := g.Token(oidc.Token{Algorithm: "RS256"}); err != nil {
		t.Fatal(err)
	}
	resp, err := http.Get(g.services.issuer.URL() + oidc.KeysPath)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var set jose.JSONWebKeySet
	if err := json.NewDecoder(resp.Body).Decode(&set); err != nil {
		t.Fatal(err)
	}
	for _, key := range set.Keys {
		if public, ok := key.Key.(*rsa.PublicKey); ok {
			return public, key.KeyID
		}
	}
	t.Fatal("the issuer publishes no RSA key")
	return nil, ""
}

const (
	hint = `, resource_metadata="` + publicAddress + `/.well-known/oauth-protected-resource"`
	algs = `, algs="RS256 RS384 RS512 PS256 PS384 PS512 ES256 ES384 ES512 EdDSA"`
)

var (
	missing    = outcome{401, "invalid_api_key", `Bearer realm="postern"` + hint}
	bad        = outcome{401, "invalid_api_key", `Bearer realm="postern", error="invalid_token"` + hint}
	needsProof = outcome{401, "invalid_api_key", `DPoP realm="postern", error="invalid_token"` + algs + hint}
	badProof   = outcome{401, "invalid_api_key", `DPoP realm="postern", error="invalid_dpop_proof"` + algs + hint}
	unknown    = outcome{404, "unknown_url", ""}
	// elsewhere is what the functions framework does with a path that is not in
	// its shortest form: it asks the caller to come again with that, without a
	// look at what is there.
	elsewhere = map[string]outcome{GCP: {status: 307}}
)

func (g *guarded) probes(t *testing.T) []probe {
	t.Helper()
	rows := g.credentials(t)
	rows = append(rows, g.assertions(t)...)
	return append(rows, paths()...)
}

// credentials are those in the header Authorization.
func (g *guarded) credentials(t *testing.T) []probe {
	t.Helper()
	mint := func(token oidc.Token) string {
		text, err := g.Token(token)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	claim := func(name string, value any) string { return mint(oidc.Token{Claims: map[string]any{name: value}}) }
	head := func(name string, value any) string { return mint(oidc.Token{Header: map[string]any{name: value}}) }
	issuer := g.services.issuer.URL()
	valid := mint(oidc.Token{})
	parts := strings.Split(valid, ".")
	claims := map[string]any{"iss": issuer, "sub": "boss", "aud": audience, "exp": time.Now().Unix() + 600}
	public, kid := g.publishedKey(t)
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	confused := func(s string) []byte {
		mac := hmac.New(sha256.New, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
		mac.Write([]byte(s))
		return mac.Sum(nil)
	}
	boss, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	h, thief := newHolder(t), newHolder(t)
	bound := mint(oidc.Token{Claims: h.confirmation(t)})
	used := h.prove(t, "GET", publicAddress+"/v1/models", bound)
	for _, cloud := range Clouds() {
		if got, body := (probe{headers: []string{"Authorization: DPoP " + bound, "DPoP: " + used}}).send(t, g.Gateways[cloud]); got.status != http.StatusOK {
			t.Fatalf("a proof is not accepted on %s: %v %s", cloud, got, body)
		}
	}
	bearer := func(name, token string, want outcome) probe {
		return probe{name: name, headers: []string{"Authorization: Bearer " + token}, want: want}
	}
	return []probe{
		{name: "nothing at all", want: missing},
		{name: "an empty header", headers: []string{"Authorization: "}, want: missing},
		{name: "a scheme alone", headers: []string{"Authorization: Bearer"}, want: missing},
		{name: "a name and a password", headers: []string{"Authorization: Basic YTpi"}, want: missing},
		{name: "a token without its scheme", headers: []string{"Authorization: " + valid}, want: missing},
		{name: "a token in another header", headers: []string{"X-Authorization: Bearer " + valid, "Proxy-Authorization: Bearer " + valid, "X-Api-Key: " + valid}, want: missing},
		{name: "a token in the query", target: "/v1/models?access_token=" + valid, want: missing},
		{name: "a token in a cookie", headers: []string{"Cookie: token=" + valid}, want: missing},
		{name: "two headers, one of them valid", headers: []string{"Authorization: Bearer x", "Authorization: Bearer " + valid}, want: bad},
		{name: "two headers, both valid", headers: []string{"Authorization: Bearer " + valid, "authorization: Bearer " + valid}, want: bad},
		{name: "two tokens in one header", headers: []string{"Authorization: Bearer " + valid + ", Bearer " + valid}, want: bad},
		bearer("a provider's key", "sk-1234567890", bad),
		bearer("a token without a signature", parts[0]+"."+parts[1]+".", bad),
		bearer("a token with another's claims", parts[0]+"."+base64.RawURLEncoding.EncodeToString(boss)+"."+parts[2], bad),
		bearer("a token that begins like a valid one", valid[:len(valid)-8]+"AAAAAAAA", bad),
		bearer("algorithm none", forge(t, map[string]any{"alg": "none"}, claims, nil), bad),
		bearer("algorithm none in other letters", forge(t, map[string]any{"alg": "nOnE", "kid": kid}, claims, nil), bad),
		bearer("an HMAC with the public key", forge(t, map[string]any{"alg": "HS256", "kid": kid}, claims, confused), bad),
		bearer("a key id of a path", head("kid", "../../../../dev/null"), bad),
		bearer("a key id of a query", head("kid", "x' UNION SELECT 'AA"), bad),
		bearer("a key id of another issuer", head("kid", "https://evil.example.com/keys/1"), bad),
		bearer("a key that the token brings along", forge(t, map[string]any{"alg": "ES256", "kid": "1", "jwk": map[string]any{"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}}, claims, confused), bad),
		bearer("keys at an address in the token", forge(t, map[string]any{"alg": "ES256", "jku": "https://evil.example.com/keys", "x5u": "https://evil.example.com/cert"}, claims, confused), bad),
		bearer("a demand for an extension", head("crit", []string{"exp"}), bad),
		bearer("an encrypted token", "eyJhbGciOiJSU0EtT0FFUCIsImVuYyI6IkEyNTZHQ00ifQ.a.b.c.d", bad),
		bearer("a logout token", head("typ", "logout+jwt"), bad),
		bearer("an ID token", claim("nonce", "n-0S6_WzA2Mj"), bad),
		bearer("an issuer with a slash more", claim("iss", issuer+"/"), bad),
		bearer("an issuer in capital letters", claim("iss", strings.ToUpper(issuer)), bad),
		bearer("an issuer with a letter that looks alike", claim("iss", strings.Replace(issuer, "http", "httр", 1)), bad),
		bearer("an issuer that begins alike", claim("iss", issuer+".evil.example.com"), bad),
		bearer("no issuer", claim("iss", nil), bad),
		bearer("another audience", mint(oidc.Token{Audience: []string{"somebody-else"}}), bad),
		bearer("an audience that begins alike", mint(oidc.Token{Audience: []string{audience + "-admin"}}), bad),
		bearer("no audience", claim("aud", nil), bad),
		bearer("a token that has expired", mint(oidc.Token{Lifetime: -2 * time.Minute}), bad),
		bearer("a token without an end", claim("exp", nil), bad),
		bearer("a token for later", claim("nbf", time.Now().Unix()+300), bad),
		bearer("a token made in the future", claim("iat", time.Now().Unix()+300), bad),
		bearer("a token without a subject", claim("sub", ""), bad),
		bearer("a token that Cloud Run is said to have verified", parts[0]+"."+parts[1]+".SIGNATURE_REMOVED_BY_GOOGLE", bad),
		bearer("17 KiB", strings.Repeat("A", 17<<10), bad),
		bearer("an API token that nobody has made", "pst_"+strings.Repeat("a", 16)+"_"+strings.Repeat("a", 52), bad),
		bearer("an API token with another secret", g.apiToken[:21]+strings.Repeat("a", 52), bad),
		bearer("an API token that is cut off", g.apiToken[:60], bad),
		bearer("an API token that has expired", g.expiredToken, bad),
		bearer("a bound token without its proof", bound, needsProof),
		{name: "a bound token with a thief's proof", headers: []string{"Authorization: DPoP " + bound, "DPoP: " + thief.prove(t, "GET", publicAddress+"/v1/models", bound)}, want: badProof},
		{name: "a bound token with a used proof", headers: []string{"Authorization: DPoP " + bound, "DPoP: " + used}, want: badProof, seen: true},
		{name: "a bound token with a proof for another path", headers: []string{"Authorization: DPoP " + bound, "DPoP: " + h.prove(t, "GET", publicAddress+"/v1/chat/completions", bound)}, want: badProof},
		{name: "a bound token with a proof for the host that the request names", host: "evil.example.com", headers: []string{"Authorization: DPoP " + bound, "DPoP: " + h.prove(t, "GET", "https://evil.example.com/v1/models", bound)}, want: badProof},
		{name: "a token that is not bound in the other scheme", headers: []string{"Authorization: DPoP " + valid, "DPoP: " + h.prove(t, "GET", publicAddress+"/v1/models", valid)}, want: bad},
		{name: "a token that is bound to a certificate", headers: []string{"Authorization: Bearer " + claim("cnf", map[string]any{"x5t#S256": strings.Repeat("A", 43)})}, want: bad},
		{name: "a key id of 10 MB", headers: []string{"Authorization: Bearer " + head("kid", strings.Repeat("k", 10<<20))}, want: outcome{status: 431}},
	}
}

// assertions are the headers by which fronts and platforms name callers.
func (g *guarded) assertions(t *testing.T) []probe {
	t.Helper()
	forged := clientOf(t, g.partners)
	stranger := clientOf(t, newAuthority(t))
	leaf := authority.Leaf(forged)
	assertion, err := oidc.New(config.IAPIssuer).Mint(oidc.Token{Subject: "accounts.google.com:1", Audience: []string{backend}})
	if err != nil {
		t.Fatal(err)
	}
	other, err := g.proxy.Mint(oidc.Token{Subject: "accounts.google.com:1", Audience: []string{backend + "0"}})
	if err != nil {
		t.Fatal(err)
	}
	only := func(cloud string) map[string]outcome { return map[string]outcome{cloud: bad} }
	principal := base64.StdEncoding.EncodeToString([]byte(`{"auth_typ":"aad","claims":[{"typ":"roles","val":"admin"}]}`))
	return []probe{
		{name: "App Service authentication", headers: []string{"X-MS-CLIENT-PRINCIPAL-ID: 1", "X-MS-CLIENT-PRINCIPAL-NAME: boss", "X-MS-CLIENT-PRINCIPAL: " + principal}, want: missing},
		{name: "App Service authentication with underscores", headers: []string{"X_MS_CLIENT_PRINCIPAL_ID: 1", "X_MS_CLIENT_PRINCIPAL_NAME: boss"}, want: missing},
		{name: "a token that Cloud Run is said to have verified, in its own header", headers: []string{"X-Serverless-Authorization: Bearer e30.e30.SIGNATURE_REMOVED_BY_GOOGLE"}, want: missing},
		{name: "an address that Google is said to have authenticated", headers: []string{"X-Goog-Authenticated-User-Email: accounts.google.com:boss@example.com", "X-Goog-Authenticated-User-ID: accounts.google.com:1"}, want: missing},
		{name: "an assertion by a stranger's key", headers: []string{"X-Goog-IAP-JWT-Assertion: " + assertion}, want: missing, on: only(GCP)},
		{name: "an assertion for another service", headers: []string{"X-Goog-IAP-JWT-Assertion: " + other}, want: missing, on: only(GCP)},
		{name: "a load balancer's certificate", headers: []string{"X-Amzn-Mtls-Clientcert-Leaf: " + leaf, "X-Amzn-Mtls-Clientcert-Subject: CN=app"}, want: missing},
		{name: "a load balancer's unverified certificate", headers: []string{"X-Amzn-Mtls-Clientcert: " + leaf}, want: missing},
		{name: "a certificate by a stranger", headers: []string{"X-ARR-ClientCert: " + authority.Base64(stranger)}, want: missing, on: only(Azure)},
		{name: "two certificates", headers: []string{"X-ARR-ClientCert: " + authority.Base64(forged), "X-Arr-Clientcert: AA=="}, want: missing, on: only(Azure)},
		{name: "certificates of other proxies", headers: []string{"X-Forwarded-Client-Cert: Hash=1;Subject=\"CN=app\"", "Client-Cert: :AA==:", "SSL-Client-Verify: SUCCESS", "CloudFront-Viewer-Cert-Subject: CN=app"}, want: missing},
		{name: "an identity of AWS", headers: []string{"X-Amzn-Iam-User-Arn: arn:aws:iam::123456789012:root", "X-Amzn-Oidc-Identity: boss", "X-Amz-Security-Token: x"}, want: missing},
		{name: "users whom other proxies name", headers: []string{"X-Forwarded-User: boss", "X-Auth-Request-User: boss", "X-Remote-User: boss", "Remote-User: boss", "X-Forwarded-For: 127.0.0.1", "Forwarded: for=127.0.0.1"}, want: missing},
	}
}

// paths are requests that one part could read in another way than the next.
// They have no credential.
func paths() []probe {
	const models = "/v1/models"
	return []probe{
		{name: "a method in a header", headers: []string{"X-HTTP-Method-Override: HEAD", "X-Method-Override: OPTIONS"}, want: missing},
		{name: "a path in a header", headers: []string{"X-Original-URL: /healthz", "X-Rewrite-URL: /healthz", "X-Forwarded-Uri: /healthz"}, want: missing},
		{name: "a host with a path", host: "x/healthz", want: outcome{status: 400}},
		{name: "a host that is another one's", host: "localhost", want: missing},
		{name: "an absolute address", target: "http://localhost/v1/models", want: missing},
		{name: "an absolute address of liveness with another path behind", target: "http://localhost/healthz/../v1/models", want: unknown, on: elsewhere},
		{name: "two slashes", target: "//v1/models", want: unknown, on: elsewhere},
		{name: "two slashes and a host", target: "//evil.example.com/v1/models", want: unknown, on: elsewhere},
		{name: "two slashes within", target: "/v1//models", want: unknown, on: elsewhere},
		{name: "a dot", target: "/v1/./models", want: unknown, on: elsewhere},
		{name: "a dot that is encoded", target: "/v1/%2e/models", want: unknown},
		{name: "two dots behind liveness", target: "/healthz/../v1/models", want: unknown, on: elsewhere},
		{name: "two dots that are encoded", target: "/healthz/%2e%2e/v1/models", want: unknown},
		{name: "a slash that is encoded", target: "/v1%2fmodels", want: missing},
		{name: "a letter that is encoded", target: "/v1/model%73", want: missing},
		{name: "capital letters", target: "/V1/MODELS", want: unknown},
		{name: "a parameter", target: "/v1/models;jsessionid=1", want: unknown},
		{name: "a parameter before liveness", target: "/v1/models;/healthz", want: unknown},
		{name: "a slash behind", target: models + "/", want: missing},
		{name: "liveness behind a query", target: models + "?/healthz", want: missing},
		{name: "a fragment", target: models + "%23/healthz", want: unknown},
		{name: "a backslash", target: `/healthz\..\v1\models`, want: unknown},
		{name: "a byte of zero", target: models + "%00/healthz", want: unknown},
	}
}
