package blob_test

import (
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	fake "github.com/postern-ai/postern/localdev/fake/blob"
	"github.com/postern-ai/postern/localdev/fake/fault"
	"github.com/postern-ai/postern/shared/ledger"
	"github.com/postern-ai/postern/shared/ledger/blob"
	"github.com/postern-ai/postern/shared/ledger/ledgertest"
)

// issuer gives out access tokens, the newest of which is good.
type issuer struct {
	mu      sync.Mutex
	issued  int
	expired bool
	err     error
}

func (i *issuer) token(n int) string { return ledgertest.Canary + "-token-" + strconv.Itoa(n) }

func (i *issuer) caller(token string) (string, bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	return "rotate", token == i.token(i.issued) && !i.expired
}

// Authorize implements ledger.Authorizer.
func (i *issuer) Authorize(request *http.Request) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	request.Header.Set("Authorization", "Bearer "+i.token(i.issued))
	return i.err
}

// Rejected implements ledger.Authorizer.
func (i *issuer) Rejected(request *http.Request) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if request.Header.Get("Authorization") == "Bearer "+i.token(i.issued) {
		i.issued, i.expired = i.issued+1, false
	}
}

func (i *issuer) set(change func(*issuer)) {
	i.mu.Lock()
	defer i.mu.Unlock()
	change(i)
}

var names = map[ledgertest.Operation]string{ledgertest.Read: "GetBlob", ledgertest.Write: "PutBlob", ledgertest.Remove: "DeleteBlob"}

const actions = "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/"

// world is a stand-in, and two ledgers in it.
type world struct {
	*issuer
	server *fake.Server
	denied [3]atomic.Bool
	ledger []*ledger.Book
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{issuer: &issuer{}}
	w.server = fake.New(fake.Options{
		Caller: w.caller, Containers: []string{"postern-ledger"},
		Allow: func(access fake.Access) bool {
			on, known := map[string]ledgertest.Operation{actions + "read": ledgertest.Read, actions + "write": ledgertest.Write, actions + "delete": ledgertest.Remove}[access.Action]
			return known && !w.denied[on].Load()
		},
	})
	for range 2 {
		made, err := blob.New(blob.Options{Account: "https://account.blob.core.windows.net/", Container: "postern-ledger", Authorizer: w.issuer, Transport: ledgertest.Transport(w.server)})
		if err != nil {
			t.Fatal(err)
		}
		w.ledger = append(w.ledger, made)
	}
	return w
}

func (w *world) breakDown(b ledgertest.Broken) {
	f := fault.Fault{Status: b.Status, Header: b.Header, Body: b.Body, Hangup: b.Hangup, Times: b.Times}
	if b.Status == 0 && !b.Hangup {
		f.Delay = time.Hour
	}
	if b.After {
		w.server.Faults.After(names[b.On]).Set(f)
		return
	}
	w.server.Faults.Before(names[b.On]).Set(f)
}

func (w *world) mend() {
	for _, name := range names {
		w.server.Faults.Before(name).Clear()
		w.server.Faults.After(name).Clear()
	}
}

func TestConformance(t *testing.T) {
	t.Parallel()
	ledgertest.Test(t, func(t *testing.T) ledgertest.World {
		w := newWorld(t)
		return ledgertest.World{
			Ledger: w.ledger[0], Another: w.ledger[1],
			Deny:         func(on ledgertest.Operation) { w.denied[on].Store(true) },
			Permission:   map[ledgertest.Operation]string{ledgertest.Read: "may not read blobs; it needs the role Storage Blob Data Contributor", ledgertest.Write: "may not write", ledgertest.Remove: "may not delete"},
			Expire:       func() { w.set(func(i *issuer) { i.expired = true }) },
			LoseIdentity: func(err error) { w.set(func(i *issuer) { i.err = err }) },
			Break:        w.breakDown, Mend: w.mend,
			Throttled: ledgertest.Broken{Status: 503, Header: http.Header{"X-Ms-Error-Code": {"ServerBusy"}}, Body: "<Error>" + ledgertest.Canary},
			Calls:     func() int { return w.server.Faults.Before("").Calls() },
			Plant:     func(key string) { w.server.Seed(fake.Blob{Container: "postern-ledger", Name: key, Text: "a note"}) },
		}
	})
}
