package quota_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-ai/postern/shared/quota"
	"github.com/postern-ai/postern/shared/quota/quotatest"
)

func TestConformance(t *testing.T) {
	t.Parallel()
	for _, test := range quotatest.Tests() {
		t.Run(test.Name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { test.Run(t, new(quota.Memory), time.Sleep) })
		})
	}
}

func TestAnInstanceRemembersABoundedNumberOfCallers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var m quota.Memory
		use := func(owner string) quota.Use {
			return quota.Use{Owner: owner, Windows: []quota.Window{{Key: "r", Limit: 1, Amount: 1}}}
		}
		for i := range 1<<16 + 10 {
			if _, ok, err := m.Take(t.Context(), use(fmt.Sprint(i))); !ok || err != nil {
				t.Fatal(i, ok, err)
			}
		}
		if n := quota.Kept(&m); n > 1<<16 {
			t.Errorf("%d are remembered", n)
		}
		time.Sleep(2 * quota.Minute)
		if _, ok, _ := m.Take(t.Context(), use("new")); !ok {
			t.Error("there is no room for a new one")
		}
		if n := quota.Kept(&m); n != 1 {
			t.Errorf("%d are remembered after all windows are over", n)
		}
	})
}
