package iam_test

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/postern-ai/postern/localdev/fake/awsauth"
	"github.com/postern-ai/postern/localdev/fake/iam"
)

var admin = awsauth.Key{AccessKeyID: "AKIAADMIN", SecretAccessKey: "s", ARN: "arn:aws:iam::123456789012:user/admin"}

func newServer(change func(*iam.Options)) *iam.Server {
	options := iam.Options{Users: []string{"u"}, Keys: func(id string) (awsauth.Key, bool) { return admin, id == admin.AccessKeyID }}
	if change != nil {
		change(&options)
	}
	return iam.New(options)
}

// ask sends a signed request and returns the status and the body of the reply.
func ask(t *testing.T, s *iam.Server, parameters string, change func(*http.Request)) (int, string) {
	t.Helper()
	body := parameters
	if !strings.Contains(body, "Version=") {
		body += "&Version=2010-05-08"
	}
	request := httptest.NewRequest(http.MethodPost, "https://iam.amazonaws.com/", strings.NewReader(body))
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	sum := sha256.Sum256([]byte(body))
	credentials := aws.Credentials{AccessKeyID: admin.AccessKeyID, SecretAccessKey: admin.SecretAccessKey}
	if err := v4.NewSigner().SignHTTP(t.Context(), credentials, request, hex.EncodeToString(sum[:]), "iam", "us-east-1", time.Now()); err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(request)
	}
	recorder := httptest.NewRecorder()
	s.ServeHTTP(recorder, request)
	reply, err := io.ReadAll(recorder.Result().Body)
	if err != nil {
		t.Fatal(err)
	}
	return recorder.Code, string(reply)
}

func TestWhatTheServiceRefusesIsRefused(t *testing.T) {
	t.Parallel()
	const key = "AKIAAAAAAAAAAAAAAAAA"
	for _, test := range []struct {
		name, parameters string
		options          func(*iam.Options)
		change           func(*http.Request)
		status           int
		code             string
	}{
		{"no action", "UserName=u", nil, nil, 400, "MissingAction"},
		{"an unknown action", "Action=CreateUser&UserName=u", nil, nil, 400, "InvalidAction"},
		{"another version", "Action=ListAccessKeys&UserName=u&Version=2011-06-15", nil, nil, 400, "InvalidAction"},
		{"no signature", "Action=ListAccessKeys&UserName=u", nil, func(r *http.Request) { r.Header.Del("Authorization") }, 403, "MissingAuthenticationToken"},
		{"another body than was signed", "Action=ListAccessKeys&UserName=u", nil, func(r *http.Request) { r.Body = io.NopCloser(strings.NewReader("Action=ListAccessKeys")) }, 403, "SignatureDoesNotMatch"},
		{"JSON", "Action=ListAccessKeys&UserName=u", nil, func(r *http.Request) { r.Header.Set("Content-Type", "application/json") }, 400, "MalformedQueryString"},
		{"a parameter of another operation", "Action=ListAccessKeys&UserName=u&Status=Active", nil, nil, 400, "MalformedQueryString"},
		{"an unknown user", "Action=CreateAccessKey&UserName=v", nil, nil, 404, "NoSuchEntity"},
		{"a user name that is none", "Action=CreateAccessKey&UserName=" + url.QueryEscape("a/b"), nil, nil, 400, "ValidationError"},
		{"a missing right", "Action=CreateAccessKey&UserName=v", func(o *iam.Options) { o.Allow = func(iam.Access) bool { return false } }, nil, 403, "AccessDenied"},
		{"no key", "Action=DeleteAccessKey&UserName=u", nil, nil, 400, "ValidationError"},
		{"an unknown key", "Action=DeleteAccessKey&UserName=u&AccessKeyId=" + key, nil, nil, 404, "NoSuchEntity"},
		{"a page of none", "Action=ListAccessKeys&UserName=u&MaxItems=0", nil, nil, 400, "ValidationError"},
		{"an unknown service", "Action=CreateServiceSpecificCredential&UserName=u&ServiceName=s3.amazonaws.com", nil, nil, 404, "NotSupportedService"},
		{"no service", "Action=CreateServiceSpecificCredential&UserName=u", nil, nil, 400, "ValidationError"},
		{"a life that is too long", "Action=CreateServiceSpecificCredential&UserName=u&ServiceName=bedrock.amazonaws.com&CredentialAgeDays=36601", nil, nil, 400, "ValidationError"},
		{"an end for a service that has none", "Action=CreateServiceSpecificCredential&UserName=u&ServiceName=codecommit.amazonaws.com&CredentialAgeDays=1", nil, nil, 400, "InvalidInput"},
		{"an unknown credential", "Action=ResetServiceSpecificCredential&UserName=u&ServiceSpecificCredentialId=ACCAAAAAAAAAAAAAAAAAAA", nil, nil, 404, "NoSuchEntity"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			status, body := ask(t, newServer(test.options), test.parameters, test.change)
			if status != test.status || !strings.Contains(body, "<Code>"+test.code+"</Code>") {
				t.Errorf("got %d %s", status, body)
			}
		})
	}
}

func TestAUserHasTwoKeysOfAKindAtMost(t *testing.T) {
	t.Parallel()
	for _, action := range []string{"CreateAccessKey", "CreateServiceSpecificCredential&ServiceName=bedrock.amazonaws.com"} {
		s := newServer(nil)
		for _, want := range []int{200, 200, 409} {
			if status, body := ask(t, s, "Action="+action+"&UserName=u", nil); status != want {
				t.Errorf("%s: got %d %s", action, status, body)
			}
		}
	}
}

func TestANewKeyIsKnownLater(t *testing.T) {
	t.Parallel()
	s := newServer(func(o *iam.Options) { o.Late = 2 })
	ask(t, s, "Action=CreateAccessKey&UserName=u", nil)
	id := s.AccessKeys("u")[0]
	for _, want := range []bool{false, false, true, true} {
		if key, ok := s.Lookup(id); ok != want || ok && key.ARN != "arn:aws:iam::123456789012:user/u" {
			t.Errorf("found %v %q, want %v", ok, key.ARN, want)
		}
	}
	ask(t, s, "Action=UpdateAccessKey&UserName=u&Status=Inactive&AccessKeyId="+id, nil)
	if _, ok := s.Lookup(id); ok {
		t.Error("a key that is not active is found")
	}
}

func TestAnAPIKeyEndsByItself(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newServer(nil)
		_, body := ask(t, s, "Action=CreateServiceSpecificCredential&UserName=u&ServiceName=bedrock.amazonaws.com&CredentialAgeDays=1", nil)
		_, rest, _ := strings.Cut(body, "<ServiceCredentialSecret>")
		secret, _, _ := strings.Cut(rest, "<")
		use := func(token string) int {
			request := httptest.NewRequest(http.MethodGet, "/foundation-models", nil)
			request.Header.Set("Authorization", "Bearer "+token)
			recorder := httptest.NewRecorder()
			s.FoundationModels().ServeHTTP(recorder, request)
			return recorder.Code
		}
		if got := use(secret); got != http.StatusOK {
			t.Errorf("got %d", got)
		}
		if got := use(secret + "x"); got != http.StatusForbidden {
			t.Errorf("another key: got %d", got)
		}
		time.Sleep(24 * time.Hour)
		if got := use(secret); got != http.StatusForbidden {
			t.Errorf("after its end: got %d", got)
		}
		if _, body := ask(t, s, "Action=ListServiceSpecificCredentials&UserName=u", nil); !strings.Contains(body, "<Status>Expired</Status>") {
			t.Errorf("listed as %s", body)
		}
	})
}
