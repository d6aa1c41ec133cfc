package stream

import (
	"fmt"
	"io"
	"net/http"
	"strings"
)

// head is the start of a reply in the form that Lambda takes: one value per name, cookies apart.
type head struct {
	status  int
	headers map[string]string
	cookies []string
}

// writer is the http.ResponseWriter of one request. It holds back nothing but the head, and that only until the first
// write or flush, so that a handler which panics before sending anything can still be answered with an error.
type writer struct {
	method string
	// begin is called once, before the first byte goes to body.
	begin func(head)
	body  io.Writer

	header http.Header
	// sent is the header as it was at WriteHeader: a handler may go on using its map.
	sent   http.Header
	status int
	begun  bool
}

// Header returns the header that WriteHeader will send.
func (w *writer) Header() http.Header {
	if w.header == nil {
		w.header = http.Header{}
	}
	return w.header
}

// WriteHeader fixes status and header. Informational statuses are ignored, since Lambda has no way to send them, and
// so is every call but the first.
func (w *writer) WriteHeader(status int) {
	if status < 100 || status > 999 {
		// What net/http does with a handler's mistake that no reply can express.
		panic(fmt.Sprintf("invalid WriteHeader code %d", status))
	}
	if status < 200 || w.status != 0 {
		return
	}
	w.status = status
	w.sent = w.Header().Clone()
}

// Write sends p before it returns. It fails once the runtime has stopped reading.
func (w *writer) Write(p []byte) (int, error) {
	w.commit(p)
	switch {
	case w.bodiless():
		return 0, http.ErrBodyNotAllowed
	case w.method == http.MethodHead || len(p) == 0:
		return len(p), nil
	}
	return w.body.Write(p)
}

func (w *writer) bodiless() bool {
	return w.status == http.StatusNoContent || w.status == http.StatusNotModified
}

// Flush sends the head; what has been written is gone already.
func (w *writer) Flush() { w.commit(nil) }

// FlushError is Flush for http.ResponseController.
func (w *writer) FlushError() error {
	w.commit(nil)
	return nil
}

// EnableFullDuplex is for http.ResponseController: the request has been read in full before the handler runs.
func (w *writer) EnableFullDuplex() error { return nil }

// commit hands the head over. first is the beginning of the body, from which net/http too guesses a missing type.
func (w *writer) commit(first []byte) {
	if w.begun {
		return
	}
	w.WriteHeader(http.StatusOK)
	w.begun = true
	_, typed := w.sent["Content-Type"]
	if !typed && len(first) > 0 && !w.bodiless() && w.sent.Get("Content-Encoding") == "" {
		w.sent.Set("Content-Type", http.DetectContentType(first))
	}
	w.begin(newHead(w.status, w.sent))
}

// fail replaces a reply of which nothing has been sent.
func (w *writer) fail(e envelope) {
	w.header, w.sent, w.status = http.Header{"Content-Type": {"application/json"}}, nil, 0
	w.WriteHeader(e.status)
	// If the runtime has stopped reading there is nobody left to tell.
	_, _ = w.Write(e.body)
}

func newHead(status int, header http.Header) head {
	h := head{status: status, headers: make(map[string]string, len(header))}
	oneLine := strings.NewReplacer("\r", " ", "\n", " ")
	for name, values := range header {
		name = http.CanonicalHeaderKey(name)
		switch {
		case name == "Set-Cookie":
			for _, v := range values {
				h.cookies = append(h.cookies, oneLine.Replace(v))
			}
		case connectionHeader(name) || name == "Content-Length" || strings.HasPrefix(name, http.TrailerPrefix):
			// The front door frames the reply itself. A length that a broken stream does not keep would be a lie.
		case len(values) > 0:
			value := oneLine.Replace(strings.Join(values, ", "))
			if before, ok := h.headers[name]; ok {
				value = before + ", " + value
			}
			h.headers[name] = value
		}
	}
	return h
}

// connectionHeader reports whether the canonical name belongs to one connection and may not travel further (RFC 9110,
// section 7.6.1).
func connectionHeader(name string) bool {
	switch name {
	case "Connection", "Keep-Alive", "Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade":
		return true
	}
	return false
}
