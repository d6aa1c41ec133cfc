package azureopenai_test

import (
	"net/http"
	"testing"

	fake "github.com/postern-ai/postern/localdev/fake/azureopenai"
	"github.com/postern-ai/postern/localdev/fake/brain"
	"github.com/postern-ai/postern/shared/config"
	"github.com/postern-ai/postern/shared/provider/azureopenai"
	"github.com/postern-ai/postern/shared/provider/providertest"
)

const token = "entra-token-0123456789abcdef"

func harness(version string) providertest.Harness {
	return providertest.Harness{
		Service: &fake.Server{
			Brain: brain.Echo{}, Deployments: []string{"my-deployment"},
			Authorize: func(got string) (string, bool) { return "client-id", got == token },
		},
		Build: azureopenai.New,
		Upstream: func(address string) *config.Upstream {
			return &config.Upstream{Name: "azure", Provider: config.AzureOpenAI, BaseURL: address, AzureAPIVersion: version}
		},
		Auth: providertest.Bearer(token), Secret: token,
		Name: "Azure OpenAI", Model: "my-deployment",
		Fault: func(status int, message string) providertest.Answer {
			return providertest.Answer{Status: status, Header: http.Header{"Content-Type": {"application/json"}}, Body: fake.NewFault(status, message).Body()}
		},
		StreamFault: func(message string) []byte {
			return append(append([]byte("data: "), fake.NewFault(500, message).Body()...), "\n\n"...)
		},
	}
}

func TestConformanceV1(t *testing.T) {
	t.Parallel()
	providertest.Run(t, harness(""))
}

func TestConformanceDated(t *testing.T) {
	t.Parallel()
	providertest.Run(t, harness("2024-10-21"))
}
