package arm_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/postern-ai/postern/localdev/fake/arm"
)

const account = "/subscriptions/s/resourceGroups/g/providers/Microsoft.CognitiveServices/accounts/a"

func newServer(options arm.Options) *arm.Server {
	options.ID = account
	options.Caller = func(token string) (string, bool) { return "rotator", token == "good" }
	return arm.New(options)
}

// ask sends a request of somebody who has a token.
func ask(s http.Handler, request *http.Request) (int, string) {
	request.Header.Set("Content-Type", "application/json")
	if request.Header.Get("Authorization") == "" {
		request.Header.Set("Authorization", "Bearer good")
	}
	recorder := httptest.NewRecorder()
	s.ServeHTTP(recorder, request)
	return recorder.Code, recorder.Body.String()
}

func post(path, body string) *http.Request {
	return httptest.NewRequest(http.MethodPost, path, strings.NewReader(body))
}

func TestOneKeyIsMadeAnewAndTheOtherStays(t *testing.T) {
	t.Parallel()
	s := newServer(arm.Options{Late: 2})
	before := s.Keys()
	if status, body := ask(s, post(account+"/regenerateKey?api-version=2025-06-01", `{"keyName":"Key2"}`)); status != 200 || !strings.Contains(body, `"key2"`) {
		t.Fatalf("got %d %s", status, body)
	}
	after := s.Keys()
	if before[0] != after[0] || before[1] == after[1] || !s.Works(before[0]) || s.Works(before[1]) {
		t.Errorf("before %v, after %v", before, after)
	}
	for _, want := range []bool{false, false, true, true} {
		if got := s.Works(after[1]); got != want {
			t.Errorf("the new key works: %v, want %v", got, want)
		}
	}
}

func TestWhatTheServiceRefusesIsRefused(t *testing.T) {
	t.Parallel()
	const regenerate = account + "/regenerateKey?api-version=2025-06-01"
	stranger := post(regenerate, `{"keyName":"Key1"}`)
	stranger.Header.Set("Authorization", "Bearer bad")
	for _, test := range []struct {
		name    string
		options arm.Options
		request *http.Request
		status  int
		code    string
	}{
		{"a token for something else", arm.Options{}, stranger, 401, "InvalidAuthenticationToken"},
		{"no API version", arm.Options{}, post(account+"/listKeys", ""), 400, "MissingApiVersionParameter"},
		{"an unknown API version", arm.Options{}, post(account+"/listKeys?api-version=2020-01-01", ""), 400, "NoRegisteredProviderFound"},
		{"a method that reads", arm.Options{}, httptest.NewRequest(http.MethodGet, account+"/listKeys?api-version=2025-06-01", nil), 404, "NotFound"},
		{"another account", arm.Options{}, post(account+"x/listKeys?api-version=2025-06-01", ""), 404, "ResourceNotFound"},
		{"a missing right", arm.Options{Allow: func(string, string) bool { return false }}, post(regenerate, `{"keyName":"Key1"}`), 403, "AuthorizationFailed"},
		{"keys that are switched off", arm.Options{DisableLocalAuth: true}, post(regenerate, `{"keyName":"Key1"}`), 400, "BadRequest"},
		{"a third key", arm.Options{}, post(regenerate, `{"keyName":"Key3"}`), 400, "InvalidKeyName"},
		{"a misspelt member", arm.Options{}, post(regenerate, `{"key_name":"Key1"}`), 400, "InvalidRequestContent"},
	} {
		s := newServer(test.options)
		before := s.Keys()
		if status, body := ask(s, test.request); status != test.status || !strings.Contains(body, `"code":"`+test.code+`"`) || s.Keys() != before {
			t.Errorf("%s: got %d %s", test.name, status, body)
		}
	}
}
