package keyvault_test

import (
	"crypto/rand"
	"encoding/json"
	"flag"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postern-ai/postern/shared/secrets"
	"github.com/postern-ai/postern/shared/secrets/keyvault"
	"github.com/postern-ai/postern/shared/secrets/secretstest"
)

// live has the conformance suite run against the real service:
//
//	AZURE_KEYVAULT_URL=... AZURE_KEYVAULT_TOKEN=... go test ./shared/secrets/keyvault -run Live -parallel 1 -live postern-test
//
// It makes some hundred secrets whose names begin so, and deletes them. The vault keeps deleted ones as long as it is told to.
var live = flag.String("live", "", "how the names of the secrets begin that are made and deleted in the vault of the environment")

func (w *world) store(transport http.RoundTripper, timeout time.Duration) *keyvault.Store {
	w.t.Helper()
	options := w.options
	options.Transport, options.Timeout = transport, timeout
	store, err := keyvault.NewStore(options)
	if err != nil {
		w.t.Fatal(err)
	}
	return store
}

// rotated is a world as the suite for stores wants it.
func (w *world) rotated(line *secretstest.Line, timeout time.Duration, prefix string) secretstest.World {
	var newest sync.Map // by name
	put := func(name, text string) string {
		body, err := json.Marshal(map[string]string{"value": text})
		if err != nil {
			w.t.Fatal(err)
		}
		return w.enter(prefix+name, string(body))
	}
	return secretstest.World{
		Store: w.store(line, timeout), Another: w.store(w.options.Transport, time.Minute), Reader: w.reader,
		Ref: func(name string) secrets.Ref { return secrets.Ref{Store: secrets.StoreKeyVault, Name: prefix + name} },
		Put: func(p secretstest.Put) string {
			id := put(p.Name, p.Text)
			newest.Store(p.Name, id)
			return id
		},
		Pend:   func(p secretstest.Put) { put(p.Name+"--pending", p.Text) },
		Delete: func(name string) { w.operate("DELETE", prefix+name) },
		Withdraw: func(name string) {
			id, _ := newest.Load(name)
			w.operate("PATCH", prefix+name+"/"+id.(string)+` {"attributes":{"enabled":false}}`)
		},
		Throttled: secretstest.Reply{Status: 429, Header: http.Header{"Content-Type": {"application/json"}},
			Body: `{"error":{"code":"Throttled","message":"` + secretstest.Canary + `"}}`},
	}
}

func TestStoreConformance(t *testing.T) {
	t.Parallel()
	secretstest.TestStore(t, func(t *testing.T, line *secretstest.Line, timeout time.Duration) secretstest.World {
		w := newWorld(t)
		line.Over(w.options.Transport)
		tested := w.rotated(line, timeout, "")
		tested.Permissions = []string{getSecret, readMetadata, setSecret, updateSecret}
		tested.Deny = func(permissions ...string) {
			w.denied.Clear()
			for _, permission := range permissions {
				w.denied.Store(permission, true)
			}
		}
		tested.Expire = func() { w.set(func(i *issuer) { i.expired = true }) }
		tested.LoseIdentity = func(err error) { w.set(func(i *issuer) { i.err = err }) }
		return tested
	})
}

func TestLive(t *testing.T) {
	if *live == "" {
		t.Skip("it takes a vault and the flag -live")
	}
	token := secretstest.Bearer(os.Getenv("AZURE_KEYVAULT_TOKEN"))
	options := keyvault.Options{Vault: os.Getenv("AZURE_KEYVAULT_URL"), Authorizer: token, Timeout: time.Minute}
	secretstest.TestStore(t, func(t *testing.T, line *secretstest.Line, timeout time.Duration) secretstest.World {
		w := &world{t: t, options: options, do: func(request *http.Request) (int, []byte) { return token.Do(t, request) }}
		w.open()
		t.Cleanup(w.clear)
		// Whatever a test makes begins with what nothing else does, by which it is found again.
		return w.rotated(line, timeout, *live+"-"+strings.ToLower(rand.Text())+"-")
	})
}

// clear deletes what has been made, and what rotations have made beside it.
func (w *world) clear() {
	w.made.Range(func(name, _ any) bool {
		for _, one := range []string{name.(string), strings.TrimSuffix(name.(string), "--pending") + "--pending"} {
			status, reply := w.do(httptest.NewRequest("DELETE", w.address(one), nil))
			if status != http.StatusOK && status != http.StatusNotFound {
				w.t.Errorf("%s is still there: %d %s", one, status, reply)
			}
		}
		return true
	})
}
