package audit

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

const (
	// attempts is how often an event is sent that the bus does not take for the time being.
	attempts = 4
	// firstPause is the longest pause before the second attempt. Each one after that is four times as long.
	firstPause = 100 * time.Millisecond
	// maxPause bounds what a bus may ask for in Retry-After.
	maxPause       = 5 * time.Second
	defaultTimeout = 3 * time.Second
)

// Authorizer puts this function's own credential for a bus on a request. The authorizers of the identity packages are such.
type Authorizer interface {
	// Authorize sets headers of the request and honours its context.
	Authorize(request *http.Request) error
	// Rejected is told that the bus did not accept the credential on the request.
	Rejected(request *http.Request)
}

// Remote is a Publisher on a bus that is a service over HTTP: it cuts events into requests, and sends again what the bus does not take for the
// time being, and nothing else. It is safe for concurrent use.
type Remote struct {
	Bus Bus
	// HTTP sends the requests. It follows no redirect and bounds what it reads of a reply.
	HTTP *http.Client
	// Kind names the kind of the cause when a request brought no reply, without quoting it. It is empty if the cause is of no known kind.
	Kind func(err error) string
	// Authorizer puts the function's own credential on each request.
	Authorizer Authorizer
	// Rejects reports whether a reply says that the credential was not accepted. Nil means a status of 401.
	Rejects func(reply Reply) bool
	// MaxEntries and MaxBytes bound one request. Zero entries means any number.
	MaxEntries, MaxBytes int
	// Timeout bounds one request. Zero means 3 s.
	Timeout time.Duration
}

// Bus is what a service has of its own. It is safe for concurrent use.
type Bus interface {
	// Pack returns an event as the bus takes it. The event is valid, and encoded is its JSON. An error says what of it the bus cannot take.
	Pack(event Event, encoded jsontext.Value) (Entry, error)
	// Request returns a request that hands over entries, without a credential. Its body can be read again.
	Request(ctx context.Context, entries []jsontext.Value) (*http.Request, error)
	// Read returns what a reply says of each of the entries that were handed over: the zero Refusal of one that the bus has accepted.
	Read(reply Reply, entries int) []Refusal
}

// Entry is an event as a bus takes it.
type Entry struct {
	JSON jsontext.Value
	// Bytes is how much of MaxBytes it takes up.
	Bytes int
	// Order keeps entries apart whose order is not to be the same: only those with the same one go into the same request.
	Order string
}

// Reply is the whole answer of a bus, or of another service, whatever its status.
type Reply struct {
	Status int
	Header http.Header
	Body   []byte
	// from is what the service is called in refusals. Empty means the bus.
	from string
}

// Refusal is why a bus did not take an entry, or another service not do what it was asked to. The zero Refusal is none.
type Refusal struct {
	// Reason is in our own words, without anything that the service or the network wrote.
	Reason string
	// Again says that the service may take the entry when it is sent again, After the time that it asks for.
	Again bool
	After time.Duration
	// Err is the cause, if there is one.
	Err error
}

// OfEach returns the refusal of each of a number of entries.
func (r Refusal) OfEach(entries int) []Refusal { return slices.Repeat([]Refusal{r}, entries) }

// Malformed is the refusal for a reply of success that is not what the service's API describes. It may come from something in between.
func (r Reply) Malformed() Refusal {
	return Refusal{Reason: r.sender() + "'s reply is not what its API describes", Again: true}
}

func (r Reply) sender() string { return cmp.Or(r.from, "the bus") }

// Failed is the refusal of a service that has failed, which it says by a code.
func (r Reply) Failed(code string) Refusal {
	return Refusal{Reason: r.sender() + " has failed (" + code + ")", Again: true, After: r.retryAfter()}
}

// Refusal is the one for a status that there are no better words for.
func (r Reply) Refusal() Refusal {
	switch {
	case r.Status == http.StatusTooManyRequests:
		return r.Busy("429")
	case r.Status >= http.StatusInternalServerError, r.Status == http.StatusRequestTimeout:
		return r.Failed(strconv.Itoa(r.Status))
	}
	return Refusal{Reason: fmt.Sprintf("%s answers with status %d", r.sender(), r.Status)}
}

// Busy is the refusal of a service that is throttling, which it says by a code.
func (r Reply) Busy(code string) Refusal {
	return Refusal{Reason: r.sender() + " is throttling (" + code + ")", Again: true, After: r.retryAfter()}
}

func (r Reply) retryAfter() time.Duration {
	seconds, err := strconv.ParseUint(r.Header.Get("Retry-After"), 10, 16)
	if err != nil {
		return 0
	}
	return time.Duration(seconds) * time.Second
}

// Error says that a bus has not accepted events, and why. Its text may be logged.
type Error struct {
	// Events of the events that were to be published are those that may not have been accepted.
	Events, Of int
	// Reason is in our own words.
	Reason string
	// Err is the cause, if there is one. Its text is not part of Error's.
	Err error
}

// Error returns the reason.
func (e *Error) Error() string {
	return fmt.Sprintf("publish audit events: %d of %d not accepted: %s", e.Events, e.Of, e.Reason)
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Publish implements [Publisher].
func (r *Remote) Publish(ctx context.Context, events ...Event) error {
	entries := make([]Entry, len(events))
	for i, event := range events {
		encoded, err := event.encode()
		if err != nil {
			return err
		}
		if entries[i], err = r.Bus.Pack(event, encoded); err != nil {
			return fmt.Errorf("audit event %q: %w", event.Type, err)
		}
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("publish audit events: %w", err)
	}
	for rest := entries; len(rest) > 0; {
		n := r.fit(rest)
		refused, why := r.deliver(ctx, rest[:n])
		rest = rest[n:]
		if refused > 0 {
			// What comes later is not sent, so that it does not get ahead of what came before.
			return &Error{Events: refused + len(rest), Of: len(entries), Reason: why.Reason, Err: why.Err}
		}
	}
	return nil
}

// fit returns how many of the entries go into one request.
func (r *Remote) fit(entries []Entry) int {
	size := 0
	for i, entry := range entries {
		size += entry.Bytes
		if i > 0 && (i == r.MaxEntries || size > r.MaxBytes || entry.Order != entries[0].Order) {
			return i
		}
	}
	return len(entries)
}

// deliver sends the entries of one request until no more of them is to be sent again. It returns how many were not accepted, and why.
func (r *Remote) deliver(ctx context.Context, entries []Entry) (refused int, why Refusal) {
	for attempt := 1; ; attempt++ {
		var again []Entry
		var busy Refusal
		for i, refusal := range r.send(ctx, entries) {
			switch {
			case refusal.Reason == "":
			case refusal.Again:
				again = append(again, entries[i])
				if busy.Reason == "" || refusal.After > busy.After {
					busy = refusal
				}
			default:
				refused, why = refused+1, refusal
			}
		}
		if len(again) == 0 {
			return refused, why
		}
		if attempt == attempts || !pause(ctx, attempt, busy.After) {
			if why.Reason == "" {
				why = busy
				why.Err = errors.Join(busy.Err, ctx.Err())
			}
			return refused + len(again), why
		}
		entries = again
	}
}

// pause waits before the next attempt. It reports false when there is no time for that.
func pause(ctx context.Context, attempt int, atLeast time.Duration) bool {
	longest := firstPause << (2 * (attempt - 1))
	length := max(longest/2+rand.N(longest/2), atLeast)
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) <= length || length > maxPause {
		return false
	}
	timer := time.NewTimer(length)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// send makes one request.
func (r *Remote) send(ctx context.Context, entries []Entry) []Refusal {
	values := make([]jsontext.Value, len(entries))
	for i, entry := range entries {
		values[i] = entry.JSON
	}
	bus := service{of: "the bus", http: r.HTTP, kind: r.Kind, authorizer: r.Authorizer, rejects: r.Rejects, timeout: r.Timeout}
	reply, refusal := bus.ask(ctx, func(ctx context.Context) (*http.Request, error) { return r.Bus.Request(ctx, values) })
	if refusal.Reason != "" {
		return refusal.OfEach(len(entries))
	}
	return r.Bus.Read(reply, len(entries))
}
