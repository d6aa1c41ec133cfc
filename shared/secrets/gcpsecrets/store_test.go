package gcpsecrets_test

import (
	"cmp"
	"crypto/rand"
	"encoding/base64"
	"flag"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postern-ai/postern/localdev/fake/gcpsecretmanager"
	"github.com/postern-ai/postern/shared/secrets"
	"github.com/postern-ai/postern/shared/secrets/gcpsecrets"
	"github.com/postern-ai/postern/shared/secrets/secretstest"
)

// live has the conformance suite run against the real service:
//
//	GOOGLE_CLOUD_PROJECT=... GOOGLE_OAUTH_ACCESS_TOKEN=... go test ./shared/secrets/gcpsecrets -run Live -parallel 1 -live postern-test
//
// It makes some hundred secrets whose names begin so, and deletes them. What is not seen at once by who reads by an alias
// (https://cloud.google.com/secret-manager/docs/reference/consistency) is an error to the suite.
var live = flag.String("live", "", "how the names of the secrets begin that are made and deleted in the project of the environment")

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

func (w *world) make(name string) {
	w.t.Helper()
	w.operate("POST", "?secretId="+name+` {"replication":{"automatic":{}}}`)
	w.made.Store(name, true)
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
	options := w.options
	options.Transport, options.Timeout = transport, timeout
	store, err := gcpsecrets.NewStore(options)
	if err != nil {
		w.t.Fatal(err)
	}
	return store
}

// rotated is a world as the suite for stores wants it. An operator keeps its secrets with or without aliases.
func (w *world) rotated(line *secretstest.Line, timeout time.Duration, prefix string, aliases bool) secretstest.World {
	var current sync.Map // by name
	add := func(p secretstest.Put) string {
		var made struct{ Name string }
		add := fmt.Sprintf(`%s:addVersion {"payload":{"data":%q}}`, p.Name, base64.StdEncoding.EncodeToString([]byte(p.Text)))
		if status, _ := w.try("POST", add, &made); status != http.StatusOK {
			w.make(p.Name)
			w.call("POST", add, &made)
		}
		return made.Name[strings.LastIndex(made.Name, "/")+1:]
	}
	return secretstest.World{
		Store: w.store(line, timeout), Another: w.store(nil, time.Minute), Reader: w.reader,
		Ref: func(name string) secrets.Ref { return secrets.Ref{Store: secrets.StoreGCP, Name: prefix + name} },
		Put: func(p secretstest.Put) string {
			p.Name = prefix + p.Name
			version := add(p)
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
			p.Name = prefix + p.Name
			// Without an alias it would be the current one, so whoever stages a version by hand sets that first.
			if w.secret(p.Name).VersionAliases["current"] == "" {
				last, _ := current.Load(p.Name)
				n, _ := strconv.Atoi(last.(string))
				w.point(p.Name, last.(string), strconv.Itoa(n-1))
			}
			add(p)
		},
		Make:   func(name string) { w.make(prefix + name) },
		Delete: func(name string) { w.operate("DELETE", prefix+name) },
		Withdraw: func(name string) {
			last, _ := current.Load(prefix + name)
			w.operate("POST", prefix+name+"/versions/"+last.(string)+":disable {}")
		},
		Swaps: true,
		Throttled: secretstest.Reply{Status: 429, Header: http.Header{"Content-Type": {"application/json"}},
			Body: `{"error":{"code":429,"status":"RESOURCE_EXHAUSTED","message":"` + secretstest.Canary + `"}}`},
	}
}

func testStore(t *testing.T, aliases bool) {
	secretstest.TestStore(t, func(t *testing.T, line *secretstest.Line, timeout time.Duration) secretstest.World {
		w := newWorld(t, gcpsecretmanager.Options{})
		tested := w.rotated(line, timeout, "", aliases)
		tested.Permissions = []string{
			"secretmanager.secrets.get", "secretmanager.secrets.update", "secretmanager.versions.access", "secretmanager.versions.add",
			"secretmanager.versions.destroy", "secretmanager.versions.get", "secretmanager.versions.list",
		}
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

func TestStoreConformance(t *testing.T) {
	t.Parallel()
	testStore(t, false)
}

func TestStoreConformanceWithAliases(t *testing.T) {
	t.Parallel()
	testStore(t, true)
}

func TestLive(t *testing.T) {
	if *live == "" {
		t.Skip("it takes a project and the flag -live")
	}
	const endpoint = "CLOUDSDK_API_ENDPOINT_OVERRIDES_SECRETMANAGER"
	token := secretstest.Bearer(os.Getenv("GOOGLE_OAUTH_ACCESS_TOKEN"))
	options := gcpsecrets.Options{Project: os.Getenv("GOOGLE_CLOUD_PROJECT"), Authorizer: token, Endpoint: os.Getenv(endpoint), Timeout: time.Minute}
	host := strings.TrimSuffix(cmp.Or(options.Endpoint, "https://secretmanager.googleapis.com"), "/")
	secretstest.TestStore(t, func(t *testing.T, line *secretstest.Line, timeout time.Duration) secretstest.World {
		w := &world{t: t, options: options, host: host, do: func(request *http.Request) (int, []byte) { return token.Do(t, request) }}
		w.open()
		// Whatever a test makes begins with what nothing else does, by which it is found again.
		prefix := *live + "-" + strings.ToLower(rand.Text()) + "-"
		t.Cleanup(w.clear)
		return w.rotated(line, timeout, prefix, false)
	})
}

// clear deletes what has been made and is still there.
func (w *world) clear() {
	w.made.Range(func(name, _ any) bool {
		if status, reply := w.try("DELETE", name.(string), new(any)); status != http.StatusOK && status != http.StatusNotFound {
			w.t.Errorf("%s is still there: %d %s", name, status, reply)
		}
		return true
	})
}
