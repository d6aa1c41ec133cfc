package openai_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"

	"github.com/postern-ai/postern/localdev/contract"
	"github.com/postern-ai/postern/localdev/fake/brain"
	fake "github.com/postern-ai/postern/localdev/fake/openai"
	"github.com/postern-ai/postern/shared/chat"
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

// description is OpenAI's own, read once; nil where there is none.
var description = sync.OnceValues(func() (*contract.Description, error) {
	dir, ok := contract.Dir()
	if !ok {
		return nil, nil
	}
	return contract.OpenAI(dir)
})

// checked puts OpenAI's own description between the provider and the stand-in.
func checked(t *testing.T, service http.Handler) http.Handler {
	t.Helper()
	d, err := description()
	if err != nil {
		t.Fatal(err)
	}
	if d == nil {
		t.Log("without OpenAI's API description, requests and answers are not checked against it")
		return service
	}
	return contract.Check(d, service, func(problems ...contract.Problem) {
		for _, p := range problems {
			t.Error(p)
		}
	})
}

func TestConformance(t *testing.T) {
	t.Parallel()
	h := harness(&fake.Server{Brain: brain.Echo{}, Authorize: authorize, Models: []string{"gpt-4.1"}}, config.OpenAI)
	h.Service = checked(t, h.Service)
	providertest.Run(t, h)
}

func TestConformanceOfCompatibleServers(t *testing.T) {
	t.Parallel()
	h := harness(&fake.Server{Brain: brain.Echo{}, Authorize: authorize, Lenient: true}, config.CustomOpenAI)
	h.Name = "Upstream local"
	providertest.Run(t, h)
}

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

func TestAddress(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name     string
		upstream config.Upstream
		want     string // empty: refused
	}{
		{"OpenAI's own", config.Upstream{Provider: config.OpenAI}, "https://api.openai.com/v1/chat/completions"},
		{"a base", config.Upstream{Provider: config.CustomOpenAI, BaseURL: "http://127.0.0.1:8000/v1"}, "http://127.0.0.1:8000/v1/chat/completions"},
		{"a base with a slash", config.Upstream{Provider: config.CustomOpenAI, BaseURL: "http://127.0.0.1:8000/v1/"}, "http://127.0.0.1:8000/v1/chat/completions"},
		{"a base without a path", config.Upstream{Provider: config.CustomOpenAI, BaseURL: "https://llm.example.com"}, "https://llm.example.com/chat/completions"},
		{"a deep base", config.Upstream{Provider: config.CustomOpenAI, BaseURL: "https://example.com/a/b/openai"}, "https://example.com/a/b/openai/chat/completions"},
		{"no host", config.Upstream{Name: "x", Provider: config.CustomOpenAI, BaseURL: "/v1"}, ""},
		{"a query", config.Upstream{Name: "x", Provider: config.CustomOpenAI, BaseURL: "https://example.com/v1?key=1"}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			sent := &recorder{}
			model, err := openai.New(&c.upstream, sent)
			if c.want == "" {
				if err == nil {
					t.Error("accepted")
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if _, err := model.Chat(t.Context(), &chat.Request{Model: "m"}); !errors.Is(err, errRecorded) {
				t.Fatal(err)
			}
			if sent.url != c.want {
				t.Errorf("sent to %s, want %s", sent.url, c.want)
			}
		})
	}
}

// Nothing that the caller said is lost on the way, known or not.
func TestRequestsGoOutAsTheyCame(t *testing.T) {
	t.Parallel()
	a, err := txtar.ParseFile("../../chat/testdata/requests.txtar")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range a.Files {
		t.Run(f.Name, func(t *testing.T) {
			t.Parallel()
			req, err := chat.Decode(f.Data, chat.Limits{})
			if err != nil {
				t.Fatal(err)
			}
			req.Model = "gpt-4.1"
			sent := &recorder{}
			model, err := openai.New(&config.Upstream{Name: "x", Provider: config.CustomOpenAI, BaseURL: "https://example.com/v1"}, sent)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := model.Chat(t.Context(), req); !errors.Is(err, errRecorded) {
				t.Fatal(err)
			}
			want, got := object(t, f.Data), object(t, []byte(sent.body))
			want["model"] = "gpt-4.1"
			if req.Stream {
				options, _ := want["stream_options"].(map[string]any)
				if options == nil {
					options = map[string]any{}
				}
				options["include_usage"] = true
				want["stream_options"] = options
			}
			if d := cmp.Diff(want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

// object reads JSON without what says nothing: null, false, an empty text.
func object(t *testing.T, text []byte) map[string]any {
	t.Helper()
	var v map[string]any
	if err := json.Unmarshal(text, &v); err != nil {
		t.Fatal(err)
	}
	strip(v)
	return v
}

func strip(v any) {
	switch v := v.(type) {
	case map[string]any:
		for name, member := range v {
			if member == nil || member == "" || member == false {
				delete(v, name)
			}
			strip(member)
		}
	case []any:
		for _, element := range v {
			strip(element)
		}
	}
}

// What compatible servers' answers are mended to is what OpenAI describes.
func TestMendedAnswersFitOpenAIsDescription(t *testing.T) {
	t.Parallel()
	d, err := description()
	if err != nil {
		t.Fatal(err)
	}
	if d == nil {
		t.Skip("there is no API description to check against")
	}
	for name, stream := range map[string]bool{"streams.txtar": true, "responses.txtar": false} {
		exchange, problems := d.Request(contract.Request{
			Method: http.MethodPost, Path: "/v1/chat/completions", Header: http.Header{"Content-Type": {"application/json"}},
			Body: []byte(fmt.Sprintf(`{"model":"m","stream":%t,"messages":[{"role":"user","content":"a"}]}`, stream)),
		})
		if len(problems) > 0 {
			t.Fatal(problems)
		}
		a, err := txtar.ParseFile("../../chat/testdata/" + name)
		if err != nil {
			t.Fatal(err)
		}
		checked := 0
		for i, f := range a.Files {
			for line := range strings.Lines(string(f.Data)) {
				mended, ok := strings.CutPrefix(line, "~ ")
				if !ok || f.Name != "becomes" {
					continue
				}
				if stream {
					problems = exchange.Event(contract.Event{Data: []byte(mended)})
				} else {
					problems = exchange.Response(contract.Response{Status: 200, Header: http.Header{"Content-Type": {"application/json"}}, Body: []byte(mended)})
				}
				checked++
				for _, p := range problems {
					if !p.Unknown {
						t.Errorf("%s: %s: %s", a.Files[i-1].Name, p, mended)
					}
				}
			}
		}
		if checked == 0 {
			t.Errorf("%s has no mended answer", name)
		}
	}
}

// strict is a server that knows no stream_options, as Mistral's.
type strict struct {
	mu   sync.Mutex
	sent []string
}

func (s *strict) Do(req *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	said := "plain"
	status, kind, answer := 200, "text/event-stream", `data: {"id":"c1","object":"chat.completion.chunk","created":5,"model":"m","choices":[{"index":0,"delta":{"role":"assistant","content":"a"},"finish_reason":"stop"}]}`+"\n\ndata: [DONE]\n\n"
	refuse := func(param, message string) {
		status, kind = 422, "application/json"
		answer = `{"object":"error","message":{"detail":[{"type":"extra_forbidden","loc":["body",` + param + `],"msg":"` + message + `"}]},"type":"invalid_request_error"}`
	}
	if strings.Contains(string(body), `"stream_options"`) {
		said = "with usage"
		refuse(`"stream_options","include_usage"`, "Extra inputs are not permitted")
	}
	if strings.Contains(string(body), "wrong") {
		refuse(`"messages"`, "the word wrong, not stream_options")
	}
	s.sent = append(s.sent, said)
	return &http.Response{StatusCode: status, Header: http.Header{"Content-Type": {kind}}, Body: io.NopCloser(strings.NewReader(answer))}, nil
}

// TestAServerThatKnowsNoStreamOptions is asked for usage until it is sure that
// it does not know how that is done.
func TestAServerThatKnowsNoStreamOptions(t *testing.T) {
	t.Parallel()
	server := &strict{}
	model, err := openai.New(&config.Upstream{Name: "local", Provider: config.CustomOpenAI, BaseURL: "http://127.0.0.1/v1"}, server)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, word string
		options    *chat.StreamOptions
		sent       []string
		param      string // of the error that the caller gets; empty: an answer
	}{
		{"what is refused for another reason proves nothing", "wrong", nil, []string{"with usage", "plain"}, "messages"},
		{"what is refused for that is sent again without", "hello", nil, []string{"with usage", "plain"}, ""},
		{"and from then on at once", "hello", nil, []string{"plain"}, ""},
		{"a caller who asks for usage is told that there is none", "hello", &chat.StreamOptions{IncludeUsage: true}, []string{"with usage"}, "stream_options.include_usage"},
	} {
		server.sent = nil
		stream, err := model.Stream(t.Context(), &chat.Request{Model: "m", Stream: true, StreamOptions: c.options, Messages: []chat.Message{{Role: chat.RoleUser, Content: chat.Text(c.word)}}})
		param := ""
		if e, ok := errors.AsType[*chat.Error](err); ok {
			param = e.Param
		} else {
			for _, err := range stream {
				if err != nil {
					t.Errorf("%s: %v", c.name, err)
				}
			}
		}
		if d := cmp.Diff(c.sent, server.sent); d != "" || param != c.param {
			t.Errorf("%s: the parameter at fault is %q: %s", c.name, param, d)
		}
	}
}
