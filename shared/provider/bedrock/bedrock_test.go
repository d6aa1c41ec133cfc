package bedrock_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/postern-ai/postern/localdev/fake/awsauth"
	fake "github.com/postern-ai/postern/localdev/fake/bedrock"
	"github.com/postern-ai/postern/localdev/fake/brain"
	"github.com/postern-ai/postern/shared/chat"
	"github.com/postern-ai/postern/shared/config"
	"github.com/postern-ai/postern/shared/identity"
	"github.com/postern-ai/postern/shared/provider"
	"github.com/postern-ai/postern/shared/provider/bedrock"
	"github.com/postern-ai/postern/shared/release"
)

func ask(t testing.TB, text string) *chat.Request {
	t.Helper()
	req, err := chat.Decode([]byte(text), chat.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	req.Model = haiku
	return req
}

const hello = `{"model":"m","messages":[{"role":"user","content":"hello"}]}`

func TestAnUpstreamWithoutARegionIsRefused(t *testing.T) {
	t.Parallel()
	_, err := bedrock.New(&config.Upstream{Name: "aws"}, nil)
	if err == nil || !strings.Contains(err.Error(), `"aws" has no region: set aws_region, or AWS_REGION`) {
		t.Errorf("got %v", err)
	}
}

func TestTheEndpointIsThatOfTheRegion(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, region, base, want string }{
		{"a region", "eu-central-1", "", "https://bedrock-runtime.eu-central-1.amazonaws.com/model/" + haikuEscaped + "/converse"},
		{"a region of another partition", "cn-north-1", "", "https://bedrock-runtime.cn-north-1.amazonaws.com.cn/model/" + haikuEscaped + "/converse"},
		{"an address", "eu-central-1", "https://vpce-1.example", "https://vpce-1.example/model/" + haikuEscaped + "/converse"},
		{"an address with a path", "eu-central-1", "http://127.0.0.1:9/a/b", "http://127.0.0.1:9/a/b/model/" + haikuEscaped + "/converse"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var got string
			u := upstream(test.base)
			u.AWSRegion = test.region
			m, err := bedrock.New(u, doer(func(r *http.Request) (*http.Response, error) {
				got = r.URL.String()
				return reply(jsonType, []byte(whole)), nil
			}))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := m.Chat(t.Context(), ask(t, hello)); err != nil || got != test.want {
				t.Errorf("got %s and %v, want %s", got, err, test.want)
			}
		})
	}
}

const haikuEscaped = "anthropic.claude-3-haiku-20240307-v1%3A0"

// The SDK would take a bearer token, an endpoint, a profile or a proxy from
// here.
func TestTheEnvironmentChangesNothing(t *testing.T) {
	for name, value := range map[string]string{
		"AWS_BEARER_TOKEN_BEDROCK": "canary-bearer", "AWS_ACCESS_KEY_ID": "canary-id", "AWS_SECRET_ACCESS_KEY": "canary-secret",
		"AWS_ENDPOINT_URL": "https://elsewhere.example", "AWS_ENDPOINT_URL_BEDROCK_RUNTIME": "https://elsewhere.example",
		"AWS_REGION": "us-east-1", "AWS_MAX_ATTEMPTS": "5", "AWS_RETRY_MODE": "adaptive", "AWS_USE_FIPS_ENDPOINT": "true",
	} {
		t.Setenv(name, value)
	}
	for _, stream := range []bool{false, true} {
		var calls []*http.Request
		u := upstream("")
		m, err := bedrock.New(u, doer(func(r *http.Request) (*http.Response, error) {
			calls = append(calls, r)
			resp := reply(jsonType, []byte(`{}`))
			resp.StatusCode = http.StatusServiceUnavailable
			return resp, nil
		}))
		if err != nil {
			t.Fatal(err)
		}
		if stream {
			_, err = m.Stream(t.Context(), ask(t, hello))
		} else {
			_, err = m.Chat(t.Context(), ask(t, hello))
		}
		if err == nil || len(calls) != 1 {
			t.Fatalf("got %v after %d calls, want one", err, len(calls))
		}
		want := http.Header{"Content-Type": {jsonType}, "User-Agent": {"postern/" + release.Version}}
		if d := cmp.Diff(want, calls[0].Header); d != "" {
			t.Errorf("the request that is to be signed has other headers: %s", d)
		}
		if host := calls[0].URL.Host; host != "bedrock-runtime.eu-central-1.amazonaws.com" {
			t.Errorf("the host is %s", host)
		}
	}
}

func TestTheBodyCanBeReadAgain(t *testing.T) {
	t.Parallel()
	m := newModel(t, doer(func(r *http.Request) (*http.Response, error) {
		first, err := io.ReadAll(r.Body)
		if err != nil || int64(len(first)) != r.ContentLength {
			t.Errorf("got %d bytes of %d and %v", len(first), r.ContentLength, err)
		}
		for range 2 {
			again, err := r.GetBody()
			if err != nil {
				t.Fatal(err)
			}
			if b, err := io.ReadAll(again); err != nil || !bytes.Equal(b, first) {
				t.Errorf("got %s and %v, want %s", b, err, first)
			}
		}
		return reply(jsonType, []byte(whole)), nil
	}))
	if _, err := m.Chat(t.Context(), ask(t, hello)); err != nil {
		t.Error(err)
	}
}

func TestAnAnswerIsNamedAfterTheServicesRequest(t *testing.T) {
	t.Parallel()
	m := newModel(t, doer(func(*http.Request) (*http.Response, error) { return reply(jsonType, []byte(whole)), nil }))
	resp, err := m.Chat(t.Context(), ask(t, hello))
	if err != nil || resp.ID != "chatcmpl-00000000-0000-4000-8000-000000000001" || resp.Model != haiku {
		t.Errorf("got %+v and %v", resp, err)
	}
	m = newModel(t, doer(func(*http.Request) (*http.Response, error) {
		resp := reply(jsonType, []byte(whole))
		resp.Header.Del("X-Amzn-Requestid")
		return resp, nil
	}))
	resp, err = m.Chat(t.Context(), ask(t, hello))
	if err != nil || !strings.HasPrefix(resp.ID, "chatcmpl-") || len(resp.ID) < 20 {
		t.Errorf("got %+v and %v", resp, err)
	}
}

func TestWhatTheSignerSaysReachesTheCaller(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		err    error
		status int
		code   string
	}{
		{"no identity", &identity.Error{Public: "no role"}, 502, chat.CodeUpstreamAuth},
		{"no identity for now", &identity.Error{Public: "no role", Retryable: true}, 503, chat.CodeUpstreamAuth},
		{"an error that is made already", chat.Invalid("x", "y", "z"), 400, "y"},
		{"no connection", io.ErrUnexpectedEOF, 502, chat.CodeUpstreamUnavailable},
		{"no time", context.DeadlineExceeded, 504, chat.CodeUpstreamTimeout},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			m := newModel(t, doer(func(*http.Request) (*http.Response, error) { return nil, test.err }))
			_, chatErr := m.Chat(t.Context(), ask(t, hello))
			_, streamErr := m.Stream(t.Context(), ask(t, hello))
			for _, err := range []error{chatErr, streamErr} {
				e, ok := errors.AsType[*chat.Error](err)
				if !ok || e.Status != test.status || e.Code != test.code {
					t.Errorf("got %#v", err)
				}
			}
		})
	}
}

func TestRejected(t *testing.T) {
	t.Parallel()
	tests := []struct {
		status int
		code   string
		want   bool
	}{
		{403, "ExpiredTokenException", true},
		{403, "ExpiredTokenException:http://internal.amazon.com/coral/com.amazon.coral.service/", true},
		{403, "com.amazon.coral.service#UnrecognizedClientException", true},
		{403, "InvalidSignatureException", true},
		{403, "InvalidClientTokenId", true},
		{400, "IncompleteSignatureException", true},
		{401, "MissingAuthenticationTokenException", true},
		{403, "AccessDeniedException", false},
		{400, "ValidationException", false},
		{429, "ThrottlingException", false},
		{200, "ExpiredTokenException", false},
		{403, "", false},
	}
	for _, test := range tests {
		resp := &http.Response{StatusCode: test.status, Header: http.Header{"X-Amzn-Errortype": {test.code}}}
		if got := bedrock.Rejected(resp); got != test.want {
			t.Errorf("%d %s: got %t", test.status, test.code, got)
		}
	}
}

// renewing signs with an old key until that is rejected.
type renewing struct {
	mu       sync.Mutex
	old      awsauth.Key
	rejected int
}

func (r *renewing) Authorize(req *http.Request) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.rejected == 0 {
		return signer{r.old}.Authorize(req)
	}
	return signer{key}.Authorize(req)
}

func (r *renewing) Rejected(*http.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.rejected++
}

func TestARejectedCredentialIsReplacedOnce(t *testing.T) {
	t.Parallel()
	old := awsauth.Key{AccessKeyID: "ASIAOLD", SecretAccessKey: "old", SessionToken: "old", Expires: time.Now().Add(-time.Minute)}
	stand := httptest.NewServer(fake.New(fake.Options{
		Brain: brain.Echo{}, Region: region,
		Keys: func(id string) (awsauth.Key, bool) {
			k, ok := map[string]awsauth.Key{key.AccessKeyID: key, old.AccessKeyID: old}[id]
			return k, ok
		},
	}))
	t.Cleanup(stand.Close)
	auth := &renewing{old: old}
	m, err := bedrock.New(upstream(stand.URL), &provider.Sender{HTTP: &http.Transport{}, Auth: auth, Rejected: bedrock.Rejected})
	if err != nil {
		t.Fatal(err)
	}
	resp, err := m.Chat(t.Context(), ask(t, hello))
	if err != nil || auth.rejected != 1 || !strings.Contains(*resp.Choices[0].Message.Content, "hello") {
		t.Errorf("got %v and %v after %d rejections", resp, err, auth.rejected)
	}
}

// pipe is the body of a stream that goes on for ever.
type pipe struct {
	frame []byte
	rest  []byte
	gone  chan struct{}
	once  sync.Once
}

func (p *pipe) Read(b []byte) (int, error) {
	select {
	case <-p.gone:
		return 0, errors.New("read after close")
	default:
	}
	if len(p.rest) == 0 {
		p.rest = p.frame
	}
	n := copy(b, p.rest)
	p.rest = p.rest[n:]
	return n, nil
}

func (p *pipe) Close() error {
	p.once.Do(func() { close(p.gone) })
	return nil
}

// stalled is the body of a stream that stops coming, as a connection does.
type stalled struct {
	io.Reader
	gone chan struct{}
	once sync.Once
}

func (s *stalled) Read(b []byte) (int, error) {
	if n, err := s.Reader.Read(b); err == nil {
		return n, nil
	}
	<-s.gone
	return 0, errors.New("closed")
}

func (s *stalled) Close() error {
	s.once.Do(func() { close(s.gone) })
	return nil
}

// In a bubble of synctest a goroutine that is left over fails the test.
func TestNothingIsLeftWhenNobodyReadsOn(t *testing.T) {
	t.Parallel()
	begin := frame("event", "messageStart", `{"role":"assistant"}`)
	delta := frame("event", "contentBlockDelta", `{"contentBlockIndex":0,"delta":{"text":"x"}}`)
	bodies := map[string]func() io.ReadCloser{
		"a stream that goes on for ever": func() io.ReadCloser { return &pipe{frame: delta, rest: begin, gone: make(chan struct{})} },
		"a stream that has stalled": func() io.ReadCloser {
			return &stalled{Reader: bytes.NewReader(append(bytes.Clone(begin), delta...)), gone: make(chan struct{})}
		},
		"a stream that has ended": func() io.ReadCloser { return io.NopCloser(bytes.NewReader(append(bytes.Clone(begin), delta...))) },
	}
	for name, body := range bodies {
		for take := range 3 {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					m := newModel(t, doer(func(*http.Request) (*http.Response, error) {
						resp := reply(streamType, nil)
						resp.Body = body()
						return resp, nil
					}))
					chunks, err := m.Stream(t.Context(), ask(t, hello))
					if err != nil {
						t.Fatal(err)
					}
					n := 0
					for range chunks {
						if n++; n > take {
							break
						}
						if n == 2 && name == "a stream that has stalled" {
							break
						}
					}
					synctest.Wait()
				})
			})
		}
	}
}

func TestTheBodyOfARefusalIsClosed(t *testing.T) {
	t.Parallel()
	for _, stream := range []bool{false, true} {
		closed := false
		m := newModel(t, doer(func(*http.Request) (*http.Response, error) {
			resp := reply(jsonType, nil)
			resp.StatusCode = http.StatusTooManyRequests
			resp.Body = closing{endless{}, &closed}
			return resp, nil
		}))
		var err error
		if stream {
			_, err = m.Stream(t.Context(), ask(t, hello))
		} else {
			_, err = m.Chat(t.Context(), ask(t, hello))
		}
		if e, ok := errors.AsType[*chat.Error](err); !ok || e.Status != http.StatusTooManyRequests || !closed {
			t.Errorf("stream %t: got %v, closed %t", stream, err, closed)
		}
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return copy(p, "{      "), nil }

type closing struct {
	io.Reader
	closed *bool
}

func (c closing) Close() error { *c.closed = true; return nil }

func TestAnImageThatIsTooBig(t *testing.T) {
	t.Parallel()
	m := newModel(t, doer(func(*http.Request) (*http.Response, error) { return reply(jsonType, []byte(whole)), nil }))
	for size, want := range map[int]string{3_932_160: "", 3_932_161: "messages[0].content[0].image_url.url", 6_000_000: "messages[0].content[0].image_url.url"} {
		req := &chat.Request{Model: haiku, Messages: []chat.Message{{Role: chat.RoleUser, Content: chat.Parts(chat.Part{
			Type: chat.PartImage, ImageURL: &chat.ImageURL{URL: "data:image/png;base64," + base64Of(size)},
		})}}}
		_, err := m.Chat(t.Context(), req)
		got := ""
		if e, ok := errors.AsType[*chat.Error](err); ok {
			got = e.Param
		}
		if got != want {
			t.Errorf("%d bytes: got %v", size, err)
		}
	}
}

// base64Of encodes that many zeros.
func base64Of(size int) string {
	switch size % 3 {
	case 1:
		return strings.Repeat("A", size/3*4) + "AA=="
	case 2:
		return strings.Repeat("A", size/3*4) + "AAA="
	}
	return strings.Repeat("A", size/3*4)
}
