package eventbridge_test

import (
	"context"
	"flag"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/postern-ai/postern/localdev/contract/contracttest"
	"github.com/postern-ai/postern/localdev/fake/awsauth"
	fake "github.com/postern-ai/postern/localdev/fake/eventbridge"
	"github.com/postern-ai/postern/localdev/fake/fault"
	"github.com/postern-ai/postern/shared/audit/audittest"
	"github.com/postern-ai/postern/shared/audit/eventbridge"
	"github.com/postern-ai/postern/shared/identity/sigv4"
	"github.com/postern-ai/postern/shared/ledger/ledgertest"
	"github.com/postern-ai/postern/shared/secrets"
)

const region = "eu-central-1"

var live = flag.String("live", "", "name or ARN of a real event bus, on which the suite publishes as whom the environment's AWS credentials stand for")

var described = contracttest.AWS("events")

// world is a stand-in, and who publishes on it.
type world struct {
	audittest.Credentials
	server *fake.Server
	mu     sync.Mutex
	denied bool
}

func newWorld() *world {
	w := &world{}
	w.server = fake.New(fake.Options{
		Region: region, Buses: []string{"audit"},
		Keys: func(id string) (awsauth.Key, bool) {
			token, _ := w.Newest()
			return awsauth.Key{AccessKeyID: id, SecretAccessKey: audittest.Canary + "-secret", SessionToken: token, ARN: "arn:aws:sts::123456789012:assumed-role/" + audittest.Canary}, w.Good(token)
		},
		Allow: func(access fake.Access) bool {
			w.mu.Lock()
			defer w.mu.Unlock()
			return !w.denied && access.Action == "events:PutEvents" && access.Resource == "arn:aws:events:eu-central-1:123456789012:event-bus/audit"
		},
	})
	return w
}

// signer signs with the newest credentials, as functions do.
func (w *world) signer(t *testing.T) *sigv4.Authorizer {
	t.Helper()
	signer, err := sigv4.New(sigv4.Options{Service: "events", Region: region, Identity: sigv4.NewIdentity(sigv4.IdentityOptions{
		Getenv: func(string) string { return "" },
		Credentials: sigv4.NewStatic(sigv4.StaticOptions{
			Keys: func(context.Context) (sigv4.StaticKeys, error) {
				token, err := w.Newest()
				return sigv4.StaticKeys{AccessKeyID: secrets.NewValue("ASIATEST"), SecretAccessKey: secrets.NewValue(audittest.Canary + "-secret"), SessionToken: secrets.NewValue(token)}, err
			},
			OnRejected: func(rejected sigv4.StaticKeys) { w.Replace(rejected.SessionToken.Reveal()) },
		}),
	})})
	if err != nil {
		t.Fatal(err)
	}
	return signer
}

func (w *world) breakDown(b audittest.Broken) {
	at := w.server.Faults.Before
	if b.After {
		at = w.server.Faults.After
	}
	at("PutEvents").Set(fault.Fault{Status: b.Status, Header: b.Header, Body: b.Body, Hangup: b.Hangup, Times: b.Times})
}

// options are those of a publisher on the stand-in.
func (w *world) options(t *testing.T) eventbridge.Options {
	return eventbridge.Options{Bus: "audit", Region: region, Authorizer: w.signer(t), Transport: ledgertest.Transport(described.Requests(t, w.server))}
}

func TestConformance(t *testing.T) {
	t.Parallel()
	audittest.Run(t, func(t *testing.T) audittest.Bus {
		w := newWorld()
		publisher, err := eventbridge.New(w.options(t))
		if err != nil {
			t.Fatal(err)
		}
		return audittest.Bus{
			Publisher: publisher, Accepted: w.server.Events,
			Refuse: func(refuse bool) {
				w.server.Refuse(nil)
				if refuse {
					w.server.Refuse(&fake.Refusal{Code: "InternalFailure"})
				}
			},
			RefuseSome: func() { w.server.Refuse(&fake.Refusal{Code: "ThrottlingException", Every: 2, Calls: 1}) },
			Hang:       func() { w.server.Faults.Before("PutEvents").Set(fault.Fault{Delay: time.Hour}) },
			Service: &audittest.Service{
				Break:     w.breakDown,
				Throttled: audittest.Broken{Status: 400, Body: `{"__type":"ThrottlingException","message":"` + audittest.Canary + `"}`},
				Deny: func() {
					w.mu.Lock()
					defer w.mu.Unlock()
					w.denied = true
				},
				Permission: "events:PutEvents", Credentials: &w.Credentials,
				Calls: w.server.Faults.Before("").Calls,
			},
		}
	})
}

// TestLive runs the suite on a real bus: go test ./shared/audit/eventbridge -live NAME.
func TestLive(t *testing.T) {
	if *live == "" {
		t.Skip("-live names no bus")
	}
	where := eventbridge.Region(*live, os.Getenv("AWS_REGION"))
	signer, err := sigv4.New(sigv4.Options{Service: "events", Region: where})
	if err != nil {
		t.Fatal(err)
	}
	publisher, err := eventbridge.New(eventbridge.Options{Bus: *live, Region: where, Authorizer: signer, Timeout: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	audittest.Live(t, publisher)
}
