package identity

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"
)

// Policy says when a credential is fetched anew.
type Policy int

const (
	// PreExpiry fetches a little before the credential expires, within one request, while the others go on with the old one.
	PreExpiry Policy = iota
	// Lazy fetches only when the credential has expired or was rejected.
	Lazy
)

// Reason says why a credential was replaced.
type Reason string

// The reasons for a replacement.
const (
	ReasonPreExpiry Reason = "pre_expiry"
	ReasonExpired   Reason = "expired"
	ReasonRejected  Reason = "rejected"
	// ReasonScheduled and ReasonManual are for those who call Refresh.
	ReasonScheduled Reason = "scheduled"
	ReasonManual    Reason = "manual"
)

type reasonKey struct{}

// ReasonOf returns why a [Keeper] fetches under this context, for sources that share what they fetch with others: they must not hand out
// again what an upstream has just rejected. A first fetch has the reason that there is no valid credential, [ReasonExpired]. A context that
// is not a Keeper's has no reason.
func ReasonOf(ctx context.Context) Reason {
	reason, _ := ctx.Value(reasonKey{}).(Reason)
	return reason
}

// Replacement is one credential that took the place of another.
type Replacement[C any] struct {
	Old, New C
	Reason   Reason
}

const (
	defaultWindow  = 5 * time.Minute
	defaultJitter  = 0.2
	defaultFetch   = 2500 * time.Millisecond
	defaultBackoff = 30 * time.Second
	// maxMargin is how long before its expiry a credential is no longer put on a request: the request still has to travel, and the
	// clocks of two machines are never quite the same.
	maxMargin = 10 * time.Second
	// A failed fetch is not repeated for a second at first and for 30 s at last, doubling in between.
	firstRetry = time.Second
	lastRetry  = 30 * time.Second
	// At most maxForced credentials are fetched per forcedWindow because an upstream rejected the one before. An upstream that rejects
	// everything would otherwise send each request on to the issuer.
	maxForced    = 3
	forcedWindow = time.Minute
)

// Refresh tells a [Keeper] when to fetch. The zero value is the default policy.
type Refresh struct {
	Policy Policy
	// Window is how long before its expiry a credential is refreshed under PreExpiry. Zero means 5 minutes. It is never more than a
	// quarter of the credential's lifetime (a half, when set), so that a short-lived credential is not fetched for each request.
	Window time.Duration
	// Jitter is the share of the window over which refreshes are spread, because instances that started together would otherwise come back
	// to the issuer together. Zero means a fifth, a negative one none, and more than the whole window is the whole window.
	Jitter float64
	// FetchTimeout bounds each fetch. Zero means 2.5 s.
	FetchTimeout time.Duration
	// Backoff is the pause after a failed early refresh, during which the credential that is still valid stays in use. Zero means 30 s.
	Backoff time.Duration
}

// KeeperOptions says what a [Keeper] keeps.
type KeeperOptions[C any] struct {
	Refresh
	// Fetch gets a new credential. It must honour its context. Its errors are an *Error or wrap one.
	Fetch func(ctx context.Context) (C, error)
	// Expires returns when a credential stops being valid, or the zero time when it does not expire.
	Expires func(C) time.Time
	// Same reports whether two are the same credential.
	Same func(a, b C) bool
	// OnReplace, when set, is told of each credential that took the place of a different one; the first has no predecessor and is not
	// reported. It runs within the fetch's own deadline, before the requests that wait for the fetch go on, so it has to be quick.
	OnReplace func(ctx context.Context, replacement Replacement[C])
}

// Keeper keeps one credential of any kind fresh. It is safe for concurrent use, and has no goroutine of its own between requests.
//
//   - Fresh: the credential is returned.
//   - Shortly before expiry: one request fetches a new one and waits for it; the others use the old one. A failure keeps the old one, and
//     the next try is after the backoff.
//   - Expired, rejected or never fetched: all requests wait for one fetch. That fetch does not end with the request that began it, only by
//     its own deadline. After a failure, requests get the same error at once until it is time for the next try.
//
// Expiry is judged by the wall clock. The monotonic clock stands still while a function is frozen, and would let a credential that died
// in the meantime look alive.
type Keeper[C any] struct {
	options KeeperOptions[C]

	mu     sync.Mutex
	held   *held[C]   // nil when there is none, or when it was rejected
	last   *held[C]   // what was held most recently, for OnReplace
	flight *flight[C] // the fetch under way, nil when there is none

	earlyRetry time.Time // no early refresh before this
	retry      time.Time // no fetch at all before this; failure is returned instead
	failure    error
	failures   int

	forced     [maxForced]time.Time // when credentials were last dropped because of a rejection, a ring
	nextForced int
}

type held[C any] struct {
	credential C
	// early and late bound the time in which a refresh is wanted and in which it is required. Both are zero when it never expires.
	early, late time.Time
}

type flight[C any] struct {
	started time.Time
	reason  Reason
	done    chan struct{} // closed when the fields below are set

	credential C
	err        error
	frozen     bool // the machine stood still during the fetch, so a failure says nothing about the issuer
}

// NewKeeper returns a Keeper that holds nothing yet. It fetches when first asked.
func NewKeeper[C any](options KeeperOptions[C]) *Keeper[C] {
	if options.FetchTimeout <= 0 {
		options.FetchTimeout = defaultFetch
	}
	if options.Backoff <= 0 {
		options.Backoff = defaultBackoff
	}
	if options.Jitter == 0 {
		options.Jitter = defaultJitter
	}
	options.Jitter = max(options.Jitter, 0)
	return &Keeper[C]{options: options}
}

// Get returns a credential that is valid now. When ctx ends first, the error wraps ctx's; any other error is the fetch's.
func (k *Keeper[C]) Get(ctx context.Context) (C, error) {
	credential, flight, err := k.get(ctx)
	if flight != nil && err != nil && flight.frozen {
		// Whoever waits here began after the freeze, and deserves a fetch that did too.
		credential, _, err = k.get(ctx)
	}
	return credential, err
}

// Refresh fetches a new credential although the one that is held may be good for a while yet, for the reason that its caller gives. It
// joins a fetch that is under way already. A failure leaves the old credential in use and is returned.
func (k *Keeper[C]) Refresh(ctx context.Context, reason Reason) (C, error) {
	var none C
	if err := ctx.Err(); err != nil {
		return none, fmt.Errorf("get a credential: %w", err)
	}
	now := wall()
	k.mu.Lock()
	flight := k.flight
	if !k.underWay(now) {
		flight = k.fly(ctx, now, reason)
	}
	k.mu.Unlock()
	if err := flight.wait(ctx); err != nil {
		return none, err
	}
	return flight.credential, flight.err
}

func (f *flight[C]) wait(ctx context.Context) error {
	select {
	case <-f.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for a credential: %w", ctx.Err())
	}
}

func (k *Keeper[C]) underWay(now time.Time) bool {
	return k.flight != nil && now.Sub(k.flight.started) <= k.options.FetchTimeout+time.Second
}

func (k *Keeper[C]) get(ctx context.Context) (C, *flight[C], error) {
	old, flight, err := k.begin(ctx)
	if flight == nil {
		return old, nil, err
	}
	if err := flight.wait(ctx); err != nil {
		return old, nil, err
	}
	if flight.err == nil {
		return flight.credential, flight, nil
	}
	// An early refresh that failed leaves the old credential, if it has not expired while waiting.
	k.mu.Lock()
	defer k.mu.Unlock()
	if now := wall(); k.usable(now) {
		return k.held.credential, nil, nil
	}
	return old, flight, flight.err
}

// begin returns the credential when it can be used as it is, or else the fetch to wait for.
func (k *Keeper[C]) begin(ctx context.Context) (C, *flight[C], error) {
	now := wall()
	var none C
	k.mu.Lock()
	defer k.mu.Unlock()
	underWay := k.underWay(now)
	switch {
	case k.usable(now) && (underWay || !k.wantsRefresh(now)):
		return k.held.credential, nil, nil
	case ctx.Err() != nil:
		return none, nil, fmt.Errorf("get a credential: %w", ctx.Err())
	case underWay:
		return none, k.flight, nil
	case k.usable(now):
		return none, k.fly(ctx, now, ReasonPreExpiry), nil
	case k.failure != nil && pausing(now, k.retry, lastRetry):
		return none, nil, k.failure
	case k.held == nil && k.last != nil:
		return none, k.fly(ctx, now, ReasonRejected), nil
	}
	return none, k.fly(ctx, now, ReasonExpired), nil
}

func (k *Keeper[C]) usable(now time.Time) bool {
	return k.held != nil && (k.held.late.IsZero() || now.Before(k.held.late))
}

func (k *Keeper[C]) wantsRefresh(now time.Time) bool {
	return k.options.Policy == PreExpiry && !k.held.early.IsZero() && !now.Before(k.held.early) &&
		!pausing(now, k.earlyRetry, k.options.Backoff)
}

// fly starts a fetch. It runs in a goroutine of its own because the request that began it may go away while others wait for it;
// it always ends, by its deadline at the latest. The caller holds the lock.
func (k *Keeper[C]) fly(ctx context.Context, now time.Time, reason Reason) *flight[C] {
	flight := &flight[C]{started: now, reason: reason, done: make(chan struct{})}
	k.flight = flight
	go func() {
		defer close(flight.done)
		ctx, cancel := context.WithTimeout(withoutReport(context.WithoutCancel(ctx)), k.options.FetchTimeout)
		defer cancel()
		ctx = context.WithValue(ctx, reasonKey{}, reason)
		credential, err := k.fetch(ctx)
		if replaced := k.land(flight, credential, err); replaced != nil && k.options.OnReplace != nil {
			k.report(ctx, *replaced)
		}
	}()
	return flight
}

// fetch turns a panic into an error, because in this goroutine nothing else would and the whole function would die of it. It also sees to
// it that an error which is not made for logs becomes one that is.
func (k *Keeper[C]) fetch(ctx context.Context) (credential C, err error) {
	defer func() {
		if caught := recover(); caught != nil {
			err = &Error{Public: "internal error while a credential was fetched", Err: fmt.Errorf("panic: %v", caught)}
		}
	}()
	credential, err = k.options.Fetch(ctx)
	if err == nil {
		return credential, nil
	}
	if _, ok := errors.AsType[*Error](err); !ok {
		err = &Error{Public: "the credential cannot be fetched", Err: err, Retryable: true}
	}
	return credential, err
}

func (k *Keeper[C]) report(ctx context.Context, replacement Replacement[C]) {
	// What listens to replacements must not be able to fail the requests that wait for the credential.
	defer func() { _ = recover() }()
	k.options.OnReplace(ctx, replacement)
}

// land records what a fetch brought, and returns the replacement to report, if there was one.
func (k *Keeper[C]) land(flight *flight[C], credential C, err error) *Replacement[C] {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := wall()
	if err == nil {
		err = k.expired(credential, now)
	}
	flight.credential, flight.err = credential, err
	flight.frozen = now.Sub(flight.started) > k.options.FetchTimeout+time.Second
	if k.flight != flight {
		// A later fetch has taken over from this one, which was frozen in its middle.
		return nil
	}
	k.flight = nil
	if err != nil {
		k.fail(flight, now)
		return nil
	}
	k.failure, k.failures = nil, 0
	old := k.last
	k.held = k.hold(credential, now)
	k.last = k.held
	if old == nil || k.options.Same(old.credential, credential) {
		return nil
	}
	return &Replacement[C]{Old: old.credential, New: credential, Reason: flight.reason}
}

func (k *Keeper[C]) fail(flight *flight[C], now time.Time) {
	switch {
	case flight.frozen:
	case k.usable(now):
		k.earlyRetry = now.Add(k.options.Backoff)
	default:
		pause := min(lastRetry, firstRetry<<min(k.failures, 10))
		k.failures++
		k.failure, k.retry = flight.err, now.Add(pause)
	}
}

func (k *Keeper[C]) expired(credential C, now time.Time) error {
	expires := k.options.Expires(credential)
	if expires.IsZero() || now.Before(expires) {
		return nil
	}
	return &Error{Public: "the issuer gave out a credential that has already expired; compare this machine's clock with the issuer's", Retryable: true}
}

func (k *Keeper[C]) hold(credential C, now time.Time) *held[C] {
	expires := k.options.Expires(credential).Round(0)
	if expires.IsZero() {
		return &held[C]{credential: credential}
	}
	lifetime := expires.Sub(now)
	window := min(defaultWindow, lifetime/4)
	if k.options.Window > 0 {
		window = min(k.options.Window, lifetime/2)
	}
	late := expires.Add(-min(maxMargin, lifetime/4))
	spread := time.Duration(float64(window) * min(k.options.Jitter, 1))
	jitter := time.Duration(rand.Int64N(int64(spread) + 1))
	return &held[C]{credential: credential, early: late.Add(-window + jitter), late: late}
}

// Reject drops the credential if it is the one that the function recognises. The next Get fetches anew. When too many have been
// rejected within a minute the credential stays, since fetching more of them would not help.
func (k *Keeper[C]) Reject(isRejected func(C) bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.held == nil || !isRejected(k.held.credential) {
		return
	}
	now := wall()
	if oldest := k.forced[k.nextForced]; !oldest.IsZero() && pausing(now, oldest.Add(forcedWindow), forcedWindow) {
		return
	}
	k.forced[k.nextForced] = now
	k.nextForced = (k.nextForced + 1) % maxForced
	k.held = nil
}

// wall returns the time without its monotonic reading.
func wall() time.Time { return time.Now().Round(0) }

// pausing reports whether a pause of at most the given length still lasts. A pause that seems longer was begun before the clock was set
// back, and is over.
func pausing(now, until time.Time, longest time.Duration) bool {
	left := until.Sub(now)
	return left > 0 && left <= longest
}
