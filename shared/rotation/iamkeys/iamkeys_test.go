package iamkeys_test

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/postern-ai/postern/localdev/contract/contracttest"
	"github.com/postern-ai/postern/localdev/fake/awsauth"
	"github.com/postern-ai/postern/localdev/fake/iam"
	"github.com/postern-ai/postern/localdev/fake/sts"
	"github.com/postern-ai/postern/shared/rotation"
	"github.com/postern-ai/postern/shared/rotation/iamkeys"
	"github.com/postern-ai/postern/shared/rotation/rotationtest"
	"github.com/postern-ai/postern/shared/secrets"
)

const (
	region = "eu-central-1"
	name   = "postern-chat"
)

// role is the function's own identity, whose newest credentials are good.
type role struct {
	mu      sync.Mutex
	issued  int
	expired bool
	err     error
}

func (r *role) key(n int) awsauth.Key {
	id := "ASIATEST" + strconv.Itoa(n)
	return awsauth.Key{AccessKeyID: id, SecretAccessKey: "secret of " + id, SessionToken: rotationtest.Canary + " of " + id, ARN: "arn:aws:sts::123456789012:assumed-role/rotate/s"}
}

func (r *role) find(id string) (awsauth.Key, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	key := r.key(r.issued)
	if r.expired {
		key = r.key(r.issued + 1)
	}
	return key, id == key.AccessKeyID
}

// Retrieve implements aws.CredentialsProvider.
func (r *role) Retrieve(context.Context) (aws.Credentials, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	key := r.key(r.issued)
	return aws.Credentials{AccessKeyID: key.AccessKeyID, SecretAccessKey: key.SecretAccessKey, SessionToken: key.SessionToken}, r.err
}

// Invalidate is called when AWS did not accept what Retrieve gave.
func (r *role) Invalidate() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.expired {
		r.issued, r.expired = r.issued+1, false
	}
}

func (r *role) expire() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.expired = true
}

func (r *role) lose(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.err = err
}

var iamAPI, stsAPI = contracttest.AWS("iam"), contracttest.AWS("sts")

// world is an account with one user.
type world struct {
	role   role
	iam    *iam.Server
	denied sync.Map
}

func newWorld(late int) *world {
	w := &world{}
	w.iam = iam.New(iam.Options{
		Keys: w.role.find, Users: []string{name}, Late: late, Page: 1,
		Allow: func(access iam.Access) bool { _, denied := w.denied.Load(access.Action); return !denied },
	})
	return w
}

// handler is AWS.
func (w *world) handler(t *testing.T) http.Handler {
	t.Helper()
	hosts := map[string]http.Handler{
		"iam.amazonaws.com":                    iamAPI.Requests(t, w.iam),
		"sts." + region + ".amazonaws.com":     stsAPI.Requests(t, sts.New(w.iam.Lookup, region)),
		"bedrock." + region + ".amazonaws.com": w.iam.FoundationModels(),
	}
	return http.HandlerFunc(func(writer http.ResponseWriter, r *http.Request) {
		if hosts[r.Host] == nil {
			t.Errorf("a request to %s", r.Host)
			writer.WriteHeader(http.StatusBadGateway)
			return
		}
		hosts[r.Host].ServeHTTP(writer, r)
	})
}

func (w *world) options(transport http.RoundTripper) iamkeys.Options {
	return iamkeys.Options{User: name, Region: region, Credentials: &w.role, Transport: transport}
}

func keys(ids []string) []rotation.Key {
	found := make([]rotation.Key, len(ids))
	for i, id := range ids {
		found[i].ID = id
	}
	return found
}

func TestAccessKeys(t *testing.T) {
	t.Parallel()
	rotationtest.TestIssuer(t, func(t *testing.T, line *rotationtest.Line) rotationtest.World {
		w := newWorld(2)
		issuer, err := iamkeys.NewAccessKeys(w.options(line.Transport(w.handler(t))))
		if err != nil {
			t.Fatal(err)
		}
		return rotationtest.World{
			Issuer: issuer, Keys: func() []rotation.Key { return keys(w.iam.AccessKeys(name)) },
			Wrong:  secrets.NewValue(`{"aws_access_key_id":"AKIAAAAAAAAAAAAAAAAA","aws_secret_access_key":"` + rotationtest.Canary + `"}`),
			Expire: w.role.expire, Lose: w.role.lose,
		}
	})
}

func TestBedrockKeys(t *testing.T) {
	t.Parallel()
	rotationtest.TestIssuer(t, func(t *testing.T, line *rotationtest.Line) rotationtest.World {
		w := newWorld(2)
		issuer, err := iamkeys.NewBedrockKeys(w.options(line.Transport(w.handler(t))))
		if err != nil {
			t.Fatal(err)
		}
		return rotationtest.World{
			Issuer: issuer, Keys: func() []rotation.Key { return keys(w.iam.BedrockKeys(name)) },
			// The alias in it is somebody-at-123456789012.
			Wrong:  secrets.NewValue("ABSKc29tZWJvZHktYXQtMTIzNDU2Nzg5MDEyOmNhbmFyeQ=="),
			Expire: w.role.expire, Lose: w.role.lose,
		}
	})
}

func TestOptionsAreChecked(t *testing.T) {
	t.Parallel()
	good := (&world{}).options(nil)
	for _, test := range []struct {
		name   string
		change func(*iamkeys.Options)
		want   string
	}{
		{"no user", func(o *iamkeys.Options) { o.User = "" }, "user_name"},
		{"a user with a path", func(o *iamkeys.Options) { o.User = "a/b" }, "user_name"},
		{"no region", func(o *iamkeys.Options) { o.Region = "" }, "AWS_REGION"},
		{"a region that is a host", func(o *iamkeys.Options) { o.Region = "x.example.com/" }, "AWS_REGION"},
		{"no credentials", func(o *iamkeys.Options) { o.Credentials = nil }, "credentials"},
		{"an endpoint without TLS", func(o *iamkeys.Options) { o.Endpoint = "http://example.com" }, "https://"},
		{"another one without TLS", func(o *iamkeys.Options) { o.VerifyEndpoint = "http://example.com" }, "https://"},
	} {
		options := good
		test.change(&options)
		_, first := iamkeys.NewAccessKeys(options)
		_, second := iamkeys.NewBedrockKeys(options)
		for _, err := range []error{first, second} {
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%s: got %v", test.name, err)
			}
		}
	}
}

// hosts records where requests go, and sends none.
type hosts struct{ seen []string }

func (h *hosts) RoundTrip(request *http.Request) (*http.Response, error) {
	scope := strings.Split(request.Header.Get("Authorization"), "/")
	signed := ""
	if len(scope) > 3 {
		signed = " for " + scope[2] + " " + scope[3]
	}
	h.seen = append(h.seen, request.URL.Host+signed)
	return &http.Response{StatusCode: http.StatusTeapot, Header: http.Header{}, Body: http.NoBody}, nil
}

func TestTheEndpointsFollowFromTheRegion(t *testing.T) {
	t.Parallel()
	transport := &hosts{}
	content := secrets.NewValue(`{"AccessKeyId":"AKIAAAAAAAAAAAAAAAAA","SecretAccessKey":"s"}`)
	for _, region := range []string{"eu-central-1", "us-gov-west-1", "cn-northwest-1", "eusc-de-east-1"} {
		options := iamkeys.Options{User: name, Region: region, Credentials: &role{}, Transport: transport, Timeout: time.Second}
		first, err := iamkeys.NewAccessKeys(options)
		if err != nil {
			t.Fatal(err)
		}
		second, err := iamkeys.NewBedrockKeys(options)
		if err != nil {
			t.Fatal(err)
		}
		_, find := first.Find(t.Context(), "")
		if find == nil || first.Verify(t.Context(), content) == nil || second.Verify(t.Context(), content) == nil {
			t.Error("there is a network")
		}
	}
	want := []string{
		"iam.amazonaws.com for us-east-1 iam", "sts.eu-central-1.amazonaws.com for eu-central-1 sts", "bedrock.eu-central-1.amazonaws.com",
		"iam.us-gov.amazonaws.com for us-gov-west-1 iam", "sts.us-gov-west-1.amazonaws.com for us-gov-west-1 sts", "bedrock.us-gov-west-1.amazonaws.com",
		"iam.cn-north-1.amazonaws.com.cn for cn-north-1 iam", "sts.cn-northwest-1.amazonaws.com.cn for cn-northwest-1 sts", "bedrock.cn-northwest-1.amazonaws.com.cn",
		"iam.eusc-de-east-1.amazonaws.eu for eusc-de-east-1 iam", "sts.eusc-de-east-1.amazonaws.eu for eusc-de-east-1 sts", "bedrock.eusc-de-east-1.amazonaws.eu",
	}
	if got := strings.Join(transport.seen, "\n"); got != strings.Join(want, "\n") {
		t.Errorf("got\n%s", got)
	}
}
