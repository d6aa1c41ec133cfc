package gateway

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"iter"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/postern-ai/postern/shared/chat"
	"github.com/postern-ai/postern/shared/provider"
)

// slow yields a chunk after each pause, or the context's error if that is over
// first.
func slow(pauses ...time.Duration) script {
	return script{stream: func(ctx context.Context, _ *chat.Request) (iter.Seq2[*chat.Chunk, error], error) {
		return func(yield func(*chat.Chunk, error) bool) {
			for _, pause := range pauses {
				select {
				case <-ctx.Done():
					yield(nil, provider.Interrupted("Amazon Bedrock", ctx.Err()))
					return
				case <-time.After(pause):
				}
				if !yield(delta("a"), nil) {
					return
				}
			}
		}, nil
	}}
}

// reluctant accepts a stream only after a pause, and then answers at once, or
// refuses it.
func reluctant(pause time.Duration, refusal error) script {
	return script{stream: func(ctx context.Context, _ *chat.Request) (iter.Seq2[*chat.Chunk, error], error) {
		select {
		case <-ctx.Done():
			return nil, provider.Unreached("Amazon Bedrock", ctx.Err())
		case <-time.After(pause):
		}
		return chunks(nil, delta("a")), refusal
	}}
}

func TestTime(t *testing.T) {
	t.Parallel()
	const a = `{"id":"c","object":"chat.completion.chunk","created":0,"model":"","choices":[{"index":0,"delta":{"content":"a"},"finish_reason":null}]}`
	for _, c := range []struct {
		name     string
		deadline time.Duration // of the platform; 0 is none
		model    script
		status   int
		code     string
		want     []string
		took     time.Duration
	}{
		{"a silent stream is kept alive by comments", 0, slow(1*time.Second, 35*time.Second), 200, "",
			[]string{a, ": keep-alive", ": keep-alive", a, "[DONE]"}, 36 * time.Second},
		{"a first chunk that takes long is announced by a comment", 0, slow(16 * time.Second), 200, "",
			[]string{": keep-alive", a, "[DONE]"}, 16 * time.Second},
		{"an upstream that accepts late keeps its status for a while", 0, reluctant(19*time.Second, provider.Fault(429, "Amazon Bedrock", "")), 429, "rate_limit_exceeded",
			nil, 19 * time.Second},
		{"a stream that does not begin is given up", 0, slow(30 * time.Second), 200, "upstream_timeout",
			nil, 20 * time.Second},
		{"a stream that takes longer than a request may is ended", 0, slow(1*time.Second, time.Hour), 200, "upstream_timeout",
			nil, 60 * time.Second},
		{"a platform that runs out of time is preceded by a second", 10 * time.Second, slow(1*time.Second, time.Hour), 200, "upstream_timeout",
			nil, 9 * time.Second},
		{"a platform that runs out of time before the first chunk", 10 * time.Second, slow(time.Hour), 504, "upstream_timeout",
			nil, 9 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				ctx := t.Context()
				if c.deadline > 0 {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, c.deadline)
					defer cancel()
				}
				start := time.Now()
				rec := httptest.NewRecorder()
				newGateway(t, c.model, io.Discard).ServeHTTP(rec, post(ctx, "alice", helloStream))
				if took := time.Since(start); took != c.took {
					t.Errorf("took %v, want %v", took, c.took)
				}
				if rec.Code != c.status {
					t.Errorf("status is %d, want %d: %s", rec.Code, c.status, rec.Body)
				}
				if c.want != nil {
					if d := cmp.Diff(c.want, events(rec.Body.String())); d != "" {
						t.Error(d)
					}
					return
				}
				body := rec.Body.String()
				if i := strings.LastIndex(body, "{\"error\""); i < 0 || envelopeOf(t, []byte(strings.TrimSpace(body[i:]))).Code != c.code {
					t.Errorf("no error of code %s at the end of %s", c.code, body)
				}
			})
		})
	}
}

func TestALongWaitForTheUpstreamIsKeptAlive(t *testing.T) {
	t.Parallel()
	const a = `{"id":"c","object":"chat.completion.chunk","created":0,"model":"","choices":[{"index":0,"delta":{"content":"a"},"finish_reason":null}]}`
	late := provider.Fault(503, "Amazon Bedrock", "")
	for _, c := range []struct {
		name    string
		refusal error
		want    []string
	}{
		{"until it answers", nil, []string{": keep-alive", ": keep-alive", a, "[DONE]"}},
		{"and a refusal that comes after that is an event", late, []string{": keep-alive", ": keep-alive", string(late.Body())}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				g := newGateway(t, reluctant(statusWait+keepAlive+time.Second, c.refusal), io.Discard)
				g.limits.RequestTimeout, g.limits.FirstByteTimeout = 5*time.Minute, 5*time.Minute
				route, _ := g.router.Route("large")
				route.Upstream.Timeout = 5 * time.Minute
				rec := httptest.NewRecorder()
				g.ServeHTTP(rec, post(t.Context(), "alice", helloStream))
				if d := cmp.Diff(c.want, events(rec.Body.String())); d != "" {
					t.Error(d)
				}
			})
		})
	}
}

func TestTheLogSaysWhichLimitEndedAnAnswer(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name     string
		platform time.Duration // 0 is none
		upstream time.Duration
		want     string
	}{
		{"the request's", 0, time.Hour, "limits.request_timeout"},
		{"the upstream's", 0, time.Second, "the upstream's timeout"},
		{"the platform's", 10 * time.Second, time.Hour, "the time that the platform gives"},
	} {
		for _, body := range []string{hello, helloStream} {
			t.Run(c.name, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					ctx := t.Context()
					if c.platform > 0 {
						var cancel context.CancelFunc
						ctx, cancel = context.WithTimeout(ctx, c.platform)
						defer cancel()
					}
					model := slow(time.Millisecond, 2*time.Hour)
					model.chat = func(ctx context.Context, _ *chat.Request) (*chat.Response, error) {
						<-ctx.Done()
						return nil, provider.Unreached("Amazon Bedrock", ctx.Err())
					}
					var log bytes.Buffer
					g := newGateway(t, model, &log)
					route, _ := g.router.Route("large")
					route.Upstream.Timeout = c.upstream
					g.ServeHTTP(httptest.NewRecorder(), post(ctx, "alice", body))
					if !strings.Contains(log.String(), `"error_cause":"the answer was not complete within `+c.want) {
						t.Errorf("the log is %s", log.String())
					}
				})
			})
		}
	}
}

// TestBodiesThatNeverCome has callers that announce a body and do not send it.
func TestBodiesThatNeverCome(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, who, request, want string }{
		{"a stranger is refused all the same", "old", "POST /v1/chat/completions", "401 Unauthorized"},
		{"an unknown path is refused all the same", "alice", "POST /v1/nothing", "404 Not Found"},
		{"a caller is told", "alice", "POST /v1/chat/completions", "408 Request Timeout"},
		{"the models are listed all the same", "alice", "GET /v1/models", "200 OK"},
		{"whoever asks after its health is answered", "", "GET /healthz", "200 OK"},
		{"whoever tells it something is refused", "", "POST /healthz", "405 Method Not Allowed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			g := newGateway(t, script{}, io.Discard)
			g.limits.RequestTimeout = 50 * time.Millisecond
			server := httptest.NewServer(g)
			defer server.Close()
			conn, err := net.Dial("tcp", server.Listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			fmt.Fprintf(conn, "%s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{", c.request, c.who)
			// The connection ends too: nothing after this can be a request.
			all, err := io.ReadAll(conn)
			if err != nil || !strings.HasPrefix(string(all), "HTTP/1.1 "+c.want) {
				t.Errorf("got %q, %v", all, err)
			}
		})
	}
}

// wired speaks the gateway's own wire to a server over a real transport.
type wired struct {
	provider.Wire
	url string
}

func (d wired) Encode(req *chat.Request) (*provider.Call, error) {
	body, err := d.Body(req)
	return &provider.Call{URL: d.url, Body: body}, err
}

type bare struct{ http.RoundTripper }

func (b bare) Do(r *http.Request) (*http.Response, error) { return b.RoundTrip(r) }

// TestATransportThatHandsOutTheCause has net/http end the wait: of a context
// that is over it hands out the cause, and not the context's own error.
func TestATransportThatHandsOutTheCause(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, body, begins string
		status             int
	}{
		{"nothing comes", hello, "", 504},
		{"nothing comes of a stream", helloStream, "", 504},
		{"an answer stops half way", hello, `{"id":"c1","object":`, 504},
		{"a stream stops half way", helloStream, "data: {\"id\":\"c1\",\"object\":\"chat.completion.chunk\",\"created\":5,\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"a\"},\"finish_reason\":null}]}\n\n", 200},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				if c.begins != "" {
					w.Header().Set("Content-Type", r.Header.Get("Accept"))
					_, _ = io.WriteString(w, c.begins)
					_ = http.NewResponseController(w).Flush()
				}
				<-r.Context().Done()
			}))
			defer upstream.Close()
			transport := &http.Transport{}
			defer transport.CloseIdleConnections()
			var log bytes.Buffer
			g := newGateway(t, &provider.Client{Upstream: "Cloud", Doer: bare{transport}, Dialect: wired{provider.Wire{Upstream: "Cloud"}, upstream.URL}}, &log)
			g.limits.RequestTimeout = 200 * time.Millisecond
			rec := httptest.NewRecorder()
			g.ServeHTTP(rec, post(t.Context(), "alice", c.body))
			if body := rec.Body.String(); rec.Code != c.status || !strings.Contains(body, `"code":"upstream_timeout"`) {
				t.Errorf("got %d: %s", rec.Code, body)
			}
			if !strings.Contains(log.String(), errRequestTimeout.Error()) {
				t.Errorf("the log does not say which limit it was: %s", log.String())
			}
		})
	}
}
