package stream_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-lambda-go/lambda/messages"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/postern-ai/postern/functions/aws/stream"
)

func streaming(t *testing.T, e json.RawMessage, h http.HandlerFunc) *events.LambdaFunctionURLStreamingResponse {
	t.Helper()
	v, err := stream.Handler(h, stream.Options{Log: slog.New(slog.DiscardHandler)})(t.Context(), e)
	if err != nil {
		t.Fatal(err)
	}
	reply, ok := v.(*events.LambdaFunctionURLStreamingResponse)
	if !ok {
		t.Fatalf("got a %T, want a stream", v)
	}
	return reply
}

func TestHeadsOfReplies(t *testing.T) {
	t.Parallel()
	type head struct {
		Status  int
		Headers map[string]string
		Cookies []string
		Body    string
	}
	post := encodeEvent(map[string]any{"method": "HEAD"}, "/", "", "u1.lambda-url.eu-central-1.on.aws")
	tests := []struct {
		name  string
		event json.RawMessage
		serve http.HandlerFunc
		want  head
	}{
		{"a handler that does nothing answers 200", nil, func(http.ResponseWriter, *http.Request) {}, head{Status: 200}},
		{"repeated headers are joined and cookies kept apart", nil, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Add("Vary", "a")
			w.Header().Add("Vary", "b")
			w.Header().Add("Set-Cookie", "a=1; Path=/")
			w.Header().Add("Set-Cookie", "b=2, c")
			w.WriteHeader(201)
		}, head{Status: 201, Headers: map[string]string{"Vary": "a, b"}, Cookies: []string{"a=1; Path=/", "b=2, c"}}},
		{"headers set after WriteHeader are not sent", nil, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X-Before", "1")
			w.WriteHeader(202)
			w.Header().Set("X-After", "1")
			w.Header().Del("X-Before")
			w.WriteHeader(500)
		}, head{Status: 202, Headers: map[string]string{"X-Before": "1"}}},
		{"informational statuses are ignored", nil, func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusEarlyHints)
			w.WriteHeader(http.StatusSwitchingProtocols)
			w.WriteHeader(203)
		}, head{Status: 203}},
		{"a missing type is guessed from the first write", nil, func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(w, "<html>")
		}, head{Status: 200, Headers: map[string]string{"Content-Type": "text/html; charset=utf-8"}, Body: "<html>"}},
		{"a type that the handler suppressed is not guessed", nil, func(w http.ResponseWriter, _ *http.Request) {
			w.Header()["Content-Type"] = nil
			fmt.Fprint(w, "<html>")
		}, head{Status: 200, Body: "<html>"}},
		{"framing, connection headers and trailers stay behind", nil, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "3")
			w.Header().Set("Connection", "close")
			w.Header().Set("Transfer-Encoding", "chunked")
			w.Header().Set("Trailer", "X-T")
			w.Header().Set(http.TrailerPrefix+"X-T", "1")
			w.Header().Set("Content-Type", "text/plain")
			fmt.Fprint(w, "abc")
		}, head{Status: 200, Headers: map[string]string{"Content-Type": "text/plain"}, Body: "abc"}},
		{"a line break in a header becomes a space", nil, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X-A", "1\r\nX-B: 2")
			w.WriteHeader(204)
		}, head{Status: 204, Headers: map[string]string{"X-A": "1  X-B: 2"}}},
		{"a 204 has no body and says so to the handler", nil, func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusNoContent)
			if _, err := io.WriteString(w, "x"); !errors.Is(err, http.ErrBodyNotAllowed) {
				panic("no error")
			}
		}, head{Status: 204}},
		{"an answer to HEAD has no body", post, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/plain")
			if n, err := io.WriteString(w, "abc"); n != 3 || err != nil {
				panic("not discarded")
			}
		}, head{Status: 200, Headers: map[string]string{"Content-Type": "text/plain"}}},
		{"an impossible status is a failed handler", nil, func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(99)
		}, head{Status: 500, Headers: map[string]string{"Content-Type": "application/json"},
			Body: `{"error":{"message":"the function failed on this request: its log says why","type":"server_error","param":null,"code":null}}`}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			e := tt.event
			if e == nil {
				e = event("/", "")
			}
			reply := streaming(t, e, tt.serve)
			body, err := io.ReadAll(reply.Body)
			if err != nil {
				t.Fatal(err)
			}
			got := head{reply.StatusCode, reply.Headers, reply.Cookies, string(body)}
			if diff := cmp.Diff(tt.want, got, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("streamed (-want +got):\n%s", diff)
			}

			v, err := stream.Handler(tt.serve, stream.Options{Mode: stream.Buffered, Log: slog.New(slog.DiscardHandler)})(t.Context(), e)
			if err != nil {
				t.Fatal(err)
			}
			var doc bufferedReply
			if err := json.Unmarshal(v.(json.RawMessage), &doc); err != nil {
				t.Fatal(err)
			}
			got = head{doc.StatusCode, doc.Headers, doc.Cookies, doc.Body}
			if diff := cmp.Diff(tt.want, got, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("buffered (-want +got):\n%s", diff)
			}
		})
	}
}

func TestAFlushSendsTheHeadBeforeAnyByte(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	// streaming returns only when the head is there, and the handler ends only afterwards.
	reply := streaming(t, event("/", ""), func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusAccepted)
		c := http.NewResponseController(w)
		if err := errors.Join(c.Flush(), c.EnableFullDuplex()); err != nil {
			t.Errorf("response controller: %v", err)
		}
		w.(http.Flusher).Flush()
		<-release
	})
	if reply.StatusCode != http.StatusAccepted {
		t.Errorf("status %d", reply.StatusCode)
	}
	close(release)
	if body, err := io.ReadAll(reply.Body); len(body) > 0 || err != nil {
		t.Errorf("body %q, error %v", body, err)
	}
}

func TestWritesFailWhenTheRuntimeStopsReading(t *testing.T) {
	t.Parallel()
	ended := make(chan error, 1)
	reply := streaming(t, event("/", ""), func(w http.ResponseWriter, _ *http.Request) {
		for {
			if _, err := io.WriteString(w, "x"); err != nil {
				ended <- err
				return
			}
		}
	})
	if _, err := io.ReadFull(reply, make([]byte, 8)); err != nil {
		t.Fatal(err)
	}
	if err := reply.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("the write failed with %v, want %v", err, io.ErrClosedPipe)
	}
}

func TestAHandlerThatLeavesItsGoroutineIsAFunctionError(t *testing.T) {
	t.Parallel()
	_, err := stream.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		runtime.Goexit()
	}), stream.Options{})(t.Context(), event("/", ""))
	if e, ok := errors.AsType[messages.InvokeResponse_Error](err); !ok || e.Type != "HandlerExited" {
		t.Errorf("got %v", err)
	}
}

func TestBodiesOfBufferedReplies(t *testing.T) {
	t.Parallel()
	const exact = len(`{"statusCode":200,"body":"xxxxxxxxxxxxxxxxxxxx","isBase64Encoded":false}`)
	tests := []struct {
		name   string
		limit  int
		writes []string
		want   bufferedReply
	}{
		{"text stays text", 0, []string{"a\"b", "\n€"}, bufferedReply{StatusCode: 200, Body: "a\"b\n€"}},
		{"bytes that are no text become base64", 0, []string{"\x00\xff"}, bufferedReply{StatusCode: 200, Body: "AP8=", IsBase64Encoded: true}},
		{"text that escapes badly becomes base64", 0, []string{strings.Repeat("\x01", 6)}, bufferedReply{StatusCode: 200, Body: "AQEBAQEB", IsBase64Encoded: true}},
		{"a document of exactly the limit passes", exact, []string{strings.Repeat("x", 20)}, bufferedReply{StatusCode: 200, Body: strings.Repeat("x", 20)}},
		{"one byte more does not", exact - 1, []string{strings.Repeat("x", 20)}, bufferedReply{StatusCode: 502}},
		{"a body over the limit does not", exact - 1, []string{strings.Repeat("x", 60), strings.Repeat("x", 60)}, bufferedReply{StatusCode: 502}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			serve := func(w http.ResponseWriter, _ *http.Request) {
				w.Header()["Content-Type"] = nil
				for _, s := range tt.writes {
					_, _ = io.WriteString(w, s)
				}
			}
			o := stream.Options{Mode: stream.Buffered, MaxResponseBytes: tt.limit}
			v, err := stream.Handler(http.HandlerFunc(serve), o)(t.Context(), event("/", ""))
			if err != nil {
				t.Fatal(err)
			}
			var got bufferedReply
			if err := json.Unmarshal(v.(json.RawMessage), &got); err != nil {
				t.Fatal(err)
			}
			if tt.want.StatusCode == http.StatusBadGateway {
				if !strings.Contains(got.Body, `"code":"response_too_large"`) || !strings.Contains(got.Body, fmt.Sprint(tt.limit)) {
					t.Errorf("body %s, want the limit and the remedy", got.Body)
				}
				got.Body, got.Headers = "", nil
			}
			if diff := cmp.Diff(tt.want, got, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestAWriteBeyondTheLimitTellsTheHandlerToStop(t *testing.T) {
	t.Parallel()
	stopped := false
	v, err := stream.Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		for !stopped {
			_, err := w.Write(make([]byte, 1<<10))
			stopped = err != nil
		}
		// A proxy gives up like this when it cannot write; the caller still gets the reason.
		panic(http.ErrAbortHandler)
	}), stream.Options{Mode: stream.Buffered, MaxResponseBytes: 4 << 10})(t.Context(), event("/", ""))
	if err != nil || !strings.Contains(string(v.(json.RawMessage)), "response_too_large") {
		t.Errorf("got %s, error %v", v, err)
	}
}

// TestAReplyThatIsTooLargeIsCompressedForThoseWhoReadThat has a stream of events come to three times what the front takes.
func TestAReplyThatIsTooLargeIsCompressedForThoseWhoReadThat(t *testing.T) {
	t.Parallel()
	const limit = 64 << 10
	var events strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&events, "data: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"token %d\"}}]}\n\n", i)
	}
	noise := make([]byte, 2*limit)
	for i := range noise {
		noise[i] = byte(rand.Uint32())
	}
	for _, test := range []struct {
		name, accepts, encoding string
		size                    int // of each write
		body                    string
		compressed, ok          bool
	}{
		{name: "in events", accepts: "gzip, deflate, br", size: 100, body: events.String(), compressed: true, ok: true},
		{name: "in one piece", accepts: "br;q=1.0, gzip;q=0.5", size: len(events.String()), body: events.String(), compressed: true, ok: true},
		{name: "that fits but for its escapes", accepts: "gzip", size: 100, body: strings.Repeat(`"`, limit-100), compressed: true, ok: true},
		{name: "that fits", accepts: "gzip", size: 100, body: events.String()[:limit/2], ok: true},
		{name: "for a client that does not say so", accepts: "", size: 100, body: events.String()},
		{name: "for a client that refuses it", accepts: "gzip;q=0", size: 100, body: events.String()},
		{name: "for a client that reads something else", accepts: "br, zstd", size: 100, body: events.String()},
		{name: "that is encoded already", accepts: "gzip", encoding: "br", size: 100, body: events.String()},
		{name: "that does not become small enough", accepts: "gzip", size: 1000, body: string(noise)},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			serve := func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "text/event-stream")
				w.Header().Set("Vary", "Origin")
				if test.encoding != "" {
					w.Header().Set("Content-Encoding", test.encoding)
				}
				for part := range slices.Chunk([]byte(test.body), test.size) {
					if _, err := w.Write(part); err != nil {
						return
					}
				}
			}
			in := event("/", "")
			if test.accepts != "" {
				in = append(json.RawMessage(`{"headers":{"accept-encoding":"`+test.accepts+`"},`), in[1:]...)
			}
			v, err := stream.Handler(http.HandlerFunc(serve), stream.Options{Mode: stream.Buffered, MaxResponseBytes: limit})(t.Context(), in)
			if err != nil {
				t.Fatal(err)
			}
			doc := v.(json.RawMessage)
			var got bufferedReply
			if err := json.Unmarshal(doc, &got); err != nil || len(doc) > limit {
				t.Fatalf("%d bytes, error %v", len(doc), err)
			}
			if !test.ok {
				if got.StatusCode != http.StatusBadGateway || !strings.Contains(got.Body, "response_too_large") || got.Headers["Content-Encoding"] != "" {
					t.Errorf("got %d %.200s", got.StatusCode, got.Body)
				}
				return
			}
			body := []byte(got.Body)
			if got.IsBase64Encoded {
				if body, err = base64.StdEncoding.DecodeString(got.Body); err != nil {
					t.Fatal(err)
				}
			}
			if compressed := got.Headers["Content-Encoding"] == "gzip" && got.Headers["Vary"] == "Origin, Accept-Encoding"; compressed != test.compressed {
				t.Fatalf("the headers are %v", got.Headers)
			}
			if test.compressed {
				unzipped, err := gzip.NewReader(bytes.NewReader(body))
				if err != nil {
					t.Fatal(err)
				}
				if body, err = io.ReadAll(unzipped); err != nil {
					t.Fatal(err)
				}
			}
			if got.StatusCode != 200 || string(body) != test.body {
				t.Errorf("got %d with %d bytes, want %d", got.StatusCode, len(body), len(test.body))
			}
		})
	}
}

// TestAReplyThatStaysTooLargeIsNotKept has a whole answer in one write, as it comes without stream. It is not parallel: it counts what all allocate.
func TestAReplyThatStaysTooLargeIsNotKept(t *testing.T) {
	const limit, size = 64 << 10, 16 << 20
	noise := make([]byte, size)
	for i := range noise {
		noise[i] = byte(rand.Uint32())
	}
	serve := func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(noise) }
	in := append(json.RawMessage(`{"headers":{"accept-encoding":"gzip"},`), event("/", "")[1:]...)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	v, err := stream.Handler(http.HandlerFunc(serve), stream.Options{Mode: stream.Buffered, MaxResponseBytes: limit})(t.Context(), in)
	runtime.ReadMemStats(&after)
	if err != nil || !strings.Contains(string(v.(json.RawMessage)), "response_too_large") {
		t.Fatalf("got %.200s, error %v", v, err)
	}
	if took := after.TotalAlloc - before.TotalAlloc; took > size/2 {
		t.Errorf("%d bytes were allocated for a reply of %d that is dropped after %d", took, size, limit)
	}
}

func TestAPanicIsReportedWithoutItsValue(t *testing.T) {
	t.Parallel()
	type secret string
	var log strings.Builder
	o := stream.Options{Mode: stream.Buffered, Log: slog.New(slog.NewJSONHandler(&log, nil))}
	_, err := stream.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		panic(secret("CANARY"))
	}), o)(t.Context(), event("/", ""))
	if err != nil {
		t.Fatal(err)
	}
	var line struct {
		Msg, Stack string
		PanicType  string `json:"panic_type"`
	}
	if err := json.Unmarshal([]byte(log.String()), &line); err != nil {
		t.Fatal(err)
	}
	if line.PanicType != "stream_test.secret" || !strings.Contains(line.Stack, "TestAPanicIsReported") {
		t.Errorf("log line %+v does not show where and what", line)
	}
	if strings.Contains(log.String(), "CANARY") {
		t.Errorf("the log shows the panic value: %s", log.String())
	}
}

func TestTheRequestLivesInTheInvocationsContext(t *testing.T) {
	t.Parallel()
	type key struct{}
	ctx := context.WithValue(t.Context(), key{}, "invocation")
	_, err := stream.Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.Context().Value(key{}) != "invocation" {
			t.Error("the request has another context")
		}
		if id, ok := stream.RequestID(r.Context()); ok {
			t.Errorf("request ID %q outside Lambda", id)
		}
	}), stream.Options{Mode: stream.Buffered})(ctx, event("/", ""))
	if err != nil {
		t.Error(err)
	}
}

func TestModesHaveTheNamesThatLambdaGivesThem(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]stream.Mode{"": stream.Streaming, "RESPONSE_STREAM": stream.Streaming, "BUFFERED": stream.Buffered} {
		if got, err := stream.ParseMode(name); got != want || err != nil {
			t.Errorf("%q: got %v, %v", name, got, err)
		}
	}
	if _, err := stream.ParseMode("buffered"); err == nil {
		t.Error("another name was accepted")
	}
}
