package keyvault_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/postern-ai/postern/localdev/fake/fault"
	fake "github.com/postern-ai/postern/localdev/fake/keyvault"
	"github.com/postern-ai/postern/shared/secrets"
	"github.com/postern-ai/postern/shared/secrets/keyvault"
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

func (i *issuer) caller(token string) (string, bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	return "appid=gateway", token == i.token(i.issued) && !i.expired
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
	t        *testing.T
	server   *fake.Server
	listener *httptest.Server
	reader   *keyvault.Reader
	denied   sync.Map // data actions that the reader may not do
	seeded   atomic.Int64
	made     sync.Map // names of secrets that were made over the API
	// options reach the stand-in, and do is how an operator does.
	options keyvault.Options
	do      func(*http.Request) (status int, body []byte)
}

const (
	getSecret    = "Microsoft.KeyVault/vaults/secrets/getSecret/action"
	readMetadata = "Microsoft.KeyVault/vaults/secrets/readMetadata/action"
	setSecret    = "Microsoft.KeyVault/vaults/secrets/setSecret/action"
	updateSecret = "Microsoft.KeyVault/vaults/secrets/update/action"
)

func newWorld(t *testing.T) *world {
	t.Helper()
	return newHastyWorld(t, time.Minute)
}

func newHastyWorld(t *testing.T, timeout time.Duration) *world {
	t.Helper()
	w := &world{t: t, issuer: &issuer{}}
	w.server = fake.New(fake.Options{
		Caller: func(token string) (string, bool) {
			if token == "operator" {
				return "operator", true
			}
			return w.caller(token)
		},
		Allow: func(access fake.Access) bool {
			_, denied := w.denied.Load(access.Action)
			return !denied || access.Caller == "operator"
		},
	})
	w.listener = httptest.NewUnstartedServer(w.server)
	// Clients that break off in the middle of a handshake are part of these tests.
	w.listener.Config.ErrorLog = log.New(io.Discard, "", 0)
	w.listener.StartTLS()
	t.Cleanup(w.listener.Close)
	w.options = keyvault.Options{Vault: w.listener.URL + "/", Authorizer: w.issuer, Transport: w.listener.Client().Transport, Timeout: timeout}
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
	if w.reader, err = keyvault.New(w.options); err != nil {
		w.t.Fatal(err)
	}
}

// put makes a version that is a second newer than the one before: the service tells seconds only.
func (w *world) put(secret fake.Secret) string {
	secret.Created = time.Now().Add(-30 * time.Second).Add(time.Duration(w.seeded.Add(1)) * time.Second)
	return w.server.Seed(secret)
}

// operate makes a call as somebody who may do everything.
func (w *world) operate(verb, rest string) {
	w.t.Helper()
	path, body, _ := strings.Cut(rest, " ")
	w.tell(verb, path, body)
}

// told is a version as the service tells it.
type told struct {
	ID          string            `json:"id"`
	Value       string            `json:"value"`
	ContentType string            `json:"contentType"`
	Tags        map[string]string `json:"tags"`
	Attributes  struct {
		Expires int64 `json:"exp"`
	} `json:"attributes"`
}

func (w *world) address(path string) string {
	return strings.TrimSuffix(w.options.Vault, "/") + "/secrets/" + path + "?api-version=7.5"
}

// tell makes such a call, and returns what it is told.
func (w *world) tell(verb, path, body string) (got told) {
	w.t.Helper()
	status, reply := w.do(httptest.NewRequest(verb, w.address(path), strings.NewReader(body)))
	if status != http.StatusOK {
		w.t.Errorf("%s %s: %d %s", verb, path, status, reply)
	}
	if err := json.Unmarshal(reply, &got); err != nil {
		w.t.Error(err)
	}
	return got
}

// enter makes a version over the API, and returns its id.
func (w *world) enter(name, body string) string {
	w.t.Helper()
	w.made.Store(name, true)
	id := w.tell("PUT", name, body).ID
	return id[strings.LastIndex(id, "/")+1:]
}

func TestConformance(t *testing.T) {
	t.Parallel()
	secretstest.TestReader(t, func(t *testing.T, timeout time.Duration) secretstest.Store {
		w := newHastyWorld(t, timeout)
		newest := map[string]string{}
		return secretstest.Store{
			Reader: w.reader,
			Ref:    func(name string) secrets.Ref { return secrets.Ref{Store: secrets.StoreKeyVault, Name: name} },
			Put: func(p secretstest.Put) string {
				newest[p.Name] = w.put(fake.Secret{Name: p.Name, Text: p.Text})
				return newest[p.Name]
			},
			Delete:       func(name string) { w.operate("DELETE", name) },
			Withdraw:     func(name string) { w.operate("PATCH", name+"/"+newest[name]+` {"attributes":{"enabled":false}}`) },
			Deny:         func() { w.denied.Store(getSecret, true) },
			Permission:   "Key Vault Secrets User",
			Expire:       func() { w.set(func(i *issuer) { i.expired = true }) },
			LoseIdentity: func(err error) { w.set(func(i *issuer) { i.err = err }) },
			Break: func(b secretstest.Broken) {
				f := fault.Fault{Status: b.Status, Header: b.Header, Body: b.Body, Hangup: b.Hangup}
				if b.Status == 0 && !b.Hangup {
					f.Delay = time.Hour
				}
				w.server.Faults.Before("").Set(f)
			},
			Calls: func() int { return w.server.Faults.Before("").Calls() },
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
		return got.Value.Reveal()
	}
	return one(w.reader.Current) + " " + one(w.reader.Previous)
}

func (w *world) want(step, name, want string) {
	w.t.Helper()
	if got := w.see(name); got != want {
		w.t.Errorf("%s:\ngot  %s\nwant %s", step, got, want)
	}
}

func TestDatesAndStatesDecideWhichVersionIsUsed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const none = "(there is no previous version)"
	past, future := time.Date(2001, 2, 3, 4, 5, 6, 0, time.UTC), time.Date(2191, 2, 3, 4, 5, 6, 0, time.UTC)
	w.put(fake.Secret{Name: "key", Text: "over", Expires: past})
	w.want("an expired version alone", "key", "(this version has expired at 2001-02-03 04:05:06) "+none)
	one := w.put(fake.Secret{Name: "key", Text: "one", Expires: future, NotBefore: past})
	w.want("a version within its dates", "key", "one "+none)
	w.put(fake.Secret{Name: "key", Text: "two"})
	w.want("a version without dates", "key", "two one")
	w.put(fake.Secret{Name: "key", Text: "tomorrow", NotBefore: future})
	w.want("a version that is not valid yet", "key", "two one")
	three := w.put(fake.Secret{Name: "key", Text: "three"})
	w.operate("PATCH", "key/"+three+` {"attributes":{"enabled":false}}`)
	w.want("a version that is disabled", "key", "two one")
	w.operate("PATCH", "key/"+one+` {"attributes":{"enabled":false}}`)
	w.want("a previous version that is disabled", "key", "two "+none)
	w.put(fake.Secret{Name: "other", Text: "tomorrow", NotBefore: future})
	w.want("nothing but a version that is not valid yet", "other", "(this version is not valid before 2191-02-03 04:05:06) "+none)
	got, err := w.reader.Current(t.Context(), secrets.Ref{Name: "key", Version: one})
	if !errors.Is(err, secrets.ErrUnusable) || got.Version != "" {
		t.Errorf("a pinned version that is disabled gives %v", err)
	}
}

func TestTheExpiryIsTold(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	expires := time.Unix(time.Now().Unix()+3600, 0)
	w.put(fake.Secret{Name: "key", Text: "one", Expires: expires})
	got, err := w.reader.Current(t.Context(), secrets.Ref{Name: "key"})
	if err != nil || !got.Expires.Equal(expires) {
		t.Errorf("got %v and error %v, want %v", got.Expires, err, expires)
	}
}

func TestManyVersionsAreSearched(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	base := time.Now().Add(-time.Hour)
	for i := range 120 {
		w.server.Seed(fake.Secret{Name: "key", Text: "v" + strconv.Itoa(i), Created: base.Add(time.Duration(i) * time.Second)})
	}
	w.want("the newest two of many", "key", "v119 v118")
	// Versions of one and the same second are told apart by the service, not by us.
	w.server.Seed(fake.Secret{Name: "key", Text: "same", Created: base.Add(119 * time.Second)})
	w.want("two in one second", "key", "same v119")
}

func TestOneCallIsEnoughForTheNewestVersion(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.put(fake.Secret{Name: "key", Text: "one"})
	w.denied.Store(readMetadata, true)
	if _, err := w.reader.Read(t.Context(), secrets.Ref{Name: "key"}); err != nil || w.server.Faults.Before("").Calls() != 1 {
		t.Errorf("it took %d calls, error %v", w.server.Faults.Before("").Calls(), err)
	}
	_, err := w.reader.Previous(t.Context(), secrets.Ref{Name: "key"})
	if err == nil || errors.Is(err, secrets.ErrNotFound) || !strings.Contains(err.Error(), "Key Vault Secrets User") {
		t.Errorf("without the right to list, the previous version gives %v", err)
	}
}

func TestAListIsFollowedInItsVaultOnly(t *testing.T) {
	t.Parallel()
	var foreign atomic.Int64
	other := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { foreign.Add(1) }))
	defer other.Close()
	for name, next := range map[string]string{"another host": other.URL + "/secrets/key/versions?api-version=7.5&$skiptoken=x", "the same page": "?api-version=7.5", "no address": "://"} {
		w := newWorld(t)
		w.put(fake.Secret{Name: "key", Text: "one"})
		w.server.Faults.Before("GetSecretVersions").Set(fault.Fault{Status: 200, Body: `{"value":[],"nextLink":"` + next + `"}`})
		if _, err := w.reader.Previous(t.Context(), secrets.Ref{Name: "key"}); err == nil || errors.Is(err, secrets.ErrNotFound) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if foreign.Load() != 0 {
		t.Error("the token was sent elsewhere")
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

func TestAVaultIsFoundByItsName(t *testing.T) {
	t.Parallel()
	const id = "0123456789abcdef0123456789abcdef"
	for _, test := range []struct {
		name    string
		options keyvault.Options
		ref     secrets.Ref
		want    string
	}{
		{"the function's own vault", keyvault.Options{Vault: "https://own.vault.azure.net/"}, secrets.Ref{Name: "key"}, "https://own.vault.azure.net/secrets/key?api-version=7.5"},
		{"a vault by its name", keyvault.Options{Vault: "https://own.vault.azure.net/"}, secrets.Ref{Name: "My-Vault/key", Version: id}, "https://my-vault.vault.azure.net/secrets/key/" + id + "?api-version=7.5"},
		{"a vault of another cloud", keyvault.Options{Suffix: "vault.usgovcloudapi.net"}, secrets.Ref{Name: "my-vault/key"}, "https://my-vault.vault.usgovcloudapi.net/secrets/key?api-version=7.5"},
		{"a replaced address", keyvault.Options{Endpoint: "https://127.0.0.1:9105"}, secrets.Ref{Name: "my-vault/key"}, "https://127.0.0.1:9105/secrets/key?api-version=7.5"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			transport := &hosts{}
			test.options.Authorizer, test.options.Transport = &issuer{}, transport
			reader, err := keyvault.New(test.options)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := reader.Read(t.Context(), test.ref); err == nil {
				t.Error("there is a network")
			}
			if got := strings.Join(transport.seen, " "); got != test.want {
				t.Errorf("got %s", got)
			}
		})
	}
}

func TestErrorsSayWhatToDo(t *testing.T) {
	t.Parallel()
	refusal := func(status int, code, inner string) fault.Fault {
		return fault.Fault{Status: status, Body: `{"error":{"code":"` + code + `","message":"` + secretstest.Canary + `","innererror":{"code":"` + inner + `"}}}`}
	}
	const mayNot = "this function's identity may not read it; give it the role Key Vault Secrets User on the vault"
	for _, test := range []struct {
		name  string
		fault fault.Fault
		want  string
	}{
		{"no role", refusal(403, "Forbidden", "ForbiddenByRbac"), mayNot},
		{"no access policy", refusal(403, "Forbidden", "ForbiddenByPolicy"), mayNot},
		{"a firewall", refusal(403, "Forbidden", "ForbiddenByFirewall"), "the vault's network rules do not let this function in"},
		{"a private vault", refusal(403, "Forbidden", "ForbiddenByConnection"), "the vault's network rules do not let this function in"},
		{"no such secret", refusal(404, "SecretNotFound", ""), "Azure Key Vault has no such secret or version"},
		{"a throttle", refusal(429, "Throttled", ""), "the store is throttling (429)"},
		{"an outage", refusal(503, "ServiceUnavailable", ""), "the store has failed (503)"},
		{"a proxy's refusal", fault.Fault{Status: 403, Body: "<html>" + secretstest.Canary}, "the store answers with status 403"},
		{"another API's 404", refusal(404, "NotFound", ""), "the store answers with status 404"},
		{"a token of another tenant", fault.Fault{Status: 401, Header: http.Header{"Www-Authenticate": {`Bearer authorization="https://login.microsoftonline.com/11111111-2222-4333-8444-555555555555", resource="https://vault.azure.net"`}}},
			"Key Vault does not accept this function's access token; the vault belongs to the tenant 11111111-2222-4333-8444-555555555555"},
		{"a token that is not accepted", fault.Fault{Status: 401, Header: http.Header{"Www-Authenticate": {`Bearer authorization="https://login.microsoftonline.com/` + secretstest.Canary + `"`}}},
			"Key Vault does not accept this function's access token"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.server.Faults.Before("").Set(test.fault)
			_, err := w.reader.Read(t.Context(), secrets.Ref{Name: "key"})
			if want := `read secret "key": ` + test.want; err == nil || err.Error() != want {
				t.Errorf("got  %v\nwant %s", err, want)
			}
		})
	}
	for _, inner := range []string{"SecretDisabled", "SecretExpired", "SecretNotYetValid"} {
		w := newWorld(t)
		w.server.Faults.Before("GetSecret").Set(refusal(403, "Forbidden", inner))
		if _, err := w.reader.Read(t.Context(), secrets.Ref{Name: "key"}); !errors.Is(err, secrets.ErrUnusable) {
			t.Errorf("%s: got %v", inner, err)
		}
	}
}

func TestACertificateIsChecked(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	reader, err := keyvault.New(keyvault.Options{Vault: w.listener.URL, Authorizer: w.issuer, Timeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	_, err = reader.Read(t.Context(), secrets.Ref{Name: "key"})
	if err == nil || err.Error() != `read secret "key": the store cannot be reached: certificate not trusted` {
		t.Errorf("got %v", err)
	}
}

func TestOptionsAreChecked(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name    string
		options keyvault.Options
		want    string
	}{
		{"no authorizer", keyvault.Options{}, "need an authorizer"},
		{"a vault without TLS", keyvault.Options{Authorizer: &issuer{}, Vault: "http://my-vault.vault.azure.net"}, "https://"},
		{"a vault by its name alone", keyvault.Options{Authorizer: &issuer{}, Vault: "my-vault"}, "scheme and host"},
		{"a domain with a path", keyvault.Options{Authorizer: &issuer{}, Suffix: "vault.azure.net/x"}, "look like vault.azure.net"},
	} {
		if _, err := keyvault.New(test.options); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v", test.name, err)
		}
	}
	reader, err := keyvault.New(keyvault.Options{Authorizer: &issuer{}})
	if err != nil {
		t.Fatal(err)
	}
	_, err = reader.Read(t.Context(), secrets.Ref{Name: "key"})
	if err == nil || err.Error() != `read secret "key": its vault is not known; write azure-kv://VAULT/key` {
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
	f.Add(200, `{"id":"https://v/secrets/key/0123456789abcdef0123456789abcdef","value":"one","attributes":{"enabled":true,"exp":9999999999}}`)
	f.Add(200, `{"value":[{"id":"https://v/secrets/key/0123456789abcdef0123456789abcdef","attributes":{}}],"nextLink":"https://v/?a"}`)
	f.Add(403, `{"error":{"code":"Forbidden","message":"x","innererror":{"code":"SecretDisabled"}}}`)
	f.Add(404, `{"error":{"code":"SecretNotFound","message":"x"}}`)
	f.Fuzz(func(t *testing.T, status int, body string) {
		if status < 100 || status > 999 {
			return
		}
		reader, err := keyvault.New(keyvault.Options{Vault: "https://v", Authorizer: &issuer{}, Transport: canned{status, body}})
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
