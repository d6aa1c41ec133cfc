package bench

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws/protocol/eventstream"
)

// chunks is how many pieces of text a streamed answer has, with its beginning
// and its end.
const chunks = 102

// upstream answers every provider's requests with the same bytes each time. It
// looks at nothing but the address: its own cost is not measured, and must not
// slow down what is.
type upstream struct {
	// pace is the time between two events of a stream, in nanoseconds.
	pace atomic.Int64
}

// answer is what a provider's service sends.
type answer struct {
	kind, streamKind string // content types
	whole            []byte
	events           [][]byte
}

func (u *upstream) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	a, stream := answers[provider(r.URL.Path)], strings.Contains(strings.ToLower(r.URL.Path), "stream")
	if strings.HasSuffix(r.URL.Path, "/chat/completions") {
		stream = bytes.Contains(body, []byte(`"stream":true`))
	}
	if !stream {
		w.Header().Set("Content-Type", a.kind)
		w.Header().Set("Content-Length", strconv.Itoa(len(a.whole)))
		_, _ = w.Write(a.whole)
		return
	}
	w.Header().Set("Content-Type", a.streamKind)
	pace, flusher := time.Duration(u.pace.Load()), http.NewResponseController(w)
	for _, event := range a.events {
		if pace > 0 {
			time.Sleep(pace)
		}
		_, _ = w.Write(event)
		if flusher.Flush() != nil {
			return
		}
	}
}

// The providers by the names of the document.
const (
	openAI  = "custom-openai"
	azure   = "azure-openai"
	vertex  = "vertex"
	bedrock = "bedrock"
)

// provider tells by the address whose service is meant.
func provider(path string) string {
	switch {
	case strings.HasPrefix(path, "/openai/"):
		return azure
	case strings.HasPrefix(path, "/v1/projects/"):
		return vertex
	case strings.HasPrefix(path, "/model/"):
		return bedrock
	}
	return openAI
}

// paths are where the services take a request, whole and streamed. The proxy
// is called under them.
var paths = map[string][2]string{
	openAI:  {"/v1/chat/completions", "/v1/chat/completions"},
	azure:   {"/openai/v1/chat/completions", "/openai/v1/chat/completions"},
	vertex:  {"/v1/projects/p/locations/global/publishers/google/models/m:generateContent", "/v1/projects/p/locations/global/publishers/google/models/m:streamGenerateContent?alt=sse"},
	bedrock: {"/model/m/converse", "/model/m/converse-stream"},
}

var answers = map[string]*answer{
	openAI:  openAIAnswer("", ""),
	azure:   openAIAnswer(`,"content_filter_results":{"hate":{"filtered":false,"severity":"safe"}}`, `,"obfuscation":"a1B2c3D4e5"`),
	vertex:  vertexAnswer(),
	bedrock: bedrockAnswer(),
}

// text is what the model says in one chunk.
func text(i int) string { return fmt.Sprintf(" word%d", i%10) }

// openAIAnswer is an answer of OpenAI's wire, with what a service adds to each
// choice and to each event.
func openAIAnswer(ofChoice, ofEvent string) *answer {
	const head = `{"id":"chatcmpl-0123456789","object":"chat.completion%s","created":1750000000,"model":"m-2025-01-01","system_fingerprint":"fp_0123456789",`
	chunk := head + `"choices":[{"index":0,"delta":%s,"logprobs":null,"finish_reason":%s` + ofChoice + `}],"usage":null` + ofEvent + `}`
	const usage = `"usage":{"prompt_tokens":12,"completion_tokens":100,"total_tokens":112}}`
	a := &answer{kind: "application/json", streamKind: "text/event-stream"}
	a.whole = fmt.Appendf(nil, head+`"choices":[{"index":0,"message":{"role":"assistant","content":"A short answer, of one line.","refusal":null},"logprobs":null,"finish_reason":"stop"`+ofChoice+`}],`+usage, "")
	a.event(`data: `+chunk+"\n\n", ".chunk", `{"role":"assistant","content":"","refusal":null}`, "null")
	for i := range chunks - 2 {
		a.event(`data: `+chunk+"\n\n", ".chunk", fmt.Sprintf(`{"content":%q}`, text(i)), "null")
	}
	a.event(`data: `+chunk+"\n\n", ".chunk", "{}", `"stop"`)
	a.event(`data: `+head+`"choices":[],`+usage+"\n\n", ".chunk")
	a.event("data: [DONE]\n\n")
	return a
}

func (a *answer) event(format string, args ...any) {
	a.events = append(a.events, fmt.Appendf(nil, format, args...))
}

func vertexAnswer() *answer {
	const (
		event = `{"candidates": [{"content": {"role": "model","parts": [{"text": %q}]}%s}],%s"modelVersion": "gemini-2.5-flash","createTime": "2025-07-01T10:00:00.123456Z","responseId": "abcdefghijklmnop"}`
		usage = `"usageMetadata": {"promptTokenCount": 12,"candidatesTokenCount": 100,"totalTokenCount": 112,"trafficType": "ON_DEMAND"},`
		some  = `"usageMetadata": {"trafficType": "ON_DEMAND"},`
	)
	a := &answer{kind: "application/json; charset=UTF-8", streamKind: "text/event-stream"}
	a.whole = fmt.Appendf(nil, event, "A short answer, of one line.", `,"finishReason": "STOP"`, usage)
	for i := range chunks - 1 {
		a.event("data: "+event+"\r\n\r\n", text(i), "", some)
	}
	a.event("data: "+event+"\r\n\r\n", text(0), `,"finishReason": "STOP"`, usage)
	return a
}

func bedrockAnswer() *answer {
	const usage = `"usage":{"inputTokens":12,"outputTokens":100,"totalTokens":112,"serverToolUsage":{}}`
	a := &answer{kind: "application/json", streamKind: "application/vnd.amazon.eventstream"}
	a.whole = []byte(`{"metrics":{"latencyMs":421},"output":{"message":{"content":[{"text":"A short answer, of one line."}],"role":"assistant"}},"stopReason":"end_turn",` + usage + `}`)
	frame := func(kind, payload string) {
		m := eventstream.Message{Payload: []byte(payload)}
		m.Headers.Set(":event-type", eventstream.StringValue(kind))
		m.Headers.Set(":content-type", eventstream.StringValue("application/json"))
		m.Headers.Set(":message-type", eventstream.StringValue("event"))
		var out bytes.Buffer
		if err := eventstream.NewEncoder().Encode(&out, m); err != nil {
			panic(err) // a buffer takes everything
		}
		a.events = append(a.events, out.Bytes())
	}
	frame("messageStart", `{"p":"abcdef","role":"assistant"}`)
	for i := range chunks - 2 {
		frame("contentBlockDelta", fmt.Sprintf(`{"contentBlockIndex":0,"delta":{"text":%q},"p":"abcdefghijklmnopqrstuv"}`, text(i)))
	}
	frame("contentBlockStop", `{"contentBlockIndex":0,"p":"abcdefgh"}`)
	frame("messageStop", `{"p":"abcdefghijkl","stopReason":"end_turn"}`)
	frame("metadata", `{"metrics":{"latencyMs":421},"p":"abcd",`+usage+`}`)
	return a
}
