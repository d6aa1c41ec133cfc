package provider_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/postern-ai/postern/shared/chat"
	"github.com/postern-ai/postern/shared/provider"
	"github.com/postern-ai/postern/shared/sse"
)

// dialect is scripted: an answer is the text of the body, an event the text of
// one chunk; "bad" cannot be understood, "fault" is an error of the upstream,
// "wire" is passed on as it is.
type dialect struct {
	refuse error
	header http.Header
}

var errBad = errors.New("bad")

func upstreamFault() *chat.Error {
	return &chat.Error{Status: 418, Type: chat.TypeInvalidRequest, Message: "teapot"}
}

func (d *dialect) Encode(req *chat.Request) (*provider.Call, error) {
	if d.refuse != nil {
		return nil, d.refuse
	}
	return &provider.Call{URL: "http://upstream.example/path", Header: d.header, Body: []byte("body for " + req.Model)}, nil
}

func (d *dialect) Decode(_ *chat.Request, body []byte) (*chat.Response, error) {
	text := string(body)
	switch text {
	case "bad":
		return nil, errBad
	case "fault":
		return nil, fmt.Errorf("wrapped: %w", upstreamFault())
	case "wire":
		return &chat.Response{Wire: body}, nil
	}
	return &chat.Response{Choices: []chat.Choice{{Message: chat.Answer{Content: &text}}}}, nil
}

func (d *dialect) Decoder(*chat.Request) provider.Decoder { return &decoder{} }

func (d *dialect) Fault(status int, _ http.Header, body []byte) *chat.Error {
	e := provider.Fault(status, "Upstream", string(body))
	if string(body) == "wait" {
		e.RetryAfter = time.Hour
	}
	return e
}

type decoder struct{ ended, done bool }

func (d *decoder) Event(e sse.Event) ([]*chat.Chunk, error) {
	text := string(e.Data)
	chunk := &chat.Chunk{Choices: []chat.ChunkChoice{{Delta: chat.Delta{Content: &text}}}}
	switch text {
	case "bad":
		return []*chat.Chunk{chunk}, errBad
	case "fault":
		return nil, fmt.Errorf("wrapped: %w", upstreamFault())
	case "wire":
		chunk.Wire = e.Data
	case "none":
		return nil, nil
	case "two":
		return []*chat.Chunk{chunk, chunk}, nil
	case "end":
		d.ended = true
	case "done":
		d.done = true
	}
	return []*chat.Chunk{chunk}, nil
}

func (d *decoder) Done() bool { return d.done }

func (d *decoder) End() ([]*chat.Chunk, error) {
	last := "last"
	chunk := &chat.Chunk{Choices: []chat.ChunkChoice{{Delta: chat.Delta{Content: &last}}}}
	if !d.ended {
		return nil, provider.ErrIncomplete
	}
	return []*chat.Chunk{chunk}, nil
}

// answers is a Doer that answers everything alike and keeps the request.
type answers struct {
	status int
	header http.Header
	body   io.Reader
	length int64
	err    error

	got    *http.Request
	sent   string
	closed *closed
}

func (a *answers) Do(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	a.got, a.sent = r, string(body)
	if a.err != nil {
		return nil, a.err
	}
	if a.header == nil {
		a.header = http.Header{}
	}
	a.closed = &closed{Reader: a.body}
	return &http.Response{StatusCode: a.status, Header: a.header, Body: a.closed, ContentLength: a.length}, nil
}

func client(d *dialect, a *answers) *provider.Client {
	return &provider.Client{Upstream: "Upstream", Dialect: d, Doer: a}
}

func request() *chat.Request {
	return &chat.Request{Model: "m", Messages: []chat.Message{{Role: chat.RoleUser, Content: chat.Text("a")}}}
}

// told is what a caller is told.
func told(err error) string {
	e, ok := errors.AsType[*chat.Error](err)
	if !ok {
		return fmt.Sprintf("not a chat.Error: %v", err)
	}
	return fmt.Sprintf("%d %s %s %v", e.Status, e.Type, e.Code, e.RetryAfter)
}

func TestClientChat(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	for _, c := range []struct {
		name string
		d    dialect
		a    answers
		want string // the answer, or what the caller is told
	}{
		{"an answer", dialect{}, answers{status: 200, body: strings.NewReader("hello"), length: 5}, "hello"},
		{"an answer of unknown length", dialect{}, answers{status: 200, body: strings.NewReader("hello"), length: -1}, "hello"},
		{"an answer that comes in pieces", dialect{}, answers{status: 200, body: iotest.OneByteReader(strings.NewReader("hello")), length: -1}, "hello"},
		{"a request that cannot be carried", dialect{refuse: upstreamFault()}, answers{}, "418 invalid_request_error  0s"},
		{"an answer that makes no sense", dialect{}, answers{status: 200, body: strings.NewReader("bad")}, "502 server_error upstream_invalid_response 0s"},
		{"an answer that is a fault", dialect{}, answers{status: 200, body: strings.NewReader("fault")}, "418 invalid_request_error  0s"},
		{"an answer that breaks off", dialect{}, answers{status: 200, body: iotest.ErrReader(broken)}, "502 server_error upstream_stream_interrupted 0s"},
		{"an answer that says it is too large", dialect{}, answers{status: 200, body: strings.NewReader(""), length: 65 << 20}, "502 server_error upstream_invalid_response 0s"},
		{"an answer that is too large", dialect{}, answers{status: 200, body: io.LimitReader(endless{}, 65<<20), length: -1}, "502 server_error upstream_invalid_response 0s"},
		{"no connection", dialect{}, answers{err: broken}, "502 server_error upstream_unavailable 0s"},
		{"a status other than 200 that is no error", dialect{}, answers{status: 202, body: strings.NewReader("{}")}, "502 server_error upstream_error 0s"},
		{"a fault", dialect{}, answers{status: 400, body: strings.NewReader("no")}, "400 invalid_request_error  0s"},
		{"a fault whose body breaks off", dialect{}, answers{status: 429, body: iotest.ErrReader(broken)}, "429 rate_limit_error rate_limit_exceeded 0s"},
		{"a fault with a time to wait", dialect{}, answers{status: 429, header: http.Header{"Retry-After": {"3"}}, body: strings.NewReader("")}, "429 rate_limit_error rate_limit_exceeded 3s"},
		{"a fault whose body names the time", dialect{}, answers{status: 429, header: http.Header{"Retry-After": {"3"}}, body: strings.NewReader("wait")}, "429 rate_limit_error rate_limit_exceeded 1h0m0s"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			resp, err := client(&c.d, &c.a).Chat(t.Context(), request())
			got := told(err)
			if err == nil {
				got = *resp.Choices[0].Message.Content
			}
			if got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
			if c.a.closed != nil && !c.a.closed.closed {
				t.Error("the answer was not closed")
			}
		})
	}
}

// endless is a body without end.
type endless struct{}

func (endless) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestClientSends(t *testing.T) {
	t.Parallel()
	for stream, accept := range map[bool]string{false: "application/json", true: "text/event-stream"} {
		a := &answers{status: 500, body: strings.NewReader("")}
		c := client(&dialect{header: http.Header{"X-Own": {"1"}}}, a)
		req := request()
		var err error
		if req.Stream = stream; stream {
			_, err = c.Stream(t.Context(), req)
		} else {
			_, err = c.Chat(t.Context(), req)
		}
		if err == nil {
			t.Fatal("no error")
		}
		want := http.Header{"Accept": {accept}, "Content-Type": {"application/json"}, "X-Own": {"1"}}
		if d := cmp.Diff(want, a.got.Header); d != "" {
			t.Error(d)
		}
		if a.got.Method != http.MethodPost || a.got.URL.String() != "http://upstream.example/path" || a.sent != "body for m" || a.got.GetBody == nil {
			t.Errorf("sent %s %s %q", a.got.Method, a.got.URL, a.sent)
		}
	}
}

func TestClientStream(t *testing.T) {
	t.Parallel()
	events := func(names ...string) io.Reader {
		return strings.NewReader("data: " + strings.Join(names, "\n\ndata: ") + "\n\n")
	}
	broken := errors.New("broken")
	for _, c := range []struct {
		name string
		kind string
		body io.Reader
		want []string
	}{
		{"a whole stream", "text/event-stream; charset=utf-8", events("a", "b", "end"), []string{"a", "b", "end", "last"}},
		{"an event that gives nothing, and one that gives two", "text/event-stream", events("none", "two", "end"), []string{"two", "two", "end", "last"}},
		{"what comes behind a complete answer", "text/event-stream", events("a", "done", "b"), []string{"a", "done"}},
		{"a connection that breaks behind a complete answer", "text/event-stream", io.MultiReader(events("a", "done"), iotest.ErrReader(broken)), []string{"a", "done"}},
		{"a stream that ends too early", "text/event-stream", events("a"), []string{"a", "502 server_error upstream_stream_interrupted 0s"}},
		{"an event that makes no sense, after its chunk", "text/event-stream", events("a", "bad", "end"), []string{"a", "bad", "502 server_error upstream_stream_interrupted 0s"}},
		{"a fault within the stream", "text/event-stream", events("a", "fault", "end"), []string{"a", "418 invalid_request_error  0s"}},
		{"a connection that breaks", "text/event-stream", io.MultiReader(events("a"), iotest.ErrReader(broken)), []string{"a", "502 server_error upstream_stream_interrupted 0s"}},
		{"time that runs out", "text/event-stream", io.MultiReader(events("a"), iotest.ErrReader(context.DeadlineExceeded)), []string{"a", "504 server_error upstream_timeout 0s"}},
		{"a caller that goes away", "text/event-stream", io.MultiReader(events("a"), iotest.ErrReader(context.Canceled)), []string{"a", "499 server_error client_closed_request 0s"}},
		{"an event that is too large", "text/event-stream", io.MultiReader(events("a"), strings.NewReader("data: "), io.LimitReader(endless{}, 40<<20)), []string{"a", "502 server_error upstream_stream_interrupted 0s"}},
		{"another content type", "application/json", events("a", "end"), []string{"502 server_error upstream_invalid_response 0s"}},
		{"a fault in the place of a stream", "application/json; charset=utf-8", strings.NewReader("fault"), []string{"418 invalid_request_error  0s"}},
		{"no content type", "", events("a", "end"), []string{"502 server_error upstream_invalid_response 0s"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			a := &answers{status: 200, header: http.Header{"Content-Type": {c.kind}}, body: c.body}
			req := request()
			req.Stream = true
			var got []string
			stream, err := client(&dialect{}, a).Stream(t.Context(), req)
			if err != nil {
				got = append(got, told(err))
				stream = func(func(*chat.Chunk, error) bool) {}
			}
			for chunk, err := range stream {
				if err != nil {
					got = append(got, told(err))
					continue
				}
				got = append(got, *chunk.Choices[0].Delta.Content)
			}
			if d := cmp.Diff(c.want, got); d != "" {
				t.Error(d)
			}
			if !a.closed.closed {
				t.Error("the stream was not closed")
			}
		})
	}
}

func TestClientStreamLetsGoWhenItsConsumerStops(t *testing.T) {
	t.Parallel()
	// What comes behind the last event wanted must not even be read.
	for stopAt, events := range map[string]string{"a": "data: a\n\n", "last": "data: end\n\n"} {
		a := &answers{status: 200, header: http.Header{"Content-Type": {"text/event-stream"}}, body: strings.NewReader(events)}
		if stopAt == "a" {
			a.body = io.MultiReader(a.body, readPanics{})
		}
		req := request()
		req.Stream = true
		stream, err := client(&dialect{}, a).Stream(t.Context(), req)
		if err != nil {
			t.Fatal(err)
		}
		for chunk, err := range stream {
			if err != nil {
				t.Fatal(err)
			}
			if *chunk.Choices[0].Delta.Content == stopAt {
				break
			}
		}
		if !a.closed.closed {
			t.Error("the stream was not closed")
		}
	}
}

// TestClientStreamDoesNotWaitForAConnectionThatStaysOpen has a server that keeps
// the connection after a complete answer.
func TestClientStreamDoesNotWaitForAConnectionThatStaysOpen(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		a := &answers{status: 200, header: http.Header{"Content-Type": {"text/event-stream"}}}
		a.body = io.MultiReader(strings.NewReader("data: a\n\ndata: done\n\n"), readUntil{func() context.Context { return a.got.Context() }})
		req := request()
		req.Stream = true
		stream, err := client(&dialect{}, a).Stream(ctx, req)
		if err != nil {
			t.Fatal(err)
		}
		for _, err := range stream {
			if err != nil {
				t.Error(err)
			}
		}
		if ctx.Err() != nil || !a.closed.closed {
			t.Errorf("the stream ended with %v, closed is %v", ctx.Err(), a.closed.closed)
		}
	})
}

// readUntil blocks until the request is given up.
type readUntil struct{ of func() context.Context }

func (r readUntil) Read([]byte) (int, error) {
	<-r.of().Done()
	return 0, r.of().Err()
}

type readPanics struct{}

func (readPanics) Read([]byte) (int, error) { panic("read on") }

// What the upstream does not say is filled in, alike for all of an answer.
func TestClientStampsAnswers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now().Unix()
		resp, err := client(&dialect{}, &answers{status: 200, body: strings.NewReader("hello")}).Chat(t.Context(), request())
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(resp.ID, "chatcmpl-") || resp.Object != chat.ObjectCompletion || resp.Created != begin || resp.Model != "m" {
			t.Errorf("got %+v", resp)
		}
		resp, err = client(&dialect{}, &answers{status: 200, body: strings.NewReader("wire")}).Chat(t.Context(), request())
		if err != nil || resp.ID != "" || string(resp.Wire) != "wire" {
			t.Errorf("bytes that go out as they are were stamped: %+v, %v", resp, err)
		}
		slow := &slowReader{parts: []string{"data: a\n\n", "data: wire\n\n", "data: end\n\n"}}
		req := request()
		req.Stream = true
		stream, err := client(&dialect{}, &answers{status: 200, header: http.Header{"Content-Type": {"text/event-stream"}}, body: slow}).Stream(t.Context(), req)
		if err != nil {
			t.Fatal(err)
		}
		var ids []string
		for chunk, err := range stream {
			if err != nil {
				t.Fatal(err)
			}
			if chunk.Wire != nil {
				if chunk.ID != "" {
					t.Error("bytes that go out as they are were stamped")
				}
				continue
			}
			if chunk.Object != chat.ObjectChunk || chunk.Created != begin+10 || chunk.Model != "m" {
				t.Errorf("got %+v", chunk)
			}
			ids = append(ids, chunk.ID)
		}
		if len(ids) != 3 || ids[0] != ids[1] || ids[1] != ids[2] || ids[0] == resp.ID {
			t.Errorf("ids are %v", ids)
		}
	})
}

// slowReader gives a part of a stream every ten seconds.
type slowReader struct{ parts []string }

func (s *slowReader) Read(p []byte) (int, error) {
	if len(s.parts) == 0 {
		return 0, io.EOF
	}
	time.Sleep(10 * time.Second)
	n := copy(p, s.parts[0])
	s.parts = s.parts[1:]
	return n, nil
}
