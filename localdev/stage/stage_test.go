package stage

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"

	"github.com/postern-ai/postern/localdev/contract"
	"github.com/postern-ai/postern/localdev/fake/brain"
	"github.com/postern-ai/postern/localdev/fake/oidc"
)

// lines collects the output of the functions.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// gate is a brain that says the next word of an answer only when it is told
// to, for prompts that begin with its name.
type gate struct {
	brain.Brain
	next chan struct{}
}

const gated = "gate"

func (g *gate) Answer(ctx context.Context, p brain.Prompt) iter.Seq2[brain.Piece, error] {
	if down := outage(p); down != nil {
		return func(yield func(brain.Piece, error) bool) { yield(brain.Piece{}, down) }
	}
	if !strings.HasPrefix(p.Turns[len(p.Turns)-1].Text, gated) {
		return g.Brain.Answer(ctx, p)
	}
	return func(yield func(brain.Piece, error) bool) {
		for i := range gatedWords {
			select {
			case <-g.next:
			case <-ctx.Done():
				return
			}
			if !yield(brain.Piece{Text: fmt.Sprintf("word%d ", i)}, nil) {
				return
			}
		}
		yield(brain.Piece{End: &brain.End{Finish: brain.Stop, Usage: brain.Usage{Prompt: 1, Completion: gatedWords}}}, nil)
	}
}

const gatedWords = 5

// anyKey matches all keys that OpenAI's stand-in makes.
var anyKey = regexp.MustCompile(`sk-(proj|svcacct|admin)-[A-Z2-7]`)

// The tests share one stage: to build and start it is most of their work.
var (
	shared   *Stage
	bin      string // the programs, for stages of a test's own
	output   lines
	doors    = &gate{Brain: brain.Echo{}, next: make(chan struct{})}
	problems lines
)

func TestMain(m *testing.M) {
	ctx, cancel := context.WithCancel(context.Background())
	var err error
	if bin, err = os.MkdirTemp("", "postern"); err != nil {
		panic(err)
	}
	shared, err = Start(ctx, Options{
		Bin: bin, Brain: doors, Output: &output, CrossCloud: true, Document: func(cloud, text string) string { return withFallbacks(withRules(cloud, text)) }, Env: map[string]string{"POSTERN_DOCTOR": "log"},
		Problem: func(service string, p contract.Problem) {
			// The tests make stand-ins misbehave; what the gateway sends must
			// be right all the same.
			if p.OfRequest() {
				fmt.Fprintf(&problems, "%s: %s\n", service, p)
			}
		},
	})
	for _, b := range Rotations() {
		if err == nil {
			_, err = shared.program(ctx, b) // once, for all stages
		}
	}
	code := 1
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	} else {
		code = m.Run()
		shared.Close()
		// The line of a request may be written after its answer has come.
		if strings.Contains(output.String(), canary) {
			fmt.Fprintln(os.Stderr, "a prompt came out in a log")
			code = 1
		}
		if found := anyKey.FindString(output.String()); found != "" {
			fmt.Fprintln(os.Stderr, "a stored key came out in a log")
			code = 1
		}
		if text := problems.String(); text != "" {
			fmt.Fprintf(os.Stderr, "requests that departed from the vendors' API descriptions:\n%s", text)
			code = 1
		}
	}
	cancel()
	_ = os.RemoveAll(bin)
	os.Exit(code)
}

func token(t *testing.T, of oidc.Token) string {
	t.Helper()
	text, err := shared.Token(of)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// onEach runs a test on every cloud's gateway.
func onEach(t *testing.T, test func(t *testing.T, cloud string)) {
	for _, cloud := range Clouds() {
		t.Run(cloud, func(t *testing.T) {
			t.Parallel()
			test(t, cloud)
		})
	}
}

func client(t *testing.T, cloud string) openai.Client {
	t.Helper()
	return openai.NewClient(
		option.WithBaseURL(shared.Gateways[cloud]+"/v1"), option.WithAPIKey(token(t, oidc.Token{})), option.WithMaxRetries(0))
}

func TestTheOpenAIClientChats(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, cloud string) {
		c := client(t, cloud)
		params := openai.ChatCompletionNewParams{
			Model: Model(cloud),
			Messages: []openai.ChatCompletionMessageParamUnion{
				openai.SystemMessage("Be brief."), openai.UserMessage("#say(one two three) please"),
			},
			MaxCompletionTokens: openai.Int(100),
		}
		answer, err := c.Chat.Completions.New(t.Context(), params)
		if err != nil {
			t.Fatal(err)
		}
		if got := answer.Choices[0]; got.Message.Content != "one two three" || got.FinishReason != "stop" {
			t.Errorf("got %q, %q", got.Message.Content, got.FinishReason)
		}
		if answer.Usage.TotalTokens == 0 || answer.Usage.TotalTokens != answer.Usage.PromptTokens+answer.Usage.CompletionTokens {
			t.Errorf("usage is %+v", answer.Usage)
		}

		params.StreamOptions.IncludeUsage = openai.Bool(true)
		stream := c.Chat.Completions.NewStreaming(t.Context(), params)
		var acc openai.ChatCompletionAccumulator
		usages := 0
		for stream.Next() {
			chunk := stream.Current()
			if chunk.Usage.TotalTokens > 0 {
				usages++
			}
			if !acc.AddChunk(chunk) {
				t.Fatalf("the chunk does not fit the ones before: %s", chunk.RawJSON())
			}
		}
		if err := stream.Err(); err != nil {
			t.Fatal(err)
		}
		if len(acc.Choices) != 1 || acc.Choices[0].Message.Content != "one two three" || acc.Choices[0].FinishReason != "stop" || usages != 1 {
			t.Errorf("streamed %+v with %d usage chunks", acc.Choices, usages)
		}
	})
}

func TestTheOpenAIClientCallsTools(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, cloud string) {
		c := client(t, cloud)
		schema := openai.FunctionParameters{
			"type":       "object",
			"properties": map[string]any{"city": map[string]any{"type": "string"}},
			"required":   []string{"city"},
		}
		params := openai.ChatCompletionNewParams{
			Model:    Model(cloud),
			Messages: []openai.ChatCompletionMessageParamUnion{openai.UserMessage("Use get_weather and get_time.")},
			Tools: []openai.ChatCompletionToolUnionParam{
				openai.ChatCompletionFunctionTool(openai.FunctionDefinitionParam{Name: "get_weather", Parameters: schema}),
				openai.ChatCompletionFunctionTool(openai.FunctionDefinitionParam{Name: "get_time", Parameters: schema}),
			},
		}
		answer, err := c.Chat.Completions.New(t.Context(), params)
		if err != nil {
			t.Fatal(err)
		}
		got := answer.Choices[0]
		if got.FinishReason != "tool_calls" || len(got.Message.ToolCalls) != 2 {
			t.Fatalf("finish %q with %d calls", got.FinishReason, len(got.Message.ToolCalls))
		}
		params.Messages = append(params.Messages, got.Message.ToParam())
		for _, call := range got.Message.ToolCalls {
			var arguments map[string]any
			if err := json.Unmarshal([]byte(call.Function.Arguments), &arguments); err != nil || arguments["city"] == nil {
				t.Errorf("arguments %q: %v", call.Function.Arguments, err)
			}
			params.Messages = append(params.Messages, openai.ToolMessage("result of "+call.Function.Name, call.ID))
		}
		answer, err = c.Chat.Completions.New(t.Context(), params)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"get_weather", "get_time"} {
			if !strings.Contains(answer.Choices[0].Message.Content, "result of "+name) {
				t.Errorf("the answer does not know the result of %s: %q", name, answer.Choices[0].Message.Content)
			}
		}
	})
}

// TestStreamingIsReal lets the model say a word only after the client has read
// the one before.
func TestStreamingIsReal(t *testing.T) {
	t.Parallel()
	for _, cloud := range Clouds() { // one after the other: they share the gate
		// A service may wait for the first word before it answers at all.
		go func() { doors.next <- struct{}{} }()
		resp := post(t, cloud, token(t, oidc.Token{}), fmt.Sprintf(`{"model":%q,"stream":true,"messages":[{"role":"user","content":"%s"}]}`, Model(cloud), gated))
		read := bufio.NewReader(resp.Body)
		for i := range gatedWords {
			for want := fmt.Sprintf("word%d ", i); ; {
				line, err := read.ReadString('\n')
				if err != nil {
					t.Fatalf("%s: %v before %q", cloud, err, want)
				}
				if strings.Contains(line, want) {
					break
				}
			}
			if i == gatedWords-1 {
				break
			}
			select {
			case doors.next <- struct{}{}:
			case <-time.After(20 * time.Second):
				t.Fatalf("%s: the model was not asked for word %d", cloud, i+1)
			}
		}
		rest, err := io.ReadAll(read)
		if err != nil || !bytes.HasSuffix(rest, []byte("data: [DONE]\n\n")) {
			t.Errorf("%s: the stream ends with %q, %v", cloud, rest, err)
		}
		resp.Body.Close()
	}
}

func post(t *testing.T, cloud, token, body string) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, shared.Gateways[cloud]+"/v1/chat/completions", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	return resp
}

// TestBadInput sends what is wrong through every front, and looks for the
// prompt and the token in everything that came out.
// canary is in every bad request, and may come out nowhere.
const canary = "CANARY-5b1e"

func TestBadInput(t *testing.T) {
	t.Parallel()
	ask := func(model, text string) string {
		return fmt.Sprintf(`{"model":%q,"messages":[{"role":"user","content":%q}]}`, model, text+" "+canary)
	}
	for _, c := range []struct {
		name, body, token string
		model             string
		status            int
		code              string
	}{
		{name: "no token", token: "none", status: 401, code: "invalid_api_key"},
		{name: "an expired token", token: "expired", status: 401, code: "invalid_api_key"},
		{name: "a token for somebody else", token: "foreign", status: 401, code: "invalid_api_key"},
		{name: "an unknown model", model: "gpt-none", status: 404, code: "model_not_found"},
		{name: "not JSON", body: canary, status: 400},
		{name: "an unsupported parameter", body: `"logit_bias":{"1":1},`, status: 400, code: "unsupported_parameter"},
		{name: "upstream 400", body: "#fail(400)", status: 400},
		{name: "upstream 401", body: "#fail(401)", status: 502, code: "upstream_auth_failed"},
		{name: "upstream 403", body: "#fail(403)", status: 502, code: "upstream_auth_failed"},
		{name: "upstream 404", body: "#fail(404)", status: 404, code: "model_not_found"},
		{name: "upstream 429", body: "#fail(429,3)", status: 429, code: "rate_limit_exceeded"},
		{name: "upstream 500", body: "#fail(500)", status: 502, code: "upstream_error"},
		{name: "upstream 503", body: "#fail(503)", status: 503, code: "upstream_unavailable"},
		{name: "a connection that is reset", body: "#reset()", status: 502, code: "upstream_unavailable"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			onEach(t, func(t *testing.T, cloud string) {
				if cloud == Azure && c.name == "an unsupported parameter" {
					return // Azure OpenAI carries what OpenAI carries
				}
				bearer := token(t, map[string]oidc.Token{
					"expired": {Lifetime: -time.Hour}, "foreign": {Audience: []string{"somebody-else"}},
				}[c.token])
				if c.token == "none" {
					bearer = ""
				}
				model := Model(cloud)
				if c.model != "" {
					model = c.model
				}
				body := ask(model, c.body)
				switch {
				case c.body == canary:
					body = canary
				case strings.HasPrefix(c.body, `"`):
					body = strings.Replace(ask(model, ""), "{", "{"+c.body, 1)
				}
				resp := post(t, cloud, bearer, body)
				defer resp.Body.Close()
				text, _ := io.ReadAll(resp.Body)
				var e struct {
					Error struct{ Message, Type, Code string }
				}
				if err := json.Unmarshal(text, &e); err != nil || e.Error.Message == "" || e.Error.Type == "" {
					t.Fatalf("not an error envelope: %s", text)
				}
				if resp.StatusCode != c.status || e.Error.Code != c.code {
					t.Errorf("got %d %q, want %d %q: %s", resp.StatusCode, e.Error.Code, c.status, c.code, text)
				}
				if c.status == 429 && resp.Header.Get("Retry-After") != "3" {
					t.Errorf("Retry-After is %q", resp.Header.Get("Retry-After"))
				}
				for what, secret := range map[string]string{"prompt": canary, "token": bearer} {
					if secret != "" && (strings.Contains(string(text), secret) || strings.Contains(output.String(), secret)) {
						t.Errorf("the %s came out in an answer or a log", what)
					}
				}
			})
		})
	}
}

func TestBrokenStreams(t *testing.T) {
	t.Parallel()
	for fault, code := range map[string]string{
		"break": "upstream_stream_interrupted", "truncate": "upstream_stream_interrupted",
		"garbage": "upstream_stream_interrupted", "error": "upstream_error",
	} {
		t.Run(fault, func(t *testing.T) {
			t.Parallel()
			onEach(t, func(t *testing.T, cloud string) {
				resp := post(t, cloud, token(t, oidc.Token{}),
					fmt.Sprintf(`{"model":%q,"stream":true,"messages":[{"role":"user","content":"#%s() one two three four"}]}`, Model(cloud), fault))
				defer resp.Body.Close()
				text, err := io.ReadAll(resp.Body)
				if err != nil {
					t.Errorf("the gateway's own stream broke: %v", err)
				}
				end := `,"type":"server_error","param":null,"code":"` + code + "\"}}\n\n"
				if resp.StatusCode != http.StatusOK || !strings.Contains(string(text), `data: {"error":{"message":`) || !strings.HasSuffix(string(text), end) {
					t.Errorf("status %d without an error event of code %s at the end: %s", resp.StatusCode, code, text)
				}
				if strings.Contains(string(text), "[DONE]") {
					t.Errorf("a broken stream says that it is done: %s", text)
				}
			})
		})
	}
}

// TestWhoSigned looks at the log lines: each cloud's gateway used its own
// identity, and found it where its platform keeps it.
func TestWhoSigned(t *testing.T) {
	t.Parallel()
	want := map[string][2]string{
		AWS:   {"arn:aws:sts::123456789012:assumed-role/postern-gateway/", "container credentials"},
		GCP:   {serviceAccount, "metadata server"},
		Azure: {clientID, "managed identity"},
	}
	onEach(t, func(t *testing.T, cloud string) {
		for range 3 { // the role's name is learned beside the first request
			resp := post(t, cloud, token(t, oidc.Token{Subject: "signer-" + cloud}),
				fmt.Sprintf(`{"model":%q,"messages":[{"role":"user","content":"#slow(30ms) who?"}]}`, Model(cloud)))
			_, _ = io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
		}
		var last map[string]any
		for line := range strings.Lines(output.String()) {
			at := strings.Index(line, "{")
			if at < 0 || !strings.Contains(line, "signer-"+cloud) {
				continue
			}
			if err := json.Unmarshal([]byte(line[at:]), &last); err != nil {
				t.Fatalf("%v in %q", err, line)
			}
		}
		name, _ := last["identity"].(string)
		if !strings.HasPrefix(name, want[cloud][0]) || last["identity_source"] != want[cloud][1] {
			t.Errorf("identity %q from %q, want %q", name, last["identity_source"], want[cloud])
		}
	})
}

// nodeModules returns the folder of the programs for node, and skips the test
// where they cannot be run.
func nodeModules(t *testing.T) string {
	t.Helper()
	root, err := Root()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(root, "localdev", "e2e")
	_, noNode := exec.LookPath("node")
	_, noModules := os.Stat(filepath.Join(dir, "node_modules"))
	if noNode != nil || noModules != nil {
		if os.Getenv("POSTERN_E2E") == "required" {
			t.Fatalf("the npm clients are required and not there: node %v, modules %v", noNode, noModules)
		}
		t.Skip("node or the npm clients are not installed; `make test` installs the clients where it finds node")
	}
	return dir
}

// TestNodeClients runs the vendors' npm clients.
func TestNodeClients(t *testing.T) {
	t.Parallel()
	dir := nodeModules(t)
	var gateways, models []string
	for _, cloud := range Clouds() {
		gateways = append(gateways, cloud+"="+shared.Gateways[cloud])
		models = append(models, cloud+"="+Model(cloud))
	}
	cmd := exec.CommandContext(t.Context(), "node", "--test", "--test-reporter=spec")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(),
		"POSTERN_E2E_GATEWAYS="+strings.Join(gateways, ","),
		"POSTERN_E2E_MODELS="+strings.Join(models, ","),
		"POSTERN_E2E_TOKEN="+token(t, oidc.Token{}))
	for name, value := range shared.Witness() {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, text)
	}
}

// TestTheNumberOfPortsIsTheOneThatIsSaid keeps the text about a port that is
// taken true.
func TestTheNumberOfPortsIsTheOneThatIsSaid(t *testing.T) {
	t.Parallel()
	if n := len(shared.services.list); n != portsOfServices {
		t.Errorf("the stand-ins take %d ports, and %d are said", n, portsOfServices)
	}
}

func TestAPortThatIsTakenIsAClearError(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	port := l.Addr().(*net.TCPAddr).Port
	_, err = Start(t.Context(), Options{Port: port})
	if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("port %d is taken", port)) || !strings.Contains(err.Error(), "-port") {
		t.Errorf("got %v", err)
	}
}

func TestTheControlPage(t *testing.T) {
	t.Parallel()
	get := func(path string) (int, string) {
		resp, err := http.Get(shared.Control + path)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		text, _ := io.ReadAll(resp.Body)
		return resp.StatusCode, string(text)
	}
	if status, text := get("/"); status != 200 || !strings.Contains(text, shared.Gateways[AWS]) || !strings.Contains(text, anthropicModel) {
		t.Errorf("got %d %s", status, text)
	}
	status, bearer := get("/token?sub=me&groups=a,b")
	if status != 200 || strings.Count(bearer, ".") != 2 {
		t.Fatalf("got %d %s", status, bearer)
	}
	resp := post(t, GCP, bearer, fmt.Sprintf(`{"model":%q,"messages":[{"role":"user","content":"hi"}]}`, Model(GCP)))
	defer resp.Body.Close()
	if resp.StatusCode != 200 {
		t.Errorf("the token is not accepted: %s", resp.Status)
	}
	for _, query := range []string{"ttl=soon", "group=a", "mfa=perhaps"} {
		if status, _ := get("/token?" + query); status != 400 {
			t.Errorf("%s got %d", query, status)
		}
	}
}
