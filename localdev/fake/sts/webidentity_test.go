package sts_test

import (
	"maps"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	client "github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/aws-sdk-go-v2/service/sts/types"
	"github.com/go-jose/go-jose/v4"
	"github.com/postern-ai/postern/localdev/fake/awsauth"
	"github.com/postern-ai/postern/localdev/fake/awscreds"
	"github.com/postern-ai/postern/localdev/fake/jwtauth"
	"github.com/postern-ai/postern/localdev/fake/sts"
)

const (
	fromGoogle  = "arn:aws:iam::123456789012:role/from-google"
	fromEntra   = "arn:aws:iam::123456789012:role/from-entra"
	entraIssuer = "https://sts.windows.net/11111111-2222-4333-8444-555555555555/"
	ownIssuer   = "https://00000000-1111-4222-8333-444444444444.tokens.sts.global.api.aws"
)

// The keys of the issuers are made once: tests differ in what is said, not in who says it.
var (
	googleKey = jwtauth.NewSigner("RS256")
	entraKey  = jwtauth.NewSigner("RS256")
	ownRSA    = jwtauth.NewSigner("RS256")
	ownECDSA  = jwtauth.NewSigner("ES384")
)

func federated() *sts.Server {
	none := func(string) (awsauth.Key, bool) { return awsauth.Key{}, false }
	return sts.NewWith(sts.Options{Keys: none, Region: "eu-central-1",
		Issuers:  jwtauth.Issuers(map[string]*jwtauth.Signer{sts.Google: googleKey, entraIssuer: entraKey, ownIssuer: ownRSA}),
		Outbound: &sts.Outbound{Issuer: ownIssuer, RS256: ownRSA, ES384: ownECDSA},
		Roles: []sts.Role{
			{ARN: fromGoogle, MaxSession: 2 * time.Hour, Trust: []sts.Trust{{Federated: sts.Google, Audience: "1040", OriginalAudience: "sts.amazonaws.com", Subject: "1040"}}},
			{ARN: fromEntra, Trust: []sts.Trust{{Federated: entraIssuer, Audience: "api://postern", Subject: "object-1"}}},
		}})
}

func token(t *testing.T, signer *jwtauth.Signer, claims map[string]any) string {
	t.Helper()
	all := map[string]any{"iat": time.Now().Unix(), "exp": time.Now().Add(time.Hour).Unix()}
	maps.Copy(all, claims)
	text, err := signer.Sign(all)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func google(change map[string]any) map[string]any {
	all := map[string]any{"iss": sts.Google, "aud": "sts.amazonaws.com", "azp": "1040", "sub": "1040"}
	maps.Copy(all, change)
	return all
}

func entra(change map[string]any) map[string]any {
	all := map[string]any{"iss": entraIssuer, "aud": "api://postern", "sub": "object-1"}
	maps.Copy(all, change)
	return all
}

type text string

func (t text) GetIdentityToken() ([]byte, error) { return []byte(t), nil }

func TestTheOfficialProviderAssumesARoleWithATokenOfAnotherCloud(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := federated()
		assumed := func(role string, from text) awsauth.Key {
			t.Helper()
			provider := stscreds.NewWebIdentityRoleProvider(in(server, awsauth.Key{}), role, from, func(o *stscreds.WebIdentityRoleOptions) {
				o.RoleSessionName, o.Duration = "gateway", 30*time.Minute
			})
			got, err := provider.Retrieve(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			return keyOf(got)
		}
		for role, from := range map[string]string{fromGoogle: token(t, googleKey, google(nil)), fromEntra: token(t, entraKey, entra(nil))} {
			key := assumed(role, text(from))
			who, err := in(server, key).GetCallerIdentity(t.Context(), nil)
			if err != nil || !strings.HasSuffix(*who.Arn, strings.TrimPrefix(role, "arn:aws:iam::123456789012:role")+"/gateway") {
				t.Errorf("got %v and error %v", who, err)
			}
		}
	})
}

func TestTokensThatARoleDoesNotTrustAreRefused(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := federated()
		tests := []struct {
			name, role, token string
			duration          int32
			want              string
		}{
			{"another original audience", fromGoogle, token(t, googleKey, google(map[string]any{"aud": "other"})), 0, "AccessDenied"},
			{"another authorized party", fromGoogle, token(t, googleKey, google(map[string]any{"azp": "other"})), 0, "AccessDenied"},
			{"another subject", fromGoogle, token(t, googleKey, google(map[string]any{"sub": "other"})), 0, "AccessDenied"},
			{"another issuer that is known", fromGoogle, token(t, entraKey, entra(nil)), 0, "AccessDenied"},
			{"another audience", fromEntra, token(t, entraKey, entra(map[string]any{"aud": "api://other"})), 0, "AccessDenied"},
			{"a role that does not exist", fromEntra + "s", token(t, entraKey, entra(nil)), 0, "AccessDenied"},
			{"an issuer that is not known", fromEntra, token(t, entraKey, entra(map[string]any{"iss": "https://evil.example/"})), 0, "InvalidIdentityToken"},
			{"the key of another issuer", fromEntra, token(t, googleKey, entra(nil)), 0, "InvalidIdentityToken"},
			{"a token that has expired", fromEntra, token(t, entraKey, entra(map[string]any{"exp": time.Now().Unix()})), 0, "ExpiredTokenException"},
			{"a token from the future", fromEntra, token(t, entraKey, entra(map[string]any{"nbf": time.Now().Add(time.Hour).Unix()})), 0, "InvalidIdentityToken"},
			{"a token of AWS itself", fromEntra, token(t, ownRSA, entra(map[string]any{"iss": ownIssuer})), 0, "InvalidIdentityToken"},
			{"a longer session than the role allows", fromGoogle, token(t, googleKey, google(nil)), 7201, "ValidationError"},
			{"two hours, which is no chain", fromGoogle, token(t, googleKey, google(nil)), 7200, ""},
		}
		for _, test := range tests {
			request := &client.AssumeRoleWithWebIdentityInput{RoleArn: &test.role, RoleSessionName: aws.String("gateway"), WebIdentityToken: &test.token}
			if test.duration != 0 {
				request.DurationSeconds = &test.duration
			}
			_, err := in(server, awsauth.Key{}).AssumeRoleWithWebIdentity(t.Context(), request)
			wantCode(t, test.name, err, test.want)
		}
	})
}

func TestAWSVouchesForItsCallersElsewhere(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		platform := awscreds.New(awscreds.Options{Role: "gateway"})
		outbound := &sts.Outbound{Issuer: ownIssuer, RS256: ownRSA, ES384: ownECDSA, Audiences: []string{"api://AzureADTokenExchange", "other"}}
		server := sts.NewWith(sts.Options{Keys: platform.Lookup, Region: "eu-central-1", Outbound: outbound})
		disabled := sts.New(platform.Lookup, "eu-central-1")
		tests := []struct {
			name   string
			server http.Handler
			change func(*client.GetWebIdentityTokenInput)
			want   string
		}{
			{"one audience", server, nil, ""},
			{"two audiences and a tag", server, func(r *client.GetWebIdentityTokenInput) {
				r.Audience = append(r.Audience, "other")
				r.Tags = []types.Tag{{Key: aws.String("team"), Value: aws.String("ml")}}
			}, ""},
			{"the other algorithm", server, func(r *client.GetWebIdentityTokenInput) { r.SigningAlgorithm = aws.String("ES384") }, ""},
			{"an algorithm that is not offered", server, func(r *client.GetWebIdentityTokenInput) { r.SigningAlgorithm = aws.String("ES256") }, "ValidationError"},
			{"an audience that the policy does not allow", server, func(r *client.GetWebIdentityTokenInput) { r.Audience = []string{"https://evil.example"} }, "AccessDenied"},
			{"a token of less than a minute", server, func(r *client.GetWebIdentityTokenInput) { r.DurationSeconds = aws.Int32(59) }, "ValidationError"},
			{"a token that outlives the session", server, func(r *client.GetWebIdentityTokenInput) { r.DurationSeconds = aws.Int32(3600) }, "SessionDurationEscalationException"},
			{"no audience", server, func(r *client.GetWebIdentityTokenInput) { r.Audience = []string{} }, "ValidationError"},
			{"an account that has not enabled it", disabled, nil, "OutboundWebIdentityFederationDisabledException"},
		}
		key := platform.Issue()
		time.Sleep(time.Minute)
		for _, test := range tests {
			request := &client.GetWebIdentityTokenInput{Audience: []string{"api://AzureADTokenExchange"}, SigningAlgorithm: aws.String("RS256")}
			if test.change != nil {
				test.change(request)
			}
			got, err := in(test.server, key).GetWebIdentityToken(t.Context(), request)
			wantCode(t, test.name, err, test.want)
			if err != nil || test.want != "" {
				continue
			}
			claims, err := jwtauth.Verify(*got.WebIdentityToken, func(string) (jose.JSONWebKeySet, bool) { return outbound.KeySet(), true }, jose.RS256, jose.ES384)
			if err != nil || claims.Subject != "arn:aws:iam::123456789012:role/gateway" || claims.Issuer != ownIssuer || len(claims.Audience) != len(request.Audience) ||
				!claims.Expires.Equal(*got.Expiration) || time.Until(claims.Expires) != 5*time.Minute {
				t.Errorf("%s: got %+v and error %v", test.name, claims, err)
			}
		}
	})
}
