package keyvault_test

import (
	"net/http"
	"sync"
	"testing"
	"time"

	fake "github.com/postern-ai/postern/localdev/fake/keyvault"
	"github.com/postern-ai/postern/shared/secrets"
	"github.com/postern-ai/postern/shared/secrets/keyvault"
	"github.com/postern-ai/postern/shared/secrets/secretstest"
)

func (w *world) store(transport http.RoundTripper, timeout time.Duration) *keyvault.Store {
	w.t.Helper()
	store, err := keyvault.NewStore(keyvault.Options{Vault: w.listener.URL, Authorizer: w.issuer, Transport: transport, Timeout: timeout})
	if err != nil {
		w.t.Fatal(err)
	}
	return store
}

func TestStoreConformance(t *testing.T) {
	t.Parallel()
	secretstest.TestStore(t, func(t *testing.T, line *secretstest.Line, timeout time.Duration) secretstest.World {
		w := newWorld(t)
		line.Over(w.listener.Client().Transport)
		var newest sync.Map
		return secretstest.World{
			Store: w.store(line, timeout), Another: w.store(w.listener.Client().Transport, time.Minute), Reader: w.reader,
			Ref: func(name string) secrets.Ref { return secrets.Ref{Store: secrets.StoreKeyVault, Name: name} },
			Put: func(p secretstest.Put) string {
				id := w.server.Seed(fake.Secret{Name: p.Name, Text: p.Text})
				newest.Store(p.Name, id)
				return id
			},
			Pend:   func(p secretstest.Put) { w.server.Seed(fake.Secret{Name: p.Name + "--pending", Text: p.Text}) },
			Delete: func(name string) { w.operate("DELETE", name) },
			Withdraw: func(name string) {
				id, _ := newest.Load(name)
				w.operate("PATCH", name+"/"+id.(string)+` {"attributes":{"enabled":false}}`)
			},
			Permissions: []string{getSecret, readMetadata, setSecret, updateSecret},
			Deny: func(permissions ...string) {
				w.denied.Clear()
				for _, permission := range permissions {
					w.denied.Store(permission, true)
				}
			},
			Expire:       func() { w.set(func(i *issuer) { i.expired = true }) },
			LoseIdentity: func(err error) { w.set(func(i *issuer) { i.err = err }) },
			Throttled: secretstest.Reply{Status: 429, Header: http.Header{"Content-Type": {"application/json"}},
				Body: `{"error":{"code":"Throttled","message":"` + secretstest.Canary + `"}}`},
		}
	})
}
