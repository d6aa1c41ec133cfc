package googleid

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/postern-ai/postern/shared/identity"
	"github.com/postern-ai/postern/shared/secrets"
)

// The types of tokens in an exchange (RFC 8693 section 3, and Google's own for AWS).
const (
	exchangeGrant   = "urn:ietf:params:oauth:grant-type:token-exchange"
	accessTokenType = "urn:ietf:params:oauth:token-type:access_token"
	// JWTType and IDTokenType are those of signed JSON Web Tokens. Google treats them alike.
	JWTType     = "urn:ietf:params:oauth:token-type:jwt"
	IDTokenType = "urn:ietf:params:oauth:token-type:id_token"
	awsType     = "urn:ietf:params:aws:token-type:aws4_request"

	federationSource = "workload identity federation"
	// audiencePrefix is the same in every universe.
	audiencePrefix = "//iam.googleapis.com/"
	targetHeader   = "X-Goog-Cloud-Target-Resource"
)

// FederationOptions describes an identity of another cloud as a workload identity pool of Google's knows it.
type FederationOptions struct {
	Services
	// Audience is the pool's provider, by its full name:
	// //iam.googleapis.com/projects/NUMBER/locations/global/workloadIdentityPools/POOL/providers/PROVIDER.
	Audience string
	// Scopes limits what the token may be used for. Empty means CloudPlatform.
	Scopes []string

	// Subject gets the token that shows who this is, for a provider of OpenID Connect. It is asked anew for each exchange. Exactly one of
	// Subject and AWS is set.
	Subject identity.TokenSource
	// SubjectType is JWTType or IDTokenType. Empty means JWTType.
	SubjectType string
	// AWS signs requests to STS in AWSRegion, for a provider of AWS: what shows who this is, is a signed request that Google sends on.
	AWS       identity.Authorizer
	AWSRegion string
}

// Federation exchanges tokens of another cloud for Google's (https://cloud.google.com/iam/docs/workload-identity-federation). It is an
// [identity.TokenSource], and safe for concurrent use. Where the identity is to act as a service account, an [Impersonation] takes its
// tokens.
type Federation struct {
	services *services
	options  FederationOptions
}

var _ identity.TokenSource = (*Federation)(nil)

// NewFederation returns a source that has asked for nothing yet, or says which option is wrong.
func NewFederation(options FederationOptions) (*Federation, error) {
	services, err := options.resolve()
	if err != nil {
		return nil, err
	}
	if err := checkAudience(options.Audience); err != nil {
		return nil, err
	}
	options.Scopes = orCloudPlatform(options.Scopes)
	options.SubjectType = cmp.Or(options.SubjectType, JWTType)
	switch {
	case (options.Subject == nil) == (options.AWS == nil):
		return nil, errors.New("workload identity federation needs one identity of another cloud: an AWS identity, or a source of signed tokens")
	case options.AWS != nil && !isRegion(options.AWSRegion):
		return nil, fmt.Errorf("AWS region %q does not look like eu-central-1", options.AWSRegion)
	case options.SubjectType != JWTType && options.SubjectType != IDTokenType:
		return nil, fmt.Errorf("the subject token type must be %s or %s", JWTType, IDTokenType)
	}
	if err := checkScopes(options.Scopes); err != nil {
		return nil, err
	}
	return &Federation{services: services, options: options}, nil
}

// checkAudience accepts the providers of workload identity pools. Pools of people (workforcePools) are not for a function.
func checkAudience(audience string) error {
	const form = "//iam.googleapis.com/projects/NUMBER/locations/global/workloadIdentityPools/POOL/providers/PROVIDER"
	rest, ok := strings.CutPrefix(audience, audiencePrefix)
	parts := strings.Split(rest, "/")
	if !ok || len(parts) != 8 || parts[0] != "projects" || parts[1] == "" || strings.Trim(parts[1], "0123456789") != "" ||
		parts[2] != "locations" || parts[3] != "global" || parts[4] != "workloadIdentityPools" || !isID(parts[5]) || parts[6] != "providers" || !isID(parts[7]) {
		return errors.New("the audience of workload identity federation must have the form " + form + ", with the project's number")
	}
	return nil
}

func isID(text string) bool {
	return text != "" && len(text) <= 64 && !strings.ContainsFunc(text, func(c rune) bool { return (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' })
}

func isRegion(text string) bool { return isID(text) && strings.Contains(text, "-") }

// Token exchanges one token.
func (f *Federation) Token(ctx context.Context) (result identity.Token, err error) {
	defer func() { identity.TriedToken(ctx, federationSource, &result, &err) }()
	ctx, cancel := context.WithTimeout(ctx, totalTimeout)
	defer cancel()
	if f.options.AWS == nil {
		return f.fromToken(ctx)
	}
	token, signed, err := f.fromAWS(ctx)
	if refused, ok := errors.AsType[refusal](err); ok && refused == "invalid_grant" {
		// AWS's credentials may have ended under us: fetch them anew, once.
		f.options.AWS.Rejected(signed)
		token, _, err = f.fromAWS(ctx)
	}
	return token, err
}

func (f *Federation) fromToken(ctx context.Context) (identity.Token, error) {
	subject, err := f.options.Subject.Token(ctx)
	if err != nil {
		return identity.Token{}, err
	}
	who := identity.DescribeJWT(subject.Value)
	if who == "" {
		who = "the subject token is not a JSON Web Token"
	}
	return f.exchange(ctx, f.options.SubjectType, subject.Value, map[string]string{
		"invalid_grant": "the pool's provider must have this issuer, and this audience among its allowed ones, and the token must not have expired: " + who,
	})
}

// fromAWS also returns the request that was signed.
func (f *Federation) fromAWS(ctx context.Context) (identity.Token, *http.Request, error) {
	request, err := f.callerIdentity(ctx)
	if err != nil {
		return identity.Token{}, request, err
	}
	subject, err := serialize(request)
	if err != nil {
		return identity.Token{}, request, &identity.Error{Public: "the signed request cannot be encoded", Err: err}
	}
	token, err := f.exchange(ctx, awsType, subject, map[string]string{
		"invalid_grant": "AWS must accept the credentials, and google.subject must not be longer than 127 bytes: an assumed role's ARN with its session name",
	})
	return token, request, err
}

// callerIdentity returns a signed request for the caller's identity that is bound to the provider
// (https://cloud.google.com/iam/docs/reference/sts/rest/v1/TopLevel/token).
func (f *Federation) callerIdentity(ctx context.Context) (*http.Request, error) {
	address := "https://sts." + f.options.AWSRegion + ".amazonaws.com?Action=GetCallerIdentity&Version=2011-06-15"
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, address, nil)
	if err != nil {
		return nil, &identity.Error{Public: "the AWS region does not make a host name", Err: err}
	}
	request.Header.Set(targetHeader, f.options.Audience)
	return request, f.options.AWS.Authorize(request)
}

// serialize writes a signed request as the subject token that Google expects.
func serialize(request *http.Request) (secrets.Value, error) {
	type header struct {
		Key   string `json:"key"`
		Value string `json:"value"`
	}
	headers := []header{{"host", request.URL.Host}}
	for name, values := range request.Header {
		for _, value := range values {
			headers = append(headers, header{strings.ToLower(name), value})
		}
	}
	text, err := json.Marshal(struct {
		URL     string   `json:"url"`
		Method  string   `json:"method"`
		Headers []header `json:"headers"`
	}{request.URL.String(), request.Method, headers})
	return secrets.NewValue(url.QueryEscape(string(text))), err
}

func (f *Federation) exchange(ctx context.Context, kind string, subject secrets.Value, remedies map[string]string) (identity.Token, error) {
	q := f.services.form(f.services.sts+"/v1/token", url.Values{
		"grant_type": {exchangeGrant}, "requested_token_type": {accessTokenType}, "audience": {f.options.Audience},
		"scope": {strings.Join(f.options.Scopes, " ")}, "subject_token": {subject.Reveal()}, "subject_token_type": {kind},
	})
	q.doing = "exchange a token of another cloud for Google's"
	q.remedies = map[string]string{
		"invalid_target":      "the pool or its provider does not exist, or is disabled: " + f.options.Audience,
		"invalid_request":     "check the audience and that the provider is of the right kind: " + f.options.Audience,
		"invalid_scope":       "check the scopes",
		"unauthorized_client": "the provider's attribute condition, or its AWS account, does not let this identity in",
	}
	maps.Copy(q.remedies, remedies)
	began := time.Now()
	var answer granted
	if err := f.services.ask(ctx, q, &answer); err != nil {
		return identity.Token{}, err
	}
	return answer.token(began, identity.Principal{Name: strings.TrimPrefix(f.options.Audience, audiencePrefix), Source: federationSource})
}
