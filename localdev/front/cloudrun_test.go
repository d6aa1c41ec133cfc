package front_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/postern-ai/postern/localdev/front"
)

// cloudRun starts a service on a URL of its own.
func cloudRun(t *testing.T, o front.CloudRunOptions) (c *front.CloudRun, url string, out *output) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	out = newOutput(t)
	o.Binary, o.Listener, o.Output, o.StartTimeout = binary(t), listener, out, watchdog
	if o.Env == nil {
		o.Env = map[string]string{}
	}
	o.Env[childRole], o.Env["GORACE"] = "cloudrun", raceOptions
	c, err = front.StartCloudRun(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c, "http://" + listener.Addr().String(), out
}

func TestCloudRunStreamsEveryChunkBeforeTheNextIsMade(t *testing.T) {
	t.Parallel()
	_, url, _ := cloudRun(t, front.CloudRunOptions{})
	streams(t, url, newGate(t))
}

func TestCloudRunServesConcurrentRequestsInOneInstance(t *testing.T) {
	t.Parallel()
	_, url, _ := cloudRun(t, front.CloudRunOptions{})
	g := newGate(t)
	var replies sync.WaitGroup
	const n = 3
	for range n {
		replies.Go(func() { get(t, url+"/hold?gate="+g.url) })
	}
	pid := g.at(t)
	for range n - 1 {
		if got := g.at(t); got != pid {
			t.Errorf("process %s serves beside %s", got, pid)
		}
	}
	for range n {
		g.pass()
	}
	replies.Wait()
}

func TestCloudRunPassesRequestsOnWithTheHeadersOfItsFrontEnd(t *testing.T) {
	t.Parallel()
	_, url, _ := cloudRun(t, front.CloudRunOptions{})
	reply := do(t, http.MethodPost, url+"/a%2Fb?c=%7E", http.Header{"X-Forwarded-For": {"203.0.113.1"}, "X-Own": {"1", "2"}}, strings.NewReader("body"))
	var got request
	if err := json.Unmarshal([]byte(text(t, reply)), &got); err != nil || reply.StatusCode != http.StatusCreated || reply.Header.Get("X-Function") != "yes" {
		t.Fatalf("status %d, %v, %v", reply.StatusCode, reply.Header, err)
	}
	if got.Method != http.MethodPost || got.URI != "/a%2Fb?c=%7E" || got.Body != "body" || "http://"+got.Host != url {
		t.Errorf("the function got %+v", got)
	}
	if trace := got.Header.Get("X-Cloud-Trace-Context"); !regexp.MustCompile(`^[0-9a-f]{32}/[0-9]+;o=1$`).MatchString(trace) {
		t.Errorf("trace context %q", trace)
	}
	want := http.Header{"X-Forwarded-For": {"203.0.113.1, 127.0.0.1"}, "X-Forwarded-Proto": {"https"}, "X-Own": {"1", "2"}}
	for name, values := range want {
		if diff := cmp.Diff(values, got.Header[name]); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestCloudRunRefusesWhatItsFrontEndRefuses(t *testing.T) {
	t.Parallel()
	_, url, _ := cloudRun(t, front.CloudRunOptions{})
	for path, want := range map[string]int{
		"/eventlog": http.StatusNotFound, "/_ah/health": http.StatusNotFound, "/healthz": http.StatusNotFound, "/v1/healthz": http.StatusCreated,
	} {
		if reply := get(t, url+path); reply.StatusCode != want {
			t.Errorf("%s: status %d, want %d", path, reply.StatusCode, want)
		}
	}
	if reply := do(t, http.MethodTrace, url, nil, nil); reply.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("TRACE: status %d", reply.StatusCode)
	}
	large := strings.Repeat("x", 32<<20+1)
	for name, body := range map[string]io.Reader{
		"a length that is too large": strings.NewReader(large), "a stream that is too long": io.MultiReader(strings.NewReader(large)),
	} {
		if reply := do(t, http.MethodPost, url+"/length", nil, body); reply.StatusCode != http.StatusRequestEntityTooLarge {
			t.Errorf("%s: status %d", name, reply.StatusCode)
		}
	}
	if reply := do(t, http.MethodPost, url+"/length", nil, strings.NewReader(large[1:])); reply.StatusCode != http.StatusOK || text(t, reply) != "33554432" {
		t.Errorf("a body of the largest size: status %d", reply.StatusCode)
	}
}

func TestCloudRunReplacesAnInstanceThatCrashed(t *testing.T) {
	t.Parallel()
	_, url, _ := cloudRun(t, front.CloudRunOptions{})
	before := text(t, get(t, url+"/pid"))
	if reply := get(t, url+"/crash"); reply.StatusCode != http.StatusServiceUnavailable || !strings.Contains(text(t, reply), "connection to the instance had an error") {
		t.Errorf("status %d", reply.StatusCode)
	}
	var after string
	eventually(t, "a new instance answers", func() bool {
		reply := get(t, url+"/pid")
		after = text(t, reply)
		return reply.StatusCode == http.StatusOK
	})
	if after == before {
		t.Errorf("process %s answers before and after its crash", after)
	}
	g := newGate(t)
	reply := get(t, url+"/crash-late?gate="+g.url)
	read(t, reply.Body, "begun")
	g.at(t)
	g.pass()
	if rest, err := io.ReadAll(reply.Body); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a crash in the stream ends it with %q and %v, want %v", rest, err, io.ErrUnexpectedEOF)
	}
}

func TestCloudRunEndsRequestsAtTheirTimeout(t *testing.T) {
	t.Parallel()
	_, url, _ := cloudRun(t, front.CloudRunOptions{Timeout: time.Second})
	if reply := get(t, url+"/hang"); reply.StatusCode != http.StatusGatewayTimeout {
		t.Errorf("status %d", reply.StatusCode)
	}
	reply := get(t, url+"/hang-late")
	read(t, reply.Body, "begun")
	if _, err := io.ReadAll(reply.Body); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a stream at its timeout ends with %v, want %v", err, io.ErrUnexpectedEOF)
	}
}

func TestCloudRunEndsItsInstanceWithSIGTERM(t *testing.T) {
	t.Parallel()
	c, url, out := cloudRun(t, front.CloudRunOptions{Service: "svc"})
	get(t, url+"/line")
	c.Close()
	if got := out.String(); !strings.HasPrefix(got, "[svc] a line of the function\n[svc] asked to end\n") {
		t.Errorf("output %q", got)
	}
	w := newRecorder()
	c.ServeHTTP(w, newGetRequest(t, "/pid"))
	if w.Code != http.StatusServiceUnavailable {
		t.Errorf("after Close: status %d", w.Code)
	}
}

func TestCloudRunEnvironmentIsWhatCloudRunSetsAndNothingElse(t *testing.T) {
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", "leaked")
	_, url, _ := cloudRun(t, front.CloudRunOptions{Service: "svc", Target: "Gateway", Timeout: time.Minute, Env: map[string]string{"GCE_METADATA_HOST": "local"}})
	got := environmentOf(t, text(t, get(t, url+"/env")), "PORT")
	want := map[string]string{
		childRole: "cloudrun", "GORACE": raceOptions, "GCE_METADATA_HOST": "local",
		"K_SERVICE": "svc", "K_REVISION": "svc-00001-loc", "K_CONFIGURATION": "svc", "CLOUD_RUN_TIMEOUT_SECONDS": "60",
		"FUNCTION_TARGET": "Gateway", "FUNCTION_SIGNATURE_TYPE": "http", "PATH": os.Getenv("PATH"),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("environment (-want +got):\n%s", diff)
	}
}

func TestCloudRunTellsWhyItDoesNotStart(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		o    front.CloudRunOptions
		want string
	}{
		"a binary that is missing":              {front.CloudRunOptions{Binary: "missing"}, "build it first"},
		"a variable that Cloud Run sets itself": {front.CloudRunOptions{Env: map[string]string{"PORT": "1"}}, "PORT belongs to the platform"},
		"a binary that ends":                    {front.CloudRunOptions{Env: map[string]string{childRole: "exit"}}, "ended before it was ready: exit status 3"},
		"a binary that does not listen in time": {front.CloudRunOptions{Env: map[string]string{childRole: "hang"}, StartTimeout: 200 * time.Millisecond}, "did not get ready"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if tt.o.Binary == "" {
				tt.o.Binary = binary(t)
			}
			if _, err := front.StartCloudRun(t.Context(), tt.o); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}
