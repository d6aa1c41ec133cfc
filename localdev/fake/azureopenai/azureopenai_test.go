package azureopenai_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/google/go-cmp/cmp"
	client "github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/azure"
	"github.com/openai/openai-go/v3/option"

	"github.com/postern-ai/postern/localdev/contract"
	"github.com/postern-ai/postern/localdev/fake/azureopenai"
	"github.com/postern-ai/postern/localdev/fake/brain"
)

const (
	token = "entra-token"
	key   = "account-key"
	scope = "https://cognitiveservices.azure.com/.default"
)

// credential gives out a token as Entra does for one scope.
type credential struct{ t *testing.T }

func (c credential) GetToken(_ context.Context, o policy.TokenRequestOptions) (azcore.AccessToken, error) {
	if d := cmp.Diff([]string{scope}, o.Scopes); d != "" {
		c.t.Errorf("scopes: %s", d)
	}
	return azcore.AccessToken{Token: token, ExpiresOn: time.Now().Add(time.Hour)}, nil
}

func newServer() *azureopenai.Server {
	return &azureopenai.Server{
		Brain: brain.Echo{}, Deployments: []string{"prod"}, Key: key,
		Authorize: func(got string) (string, bool) { return "client-id", got == token },
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

func serve(t *testing.T, s *azureopenai.Server) string {
	t.Helper()
	var service http.Handler = s
	d, err := description()
	if err != nil {
		t.Fatal(err)
	}
	if d != nil {
		check := func(v contract.Variant) http.Handler {
			return contract.Check(d.With(v), s, func(problems ...contract.Problem) {
				for _, p := range problems {
					if !p.OfRequest() {
						t.Error(p)
					}
				}
			})
		}
		v1, dated := check(contract.AzureV1()), check(contract.AzureDeployments())
		service = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.HasPrefix(r.URL.Path, "/openai/v1/") {
				v1.ServeHTTP(w, r)
				return
			}
			dated.ServeHTTP(w, r)
		})
	} else {
		t.Log("without OpenAI's API description, the replies are not checked against it")
	}
	server := httptest.NewServer(service)
	t.Cleanup(server.Close)
	return server.URL
}

func ask(text string) client.ChatCompletionNewParams {
	return client.ChatCompletionNewParams{
		Model: "prod", Messages: []client.ChatCompletionMessageParamUnion{client.UserMessage(text)},
	}
}

func TestOfficialAzureClient(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name      string
		options   func(t *testing.T, base string) []option.RequestOption
		principal string
		version   string
	}{
		{"dated, with a token", func(t *testing.T, base string) []option.RequestOption {
			return []option.RequestOption{azure.WithUnsafeAllowHTTP(), azure.WithEndpoint(base, "2024-10-21"), azure.WithTokenCredential(credential{t})}
		}, "client-id", "2024-10-21"},
		{"dated, with a key", func(_ *testing.T, base string) []option.RequestOption {
			return []option.RequestOption{azure.WithUnsafeAllowHTTP(), azure.WithEndpoint(base, "2025-01-01-preview"), azure.WithAPIKey(key)}
		}, "key", "2025-01-01-preview"},
		{"v1, with a token", func(_ *testing.T, base string) []option.RequestOption {
			return []option.RequestOption{option.WithBaseURL(base + "/openai/v1"), option.WithAPIKey(token)}
		}, "client-id", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			calls := make(chan azureopenai.Call, 2)
			s := newServer()
			s.Called = func(c azureopenai.Call) { calls <- c }
			official := client.NewClient(append(c.options(t, serve(t, s)), option.WithMaxRetries(0))...)
			got, err := official.Chat.Completions.New(t.Context(), ask("hello there"))
			if err != nil {
				t.Fatal(err)
			}
			if text := got.Choices[0].Message.Content; text != "You said in 2 words: hello there" {
				t.Errorf("the answer is %q", text)
			}
			if c1 := <-calls; c1.Principal != c.principal || c1.APIVersion != c.version || c1.Deployment != "prod" {
				t.Errorf("recorded %+v", c1)
			}
			params := ask("hello there")
			params.StreamOptions = client.ChatCompletionStreamOptionsParam{IncludeUsage: client.Bool(true)}
			text, finishes, usage := "", []string(nil), int64(0)
			stream := official.Chat.Completions.NewStreaming(t.Context(), params)
			for stream.Next() {
				chunk := stream.Current()
				usage += chunk.Usage.TotalTokens
				for _, choice := range chunk.Choices {
					text += choice.Delta.Content
					if choice.FinishReason != "" {
						finishes = append(finishes, choice.FinishReason)
					}
				}
			}
			if err := stream.Err(); err != nil {
				t.Fatal(err)
			}
			if text != got.Choices[0].Message.Content || !cmp.Equal(finishes, []string{"stop"}) || usage != got.Usage.TotalTokens {
				t.Errorf("streamed %q, finish reasons %v, %d tokens", text, finishes, usage)
			}
		})
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	const (
		v1    = "/openai/v1/chat/completions"
		dated = "/openai/deployments/prod/chat/completions?api-version="
		hello = `"messages":[{"role":"user","content":"hello"}]`
	)
	type header = map[string]string
	entra := header{"Authorization": "Bearer " + token}
	for _, c := range []struct {
		name, path, body string
		header           header
		status           int
		code             string
	}{
		{"no credential", v1, `{"model":"prod",` + hello + `}`, nil, 401, "401"},
		{"a foreign token", v1, `{"model":"prod",` + hello + `}`, header{"Authorization": "Bearer other"}, 401, "401"},
		{"a wrong key", v1, `{"model":"prod",` + hello + `}`, header{"Api-Key": "other"}, 401, "401"},
		{"both credentials", v1, `{"model":"prod",` + hello + `}`, header{"Api-Key": key, "Authorization": "Bearer " + token}, 400, "BadRequest"},
		{"an api-version where there is none", v1 + "?api-version=2024-10-21", `{"model":"prod",` + hello + `}`, entra, 400, "BadRequest"},
		{"an unknown api-version", dated + "2024-10-22", `{` + hello + `}`, entra, 404, "404"},
		{"no api-version", strings.TrimSuffix(dated, "?api-version="), `{` + hello + `}`, entra, 404, "404"},
		{"an unknown deployment in the path", "/openai/deployments/other/chat/completions?api-version=2024-10-21", `{` + hello + `}`, entra, 404, "DeploymentNotFound"},
		{"an unknown deployment in the body", v1, `{"model":"other",` + hello + `}`, entra, 404, "DeploymentNotFound"},
		{"an unknown address", "/openai/v2/chat/completions", `{}`, entra, 404, "404"},
		{"an unknown parameter", v1, `{"model":"prod","top_k":1,` + hello + `}`, entra, 400, "unknown_parameter"},
		{"stream_options in an old version", dated + "2024-06-01", `{"stream":true,"stream_options":{"include_usage":true},` + hello + `}`, entra, 400, ""},
		{"max_completion_tokens in an old version", dated + "2024-06-01", `{"max_completion_tokens":1,` + hello + `}`, entra, 400, ""},
		{"parallel_tool_calls in an old version", dated + "2024-06-01", `{"parallel_tool_calls":true,` + hello + `}`, entra, 400, ""},
		{"a blocked prompt", v1, `{"model":"prod","messages":[{"role":"user","content":"#blocked()"}]}`, entra, 400, "content_filter"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			status, _, body := post(t, serve(t, newServer())+c.path, c.header, c.body)
			var e struct{ Error struct{ Code string } }
			if err := json.Unmarshal(body, &e); err != nil {
				t.Fatal(err)
			}
			if status != c.status || e.Error.Code != c.code {
				t.Errorf("got %d %q, want %d %q: %s", status, e.Error.Code, c.status, c.code, body)
			}
		})
	}
	t.Run("a principal without the role", func(t *testing.T) {
		t.Parallel()
		s := newServer()
		s.Allowed = func(principal string) bool { return principal != "client-id" }
		status, _, body := post(t, serve(t, s)+v1, entra, `{"model":"prod",`+hello+`}`)
		if status != 401 || !strings.Contains(string(body), "PermissionDenied") {
			t.Errorf("got %d %s", status, body)
		}
	})
	t.Run("keys that are switched off", func(t *testing.T) {
		t.Parallel()
		s := newServer()
		s.Key = ""
		if status, _, body := post(t, serve(t, s)+v1, header{"Api-Key": key}, `{}`); status != 403 {
			t.Errorf("got %d %s", status, body)
		}
	})
	t.Run("a rate limit says when in milliseconds", func(t *testing.T) {
		t.Parallel()
		status, h, _ := post(t, serve(t, newServer())+v1, entra, `{"model":"prod","messages":[{"role":"user","content":"#fail(429,3)"}]}`)
		if status != 429 || h.Get("Retry-After-Ms") != "3000" || h.Get("Retry-After") != "3" {
			t.Errorf("got %d %v", status, h)
		}
	})
}

// The filter's notes are what makes Azure's streams different.
func TestStreamsCarryTheFiltersNotes(t *testing.T) {
	t.Parallel()
	_, h, body := post(t, serve(t, newServer())+"/openai/v1/chat/completions", map[string]string{"Authorization": "Bearer " + token},
		`{"model":"prod","stream":true,"messages":[{"role":"user","content":"#say(a b c d) #filter()"}]}`)
	events := strings.Split(strings.TrimSuffix(string(body), "\n\n"), "\n\n")
	if len(events) != 7 {
		t.Fatalf("got %d events: %s", len(events), body)
	}
	for i, want := range map[int]string{
		0: `"prompt_filter_results"`, 2: `"content_filter_results":{"hate"`, 4: `"finish_reason":"stop"`,
		5: `"finish_reason":"content_filter"`, 6: `[DONE]`,
	} {
		if !strings.Contains(events[i], want) {
			t.Errorf("event %d lacks %s: %s", i, want, events[i])
		}
	}
	if !strings.Contains(events[0], `"choices":[]`) || !strings.Contains(events[0], `"id":""`) {
		t.Errorf("the first event is %s", events[0])
	}
	if h.Get("Apim-Request-Id") == "" || h.Get("X-Ms-Region") == "" {
		t.Errorf("headers are %v", h)
	}
}

func TestOfficialClientSeesTheFilter(t *testing.T) {
	t.Parallel()
	official := client.NewClient(option.WithBaseURL(serve(t, newServer())+"/openai/v1"), option.WithAPIKey(token), option.WithMaxRetries(0))
	_, err := official.Chat.Completions.New(t.Context(), ask("#blocked()"))
	if e, ok := errors.AsType[*client.Error](err); !ok || e.Code != "content_filter" || e.Param != "prompt" {
		t.Errorf("got %v", err)
	}
}

func post(t *testing.T, url string, header map[string]string, body string) (int, http.Header, []byte) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	for name, value := range header {
		req.Header.Set(name, value)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	out, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, resp.Header, out
}
