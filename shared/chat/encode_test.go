package chat_test

import (
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/go-cmp/cmp"

	"github.com/postern-ai/postern/shared/chat"
)

func TestAChunkIsAppendedAsItIsMarshalled(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		change func(*chat.Chunk)
	}{
		{"text", func(*chat.Chunk) {}},
		{"text that has to be escaped", func(c *chat.Chunk) { c.Choices[0].Delta.Content = new("\"\\\n\t\x00\u2028<é>🙂") }},
		{"text that is empty", func(c *chat.Chunk) { c.Choices[0].Delta.Content = new("") }},
		{"an id that has to be escaped", func(c *chat.Chunk) { c.ID = `"` }},
		{"another choice", func(c *chat.Chunk) { c.Choices[0].Index = 7 }},
		{"reasoning", func(c *chat.Chunk) { c.Choices[0].Delta = chat.Delta{ReasoningContent: new("hm")} }},
		{"reasoning and text", func(c *chat.Chunk) { c.Choices[0].Delta.ReasoningContent = new("hm") }},
		{"nothing", func(c *chat.Chunk) { c.Choices[0].Delta = chat.Delta{} }},
		{"a role", func(c *chat.Chunk) { c.Choices[0].Delta.Role = chat.RoleAssistant }},
		{"a refusal", func(c *chat.Chunk) { c.Choices[0].Delta.Refusal = new("no") }},
		{"a tool call", func(c *chat.Chunk) {
			c.Choices[0].Delta.ToolCalls = []chat.ToolCall{{Index: new(int64), Function: &chat.FunctionCall{Arguments: "{"}}}
		}},
		{"a finish reason", func(c *chat.Chunk) { c.Choices[0].FinishReason = new(chat.FinishStop) }},
		{"log probabilities", func(c *chat.Chunk) { c.Choices[0].Logprobs = jsontext.Value(`{"content":[]}`) }},
		{"an unknown member", func(c *chat.Chunk) { c.Unknown = jsontext.Value(`{"a":1}`) }},
		{"an unknown member of a choice", func(c *chat.Chunk) { c.Choices[0].Unknown = jsontext.Value(`{"a":1}`) }},
		{"an unknown member of a delta", func(c *chat.Chunk) { c.Choices[0].Delta.Unknown = jsontext.Value(`{"a":1}`) }},
		{"a service tier", func(c *chat.Chunk) { c.ServiceTier = "flex" }},
		{"a fingerprint", func(c *chat.Chunk) { c.SystemFingerprint = "fp" }},
		{"usage", func(c *chat.Chunk) { c.Usage = &chat.Usage{TotalTokens: 7} }},
		{"usage alone", func(c *chat.Chunk) { c.Choices, c.Usage = []chat.ChunkChoice{}, &chat.Usage{TotalTokens: 7} }},
		{"two choices", func(c *chat.Chunk) { c.Choices = append(c.Choices, c.Choices[0]) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c := textChunk("Hello")
			test.change(c)
			want, err := json.Marshal(c)
			if err != nil {
				t.Fatal(err)
			}
			got, err := c.AppendJSON([]byte("data: "))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff("data: "+string(want), string(got)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func FuzzTextIsAppendedAsItIsMarshalled(f *testing.F) {
	for _, seed := range []string{"", "Hello", `"\/`, "\x00\x1f\x7f", "\xff", "\u2028", "é🙂", "</script>"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		c := textChunk(text)
		want, failed := json.Marshal(c)
		got, err := c.AppendJSON(nil)
		if (err != nil) != (failed != nil) || err == nil && string(got) != string(want) {
			t.Errorf("%q: got %s (%v), want %s (%v)", text, got, err, want, failed)
		}
	})
}

func textChunk(text string) *chat.Chunk {
	return &chat.Chunk{
		ID: "chatcmpl-1", Object: chat.ObjectChunk, Created: 1750000000, Model: "m",
		Choices: []chat.ChunkChoice{{Delta: chat.Delta{Content: &text}}},
	}
}
