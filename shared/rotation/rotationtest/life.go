package rotationtest

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postern-ai/postern/shared/rotation"
	"github.com/postern-ai/postern/shared/secrets"
)

const (
	// prefix is what the names of the credential's keys begin with.
	prefix = "postern-test-chat-"
	// strange begins the names of another credential's keys, and is a beginning of prefix itself.
	strange = "postern-test-"
)

// order returns the order of the nth cycle.
func (w *World) order(t *testing.T, n int64) rotation.Order {
	t.Helper()
	order := rotation.Order{
		Credential: "chat", Number: n, Cycle: fmt.Sprintf("5bd4a7a5-6ed7-4ee0-a5d9-%012d", n), Name: prefix + strconv.FormatInt(n, 10) + "-a1b2c3",
		Expires: time.Now().Add(40 * 24 * time.Hour).Truncate(time.Second), Current: w.Current, Content: w.Content,
	}
	if chooser, ok := w.Issuer.(rotation.Chooser); ok {
		chosen, err := chooser.Choose(order)
		if err != nil || chosen.IsZero() {
			t.Fatalf("choose: %v", err)
		}
		order.Chosen = chosen
	}
	return order
}

// create makes the key of the nth cycle.
func (w *World) create(t *testing.T, n int64) rotation.Issued {
	t.Helper()
	order := w.order(t, n)
	if w.assisted() {
		return w.Make(order.Name)
	}
	issued, err := w.Issuer.Create(t.Context(), order)
	if err != nil {
		t.Fatalf("create: %v", err)
	}
	if issued.Value.IsZero() {
		issued.Value = order.Chosen
	}
	if issued.Key.ID == "" || issued.Value.IsZero() {
		t.Fatalf("the key has id %q, and its value is empty: %v", issued.Key.ID, issued.Value.IsZero())
	}
	if w.overlap() == rotation.InPlace {
		w.Content = issued.Value
	}
	return issued
}

func (w *World) overlap() rotation.Overlap { return w.Issuer.Traits().Overlap }
func (w *World) assisted() bool            { return w.Issuer.Traits().Recovery == rotation.Assisted }

// find returns the credential's keys.
func (w *World) find(t *testing.T) []rotation.Key {
	t.Helper()
	keys, err := w.Issuer.Find(t.Context(), prefix)
	if err != nil {
		t.Fatalf("find: %v", err)
	}
	return keys
}

func with(keys []rotation.Key, id string) (rotation.Key, bool) {
	at := slices.IndexFunc(keys, func(k rotation.Key) bool { return k.ID == id })
	if at < 0 {
		return rotation.Key{}, false
	}
	return keys[at], true
}

// wantWorking expects that a key works once the issuer's servers have learnt of it.
func (w *World) wantWorking(t *testing.T, value secrets.Value) {
	t.Helper()
	w.settle(t, value, func(err error) bool { return err == nil })
}

// wantRejected expects that a key is rejected once the issuer's servers have learnt of its end.
func (w *World) wantRejected(t *testing.T, value secrets.Value) {
	t.Helper()
	w.settle(t, value, func(err error) bool { return errors.Is(err, rotation.ErrRejected) })
}

func (w *World) settle(t *testing.T, value secrets.Value, enough func(error) bool) {
	t.Helper()
	verifier, ok := w.Issuer.(rotation.Verifier)
	if !ok {
		return
	}
	end := time.Now().Add(w.Issuer.Traits().Propagation)
	for {
		err := verifier.Verify(t.Context(), value)
		if err != nil {
			wantTold(t, err, "verify")
		}
		if enough(err) {
			return
		}
		if !time.Now().Before(end) {
			t.Fatalf("verify: %v", err)
		}
		time.Sleep(time.Second)
	}
}

func testTraits(t *testing.T, w *World) {
	traits := w.Issuer.Traits()
	if !slices.Contains([]rotation.Overlap{rotation.Parallel, rotation.TwoSlots, rotation.InPlace}, traits.Overlap) {
		t.Errorf("the overlap is %q", traits.Overlap)
	}
	if !slices.Contains([]rotation.Recovery{rotation.Chosen, rotation.Readable, rotation.Listed, rotation.Assisted}, traits.Recovery) {
		t.Errorf("the recovery is %q", traits.Recovery)
	}
	if traits != w.Issuer.Traits() || traits.MaxLive < 0 || traits.Successes < 0 || traits.Propagation < 0 {
		t.Errorf("the traits are %+v", traits)
	}
	_, chooses := w.Issuer.(rotation.Chooser)
	_, recovers := w.Issuer.(rotation.Recoverer)
	if chooses != (traits.Recovery == rotation.Chosen) || recovers != (traits.Recovery == rotation.Readable) {
		t.Errorf("the recovery is %q; it chooses: %v, it recovers: %v", traits.Recovery, chooses, recovers)
	}
	if _, verifies := w.Issuer.(rotation.Verifier); !verifies {
		t.Error("no key can be verified")
	}
	if traits.Overlap != rotation.Parallel && w.Content.IsZero() {
		t.Error("the world has no key in use")
	}
}

func testLife(t *testing.T, w *World) {
	var made []rotation.Issued
	for n := range int64(2) {
		issued := w.create(t, n+1)
		w.wantWorking(t, issued.Value)
		found, ok := with(w.find(t), issued.Key.ID)
		name := w.order(t, n+1).Name
		switch {
		case !ok:
			t.Fatalf("key %q is not found", issued.Key.ID)
		case w.Issuer.Traits().Named && (found.Name != name || issued.Key.Name != name):
			t.Errorf("the key is called %q and found as %q, want %q", issued.Key.Name, found.Name, name)
		case found.Disabled:
			t.Error("it is found disabled")
		case !found.Created.IsZero() && time.Since(found.Created).Abs() > time.Hour:
			t.Errorf("it was made at %v, and it is %v", found.Created, time.Now())
		}
		made = append(made, issued)
	}
	if w.overlap() != rotation.Parallel {
		return
	}
	if made[0].Key.ID == made[1].Key.ID || made[0].Value.Equal(made[1].Value) {
		t.Fatal("both keys are the same")
	}
	w.revoke(t, made[0].Key)
	w.wantRejected(t, made[0].Value)
	w.wantWorking(t, made[1].Value)
	if _, ok := with(w.find(t), made[1].Key.ID); !ok {
		t.Error("the other key is no longer found")
	}
}

// revoke revokes a key and expects it to be gone.
func (w *World) revoke(t *testing.T, key rotation.Key) {
	t.Helper()
	if err := w.Issuer.Revoke(t.Context(), key); err != nil {
		t.Fatalf("revoke: %v", err)
	}
	if w.overlap() != rotation.Parallel {
		return
	}
	if _, ok := with(w.find(t), key.ID); ok {
		t.Error("the revoked key is still found")
	}
	if _, ok := with(w.Keys(), key.ID); ok {
		t.Error("the service still has the revoked key")
	}
}

// testCurrent is about what the overlap promises.
func testCurrent(t *testing.T, w *World) {
	if w.Content.IsZero() {
		t.Skip("the keys are independent")
	}
	before := w.Content
	w.wantWorking(t, before)
	for n := range int64(3) {
		issued := w.create(t, n+1)
		w.wantWorking(t, issued.Value)
		switch w.overlap() {
		case rotation.InPlace:
			w.wantRejected(t, before)
			before = issued.Value
			w.revoke(t, issued.Key) // ends nothing that is in use
			w.wantWorking(t, issued.Value)
		default:
			if issued.Key.ID == w.Current {
				t.Error("the key in use was replaced")
			}
			w.wantWorking(t, before)
			w.revoke(t, issued.Key)
			w.wantRejected(t, issued.Value)
			w.wantWorking(t, before)
		}
	}
}

func testRevokedTwice(t *testing.T, w *World) {
	issued := w.create(t, 1)
	for range 3 {
		if err := w.Issuer.Revoke(t.Context(), issued.Key); err != nil {
			t.Errorf("revoke: %v", err)
		}
	}
	if w.overlap() != rotation.Parallel {
		return
	}
	if disabler, ok := w.Issuer.(rotation.Disabler); ok {
		if err := disabler.Disable(t.Context(), issued.Key); err != nil {
			t.Errorf("disable: %v", err)
		}
		err := disabler.Enable(t.Context(), issued.Key)
		if err == nil {
			t.Fatal("a key that is gone was started")
		}
		wantTold(t, err, "enable")
	}
	w.wantRejected(t, issued.Value)
}

func testLimit(t *testing.T, w *World) {
	limit := w.Issuer.Traits().MaxLive
	if limit == 0 || w.overlap() != rotation.Parallel {
		t.Skip("there is no limit")
	}
	for n := len(w.Keys()); n < limit; n++ {
		w.create(t, int64(n))
	}
	_, err := w.Issuer.Create(t.Context(), w.order(t, int64(limit)))
	wantError(t, err, "create", rotation.ErrRefused)
	if n := len(w.Keys()); n != limit {
		t.Errorf("there are %d keys, want %d", n, limit)
	}
}

func testExpiry(t *testing.T, w *World) {
	if !w.Issuer.Traits().Expiry || w.Endless || w.assisted() {
		t.Skip("keys have no end")
	}
	time.Sleep(300 * time.Millisecond) // nobody orders on the stroke of a second
	order := w.order(t, 1)
	issued := w.create(t, 1)
	key, _ := with(w.find(t), issued.Key.ID)
	for _, k := range []rotation.Key{issued.Key, key} {
		if late := k.Expires.Sub(order.Expires); late < 0 || late > 24*time.Hour {
			t.Errorf("the key ends at %v, want %v", k.Expires, order.Expires)
		}
	}
	w.wantWorking(t, issued.Value)
	time.Sleep(time.Until(key.Expires) + time.Second)
	w.wantRejected(t, issued.Value)
}

func testLastUsed(t *testing.T, w *World) {
	if !w.Issuer.Traits().LastUsed {
		t.Skip("keys do not tell")
	}
	issued := w.create(t, 1)
	w.wantWorking(t, issued.Value)
	time.Sleep(time.Hour)
	before := time.Now().Truncate(time.Second)
	w.wantWorking(t, issued.Value)
	if key, _ := with(w.find(t), issued.Key.ID); time.Since(key.LastUsed).Abs() > 24*time.Hour {
		t.Errorf("it was last used at %v, want %v", key.LastUsed, before)
	}
}

func testOthers(t *testing.T, w *World) {
	if w.Make == nil || !w.Issuer.Traits().Named {
		t.Skip("there are no keys of others, or none is told apart by its name")
	}
	others := []string{"", "My key", strange, strange + "chatter-1-a1b2c3", strings.ToUpper(prefix) + "2-a1b2c3", "x-" + prefix + "3-a1b2c3"}
	for _, name := range others {
		if name != "" {
			w.Make(name)
		}
	}
	issued := w.create(t, 1)
	keys := w.find(t)
	if len(keys) != 1 || keys[0].ID != issued.Key.ID {
		t.Errorf("found %+v, want %q alone", keys, issued.Key.ID)
	}
	all, err := w.Issuer.Find(t.Context(), "")
	if err != nil || len(all) < len(others) {
		t.Errorf("without a prefix there are %d keys, want %d, error %v", len(all), len(others), err)
	}
	w.revoke(t, issued.Key)
	if n := len(w.find(t)); n != 0 {
		t.Errorf("%d keys are left", n)
	}
}

func testMany(t *testing.T, w *World) {
	if w.Make == nil || w.Issuer.Traits().MaxLive > 0 || w.overlap() != rotation.Parallel {
		t.Skip("there are no lists of more than one page")
	}
	const half = 130
	for n := range half {
		w.Make("other-" + strconv.Itoa(n))
	}
	first := w.create(t, 1)
	for n := range half {
		w.Make("more-" + strconv.Itoa(n))
	}
	last := w.create(t, 2)
	keys := w.find(t)
	for _, issued := range []rotation.Issued{first, last} {
		if _, ok := with(keys, issued.Key.ID); !ok {
			t.Errorf("key %q is not found", issued.Key.ID)
		}
	}
	if w.Issuer.Traits().Named && len(keys) != 2 {
		t.Errorf("found %d keys, want 2", len(keys))
	}
	seen := map[string]bool{}
	all, err := w.Issuer.Find(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range all {
		if seen[key.ID] {
			t.Errorf("key %q is found twice", key.ID)
		}
		seen[key.ID] = true
	}
	if len(all) < 2*half+2 {
		t.Errorf("found %d keys of %d", len(all), 2*half+2)
	}
}

func testDisabled(t *testing.T, w *World) {
	disabler, ok := w.Issuer.(rotation.Disabler)
	if !ok {
		t.Skip("keys cannot be stopped")
	}
	issued, other := w.create(t, 1), w.create(t, 2)
	for range 2 {
		for range 2 {
			if err := disabler.Disable(t.Context(), issued.Key); err != nil {
				t.Fatalf("disable: %v", err)
			}
		}
		w.wantRejected(t, issued.Value)
		if key, found := with(w.find(t), issued.Key.ID); !found || !key.Disabled {
			t.Errorf("found: %v, disabled: %v", found, key.Disabled)
		}
		w.wantWorking(t, other.Value)
		for range 2 {
			if err := disabler.Enable(t.Context(), issued.Key); err != nil {
				t.Fatalf("enable: %v", err)
			}
		}
		w.wantWorking(t, issued.Value)
		if key, found := with(w.find(t), issued.Key.ID); !found || key.Disabled {
			t.Errorf("found: %v, disabled: %v", found, key.Disabled)
		}
	}
	if err := disabler.Disable(t.Context(), issued.Key); err != nil {
		t.Fatalf("disable: %v", err)
	}
	w.revoke(t, issued.Key)
	w.wantRejected(t, issued.Value)
}

func testRecovered(t *testing.T, w *World) {
	recoverer, ok := w.Issuer.(rotation.Recoverer)
	if !ok {
		t.Skip("keys cannot be read again")
	}
	issued := w.create(t, 1)
	key, _ := with(w.find(t), issued.Key.ID)
	for range 2 {
		value, err := recoverer.Recover(t.Context(), key, w.order(t, 1))
		if err != nil {
			t.Fatalf("recover: %v", err)
		}
		w.wantWorking(t, value)
		if !value.Equal(issued.Value) {
			w.wantRejected(t, issued.Value) // the key was given another one in place of the lost one
		}
		issued.Value = value
	}
	if w.overlap() == rotation.Parallel {
		w.revoke(t, key)
		if _, err := recoverer.Recover(t.Context(), key, w.order(t, 1)); err == nil {
			t.Error("a key that is gone was recovered")
		} else {
			wantTold(t, err, "recover")
		}
	}
}

func testIdentified(t *testing.T, w *World) {
	identifier, ok := w.Issuer.(rotation.Identifier)
	if !ok {
		t.Skip("a content tells nothing")
	}
	first, second := w.create(t, 1), w.create(t, 2)
	issued := []rotation.Issued{second}
	if w.overlap() == rotation.Parallel {
		issued = append(issued, first)
	}
	for _, i := range issued {
		if id, err := identifier.Identify(t.Context(), i.Value); err != nil || id != i.Key.ID {
			t.Errorf("identified as %q, want %q, error %v", id, i.Key.ID, err)
		}
	}
	if id, err := identifier.Identify(t.Context(), w.Wrong); err != nil || id != "" {
		t.Errorf("a stranger's key is identified as %q, error %v", id, err)
	}
	for _, value := range []string{"", "x", "{", "{}", Canary, strings.Repeat("x", 10<<10)} {
		id, err := identifier.Identify(t.Context(), secrets.NewValue(value))
		if id != "" {
			t.Errorf("%.20q is identified as %q", value, id)
		}
		if err != nil {
			wantTold(t, err, "identify")
		}
	}
}

func testAssisted(t *testing.T, w *World) {
	if !w.assisted() {
		t.Skip("programs make these keys")
	}
	_, err := w.Issuer.Create(t.Context(), w.order(t, 1))
	wantError(t, err, "create", rotation.ErrRefused)
	if n := w.line.Calls(); n != 0 {
		t.Errorf("it took %d requests", n)
	}
}

func testConcurrent(t *testing.T, w *World) {
	if w.assisted() || w.overlap() != rotation.Parallel {
		t.Skip("there is one order at a time")
	}
	many := int64(cmp.Or(w.Issuer.Traits().MaxLive-len(w.Keys()), 8))
	if many = min(many, 8); w.Issuer.Traits().MaxLive == 0 {
		many = 8
	}
	var group sync.WaitGroup
	orders := make([]rotation.Order, many)
	for n := range many {
		orders[n] = w.order(t, n+1)
	}
	for _, order := range orders {
		group.Go(func() {
			issued, err := w.Issuer.Create(t.Context(), order)
			if err != nil {
				t.Errorf("create: %v", err)
				return
			}
			if _, err := w.Issuer.Find(t.Context(), prefix); err != nil {
				t.Errorf("find: %v", err)
			}
			if err := w.Issuer.Revoke(t.Context(), issued.Key); err != nil {
				t.Errorf("revoke: %v", err)
			}
		})
	}
	group.Wait()
}
