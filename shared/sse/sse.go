// Package sse reads and writes server-sent events, the text/event-stream
// format of the HTML standard, section 9.2.
//
// It knows lines and events and nothing of what they carry.
package sse

import (
	"bytes"
	"errors"
	"io"
)

// ContentType is the media type of an event stream.
const ContentType = "text/event-stream"

// DefaultMaxEvent bounds one event where a [Reader] is given no limit: 16 MiB,
// since upstreams send whole images in one line.
const DefaultMaxEvent = 16 << 20

// ErrTooLarge is returned for an event over the reader's limit.
var ErrTooLarge = errors.New("sse: event is larger than the limit")

// Event is one dispatched event. Data is valid until the next call of Next.
type Event struct {
	Name string // the event field, empty for the default type
	Data []byte // the data lines, joined by line feeds
}

// Reader reads events. It takes line feeds, carriage returns and both
// together, a byte order mark, comments, and any line length up to its limit.
// It is not safe for concurrent use.
type Reader struct {
	src        io.Reader
	max        int
	buf        []byte
	start, end int
	skipLF     bool // the last line ended in CR: a LF right behind it belongs to it
	begun      bool
	err        error
	joined     []byte
}

// NewReader returns a reader of src. No event may be larger than maxEvent
// bytes; 0 means [DefaultMaxEvent].
func NewReader(src io.Reader, maxEvent int) *Reader {
	if maxEvent <= 0 {
		maxEvent = DefaultMaxEvent
	}
	return &Reader{src: src, max: maxEvent, buf: make([]byte, 4096)}
}

// Next returns the next event that has data. At the end of the stream it
// returns io.EOF; whatever error the source had comes back as it is. An event
// whose closing blank line is missing because the stream ended is returned
// too: some servers leave the last one out, and whether the stream is complete
// is for the reader of its contents to say.
func (r *Reader) Next() (Event, error) {
	// A single data line, by far the usual case, is handed out in place. For
	// that the bytes of an event stay in the buffer until it is complete:
	// positions are kept relative to r.start, which moves only here.
	var name string
	var first, firstAt, lines, at int
	for {
		line, next, err := r.line(at)
		if err != nil && err != io.EOF {
			return Event{}, err
		}
		if err == io.EOF && len(line) == 0 && lines == 0 {
			return Event{}, io.EOF
		}
		if len(line) == 0 {
			if lines > 0 {
				return r.dispatch(name, firstAt, first, lines, next), nil
			}
			r.start += next
			at, name = 0, ""
			continue
		}
		field, value := split(line)
		switch field {
		case "data":
			if lines == 0 {
				first, firstAt = len(value), next-1-len(value)
				if err == io.EOF {
					firstAt = next - len(value)
				}
			} else {
				if lines == 1 {
					r.joined = append(r.joined[:0], r.buf[r.start+firstAt:r.start+firstAt+first]...)
				}
				r.joined = append(append(r.joined, '\n'), value...)
			}
			lines++
		case "event":
			name = string(value)
		}
		at = next
		if lines == 0 {
			r.start += next
			at = 0
		}
	}
}

func (r *Reader) dispatch(name string, at, n, lines, consumed int) Event {
	data := r.buf[r.start+at : r.start+at+n]
	if lines > 1 {
		data = r.joined
	}
	r.start += consumed
	return Event{Name: name, Data: data}
}

// split cuts a line into its field and value. A comment has no field.
func split(line []byte) (string, []byte) {
	colon := bytes.IndexByte(line, ':')
	if colon < 0 {
		return fieldName(line), nil
	}
	value := line[colon+1:]
	if len(value) > 0 && value[0] == ' ' {
		value = value[1:]
	}
	return fieldName(line[:colon]), value
}

// fieldName avoids an allocation for the two fields that matter.
func fieldName(b []byte) string {
	switch string(b) {
	case "data":
		return "data"
	case "event":
		return "event"
	}
	return ""
}

// line returns the line that begins at bytes behind r.start, without its end,
// and where the next one begins. With io.EOF the line is the unfinished rest.
func (r *Reader) line(at int) ([]byte, int, error) {
	scanned := at
	for {
		if r.skipLF && r.start+at < r.end {
			r.skipLF = false
			if r.buf[r.start+at] == '\n' {
				at++
				scanned = max(scanned, at)
			}
		}
		window := r.buf[r.start+scanned : r.end]
		if i := lineEnd(window); i >= 0 {
			r.skipLF = window[i] == '\r'
			stop := scanned + i
			return r.unmarked(r.buf[r.start+at : r.start+stop]), stop + 1, nil
		}
		scanned = r.end - r.start
		if r.err != nil {
			return r.unmarked(r.buf[r.start+at : r.end]), scanned, r.err
		}
		if err := r.fill(); err != nil {
			return nil, 0, err
		}
	}
}

// unmarked cuts the byte order mark that may stand before the first line.
func (r *Reader) unmarked(line []byte) []byte {
	if r.begun {
		return line
	}
	r.begun = true
	return bytes.TrimPrefix(line, []byte("\xef\xbb\xbf"))
}

func lineEnd(b []byte) int {
	lf := bytes.IndexByte(b, '\n')
	if lf >= 0 {
		b = b[:lf]
	}
	if cr := bytes.IndexByte(b, '\r'); cr >= 0 {
		return cr
	}
	return lf
}

// fill reads more. An error of the source is kept until the bytes before it
// are used up.
func (r *Reader) fill() error {
	// All that stands between start and end belongs to an event that is not
	// complete: what came before it has been handed out.
	if r.end-r.start > r.max {
		return ErrTooLarge
	}
	if r.start > 0 {
		copy(r.buf, r.buf[r.start:r.end])
		r.end, r.start = r.end-r.start, 0
	}
	if r.end == len(r.buf) {
		r.buf = append(r.buf, make([]byte, len(r.buf))...)
	}
	n, err := r.src.Read(r.buf[r.end:])
	r.end += n
	r.err = err
	return nil
}
