package gcpsecrets_test

import (
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/postern-ai/postern/localdev/fake/gcpsecretmanager"
	"github.com/postern-ai/postern/shared/secrets"
	"github.com/postern-ai/postern/shared/secrets/gcpsecrets"
	"github.com/postern-ai/postern/shared/secrets/secretstest"
)

// secret returns a secret as the service tells it.
func (w *world) secret(name string) (s struct {
	VersionAliases map[string]string
	Annotations    map[string]string
	Etag           string
}) {
	w.t.Helper()
	w.call("GET", name, &s)
	return s
}

// point sets the aliases as an operator does.
func (w *world) point(name string, current, previous string) {
	w.t.Helper()
	aliases := fmt.Sprintf(`{"current":%q}`, current)
	if previous != "" {
		aliases = fmt.Sprintf(`{"current":%q,"previous":%q}`, current, previous)
	}
	w.operate("PATCH", name+`?updateMask=versionAliases {"versionAliases":`+aliases+`}`)
}

func (w *world) store(transport http.RoundTripper, timeout time.Duration) *gcpsecrets.Store {
	w.t.Helper()
	store, err := gcpsecrets.NewStore(gcpsecrets.Options{
		Project: "local-project", Authorizer: w.issuer, Endpoint: w.url, Transport: transport, Timeout: timeout,
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return store
}

// testStore runs the suite for secrets that an operator keeps with or without aliases.
func testStore(t *testing.T, aliases bool) {
	secretstest.TestStore(t, func(t *testing.T, line *secretstest.Line, timeout time.Duration) secretstest.World {
		w := newWorld(t, gcpsecretmanager.Options{})
		var current sync.Map
		return secretstest.World{
			Store: w.store(line, timeout), Another: w.store(nil, time.Minute), Reader: w.reader,
			Ref: func(name string) secrets.Ref { return secrets.Ref{Store: secrets.StoreGCP, Name: name} },
			Put: func(p secretstest.Put) string {
				version := w.put(p.Name, p.Text)
				last := w.secret(p.Name).VersionAliases["current"]
				if first, ok := current.Load(p.Name); aliases && last == "" && ok {
					last = first.(string)
				}
				if aliases || last != "" {
					w.point(p.Name, version, last)
				}
				current.Store(p.Name, version)
				return version
			},
			Pend: func(p secretstest.Put) {
				// Without an alias it would be the current one, so whoever stages a version by hand sets that first.
				if w.secret(p.Name).VersionAliases["current"] == "" {
					last, _ := current.Load(p.Name)
					n, _ := strconv.Atoi(last.(string))
					w.point(p.Name, last.(string), strconv.Itoa(n-1))
				}
				w.put(p.Name, p.Text)
			},
			Make:   func(name string) { w.operate("POST", `?secretId=`+name+` {"replication":{"automatic":{}}}`) },
			Delete: func(name string) { w.operate("DELETE", name) },
			Withdraw: func(name string) {
				last, _ := current.Load(name)
				w.operate("POST", name+"/versions/"+last.(string)+":disable {}")
			},
			StagesOnce: true, Swaps: true,
			Permissions: []string{
				"secretmanager.secrets.get", "secretmanager.secrets.update", "secretmanager.versions.access", "secretmanager.versions.add",
				"secretmanager.versions.destroy", "secretmanager.versions.get", "secretmanager.versions.list",
			},
			Deny: func(permissions ...string) {
				w.denied.Clear()
				for _, permission := range permissions {
					w.denied.Store(permission, true)
				}
			},
			Expire:       func() { w.set(func(i *issuer) { i.expired = true }) },
			LoseIdentity: func(err error) { w.set(func(i *issuer) { i.err = err }) },
			Throttled: secretstest.Reply{Status: 429, Header: http.Header{"Content-Type": {"application/json"}},
				Body: `{"error":{"code":429,"status":"RESOURCE_EXHAUSTED","message":"` + secretstest.Canary + `"}}`},
		}
	})
}

func TestStoreConformance(t *testing.T) {
	t.Parallel()
	testStore(t, false)
}

func TestStoreConformanceWithAliases(t *testing.T) {
	t.Parallel()
	testStore(t, true)
}
