package bedrock

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"net/http"

	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/service/bedrockruntime"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// unread has one streaming call return as soon as the service has accepted the
// request, with the stream still to be read, by [frames].
//
// The SDK's reader takes a stream that breaks off within a frame for one that
// has ended, keeps state that all streams of a client share without a lock,
// reads each frame in about thirty small pieces, and hands each event from one
// goroutine to another twice, all of which takes most of the time of a streamed
// answer.
func unread(o *bedrockruntime.Options) {
	o.Protocol = onlyStreams{o.Protocol}
	o.APIOptions = append(o.APIOptions, func(stack *middleware.Stack) error {
		_, err := stack.Deserialize.Remove("OperationEventStreamDeserializer")
		return err
	})
}

// onlyStreams is the SDK's protocol for answers that have to be streams.
type onlyStreams struct{ smithyhttp.ClientProtocol }

var errNotStream = errors.New("the answer to a streaming request is no event stream")

// DeserializeResponse refuses an answer that is not a stream before anything
// of it is taken for a frame.
func (p onlyStreams) DeserializeResponse(ctx context.Context, op *smithy.OperationSchema, types *smithy.TypeRegistry, resp *smithyhttp.Response, out smithy.Deserializable) error {
	if resp.StatusCode < http.StatusMultipleChoices && !isEventStream(resp.Header) {
		_ = resp.Body.Close()
		return errNotStream
	}
	return p.ClientProtocol.DeserializeResponse(ctx, op, types, resp, out)
}

// streamOf returns the stream that a call has left unread.
func streamOf(metadata middleware.Metadata) (io.ReadCloser, error) {
	resp, ok := awsmiddleware.GetRawResponse(metadata).(*smithyhttp.Response)
	if !ok {
		return nil, errNotStream
	}
	return resp.Body, nil
}

// frames reads the events of one stream. It is not safe for concurrent use.
type frames struct {
	in    *bufio.Reader
	frame []byte // the last one read, whose room the next one takes
}

// event returns the next event. The error is [io.EOF] only where the stream
// ends between two frames.
func (f *frames) event() (smithy.Deserializable, error) {
	for {
		headers, payload, err := f.next()
		if err != nil {
			return nil, err
		}
		kind, err := parseHeaders(headers)
		if err != nil {
			return nil, err
		}
		event, err := kind.decode(payload)
		if event != nil || err != nil {
			return event, err
		}
	}
}

// The parts of a frame: its length, the length of its headers and a checksum
// of the two; headers; payload; a checksum of it all. All numbers are big-endian.
// See "Event stream encoding" in the AWS API references.
const (
	preludeSize  = 12
	checksumSize = 4
	maxFrame     = 16 << 20
)

var (
	errChecksum = errors.New("a frame of the event stream has a wrong checksum")
	errFrame    = errors.New("a frame of the event stream is malformed")
)

// next reads one frame. What it returns is valid until the next call.
func (f *frames) next() (headers, payload []byte, err error) {
	prelude, err := f.in.Peek(preludeSize)
	switch {
	case err == io.EOF && len(prelude) == 0:
		return nil, nil, io.EOF
	case err == io.EOF:
		return nil, nil, &readError{io.ErrUnexpectedEOF}
	case err != nil:
		return nil, nil, err
	}
	size, headerSize := binary.BigEndian.Uint32(prelude), binary.BigEndian.Uint32(prelude[4:])
	if crc32.ChecksumIEEE(prelude[:8]) != binary.BigEndian.Uint32(prelude[8:]) {
		return nil, nil, errChecksum
	}
	if size > maxFrame || size < preludeSize+checksumSize || headerSize > size-preludeSize-checksumSize {
		return nil, nil, errFrame
	}
	if uint32(cap(f.frame)) < size {
		f.frame = make([]byte, max(size, 1<<10))
	}
	frame := f.frame[:size]
	if _, err := io.ReadFull(f.in, frame); err != nil {
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			err = &readError{io.ErrUnexpectedEOF}
		}
		return nil, nil, err
	}
	end := size - checksumSize
	if crc32.ChecksumIEEE(frame[:end]) != binary.BigEndian.Uint32(frame[end:]) {
		return nil, nil, errChecksum
	}
	return frame[preludeSize : preludeSize+headerSize], frame[preludeSize+headerSize : end], nil
}

// frameKind is what the headers of a frame say that it is. The fields are
// within the frame.
type frameKind struct {
	message   []byte // "event", "exception" or "error"
	event     []byte
	exception []byte
	code      []byte // of an error
	text      []byte // of an error
}

// Types of a header's value, and the sizes of those that have a fixed one.
const (
	headerBytes  = 6
	headerString = 7
)

func headerSize(kind byte) (int, bool) {
	switch kind {
	case 0, 1: // true, false
		return 0, true
	case 2: // a byte
		return 1, true
	case 3: // 16 bits
		return 2, true
	case 4: // 32 bits
		return 4, true
	case 5, 8: // 64 bits, a time
		return 8, true
	case 9: // a UUID
		return 16, true
	}
	return 0, false
}

func parseHeaders(b []byte) (frameKind, error) {
	var k frameKind
	for len(b) > 0 {
		nameEnd := 1 + int(b[0])
		if len(b) < nameEnd+1 {
			return k, errFrame
		}
		label, kind := b[1:nameEnd], b[nameEnd]
		b = b[nameEnd+1:]
		size, fixed := headerSize(kind)
		if !fixed {
			if kind != headerBytes && kind != headerString || len(b) < 2 {
				return k, errFrame
			}
			size = int(binary.BigEndian.Uint16(b))
			b = b[2:]
		}
		if len(b) < size {
			return k, errFrame
		}
		if kind == headerString {
			k.set(label, b[:size])
		}
		b = b[size:]
	}
	return k, nil
}

func (k *frameKind) set(label, value []byte) {
	switch string(label) {
	case ":message-type":
		k.message = value
	case ":event-type":
		k.event = value
	case ":exception-type":
		k.exception = value
	case ":error-code":
		k.code = value
	case ":error-message":
		k.text = value
	}
}
