package googleid_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/postern-ai/postern/localdev/fake/awscreds"
	"github.com/postern-ai/postern/localdev/fake/managedid"
	"github.com/postern-ai/postern/shared/identity"
	"github.com/postern-ai/postern/shared/identity/googleid"
	"github.com/postern-ai/postern/shared/secrets"
)

func makeKey() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
}

func pkcs8(key any) string {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		panic(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

type fields = map[string]any

func with(base, change fields) fields {
	all := maps.Clone(base)
	for name, value := range change {
		all[name] = value
		if value == nil {
			delete(all, name)
		}
	}
	return all
}

// The files are as Google's own tools write them.
func serviceAccount(change fields) fields {
	return with(fields{
		"type": "service_account", "project_id": "local-project", "private_key_id": "key-1", "private_key": pkcs8(accountKey), "client_email": keyed, "client_id": "1042",
		"auth_uri": "https://accounts.google.com/o/oauth2/auth", "token_uri": "https://oauth2.googleapis.com/token",
		"auth_provider_x509_cert_url": "https://www.googleapis.com/oauth2/v1/certs", "client_x509_cert_url": "https://www.googleapis.com/robot/v1/metadata/x509/x", "universe_domain": "googleapis.com",
	}, change)
}

func authorizedUser(change fields) fields {
	return with(fields{
		"type": "authorized_user", "account": "", "client_id": "client", "client_secret": "canary-secret", "refresh_token": "canary-refresh", "quota_project_id": "local-project", "universe_domain": "googleapis.com",
	}, change)
}

func external(source, change fields) fields {
	return with(fields{
		"type": "external_account", "universe_domain": "googleapis.com", "audience": fromOIDC, "subject_token_type": googleid.JWTType, "token_url": "https://sts.googleapis.com/v1/token", "credential_source": source,
		"token_info_url": "https://sts.googleapis.com/v1/introspect",
	}, change)
}

func awsSource(change fields) fields {
	return with(fields{
		"environment_id": "aws1", "region_url": "http://169.254.169.254/latest/meta-data/placement/availability-zone", "url": "http://169.254.169.254/latest/meta-data/iam/security-credentials",
		"regional_cred_verification_url": "https://sts.{region}.amazonaws.com?Action=GetCallerIdentity&Version=2011-06-15", "imdsv2_session_token_url": "http://169.254.169.254/latest/api/token",
	}, change)
}

func externalAWS(source, change fields) fields {
	return with(external(awsSource(source), fields{"audience": fromAWS, "subject_token_type": "urn:ietf:params:aws:token-type:aws4_request"}), change)
}

func azureSource(change fields) fields {
	return with(fields{
		"url": "http://169.254.169.254/metadata/identity/oauth2/token?api-version=2018-02-01&resource=api%3A%2F%2Fpostern", "headers": fields{"Metadata": "True"},
		"format": fields{"type": "json", "subject_token_field_name": "access_token"},
	}, change)
}

func impersonated(change fields) fields {
	return with(fields{
		"type": "impersonated_service_account", "delegates": []string{}, "source_credentials": authorizedUser(nil),
		"service_account_impersonation_url": "https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/" + target + ":generateAccessToken",
	}, change)
}

func encode(t testing.TB, content fields) secrets.Value {
	t.Helper()
	raw, err := json.Marshal(content)
	if err != nil {
		t.Fatal(err)
	}
	return secrets.NewValue(string(raw))
}

func file(t testing.TB, content fields, change func(*googleid.FileOptions)) *googleid.File {
	t.Helper()
	return fileOf(t, encode(t, content), change)
}

func fileOf(t testing.TB, content secrets.Value, change func(*googleid.FileOptions)) *googleid.File {
	t.Helper()
	options := googleid.FileOptions{Read: func(context.Context) (secrets.Value, error) { return content, nil }}
	if change != nil {
		change(&options)
	}
	got, err := googleid.NewFile(options)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestEachTypeOfFileGetsTokens(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	oidcToken, err := oidc("gateway").Token(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	asJSON, err := json.Marshal(map[string]string{"token": oidcToken.Value.Reveal()})
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{"text": []byte(oidcToken.Value.Reveal() + "\n"), "json": asJSON} {
		if err := os.WriteFile(filepath.Join(folder, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	// Kubernetes makes such links.
	if err := os.Symlink("text", filepath.Join(folder, "link")); err != nil {
		t.Fatal(err)
	}
	platform := awscreds.New(awscreds.Options{})
	server := google(platform)
	pool := "principal:" + pool + "/subject/"
	impersonation := fields{"service_account_impersonation_url": "https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/" + target + ":generateAccessToken"}
	long := fields{"service_account_impersonation_url": "https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/" + middle + ":generateAccessToken", "service_account_impersonation": fields{"token_lifetime_seconds": 7200}}
	pkcs1 := string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(accountKey)}))
	tests := []struct {
		name      string
		content   fields
		change    func(*googleid.FileOptions)
		member    string
		principal identity.Principal
		lifetime  time.Duration
	}{
		{"a service account's key", serviceAccount(nil), nil, "serviceAccount:" + keyed, identity.Principal{Name: keyed, Source: "service account key"}, time.Hour},
		{"a key in the older form", serviceAccount(fields{"private_key": pkcs1}), nil, "serviceAccount:" + keyed, identity.Principal{Name: keyed, Source: "service account key"}, time.Hour},
		{"a key that is followed by its certificate", serviceAccount(fields{"private_key": pkcs8(accountKey) + string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("x")}))}), nil,
			"serviceAccount:" + keyed, identity.Principal{Name: keyed, Source: "service account key"}, time.Hour},
		{"a key without the fields that have no use here", serviceAccount(fields{"auth_uri": nil, "project_id": nil, "universe_domain": nil, "client_id": nil}), nil, "serviceAccount:" + keyed, identity.Principal{Name: keyed, Source: "service account key"}, time.Hour},
		{"a key that signs tokens itself", serviceAccount(nil), func(o *googleid.FileOptions) { o.SelfSigned = true }, "serviceAccount:" + keyed, identity.Principal{Name: keyed, Source: "service account key"}, time.Hour - 10*time.Second},
		{"a person", authorizedUser(nil), nil, "user:alice@example.com", identity.Principal{Name: "a person", Source: "user credentials"}, time.Hour},
		{"a person with a name", authorizedUser(fields{"account": "alice@example.com"}), nil, "user:alice@example.com", identity.Principal{Name: "alice@example.com", Source: "user credentials"}, time.Hour},
		{"federation from a file", external(fields{"file": filepath.Join(folder, "text")}, nil), nil, pool + "gateway", identity.Principal{Name: strings.TrimPrefix(fromOIDC, "//iam.googleapis.com/"), Source: "workload identity federation"}, time.Hour},
		{"federation from a link", external(fields{"file": filepath.Join(folder, "link"), "format": fields{"type": "text"}}, nil), nil, pool + "gateway", identity.Principal{Name: strings.TrimPrefix(fromOIDC, "//iam.googleapis.com/"), Source: "workload identity federation"}, time.Hour},
		{"federation from a file of JSON", external(fields{"file": filepath.Join(folder, "json"), "format": fields{"type": "json", "subject_token_field_name": "token"}}, nil), nil, pool + "gateway", identity.Principal{Name: strings.TrimPrefix(fromOIDC, "//iam.googleapis.com/"), Source: "workload identity federation"}, time.Hour},
		{"federation from AWS", externalAWS(nil, nil), nil, pool + awsARN, identity.Principal{Name: strings.TrimPrefix(fromAWS, "//iam.googleapis.com/"), Source: "workload identity federation"}, time.Hour},
		{"federation and impersonation", externalAWS(nil, impersonation), nil, "serviceAccount:" + target, identity.Principal{Name: target, Source: "workload identity federation, impersonation"}, time.Hour},
		{"federation and a long impersonation", external(fields{"file": filepath.Join(folder, "text")}, long), nil, "serviceAccount:" + middle, identity.Principal{Name: middle, Source: "workload identity federation, impersonation"}, 2 * time.Hour},
		{"impersonation by a person", impersonated(nil), nil, "serviceAccount:" + target, identity.Principal{Name: target, Source: "user credentials, impersonation"}, time.Hour},
		{"impersonation by a service account", impersonated(fields{"source_credentials": serviceAccount(nil)}), nil, "serviceAccount:" + target, identity.Principal{Name: target, Source: "service account key, impersonation"}, time.Hour},
		{"impersonation by a federated identity with a delegate", impersonated(fields{"source_credentials": external(fields{"file": filepath.Join(folder, "text")}, nil), "delegates": []string{"projects/-/serviceAccounts/" + middle}}), nil,
			"serviceAccount:" + target, identity.Principal{Name: target, Source: "workload identity federation, impersonation"}, time.Hour},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			source := file(t, test.content, func(o *googleid.FileOptions) {
				o.Services, o.TokenFolders, o.AWS, o.AWSRegion = at(server), []string{folder}, &signer{platform: platform}, "eu-central-1"
				if test.change != nil {
					test.change(o)
				}
			})
			described, err := source.Describe(t.Context())
			if err != nil || described.Type != test.content["type"] || described.Name == "" {
				t.Errorf("described as %+v: %v", described, err)
			}
			token, err := source.Token(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			grant, _ := server.Grant(token.Value.Reveal())
			if grant.Member != test.member || token.Principal != test.principal || !server.Valid(token.Value.Reveal()) {
				t.Errorf("got %+v as %+v, want %s", grant, token.Principal, test.member)
			}
			if left := time.Until(token.Expires); left > test.lifetime || left < test.lifetime-time.Minute {
				t.Errorf("valid for %v", left)
			}
		})
	}
}

func TestAConfigurationForAzureUsesTheFunctionsManagedIdentity(t *testing.T) {
	t.Parallel()
	server := google(awscreds.New(awscreds.Options{}))
	var asked string
	source := file(t, external(azureSource(nil), nil), func(o *googleid.FileOptions) {
		o.Services, o.MetadataHTTP = at(server), &http.Client{Transport: wire{http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the metadata service was asked") })}}
		o.Azure = func(resource string) identity.TokenSource {
			asked = resource
			return oidc("gateway")
		}
	})
	if token, err := source.Token(t.Context()); err != nil || !server.Valid(token.Value.Reveal()) || asked != "api://postern" {
		t.Errorf("asked for %q: %v", asked, err)
	}
}

func TestAConfigurationForAzureAsksTheMetadataServiceOfAVirtualMachine(t *testing.T) {
	t.Parallel()
	server := google(awscreds.New(awscreds.Options{}))
	managed := managedid.New(managedid.Options{Secret: "x", System: managedid.Identity{ClientID: "c", ObjectID: "o"}})
	status := http.StatusOK
	instance := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Host != "169.254.169.254" || r.Header.Get("Metadata") != "true" || r.URL.Query().Get("resource") != "api://postern" {
			t.Errorf("asked %s with %v", r.URL, r.Header)
		}
		if status != http.StatusOK {
			w.WriteHeader(status)
			return
		}
		// App Service's endpoint answers as the metadata service does.
		r.Header.Set("X-IDENTITY-HEADER", "x")
		r.URL.RawQuery = "api-version=2019-08-01&resource=api://postern"
		managed.ServeHTTP(w, r)
	})
	source := file(t, external(azureSource(nil), nil), func(o *googleid.FileOptions) {
		o.Services, o.MetadataHTTP = at(server), &http.Client{Transport: wire{instance}}
	})
	// Google does not know the issuer; that it was asked about it is enough.
	_, err := source.Token(t.Context())
	wantFailure(t, err, `issuer "`+managedid.Issuer+`"`, false)
	status = http.StatusServiceUnavailable
	_, err = source.Token(t.Context())
	wantFailure(t, err, "metadata service answered with status 503", true)
}

// TestAFileThatCouldSendSecretsElsewhereIsRefusedBeforeAnythingIsSent has a row for each rule.
func TestAFileThatCouldSendSecretsElsewhereIsRefusedBeforeAnythingIsSent(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	inFolder := fields{"file": filepath.Join(folder, "token")}
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	short, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	const evil = "https://evil.example/canary"
	const impersonation = "https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/"
	tests := []struct {
		name    string
		content fields
		want    string
	}{
		{"no type", fields{}, "type must be one of service_account, authorized_user, external_account, impersonated_service_account"},
		{"another type", fields{"type": "gdch_service_account"}, "type must be one of"},
		{"a type in another case", serviceAccount(fields{"type": "Service_Account"}), "type must be one of"},

		{"a key with a field that it does not have", serviceAccount(fields{"canary": "x"}), "it has a field that its type does not have"},
		{"a key with a token_uri elsewhere", serviceAccount(fields{"token_uri": evil}), "token_uri must be https://oauth2.googleapis.com/token"},
		{"a key with a token_uri in the clear", serviceAccount(fields{"token_uri": "http://oauth2.googleapis.com/token"}), "token_uri must be"},
		{"a key with a token_uri at a host that begins alike", serviceAccount(fields{"token_uri": "https://oauth2.googleapis.com.evil.example/token"}), "token_uri must be"},
		{"a key without a token_uri", serviceAccount(fields{"token_uri": nil}), "token_uri must be"},
		{"a key of another universe", serviceAccount(fields{"universe_domain": "canary.example"}), "universe_domain is not googleapis.com"},
		{"a key without an account", serviceAccount(fields{"client_email": nil}), "client_email is not"},
		{"a key of something else", serviceAccount(fields{"client_email": "canary/../x@y.z"}), "client_email is not"},
		{"a key without its id", serviceAccount(fields{"private_key_id": nil}), "private_key_id is missing"},
		{"a key that is not one", serviceAccount(fields{"private_key": "canary"}), "private_key is not a PEM block"},
		{"a key of another kind", serviceAccount(fields{"private_key": pkcs8(ec)}), "private_key is not an RSA key"},
		{"a key that is too short", serviceAccount(fields{"private_key": pkcs8(short)}), "private_key is not an RSA key of at least 2048 bits"},
		{"a certificate in place of a key", serviceAccount(fields{"private_key": "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"}), "private_key is not an RSA key"},
		{"a number in place of a text", serviceAccount(fields{"client_email": 1}), "one of the wrong kind"},

		{"a person with a token_uri elsewhere", authorizedUser(fields{"token_uri": evil}), "token_uri must be"},
		{"a person without a refresh token", authorizedUser(fields{"refresh_token": nil}), "refresh_token is missing"},
		{"a person without a client", authorizedUser(fields{"client_id": nil}), "client_id is missing"},
		{"a person without a client's secret", authorizedUser(fields{"client_secret": nil}), "client_secret is missing"},
		{"a person whose project is a header", authorizedUser(fields{"quota_project_id": "canary\r\nX-Evil: 1"}), "quota_project_id is not"},
		{"a person with an unknown field", authorizedUser(fields{"token_url": evil}), "it has a field that its type does not have"},

		{"federation with a token_url elsewhere", external(inFolder, fields{"token_url": evil}), "token_url must be https://sts.googleapis.com/v1/token"},
		{"federation with a token_url in the clear", external(inFolder, fields{"token_url": "http://sts.googleapis.com/v1/token"}), "token_url must be"},
		{"federation with a token_url on this machine", external(inFolder, fields{"token_url": "http://127.0.0.1:9/evil"}), "token_url must be"},
		{"federation with a token_url that has a user", external(inFolder, fields{"token_url": "https://sts.googleapis.com@evil.example/v1/token"}), "token_url must be"},
		{"federation with a token_url for certificates", external(inFolder, fields{"token_url": "https://sts.mtls.googleapis.com/v1/token"}), "token_url must be"},
		{"federation with an impersonation elsewhere", external(inFolder, fields{"service_account_impersonation_url": evil}), "service_account_impersonation_url must be"},
		{"federation with an impersonation under a project", external(inFolder, fields{"service_account_impersonation_url": strings.Replace(impersonation, "/-/", "/p/", 1) + target + ":generateAccessToken"}), "service_account_impersonation_url must be"},
		{"federation with another method", external(inFolder, fields{"service_account_impersonation_url": impersonation + target + ":signBlob"}), "service_account_impersonation_url must be"},
		{"federation with a method after another", external(inFolder, fields{"service_account_impersonation_url": impersonation + target + ":signBlob:generateAccessToken"}), "service_account_impersonation_url must be"},
		{"federation with a path for an account", external(inFolder, fields{"service_account_impersonation_url": impersonation + "../x@y.z:generateAccessToken"}), "service_account_impersonation_url must be"},
		{"federation with a lifetime of nothing", external(inFolder, fields{"service_account_impersonation": fields{"token_lifetime_seconds": 600}}), "service_account_impersonation has no effect"},
		{"federation with a lifetime that is too long", external(inFolder, fields{"service_account_impersonation_url": impersonation + target + ":generateAccessToken", "service_account_impersonation": fields{"token_lifetime_seconds": 43201}}), "must be from 600 to 43200"},
		{"federation with an audience elsewhere", external(inFolder, fields{"audience": evil}), "audience must be a provider"},
		{"federation for people", external(inFolder, fields{"audience": "//iam.googleapis.com/locations/global/workforcePools/p/providers/x"}), "audience must be a provider"},
		{"federation with an unknown field", external(inFolder, fields{"workforce_pool_user_project": "canary"}), "it has a field that its type does not have"},
		{"federation of another universe", external(inFolder, fields{"universe_domain": "canary.example"}), "universe_domain is not"},
		{"federation with another type of token", external(inFolder, fields{"subject_token_type": "urn:ietf:params:oauth:token-type:saml2"}), "subject_token_type must be"},
		{"a program", external(fields{"executable": fields{"command": "/bin/canary"}}, nil), "credential_source.executable is not accepted"},
		{"a certificate", external(fields{"certificate": fields{"use_default_certificate_config": true}}, nil), "credential_source.certificate is not accepted"},
		{"no source", external(fields{}, nil), "credential_source must name exactly one"},
		{"a file and a URL", external(with(azureSource(nil), inFolder), nil), "credential_source must name exactly one"},
		{"AWS and a file", externalAWS(inFolder, nil), "credential_source must name exactly one"},
		{"an unknown source", external(fields{"file": filepath.Join(folder, "token"), "canary": 1}, nil), "it has a field that its type does not have"},
		{"a file elsewhere", external(fields{"file": "/etc/hostname"}, nil), "credential_source.file must be a file in"},
		{"a file that leads elsewhere", external(fields{"file": folder + "/../../etc/hostname"}, nil), "credential_source.file must be a file in"},
		{"a file in a folder that begins alike", external(fields{"file": folder + "-canary/token"}, nil), "credential_source.file must be a file in"},
		{"a file that is not absolute", external(fields{"file": "canary"}, nil), "credential_source.file must be a file in"},
		{"the folder itself", external(fields{"file": folder + "/"}, nil), "credential_source.file must be a file in"},
		{"a file with headers", external(with(inFolder, fields{"headers": fields{"canary": "x"}}), nil), "credential_source.headers has no effect"},
		{"a file with addresses of AWS", external(with(inFolder, fields{"region_url": evil}), nil), "fields of AWS without environment_id"},
		{"a file of another format", external(with(inFolder, fields{"format": fields{"type": "xml"}}), nil), "credential_source.format must be"},
		{"a file of JSON without a field", external(with(inFolder, fields{"format": fields{"type": "json"}}), nil), "credential_source.format must be"},
		{"a file of text with a field", external(with(inFolder, fields{"format": fields{"type": "text", "subject_token_field_name": "canary"}}), nil), "credential_source.format must be"},
		{"a URL elsewhere", external(azureSource(fields{"url": evil + "?resource=api://x"}), nil), "credential_source.url must be Azure's"},
		{"a URL of another service at the same address", external(azureSource(fields{"url": "http://169.254.169.254/computeMetadata/v1/instance/service-accounts/default/token"}), nil), "credential_source.url must be Azure's"},
		{"a URL on another port", external(azureSource(fields{"url": "http://169.254.169.254:8080/metadata/identity/oauth2/token?resource=api://x"}), nil), "credential_source.url must be Azure's"},
		{"a URL with a user", external(azureSource(fields{"url": "http://canary@169.254.169.254/metadata/identity/oauth2/token?resource=api://x"}), nil), "credential_source.url must be Azure's"},
		{"a URL without a resource", external(azureSource(fields{"url": "http://169.254.169.254/metadata/identity/oauth2/token?api-version=2018-02-01"}), nil), "must name the resource"},
		{"a URL with another parameter", external(azureSource(fields{"url": "http://169.254.169.254/metadata/identity/oauth2/token?resource=api://x&canary=1"}), nil), "api-version and resource and no others"},
		{"the header of Google's metadata server", external(azureSource(fields{"headers": fields{"Metadata-Flavor": "Google"}}), nil), "credential_source.headers must be Metadata: True"},
		{"another header", external(azureSource(fields{"headers": fields{"Metadata": "True", "Authorization": "canary"}}), nil), "credential_source.headers must be Metadata: True"},
		{"a URL of text", external(azureSource(fields{"format": nil}), nil), "credential_source.format must be"},
		{"AWS of another version", externalAWS(fields{"environment_id": "aws2"}, nil), "credential_source.environment_id must be aws1"},
		{"AWS with credentials from elsewhere", externalAWS(fields{"url": evil}, nil), "credential_source.url must be the one of AWS"},
		{"AWS with a region from elsewhere", externalAWS(fields{"region_url": evil}, nil), "credential_source.region_url must be the one of AWS"},
		{"AWS with a session from elsewhere", externalAWS(fields{"imdsv2_session_token_url": evil}, nil), "credential_source.imdsv2_session_token_url must be the one of AWS"},
		{"AWS with an STS elsewhere", externalAWS(fields{"regional_cred_verification_url": evil}, nil), "credential_source.regional_cred_verification_url must be the one of AWS"},
		{"AWS with an STS that begins alike", externalAWS(fields{"regional_cred_verification_url": "https://sts.{region}.amazonaws.com.evil.example?Action=GetCallerIdentity&Version=2011-06-15"}, nil), "credential_source.regional_cred_verification_url must be the one of AWS"},
		{"AWS without an STS", externalAWS(fields{"regional_cred_verification_url": nil}, nil), "credential_source.regional_cred_verification_url must be the one of AWS"},
		{"AWS with headers", externalAWS(fields{"headers": fields{"canary": "x"}}, nil), "have no effect for AWS"},
		{"AWS with a signed token", externalAWS(nil, fields{"subject_token_type": googleid.JWTType}), "subject_token_type must be urn:ietf:params:aws"},

		{"an impersonation elsewhere", impersonated(fields{"service_account_impersonation_url": evil}), "service_account_impersonation_url must be"},
		{"an impersonation by nobody", impersonated(fields{"source_credentials": nil}), "source_credentials must be a credential of type"},
		{"an impersonation by a text", impersonated(fields{"source_credentials": "canary"}), "source_credentials must be a credential of type"},
		{"an impersonation by an impersonation", impersonated(fields{"source_credentials": impersonated(nil)}), "type impersonated_service_account is not accepted here"},
		{"an impersonation by a configuration that sends secrets elsewhere", impersonated(fields{"source_credentials": external(inFolder, fields{"token_url": evil})}), "token_url must be"},
		{"an impersonation by a program", impersonated(fields{"source_credentials": external(fields{"executable": fields{"command": "canary"}}, nil)}), "credential_source.executable is not accepted"},
		{"an impersonation with a delegate that is a path", impersonated(fields{"delegates": []string{"projects/-/serviceAccounts/../canary"}}), "delegates must be"},
		{"an impersonation for a scope that is none", impersonated(fields{"scopes": []string{"canary scope"}}), "scopes holds one"},
		{"an impersonation with an unknown field", impersonated(fields{"canary": 1}), "it has a field that its type does not have"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			nobody := &http.Client{Transport: wire{http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { t.Errorf("a request went to %s", r.URL) })}}
			source := file(t, test.content, func(o *googleid.FileOptions) {
				o.HTTP, o.MetadataHTTP, o.TokenFolders, o.AWS, o.AWSRegion = nobody, nobody, []string{folder}, &signer{}, "eu-central-1"
			})
			_, err := source.Token(t.Context())
			wantFailure(t, err, test.want, false)
			if strings.Contains(err.Error(), "evil") {
				t.Errorf("the error holds a value of the file: %v", err)
			}
			_, err = source.Describe(t.Context())
			wantFailure(t, err, test.want, false)
		})
	}
}

func TestAFileIsOneOfTheTypesThatAreAcceptedAndNoLargerThanThey(t *testing.T) {
	t.Parallel()
	only := func(types ...string) func(*googleid.FileOptions) {
		return func(o *googleid.FileOptions) { o.Types = types }
	}
	for want, source := range map[string]*googleid.File{
		"type authorized_user is not accepted here; it must be service_account":                 file(t, authorizedUser(nil), only(googleid.ServiceAccountFile)),
		"type authorized_user is not accepted here; it must be external_account":                file(t, impersonated(nil), only(googleid.ImpersonatedFile, googleid.ExternalAccountFile)),
		"source_credentials must be a credential of type":                                       file(t, impersonated(nil), only(googleid.ImpersonatedFile)),
		"is for a function on AWS, and this one has no AWS identity":                            file(t, externalAWS(nil, nil), nil),
		"it is larger than 65536 bytes":                                                         file(t, serviceAccount(fields{"project_id": strings.Repeat("x", 1<<16)}), nil),
		"it is not one JSON object with a type":                                                 fileOf(t, secrets.NewValue("canary"), nil),
		"it is not one JSON object with a type: ":                                               fileOf(t, secrets.Value{}, nil),
		"universe_domain is not example-cloud.goog, which is the one that is configured":        file(t, serviceAccount(nil), func(o *googleid.FileOptions) { o.Universe = "example-cloud.goog" }),
		"universe_domain is not example-cloud.goog, which is the one that is configured: twice": file(t, serviceAccount(fields{"universe_domain": nil}), func(o *googleid.FileOptions) { o.Universe = "example-cloud.goog" }),
	} {
		want, _, _ = strings.Cut(want, ": ")
		_, err := source.Token(t.Context())
		wantFailure(t, err, want, false)
	}
	twice := fileOf(t, secrets.NewValue(`{"type":"authorized_user","client_id":"a","client_id":"canary"}`), nil)
	_, err := twice.Token(t.Context())
	wantFailure(t, err, "not one JSON object", false)
	for want, options := range map[string]googleid.FileOptions{
		"place of the credential file":    {},
		`no credential file of type "x"`:  {Types: []string{"x"}, Read: func(context.Context) (secrets.Value, error) { return secrets.Value{}, nil }},
		`scope "x" does not look like`:    {Scopes: []string{"x"}},
		"only be replaced by a server on": {Services: googleid.Services{STS: "https://evil.example"}},
	} {
		if _, err := googleid.NewFile(options); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

func TestAnotherUniverseHasItsOwnHostsAndSignsItsOwnTokens(t *testing.T) {
	t.Parallel()
	universe := func(o *googleid.FileOptions) {
		o.Universe = "example-cloud.goog"
		o.HTTP = &http.Client{Transport: wire{http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { t.Errorf("a request went to %s", r.URL) })}}
	}
	for _, uri := range []any{nil, "https://oauth2.googleapis.com/token", "https://oauth2.example-cloud.goog/token"} {
		token, err := file(t, serviceAccount(fields{"universe_domain": "example-cloud.goog", "token_uri": uri}), universe).Token(t.Context())
		if err != nil || !google(awscreds.New(awscreds.Options{})).Valid(token.Value.Reveal()) {
			t.Errorf("%v: got %v", uri, err)
		}
	}
	_, err := file(t, external(fields{"file": "/var/run/secrets/t"}, fields{"universe_domain": "example-cloud.goog"}), universe).Token(t.Context())
	wantFailure(t, err, "token_url must be https://sts.example-cloud.goog/v1/token", false)
}

func TestScopesAreTheCallersOrElseTheFiles(t *testing.T) {
	t.Parallel()
	server := google(awscreds.New(awscreds.Options{}))
	const pubsub, storage = "https://www.googleapis.com/auth/pubsub", "https://www.googleapis.com/auth/devstorage.read_only"
	scopes := func(content fields, given ...string) string {
		t.Helper()
		token, err := file(t, content, func(o *googleid.FileOptions) { o.Services, o.Scopes = at(server), given }).Token(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		grant, _ := server.Grant(token.Value.Reveal())
		return strings.Join(grant.Scopes, " ")
	}
	if got := scopes(impersonated(fields{"scopes": []string{pubsub}})); got != pubsub {
		t.Errorf("got %s", got)
	}
	if got := scopes(impersonated(fields{"scopes": []string{pubsub}}), storage); got != storage {
		t.Errorf("got %s", got)
	}
	if got := scopes(serviceAccount(nil), storage, pubsub); got != storage+" "+pubsub {
		t.Errorf("got %s", got)
	}
}

func TestTheProjectThatPaysIsOnTheRequest(t *testing.T) {
	t.Parallel()
	server := google(awscreds.New(awscreds.Options{}))
	for _, test := range []struct {
		content fields
		want    string
	}{{authorizedUser(nil), "local-project"}, {authorizedUser(fields{"quota_project_id": nil}), ""}} {
		source := file(t, test.content, func(o *googleid.FileOptions) { o.Services = at(server) })
		request := httptest.NewRequest(http.MethodPost, "https://upstream", nil)
		request.Header.Set("X-Goog-User-Project", "left over")
		authorizer := source.Bearer(identity.NewCache(source, identity.CacheOptions{}))
		if err := authorizer.Authorize(request); err != nil || request.Header.Get("X-Goog-User-Project") != test.want || !server.Valid(strings.TrimPrefix(request.Header.Get("Authorization"), "Bearer ")) {
			t.Errorf("got project %q: %v", request.Header.Get("X-Goog-User-Project"), err)
		}
	}
	broken := file(t, fields{}, nil)
	if err := broken.Bearer(identity.NewCache(broken, identity.CacheOptions{})).Authorize(httptest.NewRequest(http.MethodPost, "https://upstream", nil)); err == nil {
		t.Error("a file that is none authorizes")
	}
}

func TestAFileThatCannotBeReadSaysWhichAndNotWhat(t *testing.T) {
	t.Parallel()
	stored := &secrets.Error{Ref: secrets.Ref{Store: "gcp-sm", Name: "account"}, Reason: "the store does not answer"}
	for want, failure := range map[string]error{`read secret "gcp-sm://account": the store does not answer`: stored, "cannot be read": errors.New("canary")} {
		source := fileOf(t, secrets.Value{}, func(o *googleid.FileOptions) {
			o.Read = func(context.Context) (secrets.Value, error) { return secrets.Value{}, failure }
		})
		_, err := source.Token(t.Context())
		wantFailure(t, err, want, true)
	}
	folder := t.TempDir()
	if err := os.Symlink("/etc/hostname", filepath.Join(folder, "link")); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{"empty": "", "large": strings.Repeat("canary", 1<<15), "other.json": `{"x":"canary"}`} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for want, source := range map[string]fields{
		"cannot be opened: no such file": {"file": filepath.Join(folder, "absent")},
		"cannot be opened":               {"file": filepath.Join(folder, "link")},
		"is empty":                       {"file": filepath.Join(folder, "empty")},
		"larger than 65536 bytes":        {"file": filepath.Join(folder, "large")},
		"has no such JSON field":         {"file": filepath.Join(folder, "other.json"), "format": fields{"type": "json", "subject_token_field_name": "token"}},
	} {
		_, err := file(t, external(source, nil), func(o *googleid.FileOptions) { o.TokenFolders = []string{folder} }).Token(t.Context())
		failure, ok := errors.AsType[*identity.Error](err)
		if !ok || !strings.Contains(failure.Error(), want) || strings.Contains(failure.Error(), "canary") {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

// FuzzFile holds every file to naming no host but those that are meant for this, and errors to not quoting the file.
func FuzzFile(f *testing.F) {
	for _, content := range []fields{serviceAccount(nil), authorizedUser(nil), external(azureSource(nil), nil), externalAWS(nil, nil), impersonated(nil),
		external(fields{"file": "/var/run/secrets/token"}, nil), external(fields{"executable": fields{"command": "x"}}, nil)} {
		raw, err := json.Marshal(content)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(raw))
	}
	allowed := []string{"https://sts.googleapis.com/v1/token", "https://oauth2.googleapis.com/token", "https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/",
		"http://169.254.169.254/", "http://[fd00:ec2::254]/", "https://sts.{region}.amazonaws.com?", "https://sts.amazonaws.com?"}
	// These are never asked.
	unused := []string{"auth_uri", "auth_provider_x509_cert_url", "client_x509_cert_url", "token_info_url", "client_secret", "refresh_token", "client_id", "private_key_id", "project_id", "private_key", "account"}
	f.Fuzz(func(t *testing.T, content string) {
		source := fileOf(t, secrets.NewValue(content), func(o *googleid.FileOptions) { o.AWS, o.AWSRegion = &signer{}, "eu-central-1" })
		described, err := source.Describe(t.Context())
		if err != nil {
			if len(content) > 100 && strings.Contains(err.Error(), content) {
				t.Errorf("the error quotes the file: %v", err)
			}
			return
		}
		if described.Type == "" || described.Name == "" {
			t.Errorf("described as %+v", described)
		}
		var all map[string]any
		if err := json.Unmarshal([]byte(content), &all); err != nil {
			t.Fatalf("accepted what another decoder does not: %v", err)
		}
		walk(all, func(name, value string) {
			if !strings.Contains(value, "://") || strings.HasPrefix(value, "urn:") {
				return
			}
			for _, field := range unused {
				if name == field {
					return
				}
			}
			for _, prefix := range allowed {
				if strings.HasPrefix(value, prefix) {
					return
				}
			}
			t.Errorf("accepted %s: %q", name, value)
		})
	})
}

func walk(value any, visit func(name, value string)) {
	object, ok := value.(map[string]any)
	if !ok {
		return
	}
	for name, inner := range object {
		if text, ok := inner.(string); ok {
			visit(name, text)
		}
		walk(inner, visit)
	}
}
