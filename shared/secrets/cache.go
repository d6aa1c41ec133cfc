package secrets

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

const (
	defaultTTL     = 5 * time.Minute
	defaultStale   = time.Hour
	defaultGrace   = 24 * time.Hour
	defaultEntries = 256

	// After a failure the store is asked again after a second at first and 30 s at last, doubling in between.
	firstRetry = time.Second
	lastRetry  = 30 * time.Second
	// A value that an upstream rejects is read again at once, and then after 5 s at first and a minute at last, doubling while the
	// store goes on to say the same. An upstream that rejects everything would otherwise send each request on to the store.
	firstReread = 5 * time.Second
	lastReread  = time.Minute
	// rejection is how long a value that an upstream has rejected is passed over for the previous one.
	rejection = 30 * time.Second
)

// CacheOptions says how long a [Cache] keeps what it has read. The zero value is the default.
type CacheOptions struct {
	// TTL is how long a secret is used before the store is asked again, less up to a tenth, so that instances which started together
	// do not ask together. Zero means 5 minutes.
	TTL time.Duration
	// StaleFor is how much longer a secret is used when the store cannot be asked. Zero means an hour.
	StaleFor time.Duration
	// Grace is how long after the current version was created the previous one may stand in for it. Zero means 24 hours. It has to be
	// at least as long as the rotation keeps the old key alive.
	Grace time.Duration
	// Timeout bounds what one read takes, previous version included. Zero means 3 s.
	Timeout time.Duration
	// MaxEntries is the largest number of references that are kept. Zero means 256. The one that was not asked for longest goes first.
	MaxEntries int
	// OnStale, when set, is told each time that the store could not be asked and an old value stays in use.
	OnStale func(ctx context.Context, stale Stale)
	// OnReplace, when set, is told of each version that took the place of another one.
	//
	// Both run within the read's own deadline, before the requests that wait for the read go on, so they have to be quick.
	OnReplace func(ctx context.Context, replacement Replacement)
}

// Stale is one value that stays in use because the store could not be asked.
type Stale struct {
	Ref     Ref
	Version string
	// Read is when the store last confirmed the value, and Until when it will no longer be used.
	Read, Until time.Time
	// Err is why the store could not be asked. Its text is safe for logs.
	Err error
}

// Replacement is one version that took the place of another.
type Replacement struct {
	Ref      Ref
	Old, New Secret
}

// Cached is a secret as a [Cache] gives it out.
type Cached struct {
	Secret
	// Fallback says that this is the previous version, because an upstream has rejected the current one.
	Fallback bool
	// Rejected is that current version, with a Fallback.
	Rejected Secret
	// Stale says that the store could not be asked when it should have been.
	Stale bool
}

// Cache keeps the secrets of a [Source], and is itself a Reader. It is safe for concurrent use, and has no goroutine of its own between
// requests.
//
//   - Fresh: the secret is returned.
//   - Older than its TTL: one request reads it again and waits; the others use the old one meanwhile.
//   - Not there, expired or rejected by an upstream: all requests wait for one read. That read does not end with the request that began
//     it, only by its own deadline.
//   - The store cannot be asked: the old value stays in use for a bounded time, and the next try is after a pause. Without an old value,
//     requests get the same error at once until then.
//   - The store says that the secret is gone or must not be used: it is believed at once.
//
// When an upstream rejects the current version and the store knows no newer one, the previous version is offered for a while: for as
// long as a rotation's grace lasts both are valid, and which of them an upstream knows is not certain at its beginning.
//
// Times are judged by the wall clock. The monotonic clock stands still while a function is frozen.
type Cache struct {
	source  Source
	options CacheOptions

	mu      sync.Mutex
	entries map[Ref]*entry
}

// NewCache returns a Cache that holds nothing yet.
func NewCache(source Source, options CacheOptions) *Cache {
	set := func(value *time.Duration, standard time.Duration) {
		if *value <= 0 {
			*value = standard
		}
	}
	set(&options.TTL, defaultTTL)
	set(&options.StaleFor, defaultStale)
	set(&options.Grace, defaultGrace)
	set(&options.Timeout, defaultTimeout)
	if options.MaxEntries <= 0 {
		options.MaxEntries = defaultEntries
	}
	return &Cache{source: source, options: options, entries: map[Ref]*entry{}}
}

// Read returns the value that [Cache.Get] gives out.
func (c *Cache) Read(ctx context.Context, ref Ref) (Value, error) {
	cached, err := c.Get(ctx, ref)
	return cached.Value, err
}

// Get returns the version to use now. When ctx ends first, the error wraps ctx's; any other error is the source's, an *[Error] or an
// error that wraps one.
func (c *Cache) Get(ctx context.Context, ref Ref) (Cached, error) {
	cached, flight, err := c.get(ctx, ref)
	if flight != nil && err != nil && flight.frozen {
		// Whoever waits here began after the machine stood still, and deserves a read that did too.
		cached, _, err = c.get(ctx, ref)
	}
	return cached, err
}

func (c *Cache) get(ctx context.Context, ref Ref) (Cached, *flight, error) {
	cached, flight, err := c.begin(ctx, ref)
	if flight == nil {
		return cached, nil, err
	}
	select {
	case <-flight.done:
	case <-ctx.Done():
		return Cached{}, nil, fmt.Errorf("wait for secret %q: %w", ref, ctx.Err())
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	e := flight.entry
	if now := wall(); e.usable(now, c.options) {
		return e.answer(now, c.options), nil, nil
	}
	switch {
	case flight.err != nil:
		return Cached{}, flight, flight.err
	case e.failure != nil:
		// A later read has already found that the secret is gone.
		return Cached{}, nil, e.failure
	}
	return Cached{}, nil, expired(ref)
}

// begin returns the secret when it can be used as it is, or else the read to wait for.
func (c *Cache) begin(ctx context.Context, ref Ref) (Cached, *flight, error) {
	now := wall()
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.entry(ref, now)
	usable := e.usable(now, c.options) && !e.wanted
	underWay := e.flight != nil && within(now, e.flight.started, c.options.Timeout+time.Second)
	switch {
	case usable && (underWay || e.fresh(now, c.options)):
		return e.answer(now, c.options), nil, nil
	case underWay:
		return Cached{}, e.flight, nil
	case e.failure != nil && within(now, e.failed, e.pause):
		if e.usable(now, c.options) {
			return e.answer(now, c.options), nil, nil
		}
		return Cached{}, nil, e.failure
	case ctx.Err() != nil:
		return Cached{}, nil, fmt.Errorf("read secret %q: %w", ref, ctx.Err())
	}
	return Cached{}, c.fly(ctx, ref, e), nil
}

// entry finds the entry of a reference or makes one. The caller holds the lock.
func (c *Cache) entry(ref Ref, now time.Time) *entry {
	if e, ok := c.entries[ref]; ok {
		e.used = now
		return e
	}
	if len(c.entries) >= c.options.MaxEntries {
		var oldest Ref
		var last *entry
		for ref, e := range c.entries {
			if last == nil || e.used.Before(last.used) {
				oldest, last = ref, e
			}
		}
		delete(c.entries, oldest)
	}
	e := &entry{used: now}
	c.entries[ref] = e
	return e
}

// Rejected tells the cache that an upstream did not accept this value of the secret. The next Get reads the secret again, unless that has
// just been done, and gives out the previous version when the current one is still this one. Of a value that is no longer in use
// nothing needs to be known.
func (c *Cache) Rejected(ref Ref, value Value) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.entries[ref]
	if !ok {
		return
	}
	now := wall()
	switch {
	case e.current != nil && e.current.secret.Value.Equal(value):
		e.current.rejected = now
		if !within(now, e.reread, e.rereadPause) {
			e.wanted, e.reread = true, now
			e.rereadPause = min(lastReread, max(firstReread, 2*e.rereadPause))
		}
	case e.previous != nil && e.previous.secret.Value.Equal(value):
		e.previous.rejected = now
	}
}

// fly starts a read. It runs in a goroutine of its own because the request that began it may go away while others wait for it; it
// always ends, by its deadline at the latest. The caller holds the lock.
func (c *Cache) fly(ctx context.Context, ref Ref, e *entry) *flight {
	flight := &flight{entry: e, started: wall(), done: make(chan struct{})}
	e.flight = flight
	go func() {
		defer close(flight.done)
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.options.Timeout)
		defer cancel()
		secret, err := c.read(ref, func() (Secret, error) { return c.source.Current(ctx, ref) })
		var previous *Secret
		asked := false
		if err == nil && c.wantsPrevious(e, secret) {
			previous, asked = c.readPrevious(ctx, ref)
		}
		c.report(ctx, c.land(flight, landing{ref: ref, secret: secret, err: err, previous: previous, asked: asked}))
	}()
	return flight
}

// read turns a panic into an error, because in this goroutine nothing else would and the whole function would die of it. It also sees
// to it that an error which is not made for logs becomes one that is.
func (c *Cache) read(ref Ref, read func() (Secret, error)) (secret Secret, err error) {
	defer func() {
		if caught := recover(); caught != nil {
			secret, err = Secret{}, &Error{Ref: ref, Reason: "internal error while the secret was read", Err: fmt.Errorf("panic: %v", caught)}
		}
	}()
	secret, err = read()
	if err == nil && !secret.Expires.IsZero() && !wall().Before(secret.Expires) {
		return Secret{}, expired(ref)
	}
	if err == nil {
		return secret, nil
	}
	if _, ok := errors.AsType[*Error](err); !ok {
		err = &Error{Ref: ref, Reason: "the store cannot be read", Err: err}
	}
	return Secret{}, err
}

// wantsPrevious reports whether the version before the current one is needed: the store still says that the current one is the one that
// an upstream has rejected, and has not been asked what was before it.
func (c *Cache) wantsPrevious(e *entry, secret Secret) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return e.current != nil && e.current.secret.Value.Equal(secret.Value) && !e.asked && within(wall(), e.current.rejected, rejection)
}

// readPrevious also reports whether the store could be asked. It is not an error that there is none: the current version is then all there is.
func (c *Cache) readPrevious(ctx context.Context, ref Ref) (*Secret, bool) {
	previous, err := c.read(ref, func() (Secret, error) { return c.source.Previous(ctx, ref) })
	if err != nil {
		return nil, errors.Is(err, ErrNotFound) || errors.Is(err, ErrUnusable)
	}
	return &previous, true
}

// landing is what a read brought.
type landing struct {
	ref      Ref
	secret   Secret
	err      error
	previous *Secret
	asked    bool
}

// news is what there is to report of a landing.
type news struct {
	stale       *Stale
	replacement *Replacement
}

func (c *Cache) land(flight *flight, landed landing) news {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := wall()
	e := flight.entry
	flight.err = landed.err
	flight.frozen = !within(now, flight.started, c.options.Timeout+time.Second)
	if e.flight != flight {
		// A later read has taken over from this one, which was frozen in its middle.
		return news{}
	}
	e.flight, e.wanted = nil, false
	if landed.err != nil {
		return c.fail(flight, landed, now)
	}
	e.failure, e.failures = nil, 0
	old := e.keep(landed.secret, now, c.options.TTL)
	if landed.asked {
		e.lookBack(landed.previous)
	}
	if old == nil {
		return news{}
	}
	return news{replacement: &Replacement{Ref: landed.ref, Old: *old, New: landed.secret}}
}

func (c *Cache) fail(flight *flight, landed landing, now time.Time) news {
	e := flight.entry
	if errors.Is(landed.err, ErrNotFound) || errors.Is(landed.err, ErrUnusable) {
		e.current, e.previous, e.asked = nil, nil, false
	}
	if flight.frozen {
		// A failure while the machine stood still says nothing about the store.
		return news{}
	}
	e.failure, e.failed = landed.err, now
	e.pause = min(lastRetry, firstRetry<<min(e.failures, 10))
	e.failures++
	if !e.usable(now, c.options) {
		return news{}
	}
	return news{stale: &Stale{Ref: landed.ref, Version: e.current.secret.Version, Read: e.current.read, Until: e.current.until(c.options), Err: landed.err}}
}

func (c *Cache) report(ctx context.Context, news news) {
	// What listens must not be able to fail the requests that wait for the secret.
	defer func() { _ = recover() }()
	if news.stale != nil && c.options.OnStale != nil {
		c.options.OnStale(ctx, *news.stale)
	}
	if news.replacement != nil && c.options.OnReplace != nil {
		c.options.OnReplace(ctx, *news.replacement)
	}
}

func expired(ref Ref) error {
	return &Error{Ref: ref, Reason: "it has expired", Err: ErrUnusable}
}
