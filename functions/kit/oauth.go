package kit

import (
	"cmp"
	"context"
	"errors"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/postern-ai/postern/shared/config"
	"github.com/postern-ai/postern/shared/identity"
	"github.com/postern-ai/postern/shared/identity/exchange"
	"github.com/postern-ai/postern/shared/secrets"
)

// source is a source of tokens that says on what they depend.
type source interface {
	identity.TokenSource
	Key() string
}

// oauth gets tokens from the server that the document describes.
func (w *wiring) oauth(u *config.Upstream) (identity.Authorizer, error) {
	return w.client(u, func(t tokens, s source) (identity.Authorizer, error) { return w.bearer(u, t, s), nil })
}

// client gets tokens for an OAuth 2.0 client and hands their source on.
func (w *wiring) client(u *config.Upstream, use func(tokens, source) (identity.Authorizer, error)) (identity.Authorizer, error) {
	made := func(id string, auth exchange.ClientAuth) (identity.Authorizer, error) {
		s, err := w.clientSource(u, id, auth)
		if err != nil {
			return nil, err
		}
		return use(tokens{key: s.Key()}, s)
	}
	switch u.ClientAuth {
	case config.SecretBasic, config.SecretPost:
		return w.stored(u, func(_ secret, value secrets.Value) (identity.Authorizer, error) {
			id, held, err := parseClient(u, value)
			if err != nil {
				return nil, err
			}
			var auth exchange.ClientAuth = exchange.SecretBasic{Secret: constant(held)}
			if u.ClientAuth == config.SecretPost {
				auth = exchange.SecretPost{Secret: constant(held)}
			}
			s, err := w.clientSource(u, id, auth)
			if err != nil {
				return nil, err
			}
			return use(ofSecret(s.Key(), value), s)
		})
	case config.PrivateKeyJWT:
		s, err := w.secret(u.CredentialRef)
		if err != nil {
			return nil, err
		}
		return made(u.ClientID, exchange.PrivateKeyJWT{Key: s.read, KeyID: u.ClientKeyID, Algorithm: u.ClientKeyAlgorithm})
	case config.TLSClientAuth:
		s, err := w.secret(u.ClientCertificateRef)
		if err != nil {
			return nil, err
		}
		return made(u.ClientID, exchange.Certificate{PEM: s.read})
	case config.PlatformJWT:
		token, name, err := w.secretSubject(proof{audience: u.TokenAudience})
		if err != nil {
			return nil, err
		}
		return made(u.ClientID, exchange.PlatformJWT{Token: token, Name: name})
	}
	return made(u.ClientID, nil)
}

// constant is a secret for an authorizer that is made anew when another is
// stored.
func constant(value secrets.Value) exchange.Secret {
	return func(context.Context) (secrets.Value, error) { return value, nil }
}

func (w *wiring) clientSource(u *config.Upstream, id string, auth exchange.ClientAuth) (source, error) {
	options := exchange.Options{
		Server:   exchange.Server{TokenEndpoint: u.TokenEndpoint, Issuer: u.Issuer, EndpointHosts: u.TokenEndpointHosts},
		ClientID: id, Auth: auth, Scopes: u.Scopes, Audience: u.Audience, Resource: u.Resource,
	}
	if u.Provider == config.Vertex {
		// The document's scopes are those of Google's token.
		options.Scopes = nil
	}
	if u.Grant != config.GrantTokenExchange {
		return exchange.NewClientCredentials(options)
	}
	token, name, err := w.secretSubject(proof{audience: u.TokenAudience})
	if err != nil {
		return nil, err
	}
	return exchange.NewTokenExchange(exchange.TokenExchangeOptions{Options: options, Subject: token, SubjectName: name})
}

// parseClient reads a client's secret: the secret alone, or JSON with the
// client's id.
func parseClient(u *config.Upstream, value secrets.Value) (id string, held secrets.Value, err error) {
	if !strings.HasPrefix(strings.TrimSpace(value.Reveal()), "{") {
		if u.ClientID == "" {
			return "", secrets.Value{}, errors.New("the client's id is neither in the document nor in the secret")
		}
		return u.ClientID, value, nil
	}
	var parsed struct {
		ClientID     string `json:"client_id"`
		ClientSecret string `json:"client_secret"`
	}
	if err := json.Unmarshal([]byte(value.Reveal()), &parsed); err != nil || parsed.ClientSecret == "" {
		return "", secrets.Value{}, errors.New("the secret is not JSON with client_id and client_secret")
	}
	if u.ClientID != "" && parsed.ClientID != "" && u.ClientID != parsed.ClientID {
		return "", secrets.Value{}, errors.New("the secret is another client's than the document's")
	}
	return cmp.Or(u.ClientID, parsed.ClientID), secrets.NewValue(parsed.ClientSecret), nil
}

// openAI exchanges the platform's token for an OpenAI access token, which never
// outlives it.
func (w *wiring) openAI(u *config.Upstream) (identity.Authorizer, error) {
	token, name, err := w.secretSubject(proof{audience: u.TokenAudience, usual: exchange.OpenAIAudience, duration: time.Hour})
	if err != nil {
		return nil, err
	}
	s, err := exchange.NewOpenAI(exchange.OpenAIOptions{
		Subject: token, SubjectName: name, IdentityProviderID: u.IdentityProviderID, ServiceAccountID: u.ServiceAccountID,
		Vendor: exchange.Vendor{TokenEndpoint: u.TokenEndpoint},
	})
	if err != nil {
		return nil, err
	}
	return w.bearer(u, tokens{key: s.Key() + " " + u.TokenAudience}, s), nil
}

// anthropic exchanges the platform's token for an Anthropic access token.
func (w *wiring) anthropic(u *config.Upstream) (identity.Authorizer, error) {
	token, name, err := w.secretSubject(proof{audience: u.TokenAudience, usual: anthropicAudience})
	if err != nil {
		return nil, err
	}
	s, err := exchange.NewAnthropic(exchange.AnthropicOptions{
		Subject: token, SubjectName: name, FederationRuleID: u.FederationRuleID, OrganizationID: u.OrganizationID,
		ServiceAccountID: u.ServiceAccountID, WorkspaceID: u.WorkspaceID, Vendor: exchange.Vendor{TokenEndpoint: u.TokenEndpoint},
	})
	if err != nil {
		return nil, err
	}
	return w.bearer(u, tokens{key: s.Key() + " " + u.TokenAudience}, s), nil
}
