package front

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"testing"
	"testing/iotest"
)

func FuzzPrelude(f *testing.F) {
	f.Add([]byte(`{"statusCode":200,"headers":{"a":"b"},"cookies":["c"]}`), []byte("body"))
	f.Add([]byte(`{}`), []byte("\x00"))
	f.Add([]byte(`{"statusCode":99}`), []byte{})
	f.Add([]byte("\x00\x00"), []byte("{}"))
	f.Fuzz(func(t *testing.T, document, body []byte) {
		streamed := bytes.Join([][]byte{document, make([]byte, 8), body}, nil)
		// However the bytes are cut into pieces, they mean the same.
		whole, pieces := bufio.NewReader(bytes.NewReader(streamed)), bufio.NewReaderSize(iotest.OneByteReader(bytes.NewReader(streamed)), 16)
		h, err := readPrelude(whole)
		h2, err2 := readPrelude(pieces)
		if (err == nil) != (err2 == nil) || h.StatusCode != h2.StatusCode || len(h.Headers) != len(h2.Headers) {
			t.Fatalf("in one piece %+v (%v), byte by byte %+v (%v)", h, err, h2, err2)
		}
		if err != nil || bytes.IndexByte(document, 0) >= 0 {
			return
		}
		if !json.Valid(document) || h.StatusCode < 200 || h.StatusCode > 599 {
			t.Fatalf("%q was taken as %+v", document, h)
		}
		if rest, err := io.ReadAll(whole); err != nil || !bytes.Equal(rest, body) {
			t.Fatalf("the body is %q (%v), want %q", rest, err, body)
		}
	})
}

func FuzzDocument(f *testing.F) {
	f.Add([]byte(`{"statusCode":200,"body":"aGk=","isBase64Encoded":true}`))
	f.Add([]byte(`"text"`))
	f.Add([]byte(`{"statusCode":"200"}`))
	f.Fuzz(func(t *testing.T, document []byte) {
		h, body, err := parseDocument(document)
		if err != nil {
			return
		}
		if h.StatusCode < 200 || h.StatusCode > 599 || len(body) > len(document) {
			t.Fatalf("%q became %+v with a body of %d bytes", document, h, len(body))
		}
	})
}
