package identity

import (
	"net"
	"net/http"
	"time"
)

// maxLocalReply is far above the longest token, in bytes.
const maxLocalReply = 64 << 10

// LocalClient returns a client for the endpoints from which a platform gives its functions their identity. They are on the same machine:
// the client knows no proxy, which would see the tokens, follows no redirect, which would take a secret elsewhere, and reads at most
// 64 KiB. It has no deadline of its own; that is the context's.
func LocalClient() *http.Client {
	return &http.Client{
		Transport: capped{&http.Transport{
			DialContext: (&net.Dialer{Timeout: time.Second}).DialContext,
			// Tokens are fetched about once an hour; by then a kept connection would be dead.
			DisableKeepAlives:      true,
			MaxResponseHeaderBytes: 16 << 10,
		}},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// capped makes longer answers end in an error.
type capped struct{ next http.RoundTripper }

func (c capped) RoundTrip(request *http.Request) (*http.Response, error) {
	response, err := c.next.RoundTrip(request)
	if err != nil {
		return nil, err
	}
	response.Body = http.MaxBytesReader(nil, response.Body, maxLocalReply)
	return response, nil
}
