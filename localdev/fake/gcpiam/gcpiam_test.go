package gcpiam_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-ai/postern/localdev/contract/contracttest"
	"github.com/postern-ai/postern/localdev/fake/gcpiam"
)

const keys = "/v1/projects/p/serviceAccounts/a@p.iam.gserviceaccount.com/keys"

func newServer(change func(*gcpiam.Options)) *gcpiam.Server {
	options := gcpiam.Options{
		Project: "p", Email: "a@p.iam.gserviceaccount.com",
		Member: func(token string) (string, bool) { return "serviceAccount:rotator", token == "good" },
	}
	if change != nil {
		change(&options)
	}
	return gcpiam.New(options)
}

var api = contracttest.Google("iam-v1")

func ask(t *testing.T, s http.Handler, token string, request *http.Request) (int, string) {
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Authorization", "Bearer "+token)
	t.Helper()
	recorder := httptest.NewRecorder()
	api.Replies(t, s).ServeHTTP(recorder, request)
	return recorder.Code, recorder.Body.String()
}

func request(method, path, body string) *http.Request {
	return httptest.NewRequest(method, path, strings.NewReader(body))
}

// certify returns the body of an upload.
func certify(t *testing.T, public, private any, life time.Duration) string {
	t.Helper()
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: serial, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(life)}
	signed, err := x509.CreateCertificate(rand.Reader, template, template, public, private)
	if err != nil {
		t.Fatal(err)
	}
	return `{"publicKeyData":"` + base64.StdEncoding.EncodeToString(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: signed})) + `"}`
}

func TestAKeyIsKnownLaterAndEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		private, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			t.Fatal(err)
		}
		s := newServer(func(o *gcpiam.Options) { o.Late = 1 })
		body := certify(t, private.Public(), private, time.Hour)
		for _, want := range []int{http.StatusOK, http.StatusConflict} {
			if status, reply := ask(t, s, "good", request(http.MethodPost, keys+":upload", body)); status != want {
				t.Fatalf("got %d %s", status, reply)
			}
		}
		path := keys + "/" + s.Keys()[0]
		known := func(want bool) {
			t.Helper()
			if got := len(s.KeySet().Keys) == 1; got != want {
				t.Errorf("known: %v, want %v", got, want)
			}
		}
		known(false)
		known(true)
		if status, reply := ask(t, s, "good", request(http.MethodPost, path+":disable", "{}")); status != http.StatusOK {
			t.Errorf("got %d %s", status, reply)
		}
		known(false)
		if _, reply := ask(t, s, "good", request(http.MethodGet, keys+"?keyTypes=USER_MANAGED", "")); !strings.Contains(reply, `"disabled":true`) || strings.Contains(reply, "SYSTEM_MANAGED") {
			t.Errorf("got %s", reply)
		}
		ask(t, s, "good", request(http.MethodPost, path+":enable", "{}"))
		known(true)
		time.Sleep(time.Hour)
		known(false)
		for _, want := range []int{http.StatusOK, http.StatusNotFound} {
			if status, reply := ask(t, s, "good", request(http.MethodDelete, path, "")); status != want {
				t.Errorf("got %d %s", status, reply)
			}
		}
	})
}

func TestWhatTheServiceRefusesIsRefused(t *testing.T) {
	t.Parallel()
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	short, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	curve, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	good := certify(t, private.Public(), private, time.Hour)
	for _, test := range []struct {
		name          string
		change        func(*gcpiam.Options)
		token, method string
		path, body    string
		status        int
		code          string
	}{
		{"a token for something else", nil, "bad", http.MethodPost, keys + ":upload", good, 401, "UNAUTHENTICATED"},
		{"a method that there is not", nil, "good", http.MethodPut, keys, good, 404, "NOT_FOUND"},
		{"another account", nil, "good", http.MethodPost, strings.Replace(keys, "a@", "b@", 1) + ":upload", good, 403, "PERMISSION_DENIED"},
		{"a missing right", func(o *gcpiam.Options) { o.Allow = func(string, string) bool { return false } }, "good", http.MethodPost, keys + ":upload", good, 403, "PERMISSION_DENIED"},
		{"a policy", func(o *gcpiam.Options) { o.NoUpload = true }, "good", http.MethodPost, keys + ":upload", good, 400, "FAILED_PRECONDITION"},
		{"a misspelt member", nil, "good", http.MethodPost, keys + ":upload", `{"public_key":""}`, 400, "INVALID_ARGUMENT"},
		{"no certificate", nil, "good", http.MethodPost, keys + ":upload", `{"publicKeyData":"eA=="}`, 400, "INVALID_ARGUMENT"},
		{"a certificate that has expired", nil, "good", http.MethodPost, keys + ":upload", certify(t, private.Public(), private, -time.Minute), 400, "INVALID_ARGUMENT"},
		{"a short key", nil, "good", http.MethodPost, keys + ":upload", certify(t, short.Public(), private, time.Hour), 400, "INVALID_ARGUMENT"},
		{"a key of another kind", nil, "good", http.MethodPost, keys + ":upload", certify(t, curve.Public(), private, time.Hour), 400, "INVALID_ARGUMENT"},
		{"an unknown key", nil, "good", http.MethodPost, keys + "/x:disable", "{}", 404, "NOT_FOUND"},
		{"an unknown kind of keys", nil, "good", http.MethodGet, keys + "?keyTypes=MINE", "", 400, "INVALID_ARGUMENT"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := newServer(test.change)
			if status, body := ask(t, s, test.token, request(test.method, test.path, test.body)); status != test.status || !strings.Contains(body, `"status":"`+test.code+`"`) || len(s.Keys()) != 0 {
				t.Errorf("got %d %s", status, body)
			}
		})
	}
	s := newServer(nil)
	for range 10 {
		ask(t, s, "good", request(http.MethodPost, keys+":upload", certify(t, private.Public(), private, time.Hour)))
	}
	if status, body := ask(t, s, "good", request(http.MethodPost, keys+":upload", good)); status != 400 || len(s.Keys()) != 10 {
		t.Errorf("the eleventh key: got %d %s", status, body)
	}
}
