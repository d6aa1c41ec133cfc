package sse

import (
	"errors"
	"net/http"
)

// maxHeld is how much a [Writer] gathers before it sends by itself, in bytes.
const maxHeld = 32 << 10

// Writer writes events to a response. It gathers them until Flush is called,
// so that events which came together can leave together. It is not safe for
// concurrent use.
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

// Data adds an event of a single data line, which must not contain a line
// break.
func (w *Writer) Data(data []byte) error {
	w.buf = append(w.buf, "data: "...)
	w.buf = append(w.buf, data...)
	w.buf = append(w.buf, "\n\n"...)
	if len(w.buf) < maxHeld {
		return nil
	}
	return w.Flush()
}

// Comment adds a line that every reader of events passes over. It keeps
// intermediaries from closing a connection on which nothing moves.
func (w *Writer) Comment(text string) {
	w.buf = append(w.buf, ": "...)
	w.buf = append(w.buf, text...)
	w.buf = append(w.buf, "\n\n"...)
}

// Flush sends what has been added since the last time, at once and as one
// write. Without anything to send it does nothing.
func (w *Writer) Flush() error {
	if len(w.buf) == 0 {
		return nil
	}
	_, err := w.w.Write(w.buf)
	w.buf = w.buf[:0]
	if err != nil {
		return err
	}
	// A writer that cannot flush does not buffer either, as on Lambda.
	if err := w.flush.Flush(); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	return nil
}
