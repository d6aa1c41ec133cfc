package chat

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func decoded(t *testing.T, members string) *Request {
	t.Helper()
	if members != "" {
		members += ","
	}
	req, err := Decode([]byte(`{`+members+`"model":"m","messages":[{"role":"user","content":"a"}]}`), Limits{})
	if err != nil {
		t.Fatal(err)
	}
	return req
}

func TestParameters(t *testing.T) {
	t.Parallel()
	const tools = `"tools":[{"type":"function","function":{"name":"f"}}]`
	for _, c := range []struct {
		name, members string
		want          []string
	}{
		{"none", "", nil},
		{"what is always carried", `"stream":true,"stream_options":{"include_usage":true}`, nil},
		{"values that ask for what happens anyway", `"n":1,"store":false,"logprobs":false,"frequency_penalty":0,"presence_penalty":0,"service_tier":"auto","modalities":["text"],"response_format":{"type":"text"},"metadata":{},"logit_bias":{},"tools":[],"tool_choice":"none"`, nil},
		{"parallel calls where they are on anyway", tools + `,"parallel_tool_calls":true`, []string{"tools"}},
		{"sampling", `"temperature":0,"top_p":1,"seed":0,"stop":"a"`, []string{"temperature", "top_p", "stop", "seed"}},
		{"both limits are told apart", `"max_completion_tokens":1`, []string{"max_completion_tokens"}},
		{"log probabilities", `"logprobs":true,"top_logprobs":0`, []string{"logprobs", "top_logprobs"}},
		{"tools", tools + `,"tool_choice":"auto","parallel_tool_calls":false`, []string{"tools", "tool_choice", "parallel_tool_calls"}},
		{"objects", `"audio":{},"prediction":{},"web_search_options":{},"moderation":{},"prompt_cache_options":{},"functions":[],"function_call":"none"`, []string{"audio", "prediction", "web_search_options", "moderation", "prompt_cache_options", "functions", "function_call"}},
		{"texts", `"reasoning_effort":"low","verbosity":"low","user":"u","safety_identifier":"s","service_tier":"flex","prompt_cache_key":"k","prompt_cache_retention":"24h"`, []string{"reasoning_effort", "verbosity", "user", "safety_identifier", "service_tier", "prompt_cache_key", "prompt_cache_retention"}},
		{"the rest", `"n":2,"store":true,"metadata":{"a":"b"},"logit_bias":{"1":1},"frequency_penalty":1,"presence_penalty":1,"modalities":["audio"],"response_format":{"type":"json_object"},"max_tokens":1`, []string{"max_tokens", "frequency_penalty", "presence_penalty", "n", "logit_bias", "response_format", "metadata", "store", "modalities"}},
		{"unknown members, but not null ones", `"top_k":3,"nothing":null,"thinking":{"a":null}`, []string{"top_k", "thinking"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if d := cmp.Diff(c.want, decoded(t, c.members).Parameters()); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, request string
		carries       Carries
		param         string // empty: nothing is refused
	}{
		{"a parameter that is carried", `{"temperature":1,"messages":[{"role":"user","content":"a"}]}`, Carries{"temperature": true}, ""},
		{"a parameter that is not", `{"temperature":1,"messages":[{"role":"user","content":"a"}]}`, nil, "temperature"},
		{"an unknown parameter that is carried", `{"top_k":1,"messages":[{"role":"user","content":"a"}]}`, Carries{"top_k": true}, ""},
		{"a member of a message", `{"messages":[{"role":"user","content":"a"},{"role":"user","content":"a","x":1}]}`, nil, "messages[1].x"},
		{"a member of a message that is carried", `{"messages":[{"role":"user","content":"a","x":1}]}`, Carries{"x": true}, ""},
		{"a member of a part", `{"messages":[{"role":"user","content":[{"type":"text","text":"a"},{"type":"text","text":"a","x":1}]}]}`, nil, "messages[0].content[1].x"},
		{"a member of an image", `{"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"u","x":1}}]}]}`, nil, "messages[0].content[0].image_url.x"},
		{"a member of a tool call", `{"messages":[{"role":"assistant","tool_calls":[{"id":"1","x":1,"function":{"name":"f","arguments":"{}"}}]},{"role":"tool","tool_call_id":"1","content":"a"}]}`, nil, "messages[0].tool_calls[0].x"},
		{"a member of a called function", `{"messages":[{"role":"assistant","tool_calls":[{"id":"1","function":{"name":"f","arguments":"{}","x":1}}]},{"role":"tool","tool_call_id":"1","content":"a"}]}`, nil, "messages[0].tool_calls[0].function.x"},
		{"a member of a tool", `{"tools":[{"type":"function","x":1,"function":{"name":"f"}}],"messages":[{"role":"user","content":"a"}]}`, Carries{"tools": true}, "tools[0].x"},
		{"a member of a function", `{"tools":[{"type":"function","function":{"name":"f","x":1}}],"messages":[{"role":"user","content":"a"}]}`, Carries{"tools": true}, "tools[0].function.x"},
		{"a member of the stream options", `{"stream":true,"stream_options":{"x":1},"messages":[{"role":"user","content":"a"}]}`, nil, "stream_options.x"},
		{"padding of a stream", `{"stream":true,"stream_options":{"include_obfuscation":true},"messages":[{"role":"user","content":"a"}]}`, nil, "stream_options.include_obfuscation"},
		{"no padding of a stream is what happens anyway", `{"stream":true,"stream_options":{"include_obfuscation":false},"messages":[{"role":"user","content":"a"}]}`, nil, ""},
		{"a member of the response format", `{"response_format":{"type":"text","x":1},"messages":[{"role":"user","content":"a"}]}`, nil, "response_format.x"},
		{"a member of the schema of an answer", `{"response_format":{"type":"json_schema","json_schema":{"name":"n","x":1}},"messages":[{"role":"user","content":"a"}]}`, Carries{"response_format": true}, "response_format.json_schema.x"},
		{"a member of the tool choice", `{"tools":[{"type":"function","function":{"name":"f"}}],"tool_choice":{"type":"function","x":1,"function":{"name":"f"}},"messages":[{"role":"user","content":"a"}]}`, Carries{"tools": true, "tool_choice": true}, "tool_choice.x"},
		{"a member of a custom tool call has its place", `{"messages":[{"role":"assistant","tool_calls":[{"id":"1","type":"custom","custom":{"x":1}}]},{"role":"tool","tool_call_id":"1","content":"a"}]}`, nil, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			req, err := Decode([]byte(`{"model":"m",`+c.request[1:]), Limits{})
			if err != nil {
				t.Fatal(err)
			}
			err = req.Check(c.carries, "Some Cloud")
			if c.param == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			e, ok := errors.AsType[*Error](err)
			if !ok {
				t.Fatalf("got %v", err)
			}
			want := Unsupported(c.param, "Some Cloud")
			if d := cmp.Diff(want, e); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestSampling(t *testing.T) {
	t.Parallel()
	half, one := new(0.5), new(1.0)
	for _, c := range []struct {
		name, members     string
		temperature, topP *float64
	}{
		{"neither", "", nil, nil},
		{"the default of one stays where it is alone", `"top_p":1`, nil, one},
		{"the default of the other stays where it is alone", `"temperature":1`, one, nil},
		{"a default beside a wish", `"temperature":0.5,"top_p":1`, half, nil},
		{"a wish beside a default", `"temperature":1,"top_p":0.5`, nil, half},
		{"two defaults are one", `"temperature":1,"top_p":1`, one, nil},
		{"two wishes are for the service to refuse", `"temperature":0.5,"top_p":0.5`, half, half},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			temperature, topP := decoded(t, c.members).Sampling()
			if d := cmp.Diff([]*float64{c.temperature, c.topP}, []*float64{temperature, topP}); d != "" {
				t.Error(d)
			}
		})
	}
}
