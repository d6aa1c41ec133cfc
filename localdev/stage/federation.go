package stage

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/go-jose/go-jose/v4"

	fakeanthropic "github.com/postern-ai/postern/localdev/fake/anthropic"
	"github.com/postern-ai/postern/localdev/fake/entra"
	"github.com/postern-ai/postern/localdev/fake/googlests"
	"github.com/postern-ai/postern/localdev/fake/jwtauth"
	"github.com/postern-ai/postern/localdev/fake/managedid"
	"github.com/postern-ai/postern/localdev/fake/oauth"
	"github.com/postern-ai/postern/localdev/fake/sts"
	"github.com/postern-ai/postern/localdev/fake/tokenexchange"
)

// Who the functions are on their own clouds, and as whom the other clouds know
// them.
const (
	functionRole  = "arn:aws:iam::123456789012:role/postern-gateway"
	federatedRole = "arn:aws:iam::123456789012:role/postern-from-elsewhere"
	awsIssuer     = "https://00000000-1111-4222-8333-444444444444.tokens.sts.global.api.aws"
	pool          = "//iam.googleapis.com/projects/123456789/locations/global/workloadIdentityPools/postern/providers/"
	appID         = "44444444-5555-4666-8777-888888888888"
	objectID      = "33333333-4444-4555-8666-777777777777"
	entraAudience = "api://AzureADTokenExchange"

	vendorAccount  = "svac_gateway"
	openAIModel    = "gpt-4.1-mini"
	anthropicModel = "claude-haiku-4-5-20251001"
)

// federation are the stand-ins by which the clouds trust each other's
// functions.
type federation struct {
	sts    *sts.Server
	google *googlests.Server
	entra  *entra.Server

	openAI    *tokenexchange.OpenAI
	anthropic *tokenexchange.Anthropic

	roots string // the file with the certificate that entra is served under
}

// trust sets up who trusts whom: AWS, Google and Entra each trust the function
// of the other two clouds, and nobody else.
func (s *Stage) trust() {
	svc := &s.services
	outbound := &sts.Outbound{Issuer: awsIssuer, RS256: jwtauth.NewSigner("RS256"), ES384: jwtauth.NewSigner("ES384")}
	issuers := func(issuer string) (jose.JSONWebKeySet, bool) {
		switch issuer {
		case awsIssuer:
			return outbound.KeySet(), true
		case googlests.Issuer:
			return svc.accounts.gateway.metadata.KeySet(), true
		case managedid.Issuer:
			return svc.accounts.gateway.managed.KeySet(), true
		}
		return jose.JSONWebKeySet{}, false
	}
	issuer := func(url string) oauth.Issuer {
		return oauth.Issuer{URL: url, Keys: func() (jose.JSONWebKeySet, error) { keys, _ := issuers(url); return keys, nil }}
	}
	svc.federation.vendors(map[string]oauth.Federated{
		AWS:   {Issuer: issuer(awsIssuer), Subject: functionRole},
		GCP:   {Issuer: issuer(googlests.Issuer), Subject: svc.accounts.gateway.metadata.Subject()},
		Azure: {Issuer: issuer(managedid.Issuer), Subject: objectID},
	})
	svc.federation.sts = sts.NewWith(sts.Options{
		Keys: svc.accounts.gateway.creds.Lookup, Region: Region, Issuers: issuers, Outbound: outbound,
		Roles: []sts.Role{{ARN: federatedRole, Trust: []sts.Trust{
			{Federated: googlests.Issuer, OriginalAudience: "sts.amazonaws.com", Subject: svc.accounts.gateway.metadata.Subject()},
			{Federated: managedid.Issuer, Audience: entraAudience, Subject: objectID},
		}}},
	})
	svc.federation.google = googlests.New(googlests.Options{
		Keys: svc.federation.sts.Lookup, Issuers: issuers,
		Providers: map[string]googlests.Provider{
			pool + AWS:   {AWS: "123456789012"},
			pool + Azure: {Issuer: managedid.Issuer, Audiences: []string{entraAudience}, Condition: func(subject string) bool { return subject == objectID }},
		},
	})
	svc.federation.entra = entra.New(entra.Options{
		Tenant: managedid.Tenant, Issuers: issuers, Resources: []string{azureResource},
		Apps: []entra.App{{ClientID: appID, ObjectID: "55555555-6666-4777-8888-999999999999", Federated: []entra.Federated{
			{Issuer: awsIssuer, Subject: functionRole, Audience: entraAudience},
			{Issuer: googlests.Issuer, Subject: svc.accounts.gateway.metadata.Subject(), Audience: entraAudience},
		}}},
	})
}

// vendors has OpenAI and Anthropic trust the functions of all clouds.
func (f *federation) vendors(subjects map[string]oauth.Federated) {
	var providers []tokenexchange.Provider
	var rules []tokenexchange.Rule
	for cloud, who := range subjects {
		audiences := map[string]string{"openai": "https://api.openai.com/v1", "anthropic": "https://api.anthropic.com"}
		if cloud == Azure {
			audiences = map[string]string{"openai": entraAudience, "anthropic": entraAudience}
		}
		providers = append(providers, tokenexchange.Provider{
			ID: "idp_" + cloud, Issuer: who.Issuer, Audience: audiences["openai"],
			Mappings: []tokenexchange.Mapping{{Subject: who.Subject, ServiceAccountID: vendorAccount}},
		})
		rules = append(rules, tokenexchange.Rule{
			// The token of a managed identity lives for a day.
			ID: "fdrl_" + cloud, Issuer: who.Issuer, SubjectPrefix: who.Subject, Audience: audiences["anthropic"], MaxLifetime: 25 * time.Hour,
			OrganizationID: appID, ServiceAccountID: vendorAccount,
		})
	}
	f.openAI, f.anthropic = tokenexchange.NewOpenAI(providers...), tokenexchange.NewAnthropic(rules...)
}

// anthropicCaller finds whom a token stands for at Anthropic.
func (s *services) anthropicCaller(token string) (string, bool) {
	account, ok := s.federation.anthropic.Account(token)
	return account.ServiceAccountID, ok
}

// anthropicAPI has the token endpoint on the host of the API, where it is.
func (s *Stage) anthropicAPI() http.Handler {
	api := fakeanthropic.New(fakeanthropic.Options{
		Brain: s.o.Brain, Authorize: s.services.anthropicCaller,
		Called: func(c fakeanthropic.Call) { s.note(Call{Service: anthropic, Model: c.Model, Signer: c.Principal}) },
	})
	mux := http.NewServeMux()
	mux.Handle("/", api)
	mux.Handle(tokenexchange.AnthropicPath, s.services.federation.anthropic)
	return mux
}

// vertexCaller finds whom a token stands for at Vertex AI.
func (s *services) vertexCaller(token string) (string, bool) {
	if grant, ok := s.federation.google.Grant(token); ok && s.federation.google.Valid(token) {
		return grant.Member, true
	}
	return serviceAccount, s.accounts.gateway.metadata.Valid(token)
}

// azureCaller finds whom a token stands for at Azure OpenAI.
func (s *services) azureCaller(token string) (string, bool) {
	if s.federation.entra.Valid(token, azureResource) {
		return appID, true
	}
	return clientID, s.accounts.gateway.managed.Valid(token, azureResource)
}

// elsewhere are the upstreams of the other clouds' model services, and of the
// vendors of models, which a function calls by its own platform's identity alone.
func (s *Stage) elsewhere(cloud string) string {
	upstreams := map[string]string{
		AWS: fmt.Sprintf(`  - provider: bedrock
    aws_region: %s
    aws_roles:
      - {role_arn: %s, session_name: from-%s}
    models:
      - {name: %s, model: eu.anthropic.claude-sonnet-4-5-20250929-v1:0}
`, Region, federatedRole, cloud, Model(AWS)),
		GCP: fmt.Sprintf(`  - provider: vertex
    project_id: %s
    location_id: %s
    gcp_workload_identity_provider: %s
    models:
      - {name: %s, model: gemini-2.5-flash}
`, Project, Location, pool+cloud, Model(GCP)),
		Azure: fmt.Sprintf(`  - provider: azure-openai
    auth_type: azure_ad
    base_url: %s
    azure_tenant_id: %s
    azure_client_id: %s
    models: [%s]
`, s.services.url(azureOpenAI), managedid.Tenant, appID, Model(Azure)),
	}
	text := ""
	for _, other := range Clouds() {
		if other != cloud {
			text += upstreams[other]
		}
	}
	return text + fmt.Sprintf(`  - provider: openai
    name: openai-keyless
    base_url: %s/v1
    token_endpoint: %s
    identity_provider_id: idp_%s
    service_account_id: %s
    models: [%s]
  - provider: anthropic
    base_url: %s
    token_endpoint: %s
    federation_rule_id: fdrl_%s
    organization_id: %s
    service_account_id: %s
    models: [%s]
`, s.services.url(openAI), s.services.url(openAITokens)+tokenexchange.OpenAIPath, cloud, vendorAccount, openAIModel,
		s.services.url(anthropic), s.services.url(anthropic)+tokenexchange.AnthropicPath, cloud, appID, vendorAccount, anthropicModel)
}

// elsewhereEnv is where the stand-ins of the other clouds are.
func (s *Stage) elsewhereEnv() map[string]string {
	return map[string]string{
		"AWS_ENDPOINT_URL_BEDROCK_RUNTIME":    s.services.url(bedrock),
		"AWS_ENDPOINT_URL_STS":                s.services.url("STS"),
		"GOOGLE_VERTEX_BASE_URL":              s.services.url(vertex),
		"CLOUDSDK_API_ENDPOINT_OVERRIDES_STS": s.services.url(googleSTS),
		"AZURE_AUTHORITY_HOST":                s.services.url(microsoftEntra),
		"SSL_CERT_FILE":                       s.services.federation.roots,
	}
}

// serveTLS opens stand-ins, each on a port of its own, under a certificate that
// the functions are told to trust: the clients of these accept nothing else.
func (s *Stage) serveTLS(list ...service) error {
	certificate, err := selfSigned()
	if err != nil {
		return fmt.Errorf("make a certificate: %w", err)
	}
	dir, err := os.MkdirTemp("", "postern-roots")
	if err != nil {
		return err
	}
	s.onClose(func() { _ = os.RemoveAll(dir) })
	svc := &s.services
	svc.federation.roots = filepath.Join(dir, "roots.pem")
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate.Certificate[0]})
	if err := os.WriteFile(svc.federation.roots, text, 0o600); err != nil {
		return err
	}
	for _, one := range list {
		l, err := s.listen(len(svc.list) + firstService)
		if err != nil {
			return err
		}
		one.url = "https://" + l.Addr().String()
		svc.list = append(svc.list, &one)
		server := &http.Server{
			Handler: one.handler, ReadHeaderTimeout: 10 * time.Second, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError),
			TLSConfig: &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12},
		}
		s.onClose(func() { _ = server.Close() })
		go func() { _ = server.ServeTLS(l, "", "") }()
	}
	return nil
}

func selfSigned() (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "postern local run"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(30 * 24 * time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}
