package gcpkeys_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/postern-ai/postern/localdev/fake/apikeys"
	"github.com/postern-ai/postern/localdev/fake/fault"
	"github.com/postern-ai/postern/shared/rotation"
	"github.com/postern-ai/postern/shared/rotation/gcpkeys"
	"github.com/postern-ai/postern/shared/rotation/rotationtest"
	"github.com/postern-ai/postern/shared/secrets"
)

const gemini = "generativelanguage.googleapis.com"

type keyWorld struct {
	rotationtest.World
	server *apikeys.Server
	issuer *gcpkeys.APIKeys
}

func openKeys(t *testing.T, line *rotationtest.Line, change func(*apikeys.Options)) *keyWorld {
	t.Helper()
	admin := &rotationtest.Admin{Prefix: "Bearer "}
	options := apikeys.Options{
		Project: "my-project", Number: "123456789", Late: 2, Slow: 2,
		Member: func(token string) (string, bool) { return "serviceAccount:rotator", admin.Accepts(token) },
	}
	if change != nil {
		change(&options)
	}
	w := &keyWorld{server: apikeys.New(options)}
	hosts := map[string]http.Handler{"apikeys.googleapis.com": w.server, gemini: w.server.Models()}
	var err error
	w.issuer, err = gcpkeys.NewAPIKeys(gcpkeys.APIKeyOptions{
		ProjectID: "my-project", Target: gemini, Authorizer: admin,
		Transport: line.Transport(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { hosts[r.Host].ServeHTTP(w, r) })),
	})
	if err != nil {
		t.Fatal(err)
	}
	w.World = rotationtest.World{
		Issuer: w.issuer, Wrong: secrets.NewValue("AIza" + strings.Repeat("0", 35)), Expire: admin.Expire, Lose: admin.Lose, Sparse: true,
		Keys: func() []rotation.Key {
			var keys []rotation.Key
			for _, k := range w.server.Keys() {
				keys = append(keys, rotation.Key{ID: k.ID, Name: k.DisplayName})
			}
			return keys
		},
		Make: func(name string) rotation.Issued {
			k := w.server.Add(apikeys.Key{DisplayName: name})
			return rotation.Issued{Key: rotation.Key{ID: k.ID, Name: name}, Value: secrets.NewValue(k.Text)}
		},
	}
	return w
}

func TestAPIKeys(t *testing.T) {
	t.Parallel()
	rotationtest.TestIssuer(t, func(t *testing.T, line *rotationtest.Line) rotationtest.World { return openKeys(t, line, nil).World })
}

func TestRestrictionsAreCarriedOver(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := openKeys(t, &rotationtest.Line{}, nil)
		limited := apikeys.Restrictions{
			Targets: []apikeys.Target{{Service: gemini, Methods: []string{"Get*"}}, {Service: "translate.googleapis.com"}}, Server: &apikeys.Origins{AllowedIPs: []string{"192.0.2.1"}},
		}
		usual := apikeys.Restrictions{Targets: []apikeys.Target{{Service: gemini}}}
		for _, test := range []struct {
			name, current string
			want          apikeys.Restrictions
		}{
			{"a-first", "", usual},
			{"a-limited", w.server.Add(apikeys.Key{Restrictions: limited}).ID, limited},
			{"an-unlimited", w.server.Add(apikeys.Key{}).ID, usual},
			{"a-lost", "gone", usual},
		} {
			if _, err := w.issuer.Create(t.Context(), rotation.Order{Name: test.name, Current: test.current}); err != nil {
				t.Fatal(err)
			}
			all := w.server.Keys()
			if diff := cmp.Diff(test.want, all[len(all)-1].Restrictions); diff != "" {
				t.Errorf("%s (-want +got):\n%s", test.name, diff)
			}
		}
	})
}

func TestAnOperationThatDoesNotEndIsGivenUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := openKeys(t, &rotationtest.Line{}, func(o *apikeys.Options) { o.Slow = 1000 })
		start := time.Now()
		_, err := w.issuer.Create(t.Context(), rotation.Order{Name: "slow"})
		if took := time.Since(start); !errors.Is(err, rotation.ErrUnanswered) || took > 15*time.Second {
			t.Errorf("after %v: %v", took, err)
		}
		if value, err := w.issuer.Recover(t.Context(), rotation.Key{ID: "slow"}, rotation.Order{}); err != nil || value.Reveal() != w.server.Keys()[0].Text {
			t.Errorf("not recovered: %v", err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := w.issuer.Create(ctx, rotation.Order{Name: "slower"}); !errors.Is(err, rotation.ErrUnanswered) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
	})
}

func TestWhatBecomesOfAnOperationIsTold(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, body string
		kind       error
	}{
		{"refused", `{"name":"operations/1","done":true,"error":{"code":7,"message":"` + rotationtest.Canary + `"}}`, rotation.ErrRefused},
		{"exhausted", `{"name":"operations/1","done":true,"error":{"code":8}}`, rotation.ErrUnavailable},
		{"of another API", `{"name":"projects/1","done":false}`, rotation.ErrUnanswered},
		{"a path", `{"name":"operations/../x"}`, rotation.ErrUnanswered},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := openKeys(t, &rotationtest.Line{}, nil)
			w.server.Faults.Before("create").Set(fault.Fault{Status: http.StatusOK, Body: test.body})
			if _, err := w.issuer.Create(t.Context(), rotation.Order{Name: "x"}); !errors.Is(err, test.kind) || strings.Contains(err.Error(), rotationtest.Canary) {
				t.Errorf("%s: got %v", test.name, err)
			}
		})
	}
}

func TestAKeyThatWasMadeIsNeverCalledRefused(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := openKeys(t, &rotationtest.Line{}, func(o *apikeys.Options) {
			o.Allow = func(_, permission string) bool { return permission != "apikeys.keys.getKeyString" }
		})
		_, err := w.issuer.Create(t.Context(), rotation.Order{Name: "x"})
		if !errors.Is(err, rotation.ErrUnanswered) || errors.Is(err, rotation.ErrRefused) || !strings.Contains(err.Error(), "it needs apikeys.keys.getKeyString in the project") {
			t.Errorf("got %v", err)
		}
		if _, err := w.issuer.Create(t.Context(), rotation.Order{Name: "x"}); !errors.Is(err, rotation.ErrUnanswered) || !strings.Contains(err.Error(), "of this name already") {
			t.Errorf("again: got %v", err)
		}
		for _, name := range []string{"", "1x", "x-", "X", strings.Repeat("x", 64)} {
			if _, err := w.issuer.Create(t.Context(), rotation.Order{Name: name}); !errors.Is(err, rotation.ErrRefused) {
				t.Errorf("%q: got %v", name, err)
			}
		}
	})
}

func TestWhatIsWrongWithAKeyIsTold(t *testing.T) {
	t.Parallel()
	reason := func(status int, reason string) fault.Fault {
		return fault.Fault{Status: status, Body: `{"error":{"status":"X","details":[{"reason":"` + reason + `"}]}}`}
	}
	for _, test := range []struct {
		name  string
		fault fault.Fault
		want  string
		kind  error
	}{
		{"an end", reason(400, "API_KEY_EXPIRED"), "Google does not accept the key (API_KEY_INVALID)", rotation.ErrRejected},
		{"a list", fault.Fault{Status: 400, Body: `[{"error":{"status":"INVALID_ARGUMENT","details":[{"reason":"API_KEY_INVALID"}]}}]`}, "Google does not accept the key (API_KEY_INVALID)", rotation.ErrRejected},
		{"another address", reason(403, "API_KEY_IP_ADDRESS_BLOCKED"), "the key may not be used from here; change the restrictions of the key in use, which are carried over", rotation.ErrRefused},
		{"no API", reason(403, "SERVICE_DISABLED"), "the API is not enabled in the key's project; enable it", rotation.ErrRefused},
		{"another reason", reason(403, "CONSUMER_SUSPENDED"), "Google does not accept the key (403)", rotation.ErrRejected},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := openKeys(t, &rotationtest.Line{}, nil)
			w.server.Faults.Before("models").Set(test.fault)
			if err := w.issuer.Verify(t.Context(), w.Wrong); err == nil || err.Error() != "verify key: "+test.want || !errors.Is(err, test.kind) {
				t.Errorf("%s:\ngot  %v\nwant verify key: %s", test.name, err, test.want)
			}
		})
	}
	w := openKeys(t, &rotationtest.Line{}, func(o *apikeys.Options) { o.Late = 0 })
	other := w.server.Add(apikeys.Key{Restrictions: apikeys.Restrictions{Targets: []apikeys.Target{{Service: "translate.googleapis.com"}}}})
	if err := w.issuer.Verify(t.Context(), secrets.NewValue(other.Text)); !errors.Is(err, rotation.ErrRefused) || !strings.Contains(err.Error(), "api_target") {
		t.Errorf("a key for another API: got %v", err)
	}
}

func TestKeyOptionsAreChecked(t *testing.T) {
	t.Parallel()
	good := gcpkeys.APIKeyOptions{ProjectID: "my-project", Target: gemini, Authorizer: &rotationtest.Admin{}}
	for _, test := range []struct {
		name   string
		change func(*gcpkeys.APIKeyOptions)
		want   string
	}{
		{"no project", func(o *gcpkeys.APIKeyOptions) { o.ProjectID = "" }, "project_id"},
		{"no API", func(o *gcpkeys.APIKeyOptions) { o.Target = "example.com" }, "api_target"},
		{"another API", func(o *gcpkeys.APIKeyOptions) { o.Target = "translate.googleapis.com" }, "a request that proves it"},
		{"no identity", func(o *gcpkeys.APIKeyOptions) { o.Authorizer = nil }, "identity"},
		{"an endpoint without TLS", func(o *gcpkeys.APIKeyOptions) { o.Endpoint = "http://example.com" }, "https://"},
	} {
		options := good
		test.change(&options)
		if _, err := gcpkeys.NewAPIKeys(options); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v", test.name, err)
		}
	}
}
