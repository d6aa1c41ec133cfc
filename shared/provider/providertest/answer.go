package providertest

import (
	"context"
	"fmt"
	"io"
	"iter"
	"slices"
	"testing"

	stdjson "encoding/json"

	"github.com/go-json-experiment/json"
	"github.com/google/go-cmp/cmp"

	"github.com/postern-ai/postern/shared/chat"
	"github.com/postern-ai/postern/shared/provider"
	"github.com/postern-ai/postern/shared/sse"
)

// answer is what a caller makes of a whole answer or of a stream: both must
// come to the same.
type answer struct {
	Text   string
	Calls  []call
	Finish string
	Usage  usage
}

type call struct{ Name, Arguments string }

type usage struct{ Prompt, Completion, Total, Cached, Reasoning int64 }

// request decodes a request of the wire and gives it the model.
func (h Harness) request(t *testing.T, text string) *chat.Request {
	t.Helper()
	req, err := chat.Decode([]byte(`{"model":"any",`+text[1:]), chat.Limits{})
	if err != nil {
		t.Fatalf("the test's own request: %v", err)
	}
	req.Model = h.Model
	return req
}

// ask sends a request once as a whole and once as a stream, and returns what
// both must agree on, with the message that a caller would send back.
func (h Harness) ask(t *testing.T, m *upstream, text string) (answer, chat.Message) {
	t.Helper()
	req := h.request(t, text)
	before := encode(t, req)
	resp, err := m.Chat(t.Context(), req)
	if err != nil {
		t.Fatalf("Chat: %v", err)
	}
	whole, message := readResponse(t, resp)
	streaming := h.request(t, text)
	streaming.Stream = true
	chunks, err := m.collect(t.Context(), streaming)
	if err != nil {
		t.Fatalf("Stream: %v", err)
	}
	streamed := readStream(t, chunks)
	if d := cmp.Diff(whole, streamed); d != "" {
		t.Errorf("the stream does not add up to the whole answer: %s", d)
	}
	if d := cmp.Diff(before, encode(t, req)); d != "" {
		t.Errorf("the provider changed the request: %s", d)
	}
	return whole, message
}

func encode(t *testing.T, v any) string {
	t.Helper()
	out, err := json.Marshal(v, json.Deterministic(true))
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// collect reads a stream to its end. A chunk is only valid until the next, so
// it keeps copies of what a caller would be sent.
func (u *upstream) collect(ctx context.Context, req *chat.Request) ([]chat.Chunk, error) {
	stream, err := u.Stream(ctx, req)
	if err != nil {
		return nil, err
	}
	return drain(stream)
}

func drain(stream iter.Seq2[*chat.Chunk, error]) (chunks []chat.Chunk, err error) {
	for chunk, broken := range stream {
		if err != nil {
			return chunks, fmt.Errorf("the stream went on after its error %w", err)
		}
		if broken != nil {
			if chunk != nil {
				return chunks, fmt.Errorf("an error came together with a chunk: %w", broken)
			}
			err = broken
			continue
		}
		kept, copyErr := copyChunk(chunk)
		if copyErr != nil {
			return chunks, copyErr
		}
		chunks = append(chunks, kept)
	}
	return chunks, err
}

// Chunks returns all chunks of a stream and how it ended. They are copies: a
// decoder's own are valid until its next call.
func Chunks(events *sse.Reader, decoder provider.Decoder) (all []*chat.Chunk, err error) {
	for {
		event, err := events.Next()
		ended := err == io.EOF
		if err != nil && !ended {
			return all, err
		}
		var some []*chat.Chunk
		if ended {
			some, err = decoder.End()
		} else {
			some, err = decoder.Event(event)
		}
		for _, chunk := range some {
			kept := *chunk
			kept.Choices = slices.Clone(chunk.Choices)
			all = append(all, &kept)
		}
		if ended || err != nil {
			return all, err
		}
	}
}

// copyChunk copies a chunk by way of the wire, and makes sure that the bytes
// which it would be sent as say the same as its fields.
func copyChunk(c *chat.Chunk) (kept chat.Chunk, err error) {
	fields, err := json.Marshal(c)
	if err != nil {
		return kept, fmt.Errorf("encode a chunk: %w", err)
	}
	if err := json.Unmarshal(fields, &kept); err != nil {
		return kept, fmt.Errorf("decode a chunk: %w", err)
	}
	if c.Wire != nil {
		var wire chat.Chunk
		if err := json.Unmarshal(c.Wire, &wire); err != nil {
			return kept, fmt.Errorf("a chunk's wire bytes: %w", err)
		}
		again, err := json.Marshal(&wire)
		if err != nil {
			return kept, err
		}
		if string(again) != string(fields) {
			return kept, fmt.Errorf("a chunk's wire bytes say %s, its fields say %s", again, fields)
		}
	}
	return kept, nil
}

// readResponse checks the frame of a whole answer and reads its first choice.
func readResponse(t *testing.T, r *chat.Response) (answer, chat.Message) {
	t.Helper()
	if r.ID == "" || r.Object != chat.ObjectCompletion || r.Created <= 0 || r.Model == "" {
		t.Errorf("the answer's frame is incomplete: id %q, object %q, created %d, model %q", r.ID, r.Object, r.Created, r.Model)
	}
	if r.Wire != nil {
		var wire chat.Response
		if err := json.Unmarshal(r.Wire, &wire); err != nil {
			t.Fatalf("the answer's wire bytes: %v", err)
		}
		fields := *r
		fields.Wire = nil
		if d := cmp.Diff(encode(t, &fields), encode(t, &wire)); d != "" {
			t.Errorf("the answer's wire bytes differ from its fields: %s", d)
		}
	}
	if len(r.Choices) == 0 {
		t.Fatal("the answer has no choice")
	}
	c := r.Choices[0]
	if c.Index != 0 || c.Message.Role != chat.RoleAssistant || !chat.IsFinishReason(c.FinishReason) {
		t.Errorf("the choice's frame is wrong: index %d, role %q, finish reason %q", c.Index, c.Message.Role, c.FinishReason)
	}
	a := answer{Finish: c.FinishReason, Usage: readUsage(t, r.Usage)}
	message := chat.Message{Role: chat.RoleAssistant, ToolCalls: c.Message.ToolCalls}
	if c.Message.Content != nil {
		a.Text = *c.Message.Content
		message.Content = chat.Text(a.Text)
	}
	ids := map[string]bool{}
	for _, tc := range c.Message.ToolCalls {
		if tc.ID == "" || ids[tc.ID] || tc.Type != "function" || tc.Function == nil || tc.Index != nil {
			t.Errorf("a tool call of the answer is wrong: %s", encode(t, tc))
			continue
		}
		ids[tc.ID] = true
		a.Calls = append(a.Calls, call{tc.Function.Name, canonical(t, tc.Function.Arguments)})
	}
	return a, message
}

func readUsage(t *testing.T, u *chat.Usage) usage {
	t.Helper()
	if u == nil {
		t.Error("the answer has no usage")
		return usage{}
	}
	got := usage{Prompt: u.PromptTokens, Completion: u.CompletionTokens, Total: u.TotalTokens}
	if d := u.PromptTokensDetails; d != nil {
		got.Cached = d.CachedTokens
	}
	if d := u.CompletionTokensDetails; d != nil {
		got.Reasoning = d.ReasoningTokens
	}
	if got.Prompt <= 0 || got.Total != got.Prompt+got.Completion || got.Cached > got.Prompt || got.Reasoning > got.Completion {
		t.Errorf("the usage does not add up: %+v", got)
	}
	return got
}

// canonical writes arguments as they compare: some wires carry them as JSON
// values and do not keep their spaces or their order.
func canonical(t *testing.T, arguments string) string {
	t.Helper()
	var object map[string]any
	if err := stdjson.Unmarshal([]byte(arguments), &object); err != nil {
		t.Errorf("arguments %q are not a JSON object: %v", arguments, err)
		return arguments
	}
	return encode(t, object)
}

// reader adds up the chunks of a stream and checks their order.
type reader struct {
	t      *testing.T
	first  chat.Chunk
	got    answer
	ids    []string
	begun  bool
	raw    []string // arguments so far
	counts int      // usage chunks
}

// readStream checks a whole stream and returns what it adds up to.
func readStream(t *testing.T, chunks []chat.Chunk) answer {
	t.Helper()
	r := readPart(t, chunks)
	if r.got.Finish == "" {
		t.Error("the stream has no finish reason")
	}
	if r.counts != 1 {
		t.Errorf("the stream has %d usage chunks, want 1", r.counts)
	}
	for i, raw := range r.raw {
		r.got.Calls[i].Arguments = canonical(t, raw)
	}
	return r.got
}

// readPart checks a stream that may have broken off.
func readPart(t *testing.T, chunks []chat.Chunk) *reader {
	t.Helper()
	r := &reader{t: t}
	for i := range chunks {
		r.chunk(i, &chunks[i])
	}
	return r
}

func (r *reader) chunk(i int, c *chat.Chunk) {
	r.t.Helper()
	if i == 0 {
		r.first = *c
	}
	if c.ID == "" || c.Object != chat.ObjectChunk || c.Created <= 0 || c.Model == "" {
		r.t.Errorf("chunk %d: the frame is incomplete: id %q, object %q, created %d, model %q", i, c.ID, c.Object, c.Created, c.Model)
	}
	if c.ID != r.first.ID || c.Created != r.first.Created || c.Model != r.first.Model {
		r.t.Errorf("chunk %d: the frame differs from the first one's", i)
	}
	if r.counts > 0 {
		r.t.Errorf("chunk %d comes after the usage chunk", i)
	}
	if c.Usage != nil {
		r.counts++
		r.got.Usage = readUsage(r.t, c.Usage)
		if len(c.Choices) != 0 {
			r.t.Errorf("chunk %d: usage stands beside a choice", i)
		}
		return
	}
	if len(c.Choices) != 1 {
		r.t.Errorf("chunk %d has %d choices, want 1", i, len(c.Choices))
		return
	}
	r.choice(i, &c.Choices[0])
}

func (r *reader) choice(i int, c *chat.ChunkChoice) {
	r.t.Helper()
	d := &c.Delta
	if r.got.Finish != "" {
		r.t.Errorf("chunk %d: a choice goes on after its finish reason", i)
	}
	if want := map[bool]string{false: chat.RoleAssistant}[r.begun]; d.Role != want {
		r.t.Errorf("chunk %d: role is %q, want %q", i, d.Role, want)
	}
	r.begun = true
	if d.Content != nil {
		r.got.Text += *d.Content
	}
	for j := range d.ToolCalls {
		r.toolCall(i, &d.ToolCalls[j])
	}
	if c.FinishReason == nil {
		return
	}
	r.got.Finish = *c.FinishReason
	if !chat.IsFinishReason(*c.FinishReason) {
		r.t.Errorf("chunk %d: finish reason %q is not OpenAI's", i, *c.FinishReason)
	}
	if d.Content != nil && *d.Content != "" || d.Role != "" || len(d.ToolCalls) > 0 {
		r.t.Errorf("chunk %d: the delta beside the finish reason is not empty", i)
	}
}

func (r *reader) toolCall(i int, tc *chat.ToolCall) {
	r.t.Helper()
	if tc.Index == nil || tc.Function == nil {
		r.t.Errorf("chunk %d: a tool call lacks its index or function", i)
		return
	}
	begins := int(*tc.Index) == len(r.raw)
	if begins {
		if tc.ID == "" || slices.Contains(r.ids, tc.ID) || tc.Type != "function" || tc.Function.Name == "" {
			r.t.Errorf("chunk %d: a tool call begins as %s", i, encode(r.t, tc))
		}
		r.ids = append(r.ids, tc.ID)
		r.raw = append(r.raw, "")
		r.got.Calls = append(r.got.Calls, call{Name: tc.Function.Name})
	}
	if int(*tc.Index) != len(r.raw)-1 {
		r.t.Errorf("chunk %d: tool call index is %d, with %d calls begun", i, *tc.Index, len(r.raw))
		return
	}
	if !begins && (tc.ID != "" || tc.Type != "" || tc.Function.Name != "") {
		r.t.Errorf("chunk %d: a tool call goes on with more than arguments: %s", i, encode(r.t, tc))
	}
	r.raw[len(r.raw)-1] += tc.Function.Arguments
}
