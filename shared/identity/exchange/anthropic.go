package exchange

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/postern-ai/postern/shared/identity"
)

const (
	anthropicEndpoint = "https://api.anthropic.com/v1/oauth/token"
	grantJWTBearer    = "urn:ietf:params:oauth:grant-type:jwt-bearer"

	betaHeader = "Anthropic-Beta"
	// Anthropic's own clients send both betas with an exchange and the first with each request under a token; its guides send neither.
	betaOAuth      = "oauth-2025-04-20"
	betaFederation = "oidc-federation-2026-04-01"

	// anthropicMaximum is the longest life of a subject token that Anthropic accepts unless the issuer was given another maximum.
	anthropicMaximum = time.Hour
)

// AnthropicOptions says which of Anthropic's service accounts the platform's identity acts as.
type AnthropicOptions struct {
	// Subject gets a token that the platform has signed, for the audience that the federation rule expects. It must be another one each
	// time: Anthropic accepts a token that has an id (jti), as AWS's have, once only.
	Subject Secret
	// SubjectName says whose token that is. It is a part of Key, because Subject cannot be compared.
	SubjectName string
	// FederationRuleID is the rule to be judged by: fdrl_...
	FederationRuleID string
	// OrganizationID is the organization's UUID.
	OrganizationID string
	// ServiceAccountID is the service account to act as: svac_...
	ServiceAccountID string
	// WorkspaceID is the workspace that the token is for: wrkspc_..., or "default". It may be empty when the rule has only one.
	WorkspaceID string
	Vendor
}

// Anthropic exchanges the platform's token for one of Anthropic's service accounts
// (https://platform.claude.com/docs/manage-claude/wif-reference). It is an [identity.TokenSource], and safe for concurrent use.
type Anthropic struct {
	server  *server
	options AnthropicOptions
}

var _ identity.TokenSource = (*Anthropic)(nil)

// NewAnthropic returns a source that has asked for nothing yet, or says which option is wrong. The ids are checked for their kind, because
// Anthropic answers a wrong one as it does any other failure, without a reason.
func NewAnthropic(options AnthropicOptions) (*Anthropic, error) {
	is := func(id, prefix string) bool { return printable(id) && strings.HasPrefix(id, prefix) }
	switch {
	case options.Subject == nil || options.SubjectName == "":
		return nil, errors.New("the platform's token, or its name, is missing")
	case !is(options.FederationRuleID, "fdrl_"):
		return nil, errors.New("the federation rule's id at Anthropic is missing; it begins with fdrl_")
	case !is(options.OrganizationID, ""):
		return nil, errors.New("the organization's id at Anthropic is missing; it is a UUID")
	case !is(options.ServiceAccountID, "svac_"):
		return nil, errors.New("the service account's id at Anthropic is missing; it begins with svac_")
	case options.WorkspaceID != "" && options.WorkspaceID != "default" && !is(options.WorkspaceID, "wrkspc_"):
		return nil, errors.New("the workspace's id at Anthropic is not one; it begins with wrkspc_, or is the word default")
	}
	server, err := options.server(anthropicEndpoint)
	if err != nil {
		return nil, err
	}
	return &Anthropic{server: server, options: options}, nil
}

// Key names everything that the token depends on. It holds no secret.
func (a *Anthropic) Key() string {
	o := a.options
	return joinKey("anthropic", a.server.fixed.String(), o.SubjectName, o.FederationRuleID, o.OrganizationID, o.ServiceAccountID, o.WorkspaceID)
}

// Token gets the platform's token and exchanges it.
func (a *Anthropic) Token(ctx context.Context) (result identity.Token, err error) {
	defer func() { identity.TriedToken(ctx, "Anthropic token exchange", &result, &err) }()
	ctx, cancel := context.WithTimeout(ctx, totalTimeout)
	defer cancel()
	got, err := a.server.trade(ctx, trade{
		subject: a.options.Subject,
		header:  http.Header{betaHeader: {betaOAuth + "," + betaFederation}},
		body: func(subject string) any {
			return struct {
				GrantType        string `json:"grant_type"`
				Assertion        string `json:"assertion"`
				FederationRuleID string `json:"federation_rule_id"`
				OrganizationID   string `json:"organization_id"`
				ServiceAccountID string `json:"service_account_id"`
				WorkspaceID      string `json:"workspace_id,omitzero"`
			}{grantJWTBearer, subject, a.options.FederationRuleID, a.options.OrganizationID, a.options.ServiceAccountID, a.options.WorkspaceID}
		},
		remedy: a.remedy,
	})
	if err != nil {
		return identity.Token{}, err
	}
	return got.token(identity.Principal{Name: shown(a.options.ServiceAccountID), Source: "Anthropic token exchange"}), nil
}

// remedy knows the error types of Anthropic's API, which its token endpoint answers with too.
func (a *Anthropic) remedy(code string, subject *claims) string {
	switch code {
	case "authentication_error":
		text := fmt.Sprintf("the platform's token is not accepted under the rule %s. Anthropic does not say why; the authentication history in the Claude Console does. %s",
			a.options.FederationRuleID, subject)
		if subject.Lifetime > anthropicMaximum {
			text += fmt.Sprintf(", and an issuer's tokens may live %v unless its maximum is raised", anthropicMaximum)
		}
		if a.options.WorkspaceID == "" {
			text += ". A rule for more than one workspace needs the workspace's id"
		}
		return text
	case "invalid_request_error":
		return "check the ids of the federation rule, the organization, the service account and the workspace"
	case "permission_error", "not_found_error":
		return "check the organization's id and the token endpoint"
	case "invalid_grant", "invalid_client", "unauthorized_client", "unsupported_grant_type", "invalid_request", "invalid_scope":
		return "check the federation rule " + a.options.FederationRuleID + " and the token endpoint. " + subject.String()
	}
	return ""
}

// AnthropicBearer returns an Authorizer that puts the cache's token on a request as Anthropic wants it: as a bearer token, without an API
// key beside it, and with the beta that its own clients declare.
func AnthropicBearer(cache *identity.Cache) identity.Authorizer {
	return anthropicBearer{identity.Bearer(cache)}
}

type anthropicBearer struct{ identity.Authorizer }

func (a anthropicBearer) Authorize(request *http.Request) error {
	if err := a.Authorizer.Authorize(request); err != nil {
		return err
	}
	request.Header.Del("X-Api-Key")
	declared := strings.Split(strings.Join(request.Header.Values(betaHeader), ","), ",")
	if !slices.ContainsFunc(declared, func(beta string) bool { return strings.TrimSpace(beta) == betaOAuth }) {
		request.Header.Add(betaHeader, betaOAuth)
	}
	return nil
}
