package openaiadmin_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/postern-ai/postern/localdev/fake/openaiadmin"
)

func TestWhatTheServiceRefusesIsRefused(t *testing.T) {
	t.Parallel()
	const project = "/v1/organization/projects/proj_local"
	server := openaiadmin.New(openaiadmin.Options{})
	admin, model, account := server.AddAdminKey("admin").Secret, server.AddKey("model").Secret, server.AddAccount("app").ID
	older := openaiadmin.New(openaiadmin.Options{Older: true, Admin: func(string) bool { return true }})
	for _, test := range []struct {
		name, token, request, body string
		server                     *openaiadmin.Server
		want                       int
	}{
		{"no key", "", "GET " + project + "/api_keys", "", server, 401},
		{"a key for models", model, "GET " + project + "/api_keys", "", server, 403},
		{"an admin key used for models", admin, "GET /v1/models", "", server, 401},
		{"another project", admin, "GET /v1/organization/projects/proj_x/api_keys", "", server, 404},
		{"too many at once", admin, "GET " + project + "/api_keys?limit=101", "", server, 400},
		{"a cursor of another list", admin, "GET " + project + "/api_keys?after=x", "", server, 400},
		{"no name", admin, "POST " + project + "/service_accounts", `{}`, server, 400},
		{"an unknown member", admin, "POST " + project + "/service_accounts", `{"name":"a","surname":"b"}`, server, 400},
		{"a life that is too long", admin, "POST " + project + "/service_accounts", `{"name":"a","expires_in_seconds":31536001}`, server, 400},
		{"an end in the older API", admin, "POST " + project + "/service_accounts", `{"name":"a","expires_in_seconds":1}`, older, 400},
		{"no such account", admin, "POST " + project + "/service_accounts/x/api_keys", `{"name":"a"}`, server, 404},
		{"no such key", admin, "DELETE " + project + "/api_keys/x", "", server, 404},
		{"no such admin key", admin, "DELETE /v1/organization/admin_api_keys/x", "", server, 404},
		{"no order", admin, "GET /v1/organization/admin_api_keys?order=up", "", server, 400},
		{"an admin key without a name", admin, "POST /v1/organization/admin_api_keys", `{}`, server, 400},
		{"all is well", admin, "POST " + project + "/service_accounts/" + account + "/api_keys", `{"name":"a","scopes":["b"],"expires_in_seconds":1}`, server, 200},
		{"all is well with an admin key", admin, "POST /v1/organization/admin_api_keys", `{"name":"a","expires_in_seconds":1}`, server, 200},
	} {
		method, path, _ := strings.Cut(test.request, " ")
		request := httptest.NewRequest(method, path, strings.NewReader(test.body))
		request.Header = http.Header{"Authorization": {"Bearer " + test.token}, "Content-Type": {"application/json"}}
		recorder := httptest.NewRecorder()
		test.server.ServeHTTP(recorder, request)
		if recorder.Code != test.want {
			t.Errorf("%s: got %d %s, want %d", test.name, recorder.Code, recorder.Body, test.want)
		}
	}
}
