// Package jwtauth signs JSON Web Tokens for the stand-ins of identity providers, and verifies them for the stand-ins of services that
// trust such providers, as RFC 7515, 7517 and 7519 say.
//
// A verifying stand-in finds keys by the issuer that a token names, never by what else is in the token, and knows only the issuers that it
// was told of. What a service requires of the claims beyond that is for the stand-in of that service.
//
// The package must not know how the gateway makes or uses tokens.
package jwtauth

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"

	"github.com/go-jose/go-jose/v4"
)

// Signer is the signing key of one issuer. It is safe for concurrent use.
type Signer struct {
	algorithm jose.SignatureAlgorithm
	id        string
	key       func() crypto.Signer
}

// NewSigner returns a Signer with a key of its own for RS256, ES256 or ES384. The key is made when it is first needed, since making an RSA
// key takes a while and most runs never need it.
func NewSigner(algorithm string) *Signer {
	return &Signer{
		algorithm: jose.SignatureAlgorithm(algorithm),
		id:        "local-" + rand.Text()[:8],
		key: sync.OnceValue(func() crypto.Signer {
			key, err := generate(algorithm)
			if err != nil {
				panic(err) // It is a mistake in the stand-in that asked for it.
			}
			return key
		}),
	}
}

func generate(algorithm string) (crypto.Signer, error) {
	switch algorithm {
	case "RS256":
		return rsa.GenerateKey(rand.Reader, 2048)
	case "ES256":
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "ES384":
		return ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	}
	return nil, fmt.Errorf("no keys for algorithm %q", algorithm)
}

// Sign returns a token with these claims.
func (s *Signer) Sign(claims map[string]any) (string, error) {
	payload, err := json.Marshal(claims)
	if err != nil {
		return "", fmt.Errorf("encode the claims: %w", err)
	}
	options := (&jose.SignerOptions{}).WithType("JWT").WithHeader("kid", s.id)
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: s.algorithm, Key: s.key()}, options)
	if err != nil {
		return "", fmt.Errorf("make a signer: %w", err)
	}
	signed, err := signer.Sign(payload)
	if err != nil {
		return "", fmt.Errorf("sign the claims: %w", err)
	}
	return signed.CompactSerialize()
}

// KeySet returns the public key, as an issuer publishes it.
func (s *Signer) KeySet() jose.JSONWebKeySet {
	return jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: s.key().Public(), KeyID: s.id, Algorithm: string(s.algorithm), Use: "sig"}}}
}

// ServeHTTP answers with the key set.
func (s *Signer) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(s.KeySet())
}
