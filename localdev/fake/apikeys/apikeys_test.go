package apikeys_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/postern-ai/postern/localdev/fake/apikeys"
)

const keys = "/v2/projects/p/locations/global/keys"

func newServer(change func(*apikeys.Options)) *apikeys.Server {
	options := apikeys.Options{Project: "p", Number: "1", Member: func(token string) (string, bool) { return "serviceAccount:rotator", token == "good" }}
	if change != nil {
		change(&options)
	}
	return apikeys.New(options)
}

func ask(s http.Handler, token string, request *http.Request) (int, string) {
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Authorization", "Bearer "+token)
	recorder := httptest.NewRecorder()
	s.ServeHTTP(recorder, request)
	return recorder.Code, recorder.Body.String()
}

func request(method, path, body string) *http.Request {
	return httptest.NewRequest(method, path, strings.NewReader(body))
}

func use(s *apikeys.Server, text string) int {
	r := httptest.NewRequest(http.MethodGet, "/v1beta/models?pageSize=1", nil)
	r.Header.Set("X-Goog-Api-Key", text)
	recorder := httptest.NewRecorder()
	s.Models().ServeHTTP(recorder, r)
	return recorder.Code
}

func TestAKeyLivesUntilItIsDeleted(t *testing.T) {
	t.Parallel()
	s := newServer(func(o *apikeys.Options) { o.Late, o.Slow = 1, 2 })
	_, body := ask(s, "good", request(http.MethodPost, keys+"?keyId=k", `{"displayName":"n"}`))
	_, rest, _ := strings.Cut(body, `"name":"`)
	name, _, _ := strings.Cut(rest, `"`)
	for _, want := range []bool{false, true} {
		if _, body := ask(s, "good", request(http.MethodGet, "/v2/"+name, "")); strings.Contains(body, `"done":true`) != want {
			t.Errorf("got %s", body)
		}
	}
	if _, body := ask(s, "good", request(http.MethodGet, keys+"/k", "")); strings.Contains(body, s.Keys()[0].Text) || !strings.Contains(body, `"displayName":"n"`) {
		t.Errorf("got %s", body)
	}
	if _, body := ask(s, "good", request(http.MethodGet, keys+"/k/keyString", "")); body != `{"keyString":"`+s.Keys()[0].Text+`"}` {
		t.Errorf("got %s", body)
	}
	text := s.Keys()[0].Text
	for _, want := range []int{http.StatusBadRequest, http.StatusOK} {
		if got := use(s, text); got != want {
			t.Errorf("got %d, want %d", got, want)
		}
	}
	for _, want := range []int{http.StatusOK, http.StatusBadRequest} {
		if status, body := ask(s, "good", request(http.MethodDelete, keys+"/k", "")); status != want {
			t.Errorf("got %d %s", status, body)
		}
	}
	if got := use(s, text); got != http.StatusBadRequest || len(s.Keys()) != 0 {
		t.Errorf("a deleted key: got %d", got)
	}
	for query, want := range map[string]bool{"": false, "?showDeleted=true": true} {
		if _, body := ask(s, "good", request(http.MethodGet, keys+query, "")); strings.Contains(body, "deleteTime") != want {
			t.Errorf("%s: got %s", query, body)
		}
	}
}

func TestWhatTheServiceRefusesIsRefused(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name                string
		change              func(*apikeys.Options)
		token, method, path string
		body                string
		status              int
		code                string
	}{
		{"a token for something else", nil, "bad", http.MethodPost, keys, "{}", 401, "UNAUTHENTICATED"},
		{"a method that there is not", nil, "good", http.MethodPut, keys, "{}", 404, "NOT_FOUND"},
		{"another project", nil, "good", http.MethodPost, "/v2/projects/q/locations/global/keys", "{}", 403, "PERMISSION_DENIED"},
		{"a missing right", func(o *apikeys.Options) { o.Allow = func(string, string) bool { return false } }, "good", http.MethodPost, keys, "{}", 403, "PERMISSION_DENIED"},
		{"an id that is none", nil, "good", http.MethodPost, keys + "?keyId=A", "{}", 400, "INVALID_ARGUMENT"},
		{"a name that is too long", nil, "good", http.MethodPost, keys, `{"displayName":"` + strings.Repeat("x", 64) + `"}`, 400, "INVALID_ARGUMENT"},
		{"a target that is none", nil, "good", http.MethodPost, keys, `{"restrictions":{"apiTargets":[{"service":"x"}]}}`, 400, "INVALID_ARGUMENT"},
		{"a misspelt member", nil, "good", http.MethodPost, keys, `{"display_name":"x"}`, 400, "INVALID_ARGUMENT"},
		{"an unknown key", nil, "good", http.MethodGet, keys + "/k/keyString", "", 404, "NOT_FOUND"},
		{"an unknown operation", nil, "good", http.MethodGet, "/v2/operations/x", "", 404, "NOT_FOUND"},
		{"a page of none", nil, "good", http.MethodGet, keys + "?pageToken=x", "", 400, "INVALID_ARGUMENT"},
	} {
		s := newServer(test.change)
		if status, body := ask(s, test.token, request(test.method, test.path, test.body)); status != test.status || !strings.Contains(body, `"status":"`+test.code+`"`) || len(s.Keys()) != 0 {
			t.Errorf("%s: got %d %s", test.name, status, body)
		}
	}
	s := newServer(nil)
	for _, want := range []int{http.StatusOK, http.StatusConflict} {
		if status, body := ask(s, "good", request(http.MethodPost, keys+"?keyId=k", "{}")); status != want {
			t.Errorf("got %d %s", status, body)
		}
	}
	if got := use(s, ""); got != http.StatusForbidden {
		t.Errorf("no key: got %d", got)
	}
}
