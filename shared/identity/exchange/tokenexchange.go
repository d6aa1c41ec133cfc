package exchange

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/postern-ai/postern/shared/identity"
)

// The token types of RFC 8693 section 3 that can be exchanged or asked for.
const (
	TypeAccessToken = "urn:ietf:params:oauth:token-type:access_token"
	TypeIDToken     = "urn:ietf:params:oauth:token-type:id_token"
	TypeJWT         = "urn:ietf:params:oauth:token-type:jwt"
)

const grantTokenExchange = "urn:ietf:params:oauth:grant-type:token-exchange"

// TokenExchangeOptions says which token is exchanged, where and for what.
type TokenExchangeOptions struct {
	Options
	// Subject gets the token that is given in exchange.
	Subject Secret
	// SubjectName says whose token that is, for example "managed identity". It is a part of Key, because Subject cannot be compared.
	SubjectName string
	// SubjectType is the type of that token. Empty means TypeJWT.
	SubjectType string
	// RequestedType is the type of token that is asked for. Empty means that it is not sent, which gives an access token.
	RequestedType string
	// Extra are further parameters, for servers that want one of their own. They are not secret.
	Extra map[string]string
}

// TokenExchange gets tokens in exchange for others (RFC 8693). There is no actor: the token that comes back stands for the subject
// itself. It is an [identity.TokenSource], and safe for concurrent use.
type TokenExchange struct {
	server  *server
	options TokenExchangeOptions
}

var _ identity.TokenSource = (*TokenExchange)(nil)

// NewTokenExchange returns a source that has asked for nothing yet, or says which option is wrong.
func NewTokenExchange(options TokenExchangeOptions) (*TokenExchange, error) {
	options.SubjectType = cmp.Or(options.SubjectType, TypeJWT)
	types := []string{TypeAccessToken, TypeIDToken, TypeJWT}
	switch {
	case options.Subject == nil:
		return nil, errors.New("the token to exchange is missing")
	case options.SubjectName == "":
		return nil, errors.New("the name of the token to exchange is missing")
	case !slices.Contains(types, options.SubjectType):
		return nil, fmt.Errorf("the subject token type must be one of %s", quoted(types))
	case options.RequestedType != "" && !slices.Contains(types, options.RequestedType):
		return nil, fmt.Errorf("the requested token type must be one of %s", quoted(types))
	}
	if err := options.check(); err != nil {
		return nil, err
	}
	for name := range options.Extra {
		if slices.Contains(standardParameters(), name) || !printable(name) {
			return nil, fmt.Errorf("the extra parameter %q has a setting of its own, or is not a name", name)
		}
	}
	server, err := newServer(options.Server, options.Auth)
	if err != nil {
		return nil, err
	}
	options.Extra = maps.Clone(options.Extra)
	return &TokenExchange{server: server, options: options}, nil
}

func standardParameters() []string {
	return []string{
		"grant_type", "client_id", "client_secret", "client_assertion", "client_assertion_type", "scope", "audience", "resource",
		"subject_token", "subject_token_type", "requested_token_type", "actor_token", "actor_token_type",
	}
}

// Key names everything that the token depends on: server, client, subject, scopes, audience. It holds no secret.
func (e *TokenExchange) Key() string {
	parts := append(e.options.key(), e.options.SubjectName, e.options.SubjectType, e.options.RequestedType)
	for _, name := range slices.Sorted(maps.Keys(e.options.Extra)) {
		parts = append(parts, name, e.options.Extra[name])
	}
	return joinKey("token-exchange", parts...)
}

// Token gets the subject's token and exchanges it.
func (e *TokenExchange) Token(ctx context.Context) (result identity.Token, err error) {
	defer func() { identity.TriedToken(ctx, "token exchange", &result, &err) }()
	ctx, cancel := context.WithTimeout(ctx, totalTimeout)
	defer cancel()
	subject, err := fetch(ctx, e.options.Subject, "the token to exchange")
	if err != nil {
		return identity.Token{}, err
	}
	form := e.options.form(grantTokenExchange)
	form.Set("subject_token", subject.Reveal())
	form.Set("subject_token_type", e.options.SubjectType)
	if e.options.RequestedType != "" {
		form.Set("requested_token_type", e.options.RequestedType)
	}
	for name, value := range e.options.Extra {
		form.Set(name, value)
	}
	who := readClaims(subject)
	got, err := e.server.ask(ctx, question{options: e.options.Options, form: form, grantType: grantTokenExchange, subject: who})
	if err != nil {
		return identity.Token{}, err
	}
	if !sameType(got.issued, cmp.Or(e.options.RequestedType, TypeAccessToken)) {
		return identity.Token{}, &identity.Error{Public: "the token endpoint gave out a token of another type than the one that was asked for; check the requested token type"}
	}
	name := cmp.Or(who.Subject, e.options.ClientID, e.options.SubjectName)
	return got.token(identity.Principal{Name: shown(name), Source: "token exchange"}), nil
}

// sameType reports whether a token of the issued type will do for the wanted one. An access token may well be a JSON Web Token, and
// servers say either. RFC 8693 requires them to say something, but some do not.
func sameType(issued, wanted string) bool {
	access := []string{TypeAccessToken, TypeJWT}
	return issued == "" || issued == wanted || slices.Contains(access, issued) && slices.Contains(access, wanted)
}
