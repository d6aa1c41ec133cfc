package openaikeys_test

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-ai/postern/localdev/contract"
	"github.com/postern-ai/postern/localdev/contract/contracttest"
	"github.com/postern-ai/postern/localdev/fake/keyring"
	fake "github.com/postern-ai/postern/localdev/fake/openaiadmin"
	"github.com/postern-ai/postern/shared/rotation"
	"github.com/postern-ai/postern/shared/rotation/openaikeys"
	"github.com/postern-ai/postern/shared/rotation/rotationtest"
	"github.com/postern-ai/postern/shared/secrets"
)

// described is OpenAI's own description. It is of the older generation, in which project keys have no end.
var described = contracttest.OpenAI(contract.Variant{Departures: map[string]contract.Departure{
	"request.expires_in_seconds":  contract.Extra,
	"response.expires_at":         contract.Extra,
	"response.api_key.expires_at": contract.Extra,
	"response.data[].expires_at":  contract.Extra,
}})

// world is a stand-in, and an issuer of the keys of its project.
type world struct {
	server *fake.Server
	issuer *openaikeys.Issuer
	line   *rotationtest.Line
	rotationtest.World
}

type setup struct {
	// older is the older API, account says that there is one service account for all keys.
	older, account bool
	scopes         []string
}

const project = "proj_abc"

func open(t *testing.T, line *rotationtest.Line, s setup) *world {
	t.Helper()
	admin := &rotationtest.Admin{Prefix: "Bearer "}
	w := &world{line: line, server: fake.New(fake.Options{Admin: admin.Accepts, Project: project, Older: s.older})}
	options := openaikeys.Options{API: openaikeys.API{Admin: admin, Transport: line.Transport(described.Traffic(t, w.server))}, ProjectID: project, Scopes: s.scopes}
	if s.account {
		options.ServiceAccountID = w.server.AddAccount("gateway").ID
	}
	var err error
	if w.issuer, err = openaikeys.New(options); err != nil {
		t.Fatal(err)
	}
	w.World = rotationtest.World{
		Issuer: w.issuer, Keys: keys(&w.server.Keys),
		Make: func(name string) rotation.Issued {
			if !s.account {
				return issued(w.server.AddKey(name))
			}
			return issued(w.server.Keys.Add(keyring.Key{ID: "key_", Name: name, Secret: "sk-svcacct-", Owner: options.ServiceAccountID}))
		},
		Wrong:  secrets.NewValue("sk-svcacct-" + strings.Repeat("0", 64)),
		Expire: admin.Expire, Lose: admin.Lose, Endless: s.older,
	}
	return w
}

func keys(ring *keyring.Ring) func() []rotation.Key {
	return func() []rotation.Key {
		var keys []rotation.Key
		for _, k := range ring.List() {
			keys = append(keys, issued(k).Key)
		}
		return keys
	}
}

func issued(k keyring.Key) rotation.Issued {
	return rotation.Issued{Key: rotation.Key{ID: k.ID, Name: k.Name, Created: k.Created}, Value: secrets.NewValue(k.Secret)}
}

func TestConformance(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name  string
		setup setup
	}{
		{"a service account for each key", setup{}},
		{"a service account for each key, older API", setup{older: true}},
		{"one service account for all keys", setup{account: true, scopes: []string{"api.model.read", "api.model.request"}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			rotationtest.TestIssuer(t, func(t *testing.T, line *rotationtest.Line) rotationtest.World { return open(t, line, test.setup).World })
		})
	}
}

func order(name string) rotation.Order {
	return rotation.Order{Name: name, Expires: time.Now().Add(time.Hour)}
}

func TestAServiceAccountGoesWithItsKey(t *testing.T) {
	t.Parallel()
	for _, older := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			w := open(t, &rotationtest.Line{}, setup{older: older})
			made, err := w.issuer.Create(t.Context(), order("postern-chat-1"))
			if err != nil || len(w.server.Accounts()) != 1 {
				t.Fatalf("%d accounts, error %v", len(w.server.Accounts()), err)
			}
			if err := w.issuer.Revoke(t.Context(), made.Key); err != nil {
				t.Error(err)
			}
			if n, k := len(w.server.Accounts()), len(w.server.Keys.List()); n != 0 || k != 0 {
				t.Errorf("older API %v: %d accounts and %d keys are left", older, n, k)
			}
		})
	}
}

func TestAServiceAccountOfOthersStays(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name  string
		setup setup
		owner func(*world) string
		want  string
	}{
		{"a key of an account that people made", setup{}, func(w *world) string { return w.server.AddAccount("batch-jobs").ID }, ""},
		{"the same with the older API", setup{older: true}, func(w *world) string { return w.server.AddAccount("batch-jobs").ID }, "delete it in the console"},
		{"a key of the configured account", setup{account: true}, func(w *world) string { return w.server.Accounts()[0].ID }, ""},
		{"the same with the older API once more", setup{account: true, older: true}, func(w *world) string { return w.server.Accounts()[0].ID }, "leave service_account_id out"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := open(t, &rotationtest.Line{}, test.setup)
				k := w.server.Keys.Add(keyring.Key{ID: "key_", Name: "postern-chat-1", Secret: "sk-svcacct-", Owner: test.owner(w)})
				err := w.issuer.Revoke(t.Context(), issued(k).Key)
				if test.want == "" && err != nil || test.want != "" && (!errors.Is(err, rotation.ErrRefused) || !strings.Contains(err.Error(), test.want)) {
					t.Errorf("got %v, want %q", err, test.want)
				}
				if len(w.server.Accounts()) != 1 {
					t.Error("the account was deleted")
				}
				if left := len(w.server.Keys.List()); (left == 1) != (test.want != "") {
					t.Errorf("%d keys are left", left)
				}
			})
		})
	}
}

func TestKeysOfOtherServiceAccountsAreLeftOut(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := open(t, &rotationtest.Line{}, setup{account: true})
		w.server.Keys.Add(keyring.Key{ID: "key_", Name: "postern-chat-1", Secret: "sk-svcacct-", Owner: w.server.AddAccount("batch-jobs").ID})
		w.server.AddKey("postern-chat-2")
		if keys, err := w.issuer.Find(t.Context(), ""); err != nil || len(keys) != 0 {
			t.Errorf("found %v, error %v", keys, err)
		}
	})
}

func TestNothingIsDeletedOnTheWordOfAnotherKey(t *testing.T) {
	t.Parallel()
	service := &canned{body: `{"id":"key_b","owner":{"service_account":{"id":"svc_b","name":"postern-b"}}}`}
	line := &rotationtest.Line{}
	issuer, err := openaikeys.New(openaikeys.Options{API: openaikeys.API{Admin: &rotationtest.Admin{}, Transport: line.Transport(service)}, ProjectID: project})
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"key_a", "", "../service_accounts/svc_b"} {
		if err := issuer.Revoke(t.Context(), rotation.Key{ID: id}); err == nil || service.changes != 0 {
			t.Errorf("%q: %d changes, error %v", id, service.changes, err)
		}
	}
}

func TestAKeyThatMayNotListModelsIsNotAccepted(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := open(t, &rotationtest.Line{}, setup{account: true, scopes: []string{"api.model.request"}})
		made, err := w.issuer.Create(t.Context(), order("postern-chat-1"))
		if err != nil {
			t.Fatal(err)
		}
		err = w.issuer.Verify(t.Context(), made.Value)
		if want := "verify key: OpenAI does not accept the key (403)"; err == nil || err.Error() != want || !errors.Is(err, rotation.ErrRejected) {
			t.Errorf("got %v", err)
		}
	})
}

func TestARefusedOrderSaysWhatToCheck(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, account, want string
		archived            bool
	}{
		{"an unknown account", "svc_acct_x", "check project_id and service_account_id", false},
		{"an archived project", "", "the project may have been archived", true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			line := &rotationtest.Line{}
			admin := &rotationtest.Admin{Prefix: "Bearer "}
			server := fake.New(fake.Options{Admin: admin.Accepts, Project: project, Archived: test.archived})
			issuer, err := openaikeys.New(openaikeys.Options{
				API: openaikeys.API{Admin: admin, Transport: line.Transport(described.Traffic(t, server))}, ProjectID: project, ServiceAccountID: test.account,
			})
			if err != nil {
				t.Fatal(err)
			}
			_, err = issuer.Create(t.Context(), order("postern-chat-1"))
			if !errors.Is(err, rotation.ErrRefused) || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestALifeIsNoLongerThanOpenAIAllows(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := open(t, &rotationtest.Line{}, setup{})
		for after, want := range map[time.Duration]time.Duration{-time.Hour: time.Second, 0: time.Second, 5 * 365 * 24 * time.Hour: 365 * 24 * time.Hour} {
			made, err := w.issuer.Create(t.Context(), rotation.Order{Name: "postern-chat-1", Expires: time.Now().Add(after)})
			if err != nil || time.Until(made.Key.Expires) != want {
				t.Errorf("%v: ends in %v, error %v", after, time.Until(made.Key.Expires), err)
			}
		}
		made, err := w.issuer.Create(t.Context(), rotation.Order{Name: "postern-chat-1"})
		if err != nil || !made.Key.Expires.IsZero() {
			t.Errorf("ends at %v, error %v", made.Key.Expires, err)
		}
	})
}

func TestOptionsAreChecked(t *testing.T) {
	t.Parallel()
	api := openaikeys.API{Admin: &rotationtest.Admin{}}
	for _, test := range []struct {
		name    string
		options openaikeys.Options
		want    string
	}{
		{"no admin key", openaikeys.Options{ProjectID: project}, "admin_ref"},
		{"no project", openaikeys.Options{API: api}, "project_id"},
		{"a project that is a path", openaikeys.Options{API: api, ProjectID: "proj_a/../b"}, "project_id"},
		{"an account that is a path", openaikeys.Options{API: api, ProjectID: project, ServiceAccountID: "a/b"}, "service_account_id"},
		{"scopes without an account", openaikeys.Options{API: api, ProjectID: project, Scopes: []string{"a"}}, "scopes"},
		{"an address without TLS", openaikeys.Options{API: openaikeys.API{Admin: api.Admin, Endpoint: "http://example.com"}, ProjectID: project}, "https://"},
	} {
		if _, err := openaikeys.New(test.options); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v", test.name, err)
		}
	}
}
