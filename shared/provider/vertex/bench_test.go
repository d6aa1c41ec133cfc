package vertex_test

import (
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"

	"github.com/postern-ai/postern/shared/chat"
	"github.com/postern-ai/postern/shared/sse"
)

// event is one event of a stream as the service writes it.
const event = `{"candidates":[{"content":{"role":"model","parts":[{"text":" and then it said a few words more"}]}}],"usageMetadata":{"promptTokenCount":812,"candidatesTokenCount":64,"totalTokenCount":1388,"trafficType":"ON_DEMAND","promptTokensDetails":[{"modality":"TEXT","tokenCount":812}],"candidatesTokensDetails":[{"modality":"TEXT","tokenCount":64}],"thoughtsTokenCount":512},"modelVersion":"gemini-2.5-flash","createTime":"2026-01-15T12:00:00.123456Z","responseId":"eE8aaID_HJXj-O4PifyReA"}`

const conversation = `{"model":"gemini-3-flash-preview","temperature":0.2,"max_tokens":500,
"messages":[{"role":"system","content":"You are a helpful assistant who answers in one sentence."},
{"role":"user","content":"What is the weather in Paris?"},
{"role":"assistant","content":null,"tool_calls":[{"id":"call_1","type":"function","function":{"name":"get_weather","arguments":"{\"city\":\"Paris\"}"}}]},
{"role":"tool","tool_call_id":"call_1","content":"{\"degrees\":21,\"sky\":\"clear\"}"},
{"role":"user","content":"And tomorrow?"}],
"tools":[{"type":"function","function":{"name":"get_weather","description":"The weather of a city.","parameters":{"type":"object","properties":{"city":{"type":"string"}},"required":["city"]}}}]}`

func BenchmarkEncode(b *testing.B) {
	d := dialect(b)
	req, err := chat.Decode([]byte(conversation), chat.Limits{})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := d.Encode(req); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecode(b *testing.B) {
	d := dialect(b)
	body := []byte(strings.Replace(event, `]}}],"usage`, `]},"finishReason":"STOP"}],"usage`, 1))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := d.Decode(&chat.Request{}, body); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkEvent(b *testing.B) {
	decoder := dialect(b).Decoder(&chat.Request{})
	e := sse.Event{Data: []byte(event)}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := decoder.Event(e); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkReverseProxy is what the others are to be measured against: a
// request, or a stream of 100 events, through a proxy that does nothing. It
// includes the client and the server around the proxy.
func BenchmarkReverseProxy(b *testing.B) {
	for name, events := range map[string]int{"request": 0, "stream of 100": 100} {
		b.Run(name, func(b *testing.B) {
			upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", sse.ContentType)
				for range events {
					_, _ = w.Write([]byte("data: " + event + "\r\n\r\n"))
					_ = http.NewResponseController(w).Flush()
				}
			}))
			defer upstream.Close()
			target, err := url.Parse(upstream.URL)
			if err != nil {
				b.Fatal(err)
			}
			proxy := httptest.NewServer(httputil.NewSingleHostReverseProxy(target))
			defer proxy.Close()
			for b.Loop() {
				resp, err := http.Post(proxy.URL, "application/json", strings.NewReader(conversation))
				if err != nil {
					b.Fatal(err)
				}
				reader := sse.NewReader(resp.Body, 0)
				for {
					if _, err := reader.Next(); err != nil {
						break
					}
				}
				_ = resp.Body.Close()
			}
		})
	}
}
