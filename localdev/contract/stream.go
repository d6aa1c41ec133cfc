package contract

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws/protocol/eventstream"
)

// A splitter cuts a streamed body into messages, however its bytes arrive. After
// an error it takes no more.
type splitter interface {
	write([]byte) error
	end() error
}

// An sseSplitter cuts server-sent events as the HTML standard parses them.
type sseSplitter struct {
	emit func(Event)

	line   []byte
	afterR bool // the last byte ended a line with CR; an LF belongs to it
	event  Event
	data   []string
	done   bool // [DONE] was sent
	failed bool
}

func (s *sseSplitter) write(p []byte) error {
	for _, b := range p {
		if s.failed {
			return nil
		}
		switch {
		case b == '\n' && s.afterR:
			s.afterR = false
		case b == '\n' || b == '\r':
			s.afterR = b == '\r'
			if err := s.endLine(); err != nil {
				return s.fail(err)
			}
		default:
			s.afterR = false
			if s.line = append(s.line, b); len(s.line) > maxBody {
				return s.fail(errors.New("has a line too long to be checked"))
			}
		}
	}
	return nil
}

func (s *sseSplitter) fail(err error) error {
	s.failed = true
	return err
}

func (s *sseSplitter) endLine() error {
	line := string(s.line)
	s.line = s.line[:0]
	if line == "" {
		return s.dispatch()
	}
	name, value, _ := strings.Cut(line, ":")
	value = strings.TrimPrefix(value, " ")
	switch name {
	case "": // a comment
	case "data":
		s.data = append(s.data, value)
	case "event":
		s.event.Type = value
	case "id", "retry":
	default:
		return fmt.Errorf("has a line that is no SSE field, comment or end of event")
	}
	return nil
}

func (s *sseSplitter) dispatch() error {
	if s.data == nil {
		s.event = Event{}
		return nil
	}
	if s.done {
		return errors.New("follows [DONE]")
	}
	s.event.Data = []byte(strings.Join(s.data, "\n"))
	s.done = string(s.event.Data) == "[DONE]"
	s.emit(s.event)
	s.event, s.data = Event{}, nil
	return nil
}

func (s *sseSplitter) end() error {
	if !s.failed && (len(s.line) > 0 || s.data != nil) {
		return errors.New("is cut off: no empty line follows it")
	}
	return nil
}

// A frameSplitter cuts AWS event stream messages.
type frameSplitter struct {
	emit func(Event)

	held   []byte
	failed bool
}

// maxFrame is the largest message of the protocol: 16 MiB of payload, 128 KiB
// of headers, and the lengths and checksums around them.
const maxFrame = 16<<20 + 128<<10 + 16

func (s *frameSplitter) write(p []byte) error {
	if s.failed {
		return nil
	}
	s.held = append(s.held, p...)
	for len(s.held) >= 4 {
		length := binary.BigEndian.Uint32(s.held)
		if length < 16 || length > maxFrame {
			s.failed = true
			return fmt.Errorf("has an impossible length of %d bytes", length)
		}
		if len(s.held) < int(length) {
			return nil
		}
		event, err := frame(s.held[:length])
		s.held = s.held[length:]
		if err != nil {
			s.failed = true
			return err
		}
		s.emit(event)
	}
	return nil
}

// frame reads one message with its checksums and the headers that every message
// of a service must have.
func frame(data []byte) (Event, error) {
	message, err := eventstream.NewDecoder().Decode(bytes.NewReader(data), nil)
	if err != nil {
		return Event{}, fmt.Errorf("is no event stream message: %w", err)
	}
	header := func(name string) string {
		value, _ := message.Headers.Get(name).(eventstream.StringValue)
		return string(value)
	}
	event := Event{Data: message.Payload}
	switch kind := header(":message-type"); kind {
	case "event":
		event.Type = header(":event-type")
	case "exception":
		event.Type = header(":exception-type")
	default:
		return Event{}, fmt.Errorf("has the :message-type %q, must be event or exception", kind)
	}
	if media := header(":content-type"); media != "application/json" {
		return Event{}, fmt.Errorf("has the :content-type %q, must be application/json", media)
	}
	return event, nil
}

func (s *frameSplitter) end() error {
	if !s.failed && len(s.held) > 0 {
		return errors.New("is cut off in the middle of a message")
	}
	return nil
}
