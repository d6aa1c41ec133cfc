package googleid

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"net/url"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/postern-ai/postern/shared/identity"
	"github.com/postern-ai/postern/shared/secrets"
)

const (
	bearerGrant   = "urn:ietf:params:oauth:grant-type:jwt-bearer"
	keySource     = "service account key"
	personSource  = "user credentials"
	assertionLife = time.Hour
	// backdated is how much earlier than now an assertion is dated, for a clock that is a little ahead.
	backdated = 10 * time.Second
	minKey    = 2048
)

// serviceAccount gets tokens with a service account's key.
type serviceAccount struct {
	services     *services
	email, keyID string
	key          *rsa.PrivateKey
	scopes       []string
	selfSigned   bool
}

// parseKey reads the key in its PEM block. Its errors hold nothing of it.
func parseKey(text string) (*rsa.PrivateKey, error) {
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		return nil, invalid("private_key", "is not a PEM block; keep its line breaks as \\n")
	}
	var key any
	var err error
	switch block.Type {
	case "PRIVATE KEY":
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	case "RSA PRIVATE KEY":
		key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	}
	private, ok := key.(*rsa.PrivateKey)
	if err != nil || !ok || private.N.BitLen() < minKey {
		return nil, invalid("private_key", "is not an RSA key of at least 2048 bits")
	}
	return private, nil
}

// Token signs an access token, or an assertion that is exchanged for one
// (https://developers.google.com/identity/protocols/oauth2/service-account).
func (s *serviceAccount) Token(ctx context.Context) (result identity.Token, err error) {
	defer func() { identity.TriedToken(ctx, keySource, &result, &err) }()
	now := time.Now().Round(0)
	principal := identity.Principal{Name: s.email, Source: keySource}
	claims := map[string]any{
		"iss": s.email, "sub": s.email, "scope": strings.Join(s.scopes, " "), "iat": now.Add(-backdated).Unix(), "exp": now.Add(assertionLife - backdated).Unix(),
	}
	if !s.selfSigned {
		claims["aud"] = s.services.oauthURL
	}
	signed, err := s.sign(claims)
	if err != nil {
		return identity.Token{}, &identity.Error{Public: "the service account's key cannot sign", Err: err}
	}
	if s.selfSigned {
		return identity.Token{Value: secrets.NewValue(signed), Expires: now.Add(assertionLife - backdated), Principal: principal}, nil
	}
	q := s.services.form(s.services.oauth+"/token", url.Values{"grant_type": {bearerGrant}, "assertion": {signed}})
	q.doing = "get a token for service account " + s.email
	q.remedies = map[string]string{
		"invalid_grant": "the key was deleted or disabled, or is not this account's",
		"invalid_scope": "check the scopes",
	}
	var answer granted
	if err := s.services.ask(ctx, q, &answer); err != nil {
		return identity.Token{}, err
	}
	return answer.token(now, principal)
}

// sign makes a JSON Web Token, signed with RS256.
func (s *serviceAccount) sign(claims map[string]any) (string, error) {
	head, err := json.Marshal(map[string]string{"alg": "RS256", "typ": "JWT", "kid": s.keyID}, json.Deterministic(true))
	if err != nil {
		return "", err
	}
	body, err := json.Marshal(claims, json.Deterministic(true))
	if err != nil {
		return "", err
	}
	text := base64.RawURLEncoding.EncodeToString(head) + "." + base64.RawURLEncoding.EncodeToString(body)
	sum := sha256.Sum256([]byte(text))
	signature, err := rsa.SignPKCS1v15(rand.Reader, s.key, crypto.SHA256, sum[:])
	return text + "." + base64.RawURLEncoding.EncodeToString(signature), err
}

// authorizedUser gets tokens with a person's refresh token, on that person's own machine.
type authorizedUser struct {
	services                   *services
	name, clientID             string
	clientSecret, refreshToken secrets.Value
}

// Token exchanges the refresh token.
func (u *authorizedUser) Token(ctx context.Context) (result identity.Token, err error) {
	defer func() { identity.TriedToken(ctx, personSource, &result, &err) }()
	q := u.services.form(u.services.oauth+"/token", url.Values{
		"grant_type": {"refresh_token"}, "client_id": {u.clientID}, "client_secret": {u.clientSecret.Reveal()}, "refresh_token": {u.refreshToken.Reveal()},
	})
	q.doing = "get a token for " + u.name
	q.remedies = map[string]string{
		"invalid_grant":  "the login has expired or was revoked; run gcloud auth application-default login again",
		"invalid_client": "run gcloud auth application-default login again",
	}
	began := time.Now()
	var answer granted
	if err := u.services.ask(ctx, q, &answer); err != nil {
		return identity.Token{}, err
	}
	return answer.token(began, identity.Principal{Name: u.name, Source: personSource})
}
