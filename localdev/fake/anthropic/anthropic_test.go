package anthropic_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	sdk "github.com/anthropics/anthropic-sdk-go"
	"github.com/anthropics/anthropic-sdk-go/option"
	"github.com/google/go-cmp/cmp"

	"github.com/postern-ai/postern/localdev/fake/anthropic"
	"github.com/postern-ai/postern/localdev/fake/brain"
)

const key = "sk-ant-api03-test"

// stand is a stand-in under test.
type stand struct {
	url string

	mu    sync.Mutex
	calls []anthropic.Call
}

func newStand(t *testing.T) *stand {
	t.Helper()
	s := new(stand)
	server := httptest.NewServer(anthropic.New(anthropic.Options{
		Brain:     brain.Echo{},
		Authorize: func(token string) (string, bool) { return "tester", token == key },
		Called: func(c anthropic.Call) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.calls = append(s.calls, c)
		},
	}))
	t.Cleanup(server.Close)
	s.url = server.URL
	return s
}

// client is the official client.
func (s *stand) client(o ...option.RequestOption) sdk.Client {
	return sdk.NewClient(append([]option.RequestOption{
		option.WithoutEnvironmentDefaults(), option.WithoutOpenTelemetry(),
		option.WithBaseURL(s.url), option.WithAPIKey(key), option.WithMaxRetries(0),
	}, o...)...)
}

func params(model string, messages ...sdk.MessageParam) sdk.MessageNewParams {
	return sdk.MessageNewParams{Model: model, MaxTokens: 2048, Messages: messages}
}

func user(text string) sdk.MessageParam { return sdk.NewUserMessage(sdk.NewTextBlock(text)) }

func weather() []sdk.ToolUnionParam {
	return []sdk.ToolUnionParam{
		{OfTool: &sdk.ToolParam{
			Name: "weather", Description: sdk.String("Tells the weather"),
			InputSchema: sdk.ToolInputSchemaParam{Properties: map[string]any{"city": map[string]any{"type": "string"}}, Required: []string{"city"}},
		}},
		{OfTool: &sdk.ToolParam{Name: "clock", InputSchema: sdk.ToolInputSchemaParam{Properties: map[string]any{}}}},
	}
}

// ask sends a request once as a whole and once as a stream. The client makes the
// same of both, but for what a stream tells in another place.
func ask(t *testing.T, c sdk.Client, p sdk.MessageNewParams) *sdk.Message {
	t.Helper()
	whole, err := c.Messages.New(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	events := c.Messages.NewStreaming(t.Context(), p)
	var streamed sdk.Message
	for events.Next() {
		if err := streamed.Accumulate(events.Current()); err != nil {
			t.Fatal(err)
		}
	}
	if err := events.Err(); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(plain(t, whole), plain(t, &streamed)); d != "" {
		t.Errorf("the stream does not add up to the whole answer: %s", d)
	}
	known(t, whole)
	return whole
}

// plain returns what matters of a message.
func plain(t *testing.T, m *sdk.Message) map[string]any {
	t.Helper()
	out := map[string]any{
		"model": m.Model, "stop": m.StopReason, "details": m.StopDetails.Explanation,
		"input": m.Usage.InputTokens, "output": m.Usage.OutputTokens,
		"read": m.Usage.CacheReadInputTokens, "written": m.Usage.CacheCreationInputTokens,
		"thinking": m.Usage.OutputTokensDetails.ThinkingTokens, "tier": m.Usage.ServiceTier,
	}
	var content []any
	for _, b := range m.Content {
		content = append(content, []any{b.Type, b.Text, b.ID, b.Name, string(b.Input), b.Thinking, b.Signature})
	}
	out["content"] = content
	return out
}

// known makes sure that an answer has nothing which the official client's types
// do not.
func known(t *testing.T, m *sdk.Message) {
	t.Helper()
	if m.Type != "message" || m.Role != "assistant" {
		t.Errorf("the answer is a %q of the %q", m.Type, m.Role)
	}
	for name := range m.JSON.ExtraFields {
		t.Errorf("the answer has a member %q", name)
	}
	for name := range m.Usage.JSON.ExtraFields {
		t.Errorf("the usage has a member %q", name)
	}
	for i, b := range m.Content {
		switch v := b.AsAny().(type) {
		case sdk.TextBlock:
			if len(v.JSON.ExtraFields) > 0 {
				t.Errorf("block %d: %v", i, v.JSON.ExtraFields)
			}
		case sdk.ToolUseBlock:
			if len(v.JSON.ExtraFields) > 0 {
				t.Errorf("block %d: %v", i, v.JSON.ExtraFields)
			}
		case sdk.ThinkingBlock:
			if len(v.JSON.ExtraFields) > 0 {
				t.Errorf("block %d: %v", i, v.JSON.ExtraFields)
			}
		default:
			t.Errorf("block %d is a %T", i, v)
		}
	}
}

func text(m *sdk.Message) string {
	var b strings.Builder
	for _, c := range m.Content {
		b.WriteString(c.Text)
	}
	return b.String()
}

func TestTheOfficialClientIsAnswered(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	c := s.client()
	p := params("claude-sonnet-4-6", user("hello there"))
	p.System = []sdk.TextBlockParam{{Text: "Be brief."}}
	p.Temperature, p.StopSequences = sdk.Float(0.5), []string{"zzz"}
	p.Metadata = sdk.MetadataParam{UserID: sdk.String("u1")}
	got := ask(t, c, p)
	if want := "You said in 2 words: hello there | My instructions: Be brief."; text(got) != want {
		t.Errorf("got %q, want %q", text(got), want)
	}
	if got.StopReason != sdk.StopReasonEndTurn || got.Usage.InputTokens != 4 || got.Usage.OutputTokens == 0 {
		t.Errorf("got stop reason %q and usage %+v", got.StopReason, got.Usage)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.calls) != 2 || s.calls[0].Principal != "tester" || s.calls[0].Scheme != "x-api-key" || s.calls[0].Model != p.Model || s.calls[0].Stream || !s.calls[1].Stream {
		t.Errorf("the calls are %+v", s.calls)
	}
}

func TestToolsRunTheirRound(t *testing.T) {
	t.Parallel()
	c := newStand(t).client()
	for _, model := range []string{"claude-haiku-4-5-20251001", "claude-opus-5-5"} {
		t.Run(model, func(t *testing.T) {
			t.Parallel()
			p := params(model, user("weather in Paris and clock"))
			p.Tools = weather()
			first := ask(t, c, p)
			if first.StopReason != sdk.StopReasonToolUse {
				t.Fatalf("the stop reason is %q", first.StopReason)
			}
			results := sdk.NewUserMessage()
			for _, b := range first.Content {
				if b.Type == "tool_use" {
					results.Content = append(results.Content, sdk.NewToolResultBlock(b.ID, b.Name+" says "+string(b.Input), false))
				}
			}
			p.Messages = append(p.Messages, first.ToParam(), results)
			second := ask(t, c, p)
			for _, want := range []string{`weather returned: weather says {"city":"Paris"}`, "clock returned: clock says {}"} {
				if !strings.Contains(text(second), want) {
					t.Errorf("the answer %q lacks %q", text(second), want)
				}
			}
		})
	}
}

func TestToolChoiceIsObeyed(t *testing.T) {
	t.Parallel()
	c := newStand(t).client()
	for _, choice := range []struct {
		name   string
		choice sdk.ToolChoiceUnionParam
		calls  string
	}{
		{"any", sdk.ToolChoiceUnionParam{OfAny: &sdk.ToolChoiceAnyParam{}}, "weather clock"},
		{"a tool", sdk.ToolChoiceParamOfTool("clock"), "clock"},
		{"none", sdk.ToolChoiceUnionParam{OfNone: &sdk.ToolChoiceNoneParam{}}, ""},
		{"one at a time", sdk.ToolChoiceUnionParam{OfAuto: &sdk.ToolChoiceAutoParam{DisableParallelToolUse: sdk.Bool(true)}}, "weather"},
		{"auto", sdk.ToolChoiceUnionParam{OfAuto: &sdk.ToolChoiceAutoParam{}}, "weather clock"},
	} {
		t.Run(choice.name, func(t *testing.T) {
			t.Parallel()
			p := params("claude-sonnet-4-6", user("weather and clock"))
			p.Tools, p.ToolChoice = weather(), choice.choice
			var names []string
			for _, b := range ask(t, c, p).Content {
				if b.Type == "tool_use" {
					names = append(names, b.Name)
				}
			}
			if got := strings.Join(names, " "); got != choice.calls {
				t.Errorf("got calls %q, want %q", got, choice.calls)
			}
		})
	}
}

func TestThinkingIsShownOrOmitted(t *testing.T) {
	t.Parallel()
	c := newStand(t).client()
	adaptive := func(display sdk.ThinkingConfigAdaptiveDisplay) sdk.ThinkingConfigParamUnion {
		return sdk.ThinkingConfigParamUnion{OfAdaptive: &sdk.ThinkingConfigAdaptiveParam{Display: display}}
	}
	off := sdk.NewThinkingConfigDisabledParam()
	for _, row := range []struct {
		name, model string
		thinking    sdk.ThinkingConfigParamUnion
		blocks      int
		thought     string
	}{
		{"a model that thinks when asked does not otherwise", "claude-sonnet-4-6", sdk.ThinkingConfigParamUnion{}, 1, ""},
		{"adaptive", "claude-sonnet-4-6", adaptive(""), 2, "Let me think about this."},
		{"a budget", "claude-haiku-4-5-20251001", sdk.ThinkingConfigParamOfEnabled(1024), 2, "Let me think about this."},
		{"newer models keep it to themselves", "claude-opus-5-5", sdk.ThinkingConfigParamUnion{}, 2, ""},
		{"newer models show it when asked", "claude-opus-5-5", adaptive("summarized"), 2, "Let me think about this."},
		{"it can be turned off", "claude-sonnet-5", sdk.ThinkingConfigParamUnion{OfDisabled: &off}, 1, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			p := params(row.model, user("hello #reason(7)"))
			p.Thinking = row.thinking
			got := ask(t, c, p)
			if len(got.Content) != row.blocks || got.Content[0].Thinking != row.thought || got.Usage.OutputTokensDetails.ThinkingTokens != 7 {
				t.Errorf("got %v", plain(t, got))
			}
		})
	}
}

func TestOtherAnswersOfTheOfficialClient(t *testing.T) {
	t.Parallel()
	c := newStand(t).client()
	t.Run("an image is seen", func(t *testing.T) {
		t.Parallel()
		p := params("claude-sonnet-4-6", sdk.NewUserMessage(sdk.NewImageBlockBase64("image/png", pixel), sdk.NewImageBlock(sdk.URLImageSourceParam{URL: "https://example.com/a.png"})))
		if got := text(ask(t, c, p)); !strings.Contains(got, "I see image/png of 70 bytes.") || !strings.Contains(got, "example.com/a.png") {
			t.Errorf("got %q", got)
		}
	})
	t.Run("an answer of a schema is JSON", func(t *testing.T) {
		t.Parallel()
		p := params("claude-sonnet-4-6", user("hello"))
		p.OutputConfig = sdk.OutputConfigParam{Effort: "low", Format: sdk.JSONOutputFormatParam{Schema: map[string]any{"type": "object", "additionalProperties": false}}}
		if got := text(ask(t, c, p)); !json.Valid([]byte(got)) {
			t.Errorf("got %q", got)
		}
	})
	t.Run("cached tokens are counted apart", func(t *testing.T) {
		t.Parallel()
		got := ask(t, c, params("claude-sonnet-4-6", user("one two three #cached(2)")))
		if got.Usage.InputTokens+got.Usage.CacheReadInputTokens != 4 || got.Usage.CacheReadInputTokens != 2 {
			t.Errorf("got %+v", got.Usage)
		}
	})
	t.Run("a mark writes to the cache", func(t *testing.T) {
		t.Parallel()
		p := params("claude-sonnet-4-6", user("one two three four"))
		p.CacheControl = sdk.NewCacheControlEphemeralParam()
		if got := ask(t, c, p); got.Usage.CacheCreationInputTokens != 2 || got.Usage.InputTokens != 2 {
			t.Errorf("got %+v", got.Usage)
		}
	})
	t.Run("an answer is cut at its length", func(t *testing.T) {
		t.Parallel()
		p := params("claude-sonnet-4-6", user("#say(one two three)"))
		p.MaxTokens = 2
		if got := ask(t, c, p); text(got) != "one two" || got.StopReason != sdk.StopReasonMaxTokens {
			t.Errorf("got %v", plain(t, got))
		}
	})
	t.Run("a filter refuses half way", func(t *testing.T) {
		t.Parallel()
		got := ask(t, c, params("claude-sonnet-4-6", user("#say(one two) #filter()")))
		if text(got) != "one" || got.StopReason != sdk.StopReasonRefusal || got.StopDetails.Type != "refusal" {
			t.Errorf("got %v", plain(t, got))
		}
	})
	t.Run("a prompt is declined", func(t *testing.T) {
		t.Parallel()
		got := ask(t, c, params("claude-sonnet-4-6", user("#blocked()")))
		if len(got.Content) != 0 || got.StopReason != sdk.StopReasonRefusal || got.StopDetails.Explanation == "" {
			t.Errorf("got %v", plain(t, got))
		}
	})
	t.Run("the models are listed", func(t *testing.T) {
		t.Parallel()
		page, err := c.Models.List(t.Context(), sdk.ModelListParams{})
		if err != nil || len(page.Data) != len(anthropic.DefaultModels()) || page.HasMore {
			t.Errorf("got %v and %v", page, err)
		}
		one, err := c.Models.Get(t.Context(), "claude-opus-5-5", sdk.ModelGetParams{})
		if err != nil || one.ID != "claude-opus-5-5" {
			t.Errorf("got %v and %v", one, err)
		}
	})
}

func TestCredentials(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	for _, row := range []struct {
		name   string
		header map[string]string
		status int
		says   string
	}{
		{"no credential", nil, 401, "x-api-key header is required"},
		{"a wrong key", map[string]string{"X-Api-Key": "nobody's"}, 401, "invalid x-api-key"},
		{"a key without a version", map[string]string{"X-Api-Key": key, "Anthropic-Version": ""}, 400, "anthropic-version: header is required"},
		{"a key with another version", map[string]string{"X-Api-Key": key, "Anthropic-Version": "2027-01-01"}, 400, `anthropic-version: "2027-01-01" is not a valid version`},
		{"a token without the beta", map[string]string{"Authorization": "Bearer " + key}, 401, "OAuth authentication is currently not supported."},
		{"a wrong token", map[string]string{"Authorization": "Bearer x", "Anthropic-Beta": "oauth-2025-04-20"}, 401, "Invalid bearer token"},
		{"a token", map[string]string{"Authorization": "Bearer " + key, "Anthropic-Beta": "other-1, oauth-2025-04-20"}, 200, ""},
		{"a key", map[string]string{"X-Api-Key": key}, 200, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			status, says := s.post(t, `{"model":"claude-sonnet-4-6","max_tokens":9,"messages":[{"role":"user","content":"hi"}]}`, row.header)
			if status != row.status || says != row.says {
				t.Errorf("got %d %q, want %d %q", status, says, row.status, row.says)
			}
		})
	}
}

// post sends a body with some headers and returns the status and the message of
// an error.
func (s *stand) post(t *testing.T, body string, header map[string]string) (int, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.url+"/v1/messages", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Anthropic-Version", anthropic.Version)
	for name, value := range header {
		if r.Header.Set(name, value); value == "" {
			r.Header.Del(name)
		}
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(resp.Header.Get("Request-Id"), "req_") {
		t.Error("the answer has no request id")
	}
	var e struct {
		Type  string
		Error struct{ Type, Message string }
	}
	if err := json.Unmarshal(answer, &e); err != nil {
		t.Fatalf("%v: %s", err, answer)
	}
	if (resp.StatusCode != http.StatusOK) != (e.Type == "error") {
		t.Errorf("status %d with a body of type %q", resp.StatusCode, e.Type)
	}
	return resp.StatusCode, e.Error.Message
}

const pixel = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
