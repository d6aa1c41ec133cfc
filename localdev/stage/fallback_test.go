package stage

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"

	"github.com/postern-ai/postern/localdev/fake/brain"
	"github.com/postern-ai/postern/localdev/fake/oidc"
)

// replaceable is a model of Bedrock that has fallbacks at the other clouds' services, in every gateway.
const replaceable = "replaceable"

func withFallbacks(document string) string {
	const own = "      - {name: claude-sonnet, model: eu.anthropic.claude-sonnet-4-5-20250929-v1:0"
	return strings.Replace(document, own, strings.Replace(own, "claude-sonnet,", replaceable+",", 1)+", fallbacks: [gemini-flash, gpt-4o-mini]}\n"+own, 1)
}

// outage returns the fault of a model that the prompt says is down, as in "down: claude gemini, ...".
func outage(p brain.Prompt) *brain.Fault {
	text, ok := strings.CutPrefix(p.Turns[len(p.Turns)-1].Text, "down: ")
	down, _, _ := strings.Cut(text, ",")
	for name := range strings.FieldsSeq(down) {
		if ok && strings.Contains(p.Model, name) {
			return &brain.Fault{Kind: brain.FaultStatus, Status: http.StatusTooManyRequests, RetryAfter: 7 * time.Second, Message: "Too many requests."}
		}
	}
	return nil
}

// TestAModelThatIsDownIsReplaced: Bedrock throttles, and Vertex AI or Azure OpenAI answers, whichever cloud's gateway is asked.
func TestAModelThatIsDownIsReplaced(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, down, want, service string }{
		{"nothing is down", "nothing", "", bedrock},
		{"Bedrock is down", "claude", "gemini-flash", vertex},
		{"Bedrock and Vertex AI are down", "claude gemini", "gpt-4o-mini", azureOpenAI},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			onEach(t, func(t *testing.T, cloud string) {
				who := "replaced-" + cloud + "-" + strings.ReplaceAll(c.down, " ", "-")
				var resp *http.Response
				client := openai.NewClient(option.WithBaseURL(shared.Gateways[cloud]+"/v1"), option.WithAPIKey(token(t, oidc.Token{Subject: who})),
					option.WithMaxRetries(0), option.WithResponseInto(&resp))
				params := openai.ChatCompletionNewParams{
					Model: replaceable, Messages: []openai.ChatCompletionMessageParamUnion{openai.UserMessage("down: " + c.down + ", #say(one two three)")},
				}
				answer, err := client.Chat.Completions.New(t.Context(), params)
				if err != nil {
					t.Fatal(err)
				}
				if got := answer.Choices[0].Message.Content; got != "one two three" || resp.Header.Get("X-Fallback-Model") != c.want {
					t.Errorf("got %q of %q", got, resp.Header.Get("X-Fallback-Model"))
				}
				stream := client.Chat.Completions.NewStreaming(t.Context(), params)
				var whole openai.ChatCompletionAccumulator
				for stream.Next() {
					if chunk := stream.Current(); !whole.AddChunk(chunk) {
						t.Fatalf("the chunk does not fit the ones before: %s", chunk.RawJSON())
					}
				}
				if err := stream.Err(); err != nil {
					t.Fatal(err)
				}
				if len(whole.Choices) != 1 || whole.Choices[0].Message.Content != "one two three" || whole.Choices[0].FinishReason != "stop" || resp.Header.Get("X-Fallback-Model") != c.want {
					t.Errorf("streamed %+v of %q", whole.Choices, resp.Header.Get("X-Fallback-Model"))
				}
				if c.want != "" {
					wantAttempts(t, who, len(strings.Fields(c.down))+1)
				}
			})
		})
	}
}

// wantAttempts looks for the log lines of a caller's requests, a whole answer and a streamed one.
func wantAttempts(t *testing.T, who string, attempts int) {
	t.Helper()
	found := 0
	for deadline := time.Now().Add(10 * time.Second); found < 2 && time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		found = 0
		for line := range strings.Lines(output.String()) {
			at := strings.Index(line, "{")
			if at < 0 || !strings.Contains(line, "local/"+who+`"`) {
				continue
			}
			var entry struct {
				Status   int
				Attempts []struct{ Status int }
			}
			if err := json.Unmarshal([]byte(line[at:]), &entry); err != nil {
				t.Fatalf("%v in %q", err, line)
			}
			found++
			if n := len(entry.Attempts); entry.Status != 200 || n != attempts || entry.Attempts[0].Status != 429 || entry.Attempts[n-1].Status != 200 {
				t.Errorf("the line is %s", line)
			}
		}
	}
	if found != 2 {
		t.Errorf("there are %d lines", found)
	}
}

// TestIfAllModelsAreDownTheFirstSaysSo: what the client gets is the throttling of the model that it asked for.
func TestIfAllModelsAreDownTheFirstSaysSo(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, cloud string) {
		c := client(t, cloud)
		_, err := c.Chat.Completions.New(t.Context(), openai.ChatCompletionNewParams{
			Model: replaceable, Messages: []openai.ChatCompletionMessageParamUnion{openai.UserMessage("down: claude gemini gpt, hello")},
		})
		var refused *openai.Error
		if !errors.As(err, &refused) || refused.StatusCode != http.StatusTooManyRequests || refused.Code != "rate_limit_exceeded" || !strings.Contains(refused.Message, "Amazon Bedrock") {
			t.Fatalf("got %v", err)
		}
		if h := refused.Response.Header; h.Get("Retry-After") != "7" || h.Get("X-Fallback-Model") != "" {
			t.Errorf("the headers are %v", h)
		}
	})
}
