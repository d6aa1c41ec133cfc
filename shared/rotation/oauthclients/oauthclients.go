// Package oauthclients gives an OAuth 2.0 client another secret by updating its registration (RFC 7592), and verifies it at the token endpoint.
//
// The stored content is one JSON object. The gateway uses its client_id and client_secret; what is beside them is for this package:
//
//	{
//	  "client_id": "...", "client_secret": "...",
//	  "registration_client_uri": "https://idp.example.com/register/...",
//	  "registration_access_token": "..."
//	}
//
// The next secret ends the old one at once, and an update may replace the registration access token too. Both come in one reply and are stored in
// one content. If that reply is lost, the registration is read again, which a server that has replaced the token does not allow: then a person
// has to have the token issued anew. Whether a server makes new secrets at all is not discoverable. Rotating a client in this way is therefore
// for whoever knows the server.
//
// The package must not know where contents are stored, nor when they are rotated.
package oauthclients

import (
	"context"
	"encoding/base64"
	"errors"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/postern-ai/postern/shared/rotation"
	"github.com/postern-ai/postern/shared/secrets"
)

// The members of a content, and of a registration (RFC 7591 section 3.2.1, RFC 7592 section 3).
const (
	clientID     = "client_id"
	clientSecret = "client_secret"
	clientURI    = "registration_client_uri"
	clientToken  = "registration_access_token"
	expiresAt    = "client_secret_expires_at"
	issuedAt     = "client_id_issued_at"
)

// service is the authorization server in the texts of errors.
const service = "the authorization server"

// Options says how the client uses its secret.
type Options struct {
	// TokenEndpoint is where a secret is verified.
	TokenEndpoint string
	// Post sends the secret in the body (client_secret_post). Otherwise it is in a header (client_secret_basic).
	Post bool
	// Scopes, Audience and Resource are what a token is asked for. They are the gateway's own.
	Scopes             []string
	Audience, Resource string
	// Content reads the stored content that is in use.
	Content func(ctx context.Context) (secrets.Value, error)
	// Transport sends the requests. Nil means [http.DefaultTransport].
	Transport http.RoundTripper
	// Timeout bounds one request. Zero means 10 s.
	Timeout time.Duration
}

// Issuer updates the registration of one client. It is safe for concurrent use.
type Issuer struct {
	options Options
	token   string
	remote  rotation.Remote
}

// New returns an issuer. It makes no network call.
func New(options Options) (*Issuer, error) {
	if options.Content == nil {
		return nil, errors.New("rotating an OAuth client needs its stored content; set credential_ref")
	}
	token, err := rotation.Address(options.TokenEndpoint)
	if err != nil {
		return nil, errors.New("token_endpoint: " + err.Error())
	}
	remote := rotation.Remote{Service: service, HTTP: secrets.Bounded(options.Transport), Timeout: options.Timeout}
	return &Issuer{options: options, token: token.String(), remote: remote}, nil
}

// Traits returns what a client's secret is like. Tokens that were got with it live on.
func (i *Issuer) Traits() rotation.Traits {
	return rotation.Traits{Overlap: rotation.InPlace, Recovery: rotation.Readable, Lasting: true}
}

// client is a stored content that has been understood.
type client struct {
	content            rotation.Content
	id, secret         string
	registration, auth string
}

// parse reads a stored content as far as it takes to get a token.
func parse(op string, value secrets.Value) (client, error) {
	content, _ := rotation.ParseContent(value)
	c := client{content: content, id: content.Text(clientID), secret: content.Text(clientSecret), registration: content.Text(clientURI), auth: content.Text(clientToken)}
	if c.id == "" || c.secret == "" {
		return client{}, &rotation.Error{Op: op, Reason: "the stored content is not JSON with client_id and client_secret", Err: rotation.ErrRejected}
	}
	return c, nil
}

// registered reads a stored content as far as it takes to manage the client.
func registered(op string, value secrets.Value) (client, error) {
	refused := func(reason string) (client, error) {
		return client{}, &rotation.Error{Op: op, Reason: reason, Err: rotation.ErrRefused}
	}
	c, err := parse(op, value)
	if err != nil || c.registration == "" || c.auth == "" {
		return refused("the stored content has to be JSON with client_id, client_secret, registration_client_uri and registration_access_token, as the client's registration returned them")
	}
	if _, err := rotation.Address(c.registration); err != nil {
		return refused("registration_client_uri of the stored content is not a URL that begins with https://")
	}
	if strings.ContainsFunc(c.auth, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return refused("registration_access_token of the stored content holds characters that do not fit into a header")
	}
	return c, nil
}

// call sends a request about a client's registration, and returns what the server says of the client then.
func (i *Issuer) call(ctx context.Context, c client, call rotation.Call) (rotation.Content, error) {
	call.URL, call.Header = c.registration, http.Header{"Authorization": {"Bearer " + c.auth}}
	reply, err := i.remote.Call(ctx, call)
	if err != nil {
		return nil, err
	}
	switch reply.Status {
	case http.StatusOK:
	case http.StatusUnauthorized:
		return nil, reply.Refused("the authorization server does not accept the registration access token (401): a reply that replaced it may have been lost; have it issued anew, or register the client again, and store the content")
	case http.StatusForbidden, http.StatusMethodNotAllowed:
		return nil, reply.Refused("the authorization server does not let the client manage its registration; rotate its secret by the server's own means")
	default:
		return nil, reply.Unexpected()
	}
	var document rotation.Content
	if err := reply.Decode(&document); err != nil {
		return nil, err
	}
	if document.Text(clientID) != c.id {
		return nil, reply.Malformed()
	}
	return document, nil
}

func (i *Issuer) read(ctx context.Context, op string, c client) (rotation.Content, error) {
	return i.call(ctx, c, rotation.Call{Purpose: rotation.Purpose{Op: op}, Method: http.MethodGet})
}

// with returns the client as a reply describes it. What a reply leaves out stays as it was.
func (c client) with(document rotation.Content) client {
	next := c
	next.content = maps.Clone(c.content)
	for name, into := range map[string]*string{clientSecret: &next.secret, clientURI: &next.registration, clientToken: &next.auth} {
		text := document.Text(name)
		if text == "" || name == clientURI && !sameHost(text, c.registration) {
			continue // the token is not sent anywhere else than to the server that it is from
		}
		*into, next.content[name] = text, document[name]
	}
	return next
}

func sameHost(a, b string) bool {
	first, err := rotation.Address(a)
	second, other := rotation.Address(b)
	return err == nil && other == nil && first.Scheme == second.Scheme && first.Host == second.Host
}

// value is the content as it has to be stored.
func (c client) value() (secrets.Value, error) { return c.content.With(nil) }

// Create updates the registration to what it is, for which the server makes another secret. If the server has made one already, since the
// content was stored, that is it.
func (i *Issuer) Create(ctx context.Context, order rotation.Order) (rotation.Issued, error) {
	const op = "create"
	c, err := registered(op, order.Content)
	if err != nil {
		return rotation.Issued{}, err
	}
	document, err := i.read(ctx, op, c)
	if err != nil {
		return rotation.Issued{}, err
	}
	now := c.with(document)
	if now.secret == c.secret {
		if document, err = i.update(ctx, now, document); err != nil {
			return rotation.Issued{}, err
		}
		now = now.with(document)
	}
	if now.secret == c.secret {
		return rotation.Issued{}, &rotation.Error{
			Op: op, Err: rotation.ErrRefused,
			Reason: "the authorization server keeps the secret when the registration is updated; rotate it by the server's own means, or let the gateway prove itself without a secret",
		}
	}
	value, err := now.value()
	if err != nil {
		return rotation.Issued{}, &rotation.Error{Op: op, Reason: "the client's new content cannot be written as JSON", Err: rotation.ErrUnanswered}
	}
	return rotation.Issued{Key: key(document), Value: value}, nil
}

// update sends the metadata back as they were read: what is left out of an update is deleted (RFC 7592 section 2.2).
func (i *Issuer) update(ctx context.Context, c client, document rotation.Content) (rotation.Content, error) {
	body := maps.Clone(document)
	for _, name := range []string{clientURI, clientToken, expiresAt, issuedAt} {
		delete(body, name)
	}
	return i.call(ctx, c, rotation.Call{Purpose: rotation.Purpose{Op: "create"}, Method: http.MethodPut, Body: map[string]jsontext.Value(body)})
}

// key is what a registration says of its secret.
func key(document rotation.Content) rotation.Key {
	return rotation.Key{ID: document.Text(clientID), Created: at(document[issuedAt]), Expires: at(document[expiresAt])}
}

// at reads a time in seconds, of which zero means never.
func at(value jsontext.Value) time.Time {
	var seconds int64
	if json.Unmarshal(value, &seconds) != nil || seconds <= 0 {
		return time.Time{}
	}
	return time.Unix(seconds, 0).UTC()
}

// Find returns the client, whose one secret is the key.
func (i *Issuer) Find(ctx context.Context, _ string) ([]rotation.Key, error) {
	const op = "find"
	value, err := i.options.Content(ctx)
	if err != nil {
		return nil, &rotation.Error{Op: op, Reason: "the client's stored content cannot be read", Err: errors.Join(rotation.ErrUnavailable, err)}
	}
	c, err := registered(op, value)
	if err != nil {
		return nil, err
	}
	document, err := i.read(ctx, op, c)
	if err != nil {
		return nil, err
	}
	return []rotation.Key{key(document)}, nil
}

// Recover reads the registration and returns the content that it means. That is the order's own as long as no update has been carried out.
func (i *Issuer) Recover(ctx context.Context, _ rotation.Key, order rotation.Order) (secrets.Value, error) {
	const op = "recover"
	c, err := registered(op, order.Content)
	if err != nil {
		return secrets.Value{}, err
	}
	document, err := i.read(ctx, op, c)
	if err != nil {
		return secrets.Value{}, err
	}
	next := c.with(document)
	if next.secret == c.secret && next.registration == c.registration && next.auth == c.auth {
		return order.Content, nil
	}
	value, err := next.value()
	if err != nil {
		return secrets.Value{}, &rotation.Error{Op: op, Reason: "the client's content cannot be written as JSON", Err: rotation.ErrUnanswered}
	}
	return value, nil
}

// Revoke does nothing: the next secret has ended the old one, and a client that has one secret must not lose it.
func (i *Issuer) Revoke(context.Context, rotation.Key) error { return nil }

// refusals are the codes of RFC 6749 section 5.2 and RFC 8707 with which a server refuses a client that it has recognised.
var refusals = []string{"invalid_request", "invalid_grant", "unauthorized_client", "unsupported_grant_type", "invalid_scope", "invalid_target"}

// Verify gets a token with the client's secret.
func (i *Issuer) Verify(ctx context.Context, value secrets.Value) error {
	const op = "verify"
	c, err := parse(op, value)
	if err != nil {
		return err
	}
	request, err := i.tokenRequest(ctx, c)
	if err != nil {
		return &rotation.Error{Op: op, Reason: "no request can be made of it", Err: rotation.ErrRefused}
	}
	reply, err := i.remote.Send(request, rotation.Purpose{Op: op})
	if err != nil {
		return err
	}
	var answer struct {
		Error       string `json:"error"`
		AccessToken string `json:"access_token"`
	}
	if reply.Status == http.StatusBadRequest && reply.IsObject() && json.Unmarshal(reply.Body, &answer) == nil {
		switch {
		case answer.Error == "invalid_client":
			return &rotation.Error{Op: op, Reason: "the authorization server does not accept the client's secret", Err: rotation.ErrRejected}
		case slices.Contains(refusals, answer.Error):
			return reply.Refused("the authorization server knows the client and gives it no token: " + answer.Error)
		}
	}
	if err := reply.Verified(); err != nil {
		return err
	}
	if err := reply.Decode(&answer); err != nil {
		return err
	}
	if answer.AccessToken == "" {
		return reply.Malformed()
	}
	return nil
}

// tokenRequest asks for a token by the client's own credentials (RFC 6749 sections 2.3.1 and 4.4.2).
func (i *Issuer) tokenRequest(ctx context.Context, c client) (*http.Request, error) {
	form := url.Values{"grant_type": {"client_credentials"}}
	for name, text := range map[string]string{"scope": strings.Join(i.options.Scopes, " "), "audience": i.options.Audience, "resource": i.options.Resource} {
		if text != "" {
			form.Set(name, text)
		}
	}
	if i.options.Post {
		form.Set(clientID, c.id)
		form.Set(clientSecret, c.secret)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, i.token, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	request.Header.Set("Accept", "application/json")
	if !i.options.Post {
		pair := url.QueryEscape(c.id) + ":" + url.QueryEscape(c.secret)
		request.Header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(pair)))
	}
	return request, nil
}
