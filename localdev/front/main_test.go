package front_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// watchdog ends a test that would otherwise wait for ever. Nothing is measured with it.
const watchdog = 30 * time.Second

// raceOptions keep a child with the race detector from sleeping for a second when it exits.
const raceOptions = "atexit_sleep_ms=0"

// childRole is set for the copies of this test binary that run as functions, and says as which.
const childRole = "FRONT_TEST_ROLE"

// TestMain lets the test binary be the function binaries too, so that nothing has to be built.
func TestMain(m *testing.M) {
	switch role := os.Getenv(childRole); role {
	case "":
		os.Exit(m.Run())
	case "exit":
		os.Exit(3)
	case "hang":
		select {}
	case "lambda", "lambda-sigterm":
		lambdaChild(role == "lambda-sigterm")
	case "parent":
		parentChild()
	case "runtime":
		runtimeChild()
	case "init-error":
		initErrorChild()
	case "cloudrun":
		serveChild(os.Getenv("PORT"))
	case "functions":
		serveChild(os.Getenv("FUNCTIONS_CUSTOMHANDLER_PORT"))
	default:
		panic("unknown role " + role)
	}
}

// binary is the function binary of the tests.
func binary(t *testing.T) string {
	t.Helper()
	path, err := filepath.Abs(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// output collects what a front writes, for several goroutines.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// newOutput is an output that is shown if the test fails, and that may hold no report of a data race.
func newOutput(t *testing.T) *output {
	t.Helper()
	o := &output{}
	t.Cleanup(func() {
		if strings.Contains(o.String(), "DATA RACE") {
			t.Error("the child has a data race")
		}
		if t.Failed() {
			t.Logf("output of the front:\n%s", o)
		}
	})
	return o
}

// eventually waits for a state that another process reaches in its own time.
func eventually(t *testing.T, what string, reached func() bool) {
	t.Helper()
	for end := time.Now().Add(watchdog); !reached(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never happened: %s", what)
		}
	}
}

// gate lets a test hold a child between two steps: the child asks the gate's URL, and stands still until the test says
// pass.
type gate struct {
	url   string
	steps chan string
	open  chan struct{}
}

func newGate(t *testing.T) *gate {
	t.Helper()
	g := &gate{steps: make(chan string), open: make(chan struct{})}
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case g.steps <- strings.TrimPrefix(r.URL.Path, "/"):
		case <-r.Context().Done():
			return
		}
		select {
		case <-g.open:
		case <-r.Context().Done():
		}
	}))
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	g.url = server.URL
	return g
}

// at waits until a child stands before the gate, and returns its step.
func (g *gate) at(t *testing.T) string {
	t.Helper()
	select {
	case step := <-g.steps:
		return step
	case <-time.After(watchdog):
		t.Fatal("no child comes to the gate")
	}
	return ""
}

func (g *gate) pass() { g.open <- struct{}{} }

// waitAtGate is the child's side.
func waitAtGate(ctx context.Context, url, step string) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/"+step, nil)
	if err != nil {
		panic(err)
	}
	if reply, err := http.DefaultClient.Do(r); err == nil {
		reply.Body.Close()
	}
}

// get calls a front over the network and returns the reply, whose body the caller reads.
func get(t *testing.T, url string) *http.Response {
	t.Helper()
	return do(t, http.MethodGet, url, nil, nil)
}

func do(t *testing.T, method, url string, header http.Header, body io.Reader) *http.Response {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), watchdog)
	t.Cleanup(cancel)
	r, err := http.NewRequestWithContext(ctx, method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	for name, values := range header {
		r.Header[name] = values
	}
	reply, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { reply.Body.Close() })
	return reply
}

func text(t *testing.T, reply *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(reply.Body)
	if err != nil {
		t.Fatalf("reading the reply: %v after %q", err, b)
	}
	return string(b)
}

// read reads exactly len(want) bytes, which must be want.
func read(t *testing.T, from io.Reader, want string) {
	t.Helper()
	got := make([]byte, len(want))
	if n, err := io.ReadFull(from, got); err != nil || string(got) != want {
		t.Fatalf("read %q (%v), want %q", got[:n], err, want)
	}
}

// streams proves that a front passes on each chunk before the child has made the next.
func streams(t *testing.T, url string, g *gate) {
	t.Helper()
	reply := get(t, url+"/gated?gate="+g.url)
	if reply.StatusCode != http.StatusOK || reply.Header.Get("Content-Type") != "text/event-stream" {
		t.Errorf("status %d, header %v", reply.StatusCode, reply.Header)
	}
	for _, chunk := range []string{"one", "two", "three"} {
		// The child stands at the gate behind this chunk, so it cannot have made the next one.
		read(t, reply.Body, chunk)
		if step := g.at(t); step != chunk {
			t.Errorf("the child is at %q, want %q", step, chunk)
		}
		g.pass()
	}
	if rest := text(t, reply); rest != "" {
		t.Errorf("the stream ends with %q", rest)
	}
}

func newRecorder() *httptest.ResponseRecorder { return httptest.NewRecorder() }

func newGetRequest(t *testing.T, path string) *http.Request {
	t.Helper()
	return httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil)
}

// environmentOf reads a child's environment, checks its home directory, and leaves out what differs from run to run.
func environmentOf(t *testing.T, document string, varies ...string) map[string]string {
	t.Helper()
	var list []string
	if err := json.Unmarshal([]byte(document), &list); err != nil {
		t.Fatal(err)
	}
	env := map[string]string{}
	for _, line := range list {
		name, value, _ := strings.Cut(line, "=")
		env[name] = value
	}
	if left, err := os.ReadDir(env["HOME"]); err != nil || len(left) > 0 {
		t.Errorf("the home directory %q holds %v: %v", env["HOME"], left, err)
	}
	for _, name := range varies {
		if env[name] == "" {
			t.Errorf("%s is missing", name)
		}
		delete(env, name)
	}
	delete(env, "HOME")
	delete(env, "TMPDIR")
	return env
}
