package chat

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
)

// shown is a chunk as the golden files show it.
func shown(c *Chunk) (string, error) {
	if c.Wire != nil {
		return "= " + string(c.Wire), nil
	}
	body, err := json.Marshal(c, json.Deterministic(true))
	// What is made up must not stand in a golden file.
	return "~ " + regexp.MustCompile(`call_[A-Z2-7]{26}`).ReplaceAllString(string(body), "call_MADE-UP"), err
}

// play decodes a stream, one event per line, and shows what comes of it.
func play(d *StreamDecoder, events [][]byte) (lines []string, err error) {
	show := func(chunks []*Chunk) error {
		for _, c := range chunks {
			if err := consistent(c); err != nil {
				return err
			}
			line, err := shown(c)
			if err != nil {
				return err
			}
			lines = append(lines, line)
		}
		return nil
	}
	for _, data := range events {
		// The bytes of an event are gone when the next one comes.
		own := bytes.Clone(data)
		chunks, err := d.Event(own)
		if fault := show(chunks); fault != nil {
			return lines, fault
		}
		if err != nil {
			return append(lines, failure(err)), nil
		}
		clear(own)
	}
	chunks, err := d.End()
	if fault := show(chunks); fault != nil {
		return lines, fault
	}
	return append(lines, failure(err)), nil
}

// consistent makes sure that a chunk's bytes and its fields say the same.
func consistent(c *Chunk) error {
	if c.Wire == nil {
		return nil
	}
	var wire Chunk
	if _, err := decodeAnswer(c.Wire, &wire); err != nil {
		return err
	}
	a, err := json.Marshal(c, json.Deterministic(true))
	if err != nil {
		return err
	}
	b, err := json.Marshal(&wire, json.Deterministic(true))
	if err == nil && !bytes.Equal(a, b) {
		err = fmt.Errorf("the fields are %s, the bytes %s", a, b)
	}
	return err
}

func failure(err error) string {
	if reported, ok := errors.AsType[*Reported](err); ok {
		return fmt.Sprintf("reported: status=%d type=%s code=%s param=%s message=%s", reported.Status, reported.Type, reported.Code, reported.Param, reported.Message)
	}
	switch {
	case err == nil:
		return "complete"
	case errors.Is(err, ErrIncomplete), errors.Is(err, errTooMany), errors.Is(err, errNoChoice):
		return "error: " + err.Error()
	}
	return "error: unreadable"
}

// golden goes through the cases of an archive, each of which is followed by a
// file with what comes of it.
func golden(t *testing.T, name string, run func(t *testing.T, name string, data []byte) string) {
	t.Helper()
	a := archive(t, name)
	out := &txtar.Archive{Comment: a.Comment}
	for i := 0; i < len(a.Files); i++ {
		f, want := a.Files[i], ""
		if i+1 < len(a.Files) && a.Files[i+1].Name == "becomes" {
			i++
			want = string(a.Files[i].Data)
		}
		t.Run(f.Name, func(t *testing.T) {
			got := run(t, f.Name, f.Data)
			out.Files = append(out.Files, f, txtar.File{Name: "becomes", Data: []byte(got)})
			if d := cmp.Diff(want, got); d != "" && !*update {
				t.Error(d)
			}
		})
	}
	if *update {
		if err := os.WriteFile("testdata/"+name, txtar.Format(out), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func lines(data []byte) [][]byte {
	if len(data) == 0 {
		return nil
	}
	return bytes.Split(bytes.TrimSuffix(data, []byte("\n")), []byte("\n"))
}

func TestStreams(t *testing.T) {
	t.Parallel()
	golden(t, "streams.txtar", func(t *testing.T, name string, data []byte) string {
		got, err := play(&StreamDecoder{HoldFinish: strings.HasPrefix(name, "held")}, lines(data))
		if err != nil {
			t.Fatal(err)
		}
		return strings.Join(got, "\n") + "\n"
	})
}

func TestResponses(t *testing.T) {
	t.Parallel()
	golden(t, "responses.txtar", func(t *testing.T, _ string, data []byte) string {
		r, err := DecodeResponse(data)
		if err != nil {
			return failure(err) + "\n"
		}
		if r.Wire != nil {
			if !bytes.Equal(r.Wire, data) {
				t.Error("the wire bytes are not the body")
			}
			return "=\n"
		}
		body, err := json.Marshal(r, json.Deterministic(true))
		if err != nil {
			t.Fatal(err)
		}
		return "~ " + regexp.MustCompile(`call_[A-Z2-7]{26}`).ReplaceAllString(string(body), "call_MADE-UP") + "\n"
	})
}

func TestReported(t *testing.T) {
	t.Parallel()
	golden(t, "reported.txtar", func(_ *testing.T, _ string, data []byte) string {
		return failure(DecodeReported(bytes.TrimSuffix(data, []byte("\n")))) + "\n"
	})
}

// Broken UTF-8 is mended in what goes out, and never passed on.
func TestStreamMendsBrokenUTF8(t *testing.T) {
	t.Parallel()
	chunk := func(text string) []byte {
		return []byte(`{"id":"c1","object":"chat.completion.chunk","created":5,"model":"m","choices":[{"index":0,"delta":{"content":"` + text + `"},"finish_reason":null}]}`)
	}
	var d StreamDecoder
	if _, err := d.Event([]byte(strings.Replace(string(chunk("")), `{"content"`, `{"role":"assistant","content"`, 1))); err != nil {
		t.Fatal(err)
	}
	for i, c := range []struct{ text, want string }{{"a", "a"}, {"b", "b"}, {"\xc3", "\uFFFD"}, {"c", "c"}, {"\\ud83d", "\uFFFD"}, {"\x01", ""}} {
		chunks, err := d.Event(chunk(c.text))
		if c.want == "" {
			if err == nil {
				t.Error("a control character within a text was accepted")
			}
			continue
		}
		if err != nil || len(chunks) != 1 {
			t.Fatalf("event %d: %d chunks, %v", i, len(chunks), err)
		}
		if got := *chunks[0].Choices[0].Delta.Content; got != c.want {
			t.Errorf("event %d: got %q, want %q", i, got, c.want)
		}
		if clean := c.want == c.text; clean != (chunks[0].Wire != nil) && c.text != "\\ud83d" {
			t.Errorf("event %d: passed on as %q", i, chunks[0].Wire)
		}
	}
}

// JSON over several lines cannot go out as the data of one line.
func TestStreamRewritesLineBreaks(t *testing.T) {
	t.Parallel()
	var d StreamDecoder
	for _, data := range []string{
		"{\"id\":\"c1\",\"object\":\"chat.completion.chunk\",\"created\":5,\n\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"a\"},\"finish_reason\":\"stop\"}]}",
		"{\"id\":\"c1\",\"object\":\"chat.completion.chunk\",\"created\":5,\r\"model\":\"m\",\"choices\":[],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":1,\"total_tokens\":2}}",
		"[DONE]\n",
	} {
		chunks, err := d.Event([]byte(data))
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range chunks {
			if c.Wire != nil {
				t.Errorf("would be sent as %q", c.Wire)
			}
		}
	}
}

// Most events must take the short way, which allocates their text alone.
func TestStreamAllocatesLittle(t *testing.T) {
	for name, text := range map[string]string{
		"plain":       `{"id":"c1","object":"chat.completion.chunk","created":5,"model":"m","choices":[{"index":0,"delta":{"content":"word"},"finish_reason":null}]}`,
		"obfuscated":  `{"id":"c1","object":"chat.completion.chunk","created":5,"model":"m","choices":[{"index":0,"delta":{"content":"word"},"finish_reason":null}],"obfuscation":"abc"}`,
		"a tool call": `{"id":"c1","object":"chat.completion.chunk","created":5,"model":"m","choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"\"a\""}}]},"finish_reason":null}]}`,
	} {
		var d StreamDecoder
		for _, first := range []string{
			`{"id":"c1","object":"chat.completion.chunk","created":5,"model":"m","choices":[{"index":0,"delta":{"role":"assistant","tool_calls":[{"index":0,"id":"a","type":"function","function":{"name":"f","arguments":""}}]},"finish_reason":null}]}`,
			text,
		} {
			if _, err := d.Event([]byte(first)); err != nil {
				t.Fatal(err)
			}
		}
		data := []byte(text)
		if n := testing.AllocsPerRun(100, func() {
			if chunks, err := d.Event(data); err != nil || len(chunks) != 1 || chunks[0].Wire == nil {
				t.Fatalf("%s: %v, %v", name, chunks, err)
			}
		}); n > 2 {
			t.Errorf("%s: %v allocations for an event", name, n)
		}
	}
}

// orderly holds what [StreamDecoder] promises of the chunks of a stream.
type orderly struct {
	frame    *frame
	finished map[int64]bool
	calls    map[int64]int64
	usage    bool
}

func (o *orderly) check(c *Chunk) error {
	f := frame{c.ID, c.Created, c.Model}
	if o.frame == nil {
		o.frame, o.finished, o.calls = &f, map[int64]bool{}, map[int64]int64{}
	}
	switch {
	case f != *o.frame:
		return fmt.Errorf("the frame changes to %v", f)
	case o.usage && c.Usage != nil:
		return errors.New("usage comes twice")
	case o.usage && len(c.Choices) > 0:
		return errors.New("a choice comes after the usage")
	case c.Usage != nil && len(c.Choices) > 0:
		return errors.New("usage stands beside a choice")
	}
	o.usage = o.usage || c.Usage != nil
	for _, choice := range c.Choices {
		finished, begun := o.finished[choice.Index]
		if finished {
			return errors.New("a choice goes on after its end")
		}
		if !begun && choice.Delta.Role == "" {
			return errors.New("a choice begins without a role")
		}
		o.finished[choice.Index] = choice.FinishReason != nil
		if choice.FinishReason != nil && !IsFinishReason(*choice.FinishReason) {
			return fmt.Errorf("finish reason %q", *choice.FinishReason)
		}
		for _, call := range choice.Delta.ToolCalls {
			n := o.calls[choice.Index]
			switch {
			case call.Index == nil || *call.Index > n || *call.Index < 0:
				return errors.New("a tool call has a wrong index")
			case *call.Index == n && (call.ID == "" || call.Type == ""):
				return errors.New("a tool call begins without its id or type")
			case *call.Index == n:
				o.calls[choice.Index]++
			}
		}
	}
	return nil
}

// FuzzStream: whatever a server sends, the chunks are in order, and those that
// were recognised are what parsing would have made of them.
func FuzzStream(f *testing.F) {
	for _, file := range archive(f, "streams.txtar").Files {
		if file.Name != "becomes" {
			f.Add(file.Data, false)
			f.Add(file.Data, true)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte, hold bool) {
		events := lines(data)
		quick, err := play(&StreamDecoder{HoldFinish: hold}, events)
		if err != nil {
			t.Fatal(err)
		}
		thorough := &StreamDecoder{HoldFinish: hold}
		thorough.template.learned = 1 << 30
		want, err := play(thorough, events)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, quick); d != "" {
			t.Fatalf("recognised otherwise than parsed: %s", d)
		}
		var o orderly
		d := &StreamDecoder{HoldFinish: hold}
		for _, data := range events {
			chunks, err := d.Event(data)
			for _, c := range chunks {
				if err := o.check(c); err != nil {
					t.Fatal(err)
				}
			}
			if err != nil {
				return
			}
		}
		chunks, err := d.End()
		for _, c := range chunks {
			if err := o.check(c); err != nil {
				t.Fatal(err)
			}
		}
		for index, finished := range o.finished {
			if err == nil && !finished {
				t.Fatalf("the stream is complete, but choice %d is not", index)
			}
		}
	})
}

// FuzzResponse: an answer is refused or becomes one that can be sent.
func FuzzResponse(f *testing.F) {
	for _, file := range archive(f, "responses.txtar").Files {
		f.Add(file.Data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		_ = DecodeReported(data)
		r, err := DecodeResponse(data)
		if err != nil {
			return
		}
		body, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		again, err := DecodeResponse(body)
		if err != nil {
			t.Fatal(err)
		}
		if r.ID != "" && r.Created != 0 && r.Model != "" && again.Wire == nil {
			t.Fatalf("a second reading finds more to mend: %s", body)
		}
	})
}

// BenchmarkEvent is the price of an event by the way that it takes.
func BenchmarkEvent(b *testing.B) {
	event := func(text string) []byte {
		return []byte(`{"id":"chatcmpl-0123456789abcdefghij","object":"chat.completion.chunk","created":1735689600,"model":"gpt-4.1-2025-04-14","service_tier":"default","system_fingerprint":"fp_0123456789","choices":[{"index":0,"delta":{"content":"` + text + `"},"logprobs":null,"finish_reason":null}],"usage":null,"obfuscation":"abcdefgh"}`)
	}
	first, a, c := event(""), event(" hello"), event(" there, \\\"friend\\\"")
	for name, learned := range map[string]int{"recognised": 0, "parsed": 1 << 30} {
		b.Run(name, func(b *testing.B) {
			var d StreamDecoder
			d.template.learned = learned
			for _, data := range [][]byte{first, a} {
				if _, err := d.Event(data); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				data := a
				if i%8 == 0 {
					data = c
				}
				if _, err := d.Event(data); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
