package dynamodb_test

import (
	"context"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/postern-ai/postern/localdev/contract/contracttest"
	"github.com/postern-ai/postern/localdev/fake/awsauth"
	fake "github.com/postern-ai/postern/localdev/fake/dynamodb"
	"github.com/postern-ai/postern/localdev/fake/fault"
	"github.com/postern-ai/postern/shared/ledger"
	"github.com/postern-ai/postern/shared/ledger/dynamodb"
	"github.com/postern-ai/postern/shared/ledger/ledgertest"
)

const region = "eu-central-1"

// issuer gives out credentials, the newest of which is good.
type issuer struct {
	mu          sync.Mutex
	issued      int
	invalidated bool
	err         error
}

func (i *issuer) key(n int) awsauth.Key {
	id := "ASIATEST" + strconv.Itoa(n)
	return awsauth.Key{AccessKeyID: id, SecretAccessKey: "secret of " + id, SessionToken: ledgertest.Canary + " of " + id, ARN: "arn:aws:sts::123456789012:assumed-role/r/s"}
}

func (i *issuer) find(id string) (awsauth.Key, bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	key := i.key(i.issued)
	if i.invalidated {
		key = i.key(i.issued + 1)
	}
	return key, id == key.AccessKeyID
}

// Retrieve implements aws.CredentialsProvider.
func (i *issuer) Retrieve(context.Context) (aws.Credentials, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	key := i.key(i.issued)
	return aws.Credentials{AccessKeyID: key.AccessKeyID, SecretAccessKey: key.SecretAccessKey, SessionToken: key.SessionToken}, i.err
}

// Invalidate is called when the service did not accept what Retrieve gave.
func (i *issuer) Invalidate() {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.invalidated {
		i.issued, i.invalidated = i.issued+1, false
	}
}

func (i *issuer) set(change func(*issuer)) {
	i.mu.Lock()
	defer i.mu.Unlock()
	change(i)
}

var described = contracttest.AWS("dynamodb")

var names = map[ledgertest.Operation]string{ledgertest.Read: "GetItem", ledgertest.Write: "PutItem", ledgertest.Remove: "DeleteItem"}

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
		Region: region, Keys: w.find, Tables: []fake.Table{{Name: "postern-ledger", TTL: "expires"}},
		Allow: func(access fake.Access) bool {
			for on, name := range names {
				if access.Action == "dynamodb:"+name {
					return !w.denied[on].Load()
				}
			}
			return false
		},
	})
	for range 2 {
		made, err := dynamodb.New(dynamodb.Options{
			Table: "postern-ledger", Region: region, Credentials: w.issuer, Transport: ledgertest.Transport(described.Requests(t, w.server)),
		})
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
			Permission:   map[ledgertest.Operation]string{ledgertest.Read: "dynamodb:GetItem", ledgertest.Write: "dynamodb:PutItem", ledgertest.Remove: "dynamodb:DeleteItem"},
			Expire:       func() { w.set(func(i *issuer) { i.invalidated = true }) },
			LoseIdentity: func(err error) { w.set(func(i *issuer) { i.err = err }) },
			Break:        w.breakDown, Mend: w.mend,
			Throttled: ledgertest.Broken{Status: 400, Body: `{"__type":"com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException","message":"` + ledgertest.Canary + `"}`},
			Calls:     func() int { return w.server.Faults.Before("").Calls() },
			Sweep:     w.server.Sweep,
			Plant: func(key string) {
				w.server.Seed(fake.Item{Table: "postern-ledger", Key: key, Strings: map[string]string{"data": "x"}})
			},
		}
	})
}
