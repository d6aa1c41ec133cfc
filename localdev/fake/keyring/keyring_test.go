package keyring_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-ai/postern/localdev/fake/keyring"
)

func TestAKeyWorksUntilItIsStoppedExpiresOrIsTakenOut(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var ring keyring.Ring
		key := ring.Add(keyring.Key{ID: "key_", Secret: "sk-", Expires: time.Now().Add(time.Hour)})
		works := func() bool { _, ok := ring.Use(key.Secret); return ok }
		if !works() {
			t.Error("a new key does not work")
		}
		if got, _ := ring.Get(key.ID); !got.LastUsed.Equal(time.Now()) || got.ID[:4] != "key_" || got.Redacted(keyring.Cut{Head: 3, Tail: 2, Gap: ".."})[:5] != "sk-.." {
			t.Errorf("got %+v", got)
		}
		ring.Change(key.ID, func(k *keyring.Key) { k.Disabled = true })
		if works() {
			t.Error("a stopped key works")
		}
		ring.Change(key.ID, func(k *keyring.Key) { k.Disabled = false })
		time.Sleep(time.Hour)
		if works() {
			t.Error("an expired key works")
		}
		ring.Change(key.ID, func(k *keyring.Key) { k.Expires = time.Time{} })
		if !works() {
			t.Error("a key without an end does not work")
		}
		if n := ring.Remove(func(k keyring.Key) bool { return k.ID == key.ID }); n != 1 || works() || len(ring.List()) != 0 {
			t.Errorf("took out %d", n)
		}
	})
}
