package anthropickeys_test

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	fake "github.com/postern-ai/postern/localdev/fake/anthropicadmin"
	"github.com/postern-ai/postern/localdev/fake/keyring"
	"github.com/postern-ai/postern/shared/rotation"
	"github.com/postern-ai/postern/shared/rotation/anthropickeys"
	"github.com/postern-ai/postern/shared/rotation/rotationtest"
	"github.com/postern-ai/postern/shared/secrets"
)

type world struct {
	server *fake.Server
	issuer *anthropickeys.Issuer
	rotationtest.World
}

func open(t *testing.T, line *rotationtest.Line, options anthropickeys.Options) world {
	t.Helper()
	admin := &rotationtest.Admin{Header: "X-Api-Key"}
	w := world{server: fake.New(fake.Options{Admin: admin.Accepts})}
	options.Admin, options.Transport = admin, line.Transport(w.server)
	var err error
	if w.issuer, err = anthropickeys.New(options); err != nil {
		t.Fatal(err)
	}
	w.World = rotationtest.World{
		Issuer: w.issuer,
		Keys: func() []rotation.Key {
			var keys []rotation.Key
			for _, k := range w.server.Living() {
				keys = append(keys, rotation.Key{ID: k.ID, Name: k.Name, Disabled: k.Disabled})
			}
			return keys
		},
		Make: func(name string) rotation.Issued {
			return issued(w.server.Add(keyring.Key{Name: name, Owner: options.WorkspaceID}))
		},
		Wrong:  secrets.NewValue("sk-ant-api03-" + strings.Repeat("0", 64)),
		Expire: admin.Expire, Lose: admin.Lose,
	}
	return w
}

func issued(k keyring.Key) rotation.Issued {
	return rotation.Issued{Key: rotation.Key{ID: k.ID, Name: k.Name, Created: k.Created}, Value: secrets.NewValue(k.Secret)}
}

func TestConformance(t *testing.T) {
	t.Parallel()
	for _, options := range []anthropickeys.Options{{}, {WorkspaceID: "wrkspc_a"}} {
		t.Run("workspace "+options.WorkspaceID, func(t *testing.T) {
			t.Parallel()
			rotationtest.TestIssuer(t, func(t *testing.T, line *rotationtest.Line) rotationtest.World { return open(t, line, options).World })
		})
	}
}

func TestKeysOfOtherWorkspacesAreLeftOut(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := open(t, &rotationtest.Line{}, anthropickeys.Options{WorkspaceID: "wrkspc_a"})
		other := w.server.Add(keyring.Key{Name: "other", Owner: "wrkspc_b"})
		own := w.server.Add(keyring.Key{Name: "own", Owner: "wrkspc_a"})
		if keys, err := w.issuer.Find(t.Context(), ""); err != nil || len(keys) != 1 || keys[0].ID != own.ID {
			t.Errorf("found %v, error %v", keys, err)
		}
		if id, err := w.issuer.Identify(t.Context(), secrets.NewValue(other.Secret)); err != nil || id != "" {
			t.Errorf("identified as %q, error %v", id, err)
		}
	})
}

func TestAnExpiredKeyIsFoundAndCanBeEnded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := open(t, &rotationtest.Line{}, anthropickeys.Options{})
		made := w.server.Add(keyring.Key{Name: "key", Expires: time.Now().Add(time.Hour)})
		time.Sleep(time.Hour)
		keys, err := w.issuer.Find(t.Context(), "")
		if err != nil || len(keys) != 1 || !keys[0].Disabled || !keys[0].Expires.Equal(made.Expires) {
			t.Errorf("found %+v, error %v", keys, err)
		}
		if err := w.issuer.Disable(t.Context(), keys[0]); err != nil {
			t.Error(err)
		}
		if err := w.issuer.Enable(t.Context(), keys[0]); !errors.Is(err, rotation.ErrRefused) {
			t.Errorf("got %v", err)
		}
		if err := w.issuer.Revoke(t.Context(), keys[0]); err != nil || len(w.server.Living()) != 0 {
			t.Error(err)
		}
	})
}

func TestWithoutAnAdminKeyAPersonEndsKeys(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		line := &rotationtest.Line{}
		server := fake.New(fake.Options{Admin: func(string) bool { return false }})
		issuer, err := anthropickeys.New(anthropickeys.Options{Transport: line.Transport(server)})
		if err != nil {
			t.Fatal(err)
		}
		made := issued(server.Add(keyring.Key{Name: "key"}))
		if err := issuer.Verify(t.Context(), made.Value); err != nil {
			t.Error(err)
		}
		before := line.Calls()
		_, found := issuer.Find(t.Context(), "")
		_, identified := issuer.Identify(t.Context(), made.Value)
		for want, err := range map[string]error{
			"find key: without an admin key nothing is known of the organization's keys; look in the Anthropic Console, or set admin_ref":     found,
			"identify key: without an admin key nothing is known of the organization's keys; look in the Anthropic Console, or set admin_ref": identified,
			"disable key: without an admin key only a person can; make the key inactive in the Anthropic Console, or set admin_ref":           issuer.Disable(t.Context(), made.Key),
			"enable key: without an admin key only a person can; make the key active in the Anthropic Console, or set admin_ref":              issuer.Enable(t.Context(), made.Key),
			"revoke key: without an admin key only a person can; make the key archived in the Anthropic Console, or set admin_ref":            issuer.Revoke(t.Context(), made.Key),
		} {
			if !errors.Is(err, rotation.ErrRefused) || err.Error() != want {
				t.Errorf("got  %v\nwant %s", err, want)
			}
		}
		if n := line.Calls() - before; n != 0 {
			t.Errorf("it took %d requests", n)
		}
	})
}

func TestOptionsAreChecked(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name    string
		options anthropickeys.Options
		want    string
	}{
		{"a workspace that is a query", anthropickeys.Options{WorkspaceID: "a&b=c"}, "workspace_id"},
		{"an address without TLS", anthropickeys.Options{Endpoint: "http://example.com"}, "https://"},
	} {
		if _, err := anthropickeys.New(test.options); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v", test.name, err)
		}
	}
}
