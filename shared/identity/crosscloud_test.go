package identity_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-ai/postern/localdev/fake/fault"
	"github.com/postern-ai/postern/shared/identity"
)

// each runs a test in a world of its own for every way to call a model service without a stored key: three on one cloud, six across, and one across directories.
func each(t *testing.T, run func(*testing.T, *world, direction)) {
	t.Helper()
	azure(t)
	names := newWorld(t).everything()
	for name := range names {
		t.Run(name, func(t *testing.T) {
			azure(t)
			synctest.Test(t, func(t *testing.T) {
				// A bubble has a clock of its own, in which nothing from outside has been issued.
				w := bubbleWorld(t)
				run(t, w, w.everything()[name])
			})
		})
	}
}

// authorize is one request, which must be accepted.
func (d direction) authorize(t *testing.T, authorizer identity.Authorizer) *http.Request {
	t.Helper()
	request := upstream(t.Context())
	if err := authorizer.Authorize(request); err != nil {
		t.Fatal(err)
	}
	if err := d.valid(request); err != nil {
		t.Fatal(err)
	}
	return request
}

func TestEveryDirectionIsAcceptedByItsTargetAndNamesWhoItIs(t *testing.T) {
	each(t, func(t *testing.T, _ *world, d direction) {
		ctx, report := identity.WithReport(t.Context())
		request := upstream(ctx)
		if err := d.authorizer().Authorize(request); err != nil {
			t.Fatal(err)
		}
		if err := d.valid(request); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		if got := report.Principal(); got.Name != d.principal || got.Source == "" {
			t.Errorf("signed by %+v, want %s", got, d.principal)
		}
	})
}

func TestEveryDirectionFailsClearlyInTimeWhenATokenServiceOnItsWayDoes(t *testing.T) {
	faults := map[string]fault.Fault{
		"is down":               {Hangup: true},
		"is slow":               {Delay: time.Hour},
		"limits the rate":       {Status: 429, Body: "canary"},
		"is broken":             {Status: 503, Body: "canary"},
		"refuses":               {Status: 403, Body: "canary"},
		"answers nonsense":      {Status: 200, Body: "canary", Header: http.Header{"Metadata-Flavor": {"Google"}}},
		"redirects":             {Status: 307, Header: http.Header{"Location": {"https://evil.example/canary"}, "Metadata-Flavor": {"Google"}}},
		"does not stop talking": {Status: 200, Body: strings.Repeat("canary", 1<<16), Header: http.Header{"Metadata-Flavor": {"Google"}}},
	}
	each(t, func(t *testing.T, _ *world, d direction) {
		for number, issuer := range d.issuers {
			for name, broken := range faults {
				issuer.Set(broken)
				start := time.Now()
				err := d.authorizer().Authorize(upstream(t.Context()))
				if took := time.Since(start); took >= 3*time.Second {
					t.Errorf("token service %d %s: took %v", number, name, took)
				}
				if _, ok := errors.AsType[*identity.Error](err); !ok || strings.Contains(err.Error(), "canary") || strings.Contains(err.Error(), "evil") {
					t.Errorf("token service %d %s: got %v", number, name, err)
				}
				issuer.Clear()
				time.Sleep(time.Minute)
			}
		}
	})
}

func TestEveryDirectionGoesOnWithAValidCredentialWhileItsTokenServicesAreDown(t *testing.T) {
	each(t, func(t *testing.T, _ *world, d direction) {
		authorizer := d.authorizer()
		d.authorize(t, authorizer)
		time.Sleep(50 * time.Minute)
		for _, issuer := range d.issuers {
			issuer.Set(fault.Fault{Status: 500})
		}
		for range 9 {
			d.authorize(t, authorizer)
			time.Sleep(time.Minute)
		}
		for _, issuer := range d.issuers {
			issuer.Clear()
		}
		time.Sleep(time.Minute)
		d.authorize(t, authorizer)
	})
}

func TestEveryDirectionIsRefusedInAnotherName(t *testing.T) {
	for _, d := range newWorld(t).directions() {
		t.Run(d.name, func(t *testing.T) {
			azure(t)
			// Another world has the same keys and knows nobody of this one; what differs is who was registered.
			synctest.Test(t, func(t *testing.T) {
				w := bubbleWorld(t)
				stranger := w.everything()[d.name]
				request := upstream(t.Context())
				if err := bubbleWorld(t).everything()[d.name].authorizer().Authorize(request); err != nil {
					t.Fatal(err)
				}
				if err := stranger.valid(request); err == nil {
					t.Error("a credential that was issued elsewhere is accepted")
				}
			})
		})
	}
}

func TestADayOfRequestsNeverCarriesADeadCredentialAndAsksSeldom(t *testing.T) {
	each(t, func(t *testing.T, w *world, d direction) {
		authorizer := d.authorizer()
		for minute := range 24 * 60 {
			if minute%60 == 0 {
				// The platform's own credentials change under the function too.
				w.renew()
			}
			d.authorize(t, authorizer)
			time.Sleep(time.Minute)
		}
		// A new one each hour, and at most three questions for each.
		if asked := d.calls(); asked > 24*len(d.issuers)*3+10 {
			t.Errorf("%d questions in a day", asked)
		}
	})
}

func TestAThawedInstanceNeverUsesADeadCredential(t *testing.T) {
	each(t, func(t *testing.T, w *world, d direction) {
		authorizer := d.authorizer()
		for _, frozen := range []time.Duration{59*time.Minute + 55*time.Second, time.Hour, 25 * time.Hour, 400 * 24 * time.Hour} {
			d.authorize(t, authorizer)
			time.Sleep(frozen)
			w.renew()
			if strings.HasPrefix(d.name, "from Lambda") {
				// Lambda never thaws an environment whose credentials have ended: it makes a new one.
				authorizer = d.authorizer()
			}
			d.authorize(t, authorizer)
		}
	})
}

func TestAThousandColdRequestsMakeOneQuestionPerTokenService(t *testing.T) {
	each(t, func(t *testing.T, _ *world, d direction) {
		authorizer := d.authorizer()
		var wait sync.WaitGroup
		for range 1000 {
			wait.Go(func() {
				request := upstream(t.Context())
				if err := authorizer.Authorize(request); err != nil {
					t.Error(err)
				}
			})
		}
		wait.Wait()
		if asked := d.calls(); asked != len(d.issuers) {
			t.Errorf("%d questions, want %d", asked, len(d.issuers))
		}
	})
}

func TestARejectedCredentialIsReplacedOnceAndALateRejectionIsNot(t *testing.T) {
	each(t, func(t *testing.T, _ *world, d direction) {
		authorizer := d.authorizer()
		rejected := d.authorize(t, authorizer)
		d.revoke(rejected)
		if d.valid(rejected) == nil {
			t.Fatal("a revoked credential is accepted")
		}
		authorizer.Rejected(rejected)
		before := d.calls()
		renewed := d.authorize(t, authorizer)
		asked := d.calls() - before
		// Many requests were under way with the old one, and are answered only now.
		for range 100 {
			authorizer.Rejected(rejected)
			d.authorize(t, authorizer)
		}
		if d.calls() != before+asked || renewed.Header.Get("Authorization") == rejected.Header.Get("Authorization") {
			t.Errorf("%d more questions after late rejections", d.calls()-before-asked)
		}
	})
}

func TestTheFirstCallersCancellationFailsNobodyElse(t *testing.T) {
	each(t, func(t *testing.T, _ *world, d direction) {
		for _, issuer := range d.issuers {
			issuer.Set(fault.Fault{Delay: 500 * time.Millisecond})
		}
		authorizer := d.authorizer()
		var wait sync.WaitGroup
		ctx, cancel := context.WithCancel(t.Context())
		wait.Go(func() {
			if err := authorizer.Authorize(upstream(ctx)); len(d.issuers) > 0 && !errors.Is(err, context.Canceled) {
				t.Errorf("the first caller got %v", err)
			}
		})
		synctest.Wait()
		for range 10 {
			wait.Go(func() {
				request := upstream(t.Context())
				if err := authorizer.Authorize(request); err != nil {
					t.Errorf("another caller got %v", err)
				}
			})
		}
		time.Sleep(100 * time.Millisecond)
		cancel()
		wait.Wait()
		if asked := d.calls(); asked != len(d.issuers) {
			t.Errorf("%d questions, want %d", asked, len(d.issuers))
		}
	})
}
