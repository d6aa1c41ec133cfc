package ledger_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-ai/postern/shared/ledger"
	"github.com/postern-ai/postern/shared/ledger/ledgertest"
)

var errLost = &ledger.Error{Key: "key", Reason: "lost", Err: ledger.ErrUnanswered}

// stage is a store on which a test says what becomes of each request.
type stage struct {
	ledgertest.Memory
	reads, writes int
	onRead        func(n int) error
	// onWrite gets what does the write.
	onWrite func(n int, do func() (string, error)) (string, error)
}

func (s *stage) Read(ctx context.Context, key string) (ledger.Entry, error) {
	s.reads++
	if s.onRead != nil {
		if err := s.onRead(s.reads); err != nil {
			return ledger.Entry{}, err
		}
	}
	return s.Memory.Read(ctx, key)
}

func (s *stage) Write(ctx context.Context, key string, entry ledger.Entry) (string, error) {
	s.writes++
	do := func() (string, error) { return s.Memory.Write(ctx, key, entry) }
	if s.onWrite != nil {
		return s.onWrite(s.writes, do)
	}
	return do()
}

func text(l ledger.Ledger) string {
	record, err := l.Load(context.Background(), "key")
	if err != nil {
		return err.Error()
	}
	return string(record.Data)
}

func TestAWriteThatLandsLateCountsOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var late func() (string, error)
		s := &stage{onWrite: func(n int, do func() (string, error)) (string, error) {
			if n == 1 {
				late = do // it is on its way when nothing is to be seen of it yet
				return "", errLost
			}
			if n == 2 {
				if _, err := late(); err != nil {
					t.Errorf("the first request: %v", err)
				}
			}
			return do()
		}}
		book := &ledger.Book{Store: s}
		saved, err := book.Save(t.Context(), "key", ledger.Record{Data: []byte("mine")})
		if err != nil || s.writes != 2 {
			t.Fatalf("after %d writes: %v", s.writes, err)
		}
		if _, err := book.Save(t.Context(), "key", ledger.Record{Data: []byte("next"), Revision: saved.Revision}); err != nil {
			t.Errorf("the revision that was returned is not the current one: %v", err)
		}
	})
}

func TestAWriteThatAnotherHasOvertakenIsAConflict(t *testing.T) {
	t.Parallel()
	for _, landed := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			s := &stage{}
			other := &ledger.Book{Store: &s.Memory}
			s.onWrite = func(_ int, do func() (string, error)) (string, error) {
				if landed {
					if _, err := do(); err != nil {
						t.Error(err)
					}
				}
				seen, err := other.Load(t.Context(), "key")
				if landed != (err == nil) {
					t.Error(err)
				}
				if _, err := other.Save(t.Context(), "key", ledger.Record{Data: []byte("another's"), Revision: seen.Revision}); err != nil {
					t.Error(err)
				}
				return "", errLost
			}
			_, err := (&ledger.Book{Store: s}).Save(t.Context(), "key", ledger.Record{Data: []byte("mine")})
			if !errors.Is(err, ledger.ErrConflict) || errors.Is(err, ledger.ErrUncertain) || s.writes != 1 {
				t.Errorf("landed %v: got %v after %d writes", landed, err, s.writes)
			}
			if got := text(other); got != "another's" {
				t.Errorf("the record says %q", got)
			}
		})
	}
}

func TestAWriteInDoubtStaysInDoubtWhenTheNextIsRefused(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &stage{onWrite: func(n int, _ func() (string, error)) (string, error) {
			if n == 1 {
				return "", errLost
			}
			return "", &ledger.Error{Key: "key", Reason: "not allowed"}
		}}
		_, err := (&ledger.Book{Store: s}).Save(t.Context(), "key", ledger.Record{})
		const want = `ledger record "key": not allowed; it is not known whether the record has changed`
		if !errors.Is(err, ledger.ErrUncertain) || err.Error() != want {
			t.Errorf("got %v", err)
		}
	})
}

func TestADefiniteConflictIsOneEvenIfTheRecordCannotBeRead(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &stage{}
		book := &ledger.Book{Store: s}
		if _, err := book.Save(t.Context(), "key", ledger.Record{}); err != nil {
			t.Fatal(err)
		}
		s.onRead = func(int) error { return errLost }
		_, err := book.Save(t.Context(), "key", ledger.Record{})
		if !errors.Is(err, ledger.ErrConflict) || errors.Is(err, ledger.ErrUncertain) {
			t.Errorf("got %v", err)
		}
	})
}

func TestAnExpiredRecordThatIsRemovedMeanwhileIsMadeAnew(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &stage{}
		book := &ledger.Book{Store: s}
		old, err := book.Save(t.Context(), "key", ledger.Record{Data: []byte("old"), Expires: time.Now().Add(time.Minute)})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Minute)
		s.onWrite = func(n int, do func() (string, error)) (string, error) {
			if n == 3 { // the write over the remnant
				if err := s.Remove(t.Context(), "key", ledger.Entry{Revision: old.Revision}); err != nil {
					t.Error(err)
				}
			}
			return do()
		}
		if _, err := book.Save(t.Context(), "key", ledger.Record{Data: []byte("new")}); err != nil || text(book) != "new" {
			t.Errorf("error %v, the record says %q", err, text(book))
		}
	})
}

func TestAnUnansweredReadIsRepeatedAFewTimes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &stage{onRead: func(int) error { return errLost }}
		start := time.Now()
		_, err := (&ledger.Book{Store: s}).Load(t.Context(), "key")
		if !errors.Is(err, ledger.ErrUnanswered) || errors.Is(err, ledger.ErrUncertain) || s.reads != 4 {
			t.Errorf("got %v after %d reads", err, s.reads)
		}
		if took := time.Since(start); took < 2*time.Second || took > 4*time.Second {
			t.Errorf("it took %v", took)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		start, s.reads = time.Now(), 0
		if _, err := (&ledger.Book{Store: s}).Load(ctx, "key"); err == nil || s.reads != 1 || time.Since(start) != 0 {
			t.Errorf("without time for another attempt: %v after %d reads and %v", err, s.reads, time.Since(start))
		}
	})
}

func FuzzEntry(f *testing.F) {
	whole, err := ledger.Entry{Data: []byte("\x00data"), Writer: "w", Expires: time.Unix(1_800_000_000, 0)}.Encode()
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range []string{string(whole), `{"format":1,"writer":"w","data":""}`, `{"format":2,"writer":"w","data":""}`, `{"format":1,"writer":"w","data":"","more":1}`, `null`, ``} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		entry, err := ledger.DecodeEntry(in)
		if err != nil {
			if len(in) > 8 && strings.Contains(err.Error(), string(in)) {
				t.Errorf("the error tells the content: %v", err)
			}
			return
		}
		out, err := entry.Encode()
		if err != nil {
			return // a year that JSON cannot say
		}
		again, err := ledger.DecodeEntry(out)
		if err != nil || string(again.Data) != string(entry.Data) || again.Writer != entry.Writer || !again.Expires.Equal(entry.Expires) {
			t.Errorf("%q is %+v and comes back as %+v, error %v", in, entry, again, err)
		}
	})
}

func TestTheLargestRecordIsAnEnvelope(t *testing.T) {
	t.Parallel()
	in := ledger.Entry{Data: make([]byte, ledger.MaxData), Writer: strings.Repeat("w", 26), Expires: time.Unix(1_800_000_000, 0)}
	whole, err := in.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if out, err := ledger.DecodeEntry(whole); err != nil || len(out.Data) != ledger.MaxData {
		t.Errorf("%d bytes, error %v", len(out.Data), err)
	}
}
