// Package awskms signs audit events by an asymmetric key of AWS KMS (https://docs.aws.amazon.com/kms/latest/APIReference/API_Sign.html), of the key
// spec ECC_NIST_P256 or one of RSA, and of the key usage SIGN_VERIFY.
//
// The two operations are spoken directly, as package eventbridge does and for its reasons.
//
// The package must not know what it signs, nor who signs the requests.
package awskms

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"net/http"
	"regexp"
	"slices"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/postern-ai/postern/shared/audit"
	"github.com/postern-ai/postern/shared/secrets"
)

const contentType = "application/x-amz-json-1.1"

// Options says which key signs.
type Options struct {
	// Key is the ARN of the key, or of an alias.
	Key string
	// Authorizer signs the requests, for the service kms in the [Region] of the key. Its identity needs kms:Sign and kms:GetPublicKey on the key.
	Authorizer audit.Authorizer
	// Endpoint replaces the region's own endpoint. It is where AWS_ENDPOINT_URL_KMS belongs.
	Endpoint string
	// Transport sends the requests. Nil means [http.DefaultTransport].
	Transport http.RoundTripper
	// Timeout bounds one request. Zero means 3 s.
	Timeout time.Duration
}

// keyForm is from https://docs.aws.amazon.com/kms/latest/developerguide/concepts.html#key-id.
var keyForm = regexp.MustCompile(`^arn:aws[a-z-]*:kms:([a-z]{2,5}(?:-[a-z]+)+-[0-9]+):[0-9]{12}:(?:key/[a-z0-9-]{1,64}|alias/[a-zA-Z0-9/_-]{1,250})$`)

// Region returns the region of a key by its ARN. It is empty if that is none.
func Region(key string) string {
	if m := keyForm.FindStringSubmatch(key); m != nil {
		return m[1]
	}
	return ""
}

// New returns a signer. It makes no network call.
func New(options Options) (audit.Signer, error) {
	switch {
	case options.Authorizer == nil:
		return nil, errors.New("a key of AWS KMS needs an authorizer")
	case Region(options.Key) == "":
		return nil, errors.New("a key of AWS KMS is the ARN of one or of an alias, such as arn:aws:kms:eu-central-1:123456789012:alias/audit")
	}
	endpoint := audit.AWSEndpoint("kms", Region(options.Key))
	if options.Endpoint != "" {
		parsed, err := secrets.Endpoint(options.Endpoint)
		if err != nil {
			return nil, err
		}
		endpoint = parsed.String()
	}
	signer := &audit.RemoteSigner{
		Key: key{options.Key, endpoint + "/"}, HTTP: secrets.Bounded(options.Transport), Kind: secrets.Kind,
		Authorizer: options.Authorizer, Rejects: audit.AWSRejects, Timeout: options.Timeout,
	}
	return signer.Sign, nil
}

type key struct{ arn, url string }

func (k key) ask(ctx context.Context, operation string, in any) (*http.Request, error) {
	body, err := json.Marshal(in)
	if err != nil {
		return nil, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, k.url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", contentType)
	request.Header.Set("X-Amz-Target", "TrentService."+operation)
	return request, nil
}

// AskPublic implements [audit.RemoteKey].
func (k key) AskPublic(ctx context.Context) (*http.Request, error) {
	return k.ask(ctx, "GetPublicKey", struct{ KeyId string }{k.arn})
}

// ReadPublic implements [audit.RemoteKey]. The ID is the ARN of the key itself, whatever the alias points to later.
func (k key) ReadPublic(reply audit.Reply) (audit.PublicPart, audit.Refusal) {
	if reply.Status != http.StatusOK {
		return audit.PublicPart{}, explain(reply, "kms:GetPublicKey")
	}
	var out struct {
		KeyID             string `json:"KeyId"`
		PublicKey         []byte
		SigningAlgorithms []string
	}
	if json.Unmarshal(reply.Body, &out) != nil || Region(out.KeyID) == "" {
		return audit.PublicPart{}, reply.Malformed()
	}
	public, err := x509.ParsePKIXPublicKey(out.PublicKey)
	if err != nil || !slices.ContainsFunc(out.SigningAlgorithms, func(name string) bool { return name == ecdsa || name == rsa }) {
		return audit.PublicPart{}, wrongKind
	}
	return audit.PublicPart{ID: out.KeyID, Key: public}, audit.Refusal{}
}

var wrongKind = audit.Refusal{Reason: "the key is of another kind than is needed; make one of the key spec ECC_NIST_P256, or RSA_2048 or longer, and the key usage SIGN_VERIFY"}

// The names of the algorithms ES256 and RS256.
const (
	ecdsa = "ECDSA_SHA_256"
	rsa   = "RSASSA_PKCS1_V1_5_SHA_256"
)

func algorithm(public audit.PublicPart) string {
	if public.Algorithm == audit.ES256 {
		return ecdsa
	}
	return rsa
}

// AskSignature implements [audit.RemoteKey].
func (k key) AskSignature(ctx context.Context, public audit.PublicPart, digest []byte) (*http.Request, error) {
	return k.ask(ctx, "Sign", struct {
		KeyId            string
		Message          []byte
		MessageType      string
		SigningAlgorithm string
	}{public.ID, digest, "DIGEST", algorithm(public)})
}

// ReadSignature implements [audit.RemoteKey].
func (k key) ReadSignature(reply audit.Reply, public audit.PublicPart) ([]byte, audit.Refusal) {
	if reply.Status != http.StatusOK {
		return nil, explain(reply, "kms:Sign")
	}
	var out struct {
		KeyID            string `json:"KeyId"`
		Signature        []byte
		SigningAlgorithm string
	}
	if json.Unmarshal(reply.Body, &out) != nil || out.KeyID != public.ID || out.SigningAlgorithm != algorithm(public) {
		return nil, reply.Malformed()
	}
	return audit.FromService(public, out.Signature, reply)
}

// explain says in our own words why the service refused. What it wrote is not shown, because it repeats names and callers.
func explain(reply audit.Reply, permission string) audit.Refusal {
	switch code := reply.AWSCode(); {
	case code == "AccessDeniedException":
		return audit.Refusal{Reason: "this function's role may not use the key; it needs " + permission + " on it, and the key's own policy has to allow that"}
	case audit.IsOfSignature(code):
		return audit.Refusal{Reason: "AWS does not accept this function's credentials (" + code + ")"}
	case code == "ThrottlingException", code == "LimitExceededException":
		return reply.Busy(code)
	case code == "KMSInternalException", code == "KeyUnavailableException", code == "DependencyTimeoutException":
		return reply.Failed(code)
	case code == "NotFoundException", code == "InvalidArnException":
		return audit.Refusal{Reason: "AWS KMS has no key of the configured ARN (" + code + ")"}
	case code == "DisabledException", code == "KMSInvalidStateException":
		return audit.Refusal{Reason: "the key is disabled, or is to be deleted (" + code + ")"}
	case code == "InvalidKeyUsageException", code == "UnsupportedOperationException":
		return wrongKind
	}
	return reply.Refusal()
}
