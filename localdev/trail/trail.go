// Package trail reads audit events as people get them out of logs, stores and
// buses: one event on each line, or a JSON array of them, as they are or in the
// envelope of EventBridge or of Pub/Sub.
//
// It must not judge what it reads: package audit does that.
package trail

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/postern-ai/postern/shared/audit"
)

// maxLine is the longest line, in bytes, that is read: an event in base64 and
// in an envelope is shorter.
const maxLine = 4 * audit.MaxEvent

// errLong says that a line is longer than that.
var errLong = fmt.Errorf("it is longer than %d bytes", maxLine)

// Reader reads a trail once.
type Reader struct {
	// Faults are what could not be read, after Events.
	Faults []Fault
	// Others counts JSON objects that are no events, such as the lines of a log.
	Others int
	// Err is why the reading ended before the end.
	Err error
}

// Fault is a line, or an element of an array, that is not what it should be.
type Fault struct {
	Line int
	Err  error
}

// String returns the fault as a sentence.
func (f Fault) String() string { return fmt.Sprintf("line %d: unreadable: %v", f.Line, f.Err) }

// Events yields the events in their order. It may be ranged over once.
func (r *Reader) Events(from io.Reader) iter.Seq[audit.Recorded] {
	return func(yield func(audit.Recorded) bool) {
		buffered := bufio.NewReaderSize(from, maxLine)
		if first, err := firstByte(buffered); err == nil && first == '[' {
			r.array(buffered, yield)
			return
		}
		r.lines(buffered, yield)
	}
}

// firstByte returns the first byte that is no white space, and reads nothing.
func firstByte(from *bufio.Reader) (byte, error) {
	for n := 1; ; n++ {
		peeked, err := from.Peek(n)
		if err != nil {
			return 0, err
		}
		if c := peeked[n-1]; !strings.ContainsRune(" \t\r\n", rune(c)) {
			return c, nil
		}
	}
}

func (r *Reader) lines(from *bufio.Reader, yield func(audit.Recorded) bool) {
	for number := 1; ; number++ {
		line, err := from.ReadSlice('\n')
		long := errors.Is(err, bufio.ErrBufferFull)
		for errors.Is(err, bufio.ErrBufferFull) {
			_, err = from.ReadSlice('\n')
		}
		switch {
		case long:
			r.Faults = append(r.Faults, Fault{number, errLong})
		case len(bytes.TrimSpace(line)) > 0:
			if !r.value(number, line, yield) {
				return
			}
		}
		if err != nil {
			if !errors.Is(err, io.EOF) {
				r.Err = err
			}
			return
		}
	}
}

// array reads the elements of an array that may be spread over many lines.
func (r *Reader) array(from io.Reader, yield func(audit.Recorded) bool) {
	lines := &counter{from: from}
	decoder := jsontext.NewDecoder(lines)
	if _, err := decoder.ReadToken(); err != nil {
		r.Err = err
		return
	}
	for decoder.PeekKind() != ']' {
		value, err := decoder.ReadValue()
		if err != nil {
			r.Faults = append(r.Faults, Fault{lines.at(decoder.InputOffset()), errors.New("what comes after it is not JSON, and is not read")})
			return
		}
		if !r.value(lines.at(decoder.InputOffset()-int64(len(value))), value, yield) {
			return
		}
	}
}

// counter remembers where lines begin.
type counter struct {
	from   io.Reader
	offset int64
	starts []int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.from.Read(p)
	for i, b := range p[:n] {
		if b == '\n' {
			c.starts = append(c.starts, c.offset+int64(i)+1)
		}
	}
	c.offset += int64(n)
	return n, err
}

// at returns the number of the line that an offset is on.
func (c *counter) at(offset int64) int {
	before, exactly := slices.BinarySearch(c.starts, offset)
	if exactly {
		before++
	}
	return before + 1
}

// value yields what is in a JSON value.
func (r *Reader) value(line int, text []byte, yield func(audit.Recorded) bool) bool {
	event, err := open(text)
	switch {
	case errors.Is(err, errOther):
		r.Others++
	case err != nil:
		r.Faults = append(r.Faults, Fault{line, err})
	default:
		return yield(audit.Recorded{Line: line, Event: event})
	}
	return true
}

// errOther says that an object is no event.
var errOther = errors.New("it is no event")

// open takes an event out of its envelope.
func open(text []byte) (audit.Event, error) {
	var envelope struct {
		SpecVersion jsontext.Value `json:"specversion"`
		DetailType  jsontext.Value `json:"detail-type"`
		Detail      jsontext.Value `json:"detail"`
		Message     jsontext.Value `json:"message"`
		Attributes  jsontext.Value `json:"attributes"`
	}
	if err := json.Unmarshal(text, &envelope); err != nil {
		return audit.Event{}, errors.New("it is not a JSON object")
	}
	switch {
	case envelope.SpecVersion != nil:
		var event audit.Event
		err := event.UnmarshalJSON(text)
		return event, err
	case envelope.DetailType != nil && envelope.Detail.Kind() == '{':
		return open(envelope.Detail)
	case envelope.Message.Kind() == '{':
		return published(envelope.Message)
	case envelope.Attributes.Kind() == '{':
		return published(text)
	}
	return audit.Event{}, errOther
}

// published takes an event out of a message of Pub/Sub: a CloudEvent in binary
// mode, whose attributes are those of the message.
func published(text []byte) (audit.Event, error) {
	var message struct {
		Attributes map[string]string `json:"attributes"`
		Data       []byte            `json:"data"` // base64 in JSON
	}
	if json.Unmarshal(text, &message) != nil || message.Attributes["ce-specversion"] == "" {
		return audit.Event{}, errOther
	}
	attributes := map[string]any{"data": jsontext.Value(message.Data)}
	for name, value := range message.Attributes {
		if name, ok := strings.CutPrefix(name, "ce-"); ok {
			attributes[name] = value
		}
	}
	whole, err := json.Marshal(attributes)
	if err != nil {
		return audit.Event{}, errors.New("the data of its message is not JSON")
	}
	var event audit.Event
	err = event.UnmarshalJSON(whole)
	return event, err
}
