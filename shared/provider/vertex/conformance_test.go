package vertex_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/postern-ai/postern/localdev/contract"
	"github.com/postern-ai/postern/localdev/fake/brain"
	fake "github.com/postern-ai/postern/localdev/fake/vertex"
	"github.com/postern-ai/postern/shared/chat"
	"github.com/postern-ai/postern/shared/config"
	"github.com/postern-ai/postern/shared/provider/providertest"
	"github.com/postern-ai/postern/shared/provider/vertex"
)

const (
	token   = "ya29.c.the-token"
	project = "local-project"
)

// service is the stand-in, watched by Google's own description where there is
// one: neither side may share a mistake with the other.
func service(t *testing.T) http.Handler {
	t.Helper()
	server := fake.New(fake.Options{
		Brain:     brain.Echo{},
		Authorize: func(got string) (string, bool) { return "gateway@local-project.iam.gserviceaccount.com", got == token },
		Projects:  []string{project},
		Endpoints: []string{"1234567890"},
	})
	dir, ok := contract.Dir()
	if !ok {
		t.Log("the vendors' descriptions are not there: traffic is not checked against them")
		return server
	}
	description, err := contract.Google(dir, "aiplatform-v1")
	if err != nil {
		t.Fatal(err)
	}
	return contract.Check(description, server, func(problems ...contract.Problem) {
		for _, p := range problems {
			t.Error(p)
		}
	})
}

func entry(address string) *config.Upstream {
	return &config.Upstream{Name: "vertex", Provider: config.Vertex, BaseURL: address, ProjectID: project, LocationID: "global"}
}

func TestConformance(t *testing.T) {
	t.Parallel()
	for _, model := range []string{"gemini-3-flash-preview", "gemini-2.5-flash"} {
		t.Run(model, func(t *testing.T) {
			t.Parallel()
			providertest.Run(t, harness(t, model))
		})
	}
}

func harness(t *testing.T, model string) providertest.Harness {
	refuses := map[string]string{}
	for _, name := range []string{
		"logit_bias", "parallel_tool_calls", "verbosity", "safety_identifier", "store", "service_tier",
		"prompt_cache_key", "prompt_cache_retention", "modalities", "audio", "prediction", "web_search_options",
		"functions", "function_call", "unknown members",
	} {
		refuses[name] = chat.CodeUnsupportedParameter
	}
	return providertest.Harness{
		Service: service(t), Build: vertex.New, Upstream: entry,
		Auth: providertest.Bearer(token), Secret: token,
		Name: "Google Vertex AI", Model: model,
		Refuses: refuses,
		Fault: func(status int, message string) providertest.Answer {
			return providertest.Answer{
				Status: status, Header: http.Header{"Content-Type": {"application/json; charset=UTF-8"}},
				Body: []byte(rpcError(status, message)),
			}
		},
		StreamFault: func(message string) []byte { return []byte("data: " + rpcError(500, message) + "\r\n\r\n") },
	}
}

// rpcError returns an error as the service writes it.
func rpcError(status int, message string) string {
	name := map[int]string{
		400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND",
		429: "RESOURCE_EXHAUSTED", 500: "INTERNAL", 503: "UNAVAILABLE",
	}[status]
	return fmt.Sprintf(`{"error":{"code":%d,"message":%q,"status":%q,"details":[]}}`, status, strings.ToValidUTF8(message, "?"), name)
}
