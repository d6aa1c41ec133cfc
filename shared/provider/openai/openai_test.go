package openai_test

import (
	"encoding/json"
	"net/http"
	"testing"

	"github.com/postern-ai/postern/localdev/fake/brain"
	fake "github.com/postern-ai/postern/localdev/fake/openai"
	"github.com/postern-ai/postern/shared/config"
	"github.com/postern-ai/postern/shared/provider/openai"
	"github.com/postern-ai/postern/shared/provider/providertest"
)

const key = "sk-test-0123456789abcdef"

func authorize(token string) (string, bool) { return "test", token == key }

func harness(service *fake.Server, provider config.Provider) providertest.Harness {
	return providertest.Harness{
		Service: service,
		Build:   openai.New,
		Upstream: func(address string) *config.Upstream {
			return &config.Upstream{Name: "local", Provider: provider, BaseURL: address + "/v1"}
		},
		Auth: providertest.Bearer(key), Secret: key,
		Name: "OpenAI", Model: "gpt-4.1",
		Fault: func(status int, message string) providertest.Answer {
			body, _ := json.Marshal(fake.NewError(status, message))
			return providertest.Answer{Status: status, Header: http.Header{"Content-Type": {"application/json"}}, Body: body}
		},
		StreamFault: func(message string) []byte {
			body, _ := json.Marshal(fake.NewError(500, message))
			return append(append([]byte("data: "), body...), "\n\n"...)
		},
	}
}

func TestConformance(t *testing.T) {
	t.Parallel()
	providertest.Run(t, harness(&fake.Server{Brain: brain.Echo{}, Authorize: authorize, Models: []string{"gpt-4.1"}}, config.OpenAI))
}

func TestConformanceOfCompatibleServers(t *testing.T) {
	t.Parallel()
	h := harness(&fake.Server{Brain: brain.Echo{}, Authorize: authorize, Lenient: true}, config.CustomOpenAI)
	h.Name = "Upstream local"
	providertest.Run(t, h)
}
