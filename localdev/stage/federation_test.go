package stage

import (
	"strings"
	"testing"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"

	"github.com/postern-ai/postern/localdev/fake/oidc"
)

// TestEveryCloudCallsEveryModelWithoutAKey has the function of each cloud call
// the model service of each of the others, OpenAI and Anthropic. What lets it in there is its own
// platform's identity, and the stand-ins say whom they let in as.
func TestEveryCloudCallsEveryModelWithoutAKey(t *testing.T) {
	t.Parallel()
	signers := map[string]map[string]string{
		AWS: {
			GCP:   "arn:aws:sts::123456789012:assumed-role/postern-from-elsewhere/from-gcp",
			Azure: "arn:aws:sts::123456789012:assumed-role/postern-from-elsewhere/from-azure",
		},
		GCP: {
			AWS:   "principal:" + strings.TrimSuffix(pool, "/providers/") + "/subject/arn:aws:sts::123456789012:assumed-role/postern-gateway/",
			Azure: "principal:" + strings.TrimSuffix(pool, "/providers/") + "/subject/" + objectID,
		},
		Azure: {AWS: appID, GCP: appID},
	}
	vendor := map[string]string{AWS: vendorAccount, GCP: vendorAccount, Azure: vendorAccount}
	signers[openAI], signers[anthropic] = vendor, vendor
	services := map[string]string{AWS: bedrock, GCP: vertex, Azure: azureOpenAI, openAI: openAI, anthropic: anthropic}
	models := map[string]string{AWS: Model(AWS), GCP: Model(GCP), Azure: Model(Azure), openAI: openAIModel, anthropic: anthropicModel}
	for _, from := range Clouds() {
		for _, to := range append(Clouds(), openAI, anthropic) {
			if from == to {
				continue
			}
			t.Run("from "+from+" to "+to, func(t *testing.T) {
				t.Parallel()
				client := openai.NewClient(option.WithBaseURL(shared.Gateways[from]+"/v1/"), option.WithAPIKey(token(t, oidc.Token{})), option.WithMaxRetries(0))
				prompt := "hello from " + from + " to " + to
				messages := []openai.ChatCompletionMessageParamUnion{openai.UserMessage(prompt)}
				answer, err := client.Chat.Completions.New(t.Context(), openai.ChatCompletionNewParams{Model: models[to], Messages: messages})
				if err != nil {
					t.Fatalf("%v\n%s", err, output.String())
				}
				if got := answer.Choices[0].Message.Content; !strings.Contains(got, prompt) {
					t.Errorf("got %q", got)
				}
				stream := client.Chat.Completions.NewStreaming(t.Context(), openai.ChatCompletionNewParams{Model: models[to], Messages: messages})
				text := ""
				for stream.Next() {
					for _, choice := range stream.Current().Choices {
						text += choice.Delta.Content
					}
				}
				if err := stream.Err(); err != nil || !strings.Contains(text, prompt) {
					t.Errorf("got %q, %v", text, err)
				}
				var seen []string
				for _, call := range shared.Calls() {
					if call.Service != services[to] {
						continue
					}
					if strings.HasPrefix(call.Signer, signers[to][from]) {
						return
					}
					seen = append(seen, call.Signer)
				}
				t.Errorf("%s let in %q, want %q", services[to], seen, signers[to][from])
			})
		}
	}
}
