package ledgertest

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/postern-ai/postern/shared/ledger"
)

func testLease(t *testing.T, w World) {
	terms := ledger.Terms{Key: "leases/rotation", Holder: "run", Duration: 5 * time.Minute}
	fence := int64(0)
	for range 3 {
		var (
			mu   sync.Mutex
			held []*ledger.Lease
			work sync.WaitGroup
		)
		for i := range 6 {
			work.Go(func() {
				lease, err := ledger.Acquire(t.Context(), []ledger.Ledger{w.Ledger, w.Another}[i%2], terms)
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					held = append(held, lease)
				} else if !errors.Is(err, ledger.ErrHeld) {
					t.Errorf("got %v", err)
				}
			})
		}
		work.Wait()
		if len(held) != 1 {
			t.Fatalf("%d hold the lease", len(held))
		}
		if held[0].Fence() <= fence {
			t.Errorf("the token %d comes after %d", held[0].Fence(), fence)
		}
		fence = held[0].Fence()
		time.Sleep(terms.Duration - time.Minute)
		// A renewal whose reply is lost is found again.
		w.Break(Broken{On: Write, After: true, Hangup: true, Times: 1})
		if err := held[0].Keep(t.Context()); err != nil {
			t.Errorf("keep: %v", err)
		}
		if err := held[0].Release(t.Context()); err != nil {
			t.Errorf("release: %v", err)
		}
	}
}

func testOnce(t *testing.T, w World) {
	var (
		mu           sync.Mutex
		done, failed int
		work         sync.WaitGroup
	)
	task := ledger.Task{Key: "events/1", TTL: time.Hour, Claim: time.Minute}
	fails := true
	task.Do = func(context.Context) error {
		mu.Lock()
		defer mu.Unlock()
		if fails {
			fails = false
			failed++
			return errors.New("not now")
		}
		done++
		return nil
	}
	for i := range 6 {
		work.Go(func() {
			l := []ledger.Ledger{w.Ledger, w.Another}[i%2]
			for {
				did, err := ledger.Once(t.Context(), l, task)
				switch {
				case err == nil:
					return
				case !did && !errors.Is(err, ledger.ErrHeld):
					t.Errorf("got %v", err)
				}
				time.Sleep(time.Second)
			}
		})
	}
	work.Wait()
	if done != 1 || failed != 1 {
		t.Errorf("it was done %d times, and has failed %d times", done, failed)
	}
	time.Sleep(task.TTL + time.Second)
	if did, err := ledger.Once(t.Context(), w.Ledger, task); !did || err != nil || done != 2 {
		t.Errorf("after its end: did %v, error %v", did, err)
	}
}
