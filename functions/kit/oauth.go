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
	switch u.ClientAuth {
	case config.SecretBasic, config.SecretPost:
		return w.storedClient(u, u.CredentialRef, use, func(value secrets.Value) (string, exchange.ClientAuth, error) {
			id, held, err := parseClient(u, value)
			if u.ClientAuth == config.SecretPost {
				return id, exchange.SecretPost{Secret: constant(held)}, err
			}
			return id, exchange.SecretBasic{Secret: constant(held)}, err
		})
	case config.PrivateKeyJWT:
		return w.storedClient(u, u.CredentialRef, use, func(value secrets.Value) (string, exchange.ClientAuth, error) {
			return u.ClientID, exchange.PrivateKeyJWT{Key: constant(value), KeyID: u.ClientKeyID, Algorithm: u.ClientKeyAlgorithm}, nil
		})
	case config.TLSClientAuth:
		return w.storedClient(u, u.ClientCertificateRef, use, func(value secrets.Value) (string, exchange.ClientAuth, error) {
			return u.ClientID, exchange.Certificate{PEM: constant(value)}, nil
		})
	}
	var auth exchange.ClientAuth
	if u.ClientAuth == config.PlatformJWT {
		token, name, err := w.secretSubject(proof{audience: u.TokenAudience})
		if err != nil {
			return nil, err
		}
		auth = exchange.PlatformJWT{Token: token, Name: name}
	}
	s, err := w.clientSource(u, u.ClientID, auth)
	if err != nil {
		return nil, err
	}
	return use(tokens{key: clientKey(u, s)}, s)
}

// storedClient is a client that shows what is stored, and what is stored anew
// when the server does not accept it.
func (w *wiring) storedClient(u *config.Upstream, ref config.Reference, use func(tokens, source) (identity.Authorizer, error),
	read func(secrets.Value) (id string, auth exchange.ClientAuth, err error),
) (identity.Authorizer, error) {
	return w.storedIn(ref, u.Holds(), func(_ secret, value secrets.Value) (identity.Authorizer, error) {
		id, auth, err := read(value)
		if err != nil {
			return nil, err
		}
		s, err := w.clientSource(u, id, auth)
		if err != nil {
			return nil, err
		}
		return use(ofSecret(clientKey(u, s), value), s)
	})
}

// clientKey names on what a client's tokens depend: a source cannot compare the
// platform's tokens that it is given, which may be for different audiences.
func clientKey(u *config.Upstream, s source) string { return s.Key() + " " + u.TokenAudience }

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
	return w.bearer(u, tokens{key: clientKey(u, s)}, s), nil
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
	return w.bearer(u, tokens{key: clientKey(u, s)}, s), nil
}
