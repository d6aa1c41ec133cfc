package anthropic_test

import (
	"testing"

	"github.com/postern-ai/postern/shared/chat"
	"github.com/postern-ai/postern/shared/sse"
)

const conversation = `{"model":"claude-sonnet-4-6","temperature":0.2,"max_tokens":500,
"messages":[{"role":"system","content":"You are a helpful assistant who answers in one sentence."},
{"role":"user","content":"What is the weather in Paris?"},
{"role":"assistant","content":null,"tool_calls":[{"id":"call_1","type":"function","function":{"name":"get_weather","arguments":"{\"city\":\"Paris\"}"}}]},
{"role":"tool","tool_call_id":"call_1","content":"{\"degrees\":21,\"sky\":\"clear\"}"},
{"role":"user","content":"And tomorrow?"}],
"tools":[{"type":"function","function":{"name":"get_weather","description":"The weather of a city.","parameters":{"type":"object","properties":{"city":{"type":"string"}},"required":["city"]}}}]}`

const whole = `{"model":"claude-sonnet-4-6","id":"msg_01XFDUDYJgAACzvnptvVoYEL","type":"message","role":"assistant","content":[{"type":"text","text":"Tomorrow will be as clear as today, and a little warmer."}],"stop_reason":"end_turn","stop_sequence":null,"stop_details":null,"container":null,"usage":{"input_tokens":812,"cache_creation_input_tokens":0,"cache_read_input_tokens":0,"cache_creation":{"ephemeral_5m_input_tokens":0,"ephemeral_1h_input_tokens":0},"output_tokens":64,"service_tier":"standard","inference_geo":"not_available"}}`

const event = `{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":" and then it said a few words more"}}`

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
	b.ReportAllocs()
	for b.Loop() {
		if _, err := d.Decode(&chat.Request{}, []byte(whole)); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkEvent is one chunk of a stream, from the event's bytes to the chunk.
func BenchmarkEvent(b *testing.B) {
	decoder := dialect(b).Decoder(&chat.Request{})
	for _, data := range []string{
		`{"type":"message_start","message":{"id":"msg_1","model":"claude-sonnet-4-6","usage":{"input_tokens":1}}}`,
		`{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}`,
	} {
		if _, err := decoder.Event(sse.Event{Data: []byte(data)}); err != nil {
			b.Fatal(err)
		}
	}
	e := sse.Event{Name: "content_block_delta", Data: []byte(event)}
	b.ReportAllocs()
	for b.Loop() {
		if chunks, err := decoder.Event(e); err != nil || len(chunks) != 1 {
			b.Fatal(chunks, err)
		}
	}
}
