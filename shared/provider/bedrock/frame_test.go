package bedrock

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"math"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws/protocol/eventstream"
)

func encodeFrame(t testing.TB, m eventstream.Message) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := eventstream.NewEncoder().Encode(&b, m); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// typical is a frame with a header of every type.
func typical() eventstream.Message {
	m := eventstream.Message{Payload: []byte(`{"contentBlockIndex":0,"delta":{"text":"x"}}`)}
	for name, value := range map[string]eventstream.Value{
		"bool": eventstream.BoolValue(true), "not": eventstream.BoolValue(false), "byte": eventstream.Int8Value(1),
		"short": eventstream.Int16Value(2), "int": eventstream.Int32Value(3), "long": eventstream.Int64Value(4),
		"bytes": eventstream.BytesValue("abc"), "time": eventstream.TimestampValue(time.Unix(1, 0)),
		"uuid": eventstream.UUIDValue{1}, "empty": eventstream.StringValue(""),
		":message-type": eventstream.StringValue("event"), ":event-type": eventstream.StringValue("contentBlockDelta"),
		":content-type": eventstream.StringValue("application/json"),
	} {
		m.Headers.Set(name, value)
	}
	return m
}

func TestAFrameIsReadHoweverItArrives(t *testing.T) {
	t.Parallel()
	data := bytes.Repeat(encodeFrame(t, typical()), 3)
	f := &frames{in: bufio.NewReader(iotest.OneByteReader(bytes.NewReader(data)))}
	for range 3 {
		headers, payload, err := f.next()
		if err != nil {
			t.Fatal(err)
		}
		kind, err := parseHeaders(headers)
		if err != nil || string(kind.message) != "event" || string(kind.event) != "contentBlockDelta" || string(payload) != string(typical().Payload) {
			t.Errorf("got %s, %s and %v", kind, payload, err)
		}
	}
	if _, _, err := f.next(); err != io.EOF {
		t.Errorf("got %v at the end", err)
	}
}

func TestAFrameThatCannotBeReadIsAnError(t *testing.T) {
	t.Parallel()
	whole := encodeFrame(t, typical())
	sized := func(size, headers uint32) []byte {
		b := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, size), headers)
		return append(binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(b)), make([]byte, 64)...)
	}
	tests := []struct {
		name string
		data []byte
		want error
	}{
		{"a cut in the prelude", whole[:7], io.ErrUnexpectedEOF},
		{"a cut behind the prelude", whole[:12], io.ErrUnexpectedEOF},
		{"a cut in the payload", whole[:len(whole)-6], io.ErrUnexpectedEOF},
		{"a cut in the checksum", whole[:len(whole)-1], io.ErrUnexpectedEOF},
		{"a prelude of garbage", []byte("<html>not a stream</html>"), errChecksum},
		{"a frame that is too short to be one", sized(15, 0), errFrame},
		{"a frame that is too long", sized(maxFrame+1, 0), errFrame},
		{"headers that are longer than the frame", sized(40, 25), errFrame},
		{"headers that are longer than anything", sized(40, math.MaxUint32), errFrame},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			f := &frames{in: bufio.NewReader(bytes.NewReader(test.data))}
			if _, _, err := f.next(); !errors.Is(err, test.want) {
				t.Errorf("got %v, want %v", err, test.want)
			}
		})
	}
}

func TestABodyIsBounded(t *testing.T) {
	t.Parallel()
	for size, want := range map[int]error{4: nil, 5: nil, 6: errTooLarge, 600: errTooLarge} {
		b := &body{ReadCloser: io.NopCloser(strings.NewReader(strings.Repeat("x", size))), left: 5}
		got, err := io.ReadAll(b)
		if err != want || want == nil && len(got) != size {
			t.Errorf("%d bytes: got %d and %v", size, len(got), err)
		}
		if _, err := b.Read(make([]byte, 8)); want != nil && err != want {
			t.Errorf("%d bytes: then got %v", size, err)
		}
	}
	broken := &body{ReadCloser: io.NopCloser(iotest.ErrReader(io.ErrClosedPipe)), left: 5}
	_, err := broken.Read(make([]byte, 8))
	if marked, ok := errors.AsType[*readError](err); !ok || marked.err != io.ErrClosedPipe {
		t.Errorf("got %v, want it marked", err)
	}
}

// FuzzFrames holds the reader of frames against that of the SDK: what the SDK
// reads and would write in the same way, we read too, and to the same effect. The checksums are
// right, or nothing else would ever be looked at.
func FuzzFrames(f *testing.F) {
	whole := encodeFrame(f, typical())
	size := binary.BigEndian.Uint32(whole[4:])
	f.Add(whole[preludeSize:preludeSize+size], typical().Payload, 0)
	f.Add(whole[preludeSize:preludeSize+size], []byte(`{"delta":{}}`), 3)
	f.Add([]byte{}, []byte{}, 0)
	f.Add([]byte("\x01a\x07\x00\x01b"), []byte{}, 0)
	f.Fuzz(func(t *testing.T, headers, payload []byte, cut int) {
		data := assemble(headers, payload)
		data = data[:len(data)-max(0, min(cut, len(data)))]
		gotHeaders, got, err := (&frames{in: bufio.NewReader(bytes.NewReader(data))}).next()
		message, sdk := eventstream.NewDecoder().Decode(bytes.NewReader(data), nil)
		if len(data) == 0 {
			if err != io.EOF {
				t.Errorf("got %v for nothing", err)
			}
			return
		}
		if err == io.EOF {
			t.Error("a frame that is cut looks like the end")
		}
		var kind frameKind
		if err == nil {
			kind, err = parseHeaders(gotHeaders)
		}
		var again bytes.Buffer
		if sdk != nil || eventstream.NewEncoder().Encode(&again, message) != nil || !bytes.Equal(again.Bytes(), data) {
			return // it is stricter with names, and laxer with headers that are cut
		}
		if err != nil {
			t.Fatalf("got %v where the SDK reads %v", err, message)
		}
		if !bytes.Equal(got, message.Payload) {
			t.Errorf("got payload %q, the SDK %q", got, message.Payload)
		}
		last := map[string]string{}
		for _, h := range message.Headers {
			if text, ok := h.Value.(eventstream.StringValue); ok {
				last[h.Name] = string(text)
			}
		}
		if string(kind.event) != last[":event-type"] || string(kind.message) != last[":message-type"] || string(kind.exception) != last[":exception-type"] {
			t.Errorf("got %s, %s and %s, the SDK %v", kind.message, kind.event, kind.exception, last)
		}
		if event, err := kind.decode(got); err != nil && (event != nil || errors.Is(err, io.EOF)) {
			t.Errorf("got %v and %v", event, err)
		}
	})
}

// assemble makes a frame of any headers and payload.
func assemble(headers, payload []byte) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(preludeSize+len(headers)+len(payload)+checksumSize))
	b = binary.BigEndian.AppendUint32(b, uint32(len(headers)))
	b = binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(b))
	b = append(append(b, headers...), payload...)
	return binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(b))
}
