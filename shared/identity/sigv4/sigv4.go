// Package sigv4 signs upstream requests with AWS Signature Version 4, for AWS services and for servers behind AWS IAM.
//
// The credentials are the platform's own (a Lambda function's environment, a container's credentials endpoint, and what else the chain of
// the AWS SDK finds), stored keys, those of a role that another cloud's identity may assume, or those at the end of a chain of roles. The
// other way round, [Outbound] has AWS vouch for its own identities elsewhere. A bearer token in the environment
// (AWS_BEARER_TOKEN_BEDROCK) is never used.
//
// The package must not know which service it signs for beyond the name in the signature, nor what the bodies mean.
package sigv4

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/postern-ai/postern/shared/identity"
)

const (
	authorization = "Authorization"
	dateHeader    = "X-Amz-Date"
	tokenHeader   = "X-Amz-Security-Token"
	// emptyHash is the SHA-256 of nothing.
	emptyHash = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	// maxBody bounds a body that has to be read into memory because it can be read only once. It is far above what the gateway accepts.
	maxBody = 32 << 20
)

// Options says what signatures are for.
type Options struct {
	// Service is the service's name in the signature, for example bedrock or execute-api.
	Service string
	// Region is the region in the signature, which is that of the endpoint. Empty means AWS_REGION, or else AWS_DEFAULT_REGION.
	Region string
	// Identity is who signs. Upstreams share one, so that its credentials are fetched once. Nil means the platform's own.
	Identity *Identity
}

// Authorizer signs requests. It is safe for concurrent use.
type Authorizer struct {
	service, region string
	identity        *Identity
	signer          *v4.Signer
}

var _ identity.Authorizer = (*Authorizer)(nil)

// New returns an Authorizer. It does no network call and looks for no credentials: that is for the first request.
func New(options Options) (*Authorizer, error) {
	who := options.Identity
	if who == nil {
		who = NewIdentity(IdentityOptions{})
	}
	where := options.Region
	if where == "" {
		where = who.defaultRegion()
	}
	if err := checkRegion(where); err != nil {
		return nil, err
	}
	if !isName(options.Service, 1) {
		return nil, fmt.Errorf("AWS service %q does not look like bedrock", options.Service)
	}
	return &Authorizer{service: options.Service, region: where, identity: who, signer: v4.NewSigner()}, nil
}

func checkRegion(region string) error {
	if region == "" {
		return errors.New("no AWS region: set it for this upstream, or set AWS_REGION")
	}
	if !isName(region, 5) || !strings.Contains(region, "-") {
		return fmt.Errorf("AWS region %q does not look like eu-central-1", region)
	}
	return nil
}

// isName reports whether a text can be a region or a service. Both become parts of host names, so nothing else may be in them.
func isName(text string, shortest int) bool {
	return len(text) >= shortest && len(text) <= 64 && !strings.HasPrefix(text, "-") && !strings.HasSuffix(text, "-") &&
		!strings.ContainsFunc(text, func(c rune) bool { return (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' })
}

// Authorize signs the request. Everything that is signed must be in place: method, URL with the escaped form of its path, host, headers
// and body. A body that can be read only once is read into memory.
func (a *Authorizer) Authorize(request *http.Request) error {
	ctx := request.Context()
	keys, err := a.identity.keys(ctx)
	if err != nil {
		return err
	}
	hash, err := payloadHash(request)
	if err != nil {
		return err
	}
	if request.Header == nil {
		request.Header = http.Header{}
	}
	// What an earlier signature left behind would be signed again as an ordinary header.
	for _, name := range []string{authorization, dateHeader, tokenHeader} {
		request.Header.Del(name)
	}
	if err := a.signer.SignHTTP(ctx, keys.Credentials, request, hash, a.service, a.region, time.Now()); err != nil {
		return &identity.Error{Public: "the request cannot be signed", Err: err}
	}
	a.identity.note(ctx, keys, a.region)
	return nil
}

// Rejected drops the cached credentials if they are those that signed the request. Credentials from the environment are read again.
func (a *Authorizer) Rejected(request *http.Request) {
	_, rest, ok := strings.Cut(request.Header.Get(authorization), "Credential=")
	if !ok {
		return
	}
	keyID, _, _ := strings.Cut(rest, "/")
	token := request.Header.Get(tokenHeader)
	a.identity.reject(keyID, token)
}

// payloadHash returns the hash of the body in hexadecimal, and leaves the body readable.
func payloadHash(request *http.Request) (string, error) {
	if request.Body == nil || request.Body == http.NoBody {
		return emptyHash, nil
	}
	if request.GetBody == nil {
		if err := buffer(request); err != nil {
			return "", err
		}
	}
	body, err := request.GetBody()
	if err != nil {
		return "", fmt.Errorf("read the request body for its signature: %w", err)
	}
	defer func() { _ = body.Close() }()
	sum := sha256.New()
	if _, err := io.Copy(sum, body); err != nil {
		return "", fmt.Errorf("read the request body for its signature: %w", err)
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

// buffer reads a body that can be read only once, and makes it one that can be read again.
func buffer(request *http.Request) error {
	content, err := io.ReadAll(io.LimitReader(request.Body, maxBody+1))
	_ = request.Body.Close()
	if err != nil {
		return fmt.Errorf("read the request body for its signature: %w", err)
	}
	if len(content) > maxBody {
		return fmt.Errorf("the request body is larger than the %d MiB that can be signed", maxBody>>20)
	}
	request.ContentLength = int64(len(content))
	request.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(content)), nil }
	request.Body, err = request.GetBody()
	return err
}
