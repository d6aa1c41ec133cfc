package bedrock

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"mime"
	"net/http"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/bedrockruntime"
	"github.com/aws/smithy-go/auth"
	"github.com/aws/smithy-go/logging"
	"github.com/aws/smithy-go/middleware"

	"github.com/postern-ai/postern/shared/config"
	"github.com/postern-ai/postern/shared/provider"
	"github.com/postern-ai/postern/shared/release"
)

// Bounds on what the service may send. A whole answer may hold images.
const (
	maxAnswer = 64 << 20
	maxFault  = 256 << 10
)

// userAgent replaces the SDK's own, which tells the service the versions of
// the SDK, of Go and of the operating system. CloudTrail keeps it.
const userAgent = "postern/" + release.Version

// newClient builds the SDK's client from nothing but the upstream: without
// [config.LoadDefaultConfig] there is no file, no environment and no metadata
// service that could change what it does.
func newClient(upstream *config.Upstream, doer provider.Doer) *bedrockruntime.Client {
	o := bedrockruntime.Options{
		Region:             upstream.AWSRegion,
		HTTPClient:         transport{doer},
		AuthSchemeResolver: anonymous{},
		// The gateway decides whether a request is sent again.
		Retryer:          aws.NopRetryer{},
		RetryMaxAttempts: 1,
		Logger:           logging.Nop{},
		APIOptions:       []func(*middleware.Stack) error{leaner},
		// The signer keeps its own time.
		DisableClockSkewCorrection: true,
	}
	if upstream.BaseURL != "" {
		o.BaseEndpoint = aws.String(upstream.BaseURL)
	}
	return bedrockruntime.New(o)
}

// anonymous keeps the SDK from signing. Without it a bearer token in
// AWS_BEARER_TOKEN_BEDROCK would silently take the place of the function's own
// identity; no other option of the client withstands that variable as surely.
type anonymous struct{}

func (anonymous) ResolveAuthSchemes(context.Context, *bedrockruntime.AuthResolverParameters) ([]*auth.Option, error) {
	return []*auth.Option{{SchemeID: auth.SchemeIDAnonymous}}, nil
}

// leaner removes the steps whose work is thrown away: a hash of the body for a
// signature that is made elsewhere, a retry loop around one attempt, and
// headers that describe the SDK.
func leaner(stack *middleware.Stack) error {
	_, hash := stack.Finalize.Remove((*v4.ComputePayloadSHA256)(nil).ID())
	_, retry := stack.Finalize.Remove("Retry")
	_, id := stack.Build.Remove("ClientRequestID")
	_, agent := stack.Build.Remove("UserAgent")
	return errors.Join(hash, retry, id, agent)
}

// transport sends the SDK's requests through a Doer.
type transport struct{ doer provider.Doer }

// Do implements the SDK's HTTPClient. The request is the SDK's own copy and
// may be changed.
func (t transport) Do(req *http.Request) (*http.Response, error) {
	if req.Body != nil {
		// The Doer may have to send the same bytes twice, and hashes them.
		body := make([]byte, req.ContentLength)
		if _, err := io.ReadFull(req.Body, body); err != nil {
			return nil, fmt.Errorf("read the request that was built: %w", err)
		}
		req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
		req.Body, _ = req.GetBody()
	}
	req.Header.Set("User-Agent", userAgent)
	resp, err := t.doer.Do(req)
	if err != nil {
		return nil, err
	}
	switch {
	case resp.StatusCode != http.StatusOK:
		// The SDK's streaming operation never closes the body of an error.
		said, _ := io.ReadAll(io.LimitReader(resp.Body, maxFault))
		_ = resp.Body.Close()
		resp.Body = io.NopCloser(bytes.NewReader(said))
	case isEventStream(resp.Header):
		resp.Body = &body{ReadCloser: resp.Body, left: math.MaxInt64} // what is bounded is each frame
	default:
		resp.Body = &body{ReadCloser: resp.Body, left: maxAnswer}
	}
	return resp, nil
}

func isEventStream(h http.Header) bool {
	kind, _, _ := mime.ParseMediaType(h.Get("Content-Type"))
	return kind == "application/vnd.amazon.eventstream"
}

// body bounds what is read of an answer, and marks the errors of the
// connection, so that they can be told from those of the SDK's decoders.
type body struct {
	io.ReadCloser
	left int64
}

// readError is that the connection broke while an answer was read.
type readError struct{ err error }

func (e *readError) Error() string { return e.err.Error() }
func (e *readError) Unwrap() error { return e.err }

var errTooLarge = errors.New("the answer is larger than the gateway takes")

func (b *body) Read(p []byte) (int, error) {
	if int64(len(p)) > b.left {
		p = p[:b.left+1] // one byte more than allowed shows that there is more
	}
	n, err := b.ReadCloser.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return 0, errTooLarge
	}
	if err != nil && err != io.EOF {
		err = &readError{err}
	}
	return n, err
}
