package host

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// echo answers with what it was asked.
var echo = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	w.Header().Set("X-Seen", r.Header.Get("X-Caller"))
	w.WriteHeader(http.StatusTeapot)
	fmt.Fprintf(w, "%s %s %s %s", r.Method, r.Host, r.URL.RequestURI(), body)
})

func TestEnvelopes(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, in string
		status   int
		want     string
	}{
		{"a request is unwrapped and its answer wrapped",
			`{"Data":{"req":{"Url":"https://app.example.com/v1/chat?x=1","Method":"POST","Query":{"x":"1"},"Headers":{"Content-Type":["application/json"],"x-caller":["me"]},"Params":{},"Identities":[],"Body":"{\"a\":1}"}},"Metadata":{}}`,
			200, `{"Logs":[],"Outputs":{"res":{"body":"POST app.example.com /v1/chat?x=1 {\"a\":1}","headers":{"X-Seen":"me"},"statusCode":418}},"ReturnValue":null}`},
		{"a request without a body has none",
			`{"Data":{"req":{"Url":"https://app.example.com/healthz","Method":"GET","Headers":{}}},"Metadata":{}}`,
			200, `{"Logs":[],"Outputs":{"res":{"body":"GET app.example.com /healthz ","headers":{"X-Seen":""},"statusCode":418}},"ReturnValue":null}`},
		{"a binary body comes as base64",
			`{"Data":{"req":{"Url":"https://a.example.com/","Method":"POST","Headers":{"Content-Type":["application/octet-stream"]},"Body":"aGk="}},"Metadata":{}}`,
			200, `{"Logs":[],"Outputs":{"res":{"body":"POST a.example.com / hi","headers":{"X-Seen":""},"statusCode":418}},"ReturnValue":null}`},
		{"what is no envelope fails the invocation", `hello`, 400, ""},
		{"an envelope without the binding fails the invocation", `{"Data":{"other":{}},"Metadata":{}}`, 400, ""},
		{"a binding that is no request fails the invocation", `{"Data":{"req":"x"},"Metadata":{}}`, 400, ""},
		{"a URL that cannot be read fails the invocation", `{"Data":{"req":{"Url":"http://%zz","Method":"GET"}},"Metadata":{}}`, 400, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			rec := httptest.NewRecorder()
			r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/gateway", strings.NewReader(c.in))
			envelopes(echo).ServeHTTP(rec, r)
			if rec.Code != c.status {
				t.Fatalf("status is %d, want %d: %s", rec.Code, c.status, rec.Body)
			}
			if c.want == "" {
				return
			}
			var got any
			if err := json.Unmarshal(rec.Body.Bytes(), &got); err != nil {
				t.Fatal(err)
			}
			sorted, _ := json.Marshal(got)
			if string(sorted) != c.want {
				t.Errorf("got  %s\nwant %s", sorted, c.want)
			}
		})
	}
}

func TestAnAnswerThatDoesNotFitIsACleanError(t *testing.T) {
	t.Parallel()
	large := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		block := bytes.Repeat([]byte("x"), 1<<20)
		for range 20 {
			if _, err := w.Write(block); err != nil {
				return
			}
		}
	})
	rec := httptest.NewRecorder()
	in := `{"Data":{"req":{"Url":"https://a.example.com/","Method":"GET"}},"Metadata":{}}`
	envelopes(large).ServeHTTP(rec, httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/gateway", strings.NewReader(in)))
	if !strings.Contains(rec.Body.String(), "response_too_large") || !strings.Contains(rec.Body.String(), `"statusCode":502`) {
		t.Errorf("got %.300s", rec.Body)
	}
}

func TestARequestThatDoesNotFitIsACleanError(t *testing.T) {
	t.Parallel()
	rec := httptest.NewRecorder()
	in := `{"Data":{"req":{"Url":"https://a.example.com/","Method":"POST","Body":"` + strings.Repeat("x", maxEnvelope) + `"}}}`
	envelopes(echo).ServeHTTP(rec, httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/gateway", strings.NewReader(in)))
	if rec.Code != http.StatusOK || !strings.Contains(rec.Body.String(), "request_too_large") || !strings.Contains(rec.Body.String(), `"statusCode":413`) {
		t.Errorf("got %d %.300s", rec.Code, rec.Body)
	}
}

func TestReadSettings(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	write := func(text string) {
		if err := os.WriteFile(filepath.Join(root, "host.json"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	env := map[string]string{"FUNCTIONS_CUSTOMHANDLER_PORT": "7071", "FUNCTIONS_APP_ROOT_PATH": root}
	getenv := func(name string) string { return env[name] }
	write(`{"version":"2.0","customHandler":{"enableProxyingHttpRequest":true}}`)
	s, err := ReadSettings(getenv)
	if err != nil || s != (Settings{Port: "7071", Proxied: true}) {
		t.Errorf("got %+v, %v", s, err)
	}
	write(`{"version":"2.0","customHandler":{}}`)
	if s, err := ReadSettings(getenv); err != nil || s.Proxied {
		t.Errorf("got %+v, %v", s, err)
	}
	write(`{`)
	if _, err := ReadSettings(getenv); err == nil {
		t.Error("a broken host.json was accepted")
	}
	delete(env, "FUNCTIONS_CUSTOMHANDLER_PORT")
	if _, err := ReadSettings(getenv); err == nil || !strings.Contains(err.Error(), "make run") {
		t.Errorf("without a port the error is %v", err)
	}
}

func TestServe(t *testing.T) {
	t.Parallel()
	for _, proxied := range []bool{true, false} {
		t.Run(fmt.Sprintf("proxied %v", proxied), func(t *testing.T) {
			t.Parallel()
			ctx, stop := context.WithCancel(t.Context())
			port := freePort(t)
			done := make(chan error, 1)
			go func() { done <- Serve(ctx, Settings{Port: port, Proxied: proxied}, echo) }()
			status := poll(t, "http://127.0.0.1:"+port+"/ready")
			if want := map[bool]int{true: http.StatusTeapot, false: http.StatusNoContent}[proxied]; status != want {
				t.Errorf("the readiness check got %d, want %d", status, want)
			}
			stop()
			if err := <-done; err != nil {
				t.Errorf("ended with %v", err)
			}
		})
	}
}

func TestRequestsUnderWayAreAnsweredWhenTheHandlerEnds(t *testing.T) {
	t.Parallel()
	begun, release := make(chan struct{}), make(chan struct{})
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			close(begun)
			<-release
		}
		_, _ = io.WriteString(w, "done")
	})
	ctx, stop := context.WithCancel(t.Context())
	port := freePort(t)
	ended := make(chan error, 1)
	go func() { ended <- Serve(ctx, Settings{Port: port, Proxied: true}, h) }()
	poll(t, "http://127.0.0.1:"+port+"/ready")
	answer := make(chan string, 1)
	go func() {
		resp, err := http.Get("http://127.0.0.1:" + port + "/slow")
		if err != nil {
			answer <- err.Error()
			return
		}
		defer resp.Body.Close()
		body, _ := io.ReadAll(resp.Body)
		answer <- string(body)
	}()
	<-begun
	stop()
	// The listener is closed first: from here on Serve is in its shutdown.
	for {
		conn, err := net.Dial("tcp", "127.0.0.1:"+port)
		if err != nil {
			break
		}
		conn.Close()
	}
	select {
	case err := <-ended:
		close(release)
		t.Fatalf("ended with %v although a request is open", err)
	case <-time.After(50 * time.Millisecond):
	}
	close(release)
	if got := <-answer; got != "done" {
		t.Errorf("the request got %q", got)
	}
	if err := <-ended; err != nil {
		t.Errorf("ended with %v", err)
	}
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

// poll asks as the host does: until any answer comes.
func poll(t *testing.T, url string) int {
	t.Helper()
	for range 400 {
		resp, err := http.Get(url)
		if err == nil {
			resp.Body.Close()
			return resp.StatusCode
		}
		time.Sleep(25 * time.Millisecond)
	}
	t.Fatal("no answer")
	return 0
}
