package rotationtest

import (
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"

	"github.com/postern-ai/postern/shared/ledger/ledgertest"
)

// Line is the way from an issuer to its service, without a network.
type Line struct {
	mu    sync.Mutex
	calls int
	hosts map[string]bool
	fault *fault
	read  int
}

// fault is one way for a line to break.
type fault struct {
	// after says that the service does what it was asked, and its reply is lost.
	after bool
	// only is which request from now on is affected, counted from one. Zero means all.
	only int
	// status, header and body are answered.
	status int
	header http.Header
	body   string
	// hangup breaks the connection, hang waits for ever, dial makes no connection, endless answers with a body that does not end.
	hangup, hang, dial, endless bool
	seen                        int
}

// Transport returns the transport over which the issuer has to reach the handler, whatever the host. An issuer of several services has one for
// each, or one for all.
func (l *Line) Transport(handler http.Handler) http.RoundTripper {
	return transport{line: l, next: ledgertest.Transport(handler)}
}

// Calls returns how many requests the issuer has sent.
func (l *Line) Calls() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.calls
}

func (l *Line) set(f *fault) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fault = f
}

// next counts a request and returns how it breaks.
func (l *Line) next(request *http.Request) *fault {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.calls++
	if l.hosts == nil {
		l.hosts = map[string]bool{}
	}
	l.hosts[request.URL.Hostname()] = true
	if l.fault == nil {
		return nil
	}
	l.fault.seen++
	if l.fault.only != 0 && l.fault.only != l.fault.seen {
		return nil
	}
	return l.fault
}

func (l *Line) reached(host string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.hosts[host]
}

// bytesRead is how much has been read of endless bodies.
func (l *Line) bytesRead() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.read
}

type transport struct {
	line *Line
	next http.RoundTripper
}

// RoundTrip implements [http.RoundTripper].
func (t transport) RoundTrip(request *http.Request) (*http.Response, error) {
	broken := t.line.next(request)
	if broken == nil {
		return t.next.RoundTrip(request)
	}
	if broken.after {
		response, err := t.next.RoundTrip(request)
		if err != nil {
			return nil, err
		}
		_ = response.Body.Close()
	}
	switch {
	case broken.dial:
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: errors.New(Canary)}
	case broken.hangup:
		return nil, io.ErrUnexpectedEOF
	case broken.hang:
		<-request.Context().Done()
		return nil, request.Context().Err()
	}
	response := &http.Response{StatusCode: broken.status, Header: broken.header.Clone(), Request: request, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1}
	if response.Header == nil {
		response.Header = http.Header{}
	}
	response.Body = io.NopCloser(strings.NewReader(broken.body))
	if broken.endless {
		response.Body = &endless{line: t.line}
	}
	return response, nil
}

// endless is a body of spaces, which any JSON may begin with. It ends when nobody can call that bounded any more.
type endless struct {
	line *Line
	read int
}

func (e *endless) Read(p []byte) (int, error) {
	if e.read += len(p); e.read > 8*enough {
		return 0, io.EOF
	}
	for i := range p {
		p[i] = ' '
	}
	e.line.mu.Lock()
	defer e.line.mu.Unlock()
	e.line.read += len(p)
	return len(p), nil
}

func (e *endless) Close() error { return nil }
