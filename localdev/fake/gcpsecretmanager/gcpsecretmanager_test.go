package gcpsecretmanager_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/postern-ai/postern/localdev/contract"
	"github.com/postern-ai/postern/localdev/fake/fault"
	"github.com/postern-ai/postern/localdev/fake/gcpsecretmanager"
)

const secretPath = "/v1/projects/local-project/secrets/key"

// project is a stand-in. What passes to and from it is checked against the vendor's description.
type project struct {
	t       *testing.T
	handler http.Handler
	server  *gcpsecretmanager.Server
	token   string
}

func newProject(t *testing.T, options gcpsecretmanager.Options) *project {
	t.Helper()
	options.Member = func(token string) (string, bool) { return "serviceAccount:a", token == "good" }
	server := gcpsecretmanager.New(options)
	return &project{t: t, server: server, token: "good", handler: checked(t, server)}
}

func checked(t *testing.T, next http.Handler) http.Handler {
	t.Helper()
	dir, ok := contract.Dir()
	if !ok {
		t.Log("the vendors' descriptions are not here, so the traffic is not checked against them")
		return next
	}
	description, err := contract.Google(dir, "secretmanager-v1")
	if err != nil {
		t.Fatal(err)
	}
	return contract.Check(description, next, func(problems ...contract.Problem) {
		for _, problem := range problems {
			if !problem.OfRequest() {
				t.Error(problem)
			}
		}
	})
}

// do makes one call, such as "POST /path?query {body}", and returns the status with what has to be known of the reply.
func (p *project) do(call string) (int, map[string]any) {
	p.t.Helper()
	verb, rest, _ := strings.Cut(call, " ")
	path, body, _ := strings.Cut(rest, " ")
	request := httptest.NewRequest(verb, path, strings.NewReader(body))
	request.Header.Set("Authorization", "Bearer "+p.token)
	if body != "" {
		request.Header.Set("Content-Type", "application/json")
	}
	recorder := httptest.NewRecorder()
	p.handler.ServeHTTP(recorder, request)
	content, _ := io.ReadAll(recorder.Body)
	var reply map[string]any
	if err := json.Unmarshal(content, &reply); err != nil {
		p.t.Fatalf("%s: %v in %q", call, err, content)
	}
	return recorder.Code, reply
}

// see makes a call and returns its outcome as text: the status of an error, or the values of the named members.
func (p *project) see(call string, members ...string) string {
	p.t.Helper()
	code, reply := p.do(call)
	if inner, ok := reply["error"].(map[string]any); ok {
		if inner["code"] != float64(code) {
			p.t.Errorf("%s: the body says %v and the status is %d", call, inner["code"], code)
		}
		return fmt.Sprint(inner["status"])
	}
	var values []string
	for _, member := range members {
		var value any = reply
		for part := range strings.SplitSeq(member, ".") {
			value = value.(map[string]any)[part]
		}
		values = append(values, fmt.Sprint(value))
	}
	return strings.Join(values, " ")
}

func (p *project) want(call, want string, members ...string) {
	p.t.Helper()
	if got := p.see(call, members...); got != want {
		p.t.Errorf("%s\ngot  %s\nwant %s", call, got, want)
	}
}

// start makes a secret with three versions, whose texts are one, two and three.
func (p *project) start() {
	p.t.Helper()
	p.want(`POST /v1/projects/local-project/secrets?secretId=key {"replication":{"automatic":{}},"labels":{"a":"b"},"tags":{},"topics":[],"versionAliases":{}}`, "projects/123456789/secrets/key", "name")
	for i, data := range []string{"b25l", "dHdv", "dGhyZWU="} {
		p.want(`POST `+secretPath+`:addVersion {"payload":{"data":"`+data+`"}}`, fmt.Sprintf("projects/123456789/secrets/key/versions/%d ENABLED", i+1), "name", "state")
	}
}

func TestVersionsAreAccessedByNumberAliasAndLatest(t *testing.T) {
	t.Parallel()
	p := newProject(t, gcpsecretmanager.Options{})
	p.start()
	name := "projects/123456789/secrets/key/versions/"
	access := func(version string) string { return "GET " + secretPath + "/versions/" + version + ":access" }
	p.want(access("2"), name+"2 dHdv 1389933475", "name", "payload.data", "payload.dataCrc32c")
	p.want(access("latest"), name+"3 dGhyZWU=", "name", "payload.data")
	p.want(access("current"), "NOT_FOUND")
	p.want(access("4"), "NOT_FOUND")
	p.want(access("0"), "INVALID_ARGUMENT")
	p.want(access("1x"), "INVALID_ARGUMENT")
	p.want(`PATCH `+secretPath+`?updateMask=versionAliases {"versionAliases":{"current":"2","previous":1}}`, "map[current:2 previous:1]", "versionAliases")
	p.want(access("current"), name+"2 dHdv", "name", "payload.data")
	p.want("GET "+secretPath+"/versions/previous", name+"1", "name")
	p.want(`POST `+secretPath+`/versions/previous:disable {}`, "INVALID_ARGUMENT")
	p.want(strings.Replace(access("2"), "local-project", "123456789", 1), name+"2", "name")
	p.want(strings.Replace(access("2"), "/key/", "/other/", 1), "NOT_FOUND")
	p.want(strings.Replace(access("2"), "local-project", "other-project", 1), "PERMISSION_DENIED")
}

func TestStatesOfVersions(t *testing.T) {
	t.Parallel()
	p := newProject(t, gcpsecretmanager.Options{})
	p.start()
	_, second := p.do("GET " + secretPath + "/versions/2")
	etag, _ := json.Marshal(second["etag"])
	p.want(`POST `+secretPath+`/versions/2:disable {"etag":"other"}`, "FAILED_PRECONDITION")
	p.want(`POST `+secretPath+`/versions/2:disable {"etag":`+string(etag)+`}`, "DISABLED", "state")
	p.want(`POST `+secretPath+`/versions/2:enable {"etag":`+string(etag)+`}`, "FAILED_PRECONDITION")
	p.want("GET "+secretPath+"/versions/2:access", "FAILED_PRECONDITION")
	p.want("GET "+secretPath+"/versions/2", "DISABLED", "state")
	p.want(`POST `+secretPath+`/versions/2:enable`, "ENABLED", "state")
	p.want("GET "+secretPath+"/versions/2:access", "dHdv", "payload.data")
	p.want(`POST `+secretPath+`/versions/3:destroy {}`, "DESTROYED", "state")
	p.want(`POST `+secretPath+`/versions/3:destroy {}`, "FAILED_PRECONDITION")
	p.want(`POST `+secretPath+`/versions/3:enable {}`, "FAILED_PRECONDITION")
	p.want("GET "+secretPath+"/versions/latest:access", "FAILED_PRECONDITION")
	// The vendor's own clients ask for enum values as numbers, which the description does not know.
	p.handler = p.server
	p.want("GET "+secretPath+"/versions/2?$alt=json%3Benum-encoding=int", "1", "state")
}

func TestDestructionCanBeDelayed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newProject(t, gcpsecretmanager.Options{})
		p.start()
		p.want(`PATCH `+secretPath+`?updateMask=versionDestroyTtl {"versionDestroyTtl":"3600s"}`, "INVALID_ARGUMENT")
		p.want(`PATCH `+secretPath+`?updateMask=versionDestroyTtl {"versionDestroyTtl":"86400s"}`, "86400s", "versionDestroyTtl")
		p.want(`POST `+secretPath+`/versions/1:destroy {}`, "DISABLED", "state")
		p.want(`POST `+secretPath+`/versions/2:destroy {}`, "DISABLED", "state")
		p.want(`POST `+secretPath+`/versions/2:enable {}`, "ENABLED <nil>", "state", "scheduledDestroyTime")
		time.Sleep(24 * time.Hour)
		p.want("GET "+secretPath+"/versions/1", "DESTROYED", "state")
		p.want("GET "+secretPath+"/versions/2", "ENABLED", "state")
	})
}

func TestASecretChangesUnderItsEtag(t *testing.T) {
	t.Parallel()
	p := newProject(t, gcpsecretmanager.Options{})
	p.start()
	_, before := p.do("GET " + secretPath)
	etag, _ := json.Marshal(before["etag"])
	promote := `PATCH ` + secretPath + `?updateMask=versionAliases,annotations {"versionAliases":{"current":3},"annotations":{"phase":"promoted"},"etag":` + string(etag) + `}`
	p.want(promote, "map[current:3] map[phase:promoted]", "versionAliases", "annotations")
	p.want(promote, "FAILED_PRECONDITION")
	// A part that is refused takes the rest with it.
	p.want(`PATCH `+secretPath+`?updateMask=annotations,version_aliases {"versionAliases":{"current":9},"annotations":{"phase":"x"}}`, "INVALID_ARGUMENT")
	p.want("GET "+secretPath, "map[current:3] map[phase:promoted] map[a:b]", "versionAliases", "annotations", "labels")
	p.want(`DELETE `+secretPath+`?etag=other`, "FAILED_PRECONDITION")
	p.want(`DELETE `+secretPath, "")
	p.want("GET "+secretPath, "NOT_FOUND")
}

func TestVersionsAreListedNewestFirst(t *testing.T) {
	t.Parallel()
	p := newProject(t, gcpsecretmanager.Options{})
	p.start()
	p.want(`POST `+secretPath+`/versions/2:disable {}`, "DISABLED", "state")
	numbers := func(query string) []string {
		var all []string
		token := ""
		for {
			_, reply := p.do("GET " + secretPath + "/versions?" + query + "&pageToken=" + token)
			versions, _ := reply["versions"].([]any)
			for _, v := range versions {
				name := v.(map[string]any)["name"].(string)
				all = append(all, name[strings.LastIndex(name, "/")+1:])
			}
			var more bool
			if token, more = reply["nextPageToken"].(string); !more {
				return all
			}
		}
	}
	for query, want := range map[string][]string{
		"": {"3", "2", "1"}, "pageSize=1": {"3", "2", "1"}, "filter=state:ENABLED": {"3", "1"}, "filter=state:ENABLED&pageSize=1": {"3", "1"}, "filter=state:DISABLED": {"2"},
	} {
		if diff := cmp.Diff(want, numbers(query)); diff != "" {
			t.Errorf("%s: %s", query, diff)
		}
	}
	p.want("GET "+secretPath+"/versions", "3", "totalSize")
	p.want("GET "+secretPath+"/versions?filter=name:x", "INVALID_ARGUMENT")
	p.want("GET "+secretPath+"/versions?pageSize=x", "INVALID_ARGUMENT")
	p.want("GET "+secretPath+"/versions?pageToken=x", "INVALID_ARGUMENT")
}

func TestWhatTheServiceRefuses(t *testing.T) {
	t.Parallel()
	p := newProject(t, gcpsecretmanager.Options{})
	p.start()
	create := `POST /v1/projects/local-project/secrets?secretId=`
	for _, test := range []struct{ name, call, want string }{
		{"a second secret of the same name", create + `key {"replication":{"automatic":{}}}`, "ALREADY_EXISTS"},
		{"a name with a dot", create + `a.b {"replication":{"automatic":{}}}`, "INVALID_ARGUMENT"},
		{"no replication", create + `new {}`, "INVALID_ARGUMENT"},
		{"two kinds of replication", create + `new {"replication":{"automatic":{},"userManaged":{"replicas":[{}]}}}`, "INVALID_ARGUMENT"},
		{"replication to nowhere", create + `new {"replication":{"userManaged":{"replicas":[]}}}`, "INVALID_ARGUMENT"},
		{"an alias of nothing", create + `new {"replication":{"automatic":{}},"versionAliases":{"current":1}}`, "INVALID_ARGUMENT"},
		{"a label in upper case", create + `new {"replication":{"automatic":{}},"labels":{"A":"b"}}`, "INVALID_ARGUMENT"},
		{"a member that the stand-in does not have", create + `new {"replication":{"automatic":{}},"topics":[{"name":"projects/p/topics/t"}]}`, "INVALID_ARGUMENT"},
		{"an unknown member", create + `new {"replication":{"automatic":{}},"alias":{}}`, "INVALID_ARGUMENT"},
		{"an unknown parameter", `GET ` + secretPath + `?view=FULL`, "INVALID_ARGUMENT"},
		{"another encoding of the reply", `GET ` + secretPath + `?alt=proto`, "INVALID_ARGUMENT"},
		{"no mask", `PATCH ` + secretPath + ` {"labels":{}}`, "INVALID_ARGUMENT"},
		{"a mask of what cannot change", `PATCH ` + secretPath + `?updateMask=replication {}`, "INVALID_ARGUMENT"},
		{"an alias that is reserved", `PATCH ` + secretPath + `?updateMask=versionAliases {"versionAliases":{"latest":1}}`, "INVALID_ARGUMENT"},
		{"an alias that is reserved in another spelling", `PATCH ` + secretPath + `?updateMask=versionAliases {"versionAliases":{"New":1}}`, "INVALID_ARGUMENT"},
		{"an alias of a version that is not there", `PATCH ` + secretPath + `?updateMask=versionAliases {"versionAliases":{"current":4}}`, "INVALID_ARGUMENT"},
		{"an alias that is a number", `PATCH ` + secretPath + `?updateMask=versionAliases {"versionAliases":{"1":1}}`, "INVALID_ARGUMENT"},
		{"annotations that are too large", `PATCH ` + secretPath + `?updateMask=annotations {"annotations":{"a":"` + strings.Repeat("x", 16<<10) + `"}}`, "INVALID_ARGUMENT"},
		{"an annotation with a bad key", `PATCH ` + secretPath + `?updateMask=annotations {"annotations":{"-a":"x"}}`, "INVALID_ARGUMENT"},
		{"an empty payload", `POST ` + secretPath + `:addVersion {"payload":{"data":""}}`, "INVALID_ARGUMENT"},
		{"a payload that is not base64", `POST ` + secretPath + `:addVersion {"payload":{"data":"!"}}`, "INVALID_ARGUMENT"},
		{"a payload that is too large", `POST ` + secretPath + `:addVersion {"payload":{"data":"` + strings.Repeat("AAAA", 22<<10) + `"}}`, "INVALID_ARGUMENT"},
		{"a payload with a wrong checksum", `POST ` + secretPath + `:addVersion {"payload":{"data":"b25l","dataCrc32c":"1"}}`, "INVALID_ARGUMENT"},
		{"a secret of a location at the global endpoint", `GET /v1/projects/local-project/locations/europe-west3/secrets/key`, "INVALID_ARGUMENT"},
		{"a version of another API", `GET /v1beta1/projects/local-project/secrets/key`, "NOT_FOUND"},
		{"a verb that a version does not have", `POST ` + secretPath + `/versions/1:access {}`, "NOT_FOUND"},
	} {
		t.Run(test.name, func(t *testing.T) {
			sub := *p
			sub.t = t
			sub.want(test.call, test.want)
		})
	}
	p.want(`POST `+secretPath+`:addVersion {"payload":{"data":"dHdv","dataCrc32c":"1389933475"}}`, "true", "clientSpecifiedPayloadChecksum")
}

func TestARegionalEndpointHasItsOwnSecrets(t *testing.T) {
	t.Parallel()
	p := newProject(t, gcpsecretmanager.Options{Location: "europe-west3"})
	base := "/v1/projects/local-project/locations/europe-west3/secrets"
	p.want(`POST `+base+`?secretId=key {"replication":{"automatic":{}}}`, "INVALID_ARGUMENT")
	p.want(`POST `+base+`?secretId=key {}`, "projects/123456789/locations/europe-west3/secrets/key", "name")
	p.want(`POST `+base+`/key:addVersion {"payload":{"data":"b25l"}}`, "projects/123456789/locations/europe-west3/secrets/key/versions/1", "name")
	p.want(`GET `+base+`/key/versions/1:access`, "b25l", "payload.data")
	p.want(`GET `+secretPath, "INVALID_ARGUMENT")
}

func TestPermissionsAreNeeded(t *testing.T) {
	t.Parallel()
	var asked []string
	p := newProject(t, gcpsecretmanager.Options{Allow: func(access gcpsecretmanager.Access) bool {
		asked = append(asked, access.Permission+" "+access.Resource)
		return access.Permission == "secretmanager.versions.access"
	}})
	if version := p.server.Seed(gcpsecretmanager.Secret{Name: "key", Text: "one"}); version != "1" {
		t.Errorf("got version %s", version)
	}
	p.want("GET "+secretPath+"/versions/1:access", "b25l", "payload.data")
	p.want("GET "+secretPath+"/versions", "PERMISSION_DENIED")
	if want := "secretmanager.versions.list projects/123456789/secrets/key"; len(asked) != 2 || asked[1] != want {
		t.Errorf("asked for %q", asked)
	}
	p.token = "bad"
	p.want("GET "+secretPath+"/versions/1:access", "UNAUTHENTICATED")
}

func TestChangesHaveAQuota(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newProject(t, gcpsecretmanager.Options{Quota: true})
		p.server.Seed(gcpsecretmanager.Secret{Name: "key", Text: "one"})
		add := `POST ` + secretPath + `:addVersion {"payload":{"data":"b25l"}}`
		patch := `PATCH ` + secretPath + `?updateMask=labels {"labels":{}}`
		for range 2 {
			p.want(add, "ENABLED", "state")
			p.want(patch, "")
			p.want(patch, "RESOURCE_EXHAUSTED")
			p.want(add, "RESOURCE_EXHAUSTED")
			p.want(`POST `+secretPath+`/versions/1:disable {}`, "DISABLED", "state")
			p.want(`POST `+secretPath+`/versions/1:enable {}`, "RESOURCE_EXHAUSTED")
			p.want(`POST `+secretPath+`/versions/2:enable {}`, "ENABLED", "state")
			time.Sleep(time.Second)
		}
		p.want("GET "+secretPath+"/versions", "3", "totalSize")
	})
}

func TestMethodsAreBrokenByName(t *testing.T) {
	t.Parallel()
	p := newProject(t, gcpsecretmanager.Options{})
	p.start()
	p.server.Faults.After("addVersion").Set(fault.Fault{Status: 503, Body: `{"error":{"code":503,"status":"UNAVAILABLE","message":"x"}}`, Times: 1})
	p.want(`POST `+secretPath+`:addVersion {"payload":{"data":"b25l"}}`, "UNAVAILABLE")
	p.want("GET "+secretPath+"/versions", "4", "totalSize")
}
