package gcpsecrets_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postern-ai/postern/localdev/contract"
	"github.com/postern-ai/postern/localdev/fake/fault"
	"github.com/postern-ai/postern/localdev/fake/gcpsecretmanager"
	"github.com/postern-ai/postern/shared/secrets"
	"github.com/postern-ai/postern/shared/secrets/gcpsecrets"
	"github.com/postern-ai/postern/shared/secrets/secretstest"
)

// issuer gives out access tokens, the newest of which is good.
type issuer struct {
	mu      sync.Mutex
	issued  int
	expired bool
	err     error
}

func (i *issuer) token(n int) string { return secretstest.Canary + "-token-" + strconv.Itoa(n) }

func (i *issuer) member(token string) (string, bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	return "serviceAccount:gateway", token == i.token(i.issued) && !i.expired
}

// Authorize implements secrets.Authorizer.
func (i *issuer) Authorize(request *http.Request) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if err := request.Context().Err(); err != nil {
		return err
	}
	request.Header.Set("Authorization", "Bearer "+i.token(i.issued))
	return i.err
}

// Rejected implements secrets.Authorizer.
func (i *issuer) Rejected(request *http.Request) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if request.Header.Get("Authorization") == "Bearer "+i.token(i.issued) {
		i.issued, i.expired = i.issued+1, false
	}
}

func (i *issuer) set(change func(*issuer)) {
	i.mu.Lock()
	defer i.mu.Unlock()
	change(i)
}

// world is a stand-in, and a reader of it.
type world struct {
	*issuer
	t      *testing.T
	server *gcpsecretmanager.Server
	reader *gcpsecrets.Reader
	// options reach the stand-in at the host, and do is how an operator does.
	options gcpsecrets.Options
	host    string
	do      func(*http.Request) (status int, body []byte)
	denied  sync.Map // permissions that the reader does not have
	made    sync.Map // names of secrets
}

func newWorld(t *testing.T, options gcpsecretmanager.Options) *world {
	t.Helper()
	return newHastyWorld(t, options, time.Minute)
}

func newHastyWorld(t *testing.T, options gcpsecretmanager.Options, timeout time.Duration) *world {
	t.Helper()
	w := &world{t: t, issuer: &issuer{}}
	options.Member = func(token string) (string, bool) {
		if token == "operator" {
			return "user:operator", true
		}
		return w.member(token)
	}
	options.Allow = func(access gcpsecretmanager.Access) bool {
		_, denied := w.denied.Load(access.Permission)
		return !denied || access.Member == "user:operator"
	}
	w.server = gcpsecretmanager.New(options)
	listener := httptest.NewServer(checked(t, w.server))
	t.Cleanup(listener.Close)
	w.options = gcpsecrets.Options{Project: "local-project", Authorizer: w.issuer, Endpoint: listener.URL + "/", Timeout: timeout}
	w.do = func(request *http.Request) (int, []byte) {
		request.Header.Set("Authorization", "Bearer operator")
		recorder := httptest.NewRecorder()
		w.server.ServeHTTP(recorder, request)
		return recorder.Code, recorder.Body.Bytes()
	}
	w.open()
	return w
}

// open makes the reader.
func (w *world) open() {
	w.t.Helper()
	var err error
	if w.reader, err = gcpsecrets.New(w.options); err != nil {
		w.t.Fatal(err)
	}
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
			if problem.OfRequest() {
				t.Error(problem)
			}
		}
	})
}

// operate makes a call as somebody who may do everything.
func (w *world) operate(verb, rest string) {
	w.t.Helper()
	w.call(verb, rest, new(any))
}

// call makes such a call about a secret, or about all of them, and reads the reply.
func (w *world) call(verb, rest string, into any) {
	w.t.Helper()
	if status, body := w.try(verb, rest, into); status != http.StatusOK {
		w.t.Errorf("%s %s: %d %s", verb, rest, status, body)
	}
}

func (w *world) try(verb, rest string, into any) (int, []byte) {
	w.t.Helper()
	path, body, _ := strings.Cut(rest, " ")
	if !strings.HasPrefix(path, "?") {
		path = "/" + path
	}
	status, reply := w.do(httptest.NewRequest(verb, w.host+"/v1/projects/"+w.options.Project+"/secrets"+path, strings.NewReader(body)))
	if err := json.Unmarshal(reply, into); err != nil {
		w.t.Error(err)
	}
	return status, reply
}

func (w *world) put(name, text string) string {
	return w.server.Seed(gcpsecretmanager.Secret{Name: name, Text: text})
}

func TestConformance(t *testing.T) {
	t.Parallel()
	secretstest.TestReader(t, func(t *testing.T, timeout time.Duration) secretstest.Store {
		w := newHastyWorld(t, gcpsecretmanager.Options{}, timeout)
		newest := map[string]string{}
		return secretstest.Store{
			Reader: w.reader,
			Ref:    func(name string) secrets.Ref { return secrets.Ref{Store: secrets.StoreGCP, Name: name} },
			Put: func(p secretstest.Put) string {
				newest[p.Name] = w.put(p.Name, p.Text)
				return newest[p.Name]
			},
			Delete:       func(name string) { w.operate("DELETE", name) },
			Withdraw:     func(name string) { w.operate("POST", name+"/versions/"+newest[name]+":disable {}") },
			Deny:         func() { w.denied.Store("secretmanager.versions.access", true) },
			Permission:   "secretmanager.versions.access",
			Expire:       func() { w.set(func(i *issuer) { i.expired = true }) },
			LoseIdentity: func(err error) { w.set(func(i *issuer) { i.err = err }) },
			Break:        func(b secretstest.Broken) { w.server.Faults.Before("").Set(broken(b)) },
			Calls:        func() int { return w.server.Faults.Before("").Calls() },
		}
	})
}

func broken(b secretstest.Broken) fault.Fault {
	f := fault.Fault{Status: b.Status, Header: b.Header, Body: b.Body, Hangup: b.Hangup}
	if b.Status == 0 && !b.Hangup {
		f.Delay = time.Hour
	}
	return f
}

// TestConformanceWithAliases is the same for secrets whose aliases somebody keeps.
func TestConformanceWithAliases(t *testing.T) {
	t.Parallel()
	secretstest.TestReader(t, func(t *testing.T, timeout time.Duration) secretstest.Store {
		w := newHastyWorld(t, gcpsecretmanager.Options{}, timeout)
		return secretstest.Store{
			Reader: w.reader,
			Ref: func(name string) secrets.Ref {
				return secrets.Ref{Store: secrets.StoreGCP, Name: "projects/123456789/secrets/" + name}
			},
			Put: func(p secretstest.Put) string {
				version := w.put(p.Name, p.Text)
				n, _ := strconv.Atoi(version)
				aliases := `"current":` + version
				if n > 1 {
					aliases += `,"previous":` + strconv.Itoa(n-1)
				}
				w.operate("PATCH", p.Name+`?updateMask=versionAliases {"versionAliases":{`+aliases+`}}`)
				return version
			},
			Delete:       func(name string) { w.operate("DELETE", name) },
			Deny:         func() { w.denied.Store("secretmanager.versions.access", true) },
			Permission:   "secretmanager.versions.access",
			Expire:       func() { w.set(func(i *issuer) { i.expired = true }) },
			LoseIdentity: func(err error) { w.set(func(i *issuer) { i.err = err }) },
			Break:        func(b secretstest.Broken) { w.server.Faults.Before("").Set(broken(b)) },
			Calls:        func() int { return w.server.Faults.Before("").Calls() },
		}
	})
}

// see reads both versions and returns them as text.
func (w *world) see(name string) string {
	w.t.Helper()
	one := func(read func(context.Context, secrets.Ref) (secrets.Secret, error)) string {
		got, err := read(w.t.Context(), secrets.Ref{Name: name})
		if err != nil {
			return "(" + strings.TrimPrefix(err.Error(), `read secret "`+name+`": `) + ")"
		}
		return got.Version + "=" + got.Value.Reveal()
	}
	return one(w.reader.Current) + " " + one(w.reader.Previous)
}

func (w *world) want(step, name, want string) {
	w.t.Helper()
	if got := w.see(name); got != want {
		w.t.Errorf("%s:\ngot  %s\nwant %s", step, got, want)
	}
}

func TestARotationIsSeenStepByStep(t *testing.T) {
	t.Parallel()
	w := newWorld(t, gcpsecretmanager.Options{})
	const none = "(there is no previous version)"
	w.put("key", "one")
	w.want("before anybody rotates", "key", "1=one "+none)
	w.put("key", "two")
	w.want("with a second version, and no alias", "key", "2=two 1=one")
	w.operate("PATCH", `key?updateMask=versionAliases {"versionAliases":{"current":2}}`)
	w.want("with the first alias", "key", "2=two "+none)
	w.put("key", "three")
	w.want("with a pending version", "key", "2=two "+none)
	w.operate("PATCH", `key?updateMask=versionAliases {"versionAliases":{"current":3,"previous":2}}`)
	w.want("after the promotion", "key", "3=three 2=two")
	w.operate("POST", `key/versions/2:disable {}`)
	w.want("after the grace", "key", "3=three "+none)
	w.operate("POST", `key/versions/3:disable {}`)
	w.want("when the current version is disabled", "key", "(this version is disabled or destroyed) "+none)
}

func TestTheNewestEnabledVersionIsFoundWithoutAliases(t *testing.T) {
	t.Parallel()
	w := newWorld(t, gcpsecretmanager.Options{})
	for i := range 130 {
		w.put("key", "v"+strconv.Itoa(i+1))
	}
	for n := 21; n <= 130; n++ {
		w.operate("POST", "key/versions/"+strconv.Itoa(n)+":disable {}")
	}
	w.operate("POST", "key/versions/19:destroy {}")
	w.want("far behind the newest", "key", "20=v20 18=v18")
	w.denied.Store("secretmanager.versions.list", true)
	const listing = "(this function's service account may not list its versions, which is needed because no alias says which one is meant; " +
		"give it secretmanager.versions.list (roles/secretmanager.viewer) or give the version an alias)"
	w.want("without the right to list", "key", listing+" "+listing)
	w.operate("POST", "key/versions/130:enable {}")
	w.want("when the newest is enabled", "key", "130=v130 "+listing)
	for n := 1; n <= 130; n++ {
		if n != 19 {
			w.operate("POST", "key/versions/"+strconv.Itoa(n)+":destroy {}")
		}
	}
	w.denied.Delete("secretmanager.versions.list")
	w.want("when nothing is enabled", "key", "(none of its versions is enabled) (there is no previous version)")
}

func TestOneCallIsEnoughForAnAlias(t *testing.T) {
	t.Parallel()
	w := newWorld(t, gcpsecretmanager.Options{})
	w.put("key", "one")
	calls := func() int { return w.server.Faults.Before("").Calls() }
	if _, err := w.reader.Read(t.Context(), secrets.Ref{Name: "key"}); err != nil || calls() != 2 {
		t.Errorf("without an alias it took %d calls, error %v", calls(), err)
	}
	w.operate("PATCH", `key?updateMask=versionAliases {"versionAliases":{"current":1}}`)
	before := calls()
	if _, err := w.reader.Read(t.Context(), secrets.Ref{Name: "key"}); err != nil || calls() != before+1 {
		t.Errorf("with an alias it took %d calls, error %v", calls()-before, err)
	}
}

func TestAReferenceIsReadInEveryForm(t *testing.T) {
	t.Parallel()
	w := newWorld(t, gcpsecretmanager.Options{})
	w.put("VERTEX_JSON", `{"a":"old"}`)
	w.put("VERTEX_JSON", `{"a":"new"}`)
	w.operate("PATCH", `VERTEX_JSON?updateMask=versionAliases {"versionAliases":{"stable":1}}`)
	for _, test := range []struct{ name, ref, want string }{
		{"a plain name", "VERTEX_JSON#a", "new"},
		{"a name", "gcp-sm://VERTEX_JSON#a", "new"},
		{"a number", "gcp-sm://VERTEX_JSON?version=1#a", "old"},
		{"an alias", "gcp-sm://VERTEX_JSON?version=stable#a", "old"},
		{"a resource name", "projects/local-project/secrets/VERTEX_JSON#a", "new"},
		{"a resource name with a version", "gcp-sm://projects/123456789/secrets/VERTEX_JSON/versions/1#a", "old"},
		{"braces", "{vault://gcp/VERTEX_JSON}", `{"a":"new"}`},
		{"braces with a field and a version", "{vault://gcp/VERTEX_JSON/a#1}", "old"},
	} {
		t.Run(test.name, func(t *testing.T) {
			ref, err := secrets.ParseRef(test.ref)
			if err != nil {
				t.Fatal(err)
			}
			got, err := w.reader.Read(t.Context(), ref)
			if err != nil || got.Reveal() != test.want {
				t.Errorf("got %q and error %v", got.Reveal(), err)
			}
		})
	}
}

// hosts records where requests go, and sends none.
type hosts struct {
	mu   sync.Mutex
	seen []string
}

func (h *hosts) RoundTrip(request *http.Request) (*http.Response, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.seen = append(h.seen, request.URL.String())
	return nil, errors.New("no network")
}

func TestASecretOfALocationIsReadThere(t *testing.T) {
	t.Parallel()
	transport := &hosts{}
	reader, err := gcpsecrets.New(gcpsecrets.Options{Project: "p", Authorizer: &issuer{}, Transport: transport})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"key", "projects/q/locations/europe-west3/secrets/key"} {
		if _, err := reader.Read(t.Context(), secrets.Ref{Name: name, Version: "3"}); err == nil {
			t.Error("there is a network")
		}
	}
	want := "https://secretmanager.googleapis.com/v1/projects/p/secrets/key/versions/3:access " +
		"https://secretmanager.europe-west3.rep.googleapis.com/v1/projects/q/locations/europe-west3/secrets/key/versions/3:access"
	if got := strings.Join(transport.seen, " "); got != want {
		t.Errorf("got %s", got)
	}

	w := newWorld(t, gcpsecretmanager.Options{Location: "europe-west3"})
	w.put("key", "there")
	got, err := w.reader.Read(t.Context(), secrets.Ref{Name: "projects/local-project/locations/europe-west3/secrets/key"})
	if err != nil || got.Reveal() != "there" {
		t.Errorf("got %q and error %v", got.Reveal(), err)
	}
}

func TestErrorsSayWhatToDo(t *testing.T) {
	t.Parallel()
	refusal := func(code int, status string) fault.Fault {
		return fault.Fault{Status: code, Body: `{"error":{"code":` + strconv.Itoa(code) + `,"status":"` + status + `","message":"` + secretstest.Canary + `"}}`}
	}
	for _, test := range []struct {
		name  string
		fault fault.Fault
		want  string
	}{
		{"no right", refusal(403, "PERMISSION_DENIED"), "this function's service account may not read it; it needs secretmanager.versions.access (roles/secretmanager.secretAccessor) on this secret"},
		{"no such secret", refusal(404, "NOT_FOUND"), "Google Secret Manager has no such secret or version"},
		{"a name that is not taken", refusal(400, "INVALID_ARGUMENT"), "Google Secret Manager does not take this name or version"},
		{"a token that is not accepted", refusal(401, "UNAUTHENTICATED"), "Google does not accept this function's access token"},
		{"a quota", refusal(429, "RESOURCE_EXHAUSTED"), "the store is throttling (429)"},
		{"an outage", refusal(503, "UNAVAILABLE"), "the store has failed (503)"},
		{"a proxy's refusal", fault.Fault{Status: 403, Body: "<html>" + secretstest.Canary}, "the store answers with status 403"},
		{"a proxy's page", fault.Fault{Status: 404, Body: "<html>" + secretstest.Canary}, "the store answers with status 404"},
		{"a damaged reply", fault.Fault{Status: 200, Body: `{"name":"projects/1/secrets/key/versions/1","payload":{"data":"b25l","dataCrc32c":"1"}}`}, "the store's reply was damaged on its way: the checksum differs"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, gcpsecretmanager.Options{})
			w.server.Faults.Before("").Set(test.fault)
			_, err := w.reader.Read(t.Context(), secrets.Ref{Name: "key"})
			if want := `read secret "key": ` + test.want; err == nil || err.Error() != want {
				t.Errorf("got  %v\nwant %s", err, want)
			}
		})
	}
}

func TestATokenIsReplacedOnlyOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, gcpsecretmanager.Options{})
	w.server.Faults.Before("").Set(fault.Fault{Status: 401})
	if _, err := w.reader.Read(t.Context(), secrets.Ref{Name: "key"}); err == nil || w.server.Faults.Before("").Calls() != 2 {
		t.Errorf("got error %v after %d calls, want 2", err, w.server.Faults.Before("").Calls())
	}
}

func TestOptionsAreChecked(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name    string
		options gcpsecrets.Options
		want    string
	}{
		{"no authorizer", gcpsecrets.Options{}, "need an authorizer"},
		{"an endpoint without TLS", gcpsecrets.Options{Authorizer: &issuer{}, Endpoint: "http://example.com"}, "https://"},
		{"an endpoint with a path", gcpsecrets.Options{Authorizer: &issuer{}, Endpoint: "https://example.com/v1"}, "scheme and host"},
	} {
		if _, err := gcpsecrets.New(test.options); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v", test.name, err)
		}
	}
	reader, err := gcpsecrets.New(gcpsecrets.Options{Authorizer: &issuer{}})
	if err != nil {
		t.Fatal(err)
	}
	_, err = reader.Read(t.Context(), secrets.Ref{Name: "key"})
	if err == nil || err.Error() != `read secret "key": its project is not known; write projects/PROJECT/secrets/key` {
		t.Errorf("got %v", err)
	}
}

// canned answers every request in one way.
type canned struct {
	status int
	body   string
}

func (c canned) RoundTrip(*http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: c.status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(c.body))}, nil
}

func FuzzReply(f *testing.F) {
	f.Add(200, `{"name":"projects/1/secrets/key/versions/1","payload":{"data":"b25l","dataCrc32c":"714388201"}}`)
	f.Add(200, `{"versions":[{"name":"projects/1/secrets/key/versions/1","state":"ENABLED"}],"nextPageToken":"x"}`)
	f.Add(404, `{"error":{"code":404,"status":"NOT_FOUND","message":"x"}}`)
	f.Add(400, `{"error":{"code":400,"status":"FAILED_PRECONDITION","message":"x"}}`)
	f.Fuzz(func(t *testing.T, status int, body string) {
		if status < 100 || status > 999 {
			return
		}
		reader, err := gcpsecrets.New(gcpsecrets.Options{Project: "p", Authorizer: &issuer{}, Transport: canned{status, body}})
		if err != nil {
			t.Fatal(err)
		}
		for _, read := range []func(context.Context, secrets.Ref) (secrets.Secret, error){reader.Current, reader.Previous} {
			got, err := read(t.Context(), secrets.Ref{Name: "key"})
			var told *secrets.Error
			switch {
			case err == nil && (got.Version == "" || got.Value.IsZero()):
				t.Errorf("a reply without a version or a value is accepted: %q", body)
			case err != nil && (!errors.As(err, &told) || len(body) > 12 && strings.Contains(err.Error(), body)):
				t.Errorf("got %v", err)
			}
		}
	})
}
