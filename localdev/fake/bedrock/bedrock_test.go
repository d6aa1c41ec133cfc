package bedrock_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/bedrockruntime"
	"github.com/aws/aws-sdk-go-v2/service/bedrockruntime/document"
	"github.com/aws/aws-sdk-go-v2/service/bedrockruntime/types"
	"github.com/aws/smithy-go"
	"github.com/google/go-cmp/cmp"

	"github.com/postern-ai/postern/localdev/contract"
	"github.com/postern-ai/postern/localdev/fake/awsauth"
	"github.com/postern-ai/postern/localdev/fake/bedrock"
	"github.com/postern-ai/postern/localdev/fake/brain"
)

const (
	region = "eu-central-1"
	haiku  = "anthropic.claude-3-haiku-20240307-v1:0"
)

var key = awsauth.Key{AccessKeyID: "ASIATEST", SecretAccessKey: "test-secret", SessionToken: "test-token"}

// stand is a stand-in under test. Everything that passes through it is held
// against AWS's own service model.
type stand struct {
	url string

	mu    sync.Mutex
	calls []bedrock.Call
}

func newStand(t *testing.T) *stand {
	t.Helper()
	s := new(stand)
	s.serve(t, checked(t, s.handler(brain.Echo{})))
	return s
}

func (s *stand) handler(b brain.Brain) http.Handler {
	return bedrock.New(bedrock.Options{
		Brain: b, Region: region,
		Keys: func(id string) (awsauth.Key, bool) { return key, id == key.AccessKeyID },
		Signed: func(c bedrock.Call) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.calls = append(s.calls, c)
		},
	})
}

func (s *stand) serve(t *testing.T, handler http.Handler) {
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	s.url = server.URL
}

func checked(t *testing.T, next http.Handler) http.Handler {
	dir, ok := contract.Dir()
	if !ok {
		t.Log("the vendors' descriptions are not here; nothing is held against them")
		return next
	}
	model, err := contract.AWS(dir, "bedrock-runtime")
	if err != nil {
		t.Fatal(err)
	}
	return contract.Check(model, next, func(problems ...contract.Problem) {
		for _, p := range problems {
			t.Error(p)
		}
	})
}

// client is the official client with its own signer.
// reading sends requests whose bodies can be read and nothing else. Those of
// smithy-go (safeWriteToReadCloser in v1.28.8) answer WriteTo with io.EOF once the
// client has closed them, which it does when an answer begins; net/http takes that
// for a request that could not be written, and closes the connection that the
// answer comes on.
type reading struct{}

func (reading) Do(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		r.Body = struct{ io.ReadCloser }{r.Body}
	}
	return http.DefaultClient.Do(r)
}

func (s *stand) client() *bedrockruntime.Client {
	return bedrockruntime.NewFromConfig(aws.Config{
		Region: region, BaseEndpoint: &s.url, RetryMaxAttempts: 1, HTTPClient: reading{},
		Credentials:          credentials.NewStaticCredentialsProvider(key.AccessKeyID, key.SecretAccessKey, key.SessionToken),
		AuthSchemePreference: []string{"sigv4"},
	})
}

func user(texts ...string) types.Message {
	m := types.Message{Role: types.ConversationRoleUser}
	for _, text := range texts {
		m.Content = append(m.Content, &types.ContentBlockMemberText{Value: text})
	}
	return m
}

func weather() *types.ToolConfiguration {
	schema := map[string]any{"type": "object", "properties": map[string]any{"city": map[string]any{"type": "string"}}, "required": []string{"city"}}
	return &types.ToolConfiguration{Tools: []types.Tool{
		&types.ToolMemberToolSpec{Value: types.ToolSpecification{
			Name: aws.String("weather"), Description: aws.String("Tells the weather"),
			InputSchema: &types.ToolInputSchemaMemberJson{Value: document.NewLazyDocument(schema)},
		}},
		&types.ToolMemberToolSpec{Value: types.ToolSpecification{
			Name: aws.String("clock"), InputSchema: &types.ToolInputSchemaMemberJson{Value: document.NewLazyDocument(map[string]any{"type": "object"})},
		}},
	}}
}

func TestTheOfficialClientConverses(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	out, err := s.client().Converse(t.Context(), &bedrockruntime.ConverseInput{
		ModelId:         aws.String(haiku),
		System:          []types.SystemContentBlock{&types.SystemContentBlockMemberText{Value: "Be kind."}},
		Messages:        []types.Message{user("hello there #cached(2)")},
		InferenceConfig: &types.InferenceConfiguration{MaxTokens: aws.Int32(100), Temperature: aws.Float32(0.7)},
		RequestMetadata: map[string]string{"team": "a"},
	})
	if err != nil {
		t.Fatal(err)
	}
	message := out.Output.(*types.ConverseOutputMemberMessage).Value
	text := message.Content[0].(*types.ContentBlockMemberText).Value
	if want := "You said in 2 words: hello there | My instructions: Be kind."; text != want || out.StopReason != types.StopReasonEndTurn {
		t.Errorf("got %q and %s", text, out.StopReason)
	}
	if got := []int32{*out.Usage.InputTokens, *out.Usage.CacheReadInputTokens, *out.Usage.OutputTokens, *out.Usage.TotalTokens}; got[1] != 2 || got[0]+got[1]+got[2] != got[3] {
		t.Errorf("the usage %v does not add up", got)
	}
	if len(s.calls) != 1 || s.calls[0].Operation != "Converse" || s.calls[0].Model != haiku || s.calls[0].Key.AccessKeyID != key.AccessKeyID {
		t.Errorf("got calls %+v", s.calls)
	}
}

func TestTheOfficialClientCallsTools(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	messages := []types.Message{user("What does weather say for Paris, and what does clock say?")}
	in := &bedrockruntime.ConverseInput{ModelId: aws.String(haiku), Messages: messages, ToolConfig: weather()}
	out, err := s.client().Converse(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	message := out.Output.(*types.ConverseOutputMemberMessage).Value
	if out.StopReason != types.StopReasonToolUse || len(message.Content) != 2 {
		t.Fatalf("got %s and %d blocks", out.StopReason, len(message.Content))
	}
	results := types.Message{Role: types.ConversationRoleUser}
	for _, block := range message.Content {
		use := block.(*types.ContentBlockMemberToolUse).Value
		results.Content = append(results.Content, &types.ContentBlockMemberToolResult{Value: types.ToolResultBlock{
			ToolUseId: use.ToolUseId, Content: []types.ToolResultContentBlock{&types.ToolResultContentBlockMemberText{Value: "fine, says " + *use.Name}},
		}})
	}
	in.Messages = append(in.Messages, message, results)
	if out, err = s.client().Converse(t.Context(), in); err != nil {
		t.Fatal(err)
	}
	text := out.Output.(*types.ConverseOutputMemberMessage).Value.Content[0].(*types.ContentBlockMemberText).Value
	for _, want := range []string{"weather returned: fine, says weather", "clock returned: fine, says clock"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q does not have %q", text, want)
		}
	}
}

// transcript writes the events of a stream one per line.
func transcript(t *testing.T, s *stand, in *bedrockruntime.ConverseStreamInput) (string, error) {
	t.Helper()
	out, err := s.client().ConverseStream(t.Context(), in)
	if err != nil {
		return "", err
	}
	events := out.GetStream()
	defer events.Close()
	var b strings.Builder
	for e := range events.Events() {
		switch e := e.(type) {
		case *types.ConverseStreamOutputMemberMessageStart:
			fmt.Fprintln(&b, "start", e.Value.Role)
		case *types.ConverseStreamOutputMemberContentBlockStart:
			use := e.Value.Start.(*types.ContentBlockStartMemberToolUse).Value
			fmt.Fprintln(&b, *e.Value.ContentBlockIndex, "call", *use.Name)
		case *types.ConverseStreamOutputMemberContentBlockDelta:
			switch d := e.Value.Delta.(type) {
			case *types.ContentBlockDeltaMemberText:
				fmt.Fprintf(&b, "%d text %q\n", *e.Value.ContentBlockIndex, d.Value)
			case *types.ContentBlockDeltaMemberToolUse:
				fmt.Fprintf(&b, "%d input %q\n", *e.Value.ContentBlockIndex, *d.Value.Input)
			}
		case *types.ConverseStreamOutputMemberContentBlockStop:
			fmt.Fprintln(&b, *e.Value.ContentBlockIndex, "stop")
		case *types.ConverseStreamOutputMemberMessageStop:
			fmt.Fprintln(&b, "end", e.Value.StopReason)
		case *types.ConverseStreamOutputMemberMetadata:
			fmt.Fprintln(&b, "usage", *e.Value.Usage.OutputTokens)
		default:
			fmt.Fprintf(&b, "%T\n", e)
		}
	}
	return b.String(), events.Err()
}

func TestTheOfficialClientReadsTheStreamInTheDocumentedOrder(t *testing.T) {
	t.Parallel()
	got, err := transcript(t, newStand(t), &bedrockruntime.ConverseStreamInput{
		ModelId: aws.String(haiku), ToolConfig: weather(),
		Messages: []types.Message{user("#say(One moment) weather and clock for Paris")},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := `start assistant
0 text "One"
0 text " moment"
0 stop
1 call weather
1 input ""
1 input "{\"city\":\""
1 input "Paris\"}"
1 stop
2 call clock
2 input ""
2 stop
end tool_use
usage 6
`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestAModelIsFoundByEveryNameThatItHas(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	tests := []struct{ name, id, want string }{
		{"a foundation model", haiku, ""},
		{"the ARN of a foundation model, with an escaped slash", "arn:aws:bedrock:eu-central-1::foundation-model/" + haiku, ""},
		{"a profile of the region", "eu.anthropic.claude-sonnet-4-5-20250929-v1:0", ""},
		{"a global profile", "global.anthropic.claude-sonnet-4-5-20250929-v1:0", ""},
		{"the ARN of a profile", "arn:aws:bedrock:eu-central-1:123456789012:inference-profile/eu.amazon.nova-lite-v1:0", ""},
		{"a profile of another region", "us.anthropic.claude-sonnet-4-5-20250929-v1:0", "ValidationException: The provided model identifier is invalid."},
		{"a model that wants a profile", "anthropic.claude-sonnet-4-5-20250929-v1:0", "ValidationException: Invocation of model ID anthropic.claude-sonnet-4-5-20250929-v1:0 with on-demand throughput isn’t supported. Retry your request with the ID or ARN of an inference profile that contains this model."},
		{"a model that is not there", "acme.gpt", "ValidationException: The provided model identifier is invalid."},
		{"an ARN that is not there", "arn:aws:bedrock:eu-central-1:123456789012:application-inference-profile/nope", "ResourceNotFoundException: Could not resolve the foundation model from the provided model identifier."},
		{"a model of yesterday", "anthropic.claude-v2:1", "ResourceNotFoundException: Access denied. This Model is marked by provider as Legacy and you have not been actively using the model in the last 30 days. Please upgrade to an active model on Amazon Bedrock"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			_, err := s.client().Converse(t.Context(), &bedrockruntime.ConverseInput{ModelId: &test.id, Messages: []types.Message{user("hi")}})
			if got := exception(err); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

// exception writes an API error as its name and message.
func exception(err error) string {
	var reported smithy.APIError
	switch {
	case err == nil:
		return ""
	case errors.As(err, &reported):
		return reported.ErrorCode() + ": " + reported.ErrorMessage()
	}
	return err.Error()
}

func TestSignaturesAreVerified(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	tests := []struct {
		name   string
		change func(*bedrockruntime.Options)
		want   string
	}{
		{"a key that nobody knows", func(o *bedrockruntime.Options) {
			o.Credentials = credentials.NewStaticCredentialsProvider("ASIAOTHER", "x", "y")
		}, "UnrecognizedClientException"},
		{"a wrong secret", func(o *bedrockruntime.Options) {
			o.Credentials = credentials.NewStaticCredentialsProvider(key.AccessKeyID, "wrong", key.SessionToken)
		}, "InvalidSignatureException"},
		{"another region", func(o *bedrockruntime.Options) { o.Region = "us-east-1" }, "InvalidSignatureException"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			_, err := s.client().Converse(t.Context(), &bedrockruntime.ConverseInput{ModelId: aws.String(haiku), Messages: []types.Message{user("hi")}}, test.change)
			if got, _, _ := strings.Cut(exception(err), ":"); got != test.want {
				t.Errorf("got %v, want %s", err, test.want)
			}
			var answered *awshttp.ResponseError
			if !errors.As(err, &answered) || answered.HTTPStatusCode() != http.StatusForbidden {
				t.Errorf("got %v, want status 403", err)
			}
		})
	}
}

func TestARequestWithoutASignatureIsRefused(t *testing.T) {
	t.Parallel()
	s := new(stand)
	s.serve(t, s.handler(brain.Echo{}))
	resp, err := http.Post(s.url+"/model/"+haiku+"/converse", "application/json", strings.NewReader(`{}`))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if got := resp.Header.Get("X-Amzn-Errortype"); resp.StatusCode != http.StatusForbidden || got != "MissingAuthenticationTokenException" || len(s.calls) != 0 {
		t.Errorf("got %d %s and calls %v", resp.StatusCode, got, s.calls)
	}
}
