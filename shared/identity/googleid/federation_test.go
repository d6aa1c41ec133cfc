package googleid_test

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/go-jose/go-jose/v4"
	"github.com/postern-ai/postern/localdev/fake/awscreds"
	"github.com/postern-ai/postern/localdev/fake/fault"
	"github.com/postern-ai/postern/localdev/fake/googlests"
	"github.com/postern-ai/postern/localdev/fake/jwtauth"
	"github.com/postern-ai/postern/shared/identity"
	"github.com/postern-ai/postern/shared/identity/googleid"
	"github.com/postern-ai/postern/shared/secrets"
)

const (
	pool     = "//iam.googleapis.com/projects/123456789/locations/global/workloadIdentityPools/pool"
	fromAWS  = pool + "/providers/aws"
	fromOIDC = pool + "/providers/oidc"
	issuer   = "https://issuer.example"
	target   = "target@local-project.iam.gserviceaccount.com"
	middle   = "middle@local-project.iam.gserviceaccount.com"
	keyed    = "keyed@local-project.iam.gserviceaccount.com"
	awsARN   = "arn:aws:sts::123456789012:assumed-role/postern-gateway/local"
)

var (
	issuerKey  = jwtauth.NewSigner("ES256")
	googleKey  = jwtauth.NewSigner("RS256")
	accountKey = makeKey()
)

// google is Google's token services as they know the identities of these tests.
func google(platform *awscreds.Server) *googlests.Server {
	return googlests.New(googlests.Options{
		Keys: platform.Lookup, Issuers: jwtauth.Issuers(map[string]*jwtauth.Signer{issuer: issuerKey}), Signer: googleKey,
		Providers: map[string]googlests.Provider{fromAWS: {AWS: "123456789012"}, fromOIDC: {Issuer: issuer, Audiences: []string{"postern"}}},
		Accounts: []googlests.Account{
			{Email: target, UniqueID: "1040", Creators: []string{"principal:" + pool + "/subject/" + awsARN, "principal:" + pool + "/subject/gateway", "serviceAccount:" + middle, "serviceAccount:" + keyed, "user:alice@example.com"}},
			{Email: middle, UniqueID: "1041", Creators: []string{"principal:" + pool + "/subject/gateway"}, LongLived: true},
			{Email: keyed, UniqueID: "1042", Keys: jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: accountKey.Public(), KeyID: "key-1", Algorithm: "RS256", Use: "sig"}}}},
		},
		Users: []googlests.User{{Email: "alice@example.com", ClientID: "client", ClientSecret: "canary-secret", RefreshToken: "canary-refresh"}},
	})
}

// at has the token services answer through a transport.
func at(server http.Handler) googleid.Services {
	return googleid.Services{HTTP: &http.Client{Transport: wire{server}, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
}

// signer signs as a function on AWS does, with the vendor's own signer. It gets new credentials when its old ones are rejected.
type signer struct {
	platform *awscreds.Server
	revoked  int
}

func (s *signer) Authorize(request *http.Request) error {
	key := s.platform.Issue()
	if s.revoked > 0 {
		s.revoked--
		s.platform.Revoke(key.AccessKeyID)
	}
	const empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	credentials := aws.Credentials{AccessKeyID: key.AccessKeyID, SecretAccessKey: key.SecretAccessKey, SessionToken: key.SessionToken}
	return v4.NewSigner().SignHTTP(request.Context(), credentials, request, empty, "sts", "eu-central-1", time.Now())
}

func (s *signer) Rejected(*http.Request) {}

func oidc(subject string) identity.TokenSource {
	return identity.TokenFunc(func(context.Context) (identity.Token, error) {
		token, err := issuerKey.Sign(map[string]any{"iss": issuer, "sub": subject, "aud": "postern", "iat": time.Now().Unix(), "exp": time.Now().Add(time.Hour).Unix()})
		return identity.Token{Value: secrets.NewValue(token)}, err
	})
}

func text(value string) identity.TokenSource {
	return identity.TokenFunc(func(context.Context) (identity.Token, error) {
		return identity.Token{Value: secrets.NewValue(value)}, nil
	})
}

func federation(t *testing.T, change func(*googleid.FederationOptions)) *googleid.Federation {
	t.Helper()
	options := googleid.FederationOptions{Audience: fromOIDC, Subject: oidc("gateway")}
	change(&options)
	got, err := googleid.NewFederation(options)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestAnIdentityOfAnotherCloudGetsGooglesToken(t *testing.T) {
	bubble(t, func(t *testing.T) {
		platform := awscreds.New(awscreds.Options{})
		server := google(platform)
		for want, source := range map[string]*googleid.Federation{
			"principal:" + pool + "/subject/" + awsARN: federation(t, func(o *googleid.FederationOptions) {
				o.Services, o.Audience, o.Subject, o.AWS, o.AWSRegion = at(server), fromAWS, nil, &signer{platform: platform}, "eu-central-1"
			}),
			"principal:" + pool + "/subject/gateway": federation(t, func(o *googleid.FederationOptions) { o.Services = at(server) }),
			"principal:" + pool + "/subject/id": federation(t, func(o *googleid.FederationOptions) {
				o.Services, o.Subject, o.SubjectType, o.Scopes = at(server), oidc("id"), googleid.IDTokenType, []string{"https://www.googleapis.com/auth/pubsub", "https://www.googleapis.com/auth/cloud-platform"}
			}),
		} {
			token, err := source.Token(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			grant, ok := server.Grant(token.Value.Reveal())
			if !ok || grant.Member != want || !server.Valid(token.Value.Reveal()) || token.Type != "Bearer" || time.Until(token.Expires) != time.Hour {
				t.Errorf("got %+v until %v, want %s", grant, token.Expires, want)
			}
			if !strings.HasPrefix(token.Principal.Name, "projects/123456789/locations/global/workloadIdentityPools/pool/providers/") || token.Principal.Source != "workload identity federation" {
				t.Errorf("principal %+v", token.Principal)
			}
		}
	})
}

func TestTheProviderIsAmongWhatIsSigned(t *testing.T) {
	t.Parallel()
	source := federation(t, func(o *googleid.FederationOptions) {
		o.Audience, o.Subject, o.AWS, o.AWSRegion = fromAWS, nil, &signer{platform: awscreds.New(awscreds.Options{})}, "eu-central-1"
		o.HTTP = &http.Client{Transport: wire{http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			token, err := url.QueryUnescape(r.FormValue("subject_token"))
			if err != nil || !strings.Contains(token, ";x-goog-cloud-target-resource,") || !strings.Contains(token, `"value":"`+fromAWS+`"`) {
				t.Errorf("the provider is not signed: %v", err)
			}
			w.WriteHeader(http.StatusForbidden)
		})}}
	})
	_, err := source.Token(t.Context())
	wantFailure(t, err, "status 403", false)
}

func TestAWSCredentialsThatEndedAreFetchedAnewOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		platform := awscreds.New(awscreds.Options{})
		server := google(platform)
		own := &signer{platform: platform, revoked: 1}
		source := federation(t, func(o *googleid.FederationOptions) {
			o.Services, o.Audience, o.Subject, o.AWS, o.AWSRegion = at(server), fromAWS, nil, own, "eu-central-1"
		})
		if _, err := source.Token(t.Context()); err != nil || server.STS.Calls() != 2 {
			t.Errorf("got %v after %d calls", err, server.STS.Calls())
		}
		own.revoked = 2
		_, err := source.Token(t.Context())
		wantFailure(t, err, "AWS must accept the credentials", false)
		if server.STS.Calls() != 4 {
			t.Errorf("%d calls", server.STS.Calls())
		}
	})
}

func TestAServiceAccountIsImpersonatedByWayOfItsDelegates(t *testing.T) {
	bubble(t, func(t *testing.T) {
		platform := awscreds.New(awscreds.Options{})
		server := google(platform)
		source := federation(t, func(o *googleid.FederationOptions) { o.Services = at(server) })
		for name, options := range map[string]googleid.ImpersonationOptions{
			"directly":        {ServiceAccount: target},
			"by number":       {ServiceAccount: "1040"},
			"with a delegate": {ServiceAccount: target, Delegates: []string{middle}},
			"for half a day":  {ServiceAccount: middle, Lifetime: 12 * time.Hour},
		} {
			options.Services, options.Source = at(server), source
			impersonation, err := googleid.NewImpersonation(options)
			if err != nil {
				t.Fatal(err)
			}
			token, err := impersonation.Token(t.Context())
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			grant, _ := server.Grant(token.Value.Reveal())
			lifetime := max(options.Lifetime, time.Hour)
			if !strings.HasPrefix(grant.Member, "serviceAccount:") || time.Until(token.Expires) != lifetime || token.Principal.Name != options.ServiceAccount ||
				token.Principal.Source != "workload identity federation, impersonation" {
				t.Errorf("%s: got %+v until %v as %+v", name, grant, token.Expires, token.Principal)
			}
		}
		impersonation, err := googleid.NewImpersonation(googleid.ImpersonationOptions{Services: at(server), Source: source, ServiceAccount: target, Delegates: []string{middle}})
		if err != nil {
			t.Fatal(err)
		}
		token, err := impersonation.IDTokens("sts.amazonaws.com").Token(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		claims, err := jwtauth.Verify(token.Value.Reveal(), func(string) (jose.JSONWebKeySet, bool) { return server.KeySet(), true }, jose.RS256)
		if err != nil || claims.Subject != "1040" || claims.Audience[0] != "sts.amazonaws.com" || !token.Expires.Equal(claims.Expires) {
			t.Errorf("got %+v and error %v", claims, err)
		}
	})
}

func TestTokenServicesThatFailAreAClearErrorInTime(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name      string
		fault     fault.Fault
		want      string
		retryable bool
		calls     int
	}{
		{"it does not answer", fault.Fault{Delay: time.Hour}, "does not answer: timed out", true, 1},
		{"it hangs up", fault.Fault{Hangup: true}, "does not answer", true, 2},
		{"it is broken", fault.Fault{Status: 503, Body: "canary"}, "status 503", true, 2},
		{"it is overloaded", fault.Fault{Status: 429, Body: `{"error":{"status":"RESOURCE_EXHAUSTED","message":"canary"}}`}, "status 429, RESOURCE_EXHAUSTED", true, 2},
		{"it refuses", fault.Fault{Status: 400, Body: `{"error":"invalid_scope","error_description":"canary"}`}, "status 400, invalid_scope", false, 1},
		{"its code is a message", fault.Fault{Status: 400, Body: `{"error":"canary message"}`}, "status 400", false, 1},
		{"it redirects", fault.Fault{Status: 307, Header: http.Header{"Location": {"https://evil.example/canary"}}}, "status 307", false, 1},
		{"it answers something else", fault.Fault{Status: 200, Body: "<canary>"}, "not the expected JSON", true, 2},
		{"its answer has no token", fault.Fault{Status: 200, Body: `{"x":"canary"}`}, "not an access token with an expiry", true, 1},
		{"its answer has no expiry", fault.Fault{Status: 200, Body: `{"access_token":"canary","accessToken":"canary"}`}, "not an access token with an expiry", true, 1},
		{"its answer does not end", fault.Fault{Status: 200, Body: strings.Repeat("canary", 1<<20)}, "larger than 65536 bytes", false, 1},
		{"its token has expired", fault.Fault{Status: 200, Body: `{"access_token":"canary","expires_in":-60,"accessToken":"canary","expireTime":"1999-01-01T00:00:00Z"}`}, "already expired", true, 1},
		{"its token is of another kind", fault.Fault{Status: 200, Body: `{"access_token":"canary","expires_in":60,"token_type":"DPoP","accessToken":"canary canary","expireTime":"2100-01-01T00:00:00Z"}`}, "token", false, 1},
		{"this clock is ahead", fault.Fault{Status: 400, Body: `{"error":"invalid_request"}`, Header: http.Header{"Date": {"Fri, 31 Dec 1999 23:50:00 GMT"}}}, "this machine's clock is 10 minutes ahead", false, 1},
	}
	for _, test := range tests {
		for _, service := range []string{"STS", "IAM Credentials", "OAuth"} {
			t.Run(service+", "+test.name, func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					server := google(awscreds.New(awscreds.Options{}))
					source, faults := sourceOf(t, server, service)
					faults.Set(test.fault)
					start := time.Now()
					_, err := identity.NewCache(source, identity.CacheOptions{}).Token(t.Context())
					if took := time.Since(start); took >= 3*time.Second {
						t.Errorf("took %v", took)
					}
					failure, ok := err.(*identity.Error)
					if !ok || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "canary") {
						t.Errorf("got %v, want %q", err, test.want)
					} else if failure.Retryable != test.retryable && test.name != "its token is of another kind" {
						t.Errorf("retryable is %v", failure.Retryable)
					}
					if got := faults.Calls(); got != test.calls {
						t.Errorf("%d attempts, want %d", got, test.calls)
					}
					time.Sleep(3 * time.Second)
				})
			})
		}
	}
}

// sourceOf returns a source that fails when the service does.
func sourceOf(t *testing.T, server *googlests.Server, service string) (identity.TokenSource, *fault.Injector) {
	t.Helper()
	switch service {
	case "STS":
		return federation(t, func(o *googleid.FederationOptions) { o.Services = at(server) }), &server.STS
	case "OAuth":
		return file(t, serviceAccount(nil), func(o *googleid.FileOptions) { o.Services = at(server) }), &server.OAuth
	}
	impersonation, err := googleid.NewImpersonation(googleid.ImpersonationOptions{
		Services: at(server), ServiceAccount: target, Source: federation(t, func(o *googleid.FederationOptions) { o.Services = at(server) }),
	})
	if err != nil {
		t.Fatal(err)
	}
	return impersonation, &server.Credentials
}

func TestRefusalsNameTheRemedy(t *testing.T) {
	t.Parallel()
	server := google(awscreds.New(awscreds.Options{}))
	impersonate := func(options googleid.ImpersonationOptions) identity.TokenSource {
		t.Helper()
		options.Services = at(server)
		if options.Source == nil {
			options.Source = federation(t, func(o *googleid.FederationOptions) { o.Services = at(server) })
		}
		got, err := googleid.NewImpersonation(options)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	for want, source := range map[string]identity.TokenSource{
		"the pool or its provider does not exist, or is disabled: " + fromOIDC + "s": federation(t, func(o *googleid.FederationOptions) { o.Services, o.Audience = at(server), fromOIDC+"s" }),
		"the subject token is not a JSON Web Token":                                  federation(t, func(o *googleid.FederationOptions) { o.Services, o.Subject = at(server), text("canary") }),
		`its allowed ones, and the token must not have expired: issuer "https://issuer.example", subject "gateway", audience "other"`: federation(t, func(o *googleid.FederationOptions) {
			o.Services, o.Subject = at(server), identity.TokenFunc(func(context.Context) (identity.Token, error) {
				token, err := issuerKey.Sign(map[string]any{"iss": issuer, "sub": "gateway", "aud": "other", "iat": time.Now().Unix(), "exp": time.Now().Add(time.Hour).Unix()})
				return identity.Token{Value: secrets.NewValue(token)}, err
			})
		}),
		"check the audience and that the provider is of the right kind": federation(t, func(o *googleid.FederationOptions) { o.Services, o.Audience = at(server), fromAWS }),
		"no identity here": federation(t, func(o *googleid.FederationOptions) {
			o.Services, o.Subject = at(server), identity.TokenFunc(func(context.Context) (identity.Token, error) {
				return identity.Token{}, &identity.Error{Public: "no identity here"}
			})
		}),
		"cannot act as service account middle@local-project.iam.gserviceaccount.com for projects/123456789/locations/global/workloadIdentityPools/pool/providers/oidc: Google's token service answered with status 403, PERMISSION_DENIED; enable the IAM Service Account Credentials API, and grant": impersonate(googleid.ImpersonationOptions{ServiceAccount: middle, Delegates: []string{target}}),
		"that the organisation allows tokens of 2h0m0s":               impersonate(googleid.ImpersonationOptions{ServiceAccount: target, Lifetime: 2 * time.Hour}),
		"the token of the identity that impersonates is not accepted": impersonate(googleid.ImpersonationOptions{ServiceAccount: target, Source: text("canary")}),
	} {
		_, err := source.Token(t.Context())
		wantFailure(t, err, want, false)
	}
}

func TestOptionsAreCheckedBeforeAnyRequest(t *testing.T) {
	t.Parallel()
	federate := func(change func(*googleid.FederationOptions)) error {
		options := googleid.FederationOptions{Audience: fromOIDC, Subject: text("t")}
		change(&options)
		_, err := googleid.NewFederation(options)
		return err
	}
	impersonate := func(change func(*googleid.ImpersonationOptions)) error {
		options := googleid.ImpersonationOptions{Source: text("t"), ServiceAccount: target}
		change(&options)
		_, err := googleid.NewImpersonation(options)
		return err
	}
	audience := func(text string) error { return federate(func(o *googleid.FederationOptions) { o.Audience = text }) }
	service := func(change func(*googleid.Services)) error {
		return federate(func(o *googleid.FederationOptions) { change(&o.Services) })
	}
	tests := []struct {
		name string
		err  error
		want string
	}{
		{"all is well", federate(func(*googleid.FederationOptions) {}), ""},
		{"a server on this machine", service(func(s *googleid.Services) {
			s.STS, s.OAuth2, s.IAMCredentials = "http://127.0.0.1:1", "https://localhost:1/", "http://[::1]:1"
		}), ""},
		{"another universe", service(func(s *googleid.Services) { s.Universe = "example-cloud.goog" }), ""},
		{"a universe that is a URL", service(func(s *googleid.Services) { s.Universe = "evil.example/" }), "universe domain"},
		{"a universe that is one word", service(func(s *googleid.Services) { s.Universe = "localhost" }), "universe domain"},
		{"STS on another machine", service(func(s *googleid.Services) { s.STS = "https://sts.evil.example" }), "only be replaced by a server on this machine"},
		{"OAuth on another machine", service(func(s *googleid.Services) { s.OAuth2 = "https://oauth2.googleapis.com.evil.example" }), "only be replaced by a server on this machine"},
		{"IAM Credentials in the neighbourhood", service(func(s *googleid.Services) { s.IAMCredentials = "http://10.0.0.1" }), "only be replaced by a server on this machine"},
		{"a path on this machine", service(func(s *googleid.Services) { s.STS = "http://127.0.0.1/path" }), "only be replaced by a server on this machine"},
		{"no audience", audience(""), "must have the form"},
		{"an audience with a scheme", audience("https:" + fromOIDC), "must have the form"},
		{"a pool", audience(pool), "must have the form"},
		{"a project's name", audience(strings.Replace(fromOIDC, "123456789", "local-project", 1)), "must have the form"},
		{"a pool of people", audience("//iam.googleapis.com/locations/global/workforcePools/pool/providers/oidc"), "must have the form"},
		{"a provider with a query", audience(fromOIDC + "?x"), "must have the form"},
		{"another location", audience(strings.Replace(fromOIDC, "global", "europe", 1)), "must have the form"},
		{"no identity", federate(func(o *googleid.FederationOptions) { o.Subject = nil }), "needs one identity"},
		{"two identities", federate(func(o *googleid.FederationOptions) { o.AWS = &signer{} }), "needs one identity"},
		{"AWS without a region", federate(func(o *googleid.FederationOptions) { o.Subject, o.AWS = nil, &signer{} }), "AWS region"},
		{"AWS in a region that is a host", federate(func(o *googleid.FederationOptions) { o.Subject, o.AWS, o.AWSRegion = nil, &signer{}, "evil.example/" }), "AWS region"},
		{"another type of token", federate(func(o *googleid.FederationOptions) { o.SubjectType = "urn:ietf:params:oauth:token-type:saml2" }), "subject token type"},
		{"a scope that is none", federate(func(o *googleid.FederationOptions) { o.Scopes = []string{"cloud-platform"} }), `scope "cloud-platform"`},
		{"two scopes in one", impersonate(func(o *googleid.ImpersonationOptions) {
			o.Scopes = []string{googleid.CloudPlatform + "," + googleid.CloudPlatform}
		}), "does not look like"},
		{"nobody who impersonates", impersonate(func(o *googleid.ImpersonationOptions) { o.Source = nil }), "the identity that impersonates is missing"},
		{"no account", impersonate(func(o *googleid.ImpersonationOptions) { o.ServiceAccount = "" }), `service account ""`},
		{"an account with a slash", impersonate(func(o *googleid.ImpersonationOptions) { o.ServiceAccount = "a/b@c.d" }), "does not look like name@project"},
		{"an account with a method", impersonate(func(o *googleid.ImpersonationOptions) { o.ServiceAccount = target + ":signBlob" }), "does not look like name@project"},
		{"a delegate that is none", impersonate(func(o *googleid.ImpersonationOptions) { o.Delegates = []string{"x"} }), `service account "x"`},
		{"a lifetime of a second", impersonate(func(o *googleid.ImpersonationOptions) { o.Lifetime = time.Second }), "cannot be valid for 1s"},
		{"a lifetime of a day", impersonate(func(o *googleid.ImpersonationOptions) { o.Lifetime = 24 * time.Hour }), "cannot be valid for 24h0m0s"},
	}
	for _, test := range tests {
		if test.want == "" && test.err != nil || test.want != "" && (test.err == nil || !strings.Contains(test.err.Error(), test.want)) {
			t.Errorf("%s: got %v, want %q", test.name, test.err, test.want)
		}
	}
}

func TestRequestsGoToTheUniverseOrToThisMachine(t *testing.T) {
	t.Parallel()
	for want, services := range map[string]googleid.Services{
		"https://sts.googleapis.com/v1/token":       {},
		"https://sts.example-cloud.goog/v1/token":   {Universe: "example-cloud.goog"},
		"http://127.0.0.1:9130/v1/token":            {STS: "http://127.0.0.1:9130/"},
		"https://sts.googleapis.com/v1/token?other": {IAMCredentials: "http://127.0.0.1:9130"},
	} {
		var got *url.URL
		services.HTTP = &http.Client{Transport: wire{http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			got = r.URL
			if r.Header.Get("Authorization") != "" {
				t.Error("the exchange has an Authorization header")
			}
			w.WriteHeader(http.StatusForbidden)
		})}}
		_, err := federation(t, func(o *googleid.FederationOptions) { o.Services = services }).Token(t.Context())
		wantFailure(t, err, "status 403", false)
		if got.String() != strings.TrimSuffix(want, "?other") {
			t.Errorf("asked %s, want %s", got, want)
		}
	}
}
