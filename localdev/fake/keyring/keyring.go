// Package keyring holds the keys that a stand-in has given out.
//
// The package must not know which service it is for.
package keyring

import (
	"crypto/rand"
	"slices"
	"sync"
	"time"
)

// Key is one key with its secret.
type Key struct {
	ID, Name, Secret string
	// Owner is whom the key belongs to, in the service's own words.
	Owner string
	// Scopes are what the key may do. None means everything.
	Scopes []string
	// Expires is zero for a key without an end.
	Created, LastUsed, Expires time.Time
	Disabled                   bool
}

// Redacted returns the beginning and the end of the secret, as services show it.
func (k Key) Redacted(cut Cut) string {
	return k.Secret[:cut.Head] + cut.Gap + k.Secret[len(k.Secret)-cut.Tail:]
}

// Cut says how much of a secret is shown: so many bytes at its beginning and at its end, and what stands between.
type Cut struct {
	Head, Tail int
	Gap        string
}

// Ring is the keys of one owner, the oldest first. The zero value is empty. It is safe for concurrent use.
type Ring struct {
	mu   sync.Mutex
	keys []Key
}

// Add makes a key with a new id and a new secret, which begin with what the given key has there.
func (r *Ring) Add(key Key) Key {
	r.mu.Lock()
	defer r.mu.Unlock()
	key.ID += rand.Text()
	key.Secret += rand.Text() + rand.Text()
	key.Created = time.Now().UTC()
	r.keys = append(r.keys, key)
	return key
}

// List returns the keys.
func (r *Ring) List() []Key {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.keys)
}

// Change changes a key, and returns it as it is then.
func (r *Ring) Change(id string, change func(*Key)) (Key, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	at := slices.IndexFunc(r.keys, func(k Key) bool { return k.ID == id })
	if at < 0 {
		return Key{}, false
	}
	change(&r.keys[at])
	return r.keys[at], true
}

// Get returns a key.
func (r *Ring) Get(id string) (Key, bool) { return r.Change(id, func(*Key) {}) }

// Remove takes out the keys that are meant, and returns how many there were.
func (r *Ring) Remove(meant func(Key) bool) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	before := len(r.keys)
	r.keys = slices.DeleteFunc(r.keys, meant)
	return before - len(r.keys)
}

// Use returns the key with a secret if it works, and notes that it was used.
func (r *Ring) Use(secret string) (Key, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now().UTC()
	at := slices.IndexFunc(r.keys, func(k Key) bool { return k.Secret == secret })
	if at < 0 || r.keys[at].Disabled || !r.keys[at].Expires.IsZero() && !now.Before(r.keys[at].Expires) {
		return Key{}, false
	}
	r.keys[at].LastUsed = now
	return r.keys[at], true
}
