package keyvault

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"math/big"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Key is a version of a key of the vault (https://learn.microsoft.com/rest/api/keyvault/keys/). Keys can be read and sign, and nothing else.
type Key struct {
	Name string
	// Version is 32 digits of hexadecimal.
	Version string
	// Private is an *ecdsa.PrivateKey or an *rsa.PrivateKey.
	Private crypto.Signer
	// Operations are those that are permitted. Nil means sign and verify.
	Operations []string
	Disabled   bool
	// NotBefore and Expires are the version's dates, and zero for none.
	NotBefore, Expires time.Time
	// HSM says that a module for hardware holds the key.
	HSM bool
}

var keyPath = regexp.MustCompile(`^/keys/([^/]+)/([^/]+)(/sign)?$`)

// PutKey adds a version of a key, or changes it. It stands for an operator in the portal, and needs no token.
func (s *Server) PutKey(key Key) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if key.Operations == nil {
		key.Operations = []string{"sign", "verify"}
	}
	s.keys[strings.ToLower(key.Name)+"/"+key.Version] = key
}

func (c *call) key() (Key, error) {
	key, ok := c.server.keys[strings.ToLower(c.secret)+"/"+c.version]
	if !ok {
		return Key{}, &problem{Status: http.StatusNotFound, Code: "KeyNotFound", Message: "A key with (name/id) " + c.secret + "/" + c.version +
			" was not found in this key vault. If you recently deleted this key you may be able to recover it using the correct recovery command."}
	}
	return key, nil
}

func (c *call) kid(key Key) string { return c.id("/keys/" + key.Name + "/" + key.Version) }

// webKey is the public part of a key, as RFC 7517 has it.
type webKey struct {
	KID        string   `json:"kid"`
	Type       string   `json:"kty"`
	Operations []string `json:"key_ops"`
	N          string   `json:"n,omitzero"`
	E          string   `json:"e,omitzero"`
	Curve      string   `json:"crv,omitzero"`
	X          string   `json:"x,omitzero"`
	Y          string   `json:"y,omitzero"`
}

func (c *call) getKey() (any, error) {
	key, err := c.key()
	if err != nil {
		return nil, err
	}
	out := webKey{KID: c.kid(key), Operations: key.Operations}
	switch public := key.Private.Public().(type) {
	case *ecdsa.PublicKey:
		point, err := public.Bytes()
		if err != nil {
			return nil, err
		}
		half := len(point) / 2
		out.Type, out.Curve = "EC", public.Curve.Params().Name
		out.X, out.Y = encode(point[1:1+half]), encode(point[1+half:])
	case *rsa.PublicKey:
		out.Type, out.N, out.E = "RSA", encode(public.N.Bytes()), encode(big.NewInt(int64(public.E)).Bytes())
	}
	if key.HSM {
		out.Type += "-HSM"
	}
	enabled := !key.Disabled
	return struct {
		Key        webKey     `json:"key"`
		Attributes attributes `json:"attributes"`
	}{out, attributes{
		Enabled: &enabled, NotBefore: unix(key.NotBefore), Expires: unix(key.Expires), Created: c.now.Unix(), Updated: c.now.Unix(), RecoveryLevel: "Recoverable+Purgeable",
	}}, nil
}

func encode(raw []byte) string { return base64.RawURLEncoding.EncodeToString(raw) }

// signAlgorithms are those of the stand-in, with the curve that they need.
var signAlgorithms = map[string]struct {
	hash  crypto.Hash
	curve string
	pss   bool
}{
	"ES256": {crypto.SHA256, "P-256", false}, "ES384": {crypto.SHA384, "P-384", false}, "ES512": {crypto.SHA512, "P-521", false},
	"RS256": {hash: crypto.SHA256}, "RS384": {hash: crypto.SHA384}, "RS512": {hash: crypto.SHA512},
	"PS256": {hash: crypto.SHA256, pss: true}, "PS384": {hash: crypto.SHA384, pss: true}, "PS512": {hash: crypto.SHA512, pss: true},
}

func (c *call) sign() (any, error) {
	key, err := c.key()
	if err != nil {
		return nil, err
	}
	var in struct {
		Algorithm string `json:"alg"`
		Value     string `json:"value"`
	}
	if err := c.read(&in); err != nil {
		return nil, err
	}
	algorithm, known := signAlgorithms[in.Algorithm]
	digest, encodingErr := base64.RawURLEncoding.DecodeString(in.Value)
	private, elliptic := key.Private.(*ecdsa.PrivateKey)
	forbidden := func(inner, message string) error {
		return &problem{Status: http.StatusForbidden, Code: "Forbidden", Inner: inner, Message: message}
	}
	switch {
	case !known:
		return nil, bad("Property 'alg' has invalid value " + in.Algorithm)
	case encodingErr != nil:
		return nil, bad("Property 'value' is not in base64url.")
	case key.Disabled:
		return nil, forbidden("KeyDisabled", "Operation sign is not allowed on a disabled key.")
	case !key.NotBefore.IsZero() && c.now.Before(key.NotBefore):
		return nil, forbidden("KeyNotYetValid", "Operation sign is not allowed on a key that is not valid yet.")
	case !key.Expires.IsZero() && !c.now.Before(key.Expires):
		return nil, forbidden("KeyExpired", "Operation sign is not allowed on an expired key.")
	case !slices.Contains(key.Operations, "sign"):
		return nil, forbidden("KeyOperationForbidden", "Operation sign is not permitted on this key.")
	case elliptic != (algorithm.curve != ""), elliptic && private.Curve.Params().Name != algorithm.curve:
		return nil, bad("Key and signing algorithm are incompatible. Key " + c.kid(key) + " does not take " + in.Algorithm + ".")
	case len(digest) != algorithm.hash.Size():
		return nil, bad("Invalid length of value: " + in.Algorithm + " needs a digest of another length.")
	}
	signature, err := key.signature(digest, algorithm.hash, algorithm.pss)
	if err != nil {
		return nil, err
	}
	return map[string]string{"kid": c.kid(key), "value": encode(signature)}, nil
}

// signature signs as a JWS does: with ECDSA, the two numbers stand beside one another.
func (k Key) signature(digest []byte, hash crypto.Hash, pss bool) ([]byte, error) {
	if private, ok := k.Private.(*ecdsa.PrivateKey); ok {
		r, s, err := ecdsa.Sign(rand.Reader, private, digest)
		if err != nil {
			return nil, err
		}
		half := (private.Curve.Params().BitSize + 7) / 8
		both := make([]byte, 2*half)
		r.FillBytes(both[:half])
		s.FillBytes(both[half:])
		return both, nil
	}
	var options crypto.SignerOpts = hash
	if pss {
		options = &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: hash}
	}
	return k.Private.Sign(rand.Reader, digest, options)
}
