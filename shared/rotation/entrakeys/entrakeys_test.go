package entrakeys_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-ai/postern/localdev/fake/entra"
	"github.com/postern-ai/postern/localdev/fake/fault"
	"github.com/postern-ai/postern/localdev/fake/graph"
	"github.com/postern-ai/postern/localdev/fake/jwtauth"
	"github.com/postern-ai/postern/localdev/fake/keyring"
	"github.com/postern-ai/postern/shared/rotation"
	"github.com/postern-ai/postern/shared/rotation/entrakeys"
	"github.com/postern-ai/postern/shared/rotation/rotationtest"
	"github.com/postern-ai/postern/shared/secrets"
)

const (
	tenant   = "11111111-2222-4333-8444-555555555555"
	clientID = "aabdecea-fc38-40ca-9edd-263878b290fe"
	objectID = "66666666-7777-4888-8999-aaaaaaaaaaaa"
)

// signer signs tokens. Making its key takes a while.
var signer = jwtauth.NewSigner("RS256")

type world struct {
	rotationtest.World
	directory *graph.Server
	entra     *entra.Server
	issuer    *entrakeys.Issuer
	options   entrakeys.Options
}

func open(t *testing.T, line *rotationtest.Line, change func(*graph.Options)) *world {
	t.Helper()
	admin := &rotationtest.Admin{Prefix: "Bearer "}
	options := graph.Options{ObjectID: objectID, AppID: clientID, Late: 4, Caller: func(token string) (string, bool) { return "rotator", admin.Accepts(token) }}
	if change != nil {
		change(&options)
	}
	w := &world{directory: graph.New(options)}
	w.entra = entra.New(entra.Options{Tenant: tenant, Signer: signer, Apps: []entra.App{{ClientID: clientID, ObjectID: objectID, Secret: w.directory.Secret}}})
	hosts := map[string]http.Handler{"graph.microsoft.com": w.directory, "login.microsoftonline.com": w.entra}
	w.options = entrakeys.Options{
		ObjectID: objectID, TenantID: tenant, ClientID: clientID, Authorizer: admin,
		Transport: line.Transport(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { hosts[r.Host].ServeHTTP(w, r) })),
	}
	w.issuer = w.open(t)
	w.World = rotationtest.World{
		Issuer: w.issuer,
		Keys: func() []rotation.Key {
			keys := []rotation.Key{}
			for _, key := range w.directory.Secrets.List() {
				keys = append(keys, issued(key).Key)
			}
			return keys
		},
		Make:   func(name string) rotation.Issued { return issued(w.directory.Add(name, time.Time{})) },
		Wrong:  secrets.NewValue(`{"tenant_id":"` + tenant + `","client_id":"` + clientID + `","client_secret":"???8Q~` + rotationtest.Canary + `"}`),
		Expire: admin.Expire, Lose: admin.Lose,
	}
	return w
}

func (w *world) open(t *testing.T) *entrakeys.Issuer {
	t.Helper()
	issuer, err := entrakeys.New(w.options)
	if err != nil {
		t.Fatal(err)
	}
	return issuer
}

func issued(key keyring.Key) rotation.Issued {
	id, _, _ := strings.Cut(key.ID, "/")
	return rotation.Issued{Key: rotation.Key{ID: id, Name: key.Name}, Value: secrets.NewValue(key.Secret)}
}

func TestConformance(t *testing.T) {
	t.Parallel()
	rotationtest.TestIssuer(t, func(t *testing.T, line *rotationtest.Line) rotationtest.World { return open(t, line, nil).World })
}

func TestTheContentKeepsItsForm(t *testing.T) {
	t.Parallel()
	w := open(t, &rotationtest.Line{}, func(o *graph.Options) { o.Late = 0 })
	const object = `{"client_id":"` + clientID + `","client_secret":"SECRET","tenant_id":"` + tenant + `"}`
	without := w.options
	without.TenantID, without.ClientID = "", ""
	for _, test := range []struct {
		name    string
		options entrakeys.Options
		content string
		want    string
	}{
		{"a first secret", w.options, "", object},
		{"a secret alone", w.options, "old", "SECRET"},
		{"all of the app registration", without, `{"tenant_id":"` + tenant + `","client_id":"` + clientID + `","client_secret":"old"}`, object},
		{"a certificate", without, `{"tenant_id":"` + tenant + `","client_id":"` + clientID + `","certificate":"old"}`, object},
		{"something of somebody else's", w.options, `{"client_secret":"old","owner":["ml"]}`, `{"client_secret":"SECRET","owner":["ml"]}`},
	} {
		w.options = test.options
		issuer := w.open(t)
		made, err := issuer.Create(t.Context(), rotation.Order{Name: "n", Content: secrets.NewValue(test.content)})
		if err != nil {
			t.Fatal(err)
		}
		all := w.directory.Secrets.List()
		if got := strings.Replace(made.Value.Reveal(), all[len(all)-1].Secret, "SECRET", 1); got != test.want {
			t.Errorf("%s: got %s", test.name, got)
		}
		if err := issuer.Verify(t.Context(), made.Value); err != nil {
			t.Errorf("%s: %v", test.name, err)
		}
		if err := issuer.Revoke(t.Context(), made.Key); err != nil {
			t.Error(err)
		}
	}
	if err := w.issuer.Verify(t.Context(), secrets.NewValue(`{"client_secret":""}`)); !errors.Is(err, rotation.ErrRefused) || !strings.Contains(err.Error(), "store {tenant_id, client_id, client_secret}") {
		t.Errorf("nothing: got %v", err)
	}
}

func TestASecretOfAnotherAppIsNotTheOne(t *testing.T) {
	t.Parallel()
	w := open(t, &rotationtest.Line{}, nil)
	made, err := w.issuer.Create(t.Context(), rotation.Order{Name: "n"})
	if err != nil {
		t.Fatal(err)
	}
	other := strings.Replace(made.Value.Reveal(), clientID, objectID, 1)
	if id, err := w.issuer.Identify(t.Context(), secrets.NewValue(other)); err != nil || id != "" {
		t.Errorf("identified as %q, error %v", id, err)
	}
	if err := w.issuer.Verify(t.Context(), secrets.NewValue(other)); !errors.Is(err, rotation.ErrRefused) || !strings.Contains(err.Error(), "azure_client_id") {
		t.Errorf("got %v", err)
	}
}

func TestASecretThatHasExpiredIsRejected(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := open(t, &rotationtest.Line{}, func(o *graph.Options) { o.Late = 0 })
		made, err := w.issuer.Create(t.Context(), rotation.Order{Name: "n", Expires: time.Now().Add(time.Hour)})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		if err := w.issuer.Verify(t.Context(), made.Value); !errors.Is(err, rotation.ErrRejected) || !strings.Contains(err.Error(), "AADSTS7000222") {
			t.Errorf("got %v", err)
		}
	})
}

func TestErrorsSayWhatToDo(t *testing.T) {
	t.Parallel()
	refusal := func(status int, code string) fault.Fault {
		return fault.Fault{Status: status, Body: `{"error":{"code":"` + code + `","message":"` + rotationtest.Canary + `"}}`}
	}
	for _, test := range []struct {
		name   string
		change func(*graph.Options)
		fault  fault.Fault
		want   string
		kind   error
	}{
		{"no right", func(o *graph.Options) { o.Owner = func(string) bool { return false } }, fault.Fault{},
			"Microsoft Graph does not let the admin credential do that (403); it needs the app role Application.ReadWrite.OwnedBy, and to be an owner of the app registration", rotation.ErrRefused},
		{"no app", func(o *graph.Options) { o.ObjectID = clientID }, fault.Fault{}, "Entra has no such app registration; application_object_id has to be its object id, not its client id", rotation.ErrRefused},
		{"a policy", nil, refusal(403, "CredentialTypeNotAllowedAsPerAppPolicy"), "a policy of the tenant does not allow such client secrets (there may be none); use a federated credential instead", rotation.ErrRefused},
		{"another policy", nil, refusal(400, "CredentialInvalidLifetimeAsPerAppPolicy"), "a policy of the tenant does not allow such client secrets (their life is too long); use a federated credential instead", rotation.ErrRefused},
		{"a change under way", nil, refusal(409, "Directory_ConcurrencyViolation"), "the app registration is being changed by somebody else", rotation.ErrUnavailable},
		{"a secret without its text", nil, fault.Fault{Status: 200, Body: `{"keyId":"1"}`}, "the reply is not what the API of Microsoft Graph describes", rotation.ErrUnanswered},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w := open(t, &rotationtest.Line{}, test.change)
			if test.fault.Status != 0 {
				w.directory.Faults.Before("addPassword").Set(test.fault)
			}
			_, err := w.issuer.Create(t.Context(), rotation.Order{Name: "n"})
			if err == nil || err.Error() != "create key: "+test.want || !errors.Is(err, test.kind) {
				t.Errorf("got  %v\nwant create key: %s", err, test.want)
			}
		})
	}
}

func TestOptionsAreChecked(t *testing.T) {
	t.Parallel()
	good := entrakeys.Options{ObjectID: objectID, Authorizer: &rotationtest.Admin{}}
	for _, test := range []struct {
		name   string
		change func(*entrakeys.Options)
		want   string
	}{
		{"no app", func(o *entrakeys.Options) { o.ObjectID = "" }, "application_object_id"},
		{"a tenant that is a path", func(o *entrakeys.Options) { o.TenantID = "a/b" }, "azure_tenant_id"},
		{"no identity", func(o *entrakeys.Options) { o.Authorizer = nil }, "identity"},
		{"an endpoint without TLS", func(o *entrakeys.Options) { o.Endpoint = "http://example.com" }, "https://"},
		{"an authority without TLS", func(o *entrakeys.Options) { o.Authority = "http://example.com" }, "https://"},
	} {
		options := good
		test.change(&options)
		if _, err := entrakeys.New(options); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v", test.name, err)
		}
	}
}
