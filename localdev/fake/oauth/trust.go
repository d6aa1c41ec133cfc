package oauth

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

// leeway is how far two clocks may be apart.
const leeway = 30 * time.Second

// Issuer is a foreign issuer of JSON Web Tokens that is trusted.
type Issuer struct {
	// URL must be the iss claim, to the letter.
	URL string
	// Keys returns the issuer's keys of today.
	Keys func() (jose.JSONWebKeySet, error)
}

// KeysFrom returns a function that fetches a key set from an address, each time that it is asked, with the transport.
func KeysFrom(transport http.RoundTripper, address string) func() (jose.JSONWebKeySet, error) {
	return func() (set jose.JSONWebKeySet, err error) {
		request, err := http.NewRequest(http.MethodGet, address, nil)
		if err != nil {
			return set, err
		}
		response, err := transport.RoundTrip(request)
		if err != nil {
			return set, err
		}
		defer func() { _ = response.Body.Close() }()
		if response.StatusCode != http.StatusOK {
			return set, fmt.Errorf("the key set answers %s", response.Status)
		}
		return set, json.NewDecoder(io.LimitReader(response.Body, 1<<20)).Decode(&set)
	}
}

// Claims are those of a verified token that matter here. Exact times are not needed.
type Claims struct {
	jwt.Claims
	// All holds every claim.
	All map[string]any
}

// Lifetime is how long the token was made for. Zero means that it does not say.
func (c Claims) Lifetime() time.Duration {
	if c.IssuedAt == nil || c.Expiry == nil {
		return 0
	}
	return c.Expiry.Time().Sub(c.IssuedAt.Time())
}

// Algorithms are the signatures that are accepted of foreign issuers: the asymmetric ones.
func Algorithms() []jose.SignatureAlgorithm {
	return []jose.SignatureAlgorithm{
		jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512, jose.ES256, jose.ES384, jose.ES512,
	}
}

// Verify checks a token's signature against the issuer's keys, that it names the issuer, and that it is valid now. The claims iss, sub,
// aud, exp and iat must be there, and the header's kid.
func (i Issuer) Verify(token string) (Claims, error) {
	keys, err := i.Keys()
	if err != nil {
		return Claims{}, err
	}
	claims, err := verify(token, keys, Algorithms())
	if err != nil {
		return Claims{}, err
	}
	now := time.Now()
	switch {
	case claims.Issuer != i.URL:
		return Claims{}, fmt.Errorf("the issuer is %q, not %q", claims.Issuer, i.URL)
	case claims.Subject == "":
		return Claims{}, errors.New("the subject is missing")
	case len(claims.Audience) == 0:
		return Claims{}, errors.New("the audience is missing")
	case claims.IssuedAt == nil || claims.IssuedAt.Time().After(now.Add(leeway)):
		return Claims{}, errors.New("the time of issue is missing or has not come yet")
	}
	return claims, claims.inTime(now)
}

// inTime checks the dates.
func (c Claims) inTime(now time.Time) error {
	switch {
	case c.Expiry == nil:
		return errors.New("the expiry is missing")
	case now.After(c.Expiry.Time().Add(leeway)):
		return errors.New("it has expired")
	case c.NotBefore != nil && c.NotBefore.Time().After(now.Add(leeway)):
		return errors.New("it is not valid yet")
	}
	return nil
}

// verify checks the signature alone.
func verify(token string, keys jose.JSONWebKeySet, algorithms []jose.SignatureAlgorithm) (Claims, error) {
	parsed, err := jwt.ParseSigned(token, algorithms)
	if err != nil {
		return Claims{}, err
	}
	header := parsed.Headers[0]
	if header.KeyID == "" {
		return Claims{}, errors.New("the header has no kid")
	}
	found := keys.Key(header.KeyID)
	if len(found) == 0 {
		return Claims{}, errors.New("no key has the token's kid")
	}
	at := slices.IndexFunc(found, func(key jose.JSONWebKey) bool { return key.Algorithm == "" || key.Algorithm == header.Algorithm })
	if at < 0 {
		return Claims{}, errors.New("the key is for another algorithm")
	}
	var claims Claims
	if err := parsed.Claims(found[at].Key, &claims.Claims, &claims.All); err != nil {
		return Claims{}, err
	}
	return claims, nil
}
