package googleid

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/postern-ai/postern/shared/identity"
)

const (
	flavorHeader = "Metadata-Flavor"
	flavor       = "Google"
	// The server is on the same machine and answers within milliseconds, or is not there at all.
	totalTimeout = 2500 * time.Millisecond
	tryTimeout   = time.Second
	tries        = 3
	firstPause   = 100 * time.Millisecond
	// maxReply is far above the longest token, in bytes.
	maxReply = 32 << 10
)

// get asks for one path, and again if that may help, until ctx ends.
func (m *Metadata) get(ctx context.Context, path string, query url.Values) ([]byte, error) {
	var failure error
	for try := range tries {
		if try > 0 && !pause(ctx, firstPause<<(try-1)) {
			break
		}
		reply, err := m.once(ctx, path, query)
		if err == nil {
			return reply, nil
		}
		failure = err
		if problem, ok := errors.AsType[*identity.Error](err); ok && !problem.Retryable {
			break
		}
	}
	return nil, failure
}

func pause(ctx context.Context, length time.Duration) bool {
	timer := time.NewTimer(length)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func (m *Metadata) once(ctx context.Context, path string, query url.Values) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, tryTimeout)
	defer cancel()
	if strings.ContainsAny(m.host, "/?#@ ") {
		return nil, &identity.Error{Public: "GCE_METADATA_HOST must be a host, or a host and a port: 169.254.169.254 or 127.0.0.1:8080"}
	}
	address := "http://" + m.host + "/computeMetadata/v1/" + path
	if len(query) > 0 {
		address += "?" + query.Encode()
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, &identity.Error{Public: "GCE_METADATA_HOST does not name a host", Err: err}
	}
	request.Header.Set(flavorHeader, flavor)
	response, err := m.http.Do(request)
	if err != nil {
		return nil, m.absent(err)
	}
	defer func() { _ = response.Body.Close() }()
	if err := m.check(response, path); err != nil {
		return nil, err
	}
	reply, err := io.ReadAll(io.LimitReader(response.Body, maxReply+1))
	if err != nil {
		return nil, m.absent(err)
	}
	if len(reply) > maxReply {
		return nil, &identity.Error{Public: fmt.Sprintf("the metadata server's answer is larger than %d bytes", maxReply)}
	}
	return reply, nil
}

// absent is the error for a server that cannot be talked to.
func (m *Metadata) absent(err error) error {
	return &identity.Error{Public: fmt.Sprintf("no Google identity: the metadata server at %s does not answer. The identity of the platform is there only "+
		"when the function runs on Google Cloud", m.host), Err: err, Retryable: true}
}

// check reads the status, and makes sure of who answers: other clouds have another metadata service at the same address.
func (m *Metadata) check(response *http.Response, path string) error {
	if response.Header.Get(flavorHeader) != flavor {
		return &identity.Error{Public: fmt.Sprintf("no Google identity: what answers at %s is not Google's metadata server. The identity of the platform is "+
			"there only when the function runs on Google Cloud", m.host)}
	}
	switch status := response.StatusCode; {
	case status == http.StatusOK:
		return nil
	case status == http.StatusNotFound && strings.HasPrefix(path, "instance/service-accounts/"):
		return &identity.Error{Public: "no Google identity: no service account is attached to this function. Set one on the Cloud Run service"}
	default:
		return &identity.Error{
			Public:    fmt.Sprintf("the metadata server answered with status %d", status),
			Retryable: status == http.StatusTooManyRequests || status >= http.StatusInternalServerError,
		}
	}
}
