// Package keyvaultkeys signs audit events by a key of Azure Key Vault (https://learn.microsoft.com/rest/api/keyvault/keys/sign/sign), which is one of RSA, or of
// elliptic curves with P-256.
//
// The package must not know what it signs, nor where its access tokens come from.
package keyvaultkeys

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/base64"
	"errors"
	"math/big"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/postern-ai/postern/shared/audit"
	"github.com/postern-ai/postern/shared/secrets"
)

const (
	// apiVersion is one that all clouds know.
	apiVersion = "7.5"
	role       = "Key Vault Crypto User"
	// half is the length of a coordinate with P-256.
	half = 32
	// longest is the longest RSA modulus that Key Vault makes, in bytes.
	longest = 512
)

// Options says which key signs.
type Options struct {
	// Key is the identifier of a version of a key, https://VAULT.vault.azure.net/keys/NAME/VERSION.
	Key string
	// Authorizer puts an access token for the scope https://vault.azure.net/.default, or that of another cloud, on each request. Its identity needs
	// the role Key Vault Crypto User on the key.
	Authorizer audit.Authorizer
	// Transport sends the requests. Nil means [http.DefaultTransport].
	Transport http.RoundTripper
	// Timeout bounds one request. Zero means 3 s.
	Timeout time.Duration
}

// keyForm is the path of an identifier (https://learn.microsoft.com/azure/key-vault/general/about-keys-secrets-certificates).
var keyForm = regexp.MustCompile(`^/keys/[0-9a-zA-Z-]{1,127}/[0-9a-f]{32}$`)

// New returns a signer. It makes no network call.
func New(options Options) (audit.Signer, error) {
	if options.Authorizer == nil {
		return nil, errors.New("a key of Key Vault needs an authorizer")
	}
	const form = "a key of Key Vault is the identifier of one version, https://VAULT.vault.azure.net/keys/NAME/VERSION"
	i := strings.Index(options.Key, "/keys/")
	if i < 0 || !keyForm.MatchString(options.Key[i:]) {
		return nil, errors.New(form)
	}
	address, err := secrets.Endpoint(options.Key[:i])
	if err != nil {
		return nil, errors.New(form)
	}
	address.Path = options.Key[i:]
	signer := &audit.RemoteSigner{
		Key: key{address.String()}, HTTP: secrets.Bounded(options.Transport), Kind: secrets.Kind,
		Authorizer: options.Authorizer, Timeout: options.Timeout,
	}
	return signer.Sign, nil
}

type key struct{ url string }

// is reports whether an identifier of the service's is this key. Names and hosts have no case.
func (k key) is(identifier string) bool { return strings.EqualFold(identifier, k.url) }

// AskPublic implements [audit.RemoteKey].
func (k key) AskPublic(ctx context.Context) (*http.Request, error) {
	return http.NewRequestWithContext(ctx, http.MethodGet, k.url+"?api-version="+apiVersion, nil)
}

// ReadPublic implements [audit.RemoteKey].
func (k key) ReadPublic(reply audit.Reply) (audit.PublicPart, audit.Refusal) {
	if reply.Status != http.StatusOK {
		return audit.PublicPart{}, explain(reply, "keys/read")
	}
	var out struct {
		Key struct {
			KID   string   `json:"kid"`
			Type  string   `json:"kty"`
			Curve string   `json:"crv"`
			X     string   `json:"x"`
			Y     string   `json:"y"`
			N     string   `json:"n"`
			E     string   `json:"e"`
			Uses  []string `json:"key_ops"`
		} `json:"key"`
	}
	if json.Unmarshal(reply.Body, &out) != nil || !k.is(out.Key.KID) {
		return audit.PublicPart{}, reply.Malformed()
	}
	var public crypto.PublicKey
	switch kind := strings.TrimSuffix(out.Key.Type, "-HSM"); {
	case !slices.Contains(out.Key.Uses, "sign"):
	case kind == "EC" && out.Key.Curve == "P-256":
		public = point(out.Key.X, out.Key.Y)
	case kind == "RSA":
		public = modulus(out.Key.N, out.Key.E)
	}
	if public == nil {
		return audit.PublicPart{}, wrongKind
	}
	return audit.PublicPart{ID: k.url, Key: public}, audit.Refusal{}
}

var wrongKind = audit.Refusal{Reason: "the key is of another kind than is needed; make one of the type EC with the curve P-256, or RSA, with the permitted operation sign"}

// point returns the public key of a point on P-256, or nil.
func point(x, y string) crypto.PublicKey {
	encoded := []byte{4} // not compressed
	for _, text := range []string{x, y} {
		coordinate, err := decode(text)
		if err != nil || len(coordinate) > half {
			return nil
		}
		encoded = append(append(encoded, make([]byte, half-len(coordinate))...), coordinate...)
	}
	public, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), encoded)
	if err != nil {
		return nil
	}
	return public
}

// modulus returns an RSA key, or nil.
func modulus(n, e string) crypto.PublicKey {
	number, err := decode(n)
	exponent, expErr := decode(e)
	if err != nil || expErr != nil || len(number) > longest || len(exponent) > 4 {
		return nil
	}
	return &rsa.PublicKey{N: new(big.Int).SetBytes(number), E: int(new(big.Int).SetBytes(exponent).Int64())}
}

func decode(text string) ([]byte, error) {
	return base64.RawURLEncoding.DecodeString(strings.TrimRight(text, "="))
}

// AskSignature implements [audit.RemoteKey].
func (k key) AskSignature(ctx context.Context, public audit.PublicPart, digest []byte) (*http.Request, error) {
	body, err := json.Marshal(struct {
		Algorithm audit.Algorithm `json:"alg"`
		Value     string          `json:"value"`
	}{public.Algorithm, base64.RawURLEncoding.EncodeToString(digest)})
	if err != nil {
		return nil, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, k.url+"/sign?api-version="+apiVersion, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "application/json; charset=utf-8")
	return request, nil
}

// ReadSignature implements [audit.RemoteKey]. The service signs as a JWS does.
func (k key) ReadSignature(reply audit.Reply, _ audit.PublicPart) ([]byte, audit.Refusal) {
	if reply.Status != http.StatusOK {
		return nil, explain(reply, "keys/sign")
	}
	var out struct {
		KID   string `json:"kid"`
		Value string `json:"value"`
	}
	if json.Unmarshal(reply.Body, &out) != nil || !k.is(out.KID) {
		return nil, reply.Malformed()
	}
	value, err := decode(out.Value)
	if err != nil {
		return nil, reply.Malformed()
	}
	return value, audit.Refusal{}
}

// explain says in our own words why the service refused. What it wrote is not shown, because it repeats names and callers.
func explain(reply audit.Reply, permission string) audit.Refusal {
	var out struct {
		Error struct {
			Code  string `json:"code"`
			Inner struct {
				Code string `json:"code"`
			} `json:"innererror"`
		} `json:"error"`
	}
	fromService := json.Unmarshal(reply.Body, &out) == nil && out.Error.Code != ""
	inner := out.Error.Inner.Code
	switch {
	case reply.Status == http.StatusUnauthorized:
		return audit.Refusal{Reason: "Azure does not accept this function's access token"}
	case !fromService:
	case inner == "KeyDisabled", inner == "KeyExpired", inner == "KeyNotYetValid":
		return audit.Refusal{Reason: "the key is disabled, has expired or is not valid yet (" + inner + ")"}
	case inner == "ForbiddenByFirewall", inner == "ForbiddenByConnection":
		return audit.Refusal{Reason: "the vault's network rules do not let this function in"}
	case reply.Status == http.StatusForbidden:
		return audit.Refusal{Reason: "this function's identity may not use the key; it needs " + permission + " (the role " + role + ") on it"}
	case reply.Status == http.StatusNotFound:
		return audit.Refusal{Reason: "Key Vault has no key of the configured name and version"}
	case reply.Status == http.StatusBadRequest:
		return wrongKind
	}
	return reply.Refusal()
}
