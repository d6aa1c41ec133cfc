// Package proof is a stand-in for callers whose tokens are bound to a key: it makes the proofs of possession of RFC 9449, also wrong
// ones. They are signed by go-jose, which is not what the gateway verifies them with.
//
// It must not know anything about the gateway, and serves tests only.
package proof

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// Holder has a key.
type Holder struct {
	algorithm jose.SignatureAlgorithm
	key       crypto.Signer
}

// New returns the holder of a new key for a JWS algorithm.
func New(algorithm string) (*Holder, error) {
	var key crypto.Signer
	var err error
	switch algorithm {
	case "RS256", "PS256":
		key, err = rsa.GenerateKey(rand.Reader, 2048)
	case "EdDSA":
		_, key, err = ed25519.GenerateKey(rand.Reader)
	case "ES256":
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	default:
		err = fmt.Errorf("there are no keys for algorithm %q here", algorithm)
	}
	return &Holder{algorithm: jose.SignatureAlgorithm(algorithm), key: key}, err
}

// Thumbprint names the key as a token does that is bound to it (RFC 7638).
func (h *Holder) Thumbprint() (string, error) {
	sum, err := (&jose.JSONWebKey{Key: h.key.Public()}).Thumbprint(crypto.SHA256)
	return base64.RawURLEncoding.EncodeToString(sum), err
}

// Keys returns the key as a JSON Web Key, whole and without its private part.
func (h *Holder) Keys() (private, public []byte, err error) {
	if private, err = json.Marshal(jose.JSONWebKey{Key: h.key}); err != nil {
		return nil, nil, err
	}
	public, err = json.Marshal(jose.JSONWebKey{Key: h.key.Public()})
	return private, public, err
}

// Proof describes a proof.
type Proof struct {
	Method, Address string
	// Token is what the proof is shown with; empty for a request that asks for one.
	Token string
	// Claims are added last, and remove a claim when nil.
	Claims map[string]any
	// Type defaults to dpop+jwt.
	Type string
}

// Prove makes a proof of now.
func (h *Holder) Prove(p Proof) (string, error) {
	claims := map[string]any{"jti": rand.Text(), "htm": p.Method, "htu": p.Address, "iat": time.Now().Unix()}
	if p.Token != "" {
		sum := sha256.Sum256([]byte(p.Token))
		claims["ath"] = base64.RawURLEncoding.EncodeToString(sum[:])
	}
	for name, value := range p.Claims {
		if value == nil {
			delete(claims, name)
			continue
		}
		claims[name] = value
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		return "", err
	}
	if p.Type == "" {
		p.Type = "dpop+jwt"
	}
	options := (&jose.SignerOptions{EmbedJWK: true}).WithType(jose.ContentType(p.Type))
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: h.algorithm, Key: h.key}, options)
	if err != nil {
		return "", err
	}
	signed, err := signer.Sign(payload)
	if err != nil {
		return "", err
	}
	return signed.CompactSerialize()
}
