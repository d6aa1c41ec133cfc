package secrets

import (
	"math/rand/v2"
	"time"
)

// entry is what a [Cache] knows of one reference. Its fields are guarded by the cache's lock.
type entry struct {
	used   time.Time // when it was last asked for
	flight *flight   // the read under way, nil when there is none

	current  *held
	previous *held
	asked    bool // whether the store has been asked what was before the current version
	wanted   bool // whether the current version has to be read again before it is used

	// The last failure to read, and how long it is returned in place of another try.
	failure  error
	failed   time.Time
	pause    time.Duration
	failures int

	// When a rejected value was last read again, and how long not to do so once more.
	reread      time.Time
	rereadPause time.Duration
}

// held is one version in memory.
type held struct {
	secret   Secret
	read     time.Time // when the store last confirmed it
	ttl      time.Duration
	rejected time.Time // when an upstream last rejected it
}

// flight is one read under way.
type flight struct {
	entry   *entry
	started time.Time
	done    chan struct{} // closed when the fields below are set

	err    error
	frozen bool // the machine stood still during the read
}

// until is when the version is no longer used, even if the store cannot be asked.
func (h *held) until(options CacheOptions) time.Time {
	limit := h.read.Add(options.TTL + options.StaleFor)
	if expires := h.secret.Expires; !expires.IsZero() && expires.Before(limit) {
		return expires
	}
	return limit
}

func (e *entry) usable(now time.Time, options CacheOptions) bool {
	return e.current != nil && within(now, e.current.read, options.TTL+options.StaleFor) && now.Before(e.current.until(options))
}

func (e *entry) fresh(now time.Time, options CacheOptions) bool {
	return e.usable(now, options) && within(now, e.current.read, e.current.ttl)
}

// answer returns the version to use: the current one, unless an upstream has just rejected it and the one before it may stand in.
func (e *entry) answer(now time.Time, options CacheOptions) Cached {
	stale := e.failure != nil && !e.fresh(now, options)
	if within(now, e.current.rejected, rejection) && e.standIn(now, options.Grace) {
		return Cached{Secret: e.previous.secret, Fallback: true, Rejected: e.current.secret, Stale: stale}
	}
	return Cached{Secret: e.current.secret, Stale: stale}
}

func (e *entry) standIn(now time.Time, grace time.Duration) bool {
	if e.previous == nil || within(now, e.previous.rejected, rejection) {
		return false
	}
	previous, created := e.previous.secret, e.current.secret.Created
	alive := previous.Expires.IsZero() || now.Before(previous.Expires)
	inGrace := created.IsZero() || now.Before(created.Add(grace))
	return alive && inGrace && !previous.Value.Equal(e.current.secret.Value)
}

// keep makes a version that was just read the current one, and returns the one whose place it took.
func (e *entry) keep(secret Secret, now time.Time, ttl time.Duration) *Secret {
	fresh := &held{secret: secret, read: now, ttl: ttl - time.Duration(rand.Int64N(int64(ttl/10)+1))}
	before := e.current
	e.current = fresh
	switch {
	case before == nil:
		return nil
	case before.secret.Value.Equal(secret.Value):
		fresh.rejected = before.rejected
		return nil
	}
	// What the store calls the previous version is asked for when it is needed; until then this one is the best guess.
	e.previous, e.asked = before, false
	fresh.rejected = time.Time{}
	e.reread, e.rereadPause = time.Time{}, 0
	return &before.secret
}

// lookBack takes the store's word on what was before the current version, which may be nothing.
func (e *entry) lookBack(previous *Secret) {
	e.asked = true
	if previous == nil {
		if e.current.secret.Version != "" {
			e.previous = nil
		}
		return
	}
	if e.previous == nil || !e.previous.secret.Value.Equal(previous.Value) {
		e.previous = &held{}
	}
	e.previous.secret = *previous
}

// wall returns the time without its monotonic reading.
func wall() time.Time { return time.Now().Round(0) }

// tolerance is how far a clock may be set back before what it measured counts for nothing.
const tolerance = time.Minute

// within reports whether less than the given time has passed since a moment. A moment in the future was measured before the clock was
// set back.
func within(now, since time.Time, limit time.Duration) bool {
	passed := now.Sub(since)
	return !since.IsZero() && passed < limit && passed > -tolerance
}
