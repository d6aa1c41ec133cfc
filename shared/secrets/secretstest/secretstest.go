// Package secretstest is what every reader of a secret store has to pass, by [TestReader], and everything that replaces secrets in one, by
// [TestStore]. A package for another store is done when it does.
//
// The package must not know any store: what differs is in the [Store] and the [World] that a test hands over.
package secretstest

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postern-ai/postern/shared/secrets"
)

// Canary is part of every secret text and every credential in these tests. It must never turn up in an error.
const Canary = "canary-93b1f0"

// Reader is what is tested.
type Reader interface {
	secrets.Reader
	secrets.Source
}

// Store is one empty store and a reader of it.
type Store struct {
	Reader Reader
	// Ref refers to a secret by its name, which consists of lower-case letters and hyphens.
	Ref func(name string) secrets.Ref
	// Put makes the text the secret's current version and returns the version's id. The secret is made if it is not there.
	Put func(Put) string
	// Delete deletes a secret.
	Delete func(name string)
	// Withdraw makes the current version of a secret unusable without deleting it, in the store's own way. Nil when there is none.
	Withdraw func(name string)
	// Deny takes the right to read away from the reader.
	Deny func()
	// Permission is what the error names when that right is missing.
	Permission string
	// Expire makes the store reject the reader's credential, once. The reader's next credential is good again.
	Expire func()
	// LoseIdentity makes the reader's own credential unobtainable, with the given error.
	LoseIdentity func(error)
	// Break answers all requests in this way from now on. A zero status means an endless wait.
	Break func(Broken)
	// Calls returns how many requests the store has had.
	Calls func() int
}

// Put is one write to a store.
type Put struct{ Name, Text string }

// Broken is one way for a store to fail.
type Broken struct {
	Status int
	Header http.Header
	Body   string
	// Hangup breaks the connection.
	Hangup bool
}

// Open returns an empty store, whose reader gives up after the timeout.
type Open func(t *testing.T, timeout time.Duration) Store

const (
	// patient is longer than anything takes on a busy machine.
	patient = time.Minute
	// impatient is for the test that waits for it.
	impatient = 50 * time.Millisecond
)

// TestReader tests one reader.
func TestReader(t *testing.T, open Open) {
	t.Helper()
	for _, test := range []struct {
		name    string
		test    func(*testing.T, Store)
		timeout time.Duration
	}{
		{"the current version is read with its id", testCurrent, patient},
		{"the previous version is read with its id", testPrevious, patient},
		{"a version can be pinned", testPinned, patient},
		{"a field is selected", testField, patient},
		{"a secret that is not there is not found", testMissing, patient},
		{"a deleted secret is gone", testDeleted, patient},
		{"a withdrawn version is not used", testWithdrawn, patient},
		{"a missing right is named", testDenied, patient},
		{"a rejected credential is replaced once", testExpired, patient},
		{"a missing identity says so", testNoIdentity, patient},
		{"a broken store is told apart from a missing secret", testBroken, patient},
		{"a redirect is not followed", testRedirect, patient},
		{"a store that hangs is given up", testHanging, impatient},
		{"the caller's context is honoured", testContext, patient},
		{"a reference to another store is refused", testForeign, patient},
		{"many may read at once", testConcurrent, patient},
		{"behind a cache a rotation is seen when a value is rejected", testCached, patient},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			test.test(t, open(t, test.timeout))
		})
	}
}

func text(n string) string { return "value " + n + " " + Canary }

func testCurrent(t *testing.T, s Store) {
	start := time.Now().Add(-time.Minute)
	first := s.Put(Put{Name: "key", Text: text("1")})
	wantSecret(t, first, text("1"))(s.Reader.Current(t.Context(), s.Ref("key")))
	second := s.Put(Put{Name: "key", Text: text("2")})
	if first == second {
		t.Errorf("both versions are called %q", first)
	}
	wantSecret(t, second, text("2"))(s.Reader.Current(t.Context(), s.Ref("key")))
	got, err := s.Reader.Current(t.Context(), s.Ref("key"))
	if err == nil && !got.Created.IsZero() && (got.Created.Before(start) || got.Created.After(time.Now().Add(time.Minute))) {
		t.Errorf("created at %v", got.Created)
	}
	value, err := s.Reader.Read(t.Context(), s.Ref("key"))
	if err != nil || value.Reveal() != text("2") {
		t.Errorf("Read gives %q and error %v", value.Reveal(), err)
	}
	long := strings.Repeat("\"\\ä€😀\x7f<", 1500)
	s.Put(Put{Name: "long", Text: long})
	if value, err := s.Reader.Read(t.Context(), s.Ref("long")); err != nil || value.Reveal() != long {
		t.Errorf("a long text comes back with %d bytes and error %v, want %d", len(value.Reveal()), err, len(long))
	}
}

func testPrevious(t *testing.T, s Store) {
	first := s.Put(Put{Name: "key", Text: text("1")})
	_, err := s.Reader.Previous(t.Context(), s.Ref("key"))
	wantError(t, err, "", secrets.ErrNotFound)
	second := s.Put(Put{Name: "key", Text: text("2")})
	wantSecret(t, first, text("1"))(s.Reader.Previous(t.Context(), s.Ref("key")))
	s.Put(Put{Name: "key", Text: text("3")})
	wantSecret(t, second, text("2"))(s.Reader.Previous(t.Context(), s.Ref("key")))
	_, err = s.Reader.Previous(t.Context(), s.Ref("other"))
	wantError(t, err, "", secrets.ErrNotFound)
}

func testPinned(t *testing.T, s Store) {
	first := s.Put(Put{Name: "key", Text: text("1")})
	s.Put(Put{Name: "key", Text: text("2")})
	pinned := s.Ref("key")
	pinned.Version = first
	wantSecret(t, first, text("1"))(s.Reader.Current(t.Context(), pinned))
	_, err := s.Reader.Previous(t.Context(), pinned)
	wantError(t, err, "no previous version", secrets.ErrNotFound)
	pinned.Version = unknown(first)
	_, err = s.Reader.Current(t.Context(), pinned)
	wantError(t, err, "", secrets.ErrNotFound)
}

func testField(t *testing.T, s Store) {
	version := s.Put(Put{Name: "keys", Text: `{"openai":"` + text("o") + `","number":1}`})
	ref := s.Ref("keys")
	ref.Field = "openai"
	wantSecret(t, version, text("o"))(s.Reader.Current(t.Context(), ref))
	ref.Field = "number"
	_, err := s.Reader.Current(t.Context(), ref)
	wantError(t, err, "not a JSON string", secrets.ErrUnusable)
	ref.Field = "other"
	_, err = s.Reader.Current(t.Context(), ref)
	wantError(t, err, "no such field", secrets.ErrNotFound)
}

func testMissing(t *testing.T, s Store) {
	_, err := s.Reader.Read(t.Context(), s.Ref("nothing"))
	wantError(t, err, "", secrets.ErrNotFound)
}

func testDeleted(t *testing.T, s Store) {
	s.Put(Put{Name: "key", Text: text("1")})
	s.Delete("key")
	_, err := s.Reader.Read(t.Context(), s.Ref("key"))
	if !errors.Is(err, secrets.ErrUnusable) {
		wantError(t, err, "", secrets.ErrNotFound)
	}
}

func testWithdrawn(t *testing.T, s Store) {
	if s.Withdraw == nil {
		return
	}
	s.Put(Put{Name: "single", Text: text("1")})
	s.Withdraw("single")
	_, err := s.Reader.Read(t.Context(), s.Ref("single"))
	wantError(t, err, "", secrets.ErrUnusable)
	first := s.Put(Put{Name: "key", Text: text("1")})
	s.Put(Put{Name: "key", Text: text("2")})
	s.Withdraw("key")
	wantSecret(t, first, text("1"))(s.Reader.Current(t.Context(), s.Ref("key")))
	_, err = s.Reader.Previous(t.Context(), s.Ref("key"))
	wantError(t, err, "", secrets.ErrNotFound)
}

func testDenied(t *testing.T, s Store) {
	s.Put(Put{Name: "key", Text: text("1")})
	s.Deny()
	_, err := s.Reader.Read(t.Context(), s.Ref("key"))
	wantError(t, err, s.Permission, nil)
	// Who may not read learns nothing about what there is.
	_, err = s.Reader.Read(t.Context(), s.Ref("nothing"))
	wantError(t, err, s.Permission, nil)
}

func testExpired(t *testing.T, s Store) {
	version := s.Put(Put{Name: "key", Text: text("1")})
	wantSecret(t, version, text("1"))(s.Reader.Current(t.Context(), s.Ref("key")))
	s.Expire()
	wantSecret(t, version, text("1"))(s.Reader.Current(t.Context(), s.Ref("key")))
}

func testNoIdentity(t *testing.T, s Store) {
	s.Put(Put{Name: "key", Text: text("1")})
	lost := errors.New("no identity " + Canary)
	s.LoseIdentity(lost)
	before := s.Calls()
	_, err := s.Reader.Read(t.Context(), s.Ref("key"))
	wantError(t, err, "this function has no", nil)
	if !errors.Is(err, lost) {
		t.Errorf("the cause is lost: %v", err)
	}
	if s.Calls() != before {
		t.Error("a request was sent without a credential")
	}
}

func testBroken(t *testing.T, s Store) {
	s.Put(Put{Name: "key", Text: text("1")})
	json := http.Header{"Content-Type": {"application/json"}}
	for _, broken := range []struct {
		name string
		Broken
	}{
		{"an internal error", Broken{Status: 500, Header: json, Body: `{"error":{"code":500,"message":"` + Canary + `"}}`}},
		{"an error page", Broken{Status: 502, Header: http.Header{"Content-Type": {"text/html"}}, Body: "<html>" + Canary}},
		{"an overload", Broken{Status: 503, Header: json}},
		{"a throttle", Broken{Status: 429, Header: http.Header{"Retry-After": {"1"}}, Body: Canary}},
		{"a broken connection", Broken{Hangup: true}},
		{"a reply that is not JSON", Broken{Status: 200, Header: json, Body: Canary}},
		{"a reply that is cut off", Broken{Status: 200, Header: json, Body: `{"value":"` + Canary}},
		{"a reply of something else", Broken{Status: 200, Header: json, Body: `{"other":"` + Canary + `"}`}},
		{"an empty reply", Broken{Status: 200, Header: json}},
		{"a reply without end", Broken{Status: 200, Header: json, Body: `{"value":"` + strings.Repeat(Canary, 1<<20/len(Canary)) + `"}`}},
	} {
		s.Break(broken.Broken)
		_, err := s.Reader.Read(t.Context(), s.Ref("key"))
		if errors.Is(err, secrets.ErrNotFound) || errors.Is(err, secrets.ErrUnusable) {
			t.Errorf("%s says something about the secret: %v", broken.name, err)
		}
		wantError(t, err, "store", nil)
	}
}

func testRedirect(t *testing.T, s Store) {
	s.Put(Put{Name: "key", Text: text("1")})
	for _, status := range []int{301, 302, 303, 307, 308} {
		s.Break(Broken{Status: status, Header: http.Header{"Location": {"/elsewhere"}}})
		before := s.Calls()
		_, err := s.Reader.Read(t.Context(), s.Ref("key"))
		wantError(t, err, "store", nil)
		if calls := s.Calls() - before; calls != 1 {
			t.Errorf("a %d led to %d requests", status, calls)
		}
	}
}

func testHanging(t *testing.T, s Store) {
	s.Put(Put{Name: "key", Text: text("1")})
	s.Break(Broken{})
	_, err := s.Reader.Read(t.Context(), s.Ref("key"))
	wantError(t, err, "timed out", context.DeadlineExceeded)
}

func testContext(t *testing.T, s Store) {
	s.Put(Put{Name: "key", Text: text("1")})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := s.Reader.Read(ctx, s.Ref("key"))
	wantError(t, err, "", context.Canceled)
}

func testForeign(t *testing.T, s Store) {
	before := s.Calls()
	for _, store := range []string{secrets.StoreEnv, secrets.StoreAWS, secrets.StoreGCP, secrets.StoreKeyVault} {
		if store == s.Ref("key").Store {
			continue
		}
		_, err := s.Reader.Read(t.Context(), secrets.Ref{Store: store, Name: "key"})
		wantError(t, err, "this reader is for", nil)
	}
	_, err := s.Reader.Read(t.Context(), secrets.Ref{Name: "not a name!"})
	wantError(t, err, "", nil)
	if s.Calls() != before {
		t.Error("the store was asked")
	}
}

func testConcurrent(t *testing.T, s Store) {
	version := s.Put(Put{Name: "key", Text: text("1")})
	var group sync.WaitGroup
	for range 20 {
		group.Go(func() { wantSecret(t, version, text("1"))(s.Reader.Current(t.Context(), s.Ref("key"))) })
	}
	group.Wait()
}

func testCached(t *testing.T, s Store) {
	cache := secrets.NewCache(s.Reader, secrets.CacheOptions{TTL: time.Hour, Timeout: patient})
	want := func(when, wanted string, fallback bool) {
		t.Helper()
		got, err := cache.Get(t.Context(), s.Ref("key"))
		if err != nil || got.Value.Reveal() != wanted || got.Fallback != fallback {
			t.Errorf("%s: got %q (fallback %v) and error %v", when, got.Value.Reveal(), got.Fallback, err)
		}
	}
	s.Put(Put{Name: "key", Text: text("1")})
	want("at first", text("1"), false)
	s.Put(Put{Name: "key", Text: text("2")})
	want("after the rotation", text("1"), false)
	cache.Rejected(s.Ref("key"), secrets.NewValue(text("1")))
	want("when the old value is rejected", text("2"), false)
	// Another instance has never seen the old value, and meets an upstream that does not know the new one yet.
	cache = secrets.NewCache(s.Reader, secrets.CacheOptions{TTL: time.Hour, Timeout: patient})
	want("in another instance", text("2"), false)
	cache.Rejected(s.Ref("key"), secrets.NewValue(text("2")))
	want("when the new value is rejected", text("1"), true)
}

// wantSecret checks a result of a Source.
func wantSecret(t *testing.T, version, text string) func(secrets.Secret, error) {
	t.Helper()
	return func(got secrets.Secret, err error) {
		t.Helper()
		if err != nil || got.Version != version || got.Value.Reveal() != text {
			t.Errorf("got version %q, text %q and error %v, want version %q, text %q", got.Version, got.Value.Reveal(), err, version, text)
		}
	}
}

// wantError checks that an error says something, wraps something, names the reference and gives nothing away.
func wantError(t *testing.T, err error, says string, wraps error) {
	t.Helper()
	var told *secrets.Error
	if !errors.As(err, &told) {
		t.Errorf("got %v, want a *secrets.Error", err)
		return
	}
	if !strings.Contains(err.Error(), says) || !strings.Contains(err.Error(), told.Ref.String()) || told.Ref.Name == "" {
		t.Errorf("got %q, want an error that names the reference and says %q", err, says)
	}
	if wraps != nil && !errors.Is(err, wraps) {
		t.Errorf("got %v, want one that wraps %v", err, wraps)
	}
	if slices.ContainsFunc([]string{Canary, "://127.0.0.1", "value 1"}, func(s string) bool { return strings.Contains(err.Error(), s) }) {
		t.Errorf("the error gives away too much: %v", err)
	}
}
