package openai

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"time"

	"github.com/postern-ai/postern/localdev/fake/brain"
)

// Completion answers one chat request that has been checked.
type Completion struct {
	Brain   brain.Brain
	Request *Request

	// Fault writes an error that the prompt asked for, in the service's format.
	Fault func(http.ResponseWriter, *brain.Fault)

	// Filter makes the answer look as Azure's content filter leaves it: notes
	// on every choice, a first chunk without ids that notes the prompt, and
	// notes that come after the end.
	Filter bool

	id      string
	created int64
}

// The wire of an answer.
type (
	completion struct {
		ID            string   `json:"id"`
		Object        string   `json:"object"`
		Created       int64    `json:"created"`
		Model         string   `json:"model"`
		Choices       []choice `json:"choices"`
		Usage         *usage   `json:"usage"`
		ServiceTier   string   `json:"service_tier"`
		Fingerprint   string   `json:"system_fingerprint"`
		PromptResults []any    `json:"prompt_filter_results,omitempty"`
	}
	choice struct {
		Index         int            `json:"index"`
		Message       answer         `json:"message"`
		Logprobs      *logprobs      `json:"logprobs"`
		FinishReason  string         `json:"finish_reason"`
		FilterResults map[string]any `json:"content_filter_results,omitempty"`
	}
	answer struct {
		Role        string     `json:"role"`
		Content     *string    `json:"content"`
		Refusal     *string    `json:"refusal"`
		Annotations []any      `json:"annotations"`
		ToolCalls   []toolCall `json:"tool_calls,omitempty"`
	}
	usage struct {
		PromptTokens     int `json:"prompt_tokens"`
		CompletionTokens int `json:"completion_tokens"`
		TotalTokens      int `json:"total_tokens"`
		PromptDetails    struct {
			CachedTokens int `json:"cached_tokens"`
			AudioTokens  int `json:"audio_tokens"`
		} `json:"prompt_tokens_details"`
		CompletionDetails struct {
			ReasoningTokens          int `json:"reasoning_tokens"`
			AudioTokens              int `json:"audio_tokens"`
			AcceptedPredictionTokens int `json:"accepted_prediction_tokens"`
			RejectedPredictionTokens int `json:"rejected_prediction_tokens"`
		} `json:"completion_tokens_details"`
	}
	logprobs struct {
		Content []logprob `json:"content"`
		Refusal []logprob `json:"refusal"`
	}
	logprob struct {
		Token   string    `json:"token"`
		Logprob float64   `json:"logprob"`
		Bytes   []int     `json:"bytes"`
		Top     []logprob `json:"top_logprobs,omitzero"`
	}
)

func newUsage(u brain.Usage) *usage {
	w := &usage{PromptTokens: u.Prompt, CompletionTokens: u.Completion, TotalTokens: u.Prompt + u.Completion}
	w.PromptDetails.CachedTokens, w.CompletionDetails.ReasoningTokens = u.Cached, u.Reasoning
	return w
}

func finishReason(f brain.Finish) string {
	switch f {
	case brain.Length:
		return "length"
	case brain.Tools:
		return "tool_calls"
	case brain.Filter:
		return "content_filter"
	}
	return "stop"
}

// newLogprobs makes up log probabilities for a piece of text.
func newLogprobs(r *Request, text string) *logprobs {
	if !r.Logprobs {
		return nil
	}
	entry := func(token string, p float64) logprob {
		l := logprob{Token: token, Logprob: p, Bytes: []int{}}
		for _, b := range []byte(token) {
			l.Bytes = append(l.Bytes, int(b))
		}
		return l
	}
	main := entry(text, -0.25)
	main.Top = []logprob{}
	if r.TopLogprobs != nil {
		for i := range *r.TopLogprobs {
			main.Top = append(main.Top, entry(text, -0.25-float64(i)))
		}
	}
	return &logprobs{Content: []logprob{main}}
}

// ServeHTTP implements [http.Handler].
func (c *Completion) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.id, c.created = "chatcmpl-"+rand.Text(), time.Now().Unix()
	if c.Request.Stream {
		c.stream(w, r)
		return
	}
	c.whole(w, r)
}

func (c *Completion) answers() int {
	if c.Request.N == nil {
		return 1
	}
	return *c.Request.N
}

func (c *Completion) tier() string {
	if c.Request.ServiceTier == "" || c.Request.ServiceTier == "auto" {
		return "default"
	}
	return c.Request.ServiceTier
}

func (c *Completion) whole(w http.ResponseWriter, r *http.Request) {
	got, err := brain.Collect(c.Brain.Answer(r.Context(), c.Request.Prompt()))
	fault, failed := errors.AsType[*brain.Fault](err)
	if err != nil && (!failed || c.failed(w, r, fault)) {
		return
	}
	out := completion{
		ID: c.id, Object: "chat.completion", Created: c.created, Model: c.Request.Model,
		Usage: newUsage(got.End.Usage), ServiceTier: c.tier(), Fingerprint: "fp_0123456789",
	}
	for i := range c.answers() {
		out.Choices = append(out.Choices, c.choice(i, got))
	}
	if c.Filter {
		out.PromptResults = []any{map[string]any{"prompt_index": 0, "content_filter_results": filterResults(false)}}
	}
	body, err := json.Marshal(out)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	w.Header().Set("Content-Type", "application/json")
	switch {
	case !failed:
		_, _ = w.Write(body)
	case fault.Kind == brain.FaultTruncate:
		_, _ = w.Write(body[:len(body)/2])
	case fault.Kind == brain.FaultGarbage:
		_, _ = w.Write([]byte("<html>This is not JSON.</html>"))
	default: // brain.FaultBreak
		_, _ = w.Write(body[:len(body)/2])
		brain.Reset(w)
	}
}

// failed answers a fault that leaves nothing of an answer, and reports whether
// it was one.
func (c *Completion) failed(w http.ResponseWriter, r *http.Request, f *brain.Fault) bool {
	switch f.Kind {
	case brain.FaultStatus, brain.FaultInStream:
		c.Fault(w, f)
	case brain.FaultReset:
		brain.Reset(w)
	case brain.FaultHang:
		<-r.Context().Done()
	default:
		return false
	}
	return true
}

func (c *Completion) choice(i int, got brain.Answer) choice {
	out := choice{Index: i, Message: answer{Role: "assistant", Annotations: []any{}}, FinishReason: finishReason(got.End.Finish)}
	if got.Text != "" || len(got.Calls) == 0 {
		out.Message.Content = &got.Text
		out.Logprobs = newLogprobs(c.Request, got.Text)
	}
	for _, call := range got.Calls {
		out.Message.ToolCalls = append(out.Message.ToolCalls, toolCall{ID: call.ID, Type: "function", Function: functionCall{Name: call.Name, Arguments: call.Arguments}})
	}
	if c.Filter {
		out.FilterResults = filterResults(got.End.Finish == brain.Filter)
	}
	return out
}

// filterResults are the notes of Azure's content filter.
func filterResults(hit bool) map[string]any {
	results := map[string]any{}
	for _, kind := range []string{"hate", "self_harm", "sexual", "violence"} {
		results[kind] = map[string]any{"filtered": false, "severity": "safe"}
	}
	if hit {
		results["violence"] = map[string]any{"filtered": true, "severity": "high"}
	}
	return results
}

// stream answers with events.
func (c *Completion) stream(w http.ResponseWriter, r *http.Request) {
	s := &streamer{Completion: c, w: w, seen: map[int]bool{}}
	for i := range c.answers() {
		if !s.answer(r, i, c.Brain.Answer(r.Context(), c.Request.Prompt())) {
			return
		}
	}
	if c.Request.StreamOptions != nil && c.Request.StreamOptions.IncludeUsage {
		chunk := s.chunk([]any{})
		chunk["usage"] = newUsage(s.usage)
		s.send(chunk)
	}
	s.raw("[DONE]")
}

type streamer struct {
	*Completion
	w     http.ResponseWriter
	begun bool
	seen  map[int]bool // choices that have a role
	usage brain.Usage
}

// answer sends one choice and reports whether it was completed.
func (s *streamer) answer(r *http.Request, index int, pieces iter.Seq2[brain.Piece, error]) bool {
	calls := 0
	for piece, err := range pieces {
		if err != nil {
			s.fail(r, err)
			return false
		}
		s.begin(index)
		switch {
		case piece.Call != nil:
			s.call(index, calls, piece.Call)
			calls++
		case piece.End != nil:
			s.end(index, piece.End)
			return true
		default:
			s.delta(index, map[string]any{"content": piece.Text}, newLogprobs(s.Request, piece.Text))
		}
	}
	return false
}

// begin sends the role of a choice before its first piece.
func (s *streamer) begin(index int) {
	if !s.begun {
		s.begun = true
		s.w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
		s.w.WriteHeader(http.StatusOK)
		if s.Filter {
			s.send(map[string]any{
				"id": "", "object": "", "created": 0, "model": "", "choices": []any{},
				"prompt_filter_results": []any{map[string]any{"prompt_index": 0, "content_filter_results": filterResults(false)}},
			})
		}
	}
	if !s.seen[index] {
		s.seen[index] = true
		s.delta(index, map[string]any{"role": "assistant", "content": "", "refusal": nil}, nil)
	}
}

// fail ends the answer as the brain's fault says.
func (s *streamer) fail(r *http.Request, err error) {
	fault, ok := errors.AsType[*brain.Fault](err)
	switch {
	case !ok:
		panic(http.ErrAbortHandler)
	case !s.begun && s.failed(s.w, r, fault):
	case fault.Kind == brain.FaultBreak:
		brain.Reset(s.w)
	case fault.Kind == brain.FaultGarbage:
		s.raw(`{"id": garbage`)
	case fault.Kind == brain.FaultInStream, fault.Kind == brain.FaultStatus:
		body, _ := json.Marshal(NewError(fault.Status, fault.Message))
		s.raw(string(body))
	}
}

// call sends a tool call: its name first, then its arguments in two parts.
func (s *streamer) call(index, number int, call *brain.Call) {
	send := func(c toolCall) {
		c.Index = &number
		s.delta(index, map[string]any{"tool_calls": []toolCall{c}}, nil)
	}
	send(toolCall{ID: call.ID, Type: "function", Function: functionCall{Name: call.Name}})
	half := len(call.Arguments) / 2
	for _, text := range []string{call.Arguments[:half], call.Arguments[half:]} {
		if text != "" {
			send(toolCall{Function: functionCall{Arguments: text}})
		}
	}
}

func (s *streamer) end(index int, end *brain.End) {
	s.usage.Prompt, s.usage.Cached = end.Usage.Prompt, end.Usage.Cached
	s.usage.Completion += end.Usage.Completion
	s.usage.Reasoning += end.Usage.Reasoning
	reason := finishReason(end.Finish)
	late := s.Filter && end.Finish == brain.Filter
	if late {
		reason = "stop" // the filter works beside the model and has its say later
	}
	s.send(s.chunk([]any{map[string]any{"index": index, "delta": map[string]any{}, "logprobs": nil, "finish_reason": reason}}))
	if s.Filter {
		note := map[string]any{
			"index": index, "finish_reason": nil, "content_filter_results": filterResults(late),
			"content_filter_offsets": map[string]any{"check_offset": 0, "start_offset": 0, "end_offset": 40},
		}
		if late {
			note["finish_reason"] = "content_filter"
		}
		s.send(map[string]any{"id": "", "object": "", "created": 0, "model": "", "choices": []any{note}})
	}
}

func (s *streamer) delta(index int, delta map[string]any, l *logprobs) {
	c := map[string]any{"index": index, "delta": delta, "logprobs": l, "finish_reason": nil}
	if s.Filter {
		c["content_filter_results"] = map[string]any{}
		if delta["content"] != nil && delta["content"] != "" {
			c["content_filter_results"] = filterResults(false)
		}
	}
	s.send(s.chunk([]any{c}))
}

// chunk returns the frame of a chunk.
func (s *streamer) chunk(choices []any) map[string]any {
	chunk := map[string]any{
		"id": s.id, "object": "chat.completion.chunk", "created": s.created, "model": s.Request.Model,
		"service_tier": s.tier(), "system_fingerprint": "fp_0123456789", "choices": choices,
	}
	o := s.Request.StreamOptions
	if o != nil && o.IncludeUsage {
		chunk["usage"] = nil
	}
	if !s.Filter && (o == nil || o.IncludeObfuscation == nil || *o.IncludeObfuscation) {
		chunk["obfuscation"] = rand.Text()[:len(choices)*8]
	}
	return chunk
}

func (s *streamer) send(chunk map[string]any) {
	body, err := json.Marshal(chunk)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	s.raw(string(body))
}

// raw sends one event at once.
func (s *streamer) raw(data string) {
	if _, err := fmt.Fprintf(s.w, "data: %s\n\n", data); err != nil {
		panic(http.ErrAbortHandler)
	}
	_ = http.NewResponseController(s.w).Flush()
}
