package providertest

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/postern-ai/postern/shared/chat"
)

// pixel is a PNG image of one pixel, 70 bytes.
const pixel = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="

// answers asks for texts.
func (h Harness) answers(t *testing.T) {
	u := h.upstream(t, h.Service)
	image := fmt.Sprintf(`{"type":"image_url","image_url":{"url":"data:image/png;base64,%s"}}`, pixel)
	for _, c := range []struct {
		name, request string
		says          []string // what the answer must contain
		is            string   // or what it must be
		finish        string
		needs         string // a parameter without which the case makes no sense
	}{
		{
			name: "a text is answered", finish: chat.FinishStop,
			request: `{"messages":[{"role":"user","content":"hello there"}]}`, says: []string{"hello there"},
		},
		{
			name: "every character arrives", finish: chat.FinishStop,
			request: `{"messages":[{"role":"user","content":"grüße 日本語 🙂 \"quoted\" back\\slash </b> \u2028 end"}]}`,
			says:    []string{"grüße 日本語 🙂 \"quoted\" back\\slash </b>", "end"},
		},
		{
			name: "system and developer messages instruct", finish: chat.FinishStop,
			request: `{"messages":[{"role":"system","content":"Be brief."},{"role":"developer","content":[{"type":"text","text":"Be kind."}]},{"role":"user","content":"hi"}]}`,
			says:    []string{"Be brief.", "Be kind."},
		},
		{
			name: "earlier turns arrive", finish: chat.FinishStop,
			request: `{"messages":[{"role":"user","content":"one"},{"role":"assistant","content":"first"},{"role":"user","content":"two"},{"role":"assistant","content":[{"type":"text","text":"second"}]},{"role":"user","content":"three"}]}`,
			says:    []string{"three", "turn 3"},
		},
		{
			name: "text parts are all read", finish: chat.FinishStop,
			request: `{"messages":[{"role":"user","content":[{"type":"text","text":"part one"},{"type":"text","text":"part two"}]}]}`,
			says:    []string{"part one", "part two"},
		},
		{
			name: "an image is seen", finish: chat.FinishStop,
			request: `{"messages":[{"role":"user","content":[{"type":"text","text":"what is this"},` + image + `]}]}`,
			says:    []string{"what is this", fmt.Sprintf("image/png of %d bytes", base64Size(t, pixel))},
		},
		{
			name: "an image alone is seen", finish: chat.FinishStop,
			request: `{"messages":[{"role":"user","content":[` + image + `]}]}`, says: []string{"image/png"},
		},
		{
			name: "max_tokens limits the answer", finish: chat.FinishLength,
			request: `{"max_tokens":3,"messages":[{"role":"user","content":"#say(one two three four five)"}]}`, is: "one two three",
		},
		{
			name: "max_completion_tokens limits the answer", finish: chat.FinishLength,
			request: `{"max_completion_tokens":3,"messages":[{"role":"user","content":"#say(one two three four five)"}]}`, is: "one two three",
		},
		{
			name: "one stop sequence ends the answer", finish: chat.FinishStop, needs: "stop",
			request: `{"stop":"three","messages":[{"role":"user","content":"#say(one two three four five)"}]}`, is: "one two ",
		},
		{
			name: "the first of several stop sequences ends the answer", finish: chat.FinishStop, needs: "stop",
			request: `{"stop":["five","two"],"messages":[{"role":"user","content":"#say(one two three four five)"}]}`, is: "one ",
		},
		{
			name: "a long answer is whole", finish: chat.FinishStop,
			request: `{"messages":[{"role":"user","content":"#say(a) #long(1000)"}]}`, says: []string{"a word2 word3 ", " word500 ", " word1000"},
		},
		{
			name: "what a filter cut says so", finish: chat.FinishContentFilter,
			request: `{"messages":[{"role":"user","content":"#say(one two three four) #filter()"}]}`, is: "one two",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if h.Refuses[c.needs] != "" {
				return
			}
			got, _ := h.ask(t, u, c.request)
			for _, text := range c.says {
				if !strings.Contains(got.Text, text) {
					t.Errorf("the answer %q lacks %q", chat.Clip(got.Text, 300), text)
				}
			}
			if c.is != "" && got.Text != c.is {
				t.Errorf("the answer is %q, want %q", got.Text, c.is)
			}
			if got.Finish != c.finish {
				t.Errorf("the finish reason is %q, want %q", got.Finish, c.finish)
			}
		})
	}
	t.Run("usage counts cached and reasoning tokens", func(t *testing.T) {
		t.Parallel()
		got, _ := h.ask(t, u, `{"messages":[{"role":"user","content":"#say(one two) #cached(2) #reason(7)"}]}`)
		want := usage{Prompt: got.Usage.Prompt, Completion: 9, Total: got.Usage.Prompt + 9, Cached: 2, Reasoning: 7}
		if h.NoReasoningCount {
			want.Reasoning = 0
		}
		if d := cmp.Diff(want, got.Usage); d != "" {
			t.Error(d)
		}
	})
}

func base64Size(t *testing.T, s string) int {
	data, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return len(data)
}

// offer is a list of tools: one with required properties, one without any, one
// without a schema.
const offer = `"tools":[
	{"type":"function","function":{"name":"get_weather","description":"The weather of a city.","parameters":{"type":"object","properties":{"city":{"type":"string"},"unit":{"type":"string","enum":["celsius","kelvin"]}},"required":["city","unit"]}}},
	{"type":"function","function":{"name":"get_time","description":"The time.","parameters":{"type":"object","properties":{}}}},
	{"type":"function","function":{"name":"do_nothing"}}]`

// tools asks for tool calls.
func (h Harness) tools(t *testing.T) {
	u := h.upstream(t, h.Service)
	weather := call{"get_weather", `{"city":"Paris","unit":"celsius"}`}
	clock, nothing := call{"get_time", `{}`}, call{"do_nothing", `{}`}
	for _, c := range []struct {
		name, request string
		text          string
		calls         []call
		needs         string
	}{
		{
			name: "a tool is called with its arguments", calls: []call{weather},
			request: `{` + offer + `,"messages":[{"role":"user","content":"What does get_weather say of Paris"}]}`,
		},
		{
			name: "a tool without parameters is called with an empty object", calls: []call{clock},
			request: `{` + offer + `,"tool_choice":"auto","messages":[{"role":"user","content":"get_time please"}]}`,
		},
		{
			name: "a tool without a schema is called with an empty object", calls: []call{nothing},
			request: `{` + offer + `,"messages":[{"role":"user","content":"do_nothing please"}]}`,
		},
		{
			name: "several tools are called at once", calls: []call{weather, clock, nothing},
			request: `{` + offer + `,"messages":[{"role":"user","content":"do_nothing, then get_time and get_weather in Paris"}]}`,
		},
		{
			name: "text comes before a call", text: "Let me see.", calls: []call{weather, clock},
			request: `{` + offer + `,"messages":[{"role":"user","content":"get_weather and get_time in Paris #say(Let me see.)"}]}`,
		},
		{
			name: "one call where parallel calls are off", calls: []call{weather}, needs: "parallel_tool_calls",
			request: `{` + offer + `,"parallel_tool_calls":false,"messages":[{"role":"user","content":"get_time and get_weather in Paris"}]}`,
		},
		{
			name: "a call is required", calls: []call{weather},
			request: `{` + offer + `,"tool_choice":"required","messages":[{"role":"user","content":"How is Paris"}]}`,
		},
		{
			name: "one function is required", calls: []call{clock},
			request: `{` + offer + `,"tool_choice":{"type":"function","function":{"name":"get_time"}},"messages":[{"role":"user","content":"get_weather in Paris"}]}`,
		},
		{
			name: "no call is allowed", text: "no", needs: "tool_choice none",
			request: `{` + offer + `,"tool_choice":"none","messages":[{"role":"user","content":"get_weather in Paris #say(no)"}]}`,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if h.Refuses[c.needs] != "" {
				return
			}
			got, _ := h.ask(t, u, c.request)
			want := answer{Text: c.text, Calls: c.calls, Finish: chat.FinishToolCalls, Usage: got.Usage}
			if c.calls == nil {
				want.Finish = chat.FinishStop
			}
			if d := cmp.Diff(want, got); d != "" {
				t.Error(d)
			}
		})
	}
	t.Run("the results of tools are read", func(t *testing.T) { t.Parallel(); h.roundTrip(t, u) })
}

// roundTrip sends a model's calls back with their results, in another order
// than they were made, and then goes on talking.
func (h Harness) roundTrip(t *testing.T, u *upstream) {
	ask := `{"role":"user","content":"get_weather in Paris and get_time"}`
	first, message := h.ask(t, u, `{`+offer+`,"messages":[`+ask+`]}`)
	if len(first.Calls) != 2 {
		t.Fatalf("got %d calls, want 2", len(first.Calls))
	}
	results := fmt.Sprintf(`{"role":"tool","tool_call_id":%q,"content":"ten past nine"},{"role":"tool","tool_call_id":%q,"content":[{"type":"text","text":"{\"degrees\":21}"}]}`,
		message.ToolCalls[1].ID, message.ToolCalls[0].ID)
	history := ask + "," + encode(t, message) + "," + results
	second, answered := h.ask(t, u, `{`+offer+`,"messages":[`+history+`]}`)
	for _, text := range []string{"get_time returned: ten past nine", `get_weather returned: {"degrees":21}`} {
		if !strings.Contains(second.Text, text) {
			t.Errorf("the answer %q lacks %q", second.Text, text)
		}
	}
	if second.Finish != chat.FinishStop {
		t.Errorf("the finish reason is %q", second.Finish)
	}
	history += "," + encode(t, answered) + `,{"role":"user","content":"thank you"}`
	third, _ := h.ask(t, u, `{`+offer+`,"messages":[`+history+`]}`)
	if !strings.Contains(third.Text, "thank you") {
		t.Errorf("the answer %q lacks the last text", third.Text)
	}
}

// parameters sends every documented parameter with a value that asks for
// something. It is carried, or refused by name; there is no third way.
func (h Harness) parameters(t *testing.T) {
	u := h.upstream(t, h.Service)
	schema := `{"type":"json_schema","json_schema":{"name":"answer","strict":true,"schema":{"type":"object","properties":{"words":{"type":"integer"}},"required":["words"],"additionalProperties":false}}}`
	function := `[{"name":"get_time","parameters":{"type":"object","properties":{}}}]`
	topLogprobs := "top_logprobs"
	if _, both := h.Refuses["logprobs"]; both {
		topLogprobs = "logprobs" // the first of the two is named
	}
	for _, p := range []struct {
		name, value string
		param       string // what the error names, if not name
	}{
		{name: "temperature", value: `"temperature":0.5`},
		{name: "top_p", value: `"top_p":0.5`},
		{name: "frequency_penalty", value: `"frequency_penalty":0.5`},
		{name: "presence_penalty", value: `"presence_penalty":0.5`},
		{name: "max_tokens", value: `"max_tokens":50`},
		{name: "max_completion_tokens", value: `"max_completion_tokens":50`},
		{name: "stop", value: `"stop":["zzz"]`},
		{name: "seed", value: `"seed":7`},
		{name: "n", value: `"n":2`},
		{name: "logprobs", value: `"logprobs":true`},
		{name: "top_logprobs", param: topLogprobs, value: `"logprobs":true,"top_logprobs":2`},
		{name: "logit_bias", value: `"logit_bias":{"50256":-100}`},
		{name: "tools", value: offer},
		{name: "tool_choice", value: offer + `,"tool_choice":"required"`},
		{name: "tool_choice none", param: "tool_choice", value: offer + `,"tool_choice":"none"`},
		{name: "parallel_tool_calls", value: offer + `,"parallel_tool_calls":false`},
		{name: "response_format json_object", param: "response_format", value: `"response_format":{"type":"json_object"}`},
		{name: "response_format json_schema", param: "response_format", value: `"response_format":` + schema},
		{name: "reasoning_effort", value: `"reasoning_effort":"low"`},
		{name: "verbosity", value: `"verbosity":"low"`},
		{name: "user", value: `"user":"someone"`},
		{name: "safety_identifier", value: `"safety_identifier":"someone"`},
		{name: "metadata", value: `"metadata":{"a":"b"}`},
		{name: "store", value: `"store":true`},
		{name: "service_tier", value: `"service_tier":"flex"`},
		{name: "prompt_cache_key", value: `"prompt_cache_key":"k"`},
		{name: "prompt_cache_retention", value: `"prompt_cache_retention":"24h"`},
		{name: "modalities", value: `"modalities":["text","audio"],"audio":{"voice":"alloy","format":"wav"}`},
		{name: "audio", value: `"audio":{"voice":"alloy","format":"wav"}`},
		{name: "prediction", value: `"prediction":{"type":"content","content":"hello"}`},
		{name: "web_search_options", value: `"web_search_options":{}`},
		{name: "functions", value: `"functions":` + function},
		{name: "function_call", value: `"function_call":"auto"`},
	} {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			text := `{` + p.value + `,"messages":[{"role":"user","content":"hello as JSON"}]}`
			code, refused := h.Refuses[p.name]
			for _, stream := range []bool{false, true} {
				req := h.request(t, text)
				req.Stream = stream
				_, err := u.collectEither(t, req)
				switch {
				case !refused && err != nil:
					t.Errorf("stream %t: %v", stream, err)
				case refused:
					want := Want{Status: 400, Type: chat.TypeInvalidRequest, Code: code, Param: p.name}
					if p.param != "" {
						want.Param = p.param
					}
					checkError(t, h, err, want)
				}
			}
		})
	}
	h.refusesStrangers(t, u)
}

// refusesStrangers makes sure that where nothing strange is carried on, it is
// refused by its path, not dropped.
func (h Harness) refusesStrangers(t *testing.T, u *upstream) {
	const unknown = "unknown members"
	code, refused := h.Refuses[unknown]
	if !refused {
		return
	}
	for _, c := range []struct{ param, request string }{
		{"top_k", `{"top_k":3,"messages":[{"role":"user","content":"a"}]}`},
		{"messages[0].strange", `{"messages":[{"role":"user","content":"a","strange":1}]}`},
		{"messages[0].content[0].strange", `{"messages":[{"role":"user","content":[{"type":"text","text":"a","strange":1}]}]}`},
		{"tools[0].strange", `{"tools":[{"type":"function","strange":1,"function":{"name":"a"}}],"messages":[{"role":"user","content":"a"}]}`},
		{"tools[0].function.strange", `{"tools":[{"type":"function","function":{"name":"a","strange":1}}],"messages":[{"role":"user","content":"a"}]}`},
	} {
		t.Run(unknown+": "+c.param, func(t *testing.T) {
			t.Parallel()
			_, err := u.Chat(t.Context(), h.request(t, c.request))
			checkError(t, h, err, Want{Status: 400, Type: chat.TypeInvalidRequest, Code: code, Param: c.param})
		})
	}
}

// collectEither asks for a whole answer or for a stream, as the request says.
func (u *upstream) collectEither(t *testing.T, req *chat.Request) (int, error) {
	if req.Stream {
		chunks, err := u.collect(t.Context(), req)
		return len(chunks), err
	}
	resp, err := u.Chat(t.Context(), req)
	if err != nil {
		return 0, err
	}
	return len(resp.Choices), nil
}
