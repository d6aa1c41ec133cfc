package vertex_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/postern-ai/postern/localdev/contract"
	"github.com/postern-ai/postern/localdev/fake/brain"
	"github.com/postern-ai/postern/localdev/fake/vertex"
)

const (
	principal = "gateway@local-project.iam.gserviceaccount.com"
	root      = "/v1/projects/local-project/locations/global/"
	flash     = root + "publishers/google/models/gemini-2.5-flash"
	three     = root + "publishers/google/models/gemini-3-flash-preview"
)

// start runs a stand-in whose replies are held against Google's description.
// Requests are not: many of the tests' own are wrong on purpose.
func start(t *testing.T, b brain.Brain) (*vertex.Server, string) {
	t.Helper()
	server := vertex.New(vertex.Options{
		Brain:     b,
		Authorize: func(token string) (string, bool) { return principal, token == "good" },
		Projects:  []string{"local-project"},
		Endpoints: []string{"42"},
	})
	var handler http.Handler = server
	if dir, ok := contract.Dir(); ok {
		description, err := contract.Google(dir, "aiplatform-v1")
		if err != nil {
			t.Fatal(err)
		}
		handler = contract.Check(description, server, func(problems ...contract.Problem) {
			for _, p := range problems {
				if !p.OfRequest() {
					t.Error(p)
				}
			}
		})
	}
	running := httptest.NewServer(handler)
	t.Cleanup(running.Close)
	return server, running.URL
}

// post sends a request with a valid token and returns the status and the body.
func post(t *testing.T, url, body string) (int, string) {
	t.Helper()
	status, _, text := do(t, url, "Bearer good", body)
	return status, text
}

func do(t *testing.T, url, authorization, body string) (int, http.Header, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	if authorization != "" {
		req.Header.Set("Authorization", authorization)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, resp.Header, string(text)
}

const hi = `{"contents":[{"role":"user","parts":[{"text":"Hi there."}]}]}`

// failure is an error as google.rpc.Status has it.
type failure struct {
	Error struct {
		Code    int
		Message string
		Status  string
	}
}

func TestWhatTheServiceRefusesIsRefused(t *testing.T) {
	t.Parallel()
	_, url := start(t, brain.Echo{})
	config := func(g string) string { return strings.TrimSuffix(hi, "}") + `,"generationConfig":` + g + `}` }
	tools := func(rest string) string { return strings.TrimSuffix(hi, "}") + `,` + rest + `}` }
	turns := func(contents ...string) string { return `{"contents":[` + strings.Join(contents, ",") + `]}` }
	const (
		user     = `{"role":"user","parts":[{"text":"a"}]}`
		call     = `{"role":"model","parts":[{"functionCall":{"name":"f","args":{}}}]}`
		signed   = `{"role":"model","parts":[{"functionCall":{"id":"1","name":"f","args":{}},"thoughtSignature":"skip_thought_signature_validator"}]}`
		result   = `{"role":"user","parts":[{"functionResponse":{"name":"f","response":{}}}]}`
		declared = `"tools":[{"functionDeclarations":[{"name":"f"}]}]`
	)
	for _, c := range []struct {
		name, path, body string
		status           int
		message          string
	}{
		{"a path of another kind", "/v1/projects/local-project/locations/global/models:generateContent", hi, 404, ""},
		{"another method", flash + ":countTokens", hi, 501, "countTokens"},
		{"an unknown version", strings.Replace(flash, "v1", "v2", 1) + ":generateContent", hi, 404, ""},
		{"another publisher", strings.Replace(flash, "google", "anthropic", 1) + ":generateContent", hi, 404, "publishers/anthropic/models/gemini-2.5-flash` was not found"},
		{"an unknown project", strings.Replace(flash, "local-project", "foreign", 1) + ":generateContent", hi, 403, "Permission 'aiplatform.endpoints.predict' denied"},
		{"an unknown model", root + "publishers/google/models/gemini-9:generateContent", hi, 404, "Publisher Model"},
		{"an unknown endpoint", root + "endpoints/43:generateContent", hi, 404, "is not found"},
		{"an unknown parameter", flash + ":generateContent?api-version=1", hi, 400, `Unknown name "api-version"`},
		{"events of a method that does not stream", flash + ":generateContent?alt=sse", hi, 400, "alt"},
		{"an unknown form", flash + ":streamGenerateContent?alt=media", hi, 400, ""},

		{"no JSON", "", `{`, 400, "Invalid JSON payload received."},
		{"an unknown member", "", `{"contents":[],"temperature":1}`, 400, `Invalid JSON payload received. Unknown name "temperature": Cannot find field.`},
		{"an unknown member further in", "", `{"contents":[{"parts":[{"text":"a","inline":1}]}]}`, 400, `Unknown name "inline" at 'contents[0].parts[0]': Cannot find field.`},
		{"a wrong type", "", config(`{"maxOutputTokens":"many"}`), 400, "Invalid value at 'generation_config.max_output_tokens' (TYPE_INT32)"},
		{"broken base64", "", turns(`{"role":"user","parts":[{"inlineData":{"mimeType":"image/png","data":"?"}}]}`), 400, "Base64"},

		{"no contents", "", `{"contents":[]}`, 400, "at least one contents field"},
		{"an unknown role", "", turns(`{"role":"assistant","parts":[{"text":"a"}]}`), 400, "valid role: user, model"},
		{"no parts", "", turns(`{"role":"user","parts":[]}`), 400, "at least one parts field"},
		{"an empty part", "", turns(`{"role":"user","parts":[{}]}`), 400, "must have a text parameter"},
		{"an empty text", "", turns(`{"role":"user","parts":[{"text":""}]}`), 400, "must have a text parameter"},
		{"two things in a part", "", turns(`{"role":"user","parts":[{"text":"a","fileData":{"mimeType":"image/png","fileUri":"gs://a/b"}}]}`), 400, "oneof"},
		{"a media type that no model takes", "", turns(`{"role":"user","parts":[{"inlineData":{"mimeType":"image/gif","data":"AAAA"}}]}`), 400, "image/gif, which is not supported"},
		{"media without a type", "", turns(`{"role":"user","parts":[{"fileData":{"fileUri":"gs://a/b"}}]}`), 400, "empty mimeType"},
		{"a file of nowhere", "", turns(`{"role":"user","parts":[{"fileData":{"mimeType":"image/png","fileUri":"file:///b"}}]}`), 400, "fileUri"},
		{"media of nothing", "", turns(`{"role":"user","parts":[{"inlineData":{"mimeType":"image/png"}}]}`), 400, "empty inlineData"},
		{"media from the model", "", turns(user, `{"role":"model","parts":[{"inlineData":{"mimeType":"image/png","data":"AAAA"}}]}`, user), 400, "role user"},
		{"a resolution before Gemini 3", "", turns(`{"role":"user","parts":[{"inlineData":{"mimeType":"image/png","data":"AAAA"},"mediaResolution":{"level":"MEDIA_RESOLUTION_LOW"}}]}`), 400, "media_resolution"},
		{"an instruction that is no text", "", tools(`"systemInstruction":{"parts":[{"text":""}]}`), 400, "systemInstruction"},
		{"an instruction without parts", "", tools(`"systemInstruction":{}`), 400, "systemInstruction"},

		{"the model's own words last", "", turns(user, `{"role":"model","parts":[{"text":"b"}]}`), 400, "last turn"},
		{"a call by the user", "", turns(`{"role":"user","parts":[{"functionCall":{"name":"f"}}]}`), 400, "role model"},
		{"a call after the model spoke", "", turns(user, `{"role":"model","parts":[{"text":"b"}]}`, call, result), 400, "immediately after a user turn"},
		{"a call at the very start", "", turns(call, result), 400, "immediately after a user turn"},
		{"a call without a result", "", turns(user, call, user), 400, "number of function response parts"},
		{"more results than calls", "", turns(user, call, `{"role":"user","parts":[{"functionResponse":{"name":"f","response":{}}},{"functionResponse":{"name":"f","response":{}}}]}`), 400, "number of function response parts"},
		{"a result of no call", "", turns(user, `{"role":"model","parts":[{"text":"b"}]}`, result), 400, "function response turn comes immediately after"},
		{"a result with something beside it", three, turns(user, signed, `{"role":"user","parts":[{"functionResponse":{"id":"1","name":"f","response":{}}},{"text":"b"}]}`), 400, "ending with a model turn"},
		{"a result of another function", "", turns(user, call, `{"role":"user","parts":[{"functionResponse":{"name":"g","response":{}}}]}`), 400, "name of function response"},
		{"a result without a response", "", turns(user, call, `{"role":"user","parts":[{"functionResponse":{"name":"f"}}]}`), 400, "has no response"},
		{"an id before Gemini 3", "", turns(user, strings.Replace(call, `"name"`, `"id":"1","name"`, 1), result), 400, `Unknown name "id" at 'contents[1].parts[0].function_call'`},
		{"a call of Gemini 3 without a signature", three, turns(user, strings.Replace(call, `"name"`, `"id":"1","name"`, 1), strings.Replace(result, `"name"`, `"id":"1","name"`, 1)), 400, "function call `f` in the 2. content block is missing a `thought_signature`"},
		{"a signature that nobody gave", three, turns(user, strings.Replace(signed, "skip_thought_signature_validator", "AAAA", 1), strings.Replace(result, `"name"`, `"id":"1","name"`, 1)), 400, "Corrupted thought signature."},
		{"a result of Gemini 3 without its id", three, turns(user, signed, result), 400, "id of function response"},

		{"a function with a bad name", "", tools(`"tools":[{"functionDeclarations":[{"name":"1st"}]}]`), 400, "Invalid function name"},
		{"a function declared twice", "", tools(`"tools":[{"functionDeclarations":[{"name":"f"},{"name":"f"}]}]`), 400, "Duplicate function declaration found: f"},
		{"two schemas of a function", "", tools(`"tools":[{"functionDeclarations":[{"name":"f","parameters":{"type":"OBJECT"},"parametersJsonSchema":{"type":"object"}}]}]`), 400, "both a schema and a JSON schema"},
		{"parameters that are no object", "", tools(`"tools":[{"functionDeclarations":[{"name":"f","parametersJsonSchema":{"type":"string"}}]}]`), 400, "should be of type OBJECT"},
		{"an unknown mode", "", tools(declared + `,"toolConfig":{"functionCallingConfig":{"mode":"MUST"}}`), 400, "function_calling_config.mode"},
		{"a demand without functions", "", tools(`"toolConfig":{"functionCallingConfig":{"mode":"ANY"}}`), 400, "without function_declarations"},
		{"names with another mode than any", "", tools(declared + `,"toolConfig":{"functionCallingConfig":{"mode":"AUTO","allowedFunctionNames":["f"]}}`), 400, "mode is ANY"},
		{"a name that is not declared", "", tools(declared + `,"toolConfig":{"functionCallingConfig":{"mode":"ANY","allowedFunctionNames":["g"]}}`), 400, "is not declared"},
		{"a tool of Google's", "", tools(`"tools":[{"googleSearch":{}}]`), 501, "Google's own tools"},

		{"too hot", "", config(`{"temperature":2.1}`), 400, "temperature value of 2.1"},
		{"too likely", "", config(`{"topP":1.1}`), 400, "topP value"},
		{"too present", "", config(`{"presencePenalty":-2.5}`), 400, "presencePenalty value"},
		{"too many tokens", "", config(`{"maxOutputTokens":65537}`), 400, "supported range is from 1 (inclusive) to 65537 (exclusive)"},
		{"no tokens", "", config(`{"maxOutputTokens":0}`), 400, "maxOutputTokens value of 0"},
		{"too many candidates", "", config(`{"candidateCount":9}`), 400, "candidateCount value of 9"},
		{"too many stop sequences", "", config(`{"stopSequences":["a","b","c","d","e","f"]}`), 400, "stopSequences value of 6"},
		{"likelihoods that were not asked for", "", config(`{"logprobs":2}`), 400, "responseLogprobs"},
		{"a seed beyond 32 bits", "", config(`{"seed":2147483648}`), 400, "generation_config.seed"},
		{"a schema without JSON", "", config(`{"responseJsonSchema":{"type":"object"}}`), 400, "responseMimeType of application/json"},
		{"an unknown kind of answer", "", config(`{"responseMimeType":"text/html"}`), 400, "text/html"},
		{"a level before Gemini 3", "", config(`{"thinkingConfig":{"thinkingLevel":"LOW"}}`), 400, "thinking level LOW is not supported"},
		{"a budget out of range", "", config(`{"thinkingConfig":{"thinkingBudget":24577}}`), 400, "integers from 0 to 24576"},
		{"no thoughts of a model that always has some", root + "publishers/google/models/gemini-2.5-pro", config(`{"thinkingConfig":{"thinkingBudget":0}}`), 400, "integers from 128 to 32768"},
		{"thoughts of a model that has none", root + "publishers/google/models/gemini-2.0-flash-001", config(`{"thinkingConfig":{"thinkingBudget":1024}}`), 400, "thinking is not supported"},
		{"a level that a model lacks", root + "publishers/google/models/gemini-3.1-pro-preview", config(`{"thinkingConfig":{"thinkingLevel":"MINIMAL"}}`), 400, "MINIMAL is not supported"},
		{"a level and a budget", three, config(`{"thinkingConfig":{"thinkingLevel":"LOW","thinkingBudget":1}}`), 400, "both set"},
		{"a label in capitals", "", tools(`"labels":{"Team":"a"}`), 400, "Invalid label"},
		{"a label's value in capitals", "", tools(`"labels":{"team":"A"}`), 400, "Invalid label"},
		{"a harm that nobody knows", "", tools(`"safetySettings":[{"category":"BOREDOM","threshold":"OFF"}]`), 400, "safety setting"},
		{"a cache", "", tools(`"cachedContent":"x"`), 501, "cachedContent"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			path := c.path
			if path == "" {
				path = flash
			}
			if !strings.Contains(path, "enerateContent") && !strings.Contains(path, "countTokens") {
				path += ":generateContent"
			}
			status, text := post(t, url+path, c.body)
			var f failure
			err := json.Unmarshal([]byte(text), &f)
			if status != c.status || !strings.Contains(f.Error.Message, c.message) || c.message != "" && (err != nil || f.Error.Code != status) {
				t.Errorf("got %d %s, want %d %s", status, text, c.status, c.message)
			}
		})
	}
}

func TestWhoAsksMustBeKnown(t *testing.T) {
	t.Parallel()
	server, url := start(t, brain.Echo{})
	for _, c := range []struct{ name, authorization, message string }{
		{"no credential", "", "missing required authentication credential"},
		{"another scheme", "Basic Z29vZA==", "missing required authentication credential"},
		{"an unknown token", "Bearer bad", "invalid authentication credentials"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			status, header, text := do(t, url+flash+":generateContent", c.authorization, `not even JSON`)
			if status != 401 || !strings.Contains(text, c.message) || !strings.Contains(text, "UNAUTHENTICATED") || header.Get("WWW-Authenticate") == "" {
				t.Errorf("got %d %s", status, text)
			}
		})
	}
	t.Cleanup(func() {
		if calls := server.Calls(); len(calls) != 0 {
			t.Errorf("calls were let in: %v", calls)
		}
	})
}

func TestCallsAreRemembered(t *testing.T) {
	t.Parallel()
	server, url := start(t, brain.Echo{})
	for _, path := range []string{
		flash + ":generateContent",
		"/v1beta1/projects/local-project/locations/europe-west4/publishers/google/models/gemini-2.5-pro:streamGenerateContent?alt=sse",
		root + "endpoints/42:generateContent",
	} {
		if status, text := post(t, url+path, hi); status != 200 {
			t.Fatalf("%s: %d %s", path, status, text)
		}
	}
	want := []vertex.Call{
		{Principal: principal, Project: "local-project", Location: "global", Model: "gemini-2.5-flash"},
		{Principal: principal, Project: "local-project", Location: "europe-west4", Model: "gemini-2.5-pro", Stream: true},
		{Principal: principal, Project: "local-project", Location: "global", Model: "endpoints/42"},
	}
	if d := cmp.Diff(want, server.Calls()); d != "" {
		t.Error(d)
	}
}

// reply is as much of an answer as the tests look at.
type reply struct {
	Candidates []struct {
		Index   int
		Content struct {
			Role  string
			Parts []struct {
				Text             *string
				Thought          bool
				FunctionCall     *struct{ ID, Name string }
				ThoughtSignature string
			}
		}
		FinishReason string
	}
	PromptFeedback *struct{ BlockReason string }
	UsageMetadata  map[string]any
	ResponseID     string
}

func TestAStreamIsEventsWithoutAMarker(t *testing.T) {
	t.Parallel()
	_, url := start(t, brain.Echo{})
	status, text := post(t, url+flash+":streamGenerateContent?alt=sse", `{"contents":[{"parts":[{"text":"#say(one two three) #reason(5)"}]}],"generationConfig":{"candidateCount":2}}`)
	if status != 200 || strings.Contains(text, "[DONE]") || strings.Count(text, "\r\n") != strings.Count(text, "\n") {
		t.Fatalf("got %d %q", status, text)
	}
	var said [2]string
	var last reply
	var totals []float64
	for event := range strings.SplitSeq(strings.TrimSuffix(text, "\r\n\r\n"), "\r\n\r\n") {
		data, ok := strings.CutPrefix(event, "data: ")
		last = reply{}
		if err := json.Unmarshal([]byte(data), &last); !ok || err != nil {
			t.Fatalf("event %q: %v", event, err)
		}
		for _, c := range last.Candidates {
			for _, p := range c.Content.Parts {
				said[c.Index] += *p.Text
			}
		}
		total, _ := last.UsageMetadata["candidatesTokenCount"].(float64)
		totals = append(totals, total)
	}
	if d := cmp.Diff([2]string{"one two three", "one two three"}, said); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]float64{0, 4, 6, 6}, totals); d != "" {
		t.Errorf("the counts are not totals: %s", d)
	}
	if last.Candidates[1].FinishReason != "STOP" || last.UsageMetadata["thoughtsTokenCount"] != 5.0 {
		t.Errorf("the last event is %+v", last)
	}
}

func TestAStreamWithoutEventsIsAnArray(t *testing.T) {
	t.Parallel()
	_, url := start(t, brain.Echo{})
	status, text := post(t, url+flash+":streamGenerateContent", hi)
	var replies []reply
	if err := json.Unmarshal([]byte(text), &replies); status != 200 || err != nil || len(replies) < 3 {
		t.Errorf("got %d %s: %v", status, text, err)
	}
	status, text = post(t, url+flash+":streamGenerateContent", `{}`)
	var failures []failure
	if err := json.Unmarshal([]byte(text), &failures); status != 400 || err != nil || len(failures) != 1 {
		t.Errorf("got %d %s: %v", status, text, err)
	}
}

func TestGemini3SignsItsCallsAndWantsThemBack(t *testing.T) {
	t.Parallel()
	_, url := start(t, brain.Echo{})
	const ask = `{"role":"user","parts":[{"text":"get_time and get_date"}]}`
	const tools = `,"tools":[{"functionDeclarations":[{"name":"get_time"},{"name":"get_date"}]}]}`
	status, text := post(t, url+three+":generateContent", `{"contents":[`+ask+`]`+tools)
	var r reply
	if err := json.Unmarshal([]byte(text), &r); status != 200 || err != nil {
		t.Fatalf("got %d %s: %v", status, text, err)
	}
	parts := r.Candidates[0].Content.Parts
	if len(parts) != 2 || parts[0].ThoughtSignature == "" || parts[1].ThoughtSignature != "" || parts[0].FunctionCall.ID == parts[1].FunctionCall.ID {
		t.Fatalf("got %s", text)
	}
	model := fmt.Sprintf(`{"role":"model","parts":[{"functionCall":{"id":%q,"name":"get_time","args":{}},"thoughtSignature":%q},{"functionCall":{"id":%q,"name":"get_date","args":{}}}]}`,
		parts[0].FunctionCall.ID, parts[0].ThoughtSignature, parts[1].FunctionCall.ID)
	results := fmt.Sprintf(`{"role":"user","parts":[{"functionResponse":{"id":%q,"name":"get_date","response":{"output":"today"}}},{"functionResponse":{"id":%q,"name":"get_time","response":{"hour":9}}}]}`,
		parts[1].FunctionCall.ID, parts[0].FunctionCall.ID)
	status, text = post(t, url+three+":generateContent", `{"contents":[`+ask+`,`+model+`,`+results+`]`+tools)
	if status != 200 || !strings.Contains(text, "The tool get_date returned: today") || !strings.Contains(text, `The tool get_time returned: {\"hour\":9}`) {
		t.Errorf("got %d %s", status, text)
	}
	// Earlier turns are not looked at.
	old := strings.Replace(model, `,"thoughtSignature":"`+parts[0].ThoughtSignature+`"`, "", 1)
	if status, text = post(t, url+three+":generateContent", `{"contents":[`+ask+`,`+old+`,`+results+`,`+`{"role":"model","parts":[{"text":"ok"}]},{"role":"user","parts":[{"text":"thanks"}]}]`+tools); status != 200 {
		t.Errorf("got %d %s", status, text)
	}
}

func TestThoughtsAreShownOnDemand(t *testing.T) {
	t.Parallel()
	_, url := start(t, brain.Echo{})
	_, text := post(t, url+flash+":generateContent", `{"contents":[{"parts":[{"text":"#reason(7)"}]}],"generationConfig":{"thinkingConfig":{"includeThoughts":true}}}`)
	if !strings.Contains(text, `"thought": true`) {
		t.Errorf("got %s", text)
	}
}

func TestFaultsLookAsTheServicesDo(t *testing.T) {
	t.Parallel()
	_, url := start(t, brain.Echo{})
	prompt := func(text string) string { return fmt.Sprintf(`{"contents":[{"parts":[{"text":%q}]}]}`, text) }
	for _, c := range []struct {
		name, prompt string
		status       int
		says, lacks  string // of the whole answer and of the stream
	}{
		{"a status with a time to wait", "#fail(429,3)", 429, `"retryDelay": "3s"`, ""},
		{"a blocked prompt", "#blocked()", 200, "blockReason", "finishReason"},
	} {
		for _, method := range []string{":generateContent", ":streamGenerateContent?alt=sse"} {
			t.Run(c.name+method, func(t *testing.T) {
				t.Parallel()
				status, text := post(t, url+flash+method, prompt(c.prompt))
				if status != c.status || !strings.Contains(text, c.says) || c.lacks != "" && strings.Contains(text, c.lacks) {
					t.Errorf("got %d %s", status, text)
				}
			})
		}
	}
	for _, c := range []struct{ name, prompt, says string }{
		{"an error within a stream", "#error() #say(a b)", `"error":{"code":500`},
		{"a stream that ends too early", "#truncate() #say(a b)", `"text":"a"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			status, text := post(t, url+flash+":streamGenerateContent?alt=sse", prompt(c.prompt))
			if status != 200 || !strings.Contains(text, c.says) || strings.Contains(text, "finishReason") {
				t.Errorf("got %d %s", status, text)
			}
		})
	}
}

// Faults that break JSON or the connection are not for the description's eyes.
func TestBrokenAnswersAreBroken(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(vertex.New(vertex.Options{
		Brain: brain.Echo{}, Projects: []string{"local-project"},
		Authorize: func(string) (string, bool) { return principal, true },
	}))
	defer server.Close()
	for _, directive := range []string{"#reset()", "#break()", "#truncate()", "#garbage()", "#hang()"} {
		for _, method := range []string{":generateContent", ":streamGenerateContent?alt=sse"} {
			t.Run(directive+method, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
				if directive != "#hang()" {
					cancel()
					ctx, cancel = context.WithCancel(t.Context())
				}
				defer cancel()
				body := fmt.Sprintf(`{"contents":[{"parts":[{"text":"%s #say(one two three)"}]}]}`, directive)
				req, err := http.NewRequestWithContext(ctx, http.MethodPost, server.URL+flash+method, strings.NewReader(body))
				if err != nil {
					t.Fatal(err)
				}
				req.Header.Set("Content-Type", "application/json")
				req.Header.Set("Authorization", "Bearer good")
				resp, err := http.DefaultClient.Do(req)
				if err != nil {
					return
				}
				defer resp.Body.Close()
				text, err := io.ReadAll(resp.Body)
				if err != nil {
					return
				}
				if json.Valid(text) || bytes.Contains(text, []byte("finishReason")) && strings.Contains(method, "stream") {
					t.Errorf("got a whole answer: %s", text)
				}
			})
		}
	}
}

func TestTheFrontEndKnowsNoJSON(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(vertex.New(vertex.Options{
		Brain: brain.Echo{}, Projects: []string{"local-project"},
		Authorize: func(string) (string, bool) { return principal, true },
	}))
	defer server.Close()
	status, text := post(t, server.URL+flash+":generateContent", `{"contents":[{"parts":[{"text":"#fail(502)"}]}]}`)
	if status != 502 || !strings.Contains(text, "<title>Error 502") {
		t.Errorf("got %d %s", status, text)
	}
}

// stepping is a brain that says a word only when it is told to.
type stepping struct{ words chan string }

func (s stepping) Answer(context.Context, brain.Prompt) iter.Seq2[brain.Piece, error] {
	return func(yield func(brain.Piece, error) bool) {
		for word := range s.words {
			if !yield(brain.Piece{Text: word}, nil) {
				return
			}
		}
		yield(brain.Piece{End: &brain.End{Finish: brain.Stop}}, nil)
	}
}

func TestEachEventIsSentBeforeTheNextIsMade(t *testing.T) {
	t.Parallel()
	words := make(chan string)
	_, url := start(t, stepping{words})
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+flash+":streamGenerateContent?alt=sse", strings.NewReader(hi))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer good")
	go func() { words <- "one" }()
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	next := func(want string) {
		for lines.Scan() {
			if strings.HasPrefix(lines.Text(), "data: ") {
				if !strings.Contains(lines.Text(), want) {
					t.Fatalf("got %s, want %s", lines.Text(), want)
				}
				return
			}
		}
		t.Fatalf("the stream ended before %s", want)
	}
	next("one")
	words <- "two"
	next("two")
	close(words)
	next("STOP")
}
