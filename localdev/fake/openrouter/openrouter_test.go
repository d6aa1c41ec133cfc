package openrouter_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/postern-ai/postern/localdev/fake/openrouter"
)

func TestWhatTheServiceRefusesIsRefused(t *testing.T) {
	t.Parallel()
	server := openrouter.New(openrouter.Options{Manager: func(token string) bool { return token == "manager" }})
	model := server.Add("model").Secret
	for _, test := range []struct {
		name, token, request, body string
		want                       int
	}{
		{"no key", "", "GET /api/v1/keys", "", 401},
		{"a key for models", model, "GET /api/v1/keys", "", 403},
		{"a key for models made by one", model, "POST /api/v1/keys", `{"name":"a"}`, 403},
		{"a management key used for models", "manager", "GET /api/v1/key", "", 401},
		{"no name", "manager", "POST /api/v1/keys", `{}`, 400},
		{"an unknown member", "manager", "POST /api/v1/keys", `{"name":"a","surname":"b"}`, 400},
		{"an end in another time zone", "manager", "POST /api/v1/keys", `{"name":"a","expires_at":"2100-01-02T03:04:05+01:00"}`, 400},
		{"an end in the past", "manager", "POST /api/v1/keys", `{"name":"a","expires_at":"2000-01-02T03:04:05Z"}`, 400},
		{"an unknown reset", "manager", "POST /api/v1/keys", `{"name":"a","limit":1,"limit_reset":"yearly"}`, 400},
		{"no key of that hash", "manager", "DELETE /api/v1/keys/x", "", 404},
		{"no such path", "manager", "GET /api/v1/keyz", "", 404},
		{"all is well", "manager", "POST /api/v1/keys", `{"name":"a","limit":1,"limit_reset":"daily","expires_at":"2100-01-02T03:04:05Z"}`, 201},
	} {
		method, path, _ := strings.Cut(test.request, " ")
		request := httptest.NewRequest(method, path, strings.NewReader(test.body))
		request.Header = http.Header{"Authorization": {"Bearer " + test.token}, "Content-Type": {"application/json"}}
		recorder := httptest.NewRecorder()
		server.ServeHTTP(recorder, request)
		if recorder.Code != test.want {
			t.Errorf("%s: got %d %s, want %d", test.name, recorder.Code, recorder.Body, test.want)
		}
	}
}
