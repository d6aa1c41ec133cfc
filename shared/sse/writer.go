package sse

import (
	"errors"
	"net/http"
)

// Writer writes events to a response and sends each of them at once. It is not
// safe for concurrent use.
type Writer struct {
	w     http.ResponseWriter
	flush *http.ResponseController
	buf   []byte
}

// NewWriter prepares a response for events and returns their writer. The
// status line goes out with the first event.
func NewWriter(w http.ResponseWriter) *Writer {
	h := w.Header()
	h.Set("Content-Type", ContentType)
	h.Set("Cache-Control", "no-cache")
	// Proxies of the nginx family hold back what they are not told to pass on.
	h.Set("X-Accel-Buffering", "no")
	return &Writer{w: w, flush: http.NewResponseController(w)}
}

// Data writes one event of a single data line, which must not contain a line
// break, and flushes it.
func (w *Writer) Data(data []byte) error {
	w.buf = append(w.buf[:0], "data: "...)
	w.buf = append(w.buf, data...)
	w.buf = append(w.buf, "\n\n"...)
	return w.send()
}

// Comment writes a line that every reader of events passes over. It keeps
// intermediaries from closing a connection on which nothing moves.
func (w *Writer) Comment(text string) error {
	w.buf = append(w.buf[:0], ": "...)
	w.buf = append(w.buf, text...)
	w.buf = append(w.buf, "\n\n"...)
	return w.send()
}

func (w *Writer) send() error {
	if _, err := w.w.Write(w.buf); err != nil {
		return err
	}
	// A writer that cannot flush does not buffer either, as on Lambda.
	if err := w.flush.Flush(); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	return nil
}
