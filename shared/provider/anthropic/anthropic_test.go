package anthropic_test

import (
	"context"
	"errors"
	"iter"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"

	"github.com/postern-ai/postern/localdev/golden"
	"github.com/postern-ai/postern/shared/chat"
	"github.com/postern-ai/postern/shared/config"
	"github.com/postern-ai/postern/shared/provider"
	"github.com/postern-ai/postern/shared/provider/anthropic"
	"github.com/postern-ai/postern/shared/sse"
)

func TestTheAddressIsThatOfAnthropicOrTheDocuments(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, base, url string }{
		{"none", "", "https://api.anthropic.com/v1/messages"},
		{"a server", "https://llm.example.com", "https://llm.example.com/v1/messages"},
		{"a path", "https://llm.example.com/anthropic/", "https://llm.example.com/anthropic/v1/messages"},
		{"no host", "llm.example.com", ""},
		{"a query", "https://llm.example.com?a=b", ""},
		{"the version", "https://api.anthropic.com/v1", ""},
		{"the whole address", "https://api.anthropic.com/v1/messages", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			model, err := anthropic.New(&config.Upstream{Name: "claude", BaseURL: c.base}, nil)
			if c.url == "" {
				if err == nil || !strings.Contains(err.Error(), "base_url") || !strings.Contains(err.Error(), "claude") {
					t.Errorf("got error %v, want one that names the upstream and its base_url", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			call, err := model.(*provider.Client).Dialect.Encode(golden.Request(t, `{"model":"m","messages":[{"role":"user","content":"a"}]}`))
			if err != nil || call.URL != c.url {
				t.Errorf("sent to %v with error %v", call, err)
			}
		})
	}
}

// A model that thinks rejects thoughts that were changed. They have to survive
// the way to the caller and back, as a whole and as a stream.
func TestThoughtsSurviveARoundOfTools(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(service())
	t.Cleanup(server.Close)
	model, err := anthropic.New(entry(server.URL), &provider.Sender{HTTP: server.Client().Transport, Auth: keyed{}})
	if err != nil {
		t.Fatal(err)
	}
	const ask = `{"model":"claude-opus-5-5","reasoning_effort":"high","tools":[{"type":"function","function":{"name":"clock"}}],"messages":[{"role":"user","content":"clock please"}`
	for name, answer := range map[string]func(*testing.T) chat.Message{
		"a whole answer": func(t *testing.T) chat.Message {
			resp, err := model.Chat(t.Context(), golden.Request(t, ask+`]}`))
			if err != nil {
				t.Fatal(err)
			}
			return chat.Message{Role: chat.RoleAssistant, ToolCalls: resp.Choices[0].Message.ToolCalls}
		},
		"a stream": func(t *testing.T) chat.Message {
			stream, err := model.Stream(t.Context(), golden.Request(t, ask+`],"stream":true}`))
			if err != nil {
				t.Fatal(err)
			}
			return chat.Message{Role: chat.RoleAssistant, ToolCalls: gather(t, stream)}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			said := answer(t)
			if len(said.ToolCalls) != 1 || !strings.Contains(string(said.ToolCalls[0].ExtraContent), `"signature"`) {
				t.Fatalf("the answer is %s", golden.JSON(t, said))
			}
			echo, result := string(golden.JSON(t, said)), `{"role":"tool","tool_call_id":"`+said.ToolCalls[0].ID+`","content":"nine"}`
			resp, err := model.Chat(t.Context(), golden.Request(t, ask+`,`+echo+`,`+result+`]}`))
			if err != nil {
				t.Fatal(err)
			}
			if text := *resp.Choices[0].Message.Content; !strings.Contains(text, "clock returned: nine") {
				t.Errorf("the answer is %q", text)
			}
			// Changed, they are refused: so they do arrive, and as they were.
			changed := strings.Replace(echo, `"thinking":""`, `"thinking":"x"`, 1)
			_, err = model.Chat(t.Context(), golden.Request(t, ask+`,`+changed+`,`+result+`]}`))
			if e, ok := errors.AsType[*chat.Error](err); !ok || e.Status != 400 || !strings.Contains(e.Message, "Invalid `signature` in `thinking` block") {
				t.Errorf("got %v", err)
			}
		})
	}
}

// gather puts the calls of a stream together.
func gather(t *testing.T, stream iter.Seq2[*chat.Chunk, error]) []chat.ToolCall {
	t.Helper()
	var calls []chat.ToolCall
	for chunk, err := range stream {
		if err != nil {
			t.Fatal(err)
		}
		for _, choice := range chunk.Choices {
			for _, c := range choice.Delta.ToolCalls {
				if c.ID != "" {
					c.Index = nil
					calls = append(calls, c)
					continue
				}
				calls[*c.Index].Function.Arguments += c.Function.Arguments
			}
		}
	}
	return calls
}

// What is kept of thoughts must not grow without end, whatever the upstream
// sends.
func TestThoughtsAreBounded(t *testing.T) {
	t.Parallel()
	req := golden.Request(t, `{"model":"m","messages":[{"role":"user","content":"a"}],"tools":[{"type":"function","function":{"name":"f"}}]}`)
	long := strings.Repeat("a", 1<<20)
	for name, delta := range map[string]string{
		"thoughts":     `{"type":"thinking_delta","thinking":"` + long + `"}`,
		"a signature":  `{"type":"signature_delta","signature":"` + long + `"}`,
		"many of them": "",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			decoder := dialect(t).Decoder(req)
			send := func(data string) error {
				_, err := decoder.Event(sse.Event{Data: []byte(data)})
				return err
			}
			err := send(`{"type":"message_start","message":{"id":"a","model":"b"}}`)
			for i := 0; err == nil && i < 20; i++ {
				if delta == "" || i == 0 {
					err = errors.Join(err, send(`{"type":"content_block_start","index":0,"content_block":{"type":"redacted_thinking","data":"`+long+`"}}`))
					err = errors.Join(err, send(`{"type":"content_block_stop","index":0}`))
				}
				if delta == "" {
					continue
				}
				if i == 0 {
					err = errors.Join(err, send(`{"type":"content_block_start","index":1,"content_block":{"type":"thinking"}}`))
				}
				err = errors.Join(err, send(`{"type":"content_block_delta","index":1,"delta":`+delta+`}`))
			}
			if err == nil || !strings.Contains(err.Error(), "longer than any model's") {
				t.Errorf("got %v", err)
			}
		})
	}
}

// The stand-in's faults, seen by a caller.
func TestFaultsOfTheStandIn(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(service())
	t.Cleanup(server.Close)
	model, err := anthropic.New(entry(server.URL), &provider.Sender{HTTP: server.Client().Transport, Auth: keyed{}})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		prompt string
		status int
		code   string
		wait   int
	}{
		{"#fail(402)", 502, chat.CodeUpstreamError, 0},
		{"#fail(429,3)", 429, chat.CodeRateLimitExceeded, 3},
		{"#fail(529,9)", 503, chat.CodeUpstreamUnavailable, 9},
		{"#fail(504)", 504, chat.CodeUpstreamTimeout, 0},
		{"#reset()", 502, chat.CodeUpstreamUnavailable, 0},
	} {
		t.Run(c.prompt, func(t *testing.T) {
			t.Parallel()
			req := golden.Request(t, `{"model":"claude-sonnet-4-6","messages":[{"role":"user","content":"`+c.prompt+`"}]}`)
			for _, ask := range []func(context.Context, *chat.Request) error{
				func(ctx context.Context, r *chat.Request) error { _, err := model.Chat(ctx, r); return err },
				func(ctx context.Context, r *chat.Request) error {
					streaming := *r
					streaming.Stream = true
					_, err := model.Stream(ctx, &streaming)
					return err
				},
			} {
				e, ok := errors.AsType[*chat.Error](ask(t.Context(), req))
				if !ok || e.Status != c.status || e.Code != c.code || int(e.RetryAfter.Seconds()) != c.wait {
					t.Errorf("got %+v", e)
				}
			}
		})
	}
}

// An answer that is passed on must be one that OpenAI's clients can read.
func TestAnswersCanBeWritten(t *testing.T) {
	t.Parallel()
	resp, err := dialect(t).Decode(&chat.Request{}, []byte(`{"type":"message","content":[{"type":"text","text":"a\u2028\ud83d\ude42"}],"stop_reason":"end_turn","usage":{"input_tokens":-1,"output_tokens":5,"output_tokens_details":{"thinking_tokens":9}}}`))
	if err != nil {
		t.Fatal(err)
	}
	if u := resp.Usage; u.PromptTokens != 0 || u.CompletionTokensDetails.ReasoningTokens != 5 {
		t.Errorf("the usage is %s", golden.JSON(t, u))
	}
	if _, err := json.Marshal(resp); err != nil {
		t.Error(err)
	}
}
