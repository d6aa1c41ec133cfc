package contract_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/protocol/eventstream"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/bedrockruntime"
	"github.com/aws/aws-sdk-go-v2/service/bedrockruntime/document"
	"github.com/aws/aws-sdk-go-v2/service/bedrockruntime/types"
	"github.com/google/go-cmp/cmp"
	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"

	"github.com/postern-ai/postern/localdev/contract"
)

// serve runs a handler under Check and returns its address and what was
// reported so far.
func serve(t *testing.T, d *contract.Description, handler http.HandlerFunc) (url string, reported func() []string) {
	t.Helper()
	var mu sync.Mutex
	var problems []string
	server := httptest.NewServer(contract.Check(d, handler, func(found ...contract.Problem) {
		mu.Lock()
		defer mu.Unlock()
		for _, p := range found {
			problems = append(problems, p.String())
		}
	}))
	t.Cleanup(server.Close)
	return server.URL, func() []string {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(problems)
	}
}

const (
	helloChunk = `{"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"role":"assistant","content":"Hello"},"finish_reason":null}]}`
	hiRequest  = `{"model":"m","stream":true,"messages":[{"role":"user","content":"Hi"}]}`
)

// frames writes AWS event stream messages.
func frames(t *testing.T, w io.Writer, messages ...[2]string) {
	t.Helper()
	for _, m := range messages {
		message := eventstream.Message{Payload: []byte(m[1])}
		message.Headers.Set(":message-type", eventstream.StringValue("event"))
		message.Headers.Set(":event-type", eventstream.StringValue(m[0]))
		message.Headers.Set(":content-type", eventstream.StringValue("application/json"))
		if err := eventstream.NewEncoder().Encode(w, message); err != nil {
			t.Error(err)
		}
	}
}

func TestOfficialBedrockClientFits(t *testing.T) {
	t.Parallel()
	url, reported := serve(t, description(t, "bedrock"), func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/converse") {
			w.Header().Set("Content-Type", "application/json")
			io.WriteString(w, `{"output":{"message":{"role":"assistant","content":[{"text":"Hello"}]}},"stopReason":"end_turn",
				"usage":{"inputTokens":1,"outputTokens":1,"totalTokens":2},"metrics":{"latencyMs":1}}`)
			return
		}
		w.Header().Set("Content-Type", "application/vnd.amazon.eventstream")
		frames(t, w,
			[2]string{"messageStart", `{"role":"assistant"}`},
			[2]string{"contentBlockDelta", `{"contentBlockIndex":0,"delta":{"text":"Hello"}}`},
			[2]string{"contentBlockStop", `{"contentBlockIndex":0}`},
			[2]string{"messageStop", `{"stopReason":"end_turn"}`},
			[2]string{"metadata", `{"usage":{"inputTokens":1,"outputTokens":1,"totalTokens":2},"metrics":{"latencyMs":1}}`})
	})
	client := bedrockruntime.New(bedrockruntime.Options{
		Region: "us-east-1", BaseEndpoint: aws.String(url), Credentials: credentials.NewStaticCredentialsProvider("k", "s", "t"),
	})
	model := aws.String("arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-3-haiku-20240307-v1:0")
	messages := []types.Message{
		{Role: types.ConversationRoleUser, Content: []types.ContentBlock{&types.ContentBlockMemberText{Value: "Hi"}}},
		{Role: types.ConversationRoleAssistant, Content: []types.ContentBlock{&types.ContentBlockMemberToolUse{Value: types.ToolUseBlock{
			ToolUseId: aws.String("t1"), Name: aws.String("weather"), Input: document.NewLazyDocument(map[string]any{"city": "Oslo"}),
		}}}},
	}
	_, err := client.Converse(t.Context(), &bedrockruntime.ConverseInput{
		ModelId: model, Messages: messages,
		InferenceConfig:              &types.InferenceConfiguration{MaxTokens: aws.Int32(5), Temperature: aws.Float32(0.5)},
		AdditionalModelRequestFields: document.NewLazyDocument(map[string]any{"top_k": 4}),
	})
	if err != nil {
		t.Fatal(err)
	}
	stream, err := client.ConverseStream(t.Context(), &bedrockruntime.ConverseStreamInput{ModelId: model, Messages: messages})
	if err != nil {
		t.Fatal(err)
	}
	events := 0
	for range stream.GetStream().Events() {
		events++
	}
	if events != 5 {
		t.Errorf("got %d events, want 5", events)
	}
	if got := reported(); got != nil {
		t.Errorf("problems: %q", got)
	}
}

func TestOfficialOpenAIClientFits(t *testing.T) {
	t.Parallel()
	url, reported := serve(t, description(t, "openai"), func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		fmt.Fprintf(w, "data: %s\n\ndata: [DONE]\n\n", helloChunk)
	})
	client := openai.NewClient(option.WithBaseURL(url+"/v1/"), option.WithAPIKey("k"))
	stream := client.Chat.Completions.NewStreaming(t.Context(), openai.ChatCompletionNewParams{
		Model:         "m",
		Messages:      []openai.ChatCompletionMessageParamUnion{openai.DeveloperMessage("Be brief."), openai.UserMessage("Hi")},
		Temperature:   openai.Float(0.5),
		StreamOptions: openai.ChatCompletionStreamOptionsParam{IncludeUsage: openai.Bool(true)},
		Tools: []openai.ChatCompletionToolUnionParam{openai.ChatCompletionFunctionTool(openai.FunctionDefinitionParam{
			Name: "weather", Parameters: openai.FunctionParameters{"type": "object"}})},
	})
	var text string
	for stream.Next() {
		text += stream.Current().Choices[0].Delta.Content
	}
	if err := stream.Err(); err != nil || text != "Hello" {
		t.Errorf("got %q, %v", text, err)
	}
	if got := reported(); got != nil {
		t.Errorf("problems: %q", got)
	}
}

func TestCheckReports(t *testing.T) {
	t.Parallel()
	const op = "POST /chat/completions: "
	sse := func(body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
			io.WriteString(w, body)
		}
	}
	cases := []struct {
		name, description string
		body              string
		handler           http.HandlerFunc
		want              []string
	}{
		{
			name: "both directions of an unstreamed call", description: "openai",
			body: `{"model":"m"}`,
			handler: func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				io.WriteString(w, `{"id":`)
				io.WriteString(w, `"c","object":"chat.completion","created":1,"model":"m"}`)
			},
			want: []string{op + "request.messages is required", op + "response.choices is required"},
		},
		{
			name: "a handler that answers nothing at all", description: "openai", body: hiRequest,
			handler: func(http.ResponseWriter, *http.Request) {},
			want:    []string{op + `response.header.Content-Type must be one of application/json, text/event-stream, is ""`},
		},
		{
			name: "a chunk that does not fit", description: "openai", body: hiRequest,
			handler: sse(": comment\r\ndata: {\"id\":\"c\",\r\ndata: \"choices\":[]}\r\n\r\ndata: [DONE]\r\n\r\n"),
			want:    []string{op + "event.created is required", op + "event.model is required", op + "event.object is required"},
		},
		{
			name: "a line that is no field", description: "openai", body: hiRequest,
			handler: sse("{\"error\":1}\n\ndata: [DONE]\n\n"),
			want:    []string{op + "event has a line that is no SSE field, comment or end of event"},
		},
		{
			name: "an event after the end", description: "openai", body: hiRequest,
			handler: sse("data: [DONE]\n\ndata: " + helloChunk + "\n\n"),
			want:    []string{op + "event follows [DONE]"},
		},
		{
			name: "a stream that ends inside an event", description: "openai", body: hiRequest,
			handler: sse("data: " + helloChunk + "\n\ndata: [DONE]\n"),
			want:    []string{op + "event is cut off: no empty line follows it"},
		},
		{
			name: "a stream that the handler breaks off", description: "openai", body: hiRequest,
			handler: func(w http.ResponseWriter, r *http.Request) {
				sse("data: "+helloChunk+"\n\ndata: {")(w, r)
				panic(http.ErrAbortHandler)
			},
		},
		{
			name: "a connection that the handler resets", description: "openai", body: hiRequest,
			handler: func(w http.ResponseWriter, _ *http.Request) {
				conn, _, err := http.NewResponseController(w).Hijack()
				if err == nil {
					conn.Close()
				}
			},
		},
		{
			name: "a path that the description does not have", description: "vertex", body: `{}`,
			handler: sse("data: x\n\n"),
			want:    []string{"POST /v1/chat/completions: request has a path that the description does not list"},
		},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			url, reported := serve(t, description(t, c.description), c.handler)
			response, err := http.Post(url+"/v1/chat/completions", "application/json", strings.NewReader(c.body))
			if err == nil {
				io.Copy(io.Discard, response.Body)
				response.Body.Close()
			}
			if diff := cmp.Diff(c.want, reported()); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
		})
	}
}

func TestCheckReportsBrokenFrames(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name  string
		spoil func([]byte) []byte
		want  []string
	}{
		{"a whole message fits", func(b []byte) []byte { return b }, nil},
		{"a changed byte", func(b []byte) []byte { b[len(b)-8]++; return b }, []string{"ConverseStream: event is no event stream message: message checksum"}},
		{"half a message", func(b []byte) []byte { return b[:len(b)/2] }, []string{"ConverseStream: event is cut off in the middle of a message"}},
		{"text in place of a message", func([]byte) []byte { return []byte("data: x\n\n") }, []string{"ConverseStream: event has an impossible length of"}},
		{"a message of no type", func([]byte) []byte {
			var b strings.Builder
			_ = eventstream.NewEncoder().Encode(&b, eventstream.Message{Payload: []byte("{}")})
			return []byte(b.String())
		}, []string{`ConverseStream: event has the :message-type "", must be event or exception`}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			url, reported := serve(t, description(t, "bedrock"), func(w http.ResponseWriter, _ *http.Request) {
				var whole strings.Builder
				frames(t, &whole, [2]string{"messageStart", `{"role":"assistant"}`})
				w.Header().Set("Content-Type", "application/vnd.amazon.eventstream")
				for _, b := range c.spoil([]byte(whole.String())) {
					w.Write([]byte{b})
				}
			})
			response, err := http.Post(url+"/model/m.m/converse-stream", "application/json", strings.NewReader(`{"messages":[]}`))
			if err != nil {
				t.Fatal(err)
			}
			io.Copy(io.Discard, response.Body)
			response.Body.Close()
			got := reported()
			same := slices.EqualFunc(c.want, got, func(want, got string) bool { return strings.HasPrefix(got, want) })
			if !same {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

// TestCheckHoldsNothingBack would deadlock if a chunk waited for the next one.
func TestCheckHoldsNothingBack(t *testing.T) {
	t.Parallel()
	read := make(chan struct{})
	url, reported := serve(t, description(t, "openai"), func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if string(body) != hiRequest || err != nil {
			t.Errorf("the handler read %q, %v", body, err)
		}
		w.Header().Set("Content-Type", "text/event-stream")
		flusher, ok := w.(http.Flusher)
		if !ok {
			t.Error("the writer is no http.Flusher")
			return
		}
		for range 3 {
			fmt.Fprintf(w, "data: %s\n\n", helloChunk)
			flusher.Flush()
			select {
			case <-read:
			case <-r.Context().Done():
				return
			}
		}
		io.WriteString(w, "data: [DONE]\n\n")
	})
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+"/v1/chat/completions", strings.NewReader(hiRequest))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	chunk := make([]byte, len("data: ")+len(helloChunk)+2)
	for range 3 {
		if _, err := io.ReadFull(response.Body, chunk); err != nil {
			t.Fatal(err)
		}
		read <- struct{}{}
	}
	if rest, err := io.ReadAll(response.Body); err != nil || string(rest) != "data: [DONE]\n\n" {
		t.Errorf("the stream ended with %q, %v", rest, err)
	}
	if got := reported(); got != nil {
		t.Errorf("problems: %q", got)
	}
}

func TestCheckPassesAReadErrorOn(t *testing.T) {
	t.Parallel()
	broken := errors.New("the client went away")
	handler := contract.Check(description(t, "openai"), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.ReadAll(r.Body); !errors.Is(err, broken) {
			t.Errorf("the handler read %v, want %v", err, broken)
		}
		panic(http.ErrAbortHandler)
	}), func(found ...contract.Problem) { t.Errorf("problems: %v", found) })
	r := httptest.NewRequestWithContext(context.Background(), http.MethodPost, "/v1/chat/completions", io.MultiReader(strings.NewReader("{"), errorReader{broken}))
	defer func() {
		if recover() == nil {
			t.Error("the handler's panic did not come through")
		}
	}()
	handler.ServeHTTP(httptest.NewRecorder(), r)
}

type errorReader struct{ err error }

func (r errorReader) Read([]byte) (int, error) { return 0, r.err }
