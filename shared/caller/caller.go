// Package caller finds out who sends a request: by a bearer token of a configured OpenID Connect issuer, by an API token, by what a
// declared front says of the client (its certificate, an assertion of Identity-Aware Proxy), or by what the platform's own IAM says
// about the caller that it admitted. A request without a valid credential has no principal, whatever its headers hold.
//
// It must not know what a caller may do (package policy), what the request asks for, or how a refusal is written to the wire
// (package gateway): it gives a Principal or an Error with a code.
package caller

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/postern-ai/postern/shared/config"
)

// Principal is an authenticated caller. It may be shared between requests and goroutines and must not be changed.
type Principal struct {
	// Method says how the caller was authenticated.
	Method Method
	// Issuer is who vouches for the caller: the iss claim of its token, or AWSIssuer, EasyAuthIssuer, config.APITokenIssuer, or
	// config.CertificateIssuer with the name of a front.
	Issuer string
	// Subject names the caller within the issuer: the sub claim, an IAM ARN, a verified e-mail address of a Google identity, the
	// name of an API token, the URI or distinguished name of a certificate.
	Subject string
	// Name is the caller for logs: the issuer's name in the configuration and the subject.
	Name string
	// Kind says whether the caller is a person or a program, where its credential tells.
	Kind Kind
	// Tenant is the organisation within the issuer: Entra's tid, the domain of a Google Workspace, an AWS account, the authority
	// that made a certificate.
	Tenant string
	// Client is the application that got the token: the azp, client_id, appid or cid claim, the id of an API token.
	Client string
	// Groups are the caller's groups, as the issuer gives them in the groups claim.
	Groups []string
	// Roles are the roles claim.
	Roles []string
	// Scopes are the scope and scp claims.
	Scopes []string
	// Claims are the further claims that the document's rules ask about, by the name that the rule gives them.
	Claims map[string][]string
	// ACR is the level of the caller's authentication, the acr claim (OpenID Connect Core 1.0 section 2).
	ACR string
	// AMR are the methods of the caller's authentication, the amr claim (RFC 8176).
	AMR []string
	// Contexts are the authentication contexts that Entra's Conditional Access has let the caller into, the acrs claim.
	Contexts []string
	// AuthTime is when the caller authenticated; zero when the token does not say.
	AuthTime time.Time
	// Expires is when the credential ends; zero when that is not known.
	Expires time.Time
}

// Method is a way to be authenticated.
type Method string

// The methods. Those that [Method.Platform] knows are the platform's.
const (
	OIDC     Method = "oidc"
	APIToken Method = "api_token"
	MTLS     Method = "mtls"
	IAP      Method = "iap"
	AWSIAM   Method = "aws_iam"
	CloudRun Method = "cloud_run_iam"
	EasyAuth Method = "azure_easy_auth"
)

// Platform reports whether the platform's own IAM admitted the caller.
func (m Method) Platform() bool { return m == AWSIAM || m == CloudRun || m == EasyAuth }

// The issuers of principals that come without an iss claim.
const (
	AWSIssuer      = "aws:iam"
	EasyAuthIssuer = "azure:easyauth"
)

// Authenticator finds the principal of a request. Implementations look at the request's headers and context only, may be used
// by several goroutines, honour the request's context while they wait for another caller's work, and return exactly one of a
// principal and an error. The error is an *Error; it matches ErrNoCredential if and only if the request holds no credential
// that the authenticator is there to judge.
type Authenticator interface {
	Authenticate(*http.Request) (*Principal, error)
}

// ErrNoCredential says "not mine, try the next". A credential that is an authenticator's own and is bad never matches it, so
// that it cannot fall through to a weaker check.
var ErrNoCredential = errors.New("no credential for this authenticator")

// FirstOf returns an authenticator that asks each one in turn until one has an answer, which may be a refusal. When none has,
// its error is the most telling of theirs. Without any authenticator it refuses every request.
func FirstOf(authenticators ...Authenticator) Authenticator {
	if len(authenticators) == 0 {
		return Refuse()
	}
	return firstOf(authenticators)
}

type firstOf []Authenticator

func (f firstOf) Authenticate(r *http.Request) (*Principal, error) {
	var telling error
	for _, a := range f {
		principal, err := a.Authenticate(r)
		if err == nil || !errors.Is(err, ErrNoCredential) {
			return principal, err
		}
		if telling == nil || CodeOf(telling) == Missing {
			telling = err
		}
	}
	return nil, telling
}

// Refuse returns an authenticator that refuses every request, for a gateway that has not been told whom to let in.
func Refuse() Authenticator { return refuse{} }

type refuse struct{}

func (refuse) Authenticate(*http.Request) (*Principal, error) {
	return nil, &Error{Code: NotConfigured, Public: "this gateway has not been told whom to let in; its configuration needs callers or platform_callers"}
}

// Options are what New and Guard need beside the document.
type Options struct {
	// Cloud is where the function runs, which says whose headers could be trusted. Empty means nobody's.
	Cloud config.Cloud
	// APITokens reads the list of API tokens, and APITokenKey its key. They are used only if the document accepts such tokens.
	APITokens, APITokenKey Secret
	// Certificate returns the client certificate, in PEM, that API Gateway has verified and put beside the request, and Balanced
	// reports whether the request came through a load balancer. Neither may look at the request's headers. Nil means never.
	Certificate func(*http.Request) (pem string, ok bool)
	Balanced    func(*http.Request) bool
	// Platform finds the caller that the platform admitted. It is used only if the document says so.
	Platform Authenticator
	// FirstUse notes for all instances of the function that a proof of possession has been used, for as long as the span, and reports
	// whether that was the first time. It is asked about proofs that count otherwise. Nil means that each instance knows its own alone.
	FirstUse func(ctx context.Context, proof string, span time.Duration) bool
	// Transport fetches the issuers' keys. When nil, a transport of its own is used that takes no proxy from the environment.
	Transport http.RoundTripper
}

func (o Options) balanced(r *http.Request) bool { return o.Balanced != nil && o.Balanced(r) }

// New returns the authenticator that a document describes. It fetches nothing: an issuer's keys are fetched by the first request
// that needs them. Tokens are judged before the words of fronts and of the platform, since they say more.
func New(d *config.Document, o Options) Authenticator {
	var authenticators []Authenticator
	certificates := newCertificates(d, o)
	if len(d.Callers) > 0 {
		bearer := NewBearer(d.Callers, o.Transport)
		bearer.certificates = certificates
		if slices.ContainsFunc(d.Callers, func(c config.Caller) bool { return c.DPoP != "" }) {
			bearer.dpop = &dpop{address: d.PublicURL, elsewhere: o.FirstUse}
		}
		authenticators = append(authenticators, bearer)
	}
	if d.APITokens != nil && o.APITokens != nil && o.APITokenKey != nil {
		authenticators = append(authenticators, NewAPITokens(o.APITokens, o.APITokenKey))
	}
	if d.Fronts.IAP != nil && o.Cloud == config.GCP {
		authenticators = append(authenticators, NewIAP(d.Fronts.IAP, o.Transport))
	}
	if certificates.admit() {
		authenticators = append(authenticators, certificates)
	}
	if d.PlatformCallers && o.Platform != nil {
		authenticators = append(authenticators, o.Platform)
	}
	return FirstOf(authenticators...)
}
