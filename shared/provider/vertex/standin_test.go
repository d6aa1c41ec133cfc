package vertex_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/postern-ai/postern/localdev/golden"
	"github.com/postern-ai/postern/shared/chat"
	"github.com/postern-ai/postern/shared/provider"
	"github.com/postern-ai/postern/shared/provider/providertest"
	"github.com/postern-ai/postern/shared/provider/vertex"
)

// served returns the provider's model with the stand-in behind it.
func served(t *testing.T) provider.Model {
	t.Helper()
	server := httptest.NewServer(service(t))
	t.Cleanup(server.Close)
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	model, err := vertex.New(entry(server.URL), &provider.Sender{HTTP: transport, Auth: providertest.Bearer(token)})
	if err != nil {
		t.Fatal(err)
	}
	return model
}

// ask sends a request as a stream and as a whole, and returns the whole
// answer and the chunks.
func ask(t *testing.T, model provider.Model, request string) (*chat.Response, []chat.Chunk) {
	t.Helper()
	req := golden.Request(t, request)
	resp, err := model.Chat(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	req.Stream = true
	stream, err := model.Stream(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	var chunks []chat.Chunk
	for chunk, err := range stream {
		if err != nil {
			t.Fatal(err)
		}
		kept := *chunk // which is valid until the next one
		kept.Choices = slices.Clone(chunk.Choices)
		chunks = append(chunks, kept)
	}
	return resp, chunks
}

func TestSeveralAnswersAreKeptApart(t *testing.T) {
	t.Parallel()
	resp, chunks := ask(t, served(t), `{"model":"gemini-2.5-flash","n":3,"messages":[{"role":"user","content":"#say(one two)"}]}`)
	if len(resp.Choices) != 3 || resp.Choices[2].Index != 2 || *resp.Choices[2].Message.Content != "one two" {
		t.Errorf("got %+v", resp.Choices)
	}
	var said [3]string
	finished := 0
	for _, chunk := range chunks {
		for _, c := range chunk.Choices {
			if c.Delta.Content != nil {
				said[c.Index] += *c.Delta.Content
			}
			if c.FinishReason != nil {
				finished++
			}
		}
	}
	if said != [3]string{"one two", "one two", "one two"} || finished != 3 {
		t.Errorf("the stream says %q and finishes %d times", said, finished)
	}
}

func TestLikelihoodsArrive(t *testing.T) {
	t.Parallel()
	resp, chunks := ask(t, served(t), `{"model":"gemini-2.5-flash","logprobs":true,"top_logprobs":2,"messages":[{"role":"user","content":"#say(one)"}]}`)
	const want = `{"content":[{"token":"one","logprob":-0.25,"bytes":[111,110,101],"top_logprobs":[{"token":"one","logprob":-0.25,"bytes":[111,110,101]},{"token":"other1","logprob":-1.25,"bytes":[111,116,104,101,114,49]}]}],"refusal":null}`
	if got := string(resp.Choices[0].Logprobs); got != want {
		t.Errorf("got %s", got)
	}
	if got := string(chunks[1].Choices[0].Logprobs); got != want {
		t.Errorf("got %s", got)
	}
}

func TestABlockedPromptIsAnEmptyAnswer(t *testing.T) {
	t.Parallel()
	resp, chunks := ask(t, served(t), `{"model":"gemini-3-flash-preview","messages":[{"role":"user","content":"#blocked()"}]}`)
	c := resp.Choices[0]
	if c.FinishReason != chat.FinishContentFilter || c.Message.Content == nil || *c.Message.Content != "" || c.Message.Refusal != nil || resp.Usage == nil {
		t.Errorf("got %+v", resp)
	}
	if len(chunks) != 3 || *chunks[1].Choices[0].FinishReason != chat.FinishContentFilter || chunks[2].Usage == nil {
		t.Errorf("got %+v", chunks)
	}
}

func TestAnEndpointAnswers(t *testing.T) {
	t.Parallel()
	resp, _ := ask(t, served(t), `{"model":"endpoints/1234567890","messages":[{"role":"user","content":"#say(one)"}]}`)
	if *resp.Choices[0].Message.Content != "one" {
		t.Errorf("got %+v", resp)
	}
}

// Most clients of OpenAI's wire drop what they do not know of a tool call.
func TestAClientThatDropsSignaturesIsServed(t *testing.T) {
	t.Parallel()
	const tools = `"tools":[{"type":"function","function":{"name":"get_time"}}]`
	model := served(t)
	resp, _ := ask(t, model, `{"model":"gemini-3-flash-preview",`+tools+`,"messages":[{"role":"user","content":"get_time"}]}`)
	call := resp.Choices[0].Message.ToolCalls[0]
	if !strings.Contains(string(call.ExtraContent), `{"google":{"thought_signature":"`) {
		t.Errorf("the call has no signature: %s", call.ExtraContent)
	}
	resp, _ = ask(t, model, `{"model":"gemini-3-flash-preview",`+tools+`,"messages":[{"role":"user","content":"get_time"},
		{"role":"assistant","tool_calls":[{"id":"`+call.ID+`","type":"function","function":{"name":"get_time","arguments":"{}"}}]},
		{"role":"tool","tool_call_id":"`+call.ID+`","content":"nine"}]}`)
	if !strings.Contains(*resp.Choices[0].Message.Content, "get_time returned: nine") {
		t.Errorf("got %q", *resp.Choices[0].Message.Content)
	}
}

// Agents that are interrupted, and those that show what a tool has drawn, go on
// with a message of the user right behind the results.
func TestTheUserMaySpeakRightAfterAResult(t *testing.T) {
	t.Parallel()
	resp, _ := ask(t, served(t), `{"model":"gemini-3-flash-preview","tools":[{"type":"function","function":{"name":"get_time"}}],"messages":[
		{"role":"user","content":"What time is it?"},
		{"role":"assistant","tool_calls":[{"id":"c","type":"function","function":{"name":"get_time","arguments":"{}"}}]},
		{"role":"tool","tool_call_id":"c","content":"nine"},
		{"role":"user","content":"#say(one)"}]}`)
	if got := *resp.Choices[0].Message.Content; got != "one" {
		t.Errorf("got %q", got)
	}
}

func TestTheTimeToWaitArrives(t *testing.T) {
	t.Parallel()
	_, err := served(t).Chat(t.Context(), golden.Request(t, `{"model":"gemini-2.5-flash","messages":[{"role":"user","content":"#fail(429,3)"}]}`))
	if e, ok := errors.AsType[*chat.Error](err); !ok || e.Status != 429 || e.RetryAfter != 3*time.Second {
		t.Errorf("got %+v", err)
	}
}
