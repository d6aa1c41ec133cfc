package oauth_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/postern-ai/postern/localdev/fake/oauth"
)

func TestAClientManagesItsOwnRegistration(t *testing.T) {
	t.Parallel()
	server := oauth.New(oauth.Options{URL: "https://idp.example.com", Clients: []oauth.Client{
		{ID: "a", Secret: "s", Registration: &oauth.Registration{Token: "t", Metadata: map[string]any{"client_name": "A"}}}, {ID: "by-hand", Secret: "s"},
	}})
	for _, test := range []struct {
		name, request, token, body string
		want                       int
		says                       string
	}{
		{"no token", "GET /register/a", "", "", 401, "invalid_token"},
		{"a client that was registered by hand", "GET /register/by-hand", "", "", 401, "invalid_token"},
		{"no such client", "GET /register/b", "t", "", 401, "invalid_token"},
		{"reading", "GET /register/a", "t", "", 200, `"client_name":"A"`},
		{"deleting", "DELETE /register/a", "t", "", 405, ""},
		{"another client's id", "PUT /register/a", "t", `{"client_id":"b"}`, 400, "client_id"},
		{"a secret of one's own", "PUT /register/a", "t", `{"client_id":"a","client_secret":"mine"}`, 400, "not the current one"},
		{"what only the server sets", "PUT /register/a", "t", `{"client_id":"a","client_secret_expires_at":0}`, 400, "must not be sent"},
		{"no JSON", "PUT /register/a", "t", `client_id=a`, 400, "JSON"},
		{"an update", "PUT /register/a", "t", `{"client_id":"a","client_secret":"s","client_name":"B"}`, 200, `"client_name":"B"`},
		{"an update with the secret from before", "PUT /register/a", "t", `{"client_id":"a","client_secret":"s"}`, 400, "not the current one"},
	} {
		method, path, _ := strings.Cut(test.request, " ")
		request := httptest.NewRequest(method, path, strings.NewReader(test.body))
		request.Header = http.Header{"Authorization": {"Bearer " + test.token}, "Content-Type": {"application/json"}}
		recorder := httptest.NewRecorder()
		server.ServeHTTP(recorder, request)
		if recorder.Code != test.want || !strings.Contains(recorder.Body.String(), test.says) {
			t.Errorf("%s: got %d %s, want %d %s", test.name, recorder.Code, recorder.Body, test.want, test.says)
		}
	}
}
