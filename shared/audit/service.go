package audit

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"time"
)

// service is how a service over HTTP is asked.
type service struct {
	of         string // what the service is called in refusals
	http       *http.Client
	kind       func(err error) string
	authorizer Authorizer
	rejects    func(reply Reply) bool
	timeout    time.Duration
}

// ask makes one request, whose body can be read again. When the service rejects the credential, which may have been revoked since it was cached, it
// makes one more.
func (s service) ask(ctx context.Context, build func(context.Context) (*http.Request, error)) (Reply, Refusal) {
	timeout := s.timeout
	if timeout <= 0 {
		timeout = defaultTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	for again := false; ; again = true {
		request, err := build(ctx)
		if err != nil {
			return Reply{}, Refusal{Reason: "no request can be made of it", Err: err}
		}
		reply, refusal := s.once(request)
		if refusal.Reason != "" || again || !s.rejected(reply) {
			return reply, refusal
		}
		s.authorizer.Rejected(request)
	}
}

func (s service) rejected(reply Reply) bool {
	if s.rejects == nil {
		return reply.Status == http.StatusUnauthorized
	}
	return s.rejects(reply)
}

func (s service) once(request *http.Request) (Reply, Refusal) {
	if err := s.authorizer.Authorize(request); err != nil {
		if kind := s.kind(err); kind != "" {
			return Reply{}, Refusal{Reason: fmt.Sprintf("no credential for %s was obtained: %s", s.of, kind), Err: err}
		}
		return Reply{}, Refusal{Reason: "this function has no credential of its own for " + s.of, Err: err}
	}
	response, err := s.http.Do(request)
	if err != nil {
		return Reply{}, s.unreachable(err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return Reply{}, s.unreachable(err)
	}
	return Reply{Status: response.StatusCode, Header: response.Header, Body: body, from: s.of}, Refusal{}
}

// unreachable is the refusal for a request that brought no reply. It may have taken effect all the same; sending it again is harmless. The refusal
// names the kind of the cause and never its text, in which URLs appear.
func (s service) unreachable(err error) Refusal {
	refusal := Refusal{Reason: s.of + " cannot be reached", Again: true, Err: err}
	if kind := s.kind(err); kind != "" {
		refusal.Reason += ": " + kind
	}
	return refusal
}
