package awscreds_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials/endpointcreds"
	"github.com/postern-ai/postern/localdev/fake/awscreds"
	"github.com/postern-ai/postern/localdev/fake/fault"
)

func serve(t *testing.T, options awscreds.Options) (*awscreds.Server, *endpointcreds.Provider) {
	t.Helper()
	server := awscreds.New(options)
	listening := httptest.NewServer(server)
	t.Cleanup(listening.Close)
	return server, endpointcreds.New(listening.URL+"/v2/credentials/role", func(o *endpointcreds.Options) {
		o.AuthorizationToken = options.AuthorizationToken
		o.Retryer = aws.NopRetryer{}
	})
}

func TestTheOfficialClientGetsCredentialsThatAreValid(t *testing.T) {
	t.Parallel()
	server, client := serve(t, awscreds.Options{AuthorizationToken: "letmein"})
	got, err := client.Retrieve(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	key, ok := server.Lookup(got.AccessKeyID)
	if !ok || key.SecretAccessKey != got.SecretAccessKey || key.SessionToken != got.SessionToken || !key.Expires.Equal(got.Expires) || got.AccountID != "123456789012" {
		t.Errorf("the client got %+v, the server knows %+v", got, key)
	}
	if left := time.Until(got.Expires); left < 59*time.Minute || left > time.Hour {
		t.Errorf("valid for %v, want an hour", left)
	}
	if server.Faults.Calls() != 1 {
		t.Errorf("%d calls", server.Faults.Calls())
	}
}

func TestCredentialsRotateAndOldOnesStayValid(t *testing.T) {
	t.Parallel()
	server, client := serve(t, awscreds.Options{})
	retrieve := func() string {
		t.Helper()
		got, err := client.Retrieve(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return got.AccessKeyID
	}
	first := retrieve()
	if again := retrieve(); again != first {
		t.Error("fresh credentials were replaced")
	}
	second := server.Rotate().AccessKeyID
	if got := retrieve(); got != second || got == first {
		t.Errorf("got %s, want the rotated key", got)
	}
	if _, ok := server.Lookup(first); !ok {
		t.Error("rotation made the old key invalid")
	}
	server.Revoke(second)
	if _, ok := server.Lookup(second); ok {
		t.Error("a revoked key is still valid")
	}
	if got := retrieve(); got == second {
		t.Error("a revoked key was given out")
	}
	server.SetLifetime(-time.Minute)
	if key, _ := server.Lookup(retrieve()); !key.Expires.Before(time.Now()) {
		t.Error("credentials with a negative lifetime are valid")
	}
	if issued := server.Issue(); issued.AccessKeyID == "" {
		t.Error("nothing issued")
	}
}

func TestTheEndpointRefusesWhatTheRealOneRefuses(t *testing.T) {
	t.Parallel()
	server := awscreds.New(awscreds.Options{AuthorizationToken: "letmein"})
	tests := []struct {
		name, method, token string
		want                int
	}{
		{"the right token", http.MethodGet, "letmein", http.StatusOK},
		{"no token", http.MethodGet, "", http.StatusUnauthorized},
		{"another token", http.MethodGet, "letmeout", http.StatusUnauthorized},
		{"another method", http.MethodPost, "letmein", http.StatusMethodNotAllowed},
	}
	for _, test := range tests {
		request := httptest.NewRequest(test.method, "/", nil)
		if test.token != "" {
			request.Header.Set("Authorization", test.token)
		}
		recorder := httptest.NewRecorder()
		server.ServeHTTP(recorder, request)
		if recorder.Code != test.want {
			t.Errorf("%s: got %d, want %d", test.name, recorder.Code, test.want)
		}
		if recorder.Code != http.StatusOK && strings.Contains(recorder.Body.String(), "SecretAccessKey") {
			t.Errorf("%s: got credentials", test.name)
		}
	}
}

func TestFaultsReachTheClient(t *testing.T) {
	t.Parallel()
	server, client := serve(t, awscreds.Options{})
	for _, broken := range []fault.Fault{{Status: 500}, {Status: 200, Body: "{"}, {Status: 404, Body: "{}"}, {Hangup: true}} {
		server.Faults.Set(broken)
		if _, err := client.Retrieve(t.Context()); err == nil {
			t.Errorf("%+v went unnoticed", broken)
		}
	}
}
