package blob_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/postern-ai/postern/localdev/fake/blob"
)

func open(allow func(blob.Access) bool) *blob.Server {
	return blob.New(blob.Options{Containers: []string{"container"}, Allow: allow, Caller: func(token string) (string, bool) { return token, token == "good" }})
}

// call is one request. What is empty is as it should be.
type call struct {
	method, path, body string
	header             map[string]string
}

// ask makes the request and returns its status with the error's code or the body.
func ask(server http.Handler, c call) (*httptest.ResponseRecorder, string) {
	if c.method == "" {
		c.method = http.MethodGet
	}
	request := httptest.NewRequest(c.method, c.path, strings.NewReader(c.body))
	header := map[string]string{"Authorization": "Bearer good", "X-Ms-Version": "2023-11-03", "X-Ms-Date": time.Now().UTC().Format(http.TimeFormat)}
	if c.method == http.MethodPut {
		header["X-Ms-Blob-Type"] = "BlockBlob"
	}
	for name, value := range c.header {
		header[name] = value
	}
	for name, value := range header {
		if value != "" {
			request.Header.Set(name, value)
		}
	}
	recorder := httptest.NewRecorder()
	server.ServeHTTP(recorder, request)
	if code := recorder.Header().Get("X-Ms-Error-Code"); code != "" {
		if !strings.Contains(recorder.Body.String(), "<Code>"+code+"</Code>") {
			return recorder, "the body is " + recorder.Body.String()
		}
		return recorder, code
	}
	return recorder, recorder.Body.String()
}

func TestConditionsDecide(t *testing.T) {
	t.Parallel()
	server := open(nil)
	step := func(name string, c call, status int, want string) string {
		t.Helper()
		c.path = "/container/a/b"
		recorder, got := ask(server, c)
		if recorder.Code != status || got != want {
			t.Errorf("%s: got %d %s", name, recorder.Code, got)
		}
		return recorder.Header().Get("Etag")
	}
	put := func(header, value string) call {
		return call{method: http.MethodPut, body: "content", header: map[string]string{header: value}}
	}
	step("an update of nothing", put("If-Match", `"0x1"`), 412, "ConditionNotMet")
	step("an update of whatever there is", put("If-Match", "*"), 412, "ConditionNotMet")
	step("it is not there", call{}, 404, "BlobNotFound")
	first := step("it is made", put("If-None-Match", "*"), 201, "")
	step("it is made twice", put("If-None-Match", "*"), 409, "BlobAlreadyExists")
	second := step("it is updated", put("If-Match", first), 201, "")
	step("an older state", put("If-Match", first), 412, "ConditionNotMet")
	step("anything but the current state", put("If-None-Match", second), 412, "ConditionNotMet")
	step("an older state is deleted", call{method: http.MethodDelete, header: map[string]string{"If-Match": first}}, 412, "ConditionNotMet")
	if got := step("it is read", call{}, 200, "content"); got != second || first == second {
		t.Errorf("the ETags are %s, %s and then %s", first, second, got)
	}
	step("it is deleted", call{method: http.MethodDelete, header: map[string]string{"If-Match": second}}, 202, "")
	step("it is deleted again", call{method: http.MethodDelete, header: map[string]string{"If-Match": second}}, 404, "BlobNotFound")
	if third := step("it is made anew", put("If-None-Match", "*"), 201, ""); third == first || third == second {
		t.Errorf("the ETag %s has come back", third)
	}
	server.Lease(blob.Blob{Container: "container", Name: "a/b"})
	step("another has a lease", put("If-Match", "*"), 412, "LeaseIdMissing")
}

func TestWhatTheServiceRefusesIsRefused(t *testing.T) {
	t.Parallel()
	server := open(nil)
	const there = "/container/x"
	server.Seed(blob.Blob{Container: "container", Name: "x", Text: "a note"})
	one := func(name, value string) map[string]string { return map[string]string{name: value} }
	for _, test := range []struct {
		name   string
		call   call
		status int
		want   string
	}{
		{"nothing wrong", call{path: there}, 200, "a note"},
		{"no token", call{path: there, header: one("Authorization", "")}, 401, "NoAuthenticationInformation"},
		{"a shared key", call{path: there, header: one("Authorization", "SharedKey a:b")}, 401, "NoAuthenticationInformation"},
		{"a token that is not valid", call{path: there, header: one("Authorization", "Bearer bad")}, 401, "InvalidAuthenticationInfo"},
		{"no version", call{path: there, header: one("X-Ms-Version", "")}, 400, "InvalidHeaderValue"},
		{"an unknown version", call{path: there, header: one("X-Ms-Version", "2023-11-04")}, 400, "InvalidHeaderValue"},
		{"a version before tokens", call{path: there, header: one("X-Ms-Version", "2017-07-29")}, 403, "AuthenticationFailed"},
		{"no date", call{path: there, header: one("X-Ms-Date", "")}, 403, "AuthenticationFailed"},
		{"an old date", call{path: there, header: one("X-Ms-Date", time.Now().Add(-16*time.Minute).UTC().Format(http.TimeFormat))}, 403, "AuthenticationFailed"},
		{"no such container", call{path: "/other/x"}, 404, "ContainerNotFound"},
		{"a container", call{path: "/container"}, 400, "InvalidUri"},
		{"another operation", call{path: there + "?comp=lease", method: http.MethodPut}, 400, "InvalidUri"},
		{"a name that ends in a dot", call{path: there + "."}, 400, "InvalidResourceName"},
		{"no type", call{path: there, method: http.MethodPut, header: one("X-Ms-Blob-Type", "")}, 400, "InvalidHeaderValue"},
		{"two conditions", call{path: there, method: http.MethodPut, header: map[string]string{"If-Match": "*", "If-None-Match": "*"}}, 400, "MultipleConditionHeadersNotSupported"},
		{"a date as a condition", call{path: there, method: http.MethodPut, header: one("If-Unmodified-Since", "x")}, 501, "UnsupportedHeader"},
	} {
		recorder, got := ask(server, test.call)
		if recorder.Code != test.status || got != test.want {
			t.Errorf("%s: got %d %s", test.name, recorder.Code, got)
		}
		if challenge := recorder.Header().Get("Www-Authenticate"); (recorder.Code == 401) != strings.Contains(challenge, "resource_id="+blob.Resource) {
			t.Errorf("%s: the challenge is %q", test.name, challenge)
		}
	}
}

func TestOnlyWhoMayDoesAnything(t *testing.T) {
	t.Parallel()
	const actions = "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/"
	may := ""
	server := open(func(a blob.Access) bool { return a.Action == may && a.Container == "container" && a.Caller == "good" })
	server.Seed(blob.Blob{Container: "container", Name: "x", Text: "a note"})
	for _, test := range []struct{ method, action string }{{http.MethodGet, "read"}, {http.MethodPut, "write"}, {http.MethodDelete, "delete"}} {
		for _, path := range []string{"/container/x", "/other/x"} {
			may = ""
			if recorder, got := ask(server, call{method: test.method, path: path}); recorder.Code != 403 || got != "AuthorizationPermissionMismatch" {
				t.Errorf("%s %s without the right: %d %s", test.method, path, recorder.Code, got)
			}
		}
		may = actions + test.action
		if recorder, got := ask(server, call{method: test.method, path: "/container/x"}); recorder.Code >= 300 {
			t.Errorf("%s with the right: %d %s", test.method, recorder.Code, got)
		}
	}
}
