package jwtauth

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// KeySets finds the keys of an issuer by the iss claim of its tokens, or reports that the issuer is not known. It is called from many
// goroutines.
type KeySets func(issuer string) (jose.JSONWebKeySet, bool)

// Issuers returns the KeySets of these issuers.
func Issuers(signers map[string]*Signer) KeySets {
	return func(issuer string) (jose.JSONWebKeySet, bool) {
		signer, ok := signers[issuer]
		if !ok {
			return jose.JSONWebKeySet{}, false
		}
		return signer.KeySet(), true
	}
}

// Claims is what a verified token says.
type Claims struct {
	Issuer  string
	Subject string
	// Audience is empty when the token names none.
	Audience  []string
	IssuedAt  time.Time
	NotBefore time.Time
	Expires   time.Time
	// All holds each claim as it is in the token.
	All map[string]any
}

// Text returns a claim that is a text, or nothing.
func (c Claims) Text(name string) string {
	text, _ := c.All[name].(string)
	return text
}

// The reasons for which a token is not accepted.
var (
	ErrMalformed     = errors.New("not a signed JSON Web Token with iss, sub, iat and exp")
	ErrAlgorithm     = errors.New("the signature algorithm is not accepted here")
	ErrUnknownIssuer = errors.New("the issuer is not known")
	ErrUnknownKey    = errors.New("the issuer publishes no such key")
	ErrSignature     = errors.New("the signature is wrong")
	ErrExpired       = errors.New("the token has expired")
	ErrNotYet        = errors.New("the token is not valid yet")
)

// Verify checks a token against the keys of the issuer that it names, and that it is valid now. The error wraps one of the errors of this
// package. Next to an error, the claims are what the token says and nothing more, as far as it can be read.
func Verify(token string, keys KeySets, algorithms ...jose.SignatureAlgorithm) (Claims, error) {
	parsed, err := jose.ParseSignedCompact(token, algorithms)
	if _, refused := errors.AsType[*jose.ErrUnexpectedSignatureAlgorithm](err); refused {
		return Claims{}, ErrAlgorithm
	}
	if err != nil || len(parsed.Signatures) != 1 {
		return Claims{}, ErrMalformed
	}
	claims, err := parse(parsed.UnsafePayloadWithoutVerification())
	if err != nil {
		return Claims{}, err
	}
	set, ok := keys(claims.Issuer)
	if !ok {
		return claims, fmt.Errorf("%w: %s", ErrUnknownIssuer, claims.Issuer)
	}
	header := parsed.Signatures[0].Header
	at := slices.IndexFunc(set.Keys, func(k jose.JSONWebKey) bool { return k.KeyID == header.KeyID && k.Algorithm == header.Algorithm })
	if at < 0 {
		return claims, ErrUnknownKey
	}
	if _, err := parsed.Verify(set.Keys[at].Key); err != nil {
		return claims, ErrSignature
	}
	now := time.Now()
	if !now.Before(claims.Expires) {
		return claims, fmt.Errorf("%w: %s", ErrExpired, claims.Expires.UTC().Format(time.RFC3339))
	}
	if now.Before(claims.NotBefore.Add(-time.Minute)) || now.Before(claims.IssuedAt.Add(-time.Minute)) {
		return claims, ErrNotYet
	}
	return claims, nil
}

func parse(payload []byte) (Claims, error) {
	var standard struct {
		Issuer    string          `json:"iss"`
		Subject   string          `json:"sub"`
		Audience  json.RawMessage `json:"aud"`
		IssuedAt  int64           `json:"iat"`
		NotBefore int64           `json:"nbf"`
		Expires   int64           `json:"exp"`
	}
	claims := Claims{}
	if json.Unmarshal(payload, &standard) != nil || json.Unmarshal(payload, &claims.All) != nil {
		return Claims{}, ErrMalformed
	}
	var one string
	switch {
	case len(standard.Audience) == 0:
	case json.Unmarshal(standard.Audience, &one) == nil:
		claims.Audience = []string{one}
	case json.Unmarshal(standard.Audience, &claims.Audience) != nil:
		return Claims{}, ErrMalformed
	}
	if standard.Issuer == "" || standard.Subject == "" || standard.IssuedAt == 0 || standard.Expires == 0 {
		return Claims{}, ErrMalformed
	}
	claims.Issuer, claims.Subject = standard.Issuer, standard.Subject
	claims.IssuedAt, claims.Expires = time.Unix(standard.IssuedAt, 0), time.Unix(standard.Expires, 0)
	if standard.NotBefore != 0 {
		claims.NotBefore = time.Unix(standard.NotBefore, 0)
	}
	return claims, nil
}
