package openrouterkeys_test

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"

	fake "github.com/postern-ai/postern/localdev/fake/openrouter"
	"github.com/postern-ai/postern/shared/rotation"
	"github.com/postern-ai/postern/shared/rotation/openrouterkeys"
	"github.com/postern-ai/postern/shared/rotation/rotationtest"
	"github.com/postern-ai/postern/shared/secrets"
)

type world struct {
	server *fake.Server
	issuer *openrouterkeys.Issuer
	rotationtest.World
}

func open(t *testing.T, line *rotationtest.Line) world {
	t.Helper()
	admin := &rotationtest.Admin{Prefix: "Bearer "}
	w := world{server: fake.New(fake.Options{Manager: admin.Accepts})}
	var err error
	w.issuer, err = openrouterkeys.New(openrouterkeys.Options{Admin: admin, Limit: 25, LimitReset: "monthly", Transport: line.Transport(w.server)})
	if err != nil {
		t.Fatal(err)
	}
	w.World = rotationtest.World{
		Issuer: w.issuer,
		Keys: func() []rotation.Key {
			var keys []rotation.Key
			for _, k := range w.server.Keys.List() {
				keys = append(keys, rotation.Key{ID: k.ID, Name: k.Name, Disabled: k.Disabled})
			}
			return keys
		},
		Make: func(name string) rotation.Issued {
			k := w.server.Add(name)
			return rotation.Issued{Key: rotation.Key{ID: k.ID, Name: k.Name}, Value: secrets.NewValue(k.Secret)}
		},
		Wrong:  secrets.NewValue("sk-or-v1-" + strings.Repeat("0", 64)),
		Expire: admin.Expire, Lose: admin.Lose,
	}
	return w
}

func TestConformance(t *testing.T) {
	t.Parallel()
	rotationtest.TestIssuer(t, func(t *testing.T, line *rotationtest.Line) rotationtest.World { return open(t, line).World })
}

func TestAModelKeyManagesNoOther(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		line := &rotationtest.Line{}
		w := open(t, line)
		model := w.server.Add("model")
		var err error
		issuer, err := openrouterkeys.New(openrouterkeys.Options{Admin: rotationtest.Fixed("Authorization: Bearer " + model.Secret), Transport: line.Transport(w.server)})
		if err != nil {
			t.Fatal(err)
		}
		_, err = issuer.Find(t.Context(), "")
		if want := "find key: OpenRouter does not let the admin credential do that (403); it needs to be a management key"; err == nil || err.Error() != want {
			t.Errorf("got  %v\nwant %s", err, want)
		}
	})
}

func TestAnUnknownWorkspaceHasAndTakesNoKeys(t *testing.T) {
	t.Parallel()
	line := &rotationtest.Line{}
	w := open(t, line)
	w.server.Add("postern-chat-1")
	admin := rotationtest.Fixed("Authorization: Bearer " + rotationtest.Canary + "-admin-0")
	for workspace, known := range map[string]bool{"0df9e665-d932-5740-b2c7-b52af166bc11": true, "another": false} {
		issuer, err := openrouterkeys.New(openrouterkeys.Options{Admin: admin, WorkspaceID: workspace, Transport: line.Transport(w.server)})
		if err != nil {
			t.Fatal(err)
		}
		if keys, err := issuer.Find(t.Context(), "postern-chat-1"); err != nil || (len(keys) > 0) != known {
			t.Errorf("%s: found %d keys, error %v", workspace, len(keys), err)
		}
		_, err = issuer.Create(t.Context(), rotation.Order{Name: "postern-chat-2"})
		if !known && (!errors.Is(err, rotation.ErrRefused) || !strings.Contains(err.Error(), "check workspace_id")) || known && err != nil {
			t.Errorf("%s: got %v", workspace, err)
		}
	}
}

func TestOptionsAreChecked(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name    string
		options openrouterkeys.Options
		want    string
	}{
		{"no management key", openrouterkeys.Options{}, "admin_ref"},
		{"a negative limit", openrouterkeys.Options{Limit: -1}, "spend_limit"},
		{"an unknown reset", openrouterkeys.Options{LimitReset: "yearly"}, "daily, weekly or monthly"},
		{"an address without TLS", openrouterkeys.Options{Endpoint: "http://example.com"}, "https://"},
		{"an address with a query", openrouterkeys.Options{Endpoint: "https://example.com?x=1"}, "query"},
	} {
		if test.want != "admin_ref" {
			test.options.Admin = &rotationtest.Admin{}
		}
		if _, err := openrouterkeys.New(test.options); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v", test.name, err)
		}
	}
}
