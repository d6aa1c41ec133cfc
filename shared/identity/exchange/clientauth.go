package exchange

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/postern-ai/postern/shared/identity"
	"github.com/postern-ai/postern/shared/secrets"
)

// The names of the methods in the registry of RFC 7591 section 4.2, as extended by OpenID Connect Core section 9 and RFC 8705.
const (
	methodBasic       = "client_secret_basic"
	methodPost        = "client_secret_post"
	methodPrivateKey  = "private_key_jwt"
	methodCertificate = "tls_client_auth"
	methodNone        = "none"
)

func methods() []string {
	return []string{methodBasic, methodPost, methodPrivateKey, methodCertificate, methodNone}
}

// assertionType is what a JSON Web Token is called when it stands for the client (RFC 7523 section 2.2).
const assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

// ClientAuth is how a client shows the token endpoint who it is: [SecretBasic], [SecretPost], [PrivateKeyJWT], [PlatformJWT],
// [Certificate] or [NoSecret].
type ClientAuth interface {
	method() string
	// check refuses what is incomplete.
	check() error
	// identify puts the client on a call. Its errors are *identity.Error.
	identify(ctx context.Context, c *call) error
	// remedy says what to check when the server does not accept it.
	remedy(at place) string
	// key is what of it makes tokens differ, and never a secret.
	key() []string
}

// SecretBasic sends the client's secret in the Authorization header (client_secret_basic, RFC 6749 section 2.3.1). It is what a server
// must support, and so the one to try first.
type SecretBasic struct{ Secret Secret }

func (SecretBasic) method() string { return methodBasic }
func (a SecretBasic) key() []string {
	return []string{methodBasic}
}
func (a SecretBasic) check() error        { return present(a.Secret, "the client secret") }
func (a SecretBasic) remedy(place) string { return secretRemedy(methodBasic) }

func (a SecretBasic) identify(ctx context.Context, c *call) error {
	secret, err := clientSecret(ctx, a.Secret)
	if err != nil {
		return err
	}
	// Both parts are form-encoded before they are joined: a colon, a percent sign or a plus in one of them would be read as something
	// else. Many clients forget this, and work until the first secret with such a character.
	pair := url.QueryEscape(c.clientID) + ":" + url.QueryEscape(secret.Reveal())
	c.header = http.Header{"Authorization": {"Basic " + base64.StdEncoding.EncodeToString([]byte(pair))}}
	return nil
}

// SecretPost sends the client's secret in the body (client_secret_post), for servers that do not know the other way.
type SecretPost struct{ Secret Secret }

func (SecretPost) method() string        { return methodPost }
func (a SecretPost) key() []string       { return []string{methodPost} }
func (a SecretPost) check() error        { return present(a.Secret, "the client secret") }
func (a SecretPost) remedy(place) string { return secretRemedy(methodPost) }

func (a SecretPost) identify(ctx context.Context, c *call) error {
	secret, err := clientSecret(ctx, a.Secret)
	if err != nil {
		return err
	}
	c.form.Set("client_id", c.clientID)
	c.form.Set("client_secret", secret.Reveal())
	return nil
}

// clientSecret gets a client's secret and refuses one that was stored with something around it.
func clientSecret(ctx context.Context, from Secret) (secrets.Value, error) {
	secret, err := from(ctx)
	if err != nil {
		return secrets.Value{}, unavailable(err, "the client secret")
	}
	text := secret.Reveal()
	if text == "" || strings.TrimSpace(text) != text || strings.ContainsFunc(text, unicode.IsControl) {
		return secrets.Value{}, &identity.Error{Public: "the stored client secret is empty, or has line breaks or spaces around it; store the secret alone"}
	}
	return secret, nil
}

func secretRemedy(method string) string {
	return "the stored secret, and that the client is registered for " + method
}

// PrivateKeyJWT signs a short-lived token with the client's private key (private_key_jwt, RFC 7523), so that no secret travels.
type PrivateKeyJWT struct {
	// Key gets the private key: RSA of 2048 bits or more, or ECDSA on P-256, as PEM (PKCS #8, PKCS #1 or SEC 1, not encrypted) or JWK.
	Key Secret
	// KeyID says which of the client's registered keys it is. Empty means the JWK's own, or none.
	KeyID string
	// Algorithm is RS256, PS256 or ES256. Empty means the JWK's own, or else RS256 or ES256 as the key allows.
	Algorithm string
	// Audience is what the server wants to be called in the token. Empty means the issuer where that is known, else the token endpoint.
	Audience string
}

func (PrivateKeyJWT) method() string { return methodPrivateKey }
func (a PrivateKeyJWT) key() []string {
	return []string{methodPrivateKey, a.KeyID, a.Algorithm, a.Audience}
}

func (a PrivateKeyJWT) check() error {
	if a.Algorithm != "" && !slices.Contains(algorithms(), a.Algorithm) {
		return fmt.Errorf("the algorithm must be one of %s", quoted(algorithms()))
	}
	return present(a.Key, "the client's private key")
}

func (a PrivateKeyJWT) audience(at place) string {
	switch {
	case a.Audience != "":
		return a.Audience
	case at.issuer != "":
		return at.issuer
	}
	return at.url.String()
}

func (a PrivateKeyJWT) remedy(at place) string {
	text := "that its public key is registered"
	if a.KeyID != "" {
		text += " under the key id " + strconv.Quote(a.KeyID)
	}
	return text + ", and that the server calls itself " + strconv.Quote(a.audience(at)) + ", which is the audience of the assertion"
}

func (a PrivateKeyJWT) identify(ctx context.Context, c *call) error {
	text, err := a.Key(ctx)
	if err != nil {
		return unavailable(err, "the client's private key")
	}
	key, err := parseKey(text, a.Algorithm)
	if err != nil {
		return &identity.Error{Public: fmt.Sprintf("the client's private key cannot be used: %v", err)}
	}
	if a.KeyID != "" {
		key.id = a.KeyID
	}
	assertion, err := key.assertion(c.clientID, a.audience(c.to))
	if err != nil {
		return &identity.Error{Public: "the client's private key cannot sign", Err: err}
	}
	c.assert(assertion)
	return nil
}

// PlatformJWT shows a token that the platform has signed in place of a secret (RFC 7523 section 2.2): the server has been told to trust
// the platform's issuer for this client, which therefore has nothing to store and nothing to rotate.
type PlatformJWT struct {
	// Token gets the token, with the audience that the server wants.
	Token Secret
	// Name says whose token that is, for example "managed identity". It is a part of the source's key, because Token cannot be compared.
	Name string
}

func (PlatformJWT) method() string  { return methodPrivateKey }
func (a PlatformJWT) key() []string { return []string{"platform_jwt", a.Name} }

func (a PlatformJWT) check() error {
	if a.Name == "" {
		return errors.New("the name of the platform's token is missing")
	}
	return present(a.Token, "the platform's token")
}

func (a PlatformJWT) remedy(place) string {
	return "which issuer, subject and audience the server trusts for it, and compare them with the token of the " + shown(a.Name)
}

func (a PlatformJWT) identify(ctx context.Context, c *call) error {
	token, err := fetch(ctx, a.Token, "the platform's token, which stands for the client,")
	if err != nil {
		return err
	}
	c.assert(token.Reveal())
	return nil
}

// assert puts a client assertion on the call. The client id is not needed beside it, but some servers want it (Entra ID), and none that
// follow RFC 7521 section 4.2 mind.
func (c *call) assert(assertion string) {
	c.form.Set("client_id", c.clientID)
	c.form.Set("client_assertion_type", assertionType)
	c.form.Set("client_assertion", assertion)
	c.signed = true
}

// Certificate shows a client certificate in the TLS handshake (RFC 8705: tls_client_auth, and self_signed_tls_client_auth, which is the
// same for a client). A token that the server binds to the certificate will not do, as the upstream is not shown it.
type Certificate struct {
	// PEM gets the certificate, its chain and its private key, all in one text.
	PEM Secret
}

func (Certificate) method() string  { return methodCertificate }
func (a Certificate) key() []string { return []string{methodCertificate} }
func (a Certificate) check() error  { return present(a.PEM, "the client certificate") }
func (a Certificate) remedy(place) string {
	return "that the certificate, or its subject, is registered"
}

func (a Certificate) identify(ctx context.Context, c *call) error {
	text, err := a.PEM(ctx)
	if err != nil {
		return unavailable(err, "the client certificate")
	}
	bundle := []byte(text.Reveal())
	pair, err := tls.X509KeyPair(bundle, bundle)
	if err != nil {
		return &identity.Error{Public: "the client certificate cannot be used; store the certificate, its chain and its private key together, as PEM", Err: err}
	}
	if c.to.url.Scheme != "https" {
		return &identity.Error{Public: "a client certificate needs a token endpoint with https"}
	}
	c.form.Set("client_id", c.clientID)
	c.certificate = &pair
	return nil
}

// NoSecret names a client that does not authenticate (a public client), for token exchanges: the subject token is all that is shown.
type NoSecret struct{}

func (NoSecret) method() string      { return methodNone }
func (NoSecret) key() []string       { return []string{methodNone} }
func (NoSecret) check() error        { return nil }
func (NoSecret) remedy(place) string { return "that the client may go without authentication" }

func (NoSecret) identify(_ context.Context, c *call) error {
	c.form.Set("client_id", c.clientID)
	return nil
}

func present(secret Secret, what string) error {
	if secret == nil {
		return errors.New(what + " is missing")
	}
	return nil
}
