package awsauth_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/bedrockruntime"
	"github.com/aws/aws-sdk-go-v2/service/bedrockruntime/types"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/postern-ai/postern/localdev/fake/awsauth"
)

var key = awsauth.Key{AccessKeyID: "ASIATESTKEY", SecretAccessKey: "test-secret-key", SessionToken: "test+session/token=="}

func lookup(keys ...awsauth.Key) awsauth.Lookup {
	return func(id string) (awsauth.Key, bool) {
		for _, k := range keys {
			if k.AccessKeyID == id {
				return k, true
			}
		}
		return awsauth.Key{}, false
	}
}

// service is a server that verifies and remembers what came of it.
func service(t *testing.T, name string) (string, func() error) {
	t.Helper()
	var last error = errors.New("nothing arrived")
	verifier := awsauth.Verifier{Keys: lookup(key), Service: name, Region: "eu-central-1"}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		_, last = verifier.Verify(r, body)
		w.WriteHeader(http.StatusBadRequest)
	}))
	t.Cleanup(server.Close)
	return server.URL, func() error { return last }
}

func TestOfficialClientsAreAccepted(t *testing.T) {
	t.Parallel()
	config := func(url string, k awsauth.Key) aws.Config {
		return aws.Config{
			Region:           "eu-central-1",
			BaseEndpoint:     aws.String(url),
			Credentials:      credentials.NewStaticCredentialsProvider(k.AccessKeyID, k.SecretAccessKey, k.SessionToken),
			RetryMaxAttempts: 1,
		}
	}
	calls := map[string]struct {
		service string
		call    func(context.Context, aws.Config)
	}{
		"Bedrock with a model ARN, whose slash is escaped in the path": {"bedrock", func(ctx context.Context, c aws.Config) {
			_, _ = bedrockruntime.NewFromConfig(c).Converse(ctx, &bedrockruntime.ConverseInput{
				ModelId:  aws.String("arn:aws:bedrock:eu-central-1:123456789012:application-inference-profile/abc"),
				Messages: []types.Message{{Role: types.ConversationRoleUser, Content: []types.ContentBlock{&types.ContentBlockMemberText{Value: "hi"}}}},
			})
		}},
		"Bedrock with a version in the model id": {"bedrock", func(ctx context.Context, c aws.Config) {
			_, _ = bedrockruntime.NewFromConfig(c).InvokeModel(ctx, &bedrockruntime.InvokeModelInput{
				ModelId: aws.String("amazon.titan-embed-text-v2:0"), Body: []byte(`{}`), ContentType: aws.String("application/json"),
			})
		}},
		"Secrets Manager": {"secretsmanager", func(ctx context.Context, c aws.Config) {
			_, _ = secretsmanager.NewFromConfig(c).GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: aws.String("a/b")})
		}},
		"STS": {"sts", func(ctx context.Context, c aws.Config) {
			_, _ = sts.NewFromConfig(c).GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
		}},
	}
	for name, test := range calls {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url, last := service(t, test.service)
			test.call(t.Context(), config(url, key))
			if err := last(); err != nil {
				t.Errorf("the right key was refused: %v", err)
			}
			wrong := key
			wrong.SecretAccessKey = "another"
			test.call(t.Context(), config(url, wrong))
			wantKind(t, last(), awsauth.BadSignature)
		})
	}
}

func wantKind(t *testing.T, err error, want awsauth.Kind) {
	t.Helper()
	var refusal *awsauth.Error
	if !errors.As(err, &refusal) || refusal.Kind != want {
		t.Errorf("got %v, want a refusal of kind %d", err, want)
	}
}

// signed returns a request that the official signer has signed, as a server would receive it.
func signed(t *testing.T, k awsauth.Key, at time.Time) *http.Request {
	t.Helper()
	request := httptest.NewRequest(http.MethodPost, "https://bedrock-runtime.eu-central-1.amazonaws.com/model/a%2Fb/converse?x=1", strings.NewReader("body"))
	request.Header.Set("Content-Type", "application/json")
	sum := sha256.Sum256([]byte("body"))
	credentials := aws.Credentials{AccessKeyID: k.AccessKeyID, SecretAccessKey: k.SecretAccessKey, SessionToken: k.SessionToken}
	if err := v4.NewSigner().SignHTTP(t.Context(), credentials, request, hex.EncodeToString(sum[:]), "bedrock", "eu-central-1", at); err != nil {
		t.Fatal(err)
	}
	return request
}

func TestEverythingThatIsSignedIsProtected(t *testing.T) {
	t.Parallel()
	replace := func(old, new string) func(*http.Request) {
		return func(r *http.Request) {
			r.Header.Set("Authorization", strings.Replace(r.Header.Get("Authorization"), old, new, 1))
		}
	}
	tests := []struct {
		name   string
		key    awsauth.Key
		at     time.Duration
		body   string
		tamper func(*http.Request)
		want   awsauth.Kind
	}{
		{name: "an untouched request passes"},
		{name: "a request signed four minutes ago passes", at: -4 * time.Minute},
		{name: "a request signed four minutes ahead passes", at: 4 * time.Minute},
		{name: "a request signed six minutes ago has expired", at: -6 * time.Minute, want: awsauth.BadSignature},
		{name: "a request signed six minutes ahead is not yet current", at: 6 * time.Minute, want: awsauth.BadSignature},
		{name: "another body", body: "bodY", want: awsauth.BadSignature},
		{name: "another method", tamper: func(r *http.Request) { r.Method = http.MethodPut }, want: awsauth.BadSignature},
		{name: "another path", tamper: func(r *http.Request) { r.URL.Path, r.URL.RawPath = "/model/a/c/converse", "/model/a%2Fc/converse" }, want: awsauth.BadSignature},
		{name: "a slash that was escaped and is no longer", tamper: func(r *http.Request) { r.URL.RawPath = "/model/a/b/converse" }, want: awsauth.BadSignature},
		{name: "another query", tamper: func(r *http.Request) { r.URL.RawQuery = "x=2" }, want: awsauth.BadSignature},
		{name: "another host", tamper: func(r *http.Request) { r.Host = "example.com" }, want: awsauth.BadSignature},
		{name: "another value of a signed header", tamper: func(r *http.Request) { r.Header.Set("Content-Type", "text/plain") }, want: awsauth.BadSignature},
		{name: "a signed header that is gone", tamper: func(r *http.Request) { r.Header.Del("Content-Type") }, want: awsauth.BadSignature},
		{name: "an unsigned header that may vary", tamper: func(r *http.Request) { r.Header.Set("User-Agent", "x") }},
		{name: "an x-amz- header that is not signed", tamper: func(r *http.Request) { r.Header.Set("X-Amz-Target", "x") }, want: awsauth.BadSignature},
		{name: "a content hash of another body", tamper: func(r *http.Request) { r.Header.Set("X-Amz-Content-Sha256", "00") }, want: awsauth.BadSignature},
		{name: "no signature at all", tamper: func(r *http.Request) { r.Header.Del("Authorization") }, want: awsauth.Missing},
		{name: "a bearer token in place of a signature", tamper: func(r *http.Request) { r.Header.Set("Authorization", "Bearer x") }, want: awsauth.Malformed},
		{name: "two signatures", tamper: func(r *http.Request) { r.Header.Add("Authorization", r.Header.Get("Authorization")) }, want: awsauth.Malformed},
		{name: "a signature without SignedHeaders", tamper: replace("SignedHeaders=", "Signed="), want: awsauth.Malformed},
		{name: "a scope with a part missing", tamper: replace("/aws4_request", ""), want: awsauth.Malformed},
		{name: "a presigned request", tamper: func(r *http.Request) { r.URL.RawQuery = "X-Amz-Signature=x" }, want: awsauth.Malformed},
		{name: "another region in the scope", tamper: replace("/eu-central-1/", "/us-east-1/"), want: awsauth.BadSignature},
		{name: "another service in the scope", tamper: replace("/bedrock/", "/s3/"), want: awsauth.BadSignature},
		{name: "a host that is not signed", tamper: replace("host;", ""), want: awsauth.BadSignature},
		{name: "a date that is not signed", tamper: replace(";x-amz-date", ""), want: awsauth.BadSignature},
		{name: "no date", tamper: func(r *http.Request) { r.Header.Del("X-Amz-Date") }, want: awsauth.Malformed},
		{name: "an unknown key", key: awsauth.Key{AccessKeyID: "AKIAOTHER", SecretAccessKey: "x"}, want: awsauth.UnknownKey},
		{name: "the right key without its session token", key: awsauth.Key{AccessKeyID: key.AccessKeyID, SecretAccessKey: key.SecretAccessKey}, want: awsauth.UnknownKey},
		{name: "the right key with another session token", key: awsauth.Key{AccessKeyID: key.AccessKeyID, SecretAccessKey: key.SecretAccessKey, SessionToken: "x"}, want: awsauth.UnknownKey},
		{name: "expired credentials", key: expired, want: awsauth.Expired},
		{name: "expired credentials with a wrong secret do not learn that they have expired", key: awsauth.Key{AccessKeyID: expired.AccessKeyID, SecretAccessKey: "x", SessionToken: expired.SessionToken}, want: awsauth.BadSignature},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if test.key.AccessKeyID == "" {
				test.key = key
			}
			if test.body == "" {
				test.body = "body"
			}
			request := signed(t, test.key, time.Now().Add(test.at))
			if test.tamper != nil {
				test.tamper(request)
			}
			got, err := awsauth.Verifier{Keys: lookup(key, expired), Service: "bedrock", Region: "eu-central-1"}.Verify(request, []byte(test.body))
			if test.want != 0 {
				wantKind(t, err, test.want)
				return
			}
			if err != nil || got.AccessKeyID != test.key.AccessKeyID {
				t.Errorf("got key %q and error %v, want the signer's key", got.AccessKeyID, err)
			}
		})
	}
}

var expired = awsauth.Key{AccessKeyID: "ASIAEXPIRED", SecretAccessKey: "s", SessionToken: "t", Expires: time.Unix(1, 0)}

func TestRefusalsAreWrittenAsEachProtocolWritesThem(t *testing.T) {
	t.Parallel()
	refusal := &awsauth.Error{Kind: awsauth.Expired, Message: "too late"}

	recorder := httptest.NewRecorder()
	awsauth.WriteJSON(recorder, refusal)
	var inJSON struct{ Message string }
	if err := json.Unmarshal(recorder.Body.Bytes(), &inJSON); err != nil || inJSON.Message != "too late" {
		t.Errorf("body %s: %v", recorder.Body, err)
	}
	if got := recorder.Header().Get("X-Amzn-Errortype"); got != "ExpiredTokenException" || recorder.Code != http.StatusForbidden {
		t.Errorf("got %d %s", recorder.Code, got)
	}

	recorder = httptest.NewRecorder()
	awsauth.WriteQuery(recorder, refusal)
	var inXML struct {
		Code string `xml:"Error>Code"`
	}
	if err := xml.Unmarshal(recorder.Body.Bytes(), &inXML); err != nil || inXML.Code != "ExpiredToken" {
		t.Errorf("body %s: %v", recorder.Body, err)
	}
}

func FuzzAuthorizationHeader(f *testing.F) {
	f.Add("AWS4-HMAC-SHA256 Credential=ASIATESTKEY/20260101/eu-central-1/bedrock/aws4_request, SignedHeaders=host;x-amz-date, Signature=00", "20260101T000000Z")
	f.Add("Bearer x", "")
	f.Fuzz(func(t *testing.T, authorization, date string) {
		request := httptest.NewRequest(http.MethodPost, "https://host/", bytes.NewReader(nil))
		request.Header.Set("Authorization", authorization)
		request.Header.Set("X-Amz-Date", date)
		if _, err := (awsauth.Verifier{Keys: lookup(key), Service: "bedrock", Region: "eu-central-1"}).Verify(request, nil); err == nil {
			t.Errorf("accepted %q", authorization)
		}
	})
}
