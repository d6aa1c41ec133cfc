package audit

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
)

// Algorithm is how something is signed, by its name in RFC 7518 and RFC 8037. It is part of the format of events.
type Algorithm string

// The algorithms of signatures.
const (
	ES256 Algorithm = "ES256" // ECDSA with the curve P-256
	RS256 Algorithm = "RS256" // RSASSA-PKCS1-v1_5
	EdDSA Algorithm = "EdDSA" // with the curve Ed25519
)

// minRSA is the shortest RSA key, in bits, whose signatures count.
const minRSA = 2048

// half is the length of each of the two numbers of a signature with the curve P-256, in bytes.
const half = 32

// Keys are the public keys whose signatures count.
type Keys []crypto.PublicKey

// ParseKeys reads public keys in PEM, one block (PUBLIC KEY) after the other.
func ParseKeys(text []byte) (Keys, error) {
	var keys Keys
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "PUBLIC KEY" {
			return nil, fmt.Errorf("public keys: a block PUBLIC KEY is needed, and there is a block %s", block.Type)
		}
		key, err := x509.ParsePKIXPublicKey(block.Bytes)
		if err != nil {
			return nil, errors.New("public keys: a block PUBLIC KEY holds no public key")
		}
		if _, err := algorithmOf(key); err != nil {
			return nil, fmt.Errorf("public keys: one %w", err)
		}
		keys = append(keys, key)
	}
	if len(keys) == 0 {
		return nil, errors.New("public keys: there is no block PUBLIC KEY")
	}
	return keys, nil
}

// algorithmOf is how a key signs. The error says why its signatures do not count, and begins with what the key is or has.
func algorithmOf(key crypto.PublicKey) (Algorithm, error) {
	switch key := key.(type) {
	case *ecdsa.PublicKey:
		if key.Curve != elliptic.P256() {
			return "", errors.New("has another curve than P-256")
		}
		return ES256, nil
	case *rsa.PublicKey:
		if key.N.BitLen() < minRSA {
			return "", fmt.Errorf("is an RSA key of %d bits, and %d are the least", key.N.BitLen(), minRSA)
		}
		return RS256, nil
	case ed25519.PublicKey:
		return EdDSA, nil
	}
	return "", fmt.Errorf("is for none of %s, %s and %s", ES256, RS256, EdDSA)
}

// verify reports whether one of the keys has signed the digest. The key says which algorithm is the right one, not the signature.
func (k Keys) verify(digest []byte, s Signature) bool {
	value, err := base64.RawURLEncoding.Strict().DecodeString(s.Value)
	if err != nil {
		return false
	}
	for _, key := range k {
		valid := false
		switch key := key.(type) {
		case *ecdsa.PublicKey:
			valid = s.Algorithm == ES256 && len(value) == 2*half &&
				ecdsa.Verify(key, digest, new(big.Int).SetBytes(value[:half]), new(big.Int).SetBytes(value[half:]))
		case *rsa.PublicKey:
			valid = s.Algorithm == RS256 && len(digest) == sha256.Size && rsa.VerifyPKCS1v15(key, crypto.SHA256, digest, value) == nil
		case ed25519.PublicKey:
			valid = s.Algorithm == EdDSA && ed25519.Verify(key, digest, value)
		}
		if valid {
			return true
		}
	}
	return false
}
