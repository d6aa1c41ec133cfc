package gateway

import (
	"bytes"
	"context"
	"errors"
	"io"
	"iter"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/postern-ai/postern/shared/chat"
	"github.com/postern-ai/postern/shared/provider"
)

// events splits what was streamed.
func events(body string) []string {
	var out []string
	for line := range strings.Lines(body) {
		if data, ok := strings.CutPrefix(strings.TrimSpace(line), "data: "); ok {
			out = append(out, data)
		} else if strings.HasPrefix(line, ":") {
			out = append(out, strings.TrimSpace(line))
		}
	}
	return out
}

func streamed(seq iter.Seq2[*chat.Chunk, error]) script {
	return script{stream: func(context.Context, *chat.Request) (iter.Seq2[*chat.Chunk, error], error) { return seq, nil }}
}

const helloStream = `{"model":"large","stream":true,"messages":[{"role":"user","content":"hello ` + canary + `"}]}`

func TestStream(t *testing.T) {
	t.Parallel()
	const a = `{"id":"c","object":"chat.completion.chunk","created":0,"model":"","choices":[{"index":0,"delta":{"content":"a"},"finish_reason":null}]}`
	const u = `{"id":"c","object":"chat.completion.chunk","created":0,"model":"","choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}}`
	wired := delta("a")
	wired.Wire = []byte(`{"as":"it came"}`)
	broken := provider.Interrupted("Amazon Bedrock", errors.New(canary))
	asked := strings.Replace(helloStream, `"stream":true`, `"stream":true,"stream_options":{"include_usage":true}`, 1)
	for _, c := range []struct {
		name, body string
		seq        iter.Seq2[*chat.Chunk, error]
		status     int
		want       []string
	}{
		{"ends with DONE", helloStream, chunks(nil, delta("a")), 200, []string{a, "[DONE]"}},
		{"shows the usage when asked", asked, chunks(nil, delta("a"), usage()), 200, []string{a, u, "[DONE]"}},
		{"keeps the usage to itself when not asked", helloStream, chunks(nil, delta("a"), usage()), 200, []string{a, "[DONE]"}},
		{"passes on a chunk as it came", helloStream, chunks(nil, wired), 200, []string{`{"as":"it came"}`, "[DONE]"}},
		{"ends a broken answer with an error and without DONE", helloStream, chunks(broken, delta("a")), 200, []string{a, string(broken.Body())}},
		{"answers with a status as long as nothing was sent", helloStream, chunks(broken), 502, nil},
		{"survives a panic in mid stream", helloStream, func(yield func(*chat.Chunk, error) bool) {
			yield(delta("a"), nil)
			panic(canary)
		}, 200, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var log bytes.Buffer
			rec := httptest.NewRecorder()
			newGateway(t, streamed(c.seq), &log).ServeHTTP(rec, post(t.Context(), "alice", c.body))
			if rec.Code != c.status {
				t.Errorf("status is %d, want %d", rec.Code, c.status)
			}
			got := events(rec.Body.String())
			if c.want != nil {
				if d := cmp.Diff(c.want, got); d != "" {
					t.Error(d)
				}
			} else if strings.Contains(rec.Body.String(), "[DONE]") || !strings.Contains(rec.Body.String(), `"error"`) {
				t.Errorf("a failed stream looks complete: %s", rec.Body)
			}
			if c.status == 200 && rec.Header().Get("Content-Type") != "text/event-stream" {
				t.Errorf("content type is %q", rec.Header().Get("Content-Type"))
			}
			checkCanary(t, rec.Body.String(), log.String())
		})
	}
}

// leaver is a caller that goes away after some bytes.
type leaver struct {
	*httptest.ResponseRecorder
	left int
}

func (l *leaver) Write(p []byte) (int, error) {
	if l.left--; l.left < 0 {
		return 0, errors.New("broken pipe")
	}
	return l.ResponseRecorder.Write(p)
}

func TestACallerThatLeavesStopsTheStream(t *testing.T) {
	t.Parallel()
	asked, released := 0, false
	g := newGateway(t, streamed(func(yield func(*chat.Chunk, error) bool) {
		defer func() { released = true }()
		for yield(delta("a"), nil) {
			asked++
		}
	}), io.Discard)
	g.ServeHTTP(&leaver{httptest.NewRecorder(), 3}, post(t.Context(), "alice", helloStream))
	if asked != 3 || !released {
		t.Errorf("the upstream was asked for %d more chunks and released: %v", asked, released)
	}
}

// reads is a body that gives one piece per read.
type reads struct{ pieces []string }

func (r *reads) Read(p []byte) (int, error) {
	if len(r.pieces) == 0 {
		return 0, io.EOF
	}
	n := copy(p, r.pieces[0])
	r.pieces = r.pieces[1:]
	return n, nil
}

func (r *reads) Close() error { return nil }

func (r *reads) RoundTrip(*http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: 200, Body: r}, nil
}

// nobody puts no credential on a request.
type nobody struct{}

func (nobody) Authorize(*http.Request) error { return nil }
func (nobody) Rejected(*http.Request)        {}

// writes keeps each write apart.
type writes struct {
	*httptest.ResponseRecorder
	each []string
}

func (w *writes) Write(p []byte) (int, error) {
	w.each = append(w.each, strings.Join(events(string(p)), " "))
	return w.ResponseRecorder.Write(p)
}

func TestWhatArrivesTogetherIsSentTogether(t *testing.T) {
	t.Parallel()
	body := &reads{pieces: []string{"ab", "c", "d"}}
	model := script{stream: func(ctx context.Context, _ *chat.Request) (iter.Seq2[*chat.Chunk, error], error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://upstream.example.com", nil)
		if err != nil {
			return nil, err
		}
		resp, err := (&provider.Sender{HTTP: body, Auth: nobody{}}).Do(req)
		if err != nil {
			return nil, err
		}
		return func(yield func(*chat.Chunk, error) bool) {
			p := make([]byte, 8)
			for {
				n, err := resp.Body.Read(p)
				for _, c := range p[:n] {
					if !yield(&chat.Chunk{Wire: []byte{'"', c, '"'}}, nil) {
						return
					}
				}
				if err != nil {
					return
				}
			}
		}, nil
	}}
	w := &writes{ResponseRecorder: httptest.NewRecorder()}
	newGateway(t, model, io.Discard).ServeHTTP(w, post(t.Context(), "alice", helloStream))
	if d := cmp.Diff([]string{`"a" "b"`, `"c"`, `"d"`, "[DONE]"}, w.each); d != "" {
		t.Error(d)
	}
}
