package anthropicadmin_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/postern-ai/postern/localdev/fake/anthropicadmin"
	"github.com/postern-ai/postern/localdev/fake/keyring"
)

func TestWhatTheServiceRefusesIsRefused(t *testing.T) {
	t.Parallel()
	const keys = "/v1/organizations/api_keys"
	server := anthropicadmin.New(anthropicadmin.Options{Admin: func(key string) bool { return key == "admin" }})
	model := server.Add(keyring.Key{Name: "model"})
	for _, test := range []struct {
		name, key, request, body string
		want                     int
	}{
		{"no key", "", "GET " + keys, "", 401},
		{"a key for models", model.Secret, "GET " + keys, "", 401},
		{"an admin key used for models", "admin", "GET /v1/models", "", 401},
		{"the making of a key", "admin", "POST " + keys, `{"name":"a"}`, 404},
		{"too many at once", "admin", "GET " + keys + "?limit=1001", "", 400},
		{"a cursor of another list", "admin", "GET " + keys + "?after_id=x", "", 400},
		{"an unknown key", "admin", "GET " + keys + "/x", "", 404},
		{"a change of an unknown key", "admin", "POST " + keys + "/x", `{"status":"inactive"}`, 404},
		{"an unknown member", "admin", "POST " + keys + "/" + model.ID, `{"state":"inactive"}`, 400},
		{"an unknown status", "admin", "POST " + keys + "/" + model.ID, `{"status":"expired"}`, 400},
		{"all is well", "admin", "POST " + keys + "/" + model.ID, `{"status":"archived"}`, 200},
		{"a change of what is archived", "admin", "POST " + keys + "/" + model.ID, `{"status":"active"}`, 400},
		{"a key that is archived", model.Secret, "GET /v1/models", "", 401},
	} {
		for _, version := range []string{"", "2023-06-01"} {
			method, path, _ := strings.Cut(test.request, " ")
			request := httptest.NewRequest(method, path, strings.NewReader(test.body))
			request.Header = http.Header{"X-Api-Key": {test.key}, "Content-Type": {"application/json"}, "Anthropic-Version": {version}}
			recorder := httptest.NewRecorder()
			server.ServeHTTP(recorder, request)
			want := test.want
			if version == "" {
				want = 400
			}
			if recorder.Code != want {
				t.Errorf("%s, version %q: got %d %s, want %d", test.name, version, recorder.Code, recorder.Body, want)
			}
		}
	}
}
