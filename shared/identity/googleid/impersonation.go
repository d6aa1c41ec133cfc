package googleid

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/postern-ai/postern/shared/identity"
	"github.com/postern-ai/postern/shared/secrets"
)

const (
	accountPrefix     = "projects/-/serviceAccounts/"
	defaultLifetime   = time.Hour
	longestLifetime   = 12 * time.Hour
	shortestLifetime  = time.Minute
	impersonationNote = ", impersonation"
)

// ImpersonationOptions describes a service account that another identity may act as.
type ImpersonationOptions struct {
	Services
	// Source gets the tokens of the identity that impersonates. They must be for CloudPlatform.
	Source identity.TokenSource
	// ServiceAccount is the account to act as, by its address or its number.
	ServiceAccount string
	// Delegates are the accounts in between, in order: Source may act as the first of them, each of them as the next, and the last one as
	// ServiceAccount.
	Delegates []string
	// Scopes limits what access tokens may be used for. Empty means CloudPlatform.
	Scopes []string
	// Lifetime is how long access tokens are valid: at most an hour, or 12 hours where the organisation allows it. Zero means an hour.
	Lifetime time.Duration
}

// Impersonation gets tokens for a service account from the IAM Credentials API
// (https://cloud.google.com/iam/docs/create-short-lived-credentials-direct). It is an [identity.TokenSource], and safe for concurrent use.
type Impersonation struct {
	services  *services
	options   ImpersonationOptions
	delegates []string
}

var _ identity.TokenSource = (*Impersonation)(nil)

// NewImpersonation returns a source that has asked for nothing yet, or says which option is wrong.
func NewImpersonation(options ImpersonationOptions) (*Impersonation, error) {
	services, err := options.resolve()
	if err != nil {
		return nil, err
	}
	if options.Source == nil {
		return nil, errors.New("the identity that impersonates is missing")
	}
	for _, account := range slices.Concat([]string{options.ServiceAccount}, options.Delegates) {
		if !isAccount(account) {
			return nil, fmt.Errorf("service account %q does not look like name@project.iam.gserviceaccount.com", account)
		}
	}
	options.Scopes = orCloudPlatform(options.Scopes)
	if err := checkScopes(options.Scopes); err != nil {
		return nil, err
	}
	options.Lifetime = cmp.Or(options.Lifetime, defaultLifetime)
	if options.Lifetime < shortestLifetime || options.Lifetime > longestLifetime || options.Lifetime%time.Second != 0 {
		return nil, fmt.Errorf("a token cannot be valid for %v; give whole seconds from 1 minute to 1 hour, or to 12 hours where the organisation allows it", options.Lifetime)
	}
	got := &Impersonation{services: services, options: options}
	for _, delegate := range options.Delegates {
		got.delegates = append(got.delegates, accountPrefix+delegate)
	}
	return got, nil
}

// isAccount reports whether a text is the address or the number of a service account. It becomes a part of a URL.
func isAccount(text string) bool {
	if text != "" && len(text) <= 30 && strings.Trim(text, "0123456789") == "" {
		return true
	}
	name, domain, ok := strings.Cut(text, "@")
	return ok && name != "" && isDomain(domain) && len(text) <= 320 && !strings.ContainsFunc(name, func(c rune) bool {
		return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && !strings.ContainsRune("-_.", c)
	})
}

// Token gets an access token for the account.
func (i *Impersonation) Token(ctx context.Context) (result identity.Token, err error) {
	defer func() { identity.TriedToken(ctx, "impersonation of "+i.options.ServiceAccount, &result, &err) }()
	ctx, cancel := context.WithTimeout(ctx, totalTimeout)
	defer cancel()
	var answer struct {
		AccessToken string `json:"accessToken"`
		ExpireTime  string `json:"expireTime"`
	}
	principal, err := i.ask(ctx, "generateAccessToken", struct {
		Scope     []string `json:"scope"`
		Lifetime  string   `json:"lifetime"`
		Delegates []string `json:"delegates,omitempty"`
	}{i.options.Scopes, strconv.Itoa(int(i.options.Lifetime/time.Second)) + "s", i.delegates}, &answer)
	if err != nil {
		return identity.Token{}, err
	}
	expires, err := time.Parse(time.RFC3339, answer.ExpireTime)
	if err != nil || answer.AccessToken == "" {
		return identity.Token{}, &identity.Error{Public: "the answer of the IAM Credentials API is not an access token with an expiry", Err: err, Retryable: true}
	}
	return identity.Token{Value: secrets.NewValue(answer.AccessToken), Expires: expires, Principal: principal}, nil
}

// IDToken gets an identity token for the account, with which it shows who it is to the audience.
func (i *Impersonation) IDToken(ctx context.Context, audience string) (result identity.Token, err error) {
	defer func() {
		identity.TriedToken(ctx, "impersonation of "+i.options.ServiceAccount+" (identity token)", &result, &err)
	}()
	ctx, cancel := context.WithTimeout(ctx, totalTimeout)
	defer cancel()
	var answer struct {
		Token string `json:"token"`
	}
	principal, err := i.ask(ctx, "generateIdToken", struct {
		Audience     string   `json:"audience"`
		IncludeEmail bool     `json:"includeEmail"`
		Delegates    []string `json:"delegates,omitempty"`
	}{audience, true, i.delegates}, &answer)
	if err != nil {
		return identity.Token{}, err
	}
	token := secrets.NewValue(answer.Token)
	var claims struct {
		Expires int64 `json:"exp"`
	}
	if err := identity.UnverifiedClaims(token, &claims); err != nil || claims.Expires == 0 {
		return identity.Token{}, &identity.Error{Public: "the answer of the IAM Credentials API is not an identity token with an expiry", Err: err, Retryable: true}
	}
	return identity.Token{Value: token, Expires: time.Unix(claims.Expires, 0), Principal: principal}, nil
}

// IDTokens returns a source of identity tokens for one audience.
func (i *Impersonation) IDTokens(audience string) identity.TokenSource {
	return identity.TokenFunc(func(ctx context.Context) (identity.Token, error) { return i.IDToken(ctx, audience) })
}

func (i *Impersonation) ask(ctx context.Context, method string, message, into any) (identity.Principal, error) {
	source, err := i.options.Source.Token(ctx)
	if err != nil {
		return identity.Principal{}, err
	}
	body, err := json.Marshal(message)
	if err != nil {
		return identity.Principal{}, &identity.Error{Public: "the request for an impersonation cannot be encoded", Err: err}
	}
	q := query{
		address: i.services.iam + "/v1/" + accountPrefix + i.options.ServiceAccount + ":" + method, contentType: jsonType, body: body, bearer: source.Value,
		doing: fmt.Sprintf("act as service account %s for %s", i.options.ServiceAccount, source.Principal.Name),
		remedies: map[string]string{
			"PERMISSION_DENIED": "enable the IAM Service Account Credentials API, and grant roles/iam.serviceAccountTokenCreator (or roles/iam.workloadIdentityUser to an identity of " +
				"another cloud) on the account, and on each delegate to the one before it",
			"NOT_FOUND":        "there is no such service account",
			"UNAUTHENTICATED":  "the token of the identity that impersonates is not accepted",
			"INVALID_ARGUMENT": fmt.Sprintf("check the scopes, the delegates, and that the organisation allows tokens of %v", i.options.Lifetime),
		},
	}
	return identity.Principal{Name: i.options.ServiceAccount, Source: source.Principal.Source + impersonationNote}, i.services.ask(ctx, q, into)
}
