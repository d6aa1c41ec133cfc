package sts_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	client "github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"
	"github.com/postern-ai/postern/localdev/fake/awsauth"
	"github.com/postern-ai/postern/localdev/fake/awscreds"
	"github.com/postern-ai/postern/localdev/fake/fault"
	"github.com/postern-ai/postern/localdev/fake/sts"
)

func official(t *testing.T, server http.Handler, key awsauth.Key) *client.Client {
	t.Helper()
	listening := httptest.NewServer(server)
	t.Cleanup(listening.Close)
	return client.New(client.Options{
		Region: "eu-central-1", BaseEndpoint: aws.String(listening.URL), Retryer: aws.NopRetryer{},
		Credentials: credentials.NewStaticCredentialsProvider(key.AccessKeyID, key.SecretAccessKey, key.SessionToken),
	})
}

func TestTheOfficialClientLearnsWhoItIs(t *testing.T) {
	t.Parallel()
	issuer := awscreds.New(awscreds.Options{Account: "210987654321", Role: "reader"})
	key := issuer.Issue()
	got, err := official(t, sts.New(issuer.Lookup, "eu-central-1"), key).GetCallerIdentity(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if *got.Arn != "arn:aws:sts::210987654321:assumed-role/reader/local" || *got.Account != "210987654321" || *got.UserId != key.UserID {
		t.Errorf("got %s %s %s", *got.Arn, *got.Account, *got.UserId)
	}
}

func TestTheOfficialClientIsToldWhyItWasRefused(t *testing.T) {
	t.Parallel()
	issuer := awscreds.New(awscreds.Options{})
	key := issuer.Issue()
	issuer.SetLifetime(-1)
	expired := issuer.Issue()
	wrong, unknown := key, key
	wrong.SecretAccessKey, unknown.AccessKeyID = "x", "ASIAUNKNOWN"
	for name, test := range map[string]struct {
		key  awsauth.Key
		want string
	}{
		"a wrong secret":      {wrong, "SignatureDoesNotMatch"},
		"an unknown key":      {unknown, "InvalidClientTokenId"},
		"expired credentials": {expired, "ExpiredToken"},
	} {
		_, err := official(t, sts.New(issuer.Lookup, "eu-central-1"), test.key).GetCallerIdentity(t.Context(), nil)
		if refusal, ok := errors.AsType[smithy.APIError](err); !ok || refusal.ErrorCode() != test.want {
			t.Errorf("%s: got %v, want %s", name, err, test.want)
		}
	}
	elsewhere := official(t, sts.New(issuer.Lookup, "us-east-1"), key)
	if _, err := elsewhere.GetCallerIdentity(t.Context(), nil); err == nil {
		t.Error("a signature for another region was accepted")
	}
	if _, err := official(t, sts.New(issuer.Lookup, "eu-central-1"), key).GetFederationToken(t.Context(), &client.GetFederationTokenInput{Name: aws.String("n")}); err == nil {
		t.Error("an unknown action was accepted")
	}
}

func TestRequestsThatNoClientSendsAreRefused(t *testing.T) {
	t.Parallel()
	server := sts.New(awscreds.New(awscreds.Options{}).Lookup, "eu-central-1")
	for name, test := range map[string]struct {
		request *http.Request
		want    int
	}{
		"without a signature": {form("/", "Action=GetCallerIdentity&Version=2011-06-15"), http.StatusForbidden},
		"on another path":     {form("/x", ""), http.StatusNotFound},
		"not a form":          {httptest.NewRequest(http.MethodPost, "/", strings.NewReader("{}")), http.StatusBadRequest},
		"too large":           {form("/", strings.Repeat("x", 300<<10)), http.StatusRequestEntityTooLarge},
	} {
		recorder := httptest.NewRecorder()
		server.ServeHTTP(recorder, test.request)
		if recorder.Code != test.want {
			t.Errorf("%s: got %d, want %d", name, recorder.Code, test.want)
		}
	}
	server.Faults.Set(fault.Fault{Status: 503})
	recorder := httptest.NewRecorder()
	server.ServeHTTP(recorder, form("/", ""))
	if recorder.Code != http.StatusServiceUnavailable || server.Faults.Calls() != 5 {
		t.Errorf("got %d after %d calls", recorder.Code, server.Faults.Calls())
	}
}

func form(path, body string) *http.Request {
	request := httptest.NewRequest(http.MethodPost, path, strings.NewReader(body))
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return request
}
