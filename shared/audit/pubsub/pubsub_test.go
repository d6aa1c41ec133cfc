package pubsub_test

import (
	"flag"
	"sync/atomic"
	"testing"
	"time"

	"github.com/postern-ai/postern/localdev/contract/contracttest"
	"github.com/postern-ai/postern/localdev/fake/fault"
	fake "github.com/postern-ai/postern/localdev/fake/pubsub"
	"github.com/postern-ai/postern/shared/audit/audittest"
	"github.com/postern-ai/postern/shared/audit/pubsub"
	"github.com/postern-ai/postern/shared/identity"
	"github.com/postern-ai/postern/shared/identity/googleid"
	"github.com/postern-ai/postern/shared/ledger/ledgertest"
)

const topic = "projects/some-project/topics/audit"

var live = flag.String("live", "", "full name of a real topic, on which the suite publishes as whom Google's Application Default Credentials stand for")

var described = contracttest.Google("pubsub-v1")

// world is a stand-in, and who publishes on it.
type world struct {
	audittest.Credentials
	server *fake.Server
	denied atomic.Bool
}

func newWorld() *world {
	w := &world{}
	w.server = fake.New(fake.Options{
		Member: func(token string) (string, bool) { return "serviceAccount:" + audittest.Canary, w.Good(token) },
		Topics: []string{topic},
		Allow: func(access fake.Access) bool {
			return !w.denied.Load() && access.Permission == "pubsub.topics.publish"
		},
	})
	return w
}

func (w *world) breakDown(b audittest.Broken) {
	at := w.server.Faults.Before
	if b.After {
		at = w.server.Faults.After
	}
	at("publish").Set(fault.Fault{Status: b.Status, Header: b.Header, Body: b.Body, Hangup: b.Hangup, Times: b.Times})
}

// options are those of a publisher on the stand-in.
func (w *world) options(t *testing.T) pubsub.Options {
	return pubsub.Options{Topic: topic, Authorizer: w, Transport: ledgertest.Transport(described.Requests(t, w.server))}
}

func TestConformance(t *testing.T) {
	t.Parallel()
	for name, ordered := range map[string]bool{"in any order": false, "in order": true} {
		t.Run(name, func(t *testing.T) {
			audittest.Run(t, func(t *testing.T) audittest.Bus {
				w := newWorld()
				options := w.options(t)
				options.Ordered = ordered
				publisher, err := pubsub.New(options)
				if err != nil {
					t.Fatal(err)
				}
				return audittest.Bus{
					Publisher: publisher, Accepted: w.server.Events,
					Refuse: func(refuse bool) {
						w.server.Faults.Before("publish").Clear()
						if refuse {
							w.breakDown(failed(429, "RESOURCE_EXHAUSTED", ""))
						}
					},
					Hang: func() { w.server.Faults.Before("publish").Set(fault.Fault{Delay: time.Hour}) },
					Service: &audittest.Service{
						Break: w.breakDown, Throttled: failed(429, "RESOURCE_EXHAUSTED", ""),
						Deny: func() { w.denied.Store(true) }, Permission: "pubsub.topics.publish (roles/pubsub.publisher)", Credentials: &w.Credentials,
						Calls: w.server.Faults.Before("").Calls,
					},
				}
			})
		})
	}
}

// TestLive runs the suite on a real topic: go test ./shared/audit/pubsub -live projects/PROJECT/topics/TOPIC.
func TestLive(t *testing.T) {
	if *live == "" {
		t.Skip("-live names no topic")
	}
	source, err := googleid.NewAmbient(googleid.AmbientOptions{})
	if err != nil {
		t.Fatal(err)
	}
	authorizer := identity.Bearer(identity.NewCache(source, identity.CacheOptions{}))
	publisher, err := pubsub.New(pubsub.Options{Topic: *live, Authorizer: authorizer, Timeout: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	audittest.Live(t, publisher)
}
