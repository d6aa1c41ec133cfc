package keyvault_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/postern-ai/postern/localdev/fake/fault"
	"github.com/postern-ai/postern/localdev/fake/keyvault"
)

// vault is a stand-in and a caller of it.
type vault struct {
	t      *testing.T
	server *keyvault.Server
	token  string
}

func newVault(t *testing.T, options keyvault.Options) *vault {
	t.Helper()
	options.Caller = func(token string) (string, bool) { return "appid=a", token == "good" }
	return &vault{t: t, server: keyvault.New(options), token: "good"}
}

func (v *vault) send(call string) *httptest.ResponseRecorder {
	v.t.Helper()
	verb, rest, _ := strings.Cut(call, " ")
	path, body, _ := strings.Cut(rest, " ")
	if !strings.Contains(path, "api-version=") {
		path += "?api-version=7.5"
	}
	request := httptest.NewRequest(verb, "https://my-vault.vault.azure.net"+path, strings.NewReader(body))
	if v.token != "" {
		request.Header.Set("Authorization", "Bearer "+v.token)
	}
	recorder := httptest.NewRecorder()
	v.server.ServeHTTP(recorder, request)
	return recorder
}

// see makes a call such as "PUT /secrets/x {body}" and returns its outcome as text: status and codes of an error, or the named members.
func (v *vault) see(call string, members ...string) string {
	v.t.Helper()
	recorder := v.send(call)
	var reply map[string]any
	if recorder.Code != http.StatusNoContent {
		if err := json.Unmarshal(recorder.Body.Bytes(), &reply); err != nil {
			v.t.Fatalf("%s: %v in %q", call, err, recorder.Body)
		}
	}
	if failure, ok := reply["error"].(map[string]any); ok {
		text := fmt.Sprint(recorder.Code, " ", failure["code"])
		if inner, ok := failure["innererror"].(map[string]any); ok {
			text += fmt.Sprint(" ", inner["code"])
		}
		return text
	}
	values := []string{fmt.Sprint(recorder.Code)}
	for _, member := range members {
		var value any = reply
		for part := range strings.SplitSeq(member, ".") {
			value = value.(map[string]any)[part]
		}
		if number, ok := value.(float64); ok {
			value = int64(number)
		}
		values = append(values, fmt.Sprint(value))
	}
	return strings.Join(values, " ")
}

func (v *vault) want(call, want string, members ...string) {
	v.t.Helper()
	if got := v.see(call, members...); got != want {
		v.t.Errorf("%s\ngot  %s\nwant %s", call, got, want)
	}
}

// set makes a version and returns its id.
func (v *vault) set(name, value string) string {
	v.t.Helper()
	fields := strings.Fields(v.see(`PUT /secrets/`+name+` {"value":"`+value+`"}`, "id", "value"))
	if len(fields) != 3 || fields[0] != "200" || fields[2] != value {
		v.t.Fatalf("got %v", fields)
	}
	return fields[1][strings.LastIndex(fields[1], "/")+1:]
}

func TestTheNewestVersionIsRead(t *testing.T) {
	t.Parallel()
	v := newVault(t, keyvault.Options{})
	one, two := v.set("key", "one"), v.set("key", "two")
	for path, want := range map[string]string{"/secrets/key": "two", "/secrets/key/": "two", "/secrets/KEY": "two", "/secrets/key/" + one: "one", "/secrets/key/" + two + "/": "two"} {
		v.want("GET "+path, "200 "+want, "value")
	}
	v.want("GET /secrets/key", "200 https://my-vault.vault.azure.net/secrets/key/"+two+" true 90", "id", "attributes.enabled", "attributes.recoverableDays")
	v.want("GET /secrets/key/"+strings.Repeat("0", 32), "404 SecretNotFound")
	v.want("GET /secrets/other", "404 SecretNotFound")
}

func TestAttributesAndTagsBelongToAVersion(t *testing.T) {
	t.Parallel()
	v := newVault(t, keyvault.Options{})
	one := v.set("key", "one")
	v.want(`PUT /secrets/key {"value":"two","contentType":"text/plain","tags":{"CredentialId":"key1"},"attributes":{"enabled":true,"nbf":1,"exp":2}}`,
		"200 text/plain key1 1 2", "contentType", "tags.CredentialId", "attributes.nbf", "attributes.exp")
	// The dates are long past, and it is read all the same.
	v.want("GET /secrets/key", "200 two 2", "value", "attributes.exp")
	v.want(`PATCH /secrets/key/`+one+` {"tags":{"a":"b"},"attributes":{"enabled":false}}`, "200 b false", "tags.a", "attributes.enabled")
	v.want("GET /secrets/key/"+one, "403 Forbidden SecretDisabled")
	v.want("GET /secrets/key", "200 two", "value")
	v.want(`PUT /secrets/key {"value":"three","attributes":{"enabled":false}}`, "200 false", "attributes.enabled")
	v.want("GET /secrets/key", "403 Forbidden SecretDisabled")
}

func TestVersionsAreListedInNoOrder(t *testing.T) {
	t.Parallel()
	v := newVault(t, keyvault.Options{})
	want := map[string]bool{}
	for i := range 60 {
		want[v.set("key", fmt.Sprint(i))] = true
	}
	var listed []string
	path := "/secrets/key/versions?api-version=7.5"
	pages := 0
	for path != "" {
		var reply struct {
			Value []struct {
				ID    string
				Value *string
			}
			NextLink *string
		}
		if err := json.Unmarshal(v.send("GET "+path).Body.Bytes(), &reply); err != nil {
			t.Fatal(err)
		}
		for _, item := range reply.Value {
			listed = append(listed, item.ID[strings.LastIndex(item.ID, "/")+1:])
			if item.Value != nil {
				t.Error("a list holds values")
			}
		}
		path = ""
		if reply.NextLink != nil {
			path = strings.TrimPrefix(*reply.NextLink, "https://my-vault.vault.azure.net:443")
		}
		pages++
	}
	if pages != 3 || len(listed) != 60 || !slices.IsSorted(listed) || len(slices.Compact(listed)) != 60 || !want[listed[0]] {
		t.Errorf("listed %d versions on %d pages", len(listed), pages)
	}
	v.want("GET /secrets/key/versions?api-version=7.5&maxresults=26", "400 BadParameter")
	v.want("GET /secrets/other/versions", "200 []", "value")
}

func TestADeletedNameIsTaken(t *testing.T) {
	t.Parallel()
	v := newVault(t, keyvault.Options{})
	v.set("key", "one")
	v.want("DELETE /secrets/key", "200 https://my-vault.vault.azure.net/deletedsecrets/key", "recoveryId")
	v.want("GET /secrets/key", "404 SecretNotFound")
	v.want(`PUT /secrets/key {"value":"two"}`, "409 Conflict ObjectIsDeletedButRecoverable")
	v.want("GET /deletedsecrets/key", "200 https://my-vault.vault.azure.net/deletedsecrets/key", "recoveryId")
	v.want("POST /deletedsecrets/key/recover", "200")
	v.want("GET /secrets/key", "200 one", "value")
	v.want("GET /deletedsecrets/key", "404 SecretNotFound")
	v.want("POST /deletedsecrets/key/recover", "404 SecretNotFound")
	v.want("DELETE /secrets/key", "200")
	v.want("DELETE /deletedsecrets/key", "204")
	v.want("DELETE /deletedsecrets/key", "404 SecretNotFound")
	v.set("key", "two")
	v.want("DELETE /secrets/other", "404 SecretNotFound")
}

func TestACallerWithoutATokenIsToldWhereToGetOne(t *testing.T) {
	t.Parallel()
	v := newVault(t, keyvault.Options{Tenant: "11111111-2222-4333-8444-555555555555"})
	for _, token := range []string{"", "bad"} {
		v.token = token
		// Even a request that is otherwise wrong gets the challenge.
		recorder := v.send("PUT /secrets/key?api-version=none")
		want := `Bearer authorization="https://login.microsoftonline.com/11111111-2222-4333-8444-555555555555", resource="https://vault.azure.net"`
		if got := recorder.Header().Get("WWW-Authenticate"); recorder.Code != http.StatusUnauthorized || got != want {
			t.Errorf("token %q: got %d %s", token, recorder.Code, got)
		}
	}
}

func TestWhatTheServiceRefuses(t *testing.T) {
	t.Parallel()
	tags := strings.TrimSuffix(strings.Repeat(`"%d":"",`, 16), ",")
	for _, test := range []struct{ name, call, want string }{
		{"no API version", "GET /secrets/key?api-version=", "400 BadParameter"},
		{"an unknown API version", "GET /secrets/key?api-version=6.0", "400 BadParameter"},
		{"a path of something else", "GET /keys/key", "404 NotFound"},
		{"a verb that a version does not have", "DELETE /secrets/key/versions", "404 NotFound"},
		{"a name with an underscore", `PUT /secrets/a_b {"value":"x"}`, "400 BadParameter"},
		{"no value", `PUT /secrets/new {}`, "400 BadParameter"},
		{"no body", `PUT /secrets/new`, "400 BadParameter"},
		{"a value of another type", `PUT /secrets/new {"value":1}`, "400 BadParameter"},
		{"an unknown member", `PUT /secrets/new {"value":"x","expires":1}`, "400 BadParameter"},
		{"a value that is too large", `PUT /secrets/new {"value":"` + strings.Repeat("x", 25<<10+1) + `"}`, "400 BadParameter"},
		{"too many tags", `PUT /secrets/new {"value":"x","tags":{` + fmt.Sprintf(tags, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16) + `}}`, "400 BadParameter"},
		{"a tag that is too long", `PUT /secrets/new {"value":"x","tags":{"a":"` + strings.Repeat("x", 257) + `"}}`, "400 BadParameter"},
		{"a content type that is too long", `PUT /secrets/new {"value":"x","contentType":"` + strings.Repeat("x", 256) + `"}`, "400 BadParameter"},
		{"dates in the wrong order", `PUT /secrets/new {"value":"x","attributes":{"nbf":2,"exp":1}}`, "400 BadParameter"},
		{"another value for a version", `PATCH /secrets/key/{id} {"value":"x"}`, "400 BadParameter"},
		{"a change that is half wrong", `PATCH /secrets/key/{id} {"contentType":"x","attributes":{"nbf":2,"exp":1}}`, "400 BadParameter"},
		{"an update of what is not there", `PATCH /secrets/key/00000000000000000000000000000000 {}`, "404 SecretNotFound"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			v := newVault(t, keyvault.Options{})
			id := v.set("key", "one")
			v.want(strings.Replace(test.call, "{id}", id, 1), test.want)
			v.want("GET /secrets/key", "200 one <nil>", "value", "contentType")
		})
	}
}

func TestTLSIsRequired(t *testing.T) {
	t.Parallel()
	v := newVault(t, keyvault.Options{})
	recorder := httptest.NewRecorder()
	v.server.ServeHTTP(recorder, httptest.NewRequest(http.MethodGet, "http://my-vault.vault.azure.net/secrets/key?api-version=7.5", nil))
	if recorder.Code != http.StatusForbidden || recorder.Header().Get("WWW-Authenticate") != "" {
		t.Errorf("got %d", recorder.Code)
	}
}

func TestRightsAreNeeded(t *testing.T) {
	t.Parallel()
	var asked []keyvault.Access
	v := newVault(t, keyvault.Options{Allow: func(access keyvault.Access) bool {
		asked = append(asked, access)
		return access.Action == "Microsoft.KeyVault/vaults/secrets/getSecret/action"
	}})
	v.server.Seed(keyvault.Secret{Name: "key", Text: "one", Created: time.Unix(1, 0), NotBefore: time.Unix(2, 0), Expires: time.Unix(3, 0)})
	v.want("GET /secrets/key", "200 one 1 2 3", "value", "attributes.created", "attributes.nbf", "attributes.exp")
	v.want("GET /secrets/key/versions", "403 Forbidden ForbiddenByRbac")
	want := keyvault.Access{Caller: "appid=a", Action: "Microsoft.KeyVault/vaults/secrets/readMetadata/action", Secret: "key"}
	if len(asked) != 2 || asked[1] != want {
		t.Errorf("asked for %+v", asked)
	}
}

func TestOperationsAreBrokenByName(t *testing.T) {
	t.Parallel()
	v := newVault(t, keyvault.Options{})
	v.server.Faults.After("SetSecret").Set(fault.Fault{Status: 503, Body: `{"error":{"code":"x"}}`, Times: 1})
	v.want(`PUT /secrets/key {"value":"one"}`, "503 x")
	v.want("GET /secrets/key", "200 one", "value")
}
