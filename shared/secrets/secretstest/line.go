package secretstest

import (
	"io"
	"net/http"
	"strings"
	"sync"
)

// Line is the connection of a store to its service. It counts the requests, and breaks the one that a test wants broken.
// It breaks what a client sees, so it works with the real service as well as with a stand-in.
type Line struct {
	mu      sync.Mutex
	next    http.RoundTripper
	count   int
	trouble trouble
}

// Over sets what sends the requests. Without it that is [http.DefaultTransport].
func (l *Line) Over(next http.RoundTripper) { l.next = next }

// trouble is what happens to one request.
type trouble struct {
	// at is the number of the request, of which the first has the number 1. Zero means every one.
	at int
	// meanwhile is done before the request is sent.
	meanwhile func()
	// lost is what the store gets in place of the reply. Nil means that it gets the reply.
	lost *Reply
	// after says that the service has done what it was asked.
	after bool
}

// Reply is what a store gets from its service.
type Reply struct {
	Status int
	Header http.Header
	Body   string
	// Hangup breaks the connection, and Hang waits for the caller to give up.
	Hangup, Hang bool
}

// plan starts to count anew, with some trouble to come. The zero trouble is none.
func (l *Line) plan(coming trouble) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.count, l.trouble = 0, coming
}

// requests returns how many requests there have been since the last plan.
func (l *Line) requests() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.count
}

// met reports whether there has been a request that the trouble was for. How many a call takes may differ from one time to the next: a store
// asks once more where two versions are of the same second.
func (l *Line) met() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.count > 0 && l.count >= l.trouble.at
}

func (l *Line) arrive() trouble {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.count++
	if l.trouble.at != 0 && l.trouble.at != l.count {
		return trouble{}
	}
	return l.trouble
}

// RoundTrip implements [http.RoundTripper].
func (l *Line) RoundTrip(request *http.Request) (*http.Response, error) {
	now := l.arrive()
	if now.meanwhile != nil {
		now.meanwhile()
	}
	if now.lost != nil && !now.after {
		if request.Body != nil {
			_ = request.Body.Close()
		}
		return now.lost.to(request)
	}
	next := l.next
	if next == nil {
		next = http.DefaultTransport
	}
	response, err := next.RoundTrip(request)
	if err != nil || now.lost == nil {
		return response, err
	}
	_, err = io.Copy(io.Discard, response.Body)
	_ = response.Body.Close()
	if err != nil {
		return nil, err
	}
	return now.lost.to(request)
}

func (r *Reply) to(request *http.Request) (*http.Response, error) {
	switch {
	case r.Hang:
		<-request.Context().Done()
		return nil, request.Context().Err()
	case r.Hangup:
		return nil, io.ErrUnexpectedEOF
	}
	header := http.Header{}
	for name, values := range r.Header {
		header[http.CanonicalHeaderKey(name)] = values
	}
	return &http.Response{
		Status: http.StatusText(r.Status), StatusCode: r.Status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: header, Body: io.NopCloser(strings.NewReader(r.Body)), ContentLength: int64(len(r.Body)), Request: request,
	}, nil
}
