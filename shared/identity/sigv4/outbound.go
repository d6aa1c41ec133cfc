package sigv4

import (
	"cmp"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/postern-ai/postern/shared/identity"
	"github.com/postern-ai/postern/shared/secrets"
)

const (
	shortestToken = time.Minute
	longestToken  = time.Hour
	defaultToken  = 5 * time.Minute
)

// OutboundOptions describes a token with which AWS vouches for one of its identities elsewhere.
type OutboundOptions struct {
	STSOptions
	// From is the identity that the token is about. Nil means the platform's own.
	From *Identity
	// Audience is whom the token is for, in its aud claim.
	Audience string
	// Algorithm is RS256, which every service takes, or ES384. Empty means RS256.
	Algorithm string
	// Duration is how long the token is valid, in whole seconds from 1 minute to 1 hour. Zero means 5 minutes. It is never longer than what
	// is left of the credentials.
	Duration time.Duration
	// Tags are put into the token as claims.
	Tags map[string]string
}

// Outbound gets signed JSON Web Tokens about an AWS identity from STS: outbound identity federation
// (https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_providers_outbound.html). The subject is the role's ARN. It is an
// [identity.TokenSource], and safe for concurrent use.
type Outbound struct {
	sts     *tokenService
	options OutboundOptions
}

var _ identity.TokenSource = (*Outbound)(nil)

// NewOutbound returns a source that has asked for nothing yet, or says which option is wrong.
func NewOutbound(options OutboundOptions) (*Outbound, error) {
	sts, err := options.resolve()
	if err != nil {
		return nil, err
	}
	if options.From == nil {
		options.From = NewIdentity(IdentityOptions{Getenv: options.Getenv, HTTP: options.HTTP})
	}
	options.Algorithm = cmp.Or(options.Algorithm, "RS256")
	options.Duration = cmp.Or(options.Duration, defaultToken)
	switch {
	case options.Audience == "" || len(options.Audience) > 1000:
		return nil, errors.New("the audience of the token is missing or longer than 1000 characters")
	case options.Algorithm != "RS256" && options.Algorithm != "ES384":
		return nil, fmt.Errorf("AWS does not sign tokens with %q; use RS256 or ES384", options.Algorithm)
	case options.Duration < shortestToken || options.Duration > longestToken || options.Duration%time.Second != 0:
		return nil, fmt.Errorf("a token of AWS cannot be valid for %v; give whole seconds from 1 minute to 1 hour", options.Duration)
	case strings.HasPrefix(sts.endpoint, "https://sts.amazonaws.com"):
		return nil, errors.New("the global STS endpoint issues no tokens for services outside AWS; leave the endpoint out to use the region's")
	}
	if err := (Role{Tags: options.Tags}).checkTags(); err != nil {
		return nil, err
	}
	return &Outbound{sts: sts, options: options}, nil
}

// Token gets a token about the identity.
func (o *Outbound) Token(ctx context.Context) (result identity.Token, err error) {
	defer func() { identity.TriedToken(ctx, "AWS identity token (sts:GetWebIdentityToken)", &result, &err) }()
	ctx, cancel := context.WithTimeout(ctx, stsTimeout)
	defer cancel()
	signer, err := o.options.From.keys(ctx)
	if err != nil {
		return identity.Token{}, err
	}
	reply, err := o.sts.call(ctx, o.form(signer), &signer)
	if refusedCaller(err) {
		o.options.From.reject(signer.AccessKeyID, signer.SessionToken)
		if signer, err = o.options.From.keys(ctx); err != nil {
			return identity.Token{}, err
		}
		reply, err = o.sts.call(ctx, o.form(signer), &signer)
	}
	if err != nil {
		return identity.Token{}, explainSTS(err, "get an identity token from AWS for audience "+strconv.Quote(o.options.Audience), map[string]string{
			"AccessDenied": "the function's role must allow sts:GetWebIdentityToken for this audience and duration",
			"OutboundWebIdentityFederationDisabledException": "enable outbound identity federation for the account: aws iam enable-outbound-web-identity-federation",
			"SessionDurationEscalationException":             "the token would outlive the credentials; lower its duration",
			"JWTPayloadSizeExceededException":                "the token has too many tags",
			"InvalidAction":                                  "this endpoint does not have GetWebIdentityToken; use the one of the region",
		})
	}
	return parseOutbound(reply, signer.principal())
}

func (o *Outbound) form(signer keys) url.Values {
	duration := o.options.Duration
	if signer.CanExpire {
		duration = max(shortestToken, min(duration, time.Until(signer.Expires).Truncate(time.Second)))
	}
	form := url.Values{
		"Action": {"GetWebIdentityToken"}, "Audience.member.1": {o.options.Audience}, "SigningAlgorithm": {o.options.Algorithm},
		"DurationSeconds": {strconv.Itoa(int(duration / time.Second))},
	}
	addTags(form, o.options.Tags)
	return form
}

// parseOutbound names the token after its own subject, which is the role and not the session.
func parseOutbound(reply []byte, principal identity.Principal) (identity.Token, error) {
	var parsed struct {
		XMLName    xml.Name `xml:"GetWebIdentityTokenResponse"`
		Token      string   `xml:"GetWebIdentityTokenResult>WebIdentityToken"`
		Expiration string   `xml:"GetWebIdentityTokenResult>Expiration"`
	}
	err := xml.Unmarshal(reply, &parsed)
	expires, badTime := time.Parse(time.RFC3339, parsed.Expiration)
	token := secrets.NewValue(parsed.Token)
	var claims struct {
		Subject string `json:"sub"`
	}
	if err != nil || badTime != nil || identity.UnverifiedClaims(token, &claims) != nil {
		return identity.Token{}, &identity.Error{Public: "the answer of AWS STS holds no identity token with an expiry", Err: err, Retryable: true}
	}
	principal.Name = cmp.Or(asARN(claims.Subject), principal.Name)
	return identity.Token{Value: token, Expires: expires, Principal: principal}, nil
}
