package kit

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"io"
	"log/slog"
	"maps"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/postern-ai/postern/localdev/fake/awsauth"
	"github.com/postern-ai/postern/localdev/fake/awscreds"
	fakeentra "github.com/postern-ai/postern/localdev/fake/entra"
	"github.com/postern-ai/postern/localdev/fake/googlests"
	"github.com/postern-ai/postern/localdev/fake/jwtauth"
	"github.com/postern-ai/postern/localdev/fake/managedid"
	"github.com/postern-ai/postern/localdev/fake/metadata"
	"github.com/postern-ai/postern/localdev/fake/oauth"
	"github.com/postern-ai/postern/localdev/fake/secretsmanager"
	"github.com/postern-ai/postern/localdev/fake/sts"
	"github.com/postern-ai/postern/localdev/fake/tokenexchange"
	"github.com/postern-ai/postern/shared/audit"
	"github.com/postern-ai/postern/shared/config"
	"github.com/postern-ai/postern/shared/identity/sigv4"
	"github.com/postern-ai/postern/shared/secrets"
	"github.com/postern-ai/postern/shared/secrets/awssecrets"
)

// Who is who in the world of the tests.
const (
	region      = "eu-west-1"
	gatewayRole = "arn:aws:iam::123456789012:role/postern-gateway"
	hubRole     = "arn:aws:iam::123456789012:role/hub"
	spokeRole   = "arn:aws:iam::210987654321:role/spoke"
	userKey     = "AKIAIOSFODNN7EXAMPLE"

	tenant      = "11111111-2222-4333-8444-555555555555"
	managedID   = "22222222-3333-4444-8555-666666666666"
	managedOID  = "33333333-4444-4555-8666-777777777777"
	appID       = "aabdecea-fc38-40ca-9edd-263878b290fe"
	appSecret   = "app~secret+with/characters="
	inference   = "https://cognitiveservices.azure.com"
	awsIssuer   = "https://00000000-1111-4222-8333-444444444444.tokens.sts.global.api.aws"
	poolOf      = "//iam.googleapis.com/projects/123456789/locations/global/workloadIdentityPools/clouds/providers/"
	gcpAccount  = "gateway@local-project.iam.gserviceaccount.com"
	vertexActor = "vertex@local-project.iam.gserviceaccount.com"
	clientPass  = "a client's secret: 100%+"
)

// TestMain makes the stand-ins that are served over TLS trusted, before
// anything has asked for the system's roots.
func TestMain(m *testing.M) {
	server := httptest.NewTLSServer(http.NotFoundHandler())
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	server.Close()
	dir, err := os.MkdirTemp("", "kit")
	if err != nil {
		panic(err)
	}
	file := filepath.Join(dir, "roots.pem")
	if err := os.WriteFile(file, certificate, 0o600); err != nil {
		panic(err)
	}
	if err := os.Setenv("SSL_CERT_FILE", file); err != nil {
		panic(err)
	}
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// world is every service that a function may have to do with before it calls a
// model, each in a strict stand-in.
type world struct {
	creds     *awscreds.Server
	sts       *sts.Server
	secrets   *secretsmanager.Server
	metadata  *metadata.Server
	managed   *managedid.Server
	entra     *fakeentra.Server
	google    *googlests.Server
	oauth     *oauth.Server
	openAI    *tokenexchange.OpenAI
	anthropic *tokenexchange.Anthropic

	log   *slog.Logger
	audit audit.Publisher

	mu     sync.Mutex
	issued []string // key ids of functions

	// accountFile is a service account's key, and private the key in it, which is
	// also that of the certificate.
	accountFile string
	private     *rsa.PrivateKey
	certificate *x509.Certificate
	urls        map[string]string
}

// keyIDs returns the key ids that functions have been given so far.
func (w *world) keyIDs() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.issued)
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{
		log:      slog.New(slog.DiscardHandler),
		creds:    awscreds.New(awscreds.Options{}),
		metadata: metadata.New(metadata.Options{}),
		managed:  managedid.New(managedid.Options{Secret: "header", System: managedid.Identity{ClientID: managedID, ObjectID: managedOID}}),
		urls:     map[string]string{},
	}
	w.keys(t)
	outbound := &sts.Outbound{Issuer: awsIssuer, RS256: jwtauth.NewSigner("RS256"), ES384: jwtauth.NewSigner("ES384")}
	keySets := map[string]func() jose.JSONWebKeySet{
		googlests.Issuer: w.metadata.KeySet, managedid.Issuer: w.managed.KeySet, awsIssuer: outbound.KeySet,
	}
	issuers := func(issuer string) (jose.JSONWebKeySet, bool) {
		keys, ok := keySets[issuer]
		if !ok {
			return jose.JSONWebKeySet{}, false
		}
		return keys(), true
	}
	w.sts = sts.NewWith(sts.Options{Keys: w.key, Region: region, Roles: w.roles(), Issuers: issuers, Outbound: outbound})
	w.secrets = secretsmanager.New(secretsmanager.Options{Keys: w.key, Region: region})
	w.entra = fakeentra.New(fakeentra.Options{Tenant: tenant, Issuers: issuers, Apps: []fakeentra.App{{
		ClientID: appID, ObjectID: "44444444-5555-4666-8777-888888888888", Secrets: map[string]time.Time{appSecret: {}}, Certificates: []*x509.Certificate{w.certificate},
		Federated: []fakeentra.Federated{
			{Issuer: awsIssuer, Subject: gatewayRole, Audience: entraAudience},
			{Issuer: googlests.Issuer, Subject: w.metadata.Subject(), Audience: entraAudience},
			{Issuer: managedid.Issuer, Subject: managedOID, Audience: entraAudience},
		},
	}}})
	issuer := func(url string) oauth.Issuer {
		return oauth.Issuer{URL: url, Keys: func() (jose.JSONWebKeySet, error) { return keySets[url](), nil }}
	}
	w.vendors(issuer)
	// The OAuth server knows its own address, so it is made once that is known.
	late := http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { w.oauth.ServeHTTP(rw, r) })
	for name, h := range map[string]http.Handler{
		"creds": w.creds, "sts": w.sts, "secrets": w.secrets, "metadata": w.metadata, "managed": w.managed, "oauth": late,
		"openai": w.openAI, "anthropic": w.anthropic,
	} {
		w.serve(t, name, httptest.NewServer(h))
	}
	mutual := httptest.NewUnstartedServer(late)
	mutual.TLS = &tls.Config{ClientAuth: tls.RequestClientCert}
	mutual.StartTLS()
	w.serve(t, "mutual", mutual)
	w.serve(t, "entra", httptest.NewTLSServer(w.entra))
	w.oauth = oauth.New(oauth.Options{URL: w.urls["oauth"], MutualTLS: w.urls["mutual"], JWT: true, Subjects: []oauth.Issuer{issuer(awsIssuer), issuer(googlests.Issuer), issuer(managedid.Issuer)}, Clients: w.clients(issuer)})
	w.accountFile = accountFile(t, w.private)
	w.google = googlests.New(googlests.Options{
		Accounts: []googlests.Account{
			{Email: vertexActor, UniqueID: "104000000000000000002", Creators: w.creators(), Keys: jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: w.private.Public(), KeyID: "key-1", Algorithm: "RS256", Use: "sig"}}}},
		},
		Callers: func(token string) (string, bool) { return gcpAccount, w.metadata.Valid(token) },
		Keys:    w.sts.Lookup, Providers: w.pools(),
		Issuers: func(url string) (jose.JSONWebKeySet, bool) {
			if url == w.urls["oauth"] {
				return w.oauth.Keys(), true
			}
			return issuers(url)
		},
	})
	w.serve(t, "google", httptest.NewServer(w.google))
	return w
}

func (w *world) serve(t testing.TB, name string, server *httptest.Server) {
	t.Helper()
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	t.Cleanup(server.Close)
	w.urls[name] = server.URL
}

// key finds AWS credentials: the function's role's, and a user's.
func (w *world) key(id string) (awsauth.Key, bool) {
	if id == userKey {
		return awsauth.Key{AccessKeyID: userKey, SecretAccessKey: "wJalrXUtnFEMI/K7MDENG", ARN: "arn:aws:iam::123456789012:user/gateway", Account: "123456789012"}, true
	}
	return w.creds.Lookup(id)
}

func (w *world) roles() []sts.Role {
	return []sts.Role{
		{ARN: hubRole, Trust: []sts.Trust{
			{Principals: []string{gatewayRole, "arn:aws:iam::123456789012:user/gateway"}, TagSession: true, SetSourceIdentity: true},
			{Federated: googlests.Issuer, OriginalAudience: awsAudience, Subject: w.metadata.Subject()},
			{Federated: managedid.Issuer, Audience: entraAudience, Subject: managedOID},
		}},
		{ARN: spokeRole, Trust: []sts.Trust{{Principals: []string{hubRole}, ExternalID: "postern:1", TagSession: true, SetSourceIdentity: true}}},
	}
}

func (w *world) pools() map[string]googlests.Provider {
	return map[string]googlests.Provider{
		poolOf + "aws":   {AWS: "123456789012"},
		poolOf + "token": {Issuer: awsIssuer, Audiences: []string{"google"}},
		poolOf + "azure": {Issuer: managedid.Issuer, Audiences: []string{entraAudience}},
		poolOf + "idp":   {Issuer: w.urls["oauth"], Audiences: []string{"google"}},
	}
}

// keys makes the one key of the tests, and a certificate for it.
func (w *world) keys(t testing.TB) {
	t.Helper()
	var err error
	if w.private, err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "gateway"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, w.private.Public(), w.private)
	if err != nil {
		t.Fatal(err)
	}
	if w.certificate, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
}

// pems are the private key and the certificate with it.
func (w *world) pems(t testing.TB) (key, both string) {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(w.private)
	if err != nil {
		t.Fatal(err)
	}
	key = string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	return key, key + string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: w.certificate.Raw}))
}

// creators may act as the service account that may use Vertex AI.
func (w *world) creators() []string {
	pools := "principal:" + strings.TrimSuffix(poolOf, "/providers/") + "/subject/"
	return []string{"serviceAccount:" + gcpAccount, pools + managedOID, pools + gatewayRole}
}

// accountFile is a service account's key as Google gives it out.
func accountFile(t testing.TB, private *rsa.PrivateKey) string {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(map[string]string{
		"type": "service_account", "project_id": "local-project", "private_key_id": "key-1", "client_email": vertexActor, "client_id": "104000000000000000002",
		"private_key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})), "token_uri": "https://oauth2.googleapis.com/token",
	})
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func (w *world) clients(issuer func(string) oauth.Issuer) []oauth.Client {
	grants := []string{oauth.ClientCredentials, oauth.TokenExchange}
	clients := []oauth.Client{
		{ID: "basic", Method: oauth.SecretBasic, Secret: clientPass, Grants: grants, Scopes: []string{"llm:read", "llm:invoke"}, Targets: []string{"llm", "google"}},
		{ID: "post", Method: oauth.SecretPost, Secret: clientPass, Grants: grants},
		{ID: "signed", Method: oauth.PrivateKeyJWT, Grants: grants, Keys: jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: w.private.Public(), KeyID: "key-1", Algorithm: "RS256", Use: "sig"}}}},
		{ID: "shown", Method: oauth.SelfSignedTLS, Certificate: w.certificate, Grants: grants},
	}
	for name, from := range map[string]oauth.Federated{
		"aws":   {Issuer: issuer(awsIssuer), Subject: gatewayRole},
		"gcp":   {Issuer: issuer(googlests.Issuer), Subject: w.metadata.Subject()},
		"azure": {Issuer: issuer(managedid.Issuer), Subject: managedOID},
	} {
		from.Audience = platformAudience(config.Cloud(name), w.urls["oauth"])
		clients = append(clients, oauth.Client{ID: "platform-" + name, Method: oauth.PrivateKeyJWT, Federated: &from, Grants: grants, Scopes: []string{"llm:invoke", "llm:read"}})
	}
	return clients
}

// platformAudience is the audience that a platform can put into its token: on
// Azure only that of a registered application.
func platformAudience(cloud config.Cloud, wanted string) string {
	if cloud == config.Azure {
		return entraAudience
	}
	return wanted
}

func (w *world) vendors(issuer func(string) oauth.Issuer) {
	subjects := map[config.Cloud]tokenexchange.Mapping{
		config.AWS:   {Subject: gatewayRole, ServiceAccountID: "svac_gateway"},
		config.GCP:   {Subject: w.metadata.Subject(), ServiceAccountID: "svac_gateway"},
		config.Azure: {Subject: managedOID, ServiceAccountID: "svac_gateway"},
	}
	urls := map[config.Cloud]string{config.AWS: awsIssuer, config.GCP: googlests.Issuer, config.Azure: managedid.Issuer}
	var providers []tokenexchange.Provider
	var rules []tokenexchange.Rule
	for cloud, mapping := range subjects {
		providers = append(providers, tokenexchange.Provider{
			ID: "idp_" + string(cloud), Issuer: issuer(urls[cloud]), Audience: platformAudience(cloud, "https://api.openai.com/v1"), Mappings: []tokenexchange.Mapping{mapping},
		})
		rules = append(rules, tokenexchange.Rule{
			ID: "fdrl_" + string(cloud), Issuer: issuer(urls[cloud]), SubjectPrefix: mapping.Subject, Audience: platformAudience(cloud, anthropicAudience),
			// A managed identity's token lives for a day.
			MaxLifetime:    25 * time.Hour,
			OrganizationID: appID, ServiceAccountID: "svac_gateway", Workspaces: []string{"wrkspc_1"},
		})
	}
	w.openAI, w.anthropic = tokenexchange.NewOpenAI(providers...), tokenexchange.NewAnthropic(rules...)
}

// variables are what a platform and its operator put into a function's
// environment.
func (w *world) variables(cloud config.Cloud) map[string]string {
	env := map[string]string{"AWS_ENDPOINT_URL_STS": w.urls["sts"], "AZURE_AUTHORITY_HOST": w.urls["entra"]}
	for _, name := range []string{"CLOUDSDK_API_ENDPOINT_OVERRIDES_STS", "CLOUDSDK_API_ENDPOINT_OVERRIDES_IAMCREDENTIALS", "CLOUDSDK_AUTH_TOKEN_HOST"} {
		env[name] = w.urls["google"]
	}
	switch cloud {
	case config.AWS:
		key := w.creds.Issue()
		w.mu.Lock()
		w.issued = append(w.issued, key.AccessKeyID)
		w.mu.Unlock()
		maps.Copy(env, map[string]string{
			"AWS_LAMBDA_FUNCTION_NAME": "gateway", "AWS_REGION": region,
			"AWS_ACCESS_KEY_ID": key.AccessKeyID, "AWS_SECRET_ACCESS_KEY": key.SecretAccessKey, "AWS_SESSION_TOKEN": key.SessionToken,
		})
	case config.GCP:
		env["GCE_METADATA_HOST"] = strings.TrimPrefix(w.urls["metadata"], "http://")
	}
	return env
}

// onAzure gives the process the endpoint that the Azure identity client looks
// for in its own environment.
func (w *world) onAzure(t testing.TB) {
	t.Helper()
	t.Setenv("IDENTITY_ENDPOINT", w.urls["managed"]+"/msi/token")
	t.Setenv("IDENTITY_HEADER", "header")
}

// fill puts the addresses of the stand-ins and the names of the cloud into a
// document.
func (w *world) fill(cloud config.Cloud, document string) string {
	pairs := []string{"{cloud}", string(cloud), "{pool}", poolOf, "{tenant}", tenant, "{app}", appID, "{hub}", hubRole, "{spoke}", spokeRole, "{accountfile}", w.accountFile}
	for name, url := range w.urls {
		pairs = append(pairs, "{"+name+"}", url)
	}
	pairs = append(pairs, "{audience}", platformAudience(cloud, w.urls["oauth"]))
	return strings.NewReplacer(pairs...).Replace(document)
}

// wiring loads a document as a function on that cloud would, and wires it. The
// operator's variables come on top of the platform's.
func (w *world) wiring(t testing.TB, cloud config.Cloud, document string, operator map[string]string) (*wiring, *config.Document, error) {
	t.Helper()
	env := w.variables(cloud)
	maps.Copy(env, operator)
	env["POSTERN_CONFIG"] = w.fill(cloud, document)
	if !strings.Contains(document, "upstreams:") {
		env["POSTERN_PLATFORM_IAM"] = "true"
	}
	getenv := func(name string) string { return env[name] }
	d, err := config.FromEnvironment(cloud, getenv, nil)
	if err != nil {
		return nil, nil, err
	}
	stores := secrets.Stores{
		secrets.StoreEnv:  secrets.Environment{Lookup: func(name string) (string, bool) { text := getenv(name); return text, text != "" }},
		secrets.StoreFile: secrets.Files{},
	}
	if cloud == config.AWS {
		store, err := awssecrets.New(awssecrets.Options{
			Region: region, Endpoint: w.urls["secrets"],
			Credentials: sigv4.NewProvider(sigv4.NewIdentity(sigv4.IdentityOptions{Getenv: getenv})),
		})
		if err != nil {
			return nil, nil, err
		}
		stores[secrets.StoreAWS], stores[secrets.StoreOwn] = store, store
	}
	k := Kit{Cloud: cloud, Getenv: getenv, Log: w.log, Audit: w.audit, HTTP: http.DefaultTransport, Secrets: stores}
	wired, err := newWiring(k, d)
	return wired, d, err
}

// signed is a request after it was authorized, with its body.
type signed struct {
	*http.Request
	body []byte
}

// request makes the request that an upstream's authorizer is to sign.
func request(ctx context.Context, t testing.TB) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://upstream.example.com/v1/chat", strings.NewReader(`{"model":"m"}`))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func bodyOf(t testing.TB, r *http.Request) []byte {
	t.Helper()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return body
}
