package front_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/aws/aws-lambda-go/events"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/postern-ai/postern/localdev/front"
)

// echoed sends a request through the function URL and returns the event that the function received, as the vendor's own
// type reads it.
func echoed(t *testing.T, reply *http.Response) events.LambdaFunctionURLRequest {
	t.Helper()
	body := text(t, reply)
	if reply.StatusCode != http.StatusCreated || reply.Header.Get("X-Function") != "yes" || len(reply.Header["Set-Cookie"]) != 2 {
		t.Fatalf("status %d, %v, %s", reply.StatusCode, reply.Header, body)
	}
	var e events.LambdaFunctionURLRequest
	if err := json.Unmarshal([]byte(body), &e); err != nil {
		t.Fatal(err)
	}
	return e
}

func TestLambdaEvents(t *testing.T) {
	t.Parallel()
	_, url, _ := lambdaFront(t, "lambda", front.LambdaOptions{Name: "fn", Region: "eu-central-1"})
	tests := []struct {
		name, method, target, body string
		header                     http.Header
		want                       events.LambdaFunctionURLRequest
	}{
		{
			name: "names are lower-case, repeated values joined, and the front door adds its own", method: "GET", target: "/echo?b=2&a=1&a=%7E",
			header: http.Header{"Accept": {"text/plain", "text/html"}, "X-Forwarded-For": {"203.0.113.1"}, "User-Agent": {"ua"}, "Connection": {"close"}},
			want: events.LambdaFunctionURLRequest{
				RawPath: "/echo", RawQueryString: "b=2&a=1&a=%7E", QueryStringParameters: map[string]string{"a": "1,~", "b": "2"},
				Headers: map[string]string{"accept": "text/plain,text/html", "x-forwarded-for": "203.0.113.1, 127.0.0.1", "user-agent": "ua"},
			},
		},
		{
			name: "cookies come in a list and in the header", method: "GET", target: "/echo", header: http.Header{"Cookie": {"x=1; y=2", "z=3"}},
			want: events.LambdaFunctionURLRequest{RawPath: "/echo", Cookies: []string{"x=1", "y=2", "z=3"}, Headers: map[string]string{"cookie": "x=1; y=2; z=3"}},
		},
		{
			name: "a JSON body is text", method: "POST", target: "/echo", body: `{"é":1}`, header: http.Header{"Content-Type": {"application/json; charset=utf-8"}},
			want: events.LambdaFunctionURLRequest{RawPath: "/echo", Body: `{"é":1}`, Headers: map[string]string{"content-type": "application/json; charset=utf-8", "content-length": "8"}},
		},
		{
			name: "a form is base64", method: "POST", target: "/echo", body: "a=1", header: http.Header{"Content-Type": {"application/x-www-form-urlencoded"}},
			want: events.LambdaFunctionURLRequest{RawPath: "/echo", Body: "YT0x", IsBase64Encoded: true, Headers: map[string]string{"content-type": "application/x-www-form-urlencoded", "content-length": "3"}},
		},
		{
			name: "a body without a type is base64", method: "PUT", target: "/echo", body: "a",
			want: events.LambdaFunctionURLRequest{RawPath: "/echo", Body: "YQ==", IsBase64Encoded: true, Headers: map[string]string{"content-length": "1"}},
		},
		{
			name: "a compressed body is base64", method: "POST", target: "/echo", body: "a", header: http.Header{"Content-Type": {"text/plain"}, "Content-Encoding": {"gzip"}},
			want: events.LambdaFunctionURLRequest{RawPath: "/echo", Body: "YQ==", IsBase64Encoded: true, Headers: map[string]string{"content-type": "text/plain", "content-encoding": "gzip", "content-length": "1"}},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if tt.header == nil {
				tt.header = http.Header{}
			}
			tt.header.Set("Accept-Encoding", "identity") // or the client adds its own
			tt.want.Headers["accept-encoding"] = "identity"
			got := echoed(t, do(t, tt.method, url+tt.target, tt.header, strings.NewReader(tt.body)))

			if !strings.HasPrefix(got.Headers["x-amzn-trace-id"], "Root=1-") || got.RequestContext.RequestID == "" ||
				got.RequestContext.TimeEpoch == 0 || !strings.HasSuffix(got.RequestContext.Time, " +0000") {
				t.Errorf("what differs from request to request: %v, %+v", got.Headers, got.RequestContext)
			}
			delete(got.Headers, "x-amzn-trace-id")
			got.RequestContext.RequestID, got.RequestContext.TimeEpoch, got.RequestContext.Time = "", 0, ""

			tt.want.Version = "2.0"
			for name, value := range map[string]string{
				"host": "fn0url.lambda-url.eu-central-1.on.aws", "x-forwarded-for": "127.0.0.1", "x-forwarded-proto": "https",
				"x-forwarded-port": "443", "user-agent": "Go-http-client/1.1",
			} {
				if tt.want.Headers[name] == "" {
					tt.want.Headers[name] = value
				}
			}
			tt.want.RequestContext = events.LambdaFunctionURLRequestContext{
				AccountID: "anonymous", APIID: "fn0url", DomainPrefix: "fn0url", DomainName: "fn0url.lambda-url.eu-central-1.on.aws",
				HTTP: events.LambdaFunctionURLRequestContextHTTPDescription{
					Method: tt.method, Path: "/echo", Protocol: "HTTP/1.1", SourceIP: "127.0.0.1", UserAgent: tt.want.Headers["user-agent"],
				},
			}
			if diff := cmp.Diff(tt.want, got, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("event (-want +got):\n%s", diff)
			}
		})
	}
}

func TestLambdaRawPathIsAsTheClientSentIt(t *testing.T) {
	t.Parallel()
	_, url, out := lambdaFront(t, "lambda", front.LambdaOptions{})
	// The child knows no such path; that it was asked at all is what its 404 shows.
	if reply := get(t, url+"//a%2Fb/../c%20d"); reply.StatusCode != http.StatusNotFound {
		t.Errorf("status %d: %s", reply.StatusCode, out)
	}
}

func TestLambdaRequestsOverTheEventLimitAreRefused(t *testing.T) {
	t.Parallel()
	_, url, _ := lambdaFront(t, "lambda", front.LambdaOptions{})
	header := http.Header{"Content-Type": {"text/plain"}}
	for size, want := range map[int]int{6<<20 - 4096: http.StatusCreated, 6<<20 - 100: http.StatusRequestEntityTooLarge, 7 << 20: http.StatusRequestEntityTooLarge} {
		if reply := do(t, http.MethodPost, url+"/echo", header, strings.NewReader(strings.Repeat("x", size))); reply.StatusCode != want {
			t.Errorf("a body of %d bytes: status %d, want %d", size, reply.StatusCode, want)
		}
	}
}

func TestLambdaIAMCallersComeFromTheFrontDoorOnly(t *testing.T) {
	t.Parallel()
	caller := front.IAMIdentity{AccessKey: "AKID", AccountID: "111122223333", CallerID: "AROA:app", UserARN: "arn:aws:sts::111122223333:assumed-role/app/app", UserID: "AROA:app"}
	_, url, _ := lambdaFront(t, "lambda", front.LambdaOptions{Authorize: func(r *http.Request) (front.IAMIdentity, error) {
		if r.Header.Get("Authorization") != "AWS4-HMAC-SHA256 good" {
			return front.IAMIdentity{}, errors.New("not signed")
		}
		return caller, nil
	}})
	if reply := get(t, url+"/echo"); reply.StatusCode != http.StatusForbidden || !strings.Contains(text(t, reply), "Forbidden") {
		t.Errorf("an unsigned request: status %d", reply.StatusCode)
	}
	got := echoed(t, do(t, http.MethodGet, url+"/echo", http.Header{"Authorization": {"AWS4-HMAC-SHA256 good"}}, nil))
	want := &events.LambdaFunctionURLRequestContextAuthorizerDescription{IAM: &events.LambdaFunctionURLRequestContextAuthorizerIAMDescription{
		AccessKey: caller.AccessKey, AccountID: caller.AccountID, CallerID: caller.CallerID, UserARN: caller.UserARN, UserID: caller.UserID,
	}}
	if diff := cmp.Diff(want, got.RequestContext.Authorizer); diff != "" || got.RequestContext.AccountID != caller.AccountID {
		t.Errorf("authorizer of account %s (-want +got):\n%s", got.RequestContext.AccountID, diff)
	}
	if _, ok := got.Headers["authorization"]; ok {
		t.Error("the signature was passed on to the function")
	}
}
