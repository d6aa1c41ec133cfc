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
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	fake "github.com/postern-ai/postern/localdev/fake/entra"
	"github.com/postern-ai/postern/localdev/fake/fault"
	"github.com/postern-ai/postern/localdev/fake/jwtauth"
	"github.com/postern-ai/postern/shared/identity"
	"github.com/postern-ai/postern/shared/identity/entra"
	"github.com/postern-ai/postern/shared/secrets"
)

const (
	tenant    = "11111111-2222-4333-8444-555555555555"
	appID     = "aaaaaaaa-0000-4000-8000-00000000000a"
	awsIssuer = "https://00000000-1111-4222-8333-444444444444.tokens.sts.global.api.aws"
	awsRole   = "arn:aws:iam::123456789012:role/postern-gateway"
)

var (
	awsKey     = jwtauth.NewSigner("RS256")
	entraKey   = jwtauth.NewSigner("RS256")
	signingKey = sync.OnceValue(func() *rsa.PrivateKey { return must(rsa.GenerateKey(rand.Reader, 2048)) })
)

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

// certificate makes one for a key, valid for a day around a moment.
func certificate(key crypto.Signer, now time.Time) *x509.Certificate {
	template := &x509.Certificate{SerialNumber: big.NewInt(now.Unix()), Subject: pkix.Name{CommonName: "gateway"}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(23 * time.Hour)}
	return must(x509.ParseCertificate(must(x509.CreateCertificate(rand.Reader, template, template, key.Public(), key))))
}

func inPEM(key crypto.Signer, certificates ...*x509.Certificate) string {
	text := string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: must(x509.MarshalPKCS8PrivateKey(key))}))
	for _, certificate := range certificates {
		text += string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate.Raw}))
	}
	return text
}

// directory has one app with each way to show who it is.
func directory(certificates ...*x509.Certificate) *fake.Server {
	roots := x509.NewCertPool()
	for _, certificate := range certificates {
		roots.AddCert(certificate)
	}
	return fake.New(fake.Options{
		Tenant: tenant, Signer: entraKey, Issuers: jwtauth.Issuers(map[string]*jwtauth.Signer{awsIssuer: awsKey}), Resources: []string{resource, "api://own"},
		Apps: []fake.App{{ClientID: appID, ObjectID: "object", Secrets: map[string]time.Time{"canary-secret": {}}, Certificates: certificates,
			Federated: []fake.Federated{{Issuer: awsIssuer, Subject: awsRole, Audience: entra.TokenExchange}}}},
	})
}

func stored(text string) func(context.Context) (secrets.Value, error) {
	return func(context.Context) (secrets.Value, error) { return secrets.NewValue(text), nil }
}

func awsToken(subject string) string {
	return must(awsKey.Sign(map[string]any{"iss": awsIssuer, "sub": subject, "aud": entra.TokenExchange, "iat": time.Now().Unix(), "exp": time.Now().Add(5 * time.Minute).Unix()}))
}

func aws(subject string) identity.TokenSource {
	return identity.TokenFunc(func(context.Context) (identity.Token, error) {
		return identity.Token{Value: secrets.NewValue(awsToken(subject))}, nil
	})
}

func registration(t *testing.T, server http.Handler, change func(*entra.AppOptions)) *entra.App {
	t.Helper()
	options := entra.AppOptions{Tenant: tenant, ClientID: appID}
	if server != nil {
		options.HTTP = client(server)
	}
	change(&options)
	got, err := entra.NewApp(options)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func bubble(t *testing.T, run func(*testing.T)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, run)
}

func TestAnAppShowsWhoItIsInEachWay(t *testing.T) {
	bubble(t, func(t *testing.T) {
		known := certificate(signingKey(), time.Now())
		server := directory(known)
		file := filepath.Join(t.TempDir(), "token")
		if err := os.WriteFile(file, []byte(awsToken(awsRole)+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		for want, change := range map[string]func(*entra.AppOptions){
			"client secret":                 func(o *entra.AppOptions) { o.Secret = stored("canary-secret") },
			"certificate":                   func(o *entra.AppOptions) { o.Certificate = stored(inPEM(signingKey(), known)) },
			"certificate, with its chain":   func(o *entra.AppOptions) { o.Certificate, o.SendChain = stored(inPEM(signingKey(), known)), true },
			"federated credential":          func(o *entra.AppOptions) { o.Assertion = aws(awsRole) },
			"federated credential, in file": func(o *entra.AppOptions) { o.AssertionFile = file },
		} {
			before := server.Tokens.Calls()
			token, err := registration(t, server, change).Token(t.Context())
			if err != nil {
				t.Errorf("%s: %v", want, err)
				continue
			}
			kind, _, _ := strings.Cut(want, ",")
			if !server.Valid(token.Value.Reveal(), resource) || token.Principal != (identity.Principal{Name: appID, Source: "app registration, " + kind}) || time.Until(token.Expires) != time.Hour {
				t.Errorf("%s: got a token as %+v until %v", want, token.Principal, token.Expires)
			}
			// The library alone makes three requests: it looks for the cloud and for the directory's addresses first.
			if got := server.Tokens.Calls() - before; got != 1 || server.Discovery.Calls() != 0 {
				t.Errorf("%s: %d requests for a token and %d for something else", want, got, server.Discovery.Calls())
			}
		}
	})
}

// TestTheClientOfTheAppReachesItsAuthority goes through sockets and TLS, with a certificate authority of the test's own.
func TestTheClientOfTheAppReachesItsAuthority(t *testing.T) {
	t.Parallel()
	server := directory()
	listening := httptest.NewTLSServer(server)
	defer listening.Close()
	source := registration(t, nil, func(o *entra.AppOptions) {
		o.Authority, o.HTTP, o.Secret, o.Scope = listening.URL, listening.Client(), stored("canary-secret"), "api://own/.default"
	})
	if token, err := source.Token(t.Context()); err != nil || !server.Valid(token.Value.Reveal(), "api://own") {
		t.Errorf("got %v", err)
	}
	untrusted := registration(t, nil, func(o *entra.AppOptions) { o.Authority, o.Secret = listening.URL, stored("canary-secret") })
	_, err := untrusted.Token(t.Context())
	wantFailure(t, err, "cannot be reached: certificate not trusted")
}

func TestEachFetchIsANewTokenAndARejectedOneDoesNotComeBack(t *testing.T) {
	bubble(t, func(t *testing.T) {
		server := directory()
		source := registration(t, server, func(o *entra.AppOptions) { o.Secret = stored("canary-secret") })
		first, err := source.Token(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if second, err := source.Token(t.Context()); err != nil || second.Value.Equal(first.Value) {
			t.Errorf("the library's own cache answered: %v", err)
		}
		authorizer := identity.Bearer(identity.NewCache(source, identity.CacheOptions{}))
		request := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "https://upstream", nil)
		if err := authorizer.Authorize(request); err != nil {
			t.Fatal(err)
		}
		rejected := strings.TrimPrefix(request.Header.Get("Authorization"), "Bearer ")
		server.Revoke(rejected)
		authorizer.Rejected(request)
		if err := authorizer.Authorize(request); err != nil || !server.Valid(strings.TrimPrefix(request.Header.Get("Authorization"), "Bearer "), resource) {
			t.Errorf("got %v", err)
		}
	})
}

func TestAThousandColdRequestsMakeOneFetchForAnApp(t *testing.T) {
	bubble(t, func(t *testing.T) {
		server := directory()
		server.Tokens.Set(fault.Fault{Delay: time.Second})
		cache := identity.NewCache(registration(t, server, func(o *entra.AppOptions) { o.Secret = stored("canary-secret") }), identity.CacheOptions{})
		var wait sync.WaitGroup
		for range 1000 {
			wait.Go(func() {
				if _, err := cache.Token(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		wait.Wait()
		if got := server.Tokens.Calls(); got != 1 {
			t.Errorf("%d requests, want 1", got)
		}
	})
}

func TestARotatedSecretIsReadAgainAndTriedAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		server := directory()
		current, reads := "canary-secret", 0
		var rejected []string
		source := registration(t, server, func(o *entra.AppOptions) {
			o.Secret = func(context.Context) (secrets.Value, error) {
				reads++
				return secrets.NewValue(current), nil
			}
			o.OnRejected = func(old secrets.Value) {
				rejected = append(rejected, old.Reveal())
				current = "canary-rotated"
			}
		})
		if _, err := source.Token(t.Context()); err != nil || reads != 1 {
			t.Errorf("got %v after %d reads", err, reads)
		}
		server.SetSecrets(appID, map[string]time.Time{"canary-rotated": {}})
		if _, err := source.Token(t.Context()); err != nil || reads != 3 || server.Tokens.Calls() != 3 {
			t.Errorf("got %v after %d reads and %d requests", err, reads, server.Tokens.Calls())
		}
		// The same secret again is not tried again.
		server.SetSecrets(appID, nil)
		_, err := source.Token(t.Context())
		wantFailure(t, err, "AADSTS7000215; the client secret is wrong; store its value, not its id")
		if server.Tokens.Calls() != 4 || fmt.Sprint(rejected) != "[canary-secret canary-rotated]" {
			t.Errorf("told of %d after %d requests", len(rejected), server.Tokens.Calls())
		}
		// What is not about the secret is not told to its store.
		server.Tokens.Set(fault.Fault{Status: 400, Body: `{"error":"invalid_request","error_codes":[90002]}`})
		if _, err := source.Token(t.Context()); err == nil || len(rejected) != 2 {
			t.Errorf("told of %d: %v", len(rejected), err)
		}
	})
}

func TestATokenFileIsReadForEachToken(t *testing.T) {
	bubble(t, func(t *testing.T) {
		server := directory()
		file := filepath.Join(t.TempDir(), "token")
		source := registration(t, server, func(o *entra.AppOptions) { o.AssertionFile = file })
		_, err := source.Token(t.Context())
		wantFailure(t, err, "cannot be opened: no such file")
		for range 3 {
			if err := os.WriteFile(file, []byte(awsToken(awsRole)), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := source.Token(t.Context()); err != nil {
				t.Error(err)
			}
			time.Sleep(6 * time.Minute)
		}
		_, err = source.Token(t.Context())
		wantFailure(t, err, "AADSTS700024; what was signed is not valid now")
	})
}

func TestCertificatesAreTakenInEachForm(t *testing.T) {
	t.Parallel()
	key := signingKey()
	now := time.Now()
	good := certificate(key, now)
	other := certificate(must(rsa.GenerateKey(rand.Reader, 2048)), now)
	ec := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	tests := []struct {
		name, text, password, want string
	}{
		{"PEM", inPEM(key, good), "", ""},
		{"PEM with a chain in any order", inPEM(key, other, good), "", ""},
		{"PKCS #12", pfx("older"), "", ""},
		{"PKCS #12 in base64", base64.StdEncoding.EncodeToString([]byte(pfx("older"))), "", ""},
		{"PKCS #12 in base64 with line breaks", strings.Join(chunks(base64.StdEncoding.EncodeToString([]byte(pfx("older"))), 64), "\n") + "\n", "", ""},
		{"PKCS #12 with a password", pfx("older-with-password"), "canary-password", ""},
		{"PKCS #12 with another password", pfx("older-with-password"), "other", "cannot be read as PEM or PKCS #12"},
		{"PKCS #12 of the newer kind", pfx("newer"), "", "of PKCS #12 only the older kind with SHA-1 is known"},
		{"PEM with a password", inPEM(key, good), "canary-password", "which has no password here"},
		{"PEM without a key", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: good.Raw})), "", "cannot be read as PEM or PKCS #12"},
		{"PEM without a certificate", inPEM(key), "", "cannot be read as PEM or PKCS #12"},
		{"another certificate's key", inPEM(key, other), "", "none of the certificates belongs to the private key"},
		{"a key that is not RSA", inPEM(ec, certificate(ec, now)), "", "not an RSA key"},
		{"an expired certificate", inPEM(key, certificate(key, now.Add(-48*time.Hour))), "", "is valid from " + now.Add(-49*time.Hour).UTC().Format(time.DateOnly)},
		{"a certificate of the future", inPEM(key, certificate(key, now.Add(48*time.Hour))), "", "and not now"},
		{"something else", "canary", "", "cannot be read as PEM or PKCS #12"},
		{"nothing", "", "", "cannot be read as PEM or PKCS #12"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			asked := 0
			source := registration(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				asked++
				w.WriteHeader(http.StatusTeapot)
			}), func(o *entra.AppOptions) {
				o.Certificate = stored(test.text)
				if test.password != "" {
					o.CertificatePassword = stored(test.password)
				}
			})
			_, err := source.Token(t.Context())
			if test.want == "" {
				wantFailure(t, err, "status 418")
				return
			}
			if wantFailure(t, err, test.want); asked != 0 {
				t.Errorf("%d requests were sent", asked)
			}
		})
	}
}

// pfx reads a certificate of the test's own in PKCS #12, which nothing here can write.
func pfx(name string) string {
	return string(must(os.ReadFile(filepath.Join("testdata", name+".pfx"))))
}

func chunks(text string, length int) []string {
	var parts []string
	for len(text) > length {
		parts, text = append(parts, text[:length]), text[length:]
	}
	return append(parts, text)
}

func TestARefusalNamesTheRemedyAndNotTheSecret(t *testing.T) {
	t.Parallel()
	secret := func(o *entra.AppOptions) { o.Secret = stored("canary-secret") }
	tests := []struct {
		name   string
		change func(*entra.AppOptions)
		want   string
	}{
		{"a wrong secret", func(o *entra.AppOptions) { o.Secret = stored("canary-wrong") }, "status 401, invalid_client, AADSTS7000215; the client secret is wrong"},
		{"another directory", func(o *entra.AppOptions) { secret(o); o.Tenant = "other.onmicrosoft.com" }, `AADSTS90002; there is no directory "other.onmicrosoft.com" in this cloud`},
		{"another app", func(o *entra.AppOptions) { secret(o); o.ClientID = "bbbbbbbb-0000-4000-8000-00000000000b" }, `AADSTS700016; there is no app registration "bbbbbbbb-0000-4000-8000-00000000000b"`},
		{"another scope", func(o *entra.AppOptions) { secret(o); o.Scope = "https://vault.azure.net/.default" }, `AADSTS500011; check the scope "https://vault.azure.net/.default"`},
		{"another subject", func(o *entra.AppOptions) { o.Assertion = aws(awsRole + "s") },
			`AADSTS700213; the app needs a federated credential with exactly these, upper and lower case included: issuer "` + awsIssuer + `", subject "` + awsRole + `s", audience "api://AzureADTokenExchange"`},
		{"another managed identity", func(o *entra.AppOptions) {
			o.Assertion = identity.TokenFunc(func(context.Context) (identity.Token, error) {
				return identity.Token{Value: secrets.NewValue(must(awsKey.Sign(map[string]any{"iss": awsIssuer, "sub": "managed", "aud": "fb60f99c-7a34-4190-8149-302f77469936", "iat": time.Now().Unix(), "exp": time.Now().Add(time.Hour).Unix()})))}, nil
			})
		}, `subject "managed", audience "api://AzureADTokenExchange"`},
		{"a certificate that is not registered", func(o *entra.AppOptions) {
			o.Certificate = stored(inPEM(signingKey(), certificate(signingKey(), time.Now())))
		}, "AADSTS700027; the certificate is not registered"},
		{"an assertion that is no token", func(o *entra.AppOptions) {
			o.Assertion = identity.TokenFunc(func(context.Context) (identity.Token, error) {
				return identity.Token{Value: secrets.NewValue("canary")}, nil
			})
		}, "is not a JSON Web Token"},
		{"no assertion", func(o *entra.AppOptions) {
			o.Assertion = identity.TokenFunc(func(context.Context) (identity.Token, error) {
				return identity.Token{}, &identity.Error{Public: "no identity here"}
			})
		}, "no identity here"},
		{"an empty secret", func(o *entra.AppOptions) { o.Secret = stored("") }, "the client secret is empty"},
		{"a secret with a line break", func(o *entra.AppOptions) { o.Secret = stored("canary-secret\n") }, "has spaces or line breaks around it"},
		{"a store that fails", func(o *entra.AppOptions) {
			o.Secret = func(context.Context) (secrets.Value, error) { return secrets.Value{}, errors.New("canary") }
		}, "the client secret cannot be read"},
		{"a store of certificates that fails", func(o *entra.AppOptions) {
			o.Certificate = func(context.Context) (secrets.Value, error) { return secrets.Value{}, errors.New("canary") }
		}, "the certificate cannot be read"},
		{"a store of passwords that fails", func(o *entra.AppOptions) {
			o.Certificate = stored(inPEM(signingKey()))
			o.CertificatePassword = func(context.Context) (secrets.Value, error) { return secrets.Value{}, errors.New("canary") }
		}, "the certificate's password cannot be read"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			_, err := registration(t, directory(), test.change).Token(t.Context())
			wantFailure(t, err, test.want)
		})
	}
}

func TestATokenServiceThatFailsIsAClearErrorInTime(t *testing.T) {
	t.Parallel()
	const body = `{"error":"canary error","error_description":"canary"}`
	tests := []struct {
		name      string
		fault     fault.Fault
		want      string
		retryable bool
	}{
		{"it does not answer", fault.Fault{Delay: time.Hour}, "Entra's token service does not answer: timed out", true},
		{"it hangs up", fault.Fault{Hangup: true}, "cannot be reached: connection reset", true},
		{"it is broken", fault.Fault{Status: 503, Body: body, Header: http.Header{"Retry-After": {"60"}}}, "status 503", true},
		{"it is overloaded", fault.Fault{Status: 429, Body: `{"error":"temporarily_unavailable","error_codes":[90055]}`}, "status 429, temporarily_unavailable, AADSTS90055", true},
		{"it refuses", fault.Fault{Status: 400, Body: body}, "status 400", false},
		{"it redirects", fault.Fault{Status: 307, Header: http.Header{"Location": {"https://evil.example/canary"}}}, "status 307", false},
		{"its answer is not JSON", fault.Fault{Status: 200, Body: "<canary>"}, "not an access token with an expiry", true},
		{"its answer has no token", fault.Fault{Status: 200, Body: `{"token_type":"Bearer","expires_in":3600,"x":"canary"}`}, "not an access token with an expiry", true},
		{"its answer has no expiry", fault.Fault{Status: 200, Body: `{"token_type":"Bearer","access_token":"canary"}`}, "expir", true},
		{"its token has expired", fault.Fault{Status: 200, Body: `{"token_type":"Bearer","access_token":"canary","expires_in":-60}`}, "expired", true},
		{"this clock is behind", fault.Fault{Status: 401, Body: `{"error":"invalid_client","error_codes":[700024]}`, Header: http.Header{"Date": {"Sat, 01 Jan 2000 00:10:00 GMT"}}}, "what was signed is not valid now; this machine's clock is 10 minutes behind", false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				server := directory()
				server.Tokens.Set(test.fault)
				cache := identity.NewCache(registration(t, server, func(o *entra.AppOptions) { o.Secret = stored("canary-secret") }), identity.CacheOptions{})
				start := time.Now()
				_, err := cache.Token(t.Context())
				if took := time.Since(start); took >= 3*time.Second {
					t.Errorf("took %v", took)
				}
				if failure := wantFailure(t, err, test.want); failure.Retryable != test.retryable {
					t.Errorf("retryable is %v", failure.Retryable)
				}
				if got := server.Tokens.Calls(); got != 1 {
					t.Errorf("%d attempts, want 1", got)
				}
			})
		})
	}
}

func TestAppOptionsAreCheckedBeforeAnyRequest(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		change func(*entra.AppOptions)
		want   string
	}{
		{"all is well", func(*entra.AppOptions) {}, ""},
		{"a domain", func(o *entra.AppOptions) { o.Tenant = "example.onmicrosoft.com" }, ""},
		{"the US government's cloud", func(o *entra.AppOptions) { o.Authority = entra.USGovernmentAuthority }, ""},
		{"China's cloud", func(o *entra.AppOptions) { o.Authority = entra.ChinaAuthority + "/" }, ""},
		{"a sovereign cloud with a scope", func(o *entra.AppOptions) {
			o.Authority, o.Scope = "https://login.sovcloud-identity.fr", "api://x/.default"
		}, ""},
		{"a sovereign cloud without a scope", func(o *entra.AppOptions) { o.Authority = "https://login.sovcloud-identity.fr" }, "the scope is missing"},
		{"no tenant", func(o *entra.AppOptions) { o.Tenant = "" }, `tenant ""`},
		{"any tenant", func(o *entra.AppOptions) { o.Tenant = "common" }, `tenant "common"`},
		{"a tenant with a path", func(o *entra.AppOptions) { o.Tenant = "x.y/../z" }, "is not the id or a domain"},
		{"no client id", func(o *entra.AppOptions) { o.ClientID = "" }, `client id ""`},
		{"a name for a client id", func(o *entra.AppOptions) { o.ClientID = "gateway" }, `client id "gateway"`},
		{"a client id with a letter too far", func(o *entra.AppOptions) { o.ClientID = strings.Replace(appID, "a", "g", 1) }, "client id"},
		{"an authority elsewhere", func(o *entra.AppOptions) { o.Authority = "https://login.evil.example" }, `authority "login.evil.example" is none of Microsoft's`},
		{"an authority that begins alike", func(o *entra.AppOptions) { o.Authority = "https://login.microsoftonline.com.evil.example" }, "none of Microsoft's"},
		{"an authority with a user", func(o *entra.AppOptions) { o.Authority = "https://login.microsoftonline.com@evil.example" }, "a host and nothing else"},
		{"an authority in the clear", func(o *entra.AppOptions) { o.Authority = "http://login.microsoftonline.com" }, "must be an https URL"},
		{"an authority in the clear on this machine", func(o *entra.AppOptions) { o.Authority = "http://127.0.0.1:1" }, "must be an https URL"},
		{"an authority with a path", func(o *entra.AppOptions) { o.Authority = "https://login.microsoftonline.com/common" }, "a host and nothing else"},
		{"a scope without .default", func(o *entra.AppOptions) { o.Scope = "https://cognitiveservices.azure.com" }, "with /.default at its end"},
		{"two scopes", func(o *entra.AppOptions) { o.Scope = "api://a/.default api://b/.default" }, "with /.default at its end"},
		{"a scope of nothing", func(o *entra.AppOptions) { o.Scope = "openid" }, "with /.default at its end"},
		{"no way to show who it is", func(o *entra.AppOptions) { o.Secret = nil }, "exactly one way"},
		{"two ways", func(o *entra.AppOptions) { o.Assertion = aws("x") }, "exactly one way"},
		{"a password without a certificate", func(o *entra.AppOptions) { o.CertificatePassword = stored("x") }, "no effect without a certificate"},
		{"a chain without a certificate", func(o *entra.AppOptions) { o.SendChain = true }, "no effect without a certificate"},
		{"a file that is not absolute", func(o *entra.AppOptions) { o.Secret, o.AssertionFile = nil, "token" }, "absolute path"},
	}
	for _, test := range tests {
		options := entra.AppOptions{Tenant: tenant, ClientID: appID, Secret: stored("s"), HTTP: client(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("a request was sent") }))}
		test.change(&options)
		_, err := entra.NewApp(options)
		if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
			t.Errorf("%s: got %v, want %q", test.name, err, test.want)
		}
	}
}

func TestEachCloudIsAskedForItsOwnScopeAtItsOwnAddress(t *testing.T) {
	t.Parallel()
	for authority, want := range map[string]string{
		"":                          "https://login.microsoftonline.com/" + tenant + "/oauth2/v2.0/token https://cognitiveservices.azure.com/.default",
		entra.USGovernmentAuthority: "https://login.microsoftonline.us/" + tenant + "/oauth2/v2.0/token https://cognitiveservices.azure.us/.default",
		entra.ChinaAuthority:        "https://login.partner.microsoftonline.cn/" + tenant + "/oauth2/v2.0/token https://cognitiveservices.azure.cn/.default",
		"https://127.0.0.1:9131/":   "https://127.0.0.1:9131/" + tenant + "/oauth2/v2.0/token https://cognitiveservices.azure.com/.default",
	} {
		var got []string
		source := registration(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			scope, _, _ := strings.Cut(r.FormValue("scope"), " ")
			got = append(got, r.URL.String()+" "+scope)
			w.WriteHeader(http.StatusForbidden)
		}), func(o *entra.AppOptions) { o.Authority, o.Secret = authority, stored("s") })
		_, err := source.Token(t.Context())
		wantFailure(t, err, "status 403")
		if len(got) != 1 || got[0] != want {
			t.Errorf("asked %v, want %s", got, want)
		}
	}
}

// TestSettingsOfTheLibraryChangeNothing sets the variables that azidentity reads, so it does not run in parallel.
func TestSettingsOfTheLibraryChangeNothing(t *testing.T) {
	clean(t)
	server := directory()
	for name, value := range map[string]string{
		"AZURE_AUTHORITY_HOST": "https://login.evil.example", "AZURE_CLIENT_ID": "canary", "AZURE_TENANT_ID": "canary", "AZURE_CLIENT_SECRET": "canary",
		"AZURE_ADDITIONALLY_ALLOWED_TENANTS": "*", "AZURE_TOKEN_CREDENTIALS": "dev",
	} {
		t.Setenv(name, value)
	}
	source := registration(t, server, func(o *entra.AppOptions) { o.Secret = stored("canary-secret") })
	if _, err := source.Token(t.Context()); err != nil {
		t.Error(err)
	}
	t.Setenv("AZURE_REGIONAL_AUTHORITY_NAME", "TryAutoDetect")
	before := server.Tokens.Calls()
	_, err := source.Token(t.Context())
	if wantFailure(t, err, "AZURE_REGIONAL_AUTHORITY_NAME is set"); server.Tokens.Calls() != before {
		t.Error("a request was sent")
	}
}

func BenchmarkAuthorizeApp(b *testing.B) {
	source := must(entra.NewApp(entra.AppOptions{Tenant: tenant, ClientID: appID, Secret: stored("canary-secret"), HTTP: client(directory())}))
	authorizer := identity.Bearer(identity.NewCache(source, identity.CacheOptions{}))
	ctx, _ := identity.WithReport(b.Context())
	request := httptest.NewRequestWithContext(ctx, http.MethodPost, "https://upstream", nil)
	b.ReportAllocs()
	for b.Loop() {
		if err := authorizer.Authorize(request); err != nil {
			b.Fatal(err)
		}
	}
}
