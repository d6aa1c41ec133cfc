package sigv4_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/bedrockruntime"
	"github.com/aws/aws-sdk-go-v2/service/bedrockruntime/types"
	"github.com/postern-ai/postern/localdev/fake/awsauth"
	"github.com/postern-ai/postern/shared/identity"
	"github.com/postern-ai/postern/shared/identity/sigv4"
)

var session = awsauth.Key{AccessKeyID: "ASIASESSION", SecretAccessKey: "session-secret", SessionToken: "session/token+=="}

// environment stands for the variables of a process.
func environment(values map[string]string) func(string) string {
	return func(name string) string { return values[name] }
}

// lambda is the environment of a function that has the key.
func lambda(key awsauth.Key) map[string]string {
	return map[string]string{
		"AWS_REGION": "eu-central-1", "AWS_LAMBDA_FUNCTION_NAME": "gateway",
		"AWS_ACCESS_KEY_ID": key.AccessKeyID, "AWS_SECRET_ACCESS_KEY": key.SecretAccessKey, "AWS_SESSION_TOKEN": key.SessionToken,
	}
}

// wire is a transport that hands requests to a handler as a server would receive them.
type wire struct{ handler http.Handler }

func (w wire) RoundTrip(request *http.Request) (response *http.Response, err error) {
	defer func() {
		switch caught := recover(); caught {
		case nil:
		case http.ErrAbortHandler:
			err = syscall.ECONNRESET
		default:
			panic(caught)
		}
	}()
	received := request.Clone(request.Context())
	if received.Method == "" {
		received.Method = http.MethodGet
	}
	if received.Body == nil {
		received.Body = http.NoBody
	}
	recorder := httptest.NewRecorder()
	w.handler.ServeHTTP(recorder, received)
	if err := request.Context().Err(); err != nil {
		return nil, err
	}
	return recorder.Result(), nil
}

// nowhere is a transport that fails the test when it is used.
type nowhere struct{ t *testing.T }

func (n nowhere) RoundTrip(request *http.Request) (*http.Response, error) {
	n.t.Errorf("a request went to %s", request.URL)
	return nil, errors.New("no network")
}

func silent(t *testing.T) *http.Client { return &http.Client{Transport: nowhere{t}} }

// offline refuses all requests without failing the test: the question for the identity's name may be under way.
func offline() *http.Client {
	return &http.Client{Transport: wire{http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) })}}
}

func authorizer(t *testing.T, options sigv4.IdentityOptions) *sigv4.Authorizer {
	t.Helper()
	if options.HTTP == nil {
		options.HTTP = offline()
	}
	got, err := sigv4.New(sigv4.Options{Service: "bedrock", Region: "eu-central-1", Identity: sigv4.NewIdentity(options)})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func verify(t *testing.T, request *http.Request, keys ...awsauth.Key) (awsauth.Key, error) {
	t.Helper()
	var body []byte
	if request.Body != nil {
		var err error
		if body, err = io.ReadAll(request.Body); err != nil {
			t.Fatal(err)
		}
	}
	received := request.Clone(t.Context())
	if received.Host == "" {
		received.Host = request.URL.Host
	}
	return awsauth.Verifier{Service: "bedrock", Region: "eu-central-1", Keys: func(id string) (awsauth.Key, bool) {
		for _, key := range keys {
			if key.AccessKeyID == id {
				return key, true
			}
		}
		return awsauth.Key{}, false
	}}.Verify(received, body)
}

func TestSignaturesAreAcceptedByTheVerifier(t *testing.T) {
	t.Parallel()
	longTerm := awsauth.Key{AccessKeyID: "AKIALONGTERM", SecretAccessKey: "long-secret"}
	const base = "https://bedrock-runtime.eu-central-1.amazonaws.com"
	tests := []struct {
		name   string
		key    awsauth.Key
		target string
		body   io.Reader
		header http.Header
	}{
		{name: "a session token is part of it", key: session, target: base + "/model/m/converse", body: strings.NewReader(`{"a":1}`)},
		{name: "a long-term key has none", key: longTerm, target: base + "/model/m/converse", body: strings.NewReader(`{"a":1}`)},
		{name: "a model ARN keeps its escaped slash", key: session, target: base + "/model/arn%3Aaws%3Abedrock%3Aeu-central-1%3A123456789012%3Aapplication-inference-profile%2Fabc/converse", body: strings.NewReader("x")},
		{name: "a colon in the path that is not escaped", key: session, target: base + "/model/amazon.titan-embed-text-v2:0/invoke", body: strings.NewReader("x")},
		{name: "a path beyond ASCII", key: session, target: base + "/model/%C3%A4%20b/converse", body: strings.NewReader("x")},
		{name: "a query", key: session, target: base + "/p?b=2&a=1&a=0&c=%2F+x", body: strings.NewReader("x")},
		{name: "no body", key: session, target: base + "/p"},
		{name: "a body that can be read only once", key: session, target: base + "/p", body: io.MultiReader(strings.NewReader("part one, "), strings.NewReader("part two"))},
		{name: "a body of a megabyte", key: session, target: base + "/p", body: bytes.NewReader(make([]byte, 1<<20))},
		{name: "headers with several values and spaces", key: session, target: base + "/p", header: http.Header{"X-Custom": {"a  b", " c "}, "Content-Type": {"application/json"}}},
		{name: "the default port", key: session, target: "https://bedrock-runtime.eu-central-1.amazonaws.com:443/p"},
		{name: "another port", key: session, target: "http://127.0.0.1:9110/p"},
		{name: "what an earlier signature left", key: longTerm, target: base + "/p", header: http.Header{"Authorization": {"Bearer caller"}, "X-Amz-Security-Token": {"old"}, "X-Amz-Date": {"20010101T000000Z"}}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, test.target, test.body)
			if err != nil {
				t.Fatal(err)
			}
			for name, values := range test.header {
				request.Header[name] = values
			}
			if err := authorizer(t, sigv4.IdentityOptions{Getenv: environment(lambda(test.key))}).Authorize(request); err != nil {
				t.Fatal(err)
			}
			if _, err := verify(t, request, test.key); err != nil {
				t.Error(err)
			}
		})
	}
}

// gatewayClient is an HTTP client as the SDK takes one, which signs what it sends.
type gatewayClient struct {
	authorizer identity.Authorizer
	handler    http.Handler
}

func (c gatewayClient) Do(request *http.Request) (*http.Response, error) {
	if err := c.authorizer.Authorize(request); err != nil {
		return nil, err
	}
	return wire{c.handler}.RoundTrip(request)
}

// TestRequestsOfAnSDKClientAreSigned sets the variable that turns an SDK client to bearer keys, so it does not run in parallel.
func TestRequestsOfAnSDKClientAreSigned(t *testing.T) {
	t.Setenv("AWS_BEARER_TOKEN_BEDROCK", "canary-bearer")
	var failure error
	calls := 0
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		calls++
		if strings.Contains(r.Header.Get("Authorization"), "canary") {
			t.Error("the bearer key was used")
		}
		_, failure = verify(t, r, session)
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"output":{"message":{"role":"assistant","content":[{"text":"hi"}]}},"stopReason":"end_turn","usage":{"inputTokens":1,"outputTokens":1,"totalTokens":2},"metrics":{"latencyMs":1}}`)
	})
	client := bedrockruntime.New(bedrockruntime.Options{
		Region: "eu-central-1", Credentials: aws.AnonymousCredentials{}, AuthSchemePreference: []string{"noAuth"}, Retryer: aws.NopRetryer{},
		HTTPClient: gatewayClient{authorizer(t, sigv4.IdentityOptions{Getenv: environment(lambda(session))}), handler},
	})
	for _, model := range []string{"amazon.nova-lite-v1:0", "arn:aws:bedrock:eu-central-1:123456789012:application-inference-profile/abc"} {
		_, err := client.Converse(t.Context(), &bedrockruntime.ConverseInput{
			ModelId:  aws.String(model),
			Messages: []types.Message{{Role: types.ConversationRoleUser, Content: []types.ContentBlock{&types.ContentBlockMemberText{Value: "hello"}}}},
		})
		if err != nil || failure != nil {
			t.Errorf("%s: the client got %v, the verifier says %v", model, err, failure)
		}
	}
	if calls != 2 {
		t.Errorf("%d calls, want 2", calls)
	}
}

func TestStaticKeysNeverMixWithTheEnvironment(t *testing.T) {
	t.Parallel()
	ambient := lambda(session)
	request := httptest.NewRequest(http.MethodPost, "https://host/p", strings.NewReader("x"))
	options := sigv4.IdentityOptions{Getenv: environment(ambient), Credentials: credentials.NewStaticCredentialsProvider("AKIASTATIC", "static-secret", "")}
	if err := authorizer(t, options).Authorize(request); err != nil {
		t.Fatal(err)
	}
	if token := request.Header.Get("X-Amz-Security-Token"); token != "" {
		t.Errorf("signed with the session token %q of other keys", token)
	}
	if _, err := verify(t, request, awsauth.Key{AccessKeyID: "AKIASTATIC", SecretAccessKey: "static-secret"}); err != nil {
		t.Error(err)
	}
}

func TestOptionsAreCheckedBeforeAnyRequest(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		options sigv4.Options
		env     map[string]string
		want    string
	}{
		{"a region from the environment", sigv4.Options{Service: "bedrock"}, map[string]string{"AWS_REGION": "eu-west-1"}, ""},
		{"a region from the older variable", sigv4.Options{Service: "bedrock"}, map[string]string{"AWS_DEFAULT_REGION": "us-gov-west-1"}, ""},
		{"no region", sigv4.Options{Service: "bedrock"}, nil, "no AWS region"},
		{"a region that is a host", sigv4.Options{Service: "bedrock", Region: "evil.example/"}, nil, "does not look like eu-central-1"},
		{"a region in capitals", sigv4.Options{Service: "bedrock", Region: "EU-CENTRAL-1"}, nil, "does not look like eu-central-1"},
		{"a region that is one word", sigv4.Options{Service: "bedrock", Region: "global"}, nil, "does not look like eu-central-1"},
		{"no service", sigv4.Options{Region: "eu-west-1"}, nil, "does not look like bedrock"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			test.options.Identity = sigv4.NewIdentity(sigv4.IdentityOptions{Getenv: environment(test.env), HTTP: silent(t)})
			_, err := sigv4.New(test.options)
			if (err == nil) != (test.want == "") || (err != nil && !strings.Contains(err.Error(), test.want)) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

func TestABodyThatCannotBeReadIsAnError(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	request := httptest.NewRequest(http.MethodPost, "https://host/p", io.MultiReader(strings.NewReader("x"), failing{broken}))
	if err := authorizer(t, sigv4.IdentityOptions{Getenv: environment(lambda(session))}).Authorize(request); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
	request = httptest.NewRequest(http.MethodPost, "https://host/p", endless{})
	if err := authorizer(t, sigv4.IdentityOptions{Getenv: environment(lambda(session))}).Authorize(request); err == nil || !strings.Contains(err.Error(), "larger than") {
		t.Errorf("got %v", err)
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

func BenchmarkAuthorize(b *testing.B) {
	signer, err := sigv4.New(sigv4.Options{Service: "bedrock", Identity: sigv4.NewIdentity(sigv4.IdentityOptions{Getenv: environment(lambda(session)), HTTP: offline()})})
	if err != nil {
		b.Fatal(err)
	}
	ctx, _ := identity.WithReport(context.Background())
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://bedrock-runtime.eu-central-1.amazonaws.com/model/m/converse", bytes.NewReader(make([]byte, 2<<10)))
	if err != nil {
		b.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	b.ReportAllocs()
	for b.Loop() {
		if err := signer.Authorize(request); err != nil {
			b.Fatal(err)
		}
	}
}
