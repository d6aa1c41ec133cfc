package gcpkeys_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/google"

	"github.com/postern-ai/postern/localdev/contract/contracttest"
	"github.com/postern-ai/postern/localdev/fake/fault"
	"github.com/postern-ai/postern/localdev/fake/gcpiam"
	"github.com/postern-ai/postern/localdev/fake/googlests"
	"github.com/postern-ai/postern/shared/rotation"
	"github.com/postern-ai/postern/shared/rotation/gcpkeys"
	"github.com/postern-ai/postern/shared/rotation/rotationtest"
	"github.com/postern-ai/postern/shared/secrets"
)

const email = "postern@my-project.iam.gserviceaccount.com"

// pool are keys that are made once. Their certificates are new each time, so each makes many.
var pool = sync.OnceValue(func() []*rsa.PrivateKey {
	keys := make([]*rsa.PrivateKey, 3)
	for i := range keys {
		keys[i], _ = rsa.GenerateKey(rand.Reader, 2048)
	}
	return keys
})

var drawn atomic.Int64

func draw() (*rsa.PrivateKey, error) { return pool()[drawn.Add(1)%int64(len(pool()))], nil }

var iamAPI = contracttest.Google("iam-v1")

type accountWorld struct {
	rotationtest.World
	iam    *gcpiam.Server
	tokens *googlests.Server
	issuer *gcpkeys.AccountKeys
}

func openAccount(t *testing.T, line *rotationtest.Line, change func(*gcpiam.Options)) *accountWorld {
	t.Helper()
	admin := &rotationtest.Admin{Prefix: "Bearer "}
	options := gcpiam.Options{
		Project: "my-project", Email: email, Late: 2,
		Member: func(token string) (string, bool) { return "serviceAccount:rotator", admin.Accepts(token) },
	}
	if change != nil {
		change(&options)
	}
	w := &accountWorld{iam: gcpiam.New(options)}
	w.tokens = googlests.New(googlests.Options{Accounts: []googlests.Account{{Email: email, KeySet: w.iam.KeySet}}})
	hosts := map[string]http.Handler{"iam.googleapis.com": iamAPI.Requests(t, w.iam), "oauth2.googleapis.com": w.tokens}
	var err error
	w.issuer, err = gcpkeys.NewAccountKeys(gcpkeys.AccountOptions{
		Email: email, Authorizer: admin,
		Transport: line.Transport(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { hosts[r.Host].ServeHTTP(w, r) })),
	})
	if err != nil {
		t.Fatal(err)
	}
	w.issuer.SetGenerate(draw)
	wrong, err := w.issuer.Choose(rotation.Order{})
	if err != nil {
		t.Fatal(err)
	}
	w.World = rotationtest.World{
		Issuer: w.issuer, Wrong: wrong, Expire: admin.Expire, Lose: admin.Lose,
		Keys: func() []rotation.Key {
			var keys []rotation.Key
			for _, id := range w.iam.Keys() {
				keys = append(keys, rotation.Key{ID: id})
			}
			return keys
		},
	}
	return w
}

func TestAccountKeys(t *testing.T) {
	t.Parallel()
	pool()
	rotationtest.TestIssuer(t, func(t *testing.T, line *rotationtest.Line) rotationtest.World { return openAccount(t, line, nil).World })
}

// TestTheOfficialClientAgrees has Google's own library get a token with what is stored, over a network.
func TestTheOfficialClientAgrees(t *testing.T) {
	t.Parallel()
	w := openAccount(t, &rotationtest.Line{}, func(o *gcpiam.Options) { o.Late = 0 })
	listener := httptest.NewServer(w.tokens)
	t.Cleanup(listener.Close)
	w.issuer.SetGenerate(func() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, 2048) })
	order := rotation.Order{Expires: time.Now().Add(time.Hour)}
	var err error
	if order.Chosen, err = w.issuer.Choose(order); err != nil {
		t.Fatal(err)
	}
	official, err := google.JWTConfigFromJSON([]byte(order.Chosen.Reveal()), "https://www.googleapis.com/auth/cloud-platform")
	if err != nil {
		t.Fatal(err)
	}
	official.Subject, official.Audience, official.TokenURL = email, official.TokenURL, listener.URL+"/token"
	token := func() error {
		_, err := official.TokenSource(context.WithValue(t.Context(), oauth2.HTTPClient, http.DefaultClient)).Token()
		return err
	}
	if err := token(); err == nil || !strings.Contains(err.Error(), "invalid_grant") {
		t.Errorf("before the upload: %v", err)
	}
	issued, err := w.issuer.Create(t.Context(), order)
	if err != nil {
		t.Fatal(err)
	}
	if err := token(); err != nil || issued.Key.ID != official.PrivateKeyID || official.Email != email {
		t.Errorf("as %s with key %s, want %s, error %v", official.Email, official.PrivateKeyID, issued.Key.ID, err)
	}
}

func TestAnUploadWhoseReplyWasLostIsRepeated(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := openAccount(t, &rotationtest.Line{}, func(o *gcpiam.Options) { o.Late = 0 })
		order := rotation.Order{Expires: time.Now().Add(time.Hour)}
		var err error
		if order.Chosen, err = w.issuer.Choose(order); err != nil {
			t.Fatal(err)
		}
		w.iam.Faults.After("upload").Set(fault.Fault{Status: http.StatusBadGateway, Times: 1})
		if _, err := w.issuer.Create(t.Context(), order); !errors.Is(err, rotation.ErrUnanswered) {
			t.Errorf("got %v", err)
		}
		id, err := w.issuer.Identify(t.Context(), order.Chosen)
		if all := w.iam.Keys(); err != nil || len(all) != 1 || all[0] != id {
			t.Errorf("there are %v, identified %q, error %v", all, id, err)
		}
		if found, err := w.issuer.Find(t.Context(), ""); err != nil || len(found) != 1 || !found[0].Created.Equal(time.Now().Truncate(time.Second)) {
			t.Errorf("found %+v at %v, error %v", found, time.Now(), err)
		}
		issued, err := w.issuer.Create(t.Context(), order)
		if all := w.iam.Keys(); err != nil || len(all) != 1 || issued.Key.ID != id || !issued.Key.Expires.Equal(order.Expires) {
			t.Errorf("there are %v, made %+v, error %v", all, issued.Key, err)
		}
		if err := w.issuer.Verify(t.Context(), order.Chosen); err != nil {
			t.Error(err)
		}
	})
}

func TestTheContentKeepsItsForm(t *testing.T) {
	t.Parallel()
	w := openAccount(t, &rotationtest.Line{}, nil)
	const stored = `{"type":"service_account","project_id":"my-project","private_key_id":"1","private_key":"x","client_email":"` + email + `","client_id":"1042",` +
		`"auth_uri":"https://accounts.google.com/o/oauth2/auth","token_uri":"https://evil.example/","client_x509_cert_url":"https://x"}`
	value, err := w.issuer.Choose(rotation.Order{Content: secrets.NewValue(stored)})
	if err != nil {
		t.Fatal(err)
	}
	content, _ := rotation.ParseContent(value)
	for name, want := range map[string]string{
		"type": "service_account", "project_id": "my-project", "client_id": "1042", "client_email": email, "client_x509_cert_url": "https://x",
		"auth_uri": "https://accounts.google.com/o/oauth2/auth", "token_uri": "https://oauth2.googleapis.com/token",
	} {
		if got := content.Text(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if len(content) != 9 || content.Text("private_key_id") == "1" || content.Text("private_key") == "x" {
		t.Errorf("it has %d members, or the old key", len(content))
	}
	for _, other := range []string{`{"type":"external_account"}`, `{"type":"service_account","client_email":"other@my-project.iam.gserviceaccount.com"}`} {
		if _, err := w.issuer.Choose(rotation.Order{Content: secrets.NewValue(other)}); !errors.Is(err, rotation.ErrRefused) || !strings.Contains(err.Error(), "service_account_email") {
			t.Errorf("%s: got %v", other, err)
		}
		if err := w.issuer.Verify(t.Context(), secrets.NewValue(other)); !errors.Is(err, rotation.ErrRefused) {
			t.Errorf("%s: got %v", other, err)
		}
	}
	for _, broken := range []string{"", "x", "-----BEGIN PRIVATE KEY-----\\nAAAA\\n-----END PRIVATE KEY-----\\n"} {
		err := w.issuer.Verify(t.Context(), secrets.NewValue(`{"client_email":"`+email+`","private_key":"`+broken+`"}`))
		if !errors.Is(err, rotation.ErrRefused) || !strings.Contains(err.Error(), "private_key") {
			t.Errorf("%s: got %v", broken, err)
		}
	}
}

func TestErrorsSayWhatToDo(t *testing.T) {
	t.Parallel()
	const keyless = "; use the platform's identity instead (auth_type: native), outside Google Cloud with gcp_workload_identity_provider"
	refusal := func(status int, name, details string) fault.Fault {
		return fault.Fault{Status: status, Body: `{"error":{"code":` + strconv.Itoa(status) + `,"status":"` + name + `","message":"` + rotationtest.Canary + `","details":[` + details + `]}}`}
	}
	for _, test := range []struct {
		name   string
		change func(*gcpiam.Options)
		fault  fault.Fault
		want   string
		kind   error
	}{
		{"no right", func(o *gcpiam.Options) { o.Allow = func(string, string) bool { return false } }, fault.Fault{},
			"Google IAM does not let the admin credential do that (403); it needs iam.serviceAccountKeys.create on the service account (roles/iam.serviceAccountKeyAdmin)", rotation.ErrRefused},
		{"a policy", func(o *gcpiam.Options) { o.NoUpload = true }, fault.Fault{}, "an organization policy does not allow such keys (iam.disableServiceAccountKeyUpload)" + keyless, rotation.ErrRefused},
		{"a policy whose name is none", nil, refusal(400, "FAILED_PRECONDITION", `{"violations":[{"type":"constraints/a b"}]}`),
			"Google takes no more keys of the service account; it has ten already, or an organization policy does not allow them" + keyless, rotation.ErrRefused},
		{"no account", nil, refusal(404, "NOT_FOUND", ""), "Google has no such key or service account; check service_account_email", rotation.ErrRefused},
		{"no API", nil, refusal(403, "PERMISSION_DENIED", `{"reason":"SERVICE_DISABLED"}`), "the API is not enabled in the project; enable it", rotation.ErrRefused},
		{"a change under way", nil, refusal(409, "ABORTED", ""), "it is being changed by somebody else (409)", rotation.ErrUnavailable},
		{"a key without a name", nil, fault.Fault{Status: 200, Body: `{}`}, "the reply is not what the API of Google IAM describes", rotation.ErrUnanswered},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w := openAccount(t, &rotationtest.Line{}, test.change)
			if test.fault.Status != 0 {
				w.iam.Faults.Before("upload").Set(test.fault)
			}
			_, err := w.issuer.Create(t.Context(), rotation.Order{Chosen: w.Wrong})
			if err == nil || err.Error() != "create key: "+test.want || !errors.Is(err, test.kind) {
				t.Errorf("got  %v\nwant create key: %s", err, test.want)
			}
		})
	}
	w := openAccount(t, &rotationtest.Line{}, nil)
	if _, err := w.issuer.Create(t.Context(), rotation.Order{Chosen: secrets.NewValue(`{"private_key":"x"}`)}); !errors.Is(err, rotation.ErrRefused) {
		t.Errorf("nothing chosen: got %v", err)
	}
}

func TestAccountOptionsAreChecked(t *testing.T) {
	t.Parallel()
	good := gcpkeys.AccountOptions{Email: email, Authorizer: &rotationtest.Admin{}}
	for _, test := range []struct {
		name   string
		change func(*gcpkeys.AccountOptions)
		want   string
	}{
		{"no account", func(o *gcpkeys.AccountOptions) { o.Email = "" }, "service_account_email"},
		{"somebody else's", func(o *gcpkeys.AccountOptions) { o.Email = "me@example.com" }, "service_account_email"},
		{"no identity", func(o *gcpkeys.AccountOptions) { o.Authorizer = nil }, "identity"},
		{"an endpoint without TLS", func(o *gcpkeys.AccountOptions) { o.Endpoint = "http://example.com" }, "https://"},
		{"a token endpoint without TLS", func(o *gcpkeys.AccountOptions) { o.TokenEndpoint = "http://example.com" }, "https://"},
	} {
		options := good
		test.change(&options)
		if _, err := gcpkeys.NewAccountKeys(options); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v", test.name, err)
		}
	}
}
