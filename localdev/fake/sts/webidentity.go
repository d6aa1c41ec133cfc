package sts

import (
	"crypto/rand"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/postern-ai/postern/localdev/fake/awsquery"
	"github.com/postern-ai/postern/localdev/fake/jwtauth"
)

// Google is the issuer whose tokens IAM knows without a provider, and whose claims it names in its own way.
const Google = "https://accounts.google.com"

// accepted are the algorithms of tokens that may assume a role
// (https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRoleWithWebIdentity.html).
var accepted = []jose.SignatureAlgorithm{jose.RS256, jose.RS384, jose.RS512, jose.ES256, jose.ES384, jose.ES512}

func (s *Server) assumeRoleWithWebIdentity(in call) (any, error) {
	wanted, err := wishOf(in.form)
	if err != nil {
		return nil, err
	}
	token, err := in.form.Text("WebIdentityToken", tokenType)
	if err != nil {
		return nil, err
	}
	claims, err := s.verify(token)
	if err != nil {
		return nil, err
	}
	audience := claims.Audience[0]
	role, err := s.allowed(in.key, wanted, func(t Trust) bool {
		return t.Federated == claims.Issuer && conditions(t, claims) && (t.Subject == "" || t.Subject == claims.Subject)
	})
	if refused, ok := errors.AsType[*awsquery.Refusal](err); ok && refused.Code == "AccessDenied" {
		return nil, awsquery.Refused(http.StatusForbidden, "AccessDenied", "Not authorized to perform sts:AssumeRoleWithWebIdentity")
	}
	if err != nil {
		return nil, err
	}
	result, err := s.begin(Session{RoleARN: role.ARN, Name: wanted.name}, role, wanted.duration)
	if assumed, ok := result.(assumedRole); ok {
		assumed.Subject, assumed.Provider, assumed.Audience = claims.Subject, claims.Issuer, audience
		return assumed, nil
	}
	return nil, err
}

// conditions checks the audiences. For Google's tokens :aud is the party that the token was issued to, when there is one, and :oaud the
// audience (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_iam-condition-keys.html).
func conditions(t Trust, claims jwtauth.Claims) bool {
	audiences := claims.Audience
	if party := claims.Text("azp"); claims.Issuer == Google && party != "" {
		audiences = []string{party}
	}
	return (t.Audience == "" || slices.Contains(audiences, t.Audience)) &&
		(t.OriginalAudience == "" || claims.Issuer == Google && slices.Contains(claims.Audience, t.OriginalAudience))
}

func (s *Server) verify(token string) (jwtauth.Claims, error) {
	issuers := s.options.Issuers
	if issuers == nil {
		issuers = func(string) (jose.JSONWebKeySet, bool) { return jose.JSONWebKeySet{}, false }
	}
	claims, err := jwtauth.Verify(token, issuers, accepted...)
	idp := func(message string) error {
		return awsquery.Refused(http.StatusBadRequest, "InvalidIdentityToken", message)
	}
	switch {
	case err == nil && s.options.Outbound != nil && claims.Issuer == s.options.Outbound.Issuer:
		return jwtauth.Claims{}, idp("Tokens of this issuer cannot be used to assume a role")
	case err == nil && len(claims.Audience) == 0:
		return jwtauth.Claims{}, idp("Incorrect token audience")
	case err == nil:
		return claims, nil
	case errors.Is(err, jwtauth.ErrExpired):
		return jwtauth.Claims{}, awsquery.Refused(http.StatusBadRequest, "ExpiredTokenException", "Token expired: current date/time must be before the expiration date/time")
	case errors.Is(err, jwtauth.ErrUnknownIssuer):
		return jwtauth.Claims{}, idp("No OpenIDConnect provider found in your account for the issuer of the token")
	case errors.Is(err, jwtauth.ErrUnknownKey):
		return jwtauth.Claims{}, idp("Couldn't retrieve verification key from your identity provider")
	case errors.Is(err, jwtauth.ErrNotYet):
		return jwtauth.Claims{}, idp("The token is not valid yet")
	}
	return jwtauth.Claims{}, idp("The ID Token provided is not a valid JWT")
}

// Outbound is an account's outbound web identity federation
// (https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_providers_outbound.html).
type Outbound struct {
	// Issuer is the account's own issuer, such as https://UUID.tokens.sts.global.api.aws.
	Issuer string
	// RS256 and ES384 sign the tokens.
	RS256, ES384 *jwtauth.Signer
	// Audiences are those that the caller's policy allows (sts:IdentityTokenAudience). Empty means any.
	Audiences []string
}

// KeySet returns the keys that verify the tokens, as the issuer publishes them.
func (o *Outbound) KeySet() jose.JSONWebKeySet {
	var set jose.JSONWebKeySet
	for _, signer := range []*jwtauth.Signer{o.RS256, o.ES384} {
		if signer != nil {
			set.Keys = append(set.Keys, signer.KeySet().Keys...)
		}
	}
	return set
}

type webIdentityToken struct {
	Token      string `xml:"WebIdentityToken"`
	Expiration string `xml:"Expiration"`
}

func (s *Server) webIdentityToken(in call) (any, error) {
	audiences, err := in.form.List("Audience", audienceType, 10)
	if err != nil {
		return nil, err
	}
	if len(audiences) == 0 {
		return nil, awsquery.Invalid("1 validation error detected: Value at 'audience' failed to satisfy constraint: Member must not be null")
	}
	algorithm, err := in.form.Text("SigningAlgorithm", algorithmType)
	if err != nil {
		return nil, err
	}
	duration, err := seconds(in.form, time.Minute, time.Hour, 5*time.Minute)
	if err != nil {
		return nil, err
	}
	tagged, err := tags(in.form)
	if err != nil {
		return nil, err
	}
	outbound := s.options.Outbound
	if outbound == nil {
		return nil, awsquery.Refused(http.StatusForbidden, "OutboundWebIdentityFederationDisabledException", "Outbound web identity federation is not enabled for this account")
	}
	signer := map[string]*jwtauth.Signer{"RS256": outbound.RS256, "ES384": outbound.ES384}[algorithm]
	expires := time.Now().Add(duration).Truncate(time.Second)
	switch {
	case signer == nil:
		return nil, awsquery.Invalid("1 validation error detected: Value at 'signingAlgorithm' failed to satisfy constraint: Member must be RS256 or ES384")
	case len(outbound.Audiences) > 0 && slices.ContainsFunc(audiences, func(a string) bool { return !slices.Contains(outbound.Audiences, a) }):
		return nil, awsquery.Refused(http.StatusForbidden, "AccessDenied", "User: "+in.key.ARN+" is not authorized to perform: sts:GetWebIdentityToken")
	case !in.key.Expires.IsZero() && expires.After(in.key.Expires):
		return nil, awsquery.Refused(http.StatusForbidden, "SessionDurationEscalationException", "The requested token duration would extend the session beyond its original expiration time")
	}
	extra := map[string]any{"aws_account": in.key.Account, "source_region": s.options.Region}
	if len(tagged) > 0 {
		extra["request_tags"] = tagged
	}
	var audience any = audiences
	if len(audiences) == 1 {
		audience = audiences[0]
	}
	token, err := signer.Sign(map[string]any{
		"iss": outbound.Issuer, "aud": audience, "sub": RoleOf(in.key.ARN), "iat": time.Now().Unix(), "exp": expires.Unix(),
		"jti": strings.ToLower(rand.Text()), "https://sts.amazonaws.com/": extra,
	})
	if err != nil {
		return nil, err
	}
	return webIdentityToken{token, expires.UTC().Format(time.RFC3339)}, nil
}
