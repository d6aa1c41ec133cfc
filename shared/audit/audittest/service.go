package audittest

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postern-ai/postern/shared/audit"
)

// Service is how a stand-in of a bus that is a service over HTTP is made to fail.
type Service struct {
	// Break makes the following calls fail.
	Break func(broken Broken)
	// Throttled is how the service says that it is throttling.
	Throttled Broken
	// Deny takes the right to publish away, and Permission is what an error has to say then.
	Deny       func()
	Permission string
	// Credentials are what the publisher has its credentials from.
	Credentials *Credentials
	// Calls returns how many calls have arrived.
	Calls func() int
}

// Broken is a way in which calls fail. Its text holds the [Canary] where the service may write anything.
type Broken struct {
	Status int
	Header http.Header
	Body   string
	// Hangup breaks the connection off.
	Hangup bool
	// After lets the calls take effect first.
	After bool
	// Times is how many calls fail. Zero means all.
	Times int
}

// Credentials gives out tokens, the newest of which is good. It is an [audit.Authorizer], and safe for concurrent use.
type Credentials struct {
	mu      sync.Mutex
	issued  int
	expired bool
	never   bool
	err     error
}

// Authorize puts the newest token on a request.
func (c *Credentials) Authorize(request *http.Request) error {
	token, err := c.Newest()
	if err != nil {
		return err
	}
	request.Header.Set("Authorization", "Bearer "+token)
	return nil
}

// Rejected gives out a new token when the newest one is no longer good.
func (c *Credentials) Rejected(request *http.Request) {
	token, _ := strings.CutPrefix(request.Header.Get("Authorization"), "Bearer ")
	c.Replace(token)
}

// Newest returns the newest token.
func (c *Credentials) Newest() (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.token(), c.err
}

// Replace takes the place of a token that was rejected, if it is the newest one.
func (c *Credentials) Replace(token string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if token == c.token() {
		c.issued, c.expired = c.issued+1, false
	}
}

// Good reports whether a token is good.
func (c *Credentials) Good(token string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return token == c.token() && !c.expired && !c.never
}

func (c *Credentials) token() string { return Canary + "-token-" + strconv.Itoa(c.issued) }

func (c *Credentials) set(change func(*Credentials)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	change(c)
}

func service(t *testing.T, bus Bus) *Service {
	t.Helper()
	if bus.Service == nil {
		t.Skip("this bus is no service, or a real one")
	}
	return bus.Service
}

func throttled(t *testing.T, bus Bus) {
	s := service(t, bus)
	broken := s.Throttled
	broken.Times = 2
	s.Break(broken)
	start := time.Now()
	publish(t, bus, event(t, 1), event(t, 2))
	if took := time.Since(start); s.Calls() != 3 || took < 200*time.Millisecond || took > time.Second {
		t.Errorf("%d calls in %v", s.Calls(), took)
	}
	wantAccepted(t, bus, event(t, 1), event(t, 2))
}

func away(t *testing.T, bus Bus) {
	s := service(t, bus)
	for _, broken := range []Broken{s.Throttled, {Status: http.StatusServiceUnavailable, Body: Canary}, {Hangup: true}} {
		before := s.Calls()
		s.Break(broken)
		start := time.Now()
		err := bus.Publisher.Publish(t.Context(), event(t, 1), event(t, 2))
		wantError(t, err)
		if told, ok := errors.AsType[*audit.Error](err); !ok || told.Events != 2 || told.Of != 2 {
			t.Errorf("got %v", err)
		}
		if took, calls := time.Since(start), s.Calls()-before; took > 5*time.Second || calls != 4 {
			t.Errorf("%v after %d calls in %v", err, calls, took)
		}
	}
	wantAccepted(t, bus)
}

func patient(t *testing.T, bus Bus) {
	s := service(t, bus)
	broken := Broken{Status: http.StatusServiceUnavailable, Header: http.Header{"Retry-After": {"2"}}, Times: 1}
	s.Break(broken)
	start := time.Now()
	publish(t, bus, event(t, 1))
	if took := time.Since(start); took < 2*time.Second {
		t.Errorf("asked again after %v", took)
	}
	broken.Header, broken.Times = http.Header{"Retry-After": {"60"}}, 0
	before := s.Calls()
	s.Break(broken)
	wantError(t, bus.Publisher.Publish(t.Context(), event(t, 2)))
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	broken.Header = http.Header{"Retry-After": {"3"}}
	s.Break(broken)
	start = time.Now()
	wantError(t, bus.Publisher.Publish(ctx, event(t, 2)))
	if took := time.Since(start); took > 100*time.Millisecond || s.Calls() != before+2 {
		t.Errorf("%d calls in %v", s.Calls()-before, took)
	}
	wantAccepted(t, bus, event(t, 1))
}

func lost(t *testing.T, bus Bus) {
	service(t, bus).Break(Broken{Hangup: true, After: true, Times: 1})
	publish(t, bus, event(t, 1), event(t, 2))
	got := bus.Accepted()
	if len(got) != 4 {
		t.Fatalf("the bus took %d events", len(got))
	}
	// Twice, as the same events.
	for _, half := range [][]audit.Event{got[:2], got[2:]} {
		wantAccepted(t, Bus{Accepted: func() []audit.Event { return half }}, event(t, 1), event(t, 2))
	}
}

func between(t *testing.T, bus Bus) {
	s := service(t, bus)
	for _, broken := range []Broken{
		{Status: http.StatusOK, Body: "<html>" + Canary}, {Status: http.StatusNoContent},
		{Status: http.StatusFound, Header: http.Header{"Location": {"https://" + Canary + ".example.com"}}},
		{Status: http.StatusNotFound, Body: "<html>" + Canary}, {Status: http.StatusForbidden, Body: "<html>" + Canary},
	} {
		s.Break(broken)
		wantError(t, bus.Publisher.Publish(t.Context(), event(t, 1)))
	}
	wantAccepted(t, bus)
}

func expired(t *testing.T, bus Bus) {
	s := service(t, bus)
	publish(t, bus, event(t, 1))
	s.Credentials.set(func(c *Credentials) { c.expired = true })
	publish(t, bus, event(t, 2))
	wantAccepted(t, bus, event(t, 1), event(t, 2))
	if s.Calls() != 3 {
		t.Errorf("%d calls", s.Calls())
	}
}

func unknown(t *testing.T, bus Bus) {
	s := service(t, bus)
	s.Credentials.set(func(c *Credentials) { c.never = true })
	wantError(t, bus.Publisher.Publish(t.Context(), event(t, 1)))
	if s.Calls() != 2 {
		t.Errorf("%d calls", s.Calls())
	}
	wantAccepted(t, bus)
}

func denied(t *testing.T, bus Bus) {
	s := service(t, bus)
	s.Deny()
	err := bus.Publisher.Publish(t.Context(), event(t, 1))
	wantError(t, err)
	if err != nil && !strings.Contains(err.Error(), s.Permission) || s.Calls() != 1 {
		t.Errorf("after %d calls: %v", s.Calls(), err)
	}
	wantAccepted(t, bus)
}

func unsigned(t *testing.T, bus Bus) {
	s := service(t, bus)
	cause := errors.New(Canary)
	s.Credentials.set(func(c *Credentials) { c.err = cause })
	err := bus.Publisher.Publish(t.Context(), event(t, 1))
	wantError(t, err)
	if !errors.Is(err, cause) || s.Calls() != 0 {
		t.Errorf("after %d calls: %v", s.Calls(), err)
	}
	time.Sleep(time.Hour) // until nobody remembers
	s.Credentials.set(func(c *Credentials) { c.err = context.DeadlineExceeded })
	if err := bus.Publisher.Publish(t.Context(), event(t, 1)); err == nil || !strings.Contains(err.Error(), "credential for the bus was obtained: timed out") {
		t.Errorf("got %v", err)
	}
	wantAccepted(t, bus)
}
