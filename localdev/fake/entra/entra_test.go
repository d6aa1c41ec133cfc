package entra_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"maps"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/go-jose/go-jose/v4"
	"github.com/postern-ai/postern/localdev/fake/entra"
	"github.com/postern-ai/postern/localdev/fake/fault"
	"github.com/postern-ai/postern/localdev/fake/jwtauth"
)

const (
	tenant   = "11111111-2222-4333-8444-555555555555"
	client   = "aaaaaaaa-0000-4000-8000-000000000001"
	resource = "https://cognitiveservices.azure.com"
	aws      = "https://00000000-1111-4222-8333-444444444444.tokens.sts.global.api.aws"
	role     = "arn:aws:iam::123456789012:role/postern-gateway"
	exchange = "api://AzureADTokenExchange"

	managed    = "https://login.microsoftonline.com/" + tenant + "/v2.0"
	exchangeID = "fb60f99c-7a34-4190-8149-302f77469936"
)

var (
	awsKey    = jwtauth.NewSigner("RS256")
	entraKey  = jwtauth.NewSigner("RS256")
	strangeEC = jwtauth.NewSigner("ES384")
	signing   = sync.OnceValue(func() *rsa.PrivateKey { return must(rsa.GenerateKey(rand.Reader, 2048)) })
	authority = sync.OnceValue(func() *ecdsa.PrivateKey { return must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)) })
)

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

// root and leaf make certificates that are valid around a moment.
func root(now time.Time) *x509.Certificate {
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "root"}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(48 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	return must(x509.ParseCertificate(must(x509.CreateCertificate(rand.Reader, template, template, authority().Public(), authority()))))
}

func leaf(now time.Time, name string) *x509.Certificate {
	template := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour)}
	return must(x509.ParseCertificate(must(x509.CreateCertificate(rand.Reader, template, root(now), signing().Public(), authority()))))
}

func options(now time.Time) entra.Options {
	roots := x509.NewCertPool()
	roots.AddCert(root(now))
	return entra.Options{
		Tenant: tenant, Issuers: jwtauth.Issuers(map[string]*jwtauth.Signer{aws: awsKey, "https://sts.windows.net/" + tenant + "/": entraKey, managed: entraKey}),
		Resources: []string{resource, "api://own"},
		Apps: []entra.App{
			{ClientID: client, ObjectID: "object", Secrets: map[string]time.Time{"good": {}, "old": now}, Certificates: []*x509.Certificate{leaf(now, "registered")},
				Federated: []entra.Federated{{Issuer: aws, Subject: role, Audience: exchange}, {Issuer: managed, Subject: "managed", Audience: exchange}}},
			{ClientID: "by-name", Roots: roots, SubjectName: "gateway.example"},
		},
	}
}

// direct is a transport to a handler without a socket, so that time can be a test's own.
type direct struct{ handler http.Handler }

func (d direct) Do(request *http.Request) (*http.Response, error) {
	received := request.Clone(request.Context())
	if received.Body == nil {
		received.Body = http.NoBody
	}
	received.Host = received.URL.Host
	recorder := httptest.NewRecorder()
	d.handler.ServeHTTP(recorder, received)
	response := recorder.Result()
	response.Request = request
	return response, nil
}

func settings(server http.Handler) azcore.ClientOptions {
	return azcore.ClientOptions{Transport: direct{server}, Retry: policy.RetryOptions{MaxRetries: -1}, Cloud: cloud.AzurePublic}
}

func assertion(t *testing.T, signer *jwtauth.Signer, change map[string]any) string {
	t.Helper()
	claims := map[string]any{"iss": aws, "sub": role, "aud": exchange, "iat": time.Now().Unix(), "exp": time.Now().Add(5 * time.Minute).Unix()}
	maps.Copy(claims, change)
	return must(signer.Sign(claims))
}

func TestTheOfficialClientsGetTokensAndLearnWhyNot(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		now := time.Now()
		server := entra.New(options(now))
		secret := func(tenant, client, secret string) (azcore.TokenCredential, error) {
			return azidentity.NewClientSecretCredential(tenant, client, secret, &azidentity.ClientSecretCredentialOptions{ClientOptions: settings(server)})
		}
		cert := func(client string, chain bool, key crypto.PrivateKey, certs ...*x509.Certificate) (azcore.TokenCredential, error) {
			return azidentity.NewClientCertificateCredential(tenant, client, certs, key, &azidentity.ClientCertificateCredentialOptions{ClientOptions: settings(server), SendCertificateChain: chain})
		}
		federated := func(text string) (azcore.TokenCredential, error) {
			return azidentity.NewClientAssertionCredential(tenant, client, func(context.Context) (string, error) { return text, nil },
				&azidentity.ClientAssertionCredentialOptions{ClientOptions: settings(server)})
		}
		jwt := func(change map[string]any) func() (azcore.TokenCredential, error) {
			return func() (azcore.TokenCredential, error) { return federated(assertion(t, awsKey, change)) }
		}
		tests := []struct {
			name  string
			make  func() (azcore.TokenCredential, error)
			scope string
			want  string
		}{
			{"a secret", func() (azcore.TokenCredential, error) { return secret(tenant, client, "good") }, "", ""},
			{"a wrong secret", func() (azcore.TokenCredential, error) { return secret(tenant, client, "bad") }, "", "AADSTS7000215"},
			{"an expired secret", func() (azcore.TokenCredential, error) { return secret(tenant, client, "old") }, "", "AADSTS7000222"},
			{"an unknown app", func() (azcore.TokenCredential, error) { return secret(tenant, "other", "good") }, "", "AADSTS700016"},
			{"an unknown directory", func() (azcore.TokenCredential, error) {
				return secret("99999999-2222-4333-8444-555555555555", client, "good")
			}, "", "AADSTS90002"},
			{"another resource", func() (azcore.TokenCredential, error) { return secret(tenant, client, "good") }, "api://own/.default", ""},
			{"an unknown resource", func() (azcore.TokenCredential, error) { return secret(tenant, client, "good") }, "https://vault.azure.net/.default", "AADSTS500011"},
			{"a scope for people", func() (azcore.TokenCredential, error) { return secret(tenant, client, "good") }, resource + "/user_impersonation", "AADSTS1002012"},
			{"a certificate", func() (azcore.TokenCredential, error) { return cert(client, false, signing(), leaf(now, "registered")) }, "", "AADSTS700027"},
			{"a certificate by its name", func() (azcore.TokenCredential, error) {
				return cert("by-name", true, signing(), leaf(now, "gateway.example"))
			}, "", ""},
			{"a certificate without its chain", func() (azcore.TokenCredential, error) {
				return cert("by-name", false, signing(), leaf(now, "gateway.example"))
			}, "", "AADSTS700027"},
			{"a certificate with another name", func() (azcore.TokenCredential, error) {
				return cert("by-name", true, signing(), leaf(now, "other.example"))
			}, "", "AADSTS700027"},
			{"a federated credential", jwt(nil), "", ""},
			{"another subject", jwt(map[string]any{"sub": role + "s"}), "", "AADSTS700213"},
			{"a subject in another case", jwt(map[string]any{"sub": strings.ToUpper(role)}), "", "AADSTS700213"},
			{"another audience", jwt(map[string]any{"aud": "api://other"}), "", "AADSTS700212"},
			{"two audiences", jwt(map[string]any{"aud": []string{exchange, "other"}}), "", "AADSTS50027"},
			{"another issuer", jwt(map[string]any{"iss": "https://evil.example"}), "", "AADSTS700211"},
			{"an assertion that has expired", jwt(map[string]any{"exp": time.Now().Unix()}), "", "AADSTS700024"},
			{"an assertion of Entra itself", func() (azcore.TokenCredential, error) {
				return federated(assertion(t, entraKey, map[string]any{"iss": "https://sts.windows.net/" + tenant + "/"}))
			}, "", "AADSTS700222"},
			{"an assertion of a managed identity", func() (azcore.TokenCredential, error) {
				return federated(assertion(t, entraKey, map[string]any{"iss": managed, "sub": "managed", "aud": exchangeID, "idtyp": "app"}))
			}, "", ""},
			{"an assertion of another managed identity", func() (azcore.TokenCredential, error) {
				return federated(assertion(t, entraKey, map[string]any{"iss": managed, "sub": "other", "aud": exchangeID, "idtyp": "app"}))
			}, "", "AADSTS700213"},
			{"an assertion of a managed identity that is for something else", func() (azcore.TokenCredential, error) {
				return federated(assertion(t, entraKey, map[string]any{"iss": managed, "sub": "managed", "aud": "other", "idtyp": "app"}))
			}, "", "AADSTS700222"},
			{"an assertion with the key of another issuer", func() (azcore.TokenCredential, error) { return federated(assertion(t, entraKey, nil)) }, "", "AADSTS5001257"},
			{"an assertion with an algorithm that is not taken", func() (azcore.TokenCredential, error) { return federated(assertion(t, strangeEC, nil)) }, "", "AADSTS50027"},
			{"an assertion that is none", func() (azcore.TokenCredential, error) { return federated("x") }, "", "AADSTS50027"},
		}
		for _, test := range tests {
			if test.scope == "" {
				test.scope = resource + "/.default"
			}
			credential, err := test.make()
			if err != nil {
				t.Fatalf("%s: %v", test.name, err)
			}
			got, err := credential.GetToken(t.Context(), policy.TokenRequestOptions{Scopes: []string{test.scope}})
			if test.want != "" {
				if err == nil || !strings.Contains(err.Error(), test.want) {
					t.Errorf("%s: got %v, want %s", test.name, err, test.want)
				}
				continue
			}
			if err != nil || !server.Valid(got.Token, strings.TrimSuffix(test.scope, "/.default")) || server.Valid(got.Token, "https://other") || time.Until(got.ExpiresOn) != time.Hour {
				t.Errorf("%s: got a token until %v and error %v", test.name, got.ExpiresOn, err)
			}
		}
	})
}

func TestARegisteredCertificateIsKnownByItsThumbprint(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		now := time.Now()
		known := leaf(now, "registered")
		o := options(now)
		o.Apps[0].Certificates = []*x509.Certificate{known}
		server := entra.New(o)
		credential, err := azidentity.NewClientCertificateCredential(tenant, client, []*x509.Certificate{known}, signing(), &azidentity.ClientCertificateCredentialOptions{ClientOptions: settings(server)})
		if err != nil {
			t.Fatal(err)
		}
		got, err := credential.GetToken(t.Context(), policy.TokenRequestOptions{Scopes: []string{resource + "/.default"}})
		if err != nil {
			t.Fatal(err)
		}
		claims, err := jwtauth.Verify(got.Token, func(string) (jose.JSONWebKeySet, bool) { return keys(t, server), true }, jose.RS256)
		if err != nil || claims.Audience[0] != resource || claims.Text("appid") != client {
			t.Errorf("got %+v and error %v", claims, err)
		}
		server.Revoke(got.Token)
		if server.Valid(got.Token, resource) {
			t.Error("a revoked token is valid")
		}
		time.Sleep(25 * time.Hour)
		if _, err := credential.GetToken(t.Context(), policy.TokenRequestOptions{Scopes: []string{resource + "/.default"}}); err == nil || !strings.Contains(err.Error(), "AADSTS1000502") {
			t.Errorf("an expired certificate: got %v", err)
		}
	})
}

func keys(t *testing.T, server http.Handler) jose.JSONWebKeySet {
	t.Helper()
	recorder := httptest.NewRecorder()
	server.ServeHTTP(recorder, httptest.NewRequest(http.MethodGet, "/"+tenant+"/discovery/v2.0/keys", nil))
	var set jose.JSONWebKeySet
	if err := json.Unmarshal(recorder.Body.Bytes(), &set); err != nil {
		t.Fatal(err)
	}
	return set
}

func TestRequestsThatNoClientSendsAreRefused(t *testing.T) {
	t.Parallel()
	server := entra.New(options(time.Now()))
	good := func() url.Values {
		return url.Values{"grant_type": {"client_credentials"}, "client_id": {client}, "client_secret": {"good"}, "scope": {resource + "/.default"}}
	}
	for name, test := range map[string]struct {
		change func(url.Values)
		status int
		code   string
	}{
		"a good request":       {func(url.Values) {}, 200, ""},
		"another grant":        {func(f url.Values) { f.Set("grant_type", "password") }, 400, "unsupported_grant_type"},
		"a misspelt parameter": {func(f url.Values) { f.Set("resource", resource) }, 400, "invalid_request"},
		"a parameter twice":    {func(f url.Values) { f.Add("scope", resource) }, 400, "invalid_request"},
		"two resources":        {func(f url.Values) { f.Set("scope", resource+"/.default api://own/.default") }, 400, "invalid_scope"},
		"nothing to show":      {func(f url.Values) { f.Del("client_secret") }, 401, "invalid_client"},
		"two things to show":   {func(f url.Values) { f.Set("client_assertion", "x") }, 400, "invalid_request"},
	} {
		form := good()
		test.change(form)
		request := httptest.NewRequest(http.MethodPost, "https://login.microsoftonline.com/"+tenant+"/oauth2/v2.0/token", strings.NewReader(form.Encode()))
		request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		recorder := httptest.NewRecorder()
		server.ServeHTTP(recorder, request)
		var got struct {
			Error string `json:"error"`
		}
		if err := json.Unmarshal(recorder.Body.Bytes(), &got); err != nil || recorder.Code != test.status || got.Error != test.code {
			t.Errorf("%s: got %d %s: %v", name, recorder.Code, recorder.Body, err)
		}
	}
	server.Tokens.Set(fault.Fault{Status: 503})
	recorder := httptest.NewRecorder()
	server.ServeHTTP(recorder, httptest.NewRequest(http.MethodPost, "/"+tenant+"/oauth2/v2.0/token", nil))
	if recorder.Code != 503 || server.Tokens.Calls() != 8 || server.Discovery.Calls() != 0 {
		t.Errorf("got %d after %d and %d calls", recorder.Code, server.Tokens.Calls(), server.Discovery.Calls())
	}
}
