package identity_test

import (
	"context"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/postern-ai/postern/localdev/fake/awsauth"
	"github.com/postern-ai/postern/localdev/fake/awscreds"
	fakeentra "github.com/postern-ai/postern/localdev/fake/entra"
	"github.com/postern-ai/postern/localdev/fake/fault"
	"github.com/postern-ai/postern/localdev/fake/googlests"
	"github.com/postern-ai/postern/localdev/fake/jwtauth"
	"github.com/postern-ai/postern/localdev/fake/managedid"
	"github.com/postern-ai/postern/localdev/fake/metadata"
	"github.com/postern-ai/postern/localdev/fake/sts"
	"github.com/postern-ai/postern/shared/identity"
	"github.com/postern-ai/postern/shared/identity/entra"
	"github.com/postern-ai/postern/shared/identity/googleid"
	"github.com/postern-ai/postern/shared/identity/sigv4"
)

const (
	region     = "eu-central-1"
	inference  = "https://cognitiveservices.azure.com"
	awsIssuer  = "https://00000000-1111-4222-8333-444444444444.tokens.sts.global.api.aws"
	gateway    = "arn:aws:iam::123456789012:role/gateway"
	fromGoogle = "arn:aws:iam::123456789012:role/from-google"
	fromAzure  = "arn:aws:iam::123456789012:role/from-azure"
	awsPool    = "//iam.googleapis.com/projects/123456789/locations/global/workloadIdentityPools/pool/providers/aws"
	azurePool  = "//iam.googleapis.com/projects/123456789/locations/global/workloadIdentityPools/pool/providers/azure"
	appID      = "aaaaaaaa-0000-4000-8000-00000000000a"
	objectID   = "bbbbbbbb-0000-4000-8000-00000000000b"
	// forOthers is the application that a managed identity's tokens are for when they are shown to another cloud.
	forOthers = "api://postern"
)

// The clouds' keys are made once: a world differs from the next in what it has issued.
var awsKey, googleKey, azureKey = jwtauth.NewSigner("RS256"), jwtauth.NewSigner("RS256"), jwtauth.NewSigner("RS256")

// world is all three clouds, each of which trusts an identity of each of the others.
type world struct {
	platform *awscreds.Server
	sts      *sts.Server
	metadata *metadata.Server
	google   *googlests.Server
	managed  *managedid.Server
	entra    *fakeentra.Server

	mu  sync.Mutex
	env map[string]string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	azure(t)
	return bubbleWorld(t)
}

// bubbleWorld is a world within the settings that are there already: a bubble cannot change the process's.
func bubbleWorld(t *testing.T) *world {
	t.Helper()
	w := &world{
		platform: awscreds.New(awscreds.Options{Role: "gateway", Lifetime: 30 * 24 * time.Hour}),
		metadata: metadata.New(metadata.Options{Signer: googleKey}),
		managed: managedid.New(managedid.Options{Secret: "header", System: managedid.Identity{ClientID: "c", ObjectID: objectID}, Signer: azureKey,
			V2: map[string]string{managedid.TokenExchange: managedid.TokenExchangeID}}),
	}
	outbound := &sts.Outbound{Issuer: awsIssuer, RS256: awsKey}
	w.sts = sts.NewWith(sts.Options{
		Keys: w.platform.Lookup, Region: region, Outbound: outbound,
		Issuers: jwtauth.Issuers(map[string]*jwtauth.Signer{metadata.Issuer: googleKey, managedid.Issuer: azureKey}),
		Roles: []sts.Role{
			{ARN: fromGoogle, Trust: []sts.Trust{{Federated: metadata.Issuer, Audience: w.metadata.Subject(), OriginalAudience: "sts.amazonaws.com", Subject: w.metadata.Subject()}}},
			{ARN: fromAzure, Trust: []sts.Trust{{Federated: managedid.Issuer, Audience: forOthers, Subject: objectID}}},
		},
	})
	w.google = googlests.New(googlests.Options{
		Keys: w.platform.Lookup, Issuers: jwtauth.Issuers(map[string]*jwtauth.Signer{managedid.Issuer: azureKey}),
		Providers: map[string]googlests.Provider{
			awsPool:   {AWS: "123456789012", Condition: func(subject string) bool { return strings.Contains(subject, "/gateway/") }},
			azurePool: {Issuer: managedid.Issuer, Audiences: []string{forOthers}, Condition: func(subject string) bool { return subject == objectID }},
		},
	})
	w.entra = fakeentra.New(fakeentra.Options{
		Tenant: managedid.Tenant, Signer: azureKey, Resources: []string{inference},
		Issuers: func(issuer string) (jose.JSONWebKeySet, bool) {
			switch issuer {
			case awsIssuer:
				return outbound.KeySet(), true
			case managedid.IssuerV2:
				return w.managed.KeySet(), true
			}
			return w.metadata.KeySet(), issuer == metadata.Issuer
		},
		Apps: []fakeentra.App{{ClientID: appID, ObjectID: "app", Federated: []fakeentra.Federated{
			{Issuer: awsIssuer, Subject: gateway, Audience: entra.TokenExchange},
			{Issuer: metadata.Issuer, Subject: w.metadata.Subject(), Audience: entra.TokenExchange},
			{Issuer: managedid.IssuerV2, Subject: objectID, Audience: entra.TokenExchange},
		}}},
	})
	w.renew()
	return w
}

// azure gives the process the settings of a function app. The library reads them from nowhere else, so such a test does not run in parallel.
func azure(t *testing.T) {
	t.Helper()
	for _, setting := range os.Environ() {
		name, _, _ := strings.Cut(setting, "=")
		if strings.HasPrefix(name, "IDENTITY_") || strings.HasPrefix(name, "MSI_") || strings.HasPrefix(name, "AZURE_") || name == "IMDS_ENDPOINT" {
			t.Setenv(name, "")
			_ = os.Unsetenv(name)
		}
	}
	t.Setenv("IDENTITY_ENDPOINT", "http://127.0.0.1:1/msi/token")
	t.Setenv("IDENTITY_HEADER", "header")
}

// renew gives the Lambda function new credentials, as a new environment has.
func (w *world) renew() {
	key := w.platform.Issue()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.env = map[string]string{
		"AWS_REGION": region, "AWS_LAMBDA_FUNCTION_NAME": "gateway",
		"AWS_ACCESS_KEY_ID": key.AccessKeyID, "AWS_SECRET_ACCESS_KEY": key.SecretAccessKey, "AWS_SESSION_TOKEN": key.SessionToken,
	}
}

func (w *world) getenv(name string) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.env[name]
}

// nowhere is the environment of a function on another cloud.
func nowhere(string) string { return "" }

// wire is a transport that hands requests to a handler as a server would receive them.
type wire struct{ handler http.Handler }

func (w wire) RoundTrip(request *http.Request) (response *http.Response, err error) {
	defer func() {
		switch caught := recover(); caught {
		case nil:
		case http.ErrAbortHandler:
			err = syscall.ECONNRESET
		default:
			panic(caught)
		}
	}()
	received := request.Clone(request.Context())
	if received.Body == nil {
		received.Body = http.NoBody
	}
	if received.Host == "" {
		received.Host = received.URL.Host
	}
	recorder := httptest.NewRecorder()
	w.handler.ServeHTTP(recorder, received)
	if err := request.Context().Err(); err != nil {
		return nil, err
	}
	response = recorder.Result()
	response.Request = request
	return response, nil
}

func over(handler http.Handler) *http.Client {
	return &http.Client{Transport: wire{handler}, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

// direction is one way to call a model service of one cloud from a function on another.
type direction struct {
	name string
	// authorizer is a new instance's.
	authorizer func() identity.Authorizer
	// valid reports whether the target accepts the credential that is on the request.
	valid func(*http.Request) error
	// revoke makes the target refuse it from now on.
	revoke func(*http.Request)
	// issuers are the token services on the way, with what each of them was asked.
	issuers []*fault.Injector
	// principal is who the target sees.
	principal string
}

func (w *world) lambda() *sigv4.Identity {
	return sigv4.NewIdentity(sigv4.IdentityOptions{Getenv: w.getenv, HTTP: over(w.sts)})
}

func (w *world) bedrock(who *sigv4.Identity) identity.Authorizer {
	return must(sigv4.New(sigv4.Options{Service: "bedrock", Region: region, Identity: who}))
}

func (w *world) web(role string, token identity.TokenSource) identity.Authorizer {
	provider := must(sigv4.NewWebIdentity(sigv4.WebIdentityOptions{
		STSOptions: sigv4.STSOptions{Region: region, Getenv: nowhere, HTTP: over(w.sts)}, RoleARN: role, Token: token,
	}))
	return w.bedrock(sigv4.NewIdentity(sigv4.IdentityOptions{Credentials: provider, Getenv: nowhere, HTTP: over(w.sts)}))
}

func (w *world) federate(options googleid.FederationOptions) identity.Authorizer {
	options.HTTP = over(w.google)
	return bearer(must(googleid.NewFederation(options)))
}

func (w *world) app(assertion identity.TokenSource) identity.Authorizer {
	return bearer(must(entra.NewApp(entra.AppOptions{Tenant: managedid.Tenant, ClientID: appID, Assertion: assertion, HTTP: over(w.entra)})))
}

func bearer(source identity.TokenSource) identity.Authorizer {
	return identity.Bearer(identity.NewCache(source, identity.CacheOptions{}))
}

func (w *world) cloudRun() *googleid.Metadata {
	return googleid.New(googleid.Options{Getenv: nowhere, HTTP: over(w.metadata)})
}

func (w *world) functionApp(scope string) identity.TokenSource {
	return entra.New(entra.Options{Scope: scope, HTTP: over(w.managed)})
}

// directions are all six across clouds, and the one across directories of Azure.
func (w *world) directions() []direction {
	onGoogle := direction{valid: w.byGoogle, revoke: func(r *http.Request) { w.google.Revoke(token(r)) }}
	onEntra := direction{valid: w.byEntra, revoke: func(r *http.Request) { w.entra.Revoke(token(r)) }, principal: appID}
	onAWS := direction{valid: w.byAWS, revoke: func(r *http.Request) { w.sts.Revoke(keyID(r)) }}
	with := func(d direction, name string, authorizer func() identity.Authorizer, principal string, issuers ...*fault.Injector) direction {
		d.name, d.authorizer, d.issuers = name, authorizer, issuers
		if principal != "" {
			d.principal = principal
		}
		return d
	}
	return []direction{
		with(onGoogle, "from Lambda to Vertex AI", func() identity.Authorizer {
			signer := must(sigv4.New(sigv4.Options{Service: "sts", Region: region, Identity: w.lambda()}))
			return w.federate(googleid.FederationOptions{Audience: awsPool, AWS: signer, AWSRegion: region})
		}, strings.TrimPrefix(awsPool, "//iam.googleapis.com/"), &w.google.STS),
		with(onEntra, "from Lambda to Azure OpenAI", func() identity.Authorizer {
			return w.app(must(sigv4.NewOutbound(sigv4.OutboundOptions{
				STSOptions: sigv4.STSOptions{Getenv: w.getenv, HTTP: over(w.sts)}, From: w.lambda(), Audience: entra.TokenExchange,
			})))
		}, "", &w.sts.Faults, &w.entra.Tokens),
		with(onAWS, "from Cloud Run to Bedrock", func() identity.Authorizer { return w.web(fromGoogle, w.cloudRun().IDTokens("sts.amazonaws.com")) },
			"arn:aws:sts::123456789012:assumed-role/from-google/postern", &w.metadata.Identities, &w.sts.Faults),
		with(onEntra, "from Cloud Run to Azure OpenAI", func() identity.Authorizer { return w.app(w.cloudRun().IDTokens(entra.TokenExchange)) },
			"", &w.metadata.Identities, &w.entra.Tokens),
		with(onAWS, "from Azure Functions to Bedrock", func() identity.Authorizer { return w.web(fromAzure, w.functionApp(forOthers+"/.default")) },
			"arn:aws:sts::123456789012:assumed-role/from-azure/postern", &w.managed.Faults, &w.sts.Faults),
		with(onEntra, "from Azure Functions to Azure OpenAI in another directory", func() identity.Authorizer { return w.app(w.functionApp(entra.TokenExchange + "/.default")) },
			"", &w.managed.Faults, &w.entra.Tokens),
		with(onGoogle, "from Azure Functions to Vertex AI", func() identity.Authorizer {
			return w.federate(googleid.FederationOptions{Audience: azurePool, Subject: w.functionApp(forOthers + "/.default")})
		}, strings.TrimPrefix(azurePool, "//iam.googleapis.com/"), &w.managed.Faults, &w.google.STS),
	}
}

// natives are the three functions that stay on their cloud.
func (w *world) natives() []direction {
	return []direction{
		{name: "from Lambda to Bedrock", authorizer: func() identity.Authorizer { return w.bedrock(w.lambda()) }, valid: w.byAWS,
			revoke:    func(r *http.Request) { w.platform.Revoke(keyID(r)); w.renew() },
			principal: "arn:aws:sts::123456789012:assumed-role/gateway/local"},
		{name: "from Cloud Run to Vertex AI", authorizer: func() identity.Authorizer { return bearer(w.cloudRun()) },
			valid: func(r *http.Request) error { return refusedUnless(w.metadata.Valid(token(r))) }, revoke: func(r *http.Request) { w.metadata.Revoke(token(r)) },
			issuers: []*fault.Injector{&w.metadata.Tokens}, principal: "gateway@local-project.iam.gserviceaccount.com"},
		{name: "from Azure Functions to Azure OpenAI", authorizer: func() identity.Authorizer { return bearer(w.functionApp("")) },
			valid: func(r *http.Request) error { return refusedUnless(w.managed.Valid(token(r), inference)) }, revoke: func(r *http.Request) { w.managed.Revoke(token(r)) },
			issuers: []*fault.Injector{&w.managed.Faults}, principal: "c"},
	}
}

var errRefused = errors.New("the target refuses the credential")

func refusedUnless(ok bool) error {
	if ok {
		return nil
	}
	return errRefused
}

func token(r *http.Request) string {
	value, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	return value
}

func keyID(r *http.Request) string {
	_, rest, _ := strings.Cut(r.Header.Get("Authorization"), "Credential=")
	id, _, _ := strings.Cut(rest, "/")
	return id
}

func (w *world) byGoogle(r *http.Request) error { return refusedUnless(w.google.Valid(token(r))) }

func (w *world) byEntra(r *http.Request) error {
	return refusedUnless(w.entra.Valid(token(r), inference))
}

func (w *world) byAWS(r *http.Request) error {
	body, err := r.GetBody()
	if err != nil {
		return err
	}
	content, err := io.ReadAll(body)
	if err != nil {
		return err
	}
	_, err = awsauth.Verifier{Service: "bedrock", Region: region, Keys: w.sts.Lookup}.Verify(r, content)
	return err
}

// upstream is a request as the gateway sends one.
func upstream(ctx context.Context) *http.Request {
	return must(http.NewRequestWithContext(ctx, http.MethodPost, "https://upstream.example/model/arn%3Aaws%3Abedrock%3Aeu-central-1%3A1%3Aapplication-inference-profile%2Fabc/converse", strings.NewReader("body")))
}

// calls counts what the token services on the way were asked.
func (d direction) calls() int {
	sum := 0
	for _, issuer := range d.issuers {
		sum += issuer.Calls()
	}
	return sum
}

// everything is each direction of each kind, by name.
func (w *world) everything() map[string]direction {
	all := map[string]direction{}
	for _, d := range append(w.directions(), w.natives()...) {
		all[d.name] = d
	}
	return maps.Clone(all)
}
