package stream_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/postern-ai/postern/localdev/front"
)

// TestBehindAFunctionURL runs the adapter behind a stand-in for the function URL, which reads its replies as Lambda does.
func TestBehindAFunctionURL(t *testing.T) {
	t.Parallel()
	binary, err := filepath.Abs(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	for _, mode := range []front.InvokeMode{front.ResponseStream, front.BufferedReply} {
		t.Run(string(mode), func(t *testing.T) {
			t.Parallel()
			listener, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			var log lockedBuffer
			l, err := front.StartLambda(context.Background(), front.LambdaOptions{
				Binary: binary, InvokeMode: mode, Timeout: watchdog, Listener: listener, Output: &log,
				Env: map[string]string{childMode: string(mode)},
			})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				l.Close()
				if strings.Contains(log.String(), "DATA RACE") {
					t.Errorf("the function has a data race:\n%s", log.String())
				}
			})
			get := func(path string) (*http.Response, string, error) {
				t.Helper()
				reply, err := http.Get("http://" + listener.Addr().String() + path)
				if err != nil {
					t.Fatal(err)
				}
				defer reply.Body.Close()
				body, err := io.ReadAll(reply.Body)
				return reply, string(body), err
			}
			if reply, body, err := get("/hello"); reply.StatusCode != http.StatusOK || !strings.HasSuffix(body, "deadline true") || err != nil {
				t.Errorf("status %d, %q, %v", reply.StatusCode, body, err)
			}
			gate := httptest.NewServer(http.NotFoundHandler())
			t.Cleanup(gate.Close)
			if _, body, err := get("/gated?gate=" + gate.URL); body != "onetwothree" || err != nil {
				t.Errorf("got %q, %v", body, err)
			}
			if reply, body, err := get("/panic-early"); reply.StatusCode != http.StatusInternalServerError || !strings.Contains(body, "server_error") || err != nil {
				t.Errorf("an early panic: status %d, %q, %v", reply.StatusCode, body, err)
			}
			reply, body, err := get("/panic-late")
			if mode == front.ResponseStream && (body != "begun" || !errors.Is(err, io.ErrUnexpectedEOF)) {
				t.Errorf("a late panic: %q, %v, want a broken stream", body, err)
			}
			if mode == front.BufferedReply && (reply.StatusCode != http.StatusInternalServerError || err != nil) {
				t.Errorf("a late panic: status %d, %v", reply.StatusCode, err)
			}
			if reply, _, _ := get("/no/such/path"); reply.StatusCode != http.StatusNotFound {
				t.Errorf("status %d", reply.StatusCode)
			}
		})
	}
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
