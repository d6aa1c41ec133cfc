package exchange

import (
	"context"
	"errors"
	"fmt"

	"github.com/postern-ai/postern/shared/identity"
)

const (
	// OpenAIAudience is the audience that OpenAI's guides have the platform's token made for. What counts is what the workload identity
	// provider at OpenAI was told to expect.
	OpenAIAudience = "https://api.openai.com/v1"

	openAIEndpoint = "https://auth.openai.com/oauth/token"
)

// OpenAIOptions says which of OpenAI's service accounts the platform's identity acts as.
type OpenAIOptions struct {
	// Subject gets a token that the platform has signed, for the audience that the provider at OpenAI expects. OpenAI's token never
	// outlives it: one that lives 5 minutes has to be exchanged every 5 minutes.
	Subject Secret
	// SubjectName says whose token that is. It is a part of Key, because Subject cannot be compared.
	SubjectName string
	// IdentityProviderID is the id of the workload identity provider at OpenAI.
	IdentityProviderID string
	// ServiceAccountID is the id of the service account that the provider maps the subject to.
	ServiceAccountID string
	Vendor
}

// OpenAI exchanges the platform's token for one of OpenAI's service accounts
// (https://developers.openai.com/api/reference/workload-identity-federation). It is an [identity.TokenSource], and safe for concurrent use.
type OpenAI struct {
	server  *server
	options OpenAIOptions
}

var _ identity.TokenSource = (*OpenAI)(nil)

// NewOpenAI returns a source that has asked for nothing yet, or says which option is wrong.
func NewOpenAI(options OpenAIOptions) (*OpenAI, error) {
	switch {
	case options.Subject == nil || options.SubjectName == "":
		return nil, errors.New("the platform's token, or its name, is missing")
	case !printable(options.IdentityProviderID):
		return nil, errors.New("the id of the workload identity provider at OpenAI is missing, or has characters that no id has")
	case !printable(options.ServiceAccountID):
		return nil, errors.New("the id of the service account at OpenAI is missing, or has characters that no id has")
	}
	server, err := options.server(openAIEndpoint)
	if err != nil {
		return nil, err
	}
	return &OpenAI{server: server, options: options}, nil
}

// Key names everything that the token depends on. It holds no secret.
func (o *OpenAI) Key() string {
	return joinKey("openai", o.server.fixed.String(), o.options.SubjectName, o.options.IdentityProviderID, o.options.ServiceAccountID)
}

// Token gets the platform's token and exchanges it.
func (o *OpenAI) Token(ctx context.Context) (result identity.Token, err error) {
	defer func() { identity.TriedToken(ctx, "OpenAI token exchange", &result, &err) }()
	ctx, cancel := context.WithTimeout(ctx, totalTimeout)
	defer cancel()
	got, err := o.server.trade(ctx, trade{
		subject: o.options.Subject,
		body: func(subject string) any {
			return struct {
				GrantType          string `json:"grant_type"`
				SubjectToken       string `json:"subject_token"`
				SubjectTokenType   string `json:"subject_token_type"`
				IdentityProviderID string `json:"identity_provider_id"`
				ServiceAccountID   string `json:"service_account_id"`
			}{grantTokenExchange, subject, TypeJWT, o.options.IdentityProviderID, o.options.ServiceAccountID}
		},
		remedy: o.remedy,
	})
	if err != nil {
		return identity.Token{}, err
	}
	return got.token(identity.Principal{Name: shown(o.options.ServiceAccountID), Source: "OpenAI token exchange"}), nil
}

// remedy knows the codes that the reference and OpenAI's own client list.
func (o *OpenAI) remedy(code string, subject *claims) string {
	switch code {
	case "invalid_subject_token":
		return "the platform's token is not accepted; compare it with issuer, audience and keys of the provider " + o.options.IdentityProviderID + ". " + subject.String()
	case "invalid_grant":
		return fmt.Sprintf("check that the provider %s is enabled and maps this token to the service account %s. %s",
			o.options.IdentityProviderID, o.options.ServiceAccountID, subject)
	case "invalid_client", "unauthorized_client", "access_denied":
		return "check the ids of the provider and of the service account. " + subject.String()
	case "invalid_request", "unsupported_grant_type", "invalid_scope", "invalid_target":
		return "check the ids of the provider and of the service account"
	case "temporarily_unavailable", "server_error":
		return "OpenAI has a problem of its own"
	}
	return ""
}
