// Package audittest is what every publisher of audit events has to pass, and every signer. A package that publishes on another bus is done when it does.
//
// The package must not know any bus or key service: what differs is in the [Bus] or the [Key] that a test hands over.
package audittest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/postern-ai/postern/shared/audit"
)

// Canary is part of the data of the events in these tests. It must never turn up in an error.
const Canary = "canary-5e20c7"

// many is more than any bus takes in one call.
const many = 25

// Bus is an empty bus and a publisher on it.
type Bus struct {
	Publisher audit.Publisher
	// Accepted returns the events that the bus has taken, each as often as it has. It is nil for a real bus, which does not tell.
	Accepted func() []audit.Event
	// Refuse makes the bus refuse every event until it is called with false, in the way that is hardest to notice: if a bus can say
	// yes to a call and no to what is in it, then so.
	Refuse func(refuse bool)
	// RefuseSome, when set, makes the bus refuse every second event of the next call that has more than one.
	RefuseSome func()
	// Hang makes the bus never answer.
	Hang func()
	// Service, when set, is a bus that is a service over HTTP.
	Service *Service
}

// Run runs the suite. Each test has a new bus, and a clock of its own.
func Run(t *testing.T, connect func(t *testing.T) Bus) {
	for name, test := range tests() {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { test(t, connect(t)) })
		})
	}
}

// Live runs what of the suite can be run on a real bus, which makes no mistakes when it is told to and does not tell what it has accepted.
func Live(t *testing.T, publisher audit.Publisher) {
	for name, test := range tests() {
		t.Run(name, func(t *testing.T) { test(t, Bus{Publisher: publisher}) })
	}
}

func tests() map[string]func(*testing.T, Bus) {
	return map[string]func(*testing.T, Bus){
		"an event arrives as it is":                                          whole,
		"many events arrive once each":                                       several,
		"no event is nothing to do":                                          none,
		"an invalid event keeps the others back and is named":                invalid,
		"an event that is published again is the same event":                 again,
		"events that are published together all arrive":                      together,
		"a request that has ended publishes nothing":                         ended,
		"a bus that refuses is an error and what it refused can be repeated": refused,
		"a bus that refuses some is an error or gets those again":            refusedSome,
		"a bus that never answers is an error when the time is up":           hung,
		"the longest event arrives and a longer one is refused":              longest,
		"a service that is throttling gets the events again":                 throttled,
		"a service that stays away is an error before long":                  away,
		"a service that asks for too long a pause is not asked again":        patient,
		"a reply that was lost costs no event":                               lost,
		"a reply of something in between is not taken for the bus's":         between,
		"a credential that is no longer good is replaced":                    expired,
		"a credential that is never good is an error":                        unknown,
		"a missing right is named and not asked for again":                   denied,
		"a bus without a credential is not asked":                            unsigned,
	}
}

// happening is the data of the events in these tests.
type happening struct {
	Text   string `json:"text"`
	Number int    `json:"number"`
}

func (happening) EventType() audit.Type { return "AI_AUDIT_TEST" }

// event returns a valid event, a different one for each number.
func event(t *testing.T, number int) audit.Event {
	t.Helper()
	return sized(t, happening{Text: Canary + ` <&> "ä€😀` + "\u2028\n", Number: number})
}

func sized(t *testing.T, what happening) audit.Event {
	t.Helper()
	e, err := audit.New(audit.Envelope{
		ID: audit.ID("audittest", fmt.Sprint(what.Number)), Source: "/postern/local/-/-/audit%20test", Subject: "upstream ü",
		Time: time.Date(2026, 3, 4, 5, 6, 7, 89_000_000, time.FixedZone("", 3600)),
	}, what)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func publish(t *testing.T, bus Bus, events ...audit.Event) {
	t.Helper()
	if err := bus.Publisher.Publish(t.Context(), events...); err != nil {
		t.Errorf("publish: %v", err)
	}
}

// wantError wants an error that may be logged.
func wantError(t *testing.T, err error) {
	t.Helper()
	if err == nil {
		t.Error("no error")
	} else if strings.Contains(err.Error(), Canary) {
		t.Errorf("the error shows the event's data: %v", err)
	}
}

// wantAccepted wants exactly these events, in any order.
func wantAccepted(t *testing.T, bus Bus, want ...audit.Event) {
	t.Helper()
	if bus.Accepted == nil {
		return
	}
	got := bus.Accepted()
	byID := map[string]audit.Event{}
	for _, e := range got {
		byID[e.ID] = e
	}
	for _, e := range want {
		if diff := cmp.Diff(text(t, e), text(t, byID[e.ID])); diff != "" {
			t.Errorf("event %s (-want +got):\n%s", e.ID, diff)
		}
	}
	if len(got) != len(want) {
		t.Errorf("the bus took %d events, want %d", len(got), len(want))
	}
}

func text(t *testing.T, e audit.Event) string {
	t.Helper()
	if e.ID == "" {
		return ""
	}
	encoded, err := e.MarshalJSON()
	if err != nil {
		t.Error(err)
	}
	return string(encoded)
}

func whole(t *testing.T, bus Bus) {
	publish(t, bus, event(t, 1))
	wantAccepted(t, bus, event(t, 1))
}

func several(t *testing.T, bus Bus) {
	var events []audit.Event
	for i := range many {
		events = append(events, event(t, i))
	}
	publish(t, bus, events...)
	wantAccepted(t, bus, events...)
}

func none(t *testing.T, bus Bus) {
	if bus.Refuse != nil {
		bus.Refuse(true)
	}
	publish(t, bus)
	wantAccepted(t, bus)
}

func invalid(t *testing.T, bus Bus) {
	wrong := event(t, 2)
	wrong.Source = ""
	err := bus.Publisher.Publish(t.Context(), event(t, 1), wrong, event(t, 3))
	wantError(t, err)
	if err != nil && !strings.Contains(err.Error(), "source") {
		t.Errorf("the error does not say what is wrong: %v", err)
	}
	wantAccepted(t, bus)
}

func again(t *testing.T, bus Bus) {
	publish(t, bus, event(t, 1))
	publish(t, bus, event(t, 1))
	if bus.Accepted == nil {
		return
	}
	got := bus.Accepted()
	if len(got) == 0 {
		t.Fatal("the bus took nothing")
	}
	for _, e := range got {
		if diff := cmp.Diff(text(t, event(t, 1)), text(t, e)); diff != "" {
			t.Error(diff)
		}
	}
}

func together(t *testing.T, bus Bus) {
	var wait sync.WaitGroup
	var events []audit.Event
	for i := range many {
		e := event(t, i)
		events = append(events, e)
		wait.Go(func() { publish(t, bus, e) })
	}
	wait.Wait()
	wantAccepted(t, bus, events...)
}

func ended(t *testing.T, bus Bus) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := bus.Publisher.Publish(ctx, event(t, 1)); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	wantAccepted(t, bus)
}

func refused(t *testing.T, bus Bus) {
	if bus.Refuse == nil {
		t.Skip("this bus cannot be made to refuse")
	}
	bus.Refuse(true)
	wantError(t, bus.Publisher.Publish(t.Context(), event(t, 1), event(t, 2)))
	bus.Refuse(false)
	publish(t, bus, event(t, 1), event(t, 2))
	wantAccepted(t, bus, event(t, 1), event(t, 2))
}

func refusedSome(t *testing.T, bus Bus) {
	if bus.RefuseSome == nil {
		t.Skip("this bus cannot refuse some of the events of a call")
	}
	bus.RefuseSome()
	events := []audit.Event{event(t, 1), event(t, 2), event(t, 3)}
	if err := bus.Publisher.Publish(t.Context(), events...); err != nil {
		wantError(t, err)
		publish(t, bus, events...)
	}
	there := map[string]bool{}
	for _, e := range bus.Accepted() {
		there[e.ID] = true
	}
	for _, e := range events {
		if !there[e.ID] {
			t.Errorf("event %s is lost", e.ID)
		}
	}
}

func hung(t *testing.T, bus Bus) {
	if bus.Hang == nil {
		t.Skip("this bus cannot be made to hang")
	}
	bus.Hang()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	err := bus.Publisher.Publish(ctx, event(t, 1))
	wantError(t, err)
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

func longest(t *testing.T, bus Bus) {
	empty := len(text(t, sized(t, happening{Number: 1})))
	full := sized(t, happening{Text: strings.Repeat("x", audit.MaxEvent-empty), Number: 1})
	publish(t, bus, full)
	wantAccepted(t, bus, full)
	longer := full
	longer.Subject += "x"
	wantError(t, bus.Publisher.Publish(t.Context(), longer))
	wantAccepted(t, bus, full)
}
