package ledger_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-ai/postern/shared/ledger"
)

var terms = ledger.Terms{Key: "key", Holder: "run 1", Duration: 10 * time.Minute, Skew: 10 * time.Second}

func acquire(t *testing.T, l ledger.Ledger) *ledger.Lease {
	t.Helper()
	lease, err := ledger.Acquire(t.Context(), l, terms)
	if err != nil {
		t.Fatal(err)
	}
	return lease
}

func TestALeaseIsTakenAfterItsEndAndTheSkew(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		book := &ledger.Book{Store: &stage{}}
		first := acquire(t, book)
		if first.Fence() != 1 || first.Remaining() != terms.Duration-terms.Skew {
			t.Errorf("token %d, %v remain", first.Fence(), first.Remaining())
		}
		_, err := ledger.Acquire(t.Context(), book, terms)
		const want = `ledger record "key": held by "run 1" until 2000-01-01T00:10:00Z`
		if !errors.Is(err, ledger.ErrHeld) || err.Error() != want {
			t.Errorf("got %v", err)
		}
		time.Sleep(terms.Duration - terms.Skew)
		if first.Remaining() != 0 {
			t.Errorf("before its end %v remain", first.Remaining())
		}
		time.Sleep(2*terms.Skew - 1)
		if _, err := ledger.Acquire(t.Context(), book, terms); !errors.Is(err, ledger.ErrHeld) {
			t.Errorf("within the skew: %v", err)
		}
		time.Sleep(time.Nanosecond)
		second := acquire(t, book)
		if second.Fence() != 2 {
			t.Errorf("token %d", second.Fence())
		}
		for _, err := range []error{first.Keep(t.Context()), first.Keep(t.Context())} {
			if !errors.Is(err, ledger.ErrLost) {
				t.Errorf("the first holder: %v", err)
			}
		}
		if err := first.Release(t.Context()); err != nil {
			t.Errorf("what is lost is released: %v", err)
		}
		if second.Keep(t.Context()) != nil || second.Release(t.Context()) != nil || second.Release(t.Context()) != nil {
			t.Error("the second holder lost it")
		}
		if third := acquire(t, book); third.Fence() != 3 {
			t.Errorf("token %d after a release", third.Fence())
		}
	})
}

func TestALeaseIsRenewedWhenHalfRemains(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &stage{}
		lease := acquire(t, &ledger.Book{Store: s})
		for range 10 {
			time.Sleep(terms.Duration/2 - terms.Skew - 1)
			writes := s.writes
			if err := lease.Keep(t.Context()); err != nil || s.writes != writes {
				t.Fatalf("error %v, %d writes", err, s.writes-writes)
			}
			time.Sleep(time.Nanosecond)
			if err := lease.Keep(t.Context()); err != nil || s.writes != writes+1 {
				t.Fatalf("error %v, %d writes", err, s.writes-writes)
			}
		}
		if lease.Fence() != 1 || lease.Remaining() != terms.Duration-terms.Skew {
			t.Errorf("token %d, %v remain", lease.Fence(), lease.Remaining())
		}
	})
}

func TestARenewalThatNobodyAnsweredIsTakenUp(t *testing.T) {
	t.Parallel()
	for _, next := range []string{"keep", "release"} {
		synctest.Test(t, func(t *testing.T) {
			s := &stage{}
			lease := acquire(t, &ledger.Book{Store: s})
			time.Sleep(terms.Duration / 2)
			s.onWrite = func(_ int, do func() (string, error)) (string, error) {
				_, _ = do()
				return "", errLost
			}
			s.onRead = func(int) error { return errLost }
			if err := lease.Keep(t.Context()); !errors.Is(err, ledger.ErrUncertain) {
				t.Fatalf("got %v", err)
			}
			s.onWrite, s.onRead = nil, nil
			if lease.Remaining() <= 0 || lease.Remaining() > terms.Duration/2 {
				t.Errorf("it believes in %v", lease.Remaining())
			}
			act := map[string]func(context.Context) error{"keep": lease.Keep, "release": lease.Release}[next]
			if err := act(t.Context()); err != nil {
				t.Errorf("%s: %v", next, err)
			}
		})
	}
}

func TestAHolderThatWasFrozenTooLongHasLost(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &stage{}
		book := &ledger.Book{Store: s}
		lease := acquire(t, book)
		time.Sleep(terms.Duration)
		writes := s.writes
		if err := lease.Keep(t.Context()); !errors.Is(err, ledger.ErrLost) || s.writes != writes {
			t.Errorf("got %v", err)
		}
		if lease.Remaining() > 0 {
			t.Errorf("%v remain", lease.Remaining())
		}
	})
}

func TestATakenLeaseIsNotWrittenOver(t *testing.T) {
	t.Parallel()
	for _, act := range []string{"keep", "release"} {
		synctest.Test(t, func(t *testing.T) {
			book := &ledger.Book{Store: &stage{}}
			lease := acquire(t, book)
			// Somebody whose clock is fast has taken it.
			record, err := book.Load(t.Context(), "key")
			if err != nil {
				t.Fatal(err)
			}
			record.Data = []byte(`{"id":"x","holder":"run 2","fence":2,"until":"2000-01-01T09:00:00Z"}`)
			if _, err := book.Save(t.Context(), "key", record); err != nil {
				t.Fatal(err)
			}
			time.Sleep(terms.Duration * 3 / 4)
			do := map[string]func(context.Context) error{"keep": lease.Keep, "release": lease.Release}[act]
			if err := do(t.Context()); !errors.Is(err, ledger.ErrLost) {
				t.Errorf("%s: %v", act, err)
			}
			if got := text(book); got != string(record.Data) {
				t.Errorf("%s: the record says %s", act, got)
			}
		})
	}
}

func TestTermsAreChecked(t *testing.T) {
	t.Parallel()
	book := &ledger.Book{Store: &stage{}}
	for name, terms := range map[string]ledger.Terms{
		"no duration":     {Key: "key"},
		"within the skew": {Key: "key", Duration: 10 * time.Second},
		"a negative skew": {Key: "key", Duration: time.Minute, Skew: -1},
		"a bad key":       {Key: "a b", Duration: time.Minute},
		"no UTF-8":        {Key: "key", Holder: "\xff", Duration: time.Minute},
	} {
		if _, err := ledger.Acquire(t.Context(), book, terms); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
	for _, data := range []string{"", "null", "{}", `{"fence":0}`, `{"fence":1,"more":2}`, "\xff"} {
		book := &ledger.Book{Store: &stage{}}
		if _, err := book.Save(t.Context(), "key", ledger.Record{Data: []byte(data)}); err != nil {
			t.Fatal(err)
		}
		if _, err := ledger.Acquire(t.Context(), book, terms); err == nil || text(book) != data {
			t.Errorf("%q is taken for a lease", data)
		}
	}
}
