package providertest

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/postern-ai/postern/shared/provider"
)

// upstream is a running service and the provider's model that calls it.
type upstream struct {
	provider.Model
	transport *http.Transport
	serving   atomic.Int64 // requests that the service is still working on
	open      atomic.Int64 // connections
}

// upstream starts a server. It ends with the test, and with it every
// connection.
func (h Harness) upstream(t *testing.T, service http.Handler) *upstream {
	t.Helper()
	u := &upstream{transport: &http.Transport{}}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		u.serving.Add(1)
		defer u.serving.Add(-1)
		service.ServeHTTP(w, r)
	}))
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		switch state {
		case http.StateNew:
			u.open.Add(1)
		case http.StateClosed, http.StateHijacked:
			u.open.Add(-1)
		}
	}
	server.Start()
	t.Cleanup(server.Close)
	t.Cleanup(u.transport.CloseIdleConnections)
	model, err := h.Build(h.Upstream(server.URL), &provider.Sender{HTTP: u.transport, Auth: h.Auth})
	if err != nil {
		t.Fatal(err)
	}
	u.Model = model
	return u
}

// idle waits until the service has no request and no connection left.
func (u *upstream) idle(t *testing.T) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for {
		u.transport.CloseIdleConnections()
		if u.serving.Load() == 0 && u.open.Load() == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the service still works on %d requests over %d connections", u.serving.Load(), u.open.Load())
		}
		time.Sleep(time.Millisecond)
	}
}

// recording is an answer of the service, as the writes that made it.
type recording struct {
	Answer
	ends []int // where each flush stood in the body
}

// record has the service answer a request.
func record(service http.Handler, r *http.Request, body []byte) *recording {
	rec := &recording{Answer: Answer{Status: http.StatusOK, Header: http.Header{}}}
	again := r.Clone(context.WithoutCancel(r.Context()))
	again.Body = io.NopCloser(bytes.NewReader(body))
	service.ServeHTTP(rec, again)
	return rec
}

func (r *recording) Header() http.Header    { return r.Answer.Header }
func (r *recording) WriteHeader(status int) { r.Status = status }
func (r *recording) Flush()                 { r.ends = append(r.ends, len(r.Body)) }
func (r *recording) Write(p []byte) (int, error) {
	r.Body = append(r.Body, p...)
	return len(p), nil
}

// between returns a place half way in the body where one flush ended and the
// next began, which is between two events.
func (r *recording) between() int {
	if len(r.ends) == 0 {
		return len(r.Body) / 2
	}
	return r.ends[len(r.ends)/2]
}

// spoiled is a service that answers with a recording of what another one
// answers, after spoil has had its way with it.
func spoiled(service http.Handler, spoil func(w http.ResponseWriter, r *http.Request, rec *recording)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		rec := record(service, r, body)
		for name, values := range rec.Header() {
			if name != "Content-Length" {
				w.Header()[name] = values
			}
		}
		spoil(w, r, rec)
	})
}

// send writes part of an answer so that the client has it.
func send(w http.ResponseWriter, status int, body []byte) {
	w.WriteHeader(status)
	_, _ = w.Write(body)
	_ = http.NewResponseController(w).Flush()
}

// reset breaks the connection with a TCP reset. It does not return.
func reset(w http.ResponseWriter) {
	if conn, _, err := http.NewResponseController(w).Hijack(); err == nil {
		if tcp, ok := conn.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0) // what makes the close a reset
		}
		_ = conn.Close()
	}
	panic(http.ErrAbortHandler)
}
