package identity

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"time"
)

// maxReply is far above the longest token, in bytes.
const maxReply = 64 << 10

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

// IssuerClient returns a client for token endpoints on the network: no redirect, which would take a secret elsewhere, short deadlines, since
// a request waits for the token, and at most 64 KiB read. A proxy from the environment is used for https alone, where it sees nothing.
func IssuerClient() *http.Client {
	return &http.Client{
		Transport: capped{&http.Transport{
			Proxy:               tunnel,
			DialContext:         (&net.Dialer{Timeout: time.Second}).DialContext,
			TLSHandshakeTimeout: 2 * time.Second,
			// Tokens are fetched about once an hour; by then a kept connection would be dead.
			DisableKeepAlives:      true,
			MaxResponseHeaderBytes: 64 << 10,
		}},
		Timeout:       defaultFetch,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// tunnel finds the proxy for a request that may go through one.
func tunnel(request *http.Request) (*url.URL, error) {
	if request.URL.Scheme != "https" {
		return nil, nil
	}
	return http.ProxyFromEnvironment(request)
}

// tolerated is how far this machine's clock may be off before that is said. Issuers tolerate 5 minutes.
const tolerated = 4 * time.Minute

// DescribeSkew says by how much this machine's clock differs from that of a service, by the Date header of its answer, when that is enough to
// make signatures and tokens invalid. Otherwise it returns nothing.
func DescribeSkew(header http.Header) string {
	theirs, err := http.ParseTime(header.Get("Date"))
	if err != nil {
		return ""
	}
	skew := time.Since(theirs).Round(time.Minute)
	switch {
	case skew > tolerated:
		return fmt.Sprintf("this machine's clock is %d minutes ahead of the service's", int(skew.Minutes()))
	case skew < -tolerated:
		return fmt.Sprintf("this machine's clock is %d minutes behind the service's", -int(skew.Minutes()))
	}
	return ""
}

// IsLoopback reports whether a URL is one of this machine: the only place to which secrets go without TLS, and the only one to which a test
// or a local run may send them in place of the real service.
func IsLoopback(address *url.URL) bool {
	ip, err := netip.ParseAddr(address.Hostname())
	return address.Hostname() == "localhost" || err == nil && ip.IsLoopback()
}

// capped makes longer answers end in an error.
type capped struct{ next http.RoundTripper }

func (c capped) RoundTrip(request *http.Request) (*http.Response, error) {
	response, err := c.next.RoundTrip(request)
	if err != nil {
		return nil, err
	}
	response.Body = http.MaxBytesReader(nil, response.Body, maxReply)
	return response, nil
}
