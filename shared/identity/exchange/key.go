package exchange

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"math/big"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/postern-ai/postern/shared/secrets"
)

const (
	rs256 = "RS256"
	ps256 = "PS256"
	es256 = "ES256"

	// assertionLifetime is short, as an assertion is used within seconds, and long enough for clocks that are two minutes apart.
	assertionLifetime = 2 * time.Minute
	minRSABits        = 2048 // RFC 7518 section 3.3
)

func algorithms() []string { return []string{rs256, ps256, es256} }

// signingKey is a client's private key. Its errors, like those of parseKey, do not quote it.
type signingKey struct {
	id        string
	algorithm string
	rsa       *rsa.PrivateKey
	ecdsa     *ecdsa.PrivateKey
}

// parseKey reads a private key from PEM or JWK.
func parseKey(text secrets.Value, algorithm string) (*signingKey, error) {
	var key *signingKey
	var err error
	if trimmed := strings.TrimSpace(text.Reveal()); strings.HasPrefix(trimmed, "{") {
		key, err = parseJWK(trimmed)
	} else {
		key, err = parsePEM(trimmed)
	}
	if err != nil {
		return nil, err
	}
	if algorithm != "" {
		key.algorithm = algorithm
	}
	return key, key.check()
}

// check settles the algorithm and makes sure that the key can serve it.
func (k *signingKey) check() error {
	switch {
	case k.rsa != nil && k.algorithm == "":
		k.algorithm = rs256
	case k.ecdsa != nil && k.algorithm == "":
		k.algorithm = es256
	}
	switch {
	case k.rsa != nil && k.algorithm != rs256 && k.algorithm != ps256:
		return errors.New("it is an RSA key, which signs RS256 or PS256")
	case k.rsa != nil && k.rsa.N.BitLen() < minRSABits:
		return errors.New("it is an RSA key of less than 2048 bits")
	case k.ecdsa != nil && k.algorithm != es256:
		return errors.New("it is an ECDSA key, which signs ES256")
	case k.ecdsa != nil && k.ecdsa.Curve != elliptic.P256():
		return errors.New("it is an ECDSA key on another curve than P-256")
	}
	return nil
}

func parsePEM(text string) (*signingKey, error) {
	const wanted = "it is not a private key in PEM (PKCS #8, PKCS #1 or SEC 1) or JWK"
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		return nil, errors.New(wanted)
	}
	switch block.Type {
	case "PRIVATE KEY":
		parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
		if err != nil {
			return nil, errors.New(wanted)
		}
		return newSigningKey(parsed)
	case "RSA PRIVATE KEY":
		if parsed, err := x509.ParsePKCS1PrivateKey(block.Bytes); err == nil {
			return newSigningKey(parsed)
		}
		return nil, errors.New(wanted)
	case "EC PRIVATE KEY":
		if parsed, err := x509.ParseECPrivateKey(block.Bytes); err == nil {
			return newSigningKey(parsed)
		}
		return nil, errors.New(wanted)
	case "ENCRYPTED PRIVATE KEY":
		return nil, errors.New("it is encrypted; store it as it is, the store encrypts it")
	case "PUBLIC KEY", "RSA PUBLIC KEY", "CERTIFICATE":
		return nil, errors.New("it is a public key or a certificate; the private key is needed")
	}
	return nil, errors.New(wanted)
}

func newSigningKey(parsed any) (*signingKey, error) {
	switch key := parsed.(type) {
	case *rsa.PrivateKey:
		return &signingKey{rsa: key}, nil
	case *ecdsa.PrivateKey:
		return &signingKey{ecdsa: key}, nil
	}
	return nil, errors.New("it is neither an RSA nor an ECDSA key")
}

// jwk is a private key as RFC 7517 and RFC 7518 section 6 write it.
type jwk struct {
	Type      string `json:"kty"`
	ID        string `json:"kid"`
	Algorithm string `json:"alg"`
	Curve     string `json:"crv"`
	X         string `json:"x"`
	Y         string `json:"y"`
	D         string `json:"d"`
	N         string `json:"n"`
	E         string `json:"e"`
	P         string `json:"p"`
	Q         string `json:"q"`
}

func parseJWK(text string) (*signingKey, error) {
	var read jwk
	if err := json.Unmarshal([]byte(text), &read); err != nil {
		return nil, errors.New("it is not the JSON of one JWK")
	}
	var key *signingKey
	var err error
	switch {
	case read.Type == "":
		return nil, errors.New("it is JSON without kty; store one JWK, not a set of them")
	case read.D == "":
		return nil, errors.New("it is a JWK without its private part, d")
	case read.Type == "RSA":
		key, err = read.rsa()
	case read.Type == "EC" && read.Curve == "P-256":
		key, err = read.ecdsa()
	default:
		return nil, errors.New("it is a JWK of another kind than RSA or EC on P-256")
	}
	if err != nil {
		return nil, err
	}
	key.id, key.algorithm = read.ID, read.Algorithm
	return key, nil
}

func (j jwk) rsa() (*signingKey, error) {
	const wrong = "it is an RSA JWK whose numbers do not belong together; n, e, d, p and q are needed"
	var numbers []*big.Int
	for _, part := range []string{j.N, j.E, j.D, j.P, j.Q} {
		raw, err := base64.RawURLEncoding.DecodeString(part)
		if err != nil || len(raw) == 0 || len(raw) > 2048 {
			return nil, errors.New(wrong)
		}
		numbers = append(numbers, new(big.Int).SetBytes(raw))
	}
	if !numbers[1].IsInt64() || numbers[1].Int64() > 1<<31-1 {
		return nil, errors.New(wrong)
	}
	key := &rsa.PrivateKey{
		PublicKey: rsa.PublicKey{N: numbers[0], E: int(numbers[1].Int64())},
		D:         numbers[2],
		Primes:    numbers[3:],
	}
	if err := key.Validate(); err != nil {
		return nil, errors.New(wrong)
	}
	key.Precompute()
	return &signingKey{rsa: key}, nil
}

func (j jwk) ecdsa() (*signingKey, error) {
	const wrong = "it is an EC JWK whose numbers do not belong together; x, y and d are needed"
	raw, err := base64.RawURLEncoding.DecodeString(j.D)
	if err != nil {
		return nil, errors.New(wrong)
	}
	key, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), raw)
	if err != nil {
		return nil, errors.New(wrong)
	}
	point, err := key.PublicKey.Bytes()
	if err != nil || base64.RawURLEncoding.EncodeToString(point[1:33]) != j.X || base64.RawURLEncoding.EncodeToString(point[33:]) != j.Y {
		return nil, errors.New(wrong)
	}
	return &signingKey{ecdsa: key}, nil
}

// assertion signs a token with which the client shows that it has the key (RFC 7523 section 3).
func (k *signingKey) assertion(client, audience string) (string, error) {
	head, err := json.Marshal(struct {
		Algorithm string `json:"alg"`
		Type      string `json:"typ"`
		ID        string `json:"kid,omitzero"`
	}{k.algorithm, "JWT", k.id})
	if err != nil {
		return "", err
	}
	now := time.Now()
	body, err := json.Marshal(struct {
		Issuer   string `json:"iss"`
		Subject  string `json:"sub"`
		Audience string `json:"aud"`
		Issued   int64  `json:"iat"`
		Expires  int64  `json:"exp"`
		ID       string `json:"jti"`
	}{client, client, audience, now.Unix(), now.Add(assertionLifetime).Unix(), rand.Text()})
	if err != nil {
		return "", err
	}
	text := base64.RawURLEncoding.EncodeToString(head) + "." + base64.RawURLEncoding.EncodeToString(body)
	signature, err := k.sign(text)
	if err != nil {
		return "", err
	}
	return text + "." + base64.RawURLEncoding.EncodeToString(signature), nil
}

// sign signs as RFC 7518 sections 3.3 to 3.5 say.
func (k *signingKey) sign(text string) ([]byte, error) {
	sum := sha256.Sum256([]byte(text))
	switch k.algorithm {
	case rs256:
		return rsa.SignPKCS1v15(rand.Reader, k.rsa, crypto.SHA256, sum[:])
	case ps256:
		return rsa.SignPSS(rand.Reader, k.rsa, crypto.SHA256, sum[:], &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash})
	}
	r, s, err := ecdsa.Sign(rand.Reader, k.ecdsa, sum[:])
	if err != nil {
		return nil, err
	}
	signature := make([]byte, 64)
	r.FillBytes(signature[:32])
	s.FillBytes(signature[32:])
	return signature, nil
}
