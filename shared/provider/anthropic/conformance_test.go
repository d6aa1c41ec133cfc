package anthropic_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	fake "github.com/postern-ai/postern/localdev/fake/anthropic"
	"github.com/postern-ai/postern/localdev/fake/brain"
	"github.com/postern-ai/postern/shared/chat"
	"github.com/postern-ai/postern/shared/config"
	"github.com/postern-ai/postern/shared/provider/anthropic"
	"github.com/postern-ai/postern/shared/provider/providertest"
)

const key = "sk-ant-api03-the-key"

// keyed puts an API key on, as Anthropic wants it.
type keyed struct{}

func (keyed) Authorize(r *http.Request) error {
	r.Header.Set("X-Api-Key", key)
	return nil
}

func (keyed) Rejected(*http.Request) {}

func service() http.Handler {
	return fake.New(fake.Options{
		Brain:     brain.Echo{},
		Authorize: func(token string) (string, bool) { return "gateway", token == key },
	})
}

func entry(address string) *config.Upstream {
	return &config.Upstream{Name: "anthropic", Provider: config.Anthropic, BaseURL: address}
}

func TestConformance(t *testing.T) {
	t.Parallel()
	t.Run("a model that decides itself how much to think", func(t *testing.T) {
		t.Parallel()
		providertest.Run(t, harness("claude-sonnet-4-6"))
	})
	t.Run("a model that takes no level of effort", func(t *testing.T) {
		t.Parallel()
		h := harness("claude-haiku-4-5-20251001")
		h.Refuses["reasoning_effort"] = chat.CodeUnsupportedValue
		providertest.Run(t, h)
	})
}

func harness(model string) providertest.Harness {
	refuses := map[string]string{}
	for _, name := range []string{
		"frequency_penalty", "presence_penalty", "seed", "n", "logprobs", "top_logprobs", "logit_bias", "verbosity",
		"metadata", "store", "prompt_cache_key", "prompt_cache_retention", "modalities", "audio", "prediction",
		"web_search_options", "functions", "function_call", "unknown members",
	} {
		refuses[name] = chat.CodeUnsupportedParameter
	}
	refuses["response_format json_object"] = chat.CodeUnsupportedValue
	refuses["service_tier"] = chat.CodeUnsupportedValue // "flex"
	return providertest.Harness{
		Service: service(), Build: anthropic.New, Upstream: entry,
		Auth: keyed{}, Secret: key,
		Name: "Anthropic", Model: model,
		Refuses: refuses,
		Fault: func(status int, message string) providertest.Answer {
			return providertest.Answer{
				Status: status, Header: http.Header{"Content-Type": {"application/json"}, "Request-Id": {"req_011CZf4bBZVAf7Cwgw44J4uf"}},
				Body: []byte(reported(kindOf(status), message)),
			}
		},
		StreamFault: func(message string) []byte {
			return []byte("event: error\ndata: " + reported("api_error", message) + "\n\n")
		},
	}
}

func kindOf(status int) string {
	return map[int]string{
		400: "invalid_request_error", 401: "authentication_error", 403: "permission_error", 404: "not_found_error",
		429: "rate_limit_error", 500: "api_error", 503: "api_error",
	}[status]
}

// reported returns an error as the API writes it.
func reported(kind, message string) string {
	return fmt.Sprintf(`{"type":"error","error":{"type":%q,"message":%q},"request_id":"req_011CZf4bBZVAf7Cwgw44J4uf"}`, kind, strings.ToValidUTF8(message, "?"))
}
