package graph_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-ai/postern/localdev/fake/graph"
)

const application = "/v1.0/applications/object"

func newServer(change func(*graph.Options)) *graph.Server {
	options := graph.Options{ObjectID: "object", AppID: "client", Caller: func(token string) (string, bool) { return "rotator", token == "good" }}
	if change != nil {
		change(&options)
	}
	return graph.New(options)
}

func ask(s http.Handler, token string, request *http.Request) (int, string) {
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Authorization", "Bearer "+token)
	recorder := httptest.NewRecorder()
	s.ServeHTTP(recorder, request)
	return recorder.Code, recorder.Body.String()
}

func post(path, body string) *http.Request {
	return httptest.NewRequest(http.MethodPost, path, strings.NewReader(body))
}

func TestASecretIsShownOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newServer(func(o *graph.Options) { o.Late = 1 })
		status, body := ask(s, "good", post(application+"/addPassword", `{"passwordCredential":{"displayName":"n","endDateTime":"2001-01-01T00:00:00Z"}}`))
		made := s.Secrets.List()
		if status != http.StatusOK || len(made) != 1 || !strings.Contains(body, `"secretText":"`+made[0].Secret+`"`) || !strings.Contains(body, `"displayName":"n"`) {
			t.Fatalf("got %d %s", status, body)
		}
		if _, body := ask(s, "good", httptest.NewRequest(http.MethodGet, application+"?$select=passwordCredentials", nil)); strings.Contains(body, made[0].Secret) || strings.Contains(body, "appId") ||
			!strings.Contains(body, `"hint":"`+made[0].Secret[:3]+`"`) {
			t.Errorf("got %s", body)
		}
		for _, want := range []bool{false, true, true} {
			if expires, ok := s.Secret(made[0].Secret); ok != want || ok && expires.Year() != 2001 {
				t.Errorf("known %v until %v, want %v", ok, expires, want)
			}
		}
		id, _, _ := strings.Cut(made[0].ID, "/")
		for _, want := range []int{http.StatusNoContent, http.StatusBadRequest} {
			if status, body := ask(s, "good", post(application+"/removePassword", `{"keyId":"`+id+`"}`)); status != want {
				t.Errorf("got %d %s", status, body)
			}
		}
		if _, ok := s.Secret(made[0].Secret); ok {
			t.Error("it still works")
		}
		if last := s.Add("", time.Time{}); last.Expires.Sub(last.Created) < 700*24*time.Hour {
			t.Errorf("it ends at %v", last.Expires)
		}
	})
}

func TestWhatTheServiceRefusesIsRefused(t *testing.T) {
	t.Parallel()
	const add = `{"passwordCredential":{"displayName":"n"}}`
	for _, test := range []struct {
		name    string
		change  func(*graph.Options)
		token   string
		request *http.Request
		status  int
		code    string
	}{
		{"a token for something else", nil, "bad", post(application+"/addPassword", add), 401, "InvalidAuthenticationToken"},
		{"somebody who is no owner", func(o *graph.Options) { o.Owner = func(string) bool { return false } }, "good", post(application+"/addPassword", add), 403, "Authorization_RequestDenied"},
		{"another app", nil, "good", post("/v1.0/applications/client/addPassword", add), 404, "Request_ResourceNotFound"},
		{"another version", nil, "good", post("/beta/applications/object/addPassword", add), 400, "BadRequest"},
		{"a misspelt member", nil, "good", post(application+"/addPassword", `{"passwordCredentials":{}}`), 400, "BadRequest"},
		{"an end in the past", nil, "good", post(application+"/addPassword", `{"passwordCredential":{"endDateTime":"1999-01-01T00:00:00Z"}}`), 400, "Request_BadRequest"},
	} {
		s := newServer(test.change)
		if status, body := ask(s, test.token, test.request); status != test.status || !strings.Contains(body, `"code":"`+test.code+`"`) || len(s.Secrets.List()) != 0 {
			t.Errorf("%s: got %d %s", test.name, status, body)
		}
	}
}
