package azureopenai_test

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"

	"github.com/postern-ai/postern/localdev/contract"
	fake "github.com/postern-ai/postern/localdev/fake/azureopenai"
	"github.com/postern-ai/postern/localdev/fake/brain"
	"github.com/postern-ai/postern/shared/chat"
	"github.com/postern-ai/postern/shared/config"
	"github.com/postern-ai/postern/shared/provider"
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

// description is OpenAI's own, read once; nil where there is none.
var description = sync.OnceValues(func() (*contract.Description, error) {
	dir, ok := contract.Dir()
	if !ok {
		return nil, nil
	}
	return contract.OpenAI(dir)
})

// checked puts OpenAI's own description, as Azure departs from it, between the
// provider and the stand-in.
func checked(t *testing.T, service http.Handler, variant contract.Variant) http.Handler {
	t.Helper()
	d, err := description()
	if err != nil {
		t.Fatal(err)
	}
	if d == nil {
		t.Log("without OpenAI's API description, requests and answers are not checked against it")
		return service
	}
	return contract.Check(d.With(variant), service, func(problems ...contract.Problem) {
		for _, p := range problems {
			t.Error(p)
		}
	})
}

func TestConformanceV1(t *testing.T) {
	t.Parallel()
	h := harness("")
	h.Service = checked(t, h.Service, contract.AzureV1())
	providertest.Run(t, h)
}

func TestConformanceDated(t *testing.T) {
	t.Parallel()
	h := harness("2024-10-21")
	h.Service = checked(t, h.Service, contract.AzureDeployments())
	providertest.Run(t, h)
}

var update = flag.Bool("update", false, "write what the code does into the golden files")

// recorder keeps the request and answers nothing.
type recorder struct{ url, body string }

var errRecorded = errors.New("recorded")

func (r *recorder) Do(req *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return nil, err
	}
	r.url, r.body = req.URL.String(), string(body)
	return nil, errRecorded
}

// TestRequests goes through testdata/requests.txtar, where each request is
// followed by what is sent. A name begins with the api-version, or v1.
func TestRequests(t *testing.T) {
	t.Parallel()
	a, err := txtar.ParseFile("testdata/requests.txtar")
	if err != nil {
		t.Fatal(err)
	}
	out := &txtar.Archive{Comment: a.Comment}
	for i := 0; i < len(a.Files); i++ {
		f, want := a.Files[i], ""
		if i+1 < len(a.Files) && a.Files[i+1].Name == "becomes" {
			i++
			want = string(a.Files[i].Data)
		}
		version, _, _ := strings.Cut(f.Name, ":")
		got := sent(t, &config.Upstream{Name: "azure", AzureInstance: "my-res", AzureAPIVersion: strings.TrimPrefix(version, "v1")}, f.Data)
		out.Files = append(out.Files, f, txtar.File{Name: "becomes", Data: []byte(got)})
		if d := cmp.Diff(want, got); d != "" && !*update {
			t.Errorf("%s: %s", f.Name, d)
		}
	}
	if *update {
		if err := os.WriteFile("testdata/requests.txtar", txtar.Format(out), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// sent returns the address and the body that a request becomes, or the error.
func sent(t *testing.T, upstream *config.Upstream, body []byte) string {
	t.Helper()
	req, err := chat.Decode(body, chat.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	var r recorder
	model, err := azureopenai.New(upstream, &r)
	if err != nil {
		t.Fatal(err)
	}
	if req.Stream {
		_, err = model.Stream(t.Context(), req)
	} else {
		_, err = model.Chat(t.Context(), req)
	}
	if errors.Is(err, errRecorded) {
		return r.url + "\n" + r.body + "\n"
	}
	e, ok := errors.AsType[*chat.Error](err)
	if !ok {
		t.Fatalf("got %v", err)
	}
	return fmt.Sprintf("%d %s param=%s code=%s\n%s\n", e.Status, e.Type, e.Param, e.Code, e.Message)
}

func TestAddress(t *testing.T) {
	t.Parallel()
	hello := []byte(`{"model":"prod","messages":[{"role":"user","content":"a"}]}`)
	got := sent(t, &config.Upstream{Name: "azure", BaseURL: "https://my-res.services.ai.azure.com/"}, hello)
	if want := "https://my-res.services.ai.azure.com/openai/v1/chat/completions\n"; !strings.HasPrefix(got, want) {
		t.Errorf("sent to %s", got)
	}
	for _, upstream := range []config.Upstream{{Name: "azure"}, {Name: "azure", BaseURL: "/openai"}, {Name: "azure", BaseURL: "https://a.example/?b"}} {
		if _, err := azureopenai.New(&upstream, nil); err == nil {
			t.Errorf("accepted %+v", upstream)
		}
	}
}

// Versions that cannot count a stream still answer with one.
func TestOldVersionsStreamWithoutUsage(t *testing.T) {
	t.Parallel()
	h := harness("2024-06-01")
	server := httptest.NewServer(checked(t, h.Service, contract.AzureDeployments()))
	defer server.Close()
	model, err := azureopenai.New(h.Upstream(server.URL), &provider.Sender{HTTP: server.Client().Transport, Auth: h.Auth})
	if err != nil {
		t.Fatal(err)
	}
	req, err := chat.Decode([]byte(`{"model":"my-deployment","stream":true,"max_completion_tokens":2,"messages":[{"role":"user","content":"#say(a b c)"}]}`), chat.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	stream, err := model.Stream(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	text, finish := "", ""
	for chunk, err := range stream {
		if err != nil {
			t.Fatal(err)
		}
		if chunk.Usage != nil || len(chunk.Choices) != 1 {
			t.Fatalf("got %+v", chunk)
		}
		if c := chunk.Choices[0]; c.FinishReason != nil {
			finish = *c.FinishReason
		} else if c.Delta.Content != nil {
			text += *c.Delta.Content
		}
	}
	if text != "a b" || finish != chat.FinishLength {
		t.Errorf("got %q and %q", text, finish)
	}
}

// TestFaults: what of Azure's errors means something else than with OpenAI.
func TestFaults(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, model, text string
		version           string
		status            int
		code, param       string
		message           string
		wait              time.Duration
	}{
		{"a blocked prompt", "my-deployment", "#blocked()", "", 400, "content_filter", "prompt", "Azure OpenAI refused the request: The response was filtered due to the prompt triggering Azure OpenAI's content management policy. Please modify your prompt and retry.", 0},
		{"an unknown deployment", "other", "a", "", 404, "model_not_found", "model", "Azure OpenAI has no such model, or the gateway's account has no access to it.", 0},
		{"an unknown deployment in the path", "other", "a", "2024-10-21", 404, "model_not_found", "model", "Azure OpenAI has no such model, or the gateway's account has no access to it.", 0},
		{"an unknown api-version is the operator's fault", "my-deployment", "a", "1999-01-01", 502, "upstream_error", "", "Azure OpenAI knows no such address. This is for the gateway's operator to mend: check azure_instance, base_url and azure_api_version.", 0},
		{"a time to wait in milliseconds", "my-deployment", "#fail(429,2)", "", 429, "rate_limit_exceeded", "", "Azure OpenAI is limiting the rate of requests. Try again later.", 2 * time.Second},
		{"a parameter that Azure does not know", "my-deployment", "a", "top_k", 400, "unknown_parameter", "top_k", "Azure OpenAI refused the request: Unknown parameter: 'top_k'.", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			h := harness(c.version)
			request := fmt.Sprintf(`{"model":%q,"messages":[{"role":"user","content":%q}]}`, c.model, c.text)
			if c.version == "top_k" {
				h, request = harness(""), strings.Replace(request, "{", `{"top_k":1,`, 1)
			}
			server := httptest.NewServer(h.Service)
			defer server.Close()
			model, err := azureopenai.New(h.Upstream(server.URL), &provider.Sender{HTTP: server.Client().Transport, Auth: h.Auth})
			if err != nil {
				t.Fatal(err)
			}
			req, err := chat.Decode([]byte(request), chat.Limits{})
			if err != nil {
				t.Fatal(err)
			}
			_, err = model.Chat(t.Context(), req)
			e, ok := errors.AsType[*chat.Error](err)
			if !ok {
				t.Fatalf("got %v", err)
			}
			got := []any{e.Status, e.Code, e.Param, e.Message, e.RetryAfter}
			if d := cmp.Diff([]any{c.status, c.code, c.param, c.message, c.wait}, got); d != "" {
				t.Error(d)
			}
		})
	}
}
