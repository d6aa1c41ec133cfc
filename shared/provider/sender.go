package provider

import (
	"fmt"
	"io"
	"net/http"

	"github.com/postern-ai/postern/shared/identity"
)

// Sender puts a credential on a request and sends it. If the upstream rejects
// the credential, it drops that one, puts a new one on and sends once more.
//
// It never follows a redirect, since that would carry the credential to
// another host, and it never retries for any other reason: whether to try
// again is the gateway's decision. It is safe for concurrent use.
type Sender struct {
	HTTP http.RoundTripper
	Auth identity.Authorizer

	// Rejected reports whether an answer means that the credential was not
	// accepted, as opposed to: known, but not allowed. Nil means status 401.
	Rejected func(*http.Response) bool
}

// Do sends the request. Its body must be one that can be read again, as
// http.NewRequest makes it from a byte slice (GetBody is set).
func (s *Sender) Do(req *http.Request) (*http.Response, error) {
	resp, signed, err := s.once(req)
	if err != nil || !s.rejected(resp) {
		return resp, err
	}
	s.Auth.Rejected(signed)
	discard(resp.Body)
	resp, _, err = s.once(req)
	return resp, err
}

// once sends a copy, so that the caller's request stays without a credential
// and a second attempt begins from the same bytes as the first.
func (s *Sender) once(req *http.Request) (*http.Response, *http.Request, error) {
	signed := req.Clone(req.Context())
	if req.GetBody != nil {
		body, err := req.GetBody()
		if err != nil {
			return nil, nil, fmt.Errorf("read the request body again: %w", err)
		}
		signed.Body = body
	}
	if err := s.Auth.Authorize(signed); err != nil {
		return nil, nil, err
	}
	// A function that was frozen wakes up with connections that the other side
	// has long closed. The transport resends on a fresh one if it may take the
	// request for idempotent, which this header tells it; an empty value list
	// is never written to the wire (net/http, Request.isReplayable).
	signed.Header["X-Idempotency-Key"] = nil
	resp, err := s.HTTP.RoundTrip(signed)
	if err != nil {
		return nil, nil, err
	}
	resp.Body = announce(req.Context(), resp.Body)
	return resp, signed, nil
}

func (s *Sender) rejected(resp *http.Response) bool {
	if s.Rejected != nil {
		return s.Rejected(resp)
	}
	return resp.StatusCode == http.StatusUnauthorized
}

// discard reads a little of a body that nobody wants, so that its connection
// can be used again, and closes it.
func discard(body io.ReadCloser) {
	_, _ = io.CopyN(io.Discard, body, 64<<10)
	_ = body.Close()
}
