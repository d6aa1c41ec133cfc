package awssecrets_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	client "github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/postern-ai/postern/localdev/contract"
	"github.com/postern-ai/postern/localdev/fake/awsauth"
	"github.com/postern-ai/postern/localdev/fake/fault"
	"github.com/postern-ai/postern/localdev/fake/secretsmanager"
	"github.com/postern-ai/postern/shared/secrets"
	"github.com/postern-ai/postern/shared/secrets/awssecrets"
	"github.com/postern-ai/postern/shared/secrets/secretstest"
)

const region = "eu-central-1"

// issuer gives out credentials, the newest of which is good.
type issuer struct {
	mu          sync.Mutex
	issued      int
	invalidated bool
	err         error
}

func (i *issuer) key(n int) awsauth.Key {
	id := "ASIATEST" + strconv.Itoa(n)
	return awsauth.Key{AccessKeyID: id, SecretAccessKey: "secret of " + id, SessionToken: secretstest.Canary + " of " + id, ARN: "arn:aws:sts::123456789012:assumed-role/r/s"}
}

func (i *issuer) find(id string) (awsauth.Key, bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	key := i.key(i.issued)
	if i.invalidated {
		key = i.key(i.issued + 1)
	}
	return key, id == key.AccessKeyID
}

// Retrieve implements aws.CredentialsProvider.
func (i *issuer) Retrieve(context.Context) (aws.Credentials, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	key := i.key(i.issued)
	return aws.Credentials{AccessKeyID: key.AccessKeyID, SecretAccessKey: key.SecretAccessKey, SessionToken: key.SessionToken}, i.err
}

// Invalidate is called when the service did not accept what Retrieve gave.
func (i *issuer) Invalidate() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.issued++
	i.invalidated = false
}

func (i *issuer) set(change func(*issuer)) {
	i.mu.Lock()
	defer i.mu.Unlock()
	change(i)
}

// world is a stand-in, and a reader of it.
type world struct {
	*issuer
	server *secretsmanager.Server
	url    string
	reader *awssecrets.Reader
}

func newWorld(t *testing.T, options awssecrets.Options) *world {
	t.Helper()
	w := &world{issuer: &issuer{}}
	w.server = secretsmanager.New(secretsmanager.Options{Region: region, Keys: w.find})
	listener := httptest.NewServer(checked(t, w.server))
	t.Cleanup(listener.Close)
	w.url = listener.URL
	options.Endpoint, options.Timeout = listener.URL, time.Minute
	if options.Region == "" {
		options.Region = region
	}
	if options.Credentials == nil {
		options.Credentials = w.issuer
	}
	reader, err := awssecrets.New(options)
	if err != nil {
		t.Fatal(err)
	}
	w.reader = reader
	return w
}

func checked(t *testing.T, next http.Handler) http.Handler {
	t.Helper()
	dir, ok := contract.Dir()
	if !ok {
		t.Log("the vendors' descriptions are not here, so the traffic is not checked against them")
		return next
	}
	description, err := contract.AWS(dir, "secretsmanager")
	if err != nil {
		t.Fatal(err)
	}
	return contract.Check(description, next, func(problems ...contract.Problem) {
		for _, problem := range problems {
			if problem.OfRequest() {
				t.Error(problem)
			}
		}
	})
}

func TestConformance(t *testing.T) {
	t.Parallel()
	secretstest.TestReader(t, func(t *testing.T, timeout time.Duration) secretstest.Store {
		i := &issuer{}
		var denied atomic.Bool
		server := secretsmanager.New(secretsmanager.Options{Region: region, Keys: i.find, Allow: func(access secretsmanager.Access) bool {
			return !denied.Load() || access.Action != "secretsmanager:GetSecretValue"
		}})
		listener := httptest.NewServer(checked(t, server))
		t.Cleanup(listener.Close)
		options := awssecrets.Options{Region: region, Credentials: i, Endpoint: listener.URL, Timeout: timeout}
		reader, err := awssecrets.New(options)
		if err != nil {
			t.Fatal(err)
		}
		return secretstest.Store{
			Reader: reader,
			Ref:    func(name string) secrets.Ref { return secrets.Ref{Store: secrets.StoreAWS, Name: "team/" + name} },
			Put: func(p secretstest.Put) string {
				return server.Seed(secretsmanager.Secret{Name: "team/" + p.Name, Text: p.Text})
			},
			Delete:       func(name string) { newAccount(options, "team/").remove(t, name) },
			Deny:         func() { denied.Store(true) },
			Permission:   "secretsmanager:GetSecretValue",
			Expire:       func() { i.set(func(i *issuer) { i.invalidated = true }) },
			LoseIdentity: func(err error) { i.set(func(i *issuer) { i.err = err }) },
			Break: func(b secretstest.Broken) {
				server.Faults.Before("").Set(fault.Fault{Status: b.Status, Header: b.Header, Body: b.Body, Hangup: b.Hangup, Delay: hang(b)})
			},
			Calls: func() int { return server.Faults.Before("").Calls() },
		}
	})
}

// hang is how long a broken store waits before it answers.
func hang(b secretstest.Broken) time.Duration {
	if b.Status == 0 && !b.Hangup {
		return time.Hour
	}
	return 0
}

func TestAReferenceIsReadInEveryForm(t *testing.T) {
	t.Parallel()
	w := newWorld(t, awssecrets.Options{})
	w.server.Seed(secretsmanager.Secret{Name: "team/key", Text: "old"})
	w.server.Seed(secretsmanager.Secret{Name: "team/key", Text: "new"})
	official := client.NewFromConfig(aws.Config{Region: region, BaseEndpoint: &w.url, Credentials: w.issuer})
	out, err := official.DescribeSecret(t.Context(), &client.DescribeSecretInput{SecretId: aws.String("team/key")})
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct{ name, ref, want string }{
		{"a plain name", "team/key", "new"},
		{"a name", "aws-sm://team/key", "new"},
		{"a label", "aws-sm://team/key?version=AWSPREVIOUS", "old"},
		{"an ARN", "aws-sm://" + *out.ARN, "new"},
		{"a plain ARN without its end", (*out.ARN)[:len(*out.ARN)-7], "new"},
		{"braces", "{vault://aws/team%2Fkey}", "new"},
		{"braces with a version", "{vault://aws/team%2Fkey#2}", "old"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			ref, err := secrets.ParseRef(test.ref)
			if err != nil {
				t.Fatal(err)
			}
			got, err := w.reader.Read(t.Context(), ref)
			if err != nil || got.Reveal() != test.want {
				t.Errorf("got %q and error %v", got.Reveal(), err)
			}
		})
	}
}

func TestAnARNIsReadInItsRegion(t *testing.T) {
	t.Parallel()
	w := newWorld(t, awssecrets.Options{Region: "us-east-1"})
	w.server.Seed(secretsmanager.Secret{Name: "key", Text: "there"})
	official := client.NewFromConfig(aws.Config{Region: region, BaseEndpoint: &w.url, Credentials: w.issuer})
	out, err := official.DescribeSecret(t.Context(), &client.DescribeSecretInput{SecretId: aws.String("key")})
	if err != nil {
		t.Fatal(err)
	}
	got, err := w.reader.Read(t.Context(), secrets.Ref{Store: secrets.StoreAWS, Name: *out.ARN})
	if err != nil || got.Reveal() != "there" {
		t.Errorf("got %q and error %v", got.Reveal(), err)
	}
	if _, err := w.reader.Read(t.Context(), secrets.Ref{Store: secrets.StoreAWS, Name: "key"}); err == nil {
		t.Error("a name was read in the region of another reference")
	}
}

// hosts records where requests go, and sends none.
type hosts struct {
	mu   sync.Mutex
	seen []string
}

func (h *hosts) RoundTrip(request *http.Request) (*http.Response, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.seen = append(h.seen, request.URL.Scheme+"://"+request.URL.Host)
	return nil, errors.New("no network")
}

func TestTheEndpointFollowsFromTheRegion(t *testing.T) {
	t.Parallel()
	transport := &hosts{}
	reader, err := awssecrets.New(awssecrets.Options{Region: region, Credentials: credentials.NewStaticCredentialsProvider("a", "b", ""), Transport: transport})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"key", "arn:aws:secretsmanager:us-west-2:123456789012:secret:k", "arn:aws-cn:secretsmanager:cn-north-1:123456789012:secret:k"} {
		if _, err := reader.Read(t.Context(), secrets.Ref{Store: secrets.StoreAWS, Name: name}); err == nil {
			t.Error("there is a network")
		}
	}
	want := "https://secretsmanager.eu-central-1.amazonaws.com https://secretsmanager.us-west-2.amazonaws.com https://secretsmanager.cn-north-1.amazonaws.com.cn"
	if got := strings.Join(transport.seen, " "); got != want {
		t.Errorf("got %s", got)
	}
}

func TestErrorsSayWhatToDo(t *testing.T) {
	t.Parallel()
	refusal := func(status int, code string) fault.Fault {
		return fault.Fault{Status: status, Body: `{"__type":"` + code + `","Message":"` + secretstest.Canary + `"}`, Header: http.Header{"Content-Type": {"application/x-amz-json-1.1"}}}
	}
	tests := []struct {
		name  string
		fault fault.Fault
		want  string
	}{
		{"no right", refusal(400, "AccessDeniedException"), "this function's role may not read it; it needs secretsmanager:GetSecretValue on this secret, and kms:Decrypt on its key unless that is aws/secretsmanager"},
		{"no such secret", refusal(400, "ResourceNotFoundException"), "AWS Secrets Manager has no such secret or version in eu-central-1"},
		{"a deleted secret", refusal(400, "InvalidRequestException"), "it is scheduled for deletion; restore it or remove the reference"},
		{"a key that is disabled", refusal(400, "DecryptionFailure"), "AWS cannot decrypt it; check the state of its KMS key, and that this function's role has kms:Decrypt on it"},
		{"expired credentials", refusal(400, "ExpiredTokenException"), "AWS does not accept this function's credentials (ExpiredTokenException)"},
		{"unknown credentials", refusal(403, "UnrecognizedClientException"), "AWS does not accept this function's credentials (UnrecognizedClientException)"},
		{"a throttle", refusal(400, "ThrottlingException"), "the store is throttling (ThrottlingException)"},
		{"an internal error", refusal(500, "InternalServiceError"), "the store has failed (InternalServiceError)"},
		{"a code that is none", refusal(400, "a b<"+secretstest.Canary), "the store has failed (unknown error)"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, awssecrets.Options{})
			w.server.Faults.Before("").Set(test.fault)
			_, err := w.reader.Read(t.Context(), secrets.Ref{Name: "key"})
			if want := `read secret "key": ` + test.want; err == nil || err.Error() != want {
				t.Errorf("got  %v\nwant %s", err, want)
			}
		})
	}
}

func TestNothingIsTriedTwice(t *testing.T) {
	t.Parallel()
	w := newWorld(t, awssecrets.Options{Credentials: credentials.NewStaticCredentialsProvider("a", "b", "")})
	for _, f := range []fault.Fault{{Status: 500}, {Status: 429}, {Hangup: true}, {Status: 400, Body: `{"__type":"ThrottlingException"}`}, {Status: 400, Body: `{"__type":"ExpiredTokenException"}`}} {
		w.server.Faults.Before("").Set(f)
		before := w.server.Faults.Before("").Calls()
		if _, err := w.reader.Read(t.Context(), secrets.Ref{Name: "key"}); err == nil {
			t.Error("no error")
		}
		if calls := w.server.Faults.Before("").Calls() - before; calls != 1 {
			t.Errorf("%+v led to %d requests", f, calls)
		}
	}
}

func TestBinarySecretsAreTextOrRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t, awssecrets.Options{})
	official := client.NewFromConfig(aws.Config{Region: region, BaseEndpoint: &w.url, Credentials: w.issuer})
	for name, content := range map[string]string{"text": "from a file", "binary": "\xff\x00" + secretstest.Canary} {
		if _, err := official.CreateSecret(t.Context(), &client.CreateSecretInput{Name: &name, SecretBinary: []byte(content)}); err != nil {
			t.Fatal(err)
		}
	}
	got, err := w.reader.Read(t.Context(), secrets.Ref{Name: "text"})
	if err != nil || got.Reveal() != "from a file" {
		t.Errorf("got %q and error %v", got.Reveal(), err)
	}
	_, err = w.reader.Read(t.Context(), secrets.Ref{Name: "binary"})
	if !errors.Is(err, secrets.ErrUnusable) || err.Error() != `read secret "binary": it is binary; store it as text` {
		t.Errorf("got %v", err)
	}
}

func TestARotationIsSeenStepByStep(t *testing.T) {
	t.Parallel()
	w := newWorld(t, awssecrets.Options{})
	one := w.server.Seed(secretsmanager.Secret{Name: "key", Text: "one"})
	official := client.NewFromConfig(aws.Config{Region: region, BaseEndpoint: &w.url, Credentials: w.issuer})
	see := func(step, wantCurrent, wantPrevious string) {
		t.Helper()
		current, err := w.reader.Current(t.Context(), secrets.Ref{Name: "key"})
		if err != nil || current.Value.Reveal() != wantCurrent {
			t.Errorf("%s: current is %q, error %v", step, current.Value.Reveal(), err)
		}
		previous, err := w.reader.Previous(t.Context(), secrets.Ref{Name: "key"})
		if previous.Value.Reveal() != wantPrevious || (err != nil) != (wantPrevious == "") {
			t.Errorf("%s: previous is %q, error %v", step, previous.Value.Reveal(), err)
		}
	}
	see("before", "one", "")
	put, err := official.PutSecretValue(t.Context(), &client.PutSecretValueInput{SecretId: aws.String("key"), SecretString: aws.String("two"), VersionStages: []string{"AWSPENDING"}})
	if err != nil {
		t.Fatal(err)
	}
	see("with a pending version", "one", "")
	if _, err := official.UpdateSecretVersionStage(t.Context(), &client.UpdateSecretVersionStageInput{
		SecretId: aws.String("key"), VersionStage: aws.String("AWSCURRENT"), MoveToVersionId: put.VersionId, RemoveFromVersionId: &one}); err != nil {
		t.Fatal(err)
	}
	see("after the promotion", "two", "one")
	if _, err := official.UpdateSecretVersionStage(t.Context(), &client.UpdateSecretVersionStageInput{
		SecretId: aws.String("key"), VersionStage: aws.String("AWSPREVIOUS"), RemoveFromVersionId: &one}); err != nil {
		t.Fatal(err)
	}
	see("after the grace", "two", "")
}

func TestOptionsAreChecked(t *testing.T) {
	t.Parallel()
	if _, err := awssecrets.New(awssecrets.Options{Region: region}); err == nil {
		t.Error("no credentials are needed")
	}
	if _, err := awssecrets.New(awssecrets.Options{Credentials: &issuer{}}); err == nil || !strings.Contains(err.Error(), "AWS_REGION") {
		t.Errorf("got %v", err)
	}
}
