// Package awskms is a stand-in for the asymmetric keys of AWS KMS, API version 2014-11-01, as far as signatures go
// (https://docs.aws.amazon.com/kms/latest/APIReference/API_Sign.html). It keeps what signers get wrong: a digest has to be as long as the
// algorithm's, a message is hashed when nobody says that it is a digest, and a key signs only by the algorithms of its spec.
//
// The package must not know what is signed.
package awskms

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	_ "crypto/sha256" // for the algorithms
	_ "crypto/sha512"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"

	"github.com/go-json-experiment/json"

	"github.com/postern-ai/postern/localdev/fake/awsauth"
	"github.com/postern-ai/postern/localdev/fake/faultplan"
)

const (
	contentType = "application/x-amz-json-1.1"
	maxBody     = 64 << 10
	maxMessage  = 4096
)

// Options describes the account and who may do what.
type Options struct {
	// Keys finds the credentials of the callers.
	Keys awsauth.Lookup
	// Region is the region that requests have to be signed for. Empty means eu-central-1.
	Region string
	// Account owns the keys. Empty means 123456789012.
	Account string
	// Allow decides whether a key may do something. Nil means that all may do everything.
	Allow func(access Access) bool
}

// Access is one thing that somebody wants to do.
type Access struct {
	Key awsauth.Key
	// Action is kms:Sign or kms:GetPublicKey.
	Action string
	// Resource is the ARN of the key.
	Resource string
}

// Key is a key of the account.
type Key struct {
	// ID is the part of the ARN after key/, and Alias what points to the key, without alias/.
	ID, Alias string
	// Private is an *ecdsa.PrivateKey or an *rsa.PrivateKey. It decides upon the key spec.
	Private crypto.Signer
	// Usage is the key usage. Empty means SIGN_VERIFY.
	Usage string
	// State is the key state, such as Disabled or PendingDeletion. Empty means Enabled.
	State string
}

// Server holds the keys of one account in one region. It is safe for concurrent use.
type Server struct {
	// Faults makes operations misbehave, by the names Sign and GetPublicKey.
	Faults faultplan.Plan

	options Options
	mu      sync.Mutex
	keys    map[string]Key // by id
	aliases map[string]string
}

// New returns a Server without keys.
func New(options Options) *Server {
	if options.Region == "" {
		options.Region = "eu-central-1"
	}
	if options.Account == "" {
		options.Account = "123456789012"
	}
	return &Server{options: options, keys: map[string]Key{}, aliases: map[string]string{}}
}

// Put adds a key, or changes it. Its alias no longer points to another one.
func (s *Server) Put(key Key) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys[key.ID] = key
	if key.Alias != "" {
		s.aliases[key.Alias] = key.ID
	}
}

// problem is an error as the service reports it.
type problem struct {
	Type    string `json:"__type"`
	Message string `json:"message,omitempty"`
}

func (p *problem) Error() string { return p.Type + ": " + p.Message }

func invalid(message string) error { return &problem{"ValidationException", message} }

// ServeHTTP answers one request in the AWS JSON 1.1 protocol.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	operation, _ := strings.CutPrefix(r.Header.Get("X-Amz-Target"), "TrentService.")
	s.Faults.Serve(func(w http.ResponseWriter, r *http.Request) {
		out, err := s.serve(w, r, operation)
		if err != nil {
			refuse(w, err)
			return
		}
		write(w, http.StatusOK, out)
	}, operation)(w, r)
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request, operation string) (any, error) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		return nil, &problem{Type: "RequestEntityTooLargeException"}
	}
	// The signature comes first: who is not known learns nothing about what there is.
	caller, err := awsauth.Verifier{Keys: s.options.Keys, Service: "kms", Region: s.options.Region}.Verify(r, body)
	if err != nil {
		return nil, err
	}
	var in request
	switch {
	case r.Method != http.MethodPost || r.URL.Path != "/" || operation != "Sign" && operation != "GetPublicKey":
		return nil, &problem{Type: "UnknownOperationException"}
	case r.Header.Get("Content-Type") != contentType:
		return nil, &problem{"SerializationException", "the content type has to be " + contentType}
	case json.Unmarshal(body, &in, json.RejectUnknownMembers(true)) != nil:
		return nil, &problem{"SerializationException", "the body is not a JSON object with members that are known and of the right types"}
	}
	key, err := s.find(in.KeyID)
	if err != nil {
		return nil, err
	}
	access := Access{caller, "kms:" + operation, s.arn(key)}
	if s.options.Allow != nil && !s.options.Allow(access) {
		return nil, &problem{"AccessDeniedException", "User: " + caller.ARN + " is not authorized to perform: " + access.Action + " on resource: " + access.Resource +
			" because no identity-based policy allows the " + access.Action + " action"}
	}
	switch key.State {
	case "":
	case "Disabled":
		return nil, &problem{"DisabledException", s.arn(key) + " is disabled."}
	default:
		return nil, &problem{"KMSInvalidStateException", s.arn(key) + " is pending deletion."}
	}
	if operation == "GetPublicKey" {
		return s.show(key, in)
	}
	return s.sign(key, in)
}

// request is what both operations take.
type request struct {
	KeyID            string   `json:"KeyId"`
	GrantTokens      []string `json:"GrantTokens"`
	Message          []byte   `json:"Message"`
	MessageType      string   `json:"MessageType"`
	SigningAlgorithm string   `json:"SigningAlgorithm"`
	DryRun           bool     `json:"DryRun"`
}

func (s *Server) prefix() string {
	return "arn:aws:kms:" + s.options.Region + ":" + s.options.Account + ":"
}

func (s *Server) arn(key Key) string { return s.prefix() + "key/" + key.ID }

// find finds a key by its id, by its alias, or by the ARN of either.
func (s *Server) find(name string) (Key, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	local, isARN := strings.CutPrefix(name, s.prefix())
	switch {
	case name == "":
		return Key{}, invalid("1 validation error detected: Value null at 'keyId' failed to satisfy constraint: Member must not be null")
	case isARN:
		local = strings.TrimPrefix(local, "key/")
	case strings.HasPrefix(name, "arn:"):
		return Key{}, &problem{"NotFoundException", "Invalid arn " + s.options.Region}
	}
	alias, isAlias := strings.CutPrefix(local, "alias/")
	if isAlias {
		local = s.aliases[alias]
	}
	key, ok := s.keys[local]
	if !ok {
		return Key{}, &problem{"NotFoundException", "Key '" + name + "' does not exist"}
	}
	return key, nil
}

// algorithm is one by which keys of a spec sign.
type algorithm struct {
	name string
	hash crypto.Hash
	pss  bool
}

// kind returns the spec of a key, and by which algorithms it signs.
func kind(key Key) (spec string, algorithms []algorithm) {
	switch private := key.Private.(type) {
	case *ecdsa.PrivateKey:
		bits := private.Curve.Params().BitSize
		hash, ok := map[int]crypto.Hash{256: crypto.SHA256, 384: crypto.SHA384, 521: crypto.SHA512}[bits]
		if !ok {
			return "", nil
		}
		return fmt.Sprintf("ECC_NIST_P%d", bits), []algorithm{{fmt.Sprintf("ECDSA_SHA_%d", hash.Size()*8), hash, false}}
	case *rsa.PrivateKey:
		for _, hash := range []crypto.Hash{crypto.SHA256, crypto.SHA384, crypto.SHA512} {
			algorithms = append(algorithms, algorithm{fmt.Sprintf("RSASSA_PKCS1_V1_5_SHA_%d", hash.Size()*8), hash, false},
				algorithm{fmt.Sprintf("RSASSA_PSS_SHA_%d", hash.Size()*8), hash, true})
		}
		return fmt.Sprintf("RSA_%d", private.N.BitLen()), algorithms
	}
	return "", nil
}

type shown struct {
	KeyID                 string   `json:"KeyId"`
	PublicKey             []byte   `json:"PublicKey"`
	CustomerMasterKeySpec string   `json:"CustomerMasterKeySpec"`
	KeySpec               string   `json:"KeySpec"`
	KeyUsage              string   `json:"KeyUsage"`
	SigningAlgorithms     []string `json:"SigningAlgorithms,omitempty"`
	EncryptionAlgorithms  []string `json:"EncryptionAlgorithms,omitempty"`
}

func (s *Server) show(key Key, in request) (any, error) {
	if in.Message != nil || in.MessageType != "" || in.SigningAlgorithm != "" {
		return nil, &problem{"SerializationException", "GetPublicKey takes a key alone"}
	}
	der, err := x509.MarshalPKIXPublicKey(key.Private.Public())
	if err != nil {
		return nil, err
	}
	spec, algorithms := kind(key)
	out := shown{KeyID: s.arn(key), PublicKey: der, CustomerMasterKeySpec: spec, KeySpec: spec, KeyUsage: key.Usage}
	if key.Usage == "ENCRYPT_DECRYPT" {
		out.EncryptionAlgorithms = []string{"RSAES_OAEP_SHA_1", "RSAES_OAEP_SHA_256"}
		return out, nil
	}
	out.KeyUsage = "SIGN_VERIFY"
	for _, a := range algorithms {
		out.SigningAlgorithms = append(out.SigningAlgorithms, a.name)
	}
	return out, nil
}

func (s *Server) sign(key Key, in request) (any, error) {
	spec, algorithms := kind(key)
	if key.Usage != "" && key.Usage != "SIGN_VERIFY" {
		return nil, &problem{"InvalidKeyUsageException", s.arn(key) + " key usage is " + key.Usage + " which is not valid for Sign."}
	}
	for _, a := range algorithms {
		if a.name != in.SigningAlgorithm {
			continue
		}
		digest, err := in.digest(a)
		if err != nil {
			return nil, err
		}
		var options crypto.SignerOpts = a.hash
		if a.pss {
			options = &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: a.hash}
		}
		signature, err := key.Private.Sign(rand.Reader, digest, options)
		if err != nil {
			return nil, err
		}
		return struct {
			KeyID            string `json:"KeyId"`
			Signature        []byte `json:"Signature"`
			SigningAlgorithm string `json:"SigningAlgorithm"`
		}{s.arn(key), signature, a.name}, nil
	}
	return nil, &problem{"InvalidKeyUsageException", "Algorithm " + in.SigningAlgorithm + " and key spec " + spec + " are incompatible."}
}

// digest is what is signed. A message that is not said to be a digest is hashed.
func (r request) digest(a algorithm) ([]byte, error) {
	switch {
	case len(r.Message) == 0 || len(r.Message) > maxMessage:
		return nil, invalid("1 validation error detected: Value at 'message' failed to satisfy constraint: Member must have length between 1 and 4096")
	case r.MessageType == "DIGEST" && len(r.Message) != a.hash.Size():
		return nil, invalid("Digest is invalid length for algorithm " + a.name + ".")
	case r.MessageType == "DIGEST":
		return r.Message, nil
	case r.MessageType == "RAW", r.MessageType == "":
		hash := a.hash.New()
		hash.Write(r.Message)
		return hash.Sum(nil), nil
	}
	return nil, invalid("1 validation error detected: Value '" + r.MessageType + "' at 'messageType' failed to satisfy constraint: Member must satisfy enum value set: [RAW, DIGEST, EXTERNAL_MU]")
}

// refuse answers that something is not to be had.
func refuse(w http.ResponseWriter, err error) {
	if told, ok := errors.AsType[*problem](err); ok {
		write(w, http.StatusBadRequest, told)
		return
	}
	if refusal, ok := errors.AsType[*awsauth.Error](err); ok {
		write(w, http.StatusBadRequest, &problem{refusal.JSONCode(), refusal.Message})
		return
	}
	write(w, http.StatusInternalServerError, &problem{Type: "KMSInternalException"})
}

func write(w http.ResponseWriter, status int, body any) {
	encoded, err := json.Marshal(body, json.Deterministic(true))
	if err != nil {
		status, encoded = http.StatusInternalServerError, []byte(`{"__type":"KMSInternalException"}`)
	}
	w.Header().Set("Content-Type", contentType)
	w.WriteHeader(status)
	_, _ = w.Write(encoded)
}
