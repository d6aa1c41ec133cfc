package brain

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func user(text string) []Turn { return []Turn{{Role: "user", Text: text}} }

func TestEcho(t *testing.T) {
	t.Parallel()
	weather := Tool{Name: "get_weather", Schema: []byte(`{"type":"object","properties":{"city":{"type":"string"},"unit":{"enum":["c","f"]},"days":{"type":"integer"}},"required":["city","unit"]}`)}
	clock := Tool{Name: "clock", Schema: []byte(`{"type":"OBJECT","properties":{"zone":{"type":["null","STRING"]}}}`)}
	call := func(i string, name, arguments string) Call {
		return Call{ID: "call_" + i, Name: name, Arguments: arguments}
	}
	for _, c := range []struct {
		name   string
		prompt Prompt
		want   Answer
	}{
		{
			"the answer repeats and counts the words", Prompt{Turns: user("hello there")},
			Answer{Text: "You said in 2 words: hello there", End: End{Stop, Usage{Prompt: 2, Completion: 7}}},
		},
		{
			"instructions, images and the turn show in the answer",
			Prompt{System: []string{"Be", "kind"}, Turns: []Turn{{Role: "user", Text: "a"}, {Role: "assistant", Text: "b"}, {Role: "user", Text: "c", Images: []Image{{"image/png", 70}}}}},
			Answer{
				Text: "You said in 1 words: c | This is your turn 2. | My instructions: Be kind | I see image/png of 70 bytes.",
				End:  End{Stop, Usage{Prompt: 6, Completion: 24}},
			},
		},
		{
			"a mentioned tool is called with the required properties", Prompt{Turns: user("What does get_weather say for Paris?"), Tools: []Tool{weather, clock}},
			Answer{Calls: []Call{call("00010000", "get_weather", `{"city":"Paris","unit":"c"}`)}, End: End{Tools, Usage{Prompt: 10, Completion: 2}}},
		},
		{
			"all mentioned tools are called in the order of the request", Prompt{Turns: user("use clock and get_weather"), Tools: []Tool{weather, clock}},
			Answer{Calls: []Call{
				call("00010000", "get_weather", `{"city":"some city","unit":"c"}`),
				call("00010001", "clock", `{"zone":"some zone"}`),
			}, End: End{Tools, Usage{Prompt: 8, Completion: 6}}},
		},
		{
			"one tool is called where parallel calls are off", Prompt{Turns: user("clock get_weather"), Tools: []Tool{weather, clock}, OneCall: true, ToolChoice: "required"},
			Answer{Calls: []Call{call("00010000", "get_weather", `{"city":"some city","unit":"c"}`)}, End: End{Tools, Usage{Prompt: 6, Completion: 3}}},
		},
		{
			"the first tool is called where one is required and none mentioned", Prompt{Turns: user("hi"), Tools: []Tool{clock, weather}, ToolChoice: "required"},
			Answer{Calls: []Call{call("00010000", "clock", `{"zone":"some zone"}`)}, End: End{Tools, Usage{Prompt: 5, Completion: 3}}},
		},
		{
			"the named tool is called", Prompt{Turns: user("use get_weather"), Tools: []Tool{weather, clock}, ToolChoice: "tool", ToolName: "clock"},
			Answer{Calls: []Call{call("00010000", "clock", `{"zone":"some zone"}`)}, End: End{Tools, Usage{Prompt: 6, Completion: 3}}},
		},
		{
			"no tool is called where none may be", Prompt{Turns: user("use clock"), Tools: []Tool{clock}, ToolChoice: "none"},
			Answer{Text: "You said in 2 words: use clock", End: End{Stop, Usage{Prompt: 4, Completion: 7}}},
		},
		{
			"a part of a word is not a mention", Prompt{Turns: user("use my_clock"), Tools: []Tool{clock}},
			Answer{Text: "You said in 2 words: use my_clock", End: End{Stop, Usage{Prompt: 4, Completion: 7}}},
		},
		{
			"what tools returned is reported", Prompt{Tools: []Tool{clock}, Turns: []Turn{
				{Role: "user", Text: "use clock"},
				{Role: "assistant", Calls: []Call{call("1", "clock", "{}")}},
				{Role: "tool", Results: []Result{{"call_1", "noon"}}},
			}},
			Answer{Text: "You said in 2 words: use clock | The tool clock returned: noon", End: End{Stop, Usage{Prompt: 7, Completion: 13}}},
		},
		{
			"text can come before a call", Prompt{Turns: user("#say(Let me see.) clock"), Tools: []Tool{clock}},
			Answer{Text: "Let me see.", Calls: []Call{call("00010000", "clock", `{"zone":"some zone"}`)}, End: End{Tools, Usage{Prompt: 6, Completion: 6}}},
		},
		{
			"the length is limited", Prompt{Turns: user("#say(one two three)"), MaxTokens: 2},
			Answer{Text: "one two", End: End{Length, Usage{Prompt: 3, Completion: 2}}},
		},
		{
			"an answer of just the allowed length is complete", Prompt{Turns: user("#say(one two three)"), MaxTokens: 3},
			Answer{Text: "one two three", End: End{Stop, Usage{Prompt: 3, Completion: 3}}},
		},
		{
			"the answer ends at the first stop sequence", Prompt{Turns: user("#say(one two three)"), Stop: []string{"three", "o t"}},
			Answer{Text: "one tw", End: End{Stop, Usage{Prompt: 3, Completion: 2}}},
		},
		{
			"JSON is JSON", Prompt{Turns: user("hi"), JSON: true},
			Answer{Text: `{"words":1,"you_said":"hi"}`, End: End{Stop, Usage{Prompt: 1, Completion: 1}}},
		},
		{
			"a long answer has so many words", Prompt{Turns: user("#say(a) #long(3)")},
			Answer{Text: "a word2 word3", End: End{Stop, Usage{Prompt: 2, Completion: 3}}},
		},
		{
			"reasoning counts as completion and cached as prompt", Prompt{Turns: user("#say(a) #reason(5) #cached(1)")},
			Answer{Text: "a", End: End{Stop, Usage{Prompt: 3, Completion: 6, Reasoning: 5, Cached: 1}}},
		},
		{
			"a filter ends the answer half way", Prompt{Turns: user("#say(a b c d) #filter()")},
			Answer{Text: "a b", End: End{Filter, Usage{Prompt: 5, Completion: 2}}},
		},
		{
			"only the last user text steers", Prompt{Turns: []Turn{{Role: "user", Text: "#fail(500)"}, {Role: "user", Text: "a"}}},
			Answer{Text: "You said in 1 words: a | This is your turn 2.", End: End{Stop, Usage{Prompt: 2, Completion: 12}}},
		},
		{
			"an unknown directive is text", Prompt{Turns: user("#wow(1)")},
			Answer{Text: "You said in 1 words: #wow(1)", End: End{Stop, Usage{Prompt: 1, Completion: 6}}},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got, err := Collect(Echo{}.Answer(t.Context(), c.prompt))
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(c.want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestEchoFaults(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		text   string
		before string
		want   Fault
	}{
		{"#fail(429,3)", "", Fault{Kind: FaultStatus, Status: 429, RetryAfter: 3 * time.Second, Message: "The prompt asked for the status 429."}},
		{"#fail(503)", "", Fault{Kind: FaultStatus, Status: 503, Message: "The prompt asked for the status 503."}},
		{"#fail(200)", "", Fault{Kind: FaultStatus, Status: 400, Message: `#fail takes a status from 400 to 599 and perhaps seconds to wait, as in #fail(429,3), not "200"`}},
		{"#slow(x)", "", Fault{Kind: FaultStatus, Status: 400, Message: `#slow takes a duration such as 200ms, not "x"`}},
		{"#long(-1)", "", Fault{Kind: FaultStatus, Status: 400, Message: `#long takes a number up to 200000, not "-1"`}},
		{"#blocked()", "", Fault{Kind: FaultStatus, Status: 400, Message: BlockedPrompt}},
		{"#reset()", "", Fault{Kind: FaultReset}},
		{"#hang()", "", Fault{Kind: FaultHang}},
		{"#say(a b c d) #break()", "a b", Fault{Kind: FaultBreak}},
		{"#say(a b c d) #truncate()", "a b", Fault{Kind: FaultTruncate}},
		{"#say(a b c d) #garbage()", "a b", Fault{Kind: FaultGarbage}},
		{"#say(a b c d) #error()", "a b", Fault{Kind: FaultInStream, Status: 500, Message: "The model stopped with an internal error, as the prompt asked."}},
	} {
		t.Run(c.text, func(t *testing.T) {
			t.Parallel()
			got, err := Collect(Echo{}.Answer(t.Context(), Prompt{Turns: user(c.text)}))
			fault, ok := errors.AsType[*Fault](err)
			if !ok {
				t.Fatalf("got error %v, want a fault", err)
			}
			if d := cmp.Diff(c.want, *fault); d != "" {
				t.Error(d)
			}
			if got.Text != c.before {
				t.Errorf("before the fault came %q, want %q", got.Text, c.before)
			}
		})
	}
}

func TestEchoPiecesAreWords(t *testing.T) {
	t.Parallel()
	var pieces []string
	for piece := range (Echo{}).Answer(t.Context(), Prompt{Turns: user("#say(  one two\nthree )")}) {
		if piece.Text != "" {
			pieces = append(pieces, piece.Text)
		}
	}
	if d := cmp.Diff([]string{"one", " two", "\nthree"}, pieces); d != "" {
		t.Error(d)
	}
}

func TestEchoIsSlowWhenAsked(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		if _, err := Collect(Echo{}.Answer(t.Context(), Prompt{Turns: user("#say(a b c) #slow(2s)")})); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(begin); took != 6*time.Second {
			t.Errorf("took %v, want 6s", took)
		}
	})
}

func FuzzEcho(f *testing.F) {
	f.Add("use clock in Paris #slow(1ns) #fail(1,2)", `{"properties":{"a":{"$ref":"#/$defs/a"}},"$defs":{"a":{"type":"array","items":{"$ref":"#/$defs/a"}}}}`, 3)
	f.Fuzz(func(t *testing.T, text, schema string, maxTokens int) {
		if strings.Contains(text, "#slow") || strings.Contains(text, "#long") {
			return // these only cost time
		}
		answer, err := Collect(Echo{}.Answer(t.Context(), Prompt{
			Turns: user(text), MaxTokens: maxTokens, Tools: []Tool{{Name: "clock", Schema: []byte(schema)}},
		}))
		if _, ok := errors.AsType[*Fault](err); err != nil && !ok {
			t.Fatal(err)
		}
		if maxTokens > 0 && words(answer.Text) > maxTokens {
			t.Fatalf("%d words, limit %d", words(answer.Text), maxTokens)
		}
	})
}
