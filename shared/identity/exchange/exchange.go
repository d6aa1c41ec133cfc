// Package exchange gets bearer tokens from OAuth 2.0 authorization servers: for a registered client (client credentials, RFC 6749 section
// 4.4), for a token that the platform has signed (token exchange, RFC 8693), and for that same token at OpenAI and Anthropic, which have
// dialects of their own.
//
// What holds for all of them: a fetch ends by itself in under 3 s, sends nothing over plain http but to this machine, follows no
// redirect, keeps no cookies, uses no proxy, reads a bounded answer, tries once, and says in its error what to mend without quoting the
// server. Of what a server says about a failure only error codes from a fixed list are repeated: an error_description may hold anything,
// the client's secret included.
//
// The package must not know which upstream the tokens are for, where secrets are kept, nor when tokens are fetched anew.
package exchange

import (
	"cmp"
	"context"
	"errors"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/postern-ai/postern/shared/identity"
	"github.com/postern-ai/postern/shared/secrets"
)

const (
	// totalTimeout bounds a whole fetch: what the platform signs, discovery and the token request together.
	totalTimeout = 2500 * time.Millisecond
	// assumedLifetime is for answers without expires_in. RFC 6749 section 5.1 leaves it to documentation then, which cannot be read here:
	// short enough that a token is never used for long after its end, long enough that it is not fetched for each request.
	assumedLifetime = 5 * time.Minute
	// maxLifetime is the longest that a token is used, whatever the server says: what was wrong for a day is put right by the next fetch.
	maxLifetime = 24 * time.Hour
)

// Secret gets a secret for one request: one that is stored, or a token that the platform has signed just now. It is called for each
// fetch, so that a secret which was rotated is noticed, and honours its context.
type Secret func(ctx context.Context) (secrets.Value, error)

// FromSource returns the tokens of a source as a Secret. Each call fetches anew, which matters for tokens that a platform has signed:
// Anthropic, for one, accepts each of them once only.
func FromSource(source identity.TokenSource) Secret {
	return func(ctx context.Context) (secrets.Value, error) {
		token, err := source.Token(ctx)
		return token.Value, err
	}
}

// Options says who asks whom for what. They are all that client credentials need.
type Options struct {
	Server
	// ClientID is the client's id at the server. It may be empty for a token exchange without a client.
	ClientID string
	// Auth is how the client shows that it is the one. It may be nil for a token exchange without a client.
	Auth ClientAuth
	// Scopes are asked for as they stand here. Empty leaves them to the server.
	Scopes []string
	// Audience names the service that the token is for, in the parameter that RFC 8693 defines and that some servers know for client
	// credentials too. Empty means that it is not sent.
	Audience string
	// Resource is the URL of the service that the token is for (RFC 8707). Empty means that it is not sent.
	Resource string
}

// check refuses what no server could accept, so that a mistake in a document is found at the start.
func (o Options) check() error {
	for _, scope := range o.Scopes {
		// RFC 6749 section 3.3: visible ASCII but for the quotation mark and the backslash.
		if !printable(scope) || strings.ContainsAny(scope, `"\`) {
			return errors.New("a scope is empty, or has spaces or characters that no scope has; give each scope as an entry of its own")
		}
	}
	if o.Resource != "" {
		if u, err := url.Parse(o.Resource); err != nil || u.Scheme == "" || u.Fragment != "" || strings.Contains(o.Resource, "#") {
			return errors.New("the resource must be an absolute URL without a fragment")
		}
	}
	if o.Auth == nil {
		if o.ClientID != "" {
			return errors.New("there is a client id but no way to authenticate the client; for a client that has none, say so")
		}
		return nil
	}
	if o.ClientID == "" {
		return errors.New("the client id is missing")
	}
	return o.Auth.check()
}

// form holds the parameters that all grants share.
func (o Options) form(grantType string) url.Values {
	form := url.Values{"grant_type": {grantType}}
	set := func(name, value string) {
		if value != "" {
			form.Set(name, value)
		}
	}
	set("scope", strings.Join(o.Scopes, " "))
	set("audience", o.Audience)
	set("resource", o.Resource)
	return form
}

// key says whose tokens these are, in parts. The order of scopes makes no difference to a token.
func (o Options) key() []string {
	parts := []string{o.TokenEndpoint, o.Issuer, o.ClientID}
	if o.Auth != nil {
		parts = append(parts, o.Auth.key()...)
	}
	scopes := slices.Compact(slices.Sorted(slices.Values(o.Scopes)))
	return append(parts, strings.Join(scopes, " "), o.Audience, o.Resource)
}

// joinKey makes one text of the parts, a different one for each list of parts.
func joinKey(kind string, parts ...string) string {
	key := kind
	for _, part := range parts {
		key += " " + strconv.Quote(part)
	}
	return key
}

// ClientCredentials gets tokens for a registered client itself (RFC 6749 section 4.4). It is an [identity.TokenSource], and safe for
// concurrent use.
type ClientCredentials struct {
	server  *server
	options Options
}

var _ identity.TokenSource = (*ClientCredentials)(nil)

// NewClientCredentials returns a source that has asked for nothing yet, or says which option is wrong.
func NewClientCredentials(options Options) (*ClientCredentials, error) {
	if options.Auth == nil {
		return nil, errors.New("the client's way to authenticate is missing")
	}
	if _, none := options.Auth.(NoSecret); none {
		return nil, errors.New("a client that does not authenticate cannot use client credentials")
	}
	if err := options.check(); err != nil {
		return nil, err
	}
	server, err := newServer(options.Server, options.Auth)
	if err != nil {
		return nil, err
	}
	return &ClientCredentials{server: server, options: options}, nil
}

// Key names everything that the token depends on: server, client, method, scopes, audience. It holds no secret.
func (c *ClientCredentials) Key() string {
	return joinKey("client-credentials", c.options.key()...)
}

// Token asks the server for a token.
func (c *ClientCredentials) Token(ctx context.Context) (result identity.Token, err error) {
	defer func() { identity.TriedToken(ctx, "OAuth 2.0 client "+shown(c.options.ClientID), &result, &err) }()
	ctx, cancel := context.WithTimeout(ctx, totalTimeout)
	defer cancel()
	const grantType = "client_credentials"
	got, err := c.server.ask(ctx, question{options: c.options, form: c.options.form(grantType), grantType: grantType})
	if err != nil {
		return identity.Token{}, err
	}
	return got.token(identity.Principal{Name: shown(c.options.ClientID), Source: "OAuth 2.0 client"}), nil
}

// question is a request to a token endpoint before the client has been put on it.
type question struct {
	options   Options
	form      url.Values
	grantType string
	subject   *claims // of the subject token, for errors; nil when there is none
}

// ask sends a question and reads the answer.
func (s *server) ask(ctx context.Context, q question) (*granted, error) {
	if err := s.resting(); err != nil {
		return nil, err
	}
	at, err := s.locate(ctx)
	if err != nil {
		return nil, err
	}
	c := &call{to: at, clientID: q.options.ClientID, form: q.form, signed: q.subject != nil}
	if q.options.Auth != nil {
		if err := q.options.Auth.identify(ctx, c); err != nil {
			return nil, err
		}
	}
	reply, err := s.post(ctx, c)
	if err != nil {
		return nil, err
	}
	if reply.status != ok {
		if reply.gone() && s.discovery != nil {
			s.discovery.forget()
		}
		return nil, s.refused(reply, at, func(code string) string { return q.remedy(code, at) })
	}
	return parseGranted(reply, at.name)
}

// remedy says what to do about an error code of RFC 6749 section 5.2, RFC 8693 section 2.2.2 or RFC 8707 section 2. It is empty for a
// code that is not known, which is then not shown.
func (q question) remedy(code string, at place) string {
	switch code {
	case "invalid_client":
		return q.options.remedy(at)
	case "invalid_grant":
		if q.subject == nil {
			return "the grant is not accepted; check that the client is active at the server"
		}
		return "the subject token is not accepted; check that the server trusts its issuer for this client. " + q.subject.String()
	case "unauthorized_client":
		return "the client may not use the grant type " + q.grantType + "; allow it at the server"
	case "unsupported_grant_type":
		return "the server does not know the grant type " + q.grantType + "; check that this is its token endpoint"
	case "invalid_scope":
		return "check the scopes " + quoted(q.options.Scopes) + ", and that the client may have them"
	case "invalid_target":
		return "check the audience " + strconv.Quote(q.options.Audience) + " and the resource " + strconv.Quote(q.options.Resource)
	case "invalid_request":
		if q.subject != nil {
			return "the server wants other parameters, or does not accept the subject token. " + q.subject.String()
		}
		return "the server wants other parameters; it may need an audience, a resource or a scope"
	case "access_denied":
		return "the server's rules do not allow it"
	case "temporarily_unavailable", "server_error":
		return "the server has a problem of its own"
	}
	return ""
}

// remedy says what to check when the server does not know the client.
func (o Options) remedy(at place) string {
	if o.Auth == nil {
		return "the server wants a client that authenticates"
	}
	text := "check the client id and " + o.Auth.remedy(at)
	if len(at.methods) > 0 && !slices.Contains(at.methods, o.Auth.method()) {
		text += "; the server's own description does not list " + o.Auth.method() + " but " + strings.Join(at.methods, ", ")
	}
	return text
}

func quoted(texts []string) string {
	var all []string
	for _, text := range texts {
		all = append(all, strconv.Quote(text))
	}
	return cmp.Or(strings.Join(all, ", "), "(none are asked for)")
}

// printable reports whether a text is one or more visible ASCII characters.
func printable(text string) bool {
	return text != "" && !strings.ContainsFunc(text, func(c rune) bool { return c <= ' ' || c > '~' })
}

// shown is a name that is fit for a log line.
func shown(name string) string {
	if len(name) > 256 {
		name = name[:256]
	}
	return strings.Map(func(c rune) rune {
		if c < ' ' || c > '~' {
			return '?'
		}
		return c
	}, name)
}
