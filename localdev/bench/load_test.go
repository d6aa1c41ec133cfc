package bench

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// load is what both sides have to bear in one turn.
type load struct {
	name        string
	stream      bool
	pace        time.Duration // of the upstream's events
	count       int           // of requests
	concurrency int
}

var loads = []load{
	{name: "chat", count: 1600, concurrency: 8},
	{name: "stream", stream: true, pace: time.Millisecond, count: 128, concurrency: 16},
	{name: "burst", stream: true, count: 640, concurrency: 8},
}

// path is where a provider's service takes such requests.
func (l load) path(provider string) string {
	if l.stream {
		return paths[provider][1]
	}
	return paths[provider][0]
}

// side is one of the two that are compared: a process, and what calls it.
type side struct {
	process *process
	call    func() ([]byte, error)
}

// run puts the load on the process and returns the CPU time that it took.
func (s side) run(b *testing.B, l load) time.Duration {
	b.Helper()
	before := s.process.cpu(b)
	var left atomic.Int64
	left.Store(int64(l.count))
	var failed atomic.Value
	var workers sync.WaitGroup
	for range l.concurrency {
		workers.Go(func() {
			for left.Add(-1) >= 0 {
				if err := l.check(s.call()); err != nil {
					failed.Store(err)
					return
				}
			}
		})
	}
	workers.Wait()
	if err, _ := failed.Load().(error); err != nil {
		b.Fatal(err)
	}
	return s.process.cpu(b) - before
}

// check makes sure that nobody is quick because nothing was done.
func (l load) check(reply []byte, err error) error {
	want := []byte("A short answer")
	if l.stream {
		want = []byte("word7")
	}
	if err == nil && !bytes.Contains(reply, want) {
		err = fmt.Errorf("not the answer: %.300s", reply)
	}
	if n := bytes.Count(reply, []byte("word")); err == nil && l.stream && n < chunks-2 {
		err = fmt.Errorf("the stream has %d pieces of text", n)
	}
	return err
}

// caller returns what calls a server, over connections that stay open. It may
// be used concurrently.
func (w *world) caller(p *process, path string, stream bool) func() ([]byte, error) {
	transport := &http.Transport{
		MaxIdleConnsPerHost: streams, DisableCompression: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx, p.address) },
	}
	return func() ([]byte, error) {
		resp, err := transport.RoundTrip(w.call(http.MethodPost, path, request(stream)))
		if err != nil {
			return nil, err
		}
		defer func() { _ = resp.Body.Close() }()
		body, err := io.ReadAll(resp.Body)
		if err == nil && resp.StatusCode != http.StatusOK {
			err = fmt.Errorf("status %d: %s", resp.StatusCode, body)
		}
		return body, err
	}
}

// oneConnection is a transport that waits for a server to listen and calls it
// once.
func oneConnection(address string) *http.Transport {
	return &http.Transport{
		DisableKeepAlives: true,
		DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx, address) },
	}
}
