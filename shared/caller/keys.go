package caller

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	_ "crypto/sha256" // the hashes of the algorithms
	_ "crypto/sha512"
	"encoding/base64"
	"errors"
	"math/big"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// The bounds of a published key. A modulus above the usual ones would make verifying expensive for whoever can publish keys.
const (
	leastModulusBits = 2048
	mostModulusBits  = 8192
	mostKeys         = 200
)

// algorithm says what a JWS algorithm (RFC 7518 section 3.1, RFC 8037) is made of.
type algorithm struct {
	kty   string
	hash  crypto.Hash
	pss   bool
	curve elliptic.Curve
}

// algorithmOf returns the algorithm of that name. There is no HMAC among them and no none.
func algorithmOf(name string) (algorithm, bool) {
	switch name {
	case "RS256":
		return algorithm{kty: "RSA", hash: crypto.SHA256}, true
	case "RS384":
		return algorithm{kty: "RSA", hash: crypto.SHA384}, true
	case "RS512":
		return algorithm{kty: "RSA", hash: crypto.SHA512}, true
	case "PS256":
		return algorithm{kty: "RSA", hash: crypto.SHA256, pss: true}, true
	case "PS384":
		return algorithm{kty: "RSA", hash: crypto.SHA384, pss: true}, true
	case "PS512":
		return algorithm{kty: "RSA", hash: crypto.SHA512, pss: true}, true
	case "ES256":
		return algorithm{kty: "EC", hash: crypto.SHA256, curve: elliptic.P256()}, true
	case "ES384":
		return algorithm{kty: "EC", hash: crypto.SHA384, curve: elliptic.P384()}, true
	case "ES512":
		return algorithm{kty: "EC", hash: crypto.SHA512, curve: elliptic.P521()}, true
	case "EdDSA":
		return algorithm{kty: "OKP"}, true
	}
	return algorithm{}, false
}

// publicKey is a key that an issuer publishes.
type publicKey struct {
	id        string
	algorithm string // "" for any that goes with the key
	key       crypto.PublicKey
}

// fits reports whether the key may verify a text with that algorithm and key id. One without a key id may be verified by any
// key of the right kind.
func (k publicKey) fits(j *jws) bool {
	a, ok := algorithmOf(j.header.Algorithm)
	if !ok || j.header.KeyID != "" && k.id != j.header.KeyID || k.algorithm != "" && k.algorithm != j.header.Algorithm {
		return false
	}
	switch key := k.key.(type) {
	case *rsa.PublicKey:
		return a.kty == "RSA"
	case *ecdsa.PublicKey:
		return a.kty == "EC" && key.Curve == a.curve
	case ed25519.PublicKey:
		return a.kty == "OKP"
	}
	return false
}

// verifies reports whether the key made the signature.
func (k publicKey) verifies(j *jws) bool {
	a, ok := algorithmOf(j.header.Algorithm)
	if !ok || strings.ContainsAny(j.signature, "\r\n") {
		return false
	}
	signature, err := base64.RawURLEncoding.Strict().DecodeString(j.signature)
	if err != nil {
		return false
	}
	if key, ok := k.key.(ed25519.PublicKey); ok {
		return len(signature) == ed25519.SignatureSize && ed25519.Verify(key, []byte(j.signed), signature)
	}
	hash := a.hash.New()
	hash.Write([]byte(j.signed))
	digest := hash.Sum(nil)
	switch key := k.key.(type) {
	case *rsa.PublicKey:
		if a.pss {
			// RFC 7518 section 3.5: the salt is as long as the hash.
			return rsa.VerifyPSS(key, a.hash, digest, signature, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}) == nil
		}
		return rsa.VerifyPKCS1v15(key, a.hash, digest, signature) == nil
	case *ecdsa.PublicKey:
		size := (a.curve.Params().BitSize + 7) / 8
		if len(signature) != 2*size {
			return false
		}
		r, s := new(big.Int).SetBytes(signature[:size]), new(big.Int).SetBytes(signature[size:])
		return ecdsa.Verify(key, digest, r, s)
	}
	return false
}

// jwk is a JSON Web Key (RFC 7517, RFC 7518 section 6, RFC 8037) as far as it counts.
type jwk struct {
	Type       string   `json:"kty"`
	ID         string   `json:"kid"`
	Use        string   `json:"use"`
	Operations []string `json:"key_ops"`
	Algorithm  string   `json:"alg"`
	Curve      string   `json:"crv"`
	N          string   `json:"n"`
	E          string   `json:"e"`
	X          string   `json:"x"`
	Y          string   `json:"y"`
}

// parseKeys returns the usable keys of a key set. As RFC 7517 section 5 asks, keys that are not understood, or are for
// something else, are left out; a set without any usable key is an error.
func parseKeys(text []byte) ([]publicKey, error) {
	var set struct {
		Keys []jsontext.Value `json:"keys"`
	}
	if err := json.Unmarshal(text, &set); err != nil {
		return nil, errors.New("the key set is not JSON, or not a key set")
	}
	if len(set.Keys) > mostKeys {
		return nil, errors.New("the key set has too many keys")
	}
	var keys []publicKey
	for _, raw := range set.Keys {
		var k jwk
		if json.Unmarshal(raw, &k) != nil || k.Use != "" && k.Use != "sig" ||
			k.Operations != nil && !slices.Contains(k.Operations, "verify") || len(k.ID) > maxKeyIDBytes {
			continue
		}
		if public := k.public(); public != nil {
			keys = append(keys, publicKey{id: k.ID, algorithm: k.Algorithm, key: public})
		}
	}
	if len(keys) == 0 {
		return nil, errors.New("the key set has no usable key")
	}
	return keys, nil
}

// public returns the key, or nil if it is not one that can be used.
func (k *jwk) public() crypto.PublicKey {
	switch k.Type {
	case "RSA":
		return k.rsa()
	case "EC":
		return k.ec()
	case "OKP":
		x := number(k.X)
		if k.Curve != "Ed25519" || len(x) != ed25519.PublicKeySize {
			return nil
		}
		return ed25519.PublicKey(x)
	}
	return nil
}

func (k *jwk) rsa() crypto.PublicKey {
	n, e := new(big.Int).SetBytes(number(k.N)), new(big.Int).SetBytes(number(k.E))
	if bits := n.BitLen(); bits < leastModulusBits || bits > mostModulusBits || n.Bit(0) == 0 {
		return nil
	}
	if e.BitLen() > 31 || e.Int64() < 3 || e.Bit(0) == 0 || guessable(n) {
		return nil
	}
	return &rsa.PublicKey{N: n, E: int(e.Int64())}
}

// guessable reports whether a modulus has the mark of the smart cards that made their primes out of powers of 65537
// (CVE-2017-15361): modulo each of these small primes it is such a power too. Of other moduli one in many millions is.
func guessable(n *big.Int) bool {
	for _, prime := range []int64{11, 13, 17, 19, 37, 53, 61, 71, 73, 79, 97, 103, 107, 109, 127, 151, 157} {
		rest := new(big.Int).Mod(n, big.NewInt(prime)).Int64()
		power := int64(1)
		for power != rest {
			if power = power * 65537 % prime; power == 1 {
				return false
			}
		}
	}
	return true
}

func (k *jwk) ec() crypto.PublicKey {
	curve := map[string]elliptic.Curve{"P-256": elliptic.P256(), "P-384": elliptic.P384(), "P-521": elliptic.P521()}[k.Curve]
	if curve == nil {
		return nil
	}
	x, y, size := number(k.X), number(k.Y), (curve.Params().BitSize+7)/8
	if len(x) != size || len(y) != size {
		return nil
	}
	key, err := ecdsa.ParseUncompressedPublicKey(curve, slices.Concat([]byte{4}, x, y))
	if err != nil {
		return nil
	}
	return key
}

// number decodes a base64url number. Some issuers pad it.
func number(s string) []byte {
	b, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(s, "="))
	if err != nil {
		return nil
	}
	return b
}
