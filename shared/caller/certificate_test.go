package caller_test

import (
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/postern-ai/postern/localdev/fake/authority"
	"github.com/postern-ai/postern/localdev/fake/oidc"
	"github.com/postern-ai/postern/shared/caller"
	"github.com/postern-ai/postern/shared/config"
)

// partners is an authority of clients.
type partners struct{ *authority.Authority }

func newAuthority(t testing.TB, name string) partners {
	t.Helper()
	a, err := authority.New(name)
	if err != nil {
		t.Fatal(err)
	}
	return partners{a}
}

// client makes a client's certificate, changed by change.
func (p partners) client(t testing.TB, change func(*x509.Certificate)) *x509.Certificate {
	t.Helper()
	c, err := p.Client(change)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func thumbprintOf(c *x509.Certificate) string {
	sum := sha256.Sum256(c.Raw)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// door is a front as an event of AWS, or the platform of Azure, has it.
type door struct {
	cloud    config.Cloud
	balanced bool
	pem      string // beside the request
	headers  []string
}

// enter sends a request through Guard to the callers of a document.
func (d door) enter(t *testing.T, document *config.Document, issuer http.Handler) (principal *caller.Principal, err error) {
	t.Helper()
	o := caller.Options{
		Cloud:       d.cloud,
		Certificate: func(*http.Request) (string, bool) { return d.pem, d.pem != "" },
		Balanced:    func(*http.Request) bool { return d.balanced },
		Transport:   direct{issuer},
	}
	by := caller.New(document, o)
	caller.Guard(document, o, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		principal, err = by.Authenticate(r)
	})).ServeHTTP(httptest.NewRecorder(), request(t, d.headers...))
	return principal, err
}

// part makes a part of a distinguished name, with an attribute of X.520.
func part(attribute int) func(value string) pkix.RelativeDistinguishedNameSET {
	return func(value string) pkix.RelativeDistinguishedNameSET {
		return pkix.RelativeDistinguishedNameSET{{Type: asn1.ObjectIdentifier{2, 5, 4, attribute}, Value: value}}
	}
}

func TestClientCertificatesNameCallers(t *testing.T) {
	t.Parallel()
	ca, other := newAuthority(t, "Partners CA"), newAuthority(t, "Partners CA")
	app := ca.client(t, nil)
	spiffe, err := url.Parse("spiffe://example.com/app")
	if err != nil {
		t.Fatal(err)
	}
	workload := ca.client(t, func(c *x509.Certificate) { c.URIs = []*url.URL{spiffe} })
	disguised := ca.client(t, func(c *x509.Certificate) { c.URIs = []*url.URL{{Path: "CN=boss,O=Partner"}} })
	named := func(parts ...pkix.RelativeDistinguishedNameSET) *x509.Certificate {
		raw, err := asn1.Marshal(pkix.RDNSequence(parts))
		if err != nil {
			t.Fatal(err)
		}
		return ca.client(t, func(c *x509.Certificate) { c.RawSubject = raw })
	}
	cn, org := part(3), part(10)
	anyOf := func(f config.Fronts) *config.Document { return &config.Document{Callers: accepting(), Fronts: f} }
	admit := &config.CertificateFront{Admit: true}
	checked := &config.CertificateFront{Admit: true, ClientCA: ca.PEM()}
	alb := func(c *x509.Certificate) []string { return []string{"X-Amzn-Mtls-Clientcert-Leaf", authority.Leaf(c)} }
	service := func(c *x509.Certificate) []string {
		return []string{"X-ARR-ClientCert", authority.Base64(c)}
	}
	expired := func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }
	early := func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Minute) }
	forServers := func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }
	nameless := func(c *x509.Certificate) { c.Subject = pkix.Name{} }
	tests := []struct {
		name    string
		fronts  config.Fronts
		door    door
		issuer  string
		subject string
		kind    caller.Kind
		code    caller.Code
	}{
		{name: "a load balancer's, by its distinguished name", fronts: config.Fronts{ALB: admit}, door: door{cloud: config.AWS, balanced: true, headers: alb(app)}, issuer: "mtls:alb", subject: "CN=app,O=Partner"},
		{name: "an API's", fronts: config.Fronts{APIGateway: admit}, door: door{cloud: config.AWS, pem: authority.PEM(app)}, issuer: "mtls:api_gateway", subject: "CN=app,O=Partner"},
		{name: "App Service's", fronts: config.Fronts{AppService: checked}, door: door{cloud: config.Azure, headers: service(app)}, issuer: "mtls:app_service", subject: "CN=app,O=Partner"},
		{name: "a program's, by its URI", fronts: config.Fronts{ALB: checked}, door: door{cloud: config.AWS, balanced: true, headers: alb(workload)}, issuer: "mtls:alb", subject: "spiffe://example.com/app", kind: caller.Workload},

		{name: "a URI that is spelled like somebody's distinguished name names nobody", fronts: config.Fronts{ALB: checked}, door: door{cloud: config.AWS, balanced: true, headers: alb(disguised)}, issuer: "mtls:alb", subject: "CN=app,O=Partner"},
		{name: "one whose common name is spelled like an organization", fronts: config.Fronts{ALB: admit}, door: door{cloud: config.AWS, balanced: true, headers: alb(named(cn("app,O=Partner+OU=x")))}, issuer: "mtls:alb", subject: `CN=app\2CO=Partner\2BOU=x`},
		{name: "one with a backslash before its organization", fronts: config.Fronts{ALB: admit}, door: door{cloud: config.AWS, balanced: true, headers: alb(named(org("Partner"), cn(`app\`)))}, issuer: "mtls:alb", subject: `CN=app\\,O=Partner`},
		{name: "one within another than its namesake", fronts: config.Fronts{ALB: admit}, door: door{cloud: config.AWS, balanced: true, headers: alb(named(org("Partner"), cn("Guests"), cn("app")))}, issuer: "mtls:alb", subject: "CN=app,CN=Guests,O=Partner"},
		{name: "one whose organization comes first", fronts: config.Fronts{ALB: admit}, door: door{cloud: config.AWS, balanced: true, headers: alb(named(cn("app"), org("Partner")))}, issuer: "mtls:alb", subject: "O=Partner,CN=app"},
		{name: "the key that an OpenAI client always sends is no hindrance", fronts: config.Fronts{APIGateway: admit}, door: door{cloud: config.AWS, pem: authority.PEM(app), headers: []string{"Authorization", "Bearer unused"}}, issuer: "mtls:api_gateway", subject: "CN=app,O=Partner"},

		{name: "no certificate", fronts: config.Fronts{ALB: admit}, door: door{cloud: config.AWS, balanced: true}, code: caller.Missing},
		{name: "a front that admits nobody by a certificate alone", fronts: config.Fronts{ALB: &config.CertificateFront{}, APIGateway: admit}, door: door{cloud: config.AWS, balanced: true, headers: alb(app)}, code: caller.Missing},
		{name: "a load balancer's header that came past the load balancer", fronts: config.Fronts{ALB: admit}, door: door{cloud: config.AWS, headers: alb(app)}, code: caller.Missing},
		{name: "a load balancer's header on another cloud", fronts: config.Fronts{ALB: admit}, door: door{cloud: config.GCP, balanced: true, headers: alb(app)}, code: caller.Missing},
		{name: "App Service's header on another cloud", fronts: config.Fronts{AppService: checked}, door: door{cloud: config.AWS, balanced: true, headers: service(app)}, code: caller.Missing},
		{name: "an API's certificate where no API is declared", fronts: config.Fronts{ALB: admit}, door: door{cloud: config.AWS, pem: authority.PEM(app)}, code: caller.Missing},
		{name: "a load balancer that has not verified", fronts: config.Fronts{ALB: admit}, door: door{cloud: config.AWS, balanced: true, headers: []string{"X-Amzn-Mtls-Clientcert", authority.Leaf(app)}}, code: caller.Missing},
		{name: "the header with underscores", fronts: config.Fronts{ALB: admit}, door: door{cloud: config.AWS, balanced: true, headers: []string{"X_Amzn_Mtls_Clientcert_Leaf", authority.Leaf(app)}}, code: caller.Missing},

		{name: "two certificates", fronts: config.Fronts{ALB: admit}, door: door{cloud: config.AWS, balanced: true, headers: append(alb(app), alb(workload)...)}, code: caller.BadCertificate},
		{name: "a certificate of an authority with the same name", fronts: config.Fronts{AppService: checked}, door: door{cloud: config.Azure, headers: service(other.client(t, nil))}, code: caller.BadCertificate},
		{name: "one that a client has signed itself", fronts: config.Fronts{AppService: checked}, door: door{cloud: config.Azure, headers: service(partners{&authority.Authority{}}.client(t, nil))}, code: caller.BadCertificate},
		{name: "a server's certificate of that authority", fronts: config.Fronts{AppService: checked}, door: door{cloud: config.Azure, headers: service(ca.client(t, forServers))}, code: caller.BadCertificate},
		{name: "a server's certificate that the front let pass", fronts: config.Fronts{APIGateway: admit}, door: door{cloud: config.AWS, pem: authority.PEM(ca.client(t, forServers))}, code: caller.BadCertificate},
		{name: "the document's authority on top of the front's", fronts: config.Fronts{APIGateway: checked}, door: door{cloud: config.AWS, pem: authority.PEM(other.client(t, nil))}, code: caller.BadCertificate},
		{name: "one that has expired", fronts: config.Fronts{APIGateway: admit}, door: door{cloud: config.AWS, pem: authority.PEM(ca.client(t, expired))}, code: caller.Expired},
		{name: "one that is not valid yet", fronts: config.Fronts{APIGateway: admit}, door: door{cloud: config.AWS, pem: authority.PEM(ca.client(t, early))}, code: caller.Expired},
		{name: "one for nobody", fronts: config.Fronts{APIGateway: admit}, door: door{cloud: config.AWS, pem: authority.PEM(ca.client(t, nameless))}, code: caller.BadCertificate},
		{name: "what is none", fronts: config.Fronts{APIGateway: admit}, door: door{cloud: config.AWS, pem: "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"}, code: caller.BadCertificate},
		{name: "what is no PEM", fronts: config.Fronts{ALB: admit}, door: door{cloud: config.AWS, balanced: true, headers: []string{"X-Amzn-Mtls-Clientcert-Leaf", "CN=app"}}, code: caller.BadCertificate},
		{name: "what is badly encoded", fronts: config.Fronts{ALB: admit}, door: door{cloud: config.AWS, balanced: true, headers: []string{"X-Amzn-Mtls-Clientcert-Leaf", "%zz"}}, code: caller.BadCertificate},
		{name: "what is no base64", fronts: config.Fronts{AppService: checked}, door: door{cloud: config.Azure, headers: []string{"X-ARR-ClientCert", authority.PEM(app)[:20]}}, code: caller.BadCertificate},
		{name: "17 KiB", fronts: config.Fronts{ALB: admit}, door: door{cloud: config.AWS, balanced: true, headers: []string{"X-Amzn-Mtls-Clientcert-Leaf", strings.Repeat("A", 17<<10)}}, code: caller.BadCertificate},
		{name: "a bad certificate does not fall through to a weaker check", fronts: config.Fronts{APIGateway: admit}, door: door{cloud: config.AWS, pem: "x", headers: []string{"X-Amzn-Mtls-Clientcert-Leaf", authority.Leaf(app)}}, code: caller.BadCertificate},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			principal, err := test.door.enter(t, anyOf(test.fronts), nil)
			if test.code != "" {
				refused(t, request(t, test.door.headers...), err, test.code)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			want := &caller.Principal{
				Method: caller.MTLS, Issuer: test.issuer, Subject: test.subject, Name: strings.TrimPrefix(test.issuer, "mtls:") + "/" + test.subject,
				Tenant: "CN=Partners CA", Kind: test.kind, Expires: app.NotAfter,
			}
			if diff := cmp.Diff(want, principal); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestTokensThatAreBoundToACertificate(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t, "Partners CA")
	mine, yours := ca.client(t, nil), ca.client(t, nil)
	issuer := oidc.New(issuerURL)
	bound := func(cnf any) string { return mint(t, issuer, oidc.Token{Claims: map[string]any{"cnf": cnf}}) }
	to := func(c *x509.Certificate) string { return bound(map[string]any{"x5t#S256": thumbprintOf(c)}) }
	strict := accepting()
	strict[0].CertificateBound = true
	front := config.Fronts{APIGateway: &config.CertificateFront{}}
	tests := []struct {
		name     string
		document config.Document
		token    string
		shown    *x509.Certificate
		code     caller.Code
	}{
		{"with its certificate", config.Document{Callers: accepting(), Fronts: front}, to(mine), mine, ""},
		{"with another one", config.Document{Callers: accepting(), Fronts: front}, to(mine), yours, caller.Unproven},
		{"without any", config.Document{Callers: accepting(), Fronts: front}, to(mine), nil, caller.Unproven},
		{"where no front is declared", config.Document{Callers: accepting()}, to(mine), mine, caller.Unproven},
		{"a token that is not bound", config.Document{Callers: accepting(), Fronts: front}, bound(nil), mine, ""},
		{"a token that is not bound, where it has to be", config.Document{Callers: strict, Fronts: front}, bound(nil), mine, caller.Unproven},
		{"a token that is bound, where it has to be", config.Document{Callers: strict, Fronts: front}, to(mine), mine, ""},
		{"a token that is bound to a key in itself", config.Document{Callers: accepting(), Fronts: front}, bound(map[string]any{"jwk": map[string]any{"kty": "EC"}}), mine, caller.Unproven},
		{"a token that is bound to something besides", config.Document{Callers: accepting(), Fronts: front}, bound(map[string]any{"x5t#S256": thumbprintOf(mine), "kid": "x"}), mine, caller.Unproven},
		{"a token that is bound to nothing", config.Document{Callers: accepting(), Fronts: front}, bound(map[string]any{}), mine, caller.Malformed},
		{"a token that is bound to no thumbprint", config.Document{Callers: accepting(), Fronts: front}, bound(map[string]any{"x5t#S256": ""}), mine, caller.Unproven},
		{"a token that is bound in another form", config.Document{Callers: accepting(), Fronts: front}, bound("x5t"), mine, caller.Malformed},
		{"a certificate that is none", config.Document{Callers: accepting(), Fronts: front}, to(mine), &x509.Certificate{Raw: []byte("x")}, caller.BadCertificate},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			d := door{cloud: config.AWS, headers: []string{"Authorization", "Bearer " + test.token}}
			if test.shown != nil {
				d.pem = authority.PEM(test.shown)
			}
			principal, err := d.enter(t, &test.document, issuer)
			if test.code != "" {
				refused(t, request(t, d.headers...), err, test.code)
				return
			}
			if err != nil || principal.Subject != "alice" || principal.Method != caller.OIDC {
				t.Errorf("got %+v, %v", principal, err)
			}
		})
	}
}

// TestABoundTokenIsHeldToItsCertificateEachTime is about the memory of tokens that have been verified.
func TestABoundTokenIsHeldToItsCertificateEachTime(t *testing.T) {
	t.Parallel()
	mine := newAuthority(t, "ca").client(t, nil)
	issuer := oidc.New(issuerURL)
	token := mint(t, issuer, oidc.Token{Claims: map[string]any{"cnf": map[string]any{"x5t#S256": thumbprintOf(mine)}}})
	shown := authority.PEM(mine)
	by := caller.New(&config.Document{Callers: accepting(), Fronts: config.Fronts{APIGateway: &config.CertificateFront{}}}, caller.Options{
		Cloud: config.AWS, Transport: direct{issuer}, Certificate: func(*http.Request) (string, bool) { return shown, shown != "" },
	})
	if _, err := by.Authenticate(request(t, "Authorization", "Bearer "+token)); err != nil {
		t.Fatal(err)
	}
	shown = ""
	if _, err := by.Authenticate(request(t, "Authorization", "Bearer "+token)); caller.CodeOf(err) != caller.Unproven {
		t.Errorf("a stolen token that its owner has just used: %v", err)
	}
}
