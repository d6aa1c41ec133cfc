package caller

import (
	"context"
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
	proven *proven
	until  time.Time
}

// proven is what the signature of a token has proven: who it is for, and to what it is bound, which each request has to show
// anew.
type proven struct {
	principal *Principal
	issuer    *issuer
	bound     confirmation
}

const (
	rememberFor  = 5 * time.Minute
	rememberMost = 4096
)

// recall returns what a token has proven before, or has it verified.
func (v *verified) recall(ctx context.Context, text string, verify func(context.Context, string) (*proven, *Error)) (*proven, *Error) {
	key := sha256.Sum256([]byte(text))
	now := wallClock()
	if p, ok := v.get(key, now); ok {
		return p, nil
	}
	p, failure := verify(ctx, text)
	if failure != nil {
		return nil, failure
	}
	v.put(key, p, now)
	return p, nil
}

func (v *verified) get(key [sha256.Size]byte, now time.Time) (*proven, bool) {
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
	return e.proven, true
}

func (v *verified) put(key [sha256.Size]byte, p *proven, now time.Time) {
	until := now.Add(rememberFor)
	if p.principal.Expires.Before(until) {
		until = p.principal.Expires
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
	v.entries[key] = entry{proven: p, until: until}
}
