// Package cloudkms is a stand-in for the asymmetric keys of Google Cloud KMS, API version v1 over REST, as far as signatures go
// (https://cloud.google.com/kms/docs/reference/rest/v1/projects.locations.keyRings.cryptoKeys.cryptoKeyVersions/asymmetricSign). It keeps what
// signers get wrong: the digest has to be by the hash of the key's own algorithm, and checksums that come along have to be right.
//
// The package must not know what is signed.
package cloudkms

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	_ "crypto/sha256" // for the algorithms
	_ "crypto/sha512"
	"crypto/x509"
	"encoding/pem"
	"hash/crc32"
	"net/http"
	"regexp"
	"strings"
	"sync"

	"github.com/postern-ai/postern/localdev/fake/faultplan"
	"github.com/postern-ai/postern/localdev/fake/googleapi"
	"github.com/postern-ai/postern/localdev/fake/strictjson"
)

// Options describes who may do what.
type Options struct {
	// Member names who holds an access token. It reports false for a token that is not valid.
	Member func(token string) (string, bool)
	// Allow decides whether a member may do something. Nil means that all may do everything.
	Allow func(access Access) bool
}

// Access is one thing that somebody wants to do.
type Access struct {
	Member string
	// Permission is cloudkms.cryptoKeyVersions.useToSign or cloudkms.cryptoKeyVersions.viewPublicKey.
	Permission string
	// Key is the full name of the key version, whether or not it exists.
	Key string
}

// Key is a version of a key.
type Key struct {
	// Name is the full name.
	Name    string
	Private crypto.Signer
	// Algorithm is one such as EC_SIGN_P256_SHA256, which the private key has to be for.
	Algorithm string
	// State is one such as DISABLED. Empty means ENABLED.
	State string
}

// Server holds keys. It is safe for concurrent use.
type Server struct {
	// Faults makes operations misbehave, by the names asymmetricSign and getPublicKey.
	Faults faultplan.Plan

	options Options
	mu      sync.Mutex
	keys    map[string]Key
}

// New returns a Server without keys.
func New(options Options) *Server { return &Server{options: options, keys: map[string]Key{}} }

// Put adds a key, or changes it.
func (s *Server) Put(key Key) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys[key.Name] = key
}

var path = regexp.MustCompile(`^/v1/(projects/[^/]+/locations/[^/]+/keyRings/[^/]+/cryptoKeys/[^/]+/cryptoKeyVersions/[^/:]+)(/publicKey|:asymmetricSign)$`)

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	operation, permission, name := "", "", ""
	if m := path.FindStringSubmatch(r.URL.Path); m != nil {
		name = m[1]
		switch {
		case r.Method == http.MethodGet && m[2] == "/publicKey":
			operation, permission = "getPublicKey", "cloudkms.cryptoKeyVersions.viewPublicKey"
		case r.Method == http.MethodPost && m[2] == ":asymmetricSign":
			operation, permission = "asymmetricSign", "cloudkms.cryptoKeyVersions.useToSign"
		}
	}
	s.Faults.Serve(func(w http.ResponseWriter, r *http.Request) {
		out, err := s.serve(r, operation, Access{Permission: permission, Key: name})
		googleapi.Answer(w, out, err)
	}, operation)(w, r)
}

func (s *Server) serve(r *http.Request, operation string, access Access) (any, error) {
	var err error
	if access.Member, err = googleapi.Member(r, s.options.Member); err != nil {
		return nil, err
	}
	if operation == "" {
		return nil, googleapi.Refused(http.StatusNotFound, "NOT_FOUND", "Method not found.")
	}
	s.mu.Lock()
	key, ok := s.keys[access.Key]
	s.mu.Unlock()
	switch {
	case s.options.Allow != nil && !s.options.Allow(access):
		return nil, googleapi.Refused(http.StatusForbidden, "PERMISSION_DENIED", "Permission '"+access.Permission+"' denied on resource '"+access.Key+"' (or it may not exist).")
	case !ok:
		return nil, googleapi.Refused(http.StatusNotFound, "NOT_FOUND", "CryptoKeyVersion "+access.Key+" not found.")
	case key.State != "":
		return nil, googleapi.Refused(http.StatusBadRequest, "FAILED_PRECONDITION", access.Key+" is not enabled, current state is: "+key.State+".")
	case operation == "getPublicKey":
		return show(key)
	}
	return sign(r, key)
}

// checksum is CRC-32C, as the service writes numbers of 64 bits: in a text.
func checksum(of []byte) int64 { return int64(crc32.Checksum(of, crc32.MakeTable(crc32.Castagnoli))) }

func show(key Key) (any, error) {
	der, err := x509.MarshalPKIXPublicKey(key.Private.Public())
	if err != nil {
		return nil, err
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	return struct {
		PEM             string `json:"pem"`
		Algorithm       string `json:"algorithm"`
		PEMCRC32C       int64  `json:"pemCrc32c,string"`
		Name            string `json:"name"`
		ProtectionLevel string `json:"protectionLevel"`
	}{string(text), key.Algorithm, checksum(text), key.Name, "SOFTWARE"}, nil
}

type request struct {
	Digest struct {
		SHA256 []byte `json:"sha256"`
		SHA384 []byte `json:"sha384"`
		SHA512 []byte `json:"sha512"`
	} `json:"digest"`
	DigestCRC32C *int64 `json:"digestCrc32c,string"`
}

func sign(r *http.Request, key Key) (any, error) {
	var in request
	if err := strictjson.Read(r, &in); err != nil {
		return nil, googleapi.Invalid("Invalid JSON payload received: " + err.Error())
	}
	if !strings.Contains(key.Algorithm, "_SIGN_") {
		return nil, googleapi.Refused(http.StatusBadRequest, "FAILED_PRECONDITION", "The purpose of the key is not ASYMMETRIC_SIGN.")
	}
	digest, hash := in.Digest.SHA256, crypto.SHA256
	switch {
	case strings.HasSuffix(key.Algorithm, "_SHA384"):
		digest, hash = in.Digest.SHA384, crypto.SHA384
	case strings.HasSuffix(key.Algorithm, "_SHA512"):
		digest, hash = in.Digest.SHA512, crypto.SHA512
	}
	switch {
	case len(in.Digest.SHA256)+len(in.Digest.SHA384)+len(in.Digest.SHA512) != len(digest) || len(digest) != hash.Size():
		return nil, googleapi.Invalid("The digest is not the one and only one that the algorithm " + key.Algorithm + " needs.")
	case in.DigestCRC32C != nil && *in.DigestCRC32C != checksum(digest):
		return nil, googleapi.Invalid("The checksum in field digest_crc32c did not match the data in field digest.")
	}
	var options crypto.SignerOpts = hash
	if strings.Contains(key.Algorithm, "_PSS_") {
		options = &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: hash}
	}
	signature, err := key.Private.Sign(rand.Reader, digest, options)
	if err != nil {
		return nil, err
	}
	return struct {
		Signature            []byte `json:"signature"`
		SignatureCRC32C      int64  `json:"signatureCrc32c,string"`
		VerifiedDigestCRC32C bool   `json:"verifiedDigestCrc32c,omitzero"`
		Name                 string `json:"name"`
		ProtectionLevel      string `json:"protectionLevel"`
	}{signature, checksum(signature), in.DigestCRC32C != nil, key.Name, "SOFTWARE"}, nil
}
