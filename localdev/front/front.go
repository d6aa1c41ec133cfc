// Package front runs the unchanged function binaries as child processes behind stand-ins for the platforms that run
// them in the cloud: Lambda with its function URL (Lambda), Cloud Run (CloudRun), and the Azure Functions host with a
// custom handler (Functions). A front speaks its platform's real contract on both sides, and is strict: what the
// platform refuses, it refuses.
//
// A front is an http.Handler for clients. It must not know what a function does, which models there are, or which
// stand-ins the function calls: everything of that kind reaches a child through its environment. A child inherits
// nothing from the developer's shell, so that a credential lying around there cannot make a local run succeed.
package front

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"sync"
	"time"
)

// lifetime ends a front once, by Close or by the end of the context that it was started with.
type lifetime struct {
	once     sync.Once
	unwatch  func() bool
	shutdown func()
}

func newLifetime(ctx context.Context, shutdown func()) *lifetime {
	l := &lifetime{shutdown: shutdown}
	l.unwatch = context.AfterFunc(ctx, l.end)
	return l
}

// end returns when the shutdown is complete, whoever began it.
func (l *lifetime) end() {
	l.once.Do(l.shutdown)
}

func (l *lifetime) close() {
	l.unwatch()
	l.end()
}

// door serves h on the listener and returns what closes it together with every connection. Without a listener it does
// nothing: the front is then used as a handler only.
func door(listener net.Listener, h http.Handler, errors io.Writer) (shut func()) {
	if listener == nil {
		return func() {}
	}
	server := &http.Server{Handler: h, ReadHeaderTimeout: time.Minute, ErrorLog: log.New(errors, "", 0)}
	go func() { _ = server.Serve(listener) }()
	return func() { _ = server.Close() }
}

// newID returns a random UUID, the form in which all three platforms identify requests.
func newID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

func randomHex(bytes int) string {
	b := make([]byte, bytes)
	_, _ = rand.Read(b)
	return fmt.Sprintf("%x", b)
}
