// Package cloudkms signs audit events by a key version of Google Cloud KMS, over its REST API
// (https://cloud.google.com/kms/docs/reference/rest/v1/projects.locations.keyRings.cryptoKeys.cryptoKeyVersions/asymmetricSign), of the algorithm
// EC_SIGN_P256_SHA256 or RSA_SIGN_PKCS1_*_SHA256.
//
// The package must not know what it signs, nor where its access tokens come from.
package cloudkms

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"hash/crc32"
	"net/http"
	"regexp"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/postern-ai/postern/shared/audit"
	"github.com/postern-ai/postern/shared/secrets"
)

// Options says which key signs.
type Options struct {
	// Key is the full name of the key version, projects/PROJECT/locations/LOCATION/keyRings/RING/cryptoKeys/KEY/cryptoKeyVersions/VERSION.
	Key string
	// Authorizer puts an access token for the scope https://www.googleapis.com/auth/cloud-platform on each request. Its identity needs
	// cloudkms.cryptoKeyVersions.useToSign and cloudkms.cryptoKeyVersions.viewPublicKey on the key.
	Authorizer audit.Authorizer
	// Endpoint replaces https://cloudkms.googleapis.com. It is where CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDKMS belongs.
	Endpoint string
	// Transport sends the requests. Nil means [http.DefaultTransport].
	Transport http.RoundTripper
	// Timeout bounds one request. Zero means 3 s.
	Timeout time.Duration
}

var (
	// keyForm is from https://cloud.google.com/kms/docs/getting-resource-ids. Projects may begin with a domain.
	keyForm = regexp.MustCompile(`^projects/([a-z0-9.-]+:)?[a-z][a-z0-9-]{4,28}[a-z0-9]/locations/[a-z0-9-]{1,63}/keyRings/[a-zA-Z0-9_-]{1,63}/cryptoKeys/[a-zA-Z0-9_-]{1,63}/cryptoKeyVersions/[1-9][0-9]{0,9}$`)
	// algorithmForm matches those whose signatures are ES256 or RS256.
	algorithmForm = regexp.MustCompile(`^(EC_SIGN_P256_SHA256|RSA_SIGN_PKCS1_[0-9]{4}_SHA256)$`)
)

// New returns a signer. It makes no network call.
func New(options Options) (audit.Signer, error) {
	switch {
	case options.Authorizer == nil:
		return nil, errors.New("a key of Cloud KMS needs an authorizer")
	case !keyForm.MatchString(options.Key):
		return nil, errors.New("a key of Cloud KMS is the full name of a version, projects/PROJECT/locations/LOCATION/keyRings/RING/cryptoKeys/KEY/cryptoKeyVersions/1")
	}
	endpoint := options.Endpoint
	if endpoint == "" {
		endpoint = "https://cloudkms.googleapis.com"
	}
	address, err := secrets.Endpoint(endpoint)
	if err != nil {
		return nil, err
	}
	address.Path = "/v1/" + options.Key
	signer := &audit.RemoteSigner{
		Key: key{options.Key, address.String()}, HTTP: secrets.Bounded(options.Transport), Kind: secrets.Kind,
		Authorizer: options.Authorizer, Timeout: options.Timeout,
	}
	return signer.Sign, nil
}

type key struct{ name, url string }

// AskPublic implements [audit.RemoteKey].
func (k key) AskPublic(ctx context.Context) (*http.Request, error) {
	return http.NewRequestWithContext(ctx, http.MethodGet, k.url+"/publicKey", nil)
}

// ReadPublic implements [audit.RemoteKey].
func (k key) ReadPublic(reply audit.Reply) (audit.PublicPart, audit.Refusal) {
	if reply.Status != http.StatusOK {
		return audit.PublicPart{}, explain(reply, "cloudkms.cryptoKeyVersions.viewPublicKey (roles/cloudkms.publicKeyViewer)")
	}
	var out struct {
		Name      string `json:"name"`
		PEM       string `json:"pem"`
		PEMCRC32C int64  `json:"pemCrc32c,string"`
		Algorithm string `json:"algorithm"`
	}
	if json.Unmarshal(reply.Body, &out) != nil || out.Name != k.name || out.PEMCRC32C != checksum([]byte(out.PEM)) {
		return audit.PublicPart{}, reply.Malformed()
	}
	if !algorithmForm.MatchString(out.Algorithm) {
		return audit.PublicPart{}, wrongKind
	}
	block, _ := pem.Decode([]byte(out.PEM))
	if block == nil {
		return audit.PublicPart{}, reply.Malformed()
	}
	public, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return audit.PublicPart{}, reply.Malformed()
	}
	return audit.PublicPart{ID: k.name, Key: public}, audit.Refusal{}
}

var wrongKind = audit.Refusal{Reason: "the key is of another kind than is needed; make one of the algorithm EC_SIGN_P256_SHA256 or RSA_SIGN_PKCS1_3072_SHA256"}

// checksum is that of the service's fields for the integrity of others: CRC-32C (https://cloud.google.com/kms/docs/data-integrity-guidelines).
func checksum(of []byte) int64 { return int64(crc32.Checksum(of, crc32.MakeTable(crc32.Castagnoli))) }

// AskSignature implements [audit.RemoteKey].
func (k key) AskSignature(ctx context.Context, _ audit.PublicPart, digest []byte) (*http.Request, error) {
	body, err := json.Marshal(struct {
		Digest       map[string][]byte `json:"digest"`
		DigestCRC32C int64             `json:"digestCrc32c,string"`
	}{map[string][]byte{"sha256": digest}, checksum(digest)})
	if err != nil {
		return nil, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, k.url+":asymmetricSign", bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "application/json; charset=utf-8")
	return request, nil
}

// ReadSignature implements [audit.RemoteKey].
func (k key) ReadSignature(reply audit.Reply, public audit.PublicPart) ([]byte, audit.Refusal) {
	if reply.Status != http.StatusOK {
		return nil, explain(reply, "cloudkms.cryptoKeyVersions.useToSign (roles/cloudkms.signer)")
	}
	var out struct {
		Name                 string `json:"name"`
		Signature            []byte `json:"signature"`
		SignatureCRC32C      int64  `json:"signatureCrc32c,string"`
		VerifiedDigestCRC32C bool   `json:"verifiedDigestCrc32c"`
	}
	if json.Unmarshal(reply.Body, &out) != nil || out.Name != k.name || !out.VerifiedDigestCRC32C || out.SignatureCRC32C != checksum(out.Signature) {
		return nil, reply.Malformed()
	}
	return audit.FromService(public, out.Signature, reply)
}

// explain says in our own words why the service refused. What it wrote is not shown, because it repeats names and callers.
func explain(reply audit.Reply, permission string) audit.Refusal {
	status, reasons := reply.GoogleStatus()
	switch {
	case reply.Status == http.StatusUnauthorized:
		return audit.Refusal{Reason: "Google does not accept this function's access token"}
	case status == "RESOURCE_EXHAUSTED":
		return reply.Busy(status)
	case status == "ABORTED", status == "CANCELLED":
		return reply.Failed(status)
	case status == "PERMISSION_DENIED" && reasons == "SERVICE_DISABLED":
		return audit.Refusal{Reason: "the Cloud KMS API is not enabled in the project; enable cloudkms.googleapis.com there"}
	case status == "PERMISSION_DENIED":
		return audit.Refusal{Reason: "this function's service account may not use the key, if there is one of the configured name; it needs " + permission + " on it"}
	case status == "NOT_FOUND":
		return audit.Refusal{Reason: "Cloud KMS has no key version of the configured name"}
	case status == "FAILED_PRECONDITION":
		return audit.Refusal{Reason: "the key version is disabled or destroyed, or not made yet"}
	case status == "INVALID_ARGUMENT":
		return wrongKind
	}
	return reply.Refusal()
}
