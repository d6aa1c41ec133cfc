package stage

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"

	"github.com/postern-ai/postern/localdev/fake/oidc"
)

// withRules puts rules for the groups of these tests before the rule for everyone.
func withRules(_, document string) string {
	return "mfa: {acr_values: [mfa], max_age: 10m}\n" + strings.Replace(document, "policy:\n", `policy:
  - {name: guarded, match: {groups: [guarded]}, models: ["*"], mfa: always}
  - {name: limited, match: {groups: [limited]}, models: ["*"], limits: {requests_per_minute: 2}}
`, 1)
}

// chatAs makes one chat as a caller.
func chatAs(ctx context.Context, cloud, token string) error {
	c := openai.NewClient(option.WithBaseURL(shared.Gateways[cloud]+"/v1"), option.WithAPIKey(token), option.WithMaxRetries(0))
	_, err := c.Chat.Completions.New(ctx, openai.ChatCompletionNewParams{
		Model: Model(cloud), Messages: []openai.ChatCompletionMessageParamUnion{openai.UserMessage("#say(hi)")},
	})
	return err
}

// TestAClientStepsUp goes the way of RFC 9470: the challenge, the metadata that it leads to, and the same request with the token of a user who
// has signed in anew.
func TestAClientStepsUp(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, cloud string) {
		err := chatAs(t.Context(), cloud, token(t, oidc.Token{Subject: "stepper", Groups: []string{"guarded"}}))
		var refused *openai.Error
		if !errors.As(err, &refused) {
			t.Fatalf("got %v", err)
		}
		if refused.StatusCode != http.StatusUnauthorized || refused.Code != "insufficient_user_authentication" {
			t.Fatalf("got %d %s: %s", refused.StatusCode, refused.Code, refused.Message)
		}
		challenge := refused.Response.Header.Get("WWW-Authenticate")
		want := `Bearer error="insufficient_user_authentication", error_description="A different authentication level is required", acr_values="mfa", max_age="600", resource_metadata="`
		address, ok := strings.CutPrefix(challenge, want)
		address, ok2 := strings.CutSuffix(address, `"`)
		if !ok || !ok2 {
			t.Fatalf("the challenge is %s", challenge)
		}
		public := shared.Gateways[cloud]
		if cloud == AWS {
			public = "https://gateway-aws0url.lambda-url." + Region + ".on.aws" // by which the platform knows a function URL
		}
		if address != public+"/.well-known/oauth-protected-resource" {
			t.Errorf("the metadata is at %s, and the gateway at %s", address, public)
		}
		answer, err := http.Get(shared.Gateways[cloud] + "/.well-known/oauth-protected-resource")
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		var metadata struct {
			Resource string
			Servers  []string `json:"authorization_servers"`
		}
		if err := json.NewDecoder(answer.Body).Decode(&metadata); err != nil || answer.StatusCode != 200 {
			t.Fatalf("status %d, %v", answer.StatusCode, err)
		}
		if metadata.Resource != public || len(metadata.Servers) != 1 || metadata.Servers[0] != shared.services.issuer.URL() {
			t.Errorf("the metadata is %+v", metadata)
		}
		if err := chatAs(t.Context(), cloud, token(t, oidc.Token{Subject: "stepper", Groups: []string{"guarded"}, MFA: true})); err != nil {
			t.Errorf("with a second factor: %v", err)
		}
	})
}

// TestACallerIsLimited: whichever instance a request meets, one that has had its two says so as OpenAI does.
func TestACallerIsLimited(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, cloud string) {
		bearer := token(t, oidc.Token{Subject: "eager-" + cloud, Groups: []string{"limited"}})
		const instances = 10
		var refused *openai.Error
		for i := range 2*instances + 1 {
			err := chatAs(t.Context(), cloud, bearer)
			if errors.As(err, &refused) {
				if i < 2 {
					t.Fatalf("request %d is refused: %v", i+1, err)
				}
				break
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if refused == nil || refused.StatusCode != http.StatusTooManyRequests || refused.Code != "rate_limit_exceeded" || refused.Type != "rate_limit_error" {
			t.Fatalf("got %v", refused)
		}
		h := refused.Response.Header
		for name, want := range map[string]string{"X-Ratelimit-Limit-Requests": "2", "X-Ratelimit-Remaining-Requests": "0"} {
			if got := h.Get(name); got != want {
				t.Errorf("%s is %q", name, got)
			}
		}
		if h.Get("Retry-After") == "" || h.Get("Retry-After-Ms") == "" || h.Get("X-Ratelimit-Reset-Requests") == "" {
			t.Errorf("the headers are %v", h)
		}
		if err := chatAs(t.Context(), cloud, token(t, oidc.Token{Subject: "calm-" + cloud, Groups: []string{"limited"}})); err != nil {
			t.Errorf("somebody else: %v", err)
		}
	})
}

// TestBedrocksLogNamesTheCaller: what the service would log of a call is what the gateway's line says of its caller.
func TestBedrocksLogNamesTheCaller(t *testing.T) {
	t.Parallel()
	if err := chatAs(t.Context(), AWS, token(t, oidc.Token{Subject: "attributed"})); err != nil {
		t.Fatal(err)
	}
	for _, c := range shared.Calls() {
		if c.Service == bedrock && c.Caller != "" && strings.Contains(output.String(), `"caller":"local/attributed","caller_id":"`+c.Caller+`"`) {
			return
		}
	}
	t.Errorf("no call of %+v is that of the caller", shared.Calls())
}
