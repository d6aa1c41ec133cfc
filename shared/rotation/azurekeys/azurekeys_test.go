package azurekeys_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/postern-ai/postern/localdev/fake/arm"
	"github.com/postern-ai/postern/localdev/fake/azureopenai"
	"github.com/postern-ai/postern/localdev/fake/fault"
	"github.com/postern-ai/postern/shared/rotation"
	"github.com/postern-ai/postern/shared/rotation/azurekeys"
	"github.com/postern-ai/postern/shared/rotation/rotationtest"
	"github.com/postern-ai/postern/shared/secrets"
)

const (
	subscription = "11111111-2222-4333-8444-555555555555"
	account      = "/subscriptions/" + subscription + "/resourceGroups/rg-ai/providers/Microsoft.CognitiveServices/accounts/my-resource"
)

type world struct {
	rotationtest.World
	manager *arm.Server
	issuer  *azurekeys.Issuer
}

func open(t *testing.T, line *rotationtest.Line, change func(*arm.Options)) world {
	t.Helper()
	admin := &rotationtest.Admin{Prefix: "Bearer "}
	options := arm.Options{ID: account, Late: 2, Caller: func(token string) (string, bool) { return "rotator", admin.Accepts(token) }}
	if change != nil {
		change(&options)
	}
	w := world{manager: arm.New(options)}
	models := &azureopenai.Server{}
	if !options.DisableLocalAuth {
		models.KeyWorks = w.manager.Works
	}
	hosts := map[string]http.Handler{"management.azure.com": w.manager, "my-resource.openai.azure.com": models}
	var err error
	w.issuer, err = azurekeys.New(azurekeys.Options{
		SubscriptionID: subscription, ResourceGroup: "rg-ai", Account: "my-resource", Resource: "https://my-resource.openai.azure.com/",
		Authorizer: admin, Transport: line.Transport(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { hosts[r.Host].ServeHTTP(w, r) })),
	})
	if err != nil {
		t.Fatal(err)
	}
	w.World = rotationtest.World{
		Issuer: w.issuer, Keys: func() []rotation.Key { return []rotation.Key{{ID: "key1"}, {ID: "key2"}} },
		Current: "key1", Content: secrets.NewValue(w.manager.Keys()[0]), Wrong: secrets.NewValue(strings.Repeat("0", 84)),
		Expire: admin.Expire, Lose: admin.Lose,
	}
	return w
}

func TestConformance(t *testing.T) {
	t.Parallel()
	rotationtest.TestIssuer(t, func(t *testing.T, line *rotationtest.Line) rotationtest.World { return open(t, line, nil).World })
}

func TestTheKeyInUseIsFoundByItsContent(t *testing.T) {
	t.Parallel()
	w := open(t, &rotationtest.Line{}, nil)
	for _, test := range []struct {
		name  string
		order rotation.Order
		want  string
	}{
		{"key1 is in use", rotation.Order{Content: secrets.NewValue(w.manager.Keys()[0])}, "key2"},
		{"key2 is in use", rotation.Order{Current: "key2"}, "key1"},
		{"none is in use", rotation.Order{}, "key1"},
	} {
		if issued, err := w.issuer.Create(t.Context(), test.order); err != nil || issued.Key.ID != test.want {
			t.Errorf("%s: made %q, error %v", test.name, issued.Key.ID, err)
		}
	}
	before := w.manager.Keys()
	for want, order := range map[string]rotation.Order{
		"check account_name":     {Content: secrets.NewValue("a stranger's")},
		"neither key1 nor key2":  {Current: "key3"},
		"neither key1 nor key2 ": {Current: "Key1"},
	} {
		if _, err := w.issuer.Create(t.Context(), order); !errors.Is(err, rotation.ErrRefused) || !strings.Contains(err.Error(), strings.TrimSpace(want)) {
			t.Errorf("want %s, got %v", want, err)
		}
	}
	for _, id := range []string{"", "key3"} {
		_, err := w.issuer.Recover(t.Context(), rotation.Key{ID: id}, rotation.Order{})
		if revoke := w.issuer.Revoke(t.Context(), rotation.Key{ID: id}); !errors.Is(revoke, rotation.ErrRefused) || !errors.Is(err, rotation.ErrRefused) {
			t.Errorf("%q: got %v and %v", id, revoke, err)
		}
	}
	if after := w.manager.Keys(); after != before {
		t.Error("a key was made anew")
	}
}

func TestALostKeyIsReadAgainAndNotMadeAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := open(t, &rotationtest.Line{}, nil)
		w.manager.Faults.After("regenerateKey").Set(fault.Fault{Status: http.StatusBadGateway})
		before := w.manager.Keys()
		order := rotation.Order{Current: "key1"}
		if _, err := w.issuer.Create(t.Context(), order); !errors.Is(err, rotation.ErrUnanswered) {
			t.Errorf("got %v", err)
		}
		if n := w.manager.Faults.Before("regenerateKey").Calls(); n != 1 {
			t.Errorf("asked %d times", n)
		}
		value, err := w.issuer.Recover(t.Context(), rotation.Key{ID: "key2"}, order)
		if after := w.manager.Keys(); err != nil || value.Reveal() != after[1] || after[0] != before[0] || after[1] == before[1] {
			t.Errorf("recovered another key, or the error %v", err)
		}
	})
}

func TestErrorsSayWhatToDo(t *testing.T) {
	t.Parallel()
	const keyless = "the account takes no keys (disableLocalAuth), so there is none to rotate; remove credential_ref and let the managed identity sign (auth_type: native)"
	refusal := func(status int, code string) fault.Fault {
		return fault.Fault{Status: status, Body: `{"error":{"code":"` + code + `","message":"` + rotationtest.Canary + `"}}`}
	}
	for _, test := range []struct {
		name   string
		change func(*arm.Options)
		fault  fault.Fault
		want   string
		kind   error
	}{
		{"no right", func(o *arm.Options) { o.Allow = func(string, string) bool { return false } }, fault.Fault{},
			"Azure Resource Manager does not let the admin credential do that (403); it needs Microsoft.CognitiveServices/accounts/regenerateKey/action on the account", rotation.ErrRefused},
		{"no keys", func(o *arm.Options) { o.DisableLocalAuth = true }, fault.Fault{}, keyless, rotation.ErrRefused},
		{"no account", func(o *arm.Options) { o.ID += "-2" }, fault.Fault{}, "Azure has no such account; check subscription_id, resource_group and account_name", rotation.ErrRefused},
		{"no group", nil, refusal(404, "ResourceGroupNotFound"), "Azure has no such account; check subscription_id, resource_group and account_name", rotation.ErrRefused},
		{"a change under way", nil, refusal(409, "RequestConflict"), "the account is being changed by somebody else (409)", rotation.ErrUnavailable},
		{"one key twice", nil, fault.Fault{Status: 200, Body: `{"key1":"a","key2":"a"}`}, "the reply is not what the API of Azure Resource Manager describes", rotation.ErrUnanswered},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w := open(t, &rotationtest.Line{}, test.change)
			if test.fault.Status != 0 {
				w.manager.Faults.Before("").Set(test.fault)
			}
			_, err := w.issuer.Create(t.Context(), rotation.Order{Current: "key1"})
			if err == nil || err.Error() != "create key: "+test.want || !errors.Is(err, test.kind) {
				t.Errorf("got  %v\nwant create key: %s", err, test.want)
			}
		})
	}
	w := open(t, &rotationtest.Line{}, func(o *arm.Options) { o.DisableLocalAuth = true })
	if err := w.issuer.Verify(t.Context(), w.Content); err == nil || err.Error() != "verify key: "+keyless || !errors.Is(err, rotation.ErrRefused) {
		t.Errorf("got %v", err)
	}
}

func TestOptionsAreChecked(t *testing.T) {
	t.Parallel()
	good := azurekeys.Options{SubscriptionID: subscription, ResourceGroup: "g", Account: "my-resource", Resource: "https://my-resource.openai.azure.com", Authorizer: &rotationtest.Admin{}}
	for _, test := range []struct {
		name   string
		change func(*azurekeys.Options)
		want   string
	}{
		{"no subscription", func(o *azurekeys.Options) { o.SubscriptionID = "" }, "subscription_id"},
		{"a group that is a path", func(o *azurekeys.Options) { o.ResourceGroup = "a/b" }, "resource_group"},
		{"no account", func(o *azurekeys.Options) { o.Account = "" }, "account_name"},
		{"no identity", func(o *azurekeys.Options) { o.Authorizer = nil }, "identity"},
		{"no resource", func(o *azurekeys.Options) { o.Resource = "" }, "https://"},
		{"an endpoint without TLS", func(o *azurekeys.Options) { o.Endpoint = "http://example.com" }, "https://"},
	} {
		options := good
		test.change(&options)
		if _, err := azurekeys.New(options); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v", test.name, err)
		}
	}
}
