package caller

import (
	"crypto/sha256"
	"sync"
	"time"
)

// verified remembers the principals of tokens that have been verified, so that a caller's next request costs a hash instead
// of a signature check.
//
// Key: SHA-256 of the whole token, so that two tokens never share an entry, whatever they have in common. Time to live: until
// the token expires, at most rememberFor, so that a key that the issuer takes back, or a changed clock, has its effect.
type verified struct {
	mu      sync.Mutex
	entries map[[sha256.Size]byte]entry
}

type entry struct {
	principal *Principal
	until     time.Time
}

const (
	rememberFor  = 5 * time.Minute
	rememberMost = 4096
)

func (v *verified) get(key [sha256.Size]byte, now time.Time) (*Principal, bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	e, ok := v.entries[key]
	if !ok {
		return nil, false
	}
	// Before the entry was made means that the clock was set back: then its age is not known.
	if left := e.until.Sub(now); left <= 0 || left > rememberFor {
		delete(v.entries, key)
		return nil, false
	}
	return e.principal, true
}

func (v *verified) put(key [sha256.Size]byte, p *Principal, now time.Time) {
	until := now.Add(rememberFor)
	if p.Expires.Before(until) {
		until = p.Expires
	}
	if !until.After(now) {
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.entries == nil {
		v.entries = map[[sha256.Size]byte]entry{}
	}
	// Any entry will do: a map is iterated in random order, and an attacker cannot make entries without valid tokens.
	for key := range v.entries {
		if len(v.entries) < rememberMost {
			break
		}
		delete(v.entries, key)
	}
	v.entries[key] = entry{principal: p, until: until}
}
