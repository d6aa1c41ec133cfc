package stream_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/postern-ai/postern/functions/aws/stream"
)

// watchdog ends a test that would otherwise wait for ever. Nothing is measured with it.
const watchdog = 30 * time.Second

// runtimeAPI is the side of the Lambda Runtime API that a function talks to. It hands a reply to the test while it is
// still arriving.
type runtimeAPI struct {
	t     *testing.T
	queue chan *invocation

	mu      sync.Mutex
	started int
	pending map[string]*invocation
}

type invocation struct {
	id    string
	event json.RawMessage
	reply chan *reply
}

// reply is what the function posted. Its body must be read to the end, with finish.
type reply struct {
	kind, contentType string
	body              io.Reader
	trailer           func() http.Header
	read              chan struct{}
}

// startFunction runs a copy of this test binary as a function, and returns its Runtime API.
func startFunction(t *testing.T, mode string, env ...string) *runtimeAPI {
	t.Helper()
	api := &runtimeAPI{t: t, queue: make(chan *invocation), pending: map[string]*invocation{}}
	server := httptest.NewServer(api.routes())
	child := exec.Command(os.Args[0])
	child.Env = append([]string{
		childMode + "=" + mode, "AWS_LAMBDA_RUNTIME_API=" + strings.TrimPrefix(server.URL, "http://"),
	}, env...)
	var log bytes.Buffer
	child.Stdout, child.Stderr = &log, &log
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = child.Process.Kill()
		_ = child.Wait()
		server.CloseClientConnections()
		server.Close()
		if strings.Contains(log.String(), "DATA RACE") {
			t.Errorf("the function has a data race:\n%s", &log)
		}
		if strings.Contains(log.String(), "CANARY") {
			t.Errorf("the function logged a panic value:\n%s", &log)
		}
	})
	return api
}

func (a *runtimeAPI) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /2018-06-01/runtime/invocation/next", func(w http.ResponseWriter, r *http.Request) {
		select {
		case i := <-a.queue:
			w.Header().Set("Lambda-Runtime-Aws-Request-Id", i.id)
			w.Header().Set("Lambda-Runtime-Deadline-Ms", strconv.FormatInt(time.Now().Add(watchdog).UnixMilli(), 10))
			w.Write(i.event)
		case <-r.Context().Done():
		}
	})
	mux.HandleFunc("POST /2018-06-01/runtime/invocation/{id}/{kind}", func(w http.ResponseWriter, r *http.Request) {
		a.mu.Lock()
		i := a.pending[r.PathValue("id")]
		a.mu.Unlock()
		posted := &reply{
			kind: r.PathValue("kind"), contentType: r.Header.Get("Content-Type"),
			body: r.Body, trailer: func() http.Header { return r.Trailer }, read: make(chan struct{}),
		}
		i.reply <- posted
		<-posted.read
		w.WriteHeader(http.StatusAccepted)
	})
	return mux
}

// invoke gives the event to the function and returns its reply as soon as it begins.
func (a *runtimeAPI) invoke(e json.RawMessage) *reply {
	a.t.Helper()
	a.mu.Lock()
	a.started++
	i := &invocation{id: fmt.Sprintf("request-%d", a.started), event: e, reply: make(chan *reply, 1)}
	a.pending[i.id] = i
	a.mu.Unlock()
	select {
	case a.queue <- i:
	case <-time.After(watchdog):
		a.t.Fatal("the function does not ask for work")
	}
	select {
	case r := <-i.reply:
		return r
	case <-time.After(watchdog):
		a.t.Fatal("the function does not answer")
	}
	return nil
}

// until reads up to and including mark.
func (r *reply) until(t *testing.T, mark string) string {
	t.Helper()
	var got []byte
	for one := make([]byte, 1); !bytes.HasSuffix(got, []byte(mark)); got = append(got, one[0]) {
		if _, err := io.ReadFull(r.body, one); err != nil {
			t.Fatalf("reading up to %q: %v after %q", mark, err, got)
		}
	}
	return string(got)
}

// finish reads the rest, lets the function go on, and returns the rest and the function error of the trailers.
func (r *reply) finish(t *testing.T) (rest, errorType string) {
	t.Helper()
	b, err := io.ReadAll(r.body)
	if err != nil {
		t.Fatal(err)
	}
	errorType = r.trailer().Get("Lambda-Runtime-Function-Error-Type")
	if detail, err := base64.StdEncoding.DecodeString(r.trailer().Get("Lambda-Runtime-Function-Error-Body")); err != nil || (errorType != "") != json.Valid(detail) {
		t.Errorf("the error body in the trailers is %q (%v)", detail, err)
	}
	close(r.read)
	return string(b), errorType
}

// prelude is the head of a streamed reply.
type prelude struct {
	StatusCode int
	Headers    map[string]string
	Cookies    []string
}

const separator = "\x00\x00\x00\x00\x00\x00\x00\x00"

func (r *reply) prelude(t *testing.T) prelude {
	t.Helper()
	if want := "application/vnd.awslambda.http-integration-response"; r.contentType != want {
		t.Fatalf("content type %q, want %q", r.contentType, want)
	}
	var p prelude
	if err := json.Unmarshal([]byte(strings.TrimSuffix(r.until(t, separator), separator)), &p); err != nil {
		t.Fatal(err)
	}
	return p
}

func TestEveryWriteReachesTheRuntimeBeforeTheNextIsMade(t *testing.T) {
	t.Parallel()
	asked := make(chan string)
	opened := make(chan struct{})
	gate := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		asked <- r.URL.Path
		<-opened
	}))
	t.Cleanup(gate.Close)
	api := startFunction(t, "RESPONSE_STREAM")

	r := api.invoke(event("/gated", "gate="+gate.URL))
	if p := r.prelude(t); p.StatusCode != http.StatusOK || p.Headers["Content-Type"] != "text/event-stream" {
		t.Errorf("prelude is %+v", p)
	}
	for _, chunk := range []string{"one", "two", "three"} {
		// The function stands at the gate behind this chunk, so it cannot have made the next one.
		if got := r.until(t, chunk); got != chunk {
			t.Errorf("got %q, want %q", got, chunk)
		}
		if got := <-asked; got != "/"+chunk {
			t.Errorf("the function is at %q, want /%s", got, chunk)
		}
		opened <- struct{}{}
	}
	if rest, errorType := r.finish(t); rest != "" || errorType != "" {
		t.Errorf("the stream ends with %q and the error %q, want a clean end", rest, errorType)
	}
}

func TestTheProcessOutlivesEveryEndOfAHandler(t *testing.T) {
	t.Parallel()
	api := startFunction(t, "RESPONSE_STREAM")
	pid := ""
	alive := func(after string) {
		t.Helper()
		r := api.invoke(event("/hello", ""))
		p := r.prelude(t)
		if pid == "" {
			pid = p.Headers["Function-Pid"]
		}
		if got := p.Headers["Function-Pid"]; got != pid || got == "" {
			t.Errorf("after %s the function has the process ID %q, want %q", after, got, pid)
		}
		if rest, errorType := r.finish(t); !strings.HasPrefix(rest, "id request-") || !strings.HasSuffix(rest, "deadline true") || errorType != "" {
			t.Errorf("after %s the function answers %q, error %q", after, rest, errorType)
		}
	}
	alive("the start")

	for path, want := range map[string]string{"/panic-late": "HandlerPanicked", "/abort-late": "HandlerAborted"} {
		r := api.invoke(event(path, ""))
		if p := r.prelude(t); p.StatusCode != http.StatusOK {
			t.Errorf("%s: prelude %+v", path, p)
		}
		if rest, errorType := r.finish(t); rest != "begun" || errorType != want {
			t.Errorf("%s: got %q and the error %q, want what was written and %s", path, rest, errorType, want)
		}
		alive(path)
	}

	r := api.invoke(event("/panic-early", ""))
	p := r.prelude(t)
	if p.StatusCode != http.StatusInternalServerError || p.Headers["X-Half-Done"] != "" || p.Headers["Content-Type"] != "application/json" {
		t.Errorf("/panic-early: prelude %+v, want only the error's own", p)
	}
	want := `{"error":{"message":"the function failed on this request: its log says why","type":"server_error","param":null,"code":null}}`
	if rest, errorType := r.finish(t); rest != want || errorType != "" {
		t.Errorf("/panic-early: got %s, error %q", rest, errorType)
	}
	alive("/panic-early")

	for path, e := range map[string]json.RawMessage{
		"HandlerAborted":   event("/abort-early", ""),
		"UnsupportedEvent": json.RawMessage(`{"Records":[{"eventSource":"aws:sqs"}]}`),
	} {
		r := api.invoke(e)
		var got struct{ ErrorType string }
		rest, _ := r.finish(t)
		if err := json.Unmarshal([]byte(rest), &got); err != nil || r.kind != "error" || got.ErrorType != path {
			t.Errorf("got %s %q (%v), want the function error %s", r.kind, rest, err, path)
		}
		alive(path)
	}
}

// bufferedReply is the document of a buffered reply.
type bufferedReply struct {
	StatusCode      int
	Headers         map[string]string
	Cookies         []string
	Body            string
	IsBase64Encoded bool
}

func decodeBuffered(t *testing.T, r *reply) bufferedReply {
	t.Helper()
	if r.kind != "response" || r.contentType != "application/json" {
		t.Errorf("got the %s %q, want a JSON response", r.kind, r.contentType)
	}
	rest, errorType := r.finish(t)
	var got bufferedReply
	if err := json.Unmarshal([]byte(rest), &got); err != nil || errorType != "" {
		t.Fatalf("got %.200q, error %q: %v", rest, errorType, err)
	}
	if len(rest) > stream.DefaultMaxResponseBytes {
		t.Errorf("the document has %d bytes: Lambda would refuse it and the process would end", len(rest))
	}
	return got
}

func TestBufferedRepliesAreOneDocumentThatLambdaAccepts(t *testing.T) {
	t.Parallel()
	tooLarge := func(remedy string) string {
		return `{"error":{"message":"the reply is larger than the 6291456 bytes that are passed on in one piece here: ` + remedy +
			`, or ask for a shorter answer","type":"server_error","param":null,"code":"response_too_large"}}`
	}
	tests := []struct {
		name, mode string
		event      json.RawMessage
		status     int
		body       string
	}{
		{"a function URL in buffered mode", "BUFFERED", event("/hello", ""), 200, "id request-1, deadline true"},
		{"an HTTP API although the mode is streaming", "RESPONSE_STREAM", apiEvent("/hello"), 200, "id request-1, deadline true"},
		{"a panic after the first byte", "BUFFERED", event("/panic-late", ""), 500,
			`{"error":{"message":"the function failed on this request: its log says why","type":"server_error","param":null,"code":null}}`},
		{"a reply over the limit of a function URL", "BUFFERED", event("/large", ""), 502,
			tooLarge("set the invoke mode of the function URL to RESPONSE_STREAM")},
		{"a reply over the limit of an HTTP API", "BUFFERED", apiEvent("/large"), 502,
			tooLarge("call the function through a function URL with invoke mode RESPONSE_STREAM instead of API Gateway")},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got := decodeBuffered(t, startFunction(t, tt.mode).invoke(tt.event))
			if got.StatusCode != tt.status || got.IsBase64Encoded {
				t.Errorf("status %d, base64 %t, want %d as text", got.StatusCode, got.IsBase64Encoded, tt.status)
			}
			if diff := cmp.Diff(tt.body, got.Body); diff != "" {
				t.Errorf("body (-want +got):\n%s", diff)
			}
		})
	}
}

func TestConcurrentInvocationsOfOneProcessDoNotMix(t *testing.T) {
	t.Parallel()
	const n = 4
	var atGate sync.WaitGroup
	atGate.Add(n)
	gate := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/one") {
			atGate.Done()
			atGate.Wait() // opens when all n are under way at the same time
		}
	}))
	t.Cleanup(gate.Close)
	api := startFunction(t, "RESPONSE_STREAM", fmt.Sprintf("AWS_LAMBDA_MAX_CONCURRENCY=%d", n))

	var done sync.WaitGroup
	for i := range n {
		done.Go(func() {
			r := api.invoke(event("/gated", fmt.Sprintf("gate=%s/%d", gate.URL, i)))
			r.until(t, separator)
			if rest, errorType := r.finish(t); rest != "onetwothree" || errorType != "" {
				t.Errorf("got %q, error %q", rest, errorType)
			}
		})
	}
	done.Wait()
}
