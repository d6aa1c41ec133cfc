package metadata_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/postern-ai/postern/localdev/fake/fault"
	"github.com/postern-ai/postern/localdev/fake/metadata"
)

func get(handler http.Handler, target string) (int, string) {
	request := httptest.NewRequest(http.MethodGet, target, nil)
	request.Header.Set("Metadata-Flavor", "Google")
	recorder := httptest.NewRecorder()
	handler.ServeHTTP(recorder, request)
	body, _ := io.ReadAll(recorder.Body)
	return recorder.Code, string(body)
}

func TestPathsAnswerAsOnCloudRun(t *testing.T) {
	t.Parallel()
	server := metadata.New(metadata.Options{})
	const account = "/computeMetadata/v1/instance/service-accounts/"
	tests := []struct {
		target string
		status int
		want   string
	}{
		{"/computeMetadata/v1/project/project-id", 200, "local-project"},
		{"/computeMetadata/v1/project/numeric-project-id", 200, "123456789"},
		{"/computeMetadata/v1/instance/region", 200, "projects/123456789/regions/europe-west4"},
		{"/computeMetadata/v1/universe/universe-domain", 200, "googleapis.com"},
		{account + "default/email", 200, "gateway@local-project.iam.gserviceaccount.com"},
		{account + "gateway@local-project.iam.gserviceaccount.com/email", 200, "gateway@"},
		{account + "default/?recursive=true", 200, `"scopes":["https://www.googleapis.com/auth/cloud-platform"]`},
		{account + "other@local-project.iam.gserviceaccount.com/token", 404, "not found"},
		{account + "default/token?scopes=openid", 400, "Invalid scope"},
		{account + "default/identity", 400, "audience"},
		{account + "default/identity?audience=a&format=odd", 400, "format"},
		{"/computeMetadata/v1/instance/attributes/x", 404, ""},
	}
	for _, test := range tests {
		status, body := get(server, test.target)
		if status != test.status || !strings.Contains(body, test.want) {
			t.Errorf("%s: got %d %s, want %d %s", test.target, status, body, test.status, test.want)
		}
	}
	if status, _ := get(metadata.New(metadata.Options{NoServiceAccount: true}), account+"default/token"); status != http.StatusNotFound {
		t.Errorf("without a service account: got %d", status)
	}
}

func TestTheFlavorHeaderIsRequiredInBothDirections(t *testing.T) {
	t.Parallel()
	server := metadata.New(metadata.Options{})
	for name, change := range map[string]func(http.Header){
		"no header":                  func(h http.Header) { h.Del("Metadata-Flavor") },
		"another flavor":             func(h http.Header) { h.Set("Metadata-Flavor", "Vanilla") },
		"a request that was proxied": func(h http.Header) { h.Set("X-Forwarded-For", "10.0.0.1") },
	} {
		request := httptest.NewRequest(http.MethodGet, "/computeMetadata/v1/instance/service-accounts/default/token", nil)
		request.Header.Set("Metadata-Flavor", "Google")
		change(request.Header)
		recorder := httptest.NewRecorder()
		server.ServeHTTP(recorder, request)
		if recorder.Code != http.StatusForbidden || strings.Contains(recorder.Body.String(), "ya29") {
			t.Errorf("%s: got %d %s", name, recorder.Code, recorder.Body)
		}
		if recorder.Header().Get("Metadata-Flavor") != "Google" {
			t.Errorf("%s: the reply is not marked", name)
		}
	}
}

type token struct {
	AccessToken string `json:"access_token"`
	ExpiresIn   int    `json:"expires_in"`
	TokenType   string `json:"token_type"`
}

func fetch(t *testing.T, server *metadata.Server, query string) token {
	t.Helper()
	status, body := get(server, "/computeMetadata/v1/instance/service-accounts/default/token"+query)
	var got token
	if err := json.Unmarshal([]byte(body), &got); err != nil || status != http.StatusOK || got.TokenType != "Bearer" {
		t.Fatalf("got %d %s: %v", status, body, err)
	}
	return got
}

func TestATokenIsGivenOutAgainUntilFourMinutesBeforeItsEnd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := metadata.New(metadata.Options{})
		first := fetch(t, server, "")
		if first.ExpiresIn != 3600 || !server.Valid(first.AccessToken) || server.Valid("ya29.c.other") || server.Valid("") {
			t.Errorf("got %+v", first)
		}
		if other := fetch(t, server, "?scopes=https://www.googleapis.com/auth/pubsub"); other.AccessToken == first.AccessToken {
			t.Error("another scope got the same token")
		}
		time.Sleep(55 * time.Minute)
		again := fetch(t, server, "?scopes=https://www.googleapis.com/auth/cloud-platform")
		if again.AccessToken != first.AccessToken || again.ExpiresIn != 300 {
			t.Errorf("got %+v, want the first token with 300 s left", again)
		}
		time.Sleep(time.Minute)
		next := fetch(t, server, "")
		if next.AccessToken == first.AccessToken || !server.Valid(first.AccessToken) {
			t.Error("the token was not replaced, or the old one ended early")
		}
		time.Sleep(4 * time.Minute)
		if server.Valid(first.AccessToken) || !server.Valid(next.AccessToken) {
			t.Error("the first token is still valid, or the second is not")
		}
		server.Revoke(next.AccessToken)
		if server.Valid(next.AccessToken) || fetch(t, server, "").AccessToken == next.AccessToken {
			t.Error("a revoked token lives on")
		}
		server.SetLifetime(-time.Minute)
		if dead := fetch(t, server, ""); dead.ExpiresIn != -60 || server.Valid(dead.AccessToken) {
			t.Errorf("got %+v", dead)
		}
	})
}

func TestIdentityTokensVerifyForTheirAudience(t *testing.T) {
	t.Parallel()
	server := metadata.New(metadata.Options{})
	_, text := get(server, "/computeMetadata/v1/instance/service-accounts/default/identity?audience=api://x&format=full")
	parsed, err := jwt.ParseSigned(text, []jose.SignatureAlgorithm{jose.RS256})
	if err != nil {
		t.Fatal(err)
	}
	var claims jwt.Claims
	var extra struct {
		Email string `json:"email"`
	}
	if err := parsed.Claims(server.KeySet(), &claims, &extra); err != nil {
		t.Fatal(err)
	}
	if err := claims.Validate(jwt.Expected{Issuer: metadata.Issuer, Subject: server.Subject(), AnyAudience: jwt.Audience{"api://x"}}); err != nil {
		t.Error(err)
	}
	if extra.Email != "gateway@local-project.iam.gserviceaccount.com" {
		t.Errorf("email %q", extra.Email)
	}
}

func TestFaultsAndCountersArePerPath(t *testing.T) {
	t.Parallel()
	server := metadata.New(metadata.Options{})
	server.Emails.Set(fault.Fault{Status: 503, Times: 1})
	if status, _ := get(server, "/computeMetadata/v1/instance/service-accounts/default/email"); status != 503 {
		t.Errorf("got %d", status)
	}
	fetch(t, server, "")
	if server.Emails.Calls() != 1 || server.Tokens.Calls() != 1 || server.Identities.Calls() != 0 {
		t.Error("the counters are wrong")
	}
}
