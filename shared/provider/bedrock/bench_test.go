package bedrock_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/bedrockruntime"
	"github.com/aws/aws-sdk-go-v2/service/bedrockruntime/types"
)

// chunks is how many of them the streams of the benchmarks have.
const chunks = 100

func benchmarkStream() []byte {
	var b bytes.Buffer
	b.Write(frame("event", "messageStart", `{"p":"abcdefghijklmnop","role":"assistant"}`))
	for i := range chunks {
		b.Write(frame("event", "contentBlockDelta", fmt.Sprintf(`{"contentBlockIndex":0,"delta":{"text":" word%d"},"p":"abcdefghijklmnopqrs"}`, i)))
	}
	b.Write(frame("event", "contentBlockStop", `{"contentBlockIndex":0,"p":"abc"}`))
	b.Write(frame("event", "messageStop", `{"p":"abcde","stopReason":"end_turn"}`))
	b.Write(frame("event", "metadata", `{"metrics":{"latencyMs":12},"p":"abc","usage":{"inputTokens":3,"outputTokens":100,"totalTokens":103}}`))
	return b.Bytes()
}

// cpu returns what tells how many nanoseconds of processor time have been spent
// since: all of a stream's goroutines count, and other processes do not.
func cpu(b *testing.B) func() float64 {
	b.Helper()
	read := func() time.Duration {
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			b.Fatal(err)
		}
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	before := read()
	return func() float64 { return float64(read() - before) }
}

// answering is a transport that reads a request and gives an answer.
func answering(contentType string, body []byte) doer {
	return func(r *http.Request) (*http.Response, error) {
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			return nil, err
		}
		return reply(contentType, body), nil
	}
}

func BenchmarkChat(b *testing.B) {
	m := newModel(b, answering(jsonType, []byte(whole)))
	req := ask(b, hello)
	b.ReportAllocs()
	spent := cpu(b)
	for b.Loop() {
		if _, err := m.Chat(b.Context(), req); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(spent()/float64(b.N), "cpu-ns/op")
}

func BenchmarkChatWithTools(b *testing.B) {
	m := newModel(b, answering(jsonType, []byte(whole)))
	req := ask(b, `{"model":"m","temperature":0.7,"max_tokens":100,
		"tools":[{"type":"function","function":{"name":"get_weather","description":"The weather of a city.","parameters":{"type":"object","properties":{"city":{"type":"string"}},"required":["city"]}}}],
		"messages":[{"role":"system","content":"Be brief."},{"role":"user","content":"How is Paris?"},
			{"role":"assistant","content":null,"tool_calls":[{"id":"call_1","type":"function","function":{"name":"get_weather","arguments":"{\"city\":\"Paris\"}"}}]},
			{"role":"tool","tool_call_id":"call_1","content":"sunny"}]}`)
	b.ReportAllocs()
	spent := cpu(b)
	for b.Loop() {
		if _, err := m.Chat(b.Context(), req); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(spent()/float64(b.N), "cpu-ns/op")
}

func BenchmarkStream(b *testing.B) {
	m := newModel(b, answering(streamType, benchmarkStream()))
	req := ask(b, hello)
	b.ReportAllocs()
	spent := cpu(b)
	for b.Loop() {
		seq, err := m.Stream(b.Context(), req)
		if err != nil {
			b.Fatal(err)
		}
		n := 0
		for _, err := range seq {
			if err != nil {
				b.Fatal(err)
			}
			n++
		}
		if n != chunks+3 {
			b.Fatalf("got %d chunks", n)
		}
	}
	b.ReportMetric(spent()/float64(b.N)/chunks, "cpu-ns/chunk")
}

// BenchmarkStreamOfTheSDK reads the same stream with the SDK as it comes, for
// comparison.
func BenchmarkStreamOfTheSDK(b *testing.B) {
	client := bedrockruntime.New(bedrockruntime.Options{
		Region: region, HTTPClient: answering(streamType, benchmarkStream()), Retryer: aws.NopRetryer{},
		Credentials: credentials.NewStaticCredentialsProvider(key.AccessKeyID, key.SecretAccessKey, key.SessionToken),
	})
	in := &bedrockruntime.ConverseStreamInput{
		ModelId:  aws.String(haiku),
		Messages: []types.Message{{Role: types.ConversationRoleUser, Content: []types.ContentBlock{&types.ContentBlockMemberText{Value: "hello"}}}},
	}
	b.ReportAllocs()
	spent := cpu(b)
	for b.Loop() {
		out, err := client.ConverseStream(b.Context(), in)
		if err != nil {
			b.Fatal(err)
		}
		n := 0
		for range out.GetStream().Events() {
			n++
		}
		if n != chunks+4 {
			b.Fatalf("got %d events", n)
		}
		if err := out.GetStream().Close(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(spent()/float64(b.N)/chunks, "cpu-ns/chunk")
}
