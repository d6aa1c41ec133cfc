package sse

import (
	"bytes"
	"errors"
	"io"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
)

func readAll(r *Reader) (events []string, err error) {
	for {
		e, err := r.Next()
		if err == io.EOF {
			return events, nil
		}
		if err != nil {
			return events, err
		}
		events = append(events, e.Name+"|"+string(e.Data))
	}
}

func TestReader(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, in string
		want     []string
	}{
		{"a line feed ends a line", "data: a\n\ndata: b\n\n", []string{"|a", "|b"}},
		{"a carriage return ends a line", "data: a\r\rdata: b\r\r", []string{"|a", "|b"}},
		{"both together end one line", "data: a\r\n\r\ndata: b\r\n\r\n", []string{"|a", "|b"}},
		{"one space behind the colon does not count", "data:a\n\ndata:  b\n\n", []string{"|a", "| b"}},
		{"several data lines are joined", "data: a\ndata\ndata: b\n\n", []string{"|a\n\nb"}},
		{"the event field names the event", "event: ping\ndata: a\n\ndata: b\n\n", []string{"ping|a", "|b"}},
		{"the event field may follow the data", "data: a\nevent: ping\n\n", []string{"ping|a"}},
		{"comments and unknown fields are passed over", ": hello\nid: 7\nretry: 1\ndata: a\n: between\n\n", []string{"|a"}},
		{"an event without data is not dispatched", "event: ping\n\ndata: a\n\n", []string{"|a"}},
		{"an empty data line is data", "data\n\n", []string{"|"}},
		{"a byte order mark is skipped", "\xef\xbb\xbfdata: a\n\n", []string{"|a"}},
		{"a last event without its blank line counts", "data: a\n\ndata: b", []string{"|a", "|b"}},
		{"a last event with half of its blank line counts", "data: a\r\n", []string{"|a"}},
		{"nothing is nothing", "", nil},
		{"only blank lines are nothing", "\n\r\n\r", nil},
	} {
		for _, r := range []struct {
			name string
			wrap func(io.Reader) io.Reader
		}{
			{"at once", func(r io.Reader) io.Reader { return r }},
			{"byte by byte", iotest.OneByteReader},
			{"error with the last bytes", iotest.DataErrReader},
		} {
			t.Run(c.name+", "+r.name, func(t *testing.T) {
				t.Parallel()
				got, err := readAll(NewReader(r.wrap(strings.NewReader(c.in)), 0))
				if err != nil {
					t.Fatal(err)
				}
				if d := cmp.Diff(c.want, got); d != "" {
					t.Error(d)
				}
			})
		}
	}
}

func TestReaderTakesLinesLongerThanItsBuffer(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 300_000)
	got, err := readAll(NewReader(strings.NewReader("data: a\n\ndata: "+long+"\n\ndata: b\n\n"), 0))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"|a", "|" + long, "|b"}, got); d != "" {
		t.Error(d)
	}
}

func TestReaderRefusesAnEventOverItsLimit(t *testing.T) {
	t.Parallel()
	for name, in := range map[string]string{
		"in one line":        "data: " + strings.Repeat("x", 20_000) + "\n\n",
		"in many lines":      strings.Repeat("data: x\n", 5_000) + "\n",
		"without a line end": strings.Repeat("x", 20_000),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := readAll(NewReader(iotest.HalfReader(strings.NewReader("data: a\n\n"+in)), 8_000))
			if !errors.Is(err, ErrTooLarge) {
				t.Errorf("got %v, want ErrTooLarge", err)
			}
		})
	}
}

func TestReaderLimitIsPerEvent(t *testing.T) {
	t.Parallel()
	in := strings.Repeat("data: "+strings.Repeat("x", 900)+"\n\n", 100)
	got, err := readAll(NewReader(strings.NewReader(in), 1_000))
	if err != nil || len(got) != 100 {
		t.Errorf("got %d events and %v, want 100 and no error", len(got), err)
	}
}

func TestReaderPassesOnTheErrorOfItsSource(t *testing.T) {
	t.Parallel()
	broken := errors.New("connection reset")
	src := io.MultiReader(strings.NewReader("data: a\n\ndata: b"), iotest.ErrReader(broken))
	got, err := readAll(NewReader(src, 0))
	if !errors.Is(err, broken) {
		t.Errorf("got %v, want the error of the source", err)
	}
	if d := cmp.Diff([]string{"|a"}, got); d != "" {
		t.Error(d)
	}
}

func TestWriterSendsWhenFlushed(t *testing.T) {
	t.Parallel()
	rec := httptest.NewRecorder()
	w := NewWriter(rec)
	if err := w.Flush(); err != nil || rec.Flushed {
		t.Errorf("flushing nothing sent something: %v", err)
	}
	if err := w.Data([]byte(`{"a":1}`)); err != nil || rec.Body.Len() > 0 {
		t.Fatalf("an event went out by itself: %q, %v", rec.Body, err)
	}
	w.Comment("keep-alive")
	if err := w.Flush(); err != nil || !rec.Flushed {
		t.Errorf("the events were not flushed: %v", err)
	}
	if want := "data: {\"a\":1}\n\n: keep-alive\n\n"; rec.Body.String() != want {
		t.Errorf("got %q, want %q", rec.Body.String(), want)
	}
	if got := rec.Header().Get("Content-Type"); got != ContentType {
		t.Errorf("content type is %q", got)
	}
}

func TestWriterDoesNotGatherWithoutEnd(t *testing.T) {
	t.Parallel()
	rec := httptest.NewRecorder()
	w := NewWriter(rec)
	for range 100 {
		if err := w.Data(bytes.Repeat([]byte("x"), 1000)); err != nil {
			t.Fatal(err)
		}
	}
	if sent := rec.Body.Len(); sent < 50_000 {
		t.Errorf("of 100 kB only %d bytes went out", sent)
	}
}

func FuzzReader(f *testing.F) {
	f.Add([]byte("data: a\n\nevent: x\r\ndata: b\r\n\r\n"))
	f.Add([]byte("\xef\xbb\xbfdata\r\rdata: x"))
	f.Fuzz(func(t *testing.T, in []byte) {
		whole, errWhole := readAll(NewReader(bytes.NewReader(in), 1<<20))
		bytewise, errBytewise := readAll(NewReader(iotest.OneByteReader(bytes.NewReader(in)), 1<<20))
		if errWhole != nil || errBytewise != nil {
			t.Fatalf("errors %v and %v", errWhole, errBytewise)
		}
		if d := cmp.Diff(whole, bytewise); d != "" {
			t.Fatalf("the events depend on how the bytes arrive: %s", d)
		}
	})
}
