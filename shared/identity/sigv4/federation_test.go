package sigv4_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/postern-ai/postern/localdev/fake/awsauth"
	"github.com/postern-ai/postern/localdev/fake/awscreds"
	"github.com/postern-ai/postern/localdev/fake/fault"
	"github.com/postern-ai/postern/localdev/fake/jwtauth"
	"github.com/postern-ai/postern/localdev/fake/sts"
	"github.com/postern-ai/postern/shared/identity"
	"github.com/postern-ai/postern/shared/identity/sigv4"
	"github.com/postern-ai/postern/shared/secrets"
)

const (
	federated = "arn:aws:iam::123456789012:role/federated"
	issuer    = "https://issuer.example"
	ownIssuer = "https://00000000-1111-4222-8333-444444444444.tokens.sts.global.api.aws"
)

var (
	issuerKey = jwtauth.NewSigner("ES256")
	awsKey    = jwtauth.NewSigner("RS256")
)

// fixed is a source of one text.
func fixed(text string) identity.TokenSource {
	return identity.TokenFunc(func(context.Context) (identity.Token, error) {
		return identity.Token{Value: secrets.NewValue(text)}, nil
	})
}

// tokens is a source of tokens of the issuer.
func tokens(t *testing.T, subject string) identity.TokenSource {
	t.Helper()
	return identity.TokenFunc(func(context.Context) (identity.Token, error) {
		token, err := issuerKey.Sign(map[string]any{"iss": issuer, "sub": subject, "aud": "sts", "iat": time.Now().Unix(), "exp": time.Now().Add(time.Hour).Unix()})
		return identity.Token{Value: secrets.NewValue(token)}, err
	})
}

func federation() *sts.Server {
	return sts.NewWith(sts.Options{Region: "eu-central-1", Keys: func(string) (awsauth.Key, bool) { return awsauth.Key{}, false },
		Issuers: jwtauth.Issuers(map[string]*jwtauth.Signer{issuer: issuerKey}),
		Roles: []sts.Role{
			{ARN: federated, MaxSession: 6 * time.Hour, Trust: []sts.Trust{{Federated: issuer, Audience: "sts", Subject: "gateway"}}},
			{ARN: writer, Trust: []sts.Trust{{Principals: []string{federated}}}},
		}})
}

func in(service http.Handler) sigv4.STSOptions {
	return sigv4.STSOptions{Region: "eu-central-1", Getenv: environment(nil), HTTP: &http.Client{Transport: wire{service},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
}

func webIdentity(t *testing.T, options sigv4.WebIdentityOptions) *sigv4.Identity {
	t.Helper()
	provider, err := sigv4.NewWebIdentity(options)
	if err != nil {
		t.Fatal(err)
	}
	return sigv4.NewIdentity(sigv4.IdentityOptions{Credentials: provider, Getenv: options.Getenv, HTTP: options.HTTP})
}

func TestATokenOfAnotherCloudAssumesARoleAndAChainFromThere(t *testing.T) {
	bubble(t, func(t *testing.T) {
		service := federation()
		who := webIdentity(t, sigv4.WebIdentityOptions{STSOptions: in(service), RoleARN: federated, SessionName: "gateway", Duration: 6 * time.Hour, Token: tokens(t, "gateway")})
		principal, expires, err := who.Who(t.Context(), "eu-central-1")
		if err != nil || principal != (identity.Principal{Name: "arn:aws:sts::123456789012:assumed-role/federated/gateway", Source: "web identity"}) || time.Until(expires) != 6*time.Hour {
			t.Errorf("got %+v until %v: %v", principal, expires, err)
		}
		a := &account{sts: service}
		signer := a.assume(t, sigv4.RolesOptions{STSOptions: in(service), From: who}, sigv4.Role{ARN: writer})
		request, err := sign(t, signer)
		if err != nil || a.session(t, request).RoleARN != writer {
			t.Errorf("got %v", err)
		}
		roles, err := sigv4.NewRoles(sigv4.RolesOptions{STSOptions: in(service), From: who})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := roles.Assume(sigv4.Role{ARN: writer, Duration: 2 * time.Hour}); err == nil || !strings.Contains(err.Error(), "at most 1 hour") {
			t.Errorf("a long chained session: got %v", err)
		}
		// The next session is had with a new token.
		time.Sleep(24 * time.Hour)
		if _, _, err := who.Who(t.Context(), ""); err != nil || service.Calls("AssumeRoleWithWebIdentity") != 2 {
			t.Errorf("%d calls: %v", service.Calls("AssumeRoleWithWebIdentity"), err)
		}
	})
}

func TestARefusedTokenTellsWhatTheTrustPolicyNeeds(t *testing.T) {
	t.Parallel()
	code := func(code string) fault.Fault {
		return fault.Fault{Status: 400, Body: "<ErrorResponse><Error><Code>" + code + "</Code><Message>canary</Message></Error></ErrorResponse>"}
	}
	tests := []struct {
		name      string
		token     identity.TokenSource
		role      string
		fault     fault.Fault
		want      string
		retryable bool
		calls     int
	}{
		{"another subject", tokens(t, "other"), federated, fault.Fault{}, `its trust policy must allow sts:AssumeRoleWithWebIdentity for this token: issuer "https://issuer.example", subject "other", audience "sts"`, false, 1},
		{"another role", tokens(t, "gateway"), federated + "s", fault.Fault{}, "AccessDenied", false, 1},
		{"something that is no token", fixed("canary"), federated, fault.Fault{}, "the identity token is not a JSON Web Token", false, 1},
		{"an expired token", tokens(t, "gateway"), federated, code("ExpiredTokenException"), "the identity token has expired", false, 1},
		{"an issuer that cannot be reached", tokens(t, "gateway"), federated, code("IDPCommunicationError"), "IDPCommunicationError", true, 2},
		{"an issuer that does not know it", tokens(t, "gateway"), federated, code("IDPRejectedClaim"), "the issuer says that the token is not valid", false, 1},
		{"no token", identity.TokenFunc(func(context.Context) (identity.Token, error) {
			return identity.Token{}, &identity.Error{Public: "no identity here", Retryable: true}
		}), federated, fault.Fault{}, "no identity here", true, 0},
		{"no answer", tokens(t, "gateway"), federated, fault.Fault{Delay: time.Hour}, "AWS STS does not answer: timed out", true, 1},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				service := federation()
				service.Faults.Set(test.fault)
				who := webIdentity(t, sigv4.WebIdentityOptions{STSOptions: in(service), RoleARN: test.role, Token: test.token})
				start := time.Now()
				_, _, err := who.Who(t.Context(), "")
				if took := time.Since(start); took >= 3*time.Second {
					t.Errorf("took %v", took)
				}
				if failure := wantPublic(t, err, test.want); failure.Retryable != test.retryable {
					t.Errorf("retryable is %v", failure.Retryable)
				}
				if got := service.Faults.Calls(); got != test.calls {
					t.Errorf("%d attempts, want %d", got, test.calls)
				}
				time.Sleep(3 * time.Second)
			})
		})
	}
}

func TestFederationOptionsAreCheckedBeforeAnyRequest(t *testing.T) {
	t.Parallel()
	where := sigv4.STSOptions{Region: "eu-central-1", Getenv: environment(nil), HTTP: silent(t)}
	web := func(change func(*sigv4.WebIdentityOptions)) error {
		options := sigv4.WebIdentityOptions{STSOptions: where, RoleARN: federated, Token: fixed("t")}
		change(&options)
		_, err := sigv4.NewWebIdentity(options)
		return err
	}
	outbound := func(change func(*sigv4.OutboundOptions)) error {
		options := sigv4.OutboundOptions{STSOptions: where, Audience: "a"}
		change(&options)
		_, err := sigv4.NewOutbound(options)
		return err
	}
	for want, err := range map[string]error{
		"source of the identity token is missing": web(func(o *sigv4.WebIdentityOptions) { o.Token = nil }),
		`role "x" does not look like`:             web(func(o *sigv4.WebIdentityOptions) { o.RoleARN = "x" }),
		"session name":                            web(func(o *sigv4.WebIdentityOptions) { o.SessionName = "a b" }),
		"cannot last 13h0m0s":                     web(func(o *sigv4.WebIdentityOptions) { o.Duration = 13 * time.Hour }),
		"audience of the token is missing":        outbound(func(o *sigv4.OutboundOptions) { o.Audience = "" }),
		`does not sign tokens with "ES256"`:       outbound(func(o *sigv4.OutboundOptions) { o.Algorithm = "ES256" }),
		"cannot be valid for 59s":                 outbound(func(o *sigv4.OutboundOptions) { o.Duration = 59 * time.Second }),
		"cannot be valid for 2h0m0s":              outbound(func(o *sigv4.OutboundOptions) { o.Duration = 2 * time.Hour }),
		"global STS endpoint":                     outbound(func(o *sigv4.OutboundOptions) { o.Endpoint = "https://sts.amazonaws.com" }),
		`session tag "a;b"`:                       outbound(func(o *sigv4.OutboundOptions) { o.Tags = map[string]string{"a;b": ""} }),
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

func TestAWSVouchesForTheFunctionsRole(t *testing.T) {
	bubble(t, func(t *testing.T) {
		platform := awscreds.New(awscreds.Options{Role: "gateway"})
		out := &sts.Outbound{Issuer: ownIssuer, RS256: awsKey}
		service := sts.NewWith(sts.Options{Keys: platform.Lookup, Region: "eu-central-1", Outbound: out})
		where := in(service)
		where.Getenv = environment(lambda(platform.Issue()))
		source, err := sigv4.NewOutbound(sigv4.OutboundOptions{STSOptions: where, Audience: "api://AzureADTokenExchange", Tags: map[string]string{"team": "ml"}})
		if err != nil {
			t.Fatal(err)
		}
		token, err := source.Token(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		claims, err := jwtauth.Verify(token.Value.Reveal(), func(string) (jose.JSONWebKeySet, bool) { return out.KeySet(), true }, jose.RS256)
		if err != nil || claims.Subject != "arn:aws:iam::123456789012:role/gateway" || claims.Audience[0] != "api://AzureADTokenExchange" ||
			!strings.Contains(fmt.Sprint(claims.All), "request_tags:map[team:ml]") || !token.Expires.Equal(claims.Expires) || time.Until(token.Expires) != 5*time.Minute {
			t.Errorf("got %+v until %v: %v", claims, token.Expires, err)
		}
		if token.Principal != (identity.Principal{Name: "arn:aws:iam::123456789012:role/gateway", Source: "lambda environment"}) {
			t.Errorf("principal %+v", token.Principal)
		}
		// Each is a new one.
		time.Sleep(time.Second)
		if again, err := source.Token(t.Context()); err != nil || again.Value.Equal(token.Value) {
			t.Errorf("the same token twice: %v", err)
		}
	})
}

func TestATokenOfAWSDoesNotOutliveItsCredentials(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a := newAccount()
		roles, err := sigv4.NewRoles(a.options())
		if err != nil {
			t.Fatal(err)
		}
		who, err := roles.Assume(first())
		if err != nil {
			t.Fatal(err)
		}
		outbound := &sts.Outbound{Issuer: ownIssuer, RS256: awsKey}
		service := sts.NewWith(sts.Options{Keys: a.sts.Lookup, Region: "eu-central-1", Outbound: outbound})
		source, err := sigv4.NewOutbound(sigv4.OutboundOptions{STSOptions: in(service), From: who, Audience: "a", Duration: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := who.Who(t.Context(), ""); err != nil {
			t.Fatal(err)
		}
		time.Sleep(40 * time.Minute)
		token, err := source.Token(t.Context())
		if err != nil || time.Until(token.Expires) != 20*time.Minute {
			t.Errorf("valid for %v: %v", time.Until(token.Expires), err)
		}
	})
}

func TestAWSThatDoesNotVouchIsAClearErrorInTime(t *testing.T) {
	t.Parallel()
	code := func(status int, code string) fault.Fault {
		return fault.Fault{Status: status, Body: "<ErrorResponse><Error><Code>" + code + "</Code><Message>canary</Message></Error></ErrorResponse>"}
	}
	reply := func(token, expires string) fault.Fault {
		return fault.Fault{Status: 200, Body: "<GetWebIdentityTokenResponse><GetWebIdentityTokenResult><WebIdentityToken>" + token + "</WebIdentityToken><Expiration>" + expires + "</Expiration></GetWebIdentityTokenResult></GetWebIdentityTokenResponse>"}
	}
	jwt := "e30." + base64.RawURLEncoding.EncodeToString([]byte(`{"sub":"canary"}`)) + ".canary"
	tests := []struct {
		name      string
		fault     fault.Fault
		want      string
		retryable bool
		calls     int
	}{
		{"the account has not enabled it", fault.Fault{}, "aws iam enable-outbound-web-identity-federation", false, 1},
		{"the policy does not allow it", code(403, "AccessDenied"), "must allow sts:GetWebIdentityToken", false, 1},
		{"the token would live too long", code(403, "SessionDurationEscalationException"), "would outlive", false, 1},
		{"the endpoint does not have it", code(400, "InvalidAction"), "use the one of the region", false, 1},
		{"the credentials have ended", code(403, "ExpiredToken"), "ExpiredToken", false, 2},
		{"it is broken", code(503, "ServiceUnavailable"), "status 503", true, 2},
		{"it does not answer", fault.Fault{Delay: time.Hour}, "timed out", true, 1},
		{"it answers something else", fault.Fault{Status: 200, Body: "canary"}, "holds no identity token", true, 1},
		{"its token is none", reply("canary", "2100-01-01T00:00:00Z"), "holds no identity token", true, 1},
		{"its token has no expiry", reply(jwt, ""), "holds no identity token", true, 1},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				platform := awscreds.New(awscreds.Options{})
				service := sts.New(platform.Lookup, "eu-central-1")
				service.Faults.Set(test.fault)
				where := in(service)
				where.Getenv = environment(lambda(platform.Issue()))
				source, err := sigv4.NewOutbound(sigv4.OutboundOptions{STSOptions: where, Audience: "a"})
				if err != nil {
					t.Fatal(err)
				}
				start := time.Now()
				_, err = source.Token(t.Context())
				if took := time.Since(start); took >= 3*time.Second {
					t.Errorf("took %v", took)
				}
				if failure := wantPublic(t, err, test.want); failure.Retryable != test.retryable {
					t.Errorf("retryable is %v", failure.Retryable)
				}
				if got := service.Faults.Calls(); got != test.calls {
					t.Errorf("%d attempts, want %d", got, test.calls)
				}
				time.Sleep(3 * time.Second)
			})
		})
	}
}
