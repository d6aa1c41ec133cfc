package eventgrid_test

import (
	"flag"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"

	fake "github.com/postern-ai/postern/localdev/fake/eventgrid"
	"github.com/postern-ai/postern/localdev/fake/fault"
	"github.com/postern-ai/postern/shared/audit/audittest"
	"github.com/postern-ai/postern/shared/audit/eventgrid"
	"github.com/postern-ai/postern/shared/ledger/ledgertest"
)

const topic = "https://audit.westeurope-1.eventgrid.azure.net/api/events"

var live = flag.String("live", "", "endpoint of a real topic, on which the suite publishes as whom azidentity finds, such as who is signed in to the az tool")

// world is a stand-in, and who publishes on it.
type world struct {
	audittest.Credentials
	server *fake.Server
	denied atomic.Bool
}

func newWorld() *world {
	w := &world{}
	w.server = fake.New(fake.Options{
		Host:   "audit.westeurope-1.eventgrid.azure.net",
		Caller: func(token string) (string, bool) { return audittest.Canary, w.Good(token) },
		Allow: func(access fake.Access) bool {
			return !w.denied.Load() && access.Action == "Microsoft.EventGrid/events/send/action"
		},
	})
	return w
}

func (w *world) breakDown(b audittest.Broken) {
	at := w.server.Faults.Before
	if b.After {
		at = w.server.Faults.After
	}
	at("PublishCloudEvents").Set(fault.Fault{Status: b.Status, Header: b.Header, Body: b.Body, Hangup: b.Hangup, Times: b.Times})
}

// options are those of a publisher on the stand-in.
func (w *world) options() eventgrid.Options {
	return eventgrid.Options{Topic: topic, Authorizer: w, Transport: ledgertest.Transport(w.server)}
}

func TestConformance(t *testing.T) {
	t.Parallel()
	audittest.Run(t, func(t *testing.T) audittest.Bus {
		w := newWorld()
		publisher, err := eventgrid.New(w.options())
		if err != nil {
			t.Fatal(err)
		}
		return audittest.Bus{
			Publisher: publisher, Accepted: w.server.Events,
			Refuse: func(refuse bool) {
				w.server.Faults.Before("PublishCloudEvents").Clear()
				if refuse {
					w.breakDown(failed(503, "ServiceUnavailable"))
				}
			},
			Hang: func() { w.server.Faults.Before("PublishCloudEvents").Set(fault.Fault{Delay: time.Hour}) },
			Service: &audittest.Service{
				Break: w.breakDown, Throttled: failed(429, "TooManyRequests"),
				Deny: func() { w.denied.Store(true) }, Permission: "EventGrid Data Sender", Credentials: &w.Credentials,
				Calls: w.server.Faults.Before("").Calls,
			},
		}
	})
}

// signedIn is whom azidentity finds on this machine.
type signedIn struct {
	credential *azidentity.DefaultAzureCredential
}

// Authorize implements audit.Authorizer.
func (s signedIn) Authorize(request *http.Request) error {
	token, err := s.credential.GetToken(request.Context(), policy.TokenRequestOptions{Scopes: []string{eventgrid.Scope}})
	if err == nil {
		request.Header.Set("Authorization", "Bearer "+token.Token)
	}
	return err
}

// Rejected implements audit.Authorizer.
func (signedIn) Rejected(*http.Request) {}

// TestLive runs the suite on a real topic: go test ./shared/audit/eventgrid -live https://NAME.REGION-1.eventgrid.azure.net/api/events.
func TestLive(t *testing.T) {
	if *live == "" {
		t.Skip("-live names no topic")
	}
	credential, err := azidentity.NewDefaultAzureCredential(nil)
	if err != nil {
		t.Fatal(err)
	}
	publisher, err := eventgrid.New(eventgrid.Options{Topic: *live, Authorizer: signedIn{credential}, Timeout: 20 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	audittest.Live(t, publisher)
}
