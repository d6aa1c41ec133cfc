package gcs_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/postern-ai/postern/localdev/fake/gcs"
)

func open(allow func(gcs.Access) bool) *gcs.Server {
	return gcs.New(gcs.Options{Buckets: []string{"bucket"}, Allow: allow, Member: func(token string) (string, bool) { return "user:" + token, token == "good" }})
}

// ask makes a request and returns its status and a short form of the answer: the reason of an error, or the body.
func ask(server http.Handler, request *http.Request) (int, string) {
	if request.Header.Get("Authorization") == "" {
		request.Header.Set("Authorization", "Bearer good")
	}
	recorder := httptest.NewRecorder()
	server.ServeHTTP(recorder, request)
	var out struct {
		Error struct {
			Errors []struct {
				Reason string `json:"reason"`
			} `json:"errors"`
		} `json:"error"`
	}
	if err := json.Unmarshal(recorder.Body.Bytes(), &out); err == nil && len(out.Error.Errors) == 1 {
		return recorder.Code, out.Error.Errors[0].Reason
	}
	return recorder.Code, recorder.Body.String()
}

func get(server http.Handler, path string) (int, string) {
	return ask(server, httptest.NewRequest(http.MethodGet, "/storage/v1/b/"+path, nil))
}

const object = `--x
Content-Type: application/json

%
--x
Content-Type: text/plain

content
--x--
`

func upload(server http.Handler, query, properties string) (int, string) {
	body := strings.ReplaceAll(strings.Replace(object, "%", properties, 1), "\n", "\r\n")
	request := httptest.NewRequest(http.MethodPost, "/upload/storage/v1/b/bucket/o?uploadType=multipart&fields=generation&"+query, strings.NewReader(body))
	request.Header.Set("Content-Type", "multipart/related; boundary=x")
	return ask(server, request)
}

func generation(t *testing.T, status int, body string) string {
	t.Helper()
	var out struct {
		Generation string `json:"generation"`
	}
	if err := json.Unmarshal([]byte(body), &out); err != nil || status != http.StatusOK || out.Generation == "" {
		t.Fatalf("got %d %s", status, body)
	}
	return out.Generation
}

func TestConditionsDecide(t *testing.T) {
	t.Parallel()
	server := open(nil)
	want := func(step string, wantStatus int, wantReason string) func(int, string) {
		return func(status int, reason string) {
			t.Helper()
			if status != wantStatus || reason != wantReason {
				t.Errorf("%s: got %d %s", step, status, reason)
			}
		}
	}
	remove := func(query string) (int, string) {
		return ask(server, httptest.NewRequest(http.MethodDelete, "/storage/v1/b/bucket/o/a%2Fb?"+query, nil))
	}
	want("an update of nothing", 412, "conditionNotMet")(upload(server, "ifGenerationMatch=5", `{"name":"a/b"}`))
	status, body := upload(server, "ifGenerationMatch=0", `{"name":"a/b"}`)
	first := generation(t, status, body)
	want("made twice", 412, "conditionNotMet")(upload(server, "ifGenerationMatch=0", `{"name":"a/b"}`))
	want("a number that is none", 400, "invalid")(upload(server, "ifGenerationMatch=x", `{"name":"a/b"}`))
	status, body = upload(server, "ifGenerationMatch="+first, `{"name":"a/b"}`)
	second := generation(t, status, body)
	want("an older generation", 412, "conditionNotMet")(upload(server, "ifGenerationMatch="+first, `{"name":"a/b"}`))
	want("an older generation is deleted", 412, "conditionNotMet")(remove("ifGenerationMatch=" + first))
	want("it is there", 200, "content")(get(server, "bucket/o/a%2Fb?alt=media"))
	want("it is not asked for again", 412, "conditionNotMet")(get(server, "bucket/o/a%2Fb?ifGenerationNotMatch="+second))
	want("the current one is deleted", 204, "")(remove("ifGenerationMatch=" + second))
	want("it is deleted again", 404, "notFound")(remove("ifGenerationMatch=" + second))
	want("it is gone", 404, "No such object: bucket/a/b")(get(server, "bucket/o/a%2Fb?alt=media"))
	status, body = upload(server, "", `{"name":"a/b"}`)
	if third := generation(t, status, body); third <= second {
		t.Errorf("the generation %s comes after %s", third, second)
	}
}

func TestWhatTheServiceRefusesIsRefused(t *testing.T) {
	t.Parallel()
	server := open(nil)
	request := func(change func(*http.Request)) (int, string) {
		r := httptest.NewRequest(http.MethodGet, "/storage/v1/b/bucket/o/x", nil)
		change(r)
		return ask(server, r)
	}
	for _, test := range []struct {
		name   string
		status int
		reason string
		ask    func() (int, string)
	}{
		{"no such bucket", 404, "notFound", func() (int, string) { return get(server, "none/o/x") }},
		{"slashes that are not escaped", 404, "notFound", func() (int, string) { return get(server, "bucket/o/a/b") }},
		{"an unknown parameter", 400, "invalid", func() (int, string) { return get(server, "bucket/o/x?ifMatch=1") }},
		{"a token that is not valid", 401, "authError", func() (int, string) {
			return request(func(r *http.Request) { r.Header.Set("Authorization", "Bearer bad") })
		}},
		{"another scheme", 401, "authError", func() (int, string) {
			return request(func(r *http.Request) { r.Header.Set("Authorization", "Basic good") })
		}},
		{"another method", 404, "notFound", func() (int, string) { return request(func(r *http.Request) { r.Method = http.MethodPut }) }},
		{"an upload elsewhere", 404, "notFound", func() (int, string) {
			return request(func(r *http.Request) { r.Method, r.URL.Path = http.MethodPost, "/storage/v1/b/bucket/o" })
		}},
		{"no name", 400, "required", func() (int, string) { return upload(server, "", `{}`) }},
		{"a name with a line break", 400, "invalid", func() (int, string) { return upload(server, "", `{"name":"a\nb"}`) }},
		{"an unknown property", 400, "parseError", func() (int, string) { return upload(server, "", `{"name":"a","custom":1}`) }},
		{"a date that is none", 400, "parseError", func() (int, string) { return upload(server, "", `{"name":"a","customTime":"soon"}`) }},
		{"no parts", 400, "badContent", func() (int, string) {
			r := httptest.NewRequest(http.MethodPost, "/upload/storage/v1/b/bucket/o?uploadType=multipart", strings.NewReader("{}"))
			r.Header.Set("Content-Type", "application/json")
			return ask(server, r)
		}},
		{"no upload type", 400, "invalid", func() (int, string) {
			return ask(server, httptest.NewRequest(http.MethodPost, "/upload/storage/v1/b/bucket/o?name=a", strings.NewReader("{}")))
		}},
	} {
		if status, reason := test.ask(); status != test.status || reason != test.reason {
			t.Errorf("%s: got %d %s", test.name, status, reason)
		}
	}
}

func TestWhoOverwritesDeletesAndWhoListsLearnsWhatIsMissing(t *testing.T) {
	t.Parallel()
	rights := map[string]bool{"storage.objects.get": true, "storage.objects.create": true}
	server := open(func(a gcs.Access) bool {
		return rights[a.Permission] && a.Bucket == "bucket" && a.Member == "user:good"
	})
	status, body := upload(server, "", `{"name":"a"}`)
	generation(t, status, body)
	if status, reason := upload(server, "", `{"name":"a"}`); status != 403 || reason != "forbidden" {
		t.Errorf("an object is overwritten without the right to delete it: %d %s", status, reason)
	}
	if status, _ := get(server, "bucket/o/b"); status != 403 {
		t.Errorf("who may not list learns what is missing: %d", status)
	}
	rights["storage.objects.list"], rights["storage.objects.delete"] = true, true
	if status, _ := get(server, "bucket/o/b"); status != 404 {
		t.Errorf("got %d", status)
	}
	status, body = upload(server, "", `{"name":"a"}`)
	generation(t, status, body)
}

func TestTheLifecycleDeletesAfterTheCustomTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := open(nil)
		server.Seed(gcs.Object{Bucket: "bucket", Name: "never", Text: "x"})
		status, body := upload(server, "", `{"name":"a","customTime":"2000-01-01T01:00:00Z"}`)
		generation(t, status, body)
		for _, want := range []int{200, 404} {
			server.Sweep()
			if status, _ := get(server, "bucket/o/a"); status != want {
				t.Errorf("got %d, want %d", status, want)
			}
			time.Sleep(2 * time.Hour)
		}
		if status, _ := get(server, "bucket/o/never"); status != 200 {
			t.Errorf("got %d", status)
		}
	})
}
