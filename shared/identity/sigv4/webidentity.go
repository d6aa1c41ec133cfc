package sigv4

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/postern-ai/postern/shared/identity"
)

const webSource = "web identity"

// WebIdentityOptions describes a role that an identity of another cloud may assume.
type WebIdentityOptions struct {
	STSOptions
	// RoleARN is the role. Its trust policy names the token's issuer, audience and subject.
	RoleARN string
	// SessionName and Duration are as in [Role]. The duration may be up to 12 hours, since this is no chain.
	SessionName string
	Duration    time.Duration
	// Token gets the JSON Web Token that shows who this is: Google's for a service account, Entra's for a managed identity. It is asked anew
	// for each session.
	Token identity.TokenSource
}

// WebIdentity is a provider of the credentials of a role that is assumed with a token of another cloud. It needs no AWS credentials.
type WebIdentity struct {
	sts   *tokenService
	role  Role
	token identity.TokenSource
}

// NewWebIdentity returns a WebIdentity that has asked nobody yet, or says which option is wrong.
func NewWebIdentity(options WebIdentityOptions) (*WebIdentity, error) {
	sts, err := options.resolve()
	if err != nil {
		return nil, err
	}
	if options.Token == nil {
		return nil, errors.New("the source of the identity token is missing")
	}
	role := Role{ARN: options.RoleARN, SessionName: options.SessionName, Duration: options.Duration}.withDefaults()
	if err := role.check(); err != nil {
		return nil, err
	}
	return &WebIdentity{sts: sts, role: role, token: options.Token}, nil
}

// Retrieve assumes the role.
func (w *WebIdentity) Retrieve(ctx context.Context) (aws.Credentials, error) {
	held, err := w.retrieve(ctx)
	return held.Credentials, err
}

func (w *WebIdentity) retrieve(ctx context.Context) (keys, error) {
	ctx, cancel := context.WithTimeout(ctx, stsTimeout)
	defer cancel()
	token, err := w.token.Token(ctx)
	if err != nil {
		return keys{}, err
	}
	reply, err := w.sts.call(ctx, url.Values{
		"Action": {"AssumeRoleWithWebIdentity"}, "RoleArn": {w.role.ARN}, "RoleSessionName": {w.role.SessionName},
		"DurationSeconds": {strconv.Itoa(int(w.role.Duration / time.Second))}, "WebIdentityToken": {token.Value.Reveal()},
	}, nil)
	if err != nil {
		who := identity.DescribeJWT(token.Value)
		if who == "" {
			who = "the identity token is not a JSON Web Token"
		}
		return keys{}, explainSTS(err, "assume role "+w.role.ARN, map[string]string{
			"AccessDenied":            "its trust policy must allow sts:AssumeRoleWithWebIdentity for this token: " + who,
			"InvalidIdentityToken":    "its account needs an IAM OIDC identity provider for the issuer, with the audience among its client ids (Google's is built in): " + who,
			"ExpiredTokenException":   "the identity token has expired",
			"IDPRejectedClaim":        "the issuer says that the token is not valid: " + who,
			"ValidationError":         fmt.Sprintf("the role's maximum session duration must be at least %v", w.role.Duration),
			"RegionDisabledException": "STS is switched off in this region for the account; switch it on or set another region",
		})
	}
	return parseIssued(reply, webSource)
}
