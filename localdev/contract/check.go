package contract

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"mime"
	"net"
	"net/http"
)

// maxBody bounds what is held of one request or one unstreamed reply, in bytes.
const maxBody = 32 << 20

// Check returns a handler that serves as next does and reports every way in
// which the requests and replies depart from the description. Streamed replies
// are checked message by message as they are written and are not held back.
//
// A reply that the handler breaks off, by hijacking the connection or by
// panicking, is checked as far as it went. Report may be called concurrently,
// also while a reply is being written.
func Check(d *Description, next http.Handler, report func(...Problem)) http.Handler {
	tell := func(problems []Problem) {
		if len(problems) > 0 {
			report(problems...)
		}
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(io.LimitReader(r.Body, maxBody+1))
		rest := r.Body
		r.Body = struct {
			io.Reader
			io.Closer
		}{io.MultiReader(bytes.NewReader(body), failed(err), rest), rest}

		in := Request{Method: r.Method, Path: r.URL.EscapedPath(), Query: r.URL.Query(), Header: r.Header.Clone(), Body: body}
		exchange, problems := d.Request(in)
		switch {
		case err != nil:
			problems = nil // the client went away; the handler sees the same error
		case len(body) > maxBody:
			problems = []Problem{{Operation: in.Method + " " + in.Path, Path: "request", Text: "is too large to be checked"}}
		}
		tell(problems)

		watched := &watchedWriter{ResponseWriter: w, exchange: exchange, tell: tell, client: r.Context()}
		next.ServeHTTP(watched, r)
		watched.end()
	})
}

// failed returns a reader that fails with an error, or an empty one for none.
func failed(err error) io.Reader {
	if err == nil {
		return bytes.NewReader(nil)
	}
	return errorReader{err}
}

type errorReader struct{ err error }

func (r errorReader) Read([]byte) (int, error) { return 0, r.err }

// A watchedWriter passes a reply on and checks it on the way.
type watchedWriter struct {
	http.ResponseWriter
	exchange *Exchange
	tell     func([]Problem)
	client   context.Context // over when the client has left

	status   int
	header   http.Header
	body     bytes.Buffer
	stream   splitter // nil for an unstreamed reply
	hijacked bool
}

// Unwrap lets http.ResponseController reach the deadlines of the real writer.
func (w *watchedWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// Flush makes the writer an http.Flusher, as the real one is.
func (w *watchedWriter) Flush() {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	// Nothing is held back here, so a writer that cannot flush loses nothing.
	_ = http.NewResponseController(w.ResponseWriter).Flush()
}

// Hijack hands the connection over. What is written to it is not checked.
func (w *watchedWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	w.hijacked = true
	return http.NewResponseController(w.ResponseWriter).Hijack()
}

// WriteHeader notes the head of the reply, which decides how the body is read.
func (w *watchedWriter) WriteHeader(status int) {
	w.ResponseWriter.WriteHeader(status)
	if w.status != 0 || status < 200 {
		return
	}
	w.status, w.header = status, w.Header().Clone()
	media, _, _ := mime.ParseMediaType(w.header.Get("Content-Type"))
	each := func(e Event) { w.tell(w.exchange.Event(e)) }
	switch media {
	case "text/event-stream":
		w.stream = &sseSplitter{emit: each}
	case "application/vnd.amazon.eventstream":
		w.stream = &frameSplitter{emit: each}
	}
}

// Write passes a part of the body on.
func (w *watchedWriter) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	switch {
	case w.stream != nil:
		w.streamProblem(w.stream.write(p))
	case w.body.Len() <= maxBody:
		w.body.Write(p)
	}
	return w.ResponseWriter.Write(p)
}

func (w *watchedWriter) streamProblem(err error) {
	if err != nil && w.exchange.operation != nil {
		w.tell([]Problem{{Operation: w.exchange.name, Path: "event", Text: err.Error()}})
	}
}

// end checks what can only be checked once the reply is complete.
func (w *watchedWriter) end() {
	switch {
	case w.hijacked:
	case w.status == 0 && w.client.Err() != nil:
		// The client went away before there was a reply to check.
	case w.stream != nil:
		w.streamProblem(w.stream.end())
	case w.body.Len() > maxBody:
		w.tell([]Problem{{Operation: w.exchange.name, Path: "response", Text: "is too large to be checked"}})
	default:
		if w.status == 0 {
			w.status, w.header = http.StatusOK, w.Header()
		}
		w.tell(w.exchange.Response(Response{Status: w.status, Header: w.header, Body: w.body.Bytes()}))
	}
}
