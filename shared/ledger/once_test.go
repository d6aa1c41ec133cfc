package ledger_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-ai/postern/shared/ledger"
)

func TestATaskIsDoneOnceWhileItIsRemembered(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		book := &ledger.Book{Store: &stage{}}
		n := 0
		task := ledger.Task{Key: "key", TTL: time.Hour, Do: func(context.Context) error { n++; return nil }}
		for i, want := range []struct {
			did  bool
			n    int
			wait time.Duration
		}{{true, 1, 0}, {false, 1, time.Hour - time.Second}, {false, 1, time.Second}, {true, 2, 0}} {
			did, err := ledger.Once(t.Context(), book, task)
			if did != want.did || n != want.n || err != nil {
				t.Errorf("call %d: did %v, %d times, error %v", i, did, n, err)
			}
			time.Sleep(want.wait)
		}
	})
}

func TestWhatAnotherHasBegunIsLeftToIt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		book := &ledger.Book{Store: &stage{}}
		task := ledger.Task{Key: "key", TTL: time.Hour, Claim: time.Minute}
		inner := task
		inner.Do = func(context.Context) error { t.Error("it was done twice"); return nil }
		task.Do = func(ctx context.Context) error {
			if did, err := ledger.Once(ctx, book, inner); did || !errors.Is(err, ledger.ErrHeld) {
				t.Errorf("did %v, error %v", did, err)
			}
			return nil
		}
		if did, err := ledger.Once(t.Context(), book, task); !did || err != nil {
			t.Errorf("did %v, error %v", did, err)
		}
	})
}

func TestATaskThatFailedOrDiedIsDoneAnew(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		book := &ledger.Book{Store: &stage{}}
		failure := errors.New("not now")
		task := ledger.Task{Key: "key", TTL: time.Hour, Claim: time.Minute}
		ctx, cancel := context.WithCancel(t.Context())
		task.Do = func(context.Context) error { cancel(); return failure }
		if did, err := ledger.Once(ctx, book, task); !did || !errors.Is(err, failure) {
			t.Errorf("did %v, error %v", did, err)
		}
		func() {
			defer func() { _ = recover() }()
			task.Do = func(context.Context) error { panic("died") }
			_, _ = ledger.Once(t.Context(), book, task)
			t.Error("it did not die")
		}()
		task.Do = func(context.Context) error { return nil }
		if did, err := ledger.Once(t.Context(), book, task); did || !errors.Is(err, ledger.ErrHeld) {
			t.Errorf("before the claim's end: did %v, error %v", did, err)
		}
		time.Sleep(time.Minute + time.Second)
		if did, err := ledger.Once(t.Context(), book, task); !did || err != nil {
			t.Errorf("after the claim's end: did %v, error %v", did, err)
		}
	})
}

func TestATaskThatTookTooLongDoesNotClaimTheOthersWork(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		book := &ledger.Book{Store: &stage{}}
		task := ledger.Task{Key: "key", TTL: time.Hour, Claim: time.Minute}
		other := task
		other.Do = func(context.Context) error { return nil }
		task.Do = func(ctx context.Context) error {
			time.Sleep(2 * time.Minute)
			if did, err := ledger.Once(ctx, book, other); !did || err != nil {
				t.Errorf("the other: did %v, error %v", did, err)
			}
			return nil
		}
		if did, err := ledger.Once(t.Context(), book, task); !did || !errors.Is(err, ledger.ErrConflict) {
			t.Errorf("did %v, error %v", did, err)
		}
	})
}

func TestTasksAreChecked(t *testing.T) {
	t.Parallel()
	do := func(context.Context) error { t.Error("it was done"); return nil }
	book := &ledger.Book{Store: &stage{}}
	for name, task := range map[string]ledger.Task{
		"nothing to do":    {Key: "key", TTL: time.Hour},
		"no TTL":           {Key: "key", Do: do},
		"a negative claim": {Key: "key", TTL: time.Hour, Claim: -1, Do: do},
		"a bad key":        {Key: "a//b", TTL: time.Hour, Do: do},
	} {
		if did, err := ledger.Once(t.Context(), book, task); did || err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
	if _, err := book.Save(t.Context(), "key", ledger.Record{Data: []byte("something else")}); err != nil {
		t.Fatal(err)
	}
	if did, err := ledger.Once(t.Context(), book, ledger.Task{Key: "key", TTL: time.Hour, Do: do}); did || err == nil || errors.Is(err, ledger.ErrHeld) {
		t.Errorf("did %v, error %v", did, err)
	}
}
